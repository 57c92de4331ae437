//! BADM (Wang, Zhou, Li 2024): a batch is cut into sub-batches, each with a dual and a second moment of its own, and one
//! step moves the parameters by all of them.
//!
//! # One step
//!
//! Batch b is cut into sub-batches n, whose gradients g_n (of the sub-batch's mean loss) are all taken at the same w. With
//! c_n the sub-batch's share of the batch, r = ρ/(ρ+σ) and s the slot of sub-batch n:
//!
//! ```text
//! π' = r π − (1 − r) g_n                                        of slot s: minus a running average of the gradient
//! m' = max(β m + (1 − β) π'², 1e-30),   k = 1/(1 − β^t_s) or 1  t_s counts the steps that used the slot
//! w += Σ_n c_n ((π' − π)/σ + π'/(σ (√(k m') + ε)))
//! ```
//!
//! These are the paper's equations 5, 4b, 6 and 7 with the local parameters w_n eliminated, which f32 could not resolve:
//! π is their difference from w. Gradients may not be averaged first, because the normalisation is each sub-batch's own.
//!
//! A step is two or three dispatches whatever the number of tensors and sub-batches S: the test of the gradients
//! ([`Guard`], 4 S bytes a parameter more), one lane that advances the clock, and the step itself, which reads S gradients,
//! reads and writes S duals and S second moments, and reads and writes w once: 20 S + 8 bytes a parameter in f32, 12 S + 8
//! in 16 bits.
//!
//! # Slots
//!
//! [`Slots::Shared`] keeps one slot for each sub-batch index n, used by all batches: 2 S copies of the model. A batch with
//! fewer sub-batches, as a short last one has, uses the first of them. [`Slots::PerBatch`] is the paper to the letter, one
//! slot for each sub-batch of each batch, so that batches must stay as they are from epoch to epoch, and the state is
//! 2 · batches · S copies.
//!
//! # Storage
//!
//! Duals and second moments may be kept in 16 bits: arithmetic is f32, and what is stored is rounded up or down by a
//! counter-based generator (of seed, step, slot and place) so that its mean is right. To the nearest, m in bf16 would stop
//! decaying once (1 − β) m is less than half its unit, which at β = 0.999 is always. π' − π above is the difference of what
//! is stored, so that over T steps the first term adds up to (π_T − π_0)/σ exactly whatever was rounded away, and the
//! parameters are off by one rounding of π over σ and not by T of them. f16 stores √m, as m would leave its range, and
//! takes gradients below 32768.
//!
//! # Examples
//!
//! ```no_run
//! use dualstep::engine::{Gpu, GpuOptions, PlanBuilder, Shape, Slab, StorageType};
//! use dualstep::solvers::badm::{Badm, BadmConfig, SubBatches};
//!
//! fn main() -> Result<(), dualstep::Error> {
//!     let gpu = Gpu::open(&GpuOptions::default())?;
//!     // A weight and a bias, and where they lie in a row of parameters.
//!     let slab = Slab::new(&[Shape::new(10, 784), Shape::vector(10)])?;
//!     let w = gpu.zeros(slab.shape(1), StorageType::F32)?;
//!     let gradients = gpu.zeros(slab.shape(4), StorageType::F32)?;
//!     // What computes the gradients of sub-batch 2 writes them here.
//!     let (_weight, _bias) = (slab.part(&gradients, 2, 0)?, slab.part(&gradients, 2, 1)?);
//!
//!     let config = BadmConfig::robust(4, 1e-3);
//!     for warning in config.warnings() {
//!         eprintln!("{warning}");
//!     }
//!     let badm = Badm::new(&gpu, &config, &w)?;
//!     let mut plan = PlanBuilder::new(&gpu, "step");
//!     badm.record(&mut plan, &SubBatches::even(&gradients))?;
//!     let plan = plan.finish()?;
//!     plan.run()?; // submits, and does not wait
//!     badm.check()?; // waits; an error if a gradient was not finite
//!     Ok(())
//! }
//! ```
//!
//! An app with an encoder and buffers of its own wraps them ([`Gpu::from_wgpu`], [`Gpu::wrap`]), records as above, and
//! replays the plan into its own pass by [`Plan::record`](crate::engine::Plan::record): no submit, no wait and no upload
//! of ours (`examples/embed_wgpu.rs`). State may lie in its buffers, too ([`Badm::with_state`]). Weights and gradients that lie
//! in buffers of their own are given as lists of tensors ([`optimizer`](super::optimizer)).

