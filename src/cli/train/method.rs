//! `--method`, and the flags of methods that train by gradients.

use std::path::PathBuf;

use clap::ValueEnum;
use dualstep::models::mlp::Initial;
use dualstep::solvers::badm::{BadmConfig, Slots, StateStorage};
use dualstep::solvers::first_order::{FirstOrderConfig, Method};
use dualstep::solvers::optimizer::Schedule;
use dualstep::solvers::training::{Model, Optimizer, TrainingConfig};

use super::sparse::{self, SparseSettings};
use crate::cli::Failure;

/// As dlADMM's, so that all methods begin alike.
const DEVIATION: f32 = 0.1;
/// BADM's learning rate unless said otherwise.
const BADM_RATE: f64 = 1e-3;
/// Its sub-batches.
const SUB_BATCHES: u32 = 4;

/// The method, and how it trains if by gradients.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Methods, and training by gradients")]
pub struct MethodSettings {
    /// What trains the network [default: dladmm].
    #[arg(long, value_name = "METHOD")]
    method: Option<MethodName>,
    /// Length of a step [default: the method's own in PyTorch; 1e-3 for badm, whose ρ and σ follow from it].
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Samples of a batch, which is an iteration [default: all].
    #[arg(long, value_name = "COUNT")]
    batch: Option<u32>,
    /// Sub-batches of a batch, each with duals of its own in badm [default: 4].
    #[arg(long, value_name = "COUNT")]
    sub_batches: Option<u32>,
    /// Which of badm's constants are taken where nothing else is said [default: robust].
    #[arg(long, value_name = "WHOSE")]
    constants: Option<ConstantsName>,
    /// Penalty σ of badm [default: 0.5 over the learning rate, as is ρ].
    #[arg(long)]
    sigma: Option<f64>,
    /// Decay β of badm's second moments [default: 0.999, or 0.99 of the paper's constants].
    #[arg(long)]
    beta: Option<f64>,
    /// What badm's state is stored as [default: f32].
    #[arg(long, value_name = "TYPE")]
    state: Option<StateName>,
    /// Weight decay of first-order methods [default: 0, for adamw 0.01].
    #[arg(long)]
    weight_decay: Option<f64>,
    /// How the learning rate of first-order methods falls to 0 until the last iteration [default: it does not].
    #[arg(long, value_name = "SHAPE")]
    decay: Option<DecayName>,
    /// How weights begin [default: normal, or keras with `--model gcn`].
    #[arg(long, value_name = "KIND")]
    initial: Option<InitialName>,
    /// Begin with the weights, hidden layers and activation of a checkpoint; `{seed}` in it stands for the seed.
    #[arg(long, value_name = "CHECKPOINT")]
    pub from: Option<PathBuf>,
    #[command(flatten)]
    sparse: SparseSettings,
}

