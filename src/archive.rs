//! Safetensors files, read and written by the rules of this crate.
//!
//! Checkpoints and golden traces go through here whole, in an [`Archive`]; models of any size piece by piece, in an
//! [`ArchiveFile`]. What always holds: reading never panics and never trusts a length that the file claims, every tensor
//! handed out is of the type and shape that was asked for, and the same content is always written as the same bytes.
//! Messages are the detail of an [`Error::Checkpoint`].

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::Error;

/// What `parse` makes of the file at `path`; its message becomes an [`Error::Checkpoint`].
pub(crate) fn read<T>(path: &Path, parse: impl FnOnce(&[u8]) -> Result<T, String>) -> Result<T, Error> {
    let bytes =
        fs::read(path).map_err(|source| Error::Io { action: "read", path: path.to_owned(), source })?;
    parse(&bytes).map_err(|detail| refusal(path, &detail))
}

/// What is wrong with the file at `path`.
pub(crate) fn refusal(path: &Path, detail: &str) -> Error {
    // Names in a damaged file may hold anything; a message is one line.
    let detail = detail.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Error::Checkpoint { path: path.to_owned(), detail }
}

/// Reads a header which `present` bytes of tensors follow.
///
/// By this function and not by `SafeTensors::deserialize`, because that adds the lengths a header claims without a check for
/// overflow; and because the messages can then say which of the two lengths is wrong.
pub(crate) fn parse_header(header: &[u8], present: u64) -> Result<Metadata, String> {
    let metadata: Metadata = serde_json::from_slice(header)
        .map_err(|error| format!("its safetensors header is damaged: {error}; copy it again"))?;
    let claimed = metadata.data_len() as u64;
    if claimed != present {
        return Err(format!("its header claims {claimed} bytes of tensors, {present} follow; copy it again"));
    }
    Ok(metadata)
}

fn cut_short(length: u64) -> String {
    format!("is cut short or no safetensors file ({length} bytes); copy it again")
}

/// A safetensors file in memory whose header has been checked against its length.
pub(crate) struct Archive<'a> {
    metadata: Metadata,
    data: &'a [u8],
}

