//! W steps under the penalty λ ‖W‖₁: a gradient step of the smooth part, thresholded, whose curvature is searched for as
//! in the paper (Wang et al. 2019, algorithm 3). What backtracking decides is decided on the device: a fixed number of
//! trials is recorded, and those after the one that passes do nothing.
//!
//! Shapes: `weights`, `gradient` and `moved` are width × previous width; `gram` = a aᵀ of the layer's inputs, previous
//! width × previous width; `control`, `status` and `steps` as in [`super::dladmm`].

use super::dladmm::{CONTROL_LENGTH, STATUS_LENGTH};
use super::linalg::{MatmulShape, Transposed};
use super::tiles::{tile_for, tile_variants};
use super::{WG_SIZE, expect_length, expect_shape, plain, quads};
use crate::Error;
use crate::engine::{Binding, Dispatch, Groups, Kernel, PlanBuilder, Shape, Tensor, Variant, params};

/// `proximal/trial`
pub static TRIAL: Kernel = Kernel {
    name: "proximal/trial",
    bindings: &[
        Binding::read("left"),
        Binding::read("weights"),
        Binding::read("right"),
        Binding::read("control"),
        Binding::read("steps"),
        Binding::write("partials"),
    ],
    params: TrialParams::LAYOUT,
    variants: || tile_variants(&[(Transposed::No, Transposed::No)]),
};

params! {
    struct TrialParams {
        rows: u32,
        columns: u32,
        inner: u32,
        left_stride: u32,
        right_stride: u32,
        slot: u32,
        trial: u32,
        last_layer: u32,
        lambda: f32,
    }
}

/// A layer's weights and what pulls at them.
#[derive(Clone, Copy, Debug)]
pub struct Pull<'a> {
    /// G, the gradient of the smooth part without its factor κ.
    pub gradient: &'a Tensor,
    /// W.
    pub weights: &'a Tensor,
    /// λ.
    pub lambda: f32,
    /// Penalties and starts.
    pub control: &'a Tensor,
    /// Whether the layer is the last, whose penalty is ρ and not ν.
    pub last_layer: bool,
}

impl Pull<'_> {
    fn check(&self, kernel: &'static Kernel, steps: (&Tensor, u32)) -> Result<Shape, Error> {
        let shape = self.weights.shape();
        expect_shape(kernel, "gradient", self.gradient, shape)?;
        expect_length(kernel, "control", self.control, CONTROL_LENGTH.into())?;
        expect_length(kernel, "steps", steps.0, (u64::from(steps.1) + 1) * 4)?;
        Ok(shape)
    }
}

/// Trial k of the search in slot `steps.1`: scalars whose sum is `α ‖D‖² − κ ⟨D A, D⟩`, with α = θ₀ 2ᵏ and
/// D = soft(W − κ G/α, λ/α) − W, one per tile as [`tile_count`](super::linalg::tile_count) of W's shape says.
///
/// Does nothing if an earlier trial passed; FLOPs are counted as if none had.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn trial(
    plan: &mut PlanBuilder,
    pull: Pull<'_>,
    gram: &Tensor,
    trial: u32,
    steps: (&Tensor, u32),
    partials: &Tensor,
) -> Result<(), Error> {
    let shape = pull.check(&TRIAL, steps)?;
    expect_shape(&TRIAL, "gram", gram, Shape::new(shape.columns, shape.columns))?;
    let product = MatmulShape::of(&TRIAL, (pull.gradient, Transposed::No), (gram, Transposed::No))?;
    let tile = tile_for(plan.gpu(), product.output());
    let tiles = tile.count(product.output());
    expect_length(&TRIAL, "partials", partials, tiles)?;
    let params = TrialParams {
        rows: product.rows,
        columns: product.columns,
        inner: product.inner,
        left_stride: shape.quads(),
        right_stride: gram.shape().quads(),
        slot: steps.1,
        trial,
        last_layer: pull.last_layer.into(),
        lambda: pull.lambda,
    };
    plan.dispatch(Dispatch {
        kernel: &TRIAL,
        variant: tile.variant(),
        operands: &[pull.gradient, pull.weights, gram, pull.control, steps.0, partials],
        params: bytemuck::bytes_of(&params),
        groups: Groups(tiles),
        flops: product.flops(),
    })
}

