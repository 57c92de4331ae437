//! What all benches share: the device, memory beyond caches, how a row is timed and what is told of it.
//!
//! A bench is [`main`] with a function that asks one question, group by group. Rows of a group do the same work in different
//! ways, or work to be looked at side by side; the first is what the others are held against. Criterion times each row by
//! itself and knows what became of it since the last run (`--save-baseline`, `--baseline`, a filter). Then come rounds, in
//! each of which every row of the group is timed once and so are the two ceilings, so that what disturbs the machine disturbs
//! all of them alike; the tables at the end tell medians of rounds.
//!
//! How to read a table: `share` is of the ceiling that binds the row, bandwidth or arithmetic, by the plan's own counts; more
//! than 100 % means that operands stayed in caches. `times` is how long the row takes beside the first of its group, and not
//! told of a list, whose rows do different work. A group whose title begins with *control* has nothing to win: what `times`
//! differs from 1 there is what it errs by elsewhere.
//!
//! Times are the device's own where it has a clock, else from submission to completion. Pipelines are compiled when rows are
//! made, and every row has run before it is timed. Rows that do the same work must find the same. `cargo test` runs each row
//! once, on tiny operands.
#![allow(dead_code, reason = "each bench uses its own part")]

pub mod equations;
pub mod network;

use std::cell::Cell;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput};
use dualstep::Error;
use dualstep::bench::{self, Case, Ceilings, Size, Spread, Stage};
use dualstep::engine::{Counts, Gpu, GpuOptions, Plan, PlanBuilder, Tensor};

#[path = "../../tests/support/gpu.rs"]
mod gpu;

/// Fewest and most rounds.
const ROUNDS: (usize, usize) = (5, 31);
/// Seconds of rounds after the fewest.
const SECONDS_OF_ROUNDS: f64 = 3.0;
/// Seconds of one measurement: well inside what drivers put up with.
const SECONDS_AT_ONCE: f64 = 0.02;
/// Most replays of one measurement.
const MOST_AT_ONCE: f64 = 200.0;
/// By what share of their length two results of the same may differ: BADM's literal duals are differences of nearly equal
/// parameters, of which f32 keeps four digits.
const TOLERANCE: f64 = 1e-4;

/// Something to be timed.
pub struct Row<'a> {
    name: String,
    counts: Counts,
    time: Box<dyn Fn(u32) -> Result<f64, Error> + 'a>,
    /// How often it is done in one measurement, once it is known how long it takes.
    at_once: Cell<u32>,
    result: Option<(Gpu, Tensor)>,
}

impl<'a> Row<'a> {
    /// Work with these counts, of which `time` does so many and returns the seconds of one.
    pub fn new(
        name: impl Into<String>,
        counts: Counts,
        time: impl Fn(u32) -> Result<f64, Error> + 'a,
    ) -> Self {
        Self { name: name.into(), counts, time: Box::new(time), at_once: Cell::new(1), result: None }
    }

    /// Replays of what `record` records.
    pub fn replays(
        gpu: &Gpu,
        name: impl Into<String>,
        record: impl FnOnce(&mut PlanBuilder) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let name = name.into();
        let mut plan = PlanBuilder::new(gpu, &name);
        record(&mut plan)?;
        Ok(Self::of(name, plan.finish()?))
    }

    /// Replays of a case.
    pub fn case(Case { kernel, work, plan }: Case) -> Self {
        Self::of(format!("{kernel} {work}"), plan)
    }

    fn of(name: String, plan: Plan) -> Self {
        Self::new(name, plan.counts(), move |replays| plan.time(replays))
    }

    /// After it has run once, the result is there, and must be the other rows'.
    pub fn finding(self, gpu: &Gpu, result: &Tensor) -> Self {
        Self { result: Some((gpu.clone(), result.clone())), ..self }
    }

    /// Seconds of so many, a few at a time.
    fn seconds(&self, times: u64) -> Result<f64, Error> {
        let (mut total, mut left) = (0.0, times);
        while left > 0 {
            let now = left.min(self.at_once.get().into());
            let each = (self.time)(now as u32)?.max(1e-9);
            self.at_once.set((SECONDS_AT_ONCE / each).clamp(1.0, MOST_AT_ONCE) as u32);
            total += each * now as f64;
            left -= now;
        }
        Ok(total)
    }

