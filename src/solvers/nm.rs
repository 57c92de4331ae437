//! N:M sparsity by ADMM (NxMTransformer: Holmes et al. 2021): weights are drawn towards a pattern while an optimizer trains
//! them, and lie in it at the end.
//!
//! # One round
//!
//! ```text
//! start    T = Π(W)                                                    W stays dense
//! step     an optimizer's step on the loss, with the penalty in it     every step
//!            pull       W += p (T − W),  p = γ/(1 + γ),  γ = κ/interval
//!            coupled    g += ρ (W − T) before the moments               the paper's
//!            decoupled  γ = learning rate · ρ
//! update   V = on mask ? W : W − T;  mask' = top of |V|;  T = mask' ? V : −c V       every `interval` steps
//! finish   W = Π(W)
//! ```
//!
//! T = Z − U is the only tensor beside W: Z is T where the weight is kept and −U is T elsewhere, and what is kept are the
//! largest |T| of each group, because Z keeps the largest of V = W + U and U is c ≤ 1 times the others. It costs 4 bytes for
//! each sparse parameter and none for a dense one: the sparse parts of a slab are a second, shorter slab, and a table of one
//! word for each 128 parameters says where in it a step finds them. Parts of a slab begin at multiples of 128, so that one
//! dispatch steps all parameters, dense ones read nothing but that word, and nothing is written that says "dense" in T.
//!
//! A coupled penalty goes through the optimizer's normalisation, so that how strong it is depends on batch, loss and layer; a
//! decoupled one is nearly nothing at usual learning rates. [`NmConfig::for_steps`] pulls by a rate of its own.
//!
//! The caller replays plans: that of a step `interval` times, that of an update, and so on; nothing waits. What an update
//! measured lies in [`NmAdmm::measures`] until the next one, for a [`Ring`](crate::engine::Ring) to copy and
//! [`Measures::from_words`] to read late.

use std::fmt;

use crate::Error;
use crate::engine::{Gpu, PlanBuilder, Shape, Slab, StorageType, Tensor};
use crate::kernels::first_order::{DENSE, Penalty as KernelPenalty, PenaltyKind, RUN};
pub use crate::kernels::nm::NmPattern;
use crate::kernels::nm::{self as kernel, Settings, Update};
use crate::kernels::optimizer::NOTHING_FOUND;
use crate::kernels::{elementwise, reduce};

/// How weights are drawn towards T.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Penalty {
    /// After each step, by γ = κ/interval whatever the learning rate.
    Pull {
        /// κ: over an interval a weight goes 1 − e^{−κ} of the way.
        kappa: f64,
    },
    /// By its gradient, which joins that of the loss before the moments.
    Coupled {
        /// ρ.
        rho: f64,
    },
    /// After each step, by γ = learning rate · ρ.
    Decoupled {
        /// ρ.
        rho: f64,
    },
}

/// Settings of an [`NmAdmm`].
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct NmConfig {
    /// How weights are drawn towards T.
    pub penalty: Penalty,
    /// Steps from one update to the next.
    pub interval: u32,
    /// Updates of a run.
    pub updates: u32,
    /// δ: what an update leaves of the dual; 1 is ADMM to the letter.
    pub leak: f64,
}

impl NmConfig {
    /// The settings to start with, for a run of so many steps: 40 updates, a pull of κ = 1, δ = 1/2. The learning rate should
    /// be that of masked fine-tuning, and fall linearly to 0 at the last step.
    ///
    /// # Errors
    /// [`Error::Setting`] for a run of fewer than 40 steps.
    pub fn for_steps(steps: u32) -> Result<Self, Error> {
        let config =
            Self { penalty: Penalty::Pull { kappa: 1.0 }, interval: steps / 40, updates: 40, leak: 0.5 };
        config.check().map(|()| config)
    }

    /// The paper's, for large pretrained networks: a coupled penalty (ρ from 4e-4 to 1e-2 in its table, 1e-3 most often),
    /// at least 80 steps from update to update, 10 updates, δ = 1; learning rates from 1e-5 to 1e-4. A run too short for
    /// those takes fewer updates, of which [`warnings`](Self::warnings) tells.
    ///
    /// # Errors
    /// [`Error::Setting`] for a run of fewer than 80 steps.
    pub fn paper(steps: u32, rho: f64) -> Result<Self, Error> {
        let interval = (steps / 10).max(80);
        let updates = steps / interval;
        if updates == 0 {
            let expected = "an update takes at least 80 steps";
            return Err(Error::Setting { setting: "steps", value: steps.to_string(), expected });
        }
        let config = Self { penalty: Penalty::Coupled { rho }, interval, updates, leak: 1.0 };
        config.check().map(|()| config)
    }

