//! The state of a run, on the device and on the host.
//!
//! Weight-side tensors exist once; sample-side ones are cut into blocks of samples that all share one [`Cut`].

use super::config::{Config, Mixed, Penalty};
use super::forward;
use super::telemetry::{Layout, RING_LENGTH};
use super::{Problem, Samples, Targets};
use crate::Error;
use crate::engine::{Arena, Cut, Gpu, PlanBuilder, SampleTensor, Shape, StorageType, Tensor};
use crate::kernels::anderson::LEDGER_LENGTH;
use crate::kernels::dladmm::{CONTROL_LENGTH, LastLayer, STATUS_LENGTH};
use crate::kernels::{self, elementwise, linalg};
use crate::models::mlp::{self, Initial, InitialLayer};
use crate::solvers::problem::Rows;
use crate::solvers::scoring::{self, Inputs, upload_rows};
use std::ops::Range;

/// One layer on the host. All matrices are row-major and unpadded; a sample-side matrix has one row per sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostLayer {
    /// W: width × previous width.
    pub weights: Vec<f32>,
    /// b: width.
    pub bias: Vec<f32>,
    /// z: samples × width; empty when the state is weights alone.
    pub z: Vec<f32>,
    /// a = the layer's output: samples × width; empty for the last layer, or when the state is weights alone.
    pub activation: Vec<f32>,
    /// The resident product W a_prev: samples × width; empty when the state is weights alone, or to form it afresh.
    pub product: Vec<f32>,
}

impl HostLayer {
    /// W and b.
    fn weights_alone(self) -> Self {
        Self { weights: self.weights, bias: self.bias, ..Self::default() }
    }
}

/// Everything an iteration depends on besides the samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostState {
    /// Layers in order.
    pub layers: Vec<HostLayer>,
    /// u: samples × classes; empty when the state is weights alone.
    pub dual: Vec<f32>,
    /// Iterations finished.
    pub iteration: u32,
    /// Penalty of the last layer's constraint.
    pub rho: f32,
    /// Penalty of the relaxed constraints.
    pub nu: f32,
    /// Where activations' curvature searches start.
    pub tau_0: f32,
    /// Where weights' curvature searches start.
    pub theta_0: f32,
    /// Training cost of the last evaluated iteration, for the official schedule.
    pub cost: f32,
    /// How many iterations in a row it has risen.
    pub rises: u32,
    /// Ridge μ of each layer's weights, fixed by the first exact step; empty before it.
    pub ridge: Vec<f32>,
}

impl HostState {
    /// Weights alone, with the penalties that `config` starts from.
    pub fn at_start(config: &Config, layers: Vec<HostLayer>) -> Self {
        let Config { rho, nu, tau_0, theta_0, .. } = *config;
        Self { layers, rho, nu, tau_0, theta_0, ..Self::default() }
    }

    /// Whether z, a and u are there besides the weights.
    pub fn is_whole(&self) -> bool {
        !self.dual.is_empty()
    }

    /// The same without what is kept of samples: small, enough to compute the network with, but not to go on bit for bit.
    #[must_use]
    pub fn weights_alone(self) -> Self {
        let layers = self.layers.into_iter().map(HostLayer::weights_alone).collect();
        Self { layers, dual: Vec::new(), ..self }
    }

    /// Checks the sizes of all parts.
    pub(super) fn check(&self, widths: &[u32], samples: u32) -> Result<(), Error> {
        let refuse = |value: String| {
            Err(Error::Setting {
                setting: "resume",
                value,
                expected: "must be a state of the same network and samples",
            })
        };
        if self.layers.len() + 1 != widths.len() {
            return refuse(format!("a state of {} layers for {}", self.layers.len(), widths.len() - 1));
        }
        let whole = self.is_whole();
        for (l, (layer, sizes)) in self.layers.iter().zip(widths.windows(2)).enumerate() {
            let last = l + 1 == self.layers.len();
            let side = |present: bool| if present { samples as usize * sizes[1] as usize } else { 0 };
            let parts = [
                ("W", layer.weights.len(), sizes[0] as usize * sizes[1] as usize),
                ("b", layer.bias.len(), sizes[1] as usize),
                ("z", layer.z.len(), side(whole)),
                ("a", layer.activation.len(), side(whole && !last)),
                ("P", layer.product.len(), side(whole && !layer.product.is_empty())),
            ];
            for (name, actual, expected) in parts {
                if actual != expected {
                    return refuse(format!("{name} of layer {} with {actual} values for {expected}", l + 1));
                }
            }
        }
        let classes = widths[widths.len() - 1] as usize;
        if whole && self.dual.len() != samples as usize * classes {
            return refuse(format!("u with {} values for {}", self.dual.len(), samples as usize * classes));
        }
        Ok(())
    }
}