    /// Seconds of one, by one measurement.
    fn measure(&self) -> Result<f64, Error> {
        let times = self.at_once.get();
        Ok(self.seconds(times.into())? / f64::from(times))
    }
}

/// The run of one bench.
pub struct Bench<'a> {
    name: &'a str,
    stage: &'a Stage<'a>,
    criterion: Criterion,
    /// The copy and the multiply-adds.
    ceilings: [Row<'a>; 2],
    tables: Vec<Table>,
}

/// What rounds found of a group or a list.
struct Table {
    title: String,
    /// Whether rows are held against the first.
    compares: bool,
    rows: Vec<Found>,
}

/// What rounds found of a row, and of the ceilings beside it.
struct Found {
    row: bench::Row,
    ceilings: Ceilings,
}

impl<'a> Bench<'a> {
    /// Memory for operands, and the device.
    pub fn stage(&self) -> &'a Stage<'a> {
        self.stage
    }

    /// Times rows beside each other.
    pub fn group(&mut self, title: &str, rows: Vec<Row<'_>>) -> Result<(), Error> {
        self.group_then(title, rows, || Ok(()))
    }

    /// The same, and what is to be told of the rows where no filter leaves them out.
    pub fn group_then(
        &mut self,
        title: &str,
        rows: Vec<Row<'_>>,
        tell: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        expect_same(title, &rows)?;
        if !self.by_themselves(title, &rows) {
            return Ok(());
        }
        if !is_test() {
            let rows = self.in_rounds(title, &rows)?;
            self.tables.push(Table { title: title.into(), compares: true, rows });
        }
        tell()
    }