use std::fmt;

use super::optimizer::{
    Control, Guard, Schedule, Snapshot, Tally, expect_flat, expect_same, expect_state, fill, length, log,
};
use crate::Error;
use crate::engine::{Gpu, PlanBuilder, Shape, StorageType, Tensor};
pub use crate::kernels::badm::SecondMoment;
use crate::kernels::badm::{self as kernel, Settings, clock_length};

/// Gradients from here on are refused in f32 and bf16: their squares would not be finite.
const LIMIT: f32 = 9.223_372e18; // 2^63
/// And in f16, where duals, averages of gradients, would not fit.
const F16_LIMIT: f32 = 32_768.0;

/// Which duals belong to which sub-batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slots {
    /// One for each index n, shared by all batches, which may be drawn anew each epoch.
    #[default]
    Shared,
    /// One for each n of each batch, the paper's; batches must stay as they are.
    PerBatch {
        /// Batches of an epoch.
        batches: u32,
    },
}

/// What duals and second moments are stored as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateStorage {
    /// Singles.
    #[default]
    F32,
    /// Upper halves of singles, rounded stochastically.
    Bf16,
    /// Halves, rounded stochastically; of second moments their roots.
    F16,
}

impl StateStorage {
    /// As tensors have it.
    pub fn storage(self) -> StorageType {
        match self {
            Self::F32 => StorageType::F32,
            Self::Bf16 => StorageType::Bf16,
            Self::F16 => StorageType::F16,
        }
    }
}

/// Settings of a [`Badm`].
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct BadmConfig {
    /// S: sub-batches of a full batch.
    pub sub_batches: u32,
    /// ρ, the weight of staying close to w.
    pub rho: f64,
    /// σ, of the duals; 1/σ is what a normalised step is as long as.
    pub sigma: f64,
    /// β, of second moments.
    pub beta: f64,
    /// ε, added to the root of a second moment.
    pub epsilon: f64,
    /// What second moments start at.
    pub initial_moment: f64,
    /// Whether they are corrected for starting at zero.
    pub bias_correction: bool,
    /// What they are made of.
    pub second_moment: SecondMoment,
    /// Which duals belong to which sub-batch.
    pub slots: Slots,
    /// What the state is stored as.
    pub storage: StateStorage,
    /// Of stochastic rounding.
    pub seed: u32,
    /// What 1/σ is multiplied by, step by step.
    pub schedule: Schedule,
    /// What is done about gradients that are not finite.
    pub guard: Guard,
    /// Most bytes that the state may take.
    pub memory_limit: u64,
}

impl BadmConfig {
    /// The settings to start with: ρ = σ = 0.5/`learning_rate`, shared slots, β = 0.999 with bias correction, ε = 1e-8.
    /// A step is as long as Adam's at 1/(ρ+σ) = `learning_rate` to begin with, and up to 1/σ, twice that, later.
    pub fn robust(sub_batches: u32, learning_rate: f64) -> Self {
        Self {
            sub_batches,
            rho: 0.5 / learning_rate,
            sigma: 0.5 / learning_rate,
            beta: 0.999,
            epsilon: 1e-8,
            initial_moment: 0.0,
            bias_correction: true,
            second_moment: SecondMoment::Dual,
            slots: Slots::Shared,
            storage: StateStorage::F32,
            seed: 0,
            schedule: Schedule::Constant,
            guard: Guard::Refuse,
            memory_limit: 4 << 30,
        }
    }

    /// The paper to the letter: a slot for each sub-batch of each of `batches`, β = 0.99, m from 1e-8 without correction,
    /// ε = 1e-12; ρ and σ from its tables. The paper leaves β, the start of m and π, and ε open.
    pub fn paper(sub_batches: u32, batches: u32, rho: f64, sigma: f64) -> Self {
        Self {
            rho,
            sigma,
            beta: 0.99,
            epsilon: 1e-12,
            slots: Slots::PerBatch { batches },
            ..Self::robust(sub_batches, 1.0)
        }
        .fast_start()
    }

    /// Without bias correction and with m from 1e-8: long first steps.
    #[must_use]
    pub fn fast_start(self) -> Self {
        Self { bias_correction: false, initial_moment: 1e-8, ..self }
    }

