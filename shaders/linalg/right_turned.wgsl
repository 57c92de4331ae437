// linalg/right_turned: a block of op(B) from quads along k, one per column, by a transposition in registers.
//
//   right_block(q, j)[k][c] = right_column(4j + c, q)[k]      c, k = 0..3

fn right_block(inner_quad: u32, column_quad: u32) -> mat4x4f {
    let column = 4u * column_quad;
    return transpose(mat4x4f(
        right_column(column, inner_quad),
        right_column(column + 1u, inner_quad),
        right_column(column + 2u, inner_quad),
        right_column(column + 3u, inner_quad),
    ));
}
