//! Training by gradients: the batches are those that the seed says, the steps those of the optimizer, and nothing waits.

#[path = "support/gpu.rs"]
mod gpu;
#[path = "support/graph_file.rs"]
mod graph_file;
#[path = "support/images.rs"]
mod images;

use dualstep::Error;
use dualstep::checkpoint::{self, Checkpoint};
use dualstep::data::graph::{Graph, Partition};
use dualstep::engine::{Gpu, GpuOptions, PlanBuilder, Shape, StorageType};
use dualstep::kernels::batch::sub_batch_sizes;
use dualstep::models::gcn::{Gcn, GcnConfig, GraphTensors, Layer, NodeList};
use dualstep::models::mlp::{self, Activation, Initial, Loss, Mlp};
use dualstep::reference::batch::{Cursor, taken};
use dualstep::solvers::badm::{Badm, BadmConfig, Slots, StateStorage, SubBatches};
use dualstep::solvers::first_order::{FirstOrder, FirstOrderConfig, Method};
use dualstep::solvers::nm::{NmConfig, Penalty, Rho};
use dualstep::solvers::optimizer::Schedule;
use dualstep::solvers::problem::{GraphProblem, Problem};
use dualstep::solvers::sparsify::{SparseConfig, Way};
use dualstep::solvers::training::{Model, Optimizer, Training, TrainingConfig, TrainingState};
use images::{Images, PIXELS};

const SEED: u64 = 5;

fn problem(images: &Images) -> Problem<'_> {
    Problem { outputs: 10, train: images.samples(), test: Some(images.samples()) }
}

/// Some of the samples, in this order.
fn pick(images: &Images, samples: &[usize]) -> Images {
    let rows = samples.iter().flat_map(|sample| &images.values[sample * PIXELS..(sample + 1) * PIXELS]);
    Images {
        values: rows.copied().collect(),
        labels: samples.iter().map(|sample| images.labels[*sample]).collect(),
    }
}

fn config(optimizer: Optimizer, batch: Option<u32>) -> TrainingConfig {
    let initial = Initial::Torch;
    let model = Model::Mlp { hidden: vec![12] };
    TrainingConfig { model, seed: SEED, initial, batch, optimizer, ..TrainingConfig::default() }
}

fn adam() -> Optimizer {
    Optimizer::FirstOrder(FirstOrderConfig { learning_rate: 3e-3, ..FirstOrderConfig::pytorch(Method::Adam) })
}

fn badm(sub_batches: u32) -> BadmConfig {
    BadmConfig::robust(sub_batches, 3e-3)
}

/// The weights of each layer after some batches, put together by hand: batches gathered on the host by the order that the
/// oracle gives, one plan each.
fn by_hand(gpu: &Gpu, images: &Images, optimizer: Optimizer, size: u32, batches: u32) -> Vec<Vec<f32>> {
    let count = images.labels.len() as u32;
    let network = Mlp::new(&[PIXELS as u32, 12, 10], Activation::Relu, Loss::CrossEntropy).unwrap();
    let w = network.parameters(gpu, Initial::Torch, SEED).unwrap();
    let mut cursor = Cursor { seed: SEED as u32, ..Cursor::default() };
    let first_order = match optimizer {
        Optimizer::FirstOrder(config) => Some(FirstOrder::new(gpu, &config, &w).unwrap()),
        Optimizer::Badm(_) => None,
    };
    let badm = match optimizer {
        Optimizer::Badm(config) => Some(Badm::new(gpu, &config, &w).unwrap()),
        Optimizer::FirstOrder(_) => None,
    };
    for _ in 0..batches {
        let samples = size.min(count - cursor.position);
        let picked = pick(images, &taken(samples, count, &cursor));
        cursor.position += samples;
        if cursor.position == count {
            cursor = Cursor { position: 0, epoch: cursor.epoch + 1, ..cursor };
        }
        let sub_batches = (samples * optimizer.sub_batches()).div_ceil(size);
        let inputs = gpu.upload(Shape::new(samples, PIXELS as u32), &picked.values).unwrap();
        let labels = gpu.upload_u32(Shape::vector(samples), &picked.labels).unwrap();
        let gradients = gpu.zeros(network.slab().shape(sub_batches), StorageType::F32).unwrap();
        let mut plan = PlanBuilder::new(gpu, "by hand");
        network.gradients(&mut plan, &w, &inputs, mlp::Targets::Classes(&labels), &gradients).unwrap();
        if let Some(method) = &first_order {
            method.record(&mut plan, &gradients).unwrap();
        }
        if let Some(badm) = &badm {
            let shares: Vec<f32> =
                sub_batch_sizes(samples, sub_batches).map(|size| size as f32 / samples as f32).collect();
            let batch = SubBatches { gradients: vec![gradients.as_ref()], weights: Some(&shares), batch: 0 };
            badm.record(&mut plan, &batch).unwrap();
        }
        plan.finish().unwrap().run().unwrap();
    }
    network.layers(&w).unwrap().iter().map(|(weights, _)| gpu.read(weights).unwrap()).collect()
}

