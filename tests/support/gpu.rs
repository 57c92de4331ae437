//! How tests get a device: loudly none without an adapter, a failure where one is required.

use dualstep::engine::{BackendName, Gpu, GpuOptions};

/// Opens a device, or says that there is none; panics where `DUALSTEP_REQUIRE_GPU=1` demands one.
///
/// `DUALSTEP_BACKEND` (`vulkan`, `gl`, `metal`, `dx12`) and `DUALSTEP_ADAPTER` (part of its name) choose.
pub fn open(options: &GpuOptions) -> Option<Gpu> {
    let backend = std::env::var("DUALSTEP_BACKEND").ok().map(|name| match name.as_str() {
        "vulkan" => BackendName::Vulkan,
        "gl" => BackendName::Gl,
        "metal" => BackendName::Metal,
        "dx12" => BackendName::Dx12,
        other => panic!("DUALSTEP_BACKEND={other}: use vulkan, gl, metal or dx12"),
    });
    let adapter = std::env::var("DUALSTEP_ADAPTER").ok();
    match Gpu::open(&GpuOptions { backend, adapter, ..options.clone() }) {
        Ok(gpu) => Some(gpu),
        Err(error) if std::env::var("DUALSTEP_REQUIRE_GPU").is_ok_and(|value| value == "1") => {
            panic!("DUALSTEP_REQUIRE_GPU=1 but {error}")
        }
        Err(error) => {
            eprintln!("SKIPPED, this test needs a device: {error}");
            None
        }
    }
}
