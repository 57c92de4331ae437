//! Optimizers over a row of parameters, and steps of theirs that were recorded once and are run many times.

use std::ffi::c_void;
use std::ptr;
use std::sync::{Arc, Mutex};

use dualstep::engine::{Batch, Gpu, Plan, PlanBuilder};
use dualstep::solvers::badm::{Badm, BadmConfig, SecondMoment, Slots, StateStorage, SubBatches};
use dualstep::solvers::first_order::{FirstOrder, FirstOrderConfig, Method};
use dualstep::solvers::nm::NmAdmm;
use dualstep::solvers::optimizer::{Guard, Schedule, Snapshot, Tally};

use crate::error::{Fault, dualstep_status, guarded, with_pointers};
use crate::handle::{self, Object, exclusive};
use crate::pointer::{Code, Pointers, Versioned, codes, end};
use crate::tensor::{dualstep_storage, dualstep_tensor};

/// How an optimizer's steps become shorter. Refused steps do not count.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dualstep_decay {
    /// They do not.
    DUALSTEP_DECAY_NONE = 0,
    /// Evenly, to 0 after `decay_steps` steps.
    DUALSTEP_DECAY_LINEAR = 1,
    /// Along half a cosine, to 0 after `decay_steps` steps.
    DUALSTEP_DECAY_COSINE = 2,
    /// By `decay_factor` after every `decay_steps` steps.
    DUALSTEP_DECAY_STEPPED = 3,
}

codes!(dualstep_decay:
    DUALSTEP_DECAY_NONE, DUALSTEP_DECAY_LINEAR, DUALSTEP_DECAY_COSINE, DUALSTEP_DECAY_STEPPED
);

/// Which duals of BADM belong to which sub-batch.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dualstep_slots {
    /// One for each number of a sub-batch, shared by all batches, which may be drawn anew each epoch.
    DUALSTEP_SLOTS_SHARED = 0,
    /// One for each sub-batch of each of `batches` batches, which must stay as they are: the paper's.
    DUALSTEP_SLOTS_PER_BATCH = 1,
}

codes!(dualstep_slots: DUALSTEP_SLOTS_SHARED, DUALSTEP_SLOTS_PER_BATCH);

/// What second moments of BADM are made of.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dualstep_second_moment {
    /// Squares of duals: the paper's.
    DUALSTEP_SECOND_MOMENT_DUAL = 0,
    /// Squares of gradients.
    DUALSTEP_SECOND_MOMENT_GRADIENT = 1,
    /// There are none, and duals are not divided by anything.
    DUALSTEP_SECOND_MOMENT_OFF = 2,
}

codes!(dualstep_second_moment:
    DUALSTEP_SECOND_MOMENT_DUAL, DUALSTEP_SECOND_MOMENT_GRADIENT, DUALSTEP_SECOND_MOMENT_OFF
);

/// A first-order method.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dualstep_method {
    /// Gradient descent.
    DUALSTEP_SGD = 0,
    /// Heavy ball.
    DUALSTEP_MOMENTUM = 1,
    /// Nesterov's momentum.
    DUALSTEP_NESTEROV = 2,
    /// AdaGrad.
    DUALSTEP_ADAGRAD = 3,
    /// Adadelta.
    DUALSTEP_ADADELTA = 4,
    /// RMSProp.
    DUALSTEP_RMSPROP = 5,
    /// Adam.
    DUALSTEP_ADAM = 6,
    /// Adam whose weight decay does not pass through its normalisation.
    DUALSTEP_ADAMW = 7,
    /// NAdam.
    DUALSTEP_NADAM = 8,
    /// Adamax.
    DUALSTEP_ADAMAX = 9,
}

codes!(dualstep_method:
    DUALSTEP_SGD, DUALSTEP_MOMENTUM, DUALSTEP_NESTEROV, DUALSTEP_ADAGRAD, DUALSTEP_ADADELTA,
    DUALSTEP_RMSPROP, DUALSTEP_ADAM, DUALSTEP_ADAMW, DUALSTEP_NADAM, DUALSTEP_ADAMAX
);

