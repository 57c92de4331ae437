//! Kernels of Anderson acceleration: a history of differences, a small solve, a candidate, and its judgement.
//!
//! They share a *ledger*, [`LEDGER_LENGTH`] words in `shaders/anderson/ledger.wgsl`, in which three of them decide and
//! by which the others act or return at once. So one recorded plan serves every sweep, whatever a sweep does.

use super::{LANES_OR_LOOPS, WG_SIZE, expect_length, expect_shape, plain, quads, summing, summing_lanes};
use crate::Error;
use crate::engine::{
    AdapterClass, Binding, Dispatch, Groups, Kernel, PlanBuilder, Shape, StorageType, Tensor, Variant, params,
};

/// Most columns of a history.
pub const MOST_COLUMNS: u32 = 16;

/// Words of the ledger.
pub const LEDGER_LENGTH: u32 = 20 + MOST_COLUMNS;

/// Elements of the Gram matrix, of which a shorter history uses the upper left part.
pub const GRAM_LENGTH: u32 = MOST_COLUMNS * MOST_COLUMNS;

/// Shape of the history of a tensor: `memory` planes of dF, then as many of dG.
pub fn history_shape(shape: Shape, memory: u32) -> Shape {
    Shape::new(2 * memory * shape.rows, shape.columns)
}

/// Lists of partial sums that a history of `memory` columns needs: one for two columns.
pub fn pair_count(memory: u32) -> u32 {
    memory.div_ceil(2)
}

/// Bytes of a plane of a history. (That of an empty tensor has sixteen in all, and plans skip it.)
fn plane_bytes(history: &Tensor, memory: u32) -> u64 {
    history.bytes() / (2 * u64::from(memory))
}

/// `anderson/open`
pub static OPEN: Kernel = Kernel {
    name: "anderson/open",
    bindings: &[Binding::read("watched"), Binding::update("ledger")],
    params: OpenParams::LAYOUT,
    variants: plain,
};

params! {
    /// Parameters of [`open`].
    pub struct OpenParams {
        /// Whether penalties are watched; 0 or 1.
        watching: u32,
        /// Word of the one penalty.
        first: u32,
        /// Word of the other.
        second: u32,
        /// Columns of the history.
        memory: u32,
        /// Sweeps before the first on which a candidate is due.
        start: u32,
        /// Sweeps from one on which a candidate is due to the next; not zero.
        period: u32,
        /// Whether candidates are extrapolated, which needs no solve; 0 or 1.
        extrapolating: u32,
        /// Step after the penalties changed.
        first_step: f32,
    }
}

/// Opens a sweep: forgets what belongs to other penalties, finds the new column's place, says what is due.
///
/// # Errors
/// [`Error::Shape`] when a list is too short, and those of [`PlanBuilder::dispatch`].
pub fn open(
    plan: &mut PlanBuilder,
    watched: &Tensor,
    ledger: &Tensor,
    params: OpenParams,
) -> Result<(), Error> {
    let last = if params.watching != 0 { params.first.max(params.second) } else { 0 };
    expect_length(&OPEN, "watched", watched, u64::from(last) + 1)?;
    expect_length(&OPEN, "ledger", ledger, LEDGER_LENGTH.into())?;
    plan.dispatch(Dispatch {
        kernel: &OPEN,
        variant: Variant::new("plain"),
        operands: &[watched, ledger],
        params: bytemuck::bytes_of(&params),
        groups: Groups(1),
        flops: 0,
    })
}

/// `anderson/columns`
pub static COLUMNS: Kernel = Kernel {
    name: "anderson/columns",
    bindings: &[
        Binding::read("live"),
        Binding::read("x"),
        Binding::read("ledger"),
        Binding::update("f"),
        Binding::update("g"),
        Binding::update("history"),
        Binding::write("partials"),
    ],
    params: ColumnsParams::LAYOUT,
    variants: || {
        let stored = history_variants().into_iter();
        stored.flat_map(|stored| LANES_OR_LOOPS.map(|class| column_variant(stored.clone(), class))).collect()
    },
};

params! {
    struct ColumnsParams { quads: u32, memory: u32, offset: u32, chunks: u32 }
}

/// `vec4`s that a lane of [`columns`] takes: as many as a GPU's registers hold; more where lanes are a loop and the tree over
/// them costs as much as reading.
fn column_rounds(class: AdapterClass) -> u32 {
    if class.is_software() { 16 } else { 4 }
}

