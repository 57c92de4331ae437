//! Every kernel against its oracle: `dualstep::verify` on the device at hand, in every way a device may differ.

#[path = "support/gpu.rs"]
mod gpu;

use dualstep::engine::{AdapterClass, Checks, Gpu, GpuOptions};
use dualstep::verify::{self, Effort};

/// Runs all kernels, or those whose name begins with `family`, and lists what was wrong.
fn expect_all_right(gpu: &Gpu, effort: Effort, family: &str) {
    let rows =
        verify::run_some(gpu, effort, |name| name.starts_with(family), |row| println!("{row}")).unwrap();
    assert!(!rows.is_empty());
    let wrong: Vec<_> = rows.iter().filter(|row| !row.passed()).map(ToString::to_string).collect();
    assert!(wrong.is_empty(), "{}\n{}", gpu.capabilities(), wrong.join("\n"));
}

/// All sizes, with shaders as they are released.
#[test]
fn unchecked_shaders() {
    let Some(gpu) = gpu::open(GpuOptions { poison: true, ..Default::default() }) else { return };
    expect_all_right(&gpu, Effort::Full, "");
}

/// Shaders with the compiler's own bounds checks.
#[test]
fn checked_shaders() {
    let Some(gpu) = gpu::open(GpuOptions { checks: Checks::Checked, ..Default::default() }) else { return };
    expect_all_right(&gpu, Effort::Quick, "");
}

/// Grids of more than one row, as those of more than 65,535 workgroups are.
#[test]
fn folded_grids() {
    let Some(gpu) = gpu::open(GpuOptions { group_limit: Some(43), ..Default::default() }) else { return };
    for family in
        ["elementwise", "reduce", "dladmm/relu_z", "dladmm/residual", "dladmm/fista", "linalg/matmul_norm"]
    {
        expect_all_right(&gpu, Effort::Full, family);
    }
}

/// The matrix products that other kinds of device get. (Those for eight-lane subgroups need such a device.)
#[test]
fn tiles_of_other_devices() {
    for class in [AdapterClass::Gpu, AdapterClass::Software] {
        let Some(gpu) = gpu::open(GpuOptions { class: Some(class), ..Default::default() }) else { return };
        expect_all_right(&gpu, Effort::Quick, "linalg");
        expect_all_right(&gpu, Effort::Quick, "dladmm/activation_gradient");
    }
}
