//! What an iteration reports, as the host sees it. Written on the device by `dladmm/record`.

use crate::kernels::dladmm::RECORD_HEAD;
use crate::kernels::loss::Loss;
use crate::solvers::problem::Scores;

/// Iterations the device remembers before it overwrites the oldest.
pub(super) const RING_LENGTH: u32 = 64;

/// One iteration's report.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Counted from 1.
    pub iteration: u32,
    /// Augmented Lagrangian after the iteration.
    pub objective: f32,
    /// The loss at z_L, summed over the samples.
    pub loss: f32,
    /// ‖z_l − W_l a_{l−1} − b_l‖² of each layer.
    pub residuals: Vec<f32>,
    /// ‖a_l − f(z_l)‖² of each hidden layer.
    pub gaps: Vec<f32>,
    /// Doublings of each quadratic step, in the order of the sweep: W_L a_{L−1} W_{L−1} … a_1 W_1, W_1 a_1 … W_L.
    /// Empty in the other modes, which double nothing.
    pub exponents: Vec<u32>,
    /// Pivots that factorisations dropped since the run began, because their Gram matrix was singular there.
    pub dropped_pivots: u32,
    /// Penalty of the last layer's constraint during the iteration.
    pub rho: f32,
    /// Penalty of the relaxed constraints during the iteration.
    pub nu: f32,
    /// Where activations' curvature searches started.
    pub tau_0: f32,
    /// Where weights' curvature searches started.
    pub theta_0: f32,
    /// What the accelerator did so far, in an accelerated run.
    pub acceleration: Option<Acceleration>,
    /// Scores on the training data, if taken.
    pub train: Option<Scores>,
    /// Scores on the test data, if taken.
    pub test: Option<Scores>,
}

/// What an accelerator did since the run began or was resumed.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Acceleration {
    /// Whether a candidate was tried after this iteration.
    pub tried: bool,
    /// Candidates judged.
    pub tries: u32,
    /// Candidates kept.
    pub accepts: u32,
    /// Candidates whose augmented Lagrangian was larger.
    pub rejects_by_merit: u32,
    /// Candidates whose augmented Lagrangian was not finite.
    pub rejects_not_finite: u32,
    /// Small systems that gave nothing usable.
    pub skips: u32,
    /// Times the history was forgotten.
    pub clears: u32,
    /// Step scale of the last candidate that was judged: t, or β when extrapolating.
    pub step: f32,
}

/// Where and when a value that is not finite was first met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Number of the place, counted from 1.
    pub origin: u32,
    /// Iteration, counted from 1.
    pub iteration: u32,
}

/// Sizes that say how a record is laid out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub layers: u32,
    /// Whether steps of W and a are quadratic, each with its doublings.
    pub backtracks: bool,
    /// Whether an accelerator reports.
    pub accelerated: bool,
    pub train_samples: u32,
    pub test_samples: u32,
    pub loss: Loss,
}

impl Layout {
    /// Steps of W and a that an iteration takes at most.
    pub fn slots(self) -> u32 {
        4 * self.layers - 2
    }

    /// Steps whose doublings are recorded.
    pub fn exponents(self) -> u32 {
        if self.backtracks { self.slots() } else { 0 }
    }

    /// Rows of the totals: terms of each layer, scores of two data sets, ‖W‖² of each layer.
    pub fn totals(self) -> u32 {
        2 * self.layers + 2
    }

    /// f32 values of a record.
    pub fn record_length(self) -> u32 {
        RECORD_HEAD + 2 * self.layers - 1 + self.exponents()
    }

    /// The record at `values`, and the failure it notes.
    pub fn parse(self, values: &[f32]) -> (Record, Option<Failure>) {
        let (head, rest) = values.split_at(RECORD_HEAD as usize);
        let (residuals, rest) = rest.split_at(self.layers as usize);
        let (gaps, exponents) = rest.split_at(self.layers as usize - 1);
        let evaluated = head[7] != 0.0;
        let scores = |cost: f32, hits: f32, samples: u32| {
            (evaluated && samples > 0).then(|| Scores::of(self.loss, cost, hits, samples))
        };
        let record = Record {
            iteration: head[0] as u32,
            objective: head[1],
            loss: head[2],
            residuals: residuals.to_vec(),
            gaps: gaps.to_vec(),
            exponents: exponents.iter().map(|k| *k as u32).collect(),
            dropped_pivots: head[14] as u32,
            acceleration: self.accelerated.then(|| acceleration(&head[15..])),
            rho: head[3],
            nu: head[4],
            tau_0: head[5],
            theta_0: head[6],
            train: scores(head[8], head[9], self.train_samples),
            test: scores(head[10], head[11], self.test_samples),
        };
        let failure =
            (head[12] != 0.0).then(|| Failure { origin: head[12] as u32, iteration: head[13] as u32 });
        (record, failure)
    }
}

/// What the accelerator's part of a record's head says.
fn acceleration(words: &[f32]) -> Acceleration {
    let count = |place: usize| words[place] as u32;
    Acceleration {
        tried: words[0] != 0.0,
        tries: count(1),
        accepts: count(2),
        rejects_by_merit: count(3),
        rejects_not_finite: count(4),
        skips: count(5),
        clears: count(6),
        step: words[7],
    }
}
