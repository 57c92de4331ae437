//! Kernels of BADM (Wang, Zhou, Li 2024): one that decides what all parameters share, and one step over all of them and
//! all sub-batches.

use super::optimizer::{ScheduleWords, VERDICT_LENGTH};
use super::{WG_SIZE, expect_length, expect_shape, plain};
use crate::Error;
use crate::engine::{
    Binding, Dispatch, Groups, Kernel, PlanBuilder, Shape, StorageType, Tensor, Variant, params,
};

/// Words of a clock before its slots: `shaders/badm/step_clock.wgsl`.
pub const CLOCK_HEAD: u32 = VERDICT_LENGTH + 5;

/// Words of a slot in a clock, the first of which counts its steps.
pub const SLOT_LENGTH: u32 = 3;

/// Words of a clock with so many slots.
pub const fn clock_length(slots: u32) -> u32 {
    CLOCK_HEAD + SLOT_LENGTH * slots
}

/// Settings as [`clock`] reads them. A host that changes one writes it, and records nothing again.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Settings {
    /// 1/σ.
    pub reach: f32,
    /// r = ρ/(ρ+σ).
    pub keep: f32,
    /// 1 − r, rounded once.
    pub turn: f32,
    /// 1 − β, rounded once.
    pub blend: f32,
    /// ln β.
    pub log_beta: f32,
    /// Whether second moments are corrected for starting at zero; 0 or 1.
    pub is_corrected: u32,
    /// ε.
    pub epsilon: f32,
    /// Of stochastic rounding.
    pub seed: u32,
    /// What 1/σ is multiplied by.
    pub schedule: ScheduleWords,
}

/// Words of [`Settings`].
pub const SETTINGS_LENGTH: u32 = (size_of::<Settings>() / 4) as u32;

/// What the second moment is made of, and whether it is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecondMoment {
    /// Of π², as in the paper.
    #[default]
    Dual,
    /// Of g²: rescues a small σ.
    Gradient,
    /// Of π², kept but not used: an ablation, which costs what the others cost.
    Off,
}

/// `badm/clock`
pub static CLOCK: Kernel = Kernel {
    name: "badm/clock",
    bindings: &[
        Binding::read("settings"),
        Binding::read("weights"),
        Binding::update("found"),
        Binding::update("clock"),
    ],
    params: ClockParams::LAYOUT,
    variants: plain,
};

params! {
    struct ClockParams { first: u32, sub_batches: u32 }
}

/// Opens a step with the slots from `first` on, one for each of `sub_batches`: takes or refuses it, counts it, computes
/// what all parameters share, and resets `found`.
///
/// # Errors
/// [`Error::Shape`] when a list is too short, and those of [`PlanBuilder::dispatch`].
pub fn clock(
    plan: &mut PlanBuilder,
    settings: &Tensor,
    weights: &Tensor,
    found: &Tensor,
    clock: &Tensor,
    (first, sub_batches): (u32, u32),
) -> Result<(), Error> {
    expect_length(&CLOCK, "settings", settings, SETTINGS_LENGTH.into())?;
    expect_length(&CLOCK, "weights", weights, sub_batches.into())?;
    expect_length(&CLOCK, "found", found, 1)?;
    expect_slots(&CLOCK, clock, first, sub_batches)?;
    plan.dispatch(Dispatch {
        kernel: &CLOCK,
        variant: Variant::new("plain"),
        operands: &[settings, weights, found, clock],
        params: bytemuck::bytes_of(&ClockParams { first, sub_batches }),
        groups: Groups(1),
        flops: 0,
    })
}

/// `badm/step`
pub static STEP: Kernel = Kernel {
    name: "badm/step",
    bindings: &[
        Binding::read("gradients"),
        Binding::read("clock"),
        Binding::update("pi"),
        Binding::update("m"),
        Binding::update("w"),
    ],
    params: StepParams::LAYOUT,
    variants: step_variants,
};

params! {
    struct StepParams { quads: u32, columns: u32, sub_batches: u32, first: u32, row: u32 }
}

fn step_variants() -> Vec<Variant> {
    let storages = [StorageType::F32, StorageType::Bf16, StorageType::F16];
    let moments = [SecondMoment::Dual, SecondMoment::Gradient, SecondMoment::Off];
    storages.into_iter().flat_map(|storage| moments.map(|moment| step_variant(storage, moment))).collect()
}

fn step_variant(storage: StorageType, moment: SecondMoment) -> Variant {
    let variant = match storage {
        StorageType::Bf16 => Variant::new("bf16").import("badm/state_f32", "badm/state_bf16"),
        StorageType::F16 => Variant::new("f16").import("badm/state_f32", "badm/state_f16"),
        StorageType::F32 | StorageType::U32 => Variant::new("f32"),
    };
    variant.spec("MOMENT", moment as u32)
}

