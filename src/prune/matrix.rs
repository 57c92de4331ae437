//! The matrices of a file that get a pattern: which they are, and one block of their rows at a time on the device.
//!
//! Rows do not depend on each other, so a matrix of any size goes through memory for one block: what reads, projects and
//! writes it holds [`BLOCK_BYTES`], or a single row where that is longer, a few times over.

use std::ops::Range;

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;

use super::Selection;
use super::names::{Rule, is_layer};
use crate::Error;
use crate::archive::{ArchiveFile, describe, words};
use crate::engine::{Gpu, PlanBuilder, Shape, StorageType, Tensor};
use crate::kernels::nm::{self, NmPattern, Packed};
use crate::kernels::optimizer::NOTHING_FOUND;

/// Bytes of a matrix that are worked on at once.
const BLOCK_BYTES: u64 = 8 << 20;

/// A matrix that has a pattern or is to get one.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub name: String,
    pub shape: Shape,
    pub dtype: Dtype,
    pub pattern: NmPattern,
}

impl Target {
    /// A matrix with the columns it would have in whole groups.
    pub fn padded(&self) -> Shape {
        let group = self.pattern.group();
        Shape::new(self.shape.rows, self.shape.columns.next_multiple_of(group))
    }

    pub fn storage(&self) -> StorageType {
        match self.dtype {
            Dtype::F16 => StorageType::F16,
            Dtype::BF16 => StorageType::Bf16,
            _ => StorageType::F32,
        }
    }

    /// Bytes of so many columns of one row.
    pub fn row_bytes(&self, columns: u32) -> u64 {
        u64::from(columns) * self.storage().bytes()
    }

    /// Shapes of the packed form, values and places.
    pub fn packed(&self) -> Result<[Shape; 2], Error> {
        Ok([self.pattern.values(self.padded())?, self.pattern.places(self.padded())?])
    }

    /// The rows, cut into blocks.
    pub fn blocks(&self) -> impl Iterator<Item = Range<u32>> + use<> {
        let rows = self.shape.rows;
        let longest = self.row_bytes(self.padded().columns).max(1);
        let step = (BLOCK_BYTES / longest).clamp(1, u64::from(u32::MAX)) as u32;
        (0..rows).step_by(step as usize).map(move |first| first..rows.min(first.saturating_add(step)))
    }

    /// A weight's value by its bytes.
    fn value(&self, bytes: &[u8]) -> f64 {
        match (self.dtype, bytes) {
            (Dtype::F16, &[a, b]) => half::f16::from_le_bytes([a, b]).to_f64(),
            (Dtype::BF16, &[a, b]) => half::bf16::from_le_bytes([a, b]).to_f64(),
            (_, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]).into(),
            _ => 0.0,
        }
    }

    /// The weights of some rows.
    pub fn values<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = f64> + 'a {
        bytes.chunks_exact(self.storage().bytes() as usize).map(|bytes| self.value(bytes))
    }

    /// What is wrong with it, said of the file it is in.
    pub fn refuse(&self, file: &ArchiveFile, detail: &str) -> Error {
        file.refuse(&format!("tensor `{}` {detail}", self.name))
    }
}

/// Whether weights stored so can have a pattern.
pub(super) fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// Rows and columns of a matrix, if it is one and there is room for padding in what u32 counts.
pub(super) fn shape_of(sizes: &[usize]) -> Option<Shape> {
    let size = |size: usize| u32::try_from(size).ok().filter(|size| *size <= u32::MAX / 2);
    match sizes {
        &[rows, columns] => Some(Shape::new(size(rows)?, size(columns)?)),
        _ => None,
    }
}

/// The matrices of a file that a selection means.
pub(super) fn choose(file: &ArchiveFile, selection: &Selection) -> Result<Vec<Target>, Error> {
    let tensors = file.tensors();
    let default = [Rule::from(NmPattern::new(2, 4)?)];
    let rules = if selection.patterns.is_empty() { &default[..] } else { &selection.patterns };
    let named =
        selection.include.iter().chain(&selection.exclude).chain(rules.iter().map(|rule| &rule.names));
    for glob in named {
        if !tensors.iter().any(|(name, _)| glob.matches(name)) {
            return Err(
                file.refuse(&format!("no tensor is called `{glob}`; names have to match from end to end"))
            );
        }
    }
    let mut targets = Vec::new();
    for (name, info) in &tensors {
        let Some(rule) = Rule::find(rules, name).filter(|_| is_meant(name, selection)) else { continue };
        if is_matrix_of_weights(file, name, info, selection)? {
            targets.push(target(file, name, info, rule.pattern, selection.pad)?);
        }
    }
    if targets.is_empty() {
        return Err(file.refuse(
            "nothing to prune: no matrix of f32, f16 or bf16 is chosen; choose some by name with --include",
        ));
    }
    Ok(targets)
}

