//! Kernels of N:M sparsity: projection, the update of ADMM and its penalty's ρ, and the packed form.
//!
//! A pattern keeps so many weights of every group of consecutive columns of a row. What is kept are the largest magnitudes,
//! of equal ones the first. Magnitudes compare as their bits do, so infinities and NaN rank above all numbers, and the
//! kernels that meet them say so.
//!
//! # Masks
//!
//! One bit per weight, in u32 words: a row of the mask for each row of the matrix, whose word k holds the groups from
//! k ⌊32/group⌋ on, the first in the lowest bits and each with its first weight lowest. No group is cut, so that where the
//! group does not divide 32 the upper bits of a word are zero, as are the words that pad a row to four.
//!
//! # The packed form
//!
//! Two tensors with a row for each row of the matrix ([`NmPattern::values`], [`NmPattern::places`]):
//!
//! - values: the kept weights, group after group, each group's in the order of their columns;
//! - places: for each of those its place in its group, 0 to group − 1, in ⌈log₂ group⌉ bits, one after another from the
//!   lowest bit of the row's first word up; a place may begin in one word and end in the next. Words are little-endian.
//!
//! A group always has as many entries as the pattern keeps, zeros among them if need be. At 2:4 in f32 that is 8.5 bytes for
//! 16 of the dense matrix.

use std::fmt;
use std::str::FromStr;

use super::first_order::{CLOCK_LENGTH, Method};
use super::{LANES_OR_LOOPS, WG_SIZE, expect_length, expect_shape, plain, summing};
use crate::Error;
use crate::engine::{
    AdapterClass, Binding, Dispatch, Gpu, Groups, Kernel, PlanBuilder, Shape, StorageType, Tensor, Variant,
    params,
};

/// The widest group.
pub const MAX_GROUP: u32 = 32;

/// Groups that one workgroup of [`admm_update`] takes, and `vec4`s that one of [`divisors`] does.
pub const CHUNK: u32 = 1024;

/// Keep so many of every group of weights; `2:4` in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NmPattern {
    keep: u32,
    group: u32,
}

impl NmPattern {
    /// Keeps `keep` of every `group`.
    ///
    /// # Errors
    /// [`Error::Setting`] unless 1 ≤ keep < group ≤ 32.
    pub fn new(keep: u32, group: u32) -> Result<Self, Error> {
        if keep >= 1 && keep < group && group <= MAX_GROUP {
            return Ok(Self { keep, group });
        }
        Err(Self::refused(format!("{keep}:{group}")))
    }

    fn refused(value: String) -> Error {
        let expected = "must be keep:group, such as 2:4, with at least 1 kept, fewer than the group, and a group of at most 32";
        Error::Setting { setting: "pattern", value, expected }
    }

    /// Weights that stay of each group.
    pub const fn keep(self) -> u32 {
        self.keep
    }

    /// Weights of a group.
    pub const fn group(self) -> u32 {
        self.group
    }

    /// The share of weights that stay.
    pub fn density(self) -> f64 {
        f64::from(self.keep) / f64::from(self.group)
    }

    /// Bits of a place in a group: ⌈log₂ group⌉.
    pub const fn place_bits(self) -> u32 {
        u32::BITS - (self.group - 1).leading_zeros()
    }

    /// Groups in a word of a mask.
    pub const fn groups_per_word(self) -> u32 {
        u32::BITS / self.group
    }

    /// Groups of each row of a matrix.
    ///
    /// # Errors
    /// [`Error::Shape`] when the group does not divide the columns.
    pub fn groups(self, kernel: &'static str, matrix: Shape) -> Result<u32, Error> {
        if matrix.columns.is_multiple_of(self.group) {
            return Ok(matrix.columns / self.group);
        }
        let Shape { columns, .. } = matrix;
        let detail = format!(
            "a matrix of {matrix} cannot be {self}: {columns} columns are not whole groups of {}, {} are left over; use a \
             group that divides {columns}, or leave the matrix dense",
            self.group,
            columns % self.group
        );
        Err(Error::Shape { kernel, detail })
    }

    /// The shape of a matrix's mask, in words.
    ///
    /// # Errors
    /// [`Error::Shape`] when the group does not divide the columns.
    pub fn mask(self, matrix: Shape) -> Result<Shape, Error> {
        let groups = self.groups(PROJECT.name, matrix)?;
        Ok(Shape::new(matrix.rows, groups.div_ceil(self.groups_per_word())))
    }

