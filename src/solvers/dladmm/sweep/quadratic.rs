//! Mode `quadratic`, the paper's: one gradient step per block of W and a, as long as a quadratic majorant allows (Wang
//! et al. 2019, equations 10 and 11).
//!
//! A quadratic step costs two products, the gradient and what it does to P; the second moves P along with the step,
//! so b, z, u and the residuals cost none. Layer 1 costs two in all: with the Gram matrix of the inputs at hand the
//! curvature of both its steps follows from small products, and P_1 is formed once, after the second.

use super::{Sweep, temporary_like};
use crate::Error;
use crate::engine::{SampleTensor, Shape, Tensor};
use crate::kernels::dladmm::{self as kernel, ActivationGradient, Block, StepSize};
use crate::kernels::linalg::{self, Transposed};
use crate::kernels::{elementwise, reduce};
use crate::solvers::dladmm::forward::{self, offsets};

/// Layer 1's gradient and its product with the Gram matrix, between the two steps of W_1.
pub(super) struct FirstGradient {
    gradient: Tensor,
    curvature: Tensor,
    slot: u32,
}

/// A list of partial sums and how many there are.
struct Partials {
    list: Tensor,
    count: u32,
}

impl Sweep<'_> {
    pub(super) fn quadratic_backward(&mut self) -> Result<(), Error> {
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

    pub(super) fn quadratic_forward(&mut self) -> Result<(), Error> {
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

    /// W_l by one quadratic step; P_l moves along.
    fn weights(&mut self, l: usize) -> Result<(), Error> {
        let layer = self.state.layer(l);
        let gradient = self.weight_gradient(l)?;
        let squares = self.dot(&gradient, &gradient)?;
        let previous = self.state.output(l - 1);
        let (moved, moved_squares) =
            self.product_norm(previous, (&gradient, Transposed::Yes), &layer.product)?;
        let block = Block::Weights { lambda: self.config.penalty.lambda() };
        let slot = self.step_size(block, l, &squares, &moved_squares)?;
        elementwise::descend(&mut self.plan, &gradient, &self.state.steps, slot, &layer.weights)?;
        self.descend(&moved, slot, &layer.product)
    }

    /// G = Σ over samples of r_l a_{l−1}ᵀ + (λ/κ) W_l, the gradient in W_l without its factor κ.
    fn weight_gradient(&mut self, l: usize) -> Result<Tensor, Error> {
        let residual = self.residual(l)?;
        let gradient = self.plan.temporary(self.state.layer(l).weights.shape());
        elementwise::fill(&mut self.plan, &gradient, 0.0)?;
        for (residual, previous) in residual.blocks().iter().zip(self.state.output(l - 1).blocks()) {
            let operands = ((residual, Transposed::Yes), (previous, Transposed::No));
            linalg::matmul_add(&mut self.plan, operands.0, operands.1, &gradient)?;
        }
        self.penalise(&self.state.layer(l).weights, l, &gradient)?;
        Ok(gradient)
    }

    /// Adds (λ/κ) `weights` to `gradient`, if there is a penalty.
    fn penalise(&mut self, weights: &Tensor, l: usize, gradient: &Tensor) -> Result<(), Error> {
        let penalty = (self.config.penalty.lambda(), self.is_last(l));
        match penalty.0 {
            0.0 => Ok(()),
            _ => kernel::weight_penalty(&mut self.plan, weights, &self.state.control, penalty, gradient),
        }
    }

    /// a_l by one quadratic step; P_{l+1} moves along.
    fn activation(&mut self, l: usize) -> Result<(), Error> {
        let next = self.state.layer(l + 1);
        let (gradient, squares) = self.activation_gradient(l)?;
        let (moved, moved_squares) =
            self.product_norm(&gradient, (&next.weights, Transposed::Yes), &next.product)?;
        let slot = self.step_size(Block::Activation, l, &squares, &moved_squares)?;
        self.descend(&gradient, slot, self.state.output(l))?;
        self.descend(&moved, slot, &next.product)
    }

    /// g = κ W'ᵀ r' + ν (a_l − f(z_l)), and partial sums of its squares.
    fn activation_gradient(&mut self, l: usize) -> Result<(SampleTensor, Partials), Error> {
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

    /// The backward step of W_1. With the Gram matrix P_1 is left behind: the forward step brings it up to date.
    fn first_weights_backward(&mut self) -> Result<(), Error> {
        let Some(gram) = &self.state.gram else { return self.weights(1) };
        let gradient = self.weight_gradient(1)?;
        let curvature = self.plan.temporary(gradient.shape());
        let slot = self.gram_step(&gradient, gram, &curvature)?;
        self.first_gradient = Some(FirstGradient { gradient, curvature, slot });
        Ok(())
    }

    /// The forward step of W_1. Nothing moved since the backward one, so its gradient is G − s G (x xᵀ).
    fn first_weights_forward(&mut self) -> Result<(), Error> {
        let (Some(gram), Some(first)) = (&self.state.gram, self.first_gradient.take()) else {
            return self.weights(1);
        };
        let FirstGradient { gradient, curvature, slot } = first;
        elementwise::descend(&mut self.plan, &curvature, &self.state.steps, slot, &gradient)?;
        self.gram_step(&gradient, gram, &curvature)?;
        let layer = self.state.layer(1);
        forward::products(&mut self.plan, self.state.output(0), &layer.weights, &layer.product)
    }

    /// W_1 ← W_1 − s G with ‖G x‖² = ⟨G (x xᵀ), G⟩; leaves G (x xᵀ) in `curvature` and returns the step's slot. With a
    /// penalty (λ/κ) G is added to that, which brings λ into the curvature and into the next gradient.
    fn gram_step(&mut self, gradient: &Tensor, gram: &Tensor, curvature: &Tensor) -> Result<u32, Error> {
        linalg::matmul(&mut self.plan, (gradient, Transposed::No), (gram, Transposed::No), curvature)?;
        self.penalise(gradient, 1, curvature)?;
        let squares = self.dot(gradient, gradient)?;
        let moved_squares = self.dot(curvature, gradient)?;
        let slot = self.step_size(Block::Weights { lambda: 0.0 }, 1, &squares, &moved_squares)?;
        elementwise::descend(
            &mut self.plan,
            gradient,
            &self.state.steps,
            slot,
            &self.state.layer(1).weights,
        )?;
        Ok(slot)
    }

    /// Partial sums of ⟨x, y⟩.
    fn dot(&mut self, x: &Tensor, y: &Tensor) -> Result<Partials, Error> {
        let count = reduce::partial_count(x);
        let list = self.plan.temporary(Shape::vector(count));
        reduce::dot(&mut self.plan, x, y, &list, 0)?;
        Ok(Partials { list, count })
    }

    /// `left` · op(right) in blocks like `model`'s, and partial sums of its squares.
    fn product_norm(
        &mut self,
        left: &SampleTensor,
        right: (&Tensor, Transposed),
        model: &SampleTensor,
    ) -> Result<(SampleTensor, Partials), Error> {
        let product = temporary_like(&mut self.plan, model)?;
        let (offsets, count) = self.tile_offsets(&product);
        let list = self.plan.temporary(Shape::vector(count));
        for (k, (left, product)) in left.blocks().iter().zip(product.blocks()).enumerate() {
            linalg::matmul_norm(&mut self.plan, (left, Transposed::No), right, product, &list, offsets[k])?;
        }
        Ok((product, Partials { list, count }))
    }

    /// Where each block's partial sums begin when a product leaves one per tile.
    fn tile_offsets(&self, product: &SampleTensor) -> (Vec<u32>, u32) {
        let gpu = self.plan.gpu();
        offsets(product.blocks().iter().map(|block| linalg::tile_count(gpu, block.shape())))
    }

    /// The next step size; `l` is the layer of the block that moves.
    fn step_size(
        &mut self,
        block: Block,
        l: usize,
        gradient: &Partials,
        moved: &Partials,
    ) -> Result<u32, Error> {
        let (name, curved) = match block {
            Block::Weights { .. } => ("W", l),
            Block::Activation => ("a", l + 1),
        };
        let slot = self.next_slot();
        let origin = self.origin(format!("{} on {name}{l}", kernel::STEP_SIZE.name));
        let args = StepSize {
            gradient: (&gradient.list, gradient.count),
            product: (&moved.list, moved.count),
            control: &self.state.control,
            block,
            last_layer: self.is_last(curved),
            steps: &self.state.steps,
            slot,
            status: &self.state.status,
            origin,
        };
        kernel::step_size(&mut self.plan, args)?;
        Ok(slot)
    }

    fn descend(&mut self, direction: &SampleTensor, slot: u32, moved: &SampleTensor) -> Result<(), Error> {
        for (direction, moved) in direction.blocks().iter().zip(moved.blocks()) {
            elementwise::descend(&mut self.plan, direction, &self.state.steps, slot, moved)?;
        }
        Ok(())
    }
}
