// nm/unpack: the matrix that a packed form stands for, zeros included.
//
//   w[r, c] = values[r, e] where e is the entry of c's group whose place is c's, else 0
//
// values, places: as nm/pack leaves them, weights of 32 or 16 bits. w: `rows` rows of `quads` times four such weights, of
// which `columns` are no padding. One lane owns four weights of w. Oracle: reference::nm::unpack.
#import "shared/index.wgsl"
#import "nm/words.wgsl"
#import "nm/quad_32.wgsl"
#import "nm/packed.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    rows: u32,
    columns: u32,
    quads: u32,
    keep: u32,
    width: u32,        // weights of a group
    bits: u32,
    value_words: u32,
    place_words: u32,
}

@group(0) @binding(0) var<storage, read> values: array<u32>;
@group(0) @binding(1) var<storage, read> places: array<u32>;
@group(0) @binding(2) var<storage, read_write> w: array<Quad>;
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
    w[i] = join(vec4u(weight(row, column), weight(row, column + 1u), weight(row, column + 2u), weight(row, column + 3u)));
}

fn weight(row: u32, column: u32) -> u32 {
    if column >= params.columns {
        return 0u;
    }
    let first = (column / params.width) * params.keep;
    for (var entry = first; entry < first + params.keep; entry++) {
        if place_of(row, entry) == column % params.width {
            return part(values[row * params.value_words + entry / WEIGHTS], entry % WEIGHTS);
        }
    }
    return 0u;
}
