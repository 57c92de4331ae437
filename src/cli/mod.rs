//! The command line: commands, progress and reports. No maths.
//!
//! What always holds: a failure is one line on standard error that names what, where and the remedy, with exit status
//! 1; a wrong use of the flags is clap's message with status 2; an interrupted training ends with status 130. Results
//! go to standard output, everything said on the way to standard error.

mod adapters;
mod bench;
mod compare;
mod eval;
mod interrupt;
mod outputs;
mod parity;
mod prune;
mod report;
mod samples;
mod text;
mod train;
mod tune;
mod verify;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use dualstep::Error;
use dualstep::data::cache_folder;
use dualstep::engine::{BackendName, GpuOptions, Tuning};

/// Train neural networks by splitting methods (ADMM) on any GPU.
#[derive(Parser)]
#[command(name = "dualstep", version, propagate_version = true)]
struct Arguments {
    #[command(flatten)]
    device: DeviceArguments,
    /// Tell more on the way; twice for even more. RUST_LOG overrides it.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

/// Which device a command runs on.
#[derive(clap::Args)]
struct DeviceArguments {
    /// Part of the adapter's name, or its number in `dualstep adapters` [default: the fastest kind].
    #[arg(long, global = true, value_name = "NAME|NUMBER")]
    adapter: Option<String>,
    /// Only adapters reached this way.
    #[arg(long, global = true)]
    backend: Option<Backend>,
    /// Where `dualstep tune` keeps what it measured, and every other command looks for it
    /// [default: tunings.json in the cache folder].
    #[arg(long, global = true, value_name = "FILE")]
    tunings: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Backend {
    Vulkan,
    Metal,
    Dx12,
    Gl,
}

#[derive(Subcommand)]
enum Command {
    /// List every adapter with its capabilities and limits.
    Adapters,
    /// Train a network by dlADMM.
    Train(Box<train::Arguments>),
    /// Train in several ways from the same weights, and show them side by side.
    Compare(Box<compare::Arguments>),
    /// Take a checkpoint's accuracy and mean cost on training and test data.
    Eval(eval::Arguments),
    /// Bring a checkpoint's matrices to an N:M pattern by magnitude.
    Prune(Box<prune::Arguments>),
    /// Check every kernel against its float64 oracle on the device.
    Verify(verify::Arguments),
    /// Replay golden traces on the device and compare.
    Parity(parity::Arguments),
    /// Time kernels against the device's own ceilings.
    Bench(bench::Arguments),
    /// Find out which tiles multiply fastest on the device, for all later commands.
    Tune(tune::Arguments),
}

impl DeviceArguments {
    /// With what is known of tiles; tunings that cannot be read are told of, and done without.
    fn options(&self) -> GpuOptions {
        let backend = self.backend.map(|backend| match backend {
            Backend::Vulkan => BackendName::Vulkan,
            Backend::Metal => BackendName::Metal,
            Backend::Dx12 => BackendName::Dx12,
            Backend::Gl => BackendName::Gl,
        });
        let tunings = self.tunings_file().map_or(Ok(Vec::new()), |file| Tuning::read_all(&file));
        let tunings = tunings.unwrap_or_else(|error| {
            tell(format_args!("dualstep: {}; going on without", text::one_line(&error.to_string())));
            Vec::new()
        });
        GpuOptions { adapter: self.adapter.clone(), backend, tunings, ..GpuOptions::default() }
    }

    /// `None` where no home folder is known.
    fn tunings_file(&self) -> Option<PathBuf> {
        self.tunings.clone().or_else(|| Some(cache_folder()?.join("tunings.json")))
    }
}

/// What ends the program early: the line to be shown.
struct Failure(String);

impl From<Error> for Failure {
    /// The message, with what to do where the system's words say only what happened.
    fn from(error: Error) -> Self {
        match &error {
            Error::Io { action, source, .. } => Self(format!("{error}; {}", remedy(action, source))),
            _ => Self(error.to_string()),
        }
    }
}

fn remedy(action: &str, error: &io::Error) -> &'static str {
    match (action, error.kind()) {
        (_, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => "make room or choose another place",
        ("read", _) => "check the path and its permissions",
        _ => "choose another place",
    }
}

/// How a command ends: with a status, or early.
type Outcome = Result<ExitCode, Failure>;

/// Runs the program on its command line.
pub fn main() -> ExitCode {
    quieten_driver();
    let arguments = Arguments::parse();
    start_logging(arguments.verbose);
    run(&arguments).unwrap_or_else(|Failure(message)| {
        tell(format_args!("dualstep: {}", text::one_line(&message)));
        ExitCode::FAILURE
    })
}

fn run(arguments: &Arguments) -> Outcome {
    let options = arguments.device.options();
    match &arguments.command {
        Command::Adapters => adapters::run(&options),
        Command::Train(train) => train::run(&options, train),
        Command::Compare(compare) => compare::run(&options, compare),
        Command::Eval(eval) => eval::run(&options, eval),
        Command::Prune(prune) => prune::run(&options, prune),
        Command::Verify(verify) => verify::run(&options, verify),
        Command::Parity(parity) => parity::run(&options, parity),
        Command::Bench(bench) => bench::run(&options, bench),
        Command::Tune(tune) => tune::run(&options, arguments.device.tunings_file(), tune),
    }
}

/// Mesa's Vulkan layer looks for a Wayland display and complains on standard error where this variable is not set, as
/// in a container. A folder that does not exist makes it look in vain and in silence.
fn quieten_driver() {
    const VARIABLE: &str = "XDG_RUNTIME_DIR";
    if cfg!(target_os = "linux") && std::env::var_os(VARIABLE).is_none() {
        // SAFETY: the program has only this thread so far, so nobody reads the environment meanwhile.
        unsafe { std::env::set_var(VARIABLE, "/nonexistent") };
    }
}

fn start_logging(verbose: u8) {
    let level = match verbose {
        0 => "off", // what fails is told anyway, and in one line
        1 => "dualstep=info",
        _ => "dualstep=debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| level.into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
}

/// Prints a result and ends the line. A reader who has seen enough, such as `head`, is no failure.
fn print(line: impl Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure(format!("cannot write to standard output: {error}; send it somewhere else")))
        }
        _ => Ok(()),
    }
}

/// Says something on the way. Nobody may be listening, and the work goes on all the same.
fn tell(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
