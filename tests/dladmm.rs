//! dlADMM on the device: what an iteration costs, what it promises, and what it refuses.

#[path = "support/gpu.rs"]
mod gpu;

use dualstep::Error;
use dualstep::data::{DataSource, Dataset};
use dualstep::engine::{Counters, Gpu, GpuOptions};
use dualstep::solvers::dladmm::{
    Config, DlAdmm, HostState, Penalty, Problem, Record, Rows, Samples, Schedule, Steps, Targets, ZLast,
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
        let train: Dataset = split.train.first(count).expect("there are 10,000");
        let values = train.scaled_rows(0..count, PIXELS).expect("rows of 784");
        Self { values, labels: train.labels().to_vec() }
    }

    fn problem(&self) -> Problem<'_> {
        Problem { outputs: 10, train: self.samples(), test: None }
    }

    fn samples(&self) -> Samples<'_> {
        Samples {
            features: PIXELS as u32,
            values: Rows::Dense(&self.values),
            targets: Targets::Classes(&self.labels),
        }
    }
}

fn constant(rho: f32, hidden: &[u32]) -> Config {
    Config { hidden: hidden.into(), rho, nu: rho, steps: Steps::Quadratic, ..Config::default() }
}

/// The same with lengths of their own for rows and samples.
fn searched(rho: f32, hidden: &[u32]) -> Config {
    Config { steps: Steps::LineSearch, ..constant(rho, hidden) }
}

/// The paper's steps under the penalty λ ‖W‖₁.
fn sparse(rho: f32, lambda: f32, hidden: &[u32]) -> Config {
    Config { penalty: Penalty::L1 { lambda }, ..constant(rho, hidden) }
}

/// Runs to the end and returns every record.
fn train(gpu: &Gpu, config: &Config, problem: &Problem<'_>, iterations: u32) -> (Vec<Record>, HostState) {
    let mut solver = DlAdmm::new(gpu, config, problem).expect("a sound problem");
    solver.run(iterations).expect("submits");
    let records = solver.finish().expect("finite");
    (records, solver.state().expect("reads back"))
}

/// Floating-point operations of all matrix products of an iteration, by layer, in products of n_l × n_{l−1} × N; and
/// those of products with the inputs' Gram matrix.
fn products(solver: &DlAdmm, samples: u64) -> (Vec<f64>, f64) {
    let widths: Vec<u64> = solver.widths().iter().map(|width| u64::from(*width)).collect();
    let mut by_layer = vec![0.0; widths.len() - 1];
    let mut gram = 0.0;
    for operation in solver.iteration_plan().operations() {
        if !operation.kernel.starts_with("linalg/matmul") && operation.kernel != "dladmm/activation_gradient"
        {
            continue;
        }
        let has = |width: u64| {
            operation.shapes.iter().take(3).any(|shape| [shape.rows, shape.columns].contains(&(width as u32)))
        };
        let layer = (1..widths.len()).find(|l| has(widths[*l]) && has(widths[l - 1]));
        let layer = layer.expect("a product of neighbouring layers");
        let over_samples =
            operation.shapes.iter().take(3).any(|shape| {
                ![shape.rows, shape.columns].iter().all(|size| widths.contains(&u64::from(*size)))
            });
        if over_samples {
            by_layer[layer - 1] +=
                operation.flops as f64 / (2 * widths[layer] * widths[layer - 1] * samples) as f64;
        } else {
            gram += operation.flops as f64 / (2 * widths[1] * widths[0] * widths[0]) as f64;
        }
    }
    (by_layer, gram)
}

