//! Cases of `kernels::reduce`, and what the reductions of other families share with them.

use super::call::Session;
use super::elementwise::NOT_FINITE;
use super::expected::{Bound, Expected, Verdict};
use super::values::{Profile, operands};
use crate::Error;
use crate::engine::{Shape, Tensor};
use crate::kernels::{reduce as kernel, summing_lanes};
use crate::reference::dladmm::Status;
use crate::reference::{Bounded, Matrix, reduce as oracle};

/// Where partial sums begin in a list, to see that the offset is heeded.
pub(super) const OFFSET: u32 = 3;

/// Roundings on the way of an element into the partial sum of a chunk that so many lanes share: a lane's rounds, then the tree
/// over lanes, then the four elements of a `vec4`.
pub(super) fn chunk_roundings(lanes: u32) -> usize {
    (kernel::CHUNK / lanes + lanes.ilog2() + 2) as usize
}

/// The same of kernels with as many lanes as the device is given for sums.
pub(super) fn summing_roundings(session: &Session<'_>) -> usize {
    chunk_roundings(summing_lanes(session.gpu().capabilities().class))
}

/// A list of `width`-wide partial sums with room before and after those that are written; no padding.
pub(super) fn list(count: u32, width: u32) -> Shape {
    Shape::vector((OFFSET + count + 2).next_multiple_of(4) * width)
}

/// `vec4`s that a first pass over chunks leaves for a tensor of this shape.
pub(super) fn chunks(shape: Shape) -> u32 {
    (shape.stored() / 4).div_ceil(u64::from(kernel::CHUNK)) as u32
}

/// A list whose partial sum at `hit` of `count` shows a value that is not finite, and the others not.
pub(super) fn shows_in<'e>(width: u32, count: u32, hit: u32) -> Expected<'e> {
    Expected::Each(Box::new(move |values, index| {
        let group = index / width as usize;
        let (first, hit) = (OFFSET as usize, (OFFSET + hit) as usize);
        if group == hit {
            let shows =
                values[hit * width as usize..][..width as usize].iter().any(|value| !value.is_finite());
            return if shows {
                Verdict::Near(0.0)
            } else {
                Verdict::Not("NaN or infinite, or another of its group".into())
            };
        }
        let is_written = (first..first + count as usize).contains(&group);
        if is_written == values[index].is_finite() {
            return Verdict::Near(0.0);
        }
        Verdict::Not(if is_written { "finite".into() } else { "untouched".into() })
    }))
}

pub(super) fn dot(session: &mut Session<'_>) -> Result<(), Error> {
    for (shape, profile) in operands(session.effort()) {
        let (x, y, count) = (session.matrix(shape, profile), session.matrix(shape, profile), chunks(shape));
        let (total, roundings) = (oracle::dot(&x, &y), summing_roundings(session));
        session.check(&format!("{shape}, {profile}"), |call| {
            let (x, y) = (call.input("x", &x)?, call.input("y", &y)?);
            let partials =
                call.output("partials", list(count, 1), sums(vec![total], 1 + roundings, count))?;
            kernel::dot(&mut call.plan, &x, &y, &partials, OFFSET)
        })?;
    }
    let shape = Shape::new(3, 5_000);
    for odd in NOT_FINITE {
        let (mut x, y) = (session.matrix(shape, Profile::Ordinary), Matrix::from_fn(3, 5_000, |_, _| 1.0));
        // Quad 2,500 of 3,750: the third chunk.
        x[(2, 0)] = odd;
        session.check(&format!("{odd} in x[2, 0]"), |call| {
            let (x, y) = (call.input("x", &x)?, call.input("y", &y)?);
            let partials = call.output("partials", list(4, 1), shows_in(1, 4, 2))?;
            kernel::dot(&mut call.plan, &x, &y, &partials, OFFSET)
        })?;
    }
    Ok(())
}

/// Partial sums of these totals from [`OFFSET`] on.
pub(super) fn sums<'e>(totals: Vec<Bounded<f64>>, roundings: usize, count: u32) -> Expected<'e> {
    let (first, groups) = (OFFSET as usize, count as usize);
    Expected::Sums { totals, bound: Bound::roundings(roundings), first, groups }
}

