//! The steps of dlADMM (Wang et al. 2019), one kernel each.
//!
//! Shapes, throughout: `product` (P = W a_prev), `z`, `activation`, `residual`, `gradient`, `dual` and `goal` are
//! samples × features (the papers' features × samples, stored sample after sample); `bias` is one row of features;
//! `labels` one u32 per sample, `targets` those or, for squared loss, samples × outputs; `control` and `status` as [`CONTROL_LENGTH`] and [`STATUS_LENGTH`] say; `steps`
//! slots × 4. Lists of partial sums belong to the whole tensor, and `offset` says where a block's part begins.

use std::iter;
use std::ops::Range;

use super::anderson::LEDGER_LENGTH;
use super::linalg::{MatmulShape, Transposed};
use super::loss::Loss;
use super::tiles::{tile_for, tile_variants};
use super::{
    Activation, LANES_OR_LOOPS, WG_SIZE, expect_length, expect_shape, groups_over_samples, plain, quads,
    reduce, summing, summing_lanes, summing_variants,
};
use crate::Error;
use crate::engine::{
    AdapterClass, Binding, Dispatch, Groups, Kernel, PlanBuilder, Shape, Tensor, Variant, params,
};

/// Words of the control buffer (`shaders/dladmm/control.wgsl`).
pub const CONTROL_LENGTH: u32 = 8;
/// Words of the status word (`shaders/shared/status.wgsl`).
pub const STATUS_LENGTH: u32 = 4;
/// Values at the head of a telemetry record (`shaders/dladmm/record.wgsl`).
pub const RECORD_HEAD: u32 = 24;
/// Samples per partial sum of [`residual_sums`].
const SUM_CHUNK: u32 = 64;
/// Lanes of the kernels that own one sample per lane.
const SAMPLE_LANES: u32 = 64;

/// `dladmm/dual_target`
pub static DUAL_TARGET: Kernel = Kernel {
    name: "dladmm/dual_target",
    bindings: &[Binding::read("z"), Binding::read("dual"), Binding::read("control"), Binding::write("goal")],
    params: DualTargetParams::LAYOUT,
    variants: plain,
};

params! {
    struct DualTargetParams { quads: u32 }
}

/// t = z + u/ρ: what W a + b of the last layer is drawn to.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn dual_target(
    plan: &mut PlanBuilder,
    z: &Tensor,
    dual: &Tensor,
    control: &Tensor,
    goal: &Tensor,
) -> Result<(), Error> {
    expect_shape(&DUAL_TARGET, "dual", dual, z.shape())?;
    expect_shape(&DUAL_TARGET, "goal", goal, z.shape())?;
    expect_length(&DUAL_TARGET, "control", control, CONTROL_LENGTH.into())?;
    plan.dispatch(Dispatch {
        kernel: &DUAL_TARGET,
        variant: Variant::new("plain"),
        operands: &[z, dual, control, goal],
        params: bytemuck::bytes_of(&DualTargetParams { quads: quads(z) }),
        groups: Groups::over(quads(z).into(), WG_SIZE),
        flops: 2 * z.shape().elements(),
    })
}

/// `dladmm/residual`
pub static RESIDUAL: Kernel = Kernel {
    name: "dladmm/residual",
    bindings: &[
        Binding::read("product"),
        Binding::read("bias"),
        Binding::read("goal"),
        Binding::write("residual"),
    ],
    params: ResidualParams::LAYOUT,
    variants: plain,
};

params! {
    struct ResidualParams { quads: u32, samples: u32 }
}

/// r = P + b − t, with t = z for a hidden layer and z + u/ρ for the last.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn residual(
    plan: &mut PlanBuilder,
    product: &Tensor,
    bias: &Tensor,
    goal: &Tensor,
    residual: &Tensor,
) -> Result<(), Error> {
    let shape = product.shape();
    expect_shape(&RESIDUAL, "bias", bias, Shape::vector(shape.columns))?;
    expect_shape(&RESIDUAL, "goal", goal, shape)?;
    expect_shape(&RESIDUAL, "residual", residual, shape)?;
    plan.dispatch(Dispatch {
        kernel: &RESIDUAL,
        variant: Variant::new("plain"),
        operands: &[product, bias, goal, residual],
        params: bytemuck::bytes_of(&ResidualParams { quads: shape.quads(), samples: shape.rows }),
        groups: groups_over_samples(shape),
        flops: 2 * shape.elements(),
    })
}

/// `dladmm/residual_sums`
pub static RESIDUAL_SUMS: Kernel = Kernel {
    name: "dladmm/residual_sums",
    bindings: &[
        Binding::read("product"),
        Binding::read("bias"),
        Binding::read("goal"),
        Binding::write("partials"),
    ],
    params: ResidualSumsParams::LAYOUT,
    variants: || LANES_OR_LOOPS.map(|class| residual_sums_variant(class).0).into(),
};

params! {
    struct ResidualSumsParams { quads: u32, samples: u32, chunks: u32, offset: u32 }
}

/// The variant for such a device, and how many `vec4`s of a sample a workgroup owns.
fn residual_sums_variant(class: AdapterClass) -> (Variant, u32) {
    /// `vec4`s of a lane where lanes are a loop.
    const ACROSS: u32 = 4;
    match class.is_software() {
        false => (Variant::new("plain"), SAMPLE_LANES),
        true => (summing(Variant::new("plain"), class).spec("ACROSS", ACROSS), ACROSS * summing_lanes(class)),
    }
}