impl<'a> Archive<'a> {
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, String> {
        let cut_short = || cut_short(bytes.len() as u64);
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(cut_short)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut_short())?;
        let (header, data) = rest.split_at_checked(length).ok_or_else(cut_short)?;
        Ok(Self { metadata: parse_header(header, data.len() as u64)?, data })
    }

    /// A value of the metadata, if it is there.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.metadata.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// Whether there is a tensor of that name, of whatever type and shape.
    pub(crate) fn holds(&self, name: &str) -> bool {
        self.metadata.info(name).is_some()
    }

    /// The bytes of a tensor of the given type and shape, hence of that many elements.
    pub(crate) fn bytes(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<&'a [u8], String> {
        let info = self.metadata.info(name).ok_or_else(|| missing(name))?;
        if info.dtype != dtype || info.shape != shape {
            let (expected, actual) = (describe(dtype, shape), describe(info.dtype, &info.shape));
            return Err(format!("tensor `{name}` is {actual}; by the metadata it must be {expected}"));
        }
        let (start, end) = info.data_offsets;
        self.data
            .get(start..end)
            .ok_or_else(|| format!("tensor `{name}` lies outside the file; copy it again"))
    }

    /// How many rows a tensor has, of whatever type.
    pub(crate) fn rows(&self, name: &str) -> Result<usize, String> {
        let info = self.metadata.info(name).ok_or_else(|| missing(name))?;
        Ok(info.shape.first().copied().unwrap_or(0))
    }

    /// A tensor of whole numbers, none of them negative, in any of the types that such are stored in.
    pub(crate) fn naturals(&self, name: &str, shape: &[usize]) -> Result<Vec<u32>, String> {
        let dtype = self.metadata.info(name).ok_or_else(|| missing(name))?.dtype;
        let bytes = self.bytes(name, dtype, shape)?;
        match dtype {
            Dtype::U8 => Ok(bytes.iter().copied().map(u32::from).collect()),
            Dtype::U16 => Ok(words(bytes).map(|word| u16::from_le_bytes(word).into()).collect()),
            Dtype::U32 => Ok(words(bytes).map(u32::from_le_bytes).collect()),
            Dtype::I32 => words(bytes)
                .map(i32::from_le_bytes)
                .map(|value| u32::try_from(value).map_err(|_| format!("tensor `{name}` holds {value}")))
                .collect(),
            _ => Err(format!(
                "tensor `{name}` is {}; it must hold u8, u16, i32 or u32",
                describe(dtype, shape)
            )),
        }
    }

    /// A list of elements of 16 or 32 bits in whole words, as [`Stored`] has them; floats are all finite.
    pub(crate) fn list(&self, name: &str, dtype: Dtype) -> Result<Vec<u32>, String> {
        let bytes = self.bytes(name, dtype, &[self.rows(name)?])?;
        if bytes.len() % 4 != 0 {
            return Err(format!("tensor `{name}` is no whole number of words; use another file"));
        }
        let list: Vec<u32> = words(bytes).map(u32::from_le_bytes).collect();
        let exponents: &[u32] = match dtype {
            Dtype::F32 => &[0x7f80_0000],
            Dtype::BF16 => &[0x7f80_0000, 0x7f80],
            Dtype::F16 => &[0x7c00_0000, 0x7c00],
            _ => &[],
        };
        match list.iter().position(|word| exponents.iter().any(|mask| word & mask == *mask)) {
            None => Ok(list),
            Some(at) => Err(format!("tensor `{name}` holds a number that is not finite in word {at}")),
        }
    }

    /// A tensor of f32, all finite.
    pub(crate) fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        let values: Vec<f32> = words(self.bytes(name, Dtype::F32, shape)?).map(f32::from_le_bytes).collect();
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(index) => Err(format!("tensor `{name}` holds {} at element {index}", values[index])),
        }
    }
}

/// The longest header that is read; the format allows no longer one.
const LONGEST_HEADER: u64 = 100_000_000;

/// A safetensors file that stays on disk and is read piece by piece; its header has been checked against its length.
#[derive(Debug)]
pub(crate) struct ArchiveFile {
    path: PathBuf,
    file: File,
    header: String,
    metadata: Metadata,
    /// Where the tensors begin.
    start: u64,
}

impl ArchiveFile {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let unreadable = |source| Error::Io { action: "read", path: path.to_owned(), source };
        let mut file = File::open(path).map_err(unreadable)?;
        let whole = file.metadata().map_err(unreadable)?.len();
        let mut length = [0; 8];
        if whole < 8 {
            return Err(refusal(path, &cut_short(whole)));
        }
        file.read_exact(&mut length).map_err(unreadable)?;
        let length = u64::from_le_bytes(length);
        if length > (whole - 8).min(LONGEST_HEADER) {
            return Err(refusal(path, &cut_short(whole)));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(unreadable)?;
        let metadata = parse_header(&header, whole - 8 - length).map_err(|detail| refusal(path, &detail))?;
        let header = String::from_utf8(header).map_err(|_| refusal(path, "its header is not UTF-8"))?;
        Ok(Self { path: path.to_owned(), file, header, metadata, start: 8 + length })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The header's text, with the spaces that pad it.
    pub(crate) fn header(&self) -> &str {
        &self.header
    }

    /// Bytes of the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.start + self.metadata.data_len() as u64
    }

    /// A value of the metadata, if it is there.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.metadata.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// The tensors in the order in which they lie.
    pub(crate) fn tensors(&self) -> Vec<(String, &TensorInfo)> {
        in_order(&self.metadata)
    }