    /// Refuses settings outside their range.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first of them.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |setting, value: String, expected| Err(Error::Setting { setting, value, expected });
        for (setting, value) in [("interval", self.interval), ("updates", self.updates)] {
            if value == 0 {
                return refuse(
                    setting,
                    "0".into(),
                    "must be at least 1; a run must be long enough for its updates",
                );
            }
        }
        let (Penalty::Pull { kappa: weight }
        | Penalty::Coupled { rho: weight }
        | Penalty::Decoupled { rho: weight }) = self.penalty;
        if !(weight > 0.0 && (weight as f32).is_normal()) {
            return refuse("penalty", weight.to_string(), "must be above 0, and a normal number in f32");
        }
        if !(self.leak > 0.0 && self.leak <= 1.0) {
            return refuse("leak", self.leak.to_string(), "must be above 0 and at most 1");
        }
        Ok(())
    }

    /// What is likely to go wrong with these settings at a learning rate, as values: the library prints nothing.
    pub fn warnings(&self, learning_rate: f64) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if self.updates < 10 {
            warnings.push(Warning::FewUpdates(self.updates));
        }
        if let Penalty::Decoupled { rho } = self.penalty {
            let way = learning_rate * rho * f64::from(self.interval);
            if way < 0.1 {
                warnings.push(Warning::WeakPull(way));
            }
        }
        warnings
    }

    fn settings(&self) -> Settings {
        let (pull, rho) = match self.penalty {
            Penalty::Pull { kappa } => (kappa / f64::from(self.interval), 0.0),
            Penalty::Coupled { rho } | Penalty::Decoupled { rho } => (0.0, rho),
        };
        Settings { pull: pull as f32, rho: rho as f32, leak: self.leak as f32, left: 0.0 }
    }

    fn kind(&self) -> PenaltyKind {
        match self.penalty {
            Penalty::Coupled { .. } => PenaltyKind::Coupled,
            Penalty::Pull { .. } | Penalty::Decoupled { .. } => PenaltyKind::Pull,
        }
    }
}

/// What is allowed and unlikely to work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Warning {
    /// Fewer than 10 updates, the paper's least.
    FewUpdates(u32),
    /// Learning rate · ρ · interval below 0.1: weights hardly move from update to update.
    WeakPull(f64),
    /// Of a tensor, by its place in the list of those that are sparse: more than 5 % of the mask's bits changed in an update
    /// after the second.
    RestlessMask(usize, f64),
    /// At the end, more than 1 % of a tensor's norm is off the mask, and is about to be cut away.
    FarFromPattern(usize, f64),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FewUpdates(updates) => {
                write!(f, "{updates} updates; the masks settle in 10 or more, so train for more steps")
            }
            Self::WeakPull(way) => write!(
                f,
                "learning rate · ρ · interval = {way:.3} is below 0.1: weights hardly move; use pull, or a larger rho"
            ),
            Self::RestlessMask(tensor, share) => write!(
                f,
                "{:.0} % of the mask of sparse tensor {tensor} changed in one update: the dual winds up; use pull, or a \
                 larger rho",
                100.0 * share
            ),
            Self::FarFromPattern(tensor, share) => write!(
                f,
                "{:.1} % of the norm of sparse tensor {tensor} is off its mask at the end; use a stronger penalty, more \
                 steps, or masked fine-tuning afterwards",
                100.0 * share
            ),
        }
    }
}

/// What an update measured of one tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measure {
    /// ‖W − Z‖/‖W‖.
    pub primal: f64,
    /// ‖W off the new mask‖/‖W‖.
    pub off: f64,
    /// Bits of the mask that changed, of all its weights.
    pub flips: f64,
    /// ‖Z − Z before‖/‖Z‖.
    pub dual: f64,
    /// V that were infinite or NaN.
    pub not_finite: f64,
}

/// What an update measured, tensor by tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measures(pub Vec<Measure>);

impl Measures {
    /// Reads the words of [`NmAdmm::measures`], for tensors of so many weights each.
    pub fn from_words(words: &[f32], weights: &[u64]) -> Self {
        // NaN stays NaN.
        let ratio = |over: f32, under: f32| if under == 0.0 { 0.0 } else { f64::from(over / under).sqrt() };
        let measure = |(words, weights): (&[f32], &u64)| match *words {
            [primal, dual, w, off, z, flips, not_finite, _] => Measure {
                primal: ratio(primal, w),
                off: ratio(off, w),
                flips: f64::from(flips) / (*weights).max(1) as f64,
                dual: ratio(dual, z),
                not_finite: not_finite.into(),
            },
            _ => Measure::default(),
        };
        Self(words.chunks_exact(8).zip(weights).map(measure).collect())
    }

