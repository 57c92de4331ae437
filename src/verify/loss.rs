//! Cases of `kernels::loss`.

use rand::RngExt;

use super::call::Session;
use super::elementwise::NOT_FINITE;
use super::expected::{Bound, Expected, Verdict};
use super::reduce::{OFFSET, list, shows_in, sums};
use super::values::Profile;
use crate::Error;
use crate::engine::Shape;
use crate::kernels::loss as kernel;
use crate::reference::{Bounded, Matrix, loss as oracle};

/// Samples and classes.
pub(super) fn sizes(session: &Session<'_>) -> Vec<(u32, u32)> {
    let mut sizes = vec![(0, 10), (1, 10), (65, 3), (70, 10)];
    if session.is_full() {
        sizes.extend([
            (63, 10),
            (64, 10),
            (257, 10),
            (4096, 10),
            (9, 64),
            (9, 65),
            (9, 100),
            (5, 1_000),
            (3, 5_003),
        ]);
    }
    sizes
}

/// A class for each sample.
pub(super) fn labels(session: &mut Session<'_>, samples: u32, classes: u32) -> Vec<u32> {
    (0..samples).map(|_| session.rng().random_range(0..classes)).collect()
}

/// Roundings when a sample's cost is formed, beside those its magnitude counts: a sum over classes, an exponential,
/// a logarithm, and the tree over 64 samples.
pub(super) fn cost_roundings(classes: u32) -> usize {
    classes as usize + 16
}

pub(super) fn softmax_scores(session: &mut Session<'_>) -> Result<(), Error> {
    for (samples, classes) in sizes(session).into_iter().chain([(5, 1)]) {
        let shape = Shape::new(samples, classes);
        let bias = session.matrix(Shape::vector(classes), Profile::Ordinary);
        // A grid of few values has many ties, which the lower class must win.
        let grid = |matrix: Matrix| matrix.map(|value| (value * 4.0).round());
        let operands = [
            ("ordinary values", session.matrix(shape, Profile::Ordinary), bias.clone()),
            ("ties", grid(session.matrix(shape, Profile::Ordinary)), grid(bias)),
            (
                "large logits",
                session.matrix(shape, Profile::Ordinary).map(|v| f64::from(v as f32 * 3e4)),
                Matrix::zeros(1, classes as usize),
            ),
        ];
        for (kind, product, bias) in operands {
            let labels = labels(session, samples, classes);
            one(session, &format!("{shape}, {kind}"), &product, &bias, &labels)?;
        }
    }
    let shape = Shape::new(130, 10);
    for odd in NOT_FINITE {
        let mut product = session.matrix(shape, Profile::Ordinary);
        // The sample is in the second of three chunks. Minus infinity shows only at the label.
        product[(100, 4)] = odd;
        let labels = vec![4; 130];
        session.check(&format!("{odd} in product[100, 4]"), |call| {
            let (product, bias) =
                (call.input("product", &product)?, call.input("bias", &Matrix::zeros(1, 10))?);
            let labels = call.labels(&labels)?;
            let partials = call.output("partials", list(3, 4), shows_in(4, 3, 1))?;
            kernel::softmax_scores(&mut call.plan, &product, &bias, &labels, &partials, OFFSET)
        })?;
    }
    Ok(())
}

fn one(
    session: &mut Session<'_>,
    case: &str,
    product: &Matrix,
    bias: &Matrix,
    labels: &[u32],
) -> Result<(), Error> {
    let scores = oracle::softmax_scores(product, bias, labels);
    let hits = Bounded { value: scores.total_hits as f64, magnitude: 0.0 };
    let count = kernel::partial_count(labels.len() as u32);
    let roundings = cost_roundings(product.cols() as u32);
    session.check(case, |call| {
        let (product, bias) = (call.input("product", product)?, call.input("bias", bias)?);
        let labels = call.labels(labels)?;
        let totals = vec![scores.total_cost, hits, Bounded::ZERO, Bounded::ZERO];
        let partials = call.output("partials", list(count, 4), sums(totals, roundings, count))?;
        kernel::softmax_scores(&mut call.plan, &product, &bias, &labels, &partials, OFFSET)
    })
}

pub(super) fn squared_scores(session: &mut Session<'_>) -> Result<(), Error> {
    for (samples, outputs) in sizes(session).into_iter().chain([(5, 1)]) {
        let shape = Shape::new(samples, outputs);
        for profile in [Profile::Ordinary, Profile::Spread] {
            let (product, targets) = (session.matrix(shape, profile), session.matrix(shape, profile));
            let bias = session.matrix(Shape::vector(outputs), profile);
            let total = oracle::squared_scores(&product, &bias, &targets);
            let count = kernel::partial_count(samples);
            session.check(&format!("{shape}, {profile}"), |call| {
                let (product, bias) = (call.input("product", &product)?, call.input("bias", &bias)?);
                let targets = call.input("targets", &targets)?;
                // Two differences count twice in a square; a sum over outputs, a quotient, the tree over 64 samples.
                let roundings = 5 + outputs as usize + 3 + 6;
                let totals = vec![total, Bounded::ZERO, Bounded::ZERO, Bounded::ZERO];
                let partials = call.output("partials", list(count, 4), sums(totals, roundings, count))?;
                kernel::squared_scores(&mut call.plan, &product, &bias, &targets, &partials, OFFSET)
            })?;
        }
    }
    for odd in NOT_FINITE {
        let mut product = session.matrix(Shape::new(130, 10), Profile::Ordinary);
        product[(100, 4)] = odd;
        session.check(&format!("{odd} in product[100, 4]"), |call| {
            let (product, bias) =
                (call.input("product", &product)?, call.input("bias", &Matrix::zeros(1, 10))?);
            let targets = call.input("targets", &Matrix::zeros(130, 10))?;
            let partials = call.output("partials", list(3, 4), shows_in(4, 3, 1))?;
            kernel::squared_scores(&mut call.plan, &product, &bias, &targets, &partials, OFFSET)
        })?;
    }
    Ok(())
}