    /// Batches that have slots of their own.
    fn batches(&self) -> u32 {
        match self.slots {
            Slots::Shared => 1,
            Slots::PerBatch { batches } => batches,
        }
    }

    /// Tensors of state, the duals and the second moments of each batch that has slots of its own, and the shape that each
    /// has for so many parameters: a row for each sub-batch.
    pub fn state(&self, parameters: u32) -> (usize, Shape) {
        (2 * self.batches() as usize, Shape::new(self.sub_batches, parameters))
    }

    /// Bytes of duals and second moments for so many parameters.
    pub fn state_bytes(&self, parameters: u32) -> u64 {
        let (tensors, shape) = self.state(parameters);
        // Settings may ask for more than a u64 holds.
        shape.stored().saturating_mul(self.storage.storage().bytes()).saturating_mul(tensors as u64)
    }

    /// Refuses settings outside their range.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first of them.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |setting, value: f64, expected| {
            Err(Error::Setting { setting, value: value.to_string(), expected })
        };
        if self.sub_batches == 0 {
            return refuse("sub_batches", 0.0, "a batch needs at least one");
        }
        if self.batches() == 0 {
            return refuse("batches", 0.0, "an epoch needs at least one");
        }
        for (setting, value) in [("rho", self.rho), ("sigma", self.sigma)] {
            if !(value > 0.0 && (value as f32).is_normal() && (1.0 / value as f32).is_normal()) {
                return refuse(setting, value, "must be above 0, and finite in f32 as its inverse must");
            }
        }
        if !(self.beta > 0.0 && self.beta < 1.0) {
            return refuse("beta", self.beta, "must be above 0 and below 1");
        }
        for (setting, value) in [("epsilon", self.epsilon), ("initial_moment", self.initial_moment)] {
            if !(value >= 0.0 && value.is_finite()) {
                return refuse(setting, value, "must be finite and not negative");
            }
        }
        self.schedule.check()
    }

    /// What is likely to go wrong with these settings, as values: the library prints nothing.
    pub fn warnings(&self) -> Vec<Warning> {
        let Self { rho, sigma, beta, .. } = *self;
        if self.second_moment == SecondMoment::Off {
            return Vec::new();
        }
        let rest = (1.0 - beta).sqrt();
        let first_step = 1.0 / (sigma * rest);
        let gain = (rho + sigma) / (sigma * sigma * rest);
        let keep = rho / (rho + sigma);
        let all = [
            (!self.bias_correction && first_step > 0.03, Warning::LongFirstStep(first_step)),
            (gain > 0.5, Warning::SmallSigma(gain)),
            (keep > beta.sqrt(), Warning::SlowDuals(keep, beta.sqrt())),
        ];
        all.into_iter().filter(|(applies, _)| *applies).map(|(_, warning)| warning).collect()
    }

    fn settings(&self) -> Settings {
        let Self { rho, sigma, beta, .. } = *self;
        Settings {
            reach: (1.0 / sigma) as f32,
            keep: (rho / (rho + sigma)) as f32,
            turn: (sigma / (rho + sigma)) as f32,
            blend: (1.0 - beta) as f32,
            log_beta: log(beta),
            is_corrected: self.bias_correction.into(),
            epsilon: self.epsilon as f32,
            seed: self.seed,
            schedule: self.schedule.words(),
        }
    }
}

/// Settings that are allowed and unlikely to work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Warning {
    /// 1/(σ√(1−β)) above 0.03 without bias correction: that is how far the first step moves every parameter.
    LongFirstStep(f64),
    /// (ρ+σ)/(σ²√(1−β)) above 0.5.
    SmallSigma(f64),
    /// r = ρ/(ρ+σ), the first value, above √β, the second: duals change more slowly than what they are divided by.
    SlowDuals(f64, f64),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LongFirstStep(step) => write!(
                f,
                "without bias correction the first step moves every parameter by 1/(σ√(1−β)) = {step:.3}; \
                 above 0.03 use bias_correction or a larger sigma"
            ),
            Self::SmallSigma(gain) => {
                write!(f, "(ρ+σ)/(σ²√(1−β)) = {gain:.2} is above 0.5; use a larger sigma")
            }
            Self::SlowDuals(keep, root) => write!(
                f,
                "r = ρ/(ρ+σ) = {keep:.4} is above √β = {root:.4}: duals change more slowly than their second moments; \
                 use a smaller rho or a larger beta"
            ),
        }
    }
}

