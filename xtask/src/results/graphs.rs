//! How BADM and its rivals classify nodes of graphs, beside what the paper reports (Wang, Zhou and Li 2024, table 1).

use std::path::Path;

use anyhow::{Result, ensure};

use super::{Bench, Summary, table};

/// A set, and the paper's settings for it.
struct Set {
    name: &'static str,
    title: &'static str,
    batch: u32,
    sub_batches: u32,
    rho: u32,
    sigma: u32,
    /// Batches, and how many of them lie between two scores.
    iterations: [u32; 2],
    /// Epochs of the network that sees neighbours; 0 to leave it out.
    epochs: u32,
}

/// Sub-batches are the paper's batch over its sub-batch, both of which it gives as numbers of samples.
const SETS: [Set; 5] = [
    Set {
        name: "cora",
        title: "Cora",
        batch: 128,
        sub_batches: 8,
        rho: 200,
        sigma: 800,
        iterations: [600, 5],
        epochs: 300,
    },
    Set {
        name: "citeseer",
        title: "CiteSeer",
        batch: 512,
        sub_batches: 8,
        rho: 600,
        sigma: 400,
        iterations: [300, 5],
        epochs: 300,
    },
    Set {
        name: "coauthor-cs",
        title: "CS",
        batch: 512,
        sub_batches: 2,
        rho: 950,
        sigma: 50,
        iterations: [300, 5],
        epochs: 0,
    },
    Set {
        name: "coauthor-physics",
        title: "Physics",
        batch: 512,
        sub_batches: 4,
        rho: 500,
        sigma: 500,
        iterations: [300, 5],
        epochs: 0,
    },
    Set {
        name: "amazon-computers",
        title: "Computers",
        batch: 512,
        sub_batches: 4,
        rho: 400,
        sigma: 600,
        iterations: [1200, 20],
        epochs: 0,
    },
];

/// A method, its flags for a set, and the paper's test accuracies for Cora, CiteSeer, CS, Physics and Computers.
struct Method {
    name: &'static str,
    flags: fn(&Set) -> String,
    dense: [Option<f32>; 5],
    graph: [Option<f32>; 2],
}

const fn all(values: [f32; 5]) -> [Option<f32>; 5] {
    let [a, b, c, d, e] = values;
    [Some(a), Some(b), Some(c), Some(d), Some(e)]
}

/// By gradients, from the same initial weights and on the same batches. A rate of 1e-3 is 1/(ρ+σ), 2e-3 is robust BADM's 1/σ.
const BY_GRADIENTS: [Method; 8] = [
    Method {
        name: "SGD",
        flags: |_| "--method sgd --learning-rate 1e-3".into(),
        dense: all([30.34, 22.63, 26.45, 69.37, 37.08]),
        graph: [Some(63.02), Some(19.82)],
    },
    Method {
        name: "AdaGrad",
        flags: |_| "--method adagrad --learning-rate 1e-3".into(),
        dense: all([72.15, 72.43, 85.93, 95.97, 68.59]),
        graph: [Some(72.68), Some(67.71)],
    },
    Method {
        name: "RMSProp",
        flags: |_| "--method rmsprop --learning-rate 1e-3".into(),
        dense: all([72.00, 73.34, 91.76, 96.83, 83.16]),
        graph: [Some(77.81), Some(68.81)],
    },
    Method {
        name: "Adam 1/(ρ+σ)",
        flags: |_| "--method adam --learning-rate 1e-3".into(),
        dense: all([73.58, 72.63, 90.94, 96.89, 82.43]),
        graph: [Some(78.42), Some(69.62)],
    },
    Method {
        name: "Adam 1/σ",
        flags: |_| "--method adam --learning-rate 2e-3".into(),
        dense: [None; 5],
        graph: [None; 2],
    },
    Method {
        name: "NAdam",
        flags: |_| "--method nadam --learning-rate 1e-3".into(),
        dense: all([73.43, 73.23, 91.76, 96.88, 82.16]),
        graph: [Some(78.57), Some(69.11)],
    },
    Method {
        name: "BADM robust",
        flags: |set| format!("--method badm --sub-batches {}", set.sub_batches),
        dense: [None; 5],
        graph: [None; 2],
    },
    Method {
        name: "BADM paper",
        flags: |set| {
            let Set { sub_batches, rho, sigma, .. } = set;
            format!(
                "--method badm --sub-batches {sub_batches} --constants paper --beta 0.9 --rho {rho} --sigma {sigma}"
            )
        },
        dense: all([74.64, 74.24, 91.85, 96.95, 84.03]),
        graph: [Some(79.25), Some(72.13)],
    },
];

