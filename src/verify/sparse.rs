//! Cases of `kernels::sparse`.

use rand::RngExt;

use super::call::{Call, Session};
use super::elementwise::{CURSOR, NOT_FINITE, dropout_of, dropouts, rounded_once};
use super::expected::{Bound, Expected, Verdict};
use super::mlp::{AROUND, slab};
use super::values::Profile;
use crate::Error;
use crate::engine::Shape;
use crate::kernels::elementwise::Dropout;
use crate::kernels::mlp::Gradients;
use crate::kernels::sparse::{self as kernel, Onto, RowsAre, Sparse};
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

/// Rows of about so many entries, one of them with an entry in every column; columns ascend.
pub(super) fn ascending(
    session: &mut Session<'_>,
    (rows, columns): (u32, u32),
    entries: f64,
    profile: Profile,
) -> oracle::Sparse {
    let share = (entries / f64::from(columns.max(1))).min(1.0);
    let (mut starts, mut indices) = (vec![0], Vec::new());
    for row in 0..rows {
        let is_full = row == rows / 2;
        indices.extend((0..columns).filter(|_| is_full || session.rng().random_bool(share)));
        starts.push(indices.len() as u32);
    }
    let values = session.matrix(Shape::vector(indices.len() as u32), profile).data().to_vec();
    oracle::Sparse { columns: columns as usize, starts, indices, values }
}

