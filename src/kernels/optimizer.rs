//! What optimizers of every family share: the test of a gradient, and the words in which a step is allowed or refused.
//!
//! A step of [`first_order`](super::first_order) or [`badm`](super::badm) is up to three dispatches: this module's
//! [`finite`], where it is wanted; the family's own `clock`, a single lane that decides what all parameters share; and
//! its `step`, over everything at once.

use std::ops::Range;

use super::{WG_SIZE, expect_length, plain};
use crate::Error;
use crate::engine::{Binding, Dispatch, Groups, Kernel, PlanBuilder, Shape, Tensor, Variant, params};

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
    bindings: &[
        Binding::read("gradient_0"),
        Binding::read("gradient_1"),
        Binding::read("gradient_2"),
        Binding::read("gradient_3"),
        Binding::update("found"),
    ],
    params: FiniteParams::LAYOUT,
    variants: plain,
};

params! {
    struct FiniteParams {
        limit: u32,
        start_0: u32,
        count_0: u32,
        first_0: u32,
        start_1: u32,
        count_1: u32,
        first_1: u32,
        start_2: u32,
        count_2: u32,
        first_2: u32,
        start_3: u32,
        count_3: u32,
        first_3: u32,
    }
}

/// Stretches that a dispatch of [`finite`] takes.
const AT_ONCE: usize = 4;

/// Gradients that follow one another, in memory and among those of a step.
#[derive(Clone, Debug)]
pub struct Stretch<'a> {
    /// The tensor that they are in.
    pub gradients: &'a Tensor,
    /// Which of its rows; one, unless nothing pads a row.
    pub rows: Range<u32>,
    /// The number of the first element among all of the step's.
    pub first: u32,
}

impl<'a> Stretch<'a> {
    /// All of a tensor; `stride` is what the first element of a row has more than that of the row before.
    pub fn all(gradients: &'a Tensor, first: u32, stride: u32) -> impl Iterator<Item = Self> {
        let Shape { rows, columns } = gradients.shape();
        let most = if columns == stride { rows.max(1) } else { 1 };
        (0..rows).step_by(most as usize).map(move |row| Self {
            gradients,
            rows: row..row + most,
            first: first + row * stride,
        })
    }

    fn elements(&self) -> u32 {
        self.rows.len() as u32 * self.gradients.shape().columns
    }
}

/// Notes in `found` the first gradient that is NaN or no smaller than `limit` in magnitude, unless an earlier one stands there:
/// its number, inverted, so that [`NOTHING_FOUND`] is zero. Padding is not looked at.
///
/// # Errors
/// [`Error::Shape`] when `found` has no element, and those of [`PlanBuilder::dispatch`].
pub fn finite(
    plan: &mut PlanBuilder,
    stretches: &[Stretch<'_>],
    limit: f32,
    found: &Tensor,
) -> Result<(), Error> {
    expect_length(&FINITE, "found", found, 1)?;
    stretches.chunks(AT_ONCE).try_for_each(|some| finite_in_some(plan, some, limit, found))
}

fn finite_in_some(
    plan: &mut PlanBuilder,
    some: &[Stretch<'_>],
    limit: f32,
    found: &Tensor,
) -> Result<(), Error> {
    // Where there are fewer, the last one's tensor is bound for the others too, and not looked at.
    let tensor = |k: usize| some[k.min(some.len() - 1)].gradients;
    let words = |stretch: &Stretch<'_>| {
        [stretch.rows.start * stretch.gradients.shape().quads(), stretch.elements(), stretch.first]
    };
    let mut params = vec![limit.to_bits()];
    params.extend(some.iter().flat_map(words));
    params.resize(FiniteParams::LAYOUT.members.len(), 0);
    let quads = || some.iter().map(|stretch| stretch.elements().div_ceil(4));
    let read: u64 = quads().map(|quads| 16 * u64::from(quads)).sum();
    let bound: u64 = (0..AT_ONCE).map(|k| tensor(k).bytes()).sum();
    let groups = quads().map(|quads| u64::from(quads.div_ceil(WG_SIZE))).sum();
    let dispatch = Dispatch {
        kernel: &FINITE,
        variant: Variant::new("plain"),
        operands: &[tensor(0), tensor(1), tensor(2), tensor(3), found],
        params: bytemuck::cast_slice(&params),
        groups: Groups(groups),
        flops: 0,
    };
    plan.dispatch_in_part(dispatch, bound - read)
}
