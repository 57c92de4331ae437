//! What [`FirstOrder`](super::first_order::FirstOrder) and [`Badm`](super::badm::Badm) have in common: how the learning
//! rate changes, what is done about gradients that are not finite, what was counted, and the state as the host keeps it.
//!
//! Both are made over a flat row of parameters (a [`Slab`](crate::engine::Slab) maps a model's tensors onto one), record
//! their step into a plan of the caller's, and keep everything that changes from step to step on the device: the host
//! uploads nothing, decides nothing and waits for nothing in a step, and a schedule never records anything again.
//!
//! # Parameters in parts
//!
//! A host that keeps each weight in memory of its own gives a list of such rows instead of one, and the gradients in lists
//! likewise. All parts step together, by one clock, or none of them does; each takes dispatches of its own. What pads a
//! host's rows may hold anything. Parts are counted side by side, as in a slab but without gaps, where a place is told
//! ([`Refusal`]). When the host's memory moves, `move_to` says where to, and the step is recorded again.

use crate::Error;
use crate::engine::{Gpu, PlanBuilder, Shape, StorageType, Tensor};
use crate::kernels::optimizer::{self as kernel, ScheduleWords, Stretch};

/// How the learning rate changes from step to step; decided on the device. Refused steps do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Not at all.
    #[default]
    Constant,
    /// Evenly down to 0: step t, counted from 0, has 1 − t/`steps` of it.
    Linear {
        /// Steps until it is 0.
        steps: u32,
    },
    /// Along half a cosine down to 0: (1 + cos(π t/`steps`))/2.
    Cosine {
        /// Steps until it is 0.
        steps: u32,
    },
    /// Multiplied by `factor` after every so many steps.
    Stepped {
        /// Steps from one change to the next.
        every: u32,
        /// Between 0 and 1.
        factor: f64,
    },
}

impl Schedule {
    pub(super) fn check(self) -> Result<(), Error> {
        let refuse = |setting, value: String, expected| Err(Error::Setting { setting, value, expected });
        match self {
            Self::Linear { steps: 0 } | Self::Cosine { steps: 0 } | Self::Stepped { every: 0, .. } => {
                refuse("schedule", "0 steps".into(), "must span at least one step")
            }
            Self::Stepped { factor, .. } if !(factor > 0.0 && factor <= 1.0) => {
                refuse("schedule", factor.to_string(), "the factor must be above 0 and at most 1")
            }
            _ => Ok(()),
        }
    }

    pub(super) fn words(self) -> ScheduleWords {
        match self {
            Self::Constant => ScheduleWords { kind: 0, period: 1, decay: 0.0 },
            Self::Linear { steps } => ScheduleWords { kind: 1, period: steps, decay: 0.0 },
            Self::Cosine { steps } => ScheduleWords { kind: 2, period: steps, decay: 0.0 },
            Self::Stepped { every, factor } => ScheduleWords { kind: 3, period: every, decay: factor as f32 },
        }
    }
}

/// What is done about a gradient that holds NaN, an infinity, or a number whose square f32 cannot hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// The step is refused as a whole, on the device: parameters and state keep every bit, and the refusal is counted and
    /// its place kept. Costs a dispatch that reads the gradients once more, 4 bytes an element.
    #[default]
    Refuse,
    /// Gradients are not looked at, and what is in them gets into the state.
    Trust,
}

/// What was counted on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Steps taken.
    pub steps: u32,
    /// Steps refused.
    pub refused: u32,
    /// The first that was refused.
    pub first_refusal: Option<Refusal>,
}

/// A step that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which, of those taken and refused, counted from 1.
    pub step: u32,
    /// The row of the gradient, hence the sub-batch.
    pub row: u32,
    /// The first parameter in it whose gradient is unusable; of several parts, counted through all before it, each of them
    /// padded to whole `vec4`s.
    pub parameter: u32,
}

impl Tally {
    /// Reads the words of a clock, as a [`Ring`](crate::engine::Ring) brings them back, for rows of so many parameters.
    pub fn from_words(words: &[u32], parameters: u32) -> Self {
        let &[_, steps, refused, step, place, ..] = words else { return Self::default() };
        let stride = Shape::vector(parameters).stride().max(1);
        let refusal = Refusal { step, row: place / stride, parameter: place % stride };
        Self { steps, refused, first_refusal: (step > 0).then_some(refusal) }
    }
}