/// The gradients of a batch, as they will be when a recorded step is replayed.
#[derive(Clone, Debug)]
pub struct SubBatches<'a> {
    /// Of each part of the parameters a row for each sub-batch, at most as many as there are slots; f32. The rows may be in
    /// several tensors, one after the other: three of one row each take a dispatch, and so does each of several rows.
    pub gradients: Vec<&'a [Tensor]>,
    /// The share of each sub-batch in the batch, above 0 and 1 together; `None` for even ones.
    pub weights: Option<&'a [f32]>,
    /// Which batch of the epoch, from 0; any for shared slots.
    pub batch: u32,
}

impl<'a> SubBatches<'a> {
    /// Sub-batches of one size, of any batch, with all gradients in one tensor.
    pub fn even(gradients: &'a Tensor) -> Self {
        Self { gradients: vec![gradients.as_ref()], weights: None, batch: 0 }
    }
}

/// Duals and second moments of one batch's slots, a row each.
#[derive(Clone, Debug)]
struct Rows {
    pi: Tensor,
    m: Tensor,
}

/// BADM and its state on the device.
#[derive(Debug)]
pub struct Badm {
    config: BadmConfig,
    parameters: Vec<Tensor>,
    /// The state of each part of the parameters: a pair for each batch that has slots of its own.
    rows: Vec<Vec<Rows>>,
    control: Control,
}

impl Badm {
    /// BADM at its first step, over one row of parameters, or over several as parts of one.
    ///
    /// # Errors
    /// Those of [`BadmConfig::check`]; [`Error::Shape`] when the parameters are not rows of f32; [`Error::Limit`] when
    /// the state exceeds [`BadmConfig::memory_limit`], or a batch's rows exceed one binding of the device.
    pub fn new(
        gpu: &Gpu,
        config: &BadmConfig,
        parameters: &(impl AsRef<[Tensor]> + ?Sized),
    ) -> Result<Self, Error> {
        let parameters = parameters.as_ref();
        let mut state = Vec::new();
        for (tensors, shape) in check_state(gpu, config, parameters)? {
            for _ in 0..tensors {
                state.push(gpu.zeros(shape, config.storage.storage())?);
            }
        }
        Self::at_start(gpu, config, parameters, &state)
    }

    /// BADM at its first step, with its state in tensors of the caller's: for each part as many as [`BadmConfig::state`]
    /// says, in the order of [`tensors`](Self::tensors). What they hold is replaced, by uploads.
    ///
    /// # Errors
    /// Those of [`new`](Self::new) and of [`Gpu::write`]; [`Error::Shape`] when the tensors are not what the state is.
    pub fn with_state(
        gpu: &Gpu,
        config: &BadmConfig,
        parameters: &(impl AsRef<[Tensor]> + ?Sized),
        state: &[Tensor],
    ) -> Result<Self, Error> {
        let parameters = parameters.as_ref();
        let expected = check_state(gpu, config, parameters)?;
        let storage = config.storage.storage();
        let expected = expected.into_iter().flat_map(|(tensors, shape)| vec![(shape, storage); tensors]);
        expect_state(kernel::STEP.name, state, &expected.collect::<Vec<_>>())?;
        state.iter().try_for_each(|tensor| fill(gpu, tensor, 0.0))?;
        Self::at_start(gpu, config, parameters, state)
    }

    /// Over a state of zeros.
    fn at_start(
        gpu: &Gpu,
        config: &BadmConfig,
        parameters: &[Tensor],
        state: &[Tensor],
    ) -> Result<Self, Error> {
        let start = config.initial_moment as f32;
        let start = if config.storage == StateStorage::F16 { start.sqrt() } else { start };
        let pairs = state.chunks_exact(2).map(|pair| Rows { pi: pair[0].clone(), m: pair[1].clone() });
        let pairs: Vec<Rows> = pairs.collect();
        if start > 0.0 {
            pairs.iter().try_for_each(|pair| fill(gpu, &pair.m, start))?;
        }
        let batches = config.batches();
        let clock = vec![0; clock_length(config.sub_batches * batches) as usize];
        let control = Control::new(gpu, &config.settings(), &clock)?;
        let rows = pairs.chunks(batches as usize).map(<[Rows]>::to_vec).collect();
        Ok(Self { config: *config, parameters: parameters.to_vec(), rows, control })
    }

