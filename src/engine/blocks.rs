//! Sample-side tensors, cut into blocks of samples that fit one binding each.
//!
//! Solvers hold x, y, z, a, P, u as [`SampleTensor`]s and record a kernel once per block. All sample-side tensors of a
//! solver share one [`Cut`], so block k holds the same samples everywhere.

use super::gpu::Gpu;
use super::tensor::{Shape, StorageType, Tensor};
use crate::Error;
use std::ops::Range;

/// Samples per block are a multiple of this where they can be. Reductions work on chunks that divide it, so that
/// partial sums, and with them every bit of the result, are the same however the samples are cut.
const GRANULE: u32 = 1024;

/// How the samples are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    samples: u32,
    block: u32,
}

impl Cut {
    /// The largest blocks in which `widest` features (f32) of each sample fit one binding of the device.
    ///
    /// # Errors
    /// [`Error::Limit`] when not even one sample of the widest tensor fits.
    pub fn new(gpu: &Gpu, samples: u32, widest: u32) -> Result<Self, Error> {
        let bytes = Shape::new(1, widest).stored() * StorageType::F32.bytes();
        let allowed = gpu.capabilities().binding_limit;
        let fitting = u32::try_from(allowed / bytes.max(1)).unwrap_or(u32::MAX);
        let block = match fitting {
            0 => {
                return Err(Error::Limit {
                    what: format!("one sample of {widest} features"),
                    needed: format!("{bytes} bytes"),
                    allowed: format!("{allowed} bytes in one binding"),
                    remedy: "narrow the layer",
                });
            }
            _ if fitting >= samples => samples,
            1..GRANULE => 1 << fitting.ilog2(),
            _ => fitting / GRANULE * GRANULE,
        };
        Ok(Self { samples, block: block.max(1) })
    }

    /// All samples.
    pub fn samples(&self) -> u32 {
        self.samples
    }

    /// The samples of each block, in order.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = Range<u32>> + use<> {
        let Self { samples, block } = *self;
        (0..samples.div_ceil(block)).map(move |k| k * block..((k + 1) * block).min(samples))
    }
}

/// A tensor with one row per sample, in the blocks of a [`Cut`].
#[derive(Clone, Debug)]
pub struct SampleTensor {
    cut: Cut,
    features: u32,
    blocks: Vec<Tensor>,
}

impl SampleTensor {
    /// One tensor per block, made by `make` from its shape.
    ///
    /// # Errors
    /// Whatever `make` returns.
    pub fn new(
        cut: Cut,
        features: u32,
        make: impl FnMut(Shape) -> Result<Tensor, Error>,
    ) -> Result<Self, Error> {
        let shapes = cut.blocks().map(|block| Shape::new(block.len() as u32, features));
        Ok(Self { cut, features, blocks: shapes.map(make).collect::<Result<_, _>>()? })
    }

    /// How the samples are divided.
    pub fn cut(&self) -> Cut {
        self.cut
    }

    /// Elements per sample.
    pub fn features(&self) -> u32 {
        self.features
    }

    /// The blocks in order.
    pub fn blocks(&self) -> &[Tensor] {
        &self.blocks
    }

    /// Bytes of memory of all blocks.
    pub fn bytes(&self) -> u64 {
        self.blocks.iter().map(Tensor::bytes).sum()
    }
}
