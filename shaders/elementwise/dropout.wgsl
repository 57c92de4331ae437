// elementwise/dropout: y = m o x with a random mask m of zeros and 1 / (1 - p), see shared/dropout.
//
// x, y: `quads` vec4s in all. One lane owns one vec4. Oracle: reference::elementwise::dropout.
#import "shared/index.wgsl"
#import "shared/dropout.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    quads: u32,
    layer: u32,
    threshold: u32,
    scale: f32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> cursor: Cursor;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    if i < params.quads {
        y[i] = dropout(i) * x[i];
    }
}
