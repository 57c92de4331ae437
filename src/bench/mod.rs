//! Kernels by the clock, against the device's own ceilings.
//!
//! `dualstep bench` calls [`run`], `dualstep tune` [`tune`](tune()), and the files in `benches/` take calls from
//! [`Stage::cases`]. Two kernels that do one thing alone, `elementwise/copy` and `elementwise/multiply_add`, show what the
//! device can do at most; every other is held against the one that binds it, by the roofline model (Williams, Waterman,
//! Patterson 2009): work of F FLOPs on B bytes takes at least max(B / bandwidth, F / arithmetic).
//!
//! What always holds:
//!
//! - Counts are the plans' own: each operand once per direction, however often a kernel reads it.
//! - A round times every row once, then comes the next round, so that what disturbs the machine disturbs all rows alike,
//!   the ceilings among them. A row tells the median of the rounds and their middle half.
//! - A time is the mean of some replays in one pass, by the device's clock where it has one.
//! - Operands are larger than most caches from [`Size::Medium`] on.

mod cases;
mod report;
mod tune;

use std::time::Instant;

use serde::{Deserialize, Serialize};

pub use cases::{Case, Stage};
pub use report::{Bound, Ceilings, Change, Overhead, Report, Row, Spread, Verdict, compare};
pub use tune::{Gain, gains, tune};

use crate::Error;
use crate::engine::{Batch, DeviceWords, Gpu, Plan, PlanBuilder, Shape, StorageType};
use crate::kernels::elementwise;

/// Fewest and most rounds.
const ROUNDS: (u32, u32) = (3, 50);
/// Seconds of one measurement, where there is time for it.
const SECONDS_PER_TIMING: f64 = 0.02;
/// Most replays in one measurement.
const MOST_REPLAYS: f64 = 200.0;
/// The shortest time there is: what a clock that stood still is taken to have told.
const TICK: f64 = 1e-9;
/// The share of a ceiling that a row is expected to reach when the size is chosen.
const EXPECTED_SHARE: f64 = 0.4;
/// Seconds in which nothing but tiny operands can be measured, nor what larger ones would take.
const FEW_SECONDS: f64 = 3.0;

/// How a bench is to be run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// About how long it may take; a minute unless said otherwise.
    pub seconds: Option<f64>,
    /// How large operands are; unless said otherwise, the largest for which there is time.
    pub size: Option<Size>,
    /// Only kernels and works that contain this, beside the ceilings.
    pub only: Option<String>,
}

/// How large operands are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// 1 MiB, for tests: in any cache, and over before much can be told.
    Tiny,
    /// 32 MiB; products of up to 512 rows and columns.
    Small,
    /// 128 MiB; products of up to 1024 rows and columns.
    Medium,
    /// 256 MiB; products of up to 4096 rows and columns.
    Large,
}

/// What a [`Size`] means.
struct Sizes {
    /// As it is called on the command line.
    name: &'static str,
    /// Bytes of the largest operands.
    operand_bytes: u64,
    /// Of `elementwise/multiply_add`.
    rounds: u32,
    /// Sides of square products.
    sides: &'static [u32],
    /// Width and samples of a hidden layer, as solvers have it.
    layer: (u32, u32),
    /// Samples and sides of products with packed weights.
    packed: [(u32, u32); 2],
    /// FLOPs and bytes of a round in which everything is replayed once, nearly.
    round: (f64, f64),
}

impl Size {
    /// As it is called on the command line.
    pub const fn name(self) -> &'static str {
        self.sizes().name
    }

    const fn sizes(self) -> &'static Sizes {
        match self {
            Self::Tiny => &Sizes {
                name: "tiny",
                operand_bytes: 1 << 20,
                rounds: 8,
                sides: &[64, 128],
                layer: (100, 256),
                packed: [(16, 128), (1, 256)],
                round: (53e6, 33e6),
            },
            Self::Small => &Sizes {
                name: "small",
                operand_bytes: 32 << 20,
                rounds: 16,
                sides: &[128, 256, 512],
                layer: (500, 2048),
                packed: [(128, 1024), (1, 2048)],
                round: (5.5e9, 1.1e9),
            },
            Self::Medium => &Sizes {
                name: "medium",
                operand_bytes: 128 << 20,
                rounds: 32,
                sides: &[256, 512, 1024],
                layer: (1000, 4096),
                packed: [(256, 2048), (1, 4096)],
                round: (42e9, 4.3e9),
            },
            Self::Large => &Sizes {
                name: "large",
                operand_bytes: 256 << 20,
                rounds: 100,
                sides: &[256, 512, 1024, 2048, 4096],
                layer: (1000, 4096),
                packed: [(256, 2048), (1, 8192)],
                round: (221e9, 8.8e9),
            },
        }
    }
}

