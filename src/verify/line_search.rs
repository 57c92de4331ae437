//! Cases of `kernels::line_search`.

use super::call::{Call, Session};
use super::dladmm::control_row;
use super::elementwise::NOT_FINITE;
use super::expected::{Bound, Expected};
use super::reduce::{OFFSET, status_words};
use super::values::{Profile, operands};
use crate::Error;
use crate::engine::{Shape, Tensor};
use crate::kernels::line_search as kernel;
use crate::reference::dladmm::{Control, SUM_CHUNK, Status};
use crate::reference::{Bounded, Matrix, line_search as oracle};

const ORIGIN: u32 = 7;

fn control() -> Control {
    Control::new(f64::from(0.3f32), f64::from(0.02f32), 1.0, 1.0)
}

/// Roundings of a sum that 64 lanes share: a lane's part, its fold and the tree.
fn sum_roundings(terms: usize) -> usize {
    terms.div_ceil(64) + 2 + 6
}

/// Rows and columns: fewer and more than a lane, a `vec4` and a round of 64 lanes hold.
fn shapes(session: &Session<'_>) -> Vec<Shape> {
    let mut sizes = vec![(1, 1), (3, 5), (5, 300), (70, 9), (0, 4), (4, 0)];
    if session.is_full() {
        sizes.extend([
            (1, 4),
            (4, 3),
            (63, 64),
            (64, 65),
            (65, 63),
            (3, 257),
            (2, 4096),
            (1, 100_003),
            (257, 7),
        ]);
    }
    sizes.into_iter().map(|(rows, columns)| Shape::new(rows, columns)).collect()
}

/// The status word, and what a step that meets `is_finite` numbers makes of it.
fn status(call: &mut Call<'_>, is_finite: bool) -> Result<Tensor, Error> {
    let before = Status { iteration: 4, dropped: 2, ..Status::default() };
    let after = before.after_seeing(if is_finite { 0.0 } else { f64::NAN }, ORIGIN);
    call.words("status", &status_words(before), Expected::Words(status_words(after).into()))
}

/// The oracle's values; where a row met a value that is not finite, whatever is left there.
fn but_in_row<'e>(value: &'e Bounded<Matrix>, bound: Bound, spoilt: Option<usize>) -> Expected<'e> {
    let columns = value.value.cols();
    Expected::but_where(value, bound, move |index| spoilt.is_some_and(|row| index / columns == row))
}

pub(super) fn column_squares(session: &mut Session<'_>) -> Result<(), Error> {
    for (shape, profile) in operands(session.effort()) {
        let moved = session.matrix(shape, profile);
        let sums = oracle::column_squares(&moved);
        session.check(&format!("{shape}, {profile}"), |call| {
            let moved = call.input("moved", &moved)?;
            let (bound, first) = (Bound::roundings(SUM_CHUNK), OFFSET as usize * shape.columns as usize);
            let rows = OFFSET + sums.value.rows() as u32 + 1;
            let near = Expected::Near { value: &sums, bound, first };
            let partials = call.output("partials", Shape::new(rows, shape.columns), near)?;
            kernel::column_squares(&mut call.plan, &moved, &partials, OFFSET)
        })?;
    }
    for odd in NOT_FINITE {
        let mut moved = session.matrix(Shape::new(70, 5), Profile::Ordinary);
        moved[(66, 3)] = odd;
        let sums = oracle::column_squares(&moved);
        session.check(&format!("{odd} in moved[66, 3]"), |call| {
            let moved = call.input("moved", &moved)?;
            let hit = Expected::not_finite(&sums, Bound::roundings(SUM_CHUNK), |index| index == 5 + 3);
            let partials = call.output("partials", Shape::new(2, 5), hit)?;
            kernel::column_squares(&mut call.plan, &moved, &partials, 0)
        })?;
    }
    Ok(())
}

pub(super) fn weight_step(session: &mut Session<'_>) -> Result<(), Error> {
    for shape in shapes(session) {
        for (chunks, profile) in [(0, Profile::Ordinary), (2, Profile::Ordinary), (70, Profile::Zeros)] {
            let [weights, gradient] = [profile, profile].map(|profile| session.matrix(shape, profile));
            let partials = session.matrix(Shape::new(chunks, shape.rows), Profile::Ordinary).map(f64::abs);
            let case = format!("{shape}, {profile}, {chunks} chunks");
            one_weight_step(session, &case, &weights, &gradient, &partials, None)?;
        }
    }
    let shape = Shape::new(5, 70);
    let rests = |session: &mut Session<'_>| {
        let [weights, mut gradient] = [0, 1].map(|_| session.matrix(shape, Profile::Ordinary));
        let mut partials = session.matrix(Shape::new(2, 5), Profile::Ordinary).map(f64::abs);
        for column in 0..70 {
            gradient[(1, column)] = 0.0;
            gradient[(2, column)] = f64::from(1e-18f32);
        }
        (partials[(0, 3)], partials[(1, 3)]) = (0.0, 0.0);
        (weights, gradient, partials)
    };
    let (weights, gradient, partials) = rests(session);
    one_weight_step(session, "rows at rest", &weights, &gradient, &partials, None)?;
    for odd in NOT_FINITE {
        let (weights, mut gradient, partials) = rests(session);
        gradient[(4, 66)] = odd;
        let case = format!("{odd} in gradient[4, 66]");
        one_weight_step(session, &case, &weights, &gradient, &partials, Some(4))?;
        let (weights, gradient, mut partials) = rests(session);
        partials[(1, 0)] = odd;
        let case = format!("{odd} in partials[1, 0]");
        one_weight_step(session, &case, &weights, &gradient, &partials, Some(0))?;
    }
    Ok(())
}

