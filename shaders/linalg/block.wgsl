// linalg/block: 4 x 4 blocks, the unit in which every matmul tile computes.
//
//   sums[r][c] += sum over k = 0..3 of a[k][r] b[k][c]          a[k] = four rows at k, b[k] = four columns at k
//
// The sum over k is strictly sequential, one fma per k, so that a product accumulated over chunks of K has the same
// bits as one pass over all of K.
//
// The importing kernel provides `start` and `finish` (see linalg/matmul); both are called only for rows and column
// quads that exist.

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

fn start_row(row: u32, column_quad: u32) -> vec4f {
    if row < params.rows && 4u * column_quad < params.columns {
        return start(row, column_quad);
    }
    return vec4f();
}

// Where the accumulation of four rows begins.
fn start_block(row_quad: u32, column_quad: u32) -> mat4x4f {
    let row = 4u * row_quad;
    return mat4x4f(
        start_row(row, column_quad),
        start_row(row + 1u, column_quad),
        start_row(row + 2u, column_quad),
        start_row(row + 3u, column_quad),
    );
}

fn finish_row(row: u32, column_quad: u32, sum: vec4f) -> f32 {
    if row < params.rows && 4u * column_quad < params.columns {
        return dot(finish(row, column_quad, sum), vec4f(1.0));
    }
    return 0.0;
}

// Hands four finished rows to the kernel; returns the sum of what it wants summed.
fn finish_block(row_quad: u32, column_quad: u32, sums: mat4x4f) -> f32 {
    let row = 4u * row_quad;
    let first = finish_row(row, column_quad, sums[0]) + finish_row(row + 1u, column_quad, sums[1]);
    let second = finish_row(row + 2u, column_quad, sums[2]) + finish_row(row + 3u, column_quad, sums[3]);
    return first + second;
}

// Where four elements of the output are stored.
fn output_quad(row: u32, column_quad: u32) -> u32 {
    return row * ((params.columns + 3u) / 4u) + column_quad;
}