/// Three epochs of uneven batches: three of 64 and one of 11.
#[test]
fn batches_and_steps_are_those_by_hand() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(203);
    for optimizer in [adam(), Optimizer::Badm(badm(5))] {
        let mut training = Training::new(&gpu, &config(optimizer, Some(64)), &problem(&images)).unwrap();
        assert_eq!(training.batches(), 4);
        training.run(12).unwrap();
        let records = training.finish().unwrap();
        assert_eq!(records.iter().map(|record| record.iteration).collect::<Vec<_>>(), Vec::from_iter(1..=12));
        assert!(records[11].train.cost < records[0].train.cost);
        assert_eq!(records[11].test, Some(records[11].train), "both are the same images");
        let expected = by_hand(&gpu, &images, optimizer, 64, 12);
        for (layer, weights) in training.layers().unwrap().iter().zip(expected) {
            assert_eq!(layer.weights, weights, "{optimizer:?}");
        }
    }
}

#[test]
fn iterations_never_wait_and_repeat_bit_for_bit() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(120);
    for (optimizer, batch) in [(adam(), None), (adam(), Some(32)), (Optimizer::Badm(badm(3)), Some(50))] {
        let run = || {
            let mut training = Training::new(&gpu, &config(optimizer, batch), &problem(&images)).unwrap();
            let before = gpu.counters().host_waits;
            training.run(9).unwrap();
            assert_eq!(gpu.counters().host_waits, before);
            (training.finish().unwrap(), training.layers().unwrap())
        };
        assert_eq!(run(), run());
    }
}

/// Bit for bit as put together by hand, with masks drawn by the seed, and without a wait.
#[test]
fn a_graph_is_trained_on_in_full_batches() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let (_folder, path) = graph_file::small().write();
    let graph = Graph::read(&path).unwrap();
    let [train, test] = graph.halves(Partition::Half { seed: 0 }, "small").unwrap();
    let problem = GraphProblem { graph: &graph, train: &train, test: &test };
    let hidden = vec![Layer::Dense(8), Layer::Convolution(8)];
    let layers = [hidden.as_slice(), &[Layer::Dense(2)]].concat();
    let network = Gcn::new(3, &GcnConfig { skips: true, dropout: 0.25, ..GcnConfig::new(&layers) }).unwrap();
    for optimizer in [adam(), Optimizer::Badm(badm(2))] {
        let model = Model::Gcn { hidden: hidden.clone(), skips: true, dropout: 0.25 };
        let config = TrainingConfig { model, ..config(optimizer, None) };
        let mut training = Training::on_graph(&gpu, &config, &problem).unwrap();
        let before = gpu.counters().host_waits;
        training.run(5).unwrap();
        assert_eq!(gpu.counters().host_waits, before);
        let records = training.finish().unwrap();
        assert!(records.len() == 5 && records[4].test.unwrap().cost.is_finite());

        let w = network.parameters(&gpu, Initial::Torch, SEED).unwrap();
        let gradients = gpu.zeros(network.slab().shape(optimizer.sub_batches()), StorageType::F32).unwrap();
        let cursor = network.cursor(&gpu, SEED as u32).unwrap();
        let tensors = GraphTensors::upload(&gpu, &graph).unwrap();
        let list = NodeList::new(&gpu, &train, graph.labels(), 2).unwrap();
        let mut plan = PlanBuilder::new(&gpu, "step");
        network.gradients(&mut plan, &w, &tensors, &list, &cursor, &gradients).unwrap();
        match optimizer {
            Optimizer::FirstOrder(config) => {
                FirstOrder::new(&gpu, &config, &w).unwrap().record(&mut plan, &gradients).unwrap();
            }
            Optimizer::Badm(config) => {
                let sizes: Vec<f32> = sub_batch_sizes(3, 2).map(|size| size as f32 / 3.0).collect();
                let sub_batches = SubBatches {
                    gradients: vec![gradients.as_ref()],
                    weights: Some(sizes.as_slice()),
                    batch: 0,
                };
                Badm::new(&gpu, &config, &w).unwrap().record(&mut plan, &sub_batches).unwrap();
            }
        }
        let plan = plan.finish().unwrap();
        (0..5).for_each(|_| plan.run().unwrap());
        for (layer, (weights, bias)) in training.layers().unwrap().iter().zip(network.layers(&w).unwrap()) {
            assert_eq!(layer.weights, gpu.read(&weights).unwrap(), "{optimizer:?}");
            assert_eq!(layer.bias, gpu.read(&bias).unwrap(), "{optimizer:?}");
        }
    }
}

