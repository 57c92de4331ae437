//! Oracles of `shaders/cholesky/`: one block of a Cholesky factorisation.

use super::{Bounded, Matrix};

/// What [`corner`] returns.
#[derive(Debug, Clone, PartialEq)]
pub struct Corner {
    /// L⁻¹, zero above the diagonal, and `|L⁻¹| |L| |Lᵀ| |L⁻ᵀ| |L⁻¹|`: factoring and inverting n rows moves an element by
    /// at most 4 n ε of that to first order (Higham 2002, theorems 10.3 and 14.1).
    pub inverse: Bounded<Matrix>,
    /// Pivots that were dropped.
    pub dropped: u32,
}

/// L⁻¹ of the Cholesky factor of `matrix`, whose lower triangle is read. A pivot that is not above `floor` is dropped:
/// its row and column of the inverse are zero.
///
/// # Panics
/// If `matrix` is not square.
pub fn corner(matrix: &Matrix, floor: f64) -> Corner {
    let (size, columns) = matrix.shape();
    assert_eq!(size, columns, "corner: a square matrix");
    let mut lower = Matrix::zeros(size, size);
    let mut dropped = 0;
    for j in 0..size {
        let rest = |lower: &Matrix, row: usize| {
            matrix[(row, j)] - (0..j).map(|k| lower[(row, k)] * lower[(j, k)]).sum::<f64>()
        };
        let pivot = rest(&lower, j);
        if pivot <= floor || pivot.is_nan() {
            dropped += 1;
            continue;
        }
        let root = pivot.sqrt();
        for row in j..size {
            lower[(row, j)] = rest(&lower, row) / root;
        }
    }
    let inverse = invert(&lower);
    let (z, l) = (inverse.map(f64::abs), lower.map(f64::abs));
    let magnitude = times(&times(&times(&z, &l), &transpose(&times(&z, &l))), &z);
    Corner { inverse: Bounded { value: inverse, magnitude }, dropped }
}

/// L⁻¹ by forward substitution; rows and columns of zero pivots stay zero.
fn invert(lower: &Matrix) -> Matrix {
    let size = lower.rows();
    let mut inverse = Matrix::zeros(size, size);
    for column in (0..size).filter(|&column| lower[(column, column)] != 0.0) {
        inverse[(column, column)] = 1.0 / lower[(column, column)];
        for row in (column + 1..size).filter(|&row| lower[(row, row)] != 0.0) {
            let sum: f64 = (column..row).map(|k| lower[(row, k)] * inverse[(k, column)]).sum();
            inverse[(row, column)] = -sum / lower[(row, row)];
        }
    }
    inverse
}

fn times(a: &Matrix, b: &Matrix) -> Matrix {
    super::linalg::matmul(a, false, b, false).value
}

fn transpose(a: &Matrix) -> Matrix {
    Matrix::from_fn(a.cols(), a.rows(), |row, column| a[(column, row)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Z S Zᵀ = I, whatever positive definite matrix is factored.
        #[test]
        fn corner_makes_the_identity(values in prop::collection::vec(-1.0..1.0f64, 7 * 9)) {
            let samples = Matrix::new(9, 7, values);
            let matrix = super::super::linalg::gram(&Matrix::zeros(7, 7), &samples).value;
            let matrix = Matrix::from_fn(7, 7, |i, j| matrix[(i, j)] + if i == j { 0.1 } else { 0.0 });
            let Corner { inverse, dropped } = corner(&matrix, 0.0);
            prop_assert_eq!(dropped, 0);
            let identity = times(&times(&inverse.value, &matrix), &transpose(&inverse.value));
            let wanted = Matrix::from_fn(7, 7, |i, j| if i == j { 1.0 } else { 0.0 });
            prop_assert!(identity.relative_error(&wanted) < 1e-9);
        }
    }

    /// What is left of a singular matrix is solved as if the dropped variable were not there.
    #[test]
    fn a_dropped_pivot_leaves_the_rest() {
        let matrix = Matrix::new(3, 3, vec![4.0, 0.0, 2.0, 0.0, 0.0, 0.0, 2.0, 0.0, 10.0]);
        let Corner { inverse, dropped } = corner(&matrix, 1e-6);
        assert_eq!(dropped, 1);
        assert_eq!(inverse.value.data(), [0.5, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0 / 6.0, 0.0, 1.0 / 3.0]);
    }
}
