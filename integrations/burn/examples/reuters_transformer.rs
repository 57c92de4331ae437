//! A transformer of two layers on Reuters R8, brought to 2:4 sparsity by N:M ADMM beside its rivals at equal steps.
//!
//! `cargo xtask data reuters` fetches the articles, then `cargo run --release -p dualstep-burn --example
//! reuters_transformer`; with `-- --cpu` where there is no graphics card.
//!
//! A network is trained from scratch by Adam. From it, all with the same batches and the same learning rates, falling
//! linearly to 0:
//!
//! - dense: Adam goes on;
//! - one-shot: of the weights of that, the largest of each group are kept, and nothing is trained after;
//! - masked: the largest weights of the network are kept, and those are trained;
//! - ADMM: weights are dense until the end and drawn towards the pattern while they are trained.
//!
//! Sparse are the matrices of queries, keys, values and outputs of attention and both feed-forward matrices of each layer,
//! along their inputs; embeddings, norms, biases and the head stay dense.

#[path = "support/articles.rs"]
mod articles;
#[path = "support/report.rs"]
mod report;
#[path = "support/training.rs"]
mod training;

/// Where data sets lie: the library's own file, so that both agree.
#[allow(dead_code)] // other sets
#[path = "../../../src/data/cache.rs"]
mod cache;

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use articles::{Articles, Batch, Batches, CLASSES, PADDING, Vocabulary};
use burn::module::{Module, ParamGroup};
use burn::nn::activation::ActivationConfig;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::transformer::{
    TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput, TransformerEncoderLayer,
};
use burn::nn::{
    Embedding, EmbeddingConfig, Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig, LinearLayout,
};
use burn::tensor::{Device, Int, Tensor};
use clap::Parser;
use dualstep_burn::{FirstOrderConfig, NmAdmmConfig, NmPattern, OptimizerConfig};
use report::{Report, spread};
use training::{Machine, Training};

/// Articles that are classified at once where no gradient is taken.
const CHUNK: usize = 199;

/// Train a small transformer and make it sparse.
#[derive(Parser)]
struct Arguments {
    /// The folder with the two files of articles, if not the one that `cargo xtask data reuters` makes.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Patterns, such as 2:4.
    #[arg(long, value_delimiter = ',', default_value = "2:4")]
    patterns: Vec<NmPattern>,
    /// Steps of Adam from scratch, before any sparsity.
    #[arg(long, default_value_t = 1000)]
    dense_steps: u32,
    /// Steps of each method after those.
    #[arg(long, default_value_t = 1000)]
    steps: u32,
    /// Articles of a step.
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// At the first step of each training.
    #[arg(long, default_value_t = 1e-3)]
    learning_rate: f64,
    /// The most frequent words of the training articles that are told apart.
    #[arg(long, default_value_t = 5000)]
    words: usize,
    /// Words of each article that are read.
    #[arg(long, default_value_t = 64)]
    length: usize,
    /// Each seed draws parameters and the order of articles.
    #[arg(long, value_delimiter = ',', default_value = "0,1,2")]
    seeds: Vec<u64>,
    /// Run the model on the processor.
    #[arg(long)]
    cpu: bool,
    /// Also write the table to this file.
    #[arg(long)]
    report: Option<PathBuf>,
}

const WIDTH: usize = 64;
const HEADS: usize = 4;
const FEED_FORWARD: usize = 128;
const LAYERS: usize = 2;

/// Words and their places in, a number for each class out.
#[derive(Module, Debug)]
struct Network {
    words: Embedding,
    places: Embedding,
    encoder: TransformerEncoder,
    norm: LayerNorm,
    head: Linear,
}

impl Network {
    fn new(words: usize, length: usize, device: &Device) -> Self {
        let places = Initializer::Normal { mean: 0.0, std: 0.1 };
        Self {
            words: EmbeddingConfig::new(words, WIDTH).init(device),
            places: EmbeddingConfig::new(length, WIDTH).with_initializer(places).init(device),
            encoder: encoder(device),
            norm: LayerNormConfig::new(WIDTH).init(device),
            head: LinearConfig::new(WIDTH, CLASSES.len()).init(device),
        }
    }

    /// Of the articles' words, one article a row.
    fn forward(&self, words: Tensor<2, Int>) -> Tensor<2> {
        let [articles, length] = words.dims();
        let padding = words.clone().equal_elem(PADDING);
        let places = Tensor::arange(0..length as i64, &words.device()).reshape([1, length]);
        let x = self.words.forward(words) + self.places.forward(places);
        let x = self.encoder.forward(TransformerEncoderInput::new(x).mask_pad(padding.clone()));
        // The mean over the words that are no padding.
        let padding = padding.reshape([articles, length, 1]);
        let counted = padding.clone().bool_not().float().sum_dim(1);
        let sum = self.norm.forward(x).mask_fill(padding.expand([articles, length, WIDTH]), 0.0).sum_dim(1);
        self.head.forward((sum / counted).reshape([articles, WIDTH]))
    }

