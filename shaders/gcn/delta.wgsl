// gcn/delta: backward through dropout and activation, for each of a stack of gradients at the same activations.
//
//   delta = g o m o f'        f' from the activation's value a = f(z), m: the mask of dropout, see shared/dropout
//
// g, delta: copies * rows x features; a: rows x features, `activation_quads` vec4s in all. One lane owns one vec4 of
// delta. Oracle: reference::gcn::delta.
#import "shared/index.wgsl"
#import "shared/dropout.wgsl"
#import "shared/activation_relu.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    quads: u32,
    activation_quads: u32,
    layer: u32,
    threshold: u32,
    scale: f32,
}

@group(0) @binding(0) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(1) var<storage, read> activation: array<vec4f>;
@group(0) @binding(2) var<storage, read> cursor: Cursor;
@group(0) @binding(3) var<storage, read_write> delta: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    if i < params.quads {
        let at = i % params.activation_quads;
        delta[i] = gradient[i] * (dropout(at) * slope_at_value(activation[at]));
    }
}
