//! `dualstep adapters`: every adapter with its number, capabilities and limits.

use std::process::ExitCode;

use dualstep::Error;
use dualstep::engine::{GpuOptions, describe_adapters};

use super::{Outcome, print};

/// Prints the adapters of the chosen backend, or of all; `--adapter` narrows the list to the names it matches.
pub fn run(options: &GpuOptions) -> Outcome {
    let adapters = describe_adapters(options.backend);
    let chosen: Vec<_> =
        adapters.iter().enumerate().filter(|(number, it)| matches(options, *number, &it.adapter)).collect();
    if chosen.is_empty() {
        let names: Vec<_> = adapters.iter().map(|adapter| adapter.adapter.as_str()).collect();
        let requested =
            options.adapter.as_ref().map_or("any request".into(), |adapter| format!("`{adapter}`"));
        let found = if names.is_empty() { "none".into() } else { names.join(", ") };
        return Err(Error::NoAdapter { requested, found }.into());
    }
    for (number, adapter) in chosen {
        print(format_args!("{number}: {adapter}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// By the rule of `Gpu::open`: a number is a number, anything else part of a name.
fn matches(options: &GpuOptions, number: usize, name: &str) -> bool {
    options.adapter.as_ref().is_none_or(|wanted| match wanted.parse::<usize>() {
        Ok(wanted) => wanted == number,
        Err(_) => name.to_lowercase().contains(&wanted.to_lowercase()),
    })
}
