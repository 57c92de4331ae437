//! Gradients of dense networks: against finite differences in float64, of sub-batches against batches of their own, and
//! good enough to learn from.

#[path = "support/differences.rs"]
mod differences;
#[path = "support/gpu.rs"]
mod gpu;

use differences::differences;
use dualstep::Error;
use dualstep::data::DataSource;
use dualstep::engine::{Gpu, GpuOptions, PlanBuilder, Shape, StorageType, Tensor};
use dualstep::kernels::batch::sub_batch_sizes;
use dualstep::kernels::reduce;
use dualstep::models::mlp::{Activation, Initial, Loss, Mlp, Targets};
use dualstep::solvers::badm::{Badm, BadmConfig, SubBatches};
use dualstep::solvers::first_order::{FirstOrder, FirstOrderConfig, Method};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Samples with their targets, for either loss.
#[derive(Clone)]
struct Batch {
    inputs: Vec<f32>,
    labels: Vec<u32>,
    values: Vec<f32>,
}

const WIDTHS: [u32; 4] = [5, 7, 6, 3];

impl Batch {
    fn random(samples: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = |count: usize| (0..count).map(|_| rng.random_range(-1.0f32..1.0)).collect::<Vec<_>>();
        let (inputs, values) = (draw(samples * WIDTHS[0] as usize), draw(samples * WIDTHS[3] as usize));
        let labels = (0..samples).map(|_| rng.random_range(0..WIDTHS[3])).collect();
        Self { inputs, labels, values }
    }

    fn part(&self, from: usize, to: usize) -> Self {
        let cut = |values: &[f32], width: u32| values[from * width as usize..to * width as usize].to_vec();
        Self {
            inputs: cut(&self.inputs, WIDTHS[0]),
            labels: self.labels[from..to].to_vec(),
            values: cut(&self.values, WIDTHS[3]),
        }
    }

    fn samples(&self) -> u32 {
        self.labels.len() as u32
    }

    /// Gradients on the device, a row for each sub-batch, by part: W_1, b_1, W_2 …
    fn gradients(&self, gpu: &Gpu, network: &Mlp, loss: Loss, w: &Tensor, rows: u32) -> Vec<Vec<Vec<f32>>> {
        let inputs = gpu.upload(Shape::new(self.samples(), WIDTHS[0]), &self.inputs).unwrap();
        let labels = gpu.upload_u32(Shape::vector(self.samples()), &self.labels).unwrap();
        let values = gpu.upload(Shape::new(self.samples(), WIDTHS[3]), &self.values).unwrap();
        let targets = match loss {
            Loss::CrossEntropy => Targets::Classes(&labels),
            Loss::Squared => Targets::Values(&values),
        };
        let gradients = gpu.zeros(network.slab().shape(rows), StorageType::F32).unwrap();
        let mut plan = PlanBuilder::new(gpu, "gradients");
        network.gradients(&mut plan, w, &inputs, targets, &gradients).unwrap();
        plan.finish().unwrap().run().unwrap();
        let parts = network.slab().shapes().count();
        let read = |row, part| gpu.read(&network.slab().part(&gradients, row, part).unwrap()).unwrap();
        (0..rows).map(|row| (0..parts).map(|part| read(row, part)).collect()).collect()
    }
}

