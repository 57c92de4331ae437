//! The literal transcription of dlADMM against the golden traces, and the crate's f64 twins against both.
//!
//! Needs no device. Together these say that the oracles every kernel is tested by add up to the published algorithm.

#[path = "support/literal_dladmm.rs"]
mod literal_dladmm;
#[path = "support/twin_dladmm.rs"]
mod twin_dladmm;

use std::path::Path;

use dualstep::golden::{self, DlAdmmTrace, Trace};
use dualstep::reference::dladmm::{Block, Control};
use dualstep::reference::{Activation, Matrix, dladmm, elementwise, linalg, reduce};
use literal_dladmm::{Function, LiteralDlAdmm, Metrics, Settings, backtrack, square_norm, transpose, zip};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use twin_dladmm::TwinDlAdmm;

const TRACES: [&str; 3] = [
    "dladmm_fashion_n256_h24_rho1.safetensors",
    "dladmm_mnist_n256_h32_rho1e-2.safetensors",
    "dladmm_mnist_n256_h32_rho1e-6.safetensors",
];

/// Largest relative Frobenius error of a tensor. Measured: 2.4e-10, for b3 of the second trace; the traces divide
/// softmax by `Σ + 1e-10`, which explains it.
const TENSOR_TOLERANCE: f64 = 1e-9;
/// Largest relative error of a metric. Measured: 1.0e-10.
const METRIC_TOLERANCE: f64 = 1e-8;

fn read(name: &str) -> DlAdmmTrace {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    match golden::read(&path).unwrap() {
        Trace::DlAdmm(trace) => *trace,
        other => panic!("{name} is {other:?}"),
    }
}

fn settings(trace: &DlAdmmTrace) -> Settings {
    let settings = &trace.settings;
    Settings {
        function: Function::Relu,
        lambda: 0.0,
        sparsity: 0.0,
        line_search: false,
        rho: settings.rho,
        nu: settings.nu,
        theta_base: settings.theta_base,
        tau_base: settings.tau_base,
        fista_iterations: settings.fista_iterations,
        fista_tolerance: 0.0,
        fista_eta: settings.fista_eta,
    }
}

/// The initial W, and b as rows.
fn initial(trace: &DlAdmmTrace) -> (Vec<Matrix>, Vec<Matrix>) {
    trace.initial.iter().map(|layer| (layer.weight.clone(), layer.bias.clone())).unzip()
}

fn all_transposed(matrices: &[Matrix]) -> Vec<Matrix> {
    matrices.iter().map(transpose).collect()
}

/// Compares one iteration with the trace: exponents, metrics, and the tensors where they were recorded.
fn compare(
    trace: &DlAdmmTrace,
    iteration: usize,
    exponents: &[u32],
    metrics: &Metrics,
    state: &TensorsOfRun,
) {
    let at = format!("{}, ρ = {:e}, iteration {iteration}", trace.settings.dataset, trace.settings.rho);
    let expected = &trace.metrics[iteration - 1];
    assert_eq!(exponents, trace.exponents[iteration - 1], "{at}: exponents");
    assert_eq!(metrics.train_accuracy, expected.train_accuracy, "{at}: accuracy");
    for (name, actual, expected) in [
        ("objective", metrics.objective, expected.objective),
        ("loss", metrics.loss, expected.loss),
        ("cost", metrics.train_cost, expected.train_cost),
    ] {
        assert!((actual - expected).abs() <= METRIC_TOLERANCE * expected.abs(), "{at}: {name} {actual}");
    }
    for (l, (&actual, &expected)) in
        metrics.residual_squares.iter().zip(&expected.residual_squares).enumerate()
    {
        // At ρ = 1e-6 the first residual is 1e-13 of z, so that the rounding of z shows in it.
        let rounding = 2.0 * f64::EPSILON * expected.sqrt() * state.z[l].norm();
        let allowed = METRIC_TOLERANCE * expected + rounding;
        assert!((actual - expected).abs() <= allowed, "{at}: ‖r_{}‖² is {actual:e}, not {expected:e}", l + 1);
    }
    let Some(recorded) = trace.states.iter().find(|state| state.iteration == iteration) else { return };
    let mut pairs = vec![("u".to_owned(), &state.u, &recorded.u)];
    for (l, layer) in recorded.layers.iter().enumerate() {
        pairs.push((format!("W{}", l + 1), &state.weight[l], &layer.weight));
        pairs.push((format!("b{}", l + 1), &state.bias[l], &layer.bias));
    }
    if let Some(variables) = &recorded.variables {
        for (l, z) in variables.z.iter().enumerate() {
            pairs.push((format!("z{}", l + 1), &state.z[l], z));
        }
        for (l, a) in variables.a.iter().enumerate() {
            pairs.push((format!("a{}", l + 1), &state.a[l], a));
        }
    }
    for (name, actual, expected) in pairs {
        let error = actual.relative_error(expected);
        assert!(error <= TENSOR_TOLERANCE, "{at}: {name} is off by {error:e}");
    }
}

