//! The operand of every oracle: a dense, unpadded f64 matrix.
//!
//! Oracles, golden traces and tests share it. `data.len() == rows · cols` always holds, rows one after another.

use std::ops::{Index, IndexMut};

/// A dense row-major matrix of f64.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    rows: usize,
    cols: usize,
    data: Vec<f64>,
}

impl Matrix {
    /// Takes `data`, rows one after another.
    ///
    /// # Panics
    /// If `data` does not hold `rows · cols` values.
    pub fn new(rows: usize, cols: usize, data: Vec<f64>) -> Self {
        assert_eq!(data.len(), rows * cols, "a {rows} × {cols} matrix of {} values", data.len());
        Self { rows, cols, data }
    }

    /// Widens `data`, rows one after another.
    ///
    /// # Panics
    /// If `data` does not hold `rows · cols` values.
    pub fn from_f32(rows: usize, cols: usize, data: &[f32]) -> Self {
        Self::new(rows, cols, data.iter().map(|&value| f64::from(value)).collect())
    }

    /// A matrix filled with zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self { rows, cols, data: vec![0.0; rows * cols] }
    }

    /// Computes every element from its row and column.
    pub fn from_fn(rows: usize, cols: usize, mut element: impl FnMut(usize, usize) -> f64) -> Self {
        let mut data = Vec::with_capacity(rows * cols);
        for row in 0..rows {
            data.extend((0..cols).map(|col| element(row, col)));
        }
        Self { rows, cols, data }
    }

    /// Number of rows; of samples, for a sample-side tensor.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns; of features, for a sample-side tensor.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// `(rows, cols)`, to compare shapes in one line.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// All values, rows one after another.
    pub fn data(&self) -> &[f64] {
        &self.data
    }

    /// All values, rows one after another.
    pub fn data_mut(&mut self) -> &mut [f64] {
        &mut self.data
    }

    /// One row; one sample's features, for a sample-side tensor.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.data[row * self.cols..(row + 1) * self.cols]
    }

    /// One row; one sample's features, for a sample-side tensor.
    pub fn row_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.data[row * self.cols..(row + 1) * self.cols]
    }

    /// The values rounded to f32, as a tensor on the device holds them.
    pub fn to_f32(&self) -> Vec<f32> {
        self.data.iter().map(|&value| value as f32).collect()
    }

    /// Applies `f` to every element.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self { rows: self.rows, cols: self.cols, data: self.data.iter().map(|&value| f(value)).collect() }
    }

    /// The Frobenius norm, ‖A‖.
    pub fn norm(&self) -> f64 {
        self.data.iter().map(|value| value * value).sum::<f64>().sqrt()
    }

    /// `‖self − expected‖ / ‖expected‖`; the plain distance where `expected` is all zeros.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn relative_error(&self, expected: &Self) -> f64 {
        assert_eq!(self.shape(), expected.shape(), "relative error of matrices of different shapes");
        let distance = Self::from_fn(self.rows, self.cols, |r, c| self[(r, c)] - expected[(r, c)]).norm();
        let norm = expected.norm();
        if norm == 0.0 { distance } else { distance / norm }
    }
}

impl Index<(usize, usize)> for Matrix {
    type Output = f64;

    fn index(&self, (row, col): (usize, usize)) -> &f64 {
        &self.row(row)[col]
    }
}

impl IndexMut<(usize, usize)> for Matrix {
    fn index_mut(&mut self, (row, col): (usize, usize)) -> &mut f64 {
        &mut self.row_mut(row)[col]
    }
}
