//! Training a network by its gradients: batches drawn on the device, and an optimizer's step after each.
//!
//! [`Training`] is to [`FirstOrder`] and [`Badm`] what [`DlAdmm`](super::dladmm::DlAdmm) is to its sweep: it holds data,
//! parameters and plans, submits without waiting, and hands out records late. An iteration is one batch. What always
//! holds: the host neither uploads nor waits between iterations; which samples make a batch follows from the seed and the
//! batch's number alone, so that two runs see the same batches whatever their optimizers.
//!
//! A full batch, which is the default, takes the samples as they lie. An epoch's last batch may be short: it has as many
//! sub-batches as fit, of about the same size. On a graph every batch is full: each node reaches every other.

mod state;
mod task;

use super::badm::{Badm, BadmConfig, Slots, SubBatches};
use super::first_order::{FirstOrder, FirstOrderConfig};
use super::optimizer::{Snapshot, Tally, write_words};
use super::problem::{GraphProblem, Problem, Scores};
use super::sparsify::{Phase, SparseConfig, Sparsifier, UpdateRecord};
use crate::Error;
use crate::engine::{Arena, Batch, Counts, Gpu, Plan, PlanBuilder, Ring, Shape, StorageType, Tensor};
use crate::kernels::batch::{self, sub_batch_sizes};
use crate::kernels::dladmm::STATUS_LENGTH;
use crate::kernels::first_order::Penalty;
use crate::kernels::reduce;
use crate::models::gcn::Layer;
use crate::models::mlp::{Activation, Initial, InitialLayer, Loss};
pub use state::TrainingState;
use std::collections::VecDeque;
use task::Task;

/// Copies of scores that may be on their way at once.
const COPIES_IN_FLIGHT: usize = 64;

/// Rows of the totals.
const BATCH: u32 = 0;
const TRAIN: u32 = 1;
const TEST: u32 = 2;
/// In their pattern, where some weights have one.
const PROJECTED_TRAIN: u32 = 3;
const PROJECTED_TEST: u32 = 4;

/// What a training is told.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct TrainingConfig {
    /// The layers between input and output.
    pub model: Model,
    /// What makes a of z in hidden layers.
    pub activation: Activation,
    /// What the network is judged by; its mean over a sub-batch is what gradients are of.
    pub loss: Loss,
    /// How weights and biases begin.
    pub initial: Initial,
    /// Of the initial weights, and of the order in which samples are drawn.
    pub seed: u64,
    /// Samples of a batch; none for all of them.
    pub batch: Option<u32>,
    /// What makes a step of gradients.
    pub optimizer: Optimizer,
    /// Which weights become sparse, if any; for first-order methods.
    pub sparse: Option<SparseConfig>,
    /// Scores on all data are taken, and a record handed out, at iterations divisible by this; 0 for never.
    pub evaluate_every: u32,
}

impl Default for TrainingConfig {
    /// Full batches, and Adam as PyTorch has it.
    fn default() -> Self {
        Self {
            model: Model::Mlp { hidden: vec![200, 200] },
            activation: Activation::Relu,
            loss: Loss::CrossEntropy,
            initial: Initial::Torch,
            seed: 0,
            batch: None,
            optimizer: Optimizer::FirstOrder(FirstOrderConfig::default()),
            sparse: None,
            evaluate_every: 1,
        }
    }
}

/// The layers between a network's input and its output.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Model {
    /// Dense ones of these widths; none for a linear model.
    Mlp {
        /// Their widths.
        hidden: Vec<u32>,
    },
    /// Dense ones and graph convolutions, at least one of them: see [`gcn`](crate::models::gcn). The output is dense.
    Gcn {
        /// The layers.
        hidden: Vec<Layer>,
        /// Whether a convolution's input is added to what it computes, where that is as wide.
        skips: bool,
        /// The chance with which dropout takes each feature and activation while training: from 0 to less than 1.
        dropout: f32,
    },
}

/// What makes a step of gradients.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "family")]
pub enum Optimizer {
    /// One gradient a batch.
    FirstOrder(FirstOrderConfig),
    /// One gradient for each sub-batch.
    Badm(BadmConfig),
}

impl Optimizer {
    /// Sub-batches of a full batch.
    pub fn sub_batches(&self) -> u32 {
        match self {
            Self::FirstOrder(_) => 1,
            Self::Badm(config) => config.sub_batches,
        }
    }