#[test]
fn an_iteration_takes_two_products_for_layer_1_and_eight_for_each_other_whatever_rho() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(1000);
    let mut costs = Vec::new();
    let quadratic = [1e-6, 1e-4, 1e-2, 1.0].map(|rho| constant(rho, &[24, 20, 16]));
    for config in quadratic.into_iter().chain([searched(1e-2, &[24, 20, 16])]) {
        let (rho, steps) = (config.rho, config.steps);
        let solver = DlAdmm::new(&gpu, &config, &images.problem()).expect("a sound problem");
        let (by_layer, gram) = products(&solver, 1000);
        // A norm taken along the way is counted too: two operations per element of a result.
        let expected = [2.0, 8.0, 8.0, 8.0];
        for (actual, expected) in by_layer.iter().zip(expected) {
            assert!(
                *actual >= expected && *actual < expected * 1.1,
                "{by_layer:?} products, {steps:?} at rho = {rho}"
            );
        }
        assert_eq!(gram, 2.0, "products with the Gram matrix");
        if steps == Steps::Quadratic {
            costs.push(solver.counts());
        }
    }
    assert!(costs.windows(2).all(|pair| pair[0] == pair[1]), "{costs:?}");
}

#[test]
fn iterations_never_wait_for_the_host_and_repeat_bit_for_bit() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(300);
    for config in [constant(1e-2, &[24, 24]), searched(1e-2, &[24, 24]), sparse(1e-2, 1e-2, &[24, 24])] {
        never_waits_and_repeats(&gpu, &config, &images);
    }
}

fn never_waits_and_repeats(gpu: &Gpu, config: &Config, images: &Images) {
    let mut solver = DlAdmm::new(gpu, config, &images.problem()).expect("a sound problem");
    let before: Counters = gpu.counters();
    solver.run(40).expect("submits");
    let early = solver.poll().expect("finite");
    let after = gpu.counters();
    assert_eq!(after.host_waits - before.host_waits, 0, "host waits in 40 iterations");
    assert!(after.dispatches - before.dispatches >= 40 * solver.counts().dispatches);
    assert_eq!(after.memory.in_use, before.memory.in_use, "memory taken by iterations");
    let mut records = early;
    records.extend(solver.finish().expect("finite"));
    assert_eq!(
        records.iter().map(|record| record.iteration).collect::<Vec<_>>(),
        (1..=40).collect::<Vec<_>>()
    );
    let (again, state) = train(gpu, config, &images.problem(), 40);
    assert_eq!(records, again);
    assert_eq!(solver.state().expect("reads back"), state);
}

#[test]
fn blocks_of_samples_change_no_bit() {
    let images = Images::first(2500);
    // 1,024 samples of 784 features, and the Gram matrix of 784 × 784, fit; 2,500 samples do not.
    let limited = GpuOptions { binding_limit: Some(1024 * 784 * 4), ..GpuOptions::default() };
    let Some(whole) = gpu::open(GpuOptions::default()) else { return };
    let Some(cut) = gpu::open(limited) else { return };
    let stopping = ZLast::Fista { iterations: 80, eta: 4.0, tolerance: 1.0 };
    for config in [
        constant(1e-2, &[40, 12]),
        searched(1e-2, &[40, 12]),
        sparse(1e-2, 1e-2, &[40, 12]),
        Config { z_last: stopping, ..constant(1e-2, &[40, 12]) },
    ] {
        let whole = train(&whole, &config, &images.problem(), 5);
        let cut = train(&cut, &config, &images.problem(), 5);
        assert_eq!(whole, cut, "{:?}", config.steps);
    }
}

#[test]
fn without_room_for_a_gram_matrix_layer_1_takes_the_ordinary_steps() {
    let images = Images::first(600);
    // The Gram matrix of 784 × 784 takes 2.4 MB.
    let limited = GpuOptions { binding_limit: Some(2_000_000), ..GpuOptions::default() };
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let Some(small) = gpu::open(limited) else { return };
    let config = constant(1e-2, &[16, 16]);
    for config in [config, searched(1e-2, &[16, 16])] {
        let (with, _) = train(&gpu, &config, &images.problem(), 5);
        let (without, _) = train(&small, &config, &images.problem(), 5);
        for (a, b) in with.iter().zip(&without) {
            assert_eq!(a.exponents, b.exponents);
            // The curvature is summed in another order, and five iterations carry the rounding on.
            let difference = (a.objective - b.objective).abs() / b.objective;
            assert!(difference < 1e-4, "{} and {}", a.objective, b.objective);
        }
    }
}

