//! Which rule steps the parameters: dualstep's settings as optimizers, and the solver that each becomes once parameters are
//! known.

use burn::module::ParamGroup;
use dualstep::engine::{Gpu, Plan, PlanBuilder, Slab, Tensor};
use dualstep::solvers::badm::{Badm, BadmConfig, SubBatches};
use dualstep::solvers::first_order::{FirstOrder, FirstOrderConfig};
use dualstep::solvers::nm::{Measures, NmAdmm, NmConfig, NmPattern, Penalty};
use dualstep::solvers::optimizer::{Snapshot, Tally};

use crate::{Error, Optimizer, PerParameter, Shared};

/// Settings that become an optimizer of Burn modules.
pub trait OptimizerConfig {
    /// The settings as a rule.
    #[doc(hidden)]
    fn rule(&self) -> Rule;

    /// An optimizer of a whole module, at its first step.
    ///
    /// # Errors
    /// [`Error::Dualstep`] for settings outside their range.
    fn init(&self, shared: &Shared) -> Result<Optimizer, Error> {
        Optimizer::new(shared, self.rule())
    }

    /// An optimizer of single parameters by Burn's own interface, which takes one gradient of each: BADM with one sub-batch.
    ///
    /// # Errors
    /// [`Error::Dualstep`] for settings outside their range.
    fn build(&self, shared: &Shared) -> Result<PerParameter, Error> {
        PerParameter::new(shared, self.rule())
    }
}

impl OptimizerConfig for BadmConfig {
    fn rule(&self) -> Rule {
        Rule::Badm(*self)
    }
}

impl OptimizerConfig for FirstOrderConfig {
    fn rule(&self) -> Rule {
        Rule::FirstOrder(*self, None)
    }
}

impl OptimizerConfig for NmAdmmConfig {
    fn rule(&self) -> Rule {
        Rule::FirstOrder(self.method, Some(self.clone()))
    }
}

/// N:M ADMM around a first-order method.
///
/// Groups are neighbours in memory, and must run along a layer's inputs. A [`Linear`](burn::nn::Linear) layer's weight lies so
/// with [`LinearLayout::Col`](burn::nn::LinearLayout::Col) only, and is refused else; a convolution's groups run along all axes
/// but the outputs together.
#[derive(Clone, Debug)]
pub struct NmAdmmConfig {
    /// What is kept of each group.
    pub pattern: NmPattern,
    /// The parameters that are to become sparse, of those with two axes or more.
    pub sparse: ParamGroup,
    /// Of the penalty and the updates; without, parameters are brought into the pattern before the first step, by magnitude,
    /// and kept in it.
    pub nm: Option<NmConfig>,
    /// What takes the steps.
    pub method: FirstOrderConfig,
}

impl NmAdmmConfig {
    /// The settings to start with for a run of so many steps ([`NmConfig::for_steps`]) by Adam.
    ///
    /// # Errors
    /// [`Error::Dualstep`] for a run too short.
    pub fn new(pattern: NmPattern, sparse: ParamGroup, steps: u32) -> Result<Self, Error> {
        Ok(Self { nm: Some(NmConfig::for_steps(steps)?), ..Self::masked(pattern, sparse) })
    }

    /// Masked fine-tuning by Adam: the largest weights of each group stay, the others are 0 from the start.
    pub fn masked(pattern: NmPattern, sparse: ParamGroup) -> Self {
        Self { pattern, sparse, nm: None, method: FirstOrderConfig::default() }
    }
}

/// Where nothing is drawn towards the pattern.
const UNUSED: NmConfig =
    NmConfig { penalty: Penalty::Pull { kappa: 1.0 }, interval: u32::MAX, updates: 1, leak: 0.5 };

/// What steps the parameters.
#[derive(Clone, Debug)]
#[doc(hidden)]
pub enum Rule {
    Badm(BadmConfig),
    FirstOrder(FirstOrderConfig, Option<NmAdmmConfig>),
}