    fn reshuffles(&self) -> bool {
        !matches!(self, Self::Badm(BadmConfig { slots: Slots::PerBatch { .. }, .. }))
    }
}

/// What an evaluated iteration reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingRecord {
    /// Counted from 1.
    pub iteration: u32,
    /// Scores on the iteration's batch, before its step.
    pub batch: Scores,
    /// Scores on the training data.
    pub train: Scores,
    /// Scores on the test data, if there is some.
    pub test: Option<Scores>,
    /// What scores would be with W = Π(W), where weights become sparse.
    pub projected: Option<ProjectedScores>,
    /// Steps that were refused so far because a gradient was not finite.
    pub refused: u32,
}

/// Scores of a network whose sparse weights are put in their pattern for the occasion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProjectedScores {
    /// On the training data.
    pub train: Scores,
    /// On the test data, if there is some.
    pub test: Option<Scores>,
}

/// The batches that an epoch is cut into: of `size` samples, but for the last.
#[derive(Clone, Copy, Debug)]
struct Cuts {
    samples: u32,
    size: u32,
}

impl Cuts {
    fn batches(self) -> u32 {
        self.samples.div_ceil(self.size)
    }

    /// Samples of a batch of the epoch.
    fn samples_of(self, batch: u32) -> u32 {
        self.size.min(self.samples - batch * self.size)
    }

    /// Sub-batches of a batch of the epoch, of which a full one has `full`: fewer of about the same size where it is short.
    fn sub_batches_of(self, batch: u32, full: u32) -> u32 {
        let share = u64::from(self.samples_of(batch)) * u64::from(full);
        share.div_ceil(self.size.into()) as u32
    }
}

#[derive(Debug)]
enum Stepper {
    FirstOrder(FirstOrder),
    Badm(Badm),
}

impl Stepper {
    fn new(gpu: &Gpu, optimizer: &Optimizer, parameters: &Tensor) -> Result<Self, Error> {
        Ok(match optimizer {
            Optimizer::FirstOrder(config) => Self::FirstOrder(FirstOrder::new(gpu, config, parameters)?),
            Optimizer::Badm(config) => Self::Badm(Badm::new(gpu, config, parameters)?),
        })
    }

    fn clock(&self) -> &Tensor {
        match self {
            Self::FirstOrder(method) => method.clock(),
            Self::Badm(badm) => badm.clock(),
        }
    }

    fn snapshot(&self) -> Result<Snapshot, Error> {
        match self {
            Self::FirstOrder(method) => method.snapshot(),
            Self::Badm(badm) => badm.snapshot(),
        }
    }

    fn restore(&self, snapshot: &Snapshot) -> Result<(), Error> {
        match self {
            Self::FirstOrder(method) => method.restore(snapshot),
            Self::Badm(badm) => badm.restore(snapshot),
        }
    }

    /// A step by the gradients of batch `number` of an epoch, which has so many samples.
    fn record(
        &self,
        plan: &mut PlanBuilder,
        gradients: &Tensor,
        (number, samples): (u32, u32),
        penalty: Option<Penalty<'_>>,
    ) -> Result<(), Error> {
        match self {
            Self::FirstOrder(method) => method.record_sparse(plan, gradients, &[penalty]),
            Self::Badm(badm) => {
                let sizes = sub_batch_sizes(samples, gradients.shape().rows);
                let weights: Vec<f32> = sizes.map(|size| size as f32 / samples as f32).collect();
                let (weights, batch) = (Some(weights.as_slice()), number);
                badm.record(plan, &SubBatches { gradients: vec![gradients.as_ref()], weights, batch })
            }
        }
    }
}

/// What plans are recorded from.
#[derive(Debug)]
struct Parts {
    task: Task,
    parameters: Tensor,
    gradients: Tensor,
    stepper: Stepper,
    sparsifier: Option<Sparsifier>,
    cursor: Tensor,
    totals: Tensor,
    status: Tensor,
    cuts: Cuts,
}

/// A network in training by its gradients.
#[derive(Debug)]
pub struct Training {
    gpu: Gpu,
    config: TrainingConfig,
    parts: Parts,
    /// One for each batch of an epoch that differs from the others; full batches share the first. Of each phase, if
    /// weights become sparse.
    steps: [Vec<Plan>; 2],
    scores: Plan,
    samples: (u32, u32),
    totals: Ring,
    clocks: Ring,
    submitted: u32,
    /// Iterations whose copies are on their way.
    pending: VecDeque<u32>,
}

