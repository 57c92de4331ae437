//! Cases of `kernels::nm`, and of the product with its packed form: every width of group, ties, and values that are not finite.

use half::{bf16, f16};

use super::call::{Call, Session};
use super::elementwise::NOT_FINITE;
use super::expected::{Bound, Expected, Verdict};
use super::first_order::{clock_words, midway};
use super::optimizer::{found_word, mixed, running};
use super::reduce::{chunk_roundings, status_words};
use super::values::Profile;
use crate::Error;
use crate::engine::{AdapterClass, Shape, StorageType, Tensor};
use crate::kernels::first_order::Method;
use crate::kernels::nm::{self as kernel, NmPattern, Packed, Update};
use crate::kernels::{WG_SIZE, linalg, summing_lanes};
use crate::reference::dladmm::Status;
use crate::reference::first_order::Clock;
use crate::reference::{Bounded, Matrix, nm as oracle};

/// Patterns with every width, from the fewest kept to the most; each is a pipeline of its own.
fn patterns(session: &Session<'_>) -> Vec<NmPattern> {
    let widths: Vec<u32> =
        if session.is_full() { (2..=kernel::MAX_GROUP).collect() } else { vec![2, 4, 5, 8] };
    let all = widths.into_iter().flat_map(|group| {
        let mut keeps = match group {
            2..=5 | 32 => vec![1, (group * 7 / 10).max(1), group - 1],
            _ if session.is_full() => vec![(group * 7 / 10).max(1)],
            _ => vec![2],
        };
        keeps.dedup();
        keeps.into_iter().map(move |keep| NmPattern::new(keep, group).expect("1 ≤ keep < group ≤ 32"))
    });
    all.collect()
}

/// Rows, and groups of a row.
fn sizes(session: &Session<'_>, pattern: NmPattern) -> Vec<(u32, u32)> {
    let mut sizes = vec![(3, 5), (7, 17)];
    if pattern.keep() == 1 {
        sizes.extend([(0, 5), (5, 0)]);
    }
    if session.is_full() && pattern.keep() == 1 && pattern.group() <= 5 {
        // More than one workgroup, and more than one chunk.
        sizes.extend([(1, 1), (65, 9), (1, 257), (1, 1024), (41, 25), (3, 1366), (1, 25_001)]);
    }
    sizes
}

fn shape((rows, groups): (u32, u32), pattern: NmPattern) -> Shape {
    Shape::new(rows, groups * pattern.group())
}

/// Keep and group as the oracles take them.
fn counts(pattern: NmPattern) -> (usize, usize) {
    (pattern.keep() as usize, pattern.group() as usize)
}

/// Rows of words, padded as tensors are.
fn padded(rows: &[Vec<u32>]) -> Vec<u32> {
    let pad = |row: &Vec<u32>| {
        let mut row = row.clone();
        row.resize(row.len().next_multiple_of(4), 0);
        row
    };
    rows.iter().flat_map(pad).collect()
}

/// A matrix of words that is written in full, and is then `after`.
fn written_words(
    call: &mut Call<'_>,
    name: &'static str,
    shape: Shape,
    after: &[Vec<u32>],
) -> Result<Tensor, Error> {
    let after = padded(after);
    call.stored(name, (shape, StorageType::U32), &vec![0xdead_beef; after.len()], Expected::Words(after))
}

/// A matrix of words that is only read.
fn read_words(
    call: &mut Call<'_>,
    name: &'static str,
    shape: Shape,
    words: &[Vec<u32>],
) -> Result<Tensor, Error> {
    call.stored(name, (shape, StorageType::U32), &padded(words), Expected::Unchanged)
}

fn mask_words(kept: &[bool], w: &Matrix, pattern: NmPattern) -> Vec<Vec<u32>> {
    oracle::mask_words(kept, w.cols(), pattern.group() as usize)
}

/// Matrices of every kind of value: some with ties everywhere, some with values that are not finite.
fn matrices(session: &mut Session<'_>, shape: Shape) -> Vec<(String, Matrix)> {
    let mut matrices = Vec::new();
    for profile in [Profile::Ordinary, Profile::Zeros, Profile::Denormal, Profile::Spread] {
        if profile == Profile::Ordinary || shape.elements() < 5_000 {
            matrices.push((profile.to_string(), session.matrix(shape, profile)));
        }
    }
    if (4..1_000).contains(&shape.elements()) {
        let mut odd = session.matrix(shape, Profile::Ordinary);
        let (length, places) = (odd.data().len(), [1, 3, 2]);
        for (value, place) in NOT_FINITE.into_iter().zip(places) {
            odd.data_mut()[length * place / 4] = value;
        }
        matrices.push(("some not finite".into(), odd));
    }
    matrices
}

