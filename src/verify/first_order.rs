//! Cases of `kernels::first_order`.

use super::call::{Call, Session};
use super::elementwise::NOT_FINITE;
use super::expected::{Bound, Expected, Verdict};
use super::optimizer::{found_word, mixed, running, schedule_words, words};
use super::values::{Profile, operands};
use crate::Error;
use crate::engine::{Shape, Tensor};
use crate::kernels::first_order::{self as kernel, DENSE, Method, PenaltyKind, RUN};
use crate::kernels::nm;
use crate::reference::first_order::{self as oracle, Clock, Penalty, Rule, Settings};
use crate::reference::optimizer::{self as shared, Schedule};
use crate::reference::{Bounded, Matrix};

pub(super) fn clock_words(clock: &Clock) -> Vec<u32> {
    let numbers = clock.numbers().map(|number| (number as f32).to_bits());
    words(clock.verdict).into_iter().chain(numbers).collect()
}

/// As the solver makes them.
fn settings_words(settings: &Settings) -> Vec<u32> {
    let (beta_1, beta_2) = (settings.beta_1, settings.beta_2);
    let words = kernel::Settings {
        rate: settings.rate as f32,
        weight_decay: settings.weight_decay as f32,
        is_decoupled: settings.is_decoupled.into(),
        beta_1: beta_1 as f32,
        blend_first: (1.0 - beta_1) as f32,
        log_beta_1: beta_1.ln() as f32,
        blend_second: (1.0 - beta_2) as f32,
        log_beta_2: beta_2.ln() as f32,
        epsilon: settings.epsilon as f32,
        log_warming: (settings.momentum_decay * 0.96f64.ln()) as f32,
        schedule: schedule_words(settings.schedule),
    };
    bytemuck::cast_slice(&[words]).to_vec()
}

const SETTINGS: Settings = Settings {
    rate: 2e-3,
    weight_decay: 1e-2,
    is_decoupled: false,
    beta_1: 0.9,
    beta_2: 0.999,
    epsilon: 1e-8,
    momentum_decay: 4e-3,
    schedule: Schedule::Constant,
};

pub(super) fn clock(session: &mut Session<'_>) -> Result<(), Error> {
    let schedules = [
        Schedule::Constant,
        Schedule::Linear(1000),
        Schedule::Cosine(1000),
        Schedule::Cosine(7),
        Schedule::Stepped(30, 0.5),
    ];
    // Past the end of the schedules, and so far on that a running product in f32 would have lost its way.
    for steps in [0, 1, 2, 9, 249, 499, 500, 750, 998, 999, 1000, 20_000, 10_000_000] {
        for (schedule, is_decoupled) in schedules.into_iter().zip([false, true].into_iter().cycle()) {
            let beta_2 = if is_decoupled { 0.999 } else { 0.99999 };
            let settings = Settings { schedule, is_decoupled, beta_2, ..SETTINGS };
            let mu_product = f64::from(0.45f64.powi(steps.min(40) as i32) as f32);
            let before = Clock { verdict: running(steps, steps % 2), mu_product, ..Clock::START };
            one_clock(session, &settings, &before, None)?;
        }
    }
    for (steps, refused) in [(0, 0), (5, 0), (5, 3)] {
        let verdict = running(steps, refused);
        let before = Clock { verdict, mu_product: 0.25, rate: 0.5, ..Clock::START };
        one_clock(session, &SETTINGS, &before, Some(1234))?;
    }
    Ok(())
}

fn one_clock(
    session: &mut Session<'_>,
    settings: &Settings,
    before: &Clock,
    found: Option<u32>,
) -> Result<(), Error> {
    let after = oracle::clock(settings, before, found);
    let is_number = |k: usize| (after.verdict.go && k >= 5).then(|| after.numbers()[k - 5]);
    let numbers: Vec<_> = (0..kernel::CLOCK_LENGTH as usize).map(is_number).collect();
    // A product of t and a logarithm is rounded three times, an exponential of at least -1 is off by 5 ULPs, a schedule
    // by 4, a quotient or root by 5, and NAdam's factors are made of two of these.
    let switches = f64::from(before.verdict.steps / 30 + 1).log2().ceil() as usize;
    let bound = match settings.schedule {
        // Each squaring doubles what is off: as many roundings as factors.
        Schedule::Stepped(period, _) => {
            Bound::roundings(24 + (before.verdict.steps / period).min(100) as usize + switches)
        }
        _ => Bound::roundings(24),
    };
    let case = format!("{settings:?} from {before:?}, {found:?} found");
    session.check(&case, |call| {
        let settings = call.words("settings", &settings_words(settings), Expected::Unchanged)?;
        let found = call.words("found", &[found_word(found)], Expected::Words(vec![0]))?;
        let exact = clock_words(&Clock { verdict: after.verdict, ..*before });
        let clock = call.words("clock", &clock_words(before), mixed(exact, numbers.clone(), bound))?;
        kernel::clock(&mut call.plan, &settings, &found, &clock)
    })
}

