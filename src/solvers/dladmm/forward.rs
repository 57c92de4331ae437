//! The network as a function: forward passes for starting values and scores.

use super::state::{HostLayer, Inputs};
use super::telemetry::Scores;
use super::{Config, Samples};
use crate::Error;
use crate::engine::{Cut, Gpu, PlanBuilder, SampleTensor, Shape, StorageType, Tensor};
use crate::kernels::dladmm::STATUS_LENGTH;
use crate::kernels::linalg::{self, Transposed};
use crate::kernels::loss::{self, Loss};
use crate::kernels::{Activation, reduce};
use crate::models::mlp;

/// P = W a, block by block.
pub(super) fn products(
    plan: &mut PlanBuilder,
    activation: &SampleTensor,
    weights: &Tensor,
    product: &SampleTensor,
) -> Result<(), Error> {
    for (a, p) in activation.blocks().iter().zip(product.blocks()) {
        linalg::matmul(plan, (a, Transposed::No), (weights, Transposed::Yes), p)?;
    }
    Ok(())
}

/// What [`scores`] works on.
pub(super) struct Scoring<'a> {
    pub inputs: &'a Inputs,
    /// W and b of each layer.
    pub layers: &'a [(&'a Tensor, &'a Tensor)],
    pub f: Activation,
    pub loss: Loss,
    /// W_1 x where it is resident.
    pub first_product: Option<&'a SampleTensor>,
    pub totals: &'a Tensor,
    pub slot: u32,
    pub status: &'a Tensor,
    pub origin: u32,
}

/// `totals[slot]` = (Σ cost, hits, 0, 0) of a forward pass through W and b.
pub(super) fn scores(plan: &mut PlanBuilder, args: &Scoring<'_>) -> Result<(), Error> {
    let cut = args.inputs.values.cut();
    let counts = cut.blocks().map(|rows| loss::partial_count(rows.len() as u32));
    let (offsets, count) = offsets(counts);
    let partials = plan.temporary(Shape::new(count, 4));
    for (k, input) in args.inputs.values.blocks().iter().enumerate() {
        let resident = args.first_product.map(|product| &product.blocks()[k]);
        let logits = mlp::forward(plan, input, args.layers, args.f, resident)?.product;
        let (_, bias) = args.layers[args.layers.len() - 1];
        let (targets, offset) = (&args.inputs.targets[k], offsets[k]);
        match args.loss {
            Loss::CrossEntropy => loss::softmax_scores(plan, &logits, bias, targets, &partials, offset)?,
            Loss::Squared => loss::squared_scores(plan, &logits, bias, targets, &partials, offset)?,
        }
    }
    let (totals, slot, status, origin) = (args.totals, args.slot, args.status, args.origin);
    reduce::totals(plan, reduce::Totals { partials: &partials, count, totals, slot, status, origin })
}

/// The name of the kernel that scores.
pub(super) fn scores_kernel(loss: Loss) -> &'static str {
    match loss {
        Loss::CrossEntropy => loss::SOFTMAX_SCORES.name,
        Loss::Squared => loss::SQUARED_SCORES.name,
    }
}

/// Where each part of a list begins, and the list's length.
pub(super) fn offsets(counts: impl Iterator<Item = u32>) -> (Vec<u32>, u32) {
    let mut next = 0;
    let offsets = counts
        .map(|count| {
            next += count;
            next - count
        })
        .collect();
    (offsets, next)
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
    let widest = widths.iter().copied().max().unwrap_or(1);
    let inputs = Inputs::upload(gpu, samples, Cut::new(gpu, samples.count(), widest)?)?;
    let mut uploaded = Vec::new();
    for (layer, sizes) in layers.iter().zip(widths.windows(2)) {
        let weights = gpu.upload(Shape::new(sizes[1], sizes[0]), &layer.weights)?;
        uploaded.push((weights, gpu.upload(Shape::vector(sizes[1]), &layer.bias)?));
    }
    let layers: Vec<_> = uploaded.iter().map(|(weights, bias)| (weights, bias)).collect();
    let totals = gpu.zeros(Shape::new(1, 4), StorageType::F32)?;
    let status = gpu.zeros(Shape::vector(STATUS_LENGTH), StorageType::U32)?;
    let mut plan = PlanBuilder::new(gpu, "evaluation");
    let scoring = Scoring {
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
    scores(&mut plan, &scoring)?;
    plan.finish()?.run()?;
    let total = gpu.read(&totals)?;
    if !(total[0] + total[1]).is_finite() {
        return Err(Error::NotFinite {
            solver: "evaluation",
            iteration: 1,
            kernel: scores_kernel(config.loss).into(),
            remedy: "the weights are not usable; train again",
        });
    }
    Ok(Scores::of(config.loss, total[0], total[1], samples.count()))
}
