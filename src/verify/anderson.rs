//! Cases of `kernels::anderson`.

use half::bf16;

use super::call::{Call, Session};
use super::elementwise::NOT_FINITE;
use super::expected::{Bound, Expected, Verdict};
use super::reduce::OFFSET;
use super::values::{Profile, operands};
use crate::Error;
use crate::engine::{Shape, StorageType, Tensor};
use crate::kernels::WG_SIZE;
use crate::kernels::anderson::{self as kernel, GRAM_LENGTH, MOST_COLUMNS, pair_count};
use crate::reference::anderson::{self as oracle, Ledger, Timetable};
use crate::reference::{Bounded, Matrix};

/// A ledger's words. No penalties known is the same as both zero and not known.
fn words(ledger: &Ledger) -> Vec<u32> {
    let float = |value: f64| (value as f32).to_bits();
    let penalties = ledger.penalties.unwrap_or_default();
    let mut words =
        vec![ledger.sweep, ledger.columns, ledger.slot, ledger.has_previous.into(), float(ledger.step)];
    words.extend([ledger.forms, ledger.due, ledger.tried, ledger.rejected].map(u32::from));
    words.extend([ledger.tries, ledger.accepts, ledger.rejects_by_merit, ledger.rejects_not_finite]);
    words.extend([ledger.skips, ledger.clears, float(ledger.last_step)]);
    words.extend(penalties);
    words.extend([ledger.penalties.is_some().into(), ledger.rank]);
    words.extend(ledger.gamma.map(float));
    words
}

/// The ledger as an operand that is only read.
fn read_ledger(call: &mut Call<'_>, ledger: &Ledger) -> Result<Tensor, Error> {
    call.words("ledger", &words(ledger), Expected::Unchanged)
}

/// A ledger in the middle of a run: a full history of `columns`, the newest in `slot`.
fn running(columns: u32, slot: u32) -> Ledger {
    Ledger {
        sweep: 9,
        columns,
        slot,
        has_previous: true,
        step: 1.5,
        forms: true,
        due: true,
        tries: 4,
        accepts: 2,
        rejects_by_merit: 1,
        rejects_not_finite: 1,
        last_step: 1.0,
        ..Ledger::default()
    }
}

/// Where the watched penalties lie.
const WATCHED: [u32; 2] = [1, 5];

pub(super) fn open(session: &mut Session<'_>) -> Result<(), Error> {
    let full = running(3, 2);
    let ledgers = [
        Ledger { step: 1.0, ..Ledger::default() },
        Ledger { columns: 1, slot: 0, ..full.clone() },
        full.clone(),
        Ledger { slot: 0, tried: true, rejected: true, ..full.clone() },
        Ledger { has_previous: false, columns: 0, slot: 0, ..full.clone() },
        Ledger { penalties: Some([7, 9]), ..full.clone() },
        Ledger { penalties: Some([7, 8]), sweep: 10, ..full },
    ];
    for (number, ledger) in ledgers.iter().enumerate() {
        for (start, period, extrapolating) in [(3, 2, false), (9, 1, false), (10, 3, false), (0, 1, true)] {
            for watched in [None, Some([7, 9])] {
                let timetable = Timetable { memory: 3, start, period, extrapolating, first_step: 1.0 };
                let case = format!("ledger {number}, {timetable:?}, watching {watched:?}");
                one_opening(session, &case, ledger, watched, &timetable)?;
            }
        }
    }
    Ok(())
}

fn one_opening(
    session: &mut Session<'_>,
    case: &str,
    ledger: &Ledger,
    watched: Option<[u32; 2]>,
    timetable: &Timetable,
) -> Result<(), Error> {
    let after = words(&oracle::open(ledger, watched, timetable));
    let mut control = [0; 8];
    for (place, word) in WATCHED.iter().zip(watched.unwrap_or_default()) {
        control[*place as usize] = word;
    }
    session.check(case, |call| {
        let watched_words = call.words("watched", &control, Expected::Unchanged)?;
        let ledger = call.words("ledger", &words(ledger), Expected::Words(after.clone()))?;
        let params = kernel::OpenParams {
            watching: watched.is_some().into(),
            first: WATCHED[0],
            second: WATCHED[1],
            memory: timetable.memory,
            start: timetable.start,
            period: timetable.period,
            extrapolating: timetable.extrapolating.into(),
            first_step: timetable.first_step as f32,
        };
        kernel::open(&mut call.plan, &watched_words, &ledger, params)
    })
}

