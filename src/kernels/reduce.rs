//! Deterministic two-pass reductions: a first pass leaves partial sums at fixed places, a second adds them up.
//!
//! The grid depends on the data's length alone, and the lanes that share a chunk on the kind of device, so the same input gives
//! the same bits. First
//! passes may live in other families (`dladmm/hidden_terms`, `loss/softmax_scores`); they all leave lists of `vec4`
//! that [`totals`] adds, or lists of scalars that a deciding kernel adds itself.

use super::{expect_length, expect_shape, plain, quads, summing, summing_variants};
use crate::Error;
use crate::engine::{Binding, Dispatch, Groups, Kernel, PlanBuilder, Tensor, Variant, params};

/// `vec4`s that one workgroup of a first pass sums.
pub const CHUNK: u32 = 1024;

/// Lists of partial sums a first pass leaves for a tensor.
pub fn partial_count(tensor: &Tensor) -> u32 {
    quads(tensor).div_ceil(CHUNK)
}

/// `reduce/dot`
pub static DOT: Kernel = Kernel {
    name: "reduce/dot",
    bindings: &[Binding::read("x"), Binding::read("y"), Binding::write("partials")],
    params: DotParams::LAYOUT,
    variants: || summing_variants(plain()),
};

params! {
    struct DotParams { quads: u32, offset: u32 }
}

/// Partial sums of ⟨x, y⟩; ⟨x, x⟩ is the squared norm.
///
/// Writes [`partial_count`] scalars to `partials` from element `offset` on.
///
/// # Errors
/// [`Error::Shape`] when x and y differ or `partials` is too short, and those of [`PlanBuilder::dispatch`].
pub fn dot(
    plan: &mut PlanBuilder,
    x: &Tensor,
    y: &Tensor,
    partials: &Tensor,
    offset: u32,
) -> Result<(), Error> {
    expect_shape(&DOT, "y", y, x.shape())?;
    let count = partial_count(x);
    expect_length(&DOT, "partials", partials, u64::from(offset) + u64::from(count))?;
    plan.dispatch(Dispatch {
        kernel: &DOT,
        variant: summing(Variant::new("plain"), plan.gpu().capabilities().class),
        operands: &[x, y, partials],
        params: bytemuck::bytes_of(&DotParams { quads: quads(x), offset }),
        groups: Groups(count.into()),
        flops: 2 * x.shape().elements(),
    })
}

/// `reduce/dots`
pub static DOTS: Kernel = Kernel {
    name: "reduce/dots",
    bindings: &[Binding::read("x"), Binding::read("y"), Binding::write("partials")],
    params: DotsParams::LAYOUT,
    variants: || summing_variants(plain()),
};

params! {
    struct DotsParams { quads: u32, offset: u32 }
}

/// Partial sums of (⟨x, y⟩, ‖x‖², ‖y‖², ‖x − y‖²) in one read.
///
/// Writes [`partial_count`] `vec4`s to `partials` from `vec4` `offset` on.
///
/// # Errors
/// As [`dot`].
pub fn dots(
    plan: &mut PlanBuilder,
    x: &Tensor,
    y: &Tensor,
    partials: &Tensor,
    offset: u32,
) -> Result<(), Error> {
    expect_shape(&DOTS, "y", y, x.shape())?;
    let count = partial_count(x);
    expect_length(&DOTS, "partials", partials, 4 * (u64::from(offset) + u64::from(count)))?;
    plan.dispatch(Dispatch {
        kernel: &DOTS,
        variant: summing(Variant::new("plain"), plan.gpu().capabilities().class),
        operands: &[x, y, partials],
        params: bytemuck::bytes_of(&DotsParams { quads: quads(x), offset }),
        groups: Groups(count.into()),
        flops: 9 * x.shape().elements(),
    })
}

/// `reduce/totals`
pub static TOTALS: Kernel = Kernel {
    name: "reduce/totals",
    bindings: &[Binding::read("partials"), Binding::update("totals"), Binding::update("status")],
    params: TotalsParams::LAYOUT,
    variants: plain,
};

params! {
    struct TotalsParams { count: u32, slot: u32, origin: u32 }
}

/// What [`totals`] works on.
#[derive(Debug)]
pub struct Totals<'a> {
    /// At least `count` `vec4`s.
    pub partials: &'a Tensor,
    /// `vec4`s to add.
    pub count: u32,
    /// Slots × 4.
    pub totals: &'a Tensor,
    /// Where the result goes.
    pub slot: u32,
    /// The solver's status word: 4 × u32.
    pub status: &'a Tensor,
    /// Number noted in the status when the result is not finite; not zero.
    pub origin: u32,
}

/// `totals[slot]` = sum of `count` `vec4`s of partial sums, in a fixed order.
///
/// # Errors
/// [`Error::Shape`] when a list is too short, and those of [`PlanBuilder::dispatch`].
pub fn totals(plan: &mut PlanBuilder, args: Totals<'_>) -> Result<(), Error> {
    let Totals { partials, count, totals, slot, status, origin } = args;
    expect_length(&TOTALS, "partials", partials, 4 * u64::from(count))?;
    expect_length(&TOTALS, "totals", totals, 4 * (u64::from(slot) + 1))?;
    expect_length(&TOTALS, "status", status, 4)?;
    plan.dispatch(Dispatch {
        kernel: &TOTALS,
        variant: Variant::new("plain"),
        operands: &[partials, totals, status],
        params: bytemuck::bytes_of(&TotalsParams { count, slot, origin }),
        groups: Groups(1),
        flops: 4 * u64::from(count),
    })
}