/// A flag, whether it is given, and where in the JSON of a [`TrainingConfig`] lies what it says.
pub type FlagOfTraining = (&'static str, bool, &'static [&'static str]);

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum MethodName {
    /// A backward and a forward sweep of block updates over all samples.
    Dladmm,
    /// Duals and second moments of each sub-batch.
    Badm,
    Sgd,
    Momentum,
    Nesterov,
    Adagrad,
    Adadelta,
    Rmsprop,
    Adam,
    Adamw,
    Nadam,
    Adamax,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum ConstantsName {
    /// Duals and moments by a sub-batch's place in its batch; samples are drawn anew each epoch.
    Robust,
    /// The paper's to the letter: duals and moments of each sub-batch of each batch, which stay as they are.
    Paper,
}

#[derive(Clone, Copy, ValueEnum)]
enum StateName {
    F32,
    /// Rounded stochastically.
    Bf16,
    /// Rounded stochastically, of second moments the roots.
    F16,
}

#[derive(Clone, Copy, ValueEnum)]
enum DecayName {
    /// Evenly.
    Linear,
    /// Along half a cosine.
    Cosine,
}

#[derive(Clone, Copy, ValueEnum)]
enum InitialName {
    /// All from N(0, 0.1²), as dlADMM's.
    Normal,
    /// PyTorch's for dense layers.
    Torch,
    /// Keras'.
    Keras,
}

impl MethodName {
    fn name(self) -> &'static str {
        match self {
            Self::Dladmm => "dladmm",
            Self::Badm => "badm",
            _ => self.first_order().map_or("", Method::name),
        }
    }

    fn first_order(self) -> Option<Method> {
        Some(match self {
            Self::Dladmm | Self::Badm => return None,
            Self::Sgd => Method::Sgd,
            Self::Momentum => Method::Momentum,
            Self::Nesterov => Method::Nesterov,
            Self::Adagrad => Method::AdaGrad,
            Self::Adadelta => Method::Adadelta,
            Self::Rmsprop => Method::RmsProp,
            Self::Adam => Method::Adam,
            Self::Adamw => Method::AdamW,
            Self::Nadam => Method::NAdam,
            Self::Adamax => Method::Adamax,
        })
    }
}

impl MethodSettings {
    /// Whether the network is trained by its gradients.
    pub fn is_by_gradients(&self) -> bool {
        self.method.is_some_and(|method| method != MethodName::Dladmm)
    }

    /// The first flag that says something about gradients.
    pub fn first_flag(&self) -> Option<&'static str> {
        let flags = [
            ("--learning-rate", self.learning_rate.is_some()),
            ("--batch", self.batch.is_some()),
            ("--sub-batches", self.sub_batches.is_some()),
            ("--constants", self.constants.is_some()),
            ("--sigma", self.sigma.is_some()),
            ("--beta", self.beta.is_some()),
            ("--state", self.state.is_some()),
            ("--weight-decay", self.weight_decay.is_some()),
            ("--decay", self.decay.is_some()),
            ("--initial", self.initial.is_some()),
            ("--from", self.from.is_some()),
        ];
        flags.iter().find(|(_, given)| *given).map(|(flag, _)| *flag)
    }

    /// The method, if it is given.
    pub fn given_name(&self) -> Option<&'static str> {
        self.method.map(MethodName::name)
    }

    /// The same flags for a run that goes on by the recorded method.
    pub fn resumed(&self, recorded: &str) -> Result<Self, Failure> {
        if self.from.is_some() {
            return Err(Failure("--from is for a run that begins; leave it or --resume out".into()));
        }
        let method = MethodName::value_variants().iter().find(|it| it.name() == recorded);
        Ok(Self { method: method.copied(), ..self.clone() })
    }

    /// What a run that goes on is held against.
    pub fn given(&self) -> [FlagOfTraining; 11] {
        let rate = &["/optimizer/learning_rate", "/optimizer/rho", "/optimizer/sigma"];
        [
            ("learning-rate", self.learning_rate.is_some(), rate),
            ("batch", self.batch.is_some(), &["/batch"]),
            ("sub-batches", self.sub_batches.is_some(), &["/optimizer/sub_batches"]),
            ("constants", self.constants.is_some(), &["/optimizer/slots", "/optimizer/bias_correction"]),
            ("sigma", self.sigma.is_some(), &["/optimizer/sigma"]),
            ("beta", self.beta.is_some(), &["/optimizer/beta"]),
            ("state", self.state.is_some(), &["/optimizer/storage"]),
            ("weight-decay", self.weight_decay.is_some(), &["/optimizer/weight_decay"]),
            ("decay", self.decay.is_some(), &["/optimizer/schedule"]),
            ("initial", self.initial.is_some(), &["/initial"]),
            ("pattern", self.sparse.first_flag().is_some(), &["/sparse/patterns", "/sparse/way"]),
        ]
    }

    /// Makes sure that no flag of sparse weights is given for a method whose steps do not make them.
    pub fn check_sparse(&self) -> Result<(), Failure> {
        let method = match self.method {
            Some(MethodName::Badm) => "badm",
            None | Some(MethodName::Dladmm) => "dladmm",
            Some(_) => return Ok(()),
        };
        match self.sparse.first_flag() {
            None => Ok(()),
            Some(flag) => Err(Failure(format!(
                "{flag} is for first-order methods, not {method}; add a --method such as adam"
            ))),
        }
    }

    /// A method that trains by gradients in so many iterations; `rho` is BADM's, and sizes are those of `base`.
    pub fn training(
        &self,
        iterations: u32,
        rho: Option<f32>,
        base: TrainingConfig,
    ) -> Result<TrainingConfig, Failure> {
        let optimizer = match self.method.and_then(MethodName::first_order) {
            Some(method) => Optimizer::FirstOrder(self.first_order(method, iterations, rho)?),
            None => Optimizer::Badm(self.badm(rho)?),
        };
        if self.initial.is_some() && self.from.is_some() {
            return Err(Failure(
                "--initial has no say in weights --from a checkpoint; leave one of them out".into(),
            ));
        }
        let sparse = self.sparse.config(iterations)?;
        let initial = match self.initial {
            None if matches!(base.model, Model::Gcn { .. }) => Initial::Keras,
            None | Some(InitialName::Normal) => Initial::Normal { deviation: DEVIATION },
            Some(InitialName::Torch) => Initial::Torch,
            Some(InitialName::Keras) => Initial::Keras,
        };
        Ok(TrainingConfig { initial, batch: self.batch, optimizer, sparse, ..base })
    }

    fn first_order(&self, method: Method, steps: u32, rho: Option<f32>) -> Result<FirstOrderConfig, Failure> {
        let flags = [
            ("--rho", rho.is_some()),
            ("--sub-batches", self.sub_batches.is_some()),
            ("--constants", self.constants.is_some()),
            ("--sigma", self.sigma.is_some()),
            ("--beta", self.beta.is_some()),
            ("--state", self.state.is_some()),
        ];
        if let Some((flag, _)) = flags.iter().find(|(_, given)| *given) {
            return Err(Failure(format!("{flag} is for --method badm; leave one of them out")));
        }
        let base = FirstOrderConfig::pytorch(method);
        let config = FirstOrderConfig {
            learning_rate: self.learning_rate.unwrap_or(base.learning_rate),
            weight_decay: self.weight_decay.unwrap_or(base.weight_decay),
            schedule: match self.decay {
                None => base.schedule,
                Some(DecayName::Linear) => Schedule::Linear { steps },
                Some(DecayName::Cosine) => Schedule::Cosine { steps },
            },
            ..base
        };
        config.check()?;
        Ok(config)
    }

    fn badm(&self, rho: Option<f32>) -> Result<BadmConfig, Failure> {
        let flags = [("--weight-decay", self.weight_decay.is_some()), ("--decay", self.decay.is_some())];
        if let Some((flag, _)) = flags.iter().find(|(_, given)| *given) {
            return Err(Failure(format!(
                "{flag} is for first-order methods, not badm; leave one of them out"
            )));
        }
        let rate = self.learning_rate.unwrap_or(BADM_RATE);
        let sub_batches = self.sub_batches.unwrap_or(SUB_BATCHES);
        let base = BadmConfig::robust(sub_batches, rate);
        let base = match self.constants {
            Some(ConstantsName::Paper) => BadmConfig::paper(sub_batches, 1, base.rho, base.sigma),
            Some(ConstantsName::Robust) | None => base,
        };
        let config = BadmConfig {
            rho: rho.map_or(base.rho, f64::from),
            sigma: self.sigma.unwrap_or(base.sigma),
            beta: self.beta.unwrap_or(base.beta),
            storage: match self.state {
                None | Some(StateName::F32) => StateStorage::F32,
                Some(StateName::Bf16) => StateStorage::Bf16,
                Some(StateName::F16) => StateStorage::F16,
            },
            ..base
        };
        config.check()?;
        Ok(config)
    }
}

