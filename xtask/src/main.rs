//! Developer commands of dualstep, run as `cargo xtask <command>`.
//!
//! Each command is a module with its arguments and a `run`. They depend on no other crate of the workspace, so that
//! they build in seconds.

use std::process::ExitCode;

use clap::Parser;

/// Where full data sets lie: the library's own file, so that both agree.
#[path = "../../src/data/cache.rs"]
mod cache;
mod data;
mod packages;
mod process;

/// Developer commands of dualstep.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Command {
    Data(data::Args),
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Data(args) => data::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
