// linalg/matmul: C = op(A) op(B).
//
// Shapes: C is rows x columns. op(A) is rows x inner: `left`, stored that way (linalg/left_rows) or transposed
// (linalg/left_columns); op(B) is inner x columns: `right`, stored that way (linalg/right_rows) or transposed
// (linalg/right_columns). Every stored row is padded with zeros to whole vec4s; the padding of C comes out zero.
// What a workgroup and a lane own is said in the tile file, which the host chooses by adapter.
// Oracle: reference::linalg::matmul.
#import "linalg/left_rows.wgsl"
#import "linalg/right_rows.wgsl"
#import "linalg/output_rows.wgsl"
#import "linalg/tiles_all.wgsl"
#import "linalg/tile_shared.wgsl"

struct Params {
    rows: u32,
    columns: u32,
    inner: u32,
    left_stride: u32,   // quads per stored row
    right_stride: u32,
    product_stride: u32,
}

@group(0) @binding(0) var<storage, read> left: array<vec4f>;
@group(0) @binding(1) var<storage, read> right: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> product: array<vec4f>;
@group(0) @binding(3) var<uniform> params: Params;

// Where the sum of four output elements begins. Called for the rows and column quads of the output only.
fn start(row: u32, column_quad: u32) -> vec4f {
    return vec4f();
}

// Takes four finished elements; what it returns is summed over the workgroup.
fn finish(row: u32, column_quad: u32, value: vec4f) -> vec4f {
    product[row * params.product_stride + column_quad] = value;
    return vec4f();
}

// Takes that sum, called by one lane of each workgroup.
fn finish_group(tile: u32, sum: f32) {}