/// `proximal/decide`
pub static DECIDE: Kernel = Kernel {
    name: "proximal/decide",
    bindings: &[
        Binding::read("partials"),
        Binding::read("gram"),
        Binding::read("control"),
        Binding::update("steps"),
        Binding::update("status"),
    ],
    params: DecideParams::LAYOUT,
    variants: plain,
};

params! {
    struct DecideParams {
        count: u32,
        size: u32,
        stride: u32,
        slot: u32,
        trial: u32,
        is_last: u32,
        last_layer: u32,
        origin: u32,
    }
}

/// What [`decide`] works on.
#[derive(Debug)]
pub struct Decide<'a> {
    /// What [`trial`] left, and how many.
    pub partials: (&'a Tensor, u32),
    /// A.
    pub gram: &'a Tensor,
    /// Penalties and starts.
    pub control: &'a Tensor,
    /// Whether the layer is the last, whose penalty is ρ and not ν.
    pub last_layer: bool,
    /// k.
    pub trial: u32,
    /// Whether no trial follows.
    pub is_last: bool,
    /// Where the search stands, and its slot.
    pub steps: (&'a Tensor, u32),
    /// The solver's status word.
    pub status: &'a Tensor,
    /// Number noted in the status when the margin is not finite.
    pub origin: u32,
}

/// `steps[slot]` = (1/α, k, whether the search is over, margin) after trial k.
///
/// It passes if its margin is not below 0, or α ≥ κ tr A, the most that any curvature is. If the last trial does not,
/// k becomes the smallest with θ₀ 2ᵏ ≥ κ tr A.
///
/// # Errors
/// [`Error::Shape`] when a list is too short, and those of [`PlanBuilder::dispatch`].
pub fn decide(plan: &mut PlanBuilder, args: &Decide<'_>) -> Result<(), Error> {
    let Decide { partials, gram, control, last_layer, trial, is_last, steps, status, origin } = *args;
    let size = gram.shape().rows;
    expect_shape(&DECIDE, "gram", gram, Shape::new(size, size))?;
    expect_length(&DECIDE, "partials", partials.0, partials.1.into())?;
    expect_length(&DECIDE, "control", control, CONTROL_LENGTH.into())?;
    expect_length(&DECIDE, "steps", steps.0, (u64::from(steps.1) + 1) * 4)?;
    expect_length(&DECIDE, "status", status, STATUS_LENGTH.into())?;
    let params = DecideParams {
        count: partials.1,
        size,
        stride: gram.shape().stride(),
        slot: steps.1,
        trial,
        is_last: is_last.into(),
        last_layer: last_layer.into(),
        origin,
    };
    plan.dispatch(Dispatch {
        kernel: &DECIDE,
        variant: Variant::new("plain"),
        operands: &[partials.0, gram, control, steps.0, status],
        params: bytemuck::bytes_of(&params),
        groups: Groups(1),
        flops: u64::from(partials.1) + u64::from(size),
    })
}

/// `proximal/weight_step`
pub static WEIGHT_STEP: Kernel = Kernel {
    name: "proximal/weight_step",
    bindings: &[
        Binding::read("gradient"),
        Binding::read("control"),
        Binding::read("steps"),
        Binding::update("weights"),
        Binding::write("moved"),
    ],
    params: WeightStepParams::LAYOUT,
    variants: plain,
};

params! {
    struct WeightStepParams { quads: u32, slot: u32, last_layer: u32, lambda: f32 }
}

/// W ← W + D, D = soft(W − κ G/α, λ/α) − W with the α that the search in slot `steps.1` ended at; D goes to `moved`.
///
/// A weight that becomes zero becomes exactly zero.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn weight_step(
    plan: &mut PlanBuilder,
    pull: Pull<'_>,
    steps: (&Tensor, u32),
    moved: &Tensor,
) -> Result<(), Error> {
    let shape = pull.check(&WEIGHT_STEP, steps)?;
    expect_shape(&WEIGHT_STEP, "moved", moved, shape)?;
    let params = WeightStepParams {
        quads: quads(pull.weights),
        slot: steps.1,
        last_layer: pull.last_layer.into(),
        lambda: pull.lambda,
    };
    plan.dispatch(Dispatch {
        kernel: &WEIGHT_STEP,
        variant: Variant::new("plain"),
        operands: &[pull.gradient, pull.control, steps.0, pull.weights, moved],
        params: bytemuck::bytes_of(&params),
        groups: Groups::over(quads(pull.weights).into(), WG_SIZE),
        flops: 6 * shape.elements(),
    })
}
