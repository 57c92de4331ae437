//! dlADMM with exact block steps on the device: against a literal float64 transcription, and what it promises.

#[path = "support/gpu.rs"]
mod gpu;
#[path = "support/literal_exact.rs"]
mod literal_exact;

use dualstep::data::{DataSource, SparseRows};
use dualstep::engine::{Gpu, GpuOptions, Operation};
use dualstep::reference::Matrix;
use dualstep::solvers::anderson::AndersonConfig;
use dualstep::solvers::dladmm::{
    Config, DlAdmm, Exact, HostLayer, HostState, Mixed, Penalty, Problem, Record, Rows, Samples, Schedule,
    Solver, Steps, SweepKind, Targets, ZLast,
};
use literal_exact::{LiteralExact, Settings, transpose};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const PIXELS: usize = 784;

/// The same with conjugate gradients, so many steps for weights and for activations.
fn with_steps(config: Config, weight_steps: u32, activation_steps: u32) -> Config {
    let Steps::Exact(exact) = config.steps else { panic!("exact steps") };
    let solver = Solver::ConjugateGradients { weight_steps, activation_steps };
    Config { steps: Steps::Exact(Exact { solver, ..exact }), ..config }
}

/// Samples with their labels.
struct Data {
    features: u32,
    values: Vec<f32>,
    labels: Vec<u32>,
    classes: u32,
    /// The same values by their entries, where the device gets them so.
    entries: Option<SparseRows>,
}

impl Data {
    /// Noise around a centre per class.
    fn clusters(count: usize, features: usize, classes: u32, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let centres: Vec<f32> =
            (0..features * classes as usize).map(|_| rng.random_range(-1.0..1.0)).collect();
        let labels: Vec<u32> = (0..count).map(|n| n as u32 % classes).collect();
        let values = labels.iter().flat_map(|label| &centres[*label as usize * features..][..features]);
        let values = values.map(|centre| centre + rng.random_range(-0.7..0.7)).collect();
        Self { features: features as u32, values, labels, classes, entries: None }
    }

    /// Some of `features` words for each sample, some of them its class' own.
    fn words(count: usize, features: usize, classes: u32, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let labels: Vec<u32> = (0..count).map(|n| n as u32 % classes).collect();
        let mut entries = SparseRows::default();
        for label in &labels {
            let share = |word: usize| if word as u32 % classes == *label { 0.1 } else { 0.03 };
            let words: Vec<_> = (0..features).filter(|word| rng.random_bool(share(*word))).collect();
            entries.push(words.into_iter().map(|word| (word as u32, 1.0 + word as f32 / 64.0)));
        }
        let values = entries.dense(0..count, features);
        Self { features: features as u32, values, labels, classes, entries: Some(entries) }
    }

    /// The first `count` embedded training images.
    fn images(count: usize) -> Self {
        let split = DataSource::Embedded.load().expect("the embedded images are sound");
        let train = split.train.first(count).expect("there are 10,000");
        let values = train.scaled_rows(0..count, PIXELS).expect("rows of 784");
        Self { features: PIXELS as u32, values, labels: train.labels().to_vec(), classes: 10, entries: None }
    }

    fn problem(&self) -> Problem<'_> {
        let train = Samples {
            features: self.features,
            values: self.entries.as_ref().map_or(Rows::Dense(&self.values), Rows::Sparse),
            targets: Targets::Classes(&self.labels),
        };
        Problem { outputs: self.classes, train, test: None }
    }
}

fn exact(hidden: &[u32], sweep: SweepKind) -> Config {
    let steps = Steps::Exact(Exact { sweep, ..Exact::default() });
    Config {
        hidden: hidden.into(),
        rho: 1e-2,
        nu: 1e-2,
        steps,
        evaluate_every: 0,
        deviation: 0.4,
        ..Config::default()
    }
}

fn train(gpu: &Gpu, config: &Config, data: &Data, iterations: u32) -> (Vec<Record>, HostState) {
    let mut solver = DlAdmm::new(gpu, config, &data.problem()).expect("a sound problem");
    solver.run(iterations).expect("submits");
    let records = solver.finish().expect("finite");
    (records, solver.state().expect("reads back"))
}

