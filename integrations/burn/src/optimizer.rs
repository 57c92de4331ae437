//! A rule applied to the parameters of a Burn module, where Burn keeps them.

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::optim::{GradientsParams, LearningRate, OptimizerRecord};
use burn::tensor::{GradientCheckpointingStrategy, Tensor};
use cubecl::server::ServerError;
use dualstep::engine::{Gpu, Plan};
use dualstep::solvers::nm::{Measures, NmAdmm};
use dualstep::solvers::optimizer::Tally;

use crate::places::{Key, Place, Plans};
use crate::record::Saved;
use crate::rule::{Parameter, Rule, Solver};
use crate::tensor::{Exchange, Memory, resource};
use crate::{Error, Shared, SubBatches};

/// Steps all parameters of a module that have gradients, in one submission.
///
/// Its first step decides which those are; all later ones must bring gradients of the same.
#[derive(Debug)]
pub struct Optimizer {
    gpu: Gpu,
    rule: Rule,
    running: Option<Running>,
    /// What the first step goes on from.
    saved: Option<Saved>,
}

impl Optimizer {
    pub(crate) fn new(shared: &Shared, rule: Rule) -> Result<Self, Error> {
        rule.check()?;
        Ok(Self { gpu: shared.gpu().clone(), rule, running: None, saved: None })
    }

    /// One step. The learning rate of BADM is 1/(ρ + σ), in the ratio of its settings; a rate that stays uploads nothing.
    ///
    /// Parameters without gradients stay as they are, and so do all where one gradient is not finite
    /// ([`check`](Self::check) tells). Does not wait for the device. Take gradients and steps on one thread, because Burn
    /// queues what each thread does by itself.
    ///
    /// # Errors
    /// [`Error::Parameter`] when a parameter or gradient is not f32, not on a wgpu device of Burn's, of another shape, or
    /// missing in some of the sub-batches; [`Error::Module`] when there are no gradients, or not of the parameters of the
    /// first step; [`Error::Dualstep`] when a setting is out of range, a limit is exceeded or the device failed. The module
    /// is gone then; its parameters have not moved.
    pub fn step<M: Module>(
        &mut self,
        learning_rate: LearningRate,
        module: M,
        gradients: impl Into<SubBatches>,
    ) -> Result<M, Error> {
        let SubBatches { mut gradients, weights } = gradients.into();
        let mut collect = Collect::of(&mut gradients);
        let module = module.map(&mut collect);
        let found = collect.found()?;
        self.step_found(learning_rate, &found, weights)?;
        Ok(module)
    }

    /// One step of one parameter.
    pub(crate) fn step_alone<const D: usize>(
        &mut self,
        learning_rate: LearningRate,
        tensor: Tensor<D>,
        gradient: Tensor<D>,
    ) -> Result<Tensor<D>, Error> {
        let mut exchange = Exchange::new();
        let wanted = Wanted::new(ParamId::from(0), "", &tensor, &[&gradient])?;
        let stepped = exchange.ask("", tensor, vec![gradient])?;
        self.step_found(learning_rate, &found(vec![wanted], exchange)?, None)?;
        Ok(stepped)
    }

    fn step_found(
        &mut self,
        rate: LearningRate,
        found: &[Found],
        weights: Option<Vec<f32>>,
    ) -> Result<(), Error> {
        let places = places(found)?;
        if self.running.is_none() {
            self.running = Some(Running::start(&self.gpu, &self.rule, found, &places, self.saved.take())?);
        }
        let running = self.running.as_mut().expect("it was started just before");
        running.step(&self.gpu, rate, found, places, weights)
    }

    /// Brings sparse parameters into their pattern, at the end of a run of N:M ADMM; steps after it keep them in it
    /// (masked fine-tuning).
    ///
    /// # Errors
    /// [`Error::Module`] when nothing is to become sparse, no step was taken, or the module is not that of the last
    /// step; and those of [`step`](Self::step).
    pub fn finish<M: Module>(&mut self, module: M) -> Result<M, Error> {
        let refuse = |detail: &str| Err(Error::Module { detail: detail.into() });
        let Some(running) = self.running.as_mut().filter(|running| running.solver.updates().is_some()) else {
            return refuse("no step was taken by N:M ADMM");
        };
        let mut collect = Collect::known(&running.parameters);
        let module = module.map(&mut collect);
        let found = collect.found()?;
        if found.len() != running.parameters.len() {
            return refuse("it is not the one of the last step");
        }
        let places = places(&found)?;
        running.check(&found)?;
        running.move_to(&self.gpu, &places)?;
        if let Some(plan) = running.solver.of_sparse(&self.gpu, "finish", |nm, plan, _| nm.finish(plan))? {
            plan.run()?;
        }
        running.is_masked = true;
        Ok(module)
    }

