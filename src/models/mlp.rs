//! Networks of dense layers: forward passes, and gradients of each sub-batch's mean loss by backward propagation.
//!
//! ```text
//! forward    P_l = W_l a_{l−1},  a_l = f(P_l + b_l)
//! backward   δ_L = ∂(mean loss of the sub-batch)/∂z_L,  δ_l = (W_{l+1}ᵀ δ_{l+1}) ∘ f′(z_l)
//! gradients  ∂/∂W_l = Σ δ_l a_{l−1}ᵀ,  ∂/∂b_l = Σ δ_l            over the samples of each sub-batch
//! ```
//!
//! One forward and one backward pass serve all sub-batches; only the sums at the end tell them apart.
//!
//! # Examples
//!
//! ```no_run
//! use dualstep::engine::{Gpu, GpuOptions, PlanBuilder, Shape, StorageType};
//! use dualstep::models::mlp::{Activation, Initial, Loss, Mlp, Targets};
//! use dualstep::solvers::badm::{Badm, BadmConfig, SubBatches};
//!
//! fn main() -> Result<(), dualstep::Error> {
//!     let gpu = Gpu::open(&GpuOptions::default())?;
//!     let network = Mlp::new(&[2, 16, 3], Activation::Relu, Loss::CrossEntropy)?;
//!     let w = network.parameters(&gpu, Initial::Torch, 0)?;
//!     let inputs = gpu.upload(Shape::new(4, 2), &[0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0])?;
//!     let labels = gpu.upload_u32(Shape::vector(4), &[0, 1, 1, 2])?;
//!
//!     // Two sub-batches of two samples.
//!     let gradients = gpu.zeros(network.slab().shape(2), StorageType::F32)?;
//!     let badm = Badm::new(&gpu, &BadmConfig::robust(2, 1e-2), &w)?;
//!     let mut plan = PlanBuilder::new(&gpu, "step");
//!     network.gradients(&mut plan, &w, &inputs, Targets::Classes(&labels), &gradients)?;
//!     badm.record(&mut plan, &SubBatches::even(&gradients))?;
//!     let plan = plan.finish()?;
//!     for _ in 0..100 {
//!         plan.run()?; // submits, and does not wait
//!     }
//!     badm.check()
//! }
//! ```

use crate::Error;
use crate::engine::{Gpu, PlanBuilder, Shape, Slab, StorageType, Tensor};
pub use crate::kernels::Activation;
pub use crate::kernels::loss::Loss;
use crate::kernels::mlp::{self as kernel, Gradients};
use crate::kernels::{elementwise, loss};
use crate::models::inputs;
pub use crate::models::inputs::{Inputs, OwnedInputs, SparseInputs};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Normal, Uniform};

/// How weights and biases begin.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Initial {
    /// All of them normally distributed around 0: dlADMM's, with a deviation of 0.1.
    Normal {
        /// Standard deviation.
        deviation: f32,
    },
    /// PyTorch's for dense layers: weights and biases evenly within ±1/√inputs.
    Torch,
    /// Keras' (Glorot and Bengio 2010): weights evenly within ±√(6 / (inputs + outputs)), biases 0.
    Keras,
}

/// W and b of one layer on the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InitialLayer {
    /// W: outputs × inputs.
    pub weights: Vec<f32>,
    /// b: outputs.
    pub bias: Vec<f32>,
}

impl Initial {
    /// Draws W and b of each layer in order; the same seed draws the same.
    ///
    /// # Errors
    /// [`Error::Setting`] when the deviation is negative or not finite.
    pub fn draw(self, widths: &[u32], seed: u64) -> Result<Vec<InitialLayer>, Error> {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let mut layers = Vec::new();
        for sizes in widths.windows(2) {
            let (inputs, outputs) = (f64::from(sizes[0]), f64::from(sizes[1]));
            let counts = [sizes[0] as usize * sizes[1] as usize, sizes[1] as usize];
            let [weights, bias] = match self {
                Self::Normal { deviation } => {
                    let normal = Normal::new(0.0, deviation).ok().filter(|_| deviation >= 0.0);
                    let Some(normal) = normal else { return Err(refused(deviation)) };
                    counts.map(|count| normal.sample_iter(&mut generator).take(count).collect())
                }
                Self::Torch => counts.map(|count| evenly(&mut generator, inputs.recip().sqrt(), count)),
                Self::Keras => {
                    let weights = evenly(&mut generator, (6.0 / (inputs + outputs)).sqrt(), counts[0]);
                    [weights, vec![0.0; counts[1]]]
                }
            };
            layers.push(InitialLayer { weights, bias });
        }
        Ok(layers)
    }
}

