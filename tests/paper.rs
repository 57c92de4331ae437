//! What the paper offers beside ReLU and softmax, on the device: runs of a few iterations against the literal float64
//! transcription of the algorithm.

#[path = "support/gpu.rs"]
mod gpu;
#[path = "support/literal_dladmm.rs"]
mod literal_dladmm;

use dualstep::data::SparseRows;
use dualstep::engine::{Gpu, GpuOptions};
use dualstep::reference::Matrix;
use dualstep::solvers::dladmm::{
    Activation, Config, DlAdmm, HostLayer, HostState, Loss, Penalty, Problem, Record, Rows, Samples, Steps,
    Targets, ZLast, evaluate,
};
use literal_dladmm::{Function, LiteralDlAdmm, Settings, Target, product, transpose};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const WIDTHS: [usize; 4] = [6, 9, 7, 3];
const SAMPLES: usize = 45;
const ITERATIONS: usize = 4;
/// Largest relative Frobenius error of a tensor after these iterations.
const TOLERANCE: f64 = 2e-5;

/// Values uniform in −1 … 1, each exactly an f32.
fn random(rng: &mut ChaCha8Rng, rows: usize, cols: usize) -> Matrix {
    Matrix::from_fn(rows, cols, |_, _| f64::from(rng.random_range(-1.0f32..1.0)))
}

/// One problem, as both sides take it: samples in columns.
struct Twins {
    x: Matrix,
    target: Target,
    weight: Vec<Matrix>,
    bias: Vec<Matrix>,
    /// Whether the device gets x by its entries.
    is_sparse: bool,
}

impl Twins {
    fn new(loss: Loss) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let x = random(&mut rng, WIDTHS[0], SAMPLES);
        let target = match loss {
            Loss::CrossEntropy => {
                Target::Classes((0..SAMPLES).map(|_| rng.random_range(0..WIDTHS[3] as u32)).collect())
            }
            Loss::Squared => Target::Values(random(&mut rng, WIDTHS[3], SAMPLES)),
        };
        let weight = (1..4).map(|l| random(&mut rng, WIDTHS[l], WIDTHS[l - 1])).collect();
        let bias = (1..4).map(|l| random(&mut rng, WIDTHS[l], 1)).collect();
        Self { x, target, weight, bias, is_sparse: false }
    }

    /// The same with one feature left of `share`, by its entries.
    fn sparse(loss: Loss, share: usize) -> Self {
        let twins = Self::new(loss);
        let kept = |row: usize, sample: usize| (row * SAMPLES + sample).is_multiple_of(share);
        let x =
            Matrix::from_fn(
                WIDTHS[0],
                SAMPLES,
                |row, sample| {
                    if kept(row, sample) { twins.x[(row, sample)] } else { 0.0 }
                },
            );
        Self { x, is_sparse: true, ..twins }
    }

    /// Runs both and compares every tensor, exponent and score.
    fn compare(&self, gpu: &Gpu, config: &Config, settings: Settings) -> LiteralDlAdmm {
        let (weight, bias) = (self.weight.clone(), self.bias.clone());
        let mut literal = LiteralDlAdmm::new(self.x.clone(), self.target.clone(), weight, bias, settings);
        let exponents: Vec<_> = (0..ITERATIONS).map(|_| literal.sweep()).collect();
        let (records, state) = self.train(gpu, config);
        for (record, expected) in records.iter().zip(&exponents) {
            assert_eq!(&record.exponents, expected, "{config:?}, iteration {}", record.iteration);
        }
        let mut pairs = vec![("u".to_owned(), state.dual.clone(), transpose(&literal.u))];
        for (l, layer) in state.layers.iter().enumerate() {
            pairs.push((format!("W{}", l + 1), layer.weights.clone(), literal.weight[l].clone()));
            pairs.push((format!("b{}", l + 1), layer.bias.clone(), literal.bias[l].clone()));
            pairs.push((format!("z{}", l + 1), layer.z.clone(), transpose(&literal.z[l])));
        }
        for (l, layer) in state.layers.iter().enumerate().take(2) {
            pairs.push((format!("a{}", l + 1), layer.activation.clone(), transpose(&literal.a[l + 1])));
        }
        for (name, actual, expected) in pairs {
            let actual = Matrix::from_f32(expected.rows(), expected.cols(), &actual);
            let error = actual.relative_error(&expected);
            assert!(error <= TOLERANCE, "{config:?}: {name} is off by {error:e}");
        }
        let (last, metrics) = (&records[ITERATIONS - 1], literal.metrics());
        let train = last.train.expect("taken every iteration");
        for (name, actual, expected) in [
            ("objective", last.objective, metrics.objective),
            ("loss", last.loss, metrics.loss),
            ("cost", train.cost, metrics.train_cost),
        ] {
            let error = (f64::from(actual) - expected).abs() / expected.abs();
            assert!(error <= TOLERANCE, "{config:?}: {name} is {actual}, not {expected}");
        }
        literal
    }

    fn train(&self, gpu: &Gpu, config: &Config) -> (Vec<Record>, HostState) {
        let values = transpose(&self.x).to_f32();
        let outputs;
        let targets = match &self.target {
            Target::Classes(labels) => Targets::Classes(labels),
            Target::Values(targets) => {
                outputs = transpose(targets).to_f32();
                Targets::Values(&outputs)
            }
        };
        let mut entries = SparseRows::default();
        for sample in values.chunks_exact(WIDTHS[0]) {
            entries.push((0..).zip(sample.iter().copied()).filter(|(_, value)| *value != 0.0));
        }
        let values = if self.is_sparse { Rows::Sparse(&entries) } else { Rows::Dense(&values) };
        let train = Samples { features: WIDTHS[0] as u32, values, targets };
        let problem = Problem { outputs: WIDTHS[3] as u32, train, test: None };
        let layer = |(weight, bias): (&Matrix, &Matrix)| HostLayer {
            weights: weight.to_f32(),
            bias: bias.to_f32(),
            ..HostLayer::default()
        };
        let start = HostState::at_start(config, self.weight.iter().zip(&self.bias).map(layer).collect());
        let mut solver = DlAdmm::resume(gpu, config, &problem, &start).expect("a sound problem");
        solver.run(ITERATIONS as u32).expect("submits");
        (solver.finish().expect("finite"), solver.state().expect("reads back"))
    }
}