/// W and b of every layer from N(0, deviation²), layer after layer, W before b.
pub(super) fn initial_layers(config: &Config, widths: &[u32]) -> Result<Vec<HostLayer>, Error> {
    let layers = Initial::Normal { deviation: config.deviation }.draw(widths, config.seed)?;
    let host = |InitialLayer { weights, bias }| HostLayer { weights, bias, ..HostLayer::default() };
    Ok(layers.into_iter().map(host).collect())
}

/// One layer on the device.
#[derive(Debug)]
pub(super) struct Layer {
    /// W: width × previous width.
    pub weights: Tensor,
    /// b.
    pub bias: Tensor,
    /// P = W a_prev, resident.
    pub product: SampleTensor,
    /// z.
    pub z: SampleTensor,
}

/// What a layer's weights are solved with by exact steps, made of its inputs and the penalties on its weights.
#[derive(Clone, Debug)]
pub(super) struct WeightsSystem {
    /// The damped Gram matrix, or L⁻¹ with L Lᵀ that matrix, as the solver needs.
    pub matrix: Tensor,
    /// Sums over samples of each input.
    pub sums: Tensor,
}

/// Everything on the device that outlives an iteration.
#[derive(Debug)]
pub(super) struct State {
    pub widths: Vec<u32>,
    pub cut: Cut,
    pub train: Inputs,
    pub test: Option<Inputs>,
    /// Layers 1 to L.
    pub layers: Vec<Layer>,
    /// a_1 to a_{L−1}.
    pub activations: Vec<SampleTensor>,
    pub dual: SampleTensor,
    /// x xᵀ, where forming it once is cheaper than the products it saves.
    pub gram: Option<Tensor>,
    /// Of sparse inputs, the sums over samples of each feature and of its square.
    pub moments: Option<[Tensor; 2]>,
    /// What exact steps solve each layer with. Not there where it does not outlast a sweep.
    pub systems: Vec<Option<WeightsSystem>>,
    /// Ones, as many as a block has samples: a product with them adds over samples.
    pub ones: Vec<Tensor>,
    /// Of each layer's weights the ridge, the penalties on ‖W‖² and ‖W‖₁, and what damps their exact step: layers × 4.
    pub ridge: Tensor,
    /// Augmented Lagrangians before and after a candidate.
    pub merits: Tensor,
    /// Zeros in place of an accelerator's ledger.
    pub no_ledger: Tensor,
    pub control: Tensor,
    pub status: Tensor,
    pub steps: Tensor,
    pub totals: Tensor,
    pub ring: Tensor,
    /// Where each tensor of the state is kept before an iteration, in the order of [`State::parts`].
    pub kept: Vec<Tensor>,
}

fn zeros(gpu: &Gpu, cut: Cut, features: u32) -> Result<SampleTensor, Error> {
    SampleTensor::new(cut, features, |shape| gpu.zeros(shape, StorageType::F32))
}

/// The values of tensors one after another, unpadded.
fn read_all<'a>(gpu: &Gpu, tensors: impl Iterator<Item = &'a Tensor>) -> Result<Vec<f32>, Error> {
    let mut values = Vec::new();
    for tensor in tensors {
        values.extend(gpu.read(tensor)?);
    }
    Ok(values)
}