/// BADM with its duals and second moments stored in each way.
const BY_STORAGE: [Method; 3] = [
    Method { name: "BADM f32", flags: |set| stored(set, "f32"), dense: [None; 5], graph: [None; 2] },
    Method { name: "BADM bf16", flags: |set| stored(set, "bf16"), dense: [None; 5], graph: [None; 2] },
    Method { name: "BADM f16", flags: |set| stored(set, "f16"), dense: [None; 5], graph: [None; 2] },
];

fn stored(set: &Set, storage: &str) -> String {
    format!("--method badm --sub-batches {} --state {storage}", set.sub_batches)
}

/// The set that storages are compared on, and for how many batches.
const STORED: (&str, u32) = ("cora", 1000);

/// By sweeps over all samples.
const BY_SWEEPS: [Method; 2] = [
    Method {
        name: "dlADMM quadratic",
        flags: |_| "--steps quadratic --accelerate none".into(),
        dense: all([34.28, 40.84, 57.16, 81.38, 55.38]),
        graph: [None; 2],
    },
    Method {
        name: "dlADMM exact + Anderson",
        flags: |_| "--steps exact --accelerate anderson".into(),
        dense: [None; 5],
        graph: [None; 2],
    },
];

/// Sweeps of dlADMM: each sees all samples several times.
const SWEEPS: u32 = 60;
const SEEDS: &str = "0,1,2";
const GOAL: &str = "0.1";

/// What one set gave.
struct Found {
    set: &'static Set,
    gradients: Summary,
    sweeps: Summary,
    graph: Option<Summary>,
    storage: Option<Summary>,
}

impl Found {
    /// The set's place in lists of the paper's figures.
    fn place(&self) -> usize {
        SETS.iter().position(|set| set.name == self.set.name).unwrap_or(0)
    }

    /// The comparisons, by the names of their charts.
    fn kinds(&self) -> Vec<&'static str> {
        let some = [("gcn", self.graph.is_some()), ("storage", self.storage.is_some())];
        let some = some.into_iter().filter_map(|(kind, is_there)| is_there.then_some(kind));
        ["gradients", "sweeps"].into_iter().chain(some).collect()
    }
}

/// Runs the study on the sets in `folder` and writes its section.
pub fn run(bench: &Bench, folder: &Path) -> Result<()> {
    let mut found = Vec::new();
    for chosen in &SETS {
        let path = folder.join(format!("{}.safetensors", chosen.name));
        if path.is_file() {
            found.push(measure(bench, chosen, &path)?);
        }
    }
    ensure!(
        !found.is_empty(),
        "{} holds none of the graphs; see `cargo xtask results --help`",
        folder.display()
    );
    super::replace("graphs", &section(&found))
}

fn measure(bench: &Bench, set: &'static Set, path: &Path) -> Result<Found> {
    let [iterations, every] = set.iterations;
    let common = |model: &str, iterations: u32, every: u32| {
        let text = format!(
            "{model} --iterations {iterations} --eval-every {every} --seeds {SEEDS} --draw-halves --goal {GOAL} --data"
        );
        let mut words: Vec<String> = text.split_whitespace().map(String::from).collect();
        words.push(path.display().to_string());
        words
    };
    let with = |mut words: Vec<String>, methods: &[Method]| {
        for Method { name, flags, .. } in methods {
            words.extend(["--run".into(), format!("{name}={}", flags(set))]);
        }
        words
    };
    let dense = format!("--hidden 32,32 --initial keras --batch {}", set.batch);
    let gradients = with(common(&dense, iterations, every), &BY_GRADIENTS);
    let sweeps = with(common("--hidden 32,32", SWEEPS, 1), &BY_SWEEPS);
    let graph = with(common("--model gcn --hidden 32,c32,c32,32", set.epochs, 5), &BY_GRADIENTS);
    let storage = with(common(&dense, STORED.1, every), &BY_STORAGE);
    let compare = |what: &str, words: &[String]| {
        let name = format!("{}-{what}", set.name);
        let summary = bench.compare(&name, words)?;
        bench.keep_chart(&name, "comparison.svg", &format!("{name}.svg"))?;
        anyhow::Ok(summary)
    };
    Ok(Found {
        set,
        gradients: compare("gradients", &gradients)?,
        sweeps: compare("sweeps", &sweeps)?,
        graph: match set.epochs {
            0 => None,
            _ => Some(compare("gcn", &graph)?),
        },
        storage: match set.name == STORED.0 {
            true => Some(compare("storage", &storage)?),
            false => None,
        },
    })
}

