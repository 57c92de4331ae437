//! `dualstep verify`: every kernel against its float64 oracle, on the user's own adapter.

use std::process::ExitCode;

use dualstep::engine::{Checks, Gpu, GpuOptions};
use dualstep::kernels;
use dualstep::verify::{self, Effort};

use super::{Failure, Outcome, print, tell};

/// Flags of `dualstep verify`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Kernels whose names begin so, such as `nm/` or `linalg/matmul` [default: all].
    #[arg(value_name = "KERNEL")]
    kernels: Vec<String>,
    /// All sizes, up to a hundred thousand elements; minutes instead of seconds on a CPU.
    #[arg(long)]
    full: bool,
    /// Let shaders carry bounds checks of their own, as tests do.
    #[arg(long)]
    checked: bool,
}

/// Prints a row per kernel; the status says whether all were right.
pub fn run(options: &GpuOptions, arguments: &Arguments) -> Outcome {
    let is_wanted = |name: &str| {
        arguments.kernels.is_empty()
            || arguments.kernels.iter().any(|prefix| name.starts_with(prefix.as_str()))
    };
    if !kernels::ALL.iter().any(|kernel| is_wanted(kernel.name)) {
        let prefixes = arguments.kernels.join(" or ");
        return Err(Failure(format!(
            "no kernel's name begins with {prefixes}; `dualstep verify` alone lists all"
        )));
    }
    let checks = if arguments.checked { Checks::Checked } else { Checks::Unchecked };
    // Poisoned memory finds kernels that rely on what was there before.
    let gpu = Gpu::open(&GpuOptions { checks, poison: true, ..options.clone() })?;
    tell(gpu.capabilities());
    let effort = if arguments.full { Effort::Full } else { Effort::Quick };
    let mut unprinted = Ok(());
    let rows = verify::run(&gpu, effort, is_wanted, |row| {
        if unprinted.is_ok() {
            unprinted = print(row);
        }
    })?;
    unprinted?;
    let wrong: Vec<_> = rows.iter().filter(|row| !row.passed()).map(|row| row.kernel).collect();
    if wrong.is_empty() {
        print(format_args!("{} kernels, all right", rows.len()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (count, names) = (wrong.len(), wrong.join(", "));
    let driver = "update the driver, or choose another --adapter or --backend";
    Err(Failure(format!("{count} of {} kernels are wrong on this adapter: {names}; {driver}", rows.len())))
}
