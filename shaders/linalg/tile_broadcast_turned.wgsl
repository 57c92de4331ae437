// linalg/tile_broadcast_turned: linalg/tile_broadcast turned on its side, for outputs that its tile fits badly.
//
//   C = op(A) op(B)      C: rows x columns, inner length `inner`
//
// One workgroup is one subgroup of exactly 8 lanes and owns a tile of 64 rows x 32 columns. A lane owns the tile's
// row quads `lane` and `lane + 8`, for all 32 columns. In each step of four k, lane l loads the 4 x 4 block of op(B)
// of column quad l and hands it to all lanes by broadcast; each lane loads the two blocks of op(A) of its own rows. A
// lane keeps its sums column by column (blocks transposed) and turns them round at the end.
//
// The cost per multiplication is that of linalg/tile_broadcast; the host takes the one whose tiles cover the output
// with less waste. Each output element is a chain of one fma per k in increasing k, with the same bits in both.
// Subgroup operations stand in uniform control flow.
#import "linalg/own_tile.wgsl"
#import "linalg/tile_bands.wgsl"
#import "linalg/block.wgsl"
#import "linalg/lane_block.wgsl"

const TILE_ROWS: u32 = 64u;
const TILE_COLUMNS: u32 = 32u;

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
    var near_3 = transpose(start_block(near, column + 3u));
    var near_4 = transpose(start_block(near, column + 4u));
    var near_5 = transpose(start_block(near, column + 5u));
    var near_6 = transpose(start_block(near, column + 6u));
    var near_7 = transpose(start_block(near, column + 7u));
    var far_0 = transpose(start_block(far, column));
    var far_1 = transpose(start_block(far, column + 1u));
    var far_2 = transpose(start_block(far, column + 2u));
    var far_3 = transpose(start_block(far, column + 3u));
    var far_4 = transpose(start_block(far, column + 4u));
    var far_5 = transpose(start_block(far, column + 5u));
    var far_6 = transpose(start_block(far, column + 6u));
    var far_7 = transpose(start_block(far, column + 7u));
    let inner_quads = (params.inner + 3u) / 4u;
    for (var k = 0u; k < inner_quads; k += 1u) {
        let own = right_block(k, column + lane);
        let a_near = left_block(near, k);
        let a_far = left_block(far, k);
        let b_0 = from_lane_0(own);
        near_0 = multiply_block(near_0, b_0, a_near);
        far_0 = multiply_block(far_0, b_0, a_far);
        let b_1 = from_lane_1(own);
        near_1 = multiply_block(near_1, b_1, a_near);
        far_1 = multiply_block(far_1, b_1, a_far);
        let b_2 = from_lane_2(own);
        near_2 = multiply_block(near_2, b_2, a_near);
        far_2 = multiply_block(far_2, b_2, a_far);
        let b_3 = from_lane_3(own);
        near_3 = multiply_block(near_3, b_3, a_near);
        far_3 = multiply_block(far_3, b_3, a_far);
        let b_4 = from_lane_4(own);
        near_4 = multiply_block(near_4, b_4, a_near);
        far_4 = multiply_block(far_4, b_4, a_far);
        let b_5 = from_lane_5(own);
        near_5 = multiply_block(near_5, b_5, a_near);
        far_5 = multiply_block(far_5, b_5, a_far);
        let b_6 = from_lane_6(own);
        near_6 = multiply_block(near_6, b_6, a_near);
        far_6 = multiply_block(far_6, b_6, a_far);
        let b_7 = from_lane_7(own);
        near_7 = multiply_block(near_7, b_7, a_near);
        far_7 = multiply_block(far_7, b_7, a_far);
    }

    var sum = finish_block(near, column, transpose(near_0)) + finish_block(far, column, transpose(far_0));
    sum += finish_block(near, column + 1u, transpose(near_1)) + finish_block(far, column + 1u, transpose(far_1));
    sum += finish_block(near, column + 2u, transpose(near_2)) + finish_block(far, column + 2u, transpose(far_2));
    sum += finish_block(near, column + 3u, transpose(near_3)) + finish_block(far, column + 3u, transpose(far_3));
    sum += finish_block(near, column + 4u, transpose(near_4)) + finish_block(far, column + 4u, transpose(far_4));
    sum += finish_block(near, column + 5u, transpose(near_5)) + finish_block(far, column + 5u, transpose(far_5));
    sum += finish_block(near, column + 6u, transpose(near_6)) + finish_block(far, column + 6u, transpose(far_6));
    sum += finish_block(near, column + 7u, transpose(near_7)) + finish_block(far, column + 7u, transpose(far_7));
    let total = sum_of_lanes(sum);
    if lane == 0u {
        finish_group(tile.number, total);
    }
}