fn section(found: &[Found]) -> String {
    let (of, batches) = (|found: &Found| found.set.title, |found: &Found| found.set.iterations[0]);
    let lengths: Vec<_> = found.iter().map(|found| format!("{} on {}", batches(found), of(found))).collect();
    let intro = format!(
        "## Nodes of graphs\n\n{}; dualstep {}. Three seeds, each with weights and halves of its own (half of each class is \
         learnt from): mean ± standard deviation, and in brackets what table 1 of the BADM paper reports. PubMed's features \
         could not be had. Methods that take gradients take them on batches of 128 (Cora) or 512, from Keras' initial \
         weights: {}. dlADMM takes {SWEEPS} sweeps over all samples. `BADM paper` has the paper's ρ and σ, slots of each \
         batch, and β = 0.9.\n",
        found[0].gradients.fact("adapter"),
        found[0].gradients.fact("dualstep"),
        lengths.join(", "),
    );
    [intro, by_features(found), by_neighbours(found), by_storage(found), curves(found)].concat()
}

fn by_features(found: &[Found]) -> String {
    let methods: Vec<&Method> = BY_GRADIENTS.iter().chain(&BY_SWEEPS).collect();
    let cell = |found: &Found, method: &Method, column: &str| {
        let cell = found.gradients.cell(method.name, column);
        if cell == "–" { found.sweeps.cell(method.name, column) } else { cell }
    };
    let accuracies = grid(found, &methods, |found, method| {
        beside(cell(found, method, "test %"), method.dense[found.place()])
    });
    let lengths = grid(found, &methods, |found, method| cell(found, method, "iterations to"));
    format!(
        "\n### By features alone, two hidden layers of 32: test accuracy, %\n\n{accuracies}\n\
         ### The same: batches, or sweeps, to a training loss of 0.1\n\n{lengths}"
    )
}

fn by_neighbours(found: &[Found]) -> String {
    let seen: Vec<&Found> = found.iter().filter(|found| found.graph.is_some()).collect();
    let Some(first) = seen.first() else { return String::new() };
    let methods: Vec<&Method> = BY_GRADIENTS.iter().collect();
    let cell = |found: &Found, method: &Method, column: &str| {
        found.graph.as_ref().map_or("–".into(), |summary| summary.cell(method.name, column))
    };
    let accuracies = grid(&seen, &methods, |found, method| {
        beside(cell(found, method, "test %"), method.graph.get(found.place()).copied().flatten())
    });
    let lengths = grid(&seen, &methods, |found, method| cell(found, method, "iterations to"));
    format!(
        "\n### With neighbours: a dense layer of 32, two convolutions with skips, a dense layer, dropout 0.5, {} full batches: \
         test accuracy, %\n\n{accuracies}\n### The same: full batches to a training loss of 0.1\n\n{lengths}",
        first.set.epochs
    )
}

fn by_storage(found: &[Found]) -> String {
    let stored = found.iter().find_map(|found| Some((found.set, found.storage.as_ref()?)));
    stored.map_or_else(String::new, |(set, summary)| {
        format!(
            "\n### State of 16 bits: {}, {} batches\n\nBADM's duals and second moments take 8 S bytes a parameter in f32, \
             4 S in bf16 or f16.\n\n{}",
            set.title,
            STORED.1,
            storages(summary)
        )
    })
}

fn curves(found: &[Found]) -> String {
    let charts = found.iter().flat_map(|one| one.kinds().into_iter().map(move |kind| (one.set, kind)));
    let lines =
        charts.map(|(set, kind)| format!("- [{}, {kind}](results/{}-{kind}.svg)\n", set.title, set.name));
    format!("\n### Curves\n\n{}", lines.collect::<String>())
}

/// A row for each storage.
fn storages(summary: &Summary) -> String {
    const COLUMNS: [&str; 4] = ["train %", "test %", "train cost", "iterations to"];
    let heading =
        ["", "training accuracy, %", "test accuracy, %", "training loss", "batches to a loss of 0.1"];
    let mut rows = vec![heading.map(String::from).to_vec()];
    for Method { name, .. } in &BY_STORAGE {
        let cells = COLUMNS.map(|column| summary.cell(name, column));
        rows.push(std::iter::once((*name).to_owned()).chain(cells).collect());
    }
    table(&rows)
}

/// A row for each method, a column for each set.
fn grid<'a, F>(found: &'a [F], methods: &[&Method], cell: impl Fn(&'a Found, &Method) -> String) -> String
where
    F: std::borrow::Borrow<Found>,
{
    let heading =
        std::iter::once(String::new()).chain(found.iter().map(|found| found.borrow().set.title.into()));
    let mut rows = vec![heading.collect::<Vec<_>>()];
    for method in methods {
        let cells = found.iter().map(|found| cell(found.borrow(), method));
        rows.push(std::iter::once(method.name.to_owned()).chain(cells).collect());
    }
    table(&rows)
}

/// A figure with the paper's behind it.
fn beside(cell: String, paper: Option<f32>) -> String {
    paper.map_or_else(|| cell.clone(), |paper| format!("{cell} ({paper:.1})"))
}
