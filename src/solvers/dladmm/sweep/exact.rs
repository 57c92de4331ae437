//! Mode `exact`: every block of W and a is solved for, damped, through the Gram matrix of its inputs (ALGORITHMS.md,
//! exact block steps).
//!
//! ```text
//! backward  z_L W_L; l = L−1…1: a_l z_l W_l       forward  z_1 a_1; l = 2…L−1: W_l z_l a_l; W_L z_L; then u
//! ```
//!
//! b is part of W's step: solved before, so that the residual has no mean, and after. Every product that a step changes
//! is formed afresh, which costs what moving it along would.

use super::{Sweep, temporary_like};
use crate::Error;
use crate::engine::{SampleTensor, Shape, Tensor};
use crate::kernels::exact::{self, Damping, Gram};
use crate::kernels::linalg::{self, Transposed};
use crate::kernels::{elementwise, reduce};
use crate::solvers::dladmm::config::Exact;
use crate::solvers::dladmm::forward;
use crate::solvers::linear;
use Transposed::{No, Yes};

impl Sweep<'_> {
    pub(super) fn exact_backward(&mut self, exact: Exact) -> Result<(), Error> {
        let depth = self.state.depth();
        self.z_last()?;
        self.form_goal()?;
        self.exact_weights(depth, exact)?;
        for l in (1..depth).rev() {
            self.exact_activation(l)?;
            self.z_hidden(l)?;
            self.exact_weights(l, exact)?;
        }
        Ok(())
    }

    pub(super) fn exact_forward(&mut self, exact: Exact) -> Result<(), Error> {
        let depth = self.state.depth();
        for l in 1..depth {
            // Nothing that W_1 depends on moved since its backward step.
            if l > 1 {
                self.exact_weights(l, exact)?;
            }
            self.z_hidden(l)?;
            self.exact_activation(l)?;
        }
        self.exact_weights(depth, exact)?;
        self.z_last()
    }

    /// W_l and b_l: `W −= (R aᵀ + μ W) (M + t I)⁻¹` with the centred Gram matrix M of the layer's inputs.
    fn exact_weights(&mut self, l: usize, exact: Exact) -> Result<(), Error> {
        let state = self.state;
        self.bias(l)?;
        let inverse = match &state.first_inverse {
            Some(inverse) if l == 1 => inverse.clone(),
            _ => self.weights_inverse(l, exact)?,
        };
        // C negated, so that the step adds.
        let descent = self.plan.temporary(state.layer(l).weights.shape());
        elementwise::fill(&mut self.plan, &descent, 0.0)?;
        let residual = self.residual(l)?;
        for (residual, previous) in residual.blocks().iter().zip(state.output(l - 1).blocks()) {
            linalg::matmul_subtract(&mut self.plan, (residual, Yes), (previous, No), &descent)?;
        }
        let layer = state.layer(l);
        elementwise::descend(&mut self.plan, &layer.weights, &state.ridge, l as u32 - 1, &descent)?;
        linalg::matmul_add(&mut self.plan, (&descent, No), (&inverse, No), &layer.weights)?;
        forward::products(&mut self.plan, state.output(l - 1), &layer.weights, &layer.product)?;
        self.bias(l)
    }

    /// (M + t I)⁻¹ of layer l's inputs; settles the layer's ridge at the first call.
    pub(super) fn weights_inverse(&mut self, l: usize, exact: Exact) -> Result<Tensor, Error> {
        let state = self.state;
        let inputs = state.output(l - 1);
        let gram = match &state.gram {
            Some(gram) if l == 1 => gram.clone(),
            _ => self.gram(inputs)?,
        };
        let sums = self.plan.temporary(Shape::vector(inputs.features()));
        elementwise::fill(&mut self.plan, &sums, 0.0)?;
        for (ones, inputs) in state.ones.iter().zip(inputs.blocks()) {
            linalg::matmul_add(&mut self.plan, (ones, Yes), (inputs, No), &sums)?;
        }
        let kind = Damping::Weights {
            samples: state.cut.samples(),
            layer: l as u32 - 1,
            damping: exact.damping,
            ridge: exact.ridge,
        };
        self.damped_inverse(Gram { matrix: &gram, sums: Some(&sums) }, kind, self.is_last(l))
    }

    /// Σ over samples of a aᵀ.
    fn gram(&mut self, inputs: &SampleTensor) -> Result<Tensor, Error> {
        let gram = self.plan.temporary(Shape::new(inputs.features(), inputs.features()));
        elementwise::fill(&mut self.plan, &gram, 0.0)?;
        for block in inputs.blocks() {
            linalg::gram(&mut self.plan, block, &gram)?;
        }
        Ok(gram)
    }

    fn damped_inverse(&mut self, gram: Gram<'_>, kind: Damping, last_layer: bool) -> Result<Tensor, Error> {
        let state = self.state;
        let slot = self.next_slot();
        let steps = (&state.steps, slot);
        exact::damping(&mut self.plan, gram, kind, last_layer, &state.control, &state.ridge, steps)?;
        let damped = self.plan.temporary(gram.matrix.shape());
        exact::damped(&mut self.plan, gram, kind, steps, &damped)?;
        let inverse = self.plan.temporary(gram.matrix.shape());
        linear::invert(&mut self.plan, &damped, steps, &state.status, &inverse)?;
        Ok(inverse)
    }

    /// a_l: `a −= (κ W'ᵀW' + ν I)⁻¹ g`, or by Woodbury's identity where the next layer is narrower; P_{l+1} afresh.
    fn exact_activation(&mut self, l: usize) -> Result<(), Error> {
        let state = self.state;
        let next = state.layer(l + 1);
        let gradient = self.activation_gradient(l)?.0;
        let Shape { rows: width_above, columns: width } = next.weights.shape();
        if width_above < width {
            self.narrow_activation(l, &gradient)?;
        } else {
            let gram = self.plan.temporary(Shape::new(width, width));
            elementwise::fill(&mut self.plan, &gram, 0.0)?;
            linalg::gram(&mut self.plan, &next.weights, &gram)?;
            let gram = Gram { matrix: &gram, sums: None };
            let inverse = self.damped_inverse(gram, Damping::Activations, self.is_last(l + 1))?;
            for (gradient, activation) in gradient.blocks().iter().zip(state.output(l).blocks()) {
                linalg::matmul_subtract(&mut self.plan, (gradient, No), (&inverse, No), activation)?;
            }
        }
        forward::products(&mut self.plan, state.output(l), &next.weights, &next.product)
    }

    /// `a −= g/ν − W'ᵀ (ν W' W'ᵀ + ν²/κ I)⁻¹ W' g`.
    fn narrow_activation(&mut self, l: usize, gradient: &SampleTensor) -> Result<(), Error> {
        let state = self.state;
        let next = state.layer(l + 1);
        let width_above = next.weights.shape().rows;
        let gram = self.plan.temporary(Shape::new(width_above, width_above));
        linalg::matmul(&mut self.plan, (&next.weights, No), (&next.weights, Yes), &gram)?;
        let slot = self.slot;
        let gram = Gram { matrix: &gram, sums: None };
        let inverse = self.damped_inverse(gram, Damping::Narrow, self.is_last(l + 1))?;
        let above = temporary_like(&mut self.plan, &next.product)?;
        let solved = temporary_like(&mut self.plan, &next.product)?;
        for (k, gradient) in gradient.blocks().iter().enumerate() {
            let (above, solved) = (&above.blocks()[k], &solved.blocks()[k]);
            let (plan, activation) = (&mut self.plan, &state.output(l).blocks()[k]);
            linalg::matmul(plan, (gradient, No), (&next.weights, Yes), above)?;
            linalg::matmul(plan, (above, No), (&inverse, No), solved)?;
            elementwise::descend(plan, gradient, &state.steps, slot, activation)?;
            linalg::matmul_add(plan, (solved, No), (&next.weights, No), activation)?;
        }
        Ok(())
    }

    /// ‖W‖² of each layer, for the ridge's share of the augmented Lagrangian.
    pub(super) fn ridge_terms(&mut self) -> Result<(), Error> {
        let state = self.state;
        let first = state.depth() as u32 + 2;
        for (slot, layer) in (first..).zip(&state.layers) {
            let count = reduce::partial_count(&layer.weights);
            let partials = self.plan.temporary(Shape::new(count, 4));
            reduce::dots(&mut self.plan, &layer.weights, &layer.weights, &partials, 0)?;
            self.totals(&partials, count, slot, format!("reduce/dots of W{}", slot + 1 - first))?;
        }
        Ok(())
    }
}
