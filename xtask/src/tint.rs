//! `cargo xtask tint`: every kernel as a second compiler of WGSL sees it, uniformity of control flow included.
//!
//! Tint comes with Dawn in a package of node's registry and validates without a driver. Where node is not installed or
//! its registry out of reach there is nothing to run, which is said and no failure: naga and our own analysis see every
//! kernel in the suite.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{announce_and_run, succeeds};
use crate::workspace;

/// Dawn for node.
const PACKAGE: &str = "webgpu@0.6.2";
/// Reads each file of a folder, and exits with how many are not valid.
const SCRIPT: &str = include_str!("tint.mjs");

/// Runs the command.
pub fn run() -> Result<()> {
    if !["node", "npm"].iter().all(|program| succeeds(Command::new(program).arg("--version"))) {
        println!("SKIPPED: Tint needs node and npm, which are not installed");
        return Ok(());
    }
    let folder = workspace::root().join("target/tint");
    let shaders = folder.join("shaders");
    if shaders.is_dir() {
        fs::remove_dir_all(&shaders).with_context(|| format!("cannot clear {}", shaders.display()))?;
    }
    announce_and_run(Command::new(workspace::compilers()?).arg("wgsl").arg(&shaders))?;
    let install = ["install", "--no-save", "--no-audit", "--no-fund", "--silent", PACKAGE];
    let in_folder = |program: &str| {
        let mut command = Command::new(program);
        command.current_dir(&folder);
        command
    };
    if !succeeds(in_folder("npm").args(install).arg("--prefix").arg(&folder)) {
        println!("SKIPPED: npm cannot install {PACKAGE}, which Tint comes with");
        return Ok(());
    }
    let script = folder.join("tint.mjs");
    fs::write(&script, SCRIPT).with_context(|| format!("cannot write {}", script.display()))?;
    announce_and_run(in_folder("node").arg(&script).arg(&shaders))
}
