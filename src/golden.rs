//! Reader of golden traces: recorded runs of an algorithm in float64 that a device run is compared with.
//!
//! `dualstep parity` and the tests call [`read`]. The format is in `tests/golden/README.md`. What comes back has
//! been checked whole: every tensor is there, of the stated type and shape, finite, and every number of the metadata
//! is in its range. Anything else is an [`Error::Checkpoint`] of one line; no file makes the reader panic.

use std::path::Path;

use safetensors::Dtype;

use crate::Error;
use crate::archive::{self, Archive, words};
use crate::reference::{Matrix, linalg};

/// Inputs of the networks of dlADMM traces.
const INPUTS: usize = 784;
/// Classes of the networks of dlADMM traces.
const CLASSES: usize = 10;
/// Layers of the networks of dlADMM traces.
const LAYERS: usize = 3;
/// Backtracked steps of one sweep of a dlADMM trace.
pub const EXPONENTS: usize = 10;
/// Columns of the tensor `metrics` of a dlADMM trace.
const METRICS: usize = 7;
/// The kinds of trace that the format knows.
const KINDS: [&str; 4] = ["dladmm", "badm", "nm_admm", "first_order"];

/// A golden trace of any kind.
#[derive(Debug, Clone)]
pub enum Trace {
    /// A run of dlADMM.
    DlAdmm(Box<DlAdmmTrace>),
    /// Steps of BADM on given gradients.
    Badm(Box<BadmTrace>),
    /// Steps of first-order methods on given gradients.
    FirstOrder(Box<FirstOrderTrace>),
    /// Updates of N:M ADMM on given weights.
    Nm(Box<NmTrace>),
}

/// A run of dlADMM on real images; network 784-n-n-10, constant penalties.
#[derive(Debug, Clone)]
pub struct DlAdmmTrace {
    /// How the run was made.
    pub settings: DlAdmmSettings,
    /// Pixels, 784 for each sample, one sample after another. The network's input is pixel / 255.
    pub images: Vec<u8>,
    /// The class of each sample, below 10.
    pub labels: Vec<u32>,
    /// W and b of each layer before the first iteration; z and a follow by a forward pass, except that z_3 is +1 at
    /// the label and −1 elsewhere; u = 0.
    pub initial: Vec<Layer>,
    /// The recorded iterations, ascending.
    pub states: Vec<State>,
    /// One for each iteration.
    pub metrics: Vec<Metrics>,
    /// Doublings of each backtracked step of each iteration, in the order of the sweep:
    /// W3 a2 W2 a1 W1, then W1 a1 W2 a2 W3.
    pub exponents: Vec<[u32; EXPONENTS]>,
}

/// How a dlADMM trace was made.
#[derive(Debug, Clone, PartialEq)]
pub struct DlAdmmSettings {
    /// The name of the images, as the file gives it.
    pub dataset: String,
    /// N.
    pub samples: usize,
    /// Width n of both hidden layers.
    pub hidden: usize,
    /// K.
    pub iterations: usize,
    /// ρ.
    pub rho: f64,
    /// ν.
    pub nu: f64,
    /// τ₀, the first trial curvature of a steps.
    pub tau_base: f64,
    /// θ₀, the first trial curvature of W steps.
    pub theta_base: f64,
    /// Iterations of FISTA in each step of z_3.
    pub fista_iterations: usize,
    /// η of FISTA.
    pub fista_eta: f64,
}

/// W and b of one layer.
#[derive(Debug, Clone)]
pub struct Layer {
    /// n_l × n_{l−1}.
    pub weight: Matrix,
    /// One row.
    pub bias: Matrix,
}

/// What was recorded after one iteration.
#[derive(Debug, Clone)]
pub struct State {
    /// Counted from 1.
    pub iteration: usize,
    /// W and b of each layer.
    pub layers: Vec<Layer>,
    /// The dual, samples × 10.
    pub u: Matrix,
    /// z and a, where they were recorded.
    pub variables: Option<Variables>,
}

/// The sample-side variables of one iteration.
#[derive(Debug, Clone)]
pub struct Variables {
    /// z_1, z_2, z_3, each samples × features.
    pub z: Vec<Matrix>,
    /// a_1, a_2, each samples × features.
    pub a: Vec<Matrix>,
}

