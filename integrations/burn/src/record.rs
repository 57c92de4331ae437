//! An optimizer's state in Burn's form of records, every bit.
//!
//! Of each parameter, by its identifier as Burn's own records have it, `<id>.state.<k>` are the words of the optimizer's
//! tensors and `<id>.sparse.<k>` those of N:M ADMM; the first parameter also has what all share.

use std::collections::BTreeMap;

use burn::optim::OptimizerRecord;
use burn::tensor::TensorData;
use burn_pack::{Reader, Scalar, Tensor, Writer};
use dualstep::solvers::optimizer::Snapshot;

use crate::Error;
use crate::rule::{Parameter, Solver};

/// Words by name, and numbers by name.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    pub words: BTreeMap<String, Vec<u32>>,
    pub numbers: BTreeMap<String, u32>,
}

impl Saved {
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    pub fn of(parameters: &[Parameter], solver: &Solver, steps: u32, is_masked: bool) -> Result<Self, Error> {
        let (Snapshot { clock, tensors }, sparse) = solver.snapshot()?;
        let mut saved = Self::default();
        let mut put = |parameter: &Parameter, kind: &str, k: usize, words: Vec<u32>| {
            saved.words.insert(format!("{}.{kind}.{k}", parameter.id.val()), words);
        };
        put(&parameters[0], "clock", 0, clock);
        let each = tensors.len() / parameters.len();
        for (k, words) in tensors.into_iter().enumerate() {
            put(&parameters[k / each], "state", k % each, words);
        }
        for (parameter, tensors) in parameters.iter().zip(sparse) {
            tensors.into_iter().enumerate().for_each(|(k, words)| put(parameter, "sparse", k, words));
        }
        let first = parameters[0].id.val();
        saved.numbers.insert(format!("{first}.steps"), steps);
        saved.numbers.insert(format!("{first}.is_masked"), is_masked.into());
        Ok(saved)
    }

    /// Gives the state to a solver at its first step; returns the steps and whether sparse parameters are in their pattern.
    pub fn restore(&self, parameters: &[Parameter], solver: &Solver) -> Result<(u32, bool), Error> {
        let all = |parameter: &Parameter, kind: &str| -> Vec<Vec<u32>> {
            let name = |k| format!("{}.{kind}.{k}", parameter.id.val());
            (0..).map_while(|k| self.words.get(&name(k)).cloned()).collect()
        };
        let Some(clock) = all(&parameters[0], "clock").pop() else {
            let Parameter { id, path, .. } = &parameters[0];
            let detail =
                format!("has no state of parameter {path}, id {}; load the module's record, too", id.val());
            return Err(Error::Record { detail });
        };
        let tensors = parameters.iter().flat_map(|parameter| all(parameter, "state")).collect();
        let sparse: Vec<_> = parameters.iter().map(|parameter| all(parameter, "sparse")).collect();
        let mismatch = |error: dualstep::Error| Error::Record { detail: error.to_string() };
        solver.restore(&Snapshot { clock, tensors }, &sparse).map_err(mismatch)?;
        let first = parameters[0].id.val();
        let number = |name| self.numbers.get(&format!("{first}.{name}")).copied().unwrap_or(0);
        Ok((number("steps"), number("is_masked") != 0))
    }

    pub fn into_record(self) -> Result<OptimizerRecord, Error> {
        let tensor = |(name, words): (String, Vec<u32>)| {
            let id = name.split('.').next().and_then(|id| id.parse().ok());
            let length = words.len();
            let (bytes, shape, dtype) = TensorData::new(words, [length]).into_parts();
            Tensor::new(name, dtype, shape, id, bytes)
        };
        let mut writer = Writer::new(self.words.into_iter().map(tensor).collect());
        for (name, number) in &self.numbers {
            writer = writer.with_scalar(name, Scalar::from(*number as usize));
        }
        let bytes = writer.into_bytes().map_err(refused)?;
        OptimizerRecord::from_bytes(bytes).map_err(refused)
    }

    pub fn from_record(record: OptimizerRecord) -> Result<Self, Error> {
        let reader = Reader::from_bytes(record.into_bytes().map_err(refused)?).map_err(refused)?;
        let number = |(name, scalar): (&String, &Scalar)| {
            let number = usize::try_from(*scalar).ok().and_then(|number| u32::try_from(number).ok());
            number.map(|number| (name.clone(), number))
        };
        let numbers = reader.scalars().iter().filter_map(number).collect();
        let mut words = BTreeMap::new();
        for tensor in reader.into_tensors().map_err(refused)? {
            let (name, dtype, shape, _, bytes) = tensor.into_parts().map_err(refused)?;
            let data = TensorData::from_bytes(bytes, shape, dtype);
            let values = data
                .try_to_vec::<u32>()
                .map_err(|error| Error::Record { detail: format!("{name}: {error:?}") })?;
            words.insert(name, values);
        }
        Ok(Self { words, numbers })
    }
}

fn refused(error: impl std::fmt::Display) -> Error {
    Error::Record { detail: error.to_string() }
}
