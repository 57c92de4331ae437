//! Tiles of matrix products by the clock: what `dualstep tune` keeps for an adapter.
//!
//! What always holds: only tiles are measured that `dualstep verify` checks on such a device; a measurement is the three
//! products that networks are trained by, A B, A Bᵀ and Aᵀ B, of one shape; results consist of whole tiles, so that what tiles
//! waste at the edges of a result is counted when one is chosen, and not here.

use super::cases::{Case, Stage};
use super::{FEW_SECONDS, SECONDS_PER_TIMING, Size, Spread, Timed, budget};
use crate::Error;
use crate::engine::{Gpu, PlanBuilder, Shape, TileTimes, Tuning};
use crate::kernels::linalg::{self, Transposed};
use crate::kernels::tiles::{self, Tile};

const ROUNDS: u32 = 5;
/// Length of all sums; no power of two, at which rows fall into the same places of caches.
const INNER: u32 = 1000;
/// Rows and columns of results, in tiles.
const SIDES: [u32; 6] = [1, 2, 4, 8, 16, 32];
/// Rows and columns of the results that [`gains`] looks at.
const SIZES: [u32; 8] = [10, 32, 100, 200, 256, 784, 1000, 4096];

/// Measures every tile that makes sense on this device, and waits for it throughout. It takes about so many seconds. `tell`
/// hears of every round, and how many there are.
///
/// # Errors
/// [`Error::Setting`] when the time is not a positive number; [`Error::Limit`] when the operands do not fit;
/// [`Error::DeviceFault`] when the device failed.
pub fn tune(gpu: &Gpu, seconds: f64, mut tell: impl FnMut(u32, u32)) -> Result<Tuning, Error> {
    let seconds = budget(Some(seconds))?;
    let stage = Stage::new(gpu, if seconds < FEW_SECONDS { Size::Tiny } else { Size::Small })?;
    let tiles = tiles::eligible(gpu.capabilities().class);
    // The next result is four times as large, so all smaller ones take a third of the time of the largest.
    let longest = seconds / (f64::from(ROUNDS + 2) * tiles.len() as f64 * 4.0 / 3.0);
    let timed = tiles.iter().map(|tile| Ok((tile.label, results(&stage, *tile, longest)?)));
    let mut timed = timed.collect::<Result<Vec<_>, Error>>()?;
    for round in 1..=ROUNDS {
        timed.iter_mut().flat_map(|(_, timed)| timed).try_for_each(|(_, timed)| timed.measure())?;
        tell(round, ROUNDS);
    }
    let times = |timed: Vec<(u64, Timed)>| {
        timed.into_iter().map(|(groups, timed)| (groups, Spread::of(timed.measured).median)).collect()
    };
    let tiles =
        timed.into_iter().map(|(tile, timed)| TileTimes { tile: tile.into(), times: times(timed) }).collect();
    Ok(Tuning { tiles, ..Tuning::new(gpu.capabilities()) })
}

/// Results of more and more of these tiles, up to one that takes this long, or to what the stage holds.
fn results(stage: &Stage<'_>, tile: Tile, longest: f64) -> Result<Vec<(u64, Timed)>, Error> {
    let mut found = Vec::new();
    for side in SIDES {
        let output = Shape::new(side * tile.rows, side * tile.columns);
        let operands = [output, Shape::new(INNER, output.rows), Shape::new(INNER, output.columns)];
        if operands.iter().any(|shape| 4 * shape.elements() > stage.bytes()) {
            break;
        }
        let timed = Timed::new(products(stage, tile, output)?, SECONDS_PER_TIMING.min(longest))?;
        let seconds = timed.case.plan.time(1)?;
        found.push((tile.count(output), timed));
        if 4.0 * seconds > longest {
            break;
        }
    }
    Ok(found)
}

/// The three products of one result.
fn products(stage: &Stage<'_>, tile: Tile, output: Shape) -> Result<Case, Error> {
    use Transposed::{No, Yes};
    let stored = |rows, transposed| match transposed {
        No => Shape::new(rows, INNER),
        Yes => Shape::new(INNER, rows),
    };
    let product = stage.output(0, output)?;
    let mut plan = PlanBuilder::new(stage.gpu(), "tune");
    for (left, right) in [(No, No), (No, Yes), (Yes, No)] {
        let a = stage.input(0, stored(output.rows, left))?;
        let turned = if right == No { Yes } else { No };
        let b = stage.input(1, stored(output.columns, turned))?;
        linalg::matmul_by(&mut plan, tile, (&a, left), (&b, right), &product)?;
    }
    Ok(Case { kernel: linalg::MATMUL.name, work: output.to_string(), plan: plan.finish()? })
}

/// A result that a tuned device computes in other tiles than it would by rule.
#[derive(Clone, Copy, Debug)]
pub struct Gain {
    /// Of the result.
    pub output: Shape,
    /// The tile by rule.
    pub by_rule: &'static str,
    /// The tile by the clock.
    pub tuned: &'static str,
    /// How many times as long the first takes, as foreseen.
    pub ratio: f64,
}

/// What a tuning changes on this device, of results between 10 × 10 and 4096 × 4096, and of how many that is.
pub fn gains(gpu: &Gpu, tuning: &Tuning) -> (Vec<Gain>, usize) {
    let device = gpu.capabilities();
    let shapes = SIZES.iter().flat_map(|rows| SIZES.map(|columns| Shape::new(*rows, columns)));
    let gains = shapes.filter_map(|output| {
        let (by_rule, tuned) =
            (tiles::tile_by_rule(device, output), tiles::tile_by_clock(device, tuning, output)?);
        let seconds = |tile: Tile| tuning.seconds(tile.label, tile.count(output));
        let ratio = seconds(by_rule)? / seconds(tuned)?;
        (by_rule.label != tuned.label).then_some(Gain {
            output,
            by_rule: by_rule.label,
            tuned: tuned.label,
            ratio,
        })
    });
    (gains.collect(), SIZES.len() * SIZES.len())
}
