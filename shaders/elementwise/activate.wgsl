// elementwise/activate: a = f(P + b), the hidden layer of a forward pass.
//
// P, a: samples x features, `quads` vec4s a sample; b: features. One lane owns one vec4 of features in
// SAMPLES_PER_LANE samples: its bias is read, and its place found, once.
// Oracle: reference::elementwise::activate.
#import "shared/index.wgsl"
#import "shared/activation_relu.wgsl"

const WG_SIZE: u32 = 256u; // @spec
const SAMPLES_PER_LANE: u32 = 4u; // @spec

struct Params {
    quads: u32,
    samples: u32,
    features: u32,
}

@group(0) @binding(0) var<storage, read> product: array<vec4f>;
@group(0) @binding(1) var<storage, read> bias: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> activation: array<vec4f>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let item = linear_group(group, groups) * WG_SIZE + lane;
    let quad = item % params.quads;
    let first = item / params.quads * SAMPLES_PER_LANE;
    let end = min(first + SAMPLES_PER_LANE, params.samples);
    let b = bias[quad];
    for (var sample = first; sample < end; sample++) {
        let i = sample * params.quads + quad;
        activation[i] = activate(product[i] + b, quad, params.features);
    }
}
