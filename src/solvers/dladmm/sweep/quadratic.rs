//! Mode `quadratic`, the paper's: one gradient step per block of W and a, as long as a quadratic majorant allows (Wang
//! et al. 2019, equations 10 and 11).
//!
//! Curvature along a gradient, and with it the number of doublings that backtracking would end at, follows from two
//! norms that the step's products leave as partial sums.

use super::{Below, Sweep, gradient::Partials, temporary_like};
use crate::Error;
use crate::engine::{SampleTensor, Shape, Tensor};
use crate::kernels::dladmm::{self as kernel, Block, StepSize};
use crate::kernels::linalg::{self, Transposed};
use crate::kernels::{elementwise, reduce};
use crate::solvers::dladmm::forward;
use crate::solvers::scoring::offsets;

impl Sweep<'_> {
    /// W_l by one quadratic step; P_l moves along.
    pub(super) fn quadratic_weights(&mut self, l: usize) -> Result<(), Error> {
        let layer = self.state.layer(l);
        let gradient = self.weight_gradient(l)?;
        let squares = self.dot(&gradient, &gradient)?;
        let (moved, moved_squares) = self.product_norm(self.state.below(l), &gradient, &layer.product)?;
        let block = Block::Weights { lambda: self.config.penalty.lambda() };
        let slot = self.step_size(block, l, &squares, &moved_squares)?;
        elementwise::descend(&mut self.plan, &gradient, &self.state.steps, slot, &layer.weights)?;
        self.descend(&moved, slot, &layer.product)
    }

    /// a_l by one quadratic step; P_{l+1} moves along.
    pub(super) fn quadratic_activation(&mut self, l: usize) -> Result<(), Error> {
        let next = self.state.layer(l + 1);
        let (gradient, squares) = self.activation_gradient(l)?;
        let (moved, moved_squares) =
            self.product_norm(gradient.blocks().iter().map(Below::Dense), &next.weights, &next.product)?;
        let slot = self.step_size(Block::Activation, l, &squares, &moved_squares)?;
        self.descend(&gradient, slot, self.state.output(l))?;
        self.descend(&moved, slot, &next.product)
    }

    /// W_1 ← W_1 − s G with ‖G x‖² = ⟨G (x xᵀ), G⟩, which costs no product over samples. With a penalty (λ/κ) G is added
    /// to G (x xᵀ), which brings λ into the curvature and into the next gradient; that replaces `gradient` if another
    /// step follows: nothing but W_1 moved, so it is G − s G (x xᵀ).
    pub(super) fn quadratic_gram_step(
        &mut self,
        gradient: &Tensor,
        gram: &Tensor,
        another: bool,
    ) -> Result<(), Error> {
        let curvature = self.gram_curvature(gradient, gram)?;
        let squares = self.dot(gradient, gradient)?;
        let moved_squares = self.dot(&curvature, gradient)?;
        let slot = self.step_size(Block::Weights { lambda: 0.0 }, 1, &squares, &moved_squares)?;
        let (steps, weights) = (&self.state.steps, &self.state.layer(1).weights);
        elementwise::descend(&mut self.plan, gradient, steps, slot, weights)?;
        match another {
            true => elementwise::descend(&mut self.plan, &curvature, steps, slot, gradient),
            false => Ok(()),
        }
    }

    /// Partial sums of ⟨x, y⟩.
    fn dot(&mut self, x: &Tensor, y: &Tensor) -> Result<Partials, Error> {
        let count = reduce::partial_count(x);
        let list = self.plan.temporary(Shape::vector(count));
        reduce::dot(&mut self.plan, x, y, &list, 0)?;
        Ok(Partials { list, count })
    }

    /// W a in blocks like `model`'s, and partial sums of its squares.
    fn product_norm<'a>(
        &mut self,
        below: impl Iterator<Item = Below<'a>>,
        weights: &Tensor,
        model: &SampleTensor,
    ) -> Result<(SampleTensor, Partials), Error> {
        let product = temporary_like(&mut self.plan, model)?;
        let below: Vec<_> = below.collect();
        if below.iter().any(|below| matches!(below, Below::Sparse(_))) {
            forward::products(&mut self.plan, below.into_iter(), weights, &product)?;
            let squares = self.squares(&product)?;
            return Ok((product, squares));
        }
        let (offsets, count) = self.tile_offsets(&product);
        let list = self.plan.temporary(Shape::vector(count));
        for ((below, product), offset) in below.into_iter().zip(product.blocks()).zip(offsets) {
            let Below::Dense(below) = below else { continue };
            let (left, right) = ((below, Transposed::No), (weights, Transposed::Yes));
            linalg::matmul_norm(&mut self.plan, left, right, product, &list, offset)?;
        }
        Ok((product, Partials { list, count }))
    }

    /// Partial sums of ‖x‖².
    fn squares(&mut self, x: &SampleTensor) -> Result<Partials, Error> {
        let (offsets, count) = offsets(x.blocks().iter().map(reduce::partial_count));
        let list = self.plan.temporary(Shape::vector(count));
        for (block, offset) in x.blocks().iter().zip(offsets) {
            reduce::dot(&mut self.plan, block, block, &list, offset)?;
        }
        Ok(Partials { list, count })
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
