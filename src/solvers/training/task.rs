//! What the gradients of a training are of and its scores are taken on: samples through dense layers, or the nodes of a
//! graph through convolutions. [`Training`](super::Training) records its plans through this and knows neither.

use super::{Model, TrainingConfig};
use crate::Error;
use crate::engine::{Gpu, PlanBuilder, Shape, Slab, StorageType, Tensor};
use crate::kernels::{batch, reduce};
use crate::models::gcn::{Gcn, GcnConfig, GraphTensors, Layer, NodeList};
use crate::models::mlp::{self, InitialLayer, Loss, Mlp};
use crate::solvers::problem::{GraphProblem, Problem, Samples};
use crate::solvers::scoring::{self, Inputs, Scoring};

/// A network on the device with its data.
#[derive(Debug)]
pub(super) enum Task {
    Samples { network: Mlp, train: Inputs, test: Option<Inputs> },
    Nodes(Box<OnGraph>),
}

/// A network that sees nodes with their neighbours.
#[derive(Debug)]
pub(super) struct OnGraph {
    network: Gcn,
    graph: GraphTensors,
    train: NodeList,
    test: Option<NodeList>,
}

/// The batch that a plan is of: so many samples from where the cursor stands.
pub(super) struct Drawn<'a> {
    pub cursor: &'a Tensor,
    pub samples: u32,
    pub reshuffles: bool,
}

/// One of the two sets that scores are taken on.
#[derive(Clone, Copy)]
pub(super) enum Half {
    Train,
    Test,
}

/// Where scores go.
pub(super) struct Place<'a> {
    pub totals: &'a Tensor,
    pub slot: u32,
    pub status: &'a Tensor,
}

impl Task {
    pub fn of_samples(gpu: &Gpu, config: &TrainingConfig, problem: &Problem<'_>) -> Result<Self, Error> {
        problem.check(config.loss)?;
        let Model::Mlp { hidden } = &config.model else {
            return Err(refused("gcn", "takes a graph, not samples; begin by Training::on_graph"));
        };
        let ends = (problem.train.features, problem.outputs);
        let widths: Vec<_> = std::iter::once(ends.0).chain(hidden.iter().copied()).chain([ends.1]).collect();
        let network = Mlp::new(&widths, config.activation, config.loss)?;
        let upload =
            |samples: &Samples<'_>| Inputs::upload(gpu, samples, scoring::cut(gpu, samples, &widths)?);
        let train = upload(&problem.train)?;
        if train.targets.len() > 1 {
            return Err(too_many_samples(&widths, problem.train.count()));
        }
        Ok(Self::Samples { network, train, test: problem.test.as_ref().map(upload).transpose()? })
    }

    pub fn of_nodes(gpu: &Gpu, config: &TrainingConfig, problem: &GraphProblem<'_>) -> Result<Self, Error> {
        let Model::Gcn { hidden, skips, dropout } = &config.model else {
            return Err(refused("mlp", "takes samples, not a graph; begin by Training::new"));
        };
        let (setting, expected) = ("batch", "a graph is trained on in full batches; leave it out");
        if let Some(batch) = config.batch {
            return Err(Error::Setting { setting, value: batch.to_string(), expected });
        }
        if config.loss != Loss::CrossEntropy {
            return Err(refused("gcn", "is judged by cross-entropy"));
        }
        let GraphProblem { graph, train, test } = *problem;
        let classes = graph.classes() as u32;
        let layers = hidden.iter().copied().chain([Layer::Dense(classes)]).collect();
        let settings = GcnConfig { layers, activation: config.activation, skips: *skips, dropout: *dropout };
        let list = |nodes| NodeList::new(gpu, nodes, graph.labels(), classes);
        let network = Gcn::new(graph.width() as u32, &settings)?;
        let upload = if network.adds_features() { GraphTensors::upload_dense } else { GraphTensors::upload };
        Ok(Self::Nodes(Box::new(OnGraph {
            network,
            train: list(train)?,
            test: if test.is_empty() { None } else { Some(list(test)?) },
            graph: upload(gpu, graph)?,
        })))
    }

    pub fn slab(&self) -> &Slab {
        match self {
            Self::Samples { network, .. } => network.slab(),
            Self::Nodes(on) => on.network.slab(),
        }
    }

    pub fn widths(&self) -> &[u32] {
        match self {
            Self::Samples { network, .. } => network.widths(),
            Self::Nodes(on) => on.network.widths(),
        }
    }

    /// How many there are to learn from, and to be judged by.
    pub fn samples(&self) -> (u32, u32) {
        match self {
            Self::Samples { train, test, .. } => (train.count(), test.as_ref().map_or(0, Inputs::count)),
            Self::Nodes(on) => (on.train.count(), on.test.as_ref().map_or(0, NodeList::count)),
        }
    }

    /// A row of parameters: drawn, or those of `layers`.
    pub fn parameters(
        &self,
        gpu: &Gpu,
        config: &TrainingConfig,
        layers: Option<&[InitialLayer]>,
    ) -> Result<Tensor, Error> {
        match (self, layers) {
            (Self::Samples { network, .. }, Some(layers)) => network.upload(gpu, layers),
            (Self::Samples { network, .. }, None) => network.parameters(gpu, config.initial, config.seed),
            (Self::Nodes(on), Some(layers)) => on.network.upload(gpu, layers),
            (Self::Nodes(on), None) => on.network.parameters(gpu, config.initial, config.seed),
        }
    }

