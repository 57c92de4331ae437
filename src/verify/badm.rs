//! Cases of `kernels::badm`.

use std::ops::Range;

use half::{bf16, f16};

use super::call::{Call, Session};
use super::elementwise::NOT_FINITE;
use super::expected::{Bound, Expected, Verdict as Judgement};
use super::optimizer::{found_word, mixed, running, schedule_words, words};
use super::values::{Profile, operands};
use crate::Error;
use crate::engine::{Shape, StorageType};
use crate::kernels::badm::{self as kernel, CLOCK_HEAD, SLOT_LENGTH, SecondMoment, Step, clock_length};
use crate::reference::badm::{self as oracle, Clock, Moment, Settings, Slot, State};
use crate::reference::optimizer::{Schedule, Verdict};
use crate::reference::{Bounded, Matrix, random_words};

const SEED: u32 = 42;

fn clock_words(clock: &Clock) -> Vec<u32> {
    let float = |number: f64| (number as f32).to_bits();
    let mut all = words(clock.verdict).to_vec();
    all.extend([clock.keep, clock.turn, clock.blend, clock.epsilon].map(float));
    all.push(SEED);
    for slot in &clock.slots {
        all.extend([slot.steps, float(slot.correction), float(slot.scale)]);
    }
    all
}

/// As the solver makes them.
fn settings_words(settings: &Settings) -> Vec<u32> {
    let Settings { rho, sigma, beta, .. } = *settings;
    let words = kernel::Settings {
        reach: (1.0 / sigma) as f32,
        keep: (rho / (rho + sigma)) as f32,
        turn: (sigma / (rho + sigma)) as f32,
        blend: (1.0 - beta) as f32,
        log_beta: beta.ln() as f32,
        is_corrected: settings.is_corrected.into(),
        epsilon: settings.epsilon as f32,
        seed: SEED,
        schedule: schedule_words(settings.schedule),
    };
    bytemuck::cast_slice(&[words]).to_vec()
}

const SETTINGS: Settings = Settings {
    rho: 200.0,
    sigma: 800.0,
    beta: 0.999,
    epsilon: 1e-8,
    is_corrected: true,
    schedule: Schedule::Constant,
};

/// Slots of the clocks in the cases, and the first that a step uses.
const SLOTS: usize = 7;
const FIRST: usize = 2;

pub(super) fn clock(session: &mut Session<'_>) -> Result<(), Error> {
    for (schedule, is_corrected) in
        [(Schedule::Constant, true), (Schedule::Linear(900), false), (Schedule::Cosine(900), true)]
    {
        for steps in [0, 1, 449, 450, 899, 900, 3_000_000] {
            for (weights, found) in [
                (vec![1.0], None),
                (vec![0.5, 0.25, 0.125, 0.125], None),
                (vec![0.75, 0.25], Some(5)),
                (vec![], None),
            ] {
                let settings = Settings { schedule, is_corrected, ..SETTINGS };
                one_clock(session, &settings, steps, &weights, found)?;
            }
        }
    }
    Ok(())
}

fn one_clock(
    session: &mut Session<'_>,
    settings: &Settings,
    steps: u32,
    weights: &[f64],
    found: Option<u32>,
) -> Result<(), Error> {
    // Slots that were used more or less often than there were steps.
    let slot = |s: usize| Slot { steps: steps / (s as u32 + 1), correction: 3.0, scale: 0.5 };
    let slots = (0..SLOTS).map(slot).collect();
    let before = Clock {
        verdict: running(steps, steps % 2),
        keep: 0.25,
        turn: 0.5,
        blend: 0.125,
        epsilon: 1.0,
        slots,
    };
    let after = oracle::clock(settings, &before, weights, FIRST, found);
    let is_used = |s: usize| after.verdict.go && (FIRST..FIRST + weights.len()).contains(&s);
    let numbers = (0..clock_length(SLOTS as u32)).map(|k| match k {
        5..=8 if after.verdict.go => {
            Some([after.keep, after.turn, after.blend, after.epsilon][k as usize - 5])
        }
        0..CLOCK_HEAD => None,
        _ => {
            let (s, part) = (((k - CLOCK_HEAD) / SLOT_LENGTH) as usize, (k - CLOCK_HEAD) % SLOT_LENGTH);
            let slot = after.slots[s];
            (is_used(s) && part > 0).then_some(if part == 1 { slot.correction } else { slot.scale })
        }
    });
    let numbers: Vec<_> = numbers.collect();
    let case = format!("{settings:?}, {weights:?}, after {steps} steps, {found:?} found");
    session.check(&case, |call| {
        let list = Matrix::new(1, weights.len(), weights.to_vec());
        let (settings, weights) = (
            call.words("settings", &settings_words(settings), Expected::Unchanged)?,
            call.input("weights", &list)?,
        );
        let found = call.words("found", &[found_word(found)], Expected::Words(vec![0]))?;
        // As those of first_order/clock.
        let expected = mixed(clock_words(&after), numbers.clone(), Bound::roundings(24));
        let clock = call.words("clock", &clock_words(&before), expected)?;
        let slots = (FIRST as u32, list.cols() as u32);
        kernel::clock(&mut call.plan, &settings, &weights, &found, &clock, slots)
    })
}