pub(super) fn dots(session: &mut Session<'_>) -> Result<(), Error> {
    for (shape, profile) in operands(session.effort()) {
        let (x, y, count) = (session.matrix(shape, profile), session.matrix(shape, profile), chunks(shape));
        let (dots, roundings) = (oracle::dots(&x, &y), summing_roundings(session));
        let totals = [dots.product, dots.x_square, dots.y_square, dots.distance_square];
        session.check(&format!("{shape}, {profile}"), |call| {
            let (x, y) = (call.input("x", &x)?, call.input("y", &y)?);
            // A product and three additions in a `vec4`, and for the distance a difference that counts twice.
            let expected = sums(totals.into(), 6 + roundings, count);
            let partials = call.output("partials", list(count, 4), expected)?;
            kernel::dots(&mut call.plan, &x, &y, &partials, OFFSET)
        })?;
    }
    let shape = Shape::vector(5);
    for odd in NOT_FINITE {
        let (x, mut y) = (session.matrix(shape, Profile::Ordinary), session.matrix(shape, Profile::Ordinary));
        y[(0, 4)] = odd;
        session.check(&format!("{odd} in y[0, 4]"), |call| {
            let (x, y) = (call.input("x", &x)?, call.input("y", &y)?);
            let partials = call.output("partials", list(1, 4), shows_in(4, 1, 0))?;
            kernel::dots(&mut call.plan, &x, &y, &partials, OFFSET)
        })?;
    }
    Ok(())
}

/// The status as its four words.
pub(super) fn status_words(status: Status) -> [u32; 4] {
    [status.origin, status.failed, status.iteration, status.dropped]
}

const SLOT: u32 = 1;
const ORIGIN: u32 = 7;

pub(super) fn totals(session: &mut Session<'_>) -> Result<(), Error> {
    let counts: &[u32] =
        if session.is_full() { &[0, 1, 3, 63, 64, 65, 257, 4096, 100_003] } else { &[0, 1, 257] };
    let well = Status { iteration: 4, ..Status::default() };
    for &count in counts {
        for profile in [Profile::Ordinary, Profile::Spread] {
            let partials = session.matrix(Shape::new(count, 4), profile);
            one_total(session, &format!("{count} of {profile}"), &partials, count, well)?;
        }
    }
    for odd in NOT_FINITE {
        let mut partials = session.matrix(Shape::new(300, 4), Profile::Ordinary);
        partials[(270, 3)] = odd;
        one_total(session, &format!("{odd} in partials[270, 3]"), &partials, 300, well)?;
        one_total(session, &format!("{odd} past the count"), &partials, 270, well)?;
        let ill = Status { origin: 2, failed: 1, iteration: 4, dropped: 3 };
        one_total(session, &format!("{odd} after a failure"), &partials, 300, ill)?;
    }
    let mut opposed = Matrix::zeros(300, 4);
    (opposed[(0, 0)], opposed[(299, 1)]) = (f64::INFINITY, f64::NEG_INFINITY);
    one_total(session, "infinities of both signs", &opposed, 300, well)
}

fn one_total(
    session: &mut Session<'_>,
    case: &str,
    partials: &Matrix,
    count: u32,
    status: Status,
) -> Result<(), Error> {
    let counted = Matrix::from_fn(count as usize, 4, |row, column| partials[(row, column)]);
    let total = oracle::totals(&counted);
    let is_finite = total.value.data().iter().all(|value| value.is_finite());
    let after = status.after_seeing(if is_finite { 0.0 } else { f64::NAN }, ORIGIN);
    let roundings = (count as usize).div_ceil(256) + 8;
    session.check(case, |call| {
        let partials = call.input("partials", partials)?;
        let first = 4 * SLOT as usize;
        let expected = match is_finite {
            true => Expected::Near { value: &total, bound: Bound::roundings(roundings), first },
            false => Expected::Each(Box::new(move |values, index| {
                let odd = values[first..first + 4].iter().any(|value| !value.is_finite());
                let untouched = (first..first + 4).contains(&index) || values[index].is_nan();
                if odd && untouched {
                    Verdict::Near(0.0)
                } else {
                    Verdict::Not("a total that is not finite".into())
                }
            })),
        };
        let totals = call.output("totals", Shape::new(3, 4), expected)?;
        let status =
            call.words("status", &status_words(status), Expected::Words(status_words(after).into()))?;
        let totals: &Tensor = &totals;
        let args = kernel::Totals {
            partials: &partials,
            count,
            totals,
            slot: SLOT,
            status: &status,
            origin: ORIGIN,
        };
        kernel::totals(&mut call.plan, args)
    })
}
