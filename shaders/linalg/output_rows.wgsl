// linalg/output_rows: the blocks of an output that lies in memory row after row, for a matmul tile: where they begin, and where
// they go.
//
// The importing kernel provides `start` and `finish` (see linalg/matmul); both are called only for rows and column
// quads that exist.

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