/// A clock in the middle of a run, whose numbers are all singles.
fn midway(go: bool, epsilon: f64) -> Clock {
    let settings = Settings { epsilon, ..SETTINGS };
    let slots = (0..SLOTS).map(|s| Slot { steps: 3 * s as u32, ..Slot::default() }).collect();
    let start = Clock { verdict: running(9, 0), keep: 0.0, turn: 0.0, blend: 0.0, epsilon: 0.0, slots };
    let weights = [0.125, 0.5, 0.0625, 0.25, 0.0625];
    let clock = oracle::clock(&settings, &start, &weights, FIRST, None);
    let single = |number: f64| f64::from(number as f32);
    let slot = |slot: &Slot| Slot {
        steps: slot.steps,
        correction: single(slot.correction),
        scale: single(slot.scale),
    };
    Clock {
        verdict: Verdict { go, ..clock.verdict },
        keep: single(clock.keep),
        turn: single(clock.turn),
        blend: single(clock.blend),
        epsilon: single(clock.epsilon),
        slots: clock.slots.iter().map(slot).collect(),
    }
}

/// One call's operands.
struct Case {
    name: String,
    gradients: Matrix,
    /// The row of duals that is the first sub-batch's.
    row: usize,
    before: State<Matrix>,
}

/// Rows of duals in the cases: more than there are sub-batches in some, and than a dispatch of `badm/step_apart` takes.
const ROWS: u32 = 5;

fn cases(session: &mut Session<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    let shapes = operands(session.effort());
    for (shape, profile) in shapes.into_iter().filter(|(shape, _)| shape.rows == 1) {
        for sub_batches in if shape.columns == 3 { 1..=ROWS } else { 2..=2 } {
            let columns = shape.columns;
            let mut draw = |rows: u32| session.matrix(Shape::new(rows, columns), profile);
            let (gradients, pi, m, w) = (draw(sub_batches), draw(ROWS), draw(ROWS), draw(1));
            let before = State { pi, m: m.map(f64::abs), w };
            let row = if columns == 3 { (ROWS - sub_batches) as usize } else { 0 };
            let name = format!("{sub_batches} of {columns} from {row}, {profile}");
            cases.push(Case { name, gradients, row, before });
        }
    }
    for odd in NOT_FINITE {
        let mut draw = |rows: u32| session.matrix(Shape::new(rows, 7), Profile::Ordinary);
        let (mut gradients, pi, m, w) = (draw(2), draw(ROWS), draw(ROWS), draw(1));
        gradients[(1, 2)] = odd;
        let before = State { pi, m: m.map(f64::abs), w };
        cases.push(Case { name: format!("{odd} in gradients[1, 2]"), gradients, row: 0, before });
    }
    cases
}

const MOMENTS: [(SecondMoment, Moment); 3] = [
    (SecondMoment::Dual, Moment::Dual),
    (SecondMoment::Gradient, Moment::Gradient),
    (SecondMoment::Off, Moment::Off),
];

/// Roundings of a dual; of a second moment; and of w, where a root and a quotient take ten, and each row and
/// each dispatch add two.
const DUAL_ROUNDINGS: usize = 3;
const MOMENT_ROUNDINGS: usize = 10;
const W_ROUNDINGS: usize = 24;

pub(super) fn step(session: &mut Session<'_>) -> Result<(), Error> {
    steps(session, Way::Rows)
}

pub(super) fn step_apart(session: &mut Session<'_>) -> Result<(), Error> {
    steps(session, Way::Apart)
}

/// How gradients are given.
#[derive(Clone, Copy, Debug)]
enum Way {
    Rows,
    Apart,
}