fn refused(deviation: f32) -> Error {
    let expected = "must be finite and not negative";
    Error::Setting { setting: "deviation", value: deviation.to_string(), expected }
}

/// So many numbers within ±`bound`, which is above 0 and finite.
fn evenly(generator: &mut ChaCha8Rng, bound: f64, count: usize) -> Vec<f32> {
    let uniform = Uniform::new(-bound as f32, bound as f32).expect("bounds in order, both finite");
    uniform.sample_iter(generator).take(count).collect()
}

/// What a network's outputs are to be, on the device.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// One class per sample, u32, for [`Loss::CrossEntropy`].
    Classes(&'a Tensor),
    /// Samples × outputs, for [`Loss::Squared`].
    Values(&'a Tensor),
}

impl Targets<'_> {
    fn tensor(&self) -> &Tensor {
        match self {
            Self::Classes(tensor) | Self::Values(tensor) => tensor,
        }
    }

    fn suit(&self, loss: Loss) -> Result<(), Error> {
        match (self, loss) {
            (Self::Classes(_), Loss::CrossEntropy) | (Self::Values(_), Loss::Squared) => Ok(()),
            _ => {
                let detail = format!(
                    "targets do not suit {loss:?}, which takes classes for CrossEntropy, else values"
                );
                Err(Error::Samples { what: "targets", detail })
            }
        }
    }
}

/// Partial sums of scores, (Σ cost, Σ hits, 0, 0) each, for [`reduce::totals`](crate::kernels::reduce::totals).
#[derive(Clone, Debug)]
pub struct Scores {
    /// The sums.
    pub partials: Tensor,
    /// How many.
    pub count: u32,
}

/// A network's sizes and functions.
#[derive(Clone, Debug)]
pub struct Mlp {
    widths: Vec<u32>,
    activation: Activation,
    loss: Loss,
    slab: Slab,
}

impl Mlp {
    /// A network of layers with these widths, input and output included.
    ///
    /// # Errors
    /// [`Error::Setting`] when there are fewer than two or one is 0; [`Error::Limit`] when the parameters are more than 2³².
    pub fn new(widths: &[u32], activation: Activation, loss: Loss) -> Result<Self, Error> {
        if widths.len() < 2 || widths.contains(&0) {
            return Err(Error::Setting {
                setting: "widths",
                value: format!("{widths:?}"),
                expected: "at least an input and an output, none of them 0",
            });
        }
        let shapes: Vec<_> = widths
            .windows(2)
            .flat_map(|sizes| [Shape::new(sizes[1], sizes[0]), Shape::vector(sizes[1])])
            .collect();
        Ok(Self { widths: widths.to_vec(), activation, loss, slab: Slab::new(&shapes)? })
    }

    /// Where W_1, b_1, W_2, b_2 … lie in a row of parameters or gradients.
    pub fn slab(&self) -> &Slab {
        &self.slab
    }

    /// Widths of all layers, input and output included.
    pub fn widths(&self) -> &[u32] {
        &self.widths
    }

    /// A row of parameters, drawn by a seed.
    ///
    /// # Errors
    /// Those of [`Initial::draw`]; [`Error::Limit`] when they exceed one binding.
    pub fn parameters(&self, gpu: &Gpu, initial: Initial, seed: u64) -> Result<Tensor, Error> {
        self.upload(gpu, &initial.draw(&self.widths, seed)?)
    }

    /// A row of parameters from W and b of each layer.
    ///
    /// # Errors
    /// [`Error::Plan`] when they are not those of this network; [`Error::Limit`] when they exceed one binding.
    pub fn upload(&self, gpu: &Gpu, layers: &[InitialLayer]) -> Result<Tensor, Error> {
        if layers.len() + 1 != self.widths.len() {
            let detail = format!("{} layers for a network of widths {:?}", layers.len(), self.widths);
            return Err(Error::Plan { plan: "upload".into(), detail });
        }
        let parameters = gpu.zeros(self.slab.shape(1), StorageType::F32)?;
        for (l, layer) in layers.iter().enumerate() {
            gpu.write(&self.slab.part(&parameters, 0, 2 * l)?, &layer.weights)?;
            gpu.write(&self.slab.part(&parameters, 0, 2 * l + 1)?, &layer.bias)?;
        }
        Ok(parameters)
    }

