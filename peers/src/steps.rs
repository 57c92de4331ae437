//! Optimizer steps and sparsification: dualstep's on Burn's own buffers, beside Burn's own or, where Burn has none, beside the
//! same step composed of tensor operations, which Burn fuses.

use anyhow::{Result, anyhow};
use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::{Linear, LinearConfig};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdaGradConfig, AdamConfig, GradientsParams, ModuleOptimizer, RmsPropConfig, SgdConfig};
use burn::tensor::{Bool, Device, Distribution, Tensor};
use dualstep_burn::dualstep::engine::{Gpu, Plan, PlanBuilder, Shape, Slab, Tensor as Flat};
use dualstep_burn::dualstep::solvers::first_order::FirstOrder;
use dualstep_burn::dualstep::solvers::nm::{NmAdmm, NmConfig};
use dualstep_burn::dualstep::solvers::optimizer::Guard;
use dualstep_burn::{BadmConfig, FirstOrderConfig, Method, NmPattern, OptimizerConfig, Shared};

use crate::Setup;
use crate::clock::{Contest, Run, agree};

/// Parameters of a step, as a matrix.
const SIZE: [usize; 2] = [4096, 1024];
const SUB_BATCHES: usize = 4;
const RATE: f64 = 1e-3;
/// Δ of one step beside another, of the largest parameter: both are sums and quotients of a few f32.
const TOLERANCE: f32 = 1e-5;

/// A contest for each.
pub fn all() -> Vec<(String, Setup)> {
    let size = format!("{} × {} parameters", SIZE[0], SIZE[1]);
    let mut all: Vec<(String, Setup)> = Vec::new();
    let mut add = |name: String, setup: Setup| all.push((name, setup));
    let methods: [(Method, fn() -> ModuleOptimizer); 4] = [
        (Method::Momentum, || {
            let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
            SgdConfig::new().with_momentum(Some(momentum)).init()
        }),
        (Method::AdaGrad, || AdaGradConfig::new().with_epsilon(1e-10).init()),
        (Method::RmsProp, || RmsPropConfig::new().with_momentum(0.0).with_epsilon(1e-8).init()),
        (Method::Adam, || AdamConfig::new().with_epsilon(1e-8).init()),
    ];
    for (method, theirs) in methods {
        let matrix = |device: &Device| One::new(device);
        add(
            format!("{} step, {size}", method.name()),
            Box::new(move |shared| of_module(shared, untested(method), theirs(), matrix)),
        );
    }
    let network = |device: &Device| Network::new(device);
    let adam = || AdamConfig::new().with_epsilon(1e-8).init();
    let small = "adam step, 784-256-256-10";
    for (name, config) in [
        (small.into(), untested(Method::Adam)),
        (format!("{small}, gradients tested by dualstep"), FirstOrderConfig::pytorch(Method::Adam)),
    ] {
        add(name, Box::new(move |shared| of_module(shared, config, adam(), network)));
    }
    add(format!("BADM step, {SUB_BATCHES} sub-batches, {size}"), Box::new(badm));
    add(format!("2:4 mask and projection, {size}"), Box::new(projection));
    add(format!("N:M ADMM update, 2:4, {size}"), Box::new(update));
    all
}

/// One parameter.
#[derive(Module, Debug)]
struct One {
    weight: Param<Tensor<2>>,
}

impl One {
    fn new(device: &Device) -> Self {
        Self { weight: Param::from_tensor(random(device)) }
    }
}

/// Three layers.
#[derive(Module, Debug)]
struct Network {
    layers: Vec<Linear>,
}

impl Network {
    fn new(device: &Device) -> Self {
        let layer = |[inputs, outputs]: [usize; 2]| LinearConfig::new(inputs, outputs).init(device);
        Self { layers: [[784, 256], [256, 256], [256, 10]].map(layer).into() }
    }
}

fn random(device: &Device) -> Tensor<2> {
    Tensor::random(SIZE, Distribution::Normal(0.0, 1.0), device)
}

fn floats(tensor: Tensor<2>) -> Result<Vec<f32>> {
    tensor.into_data().try_to_vec().map_err(|error| anyhow!("{error:?}"))
}

/// The gradient of every parameter.
#[derive(Default)]
struct Gradients(Vec<Registration>);

/// Gives the gradient of one parameter to a step.
type Registration = Box<dyn Fn(&mut GradientsParams)>;

impl ModuleVisitor for Gradients {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let (id, gradient) = (param.id, param.val().inner().mul_scalar(0.5).add_scalar(0.01));
        self.0.push(Box::new(move |gradients| gradients.register::<D>(id, gradient.clone())));
    }
}

