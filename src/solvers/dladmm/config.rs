//! What a dlADMM run is told: sizes, penalties, schedules, and the samples.

pub use crate::kernels::Activation;
pub use crate::kernels::loss::Loss;

use crate::Error;
use crate::solvers::anderson::AndersonConfig;
use crate::solvers::problem::Problem;

/// Settings of a run. [`Config::default`] is a small constant-penalty run; change what matters.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Config {
    /// Widths of the hidden layers, at least one.
    pub hidden: Vec<u32>,
    /// What makes a of z in hidden layers. Settings that were saved before there was a choice mean ReLU.
    #[serde(default)]
    pub activation: Activation,
    /// What the network is judged by. Settings that were saved before there was a choice mean cross-entropy.
    #[serde(default)]
    pub loss: Loss,
    /// What is asked of the weights beside. Settings that were saved before there was a choice mean nothing.
    #[serde(default)]
    pub penalty: Penalty,
    /// How penalties move.
    pub schedule: Schedule,
    /// Penalty ρ of the last layer's constraint at the start.
    pub rho: f32,
    /// Penalty ν of the relaxed constraints at the start.
    pub nu: f32,
    /// Where the search for an activation's curvature starts (τ₀), in quadratic steps.
    pub tau_0: f32,
    /// Where the search for a weight matrix's curvature starts (θ₀), in quadratic steps.
    pub theta_0: f32,
    /// How the blocks of W and a are stepped.
    #[serde(default = "Steps::before_there_was_a_choice")]
    pub steps: Steps,
    /// How the last layer's z is found under cross-entropy. Under squared loss it has a closed form.
    pub z_last: ZLast,
    /// How iterations are accelerated, if they are.
    #[serde(default)]
    pub acceleration: Option<AndersonConfig>,
    /// What acceleration mixes.
    #[serde(default)]
    pub mixed: Mixed,
    /// Standard deviation of the initial weights and biases.
    pub deviation: f32,
    /// Seed of the initial weights and biases.
    pub seed: u64,
    /// Accuracy and cost are taken at iterations divisible by this; 0 for never. The official schedule needs 1.
    pub evaluate_every: u32,
    /// Resident products are formed afresh after iterations divisible by this; 0 for never.
    pub refresh_every: u32,
    /// Keep a copy of the state before each iteration, so that a run which turns non-finite can be resumed from the
    /// last good iteration. Costs one copy of the state in memory and one pass over it per iteration.
    pub keep_last_finite: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hidden: vec![200, 200],
            activation: Activation::Relu,
            loss: Loss::CrossEntropy,
            penalty: Penalty::None,
            schedule: Schedule::Constant,
            rho: 1e-2,
            nu: 1e-2,
            tau_0: 1.0,
            theta_0: 1.0,
            steps: Steps::Exact(Exact::default()),
            z_last: ZLast::Newton,
            acceleration: None,
            mixed: Mixed::default(),
            deviation: 0.1,
            seed: 0,
            evaluate_every: 1,
            refresh_every: 0,
            keep_last_finite: true,
        }
    }
}

/// What an accelerator mixes, and by what it judges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mixed {
    /// W, b, a and the last z together, judged by the augmented Lagrangian.
    #[default]
    All,
    /// W alone, judged by the training cost of a forward pass, for which it takes two more of those.
    Weights,
}

/// How ρ, ν, τ₀ and θ₀ change between iterations; decided on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// They do not.
    Constant,
    /// ρ ← 10 ρ after every 100 iterations (Wang et al. 2019, section 5); start at ρ = ν = 1e-6.
    Paper,
    /// The authors' public code: when the training cost rose three iterations running, ρ = ν ← min(10 ρ, 0.1), and
    /// τ₀, θ₀ ← 10 τ₀, 10 θ₀ if the widest hidden layer has 100 units or more; start at ρ = ν = 1e-6.
    Official,
}

impl Schedule {
    /// Where ρ and ν start unless said otherwise.
    pub fn initial_penalty(self) -> f32 {
        match self {
            Self::Constant => 1e-2,
            Self::Paper | Self::Official => 1e-6,
        }
    }
}

/// How the blocks of W and a are stepped.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "mode")]
pub enum Steps {
    /// The paper's: one gradient step per block, as long as a quadratic majorant allows.
    Quadratic,
    /// One gradient step per row of W and per sample of a, each of the length that minimises along it.
    LineSearch,
    /// Each block solved for, damped, with the Gram matrix of its inputs.
    Exact(Exact),
}

