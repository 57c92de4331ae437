//! First-order methods on the device: against their float64 twins over many steps, by schedules that nothing records
//! again, through refusals and resumptions. Against PyTorch: `tests/parity.rs`.

#[path = "support/gpu.rs"]
mod gpu;

#[path = "support/values.rs"]
mod values;

use dualstep::Error;
use dualstep::engine::{Batch, Gpu, GpuOptions, Plan, PlanBuilder, Shape, StorageType, Tensor};
use dualstep::kernels::elementwise;
use dualstep::reference::Matrix;
use dualstep::reference::first_order::{self as twin, Clock, Rule};
use dualstep::reference::optimizer as shared;
use dualstep::solvers::first_order::{FirstOrder, FirstOrderConfig, Method};
use dualstep::solvers::optimizer::{Guard, Schedule, Tally};
use values::values;

fn open() -> Option<Gpu> {
    gpu::open(GpuOptions::default())
}

/// A method over parameters of its own, and the plan of one step.
struct Run {
    gpu: Gpu,
    w: Tensor,
    gradient: Tensor,
    solver: FirstOrder,
    plan: Plan,
}

impl Run {
    fn new(gpu: &Gpu, config: &FirstOrderConfig, start: &[f32]) -> Self {
        let w = gpu.upload(Shape::vector(start.len() as u32), start).expect("fits");
        let gradient = gpu.zeros(w.shape(), StorageType::F32).expect("fits");
        let solver = FirstOrder::new(gpu, config, &w).expect("sound settings");
        let mut plan = PlanBuilder::new(gpu, "step");
        solver.record(&mut plan, &gradient).expect("records");
        let plan = plan.finish().expect("resolves");
        Self { gpu: gpu.clone(), w, gradient, solver, plan }
    }

    fn step(&self, gradient: &[f32]) {
        self.gpu.write(&self.gradient, gradient).expect("same length");
        self.plan.run().expect("submits");
    }

    fn w(&self) -> Vec<f32> {
        self.gpu.read(&self.w).expect("reads back")
    }

    /// Every bit of parameters and state.
    fn bits(&self) -> (Vec<u8>, Vec<Vec<u32>>) {
        let snapshot = self.solver.snapshot().expect("reads back");
        (self.gpu.read_bytes(&self.w).expect("reads back"), snapshot.tensors)
    }
}

fn rule(method: Method) -> Option<Rule> {
    Some(match method {
        Method::Sgd => return None,
        Method::Momentum => Rule::Momentum,
        Method::Nesterov => Rule::Nesterov,
        Method::AdaGrad => Rule::AdaGrad,
        Method::Adadelta => Rule::Adadelta,
        Method::RmsProp => Rule::RmsProp,
        Method::Adam | Method::AdamW => Rule::Adam,
        Method::NAdam => Rule::NAdam,
        Method::Adamax => Rule::Adamax,
    })
}

fn twin_settings(config: &FirstOrderConfig) -> twin::Settings {
    let schedule = match config.schedule {
        Schedule::Constant => shared::Schedule::Constant,
        Schedule::Linear { steps } => shared::Schedule::Linear(steps),
        Schedule::Cosine { steps } => shared::Schedule::Cosine(steps),
        Schedule::Stepped { every, factor } => shared::Schedule::Stepped(every, factor),
    };
    twin::Settings {
        rate: config.learning_rate,
        weight_decay: config.weight_decay,
        is_decoupled: config.method == Method::AdamW,
        beta_1: config.beta_1,
        beta_2: config.beta_2,
        epsilon: config.epsilon,
        momentum_decay: config.momentum_decay,
        schedule,
    }
}

