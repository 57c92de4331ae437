// sparse/weight_gradient: the gradient of the first layer's weights where its inputs are sparse, for each sub-batch by itself.
//
//   G_n = D_n^T X_n           n-th row of `gradient`, from quad `start` on        D_n, X_n: the samples of sub-batch n
//   gradient = kept gradient + sign G_n,    where what is there is not read if kept = 0
//
// D: delta, samples x outputs, `delta_quads` vec4s a sample; X: samples x features by its columns: the entries of feature f
// are starts[f] up to starts[f + 1], each a sample, ascending, and a value; gradient: sub-batches x slab, `gradient_stride`
// quads a row, in which G_n lies as outputs x features by itself, `quads` vec4s for each output. Where all sub-batches have
// the same inputs X holds them once: row s of delta has sample s modulo `input_samples`, the samples there are.
//
// A workgroup owns a block of 32 features by 32 outputs of one sub-batch. It takes a few features at a time: STRANDS lanes
// share the entries of each, so that a word which half of the samples hold keeps nobody waiting for long, and each
// takes one vec4 of outputs, so that a sample's delta is read side by side. The strands are then added in their order, and
// the block, which rows of delta filled by columns, is written by rows. Where lanes are a loop and barriers are dear, one
// strand takes all. Oracle: reference::sparse::weight_gradient.
#import "shared/index.wgsl"
#import "batch/sub_batch.wgsl"

const WG_SIZE: u32 = 256u; // @spec
const SIDE: u32 = 32u;     // features, and outputs, of a block
const QUADS: u32 = 8u;     // of either
const STRANDS: u32 = 8u; // @spec
const AT_ONCE: u32 = WG_SIZE / (QUADS * STRANDS); // features

struct Params {
    features: u32,
    quads: u32,
    outputs: u32,
    delta_quads: u32,
    gradient_stride: u32,
    start: u32,
    samples: u32,
    input_samples: u32,
    sub_batches: u32,
    feature_blocks: u32,
    output_blocks: u32,
    kept: f32,
    sign: f32,
}

@group(0) @binding(0) var<storage, read> starts: array<u32>;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read> values: array<f32>;
@group(0) @binding(3) var<storage, read> delta: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> gradient: array<vec4f>;
@group(0) @binding(5) var<uniform> params: Params;

var<workgroup> strands: array<vec4f, WG_SIZE>;
var<workgroup> block: array<f32, SIDE * (SIDE + 1u)>; // outputs x features, rows one longer against bank conflicts

// The first entry from `first` up to `end` whose sample is not below `sample`.
fn entry_of(sample: u32, first: u32, end: u32) -> u32 {
    var low = first;
    var high = end;
    while low < high {
        let middle = low + (high - low) / 2u;
        if indices[middle] < sample {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    return low;
}

// A strand's share of the sum for one feature and one vec4 of outputs, over the samples from `first` up to `end`, of which
// row `row` of delta is the first.
fn share(feature: u32, quad: u32, strand: u32, first: u32, end: u32, row: u32) -> vec4f {
    var sum = vec4f();
    if feature >= params.features || quad >= params.delta_quads {
        return sum;
    }
    let last = starts[feature + 1u];
    for (var entry = entry_of(first, starts[feature], last) + strand; entry < last; entry += STRANDS) {
        let sample = indices[entry];
        if sample >= end {
            break;
        }
        sum = fma(vec4f(values[entry]), delta[(row + sample - first) * params.delta_quads + quad], sum);
    }
    return sum;
}

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group, groups);
    let n = index / (params.feature_blocks * params.output_blocks);
    if n >= params.sub_batches {
        return;
    }
    let first_feature = index % params.feature_blocks * SIDE;
    let first_output = index / params.feature_blocks % params.output_blocks * SIDE;
    let row = sub_batch_start(n, params.samples, params.sub_batches);
    let first = row % params.input_samples;
    let end = first + sub_batch_size(n, params.samples, params.sub_batches);
    let quad = lane % QUADS;
    let strand = lane / QUADS % STRANDS;
    for (var round = 0u; round < SIDE; round += AT_ONCE) {
        let place = round + lane / (QUADS * STRANDS);
        strands[lane] = share(first_feature + place, first_output / 4u + quad, strand, first, end, row);
        workgroupBarrier();
        if strand == 0u {
            var sum = strands[lane];
            for (var k = 1u; k < STRANDS; k++) {
                sum += strands[lane + k * QUADS];
            }
            for (var k = 0u; k < 4u; k++) {
                block[(4u * quad + k) * (SIDE + 1u) + place] = sum[k];
            }
        }
        workgroupBarrier();
    }
    write(n, first_output + lane / QUADS, first_feature / 4u + quad, lane / QUADS * (SIDE + 1u) + 4u * quad);
}

// One vec4 of features of one output, from `place` in the block on.
fn write(n: u32, output: u32, quad: u32, place: u32) {
    if output >= params.outputs || quad >= params.quads {
        return;
    }
    let sum = vec4f(block[place], block[place + 1u], block[place + 2u], block[place + 3u]);
    let at = n * params.gradient_stride + params.start + output * params.quads + quad;
    var before = vec4f();
    if params.kept != 0.0 {
        before = params.kept * gradient[at];
    }
    gradient[at] = fma(vec4f(params.sign), sum, before);
}
