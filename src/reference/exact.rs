//! Oracles of `shaders/exact/`: how Gram matrices are damped before exact steps solve with them, and what for.

use super::dladmm::Control;
use super::{Bounded, Matrix};

/// Which block's Gram matrix is damped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Damping {
    /// Weights: M = Σ a aᵀ, centred.
    Weights {
        /// How many samples M sums over.
        samples: f64,
        /// Damping d, relative to the mean of the diagonal.
        damping: f64,
        /// Ridge m, relative to the same.
        ridge_share: f64,
        /// μ, or 0 where it is not settled yet.
        ridge: f64,
        /// λ of the penalty (λ/2) ‖W‖².
        lambda: f64,
        /// Whether the layer is the last.
        last_layer: bool,
    },
    /// Activations: M = W'ᵀW' or W'W'ᵀ.
    Activations {
        /// Whether W' is the last layer's.
        last_layer: bool,
    },
}

/// What [`damping`] returns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Damped {
    /// What is added to its diagonal.
    pub shift: Bounded<f64>,
    /// Below this, a pivot is none.
    pub floor: Bounded<f64>,
    /// μ, settled.
    pub ridge: Bounded<f64>,
    /// D, how much of the shift draws weights to where they are; 0 for activations.
    pub damping: Bounded<f64>,
}

/// Shift and floor of a Gram matrix whose samples have the column sums `sums` (read for weights only).
///
/// # Panics
/// If the shapes disagree.
pub fn damping(matrix: &Matrix, sums: &Matrix, kind: Damping, control: &Control) -> Damped {
    let size = matrix.rows();
    let diagonal: Vec<Bounded<f64>> = (0..size).map(|i| centred(matrix, sums, kind, i)).collect();
    let mut mean = Bounded::ZERO;
    let mut own_mean = Bounded::ZERO;
    for (i, element) in diagonal.iter().enumerate() {
        mean.add_bounded(element.value / size as f64, element.magnitude / size as f64);
        own_mean.add(matrix[(i, i)] / size as f64);
    }
    let are_alike = mean.value <= 1e-6 * own_mean.value;
    let top = diagonal.iter().fold(Bounded::ZERO, |top, element| Bounded {
        value: f64::max(top.value, element.value),
        magnitude: f64::max(top.magnitude, element.magnitude),
    });
    let scaled = |factor: f64, of: Bounded<f64>| Bounded {
        value: factor * of.value,
        magnitude: factor * of.magnitude,
    };
    let settled = |value: f64| Bounded { value, magnitude: value };
    let (shift, ridge, damping) = match kind {
        Damping::Weights { damping, ridge_share, ridge, lambda, last_layer, .. } => {
            let damped = match are_alike {
                false => mean,
                true if own_mean.value == 0.0 => settled(1.0),
                true => own_mean,
            };
            let mean = if are_alike { Bounded::ZERO } else { mean };
            let ridge = if ridge == 0.0 { scaled(ridge_share, mean) } else { settled(ridge) };
            let damping = scaled(damping, damped);
            let mut shift = damping;
            shift.add_bounded(ridge.value, ridge.magnitude);
            shift.add(lambda / control.kappa(last_layer));
            (shift, ridge, damping)
        }
        Damping::Activations { last_layer } => {
            (settled(control.nu / control.kappa(last_layer)), Bounded::ZERO, Bounded::ZERO)
        }
    };
    let mut floor = scaled(1e-7, top);
    floor.add_bounded(1e-7 * shift.value, 1e-7 * shift.magnitude);
    Damped { shift, floor, ridge, damping }
}

/// An element of the diagonal, less what the mean contributes.
fn centred(matrix: &Matrix, sums: &Matrix, kind: Damping, i: usize) -> Bounded<f64> {
    let mut element = Bounded::ZERO;
    element.add(matrix[(i, i)]);
    if let Damping::Weights { samples, .. } = kind {
        element.add(-sums[(0, i)] * sums[(0, i)] / samples);
        element.value = element.value.max(0.0);
    }
    element
}

/// `S = M − s sᵀ/N + shift I`; without `samples` nothing is taken away.
///
/// # Panics
/// If the shapes disagree.
pub fn damped(matrix: &Matrix, sums: &Matrix, samples: Option<f64>, shift: f64) -> Bounded<Matrix> {
    Bounded::from_fn(matrix.rows(), matrix.cols(), |row, column| {
        let mut element = Bounded::ZERO;
        element.add(matrix[(row, column)]);
        if let Some(samples) = samples {
            element.add(-sums[(0, row)] * sums[(0, column)] / samples);
        }
        if row == column {
            element.add(shift);
        }
        element
    })
}

/// `B = right − mean sᵀ + damping W`.
///
/// # Panics
/// If the shapes disagree.
pub fn right_side(
    weights: &Matrix,
    mean: &Matrix,
    sums: &Matrix,
    damping: f64,
    right: &Matrix,
) -> Bounded<Matrix> {
    Bounded::from_fn(weights.rows(), weights.cols(), |row, column| {
        let mut element = Bounded::ZERO;
        element.add(right[(row, column)]);
        element.add(-mean[(0, row)] * sums[(0, column)]);
        element.add(damping * weights[(row, column)]);
        element
    })
}