/// The same start as on the device, in float64.
fn literal(config: &Config, data: &Data, start: &[HostLayer]) -> LiteralExact {
    let Steps::Exact(Exact { damping, ridge, sweep, .. }) = config.steps else { panic!("exact steps") };
    let widths = config.widths(&data.problem());
    let matrix =
        |rows: u32, columns: u32, values: &[f32]| Matrix::from_f32(rows as usize, columns as usize, values);
    let sizes = || start.iter().zip(widths.windows(2));
    let settings = Settings {
        rho: config.rho.into(),
        nu: config.nu.into(),
        damping: damping.into(),
        ridge: ridge.into(),
        lambda: match config.penalty {
            Penalty::L2 { lambda } => lambda.into(),
            _ => 0.0,
        },
        backward_only: sweep == SweepKind::Backward,
    };
    LiteralExact::new(
        transpose(&matrix(data.labels.len() as u32, data.features, &data.values)),
        data.labels.clone(),
        sizes().map(|(layer, sizes)| matrix(sizes[1], sizes[0], &layer.weights)).collect(),
        sizes().map(|(layer, sizes)| matrix(sizes[1], 1, &layer.bias)).collect(),
        settings,
    )
}

/// Solving with matrices of condition n/d ≈ 1e2 costs ε n/d ≈ 1e-5 of a step, and a z near the tie of its two
/// candidates may fall on the other side, which moves the rest a little.
const TOLERANCE: f64 = 3e-4;

#[test]
fn iterations_follow_the_literal_transcription() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    // The second widens, then narrows, so that both forms of the a step run; the third is wider than a panel.
    for (hidden, count) in [(&[9][..], 60), (&[7, 12, 6], 90), (&[70, 8], 80)] {
        for sweep in [SweepKind::Full, SweepKind::Backward] {
            follow(&gpu, &exact(hidden, sweep), &Data::clusters(count, 11, 4, 5));
        }
    }
}

/// With so many steps, conjugate gradients leave as little as a factorisation does.
#[test]
fn many_conjugate_gradients_follow_the_literal_transcription() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    // The 51st of 90 samples has a z at the tie of its candidates, and with this rounding takes the other.
    for (hidden, count) in [(&[9][..], 60), (&[7, 12, 6], 80)] {
        for sweep in [SweepKind::Full, SweepKind::Backward] {
            follow(&gpu, &with_steps(exact(hidden, sweep), 60, 40), &Data::clusters(count, 11, 4, 5));
        }
    }
}

/// Layer 1 of sparse samples: with so few entries that it has their products in place of a Gram matrix, in one block or
/// several, and with enough that the matrix is formed after all.
#[test]
fn sparse_samples_follow_the_literal_transcription() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let few = Data::words(90, 48, 4, 5);
    let entries = few.entries.as_ref().expect("sparse").entries();
    assert!(entries < 48 * 48, "{entries} entries would pay for a Gram matrix");
    follow(&gpu, &with_steps(exact(&[9], SweepKind::Full), 80, 40), &few);
    let penalised =
        Config { penalty: Penalty::L2 { lambda: 0.1 }, ..exact(&[7, 12, 6], SweepKind::Backward) };
    follow(&gpu, &with_steps(penalised, 80, 40), &few);
    follow(&gpu, &exact(&[9], SweepKind::Full), &Data::words(300, 12, 4, 5));
    // Bindings of 8 KiB hold nine activations of 128 samples.
    let limit = GpuOptions { binding_limit: Some(8 << 10), ..Default::default() };
    let Some(small) = gpu::open(limit) else { return };
    follow(&small, &with_steps(exact(&[9], SweepKind::Full), 80, 40), &Data::words(400, 48, 4, 5));
}

/// A handful of steps descends as a factorisation does.
#[test]
fn the_lagrangian_of_sparse_samples_never_rises() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let data = Data::words(400, 300, 4, 6);
    let (records, _) = train(&gpu, &exact(&[16], SweepKind::Full), &data, 12);
    let objectives: Vec<f32> = records.iter().map(|record| record.objective).collect();
    assert!(objectives.windows(2).all(|pair| pair[1] <= pair[0] * (1.0 + 1e-5)), "{objectives:?}");
    assert!(objectives[11] < 0.5 * objectives[0], "{objectives:?}");
}

/// A penalty beside the ridge, of their size in the last layer's equations and many times that; ν is not ρ, so that each
/// layer has a λ/κ of its own.
#[test]
fn a_penalty_follows_the_literal_transcription() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    for lambda in [1e-2, 1.0] {
        let penalised = |hidden: &[u32]| Config {
            penalty: Penalty::L2 { lambda },
            nu: 3e-3,
            ..exact(hidden, SweepKind::Full)
        };
        follow(&gpu, &penalised(&[7, 12, 6]), &Data::clusters(90, 11, 4, 5));
        follow(&gpu, &with_steps(penalised(&[9]), 60, 40), &Data::clusters(60, 11, 4, 5));
    }
}

