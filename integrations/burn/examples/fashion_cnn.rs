//! A small convolutional network on Fashion-MNIST, by BADM beside Adam and RMSProp, all for the same epochs.
//!
//! `cargo run --release -p dualstep-burn --example fashion_cnn`; with `-- --cpu` where there is no graphics card, with
//! `-- --data fashion-mnist` on all images (`cargo xtask data` fetches them).
//!
//! BADM cuts each batch into sub-batches and takes the gradient of each by itself; the others take that of the batch. Its
//! learning rate is 1/(ρ + σ) with ρ = σ, and its steps are as long as 1/σ, which is twice that: the others run at both.

#[path = "support/report.rs"]
mod report;
#[path = "support/training.rs"]
mod training;

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};
use clap::Parser;
use dualstep_burn::dualstep::data::{DataSource, Dataset, Split};
use dualstep_burn::{BadmConfig, FirstOrderConfig, Method, OptimizerConfig};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use report::{Report, spread};
use training::{Machine, Training};

/// Height and width of an image.
const SIDE: usize = 28;

/// Images that are classified at once where no gradient is taken.
const CHUNK: usize = 250;

/// Train a small convolutional network by BADM, Adam and RMSProp.
#[derive(Parser)]
struct Arguments {
    /// Images: `embedded`, `fashion-mnist`, `mnist`, or a folder of IDX files.
    #[arg(long, default_value = "embedded")]
    data: DataSource,
    /// Only the first so many training images.
    #[arg(long)]
    samples: Option<usize>,
    /// Times that each method sees all training images.
    #[arg(long, default_value_t = 10)]
    epochs: usize,
    /// Images of a step.
    #[arg(long, default_value_t = 128)]
    batch: usize,
    /// Parts of equal size that BADM cuts a batch into.
    #[arg(long, default_value_t = 8)]
    sub_batches: usize,
    /// 1/(ρ + σ) of BADM; the others run at this rate and at twice it.
    #[arg(long, default_value_t = 1e-3)]
    learning_rate: f64,
    /// Each seed draws parameters and the order of images.
    #[arg(long, value_delimiter = ',', default_value = "0,1,2")]
    seeds: Vec<u64>,
    /// Run the model on the processor.
    #[arg(long)]
    cpu: bool,
    /// Also write the table to this file.
    #[arg(long)]
    report: Option<PathBuf>,
}

/// Two convolutions with a maximum over squares of four after each, and a linear layer.
#[derive(Module, Debug)]
struct Network {
    first: Conv2d,
    second: Conv2d,
    pool: MaxPool2d,
    classifier: Linear,
}

impl Network {
    fn new(classes: usize, device: &Device) -> Self {
        // 28 pixels, less the border, halved: 13; and again: 5.
        let pool = MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init();
        Self {
            first: Conv2dConfig::new([1, 8], [3, 3]).init(device),
            second: Conv2dConfig::new([8, 16], [3, 3]).init(device),
            pool,
            classifier: LinearConfig::new(16 * 5 * 5, classes).init(device),
        }
    }

    /// A number for each class of each image.
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(relu(self.first.forward(images)));
        let x = self.pool.forward(relu(self.second.forward(x)));
        self.classifier.forward(x.flatten(1, 3))
    }

    fn loss(&self, batch: Batch) -> Tensor<1> {
        let device = batch.images.device();
        CrossEntropyLossConfig::new().init(&device).forward(self.forward(batch.images), batch.labels)
    }
}

/// Images and the class of each.
struct Batch {
    images: Tensor<4>,
    labels: Tensor<1, Int>,
}

impl Batch {
    fn new(pixels: &[f32], data: &Dataset, samples: &[usize], device: &Device) -> Self {
        let image = |&sample: &usize| &pixels[sample * SIDE * SIDE..][..SIDE * SIDE];
        let images: Vec<f32> = samples.iter().flat_map(image).copied().collect();
        let labels: Vec<i32> = samples.iter().map(|&sample| data.labels()[sample] as i32).collect();
        let shape = [samples.len(), 1, SIDE, SIDE];
        Self {
            images: Tensor::from_data(TensorData::new(images, shape), device),
            labels: Tensor::from_data(TensorData::new(labels, [samples.len()]), device),
        }
    }
}

/// Images as the network takes them.
struct Images {
    data: Dataset,
    pixels: Vec<f32>,
}

impl Images {
    fn new(data: Dataset) -> Result<Self, Box<dyn Error>> {
        if data.features() != SIDE * SIDE {
            return Err(format!("{}: images must have {SIDE} × {SIDE} pixels", data.name()).into());
        }
        let pixels = data.scaled_rows(0..data.len(), SIDE * SIDE)?;
        Ok(Self { data, pixels })
    }

    fn batch(&self, samples: &[usize], device: &Device) -> Batch {
        Batch::new(&self.pixels, &self.data, samples, device)
    }

    /// The share of images that are told right, and their mean loss.
    fn evaluate(&self, model: &Network, device: &Device) -> (f64, f64) {
        let model = model.valid();
        let samples: Vec<_> = (0..self.data.len()).collect();
        let (mut right, mut loss) = (0.0, 0.0);
        for chunk in samples.chunks(CHUNK) {
            let Batch { images, labels } = self.batch(chunk, device);
            let outputs = model.forward(images);
            let told = outputs.clone().argmax(1).flatten::<1>(0, 1).equal(labels.clone());
            right += told.int().sum().into_scalar::<i64>() as f64;
            let mean = CrossEntropyLossConfig::new().init(device).forward(outputs, labels);
            loss += mean.into_scalar::<f32>() as f64 * chunk.len() as f64;
        }
        (right / samples.len() as f64, loss / samples.len() as f64)
    }
}

