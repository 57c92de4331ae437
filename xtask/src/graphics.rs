//! What programs need to reach a GPU, or software that stands in for one.
//!
//! `demo` and `test` come here. Whether there is an adapter is not ours to judge: `dualstep adapters` is asked, the
//! built program itself. On Linux, Mesa's software Vulkan driver is installed only when it finds none.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::packages::{self, Wanted};
use crate::process::{run, succeeds};

/// Mesa's lavapipe, which needs no GPU, and the Vulkan loader.
const SOFTWARE_DRIVER: Wanted = Wanted {
    what: "a software Vulkan driver",
    apt: &["mesa-vulkan-drivers", "libvulkan1"],
    dnf: &["mesa-vulkan-drivers", "vulkan-loader"],
    pacman: &["vulkan-swrast", "vulkan-icd-loader"],
    zypper: &["libvulkan_lvp", "libvulkan1"],
};

/// Where libraries expect a folder that is the user's alone. EGL complains when the variable is not set, as it is not
/// in containers and CI.
const RUNTIME_FOLDER: &str = "XDG_RUNTIME_DIR";

/// How many bits the vectors of Mesa's software driver have. It takes 256 of itself even where a processor has 512, for which
/// products have tiles of their own; other drivers do not know the variable.
const VECTOR_WIDTH: &str = "LP_NATIVE_VECTOR_WIDTH";

/// The surroundings in which programs that use an adapter are run. Keep it while they run.
pub struct Graphics {
    /// Ours, where the system has none.
    runtime_folder: Option<TempDir>,
    /// The processor's, where the driver's own are narrower and nothing else was asked for.
    vector_width: Option<&'static str>,
}

impl Graphics {
    /// Makes the surroundings. No driver is looked for or installed yet.
    pub fn new() -> Result<Self> {
        let vector_width = (env::var_os(VECTOR_WIDTH).is_none() && has_wide_vectors()).then_some("512");
        if let Some(width) = vector_width {
            println!("{VECTOR_WIDTH} is set to what this processor has: {width}");
        }
        Ok(Self { runtime_folder: runtime_folder()?, vector_width })
    }

    /// Makes sure that `dualstep`, the built program, finds an adapter: installs a software driver if it does not.
    pub fn need_adapter(&self, dualstep: &Path) -> Result<()> {
        println!("Adapters found by `dualstep adapters`:");
        let adapters = || run(self.prepare(Command::new(dualstep).arg("adapters")));
        if adapters().is_ok() {
            return Ok(());
        }
        if !cfg!(target_os = "linux") {
            bail!("no adapter; on this system it comes with the GPU's driver, so install or mend that");
        }
        println!("There is none.");
        packages::install(&SOFTWARE_DRIVER)?;
        adapters().context("there is no adapter even with a software Vulkan driver installed")
    }

    /// Whether `dualstep` finds an adapter that is reached through OpenGL.
    pub fn has_gl(&self, dualstep: &Path) -> bool {
        succeeds(self.prepare(Command::new(dualstep).args(["--backend", "gl", "adapters"])))
    }

    /// Puts `command` into these surroundings.
    pub fn prepare<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Some(folder) = &self.runtime_folder {
            command.env(RUNTIME_FOLDER, folder.path());
        }
        command.envs(self.vector_width.map(|width| (VECTOR_WIDTH, width)))
    }
}

/// A folder of ours, unless the system has one.
fn runtime_folder() -> Result<Option<TempDir>> {
    let given = env::var_os(RUNTIME_FOLDER).is_some_and(|folder| Path::new(&folder).is_dir());
    if given || !cfg!(target_os = "linux") {
        return Ok(None);
    }
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?; // mode 0700
    println!(
        "{RUNTIME_FOLDER} names no folder; a temporary one takes its place: {}",
        folder.path().display()
    );
    Ok(Some(folder))
}

/// Whether the processor has vectors of 512 bits.
fn has_wide_vectors() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}