impl Training {
    /// Uploads the samples, draws the initial weights and records the plans.
    ///
    /// # Errors
    /// [`Error::Setting`] and [`Error::Samples`] for what is wrong with the arguments; [`Error::Limit`] when samples or state
    /// do not fit the device: a batch is drawn from samples in one binding.
    pub fn new(gpu: &Gpu, config: &TrainingConfig, problem: &Problem<'_>) -> Result<Self, Error> {
        Self::of(gpu, config, Task::of_samples(gpu, config, problem)?, None)
    }

    /// From given weights instead of drawn ones; the method begins at its first step.
    ///
    /// # Errors
    /// As [`Training::new`]; [`Error::Plan`] when the layers are not those of the network.
    pub fn from_layers(
        gpu: &Gpu,
        config: &TrainingConfig,
        problem: &Problem<'_>,
        layers: &[InitialLayer],
    ) -> Result<Self, Error> {
        Self::of(gpu, config, Task::of_samples(gpu, config, problem)?, Some(layers))
    }

    /// As [`Training::new`] on the nodes of a graph, with a [`Model::Gcn`] and full batches.
    ///
    /// # Errors
    /// As [`Training::new`].
    pub fn on_graph(gpu: &Gpu, config: &TrainingConfig, problem: &GraphProblem<'_>) -> Result<Self, Error> {
        Self::of(gpu, config, Task::of_nodes(gpu, config, problem)?, None)
    }

    /// Goes on from a state, bit for bit.
    ///
    /// # Errors
    /// As [`Training::new`]; [`Error::Plan`] when the state is one of another method, storage, batch, pattern or network, and
    /// which.
    pub fn resume(
        gpu: &Gpu,
        config: &TrainingConfig,
        problem: &Problem<'_>,
        state: &TrainingState,
    ) -> Result<Self, Error> {
        Self::from_state(gpu, config, Task::of_samples(gpu, config, problem)?, state)
    }

    /// The same on the nodes of a graph.
    ///
    /// # Errors
    /// As [`Training::resume`].
    pub fn resume_on_graph(
        gpu: &Gpu,
        config: &TrainingConfig,
        problem: &GraphProblem<'_>,
        state: &TrainingState,
    ) -> Result<Self, Error> {
        Self::from_state(gpu, config, Task::of_nodes(gpu, config, problem)?, state)
    }

    fn from_state(
        gpu: &Gpu,
        config: &TrainingConfig,
        task: Task,
        state: &TrainingState,
    ) -> Result<Self, Error> {
        state.check(config, task.samples().0)?;
        let mut training = Self::of(gpu, config, task, Some(&state.layers))?;
        let parts = &training.parts;
        // What opens a sparse training may have put them in their pattern.
        training.write_layers(&state.layers)?;
        parts.stepper.restore(&state.optimizer)?;
        write_words(gpu, &[&parts.cursor], std::slice::from_ref(&state.cursor))?;
        match &parts.sparsifier {
            Some(sparsifier) => sparsifier.restore(&state.sparse)?,
            None => write_words(gpu, &[], &state.sparse)?,
        }
        training.submitted = state.iteration;
        Ok(training)
    }

    /// Replaces W and b of each layer.
    fn write_layers(&self, layers: &[InitialLayer]) -> Result<(), Error> {
        let tensors = self.parts.task.layers(&self.parts.parameters)?;
        for ((weights, bias), layer) in tensors.iter().zip(layers) {
            self.gpu.write(weights, &layer.weights)?;
            self.gpu.write(bias, &layer.bias)?;
        }
        Ok(())
    }

    /// Everything that the next iteration depends on, after all that were submitted. Waits.
    ///
    /// # Errors
    /// [`Error::DeviceFault`] when the device failed.
    pub fn state(&self) -> Result<TrainingState, Error> {
        let Parts { stepper, sparsifier, cursor, .. } = &self.parts;
        Ok(TrainingState {
            config: self.config.clone(),
            samples: self.samples.0,
            iteration: self.submitted,
            layers: self.layers()?,
            optimizer: stepper.snapshot()?,
            cursor: self.gpu.read_u32(cursor)?,
            sparse: sparsifier.as_ref().map_or(Ok(Vec::new()), Sparsifier::snapshot)?,
        })
    }

