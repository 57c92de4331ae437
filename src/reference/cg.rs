//! Oracles of `shaders/cg/`: one step of conjugate gradients.

use super::{Bounded, Matrix};

/// What [`step`] works on and returns; every row is a system of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Step<T> {
    /// d.
    pub direction: T,
    /// r = c − x S.
    pub residual: T,
    /// x.
    pub solution: T,
}

/// Below this, sums of f32 products may have lost terms to underflow.
const SMALLEST: f64 = 1e-30;

/// Below this share of ‖d‖ ‖q‖, ⟨d, q⟩ may be its own rounding.
const FLATTEST: f64 = 1e-6;

/// One step in every row, with `image` q = d S. A row is left alone, its magnitudes zero, where ⟨r, r⟩ or ⟨d, q⟩ is
/// below 1e-30, ⟨d, q⟩ is below 1e-6 ‖d‖ ‖q‖, or one of these or α is not finite as an f32.
///
/// The magnitudes are to first order: α is off by `ε (1 + Σ|d||q| / ⟨d, q⟩)` of itself for each rounding, and what is
/// made with it by as much.
///
/// # Panics
/// If the shapes differ.
pub fn step(before: &Step<Matrix>, image: &Matrix) -> Step<Bounded<Matrix>> {
    let shape = image.shape();
    let all = [&before.direction, &before.residual, &before.solution];
    assert!(all.iter().all(|operand| operand.shape() == shape), "step: shapes differ");
    let kept =
        |operand: &Matrix| Bounded { value: operand.clone(), magnitude: Matrix::zeros(shape.0, shape.1) };
    let [direction, residual, solution] = all.map(kept);
    let mut after = Step { direction, residual, solution };
    for row in 0..shape.0 {
        step_row(before, image, row, &mut after);
    }
    after
}

fn step_row(before: &Step<Matrix>, image: &Matrix, row: usize, after: &mut Step<Bounded<Matrix>>) {
    let (d, q) = (before.direction.row(row), image.row(row));
    let (r, x) = (before.residual.row(row), before.solution.row(row));
    let curvature = dot(d, q);
    let squares = dot(r, r).value;
    let alpha = squares / curvature.value;
    let (long, wide) = (dot(d, d).value, dot(q, q).value);
    let is_finite = [squares, curvature.value, alpha, long, wide].iter().all(|it| (*it as f32).is_finite());
    let is_large = squares >= SMALLEST && curvature.value >= SMALLEST;
    if !(is_finite && is_large && curvature.value >= FLATTEST * (long * wide).sqrt()) {
        return;
    }
    let alpha_magnitude = alpha * (1.0 + curvature.magnitude / curvature.value);
    let mut rest = Bounded::ZERO;
    for i in 0..d.len() {
        let moved = plus(x[i], alpha * d[i], alpha_magnitude * d[i].abs());
        set(&mut after.solution, (row, i), moved);
        let moved = plus(r[i], -alpha * q[i], alpha_magnitude * q[i].abs());
        set(&mut after.residual, (row, i), moved);
        rest.add_square(moved.value, moved.magnitude);
    }
    let beta = rest.value / squares;
    let beta_magnitude = beta + rest.magnitude / squares;
    for (i, d) in d.iter().enumerate() {
        let residual = after.residual.value[(row, i)];
        let mut turned = plus(residual, beta * d, beta_magnitude * d.abs());
        turned.magnitude += after.residual.magnitude[(row, i)];
        set(&mut after.direction, (row, i), turned);
    }
}

/// `start + term`, the term's error given by its magnitude.
fn plus(start: f64, term: f64, magnitude: f64) -> Bounded<f64> {
    let mut sum = Bounded::ZERO;
    sum.add(start);
    sum.add_bounded(term, magnitude);
    sum
}

fn dot(a: &[f64], b: &[f64]) -> Bounded<f64> {
    let mut sum = Bounded::ZERO;
    for (a, b) in a.iter().zip(b) {
        sum.add(a * b);
    }
    sum
}

fn set(matrix: &mut Bounded<Matrix>, place: (usize, usize), element: Bounded<f64>) {
    matrix.value[place] = element.value;
    matrix.magnitude[place] = element.magnitude;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::linalg;
    use proptest::prelude::*;

    proptest! {
        /// As many steps as there are variables solve a well-conditioned system.
        #[test]
        fn steps_end(values in prop::collection::vec(-1.0..1.0f64, 9 * 6), right in prop::collection::vec(-1.0..1.0f64, 2 * 6)) {
            let samples = Matrix::new(9, 6, values);
            let gram = linalg::gram(&Matrix::zeros(6, 6), &samples).value;
            let matrix = Matrix::from_fn(6, 6, |i, j| gram[(i, j)] + if i == j { 1.0 } else { 0.0 });
            let right = Matrix::new(2, 6, right);
            let mut state = Step { direction: right.clone(), residual: right.clone(), solution: Matrix::zeros(2, 6) };
            for _ in 0..6 {
                let image = linalg::matmul(&state.direction, false, &matrix, false).value;
                let after = step(&state, &image);
                state = Step { direction: after.direction.value, residual: after.residual.value, solution: after.solution.value };
            }
            let product = linalg::matmul(&state.solution, false, &matrix, false).value;
            prop_assert!(product.relative_error(&right) < 1e-8);
        }
    }
}
