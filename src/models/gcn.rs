//! Graph convolutional networks (Kipf and Welling 2017): forward passes over all nodes of a graph, and gradients of each
//! sub-batch's mean loss by backward propagation.
//!
//! ```text
//! dense layer      z_l = W_l a_{l−1} + b_l            of each node by itself
//! convolution      z_l = Â W_l a_{l−1} + b_l          Â mixes a node with its neighbours, see data::graph
//! both             a_l = m_l ∘ f(z_l), + a_{l−1} where a convolution skips;  a_0 = m_0 ∘ x;  m_l: masks of dropout
//! loss             mean cross-entropy over the nodes of a sub-batch, at the logits z_L
//! backward         g_L = ∂loss/∂z_L;  δ_l = g_l ∘ m_l ∘ f′(z_l),  q_l = Â δ_l, or δ_l;  g_{l−1} = W_lᵀ q_l, + g_l
//! gradients        ∂/∂W_l = Σ q_l a_{l−1}ᵀ,  ∂/∂b_l = Σ δ_l        over the nodes
//! ```
//!
//! Â comes after W, so that its products are as wide as a layer's output and not as its input, and as it is symmetric one
//! product serves both ways.
//!
//! The loss sees a list of nodes, cut into sub-batches as a batch of samples is. Up to the last convolution every node
//! matters; from there on only those of the list, which are taken out of all. Backward, the layers after it are those of
//! an [`Mlp`]: a node is of one sub-batch, and one δ serves all. Through a convolution each sub-batch reaches every node,
//! so that its δ is spread over a matrix of its own; these lie in one stack, and each product takes the whole stack.
//!
//! # Examples
//!
//! ```no_run
//! use dualstep::data::graph::{Graph, Partition};
//! use dualstep::engine::{Gpu, GpuOptions, PlanBuilder, StorageType};
//! use dualstep::models::gcn::{Gcn, GcnConfig, GraphTensors, Layer, NodeList};
//! use dualstep::models::mlp::Initial;
//! use dualstep::solvers::badm::{Badm, BadmConfig, SubBatches};
//!
//! fn main() -> Result<(), dualstep::Error> {
//!     let gpu = Gpu::open(&GpuOptions::default())?;
//!     let graph = Graph::read("cora.safetensors".as_ref())?;
//!     let [train, _test] = graph.halves(Partition::Half { seed: 0 }, "cora")?;
//!     let layers = [Layer::Dense(32), Layer::Convolution(32), Layer::Convolution(32), Layer::Dense(7)];
//!     let config = GcnConfig { skips: true, dropout: 0.5, ..GcnConfig::new(&layers) };
//!     let network = Gcn::new(graph.width() as u32, &config)?;
//!     let w = network.parameters(&gpu, Initial::Keras, 0)?;
//!     let tensors = GraphTensors::upload(&gpu, &graph)?;
//!     let train = NodeList::new(&gpu, &train, graph.labels(), 7)?;
//!
//!     // Eight sub-batches, one dispatch for all their parameters.
//!     let gradients = gpu.zeros(network.slab().shape(8), StorageType::F32)?;
//!     let cursor = network.cursor(&gpu, 0)?;
//!     let badm = Badm::new(&gpu, &BadmConfig::robust(8, 1e-3), &w)?;
//!     let mut plan = PlanBuilder::new(&gpu, "step");
//!     network.gradients(&mut plan, &w, &tensors, &train, &cursor, &gradients)?;
//!     badm.record(&mut plan, &SubBatches::even(&gradients))?;
//!     let plan = plan.finish()?;
//!     for _ in 0..200 {
//!         plan.run()?; // submits, and does not wait
//!     }
//!     badm.check()
//! }
//! ```

