// loss/squared_gradient: the gradient of the mean of |P + b - y|^2 / 2 of each sub-batch, and its scores.
//
//   delta = (P + b - y) / size of the sample's sub-batch
//   partials[offset + g] = ( sum of |P + b - y|^2 / outputs, 0, 0, 0 ) over the samples of chunk g
//
// P, y, delta: samples x outputs, `quads` vec4s a sample; b: outputs. Padding is zero. A workgroup owns a chunk of 64
// samples, a lane every WG_SIZE-th. Oracle: reference::loss::squared_gradient.
#import "loss/samples.wgsl"
#import "batch/sub_batch.wgsl"

const WG_SIZE: u32 = 64u; // @spec

struct Params {
    quads: u32,
    samples: u32,
    outputs: u32,
    sub_batches: u32,
    offset: u32,
}

@group(0) @binding(0) var<storage, read> product: array<vec4f>;
@group(0) @binding(1) var<storage, read> bias: array<vec4f>;
@group(0) @binding(2) var<storage, read> targets: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> delta: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> partials: array<vec4f>;
@group(0) @binding(5) var<uniform> params: Params;

fn score(sample: u32) -> vec4f {
    let n = sub_batch_of(sample, params.samples, params.sub_batches);
    let size = f32(sub_batch_size(n, params.samples, params.sub_batches));
    var sum = 0.0;
    for (var quad = 0u; quad < params.quads; quad++) {
        let i = sample * params.quads + quad;
        let gap = product[i] + bias[quad] - targets[i];
        sum += dot(gap, gap);
        delta[i] = gap / size;
    }
    return vec4f(sum / f32(params.outputs), 0.0, 0.0, 0.0);
}
