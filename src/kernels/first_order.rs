//! Kernels of first-order methods: one that decides what all parameters share, and one step over all of them.

use super::optimizer::{ScheduleWords, VERDICT_LENGTH};
use super::{WG_SIZE, expect_length, expect_shape, nm, plain, quads};
use crate::Error;
use crate::engine::{
    Binding, Dispatch, Groups, Kernel, ParamsLayout, PlanBuilder, Shape, Tensor, Variant, params,
};

/// Words of a clock: `shaders/first_order/step_clock.wgsl`.
pub const CLOCK_LENGTH: u32 = VERDICT_LENGTH + 11;

/// The word of a clock that holds NAdam's product of momenta, which starts at 1.
pub const MU_PRODUCT: u32 = VERDICT_LENGTH;

/// The rule by which a gradient becomes a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Gradient descent.
    Sgd,
    /// Heavy ball (Polyak 1964).
    Momentum,
    /// Nesterov's momentum, as Sutskever et al. 2013 write it.
    Nesterov,
    /// Duchi, Hazan, Singer 2011.
    AdaGrad,
    /// Zeiler 2012.
    Adadelta,
    /// Tieleman and Hinton 2012.
    RmsProp,
    /// Kingma and Ba 2015.
    Adam,
    /// Loshchilov and Hutter 2019: Adam whose weight decay does not pass through the normalisation.
    AdamW,
    /// Dozat 2016.
    NAdam,
    /// Kingma and Ba 2015, the variant of the infinity norm.
    Adamax,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 10] = [
        Self::Sgd,
        Self::Momentum,
        Self::Nesterov,
        Self::AdaGrad,
        Self::Adadelta,
        Self::RmsProp,
        Self::Adam,
        Self::AdamW,
        Self::NAdam,
        Self::Adamax,
    ];

    /// As it is called in files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sgd => "sgd",
            Self::Momentum => "momentum",
            Self::Nesterov => "nesterov",
            Self::AdaGrad => "adagrad",
            Self::Adadelta => "adadelta",
            Self::RmsProp => "rmsprop",
            Self::Adam => "adam",
            Self::AdamW => "adamw",
            Self::NAdam => "nadam",
            Self::Adamax => "adamax",
        }
    }

    /// Values that it keeps of each parameter: rows of the state.
    pub const fn rows(self) -> u32 {
        match self {
            Self::Sgd => 0,
            Self::Momentum | Self::Nesterov | Self::AdaGrad | Self::RmsProp => 1,
            Self::Adadelta | Self::Adam | Self::AdamW | Self::NAdam | Self::Adamax => 2,
        }
    }

    /// The variant of [`STEP`] that carries its rule; the one of Adam serves AdamW too.
    fn variant(self) -> Variant {
        let rule = |label, to| Variant::new(label).import("first_order/rule_adam", to);
        match self {
            Self::Momentum => rule("momentum", "first_order/rule_momentum"),
            Self::Nesterov => rule("nesterov", "first_order/rule_nesterov"),
            Self::AdaGrad => rule("adagrad", "first_order/rule_adagrad"),
            Self::Adadelta => rule("adadelta", "first_order/rule_adadelta"),
            Self::RmsProp => rule("rmsprop", "first_order/rule_rmsprop"),
            Self::NAdam => rule("nadam", "first_order/rule_nadam"),
            Self::Adamax => rule("adamax", "first_order/rule_adamax"),
            Self::Sgd | Self::Adam | Self::AdamW => Variant::new("adam"),
        }
    }

    /// Floating-point operations of the rule, an element.
    const fn flops(self) -> u64 {
        match self {
            Self::Sgd => 1,
            Self::Momentum => 4,
            Self::AdaGrad | Self::Nesterov => 6,
            Self::RmsProp => 8,
            Self::Adam | Self::AdamW | Self::Adadelta | Self::Adamax => 13,
            Self::NAdam => 16,
        }
    }
}

/// Settings as [`clock`] reads them. A host that changes one writes it, and records nothing again.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Settings {
    /// Learning rate before the schedule.
    pub rate: f32,
    /// Weight decay.
    pub weight_decay: f32,
    /// Whether it shrinks the parameters and does not join the gradient; 0 or 1.
    pub is_decoupled: u32,
    /// Decay of the first moment.
    pub beta_1: f32,
    /// 1 − β₁, rounded once.
    pub blend_first: f32,
    /// ln β₁.
    pub log_beta_1: f32,
    /// 1 − β₂, rounded once.
    pub blend_second: f32,
    /// ln β₂.
    pub log_beta_2: f32,
    /// ε.
    pub epsilon: f32,
    /// ψ ln 0.96, of NAdam's warming momentum.
    pub log_warming: f32,
    /// Of the learning rate.
    pub schedule: ScheduleWords,
}

/// Words of [`Settings`].
pub const SETTINGS_LENGTH: u32 = (size_of::<Settings>() / 4) as u32;

