// linalg/left_rows: reads op(A) = A, stored as it is used: rows x inner.
//
//   left_block(i, q)[k][r] = A[4i + r, 4q + k]      r, k = 0..3
//
// Four loads along k, one per row, then a transposition in registers.
// Rows beyond the last repeat the last one, which only reaches outputs that are not kept; k beyond the last repeats
// the last k, which meets the zeros of the right operand. So nothing outside the operand is read, and what is read
// needs no masking.

fn left_block(row_quad: u32, inner_quad: u32) -> mat4x4f {
    let row = 4u * row_quad;
    let last = params.rows - 1u;
    let quad = min(inner_quad, (params.inner - 1u) / 4u);
    return transpose(mat4x4f(
        left[min(row, last) * params.left_stride + quad],
        left[min(row + 1u, last) * params.left_stride + quad],
        left[min(row + 2u, last) * params.left_stride + quad],
        left[min(row + 3u, last) * params.left_stride + quad],
    ));
}
