//! dlADMM (Wang et al., KDD 2019, arXiv 1905.13611): a network trained by a backward and a forward sweep of block
//! updates instead of gradients.
//!
//! [`DlAdmm`] holds the state on the device and one recorded plan per kind of iteration; [`DlAdmm::run`] only
//! submits, telemetry arrives late through [`DlAdmm::poll`]. What always holds between iterations: `product` of layer
//! l is W_l a_{l−1} (resident, moved along with every step), padding is zero, and the copy kept aside is the state
//! before the newest finite iteration.

mod config;
mod forward;
mod state;
mod sweep;
mod telemetry;

pub use crate::solvers::problem::{Problem, Rows, Samples, Scores, Targets};
pub use config::{
    Activation, Config, Exact, Loss, Mixed, Penalty, Schedule, Solver, Steps, SweepKind, ZLast,
};
pub use forward::evaluate;
pub use state::{HostLayer, HostState};
pub use telemetry::{Acceleration, Record};

use crate::Error;
use crate::engine::{Arena, Batch, Counts, Gpu, Plan, Ring, Shape, StorageType};
use crate::solvers::anderson::Anderson;
use state::State;
use std::collections::VecDeque;
use telemetry::{Failure, Layout, RING_LENGTH};

/// Copies of the telemetry ring that may be on their way at once.
const COPIES_IN_FLIGHT: usize = 64;
/// Iterations between two copies within one call of [`DlAdmm::run`]: half the ring, so that none is overwritten.
const ITERATIONS_PER_COPY: u32 = RING_LENGTH / 2;

/// A network in training.
#[derive(Debug)]
pub struct DlAdmm {
    gpu: Gpu,
    config: Config,
    state: State,
    plans: Plans,
    layout: Layout,
    ring: Ring,
    /// Iterations that the state it started from had behind it.
    begun_at: u32,
    /// Iterations submitted.
    submitted: u32,
    /// Iterations whose record was handed out.
    reported: u32,
    ready: VecDeque<Record>,
    failure: Option<Failure>,
}

/// The plans an iteration is replayed from; they take turns in one arena.
#[derive(Debug)]
struct Plans {
    /// Iterations, with a candidate of the accelerator's or without, with scores after them or without.
    iterations: [[Plan; 2]; 2],
    /// Resident products formed afresh.
    refresh: Plan,
    /// What exact steps solve layers with, where it outlasts a sweep, of the inputs that they have now.
    systems: Plan,
    /// Places that can note a value that is not finite, in the order of their numbers.
    origins: Vec<String>,
}

impl Plans {
    /// The plan of an iteration. Plans are cheap to clone, and without an accelerator both kinds are one.
    fn iteration(&self, candidate: bool, scores: bool) -> &Plan {
        &self.iterations[usize::from(candidate)][usize::from(scores)]
    }
}

impl DlAdmm {
    /// Uploads the samples, draws the initial weights from the seed and records the plans.
    ///
    /// z and a start from a forward pass, z_L at +1 for the label and −1 elsewhere, or for squared loss at
    /// the targets, u at 0.
    ///
    /// # Errors
    /// [`Error::Setting`] and [`Error::Samples`] for what is wrong with the arguments, [`Error::Limit`] when the
    /// problem does not fit the device.
    pub fn new(gpu: &Gpu, config: &Config, problem: &Problem<'_>) -> Result<Self, Error> {
        config.check()?;
        problem.check(config.loss)?;
        let widths = config.widths(problem);
        // Before so many numbers are drawn that the host's memory would not hold them either.
        for sizes in widths.windows(2) {
            gpu.check_shape(Shape::new(sizes[1], sizes[0]), StorageType::F32)?;
        }
        let layers = state::initial_layers(config, &widths)?;
        let start = HostState::at_start(config, layers);
        Self::resume(gpu, config, problem, &start)
    }

