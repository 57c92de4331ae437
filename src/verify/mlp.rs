//! Cases of `kernels::mlp`.

use super::call::Session;
use super::elementwise::NOT_FINITE;
use super::expected::{Bound, Expected, Verdict};
use super::values::{Profile, activations};
use crate::Error;
use crate::engine::Shape;
use crate::kernels::mlp::{self as kernel, Gradients};
use crate::reference::batch::sub_batch;
use crate::reference::{Bounded, Matrix, mlp as oracle};

pub(super) fn delta(session: &mut Session<'_>) -> Result<(), Error> {
    let mut sizes = vec![(1, 1, 1), (3, 5, 7), (0, 5, 3), (33, 70, 18)];
    if session.is_full() {
        sizes.extend([(5, 3, 0), (65, 63, 65), (130, 70, 10), (12, 130, 40), (257, 32, 7)]);
    }
    for (kind, (f, oracle_f, _)) in activations().into_iter().enumerate() {
        // What an activation changes is the same at any size.
        for &(samples, width, above) in if kind == 0 { &sizes[..] } else { &sizes[1..4] } {
            let [upper, weights] = [Shape::new(samples, above), Shape::new(above, width)]
                .map(|shape| session.matrix(shape, Profile::Ordinary));
            let output = Shape::new(samples, width);
            let activation =
                session.matrix(output, Profile::Ordinary).map(|z| oracle_f.value(z) as f32 as f64);
            let expected = oracle::delta(&upper, &weights, &activation, oracle_f);
            // The product's roundings, three of a slope, a factor.
            let bound = Bound::roundings(above as usize + 4);
            session.check(&format!("{f:?}, {samples} × {above} by {above} × {width}"), |call| {
                let (upper, weights) = (call.input("left", &upper)?, call.input("right", &weights)?);
                let activation = call.input("activation", &activation)?;
                let delta = call.output("delta", output, Expected::near(&expected, bound))?;
                kernel::delta(&mut call.plan, &upper, &weights, &activation, f, &delta)
            })?;
        }
    }
    Ok(())
}

/// Samples, outputs, columns, sub-batches: even and uneven ones, of one sample each, longer than adapters sum at once.
fn sizes(session: &Session<'_>) -> Vec<(u32, u32, u32, u32)> {
    let mut sizes = vec![(1, 1, 1, 1), (7, 5, 3, 3), (40, 33, 70, 4), (5, 3, 2, 5)];
    if session.is_full() {
        sizes.extend([(128, 32, 65, 8), (100, 10, 257, 7), (65, 130, 12, 2), (64, 64, 64, 1)]);
        sizes.extend([(1_030, 9, 5, 2), (1_700, 3, 70, 1), (1_537, 20, 20, 3), (9, 0, 5, 2), (9, 5, 0, 2)]);
    }
    sizes
}

/// First element of the part that is written, and stored elements after it.
pub(super) const AROUND: (u32, u32) = (12, 8);

/// Rows of gradients, one for each sub-batch, before the call and after it: `parts` come to lie in them.
pub(super) fn slab(session: &mut Session<'_>, parts: &[Bounded<Matrix>]) -> (Matrix, Bounded<Matrix>) {
    let shape = parts.first().map_or((0, 0), |part| part.value.shape());
    let part = Shape::new(shape.0 as u32, shape.1 as u32);
    let length = AROUND.0 + part.stored() as u32 + AROUND.1;
    let before = session.matrix(Shape::new(parts.len() as u32, length), Profile::Ordinary);
    let (first, stride) = (AROUND.0 as usize, part.stride() as usize);
    let after = Bounded::from_fn(parts.len(), length as usize, |n, column| {
        let inside = column.checked_sub(first).filter(|at| *at < part.stored() as usize);
        match inside.map(|at| (at / stride, at % stride)) {
            None => Bounded { value: before[(n, column)], magnitude: 0.0 },
            Some((_, column)) if column >= shape.1 => Bounded::ZERO,
            Some(at) => Bounded { value: parts[n].value[at], magnitude: parts[n].magnitude[at] },
        }
    });
    (before, after)
}

