//! Compilers other than naga, and what they make of every kernel without a GPU.
//!
//! `cargo xtask isa` and `cargo xtask tint` call this, and set the environment or bring the tools that it takes.

mod isa;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use dualstep::engine::{Kernel, Variant, flatten};
use dualstep::kernels;

/// What compilers other than naga make of every kernel.
#[derive(Parser)]
enum Command {
    Isa(isa::Arguments),
    /// Write every kernel in every variant as WGSL that needs nothing else.
    Wgsl {
        /// Where to.
        folder: PathBuf,
    },
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Isa(arguments) => isa::run(&arguments),
        Command::Wgsl { folder } => write_all(&folder).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Every variant of every kernel whose name holds this.
fn variants(name: &str) -> impl Iterator<Item = (&'static Kernel, Variant)> {
    let chosen = kernels::ALL.iter().filter(move |kernel| kernel.name.contains(name));
    chosen.flat_map(|kernel| (kernel.variants)().into_iter().map(|variant| (*kernel, variant)))
}

/// A file for each. Where subgroups are used it says so first, as WGSL asks for and naga does not know.
fn write_all(folder: &PathBuf) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (number, (kernel, variant)) in variants("").enumerate() {
        let enable = if variant.subgroups { "enable subgroups;\n" } else { "" };
        let file = format!("{}.{number}.wgsl", kernel.name.replace('/', "-"));
        let text = format!("{enable}// {} {variant}\n{}", kernel.name, flatten(kernel.name, &variant)?);
        let path = folder.join(file);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