/// A clock in the middle of a run, whose numbers are all singles.
pub(super) fn midway(go: bool) -> Clock {
    let verdict = shared::Verdict { go, steps: 9, ..shared::Verdict::default() };
    let settings = Settings { rate: 0.0625, epsilon: 1e-7, ..SETTINGS };
    let clock = oracle::clock(&settings, &Clock { verdict, mu_product: 0.1, ..Clock::START }, None);
    let single = |number: f64| f64::from(number as f32);
    Clock {
        verdict,
        rate: single(clock.rate),
        coupled: single(0.03),
        decoupled: single(0.002),
        blend_first: single(clock.blend_first),
        blend_second: single(clock.blend_second),
        scale_first: single(clock.scale_first),
        scale_second: single(clock.scale_second),
        epsilon: single(clock.epsilon),
        scale_gradient: single(clock.scale_gradient),
        scale_ahead: single(clock.scale_ahead),
        mu_product: single(clock.mu_product),
    }
}

fn read_clock(call: &mut Call<'_>, clock: &Clock) -> Result<Tensor, Error> {
    call.words("clock", &clock_words(clock), Expected::Unchanged)
}

/// Gradients and parameters of every kind; of lists only where the state has rows beside them.
fn cases(session: &mut Session<'_>, lists: bool) -> Vec<(String, Matrix, Matrix)> {
    let mut cases = Vec::new();
    for (shape, profile) in operands(session.effort()) {
        if shape.rows == 1 || !lists {
            let (g, w) = (session.matrix(shape, profile), session.matrix(shape, profile));
            cases.push((format!("{shape}, {profile}"), g, w));
        }
    }
    for odd in NOT_FINITE {
        let shape = Shape::vector(7);
        let (mut g, w) = (session.matrix(shape, Profile::Ordinary), session.matrix(shape, Profile::Ordinary));
        g[(0, 2)] = odd;
        cases.push((format!("{odd} in gradient[0, 2]"), g, w));
    }
    cases
}

/// Near the oracle's, but not a number where the gradient is none; or unchanged where the clock says so.
fn expected<'e>(
    after: &'e Bounded<Matrix>,
    gradient: &'e Matrix,
    go: bool,
    roundings: usize,
) -> Expected<'e> {
    let columns = gradient.cols().max(1);
    // A square that was flushed to zero is missing under a root, and counts as its own root over a denominator that is
    // at least epsilon: 1e-19/1e-7 of the move, or 1e19 times the smallest number.
    let bound = Bound::roundings(roundings).amplified(1e20);
    match go {
        true => {
            Expected::not_finite(after, bound, move |index| !gradient.data()[index % columns].is_finite())
        }
        false => Expected::Unchanged,
    }
}

/// The same for Adamax and a NaN, whose maximum WGSL leaves open.
fn open_maximum<'e>(after: &'e Bounded<Matrix>, gradient: &'e Matrix) -> Expected<'e> {
    let columns = gradient.cols();
    Expected::Each(Box::new(move |values, index| {
        let (value, magnitude) = (after.value.data()[index], after.magnitude.data()[index]);
        match (gradient.data()[index % columns].is_nan(), index < columns) {
            (true, true) if values[index].is_finite() => Verdict::Not("NaN".into()),
            (true, _) => Verdict::Near(0.0),
            (false, _) => Verdict::of(values[index], value, magnitude, Bound::roundings(16)),
        }
    }))
}

