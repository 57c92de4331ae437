//! How near first-order steps come to the copy, and what it saves to have all parameters in one row.
//!
//! Every method on one row of parameters, bytes being all that such a step is made of; what a look at the gradients adds; and
//! a network of many small tensors, one dispatch over the row that holds them all beside one for each. The control's network
//! is one tensor.

mod support;

use dualstep::Error;
use dualstep::bench::Size;
use dualstep::engine::{Shape, Slab, StorageType, Tensor};
use dualstep::solvers::first_order::{FirstOrder, FirstOrderConfig, Method};
use dualstep::solvers::optimizer::Guard;
use support::{Bench, Row};

fn ask(bench: &mut Bench<'_>) -> Result<(), Error> {
    let (stage, gpu) = (bench.stage(), bench.stage().gpu());
    let row = stage.matrix(1, 4).elements() as u32 / 4;
    let (gradient, w) = (stage.input(0, Shape::vector(row))?, stage.output(0, Shape::vector(row))?);
    let step = |name: &str, config: FirstOrderConfig| {
        let rule = FirstOrder::new(gpu, &config, &w)?;
        Row::replays(gpu, name, |plan| rule.record(plan, &gradient))
    };
    bench.list("a step", Method::ALL.into_iter().map(|method| step(method.name(), unguarded(method))))?;
    let guarded = FirstOrderConfig::pytorch(Method::Adam);
    let rows = vec![step("trusted", unguarded(Method::Adam))?, step("looked at", guarded)?];
    bench.group("gradients before a step of Adam", rows)?;

    let (count, side) = if stage.size() == Size::Tiny { (4, 16) } else { (256, 128) };
    one_row(bench, "a network of small tensors", &vec![Shape::vector(side * side); count])?;
    one_row(bench, "control: a network of one tensor", &[Shape::vector(side * side * count as u32)])
}

fn unguarded(method: Method) -> FirstOrderConfig {
    FirstOrderConfig { guard: Guard::Trust, ..FirstOrderConfig::pytorch(method) }
}

/// Adam over these tensors as one row, and as so many parts of it.
fn one_row(bench: &mut Bench<'_>, title: &str, shapes: &[Shape]) -> Result<(), Error> {
    let (stage, gpu) = (bench.stage(), bench.stage().gpu());
    let slab = Slab::new(shapes)?;
    let gradients = stage.input(0, slab.shape(1))?;
    let zeros = || gpu.zeros(slab.shape(1), StorageType::F32);
    let parts = |row: &Tensor| {
        (0..shapes.len()).map(|part| slab.part(row, 0, part)).collect::<Result<Vec<_>, Error>>()
    };
    let (together, apart) = (zeros()?, zeros()?);
    let config = unguarded(Method::Adam);
    let whole = FirstOrder::new(gpu, &config, &together)?;
    let each = FirstOrder::new(gpu, &config, &parts(&apart)?)?;
    let rows = vec![
        Row::replays(gpu, "one row", |plan| whole.record(plan, &gradients))?.finding(gpu, &together),
        Row::replays(gpu, format!("{} parts", shapes.len()), |plan| each.record(plan, &parts(&gradients)?))?
            .finding(gpu, &apart),
    ];
    bench.group(title, rows)
}

fn main() {
    support::main("first_order", ask);
}