use super::inputs::{self, Inputs, OwnedInputs};
use super::mlp::{Activation, Initial, InitialLayer, Loss, Mlp, Scores};
use crate::Error;
use crate::data::graph::Graph;
use crate::engine::{Gpu, PlanBuilder, Shape, Slab, StorageType, Tensor};
use crate::kernels::elementwise::{self, Dropout};
use crate::kernels::linalg::{self, Transposed};
use crate::kernels::mlp::{Gradients, bias_gradient};
use crate::kernels::sparse::{self, Sparse};
use crate::kernels::{batch, gcn as kernel, loss};
use std::fmt;
use std::str::FromStr;

/// One layer and how wide its output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Of each node by itself.
    Dense(u32),
    /// Mixed with the node's neighbours.
    Convolution(u32),
}

impl Layer {
    /// Width of its output.
    pub fn width(self) -> u32 {
        match self {
            Self::Dense(width) | Self::Convolution(width) => width,
        }
    }

    fn is_convolution(self) -> bool {
        matches!(self, Self::Convolution(_))
    }
}

impl fmt::Display for Layer {
    /// As it is read: `32`, or `c32` for a convolution.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_convolution() { "c" } else { "" };
        write!(f, "{mark}{}", self.width())
    }
}

impl FromStr for Layer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (width, layer): (_, fn(u32) -> Self) = match text.strip_prefix('c') {
            Some(width) => (width, Self::Convolution),
            None => (text, Self::Dense),
        };
        width
            .parse()
            .map(layer)
            .map_err(|_| "must be a width, with c before it for a graph convolution".into())
    }
}

/// Settings of a [`Gcn`].
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct GcnConfig {
    /// All layers; the last is as wide as there are classes, and at least one is a convolution.
    pub layers: Vec<Layer>,
    /// f of every layer but the last.
    pub activation: Activation,
    /// Whether to what a convolution computes its input is added, where that is as wide. The last layer has no skip.
    pub skips: bool,
    /// The chance with which dropout takes each feature, and each activation of every layer but the last, while training:
    /// from 0 to less than 1.
    pub dropout: f32,
}

impl GcnConfig {
    /// These layers with ReLU, without skips and dropout.
    pub fn new(layers: &[Layer]) -> Self {
        Self { layers: layers.to_vec(), activation: Activation::Relu, skips: false, dropout: 0.0 }
    }
}

/// A graph on the device.
#[derive(Clone, Debug)]
pub struct GraphTensors {
    features: OwnedInputs,
    adjacency: Sparse,
}

impl GraphTensors {
    /// `features` is nodes × features, a tensor or [`SparseInputs`](super::inputs::SparseInputs), `adjacency` the symmetric
    /// nodes × nodes.
    ///
    /// # Errors
    /// [`Error::Samples`] when the numbers of nodes differ.
    pub fn new(features: impl Into<OwnedInputs>, adjacency: Sparse) -> Result<Self, Error> {
        let features = features.into();
        let nodes = features.shape().rows;
        if adjacency.shape() == Shape::new(nodes, nodes) {
            return Ok(Self { features, adjacency });
        }
        let detail = format!("the features of {nodes} nodes, but an adjacency of {}", adjacency.shape());
        Err(Error::Samples { what: "graph", detail })
    }

    /// Features and normalised adjacency of a graph that was read, the features by their entries where that pays.
    ///
    /// # Errors
    /// [`Error::Limit`] when one of them exceeds one binding.
    pub fn upload(gpu: &Gpu, graph: &Graph) -> Result<Self, Error> {
        Self::new(OwnedInputs::upload(gpu, graph.width() as u32, graph.features())?, adjacency(gpu, graph)?)
    }

    /// The same with all elements of the features, for networks that [add](Gcn::adds_features) them to an output.
    ///
    /// # Errors
    /// As [`GraphTensors::upload`].
    pub fn upload_dense(gpu: &Gpu, graph: &Graph) -> Result<Self, Error> {
        let shape = Shape::new(graph.nodes() as u32, graph.width() as u32);
        let features = graph.features().dense(0..graph.nodes(), graph.width());
        Self::new(gpu.upload(shape, &features)?, adjacency(gpu, graph)?)
    }

    fn nodes(&self) -> u32 {
        self.features.shape().rows
    }
}

