//! Burn beside dualstep: the same work on one wgpu device, in one process, in turns.
//!
//! `cargo run --release -p peers` prints a row for each piece of work: the median time of either, and of their ratio over the
//! rounds. A round runs each of the two as often as takes a tenth of a second, each run from its submission to its end. Burn
//! has its fusion and its autotuning on, and as many runs before the first round as it needs to settle; with
//! `--no-default-features` it takes tensor operations one by one. Both results are compared before anything is timed.

mod clock;
mod products;
mod steps;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use burn::tensor::Device;
use clap::Parser;
use dualstep_burn::Shared;

use crate::clock::{Contest, Row};

/// Times dualstep beside Burn on one wgpu device.
#[derive(Parser)]
struct Arguments {
    /// Only work whose name holds one of these.
    filters: Vec<String>,
    /// Rounds of which the median is told.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Write the table here as well.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let shared = Shared::open(Device::wgpu_options())?;
    let capabilities = shared.gpu().capabilities();
    let fusion = if cfg!(feature = "fusion") { "with" } else { "without" };
    let title = format!(
        "{} ({}), Burn 0.22 {fusion} fusion, {} rounds",
        capabilities.adapter, capabilities.driver, arguments.rounds
    );
    println!("{title}\n\n{}", Row::HEADING);
    let mut report = format!("{title}\n\n{}\n", Row::HEADING);
    for (name, contest) in contests() {
        if !arguments.filters.is_empty()
            && !arguments.filters.iter().any(|filter| name.contains(filter.as_str()))
        {
            continue;
        }
        let row = contest(&shared).and_then(|contest| contest.run(&shared, &name, arguments.rounds));
        let row = row.with_context(|| name)?;
        println!("{row}");
        std::io::stdout().flush()?;
        report.push_str(&format!("{row}\n"));
    }
    if let Some(path) = arguments.report {
        std::fs::write(&path, report).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Sets a piece of work up for both.
type Setup = Box<dyn Fn(&Shared) -> Result<Contest>>;

fn contests() -> Vec<(String, Setup)> {
    products::all().into_iter().chain(steps::all()).collect()
}