    /// Goes on from `start`: weights alone (their z, a and u are then those of a fresh start) or a whole state, which
    /// continues bit for bit. An accelerator begins with an empty history.
    ///
    /// # Errors
    /// As [`DlAdmm::new`], and [`Error::Setting`] when the widths of `start` are not those of the problem.
    pub fn resume(
        gpu: &Gpu,
        config: &Config,
        problem: &Problem<'_>,
        start: &HostState,
    ) -> Result<Self, Error> {
        config.check()?;
        problem.check(config.loss)?;
        let widths = config.widths(problem);
        start.check(&widths, problem.train.count())?;
        let arena = Arena::default();
        let layout = Layout {
            layers: widths.len() as u32 - 1,
            backtracks: config.steps == Steps::Quadratic,
            accelerated: config.acceleration.is_some(),
            train_samples: problem.train.count(),
            test_samples: problem.test.map_or(0, |test| test.count()),
            loss: config.loss,
        };
        let mut state = State::upload(gpu, config, problem, start, layout, &arena)?;
        let (kept, systems) = sweep::kept_systems(gpu, config, &state, &arena)?;
        systems.run()?;
        state.systems = kept;
        let accelerator = match &config.acceleration {
            Some(settings) => Some(
                Anderson::new(gpu, settings, &state.mixed(config.mixed), &state.dependants(config.mixed))?
                    .watching(&state.control, [0, 1])?,
            ),
            None => None,
        };
        let plans =
            sweep::record_plans(gpu, config, &state, accelerator.as_ref(), layout, (&arena, systems))?;
        Ok(Self {
            gpu: gpu.clone(),
            config: config.clone(),
            state,
            plans,
            layout,
            ring: Ring::new(COPIES_IN_FLIGHT),
            begun_at: start.iteration,
            submitted: start.iteration,
            reported: start.iteration,
            ready: VecDeque::new(),
            failure: None,
        })
    }

    /// Submits `iterations` iterations. Never waits for the device; their records arrive through [`DlAdmm::poll`].
    ///
    /// The device remembers the records of the last 64 iterations and hands over copies as it goes; a caller that
    /// submits thousands of iterations without polling gets the newest.
    ///
    /// # Errors
    /// [`Error::DeviceFault`] when the device failed.
    pub fn run(&mut self, iterations: u32) -> Result<(), Error> {
        let mut batch = Batch::new(&self.gpu);
        for k in 1..=iterations {
            for plan in self.next_plans() {
                batch.replay(&plan, 1)?;
            }
            if k % ITERATIONS_PER_COPY == 0 || k == iterations {
                self.copy_records(batch.encoder())?;
            }
        }
        batch.submit()
    }

    /// Records the next iteration into a pass of the caller's, for an app that submits its own commands: no submit, no
    /// upload, no allocation, and nothing waits. Iterations run in the order they were recorded in, so passes are submitted
    /// in that order, each once.
    ///
    /// Records wait on the device, those of the last 64 iterations, for [`copy_records`](Self::copy_records) or
    /// [`finish`](Self::finish).
    pub fn record(&mut self, pass: &mut wgpu::ComputePass<'_>) {
        for plan in self.next_plans() {
            plan.record(pass);
        }
    }

