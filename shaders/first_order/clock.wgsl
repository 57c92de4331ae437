// first_order/clock: opens a step. Decides whether it is taken, and computes what every parameter shares: the learning
// rate by its schedule, the bias corrections, and the products of NAdam (Dozat 2016, algorithm 2).
//
//   rate = rate_0 schedule(t - 1)
//   scale_first = rate/(1 - beta_1^t),   scale_second = 1/sqrt(1 - beta_2^t)
//   mu_t = beta_1 (1 - exp(t ln 0.96 psi)/2),   M = mu_1 ... mu_t
//   scale_gradient = rate (1 - mu_t)/(1 - M),   scale_ahead = rate mu_(t+1)/(1 - M mu_(t+1))
//
// Where a step is refused, nothing but the verdict changes. One lane does it all. Oracle: reference::first_order::clock.
#import "optimizer/verdict.wgsl"
#import "optimizer/schedule.wgsl"
#import "optimizer/complement.wgsl"
#import "first_order/step_clock.wgsl"

struct Settings {
    rate: f32,
    weight_decay: f32,
    is_decoupled: u32,
    beta_1: f32,
    blend_first: f32,  // 1 - beta_1
    log_beta_1: f32,
    blend_second: f32, // 1 - beta_2
    log_beta_2: f32,
    epsilon: f32,
    log_warming: f32,  // psi ln 0.96
    schedule: Schedule,
}

@group(0) @binding(0) var<storage, read> settings: Settings;
@group(0) @binding(1) var<storage, read_write> found: array<u32>;
@group(0) @binding(2) var<storage, read_write> clock: Clock;

@compute @workgroup_size(1)
fn main() {
    let verdict = after_test(clock.verdict, found[0]);
    clock.verdict = verdict;
    found[0] = 0u;
    if verdict.go == 0u {
        return;
    }
    let t = f32(verdict.steps);
    let rate = settings.rate * schedule_factor(settings.schedule, verdict.steps - 1u);
    let is_decoupled = settings.is_decoupled != 0u;
    clock.rate = rate;
    clock.coupled = select(settings.weight_decay, 0.0, is_decoupled);
    clock.decoupled = select(0.0, rate * settings.weight_decay, is_decoupled);
    clock.blend_first = settings.blend_first;
    clock.blend_second = settings.blend_second;
    clock.scale_first = rate / complement(t * settings.log_beta_1);
    clock.scale_second = 1.0 / sqrt(complement(t * settings.log_beta_2));
    clock.epsilon = settings.epsilon;
    let now = warmed(t);
    let next = warmed(t + 1.0);
    let product = clock.mu_product * now;
    clock.mu_product = product;
    clock.scale_gradient = rate * (1.0 - now) / (1.0 - product);
    clock.scale_ahead = rate * next / (1.0 - product * next);
}

// mu_t
fn warmed(t: f32) -> f32 {
    return settings.beta_1 * (1.0 - 0.5 * exp(t * settings.log_warming));
}
