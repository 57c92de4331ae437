//! C programs, built by the system's compiler and linked with the library as it is installed, do what they should.
//!
//! Without a C compiler, and for what needs a device without one, a test says past the harness's capture that it is skipped;
//! with `DUALSTEP_REQUIRE_GPU=1` it fails.

#[path = "../soversion.rs"]
mod soversion;

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use dualstep::checkpoint::{self, Checkpoint};
use dualstep::data::{DataSource, Split};
use dualstep::engine::{Gpu, GpuOptions};
use dualstep::solvers::dladmm::{Config, DlAdmm, HostState, Problem, Record, Scores, evaluate};
use dualstep::solvers::problem::HostSamples;
use tempfile::TempDir;

/// Strict, and as much of an older program's C as the header takes.
const FLAGS: [&str; 5] = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror"];

fn capi() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Says that nothing was tested, unless it has to be.
fn skip(reason: &str) {
    let required = env::var("DUALSTEP_REQUIRE_GPU").is_ok_and(|value| value == "1");
    assert!(!required, "DUALSTEP_REQUIRE_GPU = 1 but {reason}");
    let _ = writeln!(std::io::stderr(), "SKIPPED, nothing was tested: {reason}");
}

fn is_there(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A folder with the library under the names that it is installed by.
struct Installed {
    folder: TempDir,
    compiler: String,
}

impl Installed {
    /// None where there is no compiler.
    fn new() -> Option<Self> {
        let compiler = env::var("CC").unwrap_or("cc".into());
        if !is_there(&compiler) {
            skip(&format!(
                "there is no C compiler; install one, or set CC to something other than {compiler}"
            ));
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        // Cargo has built the library for this test, into the folder that the test itself lies in.
        let built = env::current_exe().unwrap().parent().unwrap().to_owned();
        let version = soversion::of(env!("CARGO_PKG_VERSION"));
        let (file, named) = match cfg!(target_os = "macos") {
            true => (
                "libdualstep_capi.dylib",
                [format!("libdualstep.{version}.dylib"), "libdualstep.dylib".into()],
            ),
            false => ("libdualstep_capi.so", [format!("libdualstep.so.{version}"), "libdualstep.so".into()]),
        };
        let names = named.map(|name| (file, name)).into_iter();
        for (from, to) in names.chain([("libdualstep_capi.a", "static/libdualstep.a".into())]) {
            let to = folder.path().join(to);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::hard_link(built.join(from), &to)
                .or_else(|_| fs::copy(built.join(from), &to).map(drop))
                .unwrap();
        }
        Some(Self { folder, compiler })
    }

    /// Builds a program.
    fn compile(&self, source: &str, flags: &[&str]) -> PathBuf {
        self.build(source, flags, &["-L", "..", "-ldualstep", "-Wl,-rpath,$ORIGIN/.."])
    }

    /// Builds a program that looks after its memory, and the library's, itself: valgrind takes minutes for what a software
    /// driver compiles.
    fn sanitized(&self, source: &str) -> Command {
        let sanitizers = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
        let probe = self.folder.path().join("probe.c");
        fs::write(&probe, "int main(void) { return 0; }\n").unwrap();
        let mut compiler = Command::new(&self.compiler);
        compiler.args(sanitizers).arg(&probe).arg("-o").arg(probe.with_extension("")).stderr(Stdio::null());
        if !compiler.status().unwrap().success() {
            unchecked("the compiler has no AddressSanitizer");
            return Command::new(self.compile(source, &[]));
        }
        // What drivers leave behind cannot be told from what others do, because they are unloaded by then.
        let mut command = Command::new(self.compile(source, &sanitizers));
        command.env("ASAN_OPTIONS", "detect_leaks=0");
        command
    }

    fn build(&self, source: &str, flags: &[&str], libraries: &[&str]) -> PathBuf {
        let name = Path::new(source).file_stem().unwrap();
        let folder = self.folder.path().join(format!("build{}{}", flags.join(""), libraries.len()));
        fs::create_dir_all(&folder).unwrap();
        let program = folder.join(name);
        let mut command = Command::new(&self.compiler);
        command.args(FLAGS).args(flags).arg("-I").arg(capi().join("include")).arg(capi().join(source));
        command.args(libraries).args(["-lm", "-pthread", "-o"]).arg(&program).current_dir(&folder);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
        program
    }
}

/// Runs a program to its end and returns what it printed.
fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

/// Whether there is a device for programs that take the first.
fn has_device() -> bool {
    match Gpu::open(&GpuOptions::default()) {
        Ok(_) => true,
        Err(error) => {
            skip(&error.to_string());
            false
        }
    }
}

/// What the library makes of the settings that `examples/train.c` has.
fn train(gpu: &Gpu, iterations: u32, samples: usize) -> (Config, Record, HostState) {
    let Split { train, test } = DataSource::Embedded.load().unwrap();
    let train = train.first(samples).unwrap();
    let (on, by) = (HostSamples::new(&train).unwrap(), HostSamples::new(&test).unwrap());
    let problem = Problem { outputs: 10, train: on.view(), test: Some(by.view()) };
    let usual = Config::default();
    let acceleration = usual.steps.usual_acceleration(usual.z_last);
    let config = Config { hidden: vec![64, 32], seed: 7, acceleration, ..usual };
    let mut network = DlAdmm::new(gpu, &config, &problem).unwrap();
    network.run(iterations).unwrap();
    let last = network.finish().unwrap().pop().unwrap();
    (config, last, network.state().unwrap())
}

fn line(name: &str, scores: Scores) -> String {
    format!("{name}: accuracy {:.2} %, cost {:.4}\n", 100.0 * scores.accuracy.unwrap(), scores.cost)
}

#[test]
fn a_training_from_c_is_the_librarys() {
    let Some(installed) = Installed::new().filter(|_| has_device()) else { return };
    let file = installed.folder.path().join("trained.safetensors");
    let printed = run(installed.sanitized("examples/train.c").args(["4", "500"]).arg(&file));

    let gpu = Gpu::open(&GpuOptions::default()).unwrap();
    let (config, last, expected) = train(&gpu, 4, 500);
    assert!(printed.contains(&line("training data", last.train.unwrap())), "{printed}");
    assert!(printed.contains(&line("test data", last.test.unwrap())), "{printed}");
    assert_eq!(printed.matches("objective").count(), 4, "{printed}");

    // Bit for bit; and the command line reads what C wrote, and scores it alike.
    let Checkpoint { config: saved, widths, samples, data, state, training } =
        checkpoint::load(&file).unwrap();
    assert_eq!((saved, samples, data.as_str(), state.iteration), (config.clone(), 500, "embedded", 4));
    assert!(state == expected && training.is_none(), "the state after the last iteration");
    let test = DataSource::Embedded.load().unwrap().test;
    let test = HostSamples::new(&test).unwrap();
    let scores = evaluate(&gpu, &config, &state.layers, &widths, &test.view()).unwrap();
    assert!(printed.contains(&line("checkpoint", scores)), "{printed}");
}

#[test]
fn a_step_from_c_trains_a_model_of_its_own() {
    let Some(installed) = Installed::new().filter(|_| has_device()) else { return };
    let printed = run(installed.sanitized("examples/step.c").arg("60"));
    let accuracy = |line: &str| -> f64 {
        let (_, rest) = printed.lines().find_map(|it| it.split_once(line)).unwrap();
        rest.trim_start_matches(": accuracy ").split(' ').next().unwrap().parse().unwrap()
    };
    // Ten classes; a linear model of these images gets to 80 % and loses little by 2:4, as half of the pixels are dark.
    assert!(accuracy("after 60 steps") > 70.0, "{printed}");
    assert!(accuracy("pruned to 2:4") > 50.0, "{printed}");
    let weights =
        printed.lines().find_map(|line| line.split_once(", ").filter(|(_, it)| it.contains("weights left")));
    let left: usize = weights.unwrap().1.split(' ').next().unwrap().parse().unwrap();
    assert!(left > 0 && left <= 10 * 784 / 2, "{printed}");
}

#[test]
fn mistakes_are_errors() {
    let Some(installed) = Installed::new() else { return };
    let program = installed.compile("tests/c/misuse.c", &["-g"]);
    if !is_there("valgrind") {
        unchecked("valgrind is not installed");
        run(Command::new(&program).arg("host"));
        return;
    }
    // Any error, and any block that is lost, fails the program.
    let valgrind = ["--quiet", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite"];
    run(Command::new("valgrind").args(valgrind).arg(&program).arg("host"));
}

#[test]
fn mistakes_with_a_device_are_errors() {
    let Some(installed) = Installed::new().filter(|_| has_device()) else { return };
    run(installed.sanitized("tests/c/misuse.c").arg("device").arg(installed.folder.path()));
}

/// Says that a program runs without what would find its faults.
fn unchecked(reason: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: memory is not checked, because {reason}");
}

/// The README's program is one.
#[test]
fn the_readmes_program_compiles() {
    let Some(installed) = Installed::new() else { return };
    let readme = fs::read_to_string(capi().join("../README.md")).unwrap();
    let (program, _) = readme.split_once("```c\n").unwrap().1.split_once("```").unwrap();
    let source = installed.folder.path().join("readme.c");
    fs::write(&source, program).unwrap();
    installed.compile(source.to_str().unwrap(), &[]);
}

/// As a C++ program includes it.
#[test]
fn the_header_is_cpp_too() {
    let compiler = env::var("CXX").unwrap_or("c++".into());
    if !is_there(&compiler) {
        let _ = writeln!(std::io::stderr(), "SKIPPED: there is no C++ compiler");
        return;
    }
    let mut command = Command::new(compiler);
    command.args(["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-x", "c++"]);
    run(command.arg("-include").arg(capi().join("include/dualstep.h")).arg("/dev/null"));
}

/// Linked into the program, with the libraries that the `.pc` file names for it.
#[test]
fn the_static_library_links() {
    let Some(installed) = Installed::new() else { return };
    let native = native_libraries();
    let native: Vec<&str> = native.split_whitespace().collect();
    let libraries = [&["../static/libdualstep.a"], native.as_slice()].concat();
    let program = installed.build("tests/c/misuse.c", &[], &libraries);
    run(Command::new(program).arg("host"));
}

/// What rustc says that a static library needs.
fn native_libraries() -> String {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("empty.rs");
    fs::write(&source, "").unwrap();
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or("rustc".into()));
    rustc.args(["--crate-type", "staticlib", "--print", "native-static-libs"]).arg(&source);
    let output = rustc.current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let found =
        said.lines().find_map(|line| line.split_once("native-static-libs: ")).map(|(_, it)| it.to_owned());
    found.unwrap_or_else(|| panic!("rustc names no libraries: {said}"))
}

/// What is exported is what the header declares, and a program of an older library finds it by its version.
#[test]
fn nothing_else_is_exported() {
    if !cfg!(target_os = "linux") || !is_there("readelf") {
        let _ = writeln!(std::io::stderr(), "SKIPPED: there is no readelf to list symbols with");
        return;
    }
    let Some(installed) = Installed::new() else { return };
    let library = installed.folder.path().join("libdualstep.so");
    let dynamic = run(Command::new("readelf").args([OsStr::new("-d"), library.as_os_str()]));
    let name = format!("soname: [libdualstep.so.{}]", soversion::of(env!("CARGO_PKG_VERSION")));
    assert!(dynamic.contains(&name), "{dynamic}");
    let symbols = run(Command::new("readelf").args(["--dyn-syms", "--wide"]).arg(&library));
    let defined = symbols.lines().filter(|line| line.contains(" GLOBAL ") && !line.contains(" UND "));
    let header = fs::read_to_string(capi().join("include/dualstep.h")).unwrap();
    for name in defined.filter_map(|line| line.split_whitespace().last()) {
        assert!(header.contains(&format!("{name}(")), "{name} is exported but not declared");
    }
}
