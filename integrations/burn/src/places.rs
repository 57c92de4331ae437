//! Where parameters and gradients lie, and the plans recorded for those places.

use dualstep::Error;
use dualstep::engine::{Gpu, Plan, Shape, StorageType, Tensor};
use dualstep::wgpu;

/// Plans that are kept: of Burn's allocations there are few that take turns.
const PLANS: usize = 16;

/// A tensor's memory: the buffer and where in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub buffer: wgpu::Buffer,
    pub offset: u64,
    pub columns: u32,
}

impl Place {
    /// The tensor there.
    pub fn tensor(&self, gpu: &Gpu) -> Result<Tensor, Error> {
        gpu.wrap(&self.buffer, self.offset, Shape::vector(self.columns), StorageType::F32)
    }
}

/// What a recorded step holds for.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// Of each parameter its own place, then those of its gradients.
    pub places: Vec<Vec<Place>>,
    /// Of sub-batches.
    pub weights: Option<Vec<f32>>,
    /// Whether sparse parameters keep their pattern.
    pub is_masked: bool,
}

/// The plans used last, the very last first.
#[derive(Debug, Default)]
pub struct Plans {
    kept: Vec<(Key, Plan)>,
    recorded: u64,
}

impl Plans {
    /// The plan for these places, recorded if there is none yet.
    pub fn get(
        &mut self,
        key: Key,
        record: impl FnOnce(&Key) -> Result<Plan, Error>,
    ) -> Result<&Plan, Error> {
        let plan = match self.kept.iter().position(|(kept, _)| *kept == key) {
            Some(index) => self.kept.remove(index),
            None => {
                let plan = record(&key)?;
                self.recorded += 1;
                self.kept.truncate(PLANS - 1);
                (key, plan)
            }
        };
        self.kept.insert(0, plan);
        Ok(&self.kept[0].1)
    }

    /// How many had to be recorded so far.
    pub fn recorded(&self) -> u64 {
        self.recorded
    }
}