/// Rows of partial sums that [`residual_sums`] leaves for this many samples.
pub fn sum_rows(samples: u32) -> u32 {
    samples.div_ceil(SUM_CHUNK)
}

/// Sums of r = P + b − t over samples, one row of `partials` per 64 samples from row `offset` on.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn residual_sums(
    plan: &mut PlanBuilder,
    product: &Tensor,
    bias: &Tensor,
    goal: &Tensor,
    partials: &Tensor,
    offset: u32,
) -> Result<(), Error> {
    let shape = product.shape();
    expect_shape(&RESIDUAL_SUMS, "bias", bias, Shape::vector(shape.columns))?;
    expect_shape(&RESIDUAL_SUMS, "goal", goal, shape)?;
    let chunks = sum_rows(shape.rows);
    let needed = (u64::from(offset) + u64::from(chunks)) * u64::from(shape.stride());
    expect_length(&RESIDUAL_SUMS, "partials", partials, needed)?;
    let quads = shape.quads();
    let params = ResidualSumsParams { quads, samples: shape.rows, chunks, offset };
    let (variant, width) = residual_sums_variant(plan.gpu().capabilities().class);
    plan.dispatch(Dispatch {
        kernel: &RESIDUAL_SUMS,
        variant,
        operands: &[product, bias, goal, partials],
        params: bytemuck::bytes_of(&params),
        groups: Groups(u64::from(quads.div_ceil(width)) * u64::from(chunks)),
        flops: 3 * shape.elements(),
    })
}

/// `dladmm/bias_step`
pub static BIAS_STEP: Kernel = Kernel {
    name: "dladmm/bias_step",
    bindings: &[Binding::read("partials"), Binding::update("bias")],
    params: BiasStepParams::LAYOUT,
    variants: plain,
};

params! {
    struct BiasStepParams { quads: u32, chunks: u32, samples: u32 }
}

/// b ← b − mean over samples of r, from the rows that [`residual_sums`] left for all `samples`. Without any, b stays.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn bias_step(
    plan: &mut PlanBuilder,
    partials: &Tensor,
    samples: u32,
    bias: &Tensor,
) -> Result<(), Error> {
    let Shape { rows: chunks, columns } = partials.shape();
    expect_shape(&BIAS_STEP, "bias", bias, Shape::vector(columns))?;
    let quads = bias.shape().quads();
    let groups = if samples == 0 { 0 } else { quads };
    plan.dispatch(Dispatch {
        kernel: &BIAS_STEP,
        variant: Variant::new("plain"),
        operands: &[partials, bias],
        params: bytemuck::bytes_of(&BiasStepParams { quads, chunks, samples }),
        groups: Groups(groups.into()),
        flops: u64::from(chunks) * u64::from(columns),
    })
}

/// `dladmm/hidden_z`
pub static HIDDEN_Z: Kernel = Kernel {
    name: "dladmm/hidden_z",
    bindings: &[
        Binding::read("product"),
        Binding::read("bias"),
        Binding::read("activation"),
        Binding::write("z"),
    ],
    params: HiddenZParams::LAYOUT,
    variants: || Activation::KINDS.map(|f| f.choose_minimiser(Variant::new("plain"))).into(),
};

params! {
    struct HiddenZParams { quads: u32, samples: u32, features: u32 }
}

/// Hidden z-step: minimises `(z − P − b)² + (a − f(z))²` elementwise (Wang et al. 2019, eq. 4, 14).
///
/// In closed form for the two kinds of ReLU. For sigmoid and tanh by a bracketed Newton iteration towards the minimiser
/// nearest to P + b and towards the one farthest from it, of which the cheaper is kept. FLOPs count an exponential as
/// one.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn hidden_z(
    plan: &mut PlanBuilder,
    product: &Tensor,
    bias: &Tensor,
    activation: &Tensor,
    z: &Tensor,
    f: Activation,
) -> Result<(), Error> {
    let shape = product.shape();
    expect_shape(&HIDDEN_Z, "bias", bias, Shape::vector(shape.columns))?;
    expect_shape(&HIDDEN_Z, "activation", activation, shape)?;
    expect_shape(&HIDDEN_Z, "z", z, shape)?;
    let operations = match f {
        Activation::Relu => 14,
        Activation::LeakyRelu { .. } => 19,
        // Eight cells and twice eight steps, each with f and its derivatives.
        Activation::Sigmoid | Activation::Tanh => 24 * 20,
    };
    plan.dispatch(Dispatch {
        kernel: &HIDDEN_Z,
        variant: f.choose_minimiser(Variant::new("plain")),
        operands: &[product, bias, activation, z],
        params: bytemuck::bytes_of(&HiddenZParams {
            quads: shape.quads(),
            samples: shape.rows,
            features: shape.columns,
        }),
        groups: groups_over_samples(shape),
        flops: operations * shape.elements(),
    })
}

/// `dladmm/activation_gradient`
pub static ACTIVATION_GRADIENT: Kernel = Kernel {
    name: "dladmm/activation_gradient",
    bindings: &[
        Binding::read("left"),
        Binding::read("right"),
        Binding::read("activation"),
        Binding::read("z"),
        Binding::read("control"),
        Binding::write("gradient"),
        Binding::write("partials"),
    ],
    params: ActivationGradientParams::LAYOUT,
    variants: || {
        let tiles = tile_variants(&[(Transposed::No, Transposed::No)]);
        tiles.into_iter().flat_map(|tile| Activation::KINDS.map(|f| f.choose(tile.clone()))).collect()
    },
};