/// In the order of their codes.
const METHODS: [Method; 10] = Method::ALL;

/// Settings of BADM (Wang, Zhou, Li 2024).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dualstep_badm_settings {
    /// sizeof(dualstep_badm_settings).
    pub size: usize,
    /// S: sub-batches of a full batch.
    pub sub_batches: u32,
    /// Which duals belong to which sub-batch.
    pub slots: Code<dualstep_slots>,
    /// Batches of an epoch, for DUALSTEP_SLOTS_PER_BATCH.
    pub batches: u32,
    /// What second moments are made of.
    pub second_moment: Code<dualstep_second_moment>,
    /// The weight of staying close to the parameters.
    pub rho: f64,
    /// Of the duals; 1/sigma is what a normalised step is as long as.
    pub sigma: f64,
    /// How slowly second moments change.
    pub beta: f64,
    /// Added to the root of a second moment.
    pub epsilon: f64,
    /// What second moments start at.
    pub initial_moment: f64,
    /// Not 0: they are corrected for starting at zero.
    pub bias_correction: u32,
    /// What duals and second moments are stored as: DUALSTEP_F32 or, rounded stochastically, DUALSTEP_BF16 or DUALSTEP_F16.
    pub storage: Code<dualstep_storage>,
    /// Of stochastic rounding.
    pub seed: u32,
    /// How 1/sigma becomes smaller.
    pub decay: Code<dualstep_decay>,
    /// Steps of the decay.
    pub decay_steps: u32,
    /// Not 0: gradients are not tested for NaN and infinities, which saves 4 bytes an element.
    pub trust_gradients: u32,
    /// Factor of DUALSTEP_DECAY_STEPPED.
    pub decay_factor: f64,
    /// The most bytes that duals and second moments may take.
    pub memory_limit: u64,
}

// SAFETY: `repr(C)`, `size` is first, and any bytes are numbers.
unsafe impl Versioned for dualstep_badm_settings {
    const NAME: &'static str = "dualstep_badm_settings";
    const LEAST: usize = end!(memory_limit: u64);
    const END: usize = end!(memory_limit: u64);

    fn standard() -> Self {
        Self::from(&BadmConfig::robust(1, 1e-3))
    }
}

impl From<&BadmConfig> for dualstep_badm_settings {
    fn from(config: &BadmConfig) -> Self {
        let (slots, batches) = match config.slots {
            Slots::Shared => (dualstep_slots::DUALSTEP_SLOTS_SHARED, 1),
            Slots::PerBatch { batches } => (dualstep_slots::DUALSTEP_SLOTS_PER_BATCH, batches),
        };
        let second_moment = match config.second_moment {
            SecondMoment::Dual => dualstep_second_moment::DUALSTEP_SECOND_MOMENT_DUAL,
            SecondMoment::Gradient => dualstep_second_moment::DUALSTEP_SECOND_MOMENT_GRADIENT,
            SecondMoment::Off => dualstep_second_moment::DUALSTEP_SECOND_MOMENT_OFF,
        };
        let storage = match config.storage {
            StateStorage::F32 => dualstep_storage::DUALSTEP_F32,
            StateStorage::Bf16 => dualstep_storage::DUALSTEP_BF16,
            StateStorage::F16 => dualstep_storage::DUALSTEP_F16,
        };
        let (decay, decay_steps, decay_factor) = decay_of(config.schedule);
        Self {
            size: size_of::<Self>(),
            sub_batches: config.sub_batches,
            slots: slots.into(),
            batches,
            second_moment: second_moment.into(),
            rho: config.rho,
            sigma: config.sigma,
            beta: config.beta,
            epsilon: config.epsilon,
            initial_moment: config.initial_moment,
            bias_correction: config.bias_correction.into(),
            storage: storage.into(),
            seed: config.seed,
            decay: decay.into(),
            decay_steps,
            trust_gradients: u32::from(config.guard == Guard::Trust),
            decay_factor,
            memory_limit: config.memory_limit,
        }
    }
}

