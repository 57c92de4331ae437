//! Pruning checkpoints: matrices of a safetensors file brought to an N:M pattern by magnitude, on the device.
//!
//! The command line calls this; so may a host app. What always holds: a file is written whole or not at all; tensors that
//! were not chosen, and weights that stay, keep every bit; the same input gives the same bytes; and neither host nor device
//! ever holds more than a few blocks of rows, whatever the size of file or tensor.
//!
//! # What a pattern means
//!
//! A matrix is stored outputs × inputs, as transformers and torch.nn do, and a group is so many consecutive weights of a row.
//! The largest magnitudes of each group stay, of equal ones the first; the others become +0. A file *obeys* a pattern where
//! no group has more weights that are not zero.
//!
//! Where the group does not divide the columns, [`Selection::pad`] lets the last group of each row be short. It is as if the
//! row were filled up with zeros that are not stored: the `keep` largest of what is there stay, and all of it where there are
//! no more.
//!
//! # The packed file
//!
//! A safetensors file in which two tensors stand for each pruned matrix `NAME`, in the layout that [`crate::kernels::nm`]
//! describes and `nm/pack` produces:
//!
//! - `NAME.values`, rows × groups·keep, of the matrix's own type: the kept weights of each row, group after group;
//! - `NAME.places`, rows × words, u32: for each of those its place in its group, in ⌈log₂ group⌉ bits from the lowest of the
//!   row's first word up.
//!
//! A short last group has as many entries as any other; those for which there are no weights are zeros, at places past the
//! end of the row. All other tensors are there as they were. Tensors of larger elements come first, so that every one is
//! aligned. The metadata has `format` ("dualstep packed N:M weights"), `format_version` ("1"), `patterns` (a JSON object: the
//! pattern of each pruned `NAME`) and `header` (that of the dense file, to the letter), from which [`PackedFile`] gives the
//! dense file back, byte for byte.

mod matrix;
mod names;
mod packed;

use std::fs;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::archive::{ArchiveFile, Entry, describe, in_order, refusal, write_header};
use crate::engine::{Gpu, Shape, StorageType};
use crate::files::write_atomically;
use crate::kernels::nm::NmPattern;
use matrix::{Bits, Block, Part, Target};
pub use names::{Glob, Rule};

/// Which matrices of a file get, or have, which pattern.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Patterns by name; of several that match the last holds, and what none matches stays dense. None is 2:4 for all.
    pub patterns: Vec<Rule>,
    /// Matrices to prune. None is the attention and feed-forward matrices of transformers, by the names they usually have;
    /// embeddings, norms, biases, poolers and heads stay dense.
    pub include: Vec<Glob>,
    /// Of those, the ones that stay dense.
    pub exclude: Vec<Glob>,
    /// Whether the last group of a row may be short.
    pub pad: bool,
}

/// What became of a file.
#[derive(Clone, Debug)]
pub struct Report {
    /// The matrices with patterns, in the order of the file.
    pub matrices: Vec<MatrixReport>,
    /// Tensors beside them.
    pub others: usize,
    /// Bytes of the file that was read.
    pub bytes_read: u64,
    /// Bytes of the one that was written; 0 if none was.
    pub bytes_written: u64,
}

/// What became of a matrix.
#[derive(Clone, Debug)]
pub struct MatrixReport {
    /// Its name.
    pub name: String,
    /// Rows and columns.
    pub shape: Shape,
    /// What its weights are stored as.
    pub storage: StorageType,
    /// Its pattern.
    pub pattern: NmPattern,
    /// Its counts.
    pub counts: Counts,
}

/// Counts of one matrix, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Weights.
    pub weights: u64,
    /// Those that are not zero.
    pub kept: u64,
    /// ‖·‖² before, where something was pruned.
    pub square: Option<f64>,
    /// ‖·‖² of what is not zero.
    pub kept_square: f64,
    /// Weights that are zero here or in the previous file but not in both, where there is one.
    pub flips: Option<u64>,
}

impl Counts {
    /// The share of weights that are not zero; 1 if there are no weights.
    pub fn density(&self) -> f64 {
        if self.weights == 0 { 1.0 } else { self.kept as f64 / self.weights as f64 }
    }

    /// The share of the sum of squares that was kept; 1 if there was none.
    pub fn energy(&self) -> Option<f64> {
        self.square.map(|square| if square == 0.0 { 1.0 } else { self.kept_square / square })
    }

