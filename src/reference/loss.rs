//! Oracles of `shaders/loss/`: softmax, cross-entropy and accuracy, squared error.

use super::batch::sub_batch_size_of;
use super::{Bounded, Matrix};

/// What [`softmax_scores`] returns: one row for each sample, and the totals over samples.
#[derive(Debug, Clone, PartialEq)]
pub struct SoftmaxScores {
    /// `−log softmax(logits)[label]` of each sample, samples × 1.
    pub cost: Bounded<Matrix>,
    /// 1 where the largest logit is the label's, else 0, samples × 1.
    pub hit: Matrix,
    /// Σ cost.
    pub total_cost: Bounded<f64>,
    /// Σ hit.
    pub total_hits: usize,
}

/// Cross-entropy and accuracy of each sample at the logits `P + b`. Of equal logits the one of the lowest index wins.
///
/// The search for the largest logit starts at class 0 and moves on only for a greater one, so that a NaN is never
/// chosen, except in class 0, and the cost of a sample that holds one is NaN.
///
/// # Panics
/// If the shapes disagree, there is not one label for each sample, or a label names no class.
pub fn softmax_scores(product: &Matrix, bias: &Matrix, labels: &[u32]) -> SoftmaxScores {
    assert_eq!(bias.shape(), (1, product.cols()), "softmax_scores: shape of the bias");
    assert_eq!(product.rows(), labels.len(), "softmax_scores: one label for each sample");
    let logits = Matrix::from_fn(product.rows(), product.cols(), |sample, class| {
        product[(sample, class)] + bias[(0, class)]
    });
    // The largest terms that a logit is the sum of: what its own rounding is relative to.
    let size = |sample: usize| {
        let terms = product.row(sample).iter().zip(bias.row(0)).map(|(p, b)| p.abs() + b.abs());
        terms.fold(0.0, f64::max)
    };
    let mut total_cost = Bounded::ZERO;
    let cost = Bounded::from_fn(logits.rows(), 1, |sample, _| {
        let mut cost = cross_entropy(logits.row(sample), labels[sample]);
        cost.magnitude += 2.0 * size(sample);
        total_cost.add_bounded(cost.value, cost.magnitude);
        cost
    });
    let hit = Matrix::from_fn(logits.rows(), 1, |sample, _| {
        if largest(logits.row(sample)) == labels[sample] as usize { 1.0 } else { 0.0 }
    });
    let total_hits = hit.data().iter().filter(|&&hit| hit == 1.0).count();
    SoftmaxScores { cost, hit, total_cost, total_hits }
}

/// Squared error of the outputs `P + b`, the mean over outputs and the sum over samples.
///
/// # Panics
/// If the shapes disagree.
pub fn squared_scores(product: &Matrix, bias: &Matrix, targets: &Matrix) -> Bounded<f64> {
    let mut total = squares(&super::dladmm::residual(product, bias, targets));
    let outputs = product.cols() as f64;
    (total.value, total.magnitude) = (total.value / outputs, total.magnitude / outputs);
    total
}

/// `δ = (softmax(P + b) − y) / size of the sample's sub-batch`.
///
/// # Panics
/// As [`softmax_scores`].
pub fn softmax_gradient(
    product: &Matrix,
    bias: &Matrix,
    labels: &[u32],
    sub_batches: usize,
) -> Bounded<Matrix> {
    assert_eq!(bias.shape(), (1, product.cols()), "softmax_gradient: shape of the bias");
    assert_eq!(product.rows(), labels.len(), "softmax_gradient: one label for each sample");
    let samples = product.rows();
    Bounded::from_fn(samples, product.cols(), |sample, class| {
        let (product, bias) = (product.row(sample), bias.row(0));
        let logits: Vec<f64> = product.iter().zip(bias).map(|(p, b)| p + b).collect();
        let size = sub_batch_size_of(sample, samples, sub_batches) as f64;
        let p = softmax(&logits)[class];
        let y = if labels[sample] as usize == class { 1.0 } else { 0.0 };
        // Rounding of exponents of this size, of which each is a difference of sums, shows in p times as much.
        let largest = product.iter().zip(bias).map(|(p, b)| p.abs() + b.abs()).fold(0.0, f64::max);
        Bounded { value: (p - y) / size, magnitude: (y + p * (1.0 + 4.0 * largest)) / size }
    })
}

