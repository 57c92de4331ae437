//! Graphs whose nodes carry features and a class, one safetensors file each.
//!
//! [`DataSource`](super::DataSource) reads a [`Graph`] and makes a [`Split`] of its nodes, for networks that look at each
//! node by itself. Graph convolutions take all nodes at once: [`Graph::features`], [`Graph::adjacency`], [`Graph::labels`]
//! and [`Graph::halves`]. What always holds: every row of features has each column once, ascending; every column, edge and
//! class is in range, every value is finite.
//!
//! # The file
//!
//! Metadata holds the counts `nodes`, `features` and `classes` as strings. Tensors:
//!
//! | tensor | shape | what |
//! |---|---|---|
//! | `feature_indptr` | nodes + 1 | where the entries of each node's row begin; the last is their number |
//! | `feature_indices` | entries | column of each entry |
//! | `feature_values` | entries, f32 | absent where every entry is 1 |
//! | `edges` | edges × 2 | undirected, each once; those named twice count once, from a node to itself not at all |
//! | `labels` | nodes | class of each node, 255 for none |
//! | `train`, `test` | any | nodes of the public split, if there is one |
//!
//! Whole numbers may be stored as u8, u16, i32 or u32.

use std::collections::BTreeMap;
use std::path::Path;

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::{Dataset, SparseRows, Split, Values};
use crate::Error;
use crate::archive::{self, Archive};

/// The label of a node that has none.
const NO_LABEL: u32 = 255;

/// Which nodes of a graph are learnt from. Nodes without a label are in neither half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partition {
    /// Half of each class, drawn by a seed; the odd one is learnt from.
    Half {
        /// The seed.
        seed: u64,
    },
    /// The split that the file comes with.
    Public,
}

/// A graph read from a file.
#[derive(Clone, Debug)]
pub struct Graph {
    features: usize,
    classes: usize,
    /// A row for each node.
    rows: SparseRows,
    edges: Vec<[u32; 2]>,
    labels: Vec<u32>,
    public: Option<[Vec<u32>; 2]>,
}

impl Graph {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read; [`Error::Data`] when it is no safetensors file, a tensor is missing, or
    /// one holds something out of range.
    pub fn read(path: &Path) -> Result<Self, Error> {
        archive::read(path, |bytes| Self::parse(&Archive::open(bytes)?)).map_err(|error| match error {
            Error::Checkpoint { path, detail } => Error::Data { path, detail },
            other => other,
        })
    }

    fn parse(archive: &Archive<'_>) -> Result<Self, String> {
        let [nodes, features, classes] =
            [count(archive, "nodes")?, count(archive, "features")?, count(archive, "classes")?];
        let rows =
            archive.naturals("feature_indptr", &[nodes.checked_add(1).ok_or("has too many nodes")?])?;
        let entries = rows[nodes] as usize;
        if rows[0] != 0 || rows.windows(2).any(|ends| ends[0] > ends[1]) {
            return Err("tensor `feature_indptr` does not ascend from 0; write the file again".into());
        }
        let columns = archive.naturals("feature_indices", &[entries])?;
        let values = match archive.holds("feature_values") {
            true => archive.floats("feature_values", &[entries])?,
            false => vec![1.0; entries],
        };
        let edges = archive.naturals("edges", &[archive.rows("edges")?, 2])?;
        let labels = archive.naturals("labels", &[nodes])?;
        below(&columns, "feature_indices", features, "features")?;
        below(&edges, "edges", nodes, "nodes")?;
        let stray = labels.iter().position(|label| *label != NO_LABEL && *label as usize >= classes);
        if let Some(node) = stray {
            return Err(format!(
                "label {} of node {node} is out of range: the classes are 0 to {}, and 255 is none",
                labels[node],
                classes - 1
            ));
        }
        Ok(Self {
            features,
            classes,
            rows: ascending(SparseRows { starts: rows, columns, values }),
            edges: edges.as_chunks::<2>().0.to_vec(),
            labels,
            public: public_split(archive, nodes)?,
        })
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.labels.len()
    }

    /// Pairs of nodes with an edge between them.
    pub fn edges(&self) -> &[[u32; 2]] {
        &self.edges
    }

