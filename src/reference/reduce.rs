//! Oracles of `shaders/reduce/`: sums over all elements.

use super::{Bounded, Matrix};

/// `⟨x, y⟩`; the squared norm where both are the same.
///
/// # Panics
/// If the shapes differ.
pub fn dot(x: &Matrix, y: &Matrix) -> Bounded<f64> {
    assert_eq!(x.shape(), y.shape(), "dot: shapes differ");
    let mut sum = Bounded::ZERO;
    for (&a, &b) in x.data().iter().zip(y.data()) {
        sum.add(a * b);
    }
    sum
}

/// What [`dots`] returns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dots {
    /// ⟨x, y⟩ = Σ x y.
    pub product: Bounded<f64>,
    /// ‖x‖².
    pub x_square: Bounded<f64>,
    /// ‖y‖².
    pub y_square: Bounded<f64>,
    /// ‖x − y‖², formed from the differences: exact where the two are close.
    pub distance_square: Bounded<f64>,
}

/// `⟨x, y⟩`, `‖x‖²`, `‖y‖²` and `‖x − y‖²` in one pass.
///
/// # Panics
/// If the shapes differ.
pub fn dots(x: &Matrix, y: &Matrix) -> Dots {
    assert_eq!(x.shape(), y.shape(), "dots: shapes differ");
    let zero = Bounded::ZERO;
    let mut result = Dots { product: zero, x_square: zero, y_square: zero, distance_square: zero };
    for (&a, &b) in x.data().iter().zip(y.data()) {
        result.product.add(a * b);
        result.x_square.add(a * a);
        result.y_square.add(b * b);
        result.distance_square.add((a - b) * (a - b));
    }
    result
}

/// Adds up partial results: row `g` holds what workgroup `g` left, one column for each quantity.
pub fn totals(partials: &Matrix) -> Bounded<Matrix> {
    Bounded::from_fn(1, partials.cols(), |_, col| {
        let mut sum = Bounded::ZERO;
        for group in 0..partials.rows() {
            sum.add(partials[(group, col)]);
        }
        sum
    })
}