pub(super) fn sgd(session: &mut Session<'_>) -> Result<(), Error> {
    for (case, gradient, w) in cases(session, false) {
        for go in [true, false] {
            let clock = midway(go);
            let after = oracle::sgd(&clock, &gradient, &w);
            let is_hit = |index: usize| !gradient.data()[index].is_finite();
            session.check(&format!("{case}, go {go}"), |call| {
                let words = read_clock(call, &clock)?;
                let expected = match go {
                    true => Expected::not_finite(&after, Bound::roundings(5), is_hit),
                    false => Expected::Unchanged,
                };
                let (gradient, w) = (call.input("gradient", &gradient)?, call.update("w", &w, expected)?);
                kernel::sgd(&mut call.plan, &gradient, &words, &w)
            })?;
        }
    }
    Ok(())
}

/// The rule of each variant; AdamW has none of its own.
const RULES: [(Method, Rule); 8] = [
    (Method::Momentum, Rule::Momentum),
    (Method::Nesterov, Rule::Nesterov),
    (Method::AdaGrad, Rule::AdaGrad),
    (Method::Adadelta, Rule::Adadelta),
    (Method::RmsProp, Rule::RmsProp),
    (Method::Adam, Rule::Adam),
    (Method::NAdam, Rule::NAdam),
    (Method::Adamax, Rule::Adamax),
];

pub(super) fn step(session: &mut Session<'_>) -> Result<(), Error> {
    for (method, rule) in RULES {
        for (case, gradient, w) in cases(session, true) {
            let shape = Shape::new(method.rows(), w.cols() as u32);
            let signed = session.matrix(shape, Profile::Ordinary);
            // Sums of squares are not negative; first moments and momenta are what they are.
            let is_square = |row: usize| {
                !matches!(method, Method::Momentum | Method::Nesterov) && {
                    row + 1 == method.rows() as usize || method == Method::Adadelta
                }
            };
            let state = Matrix::from_fn(signed.rows(), signed.cols(), |row, col| {
                let value = signed[(row, col)];
                if is_square(row) { value.abs() } else { value }
            });
            for go in [true, false] {
                if !go && w.cols() > 300 {
                    continue;
                }
                let clock = midway(go);
                let (new, moved) = oracle::step(rule, &clock, &gradient, &state, &w);
                session.check(&format!("{}, {case}, go {go}", method.name()), |call| {
                    let words = read_clock(call, &clock)?;
                    // The state takes four roundings, a root and a quotient ten more, the parameters the rest.
                    let mut after = expected(&new, &gradient, go, 16);
                    if method == Method::Adamax && go && gradient.data().iter().any(|g| g.is_nan()) {
                        after = open_maximum(&new, &gradient);
                    }
                    let state = call.update("state", &state, after)?;
                    let w = call.update("w", &w, expected(&moved, &gradient, go, 20))?;
                    let gradient = call.input("gradient", &gradient)?;
                    kernel::step(&mut call.plan, method, &gradient, &words, &state, &w)
                })?;
            }
        }
    }
    Ok(())
}

/// A penalty, with T of every other run of the parameters, the last run first.
struct Sparse {
    kind: PenaltyKind,
    penalty: Penalty,
    /// Of three matrices, of which the second's are those.
    settings: [nm::Settings; 3],
    places: Vec<u32>,
    t: Matrix,
    /// Of each parameter.
    goals: Vec<Option<f64>>,
}

impl Sparse {
    fn new(session: &mut Session<'_>, kind: PenaltyKind, columns: usize, profile: Profile) -> Self {
        let runs = columns.div_ceil(RUN as usize);
        let sparse = runs.div_ceil(2);
        let mut t = session.matrix(Shape::vector(sparse as u32 * RUN), profile);
        let place = |run: usize| if run.is_multiple_of(2) { (sparse - 1 - run / 2) as u32 } else { DENSE };
        let own: Vec<u32> = (0..runs).map(place).collect();
        // What is past the last parameter is padding, as in a slab.
        if let Some(last) = own.last().filter(|last| **last != DENSE && !columns.is_multiple_of(RUN as usize))
        {
            t.data_mut()[(last * RUN) as usize + columns % RUN as usize..]
                [..RUN as usize - columns % RUN as usize]
                .fill(0.0);
        }
        let goal = |column: usize| {
            let place = own[column / RUN as usize];
            (place != DENSE).then(|| t.data()[(place * RUN) as usize + column % RUN as usize])
        };
        // What is not for a step, or for another matrix, would show.
        let mine = nm::Settings {
            pull: 0.25,
            rho: 2.0,
            next_rho: 77.0,
            leak: 0.5,
            left: 0.125,
            ..nm::Settings::default()
        };
        let other = nm::Settings { pull: 33.0, rho: 55.0, left: 44.0, ..mine };
        let settings = [other, mine, other];
        let places = own.iter().flat_map(|run| [*run, 1]).collect();
        let penalty = match kind {
            PenaltyKind::Pull => Penalty::Pull { pull: 0.25, rho: 2.0 },
            PenaltyKind::Coupled => Penalty::Coupled { rho: 2.0 },
            PenaltyKind::Masked => Penalty::Masked { left: 0.125 },
        };
        Self { kind, penalty, settings, goals: (0..columns).map(goal).collect(), places, t }
    }

