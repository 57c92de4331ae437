//! The report of a bench: every kernel under the roofline, shares of ceilings as bars, the table.

use std::path::Path;

use dualstep::bench::{Bound, Change, Report as Measured, Row};
use plotters::style::RGBColor;

use super::chart::{self, Bar, Dot, Words};
use super::curves::{COLOURS, Curve};
use super::{Report, Table, facts_table};
use crate::cli::Failure;
use crate::cli::bench::{COLUMNS, change_of, facts, name_of, numbers};

/// Writes it into `folder`, which is made if it is not there.
pub fn write(folder: &Path, measured: &Measured, changes: Option<&[Change]>) -> Result<(), Failure> {
    let tables = vec![("Run", facts_table(&facts(measured))), ("Kernels", table(measured, changes))];
    let curves = vec![roofline(measured)?, shares(measured)?];
    Report { title: "Kernels measured", tables, curves }.write(folder)
}

/// A row per kernel, numbered as in the roofline.
fn table(measured: &Measured, changes: Option<&[Change]>) -> Table {
    let mut heading = vec!["kernel".to_owned()];
    heading.extend(COLUMNS.map(String::from));
    heading.push("ceiling".into());
    heading.extend(changes.map(|_| "to before".into()));
    let row = |(number, row): (usize, &Row)| {
        let mut cells = vec![format!("{}. {}", number + 1, name(row))];
        cells.extend(numbers(measured, row));
        cells.push(name_of(row.share(&measured.ceilings).1).into());
        cells.extend(changes.map(|changes| change_of(changes, row)));
        cells
    };
    Table(std::iter::once(heading).chain(measured.rows.iter().enumerate().map(row)).collect())
}

fn name(row: &Row) -> String {
    format!("{}, {}", row.kernel, row.work)
}

fn colour(bound: Bound) -> RGBColor {
    match bound {
        Bound::Bandwidth => COLOURS[0],
        Bound::Arithmetic => COLOURS[1],
    }
}

fn legend() -> Vec<(String, RGBColor)> {
    let entry = |bound| (format!("bound by {}", name_of(bound)), colour(bound));
    [Bound::Bandwidth, Bound::Arithmetic].map(entry).into()
}

/// FLOP/s over FLOPs per byte. What computes nothing has no place there.
fn roofline(measured: &Measured) -> Result<Curve, Failure> {
    let dot = |(number, row): (usize, &Row)| Dot {
        label: (number + 1).to_string(),
        colour: colour(row.share(&measured.ceilings).1),
        at: (row.intensity(), row.flop_rate() / 1e9),
    };
    let dots: Vec<Dot> = measured.rows.iter().enumerate().filter(|(_, row)| row.flops > 0).map(dot).collect();
    let ends = dots
        .iter()
        .map(|dot| dot.at.0)
        .fold((f64::INFINITY, 0.0_f64), |(low, high), at| (low.min(at), high.max(at)));
    let ridge = measured.ceilings.arithmetic / measured.ceilings.bandwidth;
    let roof = [ends.0.min(ridge / 2.0), ridge, ends.1.max(2.0 * ridge)];
    let roof = roof.map(|intensity| (intensity, measured.ceilings.attainable(intensity) / 1e9));
    let words = Words {
        title: "Roofline (numbers as in the table)",
        vertical: "GFLOP/s",
        horizontal: "FLOPs per byte",
    };
    let svg = chart::dots(&words, &roof, &dots, &legend())?;
    Ok(Curve { name: "roofline", title: "Roofline", svg })
}

/// How near each kernel comes to its ceiling.
fn shares(measured: &Measured) -> Result<Curve, Failure> {
    let bar = |row: &Row| {
        let (share, bound) = row.share(&measured.ceilings);
        Bar { name: name(row), length: 100.0 * share, colour: colour(bound) }
    };
    let bars: Vec<Bar> = measured.rows.iter().map(bar).collect();
    let words =
        Words { title: "Shares of ceilings", vertical: "", horizontal: "% of the ceiling that binds" };
    Ok(Curve { name: "shares", title: "Shares of ceilings", svg: chart::bars(&words, &bars, &legend())? })
}
