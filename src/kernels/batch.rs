//! Mini-batches: drawing them on the device, and how a batch is cut into sub-batches.
//!
//! A cursor of [`CURSOR_LENGTH`] words says where in which epoch training is, so that one recorded plan serves every
//! batch. Sub-batch n of S in a batch of B samples is those from ⌊nB/S⌋ up to ⌊(n + 1)B/S⌋.

use super::sparse::Sparse;
use super::{WG_SIZE, expect_labels, expect_length, plain};
use crate::Error;
use crate::engine::{
    Binding, Dispatch, Gpu, Groups, Kernel, PlanBuilder, Shape, StorageType, Tensor, Variant, params,
};

/// Words of a cursor: samples of this epoch that were taken, the epoch, the seed, batches taken in all.
pub const CURSOR_LENGTH: u32 = 4;

/// A cursor that begins the first epoch of this seed.
///
/// # Errors
/// [`Error::DeviceFault`] when the device failed.
pub fn cursor(gpu: &Gpu, seed: u32) -> Result<Tensor, Error> {
    gpu.upload_u32(Shape::vector(CURSOR_LENGTH), &[0, 0, seed, 0])
}

/// Samples of each of `sub_batches` sub-batches of `samples`.
pub fn sub_batch_sizes(samples: u32, sub_batches: u32) -> impl Iterator<Item = u32> {
    let start = move |n: u32| (u64::from(n) * u64::from(samples) / u64::from(sub_batches)) as u32;
    (0..sub_batches).map(move |n| start(n + 1) - start(n))
}

/// Refuses a number of sub-batches that leaves one of them empty, or that the shaders' arithmetic does not hold.
pub(super) fn expect_sub_batches(
    kernel: &'static Kernel,
    samples: u32,
    sub_batches: u32,
) -> Result<(), Error> {
    let fits = (u64::from(samples) + 1) * u64::from(sub_batches) <= u64::from(u32::MAX);
    if sub_batches > 0 && sub_batches <= samples && fits {
        return Ok(());
    }
    let detail = format!("{samples} samples cannot be cut into {sub_batches} sub-batches of at least one");
    Err(Error::Shape { kernel: kernel.name, detail })
}

/// One side of the square in which the permutation shuffles: its root, rounded up.
fn side(count: u32) -> u32 {
    let root = count.isqrt();
    if root * root == count { root } else { root + 1 }
}

/// Refuses a batch of more samples than there are.
fn expect_fewer(kernel: &'static Kernel, samples: u32, count: u32) -> Result<(), Error> {
    if samples <= count {
        return Ok(());
    }
    let detail = format!("a batch of {samples} from {count} samples");
    Err(Error::Shape { kernel: kernel.name, detail })
}

/// `batch/gather`
pub static GATHER: Kernel = Kernel {
    name: "batch/gather",
    bindings: &[Binding::read("x"), Binding::read("cursor"), Binding::write("y")],
    params: GatherParams::LAYOUT,
    variants: plain,
};

params! {
    struct GatherParams { quads: u32, samples: u32, count: u32, side: u32 }
}

/// The next samples by the cursor, as many as `y` has rows: y\[s\] = x\[π(position + s)\] with a permutation π that
/// depends on the cursor's seed and epoch.
///
/// Shapes: `x` is all samples × features, `y` the batch's samples × features.
///
/// # Errors
/// [`Error::Shape`] when features differ or the batch is larger than all, and those of [`PlanBuilder::dispatch`].
pub fn gather(plan: &mut PlanBuilder, x: &Tensor, cursor: &Tensor, y: &Tensor) -> Result<(), Error> {
    let (all, batch) = (x.shape(), y.shape());
    super::expect_shape(&GATHER, "y", y, Shape::new(batch.rows, all.columns))?;
    expect_length(&GATHER, "cursor", cursor, CURSOR_LENGTH.into())?;
    expect_fewer(&GATHER, batch.rows, all.rows)?;
    plan.dispatch(Dispatch {
        kernel: &GATHER,
        variant: Variant::new("plain"),
        operands: &[x, cursor, y],
        params: bytemuck::bytes_of(&GatherParams {
            quads: all.quads(),
            samples: batch.rows,
            count: all.rows,
            side: side(all.rows),
        }),
        groups: Groups::over(batch.stored() / 4, WG_SIZE),
        flops: 0,
    })
}

