// linalg/gram: G = G + A^T A, exactly symmetric; a sum over samples like linalg/matmul_add.
//
// Shapes: A is inner x rows, stored row after row (samples x features) and bound twice, as `left` and as `right`;
// G is rows x rows, params.columns = params.rows. Stored rows are padded with zeros to whole vec4s, those of G too.
//
// Only tiles that reach the diagonal or lie below it are computed, and of their 4 x 4 blocks those that do; each is also
// written, turned round, to its mirror image, whose lane leaves it alone.
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
@group(0) @binding(2) var<storage, read_write> gram: array<vec4f>;
@group(0) @binding(3) var<uniform> params: Params;

fn start_row(row: u32, column_quad: u32) -> vec4f {
    // Rows that are missing from the last block repeat the last one.
    return gram[min(row, params.rows - 1u) * params.product_stride + column_quad];
}

// Elements above the diagonal belong to their mirror image: what a block on it begins with there is not used.
fn start_block(row_quad: u32, column_quad: u32) -> mat4x4f {
    let row = 4u * row_quad;
    if row >= params.rows || column_quad > row_quad {
        return mat4x4f();
    }
    return mat4x4f(
        start_row(row, column_quad),
        start_row(row + 1u, column_quad),
        start_row(row + 2u, column_quad),
        start_row(row + 3u, column_quad),
    );
}

fn write_row(row: u32, column_quad: u32, value: vec4f) {
    if row < params.rows {
        gram[row * params.product_stride + column_quad] = value;
    }
}

fn write_block(row_quad: u32, column_quad: u32, block: mat4x4f) {
    let row = 4u * row_quad;
    write_row(row, column_quad, block[0]);
    write_row(row + 1u, column_quad, block[1]);
    write_row(row + 2u, column_quad, block[2]);
    write_row(row + 3u, column_quad, block[3]);
}

// A block on the diagonal takes what lies above it from below.
fn symmetric(block: mat4x4f) -> mat4x4f {
    return mat4x4f(
        vec4f(block[0].x, block[1].x, block[2].x, block[3].x),
        vec4f(block[1].xy, block[2].y, block[3].y),
        vec4f(block[2].xyz, block[3].z),
        block[3],
    );
}

fn finish_block(row_quad: u32, column_quad: u32, sums: mat4x4f) -> f32 {
    let row = 4u * row_quad;
    if row >= params.rows || column_quad > row_quad {
        return 0.0;
    }
    var mirror = symmetric(sums);
    if column_quad < row_quad {
        write_block(row_quad, column_quad, sums);
        mirror = transpose(sums);
    }
    // Rows beyond the last, which repeat it, are padding there.
    let exists = vec4u(row) + vec4u(0u, 1u, 2u, 3u) < vec4u(params.rows);
    write_block(column_quad, row_quad, mat4x4f(
        select(vec4f(), mirror[0], exists),
        select(vec4f(), mirror[1], exists),
        select(vec4f(), mirror[2], exists),
        select(vec4f(), mirror[3], exists),
    ));
    return 0.0;
}

fn finish_group(tile: u32, sum: f32) {}