/// `δ = (P + b − y) / size of the sample's sub-batch`.
///
/// # Panics
/// If the shapes disagree.
pub fn squared_gradient(
    product: &Matrix,
    bias: &Matrix,
    targets: &Matrix,
    sub_batches: usize,
) -> Bounded<Matrix> {
    let gap = super::dladmm::residual(product, bias, targets);
    let samples = product.rows();
    Bounded::from_fn(samples, product.cols(), |sample, output| {
        let size = sub_batch_size_of(sample, samples, sub_batches) as f64;
        let at = (sample, output);
        Bounded { value: gap.value[at] / size, magnitude: gap.magnitude[at] / size }
    })
}

/// ‖A‖².
pub(super) fn squares(a: &Bounded<Matrix>) -> Bounded<f64> {
    let mut total = Bounded::ZERO;
    for (&value, &magnitude) in a.value.data().iter().zip(a.magnitude.data()) {
        total.add_square(value, magnitude);
    }
    total
}

/// `−log softmax(z)[label] = log Σ exp(z_j − m) − (z_label − m)`, `m = max z`: no exponential overflows, and none is
/// rounded to a zero inside the logarithm.
///
/// An error of ε in each exponent changes the logarithm by `Σ p_j |z_j − m|`, which the magnitude therefore counts;
/// its 1 stands for the rounding of the sum.
pub(super) fn cross_entropy(z: &[f64], label: u32) -> Bounded<f64> {
    let top = z[largest(z)];
    let total: f64 = z.iter().map(|value| (value - top).exp()).sum();
    let spread: f64 = z.iter().map(|value| (value - top).exp() / total * (value - top).abs()).sum();
    let below = z[label as usize] - top;
    Bounded { value: total.ln() - below, magnitude: 1.0 + total.ln() + spread + below.abs() }
}

/// `softmax(z)`, shifted by the largest entry.
pub(super) fn softmax(z: &[f64]) -> Vec<f64> {
    let top = z[largest(z)];
    let total: f64 = z.iter().map(|value| (value - top).exp()).sum();
    z.iter().map(|value| (value - top).exp() / total).collect()
}

/// Index of the largest entry, the lowest of equals.
fn largest(z: &[f64]) -> usize {
    let mut best = 0;
    for (index, &value) in z.iter().enumerate() {
        if value > z[best] {
            best = index;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// [`cross_entropy`] as a device computes it.
    fn cross_entropy_f32(z: &[f32], label: usize) -> f32 {
        let top = z.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        z.iter().map(|z| (z - top).exp()).sum::<f32>().ln() - (z[label] - top)
    }

    #[test]
    fn equal_logits_cost_the_logarithm_of_their_number_and_the_first_wins() {
        let scores = softmax_scores(&Matrix::zeros(3, 4), &Matrix::zeros(1, 4), &[0, 1, 0]);
        assert!(scores.cost.value.data().iter().all(|&cost| cost == 4f64.ln()));
        assert_eq!((scores.hit.data(), scores.total_hits), (&[1.0, 0.0, 1.0][..], 2));
    }

    #[test]
    fn huge_logits_neither_overflow_nor_vanish() {
        let logits = Matrix::new(2, 3, vec![1e5, 0.0, -1e5, -1e5, -1e5, -2e5]);
        let scores = softmax_scores(&logits, &Matrix::zeros(1, 3), &[2, 0]);
        assert_eq!(scores.cost.value.data(), [2e5, 2f64.ln()]);
        assert_eq!(softmax(logits.row(0)), [1.0, 0.0, 0.0]);
    }

    #[test]
    fn nan_shows_in_the_cost_and_is_not_chosen() {
        let scores = softmax_scores(&Matrix::new(1, 3, vec![0.0, f64::NAN, 1.0]), &Matrix::zeros(1, 3), &[2]);
        assert!(scores.cost.value[(0, 0)].is_nan());
        assert_eq!(scores.total_hits, 1);
    }

    proptest! {
        /// The magnitude bounds what rounding to f32 does.
        #[test]
        fn f32_stays_within_the_bound(z in prop::collection::vec(-40f32..40.0, 1..20), label in 0usize..20) {
            let label = label % z.len();
            let wide: Vec<f64> = z.iter().map(|&z| f64::from(z)).collect();
            let bounded = cross_entropy(&wide, label as u32);
            let error = (f64::from(cross_entropy_f32(&z, label)) - bounded.value).abs();
            prop_assert!(error <= 4.0 * f64::from(f32::EPSILON) * bounded.magnitude);
        }
    }
}
