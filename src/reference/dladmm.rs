//! Oracles of `shaders/dladmm/`: the steps of one dlADMM sweep (Wang et al., KDD 2019).
//!
//! Written for `z_l ≈ P_l + b_l`, where `P_l = W_l a_{l−1}` is the product that stays resident. `κ` is ρ for the last
//! layer, which alone has a dual `u`, and ν for the others. The `goal` of a layer is what `P + b` is drawn to: `z`, and
//! `z + u/ρ` for the last. Products of matrices are `linalg`'s; the functions here are what a sweep does between them.

use super::loss::{cross_entropy, softmax, squares};
use super::{Activation, Bounded, Matrix};

/// What an iteration is steered by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Control {
    /// ρ, the penalty of the last layer's constraint.
    pub rho: f64,
    /// ν, the penalty of the others.
    pub nu: f64,
    /// τ₀, where the search for an activation's curvature starts.
    pub tau_0: f64,
    /// θ₀, the same for weights.
    pub theta_0: f64,
    /// Training cost of the iteration before.
    pub cost: f64,
    /// How many times running it has risen.
    pub rises: u32,
    /// How many steps of z_L the stop test asks for, without one more than any.
    pub fista_steps: f64,
}

impl Control {
    /// Penalties and starts, before the first iteration.
    pub fn new(rho: f64, nu: f64, tau_0: f64, theta_0: f64) -> Self {
        Self { rho, nu, tau_0, theta_0, cost: 0.0, rises: 0, fista_steps: f64::from(f32::MAX) }
    }

    /// κ.
    pub(super) fn kappa(&self, last_layer: bool) -> f64 {
        if last_layer { self.rho } else { self.nu }
    }
}

/// `z + u/ρ`, the goal of the last layer.
///
/// # Panics
/// If the shapes differ.
pub fn dual_target(z: &Matrix, dual: &Matrix, rho: f64) -> Bounded<Matrix> {
    assert_eq!(z.shape(), dual.shape(), "dual_target: shapes differ");
    Bounded::from_fn(z.rows(), z.cols(), |sample, class| {
        let (z, shift) = (z[(sample, class)], dual[(sample, class)] / rho);
        Bounded { value: z + shift, magnitude: z.abs() + shift.abs() }
    })
}

/// `R = P + b − goal`, the residual that the steps of `W`, `b` and `a` share.
///
/// # Panics
/// If the shapes disagree.
pub fn residual(product: &Matrix, bias: &Matrix, goal: &Matrix) -> Bounded<Matrix> {
    check_layer("residual", product, bias, &[goal]);
    Bounded::from_fn(goal.rows(), goal.cols(), |sample, feature| {
        let at = (sample, feature);
        let (p, b) = (product[at], bias[(0, feature)]);
        Bounded { value: p + b - goal[at], magnitude: p.abs() + b.abs() + goal[at].abs() }
    })
}

/// Samples in each row of [`residual_sums`].
pub const SUM_CHUNK: usize = 64;

/// Sums of R over samples, a row for each [`SUM_CHUNK`] of them: all that the bias step needs of the residual.
///
/// # Panics
/// As [`residual`].
pub fn residual_sums(product: &Matrix, bias: &Matrix, goal: &Matrix) -> Bounded<Matrix> {
    let r = residual(product, bias, goal);
    let samples = goal.rows();
    Bounded::from_fn(samples.div_ceil(SUM_CHUNK), goal.cols(), |chunk, feature| {
        let mut sum = Bounded::ZERO;
        for sample in chunk * SUM_CHUNK..((chunk + 1) * SUM_CHUNK).min(samples) {
            sum.add_bounded(r.value[(sample, feature)], r.magnitude[(sample, feature)]);
        }
        sum
    })
}

/// `b ← b − (Σ R) / N`, the exact minimiser over `b` (equations 6, 7, 12 and 13, with the mean they lack), from the
/// rows of [`residual_sums`]. Without samples b stays.
///
/// # Panics
/// If `bias` is not a row as wide as `partials`.
pub fn bias_step(partials: &Matrix, samples: usize, bias: &Matrix) -> Bounded<Matrix> {
    assert_eq!(bias.shape(), (1, partials.cols()), "bias_step: shape of the bias");
    Bounded::from_fn(1, bias.cols(), |_, feature| {
        let mut sum = Bounded::ZERO;
        for chunk in 0..partials.rows() {
            sum.add(partials[(chunk, feature)]);
        }
        let (b, samples) = (bias[(0, feature)], samples.max(1) as f64);
        Bounded { value: b - sum.value / samples, magnitude: b.abs() + sum.magnitude / samples }
    })
}

/// What [`hidden_z`] returns. Where `|margin| ≤ c ε · its magnitude`, either candidate is a right answer in f32.
#[derive(Debug, Clone, PartialEq)]
pub struct HiddenZ {
    /// The new z.
    pub kept: Bounded<Matrix>,
    /// The candidate that lost.
    pub dropped: Bounded<Matrix>,
    /// By how much the costs of the two differ.
    pub margin: Bounded<Matrix>,
}