    /// Steps taken and refused so far. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Dualstep`] when the device failed.
    pub fn tally(&self) -> Result<Tally, Error> {
        Ok(self.running.as_ref().map_or(Ok(Tally::default()), |running| running.solver.tally())?)
    }

    /// Whether every step was taken. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Dualstep`] with the first that was refused, or when the device failed.
    pub fn check(&self) -> Result<(), Error> {
        Ok(self.running.as_ref().map_or(Ok(()), |running| running.solver.check())?)
    }

    /// What the last update of N:M ADMM measured, of each sparse parameter. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Dualstep`] when the device failed.
    pub fn measures(&self) -> Result<Vec<(String, Measures)>, Error> {
        let Some(running) = &self.running else { return Ok(Vec::new()) };
        let named = |(k, measures): (usize, _)| (running.parameters[k].path.clone(), measures);
        Ok(running.solver.measures()?.into_iter().map(named).collect())
    }

    /// Plans recorded so far: one for each set of places that parameters and gradients were found at.
    pub fn plans(&self) -> u64 {
        self.running.as_ref().map_or(0, |running| running.plans.recorded())
    }

    /// The state in Burn's form, every bit. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Dualstep`] when the device failed; [`Error::Record`] when Burn refuses it.
    pub fn to_record(&self) -> Result<OptimizerRecord, Error> {
        self.save()?.into_record()
    }

    /// Goes on from a record with the next step, which must be of the same parameters.
    ///
    /// # Errors
    /// [`Error::Record`] when Burn cannot read it.
    pub fn load_record(self, record: OptimizerRecord) -> Result<Self, Error> {
        Ok(Self { running: None, saved: Some(Saved::from_record(record)?), ..self })
    }

    pub(crate) fn save(&self) -> Result<Saved, Error> {
        match (&self.running, &self.saved) {
            (Some(running), _) => running.save(),
            (None, Some(saved)) => Ok(saved.clone()),
            (None, None) => Ok(Saved::default()),
        }
    }

    pub(crate) fn load(&mut self, saved: Saved) {
        (self.running, self.saved) = (None, Some(saved));
    }
}

/// From the first step on.
#[derive(Debug)]
struct Running {
    parameters: Vec<Parameter>,
    /// Where they lie.
    places: Vec<Place>,
    solver: Solver,
    plans: Plans,
    /// The update of N:M ADMM, once it was recorded for these places.
    update: Option<Plan>,
    steps: u32,
    is_masked: bool,
}

impl Running {
    fn start(
        gpu: &Gpu,
        rule: &Rule,
        found: &[Found],
        places: &[Vec<Place>],
        saved: Option<Saved>,
    ) -> Result<Self, Error> {
        let parameters: Vec<_> = found.iter().map(|found| found.parameter.clone()).collect();
        let places: Vec<_> = places.iter().map(|places| places[0].clone()).collect();
        let weights = places.iter().map(|place| place.tensor(gpu)).collect::<Result<Vec<_>, _>>()?;
        let solver = rule.solver(gpu, &parameters, &weights)?;
        let (mut steps, mut is_masked) = (0, rule.is_masked());
        match saved.filter(|saved| !saved.is_empty()) {
            Some(saved) => (steps, is_masked) = saved.restore(&parameters, &solver)?,
            None => {
                let record = if is_masked { NmAdmm::finish } else { NmAdmm::start };
                if let Some(plan) = solver.of_sparse(gpu, "start", |nm, plan, _| record(nm, plan))? {
                    plan.run()?;
                }
            }
        }
        Ok(Self { parameters, places, solver, plans: Plans::default(), update: None, steps, is_masked })
    }

    fn step(
        &mut self,
        gpu: &Gpu,
        rate: LearningRate,
        found: &[Found],
        places: Vec<Vec<Place>>,
        weights: Option<Vec<f32>>,
    ) -> Result<(), Error> {
        self.check(found)?;
        self.move_to(gpu, &places)?;
        self.solver.set_learning_rate(rate)?;
        let key = Key { places, weights, is_masked: self.is_masked };
        let solver = &self.solver;
        let plan = self.plans.get(key, |Key { places, weights, is_masked }| {
            let tensors = |places: &Vec<Place>| places[1..].iter().map(|place| place.tensor(gpu)).collect();
            let gradients = places.iter().map(tensors).collect::<Result<Vec<_>, _>>()?;
            solver.step(gpu, &gradients, weights.as_deref(), *is_masked)
        })?;
        plan.run()?;
        self.steps = self.steps.saturating_add(1);
        self.update_if_due(gpu)
    }