    /// Which weights of a matrix the words of a mask keep, row by row.
    ///
    /// # Panics
    /// If there are fewer words than [`mask`](Self::mask) says, or the group does not divide the columns.
    pub fn kept(self, words: &[u32], matrix: Shape) -> Vec<bool> {
        let per_word = self.groups_per_word();
        let row_words = (matrix.columns / self.group).div_ceil(per_word);
        let bit = move |row: u32, column: u32| {
            let (group, place) = (column / self.group, column % self.group);
            let word = words[(row * row_words + group / per_word) as usize];
            (word >> (group % per_word * self.group + place)) & 1 == 1
        };
        (0..matrix.rows).flat_map(|row| (0..matrix.columns).map(move |column| bit(row, column))).collect()
    }

    /// The shape of a packed matrix's values.
    ///
    /// # Errors
    /// [`Error::Shape`] when the group does not divide the columns.
    pub fn values(self, matrix: Shape) -> Result<Shape, Error> {
        Ok(Shape::new(matrix.rows, self.groups(PACK.name, matrix)? * self.keep))
    }

    /// The shape of a packed matrix's places, in words.
    ///
    /// # Errors
    /// [`Error::Shape`] when the group does not divide the columns.
    pub fn places(self, matrix: Shape) -> Result<Shape, Error> {
        let bits = u64::from(self.values(matrix)?.columns) * u64::from(self.place_bits());
        // Fewer words than columns, for a place has at most five bits.
        Ok(Shape::new(matrix.rows, bits.div_ceil(32) as u32))
    }
}

impl fmt::Display for NmPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.keep, self.group)
    }
}

impl FromStr for NmPattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parts =
            text.split_once(':').and_then(|(keep, group)| Some((keep.parse().ok()?, group.parse().ok()?)));
        parts.map_or_else(|| Err(Self::refused(text.into())), |(keep, group)| Self::new(keep, group))
    }
}

impl TryFrom<String> for NmPattern {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<NmPattern> for String {
    fn from(pattern: NmPattern) -> Self {
        pattern.to_string()
    }
}

/// What steps and updates share of one sparse matrix, in words: `shaders/nm/settings.wgsl`. A tensor of settings has an
/// entry, a row of them, for each matrix. A host that changes one writes it, and records nothing again.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Settings {
    /// γ that every step pulls by, whatever its learning rate.
    pub pull: f32,
    /// ρ of the coupled penalty; a decoupled one pulls by the learning rate times this. Once a run has begun, the
    /// device's alone.
    pub rho: f32,
    /// ρ from the next update on.
    pub next_rho: f32,
    /// δ, at most 1: what is left of the dual after an update. Where ρ changes, c = δ ρ/next ρ is, but no more than 1.
    pub leak: f32,
    /// What a masked step leaves of a weight off the mask; 0 for a mask to the letter.
    pub left: f32,
    /// κ/interval of an automatic ρ; 0 where ρ is given.
    pub gain: f32,
    /// Steps before an automatic ρ is chosen.
    pub free_steps: u32,
    /// Of the matrix.
    pub weights: u32,
}

/// Words of [`Settings`].
pub const SETTINGS_LENGTH: u32 = (size_of::<Settings>() / 4) as u32;

/// The word of [`Settings`] that a host may write while a run goes on.
pub const NEXT_RHO: u32 = (std::mem::offset_of!(Settings, next_rho) / 4) as u32;

/// Refuses settings of fewer matrices than there must be.
pub(super) fn expect_settings(
    kernel: &'static Kernel,
    settings: &Tensor,
    matrices: u32,
) -> Result<(), Error> {
    expect_length(kernel, "settings", settings, u64::from(matrices) * u64::from(SETTINGS_LENGTH))
}

/// A matrix that is to become sparse, in a row of parameters.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its pattern.
    pub pattern: NmPattern,
    /// Its shape.
    pub shape: Shape,
    /// The element of the row at which it begins, a multiple of 4.
    pub w: u32,
    /// The element of T.
    pub t: u32,
    /// Its row among the settings.
    pub entry: u32,
}

/// What a workgroup of [`admm_update`] or [`divisors`] takes, in words: `shaders/nm/chunk.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Chunk {
    w: u32,
    t: u32,
    stride: u32,
    width: u32,
    first: u32,
    end: u32,
    keep: u32,
    entry: u32,
}

/// Words of a [`Chunk`].
pub const CHUNK_LENGTH: u32 = (size_of::<Chunk>() / 4) as u32;

/// A table of chunks, a row for each.
///
/// # Errors
/// [`Error::Limit`] when it does not fit the device.
pub fn upload_chunks(gpu: &Gpu, chunks: &[Chunk]) -> Result<Tensor, Error> {
    gpu.upload_u32(Shape::new(chunks.len() as u32, CHUNK_LENGTH), bytemuck::cast_slice(chunks))
}

