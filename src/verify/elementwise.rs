//! Cases of `kernels::elementwise`.

use super::call::Session;
use super::expected::{Bound, Expected, Verdict};
use super::values::{Profile, activations, operands, shapes};
use crate::Error;
use crate::engine::Shape;
use crate::kernels::elementwise::Dropout;
use crate::kernels::{Activation, elementwise as kernel};
use crate::reference::{Bounded, Matrix, elementwise as oracle};

/// Values that no arithmetic may pass on as numbers.
pub(super) const NOT_FINITE: [f64; 3] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];

/// A result of one rounding: its bound is relative to itself.
pub(super) fn rounded_once(value: Matrix) -> Bounded<Matrix> {
    Bounded { magnitude: value.map(f64::abs), value }
}

pub(super) fn fill(session: &mut Session<'_>) -> Result<(), Error> {
    for shape in shapes(session.effort()) {
        for value in [1.5f32, 0.0] {
            let filled = oracle::fill(shape.rows as usize, shape.columns as usize, value.into());
            session.check(&format!("{shape} of {value}"), |call| {
                let y = call.output("y", shape, Expected::exactly(&filled))?;
                kernel::fill(&mut call.plan, &y, value)
            })?;
        }
    }
    Ok(())
}

pub(super) fn copy(session: &mut Session<'_>) -> Result<(), Error> {
    let mut cases: Vec<_> = operands(session.effort())
        .into_iter()
        .map(|(shape, profile)| (format!("{shape}, {profile}"), session.matrix(shape, profile)))
        .collect();
    cases.push((
        "NaN and infinities".into(),
        Matrix::new(1, 5, vec![0.5, NOT_FINITE[0], NOT_FINITE[1], NOT_FINITE[2], 1.0]),
    ));
    for (case, x) in cases {
        let copied = oracle::copy(&x);
        session.check(&case, |call| {
            let x = call.input("x", &x)?;
            let y = call.output("y", x.shape(), Expected::exactly(&copied))?;
            kernel::copy(&mut call.plan, &x, &y)
        })?;
    }
    Ok(())
}

pub(super) fn multiply_add(session: &mut Session<'_>) -> Result<(), Error> {
    // No more than a half, so that what is flushed to zero on the way adds up to no more than twice the smallest number.
    const SCALE_AND_SHIFT: (f32, f32) = (-0.5, 0.3);
    let (scale, shift) = (f64::from(SCALE_AND_SHIFT.0), f64::from(SCALE_AND_SHIFT.1));
    let mut cases: Vec<_> = operands(session.effort())
        .into_iter()
        .map(|(shape, profile)| (format!("{shape}, {profile}"), session.matrix(shape, profile)))
        .collect();
    for odd in NOT_FINITE {
        let mut x = session.matrix(Shape::new(3, 5), Profile::Ordinary);
        x[(1, 2)] = odd;
        cases.push((format!("{odd} in x[1, 2]"), x));
    }
    for (case, x) in cases {
        let odd = x.data().iter().position(|value| !value.is_finite());
        for rounds in [0, 1, 3] {
            let expected = oracle::multiply_add(&x, kernel::STEPS_PER_ROUND * rounds, scale, shift);
            session.check(&format!("{case}, {rounds} rounds"), |call| {
                let x = call.input("x", &x)?;
                let expected =
                    Expected::not_finite(&expected, Bound::roundings(2), |index| Some(index) == odd);
                let y = call.output("y", x.shape(), expected)?;
                kernel::multiply_add(&mut call.plan, &x, rounds, SCALE_AND_SHIFT, &y)
            })?;
        }
    }
    Ok(())
}

/// The slot whose step is used, of three.
const SLOT: u32 = 1;

pub(super) fn descend(session: &mut Session<'_>) -> Result<(), Error> {
    for (shape, profile) in operands(session.effort()) {
        let (x, y) = (session.matrix(shape, profile), session.matrix(shape, profile));
        let steps = session.matrix(Shape::new(3, 4), Profile::Ordinary);
        let moved = oracle::descend(&y, &x, steps[(SLOT as usize, 0)]);
        session.check(&format!("{shape}, {profile}"), |call| {
            let (x, steps) = (call.input("x", &x)?, call.input("steps", &steps)?);
            let y = call.update("y", &y, Expected::near(&moved, Bound::roundings(2)))?;
            kernel::descend(&mut call.plan, &x, &steps, SLOT, &y)
        })?;
    }
    let shape = Shape::new(3, 5);
    for odd in NOT_FINITE {
        let (mut x, y) = (session.matrix(shape, Profile::Ordinary), session.matrix(shape, Profile::Ordinary));
        let steps = Matrix::from_fn(3, 4, |_, _| 0.5);
        x[(1, 2)] = odd;
        let moved = oracle::descend(&y, &x, 0.5);
        session.check(&format!("{odd} in x[1, 2]"), |call| {
            let (x, steps) = (call.input("x", &x)?, call.input("steps", &steps)?);
            let y =
                call.update("y", &y, Expected::not_finite(&moved, Bound::roundings(2), |index| index == 7))?;
            kernel::descend(&mut call.plan, &x, &steps, SLOT, &y)
        })?;
    }
    Ok(())
}

