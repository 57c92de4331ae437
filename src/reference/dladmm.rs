//! Oracles of `shaders/dladmm/`: the steps of one dlADMM sweep (Wang et al., KDD 2019).
//!
//! Written for `z_l ≈ P_l + b_l`, where `P_l = W_l a_{l−1}` is the product that stays resident. `κ` is ρ for the last
//! layer, which alone has a dual `u`, and ν for the others. Products of matrices are `linalg`'s; the functions here
//! are what a sweep does between them.

use super::elementwise::relu;
use super::loss::{cross_entropy, softmax};
use super::{Bounded, Matrix};

/// The dual of the last layer and its penalty.
#[derive(Debug, Clone, Copy)]
pub struct Dual<'a> {
    /// The multipliers of `z_L = W_L a_{L−1} + b_L`, samples × classes.
    pub u: &'a Matrix,
    /// ρ.
    pub rho: f64,
}

/// `R = P + b − z − u/ρ`, the residual that the steps of `W`, `b` and `a` share; without `dual` the last term is 0.
///
/// # Panics
/// If the shapes disagree.
pub fn residual(product: &Matrix, bias: &Matrix, z: &Matrix, dual: Option<Dual<'_>>) -> Bounded<Matrix> {
    check_layer("residual", product, bias, &[Some(z), dual.map(|dual| dual.u)]);
    Bounded::from_fn(z.rows(), z.cols(), |sample, feature| {
        let at = (sample, feature);
        let (p, b) = (product[at], bias[(0, feature)]);
        let shift = dual.map_or(0.0, |dual| dual.u[at] / dual.rho);
        Bounded { value: p + b - z[at] - shift, magnitude: p.abs() + b.abs() + z[at].abs() + shift.abs() }
    })
}

/// `Σ over samples of R`, one row: all that the bias step needs of the residual.
///
/// # Panics
/// As [`residual`].
pub fn residual_sums(product: &Matrix, bias: &Matrix, z: &Matrix, dual: Option<Dual<'_>>) -> Bounded<Matrix> {
    let r = residual(product, bias, z, dual);
    Bounded::from_fn(1, z.cols(), |_, feature| {
        let mut sum = Bounded::ZERO;
        for sample in 0..z.rows() {
            sum.add_bounded(r.value[(sample, feature)], r.magnitude[(sample, feature)]);
        }
        sum
    })
}

/// `b ← b − (Σ R) / N`, the exact minimiser over `b` (equations 6, 7, 12 and 13, with the mean they lack).
///
/// # Panics
/// If `bias` and `sums` are not rows of one width.
pub fn bias_step(bias: &Matrix, sums: &Matrix, samples: usize) -> Bounded<Matrix> {
    assert_eq!(bias.shape(), sums.shape(), "bias_step: shapes differ");
    Bounded::from_fn(1, bias.cols(), |_, feature| {
        let (b, mean) = (bias[(0, feature)], sums[(0, feature)] / samples as f64);
        Bounded { value: b - mean, magnitude: b.abs() + mean.abs() }
    })
}

/// What [`relu_z`] returns. Where `|margin| ≤ c ε · its magnitude`, either candidate is a right answer in f32.
#[derive(Debug, Clone, PartialEq)]
pub struct ReluZ {
    /// The new z.
    pub kept: Bounded<Matrix>,
    /// The candidate that lost.
    pub dropped: Bounded<Matrix>,
    /// Cost of z⁻ less cost of z⁺.
    pub margin: Bounded<Matrix>,
}

