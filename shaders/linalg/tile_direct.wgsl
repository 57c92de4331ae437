// linalg/tile_direct: the matmul tile for software adapters without subgroup operations (OpenGL on a CPU).
//
//   C = op(A) op(B)      C: rows x columns, inner length `inner`
//
// One workgroup of 8 lanes owns a tile of 16 rows x 128 columns. A lane owns the column quads `lane`, `lane + 8`,
// `lane + 16` and `lane + 24`, for all 16 rows: sixteen 4 x 4 blocks of sums. In each step of four k it loads the
// four blocks of op(A), the same in all lanes, and the four blocks of op(B) of its own columns.
//
// Why this shape: such an adapter pays for a load in every lane, same address or not, so loads per multiplication
// decide: 32 feed 1,024 here (12 in linalg/tile_broadcast, which needs subgroups of 8).
//
// Each output element is a chain of one fma per k in increasing k.
#import "linalg/own_tile.wgsl"
#import "linalg/tile_bands.wgsl"
#import "linalg/block.wgsl"

const TILE_ROWS: u32 = 16u;
const TILE_COLUMNS: u32 = 128u;

var<workgroup> lane_sums: array<f32, 8>;

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let tile = own_tile(group, groups);
    if !tile.is_wanted {
        return;
    }
    let row = tile.row * (TILE_ROWS / 4u);
    let column = tile.column * (TILE_COLUMNS / 4u) + lane;

    var sums_0_0 = start_block(row, column);
    var sums_1_0 = start_block(row + 1u, column);
    var sums_2_0 = start_block(row + 2u, column);
    var sums_3_0 = start_block(row + 3u, column);
    var sums_0_1 = start_block(row, column + 8u);
    var sums_1_1 = start_block(row + 1u, column + 8u);
    var sums_2_1 = start_block(row + 2u, column + 8u);
    var sums_3_1 = start_block(row + 3u, column + 8u);
    var sums_0_2 = start_block(row, column + 16u);
    var sums_1_2 = start_block(row + 1u, column + 16u);
    var sums_2_2 = start_block(row + 2u, column + 16u);
    var sums_3_2 = start_block(row + 3u, column + 16u);
    var sums_0_3 = start_block(row, column + 24u);
    var sums_1_3 = start_block(row + 1u, column + 24u);
    var sums_2_3 = start_block(row + 2u, column + 24u);
    var sums_3_3 = start_block(row + 3u, column + 24u);
    let inner_quads = (params.inner + 3u) / 4u;
    for (var k = 0u; k < inner_quads; k += 1u) {
        let b_0 = right_block(k, column);
        let b_1 = right_block(k, column + 8u);
        let b_2 = right_block(k, column + 16u);
        let b_3 = right_block(k, column + 24u);
        let a_0 = left_block(row, k);
        sums_0_0 = multiply_block(sums_0_0, a_0, b_0);
        sums_0_1 = multiply_block(sums_0_1, a_0, b_1);
        sums_0_2 = multiply_block(sums_0_2, a_0, b_2);
        sums_0_3 = multiply_block(sums_0_3, a_0, b_3);
        let a_1 = left_block(row + 1u, k);
        sums_1_0 = multiply_block(sums_1_0, a_1, b_0);
        sums_1_1 = multiply_block(sums_1_1, a_1, b_1);
        sums_1_2 = multiply_block(sums_1_2, a_1, b_2);
        sums_1_3 = multiply_block(sums_1_3, a_1, b_3);
        let a_2 = left_block(row + 2u, k);
        sums_2_0 = multiply_block(sums_2_0, a_2, b_0);
        sums_2_1 = multiply_block(sums_2_1, a_2, b_1);
        sums_2_2 = multiply_block(sums_2_2, a_2, b_2);
        sums_2_3 = multiply_block(sums_2_3, a_2, b_3);
        let a_3 = left_block(row + 3u, k);
        sums_3_0 = multiply_block(sums_3_0, a_3, b_0);
        sums_3_1 = multiply_block(sums_3_1, a_3, b_1);
        sums_3_2 = multiply_block(sums_3_2, a_3, b_2);
        sums_3_3 = multiply_block(sums_3_3, a_3, b_3);
    }

    var sum = 0.0;
    sum += finish_block(row, column, sums_0_0);
    sum += finish_block(row + 1u, column, sums_1_0);
    sum += finish_block(row + 2u, column, sums_2_0);
    sum += finish_block(row + 3u, column, sums_3_0);
    sum += finish_block(row, column + 8u, sums_0_1);
    sum += finish_block(row + 1u, column + 8u, sums_1_1);
    sum += finish_block(row + 2u, column + 8u, sums_2_1);
    sum += finish_block(row + 3u, column + 8u, sums_3_1);
    sum += finish_block(row, column + 16u, sums_0_2);
    sum += finish_block(row + 1u, column + 16u, sums_1_2);
    sum += finish_block(row + 2u, column + 16u, sums_2_2);
    sum += finish_block(row + 3u, column + 16u, sums_3_2);
    sum += finish_block(row, column + 24u, sums_0_3);
    sum += finish_block(row + 1u, column + 24u, sums_1_3);
    sum += finish_block(row + 2u, column + 24u, sums_2_3);
    sum += finish_block(row + 3u, column + 24u, sums_3_3);
    lane_sums[lane] = sum;
    workgroupBarrier();
    if lane == 0u {
        let first = (lane_sums[0] + lane_sums[1]) + (lane_sums[2] + lane_sums[3]);
        let second = (lane_sums[4] + lane_sums[5]) + (lane_sums[6] + lane_sums[7]);
        finish_group(tile.number, first + second);
    }
}
