// anderson/open: opens a sweep. Forgets the history when the caller's penalties are others than in the sweep before,
// finds the place of the column that this sweep will form, and says whether a candidate is due.
//
//   penalties changed:  forget, step = first_step
//   forms = has_previous            slot = columns while the history fills, then around; none when extrapolating
//   due   = columns > 0 and sweep >= start and (sweep - start) mod period = 0         sweep counted from 0
//   tried = forms when extrapolating, which needs no solve
//
// watched: anything with the two penalties at `first` and `second`; compared by their bits. One lane does it all.
// Oracle: reference::anderson::open.
#import "anderson/ledger.wgsl"
#import "anderson/forget.wgsl"

struct Params {
    watching: u32,
    first: u32,
    second: u32,
    memory: u32,
    start: u32,
    period: u32,
    extrapolating: u32,
    first_step: f32,
}

@group(0) @binding(0) var<storage, read> watched: array<u32>;
@group(0) @binding(1) var<storage, read_write> ledger: Ledger;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(1)
fn main() {
    if params.watching != 0u {
        compare_penalties();
    }
    let forms = ledger.has_previous;
    if forms != 0u && params.extrapolating == 0u {
        ledger.slot = select((ledger.slot + 1u) % params.memory, ledger.columns, ledger.columns < params.memory);
        ledger.columns = min(ledger.columns + 1u, params.memory);
    }
    let is_turn = ledger.sweep >= params.start && (ledger.sweep - params.start) % params.period == 0u;
    ledger.forms = forms;
    ledger.due = select(0u, 1u, is_turn && ledger.columns > 0u);
    ledger.tried = select(0u, forms, params.extrapolating != 0u);
    ledger.rejected = 0u;
    ledger.has_previous = 1u;
    ledger.sweep += 1u;
}

fn compare_penalties() {
    let now = vec2u(watched[params.first], watched[params.second]);
    let changed = any(now != vec2u(ledger.penalty_0, ledger.penalty_1));
    if ledger.knows_penalties != 0u && changed {
        forget_history();
        ledger.step = params.first_step;
    }
    ledger.penalty_0 = now.x;
    ledger.penalty_1 = now.y;
    ledger.knows_penalties = 1u;
}
