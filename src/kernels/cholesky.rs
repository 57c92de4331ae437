//! Factoring positive definite matrices, block by block. The blocks are put together in `solvers::linear`.

use super::dladmm::STATUS_LENGTH;
use super::{expect_length, expect_shape};
use crate::Error;
use crate::engine::{Binding, Dispatch, Groups, Kernel, PlanBuilder, Tensor, Variant, params};

/// The largest block that [`corner`] factors, and the width of the panels of a blocked factorisation.
pub const SIDE: u32 = 64;

/// `cholesky/corner`
pub static CORNER: Kernel = Kernel {
    name: "cholesky/corner",
    bindings: &[
        Binding::read("matrix").windowed(),
        Binding::read("steps"),
        Binding::write("inverse").windowed(),
        Binding::write("copy").windowed(),
        Binding::update("status"),
    ],
    params: CornerParams::LAYOUT,
    variants: super::plain,
};

params! {
    struct CornerParams { size: u32, matrix_stride: u32, inverse_stride: u32, copy_stride: u32, slot: u32 }
}

/// What [`corner`] works on.
#[derive(Debug)]
pub struct Corner<'a> {
    /// A symmetric block of at most [`SIDE`] rows; its lower triangle is read.
    pub matrix: &'a Tensor,
    /// Slots × 4; the second of a slot is the floor of its pivots.
    pub steps: &'a Tensor,
    /// Which slot.
    pub slot: u32,
    /// L⁻¹, zero above the diagonal.
    pub inverse: &'a Tensor,
    /// The same again, in memory of its own.
    pub copy: &'a Tensor,
    /// The solver's status word, which counts dropped pivots.
    pub status: &'a Tensor,
}

/// L⁻¹ of the block's Cholesky factor L. Pivots that are not above the floor are dropped: their rows and columns of the
/// inverse are zero.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree or the block is too large, and those of [`PlanBuilder::dispatch`].
pub fn corner(plan: &mut PlanBuilder, args: Corner<'_>) -> Result<(), Error> {
    let Corner { matrix, steps, slot, inverse, copy, status } = args;
    let shape = matrix.shape();
    if shape.rows != shape.columns || shape.rows > SIDE {
        let detail = format!("`matrix` is {shape} but must be square, with at most {SIDE} rows");
        return Err(Error::Shape { kernel: CORNER.name, detail });
    }
    expect_shape(&CORNER, "inverse", inverse, shape)?;
    expect_shape(&CORNER, "copy", copy, shape)?;
    expect_length(&CORNER, "steps", steps, 4 * (u64::from(slot) + 1))?;
    expect_length(&CORNER, "status", status, STATUS_LENGTH.into())?;
    let params = CornerParams {
        size: shape.rows,
        matrix_stride: matrix.pitch(),
        inverse_stride: inverse.pitch(),
        copy_stride: copy.pitch(),
        slot,
    };
    let cube = u64::from(shape.rows).pow(3);
    plan.dispatch(Dispatch {
        kernel: &CORNER,
        variant: Variant::new("plain"),
        operands: &[matrix, steps, inverse, copy, status],
        params: bytemuck::bytes_of(&params),
        groups: Groups(u64::from(shape.rows > 0)),
        flops: 2 * cube / 3,
    })
}
