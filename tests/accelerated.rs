//! AA-dlADMM on the device: it needs fewer iterations, its Lagrangian never rises, and it keeps dlADMM's promises.

#[path = "support/gpu.rs"]
mod gpu;

use dualstep::Error;
use dualstep::data::DataSource;
use dualstep::engine::{Gpu, GpuOptions};
use dualstep::solvers::anderson::{AndersonConfig, HistoryStorage, Mode};
use dualstep::solvers::dladmm::{
    Config, DlAdmm, HostState, Mixed, Problem, Record, Rows, Samples, Steps, Targets, ZLast,
};

const PIXELS: usize = 784;

/// Real images with their labels.
struct Images {
    values: Vec<f32>,
    labels: Vec<u32>,
}

impl Images {
    /// The first `count` embedded training images.
    fn first(count: usize) -> Self {
        let split = DataSource::Embedded.load().expect("the embedded images are sound");
        let train = split.train.first(count).expect("there are 10,000");
        let values = train.scaled_rows(0..count, PIXELS).expect("rows of 784");
        Self { values, labels: train.labels().to_vec() }
    }

    fn problem(&self) -> Problem<'_> {
        let targets = Targets::Classes(&self.labels);
        Problem {
            outputs: 10,
            train: Samples { features: PIXELS as u32, values: Rows::Dense(&self.values), targets },
            test: None,
        }
    }
}

fn accelerated(acceleration: Option<AndersonConfig>, steps: Steps) -> Config {
    Config { hidden: vec![40, 40], acceleration, steps, ..Config::default() }
}

fn exact() -> Steps {
    Config::default().steps
}

fn modes() -> [AndersonConfig; 3] {
    let anderson = AndersonConfig::default();
    let bf16 = AndersonConfig { history: HistoryStorage::Bf16, ..anderson };
    [anderson, bf16, AndersonConfig { mode: Mode::Extrapolate, ..anderson }]
}

fn train(gpu: &Gpu, config: &Config, images: &Images, iterations: u32) -> (Vec<Record>, HostState) {
    let mut solver = DlAdmm::new(gpu, config, &images.problem()).expect("a sound problem");
    solver.run(iterations).expect("submits");
    let records = solver.finish().expect("finite");
    (records, solver.state().expect("reads back"))
}

fn cost(record: &Record) -> f32 {
    record.train.expect("scores are taken").cost
}

/// What plain exact steps reach in 30 iterations, accelerated ones reach in 15; and because a candidate stays only where
/// the Lagrangian did not rise, it never does.
#[test]
fn half_the_iterations_suffice_and_the_lagrangian_never_rises() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(1_000);
    let goal = cost(&train(&gpu, &accelerated(None, exact()), &images, 30).0[29]);
    for mode in modes() {
        let (records, _) = train(&gpu, &accelerated(Some(mode), exact()), &images, 15);
        assert!(
            records.iter().any(|record| cost(record) <= goal),
            "{mode:?}: {}, {goal}",
            cost(&records[14])
        );
        for pair in records.windows(2) {
            let (before, after) = (pair[0].objective, pair[1].objective);
            assert!(after <= before * (1.0 + 1e-5), "{mode:?}, {}: {before} to {after}", pair[1].iteration);
        }
        let counters = records[14].acceleration.expect("an accelerated run");
        assert_eq!(counters.tries, if mode.mode == Mode::Anderson { 6 } else { 14 }, "{mode:?}");
        assert_eq!(
            counters.tries,
            counters.accepts + counters.rejects_by_merit + counters.rejects_not_finite
        );
        assert!(counters.accepts > 0, "{mode:?}");
    }
}

/// Steps along gradients are accelerated as well.
#[test]
fn gradient_steps_are_accelerated_too() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(500);
    for steps in [Steps::Quadratic, Steps::LineSearch] {
        let (plain, _) = train(&gpu, &accelerated(None, steps), &images, 30);
        let (anderson, _) = train(&gpu, &accelerated(Some(AndersonConfig::default()), steps), &images, 30);
        assert!(cost(&anderson[29]) < cost(&plain[29]), "{steps:?}");
        assert!(anderson[29].acceleration.expect("an accelerated run").accepts > 0, "{steps:?}");
    }
}