impl dualstep_badm_settings {
    fn config(&self) -> Result<BadmConfig, Fault> {
        Ok(BadmConfig {
            sub_batches: self.sub_batches,
            rho: self.rho,
            sigma: self.sigma,
            beta: self.beta,
            epsilon: self.epsilon,
            initial_moment: self.initial_moment,
            bias_correction: self.bias_correction != 0,
            second_moment: match self.second_moment.get("second_moment")? {
                dualstep_second_moment::DUALSTEP_SECOND_MOMENT_DUAL => SecondMoment::Dual,
                dualstep_second_moment::DUALSTEP_SECOND_MOMENT_GRADIENT => SecondMoment::Gradient,
                dualstep_second_moment::DUALSTEP_SECOND_MOMENT_OFF => SecondMoment::Off,
            },
            slots: match self.slots.get("slots")? {
                dualstep_slots::DUALSTEP_SLOTS_SHARED => Slots::Shared,
                dualstep_slots::DUALSTEP_SLOTS_PER_BATCH => Slots::PerBatch { batches: self.batches },
            },
            storage: match self.storage.get("storage")? {
                dualstep_storage::DUALSTEP_F32 => StateStorage::F32,
                dualstep_storage::DUALSTEP_BF16 => StateStorage::Bf16,
                dualstep_storage::DUALSTEP_F16 => StateStorage::F16,
                dualstep_storage::DUALSTEP_U32 => {
                    return Err(Fault::argument("storage = DUALSTEP_U32; a state is stored as floats"));
                }
            },
            seed: self.seed,
            schedule: schedule(self.decay, self.decay_steps, self.decay_factor)?,
            guard: guard(self.trust_gradients),
            memory_limit: self.memory_limit,
        })
    }
}

/// Settings of a first-order method, by PyTorch's conventions. A method looks at those that name it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dualstep_first_order_settings {
    /// sizeof(dualstep_first_order_settings).
    pub size: usize,
    /// The method.
    pub method: Code<dualstep_method>,
    /// Not 0: gradients are not tested for NaN and infinities, which saves 4 bytes an element.
    pub trust_gradients: u32,
    /// The learning rate, before it decays.
    pub learning_rate: f64,
    /// Momentum of MOMENTUM and NESTEROV; beta 1 of ADAM, ADAMW, NADAM and ADAMAX.
    pub beta_1: f64,
    /// Beta 2 of ADAM, ADAMW, NADAM and ADAMAX; alpha of RMSPROP; rho of ADADELTA.
    pub beta_2: f64,
    /// Epsilon of all but SGD, MOMENTUM and NESTEROV.
    pub epsilon: f64,
    /// ADAMW shrinks parameters by this times the learning rate; others add this times the parameters to the gradient.
    pub weight_decay: f64,
    /// What ADAGRAD's sums of squares start at.
    pub initial: f64,
    /// Of NADAM's momentum.
    pub momentum_decay: f64,
    /// How the learning rate becomes smaller.
    pub decay: Code<dualstep_decay>,
    /// Steps of the decay.
    pub decay_steps: u32,
    /// Factor of DUALSTEP_DECAY_STEPPED.
    pub decay_factor: f64,
}

// SAFETY: `repr(C)`, `size` is first, and any bytes are numbers.
unsafe impl Versioned for dualstep_first_order_settings {
    const NAME: &'static str = "dualstep_first_order_settings";
    const LEAST: usize = end!(decay_factor: f64);
    const END: usize = end!(decay_factor: f64);

    fn standard() -> Self {
        Self::of(dualstep_method::DUALSTEP_ADAM)
    }
}

