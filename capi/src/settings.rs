//! Settings of a training by dlADMM, as the command line has them: what is not said follows from what is.

use std::ptr;

use dualstep::solvers::anderson::{AndersonConfig, Mode};
use dualstep::solvers::dladmm::{
    Activation, Config, Exact, Mixed, Penalty, Schedule, Solver, Steps, SweepKind, ZLast,
};

use crate::error::Fault;
use crate::pointer::{Code, Pointers, Versioned, codes, end};

/// What is between two layers.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dualstep_activation {
    /// max(z, 0).
    DUALSTEP_RELU = 0,
    /// z above 0, `slope` * z below.
    DUALSTEP_LEAKY_RELU = 1,
    /// 1 / (1 + exp(-z)).
    DUALSTEP_SIGMOID = 2,
    /// The hyperbolic tangent.
    DUALSTEP_TANH = 3,
}

codes!(dualstep_activation: DUALSTEP_RELU, DUALSTEP_LEAKY_RELU, DUALSTEP_SIGMOID, DUALSTEP_TANH);

/// How the blocks of weights and activations are stepped.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dualstep_steps {
    /// DUALSTEP_STEPS_EXACT, but DUALSTEP_STEPS_QUADRATIC with a schedule of the paper's or its authors', and with
    /// DUALSTEP_PENALTY_L1.
    DUALSTEP_STEPS_USUAL = 0,
    /// Each block solved for, damped: a few iterations suffice.
    DUALSTEP_STEPS_EXACT = 1,
    /// One gradient step for each row of weights and each sample of activations, as long as pays.
    DUALSTEP_STEPS_LINE_SEARCH = 2,
    /// The paper's: one gradient step for each block.
    DUALSTEP_STEPS_QUADRATIC = 3,
}

codes!(dualstep_steps:
    DUALSTEP_STEPS_USUAL, DUALSTEP_STEPS_EXACT, DUALSTEP_STEPS_LINE_SEARCH, DUALSTEP_STEPS_QUADRATIC
);

/// Which blocks an iteration of exact steps goes through.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dualstep_sweep {
    /// From the last layer to the first and back.
    DUALSTEP_SWEEP_FULL = 0,
    /// From the last layer to the first: a quarter less work.
    DUALSTEP_SWEEP_BACKWARD = 1,
}

codes!(dualstep_sweep: DUALSTEP_SWEEP_FULL, DUALSTEP_SWEEP_BACKWARD);

/// How the systems of exact steps are solved.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dualstep_solver {
    /// To rounding, with a factorisation.
    DUALSTEP_SOLVER_CHOLESKY = 0,
    /// A few steps of conjugate gradients.
    DUALSTEP_SOLVER_CG = 1,
}

codes!(dualstep_solver: DUALSTEP_SOLVER_CHOLESKY, DUALSTEP_SOLVER_CG);

/// How iterations are accelerated.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dualstep_acceleration {
    /// DUALSTEP_ACCELERATE_ANDERSON with exact steps and DUALSTEP_Z_LAST_NEWTON, else not.
    DUALSTEP_ACCELERATE_USUAL = 0,
    /// Not at all.
    DUALSTEP_ACCELERATE_NONE = 1,
    /// By least squares over the last few sweeps.
    DUALSTEP_ACCELERATE_ANDERSON = 2,
    /// On in the direction of the last sweep.
    DUALSTEP_ACCELERATE_EXTRAPOLATE = 3,
    /// As DUALSTEP_ACCELERATE_ANDERSON, but the weights alone, judged by the training cost.
    DUALSTEP_ACCELERATE_WEIGHTS = 4,
}

codes!(dualstep_acceleration:
    DUALSTEP_ACCELERATE_USUAL, DUALSTEP_ACCELERATE_NONE, DUALSTEP_ACCELERATE_ANDERSON,
    DUALSTEP_ACCELERATE_EXTRAPOLATE, DUALSTEP_ACCELERATE_WEIGHTS
);

/// What is asked of the weights beside the sum over samples.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dualstep_penalty {
    /// Nothing.
    DUALSTEP_PENALTY_NONE = 0,
    /// lambda/2 times the sum of squares.
    DUALSTEP_PENALTY_L2 = 1,
    /// lambda times the sum of magnitudes; for quadratic steps.
    DUALSTEP_PENALTY_L1 = 2,
}

codes!(dualstep_penalty: DUALSTEP_PENALTY_NONE, DUALSTEP_PENALTY_L2, DUALSTEP_PENALTY_L1);

