// dladmm/residual_sums: sums over samples of r = P + b - t, one partial sum per CHUNK samples; for the bias step.
//
//   partials[(offset + g) * quads + q] = sum over the samples s of chunk g of P[s, q] + b[q] - t[s, q]
//
// P, t: samples x features, `quads` vec4s a sample; b: features. One lane owns one vec4 of features over one chunk of
// samples, so that neighbouring lanes read neighbouring vec4s and nothing is shared.
// Oracle: reference::dladmm::residual_sums.
#import "shared/index.wgsl"

const WG_SIZE: u32 = 64u; // @spec
const CHUNK: u32 = 64u; // @spec

struct Params {
    quads: u32,
    samples: u32,
    chunks: u32,
    offset: u32,
}

@group(0) @binding(0) var<storage, read> product: array<vec4f>;
@group(0) @binding(1) var<storage, read> bias: array<vec4f>;
@group(0) @binding(2) var<storage, read> goal: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> partials: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let item = linear_group(group, groups) * WG_SIZE + lane;
    if item >= params.quads * params.chunks {
        return;
    }
    let quad = item % params.quads;
    let chunk = item / params.quads;
    let b = bias[quad];
    let end = min((chunk + 1u) * CHUNK, params.samples);
    var sum = vec4f();
    for (var sample = chunk * CHUNK; sample < end; sample++) {
        let i = sample * params.quads + quad;
        sum += product[i] + b - goal[i];
    }
    partials[(params.offset + chunk) * params.quads + quad] = sum;
}
