//! Checkpoints: a run in one safetensors file, from which it goes on bit for bit.
//!
//! The command line saves and loads them; so may a host app. For each layer l, counted from 1, there are `W{l}` (width ×
//! previous width) and `b{l}` (width), of f32. Unless the file holds weights alone, there is more:
//!
//! | run | tensors |
//! |---|---|
//! | by dlADMM | `z{l}`, `P{l}` (samples × width), `a{l}` (the same, not for the last layer), `u` (samples × classes), of f32 |
//! | by gradients | `optimizer{k}`: moments, or duals and moments by turns, rows of all parameters in the type that they are stored in; `clock`, `cursor` and, of sparse weights, `sparse{k}`: words |
//!
//! All else is metadata, whose values are strings; [`save`] lists them. What always holds: a file is written whole or not at
//! all, the same run writes the same bytes, and a file that loads is complete, of the shapes that it states, and finite.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use safetensors::Dtype;

use crate::Error;
use crate::archive::{self, Archive, Stored};
use crate::files::write_atomically;
use crate::models::mlp::InitialLayer;
use crate::solvers::badm::{BadmConfig, StateStorage};
use crate::solvers::dladmm::{Config, HostLayer, HostState};
use crate::solvers::optimizer::Snapshot;
use crate::solvers::training::{Optimizer, TrainingConfig, TrainingState};

/// What the metadata calls a file of this kind.
const FORMAT: &str = "dualstep dladmm checkpoint";
/// The version of the format that is written, and the only one that is read.
const VERSION: &str = "1";

/// A run between two iterations.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The settings it was started with.
    pub config: Config,
    /// Widths of all layers, input and output included.
    pub widths: Vec<u32>,
    /// Training samples.
    pub samples: u32,
    /// Where the data came from, as `--data` takes it.
    pub data: String,
    /// Everything else an iteration depends on; of a run by gradients W and b alone.
    pub state: HostState,
    /// What an iteration by gradients depends on, if it is such a run and more than its weights is there.
    pub training: Option<TrainingState>,
}

impl Checkpoint {
    /// Of a run by gradients. `config` says what [`evaluate`](crate::solvers::dladmm::evaluate) has to know of it.
    pub fn of_training(training: TrainingState, widths: &[u32], data: String) -> Self {
        let TrainingConfig { activation, loss, seed, .. } = training.config;
        let hidden = widths[1..widths.len() - 1].to_vec();
        let config = Config { hidden, activation, loss, seed, ..Config::default() };
        let layer = |layer: &InitialLayer| HostLayer {
            weights: layer.weights.clone(),
            bias: layer.bias.clone(),
            ..HostLayer::default()
        };
        let layers = training.layers.iter().map(layer).collect();
        let state = HostState { iteration: training.iteration, ..HostState::at_start(&config, layers) };
        let samples = training.samples;
        Self { config, widths: widths.to_vec(), samples, data, state, training: Some(training) }
    }

    /// Weights and biases alone: small, and enough to evaluate.
    pub fn weights_alone(self) -> Self {
        Self { state: self.state.weights_alone(), training: None, ..self }
    }
}

/// Writes a checkpoint, whole or not at all.
///
/// # Errors
/// [`Error::Io`] when the file cannot be written.
pub fn save(path: &Path, checkpoint: &Checkpoint) -> Result<(), Error> {
    let Checkpoint { config, widths, samples, data, state, training } = checkpoint;
    let widths: Vec<String> = widths.iter().map(u32::to_string).collect();
    // Rust prints the shortest digits that read back as the same float.
    let mut metadata = BTreeMap::from([
        ("format", FORMAT.to_owned()),
        ("format_version", VERSION.to_owned()),
        ("dualstep_version", env!("CARGO_PKG_VERSION").to_owned()),
        // A struct of numbers, strings and lists always has a JSON form.
        ("config", serde_json::to_string(config).expect("JSON of plain settings")),
        ("widths", widths.join(",")),
        ("samples", samples.to_string()),
        ("data", data.clone()),
        ("iteration", state.iteration.to_string()),
        ("rho", state.rho.to_string()),
        ("nu", state.nu.to_string()),
        ("tau_0", state.tau_0.to_string()),
        ("theta_0", state.theta_0.to_string()),
        ("cost", state.cost.to_string()),
        ("rises", state.rises.to_string()),
    ]);
    if let Some(TrainingState { config, optimizer, sparse, .. }) = training {
        metadata.insert("training", serde_json::to_string(config).expect("JSON of plain settings"));
        metadata.insert("optimizer_tensors", optimizer.tensors.len().to_string());
        metadata.insert("sparse_tensors", sparse.len().to_string());
    }
    let tensors = tensors(checkpoint);
    write_atomically(path, |out| archive::write(out, &metadata, &tensors))
}