    /// Adds another's.
    fn add(&mut self, other: &Self) {
        let sum = |a: Option<u64>, b: Option<u64>| a.zip(b).map(|(a, b)| a + b);
        self.weights += other.weights;
        self.kept += other.kept;
        self.square = self.square.zip(other.square).map(|(a, b)| a + b);
        self.kept_square += other.kept_square;
        self.flips = sum(self.flips, other.flips);
    }
}

impl Report {
    /// The counts of all matrices.
    pub fn total(&self) -> Counts {
        let mut all = self.matrices.iter().map(|matrix| matrix.counts);
        let first = all.next().unwrap_or_default();
        all.fold(first, |mut total, counts| {
            total.add(&counts);
            total
        })
    }
}

/// A file that is about to be pruned; its header has been read and every choice checked.
#[derive(Debug)]
pub struct Pruning {
    source: ArchiveFile,
    targets: Vec<Target>,
    previous: Option<ArchiveFile>,
}

/// The form of a pruned file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As the one that was read, with zeros.
    Dense,
    /// Kept weights and their places.
    Packed,
}

/// Where the bytes of a tensor come from.
enum Content<'a> {
    /// Bit for bit the tensor of this name.
    Copy(String),
    /// A matrix, in some form.
    Matrix(&'a Target, Part),
}

impl Pruning {
    /// Reads the header of the file at `path` and chooses. Weights that are zero in the file `previous` are compared with
    /// those that are zero afterwards.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read; [`Error::Checkpoint`] when it is no whole safetensors file, is packed
    /// already, has no tensor of a name that was given, or when a chosen tensor is no matrix of f32, f16 or bf16, is not in
    /// `previous`, or its columns are not whole groups and `pad` is not set.
    pub fn open(path: &Path, selection: &Selection, previous: Option<&Path>) -> Result<Self, Error> {
        let source = open_dense(path)?;
        let targets = matrix::choose(&source, selection)?;
        let previous = previous.map(open_dense).transpose()?;
        for target in &targets {
            if let Some(previous) = &previous {
                expect_same(previous, &source, target)?;
            }
        }
        Ok(Self { source, targets, previous })
    }

    /// Prunes, and writes the file `output`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when a weight is infinite or NaN, a packed name is taken, or `output` is a file that is read;
    /// [`Error::Io`] when reading or writing fails; [`Error::Limit`] when a row exceeds the device. Nothing is written then.
    pub fn write(&self, gpu: &Gpu, output: &Path, form: Form) -> Result<Report, Error> {
        let inputs = [Some(&self.source), self.previous.as_ref()];
        inputs.into_iter().flatten().try_for_each(|input| expect_other(input, output))?;
        let mut counts = vec![Counts::default(); self.targets.len()];
        let bytes_written = match form {
            Form::Dense => {
                let contents =
                    self.source.tensors().into_iter().map(|(name, _)| self.content(name, Part::Dense));
                let header = self.source.header().as_bytes();
                let head = [&(header.len() as u64).to_le_bytes(), header].concat();
                self.stream(gpu, output, &head, contents.collect(), &mut counts)?;
                self.source.bytes()
            }
            Form::Packed => {
                let (entries, contents): (Vec<_>, Vec<_>) = self.packed_layout()?.into_iter().unzip();
                let mut head = Vec::new();
                let metadata = packed::metadata(self.source.header(), &self.targets);
                // Writing to memory cannot fail.
                write_header(&mut head, &metadata, &entries).expect("JSON of names and numbers");
                self.stream(gpu, output, &head, contents, &mut counts)?;
                head.len() as u64 + entries.iter().map(Entry::bytes).sum::<u64>()
            }
        };
        let others = self.source.tensors().len() - self.targets.len();
        Ok(Report {
            matrices: reports(&self.targets, counts),
            others,
            bytes_read: self.source.bytes(),
            bytes_written,
        })
    }