    /// W and b of each layer, as views of a row of parameters.
    ///
    /// # Errors
    /// [`Error::Plan`] when the row is not one of this network's.
    pub fn layers(&self, parameters: &Tensor) -> Result<Vec<(Tensor, Tensor)>, Error> {
        let part = |index| self.slab.part(parameters, 0, index);
        (0..self.widths.len() - 1).map(|l| Ok((part(2 * l)?, part(2 * l + 1)?))).collect()
    }

    /// Adds the gradients of a batch to a plan: one row of `gradients` for each sub-batch, of its mean loss. Sub-batch n of
    /// S in B samples is those from ⌊nB/S⌋ up to ⌊(n + 1)B/S⌋. Returns the batch's scores.
    ///
    /// `inputs` is samples × features, a tensor or [`SparseInputs`].
    ///
    /// # Errors
    /// [`Error::Shape`] when shapes disagree or there are more sub-batches than samples; [`Error::Samples`] when the targets
    /// do not suit the loss; those of [`PlanBuilder::dispatch`].
    pub fn gradients<'a>(
        &self,
        plan: &mut PlanBuilder,
        parameters: &Tensor,
        inputs: impl Into<Inputs<'a>>,
        targets: Targets<'_>,
        gradients: &Tensor,
    ) -> Result<Scores, Error> {
        targets.suit(self.loss)?;
        let inputs = inputs.into();
        let layers = self.layers(parameters)?;
        let layers: Vec<_> = layers.iter().map(|(weights, bias)| (weights, bias)).collect();
        let Pass { activations, product } = forward(plan, inputs, &layers, self.activation, None)?;
        let (mut delta, scores) =
            self.delta_of_loss(plan, &product, &layers, targets, gradients.shape().rows)?;
        for l in (0..layers.len()).rev() {
            let below = l.checked_sub(1).map(|hidden| &activations[hidden]);
            let place = |part| Gradients { rows: gradients, first: self.slab.start(part) };
            below.map_or(inputs, Inputs::Dense).weight_gradient(plan, &delta, place(2 * l))?;
            kernel::bias_gradient(plan, &delta, place(2 * l + 1))?;
            if let Some(below) = below {
                let next = plan.temporary(below.shape());
                kernel::delta(plan, &delta, layers[l].0, below, self.activation, &next)?;
                delta = next;
            }
        }
        Ok(scores)
    }

    fn delta_of_loss(
        &self,
        plan: &mut PlanBuilder,
        product: &Tensor,
        layers: &[(&Tensor, &Tensor)],
        targets: Targets<'_>,
        sub_batches: u32,
    ) -> Result<(Tensor, Scores), Error> {
        let count = loss::partial_count(product.shape().rows);
        let scores = Scores { partials: plan.temporary(Shape::new(count, 4)), count };
        let delta = plan.temporary(product.shape());
        let (_, bias) = layers[layers.len() - 1];
        let record = match self.loss {
            Loss::CrossEntropy => loss::softmax_gradient,
            Loss::Squared => loss::squared_gradient,
        };
        let into = (&scores.partials, 0);
        record(plan, (product, bias), targets.tensor(), sub_batches, &delta, into)?;
        Ok((delta, scores))
    }
}

/// What a forward pass leaves.
pub(crate) struct Pass {
    /// a of each hidden layer.
    pub activations: Vec<Tensor>,
    /// W a of the last layer, without its bias.
    pub product: Tensor,
}

/// A forward pass through W and b of each layer; W_1 x may be at hand.
pub(crate) fn forward(
    plan: &mut PlanBuilder,
    input: Inputs<'_>,
    layers: &[(&Tensor, &Tensor)],
    f: Activation,
    first_product: Option<&Tensor>,
) -> Result<Pass, Error> {
    let mut activations: Vec<Tensor> = Vec::new();
    let mut product = match first_product {
        Some(resident) => resident.clone(),
        None => inputs::product(plan, input, layers[0].0)?,
    };
    for ((_, bias), (next, _)) in layers.iter().zip(&layers[1..]) {
        let activation = plan.temporary(product.shape());
        elementwise::activate(plan, &product, bias, &activation, f)?;
        product = inputs::product(plan, Inputs::Dense(&activation), next)?;
        activations.push(activation);
    }
    Ok(Pass { activations, product })
}
