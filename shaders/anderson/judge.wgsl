// anderson/judge: keeps the candidate if its merit is finite and no larger than that of the point it replaces.
//
//   keep:    step = min(growth * step, most)
//   reject:  step = max(step / 2, least), rejected = 1
//
// The safeguard's tolerance of 1e-9 relative is nothing in f32, whose eps is 1.2e-7: equality is what it allows.
// merit_before, merit_after: one f32 each, at `before` and `after`. Does nothing where nothing was tried. One lane.
// Oracle: reference::anderson::judge.
#import "shared/finite.wgsl"
#import "anderson/ledger.wgsl"

struct Params {
    before: u32,
    after: u32,
    growth: f32,
    most: f32,
    least: f32,
}

@group(0) @binding(0) var<storage, read> merit_before: array<f32>;
@group(0) @binding(1) var<storage, read> merit_after: array<f32>;
@group(0) @binding(2) var<storage, read_write> ledger: Ledger;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(1)
fn main() {
    if ledger.tried == 0u {
        return;
    }
    let before = merit_before[params.before];
    let after = merit_after[params.after];
    let step = ledger.step;
    ledger.tries += 1u;
    ledger.last_step = step;
    // By bits: compilers may assume that comparisons never see NaN.
    let is_finite_pair = is_finite(before) && is_finite(after);
    if is_finite_pair && after <= before {
        ledger.accepts += 1u;
        ledger.step = min(params.growth * step, params.most);
        return;
    }
    ledger.rejected = 1u;
    ledger.step = max(0.5 * step, params.least);
    if is_finite_pair {
        ledger.rejects_by_merit += 1u;
    } else {
        ledger.rejects_not_finite += 1u;
    }
}
