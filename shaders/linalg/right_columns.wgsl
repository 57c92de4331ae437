// linalg/right_columns: reads op(B) = B^T, stored transposed: columns x inner.
//
//   right_column(c, q)[k] = B[c, 4q + k]      k = 0..3      zero beyond the last k and the last column
//
// The zeros of the columns that are missing from the last quad become the padding of the output. A quad that straddles
// the last k relies on the zeros that pad the stored rows: a part of K that is multiplied alone ends at a multiple of four
// or at the end of the rows.
#import "linalg/right_turned.wgsl"

fn right_column(column: u32, inner_quad: u32) -> vec4f {
    let last_quad = (params.inner - 1u) / 4u;
    let value = right[min(column, params.columns - 1u) * params.right_stride + min(inner_quad, last_quad)];
    return select(vec4f(), value, column < params.columns && inner_quad <= last_quad);
}