    /// Copies the records on the device at this point of the caller's commands, for [`poll`](Self::poll) to find once they
    /// have run. Does nothing where 64 copies are on their way. Memory for a copy is taken once and then used again.
    ///
    /// # Errors
    /// None in the state that a network is in.
    pub fn copy_records(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<(), Error> {
        self.ring.push(&self.gpu, encoder, &self.state.ring).map(|_| ())
    }

    /// Counts an iteration as submitted, and says what it is replayed from.
    fn next_plans(&mut self) -> impl Iterator<Item = Plan> + use<> {
        let iteration = self.submitted + 1;
        self.submitted = iteration;
        // Nothing but 0 is a multiple of 0, so 0 means never.
        let scores = iteration.is_multiple_of(self.config.evaluate_every);
        let refresh = iteration.is_multiple_of(self.config.refresh_every);
        let plan = self.plans.iteration(self.is_due(iteration), scores).clone();
        [Some(plan), refresh.then(|| self.plans.refresh.clone())].into_iter().flatten()
    }

    /// Whether the accelerator tries a candidate after this iteration. Its history begins where the run did.
    fn is_due(&self, iteration: u32) -> bool {
        let sweep = iteration - 1 - self.begun_at;
        self.config.acceleration.is_some_and(|settings| settings.is_due(sweep))
    }

    /// Records that have arrived since the last call, oldest first. Never waits.
    ///
    /// # Errors
    /// [`Error::NotFinite`] once every record before the failing iteration has been handed out; the state before it
    /// is what [`DlAdmm::state`] then returns. [`Error::DeviceFault`] when the device failed.
    pub fn poll(&mut self) -> Result<Vec<Record>, Error> {
        while let Some(bytes) = self.ring.pop(&self.gpu)? {
            self.take_records(&bytes);
        }
        self.hand_out()
    }

    /// Waits for everything submitted and returns the records not handed out yet.
    ///
    /// # Errors
    /// As [`DlAdmm::poll`].
    pub fn finish(&mut self) -> Result<Vec<Record>, Error> {
        self.gpu.wait()?;
        while let Some(bytes) = self.ring.pop(&self.gpu)? {
            self.take_records(&bytes);
        }
        let bytes = self.gpu.read_bytes(&self.state.ring)?;
        self.take_records(&bytes);
        self.hand_out()
    }

    /// Iterations submitted whose record has not been handed out.
    pub fn in_flight(&self) -> u32 {
        self.submitted - self.reported
    }

    /// Reads the state back: after a failure the one before the failing iteration, else the newest. Waits.
    ///
    /// # Errors
    /// [`Error::DeviceFault`] when the device failed; [`Error::Setting`] after a failure when no copy was kept.
    pub fn state(&mut self) -> Result<HostState, Error> {
        self.gpu.wait()?;
        match self.failure {
            None => self.state.read(&self.gpu),
            Some(failure) => self.state.read_kept(&self.gpu, failure.iteration - 1),
        }
    }

    /// W and b of each layer, of the same state. Waits.
    ///
    /// # Errors
    /// As [`DlAdmm::state`].
    pub fn layers(&mut self) -> Result<Vec<HostLayer>, Error> {
        match self.failure {
            None => self.state.read_layers(&self.gpu),
            Some(_) => Ok(self.state()?.weights_alone().layers),
        }
    }

    /// The settings of the run.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Widths of all layers, input and output included.
    pub fn widths(&self) -> &[u32] {
        &self.state.widths
    }

    /// Changes the penalties from the next submitted iteration on, without recording anything again.
    ///
    /// # Errors
    /// [`Error::Setting`] when one is not positive; [`Error::DeviceFault`] when the device failed.
    pub fn set_penalties(&mut self, rho: f32, nu: f32) -> Result<(), Error> {
        let config = Config { rho, nu, ..self.config.clone() };
        config.check()?;
        self.config = config;
        self.state.write_penalties(&self.gpu, rho, nu)?;
        match self.config.penalty.lambda() {
            0.0 => Ok(()),
            _ => self.plans.systems.run(),
        }
    }

    /// What one iteration without scores does, exactly; in an accelerated run, one with a candidate.
    pub fn counts(&self) -> Counts {
        self.iteration_plan().counts()
    }

    /// The plan of one iteration without scores, for profiles and tests; in an accelerated run, one with a candidate.
    pub fn iteration_plan(&self) -> &Plan {
        self.plans.iteration(self.config.acceleration.is_some(), false)
    }

    /// Relative distance ‖P_l − W_l a_{l−1}‖ / ‖W_l a_{l−1}‖ of each layer's resident product. Waits.
    ///
    /// # Errors
    /// [`Error::DeviceFault`] when the device failed.
    pub fn product_drift(&self) -> Result<Vec<f32>, Error> {
        sweep::product_drift(&self.gpu, &self.state)
    }

    fn take_records(&mut self, bytes: &[u8]) {
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(bytes);
        let mut records: Vec<_> = values
            .chunks_exact(self.layout.record_length() as usize)
            .take(RING_LENGTH as usize)
            .map(|values| self.layout.parse(values))
            .filter(|(record, _)| record.iteration > self.reported + self.ready.len() as u32)
            .collect();
        records.sort_by_key(|(record, _)| record.iteration);
        for (record, failure) in records {
            if self.failure.is_some() {
                return;
            }
            self.failure = failure;
            if failure.is_none() {
                self.ready.push_back(record);
            }
        }
    }

    fn hand_out(&mut self) -> Result<Vec<Record>, Error> {
        if self.ready.is_empty()
            && let Some(Failure { origin, iteration }) = self.failure
        {
            return Err(Error::NotFinite {
                solver: "dlADMM",
                iteration,
                kernel: self.plans.origins[origin as usize - 1].clone(),
                remedy: match self.config.z_last {
                    ZLast::Newton => "lower rho and nu",
                    ZLast::Fista { .. } => {
                        "lower rho and nu, or the step of FISTA, or solve the last layer's z by Newton"
                    }
                },
            });
        }
        let records: Vec<_> = self.ready.drain(..).collect();
        if let Some(last) = records.last() {
            self.reported = last.iteration;
        }
        Ok(records)
    }
}