#[test]
fn every_method_follows_its_twin_over_many_steps() {
    let Some(gpu) = open() else { return };
    const STEPS: u32 = 120;
    const LENGTH: u32 = 203;
    for method in Method::ALL {
        let config = FirstOrderConfig {
            weight_decay: 0.02,
            schedule: Schedule::Cosine { steps: STEPS },
            ..FirstOrderConfig::keras(method)
        };
        let start = values(1, LENGTH);
        let run = Run::new(&gpu, &config, &start);
        let mut w = Matrix::from_f32(1, LENGTH as usize, &start);
        let rows = method.rows() as usize;
        let mut state = Matrix::from_fn(rows, LENGTH as usize, |_, _| config.initial);
        let mut clock = Clock::START;
        let mut allowed = vec![0.0; LENGTH as usize];
        for step in 0..STEPS {
            let gradient = values(100 + step, LENGTH);
            run.step(&gradient);
            let gradient = Matrix::from_f32(1, LENGTH as usize, &gradient);
            clock = twin::clock(&twin_settings(&config), &clock, None);
            let moved = match rule(method) {
                None => twin::sgd(&clock, &gradient, &w),
                Some(rule) => {
                    let (new, moved) = twin::step(rule, &clock, &gradient, &state, &w);
                    state = new.value;
                    moved
                }
            };
            // One rounding of the parameter; of what it moves by 20, and what earlier steps left in the state, three each.
            for (k, allowed) in allowed.iter_mut().enumerate() {
                let held = w.data()[k].abs();
                let change = moved.magnitude.data()[k] - held;
                *allowed += f64::from(f32::EPSILON) * (held + f64::from(20 + 3 * step) * change);
            }
            w = moved.value;
        }
        for (k, actual) in run.w().iter().enumerate() {
            let error = (f64::from(*actual) - w.data()[k]).abs();
            assert!(error <= allowed[k], "{method:?}: w[{k}] is off by {error:e}, to {:e}", allowed[k]);
            assert!(allowed[k] < 2e-3, "{method:?}: a bound of {:e} says nothing", allowed[k]);
        }
        assert_eq!(run.solver.tally().expect("reads back"), Tally { steps: STEPS, ..Tally::default() });
    }
}

#[test]
fn a_schedule_is_decided_on_the_device() {
    let Some(gpu) = open() else { return };
    type Factor = fn(f64) -> f64;
    let schedules: [(Schedule, Factor); 4] = [
        (Schedule::Constant, |_| 1.0),
        (Schedule::Linear { steps: 40 }, |t| (1.0 - t / 40.0).max(0.0)),
        (Schedule::Cosine { steps: 40 }, |t| {
            0.5 * (1.0 + (std::f64::consts::PI * (t / 40.0).min(1.0)).cos())
        }),
        (Schedule::Stepped { every: 15, factor: 0.5 }, |t| 0.5f64.powf((t / 15.0).floor())),
    ];
    for (schedule, factor) in schedules {
        let config =
            FirstOrderConfig { schedule, learning_rate: 0.25, ..FirstOrderConfig::pytorch(Method::Sgd) };
        let mut run = Run::new(&gpu, &config, &[0.0; 5]);
        gpu.write(&run.gradient, &[1.0f32; 5]).expect("same length");
        let waits = gpu.counters().host_waits;
        let mut batch = Batch::new(&gpu);
        batch.replay(&run.plan, 50).expect("records");
        batch.submit().expect("submits");
        assert_eq!(gpu.counters().host_waits, waits, "nothing waits for the host");
        let sum: f64 = (0..50).map(|t| 0.25 * factor(f64::from(t))).sum();
        let moved = -f64::from(run.w()[4]);
        assert!(
            (moved - sum).abs() <= 50.0 * f64::from(f32::EPSILON) * sum,
            "{schedule:?}: {moved}, not {sum}"
        );
        run.solver.set_learning_rate(0.5).expect("sound");
        run.step(&[1.0; 5]);
        let more = -f64::from(run.w()[4]) - moved;
        let expected = 0.5 * factor(50.0);
        assert!((more - expected).abs() <= 2.0 * f64::from(f32::EPSILON) * sum, "{schedule:?}: {more}");
    }
}