pub(super) fn project(session: &mut Session<'_>) -> Result<(), Error> {
    for pattern in patterns(session) {
        for size in sizes(session, pattern) {
            let shape = shape(size, pattern);
            for (what, w) in matrices(session, shape) {
                for storage in STORAGES {
                    one_projection(session, pattern, (shape, storage), &what, &w)?;
                }
            }
        }
    }
    Ok(())
}

/// Where `found` should point: to the place in rows with padding.
fn stored_place(index: usize, shape: Shape) -> u32 {
    let (row, column) = (index as u32 / shape.columns, index as u32 % shape.columns);
    row * shape.stride() + column
}

fn one_projection(
    session: &mut Session<'_>,
    pattern: NmPattern,
    (shape, storage): (Shape, StorageType),
    what: &str,
    w: &Matrix,
) -> Result<(), Error> {
    let (keep, group) = counts(pattern);
    let w = w.map(|value| rounded(storage, value));
    let expected = oracle::project(&w, keep, group);
    session.check(&format!("{pattern} in {storage:?}, {shape}, {what}"), |call| {
        let mask = mask_words(&expected.kept, &w, pattern);
        let mask = written_words(call, "mask", pattern.mask(shape)?, &mask)?;
        // Bit for bit, denormals too.
        let after = stored_words(storage, &expected.value);
        let before = vec![0x7fff_7fff; after.len()];
        let projected = call.stored("projected", (shape, storage), &before, Expected::Words(after))?;
        let found = found_word(expected.found.map(|index| stored_place(index, shape)));
        let found = call.words("found", &[0], Expected::Words(vec![found]))?;
        let w = call.stored("w", (shape, storage), &stored_words(storage, &w), Expected::Unchanged)?;
        kernel::project(&mut call.plan, pattern, &w, &projected, &mask, &found)
    })
}

/// Storages of 16 bits with the patterns to try in them.
fn halves(session: &Session<'_>) -> Vec<(StorageType, NmPattern)> {
    let patterns: &[(u32, u32)] =
        if session.is_full() { &[(2, 4), (3, 8), (5, 12), (9, 32)] } else { &[(2, 4)] };
    let with = |storage| {
        let pattern = move |&(keep, group): &(u32, u32)| {
            (storage, NmPattern::new(keep, group).expect("1 ≤ keep < group ≤ 32"))
        };
        patterns.iter().map(pattern)
    };
    with(StorageType::Bf16).chain(with(StorageType::F16)).collect()
}

/// The 16 bits nearest to a value, and the value that they stand for.
fn half_bits(storage: StorageType, value: f64) -> u16 {
    match storage {
        StorageType::F16 => f16::from_f32(value as f32).to_bits(),
        _ => bf16::from_f32(value as f32).to_bits(),
    }
}

fn half_value(storage: StorageType, bits: u16) -> f64 {
    match storage {
        StorageType::F16 => f16::from_bits(bits).to_f64(),
        _ => bf16::from_bits(bits).to_f64(),
    }
}

fn rounded(storage: StorageType, value: f64) -> f64 {
    match storage {
        StorageType::F32 => f64::from(value as f32),
        _ => half_value(storage, half_bits(storage, value)),
    }
}

/// Words of a matrix as a storage has it, rows padded with zeros to whole `vec4`s.
fn stored_words(storage: StorageType, matrix: &Matrix) -> Vec<u32> {
    let bits = |value: f64| match storage {
        StorageType::F32 => (value as f32).to_bits(),
        _ => half_bits(storage, value).into(),
    };
    let per_word = 4 / storage.bytes() as usize;
    let mut words = Vec::new();
    for row in matrix.data().chunks_exact(matrix.cols().max(1)) {
        let mut row: Vec<u32> = row.iter().map(|value| bits(*value)).collect();
        row.resize(row.len().next_multiple_of(4), 0);
        let word =
            |parts: &[u32]| parts.iter().rev().fold(0u64, |word, part| word << 16 | u64::from(*part)) as u32;
        words.extend(row.chunks_exact(per_word).map(word));
    }
    words
}

/// A matrix of values that a storage has.
fn half_matrix(session: &mut Session<'_>, storage: StorageType, shape: Shape, profile: Profile) -> Matrix {
    session.matrix(shape, profile).map(|value| rounded(storage, value))
}

const SETTINGS: oracle::Settings =
    oracle::Settings { rho: 2.0, next_rho: 2.0, leak: 0.5, gain: 0.0, free_steps: 20, weights: 7 };

/// Words of some matrices' settings.
fn settings_words(all: &[oracle::Settings]) -> Vec<u32> {
    let words = |settings: &oracle::Settings| kernel::Settings {
        pull: 0.5,
        rho: settings.rho as f32,
        next_rho: settings.next_rho as f32,
        leak: settings.leak as f32,
        left: 0.25,
        gain: settings.gain as f32,
        free_steps: settings.free_steps,
        weights: settings.weights,
    };
    let words: Vec<_> = all.iter().map(words).collect();
    bytemuck::cast_slice(&words).to_vec()
}

