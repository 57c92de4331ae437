// cg/step: one step of conjugate gradients for many systems at once (Hestenes and Stiefel 1952).
//
//   row by row, x S = c with S symmetric positive definite, r = c - x S, d the direction and q = d S:
//   alpha = <r, r> / <d, q>;  x += alpha d;  r -= alpha q;  beta = <r, r> now / <r, r> before;  d = r + beta d
//   A row is left alone where one of these or alpha is not finite, where <r, r> or <d, q> is below SMALLEST, or where
//   <d, q> is below FLATTEST |d| |q|. It is solved, or S is singular for all that f32 can tell: nearer to zero terms
//   underflow, and flatter <d, q> is its own rounding, so that alpha would be anything.
//
// All four: the same shape, rows x columns, `quads` vec4s a row, padding zero. A workgroup owns one row, of any
// length; a lane owns every WG_SIZE-th vec4 of it throughout, so that only the sums cross lanes, by a fixed tree.
// <r, r> is formed anew from the row that is about to be read anyway: the same tree over the same values leaves the
// bits that the step before found. Oracle: reference::cg::step.
#import "shared/index.wgsl"
#import "shared/finite.wgsl"
#import "shared/reduce_tree.wgsl"

const WG_SIZE: u32 = 64u; // @spec
const SMALLEST: f32 = 1e-30;
const FLATTEST: f32 = 1e-6;

struct Params {
    rows: u32,
    quads: u32,
}

@group(0) @binding(0) var<storage, read> image: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> direction: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> residual: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> solution: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups);
    let first = row * params.quads + lane;
    // Nothing, for a group past the last row: it meets the barriers all the same.
    let end = select(0u, (row + 1u) * params.quads, row < params.rows);
    var curvature = vec4f();
    var squares = vec4f();
    var direction_squares = vec4f();
    var image_squares = vec4f();
    for (var i = first; i < end; i += WG_SIZE) {
        let d = direction[i];
        let q = image[i];
        let r = residual[i];
        curvature = fma(d, q, curvature);
        squares = fma(r, r, squares);
        direction_squares = fma(d, d, direction_squares);
        image_squares = fma(q, q, image_squares);
    }
    let shares = vec4f(folded(curvature), folded(squares), folded(direction_squares), folded(image_squares));
    let sums = workgroup_sum(shares, lane);
    let alpha = sums.y / sums.x;
    let is_taken = is_curved(sums) && is_finite(alpha);
    var rest = vec4f();
    if is_taken {
        for (var i = first; i < end; i += WG_SIZE) {
            solution[i] = fma(vec4f(alpha), direction[i], solution[i]);
            let moved = fma(vec4f(-alpha), image[i], residual[i]);
            residual[i] = moved;
            rest = fma(moved, moved, rest);
        }
    }
    let beta = workgroup_sum(vec4f(0.0, folded(rest), 0.0, 0.0), lane).y / sums.y;
    if is_taken {
        for (var i = first; i < end; i += WG_SIZE) {
            direction[i] = fma(vec4f(beta), direction[i], residual[i]);
        }
    }
}

fn is_curved(sums: vec4f) -> bool {
    let is_number = is_finite(sums.x) && is_finite(sums.y) && is_finite(sums.z) && is_finite(sums.w);
    let is_large = sums.x >= SMALLEST && sums.y >= SMALLEST;
    return is_number && is_large && sums.x >= FLATTEST * sqrt(sums.z) * sqrt(sums.w);
}

// The same way for <r, r> before and after, so that both have the same bits.
fn folded(sum: vec4f) -> f32 {
    return (sum.x + sum.y) + (sum.z + sum.w);
}
