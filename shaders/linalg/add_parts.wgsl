// linalg/add_parts: C = C + s (G_0 + G_1 + ...), where a product's sums over samples were split into parts.
//
//   product[i] = product[i] + sign * (sum over n < count, ascending, of parts[n, i])
//
// product: `quads` vec4s in all; parts: count x at least as many elements, `stride` quads a row. One lane owns one vec4.
// Oracle: reference::linalg::add_parts.
#import "shared/index.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    quads: u32,
    count: u32,
    stride: u32,
    sign: f32,
}

@group(0) @binding(0) var<storage, read> parts: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> product: array<vec4f>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    if i >= params.quads {
        return;
    }
    var sum = vec4f();
    for (var n = 0u; n < params.count; n += 1u) {
        sum += parts[n * params.stride + i];
    }
    product[i] = fma(vec4f(params.sign), sum, product[i]);
}