fn read_settings(call: &mut Call<'_>, all: &[oracle::Settings]) -> Result<Tensor, Error> {
    call.words("settings", &settings_words(all), Expected::Unchanged)
}

fn read_chunks(call: &mut Call<'_>, chunks: &[kernel::Chunk]) -> Result<Tensor, Error> {
    let shape = Shape::new(chunks.len() as u32, kernel::CHUNK_LENGTH);
    call.stored("chunks", (shape, StorageType::U32), bytemuck::cast_slice(chunks), Expected::Unchanged)
}

pub(super) fn admm_update(session: &mut Session<'_>) -> Result<(), Error> {
    for pattern in patterns(session) {
        for size in sizes(session, pattern) {
            let shape = shape(size, pattern);
            // Not denormals: a device may take w − t for zero, which changes what is the largest.
            for profile in [Profile::Ordinary, Profile::Zeros, Profile::Spread] {
                if profile == Profile::Ordinary || shape.elements() < 5_000 {
                    let (w, t) = (session.matrix(shape, profile), session.matrix(shape, profile));
                    for leak in [1.0, 0.5] {
                        let settings = oracle::Settings { leak, ..SETTINGS };
                        one_update(session, pattern, &profile.to_string(), settings, (&w, &t))?;
                    }
                }
            }
        }
    }
    changing_rhos(session)?;
    odd_updates(session)?;
    for (storage, pattern) in halves(session) {
        update_halves(session, storage, pattern)?;
    }
    updates_of_several(session)
}

/// A difference and its square, the sum over a `vec4`, the units of a group, a lane's groups, the tree over the lanes.
fn sums_bound(pattern: NmPattern, class: AdapterClass) -> Bound {
    let lanes = summing_lanes(class);
    let groups = kernel::CHUNK / lanes;
    Bound::roundings((2 + 3 + pattern.group() + groups + lanes.ilog2()) as usize)
}

/// The sums of an update, in the order of the partial ones.
fn measured(after: &oracle::Updated) -> Vec<Bounded<f64>> {
    after.sums.iter().chain(&after.counts).copied().collect()
}

/// The partial sums of an update: their list is as long as it must be.
fn partials<'c>(
    call: &mut Call<'c>,
    pattern: NmPattern,
    chunks: usize,
    after: &oracle::Updated,
) -> Result<Tensor, Error> {
    let bound = sums_bound(pattern, call.plan.gpu().capabilities().class);
    let expected = Expected::Sums { totals: measured(after), bound, first: 0, groups: chunks };
    call.output("partials", Shape::vector(8 * chunks as u32), expected)
}

/// Records the update of one matrix.
fn record_update(
    call: &mut Call<'_>,
    group: u32,
    [w, t, partials]: [&Tensor; 3],
    settings: oracle::Settings,
    chunks: &[kernel::Chunk],
) -> Result<(), Error> {
    let (settings, chunks) = (read_settings(call, &[settings])?, read_chunks(call, chunks)?);
    let (settings, chunks) = (&settings, &chunks);
    kernel::admm_update(&mut call.plan, Update { group, w, chunks, settings, t, partials, slot: 0 })
}

fn single(value: f64) -> f64 {
    f64::from(value as f32)
}

fn one_update(
    session: &mut Session<'_>,
    pattern: NmPattern,
    what: &str,
    settings: oracle::Settings,
    (w, t): (&Matrix, &Matrix),
) -> Result<(), Error> {
    let shape = Shape::new(w.rows() as u32, w.cols() as u32);
    let after = oracle::admm_update(w, t, counts(pattern), settings.left_of_dual(), single);
    let chunks = kernel::Place::alone(pattern, shape).update_chunks()?;
    session.check(&format!("{pattern}, {shape}, {what}, {settings:?}"), |call| {
        let partials = partials(call, pattern, chunks.len(), &after)?;
        let t = call.update("t", t, Expected::exactly(&after.t))?;
        let w = call.input("w", w)?;
        record_update(call, pattern.group(), [&w, &t, &partials], settings, &chunks)
    })
}