fn is_meant(name: &str, selection: &Selection) -> bool {
    let Selection { include, exclude, .. } = selection;
    let is_included =
        if include.is_empty() { is_layer(name) } else { include.iter().any(|glob| glob.matches(name)) };
    is_included && !exclude.iter().any(|glob| glob.matches(name))
}

/// Whether a tensor that was chosen can be pruned. One that was called by its own name must be such; of those that a form
/// stands for, what is no matrix or holds whole numbers is passed over, but never weights of a type that is not known here.
fn is_matrix_of_weights(
    file: &ArchiveFile,
    name: &str,
    info: &TensorInfo,
    selection: &Selection,
) -> Result<bool, Error> {
    const WHOLE_NUMBERS: [Dtype; 9] = [
        Dtype::BOOL,
        Dtype::U8,
        Dtype::I8,
        Dtype::U16,
        Dtype::I16,
        Dtype::U32,
        Dtype::I32,
        Dtype::U64,
        Dtype::I64,
    ];
    let is_matrix = info.shape.len() == 2;
    if is_matrix && is_float(info.dtype) {
        return Ok(true);
    }
    let is_called = selection.include.iter().any(|glob| glob.is_exact() && glob.matches(name));
    if !is_called && (!is_matrix || WHOLE_NUMBERS.contains(&info.dtype)) {
        return Ok(false);
    }
    let actual = describe(info.dtype, &info.shape);
    Err(file.refuse(&format!(
        "tensor `{name}` is {actual}; only matrices of f32, f16 or bf16 have patterns: convert it, or leave it out with --exclude"
    )))
}

fn target(
    file: &ArchiveFile,
    name: &str,
    info: &TensorInfo,
    pattern: NmPattern,
    pad: bool,
) -> Result<Target, Error> {
    let Some(shape) = shape_of(&info.shape) else {
        let actual = describe(info.dtype, &info.shape);
        return Err(
            file.refuse(&format!("tensor `{name}` is {actual}, more than is counted here; --exclude it"))
        );
    };
    let target = Target { name: name.to_owned(), shape, dtype: info.dtype, pattern };
    let Shape { columns, .. } = shape;
    let over = columns % pattern.group();
    if over > 0 && !pad {
        return Err(target.refuse(
            file,
            &format!(
                "is {} and cannot be {pattern}: {columns} columns are not whole groups of {}, {over} are left over; \
                 choose another pattern for it, leave it out with --exclude, or take the last group as it is with --pad",
                target.shape,
                pattern.group()
            ),
        ));
    }
    Ok(target)
}

/// An element as the device moves it: bits, whatever they stand for.
pub(super) trait Bits: bytemuck::Pod + Default {
    /// Elements of a file.
    fn of(bytes: &[u8]) -> Vec<Self>;
    /// Bytes of a file.
    fn bytes(elements: &[Self]) -> Vec<u8>;
}

impl Bits for u32 {
    fn of(bytes: &[u8]) -> Vec<Self> {
        words(bytes).map(Self::from_le_bytes).collect()
    }

    fn bytes(elements: &[Self]) -> Vec<u8> {
        elements.iter().flat_map(|element| element.to_le_bytes()).collect()
    }
}

impl Bits for u16 {
    fn of(bytes: &[u8]) -> Vec<Self> {
        words(bytes).map(Self::from_le_bytes).collect()
    }

    fn bytes(elements: &[Self]) -> Vec<u8> {
        elements.iter().flat_map(|element| element.to_le_bytes()).collect()
    }
}

/// Rows of `from` elements as rows of `to`: cut, or filled up with zeros.
fn resized<T: Bits>(elements: Vec<T>, from: u32, to: u32) -> Vec<T> {
    if from == to {
        return elements;
    }
    let kept = from.min(to) as usize;
    let mut resized = Vec::with_capacity(elements.len() / from as usize * to as usize);
    for row in elements.chunks_exact(from as usize) {
        resized.extend_from_slice(&row[..kept]);
        resized.resize(resized.len() + to as usize - kept, T::default());
    }
    resized
}