impl State {
    /// Puts samples and `start` on the device; forms what `start` leaves out.
    pub fn upload(
        gpu: &Gpu,
        config: &Config,
        problem: &Problem<'_>,
        start: &HostState,
        layout: Layout,
        arena: &Arena,
    ) -> Result<Self, Error> {
        let widths = config.widths(problem);
        let layer_count = widths.len() - 1;
        let cut = scoring::cut(gpu, &problem.train, &widths)?;
        let test = match &problem.test {
            Some(test) => Some(Inputs::upload(gpu, test, scoring::cut(gpu, test, &widths)?)?),
            None => None,
        };
        let side = |features, values: &[f32]| match values.is_empty() {
            true => zeros(gpu, cut, features),
            false => upload_rows(gpu, cut, features, |rows| {
                &values[rows.start as usize * features as usize..rows.end as usize * features as usize]
            }),
        };
        let mut layers = Vec::new();
        let mut activations = Vec::new();
        for (l, (layer, sizes)) in start.layers.iter().zip(widths.windows(2)).enumerate() {
            let width = sizes[1];
            layers.push(Layer {
                weights: gpu.upload(Shape::new(width, sizes[0]), &layer.weights)?,
                bias: gpu.upload(Shape::vector(width), &layer.bias)?,
                product: side(width, &layer.product)?,
                z: side(width, &layer.z)?,
            });
            if l + 1 < layer_count {
                activations.push(side(width, &layer.activation)?);
            }
        }
        let is_exact = config.steps.is_exact();
        let mut state = Self {
            train: Inputs::upload(gpu, &problem.train, cut)?,
            test,
            layers,
            activations,
            dual: side(problem.outputs, &start.dual)?,
            gram: None,
            moments: moments(gpu, &problem.train)?,
            systems: vec![None; layer_count],
            ones: if is_exact { ones(gpu, cut)? } else { Vec::new() },
            merits: gpu.zeros(Shape::new(2, 4), StorageType::F32)?,
            no_ledger: gpu.zeros(Shape::vector(LEDGER_LENGTH), StorageType::U32)?,
            ridge: gpu.upload(Shape::new(layout.layers, 4), &ridge_rows(start, config, layer_count))?,
            control: gpu.upload(Shape::vector(CONTROL_LENGTH), &control_words(start))?,
            status: gpu.upload_u32(Shape::vector(STATUS_LENGTH), &[0, 0, start.iteration, 0])?,
            steps: gpu.zeros(Shape::new(layout.slots(), 4), StorageType::F32)?,
            totals: gpu.zeros(Shape::new(layout.totals(), 4), StorageType::F32)?,
            ring: gpu.zeros(Shape::vector(layout.record_length() * RING_LENGTH), StorageType::F32)?,
            kept: Vec::new(),
            widths,
            cut,
        };
        state.form_gram(gpu, config, &problem.train)?;
        if !start.is_whole() {
            state.start_forward(gpu, config, problem, arena)?;
        } else if start.layers.iter().any(|layer| layer.product.is_empty()) {
            state.start_products(gpu, arena)?;
        }
        if config.keep_last_finite {
            let parts = state.parts();
            state.kept =
                parts.iter().map(|part| gpu.zeros(part.shape(), part.storage())).collect::<Result<_, _>>()?;
        }
        Ok(state)
    }

    /// a_l, the output of a hidden layer.
    pub fn output(&self, l: usize) -> &SampleTensor {
        &self.activations[l - 1]
    }

