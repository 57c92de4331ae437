//! Symmetric positive definite systems, put together from kernels. Solvers record these into their plans.
//!
//! What they solve with has many right-hand sides (all samples, or all rows of a weight matrix), so a matrix is inverted
//! once, explicitly, and each solve is one matrix product.

use crate::Error;
use crate::engine::{PlanBuilder, Tensor};
use crate::kernels::cholesky::{self, Corner, SIDE};
use crate::kernels::elementwise;
use crate::kernels::linalg::{self, Transposed};

/// inverse = S⁻¹ by a blocked Cholesky factorisation S = L Lᵀ, as L⁻ᵀ L⁻¹.
///
/// `matrix` holds S and is used up. Pivots not above `steps[slot].w` are dropped and counted in `status`; the inverse
/// is then that of the rest, and zero for what was dropped.
///
/// Panels of 64 columns, left-looking: panel j is brought up to date by one product with everything to its left,
/// `S[j.., j] − L[j.., ..j] L[j, ..j]ᵀ`, its corner is factored and inverted in one workgroup, and the rest of the
/// panel, and row j of L⁻¹, are products with that inverse. So all but n/64 small dispatches are matrix products.
///
/// # Errors
/// Those of the kernels.
pub fn invert(
    plan: &mut PlanBuilder,
    matrix: &Tensor,
    (steps, slot): (&Tensor, u32),
    status: &Tensor,
    inverse: &Tensor,
) -> Result<(), Error> {
    use Transposed::{No, Yes};
    let size = matrix.shape().rows;
    let lower = plan.temporary(matrix.shape());
    let root = plan.temporary(matrix.shape());
    elementwise::fill(plan, &root, 0.0)?;
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
    elementwise::fill(plan, inverse, 0.0)?;
    linalg::gram(plan, &root, inverse)
}