/// A sweep's operands, and what becomes of them.
struct Sweep {
    live: Matrix,
    x: Matrix,
    f: Matrix,
    g: Matrix,
    /// Planes of dF, then of dG.
    history: Vec<Matrix>,
    ledger: Ledger,
}

/// Columns of the history in the cases: odd, so that one list of partial sums is half empty.
const MEMORY: u32 = 3;

impl Sweep {
    fn new(session: &mut Session<'_>, shape: Shape, profile: Profile, ledger: Ledger) -> Self {
        let mut matrix = || session.matrix(shape, profile);
        let [live, x, f, g] = [matrix(), matrix(), matrix(), matrix()];
        Self { live, x, f, g, history: (0..2 * MEMORY).map(|_| matrix()).collect(), ledger }
    }

    fn shape(&self) -> Shape {
        Shape::new(self.live.rows() as u32, self.live.cols() as u32)
    }

    /// Partial sums that workgroups leave which take so many `vec4`s each.
    fn partials(&self, chunk: u32) -> u32 {
        (self.shape().stored() / 4).div_ceil(chunk.into()) as u32
    }

    /// The oracle's column, and the history with it.
    fn pushed(&self, stored: impl Fn(f64) -> f64) -> (oracle::NewColumn, Vec<Matrix>) {
        let (columns, slot) = (self.ledger.columns as usize, self.ledger.slot as usize);
        let held = &self.history[..columns];
        let new = oracle::columns((&self.live, &self.x), (&self.f, &self.g), held, slot, stored);
        let mut history = self.history.clone();
        if self.ledger.forms {
            history[slot] = new.residual_change.clone();
            history[MEMORY as usize + slot] = new.image_change.clone();
        }
        (new, history)
    }

    /// Runs the kernel on a history made by `history`, which is to become what `pushed` returned.
    fn check<'e>(
        &'e self,
        session: &mut Session<'_>,
        case: &str,
        new: &'e oracle::NewColumn,
        history: impl Fn(&mut Call<'e>) -> Result<Tensor, Error>,
    ) -> Result<(), Error> {
        let chunk = if session.gpu().capabilities().class.is_software() { 16 * 8 } else { 4 * WG_SIZE };
        let (shape, list) = (self.shape(), OFFSET + self.partials(chunk) + 2);
        session.check(case, |call| {
            let (live, x) = (call.input("live", &self.live)?, call.input("x", &self.x)?);
            let ledger = read_ledger(call, &self.ledger)?;
            let residual = exactly_but_denormals(&new.residual);
            let (f, g) =
                (call.update("f", &self.f, residual)?, call.update("g", &self.g, Expected::SameAs("live"))?);
            let history = history(call)?;
            let partials = Shape::vector(4 * pair_count(MEMORY) * list);
            let partials = call.output("partials", partials, self.expected_partials(new, chunk))?;
            let args = kernel::Columns {
                live: &live,
                x: &x,
                ledger: &ledger,
                f: &f,
                g: &g,
                history: &history,
                partials: &partials,
                memory: MEMORY,
                offset: OFFSET,
                chunks: list,
            };
            debug_assert_eq!(live.shape(), shape);
            kernel::columns(&mut call.plan, &args)
        })
    }

