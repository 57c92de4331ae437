//! Elementwise kernels without an algorithm of their own.

use super::batch::CURSOR_LENGTH;
use super::{Activation, WG_SIZE, expect_length, expect_shape, groups_over_samples, plain, quads};
use crate::Error;
use crate::engine::{Binding, Dispatch, Groups, Kernel, PlanBuilder, Shape, Tensor, Variant, params};

/// `elementwise/fill`
pub static FILL: Kernel = Kernel {
    name: "elementwise/fill",
    bindings: &[Binding::write("y")],
    params: FillParams::LAYOUT,
    variants: plain,
};

params! {
    struct FillParams { rows: u32, columns: u32, quads: u32, value: f32 }
}

/// Sets every element of `y` to `value`, and its padding to zero.
///
/// # Errors
/// Those of [`PlanBuilder::dispatch`].
pub fn fill(plan: &mut PlanBuilder, y: &Tensor, value: f32) -> Result<(), Error> {
    let shape = y.shape();
    plan.dispatch(Dispatch {
        kernel: &FILL,
        variant: Variant::new("plain"),
        operands: &[y],
        params: bytemuck::bytes_of(&FillParams {
            rows: shape.rows,
            columns: shape.columns,
            quads: shape.quads(),
            value,
        }),
        groups: Groups::over(u64::from(quads(y)), WG_SIZE),
        flops: 0,
    })
}

/// `elementwise/copy`
pub static COPY: Kernel = Kernel {
    name: "elementwise/copy",
    bindings: &[Binding::read("x"), Binding::write("y")],
    params: CopyParams::LAYOUT,
    variants: plain,
};

params! {
    struct CopyParams { quads: u32 }
}

/// y = x. No kernel moves bytes faster: the bandwidth ceiling of a device.
///
/// # Errors
/// [`Error::Shape`] when the shapes differ, and those of [`PlanBuilder::dispatch`].
pub fn copy(plan: &mut PlanBuilder, x: &Tensor, y: &Tensor) -> Result<(), Error> {
    expect_shape(&COPY, "y", y, x.shape())?;
    plan.dispatch(Dispatch {
        kernel: &COPY,
        variant: Variant::new("plain"),
        operands: &[x, y],
        params: bytemuck::bytes_of(&CopyParams { quads: quads(x) }),
        groups: Groups::over(u64::from(quads(x)), 4 * WG_SIZE),
        flops: 0,
    })
}

/// `elementwise/multiply_add`
pub static MULTIPLY_ADD: Kernel = Kernel {
    name: "elementwise/multiply_add",
    bindings: &[Binding::read("x"), Binding::write("y")],
    params: MultiplyAddParams::LAYOUT,
    variants: plain,
};

params! {
    struct MultiplyAddParams { rows: u32, columns: u32, quads: u32, rounds: u32, scale: f32, shift: f32 }
}

/// Multiply-adds of a round of [`multiply_add`].
pub const STEPS_PER_ROUND: u32 = 32;

/// y = f(f(… f(x))) with f(v) = scale · v + shift, applied `rounds` times [`STEPS_PER_ROUND`] times. With many rounds no
/// kernel computes faster: the arithmetic ceiling of a device.
///
/// # Errors
/// [`Error::Shape`] when the shapes differ, and those of [`PlanBuilder::dispatch`].
pub fn multiply_add(
    plan: &mut PlanBuilder,
    x: &Tensor,
    rounds: u32,
    (scale, shift): (f32, f32),
    y: &Tensor,
) -> Result<(), Error> {
    let shape = x.shape();
    expect_shape(&MULTIPLY_ADD, "y", y, shape)?;
    let (rows, columns) = (shape.rows, shape.columns);
    plan.dispatch(Dispatch {
        kernel: &MULTIPLY_ADD,
        variant: Variant::new("plain"),
        operands: &[x, y],
        params: bytemuck::bytes_of(&MultiplyAddParams {
            rows,
            columns,
            quads: shape.quads(),
            rounds,
            scale,
            shift,
        }),
        groups: Groups::over(u64::from(quads(x)), 2 * WG_SIZE),
        flops: 2 * u64::from(STEPS_PER_ROUND) * u64::from(rounds) * shape.elements(),
    })
}

/// `elementwise/descend`
pub static DESCEND: Kernel = Kernel {
    name: "elementwise/descend",
    bindings: &[Binding::read("x"), Binding::read("steps"), Binding::update("y")],
    params: DescendParams::LAYOUT,
    variants: plain,
};

params! {
    struct DescendParams { quads: u32, slot: u32 }
}

