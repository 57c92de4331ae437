//! Oracles of `shaders/gcn/`: skips and dropout in a forward pass, and the way back.

use super::elementwise::Dropout;
use super::{Activation, Bounded, Matrix};

/// `m ∘ x + s`.
///
/// # Panics
/// If the shapes differ.
pub fn skip(x: &Matrix, skipped: &Matrix, dropout: &Dropout) -> Bounded<Matrix> {
    assert_eq!(x.shape(), skipped.shape(), "skip: shapes differ");
    Bounded::from_fn(x.rows(), x.cols(), |row, column| {
        let mut sum = Bounded::ZERO;
        sum.add(dropout.factor(row, column, x.cols()) * x[(row, column)]);
        sum.add(skipped[(row, column)]);
        sum
    })
}

/// `g ∘ m ∘ f′` for each of a stack of gradients, with f′ from the activation's value.
///
/// # Panics
/// If `gradient` is no stack of matrices of the activation's shape.
pub fn delta(gradient: &Matrix, activation: &Matrix, f: Activation, dropout: &Dropout) -> Bounded<Matrix> {
    assert_eq!(gradient.cols(), activation.cols(), "delta: columns of the activation");
    Bounded::from_fn(gradient.rows(), gradient.cols(), |row, column| {
        let at = (row % activation.rows(), column);
        let slope = f.slope_at_value(activation[at]);
        let kept = gradient[(row, column)] * dropout.factor(at.0, at.1, activation.cols());
        Bounded { value: kept * slope.value, magnitude: kept.abs() * (slope.value.abs() + slope.magnitude) }
    })
}
