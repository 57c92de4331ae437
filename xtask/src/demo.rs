//! `cargo xtask demo`: from a fresh clone to a trained network and its report.

use std::process::Command;

use anyhow::Result;

use crate::graphics::Graphics;
use crate::process::announce_and_run;
use crate::workspace;

/// What is trained: 784-200-200-10 on the 10,000 images that are part of the program, by exact steps, with nothing that an
/// iteration can do without.
const TRAINING: [&str; 9] = [
    "--hidden",
    "200,200",
    "--iterations",
    "200",
    "--sweep",
    "backward",
    "--accelerate",
    "none",
    "--no-snapshot",
];

/// Where the report goes, from the root of the workspace.
const REPORT: &str = "target/demo";

/// Runs the command.
pub fn run() -> Result<()> {
    let graphics = Graphics::new()?;
    announce_and_run(&mut workspace::cargo(&["build", "--release", "--bin", "dualstep"]))?;
    let dualstep = workspace::dualstep("release")?;
    graphics.need_adapter(&dualstep)?;
    let mut train = Command::new(&dualstep);
    train.arg("train").args(TRAINING).args(["--report", REPORT]).current_dir(workspace::root());
    announce_and_run(graphics.prepare(&mut train))?;
    println!("The report: {}", workspace::root().join(REPORT).display());
    Ok(())
}
