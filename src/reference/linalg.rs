//! Oracles of `shaders/linalg/`: products of matrices.

use super::{Bounded, Matrix, nm};

/// `op(left) · op(right)`; `op` transposes where its flag is set.
///
/// # Panics
/// If the inner sizes differ.
pub fn matmul(
    left: &Matrix,
    left_transposed: bool,
    right: &Matrix,
    right_transposed: bool,
) -> Bounded<Matrix> {
    product(left, left_transposed, right, right_transposed, None)
}

/// `start + op(left) · op(right)`.
///
/// # Panics
/// If the inner sizes differ, or `start` is not of the product's shape.
pub fn matmul_add(
    start: &Matrix,
    left: &Matrix,
    left_transposed: bool,
    right: &Matrix,
    right_transposed: bool,
) -> Bounded<Matrix> {
    product(left, left_transposed, right, right_transposed, Some(start))
}

/// `start − op(left) · op(right)`.
///
/// # Panics
/// As [`matmul_add`].
pub fn matmul_subtract(
    start: &Matrix,
    left: &Matrix,
    left_transposed: bool,
    right: &Matrix,
    right_transposed: bool,
) -> Bounded<Matrix> {
    product(&left.map(|value| -value), left_transposed, right, right_transposed, Some(start))
}

/// [`matmul`], and the sum of the squares of the product: `(C, ‖C‖²)`.
///
/// # Panics
/// As [`matmul`].
pub fn matmul_norm(
    left: &Matrix,
    left_transposed: bool,
    right: &Matrix,
    right_transposed: bool,
) -> (Bounded<Matrix>, Bounded<f64>) {
    let product = matmul(left, left_transposed, right, right_transposed);
    let mut norm = Bounded::ZERO;
    for (&value, &magnitude) in product.value.data().iter().zip(product.magnitude.data()) {
        norm.add_square(value, magnitude);
    }
    (product, norm)
}

/// `start + AᵀA` for `samples` A of samples × n: the Gram matrix `Σ aᵢ aᵢᵀ`. Symmetric, bit for bit, if `start` is.
///
/// # Panics
/// If `start` is not n × n.
pub fn gram(start: &Matrix, samples: &Matrix) -> Bounded<Matrix> {
    product(samples, true, samples, false, Some(start))
}

fn product(
    left: &Matrix,
    left_transposed: bool,
    right: &Matrix,
    right_transposed: bool,
    start: Option<&Matrix>,
) -> Bounded<Matrix> {
    // With the left rows and the right columns contiguous, one inner product reads two plain slices.
    let left_rows = if left_transposed { transpose(left) } else { left.clone() };
    let right_cols = if right_transposed { right.clone() } else { transpose(right) };
    assert_eq!(left_rows.cols(), right_cols.cols(), "matmul: inner sizes differ");
    let (rows, cols) = (left_rows.rows(), right_cols.rows());
    if let Some(start) = start {
        assert_eq!(start.shape(), (rows, cols), "matmul: shape of the start");
    }
    Bounded::from_fn(rows, cols, |row, col| {
        let mut sum = Bounded::ZERO;
        if let Some(start) = start {
            sum.add(start[(row, col)]);
        }
        for (a, b) in left_rows.row(row).iter().zip(right_cols.row(col)) {
            sum.add(a * b);
        }
        sum
    })
}

/// `C + sign · Σ G`, each G at the beginning of a row of `parts`, its own rows `stride` elements apart.
///
/// # Panics
/// If a row of `parts` is too short.
pub fn add_parts(product: &Matrix, parts: &Matrix, stride: usize, sign: f64) -> Bounded<Matrix> {
    Bounded::from_fn(product.rows(), product.cols(), |row, col| {
        let mut sum = Bounded::ZERO;
        sum.add(product[(row, col)]);
        for part in 0..parts.rows() {
            sum.add(sign * parts[(part, row * stride + col)]);
        }
        sum
    })
}

/// `Aᵀ`.
pub fn transpose(a: &Matrix) -> Matrix {
    Matrix::from_fn(a.cols(), a.rows(), |row, col| a[(col, row)])
}

/// A Wᵀ with W in the packed form of an N:M matrix.
///
/// # Panics
/// If the sizes differ.
pub fn matmul_nm(left: &Matrix, packed: &nm::Packed, pattern: (usize, usize)) -> Bounded<Matrix> {
    matmul(left, false, &nm::unpack(packed, pattern), true)
}

/// W x with W in the packed form of an N:M matrix, and `x` and the product as rows.
///
/// # Panics
/// If the sizes differ.
pub fn matvec_nm(x: &Matrix, packed: &nm::Packed, pattern: (usize, usize)) -> Bounded<Matrix> {
    assert_eq!(x.rows(), 1, "matvec_nm: x is one row");
    matmul_nm(x, packed, pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_transposes_agree() {
        let left = Matrix::new(2, 3, vec![1.0, -2.0, 3.0, 4.0, 5.0, -6.0]);
        let right = Matrix::new(3, 2, vec![7.0, 8.0, -9.0, 10.0, 11.0, 12.0]);
        let start = Matrix::new(2, 2, vec![-100.0, 0.0, 0.0, 1.0]);
        for (flip_left, flip_right) in [(false, false), (false, true), (true, false), (true, true)] {
            let l = if flip_left { transpose(&left) } else { left.clone() };
            let r = if flip_right { transpose(&right) } else { right.clone() };
            let product = matmul_add(&start, &l, flip_left, &r, flip_right);
            assert_eq!(product.value.data(), [-42.0, 24.0, -83.0, 11.0]);
            assert_eq!(product.magnitude.data(), [158.0, 64.0, 139.0, 155.0]);
            assert_eq!(
                matmul_norm(&l, flip_left, &r, flip_right).1.value,
                58f64.powi(2) + 24f64.powi(2) + 83f64.powi(2) + 10f64.powi(2)
            );
        }
    }

    #[test]
    fn gram_is_the_sum_over_samples() {
        let samples = Matrix::new(3, 2, vec![1.0, 2.0, 3.0, -4.0, 5.0, 6.0]);
        assert_eq!(gram(&Matrix::zeros(2, 2), &samples).value.data(), [35.0, 20.0, 20.0, 56.0]);
    }
}
