//! `dualstep eval`: how the network of a checkpoint does on training and test data.

use std::path::PathBuf;
use std::process::ExitCode;

use dualstep::Error;
use dualstep::checkpoint::{self, Checkpoint};
use dualstep::data::{DataSource, Dataset, Split};
use dualstep::engine::{Gpu, GpuOptions};
use dualstep::solvers::dladmm::evaluate;
use dualstep::solvers::problem::HostSamples;
use serde::Serialize;

use super::samples;
use super::{Failure, Outcome, print, text};

/// Flags of `dualstep eval`.
#[derive(clap::Args)]
pub struct Arguments {
    /// A file that `dualstep train --checkpoint` wrote.
    checkpoint: PathBuf,
    /// Other data than the network was trained on: `embedded`, `fashion-mnist`, `mnist`, a folder of IDX files, or
    /// a graph in FILE.safetensors.
    #[arg(long, value_name = "SET|PATH")]
    data: Option<DataSource>,
    /// Of the training data, the first so many samples [default: as many as it was trained on; with --data, all].
    #[arg(long, value_name = "COUNT")]
    samples: Option<usize>,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Evaluates.
pub fn run(options: &GpuOptions, arguments: &Arguments) -> Outcome {
    let loaded = checkpoint::load(&arguments.checkpoint)?;
    samples::check_dense(&arguments.checkpoint, &loaded)?;
    let split = data(&loaded, arguments)?;
    samples::check_widths(&arguments.checkpoint, &loaded.widths, &split)?;
    let gpu = Gpu::open(options)?;
    let score = |set: &Dataset| {
        let samples = HostSamples::new(set)?;
        let scores = evaluate(&gpu, &loaded.config, &loaded.state.layers, &loaded.widths, &samples.view())?;
        Ok::<_, Error>(Row { samples: set.len(), accuracy: scores.accuracy, cost: scores.cost })
    };
    let line = Line {
        checkpoint: arguments.checkpoint.display().to_string(),
        iteration: loaded.state.iteration,
        train: score(&split.train)?,
        test: score(&split.test)?,
    };
    match arguments.json {
        // Numbers and texts always have a JSON form.
        true => print(serde_json::to_string(&line).expect("JSON of numbers and texts"))?,
        false => table(&line)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn table(line: &Line) -> Result<(), Failure> {
    print(format_args!("{:<6} {:>9} {:>10} {:>10}", "data", "samples", "accuracy", "cost"))?;
    for (name, row) in [("train", &line.train), ("test", &line.test)] {
        let (samples, accuracy) = (text::thousands(row.samples as u64), text::percent(row.accuracy));
        print(format_args!("{name:<6} {samples:>9} {accuracy:>10} {:>10.4}", row.cost))?;
    }
    Ok(())
}

/// The data the network was trained on, unless other data was asked for.
fn data(loaded: &Checkpoint, arguments: &Arguments) -> Result<Split, Error> {
    match &arguments.data {
        Some(source) => samples::load(source, arguments.samples),
        None => {
            let Ok(source) = loaded.data.parse();
            samples::load(&source, Some(arguments.samples.unwrap_or(loaded.samples as usize)))
        }
    }
}

/// The line that `--json` prints.
#[derive(Serialize)]
struct Line {
    checkpoint: String,
    iteration: u32,
    train: Row,
    test: Row,
}

/// The scores on one half of the data.
#[derive(Serialize)]
struct Row {
    samples: usize,
    accuracy: Option<f32>,
    cost: f32,
}