/// The mean loss, from the formulas.
fn mean_loss(parameters: &[Vec<f64>], batch: &Batch, f: Activation, loss: Loss) -> f64 {
    let apply = |z: f64| match f {
        Activation::Relu => z.max(0.0),
        Activation::LeakyRelu { slope } => {
            if z > 0.0 {
                z
            } else {
                f64::from(slope) * z
            }
        }
        Activation::Sigmoid => 1.0 / (1.0 + (-z).exp()),
        Activation::Tanh => z.tanh(),
    };
    let inputs = batch.inputs.chunks_exact(WIDTHS[0] as usize);
    let values = batch.values.chunks_exact(WIDTHS[3] as usize);
    let total: f64 = inputs
        .zip(batch.labels.iter().zip(values))
        .map(|(input, (label, values))| {
            let mut a: Vec<f64> = input.iter().map(|x| f64::from(*x)).collect();
            for (l, layer) in parameters.chunks_exact(2).enumerate() {
                let rows = layer[0].chunks_exact(a.len()).zip(&layer[1]);
                let z = rows.map(|(row, b)| row.iter().zip(&a).map(|(w, a)| w * a).sum::<f64>() + b);
                a = z.map(|z| if l < 2 { apply(z) } else { z }).collect();
            }
            match loss {
                Loss::CrossEntropy => a.iter().map(|z| z.exp()).sum::<f64>().ln() - a[*label as usize],
                Loss::Squared => a.iter().zip(values).map(|(z, y)| (z - f64::from(*y)).powi(2) / 2.0).sum(),
            }
        })
        .sum();
    total / f64::from(batch.samples())
}

fn relative_error(actual: &[f32], expected: &[f64]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|it| it * it).sum::<f64>().sqrt();
    let distance = square(&mut actual.iter().zip(expected).map(|(a, e)| f64::from(*a) - e));
    distance / square(&mut expected.iter().copied())
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let all = Batch::random(11, 3);
    for f in Activation::KINDS {
        for loss in [Loss::CrossEntropy, Loss::Squared] {
            let network = Mlp::new(&WIDTHS, f, loss).unwrap();
            let initial = Initial::Normal { deviation: 0.5 };
            let w = network.parameters(&gpu, initial, 9).unwrap();
            let layers = initial.draw(&WIDTHS, 9).unwrap();
            let wide = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<_>>();
            let parameters: Vec<Vec<f64>> =
                layers.iter().flat_map(|layer| [wide(&layer.weights), wide(&layer.bias)]).collect();
            let rows = all.gradients(&gpu, &network, loss, &w, 3);
            let mut start = 0;
            for (row, size) in rows.iter().zip(sub_batch_sizes(all.samples(), 3)) {
                let batch = all.part(start, start + size as usize);
                start += size as usize;
                for (part, expected) in
                    differences(&parameters, |moved| mean_loss(moved, &batch, f, loss)).iter().enumerate()
                {
                    let error = relative_error(&row[part], expected);
                    assert!(error < 1e-5, "{f:?}, {loss:?}, sub-batch of {size}, part {part}: {error:e}");
                }
            }
        }
    }
}

/// A sub-batch's row is what a batch of its samples alone gives, bit for bit: nothing of one gets into another.
#[test]
fn sub_batches_are_batches_of_their_own() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let all = Batch::random(203, 1);
    let network = Mlp::new(&WIDTHS, Activation::Relu, Loss::CrossEntropy).unwrap();
    let w = network.parameters(&gpu, Initial::Torch, 4).unwrap();
    for sub_batches in [1u32, 4, 7, 203] {
        let rows = all.gradients(&gpu, &network, Loss::CrossEntropy, &w, sub_batches);
        let mut start = 0;
        for (n, size) in sub_batch_sizes(all.samples(), sub_batches).enumerate() {
            let alone = all.part(start, start + size as usize);
            start += size as usize;
            if n % 29 < 3 {
                let expected = alone.gradients(&gpu, &network, Loss::CrossEntropy, &w, 1);
                assert_eq!(rows[n], expected[0], "sub-batch {n} of {sub_batches}");
            }
        }
        assert_eq!(start, 203);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    assert!(matches!(Mlp::new(&[4], Activation::Relu, Loss::Squared), Err(Error::Setting { .. })));
    assert!(matches!(Mlp::new(&[4, 0, 2], Activation::Relu, Loss::Squared), Err(Error::Setting { .. })));
    let network = Mlp::new(&WIDTHS, Activation::Relu, Loss::CrossEntropy).unwrap();
    let w = network.parameters(&gpu, Initial::Keras, 0).unwrap();
    let refused = Initial::Normal { deviation: -1.0 }.draw(&WIDTHS, 0);
    assert!(matches!(refused, Err(Error::Setting { .. })));
    let inputs = gpu.zeros(Shape::new(4, 5), StorageType::F32).unwrap();
    let labels = gpu.upload_u32(Shape::vector(4), &[0, 1, 2, 0]).unwrap();
    let values = gpu.zeros(Shape::new(4, 3), StorageType::F32).unwrap();
    let record = |inputs: &Tensor, targets: Targets<'_>, rows: u32| {
        let gradients = gpu.zeros(network.slab().shape(rows), StorageType::F32).unwrap();
        let mut plan = PlanBuilder::new(&gpu, "refused");
        network.gradients(&mut plan, &w, inputs, targets, &gradients).map(|_| ())
    };
    assert!(record(&inputs, Targets::Classes(&labels), 4).is_ok());
    let five = record(&inputs, Targets::Classes(&labels), 5).unwrap_err();
    assert!(five.to_string().contains("4 samples cannot be cut into 5"), "{five}");
    assert!(matches!(record(&inputs, Targets::Values(&values), 1), Err(Error::Samples { .. })));
    let narrow = gpu.zeros(Shape::new(4, 6), StorageType::F32).unwrap();
    assert!(matches!(record(&narrow, Targets::Classes(&labels), 1), Err(Error::Shape { .. })));
}

