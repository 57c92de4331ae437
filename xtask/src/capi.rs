//! `cargo xtask capi`: the library for C, installed as distributions expect it.

#[path = "../../capi/soversion.rs"]
mod soversion;

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::announce_and_run;
use crate::workspace::{SUITE, cargo, root, target};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Build the library for C and install it: shared and static, its header, and what pkg-config reads.
#[derive(clap::Args)]
pub struct Args {
    /// Where it will be used: files go to lib and include in this folder.
    #[arg(long, value_name = "FOLDER", required_unless_present = "header")]
    prefix: Option<PathBuf>,
    /// The folder of libraries in the prefix, such as lib64.
    #[arg(long, value_name = "NAME", default_value = "lib")]
    libdir: PathBuf,
    /// Put files below this folder instead, as packages are made.
    #[arg(long, value_name = "FOLDER")]
    destdir: Option<PathBuf>,
    /// The profile of cargo's that it is built with.
    #[arg(long, value_name = "NAME", default_value = "release")]
    profile: String,
    /// Write capi/include/dualstep.h anew from the sources; nothing is installed.
    #[arg(long, conflicts_with_all = ["prefix", "destdir"])]
    header: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    match &args.prefix {
        Some(prefix) => install(args, &std::path::absolute(prefix)?),
        None => {
            // Among all tests, so that nothing is built with other features than for the suite.
            let mut test = cargo(&["test", "--quiet", "--test", "header"]);
            announce_and_run(test.args(SUITE).env("DUALSTEP_WRITE_HEADER", "1"))
        }
    }
}

fn install(args: &Args, prefix: &Path) -> Result<()> {
    let Some(names) = Names::of_system() else {
        bail!(
            "installing is for systems with shared objects; on this one use cargo-c: `cargo cinstall -p dualstep-capi`"
        );
    };
    let built = build(&args.profile)?;
    let place = match &args.destdir {
        Some(destdir) => destdir.join(prefix.strip_prefix(Component::RootDir).unwrap_or(prefix)),
        None => prefix.to_owned(),
    };
    let libraries = place.join(&args.libdir);
    let (headers, package) = (place.join("include"), libraries.join("pkgconfig"));
    for folder in [&libraries, &headers, &package] {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    copy(&built.folder.join(names.built), &libraries.join(&names.whole))?;
    link(&names.whole, &libraries.join(&names.of_version))?;
    link(&names.of_version, &libraries.join(names.plain))?;
    copy(&built.folder.join("libdualstep_capi.a"), &libraries.join("libdualstep.a"))?;
    copy(&root().join("capi/include/dualstep.h"), &headers.join("dualstep.h"))?;
    let description = description(prefix, &args.libdir, &built.native);
    fs::write(package.join("dualstep.pc"), description).context("cannot write dualstep.pc")?;
    println!("Installed in {}", place.display());
    Ok(())
}

/// What a shared library is called, from the name that has all of its version to that which linkers look for.
struct Names {
    built: &'static str,
    whole: String,
    of_version: String,
    plain: &'static str,
}

impl Names {
    fn of_system() -> Option<Self> {
        let version = soversion::of(VERSION);
        if cfg!(target_os = "macos") {
            let name = |version: &str| format!("libdualstep.{version}.dylib");
            let (whole, of_version) = (name(VERSION), name(&version));
            Some(Self { built: "libdualstep_capi.dylib", whole, of_version, plain: "libdualstep.dylib" })
        } else if cfg!(unix) {
            let name = |version: &str| format!("libdualstep.so.{version}");
            let (whole, of_version) = (name(VERSION), name(&version));
            Some(Self { built: "libdualstep_capi.so", whole, of_version, plain: "libdualstep.so" })
        } else {
            None
        }
    }
}

/// What cargo has built.
struct Built {
    folder: PathBuf,
    /// Flags for what the static library needs of the system.
    native: String,
}

fn build(profile: &str) -> Result<Built> {
    let folder = target()?.join(if profile == "dev" { "debug" } else { profile });
    // It stays there when cargo finds nothing to build the next time.
    let list = folder.join("dualstep-native-libraries");
    let package = ["rustc", "--package", "dualstep-capi", "--lib", "--profile", profile];
    let mut rustc = cargo(&package);
    rustc.arg("--").arg("--print").arg(format!("native-static-libs={}", list.display()));
    announce_and_run(&mut rustc)?;
    let native = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    Ok(Built { folder, native: native.trim().to_owned() })
}

/// What pkg-config reads.
fn description(prefix: &Path, libdir: &Path, native: &str) -> String {
    let (prefix, libdir) = (prefix.display(), libdir.display());
    format!(
        "prefix={prefix}\n\
         libdir=${{prefix}}/{libdir}\n\
         includedir=${{prefix}}/include\n\
         \n\
         Name: dualstep\n\
         Description: Training and sparsifying neural networks by splitting methods (ADMM) on any GPU\n\
         Version: {VERSION}\n\
         Cflags: -I${{includedir}}\n\
         Libs: -L${{libdir}} -ldualstep\n\
         Libs.private: {native}\n"
    )
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    // A library that a program has loaded must not change beneath it; this one makes a new file.
    let _ = fs::remove_file(to);
    let copied = fs::copy(from, to).map(drop);
    copied.with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

#[cfg(unix)]
fn link(to: &str, name: &Path) -> Result<()> {
    let _ = fs::remove_file(name);
    std::os::unix::fs::symlink(to, name).with_context(|| format!("cannot create {}", name.display()))
}

#[cfg(not(unix))]
fn link(to: &str, name: &Path) -> Result<()> {
    bail!("cannot make {} a link to {to} on this system", name.display())
}
