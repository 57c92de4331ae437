// linalg/left_columns: reads op(A) = A^T, stored transposed: inner x rows.
//
//   left_block(i, q)[k][r] = A[4q + k, 4i + r]      r, k = 0..3
//
// Four loads, one per k, each of four neighbouring rows.
// Rows beyond the last repeat the last one, which only reaches outputs that are not kept; k beyond the last repeats
// the last k, which meets the zeros of the right operand. So nothing outside the operand is read, and what is read
// needs no masking.

fn left_block(row_quad: u32, inner_quad: u32) -> mat4x4f {
    let quad = min(row_quad, (params.rows - 1u) / 4u);
    let k = 4u * inner_quad;
    let last = params.inner - 1u;
    return mat4x4f(
        left[min(k, last) * params.left_stride + quad],
        left[min(k + 1u, last) * params.left_stride + quad],
        left[min(k + 2u, last) * params.left_stride + quad],
        left[min(k + 3u, last) * params.left_stride + quad],
    );
}