/// The z step of a hidden layer: the minimiser of `(z − c)² + (a − f(z))²`, `c = P + b` (equations 4 and 14).
///
/// Two candidates are compared, and the first kept on a tie. For leaky ReLU with slope s below zero, of which ReLU is
/// the case s = 0, they are `z⁻ = min((c + s a)/(1 + s²), 0)` and `z⁺ = max((c + a)/2, 0)`. For sigmoid and tanh they
/// are the stationary points nearest to c and farthest from it.
///
/// # Panics
/// If the shapes disagree.
pub fn hidden_z(product: &Matrix, bias: &Matrix, activation: &Matrix, f: Activation) -> HiddenZ {
    check_layer("hidden_z", product, bias, &[activation]);
    let (rows, cols) = product.shape();
    let zeros = || Bounded { value: Matrix::zeros(rows, cols), magnitude: Matrix::zeros(rows, cols) };
    let mut result = HiddenZ { kept: zeros(), dropped: zeros(), margin: zeros() };
    for sample in 0..rows {
        for feature in 0..cols {
            let at = (sample, feature);
            let (p, b, a) = (product[at], bias[(0, feature)], activation[at]);
            let c = p + b;
            let size = p.abs() + b.abs() + a.abs();
            let (candidates, size) = match f {
                Activation::Relu => (leaky_candidates(c, a, 0.0, size), size),
                Activation::LeakyRelu(slope) => (leaky_candidates(c, a, slope, size), size),
                // f is at most 1.
                Activation::Sigmoid | Activation::Tanh => {
                    (smooth_candidates(c, a, f, size + 1.0), size + 1.0)
                }
            };
            let costs = candidates.map(|it| (it.value - c).powi(2) + (a - f.value(it.value)).powi(2));
            let [first, second] = candidates;
            let (kept, dropped) = if costs[0] > costs[1] { (second, first) } else { (first, second) };
            for (field, value, magnitude) in [
                (&mut result.kept, kept.value, kept.magnitude),
                (&mut result.dropped, dropped.value, dropped.magnitude),
                (&mut result.margin, costs[0] - costs[1], size * size),
            ] {
                field.value[at] = value;
                field.magnitude[at] = magnitude;
            }
        }
    }
    result
}

/// z⁻ and z⁺, their terms adding up to `size`.
fn leaky_candidates(c: f64, a: f64, slope: f64, size: f64) -> [Bounded<f64>; 2] {
    let below = ((c + slope * a) / (1.0 + slope * slope)).min(0.0);
    let above = ((c + a) / 2.0).max(0.0);
    [below, above].map(|value| Bounded { value, magnitude: size })
}

/// The stationary points of `h(z) = (z − c)² + (a − f(z))²` nearest to c and farthest from it, for sigmoid or tanh.
///
/// With `z = c + s x`, s the sign of `a − f(c)`, they are the first and the last root of `g(x) = x − s (a − f) f′` over
/// `0 ≤ x ≤ |a − f(c)|`; there are three at most. They are bracketed on a grid and found by halving. Where g is off by
/// ε `size`, its root is off by that over g′; that, and c and z which x is the distance of, make up the magnitude.
fn smooth_candidates(c: f64, a: f64, f: Activation, size: f64) -> [Bounded<f64>; 2] {
    const CELLS: usize = 1000;
    let gap = a - f.value(c);
    let side = gap.signum();
    let g = |x: f64| {
        let z = c + side * x;
        x - side * (a - f.value(z)) * f.derivatives(z).0
    };
    // Beyond the span |(a − f) f′| is less than 1: roots lie within 1 of c or within the span of 0.
    let span = (4.0 * (1.0 + a.abs())).ln();
    let end = gap.abs().min((span - side * c).max(1.0));
    let start = (-span - side * c).clamp(0.0, end);
    let mut points = vec![0.0];
    points.extend((0..CELLS).map(|k| start + (end - start) * k as f64 / CELLS as f64));
    points.push(end);
    let first = points.windows(2).find(|pair| g(pair[0]) <= 0.0 && g(pair[1]) >= 0.0);
    let last = points.windows(2).rev().find(|pair| g(pair[0]) <= 0.0 && g(pair[1]) >= 0.0);
    [first, last].map(|bracket| {
        // A NaN among the operands is in no bracket.
        let (mut low, mut high) = bracket.map_or((f64::NAN, f64::NAN), |pair| (pair[0], pair[1]));
        for _ in 0..100 {
            let middle = f64::midpoint(low, high);
            if g(middle) < 0.0 { low = middle } else { high = middle }
        }
        let value = c + side * low;
        let (first, second) = f.derivatives(value);
        let curvature = 1.0 + first * first - (a - f.value(value)) * second;
        let root = size / curvature.max(f64::from(f32::EPSILON));
        Bounded { value, magnitude: root + c.abs() + value.abs() }
    })
}

/// What z_L is drawn to.
#[derive(Debug, Clone, Copy)]
pub enum Targets<'a> {
    /// A class for each sample, for softmax cross-entropy.
    Classes(&'a [u32]),
    /// A row for each sample, for the squared loss `½ ‖z − y‖²`.
    Values(&'a Matrix),
}

/// What the step of `z_L` reads, be it [`fista`], [`newton`] or [`squared_z`]: `min R(z; y) + (ρ/2) ‖z − c‖²` for each
/// sample, `c = P + b − u/ρ` (equations 5 and 15).
#[derive(Debug, Clone, Copy)]
pub struct LastLayer<'a> {
    /// Where the iteration starts: the present z_L, samples × classes.
    pub z: &'a Matrix,
    /// P_L.
    pub product: &'a Matrix,
    /// b_L, one row.
    pub bias: &'a Matrix,
    /// u.
    pub dual: &'a Matrix,
    /// y.
    pub targets: Targets<'a>,
    /// ρ.
    pub rho: f64,
}

