//! Cases of `kernels::exact`.

use super::call::Session;
use super::dladmm::control_row;
use super::expected::{Bound, Expected, Verdict};
use super::values::{Profile, operands};
use crate::Error;
use crate::engine::Shape;
use crate::kernels::exact as kernel;
use crate::reference::dladmm::Control;
use crate::reference::{Matrix, exact as oracle};

const SLOT: u32 = 1;
const LAYER: u32 = 1;
const SAMPLES: u32 = 300;

fn sizes(session: &Session<'_>) -> Vec<u32> {
    if session.is_full() { vec![1, 3, 4, 63, 65, 257, 600] } else { vec![1, 5, 70] }
}

/// A matrix with a positive diagonal, and column sums smaller than the diagonal allows.
fn gram(session: &mut Session<'_>, size: u32) -> (Matrix, Matrix) {
    let mut matrix = session.matrix(Shape::new(size, size), Profile::Ordinary);
    for i in 0..size as usize {
        matrix[(i, i)] += 2.0;
    }
    (matrix, session.matrix(Shape::vector(size), Profile::Ordinary).map(|value| 8.0 * value))
}

/// Zeros, and columns that are constant to the last bit or to a few of them.
fn alike(size: u32) -> [(Matrix, Matrix); 3] {
    [0.0, 0.5, 0.5 + 1e-7].map(|value: f64| {
        let sums = Matrix::from_fn(1, size as usize, |_, _| f64::from(SAMPLES) * value.min(0.5));
        (Matrix::from_fn(size as usize, size as usize, |_, _| f64::from(SAMPLES) * value * value), sums)
    })
}

/// λ of the layer's weights.
const LAMBDA: f64 = 5.0;

/// The kinds, as the kernel and as the oracle call them; a ridge of 0 is settled by the call.
fn kinds(ridge: f64) -> [(kernel::Damping, oracle::Damping); 4] {
    [weights(ridge, false), weights(ridge, true), activations(false), activations(true)]
}

fn weights(ridge: f64, last_layer: bool) -> (kernel::Damping, oracle::Damping) {
    let (damping, share) = (0.125f32, 0.03f32);
    let kind = kernel::Damping::Weights { samples: SAMPLES, layer: LAYER, damping, ridge: share, last_layer };
    let twin = oracle::Damping::Weights {
        samples: 1.0 / f64::from(1.0 / SAMPLES as f32),
        damping: f64::from(damping),
        ridge_share: f64::from(share),
        ridge,
        lambda: LAMBDA,
        last_layer,
    };
    (kind, twin)
}

fn activations(last_layer: bool) -> (kernel::Damping, oracle::Damping) {
    (kernel::Damping::Activations { last_layer }, oracle::Damping::Activations { last_layer })
}

pub(super) fn damping(session: &mut Session<'_>) -> Result<(), Error> {
    let control = Control::new(f64::from(0.02f32), f64::from(0.3f32), 1.0, 1.0);
    for size in sizes(session) {
        let grams = [gram(session, size)].into_iter().chain(alike(size));
        for (number, (matrix, sums)) in grams.enumerate() {
            for (ridge, (kind, twin)) in
                [0.0, 0.75].into_iter().flat_map(|ridge| kinds(ridge).map(|kind| (ridge, kind)))
            {
                let expected = oracle::damping(&matrix, &sums, twin, &control);
                let case = format!("{size} rows, number {number}, {kind:?}, ridge {ridge}");
                one_damping(session, &case, (&matrix, &sums), kind, &control, ridge, expected)?;
                let diagonal = Matrix::from_fn(1, size as usize, |_, i| matrix[(i, i)]);
                let case = format!("{case}, the diagonal alone");
                one_damping(session, &case, (&diagonal, &sums), kind, &control, ridge, expected)?;
            }
        }
    }
    Ok(())
}