    /// In each list a chunk's worth of terms that add up to the oracle's products; elsewhere nothing is written.
    fn expected_partials<'e>(&'e self, new: &'e oracle::NewColumn, chunk: u32) -> Expected<'e> {
        let count = self.partials(chunk) as usize;
        let list = OFFSET as usize + count + 2;
        let elements = self.live.data().len().max(1) as f64;
        // A product and three additions in a `vec4`, a lane's sixteen at most, then the tree over lanes. Each element may have been flushed.
        let bound = Bound::roundings(4 + 16 + WG_SIZE.ilog2() as usize).amplified(elements);
        Expected::Each(Box::new(move |values, index| {
            let (pair, place) = (index / (4 * list), index / 4 % list);
            let is_written = (OFFSET as usize..OFFSET as usize + count).contains(&place);
            if !is_written || !self.ledger.forms {
                let untouched = values[index].is_nan();
                return if untouched { Verdict::Near(0.0) } else { Verdict::Not("untouched".into()) };
            }
            let terms =
                (0..count).map(|k| f64::from(values[4 * (pair * list + OFFSET as usize + k) + index % 4]));
            let sum: f64 = terms.sum();
            let product = new.products.get(2 * pair + index % 4 / 2).map_or(Bounded::ZERO, |p| p[index % 2]);
            if !product.value.is_finite() {
                let shows = !sum.is_finite();
                return if shows {
                    Verdict::Near(0.0)
                } else {
                    Verdict::Not("a sum that is not finite".into())
                };
            }
            match bound.share(sum, product.value, product.magnitude) {
                share if share <= 1.0 => Verdict::Near(share),
                share => {
                    Verdict::Not(format!("part of {:e}, {share:.1} times what is allowed", product.value))
                }
            }
        }))
    }
}

/// These values, or others nearer to zero than any normal number: nothing in them is rounded twice.
fn exactly_but_denormals(value: &Matrix) -> Expected<'_> {
    Expected::Each(Box::new(|values, index| {
        let expected = value.data()[index];
        if !expected.is_finite() && !values[index].is_finite() {
            return Verdict::Near(0.0);
        }
        Verdict::of(values[index], expected, 0.0, Bound::roundings(0))
    }))
}

/// Planes one below the other.
fn stacked(planes: &[Matrix]) -> Matrix {
    let data = planes.iter().flat_map(|plane| plane.data().iter().copied());
    let rows = planes.iter().map(Matrix::rows).sum();
    Matrix::new(rows, planes[0].cols(), data.collect())
}

/// All of these choices in shapes of few elements, the first of them in others: what they decide is the same for each
/// element.
fn in_short<T, const COUNT: usize>(shape: Shape, choices: [T; COUNT]) -> impl Iterator<Item = T> {
    choices.into_iter().take(if shape.elements() <= 64 { COUNT } else { 1 })
}

pub(super) fn columns(session: &mut Session<'_>) -> Result<(), Error> {
    let idle = Ledger { forms: false, columns: 0, slot: 0, ..running(0, 0) };
    for (shape, profile) in operands(session.effort()) {
        let ledgers = [running(3, 1), running(2, 1), running(1, 0), idle.clone()];
        for ledger in in_short(shape, ledgers) {
            let case = format!("{shape}, {profile}, {} columns", ledger.columns);
            let sweep = Sweep::new(session, shape, profile, ledger);
            f32_columns(session, &case, &sweep)?;
        }
    }
    for odd in NOT_FINITE {
        let mut sweep = Sweep::new(session, Shape::new(3, 5), Profile::Ordinary, running(3, 1));
        sweep.live[(1, 2)] = odd;
        f32_columns(session, &format!("{odd} in live[1, 2]"), &sweep)?;
    }
    for shape in [Shape::new(3, 5), Shape::new(65, 9), Shape::vector(9_000)] {
        for ledger in [running(3, 0), idle.clone()] {
            let case = format!("{shape}, {} columns of bf16", ledger.columns);
            let sweep = Sweep::new(session, shape, Profile::Ordinary, ledger);
            bf16_columns(session, &case, sweep)?;
        }
    }
    Ok(())
}

