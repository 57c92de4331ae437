//! `--json`: a line of JSON per iteration, and per update of N:M ADMM, for scripts that compare runs.

use dualstep::solvers::dladmm::{Acceleration, Scores};
use dualstep::solvers::nm::Measure;
use dualstep::solvers::sparsify::UpdateRecord;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cli::Failure;
use crate::cli::outputs::LineFile;

use super::history::Entry;

/// What a line holds. Values that were not taken, and numbers that are not finite, are null.
#[derive(Serialize)]
struct Line<'a> {
    iteration: u32,
    seconds: f64,
    objective: f32,
    loss: f32,
    residuals: &'a [f32],
    gaps: &'a [f32],
    train_accuracy: Option<f32>,
    test_accuracy: Option<f32>,
    train_cost: Option<f32>,
    test_cost: Option<f32>,
    projected_train_accuracy: Option<f32>,
    projected_test_accuracy: Option<f32>,
    projected_train_cost: Option<f32>,
    projected_test_cost: Option<f32>,
    rho: f32,
    nu: f32,
    tau_0: f32,
    theta_0: f32,
    exponents: &'a [u32],
    dropped_pivots: u32,
    acceleration: Option<Acceleration>,
}

/// What a line about an update holds.
#[derive(Serialize)]
pub struct UpdateLine {
    /// The iteration that it followed.
    pub iteration: u32,
    /// Seconds since training began.
    pub seconds: f64,
    /// Counted from 1.
    pub update: u32,
    /// Each sparse matrix.
    pub sparse: Vec<SparseLine>,
}

/// What an update told of one matrix; the fields of [`Measure`].
#[derive(Serialize)]
pub struct SparseLine {
    layer: usize,
    primal: f64,
    /// ‖W off the mask‖/‖W‖.
    pub off: f64,
    /// Share of the mask that changed.
    pub flips: f64,
    dual: f64,
    /// From that update on.
    rho: f64,
}

impl UpdateLine {
    /// An update that arrived after so many seconds.
    pub fn new(record: &UpdateRecord, seconds: f64) -> Self {
        let line = |(layer, measure): (&usize, &Measure)| {
            let Measure { primal, off, flips, dual, rho, .. } = *measure;
            SparseLine { layer: layer + 1, primal, off, flips, dual, rho }
        };
        Self {
            iteration: record.iteration,
            seconds,
            update: record.update,
            sparse: record.layers.iter().zip(&record.measures.0).map(line).collect(),
        }
    }

    /// The largest of a measure over the sparse matrices.
    pub fn largest(&self, measure: impl Fn(&SparseLine) -> f64) -> f64 {
        self.sparse.iter().map(measure).fold(0.0, f64::max)
    }
}

/// The file, opened before any work and filled as iterations arrive.
pub struct Log {
    file: LineFile,
}

impl Log {
    /// Opens the file without changing it.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        Ok(Self { file: LineFile::open("--json", path)? })
    }

    /// Empties the file, but for the lines of iterations up to `resumed`: a run that goes on adds to its own log. The
    /// result is the seconds in the last line that is left, else 0.
    pub fn begin(&mut self, resumed: u32) -> Result<f64, Failure> {
        let mut seconds = 0.0;
        self.file.begin(|line| match Stamp::of(line).filter(|stamp| stamp.iteration <= resumed) {
            Some(stamp) => {
                seconds = stamp.seconds;
                true
            }
            None => false,
        })?;
        Ok(seconds)
    }

    /// Adds an update.
    pub fn add_update(&mut self, update: &UpdateLine) -> Result<(), Failure> {
        self.file.add(&serde_json::to_string(update).expect("JSON of plain numbers"))
    }

    /// Adds an iteration.
    pub fn add(&mut self, entry: &Entry) -> Result<(), Failure> {
        let record = &entry.record;
        let projected = |of: fn(Scores) -> Option<f32>| {
            let test = entry.projected.and_then(|scores| scores.test);
            (entry.projected.and_then(|scores| of(scores.train)), test.and_then(of))
        };
        let (accuracies, costs) = (projected(|it| it.accuracy), projected(|it| Some(it.cost)));
        let line = Line {
            iteration: record.iteration,
            seconds: entry.seconds,
            objective: record.objective,
            loss: record.loss,
            residuals: &record.residuals,
            gaps: &record.gaps,
            train_accuracy: record.train.and_then(|scores| scores.accuracy),
            test_accuracy: record.test.and_then(|scores| scores.accuracy),
            train_cost: record.train.map(|scores| scores.cost),
            test_cost: record.test.map(|scores| scores.cost),
            projected_train_accuracy: accuracies.0,
            projected_test_accuracy: accuracies.1,
            projected_train_cost: costs.0,
            projected_test_cost: costs.1,
            rho: record.rho,
            nu: record.nu,
            tau_0: record.tau_0,
            theta_0: record.theta_0,
            exponents: &record.exponents,
            dropped_pivots: record.dropped_pivots,
            acceleration: record.acceleration,
        };
        // Numbers and lists of numbers always have a JSON form; serde_json writes non-finite floats as null.
        self.file.add(&serde_json::to_string(&line).expect("JSON of plain numbers"))
    }
}

/// What is read of a line that an earlier session wrote.
#[derive(Deserialize)]
struct Stamp {
    iteration: u32,
    seconds: f64,
}

impl Stamp {
    fn of(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::train::plausible;

    fn lines(path: &Path) -> Vec<serde_json::Value> {
        let content = std::fs::read_to_string(path).unwrap();
        content.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_resumed_log_goes_on_where_the_checkpoint_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let history = plausible(5);
        let mut log = Log::open(&path).ok().unwrap();
        assert_eq!(log.begin(0).ok(), Some(0.0));
        history.entries().iter().for_each(|entry| assert!(log.add(entry).is_ok()));
        let mut log = Log::open(&path).ok().unwrap();
        assert_eq!(log.begin(3).ok(), Some(0.75));
        assert!(log.add(&history.entries()[3]).is_ok());
        let iterations: Vec<_> =
            lines(&path).iter().map(|line| line["iteration"].as_u64().unwrap()).collect();
        assert_eq!(iterations, [1, 2, 3, 4]);
    }

    #[test]
    fn what_is_not_there_is_null() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let mut log = Log::open(&path).ok().unwrap();
        let mut history = plausible(1);
        history.entries_mut()[0].record.objective = f32::NAN;
        assert!(log.begin(0).is_ok() && log.add(&history.entries()[0]).is_ok());
        let line = &lines(&path)[0];
        assert!(line["objective"].is_null() && line["test_accuracy"].is_null());
        assert!(line["train_accuracy"].is_f64() && line["exponents"].as_array().unwrap().len() == 10);
    }
}
