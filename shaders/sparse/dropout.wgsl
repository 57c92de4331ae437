// sparse/dropout: y = m o x for a sparse x, with the mask m that elementwise/dropout draws for all elements of a dense one.
//
//   y[e] = m[s, f] x[e]        e in row r with index c:  s = r, f = c where rows are samples,  s = c, f = r where features are
//
// x: `entries` values, those of row r from starts[r] up to starts[r + 1]; y: as many. A sample has `feature_quads` vec4s of
// features, zeros and padding counted, by which shared/dropout numbers them. One lane owns one vec4 of entries: it looks up
// the row of its first, and goes on from there. Oracle: reference::sparse::dropout.
#import "shared/index.wgsl"
#import "shared/dropout.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    quads: u32,
    entries: u32,
    rows: u32,
    feature_quads: u32,
    rows_are_features: u32,
    layer: u32,
    threshold: u32,
    scale: f32,
}

@group(0) @binding(0) var<storage, read> starts: array<u32>;
@group(0) @binding(1) var<storage, read> indices: array<vec4u>;
@group(0) @binding(2) var<storage, read> x: array<vec4f>;
@group(0) @binding(3) var<storage, read> cursor: Cursor;
@group(0) @binding(4) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(5) var<uniform> params: Params;

// The row of an entry, which is in row `first` or a later one.
fn row_of(entry: u32, first: u32) -> u32 {
    var low = first;        // starts[low] <= entry
    var high = params.rows; // entry < starts[high]
    while high - low > 1u {
        let middle = low + (high - low) / 2u;
        if starts[middle] <= entry {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    if i >= params.quads {
        return;
    }
    let index = indices[i];
    var factors = vec4f();
    var row = row_of(4u * i, 0u);
    for (var k = 0u; k < 4u; k++) {
        let entry = 4u * i + k;
        if entry >= params.entries {
            break;
        }
        if entry >= starts[row + 1u] {
            row = row_of(entry, row + 1u);
        }
        let is_turned = params.rows_are_features != 0u;
        let sample = select(row, index[k], is_turned);
        let feature = select(index[k], row, is_turned);
        factors[k] = dropout_at(sample, feature, params.feature_quads);
    }
    y[i] = factors * x[i];
}