fn f32_columns(session: &mut Session<'_>, case: &str, sweep: &Sweep) -> Result<(), Error> {
    let (new, history) = sweep.pushed(|value| value);
    let (before, after) = (stacked(&sweep.history), stacked(&history));
    let after = &after;
    sweep.check(session, case, &new, |call| {
        let expected = Expected::Each(Box::new(|values, index| {
            let expected = after.data()[index];
            if !expected.is_finite() && !values[index].is_finite() {
                return Verdict::Near(0.0);
            }
            Verdict::of(values[index], expected, 0.0, Bound::roundings(0))
        }));
        call.update("history", &before, expected)
    })
}

fn rounded(value: f64) -> f64 {
    bf16::from_f32(value as f32).to_f64()
}

/// Planes as words of two halves, rows padded.
fn halves(planes: &[Matrix]) -> Vec<u32> {
    let half = |value: Option<&f64>| u32::from(value.map_or(0, |value| bf16::from_f64(*value).to_bits()));
    let mut words = Vec::new();
    for plane in planes {
        for row in 0..plane.rows() {
            let row = plane.row(row);
            let pairs = 2 * row.len().div_ceil(4);
            words.extend((0..pairs).map(|k| half(row.get(2 * k)) | half(row.get(2 * k + 1)) << 16));
        }
    }
    words
}

fn bf16_columns(session: &mut Session<'_>, case: &str, mut sweep: Sweep) -> Result<(), Error> {
    sweep.history = sweep.history.iter().map(|plane| plane.map(rounded)).collect();
    let (new, history) = sweep.pushed(rounded);
    let (before, after) = (halves(&sweep.history), halves(&history));
    let shape = kernel::history_shape(sweep.shape(), MEMORY);
    sweep.check(session, case, &new, |call| {
        call.stored("history", (shape, StorageType::Bf16), &before, Expected::Words(after.clone()))
    })
}

/// A system to be solved.
struct System {
    case: String,
    gram: Matrix,
    /// What the newest column's products add up to.
    products: Vec<[f64; 2]>,
    ledger: Ledger,
    memory: u32,
    chunks: u32,
    regularisation: f32,
    /// Two columns that are equal: rounding decides which of them gets the weight of both.
    twins: Option<[usize; 2]>,
}

impl System {
    /// Products of `columns` random vectors of length `length` with each other, and with one more.
    fn random(session: &mut Session<'_>, memory: u32, columns: u32, length: u32, chunks: u32) -> Self {
        let vectors = session.matrix(Shape::new(columns + 1, length), Profile::Ordinary);
        let product = |i: usize, j: usize| {
            let terms = vectors.row(i).iter().zip(vectors.row(j)).map(|(a, b)| a * b);
            f64::from(terms.sum::<f64>() as f32)
        };
        let count = columns as usize;
        let gram = Matrix::from_fn(16, 16, |i, j| if i.max(j) < count { product(i, j) } else { 0.5 });
        let slot = columns / 2;
        let products = (0..count).map(|i| [product(i, slot as usize), product(i, count)]).collect();
        let case = format!("{columns} columns of {memory}, {chunks} sums");
        let ledger = running(columns, slot);
        Self { case, gram, products, ledger, memory, chunks, regularisation: 1e-6, twins: None }
    }

    /// Lists whose terms have the signs of what they add up to, and the sums themselves, as f32 terms leave them.
    fn partials(&self) -> (Matrix, Vec<[f64; 2]>) {
        let (pairs, chunks) = (pair_count(self.memory) as usize, self.chunks as usize);
        let product = |pair: usize, lane: usize| {
            self.products.get(2 * pair + lane / 2).map_or(0.0, |product| product[lane % 2])
        };
        let share = |chunk: usize| f64::from(1 + chunk as u32 % 3);
        let total: f64 = (0..chunks).map(share).sum();
        let lists = Matrix::from_fn(pairs, 4 * chunks, |pair, element| {
            f64::from((product(pair, element % 4) * share(element / 4) / total) as f32)
        });
        let sum =
            |i: usize, k: usize| (0..chunks).map(|chunk| lists[(i / 2, 4 * chunk + 2 * (i % 2) + k)]).sum();
        let sums = (0..self.products.len()).map(|i| [sum(i, 0), sum(i, 1)]).collect();
        (lists, sums)
    }
}

