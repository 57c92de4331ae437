//! Sparsifying while training: each way does what it says, ends in the pattern, tells on the way, and nothing waits.

#[path = "support/gpu.rs"]
mod gpu;

#[path = "support/graph_file.rs"]
mod graph_file;
#[path = "support/images.rs"]
mod images;

#[path = "support/literal_sr_ste.rs"]
mod literal;

#[path = "support/values.rs"]
mod values;

use dualstep::data::graph::{Graph, Partition};
use dualstep::engine::{Gpu, GpuOptions, PlanBuilder, StorageType};
use dualstep::models::gcn::Layer;
use dualstep::models::mlp::{Activation, Initial, InitialLayer, Loss, Mlp};
use dualstep::solvers::badm::BadmConfig;
use dualstep::solvers::first_order::{FirstOrder, FirstOrderConfig, Method};
use dualstep::solvers::nm::{NmAdmm, NmConfig, NmPattern, Penalty, Rho, Warning};
use dualstep::solvers::optimizer::Schedule;
use dualstep::solvers::problem::{GraphProblem, Problem, Rows, Samples, Targets};
use dualstep::solvers::sparsify::{Patterns, SparseConfig, UpdateRecord, Way};
use dualstep::solvers::training::{Model, Optimizer, Training, TrainingConfig, TrainingRecord};
use images::Images;
use values::values;

fn open() -> Option<Gpu> {
    gpu::open(GpuOptions::default())
}

fn problem(images: &Images) -> Problem<'_> {
    Problem { outputs: 10, train: images.samples(), test: None }
}

fn pattern(text: &str) -> NmPattern {
    text.parse().unwrap()
}

fn inner(text: &str) -> Patterns {
    Patterns::AllButLast(pattern(text))
}

/// Adam on batches of 64, its learning rate falling to 0 in so many steps, with records at the end alone.
fn adam(learning_rate: f64, steps: u32, sparse: Option<SparseConfig>) -> TrainingConfig {
    let schedule = Schedule::Linear { steps };
    let adam = FirstOrderConfig { learning_rate, schedule, ..FirstOrderConfig::pytorch(Method::Adam) };
    TrainingConfig {
        model: Model::Mlp { hidden: vec![32] },
        initial: Initial::Torch,
        batch: Some(64),
        optimizer: Optimizer::FirstOrder(adam),
        sparse,
        evaluate_every: steps,
        ..TrainingConfig::default()
    }
}

struct Ended {
    records: Vec<TrainingRecord>,
    updates: Vec<UpdateRecord>,
    layers: Vec<InitialLayer>,
}

fn run(gpu: &Gpu, config: &TrainingConfig, images: &Images, start: &[InitialLayer], steps: u32) -> Ended {
    let mut training = Training::from_layers(gpu, config, &problem(images), start).unwrap();
    let waits = gpu.counters().host_waits;
    training.run(steps).unwrap();
    assert_eq!(gpu.counters().host_waits, waits, "something waited");
    let records = training.finish().unwrap();
    let updates = training.poll_updates().unwrap();
    assert_eq!(training.in_flight(), 0);
    training.check().unwrap();
    Ended { records, updates, layers: training.layers().unwrap() }
}

/// A network that knows the images.
fn dense(gpu: &Gpu, images: &Images) -> Vec<InitialLayer> {
    let config = adam(5e-3, 200, None);
    let mut training = Training::new(gpu, &config, &problem(images)).unwrap();
    training.run(200).unwrap();
    training.finish().unwrap();
    training.layers().unwrap()
}

fn accuracy(record: &TrainingRecord) -> (f32, f32) {
    (record.train.accuracy.unwrap(), record.projected.unwrap().train.accuracy.unwrap())
}

fn projected(weights: &[f32], pattern: NmPattern) -> Vec<f32> {
    let (keep, group) = (pattern.keep() as usize, pattern.group() as usize);
    let precise: Vec<f64> = weights.iter().map(|w| f64::from(*w)).collect();
    let mask = literal::mask(&precise, keep, group);
    weights.iter().zip(mask).map(|(w, m)| if m > 0.0 { *w } else { 0.0 }).collect()
}