params! {
    struct ActivationGradientParams {
        rows: u32,
        columns: u32,
        inner: u32,
        left_stride: u32,
        right_stride: u32,
        last_layer: u32,
        offset: u32,
    }
}

/// What [`activation_gradient`] works on; l is the activation's layer.
#[derive(Debug)]
pub struct ActivationGradient<'a> {
    /// r of layer l + 1.
    pub residual: &'a Tensor,
    /// W of layer l + 1.
    pub weights: &'a Tensor,
    /// a of layer l.
    pub activation: &'a Tensor,
    /// z of layer l.
    pub z: &'a Tensor,
    /// What makes a of z.
    pub f: Activation,
    /// Penalties.
    pub control: &'a Tensor,
    /// Whether layer l + 1 is the last, whose penalty is ρ and not ν.
    pub last_layer: bool,
    /// The gradient.
    pub gradient: &'a Tensor,
    /// Scalars whose sum is ‖g‖², one per tile from element `offset` on.
    pub partials: &'a Tensor,
    /// Where this block's partial sums begin.
    pub offset: u32,
}

/// g = κ Wᵀ r + ν (a − f(z)): the gradient of an activation step, and ‖g‖² (Wang et al. 2019, eq. 10).
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn activation_gradient(plan: &mut PlanBuilder, args: ActivationGradient<'_>) -> Result<(), Error> {
    let ActivationGradient {
        residual,
        weights,
        activation,
        z,
        f,
        control,
        last_layer,
        gradient,
        partials,
        offset,
    } = args;
    let kernel = &ACTIVATION_GRADIENT;
    let product = MatmulShape::of(kernel, (residual, Transposed::No), (weights, Transposed::No))?;
    expect_shape(kernel, "activation", activation, product.output())?;
    expect_shape(kernel, "z", z, product.output())?;
    expect_shape(kernel, "gradient", gradient, product.output())?;
    expect_length(kernel, "control", control, CONTROL_LENGTH.into())?;
    let tile = tile_for(plan.gpu(), product.output());
    let tiles = tile.count(product.output());
    expect_length(kernel, "partials", partials, u64::from(offset) + tiles)?;
    let params = ActivationGradientParams {
        rows: product.rows,
        columns: product.columns,
        inner: product.inner,
        left_stride: residual.shape().quads(),
        right_stride: weights.shape().quads(),
        last_layer: last_layer.into(),
        offset,
    };
    plan.dispatch(Dispatch {
        kernel,
        variant: f.choose(tile.variant()),
        operands: &[residual, weights, activation, z, control, gradient, partials],
        params: bytemuck::bytes_of(&params),
        groups: Groups(tiles),
        flops: product.flops(),
    })
}

/// `dladmm/weight_penalty`
pub static WEIGHT_PENALTY: Kernel = Kernel {
    name: "dladmm/weight_penalty",
    bindings: &[Binding::read("weights"), Binding::read("control"), Binding::update("gradient")],
    params: WeightPenaltyParams::LAYOUT,
    variants: plain,
};

params! {
    struct WeightPenaltyParams { quads: u32, last_layer: u32, lambda: f32 }
}

/// G ← G + (λ/κ) W: the part of (λ/2) ‖W‖² in a gradient that is kept without its factor κ.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn weight_penalty(
    plan: &mut PlanBuilder,
    weights: &Tensor,
    control: &Tensor,
    (lambda, last_layer): (f32, bool),
    gradient: &Tensor,
) -> Result<(), Error> {
    expect_shape(&WEIGHT_PENALTY, "gradient", gradient, weights.shape())?;
    expect_length(&WEIGHT_PENALTY, "control", control, CONTROL_LENGTH.into())?;
    let params = WeightPenaltyParams { quads: quads(weights), last_layer: last_layer.into(), lambda };
    plan.dispatch(Dispatch {
        kernel: &WEIGHT_PENALTY,
        variant: Variant::new("plain"),
        operands: &[weights, control, gradient],
        params: bytemuck::bytes_of(&params),
        groups: Groups::over(quads(weights).into(), WG_SIZE),
        flops: 2 * weights.shape().elements(),
    })
}

/// `dladmm/step_size`
pub static STEP_SIZE: Kernel = Kernel {
    name: "dladmm/step_size",
    bindings: &[
        Binding::read("gradient"),
        Binding::read("product"),
        Binding::read("control"),
        Binding::update("steps"),
        Binding::update("status"),
    ],
    params: StepSizeParams::LAYOUT,
    variants: plain,
};

params! {
    struct StepSizeParams {
        gradient_count: u32,
        product_count: u32,
        slot: u32,
        last_layer: u32,
        activation: u32,
        origin: u32,
        lambda: f32,
    }
}

/// Which quadratic block a step size is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Block {
    /// W: start θ₀, κ in the step, the penalty's λ as shift unless the products hold its part already.
    Weights {
        /// λ, or 0.
        lambda: f32,
    },
    /// a: start τ₀, shift ν.
    Activation,
}