/// The variant for a history that is stored so, on such a device.
fn column_variant(history: Variant, class: AdapterClass) -> Variant {
    match class.is_software() {
        false => history,
        true => summing(history, class).spec("ROUNDS", column_rounds(class)),
    }
}

/// `vec4`s of each list of partial sums that [`columns`] leaves for a tensor on such a device.
pub fn column_partials(class: AdapterClass, live: &Tensor) -> u32 {
    quads(live).div_ceil(column_rounds(class) * summing_lanes(class))
}

/// What [`columns`] works on.
#[derive(Debug)]
pub struct Columns<'a> {
    /// The state after the sweep.
    pub live: &'a Tensor,
    /// The state before it.
    pub x: &'a Tensor,
    /// What this sweep is to do.
    pub ledger: &'a Tensor,
    /// Residual of the sweep before; becomes that of this one.
    pub f: &'a Tensor,
    /// State after the sweep before; becomes that after this one.
    pub g: &'a Tensor,
    /// Of [`history_shape`], f32 or bf16.
    pub history: &'a Tensor,
    /// [`pair_count`] lists of `chunks` `vec4`s.
    pub partials: &'a Tensor,
    /// Columns of the history.
    pub memory: u32,
    /// Where this tensor's partial sums begin in each list.
    pub offset: u32,
    /// `vec4`s of a list.
    pub chunks: u32,
}

/// The newest column of the history, and partial sums of its products with every column.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree or a list is too short, and those of [`PlanBuilder::dispatch`].
pub fn columns(plan: &mut PlanBuilder, args: &Columns<'_>) -> Result<(), Error> {
    let Columns { live, x, ledger, f, g, history, partials, memory, offset, chunks } = *args;
    let shape = live.shape();
    for (name, tensor) in [("x", x), ("f", f), ("g", g)] {
        expect_shape(&COLUMNS, name, tensor, shape)?;
    }
    expect_memory(&COLUMNS, memory)?;
    expect_shape(&COLUMNS, "history", history, history_shape(shape, memory))?;
    expect_length(&COLUMNS, "ledger", ledger, LEDGER_LENGTH.into())?;
    let class = plan.gpu().capabilities().class;
    let count = column_partials(class, live);
    // The last list ends here, and no earlier one reaches into the next.
    expect_length(&COLUMNS, "partials", partials, 4 * u64::from(pair_count(memory)) * u64::from(chunks))?;
    if offset.checked_add(count).is_none_or(|end| end > chunks) {
        let detail = format!("{count} partial sums from {offset} on do not fit a list of {chunks}");
        return Err(Error::Shape { kernel: COLUMNS.name, detail });
    }
    let params = ColumnsParams { quads: quads(live), memory, offset, chunks };
    // The newest planes of dF and dG are written, the other planes of dF read.
    let touched = u64::from(memory + 1) * plane_bytes(history, memory);
    let dispatch = Dispatch {
        kernel: &COLUMNS,
        variant: column_variant(history_variant(&COLUMNS, history)?, class),
        operands: &[live, x, ledger, f, g, history, partials],
        params: bytemuck::bytes_of(&params),
        groups: Groups(count.into()),
        flops: (3 + 4 * u64::from(memory)) * shape.elements(),
    };
    plan.dispatch_in_part(dispatch, 2 * history.bytes() - touched)
}

/// `anderson/solve`
pub static SOLVE: Kernel = Kernel {
    name: "anderson/solve",
    bindings: &[Binding::read("partials"), Binding::update("gram"), Binding::update("ledger")],
    params: SolveParams::LAYOUT,
    variants: plain,
};

params! {
    struct SolveParams { chunks: u32, memory: u32, regularisation: f32 }
}

/// What [`solve`] works on.
#[derive(Debug)]
pub struct Solve<'a> {
    /// [`pair_count`] lists of `chunks` `vec4`s, as [`columns`] leaves them.
    pub partials: &'a Tensor,
    /// `vec4`s of a list.
    pub chunks: u32,
    /// [`GRAM_LENGTH`] products of the columns that are held.
    pub gram: &'a Tensor,
    /// What this sweep is to do; gets the weights and whether they are usable.
    pub ledger: &'a Tensor,
    /// Columns of the history.
    pub memory: u32,
    /// Added to the diagonal of the scaled Gram matrix, which is 1.
    pub regularisation: f32,
}

