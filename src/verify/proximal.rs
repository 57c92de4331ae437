//! Cases of `kernels::proximal`.

use super::call::Session;
use super::dladmm::control_row;
use super::elementwise::NOT_FINITE;
use super::expected::{Bound, Expected, Verdict};
use super::linalg::TILE_ROUNDINGS;
use super::reduce::status_words;
use super::values::{Profile, operands};
use crate::Error;
use crate::engine::Shape;
use crate::kernels::{linalg, proximal as kernel};
use crate::reference::dladmm::{Control, Status};
use crate::reference::{Matrix, linalg as products, proximal as oracle};

const SLOT: u32 = 1;
const ORIGIN: u32 = 7;

fn control() -> Control {
    Control::new(f64::from(0.3f32), f64::from(0.02f32), 1.0, 2.0)
}

/// Steps of three slots, these four values in the slot of these cases.
fn steps(values: [f64; 4]) -> Matrix {
    Matrix::from_fn(3, 4, |slot, place| if slot == SLOT as usize { values[place] } else { 9.0 })
}

fn weights_and_gradient(session: &mut Session<'_>, shape: Shape) -> (Matrix, Matrix) {
    (session.matrix(shape, Profile::Ordinary), session.matrix(shape, Profile::Ordinary))
}

pub(super) fn trial(session: &mut Session<'_>) -> Result<(), Error> {
    let mut sizes = vec![(1, 1), (3, 5), (0, 4), (33, 70)];
    if session.is_full() {
        sizes.extend([(4, 0), (65, 63), (10, 130), (130, 12), (64, 64), (257, 33)]);
    }
    for (rows, columns) in sizes {
        let (weights, gradient) = weights_and_gradient(session, Shape::new(rows, columns));
        let samples = session.matrix(Shape::new(7, columns), Profile::Ordinary);
        let n = columns as usize;
        let gram = products::gram(&Matrix::zeros(n, n), &samples).value;
        let gram = Matrix::from_f32(n, n, &gram.to_f32());
        for (trial, lambda, last_layer, before) in [
            (0, 0.5f32, true, 1.0),
            (0, 0.0, false, 0.0),
            (3, 0.5, true, 0.0),
            (5, 0.01, false, 0.0),
            (5, 0.01, false, 1.0),
        ] {
            let case = format!(
                "{rows} × {columns}, trial {trial}, λ = {lambda}, last layer: {last_layer}, {before}"
            );
            let is_open = trial == 0 || before == 0.0;
            one_trial(
                session,
                &case,
                (&weights, &gradient, &gram),
                (trial, lambda, last_layer),
                (before, is_open),
            )?;
        }
    }
    Ok(())
}

fn one_trial(
    session: &mut Session<'_>,
    case: &str,
    (weights, gradient, gram): (&Matrix, &Matrix, &Matrix),
    (trial, lambda, last_layer): (u32, f32, bool),
    (before, is_open): (f64, bool),
) -> Result<(), Error> {
    let control = control();
    let pull = oracle::Pull { gradient, weights, lambda: lambda.into(), control: &control, last_layer };
    let margin = oracle::trial(pull, gram, trial);
    let count = linalg::tile_count(session.gpu(), Shape::new(weights.rows() as u32, weights.cols() as u32));
    // D takes two quotients of 2.5 ULPs, a product and two sums, and counts twice; then the product and the tile.
    let bound = Bound::roundings(2 * 9 + gram.rows() + 4 + TILE_ROUNDINGS);
    session.check(case, |call| {
        let (gradient, weights) = (call.input("left", gradient)?, call.input("weights", weights)?);
        let gram = call.input("right", gram)?;
        let control = call.input("control", &control_row(&control))?;
        let steps = call.input("steps", &steps([9.0, 9.0, before, 9.0]))?;
        let sums = match is_open {
            true => Expected::Sums { totals: vec![margin], bound, first: 0, groups: count as usize },
            false => Expected::Unchanged,
        };
        let partials = call.output("partials", Shape::vector((count + 2).next_multiple_of(4)), sums)?;
        let pull =
            kernel::Pull { gradient: &gradient, weights: &weights, lambda, control: &control, last_layer };
        kernel::trial(&mut call.plan, pull, &gram, trial, (&steps, SLOT), &partials)
    })
}

pub(super) fn decide(session: &mut Session<'_>) -> Result<(), Error> {
    // Sums of whole numbers, so that no rounding decides.
    let lists: &[u32] = if session.is_full() { &[1, 3, 64, 257, 4096] } else { &[1, 257] };
    for (count, margin) in lists.iter().flat_map(|count| [-3.0, 0.0, 5.0].map(|margin| (*count, margin))) {
        for (trial, is_last, is_over) in
            [(0, false, true), (4, false, false), (4, false, true), (6, true, false), (30, false, false)]
        {
            one_decision(session, (count, margin), (trial, is_last), is_over)?;
        }
    }
    for odd in NOT_FINITE {
        one_decision(session, (70, odd), (4, false), false)?;
        one_decision(session, (70, odd), (4, false), true)?;
    }
    Ok(())
}

