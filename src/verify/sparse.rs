//! Cases of `kernels::sparse`.

use rand::RngExt;

use super::call::Session;
use super::elementwise::NOT_FINITE;
use super::expected::{Bound, Expected};
use super::values::Profile;
use crate::Error;
use crate::engine::Shape;
use crate::kernels::sparse::{self as kernel, Sparse};
use crate::reference::{Matrix, sparse as oracle};

/// Rows of no entry, of few, and one of many in the middle; columns come in any order, and again.
fn random(session: &mut Session<'_>, (rows, columns): (u32, u32), profile: Profile) -> oracle::Sparse {
    let (mut starts, mut indices) = (vec![0], Vec::new());
    for row in 0..rows {
        let most = if row == rows / 2 { 300 } else { 6 };
        let entries = if columns > 0 { session.rng().random_range(0..=most) } else { 0 };
        indices.extend((0..entries).map(|_| session.rng().random_range(0..columns)));
        starts.push(indices.len() as u32);
    }
    let values = session.matrix(Shape::vector(indices.len() as u32), profile).data().to_vec();
    oracle::Sparse { columns: columns as usize, starts, indices, values }
}

fn check(
    session: &mut Session<'_>,
    case: &str,
    (matrix, x): (&oracle::Sparse, &Matrix),
    is_hit: impl Fn(usize) -> bool,
) -> Result<(), Error> {
    let copies = x.rows() / matrix.columns.max(1);
    let expected = oracle::product(matrix, copies, x);
    // One multiply-add for each entry, of which the first may be two roundings.
    let longest = (0..matrix.rows()).map(|row| matrix.entries(row).len()).max();
    let bound = Bound::roundings(longest.unwrap_or(0) + 1);
    let shape = Shape::new(expected.value.rows() as u32, expected.value.cols() as u32);
    let values = Matrix::new(1, matrix.values.len(), matrix.values.clone());
    session.check(case, |call| {
        let starts = call.words("starts", &matrix.starts, Expected::Unchanged)?;
        let indices = call.words("indices", &matrix.indices, Expected::Unchanged)?;
        let values = call.input("values", &values)?;
        let sparse = Sparse::over(matrix.columns as u32, matrix.rows() as u32, starts, indices, values);
        let x = call.input("x", x)?;
        let y = call.output("y", shape, Expected::not_finite(&expected, bound, &is_hit))?;
        kernel::product(&mut call.plan, &sparse, &x, &y)
    })
}

pub(super) fn product(session: &mut Session<'_>) -> Result<(), Error> {
    // Rows, columns, features, copies.
    let mut sizes = vec![(1, 1, 1, 1), (3, 5, 7, 2), (6, 6, 9, 3)];
    if session.is_full() {
        sizes.extend([(0, 5, 3, 2), (5, 4, 0, 2), (5, 4, 3, 0), (64, 64, 64, 1), (65, 63, 4, 3)]);
        sizes.extend([(257, 100, 33, 4), (4096, 4096, 3, 2), (100_003, 7, 1, 1), (7, 100_003, 1, 1)]);
    }
    for (rows, columns, features, copies) in sizes {
        for profile in [Profile::Ordinary, Profile::Spread, Profile::Zeros, Profile::Denormal] {
            let matrix = random(session, (rows, columns), profile);
            let x = session.matrix(Shape::new(copies * columns, features), profile);
            let case = format!("{rows} × {columns} by {features}, {copies} times, {profile}");
            check(session, &case, (&matrix, &x), |_| false)?;
        }
    }
    for odd in NOT_FINITE {
        let matrix = oracle::Sparse {
            columns: 3,
            starts: vec![0, 2, 2, 3, 5],
            indices: vec![0, 2, 1, 1, 2],
            values: vec![0.5; 5],
        };
        let mut x = session.matrix(Shape::new(6, 5), Profile::Ordinary);
        // Column 1 of the second copy: an entry of rows 2 and 3 of that copy, which are rows 6 and 7 of y.
        x[(4, 3)] = odd;
        let case = format!("{odd} in x[4, 3]");
        check(session, &case, (&matrix, &x), |index| [6 * 5 + 3, 7 * 5 + 3].contains(&index))?;
    }
    Ok(())
}
