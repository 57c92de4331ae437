//! The step of a in mode `exact`: `a −= (κ W'ᵀW' + ν I)⁻¹ g`, g the gradient. That is the minimiser, wherever a was.
//!
//! With `K = (W'W'ᵀ + ν/κ I)⁻¹ W'` it is `a = f(z) − (f(z) W'ᵀ + b' − z') K`, in which nothing cancels: two products for each
//! step. W', b' and z' stand still from the backward step to the forward one, so that where both are taken it can be less
//! to have their part once, which leaves one product for each step, `f(z) W'ᵀK`.

use super::{No, Yes};
use crate::Error;
use crate::engine::{SampleTensor, Shape, Tensor};
use crate::kernels::exact::{Damping, Gram};
use crate::kernels::{self, elementwise, linalg};
use crate::solvers::dladmm::config::{Exact, Solver, SweepKind};
use crate::solvers::dladmm::sweep::{Sweep, temporary_like};
use crate::solvers::linear;

/// What a_l is solved with while W_{l+1}, b_{l+1} and z_{l+1} stand still: from the backward step to the forward one.
#[derive(Clone)]
pub(in super::super) enum SolvedWeights {
    /// K.
    Inverse(Tensor),
    /// What of a step stays, where that is less work.
    Parts(Parts),
}

/// `a = f(z) − f(z) W'ᵀK + (z' − b') K`, of which only f(z) moves from step to step.
#[derive(Clone)]
pub(in super::super) struct Parts {
    /// W'ᵀK.
    overlap: Tensor,
    /// −b' K.
    offset: Tensor,
    /// −z' K.
    opposite: SampleTensor,
}

impl Sweep<'_> {
    /// a_l, but not P_{l+1}.
    pub(super) fn exact_activation(&mut self, l: usize, exact: Exact) -> Result<(), Error> {
        let solved = match self.solved_weights[l].take() {
            Some(solved) => solved,
            None => {
                let solved = self.solve_weights(l + 1, exact)?;
                self.solved_weights[l].insert(solved).clone()
            }
        };
        match &solved {
            SolvedWeights::Parts(parts) => self.activation_of_parts(l, parts),
            SolvedWeights::Inverse(inverse) => {
                let state = self.state;
                self.activate(l, state.output(l))?;
                self.products(l + 1)?;
                let residual = self.residual(l + 1)?;
                for (residual, activation) in residual.blocks().iter().zip(state.output(l).blocks()) {
                    linalg::matmul_subtract(&mut self.plan, (residual, No), (inverse, No), activation)?;
                }
                Ok(())
            }
        }
    }

    fn activation_of_parts(&mut self, l: usize, parts: &Parts) -> Result<(), Error> {
        let outputs = temporary_like(&mut self.plan, self.state.output(l))?;
        self.activate(l, &outputs)?;
        let activations = self.state.output(l).blocks().iter();
        for ((activation, output), opposite) in activations.zip(outputs.blocks()).zip(parts.opposite.blocks())
        {
            kernels::dladmm::residual(&mut self.plan, output, &parts.offset, opposite, activation)?;
            linalg::matmul_subtract(&mut self.plan, (output, No), (&parts.overlap, No), activation)?;
        }
        Ok(())
    }

    /// outputs = f(z_l).
    fn activate(&mut self, l: usize, outputs: &SampleTensor) -> Result<(), Error> {
        let layer = self.state.layer(l);
        let no_bias = self.plan.temporary(layer.bias.shape());
        elementwise::fill(&mut self.plan, &no_bias, 0.0)?;
        for (z, output) in layer.z.blocks().iter().zip(outputs.blocks()) {
            elementwise::activate(&mut self.plan, z, &no_bias, output, self.config.activation)?;
        }
        Ok(())
    }

    /// What the inputs of layer l are solved with.
    fn solve_weights(&mut self, l: usize, exact: Exact) -> Result<SolvedWeights, Error> {
        let inverse = self.inverse_of_weights(l, exact.solver)?;
        let (weights, samples) = (self.state.layer(l).weights.shape(), self.state.cut.samples());
        match is_less_in_parts(weights, samples, exact.sweep) {
            true => Ok(SolvedWeights::Parts(self.parts(l, &inverse)?)),
            false => Ok(SolvedWeights::Inverse(inverse)),
        }
    }

    /// What of a step of a_{l−1} stays, with K of the layer's weights.
    fn parts(&mut self, l: usize, inverse: &Tensor) -> Result<Parts, Error> {
        let layer = self.state.layer(l);
        let goal = self.goal(l);
        let columns = inverse.shape().columns;
        let overlap = self.plan.temporary(Shape::new(columns, columns));
        linalg::matmul(&mut self.plan, (&layer.weights, Yes), (inverse, No), &overlap)?;
        let offset = self.plan.temporary(Shape::vector(columns));
        self.negated_product(&layer.bias, inverse, &offset)?;
        let opposite = temporary_like(&mut self.plan, self.state.output(l - 1))?;
        for (goal, opposite) in goal.blocks().iter().zip(opposite.blocks()) {
            self.negated_product(goal, inverse, opposite)?;
        }
        Ok(Parts { overlap, offset, opposite })
    }

    /// opposite = −left right.
    fn negated_product(&mut self, left: &Tensor, right: &Tensor, opposite: &Tensor) -> Result<(), Error> {
        elementwise::fill(&mut self.plan, opposite, 0.0)?;
        linalg::matmul_subtract(&mut self.plan, (left, No), (right, No), opposite)
    }

    /// `K = (W Wᵀ + ν/κ I)⁻¹ W = W (WᵀW + ν/κ I)⁻¹`: factored, by whichever system is smaller; by conjugate gradients,
    /// by the one whose solutions are the rows of K.
    fn inverse_of_weights(&mut self, l: usize, solver: Solver) -> Result<Tensor, Error> {
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

/// Whether steps of a are less work by their [`Parts`], for weights W', n' × n, and N samples: 2 n' n N once and 2 n² (N + n') for
/// the rest, of which 2 n² N in each step, instead of 4 n' n N in each.
fn is_less_in_parts(weights: Shape, samples: u32, sweep: SweepKind) -> bool {
    let [rows, columns, samples] = [weights.rows, weights.columns, samples].map(u64::from);
    let steps = match sweep {
        SweepKind::Full => 2,
        SweepKind::Backward => 1,
    };
    rows * samples + columns * (steps * samples + rows) < 2 * steps * rows * samples
}