/// A ρ that rises, falls by less than the leak and by more, and one that is not chosen yet or just was.
fn changing_rhos(session: &mut Session<'_>) -> Result<(), Error> {
    let auto = oracle::Settings { gain: 0.25, rho: 0.0, ..SETTINGS };
    let all = [
        oracle::Settings { next_rho: 4.0, ..SETTINGS },
        oracle::Settings { next_rho: 1.0, ..SETTINGS },
        oracle::Settings { next_rho: 0.25, ..SETTINGS },
        oracle::Settings { next_rho: 0.0, ..auto },
        auto,
        oracle::Settings { rho: 0.0, next_rho: 0.0, ..SETTINGS },
    ];
    for (keep, group) in [(2, 4), (2, 5)] {
        let pattern = NmPattern::new(keep, group)?;
        for settings in all {
            let shape = shape((3, 5), pattern);
            let (w, t) = (session.matrix(shape, Profile::Ordinary), session.matrix(shape, Profile::Ordinary));
            one_update(session, pattern, "changing ρ", settings, (&w, &t))?;
        }
    }
    Ok(())
}

/// Values that are not finite rank above all others and are counted, and their sums show them.
fn odd_updates(session: &mut Session<'_>) -> Result<(), Error> {
    for (keep, group) in [(2, 4), (2, 5)] {
        let pattern = NmPattern::new(keep, group)?;
        for odd in NOT_FINITE {
            let shape = shape((3, 5), pattern);
            let (mut w, t) =
                (session.matrix(shape, Profile::Ordinary), session.matrix(shape, Profile::Ordinary));
            w[(1, 6)] = odd;
            let after = oracle::admm_update(&w, &t, counts(pattern), 0.5, single);
            let chunks = kernel::Place::alone(pattern, shape).update_chunks()?;
            session.check(&format!("{pattern}, {odd} in w[1, 6]"), |call| {
                let shown = Expected::Each(Box::new(|values, index| match (index, values[index]) {
                    (2, value) if value.is_finite() => Verdict::Not("NaN or infinite".into()),
                    (6, value) if value != 1.0 => Verdict::Not("1".into()),
                    _ => Verdict::Near(0.0),
                }));
                let partials = call.output("partials", Shape::vector(8), shown)?;
                let t = call.update("t", &t, Expected::exactly(&after.t))?;
                let w = call.input("w", &w)?;
                record_update(call, group, [&w, &t, &partials], SETTINGS, &chunks)
            })?;
        }
    }
    Ok(())
}

fn update_halves(session: &mut Session<'_>, storage: StorageType, pattern: NmPattern) -> Result<(), Error> {
    let settings = oracle::Settings { leak: 0.75, ..SETTINGS };
    for size in [(3, 5), (7, 17), (0, 5), (1, 1025)] {
        let shape = shape(size, pattern);
        let profile = Profile::Ordinary;
        let (w, t) =
            (half_matrix(session, storage, shape, profile), half_matrix(session, storage, shape, profile));
        let after = oracle::admm_update(&w, &t, counts(pattern), 0.75, |value| rounded(storage, value));
        let chunks = kernel::Place::alone(pattern, shape).update_chunks()?;
        session.check(&format!("{pattern} in {storage:?}, {shape}"), |call| {
            let partials = partials(call, pattern, chunks.len(), &after)?;
            let expected = Expected::Words(stored_words(storage, &after.t));
            let t = call.stored("t", (shape, storage), &stored_words(storage, &t), expected)?;
            let w = call.stored("w", (shape, storage), &stored_words(storage, &w), Expected::Unchanged)?;
            record_update(call, pattern.group(), [&w, &t, &partials], settings, &chunks)
        })?;
    }
    Ok(())
}

/// Partial sums of some matrices, each with its chunks; elsewhere what was there, which is NaN.
fn sums_of_each<'e>(
    width: usize,
    ranges: Vec<[u32; 2]>,
    totals: Vec<Vec<Bounded<f64>>>,
    bound: Bound,
) -> Expected<'e> {
    Expected::Each(Box::new(move |values, index| {
        let (chunk, place) = (index / width, index % width);
        let Some(k) =
            ranges.iter().position(|[first, end]| (*first as usize..*end as usize).contains(&chunk))
        else {
            return if values[index].is_nan() {
                Verdict::Near(0.0)
            } else {
                Verdict::Not("untouched".into())
            };
        };
        let sum: f64 =
            (ranges[k][0]..ranges[k][1]).map(|chunk| f64::from(values[chunk as usize * width + place])).sum();
        let share = match totals[k][place].value.is_finite() {
            true => bound.share(sum, totals[k][place].value, totals[k][place].magnitude),
            false => {
                if sum.is_finite() {
                    f64::INFINITY
                } else {
                    0.0
                }
            }
        };
        let complaint =
            || format!("one of those that add up to {:e} and not {sum:e}", totals[k][place].value);
        if share <= 1.0 { Verdict::Near(share) } else { Verdict::Not(complaint()) }
    }))
}