    /// Adds one step to a plan. Batches that differ in the number of sub-batches or in weights, and all batches where each
    /// has its own slots, need a plan each.
    ///
    /// # Errors
    /// [`Error::Shape`] when the gradients are not rows of as many parameters in as many parts, or more rows than slots;
    /// [`Error::Setting`] when there is no such batch, or weights are not one for each row, above 0, and 1 together to 1e-5;
    /// and those of [`PlanBuilder::dispatch`].
    pub fn record(&self, plan: &mut PlanBuilder, batch: &SubBatches<'_>) -> Result<(), Error> {
        let Control { settings, clock, found, .. } = &self.control;
        let count = self.check_gradients(&batch.gradients)?;
        let place = self.place_of(batch.batch)?;
        let even = vec![1.0 / count as f32; count as usize];
        let weights = batch.weights.unwrap_or(&even);
        check_weights(weights, count)?;
        let weights = self.control.gpu.upload(Shape::vector(count), weights)?;
        let limit = if self.config.storage == StateStorage::F16 { F16_LIMIT } else { LIMIT };
        self.control.test(plan, batch.gradients.iter().copied(), self.config.guard, limit)?;
        let first = place * self.config.sub_batches;
        kernel::clock(plan, settings, &weights, found, clock, (first, count))?;
        let moment = self.config.second_moment;
        for ((w, rows), gradients) in self.parameters.iter().zip(&self.rows).zip(&batch.gradients) {
            let Rows { pi, m } = &rows[place as usize];
            let mut row = 0;
            // Tensors of one row take a step together, others one each.
            let is_row = |gradients: &Tensor| gradients.shape().rows == 1;
            for some in gradients.chunk_by(|before, next| is_row(before) && is_row(next)) {
                let args = kernel::Step { clock, first: first + row, row, pi, m, moment, w };
                match some {
                    [gradients] => kernel::step(plan, gradients, &args)?,
                    several => kernel::step_apart(plan, several, &args)?,
                }
                row += some.iter().map(|gradients| gradients.shape().rows).sum::<u32>();
            }
        }
        Ok(())
    }

    /// Which slots are a batch's.
    fn place_of(&self, batch: u32) -> Result<u32, Error> {
        match self.config.slots {
            Slots::Shared => Ok(0),
            Slots::PerBatch { batches } if batch < batches => Ok(batch),
            Slots::PerBatch { batches } => {
                let value = format!("{batch} of {batches}");
                Err(Error::Setting { setting: "batch", value, expected: "batches are counted from 0" })
            }
        }
    }

    /// How many sub-batches there are gradients of.
    fn check_gradients(&self, gradients: &[&[Tensor]]) -> Result<u32, Error> {
        let refuse = |detail| Err(Error::Shape { kernel: kernel::STEP.name, detail });
        let (parts, slots) = (self.parameters.len(), self.config.sub_batches);
        if gradients.len() != parts {
            return refuse(format!("gradients of {} parts but parameters in {parts}", gradients.len()));
        }
        let count = |part: &[Tensor]| part.iter().map(|tensor| u64::from(tensor.shape().rows)).sum::<u64>();
        let rows = count(gradients[0]);
        for (part, w) in gradients.iter().zip(&self.parameters) {
            let parameters = w.shape().columns;
            if let Some(tensor) = part.iter().find(|tensor| tensor.shape().columns != parameters) {
                let columns = tensor.shape().columns;
                return refuse(format!(
                    "gradients have rows of {columns} elements but there are {parameters} parameters"
                ));
            }
            if let Some(tensor) = part.iter().find(|tensor| tensor.storage() != StorageType::F32) {
                return refuse(format!("gradients are stored as {:?} but must be F32", tensor.storage()));
            }
            if count(part) != rows {
                return refuse(format!(
                    "gradients of {} sub-batches in one part, {rows} in another",
                    count(part)
                ));
            }
        }
        match u32::try_from(rows) {
            Ok(rows) if rows > 0 && rows <= slots => Ok(rows),
            _ => refuse(format!(
                "gradients have {rows} rows but must have one for each sub-batch, 1 to {slots}"
            )),
        }
    }