/// An optimizer's state as the host keeps it: every bit, so that a run resumed from it goes on as if it had not stopped.
/// The parameters are not in it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Snapshot {
    /// The words of the clock.
    pub clock: Vec<u32>,
    /// The words of each state tensor, in the order of the optimizer's `tensors()`.
    pub tensors: Vec<Vec<u32>>,
}

/// The small buffers of an optimizer.
#[derive(Debug)]
pub(super) struct Control {
    pub gpu: Gpu,
    /// Written by the host.
    pub settings: Tensor,
    /// Written by the device.
    pub clock: Tensor,
    /// Where the test of a gradient leaves what it found.
    pub found: Tensor,
}

impl Control {
    pub fn new<T: bytemuck::Pod>(gpu: &Gpu, settings: &T, clock: &[u32]) -> Result<Self, Error> {
        let words: &[u32] = bytemuck::cast_slice(std::slice::from_ref(settings));
        Ok(Self {
            gpu: gpu.clone(),
            settings: gpu.upload_u32(Shape::vector(words.len() as u32), words)?,
            clock: gpu.upload_u32(Shape::vector(clock.len() as u32), clock)?,
            found: gpu.zeros(Shape::vector(1), StorageType::U32)?,
        })
    }

    /// Replaces the settings; takes effect before anything submitted later.
    pub fn set<T: bytemuck::Pod>(&self, settings: &T) -> Result<(), Error> {
        self.gpu.write_words(&self.settings, 0, std::slice::from_ref(settings))
    }

    /// Adds the test of gradients, where it is wanted: of each part those in tensors whose rows follow one another.
    pub fn test<'a>(
        &self,
        plan: &mut PlanBuilder,
        parts: impl IntoIterator<Item = &'a [Tensor]> + Clone,
        guard: Guard,
        limit: f32,
    ) -> Result<(), Error> {
        if guard == Guard::Trust {
            return Ok(());
        }
        let width = |part: &[Tensor]| part.first().map_or(0, |gradients| gradients.shape().stride());
        let stride = parts.clone().into_iter().map(width).sum::<u32>();
        let (mut stretches, mut before) = (Vec::new(), 0);
        for part in parts {
            let mut first = before;
            for gradients in part {
                stretches.extend(Stretch::all(gradients, first, stride));
                first += gradients.shape().rows * stride;
            }
            before += width(part);
        }
        kernel::finite(plan, &stretches, limit, &self.found)
    }

    pub fn tally(&self, parameters: u32) -> Result<Tally, Error> {
        Ok(Tally::from_words(&self.gpu.read_u32(&self.clock)?, parameters))
    }

    pub fn check(&self, solver: &'static str, parameters: u32) -> Result<(), Error> {
        let Some(Refusal { step, row, parameter }) = self.tally(parameters)?.first_refusal else {
            return Ok(());
        };
        Err(Error::NotFinite {
            solver,
            iteration: step,
            kernel: format!("{} in row {row} of the gradients at parameter {parameter}", kernel::FINITE.name),
            remedy: "that step was not taken; use a smaller learning rate, or look at the loss",
        })
    }

    pub fn snapshot(&self, tensors: &[&Tensor]) -> Result<Snapshot, Error> {
        Ok(Snapshot { clock: self.gpu.read_u32(&self.clock)?, tensors: read_words(&self.gpu, tensors)? })
    }

    pub fn restore(&self, snapshot: &Snapshot, tensors: &[&Tensor]) -> Result<(), Error> {
        let (expected, actual) = (self.clock.shape().columns as usize, snapshot.clock.len());
        if actual != expected {
            let detail =
                format!("a snapshot with a clock of {actual} words for an optimizer's of {expected}");
            return Err(Error::Plan { plan: "restore".into(), detail });
        }
        write_words(&self.gpu, tensors, &snapshot.tensors)?;
        self.gpu.write_words(&self.clock, 0, &snapshot.clock)
    }
}