/// The z step of a hidden layer: the minimiser of `(z − c)² + (a − max(z, 0))²`, `c = P + b` (equations 4 and 14).
///
/// Of the candidates `z⁻ = min(c, 0)` and `z⁺ = max((c + a)/2, 0)` the cheaper is kept, z⁻ on a tie.
///
/// # Panics
/// If the shapes disagree.
pub fn relu_z(product: &Matrix, bias: &Matrix, activation: &Matrix) -> ReluZ {
    check_layer("relu_z", product, bias, &[Some(activation)]);
    let (rows, cols) = product.shape();
    let zeros = || Bounded { value: Matrix::zeros(rows, cols), magnitude: Matrix::zeros(rows, cols) };
    let mut result = ReluZ { kept: zeros(), dropped: zeros(), margin: zeros() };
    for sample in 0..rows {
        for feature in 0..cols {
            let at = (sample, feature);
            let (p, b, a) = (product[at], bias[(0, feature)], activation[at]);
            let c = p + b;
            let size = p.abs() + b.abs() + a.abs();
            let below = c.min(0.0);
            let above = ((c + a) / 2.0).max(0.0);
            let cost_below = (below - c).powi(2) + a.powi(2);
            let cost_above = (above - c).powi(2) + (a - above).powi(2);
            let (kept, dropped) = if cost_below > cost_above { (above, below) } else { (below, above) };
            for (field, value, magnitude) in [
                (&mut result.kept, kept, size),
                (&mut result.dropped, dropped, size),
                (&mut result.margin, cost_below - cost_above, size * size),
            ] {
                field.value[at] = value;
                field.magnitude[at] = magnitude;
            }
        }
    }
    result
}

/// What the step of `z_L` reads, both [`fista`] and [`newton`]: `min CE(z; label) + (ρ/2) ‖z − c‖²` for each sample,
/// `c = P + b − u/ρ` (equations 5 and 15).
#[derive(Debug, Clone, Copy)]
pub struct LastLayer<'a> {
    /// Where the iteration starts: the present z_L, samples × classes.
    pub z: &'a Matrix,
    /// P_L.
    pub product: &'a Matrix,
    /// b_L, one row.
    pub bias: &'a Matrix,
    /// The dual.
    pub u: &'a Matrix,
    /// The class of each sample.
    pub labels: &'a [u32],
    /// ρ.
    pub rho: f64,
}

impl LastLayer<'_> {
    /// `ρ c = ρ (P + b) − u` of one sample. Times ρ, because u/ρ is huge at a small ρ and would drown the rest.
    fn target(&self, sample: usize) -> Vec<Bounded<f64>> {
        let terms = self.product.row(sample).iter().zip(self.bias.row(0)).zip(self.u.row(sample));
        let target = terms.map(|((p, b), u)| Bounded {
            value: self.rho * (p + b) - u,
            magnitude: self.rho * (p.abs() + b.abs()) + u.abs(),
        });
        target.collect()
    }

    fn check(&self, kernel: &str) {
        check_layer(kernel, self.product, self.bias, &[Some(self.z), Some(self.u)]);
        assert_eq!(self.labels.len(), self.z.rows(), "{kernel}: one label for each sample");
        let classes = self.z.cols();
        assert!(
            self.labels.iter().all(|&label| (label as usize) < classes),
            "{kernel}: a label beyond {classes}"
        );
    }
}

/// The step of `z_L` by accelerated proximal gradients, `iterations` of them, step η.
///
/// ```text
/// λ = 1, ζ = z;  repeat:  λ' = (1 + √(1 + 4λ²))/2,  γ = (1 − λ)/λ'
///                         ζ' = (ρ c + z/η − (softmax(z) − y)) / (ρ + 1/η),  z = (1 − γ) ζ' + γ ζ
/// ```
///
/// The magnitude adds up what every iteration may round. For η ≤ 2, the reciprocal of the largest curvature, it is a
/// bound up to a small factor at any number of iterations. For η = 4 a gradient step still lengthens no error, but the
/// momentum does: at a small ρ some hundredfold in 50 iterations, hardly in 10. Compare a kernel at one of these.
///
/// # Panics
/// If the shapes disagree, or a label names no class.
pub fn fista(args: LastLayer<'_>, eta: f64, iterations: usize) -> Bounded<Matrix> {
    args.check("fista");
    let (rows, cols) = args.z.shape();
    let mut result = Bounded { value: Matrix::zeros(rows, cols), magnitude: Matrix::zeros(rows, cols) };
    for sample in 0..rows {
        let target = args.target(sample);
        let mut z = args.z.row(sample).to_vec();
        let mut zeta = z.clone();
        let mut magnitude = vec![0.0; cols];
        let mut lambda: f64 = 1.0;
        for _ in 0..iterations {
            let lambda_next = (1.0 + (1.0 + 4.0 * lambda * lambda).sqrt()) / 2.0;
            let gamma = (1.0 - lambda) / lambda_next;
            let p = softmax(&z);
            for class in 0..cols {
                let gradient = p[class] - one_hot(args.labels[sample], class);
                let weight = args.rho + 1.0 / eta;
                let zeta_next = (target[class].value + z[class] / eta - gradient) / weight;
                magnitude[class] += (target[class].magnitude + z[class].abs() / eta + 1.0) / weight;
                z[class] = (1.0 - gamma) * zeta_next + gamma * zeta[class];
                zeta[class] = zeta_next;
            }
            lambda = lambda_next;
        }
        result.value.row_mut(sample).copy_from_slice(&z);
        result.magnitude.row_mut(sample).copy_from_slice(&magnitude);
    }
    result
}