impl dualstep_first_order_settings {
    fn of(method: dualstep_method) -> Self {
        let config = FirstOrderConfig::pytorch(METHODS[method as usize]);
        let (decay, decay_steps, decay_factor) = decay_of(config.schedule);
        Self {
            size: size_of::<Self>(),
            method: method.into(),
            trust_gradients: u32::from(config.guard == Guard::Trust),
            learning_rate: config.learning_rate,
            beta_1: config.beta_1,
            beta_2: config.beta_2,
            epsilon: config.epsilon,
            weight_decay: config.weight_decay,
            initial: config.initial,
            momentum_decay: config.momentum_decay,
            decay: decay.into(),
            decay_steps,
            decay_factor,
        }
    }

    fn config(&self) -> Result<FirstOrderConfig, Fault> {
        Ok(FirstOrderConfig {
            method: METHODS[self.method.get("method")? as usize],
            learning_rate: self.learning_rate,
            beta_1: self.beta_1,
            beta_2: self.beta_2,
            epsilon: self.epsilon,
            weight_decay: self.weight_decay,
            initial: self.initial,
            momentum_decay: self.momentum_decay,
            schedule: schedule(self.decay, self.decay_steps, self.decay_factor)?,
            guard: guard(self.trust_gradients),
        })
    }
}

fn guard(trust: u32) -> Guard {
    if trust == 0 { Guard::Refuse } else { Guard::Trust }
}

fn schedule(decay: Code<dualstep_decay>, steps: u32, factor: f64) -> Result<Schedule, Fault> {
    Ok(match decay.get("decay")? {
        dualstep_decay::DUALSTEP_DECAY_NONE => Schedule::Constant,
        dualstep_decay::DUALSTEP_DECAY_LINEAR => Schedule::Linear { steps },
        dualstep_decay::DUALSTEP_DECAY_COSINE => Schedule::Cosine { steps },
        dualstep_decay::DUALSTEP_DECAY_STEPPED => Schedule::Stepped { every: steps, factor },
    })
}

fn decay_of(schedule: Schedule) -> (dualstep_decay, u32, f64) {
    match schedule {
        Schedule::Constant => (dualstep_decay::DUALSTEP_DECAY_NONE, 0, 1.0),
        Schedule::Linear { steps } => (dualstep_decay::DUALSTEP_DECAY_LINEAR, steps, 1.0),
        Schedule::Cosine { steps } => (dualstep_decay::DUALSTEP_DECAY_COSINE, steps, 1.0),
        Schedule::Stepped { every, factor } => (dualstep_decay::DUALSTEP_DECAY_STEPPED, every, factor),
    }
}

/// What an optimizer's steps came to so far.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct dualstep_tally {
    /// sizeof(dualstep_tally).
    pub size: usize,
    /// Steps taken.
    pub steps: u32,
    /// Steps refused, because a gradient held NaN, an infinity or a number whose square is none of f32. They changed nothing.
    pub refused: u32,
    /// The first that was refused, of those taken and refused, counted from 1; 0 if none was.
    pub first_refused: u32,
    /// Its row of the gradients, hence the sub-batch.
    pub row: u32,
    /// The first parameter in that row whose gradient is unusable.
    pub parameter: u64,
}

// SAFETY: `repr(C)`, `size` is first, and any bytes are numbers.
unsafe impl Versioned for dualstep_tally {
    const NAME: &'static str = "dualstep_tally";
    const LEAST: usize = end!(parameter: u64);
    const END: usize = end!(parameter: u64);

    fn standard() -> Self {
        Self { size: size_of::<Self>(), ..Self::default() }
    }
}

/// What one run of a recorded step does, exactly.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct dualstep_counts {
    /// sizeof(dualstep_counts).
    pub size: usize,
    /// Kernels dispatched.
    pub dispatches: u64,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes read and written.
    pub bytes: u64,
}

// SAFETY: `repr(C)`, `size` is first, and any bytes are numbers.
unsafe impl Versioned for dualstep_counts {
    const NAME: &'static str = "dualstep_counts";
    const LEAST: usize = end!(bytes: u64);
    const END: usize = end!(bytes: u64);

