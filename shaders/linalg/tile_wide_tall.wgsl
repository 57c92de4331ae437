// linalg/tile_wide_tall: the matmul tile for outputs of few columns, where subgroups have exactly 16 lanes.
//
//   C = op(A) op(B)      C: rows x columns, inner length `inner`
//
// As linalg/tile_broadcast_tall, with a tile of 64 rows x 12 columns: a lane owns the tile's row quad `lane`, and op(B) is
// handed round: in each step of sixteen k, lanes 0..11 load its three blocks at four times four k; the others load a block
// that no one uses.
//
// Each output element is a chain of one fma per k in increasing k. Subgroup operations stand in uniform control flow.
#import "linalg/own_tile.wgsl"
#import "linalg/tile_bands.wgsl"
#import "linalg/block.wgsl"
#import "linalg/lane_block_wide.wgsl"

const TILE_ROWS: u32 = 64u;
const TILE_COLUMNS: u32 = 12u;

@compute @workgroup_size(16)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(subgroup_invocation_id) lane: u32) {
    let tile = own_tile(group, groups);
    if !tile.is_wanted {
        return;
    }
    let quad = tile.row * (TILE_ROWS / 4u) + lane;
    let column = tile.column * (TILE_COLUMNS / 4u);

    var sums_0 = transpose(start_block(quad, column));
    var sums_1 = transpose(start_block(quad, column + 1u));
    var sums_2 = transpose(start_block(quad, column + 2u));
    let inner_quads = (params.inner + 3u) / 4u;
    for (var k = 0u; k < inner_quads; k += 4u) {
        let own = right_block(k + lane / 3u, column + lane % 3u);
        let a_0 = left_block(quad, k);
        sums_0 = multiply_block(sums_0, from_lane_0(own), a_0);
        sums_1 = multiply_block(sums_1, from_lane_1(own), a_0);
        sums_2 = multiply_block(sums_2, from_lane_2(own), a_0);
        let a_1 = left_block(quad, k + 1u);
        sums_0 = multiply_block(sums_0, from_lane_3(own), a_1);
        sums_1 = multiply_block(sums_1, from_lane_4(own), a_1);
        sums_2 = multiply_block(sums_2, from_lane_5(own), a_1);
        let a_2 = left_block(quad, k + 2u);
        sums_0 = multiply_block(sums_0, from_lane_6(own), a_2);
        sums_1 = multiply_block(sums_1, from_lane_7(own), a_2);
        sums_2 = multiply_block(sums_2, from_lane_8(own), a_2);
        let a_3 = left_block(quad, k + 3u);
        sums_0 = multiply_block(sums_0, from_lane_9(own), a_3);
        sums_1 = multiply_block(sums_1, from_lane_10(own), a_3);
        sums_2 = multiply_block(sums_2, from_lane_11(own), a_3);
    }

    var sum = finish_block(quad, column, transpose(sums_0));
    sum += finish_block(quad, column + 1u, transpose(sums_1));
    sum += finish_block(quad, column + 2u, transpose(sums_2));
    let total = sum_of_sixteen_lanes(sum);
    if lane == 0u {
        finish_group(tile.number, total);
    }
}
