//! Products of matrices at the shapes that solvers take them at.

use anyhow::Result;
use burn::tensor::{Distribution, Tensor};
use dualstep_burn::Shared;
use dualstep_burn::dualstep::engine::{PlanBuilder, Shape, StorageType};
use dualstep_burn::dualstep::kernels::linalg::{self, Transposed};

use crate::Setup;
use crate::clock::{Contest, agree};

/// op(A) op(B): which of the two are transposed, rows, columns and the length of the sums.
#[derive(Clone, Copy)]
struct Product {
    ways: Ways,
    rows: usize,
    columns: usize,
    inner: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Ways {
    /// A B
    Plain,
    /// A Bᵀ, a layer's: samples are rows, weights are outputs × inputs.
    Forward,
    /// Aᵀ B, sums over samples.
    OverSamples,
    /// Aᵀ A, of which dualstep takes one half and mirrors it.
    Gram,
}

const fn product(ways: Ways, rows: usize, columns: usize, inner: usize) -> Product {
    Product { ways, rows, columns, inner }
}

/// Two of the usual sizes, then what dlADMM takes at 784-1000-1000-10 with blocks of 5,000 samples and at 784-200-200-10 with
/// 10,000, and what a mini-batch of 128 takes.
const PRODUCTS: [Product; 16] = [
    product(Ways::Plain, 512, 512, 512),
    product(Ways::Plain, 1024, 1024, 1024),
    product(Ways::Plain, 1000, 1000, 4096),
    product(Ways::Plain, 1000, 4096, 1000),
    product(Ways::OverSamples, 1000, 1000, 4096),
    product(Ways::Forward, 5000, 1000, 784),
    product(Ways::Forward, 5000, 1000, 1000),
    product(Ways::Forward, 5000, 10, 1000),
    product(Ways::Plain, 5000, 1000, 1000),
    product(Ways::OverSamples, 1000, 784, 5000),
    product(Ways::OverSamples, 10, 1000, 5000),
    product(Ways::Gram, 1000, 1000, 5000),
    product(Ways::Forward, 10_000, 200, 784),
    product(Ways::OverSamples, 200, 784, 10_000),
    product(Ways::Forward, 128, 256, 784),
    product(Ways::OverSamples, 256, 784, 128),
];

/// A contest for each.
pub fn all() -> Vec<(String, Setup)> {
    let contest = |product: Product| -> (String, Setup) {
        (product.name(), Box::new(move |shared| product.contest(shared)))
    };
    PRODUCTS.into_iter().map(contest).collect()
}

impl Product {
    fn name(&self) -> String {
        let Self { ways, rows, columns, inner } = self;
        let formula = match ways {
            Ways::Plain => "A B",
            Ways::Forward => "A Bᵀ",
            Ways::OverSamples => "Aᵀ B",
            Ways::Gram => "Aᵀ A",
        };
        format!("{formula}, {rows} × {columns} × {inner}")
    }

    /// The operands as they are stored.
    fn stored(&self) -> [[usize; 2]; 2] {
        let Self { ways, rows, columns, inner } = *self;
        match ways {
            Ways::Plain => [[rows, inner], [inner, columns]],
            Ways::Forward => [[rows, inner], [columns, inner]],
            Ways::OverSamples | Ways::Gram => [[inner, rows], [inner, columns]],
        }
    }

    fn contest(self, shared: &Shared) -> Result<Contest> {
        let gpu = shared.gpu().clone();
        let [left, right] = self
            .stored()
            .map(|shape| Tensor::<2>::random(shape, Distribution::Uniform(-0.5, 0.5), shared.device()));
        let upload = |tensor: &Tensor<2>| -> Result<_> {
            let [rows, columns] = tensor.dims();
            let values: Vec<f32> =
                tensor.to_data().try_to_vec().map_err(|error| anyhow::anyhow!("{error:?}"))?;
            Ok(gpu.upload(Shape::new(rows as u32, columns as u32), &values)?)
        };
        let (a, b) = (upload(&left)?, upload(&right)?);
        let output = gpu.zeros(Shape::new(self.rows as u32, self.columns as u32), StorageType::F32)?;
        let mut plan = PlanBuilder::new(&gpu, "product");
        let turned = |is: bool| if is { Transposed::Yes } else { Transposed::No };
        match self.ways {
            Ways::Gram => linalg::gram(&mut plan, &a, &output)?,
            ways => linalg::matmul(
                &mut plan,
                (&a, turned(ways == Ways::OverSamples)),
                (&b, turned(ways == Ways::Forward)),
                &output,
            )?,
        }
        let plan = plan.finish()?;
        let right = if self.ways == Ways::Gram { left.clone() } else { right };
        let theirs = move || match self.ways {
            Ways::Plain => left.clone().matmul(right.clone()),
            Ways::Forward => left.clone().matmul(right.clone().transpose()),
            Ways::OverSamples | Ways::Gram => left.clone().transpose().matmul(right.clone()),
        };
        plan.run()?;
        let result: Vec<f32> =
            theirs().into_data().try_to_vec().map_err(|error| anyhow::anyhow!("{error:?}"))?;
        // Both are sums of as many products, in one order and another.
        agree(&gpu.read(&output)?, &result, 4.0 * (self.inner as f32).sqrt() * f32::EPSILON + 1e-5)?;
        Ok(Contest {
            ours: Box::new(move || Ok(plan.run()?)),
            theirs: Box::new(move || {
                // Lazy until something asks for it: a product of its own, not part of a fused block.
                drop(theirs());
                Ok(())
            }),
            flops: 2.0 * self.rows as f64 * self.columns as f64 * self.inner as f64,
        })
    }
}
