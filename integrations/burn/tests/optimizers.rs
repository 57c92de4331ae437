//! Steps on Burn's modules: the bits of dualstep by itself on the same gradients, no traffic with the host, value semantics,
//! records, Burn's own interface, and refusals.
//!
//! All tests share one device, because Burn opens one once for each program.

use std::io::Write;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use burn::module::{Module, ModuleVisitor, Param, ParamGroup};
use burn::nn::{Linear, LinearConfig, LinearLayout, Relu};
use burn::optim::{GradientsParams, ModuleOptimizer, OptimizerRecord};
use burn::tensor::{DType, Device, Distribution, Tensor};
use dualstep_burn::dualstep::engine::{PlanBuilder, Shape, Tensor as Flat};
use dualstep_burn::dualstep::solvers::badm::{Badm, SubBatches as Rows};
use dualstep_burn::dualstep::solvers::first_order::FirstOrder;
use dualstep_burn::{
    BadmConfig, Error, FirstOrderConfig, Method, NmAdmmConfig, NmConfig, NmPattern, Optimizer,
    OptimizerConfig, Shared, SubBatches,
};

const SUB_BATCHES: usize = 3;
const STEPS: usize = 5;
const RATE: f64 = 1e-2;

/// The device, for one test at a time: counters are the device's.
fn shared() -> Option<(Shared, MutexGuard<'static, ()>)> {
    static SHARED: OnceLock<Result<Shared, String>> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let open = || Shared::open(Device::wgpu_options()).map_err(|error| error.to_string());
    match SHARED.get_or_init(open) {
        Ok(shared) => Some((shared.clone(), turn)),
        Err(error) => {
            let required = std::env::var("DUALSTEP_REQUIRE_GPU").is_ok_and(|value| value == "1");
            assert!(!required, "DUALSTEP_REQUIRE_GPU = 1 but {error}");
            let _ = writeln!(std::io::stderr(), "SKIPPED, nothing was tested on a device: {error}");
            None
        }
    }
}

/// Two layers, of sizes that no padding suits.
#[derive(Module, Debug)]
struct Mlp {
    first: Linear,
    second: Linear,
    activation: Relu,
}

impl Mlp {
    fn new(device: &Device) -> Self {
        let layer =
            |inputs, outputs| LinearConfig::new(inputs, outputs).with_layout(LinearLayout::Col).init(device);
        Self { first: layer(12, 21), second: layer(21, 5), activation: Relu::new() }
    }

    fn loss(&self, x: Tensor<2>) -> Tensor<1> {
        self.second.forward(self.activation.forward(self.first.forward(x))).square().mean()
    }
}

fn batches(device: &Device, count: usize) -> Vec<Tensor<2>> {
    (0..count).map(|_| Tensor::random([16, 12], Distribution::Normal(0.0, 1.0), device)).collect()
}

fn gradients(model: &Mlp, batches: &[Tensor<2>]) -> Vec<GradientsParams> {
    let pass = |x: &Tensor<2>| GradientsParams::from_grads(model.loss(x.clone()).backward(), model);
    batches.iter().map(pass).collect()
}

/// Bits of every parameter, in the order of a walk.
fn bits(model: &Mlp) -> Vec<Vec<u32>> {
    values(model).into_iter().map(|values| values.into_iter().map(f32::to_bits).collect()).collect()
}

fn values(model: &Mlp) -> Vec<Vec<f32>> {
    struct Read(Vec<Vec<f32>>);
    impl ModuleVisitor for Read {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(floats(param.val()));
        }
    }
    let mut read = Read(Vec::new());
    model.visit(&mut read);
    read.0
}