    fn standard() -> Self {
        Self { size: size_of::<Self>(), ..Self::default() }
    }
}

const NOT_FIRST_ORDER: &str = "the optimizer is BADM; this call takes a first-order method";

/// The rule of an optimizer, with its state on the device.
#[derive(Debug)]
pub(crate) enum Rule {
    Badm(Badm),
    FirstOrder(FirstOrder),
}

impl Rule {
    pub fn first_order(&self) -> Result<&FirstOrder, Fault> {
        match self {
            Self::FirstOrder(method) => Ok(method),
            Self::Badm(_) => Err(Fault::argument(NOT_FIRST_ORDER)),
        }
    }

    fn first_order_mut(&mut self) -> Result<&mut FirstOrder, Fault> {
        match self {
            Self::FirstOrder(method) => Ok(method),
            Self::Badm(_) => Err(Fault::argument(NOT_FIRST_ORDER)),
        }
    }

    fn badm_mut(&mut self) -> Result<&mut Badm, Fault> {
        match self {
            Self::Badm(badm) => Ok(badm),
            Self::FirstOrder(_) => {
                Err(Fault::argument("the optimizer is a first-order method; this call takes BADM"))
            }
        }
    }

    fn snapshot(&self) -> Result<Snapshot, Fault> {
        Ok(match self {
            Self::Badm(badm) => badm.snapshot()?,
            Self::FirstOrder(method) => method.snapshot()?,
        })
    }

    /// Words of a snapshot's clock, and of each of its tensors.
    fn lengths(&self) -> Vec<u32> {
        let (clock, tensors) = match self {
            Self::Badm(badm) => (badm.clock(), badm.tensors()),
            Self::FirstOrder(method) => (method.clock(), method.tensors()),
        };
        let tensors = tensors.into_iter().map(|tensor| (tensor.bytes() / 4) as u32);
        std::iter::once(clock.shape().columns).chain(tensors).collect()
    }

    fn restore(&self, words: &[u32]) -> Result<(), Fault> {
        let lengths = self.lengths();
        let expected = lengths.iter().map(|length| *length as usize).sum::<usize>();
        if words.len() != expected {
            let message =
                format!("a state of {} bytes for an optimizer of {}", 4 * words.len(), 4 * expected);
            return Err(Fault::argument(message));
        }
        let mut rest = words;
        let mut parts = lengths.iter().map(|length| {
            let (part, others) = rest.split_at(*length as usize);
            rest = others;
            part.to_vec()
        });
        let snapshot = Snapshot { clock: parts.next().unwrap_or_default(), tensors: parts.collect() };
        match self {
            Self::Badm(badm) => badm.restore(&snapshot)?,
            Self::FirstOrder(method) => method.restore(&snapshot)?,
        }
        Ok(())
    }
}

/// BADM or a first-order method, over one row of parameters. One call at a time may use it or a step of its.
#[derive(Debug)]
pub struct dualstep_optimizer {
    pub(crate) gpu: Gpu,
    pub(crate) rule: Arc<Mutex<Rule>>,
}

impl Object for dualstep_optimizer {
    const KIND: &'static str = "dualstep_optimizer";
}

impl dualstep_optimizer {
    fn new(gpu: &Gpu, rule: Rule) -> Self {
        Self { gpu: gpu.clone(), rule: Arc::new(Mutex::new(rule)) }
    }
}

/// Whose turn a step's run takes.
#[derive(Clone, Debug)]
pub(crate) enum Owner {
    Optimizer(Arc<Mutex<Rule>>),
    Nm(Arc<Mutex<NmAdmm>>),
}

/// A step that was recorded: kernels with all that they work on. One call at a time may use it or what it is a step of.
#[derive(Debug)]
pub struct dualstep_step {
    gpu: Gpu,
    plan: Plan,
    owner: Owner,
}

