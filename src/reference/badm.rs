//! Oracles of `shaders/badm/`: the eliminated form of BADM in float64, and how its state is stored in 16 bits.

use super::optimizer::{Schedule, Verdict};
use super::{Bounded, Matrix};

/// The least second moment.
pub const FLOOR: f64 = 1e-30;

/// Settings of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// ρ.
    pub rho: f64,
    /// σ.
    pub sigma: f64,
    /// β.
    pub beta: f64,
    /// ε, outside the root.
    pub epsilon: f64,
    /// Whether second moments are corrected for starting at zero.
    pub is_corrected: bool,
    /// What 1/σ is multiplied by.
    pub schedule: Schedule,
}

/// What second moments are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Of π².
    Dual,
    /// Of g².
    Gradient,
    /// Of π², not used.
    Off,
}

/// What all parameters share for one slot.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Slot {
    /// Steps in which it took part.
    pub steps: u32,
    /// k.
    pub correction: f64,
    /// c_n/σ times the schedule's factor.
    pub scale: f64,
}

/// What all parameters share in one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Clock {
    /// Whether the step is taken.
    pub verdict: Verdict,
    /// r.
    pub keep: f64,
    /// 1 − r.
    pub turn: f64,
    /// 1 − β.
    pub blend: f64,
    /// ε.
    pub epsilon: f64,
    /// All slots.
    pub slots: Vec<Slot>,
}

/// Opens a step of the slots from `first` on, with `weights` c_n, on gradients whose first unusable element is `found`.
pub fn clock(
    settings: &Settings,
    before: &Clock,
    weights: &[f64],
    first: usize,
    found: Option<u32>,
) -> Clock {
    let verdict = before.verdict.after(found);
    if !verdict.go {
        return Clock { verdict, ..before.clone() };
    }
    let Settings { rho, sigma, beta, epsilon, .. } = *settings;
    let mut slots = before.slots.clone();
    for (slot, weight) in slots[first..].iter_mut().zip(weights) {
        let steps = slot.steps + 1;
        let correction = if settings.is_corrected { 1.0 / (1.0 - beta.powf(f64::from(steps))) } else { 1.0 };
        let scale = weight / sigma * settings.schedule.factor(verdict.steps - 1);
        *slot = Slot { steps, correction, scale };
    }
    Clock {
        verdict,
        keep: rho / (rho + sigma),
        turn: sigma / (rho + sigma),
        blend: 1.0 - beta,
        epsilon,
        slots,
    }
}

/// Parameters, duals and second moments.
#[derive(Debug, Clone, PartialEq)]
pub struct State<T> {
    /// A row for each sub-batch.
    pub pi: T,
    /// A row for each sub-batch.
    pub m: T,
    /// One row.
    pub w: T,
}

/// One step of as many sub-batches as `gradients` has rows, where the clock lets it: of the slots from `first` on, whose duals
/// are the rows from `row` on. `stored` is what storing a dual at a row and column makes of it.
///
/// Magnitudes are to first order: a root halves what is under it.
///
/// # Panics
/// If the shapes differ.
pub fn step(
    moment: Moment,
    clock: &Clock,
    (first, row): (usize, usize),
    gradients: &Matrix,
    before: &State<Matrix>,
    stored: impl Fn(f64, usize, usize) -> f64,
) -> State<Bounded<Matrix>> {
    assert_eq!((before.pi.shape(), before.w.cols()), (before.m.shape(), gradients.cols()), "step: shapes");
    let kept = |matrix: &Matrix| Bounded {
        value: matrix.clone(),
        magnitude: Matrix::zeros(matrix.rows(), matrix.cols()),
    };
    let mut after = State { pi: kept(&before.pi), m: kept(&before.m), w: kept(&before.w) };
    if !clock.verdict.go {
        return after;
    }
    for column in 0..gradients.cols() {
        let mut w = Bounded::ZERO;
        w.add(before.w[(0, column)]);
        for n in 0..gradients.rows() {
            let slot = clock.slots[first + n];
            let place = (row + n, column);
            let (g, pi, m) = (gradients[(n, column)], before.pi[place], before.m[place]);
            let dual = clock.keep * pi - clock.turn * g;
            let dual_magnitude = clock.keep * pi.abs() + clock.turn * g.abs();
            let (h, h_magnitude) =
                if moment == Moment::Gradient { (g, g.abs()) } else { (dual, dual_magnitude) };
            let moved = m + clock.blend * (h * h - m);
            let moment_magnitude = m + clock.blend * (2.0 * h.abs() * h_magnitude + m);
            let next = moved.max(FLOOR);
            let size = (next * slot.correction).sqrt() + clock.epsilon;
            let difference = stored(dual, place.0, column) - pi;
            w.add_bounded(slot.scale * difference, slot.scale * (dual_magnitude + pi.abs()));
            let share = moment_magnitude.max(next) / next;
            let (unit, unit_magnitude) = match moment {
                Moment::Off => (dual, dual_magnitude),
                _ => (dual / size, dual_magnitude / size + (dual / size).abs() * share),
            };
            w.add_bounded(slot.scale * unit, slot.scale * unit_magnitude);
            (after.pi.value[place], after.pi.magnitude[place]) = (dual, dual_magnitude);
            (after.m.value[place], after.m.magnitude[place]) = (next, moment_magnitude.max(next));
        }
        (after.w.value[(0, column)], after.w.magnitude[(0, column)]) = (w.value, w.magnitude);
    }
    after
}