/// Of each sub-batch, the gradient of every parameter.
fn gradient_values(model: &Mlp, gradients: &[GradientsParams]) -> Vec<Vec<Vec<f32>>> {
    struct Read<'a>(&'a GradientsParams, Vec<Vec<f32>>);
    impl ModuleVisitor for Read<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1.push(floats(self.0.get::<D>(param.id).expect("every parameter has a gradient")));
        }
    }
    let of = |gradients| {
        let mut read = Read(gradients, Vec::new());
        model.visit(&mut read);
        read.1
    };
    gradients.iter().map(of).collect()
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("f32")
}

/// Steps a fresh model, and what dualstep by itself makes of the same weights and gradients.
fn beside_native(
    shared: &Shared,
    mut optimizer: Optimizer,
    sub_batches: usize,
    native: impl Fn(&[Flat]) -> Box<dyn Fn(&mut PlanBuilder, &[Vec<Flat>])>,
) {
    let (gpu, device) = (shared.gpu(), shared.device().clone().autodiff());
    let mut model = Mlp::new(&device);
    let upload = |values: &Vec<f32>| gpu.upload(Shape::vector(values.len() as u32), values).expect("small");
    let weights: Vec<_> = values(&model).iter().map(upload).collect();
    let record = native(&weights);
    let before = bits(&model);
    for _ in 0..STEPS {
        let gradients = gradients(&model, &batches(&device, sub_batches));
        let read = gradient_values(&model, &gradients);
        model = optimizer.step(RATE, model, gradients).expect("steps");
        let rows = (0..weights.len()).map(|part| read.iter().map(|of| upload(&of[part])).collect());
        let mut plan = PlanBuilder::new(gpu, "native");
        record(&mut plan, &rows.collect::<Vec<_>>());
        plan.finish().expect("resolves").run().expect("submits");
        let native = weights.iter().map(|w| gpu.read(w).expect("reads back"));
        let native: Vec<Vec<u32>> = native.map(|w| w.into_iter().map(f32::to_bits).collect()).collect();
        assert_eq!(bits(&model), native);
    }
    assert_ne!(bits(&model), before, "parameters moved");
    optimizer.check().expect("every step was taken");
    assert_eq!(optimizer.tally().expect("reads back").steps, STEPS as u32);
}

#[test]
fn badm_steps_as_it_does_by_itself() {
    let Some((shared, _turn)) = shared() else { return };
    let config = BadmConfig::robust(SUB_BATCHES as u32, RATE);
    let gpu = shared.gpu().clone();
    beside_native(&shared, config.init(&shared).expect("sound settings"), SUB_BATCHES, |weights| {
        let badm = Badm::new(&gpu, &config, weights).expect("sound settings");
        Box::new(move |plan, gradients| {
            let gradients = gradients.iter().map(Vec::as_slice).collect();
            badm.record(plan, &Rows { gradients, weights: None, batch: 0 }).expect("records");
        })
    });
}

#[test]
fn adam_steps_as_it_does_by_itself() {
    let Some((shared, _turn)) = shared() else { return };
    let config = FirstOrderConfig { learning_rate: RATE, ..FirstOrderConfig::pytorch(Method::Adam) };
    let gpu = shared.gpu().clone();
    beside_native(&shared, config.init(&shared).expect("sound settings"), 1, |weights| {
        let adam = FirstOrder::new(&gpu, &config, weights).expect("sound settings");
        Box::new(move |plan, gradients| {
            let gradients: Vec<_> = gradients.iter().map(|of| of[0].clone()).collect();
            adam.record(plan, &gradients).expect("records");
        })
    });
}

