// loss/softmax_scores: cross-entropy and accuracy of logits P + b, as partial sums over samples.
//
//   cost = log(sum_j exp(v_j)) - v_label     hit = 1 where the largest logit is the label's, the lower index on ties
//   partials[offset + g] = ( sum of cost, sum of hits, 0, 0 ) over the samples of chunk g
//
// P: samples x classes, `quads` vec4s a sample; b: classes; labels: one u32 per sample.
// A workgroup owns a chunk of 64 samples, a lane every WG_SIZE-th. Oracle: reference::loss::softmax_scores.
#import "loss/samples.wgsl"
#import "loss/softmax.wgsl"

const WG_SIZE: u32 = 64u; // @spec

struct Params {
    quads: u32,
    samples: u32,
    classes: u32,
    offset: u32,
}

@group(0) @binding(0) var<storage, read> product: array<vec4f>;
@group(0) @binding(1) var<storage, read> bias: array<vec4f>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> partials: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;

fn score(sample: u32) -> vec4f {
    let scored = softmax(sample, labels[sample]);
    return vec4f(scored.cost, scored.hit, 0.0, 0.0);
}