/// The method's name.
pub fn name(config: &TrainingConfig) -> String {
    match &config.optimizer {
        Optimizer::FirstOrder(config) => config.method.name().into(),
        Optimizer::Badm(_) => "badm".into(),
    }
}

/// The iteration at which the learning rate has fallen to 0, if there is one.
pub fn last_step(config: &TrainingConfig) -> Option<u32> {
    let (Optimizer::FirstOrder(FirstOrderConfig { schedule, .. })
    | Optimizer::Badm(BadmConfig { schedule, .. })) = &config.optimizer;
    match schedule {
        Schedule::Linear { steps } | Schedule::Cosine { steps } => Some(*steps),
        Schedule::Constant | Schedule::Stepped { .. } => None,
    }
}

/// The settings by the names of their flags, for the start and for reports.
pub fn describe(config: &TrainingConfig) -> Vec<(&'static str, String)> {
    let method = match &config.optimizer {
        Optimizer::FirstOrder(FirstOrderConfig { method, learning_rate, weight_decay, schedule, .. }) => {
            let name = format!("{method:?}").to_lowercase();
            let falling = match schedule {
                Schedule::Linear { .. } => " falling evenly",
                Schedule::Cosine { .. } => " falling as a cosine",
                Schedule::Constant | Schedule::Stepped { .. } => "",
            };
            format!("{name}, learning rate {learning_rate:e}{falling}, weight decay {weight_decay}")
        }
        Optimizer::Badm(BadmConfig { sub_batches, rho, sigma, beta, slots, .. }) => {
            let slots = match slots {
                Slots::Shared => String::new(),
                Slots::PerBatch { batches } => format!(" of {batches} batches"),
            };
            format!("badm, {sub_batches} sub-batches{slots}, ρ = {rho}, σ = {sigma}, β = {beta}")
        }
    };
    let initial = match config.initial {
        Initial::Normal { deviation } => format!("normal, deviation {deviation}"),
        Initial::Torch => "as in PyTorch".into(),
        Initial::Keras => "as in Keras".into(),
    };
    let batch = config.batch.map_or("all samples".into(), |batch| format!("{batch} samples"));
    let sparse = config.sparse.as_ref().map(|sparse| ("sparse weights", sparse::describe(sparse)));
    let facts = [
        ("method", method),
        ("batch", batch),
        ("weights at the start", initial),
        ("seed", config.seed.to_string()),
    ];
    facts.into_iter().chain(sparse).collect()
}

/// The settings for so many samples: as many slots as there are batches, where each batch has its own.
pub fn settled(config: &TrainingConfig, samples: usize) -> TrainingConfig {
    let mut config = config.clone();
    if let Optimizer::Badm(BadmConfig { slots: Slots::PerBatch { batches }, .. }) = &mut config.optimizer {
        let batch = config.batch.map_or(samples, |batch| batch as usize).max(1);
        *batches = samples.div_ceil(batch).max(1) as u32;
    }
    config
}

/// What is unlikely to work about the settings.
pub fn warnings(config: &TrainingConfig) -> Vec<String> {
    match &config.optimizer {
        Optimizer::FirstOrder(FirstOrderConfig { learning_rate, .. }) => {
            let sparse = config.sparse.iter().flat_map(|sparse| sparse.warnings(*learning_rate));
            sparse.map(|warning| warning.to_string()).collect()
        }
        Optimizer::Badm(config) => config.warnings().iter().map(ToString::to_string).collect(),
    }
}
