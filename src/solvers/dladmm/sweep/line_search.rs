//! Mode `line-search`: gradient steps whose lengths are found by exact line search, one for each row of W and one for each
//! sample of a (ALGORITHMS.md, exact block steps, the last paragraph).
//!
//! Rows of W and samples of a are problems of their own, and each is quadratic along its gradient: what a step does to P
//! gives its curvature. There is no floor θ₀ = τ₀ = 1 that would keep steps short, and nothing is doubled.

use super::{Sweep, temporary_like};
use crate::Error;
use crate::engine::{Shape, Tensor};
use crate::kernels::dladmm::sum_rows;
use crate::kernels::linalg::{self, Transposed};
use crate::kernels::line_search::{self as kernel, ActivationStep, WeightStep};
use crate::solvers::dladmm::forward;
use crate::solvers::scoring::offsets;

impl Sweep<'_> {
    pub(super) fn searched_weights(&mut self, l: usize) -> Result<(), Error> {
        let state = self.state;
        let layer = state.layer(l);
        let gradient = self.weight_gradient(l)?;
        let moved = temporary_like(&mut self.plan, &layer.product)?;
        let (offsets, rows) = offsets(state.cut.blocks().map(|samples| sum_rows(samples.len() as u32)));
        let partials = self.plan.temporary(Shape::new(rows, moved.features()));
        forward::products(&mut self.plan, state.below(l), &gradient, &moved)?;
        for (moved, offset) in moved.blocks().iter().zip(offsets) {
            kernel::column_squares(&mut self.plan, moved, &partials, offset)?;
        }
        let lengths = self.plan.temporary(layer.bias.shape());
        let origin = self.origin(format!("{} on W{l}", kernel::WEIGHT_STEP.name));
        let args = WeightStep {
            gradient: &gradient,
            partials: &partials,
            control: &state.control,
            lambda: self.config.penalty.lambda(),
            last_layer: self.is_last(l),
            weights: &layer.weights,
            lengths: &lengths,
            status: &state.status,
            origin,
        };
        kernel::weight_step(&mut self.plan, &args)?;
        for (moved, product) in moved.blocks().iter().zip(layer.product.blocks()) {
            kernel::product_step(&mut self.plan, moved, &lengths, product)?;
        }
        Ok(())
    }

    /// Leaves the gradient at the new W_1 in `gradient`.
    pub(super) fn searched_gram_step(&mut self, gradient: &Tensor, gram: &Tensor) -> Result<(), Error> {
        let state = self.state;
        let curvature = self.gram_curvature(gradient, gram)?;
        let origin = self.origin(format!("{} on W1", kernel::GRAM_STEP.name));
        let weights = &state.layer(1).weights;
        kernel::gram_step(&mut self.plan, &curvature, gradient, weights, (&state.status, origin))
    }

    pub(super) fn searched_activation(&mut self, l: usize) -> Result<(), Error> {
        let state = self.state;
        let next = state.layer(l + 1);
        let (gradient, _) = self.activation_gradient(l)?;
        let origin = self.origin(format!("{} on a{l}", kernel::ACTIVATION_STEP.name));
        for (k, gradient) in gradient.blocks().iter().enumerate() {
            let product = &next.product.blocks()[k];
            let moved = self.plan.temporary(product.shape());
            let right = (&next.weights, Transposed::Yes);
            linalg::matmul(&mut self.plan, (gradient, Transposed::No), right, &moved)?;
            let args = ActivationStep {
                gradient,
                moved: &moved,
                control: &state.control,
                last_layer: self.is_last(l + 1),
                activation: &state.output(l).blocks()[k],
                product,
                status: &state.status,
                origin,
            };
            kernel::activation_step(&mut self.plan, &args)?;
        }
        Ok(())
    }
}
