//! Cases of `kernels::nm`, and of the product with its packed form: every width of group, ties, and values that are not finite.

use half::{bf16, f16};

use super::call::{Call, Session};
use super::elementwise::NOT_FINITE;
use super::expected::{Bound, Expected, Verdict};
use super::optimizer::found_word;
use super::values::Profile;
use crate::Error;
use crate::engine::{Shape, StorageType, Tensor};
use crate::kernels::linalg;
use crate::kernels::nm::{self as kernel, NmPattern, Packed, Update};
use crate::reference::{Matrix, nm as oracle};

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

fn settings(call: &mut Call<'_>, leak: f64) -> Result<Tensor, Error> {
    let words = kernel::Settings { pull: 0.5, rho: 2.0, leak: leak as f32, left: 0.25 };
    call.words("settings", bytemuck::cast_slice(&[words]), Expected::Unchanged)
}

pub(super) fn admm_update(session: &mut Session<'_>) -> Result<(), Error> {
    for pattern in patterns(session) {
        for size in sizes(session, pattern) {
            let shape = shape(size, pattern);
            // Not denormals: a device may take w − t for zero, which changes what is the largest.
            for profile in [Profile::Ordinary, Profile::Zeros, Profile::Spread] {
                if profile == Profile::Ordinary || shape.elements() < 5_000 {
                    let (w, t) = (session.matrix(shape, profile), session.matrix(shape, profile));
                    one_update(session, pattern, shape, &profile.to_string(), (&w, &t))?;
                }
            }
        }
    }
    odd_updates(session)?;
    for (storage, pattern) in halves(session) {
        update_halves(session, storage, pattern)?;
    }
    Ok(())
}

/// A difference and its square, the sum over a `vec4`, the units of a group, four groups of a lane, the tree over 256 lanes.
fn sums_bound(pattern: NmPattern) -> Bound {
    Bound::roundings(2 + 3 + pattern.group() as usize + 4 + 8)
}

/// Where an update leaves its sums: those lists are as long as they must be.
fn lists<'c>(
    call: &mut Call<'c>,
    pattern: NmPattern,
    shape: Shape,
    after: &oracle::Updated,
) -> Result<[Tensor; 2], Error> {
    let count = kernel::partial_count(pattern, shape)?;
    let list = |totals: &[_; 4]| Expected::Sums {
        totals: totals.to_vec(),
        bound: sums_bound(pattern),
        first: 0,
        groups: count as usize,
    };
    let sums = call.output("sums", Shape::vector(4 * count), list(&after.sums))?;
    Ok([sums, call.output("counts", Shape::vector(4 * count), list(&after.counts))?])
}

fn one_update(
    session: &mut Session<'_>,
    pattern: NmPattern,
    shape: Shape,
    what: &str,
    (w, t): (&Matrix, &Matrix),
) -> Result<(), Error> {
    for leak in [1.0, 0.5] {
        let single = |value: f64| f64::from(value as f32);
        let after = oracle::admm_update(w, t, counts(pattern), leak, single);
        session.check(&format!("{pattern}, {shape}, {what}, leak {leak}"), |call| {
            let [sums, counts] = lists(call, pattern, shape, &after)?;
            let t = call.update("t", t, Expected::exactly(&after.t))?;
            let (w, settings) = (call.input("w", w)?, settings(call, leak)?);
            let update = Update { t: &t, sums: &sums, counts: &counts };
            kernel::admm_update(&mut call.plan, pattern, &w, &settings, update)
        })?;
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
            let after = oracle::admm_update(&w, &t, counts(pattern), 0.5, |value| f64::from(value as f32));
            session.check(&format!("{pattern}, {odd} in w[1, 6]"), |call| {
                let shown = Expected::Each(Box::new(|values, index| match values[2].is_finite() {
                    true if index == 2 => Verdict::Not("NaN or infinite".into()),
                    _ => Verdict::Near(0.0),
                }));
                let counted = Expected::Each(Box::new(|values, index| match values[2] == 1.0 {
                    false if index == 2 => Verdict::Not("1".into()),
                    _ => Verdict::Near(0.0),
                }));
                let sums = call.output("sums", Shape::vector(4), shown)?;
                let counts = call.output("counts", Shape::vector(4), counted)?;
                let t = call.update("t", &t, Expected::exactly(&after.t))?;
                let (w, settings) = (call.input("w", &w)?, settings(call, 0.5)?);
                let update = Update { t: &t, sums: &sums, counts: &counts };
                kernel::admm_update(&mut call.plan, pattern, &w, &settings, update)
            })?;
        }
    }
    Ok(())
}

fn update_halves(session: &mut Session<'_>, storage: StorageType, pattern: NmPattern) -> Result<(), Error> {
    for size in [(3, 5), (7, 17), (0, 5), (1, 1025)] {
        let shape = shape(size, pattern);
        let profile = Profile::Ordinary;
        let (w, t) =
            (half_matrix(session, storage, shape, profile), half_matrix(session, storage, shape, profile));
        let after = oracle::admm_update(&w, &t, counts(pattern), 0.75, |value| rounded(storage, value));
        session.check(&format!("{pattern} in {storage:?}, {shape}"), |call| {
            let [sums, counts] = lists(call, pattern, shape, &after)?;
            let expected = Expected::Words(stored_words(storage, &after.t));
            let t = call.stored("t", (shape, storage), &stored_words(storage, &t), expected)?;
            let w = call.stored("w", (shape, storage), &stored_words(storage, &w), Expected::Unchanged)?;
            let settings = settings(call, 0.75)?;
            let update = Update { t: &t, sums: &sums, counts: &counts };
            kernel::admm_update(&mut call.plan, pattern, &w, &settings, update)
        })?;
    }
    Ok(())
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
        let samples = if shape.elements() < 300 { &[6, 37][..] } else { &[6] };
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
