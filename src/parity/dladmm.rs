//! Traces of dlADMM. The tolerances are not all the same: z of the last layer and u carry the FISTA step's own error, which
//! the float64 trace resolves further; and b follows u/ρ, of which float32 keeps fewer digits the smaller ρ is.

use super::TensorDifference;
use crate::Error;
use crate::engine::Gpu;
use crate::golden::{self, DlAdmmTrace};
use crate::reference::Matrix;
use crate::solvers::dladmm::{
    Config, DlAdmm, HostLayer, HostState, Problem, Record, Rows, Samples, Schedule, Steps, Targets, ZLast,
};

/// Allowed for W and the hidden layers' a and z, and for b.
pub const TOLERANCE: f64 = 1e-5;
/// Allowed for b when ρ is no larger than [`SMALL_PENALTY`].
pub const BIAS_TOLERANCE: f64 = 1e-3;
/// See [`BIAS_TOLERANCE`].
pub const SMALL_PENALTY: f64 = 1e-6;
/// Allowed for z of the last layer and for u.
pub const LAST_LAYER_TOLERANCE: f64 = 1e-3;

/// How a replay differs from its trace.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Parity {
    /// Every recorded tensor, in the order of the trace.
    pub tensors: Vec<TensorDifference>,
    /// Backtracked steps over all iterations.
    pub exponents: usize,
    /// Those whose number of doublings differs.
    pub differing_exponents: usize,
    /// What was measured along the way; shown, not judged.
    pub metrics: Vec<MetricDifference>,
}

/// How one measured quantity differs.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct MetricDifference {
    /// Such as `objective`.
    pub metric: String,
    /// The largest of |replayed − recorded| / |recorded| over all iterations. Large where what was recorded is far
    /// below float32's rounding, as residuals that are nearly nothing are.
    pub error: f64,
}

impl Parity {
    /// Whether every tensor is close enough and no exponent differs.
    pub fn passes(&self) -> bool {
        self.differing_exponents == 0 && self.tensors.iter().all(TensorDifference::passes)
    }
}

/// Replays a trace of dlADMM and compares every recorded tensor, every exponent and every metric.
///
/// # Errors
/// As [`DlAdmm::resume`] and [`DlAdmm::finish`].
pub fn replay(gpu: &Gpu, trace: &DlAdmmTrace) -> Result<Parity, Error> {
    let inputs = trace.inputs().to_f32();
    let features = trace.initial[0].weight.cols() as u32;
    let train = Samples { features, values: Rows::Dense(&inputs), targets: Targets::Classes(&trace.labels) };
    let classes = trace.initial[trace.initial.len() - 1].weight.rows() as u32;
    let problem = Problem { outputs: classes, train, test: None };
    let config = config(trace);
    let start = HostState::at_start(&config, trace.initial.iter().map(layer).collect());
    let mut solver = DlAdmm::resume(gpu, &config, &problem, &start)?;
    let (mut records, mut tensors) = (Vec::new(), Vec::new());
    for recorded in &trace.states {
        solver.run((recorded.iteration - records.len()) as u32)?;
        records.extend(solver.finish()?);
        compare_state(trace, recorded, &solver.state()?, &mut tensors);
    }
    let differing = records.iter().zip(&trace.exponents).map(|(record, expected)| {
        record.exponents.iter().zip(expected).filter(|(actual, expected)| actual != expected).count()
    });
    Ok(Parity {
        tensors,
        exponents: trace.exponents.len() * golden::EXPONENTS,
        differing_exponents: differing.sum(),
        metrics: compare_metrics(trace, &records),
    })
}

/// The settings the trace was made with.
fn config(trace: &DlAdmmTrace) -> Config {
    let settings = &trace.settings;
    Config {
        steps: Steps::Quadratic,
        hidden: vec![settings.hidden as u32; trace.initial.len() - 1],
        schedule: Schedule::Constant,
        rho: settings.rho as f32,
        nu: settings.nu as f32,
        tau_0: settings.tau_base as f32,
        theta_0: settings.theta_base as f32,
        z_last: ZLast::Fista {
            iterations: settings.fista_iterations as u32,
            eta: settings.fista_eta as f32,
            tolerance: 0.0,
        },
        evaluate_every: 1,
        ..Config::default()
    }
}