/// Weights drawn by ADMM lose next to nothing when they are put in their pattern; those of a dense network do.
#[test]
fn drawn_weights_end_in_their_pattern_at_little_cost() {
    let Some(gpu) = open() else { return };
    const STEPS: u32 = 200;
    let images = Images::first(400);
    let start = dense(&gpu, &images);
    let admm = SparseConfig::admm(inner("1:4"), STEPS, None, NmConfig::for_steps).unwrap();
    let drawn = run(&gpu, &adam(2e-3, STEPS, Some(admm.clone())), &images, &start, STEPS);
    let plain =
        run(&gpu, &adam(2e-3, STEPS, Some(SparseConfig::dense(inner("1:4")))), &images, &start, STEPS);

    let (w, in_pattern) = accuracy(&drawn.records[0]);
    assert!((w - in_pattern).abs() <= 0.002, "{w} and {in_pattern} in the pattern");
    let (dense, pruned) = accuracy(&plain.records[0]);
    assert!(
        dense > 0.95 && pruned < dense - 0.05 && in_pattern > pruned + 0.03,
        "{dense}, {pruned}, {in_pattern}"
    );
    assert!(plain.layers[0].weights.iter().filter(|w| **w == 0.0).count() < 100, "dense stays dense");

    let iterations: Vec<_> = drawn.updates.iter().map(|it| (it.update, it.iteration)).collect();
    assert_eq!(iterations, (1..=40).map(|k| (k, 5 * k)).collect::<Vec<_>>());
    let (first, last) = (&drawn.updates[0].measures.0[0], &drawn.updates[39].measures.0[0]);
    assert!(last.off <= 2e-3 && last.off < 0.1 * first.off, "{first:?}, {last:?}");
    assert!(drawn.updates.iter().all(|it| it.warnings.is_empty()), "{:?}", drawn.updates);
    let ended = &drawn.layers[0].weights;
    assert_eq!(*ended, projected(ended, pattern("1:4")));
    assert_eq!(ended.iter().filter(|w| **w != 0.0).count(), ended.len() / 4);
    assert!(drawn.layers[1].weights.iter().all(|w| *w != 0.0), "the head stays dense");
}

/// Weights off the mask are 0 from the start, and never anything else; the others learn.
#[test]
fn masked_weights_stay_out() {
    let Some(gpu) = open() else { return };
    let images = Images::first(200);
    let start = dense(&gpu, &images);
    let config = adam(1e-3, 100, Some(SparseConfig::masked(inner("2:4"))));
    let mut training = Training::from_layers(&gpu, &config, &problem(&images), &start).unwrap();
    let pruned = training.layers().unwrap();
    assert_eq!(pruned[0].weights, projected(&start[0].weights, pattern("2:4")));
    assert_eq!((&pruned[0].bias, &pruned[1]), (&start[0].bias, &start[1]));
    let mut moved = pruned[0].weights.clone();
    for _ in 0..10 {
        training.run(3).unwrap();
        let now = training.layers().unwrap().swap_remove(0).weights;
        let changed = now.iter().zip(&moved).filter(|(now, before)| now != before).count();
        assert!(changed > now.len() / 4, "{changed} of {} moved", now.len());
        assert!(now.iter().zip(&pruned[0].weights).all(|(now, first)| *first != 0.0 || *now == 0.0));
        moved = now;
    }
}

/// One-shot pruning is dense training to the last bit, and then the projection.
#[test]
fn one_shot_is_dense_training_and_a_cut() {
    let Some(gpu) = open() else { return };
    let images = Images::first(200);
    let start = dense(&gpu, &images);
    let ended = |sparse| run(&gpu, &adam(1e-3, 12, sparse), &images, &start, 12);
    let (plain, cut) = (ended(None), ended(Some(SparseConfig::one_shot(inner("2:8"), 12))));
    assert_eq!(cut.layers[0].weights, projected(&plain.layers[0].weights, pattern("2:8")));
    assert_eq!(cut.layers[1], plain.layers[1]);
    assert_eq!(cut.records[0].train, plain.records[0].train, "scores are those before the cut");
    assert_eq!(plain.records[0].projected, None);
}