impl Way {
    /// What the oracle makes of a step.
    fn after(
        self,
        moment: Moment,
        clock: &Clock,
        row: usize,
        gradients: &Matrix,
        before: &State<Matrix>,
        stored: impl Fn(f64, usize, usize) -> f64,
    ) -> State<Bounded<Matrix>> {
        match self {
            Self::Rows => oracle::step(moment, clock, (FIRST, row), gradients, before, stored),
            Self::Apart => oracle::step_apart(moment, clock, (FIRST, row), &apart(gradients), before, stored),
        }
    }

    /// Adds a step to a call.
    fn record(self, call: &mut Call<'_>, gradients: &Matrix, args: &Step<'_>) -> Result<(), Error> {
        match self {
            Self::Rows => {
                let gradients = call.input("gradients", gradients)?;
                kernel::step(&mut call.plan, &gradients, args)
            }
            Self::Apart => {
                let apart = apart(gradients);
                let apart =
                    apart.iter().map(|row| call.input("gradient", row)).collect::<Result<Vec<_>, _>>()?;
                kernel::step_apart(&mut call.plan, &apart, args)
            }
        }
    }
}

fn apart(gradients: &Matrix) -> Vec<Matrix> {
    let row = |row| Matrix::new(1, gradients.cols(), gradients.row(row).to_vec());
    (0..gradients.rows()).map(row).collect()
}

fn steps(session: &mut Session<'_>, way: Way) -> Result<(), Error> {
    for case in cases(session) {
        for (moment, oracle_moment) in MOMENTS {
            for (go, epsilon) in [(true, 1e-8), (true, 0.0), (false, 1e-8)] {
                // Long rows differ from short ones in nothing but their length.
                let is_plain = moment == SecondMoment::Dual && go && epsilon > 0.0;
                if case.before.w.cols() > 7 && !is_plain {
                    continue;
                }
                let clock = midway(go, epsilon);
                let name = format!("{}, {moment:?}, go {go}, epsilon {epsilon}", case.name);
                one_step(session, &name, &case, (moment, oracle_moment), &clock, way)?;
                for storage in [Half::Bf16, Half::F16] {
                    let name = format!("{name}, {storage:?}");
                    one_half_step(session, &name, &case, (moment, oracle_moment), &clock, (storage, way))?;
                }
            }
        }
    }
    Ok(())
}

/// How far a root can carry what was flushed to zero: a square of which nothing is left counts as its root, over a root
/// that is at least that of the floor.
fn roughly(roundings: usize) -> Bound {
    Bound::roundings(roundings).amplified(1e20)
}

/// Where a gradient is not finite, what depends on it is not either, but for a maximum of a NaN, which is open.
fn column_is_hit(gradients: &Matrix, column: usize) -> bool {
    (0..gradients.rows()).any(|row| !gradients[(row, column)].is_finite())
}

fn one_step(
    session: &mut Session<'_>,
    name: &str,
    case: &Case,
    (moment, oracle_moment): (SecondMoment, Moment),
    clock: &Clock,
    way: Way,
) -> Result<(), Error> {
    let Case { gradients, row, before, .. } = case;
    let after = way.after(oracle_moment, clock, *row, gradients, before, |dual, _, _| dual);
    let columns = gradients.cols().max(1);
    let go = clock.verdict.go;
    let gradient_of = |index: usize| gradients.data().get(index.checked_sub(*row * columns)?);
    let is_hit = |index: usize| gradient_of(index).is_some_and(|gradient| !gradient.is_finite());
    session.check(name, |call| {
        let words = call.words("clock", &clock_words(clock), Expected::Unchanged)?;
        let whole = |expected| if go { expected } else { Expected::Unchanged };
        let pi_expected = Expected::not_finite(&after.pi, Bound::roundings(DUAL_ROUNDINGS), is_hit);
        let pi = call.update("pi", &before.pi, whole(pi_expected))?;
        let m_expected = Expected::Each(Box::new(|values: &[f32], index| match is_hit(index) {
            true => Judgement::Near(0.0),
            false => {
                let (value, magnitude) = (after.m.value.data()[index], after.m.magnitude.data()[index]);
                Judgement::of(values[index], value, magnitude, Bound::roundings(MOMENT_ROUNDINGS))
            }
        }));
        let m = call.update("m", &before.m, whole(m_expected))?;
        let w_expected = Expected::not_finite(&after.w, roughly(W_ROUNDINGS), |index| {
            column_is_hit(gradients, index % columns)
        });
        let w = call.update("w", &before.w, whole(w_expected))?;
        let (clock, first, row) = (&words, FIRST as u32, *row as u32);
        way.record(call, gradients, &Step { clock, first, row, pi: &pi, m: &m, moment, w: &w })
    })
}