    fn content(&self, name: String, part: Part) -> Content<'_> {
        match self.targets.iter().find(|target| target.name == name) {
            Some(target) => Content::Matrix(target, part),
            None => Content::Copy(name),
        }
    }

    /// The tensors of the packed file, those of larger elements first.
    fn packed_layout(&self) -> Result<Vec<(Entry, Content<'_>)>, Error> {
        let mut layout = Vec::new();
        for (name, info) in self.source.tensors() {
            match self.content(name.clone(), Part::Values) {
                Content::Matrix(target, _) => {
                    let [values, places] = packed::entries(target)?;
                    for entry in [&values, &places] {
                        if self.source.info(&entry.name).is_some() {
                            let taken =
                                format!("cannot be packed: there is a tensor `{}` already", entry.name);
                            return Err(target.refuse(&self.source, &taken));
                        }
                    }
                    layout.push((values, Content::Matrix(target, Part::Values)));
                    layout.push((places, Content::Matrix(target, Part::Places)));
                }
                copy => layout.push((Entry { name, dtype: info.dtype, shape: info.shape.clone() }, copy)),
            }
        }
        layout.sort_by_key(|(entry, _)| std::cmp::Reverse(entry.dtype.bitsize()));
        Ok(layout)
    }

    /// Writes head and tensors, one block of rows after another.
    fn stream(
        &self,
        gpu: &Gpu,
        output: &Path,
        head: &[u8],
        contents: Vec<Content<'_>>,
        counts: &mut [Counts],
    ) -> Result<(), Error> {
        write_atomically(output, |out| {
            out.write_all(head)?;
            for content in contents {
                match content {
                    Content::Copy(name) => copy(&self.source, &name, out)?,
                    Content::Matrix(target, part) => {
                        let at = self.targets.iter().position(|other| other.name == target.name);
                        let counts = &mut counts[at.expect("a target is one of the targets")];
                        for rows in target.blocks() {
                            let block = Block { gpu, target, rows };
                            out.write_all(&self.project(&block, part, counts).map_err(io::Error::other)?)?;
                        }
                    }
                }
            }
            Ok(())
        })
    }

    /// One block of rows, and its counts if they are not those of places.
    fn project(&self, block: &Block<'_>, part: Part, counts: &mut Counts) -> Result<Vec<u8>, Error> {
        let Block { target, rows, .. } = block;
        let before = rows_of(&self.source, target, &target.name, target.shape.columns, rows)?;
        let project = |part| {
            let projected = block.project(&before, part)?;
            projected.map_err(|(row, column)| {
                let index = row as usize * target.shape.columns as usize + column as usize;
                let value = target.values(&before).nth(index).unwrap_or(f64::NAN);
                let detail = format!(
                    "holds {value} at row {}, column {column}; use a file whose weights are finite, or --exclude it",
                    rows.start + row
                );
                target.refuse(&self.source, &detail)
            })
        };
        let after = project(part)?;
        if part != Part::Places {
            let mut of_block = counts_of(target, &after);
            of_block.weights = u64::from(rows.end - rows.start) * u64::from(target.shape.columns);
            of_block.square = Some(target.values(&before).map(|value| value * value).sum());
            of_block.flips = match &self.previous {
                None => None,
                Some(previous) if part == Part::Dense => Some(flips(previous, block, &after)?),
                Some(previous) => Some(flips(previous, block, &project(Part::Dense)?)?),
            };
            match rows.start {
                0 => *counts = of_block,
                _ => counts.add(&of_block),
            }
        }
        Ok(after)
    }
}

/// A packed file whose header has been checked.
pub struct PackedFile {
    source: ArchiveFile,
    header: packed::PackedHeader,
}