/// 24 samples of 8 features through 8 units to 3 classes, against a transcription in float64.
///
/// A step adds to a weight a gradient of at most 24 terms, each a product of sums of at most 8, and both are of about one
/// in magnitude here: some 50 roundings of half an ulp of 1, times the rate. Momentum makes at most ten of each, and what
/// a step got wrong is wrong in the next ones, which at this rate at most doubles it in 20.
#[test]
fn sr_ste_is_its_literal_transcription() {
    let Some(gpu) = open() else { return };
    const STEPS: usize = 20;
    let (samples, features, hidden, outputs) = (24, 8, 8, 3);
    let inputs = values(1, samples * features);
    let labels: Vec<u32> = (0..samples).map(|k| k * 7 % 5 % outputs).collect();
    let start = [
        InitialLayer { weights: values(2, hidden * features), bias: values(3, hidden) },
        InitialLayer { weights: values(4, outputs * hidden), bias: values(5, outputs) },
    ];
    let settings = literal::Settings { rate: 0.02, momentum: 0.9, decay: 0.1, keep: 2, group: 4 };
    let momentum = FirstOrderConfig {
        learning_rate: settings.rate,
        beta_1: settings.momentum,
        ..FirstOrderConfig::pytorch(Method::Momentum)
    };
    let way = Way::SrSte { decay: settings.decay };
    let config = TrainingConfig {
        model: Model::Mlp { hidden: vec![hidden] },
        optimizer: Optimizer::FirstOrder(momentum),
        sparse: Some(SparseConfig { way, patterns: inner("2:4"), steps: STEPS as u32 + 1, watch_every: 0 }),
        ..TrainingConfig::default()
    };
    let train = Samples { features, values: Rows::Dense(&inputs), targets: Targets::Classes(&labels) };
    let problem = Problem { outputs, train, test: None };
    let mut training = Training::from_layers(&gpu, &config, &problem, &start).unwrap();
    training.run(STEPS as u32).unwrap();
    let actual = training.layers().unwrap();

    let precise = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<_>>();
    let mut expected =
        start.each_ref().map(|it| literal::Layer { weights: precise(&it.weights), bias: precise(&it.bias) });
    let before = literal::mask(&expected[0].weights, 2, 4);
    literal::train(&mut expected, &precise(&inputs), &labels, &settings, STEPS);
    assert_ne!(
        literal::mask(&expected[0].weights, 2, 4),
        before,
        "masks that never change are masked training"
    );
    let bound = 2.0 * 10.0 * STEPS as f64 * settings.rate * 50.0 * f64::from(f32::EPSILON) / 2.0;
    for (layer, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
        let pairs = [(&actual.weights, &expected.weights), (&actual.bias, &expected.bias)];
        for (k, (a, e)) in pairs.iter().flat_map(|(a, e)| a.iter().zip(e.iter())).enumerate() {
            assert!((f64::from(*a) - e).abs() <= bound, "layer {layer}, {k}: {a}, not {e} by {bound:e}");
        }
    }
    // One step more puts the network in its pattern.
    training.run(1).unwrap();
    let ended = training.layers().unwrap().swap_remove(0).weights;
    assert_eq!(ended, projected(&ended, pattern("2:4")));
}