fn one_weight_step(
    session: &mut Session<'_>,
    case: &str,
    weights: &Matrix,
    gradient: &Matrix,
    partials: &Matrix,
    spoilt: Option<usize>,
) -> Result<(), Error> {
    for (lambda, last_layer) in [(0.0f32, false), (0.01, true)] {
        let after = oracle::weight_step(weights, gradient, partials, &control(), (lambda.into(), last_layer));
        // Two sums, three quotients of 2.5 ULPs, a sum, a multiply-add; roundings of s count once more in W.
        let sums = sum_roundings(gradient.cols().div_ceil(4)) + sum_roundings(partials.rows());
        let bound = Bound::roundings(sums + 16);
        session.check(&format!("{case}, λ = {lambda}, last layer: {last_layer}"), |call| {
            let lengths = Shape::vector(weights.rows() as u32);
            let of_rows = Expected::but_where(&after.lengths, bound, move |index| Some(index) == spoilt);
            let args = kernel::WeightStep {
                gradient: &call.input("gradient", gradient)?,
                partials: &call.input("partials", partials)?,
                control: &call.input("control", &control_row(&control()))?,
                lambda,
                last_layer,
                weights: &call.update("weights", weights, but_in_row(&after.weights, bound, spoilt))?,
                lengths: &call.output("lengths", lengths, of_rows)?,
                status: &status(call, spoilt.is_none())?,
                origin: ORIGIN,
            };
            kernel::weight_step(&mut call.plan, &args)
        })?;
    }
    Ok(())
}

pub(super) fn gram_step(session: &mut Session<'_>) -> Result<(), Error> {
    for shape in shapes(session) {
        let (weights, gradient, curvature) = gram_operands(session, shape);
        one_gram_step(session, &shape.to_string(), &weights, &gradient, &curvature, None)?;
    }
    let shape = Shape::new(6, 70);
    let (weights, mut gradient, mut curvature) = gram_operands(session, shape);
    for column in 0..70 {
        gradient[(1, column)] = 0.0;
        curvature[(2, column)] *= -1.0;
        gradient[(3, column)] = f64::from(1e-18f32);
        // At right angles to the gradient but for a little.
        let g = |column: usize| gradient[(4, column)];
        let across = if column % 2 == 0 { g(column + 1) } else { -g(column - 1) };
        curvature[(4, column)] = f64::from((across + 1e-8 * g(column)) as f32);
    }
    one_gram_step(session, "rows at rest", &weights, &gradient, &curvature, None)?;
    for odd in NOT_FINITE {
        let (weights, gradient, mut curvature) = gram_operands(session, shape);
        curvature[(4, 66)] = odd;
        one_gram_step(
            session,
            &format!("{odd} in curvature[4, 66]"),
            &weights,
            &gradient,
            &curvature,
            Some(4),
        )?;
    }
    Ok(())
}

/// W, G, and a C with a curvature between ½ and 1½ per column, so that ⟨C_i, G_i⟩ is positive.
fn gram_operands(session: &mut Session<'_>, shape: Shape) -> (Matrix, Matrix, Matrix) {
    let [weights, gradient, tilt] = [0, 1, 2].map(|_| session.matrix(shape, Profile::Ordinary));
    let curvature = Matrix::from_fn(gradient.rows(), gradient.cols(), |row, column| {
        f64::from(((1.0 + 0.5 * tilt[(row, column)]) * gradient[(row, column)]) as f32)
    });
    (weights, gradient, curvature)
}

fn one_gram_step(
    session: &mut Session<'_>,
    case: &str,
    weights: &Matrix,
    gradient: &Matrix,
    curvature: &Matrix,
    spoilt: Option<usize>,
) -> Result<(), Error> {
    let after = oracle::gram_step(weights, gradient, curvature);
    // Two sums, two quotients of 2.5 ULPs, a multiply-add.
    let bound = Bound::roundings(2 * sum_roundings(gradient.cols().div_ceil(4)) + 8);
    session.check(case, |call| {
        let curvature = call.input("curvature", curvature)?;
        let gradient = call.update("gradient", gradient, but_in_row(&after.gradient, bound, spoilt))?;
        let weights = call.update("weights", weights, but_in_row(&after.weights, bound, spoilt))?;
        let status = status(call, spoilt.is_none())?;
        kernel::gram_step(&mut call.plan, &curvature, &gradient, &weights, (&status, ORIGIN))
    })
}

