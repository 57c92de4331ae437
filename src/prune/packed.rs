//! The packed file: its metadata, the names and shapes of its tensors, and what makes a place a place.

use std::collections::BTreeMap;

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::matrix::{Target, is_float, shape_of};
use crate::Error;
use crate::archive::{ArchiveFile, Entry, describe, in_order};
use crate::engine::Shape;
use crate::kernels::nm::NmPattern;

/// What the metadata calls a file of this kind.
const FORMAT: &str = "dualstep packed N:M weights";
/// The version of the format that is written, and the only one that is read.
const VERSION: &str = "1";

/// The name of a packed matrix's values.
pub(super) fn values_of(name: &str) -> String {
    format!("{name}.values")
}

/// The name of a packed matrix's places.
pub(super) fn places_of(name: &str) -> String {
    format!("{name}.places")
}

/// The metadata of a packed file.
pub(super) fn metadata(dense_header: &str, targets: &[Target]) -> BTreeMap<&'static str, String> {
    let patterns: BTreeMap<_, _> = targets.iter().map(|target| (&target.name, target.pattern)).collect();
    BTreeMap::from([
        ("format", FORMAT.to_owned()),
        ("format_version", VERSION.to_owned()),
        ("header", dense_header.to_owned()),
        // Names and patterns always have a JSON form.
        ("patterns", serde_json::to_string(&patterns).expect("JSON of names and patterns")),
    ])
}

/// The entries of a packed matrix.
pub(super) fn entries(target: &Target) -> Result<[Entry; 2], Error> {
    let [values, places] = target.packed()?;
    let shape = |shape: Shape| vec![shape.rows as usize, shape.columns as usize];
    Ok([
        Entry { name: values_of(&target.name), dtype: target.dtype, shape: shape(values) },
        Entry { name: places_of(&target.name), dtype: Dtype::U32, shape: shape(places) },
    ])
}

/// Whether a file is one.
pub(super) fn is_packed(file: &ArchiveFile) -> bool {
    file.text("format") == Some(FORMAT)
}

/// A packed file whose header holds together: there is what the dense one needs, and nothing else.
pub(super) struct PackedHeader {
    /// Of the dense file.
    pub dense: Metadata,
    /// Its packed matrices.
    pub targets: Vec<Target>,
}

/// Reads and checks the metadata of a packed file.
pub(super) fn header(file: &ArchiveFile) -> Result<PackedHeader, Error> {
    let damaged = |what: String| file.refuse(&format!("{what}; use another file"));
    let text = |key: &str| file.text(key).ok_or_else(|| damaged(format!("metadata `{key}` is missing")));
    if !is_packed(file) {
        return Err(file.refuse("is not packed; give a file that `dualstep prune --packed` wrote"));
    }
    let version = text("format_version")?;
    if version != VERSION {
        let detail = format!(
            "format version {version} but this program reads {VERSION}; use the program that wrote it"
        );
        return Err(file.refuse(&detail));
    }
    let patterns: BTreeMap<String, NmPattern> = serde_json::from_str(text("patterns")?)
        .map_err(|error| damaged(format!("metadata `patterns` is damaged: {error}")))?;
    let header = text("header")?;
    let dense: Metadata = serde_json::from_str(header)
        .map_err(|error| damaged(format!("metadata `header` is damaged: {error}")))?;
    let mut targets = Vec::new();
    for (name, info) in in_order(&dense) {
        let Some(pattern) = patterns.get(&name) else {
            expect(file, &Entry { name, dtype: info.dtype, shape: info.shape.clone() })?;
            continue;
        };
        let shape = shape_of(&info.shape).filter(|_| is_float(info.dtype));
        let Some(shape) = shape else {
            let actual = describe(info.dtype, &info.shape);
            return Err(damaged(format!("metadata `patterns` names `{name}`, which is {actual}")));
        };
        let target = Target { name, shape, dtype: info.dtype, pattern: *pattern };
        entries(&target)?.iter().try_for_each(|entry| expect(file, entry))?;
        targets.push(target);
    }
    let (expected, actual) = (in_order(&dense).len() + targets.len(), file.tensors().len());
    if targets.len() != patterns.len() || expected != actual {
        return Err(damaged(format!("holds {actual} tensors but its metadata tells of {expected}")));
    }
    Ok(PackedHeader { dense, targets })
}

/// Makes sure that a tensor is there as it should be.
fn expect(file: &ArchiveFile, entry: &Entry) -> Result<(), Error> {
    let Entry { name, dtype, shape } = entry;
    let info = file
        .info(name)
        .ok_or_else(|| file.refuse(&format!("tensor `{name}` is missing; use another file")))?;
    if info.dtype == *dtype && info.shape == *shape {
        return Ok(());
    }
    let (expected, actual) = (describe(*dtype, shape), describe(info.dtype, &info.shape));
    Err(file.refuse(&format!("tensor `{name}` is {actual}; by the metadata it must be {expected}")))
}

/// A group of a packed row whose places are not such, or are beyond the matrix and not for zeros.
pub(super) struct Misplaced {
    pub row: u32,
    pub group: u32,
    pub places: Vec<u32>,
}

/// The first such group of some rows of a packed matrix, with `values` as numbers.
pub(super) fn first_misplaced(target: &Target, values: &[f64], places: &[u32]) -> Option<Misplaced> {
    let pattern = target.pattern;
    let (bits, keep) = (pattern.place_bits() as usize, pattern.keep() as usize);
    let groups = (target.padded().columns / pattern.group()) as usize;
    let entries = groups * keep;
    let words = (entries * bits).div_ceil(32);
    let rows = places.chunks_exact(words.max(1)).zip(values.chunks_exact(entries.max(1)));
    for (row, (words, values)) in rows.enumerate() {
        let place = |entry: usize| {
            let at = entry * bits;
            let next = u64::from(words.get(at / 32 + 1).copied().unwrap_or(0));
            let pair = u64::from(words[at / 32]) | next << 32;
            (pair >> (at % 32)) as u32 & ((1 << bits) - 1)
        };
        for group in 0..groups {
            let of_group = group * keep..(group + 1) * keep;
            let places: Vec<u32> = of_group.clone().map(place).collect();
            let width = (target.shape.columns - group as u32 * pattern.group()).min(pattern.group());
            let is_stray = |(place, value): (&u32, &f64)| {
                *place >= width && (*value != 0.0 || *place >= pattern.group())
            };
            let has_strays = places.iter().zip(&values[of_group]).any(is_stray);
            if has_strays || !places.is_sorted_by(|a, b| a < b) {
                return Some(Misplaced { row: row as u32, group: group as u32, places });
            }
        }
    }
    None
}
