// linalg/matmul_nm: C = A Wᵀ with W in the packed form of an N:M matrix, never unpacked.
//
//   product[s, r] = sum over entries e of row r, ascending, of values[r, e] left[s, c(e)]
//
// where c(e) is the column that e's group and place make. left: `samples` rows of `left_stride` elements; values, places: as
// nm/pack leaves them, for `rows` rows of W; product: samples x rows, rows of `stride` elements, their padding zero.
//
// A workgroup owns ROWS rows of W and SAMPLES samples. It walks along the groups, as many at once as COLUMNS columns hold,
// and stages the columns of its samples, four samples abreast, and the entries of its rows in workgroup memory. One lane owns
// one row and four samples; neighbours have neighbouring rows. Oracle: reference::linalg::matmul_nm.
#import "shared/index.wgsl"
#import "nm/packed_values.wgsl"

const WG_SIZE: u32 = 256u; // @spec
const ROWS: u32 = 32u;
const SAMPLES: u32 = 4u * WG_SIZE / ROWS;
const COLUMNS: u32 = 32u;
// Odd, so that lanes that write one below another meet other banks.
const ROW_STEP: u32 = ROWS + 1u;
const COLUMN_STEP: u32 = COLUMNS + 1u;

struct Params {
    samples: u32,
    rows: u32,
    stride: u32,
    left_stride: u32,
    entries: u32,
    keep: u32,
    width: u32,        // weights of a group
    bits: u32,
    value_words: u32,
    place_words: u32,
}

@group(0) @binding(0) var<storage, read> left: array<f32>;
@group(0) @binding(1) var<storage, read> values: array<u32>;
@group(0) @binding(2) var<storage, read> places: array<u32>;
@group(0) @binding(3) var<storage, read_write> product: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

// A column of the chunk in four samples, for each four samples.
var<workgroup> staged: array<vec4f, SAMPLES / 4u * COLUMN_STEP>;
// Entries of the chunk, at most 31 in a row: values, and columns counted from the chunk's first.
var<workgroup> staged_values: array<f32, ROW_STEP * 31u>;
var<workgroup> staged_columns: array<u32, ROW_STEP * 31u>;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let across = (params.stride + ROWS - 1u) / ROWS;
    let tile = linear_group(group, groups);
    multiply((tile % across) * ROWS, (tile / across) * SAMPLES, lane);
}

// Writes one element of the product, or of its padding; what is outside both is left out.
fn write(sample: u32, row: u32, value: f32) {
    if sample < params.samples && row < params.stride {
        product[sample * params.stride + row] = select(0.0, value, row < params.rows);
    }
}

fn multiply(first_row: u32, first_sample: u32, lane: u32) {
    let at_once = COLUMNS / params.width;
    let all = params.entries / params.keep;
    let row = lane % ROWS;
    let quad = lane / ROWS;
    var sum = vec4f();
    for (var q = 0u; q < all; q += at_once) {
        let now = min(at_once, all - q);
        stage_samples(lane, first_sample, q * params.width, now * params.width);
        stage_entries(lane, first_row, q, now * params.keep);
        workgroupBarrier();
        for (var e = 0u; e < now * params.keep; e++) {
            let value = staged_values[e * ROW_STEP + row];
            sum = fma(vec4f(value), staged[quad * COLUMN_STEP + staged_columns[e * ROW_STEP + row]], sum);
        }
        workgroupBarrier();
    }
    for (var k = 0u; k < 4u; k++) {
        write(first_sample + 4u * quad + k, first_row + row, sum[k]);
    }
}

// Neighbouring lanes read neighbouring columns of a sample.
fn stage_samples(lane: u32, first_sample: u32, first_column: u32, count: u32) {
    let column = lane % COLUMNS;
    for (var quad = lane / COLUMNS; quad < SAMPLES / 4u; quad += WG_SIZE / COLUMNS) {
        if column < count {
            let sample = first_sample + 4u * quad;
            let at = first_column + column;
            staged[quad * COLUMN_STEP + column] =
                vec4f(element(sample, at), element(sample + 1u, at), element(sample + 2u, at), element(sample + 3u, at));
        }
    }
}

fn element(sample: u32, column: u32) -> f32 {
    if sample < params.samples {
        return left[sample * params.left_stride + column];
    }
    return 0.0;
}

// Neighbouring lanes read neighbouring entries of a row.
fn stage_entries(lane: u32, first_row: u32, first_group: u32, count: u32) {
    for (var i = lane; i < ROWS * count; i += WG_SIZE) {
        let e = i % count;
        let row = first_row + i / count;
        let to = e * ROW_STEP + i / count;
        staged_values[to] = 0.0;
        staged_columns[to] = 0u;
        if row < params.rows {
            let entry = first_group * params.keep + e;
            staged_values[to] = value_of(row, entry);
            // Places that are none must not lead out of the chunk.
            staged_columns[to] = min(column_of(row, entry) - first_group * params.width, COLUMNS - 1u);
        }
    }
}