pub(super) fn product_step(session: &mut Session<'_>) -> Result<(), Error> {
    for (shape, profile) in operands(session.effort()) {
        let [product, moved] = [0, 1].map(|_| session.matrix(shape, profile));
        let lengths = session.matrix(Shape::vector(shape.columns), profile);
        let after = oracle::product_step(&product, &moved, &lengths);
        session.check(&format!("{shape}, {profile}"), |call| {
            let (moved, lengths) = (call.input("moved", &moved)?, call.input("lengths", &lengths)?);
            let near = Expected::near(&after, Bound::roundings(2));
            let product = call.update("product", &product, near)?;
            kernel::product_step(&mut call.plan, &moved, &lengths, &product)
        })?;
    }
    for odd in NOT_FINITE {
        let shape = Shape::new(3, 5);
        let [product, mut moved] = [0, 1].map(|_| session.matrix(shape, Profile::Ordinary));
        let lengths = session.matrix(Shape::vector(5), Profile::Ordinary);
        moved[(1, 2)] = odd;
        let after = oracle::product_step(&product, &moved, &lengths);
        session.check(&format!("{odd} in moved[1, 2]"), |call| {
            let (moved, lengths) = (call.input("moved", &moved)?, call.input("lengths", &lengths)?);
            let hit = Expected::not_finite(&after, Bound::roundings(2), |index| index == 7);
            let product = call.update("product", &product, hit)?;
            kernel::product_step(&mut call.plan, &moved, &lengths, &product)
        })?;
    }
    Ok(())
}

pub(super) fn activation_step(session: &mut Session<'_>) -> Result<(), Error> {
    for shape in shapes(session) {
        for (next_width, profile) in [(1, Profile::Ordinary), (10, Profile::Ordinary), (70, Profile::Zeros)] {
            let sides = Sides::new(session, shape, next_width, profile);
            one_activation_step(session, &format!("{shape} to {next_width}, {profile}"), &sides, None)?;
        }
    }
    let shape = Shape::new(5, 70);
    let mut sides = Sides::new(session, shape, 10, Profile::Ordinary);
    for column in 0..70 {
        sides.gradient[(1, column)] = 0.0;
        sides.gradient[(2, column)] = f64::from(1e-18f32);
    }
    one_activation_step(session, "samples at rest", &sides, None)?;
    for odd in NOT_FINITE {
        let mut sides = Sides::new(session, shape, 10, Profile::Ordinary);
        sides.moved[(3, 9)] = odd;
        one_activation_step(session, &format!("{odd} in moved[3, 9]"), &sides, Some(3))?;
    }
    Ok(())
}

/// What an a step works on.
struct Sides {
    activation: Matrix,
    gradient: Matrix,
    product: Matrix,
    moved: Matrix,
}

impl Sides {
    fn new(session: &mut Session<'_>, shape: Shape, next_width: u32, profile: Profile) -> Self {
        let next = Shape::new(shape.rows, next_width);
        let [activation, gradient] = [0, 1].map(|_| session.matrix(shape, profile));
        let [product, moved] = [0, 1].map(|_| session.matrix(next, profile));
        Self { activation, gradient, product, moved }
    }
}

fn one_activation_step(
    session: &mut Session<'_>,
    case: &str,
    sides: &Sides,
    spoilt: Option<usize>,
) -> Result<(), Error> {
    let Sides { activation, gradient, product, moved } = sides;
    for last_layer in [false, true] {
        let after = oracle::activation_step((activation, gradient), (product, moved), &control(), last_layer);
        // Two sums, two quotients of 2.5 ULPs, a product, a sum, a multiply-add.
        let sums = [gradient, moved].map(|side| sum_roundings(side.cols().div_ceil(4))).iter().sum::<usize>();
        let bound = Bound::roundings(sums + 12);
        session.check(&format!("{case}, last layer: {last_layer}"), |call| {
            let args = kernel::ActivationStep {
                gradient: &call.input("gradient", gradient)?,
                moved: &call.input("moved", moved)?,
                control: &call.input("control", &control_row(&control()))?,
                last_layer,
                activation: &call.update(
                    "activation",
                    activation,
                    but_in_row(&after.activation, bound, spoilt),
                )?,
                product: &call.update("product", product, but_in_row(&after.product, bound, spoilt))?,
                status: &status(call, spoilt.is_none())?,
                origin: ORIGIN,
            };
            kernel::activation_step(&mut call.plan, &args)
        })?;
    }
    Ok(())
}
