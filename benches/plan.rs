//! What the host does for a dispatch, and what a plan that is recorded once saves of it.
//!
//! The same dispatches of a kernel that has next to nothing to do: replayed from a plan, recorded afresh each time, and
//! replayed one submission a dispatch. Times are the host's, until the last is handed to the queue; the device is waited for
//! outside of them. The control waits for the device instead, with one product that takes long: however it gets there, the
//! time is the product's.

mod support;

use std::time::Instant;

use dualstep::Error;
use dualstep::bench::Size;
use dualstep::engine::{Counts, Gpu, Plan, PlanBuilder, Shape, StorageType};
use dualstep::kernels::elementwise;
use dualstep::kernels::linalg::{self, Transposed};
use support::{Bench, Row};

/// As many as one submission takes.
const DISPATCHES: u32 = 256;

fn ask(bench: &mut Bench<'_>) -> Result<(), Error> {
    let (stage, gpu) = (bench.stage(), bench.stage().gpu());
    let y = gpu.zeros(Shape::vector(4), StorageType::F32)?;
    let fills =
        |count: u32| recorded(gpu, |plan| (0..count).try_for_each(|_| elementwise::fill(plan, &y, 1.0)));
    let (all, one) = (fills(DISPATCHES)?, fills(1)?);
    let rows = vec![
        row(gpu, "replayed", || all.run()),
        row(gpu, "recorded afresh", || fills(DISPATCHES)?.run()),
        row(gpu, "a submission each", || (0..DISPATCHES).try_for_each(|_| one.run())),
    ];
    bench.group(&format!("{DISPATCHES} dispatches"), rows)?;

    let side = if stage.size() == Size::Tiny { 64 } else { 1024 };
    let square = Shape::new(side, side);
    let (a, b, product) = (stage.input(0, square)?, stage.input(1, square)?, stage.output(0, square)?);
    let multiply =
        || recorded(gpu, |plan| linalg::matmul(plan, (&a, Transposed::No), (&b, Transposed::No), &product));
    let replayed = multiply()?;
    let until_done = |plan: &Plan| plan.run().and_then(|()| gpu.wait());
    let rows = vec![
        row(gpu, "replayed", || until_done(&replayed)),
        row(gpu, "recorded afresh", || until_done(&multiply()?)),
    ];
    bench.group("control: one long dispatch, until it is done", rows)
}

fn recorded(gpu: &Gpu, record: impl Fn(&mut PlanBuilder) -> Result<(), Error>) -> Result<Plan, Error> {
    let mut plan = PlanBuilder::new(gpu, "plan");
    record(&mut plan)?;
    plan.finish()
}

/// Work by the host's clock, with an idle device before each.
fn row<'a>(gpu: &'a Gpu, name: &str, work: impl Fn() -> Result<(), Error> + 'a) -> Row<'a> {
    Row::new(name, Counts::default(), move |times| {
        let mut seconds = 0.0;
        for _ in 0..times {
            gpu.wait()?;
            let start = Instant::now();
            work()?;
            seconds += start.elapsed().as_secs_f64();
        }
        Ok(seconds / f64::from(times))
    })
}

fn main() {
    support::main("plan", ask);
}
