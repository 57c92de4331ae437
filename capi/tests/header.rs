//! `include/dualstep.h` is what the sources say: cbindgen writes it, section by section, and this test compares.
//!
//! `cargo xtask capi --header` writes it anew.

use std::fs;
use std::path::{Path, PathBuf};

use cbindgen::{Builder, Config, DocumentationStyle, Language, Style};

/// Set: the header is written, not compared.
const WRITE: &str = "DUALSTEP_WRITE_HEADER";

/// What is in the header beside the sections, before and after them.
const HEAD: &str = include_str!("header/head.h");
const FOOT: &str = include_str!("header/foot.h");

/// The sections and the modules that they are written from.
const SECTIONS: [(&str, &[&str]); 7] = [
    ("Errors and version", &["error"]),
    ("Devices", &["gpu"]),
    ("Tensors", &["tensor"]),
    ("Optimizers", &["optimizer"]),
    ("N:M sparsity", &["nm"]),
    ("Data", &["data"]),
    ("Training by dlADMM", &["settings", "training"]),
];

fn capi() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn module(name: &str) -> PathBuf {
    capi().join("src").join(name).with_extension("rs")
}

#[test]
fn the_header_is_what_the_sources_say() {
    let path = capi().join("include/dualstep.h");
    let header = header();
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, &header).unwrap();
        return;
    }
    let committed = fs::read_to_string(&path).unwrap();
    let differs = committed.lines().zip(header.lines()).position(|(there, here)| there != here);
    let line = differs.unwrap_or(committed.lines().count().min(header.lines().count())) + 1;
    assert!(
        committed == header,
        "include/dualstep.h differs from the sources in line {line}; `cargo xtask capi --header` writes it anew"
    );
}

/// Every entry is declared, so none can be forgotten by leaving its module out above.
#[test]
fn every_entry_is_declared() {
    let header = header();
    let mut entries = 0;
    for file in fs::read_dir(capi().join("src")).unwrap() {
        let source = fs::read_to_string(file.unwrap().path()).unwrap();
        for entry in source.split("extern \"C\" fn ").skip(1) {
            let Some((name, _)) = entry.split_once('(').filter(|(name, _)| name.starts_with("dualstep_"))
            else {
                continue;
            };
            entries += 1;
            assert!(header.contains(&format!(" {name}(")) || header.contains(&format!("*{name}(")), "{name}");
        }
    }
    assert!(entries > 50, "{entries} entries were found");
}

fn header() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut parts = version.split('.');
    let mut text = HEAD.to_owned();
    for name in ["MAJOR", "MINOR", "PATCH"] {
        let number = parts.next().unwrap();
        text.push_str(&format!("#define DUALSTEP_VERSION_{name} {number}\n"));
    }
    for (title, modules) in SECTIONS {
        text.push_str(&format!("\n/* ---- {title} {} */\n\n", "-".repeat(100 - title.len())));
        text.push_str(section(modules).trim());
        text.push('\n');
    }
    text + FOOT
}

fn section(modules: &[&str]) -> String {
    let sources: Vec<String> = modules.iter().map(|name| fs::read_to_string(module(name)).unwrap()).collect();
    let mut config = Config {
        language: Language::C,
        style: Style::Type,
        documentation_style: DocumentationStyle::C99,
        usize_is_size_t: true,
        no_includes: true,
        line_length: 110,
        ..Config::default()
    };
    // Enums that C hands over as numbers are reached by no type: see `pointer::Code`.
    config.export.include = sources.iter().flat_map(|source| enums(source)).collect();
    let mut builder = Builder::new().with_config(config);
    for name in modules {
        builder = builder.with_src(module(name));
    }
    let mut bytes = Vec::new();
    builder.generate().expect("cbindgen reads the sources").write(&mut bytes);
    // To C a number that is to be one of an enum's looks like the enum.
    let text = String::from_utf8(bytes).unwrap();
    every_enum().iter().fold(text, |text, name| text.replace(&format!("Code<{name}>"), name))
}

/// Names of the enums of all sections.
fn every_enum() -> Vec<String> {
    let modules = SECTIONS.iter().flat_map(|(_, modules)| *modules);
    modules.flat_map(|name| enums(&fs::read_to_string(module(name)).unwrap())).collect()
}

/// Names of the enums that a source exports.
fn enums(source: &str) -> Vec<String> {
    let lines = source.lines().filter_map(|line| line.strip_prefix("pub enum dualstep_"));
    lines.map(|rest| format!("dualstep_{}", rest.trim_end_matches(" {"))).collect()
}
