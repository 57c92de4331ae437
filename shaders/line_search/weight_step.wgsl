// line_search/weight_step: steps every row of W down its gradient by the length that minimises along it. Rows are
// problems of their own, because row i of W a is (W_i) a (ALGORITHMS: exact block steps, the last paragraph).
//
//   q_i = lambda / kappa + |(G a)_i|^2 / |G_i|^2         s_i = 1 / q_i          W_i = W_i - s_i G_i
//   A row rests, s_i = 0, where |G_i|^2 is below SMALLEST or q_i is not above zero.
//
// G, W: rows x columns, `quads` vec4s a row; G without its factor kappa, the penalty's part included. partials: the
// squares of G a from line_search/column_squares, `chunks` rows of `stride` floats, a float for each row of W; s: one
// float for each row of W, padded with zeros. kappa is rho for the last layer, else nu. A workgroup owns a row of W; a
// group past the last one owns an element of the padding of s. Norms that are not finite are noted in the status under
// `origin`. Oracle: reference::line_search::weight_step.
#import "shared/index.wgsl"
#import "shared/reduce_tree.wgsl"
#import "shared/status_of_many.wgsl"
#import "dladmm/control.wgsl"
#import "line_search/length.wgsl"

const WG_SIZE: u32 = 64u; // @spec

struct Params {
    rows: u32,
    quads: u32,
    chunks: u32,
    stride: u32,
    last_layer: u32,
    origin: u32,
    lambda: f32,
}

@group(0) @binding(0) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(1) var<storage, read> partials: array<f32>;
@group(0) @binding(2) var<storage, read> control: Control;
@group(0) @binding(3) var<storage, read_write> weights: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> lengths: array<f32>;
@group(0) @binding(5) var<storage, read_write> status: SharedStatus;
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups);
    let is_row = row < params.rows;
    let first = row * params.quads + lane;
    // Nothing, for a group past the last row: it meets the barriers all the same.
    let end = select(0u, (row + 1u) * params.quads, is_row);
    var squares = vec4f();
    for (var i = first; i < end; i += WG_SIZE) {
        let g = gradient[i];
        squares = fma(g, g, squares);
    }
    var moved = 0.0;
    for (var chunk = lane; chunk < select(0u, params.chunks, is_row); chunk += WG_SIZE) {
        moved += partials[chunk * params.stride + row];
    }
    let sums = workgroup_sum(vec4f(dot(squares, vec4f(1.0)), moved, 0.0, 0.0), lane);
    let kappa = select(control.nu, control.rho, params.last_layer != 0u);
    let step = length_of_step(sums.x, params.lambda / kappa + sums.y / sums.x);
    for (var i = first; i < end; i += WG_SIZE) {
        weights[i] = fma(vec4f(-step), gradient[i], weights[i]);
    }
    if lane == 0u && row < params.stride {
        lengths[row] = step;
        note_seeing(sums.x + sums.y, params.origin);
    }
}