pub(super) fn solve(session: &mut Session<'_>) -> Result<(), Error> {
    let sizes: &[(u32, u32, u32)] = match session.is_full() {
        true => &[
            (1, 1, 1),
            (4, 1, 3),
            (4, 2, 300),
            (4, 4, 1000),
            (3, 3, 7),
            (8, 8, 20),
            (15, 15, 2),
            (16, 16, 5),
        ],
        false => &[(1, 1, 1), (4, 3, 300), (16, 16, 5)],
    };
    for &(memory, columns, chunks) in sizes {
        let mut system = System::random(session, memory, columns, 40, chunks);
        one_solution(session, &system)?;
        (system.ledger.due, system.case) = (false, format!("{}, not due", system.case));
        one_solution(session, &system)?;
    }
    for system in peculiar(session) {
        one_solution(session, &system)?;
    }
    Ok(())
}

/// Systems without a usable solution, and such as elimination has to cut.
fn peculiar(session: &mut Session<'_>) -> Vec<System> {
    let mut systems = Vec::new();
    for odd in NOT_FINITE {
        for (column, which) in [(1, 0), (2, 1)] {
            let mut system = System::random(session, 4, 3, 40, 1);
            system.products[column][which] = odd;
            system.case = format!("{odd} in product {column}, {which}");
            systems.push(system);
        }
    }
    let mut far = System::random(session, 4, 3, 40, 1);
    far.products.iter_mut().for_each(|product| product[1] *= 1e6);
    far.case = "weights of 1e6".into();
    let mut still = System::random(session, 4, 3, 40, 1);
    still.gram = Matrix::zeros(16, 16);
    still.products = vec![[0.0; 2]; 3];
    still.case = "columns of zeros".into();
    // The last column is the first again: 2e-7 are left of its diagonal, and sixteen columns cut at 1.9e-6.
    let mut dependent = System::random(session, 16, 15, 40, 1);
    dependent.ledger = running(16, 15);
    for i in 0..15 {
        (dependent.gram[(i, 15)], dependent.gram[(15, i)]) = (dependent.gram[(i, 0)], dependent.gram[(0, i)]);
        dependent.products[i][0] = dependent.gram[(i, 0)];
    }
    dependent.products.push([dependent.gram[(0, 0)], dependent.products[0][1]]);
    (dependent.regularisation, dependent.twins) = (1e-7, Some([0, 15]));
    dependent.case = "a column twice".into();
    systems.extend([far, still, dependent]);
    systems
}

fn one_solution(session: &mut Session<'_>, system: &System) -> Result<(), Error> {
    let (lists, sums) = system.partials();
    let solved = oracle::solve(&system.ledger, &system.gram, &sums, system.regularisation.into());
    let after = words(&solved.ledger);
    let columns = system.ledger.columns as usize;
    let sum_roundings = (system.chunks as usize).div_ceil(256) + 8;
    // Elimination moves an element once for each pivot, by a quotient and a product of elements that are no larger
    // than the diagonal; both sides were scaled by quotients of 2.5 ULPs and roots.
    let bound = Bound::roundings(sum_roundings + 12 + 6 * columns * columns);
    let gram_bound = Bound::roundings(sum_roundings);
    let magnitudes = solved.gram.map(f64::abs);
    let gram = Bounded {
        value: Matrix::new(1, GRAM_LENGTH as usize, solved.gram.data().to_vec()),
        magnitude: Matrix::new(1, GRAM_LENGTH as usize, magnitudes.data().to_vec()),
    };
    let is_sound = solved.gram.data().iter().chain(sums.iter().flatten()).all(|value| value.is_finite());
    let first_weight = after.len() - MOST_COLUMNS as usize;
    session.check(&system.case, |call| {
        let partials = call.input("partials", &lists)?;
        let expected = Expected::Each(Box::new(|values, index| {
            if !gram.value.data()[index].is_finite() {
                return Verdict::Near(0.0);
            }
            Verdict::of(values[index], gram.value.data()[index], gram.magnitude.data()[index], gram_bound)
        }));
        let gram = call.update(
            "gram",
            &Matrix::new(1, GRAM_LENGTH as usize, system.gram.data().to_vec()),
            expected,
        )?;
        let expected = Expected::Each(Box::new(|values, index| {
            if index < first_weight || !system.ledger.due {
                let is_same = values[index].to_bits() == after[index];
                return if is_same {
                    Verdict::Near(0.0)
                } else {
                    Verdict::Not(format!("word {}", after[index]))
                };
            }
            let column = index - first_weight;
            if !is_sound {
                return Verdict::Near(0.0);
            }
            let weights = |of: &[f64]| of.get(column).copied().unwrap_or(0.0);
            let (mut actual, mut weight) = (values[index], weights(&solved.ledger.gamma));
            let mut magnitude = weights(&solved.magnitudes);
            if let Some([a, b]) = system.twins.filter(|twins| twins.contains(&column)) {
                actual = values[first_weight + a] + values[first_weight + b];
                weight = solved.ledger.gamma[a] + solved.ledger.gamma[b];
                magnitude = solved.magnitudes[a] + solved.magnitudes[b];
            }
            Verdict::of(actual, weight, magnitude, bound)
        }));
        let ledger = call.words("ledger", &words(&system.ledger), expected)?;
        let args = kernel::Solve {
            partials: &partials,
            chunks: system.chunks,
            gram: &gram,
            ledger: &ledger,
            memory: system.memory,
            regularisation: system.regularisation,
        };
        kernel::solve(&mut call.plan, &args)
    })
}

