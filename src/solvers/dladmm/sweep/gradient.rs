//! What modes `quadratic` and `line-search` share: the order of the blocks and the gradients of W and a.
//!
//! A step costs two products, the gradient and what it does to P; the second moves P along with the step, so b, z, u and
//! the residuals cost none. Layer 1 costs two in all: with the Gram matrix of the inputs at hand the curvature of both
//! its steps follows from small products, and P_1 is formed once, after the second. How long a step is, is the mode's.

use super::{Sweep, temporary_like};
use crate::Error;
use crate::engine::{SampleTensor, Shape, Tensor};
use crate::kernels::dladmm::{self as kernel, ActivationGradient};
use crate::kernels::linalg::{self, Transposed};
use crate::solvers::dladmm::config::{Penalty, Steps};
use crate::solvers::dladmm::forward;
use crate::solvers::scoring::offsets;

/// A list of partial sums and how many there are.
pub(super) struct Partials {
    pub list: Tensor,
    pub count: u32,
}

impl Sweep<'_> {
    pub(super) fn gradient_backward(&mut self) -> Result<(), Error> {
        let depth = self.state.depth();
        self.z_last()?;
        self.form_goal()?;
        self.bias(depth)?;
        self.weights(depth)?;
        for l in (1..depth).rev() {
            self.activation(l)?;
            self.z_hidden(l)?;
            self.bias(l)?;
            if l > 1 { self.weights(l)? } else { self.first_weights_backward()? }
        }
        Ok(())
    }

    pub(super) fn gradient_forward(&mut self) -> Result<(), Error> {
        let depth = self.state.depth();
        for l in 1..depth {
            if l > 1 {
                self.weights(l)?
            } else {
                self.first_weights_forward()?
            }
            self.bias(l)?;
            self.z_hidden(l)?;
            self.activation(l)?;
        }
        self.weights(depth)?;
        self.bias(depth)?;
        self.z_last()
    }

    /// W_l by one step; P_l moves along.
    fn weights(&mut self, l: usize) -> Result<(), Error> {
        match (self.config.steps, self.config.penalty) {
            (Steps::LineSearch, _) => self.searched_weights(l),
            (_, Penalty::L1 { lambda }) => self.proximal_weights(l, lambda),
            _ => self.quadratic_weights(l),
        }
    }

    /// a_l by one step; P_{l+1} moves along.
    fn activation(&mut self, l: usize) -> Result<(), Error> {
        match self.config.steps {
            Steps::LineSearch => self.searched_activation(l),
            _ => self.quadratic_activation(l),
        }
    }

    /// The backward step of W_1. With the Gram matrix P_1 is left behind: the forward step brings it up to date.
    fn first_weights_backward(&mut self) -> Result<(), Error> {
        let Some(gram) = &self.state.gram else { return self.weights(1) };
        let gradient = self.weight_gradient(1)?;
        self.gram_step(&gradient, gram, true)?;
        self.first_gradient = Some(gradient);
        Ok(())
    }

    /// The forward step of W_1. Nothing moved since the backward one, which left the gradient behind.
    fn first_weights_forward(&mut self) -> Result<(), Error> {
        let (Some(gram), Some(gradient)) = (&self.state.gram, self.first_gradient.take()) else {
            return self.weights(1);
        };
        self.gram_step(&gradient, gram, false)?;
        let layer = self.state.layer(1);
        forward::products(&mut self.plan, self.state.below(1), &layer.weights, &layer.product)
    }

    /// W_1 by one step, through the Gram matrix of the inputs. If another follows, `gradient` becomes that of the new W_1.
    fn gram_step(&mut self, gradient: &Tensor, gram: &Tensor, another: bool) -> Result<(), Error> {
        match (self.config.steps, self.config.penalty) {
            (Steps::LineSearch, _) => self.searched_gram_step(gradient, gram),
            (_, Penalty::L1 { lambda }) => self.proximal_gram_step(lambda, gradient, gram, another),
            _ => self.quadratic_gram_step(gradient, gram, another),
        }
    }

    /// G (x xᵀ) + (λ/κ) G.
    pub(super) fn gram_curvature(&mut self, gradient: &Tensor, gram: &Tensor) -> Result<Tensor, Error> {
        let curvature = self.plan.temporary(gradient.shape());
        linalg::matmul(&mut self.plan, (gradient, Transposed::No), (gram, Transposed::No), &curvature)?;
        self.penalise(gradient, 1, self.config.penalty.lambda(), &curvature)?;
        Ok(curvature)
    }

    /// G = Σ over samples of r_l a_{l−1}ᵀ + (λ/κ) W_l, the gradient in W_l without its factor κ.
    pub(super) fn weight_gradient(&mut self, l: usize) -> Result<Tensor, Error> {
        let residual = self.residual(l)?;
        let (_, gradient) = self.outer(l, &residual)?;
        self.penalise(&self.state.layer(l).weights, l, self.config.penalty.lambda(), &gradient)?;
        Ok(gradient)
    }

    /// g = κ W'ᵀ r' + ν (a_l − f(z_l)), and partial sums of its squares.
    pub(super) fn activation_gradient(&mut self, l: usize) -> Result<(SampleTensor, Partials), Error> {
        let state = self.state;
        let (layer, next) = (state.layer(l), state.layer(l + 1));
        let activation = state.output(l);
        let residual = self.residual(l + 1)?;
        let gradient = temporary_like(&mut self.plan, activation)?;
        let (offsets, count) = self.tile_offsets(&gradient);
        let list = self.plan.temporary(Shape::vector(count));
        for (k, residual) in residual.blocks().iter().enumerate() {
            let args = ActivationGradient {
                residual,
                weights: &next.weights,
                activation: &activation.blocks()[k],
                z: &layer.z.blocks()[k],
                f: self.config.activation,
                control: &state.control,
                last_layer: self.is_last(l + 1),
                gradient: &gradient.blocks()[k],
                partials: &list,
                offset: offsets[k],
            };
            kernel::activation_gradient(&mut self.plan, args)?;
        }
        Ok((gradient, Partials { list, count }))
    }

    /// Where each block's partial sums begin when a product leaves one per tile.
    pub(super) fn tile_offsets(&self, product: &SampleTensor) -> (Vec<u32>, u32) {
        let gpu = self.plan.gpu();
        offsets(product.blocks().iter().map(|block| linalg::tile_count(gpu, block.shape())))
    }
}
