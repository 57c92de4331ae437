// dladmm/record: closes an iteration. Puts together the augmented Lagrangian, writes the iteration's record into the
// telemetry ring and moves the schedules on (ALGORITHMS: initialisation and schedules).
//
//   paper:     rho = 10 rho after every 100th iteration
//   official:  when the training cost rose for at least the third iteration running: rho = nu = min(10 rho, 0.1),
//              and tau_0, theta_0 = 10 tau_0, 10 theta_0 for widths of at least 100
//
// totals, ridge: as in dladmm/augmented. Record, as f32: HEAD values (see solvers::dladmm::Record), |r_l|^2 of each
// layer, |a_l - f(z_l)|^2 of each hidden layer, exponents in the order of the sweep. ledger: the accelerator's, zeros
// without one. One lane does it all. Oracle: reference::dladmm::record.
#import "shared/status.wgsl"
#import "dladmm/control.wgsl"
#import "dladmm/augmented.wgsl"
#import "anderson/ledger.wgsl"

const HEAD: u32 = 24u;

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
}

@group(0) @binding(0) var<storage, read> totals: array<vec4f>;
@group(0) @binding(1) var<storage, read> steps: array<vec4f>;
@group(0) @binding(2) var<storage, read> ridge: array<vec4f>;
@group(0) @binding(3) var<storage, read> ledger: Ledger;
@group(0) @binding(4) var<storage, read_write> control: Control;
@group(0) @binding(5) var<storage, read_write> status: Status;
@group(0) @binding(6) var<storage, read_write> ring: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

@compute @workgroup_size(1)
fn main() {
    let hidden = params.layers - 1u;
    let first = (status.iteration % params.ring_length) * params.record_length;
    let end = totals[hidden];
    for (var l = 0u; l < hidden; l++) {
        ring[first + HEAD + l] = totals[l].x;
        ring[first + HEAD + params.layers + l] = totals[l].y;
    }
    ring[first + HEAD + hidden] = end.z;
    for (var slot = 0u; slot < params.slots; slot++) {
        ring[first + HEAD + params.layers + hidden + slot] = steps[slot].y;
    }
    let objective = augmented_lagrangian(params.layers);
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
    ring[first + 14u] = f32(status.dropped);
    ring[first + 15u] = f32(ledger.tried);
    ring[first + 16u] = f32(ledger.tries);
    ring[first + 17u] = f32(ledger.accepts);
    ring[first + 18u] = f32(ledger.rejects_by_merit);
    ring[first + 19u] = f32(ledger.rejects_not_finite);
    ring[first + 20u] = f32(ledger.skips);
    ring[first + 21u] = f32(ledger.clears);
    ring[first + 22u] = ledger.last_step;
    ring[first + 23u] = 0.0;
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