/// Without a loss, off the mask w' = q w + (1 − q) T and T' = −c (w' − T) from round to round, q = (1 + κ/interval)^−interval,
/// whose terms fall at least as fast as e^{−κ/2}; kept weights stay.
#[test]
fn weights_without_a_loss_are_pulled_by_the_recursion() {
    let Some(gpu) = open() else { return };
    const INTERVAL: u32 = 8;
    let network = Mlp::new(&[32, 12, 8], Activation::Relu, Loss::Squared).unwrap();
    for (text, kappa) in [("2:4", 1.0), ("1:8", 1.0), ("2:4", 2.0)] {
        let w = network.parameters(&gpu, Initial::Torch, 3).unwrap();
        let gradient = gpu.zeros(w.shape(), StorageType::F32).unwrap();
        let config =
            NmConfig { penalty: Penalty::Pull { kappa }, interval: INTERVAL, updates: 12, leak: 0.5 };
        let nm = NmAdmm::new(&gpu, &config, network.slab(), &w, &[(0, pattern(text))]).unwrap();
        let adam = FirstOrder::new(&gpu, &FirstOrderConfig::pytorch(Method::Adam), &w).unwrap();
        let mut plan = PlanBuilder::new(&gpu, "open");
        nm.start(&mut plan).unwrap();
        plan.finish().unwrap().run().unwrap();
        let mut plan = PlanBuilder::new(&gpu, "round");
        (0..INTERVAL).for_each(|_| adam.record_sparse(&mut plan, &gradient, &[Some(nm.penalty())]).unwrap());
        nm.update(&mut plan, &adam).unwrap();
        let plan = plan.finish().unwrap();
        let read = || gpu.read(&network.slab().part(&w, 0, 0).unwrap()).unwrap();
        let first = read();
        let kept = projected(&first, pattern(text));
        let norm = |values: &[f32]| {
            values
                .iter()
                .zip(&kept)
                .filter(|(_, kept)| **kept == 0.0)
                .map(|(w, _)| f64::from(*w).powi(2))
                .sum::<f64>()
                .sqrt()
        };
        let q = (1.0 + kappa / f64::from(INTERVAL)).powi(-(INTERVAL as i32));
        let (mut w_share, mut t_share) = (1.0, 0.0);
        for round in 1..=12 {
            plan.run().unwrap();
            let now = read();
            (w_share, t_share) = {
                let next: f64 = q * w_share + (1.0 - q) * t_share;
                (next, -0.5 * (next - t_share))
            };
            for (k, (now, first)) in now.iter().zip(&first).enumerate() {
                let expected = if kept[k] != 0.0 { f64::from(*first) } else { w_share * f64::from(*first) };
                // Three roundings a step, of values no larger than the first.
                let bound = 3.0 * f64::from(round * INTERVAL) * f64::from(f32::EPSILON) / 2.0
                    * f64::from(first.abs());
                assert!(
                    (f64::from(*now) - expected).abs() <= bound,
                    "{text}, round {round}: {now}, not {expected}"
                );
            }
            let bound = (-kappa * f64::from(round) / 2.0).exp() * norm(&first);
            assert!(norm(&now) <= bound, "{text}, κ = {kappa}, round {round}: {} > {bound}", norm(&now));
        }
    }
}

/// The paper's constants outside its setting: masks that flip at every update, and a warning that says so.
#[test]
fn the_papers_constants_raise_a_warning_where_they_fail() {
    let Some(gpu) = open() else { return };
    let images = Images::first(400);
    let start = dense(&gpu, &images);
    let settings =
        NmConfig { penalty: Penalty::Coupled { rho: Rho::Given(3e-3) }, interval: 20, updates: 6, leak: 1.0 };
    let sparse =
        SparseConfig { way: Way::Admm(settings), patterns: inner("1:8"), steps: 120, watch_every: 0 };
    let ended = run(&gpu, &adam(1e-4, 120, Some(sparse)), &images, &start, 120);
    let is_restless =
        |it: &&UpdateRecord| matches!(it.warnings[..], [Warning::RestlessMask(0, share), ..] if share > 0.05);
    assert_eq!(
        ended.updates.iter().filter(is_restless).map(|it| it.update).collect::<Vec<_>>(),
        [3, 4, 5, 6]
    );
    assert!(matches!(ended.updates[5].warnings[..], [_, Warning::FarFromPattern(0, _)]));
}

