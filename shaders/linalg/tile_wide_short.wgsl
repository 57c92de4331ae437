// linalg/tile_wide_short: the matmul tile for outputs of few rows, where subgroups have exactly 16 lanes.
//
//   C = op(A) op(B)      C: rows x columns, inner length `inner`
//
// As linalg/tile_wide, with a tile of 12 rows x 64 columns: in each step of sixteen k, lanes 0..11 load the three blocks of
// op(A) at four times four k; the others load a block that no one uses.
//
// Each output element is a chain of one fma per k in increasing k. Subgroup operations stand in uniform control flow.
#import "linalg/own_tile.wgsl"
#import "linalg/tile_bands.wgsl"
#import "linalg/block.wgsl"
#import "linalg/lane_block_wide.wgsl"

const TILE_ROWS: u32 = 12u;
const TILE_COLUMNS: u32 = 64u;

@compute @workgroup_size(16)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(subgroup_invocation_id) lane: u32) {
    let tile = own_tile(group, groups);
    if !tile.is_wanted {
        return;
    }
    let row = tile.row * (TILE_ROWS / 4u);
    let quad = tile.column * (TILE_COLUMNS / 4u) + lane;

    var sums_0 = start_block(row, quad);
    var sums_1 = start_block(row + 1u, quad);
    var sums_2 = start_block(row + 2u, quad);
    let inner_quads = (params.inner + 3u) / 4u;
    for (var k = 0u; k < inner_quads; k += 4u) {
        let own = left_block(row + lane % 3u, k + lane / 3u);
        let b_0 = right_block(k, quad);
        sums_0 = multiply_block(sums_0, from_lane_0(own), b_0);
        sums_1 = multiply_block(sums_1, from_lane_1(own), b_0);
        sums_2 = multiply_block(sums_2, from_lane_2(own), b_0);
        let b_1 = right_block(k + 1u, quad);
        sums_0 = multiply_block(sums_0, from_lane_3(own), b_1);
        sums_1 = multiply_block(sums_1, from_lane_4(own), b_1);
        sums_2 = multiply_block(sums_2, from_lane_5(own), b_1);
        let b_2 = right_block(k + 2u, quad);
        sums_0 = multiply_block(sums_0, from_lane_6(own), b_2);
        sums_1 = multiply_block(sums_1, from_lane_7(own), b_2);
        sums_2 = multiply_block(sums_2, from_lane_8(own), b_2);
        let b_3 = right_block(k + 3u, quad);
        sums_0 = multiply_block(sums_0, from_lane_9(own), b_3);
        sums_1 = multiply_block(sums_1, from_lane_10(own), b_3);
        sums_2 = multiply_block(sums_2, from_lane_11(own), b_3);
    }

    var sum = finish_block(row, quad, sums_0);
    sum += finish_block(row + 1u, quad, sums_1);
    sum += finish_block(row + 2u, quad, sums_2);
    let total = sum_of_sixteen_lanes(sum);
    if lane == 0u {
        finish_group(tile.number, total);
    }
}