/// A graph of 48 features, of which nodes have one or two: they stay sparse, save where the first layer adds them.
#[test]
fn features_of_a_graph_stay_sparse_where_that_pays() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let (_folder, path) = graph_file::small().say("features", "48").write();
    let graph = Graph::read(&path).unwrap();
    assert!(graph.features().pays(48));
    let problem = GraphProblem { graph: &graph, train: &[0, 1, 3], test: &[] };
    let kernels = |width, skips| {
        let model = Model::Gcn { hidden: vec![Layer::Convolution(width)], skips, dropout: 0.2 };
        let config = TrainingConfig { model, ..config(adam(), None) };
        let mut training = Training::on_graph(&gpu, &config, &problem).unwrap();
        training.run(2).unwrap();
        assert_eq!(training.finish().unwrap().len(), 2);
        let kernels = training.iteration_plan().operations().map(|it| it.kernel);
        kernels.filter(|it| ["sparse/weight_gradient", "sparse/dropout"].contains(it)).collect::<Vec<_>>()
    };
    let sparse = ["sparse/dropout", "sparse/dropout", "sparse/weight_gradient"];
    assert_eq!(kernels(8, true), sparse);
    assert_eq!(kernels(48, false), sparse);
    assert!(kernels(48, true).is_empty());
}

#[test]
fn a_model_and_data_that_do_not_go_together_are_refused() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let (_folder, path) = graph_file::small().write();
    let graph = Graph::read(&path).unwrap();
    let nodes = GraphProblem { graph: &graph, train: &[0, 1, 3], test: &[] };
    let convolutions = Model::Gcn { hidden: vec![Layer::Convolution(4)], skips: false, dropout: 0.0 };
    let on_graph = |batch| TrainingConfig { model: convolutions.clone(), ..config(adam(), batch) };
    let setting = |result: Result<Training, Error>| match result.unwrap_err() {
        Error::Setting { setting, .. } => setting,
        error => panic!("{error}"),
    };
    assert_eq!(setting(Training::new(&gpu, &on_graph(None), &problem(&Images::first(9)))), "model");
    assert_eq!(setting(Training::on_graph(&gpu, &config(adam(), None), &nodes)), "model");
    assert_eq!(setting(Training::on_graph(&gpu, &on_graph(Some(2)), &nodes)), "batch");
    let squared = TrainingConfig { loss: Loss::Squared, ..on_graph(None) };
    assert_eq!(setting(Training::on_graph(&gpu, &squared, &nodes)), "model");
    // Without nodes to be judged by there are no scores on them.
    let mut training = Training::on_graph(&gpu, &on_graph(None), &nodes).unwrap();
    training.run(1).unwrap();
    assert_eq!(training.finish().unwrap()[0].test, None);
}

