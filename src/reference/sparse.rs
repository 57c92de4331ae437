//! Oracle of `shaders/sparse/`: a sparse matrix, entry by entry.

use std::ops::Range;

use super::{Bounded, Matrix};

/// A sparse matrix by its entries, row after row.
#[derive(Debug, Clone)]
pub struct Sparse {
    /// Columns of the matrix.
    pub columns: usize,
    /// Where the entries of each row begin, and the end of the last.
    pub starts: Vec<u32>,
    /// Column of each entry.
    pub indices: Vec<u32>,
    /// Value of each entry.
    pub values: Vec<f64>,
}

impl Sparse {
    /// Rows of the matrix.
    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    /// Which entries a row has.
    pub fn entries(&self, row: usize) -> Range<usize> {
        self.starts[row] as usize..self.starts[row + 1] as usize
    }
}

/// `A X` for each of a stack of `copies` matrices X.
///
/// # Panics
/// If `x` does not have as many rows as `copies` times `matrix` has columns.
pub fn product(matrix: &Sparse, copies: usize, x: &Matrix) -> Bounded<Matrix> {
    assert_eq!(x.rows(), copies * matrix.columns, "product: rows of x");
    Bounded::from_fn(copies * matrix.rows(), x.cols(), |row, feature| {
        let (copy, row) = (row / matrix.rows(), row % matrix.rows());
        let mut sum = Bounded::ZERO;
        for entry in matrix.entries(row) {
            let column = copy * matrix.columns + matrix.indices[entry] as usize;
            sum.add(matrix.values[entry] * x[(column, feature)]);
        }
        sum
    })
}
