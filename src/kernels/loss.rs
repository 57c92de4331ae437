//! Losses, and scores of a network's outputs.

use super::batch::expect_sub_batches;
use super::{expect_labels, expect_length, expect_shape, plain, summing, summing_variants};
use crate::Error;
use crate::engine::{Binding, Dispatch, Groups, Kernel, PlanBuilder, Shape, Tensor, Variant, params};

/// Samples that one workgroup scores.
const CHUNK: u32 = 64;

/// What the last layer's z is judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// −log softmax(z) at the sample's class, summed over samples.
    #[default]
    CrossEntropy,
    /// ½ ‖z − y‖², summed over samples: regression.
    Squared,
}

impl Loss {
    /// Refuses targets that are not one class, or one row of values, per sample.
    pub(super) fn expect_targets(
        self,
        kernel: &'static Kernel,
        targets: &Tensor,
        shape: Shape,
    ) -> Result<(), Error> {
        match self {
            Self::CrossEntropy => expect_labels(kernel, targets, shape.rows),
            Self::Squared => expect_shape(kernel, "targets", targets, shape),
        }
    }
}

/// `loss/softmax_scores`
pub static SOFTMAX_SCORES: Kernel = Kernel {
    name: "loss/softmax_scores",
    bindings: &[
        Binding::read("product"),
        Binding::read("bias"),
        Binding::read("labels"),
        Binding::write("partials"),
    ],
    params: SoftmaxScoresParams::LAYOUT,
    variants: || summing_variants(plain()),
};

params! {
    struct SoftmaxScoresParams { quads: u32, samples: u32, classes: u32, offset: u32 }
}

/// `vec4`s of partial sums that [`softmax_scores`] and [`squared_scores`] leave for this many samples.
pub fn partial_count(samples: u32) -> u32 {
    samples.div_ceil(CHUNK)
}

/// Cross-entropy and hits of the logits P + b, as partial sums (Σ cost, Σ hits, 0, 0) from `vec4` `offset` on.
///
/// A hit is a sample whose largest logit is its label's; ties go to the lower class. Shapes: `product` is
/// samples × classes, `bias` one row of classes, `labels` one u32 per sample.
///
/// # Errors
/// [`Error::Shape`] when they disagree, and those of [`PlanBuilder::dispatch`].
pub fn softmax_scores(
    plan: &mut PlanBuilder,
    product: &Tensor,
    bias: &Tensor,
    labels: &Tensor,
    partials: &Tensor,
    offset: u32,
) -> Result<(), Error> {
    let shape = product.shape();
    expect_shape(&SOFTMAX_SCORES, "bias", bias, Shape::vector(shape.columns))?;
    expect_labels(&SOFTMAX_SCORES, labels, shape.rows)?;
    let count = partial_count(shape.rows);
    expect_length(&SOFTMAX_SCORES, "partials", partials, 4 * (u64::from(offset) + u64::from(count)))?;
    let params =
        SoftmaxScoresParams { quads: shape.quads(), samples: shape.rows, classes: shape.columns, offset };
    plan.dispatch(Dispatch {
        kernel: &SOFTMAX_SCORES,
        variant: summing(Variant::new("plain"), plan.gpu().capabilities().class),
        operands: &[product, bias, labels, partials],
        params: bytemuck::bytes_of(&params),
        groups: Groups(count.into()),
        flops: 5 * shape.elements(),
    })
}

/// `loss/squared_scores`
pub static SQUARED_SCORES: Kernel = Kernel {
    name: "loss/squared_scores",
    bindings: &[
        Binding::read("product"),
        Binding::read("bias"),
        Binding::read("targets"),
        Binding::write("partials"),
    ],
    params: SquaredScoresParams::LAYOUT,
    variants: || summing_variants(plain()),
};

params! {
    struct SquaredScoresParams { quads: u32, samples: u32, outputs: u32, offset: u32 }
}

/// Mean squared error of the outputs P + b, a mean over outputs summed over samples, as partial sums (Σ cost, 0, 0, 0)
/// from `vec4` `offset` on.
///
/// Shapes: `product` and `targets` are samples × outputs, `bias` one row of outputs.
///
/// # Errors
/// [`Error::Shape`] when they disagree, and those of [`PlanBuilder::dispatch`].
pub fn squared_scores(
    plan: &mut PlanBuilder,
    product: &Tensor,
    bias: &Tensor,
    targets: &Tensor,
    partials: &Tensor,
    offset: u32,
) -> Result<(), Error> {
    let shape = product.shape();
    expect_shape(&SQUARED_SCORES, "bias", bias, Shape::vector(shape.columns))?;
    expect_shape(&SQUARED_SCORES, "targets", targets, shape)?;
    let count = partial_count(shape.rows);
    expect_length(&SQUARED_SCORES, "partials", partials, 4 * (u64::from(offset) + u64::from(count)))?;
    let params =
        SquaredScoresParams { quads: shape.quads(), samples: shape.rows, outputs: shape.columns, offset };
    plan.dispatch(Dispatch {
        kernel: &SQUARED_SCORES,
        variant: summing(Variant::new("plain"), plan.gpu().capabilities().class),
        operands: &[product, bias, targets, partials],
        params: bytemuck::bytes_of(&params),
        groups: Groups(count.into()),
        flops: 4 * shape.elements(),
    })
}