/// Real images are learnt by Adam and by BADM, a recorded step at a time, without a wait.
#[test]
fn real_images_are_learnt() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let train = DataSource::Embedded.load().unwrap().train.first(400).unwrap();
    let inputs = gpu.upload(Shape::new(400, 784), &train.scaled_rows(0..400, 784).unwrap()).unwrap();
    let labels = gpu.upload_u32(Shape::vector(400), train.labels()).unwrap();
    let network = Mlp::new(&[784, 32, 10], Activation::Relu, Loss::CrossEntropy).unwrap();
    for rows in [1, 4] {
        let w = network.parameters(&gpu, Initial::Torch, 0).unwrap();
        let gradients = gpu.zeros(network.slab().shape(rows), StorageType::F32).unwrap();
        let totals = gpu.zeros(Shape::new(1, 4), StorageType::F32).unwrap();
        let status = gpu.zeros(Shape::vector(4), StorageType::U32).unwrap();
        let mut plan = PlanBuilder::new(&gpu, "step");
        let scores =
            network.gradients(&mut plan, &w, &inputs, Targets::Classes(&labels), &gradients).unwrap();
        let (partials, count, totals_ref, status) = (&scores.partials, scores.count, &totals, &status);
        let args = reduce::Totals { partials, count, totals: totals_ref, slot: 0, status, origin: 1 };
        reduce::totals(&mut plan, args).unwrap();
        match rows {
            1 => {
                let config =
                    FirstOrderConfig { learning_rate: 3e-3, ..FirstOrderConfig::pytorch(Method::Adam) };
                FirstOrder::new(&gpu, &config, &w).unwrap().record(&mut plan, &gradients).unwrap();
            }
            _ => {
                let badm = Badm::new(&gpu, &BadmConfig::robust(rows, 3e-3), &w).unwrap();
                badm.record(&mut plan, &SubBatches::even(&gradients)).unwrap();
            }
        }
        let plan = plan.finish().unwrap();
        let waits = gpu.counters().host_waits;
        let mut costs = Vec::new();
        plan.run().unwrap();
        costs.push(gpu.read(&totals).unwrap()[0] / 400.0);
        let waited = gpu.counters().host_waits;
        for _ in 0..60 {
            plan.run().unwrap();
        }
        assert_eq!(gpu.counters().host_waits, waited, "steps never wait");
        assert!(waited > waits, "reading does");
        costs.push(gpu.read(&totals).unwrap()[0] / 400.0);
        assert!((costs[0] - 10f32.ln()).abs() < 0.2, "an untrained network knows nothing: {costs:?}");
        assert!(costs[1] < 0.5, "{rows} sub-batches: {costs:?}");
    }
}