/// Matrices in one row with others between, in one dispatch: each by its own pattern and settings.
fn updates_of_several(session: &mut Session<'_>) -> Result<(), Error> {
    for group in [4, 5] {
        // Keep, rows, groups, and where in w and t it begins; the second has two chunks.
        let several =
            [(2, (7, 3), 128, 4096 + 2048), (1, (4, 300), 384, 0), (group - 1, (1, 1), 0, 4096 + 2560)];
        let [w, t] = [(); 2].map(|()| session.matrix(Shape::vector(8192), Profile::Ordinary));
        let all = [1.0, 0.5, 0.25].map(|leak| oracle::Settings { leak, ..SETTINGS });
        let (mut after, mut chunks, mut ranges, mut totals) = (t.clone(), Vec::new(), Vec::new(), Vec::new());
        for (k, (keep, size, in_w, in_t)) in several.into_iter().enumerate() {
            let pattern = NmPattern::new(keep, group)?;
            let (shape, entry) = (shape(size, pattern), 2 - k as u32);
            let part = |row: &Matrix, first: u32| {
                Matrix::from_fn(size.0 as usize, shape.columns as usize, |r, c| {
                    row[(0, first as usize + r * shape.stride() as usize + c)]
                })
            };
            let settings = all[entry as usize];
            let (own_w, own_t) = (part(&w, in_w), part(&t, in_t));
            let updated =
                oracle::admm_update(&own_w, &own_t, counts(pattern), settings.left_of_dual(), single);
            for r in 0..size.0 as usize {
                for c in 0..shape.columns as usize {
                    after[(0, in_t as usize + r * shape.stride() as usize + c)] = updated.t[(r, c)];
                }
            }
            let place = kernel::Place { pattern, shape, w: in_w, t: in_t, entry };
            let first = 3 + chunks.len() as u32;
            chunks.extend(place.update_chunks()?);
            ranges.push([first, 3 + chunks.len() as u32]);
            totals.push(measured(&updated));
        }
        let count = chunks.len() as u32;
        let bound = sums_bound(NmPattern::new(1, group)?, session.gpu().capabilities().class);
        session.check(&format!("several matrices in groups of {group}"), |call| {
            let expected = sums_of_each(8, ranges.clone(), totals.clone(), bound);
            let partials = call.output("partials", Shape::vector(8 * (3 + count + 1)), expected)?;
            let t = call.update("t", &t, Expected::exactly(&after))?;
            let (w, settings) = (call.input("w", &w)?, read_settings(call, &all)?);
            let chunks = read_chunks(call, &chunks)?;
            let args = Update {
                group,
                w: &w,
                chunks: &chunks,
                settings: &settings,
                t: &t,
                partials: &partials,
                slot: 3,
            };
            kernel::admm_update(&mut call.plan, args)
        })?;
    }
    Ok(())
}

/// Chunks of three matrices, the second of none and the last with the first of the list.
fn three_ranges(chunks: u32) -> Vec<[u32; 2]> {
    let cut = chunks / 3;
    vec![[cut, chunks], [cut, cut], [0, cut]]
}

pub(super) fn measure(session: &mut Session<'_>) -> Result<(), Error> {
    let counts: &[u32] =
        if session.is_full() { &[0, 1, 3, 63, 64, 65, 257, 4096, 100_003] } else { &[0, 1, 257] };
    let well = Status { iteration: 4, ..Status::default() };
    for &count in counts {
        for profile in [Profile::Ordinary, Profile::Spread] {
            let partials = session.matrix(Shape::new(2 * count, 4), profile);
            one_measure(session, &format!("{count} of {profile}"), &partials, well)?;
        }
    }
    for odd in NOT_FINITE {
        for place in [(599, 1), (20, 0)] {
            let mut partials = session.matrix(Shape::new(600, 4), Profile::Ordinary);
            partials[place] = odd;
            one_measure(session, &format!("{odd} in partials{place:?}"), &partials, well)?;
            let ill = Status { origin: 2, failed: 1, iteration: 4, dropped: 3 };
            one_measure(session, &format!("{odd} in partials{place:?} after a failure"), &partials, ill)?;
        }
    }
    Ok(())
}

fn one_measure(
    session: &mut Session<'_>,
    case: &str,
    partials: &Matrix,
    before: Status,
) -> Result<(), Error> {
    let ranges = three_ranges(partials.rows() as u32 / 2);
    let all = [1.0, 0.0, 4.0].map(|next_rho| oracle::Settings { next_rho, ..SETTINGS });
    let (measures, after) = oracle::measure(partials, &ranges, &all, before);
    let roundings = (partials.rows() / 2).div_ceil(256) + 8;
    let taken = all.map(|settings| oracle::Settings { rho: settings.next_rho, ..settings });
    session.check(case, |call| {
        let is_hit = |index: usize| !measures.value.data()[index].is_finite();
        let expected = Expected::not_finite(&measures, Bound::roundings(roundings), is_hit);
        let list = call.output("measures", Shape::new(6, 4), expected)?;
        let settings =
            call.words("settings", &settings_words(&all), Expected::Words(settings_words(&taken)))?;
        let status =
            call.words("status", &status_words(before), Expected::Words(status_words(after).into()))?;
        let partials = call.input("partials", partials)?;
        let ranges = call.words("ranges", ranges.as_flattened(), Expected::Unchanged)?;
        let args = kernel::Measure {
            partials: &partials,
            ranges: &ranges,
            measures: &list,
            settings: &settings,
            status: &status,
        };
        kernel::measure(&mut call.plan, args)
    })
}

