//! How well networks learn to keep n of every m weights: N:M ADMM (Holmes et al. 2021) and its rivals, at equal steps from
//! the same dense weights.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Bench, Summary, table};
use crate::process::announce_and_run;
use crate::workspace;

/// A network by its hidden layers, and the patterns that they are brought into; its head stays dense.
struct Network {
    hidden: &'static str,
    patterns: &'static [&'static str],
}

/// The second is so narrow that an eighth of its weights falls short.
const NETWORKS: [Network; 2] = [
    Network { hidden: "256,256", patterns: &["2:4", "4:8", "2:8", "1:4", "1:8"] },
    Network { hidden: "48,48", patterns: &["1:8"] },
];

/// What trains a dense network first, and what it is compressed by then.
const COMMON: &str = "--data fashion-mnist --samples 10000 --method adam --batch 128";
const DENSE_STEPS: u32 = 2_000;
const STEPS: u32 = 1_000;
const SEEDS: [u32; 3] = [0, 1, 2];

/// Ways and their flags, from the dense weights on. One step of no length leaves those as they are, to be cut.
const CUT: &str = "one-shot";
const WAYS: [(&str, &str); 3] =
    [("masked", "--sparse masked"), ("SR-STE", "--sparse sr-ste"), ("ADMM, pull", "--sparse admm")];
const DENSE: (&str, &str) = ("dense", "--sparse dense");
/// The columns of `dualstep compare` that are shown.
const IN_PATTERN: &str = "test % in pattern";
const AS_IT_IS: &str = "test %";

/// What a network gave in one pattern.
struct Found {
    pattern: &'static str,
    cut: Summary,
    trained: Summary,
}

/// Runs the study and writes its section.
pub fn run(bench: &Bench) -> Result<()> {
    let mut text = String::new();
    for network in &NETWORKS {
        for seed in SEEDS {
            train(bench, network, seed)?;
        }
        let found = network.patterns.iter().map(|pattern| measure(bench, network, pattern));
        let found = found.collect::<Result<Vec<_>>>()?;
        if text.is_empty() {
            text = introduction(&found[0].trained);
        }
        text += &section(network, &found);
    }
    super::replace("sparsity", &text)
}

/// Where dense weights lie; `{seed}` stands for the seed.
fn dense(network: &Network) -> PathBuf {
    let name = format!("sparsity-{}-{{seed}}.safetensors", network.hidden.replace(',', "-"));
    workspace::root().join("target/results").join(name)
}

fn train(bench: &Bench, network: &Network, seed: u32) -> Result<()> {
    let path = PathBuf::from(dense(network).display().to_string().replace("{seed}", &seed.to_string()));
    if bench.resume && path.is_file() {
        return Ok(());
    }
    let flags = format!(
        "train {COMMON} --hidden {} --initial torch --iterations {DENSE_STEPS} --eval-every {DENSE_STEPS} --seed {seed}",
        network.hidden
    );
    let folder = path.parent().unwrap_or(&path);
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut train = Command::new(&bench.dualstep);
    train.args(flags.split_whitespace()).arg("--checkpoint").arg(&path);
    announce_and_run(bench.graphics.prepare(train.current_dir(workspace::root())))
}

fn measure(bench: &Bench, network: &Network, pattern: &'static str) -> Result<Found> {
    let from = dense(network).display().to_string();
    let seeds = SEEDS.map(|seed| seed.to_string()).join(",");
    let words = |flags: String, runs: &[(&str, &str)]| {
        let common = format!("{COMMON} --pattern {pattern} --seeds {seeds} {flags}");
        let mut words: Vec<String> = common.split_whitespace().map(String::from).collect();
        words.extend(["--from".into(), from.clone()]);
        words.extend(runs.iter().flat_map(|(name, flags)| ["--run".into(), format!("{name}={flags}")]));
        words
    };
    let name = format!("sparsity-{}-{}", network.hidden.replace(',', "-"), pattern.replace(':', "of"));
    let cut = words("--iterations 1 --learning-rate 0".into(), &[(CUT, "--sparse one-shot")]);
    let ways: Vec<_> = [DENSE].iter().chain(&WAYS).copied().collect();
    let trained = words(format!("--iterations {STEPS} --eval-every 250 --decay linear"), &ways);
    Ok(Found {
        pattern,
        cut: bench.compare(&format!("{name}-{CUT}"), &cut)?,
        trained: bench.compare(&name, &trained)?,
    })
}

fn introduction(summary: &Summary) -> String {
    format!(
        "## N:M sparsity\n\n{}; dualstep {}. Fashion-MNIST, first 10,000 images, judged by all 10,000 test images; Adam on \
         batches of 128, {DENSE_STEPS} dense steps at 1e-3, then {STEPS} more in each way with the rate falling to 0. {} \
         seeds, mean ± standard deviation. `dense` takes the same {STEPS} steps and is never cut; `{CUT}` cuts the weights \
         before them. Test accuracy is that of the weights in their pattern, %.\n",
        summary.fact("adapter"),
        summary.fact("dualstep"),
        SEEDS.len(),
    )
}

fn section(network: &Network, found: &[Found]) -> String {
    let heading = |first: &str| {
        let patterns = found.iter().map(|found| found.pattern.to_owned());
        std::iter::once(first.to_owned()).chain(patterns).collect::<Vec<_>>()
    };
    let row = |name: &str, cell: &dyn Fn(&Found) -> String| {
        std::iter::once(name.to_owned()).chain(found.iter().map(cell)).collect::<Vec<_>>()
    };
    let mut rows = vec![heading("")];
    rows.push(row(DENSE.0, &|found| found.trained.cell(DENSE.0, AS_IT_IS)));
    rows.push(row(CUT, &|found| found.cut.cell(CUT, IN_PATTERN)));
    for (way, _) in WAYS {
        rows.push(row(way, &|found| found.trained.cell(way, IN_PATTERN)));
    }
    let (pull, _) = WAYS[2];
    let at_the_end = [
        ("accuracy of W, %", AS_IT_IS),
        ("accuracy of Π(W), %", IN_PATTERN),
        ("off: ‖W off the mask‖/‖W‖, the worst seed's worst layer", "off"),
        ("mask bits that the last update flipped, %", "flips %"),
    ];
    let mut ends = vec![heading("")];
    ends.extend(at_the_end.map(|(name, column)| row(name, &|found| found.trained.cell(pull, column))));
    format!(
        "\n### 784-{}-10\n\n{}\n{pull}, before its weights are put in their pattern:\n\n{}",
        network.hidden.replace(',', "-"),
        table(&rows),
        table(&ends)
    )
}