    fn of(
        gpu: &Gpu,
        config: &TrainingConfig,
        task: Task,
        layers: Option<&[InitialLayer]>,
    ) -> Result<Self, Error> {
        let samples = task.samples();
        let cuts = cuts(config, samples.0)?;
        check_sparse(config, task.widths())?;
        let parameters = task.parameters(gpu, config, layers)?;
        let stepper = Stepper::new(gpu, &config.optimizer, &parameters)?;
        let gradients = gpu.zeros(task.slab().shape(config.optimizer.sub_batches()), StorageType::F32)?;
        let arena = Arena::default();
        let sparsifier = match (&config.sparse, &stepper) {
            (Some(sparse), Stepper::FirstOrder(method)) => {
                Some(Sparsifier::new(gpu, sparse, task.slab(), method, &arena)?)
            }
            _ => None,
        };
        let parts = Parts {
            gradients,
            stepper,
            sparsifier,
            cursor: batch::cursor(gpu, config.seed as u32 ^ (config.seed >> 32) as u32)?,
            totals: gpu.zeros(Shape::new(5, 4), StorageType::F32)?,
            status: gpu.zeros(Shape::vector(STATUS_LENGTH), StorageType::U32)?,
            cuts,
            task,
            parameters,
        };
        let steps = match parts.sparsifier {
            Some(_) => [Phase::Search, Phase::Masked]
                .map(|phase| record_steps(gpu, &parts, &config.optimizer, phase, &arena)),
            None => [record_steps(gpu, &parts, &config.optimizer, Phase::Search, &arena), Ok(Vec::new())],
        };
        let [search, masked] = steps;
        let scores = record_scores(gpu, &parts, config, &arena)?;
        Ok(Self {
            gpu: gpu.clone(),
            config: config.clone(),
            parts,
            steps: [search?, masked?],
            scores,
            samples,
            totals: Ring::new(COPIES_IN_FLIGHT),
            clocks: Ring::new(COPIES_IN_FLIGHT),
            submitted: 0,
            pending: VecDeque::new(),
        })
    }

    /// Submits `iterations` batches. Never waits for the device; records arrive through [`Training::poll`], of the oldest
    /// evaluated iterations if more are evaluated than are taken.
    ///
    /// # Errors
    /// [`Error::DeviceFault`] when the device failed.
    pub fn run(&mut self, iterations: u32) -> Result<(), Error> {
        let mut batch = Batch::new(&self.gpu);
        for _ in 0..iterations {
            batch.replay(self.step_plan(self.submitted), 1)?;
            self.submitted += 1;
            if let Some(sparsifier) = &mut self.parts.sparsifier {
                sparsifier.after_step(&self.gpu, &mut batch, self.submitted)?;
            }
            // Nothing but 0 is a multiple of 0, so 0 means never.
            if self.submitted.is_multiple_of(self.config.evaluate_every) {
                batch.replay(&self.scores, 1)?;
                if self.totals.push(&self.gpu, batch.encoder(), &self.parts.totals)? {
                    self.clocks.push(&self.gpu, batch.encoder(), self.parts.stepper.clock())?;
                    self.pending.push_back(self.submitted);
                }
            }
            if let Some(sparsifier) = &self.parts.sparsifier {
                sparsifier.after_scores(&mut batch, self.submitted)?;
            }
        }
        batch.submit()
    }

    fn step_plan(&self, iteration: u32) -> &Plan {
        let batch = iteration % self.parts.cuts.batches();
        let phase = self.parts.sparsifier.as_ref().map_or(Phase::Search, |it| it.phase(iteration));
        let steps = &self.steps[phase as usize];
        match self.config.optimizer.reshuffles() {
            true if batch + 1 == self.parts.cuts.batches() => &steps[steps.len() - 1],
            true => &steps[0],
            false => &steps[batch as usize],
        }
    }

    /// Records that have arrived since the last call, oldest first. Never waits.
    ///
    /// # Errors
    /// [`Error::DeviceFault`] when the device failed.
    pub fn poll(&mut self) -> Result<Vec<TrainingRecord>, Error> {
        let mut records = Vec::new();
        while let Some(totals) = self.totals.pop(&self.gpu)? {
            // Copied right after the totals, so that it arrives with them or within the same submission.
            let clock = loop {
                match self.clocks.pop(&self.gpu)? {
                    Some(clock) => break clock,
                    None => self.gpu.wait()?,
                }
            };
            records.push(self.parse(&totals, &clock));
        }
        Ok(records)
    }