/// A method of each kind of divisor.
const DIVISORS: [(Method, oracle::Divisor); 6] = [
    (Method::Adam, oracle::Divisor::Second),
    (Method::NAdam, oracle::Divisor::Second),
    (Method::AdaGrad, oracle::Divisor::Only),
    (Method::RmsProp, oracle::Divisor::Only),
    (Method::Adamax, oracle::Divisor::Largest),
    (Method::Adadelta, oracle::Divisor::Ratio),
];

pub(super) fn divisors(session: &mut Session<'_>) -> Result<(), Error> {
    let sizes: &[(u32, u32)] = match session.is_full() {
        true => {
            &[(0, 5), (1, 1), (3, 5), (1, 63), (64, 4), (65, 9), (1, 257), (1, 4096), (1, 4097), (1, 100_003)]
        }
        false => &[(3, 5), (65, 9)],
    };
    let mut cases = Vec::new();
    for (method, rule) in DIVISORS {
        for (k, size) in sizes.iter().enumerate() {
            let profile = [Profile::Ordinary, Profile::Spread, Profile::Denormal, Profile::Zeros][k % 4];
            let state = session.matrix(
                Shape::new(method.rows(), 128 + 256 + Shape::new(size.0, size.1).stored() as u32),
                profile,
            );
            cases.push((method, rule, *size, profile.to_string(), state.map(f64::abs)));
        }
        for odd in NOT_FINITE {
            let mut state =
                session.matrix(Shape::new(method.rows(), 128 + 256 + 24), Profile::Ordinary).map(f64::abs);
            // The row under the root; a quotient by an infinity is whatever the driver makes of it.
            let row = if rule == oracle::Divisor::Ratio { 0 } else { state.rows() - 1 };
            state[(row, 128 + 256 + 9)] = odd;
            cases.push((method, rule, (3, 5), format!("{odd} in the state"), state));
        }
    }
    for (method, rule, size, what, state) in cases {
        one_divisor(session, (method, rule), size, &what, state)?;
    }
    Ok(())
}

/// Two matrices in a row, the second of this size, and what lies between them and pads their rows is not to be seen.
fn one_divisor(
    session: &mut Session<'_>,
    (method, rule): (Method, oracle::Divisor),
    (rows, columns): (u32, u32),
    what: &str,
    mut state: Matrix,
) -> Result<(), Error> {
    let places = [(0, Shape::new(2, 7)), (128 + 256, Shape::new(rows, columns))];
    let (mut is_own, mut totals) = (vec![false; state.cols()], Vec::new());
    let (mut chunks, mut ranges) = (Vec::new(), Vec::new());
    for (first, shape) in places {
        let column = |r: u32, c: u32| (first + r * shape.stride() + c) as usize;
        let own: Vec<_> =
            (0..shape.rows).flat_map(|r| (0..shape.columns).map(move |c| column(r, c))).collect();
        own.iter().for_each(|column| is_own[*column] = true);
        let weights = Matrix::from_fn(state.rows(), own.len(), |row, k| state[(row, own[k])]);
        totals.push(vec![oracle::divisors(rule, &midway(true), &weights)]);
        let pattern = NmPattern::new(1, 2)?;
        let place = kernel::Place { pattern, shape, w: first, t: 0, entry: 0 };
        let begin = chunks.len() as u32;
        chunks.extend(place.divisor_chunks()?);
        ranges.push([begin, chunks.len() as u32]);
    }
    for column in (0..state.cols()).filter(|column| !is_own[*column]) {
        (0..state.rows()).for_each(|row| state[(row, column)] = 1e30);
    }
    // A root 4.5 ULPs, twice, a quotient 2.5 and two sums for the ratio. A number that was flushed to zero is missing under a
    // root: at most 1.1e-19 for each weight, 1e19 of the smallest number.
    let weights = f64::from(rows * columns).max(14.0);
    let bound = Bound::roundings(14 + chunk_roundings(WG_SIZE)).amplified(1e19 * weights);
    let clock = midway(true);
    session.check(&format!("{}, {rows} × {columns}, {what}", method.name()), |call| {
        let expected = sums_of_each(1, ranges.clone(), totals.clone(), bound);
        let sums = call.output("sums", Shape::vector(chunks.len() as u32 + 1), expected)?;
        let (state, chunks) = (call.input("state", &state)?, read_chunks(call, &chunks)?);
        let clock = call.words("clock", &clock_words(&clock), Expected::Unchanged)?;
        kernel::divisors(&mut call.plan, method, &state, &chunks, &clock, &sums)
    })
}

