// linalg/gram: G = G + A^T A, exactly symmetric; a sum over samples like linalg/matmul_add.
//
// Shapes: A is inner x rows, stored row after row (samples x features) and bound twice, as `left` and as `right`;
// G is rows x rows, params.columns = params.rows. Stored rows are padded with zeros to whole vec4s, those of G too.
//
// Only tiles that reach the diagonal or lie below it are computed; each element below the diagonal is also written
// to its mirror image. G is bound as single floats because two lanes may write neighbours within one vec4.
// What a workgroup and a lane own is said in the tile file. Oracle: reference::linalg::gram.
#import "linalg/left_columns.wgsl"
#import "linalg/right_rows.wgsl"
#import "linalg/tiles_lower.wgsl"
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
@group(0) @binding(2) var<storage, read_write> gram: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

// Elements above the diagonal belong to their mirror image: what is read for them is not used.
fn start(row: u32, column_quad: u32) -> vec4f {
    let first = 4u * (row * params.product_stride + column_quad);
    return vec4f(gram[first], gram[first + 1u], gram[first + 2u], gram[first + 3u]);
}

fn finish(row: u32, column_quad: u32, value: vec4f) -> vec4f {
    for (var i = 0u; i < 4u; i += 1u) {
        let column = 4u * column_quad + i;
        if column <= row {
            gram[4u * (row * params.product_stride + column_quad) + i] = value[i];
            gram[4u * column * params.product_stride + row] = value[i];
        }
    }
    return vec4f();
}

fn finish_group(tile: u32, sum: f32) {}
