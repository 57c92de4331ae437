// loss/squared_scores: mean squared error of outputs P + b, as partial sums over samples.
//
//   cost = |P + b - y|^2 / outputs        partials[offset + g] = ( sum of cost, 0, 0, 0 ) over the samples of chunk g
//
// P, y: samples x outputs, `quads` vec4s a sample; b: outputs. A workgroup owns a chunk of 64 samples, a lane every
// WG_SIZE-th. Oracle: reference::loss::squared_scores.
#import "loss/samples.wgsl"

const WG_SIZE: u32 = 64u; // @spec

struct Params {
    quads: u32,
    samples: u32,
    outputs: u32,
    offset: u32,
}

@group(0) @binding(0) var<storage, read> product: array<vec4f>;
@group(0) @binding(1) var<storage, read> bias: array<vec4f>;
@group(0) @binding(2) var<storage, read> targets: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> partials: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;

fn score(sample: u32) -> vec4f {
    var sum = 0.0;
    for (var quad = 0u; quad < params.quads; quad++) {
        let i = sample * params.quads + quad;
        let gap = product[i] + bias[quad] - targets[i];
        sum += dot(gap, gap);
    }
    return vec4f(sum / f32(params.outputs), 0.0, 0.0, 0.0);
}