/// `loss/softmax_gradient`
pub static SOFTMAX_GRADIENT: Kernel = Kernel {
    name: "loss/softmax_gradient",
    bindings: &[
        Binding::read("product"),
        Binding::read("bias"),
        Binding::read("labels"),
        Binding::write("delta"),
        Binding::write("partials"),
    ],
    params: SoftmaxGradientParams::LAYOUT,
    variants: || summing_variants(plain()),
};

params! {
    struct SoftmaxGradientParams { quads: u32, samples: u32, classes: u32, sub_batches: u32, offset: u32 }
}

/// δ = (softmax(P + b) − y) / size of the sample's sub-batch: the gradient of each sub-batch's mean cross-entropy by the
/// logits; and the scores of [`softmax_scores`], as partial sums from `vec4` `offset` on.
///
/// Shapes: `product` and `delta` are samples × classes, `bias` one row of classes, `labels` one u32 per sample.
///
/// # Errors
/// [`Error::Shape`] when they disagree or a sub-batch would be empty, and those of [`PlanBuilder::dispatch`].
pub fn softmax_gradient(
    plan: &mut PlanBuilder,
    (product, bias): (&Tensor, &Tensor),
    labels: &Tensor,
    sub_batches: u32,
    delta: &Tensor,
    (partials, offset): (&Tensor, u32),
) -> Result<(), Error> {
    let kernel = &SOFTMAX_GRADIENT;
    let shape = product.shape();
    expect_shape(kernel, "bias", bias, Shape::vector(shape.columns))?;
    expect_labels(kernel, labels, shape.rows)?;
    expect_shape(kernel, "delta", delta, shape)?;
    expect_sub_batches(kernel, shape.rows, sub_batches)?;
    let count = partial_count(shape.rows);
    expect_length(kernel, "partials", partials, 4 * (u64::from(offset) + u64::from(count)))?;
    let (quads, samples, classes) = (shape.quads(), shape.rows, shape.columns);
    plan.dispatch(Dispatch {
        kernel,
        variant: summing(Variant::new("plain"), plan.gpu().capabilities().class),
        operands: &[product, bias, labels, delta, partials],
        params: bytemuck::bytes_of(&SoftmaxGradientParams { quads, samples, classes, sub_batches, offset }),
        groups: Groups(count.into()),
        flops: 10 * shape.elements(),
    })
}

/// `loss/squared_gradient`
pub static SQUARED_GRADIENT: Kernel = Kernel {
    name: "loss/squared_gradient",
    bindings: &[
        Binding::read("product"),
        Binding::read("bias"),
        Binding::read("targets"),
        Binding::write("delta"),
        Binding::write("partials"),
    ],
    params: SquaredGradientParams::LAYOUT,
    variants: || summing_variants(plain()),
};

params! {
    struct SquaredGradientParams { quads: u32, samples: u32, outputs: u32, sub_batches: u32, offset: u32 }
}

/// δ = (P + b − y) / size of the sample's sub-batch: the gradient of each sub-batch's mean of ½ ‖P + b − y‖² by the
/// outputs; and the scores of [`squared_scores`], as partial sums from `vec4` `offset` on.
///
/// Shapes: `product`, `targets` and `delta` are samples × outputs, `bias` one row of outputs.
///
/// # Errors
/// [`Error::Shape`] when they disagree or a sub-batch would be empty, and those of [`PlanBuilder::dispatch`].
pub fn squared_gradient(
    plan: &mut PlanBuilder,
    (product, bias): (&Tensor, &Tensor),
    targets: &Tensor,
    sub_batches: u32,
    delta: &Tensor,
    (partials, offset): (&Tensor, u32),
) -> Result<(), Error> {
    let kernel = &SQUARED_GRADIENT;
    let shape = product.shape();
    expect_shape(kernel, "bias", bias, Shape::vector(shape.columns))?;
    expect_shape(kernel, "targets", targets, shape)?;
    expect_shape(kernel, "delta", delta, shape)?;
    expect_sub_batches(kernel, shape.rows, sub_batches)?;
    let count = partial_count(shape.rows);
    expect_length(kernel, "partials", partials, 4 * (u64::from(offset) + u64::from(count)))?;
    let (quads, samples, outputs) = (shape.quads(), shape.rows, shape.columns);
    plan.dispatch(Dispatch {
        kernel,
        variant: summing(Variant::new("plain"), plan.gpu().capabilities().class),
        operands: &[product, bias, targets, delta, partials],
        params: bytemuck::bytes_of(&SquaredGradientParams { quads, samples, outputs, sub_batches, offset }),
        groups: Groups(count.into()),
        flops: 5 * shape.elements(),
    })
}