#[test]
fn the_augmented_lagrangian_never_rises_at_rho_1() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(500);
    let (records, _) = train(&gpu, &constant(1.0, &[32, 32]), &images.problem(), 100);
    for pair in records.windows(2) {
        // Rounding of a sum of this size, taken twice.
        let slack = 4.0 * f32::EPSILON * pair[0].objective.abs();
        assert!(
            pair[1].objective <= pair[0].objective + slack,
            "iteration {}: {} after {}",
            pair[1].iteration,
            pair[1].objective,
            pair[0].objective
        );
    }
    assert!(records[99].objective < records[0].objective / 2.0, "it falls: {}", records[99].objective);
}

/// Each step is the least along its line, wherever ρ is, so that the Lagrangian only rises with the dual; and without a
/// floor under the curvature, steps go farther than the paper's.
#[test]
fn line_searches_descend_and_leave_the_papers_steps_behind() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(500);
    for rho in [1e-2, 1.0] {
        let (records, _) = train(&gpu, &searched(rho, &[32, 32]), &images.problem(), 40);
        for pair in records.windows(2) {
            let (before, after) = (pair[0].objective, pair[1].objective);
            assert!(after <= before * (1.0 + 1e-5), "iteration {}: {before} to {after}", pair[1].iteration);
        }
        assert!(records.iter().all(|record| record.exponents.is_empty()));
        let (quadratic, _) = train(&gpu, &constant(rho, &[32, 32]), &images.problem(), 40);
        let (ours, theirs) = (&records[39], &quadratic[39]);
        assert!(ours.objective < theirs.objective, "{} and {}", ours.objective, theirs.objective);
    }
}

/// Thresholded steps descend too, the more weights reach zero the heavier the penalty, and what the record counts is
/// what the weights come to.
#[test]
fn a_sparse_penalty_empties_weights_and_the_lagrangian_never_rises() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(200);
    let mut zeros = Vec::new();
    for lambda in [0.0, 0.3, 3.0] {
        let (records, state) = train(&gpu, &sparse(1.0, lambda, &[12, 12]), &images.problem(), 12);
        for pair in records.windows(2) {
            let (before, after) = (pair[0].objective, pair[1].objective);
            let slack = 4.0 * f32::EPSILON * before.abs();
            assert!(after <= before + slack, "λ = {lambda}, {}: {after} after {before}", pair[1].iteration);
        }
        let weights = || state.layers.iter().flat_map(|layer| &layer.weights);
        zeros.push(weights().filter(|weight| **weight == 0.0).count());
        let size: f64 = weights().map(|weight| f64::from(weight.abs())).sum();
        let objective = f64::from(records[11].objective);
        assert!(f64::from(lambda) * size < objective, "λ = {lambda}: {size} of {objective}");
    }
    assert!(zeros[0] < zeros[1] && zeros[1] < zeros[2], "{zeros:?}");
}

/// Curvatures beyond what the recorded trials reach: the bound takes over, and the run goes on descending.
#[test]
fn a_search_that_runs_out_of_trials_takes_the_bound() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(100);
    let config = Config { theta_0: 1e-6, ..sparse(1.0, 0.1, &[8]) };
    let (records, _) = train(&gpu, &config, &images.problem(), 5);
    // W_2 a_1 W_1, W_1 a_1 W_2: the trace of the images' Gram matrix is above 2²³ times so low a start.
    assert!(records.iter().all(|record| record.exponents[2..4].iter().all(|k| *k >= 24)));
    for pair in records.windows(2) {
        assert!(
            pair[1].objective <= pair[0].objective * (1.0 + 1e-6),
            "{} {}",
            pair[0].objective,
            pair[1].objective
        );
    }
}

