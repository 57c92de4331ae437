//! Sparse samples: the same network learns from them as from dense ones, and what is wrong with them is named.

#[path = "support/gpu.rs"]
mod gpu;

use dualstep::Error;
use dualstep::data::SparseRows;
use dualstep::engine::{Gpu, GpuOptions, PlanBuilder, Shape, StorageType};
use dualstep::models::mlp::{Activation, Inputs, Loss, Mlp, SparseInputs, Targets};
use dualstep::solvers::badm::BadmConfig;
use dualstep::solvers::dladmm::{self, Config};
use dualstep::solvers::first_order::{FirstOrderConfig, Method};
use dualstep::solvers::problem::{self, Problem, Rows, Samples};
use dualstep::solvers::training::{Model, Optimizer, Training, TrainingConfig};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const FEATURES: usize = 70;
const CLASSES: u32 = 3;

/// Texts by the words they hold, most of them their class' own; one word is in every text, and one in none.
struct Texts {
    entries: SparseRows,
    labels: Vec<u32>,
}

impl Texts {
    fn random(count: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let labels: Vec<u32> = (0..count).map(|_| rng.random_range(0..CLASSES)).collect();
        let mut entries = SparseRows::default();
        for label in &labels {
            let share = |word: usize| match word {
                5 => 1.0,
                6 => 0.0,
                _ if word as u32 % CLASSES == *label => 0.2,
                _ => 0.05,
            };
            let words: Vec<_> = (0..FEATURES).filter(|word| rng.random_bool(share(*word))).collect();
            entries.push(words.into_iter().map(|word| (word as u32, f32::from(1 + word as u8 % 3))));
        }
        Self { entries, labels }
    }

    fn dense(&self) -> Vec<f32> {
        self.entries.dense(0..self.labels.len(), FEATURES)
    }

    fn samples<'a>(&'a self, values: Rows<'a>) -> Samples<'a> {
        Samples { features: FEATURES as u32, values, targets: problem::Targets::Classes(&self.labels) }
    }

    fn problem<'a>(&'a self, values: Rows<'a>) -> Problem<'a> {
        let samples = self.samples(values);
        Problem { outputs: CLASSES, train: samples, test: Some(samples) }
    }
}

/// Weights of few bits: with whole inputs every product of a forward pass is exact, however it is summed, so that both
/// ways have the same δ, bit for bit, and G alone differs, by the roundings of its two sums.
#[test]
fn gradients_are_those_of_dense_samples() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let texts = Texts::random(203);
    let samples = texts.labels.len() as u32;
    let (dense_values, mut rng) = (texts.dense(), ChaCha8Rng::seed_from_u64(4));
    for hidden in [8, 33] {
        let network =
            Mlp::new(&[FEATURES as u32, hidden, CLASSES], Activation::Relu, Loss::CrossEntropy).unwrap();
        let length = network.slab().length() as usize;
        let w: Vec<f32> = (0..length).map(|_| f32::from(rng.random_range(-4i8..=4)) / 16.0).collect();
        let w = gpu.upload(network.slab().shape(1), &w).unwrap();
        let dense = gpu.upload(Shape::new(samples, FEATURES as u32), &dense_values).unwrap();
        let sparse = SparseInputs::upload(&gpu, FEATURES as u32, &texts.entries).unwrap();
        let labels = gpu.upload_u32(Shape::vector(samples), &texts.labels).unwrap();
        for sub_batches in [1, 7] {
            let gradients = |inputs: Inputs<'_>| {
                let rows = gpu.zeros(network.slab().shape(sub_batches), StorageType::F32).unwrap();
                let mut plan = PlanBuilder::new(&gpu, "gradients");
                network.gradients(&mut plan, &w, inputs, Targets::Classes(&labels), &rows).unwrap();
                plan.finish().unwrap().run().unwrap();
                (0..sub_batches)
                    .map(|row| (0..4).map(|k| read(&gpu, &network, &rows, row, k)).collect())
                    .collect()
            };
            let expected: Vec<Vec<Vec<f32>>> = gradients(Inputs::from(&dense));
            let actual: Vec<Vec<Vec<f32>>> = gradients(Inputs::from(&sparse));
            for n in 0..sub_batches as usize {
                assert_eq!(actual[n][1..], expected[n][1..], "all but W_1, sub-batch {n}");
                let range = n * 203 / sub_batches as usize..(n + 1) * 203 / sub_batches as usize;
                // |δ_1| is at most Σ |W_2| |p − y| / B ≤ 1/4 · 2 / B for each of B samples, and inputs are at most 3.
                let size = range.len() as f64;
                let bound = 2.0 * (size + 9.0) * f64::from(f32::EPSILON) * 0.5 * 3.0;
                for (k, (a, e)) in actual[n][0].iter().zip(&expected[n][0]).enumerate() {
                    let off = (f64::from(*a) - f64::from(*e)).abs();
                    assert!(off <= bound, "G_{n}[{k}] is {a:e}, of dense samples {e:e}");
                }
                assert!(actual[n][0].iter().any(|value| value.abs() > 1e-3));
            }
        }
    }
}

fn read(gpu: &Gpu, network: &Mlp, rows: &dualstep::engine::Tensor, row: u32, part: usize) -> Vec<f32> {
    gpu.read(&network.slab().part(rows, row, part).unwrap()).unwrap()
}