pub(super) fn mix(session: &mut Session<'_>) -> Result<(), Error> {
    for (shape, profile) in operands(session.effort()) {
        for (columns, tried) in in_short(shape, [(3, true), (1, true), (3, false)]) {
            for storage in [StorageType::F32, StorageType::Bf16] {
                one_mixture(session, (shape, profile), Ledger { tried, ..running(columns, 0) }, storage)?;
            }
        }
    }
    Ok(())
}

fn one_mixture(
    session: &mut Session<'_>,
    (shape, profile): (Shape, Profile),
    mut ledger: Ledger,
    storage: StorageType,
) -> Result<(), Error> {
    let case =
        format!("{shape}, {profile}, {} columns of {storage:?}, tried {}", ledger.columns, ledger.tried);
    let weights = session.matrix(Shape::vector(MEMORY), Profile::Ordinary);
    ledger.gamma[..MEMORY as usize].copy_from_slice(weights.data());
    let (g, live) = (session.matrix(shape, profile), session.matrix(shape, profile));
    let store = |value: f64| if storage == StorageType::Bf16 { rounded(value) } else { value };
    let planes: Vec<_> = (0..2 * MEMORY).map(|_| session.matrix(shape, profile).map(store)).collect();
    let held = &planes[MEMORY as usize..][..ledger.columns as usize];
    let candidate = oracle::mix(&g, held, &ledger.gamma, ledger.step);
    session.check(&case, |call| {
        let g = call.input("g", &g)?;
        let history = match storage {
            StorageType::Bf16 => {
                let shape = kernel::history_shape(shape, MEMORY);
                call.stored("history", (shape, StorageType::Bf16), &halves(&planes), Expected::Unchanged)?
            }
            _ => call.input("history", &stacked(&planes))?,
        };
        let words = read_ledger(call, &ledger)?;
        let expected = match ledger.tried {
            true => Expected::near(&candidate, Bound::roundings(2 * MEMORY as usize + 2).amplified(2.0)),
            false => Expected::Unchanged,
        };
        let live = call.update("live", &live, expected)?;
        kernel::mix(&mut call.plan, &g, (&history, MEMORY), &words, &live)
    })
}