    fn update_if_due(&mut self, gpu: &Gpu) -> Result<(), Error> {
        let Some((interval, updates)) = self.solver.updates() else { return Ok(()) };
        if self.is_masked || !self.steps.is_multiple_of(interval) || self.steps / interval > updates {
            return Ok(());
        }
        if self.update.is_none() {
            self.update = self.solver.of_sparse(gpu, "update", |nm, plan, method| nm.update(plan, method))?;
        }
        Ok(self.update.as_ref().map_or(Ok(()), Plan::run)?)
    }

    fn check(&self, found: &[Found]) -> Result<(), Error> {
        let same = found.iter().map(|found| &found.parameter).eq(&self.parameters);
        if same {
            return Ok(());
        }
        let list = |parameters: Vec<&Parameter>| {
            parameters.iter().map(|it| format!("{} {:?}", it.path, it.shape)).collect::<Vec<_>>().join(", ")
        };
        let (now, before) =
            (found.iter().map(|found| &found.parameter).collect(), self.parameters.iter().collect());
        Err(Error::Module { detail: format!("has gradients of {} but had of {}", list(now), list(before)) })
    }

    fn move_to(&mut self, gpu: &Gpu, places: &[Vec<Place>]) -> Result<(), Error> {
        if places.iter().map(|places| &places[0]).eq(&self.places) {
            return Ok(());
        }
        let places: Vec<_> = places.iter().map(|places| places[0].clone()).collect();
        let weights = places.iter().map(|place| place.tensor(gpu)).collect::<Result<Vec<_>, _>>()?;
        self.solver.move_to(&weights)?;
        (self.places, self.update) = (places, None);
        Ok(())
    }

    fn save(&self) -> Result<Saved, Error> {
        Saved::of(&self.parameters, &self.solver, self.steps, self.is_masked)
    }
}

/// A parameter to be stepped, before it is known how it lies in memory.
struct Wanted {
    id: ParamId,
    path: String,
    shape: Vec<usize>,
    /// Whether it is the weight of a linear layer.
    is_layer: bool,
}

impl Wanted {
    fn new<const D: usize>(
        id: ParamId,
        path: &str,
        tensor: &Tensor<D>,
        gradients: &[&Tensor<D>],
    ) -> Result<Self, Error> {
        let shape = tensor.dims();
        if let Some(gradient) = gradients.iter().find(|gradient| gradient.dims() != shape) {
            let detail = format!("its shape is {shape:?} but the gradient's is {:?}", gradient.dims());
            return Err(Error::Parameter { parameter: path.into(), detail });
        }
        Ok(Self { id, path: path.into(), shape: shape.into(), is_layer: false })
    }
}

/// A parameter to be stepped. Keeps its memory and that of its gradients from Burn's allocator until the step was submitted.
struct Found {
    parameter: Parameter,
    memory: Memory,
}

/// What was asked for, with its memory.
fn found(wanted: Vec<Wanted>, exchange: Exchange) -> Result<Vec<Found>, Error> {
    let found = |(wanted, memory): (Wanted, Memory)| {
        let Wanted { id, path, shape, is_layer } = wanted;
        let is_row_major_layer = is_layer && shape.len() == 2 && memory.axes.is_sorted();
        let shape = memory.axes.iter().map(|&axis| shape[axis]).collect();
        Found { parameter: Parameter { id, path, shape, is_row_major_layer }, memory }
    };
    Ok(wanted.into_iter().zip(exchange.settle()?).map(found).collect())
}

impl Found {
    /// Its own, then those of its gradients.
    fn places(&self) -> Result<Vec<Place>, Error> {
        let Parameter { path, shape, .. } = &self.parameter;
        let columns = u32::try_from(shape.iter().product::<usize>()).map_err(|_| Error::Parameter {
            parameter: path.clone(),
            detail: format!("{shape:?} are more than 2³² elements; split it"),
        })?;
        let place = |tensor| {
            let resource = resource(path, tensor)?;
            Ok(Place { buffer: resource.buffer, offset: resource.offset, columns })
        };
        let Memory { weight, gradients, .. } = &self.memory;
        std::iter::once(weight).chain(gradients).map(place).collect()
    }
}

