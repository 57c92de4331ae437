//! `cargo xtask results`: the studies behind what the README says, and `benches/RESULTS.md`, which they are written to.
//!
//! A study is a list of comparisons by `dualstep compare`, as anyone may type them, and the tables that are made of theirs; or
//! `dualstep bench`; or a program that is linked with Burn.
//! Each leaves a section and its charts in `benches/results/`; `benches/RESULTS.md` is all sections that are there. What
//! always holds: figures come from the program's own tables, and only a finished study replaces a section.

mod burn;
mod graphs;
mod kernels;
mod scaling;
mod sparsity;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::graphics::Graphics;
use crate::process::announce_and_run;
use crate::workspace;

/// Run a study anew and write its section of benches/RESULTS.md.
#[derive(clap::Args)]
pub struct Args {
    /// Which study.
    #[arg(value_enum)]
    study: Study,
    /// The folder with graphs, FILE.safetensors in the format of `dualstep::data::graph`: cora, citeseer, coauthor-cs,
    /// coauthor-physics and amazon-computers. Those that are missing are left out.
    #[arg(long, value_name = "FOLDER", required_if_eq("study", "graphs"))]
    graphs: Option<PathBuf>,
    /// Have Burn run its networks on the processor; for machines without a graphics card.
    #[arg(long)]
    cpu: bool,
    /// Take comparisons that an interrupted run of this study finished from target/results as they are.
    #[arg(long)]
    resume: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Study {
    /// First-order methods, dlADMM and BADM on five graphs, by features alone and with neighbours.
    Graphs,
    /// N:M ADMM and its rivals on Fashion-MNIST.
    Sparsity,
    /// Every kernel against the device's own ceilings.
    Kernels,
    /// The time of an iteration by neurons, samples and penalty.
    Scaling,
    /// Products and steps beside Burn's, with its fusion, and steps without.
    Peers,
    /// A convolutional network of Burn's by BADM, Adam and RMSProp.
    Convolutions,
    /// A transformer of Burn's, made sparse by N:M ADMM and its rivals.
    Transformer,
}

impl Study {
    /// The order of sections, and the names of their files.
    const SECTIONS: [&str; 9] = [
        "graphs",
        "sparsity",
        "convolutions",
        "transformer",
        "scaling",
        "peers",
        "peers-unfused",
        "kernels",
        "isa",
    ];
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let graphics = Graphics::new()?;
    announce_and_run(&mut workspace::cargo(&["build", "--release", "--bin", "dualstep"]))?;
    let dualstep = workspace::dualstep("release")?;
    graphics.need_adapter(&dualstep)?;
    let bench = Bench { graphics, dualstep, resume: args.resume, cpu: args.cpu };
    match (args.study, &args.graphs) {
        (Study::Graphs, Some(folder)) => graphs::run(&bench, folder),
        (Study::Graphs, None) => unreachable!("clap requires --graphs"),
        (Study::Sparsity, _) => sparsity::run(&bench),
        (Study::Kernels, _) => kernels::run(&bench),
        (Study::Scaling, _) => scaling::run(&bench),
        (Study::Peers, _) => {
            burn::run(&bench, &burn::PEERS)?;
            burn::run(&bench, &burn::PEERS_UNFUSED)
        }
        (Study::Convolutions, _) => burn::run(&bench, &burn::CONVOLUTIONS),
        (Study::Transformer, _) => burn::run(&bench, &burn::TRANSFORMER),
    }
}

/// Where figures are taken.
struct Bench {
    graphics: Graphics,
    dualstep: PathBuf,
    resume: bool,
    /// Where networks of Burn's run.
    cpu: bool,
}

impl Bench {
    /// A command of `dualstep` with these arguments; returns its summary. The report lies in `target/results`, by `name`.
    fn summary(&self, command: &str, name: &str, arguments: &[String]) -> Result<String> {
        let report = Self::report(name);
        let summary = report.join("summary.md");
        if !self.resume || !summary.is_file() {
            let mut dualstep = Command::new(&self.dualstep);
            dualstep.arg(command).args(arguments).arg("--report").arg(&report);
            announce_and_run(self.graphics.prepare(dualstep.current_dir(workspace::root())))?;
        }
        fs::read_to_string(&summary).with_context(|| format!("cannot read {}", summary.display()))
    }

