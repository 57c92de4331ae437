//! Safetensors files, read and written by the rules of this crate.
//!
//! Checkpoints and golden traces go through here. What always holds: reading never panics and never trusts a length
//! that the file claims, every tensor handed out is of the type and shape that was asked for, and the same content is
//! always written as the same bytes. Messages are the detail of an [`Error::Checkpoint`].

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use crate::Error;

/// What `parse` makes of the file at `path`; its message becomes an [`Error::Checkpoint`].
pub(crate) fn read<T>(path: &Path, parse: impl FnOnce(&[u8]) -> Result<T, String>) -> Result<T, Error> {
    let bytes =
        fs::read(path).map_err(|source| Error::Io { action: "read", path: path.to_owned(), source })?;
    parse(&bytes).map_err(|detail| Error::Checkpoint {
        path: path.to_owned(),
        // Names in a damaged file may hold anything; a message is one line.
        detail: detail.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
    })
}

/// A safetensors file in memory whose header has been checked against its length.
pub(crate) struct Archive<'a> {
    metadata: Metadata,
    data: &'a [u8],
}

impl<'a> Archive<'a> {
    /// The header is read here, and not by `SafeTensors::deserialize`, because that adds the lengths a header claims
    /// without a check for overflow; and because the messages can then say which of the two lengths is wrong.
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, String> {
        let cut_short =
            || format!("is cut short or no safetensors file ({} bytes); copy it again", bytes.len());
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(cut_short)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut_short())?;
        let (header, data) = rest.split_at_checked(length).ok_or_else(cut_short)?;
        let metadata: Metadata = serde_json::from_slice(header)
            .map_err(|error| format!("its safetensors header is damaged: {error}; copy it again"))?;
        if metadata.data_len() != data.len() {
            let (claimed, present) = (metadata.data_len(), data.len());
            return Err(format!(
                "its header claims {claimed} bytes of tensors, {present} follow; copy it again"
            ));
        }
        Ok(Self { metadata, data })
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

    /// A tensor of f32, all finite.
    pub(crate) fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        let values: Vec<f32> = words(self.bytes(name, Dtype::F32, shape)?).map(f32::from_le_bytes).collect();
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(index) => Err(format!("tensor `{name}` holds {} at element {index}", values[index])),
        }
    }
}

fn missing(name: &str) -> String {
    format!("tensor `{name}` is missing; use another file")
}

/// `32 × 784 f32`.
fn describe(dtype: Dtype, shape: &[usize]) -> String {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("{} {}", sizes.join(" × "), dtype.to_string().to_lowercase())
}

/// The elements of a tensor, `SIZE` bytes each.
pub(crate) fn words<const SIZE: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; SIZE]> + '_ {
    bytes.as_chunks::<SIZE>().0.iter().copied()
}

/// A tensor of f32 to be written.
pub(crate) struct Floats<'a> {
    /// Its name in the file.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, as many as the shape says.
    pub values: &'a [f32],
}

/// Writes an archive of f32 tensors, one after another as given.
///
/// The header is put together here, because the crate's own keeps metadata in a hash map, and would write the same
/// content as other bytes each time; and because a state may be large, and this holds no second copy of it.
pub(crate) fn write(
    out: &mut dyn Write,
    metadata: &BTreeMap<&str, String>,
    tensors: &[Floats<'_>],
) -> io::Result<()> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), serde_json::to_value(metadata)?);
    let mut end = 0;
    for Floats { name, shape, values } in tensors {
        let start = end;
        end += size_of_val(*values);
        let entry = serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, end] });
        header.insert(name.clone(), entry);
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' '); // aligned, so that tensors can be mapped
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for tensor in tensors {
        write_floats(out, tensor.values)?;
    }
    Ok(())
}

/// Little-endian on every machine.
fn write_floats(out: &mut dyn Write, values: &[f32]) -> io::Result<()> {
    if cfg!(target_endian = "little") {
        return out.write_all(bytemuck::cast_slice(values));
    }
    values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
}