impl Place {
    /// Of a matrix that is all of its row.
    pub fn alone(pattern: NmPattern, shape: Shape) -> Self {
        Self { pattern, shape, w: 0, t: 0, entry: 0 }
    }

    /// The chunks that [`admm_update`] takes of it, at most [`CHUNK`] groups each.
    ///
    /// # Errors
    /// [`Error::Shape`] when the group does not divide the columns; [`Error::Limit`] when there are 2³² groups.
    pub fn update_chunks(&self) -> Result<Vec<Chunk>, Error> {
        let Self { pattern, shape, w, t, .. } = self;
        let unit = if pattern.group.is_multiple_of(4) { 4 } else { 1 };
        let groups = pattern.groups(ADMM_UPDATE.name, *shape)?;
        self.cut(
            [w / unit, t / unit, shape.stride() / unit, groups],
            u64::from(shape.rows) * u64::from(groups),
        )
    }

    /// The chunks that [`divisors`] takes of it, at most [`CHUNK`] `vec4`s each.
    ///
    /// # Errors
    /// [`Error::Limit`] when there are 2³² of those.
    pub fn divisor_chunks(&self) -> Result<Vec<Chunk>, Error> {
        let Shape { columns, .. } = self.shape;
        self.cut([self.w / 4, self.t / 4, self.shape.quads(), columns], self.shape.stored() / 4)
    }

    fn cut(&self, [w, t, stride, width]: [u32; 4], all: u64) -> Result<Vec<Chunk>, Error> {
        let Ok(all) = u32::try_from(all) else {
            return Err(Error::Limit {
                what: format!("a sparse matrix of {}", self.shape),
                needed: format!("{all} groups"),
                allowed: u32::MAX.to_string(),
                remedy: "split the matrix",
            });
        };
        let (keep, entry) = (self.pattern.keep, self.entry);
        let chunk = |k: u32| {
            let (first, end) = (k * CHUNK, all.min(k.saturating_add(1).saturating_mul(CHUNK)));
            Chunk { w, t, stride, width, first, end, keep, entry }
        };
        Ok((0..all.div_ceil(CHUNK)).map(chunk).collect())
    }
}

/// The way of updating groups of a width, of weights stored in some way, on a class of device.
fn update_variant(group: u32, storage: StorageType, class: AdapterClass) -> Variant {
    let variant = match storage {
        StorageType::Bf16 => Variant::new("bf16").import("nm/stored_f32", "nm/stored_bf16"),
        StorageType::F16 => Variant::new("f16").import("nm/stored_f32", "nm/stored_f16"),
        StorageType::F32 | StorageType::U32 => Variant::new("f32"),
    };
    let variant = match group.is_multiple_of(4) {
        true => variant,
        false => variant.import("nm/quads", "nm/scalars"),
    };
    summing(variant.spec("GROUP", group), class)
}

/// What weights may be stored as.
pub(super) const STORAGES: [StorageType; 3] = [StorageType::F32, StorageType::Bf16, StorageType::F16];

/// Every width of group with every storage.
fn groups_and_storages() -> impl Iterator<Item = (u32, StorageType)> {
    (2..=MAX_GROUP).flat_map(|group| STORAGES.map(|storage| (group, storage)))
}

fn update_variants() -> Vec<Variant> {
    let all = groups_and_storages().filter(|(group, storage)| can_update(*group, *storage));
    all.flat_map(|(group, storage)| LANES_OR_LOOPS.map(|class| update_variant(group, storage, class)))
        .collect()
}

/// Whether an update takes weights in groups of this width stored so: groups of 16 bits that end inside a vec4 would share
/// words.
fn can_update(group: u32, storage: StorageType) -> bool {
    storage == StorageType::F32 || group.is_multiple_of(4)
}

/// The way of moving weights of some storage as bits, `Quad` by `Quad` where the kernel does.
fn bits_variant(storage: StorageType) -> Variant {
    match storage {
        StorageType::F32 | StorageType::U32 => Variant::new("32 bits"),
        StorageType::F16 | StorageType::Bf16 => Variant::new("16 bits").spec("WEIGHTS", 2),
    }
}

/// Groups that one lane of [`project`] takes: where lanes are a loop, all of a word of the mask, if its groups share no words
/// of weights with their neighbours.
fn run(group: u32, class: AdapterClass) -> u32 {
    if class.is_software() && group.is_multiple_of(4) { u32::BITS / group } else { 1 }
}