/// What a step works on, beside gradients.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// What all parameters share.
    pub clock: &'a Tensor,
    /// The first slot; that of sub-batch n is n further.
    pub first: u32,
    /// The row of `pi` and `m` that is the first sub-batch's.
    pub row: u32,
    /// Duals, a row for each sub-batch or more; f32, bf16 or f16.
    pub pi: &'a Tensor,
    /// Second moments, as `pi`; in f16 their roots.
    pub m: &'a Tensor,
    /// What second moments are made of.
    pub moment: SecondMoment,
    /// The parameters, one row.
    pub w: &'a Tensor,
}

/// One step of all sub-batches, where the clock lets it. `gradients` has a row for each, f32: those of its mean loss, all taken
/// at the same w.
///
/// # Errors
/// [`Error::Shape`] when shapes or storages disagree or a list is too short, and those of [`PlanBuilder::dispatch`].
pub fn step(plan: &mut PlanBuilder, gradients: &Tensor, args: &Step<'_>) -> Result<(), Error> {
    let sub_batches = gradients.shape().rows;
    expect_shape(&STEP, "gradients", gradients, Shape::new(sub_batches, args.w.shape().columns))?;
    dispatch_step(plan, &STEP, &[gradients], sub_batches, args)
}

/// `badm/step_apart`
pub static STEP_APART: Kernel = Kernel {
    name: "badm/step_apart",
    bindings: &[
        Binding::read("gradient_0"),
        Binding::read("gradient_1"),
        Binding::read("gradient_2"),
        Binding::read("clock"),
        Binding::update("pi"),
        Binding::update("m"),
        Binding::update("w"),
    ],
    params: StepParams::LAYOUT,
    variants: step_variants,
};

/// Sub-batches that a dispatch of [`step_apart`] takes.
const APART_AT_ONCE: usize = 3;

/// [`step`] by gradients in tensors of one row each: a dispatch for every three sub-batches, and for one
/// that is left.
///
/// # Errors
/// As [`step`].
pub fn step_apart(plan: &mut PlanBuilder, gradients: &[Tensor], args: &Step<'_>) -> Result<(), Error> {
    for gradient in gradients {
        expect_shape(&STEP_APART, "gradient", gradient, Shape::vector(args.w.shape().columns))?;
    }
    let mut done = 0;
    for some in gradients.chunks(APART_AT_ONCE) {
        let args = Step { first: args.first + done, row: args.row + done, ..*args };
        if let [one] = some {
            step(plan, one, &args)?;
        } else {
            // Where there are fewer, the last one is bound for the others too, and not read.
            let bound: [_; APART_AT_ONCE] = std::array::from_fn(|k| &some[k.min(some.len() - 1)]);
            dispatch_step(plan, &STEP_APART, &bound, some.len() as u32, &args)?;
        }
        done += some.len() as u32;
    }
    Ok(())
}

fn dispatch_step(
    plan: &mut PlanBuilder,
    kernel: &'static Kernel,
    gradients: &[&Tensor],
    sub_batches: u32,
    args: &Step<'_>,
) -> Result<(), Error> {
    let Step { clock, first, row, pi, m, moment, w } = *args;
    let refuse = |detail: String| Err(Error::Shape { kernel: kernel.name, detail });
    let columns = w.shape().columns;
    expect_shape(kernel, "w", w, Shape::vector(columns))?;
    expect_shape(kernel, "m", m, pi.shape())?;
    expect_shape(kernel, "pi", pi, Shape::new(pi.shape().rows, columns))?;
    expect_slots(kernel, clock, first, sub_batches)?;
    let rows = pi.shape().rows;
    if u64::from(rows) < u64::from(row) + u64::from(sub_batches) {
        return refuse(format!("{sub_batches} sub-batches from row {row} on but `pi` has {rows} rows"));
    }
    if pi.storage() != m.storage() || pi.storage() == StorageType::U32 {
        let (pi, m) = (pi.storage(), m.storage());
        return refuse(format!("`pi` is stored as {pi:?} and `m` as {m:?}; both must be F32, Bf16 or F16"));
    }
    let params = StepParams { quads: w.shape().quads(), columns, sub_batches, first, row };
    let dispatch = Dispatch {
        kernel,
        variant: step_variant(pi.storage(), moment),
        operands: &[gradients, &[clock, pi, m, w]].concat(),
        params: bytemuck::bytes_of(&params),
        groups: Groups::over(w.shape().quads().into(), WG_SIZE),
        flops: (15 * u64::from(sub_batches) + 1) * w.shape().elements(),
    };
    let read = 16 * u64::from(sub_batches) * u64::from(params.quads);
    let unread = gradients.iter().map(|gradients| gradients.bytes()).sum::<u64>() - read;
    // Rows of the state that are other sub-batches', neither read nor written.
    let others = u64::from(rows - sub_batches) * (pi.bytes() + m.bytes()) / u64::from(rows.max(1));
    plan.dispatch_in_part(dispatch, unread + 2 * others)
}

fn expect_slots(kernel: &'static Kernel, clock: &Tensor, first: u32, count: u32) -> Result<(), Error> {
    let words = u64::from(CLOCK_HEAD) + u64::from(SLOT_LENGTH) * (u64::from(first) + u64::from(count));
    expect_length(kernel, "clock", clock, words)
}
