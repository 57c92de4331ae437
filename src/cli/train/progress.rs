//! Progress of a training: a bar where standard error is a terminal, else a plain line now and then.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use dualstep::solvers::dladmm::Scores;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::{tell, text};

use super::history::Entry;

/// Plain lines come at least this far apart, unless a tenth of the work was done.
const PAUSE: Duration = Duration::from_secs(5);

/// Shows how far a training is.
pub struct Progress {
    first: u32,
    /// Seconds trained before this session.
    earlier: f64,
    total: u32,
    /// The newest scores, which may be older than the newest iteration.
    scores: [(&'static str, Option<Scores>); 2],
    style: Style,
}

enum Style {
    Bar(ProgressBar),
    Lines { last: Instant, tenths: u32 },
}

impl Progress {
    /// Begins after iteration `first` of `total`, at which `earlier` seconds had passed.
    pub fn new((first, earlier): (u32, f64), total: u32) -> Self {
        let style = match stderr().is_terminal() {
            true => Style::Bar(bar(first, total)),
            false => Style::Lines { last: Instant::now(), tenths: 0 },
        };
        Self { first, earlier, total, scores: [("train", None), ("test", None)], style }
    }

    /// Iterations per second of this session up to `entry`.
    pub fn rate(&self, entry: &Entry) -> f64 {
        f64::from(entry.record.iteration - self.first) / (entry.seconds - self.earlier).max(1e-9)
    }

    /// Shows the newest iteration, if it is time to.
    pub fn show(&mut self, entry: &Entry) {
        let iteration = entry.record.iteration;
        let rate = self.rate(entry);
        let (first, total) = (self.first, self.total);
        for ((_, newest), scores) in self.scores.iter_mut().zip([entry.record.train, entry.record.test]) {
            *newest = scores.or(*newest);
        }
        let line = format!("{}  {rate:.1} it/s", self.describe(entry));
        match &mut self.style {
            Style::Bar(bar) => {
                bar.set_message(line);
                bar.set_position(u64::from(iteration));
            }
            Style::Lines { last, tenths } => {
                let now_tenths = 10 * (iteration - first) / (total - first).max(1);
                if now_tenths > *tenths || last.elapsed() >= PAUSE {
                    (*last, *tenths) = (Instant::now(), now_tenths);
                    tell(format_args!("{iteration}/{total}  {line}"));
                }
            }
        }
    }

    /// `objective 1.23e4  residual 2.10e-3  train 87.35 %  test 85.20 %`.
    fn describe(&self, entry: &Entry) -> String {
        let mut line = format!("objective {:.4e}", entry.record.objective);
        if !entry.record.residuals.is_empty() {
            line += &format!("  residual {:.2e}", entry.residual());
        }
        for (name, scores) in self.scores {
            if let Some(scores) = scores {
                line += &format!("  {name} {}", text::percent(scores.accuracy));
            }
        }
        if let Some(test) = entry.projected.and_then(|scores| scores.test) {
            line += &format!("  in its pattern {}", text::percent(test.accuracy));
        }
        line
    }

    /// Says something on the way, above the bar.
    pub fn tell(&self, line: &str) {
        match &self.style {
            Style::Bar(bar) => bar.println(line),
            Style::Lines { .. } => tell(line),
        }
    }

    /// Clears the bar, so that what follows starts on a fresh line.
    pub fn finish(&self) {
        if let Style::Bar(bar) = &self.style {
            bar.finish_and_clear();
        }
    }
}

fn bar(first: u32, total: u32) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(10);
    // The template is fixed and known to be well formed.
    let style =
        ProgressStyle::with_template("{bar:20} {pos}/{len}  {msg}  {eta} left").expect("a valid template");
    let bar = ProgressBar::with_draw_target(Some(u64::from(total)), target).with_style(style);
    bar.set_position(u64::from(first));
    bar.reset_eta();
    bar
}
