//! Charts as SVG text: a title, two axes, lines, points, bars or coloured bands, and a legend beside or below them.

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
/// Of each panel of a sheet.
const PANEL: (u32, u32) = (640, 400);
/// Room of an entry in the legend below a sheet.
const ENTRY: (i32, i32) = (320, 22);
/// Room of the names of bars.
const NAMES: u32 = 360;
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
    /// Below its horizontal axis.
    pub horizontal: &'a str,
}

/// A line and its legend.
pub struct Line {
    /// In the legend.
    pub name: String,
    /// Of the line.
    pub colour: RGBColor,
    /// Of the line, in pixels.
    pub width: u32,
    /// Iteration or seconds, ascending, and value.
    pub points: Vec<(f64, f64)>,
}

/// One of the charts of a sheet.
pub struct Panel<'a> {
    /// What it says.
    pub words: Words<'a>,
    /// Of its vertical axis.
    pub scale: Scale,
    /// What it shows.
    pub lines: Vec<Line>,
}

/// A row of coloured cells and its name.
pub struct Band {
    /// At the vertical axis.
    pub name: String,
    /// First iteration, last iteration, colour.
    pub cells: Vec<(u32, u32, RGBColor)>,
}

/// A numbered point.
pub struct Dot {
    /// Beside it.
    pub label: String,
    /// Of the point.
    pub colour: RGBColor,
    /// Where it is; on logarithmic axes both must be positive.
    pub at: (f64, f64),
}

/// A bar from zero, and its name at the vertical axis.
pub struct Bar {
    /// What it stands for.
    pub name: String,
    /// In units of the horizontal axis.
    pub length: f64,
    /// Of the bar.
    pub colour: RGBColor,
}

/// Draws lines.
pub fn lines(words: &Words<'_>, scale: Scale, lines: &[Line]) -> Result<String, Failure> {
    let legend: Vec<_> = lines.iter().map(|line| (line.name.clone(), line.colour)).collect();
    draw(SIZE, |root| {
        let (area, strip) = root.split_horizontally(SIZE.0 as i32 - LEGEND);
        plot(&area, words, scale, lines)?;
        draw_legend(&strip, (4, 60), 1, &legend)
    })
}

/// Draws panels two in a row, and below them one legend of the first panel's names, each once.
pub fn sheet(panels: &[Panel<'_>]) -> Result<String, Failure> {
    let rows = panels.len().div_ceil(2);
    let mut legend: Vec<_> = panels
        .iter()
        .take(1)
        .flat_map(|panel| panel.lines.iter().map(|line| (line.name.clone(), line.colour)))
        .collect();
    legend.dedup();
    let across = (2 * PANEL.0) as usize / ENTRY.0 as usize;
    let plots = rows as u32 * PANEL.1;
    let size = (2 * PANEL.0, plots + (legend.len().div_ceil(across) as u32 + 1) * ENTRY.1 as u32);
    draw(size, |root| {
        let (plots, strip) = root.split_vertically(plots as i32);
        for (panel, area) in panels.iter().zip(plots.split_evenly((rows, 2))) {
            plot(&area, &panel.words, panel.scale, &panel.lines)?;
        }
        draw_legend(&strip, (74, ENTRY.1 / 2), across, &legend)
    })
}

fn plot(area: &Area<'_>, words: &Words<'_>, scale: Scale, lines: &[Line]) -> Drawn<()> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let across = Axis::covering(Scale::Linear, points().map(|point| point.0));
    let up = Axis::covering(scale, points().map(|point| point.1));
    let mut chart = frame(area, words, 74, (&across, &up))?;
    mesh(&mut chart, words)?;
    for line in lines {
        // A value that cannot be shown leaves a gap.
        for run in line.points.split(|point| up.position(point.1).is_none()) {
            let run = run.iter().filter_map(|(at, value)| Some((*at, up.position(*value)?)));
            chart.draw_series(LineSeries::new(run, line.colour.stroke_width(line.width)))?;
        }
    }
    Ok(())
}

/// Draws rows of coloured cells over iterations, the first row on top.
pub fn bands(words: &Words<'_>, bands: &[Band], legend: &[(String, RGBColor)]) -> Result<String, Failure> {
    let cells = || bands.iter().flat_map(|band| &band.cells);
    let first = cells().map(|cell| cell.0).min().unwrap_or(1);
    let last = cells().map(|cell| cell.1).max().unwrap_or(1);
    let across = Axis::counting(first, last);
    let up = Axis::naming(bands.iter().map(|band| band.name.clone()));
    draw(SIZE, |root| {
        let (plot, strip) = root.split_horizontally(SIZE.0 as i32 - LEGEND);
        let mut chart = frame(&plot, words, 110, (&across, &up))?;
        mesh(&mut chart, words)?;
        for (row, band) in bands.iter().rev().enumerate() {
            let height = row as f64 + 0.06..row as f64 + 0.94;
            chart.draw_series(band.cells.iter().map(|cell| rectangle(cell, &height)))?;
        }
        draw_legend(&strip, (4, 60), 1, legend)
    })
}

