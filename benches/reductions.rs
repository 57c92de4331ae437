//! How near sums come to the copy, and what it saves to take several in one read.
//!
//! Sums over all elements, over the samples of each column, and over the classes of each sample. Then three inner products
//! in one read of both tensors, beside a dispatch for each. In the control one is wanted, which takes that read whatever else
//! is summed on the way.

mod support;

use dualstep::Error;
use dualstep::engine::{PlanBuilder, Shape, StorageType, Tensor};
use dualstep::kernels::mlp::{self, Gradients};
use dualstep::kernels::{dladmm, elementwise, line_search, reduce};
use support::{Bench, Row};

const WIDTH: u32 = 1000;

fn ask(bench: &mut Bench<'_>) -> Result<(), Error> {
    let stage = bench.stage();
    let cases = stage.cases(|name| name.starts_with("reduce/") || name.starts_with("loss/"))?;
    let [copy, _] = stage.ceilings()?;
    let rows = [copy].into_iter().chain(cases).map(Row::case);
    bench.group("over all elements and over classes", rows.collect())?;
    columns(bench)?;
    several(bench)
}

/// Sums over samples.
fn columns(bench: &mut Bench<'_>) -> Result<(), Error> {
    let (stage, gpu) = (bench.stage(), bench.stage().gpu());
    let shape = stage.matrix(1, WIDTH);
    let (product, goal) = (stage.input(0, shape)?, stage.input(1, shape)?);
    let bias = gpu.zeros(Shape::vector(WIDTH), StorageType::F32)?;
    let partials = gpu.zeros(Shape::new(dladmm::sum_rows(shape.rows), WIDTH), StorageType::F32)?;
    let sums = gpu.zeros(Shape::new(1, WIDTH), StorageType::F32)?;
    let rows = vec![
        Row::replays(gpu, "elementwise/copy", |plan| {
            elementwise::copy(plan, &product, &stage.output(0, shape)?)
        })?,
        Row::replays(gpu, "mlp/bias_gradient", |plan| {
            mlp::bias_gradient(plan, &product, Gradients { rows: &sums, first: 0 })
        })?,
        Row::replays(gpu, "line_search/column_squares", |plan| {
            line_search::column_squares(plan, &product, &partials, 0)
        })?,
        Row::replays(gpu, "dladmm/residual_sums", |plan| {
            dladmm::residual_sums(plan, &product, &bias, &goal, &partials, 0)
        })?,
    ];
    bench.group("over the samples of each column", rows)
}

/// Sums of the same two tensors.
fn several(bench: &mut Bench<'_>) -> Result<(), Error> {
    let (stage, gpu) = (bench.stage(), bench.stage().gpu());
    let shape = stage.matrix(1, WIDTH);
    let (x, y) = (stage.input(0, shape)?, stage.input(1, shape)?);
    let length = Shape::vector(4 * reduce::partial_count(&x));
    let partials = gpu.zeros(length, StorageType::F32)?;
    let dots = |plan: &mut PlanBuilder| reduce::dots(plan, &x, &y, &partials, 0);
    let dot = |plan: &mut PlanBuilder, a: &Tensor, b: &Tensor| reduce::dot(plan, a, b, &partials, 0);
    let three =
        |plan: &mut PlanBuilder| [(&x, &y), (&x, &x), (&y, &y)].iter().try_for_each(|(a, b)| dot(plan, a, b));
    let rows = vec![Row::replays(gpu, "one read", dots)?, Row::replays(gpu, "three, a sum each", three)?];
    bench.group("⟨x, y⟩, ‖x‖² and ‖y‖²", rows)?;
    let alone = |plan: &mut PlanBuilder| dot(plan, &x, &y);
    let rows = vec![Row::replays(gpu, "with three others", dots)?, Row::replays(gpu, "alone", alone)?];
    bench.group("control: ⟨x, y⟩, which takes the one read whatever is summed", rows)
}

fn main() {
    support::main("reductions", ask);
}