/// What [`step_size`] works on.
#[derive(Debug)]
pub struct StepSize<'a> {
    /// Scalars whose sum is ‖g‖², and how many.
    pub gradient: (&'a Tensor, u32),
    /// Scalars whose sum is ‖M g‖², and how many.
    pub product: (&'a Tensor, u32),
    /// Penalties and starts.
    pub control: &'a Tensor,
    /// The kind of block.
    pub block: Block,
    /// Whether the curvature is the last layer's, whose penalty is ρ and not ν.
    pub last_layer: bool,
    /// Where the step goes.
    pub steps: &'a Tensor,
    /// Its slot.
    pub slot: u32,
    /// The solver's status word.
    pub status: &'a Tensor,
    /// Number noted in the status when a norm is not finite.
    pub origin: u32,
}

/// `steps[slot]` = (step, doublings k, ‖g‖², q), with k = ⌈log₂ max(1, q / start)⌉ the exponent that the papers'
/// backtracking ends at.
///
/// # Errors
/// [`Error::Shape`] when a list is too short, and those of [`PlanBuilder::dispatch`].
pub fn step_size(plan: &mut PlanBuilder, args: StepSize<'_>) -> Result<(), Error> {
    let StepSize { gradient, product, control, block, last_layer, steps, slot, status, origin } = args;
    expect_length(&STEP_SIZE, "gradient", gradient.0, gradient.1.into())?;
    expect_length(&STEP_SIZE, "product", product.0, product.1.into())?;
    expect_length(&STEP_SIZE, "control", control, CONTROL_LENGTH.into())?;
    expect_length(&STEP_SIZE, "steps", steps, (u64::from(slot) + 1) * 4)?;
    expect_length(&STEP_SIZE, "status", status, STATUS_LENGTH.into())?;
    let params = StepSizeParams {
        gradient_count: gradient.1,
        product_count: product.1,
        slot,
        last_layer: last_layer.into(),
        activation: (block == Block::Activation).into(),
        origin,
        lambda: match block {
            Block::Weights { lambda } => lambda,
            Block::Activation => 0.0,
        },
    };
    plan.dispatch(Dispatch {
        kernel: &STEP_SIZE,
        variant: Variant::new("plain"),
        operands: &[gradient.0, product.0, control, steps, status],
        params: bytemuck::bytes_of(&params),
        groups: Groups(1),
        flops: u64::from(gradient.1) + u64::from(product.1),
    })
}

/// What a step of the last layer works on.
#[derive(Debug)]
pub struct LastLayer<'a> {
    /// P of the last layer.
    pub product: &'a Tensor,
    /// Its bias.
    pub bias: &'a Tensor,
    /// Its dual.
    pub dual: &'a Tensor,
    /// What z is drawn to: one class per sample, or for squared loss a row of values.
    pub targets: &'a Tensor,
    /// Penalties.
    pub control: &'a Tensor,
    /// Its z: where the step starts, and the result.
    pub z: &'a Tensor,
}

impl LastLayer<'_> {
    fn check(&self, kernel: &'static Kernel, loss: Loss) -> Result<Shape, Error> {
        let shape = self.product.shape();
        expect_shape(kernel, "bias", self.bias, Shape::vector(shape.columns))?;
        expect_shape(kernel, "dual", self.dual, shape)?;
        expect_shape(kernel, "z", self.z, shape)?;
        loss.expect_targets(kernel, self.targets, shape)?;
        expect_length(kernel, "control", self.control, CONTROL_LENGTH.into())?;
        Ok(shape)
    }
}

/// Most classes of a sample that one lane takes; of more, a workgroup's lanes take equal parts. At 64 the registers of an
/// AMD GPU spill; at 32 it still has half as many waves as without any need.
const LANE_CLASSES: u32 = 32;

/// Lanes that share a sample of more classes than that: so many that their registers hold it.
fn class_lanes(classes: u32) -> u32 {
    if classes <= 1024 { 64 } else { 256 }
}

/// A sample's classes are held in registers, as many as it takes.
fn class_variant(classes: u32) -> Variant {
    let quads = classes.div_ceil(4);
    match classes {
        0..=LANE_CLASSES => Variant::new("lane").spec("CLASS_QUADS", quads),
        _ => Variant::new("group")
            .import("dladmm/classes_in_lane", "dladmm/classes_in_group")
            .spec("WG_SIZE", class_lanes(classes))
            .spec("CLASS_QUADS", quads.div_ceil(class_lanes(classes))),
    }
}

/// The workgroups that go with it.
fn class_groups(shape: Shape) -> Groups {
    match shape.columns {
        0..=LANE_CLASSES => Groups::over(shape.rows.into(), SAMPLE_LANES),
        _ => Groups(shape.rows.into()),
    }
}

/// Numbers of classes that one lane takes, of which variants are checked without a device.
const FEW_CLASSES: [u32; 3] = [2, 10, LANE_CLASSES];

fn class_variants() -> Vec<Variant> {
    FEW_CLASSES.into_iter().chain([100, 1_000, 5_003]).map(class_variant).collect()
}

/// `dladmm/fista`
pub static FISTA: Kernel = Kernel {
    name: "dladmm/fista",
    bindings: LAST_LAYER_BINDINGS,
    params: FistaParams::LAYOUT,
    variants: class_variants,
};

const LAST_LAYER_BINDINGS: &[Binding] = &[
    Binding::read("product"),
    Binding::read("bias"),
    Binding::read("dual"),
    Binding::read("labels"),
    Binding::read("control"),
    Binding::update("z"),
];

params! {
    struct FistaParams { quads: u32, samples: u32, classes: u32, iterations: u32, eta: f32 }
}

