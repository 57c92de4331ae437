//! Where the models of the examples run, and their steps.
//!
//! A model lives on Burn's wgpu device, as its gradients do, and a step copies nothing. Where that device is a driver that
//! runs on the processor, Burn's own backend for processors is many times as fast for the passes of a model; `--cpu` has
//! models run there. Their gradients are then copied to the wgpu device for each step and the stepped parameters back, which
//! changes no bit of them.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use dualstep_burn::{Error, Optimizer, OptimizerConfig, Shared};

/// The device of the steps, and which one models run on.
pub struct Machine {
    shared: Shared,
    on_processor: bool,
}

impl Machine {
    /// Opens the wgpu device.
    pub fn open(on_processor: bool) -> Result<Self, Error> {
        Ok(Self { shared: Shared::open(Device::wgpu_options())?, on_processor })
    }

    /// Where models run, and their inputs have to be.
    pub fn device(&self) -> Device {
        if self.on_processor { Device::flex() } else { self.shared.device().clone() }
    }

    /// A model at random parameters that a seed determines.
    pub fn model<M: Module>(&self, seed: u64, model: impl FnOnce(&Device) -> M) -> M {
        let device = self.device().autodiff();
        device.seed(seed);
        let model = model(&device);
        // Burn draws parameters when they are first asked for. Copies of a model must find them drawn.
        model.visit(&mut Draw);
        model
    }

    /// What runs where, for reports.
    pub fn description(&self) -> String {
        let capabilities = self.shared.gpu().capabilities();
        let steps = format!("{}, driver {}", capabilities.adapter, capabilities.driver);
        if self.on_processor { format!("models on the processor, steps on {steps}") } else { steps }
    }
}

struct Draw;

impl ModuleVisitor for Draw {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        parameter.val();
    }
}

/// Copies parameters to a device in the order of axes that they are stored in, which [`Module::fork`] forgets. Groups of
/// sparse weights depend on it.
struct Transfer {
    to: Device,
}

impl ModuleMapper for Transfer {
    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, value, mapper) = parameter.consume();
        let needs_gradient = value.is_require_grad();
        let stored = mapper.on_save(value.detach()).to_device(&self.to);
        let copy = mapper.on_load(stored).detach().set_require_grad(needs_gradient);
        Param::from_mapped_value(id, copy, mapper)
    }
}

/// A model in training.
pub struct Training<'a, M> {
    machine: &'a Machine,
    /// Where it runs.
    model: M,
    /// Its copy on the wgpu device, where it runs elsewhere.
    stepped: Option<M>,
    optimizer: Optimizer,
}

impl<'a, M: Module> Training<'a, M> {
    /// Begins at a model; whoever has a clone of it keeps its values.
    pub fn new(machine: &'a Machine, model: M, config: &dyn OptimizerConfig) -> Result<Self, Error> {
        let wgpu = machine.shared.device().clone().autodiff();
        let stepped = machine.on_processor.then(|| model.clone().map(&mut Transfer { to: wgpu }));
        Ok(Self { machine, model, stepped, optimizer: config.init(&machine.shared)? })
    }

    /// A step by the gradients of the losses of these sub-batches, all of one size.
    pub fn step<B>(
        self,
        learning_rate: f64,
        sub_batches: impl IntoIterator<Item = B>,
        mut loss: impl FnMut(&M, B) -> Tensor<1>,
    ) -> Result<Self, Error> {
        let pass = |batch| GradientsParams::from_grads(loss(&self.model, batch).backward(), &self.model);
        let mut gradients: Vec<_> = sub_batches.into_iter().map(pass).collect();
        if let Some(stepped) = &self.stepped {
            let wgpu = self.machine.shared.device();
            gradients = gradients.into_iter().map(|of| of.to_device(wgpu, stepped)).collect();
        }
        self.change(|optimizer, model| optimizer.step(learning_rate, model, gradients))
    }

    /// Brings sparse parameters into their pattern, which later steps keep.
    #[allow(dead_code)] // not every example has any
    pub fn finish(self) -> Result<Self, Error> {
        self.change(Optimizer::finish)
    }

    /// Ends training, provided that every step was taken.
    pub fn into_model(self) -> Result<M, Error> {
        self.optimizer.check()?;
        Ok(self.model)
    }

    /// Has the optimizer change the model where it can.
    fn change(self, change: impl FnOnce(&mut Optimizer, M) -> Result<M, Error>) -> Result<Self, Error> {
        let Self { machine, model, stepped, mut optimizer } = self;
        let (model, stepped) = match stepped {
            None => (change(&mut optimizer, model)?, None),
            Some(stepped) => {
                let stepped = change(&mut optimizer, stepped)?;
                (stepped.clone().fork(&machine.device().autodiff()), Some(stepped))
            }
        };
        Ok(Self { machine, model, stepped, optimizer })
    }
}
