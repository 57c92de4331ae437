// anderson/solve: adds up the products of the newest column, and where a candidate is due finds its weights.
//
//   G_ij = <dF_i, dF_j>,  h_i = <dF_i, f>,  s_i = sqrt(max(G_ii, FLOOR))
//   (G / (s s^T) + regularisation I) y = h / s,   gamma = y / s
//
// partials: as anderson/columns leaves them, `chunks` vec4s a pair; gram: G of the columns held, 16 x 16, of which the
// newest row and column are replaced. Elimination takes the largest diagonal first; columns whose diagonal is then no
// larger than what rounding leaves of a dependent one (columns times eps) get gamma = 0. A sum that is not finite, or
// sum |gamma| > MOST_WEIGHT or not finite: the history is forgotten and nothing is tried.
// One workgroup; lane 16 i + j owns element (i, j). Lanes stride through the lists, then a fixed tree adds them.
// Oracle: reference::anderson::solve.
#import "shared/finite.wgsl"
#import "shared/reduce_tree.wgsl"
#import "anderson/ledger.wgsl"
#import "anderson/forget.wgsl"

const WG_SIZE: u32 = 256u;
// The smallest normal number: its root and the reciprocal of that are far from either end of f32. A column whose
// squares sum to less has entries below 1e-19; f64 would put 1e-60 here, which f32 does not have.
const FLOOR: f32 = 1.17549435e-38;
const EPSILON: f32 = 1.1920929e-7;
const MOST_WEIGHT: f32 = 1e4;
const NONE: u32 = MOST_COLUMNS;

struct Params {
    chunks: u32,
    memory: u32,
    regularisation: f32,
}

@group(0) @binding(0) var<storage, read> partials: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> gram: array<f32>;
@group(0) @binding(2) var<storage, read_write> ledger: Ledger;
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> products: array<vec2f, MOST_COLUMNS>;  // (<dF_i, dF>, <dF_i, f>)
var<workgroup> matrix: array<f32, WG_SIZE>;
var<workgroup> right: array<f32, MOST_COLUMNS>;       // h / s, then gamma
var<workgroup> is_pivot: array<u32, MOST_COLUMNS>;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lane: u32) {
    add_products(lane);
    let row = lane / MOST_COLUMNS;
    let column = lane % MOST_COLUMNS;
    let entry = entry_of(row, column, lane);
    matrix[lane] = entry;
    workgroupBarrier();
    let row_scale = scale_of(row);
    let column_scale = scale_of(column);
    workgroupBarrier();
    matrix[lane] = entry / row_scale / column_scale + select(0.0, params.regularisation, row == column);
    if column == 0u {
        right[row] = products[row].y / row_scale;
        is_pivot[row] = 0u;
    }
    workgroupBarrier();
    eliminate(row, column, lane);
    if column == 0u {
        let y = right[row] / matrix[row * MOST_COLUMNS + row];
        right[row] = select(0.0, y / row_scale, is_pivot[row] != 0u);
    }
    workgroupBarrier();
    if lane == 0u {
        decide();
    }
}

// The second pass over the products of every column.
fn add_products(lane: u32) {
    for (var pair = 0u; 2u * pair < params.memory; pair++) {
        var sums = vec4f();
        for (var i = lane; i < params.chunks; i += WG_SIZE) {
            sums += partials[pair * params.chunks + i];
        }
        let total = workgroup_sum(sums, lane);
        if lane == 0u {
            products[2u * pair] = total.xy;
            products[2u * pair + 1u] = total.zw;
        }
    }
    workgroupBarrier();
}

// G_ij, with the newest row and column put in their place; zero where no column is held.
fn entry_of(row: u32, column: u32, lane: u32) -> f32 {
    if max(row, column) >= ledger.columns {
        return 0.0;
    }
    var entry = gram[lane];
    if ledger.forms != 0u {
        if row == ledger.slot {
            entry = products[column].x;
        } else if column == ledger.slot {
            entry = products[row].x;
        }
        gram[lane] = entry;
    }
    return entry;
}

fn scale_of(column: u32) -> f32 {
    return sqrt(max(matrix[column * MOST_COLUMNS + column], FLOOR));
}

// Gauss-Jordan with the largest remaining diagonal as pivot: every lane finds the same one, and moves its own element.
fn eliminate(row: u32, column: u32, lane: u32) {
    for (var round = 0u; round < params.memory; round++) {
        let pivot = next_pivot();
        let place = min(pivot, MOST_COLUMNS - 1u);
        let factor = matrix[row * MOST_COLUMNS + place] / matrix[place * MOST_COLUMNS + place];
        let reduced = fma(-factor, matrix[place * MOST_COLUMNS + column], matrix[lane]);
        let reduced_right = fma(-factor, right[place], right[row]);
        workgroupBarrier();
        if pivot != NONE && row != pivot {
            matrix[lane] = select(reduced, 0.0, column == pivot);
            if column == 0u {
                right[row] = reduced_right;
            }
        }
        if pivot != NONE && lane == 0u {
            is_pivot[pivot] = 1u;
        }
        workgroupBarrier();
    }
}

fn next_pivot() -> u32 {
    var pivot = NONE;
    var largest = f32(ledger.columns) * EPSILON;
    for (var i = 0u; i < ledger.columns; i++) {
        let diagonal = matrix[i * MOST_COLUMNS + i];
        if is_pivot[i] == 0u && diagonal > largest {
            pivot = i;
            largest = diagonal;
        }
    }
    return pivot;
}

fn decide() {
    var is_sound = true;
    var weight = 0.0;
    var rank = 0u;
    for (var i = 0u; i < ledger.columns; i++) {
        is_sound = is_sound && is_finite(products[i].x) && is_finite(products[i].y);
        weight += abs(right[i]);
        rank += is_pivot[i];
    }
    if ledger.due != 0u {
        ledger.rank = rank;
        is_sound = is_sound && is_finite(weight) && weight <= MOST_WEIGHT;
        for (var i = 0u; i < MOST_COLUMNS; i++) {
            ledger.gamma[i] = select(0.0, right[i], i < ledger.columns);
        }
        ledger.tried = select(0u, 1u, is_sound);
        ledger.skips += select(1u, 0u, is_sound);
    }
    if ledger.forms != 0u && !is_sound {
        forget_history();
    }
}