    /// What they tell after an update, counted from 1, of so many.
    pub fn warnings(&self, update: u32, updates: u32) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for (tensor, measure) in self.0.iter().enumerate() {
            if update > 2 && measure.flips > 0.05 {
                warnings.push(Warning::RestlessMask(tensor, measure.flips));
            }
            if update >= updates && measure.off > 0.01 {
                warnings.push(Warning::FarFromPattern(tensor, measure.off));
            }
        }
        warnings
    }
}

/// One tensor that is to become sparse.
#[derive(Debug)]
struct Part {
    /// In the slab.
    place: usize,
    pattern: NmPattern,
    w: Tensor,
    t: Tensor,
    mask: Tensor,
}

/// N:M ADMM over some parts of a slab of parameters.
#[derive(Debug)]
pub struct NmAdmm {
    gpu: Gpu,
    config: NmConfig,
    parts: Vec<Part>,
    settings: Tensor,
    places: Tensor,
    t: Tensor,
    /// The first weight that a projection found infinite or NaN, of each part.
    found: Vec<Tensor>,
    measures: Tensor,
    status: Tensor,
}

impl NmAdmm {
    /// Over the parts of `parameters` that `sparse` names, by their place in the slab, each with its pattern.
    ///
    /// # Errors
    /// Those of [`NmConfig::check`]; [`Error::Shape`] when a pattern does not divide its part's columns; [`Error::Plan`] when
    /// there is no such part, it is named twice, or the parameters are not a row of the slab.
    pub fn new(
        gpu: &Gpu,
        config: &NmConfig,
        slab: &Slab,
        parameters: &Tensor,
        sparse: &[(usize, NmPattern)],
    ) -> Result<Self, Error> {
        config.check()?;
        let refuse = |detail| Err(Error::Plan { plan: "nm".into(), detail });
        let shapes: Vec<_> = slab.shapes().collect();
        let mut places = vec![DENSE; slab.length().div_ceil(RUN) as usize];
        let found = sparse.iter().map(|(part, _)| shapes.get(*part).copied());
        let Some(chosen) = found.collect::<Option<Vec<Shape>>>() else {
            return refuse(format!("a pattern for a part that is not there; the slab has {}", shapes.len()));
        };
        let runs = Slab::new(&chosen)?;
        for (k, (part, _)) in sparse.iter().enumerate() {
            let (first, place) = (slab.start(*part) / RUN, runs.start(k) / RUN);
            for run in 0..chosen[k].stored().div_ceil(RUN.into()) as u32 {
                let slot = &mut places[(first + run) as usize];
                if *slot != DENSE {
                    return refuse(format!("part {part} has two patterns; give it one"));
                }
                *slot = place + run;
            }
        }
        let t = gpu.zeros(Shape::vector(runs.length().max(RUN)), StorageType::F32)?;
        let mut parts = Vec::new();
        for (k, (part, pattern)) in sparse.iter().enumerate() {
            let mask = gpu.zeros(pattern.mask(chosen[k])?, StorageType::U32)?;
            let (w, t) = (slab.part(parameters, 0, *part)?, runs.part(&t, 0, k)?);
            parts.push(Part { place: *part, pattern: *pattern, w, t, mask });
        }
        let one = || gpu.upload_u32(Shape::vector(1), &[NOTHING_FOUND]);
        Ok(Self {
            gpu: gpu.clone(),
            config: *config,
            settings: gpu.upload_u32(
                Shape::vector(kernel::SETTINGS_LENGTH),
                bytemuck::cast_slice(&[config.settings()]),
            )?,
            places: gpu.upload_u32(Shape::vector(places.len() as u32), &places)?,
            t,
            found: sparse.iter().map(|_| one()).collect::<Result<_, _>>()?,
            measures: gpu.zeros(Shape::new(2 * parts.len() as u32, 4), StorageType::F32)?,
            status: gpu.zeros(Shape::vector(4), StorageType::U32)?,
            parts,
        })
    }

    /// Adds what opens a run: T = Π(W). Weights stay as they are.
    ///
    /// # Errors
    /// Those of [`PlanBuilder::dispatch`].
    pub fn start(&self, plan: &mut PlanBuilder) -> Result<(), Error> {
        let mut parts = self.parts.iter().zip(&self.found);
        parts.try_for_each(|(Part { pattern, w, t, mask, .. }, found)| {
            kernel::project(plan, *pattern, w, t, mask, found)
        })
    }

