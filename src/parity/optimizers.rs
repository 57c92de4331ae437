//! Traces of BADM and of first-order methods: given gradients, compared after the last step, element by element, over every
//! magnitude that the gradients have.
//!
//! An error is |replayed − recorded| / |recorded|, the largest of all elements. Only for the parameters of first-order
//! methods it is relative to the larger of where an element started and where it ended: momentum may carry a parameter
//! a hundred times as far as what is left of it in the end, and what f32 rounded on the way is not to be had back.

use super::TensorDifference;
use crate::Error;
use crate::engine::{Gpu, Plan, PlanBuilder, Shape, StorageType, Tensor};
use crate::golden::{BadmTrace, FirstOrderTrace, MethodTrace};
use crate::reference::Matrix;
use crate::solvers::badm::{Badm, BadmConfig, SecondMoment, SubBatches};
use crate::solvers::first_order::{FirstOrder, FirstOrderConfig, Method};

/// Allowed for parameters.
pub const PARAMETER_TOLERANCE: f64 = 1e-5;
/// Allowed for duals and second moments.
pub const STATE_TOLERANCE: f64 = 1e-4;

/// How a replay differs from its trace.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Parity {
    /// Steps that were replayed.
    pub steps: usize,
    /// Every recorded tensor, in the order of the trace.
    pub tensors: Vec<TensorDifference>,
}

/// Replays a trace of BADM.
///
/// # Errors
/// As [`Badm::new`] and [`Badm::record`].
pub fn replay_badm(gpu: &Gpu, trace: &BadmTrace) -> Result<Parity, Error> {
    let settings = &trace.settings;
    let moment = if settings.second_moment { SecondMoment::Dual } else { SecondMoment::Off };
    let config = BadmConfig {
        rho: settings.rho,
        sigma: settings.sigma,
        beta: settings.beta,
        epsilon: settings.epsilon,
        initial_moment: settings.initial_moment,
        bias_correction: settings.bias_correction,
        second_moment: moment,
        ..BadmConfig::robust(settings.sub_batches as u32, 1.0)
    };
    let w = upload(gpu, &trace.start)?;
    let gradients = gpu.zeros(shape(&trace.pi), StorageType::F32)?;
    let weights: Vec<f32> = trace.weights.iter().map(|weight| *weight as f32).collect();
    let badm = Badm::new(gpu, &config, &w)?;
    let mut plan = PlanBuilder::new(gpu, "parity");
    let batch = SubBatches { weights: Some(&weights), ..SubBatches::even(&gradients) };
    badm.record(&mut plan, &batch)?;
    run(gpu, &plan.finish()?, &gradients, &trace.gradients)?;
    badm.check()?;
    let mut tensors = vec![difference("w", trace, &gpu.read(&w)?, &trace.w, PARAMETER_TOLERANCE)];
    for (name, tensor, expected) in [("pi", badm.tensors()[0], &trace.pi), ("m", badm.tensors()[1], &trace.m)]
    {
        tensors.push(difference(name, trace, &gpu.read(tensor)?, expected, STATE_TOLERANCE));
    }
    Ok(Parity { steps: settings.steps, tensors })
}

fn difference(
    name: &str,
    trace: &BadmTrace,
    actual: &[f32],
    expected: &Matrix,
    tolerance: f64,
) -> TensorDifference {
    let error = largest(actual, expected, |index| expected.data()[index].abs());
    TensorDifference { tensor: name.to_owned(), iteration: trace.settings.steps, error, tolerance }
}

/// Replays a trace of first-order methods, one after another.
///
/// # Errors
/// As [`FirstOrder::new`]; [`Error::Setting`] for a setting that no method has.
pub fn replay_first_order(gpu: &Gpu, trace: &FirstOrderTrace) -> Result<Parity, Error> {
    let steps = trace.gradients.len();
    let mut tensors = Vec::new();
    for method in &trace.methods {
        let w = upload(gpu, &trace.start)?;
        let gradient = gpu.zeros(w.shape(), StorageType::F32)?;
        let solver = FirstOrder::new(gpu, &config(method)?, &w)?;
        let mut plan = PlanBuilder::new(gpu, "parity");
        solver.record(&mut plan, &gradient)?;
        run(gpu, &plan.finish()?, &gradient, &trace.gradients)?;
        solver.check()?;
        let scale = |index: usize| method.w.data()[index].abs().max(trace.start.data()[index].abs());
        tensors.push(TensorDifference {
            tensor: format!("w.{}", method.name),
            iteration: steps,
            error: largest(&gpu.read(&w)?, &method.w, scale),
            tolerance: PARAMETER_TOLERANCE,
        });
    }
    Ok(Parity { steps, tensors })
}

/// The settings a method was run with: PyTorch's, but for those that the trace names.
fn config(trace: &MethodTrace) -> Result<FirstOrderConfig, Error> {
    let refuse = |expected| Error::Setting { setting: "method", value: trace.name.clone(), expected };
    let method = Method::ALL.into_iter().find(|method| method.name() == trace.name);
    let mut config = FirstOrderConfig::pytorch(method.ok_or_else(|| refuse("no method has that name"))?);
    let mut betas = 0;
    for (word, value) in &trace.settings {
        let setting = match word.as_str() {
            "lr" => &mut config.learning_rate,
            "eps" => &mut config.epsilon,
            "weight decay" => &mut config.weight_decay,
            "momentum decay" => &mut config.momentum_decay,
            "beta" => {
                betas += 1;
                match betas {
                    1 => &mut config.beta_1,
                    2 => &mut config.beta_2,
                    _ => return Err(refuse("has two betas at most")),
                }
            }
            "alpha" | "rho" => &mut config.beta_2,
            _ => return Err(refuse("its settings are lr, eps, alpha, rho, weight decay, momentum decay")),
        };
        *setting = *value;
    }
    Ok(config)
}

/// One replay for each step's gradients.
fn run(gpu: &Gpu, plan: &Plan, into: &Tensor, gradients: &[Matrix]) -> Result<(), Error> {
    for gradient in gradients {
        gpu.write(into, &gradient.to_f32())?;
        plan.run()?;
    }
    Ok(())
}

fn upload(gpu: &Gpu, matrix: &Matrix) -> Result<Tensor, Error> {
    gpu.upload(shape(matrix), &matrix.to_f32())
}

fn shape(matrix: &Matrix) -> Shape {
    Shape::new(matrix.rows() as u32, matrix.cols() as u32)
}

/// The largest |actual − expected| / scale; infinite where a number is none, or is not zero where scale is.
fn largest(actual: &[f32], expected: &Matrix, scale: impl Fn(usize) -> f64) -> f64 {
    let error = |(index, (actual, expected)): (usize, (&f32, &f64))| {
        let distance = (f64::from(*actual) - expected).abs();
        let error = if distance == 0.0 { 0.0 } else { distance / scale(index) };
        if error.is_nan() { f64::INFINITY } else { error }
    };
    actual.iter().zip(expected.data()).enumerate().map(error).fold(0.0, f64::max)
}
