// elementwise/fill: y = value in every element; the padding of each row becomes zero.
//
// y: rows x columns, `quads` vec4s a row. One lane owns one vec4. Oracle: reference::elementwise::fill.
#import "shared/index.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    rows: u32,
    columns: u32,
    quads: u32,
    value: f32,
}

@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(1) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    if i >= params.rows * params.quads {
        return;
    }
    let column = (i % params.quads) * 4u;
    y[i] = select(vec4f(), vec4f(params.value), column + vec4u(0u, 1u, 2u, 3u) < vec4u(params.columns));
}
