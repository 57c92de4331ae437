//! The f64 CPU twin of every kernel: same family and function names as in `shaders/`, written to be read.
//!
//! Tests and `dualstep verify` call these functions and compare; nothing that computes a result for a user does.
//! What always holds:
//!
//! - A sample-side tensor (`x`, `P`, `z`, `a`, `u`; features × samples in the papers) is a [`Matrix`] whose rows are
//!   samples. A weight is `n_out × n_in`; a bias is a matrix of one row. Nothing is padded.
//! - Where a kernel adds or cancels, its twin returns a [`Bounded`]: the value, and for each element the sum of the
//!   magnitudes that went into it. The test is `|kernel − value| ≤ c · ε · magnitude`, so that a tolerance is derived
//!   from the operands, and never guessed. Where a kernel rounds once, the twin returns the value alone.
//! - Shapes are the caller's promise, as they are for a WGSL file: the typed functions in front of the kernels refuse
//!   a mismatch before it gets here, so a mismatch met here is a mistake in this crate and fails an assertion.
//! - WGSL leaves `min` and `max` of a NaN open, so no twin promises anything for a NaN operand beyond returning.
//!   What a twin does with one is written where it matters (`softmax_scores`, `step_size`, `record`).

mod activation;
pub mod anderson;
pub mod badm;
pub mod batch;
pub mod cg;
pub mod cholesky;
pub mod dladmm;
pub mod elementwise;
pub mod exact;
pub mod first_order;
pub mod gcn;
pub mod linalg;
pub mod line_search;
pub mod loss;
pub mod matrix;
pub mod mlp;
pub mod nm;
pub mod optimizer;
pub mod proximal;
mod random;
pub mod reduce;
pub mod sparse;

pub use activation::Activation;
pub use matrix::Matrix;
pub use random::random_words;

/// A result together with the size of the terms it was made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounded<T> {
    /// What the kernel computes, in f64.
    pub value: T,
    /// Σ|a||b| for a sum of products, Σ|x| for a sum: one unit of ε here is what one rounding may cost.
    pub magnitude: T,
}

impl Bounded<f64> {
    /// Zero, made of nothing: where a sum starts.
    pub const ZERO: Self = Self { value: 0.0, magnitude: 0.0 };

    /// Adds a term whose own rounding is relative to its size.
    pub fn add(&mut self, term: f64) {
        self.add_bounded(term, term.abs());
    }

    /// Adds a term that is itself the rest of a cancellation between terms of the given `magnitude`.
    pub fn add_bounded(&mut self, term: f64, magnitude: f64) {
        self.value += term;
        self.magnitude += magnitude;
    }

    /// Adds `term²`, where `term` is the rest of a cancellation of the given `magnitude`.
    ///
    /// `term` is off by `ε m`, hence its square by `2 |term| ε m + (ε m)²`. The last part counts only where the
    /// cancellation was nearly complete; it is the reason why f32's ε appears in an f64 oracle.
    pub fn add_square(&mut self, term: f64, magnitude: f64) {
        self.add_bounded(term * term, magnitude * (term.abs() + f64::from(f32::EPSILON) * magnitude));
    }
}

impl Bounded<Matrix> {
    /// Computes every element of a `rows × cols` result from its row and column.
    pub fn from_fn(rows: usize, cols: usize, mut element: impl FnMut(usize, usize) -> Bounded<f64>) -> Self {
        let mut value = Matrix::zeros(rows, cols);
        let mut magnitude = Matrix::zeros(rows, cols);
        for row in 0..rows {
            for col in 0..cols {
                let bounded = element(row, col);
                value[(row, col)] = bounded.value;
                magnitude[(row, col)] = bounded.magnitude;
            }
        }
        Self { value, magnitude }
    }
}