#[test]
fn every_way_repeats_bit_for_bit() {
    let Some(gpu) = open() else { return };
    let images = Images::first(150);
    let start = dense(&gpu, &images);
    let patterns = Patterns::Each(vec![Some(pattern("1:4")), Some(pattern("3:8"))]);
    let coupled =
        NmConfig { penalty: Penalty::Coupled { rho: Rho::Given(1e-2) }, interval: 3, updates: 4, leak: 1.0 };
    let decoupled = NmConfig { penalty: Penalty::Decoupled { rho: 100.0 }, ..coupled };
    let auto =
        NmConfig { penalty: Penalty::Coupled { rho: Rho::Auto { kappa: 1.0 } }, interval: 7, ..coupled };
    let ways = [
        SparseConfig::admm(patterns.clone(), 14, Some(2), |_| Ok(coupled)).unwrap(),
        SparseConfig::admm(patterns.clone(), 14, Some(2), |_| Ok(decoupled)).unwrap(),
        SparseConfig::admm(patterns.clone(), 30, Some(2), |_| Ok(auto)).unwrap(),
        SparseConfig::sr_ste(patterns.clone(), 12),
        SparseConfig::one_shot(patterns.clone(), 12),
        SparseConfig::masked(patterns.clone()),
    ];
    for sparse in ways {
        let steps = sparse.steps + 2;
        let config = TrainingConfig { evaluate_every: 5, ..adam(1e-3, steps, Some(sparse.clone())) };
        let [first, second] = [(); 2].map(|()| run(&gpu, &config, &images, &start, steps));
        assert_eq!(first.layers, second.layers, "{sparse:?}");
        assert_eq!((first.records, first.updates), (second.records, second.updates), "{sparse:?}");
        for (layer, text) in [(0, "1:4"), (1, "3:8")] {
            let weights = &first.layers[layer].weights;
            assert_eq!(*weights, projected(weights, pattern(text)), "{sparse:?}");
        }
    }
}

/// A look changes no bit, and sees what it says: one-shot and SR-STE are away from their pattern until they are put in it,
/// masked training never is; the layer is named.
#[test]
fn the_ways_without_updates_can_be_watched() {
    let Some(gpu) = open() else { return };
    let images = Images::first(150);
    let start = dense(&gpu, &images);
    let ways = [
        SparseConfig::one_shot(inner("1:4"), 12),
        SparseConfig::sr_ste(inner("1:4"), 12),
        SparseConfig::masked(inner("1:4")),
        SparseConfig::dense(inner("1:4")),
    ];
    for sparse in ways {
        let plain = run(&gpu, &adam(1e-3, 14, Some(sparse.clone())), &images, &start, 14);
        let watched = SparseConfig { watch_every: 4, ..sparse.clone() };
        let watched = run(&gpu, &adam(1e-3, 14, Some(watched)), &images, &start, 14);
        assert!(plain.updates.is_empty());
        assert_eq!((plain.layers, plain.records), (watched.layers, watched.records), "{sparse:?}");
        let seen: Vec<_> = watched.updates.iter().map(|it| (it.iteration, it.update)).collect();
        assert_eq!(seen, [(4, 1), (8, 2), (12, 3)], "{sparse:?}");
        for update in &watched.updates {
            let measure = update.measures.0[0];
            let is_away = sparse.steps > 0;
            assert_eq!(
                (measure.off > 0.05, measure.flips > 0.0),
                (is_away, is_away),
                "{sparse:?}: {measure:?}"
            );
            assert_eq!((update.layers.as_slice(), update.warnings.len()), (&[0][..], 0));
            // W − Z is what is off the mask, for Z is Π(W).
            assert_eq!(measure.primal, measure.off);
            let said = update.say(&Warning::FarFromPattern(0, measure.off));
            assert!(said.contains("the weights of layer 1 is off"), "{said}");
        }
    }
}

