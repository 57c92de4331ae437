//! Developer commands of dualstep, run as `cargo xtask <command>`.
//!
//! Each command is a module with a `run`. They depend on no other crate of the workspace, so that they build in
//! seconds, and a program of the workspace is used as its users do: by building and running it.

use std::process::ExitCode;

use clap::Parser;

/// Where full data sets lie: the library's own file, so that both agree.
#[path = "../../src/data/cache.rs"]
mod cache;
mod capi;
mod cora;
mod data;
mod demo;
mod graphics;
mod isa;
mod lint;
mod package;
mod packages;
mod process;
mod results;
mod test;
mod tint;
mod workspace;

/// Developer commands of dualstep.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Command {
    Data(data::Args),
    /// Train on the images that are part of the program and write a report, on a software driver if need be.
    Demo,
    /// Run the whole suite, on a software driver if need be.
    Test(workspace::Scope),
    Results(results::Args),
    Isa(isa::Args),
    Capi(capi::Args),
    /// Have Tint, the compiler of WGSL within Chrome, validate every kernel, where node is installed.
    Tint,
    /// Check format, clippy's lints and the documentation.
    Lint(workspace::Scope),
    /// Check that no dependency needs a newer Rust than is stated, and that the packed crate builds.
    Package,
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Data(args) => data::run(&args),
        Command::Demo => demo::run(),
        Command::Test(scope) => test::run(&scope),
        Command::Results(args) => results::run(&args),
        Command::Isa(args) => isa::run(&args),
        Command::Capi(args) => capi::run(&args),
        Command::Tint => tint::run(),
        Command::Lint(scope) => lint::run(&scope),
        Command::Package => package::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
