//! `dualstep tune`: which tiles multiply fastest on the user's own adapter, kept for all later commands.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dualstep::bench::{self, Gain};
use dualstep::engine::{Gpu, GpuOptions, Tuning};

use super::{Failure, Outcome, outputs, print, tell};

/// Flags of `dualstep tune`.
#[derive(clap::Args)]
pub struct Arguments {
    /// About how long it may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    seconds: f64,
}

/// Measures, keeps, and prints a row per tile.
pub fn run(options: &GpuOptions, file: Option<PathBuf>, arguments: &Arguments) -> Outcome {
    let no_home =
        || Failure("no home folder is known; say where to keep the tuning with --tunings FILE".into());
    let file = file.ok_or_else(no_home)?;
    outputs::check_folder("--tunings", file.parent().unwrap_or(Path::new("")))?;
    Tuning::read_all(&file)?;
    let gpu = Gpu::open(options)?;
    tell(gpu.capabilities());
    let tuning = bench::tune(&gpu, arguments.seconds, |round, rounds| {
        tell(format_args!("round {round} of {rounds}"));
    })?;
    print_times(&tuning)?;
    print_gains(bench::gains(&gpu, &tuning))?;
    tuning.keep(&file)?;
    print(format_args!("kept in {}", file.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Milliseconds of each tile, in a column for every number of workgroups.
fn print_times(tuning: &Tuning) -> Result<(), Failure> {
    let times = || tuning.tiles.iter().flat_map(|tile| &tile.times);
    let columns: BTreeSet<u64> = times().map(|(groups, _)| *groups).collect();
    let heading: String = columns.iter().map(|groups| format!("{groups:>10}")).collect();
    print(format_args!("{:<16}{heading}  workgroups", "milliseconds of"))?;
    for tile in &tuning.tiles {
        let cell = |groups: &u64| match tile.times.iter().find(|(measured, _)| measured == groups) {
            Some((_, seconds)) => format!("{:>10.3}", 1e3 * seconds),
            None => format!("{:>10}", "–"),
        };
        print(format_args!("{:<16}{}", tile.tile, columns.iter().map(cell).collect::<String>()))?;
    }
    Ok(())
}

fn print_gains((gains, of): (Vec<Gain>, usize)) -> Result<(), Failure> {
    print(format_args!(
        "of {of} sizes from 10 × 10 to 4096 × 4096, {} get another tile than by rule",
        gains.len()
    ))?;
    if let Some(most) = gains.iter().max_by(|one, other| one.ratio.total_cmp(&other.ratio)) {
        let Gain { output, by_rule, tuned, ratio } = most;
        let mean = (gains.iter().map(|gain| gain.ratio.ln()).sum::<f64>() / gains.len() as f64).exp();
        print(format_args!(
            "those {mean:.2} times as fast in the mean, at most {output}: {tuned} for {by_rule}, {ratio:.2}"
        ))?;
    }
    Ok(())
}
