//! What an iteration of dlADMM takes, and of what parts it is made.
//!
//! The paper's network, 784-1000-1000-10 on 5,000 images, by each kind of step: beside nothing but products of as many
//! operations, which no iteration can be faster than, and with the parts that a profile finds, a pass for each dispatch. In the
//! control, quadratic steps with other penalties: they make other numbers, and no other work.

mod support;

use dualstep::Error;
use dualstep::bench::Size;
use dualstep::engine::Shape;
use dualstep::kernels::linalg::{self, Transposed};
use dualstep::solvers::dladmm::{Config, Exact, Steps};
use support::network::{iteration, network};
use support::{Bench, Row};

const WIDTH: u32 = 1000;

fn ask(bench: &mut Bench<'_>) -> Result<(), Error> {
    let (gpu, size) = (bench.stage().gpu(), bench.stage().size());
    for (name, steps) in [
        ("quadratic steps", Steps::Quadratic),
        ("a line search", Steps::LineSearch),
        ("exact steps", Steps::Exact(Exact::default())),
    ] {
        let network = network(gpu, size, WIDTH, Config { steps, ..Config::default() })?;
        let products = products(bench, network.counts().flops)?;
        let rows = vec![products, iteration("all of it", &network)];
        bench.group_then(&format!("an iteration by {name}"), rows, || {
            println!("\n{name}, part by part\n{}", network.iteration_plan().profile()?);
            Ok(())
        })?;
    }
    let networks = [1e-6, 1e-4, 1e-2].map(|rho| {
        let config = Config { steps: Steps::Quadratic, rho, nu: rho, ..Config::default() };
        Ok((rho, network(gpu, size, WIDTH, config)?))
    });
    let networks = networks.into_iter().collect::<Result<Vec<_>, Error>>()?;
    let rows = networks.iter().map(|(rho, network)| iteration(&format!("ρ = ν = {rho:e}"), network));
    bench.group("control: quadratic steps with other penalties", rows.collect())
}

/// The products of a hidden layer, as often as they make so many operations.
fn products(bench: &Bench<'_>, flops: u64) -> Result<Row<'static>, Error> {
    let stage = bench.stage();
    let (samples, width) = if stage.size() == Size::Tiny { (64, 16) } else { (5000, WIDTH) };
    let (side, square) = (Shape::new(samples, width), Shape::new(width, width));
    let (a, w, product) = (stage.input(0, side)?, stage.input(1, square)?, stage.output(0, side)?);
    let count = flops / (2 * side.elements() * u64::from(width));
    Row::replays(stage.gpu(), format!("{count} products"), |plan| {
        (0..count)
            .try_for_each(|_| linalg::matmul(plan, (&a, Transposed::No), (&w, Transposed::Yes), &product))
    })
}

fn main() {
    support::main("dladmm", ask);
}