/// After the first steps dualstep uploads nothing, waits for nothing, allocates nothing, records nothing, and submits once
/// a step.
#[test]
fn a_step_exchanges_nothing_with_the_host() {
    let Some((shared, _turn)) = shared() else { return };
    let device = shared.device().clone().autodiff();
    let mut optimizer = BadmConfig::robust(SUB_BATCHES as u32, RATE).init(&shared).expect("sound settings");
    let batches = batches(&device, SUB_BATCHES);
    let mut steps = |mut model: Mlp, times: usize| {
        for _ in 0..times {
            let gradients = SubBatches::backward(&model, batches.clone(), Mlp::loss);
            model = optimizer.step(RATE, model, gradients).expect("steps");
        }
        (model, optimizer.plans())
    };
    let (model, plans) = steps(Mlp::new(&device), 20);
    let before = shared.gpu().counters();
    let (_, plans_after) = steps(model, 20);
    let after = shared.gpu().counters();
    assert_eq!(after.submits - before.submits, 20);
    assert_eq!(after.uploads, before.uploads, "{plans} plans, then {plans_after}");
    assert_eq!(after.host_waits, before.host_waits);
    assert_eq!(after.memory.in_use, before.memory.in_use);
}

#[test]
fn a_clone_keeps_its_values() {
    let Some((shared, _turn)) = shared() else { return };
    let device = shared.device().clone().autodiff();
    let model = Mlp::new(&device);
    let (kept, before) = (model.clone(), bits(&model));
    let mut optimizer = FirstOrderConfig::default().init(&shared).expect("sound settings");
    let gradients = SubBatches::backward(&model, batches(&device, 1), Mlp::loss);
    let stepped = optimizer.step(RATE, model, gradients).expect("steps");
    assert_eq!(bits(&kept), before);
    assert_ne!(bits(&stepped), before);
}

/// Steps of a model from where it is, with the same batches whoever asks.
fn run(optimizer: &mut Optimizer, mut model: Mlp, batches: &[Tensor<2>]) -> Mlp {
    for batch in batches {
        let gradients = SubBatches::backward(&model, [batch.clone()], Mlp::loss);
        model = optimizer.step(RATE, model, gradients).expect("steps");
    }
    model
}

fn sparse(steps: u32) -> NmAdmmConfig {
    let pattern = NmPattern::new(2, 4).expect("2 of 4");
    let config = NmAdmmConfig::new(pattern, ParamGroup::from_predicate("first"), 40).expect("long enough");
    let nm = config.nm.map(|nm| NmConfig { interval: steps / 4, updates: 4, ..nm });
    NmAdmmConfig { nm, ..config }
}

#[test]
fn a_run_resumed_from_a_record_goes_on_bit_for_bit() {
    let Some((shared, _turn)) = shared() else { return };
    let device = shared.device().clone().autodiff();
    let batches = batches(&device, 8);
    let start = Mlp::new(&device);
    let configs: [&dyn Fn() -> Optimizer; 3] = [
        &|| BadmConfig::robust(1, RATE).init(&shared).expect("sound settings"),
        &|| FirstOrderConfig::default().init(&shared).expect("sound settings"),
        &|| sparse(8).init(&shared).expect("sound settings"),
    ];
    for config in configs {
        let whole = run(&mut config(), start.clone(), &batches);
        let mut first = config();
        let model = run(&mut first, start.clone(), &batches[..5]);
        let bytes = first.to_record().expect("reads back").into_bytes().expect("writes");
        let record = OptimizerRecord::from_bytes(bytes).expect("reads");
        let resumed = run(&mut config().load_record(record).expect("a record"), model, &batches[5..]);
        assert_eq!(bits(&resumed), bits(&whole));
    }
}

/// Burn's own interface: the same steps, and its own records.
#[test]
fn single_parameters_step_as_all_do() {
    let Some((shared, _turn)) = shared() else { return };
    let device = shared.device().clone().autodiff();
    let batches = batches(&device, 6);
    let start = Mlp::new(&device);
    let alone = || -> ModuleOptimizer { BadmConfig::robust(1, RATE).build(&shared).expect("sound").into() };
    let steps = |optimizer: &mut ModuleOptimizer, mut model: Mlp, batches: &[Tensor<2>]| {
        for gradients in batches {
            let gradients = GradientsParams::from_grads(model.loss(gradients.clone()).backward(), &model);
            model = optimizer.step(RATE, model, gradients);
        }
        model
    };
    let mut together = BadmConfig::robust(1, RATE).init(&shared).expect("sound settings");
    let expected = bits(&run(&mut together, start.clone(), &batches));
    assert_eq!(bits(&steps(&mut alone(), start.clone(), &batches)), expected);

    let mut first = alone();
    let model = steps(&mut first, start, &batches[..3]);
    let mut resumed = alone().load_record(first.to_record());
    assert_eq!(bits(&steps(&mut resumed, model, &batches[3..])), expected);
}

