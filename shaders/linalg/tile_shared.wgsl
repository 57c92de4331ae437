// linalg/tile_shared: the matmul tile for GPUs, staged in workgroup memory.
//
//   C = op(A) op(B)      C: rows x columns, inner length `inner`
//
// One workgroup owns a tile of TILE_ROWS x TILE_COLUMNS and walks K in steps of 4 INNER_QUADS. In each step its lanes
// bring the 4 x 4 blocks of op(A) and op(B) into workgroup memory, K-major: one k after another, a row of quads each.
// A lane owns DOWN x ACROSS blocks of 4 x 4 outputs, ROW_LANES rows of quads and COLUMN_LANES columns of quads apart:
// neighbouring lanes then read neighbouring quads, which no bank serves twice. How large the tile is, the host chooses:
// large ones read each operand less often, small ones keep more workgroups at work.
//
// Each output element is a chain of one fma per k in increasing k. Every barrier is reached by all lanes: lanes
// beyond an edge load zeros or repeat the edge and store nothing; the only early returns depend on the workgroup.
//
// The importing file provides the bindings, `params`, `left_block`, `right_block`, `start_block` and `finish_block` (most take
// those of linalg/output_rows), `finish_group` and what linalg/own_tile asks for.
#import "linalg/own_tile.wgsl"
#import "linalg/block.wgsl"

const ROW_LANES: u32 = 8u; // @spec
const COLUMN_LANES: u32 = 8u; // @spec
const DOWN: u32 = 2u; // @spec
const ACROSS: u32 = 2u; // @spec
const INNER_QUADS: u32 = 4u; // @spec

const LANES: u32 = ROW_LANES * COLUMN_LANES;
const ROW_QUADS: u32 = ROW_LANES * DOWN;
const COLUMN_QUADS: u32 = COLUMN_LANES * ACROSS;
const TILE_ROWS: u32 = 4u * ROW_QUADS;
const TILE_COLUMNS: u32 = 4u * COLUMN_QUADS;
const TILE_INNER: u32 = 4u * INNER_QUADS;
// By how much the quads of one k are turned against those of the k four before, see `turned`.
const TURN: u32 = 8u / INNER_QUADS;
// Blocks in a step, and how many of them a lane brings at most.
const LEFT_BLOCKS: u32 = ROW_QUADS * INNER_QUADS;
const RIGHT_BLOCKS: u32 = COLUMN_QUADS * INNER_QUADS;
const LEFT_HELD: u32 = (LEFT_BLOCKS + LANES - 1u) / LANES;
const RIGHT_HELD: u32 = (RIGHT_BLOCKS + LANES - 1u) / LANES;
const PANELS: u32 = COLUMN_LANES / 8u;

// Once the product is done, the first holds what lanes have summed.
var<workgroup> left_tile: array<vec4f, TILE_INNER * ROW_QUADS>;
var<workgroup> right_tile: array<vec4f, TILE_INNER * COLUMN_QUADS>;

alias Sums = array<mat4x4f, DOWN * ACROSS>;