pub(super) fn auto_rho(session: &mut Session<'_>) -> Result<(), Error> {
    let counts: &[u32] =
        if session.is_full() { &[0, 1, 3, 63, 64, 65, 257, 4096, 100_003] } else { &[0, 1, 257] };
    let clock = |steps: u32, rate: f64| {
        let verdict = running(steps, 1);
        Clock { verdict, rate, ..midway(true) }
    };
    for &count in counts {
        for profile in [Profile::Ordinary, Profile::Spread] {
            let sums = session.matrix(Shape::vector(count), profile).map(f64::abs);
            for (steps, rate) in [(20, 0.0625), (19, 0.0625), (1_000_000, 1e-6), (30, 0.0)] {
                one_rho(session, &format!("{count} of {profile}"), &sums, &clock(steps, single(rate)))?;
            }
        }
    }
    // Far from where the smallest normal number ends and the largest: no rounding decides whether ρ is one.
    for (what, sum) in [("zeros", 0.0), ("too little", 1e-37), ("too much", 3e38)] {
        let sums = Matrix::from_fn(1, 300, |_, _| single(sum / 200.0));
        let rate = if sum < 1.0 { 64.0 } else { 1e-6 };
        one_rho(session, what, &sums, &clock(50, single(rate)))?;
    }
    for odd in NOT_FINITE {
        let mut sums = session.matrix(Shape::vector(300), Profile::Ordinary).map(f64::abs);
        sums[(0, 299)] = odd;
        one_rho(session, &format!("{odd} in the last sum"), &sums, &clock(50, 0.5))?;
    }
    Ok(())
}

fn one_rho(session: &mut Session<'_>, case: &str, sums: &Matrix, clock: &Clock) -> Result<(), Error> {
    let ranges = three_ranges(sums.cols() as u32);
    let all = [(0.0, 40_000_001), (3.0, 12), (0.5, 700)].map(|(rho, weights)| oracle::Settings {
        rho,
        next_rho: rho,
        gain: 0.25,
        weights,
        ..SETTINGS
    });
    let total = |[first, end]: [u32; 2]| (first..end).map(|k| sums[(0, k as usize)]).sum::<f64>();
    let mut numbers = vec![None; all.len() * kernel::SETTINGS_LENGTH as usize];
    for (k, (range, settings)) in ranges.iter().zip(&all).enumerate() {
        let number = &mut numbers[k * kernel::SETTINGS_LENGTH as usize + kernel::NEXT_RHO as usize];
        *number = Some(oracle::auto_rho(settings, clock, total(*range)));
    }
    // Lanes and their tree, two quotients of 2.5 ULPs, a product, and the weights as a number.
    let bound = Bound::roundings(sums.cols().div_ceil(256) + 8 + 7);
    session.check(&format!("{case}, {} steps, rate {}", clock.verdict.steps, clock.rate), |call| {
        let words = settings_words(&all);
        let expected = mixed(words.clone(), numbers.clone(), bound);
        let settings = call.words("settings", &words, expected)?;
        let sums = call.input("sums", sums)?;
        let ranges = call.words("ranges", ranges.as_flattened(), Expected::Unchanged)?;
        let clock = call.words("clock", &clock_words(clock), Expected::Unchanged)?;
        kernel::auto_rho(&mut call.plan, &sums, &ranges, &clock, &settings)
    })
}

/// A projected matrix and its packed form, in some storage.
struct Example {
    case: String,
    shape: Shape,
    storage: StorageType,
    w: oracle::Projected,
    packed: oracle::Packed,
}