/// Whether two of four inputs are left to each output of the first layer.
fn in_pattern(model: &Mlp) -> bool {
    let weights = floats(model.first.weight.val().transpose());
    weights.chunks_exact(4).all(|group| group.iter().filter(|w| **w != 0.0).count() == 2)
}

/// Without ADMM, from the first step on.
#[test]
fn masked_parameters_keep_the_largest_weights() {
    let Some((shared, _turn)) = shared() else { return };
    let device = shared.device().clone().autodiff();
    let batches = batches(&device, 3);
    let start = Mlp::new(&device);
    let largest = |model: &Mlp| -> Vec<bool> {
        let weights = floats(model.first.weight.val().transpose());
        let of_group = |group: &[f32]| {
            let ahead = |w: &f32| group.iter().filter(|other| other.abs() > w.abs()).count();
            group.iter().map(|w| ahead(w) < 2).collect::<Vec<_>>()
        };
        weights.chunks_exact(4).flat_map(of_group).collect()
    };
    let config =
        NmAdmmConfig::masked(NmPattern::new(2, 4).expect("2 of 4"), ParamGroup::from_predicate("first"));
    let mut optimizer = config.init(&shared).expect("sound settings");
    let model = run(&mut optimizer, start.clone(), &batches);
    assert!(in_pattern(&model));
    let kept: Vec<bool> = floats(model.first.weight.val().transpose()).iter().map(|w| *w != 0.0).collect();
    assert_eq!(kept, largest(&start));
}

#[test]
fn sparse_parameters_end_in_their_pattern_and_stay() {
    let Some((shared, _turn)) = shared() else { return };
    let device = shared.device().clone().autodiff();
    let batches = batches(&device, 8);
    let mut optimizer = sparse(8).init(&shared).expect("sound settings");
    let model = run(&mut optimizer, Mlp::new(&device), &batches);
    let measures = optimizer.measures().expect("reads back");
    assert_eq!(measures.len(), 1);
    assert_eq!(measures[0].0, "first.weight");

    assert!(!in_pattern(&model), "dense until the end");
    let model = optimizer.finish(model).expect("finishes");
    assert!(in_pattern(&model));
    let before = bits(&model);
    let model = run(&mut optimizer, model, &batches);
    assert!(in_pattern(&model), "masked steps keep it");
    assert_ne!(bits(&model), before);
    optimizer.check().expect("all finite");
}

#[test]
fn one_gradient_that_is_not_finite_refuses_the_step() {
    let Some((shared, _turn)) = shared() else { return };
    let device = shared.device().clone().autodiff();
    let model = Mlp::new(&device);
    let mut optimizer = FirstOrderConfig::default().init(&shared).expect("sound settings");
    let before = bits(&model);
    let batch = Tensor::<2>::full([4, 12], f32::INFINITY, &device);
    let gradients = SubBatches::backward(&model, [batch], Mlp::loss);
    let model = optimizer.step(RATE, model, gradients).expect("is submitted");
    assert_eq!(bits(&model), before);
    assert_eq!(optimizer.tally().expect("reads back").refused, 1);
    let message = optimizer.check().expect_err("it was refused").to_string();
    assert!(message.contains("not finite at iteration 1"), "{message}");
}

