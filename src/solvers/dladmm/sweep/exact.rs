//! Mode `exact`: every block of W and a is solved for, damped, through the Gram matrix of its inputs (ALGORITHMS.md,
//! exact block steps).
//!
//! ```text
//! backward  z_L W_L; l = L−1…1: a_l z_l W_l       forward  z_1 a_1; l = 2…L−1: W_l z_l a_l; W_L z_L; then u
//! ```
//!
//! b is part of W's step: solved before, so that the residual has no mean, and after. Every product that a step changes
//! is formed afresh, which costs what moving it along would, unless the next step does so before anybody reads it: that of
//! a_{l−1} after W_l on the way back, and the forward one of a_l after its backward one. Small matrices are solved with, never
//! sample-side ones: whatever is solved for all samples is one product with a matrix that was solved for before. How a matrix
//! is solved with is [`Solver`]'s: by its factor, or by conjugate gradients with the matrix itself. The exception is layer 1
//! of inputs so sparse that their Gram matrix would be the larger: it has conjugate gradients with the inputs instead.

use super::{Below, Sweep, mean_step, temporary_like};
use crate::Error;
use crate::engine::{Shape, Tensor};
use crate::kernels::exact::{self, Damping, Gram};
use crate::kernels::linalg::{self, Transposed};
use crate::kernels::mlp::Gradients;
use crate::kernels::sparse::{self, Onto};
use crate::kernels::{self, elementwise};
use crate::solvers::dladmm::config::{Exact, Solver, SweepKind};
use crate::solvers::dladmm::forward;
use crate::solvers::linear;
use Transposed::{No, Yes};

