//! Mode `exact`: every block of W and a is solved for, damped, through the Gram matrix of its inputs (ALGORITHMS.md,
//! exact block steps).
//!
//! ```text
//! backward  z_L W_L; l = L−1…1: a_l z_l W_l       forward  z_1 a_1; l = 2…L−1: W_l z_l a_l; W_L z_L; then u
//! ```
//!
//! b is part of W's step: both are solved for together. Steps go to minimisers and not along what is left of them, so that
//! they need no P, and P_l is formed where somebody reads it: z_l and the terms of the augmented Lagrangian. Small
//! matrices are solved with, never sample-side ones: whatever is solved for all samples is one product with a matrix
//! that was solved for before. How a matrix is solved with is [`Solver`]'s: by its factor, or by conjugate gradients with the
//! matrix itself. The exception is layer 1 of inputs so sparse that their Gram matrix would be the larger: it has
//! conjugate gradients with the inputs instead.

mod activations;

use super::{Below, Sweep, add_products, mean_step, temporary_like};
use crate::Error;
use crate::engine::{PlanBuilder, SampleTensor, Shape, Tensor};
use crate::kernels::exact::{self, Damping, Gram, RightSide};
use crate::kernels::linalg::{self, Transposed};
use crate::kernels::sparse::Onto;
use crate::kernels::{self, elementwise};
use crate::solvers::dladmm::config::{Exact, Solver, SweepKind};
use crate::solvers::dladmm::forward;
use crate::solvers::dladmm::state::WeightsSystem;
use crate::solvers::linear;
use Transposed::{No, Yes};
pub(super) use activations::SolvedWeights;

/// What a layer's weights are solved with.
enum System {
    /// S, or L⁻¹ with L Lᵀ = S.
    Matrix(Tensor),
    /// Products with sparse inputs, and the slot of t.
    Products { shift: u32 },
}

