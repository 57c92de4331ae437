//! Oracles of `shaders/nm/`: N:M patterns, the update of ADMM in one tensor, and the packed form.

use super::dladmm::Status;
use super::first_order::Clock;
use super::{Bounded, Matrix};

/// Which weights of a row-major matrix are kept: the `keep` largest magnitudes of each group of columns, the first of equal
/// ones; NaN goes before everything.
///
/// # Panics
/// If the columns are not whole groups.
pub fn kept(w: &Matrix, keep: usize, group: usize) -> Vec<bool> {
    assert!(w.cols().is_multiple_of(group), "kept: {} columns in groups of {group}", w.cols());
    let mut kept = vec![false; w.data().len()];
    for (weights, kept) in w.data().chunks_exact(group).zip(kept.chunks_exact_mut(group)) {
        let mut order: Vec<usize> = (0..group).collect();
        // The sort is stable, so equal ones stay in order. NaN of either sign, made positive, is above infinity.
        order.sort_by(|&a, &b| weights[b].abs().total_cmp(&weights[a].abs()));
        order[..keep].iter().for_each(|&place| kept[place] = true);
    }
    kept
}

/// Words of a mask, row by row, without padding: whole groups from the lowest bit up.
pub fn mask_words(kept: &[bool], cols: usize, group: usize) -> Vec<Vec<u32>> {
    let bit = |(place, kept): (usize, &bool)| u32::from(*kept) << place;
    let word = |bits: &[bool]| bits.iter().enumerate().map(bit).sum();
    kept.chunks_exact(cols.max(1)).map(|row| row.chunks(32 / group * group).map(word).collect()).collect()
}

/// What a projection leaves.
#[derive(Debug, Clone)]
pub struct Projected {
    /// `w` where kept, else 0.
    pub value: Matrix,
    /// Which are kept.
    pub kept: Vec<bool>,
    /// The first weight that is infinite or NaN, counted row after row.
    pub found: Option<usize>,
}

/// Π(w).
///
/// # Panics
/// If the columns are not whole groups.
pub fn project(w: &Matrix, keep: usize, group: usize) -> Projected {
    let kept = kept(w, keep, group);
    let value = masked(w, &kept);
    Projected { value, kept, found: w.data().iter().position(|value| !value.is_finite()) }
}

fn masked(w: &Matrix, kept: &[bool]) -> Matrix {
    let values = w.data().iter().zip(kept).map(|(value, kept)| if *kept { *value } else { 0.0 });
    Matrix::new(w.rows(), w.cols(), values.collect())
}

/// What an update leaves.
#[derive(Debug, Clone)]
pub struct Updated {
    /// T'.
    pub t: Matrix,
    /// ‖w − Z'‖², ‖Z' − Z‖², ‖w‖², ‖w where not kept‖².
    pub sums: [Bounded<f64>; 4],
    /// ‖Z'‖², mask bits that changed, V that are infinite or NaN, 0.
    pub counts: [Bounded<f64>; 4],
}

/// The update of ADMM in the single tensor T = Z − U, with values rounded by `stored`.
///
/// # Panics
/// If the shapes differ or the columns are not whole groups.
pub fn admm_update(
    w: &Matrix,
    t: &Matrix,
    (keep, group): (usize, usize),
    leak: f64,
    stored: impl Fn(f64) -> f64,
) -> Updated {
    assert_eq!(w.shape(), t.shape(), "admm_update: shapes differ");
    let before = kept(t, keep, group);
    let pairs = w.data().iter().zip(t.data()).zip(&before);
    let v = pairs.map(|((w, t), kept)| if *kept { *w } else { stored(w - t) });
    let v = Matrix::new(w.rows(), w.cols(), v.collect());
    let after = kept(&v, keep, group);
    let z = masked(&v, &after);
    let z_before = masked(t, &before);
    let mut next = Matrix::zeros(w.rows(), w.cols());
    let (mut sums, mut counts) = ([Bounded::ZERO; 4], [Bounded::ZERO; 4]);
    for (k, kept) in after.iter().enumerate() {
        let (w, v, z, z_before) = (w.data()[k], v.data()[k], z.data()[k], z_before.data()[k]);
        next.data_mut()[k] = if *kept { v } else { stored(-leak * v) };
        sums[0].add_square(w - z, w.abs() + z.abs());
        sums[1].add_square(z - z_before, z.abs() + z_before.abs());
        sums[2].add(w * w);
        sums[3].add(if *kept { 0.0 } else { w * w });
        counts[0].add(z * z);
        counts[1].add(f64::from(u8::from(*kept != before[k])));
        counts[2].add(f64::from(u8::from(!v.is_finite())));
    }
    Updated { t: next, sums, counts }
}

/// The settings of a matrix that its updates depend on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// ρ until now.
    pub rho: f64,
    /// ρ from this update on.
    pub next_rho: f64,
    /// δ.
    pub leak: f64,
    /// κ/interval of an automatic ρ, else 0.
    pub gain: f64,
    /// Steps before that is chosen.
    pub free_steps: u32,
    /// Of the matrix.
    pub weights: u32,
}

impl Settings {
    /// c: what an update leaves of U, which is the dual over ρ. Without a penalty there is no dual.
    pub fn left_of_dual(&self) -> f64 {
        match self.rho {
            rho if rho != self.next_rho => (self.leak * rho / self.next_rho).min(1.0),
            rho if rho == 0.0 && self.gain > 0.0 => 0.0,
            _ => self.leak,
        }
    }
}