/// A storage of 16 bits.
#[derive(Clone, Copy, Debug)]
enum Half {
    Bf16,
    F16,
}

impl Half {
    fn storage(self) -> StorageType {
        match self {
            Self::Bf16 => StorageType::Bf16,
            Self::F16 => StorageType::F16,
        }
    }

    fn store(self, value: f32, random: u32) -> u16 {
        match self {
            Self::Bf16 => oracle::to_bf16(value, random),
            Self::F16 => oracle::to_f16(value, random),
        }
    }

    fn load(self, half: u16) -> f64 {
        match self {
            Self::Bf16 => bf16::from_bits(half).to_f64(),
            Self::F16 => f16::from_bits(half).to_f64(),
        }
    }

    /// A second moment's stored form: itself, or its root.
    fn of_moment(self, moment: f64) -> f64 {
        match self {
            Self::Bf16 => moment,
            Self::F16 => moment.sqrt(),
        }
    }
}

/// Least and most of what may be stored, element by element.
type Ranges = Vec<(f64, f64)>;

/// A call on a state of 16 bits. The device is given what fits; which of two neighbours it stores is known but where the
/// value is within its own rounding of the point at which random bits decide otherwise.
struct HalfCall<'a> {
    way: Way,
    storage: Half,
    clock: &'a Clock,
    gradients: &'a Matrix,
    row: usize,
    before: State<Matrix>,
    /// As stored: duals, and second moments or their roots.
    words: [Vec<u32>; 2],
}

impl<'a> HalfCall<'a> {
    fn new(way: Way, storage: Half, clock: &'a Clock, case: &'a Case) -> Self {
        let fit = |value: f64| storage.load(storage.store(value as f32, 0));
        let m = |stored: f64| match storage {
            Half::Bf16 => stored,
            Half::F16 => f64::from((stored * stored) as f32),
        };
        let before = State {
            pi: case.before.pi.map(fit),
            m: case.before.m.map(|value| m(fit(value))),
            w: case.before.w.clone(),
        };
        let words = [&case.before.pi, &case.before.m].map(|matrix| halves(storage, matrix));
        Self { way, storage, clock, gradients: &case.gradients, row: case.row, before, words }
    }

    /// The rows of duals that are written.
    fn rows(&self) -> Range<usize> {
        self.row..self.row + self.gradients.rows()
    }

    /// One step, the duals stored as `stored` says.
    fn after(&self, moment: Moment, stored: impl Fn(f64, usize, usize) -> f64) -> State<Bounded<Matrix>> {
        self.way.after(moment, self.clock, self.row, self.gradients, &self.before, stored)
    }

    /// What may be stored of values that are off by so many roundings; `form` is their stored form, and `shift` the place
    /// of their random bits.
    fn ranges(
        &self,
        value: &Bounded<Matrix>,
        roundings: usize,
        shift: u32,
        form: fn(Half, f64) -> f64,
    ) -> Ranges {
        let (rows, columns) = value.value.shape();
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let range = |place: (usize, usize)| {
            let slack = Bound::roundings(roundings).slack(value.magnitude[place]);
            // Of rows that are not written, nothing is looked at.
            let slot = (FIRST + place.0).saturating_sub(self.row) as u32;
            let words = random_words(SEED, self.clock.verdict.steps, slot, place.1 as u32 / 4);
            let random = words[place.1 % 4] >> shift & 0xffff;
            // Rounding to a single is monotone, and so is rounding from there by the same bits.
            let store =
                |value: f64| self.storage.load(self.storage.store(form(self.storage, value) as f32, random));
            (store(value.value[place] - slack), store(value.value[place] + slack))
        };
        places.map(range).collect()
    }