/// How far a bench has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Rows that are timed.
    pub rows: usize,
    /// Of the operands.
    pub size: Size,
    /// Rounds that are done.
    pub rounds: u32,
    /// Since it began.
    pub seconds: f64,
}

/// Measures, and waits for the device throughout. `tell` hears of every round.
///
/// # Errors
/// [`Error::Setting`] when the time is not a positive number or nothing is to be measured; [`Error::Limit`] when the
/// operands do not fit; [`Error::DeviceFault`] when the device failed.
pub fn run(gpu: &Gpu, options: &Options, mut tell: impl FnMut(Progress)) -> Result<Report, Error> {
    let start = Instant::now();
    let seconds = budget(options.seconds)?;
    let stage = match options.size {
        Some(size) => Stage::new(gpu, size)?,
        None => largest_stage(gpu, affordable(gpu, seconds)?)?,
    };
    let size = stage.size();
    let cases = wanted_cases(&stage, options.only.as_deref())?;
    let overhead = overhead(gpu)?;
    let seconds_each = SECONDS_PER_TIMING.min(seconds / (2.0 * f64::from(ROUNDS.0) * cases.len() as f64));
    let timed = cases.into_iter().map(|case| Timed::new(case, seconds_each));
    let mut timed = timed.collect::<Result<Vec<_>, _>>()?;
    let mut rounds = 0;
    loop {
        let before = start.elapsed().as_secs_f64();
        timed.iter_mut().try_for_each(Timed::measure)?;
        rounds += 1;
        let now = start.elapsed().as_secs_f64();
        tell(Progress { rows: timed.len(), size, rounds, seconds: now });
        let is_time_up = now + (now - before) > seconds;
        if rounds >= ROUNDS.1 || (rounds >= ROUNDS.0 && is_time_up) {
            break;
        }
    }
    let rows: Vec<Row> = timed.into_iter().map(Timed::into_row).collect();
    let ceilings = Ceilings { bandwidth: rows[0].bandwidth(), arithmetic: rows[1].flop_rate() };
    let device_time = gpu.capabilities().timestamps;
    let (format, dualstep) = (Report::format(), env!("CARGO_PKG_VERSION").into());
    let device = DeviceWords::of(gpu.capabilities());
    Ok(Report { format, dualstep, device, device_time, size, rounds, ceilings, overhead, rows })
}

fn budget(seconds: Option<f64>) -> Result<f64, Error> {
    let seconds = seconds.unwrap_or(60.0);
    if seconds > 0.0 && seconds.is_finite() {
        return Ok(seconds);
    }
    Err(Error::Setting { setting: "seconds", value: seconds.to_string(), expected: "must be more than 0" })
}

/// The ceilings, and the cases whose kernel and work contain `only`.
fn wanted_cases(stage: &Stage<'_>, only: Option<&str>) -> Result<Vec<Case>, Error> {
    let pattern = only.unwrap_or_default();
    let (ceilings, cases) = (stage.ceilings()?, stage.cases(|name| name.contains(pattern))?);
    let is_wanted = |case: &Case| format!("{} {}", case.kernel, case.work).contains(pattern);
    if !cases.is_empty() || ceilings.iter().any(is_wanted) {
        return Ok(ceilings.into_iter().chain(cases).collect());
    }
    let expected = "must be part of the name of a row, such as linalg/matmul";
    Err(Error::Setting { setting: "only", value: pattern.into(), expected })
}

/// Of this size, or of a smaller one where the device's memory holds no more.
fn largest_stage(gpu: &Gpu, size: Size) -> Result<Stage<'_>, Error> {
    let smaller = [Size::Large, Size::Medium, Size::Small].into_iter().find(|smaller| *smaller < size);
    match (Stage::new(gpu, size), smaller) {
        (Err(Error::Limit { .. }), Some(smaller)) => largest_stage(gpu, smaller),
        (outcome, _) => outcome,
    }
}

