// linalg/matvec_nm: y = W x with W in the packed form of an N:M matrix, never unpacked.
//
//   product[r] = sum over entries e of row r of values[r, e] x[c(e)]
//
// where c(e) is the column that e's group and place make. values, places: as nm/pack leaves them, for `rows` rows of W; product:
// `stride` elements, its padding zero. LANES lanes stride through the entries of one row, then a fixed tree adds; a workgroup
// owns WG_SIZE / LANES rows. Oracle: reference::linalg::matvec_nm.
#import "shared/index.wgsl"
#import "nm/packed_values.wgsl"

const WG_SIZE: u32 = 256u; // @spec
const LANES: u32 = 32u;

struct Params {
    rows: u32,
    columns: u32,
    stride: u32,
    entries: u32,
    keep: u32,
    width: u32,        // weights of a group
    bits: u32,
    value_words: u32,
    place_words: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> values: array<u32>;
@group(0) @binding(2) var<storage, read> places: array<u32>;
@group(0) @binding(3) var<storage, read_write> product: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> sums: array<f32, WG_SIZE>;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups) * (WG_SIZE / LANES) + lane / LANES;
    let first = lane % LANES;
    var sum = 0.0;
    if row < params.rows {
        for (var entry = first; entry < params.entries; entry += LANES) {
            // Places that are none must not lead out of the row.
            sum = fma(value_of(row, entry), x[min(column_of(row, entry), params.columns - 1u)], sum);
        }
    }
    sums[lane] = sum;
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        if first < width {
            sums[lane] += sums[lane + width];
        }
        workgroupBarrier();
    }
    if first == 0u && row < params.stride {
        product[row] = sums[lane];
    }
}