fn config(optimizer: Optimizer, batch: Option<u32>) -> TrainingConfig {
    TrainingConfig {
        model: Model::Mlp { hidden: vec![12] },
        seed: 5,
        batch,
        optimizer,
        ..TrainingConfig::default()
    }
}

fn optimizers() -> [Optimizer; 2] {
    let adam = FirstOrderConfig { learning_rate: 1e-2, ..FirstOrderConfig::pytorch(Method::Adam) };
    [Optimizer::FirstOrder(adam), Optimizer::Badm(BadmConfig::robust(4, 1e-2))]
}

/// Mini-batches are drawn dense, so that nothing differs from there on.
#[test]
fn mini_batches_are_those_of_dense_samples_bit_for_bit() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let texts = Texts::random(203);
    let dense = texts.dense();
    for optimizer in optimizers() {
        let run = |values| {
            let config = config(optimizer, Some(64));
            let mut training = Training::new(&gpu, &config, &texts.problem(values)).unwrap();
            training.run(9).unwrap();
            (training.finish().unwrap().len(), training.layers().unwrap())
        };
        assert_eq!(run(Rows::Sparse(&texts.entries)), run(Rows::Dense(&dense)), "{optimizer:?}");
    }
}

#[test]
fn full_batches_learn_without_waiting_and_repeat_bit_for_bit() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let texts = Texts::random(300);
    for optimizer in optimizers() {
        let run = || {
            let problem = texts.problem(Rows::Sparse(&texts.entries));
            let mut training = Training::new(&gpu, &config(optimizer, None), &problem).unwrap();
            let before = gpu.counters().host_waits;
            training.run(30).unwrap();
            assert_eq!(gpu.counters().host_waits, before);
            (training.finish().unwrap(), training.layers().unwrap())
        };
        let (records, layers) = run();
        assert_eq!(run(), (records.clone(), layers));
        assert!(records[29].train.cost < 0.5 * records[0].train.cost, "{optimizer:?}: {:?}", records[29]);
        assert_eq!(records[29].test, Some(records[29].train), "both are the same texts");
        assert!(records[29].train.accuracy > Some(0.9), "{optimizer:?}: {:?}", records[29]);
    }
}

/// The widest tensor is one of 12 columns, not of 70: bindings that would not hold the dense samples will do.
#[test]
fn small_bindings_hold_sparse_samples() {
    let options = GpuOptions { binding_limit: Some(16 << 10), ..GpuOptions::default() };
    let Some(gpu) = gpu::open(options) else { return };
    let texts = Texts::random(300);
    let dense = texts.dense();
    let new = |values| {
        let config = TrainingConfig { model: Model::Mlp { hidden: vec![12] }, ..TrainingConfig::default() };
        Training::new(&gpu, &config, &texts.problem(values))
    };
    assert!(matches!(new(Rows::Dense(&dense)), Err(Error::Limit { .. })));
    let mut training = new(Rows::Sparse(&texts.entries)).unwrap();
    training.run(2).unwrap();
    assert_eq!(training.finish().unwrap().len(), 2);
}

/// A forward pass alone, over several blocks and with the bits of one.
#[test]
fn scores_are_those_of_one_block() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let options = GpuOptions { binding_limit: Some(8 << 10), ..GpuOptions::default() };
    let Some(small) = gpu::open(options) else { return };
    let texts = Texts::random(300);
    let problem = texts.problem(Rows::Sparse(&texts.entries));
    let config = Config { hidden: vec![12], ..Config::default() };
    let widths = config.widths(&problem);
    let layers = dladmm::DlAdmm::new(&gpu, &config, &problem).unwrap().state().unwrap().layers;
    let score =
        |gpu: &Gpu, values| dladmm::evaluate(gpu, &config, &layers, &widths, &texts.samples(values)).unwrap();
    let (one, several) =
        (score(&gpu, Rows::Sparse(&texts.entries)), score(&small, Rows::Sparse(&texts.entries)));
    assert_eq!(one.accuracy, several.accuracy);
    // 300 samples' costs are summed by blocks here and there.
    assert!((one.cost - several.cost).abs() <= 300.0 * f32::EPSILON * one.cost, "{one:?} and {several:?}");
    let dense = score(&gpu, Rows::Dense(&texts.dense()));
    assert!((one.cost - dense.cost).abs() < 1e-4 * one.cost, "{one:?} and {dense:?}");
}

#[test]
fn what_is_wrong_is_named() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let refusal = |change: fn(&mut SparseRows)| {
        let mut texts = Texts::random(20);
        change(&mut texts.entries);
        let problem = texts.problem(Rows::Sparse(&texts.entries));
        let error = Training::new(&gpu, &TrainingConfig::default(), &problem).unwrap_err();
        assert!(matches!(error, Error::Samples { .. }));
        let message = error.to_string();
        assert_eq!(message.lines().count(), 1, "{message}");
        message
    };
    assert!(refusal(|rows| rows.values[3] = f32::INFINITY).contains("is inf; remove or repair it"));
    assert!(refusal(|rows| rows.columns[0] = 70).contains("has feature 70, but there are 70"));
    assert!(refusal(|rows| rows.columns.swap(0, 1)).contains("sample 0 do not ascend"));
    assert!(refusal(|rows| rows.push([])).contains("20 labels for 21 samples"));
    assert!(refusal(|rows| *rows = SparseRows::default()).contains("there must be some"));
}
