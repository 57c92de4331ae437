//! What a session trains with: dlADMM, or gradients and an optimizer's steps.

use dualstep::Error;
use dualstep::engine::Gpu;
use dualstep::models::mlp::InitialLayer;
use dualstep::solvers::dladmm::{Config, DlAdmm, HostLayer, HostState, Record};
use dualstep::solvers::problem::Problem;
use dualstep::solvers::training::{Training, TrainingConfig, TrainingRecord};

use super::{method, settings};

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Sweeps over all samples.
    DlAdmm(Box<Config>),
    /// Steps by gradients.
    Gradients(Box<TrainingConfig>),
}

impl Plan {
    /// Puts samples and the first state on the device.
    pub fn begin(&self, gpu: &Gpu, problem: &Problem<'_>) -> Result<Solver, Error> {
        Ok(match self {
            Self::DlAdmm(config) => Solver::DlAdmm(Box::new(DlAdmm::new(gpu, config, problem)?)),
            Self::Gradients(config) => Solver::Gradients(Box::new(Training::new(gpu, config, problem)?)),
        })
    }

    /// The seed of the initial weights.
    pub fn seed(&self) -> u64 {
        match self {
            Self::DlAdmm(config) => config.seed,
            Self::Gradients(config) => config.seed,
        }
    }
}

/// A network in training.
pub enum Solver {
    /// By dlADMM.
    DlAdmm(Box<DlAdmm>),
    /// By its gradients.
    Gradients(Box<Training>),
}

impl Solver {
    /// Submits an iteration.
    pub fn run(&mut self) -> Result<(), Error> {
        match self {
            Self::DlAdmm(solver) => solver.run(1),
            Self::Gradients(training) => training.run(1),
        }
    }

    /// Iterations whose record is still to come.
    pub fn in_flight(&self) -> u32 {
        match self {
            Self::DlAdmm(solver) => solver.in_flight(),
            Self::Gradients(training) => training.in_flight(),
        }
    }

    /// Records that have arrived. A step that was refused ends the training.
    pub fn poll(&mut self) -> Result<Vec<Record>, Error> {
        match self {
            Self::DlAdmm(solver) => solver.poll(),
            Self::Gradients(training) => {
                let records = training.poll()?;
                if records.last().is_some_and(|record| record.refused > 0) {
                    training.check()?;
                }
                Ok(records.iter().map(record).collect())
            }
        }
    }

    /// What a checkpoint after `iteration` holds: of a training by gradients weights alone, enough for `eval`.
    pub fn state(&mut self, iteration: u32) -> Result<(Config, HostState), Error> {
        match self {
            Self::DlAdmm(solver) => Ok((solver.config().clone(), solver.state()?)),
            Self::Gradients(training) => {
                let TrainingConfig { hidden, activation, loss, seed, .. } = training.config().clone();
                let config = Config { hidden, activation, loss, seed, ..Config::default() };
                let layer =
                    |InitialLayer { weights, bias }| HostLayer { weights, bias, ..HostLayer::default() };
                let layers = training.layers()?.into_iter().map(layer).collect();
                let state = HostState { iteration, ..HostState::at_start(&config, layers) };
                Ok((config, state))
            }
        }
    }

    /// What an iteration is replayed from.
    pub fn iteration_plan(&self) -> &dualstep::engine::Plan {
        match self {
            Self::DlAdmm(solver) => solver.iteration_plan(),
            Self::Gradients(training) => training.iteration_plan(),
        }
    }

    /// Widths of all layers, input and output included.
    pub fn widths(&self) -> &[u32] {
        match self {
            Self::DlAdmm(solver) => solver.widths(),
            Self::Gradients(training) => training.network().widths(),
        }
    }

    /// Whether there is a state to save once an iteration met a value that is not finite.
    pub fn keeps_last_finite(&self) -> bool {
        match self {
            Self::DlAdmm(solver) => solver.config().keep_last_finite,
            // The step was refused.
            Self::Gradients(_) => true,
        }
    }

    /// The settings by the names of their flags.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::DlAdmm(solver) => settings::describe(solver.config()),
            Self::Gradients(training) => method::describe(training.config()),
        }
    }
}

/// As dlADMM reports: the objective is the training cost, and there are no residuals.
fn record(record: &TrainingRecord) -> Record {
    Record {
        iteration: record.iteration,
        objective: record.train.cost,
        loss: record.batch.cost,
        residuals: Vec::new(),
        gaps: Vec::new(),
        exponents: Vec::new(),
        dropped_pivots: 0,
        rho: f32::NAN,
        nu: f32::NAN,
        tau_0: f32::NAN,
        theta_0: f32::NAN,
        acceleration: None,
        train: Some(record.train),
        test: record.test,
    }
}
