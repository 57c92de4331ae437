//! `cargo xtask isa`: what a real GPU's compiler makes of every kernel, without the GPU.
//!
//! Mesa's RADV makes pipelines on null hardware; the program `dualstep-compilers` asks it. CI fails where registers spill.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::announce_and_run;
use crate::results;
use crate::workspace;

/// Compile every kernel for a GPU that need not be there, and fail where registers spill.
#[derive(clap::Args)]
pub struct Args {
    /// The GPU, by RADV's name of its family.
    #[arg(long, default_value = "navi21")]
    family: String,
    /// Write the table into benches/RESULTS.md.
    #[arg(long)]
    write: bool,
    /// Only kernels whose name holds this.
    #[arg(default_value = "", conflicts_with = "write")]
    name: String,
    /// Print their machine code, too.
    #[arg(long, conflicts_with = "write")]
    assembly: bool,
}

/// Where drivers are announced to the Vulkan loader.
const MANIFESTS: [&str; 2] = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d"];

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let mut isa = Command::new(workspace::compilers()?);
    isa.arg("isa").arg(&args.name).env("VK_DRIVER_FILES", radv()?).env("RADV_FORCE_FAMILY", &args.family);
    // What the variable was called before.
    isa.env("VK_ICD_FILENAMES", radv()?);
    if args.assembly {
        isa.arg("--assembly");
    }
    if !args.write {
        return announce_and_run(&mut isa);
    }
    let output = isa.arg("--markdown").output().context("cannot run dualstep-compilers")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    results::replace("isa", &String::from_utf8(output.stdout)?)
}

/// The manifest of RADV.
fn radv() -> Result<PathBuf> {
    let folders = MANIFESTS.iter().filter_map(|folder| Path::new(folder).read_dir().ok());
    let files = folders.flatten().flatten().map(|entry| entry.path());
    let is_radv = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("radeon_icd"))
    };
    files
        .into_iter()
        .find(is_radv)
        .context("RADV is not installed; it is in Mesa's Vulkan drivers (mesa-vulkan-drivers)")
}
