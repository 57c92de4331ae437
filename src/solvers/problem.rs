//! What a network is trained on, as every solver that trains one takes it, and how it does.

use crate::Error;
use crate::data::graph::Graph;
use crate::data::{Dataset, SparseRows, Values};
use crate::kernels::loss::Loss;

/// What a network's outputs are to be.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// One class per sample, for [`Loss::CrossEntropy`].
    Classes(&'a [u32]),
    /// Sample after sample, one value per output, for [`Loss::Squared`].
    Values(&'a [f32]),
}

impl Targets<'_> {
    /// Checks that they suit the loss, and their number and values. The error says what is wrong.
    fn check(self, loss: Loss, samples: usize, outputs: u32) -> Result<(), String> {
        match (self, loss) {
            (Targets::Classes(labels), Loss::CrossEntropy) => {
                if labels.len() != samples {
                    return Err(format!("{} labels for {samples} samples", labels.len()));
                }
                match labels.iter().position(|label| *label >= outputs) {
                    None => Ok(()),
                    Some(at) => Err(format!("sample {at} has label {}, not below {outputs}", labels[at])),
                }
            }
            (Targets::Values(values), Loss::Squared) => {
                if values.len() != samples * outputs as usize {
                    let count = values.len();
                    return Err(format!("{count} target values for {samples} samples of {outputs} outputs"));
                }
                match values.iter().position(|value| !value.is_finite()) {
                    None => Ok(()),
                    Some(at) => {
                        let (sample, output) = (at / outputs as usize, at % outputs as usize);
                        Err(format!(
                            "target {output} of sample {sample} is {}; remove or repair it",
                            values[at]
                        ))
                    }
                }
            }
            (Targets::Classes(_), Loss::Squared) => {
                Err("targets are classes, but the squared loss takes values; choose cross-entropy".into())
            }
            (Targets::Values(_), Loss::CrossEntropy) => {
                Err("targets are values, but cross-entropy takes classes; choose the squared loss".into())
            }
        }
    }
}

/// What samples are made of.
#[derive(Clone, Copy, Debug)]
pub enum Rows<'a> {
    /// Sample after sample, all values of each.
    Dense(&'a [f32]),
    /// A row for each sample, of the values that are not zero. They stay so on the device.
    Sparse(&'a SparseRows),
}

impl Rows<'_> {
    /// Checks that they are whole samples of so many features, and finite. The error says what is wrong.
    fn check(self, features: u32) -> Result<(), String> {
        let values = match self {
            Rows::Sparse(rows) => return rows.fault(features as usize).map_or(Ok(()), Err),
            Rows::Dense(values) => values,
        };
        let features = features as usize;
        if !values.len().is_multiple_of(features) {
            let values = values.len();
            return Err(format!("{values} values are no whole number of samples of {features} features"));
        }
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(at) => {
                let (sample, feature) = (at / features, at % features);
                Err(format!("sample {sample}, feature {feature} is {}; remove or repair it", values[at]))
            }
        }
    }
}

/// Samples on the host, with what a network should make of them.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    /// Features per sample.
    pub features: u32,
    /// The values of each sample's features.
    pub values: Rows<'a>,
    /// What the network should make of them.
    pub targets: Targets<'a>,
}

impl Samples<'_> {
    /// How many.
    pub fn count(&self) -> u32 {
        match self.values {
            Rows::Dense(values) => values.len().checked_div(self.features as usize).unwrap_or(0) as u32,
            Rows::Sparse(_) if self.features == 0 => 0,
            Rows::Sparse(rows) => rows.rows() as u32,
        }
    }

    /// Checks sizes, targets and finiteness of the samples that `what` names.
    pub(in crate::solvers) fn check(
        &self,
        what: &'static str,
        outputs: u32,
        loss: Loss,
    ) -> Result<(), Error> {
        let refuse = |detail: String| Err(Error::Samples { what, detail });
        let samples = self.count() as usize;
        if samples == 0 {
            return refuse(format!("{samples} samples of {} features; there must be some", self.features));
        }
        let checked = self.values.check(self.features);
        checked
            .and_then(|()| self.targets.check(loss, samples, outputs))
            .map_err(|detail| Error::Samples { what, detail })
    }
}

/// A data set as solvers take it: pixels scaled once, sparse samples as they are.
#[derive(Debug)]
pub struct HostSamples<'a> {
    /// None of sparse samples.
    values: Vec<f32>,
    set: &'a Dataset,
}

impl<'a> HostSamples<'a> {
    /// Scales the values of a set.
    ///
    /// # Errors
    /// None that a [`Dataset`] could cause.
    pub fn new(set: &'a Dataset) -> Result<Self, Error> {
        let values = match set.values() {
            Values::Sparse(_) => Vec::new(),
            _ => set.scaled_rows(0..set.len(), set.features())?,
        };
        Ok(Self { values, set })
    }

    /// The view that solvers take.
    pub fn view(&self) -> Samples<'_> {
        Samples {
            features: self.set.features() as u32,
            values: match self.set.values() {
                Values::Sparse(rows) => Rows::Sparse(rows),
                _ => Rows::Dense(&self.values),
            },
            targets: Targets::Classes(self.set.labels()),
        }
    }
}

/// What is to be learnt.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a> {
    /// How many outputs the network has: classes, or values per sample.
    pub outputs: u32,
    /// What the network is trained on.
    pub train: Samples<'a>,
    /// What it is judged by, if anything.
    pub test: Option<Samples<'a>>,
}

impl Problem<'_> {
    /// Checks sizes, targets and finiteness.
    ///
    /// # Errors
    /// [`Error::Samples`] naming the first sample that is wrong, or when the targets do not suit the loss.
    pub fn check(&self, loss: Loss) -> Result<(), Error> {
        self.train.check("training data", self.outputs, loss)?;
        let Some(test) = &self.test else { return Ok(()) };
        test.check("test data", self.outputs, loss)?;
        if test.features == self.train.features {
            return Ok(());
        }
        let detail = format!("{} features but the training data has {}", test.features, self.train.features);
        Err(Error::Samples { what: "test data", detail })
    }
}

/// Nodes of a graph, by their features and neighbours.
#[derive(Clone, Copy, Debug)]
pub struct GraphProblem<'a> {
    /// All of the graph, which every node is seen in.
    pub graph: &'a Graph,
    /// The nodes that the network is trained on.
    pub train: &'a [u32],
    /// Those that it is judged by, if any.
    pub test: &'a [u32],
}

/// How the network does on a set of samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Share of samples whose largest logit is their label's, in 0…1; none for squared loss.
    pub accuracy: Option<f32>,
    /// Mean cross-entropy; for squared loss the mean squared error over samples and outputs.
    pub cost: f32,
}

impl Scores {
    /// From sums over samples.
    pub(in crate::solvers) fn of(loss: Loss, cost: f32, hits: f32, samples: u32) -> Self {
        let samples = samples as f32;
        let accuracy = match loss {
            Loss::CrossEntropy => Some(hits / samples),
            Loss::Squared => None,
        };
        Self { accuracy, cost: cost / samples }
    }
}