#[test]
fn accelerated_iterations_never_wait_for_the_host_and_repeat_bit_for_bit() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(300);
    for mode in modes() {
        let config = accelerated(Some(mode), exact());
        let mut solver = DlAdmm::new(&gpu, &config, &images.problem()).expect("a sound problem");
        let before = gpu.counters();
        solver.run(8).expect("submits");
        assert_eq!(gpu.counters().host_waits, before.host_waits, "{mode:?}");
        solver.finish().expect("finite");
        assert_eq!(solver.state().expect("reads back"), train(&gpu, &config, &images, 8).1, "{mode:?}");
    }
}

/// The first candidate comes after the fourth sweep. Judged by the training cost of a forward pass, it is taken only
/// where that is no larger than plain steps' from the same state; else the state is theirs, bit for bit.
#[test]
fn weights_alone_are_judged_by_the_training_cost() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(200);
    let mut kept = 0;
    for (seed, steps) in (0..4).flat_map(|seed| [(seed, exact()), (seed, Steps::Quadratic)]) {
        let plain = Config { seed, ..accelerated(None, steps) };
        let config =
            Config { acceleration: Some(AndersonConfig::default()), mixed: Mixed::Weights, ..plain.clone() };
        let (plain, plain_state) = train(&gpu, &plain, &images, 4);
        let (records, state) = train(&gpu, &config, &images, 4);
        let counters = records[3].acceleration.expect("an accelerated run");
        assert_eq!((counters.tries, counters.skips), (1, 0), "seed {seed}, {steps:?}");
        let [mixed, unmixed] = [&state, &plain_state].map(|state| &state.layers);
        if counters.accepts == 1 {
            kept += 1;
            assert!(cost(&records[3]) <= cost(&plain[3]), "seed {seed}, {steps:?}");
            for (mixed, unmixed) in mixed.iter().zip(unmixed) {
                assert_ne!(mixed.weights, unmixed.weights, "seed {seed}, {steps:?}");
                assert_eq!((&mixed.bias, &mixed.activation), (&unmixed.bias, &unmixed.activation));
            }
            assert_eq!(
                (mixed.last().map(|it| &it.z), &state.dual),
                (unmixed.last().map(|it| &it.z), &plain_state.dual)
            );
        } else {
            assert_eq!(state, plain_state, "seed {seed}, {steps:?}");
        }
    }
    assert!((1..8).contains(&kept), "{kept} of 8 kept: one of the two branches above was never taken");
}

/// What a run is said to need before it starts is what it needs: nothing is made during iterations.
#[test]
fn device_memory_is_known_before_the_first_iteration() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(300);
    for steps in [exact(), Steps::Quadratic] {
        let mut needed = Vec::new();
        let [anderson, bf16, extrapolate] = modes();
        for acceleration in [Some(anderson), Some(bf16), Some(extrapolate), None] {
            let mut solver = DlAdmm::new(&gpu, &accelerated(acceleration, steps), &images.problem())
                .expect("a sound problem");
            gpu.reset_peak_memory();
            let before = gpu.counters().memory.in_use;
            solver.run(6).expect("submits");
            gpu.wait().expect("a sound device");
            assert_eq!(gpu.counters().memory.peak, before, "{acceleration:?}");
            solver.finish().expect("finite");
            needed.push(before);
        }
        assert!(needed.is_sorted_by(|a, b| a > b), "history in f32, in bf16, one copy, none: {needed:?}");
    }
}

/// A change of penalties changes the map, so the history is forgotten.
#[test]
fn new_penalties_clear_the_history() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(200);
    let config = accelerated(Some(AndersonConfig::default()), exact());
    let mut solver = DlAdmm::new(&gpu, &config, &images.problem()).expect("a sound problem");
    solver.run(5).expect("submits");
    solver.set_penalties(2e-2, 2e-2).expect("sound penalties");
    solver.run(3).expect("submits");
    let records = solver.finish().expect("finite");
    let clears = |k: usize| records[k].acceleration.expect("an accelerated run").clears;
    assert_eq!((clears(4), clears(5), clears(7)), (0, 1, 1));
}

#[test]
fn settings_that_do_not_go_together_are_refused() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(20);
    let none = AndersonConfig { memory: 0, ..AndersonConfig::default() };
    let fista = ZLast::Fista { iterations: 10, eta: 2.0, tolerance: 0.0 };
    let refused = [
        accelerated(Some(none), exact()),
        Config { z_last: fista, ..accelerated(Some(AndersonConfig::default()), exact()) },
    ];
    for config in refused {
        let error = DlAdmm::new(&gpu, &config, &images.problem()).expect_err("refused");
        assert!(matches!(error, Error::Setting { .. }), "{error}");
    }
}