/// The mask of a look is Π(W)'s and so are the flips: as many as the weights of two looks tell.
#[test]
fn a_look_counts_the_flips_since_the_last() {
    let Some(gpu) = open() else { return };
    let images = Images::first(150);
    let start = dense(&gpu, &images);
    let sparse = SparseConfig { watch_every: 5, ..SparseConfig::sr_ste(inner("2:4"), 100) };
    let mut training =
        Training::from_layers(&gpu, &adam(5e-3, 100, Some(sparse)), &problem(&images), &start).unwrap();
    let mask = |layers: &[InitialLayer]| {
        let weights: Vec<f64> = layers[0].weights.iter().map(|w| f64::from(*w)).collect();
        literal::mask(&weights, 2, 4)
    };
    let mut before = mask(&start);
    for _ in 0..3 {
        training.run(5).unwrap();
        training.finish().unwrap();
        let now = mask(&training.layers().unwrap());
        let flips = now.iter().zip(&before).filter(|(a, b)| a != b).count();
        let seen = training.poll_updates().unwrap()[0].measures.0[0].flips;
        assert!(flips > 0 && (seen - flips as f64 / now.len() as f64).abs() < 1e-12, "{seen}, {flips} flips");
        before = now;
    }
}

/// Weights of dense layers and of convolutions become sparse in training on a graph as well.
#[test]
fn a_network_on_a_graph_ends_in_its_pattern() {
    let Some(gpu) = open() else { return };
    let (_folder, path) = graph_file::small().write();
    let graph = Graph::read(&path).unwrap();
    let [train, test] = graph.halves(Partition::Half { seed: 0 }, "small").unwrap();
    let problem = GraphProblem { graph: &graph, train: &train, test: &test };
    let hidden = vec![Layer::Dense(8), Layer::Convolution(8)];
    let patterns = Patterns::Each(vec![None, Some(pattern("2:4")), Some(pattern("1:2"))]);
    let penalty = Penalty::Coupled { rho: Rho::Auto { kappa: 1.0 } };
    let auto = NmConfig { penalty, interval: 10, updates: 8, leak: 0.5 };
    let ways = [
        SparseConfig::admm(patterns.clone(), 80, Some(0), NmConfig::for_steps).unwrap(),
        SparseConfig::admm(patterns.clone(), 80, Some(0), |_| Ok(auto)).unwrap(),
        SparseConfig::sr_ste(patterns.clone(), 80),
    ];
    for sparse in ways {
        let model = Model::Gcn { hidden: hidden.clone(), skips: true, dropout: 0.0 };
        let config = TrainingConfig { model, batch: None, ..adam(1e-2, 80, Some(sparse.clone())) };
        let mut training = Training::on_graph(&gpu, &config, &problem).unwrap();
        training.run(79).unwrap();
        assert!(training.is_before_pattern());
        let dense = training.layers().unwrap();
        training.run(1).unwrap();
        assert!(!training.is_before_pattern());
        let records = training.finish().unwrap();
        training.check().unwrap();
        let layers = training.layers().unwrap();
        for (layer, text) in [(1, "2:4"), (2, "1:2")] {
            let (weights, before) = (&layers[layer].weights, &dense[layer].weights);
            assert_eq!(*weights, projected(weights, pattern(text)), "{sparse:?}");
            assert_ne!(*before, projected(before, pattern(text)), "{sparse:?}");
        }
        assert!(layers[0].weights.iter().all(|w| *w != 0.0), "the first layer stays dense");
        assert!(records[0].projected.is_some());
        for update in training.poll_updates().unwrap() {
            assert_eq!(update.layers, [1, 2]);
            let chosen = sparse.way == Way::Admm(auto) && update.iteration >= 20;
            assert!(update.measures.0.iter().all(|it| (it.rho > 0.0) == chosen), "{update:?}");
        }
    }
    let three = Patterns::Each(vec![Some(pattern("1:2")), None, None]);
    let model = Model::Gcn { hidden, skips: true, dropout: 0.0 };
    let config = TrainingConfig { model, batch: None, ..adam(1e-2, 80, Some(SparseConfig::masked(three))) };
    let said = Training::on_graph(&gpu, &config, &problem).unwrap_err().to_string();
    assert!(said.contains("layer 1: a matrix of 8 × 3 cannot be 1:2"), "{said}");
}