/// With slots of their own, batches stay as they are: the first batch of every epoch is the same one.
#[test]
fn batches_with_slots_of_their_own_stay_as_they_are() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(90);
    let frozen = |slots| Optimizer::Badm(BadmConfig { slots, rho: 1e30, sigma: 1e30, ..badm(2) });
    let costs = |slots| {
        let mut training = Training::new(&gpu, &config(frozen(slots), Some(40)), &problem(&images)).unwrap();
        training.run(6).unwrap();
        training.finish().unwrap().iter().map(|record| record.batch.cost).collect::<Vec<_>>()
    };
    // Penalties so large that nothing moves: a batch's cost tells which samples are in it.
    let [own, shared] = [costs(Slots::PerBatch { batches: 3 }), costs(Slots::Shared)];
    assert_eq!(own[..3], own[3..]);
    assert_ne!(shared[..3], shared[3..]);
    let wrong = config(frozen(Slots::PerBatch { batches: 2 }), Some(40));
    assert!(matches!(Training::new(&gpu, &wrong, &problem(&images)), Err(Error::Setting { .. })));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(20);
    let wrong = [
        config(adam(), Some(0)),
        config(Optimizer::Badm(badm(21)), None),
        config(Optimizer::Badm(badm(5)), Some(4)),
        TrainingConfig { model: Model::Mlp { hidden: vec![3, 0] }, ..config(adam(), None) },
    ];
    for config in wrong {
        let error = Training::new(&gpu, &config, &problem(&images)).unwrap_err();
        assert!(matches!(error, Error::Setting { .. }), "{error}");
    }
    let regression = TrainingConfig { loss: Loss::Squared, ..config(adam(), None) };
    assert!(matches!(Training::new(&gpu, &regression, &problem(&images)), Err(Error::Samples { .. })));
}

/// A step too long for f32: refused, counted, and said; the parameters stay.
#[test]
fn a_diverging_training_says_so() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(30);
    let sgd = FirstOrderConfig { learning_rate: 1e25, ..FirstOrderConfig::pytorch(Method::Sgd) };
    let config = config(Optimizer::FirstOrder(sgd), None);
    let mut training = Training::new(&gpu, &config, &problem(&images)).unwrap();
    training.run(6).unwrap();
    let records = training.finish().unwrap();
    assert!(records[5].refused > 0);
    assert!(matches!(training.check(), Err(Error::NotFinite { .. })));
    let layers = training.layers().unwrap();
    training.run(1).unwrap();
    training.finish().unwrap();
    assert_eq!(training.layers().unwrap(), layers, "refused steps leave the parameters alone");
}

/// A state's way through a file.
fn saved_and_loaded(training: &Training) -> TrainingState {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let state = training.state().unwrap();
    let saved = Checkpoint::of_training(state.clone(), training.widths(), "somewhere".into());
    checkpoint::save(&path, &saved).unwrap();
    let loaded = checkpoint::load(&path).unwrap();
    assert!(loaded == saved && loaded.training == Some(state.clone()));
    state
}

/// ADMM whose ρ is chosen on the device, SR-STE that is watched, and a mask from the start.
fn sparse_ways() -> [SparseConfig; 3] {
    let patterns = "2:4".parse().unwrap();
    let penalty = Penalty::Coupled { rho: Rho::Auto { kappa: 1.0 } };
    let admm = NmConfig { penalty, interval: 3, updates: 9, leak: 0.5 };
    [
        SparseConfig { way: Way::Admm(admm), patterns, steps: 27, watch_every: 0 },
        SparseConfig { watch_every: 4, ..SparseConfig::sr_ste("1:4".parse().unwrap(), 27) },
        SparseConfig { watch_every: 5, ..SparseConfig::masked("2:4".parse().unwrap()) },
    ]
}

/// N iterations have the bits of k, a stop, and N − k: weights, state, scores and what updates told.
#[test]
fn a_training_that_stopped_goes_on_bit_for_bit() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(90);
    // Falling to 0 at the last step; an epoch's last batch is short.
    let falling = FirstOrderConfig {
        learning_rate: 3e-3,
        schedule: Schedule::Linear { steps: 33 },
        ..FirstOrderConfig::pytorch(Method::NAdam)
    };
    let falling = config(Optimizer::FirstOrder(falling), Some(40));
    let stored = |storage, slots| Optimizer::Badm(BadmConfig { storage, slots, ..badm(3) });
    let mut configs = vec![
        config(adam(), None),
        falling.clone(),
        config(stored(StateStorage::Bf16, Slots::Shared), Some(40)),
        config(stored(StateStorage::F16, Slots::PerBatch { batches: 3 }), Some(40)),
    ];
    // Of 784 inputs and 12 units, those of the first layer.
    configs.extend(
        sparse_ways().map(|sparse| TrainingConfig { sparse: Some(sparse), ..config(adam(), Some(40)) }),
    );
    for config in configs {
        let problem = problem(&images);
        let mut whole = Training::new(&gpu, &config, &problem).unwrap();
        whole.run(33).unwrap();
        let (records, updates) = (whole.finish().unwrap(), whole.poll_updates().unwrap());
        // In the middle of an epoch, and of an interval; before weights are in their pattern, and after.
        for stop in [0, 22, 29] {
            let mut training = Training::new(&gpu, &config, &problem).unwrap();
            training.run(stop).unwrap();
            let state = saved_and_loaded(&training);
            assert_eq!(state.iteration, stop);
            drop(training);
            let mut resumed = Training::resume(&gpu, &config, &problem, &state).unwrap();
            resumed.run(33 - stop).unwrap();
            assert_eq!(resumed.finish().unwrap(), records[stop as usize..], "from {stop} on: {config:?}");
            let later = updates.iter().filter(|update| update.iteration > stop);
            assert!(resumed.poll_updates().unwrap().iter().eq(later), "from {stop} on: {config:?}");
            assert!(resumed.state().unwrap() == whole.state().unwrap(), "from {stop} on: {config:?}");
        }
    }
}

