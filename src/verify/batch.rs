//! Cases of `kernels::batch`.

use super::call::Session;
use super::expected::Expected;
use super::sparse::{ascending, upload};
use super::values::Profile;
use crate::Error;
use crate::engine::Shape;
use crate::kernels::batch as kernel;
use crate::reference::batch::{self as oracle, Cursor};

/// All samples, those of the batch, and where it begins; batches that reach past the last sample go on at the first.
fn sizes(session: &Session<'_>) -> Vec<(u32, u32, u32)> {
    let mut sizes = vec![(1, 1, 0), (5, 3, 0), (7, 7, 0), (65, 0, 0), (65, 64, 1), (64, 10, 60)];
    if session.is_full() {
        sizes.extend([(257, 257, 0), (4_096, 65, 4_000), (100_003, 300, 5), (100_003, 4_096, 99_000)]);
    }
    sizes
}

fn cursors(position: u32) -> [Cursor; 3] {
    let cursor = Cursor { position, epoch: 0, seed: 0, batches: 3 };
    [cursor, Cursor { epoch: 1, seed: 12_345, ..cursor }, Cursor { epoch: 77, seed: u32::MAX, ..cursor }]
}

fn words(cursor: &Cursor) -> [u32; 4] {
    [cursor.position, cursor.epoch, cursor.seed, cursor.batches]
}

pub(super) fn gather(session: &mut Session<'_>) -> Result<(), Error> {
    for (count, samples, position) in sizes(session) {
        for (cursor, features) in cursors(position).into_iter().zip([1, 3, 9]) {
            let x = session.matrix(Shape::new(count, features), Profile::Spread);
            let expected = oracle::gather(&x, samples, &cursor);
            session.check(&format!("{samples} of {count} × {features}, {cursor:?}"), |call| {
                let x = call.input("x", &x)?;
                let cursor = call.words("cursor", &words(&cursor), Expected::Unchanged)?;
                let y = call.output("y", Shape::new(samples, features), Expected::exactly(&expected))?;
                kernel::gather(&mut call.plan, &x, &cursor, &y)
            })?;
        }
    }
    Ok(())
}

pub(super) fn gather_sparse(session: &mut Session<'_>) -> Result<(), Error> {
    for (count, samples, position) in sizes(session) {
        for (cursor, features) in cursors(position).into_iter().zip([1, 9, 300]) {
            // So many wide samples would take the host a while.
            let features = if count > 5_000 { features.min(9) } else { features };
            let x = ascending(session, (count, features), 4.0, Profile::Spread);
            let expected = oracle::gather_sparse(&x, samples, &cursor);
            session.check(&format!("{samples} of {count} × {features}, {cursor:?}"), |call| {
                let x = upload(call, &x)?;
                let cursor = call.words("cursor", &words(&cursor), Expected::Unchanged)?;
                let y = call.output("y", Shape::new(samples, features), Expected::exactly(&expected))?;
                kernel::gather_sparse(&mut call.plan, &x, &cursor, &y)
            })?;
        }
    }
    Ok(())
}

pub(super) fn gather_labels(session: &mut Session<'_>) -> Result<(), Error> {
    for (count, samples, position) in sizes(session) {
        for cursor in cursors(position) {
            let x: Vec<u32> = (0..count).map(|sample| sample ^ 0x5a5a).collect();
            let mut expected = oracle::gather_labels(&x, samples, &cursor);
            expected.resize(Shape::vector(samples).stored() as usize, 0);
            session.check(&format!("{samples} of {count}, {cursor:?}"), |call| {
                let x = call.words("x", &x, Expected::Unchanged)?;
                let cursor = call.words("cursor", &words(&cursor), Expected::Unchanged)?;
                let before = vec![0; samples as usize];
                let y = call.words("y", &before, Expected::Words(expected.clone()))?;
                kernel::gather_labels(&mut call.plan, &x, &cursor, &y)
            })?;
        }
    }
    Ok(())
}

pub(super) fn advance(session: &mut Session<'_>) -> Result<(), Error> {
    for (position, samples, count) in [(0, 3, 10), (6, 3, 10), (7, 3, 10), (9, 3, 10), (0, 10, 10)] {
        for reshuffles in [false, true] {
            let cursor = Cursor { position, epoch: 4, seed: 9, batches: 2 };
            let after = words(&oracle::advance(&cursor, samples, count, reshuffles));
            session.check(&format!("{samples} of {count} from {position}, {reshuffles}"), |call| {
                let cursor = call.words("cursor", &words(&cursor), Expected::Words(after.into()))?;
                kernel::advance(&mut call.plan, &cursor, (samples, count), reshuffles)
            })?;
        }
    }
    Ok(())
}