impl PackedFile {
    /// Reads the header of the file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read; [`Error::Checkpoint`] when it is no whole packed file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let source = ArchiveFile::open(path)?;
        let header = packed::header(&source)?;
        Ok(Self { source, header })
    }

    /// Writes the dense file that this one was packed from.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when a place is none, or `output` is this file; [`Error::Io`] when reading or writing fails;
    /// [`Error::Limit`] when a row exceeds the device. Nothing is written then.
    pub fn write_dense(&self, gpu: &Gpu, output: &Path) -> Result<Report, Error> {
        expect_other(&self.source, output)?;
        let targets = &self.header.targets;
        let mut counts = vec![Counts::default(); targets.len()];
        let header = self.source.text("header").unwrap_or_default().as_bytes();
        let tensors = in_order(&self.header.dense);
        write_atomically(output, |out| {
            out.write_all(&(header.len() as u64).to_le_bytes())?;
            out.write_all(header)?;
            for (name, _) in &tensors {
                let Some(at) = targets.iter().position(|target| target.name == *name) else {
                    copy(&self.source, name, out)?;
                    continue;
                };
                let target = &targets[at];
                for rows in target.blocks() {
                    let block = Block { gpu, target, rows };
                    let unpacked = self.packed_rows(target, &block.rows);
                    let dense = unpacked.and_then(|(values, places)| block.unpack(&values, &places));
                    let dense = dense.map_err(io::Error::other)?;
                    counts[at].add(&counts_of(target, &dense));
                    out.write_all(&dense)?;
                }
            }
            Ok(())
        })?;
        let bytes_written = 8 + header.len() as u64 + self.header.dense.data_len() as u64;
        Ok(self.report(counts, bytes_written))
    }

    fn report(&self, counts: Vec<Counts>, bytes_written: u64) -> Report {
        let targets = &self.header.targets;
        let others = in_order(&self.header.dense).len() - targets.len();
        Report { matrices: reports(targets, counts), others, bytes_read: self.source.bytes(), bytes_written }
    }

    /// Values and places of some rows, whose places are such.
    fn packed_rows(&self, target: &Target, rows: &Range<u32>) -> Result<(Vec<u8>, Vec<u8>), Error> {
        let [values, places] = target.packed()?;
        let values = rows_of(&self.source, target, &packed::values_of(&target.name), values.columns, rows)?;
        let row_bytes = u64::from(places.columns) * 4;
        let places = read_rows(&self.source, &packed::places_of(&target.name), row_bytes, rows)?;
        let numbers: Vec<f64> = target.values(&values).collect();
        let wrong = packed::first_misplaced(target, &numbers, &u32::of(&places));
        wrong.map_or(Ok((values, places)), |wrong| {
            let packed::Misplaced { row, group, places } = wrong;
            let detail = format!(
                "is not {}: row {}, group {group} has the places {places:?}, which do not ascend in what the row has of \
                 it; copy the file again",
                target.pattern,
                rows.start + row
            );
            Err(target.refuse(&self.source, &detail))
        })
    }

    /// Makes sure that all places are such, and counts.
    fn check(&self, selection: &Selection) -> Result<Report, Error> {
        let mut all = Vec::new();
        for target in &self.header.targets {
            let rule = selection.patterns.iter().rev().find(|rule| rule.names.matches(&target.name));
            if let Some(rule) = rule.filter(|rule| rule.pattern != target.pattern) {
                let detail = format!("is packed as {}, not {}", target.pattern, rule.pattern);
                return Err(target.refuse(&self.source, &detail));
            }
            let mut counts = Counts::default();
            for rows in target.blocks() {
                let (values, _) = self.packed_rows(target, &rows)?;
                let weights = u64::from(rows.end - rows.start) * u64::from(target.shape.columns);
                counts.add(&Counts { weights, ..counts_of(target, &values) });
            }
            all.push(counts);
        }
        Ok(self.report(all, 0))
    }
}

/// Makes sure that the file at `path`, dense or packed, obeys its patterns; on the host alone. Those of a packed file are its
/// own, and must be the same where `selection` has any.
///
/// # Errors
/// [`Error::Checkpoint`] naming the first group that does not, and those of [`Pruning::open`] or [`PackedFile::open`].
pub fn check(path: &Path, selection: &Selection) -> Result<Report, Error> {
    let source = ArchiveFile::open(path)?;
    if packed::is_packed(&source) {
        return PackedFile::open(path)?.check(selection);
    }
    let targets = matrix::choose(&source, selection)?;
    let mut all = Vec::new();
    for target in &targets {
        let mut counts = Counts::default();
        for rows in target.blocks() {
            let bytes = rows_of(&source, target, &target.name, target.shape.columns, &rows)?;
            expect_pattern(&source, target, rows.start, &bytes)?;
            counts.add(&counts_of(target, &bytes));
        }
        all.push(counts);
    }
    let others = source.tensors().len() - targets.len();
    Ok(Report { matrices: reports(&targets, all), others, bytes_read: source.bytes(), bytes_written: 0 })
}

/// Refuses rows, the first of them row `first` of the matrix, in which a group has too many weights.
fn expect_pattern(source: &ArchiveFile, target: &Target, first: u32, bytes: &[u8]) -> Result<(), Error> {
    let (row_bytes, pattern) = (target.row_bytes(target.shape.columns) as usize, target.pattern);
    let group_bytes = target.row_bytes(pattern.group()) as usize;
    for (row, bytes) in bytes.chunks_exact(row_bytes.max(1)).enumerate() {
        for (group, bytes) in bytes.chunks(group_bytes).enumerate() {
            let there = target.values(bytes).filter(|value| *value != 0.0).count();
            if there > pattern.keep() as usize {
                let columns = group * pattern.group() as usize;
                let detail = format!(
                    "is not {pattern}: row {}, group {group} (columns {columns} to {}) holds {there} weights that are not zero",
                    first as usize + row,
                    (columns + pattern.group() as usize).min(target.shape.columns as usize) - 1
                );
                return Err(target.refuse(source, &detail));
            }
        }
    }
    Ok(())
}

