// linalg/tile_broadcast: the matmul tile for adapters whose subgroups have exactly 8 lanes (software Vulkan).
//
//   C = op(A) op(B)      C: rows x columns, inner length `inner`
//
// One workgroup is one subgroup of 8 lanes and owns a tile of 32 rows x 64 columns. A lane owns the tile's column
// quads `lane` and `lane + 8`, for all 32 rows: sixteen 4 x 4 blocks of sums. In each step of four k, lane l loads
// one 4 x 4 block of op(A), that of row quad l, and hands it to all lanes by broadcast; each lane loads the two
// blocks of op(B) of its own columns.
//
// Why this shape: such an adapter runs a load lane by lane, at the price of about a hundred multiply-adds over all
// lanes; a broadcast costs one, a transposition nothing. Here 12 vec4 loads feed 1,024 multiply-adds. A larger tile
// loads less but outgrows the instruction cache, a smaller one loads more.
//
// Rows of op(A) or op(B) that lie K-major in memory are far apart: the host cuts K into parts then, or the page
// tables no longer fit the cache for them; and eight rows of tiles at a time keep their part of op(A) in a core's cache.
//
// Each output element is a chain of one fma per k in increasing k. Subgroup operations stand in uniform control flow.
//
// The importing file provides the bindings, `params`, `left_block`, `right_block`, `start_block` and `finish_block` (most take
// those of linalg/output_rows), `finish_group` and what linalg/own_tile asks for.
// Needs the SUBGROUP feature; the host checks the subgroup size.
#import "linalg/own_tile.wgsl"
#import "linalg/tile_bands.wgsl"
#import "linalg/block.wgsl"
#import "linalg/lane_block.wgsl"

const TILE_ROWS: u32 = 32u;
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
    var near_3 = start_block(row + 3u, near);
    var near_4 = start_block(row + 4u, near);
    var near_5 = start_block(row + 5u, near);
    var near_6 = start_block(row + 6u, near);
    var near_7 = start_block(row + 7u, near);
    var far_0 = start_block(row, far);
    var far_1 = start_block(row + 1u, far);
    var far_2 = start_block(row + 2u, far);
    var far_3 = start_block(row + 3u, far);
    var far_4 = start_block(row + 4u, far);
    var far_5 = start_block(row + 5u, far);
    var far_6 = start_block(row + 6u, far);
    var far_7 = start_block(row + 7u, far);
    let inner_quads = (params.inner + 3u) / 4u;
    for (var k = 0u; k < inner_quads; k += 1u) {
        let own = left_block(row + lane, k);
        let b_near = right_block(k, near);
        let b_far = right_block(k, far);
        let a_0 = from_lane_0(own);
        near_0 = multiply_block(near_0, a_0, b_near);
        far_0 = multiply_block(far_0, a_0, b_far);
        let a_1 = from_lane_1(own);
        near_1 = multiply_block(near_1, a_1, b_near);
        far_1 = multiply_block(far_1, a_1, b_far);
        let a_2 = from_lane_2(own);
        near_2 = multiply_block(near_2, a_2, b_near);
        far_2 = multiply_block(far_2, a_2, b_far);
        let a_3 = from_lane_3(own);
        near_3 = multiply_block(near_3, a_3, b_near);
        far_3 = multiply_block(far_3, a_3, b_far);
        let a_4 = from_lane_4(own);
        near_4 = multiply_block(near_4, a_4, b_near);
        far_4 = multiply_block(far_4, a_4, b_far);
        let a_5 = from_lane_5(own);
        near_5 = multiply_block(near_5, a_5, b_near);
        far_5 = multiply_block(far_5, a_5, b_far);
        let a_6 = from_lane_6(own);
        near_6 = multiply_block(near_6, a_6, b_near);
        far_6 = multiply_block(far_6, a_6, b_far);
        let a_7 = from_lane_7(own);
        near_7 = multiply_block(near_7, a_7, b_near);
        far_7 = multiply_block(far_7, a_7, b_far);
    }

    var sum = finish_block(row, near, near_0) + finish_block(row, far, far_0);
    sum += finish_block(row + 1u, near, near_1) + finish_block(row + 1u, far, far_1);
    sum += finish_block(row + 2u, near, near_2) + finish_block(row + 2u, far, far_2);
    sum += finish_block(row + 3u, near, near_3) + finish_block(row + 3u, far, far_3);
    sum += finish_block(row + 4u, near, near_4) + finish_block(row + 4u, far, far_4);
    sum += finish_block(row + 5u, near, near_5) + finish_block(row + 5u, far, far_5);
    sum += finish_block(row + 6u, near, near_6) + finish_block(row + 6u, far, far_6);
    sum += finish_block(row + 7u, near, near_7) + finish_block(row + 7u, far, far_7);
    let total = sum_of_lanes(sum);
    if lane == 0u {
        finish_group(tile.number, total);
    }
}
