//! `cargo xtask test`: the whole suite, on the adapter that is there and once more through OpenGL.

use std::fs;

use anyhow::{Context, Result};

use crate::graphics::Graphics;
use crate::process::announce_and_run;
use crate::workspace::{self, SUITE, Scope, cargo};

/// What a test that needs the device includes: it reads the two variables below.
const DEVICE_HELPER: &str = "support/gpu.rs";
/// Set: a test that finds no adapter fails; unset, it would be skipped.
const REQUIRE: &str = "DUALSTEP_REQUIRE_GPU";
/// Which backend tests use.
const BACKEND: &str = "DUALSTEP_BACKEND";

/// Runs the command.
pub fn run(scope: &Scope) -> Result<()> {
    let graphics = Graphics::new()?;
    announce_and_run(cargo(&["test"]).args(SUITE).args(["--all-targets", "--no-run"]))?;
    let dualstep = workspace::dualstep("debug")?;
    graphics.need_adapter(&dualstep)?;
    let test = |packages: &[&str], arguments: &[&str], backend: Option<&str>| {
        let mut command = cargo(&["test"]);
        command.args(packages).args(arguments).env(REQUIRE, "1").envs(backend.map(|name| (BACKEND, name)));
        announce_and_run(graphics.prepare(&mut command))
    };
    for packages in scope.packages() {
        test(packages, &["--all-targets"], None)?;
        test(packages, &["--doc"], None)?;
    }

    let on_device = tests_on_device()?;
    if !graphics.has_gl(&dualstep) {
        println!("SKIPPED on OpenGL, where no adapter is found: {}", on_device.join(" "));
        return Ok(());
    }
    // All packages, as before: for another set of them cargo builds dependencies with other features.
    let chosen: Vec<&str> = on_device.iter().flat_map(|name| ["--test", name]).collect();
    test(&SUITE, &chosen, Some("gl"))
}

/// The names of the integration tests that include [`DEVICE_HELPER`].
fn tests_on_device() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(workspace::root().join("tests")).context("cannot list tests/")? {
        let path = entry?.path();
        let source = path.extension().is_some_and(|extension| extension == "rs");
        if source && fs::read_to_string(&path)?.contains(DEVICE_HELPER) {
            names.extend(path.file_stem().map(|name| name.display().to_string()));
        }
    }
    names.sort();
    anyhow::ensure!(!names.is_empty(), "no file in tests/ includes {DEVICE_HELPER}; was it renamed?");
    Ok(names)
}