impl Steps {
    /// The steps that go with a schedule and a penalty where nothing else is said: exact ones, but the paper's with its
    /// schedules, which were made for them, and with [`Penalty::L1`], which needs them.
    pub fn usual(schedule: Schedule, penalty: Penalty) -> Self {
        match (schedule, penalty) {
            (Schedule::Constant, Penalty::None | Penalty::L2 { .. }) => Self::Exact(Exact::default()),
            _ => Self::Quadratic,
        }
    }

    /// The acceleration that goes with these steps where nothing else is said: they profit from it, or are the paper's.
    /// None where the last z is found by FISTA, which an accelerated run cannot have.
    pub fn usual_acceleration(self, z_last: ZLast) -> Option<AndersonConfig> {
        match (self, z_last) {
            (Self::Exact(_), ZLast::Newton) => Some(AndersonConfig::default()),
            _ => None,
        }
    }

    /// What checkpoints mean that do not say.
    fn before_there_was_a_choice() -> Self {
        Self::Quadratic
    }

    /// Whether blocks are solved for.
    pub(super) fn is_exact(self) -> bool {
        matches!(self, Self::Exact(_))
    }
}

/// Settings of exact steps (ALGORITHMS.md, exact block steps).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Exact {
    /// Damping d of a weight step, relative to the mean of its Gram matrix' diagonal.
    pub damping: f32,
    /// Ridge m on the weights, relative to the same at the first step. Without it exact steps overfit. A penalty of
    /// [`Penalty::L2`] comes on top.
    pub ridge: f32,
    /// Which blocks an iteration goes through.
    pub sweep: SweepKind,
    /// How the systems are solved.
    #[serde(default)]
    pub solver: Solver,
}

impl Default for Exact {
    fn default() -> Self {
        Self { damping: 0.1, ridge: 0.01, sweep: SweepKind::Full, solver: Solver::default() }
    }
}

/// How the systems of exact steps are solved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "method")]
pub enum Solver {
    /// To rounding, with a blocked Cholesky factorisation; but layer 1 of sparse samples of many features, whose matrix
    /// nobody could hold, by conjugate gradients with as many steps as are taken unless said otherwise.
    #[default]
    Cholesky,
    /// As far as a fixed number of conjugate-gradient steps gets: matrix products and little else.
    ///
    /// Measured on 1,000 of the embedded images, 784-100-100-10, ρ = ν = 1e-2, seed 0, after 20 iterations, test
    /// accuracy on the first 1,000 test images (llvmpipe; a test in `tests/exact.rs` repeats the first two lines):
    ///
    /// | steps of W, of a | objective | train / test |
    /// |---|---|---|
    /// | factored | 4.085 | 98.4 / 78.6 |
    /// | 8, 4 (default) | 4.161 | 98.5 / 78.6 |
    /// | 64, 32 | 4.085 | 98.4 / 78.6 |
    /// | 32, 8 | 4.083 | 98.4 / 78.6 |
    /// | 16, 4 | 4.105 | 98.5 / 78.1 |
    /// | 8, 8 | 4.121 | 98.7 / 78.7 |
    /// | 8, 2 | 4.301 | 98.6 / 78.6 |
    /// | 8, 1 | 4.459 | 98.9 / 78.5 |
    /// | 4, 4 | 5.292 | 96.0 / 78.2 |
    /// | 2, 4 | 6.965 | 88.6 / 76.1 |
    ///
    /// The objective never rose. Fewer than 8 steps of W cost iterations; more than 4 of a buy nothing that shows in
    /// the accuracy.
    ConjugateGradients {
        /// Steps of a block of weights, which go on from the weights as they are.
        #[serde(default = "Solver::weight_steps")]
        weight_steps: u32,
        /// Steps, from zero, of the matrix that a block of activations is solved with.
        #[serde(default = "Solver::activation_steps")]
        activation_steps: u32,
    },
}

impl Solver {
    /// Conjugate gradients with as many steps as are taken unless said otherwise.
    pub fn conjugate_gradients() -> Self {
        Self::ConjugateGradients {
            weight_steps: Self::weight_steps(),
            activation_steps: Self::activation_steps(),
        }
    }

    /// Steps of a block of weights that is not solved with a factor.
    pub(super) fn steps_of_weights(self) -> u32 {
        match self {
            Self::Cholesky => Self::weight_steps(),
            Self::ConjugateGradients { weight_steps, .. } => weight_steps,
        }
    }

