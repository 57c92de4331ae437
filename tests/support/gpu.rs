//! How tests and benches open a device: the one rule for all of them.
//!
//! `DUALSTEP_BACKEND` (vulkan, metal, dx12, gl) and `DUALSTEP_ADAPTER` (part of a name, or a number) choose one.
//! Without an adapter a test says so past the test harness's capture and is skipped, unless `DUALSTEP_REQUIRE_GPU=1`
//! asks that it fail.

use std::env;
use std::io::Write;

use dualstep::Error;
use dualstep::engine::{BackendName, Gpu, GpuOptions};

/// The device for a test or bench that wants these options, or `None` where it is to be skipped.
///
/// # Panics
/// If the device cannot be opened, or there is none and `DUALSTEP_REQUIRE_GPU` is 1.
pub fn open(options: GpuOptions) -> Option<Gpu> {
    let backend = env::var("DUALSTEP_BACKEND").ok().map(|name| match name.to_lowercase().as_str() {
        "vulkan" => BackendName::Vulkan,
        "metal" => BackendName::Metal,
        "dx12" => BackendName::Dx12,
        "gl" => BackendName::Gl,
        other => panic!("DUALSTEP_BACKEND = {other}: must be vulkan, metal, dx12 or gl"),
    });
    let adapter = env::var("DUALSTEP_ADAPTER").ok();
    match Gpu::open(&GpuOptions { backend, adapter, ..options }) {
        Ok(gpu) => Some(gpu),
        Err(error @ Error::NoAdapter { .. }) => {
            let required = env::var("DUALSTEP_REQUIRE_GPU").is_ok_and(|value| value == "1");
            assert!(!required, "DUALSTEP_REQUIRE_GPU = 1 but {error}");
            // Written past the capture of passing tests' output: a skipped test must not look like a run one.
            let _ = writeln!(std::io::stderr(), "SKIPPED, nothing was tested on a device: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}