fn one_damping(
    session: &mut Session<'_>,
    case: &str,
    (matrix, sums): (&Matrix, &Matrix),
    kind: kernel::Damping,
    control: &Control,
    ridge: f64,
    expected: oracle::Damped,
) -> Result<(), Error> {
    // A lane's share, the tree, the mean, two products, a quotient of 2.5 ULPs and a sum; the floor adds three.
    let bound = Bound::roundings(matrix.cols().div_ceil(256) + 8 + 12);
    let is_weights = matches!(kind, kernel::Damping::Weights { .. });
    let before = Matrix::from_fn(3, 4, |row, place| {
        [ridge, LAMBDA, (row * 4 + 2) as f64, (row * 4 + 3) as f64][place]
    });
    let kept = before.clone();
    session.check(case, |call| {
        let row = |values: &[f32], place: usize| {
            let (value, magnitude) = match place {
                0 => (expected.shift.value, expected.shift.magnitude),
                1 => (expected.floor.value, expected.floor.magnitude),
                _ => (0.0, 0.0),
            };
            Verdict::of(values[4 * SLOT as usize + place], value, magnitude, bound)
        };
        let steps =
            Expected::Each(Box::new(move |values, index| match index.checked_sub(4 * SLOT as usize) {
                Some(place @ 0..4) => row(values, place),
                _ if values[index].is_nan() => Verdict::Near(0.0),
                _ => Verdict::Not("untouched".into()),
            }));
        let settled = Expected::Each(Box::new(|values, index| {
            let settled = match index.checked_sub(4 * LAYER as usize) {
                Some(0) => Some(expected.ridge),
                Some(3) => Some(expected.damping),
                _ => None,
            };
            if let (true, Some(settled)) = (is_weights, settled) {
                return Verdict::of(values[index], settled.value, settled.magnitude, bound);
            }
            Verdict::of(values[index], kept.data()[index], 0.0, bound)
        }));
        let (matrix, sums) = (call.input("matrix", matrix)?, call.input("sums", sums)?);
        let gram = kernel::Gram { matrix: &matrix, sums: is_weights.then_some(&sums) };
        let control = call.input("control", &control_row(control))?;
        let ridge = call.update("ridge", &before, settled)?;
        let steps = call.output("steps", Shape::new(3, 4), steps)?;
        kernel::damping(&mut call.plan, gram, kind, &control, &ridge, (&steps, SLOT))
    })
}

pub(super) fn damped(session: &mut Session<'_>) -> Result<(), Error> {
    let shift = f64::from(0.2f32);
    for size in sizes(session) {
        let (matrix, sums) = gram(session, size);
        for (kind, twin) in kinds(0.0) {
            let samples = match twin {
                oracle::Damping::Weights { samples, .. } => Some(samples),
                _ => None,
            };
            let expected = oracle::damped(&matrix, &sums, samples, shift);
            session.check(&format!("{size} rows, {kind:?}"), |call| {
                let (matrix, sums) = (call.input("matrix", &matrix)?, call.input("sums", &sums)?);
                let gram = kernel::Gram { matrix: &matrix, sums: samples.map(|_| &sums) };
                let row = Matrix::new(2, 4, vec![9.0, 9.0, 9.0, 9.0, shift, 9.0, 9.0, 9.0]);
                let steps = call.input("steps", &row)?;
                let bound = Bound::roundings(4);
                let damped = call.output("damped", matrix.shape(), Expected::near(&expected, bound))?;
                kernel::damped(&mut call.plan, gram, kind, (&steps, SLOT), &damped)
            })?;
        }
    }
    Ok(())
}

pub(super) fn right_side(session: &mut Session<'_>) -> Result<(), Error> {
    let damping = f64::from(0.3f32);
    for (shape, profile) in operands(session.effort()) {
        let [weights, right] = [(); 2].map(|()| session.matrix(shape, profile));
        let [mean, sums] =
            [shape.rows, shape.columns].map(|length| session.matrix(Shape::vector(length), profile));
        let expected = oracle::right_side(&weights, &mean, &sums, damping, &right);
        session.check(&format!("{shape}, {profile}"), |call| {
            let row = Matrix::from_fn(2, 4, |row, place| if (row, place) == (1, 3) { damping } else { 9.0 });
            let ridge = call.input("ridge", &row)?;
            let args = kernel::RightSide {
                weights: &call.input("weights", &weights)?,
                mean: &call.input("mean", &mean)?,
                sums: &call.input("sums", &sums)?,
                ridge: &ridge,
                layer: LAYER,
            };
            let right = call.update("right", &right, Expected::near(&expected, Bound::roundings(4)))?;
            kernel::right_side(&mut call.plan, args, &right)
        })?;
    }
    Ok(())
}
