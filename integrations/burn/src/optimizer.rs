//! A rule applied to the parameters of a Burn module, where Burn keeps them.

use burn::module::{Module, ParamId};
use burn::optim::{LearningRate, OptimizerRecord};
use burn::tensor::Tensor;
use dualstep::engine::{Gpu, Plan};
use dualstep::solvers::nm::{Measures, NmAdmm};
use dualstep::solvers::optimizer::Tally;

use crate::collect::{Collect, Found, Wanted, found, places};
use crate::places::{Key, Place, Plans};
use crate::record::Saved;
use crate::rule::{Parameter, Rule, Solver};
use crate::tensor::Exchange;
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
    /// first step, or of several sub-batches for another method than BADM; [`Error::Dualstep`] when a setting is out of range,
    /// a limit is exceeded or the device failed. The module is gone then; its parameters have not moved.
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
        let sub_batches = places.first().map_or(0, |places| places.len() - 1);
        if sub_batches != 1 && !self.rule.takes_sub_batches() {
            let detail = format!("has gradients of {sub_batches} sub-batches for a method that takes one");
            return Err(Error::Module { detail });
        }
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
