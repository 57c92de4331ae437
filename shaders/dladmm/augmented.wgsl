// The augmented Lagrangian from its terms. The importing kernel declares `totals`, `ridge` and `control`.
//
//   loss + <u, r_L> + (rho/2) |r_L|^2 + (nu/2) sum over hidden layers of |r_l|^2 + |a_l - f(z_l)|^2
//        + sum over layers of ((kappa mu_l + lambda) / 2) |W_l|^2 + lambda_1 |W_l|_1
//   mu_l = ridge[l].x, zero unless steps are exact; lambda = ridge[l].y, lambda_1 = ridge[l].z, penalties on the weights
//
// totals: slot l - 1 holds hidden layer l's terms, then the last layer's terms, the training scores, the test scores
// and (|W|^2, |W|_1) of each layer.
fn augmented_lagrangian(layers: u32) -> f32 {
    let hidden = layers - 1u;
    let end = totals[hidden];
    var squares = 0.0;
    var penalty = 0.0;
    for (var l = 0u; l < hidden; l++) {
        squares += totals[l].x + totals[l].y + ridge[l].x * totals[layers + 2u + l].x;
    }
    for (var l = 0u; l < layers; l++) {
        let terms = totals[layers + 2u + l];
        penalty += ridge[l].y * terms.x + 2.0 * ridge[l].z * terms.y;
    }
    let last_squares = end.z + ridge[hidden].x * totals[layers + 2u + hidden].x;
    return end.x + end.y + 0.5 * (control.rho * last_squares + control.nu * squares + penalty);
}