/// The way of projecting groups of a width, of weights stored in some way, on a class of device.
fn project_variant(group: u32, storage: StorageType, class: AdapterClass) -> Variant {
    let variant = bits_variant(storage).spec("GROUP", group);
    let variant = match run(group, class) {
        1 => variant,
        run => variant.spec("RUN", run).for_software(),
    };
    let variant = match (group.is_multiple_of(4), storage.bytes()) {
        (true, 4) => variant,
        (true, _) => variant.import("nm/quad_32", "nm/quad_16"),
        (false, _) => variant.import("nm/group_quads", "nm/group_scalars"),
    };
    match storage {
        StorageType::F32 | StorageType::U32 => variant,
        StorageType::Bf16 => variant.spec("INFINITE", 0x7f80),
        StorageType::F16 => variant.spec("INFINITE", 0x7c00),
    }
}

fn project_variants() -> Vec<Variant> {
    let ways = |(group, storage)| {
        let classes = LANES_OR_LOOPS
            .into_iter()
            .filter(move |class| *class == AdapterClass::Gpu || run(group, *class) > 1);
        classes.map(move |class| project_variant(group, storage, class))
    };
    groups_and_storages().flat_map(ways).collect()
}

fn pack_variants() -> Vec<Variant> {
    [StorageType::F32, StorageType::F16].map(bits_variant).into()
}

fn unpack_variant(storage: StorageType) -> Variant {
    let variant = bits_variant(storage);
    if storage.bytes() == 4 { variant } else { variant.import("nm/quad_32", "nm/quad_16") }
}

fn unpack_variants() -> Vec<Variant> {
    [StorageType::F32, StorageType::F16].map(unpack_variant).into()
}

/// The way of reading packed values as numbers.
pub(super) fn value_variant(storage: StorageType) -> Variant {
    let label = match storage {
        StorageType::F32 | StorageType::U32 => "f32",
        StorageType::Bf16 => "bf16",
        StorageType::F16 => "f16",
    };
    with_values(Variant::new(label), storage)
}

/// A variant that reads packed values of this storage.
pub(super) fn with_values(variant: Variant, storage: StorageType) -> Variant {
    match storage {
        StorageType::F32 | StorageType::U32 => variant,
        StorageType::Bf16 => variant.spec("WEIGHTS", 2).import("nm/number_f32", "nm/number_bf16"),
        StorageType::F16 => variant.spec("WEIGHTS", 2).import("nm/number_f32", "nm/number_f16"),
    }
}

pub(super) fn value_variants() -> Vec<Variant> {
    STORAGES.map(value_variant).into()
}

/// Words of a row of weights, padding included.
pub(super) fn row_words(tensor: &Tensor) -> u32 {
    (u64::from(tensor.shape().stride()) * tensor.storage().bytes() / 4) as u32
}

/// Refuses a tensor that holds no weights.
fn expect_weights(kernel: &'static Kernel, name: &str, tensor: &Tensor) -> Result<(), Error> {
    if STORAGES.contains(&tensor.storage()) {
        return Ok(());
    }
    let detail = format!("`{name}` is stored as {:?} but must be F32, F16 or Bf16", tensor.storage());
    Err(Error::Shape { kernel: kernel.name, detail })
}

/// Refuses a tensor that is stored in another way.
pub(super) fn expect_storage(
    kernel: &'static Kernel,
    name: &str,
    tensor: &Tensor,
    expected: StorageType,
) -> Result<(), Error> {
    let actual = tensor.storage();
    if actual == expected {
        return Ok(());
    }
    let detail = format!("`{name}` is stored as {actual:?} but must be {expected:?}");
    Err(Error::Shape { kernel: kernel.name, detail })
}

/// `nm/project`
pub static PROJECT: Kernel = Kernel {
    name: "nm/project",
    bindings: &[
        Binding::read("w"),
        Binding::write("projected"),
        Binding::write("mask"),
        Binding::update("found"),
    ],
    params: ProjectParams::LAYOUT,
    variants: project_variants,
};

params! {
    struct ProjectParams { rows: u32, groups: u32, stride: u32, words: u32, keep: u32 }
}

