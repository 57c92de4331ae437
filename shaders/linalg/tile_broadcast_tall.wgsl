// linalg/tile_broadcast_tall: the matmul tile for outputs of few columns, where subgroups have exactly 8 lanes.
//
//   C = op(A) op(B)      C: rows x columns, inner length `inner`
//
// linalg/tile_broadcast turned on its side: a tile of 64 rows x 12 columns, sized for the ten classes of the usual
// last layer. Here a lane owns the tile's row quads `lane` and `lane + 8`, for all 12 columns, and op(B) is handed
// round: in each step of eight k, lanes 0..2 load its three blocks at the first four k, lanes 3..5 those at the
// second; lanes 6 and 7 load a block that no one uses. A lane keeps its sums column by column (blocks transposed)
// and turns them round at the end.
//
// Each output element is a chain of one fma per k in increasing k. Subgroup operations stand in uniform control flow.
#import "linalg/own_tile.wgsl"
#import "linalg/tile_bands.wgsl"
#import "linalg/block.wgsl"
#import "linalg/lane_block.wgsl"

const TILE_ROWS: u32 = 64u;
const TILE_COLUMNS: u32 = 12u;

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(subgroup_invocation_id) lane: u32) {
    let tile = own_tile(group, groups);
    if !tile.is_wanted {
        return;
    }
    let near = tile.row * (TILE_ROWS / 4u) + lane;
    let far = near + 8u;
    let column = tile.column * (TILE_COLUMNS / 4u);

    var near_0 = transpose(start_block(near, column));
    var near_1 = transpose(start_block(near, column + 1u));
    var near_2 = transpose(start_block(near, column + 2u));
    var far_0 = transpose(start_block(far, column));
    var far_1 = transpose(start_block(far, column + 1u));
    var far_2 = transpose(start_block(far, column + 2u));
    let inner_quads = (params.inner + 3u) / 4u;
    for (var k = 0u; k < inner_quads; k += 2u) {
        let own = right_block(k + lane / 3u, column + lane % 3u);
        let first_near = left_block(near, k);
        let first_far = left_block(far, k);
        let second_near = left_block(near, k + 1u);
        let second_far = left_block(far, k + 1u);
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

    var sum = finish_block(near, column, transpose(near_0)) + finish_block(far, column, transpose(far_0));
    sum += finish_block(near, column + 1u, transpose(near_1)) + finish_block(far, column + 1u, transpose(far_1));
    sum += finish_block(near, column + 2u, transpose(near_2)) + finish_block(far, column + 2u, transpose(far_2));
    let total = sum_of_lanes(sum);
    if lane == 0u {
        finish_group(tile.number, total);
    }
}
