//! The curves of a report: which quantities, in which colours, under which names.

use dualstep::solvers::dladmm::{Record, Scores};
use plotters::style::RGBColor;

use super::axis::Scale;
use super::chart::{self, Band, Line, Words};
use crate::cli::Failure;
use crate::cli::train::{Entry, History};

/// A drawn curve.
pub struct Curve {
    /// Of its file, without the ending.
    pub name: &'static str,
    /// What it shows.
    pub title: &'static str,
    /// The drawing.
    pub svg: String,
}

/// Told apart by colour-blind readers, too (Okabe and Ito); the palest are left out.
pub const COLOURS: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x00, 0x00, 0x00),
];

/// From few to many: dark and light tell as much as hue does.
const SHADES: [RGBColor; 5] = [
    RGBColor(0xfd, 0xe7, 0x25),
    RGBColor(0x5e, 0xc9, 0x62),
    RGBColor(0x21, 0x91, 0x8c),
    RGBColor(0x3b, 0x52, 0x8b),
    RGBColor(0x44, 0x01, 0x54),
];

/// Points per line: a chart is fewer pixels wide.
const MOST_POINTS: usize = 1_000;
/// Entries of the legend of doublings.
const MOST_SHADES: u32 = 12;

/// Draws all curves of a history that is not empty.
pub fn draw(history: &History) -> Result<Vec<Curve>, Failure> {
    let entries = &thinned(history.entries());
    let layers = entries.first().map_or(0, |entry| entry.record.residuals.len());
    let accuracy = |scores: Scores| scores.accuracy.map_or(f64::NAN, |share| 100.0 * f64::from(share));
    let cost = |scores: Scores| f64::from(scores.cost);
    let sizes = |record: &Record| [f64::from(record.objective), f64::from(record.loss)];
    let mut residuals = Vec::new();
    for l in 1..=layers {
        residuals.push(line(entries, format!("|r{l}|²"), l - 1, |record| {
            record.residuals.get(l - 1).map(|it| f64::from(*it))
        }));
    }
    for l in 1..layers {
        let colour = layers + l - 1;
        residuals.push(line(entries, format!("|a{l} − f(z{l})|²"), colour, |record| {
            record.gaps.get(l - 1).map(|it| f64::from(*it))
        }));
    }
    let mut curves = vec![
        curve("accuracy", "Accuracy", "% of samples", Scale::Linear, &scores(entries, accuracy))?,
        curve("cost", "Mean cross-entropy", "nats per sample", Scale::Linear, &scores(entries, cost))?,
    ];
    if layers == 0 {
        return Ok(curves); // trained by gradients
    }
    let objective = [
        line(entries, "objective".into(), 0, |record| Some(sizes(record)[0])),
        line(entries, "loss".into(), 1, |record| Some(sizes(record)[1])),
    ];
    curves.extend([
        curve(
            "objective",
            "Augmented Lagrangian and loss",
            "sum over samples",
            Scale::Logarithmic,
            &objective,
        )?,
        curve("residuals", "Constraint residuals", "sum of squares", Scale::Logarithmic, &residuals)?,
        exponents(entries, layers)?,
    ]);
    Ok(curves)
}

fn curve(
    name: &'static str,
    title: &'static str,
    unit: &str,
    scale: Scale,
    lines: &[Line],
) -> Result<Curve, Failure> {
    let words = Words { title, vertical: unit, horizontal: "iteration" };
    Ok(Curve { name, title, svg: chart::lines(&words, scale, lines)? })
}

/// Every so many entries, so that few enough are left, and the last.
fn thinned(entries: &[Entry]) -> Vec<&Entry> {
    let every = entries.len().div_ceil(MOST_POINTS).max(1);
    let last = entries.len().saturating_sub(1);
    entries.iter().enumerate().filter(|(k, _)| k % every == 0 || *k == last).map(|(_, entry)| entry).collect()
}

/// The line of one quantity; iterations that lack it are passed over.
fn line(entries: &[&Entry], name: String, colour: usize, value: impl Fn(&Record) -> Option<f64>) -> Line {
    let points =
        entries.iter().filter_map(|entry| Some((f64::from(entry.record.iteration), value(&entry.record)?)));
    Line { name, colour: COLOURS[colour % COLOURS.len()], width: 2, points: points.collect() }
}

