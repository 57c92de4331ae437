//! `cargo xtask lint`: format, lints and documentation, none with a complaint.

use anyhow::Result;

use crate::process::announce_and_run;
use crate::workspace::{Scope, cargo};

/// Runs the command.
pub fn run(scope: &Scope) -> Result<()> {
    announce_and_run(&mut cargo(&["fmt", "--all", "--check"]))?;
    for packages in scope.packages() {
        let lints = ["--all-targets", "--", "--deny", "warnings"];
        announce_and_run(cargo(&["clippy"]).args(packages).args(lints))?;
        let mut documentation = cargo(&["doc", "--no-deps"]);
        announce_and_run(documentation.args(packages).env("RUSTDOCFLAGS", "--deny warnings"))?;
    }
    Ok(())
}