/// What was measured after one iteration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metrics {
    /// The augmented Lagrangian, with the new dual.
    pub objective: f64,
    /// Σ of the cross-entropy at z_3.
    pub loss: f64,
    /// ‖z_l − W_l a_{l−1} − b_l‖² of each layer.
    pub residual_squares: [f64; LAYERS],
    /// Share of samples that the forward pass classifies rightly, 0 … 1.
    pub train_accuracy: f64,
    /// Mean cross-entropy of the forward pass.
    pub train_cost: f64,
}

/// Steps of BADM on given gradients: the paper's equations evaluated to the letter.
#[derive(Debug, Clone)]
pub struct BadmTrace {
    /// How the run was made.
    pub settings: BadmSettings,
    /// The parameters before the first step, one row; duals start at 0.
    pub start: Matrix,
    /// Of each step, a row of gradients for each sub-batch.
    pub gradients: Vec<Matrix>,
    /// α_bn/α_b of each sub-batch.
    pub weights: Vec<f64>,
    /// The parameters after the last step, one row.
    pub w: Matrix,
    /// The duals after the last step, a row for each sub-batch.
    pub pi: Matrix,
    /// The second moments after the last step, a row for each sub-batch.
    pub m: Matrix,
}

/// How a BADM trace was made.
#[derive(Debug, Clone, PartialEq)]
pub struct BadmSettings {
    /// T.
    pub steps: usize,
    /// S.
    pub sub_batches: usize,
    /// P.
    pub parameters: usize,
    /// ρ.
    pub rho: f64,
    /// σ.
    pub sigma: f64,
    /// β.
    pub beta: f64,
    /// What second moments start at.
    pub initial_moment: f64,
    /// Added to the root of a second moment.
    pub epsilon: f64,
    /// Whether steps are divided by that.
    pub second_moment: bool,
    /// Whether second moments are corrected for starting at zero.
    pub bias_correction: bool,
}

/// Steps of first-order methods on given gradients, as PyTorch takes them.
#[derive(Debug, Clone)]
pub struct FirstOrderTrace {
    /// The parameters before the first step, one row.
    pub start: Matrix,
    /// Of each step, one row.
    pub gradients: Vec<Matrix>,
    /// Each method's settings and result.
    pub methods: Vec<MethodTrace>,
}

/// What one first-order method made of the gradients.
#[derive(Debug, Clone)]
pub struct MethodTrace {
    /// As the file calls it.
    pub name: String,
    /// Its settings by the file's words for them, such as `lr`; numbers without a word are called `beta`.
    pub settings: Vec<(String, f64)>,
    /// The parameters after the last step, one row.
    pub w: Matrix,
}

/// Updates of N:M ADMM on given weights: Z = Π(W + U), U ← U + W − Z, from U = 0.
#[derive(Debug, Clone)]
pub struct NmTrace {
    /// Weights that stay of each group.
    pub keep: usize,
    /// Weights of a group.
    pub group: usize,
    /// The least gap between a kept and a dropped magnitude.
    pub smallest_margin: f64,
    /// The weights before the first update, then those of each.
    pub weights: Vec<Matrix>,
    /// What the projection of the first weights keeps, row by row.
    pub first_mask: Vec<bool>,
    /// Z after the last update.
    pub z: Matrix,
    /// U after the last update.
    pub u: Matrix,
    /// What the last update keeps, row by row.
    pub last_mask: Vec<bool>,
    /// Of each update, entries of the mask that changed.
    pub flips: Vec<u32>,
}

impl DlAdmmTrace {
    /// The network's input, pixel / 255, samples × 784.
    pub fn inputs(&self) -> Matrix {
        Matrix::new(
            self.settings.samples,
            INPUTS,
            self.images.iter().map(|&pixel| f64::from(pixel) / 255.0).collect(),
        )
    }
}

/// Reads and checks a trace.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read; [`Error::Checkpoint`] if it is not a golden trace, naming the first
/// thing that is wrong with it.
pub fn read(path: &Path) -> Result<Trace, Error> {
    archive::read(path, parse)
}

/// [`read`] of a file in memory; an error is the detail of an [`Error::Checkpoint`].
fn parse(bytes: &[u8]) -> Result<Trace, String> {
    let archive = Archive::open(bytes)?;
    match archive.text("kind") {
        None | Some("dladmm") => Ok(Trace::DlAdmm(Box::new(read_dladmm(&archive)?))),
        Some("badm") => Ok(Trace::Badm(Box::new(read_badm(&archive)?))),
        Some("first_order") => Ok(Trace::FirstOrder(Box::new(read_first_order(&archive)?))),
        Some("nm_admm") => Ok(Trace::Nm(Box::new(read_nm(&archive)?))),
        Some(kind) => Err(format!("metadata `kind` is {kind:?}; the format knows {}", KINDS.join(", "))),
    }
}