/// How rho and nu move.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dualstep_schedule {
    /// They do not.
    DUALSTEP_SCHEDULE_CONSTANT = 0,
    /// rho grows tenfold every 100 iterations: the paper's.
    DUALSTEP_SCHEDULE_PAPER = 1,
    /// Both grow tenfold, up to 0.1, when the training cost rose three times running: its authors' program.
    DUALSTEP_SCHEDULE_OFFICIAL = 2,
}

codes!(dualstep_schedule: DUALSTEP_SCHEDULE_CONSTANT, DUALSTEP_SCHEDULE_PAPER, DUALSTEP_SCHEDULE_OFFICIAL);

/// How the last layer's z is found.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dualstep_z_last {
    /// Exactly, by damped Newton steps.
    DUALSTEP_Z_LAST_NEWTON = 0,
    /// By accelerated proximal-gradient iterations: the paper's.
    DUALSTEP_Z_LAST_FISTA = 1,
    /// Exactly, but with DUALSTEP_SCHEDULE_OFFICIAL by FISTA as its authors' program runs it: at most 500 iterations at a step
    /// length of 4, until one moves the objective by less than 1e-3. DUALSTEP_ACCELERATE_ANDERSON and
    /// DUALSTEP_ACCELERATE_EXTRAPOLATE need it exact.
    DUALSTEP_Z_LAST_USUAL = 2,
}

codes!(dualstep_z_last: DUALSTEP_Z_LAST_NEWTON, DUALSTEP_Z_LAST_FISTA, DUALSTEP_Z_LAST_USUAL);

/// Settings of a training by dlADMM (Wang et al. 2019), with the defaults of `dualstep train`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dualstep_training_settings {
    /// sizeof(dualstep_training_settings).
    pub size: usize,
    /// Widths of the hidden layers, at least one. By default 200 and 200, in memory of the library's.
    pub hidden: *const u32,
    /// How many they are.
    pub hidden_count: usize,
    /// Train on the first so many samples; 0 for all.
    pub samples: usize,
    /// Of the initial weights.
    pub seed: u64,
    /// What is between two layers.
    pub activation: Code<dualstep_activation>,
    /// Of DUALSTEP_LEAKY_RELU below 0.
    pub slope: f32,
    /// How the blocks of weights and activations are stepped.
    pub steps: Code<dualstep_steps>,
    /// Damping of exact steps, relative to the mean of a Gram matrix' diagonal.
    pub damping: f32,
    /// Ridge on the weights in exact steps, relative to the same.
    pub ridge: f32,
    /// Which blocks an iteration of exact steps goes through.
    pub sweep: Code<dualstep_sweep>,
    /// How the systems of exact steps are solved.
    pub solver: Code<dualstep_solver>,
    /// Steps of DUALSTEP_SOLVER_CG for a block of weights.
    pub weight_steps: u32,
    /// Steps of DUALSTEP_SOLVER_CG for a block of activations.
    pub activation_steps: u32,
    /// How iterations are accelerated.
    pub acceleration: Code<dualstep_acceleration>,
    /// Sweeps that an accelerator remembers, 1 to 16.
    pub memory: u32,
    /// What is asked of the weights beside the sum over samples.
    pub penalty: Code<dualstep_penalty>,
    /// Its weight.
    pub lambda: f32,
    /// How rho and nu move.
    pub schedule: Code<dualstep_schedule>,
    /// Penalty of the last layer's constraint; 0 for 1e-2, or 1e-6 with a schedule that raises it.
    pub rho: f32,
    /// Penalty of the relaxed constraints; 0 for that of the last layer's.
    pub nu: f32,
    /// Where the search for an activation's curvature starts, in quadratic steps.
    pub tau_0: f32,
    /// Where the search for a weight matrix' curvature starts, in quadratic steps.
    pub theta_0: f32,
    /// How the last layer's z is found.
    pub z_last: Code<dualstep_z_last>,
    /// Iterations of DUALSTEP_Z_LAST_FISTA, at most.
    pub fista_iterations: u32,
    /// Step length of DUALSTEP_Z_LAST_FISTA; 2 is safe for every rho.
    pub fista_eta: f32,
    /// Accuracy and cost are taken after iterations divisible by this; 0 for never.
    pub evaluate_every: u32,
    /// Resident products are formed afresh after iterations divisible by this; 0 for never.
    pub refresh_every: u32,
    /// Not 0: the state before each iteration is kept, so that a run that diverges can be saved. Costs a copy of the state.
    pub keep_last_finite: u32,
    /// DUALSTEP_Z_LAST_FISTA stops with the first iteration that moves the objective by less; 0 for never.
    pub fista_tolerance: f64,
}