#[test]
fn a_refused_step_leaves_every_bit_and_is_told() {
    let Some(gpu) = open() else { return };
    for method in Method::ALL {
        let config = FirstOrderConfig::pytorch(method);
        let (run, without) =
            (Run::new(&gpu, &config, &values(3, 70)), Run::new(&gpu, &config, &values(3, 70)));
        for step in 0..3 {
            run.step(&values(step, 70));
            without.step(&values(step, 70));
        }
        let before = run.bits();
        for (place, odd) in [(69, f32::NAN), (0, f32::INFINITY), (33, -1e19)] {
            let mut gradient = values(9, 70);
            gradient[place] = odd;
            run.step(&gradient);
            assert_eq!(run.bits(), before, "{method:?}, {odd} at {place}");
        }
        let tally = run.solver.tally().expect("reads back");
        let first = tally.first_refusal.expect("three were refused");
        assert_eq!((tally.steps, tally.refused, first.step, first.parameter), (3, 3, 4, 69));
        let error = run.solver.check().expect_err("three were refused");
        assert!(matches!(error, Error::NotFinite { iteration: 4, .. }), "{error}");
        assert!(error.to_string().contains("at parameter 69"), "{error}");
        // It goes on as if nothing had been.
        run.step(&values(4, 70));
        without.step(&values(4, 70));
        assert_eq!(run.bits(), without.bits(), "{method:?}");
        without.solver.check().expect("nothing was refused");
    }
}

#[test]
fn what_is_not_looked_at_is_let_through() {
    let Some(gpu) = open() else { return };
    let config = FirstOrderConfig { guard: Guard::Trust, ..FirstOrderConfig::default() };
    let run = Run::new(&gpu, &config, &[1.0; 6]);
    run.step(&[0.5, f32::NAN, 0.5, 0.5, 0.5, 0.5]);
    let w = run.w();
    assert!(w[1].is_nan() && w.iter().filter(|w| w.is_nan()).count() == 1, "{w:?}");
    assert_eq!(run.plan.counts().dispatches, 2);
}

#[test]
fn a_run_goes_on_from_a_snapshot_and_repeats_bit_for_bit() {
    let Some(gpu) = open() else { return };
    for method in Method::ALL {
        let config =
            FirstOrderConfig { schedule: Schedule::Linear { steps: 30 }, ..FirstOrderConfig::keras(method) };
        let start = values(5, 333);
        let run = Run::new(&gpu, &config, &start);
        (0..8).for_each(|step| run.step(&values(step, 333)));
        let (w, snapshot) = (run.w(), run.solver.snapshot().expect("reads back"));
        (8..16).for_each(|step| run.step(&values(step, 333)));

        let resumed = Run::new(&gpu, &config, &w);
        resumed.solver.restore(&snapshot).expect("of the same kind");
        (8..16).for_each(|step| resumed.step(&values(step, 333)));
        assert_eq!(run.bits(), resumed.bits(), "{method:?} resumed");

        let again = Run::new(&gpu, &config, &start);
        (0..16).for_each(|step| again.step(&values(step, 333)));
        assert_eq!(run.bits(), again.bits(), "{method:?} again");
    }
    let (adam, sgd) = (FirstOrderConfig::default(), FirstOrderConfig::pytorch(Method::Sgd));
    let (adam, sgd) = (Run::new(&gpu, &adam, &[0.0; 4]), Run::new(&gpu, &sgd, &[0.0; 4]));
    let error = adam.solver.restore(&sgd.solver.snapshot().expect("reads back")).expect_err("of another");
    assert!(matches!(error, Error::Plan { .. }), "{error}");
}