/// z-step of the last layer for softmax cross-entropy by `iterations` FISTA steps of length `eta` (Wang et al. 2019,
/// section 4.2), or by as many as `control` says, if those are fewer: see [`fista_stop`].
///
/// FLOPs are counted for all `iterations`.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn fista(plan: &mut PlanBuilder, args: &LastLayer<'_>, iterations: u32, eta: f32) -> Result<(), Error> {
    let shape = args.check(&FISTA, Loss::CrossEntropy)?;
    let params =
        FistaParams { quads: shape.quads(), samples: shape.rows, classes: shape.columns, iterations, eta };
    plan.dispatch(Dispatch {
        kernel: &FISTA,
        variant: class_variant(shape.columns),
        operands: &[args.product, args.bias, args.dual, args.targets, args.control, args.z],
        params: bytemuck::bytes_of(&params),
        groups: class_groups(shape),
        flops: 14 * shape.elements() * u64::from(iterations),
    })
}

/// `dladmm/fista_changes`
pub static FISTA_CHANGES: Kernel = Kernel {
    name: "dladmm/fista_changes",
    bindings: &[
        Binding::read("product"),
        Binding::read("bias"),
        Binding::read("dual"),
        Binding::read("labels"),
        Binding::read("control"),
        Binding::read("z"),
        Binding::write("changes"),
    ],
    params: FistaChangesParams::LAYOUT,
    variants: || {
        let as_loops = FEW_CLASSES.map(|classes| change_variant(classes, AdapterClass::Software));
        class_variants().into_iter().chain(as_loops).collect()
    },
};

params! {
    struct FistaChangesParams {
        quads: u32, samples: u32, classes: u32, known: u32, limit: u32, first_row: u32, eta: f32
    }
}

/// How far [`fista_changes`] and [`fista_stop`] look ahead in turn, for FISTA of so many iterations at most: sixteen times as far
/// each time, in multiples of four, since most often the first step or two settle it.
pub fn fista_stages(iterations: u32) -> impl Iterator<Item = Range<u32>> {
    let last = iterations.next_multiple_of(4);
    iter::successors(Some(0..last.min(4)), move |stage| {
        (stage.end < last).then(|| stage.end..last.min(stage.end.saturating_mul(16)))
    })
}

/// Samples of few classes that a workgroup takes: where lanes are a loop, as few as run at once, since they are summed.
fn change_lanes(class: AdapterClass) -> u32 {
    summing_lanes(class).min(SAMPLE_LANES)
}

fn change_variant(classes: u32, class: AdapterClass) -> Variant {
    match classes {
        0..=LANE_CLASSES if class.is_software() => {
            class_variant(classes).spec("WG_SIZE", change_lanes(class)).for_software()
        }
        _ => class_variant(classes),
    }
}

/// Rows of changes that [`fista_changes`] leaves for logits of this shape on such a device.
pub fn fista_change_rows(class: AdapterClass, shape: Shape) -> u32 {
    match shape.columns {
        0..=LANE_CLASSES => shape.rows.div_ceil(change_lanes(class)),
        _ => shape.rows,
    }
}

/// By how much each of the steps `stage` of [`fista`], one of [`fista_stages`], would move the objective
/// `Σ −log softmax(z)_label + (ρ/2) ‖z − c‖²`: partial sums over samples in rows of `changes` from `first_row` on, a step to a
/// column. Nothing where `control` says that an earlier step is the last.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn fista_changes(
    plan: &mut PlanBuilder,
    args: &LastLayer<'_>,
    stage: &Range<u32>,
    eta: f32,
    (changes, first_row): (&Tensor, u32),
) -> Result<(), Error> {
    let shape = args.check(&FISTA_CHANGES, Loss::CrossEntropy)?;
    let class = plan.gpu().capabilities().class;
    let own_rows = fista_change_rows(class, shape);
    let rows = changes.shape().rows.max(first_row + own_rows);
    expect_shape(&FISTA_CHANGES, "changes", changes, Shape::new(rows, stage.end - stage.start))?;
    let params = FistaChangesParams {
        quads: shape.quads(),
        samples: shape.rows,
        classes: shape.columns,
        known: stage.start,
        limit: stage.end,
        first_row,
        eta,
    };
    plan.dispatch(Dispatch {
        kernel: &FISTA_CHANGES,
        variant: change_variant(shape.columns, class),
        operands: &[args.product, args.bias, args.dual, args.targets, args.control, args.z, changes],
        params: bytemuck::bytes_of(&params),
        groups: Groups(own_rows.into()),
        flops: 26 * shape.elements() * u64::from(stage.end),
    })
}

/// `dladmm/fista_stop`
pub static FISTA_STOP: Kernel = Kernel {
    name: "dladmm/fista_stop",
    bindings: &[Binding::read("changes"), Binding::update("control")],
    params: FistaStopParams::LAYOUT,
    variants: || summing_variants(plain()),
};

params! {
    struct FistaStopParams { rows: u32, quads: u32, known: u32, iterations: u32, tolerance: f32 }
}