/// What [`newton`] returns.
#[derive(Debug, Clone, PartialEq)]
pub struct Newton {
    /// The new z_L.
    pub z: Bounded<Matrix>,
    /// How many steps each sample took.
    pub steps: Vec<u32>,
}

/// Most steps that [`newton`] takes.
pub const NEWTON_STEPS: u32 = 12;
/// The longest component of a step of [`newton`]; a longer step is shortened as a whole.
pub const NEWTON_TRUST: f64 = 4.0;
/// [`newton`] stops after a step whose components are all below this, relative to the largest of z (or to 1).
pub const NEWTON_TOLERANCE: f64 = 1e-5;

/// The exact step of `z_L`: damped Newton on `softmax(z) − y + ρ (z − c) = 0`.
///
/// The Hessian `diag(p + ρ) − p pᵀ` is inverted by Sherman–Morrison. With `e = 1/(p + ρ)`, `w = p ∘ e` its
/// denominator `1 − pᵀ(e ∘ p)` is `ρ Σ w`, which does not cancel.
///
/// All entries of the inverse are positive, so that applied to the magnitude of the gradient it bounds how far the
/// rounding of the gradient moves the root. That holds of a sample that reached the root, `steps < NEWTON_STEPS`. One
/// that ran out of steps was stopped on its way, where two precisions differ by more. At ρ ≤ 1e-4 f32 mostly runs all
/// steps: its steps settle at ε times this magnitude, which is above the tolerance.
///
/// # Panics
/// If the shapes disagree, or a label names no class.
pub fn newton(args: LastLayer<'_>) -> Newton {
    args.check("newton");
    let (rows, cols) = args.z.shape();
    let bounded = Bounded { value: Matrix::zeros(rows, cols), magnitude: Matrix::zeros(rows, cols) };
    let mut result = Newton { z: bounded, steps: vec![0; rows] };
    for sample in 0..rows {
        let (target, label) = (args.target(sample), args.labels[sample]);
        let mut z = args.z.row(sample).to_vec();
        for _ in 0..NEWTON_STEPS {
            result.steps[sample] += 1;
            let p = softmax(&z);
            let gradient: Vec<f64> = (0..cols)
                .map(|class| p[class] - one_hot(label, class) + args.rho * z[class] - target[class].value)
                .collect();
            let mut step = solve_newton(&p, args.rho, &gradient);
            let damping = (NEWTON_TRUST / max_abs(&step)).min(1.0);
            step.iter_mut().for_each(|s| *s *= damping);
            z.iter_mut().zip(&step).for_each(|(z, s)| *z -= s);
            if max_abs(&step) < NEWTON_TOLERANCE * max_abs(&z).max(1.0) {
                break;
            }
        }
        let p = softmax(&z);
        let gradient_size: Vec<f64> = (0..cols)
            .map(|class| {
                p[class] + one_hot(label, class) + args.rho * z[class].abs() + target[class].magnitude
            })
            .collect();
        result.z.value.row_mut(sample).copy_from_slice(&z);
        let magnitude = solve_newton(&p, args.rho, &gradient_size);
        result.z.magnitude.row_mut(sample).copy_from_slice(&magnitude);
    }
    result
}