/// Hidden layers unless said otherwise.
static HIDDEN: [u32; 2] = [200, 200];

// SAFETY: `repr(C)`, `size` is first, and any bytes are numbers and pointers.
unsafe impl Versioned for dualstep_training_settings {
    const NAME: &'static str = "dualstep_training_settings";
    const LEAST: usize = end!(keep_last_finite: u32);
    const END: usize = end!(fista_tolerance: f64);

    fn standard() -> Self {
        let (base, exact, cg) = (Config::default(), Exact::default(), Solver::conjugate_gradients());
        let (fista_iterations, fista_eta, fista_tolerance) = fista();
        let (weight_steps, activation_steps) = match cg {
            Solver::ConjugateGradients { weight_steps, activation_steps } => (weight_steps, activation_steps),
            Solver::Cholesky => (0, 0),
        };
        let slope = match Activation::leaky_relu() {
            Activation::LeakyRelu { slope } => slope,
            _ => 0.0,
        };
        debug_assert_eq!(base.hidden, HIDDEN);
        Self {
            size: size_of::<Self>(),
            hidden: ptr::from_ref(&HIDDEN).cast(),
            hidden_count: HIDDEN.len(),
            samples: 0,
            seed: base.seed,
            activation: dualstep_activation::DUALSTEP_RELU.into(),
            slope,
            steps: dualstep_steps::DUALSTEP_STEPS_USUAL.into(),
            damping: exact.damping,
            ridge: exact.ridge,
            sweep: dualstep_sweep::DUALSTEP_SWEEP_FULL.into(),
            solver: dualstep_solver::DUALSTEP_SOLVER_CHOLESKY.into(),
            weight_steps,
            activation_steps,
            acceleration: dualstep_acceleration::DUALSTEP_ACCELERATE_USUAL.into(),
            memory: AndersonConfig::default().memory,
            penalty: dualstep_penalty::DUALSTEP_PENALTY_NONE.into(),
            lambda: 0.0,
            schedule: dualstep_schedule::DUALSTEP_SCHEDULE_CONSTANT.into(),
            rho: 0.0,
            nu: 0.0,
            tau_0: base.tau_0,
            theta_0: base.theta_0,
            z_last: dualstep_z_last::DUALSTEP_Z_LAST_USUAL.into(),
            fista_iterations,
            fista_eta,
            evaluate_every: base.evaluate_every,
            refresh_every: base.refresh_every,
            keep_last_finite: base.keep_last_finite.into(),
            fista_tolerance,
        }
    }
}

fn fista() -> (u32, f32, f64) {
    match ZLast::fista() {
        ZLast::Fista { iterations, eta, tolerance } => (iterations, eta, tolerance.into()),
        ZLast::Newton => (0, 0.0, 0.0),
    }
}

impl dualstep_training_settings {
    /// The library's settings.
    pub(crate) fn config(&self, pointers: &Pointers) -> Result<Config, Fault> {
        let schedule = match self.schedule.get("schedule")? {
            dualstep_schedule::DUALSTEP_SCHEDULE_CONSTANT => Schedule::Constant,
            dualstep_schedule::DUALSTEP_SCHEDULE_PAPER => Schedule::Paper,
            dualstep_schedule::DUALSTEP_SCHEDULE_OFFICIAL => Schedule::Official,
        };
        let penalty = self.penalty()?;
        let steps = self.steps(schedule, penalty)?;
        let z_last = match self.z_last.get("z_last")? {
            dualstep_z_last::DUALSTEP_Z_LAST_NEWTON => ZLast::Newton,
            dualstep_z_last::DUALSTEP_Z_LAST_USUAL => ZLast::usual(schedule, self.tries_candidates()?),
            dualstep_z_last::DUALSTEP_Z_LAST_FISTA => ZLast::Fista {
                iterations: self.fista_iterations,
                eta: self.fista_eta,
                tolerance: self.fista_tolerance as f32,
            },
        };
        let (acceleration, mixed) = self.acceleration(steps, z_last)?;
        let rho = if self.rho == 0.0 { schedule.initial_penalty() } else { self.rho };
        Ok(Config {
            hidden: pointers.slice("hidden", self.hidden, self.hidden_count)?.to_vec(),
            activation: self.activation()?,
            penalty,
            schedule,
            rho,
            nu: if self.nu == 0.0 { rho } else { self.nu },
            tau_0: self.tau_0,
            theta_0: self.theta_0,
            steps,
            z_last,
            acceleration,
            mixed,
            seed: self.seed,
            evaluate_every: self.evaluate_every,
            refresh_every: self.refresh_every,
            keep_last_finite: self.keep_last_finite != 0,
            ..Config::default()
        })
    }