    /// Number of features of a node.
    pub fn width(&self) -> usize {
        self.features
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The class of each node; 255 for none.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The features of all nodes, a row for each.
    pub fn features(&self) -> &SparseRows {
        &self.rows
    }

    /// Â = D^{−1/2} (A + I) D^{−1/2}, by which a graph convolution mixes neighbours (Kipf and Welling 2017, equation 2).
    ///
    /// A is 1 where there is an edge, however often and in whichever direction the file names it, and 0 elsewhere, on the
    /// diagonal too; D is the diagonal of the row sums of A + I. So Â is symmetric, bit for bit, and a node without
    /// neighbours keeps what it has.
    pub fn adjacency(&self) -> SparseRows {
        let mut neighbours: Vec<Vec<u32>> = (0..self.nodes() as u32).map(|node| vec![node]).collect();
        for [a, b] in &self.edges {
            neighbours[*a as usize].push(*b);
            neighbours[*b as usize].push(*a);
        }
        for row in &mut neighbours {
            row.sort_unstable();
            row.dedup();
        }
        let degree = |node: u32| neighbours[node as usize].len() as f64;
        let mut adjacency = SparseRows::default();
        for (row, node) in neighbours.iter().zip(0..) {
            let weight = |other: u32| (degree(node) * degree(other)).sqrt().recip() as f32;
            adjacency.push(row.iter().map(|other| (*other, weight(*other))));
        }
        adjacency
    }

    /// The nodes to learn from and those to be judged by, each ascending where a seed draws them; errors call the graph by
    /// `name`.
    ///
    /// # Errors
    /// [`Error::Data`] when the file has no public split but it is asked for.
    pub fn halves(&self, partition: Partition, name: &str) -> Result<[Vec<u32>; 2], Error> {
        match (partition, &self.public) {
            (Partition::Half { seed }, _) => Ok(self.half(seed)),
            (Partition::Public, Some(halves)) => Ok(halves.clone()),
            (Partition::Public, None) => {
                let detail = "has no public split; leave @public out".into();
                Err(Error::Data { path: name.into(), detail })
            }
        }
    }

    fn half(&self, seed: u64) -> [Vec<u32>; 2] {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let [mut train, mut test] = [Vec::new(), Vec::new()];
        for class in 0..self.classes as u32 {
            let members = (0..self.nodes() as u32).filter(|node| self.labels[*node as usize] == class);
            let mut members: Vec<u32> = members.collect();
            members.shuffle(&mut generator);
            let (learnt, judged) = members.split_at(members.len().div_ceil(2));
            train.extend(learnt);
            test.extend(judged);
        }
        train.sort_unstable();
        test.sort_unstable();
        [train, test]
    }

    /// Features and labels of both halves; errors call them by `name`.
    ///
    /// # Errors
    /// [`Error::Data`] when the file has no public split but it is asked for, or a half is empty.
    pub fn split(&self, partition: Partition, name: &str) -> Result<Split, Error> {
        let [train, test] = self.halves(partition, name)?;
        Ok(Split {
            train: self.dataset(&train, format!("{name}/train"))?,
            test: self.dataset(&test, format!("{name}/test"))?,
        })
    }

    /// Features and labels of some nodes, the features by their entries where that pays.
    fn dataset(&self, nodes: &[u32], name: String) -> Result<Dataset, Error> {
        let rows = self.rows.pick(nodes.iter().map(|node| *node as usize));
        let values = match self.rows.pays(self.features) {
            true => Values::Sparse(rows),
            false => Values::Reals(rows.dense(0..nodes.len(), self.features)),
        };
        let labels = nodes.iter().map(|node| self.labels[*node as usize]).collect();
        Dataset::new(name, self.features, self.classes, values, labels)
    }
}

/// The same matrix with the columns of each row ascending; of those named twice the last counts.
fn ascending(rows: SparseRows) -> SparseRows {
    if rows
        .starts
        .windows(2)
        .all(|ends| rows.columns[ends[0] as usize..ends[1] as usize].is_sorted_by(|a, b| a < b))
    {
        return rows;
    }
    let mut sorted = SparseRows::default();
    for row in 0..rows.rows() {
        let entries: BTreeMap<u32, f32> = rows.row(row).collect();
        sorted.push(entries);
    }
    sorted
}

/// A count from the metadata.
fn count(archive: &Archive<'_>, key: &str) -> Result<usize, String> {
    let text =
        archive.text(key).ok_or_else(|| format!("its metadata has no `{key}`; no graph is read without"))?;
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("its metadata says {key} = {text:?}; it must be a number above 0")),
    }
}

fn below(values: &[u32], name: &str, limit: usize, of: &str) -> Result<(), String> {
    match values.iter().position(|value| *value as usize >= limit) {
        None => Ok(()),
        Some(at) => {
            Err(format!("tensor `{name}` holds {} at element {at}, but there are {limit} {of}", values[at]))
        }
    }
}

fn public_split(archive: &Archive<'_>, nodes: usize) -> Result<Option<[Vec<u32>; 2]>, String> {
    if !archive.holds("train") || !archive.holds("test") {
        return Ok(None);
    }
    let part = |name| {
        let members = archive.naturals(name, &[archive.rows(name)?])?;
        below(&members, name, nodes, "nodes")?;
        Ok::<_, String>(members)
    };
    Ok(Some([part("train")?, part("test")?]))
}
