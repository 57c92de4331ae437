//! The flags that decide what is computed: from them to a `Config`, or, when a run goes on, checked against its own.

use std::fmt::Display;
use std::path::Path;

use clap::ValueEnum;
use serde_json::Value;

use dualstep::solvers::anderson::{AndersonConfig, Mode};
use dualstep::solvers::dladmm::{
    Activation, Config, Exact, Mixed, Penalty, Schedule, Solver, Steps, SweepKind, ZLast,
};

use dualstep::models::gcn::Layer;
use dualstep::solvers::training::{Model, TrainingConfig, TrainingState};

use super::method::{self, FlagOfTraining, MethodSettings};
use super::solver::{Plan, Start};
use crate::cli::{Failure, text};

/// Widths of hidden dense layers unless said otherwise.
const HIDDEN: [u32; 2] = [200, 200];
/// Dropout of graph convolutional networks unless said otherwise.
const DROPOUT: f32 = 0.5;

/// What is computed, and how. A run that is resumed takes all of it from its checkpoint.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "What is computed")]
pub struct Settings {
    /// What is trained [default: mlp].
    #[arg(long, value_name = "KIND")]
    model: Option<ModelName>,
    /// Widths of the hidden layers; with c before it, of a graph convolution of `--model gcn` [default: 200,200, or
    /// 32,c32,c32,32 for gcn].
    #[arg(long, value_name = "WIDTHS", value_delimiter = ',')]
    hidden: Option<Vec<Layer>>,
    /// The chance with which `--model gcn` drops a feature or an activation while it is trained [default: 0.5].
    #[arg(long, value_name = "CHANCE")]
    dropout: Option<f32>,
    /// Activation of the hidden layers: `relu`, `leaky-relu`, `leaky-relu:SLOPE`, `sigmoid` or `tanh` [default: relu].
    #[arg(long, value_name = "FUNCTION", value_parser = activation)]
    activation: Option<Activation>,
    /// How the blocks of W and a are stepped [default: exact with a constant schedule and no penalty l1, else
    /// quadratic].
    #[arg(long, value_name = "MODE")]
    steps: Option<StepsName>,
    /// Damping of exact weight steps, relative to the mean of their Gram matrix' diagonal [default: 0.1].
    #[arg(long)]
    damping: Option<f32>,
    /// Ridge on the weights in exact steps, relative to the same [default: 0.01].
    #[arg(long)]
    ridge: Option<f32>,
    /// Blocks that an iteration of exact steps goes through [default: full].
    #[arg(long, value_name = "KIND")]
    sweep: Option<SweepName>,
    /// How the systems of exact steps are solved [default: cholesky].
    #[arg(long, value_name = "METHOD")]
    solver: Option<SolverName>,
    /// Steps of conjugate gradients for a block of weights with `--solver cg` [default: 8].
    #[arg(long, value_name = "COUNT")]
    weight_steps: Option<u32>,
    /// Steps of conjugate gradients for a block of activations with `--solver cg` [default: 4].
    #[arg(long, value_name = "COUNT")]
    activation_steps: Option<u32>,
    /// How iterations are accelerated [default: anderson with exact steps, else none].
    #[arg(long, value_name = "METHOD")]
    accelerate: Option<AccelerateName>,
    /// Sweeps that `--accelerate anderson` remembers, 1 to 16 [default: 4].
    #[arg(long, value_name = "SWEEPS")]
    memory: Option<u32>,
    /// Penalty on the weights beside the sum over samples: `none`, `l2:LAMBDA`, (λ/2) ‖W‖², or with quadratic steps
    /// `l1:LAMBDA`, λ ‖W‖₁ [default: none].
    #[arg(long, value_name = "PENALTY", value_parser = penalty)]
    penalty: Option<Penalty>,
    /// How penalties move [default: constant].
    #[arg(long)]
    schedule: Option<ScheduleName>,
    /// Penalty ρ of the last layer's constraint, or of badm [default: 1e-2, or 1e-6 with a schedule that raises it].
    #[arg(long)]
    rho: Option<f32>,
    /// Penalty ν of the relaxed constraints [default: ρ].
    #[arg(long)]
    nu: Option<f32>,
    /// Where the search for an activation's curvature starts [default: 1].
    #[arg(long, value_name = "TAU")]
    tau_0: Option<f32>,
    /// Where the search for a weight matrix's curvature starts [default: 1].
    #[arg(long, value_name = "THETA")]
    theta_0: Option<f32>,
    /// How the last layer's z is found [default: newton, or fista with --schedule official unless accelerated].
    #[arg(long, value_name = "METHOD")]
    z_last: Option<ZLastName>,
    /// Iterations of `--z-last fista` [default: 100, or at most 500 with --schedule official].
    #[arg(long, value_name = "COUNT")]
    fista_iterations: Option<u32>,
    /// Step length of `--z-last fista`; 2 is safe for every ρ [default: 4].
    #[arg(long, value_name = "ETA")]
    fista_eta: Option<f32>,
    /// Stop FISTA with the first iteration that moves the objective, summed over samples, by less; 0 for never [default: 0, or
    /// 1e-3 with --schedule official].
    #[arg(long, value_name = "CHANGE")]
    fista_tolerance: Option<f32>,
    /// Take accuracy and cost every so many iterations; 0 for never [default: 1].
    #[arg(long, value_name = "ITERATIONS")]
    eval_every: Option<u32>,
    /// Form the resident products afresh every so many iterations; 0 for never.
    #[arg(long, value_name = "ITERATIONS")]
    refresh_every: Option<u32>,
    #[command(flatten)]
    method: MethodSettings,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum ModelName {
    /// Dense layers, of each sample by itself.
    Mlp,
    /// Graph convolutions with skips, and dense layers before and after them; for methods that train by gradients.
    Gcn,
}

#[derive(Clone, Copy, ValueEnum)]
enum StepsName {
    /// Each block solved for, damped: a few iterations suffice.
    Exact,
    /// The paper's: one gradient step per block.
    Quadratic,
    /// One gradient step per row of W and per sample of a, as long as pays.
    LineSearch,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum SweepName {
    /// From the last layer to the first and back.
    Full,
    /// From the last layer to the first: a quarter less work.
    Backward,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum AccelerateName {
    /// Not at all.
    None,
    /// By least squares over the last few sweeps.
    Anderson,
    /// On in the direction of the last sweep: one copy of the state, and nothing to solve.
    Extrapolate,
    /// As anderson, but the weights alone, judged by the training cost.
    Weights,
}

#[derive(Clone, Copy, ValueEnum)]
enum SolverName {
    /// To rounding, with a factorisation.
    Cholesky,
    /// A few steps of conjugate gradients: matrix products only.
    Cg,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScheduleName {
    /// They do not.
    Constant,
    /// ρ grows tenfold every 100 iterations.
    Paper,
    /// Penalties grow tenfold, up to 0.1, when the training cost rose three times running.
    Official,
}

#[derive(Clone, Copy, ValueEnum)]
enum ZLastName {
    /// A fixed number of accelerated proximal-gradient iterations.
    Fista,
    /// Exactly, by damped Newton steps.
    Newton,
}

impl From<ScheduleName> for Schedule {
    fn from(name: ScheduleName) -> Self {
        match name {
            ScheduleName::Constant => Self::Constant,
            ScheduleName::Paper => Self::Paper,
            ScheduleName::Official => Self::Official,
        }
    }
}

impl From<SweepName> for SweepKind {
    fn from(name: SweepName) -> Self {
        match name {
            SweepName::Full => Self::Full,
            SweepName::Backward => Self::Backward,
        }
    }
}

impl From<SolverName> for Solver {
    fn from(name: SolverName) -> Self {
        match name {
            SolverName::Cholesky => Self::Cholesky,
            SolverName::Cg => Self::conjugate_gradients(),
        }
    }
}

impl Settings {
    /// What a new run of so many iterations from the weights of `seed` is to do, ranges checked.
    pub fn plan(&self, seed: u64, iterations: u32) -> Result<Plan, Failure> {
        self.method.check_sparse()?;
        if !self.method.is_by_gradients() {
            if let Some(flag) = self.method.first_flag() {
                return Err(Failure(format!(
                    "{flag} needs a --method that trains by gradients, such as adam or badm"
                )));
            }
            return Ok(Plan::DlAdmm(Box::new(self.config(seed)?)));
        }
        if let Some(flag) = self.first_flag_of_dladmm() {
            return Err(Failure(format!("{flag} is for --method dladmm; leave one of them out")));
        }
        let start = self.method.from.as_ref().map(|path| Start::load(path, seed)).transpose()?;
        let mut base = TrainingConfig { model: self.model()?, ..TrainingConfig::default() };
        if let Some(start) = &start {
            self.check_start(start)?;
            base.model = Model::Mlp { hidden: start.hidden().to_vec() };
            base.activation = start.activation;
        }
        let base = TrainingConfig {
            activation: self.activation.unwrap_or(base.activation),
            seed,
            evaluate_every: self.eval_every.unwrap_or(base.evaluate_every),
            ..base
        };
        let config = Box::new(self.method.training(iterations, self.rho, base)?);
        Ok(Plan::Gradients { config, start, resumed: None })
    }

    /// Makes sure that no flag asks for another network than that of the weights it begins with.
    fn check_start(&self, start: &Start) -> Result<(), Failure> {
        if self.model == Some(ModelName::Gcn) {
            return Err(Failure("--from takes weights of dense layers; leave it or --model gcn out".into()));
        }
        let hidden = self.hidden.as_ref().map(|widths| text::joined(widths, ","));
        let pairs = [
            ("--hidden", hidden, text::joined(start.hidden(), ",")),
            ("--activation", self.activation.map(activation_name), activation_name(start.activation)),
        ];
        match pairs.iter().find(|(_, given, held)| given.as_ref().is_some_and(|given| given != held)) {
            None => Ok(()),
            Some((flag, given, held)) => Err(Failure(format!(
                "{flag} {} contradicts {held} of the network in {}; leave {flag} out",
                given.as_deref().unwrap_or_default(),
                start.path.display()
            ))),
        }
    }

    /// The layers of a network that is trained by its gradients.
    fn model(&self) -> Result<Model, Failure> {
        if self.model != Some(ModelName::Gcn) {
            return Ok(Model::Mlp { hidden: self.dense_widths()?.unwrap_or(HIDDEN.to_vec()) });
        }
        let usual = || [Layer::Dense(32), Layer::Convolution(32), Layer::Convolution(32), Layer::Dense(32)];
        Ok(Model::Gcn {
            hidden: self.hidden.clone().unwrap_or_else(|| usual().to_vec()),
            skips: true,
            dropout: self.dropout.unwrap_or(DROPOUT),
        })
    }

    /// Widths of hidden layers that are all dense.
    fn dense_widths(&self) -> Result<Option<Vec<u32>>, Failure> {
        if self.dropout.is_some() {
            return Err(Failure("--dropout is for --model gcn; leave one of them out".into()));
        }
        let width = |layer: &Layer| match layer {
            Layer::Dense(width) => Ok(*width),
            Layer::Convolution(_) => {
                Err(Failure(format!("--hidden {layer} is a graph convolution; add --model gcn")))
            }
        };
        self.hidden.as_ref().map(|layers| layers.iter().map(width).collect()).transpose()
    }

    fn first_flag_of_dladmm(&self) -> Option<&'static str> {
        let (exact, fista) = (self.flags_of_exact(), self.flags_of_fista());
        let flags = [
            &[("--steps", self.steps.is_some())],
            exact.as_slice(),
            &[
                ("--accelerate", self.accelerate.is_some()),
                ("--memory", self.memory.is_some()),
                ("--penalty", self.penalty.is_some()),
                ("--schedule", self.schedule.is_some()),
                ("--nu", self.nu.is_some()),
                ("--tau-0", self.tau_0.is_some()),
                ("--theta-0", self.theta_0.is_some()),
                ("--z-last", self.z_last.is_some()),
            ],
            &fista,
            &[("--refresh-every", self.refresh_every.is_some())],
        ];
        flags.concat().into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
    }

    /// Flags of exact steps alone, and which are given.
    fn flags_of_exact(&self) -> [(&'static str, bool); 6] {
        [
            ("--damping", self.damping.is_some()),
            ("--ridge", self.ridge.is_some()),
            ("--sweep", self.sweep.is_some()),
            ("--solver", self.solver.is_some()),
            ("--weight-steps", self.weight_steps.is_some()),
            ("--activation-steps", self.activation_steps.is_some()),
        ]
    }

    /// Flags of FISTA alone.
    fn flags_of_fista(&self) -> [(&'static str, bool); 3] {
        [
            ("--fista-iterations", self.fista_iterations.is_some()),
            ("--fista-eta", self.fista_eta.is_some()),
            ("--fista-tolerance", self.fista_tolerance.is_some()),
        ]
    }

    /// The settings of a new run from the weights that `seed` draws, their ranges checked.
    fn config(&self, seed: u64) -> Result<Config, Failure> {
        if self.model == Some(ModelName::Gcn) {
            return Err(Failure(
                "--model gcn needs a --method that trains by gradients, such as adam".into(),
            ));
        }
        let base = Config::default();
        let schedule = self.schedule.map_or(base.schedule, Schedule::from);
        let rho = self.rho.unwrap_or(schedule.initial_penalty());
        let tries_candidates =
            matches!(self.accelerate, Some(AccelerateName::Anderson | AccelerateName::Extrapolate));
        let usual = ZLast::usual(schedule, tries_candidates);
        let (steps, z_last) = (self.steps(schedule)?, self.z_last(usual)?);
        let (acceleration, mixed) = self.acceleration(steps, z_last)?;
        let config = Config {
            acceleration,
            mixed,
            hidden: self.dense_widths()?.unwrap_or(HIDDEN.to_vec()),
            activation: self.activation.unwrap_or(base.activation),
            penalty: self.penalty.unwrap_or(base.penalty),
            steps,
            schedule,
            rho,
            nu: self.nu.unwrap_or(rho),
            tau_0: self.tau_0.unwrap_or(base.tau_0),
            theta_0: self.theta_0.unwrap_or(base.theta_0),
            z_last,
            seed,
            evaluate_every: self.eval_every.unwrap_or(base.evaluate_every),
            refresh_every: self.refresh_every.unwrap_or(base.refresh_every),
            ..base
        };
        config.check()?;
        Ok(config)
    }

    fn steps(&self, schedule: Schedule) -> Result<Steps, Failure> {
        let flags = self.flags_of_exact();
        let base = Exact::default();
        let exact = Exact {
            damping: self.damping.unwrap_or(base.damping),
            ridge: self.ridge.unwrap_or(base.ridge),
            sweep: self.sweep.map_or(base.sweep, SweepKind::from),
            solver: self.solver(base.solver),
        };
        let steps = match self.steps {
            Some(StepsName::Exact) => Steps::Exact(exact),
            Some(StepsName::Quadratic) => Steps::Quadratic,
            Some(StepsName::LineSearch) => Steps::LineSearch,
            None => match Steps::usual(schedule, self.penalty.unwrap_or_default()) {
                Steps::Exact(_) => Steps::Exact(exact),
                others => others,
            },
        };
        match flags.iter().find(|(_, given)| *given && !matches!(steps, Steps::Exact(_))) {
            Some((flag, _)) => {
                let steps = steps_name(steps);
                Err(Failure(format!("{flag} is for --steps exact, not {steps}; leave one of them out")))
            }
            None => self.check_counts(exact.solver).map(|()| steps),
        }
    }

    fn solver(&self, otherwise: Solver) -> Solver {
        match self.solver.map_or(otherwise, Solver::from) {
            Solver::ConjugateGradients { weight_steps, activation_steps } => Solver::ConjugateGradients {
                weight_steps: self.weight_steps.unwrap_or(weight_steps),
                activation_steps: self.activation_steps.unwrap_or(activation_steps),
            },
            Solver::Cholesky => Solver::Cholesky,
        }
    }

    /// Refuses counts of steps for a solver that takes none.
    fn check_counts(&self, solver: Solver) -> Result<(), Failure> {
        let flags = [("--weight-steps", self.weight_steps), ("--activation-steps", self.activation_steps)];
        match flags.iter().find(|(_, given)| given.is_some() && solver == Solver::Cholesky) {
            Some((flag, _)) => Err(Failure(format!(
                "{flag} is for --solver cg, not cholesky, which takes no steps; leave it out or add --solver cg"
            ))),
            None => Ok(()),
        }
    }

    fn acceleration(&self, steps: Steps, z_last: ZLast) -> Result<(Option<AndersonConfig>, Mixed), Failure> {
        let base = AndersonConfig::default();
        let anderson = AndersonConfig { memory: self.memory.unwrap_or(base.memory), ..base };
        let (acceleration, mixed) = match self.accelerate {
            Some(AccelerateName::None) => (None, Mixed::All),
            Some(AccelerateName::Anderson) => (Some(anderson), Mixed::All),
            Some(AccelerateName::Extrapolate) => {
                (Some(AndersonConfig { mode: Mode::Extrapolate, ..base }), Mixed::All)
            }
            Some(AccelerateName::Weights) => (Some(anderson), Mixed::Weights),
            None => {
                let usual = steps.usual_acceleration(z_last);
                (usual.map(|usual| AndersonConfig { memory: anderson.memory, ..usual }), Mixed::All)
            }
        };
        let remembers = acceleration.is_some_and(|settings| settings.mode == Mode::Anderson);
        match self.memory.is_some() && !remembers {
            true => {
                let names = "--memory is for --accelerate anderson and weights; leave one of them out";
                Err(Failure(names.into()))
            }
            false => Ok((acceleration, mixed)),
        }
    }

    fn z_last(&self, usual: ZLast) -> Result<ZLast, Failure> {
        let flags = self.flags_of_fista();
        let wanted = match (self.z_last, usual) {
            (Some(ZLastName::Newton), _) => ZLast::Newton,
            (Some(ZLastName::Fista), ZLast::Newton) => ZLast::fista(),
            (Some(ZLastName::Fista) | None, usual) => usual,
        };
        let method = match wanted {
            ZLast::Fista { iterations, eta, tolerance } => ZLast::Fista {
                iterations: self.fista_iterations.unwrap_or(iterations),
                eta: self.fista_eta.unwrap_or(eta),
                tolerance: self.fista_tolerance.unwrap_or(tolerance),
            },
            ZLast::Newton => ZLast::Newton,
        };
        match flags.iter().find(|(_, given)| *given && method == ZLast::Newton) {
            Some((flag, _)) => {
                Err(Failure(format!("{flag} is for --z-last fista, not newton; leave one of them out")))
            }
            None => Ok(method),
        }
    }

    /// The same for a run by gradients: the flags that are given, and the recorded method where none is, must make the
    /// settings that were recorded.
    pub fn check_training(
        &self,
        state: &TrainingState,
        iterations: u32,
        agree: &Agreement<'_>,
    ) -> Result<(), Failure> {
        let TrainingState { config, samples, .. } = state;
        let recorded = method::name(config);
        agree.check("method", self.method.given_name().map(String::from), recorded.clone())?;
        let method = self.method.resumed(&recorded)?;
        let model = self.model.or(matches!(config.model, Model::Gcn { .. }).then_some(ModelName::Gcn));
        let Plan::Gradients { config: asked, .. } =
            (Self { method, model, ..self.clone() }).plan(config.seed, iterations)?
        else {
            return Ok(());
        };
        let asked = method::settled(&asked, *samples as usize);
        let given: [FlagOfTraining; 6] = [
            ("model", self.model.is_some(), &["/model/kind"]),
            ("hidden", self.hidden.is_some(), &["/model/hidden"]),
            ("dropout", self.dropout.is_some(), &["/model/dropout"]),
            ("activation", self.activation.is_some(), &["/activation"]),
            ("rho", self.rho.is_some(), &["/optimizer/rho"]),
            ("eval-every", self.eval_every.is_some(), &["/evaluate_every"]),
        ];
        let [asked, recorded] = [&asked, config].map(|config| {
            // A struct of numbers, strings and lists always has a JSON form.
            serde_json::to_value(config).expect("JSON of plain settings")
        });
        for (flag, is_given, places) in given.into_iter().chain(self.method.given()) {
            for place in places.iter().filter(|_| is_given) {
                agree.check(flag, Some(said(&asked, place)), said(&recorded, place))?;
            }
        }
        Ok(())
    }

    /// Makes sure that no flag contradicts the settings of a run that goes on.
    pub fn check_agreement(&self, config: &Config, checkpoint: &Path) -> Result<(), Failure> {
        if self.method.is_by_gradients() {
            let file = checkpoint.display();
            return Err(Failure(format!(
                "{file} holds no run by gradients that could go on; leave --method out"
            )));
        }
        self.method.check_sparse()?;
        let [iterations, eta, tolerance] = match config.z_last {
            ZLast::Fista { iterations, eta, tolerance } => {
                [iterations.to_string(), eta.to_string(), tolerance.to_string()]
            }
            ZLast::Newton => ["none", "none", "none"].map(String::from),
        };
        let widths = self.hidden.as_ref().map(|widths| text::joined(widths, ","));
        let agree = Agreement { checkpoint };
        agree.check("hidden", widths, text::joined(&config.hidden, ","))?;
        let (damping, ridge, sweep, solver) = match config.steps {
            Steps::Exact(exact) => (
                exact.damping.to_string(),
                exact.ridge.to_string(),
                sweep_name(exact.sweep),
                solver_name(exact.solver),
            ),
            Steps::Quadratic | Steps::LineSearch => ("none".into(), "none".into(), "none", "none"),
        };
        let steps = self.steps.map(|name| match name {
            StepsName::Exact => "exact",
            StepsName::Quadratic => "quadratic",
            StepsName::LineSearch => "line-search",
        });
        agree.check("steps", steps, steps_name(config.steps))?;
        let accelerate = self.accelerate.map(|name| match name {
            AccelerateName::None => "none",
            AccelerateName::Anderson => "anderson",
            AccelerateName::Extrapolate => "extrapolate",
            AccelerateName::Weights => "weights",
        });
        agree.check("accelerate", accelerate, acceleration_name(config))?;
        agree.check("memory", self.memory, config.acceleration.map_or(0, |settings| settings.memory))?;
        agree.check("damping", self.damping.map(|it| it.to_string()), damping)?;
        agree.check("ridge", self.ridge.map(|it| it.to_string()), ridge)?;
        agree.check("sweep", self.sweep.map(|name| sweep_name(name.into())), sweep)?;
        let counts = match config.steps {
            Steps::Exact(Exact {
                solver: Solver::ConjugateGradients { weight_steps, activation_steps },
                ..
            }) => [weight_steps, activation_steps].map(|count| count.to_string()),
            _ => ["none", "none"].map(String::from),
        };
        let [weight_steps, activation_steps] = counts;
        agree.check("weight-steps", self.weight_steps.map(|it| it.to_string()), weight_steps)?;
        agree.check("activation-steps", self.activation_steps.map(|it| it.to_string()), activation_steps)?;
        agree.check("solver", self.solver.map(|name| solver_name(name.into())), solver)?;
        agree.check(
            "activation",
            self.activation.map(activation_name),
            activation_name(config.activation),
        )?;
        agree.check("penalty", self.penalty.map(penalty_name), penalty_name(config.penalty))?;
        agree.check(
            "schedule",
            self.schedule.map(|name| schedule_name(name.into())),
            schedule_name(config.schedule),
        )?;
        agree.check("rho", self.rho, config.rho)?;
        agree.check("nu", self.nu, config.nu)?;
        agree.check("tau-0", self.tau_0, config.tau_0)?;
        agree.check("theta-0", self.theta_0, config.theta_0)?;
        let method =
            self.z_last.map(|name| if matches!(name, ZLastName::Fista) { "fista" } else { "newton" });
        agree.check("z-last", method, z_last_name(config.z_last))?;
        agree.check("fista-iterations", self.fista_iterations.map(|it| it.to_string()), iterations)?;
        agree.check("fista-eta", self.fista_eta.map(|it| it.to_string()), eta)?;
        agree.check("fista-tolerance", self.fista_tolerance.map(|it| it.to_string()), tolerance)?;
        agree.check("eval-every", self.eval_every, config.evaluate_every)?;
        agree.check("refresh-every", self.refresh_every, config.refresh_every)
    }
}

/// What settings say in one place.
fn said(settings: &Value, place: &str) -> String {
    match settings.pointer(place) {
        None | Some(Value::Null) => "none".into(),
        Some(Value::String(text)) => text.clone(),
        // One of several kinds.
        Some(Value::Object(kind)) if kind.len() == 1 && kind.values().all(Value::is_string) => {
            kind.values().filter_map(Value::as_str).collect()
        }
        Some(other) => other.to_string(),
    }
}

/// Compares flags with what a checkpoint recorded.
pub struct Agreement<'a> {
    /// The file, for messages.
    pub checkpoint: &'a Path,
}

impl Agreement<'_> {
    /// Makes sure that the flag, if given, says what was recorded.
    pub fn check<T: Display + PartialEq>(
        &self,
        flag: &str,
        given: Option<T>,
        recorded: T,
    ) -> Result<(), Failure> {
        match given.filter(|given| *given != recorded) {
            None => Ok(()),
            Some(given) => Err(Failure(format!(
                "--{flag} {given} contradicts {flag} {recorded} of the run in {}; leave --{flag} out, or start anew \
                 without --resume",
                self.checkpoint.display()
            ))),
        }
    }
}

/// Reads `--activation`.
fn activation(text: &str) -> Result<Activation, String> {
    match text.split_once(':') {
        None if text == "relu" => Ok(Activation::Relu),
        None if text == "leaky-relu" => Ok(Activation::leaky_relu()),
        None if text == "sigmoid" => Ok(Activation::Sigmoid),
        None if text == "tanh" => Ok(Activation::Tanh),
        Some(("leaky-relu", slope)) => match slope.parse() {
            Ok(slope) => Ok(Activation::LeakyRelu { slope }),
            Err(_) => Err(format!("{slope:?} is no slope; give a number from 0 to less than 1")),
        },
        _ => Err("must be relu, leaky-relu, leaky-relu:SLOPE, sigmoid or tanh".into()),
    }
}

/// Reads `--penalty`.
fn penalty(text: &str) -> Result<Penalty, String> {
    match text.split_once(':') {
        None if text == "none" => Ok(Penalty::None),
        Some((kind @ ("l1" | "l2"), lambda)) => match lambda.parse() {
            Ok(lambda) if kind == "l1" => Ok(Penalty::L1 { lambda }),
            Ok(lambda) => Ok(Penalty::L2 { lambda }),
            Err(_) => Err(format!("{lambda:?} is no weight; give a number")),
        },
        _ => Err("must be none, l1:LAMBDA or l2:LAMBDA".into()),
    }
}

/// As on the command line.
fn penalty_name(penalty: Penalty) -> String {
    match penalty {
        Penalty::None => "none".into(),
        Penalty::L1 { lambda } => format!("l1:{lambda}"),
        Penalty::L2 { lambda } => format!("l2:{lambda}"),
    }
}

/// As on the command line.
fn activation_name(activation: Activation) -> String {
    match activation {
        Activation::Relu => "relu".into(),
        Activation::LeakyRelu { slope } => format!("leaky-relu:{slope}"),
        Activation::Sigmoid => "sigmoid".into(),
        Activation::Tanh => "tanh".into(),
    }
}

/// As on the command line.
fn schedule_name(schedule: Schedule) -> &'static str {
    match schedule {
        Schedule::Constant => "constant",
        Schedule::Paper => "paper",
        Schedule::Official => "official",
    }
}

fn steps_name(steps: Steps) -> &'static str {
    match steps {
        Steps::Exact(_) => "exact",
        Steps::Quadratic => "quadratic",
        Steps::LineSearch => "line-search",
    }
}

fn acceleration_name(config: &Config) -> &'static str {
    match (config.acceleration.map(|settings| settings.mode), config.mixed) {
        (None, _) => "none",
        (Some(_), Mixed::Weights) => "weights",
        (Some(Mode::Anderson), Mixed::All) => "anderson",
        (Some(Mode::Extrapolate), Mixed::All) => "extrapolate",
    }
}

