//! `dualstep prune`: a safetensors file brought to an N:M pattern, checked, packed or unpacked.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dualstep::engine::{Gpu, GpuOptions, StorageType};
use dualstep::prune::{self, Counts, Form, Glob, MatrixReport, PackedFile, Pruning, Report, Rule, Selection};
use serde::Serialize;

use super::{Failure, Outcome, outputs, print, text};

/// Flags of `dualstep prune`.
#[derive(clap::Args)]
pub struct Arguments {
    /// A safetensors file.
    model: PathBuf,
    /// Where the pruned file goes.
    #[arg(short, long, value_name = "FILE", required_unless_present = "check", conflicts_with = "check")]
    output: Option<PathBuf>,
    /// Keep so many of every group of weights along a matrix's rows, which are its inputs; with names in front, only of
    /// matrices called so, as in '*.attention.*=2:4'. May be given several times: the last that matches a name holds
    /// [default: 2:4].
    #[arg(long = "pattern", value_name = "[NAMES=]KEEP:GROUP")]
    patterns: Vec<Rule>,
    /// Prune the matrices called so; * stands for any characters. May be given several times [default: the attention
    /// and feed-forward matrices of transformers, by their usual names].
    #[arg(long, value_name = "NAMES")]
    include: Vec<Glob>,
    /// Leave the tensors called so as they are. May be given several times.
    #[arg(long, value_name = "NAMES")]
    exclude: Vec<Glob>,
    /// Where the group does not divide a row, let the row's last group be short: as if it went on with zeros.
    #[arg(long)]
    pad: bool,
    /// Write kept weights and their places instead of zeros (`dualstep::prune` documents the format).
    #[arg(long, conflicts_with = "check")]
    packed: bool,
    /// Write the dense file that a packed one stands for, byte for byte.
    #[arg(long, conflicts_with_all = ["packed", "check", "patterns", "include", "exclude", "pad", "previous"])]
    unpack: bool,
    /// Write nothing, but see whether the file, dense or packed, obeys the pattern.
    #[arg(long)]
    check: bool,
    /// Count the weights that are zero now but not in this file, or the other way round.
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    previous: Option<PathBuf>,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Prunes, checks or unpacks.
pub fn run(options: &GpuOptions, arguments: &Arguments) -> Outcome {
    let selection = Selection {
        patterns: arguments.patterns.clone(),
        include: arguments.include.clone(),
        exclude: arguments.exclude.clone(),
        pad: arguments.pad,
    };
    let report = match &arguments.output {
        Some(output) => write(options, arguments, &selection, output)?,
        None => prune::check(&arguments.model, &selection)?,
    };
    match arguments.json {
        // Numbers and texts always have a JSON form.
        true => print(serde_json::to_string(&line(&report)).expect("JSON of numbers and texts"))?,
        false => table(&report)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn write(
    options: &GpuOptions,
    arguments: &Arguments,
    selection: &Selection,
    output: &Path,
) -> Result<Report, Failure> {
    // What is wrong with the files is told before a device is opened.
    if arguments.unpack {
        let packed = PackedFile::open(&arguments.model)?;
        outputs::check_file("--output", output)?;
        return Ok(packed.write_dense(&Gpu::open(options)?, output)?);
    }
    let pruning = Pruning::open(&arguments.model, selection, arguments.previous.as_deref())?;
    outputs::check_file("--output", output)?;
    let form = if arguments.packed { Form::Packed } else { Form::Dense };
    Ok(pruning.write(&Gpu::open(options)?, output, form)?)
}

/// A row of the table: text columns, then numbers.
fn row(cells: [&str; 7], width: usize) -> Result<(), Failure> {
    let [name, shape, kind, pattern, density, energy, flips] = cells;
    let line = format!(
        "{name:<width$}  {shape:>13}  {kind:<4}  {pattern:<7}  {density:>9}  {energy:>9}  {flips:>11}"
    );
    print(line.trim_end())
}

fn table(report: &Report) -> Result<(), Failure> {
    let width = report.matrices.iter().map(|matrix| matrix.name.chars().count()).max().unwrap_or(0).max(6);
    let has_flips = report.total().flips.is_some();
    let flips = if has_flips { "flips" } else { "" };
    let energy = if report.total().square.is_some() { "energy" } else { "" };
    row(["matrix", "shape", "type", "pattern", "density", energy, flips], width)?;
    for MatrixReport { name, shape, storage, pattern, counts } in &report.matrices {
        let (density, energy, flips) = cells(counts);
        row(
            [name, &shape.to_string(), type_name(*storage), &pattern.to_string(), &density, &energy, &flips],
            width,
        )?;
    }
    let total = report.total();
    let (density, energy, flips) = cells(&total);
    let matrices = format!("{} matrices", report.matrices.len());
    row([&matrices, &text::thousands(total.weights), "", "", &density, &energy, &flips], width)?;
    let others = text::thousands(report.others as u64);
    let read = text::mebibytes(report.bytes_read);
    match report.bytes_written {
        0 => print(format_args!("all obey their patterns; {others} other tensors, {read}")),
        written => print(format_args!(
            "{others} other tensors as they were; {read} read, {} written",
            text::mebibytes(written)
        )),
    }
}

fn cells(counts: &Counts) -> (String, String, String) {
    let share = |share: f64| text::percent(Some(share as f32));
    let energy = counts.energy().map_or(String::new(), share);
    (share(counts.density()), energy, counts.flips.map_or(String::new(), text::thousands))
}

fn type_name(storage: StorageType) -> &'static str {
    match storage {
        StorageType::F32 => "f32",
        StorageType::F16 => "f16",
        StorageType::Bf16 => "bf16",
        StorageType::U32 => "u32",
    }
}

/// The line that `--json` prints.
#[derive(Serialize)]
struct Line {
    matrices: Vec<Matrix>,
    total: Numbers,
    others: usize,
    bytes_read: u64,
    bytes_written: u64,
}

#[derive(Serialize)]
struct Matrix {
    name: String,
    shape: [u32; 2],
    r#type: &'static str,
    pattern: String,
    #[serde(flatten)]
    numbers: Numbers,
}

#[derive(Serialize)]
struct Numbers {
    weights: u64,
    kept: u64,
    density: f64,
    energy: Option<f64>,
    flips: Option<u64>,
}

impl From<&Counts> for Numbers {
    fn from(counts: &Counts) -> Self {
        let Counts { weights, kept, flips, .. } = *counts;
        Self { weights, kept, density: counts.density(), energy: counts.energy(), flips }
    }
}

fn line(report: &Report) -> Line {
    let matrix = |matrix: &MatrixReport| Matrix {
        name: matrix.name.clone(),
        shape: [matrix.shape.rows, matrix.shape.columns],
        r#type: type_name(matrix.storage),
        pattern: matrix.pattern.to_string(),
        numbers: (&matrix.counts).into(),
    };
    Line {
        matrices: report.matrices.iter().map(matrix).collect(),
        total: (&report.total()).into(),
        others: report.others,
        bytes_read: report.bytes_read,
        bytes_written: report.bytes_written,
    }
}
