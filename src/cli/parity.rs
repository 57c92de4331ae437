//! `dualstep parity`: golden traces replayed on the user's own adapter.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dualstep::engine::{Gpu, GpuOptions};
use dualstep::golden::{self, DlAdmmTrace, Trace};
use dualstep::parity::{Parity, replay};

use super::{Failure, Outcome, print};

/// Flags of `dualstep parity`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Golden traces; tests/golden/README.md has their format.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print a line of JSON per file.
    #[arg(long)]
    json: bool,
}

/// Replays every file; all are read before the first is replayed.
pub fn run(options: &GpuOptions, arguments: &Arguments) -> Outcome {
    let traces = arguments.files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
    let gpu = Gpu::open(options)?;
    let mut failed = 0;
    for (file, trace) in arguments.files.iter().zip(&traces) {
        let parity = replay(&gpu, trace)?;
        failed += usize::from(!parity.passes());
        match arguments.json {
            true => print(json(file, &parity))?,
            false => print(table(file, trace, &parity))?,
        }
    }
    match failed {
        0 => Ok(ExitCode::SUCCESS),
        _ => Err(Failure(format!(
            "{failed} of {} traces differ by more than the tolerances on {}; report the table and the adapter",
            traces.len(),
            gpu.capabilities().adapter
        ))),
    }
}

fn read(file: &Path) -> Result<Box<DlAdmmTrace>, Failure> {
    match golden::read(file)? {
        Trace::DlAdmm(trace) => Ok(trace),
        Trace::Unsupported { kind } => Err(Failure(format!(
            "{}: kind {kind} is not built yet; give traces of kind dladmm",
            file.display()
        ))),
    }
}

fn json(file: &Path, parity: &Parity) -> serde_json::Value {
    serde_json::json!({
        "file": file.display().to_string(),
        "kind": "dladmm",
        "passes": parity.passes(),
        "exponents": parity.exponents,
        "differing_exponents": parity.differing_exponents,
        "tensors": parity.tensors,
        "metrics": parity.metrics,
    })
}

/// A row per tensor, a column per recorded iteration; what is outside its tolerance is marked.
fn table(file: &Path, trace: &DlAdmmTrace, parity: &Parity) -> String {
    let settings = &trace.settings;
    let mut text = format!(
        "{}\n{} samples of {}, 784-{n}-{n}-10, ρ = {:e}, {} iterations: {}\n",
        file.display(),
        settings.samples,
        settings.dataset,
        settings.rho,
        settings.iterations,
        if parity.passes() { "passed" } else { "FAILED" },
        n = settings.hidden,
    );
    text += &format!("{:<10}", "iteration");
    let iterations: Vec<usize> = trace.states.iter().map(|state| state.iteration).collect();
    iterations.iter().for_each(|iteration| text += &format!("{iteration:>11}"));
    text += &format!("{:>13}\n", "tolerance");
    let mut names: Vec<(&str, f64)> = Vec::new();
    for difference in &parity.tensors {
        if !names.iter().any(|(name, _)| *name == difference.tensor) {
            names.push((&difference.tensor, difference.tolerance));
        }
    }
    for (name, tolerance) in names {
        text += &format!("{name:<10}");
        iterations.iter().for_each(|iteration| text += &cell(parity, name, *iteration));
        text += &format!("{tolerance:>13.0e}\n");
    }
    text += &format!("exponents  {} of {} differ\n", parity.differing_exponents, parity.exponents);
    let metrics =
        parity.metrics.iter().map(|it| format!("{} {:.1e}", it.metric, it.error)).collect::<Vec<_>>();
    text + &format!("metrics    {} (largest relative difference; not judged)\n", metrics.join(", "))
}

fn cell(parity: &Parity, name: &str, iteration: usize) -> String {
    let found = parity.tensors.iter().find(|it| it.tensor == name && it.iteration == iteration);
    found.map_or_else(
        || format!("{:>11}", "–"),
        |difference| {
            let mark = if difference.passes() { ' ' } else { '!' };
            format!("{:>10.1e}{mark}", difference.error)
        },
    )
}
