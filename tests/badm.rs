//! BADM on the device: against a literal transcription of the paper's equations over many steps, with short and uneven
//! batches, in 16 bits, through refusals and resumptions, and inside a host app's own pass. Against recorded runs:
//! `tests/parity.rs`.

#[path = "support/gpu.rs"]
mod gpu;

#[path = "support/values.rs"]
mod values;

#[path = "support/literal_badm.rs"]
mod literal;

use dualstep::Error;
use dualstep::engine::{Batch, Gpu, GpuOptions, Plan, PlanBuilder, Shape, Slab, StorageType, Tensor};
use dualstep::kernels::elementwise;
use dualstep::reference::Matrix;
use dualstep::reference::badm::{self as twin, Moment};
use dualstep::reference::optimizer as shared;
use dualstep::solvers::badm::{Badm, BadmConfig, SecondMoment, Slots, StateStorage, SubBatches, Warning};
use dualstep::solvers::optimizer::{Guard, Schedule, Tally};
use literal::{Literal, Slot};
use values::values;

fn open() -> Option<Gpu> {
    gpu::open(GpuOptions::default())
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// BADM over parameters of its own, and a plan for full batches.
struct Run {
    gpu: Gpu,
    w: Tensor,
    gradients: Tensor,
    badm: Badm,
    plan: Plan,
}

impl Run {
    fn new(gpu: &Gpu, config: &BadmConfig, start: &[f32]) -> Self {
        let length = start.len() as u32;
        let w = gpu.upload(Shape::vector(length), start).expect("fits");
        let rows = Shape::new(config.sub_batches, length);
        let gradients = gpu.zeros(rows, StorageType::F32).expect("fits");
        let badm = Badm::new(gpu, config, &w).expect("sound settings");
        let plan = plan(gpu, &badm, &SubBatches::even(&gradients));
        Self { gpu: gpu.clone(), w, gradients, badm, plan }
    }

    fn step(&self, seed: u32) {
        let shape = self.gradients.shape();
        self.gpu.write(&self.gradients, &values(seed, shape.rows * shape.columns)).expect("same length");
        self.plan.run().expect("submits");
    }

    /// Every bit of parameters and state.
    fn bits(&self) -> (Vec<u8>, Vec<Vec<u32>>) {
        let snapshot = self.badm.snapshot().expect("reads back");
        (self.gpu.read_bytes(&self.w).expect("reads back"), snapshot.tensors)
    }
}

fn plan(gpu: &Gpu, badm: &Badm, batch: &SubBatches<'_>) -> Plan {
    let mut plan = PlanBuilder::new(gpu, "step");
    badm.record(&mut plan, batch).expect("records");
    plan.finish().expect("resolves")
}

/// The eliminated form is the literal one: no rounding of f32 is in the way of seeing it.
#[test]
fn eliminating_the_local_parameters_changes_nothing() {
    const LENGTH: usize = 60;
    for (is_corrected, rho, sigma, beta) in
        [(true, 500.0, 500.0, 0.999), (false, 8500.0, 1500.0, 0.9), (false, 3.0, 700.0, 0.99)]
    {
        let start = if is_corrected { 0.0 } else { 1e-8 };
        let literal = Literal { rho, sigma, beta, epsilon: 1e-8, is_corrected };
        let schedule = shared::Schedule::Constant;
        let settings = twin::Settings { rho, sigma, beta, epsilon: 1e-8, is_corrected, schedule };
        let mut w = wide(&values(1, LENGTH as u32));
        let mut slots = vec![Slot::new(LENGTH, start); 3];
        let mut state = twin::State {
            pi: Matrix::zeros(3, LENGTH),
            m: Matrix::from_fn(3, LENGTH, |_, _| start),
            w: Matrix::new(1, LENGTH, w.clone()),
        };
        let mut clock = twin::Clock {
            verdict: shared::Verdict::default(),
            keep: 0.0,
            turn: 0.0,
            blend: 0.0,
            epsilon: 0.0,
            slots: vec![twin::Slot::default(); 3],
        };
        for step in 0..100 {
            // Every fourth batch is a short one.
            let weights = if step % 4 == 3 { vec![0.75, 0.25] } else { vec![0.5, 0.25, 0.25] };
            let rows: Vec<Vec<f64>> =
                (0..weights.len()).map(|n| wide(&values(7 + 3 * step + n as u32, LENGTH as u32))).collect();
            literal.step(&mut w, &mut slots, &rows, &weights);
            clock = twin::clock(&settings, &clock, &weights, 0, None);
            let gradients = Matrix::new(rows.len(), LENGTH, rows.concat());
            let after = twin::step(Moment::Dual, &clock, (0, 0), &gradients, &state, |dual, _, _| dual);
            state = twin::State { pi: after.pi.value, m: after.m.value, w: after.w.value };
        }
        assert!(state.w.relative_error(&Matrix::new(1, LENGTH, w)) < 1e-12);
        for (n, slot) in slots.iter().enumerate() {
            // The literal update forms π from a difference of parameters that σ multiplies.
            let distance =
                |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(distance(state.pi.row(n), &slot.pi) < 1e-12 * (rho + sigma));
            assert!(distance(state.m.row(n), &slot.m) < 1e-12 * (rho + sigma));
        }
    }
}

/// Batches of 3, 3 and 2 sub-batches, the last of uneven ones: shared slots and slots of their own.
#[test]
fn the_device_follows_the_paper_over_epochs_of_uneven_batches() {
    let Some(gpu) = open() else { return };
    const LENGTH: u32 = 203;
    let shares: [&[f32]; 3] = [&[1.0 / 3.0; 3], &[0.5, 0.25, 0.25], &[0.625, 0.375]];
    let paper = BadmConfig::paper(3, 3, 300.0, 700.0);
    let robust = BadmConfig::robust(3, 1e-3);
    for config in [robust, paper, BadmConfig { slots: Slots::Shared, ..paper }, robust.fast_start()] {
        let start = values(2, LENGTH);
        let w = gpu.upload(Shape::vector(LENGTH), &start).expect("fits");
        let badm = Badm::new(&gpu, &config, &w).expect("sound settings");
        let gradients: Vec<_> = shares
            .iter()
            .map(|share| gpu.zeros(Shape::new(share.len() as u32, LENGTH), StorageType::F32).expect("fits"))
            .collect();
        let plans: Vec<_> = (0..3)
            .map(|b| {
                let weights = Some(shares[b]);
                plan(
                    &gpu,
                    &badm,
                    &SubBatches { gradients: vec![gradients[b].as_ref()], weights, batch: b as u32 },
                )
            })
            .collect();
        let BadmConfig { rho, sigma, beta, epsilon, bias_correction, .. } = config;
        let literal = Literal { rho, sigma, beta, epsilon, is_corrected: bias_correction };
        let mut expected = wide(&start);
        let is_shared = config.slots == Slots::Shared;
        let slot = Slot::new(LENGTH as usize, config.initial_moment);
        let mut slots = vec![slot; if is_shared { 3 } else { 9 }];
        let steps = 60;
        for step in 0..steps {
            let b = step as usize % 3;
            let rows: Vec<Vec<f32>> =
                (0..shares[b].len()).map(|n| values(50 * step + n as u32, LENGTH)).collect();
            gpu.write(&gradients[b], &rows.concat()).expect("same length");
            plans[b].run().expect("submits");
            let first = if is_shared { 0 } else { 3 * b };
            let rows: Vec<_> = rows.iter().map(|row| wide(row)).collect();
            literal.step(&mut expected, &mut slots[first..], &rows, &wide(shares[b]));
        }
        // A step moves w by at most 1/σ times |π'|/√(k m'), below 1/√(1−β), and a difference of duals below 2. Each is off
        // by some 20 roundings of this step, and by three for each that went before, which the state keeps.
        let reach = (1.0 / (1.0 - beta).sqrt()).min(if bias_correction { 2.0 } else { 10.0 }) + 2.0;
        let carried = f64::from(steps * (20 + 3 * steps / 2));
        let allowed = f64::from(f32::EPSILON) * (f64::from(steps) * 2.0 + carried * reach / sigma);
        for (k, (actual, expected)) in gpu.read(&w).expect("reads back").iter().zip(&expected).enumerate() {
            let error = (f64::from(*actual) - expected).abs();
            assert!(error <= allowed, "{config:?}: w[{k}] is off by {error:e}, to {allowed:e}");
        }
        assert_eq!(badm.tally().expect("reads back"), Tally { steps, ..Tally::default() });
        // t_s: the third slot is left out by every third batch.
        let clock = gpu.read_u32(badm.clock()).expect("reads back");
        let used: Vec<u32> = clock[10..].chunks(3).map(|slot| slot[0]).collect();
        assert_eq!(used, if is_shared { vec![60, 60, 40] } else { vec![20, 20, 20, 20, 20, 20, 20, 20, 0] });
    }
}

#[test]
fn one_dispatch_moves_twenty_bytes_a_sub_batch_and_parameter() {
    let Some(gpu) = open() else { return };
    for (sub_batches, storage, bytes) in [
        (1, StateStorage::F32, 28),
        (4, StateStorage::F32, 88),
        (7, StateStorage::F32, 148),
        (4, StateStorage::Bf16, 56),
        (4, StateStorage::F16, 56),
    ] {
        let config = BadmConfig { storage, ..BadmConfig::robust(sub_batches, 1e-3) };
        let run = Run::new(&gpu, &config, &[0.0; 1000]);
        let operations: Vec<_> = run.plan.operations().collect();
        let names: Vec<_> = operations.iter().map(|operation| operation.kernel).collect();
        assert_eq!(names, ["optimizer/finite", "badm/clock", "badm/step"]);
        assert_eq!(
            operations[0].bytes - 32,
            u64::from(4 * sub_batches) * 1000,
            "the test reads gradients once"
        );
        assert_eq!(
            operations[2].bytes - run.badm.clock().bytes(),
            bytes * 1000,
            "{sub_batches}, {storage:?}"
        );
        let trusting = Run::new(&gpu, &BadmConfig { guard: Guard::Trust, ..config }, &[0.0; 1000]);
        assert_eq!(trusting.plan.counts().dispatches, 2);
    }
}

/// Gradients of constant sign, large for a while and then a hundred times smaller. As m forgets the large ones, which takes
/// 1/(1 − β) steps, steps grow. Rounding to the nearest would keep m in bf16 where it was.
///
/// What is allowed: rounding stochastically adds at most a fifth of a squared unit to the variance of m at each step that
/// moves m by 0.001 of itself, and m forgets at that rate; with units of up to 2⁻⁷, m is off by 8 percent in standard
/// deviation, and a step by half that. Five deviations are 20 percent for one parameter, and one percent for the mean of
/// 512. √m in f16 is closer.
#[test]
fn a_state_of_16_bits_drifts_no_further_than_its_rounding() {
    let Some(gpu) = open() else { return };
    const LENGTH: u32 = 512;
    let slopes: Vec<f32> = values(4, LENGTH).iter().map(|x| x.signum() * (1.25 + 0.75 * x)).collect();
    let travelled = |storage| {
        let config = BadmConfig { storage, seed: 7, ..BadmConfig::robust(1, 1e-3) };
        let run = Run::new(&gpu, &config, &vec![0.0; LENGTH as usize]);
        for (scale, steps) in [(1.0, 60), (0.01, 1500)] {
            let gradients: Vec<f32> = slopes.iter().map(|slope| scale * slope).collect();
            gpu.write(&run.gradients, &gradients).expect("same length");
            let mut batch = Batch::new(&gpu);
            batch.replay(&run.plan, steps).expect("records");
            batch.submit().expect("submits");
        }
        run.badm.check().expect("all finite");
        gpu.read(&run.w).expect("reads back")
    };
    let exact = travelled(StateStorage::F32);
    for storage in [StateStorage::Bf16, StateStorage::F16] {
        let ratios: Vec<f64> =
            travelled(storage).iter().zip(&exact).map(|(w, exact)| f64::from(w / exact)).collect();
        let farthest = ratios.iter().map(|ratio| (ratio - 1.0).abs()).fold(0.0, f64::max);
        let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
        assert!(farthest <= 0.2 && (mean - 1.0).abs() <= 0.01, "{storage:?}: {farthest}, mean {mean}");
        assert!(farthest > 0.0, "{storage:?}: nothing was rounded");
    }
}

#[test]
fn a_refused_step_leaves_every_bit_and_is_told() {
    let Some(gpu) = open() else { return };
    for storage in [StateStorage::F32, StateStorage::Bf16, StateStorage::F16] {
        let config = BadmConfig { storage, ..BadmConfig::robust(3, 1e-3) };
        let (run, without) =
            (Run::new(&gpu, &config, &values(3, 70)), Run::new(&gpu, &config, &values(3, 70)));
        for step in 0..3 {
            run.step(step);
            without.step(step);
        }
        let before = run.bits();
        let too_large = if storage == StateStorage::F16 { 40_000.0 } else { -1e19 };
        for (place, odd) in [(2 * 70 + 69, f32::NAN), (0, f32::NEG_INFINITY), (70, too_large)] {
            let mut gradients = values(9, 3 * 70);
            gradients[place] = odd;
            gpu.write(&run.gradients, &gradients).expect("same length");
            run.plan.run().expect("submits");
            assert_eq!(run.bits(), before, "{storage:?}, {odd} at {place}");
        }
        let tally = run.badm.tally().expect("reads back");
        let first = tally.first_refusal.expect("three were refused");
        assert_eq!((tally.steps, tally.refused), (3, 3));
        assert_eq!((first.step, first.row, first.parameter), (4, 2, 69));
        let error = run.badm.check().expect_err("three were refused");
        assert!(error.to_string().contains("in row 2 of the gradients at parameter 69"), "{error}");
        // It goes on as if nothing had been, random bits included.
        run.step(4);
        without.step(4);
        assert_eq!(run.bits(), without.bits(), "{storage:?}");
    }
}

#[test]
fn a_run_goes_on_from_a_snapshot_and_repeats_bit_for_bit() {
    let Some(gpu) = open() else { return };
    let robust = BadmConfig { schedule: Schedule::Cosine { steps: 30 }, ..BadmConfig::robust(2, 1e-3) };
    for storage in [StateStorage::F32, StateStorage::Bf16, StateStorage::F16] {
        let config = BadmConfig { storage, seed: 11, ..robust };
        let start = values(5, 333);
        let run = Run::new(&gpu, &config, &start);
        (0..8).for_each(|step| run.step(step));
        let w = gpu.read(&run.w).expect("reads back");
        let snapshot = run.badm.snapshot().expect("reads back");
        (8..16).for_each(|step| run.step(step));

        let resumed = Run::new(&gpu, &config, &w);
        resumed.badm.restore(&snapshot).expect("of the same kind");
        (8..16).for_each(|step| resumed.step(step));
        assert_eq!(run.bits(), resumed.bits(), "{storage:?} resumed");

        let again = Run::new(&gpu, &config, &start);
        (0..16).for_each(|step| again.step(step));
        assert_eq!(run.bits(), again.bits(), "{storage:?} again");

        let other = Run::new(&gpu, &BadmConfig { seed: 12, ..config }, &start);
        (0..16).for_each(|step| other.step(step));
        assert_eq!(other.bits() == run.bits(), storage == StateStorage::F32, "{storage:?}, another seed");
    }
}

/// Each sub-batch pulls towards a point of its own; the parameters come to rest between them.
#[test]
fn a_bowl_is_descended() {
    let Some(gpu) = open() else { return };
    const LENGTH: u32 = 50;
    for (second_moment, learning_rate) in
        [(SecondMoment::Dual, 0.02), (SecondMoment::Gradient, 0.02), (SecondMoment::Off, 0.1)]
    {
        let schedule = Schedule::Linear { steps: 400 };
        let config = BadmConfig { second_moment, schedule, ..BadmConfig::robust(2, learning_rate) };
        let shape = Shape::vector(LENGTH);
        let slab = Slab::new(&[shape]).expect("small");
        let flat = gpu.zeros(slab.shape(1), StorageType::F32).expect("fits");
        let gradients = gpu.zeros(slab.shape(2), StorageType::F32).expect("fits");
        let goals: Vec<_> = (0..2).map(|n| values(20 + n, LENGTH)).collect();
        let badm = Badm::new(&gpu, &config, &flat).expect("sound settings");
        let one = gpu.upload(Shape::vector(4), &[1.0, 0.0, 0.0, 0.0]).expect("fits");
        let part = slab.part(&flat, 0, 0).expect("the only one");
        let mut plan = PlanBuilder::new(&gpu, "bowl");
        // Gradients of each sub-batch in a buffer of their own, gathered into the rows.
        for (n, goal) in goals.iter().enumerate() {
            let goal = gpu.upload(shape, goal).expect("fits");
            let gradient = plan.temporary(shape);
            elementwise::copy(&mut plan, &part, &gradient).expect("same shape");
            elementwise::descend(&mut plan, &goal, &one, 0, &gradient).expect("same shape");
            let row = slab.part(&gradients, n as u32, 0).expect("one for each sub-batch");
            elementwise::copy(&mut plan, &gradient, &row).expect("same shape");
        }
        badm.record(&mut plan, &SubBatches::even(&gradients)).expect("records");
        let plan = plan.finish().expect("resolves");
        let mut batch = Batch::new(&gpu);
        batch.replay(&plan, 400).expect("records");
        batch.submit().expect("submits");
        let w = gpu.read(&flat).expect("reads back");
        // Where the normalised pulls of the two balance is between the goals, not always in the middle.
        for k in 0..LENGTH as usize {
            let (low, high) = (goals[0][k].min(goals[1][k]), goals[0][k].max(goals[1][k]));
            let inside = low - 0.05 <= w[k] && w[k] <= high + 0.05;
            assert!(inside, "{second_moment:?}: {} is not between {low} and {high}", w[k]);
        }
        assert!(w[LENGTH as usize..].iter().all(|value| *value == 0.0), "the rest of the row stays zero");
        badm.check().expect("all finite");
    }
}

/// The step in an encoder of the app's own, on buffers of its own: nothing of ours is submitted, waited for or uploaded.
#[test]
fn a_host_app_records_the_step_into_its_own_pass() {
    let Some(gpu) = open() else { return };
    const LENGTH: u32 = 500;
    let config = BadmConfig::robust(2, 1e-3);
    let (start, gradients) = (values(1, LENGTH), values(2, 2 * LENGTH));
    let buffer = |values: &[f32]| {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let size = size_of_val(values) as u64;
        let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("app"),
            size,
            usage,
            mapped_at_creation: true,
        });
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        buffer.slice(..).get_mapped_range_mut().expect("mapped at creation").copy_from_slice(&bytes);
        buffer.unmap();
        buffer
    };
    let (app_w, app_gradients) = (buffer(&start), buffer(&gradients));
    let w = gpu.wrap(&app_w, 0, Shape::vector(LENGTH), StorageType::F32).expect("fits");
    let rows = gpu.wrap(&app_gradients, 0, Shape::new(2, LENGTH), StorageType::F32).expect("fits");
    let badm = Badm::new(&gpu, &config, &w).expect("sound settings");
    let step = plan(&gpu, &badm, &SubBatches::even(&rows));
    let before = gpu.counters();
    let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for _ in 0..5 {
            step.record(&mut pass);
        }
    }
    let commands = encoder.finish();
    assert_eq!(gpu.counters(), before, "no submit, no wait, no memory");
    gpu.queue().submit([commands]);
    let ours = Run::new(&gpu, &config, &start);
    gpu.write(&ours.gradients, &gradients).expect("same length");
    (0..5).for_each(|_| ours.plan.run().expect("submits"));
    assert_eq!(gpu.read(&w).expect("reads back"), gpu.read(&ours.w).expect("reads back"));
    badm.check().expect("all finite");
}