pub(super) fn extrapolate(session: &mut Session<'_>) -> Result<(), Error> {
    for (shape, profile) in operands(session.effort()) {
        for tried in in_short(shape, [true, false]) {
            let ledger = Ledger { tried, step: 0.75, ..running(0, 0) };
            let (live, g) = (session.matrix(shape, profile), session.matrix(shape, profile));
            let candidate = oracle::extrapolate(&live, &g, ledger.step);
            session.check(&format!("{shape}, {profile}, tried {tried}"), |call| {
                let words = read_ledger(call, &ledger)?;
                let kept = exactly_but_denormals(&live);
                let g = call.update("g", &g, kept)?;
                let expected = match tried {
                    true => Expected::near(&candidate, Bound::roundings(3)),
                    false => Expected::Unchanged,
                };
                let live = call.update("live", &live, expected)?;
                kernel::extrapolate(&mut call.plan, &words, &live, &g)
            })?;
        }
    }
    Ok(())
}

pub(super) fn copy_where(session: &mut Session<'_>) -> Result<(), Error> {
    let mut cases: Vec<_> = operands(session.effort())
        .into_iter()
        .map(|(shape, profile)| (format!("{shape}, {profile}"), session.matrix(shape, profile)))
        .collect();
    let odd = vec![0.5, NOT_FINITE[0], NOT_FINITE[1], NOT_FINITE[2], 1.0];
    cases.push(("NaN and infinities".into(), Matrix::new(1, 5, odd)));
    for (case, x) in &cases {
        let y = x.map(|value| value + 1.0);
        let states = [
            (kernel::When::NotKept, false, false),
            (kernel::When::NotKept, true, true),
            (kernel::When::NotKept, true, false),
            (kernel::When::Rejected, true, true),
            (kernel::When::Rejected, true, false),
            (kernel::When::Rejected, false, false),
            (kernel::When::Always, true, false),
        ];
        let shape = Shape::new(x.rows() as u32, x.cols() as u32);
        for (when, tried, rejected) in in_short(shape, states) {
            let ledger = Ledger { tried, rejected, ..running(2, 0) };
            let wanted = match when {
                kernel::When::Always => true,
                kernel::When::Rejected => rejected,
                kernel::When::NotKept => rejected || !tried,
            };
            debug_assert_eq!(oracle::copy_where(x, &y, wanted).shape(), x.shape());
            session.check(&format!("{case}, {when:?}, tried {tried}, rejected {rejected}"), |call| {
                let expected = if wanted { Expected::SameAs("x") } else { Expected::Unchanged };
                let words = read_ledger(call, &ledger)?;
                let (x, y) = (call.input("x", x)?, call.update("y", &y, expected)?);
                kernel::copy_where(&mut call.plan, &x, when, &words, &y)
            })?;
        }
    }
    Ok(())
}

pub(super) fn judge(session: &mut Session<'_>) -> Result<(), Error> {
    let rule = kernel::StepRule { growth: 1.5, most: 16.0, least: 0.25 };
    let [nan, infinite, below] = NOT_FINITE;
    let merits = [
        (2.0, 1.0),
        (2.0, 2.0),
        (-2.0, -2.0),
        (2.0, f64::from(2.0f32.next_up())),
        (1.0, nan),
        (1.0, infinite),
        (1.0, below),
        (nan, 1.0),
        (infinite, 1.0),
    ];
    for (before, after) in merits {
        for (tried, step) in [(true, 1.0), (true, 14.0), (true, 0.375), (false, 1.0)] {
            let ledger = Ledger { tried, step, ..running(3, 0) };
            let exact = (f64::from(rule.growth), f64::from(rule.most), f64::from(rule.least));
            let judged = words(&oracle::judge(&ledger, before, after, exact));
            session.check(&format!("{before} to {after} at step {step}, tried {tried}"), |call| {
                let merit_before =
                    call.input("merit_before", &Matrix::new(1, 4, vec![0.0, before, 0.0, 0.0]))?;
                let merit_after =
                    call.input("merit_after", &Matrix::new(1, 4, vec![0.0, 0.0, after, 0.0]))?;
                let ledger = call.words("ledger", &words(&ledger), Expected::Words(judged.clone()))?;
                kernel::judge(&mut call.plan, (&merit_before, 1), (&merit_after, 2), &ledger, rule)
            })?;
        }
    }
    Ok(())
}