/// [`step`] by gradients in matrices of one row each.
///
/// # Panics
/// If the shapes differ.
pub fn step_apart(
    moment: Moment,
    clock: &Clock,
    places: (usize, usize),
    gradients: &[Matrix],
    before: &State<Matrix>,
    stored: impl Fn(f64, usize, usize) -> f64,
) -> State<Bounded<Matrix>> {
    assert!(gradients.iter().all(|gradient| gradient.rows() == 1), "step_apart: one row each");
    let rows = Matrix::from_fn(gradients.len(), before.w.cols(), |row, column| gradients[row][(0, column)]);
    step(moment, clock, places, &rows, before, stored)
}

/// The bf16 below `value` in magnitude, or the one above where the 16 bits of `random` carry it there.
pub fn to_bf16(value: f32, random: u32) -> u16 {
    let bits = value.to_bits();
    if !value.is_finite() {
        let quiet = if value.is_nan() { 0x40 } else { 0 };
        return (bits >> 16) as u16 | quiet;
    }
    ((bits + (random & 0xffff)) >> 16) as u16
}

/// The same for f16, whose smallest step is 2⁻²⁴.
pub fn to_f16(value: f32, random: u32) -> u16 {
    let sign = (value.to_bits() >> 16) as u16 & 0x8000;
    let (size, bits) = (value.abs(), value.abs().to_bits());
    let half = if value.is_nan() {
        0x7e00
    } else if size >= 65536.0 {
        0x7c00
    } else if size < 2f32.powi(-14) {
        (size * 2f32.powi(24) + (random & 0x1fff) as f32 / 8192.0).floor() as u16
    } else {
        (((bits + (random & 0x1fff)) >> 13) - (112 << 10)).min(0x7c00) as u16
    };
    sign | half
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    /// Over all random bits, the mean of what is stored is what was to be stored.
    #[test]
    fn storing_is_right_on_average() {
        for value in [1.0f32, -0.3, 1e-3, 3.7e-6, -9e-8, 123.456, 3e-20] {
            let mean = |store: &dyn Fn(u32) -> f64| (0..65536).map(store).sum::<f64>() / 65536.0;
            let wide = mean(&|random| bf16::from_bits(to_bf16(value, random)).to_f64());
            let half = mean(&|random| f16::from_bits(to_f16(value, random)).to_f64());
            let value = f64::from(value);
            assert!((wide - value).abs() <= 1e-6 * value.abs(), "{value} as bf16 is {wide}");
            // Thirteen random bits resolve a step of f16, 2^-10 of the value or 2^-24, to 2^-13 of itself.
            let allowed = value.abs() * 2f64.powi(-23) + 2f64.powi(-37);
            assert!((half - value).abs() <= allowed, "{value} as f16 is {half}");
        }
    }

    #[test]
    fn storing_what_fits_changes_nothing() {
        for bits in 0..=u16::MAX {
            let (wide, half) = (bf16::from_bits(bits), f16::from_bits(bits));
            if !wide.is_nan() {
                assert_eq!(to_bf16(wide.to_f32(), 0xffff), bits, "{wide}");
            }
            if !half.is_nan() {
                assert_eq!(to_f16(half.to_f32(), 0xffff), bits, "{half}");
            }
        }
    }
}