#[test]
fn the_penalty_of_figure_3_diverges() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(500);
    let (records, _) = train(&gpu, &constant(1e-6, &[32, 32]), &images.problem(), 250);
    // The paper: the objective fluctuates drastically; the residual falls for a while, fluctuates and does not settle.
    let objective: Vec<f32> = records.iter().map(|record| record.objective).collect();
    let residual: Vec<f32> = records.iter().map(|record| record.residuals.iter().sum()).collect();
    let rises = objective.windows(2).filter(|pair| pair[1] > pair[0]).count();
    assert!((50..200).contains(&rises), "the objective rose {rises} times in 250 iterations");
    let (least, most) =
        (objective.iter().copied().fold(f32::MAX, f32::min), objective.iter().copied().fold(0.0, f32::max));
    assert!(most > 10.0 * objective[0] && least < 0.0, "from {} to {most} and {least}", objective[0]);
    let lowest = residual.iter().copied().fold(f32::MAX, f32::min);
    assert!(
        lowest < residual[0] / 2.0 && residual[249] > residual[0],
        "{} {lowest} {}",
        residual[0],
        residual[249]
    );
}

#[test]
fn schedules_move_on_the_device() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(64);
    let paper = Config { schedule: Schedule::Paper, evaluate_every: 0, ..constant(1e-6, &[8]) };
    let (records, _) = train(&gpu, &paper, &images.problem(), 60);
    assert!(records.iter().all(|record| record.rho == 1e-6));
    let mut solver = DlAdmm::new(&gpu, &paper, &images.problem()).expect("a sound problem");
    let mut records = Vec::new();
    for _ in 0..5 {
        solver.run(42).expect("submits");
        records.extend(solver.finish().expect("finite"));
    }
    let rho: Vec<f32> = records.iter().map(|record| record.rho).collect();
    assert!(rho[..100].iter().all(|rho| *rho == 1e-6) && rho[100] > 9.9e-6 && rho[200] > 9.9e-5, "{rho:?}");
    assert!(records.iter().all(|record| record.nu == 1e-6));

    let official = Config { schedule: Schedule::Official, ..constant(1e-6, &[8]) };
    let (records, _) = train(&gpu, &official, &images.problem(), 60);
    let (mut rho, mut rises, mut previous) = (1e-6f32, 0, f32::MAX);
    for record in &records {
        assert!(
            (record.rho - rho).abs() <= 1e-6 * rho,
            "iteration {}: {} for {rho}",
            record.iteration,
            record.rho
        );
        assert_eq!(record.nu, record.rho);
        let cost = record.train.expect("taken every iteration").cost;
        rises = if cost > previous { rises + 1 } else { 0 };
        previous = cost;
        if rises >= 3 {
            rho = (10.0 * rho).min(0.1);
        }
    }
}

#[test]
fn a_run_goes_on_from_its_state_bit_for_bit() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(200);
    let config = constant(1e-2, &[16, 12]);
    let (records, last) = train(&gpu, &config, &images.problem(), 10);
    let (_, middle) = train(&gpu, &config, &images.problem(), 5);
    let mut resumed = DlAdmm::resume(&gpu, &config, &images.problem(), &middle).expect("its own state");
    resumed.run(5).expect("submits");
    assert_eq!(resumed.finish().expect("finite"), records[5..]);
    assert_eq!(resumed.state().expect("reads back"), last);
}

#[test]
fn a_run_that_overflows_says_where_and_keeps_the_state_before() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(200);
    for config in [constant(1e-2, &[16, 12]), searched(1e-2, &[16, 12]), sparse(1e-2, 1e-2, &[16, 12])] {
        overflows(&gpu, &config, &images);
    }
}

