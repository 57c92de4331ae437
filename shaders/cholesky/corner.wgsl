// cholesky/corner: factors one diagonal block of a positive definite matrix and inverts the factor.
//
//   S = L L^T     Z = L^-1     for a block of `size` <= 64 rows; written as `inverse` and, for the next kernel, `copy`
//   A pivot that is not above floor = steps[slot].y is dropped: its row and column of Z are zero, so that what is
//   solved with Z stays finite and leaves that direction alone. status.dropped counts them.
//
// Shapes: matrix, inverse, copy: size x size, rows `*_stride` vec4s apart; only the lower triangle of `matrix` is read.
//
// One workgroup keeps the block in workgroup memory, row i turned left by i, so that neither rows nor columns meet in
// one bank. L fills the lower triangle; the diagonal holds its reciprocal; Z^T grows in the upper triangle, where each
// lane solves for one column of Z on its own. Oracle: reference::cholesky::corner.
#import "shared/status.wgsl"

const WG_SIZE: u32 = 256u; // @spec
const SIDE: u32 = 64u;

struct Params {
    size: u32,
    matrix_stride: u32,
    inverse_stride: u32,
    copy_stride: u32,
    slot: u32,
}

@group(0) @binding(0) var<storage, read> matrix: array<vec4f>;
@group(0) @binding(1) var<storage, read> steps: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> inverse: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> copy: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> status: Status;
@group(0) @binding(5) var<uniform> params: Params;

var<workgroup> block: array<f32, SIDE * SIDE>;

fn place(row: u32, column: u32) -> u32 {
    return row * SIDE + ((row + column) & (SIDE - 1u));
}

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lane: u32) {
    let quads = (params.size + 3u) / 4u;
    for (var i = lane; i < params.size * quads; i += WG_SIZE) {
        let row = i / quads;
        let quad = i % quads;
        let value = matrix[row * params.matrix_stride + quad];
        for (var k = 0u; k < 4u; k++) {
            block[place(row, 4u * quad + k)] = value[k];
        }
    }
    let dropped = factor(lane);
    invert(lane);
    workgroupBarrier();
    for (var i = lane; i < params.size * quads; i += WG_SIZE) {
        let row = i / quads;
        let quad = i % quads;
        var value: vec4f;
        for (var k = 0u; k < 4u; k++) {
            value[k] = inverse_at(row, 4u * quad + k);
        }
        inverse[row * params.inverse_stride + quad] = value;
        copy[row * params.copy_stride + quad] = value;
    }
    if lane == 0u {
        status.dropped += dropped;
    }
}

// Column after column; each lane owns a column of what is left and every (WG_SIZE / SIDE)th row of it.
fn factor(lane: u32) -> u32 {
    let floor = steps[params.slot].y;
    let column = lane % SIDE;
    var dropped = 0u;
    for (var j = 0u; j < params.size; j++) {
        workgroupBarrier();
        let pivot = block[place(j, j)];
        let is_kept = pivot > floor;
        dropped += select(1u, 0u, is_kept);
        let reciprocal = select(0.0, 1.0 / sqrt(pivot), is_kept);
        workgroupBarrier();
        if lane >= j && lane < params.size {
            block[place(lane, j)] = select(block[place(lane, j)], 1.0, lane == j) * reciprocal;
        }
        workgroupBarrier();
        if column > j && column < params.size {
            let factor = block[place(column, j)];
            for (var row = j + 1u + lane / SIDE; row < params.size; row += WG_SIZE / SIDE) {
                if row >= column {
                    block[place(row, column)] = fma(-block[place(row, j)], factor, block[place(row, column)]);
                }
            }
        }
    }
    workgroupBarrier();
    return dropped;
}

// Z L = I read down its columns: z[r] = -(sum over k = c..r-1 of l[r, k] z[k]) / l[r, r], from z[c] = 1 / l[c, c].
fn invert(column: u32) {
    if column >= params.size {
        return;
    }
    let first = block[place(column, column)];
    for (var row = column + 1u; row < params.size; row++) {
        var sum = block[place(row, column)] * first;
        for (var k = column + 1u; k < row; k++) {
            sum = fma(block[place(row, k)], block[place(column, k)], sum);
        }
        block[place(column, row)] = -sum * block[place(row, row)];
    }
}

fn inverse_at(row: u32, column: u32) -> f32 {
    return select(0.0, block[place(min(row, column), max(row, column))], column <= row);
}
