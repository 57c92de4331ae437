//! What an operand should hold after a call, and how far from it the words that were read back are.

use crate::reference::{Bounded, Matrix};

/// How far a result may be from the oracle's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    /// Roundings on the longest way from an operand to the result.
    roundings: f64,
    /// By what a value that was flushed to zero is multiplied at most on its way.
    amplification: f64,
}

impl Bound {
    /// For so many roundings in a row.
    pub fn roundings(count: usize) -> Self {
        Self { roundings: count as f64, amplification: 1.0 }
    }

    /// Where small numbers are divided by smaller ones: flushing them to zero costs so much more.
    pub fn amplified(self, amplification: f64) -> Self {
        Self { amplification, ..self }
    }

    /// The largest error allowed of a result of this magnitude: its roundings, and three operands or results that
    /// were flushed to zero besides one for each rounding.
    pub fn slack(self, magnitude: f64) -> f64 {
        let smallest = f64::from(f32::MIN_POSITIVE) * self.amplification;
        self.roundings * f64::from(f32::EPSILON) * magnitude + (self.roundings + 3.0) * smallest
    }

    /// The error of `actual`, as a share of what is allowed.
    pub fn share(self, actual: f64, expected: f64, magnitude: f64) -> f64 {
        if actual == expected {
            return 0.0;
        }
        let share = (actual - expected).abs() / self.slack(magnitude);
        if share.is_nan() { f64::INFINITY } else { share }
    }
}

/// Judges one element, given all of them and its index.
type Judge<'e> = Box<dyn Fn(&[f32], usize) -> Verdict + 'e>;

