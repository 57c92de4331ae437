//! Samples on the device, and forward passes over them for scores; what solvers that train networks share.

use super::problem::{Rows, Samples, Targets};
use crate::Error;
use crate::engine::{Cut, Gpu, PlanBuilder, SampleTensor, Shape, StorageType, Tensor};
use crate::kernels::loss::{self, Loss};
use crate::kernels::{Activation, reduce};
use crate::models::mlp::{self, SparseInputs};
use std::ops::Range;

/// The values of samples, in the blocks of a [`Cut`].
#[derive(Debug)]
pub(super) enum Blocks {
    Dense(SampleTensor),
    Sparse(Cut, Vec<SparseInputs>),
}

impl Blocks {
    pub fn cut(&self) -> Cut {
        match self {
            Self::Dense(samples) => samples.cut(),
            Self::Sparse(cut, _) => *cut,
        }
    }

    pub fn block(&self, k: usize) -> mlp::Inputs<'_> {
        match self {
            Self::Dense(samples) => mlp::Inputs::Dense(&samples.blocks()[k]),
            Self::Sparse(_, blocks) => mlp::Inputs::Sparse(&blocks[k]),
        }
    }

    /// The blocks in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = mlp::Inputs<'_>> {
        (0..self.cut().blocks().len()).map(|k| self.block(k))
    }
}

/// How samples are cut for a network of these widths: by its widest tensor that has a row for each sample. Sparse samples
/// are none, but their entries have to fit.
pub(super) fn cut(gpu: &Gpu, samples: &Samples<'_>, widths: &[u32]) -> Result<Cut, Error> {
    let dense = match samples.values {
        Rows::Dense(_) => widths,
        Rows::Sparse(_) => &widths[1..],
    };
    let longest = match samples.values {
        Rows::Sparse(rows)
            if rows.entries() as u64 * StorageType::F32.bytes() > gpu.capabilities().binding_limit =>
        {
            rows.starts.windows(2).map(|ends| ends[1] - ends[0]).max()
        }
        _ => None,
    };
    Cut::new(gpu, samples.count(), dense.iter().copied().chain(longest).max().unwrap_or(1))
}

/// Samples on the device.
#[derive(Debug)]
pub(super) struct Inputs {
    pub values: Blocks,
    /// One list of classes, or one matrix of values, per block.
    pub targets: Vec<Tensor>,
}

impl Inputs {
    pub fn upload(gpu: &Gpu, samples: &Samples<'_>, cut: Cut) -> Result<Self, Error> {
        let features = samples.features as usize;
        let values = match samples.values {
            Rows::Dense(values) => Blocks::Dense(upload_rows(gpu, cut, samples.features, |rows| {
                &values[rows.start as usize * features..rows.end as usize * features]
            })?),
            Rows::Sparse(all) => {
                let block = |rows: Range<u32>| {
                    let rows = all.pick(rows.start as usize..rows.end as usize);
                    SparseInputs::upload(gpu, samples.features, &rows)
                };
                Blocks::Sparse(cut, cut.blocks().map(block).collect::<Result<_, _>>()?)
            }
        };
        let targets = match samples.targets {
            Targets::Classes(labels) => cut
                .blocks()
                .map(|rows| {
                    let labels = &labels[rows.start as usize..rows.end as usize];
                    gpu.upload_u32(Shape::vector(labels.len() as u32), labels)
                })
                .collect::<Result<_, _>>()?,
            Targets::Values(targets) => {
                let outputs = targets.len() / samples.count() as usize;
                let targets = upload_rows(gpu, cut, outputs as u32, |rows| {
                    &targets[rows.start as usize * outputs..rows.end as usize * outputs]
                })?;
                targets.blocks().to_vec()
            }
        };
        Ok(Self { values, targets })
    }

    /// How many.
    pub fn count(&self) -> u32 {
        self.values.cut().samples()
    }
}

/// A sample-side tensor from unpadded rows.
pub(super) fn upload_rows<'a>(
    gpu: &Gpu,
    cut: Cut,
    features: u32,
    rows: impl Fn(Range<u32>) -> &'a [f32],
) -> Result<SampleTensor, Error> {
    let mut blocks = cut.blocks();
    SampleTensor::new(cut, features, |shape| gpu.upload(shape, rows(blocks.next().unwrap_or(0..0))))
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
    for (k, input) in args.inputs.values.iter().enumerate() {
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
