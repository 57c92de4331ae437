// elementwise/bias_relu: a = max(P + b, 0), the hidden layer of a forward pass.
//
// P, a: samples x features, `quads` vec4s a sample; b: features. One lane owns one vec4.
// Oracle: reference::elementwise::bias_relu.
#import "shared/index.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    quads: u32,
    samples: u32,
}

@group(0) @binding(0) var<storage, read> product: array<vec4f>;
@group(0) @binding(1) var<storage, read> bias: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> activation: array<vec4f>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    if i < params.quads * params.samples {
        activation[i] = max(product[i] + bias[i % params.quads], vec4f());
    }
}