impl Rule {
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self {
            Self::Badm(config) => config.check()?,
            Self::FirstOrder(config, sparsity) => {
                config.check()?;
                if let Some(nm) = sparsity.as_ref().and_then(|sparsity| sparsity.nm) {
                    nm.check()?;
                    nm.check_method(config.method)?;
                }
            }
        }
        Ok(())
    }

    /// Whether gradients of several sub-batches are for it.
    pub(crate) fn takes_sub_batches(&self) -> bool {
        matches!(self, Self::Badm(_))
    }

    /// Whether parameters are in their pattern from the start.
    pub(crate) fn is_masked(&self) -> bool {
        matches!(self, Self::FirstOrder(_, Some(NmAdmmConfig { nm: None, .. })))
    }

    /// The pattern of a parameter, if it is to have one.
    pub(crate) fn pattern(&self, parameter: &Parameter) -> Result<Option<NmPattern>, Error> {
        let Self::FirstOrder(_, Some(sparsity)) = self else { return Ok(None) };
        let Parameter { id, path, shape, is_row_major_layer } = parameter;
        if shape.len() < 2 || !sparsity.sparse.matches(id, Some(path)) {
            return Ok(None);
        }
        let refuse = |detail| Err(Error::Parameter { parameter: path.clone(), detail });
        if *is_row_major_layer {
            return refuse(
                "its inputs are no neighbours in memory; make the layer with LinearLayout::Col".into(),
            );
        }
        let group = sparsity.pattern.group() as usize;
        let row: usize = shape[1..].iter().product();
        if row.is_multiple_of(group) {
            return Ok(Some(sparsity.pattern));
        }
        refuse(format!("rows of {row} weights are not whole groups of {group}; leave it out of `sparse`"))
    }

    /// The solver at its first step.
    pub(crate) fn solver(
        &self,
        gpu: &Gpu,
        parameters: &[Parameter],
        weights: &[Tensor],
    ) -> Result<Solver, Error> {
        match self {
            Self::Badm(config) => Ok(Solver::Badm(Badm::new(gpu, config, weights)?)),
            Self::FirstOrder(config, sparsity) => {
                let method = FirstOrder::new(gpu, config, weights)?;
                let mut sparse = Vec::with_capacity(weights.len());
                for (parameter, w) in parameters.iter().zip(weights) {
                    let pattern = sparsity.as_ref().zip(self.pattern(parameter)?);
                    let slab = Slab::whole(w.shape().columns);
                    let part = |(sparsity, pattern): (&NmAdmmConfig, _)| {
                        NmAdmm::new(gpu, &sparsity.nm.unwrap_or(UNUSED), &slab, w, &[(0, pattern)])
                    };
                    sparse.push(pattern.map(part).transpose()?);
                }
                if sparsity.is_some() && sparse.iter().all(Option::is_none) {
                    let detail = "`sparse` matches no parameter of two axes or more".into();
                    return Err(Error::Module { detail });
                }
                Ok(Solver::FirstOrder { method, sparse })
            }
        }
    }
}

/// A parameter of a module.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    pub id: burn::module::ParamId,
    pub path: String,
    /// As it lies in memory, the axis whose elements are neighbours last.
    pub shape: Vec<usize>,
    /// Whether it is the weight of a linear layer, the outputs of each input side by side.
    pub is_row_major_layer: bool,
}

/// Of several tensors.
pub type Words = Vec<Vec<u32>>;

/// A rule and its state on the device.
#[derive(Debug)]
pub enum Solver {
    Badm(Badm),
    FirstOrder {
        method: FirstOrder,
        /// Of each parameter that is to become sparse.
        sparse: Vec<Option<NmAdmm>>,
    },
}

impl Solver {
    /// Replaces the learning rate; of BADM 1/(ρ + σ), whose ratio stays.
    pub fn set_learning_rate(&mut self, rate: f64) -> Result<(), dualstep::Error> {
        match self {
            Self::Badm(badm) => {
                let BadmConfig { rho, sigma, .. } = *badm.config();
                let scale = 1.0 / (rate * (rho + sigma));
                if (scale - 1.0).abs() <= 1e-12 {
                    return Ok(());
                }
                badm.set_penalties(rho * scale, sigma * scale)
            }
            Self::FirstOrder { method, .. } if method.config().learning_rate == rate => Ok(()),
            Self::FirstOrder { method, .. } => method.set_learning_rate(rate),
        }
    }

    /// Has what is recorded from now on work on parameters elsewhere.
    pub fn move_to(&mut self, weights: &[Tensor]) -> Result<(), dualstep::Error> {
        match self {
            Self::Badm(badm) => badm.move_to(weights),
            Self::FirstOrder { method, sparse } => {
                method.move_to(weights)?;
                let mut pairs = sparse.iter_mut().zip(weights);
                pairs.try_for_each(|(nm, w)| nm.as_mut().map_or(Ok(()), |nm| nm.move_to(w)))
            }
        }
    }