fn adjacency(gpu: &Gpu, graph: &Graph) -> Result<Sparse, Error> {
    let matrix = graph.adjacency();
    Sparse::upload(gpu, graph.nodes() as u32, &matrix.starts, &matrix.columns, &matrix.values)
}

/// Some nodes of a graph with their labels: those to learn from, or to be judged by.
#[derive(Clone, Debug)]
pub struct NodeList {
    nodes: Vec<u32>,
    labels: Tensor,
    /// Takes their rows out of those of all nodes: listed × nodes, a 1 in each row.
    gather: Sparse,
}

impl NodeList {
    /// These nodes, in this order, of a graph whose nodes have these `labels`.
    ///
    /// # Errors
    /// [`Error::Samples`] when there are none, one is out of range, is there twice, or has a label that is no class;
    /// [`Error::Limit`] when the graph exceeds one binding.
    pub fn new(gpu: &Gpu, nodes: &[u32], labels: &[u32], classes: u32) -> Result<Self, Error> {
        check_list(nodes, labels, classes).map_err(|detail| Error::Samples { what: "node list", detail })?;
        let count = nodes.len() as u32;
        let of_nodes: Vec<u32> = nodes.iter().map(|node| labels[*node as usize]).collect();
        let starts: Vec<u32> = (0..=count).collect();
        Ok(Self {
            nodes: nodes.to_vec(),
            labels: gpu.upload_u32(Shape::vector(count), &of_nodes)?,
            gather: Sparse::upload(gpu, labels.len() as u32, &starts, nodes, &vec![1.0; nodes.len()])?,
        })
    }

    /// How many.
    pub fn count(&self) -> u32 {
        self.nodes.len() as u32
    }

    /// Puts each listed row where its node is in the matrix of its sub-batch, in a stack of these: sub-batches · nodes ×
    /// listed, a 1 or nothing in each row. What is not listed, or of another sub-batch, becomes zero.
    fn spread(&self, gpu: &Gpu, sub_batches: u32) -> Result<Sparse, Error> {
        let nodes = self.gather.shape().columns as usize;
        let (mut starts, mut indices) = (vec![0], Vec::new());
        let mut first = 0;
        for size in batch::sub_batch_sizes(self.count(), sub_batches) {
            let mut listed = vec![None; nodes];
            for place in first..first + size {
                listed[self.nodes[place as usize] as usize] = Some(place);
            }
            first += size;
            for place in listed {
                indices.extend(place);
                starts.push(indices.len() as u32);
            }
        }
        Sparse::upload(gpu, self.count(), &starts, &indices, &vec![1.0; indices.len()])
    }
}

/// What is wrong with a list of nodes, in words.
fn check_list(nodes: &[u32], labels: &[u32], classes: u32) -> Result<(), String> {
    let mut is_listed = vec![false; labels.len()];
    for node in nodes {
        let Some(label) = labels.get(*node as usize) else {
            return Err(format!("node {node}, but there are {}", labels.len()));
        };
        if *label >= classes {
            return Err(format!("node {node} has label {label}, not below {classes}"));
        }
        if std::mem::replace(&mut is_listed[*node as usize], true) {
            return Err(format!("node {node} twice"));
        }
    }
    if nodes.is_empty() { Err("no nodes; there must be some".into()) } else { Ok(()) }
}

/// A network's layers and functions.
#[derive(Clone, Debug)]
pub struct Gcn {
    config: GcnConfig,
    /// The same layers without a graph: where their parameters lie and how they begin.
    dense: Mlp,
    last_convolution: usize,
}

