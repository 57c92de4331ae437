// nm/unpack: the matrix that a packed form stands for, zeros included.
//
//   w[r, c] = values[r, e] where e is the entry of c's group whose place is c's, else 0
//
// values, places: as nm/pack leaves them. w: `rows` rows of `quads` vec4s, of which `columns` elements are weights.
// One lane owns one vec4 of w. Oracle: reference::nm::unpack.
#import "shared/index.wgsl"
#import "nm/packed.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    rows: u32,
    columns: u32,
    quads: u32,
    keep: u32,
    width: u32,        // weights of a group
    bits: u32,
    value_stride: u32,
    place_words: u32,
}

@group(0) @binding(0) var<storage, read> values: array<f32>;
@group(0) @binding(1) var<storage, read> places: array<u32>;
@group(0) @binding(2) var<storage, read_write> w: array<vec4f>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    if i >= params.rows * params.quads {
        return;
    }
    let row = i / params.quads;
    let column = 4u * (i % params.quads);
    w[i] = vec4f(weight(row, column), weight(row, column + 1u), weight(row, column + 2u), weight(row, column + 3u));
}

fn weight(row: u32, column: u32) -> f32 {
    if column >= params.columns {
        return 0.0;
    }
    let first = (column / params.width) * params.keep;
    for (var entry = first; entry < first + params.keep; entry++) {
        if place_of(row, entry) == column % params.width {
            return values[row * params.value_stride + entry];
        }
    }
    return 0.0;
}