impl LastLayer<'_> {
    /// `ρ c = ρ (P + b) − u` of one sample. Times ρ, because u/ρ is huge at a small ρ and would drown the rest.
    fn target(&self, sample: usize) -> Vec<Bounded<f64>> {
        let terms = self.product.row(sample).iter().zip(self.bias.row(0)).zip(self.dual.row(sample));
        let target = terms.map(|((p, b), u)| Bounded {
            value: self.rho * (p + b) - u,
            magnitude: self.rho * (p.abs() + b.abs()) + u.abs(),
        });
        target.collect()
    }

    fn check(&self, kernel: &str) {
        check_layer(kernel, self.product, self.bias, &[self.z, self.dual]);
        match self.targets {
            Targets::Values(values) => {
                assert_eq!(values.shape(), self.z.shape(), "{kernel}: shape of the targets")
            }
            Targets::Classes(labels) => {
                assert_eq!(labels.len(), self.z.rows(), "{kernel}: one label for each sample");
                let classes = self.z.cols();
                let known = labels.iter().all(|&label| (label as usize) < classes);
                assert!(known, "{kernel}: a label beyond {classes}");
            }
        }
    }

    /// The class of a sample, for what is defined for classes alone.
    fn label(&self, sample: usize) -> u32 {
        match self.targets {
            Targets::Classes(labels) => labels[sample],
            Targets::Values(_) => panic!("a step for classes was given values"),
        }
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
        let last = fista_iterates(args, sample, eta).nth(iterations);
        let (z, magnitude): (Vec<_>, Vec<_>) = last.iter().flatten().map(|z| (z.value, z.magnitude)).unzip();
        result.value.row_mut(sample).copy_from_slice(&z);
        result.magnitude.row_mut(sample).copy_from_slice(&magnitude);
    }
    result
}

/// One sample's z before the first step of [`fista`], after it, and so on.
fn fista_iterates(args: LastLayer<'_>, sample: usize, eta: f64) -> impl Iterator<Item = Vec<Bounded<f64>>> {
    let (target, label) = (args.target(sample), args.label(sample));
    let weight = args.rho + 1.0 / eta;
    let start = args.z.row(sample).iter().map(|&value| Bounded { value, magnitude: 0.0 }).collect::<Vec<_>>();
    let first = (start.clone(), start, 1.0f64);
    std::iter::successors(Some(first), move |(z, zeta, lambda)| {
        let lambda_next = (1.0 + (1.0 + 4.0 * lambda * lambda).sqrt()) / 2.0;
        let gamma = (1.0 - lambda) / lambda_next;
        let p = softmax(&z.iter().map(|z| z.value).collect::<Vec<_>>());
        let (mut z, mut zeta) = (z.clone(), zeta.clone());
        for (class, target) in target.iter().enumerate() {
            let (z, zeta) = (&mut z[class], &mut zeta[class]);
            let gradient = p[class] - one_hot(label, class);
            let next = (target.value + z.value / eta - gradient) / weight;
            z.magnitude += (target.magnitude + z.value.abs() / eta + 1.0) / weight;
            z.value = (1.0 - gamma) * next + gamma * zeta.value;
            zeta.value = next;
        }
        Some((z, zeta, lambda_next))
    })
    .map(|(z, ..)| z)
}

/// By how much each of the first `iterations` steps of [`fista`] changes each sample's objective
/// `−log softmax(z)_label + (ρ/2) ‖z − c‖²`: samples × iterations.
///
/// The objective without `(ρ/2) ‖c‖²`, which no step changes, evaluated afresh at each iterate. The magnitude is that of the
/// gradient times what the step moves and what its ends may be off by.
///
/// # Panics
/// If the shapes disagree, or a label names no class.
pub fn fista_changes(args: LastLayer<'_>, eta: f64, iterations: usize) -> Bounded<Matrix> {
    args.check("fista_changes");
    let rows = args.z.rows();
    let mut result =
        Bounded { value: Matrix::zeros(rows, iterations), magnitude: Matrix::zeros(rows, iterations) };
    for sample in 0..rows {
        let (target, label) = (args.target(sample), args.label(sample));
        let objective = |z: &[Bounded<f64>]| -> f64 {
            let p = softmax(&z.iter().map(|z| z.value).collect::<Vec<_>>());
            let pull =
                |z: &Bounded<f64>, target: &Bounded<f64>| z.value * (args.rho * z.value / 2.0 - target.value);
            z.iter().zip(&target).map(|(z, target)| pull(z, target)).sum::<f64>() - p[label as usize].ln()
        };
        let iterates: Vec<_> = fista_iterates(args, sample, eta).take(iterations + 1).collect();
        for (step, ends) in iterates.windows(2).enumerate() {
            let (before, after) = (&ends[0], &ends[1]);
            let terms = before.iter().zip(after).zip(&target).enumerate();
            result.value[(sample, step)] = objective(after) - objective(before);
            result.magnitude[(sample, step)] = terms
                .map(|(class, ((before, after), target))| {
                    let pull = args.rho * before.value.abs().max(after.value.abs()) + target.magnitude;
                    let slope = 1.0 + one_hot(label, class) + pull;
                    let moved = (after.value - before.value).abs();
                    slope * (moved + before.magnitude + after.magnitude)
                })
                .sum();
        }
    }
    result
}

