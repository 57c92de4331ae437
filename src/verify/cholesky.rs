//! Cases of `kernels::cholesky`.

use super::call::Session;
use super::elementwise::NOT_FINITE;
use super::expected::{Bound, Expected, Verdict};
use super::reduce::status_words;
use super::values::Profile;
use crate::Error;
use crate::engine::Shape;
use crate::kernels::cholesky as kernel;
use crate::reference::dladmm::Status;
use crate::reference::{Matrix, cholesky as oracle, linalg};

const SLOT: u32 = 1;

/// AᵀA + `shift` I of random samples: positive definite.
fn definite(session: &mut Session<'_>, size: u32, shift: f64) -> Matrix {
    let samples = session.matrix(Shape::new(2 * size + 1, size), Profile::Ordinary);
    let n = size as usize;
    let gram = linalg::gram(&Matrix::zeros(n, n), &samples).value;
    Matrix::from_fn(n, n, |i, j| f64::from((gram[(i, j)] + if i == j { shift } else { 0.0 }) as f32))
}

pub(super) fn corner(session: &mut Session<'_>) -> Result<(), Error> {
    let mut sizes = vec![0, 1, 3, 4, 17, 64];
    if session.is_full() {
        sizes.extend([2, 5, 31, 33, 63]);
    }
    for size in sizes {
        for shift in [1.0, 0.05] {
            let matrix = definite(session, size, shift);
            check(session, &format!("{size} rows, shift {shift}"), &matrix)?;
        }
    }
    let mut singular = definite(session, 20, 0.5);
    for hole in [0, 7, 19] {
        for other in 0..20 {
            singular[(hole, other)] = 0.0;
            singular[(other, hole)] = 0.0;
        }
    }
    check(session, "three variables missing", &singular)?;
    check(session, "zeros", &Matrix::zeros(9, 9))?;
    let negative = definite(session, 9, 0.1).map(|value| -value);
    check(session, "negative", &negative)?;
    for odd in NOT_FINITE {
        not_finite(session, odd)?;
    }
    Ok(())
}

/// Pivots below this are dropped.
const FLOOR: f64 = 1e-6;

fn steps() -> Matrix {
    Matrix::new(2, 4, vec![9.0, 9.0, 9.0, 9.0, 9.0, f64::from(FLOOR as f32), 9.0, 9.0])
}

fn check(session: &mut Session<'_>, case: &str, matrix: &Matrix) -> Result<(), Error> {
    let expected = oracle::corner(matrix, FLOOR);
    let bound = Bound::roundings(4 * matrix.rows() + 4);
    let status = Status { iteration: 4, dropped: 2, ..Status::default() };
    let dropped = if matrix.rows() == 0 { 0 } else { expected.dropped };
    let after = Status { dropped: 2 + dropped, ..status };
    session.check(case, |call| {
        let side = Shape::new(matrix.rows() as u32, matrix.rows() as u32);
        let args = kernel::Corner {
            matrix: &call.input("matrix", matrix)?,
            steps: &call.input("steps", &steps())?,
            slot: SLOT,
            inverse: &call.output("inverse", side, Expected::near(&expected.inverse, bound))?,
            copy: &call.output("copy", side, Expected::SameAs("inverse"))?,
            status: &call.words(
                "status",
                &status_words(status),
                Expected::Words(status_words(after).into()),
            )?,
        };
        kernel::corner(&mut call.plan, args)
    })
}

/// A value that is not finite shows, or its pivot is dropped; it never writes elsewhere.
fn not_finite(session: &mut Session<'_>, odd: f64) -> Result<(), Error> {
    let mut matrix = definite(session, 12, 0.5);
    matrix[(8, 8)] = odd;
    session.check(&format!("{odd} on the diagonal"), |call| {
        let side = Shape::new(12, 12);
        let any = || Expected::Each(Box::new(|_, _| Verdict::Near(0.0)));
        let args = kernel::Corner {
            matrix: &call.input("matrix", &matrix)?,
            steps: &call.input("steps", &steps())?,
            slot: SLOT,
            inverse: &call.output("inverse", side, any())?,
            copy: &call.output("copy", side, Expected::SameAs("inverse"))?,
            status: &call.words("status", &[0; 4], any())?,
        };
        kernel::corner(&mut call.plan, args)
    })
}