fn open_dense(path: &Path) -> Result<ArchiveFile, Error> {
    let file = ArchiveFile::open(path)?;
    match packed::is_packed(&file) {
        true => Err(file.refuse("is packed; unpack it first, by `dualstep prune --unpack`")),
        false => Ok(file),
    }
}

/// Refuses a previous file in which a matrix is missing or another.
fn expect_same(previous: &ArchiveFile, source: &ArchiveFile, target: &Target) -> Result<(), Error> {
    let Some(there) = previous.info(&target.name) else {
        return Err(
            target.refuse(previous, "is missing, so that there is nothing to compare with; use another file")
        );
    };
    if source.info(&target.name).is_some_and(|info| info.shape == there.shape && info.dtype == there.dtype) {
        return Ok(());
    }
    let (expected, actual) = (
        describe(target.dtype, &[target.shape.rows as usize, target.shape.columns as usize]),
        describe(there.dtype, &there.shape),
    );
    Err(target.refuse(previous, &format!("is {actual} but {expected} in {}", source.path().display())))
}

/// Refuses to write a file over one that is read, by whatever path or link.
fn expect_other(input: &ArchiveFile, output: &Path) -> Result<(), Error> {
    if !is_same_file(input.path(), output) {
        return Ok(());
    }
    let detail = format!("is the same file as {}, which is read; write to another", input.path().display());
    Err(refusal(output, &detail))
}

/// Whether two paths lead to one file.
fn is_same_file(a: &Path, b: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let identity = |path: &Path| fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        if let (Some(a), Some(b)) = (identity(a), identity(b)) {
            return a == b;
        }
    }
    let resolved = |path: &Path| -> Option<PathBuf> { fs::canonicalize(path).ok() };
    matches!((resolved(a), resolved(b)), (Some(a), Some(b)) if a == b)
}

/// Some rows of a tensor.
fn read_rows(source: &ArchiveFile, name: &str, row_bytes: u64, rows: &Range<u32>) -> Result<Vec<u8>, Error> {
    let info = source.info(name).ok_or_else(|| source.refuse(&format!("tensor `{name}` is missing")))?;
    source.read(info, u64::from(rows.start) * row_bytes..u64::from(rows.end) * row_bytes)
}

/// Some rows of a tensor of a matrix's type.
fn rows_of(
    source: &ArchiveFile,
    target: &Target,
    name: &str,
    columns: u32,
    rows: &Range<u32>,
) -> Result<Vec<u8>, Error> {
    read_rows(source, name, target.row_bytes(columns), rows)
}

/// Copies a tensor as it is.
fn copy(source: &ArchiveFile, name: &str, out: &mut dyn Write) -> io::Result<()> {
    const PORTION: u64 = 1 << 20;
    let Some(info) = source.info(name) else { return Ok(()) };
    let bytes = (info.data_offsets.1 - info.data_offsets.0) as u64;
    for start in (0..bytes).step_by(PORTION as usize) {
        out.write_all(&source.read(info, start..bytes.min(start + PORTION)).map_err(io::Error::other)?)?;
    }
    Ok(())
}

/// What can be counted of weights by themselves.
fn counts_of(target: &Target, bytes: &[u8]) -> Counts {
    let mut counts = Counts::default();
    for value in target.values(bytes) {
        counts.weights += 1;
        counts.kept += u64::from(value != 0.0);
        counts.kept_square += value * value;
    }
    counts
}

/// How many weights of a block are zero in it or in the previous file, but not in both.
fn flips(previous: &ArchiveFile, block: &Block<'_>, now: &[u8]) -> Result<u64, Error> {
    let target = block.target;
    let then = rows_of(previous, target, &target.name, target.shape.columns, &block.rows)?;
    let pairs = target.values(&then).zip(target.values(now));
    Ok(pairs.filter(|(then, now)| (*then == 0.0) != (*now == 0.0)).count() as u64)
}

fn reports(targets: &[Target], counts: Vec<Counts>) -> Vec<MatrixReport> {
    let report = |(target, counts): (&Target, Counts)| MatrixReport {
        name: target.name.clone(),
        shape: target.shape,
        storage: target.storage(),
        pattern: target.pattern,
        counts,
    };
    targets.iter().zip(counts).map(report).collect()
}
