//! Golden traces replayed on the device: the kernels compute what the authors' code computes.

#[path = "support/gpu.rs"]
mod gpu;

use std::path::{Path, PathBuf};

use dualstep::engine::GpuOptions;
use dualstep::golden::{self, NmTrace, Trace};
use dualstep::parity::{Parity, TensorDifference, replay};

/// Every trace that the repository holds.
fn traces() -> Vec<(PathBuf, Trace)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "safetensors"));
    files.sort();
    let read = |file: PathBuf| {
        let trace = golden::read(&file).unwrap();
        (file, trace)
    };
    files.into_iter().map(read).collect()
}

/// The first trace whose file's name begins so.
fn trace(name: &str) -> Trace {
    let named = |file: &Path| file.file_name().unwrap().to_str().unwrap().starts_with(name);
    traces().into_iter().find(|(file, _)| named(file)).expect("the repository's traces are missing").1
}

/// What does not pass, one line each.
fn faults(parity: &Parity) -> Vec<String> {
    let far = parity.tensors().iter().filter(|difference| !difference.passes());
    let mut faults: Vec<_> = far
        .map(|it| {
            format!("{} after iteration {}: {:.2e} > {:.0e}", it.tensor, it.iteration, it.error, it.tolerance)
        })
        .collect();
    if let Parity::DlAdmm(parity) = parity {
        let (differing, all) = (parity.differing_exponents, parity.exponents);
        faults.extend((differing > 0).then(|| format!("{differing} of {all} exponents differ")));
    }
    if let Parity::Nm(parity) = parity {
        let (masks, flips) = (parity.differing_mask_entries, parity.differing_flips);
        faults.extend(
            (masks + flips > 0).then(|| format!("{masks} mask entries, {flips} counts of flips differ")),
        );
    }
    faults
}

#[test]
fn every_trace_is_reproduced() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let mut kinds = Vec::new();
    for (file, trace) in traces() {
        let parity = replay(&gpu, &trace).unwrap();
        let faults = faults(&parity);
        assert!(faults.is_empty() && parity.passes(), "{}:\n{}", file.display(), faults.join("\n"));
        assert!(!parity.tensors().is_empty(), "{}: nothing was compared", file.display());
        kinds.push(parity.kind());
    }
    let count = |kind: &str| kinds.iter().filter(|other| **other == kind).count();
    let counts = ["dladmm", "badm", "first_order", "nm_admm"].map(count);
    assert!(
        counts[0] >= 3 && counts[1] >= 4 && counts[2] >= 1 && counts[3] >= 4,
        "traces are missing: {counts:?}"
    );
}

fn far(parity: &Parity) -> Vec<&TensorDifference> {
    parity.tensors().iter().filter(|difference| !difference.passes()).collect()
}

/// Without this, a comparison that compares nothing would pass.
#[test]
fn a_spoilt_trace_is_found_out() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let Trace::DlAdmm(mut trace) = trace("dladmm") else { panic!("of another kind") };
    let (last, iterations) = (trace.states.len() - 1, trace.settings.iterations);
    let weight = &mut trace.states[last].layers[1].weight;
    weight.data_mut()[0] += 1e-3 * weight.norm();
    trace.exponents[0][3] += 1;
    let parity = replay(&gpu, &Trace::DlAdmm(trace)).unwrap();
    assert!(!parity.passes());
    let far = far(&parity);
    assert_eq!((far.len(), far[0].tensor.as_str(), far[0].iteration), (1, "W2", iterations));
    let Parity::DlAdmm(parity) = &parity else { panic!("of another kind") };
    assert_eq!(parity.differing_exponents, 1);
}

#[test]
fn one_spoilt_element_of_an_optimizers_trace_is_found_out() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let Trace::Badm(mut badm) = trace("badm_s3") else { panic!("of another kind") };
    // The smallest dual, by as little as is not allowed: norms would not notice.
    let data = badm.pi.data_mut();
    let smallest = (0..data.len()).min_by(|a, b| data[*a].abs().total_cmp(&data[*b].abs())).unwrap();
    data[smallest] *= 1.0 + 3e-4;
    let parity = replay(&gpu, &Trace::Badm(badm)).unwrap();
    assert_eq!(far(&parity).iter().map(|it| it.tensor.as_str()).collect::<Vec<_>>(), ["pi"]);

    let Trace::FirstOrder(mut methods) = trace("first_order") else { panic!("of another kind") };
    methods.methods[6].w.data_mut()[700] *= 1.0 + 1e-4;
    methods.methods[1].w.data_mut()[3] = f64::from(f32::MAX);
    let parity = replay(&gpu, &Trace::FirstOrder(methods)).unwrap();
    let far: Vec<_> = far(&parity).iter().map(|it| it.tensor.clone()).collect();
    assert_eq!(far, ["w.momentum", "w.adam"]);
}

/// A mask's entry, a flip and a value are each found out, for none of the traces comes so close that it may differ.
#[test]
fn one_spoilt_entry_of_a_mask_is_found_out() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let Trace::Nm(whole) = trace("nm_3of8") else { panic!("of another kind") };
    let outcome = |spoil: fn(&mut NmTrace)| {
        let mut trace = whole.clone();
        spoil(&mut trace);
        let parity = replay(&gpu, &Trace::Nm(trace)).unwrap();
        assert!(!parity.passes());
        let Parity::Nm(parity) = parity else { panic!("of another kind") };
        let far = parity.tensors.iter().filter(|it| !it.passes()).count();
        (parity.differing_mask_entries, parity.differing_flips, far)
    };
    assert_eq!(outcome(|trace| trace.first_mask[77] ^= true), (1, 0, 0));
    assert_eq!(outcome(|trace| trace.last_mask[959] ^= true), (1, 0, 0));
    assert_eq!(outcome(|trace| trace.flips[2] += 1), (0, 1, 0));
    assert_eq!(outcome(|trace| trace.u.data_mut()[0] += 1e-4 * trace.u.norm()), (0, 0, 1));
    assert_eq!(outcome(|trace| trace.z.data_mut()[95] += 1e-4 * trace.z.norm()), (0, 0, 1));
}