pub(super) fn activate(session: &mut Session<'_>) -> Result<(), Error> {
    let mut cases = Vec::new();
    for (shape, profile) in operands(session.effort()) {
        let product = session.matrix(shape, profile);
        let bias = session.matrix(Shape::vector(shape.columns), profile);
        cases.push((format!("{shape}, {profile}"), product, bias));
    }
    for odd in NOT_FINITE {
        let mut product = session.matrix(Shape::new(3, 5), Profile::Ordinary);
        product[(1, 2)] = odd;
        cases.push((format!("{odd} in product[1, 2]"), product, Matrix::zeros(1, 5)));
    }
    for (f, oracle_f, roundings) in activations() {
        for (case, product, bias) in &cases {
            let activation = oracle::activate(product, bias, oracle_f);
            let judge = |values: &[f32], index: usize| {
                let (value, magnitude) = (activation.value.data()[index], activation.magnitude.data()[index]);
                match (product.data()[index].is_nan(), f) {
                    // What a maximum makes of a NaN is left open, but not what becomes of its neighbours.
                    (true, Activation::Relu) => Verdict::Near(0.0),
                    (true, _) if values[index].is_nan() => Verdict::Near(0.0),
                    (true, _) => Verdict::Not("NaN".into()),
                    (false, _) => {
                        Verdict::of(values[index], value, magnitude, Bound::roundings(1 + roundings))
                    }
                }
            };
            session.check(&format!("{f:?}, {case}"), |call| {
                let (product, bias) = (call.input("product", product)?, call.input("bias", bias)?);
                let activation =
                    call.output("activation", product.shape(), Expected::Each(Box::new(judge)))?;
                kernel::activate(&mut call.plan, &product, &bias, &activation, f)
            })?;
        }
    }
    Ok(())
}

/// Words of a cursor: position, epoch, seed, batches.
pub(super) const CURSOR: [u32; 4] = [3, 1, 0x9e37_79b9, 70_000];

/// Layers and rates that kernels with dropout are run at: off, and not.
pub(super) fn dropouts() -> [(u32, f32); 2] {
    [(0, 0.0), (5, 0.3)]
}

/// A layer's dropout by [`CURSOR`], as the oracles take it.
pub(super) fn dropout_of(layer: u32, rate: f32) -> oracle::Dropout {
    oracle::Dropout { seed: CURSOR[2], batches: CURSOR[3], layer, rate: rate.into() }
}

pub(super) fn dropout(session: &mut Session<'_>) -> Result<(), Error> {
    for (shape, profile) in operands(session.effort()) {
        for (layer, rate) in dropouts() {
            let x = session.matrix(shape, profile);
            check_dropout(session, &format!("{shape}, {profile}, {rate}"), &x, (layer, rate), None)?;
        }
    }
    for odd in NOT_FINITE {
        let mut x = session.matrix(Shape::new(3, 5), Profile::Ordinary);
        x[(1, 2)] = odd;
        check_dropout(session, &format!("{odd} in x[1, 2]"), &x, (0, 0.0), Some(7))?;
    }
    Ok(())
}

fn check_dropout(
    session: &mut Session<'_>,
    case: &str,
    x: &Matrix,
    (layer, rate): (u32, f32),
    hit: Option<usize>,
) -> Result<(), Error> {
    let expected = rounded_once(oracle::dropout(x, &dropout_of(layer, rate)));
    // The scale's rounding, and the product's.
    let bound = Bound::roundings(2);
    session.check(case, |call| {
        let x = call.input("x", x)?;
        let cursor = &call.words("cursor", &CURSOR, Expected::Unchanged)?;
        let y = call.output("y", x.shape(), Expected::not_finite(&expected, bound, |at| Some(at) == hit))?;
        kernel::dropout(&mut call.plan, &x, &Dropout { cursor, layer, rate }, &y)
    })
}