    fn loss(&self, batch: Batch) -> Tensor<1> {
        let device = batch.words.device();
        CrossEntropyLossConfig::new().init(&device).forward(self.forward(batch.words), batch.labels)
    }

    /// Percent of articles that are told right.
    fn accuracy(&self, articles: &Articles, device: &Device) -> f64 {
        let model = self.valid();
        let right = |chunk: &[usize]| {
            let Batch { words, labels } = articles.batch(chunk, device);
            let told = model.forward(words).argmax(1).flatten::<1>(0, 1).equal(labels);
            told.int().sum().into_scalar::<i64>()
        };
        let all: Vec<_> = (0..articles.count()).collect();
        let right: i64 = all.chunks(CHUNK).map(right).sum();
        100.0 * right as f64 / all.len() as f64
    }

    /// The matrices that become sparse: the encoder has no others, and norms and biases are none.
    fn group() -> ParamGroup {
        ParamGroup::from_predicate("encoder")
    }

    /// Whether no output of a sparse matrix has more weights in a group of inputs than the pattern keeps.
    fn is_in(&self, pattern: NmPattern) -> bool {
        let mut matrices = self.encoder.layers.iter().flat_map(|layer| {
            let TransformerEncoderLayer { mha, pwff, .. } = layer;
            [&mha.query, &mha.key, &mha.value, &mha.output, &pwff.linear_inner, &pwff.linear_outer]
        });
        let (keep, group) = (pattern.keep() as usize, pattern.group() as usize);
        matrices.all(|matrix| {
            let outputs_first = matrix.weight.val().transpose().into_data();
            let weights: Vec<f32> = outputs_first.try_to_vec().expect("weights are f32");
            let kept = |group: &[f32]| group.iter().filter(|&&weight| weight != 0.0).count();
            weights.chunks(group).all(|group| kept(group) <= keep)
        })
    }
}

/// Burn's own, but that the weights of each output lie together, which groups along the inputs need.
fn encoder(device: &Device) -> TransformerEncoder {
    let config = TransformerEncoderConfig::new(WIDTH, FEED_FORWARD, HEADS, LAYERS);
    let config = config.with_dropout(0.0).with_norm_first(true).with_activation(ActivationConfig::Relu);
    let mut encoder = config.init(device);
    let matrix =
        |inputs, outputs| LinearConfig::new(inputs, outputs).with_layout(LinearLayout::Col).init(device);
    for TransformerEncoderLayer { mha, pwff, .. } in &mut encoder.layers {
        for linear in [&mut mha.query, &mut mha.key, &mut mha.value, &mut mha.output] {
            *linear = matrix(WIDTH, WIDTH);
        }
        pwff.linear_inner = matrix(WIDTH, FEED_FORWARD);
        pwff.linear_outer = matrix(FEED_FORWARD, WIDTH);
    }
    encoder
}

struct Study {
    arguments: Arguments,
    machine: Machine,
    words: usize,
    train: Articles,
    test: Articles,
}

/// Accuracies of all methods by one seed, in the order of the table.
type Accuracies = Vec<(String, f64)>;

impl Study {
    fn new(arguments: Arguments) -> Result<Self, Box<dyn Error>> {
        let known = || cache::folder().map(|folder| folder.join("reuters"));
        let folder =
            arguments.data.clone().or_else(known).ok_or("no home folder is known; name one by --data")?;
        let file = folder.join("reuters-r8-train.tab");
        let vocabulary = Vocabulary::new(&file, arguments.words)?;
        Ok(Self {
            machine: Machine::open(arguments.cpu)?,
            words: vocabulary.size(),
            train: Articles::new(&file, &vocabulary, arguments.length)?,
            test: Articles::new(&folder.join("reuters-r8-test.tab"), &vocabulary, arguments.length)?,
            arguments,
        })
    }

    fn network(&self, seed: u64) -> Network {
        let Self { words, arguments, .. } = self;
        self.machine.model(seed, |device| Network::new(*words, arguments.length, device))
    }

