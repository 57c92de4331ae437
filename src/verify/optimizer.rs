//! Cases of `kernels::optimizer`, and what those of the optimizers share.

use super::call::Session;
use super::elementwise::NOT_FINITE;
use super::expected::{Bound, Expected, Verdict as Judgement};
use super::values::{Profile, operands};
use crate::Error;
use crate::engine::Shape;
use crate::kernels::optimizer::{self as kernel, NOTHING_FOUND, ScheduleWords, Stretch};
use crate::reference::Matrix;
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
        let own = Shape::vector(columns as u32).stride();
        // Alone, and among others.
        let (first, stride) = if number % 2 == 0 { (0, own) } else { (8, own + 12) };
        let place = place_in(gradient, LIMIT, first, stride);
        for before in [None, Some(3)] {
            let after = match (before, place) {
                (Some(before), Some(place)) => Some(place.min(before)),
                (before, place) => before.or(place),
            };
            session.check(&format!("{case}, {before:?} found before"), |call| {
                let gradient = call.input("gradient", gradient)?;
                let expected = Expected::Words(vec![found_word(after)]);
                let found = call.words("found", &[found_word(before)], expected)?;
                let stretches: Vec<_> = Stretch::all(&gradient, first, stride).collect();
                kernel::finite(&mut call.plan, &stretches, LIMIT, &found)
            })?;
        }
    }
    several(session, LIMIT)
}

/// The place of the first element past the limit, among the gradients of a step.
fn place_in(gradient: &Matrix, limit: f32, first: u32, stride: u32) -> Option<u32> {
    let columns = gradient.cols();
    let place = |index: usize| first + (index / columns) as u32 * stride + (index % columns) as u32;
    oracle::finite(&gradient.to_f32(), limit).map(place)
}

/// Several tensors at once, up to more than one dispatch takes, each of them and none at fault.
fn several(session: &mut Session<'_>, limit: f32) -> Result<(), Error> {
    const COLUMNS: [u32; 6] = [1030, 3, 0, 256, 1, 515];
    const ROWS: u32 = 2;
    let strides = COLUMNS.map(|columns| Shape::vector(columns).stride());
    let stride = strides.iter().sum();
    let firsts: [u32; 6] = std::array::from_fn(|k| strides[..k].iter().sum());
    for count in 1..=COLUMNS.len() {
        for wrong in (0..count).map(Some).chain([None]) {
            let mut gradients: Vec<_> = COLUMNS[..count]
                .iter()
                .map(|columns| session.matrix(Shape::new(ROWS, *columns), Profile::Ordinary))
                .collect();
            if let Some(value) = wrong.and_then(|wrong| gradients[wrong].data_mut().last_mut()) {
                *value = f64::NAN;
            }
            let places =
                gradients.iter().zip(firsts).filter_map(|(g, first)| place_in(g, limit, first, stride));
            let place = places.min();
            session.check(&format!("{count} tensors, not finite in {wrong:?}"), |call| {
                let inputs = gradients.iter().map(|gradient| call.input("gradient", gradient));
                let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
                let found =
                    call.words("found", &[NOTHING_FOUND], Expected::Words(vec![found_word(place)]))?;
                let stretches: Vec<_> =
                    inputs.iter().zip(firsts).flat_map(|(g, first)| Stretch::all(g, first, stride)).collect();
                kernel::finite(&mut call.plan, &stretches, limit, &found)
            })?;
        }
    }
    Ok(())
}
