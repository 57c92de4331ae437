//! What networks take: samples with all their features, or with those that are not zero.
//!
//! Only the first layer sees them, and it does two things: P = W x forward and Σ δ xᵀ backward. Everything else is dense
//! however the inputs are, so this is the one place where they are told apart.

use crate::Error;
use crate::data::SparseRows;
use crate::engine::{Gpu, PlanBuilder, Shape, Tensor};
use crate::kernels::elementwise::{self, Dropout};
use crate::kernels::linalg::{self, Transposed};
use crate::kernels::mlp::{self, Gradients};
use crate::kernels::sparse::{self, Onto, RowsAre, Sparse};

/// Sparse samples on the device, by rows for what is summed over features and by columns for what is over samples.
#[derive(Clone, Debug)]
pub struct SparseInputs {
    rows: Sparse,
    columns: Sparse,
}

impl SparseInputs {
    /// Uploads samples of so many features.
    ///
    /// # Errors
    /// [`Error::Shape`] when `rows` is no matrix of so many columns; [`Error::Limit`] when a list exceeds one binding.
    pub fn upload(gpu: &Gpu, features: u32, rows: &SparseRows) -> Result<Self, Error> {
        let list =
            |columns: u32, of: &SparseRows| Sparse::upload(gpu, columns, &of.starts, &of.columns, &of.values);
        let by_rows = list(features, rows)?;
        Ok(Self { rows: by_rows, columns: list(rows.rows() as u32, &rows.transpose(features as usize))? })
    }

    /// Samples × features.
    pub fn rows(&self) -> &Sparse {
        &self.rows
    }

    /// Features × samples.
    pub fn columns(&self) -> &Sparse {
        &self.columns
    }
}

/// Samples on the device, for as long as they are needed: what [`Inputs`] borrows from.
#[derive(Clone, Debug)]
pub enum OwnedInputs {
    /// Samples × features.
    Dense(Tensor),
    /// By their entries.
    Sparse(SparseInputs),
}

impl From<Tensor> for OwnedInputs {
    fn from(samples: Tensor) -> Self {
        Self::Dense(samples)
    }
}

impl From<SparseInputs> for OwnedInputs {
    fn from(samples: SparseInputs) -> Self {
        Self::Sparse(samples)
    }
}

impl OwnedInputs {
    /// Uploads samples of so many features, by their entries where that [pays](SparseRows::pays).
    ///
    /// # Errors
    /// As [`SparseInputs::upload`].
    pub fn upload(gpu: &Gpu, features: u32, rows: &SparseRows) -> Result<Self, Error> {
        if rows.pays(features as usize) {
            return SparseInputs::upload(gpu, features, rows).map(Self::Sparse);
        }
        let samples = rows.rows();
        let values = rows.dense(0..samples, features as usize);
        gpu.upload(Shape::new(samples as u32, features), &values).map(Self::Dense)
    }

    /// Samples × features.
    pub fn shape(&self) -> Shape {
        self.borrowed().shape()
    }

    /// As networks take them.
    pub fn borrowed(&self) -> Inputs<'_> {
        match self {
            Self::Dense(samples) => Inputs::Dense(samples),
            Self::Sparse(samples) => Inputs::Sparse(samples),
        }
    }

    /// m ∘ x with the same mask however they are stored.
    pub(crate) fn dropped(&self, plan: &mut PlanBuilder, dropout: &Dropout<'_>) -> Result<Self, Error> {
        match self {
            Self::Dense(samples) => {
                let dropped = plan.temporary(samples.shape());
                elementwise::dropout(plan, samples, dropout, &dropped)?;
                Ok(Self::Dense(dropped))
            }
            Self::Sparse(SparseInputs { rows, columns }) => {
                let mut dropped = |list: &Sparse, rows_are| {
                    let values = plan.temporary(Shape::vector(list.entries()));
                    sparse::dropout(plan, list, rows_are, dropout, &values)?;
                    Ok::<_, Error>(list.with_values(values))
                };
                let rows = dropped(rows, RowsAre::Samples)?;
                Ok(Self::Sparse(SparseInputs { rows, columns: dropped(columns, RowsAre::Features)? }))
            }
        }
    }
}

/// Samples on the device.
#[derive(Clone, Copy, Debug)]
pub enum Inputs<'a> {
    /// Samples × features.
    Dense(&'a Tensor),
    /// By their entries.
    Sparse(&'a SparseInputs),
}

impl<'a> From<&'a Tensor> for Inputs<'a> {
    fn from(samples: &'a Tensor) -> Self {
        Self::Dense(samples)
    }
}

impl<'a> From<&'a SparseInputs> for Inputs<'a> {
    fn from(samples: &'a SparseInputs) -> Self {
        Self::Sparse(samples)
    }
}

impl Inputs<'_> {
    /// Samples × features.
    pub fn shape(self) -> Shape {
        match self {
            Self::Dense(samples) => samples.shape(),
            Self::Sparse(samples) => samples.rows.shape(),
        }
    }

    /// G_n = Σ over the samples of sub-batch n of δ xᵀ.
    pub(crate) fn weight_gradient(
        self,
        plan: &mut PlanBuilder,
        delta: &Tensor,
        gradients: Gradients<'_>,
    ) -> Result<(), Error> {
        match self {
            Self::Dense(samples) => mlp::weight_gradient(plan, delta, samples, gradients),
            Self::Sparse(samples) => {
                sparse::weight_gradient(plan, delta, &samples.columns, gradients, Onto::Nothing)
            }
        }
    }
}

/// P = W x of samples in one block.
pub(crate) fn product(plan: &mut PlanBuilder, inputs: Inputs<'_>, weights: &Tensor) -> Result<Tensor, Error> {
    let product = plan.temporary(Shape::new(inputs.shape().rows, weights.shape().rows));
    products(plan, [(inputs, &product)], weights)?;
    Ok(product)
}

/// P = W x for each block of samples and the tensor that takes it. Wᵀ, whose rows the entries of sparse samples pick, is
/// formed once for all of them.
pub(crate) fn products<'a>(
    plan: &mut PlanBuilder,
    blocks: impl IntoIterator<Item = (Inputs<'a>, &'a Tensor)>,
    weights: &Tensor,
) -> Result<(), Error> {
    let mut turned = None;
    for (inputs, product) in blocks {
        match inputs {
            Inputs::Dense(samples) => {
                linalg::matmul(plan, (samples, Transposed::No), (weights, Transposed::Yes), product)?;
            }
            Inputs::Sparse(samples) => {
                let rows = match turned.take() {
                    Some(rows) => rows,
                    None => transpose(plan, weights)?,
                };
                sparse::product(plan, &samples.rows, &rows, product)?;
                turned = Some(rows);
            }
        }
    }
    Ok(())
}

fn transpose(plan: &mut PlanBuilder, weights: &Tensor) -> Result<Tensor, Error> {
    let Shape { rows, columns } = weights.shape();
    let turned = plan.temporary(Shape::new(columns, rows));
    linalg::transpose(plan, weights, &turned)?;
    Ok(turned)
}
