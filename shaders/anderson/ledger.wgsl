// What an accelerator remembers and decides, between sweeps and within one. Written by anderson/open, anderson/solve
// and anderson/judge, one lane each; every other kernel only reads it. The host knows these words by their order
// (kernels::anderson::LEDGER_LENGTH, solvers::anderson::Tally).
const MOST_COLUMNS: u32 = 16u;

struct Ledger {
    sweep: u32,              // sweeps opened so far
    columns: u32,            // columns of the history that hold something: 0 up to this
    slot: u32,               // the newest of them
    has_previous: u32,       // whether residual and image of the sweep before are there
    step: f32,               // t, or beta when extrapolating
    forms: u32,              // this sweep forms a column
    due: u32,                // this sweep is one on which a candidate is tried
    tried: u32,              // a candidate stands in the state
    rejected: u32,           // ... and has to be taken back
    tries: u32,
    accepts: u32,
    rejects_by_merit: u32,
    rejects_not_finite: u32, // a merit that is not finite
    skips: u32,              // solves that gave nothing usable
    clears: u32,
    last_step: f32,          // step of the last candidate that was judged
    penalty_0: u32,          // bits of the caller's penalties in the last sweep
    penalty_1: u32,
    knows_penalties: u32,
    rank: u32,               // columns that the last solve used
    gamma: array<f32, MOST_COLUMNS>,
}