/// The tensors of a checkpoint with their names and shapes; those the state does not hold are left out.
fn tensors(checkpoint: &Checkpoint) -> Vec<Stored<'_>> {
    let samples = checkpoint.samples as usize;
    let mut tensors = Vec::new();
    let mut add = |name: String, shape: Vec<usize>, values| {
        if !<[f32]>::is_empty(values) {
            tensors.push(Stored::floats(name, shape, values));
        }
    };
    for (l, (layer, sizes)) in checkpoint.state.layers.iter().zip(checkpoint.widths.windows(2)).enumerate() {
        let (l, inputs, width) = (l + 1, sizes[0] as usize, sizes[1] as usize);
        add(format!("W{l}"), vec![width, inputs], &layer.weights);
        add(format!("b{l}"), vec![width], &layer.bias);
        add(format!("z{l}"), vec![samples, width], &layer.z);
        add(format!("a{l}"), vec![samples, width], &layer.activation);
        add(format!("P{l}"), vec![samples, width], &layer.product);
    }
    let classes = checkpoint.widths.last().map_or(0, |&width| width as usize);
    add("u".into(), vec![samples, classes], &checkpoint.state.dual);
    add("ridge".into(), vec![checkpoint.state.layers.len()], &checkpoint.state.ridge);
    if let Some(TrainingState { config, optimizer, cursor, sparse, .. }) = &checkpoint.training {
        tensors.extend(lists("optimizer", stored_type(config), &optimizer.tensors));
        tensors.push(Stored::list("clock".into(), Dtype::U32, &optimizer.clock));
        tensors.push(Stored::list("cursor".into(), Dtype::U32, cursor));
        tensors.extend(lists("sparse", Dtype::U32, sparse));
    }
    tensors
}

/// Lists of words, numbered from 1.
fn lists<'a>(name: &str, dtype: Dtype, lists: &'a [Vec<u32>]) -> impl Iterator<Item = Stored<'a>> {
    lists.iter().zip(1..).map(move |(words, k): (_, u32)| Stored::list(format!("{name}{k}"), dtype, words))
}

/// What an optimizer's state is stored as.
fn stored_type(config: &TrainingConfig) -> Dtype {
    match config.optimizer {
        Optimizer::FirstOrder(_) | Optimizer::Badm(BadmConfig { storage: StateStorage::F32, .. }) => {
            Dtype::F32
        }
        Optimizer::Badm(BadmConfig { storage: StateStorage::Bf16, .. }) => Dtype::BF16,
        Optimizer::Badm(BadmConfig { storage: StateStorage::F16, .. }) => Dtype::F16,
    }
}

/// Reads and checks a checkpoint.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read; [`Error::Checkpoint`] when it is cut short, not a checkpoint of this
/// crate, or lacks a tensor, or one is not of the type or shape that the metadata asks for, or not finite.
pub fn load(path: &Path) -> Result<Checkpoint, Error> {
    archive::read(path, parse)
}

fn parse(bytes: &[u8]) -> Result<Checkpoint, String> {
    let archive = Archive::open(bytes)?;
    if archive.text("format") != Some(FORMAT) {
        return Err(
            "not a checkpoint of dualstep; give a file that `dualstep train --checkpoint` wrote".into()
        );
    }
    let version = text(&archive, "format_version")?;
    if version != VERSION {
        return Err(format!(
            "format version {version} but this program reads {VERSION}; use the program that wrote it"
        ));
    }
    let config: Config = serde_json::from_str(text(&archive, "config")?)
        .map_err(|error| format!("metadata `config` is damaged: {error}; use another checkpoint"))?;
    config
        .check()
        .map_err(|error| format!("metadata `config` is damaged: {error}; use another checkpoint"))?;
    let widths = widths(&archive, &config)?;
    let samples = number(&archive, "samples")?;
    let state = state(&archive, &widths, samples)?;
    Ok(Checkpoint {
        data: text(&archive, "data")?.to_owned(),
        training: training(&archive, &state, samples)?,
        state,
        config,
        widths,
        samples,
    })
}

