//! Elementwise kernels without an algorithm of their own.

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

/// y = x.
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
        groups: Groups::over(u64::from(quads(x)), WG_SIZE),
        flops: 0,
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
