// dladmm/hidden_terms: a hidden layer's terms of the augmented Lagrangian, as partial sums per chunk of CHUNK vec4s.
//
//   partials[offset + g] = ( |z - P - b|^2, |a - f(z)|^2, 0, 0 ) over chunk g
//
// P, z, a: samples x features, `quads` vec4s a sample; b: features. A workgroup owns one chunk; lanes stride through
// it, then a fixed tree adds them. Oracle: reference::dladmm::hidden_terms.
#import "shared/index.wgsl"
#import "shared/reduce_tree.wgsl"
#import "shared/activation_relu.wgsl"

const WG_SIZE: u32 = 256u; // @spec
const CHUNK: u32 = 1024u; // @spec

struct Params {
    quads: u32,
    samples: u32,
    features: u32,
    offset: u32,
}

@group(0) @binding(0) var<storage, read> product: array<vec4f>;
@group(0) @binding(1) var<storage, read> bias: array<vec4f>;
@group(0) @binding(2) var<storage, read> z: array<vec4f>;
@group(0) @binding(3) var<storage, read> activation: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> partials: array<vec4f>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let chunk = linear_group(group, groups);
    let all = params.quads * params.samples;
    let end = min((chunk + 1u) * CHUNK, all);
    var sums = vec4f();
    // The bias' place goes round with i; taking a remainder each time would cost more than the sums.
    var quad = (chunk * CHUNK + lane) % params.quads;
    let turn = WG_SIZE % params.quads;
    for (var i = chunk * CHUNK + lane; i < end; i += WG_SIZE) {
        let v = z[i];
        let r = v - product[i] - bias[quad];
        let gap = activation[i] - activate(v, quad, params.features);
        quad += turn;
        quad -= select(0u, params.quads, quad >= params.quads);
        sums += vec4f(dot(r, r), dot(gap, gap), 0.0, 0.0);
    }
    let total = workgroup_sum(sums, lane);
    if lane == 0u && chunk * CHUNK < all {
        partials[params.offset + chunk] = total;
    }
}
