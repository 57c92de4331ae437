// dladmm/activation_gradient: gradient of an activation step, a matrix product with the rest as its epilogue
// (Wang et al. 2019, equation 10), and the gradient's squared norm as one partial sum per tile.
//
//   g = kappa R W + nu (a - f(z))      partials[offset + t] = sum of g^2 in tile t, tiles numbered row by row
//
// R: residual of the next layer, samples x next width, bound as `left`; W: its weights, next width x width, bound as
// `right`; a, z, g: samples x width. kappa is rho when the next layer is the last, else nu. Padding is zero.
// What a workgroup and a lane own is said in the tile file. Oracle: reference::dladmm::activation_gradient.
#import "linalg/left_rows.wgsl"
#import "linalg/right_rows.wgsl"
#import "linalg/output_rows.wgsl"
#import "linalg/tiles_all.wgsl"
#import "linalg/tile_shared.wgsl"
#import "shared/activation_relu.wgsl"
#import "dladmm/control.wgsl"

struct Params {
    rows: u32,
    columns: u32,
    inner: u32,
    left_stride: u32,   // quads per stored row
    right_stride: u32,
    last_layer: u32,
    offset: u32,
}

@group(0) @binding(0) var<storage, read> left: array<vec4f>;
@group(0) @binding(1) var<storage, read> right: array<vec4f>;
@group(0) @binding(2) var<storage, read> activation: array<vec4f>;
@group(0) @binding(3) var<storage, read> z: array<vec4f>;
@group(0) @binding(4) var<storage, read> control: Control;
@group(0) @binding(5) var<storage, read_write> gradient: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> partials: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

fn start(row: u32, column_quad: u32) -> vec4f {
    return vec4f();
}

fn finish(row: u32, column_quad: u32, value: vec4f) -> vec4f {
    let i = output_quad(row, column_quad);
    let kappa = select(control.nu, control.rho, params.last_layer != 0u);
    let gap = activation[i] - activate(z[i], column_quad, params.columns);
    let g = fma(vec4f(kappa), value, control.nu * gap);
    gradient[i] = g;
    return g * g;
}

fn finish_group(tile: u32, sum: f32) {
    partials[params.offset + tile] = sum;
}
