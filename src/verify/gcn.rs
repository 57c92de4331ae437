//! Cases of `kernels::gcn`.

use super::call::Session;
use super::elementwise::{CURSOR, NOT_FINITE, dropout_of, dropouts};
use super::expected::{Bound, Expected};
use super::values::{Profile, activations, operands};
use crate::Error;
use crate::engine::Shape;
use crate::kernels::elementwise::Dropout;
use crate::kernels::gcn as kernel;
use crate::reference::{Matrix, gcn as oracle};

pub(super) fn skip(session: &mut Session<'_>) -> Result<(), Error> {
    for (shape, profile) in operands(session.effort()) {
        let [x, skipped] = [(); 2].map(|()| session.matrix(shape, profile));
        for (layer, rate) in dropouts() {
            check_skip(session, &format!("{shape}, {profile}, {rate}"), (&x, &skipped), (layer, rate), None)?;
        }
    }
    for odd in NOT_FINITE {
        let [mut x, skipped] = [(); 2].map(|()| session.matrix(Shape::new(3, 5), Profile::Ordinary));
        x[(1, 2)] = odd;
        check_skip(session, &format!("{odd} in x[1, 2]"), (&x, &skipped), (0, 0.0), Some(7))?;
    }
    Ok(())
}

fn check_skip(
    session: &mut Session<'_>,
    case: &str,
    (x, skipped): (&Matrix, &Matrix),
    (layer, rate): (u32, f32),
    hit: Option<usize>,
) -> Result<(), Error> {
    let expected = oracle::skip(x, skipped, &dropout_of(layer, rate));
    // The scale's rounding, the product's and the sum's.
    let bound = Bound::roundings(3);
    session.check(case, |call| {
        let (x, skipped) = (call.input("x", x)?, call.input("skipped", skipped)?);
        let cursor = &call.words("cursor", &CURSOR, Expected::Unchanged)?;
        let y = call.output("y", x.shape(), Expected::not_finite(&expected, bound, |at| Some(at) == hit))?;
        kernel::skip(&mut call.plan, &x, &skipped, &Dropout { cursor, layer, rate }, &y)
    })
}

pub(super) fn delta(session: &mut Session<'_>) -> Result<(), Error> {
    for (kind, (f, oracle_f, _)) in activations().into_iter().enumerate() {
        // What an activation changes is the same at any size.
        let cases =
            operands(session.effort()).into_iter().filter(|case| kind == 0 || case.0.elements() < 100);
        for (shape, profile) in cases {
            // A slope at a denormal is that at zero where the device takes the one for the other.
            let value =
                |z| Some(oracle_f.value(z) as f32).filter(|a| !a.is_subnormal()).map_or(0.0, f64::from);
            let activation = session.matrix(shape, profile).map(value);
            for (copies, (layer, rate)) in [1, 3].into_iter().zip(dropouts()) {
                let stack = Shape::new(copies * shape.rows, shape.columns);
                let gradient = session.matrix(stack, profile);
                let expected = oracle::delta(&gradient, &activation, oracle_f, &dropout_of(layer, rate));
                // Three of a slope, the scale's, two products.
                let bound = Bound::roundings(6);
                let case = format!("{f:?}, {copies} of {shape}, {profile}, {rate}");
                session.check(&case, |call| {
                    let gradient = call.input("gradient", &gradient)?;
                    let activation = call.input("activation", &activation)?;
                    let cursor = &call.words("cursor", &CURSOR, Expected::Unchanged)?;
                    let delta = call.output("delta", stack, Expected::near(&expected, bound))?;
                    let dropout = Dropout { cursor, layer, rate };
                    kernel::delta(&mut call.plan, &gradient, &activation, f, &dropout, &delta)
                })?;
            }
        }
    }
    Ok(())
}