fn sweep_name(sweep: SweepKind) -> &'static str {
    match sweep {
        SweepKind::Full => "full",
        SweepKind::Backward => "backward",
    }
}

fn solver_name(solver: Solver) -> &'static str {
    match solver {
        Solver::Cholesky => "cholesky",
        Solver::ConjugateGradients { .. } => "cg",
    }
}

fn z_last_name(method: ZLast) -> &'static str {
    match method {
        ZLast::Fista { .. } => "fista",
        ZLast::Newton => "newton",
    }
}

/// The settings by the names of their flags, for the start and for reports.
pub fn describe(config: &Config) -> Vec<(&'static str, String)> {
    let z_last = match config.z_last {
        ZLast::Fista { iterations, eta, tolerance: 0.0 } => {
            format!("fista, {iterations} iterations, η = {eta}")
        }
        ZLast::Fista { iterations, eta, tolerance } => {
            format!(
                "fista, at most {iterations} iterations, η = {eta}, until one moves the objective by less than {tolerance}"
            )
        }
        ZLast::Newton => "newton".into(),
    };
    let steps = match config.steps {
        Steps::Exact(Exact { damping, ridge, sweep, solver }) => {
            let solver = match solver {
                Solver::Cholesky => "a Cholesky factorisation".into(),
                Solver::ConjugateGradients { weight_steps, activation_steps } => {
                    format!("{weight_steps} (W) and {activation_steps} (a) steps of conjugate gradients")
                }
            };
            format!("exact, damping {damping}, ridge {ridge}, {} sweeps, {solver}", sweep_name(sweep))
        }
        Steps::Quadratic => {
            format!("quadratic, τ₀ = {}, θ₀ = {} at the start", config.tau_0, config.theta_0)
        }
        Steps::LineSearch => "line-search, a length per row of W and per sample of a".into(),
    };
    let acceleration = match (config.acceleration, acceleration_name(config)) {
        (Some(AndersonConfig { mode: Mode::Anderson, memory, .. }), name) => {
            format!("{name}, memory {memory}")
        }
        (_, name) => name.into(),
    };
    vec![
        ("activation", activation_name(config.activation)),
        ("steps", steps),
        ("acceleration", acceleration),
        ("penalty on weights", penalty_name(config.penalty)),
        ("schedule", schedule_name(config.schedule).into()),
        ("penalties", format!("ρ = {:e}, ν = {:e} at the start", config.rho, config.nu)),
        ("z of the last layer", z_last),
        ("seed", config.seed.to_string()),
        ("scores", every(config.evaluate_every)),
        ("fresh products", every(config.refresh_every)),
    ]
}

fn every(iterations: u32) -> String {
    match iterations {
        0 => "never".into(),
        1 => "every iteration".into(),
        _ => format!("every {iterations} iterations"),
    }
}