/// λ/ν is in what layer 1 is solved with, and ν moves: by the official schedule on the device, where the system is formed
/// in every iteration, or by the caller, where it is formed again when he says so. Both see it.
#[test]
fn a_penalty_sees_new_penalties_of_constraints() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let data = Data::clusters(60, 11, 4, 5);
    let config = |schedule, nu| Config {
        penalty: Penalty::L2 { lambda: 0.05 },
        schedule,
        evaluate_every: 1,
        rho: nu,
        nu,
        ..exact(&[9], SweepKind::Full)
    };
    let second = |schedule| {
        let mut solver =
            DlAdmm::new(&gpu, &config(schedule, 1e-2), &data.problem()).expect("a sound problem");
        solver.run(1).expect("submits");
        let half = solver.state().expect("reads back");
        solver.set_penalties(1e-1, 1e-1).expect("sound penalties");
        solver.run(1).expect("submits");
        solver.finish().expect("finite");
        (half, solver.state().expect("reads back"))
    };
    let (half, kept) = second(Schedule::Constant);
    let (_, formed) = second(Schedule::Official);
    assert_eq!(kept.layers, formed.layers);
    let moved = HostState { rho: 1e-1, nu: 1e-1, ..half };
    let mut resumed =
        DlAdmm::resume(&gpu, &config(Schedule::Constant, 1e-1), &data.problem(), &moved).expect("sound");
    resumed.run(1).expect("submits");
    resumed.finish().expect("finite");
    assert_eq!(resumed.state().expect("reads back").layers, kept.layers);
}

/// Three iterations, each against the transcription's.
fn follow(gpu: &Gpu, config: &Config, data: &Data) {
    let start = train(gpu, config, data, 0).1;
    let mut literal = literal(config, data, &start.layers);
    for iterations in 1..=3 {
        literal.sweep();
        let (records, state) = train(gpu, config, data, iterations);
        let case = format!("{:?}, {:?}, iteration {iterations}", config.hidden, config.steps);
        let objective = f64::from(records[iterations as usize - 1].objective);
        let error = (objective - literal.objective()).abs() / literal.objective().abs();
        assert!(error < TOLERANCE, "{case}: objective {objective}, literal {}", literal.objective());
        compare(&case, &state, &literal);
    }
}

fn compare(case: &str, state: &HostState, literal: &LiteralExact) {
    let off = |name: String, values: &[f32], expected: &Matrix, scale: f64| {
        let actual = Matrix::from_f32(expected.rows(), expected.cols(), values);
        let error = actual.relative_error(expected) * expected.norm() / scale;
        assert!(error < TOLERANCE, "{case}: {name} is off by {error:e}");
    };
    let near = |name: String, values: &[f32], expected: &Matrix| off(name, values, expected, expected.norm());
    for (l, layer) in state.layers.iter().enumerate() {
        near(format!("W{}", l + 1), &layer.weights, &literal.weight[l]);
        near(format!("b{}", l + 1), &layer.bias, &literal.bias[l]);
        near(format!("z{}", l + 1), &layer.z, &transpose(&literal.z[l]));
        if l + 1 < state.layers.len() {
            near(format!("a{}", l + 1), &layer.activation, &transpose(&literal.a[l + 1]));
        }
        let ridge = literal.ridge[l].expect("settled by the first iteration");
        assert!((f64::from(state.ridge[l]) / ridge - 1.0).abs() < 1e-4, "{case}: ridge of layer {}", l + 1);
    }
    // u moves by ρ times what is left of z_L when its fit is taken away, and is as exact as those are.
    let last = literal.z.last().expect("a last layer");
    let scale = literal.u.norm().max(f64::from(state.rho) * last.norm());
    off("u".into(), &state.dual, &transpose(&literal.u), scale);
}