#[test]
fn a_bowl_is_descended() {
    let Some(gpu) = open() else { return };
    let goal = values(7, 50);
    let distance = |w: &[f32]| w.iter().zip(&goal).map(|(w, c)| f64::from(w - c).powi(2)).sum::<f64>().sqrt();
    for method in Method::ALL {
        let learning_rate = match method {
            Method::Sgd | Method::Momentum | Method::Nesterov => 0.1,
            Method::Adadelta => 20.0,
            Method::AdaGrad => 0.5,
            _ => 0.05,
        };
        let schedule = Schedule::Linear { steps: 300 };
        let config = FirstOrderConfig { learning_rate, schedule, ..FirstOrderConfig::pytorch(method) };
        let w = gpu.zeros(Shape::vector(50), StorageType::F32).expect("fits");
        let solver = FirstOrder::new(&gpu, &config, &w).expect("sound settings");
        let goal = gpu.upload(w.shape(), &goal).expect("fits");
        let one = gpu.upload(Shape::vector(4), &[1.0, 0.0, 0.0, 0.0]).expect("fits");
        let mut plan = PlanBuilder::new(&gpu, "bowl");
        let gradient = plan.temporary(w.shape());
        elementwise::copy(&mut plan, &w, &gradient).expect("same shape");
        elementwise::descend(&mut plan, &goal, &one, 0, &gradient).expect("same shape");
        solver.record(&mut plan, &gradient).expect("records");
        let plan = plan.finish().expect("resolves");
        let start = distance(&gpu.read(&w).expect("reads back"));
        let mut batch = Batch::new(&gpu);
        batch.replay(&plan, 300).expect("records");
        batch.submit().expect("submits");
        let end = distance(&gpu.read(&w).expect("reads back"));
        assert!(end < 0.02 * start, "{method:?}: from {start} to {end}");
        solver.check().expect("all finite");
    }
}

#[test]
fn work_is_counted_and_one_pass_does_it() {
    let Some(gpu) = open() else { return };
    for method in Method::ALL {
        let run = Run::new(&gpu, &FirstOrderConfig::pytorch(method), &[0.0; 1000]);
        let operations: Vec<_> = run.plan.operations().collect();
        let names: Vec<_> = operations.iter().map(|operation| operation.kernel).collect();
        let step = if method == Method::Sgd { "first_order/sgd" } else { "first_order/step" };
        assert_eq!(names, ["optimizer/finite", "first_order/clock", step]);
        let clock = run.solver.clock().bytes();
        assert_eq!(operations[2].bytes - clock, (12 + 8 * u64::from(method.rows())) * 1000);
    }
}

#[test]
fn unsound_settings_and_operands_are_refused() {
    let Some(gpu) = open() else { return };
    let adam = FirstOrderConfig::default();
    let refused = [
        (FirstOrderConfig { learning_rate: -1.0, ..adam }, "learning_rate = -1"),
        (FirstOrderConfig { learning_rate: f64::NAN, ..adam }, "learning_rate = NaN"),
        (FirstOrderConfig { beta_1: 1.0, ..adam }, "beta_1 = 1"),
        (FirstOrderConfig { beta_2: -0.1, ..adam }, "beta_2 = -0.1"),
        (FirstOrderConfig { epsilon: 0.0, ..adam }, "epsilon = 0"),
        (FirstOrderConfig { schedule: Schedule::Linear { steps: 0 }, ..adam }, "schedule = 0 steps"),
        (FirstOrderConfig { schedule: Schedule::Stepped { every: 1, factor: 2.0 }, ..adam }, "schedule = 2"),
    ];
    let w = gpu.zeros(Shape::vector(8), StorageType::F32).expect("fits");
    for (config, words) in refused {
        let message = FirstOrder::new(&gpu, &config, &w).expect_err(words).to_string();
        assert!(message.starts_with(words), "{message}");
    }
    let rows = gpu.zeros(Shape::new(2, 4), StorageType::F32).expect("fits");
    let error = FirstOrder::new(&gpu, &adam, &rows).expect_err("two rows");
    assert!(error.to_string().contains("one row"), "{error}");
    let solver = FirstOrder::new(&gpu, &adam, &w).expect("sound");
    let error = solver.record(&mut PlanBuilder::new(&gpu, "refused"), &rows).expect_err("another shape");
    assert!(error.to_string().contains("the gradient is 2 × 4"), "{error}");
}