/// What an operand should hold.
pub(super) enum Expected<'e> {
    /// What it held before.
    Unchanged,
    /// From element `first` on the oracle's values, and elsewhere what it held before.
    Near { value: &'e Bounded<Matrix>, bound: Bound, first: usize },
    /// In groups of as many elements as there are totals, `groups` of them from group `first` on, terms of these
    /// totals; elsewhere what it held before.
    Sums { totals: Vec<Bounded<f64>>, bound: Bound, first: usize, groups: usize },
    /// For each element, given all of them and its index, its share of the allowed error or what it should be.
    Each(Judge<'e>),
    /// These words.
    Words(Vec<u32>),
    /// The same bits as the operand of this name.
    SameAs(&'static str),
}

/// What is said of one element.
pub(super) enum Verdict {
    /// The error's share of what is allowed.
    Near(f64),
    /// It should be something else.
    Not(String),
}

impl<'e> Expected<'e> {
    /// The oracle's values, in every element.
    pub fn near(value: &'e Bounded<Matrix>, bound: Bound) -> Self {
        Self::Near { value, bound, first: 0 }
    }

    /// These values, bit for bit, save that denormals may be zero.
    pub fn exactly(value: &'e Matrix) -> Self {
        Self::Each(Box::new(|values, index| {
            let (actual, expected) = (values[index], value.data()[index] as f32);
            let flushed = actual == 0.0 && !expected.is_normal();
            if actual == expected || flushed || (actual.is_nan() && expected.is_nan()) {
                return Verdict::Near(0.0);
            }
            Verdict::Not(expected.to_string())
        }))
    }

    /// NaN or infinite where `is_hit` says so, and elsewhere near the oracle's values.
    pub fn not_finite(value: &'e Bounded<Matrix>, bound: Bound, is_hit: impl Fn(usize) -> bool + 'e) -> Self {
        Self::Each(Box::new(move |values, index| match (is_hit(index), values[index].is_finite()) {
            (true, false) => Verdict::Near(0.0),
            (true, true) => Verdict::Not("NaN or infinite".into()),
            (false, _) => {
                Verdict::of(values[index], value.value.data()[index], value.magnitude.data()[index], bound)
            }
        }))
    }

    /// The oracle's values, save where `is_open` says that anything will do.
    pub fn but_where(value: &'e Bounded<Matrix>, bound: Bound, is_open: impl Fn(usize) -> bool + 'e) -> Self {
        Self::Each(Box::new(move |values, index| match is_open(index) {
            true => Verdict::Near(0.0),
            false => {
                Verdict::of(values[index], value.value.data()[index], value.magnitude.data()[index], bound)
            }
        }))
    }
}

impl Verdict {
    /// What is said of an element with an oracle's value.
    pub fn of(actual: f32, expected: f64, magnitude: f64, bound: Bound) -> Self {
        let share = bound.share(actual.into(), expected, magnitude);
        if share <= 1.0 {
            return Self::Near(share);
        }
        let distance = ulps(actual, expected as f32);
        Self::Not(format!("{expected:e} ({distance} ULPs off, {} times what is allowed)", short(share)))
    }
}

/// A share in few digits.
fn short(share: f64) -> String {
    if share < 1e4 { format!("{share:.1}") } else { format!("{share:.0e}") }
}

/// How many f32 numbers apart two are.
pub(super) fn ulps(a: f32, b: f32) -> u64 {
    let place = |x: f32| {
        let magnitude = i64::from(x.to_bits() & 0x7fff_ffff);
        if x.is_sign_negative() { -magnitude } else { magnitude }
    };
    place(a).abs_diff(place(b))
}

/// An operand as it was read back, rows of `columns` values padded to `stride`.
pub(super) struct Outcome<'o> {
    pub name: &'static str,
    pub columns: usize,
    pub stride: usize,
    pub before: &'o [u32],
    pub after: &'o [u32],
}

impl Outcome<'_> {
    /// The largest share of what is allowed, or what is wrong. [`Expected::SameAs`] is for the caller to judge.
    pub fn judge(&self, expected: &Expected<'_>) -> Result<f64, String> {
        match expected {
            Expected::Unchanged => self.expect_words(self.before, 0..self.before.len()),
            Expected::Words(words) => self.expect_words(words, 0..words.len()),
            Expected::SameAs(_) => Ok(0.0),
            Expected::Near { value, bound, first } => self.judge_near(value, *bound, *first),
            Expected::Sums { totals, bound, first, groups } => {
                self.judge_sums(totals, *bound, *first, *groups)
            }
            Expected::Each(verdict) => self.judge_each(verdict),
        }
    }

    fn judge_near(&self, value: &Bounded<Matrix>, bound: Bound, first: usize) -> Result<f64, String> {
        let written = first..first + value.value.data().len();
        let values = self.unpadded(self.after);
        let mut worst = 0.0f64;
        for (i, index) in written.clone().enumerate() {
            let (expected, magnitude) = (value.value.data()[i], value.magnitude.data()[i]);
            worst = worst.max(self.accept(
                values[index],
                index,
                Verdict::of(values[index], expected, magnitude, bound),
            )?);
        }
        self.expect_rest(&values, written)?;
        Ok(worst)
    }

    fn judge_sums(
        &self,
        totals: &[Bounded<f64>],
        bound: Bound,
        first: usize,
        groups: usize,
    ) -> Result<f64, String> {
        let values = self.unpadded(self.after);
        let written = first * totals.len()..(first + groups) * totals.len();
        let mut worst = 0.0f64;
        for (k, total) in totals.iter().enumerate() {
            let terms = values[written.clone()].iter().skip(k).step_by(totals.len());
            let sum: f64 = terms.map(|term| f64::from(*term)).sum();
            let share = bound.share(sum, total.value, total.magnitude);
            if share > 1.0 {
                let Self { name, .. } = self;
                let (expected, share) = (total.value, short(share));
                return Err(format!(
                    "the {groups} terms of `{name}` add up to {sum:e} in place {k} but should to {expected:e} \
                     ({share} times what is allowed)"
                ));
            }
            worst = worst.max(share);
        }
        self.expect_rest(&values, written)?;
        Ok(worst)
    }

    fn judge_each(&self, verdict: &dyn Fn(&[f32], usize) -> Verdict) -> Result<f64, String> {
        let values = self.unpadded(self.after);
        let mut worst = 0.0f64;
        for index in 0..values.len() {
            worst = worst.max(self.accept(values[index], index, verdict(&values, index))?);
        }
        self.expect_padding(|row| {
            values[row * self.columns..(row + 1) * self.columns].iter().all(|v| v.is_finite())
        })?;
        Ok(worst)
    }

    fn accept(&self, actual: f32, index: usize, verdict: Verdict) -> Result<f64, String> {
        match verdict {
            Verdict::Near(share) => Ok(share),
            Verdict::Not(expected) => {
                Err(format!("{} is {actual:e} but should be {expected}", self.place(index)))
            }
        }
    }

    /// Elements outside `written` must be as before; rows inside it must be padded with zeros.
    fn expect_rest(&self, values: &[f32], written: std::ops::Range<usize>) -> Result<(), String> {
        let before = self.unpadded(self.before);
        let stray = (0..values.len())
            .find(|index| !written.contains(index) && values[*index].to_bits() != before[*index].to_bits());
        if let Some(index) = stray {
            return Err(format!("{} is not to be written but became {:e}", self.place(index), values[index]));
        }
        self.expect_padding(|row| {
            written.contains(&(row * self.columns)) && written.end >= (row + 1) * self.columns
        })
    }

    fn expect_padding(&self, is_written: impl Fn(usize) -> bool) -> Result<(), String> {
        let rows = self.after.chunks_exact(self.stride.max(1)).enumerate();
        for (row, words) in rows.filter(|(row, _)| self.columns > 0 && is_written(*row)) {
            if let Some(k) = words[self.columns..].iter().position(|word| f32::from_bits(*word) != 0.0) {
                let value = f32::from_bits(words[self.columns + k]);
                return Err(format!(
                    "padding {k} after row {row} of `{}` is {value:e} but should be 0",
                    self.name
                ));
            }
        }
        Ok(())
    }

    fn expect_words(&self, expected: &[u32], range: std::ops::Range<usize>) -> Result<f64, String> {
        match range.clone().find(|index| self.after[*index] != expected[*index]) {
            None => Ok(0.0),
            Some(index) => {
                let (actual, expected) = (self.after[index], expected[index]);
                Err(format!(
                    "word {index} of `{}` is {actual:#010x} but should be {expected:#010x}",
                    self.name
                ))
            }
        }
    }

    fn unpadded(&self, words: &[u32]) -> Vec<f32> {
        let rows = words.chunks_exact(self.stride.max(1));
        rows.flat_map(|row| row[..self.columns].iter().map(|word| f32::from_bits(*word))).collect()
    }

    fn place(&self, index: usize) -> String {
        let columns = self.columns.max(1);
        format!("`{}`[{}, {}]", self.name, index / columns, index % columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 2 × 3 operand that held NaN and now holds these words.
    fn judge(after: [f32; 8], expected: &Expected<'_>) -> Result<f64, String> {
        let words = after.map(f32::to_bits);
        let before = [f32::NAN.to_bits(); 8];
        Outcome { name: "y", columns: 3, stride: 4, before: &before, after: &words }.judge(expected)
    }

    fn ones() -> Bounded<Matrix> {
        let ones = Matrix::new(2, 3, vec![1.0; 6]);
        Bounded { value: ones.clone(), magnitude: ones }
    }

    #[test]
    fn a_value_off_by_more_than_its_bound_is_named() {
        let expected = ones();
        let near = Expected::near(&expected, Bound::roundings(2));
        let one_off = 1.0f32.next_up();
        assert_eq!(judge([1.0, 1.0, one_off, 0.0, 1.0, 1.0, 1.0, 0.0], &near), Ok(0.5));
        let complaint =
            judge([1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0 + 4.0 * f32::EPSILON, 0.0], &near).unwrap_err();
        assert!(complaint.contains("`y`[1, 2]") && complaint.contains("4 ULPs"), "{complaint}");
        assert!(judge([1.0, f32::NAN, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0], &near).is_err());
    }

    #[test]
    fn padding_and_untouched_elements_are_watched() {
        let expected = ones();
        let near = Expected::near(&expected, Bound::roundings(1));
        let complaint = judge([1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 7.0], &near).unwrap_err();
        assert!(complaint.contains("padding 0 after row 1"), "{complaint}");
        let row =
            Bounded { value: Matrix::new(1, 3, vec![1.0; 3]), magnitude: Matrix::new(1, 3, vec![1.0; 3]) };
        let second_row = Expected::Near { value: &row, bound: Bound::roundings(1), first: 3 };
        let nan = f32::NAN;
        assert_eq!(judge([nan, nan, nan, nan, 1.0, 1.0, 1.0, 0.0], &second_row), Ok(0.0));
        let complaint = judge([nan, 2.0, nan, nan, 1.0, 1.0, 1.0, 0.0], &second_row).unwrap_err();
        assert!(complaint.contains("`y`[0, 1]"), "{complaint}");
    }

    #[test]
    fn sums_are_of_the_written_groups() {
        let total = |value| Bounded { value, magnitude: value };
        let sums = |first, groups| {
            let totals = vec![total(3.0), total(5.0)];
            Expected::Sums { totals, bound: Bound::roundings(1), first, groups }
        };
        let nan = f32::NAN;
        // Groups of two, in 2 × 3 values: (1, 2), (2, 3), untouched.
        let after = [1.0, 2.0, 2.0, 0.0, 3.0, nan, nan, nan];
        assert_eq!(judge(after, &sums(0, 2)), Ok(0.0));
        assert!(judge(after, &sums(0, 1)).is_err());
        assert!(judge(after, &sums(1, 2)).is_err());
    }

    #[test]
    fn ulps_cross_zero() {
        assert_eq!(ulps(1.0, 1.0), 0);
        assert_eq!(ulps(1.0, 1.0f32.next_up()), 1);
        assert_eq!(ulps(0.0, -0.0), 0);
        assert_eq!(ulps(0.0f32.next_up(), 0.0f32.next_down()), 2);
    }
}