impl Object for dualstep_step {
    const KIND: &'static str = "dualstep_step";
}

impl dualstep_step {
    /// A step that is done being recorded.
    pub(crate) fn finish(gpu: &Gpu, plan: PlanBuilder, owner: Owner) -> Result<Self, Fault> {
        Ok(Self { gpu: gpu.clone(), plan: plan.finish()?, owner })
    }

    fn run(&self, times: u32) -> Result<(), Fault> {
        let replay = || {
            let mut batch = Batch::new(&self.gpu);
            batch.replay(&self.plan, times)?;
            batch.submit()
        };
        match &self.owner {
            Owner::Optimizer(rule) => {
                let _turn = exclusive(dualstep_step::KIND, rule)?;
                Ok(replay()?)
            }
            Owner::Nm(nm) => {
                let _turn = exclusive(dualstep_step::KIND, nm)?;
                Ok(replay()?)
            }
        }
    }
}

/// Sets settings of BADM to those to start with for so many sub-batches: a step is as long as Adam's at that learning rate
/// to begin with, and up to twice that later. Set `size` first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_badm_settings_default(
    settings: *mut dualstep_badm_settings,
    sub_batches: u32,
    learning_rate: f64,
) -> dualstep_status {
    let config = BadmConfig::robust(sub_batches, learning_rate);
    // SAFETY: C's promises.
    unsafe { with_pointers(|pointers| pointers.fill(settings, &(&config).into())) }
}

/// Sets settings of BADM to the paper's, with a slot for each sub-batch of each of `batches`; rho and sigma are those of its
/// tables. Set `size` first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_badm_settings_paper(
    settings: *mut dualstep_badm_settings,
    sub_batches: u32,
    batches: u32,
    rho: f64,
    sigma: f64,
) -> dualstep_status {
    let config = BadmConfig::paper(sub_batches, batches, rho, sigma);
    // SAFETY: C's promises.
    unsafe { with_pointers(|pointers| pointers.fill(settings, &(&config).into())) }
}

