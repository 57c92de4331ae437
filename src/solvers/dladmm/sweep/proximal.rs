//! Mode `quadratic` under the penalty λ ‖W‖₁: the W step is thresholded, so that its curvature depends on how long it is
//! and has to be tried (Wang et al. 2019, algorithm 3).
//!
//! A trial costs a product with the Gram matrix of the layer's inputs, never one over samples. Layer 1's is constant; the
//! others' are formed before each step.

use super::Sweep;
use crate::Error;
use crate::engine::{Shape, Tensor};
use crate::kernels::linalg::{self, Transposed};
use crate::kernels::proximal::{self as kernel, Decide, Pull};
use crate::solvers::dladmm::forward;

/// Trials that are recorded. The curvature along a step is at most κ tr(a aᵀ): with 24, one of up to 2²³ θ₀ is found
/// exactly as by the endless loop (55,000 images of 784 pixels have a trace below 2²⁶, and κ is seldom above 1/8); beyond
/// it, the last decision takes the trace's bound, which always descends.
const TRIALS: u32 = 24;

impl Sweep<'_> {
    /// W_l, l > 1, by one step; P_l is formed afresh, which costs what moving it along would.
    pub(super) fn proximal_weights(&mut self, l: usize, lambda: f32) -> Result<(), Error> {
        let state = self.state;
        let gradient = self.weight_gradient(l)?;
        let gram = self.gram(state.output(l - 1).blocks())?;
        self.proximal_step(l, lambda, &gradient, &gram)?;
        let layer = state.layer(l);
        forward::products(&mut self.plan, state.below(l), &layer.weights, &layer.product)
    }

    /// W_1 by one step. If another follows, `gradient` becomes that of the new W_1, G + D (x xᵀ).
    pub(super) fn proximal_gram_step(
        &mut self,
        lambda: f32,
        gradient: &Tensor,
        gram: &Tensor,
        another: bool,
    ) -> Result<(), Error> {
        let moved = self.proximal_step(1, lambda, gradient, gram)?;
        match another {
            true => {
                let right = (gram, Transposed::No);
                linalg::matmul_add(&mut self.plan, (&moved, Transposed::No), right, gradient)
            }
            false => Ok(()),
        }
    }

    /// W_l ← W_l + D with the first curvature that passes; returns D.
    fn proximal_step(
        &mut self,
        l: usize,
        lambda: f32,
        gradient: &Tensor,
        gram: &Tensor,
    ) -> Result<Tensor, Error> {
        let state = self.state;
        let (weights, control, last_layer) = (&state.layer(l).weights, &state.control, self.is_last(l));
        let pull = Pull { gradient, weights, lambda, control, last_layer };
        let steps = (&state.steps, self.next_slot());
        let origin = self.origin(format!("{} on W{l}", kernel::DECIDE.name));
        let count = linalg::tile_count(self.plan.gpu(), weights.shape());
        let partials = self.plan.temporary(Shape::vector(count));
        for trial in 0..TRIALS {
            kernel::trial(&mut self.plan, pull, gram, trial, steps, &partials)?;
            let decision = Decide {
                partials: (&partials, count),
                gram,
                control,
                last_layer,
                trial,
                is_last: trial + 1 == TRIALS,
                steps,
                status: &state.status,
                origin,
            };
            kernel::decide(&mut self.plan, &decision)?;
        }
        let moved = self.plan.temporary(weights.shape());
        kernel::weight_step(&mut self.plan, pull, steps, &moved)?;
        Ok(moved)
    }
}