/// With the masks that dropout would have drawn.
#[test]
fn a_training_on_a_graph_goes_on_bit_for_bit() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let (_folder, path) = graph_file::small().write();
    let graph = Graph::read(&path).unwrap();
    let problem = GraphProblem { graph: &graph, train: &[0, 1, 3, 5], test: &[2] };
    let model =
        Model::Gcn { hidden: vec![Layer::Convolution(4), Layer::Dense(4)], skips: false, dropout: 0.4 };
    let config = TrainingConfig { model, ..config(Optimizer::Badm(badm(2)), None) };
    let mut whole = Training::on_graph(&gpu, &config, &problem).unwrap();
    whole.run(7).unwrap();
    let mut training = Training::on_graph(&gpu, &config, &problem).unwrap();
    training.run(4).unwrap();
    let state = saved_and_loaded(&training);
    let mut resumed = Training::resume_on_graph(&gpu, &config, &problem, &state).unwrap();
    resumed.run(3).unwrap();
    assert!(resumed.state().unwrap() == whole.state().unwrap());
    assert!(state.layers != whole.layers().unwrap());
}

#[test]
fn a_state_of_another_training_is_refused_by_name() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let images = Images::first(60);
    let refusal = |state: &TrainingState, config: &TrainingConfig| {
        let error = Training::resume(&gpu, config, &problem(&images), state).unwrap_err();
        assert!(matches!(error, Error::Plan { .. }), "{error}");
        error.to_string()
    };
    let state_of =
        |config: &TrainingConfig| Training::new(&gpu, config, &problem(&images)).unwrap().state().unwrap();
    let bf16 = |sub_batches| Optimizer::Badm(BadmConfig { storage: StateStorage::Bf16, ..badm(sub_batches) });
    let of_badm = state_of(&config(bf16(2), Some(20)));
    let [_, sr_ste, masked] = sparse_ways();
    let sparse = |sparse| TrainingConfig { sparse: Some(sparse), ..config(adam(), None) };
    let of_sparse = state_of(&sparse(masked.clone()));
    let other_model = TrainingConfig { model: Model::Mlp { hidden: vec![9] }, ..config(bf16(2), Some(20)) };
    let cases = [
        (&of_badm, config(adam(), Some(20)), "method adam, but the state is of a run with method badm"),
        (
            &of_badm,
            config(Optimizer::Badm(badm(2)), Some(20)),
            "storage F32, but the state is of a run with storage Bf16",
        ),
        (&of_badm, config(bf16(2), Some(30)), "batch 30, but the state is of a run with batch 20"),
        (&of_badm, config(bf16(2), None), "batch all"),
        (&of_badm, config(bf16(4), Some(20)), "sub-batches 4"),
        (&of_badm, other_model, "model mlp [9]"),
        (&of_sparse, sparse(sr_ste), "pattern 1:4, but the state is of a run with pattern 2:4"),
        (&of_sparse, config(adam(), None), "pattern none"),
    ];
    for (state, config, part) in &cases {
        let message = refusal(state, config);
        assert!(message.contains(part) && message.lines().count() == 1, "no `{part}` in: {message}");
    }
    // What fits by name but not by size is refused, too.
    let short = TrainingState { cursor: vec![0; 3], ..of_badm.clone() };
    assert!(refusal(&short, &config(bf16(2), Some(20))).contains("a snapshot of tensors of [3] words"));
    let mut short = of_badm;
    short.optimizer.tensors[1].pop();
    assert!(refusal(&short, &config(bf16(2), Some(20))).contains("a snapshot of tensors of"));
}
