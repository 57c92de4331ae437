//! A training between two iterations, as the host keeps it.

use super::{Model, Optimizer, TrainingConfig};
use crate::Error;
use crate::models::mlp::InitialLayer;
use crate::solvers::badm::BadmConfig;
use crate::solvers::optimizer::Snapshot;

/// Everything that the next iteration depends on beside data: a [`Training`](super::Training) that goes on from it has the
/// same bits as one that never stopped.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingState {
    /// The settings that it is a state of.
    pub config: TrainingConfig,
    /// Samples, or nodes, that were learnt from.
    pub samples: u32,
    /// Iterations done.
    pub iteration: u32,
    /// W and b of each layer.
    pub layers: Vec<InitialLayer>,
    /// The optimizer's clock, and its moments or duals as they are stored.
    pub optimizer: Snapshot,
    /// Where in which epoch the next batch begins, and which masks dropout draws next: the words of a cursor.
    pub cursor: Vec<u32>,
    /// Where weights become sparse, the words of T and of penalties; else nothing.
    pub sparse: Vec<Vec<u32>>,
}

impl TrainingState {
    /// Refuses settings whose training could not go on from here. Constants of a step, such as the learning rate, may differ,
    /// and how often scores are taken.
    pub(super) fn check(&self, config: &TrainingConfig, samples: u32) -> Result<(), Error> {
        let [then, now] =
            [(&self.config, self.samples), (config, samples)].map(|(config, count)| facts(config, count));
        match then.iter().zip(&now).find(|(then, now)| then != now) {
            None => Ok(()),
            Some(((name, then), (_, now))) => {
                let detail = format!(
                    "{name} {now}, but the state is of a run with {name} {then}; go on with that, or begin anew"
                );
                Err(Error::Plan { plan: "resume".into(), detail })
            }
        }
    }
}

/// What a state belongs to, by name.
fn facts(config: &TrainingConfig, samples: u32) -> [(&'static str, String); 11] {
    let TrainingConfig { model, activation, loss, seed, batch, optimizer, sparse, .. } = config;
    let (method, storage, sub_batches, slots) = match optimizer {
        Optimizer::FirstOrder(config) => (config.method.name().into(), "F32".into(), 1, String::new()),
        Optimizer::Badm(BadmConfig { storage, sub_batches, slots, .. }) => {
            ("badm".to_owned(), format!("{storage:?}"), *sub_batches, format!("{slots:?}"))
        }
    };
    let network = match model {
        Model::Mlp { hidden } => format!("mlp {hidden:?}"),
        Model::Gcn { hidden, skips, dropout } => format!("gcn {hidden:?}, skips {skips}, dropout {dropout}"),
    };
    [
        ("method", method),
        ("storage", storage),
        ("batch", batch.map_or("all".into(), |batch| batch.to_string())),
        ("samples", samples.to_string()),
        ("sub-batches", sub_batches.to_string()),
        ("slots", slots),
        ("pattern", sparse.as_ref().map_or("none".into(), |sparse| sparse.patterns.to_string())),
        ("sparse", sparse.as_ref().map_or("none".into(), |sparse| format!("{sparse:?}"))),
        ("model", network),
        ("activation and loss", format!("{activation:?}, {loss:?}")),
        ("seed", seed.to_string()),
    ]
}
