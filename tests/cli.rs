//! The program as its users meet it: what it leaves behind, how it fails, and that it fails before any work.

#[path = "support/gpu.rs"]
mod gpu;
#[path = "support/graph_file.rs"]
mod graph_file;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use dualstep::checkpoint;
use dualstep::engine::{GpuOptions, TileTimes, Tuning};
use tempfile::TempDir;

/// Pixels to a side of the tiny images.
const SIDE: usize = 4;
const CLASSES: usize = 3;

/// A folder of tiny images to train on, and room for what a run leaves behind.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(bench.path("data")).unwrap();
        for (half, count) in [("train", 60), ("t10k", 30)] {
            bench.write_data(&format!("{half}-images-idx3-ubyte"), &images(count));
            bench.write_data(&format!("{half}-labels-idx1-ubyte"), &labels(count));
        }
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write_data(&self, name: &str, content: &[u8]) {
        fs::write(self.path("data").join(name), content).unwrap();
    }

    /// The program, run in the bench's folder with words parted by spaces.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dualstep"));
        command.current_dir(self.folder.path()).env_remove("RUST_LOG").args(line.split_whitespace());
        // Whatever this machine's user has tuned is not what is tested.
        command.args(["--tunings", "tunings.json"]);
        for (flag, variable) in [("--backend", "DUALSTEP_BACKEND"), ("--adapter", "DUALSTEP_ADAPTER")] {
            if let Ok(value) = std::env::var(variable) {
                command.args([flag, &value]);
            }
        }
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// A run that must succeed; what it printed.
    fn succeed(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A run that must fail with one line, before any work and without a trace; the line.
    fn fail(&self, line: &str) -> String {
        let before = self.names();
        let output = self.run(line);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{line}: {said}");
        assert_eq!(said.lines().count(), 1, "{line}: {said}");
        assert!(said.starts_with("dualstep: ") && output.stdout.is_empty(), "{line}: {said}");
        assert_eq!(self.names(), before, "{line} left something behind");
        said
    }

    /// Everything in the folder and in its folders.
    fn names(&self) -> Vec<PathBuf> {
        fn collect(folder: &Path, names: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    collect(&path, names);
                }
                names.push(path);
            }
        }
        let mut names = Vec::new();
        collect(self.folder.path(), &mut names);
        names.sort();
        names
    }

    /// The lines of a log.
    fn log(&self, name: &str) -> Vec<serde_json::Value> {
        let content = fs::read_to_string(self.path(name)).unwrap_or_default();
        content.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// An IDX file: magic number, sizes, bytes.
fn idx(magic: u32, sizes: &[usize], bytes: &[u8]) -> Vec<u8> {
    let sizes = sizes.iter().flat_map(|size| (*size as u32).to_be_bytes());
    magic.to_be_bytes().into_iter().chain(sizes).chain(bytes.iter().copied()).collect()
}

/// Images with a bright stripe whose row tells their class, and some noise.
fn images(count: usize) -> Vec<u8> {
    let pixel = |k: usize| {
        let (image, row) = (k / (SIDE * SIDE), k % (SIDE * SIDE) / SIDE);
        if row == image % CLASSES { 200 + (k * 7 % 50) as u8 } else { (k * 13 % 40) as u8 }
    };
    let pixels: Vec<u8> = (0..count * SIDE * SIDE).map(pixel).collect();
    idx(0x803, &[count, SIDE, SIDE], &pixels)
}

fn labels(count: usize) -> Vec<u8> {
    let labels: Vec<u8> = (0..count).map(|k| (k % CLASSES) as u8).collect();
    idx(0x801, &[count], &labels)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether there is a device to run on; says so loudly if not.
fn has_device() -> bool {
    gpu::open(GpuOptions::default()).is_some()
}

const TRAIN: &str = "train --data data --hidden 8,6";

#[test]
fn a_run_leaves_everything_that_was_asked_for() {
    if !has_device() {
        return;
    }
    let bench = Bench::new();
    let line = "--steps quadratic --iterations 12 --json log --report report --checkpoint run --profile";
    let printed = bench.succeed(&format!("{TRAIN} {line}"));
    for word in ["trained", "12 iterations", "training data", "test data", "iterations/s", "kernel"] {
        assert!(printed.contains(word), "{word} is missing in {printed}");
    }
    let log = bench.log("log");
    assert_eq!(log.len(), 12);
    for (k, line) in log.iter().enumerate() {
        assert_eq!(line["iteration"], k + 1);
        for number in
            ["seconds", "objective", "loss", "train_cost", "test_cost", "rho", "nu", "tau_0", "theta_0"]
        {
            assert!(line[number].is_number(), "{number} of {line}");
        }
        for share in ["train_accuracy", "test_accuracy"] {
            assert!((0.0..=1.0).contains(&line[share].as_f64().unwrap()), "{share} of {line}");
        }
        let lengths = ["residuals", "gaps", "exponents"].map(|list| line[list].as_array().unwrap().len());
        assert_eq!(lengths, [3, 2, 10]);
    }
    for name in [
        "accuracy.svg",
        "cost.svg",
        "objective.svg",
        "residuals.svg",
        "exponents.svg",
        "summary.md",
        "index.html",
    ] {
        assert!(bench.path("report").join(name).metadata().unwrap().len() > 100, "{name}");
    }
    let saved = checkpoint::load(&bench.path("run")).unwrap();
    assert_eq!((saved.widths, saved.samples, saved.state.iteration), (vec![16, 8, 6, 3], 60, 12));
}

/// Unless said otherwise, steps are exact and accelerated.
#[test]
fn an_accelerated_run_reports_what_was_tried() {
    if !has_device() {
        return;
    }
    let bench = Bench::new();
    bench.succeed(&format!("{TRAIN} --iterations 6 --json log --report report"));
    let last = &bench.log("log")[5];
    assert_eq!(last["exponents"].as_array().unwrap().len(), 0);
    assert_eq!((&last["acceleration"]["tries"], &last["dropped_pivots"]), (&2.into(), &0.into()), "{last}");
    for (flags, message) in [
        ("--steps quadratic --ridge 0.1", "--ridge is for --steps exact, not quadratic"),
        ("--steps quadratic --solver cg --weight-steps 4", "--solver is for --steps exact, not quadratic"),
        ("--weight-steps 4", "--weight-steps is for --solver cg, not cholesky"),
        ("--solver cholesky --activation-steps 4", "--activation-steps is for --solver cg, not cholesky"),
        ("--solver cg --weight-steps 0", "weight-steps"),
        ("--steps exact --penalty l1:0.1", "is for quadratic steps alone"),
        ("--steps line-search --penalty l1:0.1", "is for quadratic steps alone"),
        ("--penalty l1:-1", "not negative"),
        ("--steps line-search --sweep full", "--sweep is for --steps exact, not line-search"),
        ("--accelerate extrapolate --memory 5", "--memory is for --accelerate anderson"),
        ("--memory 17", "must be 1 to 16 columns"),
        ("--accelerate anderson --z-last fista", "must be newton"),
    ] {
        let said = bench.fail(&format!("{TRAIN} {flags}"));
        assert!(said.contains(message), "{flags}: {said}");
    }
}

#[test]
fn scores_that_are_not_taken_are_null() {
    if !has_device() {
        return;
    }
    let bench = Bench::new();
    bench.succeed(&format!("{TRAIN} --iterations 5 --eval-every 2 --json log"));
    let taken: Vec<_> = bench.log("log").iter().map(|line| !line["test_accuracy"].is_null()).collect();
    assert_eq!(taken, [false, true, false, true, false]);
}

#[test]
fn two_runs_write_the_same_checkpoint() {
    if !has_device() {
        return;
    }
    let bench = Bench::new();
    for name in ["one", "two"] {
        bench.succeed(&format!("{TRAIN} --iterations 7 --checkpoint {name}"));
    }
    assert!(fs::read(bench.path("one")).unwrap() == fs::read(bench.path("two")).unwrap());
}

#[test]
fn a_resumed_run_ends_where_a_whole_one_does() {
    if !has_device() {
        return;
    }
    let bench = Bench::new();
    for schedule in [
        "constant --accelerate none",
        "official",
        "official --z-last fista --fista-iterations 30 --fista-tolerance 0",
        "constant --activation leaky-relu:0.1 --penalty l2:0.01 --steps quadratic",
        "constant --penalty l2:0.01 --accelerate none",
        "constant --steps line-search",
        "constant --penalty l1:0.01",
    ] {
        let line = format!("{TRAIN} --seed 3 --schedule {schedule}");
        bench.succeed(&format!("{line} --iterations 20 --checkpoint whole --json whole.log"));
        bench.succeed(&format!("{line} --iterations 9 --checkpoint half --json half.log"));
        bench.succeed("train --iterations 20 --resume half --checkpoint resumed --json half.log");
        assert!(
            fs::read(bench.path("whole")).unwrap() == fs::read(bench.path("resumed")).unwrap(),
            "{schedule}"
        );
        let objectives =
            |name| bench.log(name).iter().map(|line| line["objective"].clone()).collect::<Vec<_>>();
        assert_eq!(objectives("whole.log"), objectives("half.log"));
        let seconds: Vec<_> =
            bench.log("half.log").iter().map(|line| line["seconds"].as_f64().unwrap()).collect();
        assert!(seconds.is_sorted(), "{seconds:?}");
    }
}

#[test]
fn checkpoints_on_the_way_change_nothing() {
    if !has_device() {
        return;
    }
    let bench = Bench::new();
    bench.succeed(&format!("{TRAIN} --iterations 10 --checkpoint plain"));
    bench.succeed(&format!("{TRAIN} --iterations 10 --checkpoint often --checkpoint-every 3 --no-snapshot"));
    let (plain, often) = (checkpoint::load(&bench.path("plain")), checkpoint::load(&bench.path("often")));
    assert!(plain.unwrap().state == often.unwrap().state);
}

#[test]
fn a_checkpoint_is_evaluated_as_it_was_trained() {
    if !has_device() {
        return;
    }
    let bench = Bench::new();
    let line = "--samples 50 --iterations 15 --activation tanh --json log --checkpoint run --checkpoint-weights-only";
    bench.succeed(&format!("{TRAIN} {line}"));
    let scores: serde_json::Value = serde_json::from_str(&bench.succeed("eval run --json")).unwrap();
    let last = &bench.log("log")[14];
    for half in ["train", "test"] {
        assert_eq!(scores[half]["accuracy"], last[format!("{half}_accuracy")], "{scores} {last}");
        let (now, then) =
            (scores[half]["cost"].as_f64().unwrap(), last[format!("{half}_cost")].as_f64().unwrap());
        assert!((now - then).abs() <= 1e-5 * then, "{half}: {now} against {then}");
    }
    assert_eq!((&scores["train"]["samples"], &scores["test"]["samples"]), (&50.into(), &30.into()));
    assert!(bench.succeed("eval run").contains("accuracy"));
    let message = bench.fail("train --resume run --iterations 30");
    assert!(message.contains("holds weights alone"), "{message}");
    let message = bench.fail("train --resume run --iterations 30 --activation relu");
    assert!(message.contains("--activation relu contradicts activation tanh"), "{message}");
    for (flag, word) in [
        ("--activation leaky-relu:1.5", "a slope from 0 to less than 1"),
        ("--penalty l2:-1", "not negative"),
    ] {
        let message = bench.fail(&format!("{TRAIN} {flag}"));
        assert!(message.contains(word), "{flag}: {message}");
    }
    let message = bench.fail("eval run --data embedded");
    assert!(
        message.contains("takes 16 features to 3 classes, but embedded/train has 784 and 10"),
        "{message}"
    );
}

#[test]
fn a_resumption_must_not_be_contradicted() {
    if !has_device() {
        return;
    }
    let bench = Bench::new();
    bench.succeed(&format!("{TRAIN} --iterations 3 --checkpoint run"));
    let cases = [
        ("--hidden 8", "--hidden 8 contradicts hidden 8,6 of the run in run"),
        ("--rho 0.5", "--rho 0.5 contradicts rho 0.01"),
        ("--z-last fista", "--z-last fista contradicts z-last newton"),
        ("--solver cg", "--solver cg contradicts solver"),
        ("--weight-steps 9", "--weight-steps 9 contradicts weight-steps none"),
        ("--schedule paper", "--schedule paper contradicts schedule constant"),
        ("--seed 4", "--seed 4 contradicts seed 0"),
        ("--samples 40", "--samples 40 contradicts samples 60"),
        ("--data mnist", "--data mnist contradicts data /"),
        ("--iterations 3", "is at iteration 3 already"),
    ];
    for (flags, expected) in cases {
        let message = bench.fail(&format!("train --resume run {flags}"));
        assert!(message.contains(expected), "{message}");
    }
    bench.succeed("train --resume run --hidden 8,6 --rho 1e-2 --data data --samples 60 --iterations 4");
    let counts = "--weight-steps 5 --activation-steps 3";
    bench.succeed(&format!("{TRAIN} --solver cg {counts} --iterations 2 --checkpoint cg"));
    let message = bench.fail("train --resume cg --activation-steps 4 --iterations 3");
    assert!(message.contains("--activation-steps 4 contradicts activation-steps 3"), "{message}");
    bench.succeed(&format!("train --resume cg {counts} --iterations 3"));
}

/// The file of a run that stopped on the way is, byte for byte, that of one that did not.
#[test]
fn trainings_by_gradients_go_on_bit_for_bit() {
    if !has_device() {
        return;
    }
    let bench = Bench::new();
    let (_folder, graph) = graph_file::small().write();
    let on_graph =
        format!("train --data {} --model gcn --hidden c4,4 --method badm --sub-batches 2", graph.display());
    let dense = "train --data data --hidden 8 --method";
    for line in [
        format!("{dense} adam --batch 25"),
        format!("{dense} badm --batch 25 --sub-batches 3 --state bf16"),
        format!("{dense} badm --batch 25 --sub-batches 3 --constants paper --state f16"),
        format!("{dense} sgd --sparse masked --pattern 2:4"),
        on_graph,
    ] {
        bench.succeed(&format!("{line} --iterations 9 --checkpoint whole --json whole.log"));
        bench.succeed(&format!("{line} --iterations 4 --checkpoint half --json half.log"));
        // Flags may be said again.
        bench.succeed(&format!("{line} --iterations 9 --resume half --checkpoint resumed --json half.log"));
        assert!(fs::read(bench.path("whole")).unwrap() == fs::read(bench.path("resumed")).unwrap(), "{line}");
        // What looks at sparse weights told is in lines of its own, among the others as it arrives.
        let costs = |name| {
            let costs: Vec<_> =
                bench.log(name).iter().filter_map(|line| line["train_cost"].as_f64()).collect();
            assert_eq!(costs.len(), 9);
            costs
        };
        assert_eq!(costs("whole.log"), costs("half.log"));
    }
    // The last was a graph's.
    assert!(bench.fail("eval whole").contains("its network has graph convolutions"));
    let message = bench.fail("train --data data --method adam --from whole");
    assert!(message.contains("its network has graph convolutions"), "{message}");
}

#[test]
fn flags_that_contradict_a_training_by_gradients_are_named() {
    if !has_device() {
        return;
    }
    let bench = Bench::new();
    let dense = "train --data data --hidden 8 --iterations 2 --checkpoint";
    bench.succeed(&format!("{dense} badm --method badm --batch 20 --state bf16"));
    bench.succeed(&format!("{dense} sparse --method adam --sparse masked --pattern 2:4"));
    bench.succeed(&format!("{dense} weights --method adam --checkpoint-weights-only"));
    let cases = [
        ("badm --method adam", "--method adam contradicts method badm of the run in badm"),
        ("badm --method dladmm", "--method dladmm contradicts method badm"),
        ("badm --state f16", "--state f16 contradicts state bf16"),
        ("badm --batch 30", "--batch 30 contradicts batch 20"),
        ("badm --sub-batches 5", "--sub-batches 5 contradicts sub-batches 4"),
        ("badm --learning-rate 0.1", "--learning-rate 5.0 contradicts learning-rate 500.0"),
        ("badm --hidden 9", "--hidden [9] contradicts hidden [8]"),
        ("badm --seed 4", "--seed 4 contradicts seed 0"),
        ("badm --samples 40", "--samples 40 contradicts samples 60"),
        ("badm --rho 7", "--rho 7.0 contradicts rho 500.0"),
        ("badm --steps exact", "--steps is for --method dladmm"),
        ("badm --from sparse", "--from is for a run that begins"),
        ("sparse --sparse masked --pattern 1:4", "--pattern 1:4 contradicts pattern 2:4"),
        ("sparse --sparse admm --pattern 2:4", "--pattern"),
        ("weights", "holds weights alone"),
        ("weights --method adam", "holds no run by gradients"),
    ];
    for (flags, part) in cases {
        let message = bench.fail(&format!("train --iterations 80 --resume {flags}"));
        assert!(message.contains(part), "no `{part}` in: {message}");
    }
    let message = bench.fail("train --iterations 2 --resume badm");
    assert!(message.contains("is at iteration 2 already"), "{message}");
    bench.succeed("train --iterations 3 --resume badm --method badm --batch 20 --state bf16");
}

#[test]
fn a_diverging_run_saves_its_last_finite_state() {
    if !has_device() {
        return;
    }
    let bench = Bench::new();
    let line = format!("{TRAIN} --steps quadratic --rho 1e38 --nu 1e38 --json log --report report");
    let output = bench.run(&format!("{line} --checkpoint run"));
    let said = stderr(&output);
    let last = said.lines().last().unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        last.starts_with("dualstep: dlADMM: not finite at iteration ") && last.contains("saved as run"),
        "{said}"
    );
    assert_eq!(said.matches("dualstep: ").count(), 1, "{said}");
    let saved = checkpoint::load(&bench.path("run")).unwrap().state.iteration as usize;
    assert_eq!(bench.log("log").len(), saved);
    assert!(bench.path("report/summary.md").exists());
    let said = stderr(&bench.run(&format!("{line} --no-snapshot --checkpoint none")));
    assert!(
        said.contains("nothing was saved because of --no-snapshot") && !bench.path("none").exists(),
        "{said}"
    );
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_saves_and_goes_on() {
    if !has_device() {
        return;
    }
    let bench = Bench::new();
    let said = interrupted(&bench, TRAIN);
    assert!(said.contains("go on with --resume run"), "{said}");
    let done = checkpoint::load(&bench.path("run")).unwrap().state.iteration;
    assert_eq!(bench.log("log").len(), done as usize);
    bench.succeed(&format!("train --resume run --iterations {}", done + 2));
}

/// Wherever an interrupt meets it.
#[cfg(unix)]
#[test]
fn an_interrupted_training_by_gradients_goes_on_bit_for_bit() {
    if !has_device() {
        return;
    }
    let bench = Bench::new();
    let line = "train --data data --hidden 8 --method adam --batch 25";
    let said = interrupted(&bench, line);
    assert!(said.contains("go on with --resume run"), "{said}");
    let goal = checkpoint::load(&bench.path("run")).unwrap().state.iteration + 5;
    bench.succeed(&format!("train --resume run --iterations {goal} --checkpoint resumed"));
    bench.succeed(&format!("{line} --iterations {goal} --checkpoint whole"));
    assert!(fs::read(bench.path("whole")).unwrap() == fs::read(bench.path("resumed")).unwrap(), "{goal}");
}

/// What is said of a training that is told to stop once it has begun.
#[cfg(unix)]
fn interrupted(bench: &Bench, line: &str) -> String {
    let mut command = bench.command(&format!("{line} --iterations 1000000 --json log --checkpoint run"));
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while bench.log("log").is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(120), "training did not begin");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(130), "{said}");
    said
}