fn layer(layer: &golden::Layer) -> HostLayer {
    HostLayer { weights: layer.weight.to_f32(), bias: layer.bias.to_f32(), ..HostLayer::default() }
}

/// Adds the difference of every tensor recorded after one iteration.
fn compare_state(
    trace: &DlAdmmTrace,
    recorded: &golden::State,
    actual: &HostState,
    differences: &mut Vec<TensorDifference>,
) {
    let mut compare = |tensor: String, values: &[f32], expected: &Matrix, tolerance: f64| {
        let (rows, cols) = expected.shape();
        let error = Matrix::from_f32(rows, cols, values).relative_error(expected);
        differences.push(TensorDifference { tensor, iteration: recorded.iteration, error, tolerance });
    };
    let bias = if trace.settings.rho <= SMALL_PENALTY { BIAS_TOLERANCE } else { TOLERANCE };
    for (l, (layer, expected)) in actual.layers.iter().zip(&recorded.layers).enumerate() {
        compare(format!("W{}", l + 1), &layer.weights, &expected.weight, TOLERANCE);
        compare(format!("b{}", l + 1), &layer.bias, &expected.bias, bias);
    }
    if let Some(variables) = &recorded.variables {
        let last = variables.z.len() - 1;
        for (l, (layer, expected)) in actual.layers.iter().zip(&variables.z).enumerate() {
            let tolerance = if l == last { LAST_LAYER_TOLERANCE } else { TOLERANCE };
            compare(format!("z{}", l + 1), &layer.z, expected, tolerance);
        }
        for (l, (layer, expected)) in actual.layers.iter().zip(&variables.a).enumerate() {
            compare(format!("a{}", l + 1), &layer.activation, expected, TOLERANCE);
        }
    }
    compare("u".into(), &actual.dual, &recorded.u, LAST_LAYER_TOLERANCE);
}

/// A metric's name, and where it is found in a replay and in a trace.
type Metric = (&'static str, fn(&Record) -> f64, fn(&golden::Metrics) -> f64);

const METRICS: [Metric; 7] = [
    ("objective", |record| record.objective.into(), |metrics| metrics.objective),
    ("loss", |record| record.loss.into(), |metrics| metrics.loss),
    ("residual 1", |record| record.residuals[0].into(), |metrics| metrics.residual_squares[0]),
    ("residual 2", |record| record.residuals[1].into(), |metrics| metrics.residual_squares[1]),
    ("residual 3", |record| record.residuals[2].into(), |metrics| metrics.residual_squares[2]),
    (
        "train accuracy",
        |record| score(record, |scores| scores.accuracy.unwrap_or(f32::NAN)),
        |metrics| metrics.train_accuracy,
    ),
    ("train cost", |record| score(record, |scores| scores.cost), |metrics| metrics.train_cost),
];

fn score(record: &Record, part: fn(crate::solvers::dladmm::Scores) -> f32) -> f64 {
    record.train.map_or(f64::NAN, |scores| part(scores).into())
}

fn compare_metrics(trace: &DlAdmmTrace, records: &[Record]) -> Vec<MetricDifference> {
    let difference = |(name, actual, expected): &Metric| {
        let errors = records.iter().zip(&trace.metrics).map(|(record, metrics)| {
            let expected = expected(metrics);
            (actual(record) - expected).abs() / expected.abs().max(f64::MIN_POSITIVE)
        });
        // `f64::max` would pass over a NaN.
        let error =
            errors.fold(
                0.0,
                |most: f64, error| if error.is_nan() || most.is_nan() { f64::NAN } else { most.max(error) },
            );
        MetricDifference { metric: (*name).to_owned(), error }
    };
    METRICS.iter().map(difference).collect()
}
