//! Several runs side by side: one table, and one sheet of charts.

use std::path::Path;

use dualstep::solvers::dladmm::Scores;

use super::axis::Scale;
use super::chart::{self, Line, Panel, Words};
use super::curves::{COLOURS, Curve};
use super::{Report, Table, facts_table};
use crate::cli::Failure;
use crate::cli::compare::{Run, Trial};
use crate::cli::train::{Entry, UpdateLine};

/// Writes the report of a comparison into `folder`, which is made if it is not there.
pub fn write(
    folder: &Path,
    facts: &[(&str, String)],
    runs: &[Run],
    goal: Option<f32>,
) -> Result<(), Failure> {
    let flags: Vec<_> = runs.iter().map(|run| (run.name.as_str(), run.flags.clone())).collect();
    let tables =
        vec![("Settings", facts_table(facts)), ("Runs", facts_table(&flags)), ("Results", table(runs, goal))];
    let curves = vec![sheet(runs)?];
    Report { title: "Trainings compared", tables, curves }.write(folder)
}

/// A row per run; where there are several seeds, means and standard deviations over them. Iterations are counted to the
/// training cost `goal`, or to the one that the first run ended at.
pub fn table(runs: &[Run], goal: Option<f32>) -> Table {
    let to_goal = match (goal, runs.first()) {
        (Some(cost), _) => format!("iterations to cost {cost}"),
        (None, reference) => {
            format!("iterations to {}'s cost", reference.map_or("", |run| run.name.as_str()))
        }
    };
    let heading = [
        "run",
        "train %",
        "test %",
        "train cost",
        "test cost",
        "s / iteration",
        to_goal.as_str(),
        "kept / tried",
        "ended",
    ];
    let mut rows = vec![heading.map(String::from).to_vec()];
    rows.extend(runs.iter().map(|run| row(run, &runs[0], goal)));
    let is_sparse = |run: &Run| run.trials.iter().any(|trial| in_pattern(trial).is_some());
    if runs.iter().any(is_sparse) {
        rows[0].extend(["test % in pattern", "off", "flips %"].map(String::from));
        rows.iter_mut().skip(1).zip(runs).for_each(|(row, run)| row.extend(sparsity(run)));
    }
    Table(rows)
}

/// Accuracy on test data with weights in their pattern, at the end.
fn in_pattern(trial: &Trial) -> Option<f64> {
    let scores = trial.history.last()?.projected?.test?;
    scores.accuracy.map(|share| 100.0 * f64::from(share))
}

/// What the pattern does to a run, and the last update's measures of the worst matrix.
fn sparsity(run: &Run) -> [String; 3] {
    let last = |measure: fn(&UpdateLine) -> f64| -> Vec<f64> {
        run.trials.iter().filter_map(|trial| trial.history.updates().last().map(measure)).collect()
    };
    let accuracies: Vec<_> = run.trials.iter().filter_map(in_pattern).collect();
    let off = last(|update| update.largest(|it| it.off)).into_iter().reduce(f64::max);
    [
        spread(&accuracies, 2),
        off.map_or("–".into(), |off| format!("{off:.1e}")),
        spread(&last(|update| 100.0 * update.largest(|it| it.flips)), 2),
    ]
}

fn row(run: &Run, reference: &Run, goal: Option<f32>) -> Vec<String> {
    let last = |value: &dyn Fn(&Entry) -> Option<f64>| -> Vec<f64> {
        run.trials.iter().filter_map(|trial| value(trial.history.last()?)).collect()
    };
    let percent = |scores: Option<Scores>| scores?.accuracy.map(|share| 100.0 * f64::from(share));
    let cost = |scores: Option<Scores>| scores.map(|scores| f64::from(scores.cost));
    let diverged: Vec<_> = run.trials.iter().filter_map(|trial| trial.diverged).collect();
    vec![
        run.name.clone(),
        spread(&last(&|entry| percent(entry.record.train)), 2),
        spread(&last(&|entry| percent(entry.record.test)), 2),
        spread(&last(&|entry| cost(entry.record.train)), 4),
        spread(&last(&|entry| cost(entry.record.test)), 4),
        spread(&run.trials.iter().filter_map(seconds_per_iteration).collect::<Vec<_>>(), 3),
        iterations_to(run, reference, goal),
        kept(run),
        match diverged.iter().min() {
            None => "well".into(),
            Some(first) => format!("{} diverged, first at {first}", diverged.len()),
        },
    ]
}

/// `12.34`, or `12.34 ± 0.56` with the standard deviation of several.
fn spread(values: &[f64], digits: usize) -> String {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    match values.len() {
        0 => "–".into(),
        1 => format!("{mean:.digits$}"),
        _ => {
            let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
            format!("{mean:.digits$} ± {:.digits$}", (squares / (count - 1.0)).sqrt())
        }
    }
}

/// From the first report to the last, so that what comes before the first iteration does not count.
fn seconds_per_iteration(trial: &Trial) -> Option<f64> {
    let entries = trial.history.entries();
    let [first, .., last] = entries else { return None };
    Some((last.seconds - first.seconds) / f64::from(last.record.iteration - first.record.iteration))
}

