//! Conjugate gradients for many systems with one matrix. Steps are put together in `solvers::linear`.

use super::{expect_shape, plain};
use crate::Error;
use crate::engine::{Binding, Dispatch, Groups, Kernel, PlanBuilder, Tensor, Variant, params};

/// `cg/step`
pub static STEP: Kernel = Kernel {
    name: "cg/step",
    bindings: &[
        Binding::read("image"),
        Binding::update("direction"),
        Binding::update("residual"),
        Binding::update("solution"),
    ],
    params: StepParams::LAYOUT,
    variants: plain,
};

params! {
    struct StepParams { rows: u32, quads: u32 }
}

/// What [`step`] works on; every row is a system of its own, x S = c.
#[derive(Debug)]
pub struct Step<'a> {
    /// q = d S.
    pub image: &'a Tensor,
    /// d; at first c.
    pub direction: &'a Tensor,
    /// r = c − x S; at first c.
    pub residual: &'a Tensor,
    /// x; at first zero.
    pub solution: &'a Tensor,
}

/// One step of conjugate gradients in every row: `x += α d`, `r −= α q`, `d = r + β d` with `α = ⟨r, r⟩ / ⟨d, q⟩` and β
/// what remains of ⟨r, r⟩.
///
/// A row is left alone where one of these or α is not finite, where ⟨r, r⟩ or ⟨d, q⟩ is below 1e-30, or where ⟨d, q⟩ is
/// below 1e-6 ‖d‖ ‖q‖: it is solved, or S is singular for all that f32 can tell. The first bound is absolute, because
/// sums of smaller terms lose them to underflow; a right-hand side that is shorter than 1e-15, or longer than 1e19, is
/// to be scaled before. The second is met from conditions of 1e12 on.
///
/// Each of the four is read from memory once and three are written, 28 bytes an element; what is read again was read
/// shortly before.
///
/// # Errors
/// [`Error::Shape`] when the four shapes are not the same, and those of [`PlanBuilder::dispatch`].
pub fn step(plan: &mut PlanBuilder, args: &Step<'_>) -> Result<(), Error> {
    let Step { image, direction, residual, solution } = *args;
    let shape = image.shape();
    expect_shape(&STEP, "direction", direction, shape)?;
    expect_shape(&STEP, "residual", residual, shape)?;
    expect_shape(&STEP, "solution", solution, shape)?;
    let is_empty = shape.elements() == 0;
    plan.dispatch(Dispatch {
        kernel: &STEP,
        variant: Variant::new("plain"),
        operands: &[image, direction, residual, solution],
        params: bytemuck::bytes_of(&StepParams { rows: shape.rows, quads: shape.quads() }),
        groups: Groups(if is_empty { 0 } else { shape.rows.into() }),
        flops: 16 * shape.elements(),
    })
}
