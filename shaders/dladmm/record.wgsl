// dladmm/record: closes an iteration. Puts together the augmented Lagrangian, writes the iteration's record into the
// telemetry ring and moves the schedules on (ALGORITHMS: initialisation and schedules).
//
//   objective = loss + <u, r_L> + (rho/2) |r_L|^2 + (nu/2) sum over hidden layers of |r_l|^2 + |a_l - f(z_l)|^2
//               + (lambda/2) sum over layers of |W_l|^2
//   paper:     rho = 10 rho after every 100th iteration
//   official:  when the training cost rose for at least the third iteration running: rho = nu = min(10 rho, 0.1),
//              and tau_0, theta_0 = 10 tau_0, 10 theta_0 for widths of at least 100
//
// totals: slot l - 1 holds hidden layer l's terms, then the last layer's terms, the training scores, the test scores
// and the sum of |W_l|^2, which is read only where lambda is not 0. Record, as f32: 16 head values (see solvers::dladmm::Record), |r_l|^2 of each layer, |a_l - f(z_l)|^2 of each
// hidden layer, exponents in the order of the sweep. One lane does it all. Oracle: reference::dladmm::record.
#import "shared/status.wgsl"
#import "dladmm/control.wgsl"

const CONSTANT: u32 = 0u;
const PAPER: u32 = 1u;
const OFFICIAL: u32 = 2u;

struct Params {
    layers: u32,
    slots: u32,
    record_length: u32,
    ring_length: u32,
    schedule: u32,
    evaluated: u32,
    wide: u32,
    origin: u32,
    samples: f32,
    lambda: f32,
}

@group(0) @binding(0) var<storage, read> totals: array<vec4f>;
@group(0) @binding(1) var<storage, read> steps: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> control: Control;
@group(0) @binding(3) var<storage, read_write> status: Status;
@group(0) @binding(4) var<storage, read_write> ring: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(1)
fn main() {
    let hidden = params.layers - 1u;
    let first = (status.iteration % params.ring_length) * params.record_length;
    let end = totals[hidden];
    var squares = 0.0;
    for (var l = 0u; l < hidden; l++) {
        squares += totals[l].x + totals[l].y;
        ring[first + 16u + l] = totals[l].x;
        ring[first + 16u + params.layers + l] = totals[l].y;
    }
    ring[first + 16u + hidden] = end.z;
    for (var slot = 0u; slot < params.slots; slot++) {
        ring[first + 16u + params.layers + hidden + slot] = steps[slot].y;
    }
    var objective = end.x + end.y + 0.5 * (control.rho * end.z + control.nu * squares);
    if params.lambda > 0.0 {
        objective += 0.5 * params.lambda * totals[params.layers + 2u].x;
    }
    status = after_seeing(status, objective, params.origin);
    let train = totals[params.layers];
    let test = totals[params.layers + 1u];
    ring[first] = f32(status.iteration + 1u);
    ring[first + 1u] = objective;
    ring[first + 2u] = end.x;
    ring[first + 3u] = control.rho;
    ring[first + 4u] = control.nu;
    ring[first + 5u] = control.tau_0;
    ring[first + 6u] = control.theta_0;
    ring[first + 7u] = f32(params.evaluated);
    ring[first + 8u] = train.x;
    ring[first + 9u] = train.y;
    ring[first + 10u] = test.x;
    ring[first + 11u] = test.y;
    ring[first + 12u] = f32(status.origin);
    ring[first + 13u] = f32(status.failed);
    ring[first + 14u] = 0.0;
    ring[first + 15u] = 0.0;
    move_schedule(train.x / params.samples);
    status.iteration += 1u;
}

fn move_schedule(cost: f32) {
    if params.schedule == PAPER && (status.iteration + 1u) % 100u == 0u {
        control.rho *= 10.0;
    }
    if params.schedule == OFFICIAL {
        let rose = status.iteration > 0u && cost > control.cost;
        control.rises = select(0.0, control.rises + 1.0, rose);
        control.cost = cost;
        if control.rises >= 3.0 {
            control.rho = min(10.0 * control.rho, 0.1);
            control.nu = control.rho;
            let factor = select(1.0, 10.0, params.wide != 0u);
            control.tau_0 *= factor;
            control.theta_0 *= factor;
        }
    }
}
