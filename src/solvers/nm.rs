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
//! c is δ while ρ stays, and δ times the old ρ over the new one where it changes, but never more than 1.
//!
//! T = Z − U is the only tensor beside W: Z is T where the weight is kept and −U is T elsewhere, and what is kept are the
//! largest |T| of each group, because Z keeps the largest of V = W + U and U is c ≤ 1 times the others. It costs 4 bytes for
//! each sparse parameter and none for a dense one: the sparse parts of a slab are a second, shorter slab, and a table of two
//! words for each 128 parameters says where in it a step finds them, and by which settings. Parts of a slab begin at
//! multiples of 128, so that one dispatch steps all parameters, dense ones read nothing but those words, and nothing is
//! written that says "dense" in T. Another table cuts the sparse parts into chunks, so that one dispatch updates all that have
//! groups of one width, and one more adds up what it measured.
//!
//! A coupled penalty goes through the optimizer's normalisation, so that how strong it is depends on batch, loss and layer; a
//! decoupled one is nearly nothing at usual learning rates. [`NmConfig::for_steps`] pulls by a rate of its own; and
//! [`Rho::Auto`] couples each tensor by what the optimizer divides its gradients by, which the device looks at before each
//! update.
//!
//! The caller replays plans: that of a step `interval` times, that of an update, and so on; nothing waits. What an update
//! measured lies in [`NmAdmm::measures`] until the next one, for a [`Ring`](crate::engine::Ring) to copy and
//! [`Measures::from_words`] to read late.

use std::fmt;

use super::first_order::{FirstOrder, Method};
use super::optimizer::{read_words, shapes, write_words};
use crate::Error;
use crate::engine::{Gpu, PlanBuilder, Shape, Slab, StorageType, Tensor};
use crate::kernels::elementwise;
use crate::kernels::first_order::{DENSE, Penalty as KernelPenalty, PenaltyKind, RUN};
pub use crate::kernels::nm::NmPattern;
use crate::kernels::nm::{self as kernel, Chunk, NEXT_RHO, Place, Settings, Update};
use crate::kernels::optimizer::NOTHING_FOUND;

/// Steps before an automatic ρ is chosen: before those, second moments tell more of their start than of gradients.
const FREE_STEPS: u32 = 20;

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
        rho: Rho,
    },
    /// After each step, by γ = learning rate · ρ.
    Decoupled {
        /// ρ.
        rho: f64,
    },
}