/// The authors' stop test: tells `control` that [`fista`] is to end with the first of the steps `stage` whose change of the
/// objective, summed over the rows of `changes`, is less than `tolerance` in size; with `iterations` where none is.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn fista_stop(
    plan: &mut PlanBuilder,
    changes: &Tensor,
    control: &Tensor,
    stage: &Range<u32>,
    (iterations, tolerance): (u32, f32),
) -> Result<(), Error> {
    let shape = changes.shape();
    expect_shape(&FISTA_STOP, "changes", changes, Shape::new(shape.rows, stage.end - stage.start))?;
    expect_length(&FISTA_STOP, "control", control, CONTROL_LENGTH.into())?;
    let params =
        FistaStopParams { rows: shape.rows, quads: shape.quads(), known: stage.start, iterations, tolerance };
    plan.dispatch(Dispatch {
        kernel: &FISTA_STOP,
        variant: summing(Variant::new("plain"), plan.gpu().capabilities().class),
        operands: &[changes, control],
        params: bytemuck::bytes_of(&params),
        groups: Groups(1),
        flops: shape.elements(),
    })
}

/// `dladmm/newton`
pub static NEWTON: Kernel = Kernel {
    name: "dladmm/newton",
    bindings: LAST_LAYER_BINDINGS,
    params: NewtonParams::LAYOUT,
    variants: class_variants,
};

params! {
    struct NewtonParams { quads: u32, samples: u32, classes: u32 }
}

/// z-step of the last layer for softmax cross-entropy, solved exactly by at most twelve damped Newton steps.
///
/// FLOPs are counted for all twelve.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn newton(plan: &mut PlanBuilder, args: &LastLayer<'_>) -> Result<(), Error> {
    let shape = args.check(&NEWTON, Loss::CrossEntropy)?;
    let params = NewtonParams { quads: shape.quads(), samples: shape.rows, classes: shape.columns };
    plan.dispatch(Dispatch {
        kernel: &NEWTON,
        variant: class_variant(shape.columns),
        operands: &[args.product, args.bias, args.dual, args.targets, args.control, args.z],
        params: bytemuck::bytes_of(&params),
        groups: class_groups(shape),
        flops: 12 * 24 * shape.elements(),
    })
}

/// `dladmm/squared_z`
pub static SQUARED_Z: Kernel = Kernel {
    name: "dladmm/squared_z",
    bindings: &[
        Binding::read("product"),
        Binding::read("bias"),
        Binding::read("dual"),
        Binding::read("targets"),
        Binding::read("control"),
        Binding::write("z"),
    ],
    params: SquaredZParams::LAYOUT,
    variants: plain,
};

params! {
    struct SquaredZParams { quads: u32, samples: u32 }
}

/// z-step of the last layer for squared loss: z = (y + ρ (P + b) − u) / (1 + ρ), the minimiser.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn squared_z(plan: &mut PlanBuilder, args: &LastLayer<'_>) -> Result<(), Error> {
    let shape = args.check(&SQUARED_Z, Loss::Squared)?;
    plan.dispatch(Dispatch {
        kernel: &SQUARED_Z,
        variant: Variant::new("plain"),
        operands: &[args.product, args.bias, args.dual, args.targets, args.control, args.z],
        params: bytemuck::bytes_of(&SquaredZParams { quads: shape.quads(), samples: shape.rows }),
        groups: groups_over_samples(shape),
        flops: 5 * shape.elements(),
    })
}

/// `dladmm/dual_step`
pub static DUAL_STEP: Kernel = Kernel {
    name: "dladmm/dual_step",
    bindings: &[
        Binding::read("product"),
        Binding::read("bias"),
        Binding::read("z"),
        Binding::read("targets"),
        Binding::read("control"),
        Binding::update("dual"),
        Binding::write("partials"),
    ],
    params: DualStepParams::LAYOUT,
    variants: || [Loss::CrossEntropy, Loss::Squared].map(dual_variant).into(),
};

params! {
    struct DualStepParams { quads: u32, samples: u32, classes: u32, offset: u32, is_step: u32 }
}

/// The loss is a file of its own.
fn dual_variant(loss: Loss) -> Variant {
    match loss {
        Loss::CrossEntropy => Variant::new("cross-entropy"),
        Loss::Squared => Variant::new("squared").import("dladmm/loss_cross_entropy", "dladmm/loss_squared"),
    }
}

/// `vec4`s of partial sums that [`dual_step`] leaves for this many samples.
pub fn dual_partial_count(samples: u32) -> u32 {
    samples.div_ceil(SAMPLE_LANES)
}

/// What becomes of u.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dual {
    /// u ← u + ρ r.
    Steps,
    /// Nothing.
    Stays,
}

/// u ← u + ρ r, r = z − P − b, if it is to step, and partial sums of (loss, ⟨u, r⟩, ‖r‖², 0) at the new u (Wang et al. 2019, eq. 9).
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn dual_step(
    plan: &mut PlanBuilder,
    args: &LastLayer<'_>,
    loss: Loss,
    moves: Dual,
    partials: &Tensor,
    offset: u32,
) -> Result<(), Error> {
    let shape = args.check(&DUAL_STEP, loss)?;
    let count = dual_partial_count(shape.rows);
    expect_length(&DUAL_STEP, "partials", partials, 4 * (u64::from(offset) + u64::from(count)))?;
    let params = DualStepParams {
        quads: shape.quads(),
        samples: shape.rows,
        classes: shape.columns,
        offset,
        is_step: (moves == Dual::Steps).into(),
    };
    plan.dispatch(Dispatch {
        kernel: &DUAL_STEP,
        variant: dual_variant(loss),
        operands: &[args.product, args.bias, args.z, args.targets, args.control, args.dual, partials],
        params: bytemuck::bytes_of(&params),
        groups: Groups(count.into()),
        flops: 12 * shape.elements(),
    })
}