/// The words of each tensor, every bit.
pub(super) fn read_words(gpu: &Gpu, tensors: &[&Tensor]) -> Result<Vec<Vec<u32>>, Error> {
    let words = |tensor: &&Tensor| Ok(bytemuck::pod_collect_to_vec(&gpu.read_bytes(tensor)?));
    tensors.iter().map(words).collect()
}

/// Puts the words of each tensor back, or none of them if some have another length.
pub(super) fn write_words(gpu: &Gpu, tensors: &[&Tensor], words: &[Vec<u32>]) -> Result<(), Error> {
    let expected: Vec<_> = tensors.iter().map(|tensor| tensor.bytes() / 4).collect();
    let actual: Vec<_> = words.iter().map(|words| words.len() as u64).collect();
    if actual != expected {
        let detail = format!("a snapshot of tensors of {actual:?} words where they have {expected:?}");
        return Err(Error::Plan { plan: "restore".into(), detail });
    }
    tensors.iter().zip(words).try_for_each(|(tensor, words)| gpu.write_words(tensor, 0, words))
}

/// Refuses parameters that are not rows of f32, or none at all.
pub(super) fn expect_flat(kernel: &'static str, parts: &[Tensor]) -> Result<(), Error> {
    let is_flat = |part: &&Tensor| part.shape().rows == 1 && part.storage() == StorageType::F32;
    let detail = match parts.iter().find(|part| !is_flat(part)) {
        Some(part) => {
            let (shape, storage) = (part.shape(), part.storage());
            format!("parameters are {shape} of {storage:?} but must be one row of F32; a Slab makes one")
        }
        None if parts.is_empty() => "there are no parameters".into(),
        None => return Ok(()),
    };
    Err(Error::Shape { kernel, detail })
}

/// Refuses parts that are not shaped as those whose place they are to take.
pub(super) fn expect_same(kernel: &'static str, before: &[Tensor], after: &[Tensor]) -> Result<(), Error> {
    expect_flat(kernel, after)?;
    if before.iter().map(Tensor::shape).eq(after.iter().map(Tensor::shape)) {
        return Ok(());
    }
    let detail = format!("parameters of {} cannot move to {}", shapes(before), shapes(after));
    Err(Error::Shape { kernel, detail })
}

/// The shapes of parts, for messages.
pub(super) fn shapes(parts: &[Tensor]) -> String {
    parts.iter().map(|part| part.shape().to_string()).collect::<Vec<_>>().join(", ")
}

/// Elements of all parts side by side, each padded to whole `vec4`s.
pub(super) fn length(parts: &[Tensor]) -> u32 {
    match parts {
        [one] => one.shape().columns,
        several => several.iter().map(|part| part.shape().stride()).sum(),
    }
}

/// Refuses tensors that are not of these shapes and storages.
pub(super) fn expect_state(
    kernel: &'static str,
    state: &[Tensor],
    expected: &[(Shape, StorageType)],
) -> Result<(), Error> {
    let mut pairs = state.iter().map(|tensor| (tensor.shape(), tensor.storage())).zip(expected);
    let detail = match pairs.find(|(given, expected)| given != *expected) {
        Some(((shape_given, given), (shape, storage))) => {
            format!("a tensor of {shape_given} of {given:?} for state that is {shape} of {storage:?}")
        }
        None if state.len() != expected.len() => {
            format!("{} tensors for state that takes {}", state.len(), expected.len())
        }
        None => return Ok(()),
    };
    Err(Error::Shape { kernel, detail })
}

/// Uploads one value for every element, in whatever floating storage.
pub(super) fn fill(gpu: &Gpu, tensor: &Tensor, value: f32) -> Result<(), Error> {
    let count = tensor.shape().elements() as usize;
    match tensor.storage() {
        StorageType::F32 => gpu.write(tensor, &vec![value; count]),
        StorageType::Bf16 => gpu.write(tensor, &vec![half::bf16::from_f32(value); count]),
        StorageType::F16 => gpu.write(tensor, &vec![half::f16::from_f32(value); count]),
        StorageType::U32 => gpu.write(tensor, &vec![value as u32; count]),
    }
}

/// ln β, finite for β = 0 too: e^{-10⁴} is no f32.
pub(super) fn log(beta: f64) -> f32 {
    beta.ln().max(-1e4) as f32
}