/// `batch/gather_sparse`
pub static GATHER_SPARSE: Kernel = Kernel {
    name: "batch/gather_sparse",
    bindings: &[
        Binding::read("starts"),
        Binding::read("indices"),
        Binding::read("values"),
        Binding::read("cursor"),
        Binding::write("y"),
    ],
    params: GatherSparseParams::LAYOUT,
    variants: plain,
};

params! {
    struct GatherSparseParams { stride: u32, samples: u32, count: u32, side: u32 }
}

/// The samples that [`gather`] takes, from sparse ones and with all their zeros.
///
/// Shapes: `x` is all samples × features, each feature at most once in a row, `y` the batch's samples × features.
///
/// # Errors
/// As [`gather`].
pub fn gather_sparse(plan: &mut PlanBuilder, x: &Sparse, cursor: &Tensor, y: &Tensor) -> Result<(), Error> {
    let (all, batch) = (x.shape(), y.shape());
    super::expect_shape(&GATHER_SPARSE, "y", y, Shape::new(batch.rows, all.columns))?;
    expect_length(&GATHER_SPARSE, "cursor", cursor, CURSOR_LENGTH.into())?;
    expect_fewer(&GATHER_SPARSE, batch.rows, all.rows)?;
    let [starts, indices, values] = x.lists();
    plan.dispatch(Dispatch {
        kernel: &GATHER_SPARSE,
        variant: Variant::new("plain"),
        operands: &[starts, indices, values, cursor, y],
        params: bytemuck::bytes_of(&GatherSparseParams {
            stride: batch.stride(),
            samples: batch.rows,
            count: all.rows,
            side: side(all.rows),
        }),
        groups: Groups(batch.rows.into()),
        flops: 0,
    })
}

/// `batch/gather_labels`
pub static GATHER_LABELS: Kernel = Kernel {
    name: "batch/gather_labels",
    bindings: &[Binding::read("x"), Binding::read("cursor"), Binding::write("y")],
    params: GatherLabelsParams::LAYOUT,
    variants: plain,
};

params! {
    struct GatherLabelsParams { samples: u32, count: u32, side: u32 }
}

/// The labels of the samples that [`gather`] takes.
///
/// # Errors
/// [`Error::Shape`] when one of `x` and `y` is not of u32 or the batch is larger than all, and those of
/// [`PlanBuilder::dispatch`].
pub fn gather_labels(plan: &mut PlanBuilder, x: &Tensor, cursor: &Tensor, y: &Tensor) -> Result<(), Error> {
    let (count, samples) = (x.shape().columns, y.shape().columns);
    expect_labels(&GATHER_LABELS, x, count)?;
    expect_labels(&GATHER_LABELS, y, samples)?;
    expect_length(&GATHER_LABELS, "cursor", cursor, CURSOR_LENGTH.into())?;
    expect_fewer(&GATHER_LABELS, samples, count)?;
    plan.dispatch(Dispatch {
        kernel: &GATHER_LABELS,
        variant: Variant::new("plain"),
        operands: &[x, cursor, y],
        params: bytemuck::bytes_of(&GatherLabelsParams { samples, count, side: side(count) }),
        groups: Groups::over(samples.into(), WG_SIZE),
        flops: 0,
    })
}

/// `batch/advance`
pub static ADVANCE: Kernel = Kernel {
    name: "batch/advance",
    bindings: &[Binding::update("cursor")],
    params: AdvanceParams::LAYOUT,
    variants: plain,
};

params! {
    struct AdvanceParams { samples: u32, count: u32, turn: u32 }
}

/// Moves the cursor on by a batch of `samples` out of `count`; past the last the next epoch begins, in an order of its own
/// if `reshuffles`, else with the same batches again.
///
/// # Errors
/// [`Error::Shape`] when the cursor is too short or not of u32, and those of [`PlanBuilder::dispatch`].
pub fn advance(
    plan: &mut PlanBuilder,
    cursor: &Tensor,
    (samples, count): (u32, u32),
    reshuffles: bool,
) -> Result<(), Error> {
    expect_length(&ADVANCE, "cursor", cursor, CURSOR_LENGTH.into())?;
    if cursor.storage() != StorageType::U32 {
        let detail = format!("`cursor` is stored as {:?} but must be U32", cursor.storage());
        return Err(Error::Shape { kernel: ADVANCE.name, detail });
    }
    plan.dispatch(Dispatch {
        kernel: &ADVANCE,
        variant: Variant::new("plain"),
        operands: &[cursor],
        params: bytemuck::bytes_of(&AdvanceParams { samples, count, turn: reshuffles.into() }),
        groups: Groups(1),
        flops: 0,
    })
}