#[test]
fn penalties_and_schedules_need_no_new_recording() {
    let Some(gpu) = open() else { return };
    let config = BadmConfig { schedule: Schedule::Linear { steps: 4 }, ..BadmConfig::robust(1, 1e-2) };
    let mut run = Run::new(&gpu, &config, &[0.0; 4]);
    (0..4).for_each(|_| run.step(1));
    let at_end = gpu.read(&run.w).expect("reads back");
    run.step(1);
    assert_eq!(gpu.read(&run.w).expect("reads back"), at_end, "the learning rate is 0");
    let mut fixed = Run::new(&gpu, &BadmConfig { schedule: Schedule::Constant, ..config }, &[0.0; 4]);
    fixed.step(1);
    let first = gpu.read(&fixed.w).expect("reads back");
    fixed.badm.set_penalties(5e7, 5e7).expect("sound");
    fixed.step(1);
    let moved: Vec<_> = gpu.read(&fixed.w).expect("reads back");
    assert!(moved.iter().zip(&first).all(|(a, b)| (a - b).abs() < 1e-6), "{first:?} to {moved:?}");
    run.badm.set_penalties(0.0, 1.0).expect_err("rho must be above 0");
}

#[test]
fn unsound_settings_and_operands_are_refused() {
    let Some(gpu) = open() else { return };
    let w = gpu.zeros(Shape::vector(8), StorageType::F32).expect("fits");
    let robust = BadmConfig::robust(2, 1e-3);
    let refused = [
        (BadmConfig { sub_batches: 0, ..robust }, "sub_batches = 0"),
        (BadmConfig { slots: Slots::PerBatch { batches: 0 }, ..robust }, "batches = 0"),
        (BadmConfig { rho: 0.0, ..robust }, "rho = 0"),
        (BadmConfig { rho: f64::INFINITY, ..robust }, "rho = inf"),
        (BadmConfig { sigma: -1.0, ..robust }, "sigma = -1"),
        (BadmConfig { sigma: f64::NAN, ..robust }, "sigma = NaN"),
        (BadmConfig { beta: 1.0, ..robust }, "beta = 1"),
        (BadmConfig { beta: 0.0, ..robust }, "beta = 0"),
        (BadmConfig { epsilon: -1e-8, ..robust }, "epsilon = "),
        (BadmConfig { schedule: Schedule::Cosine { steps: 0 }, ..robust }, "schedule = 0 steps"),
    ];
    for (config, words) in refused {
        let message = Badm::new(&gpu, &config, &w).expect_err(words).to_string();
        assert!(message.starts_with(words), "{message}");
    }
    let badm = Badm::new(&gpu, &robust, &w).expect("sound settings");
    let rows = |rows, columns| gpu.zeros(Shape::new(rows, columns), StorageType::F32).expect("fits");
    let (fitting, long, many, none) = (rows(2, 8), rows(2, 9), rows(3, 8), rows(0, 8));
    let weighted = |weights| SubBatches { weights: Some(weights), ..SubBatches::even(&fitting) };
    let cases = [
        (SubBatches::even(&long), "rows of 9 elements but there are 8 parameters"),
        (SubBatches::even(&many), "3 rows but must have one for each sub-batch, 1 to 2"),
        (SubBatches::even(&none), "0 rows"),
        (weighted(&[1.0]), "weights = 1 for 2 sub-batches"),
        (weighted(&[0.5, 0.25]), "weights = 0.75 together: must add up to 1"),
        (weighted(&[1.5, -0.5]), "weights = -0.5"),
    ];
    for (batch, words) in cases {
        let error = badm.record(&mut PlanBuilder::new(&gpu, "refused"), &batch).expect_err(words);
        assert!(error.to_string().contains(words), "{error}");
    }
    let literal = Badm::new(&gpu, &BadmConfig::paper(2, 3, 500.0, 500.0), &w).expect("sound settings");
    let beyond = SubBatches { batch: 3, ..SubBatches::even(&fitting) };
    let error = literal.record(&mut PlanBuilder::new(&gpu, "refused"), &beyond).expect_err("batch 3 of 3");
    assert!(error.to_string().starts_with("batch = 3 of 3"), "{error}");
}