/// How many steps [`fista`] takes by the authors' stop test: as many as end with the first that changes the objective by less
/// than `tolerance`, given its change by each step; `iterations` where none does.
pub fn fista_stop(changes: &[f64], iterations: usize, tolerance: f64) -> usize {
    let still = changes.iter().take(iterations).position(|change| change.abs() < tolerance);
    still.map_or(iterations, |step| step + 1)
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
/// [`newton`] stops after a step whose components are all below this, relative to the largest of z (or to 1).
pub const NEWTON_TOLERANCE: f64 = 1e-5;

/// The exact step of `z_L`: damped Newton on `softmax(z) − y + ρ (z − c) = 0`.
///
/// The Hessian `diag(p + ρ) − p pᵀ` is inverted by Sherman–Morrison. With `e = 1/(p + ρ)`, `w = p ∘ e` its
/// denominator `1 − pᵀ(e ∘ p)` is `ρ Σ w`, which does not cancel.
///
/// A step of range `β = max s − min s` is scaled by `ln(1 + β)/β`: the softmax's curvature changes by at most `exp(β)`
/// along it, and that factor makes every step descend (Sun, Tran-Dinh: Generalized self-concordant functions, ν = 2).
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
        let (target, label) = (args.target(sample), args.label(sample));
        let mut z = args.z.row(sample).to_vec();
        for _ in 0..NEWTON_STEPS {
            result.steps[sample] += 1;
            let p = softmax(&z);
            let gradient: Vec<f64> = (0..cols)
                .map(|class| p[class] - one_hot(label, class) + args.rho * z[class] - target[class].value)
                .collect();
            let mut step = solve_newton(&p, args.rho, &gradient);
            let damping = damping(&step);
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

/// The step of `z_L` under squared loss, `z = (y + ρ (P + b) − u)/(1 + ρ)`.
///
/// # Panics
/// If the shapes disagree, or the targets are classes.
pub fn squared_z(args: LastLayer<'_>) -> Bounded<Matrix> {
    args.check("squared_z");
    let Targets::Values(values) = args.targets else { panic!("squared_z: targets are classes") };
    let targets: Vec<_> = (0..args.z.rows()).map(|sample| args.target(sample)).collect();
    Bounded::from_fn(args.z.rows(), args.z.cols(), |sample, output| {
        let (y, target, weight) = (values[(sample, output)], targets[sample][output], 1.0 + args.rho);
        Bounded { value: (y + target.value) / weight, magnitude: (y.abs() + target.magnitude) / weight }
    })
}

/// How much of a step is safe to take, `ln(1 + β)/β` of its range β.
fn damping(step: &[f64]) -> f64 {
    let (low, high) = step.iter().fold((f64::MAX, f64::MIN), |(low, high), &s| (low.min(s), high.max(s)));
    let range = high - low;
    if range > 1e-3 { range.ln_1p() / range } else { 1.0 }
}

/// `(diag(p + ρ) − p pᵀ)⁻¹ g`.
fn solve_newton(p: &[f64], rho: f64, g: &[f64]) -> Vec<f64> {
    let e: Vec<f64> = p.iter().map(|p| 1.0 / (p + rho)).collect();
    let w: Vec<f64> = p.iter().zip(&e).map(|(p, e)| p * e).collect();
    let denominator = rho * w.iter().sum::<f64>();
    let along: f64 = w.iter().zip(g).map(|(w, g)| w * g).sum();
    (0..p.len()).map(|class| e[class] * g[class] + w[class] * along / denominator).collect()
}

/// The gradient of the a step, `g = κ W'ᵀ r' + ν (a − f(z))`, primes for the layer above (equations 2 and 16), and
/// ‖g‖².
///
/// `weights` is n' × n, `residual` is samples × n', `activation` and `z` are samples × n. κ is ρ where the layer above
/// is the last.
///
/// # Panics
/// If the shapes disagree.
pub fn activation_gradient(
    residual: &Matrix,
    weights: &Matrix,
    activation: &Matrix,
    z: &Matrix,
    f: Activation,
    control: &Control,
    last_layer: bool,
) -> (Bounded<Matrix>, Bounded<f64>) {
    assert_eq!(activation.shape(), z.shape(), "activation_gradient: a and z differ in shape");
    let back = super::linalg::matmul(residual, false, weights, false);
    assert_eq!(back.value.shape(), z.shape(), "activation_gradient: W'ᵀ r' and z differ in shape");
    let (kappa, nu) = (control.kappa(last_layer), control.nu);
    let mut square = Bounded::ZERO;
    let gradient = Bounded::from_fn(z.rows(), z.cols(), |sample, feature| {
        let at = (sample, feature);
        let (a, f) = (activation[at], f.bounded(z[at]));
        let value = kappa * back.value[at] + nu * (a - f.value);
        let magnitude = kappa * back.magnitude[at] + nu * (a.abs() + f.value.abs() + f.magnitude);
        square.add_square(value, magnitude);
        Bounded { value, magnitude }
    });
    (gradient, square)
}

/// `G + (λ/κ) W`: the part of `(λ/2) ‖W‖²` in a gradient that is kept without its factor κ.
///
/// # Panics
/// If the shapes differ.
pub fn weight_penalty(
    weights: &Matrix,
    control: &Control,
    (lambda, last_layer): (f64, bool),
    gradient: &Matrix,
) -> Bounded<Matrix> {
    super::elementwise::descend(gradient, weights, -lambda / control.kappa(last_layer))
}

/// Which quadratic block a step size is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Block {
    /// W. Its gradient is kept without the factor κ, which is then in the step. With a penalty `(λ/2) ‖W‖²` the gradient
    /// has [`weight_penalty`]'s part, and λ is added to the curvature.
    Weights {
        /// λ.
        lambda: f64,
    },
    /// a. Its own penalty adds ν to the curvature.
    Activation,
}

/// What [`step_size`] returns: `α = base · 2^exponent`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepSize {
    /// `1/α` for an a step, `κ/α` for a W step.
    pub step: f64,
    /// The number of doublings k.
    pub exponent: u32,
    /// ‖G‖².
    pub gradient_square: f64,
    /// q, the curvature along G; 0 where G is 0.
    pub curvature: f64,
}