impl Gcn {
    /// A network for nodes of so many features.
    ///
    /// # Errors
    /// [`Error::Setting`] when no layer is a convolution, a width is 0 or dropout is out of range; [`Error::Limit`] when
    /// the parameters are more than 2³².
    pub fn new(features: u32, config: &GcnConfig) -> Result<Self, Error> {
        let refuse = |setting, value, expected| Err(Error::Setting { setting, value, expected });
        let Some(last_convolution) = config.layers.iter().rposition(|layer| layer.is_convolution()) else {
            return refuse("layers", format!("{:?}", config.layers), "at least one must be a convolution");
        };
        if !(0.0..1.0).contains(&config.dropout) {
            return refuse("dropout", config.dropout.to_string(), "must be at least 0 and less than 1");
        }
        let widths: Vec<u32> =
            std::iter::once(features).chain(config.layers.iter().map(|layer| layer.width())).collect();
        let dense = Mlp::new(&widths, config.activation, Loss::CrossEntropy)?;
        Ok(Self { config: config.clone(), dense, last_convolution })
    }

    /// Where W_1, b_1, W_2, b_2 … lie in a row of parameters or gradients.
    pub fn slab(&self) -> &Slab {
        self.dense.slab()
    }

    /// Widths of all layers, input and output included.
    pub fn widths(&self) -> &[u32] {
        self.dense.widths()
    }

    /// A row of parameters, drawn by a seed.
    ///
    /// # Errors
    /// As [`Mlp::parameters`].
    pub fn parameters(&self, gpu: &Gpu, initial: Initial, seed: u64) -> Result<Tensor, Error> {
        self.dense.parameters(gpu, initial, seed)
    }

    /// A row of parameters from W and b of each layer.
    ///
    /// # Errors
    /// As [`Mlp::upload`].
    pub fn upload(&self, gpu: &Gpu, layers: &[InitialLayer]) -> Result<Tensor, Error> {
        self.dense.upload(gpu, layers)
    }

    /// W and b of each layer, as views of a row of parameters.
    ///
    /// # Errors
    /// As [`Mlp::layers`].
    pub fn layers(&self, parameters: &Tensor) -> Result<Vec<(Tensor, Tensor)>, Error> {
        self.dense.layers(parameters)
    }

    /// Where dropout's masks begin: a cursor (see [`batch`]) with this seed.
    ///
    /// # Errors
    /// [`Error::DeviceFault`] when the device failed.
    pub fn cursor(&self, gpu: &Gpu, seed: u32) -> Result<Tensor, Error> {
        batch::cursor(gpu, seed)
    }

    /// Adds the gradients at the nodes of `train` to a plan: one row of `gradients` for each sub-batch, of its mean loss.
    /// Sub-batch n of S in a list of B nodes is those from ⌊nB/S⌋ up to ⌊(n + 1)B/S⌋. Returns the list's scores, which
    /// with dropout are those of what is left of the network.
    ///
    /// Dropout draws by the `cursor`'s seed and batches, and the cursor then advances by all nodes, a batch and an epoch: so
    /// each replay draws masks of its own.
    ///
    /// # Errors
    /// [`Error::Shape`] when shapes disagree or there are more sub-batches than nodes; [`Error::Limit`] when a stack of
    /// sub-batches exceeds one binding; those of [`PlanBuilder::dispatch`].
    pub fn gradients(
        &self,
        plan: &mut PlanBuilder,
        parameters: &Tensor,
        graph: &GraphTensors,
        train: &NodeList,
        cursor: &Tensor,
        gradients: &Tensor,
    ) -> Result<Scores, Error> {
        let masks = Masks { cursor, rate: self.config.dropout };
        let pass = self.forward(plan, parameters, graph, train, masks)?;
        let count = loss::partial_count(train.count());
        let scores = Scores { partials: plan.temporary(Shape::new(count, 4)), count };
        let delta = plan.temporary(pass.logits().0.shape());
        let (sub_batches, into) = (gradients.shape().rows, (&scores.partials, 0));
        loss::softmax_gradient(plan, pass.logits(), &train.labels, sub_batches, &delta, into)?;
        let spread = train.spread(plan.gpu(), sub_batches)?;
        self.backward(plan, &pass, &spread, delta, gradients)?;
        batch::advance(plan, cursor, (train.count(), train.count()), true)?;
        Ok(scores)
    }