/// projected = Π(w), and the mask of what was kept, in the layout that the [module](self) describes.
///
/// `w` and `projected` have one shape and storage, f32, f16 or bf16, and what is kept keeps its bits. `found` is as
/// [`optimizer::finite`](super::optimizer::finite) leaves it: the stored index of the first weight that is infinite or NaN,
/// inverted, unless an earlier one stands there.
///
/// # Errors
/// [`Error::Shape`] when shapes or storages disagree or the group does not divide the columns, and those of
/// [`PlanBuilder::dispatch`].
pub fn project(
    plan: &mut PlanBuilder,
    pattern: NmPattern,
    w: &Tensor,
    projected: &Tensor,
    mask: &Tensor,
    found: &Tensor,
) -> Result<(), Error> {
    let shape = w.shape();
    let groups = pattern.groups(PROJECT.name, shape)?;
    expect_weights(&PROJECT, "w", w)?;
    expect_shape(&PROJECT, "projected", projected, shape)?;
    expect_storage(&PROJECT, "projected", projected, w.storage())?;
    expect_shape(&PROJECT, "mask", mask, pattern.mask(shape)?)?;
    expect_storage(&PROJECT, "mask", mask, StorageType::U32)?;
    expect_length(&PROJECT, "found", found, 1)?;
    let words = mask.shape().stride();
    let class = plan.gpu().capabilities().class;
    // An even number, so that no word of 16-bit weights is of two workgroups.
    let words_per_workgroup = WG_SIZE / (pattern.groups_per_word() / run(pattern.group, class)) / 2 * 2;
    plan.dispatch(Dispatch {
        kernel: &PROJECT,
        variant: project_variant(pattern.group, w.storage(), class),
        operands: &[w, projected, mask, found],
        params: bytemuck::bytes_of(&ProjectParams {
            rows: shape.rows,
            groups,
            stride: shape.stride(),
            words,
            keep: pattern.keep,
        }),
        groups: Groups::over(u64::from(shape.rows) * u64::from(words), words_per_workgroup),
        flops: 0,
    })
}

/// `nm/admm_update`
pub static ADMM_UPDATE: Kernel = Kernel {
    name: "nm/admm_update",
    bindings: &[
        Binding::read("w"),
        Binding::read("chunks"),
        Binding::read("settings"),
        Binding::update("t"),
        Binding::write("partials"),
    ],
    params: UpdateParams::LAYOUT,
    variants: update_variants,
};

params! {
    struct UpdateParams { chunks: u32, slot: u32 }
}

/// What an update of ADMM works on.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// The width of the groups of all these matrices.
    pub group: u32,
    /// A row of all parameters, f32, f16 or bf16.
    pub w: &'a Tensor,
    /// A row for each chunk, of [`Place::update_chunks`]; what places it names must be in `w`, `t` and `settings`.
    pub chunks: &'a Tensor,
    /// A row of [`Settings`] for each matrix.
    pub settings: &'a Tensor,
    /// T = Z − U, stored as `w`; replaced by the next one.
    pub t: &'a Tensor,
    /// Two `vec4`s for each chunk: ‖w − Z'‖², ‖Z' − Z‖², ‖w‖², ‖w where not kept‖²; and ‖Z'‖², mask bits that changed, V
    /// that are infinite or NaN, 0. Numbers of f32, so exact up to 2²⁴.
    pub partials: &'a Tensor,
    /// The chunk of `partials` that is the first of these.
    pub slot: u32,
}

/// The dual step and the projection of ADMM at w, in the single tensor T, which holds Z where the weight is kept and −U
/// elsewhere: bit for bit what Z' = Π(V), U' = c (V − Z') with V = w + U are in the storage of the weights. One dispatch for
/// all matrices with groups of one width, whatever they keep of them.
///
/// # Errors
/// [`Error::Shape`] when storages disagree, a list is too short or the storage has no groups of this width, and those of
/// [`PlanBuilder::dispatch`].
pub fn admm_update(plan: &mut PlanBuilder, args: Update<'_>) -> Result<(), Error> {
    let Update { group, w, chunks, settings, t, partials, slot } = args;
    expect_weights(&ADMM_UPDATE, "w", w)?;
    if !can_update(group, w.storage()) {
        let detail = format!(
            "weights stored as {:?} cannot be in groups of {group}; F32 can, and 16 bits in multiples of 4",
            w.storage()
        );
        return Err(Error::Shape { kernel: ADMM_UPDATE.name, detail });
    }
    let count = expect_chunks(&ADMM_UPDATE, chunks)?;
    expect_storage(&ADMM_UPDATE, "t", t, w.storage())?;
    expect_settings(&ADMM_UPDATE, settings, 1)?;
    expect_length(&ADMM_UPDATE, "partials", partials, 8 * (u64::from(slot) + u64::from(count)))?;
    plan.dispatch(Dispatch {
        kernel: &ADMM_UPDATE,
        variant: update_variant(group, w.storage(), plan.gpu().capabilities().class),
        operands: &[w, chunks, settings, t, partials],
        params: bytemuck::bytes_of(&UpdateParams { chunks: count, slot }),
        groups: Groups(count.into()),
        flops: 14 * t.shape().elements(),
    })
}