#[test]
fn what_cannot_be_stepped_is_named() {
    let Some((shared, _turn)) = shared() else { return };
    let device = shared.device().clone().autodiff();
    let batches = batches(&device, 2);
    let mut optimizer = FirstOrderConfig::default().init(&shared).expect("sound settings");
    let mut refused = |model: Mlp, gradients: SubBatches| {
        optimizer.step(RATE, model, gradients).expect_err("must be refused").to_string()
    };
    let empty = refused(Mlp::new(&device), GradientsParams::new().into());
    let processor = Device::flex().autodiff();
    let elsewhere = Mlp::new(&processor);
    let gradients_elsewhere = SubBatches::backward(&elsewhere, self::batches(&processor, 1), Mlp::loss);
    let elsewhere = refused(elsewhere, gradients_elsewhere);
    let model = Mlp::new(&device);
    let mut partial = gradients(&model, &batches);
    partial[1].remove::<1>(model.second.bias.as_ref().expect("has one").id);
    let partial = refused(model, partial.into());
    let model = Mlp::new(&device);
    let several = gradients(&model, &batches);
    let several = refused(model, several.into());
    let model = Mlp::new(&device);
    let mut half = gradients(&model, &batches[..1]);
    let id = model.first.weight.id;
    let gradient = half[0].remove::<2>(id).expect("has one");
    half[0].register::<2>(id, gradient.clone().cast(DType::F16));
    let half = refused(model, half.into());
    let model = Mlp::new(&device);
    let mut bent = gradients(&model, &batches[..1]);
    let gradient = bent[0].remove::<2>(model.first.weight.id).expect("has one");
    bent[0].register::<2>(model.first.weight.id, gradient.transpose());
    let bent = refused(model, bent.into());
    for (message, words) in [
        (empty, "no parameter has a gradient"),
        (elsewhere, "first.weight: it is not on a wgpu device of Burn's"),
        (partial, "second.bias: it has gradients in 1 of 2 sub-batches"),
        (several, "has gradients of 2 sub-batches for a method that takes one"),
        (half, "first.weight: its gradient is stored as F16"),
        (bent, "first.weight: its shape is [12, 21] but the gradient's is [21, 12]"),
    ] {
        assert!(message.contains(words), "{message}");
    }

    let model = run(&mut optimizer, Mlp::new(&device), &batches);
    let gradients = SubBatches::backward(&model, batches[..1].to_vec(), Mlp::loss);
    let fewer = Mlp { second: model.second.clone().no_grad(), ..model };
    let only_first = SubBatches::backward(&fewer, batches[..1].to_vec(), Mlp::loss);
    let message = optimizer.step(RATE, fewer, only_first).expect_err("other parameters").to_string();
    assert!(message.contains("the module: has gradients of"), "{message}");
    drop(gradients);

    let rate = FirstOrderConfig { learning_rate: -1.0, ..FirstOrderConfig::default() };
    assert!(matches!(rate.init(&shared), Err(Error::Dualstep(_))));
    let unfit = NmAdmmConfig { sparse: ParamGroup::from_predicate("second"), ..sparse(8) };
    let mut optimizer = unfit.init(&shared).expect("known at the first step only");
    let model = Mlp::new(&device);
    let gradients = SubBatches::backward(&model, batches[..1].to_vec(), Mlp::loss);
    let message = optimizer.step(RATE, model, gradients).expect_err("21 is no multiple of 4").to_string();
    assert!(message.contains("second.weight: rows of 21 weights"), "{message}");
    let mut optimizer = sparse(8).init(&shared).expect("known at the first step only");
    let rows = LinearConfig::new(12, 21).init(&device);
    let model = Mlp { first: rows, ..Mlp::new(&device) };
    let gradients = SubBatches::backward(&model, batches[..1].to_vec(), Mlp::loss);
    let message = optimizer.step(RATE, model, gradients).expect_err("outputs are neighbours").to_string();
    assert!(message.contains("make the layer with LinearLayout::Col"), "{message}");
}
