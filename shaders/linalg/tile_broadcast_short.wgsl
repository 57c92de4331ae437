// linalg/tile_broadcast_short: the matmul tile for outputs of few rows, where subgroups have exactly 8 lanes.
//
//   C = op(A) op(B)      C: rows x columns, inner length `inner`
//
// As linalg/tile_broadcast, with a tile of 12 rows x 64 columns: sized for the ten classes of the usual last layer,
// whose gradient is 10 x features. In each step of eight k, lanes 0..2 load the three blocks of op(A) at the first
// four k, lanes 3..5 those at the second; lanes 6 and 7 load a block that no one uses.
//
// Each output element is a chain of one fma per k in increasing k. Subgroup operations stand in uniform control flow.
#import "linalg/own_tile.wgsl"
#import "linalg/tile_bands.wgsl"
#import "linalg/block.wgsl"
#import "linalg/lane_block.wgsl"

const TILE_ROWS: u32 = 12u;
const TILE_COLUMNS: u32 = 64u;

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(subgroup_invocation_id) lane: u32) {
    let tile = own_tile(group, groups);
    if !tile.is_wanted {
        return;
    }
    let row = tile.row * (TILE_ROWS / 4u);
    let near = tile.column * (TILE_COLUMNS / 4u) + lane;
    let far = near + 8u;

    var near_0 = start_block(row, near);
    var near_1 = start_block(row + 1u, near);
    var near_2 = start_block(row + 2u, near);
    var far_0 = start_block(row, far);
    var far_1 = start_block(row + 1u, far);
    var far_2 = start_block(row + 2u, far);
    let inner_quads = (params.inner + 3u) / 4u;
    for (var k = 0u; k < inner_quads; k += 2u) {
        let own = left_block(row + lane % 3u, k + lane / 3u);
        let first_near = right_block(k, near);
        let first_far = right_block(k, far);
        let second_near = right_block(k + 1u, near);
        let second_far = right_block(k + 1u, far);
        let first_0 = from_lane_0(own);
        near_0 = multiply_block(near_0, first_0, first_near);
        far_0 = multiply_block(far_0, first_0, first_far);
        let first_1 = from_lane_1(own);
        near_1 = multiply_block(near_1, first_1, first_near);
        far_1 = multiply_block(far_1, first_1, first_far);
        let first_2 = from_lane_2(own);
        near_2 = multiply_block(near_2, first_2, first_near);
        far_2 = multiply_block(far_2, first_2, first_far);
        let second_0 = from_lane_3(own);
        near_0 = multiply_block(near_0, second_0, second_near);
        far_0 = multiply_block(far_0, second_0, second_far);
        let second_1 = from_lane_4(own);
        near_1 = multiply_block(near_1, second_1, second_near);
        far_1 = multiply_block(far_1, second_1, second_far);
        let second_2 = from_lane_5(own);
        near_2 = multiply_block(near_2, second_2, second_near);
        far_2 = multiply_block(far_2, second_2, second_far);
    }

    var sum = finish_block(row, near, near_0) + finish_block(row, far, far_0);
    sum += finish_block(row + 1u, near, near_1) + finish_block(row + 1u, far, far_1);
    sum += finish_block(row + 2u, near, near_2) + finish_block(row + 2u, far, far_2);
    let total = sum_of_lanes(sum);
    if lane == 0u {
        finish_group(tile.number, total);
    }
}
