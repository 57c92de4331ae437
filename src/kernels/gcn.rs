//! What graph convolutions need beside products: skips, dropout, and the way back through both.
//!
//! δ of a layer is the derivative of a sub-batch's mean loss by the layer's z. Through a graph every sub-batch reaches
//! every node, so there is a δ for each: a stack of matrices, nodes × width each, at one matrix of activations.

use super::elementwise::Dropout;
use super::{Activation, WG_SIZE, expect_length, expect_shape, plain, quads};
use crate::Error;
use crate::engine::{Binding, Dispatch, Groups, Kernel, PlanBuilder, Shape, Tensor, Variant, params};
use crate::kernels::batch::CURSOR_LENGTH;

/// `gcn/skip`
pub static SKIP: Kernel = Kernel {
    name: "gcn/skip",
    bindings: &[Binding::read("x"), Binding::read("skipped"), Binding::read("cursor"), Binding::write("y")],
    params: SkipParams::LAYOUT,
    variants: plain,
};

params! {
    struct SkipParams { quads: u32, layer: u32, threshold: u32, scale: f32 }
}

/// y = m ∘ x + s: a layer's activations `x` after dropout, with the layer's input `skipped` added.
///
/// # Errors
/// [`Error::Shape`] when the shapes differ, and those of [`PlanBuilder::dispatch`].
pub fn skip(
    plan: &mut PlanBuilder,
    x: &Tensor,
    skipped: &Tensor,
    dropout: &Dropout<'_>,
    y: &Tensor,
) -> Result<(), Error> {
    expect_shape(&SKIP, "skipped", skipped, x.shape())?;
    expect_shape(&SKIP, "y", y, x.shape())?;
    expect_length(&SKIP, "cursor", dropout.cursor, CURSOR_LENGTH.into())?;
    plan.dispatch(Dispatch {
        kernel: &SKIP,
        variant: Variant::new("plain"),
        operands: &[x, skipped, dropout.cursor, y],
        params: bytemuck::bytes_of(&SkipParams {
            quads: quads(x),
            layer: dropout.layer,
            threshold: dropout.threshold(),
            scale: dropout.scale(),
        }),
        groups: Groups::over(u64::from(quads(x)), WG_SIZE),
        flops: 2 * x.shape().elements(),
    })
}

/// `gcn/delta`
pub static DELTA: Kernel = Kernel {
    name: "gcn/delta",
    bindings: &[
        Binding::read("gradient"),
        Binding::read("activation"),
        Binding::read("cursor"),
        Binding::write("delta"),
    ],
    params: DeltaParams::LAYOUT,
    variants: Activation::variants,
};

params! {
    struct DeltaParams { quads: u32, activation_quads: u32, layer: u32, threshold: u32, scale: f32 }
}

/// δ = g ∘ m ∘ f′(z): back through dropout's mask m and an activation, f′ from the value a = f(z); 0 at ReLU's kink.
///
/// Shapes: `activation`, a, is rows × width; `gradient` and `delta` are copies · rows × width.
///
/// # Errors
/// [`Error::Shape`] when they disagree, and those of [`PlanBuilder::dispatch`].
pub fn delta(
    plan: &mut PlanBuilder,
    gradient: &Tensor,
    activation: &Tensor,
    f: Activation,
    dropout: &Dropout<'_>,
    delta: &Tensor,
) -> Result<(), Error> {
    let Shape { rows, columns } = activation.shape();
    let copies = gradient.shape().rows.checked_div(rows).unwrap_or(1);
    expect_shape(&DELTA, "gradient", gradient, Shape::new(copies * rows, columns))?;
    expect_shape(&DELTA, "delta", delta, gradient.shape())?;
    expect_length(&DELTA, "cursor", dropout.cursor, CURSOR_LENGTH.into())?;
    plan.dispatch(Dispatch {
        kernel: &DELTA,
        variant: f.choose(Variant::new("plain")),
        operands: &[gradient, activation, dropout.cursor, delta],
        params: bytemuck::bytes_of(&DeltaParams {
            quads: quads(gradient),
            activation_quads: quads(activation),
            layer: dropout.layer,
            threshold: dropout.threshold(),
            scale: dropout.scale(),
        }),
        groups: Groups::over(u64::from(quads(gradient)), WG_SIZE),
        flops: 3 * gradient.shape().elements(),
    })
}
