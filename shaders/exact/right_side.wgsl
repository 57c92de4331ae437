// exact/right_side: what a layer's weights times the matrix that is solved with shall be (ALGORITHMS: exact block steps).
//
//   W S = B,    B = z a^T - mean s^T + d W
//
// B, holding z a^T (a sum over samples) and updated, and W: rows x `quads` vec4s, padding zero; mean: that of z, one for each
// row; s: sums over samples of a; d = ridge[layer].w, left by exact/damping with S. One lane owns one vec4.
// Oracle: reference::exact::right_side.
#import "shared/index.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    rows: u32,
    quads: u32,
    layer: u32,
}

@group(0) @binding(0) var<storage, read> weights: array<vec4f>;
@group(0) @binding(1) var<storage, read> mean: array<vec4f>;
@group(0) @binding(2) var<storage, read> sums: array<vec4f>;
@group(0) @binding(3) var<storage, read> ridge: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> right: array<vec4f>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    let damping = ridge[params.layer].w;
    if i >= params.rows * params.quads {
        return;
    }
    let row = i / params.quads;
    let centred = fma(vec4f(-mean[row / 4u][row % 4u]), sums[i % params.quads], right[i]);
    right[i] = fma(vec4f(damping), weights[i], centred);
}