/// The step that backtracking by doubling finds (Algorithms 2 and 3), in closed form.
///
/// φ is quadratic along the gradient, with curvature `q = shift + κ ‖D‖² / ‖G‖²` where D is the product's change
/// along G. The test `φ(x − G/α) ≤ φ(x) − ‖G‖²/(2α)` holds exactly when `α ≥ q`, so the first of `base · 2^k` that
/// passes it has `k = ⌈log₂ max(1, q/base)⌉`. For an a step `shift` is ν and `base` τ₀; for a W step λ and θ₀.
///
/// The ratio does not see the scale of G: G may leave out a factor κ as long as D leaves it out too. A NaN gives k = 0
/// and a curvature beyond the range of f64 gives a step of 0; no argument makes this run on.
pub fn step_size(
    gradient_square: f64,
    product_square: f64,
    control: &Control,
    block: Block,
    last_layer: bool,
) -> StepSize {
    let kappa = control.kappa(last_layer);
    let (shift, base, scale) = match block {
        Block::Weights { lambda } => (lambda, control.theta_0, kappa),
        Block::Activation => (control.nu, control.tau_0, 1.0),
    };
    let moves = gradient_square > 0.0;
    let curvature = if moves { shift + kappa * (product_square / gradient_square) } else { 0.0 };
    let (mut exponent, mut alpha) = (0, base);
    // Doubling is exact where a logarithm would have to be rounded up exactly.
    while alpha < curvature && alpha > 0.0 {
        alpha *= 2.0;
        exponent += 1;
    }
    StepSize { step: scale / alpha, exponent, gradient_square, curvature }
}

/// What [`weight_terms`] returns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WeightTerms {
    /// ‖W‖².
    pub square: Bounded<f64>,
    /// ‖W‖₁.
    pub size: Bounded<f64>,
}

/// What ridge and penalties make of a layer's weights.
pub fn weight_terms(weights: &Matrix) -> WeightTerms {
    let mut terms = WeightTerms { square: Bounded::ZERO, size: Bounded::ZERO };
    for w in weights.data() {
        terms.square.add(w * w);
        terms.size.add(w.abs());
    }
    terms
}

/// What [`hidden_terms`] returns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HiddenTerms {
    /// ‖P + b − z‖².
    pub residual_square: Bounded<f64>,
    /// ‖a − f(z)‖².
    pub activation_square: Bounded<f64>,
}

/// The two penalties of a hidden layer (Problem 2), without their factor ν/2.
///
/// # Panics
/// If the shapes disagree.
pub fn hidden_terms(
    product: &Matrix,
    bias: &Matrix,
    z: &Matrix,
    activation: &Matrix,
    f: Activation,
) -> HiddenTerms {
    check_layer("hidden_terms", product, bias, &[z, activation]);
    let residual_square = squares(&residual(product, bias, z));
    let mut result = HiddenTerms { residual_square, activation_square: Bounded::ZERO };
    for (&a, &z) in activation.data().iter().zip(z.data()) {
        // Beside what f(z) is off by, one rounding of a difference of two numbers.
        let f = f.bounded(z);
        let gap = a - f.value;
        result.activation_square.add_square(gap, gap.abs() + f.magnitude);
    }
    result
}

/// What [`dual_step`] returns.
#[derive(Debug, Clone, PartialEq)]
pub struct DualStep {
    /// The new dual.
    pub dual: Bounded<Matrix>,
    /// Σ over samples of the loss at z_L.
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
    let r = residual(args.product, args.bias, args.z);
    let (mut loss, mut dual_product, mut residual_square) = (Bounded::ZERO, Bounded::ZERO, Bounded::ZERO);
    let dual = Bounded::from_fn(args.z.rows(), args.z.cols(), |sample, class| {
        let at = (sample, class);
        let (r, size) = (-r.value[at], r.magnitude[at]);
        let u = args.dual[at] + args.rho * r;
        let u_size = args.dual[at].abs() + args.rho * size;
        dual_product.add_bounded(u * r, u.abs() * size + u_size * r.abs());
        residual_square.add_square(r, size);
        Bounded { value: u, magnitude: u_size }
    });
    match args.targets {
        Targets::Classes(labels) => {
            for (sample, &label) in labels.iter().enumerate() {
                let cost = cross_entropy(args.z.row(sample), label);
                loss.add_bounded(cost.value, cost.magnitude);
            }
        }
        Targets::Values(values) => {
            let zeros = Matrix::zeros(1, values.cols());
            let square = squares(&residual(args.z, &zeros, values));
            loss.add_bounded(square.value / 2.0, square.magnitude / 2.0);
        }
    }
    DualStep { dual, loss, dual_product, residual_square }
}

