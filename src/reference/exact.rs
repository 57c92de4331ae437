//! Oracles of `shaders/exact/`: how Gram matrices are damped before exact steps solve with them.

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
}

/// Shift and floor of a Gram matrix whose samples have the column sums `sums` (read for weights only).
///
/// # Panics
/// If the shapes disagree.
pub fn damping(matrix: &Matrix, sums: &Matrix, kind: Damping, control: &Control) -> Damped {
    let size = matrix.rows();
    let diagonal: Vec<Bounded<f64>> = (0..size).map(|i| centred(matrix, sums, kind, i)).collect();
    let mut mean = Bounded::ZERO;
    for element in &diagonal {
        mean.add_bounded(element.value / size as f64, element.magnitude / size as f64);
    }
    let top = diagonal.iter().fold(Bounded::ZERO, |top, element| Bounded {
        value: f64::max(top.value, element.value),
        magnitude: f64::max(top.magnitude, element.magnitude),
    });
    let scaled = |factor: f64, of: Bounded<f64>| Bounded {
        value: factor * of.value,
        magnitude: factor * of.magnitude,
    };
    let settled = |value: f64| Bounded { value, magnitude: value };
    let (shift, ridge) = match kind {
        Damping::Weights { damping, ridge_share, ridge, lambda, last_layer, .. } => {
            let ridge = if ridge == 0.0 { scaled(ridge_share, mean) } else { settled(ridge) };
            let mut shift = scaled(damping, mean);
            shift.add_bounded(ridge.value, ridge.magnitude);
            shift.add(lambda / control.kappa(last_layer));
            (shift, ridge)
        }
        Damping::Activations { last_layer } => {
            (settled(control.nu / control.kappa(last_layer)), settled(0.0))
        }
    };
    let mut floor = scaled(1e-7, top);
    floor.add_bounded(1e-7 * shift.value, 1e-7 * shift.magnitude);
    Damped { shift, floor, ridge }
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