/// T beside the weights, and a bit for the mask.
#[test]
fn a_sparse_parameter_costs_four_bytes() {
    let Some(gpu) = open() else { return };
    let network = Mlp::new(&[1024, 1024, 1024], Activation::Relu, Loss::Squared).unwrap();
    let w = network.parameters(&gpu, Initial::Torch, 0).unwrap();
    let config = NmConfig::for_steps(100).unwrap();
    let used = |parts: &[(usize, NmPattern)]| {
        let before = gpu.counters().memory.in_use;
        let nm = NmAdmm::new(&gpu, &config, network.slab(), &w, parts).unwrap();
        let used = gpu.counters().memory.in_use - before;
        drop(nm);
        used
    };
    let parts = [(0, pattern("2:4")), (2, pattern("2:4"))];
    let parameter = used(&parts) as f64 / 2.0 / 1024.0 / 1024.0;
    assert!((4.0..4.25).contains(&parameter), "{parameter} bytes");
}

#[test]
fn what_cannot_be_sparse_is_refused() {
    let Some(gpu) = open() else { return };
    let images = Images::first(20);
    let refusal =
        |config: TrainingConfig| Training::new(&gpu, &config, &problem(&images)).unwrap_err().to_string();
    let with = |patterns: Patterns| {
        let base = adam(1e-3, 10, Some(SparseConfig::masked(patterns)));
        TrainingConfig { model: Model::Mlp { hidden: vec![30, 12] }, ..base }
    };
    let said = refusal(with(inner("2:4")));
    assert!(
        said.contains("layer 2: a matrix of 12 × 30 cannot be 2:4") && said.contains("2 are left over"),
        "{said}"
    );
    let said = refusal(with(Patterns::Each(vec![Some(pattern("2:4"))])));
    assert!(said.contains("pattern = 2:4: must be one for all layers but the last"), "{said}");
    let said = refusal(with(Patterns::Each(vec![None; 3])));
    assert!(said.contains("leaves every layer dense"), "{said}");
    let linear = TrainingConfig { model: Model::Mlp { hidden: Vec::new() }, ..with(inner("2:4")) };
    assert!(refusal(linear).contains("leaves every layer dense"));
    let badm = Optimizer::Badm(BadmConfig::robust(2, 1e-3));
    let said = refusal(TrainingConfig {
        model: Model::Mlp { hidden: vec![32] },
        optimizer: badm,
        ..with(inner("2:4"))
    });
    assert!(said.contains("method = badm") && said.contains("first-order"), "{said}");
    let penalty = Penalty::Coupled { rho: Rho::Auto { kappa: 1.0 } };
    let auto = SparseConfig::admm(inner("1:2"), 50, None, |steps| {
        Ok(NmConfig { penalty, ..NmConfig::for_steps(steps)? })
    });
    let momentum = Optimizer::FirstOrder(FirstOrderConfig::pytorch(Method::Momentum));
    let said =
        refusal(TrainingConfig { optimizer: momentum, sparse: Some(auto.unwrap()), ..with(inner("1:2")) });
    assert!(said.contains("method = momentum") && said.contains("automatic rho"), "{said}");
    let start = [InitialLayer { weights: vec![0.0; 9], bias: vec![0.0; 3] }];
    let config = with(inner("1:2"));
    let said = Training::from_layers(&gpu, &config, &problem(&images), &start).unwrap_err().to_string();
    assert!(said.contains("1 layers for a network of widths [784, 30, 12, 10]"), "{said}");
    assert!(SparseConfig::admm(inner("2:4"), 100, Some(100), NmConfig::for_steps).is_err());
}

/// A fifth of the steps are masked ones where few updates are to leave few weights.
#[test]
fn hard_patterns_are_fine_tuned() {
    let paper = |text, steps| {
        SparseConfig::admm(inner(text), steps, None, |steps| NmConfig::paper(steps, 1e-3)).unwrap()
    };
    assert_eq!((paper("1:4", 1000).steps, paper("2:4", 1000).steps), (800, 1000));
    let pull = SparseConfig::admm(inner("1:8"), 1000, None, NmConfig::for_steps).unwrap();
    assert_eq!((pull.steps, pull.updates()), (1000, 40));
    let chosen = SparseConfig::admm(inner("1:8"), 1000, Some(100), NmConfig::for_steps).unwrap();
    assert_eq!((chosen.steps, chosen.updates()), (900, 40));
}