/// `u = −∂R/∂z`: `y − softmax(z)`, or `y − z` under squared loss.
///
/// # Panics
/// If the shapes disagree, or a label names no class.
pub fn dual_of_z(args: LastLayer<'_>) -> Bounded<Matrix> {
    args.check("dual_of_z");
    Bounded::from_fn(args.z.rows(), args.z.cols(), |sample, class| match args.targets {
        Targets::Classes(labels) => {
            let z = args.z.row(sample);
            let p = softmax(z)[class];
            // Rounding of an exponent of this size shows in p times as much.
            let spread = 1.0 + max_abs(z) + z[class].abs();
            Bounded {
                value: one_hot(labels[sample], class) - p,
                magnitude: one_hot(labels[sample], class) + p * spread,
            }
        }
        Targets::Values(values) => {
            let (y, z) = (values[(sample, class)], args.z[(sample, class)]);
            Bounded { value: y - z, magnitude: y.abs() + z.abs() }
        }
    })
}

/// `kept = x` as long as no kernel has met a value that is not finite.
///
/// # Panics
/// If the shapes differ.
pub fn keep(x: &Matrix, status: &Status, kept: &Matrix) -> Matrix {
    assert_eq!(x.shape(), kept.shape(), "keep: shapes differ");
    if status.origin == 0 { x.clone() } else { kept.clone() }
}

/// Which kernel first met a value that is not finite, and when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// 0 while all is well, else the number of the kernel's place in the plan.
    pub origin: u32,
    /// The iteration of that, counted from 1.
    pub failed: u32,
    /// Iterations finished.
    pub iteration: u32,
    /// Pivots that factorisations dropped so far.
    pub dropped: u32,
}

impl Status {
    /// The status after seeing `value` at `origin`: only the first failure is kept.
    pub fn after_seeing(self, value: f64, origin: u32) -> Self {
        if self.origin == 0 && !value.is_finite() {
            return Self { origin, failed: self.iteration + 1, ..self };
        }
        self
    }
}

/// How penalties and first trial curvatures change from one iteration to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// Never.
    Constant,
    /// ρ × 10 after every 100th iteration; ν stays.
    Paper,
    /// The authors' code: after each iteration in which the training cost has risen for at least the third time
    /// running, `ρ = ν ← min(10 ρ, 0.1)`, and θ₀ and τ₀ × 10 where the hidden layers are wide.
    Official {
        /// Whether some hidden layer has at least 100 neurons.
        wide: bool,
    },
}

/// What [`record`] reads.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// A row of up to four terms for each hidden layer, for the last layer, for the training and for the test scores;
    /// then [`weight_terms`] of each layer, first in a row.
    pub totals: &'a Matrix,
    /// The ridge μ of each layer and the penalties λ on ‖W‖² and ‖W‖₁ of its weights, first in a row.
    pub ridge: &'a Matrix,
    /// The steps of the iteration, slots × 4 as [`step_size`] leaves them.
    pub steps: &'a Matrix,
    /// What the accelerator reports: whether a candidate was tried, tries, accepts, rejects by merit and as not finite,
    /// skips, clears, the last step, 0.
    pub ledger: [f64; 9],
    /// What the iteration was steered by.
    pub control: Control,
    /// The status before.
    pub status: Status,
    /// How the control changes.
    pub schedule: Schedule,
    /// Whether the iteration took scores.
    pub evaluated: bool,
    /// Number noted in the status when the objective is not finite.
    pub origin: u32,
    /// Training samples.
    pub samples: f64,
}

/// What [`record`] returns.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// 24 head values, ‖r_l‖² of each layer, ‖a_l − f(z_l)‖² of each hidden layer, the exponents. One row.
    pub values: Bounded<Matrix>,
    /// What the next iteration is steered by.
    pub control: Control,
    /// The status after.
    pub status: Status,
}

/// The augmented Lagrangian (equation 1, the ridge of exact steps included) from its terms, as [`Record`] has them;
/// `weights` is its `ridge`.
///
/// # Panics
/// If `totals` or `weights` lacks a row.
pub fn merit(totals: &Matrix, weights: &Matrix, control: &Control) -> Bounded<f64> {
    let layers = weights.rows();
    let end = totals.row(layers - 1);
    let ridge = |l: usize| weights[(l, 0)] * totals[(layers + 2 + l, 0)];
    let terms = |l: usize| totals.row(layers + 2 + l);
    let penalty: f64 =
        (0..layers).map(|l| weights[(l, 1)] * terms(l)[0] + 2.0 * weights[(l, 2)] * terms(l)[1]).sum();
    let squares: f64 = (0..layers - 1).map(|l| totals[(l, 0)] + totals[(l, 1)] + ridge(l)).sum();
    let quadratic = (control.rho * (end[2] + ridge(layers - 1)) + control.nu * squares + penalty) / 2.0;
    Bounded { value: end[0] + end[1] + quadratic, magnitude: end[0].abs() + end[1].abs() + quadratic.abs() }
}