pub(super) fn weight_gradient(session: &mut Session<'_>) -> Result<(), Error> {
    for size in sizes(session) {
        for profile in [Profile::Ordinary, Profile::Spread] {
            check_weight_gradient(session, size, size.0, profile)?;
            // As many samples in every sub-batch, all with the same inputs.
            let (samples, outputs, columns, sub_batches) = size;
            let stacked = (samples * sub_batches, outputs, columns, sub_batches);
            check_weight_gradient(session, stacked, samples, profile)?;
        }
    }
    for odd in NOT_FINITE {
        let (mut delta, inputs) =
            (session.matrix(Shape::new(20, 5), Profile::Ordinary), Matrix::from_fn(20, 6, |_, _| 1.0));
        delta[(7, 2)] = odd;
        let before = session.matrix(Shape::new(3, 64), Profile::Ordinary);
        // Sample 7 is in the second of 0…6, 6…13, 13…20; output 2 is six of the eight from element 16 on, and padding.
        let is_hit = |index: usize| index / 64 == 1 && (16..24).contains(&(index % 64));
        session.check(&format!("{odd} in delta[7, 2]"), |call| {
            let (delta, inputs) = (call.input("left", &delta)?, call.input("right", &inputs)?);
            let expected = Expected::Each(Box::new(move |values, index| {
                match (is_hit(index), index % 64 >= 22, values[index].is_finite()) {
                    (true, false, true) => Verdict::Not("NaN or infinite".into()),
                    (false, _, false) => Verdict::Not("finite".into()),
                    _ => Verdict::Near(0.0),
                }
            }));
            let rows = &call.update("gradient", &before, expected)?;
            kernel::weight_gradient(&mut call.plan, &delta, &inputs, Gradients { rows, first: 0 })
        })?;
    }
    Ok(())
}

fn check_weight_gradient(
    session: &mut Session<'_>,
    size: (u32, u32, u32, u32),
    input_rows: u32,
    profile: Profile,
) -> Result<(), Error> {
    let (samples, outputs, columns, sub_batches) = size;
    let [delta, inputs] = [Shape::new(samples, outputs), Shape::new(input_rows, columns)]
        .map(|shape| session.matrix(shape, profile));
    let parts = oracle::weight_gradient(&delta, &inputs, sub_batches as usize);
    let (before, after) = slab(session, &parts);
    // One fused multiply-add for each sample.
    let bound = Bound::roundings(samples.div_ceil(sub_batches) as usize);
    session.check(&format!("{}, {input_rows} inputs", case(size, profile)), |call| {
        let (delta, inputs) = (call.input("left", &delta)?, call.input("right", &inputs)?);
        let rows = &call.update("gradient", &before, Expected::near(&after, bound))?;
        let gradients = Gradients { rows, first: AROUND.0 };
        kernel::weight_gradient(&mut call.plan, &delta, &inputs, gradients)
    })
}

fn case((samples, outputs, columns, sub_batches): (u32, u32, u32, u32), profile: Profile) -> String {
    format!("{samples} samples in {sub_batches}, {outputs} × {columns}, {profile}")
}

pub(super) fn bias_gradient(session: &mut Session<'_>) -> Result<(), Error> {
    for (samples, outputs, _, sub_batches) in sizes(session) {
        for profile in [Profile::Ordinary, Profile::Spread] {
            let delta = session.matrix(Shape::new(samples, outputs), profile);
            let sums = oracle::bias_gradient(&delta, sub_batches as usize);
            let row = |from: &Matrix, n: usize| Matrix::new(1, from.cols(), from.row(n).to_vec());
            let parts: Vec<_> = (0..sub_batches as usize)
                .map(|n| Bounded { value: row(&sums.value, n), magnitude: row(&sums.magnitude, n) })
                .collect();
            let (before, after) = slab(session, &parts);
            let longest =
                (0..sub_batches as usize).map(|n| sub_batch(n, samples as usize, sub_batches as usize).len());
            // A lane's share of the samples, then the tree over 64 lanes.
            let bound = Bound::roundings(longest.max().unwrap_or(0).div_ceil(64) + 6);
            session.check(&case((samples, outputs, 1, sub_batches), profile), |call| {
                let delta = call.input("delta", &delta)?;
                let rows = &call.update("gradient", &before, Expected::near(&after, bound))?;
                kernel::bias_gradient(&mut call.plan, &delta, Gradients { rows, first: AROUND.0 })
            })?;
        }
    }
    Ok(())
}
