// proximal/trial: whether the curvature alpha = theta_0 2^k lies above the smooth part of a W step's objective along the
// step that it would take under the penalty lambda |W|_1 (Wang et al. 2019, algorithm 3, with a term that is not smooth).
//
//   D = soft(W - (kappa / alpha) G, lambda / alpha) - W          A = a a^T, the Gram matrix of the layer's inputs
//   it does if and only if alpha |D|^2 - kappa <D A, D> >= 0
//   partials[t] = that margin's part in tile t of D A, tiles numbered row by row
//
// W, G: rows x inner, G without its factor kappa and bound as `left`; A: inner x inner, bound as `right`; columns = inner.
// A matrix product whose left operand is made as it is loaded. If an earlier trial passed, as steps[slot].z says, all
// workgroups return at once; the first trial does not ask. What a workgroup and a lane own is said in the tile file.
// Oracle: reference::proximal::trial.
#import "linalg/right_rows.wgsl"
#import "linalg/output_rows.wgsl"
#import "linalg/tile_order.wgsl"
#import "linalg/tile_shared.wgsl"
#import "dladmm/control.wgsl"
#import "dladmm/doublings.wgsl"
#import "proximal/change.wgsl"

struct Params {
    rows: u32,
    columns: u32,
    inner: u32,
    left_stride: u32,   // quads per stored row, of W too
    right_stride: u32,
    slot: u32,
    trial: u32,         // k
    last_layer: u32,
    lambda: f32,
}

@group(0) @binding(0) var<storage, read> left: array<vec4f>;
@group(0) @binding(1) var<storage, read> weights: array<vec4f>;
@group(0) @binding(2) var<storage, read> right: array<vec4f>;
@group(0) @binding(3) var<storage, read> control: Control;
@group(0) @binding(4) var<storage, read> steps: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> partials: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

fn tile_wanted(first_row: u32, first_column: u32) -> bool {
    return params.trial == 0u || steps[params.slot].z == 0.0;
}

fn kappa() -> f32 {
    return select(control.nu, control.rho, params.last_layer != 0u);
}

fn alpha() -> f32 {
    return control.theta_0 * power_of_two(params.trial);
}

fn change_at(i: u32) -> vec4f {
    let length = 1.0 / alpha();
    return change(weights[i], left[i], kappa() * length, params.lambda * length);
}

// As linalg/left_rows reads op(A), edges and all.
fn left_block(row_quad: u32, inner_quad: u32) -> mat4x4f {
    let row = 4u * row_quad;
    let last = params.rows - 1u;
    let quad = min(inner_quad, (params.inner - 1u) / 4u);
    return transpose(mat4x4f(
        change_at(min(row, last) * params.left_stride + quad),
        change_at(min(row + 1u, last) * params.left_stride + quad),
        change_at(min(row + 2u, last) * params.left_stride + quad),
        change_at(min(row + 3u, last) * params.left_stride + quad),
    ));
}

fn start(row: u32, column_quad: u32) -> vec4f {
    return vec4f();
}

fn finish(row: u32, column_quad: u32, value: vec4f) -> vec4f {
    let d = change_at(row * params.left_stride + column_quad);
    return d * (alpha() * d - kappa() * value);
}

fn finish_group(tile: u32, sum: f32) {
    partials[tile] = sum;
}