/// The same run for both sides.
fn settings(activation: Activation) -> (Config, Settings) {
    let (rho, nu) = (0.75, 0.5);
    let config = Config {
        hidden: vec![WIDTHS[1] as u32, WIDTHS[2] as u32],
        activation,
        steps: Steps::Quadratic,
        rho,
        nu,
        z_last: ZLast::Fista { iterations: 60, eta: 2.0, tolerance: 0.0 },
        ..Config::default()
    };
    let settings = Settings {
        function: match activation {
            Activation::Relu => Function::Relu,
            Activation::LeakyRelu { slope } => Function::LeakyRelu(slope.into()),
            Activation::Sigmoid => Function::Sigmoid,
            Activation::Tanh => Function::Tanh,
        },
        lambda: 0.0,
        sparsity: 0.0,
        line_search: false,
        rho: rho.into(),
        nu: nu.into(),
        theta_base: 1.0,
        tau_base: 1.0,
        fista_iterations: 60,
        fista_tolerance: 0.0,
        fista_eta: 2.0,
    };
    (config, settings)
}

#[test]
fn every_activation_runs_as_it_is_written_down() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    for activation in
        [Activation::Relu, Activation::LeakyRelu { slope: 0.125 }, Activation::Sigmoid, Activation::Tanh]
    {
        let (config, settings) = settings(activation);
        Twins::new(Loss::CrossEntropy).compare(&gpu, &config, settings);
    }
}

#[test]
fn fista_stops_where_its_authors_stop() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let (config, settings) = settings(Activation::Relu);
    let mut taken = Vec::new();
    for (tolerance, eta) in [(1e-1f32, 2.0f32), (1e-3, 2.0), (1e-3, 0.125), (1e-3, 0.03125)] {
        let z_last = ZLast::Fista { iterations: 200, eta, tolerance };
        let settings = Settings {
            fista_iterations: 200,
            fista_tolerance: tolerance.into(),
            fista_eta: eta.into(),
            ..settings
        };
        let literal =
            Twins::new(Loss::CrossEntropy).compare(&gpu, &Config { z_last, ..config.clone() }, settings);
        taken.extend(literal.fista_taken);
    }
    // In each of the stages in which the kernels look for it.
    for steps in [1..=4, 5..=64, 65..=199] {
        assert!(taken.iter().any(|count| steps.contains(count)), "none in {steps:?}: {taken:?}");
    }
}

#[test]
fn squared_loss_runs_as_it_is_written_down() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    for activation in [Activation::Relu, Activation::Tanh] {
        let (config, settings) = settings(activation);
        let config = Config { loss: Loss::Squared, ..config };
        Twins::new(Loss::Squared).compare(&gpu, &config, settings);
    }
}

#[test]
fn a_penalty_on_weights_runs_as_it_is_written_down() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    for (loss, activation) in [(Loss::CrossEntropy, Activation::Relu), (Loss::Squared, Activation::Tanh)] {
        for lambda in [0.25f32, 40.0] {
            let (config, settings) = settings(activation);
            let config = Config { loss, penalty: Penalty::L2 { lambda }, ..config };
            let settings = Settings { lambda: lambda.into(), ..settings };
            Twins::new(loss).compare(&gpu, &config, settings);
        }
    }
}