    /// What layer l takes, block by block: x for 1, else a_{l−1}.
    pub fn below(&self, l: usize) -> impl Iterator<Item = mlp::Inputs<'_>> {
        (0..self.cut.blocks().len()).map(move |k| match l {
            1 => self.train.values.block(k),
            _ => mlp::Inputs::Dense(&self.output(l - 1).blocks()[k]),
        })
    }

    /// Layer l, counted from 1.
    pub fn layer(&self, l: usize) -> &Layer {
        &self.layers[l - 1]
    }

    /// L.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// What a step of the last layer works on in one block.
    pub fn last_layer(&self, block: usize) -> LastLayer<'_> {
        let layer = self.layer(self.depth());
        LastLayer {
            product: &layer.product.blocks()[block],
            bias: &layer.bias,
            dual: &self.dual.blocks()[block],
            targets: &self.train.targets[block],
            control: &self.control,
            z: &layer.z.blocks()[block],
        }
    }

    /// Every tensor that an iteration changes, in a fixed order.
    pub fn parts(&self) -> Vec<Tensor> {
        let mut parts = vec![self.control.clone(), self.ridge.clone()];
        for layer in &self.layers {
            parts.extend([layer.weights.clone(), layer.bias.clone()]);
            parts.extend(layer.z.blocks().iter().cloned());
            parts.extend(layer.product.blocks().iter().cloned());
        }
        for activation in &self.activations {
            parts.extend(activation.blocks().iter().cloned());
        }
        parts.extend(self.dual.blocks().iter().cloned());
        parts
    }

    /// What an accelerator mixes: W, b and a of every layer, and the last z; or W alone.
    pub fn mixed(&self, mixed: Mixed) -> Vec<Tensor> {
        if mixed == Mixed::Weights {
            return self.layers.iter().map(|layer| layer.weights.clone()).collect();
        }
        let weights = self.layers.iter().flat_map(|layer| [layer.weights.clone(), layer.bias.clone()]);
        let activations = self.activations.iter().flat_map(|activation| activation.blocks().iter().cloned());
        let last = self.layer(self.depth()).z.blocks().iter().cloned();
        weights.chain(activations).chain(last).collect()
    }

    /// What follows from that: P of every layer, the other z, u if the last z was mixed, and the terms of the augmented
    /// Lagrangian with the status that they may change.
    pub fn dependants(&self, mixed: Mixed) -> Vec<Tensor> {
        let mut dependants = vec![self.totals.clone(), self.status.clone()];
        for (l, layer) in self.layers.iter().enumerate() {
            dependants.extend(layer.product.blocks().iter().cloned());
            if l + 1 < self.depth() {
                dependants.extend(layer.z.blocks().iter().cloned());
            }
        }
        if mixed == Mixed::All {
            dependants.extend(self.dual.blocks().iter().cloned());
        }
        dependants
    }

    pub fn write_penalties(&self, gpu: &Gpu, rho: f32, nu: f32) -> Result<(), Error> {
        gpu.check()?;
        gpu.write_words(&self.control, 0, &[rho, nu])
    }

    pub fn read(&self, gpu: &Gpu) -> Result<HostState, Error> {
        let status = gpu.read_u32(&self.status)?;
        self.read_parts(gpu, &self.parts(), status[2])
    }

    pub fn read_kept(&self, gpu: &Gpu, iteration: u32) -> Result<HostState, Error> {
        if self.kept.is_empty() {
            let (setting, value) = ("keep_last_finite", "false".into());
            return Err(Error::Setting {
                setting,
                value,
                expected: "must be true to read the state back after a failure",
            });
        }
        self.read_parts(gpu, &self.kept, iteration)
    }

    /// W and b of each layer.
    pub fn read_layers(&self, gpu: &Gpu) -> Result<Vec<HostLayer>, Error> {
        let read = |layer: &Layer| {
            let (weights, bias) = (gpu.read(&layer.weights)?, gpu.read(&layer.bias)?);
            Ok(HostLayer { weights, bias, ..HostLayer::default() })
        };
        self.layers.iter().map(read).collect()
    }

    /// Reads tensors in the order of [`State::parts`].
    fn read_parts(&self, gpu: &Gpu, parts: &[Tensor], iteration: u32) -> Result<HostState, Error> {
        let blocks = self.cut.blocks().len();
        let mut parts = parts.iter();
        let mut next = |count: usize| read_all(gpu, parts.by_ref().take(count));
        let (control, ridge) = (next(1)?, next(1)?);
        let mut layers = Vec::new();
        for _ in &self.layers {
            let (weights, bias) = (next(1)?, next(1)?);
            let (z, product) = (next(blocks)?, next(blocks)?);
            layers.push(HostLayer { weights, bias, z, activation: Vec::new(), product });
        }
        for layer in layers.iter_mut().take(self.activations.len()) {
            layer.activation = next(blocks)?;
        }
        let dual = next(blocks)?;
        Ok(HostState {
            layers,
            dual,
            iteration,
            rho: control[0],
            nu: control[1],
            tau_0: control[2],
            theta_0: control[3],
            cost: control[4],
            rises: control[5] as u32,
            ridge: ridge_of(&ridge),
        })
    }

    /// z and a by a forward pass, z_L at +1 for the label and −1 elsewhere, or at the targets' values; u stays 0.
    fn start_forward(
        &self,
        gpu: &Gpu,
        config: &Config,
        problem: &Problem<'_>,
        arena: &Arena,
    ) -> Result<(), Error> {
        let mut plan = PlanBuilder::with_arena(gpu, "start", arena);
        for l in 1..=self.depth() {
            let layer = self.layer(l);
            forward::products(&mut plan, self.below(l), &layer.weights, &layer.product)?;
            if l == self.depth() {
                break;
            }
            for (k, product) in layer.product.blocks().iter().enumerate() {
                let nothing = plan.temporary(product.shape());
                elementwise::fill(&mut plan, &nothing, 0.0)?;
                kernels::dladmm::residual(&mut plan, product, &layer.bias, &nothing, &layer.z.blocks()[k])?;
                let activation = &self.output(l).blocks()[k];
                elementwise::activate(&mut plan, product, &layer.bias, activation, config.activation)?;
            }
        }
        plan.finish()?.run()?;
        let outputs = problem.outputs as usize;
        for (rows, z) in self.cut.blocks().zip(self.layer(self.depth()).z.blocks()) {
            let rows = rows.start as usize..rows.end as usize;
            match problem.train.targets {
                Targets::Values(values) => gpu.write(z, &values[rows.start * outputs..rows.end * outputs])?,
                Targets::Classes(labels) => {
                    let mut values = vec![-1.0f32; rows.len() * outputs];
                    for (row, label) in values.chunks_exact_mut(outputs).zip(&labels[rows]) {
                        row[*label as usize] = 1.0;
                    }
                    gpu.write(z, &values)?;
                }
            }
        }
        Ok(())
    }

    /// P of every layer.
    fn start_products(&self, gpu: &Gpu, arena: &Arena) -> Result<(), Error> {
        let mut plan = PlanBuilder::with_arena(gpu, "start", arena);
        for l in 1..=self.depth() {
            let layer = self.layer(l);
            forward::products(&mut plan, self.below(l), &layer.weights, &layer.product)?;
        }
        plan.finish()?.run()
    }

    /// x xᵀ, if it has no more elements than the samples have entries and fits one binding: it then replaces two of layer
    /// 1's four products. Steps under a penalty λ ‖W‖₁ cannot do without; exact ones can where the samples are sparse.
    fn form_gram(&mut self, gpu: &Gpu, config: &Config, samples: &Samples<'_>) -> Result<(), Error> {
        let features = self.widths[0];
        let shape = Shape::new(features, features);
        let fits = gpu.check_shape(shape, StorageType::F32).is_ok();
        let (entries, is_sparse) = match samples.values {
            Rows::Dense(values) => (values.len(), false),
            Rows::Sparse(rows) => (rows.entries(), true),
        };
        let is_needed =
            matches!(config.penalty, Penalty::L1 { .. }) || (config.steps.is_exact() && !is_sparse);
        if !is_needed && (shape.elements() > entries as u64 || !fits) {
            return Ok(());
        }
        let gram = gpu.zeros(shape, StorageType::F32)?;
        let add = |block: &Tensor| {
            let mut plan = PlanBuilder::new(gpu, "gram of the inputs");
            linalg::gram(&mut plan, block, &gram)?;
            plan.finish()?.run()
        };
        match samples.values {
            Rows::Dense(_) => self.below(1).try_for_each(|block| match block {
                mlp::Inputs::Dense(block) => add(block),
                mlp::Inputs::Sparse(_) => Ok(()),
            })?,
            // Once and for all, so that the host may fill in the zeros.
            Rows::Sparse(rows) => {
                Cut::new(gpu, samples.count(), features)?.blocks().try_for_each(|block| {
                    let values = rows.dense(block.start as usize..block.end as usize, features as usize);
                    add(&gpu.upload(Shape::new(block.len() as u32, features), &values)?)
                })?
            }
        }
        self.gram = Some(gram);
        Ok(())
    }
}