/// The largest size whose rounds fit, by a quick look at the ceilings.
fn affordable(gpu: &Gpu, seconds: f64) -> Result<Size, Error> {
    if seconds < FEW_SECONDS {
        return Ok(Size::Tiny);
    }
    let stage = Stage::new(gpu, Size::Small)?;
    let [copy, multiply_add] = stage.ceilings()?;
    let best = |case: &Case| -> Result<f64, Error> {
        let times = (0..4).map(|_| case.plan.time(1)).collect::<Result<Vec<_>, _>>()?;
        Ok(times.into_iter().fold(f64::INFINITY, f64::min).max(TICK))
    };
    let bandwidth = copy.plan.counts().bytes as f64 / best(&copy)?;
    let arithmetic = multiply_add.plan.counts().flops as f64 / best(&multiply_add)?;
    let fits = |size: &Size| {
        let (flops, bytes) = size.sizes().round;
        let round = (flops / arithmetic + bytes / bandwidth) / EXPECTED_SHARE;
        // Two more for warming up.
        f64::from(ROUNDS.0 + 2) * round <= seconds
    };
    Ok([Size::Large, Size::Medium].into_iter().find(fits).unwrap_or(Size::Small))
}

/// A case, how often it is replayed in one measurement, and what was measured.
struct Timed {
    case: Case,
    replays: u32,
    measured: Vec<f64>,
}

impl Timed {
    /// Replays it twice: once to have its memory and code at hand, once to see how often it fits so many seconds.
    fn new(case: Case, seconds: f64) -> Result<Self, Error> {
        case.plan.time(1)?;
        let replays = (seconds / case.plan.time(1)?.max(TICK)).clamp(1.0, MOST_REPLAYS) as u32;
        Ok(Self { case, replays, measured: Vec::new() })
    }

    fn measure(&mut self) -> Result<(), Error> {
        self.measured.push(self.case.plan.time(self.replays)?.max(TICK));
        Ok(())
    }

    fn into_row(self) -> Row {
        let counts = self.case.plan.counts();
        Row {
            kernel: self.case.kernel.into(),
            work: self.case.work,
            seconds: Spread::of(self.measured),
            flops: counts.flops,
            bytes: counts.bytes,
        }
    }
}

/// What a dispatch costs beside the kernel's own time, by one that writes sixteen bytes.
fn overhead(gpu: &Gpu) -> Result<Overhead, Error> {
    /// As many as one submission takes.
    const DISPATCHES: u32 = 256;
    const REPEATS: u32 = 20;
    let y = gpu.zeros(Shape::vector(4), StorageType::F32)?;
    let record = |dispatches: u32| -> Result<Plan, Error> {
        let mut plan = PlanBuilder::new(gpu, "overhead");
        (0..dispatches).try_for_each(|_| elementwise::fill(&mut plan, &y, 1.0))?;
        plan.finish()
    };
    let (many, one) = (record(DISPATCHES)?, record(1)?);
    many.run()?;
    gpu.wait()?;
    let seconds_each = |start: Instant| start.elapsed().as_secs_f64() / f64::from(DISPATCHES);
    let (mut recording, mut replay) = (Vec::new(), Vec::new());
    let (mut dispatch, mut round_trip) = (Vec::new(), Vec::new());
    for _ in 0..REPEATS {
        let start = Instant::now();
        record(DISPATCHES)?;
        recording.push(seconds_each(start));
        let start = Instant::now();
        let mut batch = Batch::new(gpu);
        batch.replay(&many, 1)?;
        batch.submit()?;
        replay.push(seconds_each(start));
        gpu.wait()?;
        dispatch.push((many.time(1)? / f64::from(DISPATCHES)).max(TICK));
        let start = Instant::now();
        one.run()?;
        gpu.wait()?;
        round_trip.push(start.elapsed().as_secs_f64());
    }
    Ok(Overhead {
        recording: Spread::of(recording),
        replay: Spread::of(replay),
        dispatch: Spread::of(dispatch),
        round_trip: Spread::of(round_trip),
    })
}
