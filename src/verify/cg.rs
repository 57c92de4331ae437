//! Cases of `kernels::cg`.

use super::call::{Call, Session};
use super::elementwise::NOT_FINITE;
use super::expected::{Bound, Expected, Verdict};
use super::values::Profile;
use crate::Error;
use crate::engine::{Shape, Tensor};
use crate::kernels::cg as kernel;
use crate::reference::{Bounded, Matrix, cg as oracle};

/// A step in the middle, and its image. Per column a curvature between ½ and 1½, so that ⟨d, q⟩ is positive.
fn operands(session: &mut Session<'_>, shape: Shape) -> (oracle::Step<Matrix>, Matrix) {
    let mut draw = || session.matrix(shape, Profile::Ordinary);
    let (direction, residual, solution, tilt) = (draw(), draw(), draw(), draw());
    let image = Matrix::from_fn(direction.rows(), direction.cols(), |row, column| {
        f64::from(((1.0 + 0.5 * tilt[(row, column)]) * direction[(row, column)]) as f32)
    });
    (oracle::Step { direction, residual, solution }, image)
}

pub(super) fn step(session: &mut Session<'_>) -> Result<(), Error> {
    let mut shapes = vec![(1, 1), (3, 5), (2, 300), (70, 9), (0, 4), (4, 0)];
    if session.is_full() {
        shapes.extend([(1, 4), (5, 255), (3, 256), (3, 257), (2, 1030), (2, 4100), (300, 64)]);
    }
    for (rows, columns) in shapes {
        let shape = Shape::new(rows, columns);
        let (before, image) = operands(session, shape);
        check(session, &shape.to_string(), &before, &image)?;
    }
    let shape = Shape::new(5, 70);
    let (mut before, mut image) = operands(session, shape);
    for column in 0..70 {
        before.residual[(1, column)] = 0.0;
        image[(2, column)] *= -1.0;
        image[(3, column)] = 0.0;
    }
    check(session, "solved, negative and singular rows", &before, &image)?;
    let (mut before, image) = operands(session, shape);
    before.residual[(2, 1)] = f64::from(1e30f32);
    check(session, "squares past the largest number", &before, &image)?;
    let (mut before, mut image) = operands(session, shape);
    for column in 0..70 {
        // As they are when a row was solved steps ago.
        before.residual[(0, column)] = f64::from((1e-18 * before.residual[(0, column)]) as f32);
        image[(3, column)] = f64::from((1e-35 * image[(3, column)]) as f32);
    }
    check(session, "squares and curvature near underflow", &before, &image)?;
    let (before, mut image) = operands(session, shape);
    for column in 0..70 {
        // At right angles to the direction but for a little.
        let d = |column: usize| before.direction[(1, column)];
        let across = if column % 2 == 0 { d(column + 1) } else { -d(column - 1) };
        image[(1, column)] = f64::from((across + 1e-8 * d(column)) as f32);
    }
    check(session, "no curvature but rounding", &before, &image)?;
    for odd in NOT_FINITE {
        let (before, mut image) = operands(session, shape);
        image[(1, 66)] = odd;
        check(session, &format!("{odd} in image[1, 66]"), &before, &image)?;
        for place in [0, 1] {
            let (mut before, image) = operands(session, shape);
            let operand = if place == 0 { &mut before.direction } else { &mut before.residual };
            operand[(4, 3)] = odd;
            check(session, &format!("{odd} in operand {place} at [4, 3]"), &before, &image)?;
        }
    }
    Ok(())
}

fn check(
    session: &mut Session<'_>,
    case: &str,
    before: &oracle::Step<Matrix>,
    image: &Matrix,
) -> Result<(), Error> {
    let after = oracle::step(before, image);
    // A sum is a lane's share, its fold and the tree; a residual is two roundings more, its square twice as far off, and
    // β two sums and two divisions of 2.5 ULPs.
    let sum = image.cols().div_ceil(4 * 64) + 2 + 6;
    let bound = Bound::roundings(4 * sum + 16);
    session.check(case, |call| {
        let image = call.input("image", image)?;
        let direction = update(call, "direction", &before.direction, &after.direction, bound)?;
        let residual = update(call, "residual", &before.residual, &after.residual, bound)?;
        let solution = update(call, "solution", &before.solution, &after.solution, bound)?;
        let args =
            kernel::Step { image: &image, direction: &direction, residual: &residual, solution: &solution };
        kernel::step(&mut call.plan, &args)
    })
}

/// An operand that becomes `after`; a row of which nothing is made must keep its bits.
fn update<'e>(
    call: &mut Call<'e>,
    name: &'static str,
    before: &'e Matrix,
    after: &'e Bounded<Matrix>,
    bound: Bound,
) -> Result<Tensor, Error> {
    let columns = before.cols();
    let expected = Expected::Each(Box::new(move |values, index| {
        let row = index / columns;
        let is_kept = after.magnitude.row(row).iter().all(|magnitude| *magnitude == 0.0);
        let (actual, kept) = (values[index], before.data()[index] as f32);
        match is_kept {
            true if actual.to_bits() == kept.to_bits() || (actual.is_nan() && kept.is_nan()) => {
                Verdict::Near(0.0)
            }
            true => Verdict::Not(format!("{kept}, as it was")),
            false => Verdict::of(actual, after.value.data()[index], after.magnitude.data()[index], bound),
        }
    }));
    call.update(name, before, expected)
}