impl Example {
    /// A matrix of weights that is written in full and is then `after`, or is only read.
    fn weights(
        &self,
        call: &mut Call<'_>,
        (name, shape): (&'static str, Shape),
        weights: &Matrix,
        is_written: bool,
    ) -> Result<Tensor, Error> {
        let words = stored_words(self.storage, weights);
        let stored = (shape, self.storage);
        match is_written {
            true => call.stored(name, stored, &vec![0x7fff_7fff; words.len()], Expected::Words(words)),
            false => call.stored(name, stored, &words, Expected::Unchanged),
        }
    }
}

/// Every width of group in f32, and what words and weights of 16 bits may meet in.
fn examples(session: &mut Session<'_>, storages: &[StorageType]) -> Vec<(NmPattern, Example)> {
    let mut examples = Vec::new();
    for pattern in patterns(session) {
        for size in sizes(session, pattern) {
            let shape = shape(size, pattern);
            for profile in [Profile::Ordinary, Profile::Zeros, Profile::Denormal] {
                for storage in storages {
                    if profile == Profile::Ordinary || shape.elements() < 5_000 {
                        let (keep, group) = counts(pattern);
                        let w = session.matrix(shape, profile).map(|value| rounded(*storage, value));
                        let w = oracle::project(&w, keep, group);
                        let packed = oracle::pack(&w.value, &w.kept, (keep, group));
                        let case = format!("{pattern} in {storage:?}, {shape}, {profile}");
                        examples.push((pattern, Example { case, shape, storage: *storage, w, packed }));
                    }
                }
            }
        }
    }
    examples
}

/// Storages that differ in how weights are moved.
const WIDTHS: [StorageType; 2] = [StorageType::F32, StorageType::Bf16];

pub(super) fn pack(session: &mut Session<'_>) -> Result<(), Error> {
    for (pattern, example) in examples(session, &WIDTHS) {
        let Example { case, shape, w, packed, .. } = &example;
        session.check(case, |call| {
            let places = written_words(call, "places", pattern.places(*shape)?, &packed.places)?;
            let values = ("values", pattern.values(*shape)?);
            let values = example.weights(call, values, &packed.values, true)?;
            let mask = mask_words(&w.kept, &w.value, pattern);
            let mask = read_words(call, "mask", pattern.mask(*shape)?, &mask)?;
            let w = example.weights(call, ("w", *shape), &w.value, false)?;
            kernel::pack(&mut call.plan, pattern, &w, &mask, Packed { values: &values, places: &places })
        })?;
    }
    Ok(())
}

pub(super) fn unpack(session: &mut Session<'_>) -> Result<(), Error> {
    for (pattern, example) in examples(session, &WIDTHS) {
        let Example { case, shape, w, packed, .. } = &example;
        assert_eq!(oracle::unpack(packed, counts(pattern)), w.value, "the oracles undo each other");
        session.check(case, |call| {
            let places = read_words(call, "places", pattern.places(*shape)?, &packed.places)?;
            let values = ("values", pattern.values(*shape)?);
            let values = example.weights(call, values, &packed.values, false)?;
            let w = example.weights(call, ("w", *shape), &w.value, true)?;
            kernel::unpack(&mut call.plan, pattern, Packed { values: &values, places: &places }, &w)
        })?;
    }
    Ok(())
}

/// Every storage of packed values.
const STORAGES: [StorageType; 3] = [StorageType::F32, StorageType::Bf16, StorageType::F16];

pub(super) fn matmul_nm(session: &mut Session<'_>) -> Result<(), Error> {
    for (pattern, example) in examples(session, &STORAGES) {
        let Example { case, shape, packed, .. } = &example;
        // Part of a tile of samples, and more than one.
        let samples = if shape.elements() < 300 { &[6, 67][..] } else { &[6] };
        for &samples in samples {
            let left = session.matrix(Shape::new(samples, shape.columns), Profile::Ordinary);
            let expected = crate::reference::linalg::matmul_nm(&left, packed, counts(pattern));
            let bound = Bound::roundings(packed.values.cols() + 1);
            session.check(&format!("{case}, {samples} samples"), |call| {
                let places = read_words(call, "places", pattern.places(*shape)?, &packed.places)?;
                let values =
                    example.weights(call, ("values", pattern.values(*shape)?), &packed.values, false)?;
                let left = call.input("left", &left)?;
                let output = Shape::new(samples, shape.rows);
                let product = call.output("product", output, Expected::near(&expected, bound))?;
                let packed = Packed { values: &values, places: &places };
                linalg::matmul_nm(&mut call.plan, &left, pattern, packed, &product)
            })?;
        }
    }
    Ok(())
}

pub(super) fn matvec_nm(session: &mut Session<'_>) -> Result<(), Error> {
    for (pattern, example) in examples(session, &STORAGES) {
        let Example { case, shape, packed, .. } = &example;
        let x = session.matrix(Shape::vector(shape.columns), Profile::Ordinary);
        let expected = crate::reference::linalg::matvec_nm(&x, packed, counts(pattern));
        // However terms are put in brackets, none goes through more additions than there are others.
        let bound = Bound::roundings(packed.values.cols() + 1);
        session.check(case, |call| {
            let places = read_words(call, "places", pattern.places(*shape)?, &packed.places)?;
            let values = example.weights(call, ("values", pattern.values(*shape)?), &packed.values, false)?;
            let x = call.input("x", &x)?;
            let product =
                call.output("product", Shape::vector(shape.rows), Expected::near(&expected, bound))?;
            let packed = Packed { values: &values, places: &places };
            linalg::matvec_nm(&mut call.plan, &x, pattern, packed, &product)
        })?;
    }
    Ok(())
}
