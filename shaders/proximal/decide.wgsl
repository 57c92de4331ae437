// proximal/decide: what becomes of a search for a curvature after a trial.
//
//   passes     where the margins that proximal/trial left add up to 0 or more, or alpha >= kappa tr A, which no curvature
//              exceeds, whatever the margins were rounded to
//   steps[slot] = ( 1 / alpha, k, 1 where the search is over and 0 where not, the margin )
//
// After the last trial it is over in any case: where that did not pass, k becomes the smallest with theta_0 2^k >=
// kappa tr A. If an earlier trial passed, nothing changes; the first trial does not ask.
//
// A: size x size, `stride` floats a row. kappa is rho for the last layer, else nu. One workgroup; lanes stride through
// the margins and along the diagonal, then a fixed tree adds them. A margin or trace that is not finite is noted in the
// status under `origin`, and ends the search. Oracle: reference::proximal::decide.
#import "shared/reduce_tree.wgsl"
#import "shared/status.wgsl"
#import "dladmm/control.wgsl"
#import "dladmm/doublings.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    count: u32,
    size: u32,
    stride: u32,
    slot: u32,
    trial: u32,     // k
    is_last: u32,
    last_layer: u32,
    origin: u32,
}

@group(0) @binding(0) var<storage, read> partials: array<f32>;
@group(0) @binding(1) var<storage, read> gram: array<f32>;
@group(0) @binding(2) var<storage, read> control: Control;
@group(0) @binding(3) var<storage, read_write> steps: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> status: Status;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lane: u32) {
    let was_over = params.trial > 0u && steps[params.slot].z != 0.0;
    // Nothing to read where nothing is to be decided; the barriers are met all the same.
    let count = select(params.count, 0u, was_over);
    let size = select(params.size, 0u, was_over);
    var sums = vec4f();
    for (var i = lane; i < count; i += WG_SIZE) {
        sums.x += partials[i];
    }
    for (var i = lane; i < size; i += WG_SIZE) {
        sums.y += gram[i * params.stride + i];
    }
    let total = workgroup_sum(sums, lane);
    if lane == 0u && !was_over {
        decide(total.x, total.y);
    }
}

fn decide(margin: f32, trace: f32) {
    let bound = select(control.nu, control.rho, params.last_layer != 0u) * trace / control.theta_0;
    let is_number = is_finite(margin + bound);
    let passes = margin >= 0.0 || power_of_two(params.trial) >= bound || !is_number;
    let is_over = passes || params.is_last != 0u;
    let k = select(max(params.trial, doublings_to_reach(bound)), params.trial, passes || !is_over);
    steps[params.slot] = vec4f(1.0 / (control.theta_0 * power_of_two(k)), f32(k), select(0.0, 1.0, is_over), margin);
    status = after_seeing(status, margin + bound, params.origin);
}
