//! What a training has shown so far, kept for its summary and its report.

use dualstep::solvers::dladmm::{Record, Scores};
use dualstep::solvers::training::ProjectedScores;

use super::log::UpdateLine;

/// An iteration and when it arrived.
pub struct Entry {
    /// Seconds since training began, those before a resumption included.
    pub seconds: f64,
    /// What the device reported.
    pub record: Record,
    /// Scores with weights in their pattern, where some have one.
    pub projected: Option<ProjectedScores>,
}

impl Entry {
    /// Σ‖r_l‖² over all layers.
    pub fn residual(&self) -> f32 {
        self.record.residuals.iter().sum()
    }
}

/// The iterations of this session, oldest first.
#[derive(Default)]
pub struct History {
    entries: Vec<Entry>,
    updates: Vec<UpdateLine>,
}

impl History {
    /// Adds the newest iteration.
    pub fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Adds the newest update of N:M ADMM.
    pub fn push_update(&mut self, update: UpdateLine) {
        self.updates.push(update);
    }

    /// All updates of N:M ADMM.
    pub fn updates(&self) -> &[UpdateLine] {
        &self.updates
    }

    /// All iterations.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The newest iteration.
    pub fn last(&self) -> Option<&Entry> {
        self.entries.last()
    }

    /// The iteration with the best accuracy by `scores`, the first of them if there are several.
    pub fn best(&self, scores: impl Fn(&Record) -> Option<Scores>) -> Option<(u32, Scores)> {
        let taken =
            self.entries.iter().filter_map(|entry| Some((entry.record.iteration, scores(&entry.record)?)));
        taken.reduce(|best, next| if next.1.accuracy > best.1.accuracy { next } else { best })
    }

    /// Iterations 1, 2, 5, 10, 20, 50 … and the last.
    pub fn milestones(&self) -> impl Iterator<Item = &Entry> {
        let last = self.last().map_or(0, |entry| entry.record.iteration);
        self.entries.iter().filter(move |entry| {
            let iteration = entry.record.iteration;
            let leading = iteration / 10_u32.pow(iteration.max(1).ilog10());
            let round = iteration == leading * 10_u32.pow(iteration.max(1).ilog10());
            iteration == last || (round && [1, 2, 5].contains(&leading))
        })
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A history of a three-layer network whose curves look like those of a training.
    pub fn plausible(iterations: u32) -> History {
        let mut history = History::default();
        for iteration in 1..=iterations {
            let decay = |half: f32| (-(iteration as f32) / half).exp();
            let scores =
                |best: f32| Scores { accuracy: Some(best - 0.7 * decay(9.0)), cost: 0.3 + 2.0 * decay(12.0) };
            let record = Record {
                iteration,
                objective: 2e4 * decay(20.0) + 3e3,
                loss: 1.5e4 * decay(20.0) + 2.5e3,
                residuals: vec![4e3 * decay(15.0), 900.0 * decay(30.0), 2.0 * decay(10.0)],
                gaps: vec![1e3 * decay(25.0), 300.0 * decay(18.0)],
                exponents: (0..10).map(|slot| (slot * 5 + iteration / 9) % 17).collect(),
                dropped_pivots: 0,
                acceleration: None,
                rho: 1e-2,
                nu: 1e-2,
                tau_0: 1.0,
                theta_0: 1.0,
                train: Some(scores(0.89)),
                test: (iteration % 2 == 0).then(|| scores(0.86)),
            };
            history.push(Entry { seconds: f64::from(iteration) * 0.25, record, projected: None });
        }
        history
    }

    impl History {
        /// To spoil them.
        pub fn entries_mut(&mut self) -> &mut [Entry] {
            &mut self.entries
        }
    }

    #[test]
    fn milestones_are_round_or_last() {
        let history = plausible(234);
        let iterations: Vec<_> = history.milestones().map(|entry| entry.record.iteration).collect();
        assert_eq!(iterations, [1, 2, 5, 10, 20, 50, 100, 200, 234]);
    }

    #[test]
    fn the_best_is_the_first_of_equals() {
        let mut history = plausible(2);
        history.entries[1].record.train = history.entries[0].record.train;
        assert_eq!(history.best(|record| record.train).unwrap().0, 1);
        assert_eq!(history.best(|record| record.test).unwrap().0, 2);
        assert!(History::default().best(|record| record.train).is_none());
    }
}
