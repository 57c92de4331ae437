// exact/damped: the matrix that is solved with, S = M - centre s s^T + shift I.
//
//   shift = steps[slot].x, decided by exact/damping
//
// M, S: size x size, `quads` vec4s a row, the padding of S zero; s: column sums, read where centre > 0. One lane owns
// one vec4. Oracle: reference::exact::damped.
#import "shared/index.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    size: u32,
    quads: u32,
    slot: u32,
    centre: f32,
}

@group(0) @binding(0) var<storage, read> matrix: array<vec4f>;
@group(0) @binding(1) var<storage, read> sums: array<vec4f>;
@group(0) @binding(2) var<storage, read> steps: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> damped: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    let damping = steps[params.slot].x;
    if i >= params.size * params.quads {
        return;
    }
    let row = i / params.quads;
    let quad = i % params.quads;
    var value = matrix[i];
    if params.centre > 0.0 {
        value = fma(vec4f(-params.centre * sums[row / 4u][row % 4u]), sums[quad], value);
    }
    let is_diagonal = 4u * quad + vec4u(0u, 1u, 2u, 3u) == vec4u(row);
    damped[i] = value + select(vec4f(), vec4f(damping), is_diagonal);
}
