//! First-order methods over all parameters of a model at once: SGD, momentum, Nesterov, AdaGrad, Adadelta, RMSProp, Adam,
//! AdamW, NAdam and Adamax, by PyTorch's conventions.
//!
//! A step is two or three dispatches whatever the number of tensors: the test of the gradient ([`Guard`]), one lane that
//! advances the clock, and one pass over parameters, gradient and state. The clock holds what all parameters share, bias
//! corrections and learning rate included, so that no power and no exponential is computed per element, and a
//! [`Schedule`] needs no recording and no upload.
//!
//! | method | state, copies of the model | bytes a parameter, without the test |
//! |---|---|---|
//! | SGD | 0 | 12 |
//! | momentum, Nesterov, AdaGrad, RMSProp | 1 | 20 |
//! | Adadelta, Adam, AdamW, NAdam, Adamax | 2 | 28 |
//!
//! # Examples
//!
//! ```no_run
//! use dualstep::engine::{Gpu, GpuOptions, PlanBuilder, Shape, StorageType};
//! use dualstep::solvers::first_order::{FirstOrder, FirstOrderConfig, Method};
//! use dualstep::solvers::optimizer::Schedule;
//!
//! fn main() -> Result<(), dualstep::Error> {
//!     let gpu = Gpu::open(&GpuOptions::default())?;
//!     let w = gpu.upload(Shape::vector(3), &[1.0, -2.0, 0.5])?;
//!     let gradient = gpu.zeros(w.shape(), StorageType::F32)?;
//!     let schedule = Schedule::Cosine { steps: 1000 };
//!     let config = FirstOrderConfig { schedule, ..FirstOrderConfig::pytorch(Method::Adam) };
//!     let adam = FirstOrder::new(&gpu, &config, &w)?;
//!
//!     let mut plan = PlanBuilder::new(&gpu, "step");
//!     // A model records here what computes the gradient.
//!     adam.record(&mut plan, &gradient)?;
//!     let plan = plan.finish()?;
//!     for _ in 0..1000 {
//!         plan.run()?; // submits, and does not wait
//!     }
//!     adam.check()?; // waits; an error if a gradient was not finite
//!     println!("{:?} after {:?}", gpu.read(&w)?, adam.tally()?);
//!     Ok(())
//! }
//! ```

use super::optimizer::{
    Control, Guard, Schedule, Snapshot, Tally, expect_flat, expect_same, expect_state, fill, length, log,
};
use crate::Error;
use crate::engine::{Gpu, PlanBuilder, Shape, StorageType, Tensor};
pub use crate::kernels::first_order::Method;
use crate::kernels::first_order::{self as kernel, CLOCK_LENGTH, MU_PRODUCT, Penalty, Settings};

/// Gradients from here on are refused: their squares, and sums of two of them, would not be finite.
const LIMIT: f32 = 9.223_372e18; // 2^63

/// Settings of a [`FirstOrder`]. A method looks at those that its doc names.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct FirstOrderConfig {
    /// The rule.
    pub method: Method,
    /// Before the schedule.
    pub learning_rate: f64,
    /// μ of momentum and Nesterov; β₁ of Adam, AdamW, NAdam and Adamax.
    pub beta_1: f64,
    /// β₂ of Adam, AdamW, NAdam and Adamax; α of RMSProp; ρ of Adadelta.
    pub beta_2: f64,
    /// ε, of all but SGD, momentum and Nesterov; under the roots of Adadelta, within the maximum of Adamax, else added to
    /// the root.
    pub epsilon: f64,
    /// λ: AdamW shrinks parameters by λ times the learning rate, all others add λ w to the gradient.
    pub weight_decay: f64,
    /// What AdaGrad's sums of squares start at.
    pub initial: f64,
    /// ψ of NAdam's momentum, β₁ (1 − 0.96^{tψ}/2).
    pub momentum_decay: f64,
    /// Of the learning rate.
    pub schedule: Schedule,
    /// What is done about gradients that are not finite.
    pub guard: Guard,
}

