// dladmm/step_size: the step of a quadratic block, without a trial (Wang et al. 2019, equations 10 and 11, whose
// backtracking test holds exactly when the curvature along the gradient is at most alpha).
//
//   q = shift + kappa |M g|^2 / |g|^2           k = ceil(log2(max(1, q / start)))         alpha = start 2^k
//   weights:      g = r a^T without its factor kappa, shift = lambda,  start = theta_0,  steps[slot].x = kappa / alpha
//   activations:  g with its factors,                 shift = nu,      start = tau_0,    steps[slot].x = 1 / alpha
//   steps[slot] = ( step, k, |g|^2, q )         |g| = 0 gives k = 0
//
// lambda: weight of the penalty (lambda/2) |W|^2, of which g then has its part. gradient, product: partial sums of |g|^2 and |M g|^2. kappa is rho for the last layer, else nu. One workgroup; lanes
// stride through each list, then a fixed tree adds them. Norms that are not finite are noted in the status under
// `origin`. Oracle: reference::dladmm::step_size.
#import "shared/reduce_tree.wgsl"
#import "shared/status.wgsl"
#import "dladmm/control.wgsl"
#import "dladmm/doublings.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    gradient_count: u32,
    product_count: u32,
    slot: u32,
    last_layer: u32,
    activation: u32,
    origin: u32,
    lambda: f32,
}

@group(0) @binding(0) var<storage, read> gradient: array<f32>;
@group(0) @binding(1) var<storage, read> product: array<f32>;
@group(0) @binding(2) var<storage, read> control: Control;
@group(0) @binding(3) var<storage, read_write> steps: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> status: Status;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sums = vec4f();
    for (var i = lane; i < params.gradient_count; i += WG_SIZE) {
        sums.x += gradient[i];
    }
    for (var i = lane; i < params.product_count; i += WG_SIZE) {
        sums.y += product[i];
    }
    let norms = workgroup_sum(sums, lane);
    if lane != 0u {
        return;
    }
    let kappa = select(control.nu, control.rho, params.last_layer != 0u);
    let is_activation = params.activation != 0u;
    let shift = select(params.lambda, control.nu, is_activation);
    let start = select(control.theta_0, control.tau_0, is_activation);
    var q = 0.0;
    if norms.x > 0.0 {
        q = shift + kappa * (norms.y / norms.x);
    }
    let doublings = doublings_to_reach(q / start);
    let step = select(kappa, 1.0, is_activation) / (start * power_of_two(doublings));
    steps[params.slot] = vec4f(step, f32(doublings), norms.x, q);
    status = after_seeing(status, norms.x + norms.y, params.origin);
}