/// The rest of a run by gradients, if that is there.
fn training(archive: &Archive<'_>, state: &HostState, samples: u32) -> Result<Option<TrainingState>, String> {
    let Some(config) = archive.text("training") else { return Ok(None) };
    let config: TrainingConfig = serde_json::from_str(config)
        .map_err(|error| format!("metadata `training` is damaged: {error}; use another checkpoint"))?;
    let lists = |name: &str, dtype| {
        let count: usize = number(archive, &format!("{name}_tensors"))?;
        (1..=count).map(|k| archive.list(&format!("{name}{k}"), dtype)).collect::<Result<_, String>>()
    };
    let layer = |layer: &HostLayer| InitialLayer { weights: layer.weights.clone(), bias: layer.bias.clone() };
    Ok(Some(TrainingState {
        samples,
        iteration: state.iteration,
        layers: state.layers.iter().map(layer).collect(),
        optimizer: Snapshot {
            clock: archive.list("clock", Dtype::U32)?,
            tensors: lists("optimizer", stored_type(&config))?,
        },
        cursor: archive.list("cursor", Dtype::U32)?,
        sparse: lists("sparse", Dtype::U32)?,
        config,
    }))
}

/// The widths, which must be those of the settings between an input and an output.
fn widths(archive: &Archive<'_>, config: &Config) -> Result<Vec<u32>, String> {
    let listed = text(archive, "widths")?;
    let widths: Option<Vec<u32>> =
        listed.split(',').map(|width| width.parse().ok().filter(|&width| width > 0)).collect();
    match widths {
        Some(widths)
            if widths.len() == config.hidden.len() + 2 && widths[1..widths.len() - 1] == config.hidden =>
        {
            Ok(widths)
        }
        _ => Err(format!("metadata `widths` is {listed:?} but the hidden layers are {:?}", config.hidden)),
    }
}

fn state(archive: &Archive<'_>, widths: &[u32], samples: u32) -> Result<HostState, String> {
    let whole = archive.holds("u");
    let samples = samples as usize;
    let last = widths.len() - 1;
    let layer = |l: usize| {
        let (inputs, width) = (widths[l - 1] as usize, widths[l] as usize);
        let side = |name: &str, present: bool| match present {
            true => archive.floats(&format!("{name}{l}"), &[samples, width]),
            false => Ok(Vec::new()),
        };
        Ok::<_, String>(HostLayer {
            weights: archive.floats(&format!("W{l}"), &[width, inputs])?,
            bias: archive.floats(&format!("b{l}"), &[width])?,
            z: side("z", whole)?,
            activation: side("a", whole && l < last)?,
            product: side("P", whole)?,
        })
    };
    Ok(HostState {
        layers: (1..=last).map(layer).collect::<Result<_, _>>()?,
        dual: if whole { archive.floats("u", &[samples, widths[last] as usize])? } else { Vec::new() },
        iteration: number(archive, "iteration")?,
        rho: number(archive, "rho")?,
        nu: number(archive, "nu")?,
        tau_0: number(archive, "tau_0")?,
        theta_0: number(archive, "theta_0")?,
        cost: number(archive, "cost")?,
        rises: number(archive, "rises")?,
        ridge: if archive.holds("ridge") { archive.floats("ridge", &[last])? } else { Vec::new() },
    })
}

fn text<'a>(archive: &'a Archive<'_>, key: &str) -> Result<&'a str, String> {
    archive.text(key).ok_or_else(|| format!("metadata `{key}` is missing; use another checkpoint"))
}

