//! What is linked with Burn: dualstep timed beside Burn's own, and networks that Burn makes trained by dualstep's methods.

use std::fs;

use anyhow::{Context, Result};

use super::Bench;
use crate::process::announce_and_run;
use crate::workspace::cargo;

/// A program that writes its tables itself, and what stands above them.
pub struct Program {
    section: &'static str,
    heading: &'static str,
    about: &'static str,
    /// Arguments to cargo.
    run: &'static [&'static str],
    /// Whether it has networks, which can run on the processor.
    has_networks: bool,
}

/// Products and steps beside Burn's.
pub const PEERS: Program = Program {
    section: "peers",
    heading: "dualstep beside Burn",
    about: "The same work on one wgpu device in one process, in turns; Burn 0.22 with fusion and autotuning, warmed up. Both \
            results are compared before anything is timed. Medians, each run from its submission to its end.",
    run: &["run", "--release", "--package", "peers", "--"],
    has_networks: false,
};
/// Steps beside the same steps of Burn's, one operation after another.
pub const PEERS_UNFUSED: Program = Program {
    section: "peers-unfused",
    heading: "dualstep beside Burn without fusion",
    about: "The steps once more, with every tensor operation of Burn's a kernel of its own: what fusing a step is worth, whoever \
            fuses it.",
    run: &["run", "--release", "--package", "peers", "--no-default-features", "--", "step", "mask", "update"],
    has_networks: false,
};
/// A convolutional network by BADM.
pub const CONVOLUTIONS: Program = Program {
    section: "convolutions",
    heading: "A convolutional network, in Burn",
    about: "Fashion-MNIST, the 10,000 + 2,000 images that are part of the program, learnt by a network of Burn's whose steps are \
            dualstep's.",
    run: &["run", "--release", "--package", "dualstep-burn", "--example", "fashion_cnn", "--"],
    has_networks: true,
};
/// A transformer made sparse.
pub const TRANSFORMER: Program = Program {
    section: "transformer",
    heading: "A transformer made sparse, in Burn",
    about: "Reuters-21578, eight topics, learnt from scratch and then brought to a pattern in equal steps from the same dense \
            network.",
    run: &["run", "--release", "--package", "dualstep-burn", "--example", "reuters_transformer", "--"],
    has_networks: true,
};

/// Runs the program and writes its section.
pub fn run(bench: &Bench, program: &Program) -> Result<()> {
    let report = Bench::report(program.section).with_extension("md");
    if !bench.resume || !report.is_file() {
        let folder = report.parent().context("reports lie in a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let mut command = cargo(program.run);
        command.arg("--report").arg(&report);
        if bench.cpu && program.has_networks {
            command.arg("--cpu");
        }
        announce_and_run(bench.graphics.prepare(&mut command))?;
    }
    let tables = fs::read_to_string(&report).with_context(|| format!("cannot read {}", report.display()))?;
    let Program { section, heading, about, .. } = program;
    super::replace(section, &format!("## {heading}\n\n{about}\n\n{}\n", tables.trim_end()))
}