fn read_dladmm(archive: &Archive<'_>) -> Result<DlAdmmTrace, String> {
    let settings = DlAdmmSettings {
        dataset: archive.text("dataset").ok_or_else(|| missing_metadata("dataset"))?.to_owned(),
        samples: archive.count("samples")?,
        hidden: archive.count("hidden")?,
        iterations: archive.count("iterations")?,
        rho: archive.positive("rho")?,
        nu: archive.positive("nu")?,
        tau_base: archive.positive("tau0")?,
        theta_base: archive.positive("theta0")?,
        fista_iterations: archive.count("fista_iterations")?,
        fista_eta: archive.positive("fista_eta")?,
    };
    let last = settings.iterations;
    let mut recorded: Vec<usize> = [1, 2, 5, last].into_iter().filter(|&k| k <= last).collect();
    recorded.dedup();
    Ok(DlAdmmTrace {
        images: archive.bytes("x", Dtype::U8, &[settings.samples, INPUTS])?.to_vec(),
        labels: read_labels(archive, settings.samples)?,
        initial: read_layers(archive, settings.hidden, 0, Dtype::F32)?,
        states: recorded.into_iter().map(|k| read_state(archive, &settings, k)).collect::<Result<_, _>>()?,
        metrics: read_metrics(archive, last)?,
        exponents: read_exponents(archive, last)?,
        settings,
    })
}

fn read_labels(archive: &Archive<'_>, samples: usize) -> Result<Vec<u32>, String> {
    let labels = archive.integers("labels", &[samples])?;
    let class = |(sample, &label): (usize, &i32)| {
        let class = u32::try_from(label).ok().filter(|&class| (class as usize) < CLASSES);
        class.ok_or_else(|| format!("tensor `labels` holds {label} for sample {sample}; classes are 0 to 9"))
    };
    labels.iter().enumerate().map(class).collect()
}

/// `W1_k` to `b3_k`.
fn read_layers(archive: &Archive<'_>, hidden: usize, k: usize, dtype: Dtype) -> Result<Vec<Layer>, String> {
    let widths = [INPUTS, hidden, hidden, CLASSES];
    let layer = |l: usize| {
        let (inputs, outputs) = (widths[l - 1], widths[l]);
        let weight = archive.matrix(&format!("W{l}_{k}"), dtype, outputs, inputs)?;
        let bias = archive.matrix(&format!("b{l}_{k}"), dtype, outputs, 1)?;
        Ok(Layer { weight, bias: linalg::transpose(&bias) })
    };
    (1..=LAYERS).map(layer).collect()
}

/// What the file holds of iteration `k`: always W, b and u; z and a of the first and the last one.
fn read_state(archive: &Archive<'_>, settings: &DlAdmmSettings, k: usize) -> Result<State, String> {
    let sample_side = |name: &str, features: usize| {
        let columns = archive.matrix(&format!("{name}_{k}"), Dtype::F64, features, settings.samples)?;
        Ok::<_, String>(linalg::transpose(&columns))
    };
    let hidden = settings.hidden;
    let variables = if k == 1 || k == settings.iterations {
        let z = vec![sample_side("z1", hidden)?, sample_side("z2", hidden)?, sample_side("z3", CLASSES)?];
        Some(Variables { z, a: vec![sample_side("a1", hidden)?, sample_side("a2", hidden)?] })
    } else {
        None
    };
    Ok(State {
        iteration: k,
        layers: read_layers(archive, hidden, k, Dtype::F64)?,
        u: sample_side("u", CLASSES)?,
        variables,
    })
}

fn read_metrics(archive: &Archive<'_>, iterations: usize) -> Result<Vec<Metrics>, String> {
    let table = archive.matrix("metrics", Dtype::F64, iterations, METRICS)?;
    let metrics = |k: usize| {
        let row = table.row(k);
        Metrics {
            objective: row[0],
            loss: row[1],
            residual_squares: [row[2], row[3], row[4]],
            train_accuracy: row[5],
            train_cost: row[6],
        }
    };
    Ok((0..iterations).map(metrics).collect())
}

