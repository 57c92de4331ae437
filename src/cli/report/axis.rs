//! Axes with marks at round numbers, linear or logarithmic.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// How values are laid along an axis.
#[derive(Clone, Copy, PartialEq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By their logarithm; values that are not positive are left out.
    Logarithmic,
}

/// An axis that covers given values. What plotters draws along it are positions, not values.
#[derive(Clone)]
pub struct Axis {
    scale: Scale,
    /// The ends, as positions.
    range: Range<f64>,
    /// Where the marks are, and what is written there.
    marks: Vec<(f64, String)>,
}

/// Marks wanted; there may be a few more or less.
const MARKS: f64 = 6.0;

impl Axis {
    /// The axis on which all of `values` lie that can lie on it.
    pub fn covering(scale: Scale, values: impl IntoIterator<Item = f64>) -> Self {
        let positions = values.into_iter().filter_map(|value| scale.position(value));
        let ends = positions.fold(None, |ends, at| match ends {
            None => Some((at, at)),
            Some((low, high)) => Some((at.min(low), at.max(high))),
        });
        let (low, high) = ends.unwrap_or((0.0, 1.0));
        let room = (1e-6 * low.abs().max(high.abs())).max(1e-6); // more, and nothing would seem to vary
        let (low, high) = if high - low > room { (low, high) } else { (low - room, high + room) };
        let margin = 0.03 * (high - low);
        let range = low - margin..high + margin;
        let marks = match scale {
            Scale::Linear => even_marks(&range),
            Scale::Logarithmic => decade_marks(&range),
        };
        Self { scale, range, marks }
    }

    /// The axis from `first` to `last` whole numbers, a cell for each.
    pub fn counting(first: u32, last: u32) -> Self {
        let range = f64::from(first) - 0.5..f64::from(last) + 0.5;
        let mut marks = even_marks(&range);
        marks.retain(|(at, _)| at.fract() == 0.0);
        Self { scale: Scale::Linear, range, marks }
    }

    /// An axis of rows of height 1 with a name each, from the top.
    pub fn naming(names: impl DoubleEndedIterator<Item = String>) -> Self {
        let marks: Vec<_> = names.rev().enumerate().map(|(row, name)| (row as f64 + 0.5, name)).collect();
        Self { scale: Scale::Linear, range: 0.0..marks.len() as f64, marks }
    }

    /// Where a value lies, if it can.
    pub fn position(&self, value: f64) -> Option<f64> {
        self.scale.position(value)
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, position: &f64, limit: (i32, i32)) -> i32 {
        let share = (position - self.range.start) / (self.range.end - self.range.start);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.marks.iter().map(|(at, _)| *at).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, position: &f64) -> String {
        self.marks.iter().find(|(at, _)| at == position).map(|(_, label)| label.clone()).unwrap_or_default()
    }
}

impl Scale {
    fn position(self, value: f64) -> Option<f64> {
        match self {
            Self::Linear => Some(value).filter(|value| value.is_finite()),
            Self::Logarithmic => Some(value.log10()).filter(|position| position.is_finite()),
        }
    }
}

/// Multiples of 1, 2 or 5 times a power of ten.
fn even_marks(range: &Range<f64>) -> Vec<(f64, String)> {
    let wanted = (range.end - range.start) / MARKS;
    let power = 10_f64.powf(wanted.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= wanted);
    let step = step.unwrap_or(10.0 * power);
    let first = (range.start / step).ceil() as i64;
    let last = (range.end / step).floor() as i64;
    (first..=last).map(|k| k as f64 * step).map(|at| (at, linear_label(at, step))).collect()
}

/// Powers of ten, every so many if there are many, with their doubles and fivefolds if there are few.
fn decade_marks(range: &Range<f64>) -> Vec<(f64, String)> {
    let decades = range.end - range.start;
    let factors: &[f64] = if decades < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let every = (decades / (MARKS + 2.0)).ceil() as i64;
    let powers = (range.start.floor() as i64..=range.end as i64 + 1).filter(|power| power % every == 0);
    let mark = |power, factor: f64| (power as f64 + factor.log10(), logarithmic_label(factor, power));
    let marks = powers.flat_map(|power| factors.iter().map(move |factor| mark(power, *factor)));
    marks.filter(|(at, _)| range.contains(at)).collect()
}

fn linear_label(value: f64, step: f64) -> String {
    if !(1e-6..1e9).contains(&step) {
        return format!("{value:.2e}");
    }
    let digits = (-step.log10()).ceil().max(0.0) as usize;
    format!("{:.digits$}", if value == 0.0 { 0.0 } else { value })
}

/// `10³`, `2·10⁻⁴`.
fn logarithmic_label(factor: f64, power: i64) -> String {
    let exponent: String = power.to_string().chars().map(raised).collect();
    if factor == 1.0 { format!("10{exponent}") } else { format!("{factor}·10{exponent}") }
}

fn raised(character: char) -> char {
    match character {
        '-' => '⁻',
        digit => {
            digit.to_digit(10).and_then(|digit| "⁰¹²³⁴⁵⁶⁷⁸⁹".chars().nth(digit as usize)).unwrap_or(digit)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, values: &[f64]) -> Vec<String> {
        let axis = Axis::covering(scale, values.iter().copied());
        axis.marks.iter().map(|(at, _)| axis.format_ext(at)).collect()
    }

    #[test]
    fn marks_are_round() {
        assert_eq!(labels(Scale::Linear, &[0.0, 1.0]), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(Scale::Linear, &[1.0, 200.0]), ["0", "50", "100", "150", "200"]);
        assert_eq!(labels(Scale::Logarithmic, &[2e-3, 3e3]), ["10⁻²", "10⁻¹", "10⁰", "10¹", "10²", "10³"]);
        assert_eq!(labels(Scale::Logarithmic, &[150.0, 1100.0]), ["2·10²", "5·10²", "10³"]);
    }

    #[test]
    fn any_values_have_an_axis() {
        let cases: [&[f64]; 6] = [&[], &[f64::NAN], &[0.0], &[-3.0, 0.0], &[7.0, 7.0], &[1e30, -1e30]];
        for values in cases {
            for scale in [Scale::Linear, Scale::Logarithmic] {
                let axis = Axis::covering(scale, values.iter().copied());
                assert!(axis.range.start < axis.range.end && axis.marks.len() < 20, "{values:?}");
            }
        }
    }
}