/// Sums of partial ones, matrix by matrix, with ρ in the last place of each second row; the status after them.
///
/// Row 2 g + m of `partials` holds what chunk g left in list m; `ranges` has first chunk and past the last of each matrix.
pub fn measure(
    partials: &Matrix,
    ranges: &[[u32; 2]],
    settings: &[Settings],
    status: Status,
) -> (Bounded<Matrix>, Status) {
    let measures = Bounded::from_fn(2 * ranges.len(), 4, |row, col| {
        let [first, end] = ranges[row / 2];
        if (row % 2, col) == (1, 3) {
            return Bounded { value: settings[row / 2].next_rho, magnitude: 0.0 };
        }
        let mut sum = Bounded::ZERO;
        (first..end).for_each(|chunk| sum.add(partials[(2 * chunk as usize + row % 2, col)]));
        sum
    });
    let is_finite = |k: &usize| {
        (0..4).all(|col| {
            measures.value[(2 * k, col)].is_finite() && measures.value[(2 * k + 1, col)].is_finite()
        })
    };
    let first = (0..ranges.len()).find(|k| !is_finite(k));
    let after = first.map_or(status, |k| status.after_seeing(f64::NAN, k as u32 + 1));
    (measures, Status { iteration: status.iteration + 1, ..after })
}

/// What a method divides a gradient by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Divisor {
    /// √v̂ of Adam, AdamW and NAdam.
    Second,
    /// √s of AdaGrad and RMSProp.
    Only,
    /// u of Adamax.
    Largest,
    /// √(s + ε)/√(a + ε) of Adadelta.
    Ratio,
}

/// Sum of what a method divides by, over parameters that each have a column in the rows of its state; 0 before its first
/// step.
pub fn divisors(rule: Divisor, clock: &Clock, state: &Matrix) -> Bounded<f64> {
    let mut sum = Bounded::ZERO;
    let seen = if clock.verdict.steps > 0 { state.cols() } else { 0 };
    for col in 0..seen {
        let row = |row: usize| state[(row, col)];
        sum.add(match rule {
            Divisor::Second => clock.scale_second * row(1).sqrt(),
            Divisor::Only => row(0).sqrt(),
            Divisor::Largest => row(1),
            Divisor::Ratio => ((row(0) + clock.epsilon) / (row(1) + clock.epsilon)).sqrt(),
        });
    }
    sum
}

/// The ρ from this update on: κ/interval times the mean of the divisors over the learning rate, if it is due and a number
/// above 0 that f32 has with all its digits.
pub fn auto_rho(settings: &Settings, clock: &Clock, sum: f64) -> f64 {
    let rho = settings.gain * sum / f64::from(settings.weights) / clock.rate;
    let is_due = clock.verdict.steps >= settings.free_steps && clock.rate > 0.0;
    let is_number = rho > 0.0 && (rho as f32).is_normal();
    if is_due && is_number { rho } else { settings.next_rho }
}

/// A packed matrix: rows of kept weights, and of the words of their places.
#[derive(Debug, Clone, PartialEq)]
pub struct Packed {
    /// Kept weights.
    pub values: Matrix,
    /// Words of a row, without padding.
    pub places: Vec<Vec<u32>>,
}

/// Bits of a place.
fn place_bits(group: usize) -> usize {
    (usize::BITS - (group - 1).leading_zeros()) as usize
}

/// The packed form of `w`.
///
/// # Panics
/// If `kept` does not keep `keep` of each group.
pub fn pack(w: &Matrix, kept: &[bool], (keep, group): (usize, usize)) -> Packed {
    let (bits, entries) = (place_bits(group), w.cols() / group * keep);
    let (mut values, mut places) = (Vec::new(), Vec::new());
    for (row, kept) in kept.chunks_exact(w.cols().max(1)).enumerate() {
        let columns: Vec<usize> = (0..w.cols()).filter(|&column| kept[column]).collect();
        assert_eq!(columns.len(), entries, "pack: entries of row {row}");
        let mut words = vec![0; (entries * bits).div_ceil(32)];
        for (entry, column) in columns.into_iter().enumerate() {
            values.push(w[(row, column)]);
            for bit in 0..bits {
                let at = entry * bits + bit;
                words[at / 32] |= ((((column % group) >> bit) & 1) as u32) << (at % 32);
            }
        }
        places.push(words);
    }
    Packed { values: Matrix::new(w.rows(), entries, values), places }
}

/// The matrix that a packed form stands for.
///
/// # Panics
/// If a row has too few words.
pub fn unpack(packed: &Packed, (keep, group): (usize, usize)) -> Matrix {
    let (bits, entries) = (place_bits(group), packed.values.cols());
    let mut w = Matrix::zeros(packed.values.rows(), entries / keep * group);
    for (row, words) in packed.places.iter().enumerate() {
        for entry in 0..entries {
            let bit = |k: usize| (words[(entry * bits + k) / 32] >> ((entry * bits + k) % 32) & 1) as usize;
            let place: usize = (0..bits).map(|k| bit(k) << k).sum();
            w[(row, entry / keep * group + place)] = packed.values[(row, entry)];
        }
    }
    w
}