/// Refuses what is no table of chunks; returns how many there are.
fn expect_chunks(kernel: &'static Kernel, chunks: &Tensor) -> Result<u32, Error> {
    let count = chunks.shape().rows;
    expect_shape(kernel, "chunks", chunks, Shape::new(count, CHUNK_LENGTH))?;
    expect_storage(kernel, "chunks", chunks, StorageType::U32)?;
    Ok(count)
}

/// Refuses what is no table of ranges; returns how many there are.
fn expect_ranges(kernel: &'static Kernel, ranges: &Tensor) -> Result<u32, Error> {
    let matrices = ranges.shape().columns / 2;
    expect_shape(kernel, "ranges", ranges, Shape::vector(2 * matrices))?;
    expect_storage(kernel, "ranges", ranges, StorageType::U32)?;
    Ok(matrices)
}

/// `nm/measure`
pub static MEASURE: Kernel = Kernel {
    name: "nm/measure",
    bindings: &[
        Binding::read("partials"),
        Binding::read("ranges"),
        Binding::write("measures"),
        Binding::update("settings"),
        Binding::update("status"),
    ],
    params: MatricesParams::LAYOUT,
    variants: plain,
};

params! {
    struct MatricesParams { matrices: u32 }
}

/// What [`measure`] works on.
#[derive(Clone, Copy, Debug)]
pub struct Measure<'a> {
    /// What [`admm_update`] left.
    pub partials: &'a Tensor,
    /// First chunk and past the last, u32, of each matrix.
    pub ranges: &'a Tensor,
    /// Two `vec4`s for each matrix: the sums of its partial ones, and ρ in the last place.
    pub measures: &'a Tensor,
    /// A row of [`Settings`] for each matrix, whose ρ becomes the next.
    pub settings: &'a Tensor,
    /// The solver's status word: 4 × u32. Notes the number of the first matrix whose sums are not finite, counted from 1.
    pub status: &'a Tensor,
}

/// Closes an update: what it measured of each matrix, and the ρ of the steps to come.
///
/// # Errors
/// [`Error::Shape`] when a list is too short, and those of [`PlanBuilder::dispatch`].
pub fn measure(plan: &mut PlanBuilder, args: Measure<'_>) -> Result<(), Error> {
    let Measure { partials, ranges, measures, settings, status } = args;
    let matrices = expect_ranges(&MEASURE, ranges)?;
    expect_length(&MEASURE, "measures", measures, 8 * u64::from(matrices))?;
    expect_settings(&MEASURE, settings, matrices)?;
    expect_length(&MEASURE, "status", status, 4)?;
    plan.dispatch(Dispatch {
        kernel: &MEASURE,
        variant: Variant::new("plain"),
        operands: &[partials, ranges, measures, settings, status],
        params: bytemuck::bytes_of(&MatricesParams { matrices }),
        groups: Groups(1),
        flops: partials.shape().elements(),
    })
}

/// `nm/divisors`
pub static DIVISORS: Kernel = Kernel {
    name: "nm/divisors",
    bindings: &[
        Binding::read("state"),
        Binding::read("chunks"),
        Binding::read("clock"),
        Binding::write("sums"),
    ],
    params: DivisorsParams::LAYOUT,
    variants: || {
        let methods = [Method::AdaGrad, Method::Adadelta, Method::Adam, Method::Adamax];
        methods.into_iter().filter_map(divisor_variant).collect()
    },
};

params! {
    struct DivisorsParams { chunks: u32, quads: u32 }
}

/// The way of reading what a method divides gradients by; none where it does not.
fn divisor_variant(method: Method) -> Option<Variant> {
    let rule = |label, to| Some(Variant::new(label).import("nm/divisor_second", to));
    match method {
        Method::Sgd | Method::Momentum | Method::Nesterov => None,
        Method::AdaGrad | Method::RmsProp => rule("only", "nm/divisor_only"),
        Method::Adadelta => rule("ratio", "nm/divisor_ratio"),
        Method::Adam | Method::AdamW | Method::NAdam => Some(Variant::new("second")),
        Method::Adamax => rule("largest", "nm/divisor_largest"),
    }
}

/// Whether a method divides gradients by something, of which [`auto_rho`] could be made.
pub fn has_divisors(method: Method) -> bool {
    divisor_variant(method).is_some()
}