/// Weights that were to become sparse at the end are not yet, and those that are from the start are.
#[cfg(unix)]
#[test]
fn an_interrupted_run_says_that_weights_are_not_in_their_pattern() {
    if !has_device() {
        return;
    }
    for (way, is_told) in [("admm", true), ("masked", false), ("dense", false)] {
        let bench = Bench::new();
        let line = format!("train --data data --hidden 8 --method adam --sparse {way} --pattern 2:4");
        let said = interrupted(&bench, &line);
        assert_eq!(
            said.contains("saved as run, whose weights are not in their pattern yet"),
            is_told,
            "{said}"
        );
    }
}

#[test]
fn bad_data_is_named() {
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("train-images-idx3-ubyte", images(60)[..500].to_vec(), "truncated"),
        ("train-images-idx3-ubyte", labels(60), "wrong magic number"),
        ("train-images-idx3-ubyte", idx(0x803, &[60, 0, 4], &[]), "nothing to learn from"),
        ("train-labels-idx1-ubyte", labels(59), "59 labels for the 60 images"),
        ("t10k-labels-idx1-ubyte", idx(0x801, &[30], &[9; 30]), "label 9 of sample 0 is out of range"),
        ("t10k-images-idx3-ubyte", idx(0x803, &[30, 2, 2], &[0; 120]), "2 × 2 pixels"),
    ];
    for (name, content, expected) in cases {
        let bench = Bench::new();
        bench.write_data(name, &content);
        let message = bench.fail(&format!("{TRAIN} --json log --report report --checkpoint run"));
        assert!(message.contains(name) && message.contains(expected), "{message}");
    }
}

