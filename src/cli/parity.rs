//! `dualstep parity`: golden traces replayed on the user's own adapter.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dualstep::engine::{Gpu, GpuOptions};
use dualstep::golden::{self, DlAdmmTrace, Trace};
use dualstep::parity::{Parity, TensorDifference, dladmm, replay};

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
    let traces = arguments.files.iter().map(|file| golden::read(file)).collect::<Result<Vec<_>, _>>()?;
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

/// The fields of the kind, and those that every kind has.
fn json(file: &Path, parity: &Parity) -> serde_json::Value {
    let mut line = serde_json::json!(parity);
    line["file"] = file.display().to_string().into();
    line["kind"] = parity.kind().into();
    line["passes"] = parity.passes().into();
    line
}

fn table(file: &Path, trace: &Trace, parity: &Parity) -> String {
    match (trace, parity) {
        (Trace::DlAdmm(trace), Parity::DlAdmm(parity)) => dladmm_table(file, trace, parity),
        (_, Parity::Badm(of) | Parity::FirstOrder(of)) => {
            let steps = format!("{} steps", of.steps);
            tensor_table(file, parity, &steps)
        }
        (_, Parity::Nm(of)) => {
            let masks = format!(
                "{} updates, {} mask entries and {} counts of flips differ",
                of.updates, of.differing_mask_entries, of.differing_flips
            );
            tensor_table(file, parity, &masks)
        }
        // A replay is of its trace's kind.
        _ => String::new(),
    }
}

fn verdict(passes: bool) -> &'static str {
    if passes { "passed" } else { "FAILED" }
}

/// A row per tensor.
fn tensor_table(file: &Path, parity: &Parity, what: &str) -> String {
    let verdict = verdict(parity.passes());
    let mut text = format!("{}\n{}, {what}: {verdict}\n", file.display(), parity.kind());
    text += "tensor              error    tolerance\n";
    for TensorDifference { tensor, error, tolerance, .. } in parity.tensors() {
        let mark = if error <= tolerance { ' ' } else { '!' };
        text += &format!("{tensor:<12}{error:>12.1e}{mark}{tolerance:>12.0e}\n");
    }
    text
}

/// A row per tensor, a column per recorded iteration; what is outside its tolerance is marked.
fn dladmm_table(file: &Path, trace: &DlAdmmTrace, parity: &dladmm::Parity) -> String {
    let settings = &trace.settings;
    let mut text = format!(
        "{}\n{} samples of {}, 784-{n}-{n}-10, ρ = {:e}, {} iterations: {}\n",
        file.display(),
        settings.samples,
        settings.dataset,
        settings.rho,
        settings.iterations,
        verdict(parity.passes()),
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

fn cell(parity: &dladmm::Parity, name: &str, iteration: usize) -> String {
    let found = parity.tensors.iter().find(|it| it.tensor == name && it.iteration == iteration);
    found.map_or_else(
        || format!("{:>11}", "–"),
        |difference| {
            let mark = if difference.passes() { ' ' } else { '!' };
            format!("{:>10.1e}{mark}", difference.error)
        },
    )
}
