//! Data on its way to the device, for the commands that need some.

use std::path::Path;

use dualstep::Error;
use dualstep::checkpoint::Checkpoint;
use dualstep::data::graph::Graph;
use dualstep::data::{DataSource, Split};
use dualstep::solvers::problem::{GraphProblem, HostSamples, Problem};
use dualstep::solvers::training::{Model, TrainingConfig, TrainingState};

use super::Failure;

/// Which data to train on.
#[derive(clap::Args)]
pub struct DataArguments {
    /// `embedded` (10,000 images of Fashion-MNIST), `fashion-mnist`, `mnist`, a folder of IDX files, or a graph in
    /// FILE.safetensors, with `@SEED` behind it for another half of the nodes or `@public` for the split it comes with
    /// [default: embedded].
    #[arg(long, value_name = "SET|PATH")]
    pub data: Option<DataSource>,
    /// Train on the first so many samples [default: all].
    #[arg(long, value_name = "COUNT")]
    pub samples: Option<usize>,
}

/// What is trained on.
pub struct Data {
    /// Samples, each by itself.
    pub split: Split,
    /// The same as nodes among their neighbours, for networks that see those.
    pub nodes: Option<Nodes>,
}

/// A graph, and how its nodes are divided.
pub struct Nodes {
    graph: Graph,
    halves: [Vec<u32>; 2],
}

impl Data {
    /// Loads samples, the first `count` of the training half or all of them; or, where `on_graph` says so, a graph.
    pub fn load(source: &DataSource, count: Option<usize>, on_graph: bool) -> Result<Self, Failure> {
        match on_graph {
            true => Self::load_graph(source, count),
            false => Ok(Self { split: load(source, count)?, nodes: None }),
        }
    }

    fn load_graph(source: &DataSource, count: Option<usize>) -> Result<Self, Failure> {
        if count.is_some() {
            return Err(Failure(
                "--samples is not for --model gcn, which sees all of a graph; leave it out".into(),
            ));
        }
        let Some((graph, partition)) = source.load_graph()? else {
            let detail =
                format!("--model gcn takes a graph, which {source} is not; use cora or FILE.safetensors");
            return Err(Failure(detail));
        };
        let name = source.to_string();
        let (halves, split) = (graph.halves(partition, &name)?, graph.split(partition, &name)?);
        Ok(Self { split, nodes: Some(Nodes { graph, halves }) })
    }

    /// Calls `f` with the samples scaled.
    pub fn with_problem<T>(&self, f: impl FnOnce(&Problem<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let (train, test) = (HostSamples::new(&self.split.train)?, HostSamples::new(&self.split.test)?);
        let outputs = self.split.train.classes() as u32;
        f(&Problem { outputs, train: train.view(), test: Some(test.view()) })
    }
}

impl Nodes {
    /// The view that solvers take.
    pub fn problem(&self) -> GraphProblem<'_> {
        let [train, test] = &self.halves;
        GraphProblem { graph: &self.graph, train, test }
    }
}

/// Loads data and keeps the first `samples` of its training half, or all.
pub fn load(source: &DataSource, samples: Option<usize>) -> Result<Split, Error> {
    let Split { train, test } = source.load()?;
    let train = match samples {
        Some(samples) => train.first(samples)?,
        None => train,
    };
    Ok(Split { train, test })
}

/// Makes sure that the network of a checkpoint takes this data.
pub fn check_widths(checkpoint: &Path, widths: &[u32], split: &Split) -> Result<(), Failure> {
    let (inputs, outputs) = (widths[0] as usize, widths[widths.len() - 1] as usize);
    let (features, classes) = (split.train.features(), split.train.classes());
    if (inputs, outputs) == (features, classes) {
        return Ok(());
    }
    Err(Failure(format!(
        "{}: its network takes {inputs} features to {outputs} classes, but {} has {features} and {classes}; use the \
         data it was trained on",
        checkpoint.display(),
        split.train.name()
    )))
}

/// Makes sure that the network of a checkpoint takes samples by themselves.
pub fn check_dense(path: &Path, checkpoint: &Checkpoint) -> Result<(), Failure> {
    match &checkpoint.training {
        Some(TrainingState { config: TrainingConfig { model: Model::Gcn { .. }, .. }, .. }) => {
            Err(Failure(format!(
                "{}: its network has graph convolutions, and takes no samples without their neighbours; use it with --resume",
                path.display()
            )))
        }
        _ => Ok(()),
    }
}