/// Closes an iteration: its augmented Lagrangian, its record for the host, and the schedules' next move.
///
/// # Panics
/// If `totals` or `ridge` lacks a row.
pub fn record(args: Record<'_>) -> Recorded {
    let Record { totals, steps, ridge, control, status, evaluated, samples, .. } = args;
    let layers = args.ridge.rows();
    let (hidden, end) = (0..layers - 1, totals.row(layers - 1));
    let Bounded { value: objective, magnitude: size } = merit(totals, ridge, &control);
    let after = status.after_seeing(objective, args.origin);
    let (train, test) = (totals.row(layers), totals.row(layers + 1));
    let mut values = vec![f64::from(status.iteration + 1), objective, end[0]];
    values.extend([control.rho, control.nu, control.tau_0, control.theta_0, f64::from(u8::from(evaluated))]);
    values.extend([
        train[0],
        train[1],
        test[0],
        test[1],
        f64::from(after.origin),
        f64::from(after.failed),
        f64::from(after.dropped),
    ]);
    values.extend(args.ledger);
    values.extend(hidden.clone().map(|l| totals[(l, 0)]).chain([end[2]]));
    values.extend(hidden.map(|l| totals[(l, 1)]));
    values.extend((0..steps.rows()).map(|slot| steps[(slot, 1)]));
    let values = Matrix::new(1, values.len(), values);
    let mut magnitude = values.map(f64::abs);
    magnitude[(0, 1)] = size;
    Recorded {
        values: Bounded { value: values, magnitude },
        control: move_schedule(args.schedule, status.iteration + 1, train[0] / samples, control),
        status: Status { iteration: status.iteration + 1, ..after },
    }
}