    fn weight_steps() -> u32 {
        8
    }

    fn activation_steps() -> u32 {
        4
    }

    fn check(self) -> Result<(), Error> {
        let Self::ConjugateGradients { weight_steps, activation_steps } = self else { return Ok(()) };
        let counts = [("weight-steps", weight_steps), ("activation-steps", activation_steps)];
        match counts.into_iter().find(|(_, count)| *count == 0) {
            Some((setting, _)) => Err(Error::Setting { setting, value: "0".into(), expected: "at least 1" }),
            None => Ok(()),
        }
    }
}

/// Which blocks an iteration of exact steps goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SweepKind {
    /// From the last layer to the first and back.
    Full,
    /// From the last layer to the first: a quarter less work.
    Backward,
}

/// The term Ω of every weight matrix. Biases are free.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Penalty {
    /// None.
    #[default]
    None,
    /// (λ/2) ‖W‖², beside losses that are sums over samples.
    L2 {
        /// λ.
        lambda: f32,
    },
    /// λ ‖W‖₁, which makes weights exactly zero; for [`Steps::Quadratic`] alone.
    L1 {
        /// λ.
        lambda: f32,
    },
}

impl Penalty {
    /// λ of the square, 0 without.
    pub(super) fn lambda(self) -> f32 {
        match self {
            Self::L2 { lambda } => lambda,
            Self::None | Self::L1 { .. } => 0.0,
        }
    }

    /// λ of the sum of magnitudes, 0 without.
    pub(super) fn sparsity(self) -> f32 {
        match self {
            Self::L1 { lambda } => lambda,
            Self::None | Self::L2 { .. } => 0.0,
        }
    }

    fn check(self, steps: Steps) -> Result<(), Error> {
        let refuse = |value: String, expected| Err(Error::Setting { setting: "penalty", value, expected });
        match self {
            Self::L1 { lambda } if steps != Steps::Quadratic => refuse(
                format!("l1:{lambda}"),
                "is for quadratic steps alone; the others need a penalty that is smooth, as l2 is",
            ),
            Self::L1 { lambda } if !(lambda.is_finite() && lambda >= 0.0) => {
                refuse(format!("l1:{lambda}"), "a weight that is finite and not negative")
            }
            Self::L2 { lambda } if !(lambda.is_finite() && lambda >= 0.0) => {
                refuse(format!("l2:{lambda}"), "a weight that is finite and not negative")
            }
            _ => Ok(()),
        }
    }
}

/// How `min R(z; y) + (ρ/2)‖z − c‖²` is solved.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "method")]
pub enum ZLast {
    /// Accelerated proximal-gradient iterations, as the paper does.
    Fista {
        /// How many, at most.
        iterations: u32,
        /// Step length η; 4 is the authors', 2 is safe for every ρ.
        eta: f32,
        /// Stops with the first that changes the objective, summed over samples, by less than this; 0 for a fixed number.
        #[serde(default)]
        tolerance: f32,
    },
    /// Exactly, by damped Newton steps.
    Newton,
}

impl ZLast {
    /// The step that goes with a schedule where nothing else is said: exact, but FISTA with the schedule of the authors' program
    /// unless candidates are tried ([`Mixed::All`] with an acceleration), which need a dual that follows z.
    pub fn usual(schedule: Schedule, tries_candidates: bool) -> Self {
        match schedule {
            Schedule::Official if !tries_candidates => Self::official(),
            Schedule::Official | Schedule::Constant | Schedule::Paper => Self::Newton,
        }
    }

    /// FISTA as it is run unless said otherwise: with the authors' η, until its error falls below that of f32 for
    /// moderate penalties.
    pub const fn fista() -> Self {
        Self::Fista { iterations: 100, eta: 4.0, tolerance: 0.0 }
    }

    /// FISTA as its authors' program runs it. It mostly stops at the first iteration, whose change is the smallest, and goes on
    /// to the last where it is not small enough.
    pub const fn official() -> Self {
        Self::Fista { iterations: 500, eta: 4.0, tolerance: 1e-3 }
    }
}

impl Config {
    /// Widths of all layers, input and output included.
    pub fn widths(&self, problem: &Problem<'_>) -> Vec<u32> {
        let ends = (problem.train.features, problem.outputs);
        std::iter::once(ends.0).chain(self.hidden.iter().copied()).chain([ends.1]).collect()
    }