    /// Adds the scores at some nodes to a plan, without dropout.
    ///
    /// # Errors
    /// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
    pub fn scores(
        &self,
        plan: &mut PlanBuilder,
        parameters: &Tensor,
        graph: &GraphTensors,
        nodes: &NodeList,
    ) -> Result<Scores, Error> {
        let cursor = plan.gpu().zeros(Shape::vector(batch::CURSOR_LENGTH), StorageType::U32)?;
        let masks = Masks { cursor: &cursor, rate: 0.0 };
        let pass = self.forward(plan, parameters, graph, nodes, masks)?;
        let count = loss::partial_count(nodes.count());
        let partials = plan.temporary(Shape::new(count, 4));
        let (product, bias) = pass.logits();
        loss::softmax_scores(plan, product, bias, &nodes.labels, &partials, 0)?;
        Ok(Scores { partials, count })
    }

    /// Whether the first layer adds the features to its output: it is a convolution as wide as they are, with a skip. It
    /// takes them dense alone.
    pub fn adds_features(&self) -> bool {
        self.skips(0)
    }

    /// Whether a layer, counted from 0, adds its input to its output.
    fn skips(&self, l: usize) -> bool {
        let widths = self.widths();
        let is_hidden = l + 1 < self.config.layers.len();
        self.config.skips && is_hidden && self.config.layers[l].is_convolution() && widths[l] == widths[l + 1]
    }

    fn forward<'a>(
        &self,
        plan: &mut PlanBuilder,
        parameters: &Tensor,
        graph: &'a GraphTensors,
        nodes: &NodeList,
        masks: Masks<'a>,
    ) -> Result<Pass<'a>, Error> {
        if nodes.gather.shape().columns != graph.nodes() {
            let (of, nodes) = (nodes.gather.shape().columns, graph.nodes());
            let detail = format!("a list of nodes of a graph of {of}, but the graph has {nodes}");
            return Err(Error::Samples { what: "node list", detail });
        }
        let layers = self.layers(parameters)?;
        let features = masks.drop_features(plan, &graph.features)?;
        let (mut outputs, mut activations): (Vec<Tensor>, _) = (Vec::new(), Vec::new());
        for (l, (weights, bias)) in layers.iter().enumerate() {
            let below = outputs.last().map_or(features.borrowed(), Inputs::Dense);
            let product = inputs::product(plan, below, weights)?;
            let mut output = match self.config.layers[l] {
                Layer::Dense(_) => product,
                Layer::Convolution(_) => mixed(plan, &graph.adjacency, &product)?,
            };
            if l + 1 < layers.len() {
                let activation = plan.temporary(output.shape());
                elementwise::activate(plan, &output, bias, &activation, self.config.activation)?;
                let skipped = if self.skips(l) { Some(all_elements(below)?) } else { None };
                output = masks.drop(plan, l + 1, &activation, skipped)?;
                activations.push(activation);
            }
            if l == self.last_convolution {
                let listed = plan.temporary(Shape::new(nodes.count(), output.shape().columns));
                sparse::product(plan, &nodes.gather, &output, &listed)?;
                output = listed;
            }
            outputs.push(output);
        }
        Ok(Pass { graph, layers, masks, features, outputs, activations })
    }

    /// From the gradient at the logits of the listed nodes down to the first layer.
    fn backward(
        &self,
        plan: &mut PlanBuilder,
        pass: &Pass<'_>,
        spread: &Sparse,
        at_logits: Tensor,
        gradients: &Tensor,
    ) -> Result<(), Error> {
        let layers = &pass.layers;
        // By the layer's output; at the logits that is their z.
        let mut above = at_logits;
        for l in (0..layers.len()).rev() {
            if l == self.last_convolution {
                above = stacked(plan, spread, &above)?;
            }
            let mut delta = above.clone();
            if l + 1 < layers.len() {
                delta = plan.temporary(above.shape());
                let (activation, dropout) = (&pass.activations[l], pass.masks.of(l + 1));
                kernel::delta(plan, &above, activation, self.config.activation, &dropout, &delta)?;
            }
            let place = |part| Gradients { rows: gradients, first: self.slab().start(part) };
            bias_gradient(plan, &delta, place(2 * l + 1))?;
            if self.config.layers[l].is_convolution() {
                delta = mixed(plan, &pass.graph.adjacency, &delta)?;
            }
            pass.below(l).weight_gradient(plan, &delta, place(2 * l))?;
            if l > 0 {
                let (left, right) = ((&delta, Transposed::No), (&layers[l].0, Transposed::No));
                if self.skips(l) {
                    linalg::matmul_add(plan, left, right, &above)?;
                } else {
                    above = plan.temporary(Shape::new(delta.shape().rows, layers[l].0.shape().columns));
                    linalg::matmul(plan, left, right, &above)?;
                }
            }
        }
        Ok(())
    }
}

