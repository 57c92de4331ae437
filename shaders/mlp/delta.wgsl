// mlp/delta: one layer of backward propagation, a matrix product with the slope of the activation as its epilogue.
//
//   delta_l = (delta_{l+1} W_{l+1}) o f'          f' from the activation's value a_l = f(z_l)
//
// delta_{l+1}: samples x next width, bound as `left`; W_{l+1}: next width x width, bound as `right`; a_l, delta_l:
// samples x width. Padding is zero. What a workgroup and a lane own is said in the tile file.
// Oracle: reference::mlp::delta.
#import "linalg/left_rows.wgsl"
#import "linalg/right_rows.wgsl"
#import "linalg/output_rows.wgsl"
#import "linalg/tiles_all.wgsl"
#import "linalg/tile_shared.wgsl"
#import "shared/activation_relu.wgsl"

struct Params {
    rows: u32,
    columns: u32,
    inner: u32,
    left_stride: u32,   // quads per stored row
    right_stride: u32,
}

@group(0) @binding(0) var<storage, read> left: array<vec4f>;
@group(0) @binding(1) var<storage, read> right: array<vec4f>;
@group(0) @binding(2) var<storage, read> activation: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> delta: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;

fn start(row: u32, column_quad: u32) -> vec4f {
    return vec4f();
}

fn finish(row: u32, column_quad: u32, value: vec4f) -> vec4f {
    let i = output_quad(row, column_quad);
    delta[i] = value * slope_at_value(activation[i]);
    return vec4f();
}

fn finish_group(tile: u32, sum: f32) {}
