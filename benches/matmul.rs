//! How much of the arithmetic products reach by shape, and what is saved where not all of a product is needed.
//!
//! Squares, the shapes of layers and of their gradients, skinny ones, packed weights: the cases of `dualstep bench`. Then a
//! Gram matrix, of which half is computed and the rest mirrored, beside the product that computes all of it; the control's Gram
//! matrix is one tile, of which no half can be left out. Last the gradients of all sub-batches in one dispatch beside one
//! dispatch each; the control has one sub-batch.

mod support;

use dualstep::Error;
use dualstep::bench::Size;
use dualstep::engine::{Shape, Slab, StorageType, Tensor};
use dualstep::kernels::linalg::{self, Transposed};
use dualstep::kernels::mlp::{self, Gradients};
use support::{Bench, Row};

fn ask(bench: &mut Bench<'_>) -> Result<(), Error> {
    let is_tiny = bench.stage().size() == Size::Tiny;
    let products = bench.stage().cases(|name| name.starts_with("linalg/"))?;
    bench.list("by shape", products.into_iter().map(|case| Ok(Row::case(case))))?;

    let (samples, width) = if is_tiny { (256, 100) } else { (4096, 1000) };
    gram(bench, "Aᵀ A", (samples, width))?;
    gram(bench, "control: Aᵀ A of one tile", (64 * samples, 16))?;
    let (samples, width) = if is_tiny { (256, 16) } else { (2048, 256) };
    gradients(bench, "gradients of sub-batches", (16, samples, width))?;
    gradients(bench, "control: the gradient of one sub-batch", (1, samples, width))
}

/// Half of a product beside all of it.
fn gram(bench: &mut Bench<'_>, title: &str, (samples, width): (u32, u32)) -> Result<(), Error> {
    let (stage, gpu) = (bench.stage(), bench.stage().gpu());
    let a = stage.input(0, Shape::new(samples, width))?;
    let square = Shape::new(width, width);
    let zeros = || gpu.zeros(square, StorageType::F32);
    let (half, whole) = (zeros()?, zeros()?);
    let work = format!("{width} × {width} × {samples}");
    let rows = vec![
        Row::replays(gpu, format!("half of {work}"), |plan| linalg::gram(plan, &a, &half))?
            .finding(gpu, &half),
        Row::replays(gpu, format!("all of {work}"), |plan| {
            linalg::matmul_add(plan, (&a, Transposed::Yes), (&a, Transposed::No), &whole)
        })?
        .finding(gpu, &whole),
    ];
    bench.group(title, rows)
}

/// All sub-batches in one dispatch beside one each.
fn gradients(
    bench: &mut Bench<'_>,
    title: &str,
    (sub_batches, samples, width): (u32, u32, u32),
) -> Result<(), Error> {
    let (stage, gpu) = (bench.stage(), bench.stage().gpu());
    let shape = Shape::new(samples, width);
    let (delta, inputs) = (stage.input(0, shape)?, stage.input(1, shape)?);
    let gradient = Shape::vector(width * width);
    let slab = Slab::new(&vec![gradient; sub_batches as usize])?;
    let together = gpu.zeros(Shape::new(sub_batches, gradient.columns), StorageType::F32)?;
    let apart = gpu.zeros(slab.shape(1), StorageType::F32)?;
    let part = samples / sub_batches;
    let work = format!("{sub_batches} × ({width} × {width} × {part})");
    let rows = vec![
        Row::replays(gpu, format!("{work} in one dispatch"), |plan| {
            mlp::weight_gradient(plan, &delta, &inputs, Gradients { rows: &together, first: 0 })
        })?
        .finding(gpu, &together),
        Row::replays(gpu, format!("{work}, a dispatch each"), |plan| {
            (0..sub_batches).try_for_each(|n| {
                let of = |tensor: &Tensor| tensor.row_range(n * part..(n + 1) * part);
                let gradients = Gradients { rows: &slab.part(&apart, 0, n as usize)?, first: 0 };
                mlp::weight_gradient(plan, &of(&delta)?, &of(&inputs)?, gradients)
            })
        })?
        .finding(gpu, &apart),
    ];
    bench.group(title, rows)
}

fn main() {
    support::main("matmul", ask);
}