/// Samples, classes and sub-batches.
fn cut_sizes(session: &Session<'_>) -> Vec<(u32, u32, u32)> {
    let all = sizes(session).into_iter().filter(|(samples, _)| *samples > 0);
    all.flat_map(|(samples, classes)| {
        let counts = [1, 3.min(samples), 7.min(samples)];
        counts.into_iter().map(move |sub_batches| (samples, classes, sub_batches))
    })
    .collect()
}

pub(super) fn softmax_gradient(session: &mut Session<'_>) -> Result<(), Error> {
    for (samples, classes, sub_batches) in cut_sizes(session) {
        let shape = Shape::new(samples, classes);
        let (product, bias) = (
            session.matrix(shape, Profile::Ordinary).map(|value| f64::from(8.0 * value as f32)),
            session.matrix(Shape::vector(classes), Profile::Ordinary),
        );
        let labels = labels(session, samples, classes);
        let expected = oracle::softmax_gradient(&product, &bias, &labels, sub_batches as usize);
        let scores = oracle::softmax_scores(&product, &bias, &labels);
        let hits = Bounded { value: scores.total_hits as f64, magnitude: 0.0 };
        let totals = vec![scores.total_cost, hits, Bounded::ZERO, Bounded::ZERO];
        let count = kernel::partial_count(samples);
        session.check(&format!("{shape} in {sub_batches}"), |call| {
            let (product, bias) = (call.input("product", &product)?, call.input("bias", &bias)?);
            let labels = call.labels(&labels)?;
            // A sum over the classes, two exponentials, two quotients, a difference.
            let near = Expected::near(&expected, Bound::roundings(classes as usize + 19));
            let delta = call.output("delta", shape, near)?;
            let sums = sums(totals.clone(), cost_roundings(classes), count);
            let partials = call.output("partials", list(count, 4), sums)?;
            kernel::softmax_gradient(
                &mut call.plan,
                (&product, &bias),
                &labels,
                sub_batches,
                &delta,
                (&partials, OFFSET),
            )
        })?;
    }
    for odd in NOT_FINITE {
        let shape = Shape::new(130, 10);
        let mut product = session.matrix(shape, Profile::Ordinary);
        product[(100, 4)] = odd;
        let labels = vec![4; 130];
        session.check(&format!("{odd} in product[100, 4]"), |call| {
            let (product, bias) =
                (call.input("product", &product)?, call.input("bias", &Matrix::zeros(1, 10))?);
            let labels = call.labels(&labels)?;
            let delta = call.output("delta", shape, rows_that_are_finite(10, 100))?;
            let partials = call.output("partials", list(3, 4), shows_in(4, 3, 1))?;
            let target = (&partials, OFFSET);
            kernel::softmax_gradient(&mut call.plan, (&product, &bias), &labels, 3, &delta, target)
        })?;
    }
    Ok(())
}

/// All rows finite but one, of which nothing is said: minus infinity in a logit is a probability of zero.
fn rows_that_are_finite<'e>(columns: usize, but: usize) -> Expected<'e> {
    Expected::Each(Box::new(move |values, index| match index / columns == but || values[index].is_finite() {
        true => Verdict::Near(0.0),
        false => Verdict::Not("finite".into()),
    }))
}

pub(super) fn squared_gradient(session: &mut Session<'_>) -> Result<(), Error> {
    for (samples, outputs, sub_batches) in cut_sizes(session) {
        let shape = Shape::new(samples, outputs);
        for profile in [Profile::Ordinary, Profile::Spread] {
            let (product, targets) = (session.matrix(shape, profile), session.matrix(shape, profile));
            let bias = session.matrix(Shape::vector(outputs), profile);
            let expected = oracle::squared_gradient(&product, &bias, &targets, sub_batches as usize);
            let total = oracle::squared_scores(&product, &bias, &targets);
            let count = kernel::partial_count(samples);
            session.check(&format!("{shape} in {sub_batches}, {profile}"), |call| {
                let (product, bias) = (call.input("product", &product)?, call.input("bias", &bias)?);
                let targets = call.input("targets", &targets)?;
                // Two differences and a quotient of 2.5 ULPs.
                let near = Expected::near(&expected, Bound::roundings(5));
                let delta = call.output("delta", shape, near)?;
                let totals = vec![total, Bounded::ZERO, Bounded::ZERO, Bounded::ZERO];
                let sums = sums(totals, 5 + outputs as usize + 3 + 6, count);
                let partials = call.output("partials", list(count, 4), sums)?;
                kernel::squared_gradient(
                    &mut call.plan,
                    (&product, &bias),
                    &targets,
                    sub_batches,
                    &delta,
                    (&partials, OFFSET),
                )
            })?;
        }
    }
    Ok(())
}