/// Sets settings of a first-order method to PyTorch's defaults. Set `size` first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_first_order_settings_default(
    settings: *mut dualstep_first_order_settings,
    method: Code<dualstep_method>,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        pointers.fill(settings, &dualstep_first_order_settings::of(method.get("method")?))
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// BADM at its first step. `parameters` are one row of DUALSTEP_F32; they are changed in place.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_badm_new(
    settings: *const dualstep_badm_settings,
    parameters: *const dualstep_tensor,
    optimizer: *mut *mut dualstep_optimizer,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let place = pointers.result("optimizer", optimizer, ptr::null_mut())?;
        let parameters = handle::get(parameters)?;
        let config = pointers.settings(settings)?.config()?;
        let badm = Badm::new(&parameters.gpu, &config, &parameters.tensor)?;
        place.put(handle::give(dualstep_optimizer::new(&parameters.gpu, Rule::Badm(badm))));
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// A first-order method at its first step. `parameters` are one row of DUALSTEP_F32; they are changed in place. With NULL
/// for settings it is Adam.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_first_order_new(
    settings: *const dualstep_first_order_settings,
    parameters: *const dualstep_tensor,
    optimizer: *mut *mut dualstep_optimizer,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let place = pointers.result("optimizer", optimizer, ptr::null_mut())?;
        let parameters = handle::get(parameters)?;
        let config = pointers.settings(settings)?.config()?;
        let method = FirstOrder::new(&parameters.gpu, &config, &parameters.tensor)?;
        place.put(handle::give(dualstep_optimizer::new(&parameters.gpu, Rule::FirstOrder(method))));
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Records a step of BADM on gradients that will be in `gradients` when it is run: a row for each sub-batch, of the mean
/// loss over the sub-batch, all taken at the same parameters; as many rows as there are sub-batches, or fewer for a batch
/// that is short. `shares` are those of the sub-batches in the batch, above 0 and 1 together, as many as rows; NULL for even
/// ones. `batch` is the number of the batch from 0, where each has slots of its own, else any.
///
/// Batches that differ in rows or shares take a step each, as do all batches with slots of their own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_badm_record(
    optimizer: *const dualstep_optimizer,
    gradients: *const dualstep_tensor,
    shares: *const f32,
    batch: u32,
    step: *mut *mut dualstep_step,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let place = pointers.result("step", step, ptr::null_mut())?;
        let (optimizer, gradients) = (handle::get(optimizer)?, handle::get(gradients)?);
        let gradients = &gradients.tensor;
        let weights = match shares.is_null() {
            true => None,
            false => Some(pointers.slice("shares", shares, gradients.shape().rows as usize)?),
        };
        let mut plan = PlanBuilder::new(&optimizer.gpu, "badm");
        let batch = SubBatches { gradients: vec![gradients.as_ref()], weights, batch };
        exclusive(dualstep_optimizer::KIND, &optimizer.rule)?.badm_mut()?.record(&mut plan, &batch)?;
        let owner = Owner::Optimizer(Arc::clone(&optimizer.rule));
        place.put(handle::give(dualstep_step::finish(&optimizer.gpu, plan, owner)?));
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Records a step of a first-order method on the gradient that will be in `gradient` when it is run: that of the mean loss,
/// in the shape of the parameters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_first_order_record(
    optimizer: *const dualstep_optimizer,
    gradient: *const dualstep_tensor,
    step: *mut *mut dualstep_step,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let place = pointers.result("step", step, ptr::null_mut())?;
        let (optimizer, gradient) = (handle::get(optimizer)?, handle::get(gradient)?);
        let mut plan = PlanBuilder::new(&optimizer.gpu, "first order");
        let rule = exclusive(dualstep_optimizer::KIND, &optimizer.rule)?;
        rule.first_order()?.record(&mut plan, &gradient.tensor)?;
        let owner = Owner::Optimizer(Arc::clone(&optimizer.rule));
        place.put(handle::give(dualstep_step::finish(&optimizer.gpu, plan, owner)?));
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Changes rho and sigma of BADM, before anything that is submitted later. Recorded steps stay good.
#[unsafe(no_mangle)]
pub extern "C" fn dualstep_badm_set_penalties(
    optimizer: *const dualstep_optimizer,
    rho: f64,
    sigma: f64,
) -> dualstep_status {
    guarded(|| {
        let optimizer = handle::get(optimizer)?;
        let mut rule = exclusive(dualstep_optimizer::KIND, &optimizer.rule)?;
        Ok(rule.badm_mut()?.set_penalties(rho, sigma)?)
    })
}

/// Changes the learning rate of a first-order method, before anything that is submitted later. Recorded steps stay good.
#[unsafe(no_mangle)]
pub extern "C" fn dualstep_first_order_set_learning_rate(
    optimizer: *const dualstep_optimizer,
    learning_rate: f64,
) -> dualstep_status {
    guarded(|| {
        let optimizer = handle::get(optimizer)?;
        let mut rule = exclusive(dualstep_optimizer::KIND, &optimizer.rule)?;
        Ok(rule.first_order_mut()?.set_learning_rate(learning_rate)?)
    })
}

/// Fails with DUALSTEP_ERROR_NOT_FINITE if a step was refused, and says where. Waits for the device.
#[unsafe(no_mangle)]
pub extern "C" fn dualstep_optimizer_check(optimizer: *const dualstep_optimizer) -> dualstep_status {
    guarded(|| {
        let optimizer = handle::get(optimizer)?;
        let rule = exclusive(dualstep_optimizer::KIND, &optimizer.rule)?;
        match &*rule {
            Rule::Badm(badm) => Ok(badm.check()?),
            Rule::FirstOrder(method) => Ok(method.check()?),
        }
    })
}