/// The variables of a run in the layout of the traces' reader: samples in rows, biases as rows, no input among `a`.
struct TensorsOfRun {
    weight: Vec<Matrix>,
    bias: Vec<Matrix>,
    z: Vec<Matrix>,
    a: Vec<Matrix>,
    u: Matrix,
}

#[test]
fn literal_transcription_reproduces_the_traces() {
    for trace in TRACES.map(read) {
        let (weight, bias) = initial(&trace);
        let (x, labels) = (transpose(&trace.inputs()), trace.labels.clone());
        let mut net = LiteralDlAdmm::new(x, labels, weight, all_transposed(&bias), settings(&trace));
        for iteration in 1..=trace.settings.iterations {
            let exponents = net.sweep();
            let state = TensorsOfRun {
                weight: net.weight.clone(),
                bias: all_transposed(&net.bias),
                z: all_transposed(&net.z),
                a: all_transposed(&net.a[1..]),
                u: transpose(&net.u),
            };
            compare(&trace, iteration, &exponents, &net.metrics(), &state);
        }
    }
}

#[test]
fn twins_compose_to_the_traces() {
    for trace in TRACES.map(read) {
        let (weight, bias) = initial(&trace);
        let mut net = TwinDlAdmm::new(trace.inputs(), trace.labels.clone(), weight, bias, settings(&trace));
        for iteration in 1..=trace.settings.iterations {
            let (exponents, metrics) = net.sweep();
            let (weight, bias, z) = (net.weight.clone(), net.bias.clone(), net.z.clone());
            let state = TensorsOfRun { weight, bias, z, a: net.a[1..].to_vec(), u: net.u.clone() };
            compare(&trace, iteration, &exponents, &metrics, &state);
        }
    }
}

/// What no trace was recorded for: the other activations, on a random problem.
#[test]
fn twins_compose_to_the_transcription_of_every_activation() {
    let functions = [Function::Relu, Function::LeakyRelu(0.2), Function::Sigmoid, Function::Tanh];
    for (function, seed) in functions.into_iter().zip(0..) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let widths = [5, 8, 7, 4];
        let x = random(&mut rng, widths[0], 30);
        let labels: Vec<u32> = (0..30).map(|_| rng.random_range(0..4)).collect();
        let weight: Vec<_> = (1..4).map(|l| random(&mut rng, widths[l], widths[l - 1])).collect();
        let bias: Vec<_> = (1..4).map(|l| random(&mut rng, widths[l], 1)).collect();
        let settings = Settings {
            function,
            lambda: 0.3,
            sparsity: 0.0,
            line_search: false,
            rho: 0.7,
            nu: 0.4,
            theta_base: 1.0,
            tau_base: 1.0,
            fista_iterations: 50,
            fista_tolerance: 0.0,
            fista_eta: 2.0,
        };
        let mut literal =
            LiteralDlAdmm::new(x.clone(), labels.clone(), weight.clone(), bias.clone(), settings);
        let mut twins = TwinDlAdmm::new(transpose(&x), labels, weight, all_transposed(&bias), settings);
        for iteration in 1..=5 {
            let (doublings, metrics) = twins.sweep();
            assert_eq!(doublings, literal.sweep(), "{function:?}, iteration {iteration}");
            let expected = literal.metrics();
            let error = (metrics.objective - expected.objective).abs() / expected.objective.abs();
            assert!(error < 1e-8, "{function:?}, iteration {iteration}: the objective is off by {error:e}");
            for l in 0..3 {
                let errors = [
                    twins.weight[l].relative_error(&literal.weight[l]),
                    twins.z[l].relative_error(&transpose(&literal.z[l])),
                ];
                assert!(errors.iter().all(|&error| error < 1e-8), "{function:?}, layer {l}: {errors:?}");
            }
        }
    }
}