/// y = y − s x with the step s = `steps[slot].x`, decided on the device.
///
/// `steps` is slots × 4.
///
/// # Errors
/// [`Error::Shape`] when x and y differ or there is no such slot, and those of [`PlanBuilder::dispatch`].
pub fn descend(
    plan: &mut PlanBuilder,
    x: &Tensor,
    steps: &Tensor,
    slot: u32,
    y: &Tensor,
) -> Result<(), Error> {
    expect_shape(&DESCEND, "y", y, x.shape())?;
    expect_length(&DESCEND, "steps", steps, (u64::from(slot) + 1) * 4)?;
    plan.dispatch(Dispatch {
        kernel: &DESCEND,
        variant: Variant::new("plain"),
        operands: &[x, steps, y],
        params: bytemuck::bytes_of(&DescendParams { quads: quads(x), slot }),
        groups: Groups::over(u64::from(quads(x)), WG_SIZE),
        flops: 2 * x.shape().elements(),
    })
}

/// `elementwise/activate`
pub static ACTIVATE: Kernel = Kernel {
    name: "elementwise/activate",
    bindings: &[Binding::read("product"), Binding::read("bias"), Binding::write("activation")],
    params: ActivateParams::LAYOUT,
    variants: Activation::variants,
};

params! {
    struct ActivateParams { quads: u32, samples: u32, features: u32 }
}

/// a = f(P + b): a hidden layer of a forward pass.
///
/// Shapes: `product`, `activation` are samples × features, `bias` is one row of features.
///
/// # Errors
/// [`Error::Shape`] when they disagree, and those of [`PlanBuilder::dispatch`].
pub fn activate(
    plan: &mut PlanBuilder,
    product: &Tensor,
    bias: &Tensor,
    activation: &Tensor,
    f: Activation,
) -> Result<(), Error> {
    let shape = product.shape();
    expect_shape(&ACTIVATE, "bias", bias, Shape::vector(shape.columns))?;
    expect_shape(&ACTIVATE, "activation", activation, shape)?;
    plan.dispatch(Dispatch {
        kernel: &ACTIVATE,
        variant: f.choose(Variant::new("plain")),
        operands: &[product, bias, activation],
        params: bytemuck::bytes_of(&ActivateParams {
            quads: shape.quads(),
            samples: shape.rows,
            features: shape.columns,
        }),
        groups: groups_over_samples(shape),
        flops: 2 * shape.elements(),
    })
}

/// Dropout at one layer of a network: each activation becomes 0 with a chance of `rate`, else grows by 1/(1 − rate).
///
/// What becomes of which depends on the cursor's seed and batches, the layer and the place alone, so that replays of a plan
/// draw anew as the cursor advances, and every kernel of one replay meets the same mask.
#[derive(Clone, Copy, Debug)]
pub struct Dropout<'a> {
    /// A cursor of [`CURSOR_LENGTH`] words, see [`batch`](super::batch).
    pub cursor: &'a Tensor,
    /// Which layer; each draws its own.
    pub layer: u32,
    /// From 0 to less than 1.
    pub rate: f32,
}

impl Dropout<'_> {
    /// Random words below this drop what they stand for.
    pub(super) fn threshold(&self) -> u32 {
        (f64::from(self.rate) * 2f64.powi(32)) as u32
    }

    /// What is kept is multiplied by this.
    pub(super) fn scale(&self) -> f32 {
        (1.0 / (1.0 - f64::from(self.rate))) as f32
    }
}

/// `elementwise/dropout`
pub static DROPOUT: Kernel = Kernel {
    name: "elementwise/dropout",
    bindings: &[Binding::read("x"), Binding::read("cursor"), Binding::write("y")],
    params: DropoutParams::LAYOUT,
    variants: plain,
};

params! {
    struct DropoutParams { quads: u32, layer: u32, threshold: u32, scale: f32 }
}

/// y = m ∘ x with a random mask m of zeros and 1/(1 − rate).
///
/// # Errors
/// [`Error::Shape`] when the shapes differ, and those of [`PlanBuilder::dispatch`].
pub fn dropout(plan: &mut PlanBuilder, x: &Tensor, dropout: &Dropout<'_>, y: &Tensor) -> Result<(), Error> {
    expect_shape(&DROPOUT, "y", y, x.shape())?;
    expect_length(&DROPOUT, "cursor", dropout.cursor, CURSOR_LENGTH.into())?;
    plan.dispatch(Dispatch {
        kernel: &DROPOUT,
        variant: Variant::new("plain"),
        operands: &[x, dropout.cursor, y],
        params: bytemuck::bytes_of(&DropoutParams {
            quads: quads(x),
            layer: dropout.layer,
            threshold: dropout.threshold(),
            scale: dropout.scale(),
        }),
        groups: Groups::over(u64::from(quads(x)), WG_SIZE),
        flops: x.shape().elements(),
    })
}