/// Tells what an optimizer's steps came to so far. Set `size` first. Waits for the device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_optimizer_tally(
    optimizer: *const dualstep_optimizer,
    tally: *mut dualstep_tally,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let optimizer = handle::get(optimizer)?;
        let rule = exclusive(dualstep_optimizer::KIND, &optimizer.rule)?;
        let Tally { steps, refused, first_refusal } = match &*rule {
            Rule::Badm(badm) => badm.tally()?,
            Rule::FirstOrder(method) => method.tally()?,
        };
        let (first_refused, row, parameter) =
            first_refusal.map_or((0, 0, 0), |refusal| (refusal.step, refusal.row, refusal.parameter.into()));
        let known =
            dualstep_tally { steps, refused, first_refused, row, parameter, ..dualstep_tally::standard() };
        pointers.fill(tally, &known)
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Tells how many bytes an optimizer's state takes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_optimizer_state_size(
    optimizer: *const dualstep_optimizer,
    bytes: *mut usize,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let place = pointers.result("bytes", bytes, 0)?;
        let optimizer = handle::get(optimizer)?;
        let lengths = exclusive(dualstep_optimizer::KIND, &optimizer.rule)?.lengths();
        place.put(lengths.iter().map(|length| 4 * *length as usize).sum());
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Reads an optimizer's state, every bit; the parameters are not in it. Waits for the device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_optimizer_save(
    optimizer: *const dualstep_optimizer,
    state: *mut c_void,
    bytes: usize,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let optimizer = handle::get(optimizer)?;
        let rule = exclusive(dualstep_optimizer::KIND, &optimizer.rule)?;
        let room = pointers.room("state", state.cast::<u8>(), bytes)?;
        let expected: usize = rule.lengths().iter().map(|length| 4 * *length as usize).sum();
        if room.count() != expected {
            return Err(Fault::argument(format!("{bytes} bytes for a state, which takes {expected}")));
        }
        let Snapshot { clock, tensors } = rule.snapshot()?;
        let words: Vec<u32> = clock.into_iter().chain(tensors.into_iter().flatten()).collect();
        room.put(bytemuck::cast_slice(&words));
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Goes on from a state that dualstep_optimizer_save read, of an optimizer of the same settings and parameters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_optimizer_restore(
    optimizer: *const dualstep_optimizer,
    state: *const c_void,
    bytes: usize,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let optimizer = handle::get(optimizer)?;
        let rule = exclusive(dualstep_optimizer::KIND, &optimizer.rule)?;
        if !bytes.is_multiple_of(4) {
            return Err(Fault::argument(format!("{bytes} bytes are no state, which is whole words")));
        }
        let state = pointers.slice("state", state.cast::<u8>(), bytes)?;
        rule.restore(&bytemuck::pod_collect_to_vec(state))
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Frees an optimizer; NULL is allowed. Its recorded steps go on working.
#[unsafe(no_mangle)]
pub extern "C" fn dualstep_optimizer_free(optimizer: *mut dualstep_optimizer) -> dualstep_status {
    guarded(|| handle::free(optimizer))
}

/// Submits a recorded step so many times, on what its tensors hold by then. Does not wait for the device: gradients that are
/// written after this call are those of the next step.
#[unsafe(no_mangle)]
pub extern "C" fn dualstep_step_run(step: *const dualstep_step, times: u32) -> dualstep_status {
    guarded(|| handle::get(step)?.run(times))
}

/// Tells what one run of a recorded step does. Set `size` first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_step_counts(
    step: *const dualstep_step,
    counts: *mut dualstep_counts,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let of_plan = handle::get(step)?.plan.counts();
        let known = dualstep_counts {
            dispatches: of_plan.dispatches,
            flops: of_plan.flops,
            bytes: of_plan.bytes,
            ..dualstep_counts::standard()
        };
        pointers.fill(counts, &known)
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Frees a recorded step; NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn dualstep_step_free(step: *mut dualstep_step) -> dualstep_status {
    guarded(|| handle::free(step))
}
