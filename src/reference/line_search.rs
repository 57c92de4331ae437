//! Oracles of `shaders/line_search/`: gradient steps with a length for each row of W and for each sample of a.

use super::dladmm::{Control, SUM_CHUNK};
use super::{Bounded, Matrix};

/// Below this a squared gradient counts as none.
const SMALLEST: f64 = 1e-30;
/// A curvature flatter than this is its own rounding.
const FLATTEST: f64 = 1e-6;

/// Σ M² over samples, a row for each 64 of them.
pub fn column_squares(moved: &Matrix) -> Bounded<Matrix> {
    let samples = moved.rows();
    Bounded::from_fn(samples.div_ceil(SUM_CHUNK), moved.cols(), |chunk, feature| {
        let mut sum = Bounded::ZERO;
        for sample in chunk * SUM_CHUNK..((chunk + 1) * SUM_CHUNK).min(samples) {
            sum.add(moved[(sample, feature)].powi(2));
        }
        sum
    })
}

/// What [`weight_step`] returns.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightStep {
    /// W after the step.
    pub weights: Bounded<Matrix>,
    /// s, one for each row of W.
    pub lengths: Bounded<Matrix>,
}

/// `W_i − s_i G_i` with `s_i = 1 / (λ/κ + Σ partials_i / ‖G_i‖²)`, or 0 where a row rests.
///
/// # Panics
/// If the shapes disagree.
pub fn weight_step(
    weights: &Matrix,
    gradient: &Matrix,
    partials: &Matrix,
    control: &Control,
    (lambda, last_layer): (f64, bool),
) -> WeightStep {
    let shift = lambda / control.kappa(last_layer);
    let length = |row: usize| {
        let moved = (0..partials.rows()).map(|chunk| partials[(chunk, row)]).sum::<f64>();
        let square = square(gradient.row(row));
        length(square, shift + moved / square)
    };
    let lengths = Bounded::from_fn(1, weights.rows(), |_, row| positive(length(row)));
    WeightStep { weights: step_rows(weights, gradient, |row| positive(length(row))), lengths }
}

/// What [`gram_step`] returns.
#[derive(Debug, Clone, PartialEq)]
pub struct GramStep {
    /// W after the step.
    pub weights: Bounded<Matrix>,
    /// G there.
    pub gradient: Bounded<Matrix>,
}

/// `W_i − s_i G_i` and `G_i − s_i C_i` with `s_i = ‖G_i‖² / ⟨C_i, G_i⟩`, or 0 where a row rests.
///
/// # Panics
/// If the shapes disagree.
pub fn gram_step(weights: &Matrix, gradient: &Matrix, curvature: &Matrix) -> GramStep {
    let length = |row: usize| {
        let (g, c) = (gradient.row(row), curvature.row(row));
        let mut curved = Bounded::ZERO;
        for (g, c) in g.iter().zip(c) {
            curved.add(g * c);
        }
        if curved.value <= FLATTEST * (square(g) * square(c)).sqrt() {
            return Bounded::ZERO;
        }
        let value = length(square(g), curved.value / square(g));
        Bounded { value, magnitude: value * (1.0 + curved.magnitude / curved.value) }
    };
    GramStep {
        weights: step_rows(weights, gradient, length),
        gradient: step_rows(gradient, curvature, length),
    }
}

/// `P − M diag(s)`.
///
/// # Panics
/// If the shapes disagree.
pub fn product_step(product: &Matrix, moved: &Matrix, lengths: &Matrix) -> Bounded<Matrix> {
    assert_eq!(product.shape(), moved.shape(), "product_step: shapes differ");
    Bounded::from_fn(product.rows(), product.cols(), |sample, feature| {
        let at = (sample, feature);
        minus(product[at], positive(lengths[(0, feature)].abs()), lengths[(0, feature)].signum() * moved[at])
    })
}

/// What [`activation_step`] returns.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivationStep {
    /// a after the step.
    pub activation: Bounded<Matrix>,
    /// P of the next layer after it.
    pub product: Bounded<Matrix>,
}

/// `a − s g` and `P − s M` with `s = 1 / (ν + κ ‖M‖² / ‖g‖²)` sample by sample, or 0 where one rests.
///
/// # Panics
/// If the shapes disagree.
pub fn activation_step(
    (activation, gradient): (&Matrix, &Matrix),
    (product, moved): (&Matrix, &Matrix),
    control: &Control,
    last_layer: bool,
) -> ActivationStep {
    let length = |sample: usize| {
        let (g, m) = (square(gradient.row(sample)), square(moved.row(sample)));
        positive(length(g, control.nu + control.kappa(last_layer) * m / g))
    };
    ActivationStep {
        activation: step_rows(activation, gradient, length),
        product: step_rows(product, moved, length),
    }
}

/// 1 / q, or 0 where there is nothing to gain.
fn length(square: f64, q: f64) -> f64 {
    if square >= SMALLEST && q > 0.0 { 1.0 / q } else { 0.0 }
}

/// A sum of positive terms is off by no more than its own size.
fn positive(value: f64) -> Bounded<f64> {
    Bounded { value, magnitude: value }
}

fn square(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum()
}

/// Every row of `y` less so many times that of `x`.
fn step_rows(y: &Matrix, x: &Matrix, length: impl Fn(usize) -> Bounded<f64>) -> Bounded<Matrix> {
    assert_eq!(y.shape(), x.shape(), "a step: shapes differ");
    let lengths: Vec<_> = (0..y.rows()).map(length).collect();
    Bounded::from_fn(y.rows(), y.cols(), |row, column| {
        minus(y[(row, column)], lengths[row], x[(row, column)])
    })
}

/// y − s x.
fn minus(y: f64, s: Bounded<f64>, x: f64) -> Bounded<f64> {
    Bounded { value: y - s.value * x, magnitude: y.abs() + s.magnitude * x.abs() }
}