/// What a block of rows becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The same rows, projected.
    Dense,
    /// The values of their packed form.
    Values,
    /// And the places.
    Places,
}

/// A matrix on its way through the device.
pub(super) struct Block<'a> {
    pub gpu: &'a Gpu,
    pub target: &'a Target,
    /// Which of its rows.
    pub rows: Range<u32>,
}

impl Block<'_> {
    /// Projects rows, given as a file has them; returns them as a file has them.
    ///
    /// # Errors
    /// The row and column of a weight that is not finite, within the block, as `Ok(Err(…))`.
    pub fn project(&self, bytes: &[u8], part: Part) -> Result<Result<Vec<u8>, (u32, u32)>, Error> {
        match self.target.storage().bytes() {
            2 => self.project_bits::<u16>(bytes, part),
            _ => self.project_bits::<u32>(bytes, part),
        }
    }

    fn project_bits<T: Bits>(&self, bytes: &[u8], part: Part) -> Result<Result<Vec<u8>, (u32, u32)>, Error> {
        let Self { gpu, target, .. } = *self;
        let (pattern, shape) = (target.pattern, self.padded());
        if shape.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        let w = self.tensor(shape)?;
        gpu.write(&w, &resized(T::of(bytes), target.shape.columns, shape.columns))?;
        let projected = self.tensor(shape)?;
        let mask = gpu.zeros(pattern.mask(shape)?, StorageType::U32)?;
        let found = gpu.upload_u32(Shape::vector(1), &[NOTHING_FOUND])?;
        let mut plan = PlanBuilder::new(gpu, "prune");
        nm::project(&mut plan, pattern, &w, &projected, &mask, &found)?;
        let packed = if part == Part::Dense { None } else { Some(self.packed_tensors()?) };
        if let Some((values, places)) = &packed {
            nm::pack(&mut plan, pattern, &projected, &mask, Packed { values, places })?;
        }
        plan.finish()?.run()?;
        let first = gpu.read_u32(&found)?[0];
        if first != NOTHING_FOUND {
            return Ok(Err((!first / shape.stride(), !first % shape.stride())));
        }
        Ok(Ok(match (part, &packed) {
            (Part::Values, Some((values, _))) => T::bytes(&gpu.read_stored(values)?),
            (Part::Places, Some((_, places))) => u32::bytes(&gpu.read_u32(places)?),
            _ => T::bytes(&resized(gpu.read_stored(&projected)?, shape.columns, target.shape.columns)),
        }))
    }

    /// The rows that a packed form stands for, as files have both.
    pub fn unpack(&self, values: &[u8], places: &[u8]) -> Result<Vec<u8>, Error> {
        match self.target.storage().bytes() {
            2 => self.unpack_bits::<u16>(values, places),
            _ => self.unpack_bits::<u32>(values, places),
        }
    }

    fn unpack_bits<T: Bits>(&self, values: &[u8], places: &[u8]) -> Result<Vec<u8>, Error> {
        let (gpu, shape) = (self.gpu, self.padded());
        if shape.is_empty() {
            return Ok(Vec::new());
        }
        let (on_device, w) = (self.packed_tensors()?, self.tensor(shape)?);
        gpu.write(&on_device.0, &T::of(values))?;
        gpu.write(&on_device.1, &u32::of(places))?;
        let mut plan = PlanBuilder::new(gpu, "unpack");
        let packed = Packed { values: &on_device.0, places: &on_device.1 };
        nm::unpack(&mut plan, self.target.pattern, packed, &w)?;
        plan.finish()?.run()?;
        Ok(T::bytes(&resized(gpu.read_stored(&w)?, shape.columns, self.target.shape.columns)))
    }

    fn padded(&self) -> Shape {
        Shape::new(self.rows.end - self.rows.start, self.target.padded().columns)
    }

    fn tensor(&self, shape: Shape) -> Result<Tensor, Error> {
        self.gpu.zeros(shape, self.target.storage())
    }

    fn packed_tensors(&self) -> Result<(Tensor, Tensor), Error> {
        let (pattern, shape) = (self.target.pattern, self.padded());
        let places = self.gpu.zeros(pattern.places(shape)?, StorageType::U32)?;
        Ok((self.tensor(pattern.values(shape)?)?, places))
    }
}