#[test]
fn what_cannot_be_is_refused_before_any_work() {
    let bench = Bench::new();
    fs::write(bench.path("file"), "a file").unwrap();
    let cases = [
        ("train --data nowhere", "no such folder"),
        ("train --data data --samples 61", "cannot take the first 61 of 60 samples"),
        ("train --data data --samples 0", "cannot take the first 0 of 60 samples"),
        ("train --hidden 0", "hidden = "),
        ("train --hidden 8,0,6", "hidden = "),
        ("train --rho 0", "rho = 0"),
        ("train --nu=-1", "nu = -1"),
        ("train --tau-0 nan", "tau-0 = NaN"),
        ("train --theta-0 inf", "theta-0 = inf"),
        ("train --z-last fista --fista-iterations 0", "fista-iterations = 0"),
        ("train --fista-eta 2", "--fista-eta is for --z-last fista"),
        ("train --schedule official --eval-every 5", "eval-every = 5"),
        ("train --report file/below", "--report file/below: cannot write there"),
        ("train --report file", "--report file: cannot write there"),
        ("train --checkpoint no/folder/run", "--checkpoint no/folder/run: cannot write there"),
        ("train --checkpoint data", "--checkpoint data: cannot write there"),
        ("train --json no/folder/log", "--json no/folder/log: cannot write there"),
        ("train --resume nowhere", "check the path"),
        ("train --resume file", "cut short or no safetensors file"),
        ("eval nowhere", "cannot read nowhere"),
        ("eval file", "cut short or no safetensors file"),
        ("parity nowhere", "cannot read nowhere"),
        ("parity file", "cut short or no safetensors file"),
    ];
    for (line, expected) in cases {
        let message = bench.fail(line);
        assert!(message.contains(expected), "{line}: {message}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_found_before_any_work() {
    let bench = Bench::new();
    for flag in ["--json", "--checkpoint"] {
        let message = bench.fail(&format!("{TRAIN} {flag} /dev/full"));
        assert!(
            message.contains(&format!("{flag} /dev/full: cannot write there: No space left")),
            "{message}"
        );
    }
    let output =
        bench.command("adapters").stdout(fs::File::options().write(true).open("/dev/full").unwrap()).output();
    let output = output.unwrap();
    assert!(output.status.code() == Some(1) && stderr(&output).lines().count() == 1, "{}", stderr(&output));
}

#[test]
fn a_checkpoint_of_another_program_is_refused() {
    let bench = Bench::new();
    let trace =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dladmm_mnist_n256_h32_rho1e-2.safetensors");
    let message = bench.fail(&format!("eval {}", trace.display()));
    assert!(message.contains("not a checkpoint of dualstep"), "{message}");
}

#[test]
fn a_missing_adapter_is_named_together_with_those_found() {
    let bench = Bench::new();
    for line in ["adapters", "train --data data --json log --checkpoint run"] {
        let output = Command::new(env!("CARGO_BIN_EXE_dualstep"))
            .current_dir(bench.folder.path())
            .args(line.split_whitespace())
            .args(["--adapter", "no such adapter"])
            .output()
            .unwrap();
        let said = stderr(&output);
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
        assert!(said.starts_with("dualstep: no adapter matches `no such adapter`; found: "), "{said}");
    }
    assert!(!bench.path("log").exists() && !bench.path("run").exists());
}

#[test]
fn wrong_use_is_status_2() {
    let bench = Bench::new();
    let lines = [
        "",
        "learn",
        "train --iterations 0",
        "train --checkpoint-every 5",
        "train --checkpoint run --checkpoint-every 0",
        "train --checkpoint-weights-only",
        "train --schedule slow",
        "train --hidden ten",
        "train --hidden 4,x4",
        "train --backend soft",
        "parity",
    ];
    for line in lines {
        let output = bench.run(line);
        assert_eq!(output.status.code(), Some(2), "{line}: {}", stderr(&output));
    }
}

#[test]
fn a_network_too_large_for_the_device_is_refused() {
    if !has_device() {
        return;
    }
    let bench = Bench::new();
    // More than any device binds: the second layer's weights are 14 GB.
    let message = bench.fail("train --data data --hidden 60000,60000 --json log --checkpoint run");
    assert!(message.contains("but this device allows"), "{message}");
}

#[test]
fn adapters_are_numbered() {
    if !has_device() {
        return;
    }
    let printed = Bench::new().succeed("adapters");
    assert!(
        printed.starts_with(|first: char| first.is_ascii_digit()) && printed.contains("driver"),
        "{printed}"
    );
}

#[test]
fn kernels_are_verified_by_name() {
    let bench = Bench::new();
    assert!(bench.fail("verify fill").contains("no kernel's name begins with fill"));
    if has_device() {
        let rows = bench.succeed("verify elementwise/fill reduce/dots");
        let names: Vec<_> = rows.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(names, ["elementwise/fill", "reduce/dots", "2"], "{rows}");
    }
}

#[test]
fn parity_judges_every_file() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let bench = Bench::new();
    if !has_device() {
        return;
    }
    let printed = bench.succeed(&format!("parity {}", golden.join("nm_2of4.safetensors").display()));
    assert!(printed.contains("6 updates, 0 mask entries and 0 counts of flips differ: passed"), "{printed}");
    let trace = golden.join("dladmm_fashion_n256_h24_rho1.safetensors");
    let printed = bench.succeed(&format!("parity --json {}", trace.display()));
    let verdict: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&verdict["passes"], &verdict["differing_exponents"]), (&true.into(), &0.into()));
    assert_eq!((&verdict["kind"], verdict["metrics"].as_array().unwrap().len()), (&"dladmm".into(), 7));
    let other = golden.join("badm_s3_uneven.safetensors");
    let printed = bench.succeed(&format!("parity --json {}", other.display()));
    let verdict: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(
        (&verdict["kind"], &verdict["steps"], &verdict["passes"]),
        (&"badm".into(), &25.into(), &true.into())
    );
    assert_eq!(verdict["tensors"][2]["tensor"], "m");
    assert!(bench.succeed(&format!("parity {}", trace.display())).contains("passed"));
}