/// `first_order/clock`
pub static CLOCK: Kernel = Kernel {
    name: "first_order/clock",
    bindings: &[Binding::read("settings"), Binding::update("found"), Binding::update("clock")],
    params: ParamsLayout { members: &[] },
    variants: plain,
};

/// Opens a step: takes or refuses it, counts it, computes what all parameters share, and resets `found`.
///
/// # Errors
/// [`Error::Shape`] when a list is too short, and those of [`PlanBuilder::dispatch`].
pub fn clock(plan: &mut PlanBuilder, settings: &Tensor, found: &Tensor, clock: &Tensor) -> Result<(), Error> {
    expect_length(&CLOCK, "settings", settings, SETTINGS_LENGTH.into())?;
    expect_length(&CLOCK, "found", found, 1)?;
    expect_length(&CLOCK, "clock", clock, CLOCK_LENGTH.into())?;
    plan.dispatch(Dispatch {
        kernel: &CLOCK,
        variant: Variant::new("plain"),
        operands: &[settings, found, clock],
        params: &[],
        groups: Groups(1),
        flops: 0,
    })
}

/// `first_order/sgd`
pub static SGD: Kernel = Kernel {
    name: "first_order/sgd",
    bindings: &[Binding::read("gradient"), Binding::read("clock"), Binding::update("w")],
    params: SgdParams::LAYOUT,
    variants: plain,
};

params! {
    struct SgdParams { quads: u32 }
}

/// w ← w − rate g with weight decay, where the clock lets it.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree or the clock is too short, and those of [`PlanBuilder::dispatch`].
pub fn sgd(plan: &mut PlanBuilder, gradient: &Tensor, clock: &Tensor, w: &Tensor) -> Result<(), Error> {
    expect_shape(&SGD, "gradient", gradient, w.shape())?;
    expect_length(&SGD, "clock", clock, CLOCK_LENGTH.into())?;
    plan.dispatch(Dispatch {
        kernel: &SGD,
        variant: Variant::new("plain"),
        operands: &[gradient, clock, w],
        params: bytemuck::bytes_of(&SgdParams { quads: quads(w) }),
        groups: Groups::over(quads(w).into(), WG_SIZE),
        flops: (Method::Sgd.flops() + 5) * w.shape().elements(),
    })
}

/// `first_order/step`
pub static STEP: Kernel = Kernel {
    name: "first_order/step",
    bindings: &[
        Binding::read("gradient"),
        Binding::read("clock"),
        Binding::update("state"),
        Binding::update("w"),
    ],
    params: StepParams::LAYOUT,
    variants: step_variants,
};

params! {
    struct StepParams { quads: u32, columns: u32 }
}

fn step_variants() -> Vec<Variant> {
    // AdamW's is Adam's, and descent has a kernel of its own.
    let methods = Method::ALL.into_iter().filter(|method| !matches!(method, Method::Sgd | Method::AdamW));
    methods.map(Method::variant).collect()
}

/// One step of any method but [`Method::Sgd`], where the clock lets it.
///
/// `w` and `gradient` are one row; `state` has [`Method::rows`] of them.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, `w` is not one row, the method keeps no state or the clock is too short, and
/// those of [`PlanBuilder::dispatch`].
pub fn step(
    plan: &mut PlanBuilder,
    method: Method,
    gradient: &Tensor,
    clock: &Tensor,
    state: &Tensor,
    w: &Tensor,
) -> Result<(), Error> {
    expect_step(&STEP, method, gradient, clock, state, w)?;
    let columns = w.shape().columns;
    plan.dispatch(Dispatch {
        kernel: &STEP,
        variant: method.variant(),
        operands: &[gradient, clock, state, w],
        params: bytemuck::bytes_of(&StepParams { quads: quads(w), columns }),
        groups: Groups::over(quads(w).into(), WG_SIZE),
        flops: (method.flops() + 5) * w.shape().elements(),
    })
}

/// The penalty of N:M ADMM on some of the parameters of a step.
#[derive(Clone, Copy, Debug)]
pub struct Penalty<'a> {
    /// What it does.
    pub kind: PenaltyKind,
    /// A row of [`nm::Settings`] for each sparse matrix.
    pub settings: &'a Tensor,
    /// u32, two for each [`RUN`] parameters: the run of `t` that belongs to them, or [`DENSE`], and their matrix's row of
    /// the settings.
    pub places: &'a Tensor,
    /// T = Z − U of the sparse parameters, one row.
    pub t: &'a Tensor,
}

/// How a penalty gets into a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PenaltyKind {
    /// W += p (T − W) after the step, p = γ/(1 + γ), γ = pull + ρ times the learning rate.
    Pull,
    /// g += ρ (W − T) before the moments.
    Coupled,
    /// Parameters stay 0 where T is.
    Masked,
}

impl PenaltyKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Pull, Self::Coupled, Self::Masked];

    fn choose(self, variant: Variant) -> Variant {
        match self {
            Self::Pull => variant,
            Self::Coupled => variant.import("nm/penalty_pull", "nm/penalty_coupled"),
            Self::Masked => variant.import("nm/penalty_pull", "nm/penalty_masked"),
        }
    }
}