#[test]
fn a_state_beyond_the_limit_is_refused_with_its_size() {
    let Some(gpu) = open() else { return };
    let w = gpu.zeros(Shape::vector(1 << 18), StorageType::F32).expect("fits");
    // 2 · 100 · 8 copies of 1 MiB.
    let config = BadmConfig { memory_limit: 1 << 30, ..BadmConfig::paper(8, 100, 500.0, 500.0) };
    assert_eq!(config.state_bytes(1 << 18), 1600 << 20);
    let before = gpu.counters().memory;
    let error = Badm::new(&gpu, &config, &w).expect_err("1600 of 1024 MiB");
    assert!(matches!(error, Error::Limit { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("1600 copies") && message.contains("1600 MiB"), "{message}");
    assert!(message.contains("1024 MiB by memory_limit"), "{message}");
    assert_eq!(gpu.counters().memory, before, "nothing was allocated");
    let halved = BadmConfig { storage: StateStorage::Bf16, ..config };
    assert_eq!(halved.state_bytes(1 << 18), 800 << 20);
}

#[test]
fn settings_that_are_unlikely_to_work_are_warned_of() {
    assert_eq!(BadmConfig::robust(4, 1e-3).warnings(), []);
    let paper = |rho, sigma| BadmConfig::paper(4, 2, rho, sigma).warnings();
    assert_eq!(paper(200.0, 800.0), []);
    // 1/(100 · 0.1), and 200/(100² · 0.1).
    let warnings = paper(100.0, 100.0);
    assert!(
        matches!(warnings[..], [Warning::LongFirstStep(step)] if (step - 0.1).abs() < 1e-9),
        "{warnings:?}"
    );
    let warnings = paper(80.0, 20.0);
    let [Warning::LongFirstStep(_), Warning::SmallSigma(gain)] = warnings[..] else { panic!("{warnings:?}") };
    assert!((gain - 2.5).abs() < 1e-9, "{gain}");
    let warnings = paper(1e6, 1e3);
    assert!(matches!(warnings[..], [Warning::SmallSigma(_), Warning::SlowDuals(..)]), "{warnings:?}");
    assert!(warnings.iter().all(|warning| !warning.to_string().contains('\n')));
    let off = BadmConfig { second_moment: SecondMoment::Off, ..BadmConfig::paper(4, 2, 1e6, 1e3) };
    assert_eq!(off.warnings(), []);
}
