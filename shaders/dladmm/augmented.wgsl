// The augmented Lagrangian from its terms. The importing kernel declares `totals`, `ridge` and `control`.
//
//   loss + <u, r_L> + (rho/2) |r_L|^2 + (nu/2) sum over hidden layers of |r_l|^2 + |a_l - f(z_l)|^2
//        + sum over layers of ((kappa mu_l + lambda) / 2) |W_l|^2
//   mu_l = ridge[l].x, zero unless steps are exact; lambda = ridge[l].y, the penalty on the weights
//
// totals: slot l - 1 holds hidden layer l's terms, then the last layer's terms, the training scores, the test scores
// and |W|^2 of each layer.
fn augmented_lagrangian(layers: u32) -> f32 {
    let hidden = layers - 1u;
    let end = totals[hidden];
    var squares = 0.0;
    var penalty = ridge[hidden].y * totals[layers + 2u + hidden].x;
    for (var l = 0u; l < hidden; l++) {
        let square = totals[layers + 2u + l].x;
        squares += totals[l].x + totals[l].y + ridge[l].x * square;
        penalty += ridge[l].y * square;
    }
    let last_squares = end.z + ridge[hidden].x * totals[layers + 2u + hidden].x;
    return end.x + end.y + 0.5 * (control.rho * last_squares + control.nu * squares + penalty);
}
