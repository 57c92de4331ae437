//! Symmetric positive definite systems, put together from kernels. Solvers record these into their plans.
//!
//! What solvers solve with has many right-hand sides. Two ways:
//!
//! - [`inverse_root`] and [`solve_rows`] solve as well as f32 can. The factorisation is n/64 panels one after another,
//!   mostly small dispatches, so that it takes its time however wide the device is.
//! - [`conjugate_gradients`] takes a given number of steps, each one product and one pass over the solution. Prefer it
//!   where an answer to some per cent will do, where the condition is small, or where a matrix is solved with once for
//!   fewer right-hand sides than it has rows.
//!
//! The inverse of the Cholesky factor is formed once and each solve is two products with it. That is as accurate as
//! substitution: a solution is off by n ε cond(S) of itself at most. With the inverse of S itself it would be cond(S)
//! times more for a right-hand side among the large eigenvalues.

use crate::Error;
use crate::engine::{PlanBuilder, Tensor};
use crate::kernels::cg::{self, Step};
use crate::kernels::cholesky::{self, Corner, SIDE};
use crate::kernels::elementwise;
use crate::kernels::linalg::{self, Transposed};
use Transposed::{No, Yes};

/// root = L⁻¹, zero above the diagonal, of the Cholesky factorisation S = L Lᵀ: then `S⁻¹ = rootᵀ root`.
///
/// `matrix` holds S and is used up. Pivots not above `steps[slot].y` are dropped and counted in `status`; what is then
/// solved is zero in those variables.
///
/// Panels of 64 columns, left-looking: panel j is brought up to date by one product with everything to its left,
/// `S[j.., j] − L[j.., ..j] L[j, ..j]ᵀ`, its corner is factored and inverted in one workgroup, and the rest of the
/// panel, and row j of L⁻¹, are products with that inverse. So all but n/64 small dispatches are matrix products.
///
/// # Errors
/// Those of the kernels: [`Error::Shape`] when the shapes are not both n × n.
pub fn inverse_root(
    plan: &mut PlanBuilder,
    matrix: &Tensor,
    (steps, slot): (&Tensor, u32),
    status: &Tensor,
    root: &Tensor,
) -> Result<(), Error> {
    let size = matrix.shape().rows;
    let lower = plan.temporary(matrix.shape());
    elementwise::fill(plan, root, 0.0)?;
    for start in (0..size).step_by(SIDE as usize) {
        let end = size.min(start + SIDE);
        let (block, left, below) = (start..end, 0..start, end..size);
        let beside = lower.window(block.clone(), left.clone())?;
        if start > 0 {
            let panel = matrix.window(start..size, block.clone())?;
            let rows = lower.window(start..size, left.clone())?;
            linalg::matmul_subtract(plan, (&rows, No), (&beside, Yes), &panel)?;
        }
        let corner = matrix.window(block.clone(), block.clone())?;
        let copy = plan.temporary(corner.shape());
        let inverse = &root.window(block.clone(), block.clone())?;
        cholesky::corner(plan, Corner { matrix: &corner, steps, slot, inverse, copy: &copy, status })?;
        if end < size {
            let panel = matrix.window(below.clone(), block.clone())?;
            linalg::matmul(plan, (&panel, No), (&copy, Yes), &lower.window(below, block.clone())?)?;
        }
        if start > 0 {
            let done = root.window(left.clone(), left.clone())?;
            let beside_root = plan.temporary(beside.shape());
            linalg::matmul(plan, (&beside, No), (&done, No), &beside_root)?;
            linalg::matmul_subtract(plan, (&copy, No), (&beside_root, No), &root.window(block, left)?)?;
        }
    }
    Ok(())
}

/// solution = right · S⁻¹, row by row, with what [`inverse_root`] left of S.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of the kernels.
pub fn solve_rows(
    plan: &mut PlanBuilder,
    right: &Tensor,
    root: &Tensor,
    solution: &Tensor,
) -> Result<(), Error> {
    let half = plan.temporary(right.shape());
    linalg::matmul(plan, (right, No), (root, Yes), &half)?;
    linalg::matmul(plan, (&half, No), (root, No), solution)
}

/// solution ≈ right · S⁻¹, row by row, by so many steps of conjugate gradients from zero.
///
/// `matrix` holds S, symmetric positive definite, and is kept, as is `right`. After k steps the error e of each row is
/// at most, in the norm ⟨e, e S⟩, `2 ((√c − 1) / (√c + 1))ᵏ` of what it was, c the condition of S, and zero where the row
/// needs no more than k of the distinct eigenvalues; in f32 it then stays at about n ε √c of what it was, which is
/// n ε c of the solution at worst. So 1.2 √c steps gain a digit, and about c = 1e3 is as far as that pays.
///
/// A row that is solved stays as it is, and so does one in which S turns out not to be positive or a value is not
/// finite: what [`cg::step`] leaves alone keeps the solution that it has, zero at worst.
///
/// Moves 20 bytes an element to begin with and, besides the product, 28 a step.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of the kernels.
pub fn conjugate_gradients(
    plan: &mut PlanBuilder,
    matrix: &Tensor,
    right: &Tensor,
    steps: u32,
    solution: &Tensor,
) -> Result<(), Error> {
    elementwise::fill(plan, solution, 0.0)?;
    conjugate_gradients_add(plan, matrix, right, steps, solution)
}

/// solution += what [`conjugate_gradients`] finds: where `right` is what is left of a system at the present solution,
/// this goes on from there.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of the kernels.
pub fn conjugate_gradients_add(
    plan: &mut PlanBuilder,
    matrix: &Tensor,
    right: &Tensor,
    steps: u32,
    solution: &Tensor,
) -> Result<(), Error> {
    let image = plan.temporary(right.shape());
    conjugate_gradients_by(plan, (right, &image), steps, solution, |plan, direction| {
        linalg::matmul(plan, (direction, No), (matrix, No), &image)
    })
}

/// As [`conjugate_gradients_add`], with a matrix known by its products alone: `multiply` records `image = direction · S`.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of the kernels and of `multiply`.
pub fn conjugate_gradients_by(
    plan: &mut PlanBuilder,
    (right, image): (&Tensor, &Tensor),
    steps: u32,
    solution: &Tensor,
    mut multiply: impl FnMut(&mut PlanBuilder, &Tensor) -> Result<(), Error>,
) -> Result<(), Error> {
    let [direction, residual] = [(); 2].map(|()| plan.temporary(right.shape()));
    elementwise::copy(plan, right, &direction)?;
    elementwise::copy(plan, right, &residual)?;
    let step = Step { image, direction: &direction, residual: &residual, solution };
    for _ in 0..steps {
        multiply(plan, &direction)?;
        cg::step(plan, &step)?;
    }
    Ok(())
}