/// The lists of a matrix as operands.
pub(super) fn upload(call: &mut Call<'_>, matrix: &oracle::Sparse) -> Result<Sparse, Error> {
    let starts = call.words("starts", &matrix.starts, Expected::Unchanged)?;
    let indices = call.words("indices", &matrix.indices, Expected::Unchanged)?;
    let values = call.input("values", &Matrix::new(1, matrix.values.len(), matrix.values.clone()))?;
    Ok(Sparse::over(matrix.columns as u32, matrix.rows() as u32, starts, indices, values))
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
    session.check(case, |call| {
        let sparse = upload(call, matrix)?;
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

pub(super) fn weight_gradient(session: &mut Session<'_>) -> Result<(), Error> {
    // Samples, outputs, features, sub-batches.
    let mut sizes = vec![(1, 1, 1, 1), (7, 5, 3, 3), (40, 33, 70, 4), (5, 3, 2, 5)];
    if session.is_full() {
        sizes.extend([
            (128, 32, 65, 8),
            (100, 10, 257, 7),
            (65, 130, 12, 2),
            (64, 64, 64, 1),
            (1_700, 3, 70, 1),
        ]);
        sizes.extend([(9, 0, 5, 2), (9, 5, 0, 2), (9, 4, 4096, 1), (300, 1, 33, 300), (4_096, 4, 63, 3)]);
    }
    for size in sizes {
        for profile in [Profile::Ordinary, Profile::Spread, Profile::Zeros, Profile::Denormal] {
            for (onto, sign) in
                [(Onto::Nothing, 1.0), (Onto::Sum, 1.0), (Onto::Difference, -1.0), (Onto::Rest, 1.0)]
            {
                check_weight_gradient(session, size, size.0, profile, (onto, sign))?;
            }
            // As many samples in every sub-batch, all with the same inputs.
            let (samples, outputs, features, sub_batches) = size;
            if u64::from(samples) * u64::from(sub_batches) < 10_000 {
                let stacked = (samples * sub_batches, outputs, features, sub_batches);
                check_weight_gradient(session, stacked, samples, profile, (Onto::Nothing, 1.0))?;
            }
        }
    }
    for odd in NOT_FINITE {
        // Features 0 and 2 are in sample 7, of the second of the sub-batches 0…6, 6…13, 13…20; feature 1 is in others.
        let columns = oracle::Sparse {
            columns: 20,
            starts: vec![0, 2, 4, 5],
            indices: vec![7, 19, 5, 8, 7],
            values: vec![0.5; 5],
        };
        let mut delta = session.matrix(Shape::new(20, 5), Profile::Ordinary);
        delta[(7, 2)] = odd;
        let before = session.matrix(Shape::new(3, 20), Profile::Ordinary);
        session.check(&format!("{odd} in delta[7, 2]"), |call| {
            // Output 2 is the third row of four.
            let expected = Expected::Each(Box::new(|values, index| {
                match ([28, 30].contains(&index), values[index].is_finite()) {
                    (true, true) => Verdict::Not("NaN or infinite".into()),
                    (false, false) => Verdict::Not("finite".into()),
                    _ => Verdict::Near(0.0),
                }
            }));
            let sparse = upload(call, &columns)?;
            let delta = call.input("delta", &delta)?;
            let rows = &call.update("gradient", &before, expected)?;
            kernel::weight_gradient(
                &mut call.plan,
                &delta,
                &sparse,
                Gradients { rows, first: 0 },
                Onto::Nothing,
            )
        })?;
    }
    Ok(())
}

fn check_weight_gradient(
    session: &mut Session<'_>,
    (samples, outputs, features, sub_batches): (u32, u32, u32, u32),
    input_samples: u32,
    profile: Profile,
    (onto, sign): (Onto, f64),
) -> Result<(), Error> {
    let columns = ascending(session, (features, input_samples), 6.0, profile);
    let delta = session.matrix(Shape::new(samples, outputs), profile);
    let part = Shape::new(outputs, features);
    let kept: Vec<_> = (0..sub_batches)
        .map(|_| match onto {
            Onto::Nothing => Matrix::zeros(outputs as usize, features as usize),
            _ => session.matrix(part, profile),
        })
        .collect();
    let after = match onto {
        Onto::Rest => &kept.iter().map(|kept| kept.map(|value| -value)).collect(),
        _ => &kept,
    };
    let parts = oracle::weight_gradient(&delta, &columns, after, sign);
    let (mut before, after) = slab(session, &parts);
    let stride = part.stride() as usize;
    for (n, kept) in kept.iter().enumerate().filter(|_| onto != Onto::Nothing) {
        for (row, column) in
            (0..outputs as usize).flat_map(|row| (0..stride).map(move |column| (row, column)))
        {
            let value = if column < features as usize { kept[(row, column)] } else { 0.0 };
            before[(n, AROUND.0 as usize + row * stride + column)] = value;
        }
    }
    // A strand's share, which may be all, one multiply-add each, the sum of up to eight strands, and what was there.
    let bound = Bound::roundings(samples.div_ceil(sub_batches) as usize + 9);
    let case = format!(
        "{samples} samples in {sub_batches}, {input_samples} inputs, {outputs} × {features}, {profile}, onto {onto:?}"
    );
    session.check(&case, |call| {
        let sparse = upload(call, &columns)?;
        let delta = call.input("delta", &delta)?;
        let rows = &call.update("gradient", &before, Expected::near(&after, bound))?;
        kernel::weight_gradient(&mut call.plan, &delta, &sparse, Gradients { rows, first: AROUND.0 }, onto)
    })
}

pub(super) fn dropout(session: &mut Session<'_>) -> Result<(), Error> {
    let mut sizes = vec![(1, 1), (3, 5), (6, 9)];
    if session.is_full() {
        sizes.extend([(0, 5), (5, 0), (64, 63), (65, 257), (4096, 7), (100_003, 3), (3, 100_003)]);
    }
    for (rows, columns) in sizes {
        for profile in [Profile::Ordinary, Profile::Spread, Profile::Zeros, Profile::Denormal] {
            let x = random(session, (rows, columns), profile);
            for (layer, rate) in dropouts() {
                for rows_are in [RowsAre::Samples, RowsAre::Features] {
                    let case = format!("{rows} × {columns}, {profile}, {rate}, rows are {rows_are:?}");
                    check_dropout(session, &case, &x, rows_are, (layer, rate), None)?;
                }
            }
        }
    }
    for odd in NOT_FINITE {
        // Rows of no entry before, between and after the others.
        let (starts, indices) = (vec![0, 0, 2, 2, 2, 5, 5], vec![0, 2, 1, 1, 2]);
        let mut x = oracle::Sparse { columns: 3, starts, indices, values: vec![0.5; 5] };
        x.values[3] = odd;
        check_dropout(session, &format!("{odd} in entry 3"), &x, RowsAre::Samples, (0, 0.0), Some(3))?;
    }
    Ok(())
}

fn check_dropout(
    session: &mut Session<'_>,
    case: &str,
    x: &oracle::Sparse,
    rows_are: RowsAre,
    (layer, rate): (u32, f32),
    hit: Option<usize>,
) -> Result<(), Error> {
    let expected = oracle::dropout(x, rows_are == RowsAre::Features, &dropout_of(layer, rate));
    let expected = rounded_once(expected);
    // The scale's rounding, and the product's.
    let bound = Bound::roundings(2);
    session.check(case, |call| {
        let starts = call.words("starts", &x.starts, Expected::Unchanged)?;
        let indices = call.words("indices", &x.indices, Expected::Unchanged)?;
        let values = call.input("x", &Matrix::new(1, x.values.len(), x.values.clone()))?;
        let sparse = Sparse::over(x.columns as u32, x.rows() as u32, starts, indices, values);
        let cursor = &call.words("cursor", &CURSOR, Expected::Unchanged)?;
        let expected = Expected::not_finite(&expected, bound, |at| Some(at) == hit);
        let y = call.output("y", Shape::vector(sparse.entries()), expected)?;
        kernel::dropout(&mut call.plan, &sparse, rows_are, &Dropout { cursor, layer, rate }, &y)
    })
}