fn read_exponents(archive: &Archive<'_>, iterations: usize) -> Result<Vec<[u32; EXPONENTS]>, String> {
    let table = archive.integers("exponents", &[iterations, EXPONENTS])?;
    let mut exponents = vec![[0; EXPONENTS]; iterations];
    for (slot, &value) in exponents.iter_mut().flatten().zip(&table) {
        *slot = u32::try_from(value)
            .map_err(|_| format!("tensor `exponents` holds {value}; doublings are counted from 0"))?;
    }
    Ok(exponents)
}

fn read_badm(archive: &Archive<'_>) -> Result<BadmTrace, String> {
    let settings = BadmSettings {
        steps: archive.count("steps")?,
        sub_batches: archive.count("sub_batches")?,
        parameters: archive.count("parameters")?,
        rho: archive.positive("rho")?,
        sigma: archive.positive("sigma")?,
        beta: archive.not_negative("beta")?,
        initial_moment: archive.not_negative("m_0")?,
        epsilon: archive.not_negative("epsilon")?,
        second_moment: archive.flag("second_moment")?.ok_or_else(|| missing_metadata("second_moment"))?,
        bias_correction: archive.flag("bias_correction")?.unwrap_or(false),
    };
    let BadmSettings { steps, sub_batches, parameters, .. } = settings;
    let gradients = archive.values("grad", Dtype::F32, &[steps, sub_batches, parameters])?;
    let rows = |name: &str| archive.matrix(name, Dtype::F64, sub_batches, parameters);
    Ok(BadmTrace {
        start: archive.row("w_0", Dtype::F32, parameters)?,
        gradients: steps_of(&gradients, sub_batches, parameters),
        weights: archive.values("weight", Dtype::F64, &[sub_batches])?,
        w: archive.row("w_T", Dtype::F64, parameters)?,
        pi: rows("pi_T")?,
        m: rows("m_T")?,
        settings,
    })
}

/// The methods that a trace may hold.
const METHODS: [&str; 10] =
    ["sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam", "adamw", "nadam", "adamax"];

fn read_first_order(archive: &Archive<'_>) -> Result<FirstOrderTrace, String> {
    let (steps, parameters) = (archive.count("steps")?, archive.count("parameters")?);
    let gradients = archive.values("grad", Dtype::F32, &[steps, parameters])?;
    let method = |name: &&str| {
        let settings = method_settings(archive, name)?;
        let w = archive.row(&format!("w_T.{name}"), Dtype::F64, parameters)?;
        Ok::<_, String>(MethodTrace { name: (*name).to_owned(), settings, w })
    };
    let named = METHODS.iter().filter(|name| archive.text(name).is_some());
    let methods = named.map(method).collect::<Result<Vec<_>, _>>()?;
    if methods.is_empty() {
        return Err(format!("its metadata names none of the methods {}", METHODS.join(", ")));
    }
    Ok(FirstOrderTrace {
        start: archive.row("w_0", Dtype::F32, parameters)?,
        gradients: steps_of(&gradients, 1, parameters),
        methods,
    })
}

fn read_nm(archive: &Archive<'_>) -> Result<NmTrace, String> {
    let [rows, cols, keep, group, updates] =
        ["rows", "cols", "keep", "group", "updates"].map(|key| archive.count(key));
    let (rows, cols, keep, group, updates) = (rows?, cols?, keep?, group?, updates?);
    if keep >= group || !cols.is_multiple_of(group) {
        return Err(format!(
            "metadata says {keep} of each group of {group} in {cols} columns; keep must be below group, and group divide the columns"
        ));
    }
    let mask = |name: &str| {
        let bytes = archive.bytes(name, Dtype::U8, &[rows, cols])?;
        match bytes.iter().position(|&byte| byte > 1) {
            None => Ok(bytes.iter().map(|&byte| byte == 1).collect::<Vec<_>>()),
            Some(index) => {
                Err(format!("tensor `{name}` holds {} at element {index}; a mask is 0 or 1", bytes[index]))
            }
        }
    };
    let flip = |&value: &i32| {
        u32::try_from(value).map_err(|_| format!("tensor `flips` holds {value}; flips are counted from 0"))
    };
    Ok(NmTrace {
        keep,
        group,
        smallest_margin: archive.not_negative("smallest_margin")?,
        weights: steps_of(&archive.values("w", Dtype::F32, &[updates + 1, rows, cols])?, rows, cols),
        first_mask: mask("mask_0")?,
        z: archive.matrix("z_K", Dtype::F64, rows, cols)?,
        u: archive.matrix("u_K", Dtype::F64, rows, cols)?,
        last_mask: mask("mask_K")?,
        flips: archive.integers("flips", &[updates])?.iter().map(flip).collect::<Result<_, _>>()?,
    })
}