/// Draws points below a line that bounds them, both axes logarithmic.
pub fn dots(
    words: &Words<'_>,
    bound: &[(f64, f64)],
    dots: &[Dot],
    legend: &[(String, RGBColor)],
) -> Result<String, Failure> {
    let all = || bound.iter().copied().chain(dots.iter().map(|dot| dot.at));
    let across = Axis::covering(Scale::Logarithmic, all().map(|at| at.0));
    let up = Axis::covering(Scale::Logarithmic, all().map(|at| at.1));
    let place = |(x, y): (f64, f64)| Some((across.position(x)?, up.position(y)?));
    let style = (FONT, 12).into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Bottom));
    draw(SIZE, |root| {
        let (plot, strip) = root.split_horizontally(SIZE.0 as i32 - LEGEND);
        let mut chart = frame(&plot, words, 74, (&across, &up))?;
        mesh(&mut chart, words)?;
        let line = bound.iter().filter_map(|at| place(*at));
        chart.draw_series(LineSeries::new(line, INK.stroke_width(2)))?;
        let placed = || dots.iter().filter_map(|dot| Some((place(dot.at)?, dot)));
        chart.draw_series(placed().map(|(at, dot)| Circle::new(at, 4, dot.colour.filled())))?;
        chart.draw_series(placed().map(|(at, dot)| Text::new(dot.label.clone(), at, style.clone())))?;
        draw_legend(&strip, (4, 60), 1, legend)
    })
}

/// Draws a horizontal bar for each name, the first on top.
pub fn bars(words: &Words<'_>, bars: &[Bar], legend: &[(String, RGBColor)]) -> Result<String, Failure> {
    let across = Axis::covering(Scale::Linear, bars.iter().map(|bar| bar.length).chain([0.0, 100.0]));
    let up = Axis::naming(bars.iter().map(|bar| bar.name.clone()));
    let size = (SIZE.0 + LEGEND as u32, 120 + ENTRY.1 as u32 * bars.len() as u32);
    draw(size, |root| {
        let (plot, strip) = root.split_horizontally(SIZE.0 as i32);
        let mut chart = frame(&plot, words, NAMES, (&across, &up))?;
        mesh(&mut chart, words)?;
        chart.draw_series(bars.iter().rev().enumerate().map(|(row, bar)| {
            let corners = [(0.0, row as f64 + 0.15), (bar.length, row as f64 + 0.85)];
            Rectangle::new(corners, bar.colour.filled())
        }))?;
        draw_legend(&strip, (4, 60), 1, legend)
    })
}

fn rectangle((first, last, colour): &(u32, u32, RGBColor), height: &Range<f64>) -> Rectangle<(f64, f64)> {
    let corners = [(f64::from(*first) - 0.5, height.start), (f64::from(*last) + 0.5, height.end)];
    Rectangle::new(corners, colour.filled())
}

type Drawn<T> = Result<T, DrawingAreaErrorKind<std::io::Error>>;

/// Runs `paint` on a white sheet and returns the SVG.
fn draw(size: (u32, u32), paint: impl FnOnce(&Area<'_>) -> Drawn<()>) -> Result<String, Failure> {
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
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
        .x_desc(words.horizontal)
        .y_desc(words.vertical)
        .draw()
}

/// Names beside strokes of their colour, the first at `corner`, so many in a row.
fn draw_legend<T: Display>(
    strip: &Area<'_>,
    corner: (i32, i32),
    across: usize,
    entries: &[(T, RGBColor)],
) -> Drawn<()> {
    let style = (FONT, 14).into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
    for (place, (name, colour)) in entries.iter().enumerate() {
        let left = corner.0 + ENTRY.0 * (place % across) as i32;
        let middle = corner.1 + ENTRY.1 * (place / across) as i32;
        strip.draw(&Rectangle::new([(left, middle - 5), (left + 18, middle + 5)], colour.filled()))?;
        strip.draw(&Text::new(name.to_string(), (left + 26, middle), style.clone()))?;
    }
    Ok(())
}
