//! Oracle of `shaders/sparse/`: a sparse matrix, entry by entry.

use std::ops::Range;

use super::batch::sub_batch;
use super::elementwise::Dropout;
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
/// there by their columns: a row of `columns` is a feature. Where all sub-batches have the same inputs they are there once.
///
/// # Panics
/// If there are not as many rows of `delta` as columns of `columns`, once or for each sub-batch, or a matrix in `kept` is
/// not outputs × features.
pub fn weight_gradient(delta: &Matrix, columns: &Sparse, kept: &[Matrix], sign: f64) -> Vec<Bounded<Matrix>> {
    let (sub_batches, inputs) = (kept.len(), columns.columns);
    let is_shared = delta.rows() == inputs * sub_batches;
    assert!(delta.rows() == inputs || is_shared, "weight_gradient: one delta for each sample");
    let gradient = |(n, kept): (usize, &Matrix)| {
        let rows = sub_batch(n, delta.rows(), sub_batches);
        Bounded::from_fn(delta.cols(), columns.rows(), |output, feature| {
            let mut sum = Bounded::ZERO;
            sum.add(kept[(output, feature)]);
            for entry in columns.entries(feature) {
                let sample = columns.indices[entry] as usize;
                for row in rows.clone().filter(|row| row % inputs == sample) {
                    sum.add(sign * columns.values[entry] * delta[(row, output)]);
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

/// The values of `m ∘ x`, entry by entry. A row of `x` is a sample, or a feature where `rows_are_features`; the mask is that
/// of samples × features.
pub fn dropout(x: &Sparse, rows_are_features: bool, dropout: &Dropout) -> Matrix {
    let mut values = Vec::new();
    for row in 0..x.rows() {
        for entry in x.entries(row) {
            let column = x.indices[entry] as usize;
            let factor = match rows_are_features {
                true => dropout.factor(column, row, x.rows()),
                false => dropout.factor(row, column, x.columns),
            };
            values.push(factor * x.values[entry]);
        }
    }
    Matrix::new(1, values.len(), values)
}