    /// A tensor's type and shape.
    pub(crate) fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.metadata.info(name)
    }

    /// Some of a tensor's bytes, counted from its first.
    pub(crate) fn read(&self, info: &TensorInfo, range: Range<u64>) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        let from = SeekFrom::Start(self.start + info.data_offsets.0 as u64 + range.start);
        let mut file = &self.file;
        let read = file.seek(from).and_then(|_| file.read_exact(&mut bytes));
        read.map_err(|source| Error::Io { action: "read", path: self.path.clone(), source })?;
        Ok(bytes)
    }

    /// What is wrong with the file.
    pub(crate) fn refuse(&self, detail: &str) -> Error {
        refusal(&self.path, detail)
    }
}

/// The tensors that a header tells of, in the order in which they lie.
pub(crate) fn in_order(metadata: &Metadata) -> Vec<(String, &TensorInfo)> {
    let info = |name: String| metadata.info(&name).map(|info| (name, info));
    metadata.offset_keys().into_iter().filter_map(info).collect()
}

fn missing(name: &str) -> String {
    format!("tensor `{name}` is missing; use another file")
}

/// `32 × 784 f32`.
pub(crate) fn describe(dtype: Dtype, shape: &[usize]) -> String {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("{} {}", sizes.join(" × "), dtype.to_string().to_lowercase())
}

/// The elements of a tensor, `SIZE` bytes each.
pub(crate) fn words<const SIZE: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; SIZE]> + '_ {
    bytes.as_chunks::<SIZE>().0.iter().copied()
}

/// What a header says of a tensor.
#[derive(Clone)]
pub(crate) struct Entry {
    /// Its name in the file.
    pub name: String,
    /// What its elements are stored as.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Entry {
    /// Bytes of all elements.
    pub(crate) fn bytes(&self) -> u64 {
        self.shape.iter().map(|size| *size as u64).product::<u64>() * self.dtype.bitsize() as u64 / 8
    }
}

/// Writes the head of an archive, which the tensors follow one after another as given.
///
/// The header is put together here, because the crate's own keeps metadata in a hash map, and would write the same
/// content as other bytes each time; and because a state may be large, and this holds no second copy of it.
pub(crate) fn write_header(
    out: &mut dyn Write,
    metadata: &BTreeMap<&str, String>,
    entries: &[Entry],
) -> io::Result<()> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), serde_json::to_value(metadata)?);
    let mut end = 0;
    for entry in entries {
        let start = end;
        end += entry.bytes();
        let Entry { name, dtype, shape } = entry;
        let entry = serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] });
        header.insert(name.clone(), entry);
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' '); // aligned, so that tensors can be mapped
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)
}

/// A tensor to be written.
pub(crate) struct Stored<'a> {
    /// Its name, type and shape.
    pub entry: Entry,
    /// Its elements, as many as the shape says, in whole words: of 16 bits two in each, the first in the lower half.
    pub words: &'a [u32],
}

impl<'a> Stored<'a> {
    /// One of f32.
    pub(crate) fn floats(name: String, shape: Vec<usize>, values: &'a [f32]) -> Self {
        Self { entry: Entry { name, dtype: Dtype::F32, shape }, words: bytemuck::cast_slice(values) }
    }

    /// A list of elements of any type that has 16 or 32 bits.
    pub(crate) fn list(name: String, dtype: Dtype, words: &'a [u32]) -> Self {
        let shape = vec![words.len() * 32 / dtype.bitsize()];
        Self { entry: Entry { name, dtype, shape }, words }
    }
}

/// Writes an archive of tensors, one after another as given.
pub(crate) fn write(
    out: &mut dyn Write,
    metadata: &BTreeMap<&str, String>,
    tensors: &[Stored<'_>],
) -> io::Result<()> {
    write_header(out, metadata, &tensors.iter().map(|tensor| tensor.entry.clone()).collect::<Vec<_>>())?;
    tensors.iter().try_for_each(|tensor| write_words(out, tensor.words))
}

/// Little-endian on every machine.
fn write_words(out: &mut dyn Write, words: &[u32]) -> io::Result<()> {
    if cfg!(target_endian = "little") {
        return out.write_all(bytemuck::cast_slice(words));
    }
    words.iter().try_for_each(|word| out.write_all(&word.to_le_bytes()))
}
