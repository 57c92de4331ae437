// line_search/gram_step: line_search/weight_step where the product with the inputs' Gram matrix is at hand, and the
// gradient after it.
//
//   q_i = <C_i, G_i> / |G_i|^2          s_i = 1 / q_i          W_i = W_i - s_i G_i          G_i = G_i - s_i C_i
//   A row rests, s_i = 0, where |G_i|^2 is below SMALLEST, or where <C_i, G_i> is not above FLATTEST |C_i| |G_i|: it is
//   its own rounding then.
//
// C = G (x x^T) + (lambda / kappa) G. All three: rows x columns, `quads` vec4s a row. A workgroup owns a row. Norms that
// are not finite are noted in the status under `origin`. Oracle: reference::line_search::gram_step.
#import "shared/index.wgsl"
#import "shared/reduce_tree.wgsl"
#import "shared/status_of_many.wgsl"
#import "line_search/length.wgsl"

const WG_SIZE: u32 = 64u; // @spec
const FLATTEST: f32 = 1e-6;

struct Params {
    rows: u32,
    quads: u32,
    origin: u32,
}

@group(0) @binding(0) var<storage, read> curvature: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> gradient: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> weights: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> status: SharedStatus;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups);
    let first = row * params.quads + lane;
    // Nothing, for a group past the last row: it meets the barriers all the same.
    let end = select(0u, (row + 1u) * params.quads, row < params.rows);
    var squares = vec4f();
    var curved = vec4f();
    var curvature_squares = vec4f();
    for (var i = first; i < end; i += WG_SIZE) {
        let g = gradient[i];
        let c = curvature[i];
        squares = fma(g, g, squares);
        curved = fma(c, g, curved);
        curvature_squares = fma(c, c, curvature_squares);
    }
    let ones = vec4f(1.0);
    let shares = vec4f(dot(squares, ones), dot(curved, ones), dot(curvature_squares, ones), 0.0);
    let sums = workgroup_sum(shares, lane);
    let is_curved = sums.y > FLATTEST * sqrt(sums.x) * sqrt(sums.z);
    let step = length_of_step(sums.x, select(0.0, sums.y / sums.x, is_curved));
    for (var i = first; i < end; i += WG_SIZE) {
        let g = gradient[i];
        weights[i] = fma(vec4f(-step), g, weights[i]);
        gradient[i] = fma(vec4f(-step), curvature[i], g);
    }
    if lane == 0u && row < params.rows {
        note_seeing(dot(sums, ones), params.origin);
    }
}
