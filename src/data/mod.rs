//! Data sets: samples with labels, and where they come from.
//!
//! The command line asks a [`DataSource`] for a [`Split`]; solvers read a [`Dataset`] block by block. A host app
//! with data of its own builds its [`Dataset`]s by [`Dataset::new`]. What always holds: a data set has at least one
//! sample, every value in it is finite, every label is below `classes()`, and both halves of a split agree on
//! features and classes. Everything downstream relies on that and checks none of it again.

mod cache;
pub mod graph;
pub mod idx;
mod sources;
mod sparse;

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use crate::Error;

pub use cache::folder as cache_folder;
pub use sources::DataSource;
pub use sparse::SparseRows;

/// Feature values of all samples, one sample after another, the features of a sample contiguous.
#[derive(Clone)]
#[non_exhaustive]
pub enum Values {
    /// Brightness of pixels, 0 (background) to 255; solvers see them divided by 255.
    Pixels(Vec<u8>),
    /// Real numbers; solvers see them as they are.
    Reals(Vec<f32>),
    /// Real numbers most of which are zero, by the others; solvers see them so.
    Sparse(SparseRows),
}

/// Samples of equal size, each with the class it belongs to.
#[derive(Clone)]
pub struct Dataset {
    name: String,
    features: usize,
    classes: usize,
    values: Values,
    labels: Vec<u32>,
}

/// What a network is trained on and what it is judged by. Both have the same features and classes.
#[derive(Clone, Debug)]
pub struct Split {
    /// The samples to learn from.
    pub train: Dataset,
    /// The samples never learnt from.
    pub test: Dataset,
}

impl Dataset {
    /// Makes a data set of `labels.len()` samples with `features` values each.
    ///
    /// `values` holds `labels.len() × features` numbers, or as many sparse rows as there are labels; `labels` are in
    /// `0..classes`. Errors call the data set by `name`.
    ///
    /// # Errors
    /// [`Error::Data`] when there are no samples or no features, fewer than two classes, the lengths disagree, a
    /// label or a column is out of range, the columns of a row do not ascend, or a value is NaN or infinite.
    pub fn new(
        name: impl Into<String>,
        features: usize,
        classes: usize,
        values: Values,
        labels: Vec<u32>,
    ) -> Result<Self, Error> {
        let set = Self { name: name.into(), features, classes, values, labels };
        match set.fault() {
            Some(detail) => Err(set.error(detail)),
            None => Ok(set),
        }
    }

    /// The first thing about this data set that breaks its promises, in words.
    fn fault(&self) -> Option<String> {
        let (samples, features) = (self.len(), self.features);
        if samples == 0 || features == 0 {
            return Some(format!("{samples} samples of {features} features; at least one of each is needed"));
        }
        if self.classes < 2 {
            return Some(format!("{} classes; a classifier needs at least 2", self.classes));
        }
        self.count_fault().or_else(|| label_fault(&self.labels, self.classes)).or_else(|| self.value_fault())
    }

    fn count_fault(&self) -> Option<String> {
        let (samples, features) = (self.len(), self.features);
        let values = match &self.values {
            Values::Pixels(pixels) => pixels.len(),
            Values::Reals(reals) => reals.len(),
            Values::Sparse(rows) if rows.rows() == samples => return None,
            Values::Sparse(rows) => return Some(format!("{} sparse rows for {samples} labels", rows.rows())),
        };
        (samples.checked_mul(features) != Some(values)).then(|| {
            format!(
                "{values} values for {samples} labels; {samples} samples × {features} features are needed"
            )
        })
    }

    fn value_fault(&self) -> Option<String> {
        let reals = match &self.values {
            Values::Pixels(_) => return None,
            Values::Reals(reals) => reals,
            Values::Sparse(rows) => return rows.fault(self.features),
        };
        let at = reals.iter().position(|value| !value.is_finite())?;
        let (sample, feature) = (at / self.features, at % self.features);
        Some(format!(
            "feature {feature} of sample {sample} is {}; mend that value or leave the sample out",
            reals[at]
        ))
    }

    /// What errors and reports call this data set, such as `mnist/train`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of samples, at least 1.
    #[allow(clippy::len_without_is_empty)] // a data set is never empty
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Number of values per sample, at least 1.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Number of classes, at least 2; a class may have no sample here.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The class of every sample, each below [`classes`](Self::classes).
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The unscaled values, samples × features.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Keeps the first `samples` samples.
    ///
    /// # Errors
    /// [`Error::Data`] when `samples` is 0 or more than there are.
    pub fn first(mut self, samples: usize) -> Result<Self, Error> {
        let all = self.len();
        if samples == 0 || samples > all {
            return Err(
                self.error(format!("cannot take the first {samples} of {all} samples; ask for 1 to {all}"))
            );
        }
        self.labels.truncate(samples);
        match &mut self.values {
            Values::Pixels(pixels) => pixels.truncate(samples * self.features),
            Values::Reals(reals) => reals.truncate(samples * self.features),
            Values::Sparse(rows) => *rows = rows.pick(0..samples),
        }
        Ok(self)
    }

    /// The samples of `range` as the engine stores them: row after row of `stride` floats, the features first, then
    /// zeros. Pixels are divided by 255, reals are taken as they are, and sparse rows filled with zeros.
    ///
    /// # Errors
    /// [`Error::Data`] when `range` is not within `0..len()`, or `stride` is less than [`features`](Self::features).
    pub fn scaled_rows(&self, range: Range<usize>, stride: usize) -> Result<Vec<f32>, Error> {
        if range.start > range.end || range.end > self.len() {
            return Err(self.error(format!("samples {range:?} asked for, but there are {}", self.len())));
        }
        if stride < self.features {
            return Err(self.error(format!(
                "rows of {stride} floats cannot hold samples of {} features",
                self.features
            )));
        }
        let mut rows = vec![0.0; range.len() * stride];
        let within = range.start * self.features..range.end * self.features;
        match &self.values {
            Values::Pixels(pixels) => self.fill(&mut rows, stride, &pixels[within], |p| f32::from(p) / 255.0),
            Values::Reals(reals) => self.fill(&mut rows, stride, &reals[within], |value| value),
            Values::Sparse(sparse) => rows = sparse.dense(range, stride),
        }
        Ok(rows)
    }

    /// Writes one converted sample at the start of each row.
    fn fill<T: Copy>(&self, rows: &mut [f32], stride: usize, samples: &[T], convert: impl Fn(T) -> f32) {
        for (row, sample) in rows.chunks_exact_mut(stride).zip(samples.chunks_exact(self.features)) {
            for (slot, &value) in row.iter_mut().zip(sample) {
                *slot = convert(value);
            }
        }
    }

    fn error(&self, detail: String) -> Error {
        Error::Data { path: PathBuf::from(&self.name), detail }
    }
}

impl fmt::Debug for Dataset {
    /// Sizes only: the values would fill the screen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dataset")
            .field("name", &self.name)
            .field("samples", &self.len())
            .field("features", &self.features)
            .field("classes", &self.classes)
            .finish_non_exhaustive()
    }
}

/// The first label that no class answers to, in words.
fn label_fault(labels: &[u32], classes: usize) -> Option<String> {
    let at = labels.iter().position(|&label| label as usize >= classes)?;
    Some(format!(
        "label {} of sample {at} is out of range: the classes are 0 to {}; check that the labels belong to this set",
        labels[at],
        classes - 1
    ))
}