/// `dladmm/dual_of_z`
pub static DUAL_OF_Z: Kernel = Kernel {
    name: "dladmm/dual_of_z",
    bindings: &[Binding::read("z"), Binding::read("targets"), Binding::write("dual")],
    params: DualOfZParams::LAYOUT,
    variants: || vec![dual_variant(Loss::CrossEntropy), dual_variant(Loss::Squared)],
};

params! {
    struct DualOfZParams { quads: u32, samples: u32, classes: u32 }
}

/// u = −∂R/∂z at the last layer's z: y − softmax(z), or y − z under squared loss. That is what every exact step of z
/// leaves in u, so a z that was mixed has its dual by it.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn dual_of_z(plan: &mut PlanBuilder, args: &LastLayer<'_>, loss: Loss) -> Result<(), Error> {
    let shape = args.check(&DUAL_OF_Z, loss)?;
    let params = DualOfZParams { quads: shape.quads(), samples: shape.rows, classes: shape.columns };
    plan.dispatch(Dispatch {
        kernel: &DUAL_OF_Z,
        variant: dual_variant(loss),
        operands: &[args.z, args.targets, args.dual],
        params: bytemuck::bytes_of(&params),
        groups: Groups::over(shape.rows.into(), SAMPLE_LANES),
        flops: 6 * shape.elements(),
    })
}

/// `dladmm/weight_terms`
pub static WEIGHT_TERMS: Kernel = Kernel {
    name: "dladmm/weight_terms",
    bindings: &[Binding::read("weights"), Binding::write("partials")],
    params: WeightTermsParams::LAYOUT,
    variants: || summing_variants(plain()),
};

params! {
    struct WeightTermsParams { quads: u32, offset: u32 }
}

/// Partial sums of (‖W‖², ‖W‖₁, 0, 0), one `vec4` per chunk as [`reduce::partial_count`] says.
///
/// # Errors
/// [`Error::Shape`] when the list is too short, and those of [`PlanBuilder::dispatch`].
pub fn weight_terms(
    plan: &mut PlanBuilder,
    weights: &Tensor,
    partials: &Tensor,
    offset: u32,
) -> Result<(), Error> {
    let count = reduce::partial_count(weights);
    expect_length(&WEIGHT_TERMS, "partials", partials, 4 * (u64::from(offset) + u64::from(count)))?;
    plan.dispatch(Dispatch {
        kernel: &WEIGHT_TERMS,
        variant: summing(Variant::new("plain"), plan.gpu().capabilities().class),
        operands: &[weights, partials],
        params: bytemuck::bytes_of(&WeightTermsParams { quads: quads(weights), offset }),
        groups: Groups(count.into()),
        flops: 3 * weights.shape().elements(),
    })
}

/// `dladmm/merit`
pub static MERIT: Kernel = Kernel {
    name: "dladmm/merit",
    bindings: &[
        Binding::read("totals"),
        Binding::read("ridge"),
        Binding::read("control"),
        Binding::update("merits"),
    ],
    params: MeritParams::LAYOUT,
    variants: plain,
};

params! {
    struct MeritParams { layers: u32, slot: u32 }
}

/// `merits[slot]` = the augmented Lagrangian, from the terms in `totals` and `ridge` as [`record`] takes them.
///
/// # Errors
/// [`Error::Shape`] when a list is too short, and those of [`PlanBuilder::dispatch`].
pub fn merit(
    plan: &mut PlanBuilder,
    (totals, ridge): (&Tensor, &Tensor),
    control: &Tensor,
    (merits, slot): (&Tensor, u32),
) -> Result<(), Error> {
    let layers = ridge.shape().rows;
    expect_length(&MERIT, "totals", totals, 8 * (u64::from(layers) + 1))?;
    expect_length(&MERIT, "control", control, CONTROL_LENGTH.into())?;
    expect_length(&MERIT, "merits", merits, u64::from(slot) + 1)?;
    plan.dispatch(Dispatch {
        kernel: &MERIT,
        variant: Variant::new("plain"),
        operands: &[totals, ridge, control, merits],
        params: bytemuck::bytes_of(&MeritParams { layers, slot }),
        groups: Groups(1),
        flops: 6 * u64::from(layers),
    })
}

/// `dladmm/hidden_terms`
pub static HIDDEN_TERMS: Kernel = Kernel {
    name: "dladmm/hidden_terms",
    bindings: &[
        Binding::read("product"),
        Binding::read("bias"),
        Binding::read("z"),
        Binding::read("activation"),
        Binding::write("partials"),
    ],
    params: HiddenTermsParams::LAYOUT,
    variants: || summing_variants(Activation::variants()),
};

params! {
    struct HiddenTermsParams { quads: u32, samples: u32, features: u32, offset: u32 }
}

/// What [`hidden_terms`] works on.
#[derive(Debug)]
pub struct HiddenTerms<'a> {
    /// P of the layer.
    pub product: &'a Tensor,
    /// Its bias.
    pub bias: &'a Tensor,
    /// Its z.
    pub z: &'a Tensor,
    /// Its a.
    pub activation: &'a Tensor,
    /// What makes a of z.
    pub f: Activation,
    /// Lists of partial sums.
    pub partials: &'a Tensor,
    /// Where this block's partial sums begin.
    pub offset: u32,
}

