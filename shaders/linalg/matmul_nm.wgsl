// linalg/matmul_nm: C = A Wᵀ with W in the packed form of an N:M matrix, never unpacked.
//
//   product[s, r] = sum over entries e of row r, ascending, of values[r, e] left[s, c(e)]
//
// where c(e) is the column that e's group and place make. left: `samples` rows of `left_stride` elements; values, places: as
// nm/pack leaves them, for `rows` rows of W; product: samples x rows, `quads` vec4s a row, its padding zero. One lane owns one
// vec4 of the product: neighbours share a sample, whose elements they pick. Oracle: reference::linalg::matmul_nm.
#import "shared/index.wgsl"
#import "nm/packed.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    samples: u32,
    rows: u32,
    quads: u32,
    left_stride: u32,
    entries: u32,
    keep: u32,
    width: u32,        // weights of a group
    bits: u32,
    value_stride: u32,
    place_words: u32,
}

@group(0) @binding(0) var<storage, read> left: array<f32>;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read> places: array<u32>;
@group(0) @binding(3) var<storage, read_write> product: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    if i >= params.samples * params.quads {
        return;
    }
    let sample = i / params.quads;
    let row = 4u * (i % params.quads);
    product[i] = vec4f(element(sample, row), element(sample, row + 1u), element(sample, row + 2u), element(sample, row + 3u));
}

fn element(sample: u32, row: u32) -> f32 {
    if row >= params.rows {
        return 0.0;
    }
    let first = sample * params.left_stride;
    let first_value = row * params.value_stride;
    var sum = 0.0;
    for (var entry = 0u; entry < params.entries; entry++) {
        let column = (entry / params.keep) * params.width + place_of(row, entry);
        sum = fma(values[first_value + entry], left[first + column], sum);
    }
    return sum;
}