impl Gradients {
    fn of(module: &impl Module) -> Self {
        let mut gradients = Self::default();
        module.visit(&mut gradients);
        gradients
    }

    /// The same ones each time.
    fn take(&self) -> GradientsParams {
        let mut gradients = GradientsParams::new();
        self.0.iter().for_each(|register| register(&mut gradients));
        gradients
    }
}

/// All parameters, one after another.
#[derive(Default)]
struct Values(Vec<f32>);

impl ModuleVisitor for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.extend(param.val().into_data().try_to_vec::<f32>().unwrap_or_default());
    }
}

fn values(module: &impl Module) -> Vec<f32> {
    let mut values = Values::default();
    module.visit(&mut values);
    values.0
}

/// A step of a whole module, again and again.
struct Stepping<M> {
    module: Option<M>,
    step: Box<dyn FnMut(M) -> Result<M>>,
}

impl<M: Module + 'static> Stepping<M> {
    fn new(module: &M, step: impl FnMut(M) -> Result<M> + 'static) -> Self {
        Self { module: Some(module.clone()), step: Box::new(step) }
    }

    fn once(&mut self) -> Result<()> {
        let module = self.module.take().ok_or_else(|| anyhow!("a step failed"))?;
        self.module = Some((self.step)(module)?);
        Ok(())
    }

    fn values(&self) -> Result<Vec<f32>> {
        Ok(values(self.module.as_ref().ok_or_else(|| anyhow!("a step failed"))?))
    }
}

/// Two ways to step a module, which must agree after the first step.
fn contest<M: Module + 'static>(mut ours: Stepping<M>, mut theirs: Stepping<M>) -> Result<Contest> {
    ours.once()?;
    theirs.once()?;
    agree(&ours.values()?, &theirs.values()?, TOLERANCE)?;
    let (ours, theirs): (Run, Run) = (Box::new(move || ours.once()), Box::new(move || theirs.once()));
    Ok(Contest { ours, theirs, flops: 0.0 })
}

/// Without a look at gradients, as Burn takes its steps.
fn untested(method: Method) -> FirstOrderConfig {
    FirstOrderConfig { guard: Guard::Trust, ..FirstOrderConfig::pytorch(method) }
}

/// A step by either's own optimizer.
fn of_module<M: Module + 'static>(
    shared: &Shared,
    config: FirstOrderConfig,
    mut theirs: ModuleOptimizer,
    module: impl Fn(&Device) -> M,
) -> Result<Contest> {
    let start = module(&shared.device().clone().autodiff());
    let mut ours = config.init(shared)?;
    let (gradients, same) = (Gradients::of(&start), Gradients::of(&start));
    contest(
        Stepping::new(&start, move |module| Ok(ours.step(RATE, module, gradients.take())?)),
        Stepping::new(&start, move |module| Ok(theirs.step(RATE, module, same.take()))),
    )
}

/// BADM beside its equations in tensor operations, the local parameters eliminated as dualstep does.
fn badm(shared: &Shared) -> Result<Contest> {
    let start = One::new(&shared.device().clone().autodiff());
    let config = BadmConfig { guard: Guard::Trust, ..BadmConfig::robust(SUB_BATCHES as u32, RATE) };
    let mut ours = config.init(shared)?;
    let gradients: Vec<_> = (0..SUB_BATCHES).map(|_| random(shared.device())).collect();
    let (id, of_ours) = (start.weight.id, gradients.clone());
    let take = move || {
        let one = |gradient: &Tensor<2>| {
            let mut gradients = GradientsParams::new();
            gradients.register::<2>(id, gradient.clone());
            gradients
        };
        of_ours.iter().map(one).collect::<Vec<_>>()
    };
    let zeros = || vec![Tensor::<2>::zeros(SIZE, shared.device()); SUB_BATCHES];
    let (mut duals, mut moments, mut steps) = (zeros(), zeros(), 0);
    let theirs = move |module: One| {
        let BadmConfig { rho, sigma, beta, epsilon, .. } = config;
        let keep = rho / (rho + sigma);
        steps += 1;
        let correction = 1.0 / (1.0 - beta.powi(steps));
        let mut weight = module.weight.val().inner();
        for (n, gradient) in gradients.iter().enumerate() {
            let dual = duals[n].clone() * keep - gradient.clone() * (1.0 - keep);
            let moment = (moments[n].clone() * beta + dual.clone().square() * (1.0 - beta)).clamp_min(1e-30);
            let scaled = dual.clone() / (((moment.clone() * correction).sqrt() + epsilon) * sigma);
            weight = weight + ((dual.clone() - duals[n].clone()) / sigma + scaled) / SUB_BATCHES as f64;
            (duals[n], moments[n]) = (dual, moment);
        }
        Ok(One { weight: Param::initialized(id, Tensor::from_inner(weight).require_grad()) })
    };
    contest(
        Stepping::new(&start, move |module| Ok(ours.step(RATE, module, take())?)),
        Stepping::new(&start, theirs),
    )
}