/// Parameters of a run, all sparse or all dense.
pub const RUN: u32 = 128;

/// The place of a run that is dense.
pub const DENSE: u32 = u32::MAX;

impl Penalty<'_> {
    /// Refuses a penalty that is not one on so many parameters.
    fn expect(&self, kernel: &'static Kernel, columns: u32) -> Result<(), Error> {
        nm::expect_settings(kernel, self.settings, 1)?;
        expect_length(kernel, "places", self.places, 2 * u64::from(columns.div_ceil(RUN)))?;
        expect_shape(kernel, "t", self.t, Shape::vector(self.t.shape().columns))
    }
}

/// `first_order/sparse_sgd`
pub static SPARSE_SGD: Kernel = Kernel {
    name: "first_order/sparse_sgd",
    bindings: &[
        Binding::read("gradient"),
        Binding::read("clock"),
        Binding::read("settings"),
        Binding::read("places"),
        Binding::read("t"),
        Binding::update("w"),
    ],
    params: SgdParams::LAYOUT,
    variants: || PenaltyKind::ALL.map(|kind| kind.choose(Variant::new("plain"))).into(),
};

/// [`sgd`] with a penalty. `w` is one row.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree or a list is too short, and those of [`PlanBuilder::dispatch`].
pub fn sparse_sgd(
    plan: &mut PlanBuilder,
    gradient: &Tensor,
    clock: &Tensor,
    penalty: Penalty<'_>,
    w: &Tensor,
) -> Result<(), Error> {
    let columns = w.shape().columns;
    expect_shape(&SPARSE_SGD, "w", w, Shape::vector(columns))?;
    expect_shape(&SPARSE_SGD, "gradient", gradient, w.shape())?;
    expect_length(&SPARSE_SGD, "clock", clock, CLOCK_LENGTH.into())?;
    penalty.expect(&SPARSE_SGD, columns)?;
    let Penalty { kind, settings, places, t } = penalty;
    plan.dispatch(Dispatch {
        kernel: &SPARSE_SGD,
        variant: kind.choose(Variant::new("plain")),
        operands: &[gradient, clock, settings, places, t, w],
        params: bytemuck::bytes_of(&SgdParams { quads: quads(w) }),
        groups: Groups::over(quads(w).into(), WG_SIZE),
        flops: (Method::Sgd.flops() + 5) * w.shape().elements() + 3 * t.shape().elements(),
    })
}

/// `first_order/sparse_step`
pub static SPARSE_STEP: Kernel = Kernel {
    name: "first_order/sparse_step",
    bindings: &[
        Binding::read("gradient"),
        Binding::read("clock"),
        Binding::read("settings"),
        Binding::read("places"),
        Binding::read("t"),
        Binding::update("state"),
        Binding::update("w"),
    ],
    params: StepParams::LAYOUT,
    variants: || {
        let variants = step_variants().into_iter();
        variants.flat_map(|variant| PenaltyKind::ALL.map(|kind| kind.choose(variant.clone()))).collect()
    },
};

/// [`step`] with a penalty.
///
/// # Errors
/// As [`step`].
pub fn sparse_step(
    plan: &mut PlanBuilder,
    method: Method,
    gradient: &Tensor,
    clock: &Tensor,
    penalty: Penalty<'_>,
    state: &Tensor,
    w: &Tensor,
) -> Result<(), Error> {
    expect_step(&SPARSE_STEP, method, gradient, clock, state, w)?;
    let columns = w.shape().columns;
    penalty.expect(&SPARSE_STEP, columns)?;
    let Penalty { kind, settings, places, t } = penalty;
    plan.dispatch(Dispatch {
        kernel: &SPARSE_STEP,
        variant: kind.choose(method.variant()),
        operands: &[gradient, clock, settings, places, t, state, w],
        params: bytemuck::bytes_of(&StepParams { quads: quads(w), columns }),
        groups: Groups::over(quads(w).into(), WG_SIZE),
        flops: (method.flops() + 5) * w.shape().elements() + 3 * t.shape().elements(),
    })
}

/// Refuses what a step of a method with a state does not take.
fn expect_step(
    kernel: &'static Kernel,
    method: Method,
    gradient: &Tensor,
    clock: &Tensor,
    state: &Tensor,
    w: &Tensor,
) -> Result<(), Error> {
    if method == Method::Sgd {
        let detail = "sgd keeps no state; its kernel is another".into();
        return Err(Error::Shape { kernel: kernel.name, detail });
    }
    let columns = w.shape().columns;
    expect_shape(kernel, "w", w, Shape::vector(columns))?;
    expect_shape(kernel, "gradient", gradient, Shape::vector(columns))?;
    expect_shape(kernel, "state", state, Shape::new(method.rows(), columns))?;
    expect_length(kernel, "clock", clock, CLOCK_LENGTH.into())
}
