//! The system's package manager: apt (Debian, Ubuntu and their kin), dnf, pacman or zypper.
//!
//! Commands come here for what cannot be built: a software Vulkan driver, pip, a packaged data set. Every call says
//! what it is about to do, and apt's lists are refreshed only after an attempt has failed without that. CI runs with
//! apt; the other three managers do what their manuals say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{run, succeeds};

/// Something to be installed, and the packages that are it on each kind of system.
pub struct Wanted {
    /// What it is, for messages.
    pub what: &'static str,
    /// Debian, Ubuntu.
    pub apt: &'static [&'static str],
    /// Fedora.
    pub dnf: &'static [&'static str],
    /// Arch.
    pub pacman: &'static [&'static str],
    /// openSUSE.
    pub zypper: &'static [&'static str],
}

/// A package manager and how it installs without asking.
struct Manager {
    program: &'static str,
    install: &'static [&'static str],
    /// Brings its lists up to date where `install` does not.
    refresh: Option<&'static [&'static str]>,
    packages: fn(&Wanted) -> &'static [&'static str],
}

const MANAGERS: [Manager; 4] = [
    Manager {
        program: "apt-get",
        install: &["install", "--yes", "--no-install-recommends"],
        refresh: Some(&["update"]),
        packages: |wanted| wanted.apt,
    },
    Manager {
        program: "dnf",
        install: &["install", "--assumeyes"],
        refresh: None,
        packages: |wanted| wanted.dnf,
    },
    Manager {
        program: "pacman",
        install: &["--sync", "--needed", "--noconfirm"],
        refresh: None, // without upgrading the whole system, Arch calls that unsupported
        packages: |wanted| wanted.pacman,
    },
    Manager {
        program: "zypper",
        install: &["--non-interactive", "install"],
        refresh: None,
        packages: |wanted| wanted.zypper,
    },
];

/// Installs `wanted`, with sudo unless already root.
pub fn install(wanted: &Wanted) -> Result<()> {
    let Wanted { what, apt, .. } = wanted;
    let there = |manager: &&Manager| succeeds(Command::new(manager.program).arg("--version"));
    let Some(manager) = MANAGERS.iter().find(there) else {
        let debian = apt.join(" ");
        bail!(
            "none of apt-get, dnf, pacman and zypper is here to install {what}; install it ({debian} on Debian)"
        );
    };
    let packages = (manager.packages)(wanted);
    println!("Installing {what} with {}: {}", manager.program, packages.join(" "));
    let attempt = || run(privileged(manager.program)?.args(manager.install).args(packages));
    let outcome = match manager.refresh {
        Some(refresh) => again_after(manager.program, refresh, attempt),
        None => attempt(),
    };
    outcome.with_context(|| format!("cannot install {what}"))
}

/// Downloads `package` of Debian and unpacks its files below `folder`. Nothing is installed and no privilege is
/// needed.
pub fn unpack(package: &str, folder: &Path) -> Result<()> {
    if !succeeds(Command::new("apt-get").arg("--version")) {
        bail!("apt-get is not here; get Debian's package {package} another way, then run this again");
    }
    println!("Downloading the Debian package {package} with apt-get; it is unpacked, not installed");
    // Without the option apt warns root that it cannot drop privileges in a folder of root's.
    let download = ["-o", "APT::Sandbox::User=root", "--quiet", "download", package];
    let attempt = || run(Command::new("apt-get").args(download).current_dir(folder));
    again_after("apt-get", &["update"], attempt).with_context(|| format!("cannot download {package}"))?;
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
fn again_after(manager: &str, refresh: &[&str], attempt: impl Fn() -> Result<()>) -> Result<()> {
    if attempt().is_ok() {
        return Ok(());
    }
    println!(
        "That failed; refreshing the package lists with {manager} {} and trying once more",
        refresh.join(" ")
    );
    run(privileged(manager)?.args(refresh))?;
    attempt()
}

/// A package manager with the right to change the system, told that nobody answers questions.
fn privileged(program: &str) -> Result<Command> {
    let id = Command::new("id").arg("-u").output().context("cannot run `id -u`")?;
    let quiet = ["DEBIAN_FRONTEND=noninteractive", program]; // the others do not look at it
    let mut command = Command::new("env");
    if id.stdout.trim_ascii() != b"0" {
        if !succeeds(Command::new("sudo").arg("--version")) {
            bail!("{program} needs root here and sudo is not installed; run this as root");
        }
        command = Command::new("sudo");
        command.arg("env");
    }
    command.args(quiet);
    Ok(command)
}