fn number<T: FromStr>(archive: &Archive<'_>, key: &str) -> Result<T, String> {
    let text = text(archive, key)?;
    text.parse()
        .map_err(|_| format!("metadata `{key}` is {text:?}, which is no such number; use another checkpoint"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::solvers::dladmm::{Activation, Loss, Penalty, Steps};

    /// A state of 2 samples in a 3-2-2 network, its values all different.
    fn checkpoint() -> Checkpoint {
        let mut next = 0.0;
        let mut draw = |count: usize| {
            let values: Vec<f32> = (0..count).map(|k| next + k as f32 / 3.0).collect();
            next += 100.0;
            values
        };
        let mut layer = |inputs: usize, hidden: bool| HostLayer {
            weights: draw(2 * inputs),
            bias: draw(2),
            z: draw(4),
            activation: if hidden { draw(4) } else { Vec::new() },
            product: draw(4),
        };
        let layers = vec![layer(3, true), layer(2, false)];
        let config = Config { hidden: vec![2], rho: 0.1, ..Config::default() };
        let state = HostState {
            dual: vec![f32::MIN_POSITIVE / 2.0, -0.0, 1.0 / 3.0, 4.0],
            iteration: 7,
            cost: 0.7,
            rises: 2,
            ridge: vec![0.25, 0.5],
            ..HostState::at_start(&config, layers)
        };
        let data = "embedded".into();
        Checkpoint { config, widths: vec![3, 2, 2], samples: 2, data, state, training: None }
    }

    /// The same network in training by BADM with duals in bf16, two of them in each word.
    fn of_training() -> Checkpoint {
        let badm = BadmConfig { storage: StateStorage::Bf16, ..BadmConfig::robust(2, 1e-3) };
        let layer = |HostLayer { weights, bias, .. }| InitialLayer { weights, bias };
        let training = TrainingState {
            config: TrainingConfig {
                optimizer: Optimizer::Badm(badm),
                batch: Some(1),
                ..TrainingConfig::default()
            },
            samples: 2,
            iteration: 9,
            layers: checkpoint().state.layers.into_iter().map(layer).collect(),
            optimizer: Snapshot {
                clock: vec![1, u32::MAX, 0],
                tensors: vec![vec![0x3f80_c040, 0x8000_0001], vec![0x0001_3f80, 0]],
            },
            cursor: vec![1, 4, 7, 9],
            sparse: vec![vec![5; 4], vec![6]],
        };
        Checkpoint::of_training(training, &[3, 2, 2], "embedded".into())
    }

    fn bytes_of(checkpoint: &Checkpoint) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.safetensors");
        save(&path, checkpoint).unwrap();
        std::fs::read(path).unwrap()
    }

    /// The file of `checkpoint()` with its header edited.
    fn edited(edit: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        edited_of(&checkpoint(), edit)
    }

    fn edited_of(checkpoint: &Checkpoint, edit: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        let bytes = bytes_of(checkpoint);
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let mut header = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        edit(&mut header);
        let header = serde_json::to_vec(&header).unwrap();
        [&(header.len() as u64).to_le_bytes(), &header[..], &bytes[8 + length..]].concat()
    }

    #[test]
    fn what_is_saved_is_loaded_bit_for_bit() {
        let mut saved = checkpoint();
        saved.config.steps = Steps::LineSearch;
        let loaded = parse(&bytes_of(&saved)).unwrap();
        assert_eq!(loaded, saved);
        assert!(loaded.state.dual[1].is_sign_negative());
        assert_eq!(bytes_of(&saved), bytes_of(&loaded));
    }

    #[test]
    fn a_file_from_before_there_were_choices_is_of_the_first() {
        let mut saved = checkpoint();
        saved.config.activation = Activation::LeakyRelu { slope: 0.1 };
        saved.config.loss = Loss::Squared;
        saved.config.penalty = Penalty::L2 { lambda: 1e-4 };
        saved.config.steps = Steps::Quadratic;
        assert_eq!(parse(&bytes_of(&saved)).unwrap(), saved);
        let older = edited(|header| {
            let config = &mut header["__metadata__"]["config"];
            let mut settings: serde_json::Value = serde_json::from_str(config.as_str().unwrap()).unwrap();
            for setting in ["activation", "loss", "penalty", "steps", "acceleration"] {
                settings.as_object_mut().unwrap().remove(setting).unwrap();
            }
            *config = settings.to_string().into();
        });
        let mut first = checkpoint();
        first.config.steps = Steps::Quadratic;
        assert_eq!(parse(&older).unwrap(), first);
    }

    #[test]
    fn a_file_of_weights_alone_loads() {
        let mut saved = checkpoint();
        saved.state.dual.clear();
        for layer in &mut saved.state.layers {
            *layer = HostLayer {
                weights: layer.weights.clone(),
                bias: layer.bias.clone(),
                ..HostLayer::default()
            };
        }
        assert_eq!(parse(&bytes_of(&saved)).unwrap(), saved);
    }

    #[test]
    fn a_training_by_gradients_is_loaded_bit_for_bit() {
        let saved = of_training();
        let bytes = bytes_of(&saved);
        assert_eq!(parse(&bytes).unwrap(), saved);
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let moments = tensors.tensor("optimizer2").unwrap();
        assert_eq!(
            (moments.dtype(), moments.shape(), &moments.data()[..2]),
            (Dtype::BF16, &[4][..], &[0x80, 0x3f][..])
        );
        let weights = saved.clone().weights_alone();
        assert_eq!((&weights.training, &weights.state), (&None, &saved.state));
        assert_eq!(parse(&bytes_of(&weights)).unwrap(), weights);
    }

    #[test]
    fn what_is_wrong_with_a_training_is_named() {
        let set = |key: &'static str, value: &'static str| {
            edited_of(&of_training(), move |header| header["__metadata__"][key] = value.into())
        };
        let typed = edited_of(&of_training(), |header| header["optimizer1"]["dtype"] = "F16".into());
        let mut spoilt = of_training();
        spoilt.training.as_mut().unwrap().optimizer.tensors[1][1] = 0x7f80;
        let cases = [
            (set("training", "{}"), "metadata `training` is damaged"),
            (set("optimizer_tensors", "3"), "tensor `optimizer3` is missing"),
            (set("sparse_tensors", "x"), "metadata `sparse_tensors` is \"x\""),
            (typed, "tensor `optimizer1` is 4 f16; by the metadata it must be 4 bf16"),
            (bytes_of(&spoilt), "tensor `optimizer2` holds a number that is not finite in word 1"),
        ];
        for (bytes, expected) in cases {
            let message = parse(&bytes).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn the_safetensors_crate_reads_it() {
        let bytes = bytes_of(&checkpoint());
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(tensors.tensor("W1").unwrap().shape(), [2, 3]);
        assert_eq!(tensors.len(), 11);
    }

    #[test]
    fn every_cut_is_refused() {
        let bytes = bytes_of(&checkpoint());
        for length in 0..bytes.len() {
            let message = parse(&bytes[..length]).unwrap_err();
            assert!(message.ends_with("copy it again"), "cut to {length}: {message}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let set = |key: &'static str, value: &'static str| {
            edited(move |header| header["__metadata__"][key] = value.into())
        };
        let cases = [
            (set("format", "pt"), "not a checkpoint of dualstep"),
            (set("format_version", "2"), "format version 2 but this program reads 1"),
            (set("widths", "3,4,2"), "metadata `widths` is \"3,4,2\" but the hidden layers are [2]"),
            (set("widths", "3,2,0"), "metadata `widths`"),
            (set("widths", "4,2,2"), "tensor `W1` is 2 × 3 f32; by the metadata it must be 2 × 4 f32"),
            (set("samples", "3"), "tensor `z1` is 2 × 2 f32; by the metadata it must be 3 × 2 f32"),
            (set("rises", "-1"), "metadata `rises` is \"-1\""),
            (set("config", "{}"), "metadata `config` is damaged"),
            (edited(|header| header["W2"]["dtype"] = "I32".into()), "tensor `W2` is 2 × 2 i32"),
            (
                edited(|header| drop(header.as_object_mut().unwrap().remove("__metadata__"))),
                "not a checkpoint",
            ),
        ];
        for (bytes, expected) in cases {
            let message = parse(&bytes).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_missing_tensor_is_named() {
        let mut partial = checkpoint();
        partial.state.layers[0].product.clear();
        assert_eq!(parse(&bytes_of(&partial)).unwrap_err(), "tensor `P1` is missing; use another file");
    }

    #[test]
    fn values_that_are_not_finite_are_refused() {
        let mut spoilt = checkpoint();
        spoilt.state.layers[1].bias[1] = f32::NAN;
        assert_eq!(parse(&bytes_of(&spoilt)).unwrap_err(), "tensor `b2` holds NaN at element 1");
    }
}