/// Partial sums of what a method divides gradients by, over the weights of each chunk: √v̂ of Adam, AdamW and NAdam, √s of
/// AdaGrad and RMSProp, u of Adamax, √(s + ε)/√(a + ε) of Adadelta.
///
/// `state` has [`Method::rows`] rows of parameters; `chunks` has a row for each chunk, of [`Place::divisor_chunks`]; `sums`
/// has an element for each.
///
/// # Errors
/// [`Error::Shape`] when the method divides by nothing, or a shape is not that; and those of [`PlanBuilder::dispatch`].
pub fn divisors(
    plan: &mut PlanBuilder,
    method: Method,
    state: &Tensor,
    chunks: &Tensor,
    clock: &Tensor,
    sums: &Tensor,
) -> Result<(), Error> {
    let Some(variant) = divisor_variant(method) else {
        let detail = format!("{} divides gradients by nothing", method.name());
        return Err(Error::Shape { kernel: DIVISORS.name, detail });
    };
    expect_shape(&DIVISORS, "state", state, Shape::new(method.rows(), state.shape().columns))?;
    let count = expect_chunks(&DIVISORS, chunks)?;
    expect_length(&DIVISORS, "clock", clock, CLOCK_LENGTH.into())?;
    expect_length(&DIVISORS, "sums", sums, count.into())?;
    plan.dispatch(Dispatch {
        kernel: &DIVISORS,
        variant,
        operands: &[state, chunks, clock, sums],
        params: bytemuck::bytes_of(&DivisorsParams { chunks: count, quads: state.shape().quads() }),
        groups: Groups(count.into()),
        flops: 3 * state.shape().elements(),
    })
}

/// `nm/auto_rho`
pub static AUTO_RHO: Kernel = Kernel {
    name: "nm/auto_rho",
    bindings: &[
        Binding::read("sums"),
        Binding::read("ranges"),
        Binding::read("clock"),
        Binding::update("settings"),
    ],
    params: MatricesParams::LAYOUT,
    variants: plain,
};

/// ρ = κ mean(divisors)/(learning rate · interval) of each matrix from this update on, of the `sums` that [`divisors`] left
/// of its chunks, from the first in `ranges` to past the last; once the clock counts as many steps as the settings ask for.
///
/// # Errors
/// [`Error::Shape`] when a list is too short, and those of [`PlanBuilder::dispatch`].
pub fn auto_rho(
    plan: &mut PlanBuilder,
    sums: &Tensor,
    ranges: &Tensor,
    clock: &Tensor,
    settings: &Tensor,
) -> Result<(), Error> {
    let matrices = expect_ranges(&AUTO_RHO, ranges)?;
    expect_length(&AUTO_RHO, "clock", clock, CLOCK_LENGTH.into())?;
    expect_settings(&AUTO_RHO, settings, matrices)?;
    plan.dispatch(Dispatch {
        kernel: &AUTO_RHO,
        variant: Variant::new("plain"),
        operands: &[sums, ranges, clock, settings],
        params: bytemuck::bytes_of(&MatricesParams { matrices }),
        groups: Groups(1),
        flops: sums.shape().elements(),
    })
}

/// A packed matrix: the two tensors of the [module's](self) description.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    /// Kept weights, f32, f16 or bf16.
    pub values: &'a Tensor,
    /// Their places, u32.
    pub places: &'a Tensor,
}

impl Packed<'_> {
    /// Refuses tensors that are not those of a matrix of this shape.
    pub(super) fn expect(
        &self,
        kernel: &'static Kernel,
        pattern: NmPattern,
        matrix: Shape,
    ) -> Result<(), Error> {
        pattern.groups(kernel.name, matrix)?;
        expect_shape(kernel, "values", self.values, pattern.values(matrix)?)?;
        expect_weights(kernel, "values", self.values)?;
        expect_shape(kernel, "places", self.places, pattern.places(matrix)?)?;
        expect_storage(kernel, "places", self.places, StorageType::U32)
    }
}

/// `nm/pack`
pub static PACK: Kernel = Kernel {
    name: "nm/pack",
    bindings: &[
        Binding::read("w"),
        Binding::read("mask"),
        Binding::write("values"),
        Binding::write("places"),
    ],
    params: PackParams::LAYOUT,
    variants: pack_variants,
};

params! {
    struct PackParams {
        rows: u32,
        keep: u32,
        width: u32,
        bits: u32,
        entries: u32,
        stride: u32,
        mask_words: u32,
        per_word: u32,
        value_words: u32,
        place_words: u32,
    }
}

