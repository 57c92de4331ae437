// linalg/tile_wide: the matmul tile for adapters whose subgroups have exactly 16 lanes (software Vulkan with vectors of 512 bits).
//
//   C = op(A) op(B)      C: rows x columns, inner length `inner`
//
// As linalg/tile_broadcast, with a tile of 64 rows x 64 columns: a lane owns the tile's column quad `lane`, for all 64
// rows, sixteen 4 x 4 blocks of sums, and loads the 4 x 4 block of op(A) of row quad `lane`. Here 8 vec4 loads feed 1,024
// multiply-adds, and each instruction serves twice as many lanes.
//
// What the importing file provides is said there. Needs the SUBGROUP feature; the host checks the subgroup size.
//
// Each output element is a chain of one fma per k in increasing k. Subgroup operations stand in uniform control flow.
#import "linalg/own_tile.wgsl"
#import "linalg/tile_bands.wgsl"
#import "linalg/block.wgsl"
#import "linalg/lane_block_wide.wgsl"

const TILE_ROWS: u32 = 64u;
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
    var sums_3 = start_block(row + 3u, quad);
    var sums_4 = start_block(row + 4u, quad);
    var sums_5 = start_block(row + 5u, quad);
    var sums_6 = start_block(row + 6u, quad);
    var sums_7 = start_block(row + 7u, quad);
    var sums_8 = start_block(row + 8u, quad);
    var sums_9 = start_block(row + 9u, quad);
    var sums_10 = start_block(row + 10u, quad);
    var sums_11 = start_block(row + 11u, quad);
    var sums_12 = start_block(row + 12u, quad);
    var sums_13 = start_block(row + 13u, quad);
    var sums_14 = start_block(row + 14u, quad);
    var sums_15 = start_block(row + 15u, quad);
    let inner_quads = (params.inner + 3u) / 4u;
    for (var k = 0u; k < inner_quads; k += 1u) {
        let own = left_block(row + lane, k);
        let b = right_block(k, quad);
        sums_0 = multiply_block(sums_0, from_lane_0(own), b);
        sums_1 = multiply_block(sums_1, from_lane_1(own), b);
        sums_2 = multiply_block(sums_2, from_lane_2(own), b);
        sums_3 = multiply_block(sums_3, from_lane_3(own), b);
        sums_4 = multiply_block(sums_4, from_lane_4(own), b);
        sums_5 = multiply_block(sums_5, from_lane_5(own), b);
        sums_6 = multiply_block(sums_6, from_lane_6(own), b);
        sums_7 = multiply_block(sums_7, from_lane_7(own), b);
        sums_8 = multiply_block(sums_8, from_lane_8(own), b);
        sums_9 = multiply_block(sums_9, from_lane_9(own), b);
        sums_10 = multiply_block(sums_10, from_lane_10(own), b);
        sums_11 = multiply_block(sums_11, from_lane_11(own), b);
        sums_12 = multiply_block(sums_12, from_lane_12(own), b);
        sums_13 = multiply_block(sums_13, from_lane_13(own), b);
        sums_14 = multiply_block(sums_14, from_lane_14(own), b);
        sums_15 = multiply_block(sums_15, from_lane_15(own), b);
    }

    var sum = finish_block(row, quad, sums_0);
    sum += finish_block(row + 1u, quad, sums_1);
    sum += finish_block(row + 2u, quad, sums_2);
    sum += finish_block(row + 3u, quad, sums_3);
    sum += finish_block(row + 4u, quad, sums_4);
    sum += finish_block(row + 5u, quad, sums_5);
    sum += finish_block(row + 6u, quad, sums_6);
    sum += finish_block(row + 7u, quad, sums_7);
    sum += finish_block(row + 8u, quad, sums_8);
    sum += finish_block(row + 9u, quad, sums_9);
    sum += finish_block(row + 10u, quad, sums_10);
    sum += finish_block(row + 11u, quad, sums_11);
    sum += finish_block(row + 12u, quad, sums_12);
    sum += finish_block(row + 13u, quad, sums_13);
    sum += finish_block(row + 14u, quad, sums_14);
    sum += finish_block(row + 15u, quad, sums_15);
    let total = sum_of_sixteen_lanes(sum);
    if lane == 0u {
        finish_group(tile.number, total);
    }
}