/// The ρ of a coupled penalty.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rho {
    /// For all tensors, until [`NmAdmm::set_rho`] changes it.
    Given(f64),
    /// Of each tensor its own, chosen on the device at each update: κ mean(√v̂)/(learning rate · interval), so that the
    /// penalty alone would draw a weight as far in an interval as [`Penalty::Pull`] does, whatever the scale of the loss.
    /// 0 until the update that follows the first 20 steps; for methods that divide gradients by a root √v̂, or by what is
    /// in its place in Adamax and Adadelta. Weak where few weights stay: loss and penalty share one step of the optimizer,
    /// whose length is bounded, and one first moment.
    Auto {
        /// κ.
        kappa: f64,
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
    /// δ: what an update leaves of the dual; 1 is ADMM to the letter, 0 a penalty without a dual.
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
        let config =
            Self { penalty: Penalty::Coupled { rho: Rho::Given(rho) }, interval, updates, leak: 1.0 };
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
        | Penalty::Coupled { rho: Rho::Given(weight) | Rho::Auto { kappa: weight } }
        | Penalty::Decoupled { rho: weight }) = self.penalty;
        if !(weight > 0.0 && (weight as f32).is_normal()) {
            return refuse("penalty", weight.to_string(), "must be above 0, and a normal number in f32");
        }
        if !(0.0..=1.0).contains(&self.leak) {
            return refuse("leak", self.leak.to_string(), "must be at least 0 and at most 1");
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

    /// Refuses a method whose steps cannot have this penalty.
    ///
    /// # Errors
    /// [`Error::Setting`] for [`Rho::Auto`] with a method that divides gradients by nothing.
    pub fn check_method(&self, method: Method) -> Result<(), Error> {
        if !self.is_auto() || kernel::has_divisors(method) {
            return Ok(());
        }
        let expected = "divides gradients by nothing that an automatic rho could be made of; give rho, use pull, or train \
                        by adam, say";
        Err(Error::Setting { setting: "method", value: method.name().into(), expected })
    }

    fn is_auto(&self) -> bool {
        matches!(self.penalty, Penalty::Coupled { rho: Rho::Auto { .. } })
    }

    /// Those of a tensor of so many weights at the start.
    fn settings(&self, weights: u64) -> Settings {
        let interval = f64::from(self.interval);
        let (pull, rho, gain) = match self.penalty {
            Penalty::Pull { kappa } => (kappa / interval, 0.0, 0.0),
            Penalty::Coupled { rho: Rho::Given(rho) } | Penalty::Decoupled { rho } => (0.0, rho, 0.0),
            Penalty::Coupled { rho: Rho::Auto { kappa } } => (0.0, 0.0, kappa / interval),
        };
        Settings {
            pull: pull as f32,
            rho: rho as f32,
            next_rho: rho as f32,
            leak: self.leak as f32,
            left: 0.0,
            gain: gain as f32,
            free_steps: FREE_STEPS,
            // A tensor of more cannot be bound.
            weights: weights as u32,
        }
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

impl Warning {
    /// What it says, where the caller has better names for sparse tensors than their places in the list.
    pub fn naming(&self, name: impl Fn(usize) -> String) -> String {
        match self {
            Self::FewUpdates(updates) => {
                format!("{updates} updates; the masks settle in 10 or more, so train for more steps")
            }
            Self::WeakPull(way) => format!(
                "learning rate · ρ · interval = {way:.3} is below 0.1: weights hardly move; use pull, or a larger rho"
            ),
            Self::RestlessMask(tensor, share) => format!(
                "{:.0} % of the mask of {} changed in one update: the dual winds up; use pull, or a larger rho",
                100.0 * share,
                name(*tensor)
            ),
            Self::FarFromPattern(tensor, share) => format!(
                "{:.1} % of the norm of {} is off its mask at the end; use a stronger penalty, more steps, or masked \
                 fine-tuning afterwards",
                100.0 * share,
                name(*tensor)
            ),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.naming(sparse_tensor))
    }
}

fn sparse_tensor(place: usize) -> String {
    format!("sparse tensor {place}")
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
    /// ρ from that update on; 0 of [`Penalty::Pull`], and until an automatic one is chosen.
    pub rho: f64,
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
            [primal, dual, w, off, z, flips, not_finite, rho] => Measure {
                primal: ratio(primal, w),
                off: ratio(off, w),
                flips: f64::from(flips) / (*weights).max(1) as f64,
                dual: ratio(dual, z),
                not_finite: not_finite.into(),
                rho: rho.into(),
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

/// How a pass over the sparse tensors is cut into workgroups, in tables on the device.
#[derive(Debug)]
struct Cut {
    tables: Vec<Table>,
    /// The chunks of each tensor, first and past the last, u32.
    ranges: Tensor,
    /// Of all tables.
    chunks: u32,
}

/// The chunks of one dispatch.
#[derive(Debug)]
struct Table {
    /// What they have in common.
    key: u32,
    /// The number of the first of them.
    first: u32,
    chunks: Tensor,
}

impl Cut {
    /// In one table for each key that some of the tensors have.
    fn new(
        gpu: &Gpu,
        places: &[Place],
        key: impl Fn(&Place) -> u32,
        chunks: impl Fn(&Place) -> Result<Vec<Chunk>, Error>,
    ) -> Result<Self, Error> {
        let mut keys: Vec<u32> = places.iter().map(&key).collect();
        keys.sort_unstable();
        keys.dedup();
        let (mut tables, mut ranges, mut end) = (Vec::new(), vec![[0; 2]; places.len()], 0);
        for of_table in keys {
            let (mut table, first) = (Vec::new(), end);
            for (place, range) in places.iter().zip(&mut ranges).filter(|(place, _)| key(place) == of_table) {
                table.extend(chunks(place)?);
                *range = [end, first + table.len() as u32];
                end = range[1];
            }
            tables.push(Table { key: of_table, first, chunks: kernel::upload_chunks(gpu, &table)? });
        }
        let ranges: &[u32] = ranges.as_flattened();
        let ranges = gpu.upload_u32(Shape::vector(ranges.len() as u32), ranges)?;
        Ok(Self { tables, ranges, chunks: end })
    }
}

/// N:M ADMM over some parts of a slab of parameters.
#[derive(Debug)]
pub struct NmAdmm {
    gpu: Gpu,
    config: NmConfig,
    slab: Slab,
    /// All of them, dense ones too.
    parameters: Tensor,
    parts: Vec<Part>,
    settings: Tensor,
    places: Tensor,
    t: Tensor,
    /// Of an update, by width of group.
    update: Cut,
    /// Of the look at what the optimizer divides by, where ρ is automatic.
    divisors: Option<Cut>,
    /// The first weight that a projection found infinite or NaN, of each part.
    found: Vec<Tensor>,
    measures: Tensor,
    status: Tensor,
}

impl NmAdmm {
    /// Over the parts of `parameters` that `sparse` names, by their place in the slab, each with its pattern;
    /// [`Rule::choose`](crate::prune::Rule::choose) finds them by name.
    ///
    /// # Errors
    /// Those of [`NmConfig::check`]; [`Error::Shape`] when a pattern does not divide its part's columns; [`Error::Plan`] when
    /// there is no such part, none is named, one is named twice, or the parameters are not a row of the slab.
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
        let found = sparse.iter().map(|(part, _)| shapes.get(*part).copied());
        let Some(chosen) = found.collect::<Option<Vec<Shape>>>() else {
            return refuse(format!("a pattern for a part that is not there; the slab has {}", shapes.len()));
        };
        if chosen.is_empty() {
            return refuse("no part is to become sparse".into());
        }
        let mut named = sparse.iter().enumerate();
        if let Some((_, (part, _))) = named.find(|(k, (part, _))| sparse[..*k].iter().any(|it| it.0 == *part))
        {
            return refuse(format!("part {part} has two patterns; give it one"));
        }
        let runs = Slab::new(&chosen)?;
        let t = gpu.zeros(Shape::vector(runs.length()), StorageType::F32)?;
        let (mut parts, mut places) = (Vec::new(), Vec::new());
        for (k, (part, pattern)) in sparse.iter().enumerate() {
            let mask = gpu.zeros(pattern.mask(chosen[k])?, StorageType::U32)?;
            let (own_w, own_t) = (slab.part(parameters, 0, *part)?, runs.part(&t, 0, k)?);
            parts.push(Part { place: *part, pattern: *pattern, w: own_w, t: own_t, mask });
            let (w, t, entry) = (slab.start(*part), runs.start(k), k as u32);
            places.push(Place { pattern: *pattern, shape: chosen[k], w, t, entry });
        }
        let runs = run_table(slab.length(), &places);
        let settings: Vec<_> = chosen.iter().map(|shape| config.settings(shape.elements())).collect();
        let tensors = parts.len() as u32;
        let divisors = || Cut::new(gpu, &places, |_| 0, Place::divisor_chunks);
        let one = || gpu.upload_u32(Shape::vector(1), &[NOTHING_FOUND]);
        Ok(Self {
            gpu: gpu.clone(),
            config: *config,
            slab: slab.clone(),
            parameters: parameters.clone(),
            settings: gpu
                .upload_u32(Shape::new(tensors, kernel::SETTINGS_LENGTH), bytemuck::cast_slice(&settings))?,
            places: gpu.upload_u32(Shape::vector(runs.len() as u32), &runs)?,
            t,
            update: Cut::new(gpu, &places, |place| place.pattern.group(), Place::update_chunks)?,
            divisors: config.is_auto().then(divisors).transpose()?,
            found: sparse.iter().map(|_| one()).collect::<Result<_, _>>()?,
            measures: gpu.zeros(Shape::new(2 * tensors, 4), StorageType::F32)?,
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

    /// Adds an update: the dual step and the projection of every sparse tensor, and what they measured. `method` is what
    /// takes the steps; an automatic ρ is made of its state.
    ///
    /// All tensors with groups of one width take one dispatch, what they measured one more, and an automatic ρ two.
    ///
    /// # Errors
    /// Those of [`NmConfig::check_method`]; [`Error::Shape`] when the method is one over other parameters; those of
    /// [`PlanBuilder::dispatch`].
    pub fn update(&self, plan: &mut PlanBuilder, method: &FirstOrder) -> Result<(), Error> {
        if let Some(cut) = &self.divisors {
            self.choose_rho(plan, cut, method)?;
        }
        let Self { settings, measures, status, t, update, .. } = self;
        let partials = plan.temporary(Shape::new(2 * update.chunks, 4));
        for Table { key, first, chunks } in &update.tables {
            let (w, partials) = (&self.parameters, &partials);
            let args = Update { group: *key, w, chunks, settings, t, partials, slot: *first };
            kernel::admm_update(plan, args)?;
        }
        let (partials, ranges) = (&partials, &update.ranges);
        kernel::measure(plan, kernel::Measure { partials, ranges, measures, settings, status })
    }

    fn choose_rho(&self, plan: &mut PlanBuilder, cut: &Cut, method: &FirstOrder) -> Result<(), Error> {
        let rule = method.config().method;
        self.config.check_method(rule)?;
        let expected = self.parameters.shape();
        let parts = method.parameters();
        if parts.iter().map(Tensor::shape).ne([expected]) {
            let detail = format!("steps are on parameters of {} but an update on {expected}", shapes(parts));
            return Err(Error::Shape { kernel: kernel::DIVISORS.name, detail });
        }
        let sums = plan.temporary(Shape::vector(cut.chunks));
        // A method that divides has a state, and the tensors are in one table.
        for (state, table) in method.tensors().into_iter().zip(&cut.tables) {
            kernel::divisors(plan, rule, state, &table.chunks, method.clock(), &sums)?;
        }
        kernel::auto_rho(plan, &sums, &cut.ranges, method.clock(), &self.settings)
    }

    /// Changes the ρ of a coupled or decoupled penalty from the next update on. Nothing has to be recorded again, and
    /// nothing is lost: that update leaves δ times the old ρ over the new one of the scaled dual, but no more than all.
    ///
    /// # Errors
    /// [`Error::Setting`] when it is not above 0, or the penalty has no ρ that is given.
    pub fn set_rho(&mut self, rho: f64) -> Result<(), Error> {
        let penalty = match self.config.penalty {
            Penalty::Coupled { rho: Rho::Given(_) } => Penalty::Coupled { rho: Rho::Given(rho) },
            Penalty::Decoupled { .. } => Penalty::Decoupled { rho },
            Penalty::Pull { .. } | Penalty::Coupled { rho: Rho::Auto { .. } } => {
                let expected = "is for a coupled or decoupled penalty whose rho is given";
                return Err(Error::Setting { setting: "rho", value: rho.to_string(), expected });
            }
        };
        let config = NmConfig { penalty, ..self.config };
        config.check()?;
        for tensor in 0..self.parts.len() as u32 {
            let word = tensor * kernel::SETTINGS_LENGTH + NEXT_RHO;
            self.gpu.write_words(&self.settings, word, &[rho as f32])?;
        }
        self.config = config;
        Ok(())
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

    /// Has what is recorded from now on work on parameters elsewhere, in the same slab.
    ///
    /// # Errors
    /// [`Error::Plan`] when they are not a row of it.
    pub fn move_to(&mut self, parameters: &Tensor) -> Result<(), Error> {
        let moved = self.parts.iter().map(|part| self.slab.part(parameters, 0, part.place));
        let moved = moved.collect::<Result<Vec<_>, _>>()?;
        self.parts.iter_mut().zip(moved).for_each(|(part, w)| part.w = w);
        self.parameters = parameters.clone();
        Ok(())
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

    /// T of each sparse tensor, in the order given.
    pub fn t(&self) -> impl Iterator<Item = &Tensor> {
        self.parts.iter().map(|part| &part.t)
    }

    /// The mask that the last projection left of each sparse tensor: see [`kernels::nm`](kernel).
    pub fn masks(&self) -> impl Iterator<Item = &Tensor> {
        self.parts.iter().map(|part| &part.mask)
    }

    /// The state, every bit, beside the parameters: the words of T, of each tensor's penalties, and of what was found not
    /// finite. Waits for the device.
    ///
    /// # Errors
    /// [`Error::DeviceFault`] when the device failed.
    pub fn snapshot(&self) -> Result<Vec<Vec<u32>>, Error> {
        read_words(&self.gpu, &self.tensors())
    }

    /// Goes on from a state that [`snapshot`](Self::snapshot) took.
    ///
    /// # Errors
    /// [`Error::Plan`] when it is of other tensors.
    pub fn restore(&self, snapshot: &[Vec<u32>]) -> Result<(), Error> {
        write_words(&self.gpu, &self.tensors(), snapshot)
    }

    /// What changes from step to step and is not formed afresh.
    fn tensors(&self) -> Vec<&Tensor> {
        [&self.t, &self.settings, &self.status].into_iter().chain(&self.found).collect()
    }

    /// Whether every weight that was projected was finite, and every sum of an update. Waits for the device.
    ///
    /// # Errors
    /// [`Error::NotFinite`] with the first tensor where one was not, and the step after which an update met it; 0 where a
    /// projection did; [`Error::DeviceFault`] when the device failed.
    pub fn check(&self) -> Result<(), Error> {
        self.check_naming(sparse_tensor)
    }

    /// The same, with better names for tensors than their places in the list.
    pub(super) fn check_naming(&self, name: impl Fn(usize) -> String) -> Result<(), Error> {
        let fault = |iteration, kernel: String| Error::NotFinite {
            solver: "nm",
            iteration,
            kernel,
            remedy: "use a smaller learning rate, or look at the loss",
        };
        for (k, found) in self.found.iter().enumerate() {
            let word = self.gpu.read_u32(found)?[0];
            if word != NOTHING_FOUND {
                let place = format!("{} in {} near element {}", kernel::PROJECT.name, name(k), !word);
                return Err(fault(0, place));
            }
        }
        let status = self.gpu.read_u32(&self.status)?;
        match status[0] {
            0 => Ok(()),
            origin => {
                let place = format!("{} in {}", kernel::ADMM_UPDATE.name, name(origin as usize - 1));
                Err(fault(status[1] * self.config.interval, place))
            }
        }
    }
}

/// Where a step finds T and the settings of its parameters: two words for each run of them.
fn run_table(length: u32, places: &[Place]) -> Vec<u32> {
    let mut table = vec![[DENSE, 0]; length.div_ceil(RUN) as usize];
    for Place { shape, w, t, entry, .. } in places {
        for run in 0..shape.stored().div_ceil(RUN.into()) as u32 {
            table[(w / RUN + run) as usize] = [t / RUN + run, *entry];
        }
    }
    table.into_flattened()
}