    /// The penalty, for [`FirstOrder::record_sparse`](super::first_order::FirstOrder::record_sparse).
    pub fn penalty(&self) -> KernelPenalty<'_> {
        let Self { settings, places, t, .. } = self;
        KernelPenalty { kind: self.config.kind(), settings, places, t }
    }

    /// The mask in the place of a penalty, after [`finish`](Self::finish): weights that are 0 stay so, those among the kept
    /// too. For fine-tuning.
    pub fn masked(&self) -> KernelPenalty<'_> {
        KernelPenalty { kind: PenaltyKind::Masked, ..self.penalty() }
    }

    /// Adds an update: the dual step and the projection of every sparse tensor, and what they measured.
    ///
    /// # Errors
    /// Those of [`PlanBuilder::dispatch`].
    pub fn update(&self, plan: &mut PlanBuilder) -> Result<(), Error> {
        for (k, Part { pattern, w, t, .. }) in self.parts.iter().enumerate() {
            let count = kernel::partial_count(*pattern, w.shape())?;
            let (sums, counts) = (plan.temporary(Shape::new(count, 4)), plan.temporary(Shape::new(count, 4)));
            let update = Update { t, sums: &sums, counts: &counts };
            kernel::admm_update(plan, *pattern, w, &self.settings, update)?;
            for (slot, partials) in [&sums, &counts].into_iter().enumerate() {
                let slot = 2 * k as u32 + slot as u32;
                let (totals, status) = (&self.measures, &self.status);
                reduce::totals(
                    plan,
                    reduce::Totals { partials, count, totals, slot, status, origin: slot + 1 },
                )?;
            }
        }
        reduce::advance(plan, &self.status)
    }

    /// Adds what closes a run: W = Π(W), by the mask of W itself, and T = W for [`masked`](Self::masked) steps.
    ///
    /// # Errors
    /// Those of [`PlanBuilder::dispatch`].
    pub fn finish(&self, plan: &mut PlanBuilder) -> Result<(), Error> {
        self.start(plan)?;
        self.parts.iter().try_for_each(|Part { w, t, .. }| elementwise::copy(plan, t, w))
    }

    /// Adds Π(W) of every sparse tensor, written to its place in `row`, another row of the slab. W and T stay.
    ///
    /// # Errors
    /// Those of [`PlanBuilder::dispatch`].
    pub fn project_into(&self, plan: &mut PlanBuilder, slab: &Slab, row: &Tensor) -> Result<(), Error> {
        let mut parts = self.parts.iter().zip(&self.found);
        parts.try_for_each(|(Part { place, pattern, w, mask, .. }, found)| {
            kernel::project(plan, *pattern, w, &slab.part(row, 0, *place)?, mask, found)
        })
    }

    /// The settings.
    pub fn config(&self) -> &NmConfig {
        &self.config
    }

    /// What the last update measured, for a [`Ring`](crate::engine::Ring).
    pub fn measures(&self) -> &Tensor {
        &self.measures
    }

    /// Weights of each sparse tensor, in the order given.
    pub fn weights(&self) -> Vec<u64> {
        self.parts.iter().map(|part| part.w.shape().elements()).collect()
    }

    /// What the last update measured. Waits for the device.
    ///
    /// # Errors
    /// [`Error::DeviceFault`] when the device failed.
    pub fn read_measures(&self) -> Result<Measures, Error> {
        Ok(Measures::from_words(&self.gpu.read(&self.measures)?, &self.weights()))
    }

    /// The mask that the last projection left of each sparse tensor: see [`kernels::nm`](kernel).
    pub fn masks(&self) -> impl Iterator<Item = &Tensor> {
        self.parts.iter().map(|part| &part.mask)
    }

    /// Whether every weight that was projected was finite, and every sum of an update. Waits for the device.
    ///
    /// # Errors
    /// [`Error::NotFinite`] with the first tensor where one was not, and the step after which an update met it; 0 where a
    /// projection did; [`Error::DeviceFault`] when the device failed.
    pub fn check(&self) -> Result<(), Error> {
        let fault = |iteration, kernel: String| Error::NotFinite {
            solver: "nm",
            iteration,
            kernel,
            remedy: "use a smaller learning rate, or look at the loss",
        };
        for (k, found) in self.found.iter().enumerate() {
            let word = self.gpu.read_u32(found)?[0];
            if word != NOTHING_FOUND {
                return Err(fault(
                    0,
                    format!("{} in sparse tensor {k} near element {}", kernel::PROJECT.name, !word),
                ));
            }
        }
        let status = self.gpu.read_u32(&self.status)?;
        match status[0] {
            0 => Ok(()),
            origin => {
                let kernel = format!("{} in sparse tensor {}", kernel::ADMM_UPDATE.name, (origin - 1) / 2);
                Err(fault(status[1] * self.config.interval, kernel))
            }
        }
    }
}
