//! Charts as SVG text: a title, two axes, lines or coloured bands, and a legend beside them.

use std::fmt::Display;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::cli::Failure;

use super::axis::{Axis, Scale};

const SIZE: (u32, u32) = (900, 480);
/// Width of the legend's strip at the right.
const LEGEND: i32 = 150;
const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const GRID: RGBColor = RGBColor(0xe2, 0xe2, 0xe2);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Context<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;

/// What a chart says about itself.
pub struct Words<'a> {
    /// Above it.
    pub title: &'a str,
    /// Beside its vertical axis.
    pub vertical: &'a str,
}

/// A line and its legend.
pub struct Line {
    /// In the legend.
    pub name: String,
    /// Of the line.
    pub colour: RGBColor,
    /// Iteration and value, ascending.
    pub points: Vec<(f64, f64)>,
}

/// A row of coloured cells and its name.
pub struct Band {
    /// At the vertical axis.
    pub name: String,
    /// First iteration, last iteration, colour.
    pub cells: Vec<(u32, u32, RGBColor)>,
}

/// Draws lines over iterations.
pub fn lines(words: &Words<'_>, scale: Scale, lines: &[Line]) -> Result<String, Failure> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let across = Axis::covering(Scale::Linear, points().map(|point| point.0));
    let up = Axis::covering(scale, points().map(|point| point.1));
    let legend: Vec<_> = lines.iter().map(|line| (line.name.clone(), line.colour)).collect();
    draw(|root| {
        let (plot, strip) = root.split_horizontally(SIZE.0 as i32 - LEGEND);
        let mut chart = frame(&plot, words, 74, (&across, &up))?;
        mesh(&mut chart, words)?;
        for line in lines {
            // A value that cannot be shown leaves a gap.
            for run in line.points.split(|point| up.position(point.1).is_none()) {
                let run =
                    run.iter().filter_map(|(iteration, value)| Some((*iteration, up.position(*value)?)));
                chart.draw_series(LineSeries::new(run, line.colour.stroke_width(2)))?;
            }
        }
        draw_legend(&strip, &legend)
    })
}

/// Draws rows of coloured cells over iterations, the first row on top.
pub fn bands(words: &Words<'_>, bands: &[Band], legend: &[(String, RGBColor)]) -> Result<String, Failure> {
    let cells = || bands.iter().flat_map(|band| &band.cells);
    let first = cells().map(|cell| cell.0).min().unwrap_or(1);
    let last = cells().map(|cell| cell.1).max().unwrap_or(1);
    let across = Axis::counting(first, last);
    let up = Axis::naming(bands.iter().map(|band| band.name.clone()));
    draw(|root| {
        let (plot, strip) = root.split_horizontally(SIZE.0 as i32 - LEGEND);
        let mut chart = frame(&plot, words, 110, (&across, &up))?;
        mesh(&mut chart, words)?;
        for (row, band) in bands.iter().rev().enumerate() {
            let height = row as f64 + 0.06..row as f64 + 0.94;
            chart.draw_series(band.cells.iter().map(|cell| rectangle(cell, &height)))?;
        }
        draw_legend(&strip, legend)
    })
}

fn rectangle((first, last, colour): &(u32, u32, RGBColor), height: &Range<f64>) -> Rectangle<(f64, f64)> {
    let corners = [(f64::from(*first) - 0.5, height.start), (f64::from(*last) + 0.5, height.end)];
    Rectangle::new(corners, colour.filled())
}

type Drawn<T> = Result<T, DrawingAreaErrorKind<std::io::Error>>;

/// Runs `paint` on a white sheet and returns the SVG.
fn draw(paint: impl FnOnce(&Area<'_>) -> Drawn<()>) -> Result<String, Failure> {
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    let painted = root.fill(&WHITE).and_then(|()| paint(&root)).and_then(|()| root.present());
    drop(root);
    match painted {
        Ok(()) => Ok(svg),
        Err(error) => Err(Failure(format!("cannot draw a curve: {error}; leave --report out"))),
    }
}

/// The coordinates, and `room` for the labels of the vertical axis.
fn frame<'a, 'b>(
    area: &Area<'b>,
    words: &Words<'_>,
    room: u32,
    axes: (&Axis, &Axis),
) -> Drawn<Context<'a, 'b>> {
    ChartBuilder::on(area)
        .caption(words.title, (FONT, 20).into_font().style(FontStyle::Bold).color(&INK))
        .margin(14)
        .x_label_area_size(46)
        .y_label_area_size(room)
        .build_cartesian_2d(axes.0.clone(), axes.1.clone())
}

/// Grid, axes and labels.
fn mesh(chart: &mut Context<'_, '_>, words: &Words<'_>) -> Drawn<()> {
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .label_style((FONT, 14).into_font().color(&INK))
        .axis_desc_style((FONT, 15).into_font().color(&INK))
        .x_desc("iteration")
        .y_desc(words.vertical)
        .draw()
}

/// Names beside strokes of their colour, from the top.
fn draw_legend<T: Display>(strip: &Area<'_>, entries: &[(T, RGBColor)]) -> Drawn<()> {
    let style = (FONT, 14).into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
    for (row, (name, colour)) in entries.iter().enumerate() {
        let middle = 60 + 22 * row as i32;
        strip.draw(&Rectangle::new([(4, middle - 5), (22, middle + 5)], colour.filled()))?;
        strip.draw(&Text::new(name.to_string(), (30, middle), style.clone()))?;
    }
    Ok(())
}