/// `(diag(p + ρ) − p pᵀ)⁻¹ g`.
fn solve_newton(p: &[f64], rho: f64, g: &[f64]) -> Vec<f64> {
    let e: Vec<f64> = p.iter().map(|p| 1.0 / (p + rho)).collect();
    let w: Vec<f64> = p.iter().zip(&e).map(|(p, e)| p * e).collect();
    let denominator = rho * w.iter().sum::<f64>();
    let along: f64 = w.iter().zip(g).map(|(w, g)| w * g).sum();
    (0..p.len()).map(|class| e[class] * g[class] + w[class] * along / denominator).collect()
}

/// The gradient of the a step: `g = κ W'ᵀ r' + ν (a − max(z, 0))`, primes for the layer above (equations 2 and 16).
///
/// `weight` is n' × n, `residual` is samples × n', `activation` and `z` are samples × n.
///
/// # Panics
/// If the shapes disagree.
pub fn activation_gradient(
    weight: &Matrix,
    residual: &Matrix,
    kappa: f64,
    activation: &Matrix,
    z: &Matrix,
    nu: f64,
) -> Bounded<Matrix> {
    assert_eq!(activation.shape(), z.shape(), "activation_gradient: a and z differ in shape");
    let back = super::linalg::matmul(residual, false, weight, false, None);
    assert_eq!(back.value.shape(), z.shape(), "activation_gradient: W'ᵀ r' and z differ in shape");
    Bounded::from_fn(z.rows(), z.cols(), |sample, feature| {
        let at = (sample, feature);
        let (a, f) = (activation[at], relu(z[at]));
        Bounded {
            value: kappa * back.value[at] + nu * (a - f),
            magnitude: kappa * back.magnitude[at] + nu * (a.abs() + f),
        }
    })
}

/// What [`step_size`] returns: the curvature `1/step = base · 2^exponent`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepSize {
    /// The number of doublings k.
    pub exponent: u32,
    /// `1 / (base · 2^k)`; 0 where the gradient is 0, so that nothing moves.
    pub step: f64,
}

/// The step that backtracking by doubling finds (Algorithms 2 and 3), in closed form.
///
/// φ is quadratic along the gradient, with curvature `q = shift + κ ‖D‖² / ‖G‖²` where D is the product's change
/// along G. The test `φ(x − G/α) ≤ φ(x) − ‖G‖²/(2α)` holds exactly when `α ≥ q`, so the first of `base · 2^k` that
/// passes it has `k = ⌈log₂ max(1, q/base)⌉`. `shift` is ν for an a step, 0 for a W step.
///
/// The ratio does not see the scale of G: G may leave out a factor κ as long as D leaves it out too, and the step
/// is then to be multiplied by it. A NaN gives k = 0 and a curvature beyond the range of f64 gives a step of 0; no
/// argument makes this run on.
pub fn step_size(gradient_square: f64, product_square: f64, kappa: f64, shift: f64, base: f64) -> StepSize {
    if gradient_square == 0.0 {
        return StepSize { exponent: 0, step: 0.0 };
    }
    let q = shift + kappa * product_square / gradient_square;
    let (mut exponent, mut alpha) = (0, base);
    // Doubling is exact where a logarithm would have to be rounded up exactly.
    while alpha < q && alpha > 0.0 {
        alpha *= 2.0;
        exponent += 1;
    }
    StepSize { exponent, step: 1.0 / alpha }
}

/// What [`gram_step`] returns.
#[derive(Debug, Clone, PartialEq)]
pub struct GramStep {
    /// `W − step · G`.
    pub weight: Bounded<Matrix>,
    /// `G − step · T`, the gradient at the new W.
    pub gradient: Bounded<Matrix>,
}

/// A step of W₁ along `G = r xᵀ` through the Gram matrix of the samples: `T = G (x xᵀ)`.
///
/// `‖G x‖² = ⟨T, G⟩`, so [`step_size`] needs no product over samples, and neither does the next gradient. `step` is
/// κ/α: G is the gradient without its factor κ.
///
/// # Panics
/// If the shapes differ.
pub fn gram_step(weight: &Matrix, gradient: &Matrix, curved: &Matrix, step: f64) -> GramStep {
    GramStep {
        weight: super::elementwise::descend(weight, gradient, step),
        gradient: super::elementwise::descend(gradient, curved, step),
    }
}

