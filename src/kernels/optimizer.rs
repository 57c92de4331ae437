//! What optimizers of every family share: the test of a gradient, and the words in which a step is allowed or refused.
//!
//! A step of [`first_order`](super::first_order) or [`badm`](super::badm) is up to three dispatches: this module's
//! [`finite`], where it is wanted; the family's own `clock`, a single lane that decides what all parameters share; and
//! its `step`, over everything at once.

use super::{WG_SIZE, expect_length, plain, quads};
use crate::Error;
use crate::engine::{Binding, Dispatch, Groups, Kernel, PlanBuilder, Tensor, Variant, params};

/// Words at the head of every optimizer's clock: `shaders/optimizer/verdict.wgsl`.
pub const VERDICT_LENGTH: u32 = 5;

/// What [`finite`] leaves where nothing is wrong.
pub const NOTHING_FOUND: u32 = 0;

/// How the learning rate changes from step to step, in words: `shaders/optimizer/schedule.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct ScheduleWords {
    /// 0 constant, 1 linear, 2 cosine, 3 stepped.
    pub kind: u32,
    /// Steps; not zero.
    pub period: u32,
    /// Factor at each of the steps of kind 3.
    pub decay: f32,
}

/// `optimizer/finite`
pub static FINITE: Kernel = Kernel {
    name: "optimizer/finite",
    bindings: &[Binding::read("gradient"), Binding::update("found")],
    params: FiniteParams::LAYOUT,
    variants: plain,
};

params! {
    struct FiniteParams { quads: u32, columns: u32, limit: u32, first: u32, stride: u32 }
}

/// Where gradients lie among those of a step, which are counted as one matrix: a row for each sub-batch, with the gradients of
/// each part of the parameters beside those of the last, as a [`Slab`](crate::engine::Slab) lays them out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of the first element.
    pub first: u32,
    /// What the first element of the next row has more.
    pub stride: u32,
}

impl Place {
    /// Of gradients that are all there are.
    pub fn whole(gradient: &Tensor) -> Self {
        Self { first: 0, stride: gradient.shape().stride() }
    }
}

/// Notes in `found` the first element of `gradient` that is NaN or no smaller than `limit` in magnitude, unless an
/// earlier one stands there: its number, inverted, so that [`NOTHING_FOUND`] is zero. Padding is not looked at.
///
/// # Errors
/// [`Error::Shape`] when `found` has no element, and those of [`PlanBuilder::dispatch`].
pub fn finite(
    plan: &mut PlanBuilder,
    gradient: &Tensor,
    place: Place,
    limit: f32,
    found: &Tensor,
) -> Result<(), Error> {
    expect_length(&FINITE, "found", found, 1)?;
    let Place { first, stride } = place;
    let (quads, columns, limit) = (quads(gradient), gradient.shape().columns, limit.to_bits());
    plan.dispatch(Dispatch {
        kernel: &FINITE,
        variant: Variant::new("plain"),
        operands: &[gradient, found],
        params: bytemuck::bytes_of(&FiniteParams { quads, columns, limit, first, stride }),
        groups: Groups::over(quads.into(), WG_SIZE),
        flops: 0,
    })
}