    /// Waits for everything submitted and returns the records not handed out yet.
    ///
    /// # Errors
    /// [`Error::DeviceFault`] when the device failed.
    pub fn finish(&mut self) -> Result<Vec<TrainingRecord>, Error> {
        self.gpu.wait()?;
        self.poll()
    }

    fn parse(&mut self, totals: &[u8], clock: &[u8]) -> TrainingRecord {
        let totals: Vec<f32> = bytemuck::pod_collect_to_vec(totals);
        let clock: Vec<u32> = bytemuck::pod_collect_to_vec(clock);
        let iteration = self.pending.pop_front().unwrap_or(self.submitted);
        let scores = |row: u32, samples: u32| {
            let at = 4 * row as usize;
            Scores::of(self.config.loss, totals[at], totals[at + 1], samples)
        };
        let both = |train, test| {
            let test = (self.samples.1 > 0).then(|| scores(test, self.samples.1));
            (scores(train, self.samples.0), test)
        };
        let ((train, test), cuts) = (both(TRAIN, TEST), self.parts.cuts);
        let projected = self.parts.sparsifier.as_ref().map(|_| both(PROJECTED_TRAIN, PROJECTED_TEST));
        TrainingRecord {
            iteration,
            batch: scores(BATCH, cuts.samples_of((iteration - 1) % cuts.batches())),
            train,
            test,
            projected: projected.map(|(train, test)| ProjectedScores { train, test }),
            refused: Tally::from_words(&clock, self.parts.parameters.shape().columns).refused,
        }
    }

    /// What updates of N:M ADMM, or looks in other ways, told that has arrived since the last call, oldest first; of the
    /// oldest if there are more than are taken. Never waits.
    ///
    /// # Errors
    /// [`Error::DeviceFault`] when the device failed.
    pub fn poll_updates(&mut self) -> Result<Vec<UpdateRecord>, Error> {
        self.parts.sparsifier.as_mut().map_or(Ok(Vec::new()), |sparsifier| sparsifier.poll(&self.gpu))
    }

    /// Evaluated iterations and updates submitted whose record has not been handed out.
    pub fn in_flight(&self) -> u32 {
        self.pending.len() as u32 + self.parts.sparsifier.as_ref().map_or(0, Sparsifier::in_flight)
    }

    /// Whether weights are still to be put in their pattern, after what was submitted.
    pub fn is_before_pattern(&self) -> bool {
        self.parts.sparsifier.as_ref().is_some_and(|it| it.is_before_pattern(self.submitted))
    }

    /// Batches of an epoch.
    pub fn batches(&self) -> u32 {
        self.parts.cuts.batches()
    }

    /// The settings of the run.
    pub fn config(&self) -> &TrainingConfig {
        &self.config
    }

    /// Widths of all layers, input and output included.
    pub fn widths(&self) -> &[u32] {
        self.parts.task.widths()
    }

    /// What one iteration with a full batch does, exactly, without scores.
    pub fn counts(&self) -> Counts {
        self.iteration_plan().counts()
    }

    /// The plan of an iteration with a full batch, without scores, for profiles and tests.
    pub fn iteration_plan(&self) -> &Plan {
        &self.steps[0][0]
    }

    /// W and b of each layer. Waits.
    ///
    /// # Errors
    /// [`Error::DeviceFault`] when the device failed.
    pub fn layers(&self) -> Result<Vec<InitialLayer>, Error> {
        let layers = self.parts.task.layers(&self.parts.parameters)?;
        let read = |(weights, bias): &(Tensor, Tensor)| {
            Ok(InitialLayer { weights: self.gpu.read(weights)?, bias: self.gpu.read(bias)? })
        };
        layers.iter().map(read).collect()
    }

    /// Whether every step was taken. Waits.
    ///
    /// # Errors
    /// [`Error::NotFinite`] with the first that was refused; [`Error::DeviceFault`] when the device failed.
    pub fn check(&self) -> Result<(), Error> {
        match &self.parts.stepper {
            Stepper::FirstOrder(method) => method.check()?,
            Stepper::Badm(badm) => badm.check()?,
        }
        self.parts.sparsifier.as_ref().map_or(Ok(()), Sparsifier::check)
    }
}