/// The control for the iteration after `iteration` (counted from 1), which ended with the training cost `cost`.
///
/// A NaN among the costs is no rise, and nothing is one in the first iteration.
fn move_schedule(kind: Schedule, iteration: u32, cost: f64, control: Control) -> Control {
    let mut next = control;
    match kind {
        Schedule::Constant => {}
        Schedule::Paper => {
            if iteration.is_multiple_of(100) {
                next.rho = 10.0 * control.rho;
            }
        }
        Schedule::Official { wide } => {
            let rose = iteration > 1 && cost > control.cost;
            next.rises = if rose { control.rises + 1 } else { 0 };
            next.cost = cost;
            if next.rises >= 3 {
                next.rho = (10.0 * control.rho).min(0.1);
                next.nu = next.rho;
                if wide {
                    next.theta_0 = 10.0 * control.theta_0;
                    next.tau_0 = 10.0 * control.tau_0;
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

/// Asserts that `bias` is a row as wide as `product`, and that the others are of `product`'s shape.
fn check_layer(kernel: &str, product: &Matrix, bias: &Matrix, others: &[&Matrix]) {
    assert_eq!(bias.shape(), (1, product.cols()), "{kernel}: shape of the bias");
    for other in others {
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
        let (product, dual, zeros) = (row(c), row(u), Matrix::zeros(1, c.len()));
        run(LastLayer {
            z: &zeros,
            product: &product,
            bias: &zeros,
            dual: &dual,
            targets: Targets::Classes(&[0]),
            rho,
        })
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
        let size =
            |g, d, rho, nu, base, block| step_size(g, d, &Control::new(rho, nu, base, base), block, true);
        let exponent =
            |q: f64, base: f64| size(1.0, q, 1.0, 0.0, base, Block::Weights { lambda: 0.0 }).exponent;
        assert_eq!([exponent(0.0, 1.0), exponent(1.0, 1.0), exponent(4.0, 1.0)], [0, 0, 2]);
        assert_eq!([exponent(4.0f64.next_up(), 1.0), exponent(4.0f64.next_down(), 1.0)], [3, 2]);
        let activation = size(2.0, 6.0, 2.0, 3.0, 4.0, Block::Activation);
        assert_eq!((activation.exponent, activation.step, activation.curvature), (2, 1.0 / 16.0, 9.0));
        let weights = size(2.0, 6.0, 2.0, 3.0, 4.0, Block::Weights { lambda: 0.0 });
        assert_eq!((weights.exponent, weights.step, weights.curvature), (1, 2.0 / 8.0, 6.0));
        assert_eq!(size(0.0, 0.0, 1.0, 1.0, 4.0, Block::Activation).step, 0.25);
        assert_eq!(size(1.0, f64::INFINITY, 1.0, 0.0, 1.0, Block::Weights { lambda: 0.0 }).step, 0.0);
        assert_eq!(exponent(f64::NAN, 1.0), 0);
        assert_eq!(exponent(1.0, 0.0), 0);
    }

    #[test]
    fn official_schedule_moves_at_the_third_rise_and_at_each_that_follows() {
        let start = Control::new(0.02, 0.02, 1.0, 1.0);
        let run = |wide: bool, costs: &[f64]| {
            let steps = costs.iter().zip(1..);
            let kind = Schedule::Official { wide };
            steps.fold(start, |control, (&cost, iteration)| move_schedule(kind, iteration, cost, control))
        };
        assert_eq!(run(true, &[1.0, 2.0, 3.0, 2.0, 3.0, 4.0]).rho, 0.02);
        let moved = run(true, &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!((moved.rho, moved.nu, moved.theta_0, moved.tau_0), (0.1, 0.1, 10.0, 10.0));
        assert_eq!(run(true, &[1.0, 2.0, 3.0, 4.0, 5.0]).theta_0, 100.0);
        let narrow = run(false, &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!((narrow.rho, narrow.nu, narrow.theta_0), (0.1, 0.1, 1.0));
        assert_eq!(run(true, &[1.0, f64::NAN, 2.0, 3.0, 4.0]).rho, 0.02);
        let paper = |iteration| move_schedule(Schedule::Paper, iteration, 1.0, start).rho;
        assert_eq!([paper(99), paper(100), paper(101), paper(200)], [0.02, 0.2, 0.02, 0.2]);
    }

    #[test]
    fn record_puts_the_augmented_lagrangian_together() {
        let totals = Matrix::new(6, 4, (1..=24).map(f64::from).collect());
        let ridge = Matrix::new(2, 4, vec![0.5, 0.125, 0.25, 9.0, 0.25, 0.75, 0.5, 9.0]);
        let steps = Matrix::new(2, 4, vec![0.5, 3.0, 1.0, 8.0, 0.25, 7.0, 1.0, 100.0]);
        let control = Control::new(0.5, 0.25, 1.0, 2.0);
        let status = Status { iteration: 4, ..Status::default() };
        let args = Record {
            totals: &totals,
            steps: &steps,
            ridge: &ridge,
            ledger: [1.0, 9.0, 8.0, 1.0, 0.0, 0.0, 2.0, 1.5, 0.0],
            control,
            status,
            schedule: Schedule::Constant,
            evaluated: true,
            origin: 9,
            samples: 3.0,
        };
        let ridge_terms = 0.5 * (0.5 * 0.25 * 21.0 + 0.25 * 0.5 * 17.0 + 0.125 * 17.0 + 0.75 * 21.0);
        let sparse_terms = 0.25 * 18.0 + 0.5 * 22.0;
        let objective = 5.0 + 6.0 + 0.5 * (0.5 * 7.0 + 0.25 * (1.0 + 2.0)) + ridge_terms + sparse_terms;
        let head = [5.0, objective, 5.0, 0.5, 0.25, 1.0, 2.0, 1.0, 9.0, 10.0, 13.0, 14.0, 0.0, 0.0, 0.0];
        let recorded = record(args);
        assert_eq!(
            recorded.values.value.data(),
            [&head[..], &args.ledger, &[1.0, 7.0, 2.0, 3.0, 7.0]].concat()
        );
        assert_eq!((recorded.control, recorded.status), (control, Status { iteration: 5, ..status }));
        let endless = totals.map(|value| value / 0.0);
        let failed = record(Record { totals: &endless, ..args });
        assert_eq!(failed.status, Status { origin: 9, failed: 5, iteration: 5, dropped: 0 });
        assert_eq!(failed.values.value.data()[12..14], [9.0, 5.0]);
    }

    proptest! {
        /// No point on a grid is cheaper than the z that is kept.
        #[test]
        fn hidden_z_is_the_minimiser(c in -8.0..8.0f64, a in -8.0..8.0f64, slope in 0.0..1.0f64) {
            let one = |value| Matrix::new(1, 1, vec![value]);
            for f in [Activation::Relu, Activation::LeakyRelu(slope), Activation::Sigmoid, Activation::Tanh] {
                let result = hidden_z(&one(c), &one(0.0), &one(a), f);
                let cost = |z: f64| (z - c).powi(2) + (a - f.value(z)).powi(2);
                let best = cost(result.kept.value[(0, 0)]);
                let cheaper = (-1000..=1000).map(|i| f64::from(i) / 100.0).find(|&z| cost(z) < best - 1e-12);
                prop_assert_eq!(cheaper, None, "{:?}", f);
                prop_assert!(best <= cost(result.dropped.value[(0, 0)]));
            }
        }

        /// After the bias step the residual has no mean.
        #[test]
        fn bias_step_is_the_minimiser(values in prop::collection::vec(-1.0..1.0f64, 300), rho in 0.1..10.0f64) {
            let (z, dual) = (Matrix::new(100, 3, values.clone()), Matrix::new(100, 3, values).map(|v| v * v));
            let (product, goal) = (z.map(|z| 3.0 * z - 1.0), dual_target(&z, &dual, rho).value);
            let bias = Matrix::zeros(1, 3);
            let bias = bias_step(&residual_sums(&product, &bias, &goal).value, 100, &bias).value;
            let again = bias_step(&residual_sums(&product, &bias, &goal).value, 100, &bias).value;
            prop_assert!(again.relative_error(&bias) < 1e-12 || bias.norm() < 1e-12);
        }

        /// Newton solves its equation at any penalty; the dual that follows is `y − softmax(z)`. From afar and at a
        /// small ρ, where each step gains about 1, one call does not get there.
        #[test]
        fn newton_finds_the_root((c, u) in target()) {
            for rho in RHOS {
                let distance = with_last_layer(&c, &u, rho, |args| {
                    let z = (0..2).fold(args.z.clone(), |z, _| newton(LastLayer { z: &z, ..args }).z.value);
                    let u_new = dual_step(LastLayer { z: &z, ..args }).dual.value;
                    let p = softmax(z.row(0));
                    let gap = |class: usize| u_new[(0, class)] - (one_hot(0, class) - p[class]);
                    max_abs(&(0..p.len()).map(gap).collect::<Vec<_>>())
                });
                prop_assert!(distance < 1e-8, "ρ = {rho}: {distance:e}");
            }
        }

        /// No point on a grid is cheaper than the z of the squared loss.
        #[test]
        fn squared_z_is_the_minimiser(
            (y, c, u) in (-3.0..3.0f64, -3.0..3.0f64, -1.0..1.0f64), rho in 0.1..10.0f64,
        ) {
            let one = |value| Matrix::new(1, 1, vec![value]);
            let (y_row, zero) = (one(y), one(0.0));
            let z = squared_z(LastLayer {
                z: &zero, product: &one(c), bias: &zero, dual: &one(u), targets: Targets::Values(&y_row), rho,
            });
            let cost = |z: f64| (z - y).powi(2) / 2.0 + rho / 2.0 * (z - c + u / rho).powi(2);
            let best = cost(z.value[(0, 0)]);
            prop_assert!((-2000..=2000).all(|i| best <= cost(f64::from(i) / 100.0) + 1e-12));
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
