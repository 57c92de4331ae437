// sparse/product: Y = A X with a sparse A, for each of a stack of matrices X.
//
//   y[c rows + r] = sum over entries e of row r, ascending, of values[e] x[c columns + indices[e]]
//
// A: rows x columns, of which row r has the entries starts[r] up to starts[r + 1]; x: copies * columns x features, y:
// copies * rows x features, `quads` vec4s a row. One lane owns one vec4 of y, so that the order of its sum, and with it
// every bit, is that of the entries. Lanes next to each other have the same row or the next: they read an entry together
// and its row of x side by side. A workgroup for each long row would need its sums put together again, and most rows of
// a graph are short. Oracle: reference::sparse::product.
#import "shared/index.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    quads: u32,
    rows: u32,
    columns: u32,
    copies: u32,
}

@group(0) @binding(0) var<storage, read> starts: array<u32>;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read> values: array<f32>;
@group(0) @binding(3) var<storage, read> x: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    if i >= params.quads * params.rows * params.copies {
        return;
    }
    let quad = i % params.quads;
    let row = i / params.quads;
    let first = row / params.rows * params.columns;
    let end = starts[row % params.rows + 1u];
    var sum = vec4f();
    for (var entry = starts[row % params.rows]; entry < end; entry++) {
        sum = fma(vec4f(values[entry]), x[(first + indices[entry]) * params.quads + quad], sum);
    }
    y[i] = sum;
}