    /// Whether what exact steps solve layer l with at the end of a sweep is what they solve it with in the next, unless somebody
    /// sets other penalties. It is made of the layer's inputs, which a candidate of activations moves; λ/ν or λ/ρ is in it, and
    /// the official schedule moves both.
    pub(super) fn keeps_system(&self, l: usize) -> bool {
        let stay = |exact: Exact| {
            exact.sweep == SweepKind::Full && (self.acceleration.is_none() || self.mixed == Mixed::Weights)
        };
        let inputs_stay = l == 1 || matches!(self.steps, Steps::Exact(exact) if stay(exact));
        inputs_stay && (self.penalty.lambda() == 0.0 || self.schedule != Schedule::Official)
    }

    /// Checks every setting's range.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the first that is out of range.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |setting, value: String, expected| Err(Error::Setting { setting, value, expected });
        if self.hidden.is_empty() || self.hidden.contains(&0) {
            return refuse("hidden", format!("{:?}", self.hidden), "at least one width, none of them 0");
        }
        if let Activation::LeakyRelu { slope } = self.activation
            && !(0.0..1.0).contains(&slope)
        {
            return refuse("activation", format!("leaky-relu:{slope}"), "a slope from 0 to less than 1");
        }
        let positive = [("rho", self.rho), ("nu", self.nu), ("tau-0", self.tau_0), ("theta-0", self.theta_0)];
        for (setting, value) in positive {
            if !(value.is_finite() && value > 0.0) {
                return refuse(setting, value.to_string(), "must be positive and finite");
            }
        }
        self.penalty.check(self.steps)?;
        if !(self.deviation.is_finite() && self.deviation >= 0.0) {
            return refuse("deviation", self.deviation.to_string(), "must be finite and not negative");
        }
        if let Steps::Exact(exact) = self.steps {
            for (setting, value) in [("damping", exact.damping), ("ridge", exact.ridge)] {
                if !(value.is_finite() && value >= 0.0) {
                    return refuse(setting, value.to_string(), "must be finite and not negative");
                }
            }
            exact.solver.check()?;
        }
        if let Some(acceleration) = &self.acceleration {
            acceleration.check()?;
            let is_mixed = self.mixed == Mixed::All;
            if is_mixed && matches!(self.z_last, ZLast::Fista { .. }) && self.loss == Loss::CrossEntropy {
                return refuse(
                    "z-last",
                    "fista".into(),
                    "must be newton for an accelerated run, whose dual follows z, unless weights alone are mixed",
                );
            }
        }
        if let ZLast::Fista { iterations, eta, tolerance } = self.z_last {
            if iterations == 0 {
                return refuse("fista-iterations", "0".into(), "at least 1");
            }
            if !(eta.is_finite() && eta > 0.0) {
                return refuse("fista-eta", eta.to_string(), "must be positive and finite");
            }
            if !(tolerance.is_finite() && tolerance >= 0.0) {
                return refuse("fista-tolerance", tolerance.to_string(), "must be finite and not negative");
            }
        }
        if self.schedule == Schedule::Official && self.evaluate_every != 1 {
            let every = self.evaluate_every.to_string();
            return refuse(
                "eval-every",
                every,
                "the official schedule follows the training cost and needs 1",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_from_before_there_were_solvers_mean_a_factorisation() {
        let text = r#"{"mode": "exact", "damping": 0.1, "ridge": 0.01, "sweep": "full"}"#;
        let Steps::Exact(exact) = serde_json::from_str(text).unwrap() else { panic!("exact steps") };
        assert_eq!(exact, Exact::default());
        assert_eq!(exact.solver, Solver::Cholesky);
    }

    #[test]
    fn solvers_are_written_and_read_alike() {
        let text = r#"{"method": "conjugate_gradients", "weight_steps": 5}"#;
        let solver: Solver = serde_json::from_str(text).unwrap();
        let Solver::ConjugateGradients { weight_steps: 5, activation_steps } = solver else { panic!() };
        assert_eq!(activation_steps, Solver::activation_steps());
        let steps = Steps::Exact(Exact { solver, ..Exact::default() });
        let read: Steps = serde_json::from_str(&serde_json::to_string(&steps).unwrap()).unwrap();
        assert_eq!(read, steps);
    }

    #[test]
    fn no_steps_are_refused() {
        for (weight_steps, activation_steps) in [(0, 1), (1, 0)] {
            let solver = Solver::ConjugateGradients { weight_steps, activation_steps };
            let steps = Steps::Exact(Exact { solver, ..Exact::default() });
            assert!(Config { steps, ..Config::default() }.check().is_err());
        }
    }
}