/// What [`hidden_terms`] returns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HiddenTerms {
    /// ‖P + b − z‖².
    pub residual_square: Bounded<f64>,
    /// ‖a − max(z, 0)‖².
    pub activation_square: Bounded<f64>,
}

/// The two penalties of a hidden layer (Problem 2), without their factor ν/2.
///
/// # Panics
/// If the shapes disagree.
pub fn hidden_terms(product: &Matrix, bias: &Matrix, z: &Matrix, activation: &Matrix) -> HiddenTerms {
    check_layer("hidden_terms", product, bias, &[Some(z), Some(activation)]);
    let r = residual(product, bias, z, None);
    let mut result = HiddenTerms { residual_square: Bounded::ZERO, activation_square: Bounded::ZERO };
    for (&value, &magnitude) in r.value.data().iter().zip(r.magnitude.data()) {
        result.residual_square.add_square(value, magnitude);
    }
    for (&a, &z) in activation.data().iter().zip(z.data()) {
        // One rounding of a difference of two given numbers: its square is off by its own size.
        result.activation_square.add((a - relu(z)).powi(2));
    }
    result
}

/// What [`dual_step`] returns.
#[derive(Debug, Clone, PartialEq)]
pub struct DualStep {
    /// The new dual.
    pub u: Bounded<Matrix>,
    /// Σ over samples of the cross-entropy at z_L.
    pub loss: Bounded<f64>,
    /// ⟨u, r⟩ with the new dual.
    pub dual_product: Bounded<f64>,
    /// ‖r‖².
    pub residual_square: Bounded<f64>,
}

/// `u ← u + ρ r`, `r = z_L − P_L − b_L`, and the last layer's share of the augmented Lagrangian (equation 1).
///
/// # Panics
/// If the shapes disagree, or a label names no class.
pub fn dual_step(args: LastLayer<'_>) -> DualStep {
    args.check("dual_step");
    let r = residual(args.product, args.bias, args.z, None);
    let (mut loss, mut dual_product, mut residual_square) = (Bounded::ZERO, Bounded::ZERO, Bounded::ZERO);
    let u = Bounded::from_fn(args.z.rows(), args.z.cols(), |sample, class| {
        let at = (sample, class);
        let (r, size) = (-r.value[at], r.magnitude[at]);
        let u = args.u[at] + args.rho * r;
        let u_size = args.u[at].abs() + args.rho * size;
        dual_product.add_bounded(u * r, u.abs() * size + u_size * r.abs());
        residual_square.add_square(r, size);
        Bounded { value: u, magnitude: u_size }
    });
    for (sample, &label) in args.labels.iter().enumerate() {
        let cost = cross_entropy(args.z.row(sample), label);
        loss.add_bounded(cost.value, cost.magnitude);
    }
    DualStep { u, loss, dual_product, residual_square }
}

/// How penalties and first trial curvatures change from one iteration to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// Never.
    Constant,
    /// ρ × 10 after every 100th iteration; ν stays.
    Paper,
    /// The authors' code: after each iteration in which the training cost has risen for at least the third time
    /// running, `ρ ← min(10 ρ, 0.1)`, and θ₀ and τ₀ × 10 where the hidden layers are wide.
    Official {
        /// Neurons of the widest hidden layer; θ₀ and τ₀ grow from a width of 100 on.
        width: usize,
        /// Whether ν is ρ, as in the authors' code, or stays.
        nu_is_rho: bool,
    },
}

/// What [`schedule`] carries from iteration to iteration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScheduleState {
    /// ρ.
    pub rho: f64,
    /// ν.
    pub nu: f64,
    /// The first trial curvature of W steps, θ₀.
    pub theta_base: f64,
    /// The first trial curvature of a steps, τ₀.
    pub tau_base: f64,
    /// Training cost of the iteration before; +∞ before the first.
    pub previous_cost: f64,
    /// How many times running the training cost has risen.
    pub rises: u32,
}