impl Default for FirstOrderConfig {
    /// Adam as PyTorch has it.
    fn default() -> Self {
        Self::pytorch(Method::Adam)
    }
}

impl FirstOrderConfig {
    /// PyTorch's defaults (2.15): learning rate 1e-3, but 1e-2 for AdaGrad and RMSProp, 1 for Adadelta, 2e-3 for NAdam and
    /// Adamax; β₁ 0.9, β₂ 0.999, α 0.99, ρ 0.9; ε 1e-8, but 1e-10 for AdaGrad and 1e-6 for Adadelta; ψ 4e-3; weight decay 0,
    /// but 1e-2 for AdamW. Its momentum is 0 and has to be asked for, here the methods that have one take 0.9; there
    /// is no dampening, and RMSProp has neither momentum nor centring.
    pub fn pytorch(method: Method) -> Self {
        let (learning_rate, beta_2, epsilon) = match method {
            Method::AdaGrad => (1e-2, 0.0, 1e-10),
            Method::Adadelta => (1.0, 0.9, 1e-6),
            Method::RmsProp => (1e-2, 0.99, 1e-8),
            Method::NAdam | Method::Adamax => (2e-3, 0.999, 1e-8),
            _ => (1e-3, 0.999, 1e-8),
        };
        Self {
            method,
            learning_rate,
            beta_1: 0.9,
            beta_2,
            epsilon,
            weight_decay: if method == Method::AdamW { 1e-2 } else { 0.0 },
            initial: 0.0,
            momentum_decay: 4e-3,
            schedule: Schedule::Constant,
            guard: Guard::Refuse,
        }
    }

    /// Keras' defaults (3): learning rate 1e-3, but 1e-2 for SGD, momentum and Nesterov; ε 1e-7; AdaGrad's sums start at
    /// 0.1; ρ 0.9 for RMSProp and 0.95 for Adadelta; weight decay 4e-3 for AdamW. The constants are Keras', the rules stay
    /// PyTorch's: Keras adds Adam's ε before the bias correction and RMSProp's under the root.
    pub fn keras(method: Method) -> Self {
        let config = Self::pytorch(method);
        let is_plain = matches!(method, Method::Sgd | Method::Momentum | Method::Nesterov);
        let beta_2 = match method {
            Method::RmsProp => 0.9,
            Method::Adadelta => 0.95,
            _ => config.beta_2,
        };
        Self {
            learning_rate: if is_plain { 1e-2 } else { 1e-3 },
            beta_2,
            epsilon: 1e-7,
            weight_decay: if method == Method::AdamW { 4e-3 } else { 0.0 },
            initial: if method == Method::AdaGrad { 0.1 } else { 0.0 },
            ..config
        }
    }

    /// The shape of the state for so many parameters: a row for each value that the method keeps of one.
    pub fn state(&self, parameters: u32) -> Shape {
        Shape::new(self.method.rows(), parameters)
    }

    /// Refuses settings outside their range.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first of them.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |setting, value: f64, expected| {
            Err(Error::Setting { setting, value: value.to_string(), expected })
        };
        let not_negative = [
            ("learning_rate", self.learning_rate),
            ("weight_decay", self.weight_decay),
            ("initial", self.initial),
            ("momentum_decay", self.momentum_decay),
        ];
        for (setting, value) in not_negative {
            if !(value >= 0.0 && value.is_finite()) {
                return refuse(setting, value, "must be finite and not negative");
            }
        }
        for (setting, value) in [("beta_1", self.beta_1), ("beta_2", self.beta_2)] {
            if !(0.0..1.0).contains(&value) {
                return refuse(setting, value, "must be at least 0 and below 1");
            }
        }
        if !((self.epsilon as f32).is_normal() && self.epsilon > 0.0) {
            return refuse("epsilon", self.epsilon, "must be above 0, and a normal number in f32");
        }
        self.schedule.check()
    }

    fn settings(&self) -> Settings {
        Settings {
            rate: self.learning_rate as f32,
            weight_decay: self.weight_decay as f32,
            is_decoupled: u32::from(self.method == Method::AdamW),
            beta_1: self.beta_1 as f32,
            blend_first: (1.0 - self.beta_1) as f32,
            log_beta_1: log(self.beta_1),
            blend_second: (1.0 - self.beta_2) as f32,
            log_beta_2: log(self.beta_2),
            epsilon: self.epsilon as f32,
            log_warming: (self.momentum_decay * 0.96f64.ln()) as f32,
            schedule: self.schedule.words(),
        }
    }
}