fn one_decision(
    session: &mut Session<'_>,
    (count, margin): (u32, f64),
    (trial, is_last): (u32, bool),
    is_over: bool,
) -> Result<(), Error> {
    let control = control();
    let partials =
        Matrix::from_fn(1, count as usize, |_, i| if i + 1 == count as usize { margin } else { 0.0 });
    // κ times this trace is 2¹⁰ θ₀ and a little, so that 11 doublings reach it.
    let size = 300;
    let gram =
        Matrix::from_fn(size, size, |i, j| if i == j { f64::from(2100.0f32 / 0.3 / 300.0) } else { 7.0 });
    let trace = (0..size).map(|i| gram[(i, i)]).sum();
    let before = [0.25, 3.0, f64::from(u8::from(is_over)), -2.0];
    let after = oracle::decide((margin, trace), (&control, true), (trial, is_last), before);
    let is_seen = !(trial > 0 && is_over);
    let well = Status { iteration: 4, ..Status::default() };
    let status = if is_seen { well.after_seeing(margin, ORIGIN) } else { well };
    session.check(
        &format!("{count} parts of {margin}, trial {trial}, last: {is_last}, over: {is_over}"),
        |call| {
            // A product and a quotient of 2.5 ULPs.
            let bound = Bound::roundings(4);
            let expected = Expected::Each(Box::new(move |values, index| {
                let old = steps(before).data()[index];
                match index.checked_sub(4 * SLOT as usize) {
                    Some(place @ 0..4) if after[place].is_finite() => {
                        Verdict::of(values[index], after[place], after[place].abs(), bound)
                    }
                    Some(0..4) if !values[index].is_finite() => Verdict::Near(0.0),
                    Some(0..4) => Verdict::Not("NaN or infinite".into()),
                    _ => Verdict::of(values[index], old, 0.0, bound),
                }
            }));
            let args = kernel::Decide {
                partials: (&call.input("partials", &partials)?, count),
                gram: &call.input("gram", &gram)?,
                control: &call.input("control", &control_row(&control))?,
                last_layer: true,
                trial,
                is_last,
                steps: (&call.update("steps", &steps(before), expected)?, SLOT),
                status: &call.words(
                    "status",
                    &status_words(well),
                    Expected::Words(status_words(status).into()),
                )?,
                origin: ORIGIN,
            };
            kernel::decide(&mut call.plan, &args)
        },
    )
}

pub(super) fn weight_step(session: &mut Session<'_>) -> Result<(), Error> {
    let control = control();
    // A quotient of 2.5 ULPs for each of both, a product, three sums.
    let bound = Bound::roundings(10);
    let alpha = 4.0;
    for (shape, profile) in operands(session.effort()) {
        let [weights, gradient] = [0, 1].map(|_| session.matrix(shape, profile));
        for (lambda, last_layer) in [(2.0f32, true), (0.0, false)] {
            let pull = oracle::Pull {
                gradient: &gradient,
                weights: &weights,
                lambda: lambda.into(),
                control: &control,
                last_layer,
            };
            let after = oracle::weight_step(pull, alpha);
            session.check(
                &format!("{shape}, {profile}, λ = {lambda}, last layer: {last_layer}"),
                |call| {
                    let stepped = zero_or_near(&after, &weights, bound);
                    let gradient = call.input("gradient", &gradient)?;
                    let control = call.input("control", &control_row(&control))?;
                    let steps = call.input("steps", &steps([1.0 / alpha, 9.0, 1.0, 9.0]))?;
                    let weights = call.update("weights", &weights, stepped)?;
                    let moved = call.output("moved", shape, Expected::near(&after.moved, bound))?;
                    let pull = kernel::Pull {
                        gradient: &gradient,
                        weights: &weights,
                        lambda,
                        control: &control,
                        last_layer,
                    };
                    kernel::weight_step(&mut call.plan, pull, (&steps, SLOT), &moved)
                },
            )?;
        }
    }
    for odd in NOT_FINITE {
        let (weights, mut gradient) = weights_and_gradient(session, Shape::new(3, 5));
        gradient[(1, 2)] = odd;
        let pull = oracle::Pull {
            gradient: &gradient,
            weights: &weights,
            lambda: 1.0,
            control: &control,
            last_layer: true,
        };
        let after = oracle::weight_step(pull, alpha);
        session.check(&format!("{odd} in gradient[1, 2]"), |call| {
            // What a comparison with a NaN takes is a step to zero: its margin was noted before.
            let open = |index: usize| index == 7;
            let gradient = call.input("gradient", &gradient)?;
            let control = call.input("control", &control_row(&control))?;
            let steps = call.input("steps", &steps([1.0 / alpha, 9.0, 1.0, 9.0]))?;
            let weights =
                call.update("weights", &weights, Expected::but_where(&after.weights, bound, open))?;
            let moved =
                call.output("moved", Shape::new(3, 5), Expected::but_where(&after.moved, bound, open))?;
            let pull = kernel::Pull {
                gradient: &gradient,
                weights: &weights,
                lambda: 1.0,
                control: &control,
                last_layer: true,
            };
            kernel::weight_step(&mut call.plan, pull, (&steps, SLOT), &moved)
        })?;
    }
    Ok(())
}

/// Near the oracle's values, and exactly zero where a weight is well within the threshold.
fn zero_or_near<'e>(after: &'e oracle::WeightStep, before: &'e Matrix, bound: Bound) -> Expected<'e> {
    Expected::Each(Box::new(move |values, index| {
        let (expected, moved) = (&after.weights, after.moved.magnitude.data()[index]);
        let is_zero = expected.value.data()[index] == 0.0 && moved == before.data()[index].abs();
        if is_zero && values[index] != 0.0 {
            return Verdict::Not("exactly 0".into());
        }
        Verdict::of(values[index], expected.value.data()[index], expected.magnitude.data()[index], bound)
    }))
}
