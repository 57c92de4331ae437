// badm/clock: opens a step. Decides whether it is taken, and computes what every parameter shares.
//
//   t_s = t_s + 1,   k_s = 1/(1 - beta^t_s) or 1,   scale_s = c_n/sigma schedule(t - 1)
//
// for the slots s = first + n of the batch's sub-batches n; t counts steps, t_s those that used the slot. Where a step is
// refused, nothing but the verdict changes. weights: c_n. One lane does it all. Oracle: reference::badm::clock.
#import "optimizer/verdict.wgsl"
#import "optimizer/schedule.wgsl"
#import "optimizer/complement.wgsl"
#import "badm/step_clock.wgsl"

struct Settings {
    reach: f32,      // 1/sigma
    keep: f32,
    turn: f32,
    blend: f32,
    log_beta: f32,
    is_corrected: u32,
    epsilon: f32,
    seed: u32,
    schedule: Schedule,
}

struct Params {
    first: u32,
    sub_batches: u32,
}

@group(0) @binding(0) var<storage, read> settings: Settings;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read_write> found: array<u32>;
@group(0) @binding(3) var<storage, read_write> clock: Clock;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(1)
fn main() {
    let verdict = after_test(clock.verdict, found[0]);
    clock.verdict = verdict;
    found[0] = 0u;
    if verdict.go == 0u {
        return;
    }
    clock.keep = settings.keep;
    clock.turn = settings.turn;
    clock.blend = settings.blend;
    clock.epsilon = settings.epsilon;
    clock.seed = settings.seed;
    let reach = settings.reach * schedule_factor(settings.schedule, verdict.steps - 1u);
    for (var n = 0u; n < params.sub_batches; n++) {
        let s = params.first + n;
        let t = clock.slots[s].steps + 1u;
        var correction = 1.0;
        if settings.is_corrected != 0u {
            correction = 1.0 / complement(f32(t) * settings.log_beta);
        }
        clock.slots[s] = Slot(t, correction, weights[n] * reach);
    }
}
