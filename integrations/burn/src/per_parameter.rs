//! The same rules by Burn's own interface, one parameter at a time.

use std::sync::{Arc, Mutex, PoisonError};

use burn::optim::{LearningRate, ModuleOptimizer, RecordState, StateSink, StateSource};
use burn::tensor::{Device, Tensor, TensorData};

use crate::record::Saved;
use crate::rule::Rule;
use crate::{Error, Optimizer, Shared};

/// A rule as Burn's [`Optimizer`](burn::optim::Optimizer), for [`ModuleOptimizer`]s, parameter groups and learners.
///
/// Each parameter has a clock of its own and is stepped by a submission of its own; [`Optimizer`] steps all by one.
///
/// # Panics
/// Burn's interface knows no errors: a step that [`Optimizer::step`] would refuse ends the program with its message.
#[derive(Clone, Debug)]
pub struct PerParameter {
    shared: Shared,
    rule: Rule,
}

impl PerParameter {
    pub(crate) fn new(shared: &Shared, rule: Rule) -> Result<Self, Error> {
        rule.check()?;
        Ok(Self { shared: shared.clone(), rule })
    }

    /// Burn's optimizer of a whole module by this rule.
    pub fn init(self) -> ModuleOptimizer {
        self.into()
    }
}

impl burn::optim::Optimizer for PerParameter {
    type State<const D: usize> = ParameterState;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<ParameterState>,
    ) -> (Tensor<D>, Option<ParameterState>) {
        let start = |saved: Option<Saved>| {
            let mut optimizer =
                Optimizer::new(&self.shared, self.rule.clone()).expect("settings were checked");
            if let Some(saved) = saved {
                optimizer.load(saved);
            }
            Arc::new(Mutex::new(optimizer))
        };
        let optimizer = match state.map(|state| state.0) {
            Some(Kept::Running(optimizer)) => optimizer,
            Some(Kept::Saved(saved)) => start(Some(saved)),
            None => start(None),
        };
        let stepped = optimizer.lock().unwrap_or_else(PoisonError::into_inner).step_alone(lr, tensor, grad);
        let stepped = stepped.unwrap_or_else(|error| panic!("{error}"));
        (stepped, Some(ParameterState(Kept::Running(optimizer))))
    }

    /// State stays on the shared device, where the parameters must be.
    fn to_device<const D: usize>(state: ParameterState, _device: &Device) -> ParameterState {
        state
    }
}

/// The state of one parameter.
#[derive(Debug)]
pub struct ParameterState(Kept);

#[derive(Debug)]
enum Kept {
    Running(Arc<Mutex<Optimizer>>),
    /// Until the next step.
    Saved(Saved),
}

impl ParameterState {
    fn saved(&self) -> Saved {
        match &self.0 {
            Kept::Saved(saved) => saved.clone(),
            Kept::Running(optimizer) => {
                let saved = optimizer.lock().unwrap_or_else(PoisonError::into_inner).save();
                saved.unwrap_or_else(|error| panic!("{error}"))
            }
        }
    }
}

impl Clone for ParameterState {
    /// A state of its own, read back from the device.
    fn clone(&self) -> Self {
        Self(Kept::Saved(self.saved()))
    }
}

impl RecordState for ParameterState {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        let Saved { words, numbers } = self.saved();
        for (name, words) in words {
            let length = words.len();
            out.push_tensor(prefix, &name, TensorData::new(words, [length]));
        }
        for (name, number) in numbers {
            out.push_scalar(prefix, &name, (number as usize).into());
        }
    }

    fn state_unflatten(prefix: &str, src: &mut StateSource, _device: &Device) -> Option<Self> {
        let mut saved = Saved::default();
        for kind in ["clock", "state", "sparse"] {
            for name in (0..).map(|k| format!("0.{kind}.{k}")) {
                let Some(data) = src.take_tensor(prefix, &name) else { break };
                saved.words.insert(name, data.try_to_vec().ok()?);
            }
        }
        for name in ["0.steps", "0.is_masked"] {
            let number = usize::try_from(src.take_scalar(prefix, name)?).ok()?;
            saved.numbers.insert(name.into(), u32::try_from(number).ok()?);
        }
        (!saved.is_empty()).then_some(Self(Kept::Saved(saved)))
    }
}