fn overflows(gpu: &Gpu, config: &Config, images: &Images) {
    let mut solver = DlAdmm::new(gpu, config, &images.problem()).expect("a sound problem");
    solver.run(3).expect("submits");
    solver.finish().expect("finite");
    let before = solver.state().expect("reads back");
    solver.set_penalties(3e38, 3e38).expect("positive");
    solver.run(4).expect("submits");
    let error = solver.finish().expect_err("3e38 overflows");
    let Error::NotFinite { iteration, kernel, .. } = &error else { panic!("{error}") };
    assert_eq!(*iteration, 4, "{error}");
    assert!(kernel.contains('/'), "names the kernel: {error}");
    let kept = solver.state().expect("kept");
    assert_eq!(kept.iteration, 3);
    assert_eq!(HostState { rho: 1e-2, nu: 1e-2, ..kept }, before);
}

#[test]
fn any_depth_width_and_number_of_classes_trains() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(130);
    for (hidden, classes) in
        [(vec![1], 10), (vec![5, 3, 7], 10), (vec![9], 37), (vec![9], 1_003), (vec![130, 33], 11)]
    {
        let problem = Problem { outputs: classes, ..images.problem() };
        let (records, _) = train(&gpu, &constant(1e-2, &hidden), &problem, 3);
        assert!(records.iter().all(|record| record.objective.is_finite()), "{hidden:?}, {classes} classes");
        assert_eq!(records[2].exponents.len(), 4 * (hidden.len() + 1) - 2);
    }
    let one = Images::first(1);
    let fista =
        Config { z_last: ZLast::Fista { iterations: 20, eta: 2.0, tolerance: 0.0 }, ..constant(1e-2, &[4]) };
    let (records, _) = train(&gpu, &fista, &one.problem(), 3);
    assert!(records.iter().all(|record| record.objective.is_finite()), "one sample");
}

#[test]
fn resident_products_stay_with_fresh_ones() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(300);
    let config = Config { evaluate_every: 0, ..constant(1e-2, &[32, 32]) };
    let mut solver = DlAdmm::new(&gpu, &config, &images.problem()).expect("a sound problem");
    solver.run(200).expect("submits");
    solver.finish().expect("finite");
    let drift = solver.product_drift().expect("reads back");
    // 200 iterations move each product 800 times; each move rounds once, in either direction.
    assert!(drift.iter().all(|drift| *drift < 800.0 * f32::EPSILON), "{drift:?}");
    let refreshed = Config { refresh_every: 200, ..config };
    let mut solver = DlAdmm::new(&gpu, &refreshed, &images.problem()).expect("a sound problem");
    solver.run(200).expect("submits");
    assert_eq!(solver.product_drift().expect("reads back"), vec![0.0; 3]);
}

#[test]
fn what_cannot_be_trained_is_refused_in_one_line() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(20);
    let refused = |config: &Config, problem: &Problem<'_>, word: &str| {
        let message = DlAdmm::new(&gpu, config, problem).expect_err(word).to_string();
        assert!(message.contains(word) && !message.contains('\n'), "{message}");
    };
    let sound = constant(1e-2, &[4]);
    refused(&constant(1e-2, &[4, 0]), &images.problem(), "hidden");
    refused(&constant(1e-2, &[]), &images.problem(), "hidden");
    refused(&constant(-1.0, &[4]), &images.problem(), "rho");
    refused(&constant(f32::NAN, &[4]), &images.problem(), "rho");
    refused(&constant(1e-2, &[400_000]), &images.problem(), "MiB");
    refused(&sound, &Problem { outputs: 3, ..images.problem() }, "label");
    let mut broken = Images::first(20);
    broken.values[3 * PIXELS + 7] = f32::NAN;
    refused(&sound, &broken.problem(), "sample 3, feature 7");
    let short = Samples { values: Rows::Dense(&images.values[1..]), ..images.samples() };
    refused(&sound, &Problem { train: short, ..images.problem() }, "values");
    let (_, state) = train(&gpu, &sound, &images.problem(), 1);
    let other = constant(1e-2, &[5]);
    let message =
        DlAdmm::resume(&gpu, &other, &images.problem(), &state).expect_err("other widths").to_string();
    assert!(message.contains("layer 1"), "{message}");
}