#[test]
fn a_comparison_leaves_a_table_a_chart_and_its_curves() {
    if !has_device() {
        return;
    }
    let bench = Bench::new();
    let mut command = bench.command(
        "compare --data data --hidden 6 --iterations 4 --seeds 0,3 --report report --json curves.jsonl",
    );
    command.args(["--run", "plain=--steps exact --accelerate none", "--run", "--steps quadratic"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let table = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 2 + 2, "{table}");
    assert!(rows[0].contains("iterations to plain's cost") && rows[3].starts_with("| --steps quadratic |"));
    let lines = bench.log("curves.jsonl");
    let named: Vec<_> =
        lines.iter().map(|it| (it["run"].as_str().unwrap(), it["seed"].as_u64().unwrap())).collect();
    assert_eq!(named, [("plain", 0), ("plain", 3), ("--steps quadratic", 0), ("--steps quadratic", 3)]);
    for line in &lines {
        for list in ["iteration", "seconds", "objective", "train_accuracy", "test_cost"] {
            assert_eq!(line[list].as_array().unwrap().len(), 4, "{list}");
        }
    }
    assert_ne!(lines[0]["objective"], lines[1]["objective"], "seeds draw other weights");
    let page = fs::read_to_string(bench.path("report/index.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("plain"));
}

#[test]
fn networks_on_a_graph_are_compared_over_the_halves_of_each_seed() {
    if !has_device() {
        return;
    }
    let bench = Bench::new();
    let (_folder, graph) = graph_file::small().write();
    let mut command = bench.command(
        "compare --iterations 6 --seeds 1,2 --draw-halves --json curves.jsonl --method adam --eval-every 3",
    );
    command.arg("--data").arg(&graph);
    command.args(["--run", "gcn=--model gcn --hidden 4,c4", "--run", "mlp=--hidden 4"]);
    command.args(["--run", "literal=--method badm --constants paper --hidden 4 --batch 2 --sub-batches 2"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let lines = bench.log("curves.jsonl");
    assert_eq!(lines.len(), 6);
    for line in &lines {
        assert_eq!(line["iteration"], serde_json::json!([3, 6]));
        assert!(line["train_cost"][1].as_f64().unwrap() > 0.0, "{line}");
    }
}

#[test]
fn a_run_to_compare_that_makes_no_sense_is_refused_before_any_work() {
    let bench = Bench::new();
    let cases = [
        ("compare --data data --run --stepz=exact", "unexpected argument '--stepz"),
        ("compare --data data --run wild=--rho=-1", "rho = -1"),
        (
            "compare --data data --run odd=--steps=quadratic --run x=--damping=0.1 --steps quadratic",
            "--damping is for",
        ),
        ("compare --data data --json data", "--json"),
        ("compare --data data --draw-halves", "--draw-halves is for graphs"),
    ];
    for (line, part) in cases {
        let said = bench.fail(line);
        assert!(said.contains(part), "no `{part}` in: {said}");
    }
}

#[test]
fn networks_are_trained_by_gradients_too() {
    if !has_device() {
        return;
    }
    let bench = Bench::new();
    for method in ["adam", "badm --sub-batches 3", "sgd --learning-rate 0.5 --batch 16"] {
        bench.succeed(&format!(
            "train --data data --hidden 8 --method {method} --iterations 25 --json log.jsonl --report report \
             --checkpoint weights.safetensors"
        ));
        let log = bench.log("log.jsonl");
        assert_eq!(log.len(), 25, "{method}");
        let cost = |line: &serde_json::Value| line["train_cost"].as_f64().unwrap();
        assert!(cost(&log[24]) < cost(&log[0]), "{method}");
        assert!(log[0]["residuals"].as_array().unwrap().is_empty() && log[0]["rho"].is_null());
        assert!(bench.path("report/cost.svg").is_file());
        let evaluated = bench.succeed("eval weights.safetensors");
        let accuracy = format!("{:.2} %", 100.0 * log[24]["test_accuracy"].as_f64().unwrap());
        assert!(evaluated.contains(&accuracy), "{method}: no {accuracy} in {evaluated}");
    }
}

#[test]
fn a_training_by_gradients_that_diverges_saves_the_weights_before() {
    if !has_device() {
        return;
    }
    let bench = Bench::new();
    let output = bench.run(
        "train --data data --hidden 8 --method sgd --learning-rate 1e25 --iterations 9 --checkpoint run",
    );
    let said = stderr(&output);
    let last = said.lines().last().unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(last.contains("not finite at iteration") && last.contains("saved as run"), "{said}");
    let saved = checkpoint::load(&bench.path("run")).unwrap().state;
    assert!(saved.layers.iter().all(|layer| layer.weights.iter().all(|weight| weight.is_finite())));
}

/// Dense training, then compression from its weights, alone and compared with rivals.
#[test]
fn weights_become_sparse_on_the_command_line() {
    if !has_device() {
        return;
    }
    let bench = Bench::new();
    let adam = "--data data --method adam --batch 20 --learning-rate 0.01";
    bench.succeed(&format!("train {adam} --hidden 8 --iterations 30 --checkpoint dense-0"));
    let printed = bench.succeed(&format!(
        "train {adam} --from dense-0 --sparse admm --pattern 1:4 --decay linear --iterations 80 --eval-every 80 \
         --json log.jsonl --report report --checkpoint sparse"
    ));
    assert!(printed.contains("in its pattern") && printed.contains("off the mask"), "{printed}");
    let (updates, records): (Vec<_>, Vec<_>) =
        bench.log("log.jsonl").into_iter().partition(|line| line["update"].is_u64());
    assert_eq!((updates.len(), records.len()), (40, 1));
    let last = &updates[39];
    assert_eq!((last["iteration"].as_u64(), last["update"].as_u64()), (Some(80), Some(40)));
    let [only] = last["sparse"].as_array().unwrap().as_slice() else { panic!("{last}") };
    assert_eq!(only["layer"], 1);
    assert!(only["off"].as_f64().unwrap() < 2e-3 && only["flips"].is_f64() && only["primal"].is_f64());
    let saved = checkpoint::load(&bench.path("sparse")).unwrap().state;
    let groups = saved.layers[0].weights.chunks_exact(4);
    assert!(groups.clone().all(|group| group.iter().filter(|w| **w != 0.0).count() <= 1));
    assert!(saved.layers[1].weights.iter().all(|w| *w != 0.0), "the head stays dense");
    let evaluated = bench.succeed("eval sparse");
    let accuracy = format!("{:.2} %", 100.0 * records[0]["projected_test_accuracy"].as_f64().unwrap());
    assert!(evaluated.contains(&accuracy), "no {accuracy} in {evaluated}");
    assert!(fs::read_to_string(bench.path("report/summary.md")).unwrap().contains("in its pattern"));

    bench.succeed(&format!("train {adam} --hidden 8 --seed 1 --iterations 30 --checkpoint dense-1"));
    let mut command = bench.command(&format!(
        "compare {adam} --from dense-{{seed}} --pattern 1:4 --decay linear --iterations 80 --eval-every 40 --seeds 0,1 \
         --json compared.jsonl"
    ));
    for way in ["admm", "masked", "one-shot", "sr-ste", "dense"] {
        command.args(["--run", &format!("{way}=--sparse {way}")]);
    }
    let output = command.output().unwrap();
    let table = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 2 + 5, "{table}");
    assert!(rows[0].ends_with("| test % in pattern | off | flips % |"), "{table}");
    assert!(rows[2..].iter().all(|row| !row.contains("– | – |") && !row.ends_with("– |")), "{table}");
    assert!(rows[3].contains("| 0.0e0 | 0.00") && !rows[4].contains("| 0.0e0 |"), "{table}");
    let compared = bench.log("compared.jsonl");
    let counts: Vec<_> = compared.iter().map(|line| line["updates"].as_array().unwrap().len()).collect();
    assert_eq!(counts, [40; 10]);
    assert!(compared.iter().all(|line| line["projected_test_accuracy"][1].is_f64()));
}

#[test]
fn a_restless_mask_is_told_of_once() {
    if !has_device() {
        return;
    }
    let bench = Bench::new();
    let output = bench.run(
        "train --data data --hidden 8 --method adam --sparse admm --pattern 1:8 --draw coupled:3e-3 --interval 20 --leak 1 \
         --learning-rate 1e-4 --iterations 120 --eval-every 120 --fine-tune 0",
    );
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("the dual winds up").count(), 1, "{said}");
    assert!(said.contains("warning: 6 updates") && said.contains("off its mask at the end"), "{said}");
    assert!(said.contains("of the mask of the weights of layer 1 changed"), "{said}");
    assert!(said.contains("of the norm of the weights of layer 1 is off"), "{said}");
}

#[test]
fn what_cannot_become_sparse_is_refused() {
    let bench = Bench::new();
    let cases = [
        ("train --data data --method adam --pattern 2:4", "--pattern needs --sparse"),
        ("train --data data --method adam --sparse admm", "--sparse needs a --pattern"),
        (
            "train --data data --method badm --sparse admm --pattern 2:4",
            "--sparse is for first-order methods, not badm",
        ),
        ("train --data data --sparse admm --pattern 2:4", "--sparse is for first-order methods, not dladmm"),
        ("train --data data --from weights", "--from needs a --method"),
        ("train --data data --method adam --from nowhere", "cannot read nowhere"),
        ("train --data data --method badm --decay linear", "--decay is for first-order methods"),
        ("train --data data --method adam --sparse admm --pattern 2:4 --iterations 9", "interval = 0"),
    ];
    for (line, part) in cases {
        let said = bench.fail(line);
        assert!(said.contains(part), "no `{part}` in: {said}");
    }
    if !has_device() {
        return;
    }
    let said = bench.fail("train --data data --method adam --hidden 8,6,4 --sparse masked --pattern 2:4");
    assert!(said.contains("layer 3: a matrix of 4 × 6 cannot be 2:4"), "{said}");
    bench.succeed("train --data data --method adam --hidden 8 --iterations 2 --checkpoint weights");
    let said = bench.fail("train --data data --method adam --from weights --hidden 9");
    assert!(said.contains("--hidden 9 contradicts 8 of the network in weights"), "{said}");
}

#[test]
fn flags_of_other_methods_are_refused() {
    let bench = Bench::new();
    let cases = [
        ("train --data data --learning-rate 0.1", "--learning-rate needs a --method"),
        ("train --data data --method adam --damping 0.1", "--damping is for --method dladmm"),
        ("train --data data --method adam --sigma 5", "--sigma is for --method badm"),
        ("train --data data --method badm --weight-decay 0.1", "--weight-decay is for first-order methods"),
        ("train --data data --method badm --beta 1", "beta = 1"),
        ("train --data data --method badm --sub-batches 0", "sub_batches = 0"),
        ("train --data data --method adam --constants paper", "--constants is for --method badm"),
        (
            "train --data data --method adam --hidden 4,c4",
            "--hidden c4 is a graph convolution; add --model gcn",
        ),
        ("train --data data --method adam --dropout 0.1", "--dropout is for --model gcn"),
        ("train --data data --model gcn", "--model gcn needs a --method that trains by gradients"),
        ("train --data data --model gcn --method adam", "--model gcn takes a graph, which"),
        (
            "train --data data --model gcn --method adam --checkpoint run --checkpoint-weights-only",
            "--checkpoint-weights-only is for eval",
        ),
    ];
    for (line, part) in cases {
        let said = bench.fail(line);
        assert!(said.contains(part), "no `{part}` in: {said}");
    }
}

#[test]
fn a_bench_leaves_a_file_and_a_page_and_is_compared_with_an_earlier_one() {
    if !has_device() {
        return;
    }
    let bench = Bench::new();
    let quick = "bench --seconds 0.1 --size tiny --only reduce";
    let table = bench.succeed(&format!("{quick} --json old.json --report page"));
    for row in ["elementwise/copy ", "elementwise/multiply_add ", "reduce/dots "] {
        assert_eq!(table.lines().filter(|line| line.starts_with(row)).count(), 1, "{table}");
    }
    let page = fs::read_to_string(bench.path("page/index.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 2);
    assert!(page.contains("reduce/dots, 256 × 1024"), "{page}");
    let old = dualstep::bench::Report::read(&bench.path("old.json")).unwrap();
    assert_eq!((old.rows.len(), old.size.name()), (4, "tiny"));
    // The size is taken over, and the other product is new.
    let table = bench.succeed("bench --seconds 0.1 --only reduce/dots --compare old.json");
    assert!(table.contains("3 rows compared"), "{table}");
    assert!(table.lines().any(|line| line.starts_with("reduce/dots ") && line.contains(" ×")), "{table}");
}

#[test]
fn a_bench_refuses_files_of_others_before_any_work() {
    let bench = Bench::new();
    fs::write(bench.path("other.json"), "{\"rows\": []}").unwrap();
    let refused = [
        ("bench --compare missing.json", "cannot read missing.json"),
        ("bench --compare other.json", "other.json: no report of a bench"),
        ("bench --report other.json", "--report other.json: cannot write there"),
        ("bench --json no/such/folder.json", "--json no/such/folder.json: cannot write there"),
    ];
    for (line, expected) in refused {
        let said = bench.fail(line);
        assert!(said.contains(expected), "{line}: {said}");
    }
}

#[test]
fn what_is_tuned_is_taken_by_later_commands() {
    if !has_device() {
        return;
    }
    let bench = Bench::new();
    let table = bench.succeed("tune --seconds 0.2");
    assert!(table.contains("kept in tunings.json"), "{table}");
    let kept = || Tuning::read_all(&bench.path("tunings.json")).unwrap();
    for TileTimes { tile, times } in &kept()[0].tiles {
        let row = table.lines().find_map(|line| line.strip_prefix(&format!("{tile:<16}")));
        let first = format!("{:.3}", 1e3 * times[0].1);
        assert!(row.is_some_and(|row| row.trim_start().starts_with(&first)), "{tile}, {first} ms: {table}");
    }
    // Twice the same device is one tuning still, and others read it.
    bench.succeed("tune --seconds 0.2");
    assert_eq!(kept().len(), 1);
    bench.succeed("verify linalg/matmul_norm");
}

/// Mesa's software driver has subgroups of as many lanes as its vectors have numbers, and products tiles for eight and for
/// sixteen; the suite runs with one of them, this with the other. Other drivers do not know the variable.
#[test]
fn lanes_of_other_vectors_multiply_as_well() {
    if !has_device() {
        return;
    }
    let (width, class) = match std::env::var("LP_NATIVE_VECTOR_WIDTH").as_deref() {
        Ok("512") => ("256", "SoftwareEightLanes"),
        _ => ("512", "SoftwareSixteenLanes"),
    };
    let bench = Bench::new();
    let said_with_width = |line: &str| {
        let output = bench.command(line).env("LP_NATIVE_VECTOR_WIDTH", width).output().unwrap();
        assert!(output.status.success(), "{line}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let adapters = said_with_width("adapters");
    let is_mesas = adapters.contains("llvmpipe") && adapters.contains("(Cpu, Vulkan)");
    assert_eq!(adapters.contains(class), is_mesas, "{adapters}");
    if is_mesas {
        said_with_width("verify linalg/matmul_norm");
    }
}

#[test]
fn tunings_that_cannot_be_read_are_told_of_and_done_without() {
    if !has_device() {
        return;
    }
    let bench = Bench::new();
    fs::write(bench.path("tunings.json"), "[{}]").unwrap();
    let output = bench.run("verify reduce/totals");
    assert!(output.status.success());
    let said = stderr(&output);
    let told = said.lines().next().unwrap_or_default();
    assert!(told.contains("tunings.json: no tunings") && told.ends_with("going on without"), "{said}");
    // To tune again would write over a file that may be something else.
    let output = bench.run("tune --seconds 0.2");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("remove the file"), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(bench.path("tunings.json")).unwrap(), "[{}]");
}