/// A penalty whose step has no closed form: every trial counts, and ends where the loop does.
#[test]
fn a_sparse_penalty_runs_as_it_is_written_down() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    for (loss, activation) in [(Loss::CrossEntropy, Activation::Relu), (Loss::Squared, Activation::Tanh)] {
        for lambda in [0.0f32, 0.25, 4.0] {
            let (config, settings) = settings(activation);
            let config = Config { loss, penalty: Penalty::L1 { lambda }, ..config };
            let settings = Settings { sparsity: lambda.into(), ..settings };
            let twins = Twins::new(loss);
            twins.compare(&gpu, &config, settings);
            let (records, state) = twins.train(&gpu, &config);
            // Every other step is one of W, but for the two of W_1 in the middle.
            assert!(records[1].exponents[4..6].iter().all(|k| *k > 1), "{:?}", records[1].exponents);
            let zeros = state.layers.iter().flat_map(|layer| &layer.weights).filter(|w| **w == 0.0).count();
            assert_eq!(zeros > 0, lambda > 0.0, "{zeros} zeros with λ = {lambda}");
        }
    }
}

/// Lengths of their own for every row and sample, with and without a penalty.
#[test]
fn line_searches_run_as_they_are_written_down() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    for (loss, activation, lambda) in [
        (Loss::CrossEntropy, Activation::Relu, 0.0),
        (Loss::CrossEntropy, Activation::Tanh, 0.25),
        (Loss::Squared, Activation::LeakyRelu { slope: 0.125 }, 40.0f32),
    ] {
        let (config, settings) = settings(activation);
        let config = Config { loss, penalty: Penalty::L2 { lambda }, steps: Steps::LineSearch, ..config };
        let settings = Settings { lambda: lambda.into(), line_search: true, ..settings };
        Twins::new(loss).compare(&gpu, &config, settings);
    }
}

/// Inputs of so few entries that layer 1 does without their Gram matrix, and of enough for it; a penalty of magnitudes
/// wants it all the same.
#[test]
fn sparse_inputs_run_as_they_are_written_down() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    for share in [9, 2] {
        for (steps, lambda) in [
            (Steps::Quadratic, 0.0),
            (Steps::Quadratic, 0.25),
            (Steps::LineSearch, 0.0),
            (Steps::LineSearch, 0.25f32),
        ] {
            let (config, settings) = settings(Activation::Relu);
            let config = Config { penalty: Penalty::L2 { lambda }, steps, ..config };
            let line_search = steps == Steps::LineSearch;
            let settings = Settings { lambda: lambda.into(), line_search, ..settings };
            Twins::sparse(Loss::CrossEntropy, share).compare(&gpu, &config, settings);
        }
        let (config, settings) = settings(Activation::Tanh);
        let config = Config { penalty: Penalty::L1 { lambda: 0.25 }, ..config };
        let settings = Settings { sparsity: 0.25, ..settings };
        Twins::sparse(Loss::CrossEntropy, share).compare(&gpu, &config, settings);
    }
}

/// Targets that a linear map makes of the inputs, which leaky ReLU of slope next to 1 can follow exactly.
#[test]
fn a_linear_map_is_learnt() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (features, outputs, samples) = (5, 2, 300);
    let map = random(&mut rng, outputs, features);
    let mut set = || {
        let x = random(&mut rng, features, samples);
        let y = product(&map, &x);
        (transpose(&x).to_f32(), transpose(&y).to_f32())
    };
    let sets = [set(), set()];
    let [train, test] = [&sets[0], &sets[1]].map(|(values, targets)| Samples {
        features: features as u32,
        values: Rows::Dense(values),
        targets: Targets::Values(targets),
    });
    let config = Config {
        hidden: vec![12],
        activation: Activation::LeakyRelu { slope: 0.9 },
        loss: Loss::Squared,
        rho: 1.0,
        nu: 1.0,
        deviation: 0.4,
        ..Config::default()
    };
    let problem = Problem { outputs: outputs as u32, train, test: Some(test) };
    let mut solver = DlAdmm::new(&gpu, &config, &problem).expect("a sound problem");
    solver.run(400).expect("submits");
    let records = solver.finish().expect("finite");
    let scores = records[records.len() - 1].test.expect("taken every iteration");
    assert_eq!(scores.accuracy, None);
    // A mean square of 5/9 is what answering 0 would cost.
    assert!(scores.cost < 2e-3, "{scores:?}");
    let state = solver.state().expect("reads back");
    let again = evaluate(&gpu, &config, &state.layers, solver.widths(), &test).expect("sound samples");
    assert!((again.cost - scores.cost).abs() <= 1e-5 * scores.cost, "{again:?} {scores:?}");
    let classes = Samples { targets: Targets::Classes(&[0; 300]), ..train };
    let message = DlAdmm::new(&gpu, &config, &Problem { train: classes, ..problem }).expect_err("classes");
    assert!(message.to_string().contains("cross-entropy"), "{message}");
}
