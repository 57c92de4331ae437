//! What a session trains with: dlADMM, or gradients and an optimizer's steps.

use std::path::{Path, PathBuf};

use dualstep::Error;
use dualstep::checkpoint::{self, Checkpoint};
use dualstep::data::Split;
use dualstep::engine::Gpu;
use dualstep::models::mlp::{Activation, InitialLayer};
use dualstep::solvers::dladmm::{Config, DlAdmm, HostLayer, Record};
use dualstep::solvers::sparsify::{SparseConfig, UpdateRecord};
use dualstep::solvers::training::{
    Model, ProjectedScores, Training, TrainingConfig, TrainingRecord, TrainingState,
};

use super::{method, settings};
use crate::cli::samples::{Data, Nodes};
use crate::cli::{Failure, samples};

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Sweeps over all samples.
    DlAdmm(Box<Config>),
    /// Steps by gradients.
    Gradients {
        /// The settings.
        config: Box<TrainingConfig>,
        /// Weights to begin with instead of drawn ones.
        start: Option<Start>,
        /// Where an earlier run stopped.
        resumed: Option<Box<TrainingState>>,
    },
}

/// Weights that a training begins with.
#[derive(Clone, Debug)]
pub struct Start {
    /// The checkpoint that held them.
    pub path: PathBuf,
    /// Of its hidden layers.
    pub activation: Activation,
    widths: Vec<u32>,
    layers: Vec<InitialLayer>,
}

impl Start {
    /// Reads W and b of a checkpoint; `{seed}` in its path is the seed.
    pub fn load(path: &Path, seed: u64) -> Result<Self, Failure> {
        let path = match path.to_str() {
            Some(text) => PathBuf::from(text.replace("{seed}", &seed.to_string())),
            None => path.to_owned(),
        };
        let loaded = checkpoint::load(&path)?;
        samples::check_dense(&path, &loaded)?;
        let layer = |HostLayer { weights, bias, .. }| InitialLayer { weights, bias };
        let layers = loaded.state.layers.into_iter().map(layer).collect();
        Ok(Self { path, activation: loaded.config.activation, widths: loaded.widths, layers })
    }

    /// Widths of the hidden layers.
    pub fn hidden(&self) -> &[u32] {
        &self.widths[1..self.widths.len() - 1]
    }
}

impl Plan {
    /// Puts data and the first state on the device; scaled samples are not kept on the host.
    pub fn begin(&self, gpu: &Gpu, data: &Data) -> Result<Solver, Error> {
        let (config, start, resumed) = match self {
            Self::DlAdmm(config) => {
                let solver = data.with_problem(|problem| DlAdmm::new(gpu, config, problem))?;
                return Ok(Solver::DlAdmm(Box::new(solver)));
            }
            Self::Gradients { config, start, resumed } => (config, start, resumed),
        };
        let config = method::settled(config, data.split.train.len());
        let nodes = data.nodes.as_ref().filter(|_| self.is_on_graph()).map(Nodes::problem);
        let training = match (nodes, start, resumed) {
            (Some(nodes), _, Some(state)) => Training::resume_on_graph(gpu, &config, &nodes, state),
            (Some(nodes), _, None) => Training::on_graph(gpu, &config, &nodes),
            (None, _, Some(state)) => {
                data.with_problem(|problem| Training::resume(gpu, &config, problem, state))
            }
            (None, Some(Start { layers, .. }), None) => {
                data.with_problem(|problem| Training::from_layers(gpu, &config, problem, layers))
            }
            (None, None, None) => data.with_problem(|problem| Training::new(gpu, &config, problem)),
        };
        Ok(Solver::Gradients(Box::new(training?)))
    }

    /// Whether nodes are seen with their neighbours.
    pub fn is_on_graph(&self) -> bool {
        matches!(self, Self::Gradients { config, .. } if matches!(config.model, Model::Gcn { .. }))
    }

    /// The seed of the initial weights.
    pub fn seed(&self) -> u64 {
        match self {
            Self::DlAdmm(config) => config.seed,
            Self::Gradients { config, .. } => config.seed,
        }
    }

    /// The file whose weights a training begins with.
    pub fn from(&self) -> Option<&Path> {
        match self {
            Self::Gradients { start: Some(start), .. } => Some(&start.path),
            Self::DlAdmm(_) | Self::Gradients { .. } => None,
        }
    }

    /// Makes sure that weights to begin with take this data.
    pub fn check_widths(&self, split: &Split) -> Result<(), Failure> {
        match self {
            Self::Gradients { start: Some(start), .. } => {
                samples::check_widths(&start.path, &start.widths, split)
            }
            Self::DlAdmm(_) | Self::Gradients { .. } => Ok(()),
        }
    }
}

/// What has arrived from a training.
#[derive(Default)]
pub struct News {
    /// Iterations, and their scores with weights in their pattern.
    pub records: Vec<(Record, Option<ProjectedScores>)>,
    /// Updates of N:M ADMM.
    pub updates: Vec<UpdateRecord>,
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

    /// Records still to come.
    pub fn in_flight(&self) -> u32 {
        match self {
            Self::DlAdmm(solver) => solver.in_flight(),
            Self::Gradients(training) => training.in_flight(),
        }
    }

    /// What has arrived. A step that was refused ends the training, as does a weight that is not finite.
    pub fn poll(&mut self) -> Result<News, Error> {
        match self {
            Self::DlAdmm(solver) => {
                let records = solver.poll()?.into_iter().map(|record| (record, None)).collect();
                Ok(News { records, ..News::default() })
            }
            Self::Gradients(training) => {
                let (records, updates) = (training.poll()?, training.poll_updates()?);
                let is_refused = records.last().is_some_and(|record| record.refused > 0);
                let mut measures = updates.iter().flat_map(|update| &update.measures.0);
                if is_refused || measures.any(|measure| measure.not_finite > 0.0) {
                    training.check()?;
                }
                let records = records.iter().map(|it| (record(it), it.projected)).collect();
                Ok(News { records, updates })
            }
        }
    }

    /// Whether weights are to be put in a pattern and were not yet.
    pub fn is_before_pattern(&self) -> bool {
        match self {
            Self::DlAdmm(_) => false,
            Self::Gradients(training) => {
                training.is_before_pattern()
                    && !training.config().sparse.as_ref().is_some_and(SparseConfig::is_dense)
            }
        }
    }

    /// A checkpoint after all iterations that were submitted, of a run on so many samples of this data.
    pub fn checkpoint(&mut self, samples: u32, data: String) -> Result<Checkpoint, Error> {
        match self {
            Self::DlAdmm(solver) => {
                let (config, widths) = (solver.config().clone(), solver.widths().to_vec());
                Ok(Checkpoint { config, widths, samples, data, state: solver.state()?, training: None })
            }
            Self::Gradients(training) => {
                Ok(Checkpoint::of_training(training.state()?, training.widths(), data))
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
            Self::Gradients(training) => training.widths(),
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