/// Of sparse samples, the sum of each feature and of its square.
fn moments(gpu: &Gpu, samples: &Samples<'_>) -> Result<Option<[Tensor; 2]>, Error> {
    let Rows::Sparse(rows) = samples.values else { return Ok(None) };
    let mut sums = vec![[0.0f64; 2]; samples.features as usize];
    for (column, value) in rows.columns.iter().zip(&rows.values) {
        let [sum, squares] = &mut sums[*column as usize];
        (*sum, *squares) = (*sum + f64::from(*value), *squares + f64::from(*value).powi(2));
    }
    let upload = |k: usize| {
        let values: Vec<f32> = sums.iter().map(|sums| sums[k] as f32).collect();
        gpu.upload(Shape::vector(samples.features), &values)
    };
    Ok(Some([upload(0)?, upload(1)?]))
}

fn ones(gpu: &Gpu, cut: Cut) -> Result<Vec<Tensor>, Error> {
    let one = |rows: Range<u32>| gpu.upload(Shape::new(rows.len() as u32, 1), &vec![1.0; rows.len()]);
    cut.blocks().map(one).collect()
}

/// Ridge, zero where it is not known yet, and penalties of each layer's weights, first in a row of its own.
fn ridge_rows(start: &HostState, config: &Config, layers: usize) -> Vec<f32> {
    let ridge = start.ridge.iter().copied().chain(std::iter::repeat(0.0));
    ridge
        .take(layers)
        .flat_map(|ridge| [ridge, config.penalty.lambda(), config.penalty.sparsity(), 0.0])
        .collect()
}

/// The first of each row; nothing while all are zero.
fn ridge_of(rows: &[f32]) -> Vec<f32> {
    let ridge: Vec<f32> = rows.chunks_exact(4).map(|row| row[0]).collect();
    if ridge.iter().any(|ridge| *ridge != 0.0) { ridge } else { Vec::new() }
}

fn control_words(start: &HostState) -> Vec<f32> {
    vec![start.rho, start.nu, start.tau_0, start.theta_0, start.cost, start.rises as f32, f32::MAX, 0.0]
}
