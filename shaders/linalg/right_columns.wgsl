// linalg/right_columns: reads op(B) = B^T, stored transposed: columns x inner.
//
//   right_block(q, j)[k][c] = B[4j + c, 4q + k]      c, k = 0..3      zero beyond the last k and the last column
//
// Four loads along k, one per column, then a transposition in registers. The zeros of the columns that are missing
// from the last quad become the padding of the output. A quad that straddles the last k relies on the zeros that pad
// the stored rows: a part of K that is multiplied alone ends at a multiple of four or at the end of the rows.

fn right_column(column: u32, inner_quad: u32) -> vec4f {
    let last_quad = (params.inner - 1u) / 4u;
    let value = right[min(column, params.columns - 1u) * params.right_stride + min(inner_quad, last_quad)];
    return select(vec4f(), value, column < params.columns && inner_quad <= last_quad);
}

fn right_block(inner_quad: u32, column_quad: u32) -> mat4x4f {
    let column = 4u * column_quad;
    return transpose(mat4x4f(
        right_column(column, inner_quad),
        right_column(column + 1u, inner_quad),
        right_column(column + 2u, inner_quad),
        right_column(column + 3u, inner_quad),
    ));
}