    /// W and b of each layer.
    pub fn layers(&self, parameters: &Tensor) -> Result<Vec<(Tensor, Tensor)>, Error> {
        match self {
            Self::Samples { network, .. } => network.layers(parameters),
            Self::Nodes(on) => on.network.layers(parameters),
        }
    }

    /// Gradients of a batch, one row for each sub-batch, and its scores; the cursor goes on to the next.
    pub fn gradients(
        &self,
        plan: &mut PlanBuilder,
        parameters: &Tensor,
        drawn: &Drawn<'_>,
        gradients: &Tensor,
    ) -> Result<mlp::Scores, Error> {
        match self {
            Self::Samples { network, train, .. } => {
                let drawn_inputs = drawn.inputs(plan, train)?;
                let inputs = drawn_inputs.as_ref().map_or(train.values.block(0), mlp::Inputs::Dense);
                let targets = drawn.targets(plan, train)?;
                let labelled = match targets.storage() {
                    StorageType::U32 => mlp::Targets::Classes(&targets),
                    _ => mlp::Targets::Values(&targets),
                };
                if drawn_inputs.is_some() {
                    batch::advance(plan, drawn.cursor, (drawn.samples, train.count()), drawn.reshuffles)?;
                }
                network.gradients(plan, parameters, inputs, labelled, gradients)
            }
            Self::Nodes(on) => {
                let OnGraph { network, graph, train, .. } = on.as_ref();
                network.gradients(plan, parameters, graph, train, drawn.cursor, gradients)
            }
        }
    }

    /// `totals[slot]` = (Σ cost, hits, 0, 0) of one half, if it is there.
    pub fn scores(
        &self,
        plan: &mut PlanBuilder,
        config: &TrainingConfig,
        parameters: &Tensor,
        half: Half,
        Place { totals, slot, status }: &Place<'_>,
    ) -> Result<(), Error> {
        let (slot, origin) = (*slot, 1);
        match self {
            Self::Samples { network, train, test } => {
                let Some(inputs) = half.of(train, test) else { return Ok(()) };
                let layers = network.layers(parameters)?;
                let layers: Vec<_> = layers.iter().map(|(weights, bias)| (weights, bias)).collect();
                let (f, loss) = (config.activation, config.loss);
                let first_product = None;
                let scoring =
                    Scoring { inputs, layers: &layers, f, loss, first_product, totals, slot, status, origin };
                scoring::scores(plan, &scoring)
            }
            Self::Nodes(on) => {
                let OnGraph { network, graph, train, test } = on.as_ref();
                let Some(nodes) = half.of(train, test) else { return Ok(()) };
                let scores = network.scores(plan, parameters, graph, nodes)?;
                let (partials, count) = (&scores.partials, scores.count);
                reduce::totals(plan, reduce::Totals { partials, count, totals, slot, status, origin })
            }
        }
    }
}

impl Half {
    fn of<'a, T>(self, train: &'a T, test: &'a Option<T>) -> Option<&'a T> {
        match self {
            Self::Train => Some(train),
            Self::Test => test.as_ref(),
        }
    }
}

impl Drawn<'_> {
    /// The batch's samples, or none where it is all of them as they lie. Dense even where all are sparse: few, and drawn
    /// anew for every batch.
    fn inputs(&self, plan: &mut PlanBuilder, all: &Inputs) -> Result<Option<Tensor>, Error> {
        if self.samples == all.count() {
            return Ok(None);
        }
        let all = all.values.block(0);
        let drawn = plan.gpu().zeros(Shape::new(self.samples, all.shape().columns), StorageType::F32)?;
        match all {
            mlp::Inputs::Dense(all) => batch::gather(plan, all, self.cursor, &drawn)?,
            mlp::Inputs::Sparse(all) => batch::gather_sparse(plan, all.rows(), self.cursor, &drawn)?,
        }
        Ok(Some(drawn))
    }

    /// Their targets.
    fn targets(&self, plan: &mut PlanBuilder, all: &Inputs) -> Result<Tensor, Error> {
        let targets = &all.targets[0];
        if self.samples == all.count() {
            return Ok(targets.clone());
        }
        let gpu = plan.gpu().clone();
        match targets.storage() {
            StorageType::U32 => {
                let drawn = gpu.zeros(Shape::vector(self.samples), StorageType::U32)?;
                batch::gather_labels(plan, targets, self.cursor, &drawn)?;
                Ok(drawn)
            }
            storage => {
                let drawn = gpu.zeros(Shape::new(self.samples, targets.shape().columns), storage)?;
                batch::gather(plan, targets, self.cursor, &drawn)?;
                Ok(drawn)
            }
        }
    }
}

fn refused(model: &str, expected: &'static str) -> Error {
    Error::Setting { setting: "model", value: model.into(), expected }
}

fn too_many_samples(widths: &[u32], samples: u32) -> Error {
    Error::Limit {
        what: format!("{samples} samples of widths {widths:?}"),
        needed: "more than one binding".into(),
        allowed: "one".into(),
        remedy: "train on fewer samples, or on a device with larger bindings",
    }
}