/// Partial sums of (‖z − P − b‖², ‖a − f(z)‖², 0, 0), one `vec4` per chunk as [`reduce::partial_count`] says.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn hidden_terms(plan: &mut PlanBuilder, args: HiddenTerms<'_>) -> Result<(), Error> {
    let HiddenTerms { product, bias, z, activation, f, partials, offset } = args;
    let shape = product.shape();
    expect_shape(&HIDDEN_TERMS, "bias", bias, Shape::vector(shape.columns))?;
    expect_shape(&HIDDEN_TERMS, "z", z, shape)?;
    expect_shape(&HIDDEN_TERMS, "activation", activation, shape)?;
    let count = reduce::partial_count(product);
    expect_length(&HIDDEN_TERMS, "partials", partials, 4 * (u64::from(offset) + u64::from(count)))?;
    let params =
        HiddenTermsParams { quads: shape.quads(), samples: shape.rows, features: shape.columns, offset };
    plan.dispatch(Dispatch {
        kernel: &HIDDEN_TERMS,
        variant: summing(f.choose(Variant::new("plain")), plan.gpu().capabilities().class),
        operands: &[product, bias, z, activation, partials],
        params: bytemuck::bytes_of(&params),
        groups: Groups(count.into()),
        flops: 8 * shape.elements(),
    })
}

/// `dladmm/keep`
pub static KEEP: Kernel = Kernel {
    name: "dladmm/keep",
    bindings: &[Binding::read("x"), Binding::read("status"), Binding::update("kept")],
    params: KeepParams::LAYOUT,
    variants: plain,
};

params! {
    struct KeepParams { quads: u32 }
}

/// kept = x, as long as no kernel has met a value that is not finite.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn keep(plan: &mut PlanBuilder, x: &Tensor, status: &Tensor, kept: &Tensor) -> Result<(), Error> {
    expect_shape(&KEEP, "kept", kept, x.shape())?;
    expect_length(&KEEP, "status", status, STATUS_LENGTH.into())?;
    plan.dispatch(Dispatch {
        kernel: &KEEP,
        variant: Variant::new("plain"),
        operands: &[x, status, kept],
        params: bytemuck::bytes_of(&KeepParams { quads: quads(x) }),
        groups: Groups::over(quads(x).into(), WG_SIZE),
        flops: 0,
    })
}

/// `dladmm/record`
pub static RECORD: Kernel = Kernel {
    name: "dladmm/record",
    bindings: &[
        Binding::read("totals"),
        Binding::read("steps"),
        Binding::read("ridge"),
        Binding::read("ledger"),
        Binding::update("control"),
        Binding::update("status"),
        Binding::update("ring"),
    ],
    params: RecordParams::LAYOUT,
    variants: plain,
};

params! {
    /// Parameters of [`record`].
    pub struct RecordParams {
        /// L.
        layers: u32,
        /// Steps whose doublings are recorded.
        slots: u32,
        /// f32 values of a record.
        record_length: u32,
        /// Records in the ring.
        ring_length: u32,
        /// 0 constant, 1 paper, 2 official.
        schedule: u32,
        /// Whether this iteration took scores.
        evaluated: u32,
        /// Whether the official schedule also raises the starts of the curvature searches.
        wide: u32,
        /// Number noted in the status when the objective is not finite.
        origin: u32,
        /// Training samples.
        samples: f32,
    }
}

/// What [`record`] works on.
#[derive(Debug)]
pub struct Record<'a> {
    /// Terms of each hidden layer, of the last layer, training scores, test scores, and [`weight_terms`] of each layer:
    /// (2 layers + 2) × 4.
    pub totals: &'a Tensor,
    /// Steps of the sweep.
    pub steps: &'a Tensor,
    /// Ridge μ and the penalties λ of each layer's weights, that on ‖W‖² and that on ‖W‖₁, first in a row: layers × 4.
    pub ridge: &'a Tensor,
    /// The accelerator's ledger, or zeros in its place.
    pub ledger: &'a Tensor,
    /// Penalties and schedule state.
    pub control: &'a Tensor,
    /// The solver's status word.
    pub status: &'a Tensor,
    /// The telemetry ring.
    pub ring: &'a Tensor,
}

/// Closes an iteration: augmented Lagrangian, telemetry record, schedules, iteration count.
///
/// # Errors
/// [`Error::Shape`] when a list is too short, and those of [`PlanBuilder::dispatch`].
pub fn record(plan: &mut PlanBuilder, args: &Record<'_>, params: RecordParams) -> Result<(), Error> {
    let Record { totals, steps, ridge, ledger, control, status, ring } = *args;
    expect_length(&RECORD, "totals", totals, 8 * (u64::from(params.layers) + 1))?;
    expect_length(&RECORD, "ridge", ridge, 4 * u64::from(params.layers))?;
    expect_length(&RECORD, "ledger", ledger, LEDGER_LENGTH.into())?;
    expect_length(&RECORD, "steps", steps, 4 * u64::from(params.slots))?;
    expect_length(&RECORD, "control", control, CONTROL_LENGTH.into())?;
    expect_length(&RECORD, "status", status, STATUS_LENGTH.into())?;
    expect_length(&RECORD, "ring", ring, u64::from(params.record_length) * u64::from(params.ring_length))?;
    plan.dispatch(Dispatch {
        kernel: &RECORD,
        variant: Variant::new("plain"),
        operands: &[totals, steps, ridge, ledger, control, status, ring],
        params: bytemuck::bytes_of(&params),
        groups: Groups(1),
        flops: 0,
    })
}