    fn activation(&self) -> Result<Activation, Fault> {
        Ok(match self.activation.get("activation")? {
            dualstep_activation::DUALSTEP_RELU => Activation::Relu,
            dualstep_activation::DUALSTEP_LEAKY_RELU => Activation::LeakyRelu { slope: self.slope },
            dualstep_activation::DUALSTEP_SIGMOID => Activation::Sigmoid,
            dualstep_activation::DUALSTEP_TANH => Activation::Tanh,
        })
    }

    fn penalty(&self) -> Result<Penalty, Fault> {
        let lambda = self.lambda;
        Ok(match self.penalty.get("penalty")? {
            dualstep_penalty::DUALSTEP_PENALTY_NONE => Penalty::None,
            dualstep_penalty::DUALSTEP_PENALTY_L2 => Penalty::L2 { lambda },
            dualstep_penalty::DUALSTEP_PENALTY_L1 => Penalty::L1 { lambda },
        })
    }

    fn steps(&self, schedule: Schedule, penalty: Penalty) -> Result<Steps, Fault> {
        let sweep = match self.sweep.get("sweep")? {
            dualstep_sweep::DUALSTEP_SWEEP_FULL => SweepKind::Full,
            dualstep_sweep::DUALSTEP_SWEEP_BACKWARD => SweepKind::Backward,
        };
        let Self { weight_steps, activation_steps, damping, ridge, .. } = *self;
        let solver = match self.solver.get("solver")? {
            dualstep_solver::DUALSTEP_SOLVER_CHOLESKY => Solver::Cholesky,
            dualstep_solver::DUALSTEP_SOLVER_CG => {
                Solver::ConjugateGradients { weight_steps, activation_steps }
            }
        };
        let exact = Steps::Exact(Exact { damping, ridge, sweep, solver });
        Ok(match self.steps.get("steps")? {
            dualstep_steps::DUALSTEP_STEPS_USUAL => match Steps::usual(schedule, penalty) {
                Steps::Exact(_) => exact,
                others => others,
            },
            dualstep_steps::DUALSTEP_STEPS_EXACT => exact,
            dualstep_steps::DUALSTEP_STEPS_LINE_SEARCH => Steps::LineSearch,
            dualstep_steps::DUALSTEP_STEPS_QUADRATIC => Steps::Quadratic,
        })
    }

    fn tries_candidates(&self) -> Result<bool, Fault> {
        Ok(match self.acceleration.get("acceleration")? {
            dualstep_acceleration::DUALSTEP_ACCELERATE_ANDERSON
            | dualstep_acceleration::DUALSTEP_ACCELERATE_EXTRAPOLATE => true,
            dualstep_acceleration::DUALSTEP_ACCELERATE_USUAL
            | dualstep_acceleration::DUALSTEP_ACCELERATE_NONE
            | dualstep_acceleration::DUALSTEP_ACCELERATE_WEIGHTS => false,
        })
    }

    fn acceleration(&self, steps: Steps, z_last: ZLast) -> Result<(Option<AndersonConfig>, Mixed), Fault> {
        let memory = self.memory;
        let anderson = AndersonConfig { memory, ..AndersonConfig::default() };
        Ok(match self.acceleration.get("acceleration")? {
            dualstep_acceleration::DUALSTEP_ACCELERATE_USUAL => {
                let usual = steps.usual_acceleration(z_last);
                (usual.map(|usual| AndersonConfig { memory, ..usual }), Mixed::All)
            }
            dualstep_acceleration::DUALSTEP_ACCELERATE_NONE => (None, Mixed::All),
            dualstep_acceleration::DUALSTEP_ACCELERATE_ANDERSON => (Some(anderson), Mixed::All),
            dualstep_acceleration::DUALSTEP_ACCELERATE_EXTRAPOLATE => {
                (Some(AndersonConfig { mode: Mode::Extrapolate, ..AndersonConfig::default() }), Mixed::All)
            }
            dualstep_acceleration::DUALSTEP_ACCELERATE_WEIGHTS => (Some(anderson), Mixed::Weights),
        })
    }
}
