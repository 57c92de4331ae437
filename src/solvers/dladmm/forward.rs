//! The network as a function: forward passes for starting values and scores.

use super::state::HostLayer;
use super::{Config, Samples, Scores};
use crate::Error;
use crate::engine::{Gpu, PlanBuilder, SampleTensor, Shape, StorageType, Tensor};
use crate::kernels::dladmm::STATUS_LENGTH;
use crate::models::{inputs, mlp};
use crate::solvers::scoring::{self, Inputs, Scoring};

/// P = W a, block by block.
pub(super) fn products<'a>(
    plan: &mut PlanBuilder,
    below: impl Iterator<Item = mlp::Inputs<'a>>,
    weights: &Tensor,
    product: &'a SampleTensor,
) -> Result<(), Error> {
    inputs::products(plan, below.zip(product.blocks()), weights)
}

/// Accuracy and mean cost of a network with the activation and loss of `config` and weights and biases `layers` on
/// `samples`. Waits.
///
/// `widths` are those of all layers, input and output included.
///
/// # Errors
/// [`Error::Samples`] when the samples do not fit the network; [`Error::NotFinite`] when a logit is not finite.
pub fn evaluate(
    gpu: &Gpu,
    config: &Config,
    layers: &[HostLayer],
    widths: &[u32],
    samples: &Samples<'_>,
) -> Result<Scores, Error> {
    if layers.is_empty() || widths.len() != layers.len() + 1 || samples.features != widths[0] {
        let detail = format!("{} features for a network of widths {widths:?}", samples.features);
        return Err(Error::Samples { what: "evaluation data", detail });
    }
    samples.check("evaluation data", widths[widths.len() - 1], config.loss)?;
    let inputs = Inputs::upload(gpu, samples, scoring::cut(gpu, samples, widths)?)?;
    let mut uploaded = Vec::new();
    for (layer, sizes) in layers.iter().zip(widths.windows(2)) {
        let weights = gpu.upload(Shape::new(sizes[1], sizes[0]), &layer.weights)?;
        uploaded.push((weights, gpu.upload(Shape::vector(sizes[1]), &layer.bias)?));
    }
    let layers: Vec<_> = uploaded.iter().map(|(weights, bias)| (weights, bias)).collect();
    let totals = gpu.zeros(Shape::new(1, 4), StorageType::F32)?;
    let status = gpu.zeros(Shape::vector(STATUS_LENGTH), StorageType::U32)?;
    let mut plan = PlanBuilder::new(gpu, "evaluation");
    let args = Scoring {
        inputs: &inputs,
        layers: &layers,
        f: config.activation,
        loss: config.loss,
        first_product: None,
        totals: &totals,
        slot: 0,
        status: &status,
        origin: 1,
    };
    scoring::scores(&mut plan, &args)?;
    plan.finish()?.run()?;
    let total = gpu.read(&totals)?;
    if !(total[0] + total[1]).is_finite() {
        return Err(Error::NotFinite {
            solver: "evaluation",
            iteration: 1,
            kernel: scoring::scores_kernel(config.loss).into(),
            remedy: "the weights are not usable; train again",
        });
    }
    Ok(Scores::of(config.loss, total[0], total[1], samples.count()))
}