/// An optimizer and how it is used.
struct Contender {
    name: String,
    config: Box<dyn OptimizerConfig>,
    learning_rate: f64,
    sub_batches: usize,
}

impl Contender {
    fn badm(sub_batches: usize, learning_rate: f64) -> Self {
        Self {
            name: format!("BADM, {sub_batches} sub-batches, 1/(ρ + σ) = {learning_rate}"),
            config: Box::new(BadmConfig::robust(sub_batches as u32, learning_rate)),
            learning_rate,
            sub_batches,
        }
    }

    fn first_order(name: &str, method: Method, learning_rate: f64) -> Self {
        let config = FirstOrderConfig { learning_rate, ..FirstOrderConfig::pytorch(method) };
        Self {
            name: format!("{name}, learning rate {learning_rate}"),
            config: Box::new(config),
            learning_rate,
            sub_batches: 1,
        }
    }

    fn all(sub_batches: usize, learning_rate: f64) -> Vec<Self> {
        vec![
            Self::badm(sub_batches, learning_rate),
            Self::first_order("Adam", Method::Adam, learning_rate),
            Self::first_order("Adam", Method::Adam, 2.0 * learning_rate),
            Self::first_order("RMSProp", Method::RmsProp, learning_rate),
            Self::first_order("RMSProp", Method::RmsProp, 2.0 * learning_rate),
        ]
    }
}

/// What a run comes to.
struct Outcome {
    accuracy: f64,
    training_loss: f64,
    seconds: f64,
}

struct Study {
    arguments: Arguments,
    machine: Machine,
    train: Images,
    test: Images,
}

impl Study {
    /// Trains a fresh network; the same seed gives all contenders the same parameters and batches.
    fn run(&self, contender: &Contender, seed: u64) -> Result<Outcome, Box<dyn Error>> {
        let device = self.machine.device();
        let classes = self.train.data.classes();
        let network = self.machine.model(seed, |device| Network::new(classes, device));
        let mut training = Training::new(&self.machine, network, contender.config.as_ref())?;
        let mut order: Vec<_> = (0..self.train.data.len()).collect();
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let mut seconds = 0.0;
        for _ in 0..self.arguments.epochs {
            order.shuffle(&mut generator);
            let begin = Instant::now();
            training = self.epoch(training, contender, &order)?;
            device.sync().map_err(|error| format!("burn: {error}"))?;
            // The last one counts, because Burn compiles and tunes kernels in the first.
            seconds = begin.elapsed().as_secs_f64();
        }
        let model = training.into_model()?;
        let (_, training_loss) = self.train.evaluate(&model, &device);
        let (accuracy, _) = self.test.evaluate(&model, &device);
        Ok(Outcome { accuracy: 100.0 * accuracy, training_loss, seconds })
    }

    /// A step for each whole batch; the few images left over come with the next epoch's order.
    fn epoch<'a>(
        &self,
        mut training: Training<'a, Network>,
        contender: &Contender,
        order: &[usize],
    ) -> Result<Training<'a, Network>, dualstep_burn::Error> {
        let device = self.machine.device().autodiff();
        for batch in order.chunks_exact(self.arguments.batch) {
            let parts = batch.chunks_exact(batch.len() / contender.sub_batches);
            let batches = parts.map(|samples| self.train.batch(samples, &device));
            training = training.step(contender.learning_rate, batches, Network::loss)?;
        }
        Ok(training)
    }

    fn conditions(&self) -> String {
        let Arguments { epochs, batch, seeds, .. } = &self.arguments;
        format!(
            "{}: {} training and {} test images, {} parameters, {epochs} epochs of batches of {batch}, seeds {seeds:?}; {}.",
            self.arguments.data,
            self.train.data.len(),
            self.test.data.len(),
            Network::new(self.train.data.classes(), &self.machine.device()).num_params(),
            self.machine.description(),
        )
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let Arguments { batch, sub_batches, learning_rate, .. } = arguments;
    if sub_batches == 0 || batch == 0 || !batch.is_multiple_of(sub_batches) {
        return Err(format!("{batch} images are not {sub_batches} parts of equal size").into());
    }
    let Split { mut train, test } = arguments.data.load()?;
    if let Some(samples) = arguments.samples {
        train = train.first(samples)?;
    }
    let machine = Machine::open(arguments.cpu)?;
    let study = Study { machine, train: Images::new(train)?, test: Images::new(test)?, arguments };
    let columns = ["method", "test accuracy, %", "training loss", "seconds an epoch"];
    let mut report = Report::new(&study.conditions(), &columns);
    for contender in Contender::all(sub_batches, learning_rate) {
        let (mut accuracies, mut losses, mut seconds) = (Vec::new(), Vec::new(), Vec::new());
        for &seed in &study.arguments.seeds {
            let outcome = study.run(&contender, seed)?;
            println!("{}, seed {seed}: {:.2} %", contender.name, outcome.accuracy);
            accuracies.push(outcome.accuracy);
            losses.push(outcome.training_loss);
            seconds.push(outcome.seconds);
        }
        let cells = [spread(&accuracies, 2), spread(&losses, 3), spread(&seconds, 1)];
        report.row(std::iter::once(contender.name).chain(cells));
    }
    report.publish(study.arguments.report.as_deref())
}
