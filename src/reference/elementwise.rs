//! Oracles of `shaders/elementwise/`: each element of the result depends on one element of each operand.

use super::{Activation, Bounded, Matrix};

/// A `rows × cols` matrix of one value.
pub fn fill(rows: usize, cols: usize, value: f64) -> Matrix {
    Matrix::from_fn(rows, cols, |_, _| value)
}

/// `x`, bit for bit.
pub fn copy(x: &Matrix) -> Matrix {
    x.clone()
}

/// `y − step · x`. A driver may fuse the two operations, hence the bound.
///
/// # Panics
/// If the shapes differ.
pub fn descend(y: &Matrix, x: &Matrix, step: f64) -> Bounded<Matrix> {
    assert_eq!(y.shape(), x.shape(), "descend: shapes differ");
    Bounded::from_fn(y.rows(), y.cols(), |row, col| {
        let (start, move_by) = (y[(row, col)], step * x[(row, col)]);
        Bounded { value: start - move_by, magnitude: start.abs() + move_by.abs() }
    })
}

/// `f(P + b)`: the forward pass of a hidden layer.
///
/// # Panics
/// If `bias` is not one row as wide as `product`.
pub fn activate(product: &Matrix, bias: &Matrix, f: Activation) -> Bounded<Matrix> {
    assert_eq!(bias.shape(), (1, product.cols()), "activate: shape of the bias");
    Bounded::from_fn(product.rows(), product.cols(), |row, col| {
        let Bounded { value, magnitude } = f.bounded(product[(row, col)] + bias[(0, col)]);
        // No f is steeper than its own size, so that the rounding of the sum counts once more.
        Bounded { value, magnitude: value.abs() + magnitude }
    })
}
