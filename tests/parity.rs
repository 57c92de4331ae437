//! The golden traces of dlADMM, replayed on the device: the kernels compute what the authors' code computes.

#[path = "support/gpu.rs"]
mod gpu;

use std::path::{Path, PathBuf};

use dualstep::engine::GpuOptions;
use dualstep::golden::{self, DlAdmmTrace, Trace};
use dualstep::parity::{Parity, replay};

/// Every trace of dlADMM that the repository holds.
fn traces() -> Vec<(PathBuf, Box<DlAdmmTrace>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "safetensors"));
    files.sort();
    let read = |file: PathBuf| match golden::read(&file).unwrap() {
        Trace::DlAdmm(trace) => Some((file, trace)),
        Trace::Unsupported { .. } => None,
    };
    files.into_iter().filter_map(read).collect()
}

/// What does not pass, one line each.
fn faults(parity: &Parity) -> Vec<String> {
    let far = parity.tensors.iter().filter(|difference| !difference.passes());
    far.map(|it| {
        format!("{} after iteration {}: {:.2e} > {:.0e}", it.tensor, it.iteration, it.error, it.tolerance)
    })
    .chain(
        (parity.differing_exponents > 0)
            .then(|| format!("{} of {} exponents differ", parity.differing_exponents, parity.exponents)),
    )
    .collect()
}

#[test]
fn every_trace_is_reproduced() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let traces = traces();
    assert!(traces.len() >= 3, "the repository's traces are missing");
    for (file, trace) in traces {
        let parity = replay(&gpu, &trace).unwrap();
        let faults = faults(&parity);
        assert!(faults.is_empty() && parity.passes(), "{}:\n{}", file.display(), faults.join("\n"));
    }
}

/// Without this, a comparison that compares nothing would pass.
#[test]
fn a_spoilt_trace_is_found_out() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let (_, mut trace) = traces().swap_remove(0);
    let last = trace.states.len() - 1;
    let weight = &mut trace.states[last].layers[1].weight;
    weight.data_mut()[0] += 1e-3 * weight.norm();
    trace.exponents[0][3] += 1;
    let parity = replay(&gpu, &trace).unwrap();
    assert!(!parity.passes());
    assert_eq!(parity.differing_exponents, 1);
    let far: Vec<_> = parity.tensors.iter().filter(|difference| !difference.passes()).collect();
    assert_eq!((far.len(), far[0].tensor.as_str(), far[0].iteration), (1, "W2", trace.settings.iterations));
}