/// A first-order method and its state on the device.
#[derive(Debug)]
pub struct FirstOrder {
    config: FirstOrderConfig,
    parameters: Vec<Tensor>,
    /// Of each part of the parameters; none where the method keeps none.
    state: Vec<Tensor>,
    control: Control,
}

impl FirstOrder {
    /// A method at its first step, over one row of parameters, or over several as parts of one.
    ///
    /// # Errors
    /// Those of [`FirstOrderConfig::check`]; [`Error::Shape`] when the parameters are not rows of f32; [`Error::Limit`]
    /// when the state exceeds one binding.
    pub fn new(
        gpu: &Gpu,
        config: &FirstOrderConfig,
        parameters: &(impl AsRef<[Tensor]> + ?Sized),
    ) -> Result<Self, Error> {
        let shapes = check_state(config, parameters.as_ref())?;
        let state = shapes.into_iter().map(|shape| gpu.zeros(shape, StorageType::F32));
        Self::at_start(gpu, config, parameters.as_ref(), state.collect::<Result<_, _>>()?)
    }

    /// A method at its first step, with the state of each part in a tensor of the caller's, of the shape that
    /// [`FirstOrderConfig::state`] says and f32. What it holds is replaced, by uploads.
    ///
    /// # Errors
    /// Those of [`new`](Self::new) and of [`Gpu::write`]; [`Error::Shape`] when the tensor is not what the state is.
    pub fn with_state(
        gpu: &Gpu,
        config: &FirstOrderConfig,
        parameters: &(impl AsRef<[Tensor]> + ?Sized),
        state: &(impl AsRef<[Tensor]> + ?Sized),
    ) -> Result<Self, Error> {
        let shapes = check_state(config, parameters.as_ref())?;
        let expected: Vec<_> = shapes.into_iter().map(|shape| (shape, StorageType::F32)).collect();
        expect_state(kernel::STEP.name, state.as_ref(), &expected)?;
        state.as_ref().iter().try_for_each(|tensor| fill(gpu, tensor, 0.0))?;
        Self::at_start(gpu, config, parameters.as_ref(), state.as_ref().to_vec())
    }

    /// Over a state of zeros.
    fn at_start(
        gpu: &Gpu,
        config: &FirstOrderConfig,
        parameters: &[Tensor],
        state: Vec<Tensor>,
    ) -> Result<Self, Error> {
        let mut clock = [0; CLOCK_LENGTH as usize];
        clock[MU_PRODUCT as usize] = 1.0f32.to_bits();
        let control = Control::new(gpu, &config.settings(), &clock)?;
        if config.initial > 0.0 {
            state.iter().try_for_each(|tensor| fill(gpu, tensor, config.initial as f32))?;
        }
        Ok(Self { config: *config, parameters: parameters.to_vec(), state, control })
    }

    /// Adds one step to a plan. `gradients` are the mean loss's, in the shapes of the parameters.
    ///
    /// # Errors
    /// [`Error::Shape`] when gradients have other shapes or storage, and those of [`PlanBuilder::dispatch`].
    pub fn record(
        &self,
        plan: &mut PlanBuilder,
        gradients: &(impl AsRef<[Tensor]> + ?Sized),
    ) -> Result<(), Error> {
        self.record_sparse(plan, gradients, &vec![None; self.parameters.len()])
    }

