//! What N:M sparsity costs in training and what it saves in products.
//!
//! Projection by pattern and the update of N:M ADMM, beside the copy; a step of Adam without a penalty, with the pull towards
//! T, and on masked weights, and as control a penalty on none of the weights, which has to cost nothing. Then the same sparse
//! weights packed and dense: times a vector, where reading them is all there is to do and the packed ones are fewer, and times
//! a matrix, where multiplying is, of which packing saves nothing.

mod support;

use dualstep::Error;
use dualstep::bench::Size;
use dualstep::engine::{PlanBuilder, Shape, StorageType, Tensor};
use dualstep::kernels::elementwise;
use dualstep::kernels::first_order::{self, CLOCK_LENGTH, Method, Penalty, PenaltyKind, RUN};
use dualstep::kernels::linalg::{self, Transposed};
use dualstep::kernels::nm::{self, NmPattern, Packed, Update};
use dualstep::kernels::optimizer::NOTHING_FOUND;
use support::{Bench, Row};

const WIDTH: u32 = 1024;

fn ask(bench: &mut Bench<'_>) -> Result<(), Error> {
    projections(bench)?;
    steps(bench)?;
    let side = if bench.stage().size() == Size::Tiny { 128 } else { 2048 };
    for (keep, group) in [(1, 4), (2, 4), (4, 8)] {
        let pattern = NmPattern::new(keep, group)?;
        packed(bench, &format!("a vector times weights of {pattern}"), (1, side), pattern)?;
        packed(bench, &format!("a matrix times weights of {pattern}"), (side / 8, side), pattern)?;
    }
    Ok(())
}

fn projections(bench: &mut Bench<'_>) -> Result<(), Error> {
    let (stage, gpu) = (bench.stage(), bench.stage().gpu());
    let shape = stage.matrix(1, WIDTH);
    let (w, t) = (stage.input(0, shape)?, stage.output(0, shape)?);
    let found = gpu.upload_u32(Shape::vector(1), &[NOTHING_FOUND])?;
    let patterns = [(1, 4), (2, 4), (4, 8), (8, 16), (16, 32)];
    let patterns: Vec<_> =
        patterns.iter().map(|(keep, group)| NmPattern::new(*keep, *group)).collect::<Result<_, _>>()?;
    let copy = || Row::replays(gpu, "elementwise/copy", |plan| elementwise::copy(plan, &w, &t));
    let mut rows = vec![copy()?];
    for pattern in &patterns {
        let mask = gpu.zeros(pattern.mask(shape)?, StorageType::U32)?;
        rows.push(Row::replays(gpu, format!("{pattern} of {shape}"), |plan| {
            nm::project(plan, *pattern, &w, &t, &mask, &found)
        })?);
    }
    bench.group("projections", rows)?;
    let mut rows = vec![copy()?];
    for pattern in &patterns {
        let chunks = nm::Place::alone(*pattern, shape).update_chunks()?;
        let update = Update {
            group: pattern.group(),
            w: &w,
            chunks: &nm::upload_chunks(gpu, &chunks)?,
            settings: &gpu.zeros(Shape::vector(nm::SETTINGS_LENGTH), StorageType::F32)?,
            t: &t,
            partials: &gpu.zeros(Shape::vector(8 * chunks.len() as u32), StorageType::F32)?,
            slot: 0,
        };
        rows.push(Row::replays(gpu, format!("{pattern} of {shape}"), |plan| nm::admm_update(plan, update))?);
    }
    bench.group("updates", rows)
}

/// Of Adam, with what is asked of the weights beside.
fn steps(bench: &mut Bench<'_>) -> Result<(), Error> {
    let (stage, gpu) = (bench.stage(), bench.stage().gpu());
    let count = stage.matrix(4, WIDTH).elements() as u32;
    let (gradient, t) = (stage.input(0, Shape::vector(count))?, stage.input(1, Shape::vector(count))?);
    let (w, state) = (stage.output(0, Shape::vector(count))?, stage.output(1, Shape::new(2, count))?);
    let settings = gpu.zeros(Shape::vector(nm::SETTINGS_LENGTH), StorageType::F32)?;
    let clock = stage.clock(CLOCK_LENGTH)?;
    let table = |words: Vec<u32>| gpu.upload_u32(Shape::vector(words.len() as u32), &words);
    let all = table((0..count / RUN).flat_map(|run| [run, 0]).collect())?;
    let none = table((0..count / RUN).flat_map(|_| [first_order::DENSE, 0]).collect())?;
    let plain = || {
        Row::replays(gpu, format!("without, {count}"), |plan| {
            first_order::step(plan, Method::Adam, &gradient, &clock, &state, &w)
        })
    };
    let with = |name: &str, kind, places: &Tensor| {
        let penalty = Penalty { kind, settings: &settings, places, t: &t };
        Row::replays(gpu, name, |plan| {
            first_order::sparse_step(plan, Method::Adam, &gradient, &clock, penalty, &state, &w)
        })
    };
    let rows =
        vec![plain()?, with("a pull", PenaltyKind::Pull, &all)?, with("a mask", PenaltyKind::Masked, &all)?];
    bench.group("a penalty in a step", rows)?;
    let rows = vec![plain()?, with("on none", PenaltyKind::Pull, &none)?];
    bench.group("control: a penalty on none of the weights", rows)
}

/// The same weights both ways.
fn packed(
    bench: &mut Bench<'_>,
    title: &str,
    (samples, side): (u32, u32),
    pattern: NmPattern,
) -> Result<(), Error> {
    let (stage, gpu) = (bench.stage(), bench.stage().gpu());
    let (left, weights) = (Shape::new(samples, side), Shape::new(side, side));
    let (left, w) = (stage.input(0, left)?, stage.input(1, weights)?);
    let zeros = |shape, storage| gpu.zeros(shape, storage);
    let (projected, mask) = (stage.output(2, weights)?, zeros(pattern.mask(weights)?, StorageType::U32)?);
    let values = zeros(pattern.values(weights)?, StorageType::F32)?;
    let places = zeros(pattern.places(weights)?, StorageType::U32)?;
    let packed = Packed { values: &values, places: &places };
    let found = gpu.upload_u32(Shape::vector(1), &[NOTHING_FOUND])?;
    let mut plan = PlanBuilder::new(gpu, "pack");
    nm::project(&mut plan, pattern, &w, &projected, &mask, &found)?;
    nm::pack(&mut plan, pattern, &w, &mask, packed)?;
    plan.finish()?.run()?;

    let of = |which| stage.output(which, Shape::new(samples, side));
    let (dense_product, packed_product) = (of(0)?, of(1)?);
    let rows = vec![
        Row::replays(gpu, format!("dense, {samples} × {side} × {side}"), |plan| {
            linalg::matmul(plan, (&left, Transposed::No), (&projected, Transposed::Yes), &dense_product)
        })?
        .finding(gpu, &dense_product),
        Row::replays(gpu, "packed", |plan| match samples {
            1 => linalg::matvec_nm(plan, &left, pattern, packed, &packed_product),
            _ => linalg::matmul_nm(plan, &left, pattern, packed, &packed_product),
        })?
        .finding(gpu, &packed_product),
    ];
    bench.group(title, rows)
}

fn main() {
    support::main("nm", ask);
}