/// The packed form of `w`, in its own storage, by a mask that [`project`] made.
///
/// # Errors
/// [`Error::Shape`] when shapes or storages disagree or the group does not divide the columns, and those of
/// [`PlanBuilder::dispatch`].
pub fn pack(
    plan: &mut PlanBuilder,
    pattern: NmPattern,
    w: &Tensor,
    mask: &Tensor,
    packed: Packed<'_>,
) -> Result<(), Error> {
    let (shape, Packed { values, places }) = (w.shape(), packed);
    packed.expect(&PACK, pattern, shape)?;
    expect_storage(&PACK, "w", w, values.storage())?;
    expect_shape(&PACK, "mask", mask, pattern.mask(shape)?)?;
    expect_storage(&PACK, "mask", mask, StorageType::U32)?;
    let params = PackParams {
        rows: shape.rows,
        keep: pattern.keep,
        width: pattern.group,
        bits: pattern.place_bits(),
        entries: values.shape().columns,
        stride: shape.stride(),
        mask_words: mask.shape().stride(),
        per_word: pattern.groups_per_word(),
        value_words: row_words(values),
        place_words: places.shape().stride(),
    };
    plan.dispatch(Dispatch {
        kernel: &PACK,
        variant: bits_variant(w.storage()),
        operands: &[w, mask, values, places],
        params: bytemuck::bytes_of(&params),
        groups: Groups::over(
            u64::from(shape.rows) * u64::from(row_words(values).max(row_words(places))),
            WG_SIZE,
        ),
        flops: 0,
    })
}

/// `nm/unpack`
pub static UNPACK: Kernel = Kernel {
    name: "nm/unpack",
    bindings: &[Binding::read("values"), Binding::read("places"), Binding::write("w")],
    params: UnpackParams::LAYOUT,
    variants: unpack_variants,
};

params! {
    struct UnpackParams {
        rows: u32,
        columns: u32,
        quads: u32,
        keep: u32,
        width: u32,
        bits: u32,
        value_words: u32,
        place_words: u32,
    }
}

/// w = the matrix that a packed form stands for, bit for bit what [`project`] left.
///
/// # Errors
/// [`Error::Shape`] when shapes or storages disagree or the group does not divide the columns, and those of
/// [`PlanBuilder::dispatch`].
pub fn unpack(
    plan: &mut PlanBuilder,
    pattern: NmPattern,
    packed: Packed<'_>,
    w: &Tensor,
) -> Result<(), Error> {
    let (shape, Packed { values, places }) = (w.shape(), packed);
    packed.expect(&UNPACK, pattern, shape)?;
    expect_storage(&UNPACK, "w", w, values.storage())?;
    let params = UnpackParams {
        rows: shape.rows,
        columns: shape.columns,
        quads: shape.quads(),
        keep: pattern.keep,
        width: pattern.group,
        bits: pattern.place_bits(),
        value_words: row_words(values),
        place_words: places.shape().stride(),
    };
    plan.dispatch(Dispatch {
        kernel: &UNPACK,
        variant: unpack_variant(w.storage()),
        operands: &[values, places, w],
        params: bytemuck::bytes_of(&params),
        groups: Groups::over(u64::from(shape.rows) * u64::from(shape.quads()), WG_SIZE),
        flops: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_read_and_printed() {
        for keep in 1..MAX_GROUP {
            for group in keep + 1..=MAX_GROUP {
                let pattern = NmPattern::new(keep, group).unwrap();
                assert_eq!(pattern.to_string().parse::<NmPattern>().unwrap(), pattern);
                let json = serde_json::to_string(&pattern).unwrap();
                assert_eq!(serde_json::from_str::<NmPattern>(&json).unwrap(), pattern);
                // Every place has a code, and no shorter code would do.
                assert!(1 << pattern.place_bits() >= group && 1 << (pattern.place_bits() - 1) < group);
            }
        }
        for text in ["", "2", "2:", ":4", "0:4", "4:4", "5:4", "1:33", "-1:4", "2:4:8", "a:b"] {
            let message = text.parse::<NmPattern>().unwrap_err().to_string();
            assert!(message.starts_with(&format!("pattern = {text}: must be keep:group")), "{message}");
        }
    }

    #[test]
    fn a_group_that_does_not_divide_the_columns_is_named() {
        let pattern: NmPattern = "2:4".parse().unwrap();
        let message = pattern.mask(Shape::new(10, 30)).unwrap_err().to_string();
        assert!(
            message.contains("10 × 30 cannot be 2:4") && message.contains("2 are left over"),
            "{message}"
        );
        assert_eq!(pattern.mask(Shape::new(10, 784)).unwrap(), Shape::new(10, 25));
        assert_eq!(pattern.values(Shape::new(10, 784)).unwrap(), Shape::new(10, 392));
        assert_eq!(pattern.places(Shape::new(10, 784)).unwrap(), Shape::new(10, 25));
    }
}