/// Iterations to the training cost `goal`, or to the final one of `reference` from the same weights.
fn iterations_to(run: &Run, reference: &Run, goal: Option<f32>) -> String {
    let reached: Vec<_> = run
        .trials
        .iter()
        .filter_map(|trial| {
            let of_reference = || {
                let reference = reference.trials.iter().find(|other| other.seed == trial.seed)?;
                Some(reference.history.last()?.record.train?.cost)
            };
            let goal = goal.or_else(of_reference)?;
            let first = trial
                .history
                .entries()
                .iter()
                .find(|entry| entry.record.train.is_some_and(|scores| scores.cost <= goal));
            Some(first.map(|entry| f64::from(entry.record.iteration)))
        })
        .collect();
    match reached.iter().copied().collect::<Option<Vec<_>>>() {
        Some(all) if all.is_empty() => "–".into(),
        Some(all) => spread(&all, if all.len() > 1 { 1 } else { 0 }),
        None => {
            let missed = reached.iter().filter(|iterations| iterations.is_none()).count();
            format!("not reached by {missed} of {}", reached.len())
        }
    }
}

/// Candidates of the accelerator, all seeds together.
fn kept(run: &Run) -> String {
    let tallies = run.trials.iter().filter_map(|trial| trial.history.last()?.record.acceleration);
    match tallies.map(|tally| (tally.accepts, tally.tries)).reduce(|a, b| (a.0 + b.0, a.1 + b.1)) {
        Some((kept, tried)) => format!("{kept} / {tried}"),
        None => "–".into(),
    }
}

/// Accuracy and cost against iterations and against seconds, a colour for each run and a line for each of its seeds:
/// test data in full, training data thin.
fn sheet(runs: &[Run]) -> Result<Curve, Failure> {
    let accuracy = |scores: Scores| scores.accuracy.map(|share| 100.0 * f64::from(share));
    let cost = |scores: Scores| Some(f64::from(scores.cost));
    let iteration = |entry: &Entry| f64::from(entry.record.iteration);
    let seconds = |entry: &Entry| entry.seconds;
    let panel = |title, vertical, horizontal, scale, lines| Panel {
        words: Words { title, vertical, horizontal },
        scale,
        lines,
    };
    let (percent, nats) = ("% of samples", "mean loss per sample");
    let panels = [
        panel(
            "Accuracy (thin: training data)",
            percent,
            "iteration",
            Scale::Linear,
            lines(runs, iteration, accuracy),
        ),
        panel(
            "Accuracy (thin: training data)",
            percent,
            "seconds",
            Scale::Linear,
            lines(runs, seconds, accuracy),
        ),
        panel(
            "Cost (thin: training data)",
            nats,
            "iteration",
            Scale::Logarithmic,
            lines(runs, iteration, cost),
        ),
        panel("Cost (thin: training data)", nats, "seconds", Scale::Logarithmic, lines(runs, seconds, cost)),
    ];
    Ok(Curve { name: "comparison", title: "Accuracy and cost", svg: chart::sheet(&panels)? })
}

fn lines(runs: &[Run], at: impl Fn(&Entry) -> f64, value: impl Fn(Scores) -> Option<f64>) -> Vec<Line> {
    let mut lines = Vec::new();
    for (run, colour) in runs.iter().zip(COLOURS.iter().cycle()) {
        for trial in &run.trials {
            for (width, is_test) in [(2, true), (1, false)] {
                let points = trial.history.entries().iter().filter_map(|entry| {
                    let scores = if is_test { entry.record.test } else { entry.record.train };
                    Some((at(entry), value(scores?)?))
                });
                lines.push(Line { name: run.name.clone(), colour: *colour, width, points: points.collect() });
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::train::plausible;

    fn run(name: &str, iterations: &[u32]) -> Run {
        let trial = |(seed, iterations): (usize, &u32)| Trial {
            seed: seed as u64,
            history: plausible(*iterations),
            diverged: None,
        };
        let trials = iterations.iter().enumerate().map(trial).collect();
        Run { name: name.into(), flags: String::new(), trials }
    }

    #[test]
    fn a_run_is_measured_by_the_first() {
        let runs = [run("plain", &[40, 40]), run("short", &[20, 50])];
        let Table(rows) = table(&runs, None);
        assert_eq!(rows[0][6], "iterations to plain's cost");
        assert_eq!((rows[1][6].as_str(), rows[2][6].as_str()), ("40.0 ± 0.0", "not reached by 1 of 2"));
        assert_eq!(rows[1][5], "0.250 ± 0.000");
        let last = runs[1].trials[0].history.last().unwrap().record.train.unwrap().cost;
        let Table(rows) = table(&runs, Some(last));
        assert_eq!(rows[0][6], format!("iterations to cost {last}"));
        assert_eq!((rows[1][6].as_str(), rows[2][6].as_str()), ("20.0 ± 0.0", "20.0 ± 0.0"));
    }

    #[test]
    fn spreads_are_means_and_deviations() {
        assert_eq!(spread(&[], 1), "–");
        assert_eq!(spread(&[2.0], 1), "2.0");
        assert_eq!(spread(&[1.0, 2.0, 3.0], 2), "2.00 ± 1.00");
    }

    #[test]
    fn a_comparison_is_one_sheet() {
        let folder = tempfile::tempdir().unwrap();
        let runs = [run("plain", &[30, 30]), run("other", &[30, 30])];
        assert!(write(folder.path(), &[("adapter", "one".into())], &runs, None).is_ok());
        let sheet = std::fs::read_to_string(folder.path().join("comparison.svg")).unwrap();
        assert_eq!(sheet.matches("plain").count(), 1, "one entry of the legend");
        assert!(std::fs::read_to_string(folder.path().join("summary.md")).unwrap().contains("| other |"));
    }
}
