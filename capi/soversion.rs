//! The version of the C interface: part of the shared library's name, and other where programs have to be compiled anew.
//!
//! The library's build, its tests and `cargo xtask capi` share it. cargo-c counts alike.

/// Of a version of the crate, such as `0.1.0`: before 1.0 a minor version may break programs.
pub fn of(version: &str) -> String {
    let mut parts = version.split('.');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("0"), Some("0"), Some(patch)) => format!("0.0.{patch}"),
        (Some("0"), Some(minor), _) => format!("0.{minor}"),
        (major, ..) => major.unwrap_or(version).to_owned(),
    }
}
