//! Traces of N:M ADMM: given weights, whose masks are compared entry by entry, and Z and U after the last update.
//!
//! Everything is on the device: each update from the weights of its time, the masks by projecting T, whose largest entries
//! are what is kept. Masks and flips must be the same. In float32 an entry might be kept in another's place where the two are
//! closer than what was rounded; each trace states how close any two came ([`NmTrace::smallest_margin`]), which a device that
//! rounds its differences as IEEE 754 says tells apart in every one of them. A device that fails by an entry or two may be
//! looked at with that in mind.

use super::TensorDifference;
use crate::Error;
use crate::engine::{Gpu, PlanBuilder, Shape, StorageType, Tensor};
use crate::golden::NmTrace;
use crate::kernels::nm::{self as kernel, NmPattern, Place, Update};
use crate::kernels::optimizer::NOTHING_FOUND;
use crate::reference::Matrix;

/// Allowed for Z and U.
pub const TOLERANCE: f64 = 1e-6;

/// How a replay differs from its trace.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Parity {
    /// Updates that were replayed.
    pub updates: usize,
    /// z and u after the last one.
    pub tensors: Vec<TensorDifference>,
    /// Entries of both masks that differ.
    pub differing_mask_entries: usize,
    /// Updates whose number of flipped bits differs.
    pub differing_flips: usize,
}

impl Parity {
    /// Whether Z and U are close enough, and masks and flips the same.
    pub fn passes(&self) -> bool {
        let same = self.differing_mask_entries == 0 && self.differing_flips == 0;
        same && self.tensors.iter().all(TensorDifference::passes)
    }
}

/// Replays a trace of N:M ADMM.
///
/// # Errors
/// [`Error::Setting`] when the pattern is none; [`Error::Shape`] when it does not divide the columns.
pub fn replay(gpu: &Gpu, trace: &NmTrace) -> Result<Parity, Error> {
    let replay = Replay::new(gpu, trace)?;
    // T starts as the projection of the first weights.
    replay.write(&trace.weights[0])?;
    replay.project(&replay.w, &replay.t)?;
    let first_mask = replay.mask()?;
    let mut differing_flips = 0;
    for (weights, flips) in trace.weights[1..].iter().zip(&trace.flips) {
        replay.write(weights)?;
        differing_flips += usize::from(replay.update()? != f64::from(*flips));
    }
    let z = gpu.zeros(replay.w.shape(), StorageType::F32)?;
    replay.project(&replay.t, &z)?;
    let last_mask = replay.mask()?;
    let (t, z) = (gpu.read(&replay.t)?, gpu.read(&z)?);
    let u: Vec<f32> = z.iter().zip(&t).map(|(z, t)| z - t).collect();
    let difference = |tensor: &str, values: &[f32], expected: &Matrix| {
        let (rows, cols) = expected.shape();
        TensorDifference {
            tensor: tensor.into(),
            iteration: trace.flips.len(),
            error: Matrix::from_f32(rows, cols, values).relative_error(expected),
            tolerance: TOLERANCE,
        }
    };
    let differing = |actual: &[bool], expected: &[bool]| {
        actual.iter().zip(expected).filter(|(actual, expected)| actual != expected).count()
    };
    Ok(Parity {
        updates: trace.flips.len(),
        tensors: vec![difference("z", &z, &trace.z), difference("u", &u, &trace.u)],
        differing_mask_entries: differing(&first_mask, &trace.first_mask)
            + differing(&last_mask, &trace.last_mask),
        differing_flips,
    })
}

/// What a replay works on.
struct Replay<'a> {
    gpu: &'a Gpu,
    pattern: NmPattern,
    w: Tensor,
    t: Tensor,
    words: Tensor,
    found: Tensor,
    settings: Tensor,
}

impl<'a> Replay<'a> {
    fn new(gpu: &'a Gpu, trace: &NmTrace) -> Result<Self, Error> {
        let (rows, cols) = trace.z.shape();
        let shape = Shape::new(rows as u32, cols as u32);
        let pattern = NmPattern::new(trace.keep as u32, trace.group as u32)?;
        let settings = kernel::Settings { leak: 1.0, ..kernel::Settings::default() };
        Ok(Self {
            gpu,
            pattern,
            w: gpu.zeros(shape, StorageType::F32)?,
            t: gpu.zeros(shape, StorageType::F32)?,
            words: gpu.zeros(pattern.mask(shape)?, StorageType::U32)?,
            found: gpu.upload_u32(Shape::vector(1), &[NOTHING_FOUND])?,
            settings: gpu
                .upload(Shape::vector(kernel::SETTINGS_LENGTH), bytemuck::cast_slice(&[settings]))?,
        })
    }

    fn write(&self, weights: &Matrix) -> Result<(), Error> {
        self.gpu.write(&self.w, &weights.to_f32())
    }

    /// Projects and leaves the mask.
    fn project(&self, from: &Tensor, to: &Tensor) -> Result<(), Error> {
        let mut plan = PlanBuilder::new(self.gpu, "parity");
        kernel::project(&mut plan, self.pattern, from, to, &self.words, &self.found)?;
        plan.finish()?.run()
    }

    /// Which entries the last projection kept.
    fn mask(&self) -> Result<Vec<bool>, Error> {
        Ok(self.pattern.kept(&self.gpu.read_u32(&self.words)?, self.w.shape()))
    }

    /// One update; returns how many bits of the mask it flipped.
    fn update(&self) -> Result<f64, Error> {
        let chunks = Place::alone(self.pattern, self.w.shape()).update_chunks()?;
        let partials = self.gpu.zeros(Shape::vector(8 * chunks.len() as u32), StorageType::F32)?;
        let mut plan = PlanBuilder::new(self.gpu, "parity");
        let update = Update {
            group: self.pattern.group(),
            w: &self.w,
            chunks: &kernel::upload_chunks(self.gpu, &chunks)?,
            settings: &self.settings,
            t: &self.t,
            partials: &partials,
            slot: 0,
        };
        kernel::admm_update(&mut plan, update)?;
        plan.finish()?.run()?;
        let partials = self.gpu.read(&partials)?;
        Ok(partials.chunks_exact(8).map(|of_chunk| f64::from(of_chunk[5])).sum())
    }
}