    /// Has steps that are recorded from now on change parameters elsewhere, as many as those so far in as many parts.
    ///
    /// # Errors
    /// [`Error::Shape`] when they are not.
    pub fn move_to(&mut self, parameters: &(impl AsRef<[Tensor]> + ?Sized)) -> Result<(), Error> {
        expect_same(kernel::STEP.name, &self.parameters, parameters.as_ref())?;
        self.parameters = parameters.as_ref().to_vec();
        Ok(())
    }

    /// Changes ρ and σ, before anything submitted later. Nothing has to be recorded again.
    ///
    /// # Errors
    /// [`Error::Setting`] when one is not above 0.
    pub fn set_penalties(&mut self, rho: f64, sigma: f64) -> Result<(), Error> {
        let config = BadmConfig { rho, sigma, ..self.config };
        config.check()?;
        self.control.set(&config.settings())?;
        self.config = config;
        Ok(())
    }

    /// The settings.
    pub fn config(&self) -> &BadmConfig {
        &self.config
    }

    /// The parameters, part by part.
    pub fn parameters(&self) -> &[Tensor] {
        &self.parameters
    }

    /// The state: of each part, of each batch that has slots of its own, the duals, then the second moments, a row for each
    /// sub-batch.
    pub fn tensors(&self) -> Vec<&Tensor> {
        self.rows.iter().flatten().flat_map(|rows| [&rows.pi, &rows.m]).collect()
    }

    /// The clock, for a [`Ring`](crate::engine::Ring) to copy and [`Tally::from_words`] to read, late and without waiting.
    pub fn clock(&self) -> &Tensor {
        &self.control.clock
    }

    /// What was counted so far. Waits for the device.
    ///
    /// # Errors
    /// [`Error::DeviceFault`] when the device failed.
    pub fn tally(&self) -> Result<Tally, Error> {
        self.control.tally(length(&self.parameters))
    }

    /// Whether every step was taken. Waits for the device.
    ///
    /// # Errors
    /// [`Error::NotFinite`] with the first that was refused; [`Error::DeviceFault`] when the device failed.
    pub fn check(&self) -> Result<(), Error> {
        self.control.check("badm", length(&self.parameters))
    }

    /// The state, every bit. Waits for the device.
    ///
    /// # Errors
    /// [`Error::DeviceFault`] when the device failed.
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        self.control.snapshot(&self.tensors())
    }

    /// Goes on from a state that [`snapshot`](Self::snapshot) took.
    ///
    /// # Errors
    /// [`Error::Plan`] when it is of other slots or another number of parameters.
    pub fn restore(&self, snapshot: &Snapshot) -> Result<(), Error> {
        self.control.restore(snapshot, &self.tensors())
    }
}

/// How many tensors of which shape the state of each part takes, once settings, parameters and limits allow it.
fn check_state(gpu: &Gpu, config: &BadmConfig, parameters: &[Tensor]) -> Result<Vec<(usize, Shape)>, Error> {
    config.check()?;
    expect_flat(kernel::STEP.name, parameters)?;
    let bytes = |part: &Tensor| config.state_bytes(part.shape().columns);
    let (needed, batches) = (parameters.iter().map(bytes).fold(0, u64::saturating_add), config.batches());
    if needed > config.memory_limit {
        let copies = 2 * u128::from(batches) * u128::from(config.sub_batches);
        return Err(Error::Limit {
            what: format!("the state of BADM, {copies} copies of the model,"),
            needed: format!("{} MiB", needed.div_ceil(1 << 20)),
            allowed: format!("{} MiB by memory_limit", config.memory_limit >> 20),
            remedy: "share the slots, store the state in 16 bits, use fewer sub-batches, or raise the limit",
        });
    }
    let states: Vec<_> = parameters.iter().map(|part| config.state(part.shape().columns)).collect();
    states.iter().try_for_each(|(_, shape)| gpu.check_shape(*shape, StorageType::F32))?;
    Ok(states)
}

fn check_weights(weights: &[f32], count: u32) -> Result<(), Error> {
    let refuse = |value: String, expected| Err(Error::Setting { setting: "weights", value, expected });
    if weights.len() != count as usize {
        return refuse(format!("{} for {count} sub-batches", weights.len()), "one for each sub-batch");
    }
    if let Some(weight) = weights.iter().find(|weight| !(**weight > 0.0 && weight.is_finite())) {
        return refuse(weight.to_string(), "each must be above 0");
    }
    let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    if (sum - 1.0).abs() > 1e-5 {
        return refuse(format!("{sum} together"), "must add up to 1");
    }
    Ok(())
}
