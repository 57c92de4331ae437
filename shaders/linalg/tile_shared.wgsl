// linalg/tile_shared: the matmul tile for GPUs, staged in workgroup memory.
//
//   C = op(A) op(B)      C: rows x columns, inner length `inner`
//
// One workgroup of 64 lanes owns a tile of 64 rows x 64 columns and walks K in steps of 16. In each step a lane loads
// one 4 x 4 block of op(A) and one of op(B) into workgroup memory, K-major: one k after another, 16 quads each. A
// lane owns 8 x 8 outputs as four 4 x 4 blocks, its row quads `down` and `down + 8` by its column quads `across` and
// `across + 8`: neighbouring lanes then read neighbouring quads, which no bank serves twice.
//
// Each output element is a chain of one fma per k in increasing k. Every barrier is reached by all lanes: lanes
// beyond an edge load zeros or repeat the edge and store nothing; the only early returns depend on the workgroup.
//
// The importing file provides the bindings, `params`, `start`, `finish`, `finish_group`, `left_block`, `right_block`
// and `tile_wanted` (see linalg/matmul).
#import "shared/index.wgsl"
#import "linalg/tile_order.wgsl"
#import "linalg/block.wgsl"

const TILE_ROWS: u32 = 64u;
const TILE_COLUMNS: u32 = 64u;
const TILE_INNER: u32 = 16u;
const LANES: u32 = 64u;
// Quads from one k to the next: 16 and one more, so that the four k of the blocks that neighbouring lanes store fall
// on different banks.
const STEP: u32 = 17u;

var<workgroup> left_tile: array<vec4f, TILE_INNER * STEP>;
var<workgroup> right_tile: array<vec4f, TILE_INNER * STEP>;
var<workgroup> lane_sums: array<f32, LANES>;

fn band_width() -> u32 {
    return 8u;
}

struct Sums {
    near_near: mat4x4f,
    near_far: mat4x4f,
    far_near: mat4x4f,
    far_far: mat4x4f,
}

// sums[r] += a[r] b
fn add_product(sums: mat4x4f, a: vec4f, b: vec4f) -> mat4x4f {
    return mat4x4f(
        fma(vec4f(a.x), b, sums[0]),
        fma(vec4f(a.y), b, sums[1]),
        fma(vec4f(a.z), b, sums[2]),
        fma(vec4f(a.w), b, sums[3]),
    );
}

// One k of the tile.
fn add_step(sums: Sums, k: u32, down: u32, across: u32) -> Sums {
    let a_near = left_tile[k * STEP + down];
    let a_far = left_tile[k * STEP + down + 8u];
    let b_near = right_tile[k * STEP + across];
    let b_far = right_tile[k * STEP + across + 8u];
    return Sums(
        add_product(sums.near_near, a_near, b_near),
        add_product(sums.near_far, a_near, b_far),
        add_product(sums.far_near, a_far, b_near),
        add_product(sums.far_far, a_far, b_far),
    );
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group, groups);
    let row_tiles = (params.rows + TILE_ROWS - 1u) / TILE_ROWS;
    let column_tiles = (params.columns + TILE_COLUMNS - 1u) / TILE_COLUMNS;
    if index >= row_tiles * column_tiles {
        return;
    }
    let tile = tile_at(index, row_tiles, column_tiles);
    if !tile_wanted(tile.x * TILE_ROWS, tile.y * TILE_COLUMNS) {
        return;
    }
    let row = tile.x * (TILE_ROWS / 4u);
    let column = tile.y * (TILE_COLUMNS / 4u);
    let down = lane / 8u;
    let across = lane % 8u;
    // The block this lane loads: four lanes side by side along k, so that operands stored either way are read in
    // runs of at least 64 bytes.
    let load_quad = lane / 4u;
    let load_inner = lane % 4u;
    let slot = 4u * load_inner * STEP + load_quad;

    var sums = Sums(
        start_block(row + down, column + across),
        start_block(row + down, column + across + 8u),
        start_block(row + down + 8u, column + across),
        start_block(row + down + 8u, column + across + 8u),
    );
    let inner_quads = (params.inner + 3u) / 4u;
    for (var first = 0u; first < inner_quads; first += TILE_INNER / 4u) {
        let a = left_block(row + load_quad, first + load_inner);
        let b = right_block(first + load_inner, column + load_quad);
        // All lanes have finished with the previous step.
        workgroupBarrier();
        left_tile[slot] = a[0];
        left_tile[slot + STEP] = a[1];
        left_tile[slot + 2u * STEP] = a[2];
        left_tile[slot + 3u * STEP] = a[3];
        right_tile[slot] = b[0];
        right_tile[slot + STEP] = b[1];
        right_tile[slot + 2u * STEP] = b[2];
        right_tile[slot + 3u * STEP] = b[3];
        workgroupBarrier();
        for (var k = 0u; k < TILE_INNER; k += 4u) {
            sums = add_step(sums, k, down, across);
            sums = add_step(sums, k + 1u, down, across);
            sums = add_step(sums, k + 2u, down, across);
            sums = add_step(sums, k + 3u, down, across);
        }
    }

    lane_sums[lane] = finish_block(row + down, column + across, sums.near_near)
        + finish_block(row + down, column + across + 8u, sums.near_far)
        + finish_block(row + down + 8u, column + across, sums.far_near)
        + finish_block(row + down + 8u, column + across + 8u, sums.far_far);
    workgroupBarrier();
    if lane == 0u {
        var total = 0.0;
        for (var other = 0u; other < LANES; other += 4u) {
            total += (lane_sums[other] + lane_sums[other + 1u]) + (lane_sums[other + 2u] + lane_sums[other + 3u]);
        }
        finish_group(tile.x * column_tiles + tile.y, total);
    }
}