impl Sweep<'_> {
    pub(super) fn exact_backward(&mut self, exact: Exact) -> Result<(), Error> {
        let depth = self.state.depth();
        self.z_last()?;
        self.form_goal()?;
        for l in (1..depth).rev() {
            self.exact_weights(l + 1, exact)?;
            self.exact_activation(l, exact)?;
            if exact.sweep == SweepKind::Backward {
                self.products(l + 1)?;
            }
            self.z_hidden(l)?;
        }
        self.exact_weights(1, exact)?;
        self.products(1)
    }

    pub(super) fn exact_forward(&mut self, exact: Exact) -> Result<(), Error> {
        let depth = self.state.depth();
        for l in 1..depth {
            // Nothing that W_1 depends on moved since its backward step.
            if l > 1 {
                self.exact_weights_forward(l, exact)?;
            }
            self.z_hidden(l)?;
            self.exact_activation(l, exact)?;
        }
        self.exact_weights_forward(depth, exact)?;
        self.z_last()
    }

    /// W_l, b_l and P_l, once the layer's inputs have moved: what its weights are solved with, now and in the next backward
    /// sweep, is renewed.
    fn exact_weights_forward(&mut self, l: usize, exact: Exact) -> Result<(), Error> {
        if let Some(kept) = &self.state.systems[l - 1] {
            self.weights_system_into(l, exact, kept)?;
        }
        self.exact_weights(l, exact)?;
        self.products(l)
    }

    /// P_l = W_l a_{l−1}.
    fn products(&mut self, l: usize) -> Result<(), Error> {
        let layer = self.state.layer(l);
        forward::products(&mut self.plan, self.state.below(l), &layer.weights, &layer.product)
    }

    /// W_l and b_l, but not P_l: `W S = D W + (z − mean z) aᵀ` with S = M + t I, the centred Gram matrix M of the layer's inputs
    /// and t = D + μ + λ/κ, D = d mean(diag M); then `b = mean z − W mean a`.
    fn exact_weights(&mut self, l: usize, exact: Exact) -> Result<(), Error> {
        let state = self.state;
        let layer = state.layer(l);
        let (system, sums) = self.system_and_sums(l, exact)?;
        let mean = self.mean_goal(l)?;
        let (flat, right) = self.outer(l, &self.goal(l))?;
        let (weights, mean, sums, ridge) = (&layer.weights, &mean, &sums, &state.ridge);
        let args = RightSide { weights, mean, sums, ridge, layer: l as u32 - 1 };
        exact::right_side(&mut self.plan, args, &right)?;
        match system {
            System::Matrix(system) => self.solve_for_weights(&right, &system, exact.solver, weights)?,
            System::Products { shift } => {
                self.solve_by_products((&flat, &right), shift, exact.solver, weights)?;
            }
        }
        let fitted = self.plan.temporary(layer.bias.shape());
        linalg::matmul(&mut self.plan, (sums, No), (weights, Yes), &fitted)?;
        elementwise::copy(&mut self.plan, mean, &layer.bias)?;
        kernels::dladmm::bias_step(&mut self.plan, &fitted, state.cut.samples(), &layer.bias)
    }

    /// What W_l is solved with, and the sums over samples of what layer l takes.
    fn system_and_sums(&mut self, l: usize, exact: Exact) -> Result<(System, Tensor), Error> {
        let state = self.state;
        let WeightsSystem { matrix, sums } = match (&state.systems[l - 1], &state.moments) {
            (Some(kept), _) => kept.clone(),
            (_, Some(moments)) if l == 1 && state.gram.is_none() => {
                let shift = self.first_shift(moments, exact)?;
                return Ok((System::Products { shift }, moments[0].clone()));
            }
            _ => self.weights_system(l, exact)?,
        };
        Ok((System::Matrix(matrix), sums))
    }

    /// The mean over samples of what W_l a_{l−1} + b_l is drawn to. That of a hidden layer stands still from the backward
    /// step of W_l to the forward one, that of the last layer in between as well, and is formed once.
    fn mean_goal(&mut self, l: usize) -> Result<Tensor, Error> {
        if let Some(mean) = self.mean_goals[l - 1].take() {
            return Ok(mean);
        }
        let state = self.state;
        let goal = self.goal(l);
        let [opposite, mean] = [(); 2].map(|()| self.plan.temporary(state.layer(l).bias.shape()));
        elementwise::fill(&mut self.plan, &opposite, 0.0)?;
        for (ones, goal) in state.ones.iter().zip(goal.blocks()) {
            linalg::matmul_subtract(&mut self.plan, (ones, Yes), (goal, No), &opposite)?;
        }
        elementwise::fill(&mut self.plan, &mean, 0.0)?;
        kernels::dladmm::bias_step(&mut self.plan, &opposite, state.cut.samples(), &mean)?;
        Ok(self.mean_goals[l - 1].insert(mean).clone())
    }

    /// weights = right S⁻¹, with what [`Self::system`] made of S; conjugate gradients go on from the weights that are there.
    fn solve_for_weights(
        &mut self,
        right: &Tensor,
        system: &Tensor,
        solver: Solver,
        weights: &Tensor,
    ) -> Result<(), Error> {
        match solver {
            Solver::Cholesky => linear::solve_rows(&mut self.plan, right, system, weights),
            Solver::ConjugateGradients { weight_steps, .. } => {
                linalg::matmul_subtract(&mut self.plan, (weights, No), (system, No), right)?;
                linear::conjugate_gradients_add(&mut self.plan, system, right, weight_steps, weights)
            }
        }
    }

    /// The same for layer 1 of sparse inputs without their Gram matrix: by conjugate gradients, whose products with S are
    /// two with the inputs, `v S = (v x − mean) xᵀ + t v`. `right` comes as a row, too.
    fn solve_by_products(
        &mut self,
        (flat_right, right): (&Tensor, &Tensor),
        shift: u32,
        solver: Solver,
        weights: &Tensor,
    ) -> Result<(), Error> {
        let state = self.state;
        let (flat, image) = self.flat(weights.shape())?;
        let product = &state.layer(1).product;
        let centring = self.centring(product)?;
        let moved = temporary_like(&mut self.plan, product)?;
        let plan = &mut self.plan;
        // What is left of the right-hand side at the weights that are there, whose product is.
        elementwise::descend(plan, weights, &state.steps, shift, right)?;
        centring.centre(plan, product)?;
        add_products(plan, state, &centring.centred, flat_right, [Onto::Difference; 2])?;
        let count = solver.steps_of_weights();
        linear::conjugate_gradients_by(plan, (right, &image), count, weights, |plan, direction| {
            forward::products(plan, state.below(1), direction, &moved)?;
            centring.centre(plan, &moved)?;
            elementwise::fill(plan, &flat, 0.0)?;
            elementwise::descend(plan, direction, &state.steps, shift, &image)?;
            // The first block's sum less −t v, which is there; the others' on top.
            add_products(plan, state, &centring.centred, &flat, [Onto::Rest, Onto::Sum])
        })
    }

    fn centring(&mut self, model: &SampleTensor) -> Result<Centring, Error> {
        let nothing = temporary_like(&mut self.plan, model)?;
        for nothing in nothing.blocks() {
            elementwise::fill(&mut self.plan, nothing, 0.0)?;
        }
        let opposite_mean = self.plan.temporary(Shape::vector(model.features()));
        Ok(Centring { nothing, opposite_mean, centred: temporary_like(&mut self.plan, model)? })
    }

    /// The slot of t for layer 1 without its Gram matrix, of which the diagonal will do; settles the layer's ridge at the
    /// first call.
    fn first_shift(&mut self, [sums, squares]: &[Tensor; 2], exact: Exact) -> Result<u32, Error> {
        let (state, slot) = (self.state, self.next_slot());
        let gram = Gram { matrix: squares, sums: Some(sums) };
        let (kind, steps) = (self.weights_damping(1, exact), (&state.steps, slot));
        exact::damping(&mut self.plan, gram, kind, &state.control, &state.ridge, steps)?;
        Ok(slot)
    }

    /// Leaves it where it is kept.
    pub(super) fn weights_system_into(
        &mut self,
        l: usize,
        exact: Exact,
        kept: &WeightsSystem,
    ) -> Result<(), Error> {
        let WeightsSystem { matrix, sums } = self.weights_system(l, exact)?;
        elementwise::copy(&mut self.plan, &matrix, &kept.matrix)?;
        elementwise::copy(&mut self.plan, &sums, &kept.sums)
    }

    /// What layer l's weights are solved with, made of M + t I of its inputs; settles the layer's ridge at the first
    /// call.
    fn weights_system(&mut self, l: usize, exact: Exact) -> Result<WeightsSystem, Error> {
        let state = self.state;
        let gram = match &state.gram {
            Some(gram) if l == 1 => gram.clone(),
            _ => self.gram(state.output(l - 1).blocks())?,
        };
        let sums = self.sums(l)?;
        let kind = self.weights_damping(l, exact);
        let matrix = self.system(Gram { matrix: &gram, sums: Some(&sums) }, kind, exact.solver)?;
        Ok(WeightsSystem { matrix, sums })
    }

    fn weights_damping(&self, l: usize, exact: Exact) -> Damping {
        Damping::Weights {
            samples: self.state.cut.samples(),
            layer: l as u32 - 1,
            damping: exact.damping,
            ridge: exact.ridge,
            last_layer: self.is_last(l),
        }
    }

    /// Sums over samples of what layer l takes.
    fn sums(&mut self, l: usize) -> Result<Tensor, Error> {
        let state = self.state;
        if let (1, Some([sums, _])) = (l, &state.moments) {
            return Ok(sums.clone());
        }
        let sums = self.plan.temporary(Shape::vector(state.layer(l).weights.shape().columns));
        elementwise::fill(&mut self.plan, &sums, 0.0)?;
        for (ones, below) in state.ones.iter().zip(state.below(l)) {
            let Below::Dense(below) = below else { continue };
            linalg::matmul_add(&mut self.plan, (ones, Yes), (below, No), &sums)?;
        }
        Ok(sums)
    }

    /// Σ over rows of aᵀa, a row at a time.
    pub(super) fn gram(&mut self, blocks: &[Tensor]) -> Result<Tensor, Error> {
        let features = blocks.first().map_or(0, |block| block.shape().columns);
        let gram = self.plan.temporary(Shape::new(features, features));
        elementwise::fill(&mut self.plan, &gram, 0.0)?;
        for block in blocks {
            linalg::gram(&mut self.plan, block, &gram)?;
        }
        Ok(gram)
    }

    /// The damped Gram matrix S, or L⁻¹ with L Lᵀ = S where that is what is solved with.
    fn system(&mut self, gram: Gram<'_>, kind: Damping, solver: Solver) -> Result<Tensor, Error> {
        let state = self.state;
        let steps = (&state.steps, self.next_slot());
        exact::damping(&mut self.plan, gram, kind, &state.control, &state.ridge, steps)?;
        let damped = self.plan.temporary(gram.matrix.shape());
        exact::damped(&mut self.plan, gram, kind, steps, &damped)?;
        if solver != Solver::Cholesky {
            return Ok(damped);
        }
        let root = self.plan.temporary(gram.matrix.shape());
        linear::inverse_root(&mut self.plan, &damped, steps, &state.status, &root)?;
        Ok(root)
    }
}

/// How products with sparse inputs are centred.
struct Centring {
    nothing: SampleTensor,
    opposite_mean: Tensor,
    centred: SampleTensor,
}

impl Centring {
    /// centred = product − its mean over samples.
    fn centre(&self, plan: &mut PlanBuilder, product: &SampleTensor) -> Result<(), Error> {
        elementwise::fill(plan, &self.opposite_mean, 0.0)?;
        mean_step(plan, product, &self.nothing, &self.opposite_mean)?;
        for ((product, nothing), centred) in
            product.blocks().iter().zip(self.nothing.blocks()).zip(self.centred.blocks())
        {
            kernels::dladmm::residual(plan, product, &self.opposite_mean, nothing, centred)?;
        }
        Ok(())
    }
}
