//! Oracles of `shaders/proximal/`: W steps under the penalty λ ‖W‖₁, whose curvature is searched for by trial.

use super::dladmm::Control;
use super::{Bounded, Matrix};

/// A layer's weights and what pulls at them.
#[derive(Debug, Clone, Copy)]
pub struct Pull<'a> {
    /// G, without its factor κ.
    pub gradient: &'a Matrix,
    /// W.
    pub weights: &'a Matrix,
    /// λ.
    pub lambda: f64,
    /// Penalties and starts.
    pub control: &'a Control,
    /// Whether the layer is the last.
    pub last_layer: bool,
}

/// `D = soft(W − κ G/α, λ/α) − W`.
///
/// # Panics
/// If the shapes differ.
pub fn change(pull: Pull<'_>, alpha: f64) -> Bounded<Matrix> {
    assert_eq!(pull.gradient.shape(), pull.weights.shape(), "change: shapes differ");
    let (kappa, threshold) = (pull.control.kappa(pull.last_layer), pull.lambda / alpha);
    Bounded::from_fn(pull.weights.rows(), pull.weights.cols(), |row, column| {
        let w = pull.weights[(row, column)];
        let step = -kappa / alpha * pull.gradient[(row, column)];
        let is_zero = (w + step).abs() <= threshold;
        // Not soft(w + step) − w, in which a short step would be lost, even in f64.
        let value = if is_zero { -w } else { step - threshold.copysign(w + step) };
        // Near the threshold either side may be taken, and they meet there but for the rounding of all three.
        let all = w.abs() + step.abs() + threshold;
        let is_close = ((w + step).abs() - threshold).abs() <= 4.0 * f64::from(f32::EPSILON) * all;
        let magnitude = if is_close {
            all
        } else if is_zero {
            w.abs()
        } else {
            step.abs() + threshold
        };
        Bounded { value, magnitude }
    })
}

/// `α ‖D‖² − κ ⟨D A, D⟩` at α = θ₀ 2ᵏ: not below 0 where α lies above the curvature along D.
///
/// # Panics
/// If the shapes disagree.
pub fn trial(pull: Pull<'_>, gram: &Matrix, trial: u32) -> Bounded<f64> {
    let (kappa, alpha) =
        (pull.control.kappa(pull.last_layer), pull.control.theta_0 * f64::from(trial).exp2());
    let d = change(pull, alpha);
    let mut margin = Bounded::ZERO;
    for row in 0..d.value.rows() {
        for column in 0..d.value.cols() {
            let mut image = Bounded::ZERO;
            for k in 0..gram.rows() {
                let a = gram[(k, column)];
                image.add_bounded(d.value[(row, k)] * a, d.magnitude[(row, k)] * a.abs());
            }
            let (value, magnitude) = (d.value[(row, column)], d.magnitude[(row, column)]);
            let mut square = Bounded::ZERO;
            square.add_square(value, magnitude);
            margin.add_bounded(alpha * square.value, alpha * square.magnitude);
            let size = value.abs() * image.magnitude + magnitude * image.value.abs();
            margin.add_bounded(-kappa * value * image.value, kappa * size);
        }
    }
    margin
}

/// `(1/α, k, whether the search is over, margin)` after trial k, of which `before` is what the trials before left.
pub fn decide(
    (margin, trace): (f64, f64),
    (control, last_layer): (&Control, bool),
    (trial, is_last): (u32, bool),
    before: [f64; 4],
) -> [f64; 4] {
    if trial > 0 && before[2] != 0.0 {
        return before;
    }
    let bound = control.kappa(last_layer) * trace;
    let alpha = |k: u32| control.theta_0 * f64::from(k).exp2();
    let mut k = trial;
    let is_number = (margin + bound).is_finite();
    let passes = margin >= 0.0 || alpha(k) >= bound || !is_number;
    if !passes && is_last {
        while alpha(k) < bound {
            k += 1;
        }
    }
    [1.0 / alpha(k), k.into(), f64::from(u8::from(passes || is_last)), margin]
}

/// What [`weight_step`] returns.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightStep {
    /// W after the step.
    pub weights: Bounded<Matrix>,
    /// D.
    pub moved: Bounded<Matrix>,
}

/// `W + D` and D.
///
/// # Panics
/// If the shapes differ.
pub fn weight_step(pull: Pull<'_>, alpha: f64) -> WeightStep {
    let moved = change(pull, alpha);
    let weights = Bounded::from_fn(moved.value.rows(), moved.value.cols(), |row, column| {
        let at = (row, column);
        let w = pull.weights[at];
        Bounded { value: w + moved.value[at], magnitude: w.abs() + moved.magnitude[at] }
    });
    WeightStep { weights, moved }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// No point near the step's end has a lower model: `κ ⟨G, D⟩ + (α/2) ‖D‖² + λ ‖W + D‖₁` is least there.
        #[test]
        fn a_step_is_the_minimiser_of_its_model(
            w in -2.0..2.0f64, g in -4.0..4.0f64, lambda in 0.0..2.0f64, log_alpha in -3.0..3.0f64, off in -1.0..1.0f64,
        ) {
            let (gradient, weights) = (Matrix::new(1, 1, vec![g]), Matrix::new(1, 1, vec![w]));
            let control = Control::new(0.7, 0.3, 1.0, 1.0);
            let pull = Pull { gradient: &gradient, weights: &weights, lambda, control: &control, last_layer: true };
            let alpha = log_alpha.exp2();
            let model = |d: f64| 0.7 * g * d + alpha / 2.0 * d * d + lambda * (w + d).abs();
            let d = change(pull, alpha).value[(0, 0)];
            prop_assert!(model(d) <= model(d + off) + 1e-12);
        }
    }
}
