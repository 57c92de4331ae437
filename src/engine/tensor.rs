//! Tensors: a shape, a storage type, and a place in a buffer.
//!
//! Made by [`Gpu`](super::Gpu) (owned memory), by [`PlanBuilder::temporary`](super::PlanBuilder::temporary) (memory
//! assigned when the plan is finished) or over a host app's buffer. Clones share memory. A tensor serves the `Gpu` that it
//! was made by, and is refused by others.

use super::pool::Allocation;
use crate::Error;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// What one element is stored as. Arithmetic is f32 whatever the floating storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StorageType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a single.
    Bf16,
    /// Labels, counts, packed masks.
    U32,
}

impl StorageType {
    /// Bytes of one element.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// Rows and columns of a matrix that is stored row by row.
///
/// A matrix whose columns are samples in the papers (features × samples) is stored sample after sample, so its rows
/// here are samples. Each row is padded with zeros to a multiple of four elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Stored rows.
    pub rows: u32,
    /// Elements of a row that carry values.
    pub columns: u32,
}

impl Shape {
    /// `rows` × `columns`.
    pub const fn new(rows: u32, columns: u32) -> Self {
        Self { rows, columns }
    }

    /// One row of `columns` elements: a bias, a list of partial sums.
    pub const fn vector(columns: u32) -> Self {
        Self { rows: 1, columns }
    }

    /// `vec4`s of a row, padding included.
    pub const fn quads(self) -> u32 {
        self.columns.div_ceil(4)
    }

    /// Elements from one row's start to the next.
    pub const fn stride(self) -> u32 {
        self.quads() * 4
    }

    /// Stored elements, padding included.
    pub const fn stored(self) -> u64 {
        self.rows as u64 * self.quads() as u64 * 4
    }

    /// Elements that carry values.
    pub const fn elements(self) -> u64 {
        self.rows as u64 * self.columns as u64
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(self) -> bool {
        self.rows == 0 || self.columns == 0
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {}", self.rows, self.columns)
    }
}

/// A matrix on the device. Cloning is cheap and shares the memory.
#[derive(Clone, Debug)]
pub struct Tensor {
    shape: Shape,
    storage: StorageType,
    memory: Arc<Memory>,
    /// Bytes from the start of the memory; not zero for some views.
    start: u64,
    /// `vec4`s from one row's start to the next; more than a row's own in a window.
    pitch: u32,
}

/// Where a tensor lives. Empty until a temporary's plan is finished.
#[derive(Debug)]
struct Memory {
    /// The [`Gpu`](super::Gpu) that made it, by its number.
    owner: u64,
    place: OnceLock<Place>,
}

/// A buffer and the offset of the tensor in it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub buffer: wgpu::Buffer,
    pub offset: u64,
    /// Bytes past the tensor that bindings cover too; not zero only where strays are looked for.
    pub tail: u64,
    /// Keeps pooled memory from being recycled while a tensor uses it.
    pub _allocation: Option<Arc<Allocation>>,
}

/// One tensor where there may be several.
impl AsRef<[Self]> for Tensor {
    fn as_ref(&self) -> &[Self] {
        std::slice::from_ref(self)
    }
}

impl Tensor {
    pub(super) fn placed(owner: u64, shape: Shape, storage: StorageType, place: Place) -> Self {
        let memory = Arc::new(Memory { owner, place: OnceLock::from(place) });
        Self { shape, storage, memory, start: 0, pitch: shape.quads() }
    }

    pub(super) fn unplaced(owner: u64, shape: Shape, storage: StorageType) -> Self {
        let memory = Arc::new(Memory { owner, place: OnceLock::new() });
        Self { shape, storage, memory, start: 0, pitch: shape.quads() }
    }

    /// The number of the [`Gpu`](super::Gpu) that made it.
    pub(super) fn owner(&self) -> u64 {
        self.memory.owner
    }

    /// Gives a temporary its memory; the plan that made it calls this once.
    pub(super) fn assign(&self, place: Place) {
        self.memory.place.set(place).expect("a temporary is assigned once, by the plan that made it");
    }

    /// Whether the tensor has memory yet.
    pub(super) fn is_placed(&self) -> bool {
        self.memory.place.get().is_some()
    }

    /// Buffer and byte offset, once the tensor has memory.
    pub(super) fn place(&self) -> Option<(&wgpu::Buffer, u64)> {
        self.memory.place.get().map(|place| (&place.buffer, place.offset + self.start))
    }