/// Where all of them lie, once Burn has handed what it queued to the driver: in one visit to the thread that owns the device,
/// which each question by itself would be otherwise.
fn places(found: &[Found]) -> Result<Vec<Vec<Place>>, Error> {
    let Some(Found { memory: Memory { weight, .. }, .. }) = found.first() else {
        return Err(Error::Module { detail: "no parameter has a gradient".into() });
    };
    let failed = |error: ServerError| Error::Burn { detail: error.to_string() };
    let visit = || {
        let places = found.iter().map(Found::places).collect::<Result<Vec<_>, _>>()?;
        weight.client.flush().map_err(failed)?;
        Ok(places)
    };
    weight.client.exclusive(visit).map_err(failed)?
}

/// Takes each parameter that is to be stepped out of a module, and puts its successor there.
struct Collect<'a> {
    /// Names down to where the walk is, and what each names.
    path: Vec<String>,
    containers: Vec<String>,
    which: Which<'a>,
    wanted: Result<Vec<Wanted>, Error>,
    exchange: Exchange,
}

/// Which parameters are to be stepped.
enum Which<'a> {
    /// Those with gradients.
    Gradients(&'a mut [GradientsParams]),
    /// These.
    Known(&'a [Parameter]),
}

impl<'a> Collect<'a> {
    fn of(gradients: &'a mut [GradientsParams]) -> Self {
        Self::new(Which::Gradients(gradients))
    }

    fn known(parameters: &'a [Parameter]) -> Self {
        Self::new(Which::Known(parameters))
    }

    fn new(which: Which<'a>) -> Self {
        let (path, containers) = (Vec::new(), Vec::new());
        Self { path, containers, which, wanted: Ok(Vec::new()), exchange: Exchange::new() }
    }

    fn found(self) -> Result<Vec<Found>, Error> {
        found(self.wanted?, self.exchange)
    }

    /// The gradients of a parameter that is to be stepped.
    fn gradients<const D: usize>(&mut self, id: ParamId) -> Result<Option<Vec<Tensor<D>>>, Error> {
        let (found, all): (Vec<_>, _) = match &mut self.which {
            Which::Known(parameters) => {
                return Ok(parameters.iter().any(|parameter| parameter.id == id).then(Vec::new));
            }
            Which::Gradients(all) => {
                (all.iter_mut().filter_map(|of| of.remove::<D>(id)).collect(), all.len())
            }
        };
        if found.is_empty() || found.len() == all {
            return Ok((!found.is_empty()).then_some(found));
        }
        let detail = format!("it has gradients in {} of {all} sub-batches", found.len());
        Err(Error::Parameter { parameter: self.path.join("."), detail })
    }

    fn take<const D: usize>(&mut self, id: ParamId, tensor: Tensor<D>) -> Result<Tensor<D>, Error> {
        let Some(gradients) = self.gradients::<D>(id)? else { return Ok(tensor) };
        let context = Context::of(&tensor);
        let (path, tensor) = (self.path.join("."), tensor.inner());
        let mut wanted = Wanted::new(id, &path, &tensor, &gradients.iter().collect::<Vec<_>>())?;
        wanted.is_layer = self.containers.last().is_some_and(|container| container == "Struct:Linear");
        let stepped = self.exchange.ask(&path, tensor, gradients)?;
        if let Ok(all) = &mut self.wanted {
            all.push(wanted);
        }
        Ok(context.restore(stepped, id))
    }
}

impl ModuleMapper for Collect<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.push(name.into());
        self.containers.push(container_type.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
        self.containers.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.wanted.is_err() {
            return param;
        }
        let (id, tensor, mapper) = param.consume();
        let (shape, device) = (tensor.dims(), tensor.device());
        let stepped = self.take(id, tensor).unwrap_or_else(|error| {
            // The module will not be returned.
            self.wanted = Err(error);
            Tensor::empty(shape, &device)
        });
        Param::from_mapped_value(id, stepped, mapper)
    }
}

/// What autodiff knows of a parameter, which a new tensor has to be told again.
struct Context {
    requires_gradient: bool,
    is_distributed: bool,
    checkpointing: Option<GradientCheckpointingStrategy>,
}

impl Context {
    fn of<const D: usize>(tensor: &Tensor<D>) -> Self {
        Self {
            requires_gradient: tensor.is_require_grad(),
            is_distributed: tensor.is_distributed(),
            checkpointing: tensor.gradient_checkpointing_strategy(),
        }
    }

    fn restore<const D: usize>(self, inner: Tensor<D>, id: ParamId) -> Tensor<D> {
        let mut tensor = Tensor::from_inner(inner);
        if let Some(strategy) = self.checkpointing {
            tensor = tensor.with_gradient_checkpointing_strategy(strategy);
        }
        if self.requires_gradient {
            tensor = tensor.require_grad();
        }
        if self.is_distributed {
            tensor = tensor.set_distributed(id);
        }
        tensor
    }
}