/// The settings of a method, such as `lr 1e-3, 0.9, 0.999, eps 1e-8`; `as adam` stands for those of another.
fn method_settings(archive: &Archive<'_>, name: &str) -> Result<Vec<(String, f64)>, String> {
    let text = archive.text(name).ok_or_else(|| missing_metadata(name))?;
    let mut settings = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (word, value) = part.rsplit_once(' ').unwrap_or(("beta", part));
        match (word, value.parse::<f64>()) {
            ("as", Err(_)) if value != name && !archive.text(value).unwrap_or("as ").contains("as ") => {
                settings.extend(method_settings(archive, value)?);
            }
            (_, Ok(value)) if value.is_finite() && value >= 0.0 => settings.push((word.to_owned(), value)),
            _ => return Err(format!("metadata `{name}` is {text:?}; {part:?} is no setting")),
        }
    }
    Ok(settings)
}

/// A list of values as a matrix for each step.
fn steps_of(values: &[f64], rows: usize, cols: usize) -> Vec<Matrix> {
    values.chunks_exact(rows * cols).map(|step| Matrix::new(rows, cols, step.to_vec())).collect()
}

/// What a trace asks of an archive beyond what checkpoints do.
impl Archive<'_> {
    /// A whole number above 0 of the metadata.
    fn count(&self, key: &str) -> Result<usize, String> {
        let text = self.text(key).ok_or_else(|| missing_metadata(key))?;
        let value = text.parse().ok().filter(|&value: &usize| value > 0);
        value.ok_or_else(|| format!("metadata `{key}` is {text:?}; it must be a whole number above 0"))
    }

    /// A finite number above 0 of the metadata.
    fn positive(&self, key: &str) -> Result<f64, String> {
        self.number(key, |value| value > 0.0, "must be a finite number above 0")
    }

    /// A finite number of the metadata that is 0 or above.
    fn not_negative(&self, key: &str) -> Result<f64, String> {
        self.number(key, |value| value >= 0.0, "must be a finite number, 0 or above")
    }

    fn number(&self, key: &str, accepts: fn(f64) -> bool, rule: &str) -> Result<f64, String> {
        let text = self.text(key).ok_or_else(|| missing_metadata(key))?;
        let value = text.parse().ok().filter(|value: &f64| value.is_finite() && accepts(*value));
        value.ok_or_else(|| format!("metadata `{key}` is {text:?}; it {rule}"))
    }

    /// `true` or `false` of the metadata, if it is there.
    fn flag(&self, key: &str) -> Result<Option<bool>, String> {
        let parse = |text: &str| {
            text.parse().map_err(|_| format!("metadata `{key}` is {text:?}; it must be true or false"))
        };
        self.text(key).map(parse).transpose()
    }

    /// A tensor of f32 or f64, all finite.
    fn values(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<Vec<f64>, String> {
        let bytes = self.bytes(name, dtype, shape)?;
        let values: Vec<f64> = match dtype {
            Dtype::F32 => words(bytes).map(|word| f64::from(f32::from_le_bytes(word))).collect(),
            _ => words(bytes).map(f64::from_le_bytes).collect(),
        };
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(index) => {
                let cols = shape.last().copied().unwrap_or(1);
                let (row, col) = (index / cols, index % cols);
                Err(format!("tensor `{name}` holds {} at row {row}, column {col}", values[index]))
            }
        }
    }

    /// A matrix of f32 or f64, all finite.
    fn matrix(&self, name: &str, dtype: Dtype, rows: usize, cols: usize) -> Result<Matrix, String> {
        Ok(Matrix::new(rows, cols, self.values(name, dtype, &[rows, cols])?))
    }

    /// A list of f32 or f64, all finite, as a matrix of one row.
    fn row(&self, name: &str, dtype: Dtype, cols: usize) -> Result<Matrix, String> {
        Ok(Matrix::new(1, cols, self.values(name, dtype, &[cols])?))
    }

    /// A tensor of i32.
    fn integers(&self, name: &str, shape: &[usize]) -> Result<Vec<i32>, String> {
        Ok(words(self.bytes(name, Dtype::I32, shape)?).map(i32::from_le_bytes).collect())
    }
}