    fn operands(&self, call: &mut Call<'_>) -> Result<[Tensor; 3], Error> {
        Ok([
            call.words("settings", bytemuck::cast_slice(&self.settings), Expected::Unchanged)?,
            call.words("places", &self.places, Expected::Unchanged)?,
            call.input("t", &self.t)?,
        ])
    }
}

/// Parameters of one part of a run, of whole runs, and of more.
const SPARSE: [(u32, Profile); 5] = [
    (0, Profile::Ordinary),
    (77, Profile::Spread),
    (128, Profile::Zeros),
    (700, Profile::Zeros),
    (4_099, Profile::Ordinary),
];

pub(super) fn sparse_sgd(session: &mut Session<'_>) -> Result<(), Error> {
    for kind in PenaltyKind::ALL {
        for ((columns, profile), go) in SPARSE.into_iter().flat_map(|case| [(case, true), (case, false)]) {
            let shape = Shape::vector(columns);
            let sparse = Sparse::new(session, kind, columns as usize, profile);
            let (gradient, w) = (session.matrix(shape, profile), session.matrix(shape, Profile::Ordinary));
            let clock = midway(go);
            let after = oracle::sparse_sgd(&clock, &gradient, Some((sparse.penalty, &sparse.goals)), &w);
            session.check(&format!("{kind:?}, {shape}, {profile}, go {go}"), |call| {
                let words = read_clock(call, &clock)?;
                // Five of the plain step, γ, its share and the way.
                let expected = match go {
                    true => Expected::near(&after, Bound::roundings(5 + 8)),
                    false => Expected::Unchanged,
                };
                let [settings, places, t] = sparse.operands(call)?;
                let penalty =
                    kernel::Penalty { kind: sparse.kind, settings: &settings, places: &places, t: &t };
                let (gradient, w) = (call.input("gradient", &gradient)?, call.update("w", &w, expected)?);
                kernel::sparse_sgd(&mut call.plan, &gradient, &words, penalty, &w)
            })?;
        }
    }
    Ok(())
}

pub(super) fn sparse_step(session: &mut Session<'_>) -> Result<(), Error> {
    for (method, rule) in RULES {
        for kind in PenaltyKind::ALL {
            for (columns, profile) in SPARSE {
                let shape = Shape::vector(columns);
                let sparse = Sparse::new(session, kind, columns as usize, profile);
                let (gradient, w) =
                    (session.matrix(shape, profile), session.matrix(shape, Profile::Ordinary));
                let state =
                    session.matrix(Shape::new(method.rows(), columns), Profile::Ordinary).map(f64::abs);
                let clock = midway(true);
                let penalty = Some((sparse.penalty, &sparse.goals[..]));
                let (new, moved) = oracle::sparse_step(rule, &clock, &gradient, penalty, &state, &w);
                session.check(&format!("{}, {kind:?}, {shape}, {profile}", method.name()), |call| {
                    let words = read_clock(call, &clock)?;
                    let [settings, places, t] = sparse.operands(call)?;
                    let penalty =
                        kernel::Penalty { kind: sparse.kind, settings: &settings, places: &places, t: &t };
                    // Those of the plain step, and those of the penalty.
                    let state = call.update("state", &state, expected(&new, &gradient, true, 16 + 2))?;
                    let w = call.update("w", &w, expected(&moved, &gradient, true, 20 + 8))?;
                    let gradient = call.input("gradient", &gradient)?;
                    kernel::sparse_step(&mut call.plan, method, &gradient, &words, penalty, &state, &w)
                })?;
            }
        }
    }
    Ok(())
}
