//! The bench on the device at hand: what it reports is whole and counted, whatever the times are.

#[path = "support/gpu.rs"]
mod gpu;

use dualstep::Error;
use dualstep::bench::{self, Options, Size, Verdict};
use dualstep::engine::{Gpu, GpuOptions, PlanBuilder, Shape, StorageType};
use dualstep::kernels::linalg::{self, Transposed};
use dualstep::kernels::{self, elementwise};

/// The least there is.
fn tiny() -> Options {
    Options { seconds: Some(0.1), size: Some(Size::Tiny), only: None }
}

#[test]
fn every_row_is_timed_and_counted() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let mut rounds = 0;
    let report = bench::run(&gpu, &tiny(), |progress| rounds = progress.rounds).expect("measures");
    assert!(rounds >= 3 && report.rounds == rounds);
    assert!(report.ceilings.bandwidth > 0.0 && report.ceilings.arithmetic > 0.0);
    for ceiling in &report.rows[..2] {
        let share = ceiling.share(&report.ceilings).0;
        assert!((share - 1.0).abs() < 1e-12, "{} is its own ceiling, not {share} of it", ceiling.kernel);
    }
    for row in &report.rows {
        assert!(kernels::ALL.iter().any(|kernel| kernel.name == row.kernel), "{} is no kernel", row.kernel);
        let seconds = row.seconds;
        assert!(
            0.0 < seconds.low && seconds.low <= seconds.median && seconds.median <= seconds.high,
            "{row:?}"
        );
        assert!(row.bytes > 0 && row.share(&report.ceilings).0.is_finite(), "{row:?}");
        let twins = report.rows.iter().filter(|twin| (&twin.kernel, &twin.work) == (&row.kernel, &row.work));
        assert_eq!(twins.count(), 1, "rows are told apart by kernel and work: {row:?}");
    }
    let overhead = &report.overhead;
    for spread in [overhead.recording, overhead.replay, overhead.dispatch, overhead.round_trip] {
        assert!(spread.median > 0.0);
    }
    let changes = bench::compare(&report, &report);
    assert_eq!(changes.len(), report.rows.len());
    assert!(changes.iter().all(|change| change.ratio == 1.0 && change.verdict == Verdict::Same));
}

#[test]
fn counts_are_those_of_plans() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let options = Options { only: Some("matmul 64 × 64 × 64".into()), ..tiny() };
    let report = bench::run(&gpu, &options, |_| ()).expect("measures");
    let names: Vec<_> = report.rows.iter().map(|row| row.kernel.as_str()).collect();
    assert_eq!(names, ["elementwise/copy", "elementwise/multiply_add", "linalg/matmul"]);
    let matrix = |rows, columns| gpu.zeros(Shape::new(rows, columns), StorageType::F32);
    let plans = [
        record(&gpu, |plan| elementwise::copy(plan, &matrix(256, 1024)?, &matrix(256, 1024)?)),
        record(&gpu, |plan| {
            elementwise::multiply_add(plan, &matrix(16, 1024)?, 8, (0.5, 0.5), &matrix(16, 1024)?)
        }),
        record(&gpu, |plan| {
            let (a, b) = (matrix(64, 64)?, matrix(64, 64)?);
            linalg::matmul(plan, (&a, Transposed::No), (&b, Transposed::No), &matrix(64, 64)?)
        }),
    ];
    for (row, (flops, bytes)) in report.rows.iter().zip(plans) {
        assert_eq!((row.flops, row.bytes), (flops, bytes), "{row:?}");
    }
    assert_eq!((report.rows[0].bytes, report.rows[2].flops), (2 << 20, 2 * 64 * 64 * 64));
}

fn record(gpu: &Gpu, record: impl FnOnce(&mut PlanBuilder) -> Result<(), Error>) -> (u64, u64) {
    let mut plan = PlanBuilder::new(gpu, "counts");
    record(&mut plan).expect("records");
    let counts = plan.finish().expect("a sound plan").counts();
    (counts.flops, counts.bytes)
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    for seconds in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let options = Options { seconds: Some(seconds), ..tiny() };
        let error = bench::run(&gpu, &options, |_| ()).expect_err("no time");
        assert!(error.to_string().starts_with("seconds = "), "{error}");
    }
    let options = Options { only: Some("no such kernel".into()), ..tiny() };
    let error = bench::run(&gpu, &options, |_| ()).expect_err("no rows");
    assert!(error.to_string().starts_with("only = no such kernel"), "{error}");
}
