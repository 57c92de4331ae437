//! `dualstep bench`: kernels by the clock, against the adapter's own ceilings and against an earlier run.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use dualstep::bench::{self, Bound, Change, Options, Overhead, Report, Row, Size, Spread, Verdict};
use dualstep::engine::{Gpu, GpuOptions};
use dualstep::files::write_atomically;

use super::{Failure, Outcome, outputs, print, report, tell};

/// Flags of `dualstep bench`.
#[derive(clap::Args)]
pub struct Arguments {
    /// About how long it may take; at least three rounds are measured.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    seconds: f64,
    /// How large operands are [default: that of --compare, else the largest for which there is time].
    #[arg(long)]
    size: Option<SizeName>,
    /// Only rows whose name contains this, as in --only matmul, beside the ceilings.
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// Write everything that was measured into this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with the roofline, a chart of shares and the table into this folder.
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
    /// Compare with what an earlier run wrote by --json.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum SizeName {
    /// 1 MiB, in any cache: for a first look.
    Tiny,
    /// 32 MiB.
    Small,
    /// 128 MiB.
    Medium,
    /// 256 MiB.
    Large,
}

impl From<SizeName> for Size {
    fn from(name: SizeName) -> Self {
        match name {
            SizeName::Tiny => Self::Tiny,
            SizeName::Small => Self::Small,
            SizeName::Medium => Self::Medium,
            SizeName::Large => Self::Large,
        }
    }
}

/// Of progress.
const SECONDS_BETWEEN_LINES: u64 = 10;

/// Measures, and prints a row per kernel.
pub fn run(options: &GpuOptions, arguments: &Arguments) -> Outcome {
    let old = arguments.compare.as_deref().map(Report::read).transpose()?;
    if let Some(folder) = &arguments.report {
        outputs::check_folder("--report", folder)?;
    }
    if let Some(path) = &arguments.json {
        outputs::check_file("--json", path)?;
    }
    let settings = Options {
        seconds: Some(arguments.seconds),
        size: arguments.size.map(Size::from).or(old.as_ref().map(|old| old.size)),
        only: arguments.only.clone(),
    };
    let gpu = Gpu::open(options)?;
    tell(gpu.capabilities());
    let mut told = 0;
    let new = bench::run(&gpu, &settings, |bench::Progress { rows, size, rounds, seconds }| {
        // The first round and then now and again.
        if rounds == 1 || seconds as u64 / SECONDS_BETWEEN_LINES > told {
            told = seconds as u64 / SECONDS_BETWEEN_LINES;
            tell(format_args!("{rows} rows, size {}, round {rounds} after {seconds:.1} s", size.name()));
        }
    })?;
    if let Some(path) = &arguments.json {
        write_atomically(path, |out| {
            serde_json::to_writer_pretty(&mut *out, &new)?;
            out.write_all(b"\n")
        })?;
    }
    let changes = old.as_ref().map(|old| bench::compare(old, &new));
    if let Some(folder) = &arguments.report {
        report::roofline::write(folder, &new, changes.as_deref())?;
        tell(format_args!("report {}", folder.join(report::PAGE).display()));
    }
    print_all(&new, changes.as_deref())?;
    if let Some(old) = old.filter(|old| old.device != new.device) {
        tell(format_args!(
            "the earlier run was on another device: {}, {}",
            old.device.adapter, old.device.driver
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn print_all(report: &Report, changes: Option<&[Change]>) -> Result<(), Failure> {
    for (name, value) in facts(report) {
        print(format_args!("{name:<12} {value}"))?;
    }
    print("")?;
    let width = |text: fn(&Row) -> &str| {
        report.rows.iter().map(|row| text(row).chars().count()).max().unwrap_or(0).max(6)
    };
    let (kernel, work) = (width(|row| &row.kernel), width(|row| &row.work));
    let heading = COLUMNS.map(|column| format!("{column:>9}")).concat();
    print(format_args!("{:<kernel$}  {:<work$} {heading}  ceiling", "kernel", "work"))?;
    for row in &report.rows {
        let numbers = numbers(report, row);
        let bound = row.share(&report.ceilings).1;
        let cells: String = numbers.iter().map(|number| format!("{number:>9}")).collect();
        let change = changes.map_or(String::new(), |changes| change_of(changes, row));
        let line =
            format!("{:<kernel$}  {:<work$} {cells}  {:<10} {change}", row.kernel, row.work, name_of(bound));
        print(line.trim_end())?;
    }
    if let Some(changes) = changes {
        let slower = changes.iter().filter(|change| change.verdict == Verdict::Slower).count();
        print(format_args!("\n{} rows compared, {slower} slower by more than they vary", changes.len()))?;
    }
    Ok(())
}

/// What [`numbers`] are.
pub const COLUMNS: [&str; 5] = ["ms", "± %", "GB/s", "GFLOP/s", "share %"];

/// A row's time, half its middle half, rates and share of its ceiling.
pub fn numbers(report: &Report, row: &Row) -> [String; 5] {
    let percent = |share: f64| format!("{:.1}", 100.0 * share);
    [
        format!("{:.3}", 1e3 * row.seconds.median),
        percent(row.seconds.relative()),
        format!("{:.2}", row.bandwidth() / 1e9),
        format!("{:.2}", row.flop_rate() / 1e9),
        percent(row.share(&report.ceilings).0),
    ]
}

/// The ceiling that binds a row, in a word.
pub fn name_of(bound: Bound) -> &'static str {
    match bound {
        Bound::Bandwidth => "bandwidth",
        Bound::Arithmetic => "arithmetic",
    }
}

/// `1.20 ×, slower`, or a dash where the earlier run had no such row.
pub fn change_of(changes: &[Change], row: &Row) -> String {
    let twin = changes.iter().find(|change| (&change.kernel, &change.work) == (&row.kernel, &row.work));
    twin.map_or("–".into(), |Change { ratio, verdict, .. }| {
        let word = match verdict {
            Verdict::Slower => ", slower",
            Verdict::Same => "",
            Verdict::Faster => ", faster",
        };
        format!("{ratio:.2} ×{word}")
    })
}

/// What is said of a run before its rows: names and values.
pub fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let device = &report.device;
    let clock = if report.device_time { "the device's" } else { "the host's, from submission to end" };
    let Overhead { recording, replay, dispatch, round_trip } = &report.overhead;
    let rounds = format!("{}, operands of size {}", report.rounds, report.size.name());
    vec![
        ("adapter", format!("{} ({}, {}, {})", device.adapter, device.kind, device.backend, device.class)),
        ("driver", device.driver.clone()),
        ("dualstep", report.dualstep.clone()),
        ("clock", clock.into()),
        ("rounds", rounds),
        ("bandwidth", format!("{:.2} GB/s, elementwise/copy", report.ceilings.bandwidth / 1e9)),
        ("arithmetic", format!("{:.2} GFLOP/s, elementwise/multiply_add", report.ceilings.arithmetic / 1e9)),
        ("recording", format!("{} a dispatch, on the host, once", Micros(recording))),
        ("replay", format!("{} a dispatch, on the host", Micros(replay))),
        ("dispatch", format!("{} each, of next to nothing, one after another", Micros(dispatch))),
        ("round trip", format!("{} from submission until the host knows", Micros(round_trip))),
    ]
}

/// A median in microseconds.
struct Micros<'a>(&'a Spread);

impl fmt::Display for Micros<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} µs", 1e6 * self.0.median)
    }
}