    /// Adds one step with a penalty on some of the parameters in it, such as [`NmAdmm::penalty`](super::nm::NmAdmm::penalty):
    /// one for each part, or none.
    ///
    /// # Errors
    /// As [`record`](Self::record), and [`Error::Shape`] when a penalty is one on other parameters, or there are more or fewer
    /// of them than parts.
    pub fn record_sparse(
        &self,
        plan: &mut PlanBuilder,
        gradients: &(impl AsRef<[Tensor]> + ?Sized),
        penalties: &[Option<Penalty<'_>>],
    ) -> Result<(), Error> {
        let gradients = gradients.as_ref();
        self.check_gradients(gradients, penalties.len())?;
        let Control { settings, clock, found, .. } = &self.control;
        self.control.test(plan, gradients.iter().map(std::slice::from_ref), self.config.guard, LIMIT)?;
        kernel::clock(plan, settings, found, clock)?;
        let method = self.config.method;
        for (k, (w, gradient)) in self.parameters.iter().zip(gradients).enumerate() {
            match (self.state.get(k), penalties[k]) {
                (None, None) => kernel::sgd(plan, gradient, clock, w),
                (None, Some(penalty)) => kernel::sparse_sgd(plan, gradient, clock, penalty, w),
                (Some(state), None) => kernel::step(plan, method, gradient, clock, state, w),
                (Some(state), Some(penalty)) => {
                    kernel::sparse_step(plan, method, gradient, clock, penalty, state, w)
                }
            }?;
        }
        Ok(())
    }

    fn check_gradients(&self, gradients: &[Tensor], penalties: usize) -> Result<(), Error> {
        let parts = self.parameters.len();
        let mut pairs = gradients.iter().zip(&self.parameters);
        let fits = |(gradient, w): &(&Tensor, &Tensor)| {
            gradient.shape() == w.shape() && gradient.storage() == StorageType::F32
        };
        let detail = if gradients.len() != parts || penalties != parts {
            format!("{} gradients and {penalties} penalties for parameters in {parts} parts", gradients.len())
        } else if let Some((gradient, w)) = pairs.find(|pair| !fits(pair)) {
            let (actual, storage, expected) = (gradient.shape(), gradient.storage(), w.shape());
            format!("the gradient is {actual} of {storage:?} but the parameters are {expected} of F32")
        } else {
            return Ok(());
        };
        Err(Error::Shape { kernel: kernel::STEP.name, detail })
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

    /// Changes the learning rate, before anything submitted later. Nothing has to be recorded again.
    ///
    /// # Errors
    /// [`Error::Setting`] when it is negative or not finite.
    pub fn set_learning_rate(&mut self, learning_rate: f64) -> Result<(), Error> {
        let config = FirstOrderConfig { learning_rate, ..self.config };
        config.check()?;
        self.control.set(&config.settings())?;
        self.config = config;
        Ok(())
    }

    /// The settings.
    pub fn config(&self) -> &FirstOrderConfig {
        &self.config
    }

    /// The parameters, part by part.
    pub fn parameters(&self) -> &[Tensor] {
        &self.parameters
    }

    /// The state, a row for each value that the method keeps of a parameter; none for SGD.
    pub fn tensors(&self) -> Vec<&Tensor> {
        self.state.iter().collect()
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
        self.control.check("first_order", length(&self.parameters))
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
    /// [`Error::Plan`] when it is of another method or another number of parameters.
    pub fn restore(&self, snapshot: &Snapshot) -> Result<(), Error> {
        self.control.restore(snapshot, &self.tensors())
    }
}

/// The shape of the state of each part, if the method keeps one, once settings and parameters allow it.
fn check_state(config: &FirstOrderConfig, parameters: &[Tensor]) -> Result<Vec<Shape>, Error> {
    config.check()?;
    expect_flat(kernel::STEP.name, parameters)?;
    let shapes = parameters.iter().map(|part| config.state(part.shape().columns));
    Ok(shapes.filter(|shape| shape.rows > 0).collect())
}