    /// Bytes that a binding covers.
    pub(super) fn bound_bytes(&self) -> u64 {
        self.extent() + self.memory.place.get().map_or(0, |place| place.tail)
    }

    /// Some rows of this tensor, sharing its memory. `rows` must begin at a multiple of 16, which keeps every view at
    /// an offset that devices can bind.
    ///
    /// # Errors
    /// [`Error::Plan`] when the rows are not there or begin elsewhere.
    pub fn row_range(&self, rows: Range<u32>) -> Result<Self, Error> {
        if rows.start > rows.end || rows.end > self.shape.rows || !rows.start.is_multiple_of(16) {
            return Err(self.no_view(&rows, &(0..self.shape.columns)));
        }
        let before = u64::from(rows.start) * u64::from(self.pitch) * 4 * self.storage.bytes();
        let shape = Shape::new(rows.end - rows.start, self.shape.columns);
        Ok(Self { shape, start: self.start + before, ..self.clone() })
    }

    /// Some rows and columns of this tensor, sharing its memory: an operand of matrix products, and of nothing else.
    /// `rows` must begin at a multiple of 16, `columns` at a multiple of 64; columns that end before the tensor's own
    /// do so at a multiple of four.
    ///
    /// # Errors
    /// [`Error::Plan`] when they are not there or begin or end elsewhere.
    pub fn window(&self, rows: Range<u32>, columns: Range<u32>) -> Result<Self, Error> {
        let whole_quads = columns.end == self.shape.columns || columns.end.is_multiple_of(4);
        let inside = columns.start <= columns.end && columns.end <= self.shape.columns;
        if !whole_quads || !inside || !columns.start.is_multiple_of(64) {
            return Err(self.no_view(&rows, &columns));
        }
        let view = self.row_range(rows)?;
        let before = u64::from(columns.start) * self.storage.bytes();
        let shape = Shape::new(view.shape.rows, columns.end - columns.start);
        Ok(Self { shape, start: view.start + before, ..view })
    }

    /// Stored elements from `first` on as a tensor of another shape, sharing this one's memory. The caller has seen to it
    /// that they are there and begin where devices can bind.
    pub(super) fn part(&self, first: u64, shape: Shape) -> Self {
        debug_assert!(first + shape.stored() <= self.shape.stored(), "a part of {}", self.shape);
        let start = self.start + first * self.storage.bytes();
        Self { shape, start, pitch: shape.quads(), ..self.clone() }
    }

    fn no_view(&self, rows: &Range<u32>, columns: &Range<u32>) -> Error {
        let detail = format!("rows {rows:?} and columns {columns:?} of a tensor of {}", self.shape);
        Error::Plan { plan: "view".into(), detail }
    }

    /// `vec4`s from one row's start to the next.
    pub fn pitch(&self) -> u32 {
        self.pitch
    }

    /// Whether its rows lie apart, with something else between them.
    pub(crate) fn is_window(&self) -> bool {
        self.pitch != self.shape.quads()
    }

    /// Rows and columns.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// What an element is stored as.
    pub fn storage(&self) -> StorageType {
        self.storage
    }

    /// Bytes of memory, padding included; at least 16, because a binding cannot be empty.
    pub fn bytes(&self) -> u64 {
        (self.shape.stored() * self.storage.bytes()).max(16)
    }

    /// Bytes from its first element to its last, padding included: more than [`bytes`](Self::bytes) in a window.
    fn extent(&self) -> u64 {
        let between =
            u64::from(self.shape.rows.saturating_sub(1)) * u64::from(self.pitch - self.shape.quads());
        self.bytes() + between * 4 * self.storage.bytes()
    }

    /// Whether two handles share memory: the same tensor, or views of it.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.memory, &other.memory)
    }

    /// Whether two tensors live in one buffer, which wgpu tracks as a whole.
    pub(super) fn shares_buffer(&self, other: &Self) -> bool {
        self.is(other) || matches!((self.place(), other.place()), (Some((a, _)), Some((b, _))) if a == b)
    }

    /// Bytes of the buffer that a binding covers; of a temporary's memory as long as it has none.
    pub(super) fn range(&self) -> Range<u64> {
        let first = self.place().map_or(self.start, |(_, offset)| offset);
        first..first + self.bound_bytes()
    }
}
