//! Two ways to do a piece of work, timed in turns.

use std::fmt;
use std::time::Instant;

use anyhow::{Result, ensure};
use dualstep_burn::Shared;

/// What either takes in a round, about.
const ROUND: f64 = 0.1;
/// Runs of Burn's before the first round: for each shape it tries its kernels and compiles what it fuses.
const WARMING: u32 = 5;

/// Submits one more run, without waiting.
pub type Run = Box<dyn FnMut() -> Result<()>>;

/// The same work, twice.
pub struct Contest {
    /// dualstep's.
    pub ours: Run,
    /// Burn's.
    pub theirs: Run,
    /// Floating-point operations of a run, for products.
    pub flops: f64,
}

impl Contest {
    /// The medians over so many rounds.
    pub fn run(mut self, shared: &Shared, name: &str, rounds: u32) -> Result<Row> {
        let our_wait = || Ok(shared.gpu().wait()?);
        let their_wait = || Ok(shared.device().sync()?);
        (self.ours)()?;
        for _ in 0..WARMING {
            (self.theirs)()?;
            their_wait()?;
        }
        let mut times = [3, 3];
        let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        // The first round tells how often a run fits the others.
        for round in 0..=rounds {
            let our_time = time(&mut self.ours, &our_wait, times[0])?;
            let their_time = time(&mut self.theirs, &their_wait, times[1])?;
            if round == 0 {
                times = [our_time, their_time]
                    .map(|once| (ROUND / once.max(1e-6)).ceil().clamp(1.0, 1000.0) as u32);
                continue;
            }
            ours.push(our_time);
            theirs.push(their_time);
            ratios.push(their_time / our_time);
        }
        let [ours, theirs, ratio] = [ours, theirs, ratios].map(median);
        Ok(Row { name: name.into(), ours, theirs, ratio, flops: self.flops })
    }
}

/// Seconds of a run, each to its end: else Burn, which is lazy, would make one kernel of several steps, with no state in
/// between.
fn time(run: &mut Run, wait: &impl Fn() -> Result<()>, times: u32) -> Result<f64> {
    let start = Instant::now();
    for _ in 0..times {
        run()?;
        wait()?;
    }
    Ok(start.elapsed().as_secs_f64() / f64::from(times))
}

/// Refuses results that differ by more than this much of the largest value, or are all zero.
pub fn agree(ours: &[f32], theirs: &[f32], tolerance: f32) -> Result<()> {
    ensure!(ours.len() == theirs.len(), "results of {} and {} values", ours.len(), theirs.len());
    let largest = theirs.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    ensure!(largest > 0.0, "a result of zeros tells nothing");
    for (k, (a, b)) in ours.iter().zip(theirs).enumerate() {
        ensure!((a - b).abs() <= tolerance * largest, "value {k} is {a} by dualstep and {b} by Burn");
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A line of the table.
pub struct Row {
    name: String,
    ours: f64,
    theirs: f64,
    ratio: f64,
    flops: f64,
}

impl Row {
    /// What the columns are.
    pub const HEADING: &str =
        "| work | dualstep, ms | Burn, ms | Burn / dualstep | GFLOP/s |\n|---|---:|---:|---:|---:|";
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, ours, theirs, ratio, flops } = self;
        write!(f, "| {name} | {:.3} | {:.3} | {ratio:.2} | ", ours * 1e3, theirs * 1e3)?;
        match *flops {
            0.0 => write!(f, "|"),
            flops => write!(f, "{:.1}, {:.1} |", flops / ours / 1e9, flops / theirs / 1e9),
        }
    }
}