/// A forward pass: what it took, and what it leaves.
struct Pass<'a> {
    graph: &'a GraphTensors,
    /// W and b of each.
    layers: Vec<(Tensor, Tensor)>,
    masks: Masks<'a>,
    /// a_0.
    features: OwnedInputs,
    /// a_l of each layer, of all nodes or of those listed; of the last z at the listed nodes, without its bias.
    outputs: Vec<Tensor>,
    /// f(z) of each layer but the last, before dropout and skip.
    activations: Vec<Tensor>,
}

impl Pass<'_> {
    /// What layer l takes, counted from 0.
    fn below(&self, l: usize) -> Inputs<'_> {
        l.checked_sub(1).map_or(self.features.borrowed(), |below| Inputs::Dense(&self.outputs[below]))
    }

    /// The logits: a product, and the bias that belongs to it.
    fn logits(&self) -> (&Tensor, &Tensor) {
        let last = self.layers.len() - 1;
        (&self.outputs[last], &self.layers[last].1)
    }
}

/// Dropout in all layers of one pass.
struct Masks<'a> {
    cursor: &'a Tensor,
    rate: f32,
}

impl Masks<'_> {
    fn of(&self, layer: usize) -> Dropout<'_> {
        Dropout { cursor: self.cursor, layer: layer as u32, rate: self.rate }
    }

    /// m_0 ∘ x.
    fn drop_features(&self, plan: &mut PlanBuilder, x: &OwnedInputs) -> Result<OwnedInputs, Error> {
        if self.rate == 0.0 { Ok(x.clone()) } else { x.dropped(plan, &self.of(0)) }
    }

    /// m ∘ x, with `skipped` added if there is any.
    fn drop(
        &self,
        plan: &mut PlanBuilder,
        layer: usize,
        x: &Tensor,
        skipped: Option<&Tensor>,
    ) -> Result<Tensor, Error> {
        if self.rate == 0.0 && skipped.is_none() {
            return Ok(x.clone());
        }
        let y = plan.temporary(x.shape());
        match skipped {
            Some(skipped) => kernel::skip(plan, x, skipped, &self.of(layer), &y)?,
            None => elementwise::dropout(plan, x, &self.of(layer), &y)?,
        }
        Ok(y)
    }
}

/// What a skip adds.
fn all_elements(input: Inputs<'_>) -> Result<&Tensor, Error> {
    match input {
        Inputs::Dense(input) => Ok(input),
        Inputs::Sparse(_) => {
            let detail =
                "its features are sparse, but the first layer adds them to its output; upload them dense";
            Err(Error::Samples { what: "graph", detail: detail.into() })
        }
    }
}

/// Â X for each of a stack of matrices X.
fn mixed(plan: &mut PlanBuilder, adjacency: &Sparse, x: &Tensor) -> Result<Tensor, Error> {
    let y = plan.temporary(x.shape());
    sparse::product(plan, adjacency, x, &y)?;
    Ok(y)
}

/// Rows of listed nodes, as a matrix of all nodes for each sub-batch.
fn stacked(plan: &mut PlanBuilder, spread: &Sparse, listed: &Tensor) -> Result<Tensor, Error> {
    let y = plan.temporary(Shape::new(spread.shape().rows, listed.shape().columns));
    sparse::product(plan, spread, listed, &y)?;
    Ok(y)
}