    /// Times rows that do different work, each beside the ceilings alone and gone before the next is made: operands of all of
    /// them may be more than the device holds.
    pub fn list<'r>(
        &mut self,
        title: &str,
        rows: impl IntoIterator<Item = Result<Row<'r>, Error>>,
    ) -> Result<(), Error> {
        let mut found = Vec::new();
        for row in rows {
            let row = [row?];
            if self.by_themselves(title, &row) && !is_test() {
                found.extend(self.in_rounds(title, &row)?);
            }
        }
        if !found.is_empty() {
            self.tables.push(Table { title: title.into(), compares: false, rows: found });
        }
        Ok(())
    }

    /// Has criterion time each row, if no filter leaves it out. Whether it timed any.
    fn by_themselves(&mut self, title: &str, rows: &[Row<'_>]) -> bool {
        let mut group = self.criterion.benchmark_group(format!("{}/{title}", self.name));
        // All samples of one length: a row may well take longer than a sample should.
        group.sampling_mode(SamplingMode::Flat);
        let is_any_timed = Cell::new(false);
        for row in rows {
            if row.counts.bytes > 0 {
                group.throughput(Throughput::Bytes(row.counts.bytes));
            }
            group.bench_function(&row.name, |bencher| {
                bencher.iter_custom(|times| {
                    is_any_timed.set(true);
                    Duration::from_secs_f64(row.seconds(times).expect("the device is there"))
                });
            });
        }
        group.finish();
        is_any_timed.get()
    }

    fn in_rounds(&self, title: &str, rows: &[Row<'_>]) -> Result<Vec<Found>, Error> {
        let all = || self.ceilings.iter().chain(rows);
        let mut measured = vec![Vec::new(); self.ceilings.len() + rows.len()];
        let start = Instant::now();
        let is_over = |rounds| {
            let is_time_up = start.elapsed().as_secs_f64() > SECONDS_OF_ROUNDS;
            rounds >= ROUNDS.1 || (rounds >= ROUNDS.0 && is_time_up)
        };
        for _ in (0..).take_while(|rounds| !is_over(*rounds)) {
            for (row, measured) in all().zip(&mut measured) {
                measured.push(row.measure()?);
            }
        }
        let found = all().zip(measured).map(|(row, measured)| bench::Row {
            kernel: row.name.clone(),
            work: title.into(),
            seconds: Spread::of(measured),
            flops: row.counts.flops,
            bytes: row.counts.bytes,
        });
        let mut ceilings: Vec<_> = found.collect();
        let rows = ceilings.split_off(self.ceilings.len());
        let ceilings = Ceilings { bandwidth: ceilings[0].bandwidth(), arithmetic: ceilings[1].flop_rate() };
        Ok(rows.into_iter().map(|row| Found { row, ceilings }).collect())
    }
}

impl Table {
    fn print(&self) {
        let Self { title, compares, rows } = self;
        let median =
            |of: fn(&Ceilings) -> f64| Spread::of(rows.iter().map(|row| of(&row.ceilings)).collect());
        let bandwidth = median(|ceilings| ceilings.bandwidth).median / 1e9;
        let arithmetic = median(|ceilings| ceilings.arithmetic).median / 1e9;
        println!("\n{title} (ceilings {bandwidth:.2} GB/s, {arithmetic:.1} GFLOP/s)");
        let times = if *compares { "times" } else { "" };
        println!("{:>11} {:>6} {:>8} {:>9} {:>8} {times:>8}", "ms", "± %", "GB/s", "GFLOP/s", "share %");
        for Found { row, ceilings } in rows {
            // Work of the host has no counts.
            let rate = |work: u64, digits: usize| match work {
                0 => "-".into(),
                _ => format!("{:.digits$}", work as f64 / row.seconds.median / 1e9),
            };
            let share = match row.bytes {
                0 => "-".into(),
                _ => format!("{:.1}", 100.0 * row.share(ceilings).0),
            };
            let times = match compares {
                true => format!("{:.2}", row.seconds.median / rows[0].row.seconds.median),
                false => String::new(),
            };
            println!(
                "{:11.4} {:6.1} {:>8} {:>9} {share:>8} {times:>8}  {}",
                1e3 * row.seconds.median,
                100.0 * row.seconds.relative(),
                rate(row.bytes, 2),
                rate(row.flops, 1),
                row.kernel
            );
        }
    }
}

/// Runs each row that has a result once, and holds it against the first.
fn expect_same(title: &str, rows: &[Row<'_>]) -> Result<(), Error> {
    let mut expected: Option<Vec<f32>> = None;
    for row in rows {
        let Some((gpu, result)) = &row.result else { continue };
        row.seconds(1)?;
        let found: Vec<f32> = gpu.read(result)?;
        let expected = expected.get_or_insert_with(|| found.clone());
        assert_eq!(found.len(), expected.len(), "{title}: results of different lengths");
        let square = |value: f32| f64::from(value).powi(2);
        let off: f64 = found.iter().zip(&*expected).map(|(a, b)| square(a - b)).sum();
        let size: f64 = expected.iter().copied().map(square).sum();
        assert!(size > 0.0, "{title}: nothing was found");
        let share = (off / size).sqrt();
        assert!(share <= TOLERANCE, "{title}: what {} finds differs by {share:e}", row.name);
    }
    Ok(())
}

/// `cargo test` runs benches to see that they still work; `cargo bench` says that it is itself.
fn is_test() -> bool {
    std::env::args().all(|argument| argument != "--bench")
}

/// Runs a bench that is named like its file.
pub fn main(name: &str, ask: fn(&mut Bench<'_>) -> Result<(), Error>) {
    let run = || {
        let Some(gpu) = gpu::open(GpuOptions::default()) else { return Ok(()) };
        println!("{}", gpu.capabilities());
        let stage = Stage::new(&gpu, if is_test() { Size::Tiny } else { Size::Medium })?;
        let ceilings = stage.ceilings()?.map(Row::case);
        let criterion = Criterion::default()
            .sample_size(10)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1))
            .configure_from_args();
        let mut bench = Bench { name, stage: &stage, criterion, ceilings, tables: Vec::new() };
        ask(&mut bench)?;
        bench.criterion.final_summary();
        bench.tables.iter().for_each(Table::print);
        Ok::<(), Error>(())
    };
    if let Err(error) = run() {
        panic!("{error}");
    }
}
