//! What acceleration costs.
//!
//! The kernels that go over the history, by its columns. Then a sweep's column with its products, beside all products of the
//! history formed anew by a reduction each, which is what it spares to keep the Gram matrix; in the control the history is one
//! column, so that the newest product is the only one. Last, iterations of a network with exact steps, with and without: the
//! accelerated one tries a candidate and judges it.

mod support;

use dualstep::Error;
use dualstep::engine::{Shape, StorageType, Tensor};
use dualstep::kernels::{anderson, elementwise, reduce};
use dualstep::solvers::anderson::AndersonConfig;
use dualstep::solvers::dladmm::Config;
use support::network::{iteration, network};
use support::{Bench, Row};

/// Of the longest history.
const MOST_MEMORY: u32 = 8;
/// Columns of the state, whatever it is.
const COLUMNS: u32 = 1024;

fn ask(bench: &mut Bench<'_>) -> Result<(), Error> {
    let memories = [1, 2, 4, MOST_MEMORY];
    let histories = memories.map(|memory| History::new(bench, memory));
    let histories = histories.into_iter().collect::<Result<Vec<_>, Error>>()?;
    let columns: Result<_, _> = histories.iter().map(|history| history.newest_column(bench)).collect();
    bench.group("the newest column and its products", columns?)?;
    let mixes: Result<_, _> = histories.iter().map(|history| history.mix(bench)).collect();
    bench.group("the candidate", mixes?)?;
    for (history, title) in [(&histories[2], ""), (&histories[0], "control: ")] {
        let title = format!("{title}the products of a history of {}", history.memory);
        bench.group(&title, vec![history.newest_column(bench)?, history.all_products(bench)?])?;
    }

    let (gpu, size) = (bench.stage().gpu(), bench.stage().size());
    let by = |acceleration| network(gpu, size, 500, Config { acceleration, ..Config::default() });
    let networks = [("plain", by(None)?), ("accelerated", by(Some(AndersonConfig::default()))?)];
    let rows = networks.iter().map(|(name, network)| iteration(name, network));
    bench.group("an iteration by exact steps, width 500", rows.collect())
}

/// A full history in the middle of a try, on the bench's memory.
struct History {
    memory: u32,
    /// The state before and after a sweep.
    x: Tensor,
    live: Tensor,
    /// Residual and image of the sweep before.
    f: Tensor,
    g: Tensor,
    columns: Tensor,
    ledger: Tensor,
}

impl History {
    fn new(bench: &Bench<'_>, memory: u32) -> Result<Self, Error> {
        let stage = bench.stage();
        let state = stage.matrix(2 * MOST_MEMORY, COLUMNS);
        Ok(Self {
            memory,
            x: stage.input(0, state)?,
            live: stage.input(1, state)?,
            f: stage.output(0, state)?,
            g: stage.output(1, state)?,
            columns: stage.output(2, anderson::history_shape(state, memory))?,
            ledger: stage.ledger(memory)?,
        })
    }

    fn name(&self, what: &str) -> String {
        format!("{what}, {} by {}", self.x.shape(), self.memory)
    }

    fn newest_column(&self, bench: &Bench<'_>) -> Result<Row<'static>, Error> {
        let gpu = bench.stage().gpu();
        let chunks = anderson::column_partials(gpu.capabilities().class, &self.live);
        let partials = Shape::new(anderson::pair_count(self.memory), 4 * chunks);
        let args = anderson::Columns {
            live: &self.live,
            x: &self.x,
            ledger: &self.ledger,
            f: &self.f,
            g: &self.g,
            history: &self.columns,
            partials: &gpu.zeros(partials, StorageType::F32)?,
            memory: self.memory,
            offset: 0,
            chunks,
        };
        Row::replays(gpu, self.name("one column"), |plan| anderson::columns(plan, &args))
    }

    fn mix(&self, bench: &Bench<'_>) -> Result<Row<'static>, Error> {
        let (g, live) = (&self.x, &self.f);
        Row::replays(bench.stage().gpu(), self.name("mixed"), |plan| {
            anderson::mix(plan, g, (&self.columns, self.memory), &self.ledger, live)
        })
    }

    /// Residual, image and both columns written by copies, then every pair of residual columns.
    fn all_products(&self, bench: &Bench<'_>) -> Result<Row<'static>, Error> {
        let gpu = bench.stage().gpu();
        let rows = self.x.shape().rows;
        let plane = |k: u32| self.columns.row_range(k * rows..(k + 1) * rows);
        let partials = gpu.zeros(Shape::vector(4 * reduce::partial_count(&self.x)), StorageType::F32)?;
        Row::replays(gpu, self.name("all products"), |plan| {
            elementwise::copy(plan, &self.x, &self.f)?;
            elementwise::copy(plan, &self.live, &self.g)?;
            elementwise::copy(plan, &self.f, &plane(0)?)?;
            elementwise::copy(plan, &self.g, &plane(self.memory)?)?;
            for first in 0..self.memory {
                for second in 0..=first {
                    reduce::dot(plan, &plane(first)?, &plane(second)?, &partials, 0)?;
                }
            }
            Ok(())
        })
    }
}

fn main() {
    support::main("anderson", ask);
}