    /// Judges a word of two elements by the ranges, or by what it was where nothing is to be written.
    fn judge(&self, ranges: &[(f64, f64)], before: &[u32], word: u32, index: usize) -> Judgement {
        let columns = self.before.w.cols();
        let stride = Shape::vector(columns as u32).stride() as usize;
        let is_written = |row: usize| self.clock.verdict.go && self.rows().contains(&row);
        for part in 0..2 {
            let half = (word >> (16 * part)) as u16;
            let kept = (before[index] >> (16 * part)) as u16;
            let (row, column) = ((2 * index + part) / stride, (2 * index + part) % stride);
            let (low, high) = match (is_written(row), column < columns) {
                (false, _) if half == kept => continue,
                (false, _) => return Judgement::Not(format!("{kept:#x} in half {part}, as it was")),
                (true, true) => ranges[row * columns + column],
                (true, false) => (0.0, 0.0),
            };
            let value = self.storage.load(half);
            if !(low..=high).contains(&value) {
                return Judgement::Not(format!("{low:e} to {high:e} in half {part}, not {value:e}"));
            }
        }
        Judgement::Near(0.0)
    }

    /// By how much w may be off because duals may be stored either way.
    fn undecided(&self, ranges: &[(f64, f64)], column: usize) -> f64 {
        let part = |row: usize| {
            let (low, high) = ranges[row * self.before.w.cols() + column];
            self.clock.slots[FIRST + row - self.row].scale * 0.5 * (high - low)
        };
        self.rows().map(part).sum()
    }
}

/// A matrix as the device holds it, two elements to a word.
fn halves(storage: Half, matrix: &Matrix) -> Vec<u32> {
    let stride = Shape::vector(matrix.cols() as u32).stride() as usize;
    let mut halves = vec![0u16; matrix.rows() * stride];
    for (row, stored) in halves.chunks_exact_mut(stride.max(1)).enumerate() {
        for (half, value) in stored.iter_mut().zip(matrix.row(row)) {
            *half = storage.store(*value as f32, 0);
        }
    }
    bytemuck::pod_collect_to_vec(&halves)
}

fn one_half_step(
    session: &mut Session<'_>,
    name: &str,
    case: &Case,
    (moment, oracle_moment): (SecondMoment, Moment),
    clock: &Clock,
    (storage, way): (Half, Way),
) -> Result<(), Error> {
    let half = HalfCall::new(way, storage, clock, case);
    // What no f16 can hold is refused before it gets here.
    if half.gradients.data().iter().any(|g| !g.is_finite() || g.abs() > 3e4) {
        return Ok(());
    }
    let (rows, columns) = case.before.pi.shape();
    let exact = half.after(oracle_moment, |dual, _, _| dual);
    let pi_ranges = half.ranges(&exact.pi, DUAL_ROUNDINGS, 0, |_, value| value);
    let m_ranges =
        half.ranges(&exact.m, MOMENT_ROUNDINGS + 5, 16, |storage, value| storage.of_moment(value.max(0.0)));
    let middle = |_: f64, row: usize, column: usize| {
        let (low, high) = pi_ranges[row * columns + column];
        0.5 * (low + high)
    };
    let after = half.after(oracle_moment, middle);
    let shape = (Shape::new(rows as u32, columns as u32), storage.storage());
    let [pi_words, m_words] = &half.words;
    session.check(name, |call| {
        let words = call.words("clock", &clock_words(clock), Expected::Unchanged)?;
        let judge = |values: &[f32], i: usize| half.judge(&pi_ranges, pi_words, values[i].to_bits(), i);
        let pi = call.stored("pi", shape, pi_words, Expected::Each(Box::new(judge)))?;
        let judge = |values: &[f32], i: usize| half.judge(&m_ranges, m_words, values[i].to_bits(), i);
        let m = call.stored("m", shape, m_words, Expected::Each(Box::new(judge)))?;
        let judge = |values: &[f32], i: usize| {
            let (value, magnitude) = (after.w.value.data()[i], after.w.magnitude.data()[i]);
            let allowed = roughly(W_ROUNDINGS).slack(magnitude) + half.undecided(&pi_ranges, i);
            let share = (f64::from(values[i]) - value).abs() / allowed;
            if share <= 1.0 {
                Judgement::Near(share)
            } else {
                Judgement::Not(format!("{value:e}, to {allowed:e}"))
            }
        };
        let expected = if clock.verdict.go { Expected::Each(Box::new(judge)) } else { Expected::Unchanged };
        let w = call.update("w", &case.before.w, expected)?;
        let (clock, first, row) = (&words, FIRST as u32, case.row as u32);
        way.record(call, half.gradients, &Step { clock, first, row, pi: &pi, m: &m, moment, w: &w })
    })
}
