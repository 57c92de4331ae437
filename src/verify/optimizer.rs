//! Cases of `kernels::optimizer`, and what those of the optimizers share.

use super::call::Session;
use super::elementwise::NOT_FINITE;
use super::expected::{Bound, Expected, Verdict as Judgement};
use super::values::{Profile, operands};
use crate::Error;
use crate::engine::Shape;
use crate::kernels::optimizer::{self as kernel, NOTHING_FOUND, Place, ScheduleWords};
use crate::reference::optimizer::{self as oracle, Schedule, Verdict};

/// A verdict in the middle of a run; `refused` steps were refused before.
pub(super) fn running(steps: u32, refused: u32) -> Verdict {
    let (refused_at, place) = if refused > 0 { (2, 77) } else { (0, 0) };
    Verdict { go: true, steps, refused, refused_at, place }
}

/// A verdict's words.
pub(super) fn words(verdict: Verdict) -> [u32; kernel::VERDICT_LENGTH as usize] {
    [verdict.go.into(), verdict.steps, verdict.refused, verdict.refused_at, verdict.place]
}

/// What a test leaves in `found`.
pub(super) fn found_word(found: Option<u32>) -> u32 {
    found.map_or(NOTHING_FOUND, |place| !place)
}

/// A schedule's words.
pub(super) fn schedule_words(schedule: Schedule) -> ScheduleWords {
    match schedule {
        Schedule::Constant => ScheduleWords { kind: 0, period: 1, decay: 0.0 },
        Schedule::Linear(period) => ScheduleWords { kind: 1, period, decay: 0.0 },
        Schedule::Cosine(period) => ScheduleWords { kind: 2, period, decay: 0.0 },
        Schedule::Stepped(period, decay) => ScheduleWords { kind: 3, period, decay: decay as f32 },
    }
}

/// Words of which some are numbers: those of `numbers` must be near, and the others the same.
pub(super) fn mixed<'e>(exact: Vec<u32>, numbers: Vec<Option<f64>>, bound: Bound) -> Expected<'e> {
    Expected::Each(Box::new(move |values, index| match numbers[index] {
        Some(number) => Judgement::of(values[index], number, number.abs(), bound),
        None if values[index].to_bits() == exact[index] => Judgement::Near(0.0),
        None => Judgement::Not(format!("the word {:#x}", exact[index])),
    }))
}

pub(super) fn finite(session: &mut Session<'_>) -> Result<(), Error> {
    const LIMIT: f32 = 9.223_372e18;
    let mut cases = Vec::new();
    for (shape, profile) in operands(session.effort()) {
        cases.push((format!("{shape}, {profile}"), session.matrix(shape, profile)));
        let last = shape.elements().saturating_sub(1) as usize;
        for place in [last, last / 2, 0] {
            let mut matrix = session.matrix(shape, profile);
            if let Some(value) = matrix.data_mut().get_mut(place) {
                *value = NOT_FINITE[place % 3];
                cases.push((format!("{shape}, {profile}, not finite at {place}"), matrix));
            }
        }
    }
    for (value, name) in [(LIMIT, "at"), (-LIMIT, "minus"), (LIMIT.next_down(), "below")] {
        let mut matrix = session.matrix(Shape::new(3, 5), Profile::Ordinary);
        matrix[(1, 2)] = value.into();
        matrix[(2, 0)] = value.into();
        cases.push((format!("{name} the limit"), matrix));
    }
    for (number, (case, gradient)) in cases.iter().enumerate() {
        let columns = gradient.cols();
        let own = Place { first: 0, stride: Shape::vector(columns as u32).stride() };
        // Alone, and among others.
        let among = if number % 2 == 0 { own } else { Place { first: 8, stride: own.stride + 12 } };
        let place = oracle::finite(&gradient.to_f32(), LIMIT)
            .map(|index| among.first + (index / columns) as u32 * among.stride + (index % columns) as u32);
        for before in [None, Some(3)] {
            let after = match (before, place) {
                (Some(before), Some(place)) => Some(place.min(before)),
                (before, place) => before.or(place),
            };
            session.check(&format!("{case}, {before:?} found before"), |call| {
                let gradient = call.input("gradient", gradient)?;
                let expected = Expected::Words(vec![found_word(after)]);
                let found = call.words("found", &[found_word(before)], expected)?;
                kernel::finite(&mut call.plan, &gradient, among, LIMIT, &found)
            })?;
        }
    }
    Ok(())
}
