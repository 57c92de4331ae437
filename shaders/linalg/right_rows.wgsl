// linalg/right_rows: reads op(B) = B, stored as it is used: inner x columns.
//
//   right_block(q, j)[k][c] = B[4q + k, 4j + c]      c, k = 0..3      zero beyond the last k
//
// Four loads, one per k, each of four neighbouring columns. Column quads beyond the last repeat the last, for outputs
// that are not kept; the zeros that pad the last quad become the padding of the output.

fn right_row(k: u32, quad: u32) -> vec4f {
    let value = right[min(k, params.inner - 1u) * params.right_stride + quad];
    return select(vec4f(), value, k < params.inner);
}

fn right_block(inner_quad: u32, column_quad: u32) -> mat4x4f {
    let quad = min(column_quad, (params.columns - 1u) / 4u);
    let k = 4u * inner_quad;
    return mat4x4f(right_row(k, quad), right_row(k + 1u, quad), right_row(k + 2u, quad), right_row(k + 3u, quad));
}