/// Each block's step is the exact minimiser of a damped model that lies above the Lagrangian, and the duals only move
/// up by what the last z step left.
#[test]
fn the_lagrangian_with_its_ridge_never_rises_on_real_images() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let data = Data::images(1_000);
    let penalty = |lambda| Penalty::L2 { lambda };
    for (sweep, penalty) in [
        (SweepKind::Full, penalty(0.0)),
        (SweepKind::Backward, penalty(0.0)),
        (SweepKind::Full, penalty(0.1)),
    ] {
        let (records, _) = train(&gpu, &Config { penalty, ..exact(&[40, 40], sweep) }, &data, 40);
        for pair in records.windows(2) {
            let (before, after) = (pair[0].objective, pair[1].objective);
            assert!(
                after <= before * (1.0 + 1e-5),
                "{sweep:?}, iteration {}: {before} to {after}",
                pair[1].iteration
            );
        }
        assert!(records.iter().all(|record| record.dropped_pivots == 0 && record.exponents.is_empty()));
    }
}

#[test]
fn iterations_never_wait_for_the_host_and_repeat_bit_for_bit() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let (data, config) = (Data::images(300), exact(&[24, 70], SweepKind::Full));
    let mut solver = DlAdmm::new(&gpu, &config, &data.problem()).expect("a sound problem");
    let before = gpu.counters();
    solver.run(6).expect("submits");
    assert_eq!(gpu.counters().host_waits, before.host_waits);
    assert_eq!(solver.finish().expect("finite").len(), 6);
    let (_, state) = train(&gpu, &config, &data, 6);
    assert_eq!(solver.state().expect("reads back"), state);
}

/// The Gram matrix of a layer's inputs is formed once a sweep, as long as inputs stay between sweeps, and that of its weights
/// once for both steps of the activations below; none of layer 1's inputs, which never change.
#[test]
fn gram_matrices_are_formed_once() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let data = Data::clusters(100, 20, 3, 1);
    let full = exact(&[10, 12], SweepKind::Full);
    let accelerated = |mixed| {
        let acceleration = Some(AndersonConfig::default());
        Config { acceleration, mixed, z_last: ZLast::Newton, ..full.clone() }
    };
    // Of a_1, a_2 and W_2; W_3 has fewer rows than columns, and its smaller matrix is a product.
    let (inputs, weights) = (gram_flops(100, 10) + gram_flops(100, 12), gram_flops(12, 10));
    for (case, config, expected) in [
        ("plain", full.clone(), inputs + weights),
        ("a half", exact(&[10, 12], SweepKind::Backward), inputs + weights),
        ("weights move between sweeps", accelerated(Mixed::Weights), inputs + weights),
        ("inputs move between sweeps", accelerated(Mixed::All), 2 * inputs + weights),
    ] {
        let solver = DlAdmm::new(&gpu, &config, &data.problem()).expect("a sound problem");
        let grams =
            solver.iteration_plan().operations().filter(|operation| operation.kernel == "linalg/gram");
        assert_eq!(grams.map(|operation| operation.flops).sum::<u64>(), expected, "{case}");
    }
}

/// z aᵀ in each W step and W a where somebody reads it: once a step of the forward sweep, once after a backward sweep that
/// stands alone. Both a steps of a full sweep share z' K, and f(z) WᵀK is what each has of its own; where a step stands alone,
/// or the layer above is the narrower, it has W f(z) and R K.
#[test]
fn products_that_nobody_reads_are_not_formed() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let data = Data::clusters(100, 20, 3, 1);
    for (sweep, hidden, [expected, of_activations]) in [
        (SweepKind::Full, [10, 12], [4, 2]),
        (SweepKind::Backward, [12, 10], [4, 0]),
        (SweepKind::Full, [24, 12], [7, 0]),
    ] {
        let solver = DlAdmm::new(&gpu, &exact(&hidden, sweep), &data.problem()).expect("a sound problem");
        let count = |flops: u64| {
            let is_one = |operation: &&Operation| operation.flops == flops;
            solver.iteration_plan().operations().filter(is_one).count()
        };
        let [lower, upper] = hidden.map(u64::from);
        assert_eq!(count(2 * 100 * lower * upper), expected, "{sweep:?}, {hidden:?}");
        assert_eq!(count(2 * 100 * lower * lower), of_activations, "{sweep:?}, {hidden:?}");
    }
}

/// Of a symmetric matrix, half the multiply-adds of a product.
fn gram_flops(inner: u64, features: u64) -> u64 {
    inner * features * (features + 1)
}

/// A run that is stopped after three iterations and resumed is the run that was not, ridge included.
#[test]
fn resuming_continues_bit_for_bit() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let (data, config) = (Data::clusters(100, 20, 3, 1), exact(&[10, 12], SweepKind::Full));
    let (_, half) = train(&gpu, &config, &data, 3);
    let mut resumed = DlAdmm::resume(&gpu, &config, &data.problem(), &half).expect("a sound state");
    resumed.run(3).expect("submits");
    resumed.finish().expect("finite");
    assert_eq!(resumed.state().expect("reads back"), train(&gpu, &config, &data, 6).1);
}

