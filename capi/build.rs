//! Gives the shared library the name that programs linked with it look for.

#[path = "soversion.rs"]
mod soversion;

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=soversion.rs");
    let version = soversion::of(&env::var("CARGO_PKG_VERSION").expect("cargo sets the version"));
    match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("macos") => {
            println!("cargo::rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libdualstep.{version}.dylib");
        }
        Ok("linux" | "freebsd" | "netbsd" | "openbsd" | "dragonfly") => {
            println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libdualstep.so.{version}");
        }
        _ => {}
    }
}
