//! `cargo xtask lint`: format, lints and documentation, none with a complaint.

use anyhow::Result;

use crate::process::announce_and_run;
use crate::workspace::cargo;

/// Runs the command.
pub fn run() -> Result<()> {
    announce_and_run(&mut cargo(&["fmt", "--all", "--check"]))?;
    announce_and_run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    let mut documentation = cargo(&["doc", "--workspace", "--no-deps"]);
    announce_and_run(documentation.env("RUSTDOCFLAGS", "--deny warnings"))
}