    /// Records a step; of each parameter there is a gradient for each sub-batch.
    pub fn step(
        &self,
        gpu: &Gpu,
        gradients: &[Vec<Tensor>],
        weights: Option<&[f32]>,
        is_masked: bool,
    ) -> Result<Plan, dualstep::Error> {
        let mut plan = PlanBuilder::new(gpu, "step");
        match self {
            Self::Badm(badm) => {
                let gradients = gradients.iter().map(Vec::as_slice).collect();
                badm.record(&mut plan, &SubBatches { gradients, weights, batch: 0 })?;
            }
            Self::FirstOrder { method, sparse } => {
                let gradients: Vec<_> = gradients.iter().filter_map(|part| part.first().cloned()).collect();
                let penalty = if is_masked { NmAdmm::masked } else { NmAdmm::penalty };
                let penalties: Vec<_> = sparse.iter().map(|nm| nm.as_ref().map(penalty)).collect();
                method.record_sparse(&mut plan, &gradients, &penalties)?;
            }
        }
        plan.finish()
    }

    /// Records something of each parameter that is to become sparse.
    pub fn of_sparse(
        &self,
        gpu: &Gpu,
        label: &str,
        record: impl Fn(&NmAdmm, &mut PlanBuilder, &FirstOrder) -> Result<(), dualstep::Error>,
    ) -> Result<Option<Plan>, dualstep::Error> {
        let Self::FirstOrder { method, sparse } = self else { return Ok(None) };
        if sparse.iter().all(Option::is_none) {
            return Ok(None);
        }
        let mut plan = PlanBuilder::new(gpu, label);
        sparse.iter().flatten().try_for_each(|nm| record(nm, &mut plan, method))?;
        plan.finish().map(Some)
    }

    /// When updates are due: every so many steps, so many times.
    pub fn updates(&self) -> Option<(u32, u32)> {
        let Self::FirstOrder { sparse, .. } = self else { return None };
        sparse.iter().flatten().next().map(|nm| (nm.config().interval, nm.config().updates))
    }

    pub fn tally(&self) -> Result<Tally, dualstep::Error> {
        match self {
            Self::Badm(badm) => badm.tally(),
            Self::FirstOrder { method, .. } => method.tally(),
        }
    }

    pub fn check(&self) -> Result<(), dualstep::Error> {
        match self {
            Self::Badm(badm) => badm.check(),
            Self::FirstOrder { method, sparse } => {
                method.check()?;
                sparse.iter().flatten().try_for_each(NmAdmm::check)
            }
        }
    }

    /// What the last update measured, of each sparse parameter by its place in the list.
    pub fn measures(&self) -> Result<Vec<(usize, Measures)>, dualstep::Error> {
        let Self::FirstOrder { sparse, .. } = self else { return Ok(Vec::new()) };
        let found = sparse.iter().enumerate().filter_map(|(k, nm)| nm.as_ref().map(|nm| (k, nm)));
        found.map(|(k, nm)| Ok((k, nm.read_measures()?))).collect()
    }

    /// The optimizer's state, and the words of each sparse parameter's.
    pub fn snapshot(&self) -> Result<(Snapshot, Vec<Words>), dualstep::Error> {
        match self {
            Self::Badm(badm) => Ok((badm.snapshot()?, Vec::new())),
            Self::FirstOrder { method, sparse } => {
                let sparse = sparse.iter().map(|nm| nm.as_ref().map_or(Ok(Vec::new()), |nm| nm.snapshot()));
                Ok((method.snapshot()?, sparse.collect::<Result<_, _>>()?))
            }
        }
    }

    /// Goes on from what [`snapshot`](Self::snapshot) took.
    pub fn restore(&self, snapshot: &Snapshot, of_sparse: &[Words]) -> Result<(), dualstep::Error> {
        match self {
            Self::Badm(badm) => badm.restore(snapshot),
            Self::FirstOrder { method, sparse } => {
                method.restore(snapshot)?;
                let mut pairs = sparse.iter().zip(of_sparse);
                pairs.try_for_each(|(nm, words)| nm.as_ref().map_or(Ok(()), |nm| nm.restore(words)))
            }
        }
    }
}
