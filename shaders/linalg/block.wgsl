// linalg/block: 4 x 4 blocks, the unit in which every matmul tile computes.
//
//   sums[r][c] += sum over k = 0..3 of a[k][r] b[k][c]          a[k] = four rows at k, b[k] = four columns at k
//
// The sum over k is strictly sequential, one fma per k, so that a product accumulated over chunks of K has the same
// bits as one pass over all of K.

fn multiply_row(sum: vec4f, a: vec4f, b: mat4x4f) -> vec4f {
    return fma(vec4f(a.w), b[3], fma(vec4f(a.z), b[2], fma(vec4f(a.y), b[1], fma(vec4f(a.x), b[0], sum))));
}

fn multiply_block(sums: mat4x4f, a: mat4x4f, b: mat4x4f) -> mat4x4f {
    return mat4x4f(
        multiply_row(sums[0], vec4f(a[0].x, a[1].x, a[2].x, a[3].x), b),
        multiply_row(sums[1], vec4f(a[0].y, a[1].y, a[2].y, a[3].y), b),
        multiply_row(sums[2], vec4f(a[0].z, a[1].z, a[2].z, a[3].z), b),
        multiply_row(sums[3], vec4f(a[0].w, a[1].w, a[2].w, a[3].w), b),
    );
}
