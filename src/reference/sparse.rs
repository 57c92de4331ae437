//! Oracle of `shaders/sparse/`: a sparse matrix, entry by entry.

use std::ops::Range;

use super::batch::sub_batch;
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

/// `kept + sign Σ δ xᵀ` over the samples of each sub-batch, with a matrix in `kept` for each. The inputs x are
/// there by their columns: a row of `columns` is a feature.
///
/// # Panics
/// If there are not as many rows of `delta` as columns of `columns`, or a matrix in `kept` is not outputs × features.
pub fn weight_gradient(delta: &Matrix, columns: &Sparse, kept: &[Matrix], sign: f64) -> Vec<Bounded<Matrix>> {
    assert_eq!(delta.rows(), columns.columns, "weight_gradient: one delta for each sample");
    let sub_batches = kept.len();
    let gradient = |(n, kept): (usize, &Matrix)| {
        let samples = sub_batch(n, delta.rows(), sub_batches);
        Bounded::from_fn(delta.cols(), columns.rows(), |output, feature| {
            let mut sum = Bounded::ZERO;
            sum.add(kept[(output, feature)]);
            for entry in columns.entries(feature) {
                let sample = columns.indices[entry] as usize;
                if samples.contains(&sample) {
                    sum.add(sign * columns.values[entry] * delta[(sample, output)]);
                }
            }
            sum
        })
    };
    kept.iter().enumerate().map(gradient).collect()
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
