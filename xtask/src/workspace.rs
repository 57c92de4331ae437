//! The workspace that these commands serve: its root, its cargo, the programs it builds.

use std::env::{self, consts::EXE_SUFFIX};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::announce_and_run;

/// The packages that are all of dualstep: those linked with Burn, which brings hundreds of crates, are tested by themselves.
pub const SUITE: [&str; 5] = ["--workspace", "--exclude", "dualstep-burn", "--exclude", "peers"];
/// The packages linked with Burn.
pub const WITH_BURN: [&str; 4] = ["--package", "dualstep-burn", "--package", "peers"];

/// Which packages are looked at.
#[derive(clap::Args)]
pub struct Scope {
    /// Those linked with Burn, too: on two cores they take a quarter of an hour more.
    #[arg(long)]
    with_burn: bool,
}

impl Scope {
    /// As arguments to cargo, a list for each time that cargo is called.
    pub fn packages(&self) -> impl Iterator<Item = &'static [&'static str]> {
        let all: [&[&str]; 2] = [&SUITE, &WITH_BURN];
        all.into_iter().take(if self.with_burn { 2 } else { 1 })
    }
}

/// The folder with the workspace's `Cargo.toml`.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ lies in the root")
}

/// The cargo that started us, to be run in the root.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// The program `dualstep` as cargo has built it with a profile, `debug` or `release`.
pub fn dualstep(profile: &str) -> Result<PathBuf> {
    program("dualstep", profile)
}

/// The program `dualstep-compilers`, built as for the suite, so that nothing is built twice.
pub fn compilers() -> Result<PathBuf> {
    announce_and_run(cargo(&["test"]).args(SUITE).args(["--all-targets", "--no-run"]))?;
    program("dualstep-compilers", "debug")
}

/// The folder that cargo builds into.
pub fn target() -> Result<PathBuf> {
    let this = env::current_exe().context("cannot find out where xtask itself lies")?;
    let target = this.ancestors().nth(2).context("xtask does not lie in a target folder")?;
    Ok(target.to_owned())
}

/// A program of the workspace as cargo has built it.
///
/// Asking `cargo run` for it would be shorter, but after `cargo test` that builds wgpu a second time: the tests'
/// naga has features of its own.
fn program(name: &str, profile: &str) -> Result<PathBuf> {
    let program = target()?.join(profile).join(format!("{name}{EXE_SUFFIX}"));
    ensure!(program.is_file(), "cargo has built no {}", program.display());
    Ok(program)
}
