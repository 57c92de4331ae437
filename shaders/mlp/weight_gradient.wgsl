// mlp/weight_gradient: the gradient of one layer's weights for each sub-batch by itself, all in one dispatch.
//
//   G_n = D_n^T A_n         n-th row of `gradient`, from quad `start` on        D_n, A_n: the samples of sub-batch n
//
// D: delta of the layer, samples x outputs, bound as `left`; A: its inputs, samples x columns, bound as `right`;
// gradient: sub-batches x slab, `gradient_stride` quads a row, in which G_n lies as outputs x columns by itself. Where all
// sub-batches have the same inputs A holds them once: sample s has row s modulo `input_rows`, the rows there are.
//
// The results are tiled as one tall matrix in which each G_n begins a new tile: `height` rows, outputs and filling. A
// sum may be cut into dispatches: this one takes up to `inner` samples of each sub-batch from its `first` on, and starts
// from what is there unless that is its first. Oracle: reference::mlp::weight_gradient.
#import "batch/sub_batch.wgsl"
#import "linalg/output_rows.wgsl"
#import "linalg/tile_order.wgsl"
#import "linalg/tile_shared.wgsl"

struct Params {
    rows: u32,          // sub-batches * height
    columns: u32,
    inner: u32,
    left_stride: u32,   // quads per stored row
    right_stride: u32,
    gradient_stride: u32,
    start: u32,
    outputs: u32,
    height: u32,
    samples: u32,
    sub_batches: u32,
    first: u32,
    input_rows: u32,
}

@group(0) @binding(0) var<storage, read> left: array<vec4f>;
@group(0) @binding(1) var<storage, read> right: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> gradient: array<vec4f>;
@group(0) @binding(3) var<uniform> params: Params;

// What the tile is part of, the same for all lanes: its sub-batch, the first of the samples to be summed, the first row
// of their inputs, and how many.
var<private> sub_batch: u32;
var<private> first_sample: u32;
var<private> first_input: u32;
var<private> sample_count: u32;

fn tile_wanted(first_row: u32, first_column: u32) -> bool {
    let n = first_row / params.height;
    let size = sub_batch_size(n, params.samples, params.sub_batches);
    sub_batch = n;
    first_sample = sub_batch_start(n, params.samples, params.sub_batches) + params.first;
    first_input = first_sample % params.input_rows;
    sample_count = min(params.inner, max(size, params.first) - params.first);
    return params.first < size;
}

// A sample beyond the last is the last.
fn nearest(k: u32) -> u32 {
    return min(k, sample_count - 1u);
}

fn left_quad(k: u32, quad: u32) -> vec4f {
    return left[(first_sample + nearest(k)) * params.left_stride + quad];
}

// Outputs beyond the last repeat it, for results that are not kept; samples beyond the last meet zeros on the right.
fn left_block(row_quad: u32, inner_quad: u32) -> mat4x4f {
    let quad = min(row_quad - sub_batch * (params.height / 4u), (params.outputs - 1u) / 4u);
    let k = 4u * inner_quad;
    return mat4x4f(
        left_quad(k, quad),
        left_quad(k + 1u, quad),
        left_quad(k + 2u, quad),
        left_quad(k + 3u, quad),
    );
}

fn right_row(k: u32, quad: u32) -> vec4f {
    let value = right[(first_input + nearest(k)) * params.right_stride + quad];
    return select(vec4f(), value, k < sample_count);
}

fn right_block(inner_quad: u32, column_quad: u32) -> mat4x4f {
    let quad = min(column_quad, (params.columns - 1u) / 4u);
    let k = 4u * inner_quad;
    return mat4x4f(right_row(k, quad), right_row(k + 1u, quad), right_row(k + 2u, quad), right_row(k + 3u, quad));
}

fn place(row: u32, column_quad: u32) -> u32 {
    let output = row - sub_batch * params.height;
    return sub_batch * params.gradient_stride + params.start + output_quad(output, column_quad);
}

fn start(row: u32, column_quad: u32) -> vec4f {
    if params.first == 0u || row - sub_batch * params.height >= params.outputs {
        return vec4f();
    }
    return gradient[place(row, column_quad)];
}

fn finish(row: u32, column_quad: u32, value: vec4f) -> vec4f {
    if row - sub_batch * params.height < params.outputs {
        gradient[place(row, column_quad)] = value;
    }
    return vec4f();
}

fn finish_group(tile: u32, sum: f32) {}