/// Adds up the newest column's products, and where a candidate is due finds its weights γ.
///
/// # Errors
/// [`Error::Shape`] when a list is too short, and those of [`PlanBuilder::dispatch`].
pub fn solve(plan: &mut PlanBuilder, args: &Solve<'_>) -> Result<(), Error> {
    let Solve { partials, chunks, gram, ledger, memory, regularisation } = *args;
    expect_memory(&SOLVE, memory)?;
    expect_length(&SOLVE, "partials", partials, 4 * u64::from(pair_count(memory)) * u64::from(chunks))?;
    expect_length(&SOLVE, "gram", gram, GRAM_LENGTH.into())?;
    expect_length(&SOLVE, "ledger", ledger, LEDGER_LENGTH.into())?;
    let cubed = u64::from(memory).pow(3);
    plan.dispatch(Dispatch {
        kernel: &SOLVE,
        variant: Variant::new("plain"),
        operands: &[partials, gram, ledger],
        params: bytemuck::bytes_of(&SolveParams { chunks, memory, regularisation }),
        groups: Groups(1),
        flops: 4 * u64::from(pair_count(memory)) * u64::from(chunks) + 2 * cubed,
    })
}

/// `anderson/mix`
pub static MIX: Kernel = Kernel {
    name: "anderson/mix",
    bindings: &[
        Binding::read("g"),
        Binding::read("history"),
        Binding::read("ledger"),
        Binding::update("live"),
    ],
    params: MixParams::LAYOUT,
    variants: history_variants,
};

params! {
    struct MixParams { quads: u32, memory: u32 }
}

/// live = g − t Σ γ_i dG_i where a candidate is tried; else `live` stays as it is.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn mix(
    plan: &mut PlanBuilder,
    g: &Tensor,
    (history, memory): (&Tensor, u32),
    ledger: &Tensor,
    live: &Tensor,
) -> Result<(), Error> {
    let shape = live.shape();
    expect_memory(&MIX, memory)?;
    expect_shape(&MIX, "g", g, shape)?;
    expect_shape(&MIX, "history", history, history_shape(shape, memory))?;
    expect_length(&MIX, "ledger", ledger, LEDGER_LENGTH.into())?;
    let params = MixParams { quads: quads(live), memory };
    // The planes of dG are read; `live` keeps what it holds where no candidate is tried, but is not read.
    let read = u64::from(memory) * plane_bytes(history, memory);
    let untouched = history.bytes() - read + live.bytes();
    let dispatch = Dispatch {
        kernel: &MIX,
        variant: history_variant(&MIX, history)?,
        operands: &[g, history, ledger, live],
        params: bytemuck::bytes_of(&params),
        groups: Groups::over(quads(live).into(), WG_SIZE),
        flops: 2 * (u64::from(memory) + 1) * shape.elements(),
    };
    plan.dispatch_in_part(dispatch, untouched)
}

/// `anderson/extrapolate`
pub static EXTRAPOLATE: Kernel = Kernel {
    name: "anderson/extrapolate",
    bindings: &[Binding::read("ledger"), Binding::update("live"), Binding::update("g")],
    params: ExtrapolateParams::LAYOUT,
    variants: plain,
};

params! {
    struct ExtrapolateParams { quads: u32 }
}

/// live = live + β (live − g) where that is tried; g = what `live` was.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn extrapolate(plan: &mut PlanBuilder, ledger: &Tensor, live: &Tensor, g: &Tensor) -> Result<(), Error> {
    expect_shape(&EXTRAPOLATE, "g", g, live.shape())?;
    expect_length(&EXTRAPOLATE, "ledger", ledger, LEDGER_LENGTH.into())?;
    plan.dispatch(Dispatch {
        kernel: &EXTRAPOLATE,
        variant: Variant::new("plain"),
        operands: &[ledger, live, g],
        params: bytemuck::bytes_of(&ExtrapolateParams { quads: quads(live) }),
        groups: Groups::over(quads(live).into(), WG_SIZE),
        flops: 3 * live.shape().elements(),
    })
}

/// `anderson/copy_where`
pub static COPY_WHERE: Kernel = Kernel {
    name: "anderson/copy_where",
    bindings: &[Binding::read("x"), Binding::read("ledger"), Binding::update("y")],
    params: CopyWhereParams::LAYOUT,
    variants: plain,
};

params! {
    struct CopyWhereParams { quads: u32, when: u32 }
}

/// When [`copy_where`] copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// In every sweep.
    Always = 0,
    /// Where a candidate was rejected.
    Rejected = 1,
    /// Where a candidate was rejected, or none was tried.
    NotKept = 2,
}