fn missing_metadata(key: &str) -> String {
    format!("metadata `{key}` is missing; tests/golden/README.md lists what a trace states")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, HashMap};

    /// A trace in the making: metadata, and for each tensor its type, shape and bytes.
    struct Draft {
        metadata: HashMap<String, String>,
        tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
    }

    impl Draft {
        /// The smallest valid dlADMM trace that has an iteration without z and a: 2 samples, width 3, K = 3.
        fn valid() -> Self {
            let metadata = [
                ("dataset", "none"),
                ("samples", "2"),
                ("hidden", "3"),
                ("iterations", "3"),
                ("rho", "1e-2"),
                ("nu", "0.01"),
                ("tau0", "1"),
                ("theta0", "1"),
                ("fista_iterations", "5"),
                ("fista_eta", "4"),
            ];
            let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            let mut draft = Self { metadata, tensors: BTreeMap::new() };
            draft.put("x", Dtype::U8, &[2, INPUTS]);
            draft.put("labels", Dtype::I32, &[2]);
            draft.put("metrics", Dtype::F64, &[3, METRICS]);
            draft.put("exponents", Dtype::I32, &[3, EXPONENTS]);
            for k in 0..=3 {
                let dtype = if k == 0 { Dtype::F32 } else { Dtype::F64 };
                for (l, (outputs, inputs)) in [(3, INPUTS), (3, 3), (CLASSES, 3)].into_iter().enumerate() {
                    draft.put(&format!("W{}_{k}", l + 1), dtype, &[outputs, inputs]);
                    draft.put(&format!("b{}_{k}", l + 1), dtype, &[outputs, 1]);
                }
                draft.put(&format!("u_{k}"), Dtype::F64, &[CLASSES, 2]);
            }
            for (name, features) in [("z1", 3), ("z2", 3), ("z3", CLASSES), ("a1", 3), ("a2", 3)] {
                draft.put(&format!("{name}_1"), Dtype::F64, &[features, 2]);
                draft.put(&format!("{name}_3"), Dtype::F64, &[features, 2]);
            }
            draft
        }

        /// A tensor of zeros.
        fn put(&mut self, name: &str, dtype: Dtype, shape: &[usize]) {
            let bytes = shape.iter().product::<usize>() * dtype.bitsize() / 8;
            self.tensors.insert(name.to_owned(), (dtype, shape.to_vec(), vec![0; bytes]));
        }

        /// Overwrites the first element of a tensor.
        fn set(&mut self, name: &str, element: &[u8]) {
            self.tensors.get_mut(name).unwrap().2[..element.len()].copy_from_slice(element);
        }

        fn bytes(&self) -> Vec<u8> {
            let views = self.tensors.iter().map(|(name, (dtype, shape, data))| {
                (name, safetensors::tensor::TensorView::new(*dtype, shape.clone(), data).unwrap())
            });
            safetensors::serialize(views, Some(self.metadata.clone())).unwrap()
        }

        /// The message about this draft, which must not be a valid trace.
        fn refusal(&self) -> String {
            refusal(&self.bytes())
        }
    }

    /// The message about a file of these bytes, which must not be a valid trace.
    fn refusal(bytes: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.safetensors");
        std::fs::write(&path, bytes).unwrap();
        let error = read(&path).unwrap_err();
        assert!(matches!(error, Error::Checkpoint { .. }), "{error:?}");
        let message = error.to_string();
        assert_eq!(message.lines().count(), 1, "{message}");
        message.rsplit_once("trace.safetensors: ").unwrap().1.to_owned()
    }

    /// A safetensors file of the given header and no tensors.
    fn with_header(header: &str) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()
    }

    #[test]
    fn reads_a_valid_trace() {
        let mut draft = Draft::valid();
        draft.set("z1_3", &[1.0f64.to_le_bytes(), 2.0f64.to_le_bytes()].concat());
        let Trace::DlAdmm(trace) = parse(&draft.bytes()).unwrap() else { panic!("not a dlADMM trace") };
        assert_eq!(trace.states.iter().map(|state| state.iteration).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(trace.states[1].variables.is_none());
        // The file stores features × samples: the two samples of feature 0 come first.
        let z = &trace.states[2].variables.as_ref().unwrap().z[0];
        assert_eq!((z.shape(), z[(0, 0)], z[(1, 0)]), ((2, 3), 1.0, 2.0));
        assert_eq!(trace.initial[2].bias.shape(), (1, CLASSES));
    }

    #[test]
    fn tells_kinds_apart_and_refuses_unknown_ones() {
        let of_kind = |kind: &str| with_header(&format!(r#"{{"__metadata__":{{"kind":"{kind}"}}}}"#));
        assert!(refusal(&of_kind("nm_admm")).starts_with("metadata `rows` is missing"));
        for kind in ["badm", "first_order"] {
            assert!(refusal(&of_kind(kind)).starts_with("metadata `steps` is missing"), "{kind}");
        }
        let message = refusal(&with_header(r#"{"__metadata__":{"kind":"new\nkind"}}"#));
        assert_eq!(
            message,
            r#"metadata `kind` is "new\nkind"; the format knows dladmm, badm, nm_admm, first_order"#
        );
    }

    #[test]
    fn refuses_every_cut() {
        let bytes = Draft::valid().bytes();
        for length in (0..bytes.len()).step_by(97) {
            assert!(refusal(&bytes[..length]).ends_with("copy it again"), "cut to {length}");
        }
        assert!(refusal(&[&bytes[..], &[0]].concat()).contains("follow"));
    }

    #[test]
    fn refuses_a_lying_header() {
        assert!(refusal(&u64::MAX.to_le_bytes()).contains("cut short"));
        assert!(refusal(&with_header("[]")).contains("header is damaged"));
        // Lengths that add up to just below 2^64: their sum with the header's length overflows.
        let part = u64::MAX / 8;
        let tensor = |i: u64| {
            let (start, end) = (i * part, (i + 1) * part);
            format!(r#""t{i}":{{"dtype":"U8","shape":[{part}],"data_offsets":[{start},{end}]}}"#)
        };
        let header = format!("{{{}}}", (0..8).map(tensor).collect::<Vec<_>>().join(","));
        assert!(refusal(&with_header(&header)).contains("0 follow"));
        let offsets = r#"{"x":{"dtype":"U8","shape":[4],"data_offsets":[4,0]}}"#;
        assert!(refusal(&with_header(offsets)).contains("header is damaged"));
    }

    #[test]
    fn refuses_bad_metadata() {
        let cases = [
            ("samples", "0"),
            ("samples", "1e99"),
            ("hidden", "-3"),
            ("rho", "nan"),
            ("nu", "0"),
            ("tau0", ""),
        ];
        for (key, value) in cases {
            let mut draft = Draft::valid();
            draft.metadata.insert(key.to_owned(), value.to_owned());
            let message = draft.refusal();
            assert!(message.starts_with(&format!("metadata `{key}` is {value:?}; it must be")), "{message}");
            draft.metadata.remove(key);
            assert!(draft.refusal().starts_with(&format!("metadata `{key}` is missing")));
        }
    }

    #[test]
    fn refuses_missing_and_misshapen_tensors() {
        for name in Draft::valid().tensors.keys().filter(|name| *name != "u_0") {
            let mut draft = Draft::valid();
            let (dtype, shape, _) = draft.tensors.remove(name).unwrap();
            assert!(draft.refusal().starts_with(&format!("tensor `{name}` is missing")));
            draft.put(name, Dtype::F16, &shape);
            assert!(draft.refusal().starts_with(&format!("tensor `{name}` is ")), "type of {name}");
            let taller = [&[shape[0] + 1], &shape[1..]].concat();
            draft.put(name, dtype, &taller);
            assert!(draft.refusal().starts_with(&format!("tensor `{name}` is ")), "shape of {name}");
        }
        let mut draft = Draft::valid();
        draft.put("W2_2", Dtype::F32, &[3, 4]);
        assert_eq!(draft.refusal(), "tensor `W2_2` is 3 × 4 f32; by the metadata it must be 3 × 3 f64");
    }

    #[test]
    fn refuses_values_out_of_range() {
        let cases: [(&str, &[u8], &str); 5] = [
            ("labels", &10i32.to_le_bytes(), "tensor `labels` holds 10 for sample 0; classes are 0 to 9"),
            ("labels", &(-1i32).to_le_bytes(), "tensor `labels` holds -1 for sample 0; classes are 0 to 9"),
            (
                "exponents",
                &(-2i32).to_le_bytes(),
                "tensor `exponents` holds -2; doublings are counted from 0",
            ),
            ("W1_0", &f32::INFINITY.to_le_bytes(), "tensor `W1_0` holds inf at row 0, column 0"),
            ("u_2", &f64::NAN.to_le_bytes(), "tensor `u_2` holds NaN at row 0, column 0"),
        ];
        for (name, element, message) in cases {
            let mut draft = Draft::valid();
            draft.set(name, element);
            assert_eq!(draft.refusal(), message);
        }
    }

    /// A trace of first-order methods: 2 steps of 3 parameters.
    fn first_order(methods: &[(&str, &str)]) -> Draft {
        let fixed = [("kind", "first_order"), ("steps", "2"), ("parameters", "3")];
        let metadata = fixed.iter().chain(methods).map(|(key, value)| ((*key).into(), (*value).into()));
        let mut draft = Draft { metadata: metadata.collect(), tensors: BTreeMap::new() };
        draft.put("w_0", Dtype::F32, &[3]);
        draft.put("grad", Dtype::F32, &[2, 3]);
        for (name, _) in methods {
            draft.put(&format!("w_T.{name}"), Dtype::F64, &[3]);
        }
        draft
    }

    #[test]
    fn reads_the_settings_of_methods() {
        let draft = first_order(&[("adam", "lr 1e-3, 0.9, 0.999"), ("adamw", "as adam, weight decay 1e-2")]);
        let Trace::FirstOrder(trace) = parse(&draft.bytes()).unwrap() else { panic!("another kind") };
        let settings: Vec<_> = trace.methods[1].settings.iter().map(|(k, v)| (k.as_str(), *v)).collect();
        assert_eq!(settings, [("lr", 1e-3), ("beta", 0.9), ("beta", 0.999), ("weight decay", 1e-2)]);
        assert!(first_order(&[]).refusal().starts_with("its metadata names none of the methods sgd"));
        for text in ["lr", "lr nan", "as adam", "as nadam", "as adamw", ""] {
            let message = first_order(&[("adam", text), ("adamw", "as adam")]).refusal();
            assert!(message.starts_with("metadata `adam"), "{text}: {message}");
        }
    }

    /// A trace of N:M ADMM: one update of 2 × 4 weights.
    fn nm() -> Draft {
        let fixed = [("kind", "nm_admm"), ("rows", "2"), ("cols", "4"), ("keep", "1"), ("group", "2")];
        let rest = [("updates", "1"), ("smallest_margin", "0.5")];
        let metadata = fixed.iter().chain(&rest).map(|(key, value)| ((*key).into(), (*value).into()));
        let mut draft = Draft { metadata: metadata.collect(), tensors: BTreeMap::new() };
        draft.put("w", Dtype::F32, &[2, 2, 4]);
        draft.put("mask_0", Dtype::U8, &[2, 4]);
        draft.put("z_K", Dtype::F64, &[2, 4]);
        draft.put("u_K", Dtype::F64, &[2, 4]);
        draft.put("mask_K", Dtype::U8, &[2, 4]);
        draft.put("flips", Dtype::I32, &[1]);
        draft
    }

    #[test]
    fn reads_masks_and_refuses_what_is_none() {
        let mut draft = nm();
        draft.set("mask_K", &[1]);
        let Trace::Nm(trace) = parse(&draft.bytes()).unwrap() else { panic!("another kind") };
        assert_eq!((trace.weights.len(), trace.last_mask.len(), trace.last_mask[0]), (2, 8, true));
        draft.set("mask_K", &[2]);
        assert_eq!(draft.refusal(), "tensor `mask_K` holds 2 at element 0; a mask is 0 or 1");
        let mut draft = nm();
        draft.set("flips", &(-1i32).to_le_bytes());
        assert_eq!(draft.refusal(), "tensor `flips` holds -1; flips are counted from 0");
        for (key, value) in [("keep", "2"), ("group", "3")] {
            let mut draft = nm();
            draft.metadata.insert(key.into(), value.into());
            assert!(draft.refusal().contains("keep must be below group"));
        }
    }

    #[test]
    fn says_which_file_is_not_there() {
        let error = read(Path::new("no/such/trace.safetensors")).unwrap_err();
        assert!(matches!(error, Error::Io { action: "read", .. }), "{error:?}");
    }

    proptest! {
        /// Whatever bytes of a trace are damaged, reading it returns.
        #[test]
        fn survives_any_damage(at in 0usize..4000, byte: u8, cut in 0usize..60_000) {
            let mut bytes = Draft::valid().bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(cut.max(at + 1));
            let _ = parse(&bytes);
        }
    }
}
