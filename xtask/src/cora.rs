//! Cora, from the two Parquet files of a Python package to one graph file (`src/data/graph.rs` documents it).
//!
//! The files are known by their digests, so where their columns lie is known too, and no reader of Parquet at large is
//! needed: that would be a dozen crates, or fifty megabytes of Python's. A column is two gzip pages, a dictionary of
//! 64-bit numbers and indices into it, bit-packed and in runs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use anyhow::{Context, Result};
use flate2::read::GzDecoder;

/// SHA-256 of the two files for which the positions below hold.
pub const DIGESTS: [&str; 2] = [
    "c54c0625af98570287dcb25e9f29e0b229948352a8de1dbf202fa39f36bfe591",
    "e0059f81e607c0262e93fbe3c77950b06098dab167f0071cba97a82c9440ca01",
];

const NODES: usize = 2708;
const FEATURES: usize = 1433;
const CITATIONS: usize = 5429;
const CLASSES: usize = 7;

/// A column of a file.
struct Column {
    /// Where its dictionary and its indices begin.
    pages: [usize; 2],
    /// Lists before the indices that say what is missing, which nothing is.
    levels: usize,
    values: usize,
}

const NODE: Column = Column { pages: [23, 8521], levels: 1, values: NODES };
const CLASS: Column = Column { pages: [12_833, 12_936], levels: 1, values: NODES };
const FEATURE: Column = Column { pages: [14_106, 14_200], levels: 2, values: NODES * FEATURES };
const CITING: Column = Column { pages: [22, 3572], levels: 1, values: CITATIONS };
const CITED: Column = Column { pages: [8387, 15_459], levels: 1, values: CITATIONS };

/// The graph file: papers with the words they hold, and an edge between two of which one cites the other.
pub fn convert(nodes: &[u8], citations: &[u8]) -> Result<Vec<u8>> {
    let names = NODE.read(nodes)?;
    let places: BTreeMap<i64, u16> = names.iter().copied().zip(0..).collect();
    let place = |name: i64| places.get(&name).copied().with_context(|| format!("no paper is called {name}"));
    let mut edges = BTreeSet::new();
    for (citing, cited) in CITING.read(citations)?.into_iter().zip(CITED.read(citations)?) {
        let (a, b) = (place(citing)?, place(cited)?);
        if a != b {
            edges.insert([a.min(b), a.max(b)]);
        }
    }
    let (mut ends, mut words) = (vec![0u32], Vec::new());
    for row in FEATURE.read(nodes)?.chunks_exact(FEATURES) {
        words.extend((0..FEATURES as u16).filter(|word| row[usize::from(*word)] == 1));
        ends.push(words.len() as u32);
    }
    let labels = CLASS.read(nodes)?.into_iter().map(u8::try_from).collect::<Result<Vec<_>, _>>()?;
    let shorts = |values: &[u16]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    Ok(safetensors(&[
        ("feature_indptr", "U32", vec![NODES + 1], ends.iter().flat_map(|end| end.to_le_bytes()).collect()),
        ("feature_indices", "U16", vec![words.len()], shorts(&words)),
        ("edges", "U16", vec![edges.len(), 2], edges.iter().flat_map(|edge| shorts(edge)).collect()),
        ("labels", "U8", vec![NODES], labels),
    ]))
}

/// Name, type, shape and bytes.
type Tensor = (&'static str, &'static str, Vec<usize>, Vec<u8>);

/// A safetensors file of these tensors, the widest type first, so that each is aligned.
fn safetensors(tensors: &[Tensor]) -> Vec<u8> {
    let mut header =
        format!(r#"{{"__metadata__":{{"classes":"{CLASSES}","features":"{FEATURES}","nodes":"{NODES}"}}"#);
    let mut end = 0;
    for (name, dtype, shape, bytes) in tensors {
        let (start, shape) = (end, format!("{shape:?}").replace(' ', ""));
        end += bytes.len();
        header +=
            &format!(r#","{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#);
    }
    header.push('}');
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    tensors.iter().for_each(|tensor| file.extend(&tensor.3));
    file
}

impl Column {
    fn read(&self, file: &[u8]) -> Result<Vec<i64>> {
        let [dictionary, page] = self.pages.map(|at| unpack(file, at));
        let dictionary: Vec<i64> =
            dictionary?.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect();
        let indices = indices(&page?, self.levels, self.values).context("a page is cut short")?;
        let value = |index: u32| {
            dictionary.get(index as usize).copied().context("a page does not fit its dictionary")
        };
        indices.into_iter().map(value).collect()
    }
}

/// The gzip stream that begins at byte `at`.
fn unpack(file: &[u8], at: usize) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    GzDecoder::new(file.get(at..).context("a file is cut short")?).read_to_end(&mut content)?;
    Ok(content)
}

/// The indices of a page (Parquet's "RLE / bit-packing hybrid"), or none where it ends too soon.
fn indices(page: &[u8], levels: usize, count: usize) -> Option<Vec<u32>> {
    let mut rest = page;
    for _ in 0..levels {
        let (length, after) = rest.split_first_chunk()?;
        rest = after.get(u32::from_le_bytes(*length) as usize..)?;
    }
    let (width, mut rest) = rest.split_first()?;
    let width = usize::from(*width);
    let mut indices = Vec::with_capacity(count);
    while indices.len() < count {
        let (head, after) = varint(rest)?;
        let is_packed = head & 1 == 1;
        // A packed run counts its values in groups of eight, each as many bytes as a value has bits.
        let bytes = if is_packed { (head >> 1) * width } else { width.div_ceil(8) };
        let (run, after) = after.split_at_checked(bytes)?;
        let value = |k: usize| {
            (0..width).fold(0, |value, bit| {
                let at = k * width + bit;
                value | u32::from(run[at / 8] >> (at % 8) & 1) << bit
            })
        };
        match is_packed {
            true => indices.extend((0..(head >> 1) * 8).map(value)),
            false => indices.extend(std::iter::repeat_n(value(0), head >> 1)),
        }
        rest = after;
    }
    indices.truncate(count);
    Some(indices)
}

/// A number in groups of seven bits, the lowest first, and what follows it.
fn varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let length = bytes.iter().take(5).position(|byte| byte & 0x80 == 0)? + 1;
    let (number, rest) = bytes.split_at(length);
    Some((number.iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of levels, three-bit indices 5 three times in a run, then 0 to 7 packed (the example of Parquet's own
    /// documentation: bytes 88 c6 fa).
    #[test]
    fn runs_and_packed_groups_are_told_apart() {
        let page = [2, 0, 0, 0, 9, 9, 3, 3 << 1, 5, 1 << 1 | 1, 0x88, 0xc6, 0xfa];
        assert_eq!(indices(&page, 1, 10).unwrap(), [5, 5, 5, 0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(indices(&page, 1, 12), None, "there are eleven");
        assert_eq!(varint(&[0xa8, 0x2a, 7]), Some((5416, &[7][..])));
    }
}
