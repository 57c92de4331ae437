//! `cargo xtask package`: what a release needs beside a passing suite, namely that no dependency asks for a newer compiler than
//! the manifest states, and that the packed crate builds by itself.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process::announce_and_run;
use crate::workspace::cargo;

/// Packages that are released for the compiler that the workspace states. What is linked with Burn needs Burn's.
const RELEASED: [&str; 2] = ["dualstep", "dualstep-capi"];

/// Runs the command.
pub fn run() -> Result<()> {
    check_compiler()?;
    announce_and_run(&mut cargo(&["package", "--package", "dualstep", "--allow-dirty"]))
}

/// Compares the compiler that is stated with what dependencies state. Clippy's `incompatible_msrv` looks at our own code.
fn check_compiler() -> Result<()> {
    let output =
        cargo(&["metadata", "--format-version", "1"]).output().context("cannot run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata = Metadata::new(&serde_json::from_slice(&output.stdout)?);
    for name in RELEASED {
        let (stated, newer) = metadata.compilers(name).with_context(|| format!("no package {name}"))?;
        ensure!(newer.is_empty(), "{name} states Rust {stated} but needs newer for {}", newer.join(", "));
        println!("{name}: Rust {stated}, and no dependency asks for a newer one");
    }
    Ok(())
}

/// What `cargo metadata` says of each package, by its identifier.
struct Metadata {
    packages: HashMap<String, Package>,
}

struct Package {
    name: String,
    /// The Rust that its manifest states.
    rust: Option<String>,
    /// Not those of its tests.
    dependencies: Vec<String>,
}

impl Metadata {
    fn new(metadata: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let built =
            |dependency: &Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
        let mut dependencies: HashMap<String, Vec<String>> = HashMap::new();
        for node in list(&metadata["resolve"]["nodes"]) {
            let of_node =
                list(&node["deps"]).into_iter().filter(built).map(|dependency| text(&dependency["pkg"]));
            dependencies.insert(text(&node["id"]), of_node.collect());
        }
        let package = |package: Value| {
            let id = text(&package["id"]);
            let (name, rust) = (text(&package["name"]), package["rust_version"].as_str().map(str::to_owned));
            let dependencies = dependencies.remove(&id).unwrap_or_default();
            (id, Package { name, rust, dependencies })
        };
        Self { packages: list(&metadata["packages"]).into_iter().map(package).collect() }
    }

    /// The Rust that a package states, and which of its dependencies state a newer one.
    fn compilers(&self, name: &str) -> Option<(&str, Vec<String>)> {
        let (root, package) = self.packages.iter().find(|(_, package)| package.name == name)?;
        let stated = package.rust.as_deref()?;
        let (mut open, mut seen, mut newer) = (vec![root], vec![root], Vec::new());
        while let Some(package) = open.pop().and_then(|id| self.packages.get(id)) {
            if let Some(rust) = package.rust.as_deref().filter(|rust| version(rust) > version(stated)) {
                newer.push(format!("{} ({rust})", package.name));
            }
            for dependency in &package.dependencies {
                if !seen.contains(&dependency) {
                    seen.push(dependency);
                    open.push(dependency);
                }
            }
        }
        Some((stated, newer))
    }
}

/// 1.88 and 1.88.0 are equal.
fn version(text: &str) -> [u32; 3] {
    let mut numbers = text.split('.').map(|number| number.parse().unwrap_or(0));
    [(); 3].map(|()| numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_dependency_of_tests_may_be_newer_and_others_may_not() {
        let package = |name: &str, rust: &str| json!({"id": name, "name": name, "rust_version": rust});
        let edge = |name: &str, kind: Option<&str>| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        let metadata = json!({
            "packages": [package("ours", "1.88"), package("old", "1.88.0"), package("new", "1.89"), package("test", "2.0")],
            "resolve": {"nodes": [
                {"id": "ours", "deps": [edge("old", None), edge("test", Some("dev"))]},
                {"id": "old", "deps": [edge("new", Some("build"))]},
            ]},
        });
        let (stated, newer) =
            Metadata::new(&metadata).compilers("ours").map(|(s, n)| (s.to_owned(), n)).unwrap();
        assert_eq!((stated.as_str(), newer), ("1.88", vec!["new (1.89)".to_owned()]));
        assert_eq!(Metadata::new(&metadata).compilers("old").unwrap().1, ["new (1.89)"]);
    }
}