/// Where of four neighbours the two largest magnitudes are, ties to the first.
fn mask(w: Tensor<2>) -> Tensor<3, Bool> {
    let groups = SIZE[0] * SIZE[1] / 4;
    let magnitude = w.abs().reshape([groups, 4]);
    let (own, other) = (magnitude.clone().reshape([groups, 4, 1]), magnitude.reshape([groups, 1, 4]));
    let places = Tensor::<1, burn::tensor::Int>::arange(0..4, &own.device());
    let before = places.clone().reshape([1, 1, 4]).lower(places.reshape([1, 4, 1]));
    let ahead = other.clone().greater(own.clone()).int() + (other.equal(own).int() * before.int());
    ahead.sum_dim(2).lower_elem(2)
}

/// `kept` where the mask is, `rest` elsewhere.
fn choose(mask: Tensor<3, Bool>, kept: Tensor<2>, rest: Tensor<2>) -> Tensor<2> {
    let groups = SIZE[0] * SIZE[1] / 4;
    rest.reshape([groups, 4, 1]).mask_where(mask, kept.reshape([groups, 4, 1])).reshape(SIZE)
}

/// W of both, and N:M ADMM of dualstep over it.
fn sparse(shared: &Shared) -> Result<(Tensor<2>, Flat, FirstOrder, NmAdmm)> {
    let w = random(shared.device());
    let values: Vec<f32> = w.to_data().try_to_vec().map_err(|error| anyhow!("{error:?}"))?;
    let gpu = shared.gpu();
    let slab = Slab::new(&[Shape::new(SIZE[0] as u32, SIZE[1] as u32)])?;
    let flat = gpu.upload(slab.shape(1), &values)?;
    let config = NmConfig::for_steps(1000)?;
    let method = FirstOrder::new(gpu, &FirstOrderConfig::default(), &flat)?;
    let nm = NmAdmm::new(gpu, &config, &slab, &flat, &[(0, NmPattern::new(2, 4)?)])?;
    Ok((w, flat, method, nm))
}

fn plan(
    gpu: &Gpu,
    record: impl FnOnce(&mut PlanBuilder) -> Result<(), dualstep_burn::dualstep::Error>,
) -> Result<Plan> {
    let mut plan = PlanBuilder::new(gpu, "peer");
    record(&mut plan)?;
    Ok(plan.finish()?)
}

/// A plan that leaves T beside tensor operations that return it: the same bits the first time.
fn of_plan(
    shared: &Shared,
    nm: &NmAdmm,
    ours: Plan,
    mut theirs: impl FnMut() -> Tensor<2> + 'static,
) -> Result<Contest> {
    ours.run()?;
    let t = nm.t().next().ok_or_else(|| anyhow!("one is sparse"))?;
    agree(&shared.gpu().read(t)?, &floats(theirs())?, 0.0)?;
    let theirs = move || {
        drop(theirs());
        Ok(())
    };
    // The plan keeps what it works on.
    Ok(Contest { ours: Box::new(move || Ok(ours.run()?)), theirs: Box::new(theirs), flops: 0.0 })
}

/// Π(W) beside a mask of comparisons.
fn projection(shared: &Shared) -> Result<Contest> {
    let (w, _flat, _method, nm) = sparse(shared)?;
    let project = plan(shared.gpu(), |plan| nm.start(plan))?;
    of_plan(shared, &nm, project, move || choose(mask(w.clone()), w.clone(), w.zeros_like()))
}

/// An update of N:M ADMM, what it measures included, beside its formula without.
fn update(shared: &Shared) -> Result<Contest> {
    let (w, _flat, method, nm) = sparse(shared)?;
    plan(shared.gpu(), |plan| nm.start(plan))?.run()?;
    let update = plan(shared.gpu(), |plan| nm.update(plan, &method))?;
    let mut t = choose(mask(w.clone()), w.clone(), w.zeros_like());
    of_plan(shared, &nm, update, move || {
        let v = choose(mask(t.clone()), w.clone(), w.clone() - t.clone());
        t = choose(mask(v.clone()), v.clone(), v * -0.5);
        t.clone()
    })
}