/// Values uniform in −1 … 1.
fn random(rng: &mut ChaCha8Rng, rows: usize, cols: usize) -> Matrix {
    Matrix::from_fn(rows, cols, |_, _| rng.random_range(-1.0..1.0))
}

/// Whether a curvature is so near a power of two that rounding decides about the last doubling.
fn is_borderline(curvature: f64) -> bool {
    let log = curvature.max(1.0).log2();
    (log - log.round()).abs() < 1e-6 && curvature > 1.0 - 1e-6
}

/// A random least-squares layer: what a step of W, or of the activation below it, is taken on.
struct Problem {
    weight: Matrix,
    a: Matrix,
    target: Matrix,
    /// The pre-activation that a belongs to.
    z: Matrix,
}

impl Problem {
    fn new(seed: u64, (samples, inputs, outputs): (usize, usize, usize)) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Self {
            weight: random(&mut rng, outputs, inputs),
            a: random(&mut rng, samples, inputs),
            target: random(&mut rng, samples, outputs),
            z: random(&mut rng, samples, inputs),
        }
    }

    /// `W a − target`, at any W and a.
    fn residual(&self, weight: &Matrix, a: &Matrix) -> Matrix {
        zip(&linalg::matmul(a, false, weight, true).value, &self.target, |p, target| p - target)
    }

    /// `r aᵀ`, at any W.
    fn weight_gradient(&self, weight: &Matrix) -> Matrix {
        linalg::matmul(&self.residual(weight, &self.a), true, &self.a, false).value
    }
}

/// Samples, inputs, outputs.
fn sizes() -> impl Strategy<Value = (usize, usize, usize)> {
    (1usize..12, 1usize..9, 1usize..9)
}