    /// Steps at a learning rate that falls linearly to 0.
    fn train<'a>(
        &self,
        mut training: Training<'a, Network>,
        steps: u32,
        seed: u64,
    ) -> Result<Training<'a, Network>, dualstep_burn::Error> {
        let device = self.machine.device().autodiff();
        let mut batches = Batches::new(&self.train, self.arguments.batch, seed);
        for step in 0..steps {
            let rate = self.arguments.learning_rate * (1.0 - f64::from(step) / f64::from(steps));
            training = training.step(rate, [batches.next(&device)], Network::loss)?;
        }
        Ok(training)
    }

    fn begin(
        &self,
        network: &Network,
        config: &dyn OptimizerConfig,
    ) -> Result<Training<'_, Network>, dualstep_burn::Error> {
        Training::new(&self.machine, network.clone(), config)
    }

    /// By Adam, without sparsity.
    fn dense(&self, network: &Network, steps: u32, seed: u64) -> Result<Network, dualstep_burn::Error> {
        let training = self.begin(network, &FirstOrderConfig::default())?;
        self.train(training, steps, seed)?.into_model()
    }

    /// Keeps the largest weights, and trains nothing after.
    fn one_shot(&self, network: &Network, pattern: NmPattern) -> Result<Network, dualstep_burn::Error> {
        let training = self.begin(network, &NmAdmmConfig::masked(pattern, Network::group()))?;
        // The optimizer meets the parameters in a step, which moves nothing at this learning rate.
        let batch =
            Batches::new(&self.train, self.arguments.batch, 0).next(&self.machine.device().autodiff());
        training.step(0.0, [batch], Network::loss)?.into_model()
    }

    /// Keeps the largest weights, and trains those.
    fn masked(
        &self,
        network: &Network,
        pattern: NmPattern,
        seed: u64,
    ) -> Result<Network, dualstep_burn::Error> {
        let training = self.begin(network, &NmAdmmConfig::masked(pattern, Network::group()))?;
        self.train(training, self.arguments.steps, seed)?.into_model()
    }

    /// By N:M ADMM.
    fn admm(
        &self,
        network: &Network,
        pattern: NmPattern,
        seed: u64,
    ) -> Result<Network, dualstep_burn::Error> {
        let steps = self.arguments.steps;
        let training = self.begin(network, &NmAdmmConfig::new(pattern, Network::group(), steps)?)?;
        self.train(training, steps, seed)?.finish()?.into_model()
    }

    /// All methods by one seed. Those after the first network see other batches than it did, and all the same.
    fn run(&self, seed: u64) -> Result<Accuracies, Box<dyn Error>> {
        let steps = self.arguments.steps;
        let first = self.dense(&self.network(seed), self.arguments.dense_steps, seed)?;
        let seed = seed + 1_000_000;
        let dense = self.dense(&first, steps, seed)?;
        let mut accuracies = Vec::new();
        self.add(&mut accuracies, "dense, before".into(), &first);
        self.add(&mut accuracies, "dense, the same steps".into(), &dense);
        for &pattern in &self.arguments.patterns {
            let one_shot = self.one_shot(&dense, pattern)?;
            let masked = self.masked(&first, pattern, seed)?;
            let admm = self.admm(&first, pattern, seed)?;
            let sparse = [("one-shot magnitude", one_shot), ("masked", masked), ("ADMM", admm)];
            for (name, network) in &sparse {
                assert!(network.is_in(pattern), "{name}: a group has more than {pattern} keeps");
                self.add(&mut accuracies, format!("{pattern}, {name}"), network);
            }
        }
        Ok(accuracies)
    }

    fn add(&self, accuracies: &mut Accuracies, name: String, network: &Network) {
        let accuracy = network.accuracy(&self.test, &self.machine.device());
        println!("{name}: {accuracy:.2} %");
        accuracies.push((name, accuracy));
    }

    fn conditions(&self) -> String {
        let Arguments { dense_steps, steps, batch, seeds, .. } = &self.arguments;
        format!(
            "Reuters R8: {} training and {} test articles, {} parameters, {dense_steps} steps from scratch and {steps} of \
             each method, batches of {batch}, seeds {seeds:?}; {}.",
            self.train.count(),
            self.test.count(),
            self.network(0).num_params(),
            self.machine.description(),
        )
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let study = Study::new(Arguments::parse())?;
    let mut report = Report::new(&study.conditions(), &["method", "test accuracy, %"]);
    let mut runs = Vec::new();
    for &seed in &study.arguments.seeds {
        let begin = Instant::now();
        println!("seed {seed}");
        runs.push(study.run(seed)?);
        println!("{:.0} seconds", begin.elapsed().as_secs_f64());
    }
    let Some(first) = runs.first() else { return Err("no seeds".into()) };
    for (row, (name, _)) in first.iter().enumerate() {
        let accuracies: Vec<_> = runs.iter().map(|run| run[row].1).collect();
        report.row([name.clone(), spread(&accuracies, 2)]);
    }
    report.publish(study.arguments.report.as_deref())
}