    /// `dualstep compare` with these arguments.
    fn compare(&self, name: &str, arguments: &[String]) -> Result<Summary> {
        let text = self.summary("compare", name, arguments)?;
        Summary::parse(&text).with_context(|| format!("the summary of {name} holds no table of results"))
    }

    /// Puts a chart of a report beside the sections, as `kept`.
    fn keep_chart(&self, name: &str, chart: &str, kept: &str) -> Result<()> {
        let kept = folder()?.join(kept);
        fs::copy(Self::report(name).join(chart), &kept)
            .map(drop)
            .with_context(|| format!("cannot write {}", kept.display()))
    }

    fn report(name: &str) -> PathBuf {
        workspace::root().join("target/results").join(name)
    }
}

/// What `dualstep compare` leaves: the settings, and a row for each run.
struct Summary {
    facts: Vec<[String; 2]>,
    heading: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Summary {
    fn parse(text: &str) -> Option<Self> {
        let section = |title: &str| {
            let (_, rest) = text.split_once(&format!("## {title}\n"))?;
            let lines = rest.trim_start().lines().take_while(|line| line.starts_with('|'));
            let cells =
                |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().into()).collect();
            Some(lines.map(cells).collect::<Vec<Vec<String>>>())
        };
        let facts = section("Settings")?.into_iter().filter_map(|row| <[String; 2]>::try_from(row).ok());
        let mut results = section("Results")?.into_iter();
        let heading = results.next()?;
        Some(Self { facts: facts.collect(), heading, rows: results.skip(1).collect() })
    }

    /// One of the settings.
    fn fact(&self, name: &str) -> &str {
        self.facts.iter().find(|[key, _]| key == name).map_or("unknown", |[_, value]| value)
    }

    /// What the run has in the column whose heading begins so; a dash where there is none.
    fn cell(&self, run: &str, column: &str) -> String {
        let at = self.heading.iter().position(|heading| heading.starts_with(column));
        let row = self.rows.iter().find(|row| row[0] == run);
        at.zip(row).map_or("–".into(), |(at, row)| row[at].clone())
    }
}

/// Writes a section, and the whole anew.
pub fn replace(section: &str, text: &str) -> Result<()> {
    let path = folder()?.join(format!("{section}.md"));
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    collect()
}

/// `benches/RESULTS.md` from the sections that are there.
fn collect() -> Result<()> {
    let mut text = String::from(
        "# Results\n\nWritten by `cargo xtask results` and `cargo xtask isa --write`, section by section; each says on which adapter and how. \
         Software Vulkan's seconds are no GPU's: read them as ratios.\n",
    );
    for study in Study::SECTIONS {
        let path = folder()?.join(format!("{study}.md"));
        if let Ok(section) = fs::read_to_string(path) {
            text += &format!("\n{section}");
        }
    }
    let path = workspace::root().join("benches/RESULTS.md");
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("Written: {}", path.display());
    Ok(())
}

fn folder() -> Result<PathBuf> {
    let folder = workspace::root().join("benches/results");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// A table in Markdown.
fn table(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        text += &format!("| {} |\n", row.join(" | "));
        if at == 0 {
            text += &format!("|{}\n", "---|".repeat(row.len()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read_as_it_is_written() {
        let text = "# T\n\n## Settings\n\n| | |\n|---|---|\n| adapter | one (Cpu) |\n\n## Runs\n\n| a | --b |\n\n\
                    ## Results\n\n| run | test % | iterations to cost 0.1 |\n|---|---:|---:|\n| a | 1.0 ± 0.1 | 9 |\n";
        let summary = Summary::parse(text).unwrap();
        assert_eq!(summary.fact("adapter"), "one (Cpu)");
        assert_eq!(
            (summary.cell("a", "test %").as_str(), summary.cell("a", "iterations to").as_str()),
            ("1.0 ± 0.1", "9")
        );
        assert_eq!((summary.cell("b", "test %").as_str(), summary.cell("a", "cost").as_str()), ("–", "–"));
        assert!(Summary::parse("nothing").is_none());
    }

    #[test]
    fn a_table_has_a_rule_below_its_heading() {
        let rows = [["a", "b"], ["1", "2"]].map(|row| row.map(String::from).to_vec());
        assert_eq!(table(&rows), "| a | b |\n|---|---|\n| 1 | 2 |\n");
    }
}