/// The state for the iteration after `iteration` (counted from 1), which ended with the training cost `cost`.
///
/// A NaN among the costs is no rise.
pub fn schedule(kind: Schedule, iteration: u32, cost: f64, state: ScheduleState) -> ScheduleState {
    let rises = if cost > state.previous_cost { state.rises.saturating_add(1) } else { 0 };
    let mut next = ScheduleState { previous_cost: cost, rises, ..state };
    match kind {
        Schedule::Constant => {}
        Schedule::Paper => {
            if iteration.is_multiple_of(100) {
                next.rho = 10.0 * state.rho;
            }
        }
        Schedule::Official { width, nu_is_rho } => {
            if rises >= 3 {
                next.rho = (10.0 * state.rho).min(0.1);
                if nu_is_rho {
                    next.nu = next.rho;
                }
                if width >= 100 {
                    next.theta_base = 10.0 * state.theta_base;
                    next.tau_base = 10.0 * state.tau_base;
                }
            }
        }
    }
    next
}

/// `y` of one class: 1 for the label's.
fn one_hot(label: u32, class: usize) -> f64 {
    if label as usize == class { 1.0 } else { 0.0 }
}

/// The largest magnitude.
fn max_abs(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |top, value| f64::max(top, value.abs()))
}

/// Asserts that `bias` is a row as wide as `product`, and that the operands given are of `product`'s shape.
fn check_layer(kernel: &str, product: &Matrix, bias: &Matrix, others: &[Option<&Matrix>]) {
    assert_eq!(bias.shape(), (1, product.cols()), "{kernel}: shape of the bias");
    for other in others.iter().flatten() {
        assert_eq!(other.shape(), product.shape(), "{kernel}: shapes differ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RHOS: [f64; 4] = [1e-6, 1e-3, 1e-1, 10.0];

    /// One sample of class 0 whose product is `c`, with no bias, and z = 0 so far.
    fn with_last_layer<T>(c: &[f64], u: &[f64], rho: f64, run: impl FnOnce(LastLayer<'_>) -> T) -> T {
        let row = |values: &[f64]| Matrix::new(1, values.len(), values.to_vec());
        let (product, u, zeros) = (row(c), row(u), Matrix::zeros(1, c.len()));
        run(LastLayer { z: &zeros, product: &product, bias: &zeros, u: &u, labels: &[0], rho })
    }

    /// c, and a dual such as a sweep leaves: `y − softmax` of something. (Any other dual of a small ρ has its z
    /// beyond reach, at u/ρ.)
    fn target() -> impl Strategy<Value = (Vec<f64>, Vec<f64>)> {
        let vector = |classes| prop::collection::vec(-5.0..5.0, classes);
        (2usize..12).prop_flat_map(move |classes| (vector(classes), vector(classes))).prop_map(|(c, v)| {
            let p = softmax(&v);
            (c, (0..p.len()).map(|class| one_hot(0, class) - p[class]).collect())
        })
    }

    #[test]
    fn step_size_at_the_edges() {
        let exponent = |q: f64, base: f64| step_size(1.0, q, 1.0, 0.0, base).exponent;
        assert_eq!([exponent(0.0, 1.0), exponent(1.0, 1.0), exponent(4.0, 1.0)], [0, 0, 2]);
        assert_eq!([exponent(4.0f64.next_up(), 1.0), exponent(4.0f64.next_down(), 1.0)], [3, 2]);
        assert_eq!(step_size(2.0, 6.0, 2.0, 3.0, 4.0), StepSize { exponent: 2, step: 1.0 / 16.0 });
        assert_eq!(step_size(0.0, 0.0, 1.0, 1.0, 1.0), StepSize { exponent: 0, step: 0.0 });
        assert_eq!(step_size(1.0, f64::INFINITY, 1.0, 0.0, 1.0).step, 0.0);
        assert_eq!(exponent(f64::NAN, 1.0), 0);
        assert_eq!(exponent(1.0, 0.0), 0);
    }

    #[test]
    fn official_schedule_moves_at_the_third_rise_and_at_each_that_follows() {
        let start = ScheduleState {
            rho: 0.02,
            nu: 0.02,
            theta_base: 1.0,
            tau_base: 1.0,
            previous_cost: f64::INFINITY,
            rises: 0,
        };
        let run = |width: usize, nu_is_rho: bool, costs: &[f64]| {
            let kind = Schedule::Official { width, nu_is_rho };
            let steps = costs.iter().zip(1..);
            steps.fold(start, |state, (&cost, iteration)| schedule(kind, iteration, cost, state))
        };
        assert_eq!(run(200, true, &[1.0, 2.0, 3.0, 2.0, 3.0, 4.0]).rho, 0.02);
        let moved = run(200, true, &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!((moved.rho, moved.nu, moved.theta_base, moved.tau_base), (0.1, 0.1, 10.0, 10.0));
        assert_eq!(run(200, true, &[1.0, 2.0, 3.0, 4.0, 5.0]).theta_base, 100.0);
        let narrow = run(99, false, &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!((narrow.rho, narrow.nu, narrow.theta_base), (0.1, 0.02, 1.0));
        assert_eq!(run(200, true, &[1.0, f64::NAN, 2.0, 3.0, 4.0]).rho, 0.02);
        let paper = |iteration| schedule(Schedule::Paper, iteration, 1.0, start).rho;
        assert_eq!([paper(99), paper(100), paper(101), paper(200)], [0.02, 0.2, 0.02, 0.2]);
    }

    proptest! {
        /// No point on a grid is cheaper than the z that is kept, and z⁻ is kept where both are the same.
        #[test]
        fn relu_z_is_the_minimiser(c in -3.0..3.0f64, a in -3.0..3.0f64) {
            let one = |value| Matrix::new(1, 1, vec![value]);
            let result = relu_z(&one(c), &one(0.0), &one(a));
            let cost = |z: f64| (z - c).powi(2) + (a - relu(z)).powi(2);
            let best = cost(result.kept.value[(0, 0)]);
            prop_assert!((-400..=400).all(|i| best <= cost(f64::from(i) / 100.0) + 1e-12));
            prop_assert!(best <= cost(result.dropped.value[(0, 0)]));
        }

        /// After the bias step the residual has no mean.
        #[test]
        fn bias_step_is_the_minimiser(values in prop::collection::vec(-1.0..1.0f64, 12), rho in 0.1..10.0f64) {
            let (z, u) = (Matrix::new(4, 3, values.clone()), Matrix::new(4, 3, values.iter().map(|v| v * v).collect()));
            let product = z.map(|z| 3.0 * z - 1.0);
            let dual = Some(Dual { u: &u, rho });
            let bias = Matrix::zeros(1, 3);
            let bias = bias_step(&bias, &residual_sums(&product, &bias, &z, dual).value, 4).value;
            prop_assert!(residual_sums(&product, &bias, &z, dual).value.norm() < 1e-12);
        }

        /// Newton solves its equation at any penalty; the dual that follows is `y − softmax(z)`. From afar and at a
        /// small ρ, where each step gains about 1, it takes the steps of two calls.
        #[test]
        fn newton_finds_the_root((c, u) in target()) {
            for rho in RHOS {
                let distance = with_last_layer(&c, &u, rho, |args| {
                    let near = newton(args).z.value;
                    let z = newton(LastLayer { z: &near, ..args }).z.value;
                    let u_new = dual_step(LastLayer { z: &z, ..args }).u.value;
                    let p = softmax(z.row(0));
                    let gap = |class: usize| u_new[(0, class)] - (one_hot(0, class) - p[class]);
                    max_abs(&(0..p.len()).map(gap).collect::<Vec<_>>())
                });
                prop_assert!(distance < 1e-8, "ρ = {rho}: {distance:e}");
            }
        }

        /// Enough accelerated steps come to where Newton comes.
        #[test]
        fn fista_and_newton_agree((c, u) in target(), rho in 0.1..10.0f64) {
            let distance = with_last_layer(&c, &u, rho, |args| {
                let (exact, iterated) = (newton(args).z.value, fista(args, 2.0, 2000).value);
                iterated.relative_error(&exact)
            });
            prop_assert!(distance < 1e-8, "{distance:e}");
        }
    }
}
