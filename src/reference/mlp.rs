//! Oracles of `shaders/mlp/`: backward propagation through dense layers, sub-batch by sub-batch.

use super::batch::sub_batch;
use super::{Activation, Bounded, Matrix, linalg};

/// `δ_l = (δ_{l+1} W_{l+1}) ∘ f′`, with f′ from the activation's value a_l.
///
/// # Panics
/// If the shapes disagree.
pub fn delta(above: &Matrix, weights: &Matrix, activation: &Matrix, f: Activation) -> Bounded<Matrix> {
    assert_eq!(activation.shape(), (above.rows(), weights.cols()), "delta: shape of the activation");
    let product = linalg::matmul(above, false, weights, false);
    Bounded::from_fn(activation.rows(), activation.cols(), |row, column| {
        let slope = f.slope_at_value(activation[(row, column)]);
        let (value, magnitude) = (product.value[(row, column)], product.magnitude[(row, column)]);
        // What the slope itself is off counts as the product does not.
        Bounded {
            value: value * slope.value,
            magnitude: magnitude * slope.value.abs() + value.abs() * slope.magnitude,
        }
    })
}

/// `G_n = Σ δ aᵀ` over the samples of each sub-batch, where the rows of `inputs` come round: sample s has row s modulo their
/// number.
///
/// # Panics
/// If there are not as many rows of `delta` as of `inputs`, or as many for each sub-batch.
pub fn weight_gradient(delta: &Matrix, inputs: &Matrix, sub_batches: usize) -> Vec<Bounded<Matrix>> {
    let is_shared = delta.rows() == sub_batches * inputs.rows();
    assert!(is_shared || delta.rows() == inputs.rows(), "weight_gradient: one delta for each sample");
    (0..sub_batches)
        .map(|n| {
            Bounded::from_fn(delta.cols(), inputs.cols(), |output, column| {
                let mut sum = Bounded::ZERO;
                for sample in sub_batch(n, delta.rows(), sub_batches) {
                    sum.add(delta[(sample, output)] * inputs[(sample % inputs.rows(), column)]);
                }
                sum
            })
        })
        .collect()
}

/// `g_n = Σ δ` over the samples of each sub-batch, a row for each.
pub fn bias_gradient(delta: &Matrix, sub_batches: usize) -> Bounded<Matrix> {
    Bounded::from_fn(sub_batches, delta.cols(), |n, output| {
        let mut sum = Bounded::ZERO;
        sub_batch(n, delta.rows(), sub_batches).for_each(|sample| sum.add(delta[(sample, output)]));
        sum
    })
}
