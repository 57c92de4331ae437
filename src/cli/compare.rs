//! `dualstep compare`: several trainings on one data set from the same initial weights, in one table and one chart.
//!
//! What always holds: every run is checked before the first begins; runs differ in their flags alone; a run that
//! diverges is reported as such and the others go on.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, value_parser};
use dualstep::data::{DataSource, Split};
use dualstep::engine::{Gpu, GpuOptions};
use dualstep::files::write_atomically;
use serde::Serialize;

use super::report::{self, comparison};
use super::samples::{Data, DataArguments};
use super::train::{End, History, Plan, Session, Settings, UpdateLine};
use super::{Failure, Outcome, interrupt, outputs, print, tell, text};

/// What is compared unless said otherwise; the first is what the others are measured by.
const RUNS: [&str; 7] = [
    "exact=--steps exact --accelerate none",
    "exact, Anderson=--steps exact --accelerate anderson",
    "exact, extrapolated=--steps exact --accelerate extrapolate",
    "line search=--steps line-search --accelerate none",
    "quadratic=--steps quadratic --accelerate none",
    "quadratic, Anderson=--steps quadratic --accelerate anderson",
    "Adam=--method adam",
];

/// Flags of `dualstep compare`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    data: DataArguments,
    /// Iterations of each run.
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = value_parser!(u32).range(1..))]
    iterations: u32,
    /// Seeds of the initial weights; each run is repeated with each.
    #[arg(long, value_name = "SEEDS", value_delimiter = ',', default_value = "0")]
    seeds: Vec<u64>,
    /// Draw the half of a graph's nodes that is learnt from by each seed, too, instead of one for all.
    #[arg(long)]
    draw_halves: bool,
    /// A run: what it is called, and in what it differs from the settings below, as in --run "wide=--hidden 400". May
    /// be given several times; the first is what the others are measured by [default: exact, line-search and
    /// quadratic steps, plain or accelerated, and Adam].
    #[arg(long = "run", value_name = "[NAME=]FLAGS", allow_hyphen_values = true)]
    runs: Vec<String>,
    /// Count the iterations to this training cost, not to the one at which the first run ended.
    #[arg(long, value_name = "COST")]
    goal: Option<f32>,
    /// Write the chart (SVG), the table and a page with both into this folder.
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
    /// Write a line of JSON per run and seed, with its curves.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// A way to train, and how it went with each seed.
pub struct Run {
    /// In the table and the legend.
    pub name: String,
    /// In what it differs from the common settings.
    pub flags: String,
    /// One per seed.
    pub trials: Vec<Trial>,
}

/// One training.
pub struct Trial {
    /// Of the initial weights.
    pub seed: u64,
    /// What it reported.
    pub history: History,
    /// The iteration in which it met a value that is not finite.
    pub diverged: Option<u32>,
}

/// The flags of a run, read by themselves.
#[derive(Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Flags {
    #[command(flatten)]
    settings: Settings,
}

/// Compares.
pub fn run(options: &GpuOptions, arguments: &Arguments) -> Outcome {
    let given: Vec<&str> = match arguments.runs.as_slice() {
        [] => RUNS.to_vec(),
        runs => runs.iter().map(String::as_str).collect(),
    };
    let planned = given.iter().map(|text| plan(text, arguments)).collect::<Result<Vec<_>, _>>()?;
    if let Some(folder) = &arguments.report {
        outputs::check_folder("--report", folder)?;
    }
    if let Some(path) = &arguments.json {
        outputs::check_file("--json", path)?;
    }
    let data = arguments.data.data.clone().unwrap_or_default().absolute()?;
    let on_graph = planned.iter().any(|(_, plans)| plans.iter().any(Plan::is_on_graph));
    let sources = sources(&data, arguments)?;
    let load = |source| Data::load(source, arguments.data.samples, on_graph);
    let sets = sources.iter().map(load).collect::<Result<Vec<_>, _>>()?;
    planned.iter().flat_map(|(_, plans)| plans).try_for_each(|plan| plan.check_widths(&sets[0].split))?;
    interrupt::listen()?;
    let gpu = Gpu::open(options)?;
    let facts = facts(&gpu, arguments, &data, &sets[0].split);
    for (name, value) in &facts {
        tell(format_args!("{name:<20} {value}"));
    }
    let mut runs = Vec::new();
    for (run, plans) in planned {
        runs.push(run);
        let at = runs.len() - 1;
        for (plan, set) in plans.into_iter().zip(sets.iter().cycle()) {
            if interrupt::requested() {
                continue;
            }
            tell(format_args!("{}, seed {}", runs[at].name, plan.seed()));
            let trial = train(&gpu, plan, set, arguments.iterations)?;
            runs[at].trials.push(trial);
        }
    }
    runs.retain(|run| !run.trials.is_empty());
    close(arguments, &facts, &runs)
}

/// One for each seed, or one for all.
fn sources(data: &DataSource, arguments: &Arguments) -> Result<Vec<DataSource>, Failure> {
    if !arguments.draw_halves {
        return Ok(vec![data.clone()]);
    }
    let refused = || {
        Failure(format!("--draw-halves is for graphs of which halves are drawn, not {data}; leave it out"))
    };
    arguments.seeds.iter().map(|seed| data.with_halves(*seed).ok_or_else(refused)).collect()
}