fn band_height() -> u32 {
    return 8u;
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

// Where a quad lies among those of its k: eight lanes that store one row of the blocks they hold fall on eight different
// banks, as do eight that read neighbouring quads.
fn turned(quad: u32, inner_quad: u32) -> u32 {
    return quad ^ (TURN * inner_quad);
}

// One k of the tile, given the places of the lane's first quads.
fn add_step(sums: ptr<function, Sums>, k: u32, down: u32, across: u32) {
    var b: array<vec4f, ACROSS>;
    for (var j = 0u; j < ACROSS; j++) {
        b[j] = right_tile[k * COLUMN_QUADS + across + j * COLUMN_LANES];
    }
    for (var i = 0u; i < DOWN; i++) {
        let a = left_tile[k * ROW_QUADS + down + i * ROW_LANES];
        for (var j = 0u; j < ACROSS; j++) {
            (*sums)[i * ACROSS + j] = add_product((*sums)[i * ACROSS + j], a, b[j]);
        }
    }
}

// The blocks that a lane brings in one step: every LANES-th of op(A) and of op(B), from the lane's own number on. Lanes
// side by side go along k, so that operands stored either way are read in runs of at least 64 bytes.
struct Blocks {
    left: array<mat4x4f, LEFT_HELD>,
    right: array<mat4x4f, RIGHT_HELD>,
}

fn load(blocks: ptr<function, Blocks>, first: u32, first_row: u32, first_column: u32, lane: u32) {
    for (var i = 0u; i < LEFT_HELD; i++) {
        let block = lane + i * LANES;
        if block < LEFT_BLOCKS {
            (*blocks).left[i] = left_block(first_row + block / INNER_QUADS, first + block % INNER_QUADS);
        }
    }
    for (var i = 0u; i < RIGHT_HELD; i++) {
        let block = lane + i * LANES;
        if block < RIGHT_BLOCKS {
            (*blocks).right[i] = right_block(first + block % INNER_QUADS, first_column + block / INNER_QUADS);
        }
    }
}

fn store(blocks: ptr<function, Blocks>, lane: u32) {
    for (var i = 0u; i < LEFT_HELD; i++) {
        let block = lane + i * LANES;
        if block < LEFT_BLOCKS {
            let inner_quad = block % INNER_QUADS;
            let first = 4u * inner_quad * ROW_QUADS + turned(block / INNER_QUADS, inner_quad);
            for (var k = 0u; k < 4u; k++) {
                left_tile[first + k * ROW_QUADS] = (*blocks).left[i][k];
            }
        }
    }
    for (var i = 0u; i < RIGHT_HELD; i++) {
        let block = lane + i * LANES;
        if block < RIGHT_BLOCKS {
            let inner_quad = block % INNER_QUADS;
            let first = 4u * inner_quad * COLUMN_QUADS + turned(block / INNER_QUADS, inner_quad);
            for (var k = 0u; k < 4u; k++) {
                right_tile[first + k * COLUMN_QUADS] = (*blocks).right[i][k];
            }
        }
    }
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let tile = own_tile(group, groups);
    if !tile.is_wanted {
        return;
    }
    // Lanes lie in patches of 4 x 8: a subgroup of 32 then reads the fewest different quads.
    let patch_of_lane = lane / 32u;
    let down = patch_of_lane / PANELS * 4u + lane / 8u % 4u;
    let across = patch_of_lane % PANELS * 8u + lane % 8u;
    let first_row = tile.row * ROW_QUADS;
    let first_column = tile.column * COLUMN_QUADS;

    var sums: Sums;
    for (var i = 0u; i < DOWN; i++) {
        for (var j = 0u; j < ACROSS; j++) {
            sums[i * ACROSS + j] = start_block(first_row + down + i * ROW_LANES, first_column + across + j * COLUMN_LANES);
        }
    }
    var blocks: Blocks;
    let inner_quads = (params.inner + 3u) / 4u;
    if inner_quads > 0u {
        load(&blocks, 0u, first_row, first_column, lane);
    }
    for (var first = 0u; first < inner_quads; first += INNER_QUADS) {
        // All lanes have finished with the previous step.
        workgroupBarrier();
        store(&blocks, lane);
        workgroupBarrier();
        // On their way while the step is multiplied; those beyond the last are not used.
        load(&blocks, first + INNER_QUADS, first_row, first_column, lane);
        for (var inner_quad = 0u; inner_quad < INNER_QUADS; inner_quad++) {
            let k = 4u * inner_quad;
            let left_place = turned(down, inner_quad);
            let right_place = turned(across, inner_quad);
            add_step(&sums, k, left_place, right_place);
            add_step(&sums, k + 1u, left_place, right_place);
            add_step(&sums, k + 2u, left_place, right_place);
            add_step(&sums, k + 3u, left_place, right_place);
        }
    }

    var wanted = 0.0;
    for (var i = 0u; i < DOWN; i++) {
        for (var j = 0u; j < ACROSS; j++) {
            wanted += finish_block(first_row + down + i * ROW_LANES, first_column + across + j * COLUMN_LANES,
                                   sums[i * ACROSS + j]);
        }
    }
    // All lanes have finished with the last step.
    workgroupBarrier();
    left_tile[lane].x = wanted;
    workgroupBarrier();
    if lane == 0u {
        var total = 0.0;
        for (var other = 0u; other < LANES; other += 4u) {
            total += (left_tile[other].x + left_tile[other + 1u].x) + (left_tile[other + 2u].x + left_tile[other + 3u].x);
        }
        finish_group(tile.number, total);
    }
}
