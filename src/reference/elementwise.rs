//! Oracles of `shaders/elementwise/`: each element of the result depends on one element of each operand.

use super::{Activation, Bounded, Matrix, random_words};

/// A `rows × cols` matrix of one value.
pub fn fill(rows: usize, cols: usize, value: f64) -> Matrix {
    Matrix::from_fn(rows, cols, |_, _| value)
}

/// `x`, bit for bit.
pub fn copy(x: &Matrix) -> Matrix {
    x.clone()
}

/// `scale · v + shift`, applied `steps` times to each element.
///
/// The magnitude follows the error from step to step: what there was of it, multiplied as the value is, and two roundings
/// of the step's own, for a driver may leave the two operations apart.
pub fn multiply_add(x: &Matrix, steps: u32, scale: f64, shift: f64) -> Bounded<Matrix> {
    Bounded::from_fn(x.rows(), x.cols(), |row, col| {
        let start = Bounded { value: x[(row, col)], magnitude: 0.0 };
        (0..steps).fold(start, |Bounded { value, magnitude }, _| Bounded {
            value: scale * value + shift,
            magnitude: scale.abs() * magnitude + (scale * value).abs() + shift.abs(),
        })
    })
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

/// Which activations of a layer dropout keeps, and by what it multiplies them.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    /// The cursor's seed.
    pub seed: u32,
    /// The cursor's batches.
    pub batches: u32,
    /// Which layer.
    pub layer: u32,
    /// The chance of being dropped.
    pub rate: f64,
}

impl Dropout {
    /// 0 or `1/(1 − rate)`, for one element of a matrix of so many columns.
    pub fn factor(&self, row: usize, column: usize, columns: usize) -> f64 {
        let quad = row * columns.div_ceil(4) + column / 4;
        let words = random_words(self.seed, self.batches, (1 << 31) + self.layer, quad as u32);
        let is_dropped = f64::from(words[column % 4]) < (self.rate * 2f64.powi(32)).floor();
        if is_dropped { 0.0 } else { 1.0 / (1.0 - self.rate) }
    }
}

/// `m ∘ x`.
pub fn dropout(x: &Matrix, dropout: &Dropout) -> Matrix {
    Matrix::from_fn(x.rows(), x.cols(), |row, column| {
        dropout.factor(row, column, x.cols()) * x[(row, column)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Layers, steps and seeds draw independently: of two masks that drop with chances p and q, both drop with p q.
    #[test]
    fn masks_drop_as_often_as_they_should_and_do_not_repeat() {
        let of = |seed, batches, layer, rate| Dropout { seed, batches, layer, rate };
        let masks = [of(7, 0, 0, 0.25), of(7, 0, 1, 0.25), of(7, 1, 0, 0.25), of(8, 0, 0, 0.25)];
        let dropped: Vec<Vec<bool>> = masks
            .iter()
            .map(|mask| (0..40_000).map(|k| mask.factor(k / 100, k % 100, 100) == 0.0).collect())
            .collect();
        let share = |a: &[bool], b: &[bool]| {
            a.iter().zip(b).filter(|(a, b)| **a && **b).count() as f64 / a.len() as f64
        };
        for a in 0..4 {
            for b in 0..4 {
                let (chance, share) = (if a == b { 0.25 } else { 0.0625 }, share(&dropped[a], &dropped[b]));
                // Five standard deviations.
                let allowed = 5.0 * f64::sqrt(chance * (1.0 - chance) / 40_000.0);
                assert!((share - chance).abs() < allowed, "{a} and {b}: {share}");
            }
        }
        assert!((0..100).all(|k| of(1, 2, 3, 0.0).factor(k, 0, 1) == 1.0), "without dropout all is kept");
    }
}