/// Reads a run, and makes its settings with each seed.
fn plan(given: &str, arguments: &Arguments) -> Result<(Run, Vec<Plan>), Failure> {
    // A name has no flag in it, so that `--rho=1` is one.
    let (name, flags) = match given.split_once('=') {
        Some((name, flags)) if !name.contains("--") => (name.trim(), flags.trim()),
        _ => (given.trim(), given.trim()),
    };
    let refuse = |detail: String| Failure(format!("--run {given:?}: {detail}"));
    let mut run = Flags { settings: arguments.settings.clone() };
    run.try_update_from(flags.split_whitespace()).map_err(|error| {
        let text = error.to_string();
        refuse(text.lines().next().unwrap_or_default().trim_start_matches("error: ").into())
    })?;
    let plans = arguments.seeds.iter().map(|seed| run.settings.plan(*seed, arguments.iterations));
    let plans = plans.collect::<Result<_, _>>().map_err(|Failure(detail)| refuse(detail))?;
    Ok((Run { name: name.into(), flags: flags.into(), trials: Vec::new() }, plans))
}

fn train(gpu: &Gpu, mut plan: Plan, data: &Data, iterations: u32) -> Result<Trial, Failure> {
    if let Plan::DlAdmm(config) = &mut plan {
        config.keep_last_finite = false;
    }
    let seed = plan.seed();
    let solver = plan.begin(gpu, data)?;
    let mut session = Session::new(solver, (0, 0.0), iterations, None, None);
    let diverged = match session.train()? {
        End::Diverged(dualstep::Error::NotFinite { iteration, .. }) => Some(iteration),
        End::Diverged(error) => return Err(error.into()),
        End::Reached | End::Interrupted => None,
    };
    Ok(Trial { seed, history: session.into_history(), diverged })
}

/// What is said at the start and in the report: names and values.
fn facts(gpu: &Gpu, arguments: &Arguments, data: &DataSource, split: &Split) -> Vec<(&'static str, String)> {
    let adapter = gpu.capabilities();
    let (train, test) = (text::thousands(split.train.len() as u64), text::thousands(split.test.len() as u64));
    vec![
        ("adapter", format!("{} ({:?}, {:?})", adapter.adapter, adapter.kind, adapter.backend)),
        ("driver", adapter.driver.clone()),
        ("data", format!("{data}, {train} training and {test} test samples")),
        ("iterations", arguments.iterations.to_string()),
        ("seeds", text::joined(&arguments.seeds, ", ")),
        ("dualstep", env!("CARGO_PKG_VERSION").into()),
    ]
}

fn close(arguments: &Arguments, facts: &[(&'static str, String)], runs: &[Run]) -> Outcome {
    if let Some(path) = &arguments.json {
        write_atomically(path, |out| {
            runs.iter().flat_map(|run| run.trials.iter().map(move |trial| line(run, trial))).try_for_each(
                |line| {
                    serde_json::to_writer(&mut *out, &line)?;
                    out.write_all(b"\n")
                },
            )
        })?;
    }
    if let Some(folder) = &arguments.report {
        comparison::write(folder, facts, runs, arguments.goal)?;
        tell(format_args!("{:<20} {}", "report", folder.join(report::PAGE).display()));
    }
    print(comparison::table(runs, arguments.goal).markdown().trim_end())?;
    Ok(if interrupt::requested() { interrupt::status() } else { ExitCode::SUCCESS })
}

/// A training as a line of JSON; lists go over iterations, numbers that are not finite are null.
#[derive(Serialize)]
struct Line<'a> {
    run: &'a str,
    flags: &'a str,
    seed: u64,
    diverged: Option<u32>,
    iteration: Vec<u32>,
    seconds: Vec<f64>,
    objective: Vec<f32>,
    train_accuracy: Vec<Option<f32>>,
    test_accuracy: Vec<Option<f32>>,
    train_cost: Vec<Option<f32>>,
    test_cost: Vec<Option<f32>>,
    projected_train_accuracy: Vec<Option<f32>>,
    projected_test_accuracy: Vec<Option<f32>>,
    /// Of N:M ADMM.
    updates: &'a [UpdateLine],
}

fn line<'a>(run: &'a Run, trial: &'a Trial) -> Line<'a> {
    let entries = trial.history.entries();
    let records = || entries.iter().map(|entry| &entry.record);
    Line {
        run: &run.name,
        flags: &run.flags,
        seed: trial.seed,
        diverged: trial.diverged,
        iteration: records().map(|record| record.iteration).collect(),
        seconds: entries.iter().map(|entry| entry.seconds).collect(),
        objective: records().map(|record| record.objective).collect(),
        train_accuracy: records().map(|record| record.train?.accuracy).collect(),
        test_accuracy: records().map(|record| record.test?.accuracy).collect(),
        train_cost: records().map(|record| Some(record.train?.cost)).collect(),
        test_cost: records().map(|record| Some(record.test?.cost)).collect(),
        projected_train_accuracy: entries.iter().map(|entry| entry.projected?.train.accuracy).collect(),
        projected_test_accuracy: entries.iter().map(|entry| entry.projected?.test?.accuracy).collect(),
        updates: trial.history.updates(),
    }
}
