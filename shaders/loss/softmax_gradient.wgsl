// loss/softmax_gradient: the gradient of the mean cross-entropy of each sub-batch at logits P + b, and its scores.
//
//   delta = (softmax(P + b) - y) / size of the sample's sub-batch          y: one at the label
//   partials[offset + g] = ( sum of cost, sum of hits, 0, 0 ) over the samples of chunk g, as in loss/softmax_scores
//
// P, delta: samples x classes, `quads` vec4s a sample; b: classes; labels: one u32 per sample. Padding is zero.
// A workgroup owns a chunk of 64 samples, a lane every WG_SIZE-th. Oracle: reference::loss::softmax_gradient.
#import "loss/samples.wgsl"
#import "batch/sub_batch.wgsl"
#import "loss/softmax.wgsl"

const WG_SIZE: u32 = 64u; // @spec

struct Params {
    quads: u32,
    samples: u32,
    classes: u32,
    sub_batches: u32,
    offset: u32,
}

@group(0) @binding(0) var<storage, read> product: array<vec4f>;
@group(0) @binding(1) var<storage, read> bias: array<vec4f>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> delta: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> partials: array<vec4f>;
@group(0) @binding(5) var<uniform> params: Params;

fn score(sample: u32) -> vec4f {
    let label = labels[sample];
    let scored = softmax(sample, label);
    let n = sub_batch_of(sample, params.samples, params.sub_batches);
    let size = f32(sub_batch_size(n, params.samples, params.sub_batches));
    for (var quad = 0u; quad < params.quads; quad++) {
        let p = exp(logits(sample, quad) - scored.largest) / scored.sum;
        let y = select(vec4f(), vec4f(1.0), quad * 4u + vec4u(0u, 1u, 2u, 3u) == vec4u(label));
        delta[sample * params.quads + quad] = select(vec4f(), (p - y) / size, is_class(quad));
    }
    return vec4f(scored.cost, scored.hit, 0.0, 0.0);
}