/// Inputs whose Gram matrix is singular, or zero: steps stay finite, and the record says what was dropped.
#[test]
fn degenerate_inputs_stay_finite() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let config = exact(&[8, 5], SweepKind::Full);
    let mut doubled = Data::clusters(40, 6, 3, 2);
    for row in doubled.values.chunks_exact_mut(6) {
        row[4] = row[1];
        row[5] = row[1];
    }
    let mut missing_class = Data::clusters(40, 6, 3, 3);
    missing_class.classes = 5;
    let mut constant = Data::clusters(40, 6, 3, 4);
    constant.values.fill(0.5);
    let few = Data::clusters(4, 30, 2, 6);
    let one = Data::clusters(1, 6, 2, 7);
    for (case, data) in [
        ("doubled", doubled),
        ("missing class", missing_class),
        ("few", few),
        ("constant", constant),
        ("one", one),
    ] {
        let (records, state) = train(&gpu, &config, &data, 8);
        assert_eq!(records.len(), 8, "{case}");
        assert!(records.iter().all(|record| record.objective.is_finite()), "{case}");
        let weights = state.layers.iter().flat_map(|layer| &layer.weights);
        assert!(weights.clone().all(|weight| weight.is_finite()), "{case}");
        assert!(records.iter().all(|record| record.dropped_pivots == 0), "{case}");
        let start = train(&gpu, &config, &data, 0).1;
        let moved = start.layers[0].weights.iter().zip(&state.layers[0].weights);
        let furthest = moved.map(|(before, after)| (before - after).abs()).fold(0.0, f32::max);
        // Where nothing varies, nothing says what weights shall be.
        let nothing_varies = ["constant", "one"].contains(&case);
        assert_eq!(furthest < 1e-4, nothing_varies, "{case}: moved by {furthest}");
    }
}

/// The figures that the documentation of `Solver::ConjugateGradients` cites; run with `--nocapture` to see them.
#[test]
fn few_conjugate_gradients_do_as_well_on_real_images() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let data = Data::images(1_000);
    let base = Config { deviation: 0.1, evaluate_every: 20, ..exact(&[100, 100], SweepKind::Full) };
    let Steps::Exact(settings) = base.steps else { panic!("exact steps") };
    for nu in [1e-2, 1e-4] {
        let [factored, iterated] = [Solver::Cholesky, Solver::conjugate_gradients()].map(|solver| {
            let steps = Steps::Exact(Exact { solver, ..settings });
            let (records, _) = train(&gpu, &Config { nu, steps, ..base.clone() }, &data, 20);
            let last = records.last().expect("20 iterations");
            let accuracy = last.train.expect("taken").accuracy.expect("labelled");
            for pair in records.windows(2) {
                let (before, after) = (pair[0].objective, pair[1].objective);
                assert!(after <= before * (1.0 + 1e-5), "{solver:?}: {before} to {after}");
            }
            (last.objective, accuracy)
        });
        assert!(iterated.0 < 1.05 * factored.0, "ν {nu}: objective {} and {}", iterated.0, factored.0);
        assert!(iterated.1 > factored.1 - 0.01, "ν {nu}: accuracy {} and {}", iterated.1, factored.1);
    }
}

/// Degenerate inputs leave rows without curvature alone; a run repeats bit for bit, and resumes as well.
#[test]
fn conjugate_gradients_repeat_and_stay_finite() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let config = with_steps(exact(&[8, 12], SweepKind::Full), 8, 4);
    let mut constant = Data::clusters(40, 6, 3, 4);
    constant.values.fill(0.5);
    for data in [constant, Data::clusters(1, 6, 2, 7), Data::clusters(60, 6, 3, 9)] {
        let (records, whole) = train(&gpu, &config, &data, 6);
        assert!(records.iter().all(|record| record.objective.is_finite() && record.dropped_pivots == 0));
        assert!(whole.layers.iter().flat_map(|layer| &layer.weights).all(|weight| weight.is_finite()));
        let (_, half) = train(&gpu, &config, &data, 3);
        let mut resumed = DlAdmm::resume(&gpu, &config, &data.problem(), &half).expect("a sound state");
        resumed.run(3).expect("submits");
        resumed.finish().expect("finite");
        assert_eq!(resumed.state().expect("reads back"), whole);
    }
}