/// What a layer's weights are solved with.
enum System {
    /// What [`Sweep::weights_system`] made of S.
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
            self.exact_weights_alone(l + 1, exact)?;
            self.exact_activation(l, exact)?;
            if exact.sweep == SweepKind::Backward {
                self.products(l + 1)?;
            }
            self.z_hidden(l)?;
        }
        self.exact_weights(1, exact)
    }

    pub(super) fn exact_forward(&mut self, exact: Exact) -> Result<(), Error> {
        let depth = self.state.depth();
        for l in 1..depth {
            // Nothing that W_1 depends on moved since its backward step.
            if l > 1 {
                self.renew_system(l, exact)?;
                self.exact_weights(l, exact)?;
            }
            self.z_hidden(l)?;
            self.exact_activation(l, exact)?;
            self.products(l + 1)?;
        }
        self.renew_system(depth, exact)?;
        self.exact_weights(depth, exact)?;
        self.z_last()
    }

    /// Once the layer's inputs have moved: what its weights are solved with, now and in the next backward sweep.
    fn renew_system(&mut self, l: usize, exact: Exact) -> Result<(), Error> {
        match &self.state.systems[l - 1] {
            Some(kept) => self.weights_system_into(l, exact, kept),
            None => Ok(()),
        }
    }

    /// W_l, P_l and b_l.
    fn exact_weights(&mut self, l: usize, exact: Exact) -> Result<(), Error> {
        self.bias(l)?;
        self.solve_for_weights(l, exact)?;
        self.products(l)?;
        self.bias(l)
    }

    /// W_l and b_l, l > 1, but not P_l. The residual has no mean before the step, so that after it `b −= (W − W_before) ā`.
    fn exact_weights_alone(&mut self, l: usize, exact: Exact) -> Result<(), Error> {
        let layer = self.state.layer(l);
        self.bias(l)?;
        let sums = self.sums(l)?;
        let moved = self.plan.temporary(layer.bias.shape());
        elementwise::fill(&mut self.plan, &moved, 0.0)?;
        linalg::matmul_subtract(&mut self.plan, (&sums, No), (&layer.weights, Yes), &moved)?;
        self.solve_for_weights(l, exact)?;
        linalg::matmul_add(&mut self.plan, (&sums, No), (&layer.weights, Yes), &moved)?;
        kernels::dladmm::bias_step(&mut self.plan, &moved, self.state.cut.samples(), &layer.bias)
    }

    /// P_l = W_l a_{l−1}.
    fn products(&mut self, l: usize) -> Result<(), Error> {
        let layer = self.state.layer(l);
        forward::products(&mut self.plan, self.state.below(l), &layer.weights, &layer.product)
    }

    /// `W −= (R aᵀ + (μ + λ/κ) W) (M + t I)⁻¹` with the centred Gram matrix M of the layer's inputs and
    /// t = d mean(diag M) + μ + λ/κ.
    fn solve_for_weights(&mut self, l: usize, exact: Exact) -> Result<(), Error> {
        let state = self.state;
        let system = match (&state.systems[l - 1], &state.moments) {
            (Some(system), _) => System::Matrix(system.clone()),
            (_, Some(moments)) if l == 1 && state.gram.is_none() => {
                System::Products { shift: self.first_shift(moments, exact)? }
            }
            _ => System::Matrix(self.weights_system(l, exact)?),
        };
        let residual = self.residual(l)?;
        let descent = self.outer(l, &residual, true)?;
        let layer = state.layer(l);
        elementwise::descend(&mut self.plan, &layer.weights, &state.ridge, l as u32 - 1, &descent)?;
        self.penalise(&layer.weights, l, -self.config.penalty.lambda(), &descent)?;
        match system {
            System::Matrix(system) => self.add_solved(&descent, &system, exact.solver, &layer.weights),
            System::Products { shift } => {
                self.add_solved_by_products(&descent, shift, exact.solver, &layer.weights)
            }
        }
    }

    /// weights += descent S⁻¹, with what [`Self::system`] made of S.
    fn add_solved(
        &mut self,
        descent: &Tensor,
        system: &Tensor,
        solver: Solver,
        weights: &Tensor,
    ) -> Result<(), Error> {
        match solver {
            Solver::Cholesky => {
                let half = self.plan.temporary(descent.shape());
                linalg::matmul(&mut self.plan, (descent, No), (system, Yes), &half)?;
                linalg::matmul_add(&mut self.plan, (&half, No), (system, No), weights)
            }
            Solver::ConjugateGradients { weight_steps, .. } => {
                linear::conjugate_gradients_add(&mut self.plan, system, descent, weight_steps, weights)
            }
        }
    }

    /// The same for layer 1 of sparse inputs without their Gram matrix: by conjugate gradients, whose products with S are
    /// two with the inputs, `v S = (v x − mean) xᵀ + t v`.
    fn add_solved_by_products(
        &mut self,
        descent: &Tensor,
        shift: u32,
        solver: Solver,
        weights: &Tensor,
    ) -> Result<(), Error> {
        let state = self.state;
        let (flat, image) = self.flat(weights.shape())?;
        let model = &state.layer(1).product;
        let mut temporary = || temporary_like(&mut self.plan, model);
        let (nothing, moved, centred) = (temporary()?, temporary()?, temporary()?);
        for nothing in nothing.blocks() {
            elementwise::fill(&mut self.plan, nothing, 0.0)?;
        }
        let mean = self.plan.temporary(Shape::vector(model.features()));
        let (plan, count) = (&mut self.plan, solver.steps_of_weights());
        linear::conjugate_gradients_by(plan, (descent, &image), count, weights, |plan, direction| {
            forward::products(plan, state.below(1), direction, &moved)?;
            elementwise::fill(plan, &mean, 0.0)?;
            mean_step(plan, &moved, &nothing, &mean)?;
            elementwise::fill(plan, &flat, 0.0)?;
            elementwise::descend(plan, direction, &state.steps, shift, &image)?;
            for (k, below) in state.below(1).enumerate() {
                let (moved, nothing, centred) =
                    (&moved.blocks()[k], &nothing.blocks()[k], &centred.blocks()[k]);
                kernels::dladmm::residual(plan, moved, &mean, nothing, centred)?;
                let Below::Sparse(below) = below else { continue };
                // The first block's sum less −t v, which is there; the others' on top.
                let onto = if k == 0 { Onto::Rest } else { Onto::Sum };
                let gradients = Gradients { rows: &flat, first: 0 };
                sparse::weight_gradient(plan, centred, below.columns(), gradients, onto)?;
            }
            Ok(())
        })
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
    pub(super) fn weights_system_into(&mut self, l: usize, exact: Exact, kept: &Tensor) -> Result<(), Error> {
        let system = self.weights_system(l, exact)?;
        elementwise::copy(&mut self.plan, &system, kept)
    }

    /// What layer l's weights are solved with, made of M + t I of its inputs; settles the layer's ridge at the first
    /// call.
    fn weights_system(&mut self, l: usize, exact: Exact) -> Result<Tensor, Error> {
        let state = self.state;
        let gram = match &state.gram {
            Some(gram) if l == 1 => gram.clone(),
            _ => self.gram(state.output(l - 1).blocks())?,
        };
        let sums = self.sums(l)?;
        let kind = self.weights_damping(l, exact);
        self.system(Gram { matrix: &gram, sums: Some(&sums) }, kind, exact.solver)
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

    /// a_l, but not P_{l+1}: `a −= (κ W'ᵀW' + ν I)⁻¹ g`. That is the minimiser, wherever a was, and the same as
    /// `a = f(z) − W'ᵀ (W'W'ᵀ + ν/κ I)⁻¹ R'`, R' that of a = f(z), in which nothing cancels.
    fn exact_activation(&mut self, l: usize, exact: Exact) -> Result<(), Error> {
        let state = self.state;
        let solved = match self.solved_weights[l].take() {
            Some(solved) => solved,
            None => {
                let solved = self.solve_weights(l + 1, exact.solver)?;
                self.solved_weights[l].insert(solved).clone()
            }
        };
        let no_bias = self.plan.temporary(state.layer(l).bias.shape());
        elementwise::fill(&mut self.plan, &no_bias, 0.0)?;
        for (z, activation) in state.layer(l).z.blocks().iter().zip(state.output(l).blocks()) {
            elementwise::activate(&mut self.plan, z, &no_bias, activation, self.config.activation)?;
        }
        self.products(l + 1)?;
        let residual = self.residual(l + 1)?;
        for (residual, activation) in residual.blocks().iter().zip(state.output(l).blocks()) {
            linalg::matmul_subtract(&mut self.plan, (residual, No), (&solved, No), activation)?;
        }
        Ok(())
    }

    /// `K = (W Wᵀ + ν/κ I)⁻¹ W = W (WᵀW + ν/κ I)⁻¹`: factored, by whichever system is smaller; by conjugate gradients,
    /// by the one whose solutions are the rows of K.
    fn solve_weights(&mut self, l: usize, solver: Solver) -> Result<Tensor, Error> {
        let weights = &self.state.layer(l).weights;
        let Shape { rows, columns } = weights.shape();
        let kind = Damping::Activations { last_layer: self.is_last(l) };
        let solved = self.plan.temporary(weights.shape());
        if rows < columns && solver == Solver::Cholesky {
            let gram = self.plan.temporary(Shape::new(rows, rows));
            linalg::matmul(&mut self.plan, (weights, No), (weights, Yes), &gram)?;
            let root = self.system(Gram { matrix: &gram, sums: None }, kind, solver)?;
            let half = self.plan.temporary(weights.shape());
            linalg::matmul(&mut self.plan, (&root, No), (weights, No), &half)?;
            linalg::matmul(&mut self.plan, (&root, Yes), (&half, No), &solved)?;
            return Ok(solved);
        }
        let gram = self.gram(std::slice::from_ref(weights))?;
        let system = self.system(Gram { matrix: &gram, sums: None }, kind, solver)?;
        match solver {
            Solver::Cholesky => linear::solve_rows(&mut self.plan, weights, &system, &solved)?,
            Solver::ConjugateGradients { activation_steps, .. } => {
                linear::conjugate_gradients(&mut self.plan, &system, weights, activation_steps, &solved)?;
            }
        }
        Ok(solved)
    }
}