proptest! {
    /// W step: the closed form has the doublings of the loop, and the same W.
    #[test]
    fn closed_form_of_a_weight_step_is_the_loop(seed: u64, sizes in sizes(), log_kappa in -4.0f64..3.0) {
        let (problem, kappa) = (Problem::new(seed, sizes), 10f64.powf(log_kappa));
        let g = problem.weight_gradient(&problem.weight);
        let change = linalg::matmul_norm(&problem.a, false, &g, true).1.value;
        let square = reduce::dot(&g, &g).value;
        prop_assume!(!is_borderline(kappa * change / square));
        let size = dladmm::step_size(square, change, &Control::new(kappa, 1.0, 1.0, 1.0), Block::Weights { lambda: 0.0 }, true);
        let phi = |weight: &Matrix| kappa / 2.0 * square_norm(&problem.residual(weight, &problem.a));
        let (expected, doublings) = backtrack(&problem.weight, &g.map(|g| kappa * g), 1.0, phi);
        prop_assert_eq!(size.exponent, doublings);
        let actual = elementwise::descend(&problem.weight, &g, size.step).value;
        prop_assert!(actual.relative_error(&expected) < 1e-12);
    }

    /// a step: the same, with the shift ν.
    #[test]
    fn closed_form_of_an_activation_step_is_the_loop(
        seed: u64, sizes in sizes(), log_kappa in -4.0f64..3.0, log_nu in -4.0f64..3.0,
    ) {
        let (problem, kappa, nu) = (Problem::new(seed, sizes), 10f64.powf(log_kappa), 10f64.powf(log_nu));
        let Problem { weight, a, z, .. } = &problem;
        let control = Control::new(kappa, nu, 1.0, 1.0);
        let (g, square) = dladmm::activation_gradient(&problem.residual(weight, a), weight, a, z, Activation::Relu, &control, true);
        let (g, square) = (g.value, square.value);
        let change = linalg::matmul_norm(&g, false, weight, true).1.value;
        prop_assume!(!is_borderline(nu + kappa * change / square));
        let size = dladmm::step_size(square, change, &control, Block::Activation, true);
        let phi = |a: &Matrix| {
            let gap = zip(a, z, |a, z| a - z.max(0.0));
            kappa / 2.0 * square_norm(&problem.residual(weight, a)) + nu / 2.0 * square_norm(&gap)
        };
        let (expected, doublings) = backtrack(a, &g, 1.0, phi);
        prop_assert_eq!(size.exponent, doublings);
        prop_assert!(elementwise::descend(a, &g, size.step).value.relative_error(&expected) < 1e-12);
    }

    /// The Gram matrix gives the curvature of a W₁ step, and the gradient after it, without a product over samples.
    #[test]
    fn gram_step_is_the_step_through_the_samples(seed: u64, sizes in sizes(), step in 0.0f64..1.0) {
        let problem = Problem::new(seed, sizes);
        let g = problem.weight_gradient(&problem.weight);
        let inputs = problem.a.cols();
        let gram = linalg::gram(&Matrix::zeros(inputs, inputs), &problem.a).value;
        let curved = linalg::matmul(&g, false, &gram, false).value;
        let change = linalg::matmul_norm(&problem.a, false, &g, true).1;
        let through_gram = reduce::dots(&curved, &g).product;
        prop_assert!((through_gram.value - change.value).abs() <= 1e-12 * (1.0 + change.magnitude));
        let next = elementwise::descend(&problem.weight, &g, step).value;
        let next_gradient = elementwise::descend(&g, &curved, step);
        let afresh = problem.weight_gradient(&next);
        let distance = zip(&next_gradient.value, &afresh, |a, b| a - b).norm();
        prop_assert!(distance <= 1e-12 * (1.0 + next_gradient.magnitude.norm()));
    }
}

/// Property 2 of the paper, which asks for ρ > 2H; softmax cross-entropy has H = 1/2, so that ρ = 1 is the edge at
/// which the guaranteed descent is 0 and not yet negative.
#[test]
fn augmented_lagrangian_never_rises_at_rho_1() {
    for seed in 0..20 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let widths = [6, 8, 7, 4];
        let samples = 40;
        let x = random(&mut rng, widths[0], samples);
        let labels: Vec<u32> = (0..samples).map(|_| rng.random_range(0..4)).collect();
        let weight = (1..4).map(|l| random(&mut rng, widths[l], widths[l - 1])).collect();
        let bias = (1..4).map(|l| random(&mut rng, widths[l], 1)).collect();
        let settings = Settings {
            function: Function::Relu,
            lambda: 0.0,
            sparsity: 0.0,
            line_search: false,
            rho: 1.0,
            nu: 1.0,
            theta_base: 1.0,
            tau_base: 1.0,
            fista_iterations: 100,
            fista_tolerance: 0.0,
            fista_eta: 2.0,
        };
        let mut net = LiteralDlAdmm::new(x, labels, weight, bias, settings);
        let mut before = f64::INFINITY;
        for iteration in 1..=30 {
            net.sweep();
            let objective = net.metrics().objective;
            let rounding = 1e-12 * objective.abs();
            assert!(
                objective <= before + rounding,
                "seed {seed}, iteration {iteration}: {before} to {objective}"
            );
            before = objective;
        }
    }
}
