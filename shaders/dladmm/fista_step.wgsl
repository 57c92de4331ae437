// One accelerated proximal-gradient step of one sample's z_L (Wang et al. 2019, section 4.2: FISTA for subproblem 5), for
// dladmm/fista, which takes them, and dladmm/fista_changes, which looks ahead.
//
//   minimise  -log softmax(z)_label + (rho/2) |z - c|^2,    c = P + b - u/rho,    per sample
//   lambda = 1, zeta = z; repeat:  lambda' = (1 + sqrt(1 + 4 lambda^2)) / 2,   gamma = (1 - lambda) / lambda'
//       zeta' = (rho c + (z - eta (softmax(z) - y)) / eta) / (rho + 1/eta)
//       z = (1 - gamma) zeta' + gamma zeta
//
// The importing kernel declares what dladmm/classes asks for, and `params.eta`.
#import "dladmm/classes.wgsl"

struct Iterate {
    z: Classes,
    zeta: Classes,
    lambda: f32,
}

fn first_iterate(z: Classes) -> Iterate {
    return Iterate(z, z, 1.0);
}

// Takes `at` one step further; `p` is the softmax of its z.
fn advance(at: ptr<function, Iterate>, p: Softmax, scaled_centre: Classes, label: u32, lane: u32) {
    var powers = p.powers;
    var centre = scaled_centre;
    let share = vec4f(p.scale);
    let next_lambda = 0.5 * (1.0 + sqrt(1.0 + 4.0 * (*at).lambda * (*at).lambda));
    let gamma = (1.0 - (*at).lambda) / next_lambda;
    let scale = 1.0 / (control.rho + 1.0 / params.eta);
    for (var k = 0u; k < CLASS_QUADS; k++) {
        let gradient = fma(powers[k], share, -one_hot(label, quad_of(k, lane)));
        let next = (centre[k] + ((*at).z[k] / params.eta - gradient)) * scale;
        (*at).z[k] = (1.0 - gamma) * next + gamma * (*at).zeta[k];
        (*at).zeta[k] = next;
    }
    (*at).lambda = next_lambda;
}