/// y = x, bit for bit, always or when the ledger says so; else `y` stays as it is.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree or elements are not of four bytes, and those of [`PlanBuilder::dispatch`].
pub fn copy_where(
    plan: &mut PlanBuilder,
    x: &Tensor,
    when: When,
    ledger: &Tensor,
    y: &Tensor,
) -> Result<(), Error> {
    expect_shape(&COPY_WHERE, "y", y, x.shape())?;
    expect_length(&COPY_WHERE, "ledger", ledger, LEDGER_LENGTH.into())?;
    for (name, tensor) in [("x", x), ("y", y)] {
        if tensor.storage().bytes() != 4 {
            let detail = format!("`{name}` is stored as {:?} but must be F32 or U32", tensor.storage());
            return Err(Error::Shape { kernel: COPY_WHERE.name, detail });
        }
    }
    plan.dispatch(Dispatch {
        kernel: &COPY_WHERE,
        variant: Variant::new("plain"),
        operands: &[x, ledger, y],
        params: bytemuck::bytes_of(&CopyWhereParams { quads: quads(x), when: when as u32 }),
        groups: Groups::over(quads(x).into(), WG_SIZE),
        flops: 0,
    })
}

/// `anderson/judge`
pub static JUDGE: Kernel = Kernel {
    name: "anderson/judge",
    bindings: &[Binding::read("merit_before"), Binding::read("merit_after"), Binding::update("ledger")],
    params: JudgeParams::LAYOUT,
    variants: plain,
};

params! {
    struct JudgeParams { before: u32, after: u32, growth: f32, most: f32, least: f32 }
}

/// How far a step goes, and how that changes with success.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRule {
    /// Factor of the step when a candidate is kept.
    pub growth: f32,
    /// Most that it grows to.
    pub most: f32,
    /// Least that halving it, when a candidate is rejected, leads to.
    pub least: f32,
}

/// Keeps the candidate if its merit is finite and no larger than the other, else marks it as rejected.
///
/// A merit is a tensor of f32 and the element in it.
///
/// # Errors
/// [`Error::Shape`] when a list is too short, and those of [`PlanBuilder::dispatch`].
pub fn judge(
    plan: &mut PlanBuilder,
    before: (&Tensor, u32),
    after: (&Tensor, u32),
    ledger: &Tensor,
    rule: StepRule,
) -> Result<(), Error> {
    for (name, (tensor, element)) in [("merit_before", before), ("merit_after", after)] {
        expect_length(&JUDGE, name, tensor, u64::from(element) + 1)?;
        expect_storage(&JUDGE, name, tensor, StorageType::F32)?;
    }
    expect_length(&JUDGE, "ledger", ledger, LEDGER_LENGTH.into())?;
    let StepRule { growth, most, least } = rule;
    plan.dispatch(Dispatch {
        kernel: &JUDGE,
        variant: Variant::new("plain"),
        operands: &[before.0, after.0, ledger],
        params: bytemuck::bytes_of(&JudgeParams { before: before.1, after: after.1, growth, most, least }),
        groups: Groups(1),
        flops: 0,
    })
}

/// A history of f32.
fn f32_history() -> Variant {
    Variant::new("f32")
}

/// A history of bf16.
fn bf16_history() -> Variant {
    Variant::new("bf16").import("anderson/history_f32", "anderson/history_bf16")
}

fn history_variants() -> Vec<Variant> {
    vec![f32_history(), bf16_history()]
}

/// The variant for how a history is stored.
fn history_variant(kernel: &'static Kernel, history: &Tensor) -> Result<Variant, Error> {
    match history.storage() {
        StorageType::F32 => Ok(f32_history()),
        StorageType::Bf16 => Ok(bf16_history()),
        other => {
            let detail = format!("`history` is stored as {other:?} but must be F32 or Bf16");
            Err(Error::Shape { kernel: kernel.name, detail })
        }
    }
}

fn expect_memory(kernel: &'static Kernel, memory: u32) -> Result<(), Error> {
    if (1..=MOST_COLUMNS).contains(&memory) {
        return Ok(());
    }
    let detail = format!("a history of {memory} columns; it holds 1 to {MOST_COLUMNS}");
    Err(Error::Shape { kernel: kernel.name, detail })
}

fn expect_storage(
    kernel: &'static Kernel,
    name: &str,
    tensor: &Tensor,
    storage: StorageType,
) -> Result<(), Error> {
    if tensor.storage() == storage {
        return Ok(());
    }
    let detail = format!("`{name}` is stored as {:?} but must be {storage:?}", tensor.storage());
    Err(Error::Shape { kernel: kernel.name, detail })
}