fn scores(entries: &[&Entry], value: impl Fn(Scores) -> f64) -> [Line; 2] {
    [
        line(entries, "training data".into(), 0, |record| record.train.map(&value)),
        line(entries, "test data".into(), 1, |record| record.test.map(&value)),
    ]
}

/// Doublings of each quadratic step, as coloured bands: lines would lie on top of each other.
fn exponents(entries: &[&Entry], layers: usize) -> Result<Curve, Failure> {
    let most = entries.iter().flat_map(|entry| &entry.record.exponents).copied().max().unwrap_or(0);
    let bands: Vec<Band> = step_names(layers)
        .into_iter()
        .enumerate()
        .map(|(slot, name)| Band { name, cells: runs(entries, slot, most) })
        .collect();
    let every = (most + 1).div_ceil(MOST_SHADES).max(1) as usize;
    let legend: Vec<_> =
        (0..=most).step_by(every).map(|k| (format!("{k} doublings"), shade(k, most))).collect();
    let title = "Doublings of each step's curvature";
    let words = Words { title, vertical: "step of the sweep", horizontal: "iteration" };
    Ok(Curve { name: "exponents", title, svg: chart::bands(&words, &bands, &legend)? })
}

/// In the order of the sweep: W3 a2 W2 a1 W1, then W1 a1 W2 a2 W3.
fn step_names(layers: usize) -> Vec<String> {
    let mut names: Vec<String> = (1..=layers)
        .rev()
        .flat_map(|l| [format!("W{l}"), format!("a{}", l - 1)])
        .take((2 * layers).saturating_sub(1))
        .collect();
    let forward: Vec<_> = names.iter().rev().map(|name| format!("{name} forward")).collect();
    names.extend(forward);
    names
}

/// Neighbours of equal doublings become one cell.
fn runs(entries: &[&Entry], slot: usize, most: u32) -> Vec<(u32, u32, RGBColor)> {
    let value = |entry: &&Entry| entry.record.exponents.get(slot).copied().unwrap_or(0);
    let mut next = 0;
    let chunks = entries.chunk_by(|a, b| value(a) == value(b));
    chunks
        .map(|run| {
            next += run.len();
            let first = run[0].record.iteration;
            // Up to the next entry, which is more than one iteration away where entries were left out.
            let last = entries
                .get(next)
                .map_or(run[run.len() - 1].record.iteration, |entry| entry.record.iteration - 1);
            (first, last, shade(value(&run[0]), most))
        })
        .collect()
}

/// The colour of `k` out of `most`.
fn shade(k: u32, most: u32) -> RGBColor {
    let at = f64::from(k) / f64::from(most.max(1)) * (SHADES.len() - 1) as f64;
    let (below, part) = (at.floor() as usize, at.fract());
    let (from, to) = (SHADES[below], SHADES[(below + 1).min(SHADES.len() - 1)]);
    let mix = |a: u8, b: u8| (f64::from(a) + part * (f64::from(b) - f64::from(a))).round() as u8;
    RGBColor(mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::train::plausible;

    #[test]
    fn steps_are_named_in_the_order_of_the_sweep() {
        let names = step_names(3).join(" ");
        assert_eq!(names, "W3 a2 W2 a1 W1 W1 forward a1 forward W2 forward a2 forward W3 forward");
    }

    #[test]
    fn cells_cover_every_iteration_once() {
        let history = plausible(2_345);
        let entries = thinned(history.entries());
        assert!(entries.len() <= MOST_POINTS + 1);
        let cells = runs(&entries, 3, 16);
        assert_eq!((cells[0].0, cells[cells.len() - 1].1), (1, 2_345));
        assert!(cells.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0));
    }

    #[test]
    fn shades_reach_both_ends() {
        assert_eq!((shade(0, 9), shade(9, 9), shade(0, 0)), (SHADES[0], SHADES[4], SHADES[0]));
    }
}