fn check_sparse(config: &TrainingConfig, widths: &[u32]) -> Result<(), Error> {
    let Some(sparse) = &config.sparse else { return Ok(()) };
    match config.optimizer {
        Optimizer::FirstOrder(FirstOrderConfig { method, .. }) => sparse.check(widths, method),
        Optimizer::Badm(_) => {
            let expected = "weights become sparse in the steps of first-order methods; choose one of those";
            Err(Error::Setting { setting: "method", value: "badm".into(), expected })
        }
    }
}

fn cuts(config: &TrainingConfig, samples: u32) -> Result<Cuts, Error> {
    let size = config.batch.unwrap_or(samples).min(samples);
    let refuse =
        |setting, value: u32, expected| Err(Error::Setting { setting, value: value.to_string(), expected });
    let sub_batches = config.optimizer.sub_batches();
    if size == 0 {
        return refuse("batch", size, "must hold at least one sample");
    }
    if sub_batches > size {
        return refuse("sub-batches", sub_batches, "must be no more than the samples of a batch");
    }
    let cuts = Cuts { samples, size };
    if let Optimizer::Badm(BadmConfig { slots: Slots::PerBatch { batches }, .. }) = config.optimizer
        && batches != cuts.batches()
    {
        return refuse("batches", batches, "slots of each batch must be as many as an epoch has batches");
    }
    Ok(cuts)
}

/// The plans of an epoch's batches: all of them where each has slots of its own, else a full one and a short last one.
fn record_steps(
    gpu: &Gpu,
    parts: &Parts,
    optimizer: &Optimizer,
    phase: Phase,
    arena: &Arena,
) -> Result<Vec<Plan>, Error> {
    let last = parts.cuts.batches() - 1;
    let numbers: Vec<u32> = match optimizer.reshuffles() {
        false => (0..=last).collect(),
        true if parts.cuts.samples_of(last) < parts.cuts.size => vec![0, last],
        true => vec![0],
    };
    numbers.into_iter().map(|number| record_step(gpu, parts, optimizer, (number, phase), arena)).collect()
}

fn record_step(
    gpu: &Gpu,
    parts: &Parts,
    optimizer: &Optimizer,
    (number, phase): (u32, Phase),
    arena: &Arena,
) -> Result<Plan, Error> {
    let Parts { task, parameters, stepper, sparsifier, cursor, totals, status, cuts, .. } = parts;
    let samples = cuts.samples_of(number);
    let mut plan = PlanBuilder::with_arena(gpu, "step", arena);
    let gradients = parts.gradients.row_range(0..cuts.sub_batches_of(number, optimizer.sub_batches()))?;
    let drawn = task::Drawn { cursor, samples, reshuffles: optimizer.reshuffles() };
    let (point, penalty) = match sparsifier {
        Some(it) => (it.point(&mut plan, phase, parameters)?, it.penalty(phase)),
        None => (parameters.clone(), None),
    };
    let scores = task.gradients(&mut plan, &point, &drawn, &gradients)?;
    let (partials, count) = (&scores.partials, scores.count);
    reduce::totals(&mut plan, reduce::Totals { partials, count, totals, slot: BATCH, status, origin: 1 })?;
    stepper.record(&mut plan, &gradients, (number, samples), penalty)?;
    plan.finish()
}

fn record_scores(gpu: &Gpu, parts: &Parts, config: &TrainingConfig, arena: &Arena) -> Result<Plan, Error> {
    let mut plan = PlanBuilder::with_arena(gpu, "scores", arena);
    add_scores(&mut plan, parts, config, &parts.parameters, [TRAIN, TEST])?;
    if let Some(sparsifier) = &parts.sparsifier {
        let projected = sparsifier.projected(&mut plan, &parts.parameters)?;
        add_scores(&mut plan, parts, config, &projected, [PROJECTED_TRAIN, PROJECTED_TEST])?;
    }
    plan.finish()
}

fn add_scores(
    plan: &mut PlanBuilder,
    parts: &Parts,
    config: &TrainingConfig,
    parameters: &Tensor,
    slots: [u32; 2],
) -> Result<(), Error> {
    for (slot, half) in slots.into_iter().zip([task::Half::Train, task::Half::Test]) {
        let place = task::Place { totals: &parts.totals, slot, status: &parts.status };
        parts.task.scores(plan, config, parameters, half, &place)?;
    }
    Ok(())
}
