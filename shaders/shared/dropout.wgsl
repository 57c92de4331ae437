// What dropout multiplies activations by (Srivastava et al. 2014): 0 with the chance p, else 1 / (1 - p).
//
// Drawn anew wherever it is needed, from the cursor's seed, its count of batches, the layer and the place, so that a
// backward pass meets the mask of the forward pass and none is stored. The importing file provides `cursor` and `params`
// with `layer`, `threshold` (p of all 2^32 words) and `scale`.
#import "batch/cursor.wgsl"
#import "shared/random.wgsl"

// Other kernels that draw from a seed count their slots from 0.
const DROPOUT_SLOTS: u32 = 0x80000000u;

// For vec4 number i of the layer's activations.
fn dropout(i: u32) -> vec4f {
    let words = random_words(cursor.seed, cursor.batches, DROPOUT_SLOTS + params.layer, i);
    return select(vec4f(), vec4f(params.scale), words >= vec4u(params.threshold));
}

// For one feature of a sample, where samples lie one after another, `quads` vec4s each.
fn dropout_at(sample: u32, feature: u32, quads: u32) -> f32 {
    let factors = dropout(sample * quads + feature / 4u);
    return factors[feature % 4u];
}
