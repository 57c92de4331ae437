//! Gradients of graph convolutional networks: against finite differences and a literal backward pass in float64, of
//! sub-batches against lists of their own, and good enough to learn from.

#[path = "support/differences.rs"]
mod differences;
#[path = "support/gpu.rs"]
mod gpu;

#[path = "support/literal_gcn.rs"]
mod literal;

use differences::differences;
use dualstep::Error;
use dualstep::data::SparseRows;
use dualstep::data::graph::Graph;
use dualstep::engine::{Gpu, GpuOptions, PlanBuilder, Shape, StorageType, Tensor};
use dualstep::kernels::batch::sub_batch_sizes;
use dualstep::kernels::reduce;
use dualstep::kernels::sparse::Sparse;
use dualstep::models::gcn::{Gcn, GcnConfig, GraphTensors, Layer, NodeList};
use dualstep::models::mlp::{Activation, Initial, OwnedInputs, Scores, SparseInputs};
use dualstep::solvers::badm::{Badm, BadmConfig, SubBatches};
use dualstep::solvers::first_order::{FirstOrder, FirstOrderConfig, Method};
use literal::Literal;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SEED: u32 = 11;

/// A random graph of so many nodes and edges: every node has about `dense` features that are not zero.
fn random(nodes: usize, edges: usize, features: usize, dense: usize, seed: u64) -> Literal {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut x = vec![0.0; nodes * features];
    for row in x.chunks_exact_mut(features) {
        for _ in 0..dense {
            row[rng.random_range(0..features)] = rng.random_range(-1.0f32..1.0);
        }
    }
    let labels = (0..nodes).map(|_| rng.random_range(0..3)).collect();
    let edges = (0..edges).map(|_| [rng.random_range(0..nodes), rng.random_range(0..nodes)]).collect();
    // Two of three nodes, in no order.
    let mut list: Vec<u32> = (0..nodes as u32).filter(|node| node % 3 != 1).collect();
    list.reverse();
    Literal { features, x, labels, edges, list }
}

/// The graph on the device.
struct OnDevice {
    graph: GraphTensors,
    list: NodeList,
}

/// How features are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stored {
    Dense,
    Sparse,
}

impl Stored {
    const BOTH: [Self; 2] = [Self::Dense, Self::Sparse];

    fn upload(self, gpu: &Gpu, literal: &Literal) -> Result<OwnedInputs, Error> {
        let features = literal.features as u32;
        if self == Self::Dense {
            let shape = Shape::new(literal.labels.len() as u32, features);
            return gpu.upload(shape, &literal.x).map(OwnedInputs::Dense);
        }
        let mut rows = SparseRows::default();
        for row in literal.x.chunks_exact(literal.features) {
            rows.push((0..).zip(row.iter().copied()).filter(|(_, value)| *value != 0.0));
        }
        SparseInputs::upload(gpu, features, &rows).map(OwnedInputs::Sparse)
    }
}

impl OnDevice {
    fn new(gpu: &Gpu, literal: &Literal, list: &[u32], classes: u32) -> Self {
        Self::stored(gpu, literal, list, classes, Stored::Dense)
    }

    fn stored(gpu: &Gpu, literal: &Literal, list: &[u32], classes: u32, stored: Stored) -> Self {
        let nodes = literal.labels.len() as u32;
        let features = stored.upload(gpu, literal).unwrap();
        let (mut starts, mut columns, mut values) = (vec![0], Vec::new(), Vec::new());
        for row in literal.adjacency() {
            columns.extend(row.iter().map(|entry| entry.0 as u32));
            values.extend(row.iter().map(|entry| entry.1 as f32));
            starts.push(columns.len() as u32);
        }
        let adjacency = Sparse::upload(gpu, nodes, &starts, &columns, &values).unwrap();
        Self {
            graph: GraphTensors::new(features, adjacency).unwrap(),
            list: NodeList::new(gpu, list, &literal.labels, classes).unwrap(),
        }
    }

    /// Gradients of `replays` passes with as many rows as sub-batches, those of the last by part: W_1, b_1, W_2 …
    fn gradients(
        &self,
        gpu: &Gpu,
        network: &Gcn,
        w: &Tensor,
        sub_batches: u32,
        replays: u32,
    ) -> Vec<Vec<Vec<f32>>> {
        let gradients = gpu.zeros(network.slab().shape(sub_batches), StorageType::F32).unwrap();
        let cursor = network.cursor(gpu, SEED).unwrap();
        let mut plan = PlanBuilder::new(gpu, "gradients");
        network.gradients(&mut plan, w, &self.graph, &self.list, &cursor, &gradients).unwrap();
        let plan = plan.finish().unwrap();
        (0..replays).for_each(|_| plan.run().unwrap());
        assert_eq!(gpu.read_u32(&cursor).unwrap(), [0, replays, SEED, replays]);
        let parts = network.slab().shapes().count();
        let read = |row, part| gpu.read(&network.slab().part(&gradients, row, part).unwrap()).unwrap();
        (0..sub_batches).map(|row| (0..parts).map(|part| read(row, part)).collect()).collect()
    }
}

/// W and b of each layer in turn.
fn parameters(gpu: &Gpu, network: &Gcn, w: &Tensor) -> Vec<Vec<f64>> {
    let parts = network.slab().shapes().count();
    let read = |part| gpu.read(&network.slab().part(w, 0, part).unwrap()).unwrap();
    (0..parts).map(|part| read(part).into_iter().map(f64::from).collect()).collect()
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|it| it * it).sum::<f64>().sqrt()
}

fn distance(actual: &[f32], expected: &[f64]) -> f64 {
    norm(actual.iter().zip(expected).map(|(a, e)| f64::from(*a) - e))
}

/// The networks that gradients are tested on: every order of layers that there is.
fn networks() -> Vec<Vec<Layer>> {
    use Layer::{Convolution, Dense};
    vec![
        vec![Convolution(3)],
        vec![Convolution(6), Convolution(3)],
        vec![Dense(6), Convolution(6), Convolution(6), Dense(5), Dense(3)],
        vec![Convolution(5), Dense(5), Convolution(5), Dense(3)],
    ]
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let literal = random(10, 13, 5, 4, 2);
    let [dense, sparse] =
        Stored::BOTH.map(|stored| OnDevice::stored(&gpu, &literal, &literal.list, 3, stored));
    for activation in Activation::KINDS {
        for (layers, (skips, dropout, device)) in networks().iter().flat_map(|it| {
            [(false, 0.0, &dense), (true, 0.0, &dense), (true, 0.3, &dense), (false, 0.3, &sparse)]
                .map(|how| (it, how))
        }) {
            let config = GcnConfig { layers: layers.clone(), activation, skips, dropout };
            let network = Gcn::new(5, &config).unwrap();
            let w = network.parameters(&gpu, Initial::Normal { deviation: 0.5 }, 9).unwrap();
            let start = parameters(&gpu, &network, &w);
            for sub_batches in [1, 3] {
                // The second replay, with the masks of its own.
                let rows = device.gradients(&gpu, &network, &w, sub_batches, 2);
                let mut first = 0;
                for (row, size) in rows.iter().zip(sub_batch_sizes(device.list.count(), sub_batches)) {
                    let places = first..first + size as usize;
                    first += size as usize;
                    let expected = differences(&start, |moved| {
                        literal.mean_loss(moved, &config, (SEED, 1), places.clone())
                    });
                    for (part, expected) in expected.iter().enumerate() {
                        // A gradient that is zero throughout, as dead units have, is met exactly but for rounding.
                        let error = distance(&row[part], expected) / norm(expected.iter().copied()).max(1e-3);
                        assert!(error < 1e-5, "{config:?}, nodes {places:?}, part {part}: {error:e}");
                    }
                }
            }
        }
    }
}

/// A sub-batch's row is what a list of its nodes alone gives, bit for bit: nothing of one gets into another.
#[test]
fn sub_batches_are_lists_of_their_own() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let literal = random(130, 300, 9, 6, 3);
    for layers in networks() {
        let config = GcnConfig { skips: true, ..GcnConfig::new(&layers) };
        let network = Gcn::new(9, &config).unwrap();
        assert!(!network.adds_features());
        let w = network.parameters(&gpu, Initial::Torch, 4).unwrap();
        for (sub_batches, stored) in [(4, Stored::Dense), (7, Stored::Dense), (7, Stored::Sparse)] {
            let all = OnDevice::stored(&gpu, &literal, &literal.list, 3, stored);
            let rows = all.gradients(&gpu, &network, &w, sub_batches, 1);
            let mut first = 0;
            for (row, size) in rows.iter().zip(sub_batch_sizes(all.list.count(), sub_batches)) {
                let part = &literal.list[first..first + size as usize];
                first += size as usize;
                let alone = OnDevice::stored(&gpu, &literal, part, 3, stored);
                let alone = alone.gradients(&gpu, &network, &w, 1, 1);
                assert_eq!(*row, alone[0], "{layers:?}, {size} nodes of {sub_batches}, {stored:?}");
            }
        }
    }
}

#[test]
fn masks_are_drawn_by_seed_and_replay() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let literal = random(20, 30, 5, 4, 5);
    let device = OnDevice::new(&gpu, &literal, &literal.list, 3);
    let layers = [Layer::Convolution(8), Layer::Convolution(3)];
    let network = Gcn::new(5, &GcnConfig { dropout: 0.5, ..GcnConfig::new(&layers) }).unwrap();
    let w = network.parameters(&gpu, Initial::Torch, 4).unwrap();
    let once = device.gradients(&gpu, &network, &w, 2, 1);
    assert_eq!(once, device.gradients(&gpu, &network, &w, 2, 1));
    assert_ne!(once, device.gradients(&gpu, &network, &w, 2, 2));
}

/// Two convolutions at the size of Cora, against a backward pass in float64.
#[test]
fn gradients_at_the_size_of_cora_are_right() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let literal = random(2708, 5278, 1433, 18, 6);
    let device = OnDevice::new(&gpu, &literal, &literal.list, 3);
    let layers = [Layer::Convolution(16), Layer::Convolution(3)];
    let config = GcnConfig { activation: Activation::Tanh, ..GcnConfig::new(&layers) };
    let network = Gcn::new(1433, &config).unwrap();
    let w = network.parameters(&gpu, Initial::Keras, 1).unwrap();
    let start = parameters(&gpu, &network, &w);
    let rows = device.gradients(&gpu, &network, &w, 2, 1);
    let mut first = 0;
    for (row, size) in rows.iter().zip(sub_batch_sizes(device.list.count(), 2)) {
        let places = first..first + size as usize;
        first += size as usize;
        let expected = literal.two_convolutions(&start, 16, 3, places);
        for (part, expected) in expected.iter().enumerate() {
            let allowed = f64::from(f32::EPSILON) * norm(expected.allowed.iter().copied());
            let error = distance(&row[part], &expected.value);
            assert!(error < allowed, "part {part}: {error:e} of {allowed:e}");
            let size = norm(expected.value.iter().copied());
            assert!(allowed < 0.05 * size, "part {part}: allowed {allowed:e} of {size:e} would test nothing");
        }
    }
}

/// A convolution that the loss is convex in, so that two runs of gradient descent whose gradients are each off by at most ε
/// from those at their own weights stay together: e' ≤ (1 + η L) e + 2 η ε, and a rounding of each weight.
struct Convex {
    /// Â |X| / (1 − p) at listed nodes: what no mask exceeds.
    mixed: Vec<Vec<f64>>,
    nodes: usize,
    longest_row: usize,
}

impl Convex {
    fn new(literal: &Literal, dropout: f64) -> Self {
        let adjacency = literal.adjacency();
        let row = |node: u32| {
            let at = |k: usize| {
                let term = |(other, value): &(usize, f64)| {
                    value * f64::from(literal.x[other * literal.features + k]).abs() / (1.0 - dropout)
                };
                adjacency[node as usize].iter().map(term).sum()
            };
            (0..literal.features).map(at).collect()
        };
        Self {
            mixed: literal.list.iter().map(|node| row(*node)).collect(),
            nodes: literal.labels.len(),
            longest_row: adjacency.iter().map(Vec::len).max().unwrap(),
        }
    }

    /// How far apart weights, none larger than `largest`, may be after so many steps of length `rate`, with three classes.
    fn apart(&self, largest: f64, rate: f64, steps: u32) -> f64 {
        let (epsilon, listed) = (f64::from(f32::EPSILON), self.mixed.len() as f64);
        let features = self.mixed[0].len();
        // A product over features, dropout's two, a mixture, the bias.
        let to_logits = (features + self.longest_row + 5) as f64;
        let logit = |row: &Vec<f64>| largest * (row.iter().sum::<f64>() + 1.0);
        // p is off by at most p times twice what a logit is, an exponential's 3 + 2 |z| and a quotient's few ULPs.
        let delta = |row: &Vec<f64>| ((2.0 * to_logits + 4.0) * logit(row) + 16.0) * epsilon / listed;
        // Sums over nodes, a mixture and dropout again, each of terms |δ| ≤ 1 / B.
        let to_gradient = (self.nodes + self.longest_row + 5) as f64 * epsilon / listed;
        let mut off = vec![0.0; features + 1];
        for row in &self.mixed {
            for (off, size) in off.iter_mut().zip(row.iter().chain([&1.0])) {
                *off += size * (delta(row) + to_gradient);
            }
        }
        let error = norm(off.into_iter()) * 3f64.sqrt();
        // The softmax Hessian reaches 1/2.
        let squares = self.mixed.iter().flatten().map(|value| value * value).sum::<f64>() + listed;
        let growth = 1.0 + rate * 0.5 * squares / listed;
        let rounding = 2.0 * epsilon * largest * (3.0 * (features + 1) as f64).sqrt();
        (0..steps).fold(0.0, |apart, _| growth * apart + 2.0 * rate * error + rounding)
    }
}

/// Steps with dropout end at the same weights however features are stored: the masks are the same, forward and backward.
#[test]
fn sparse_features_train_as_dense_ones() {
    const STEPS: u32 = 5;
    const RATE: f64 = 0.25;
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let literal = random(60, 90, 130, 3, 12);
    let config = GcnConfig { dropout: 0.5, ..GcnConfig::new(&[Layer::Convolution(3)]) };
    let network = Gcn::new(130, &config).unwrap();
    let run = |stored, seed| {
        let OnDevice { graph, list } = OnDevice::stored(&gpu, &literal, &literal.list, 3, stored);
        let w = network.parameters(&gpu, Initial::Torch, 4).unwrap();
        let start = parameters(&gpu, &network, &w).concat();
        let cursor = network.cursor(&gpu, seed).unwrap();
        let gradients = gpu.zeros(network.slab().shape(1), StorageType::F32).unwrap();
        let mut plan = PlanBuilder::new(&gpu, "step");
        network.gradients(&mut plan, &w, &graph, &list, &cursor, &gradients).unwrap();
        let sgd = FirstOrderConfig { learning_rate: RATE, ..FirstOrderConfig::pytorch(Method::Sgd) };
        FirstOrder::new(&gpu, &sgd, &w).unwrap().record(&mut plan, &gradients).unwrap();
        let plan = plan.finish().unwrap();
        (0..STEPS).for_each(|_| plan.run().unwrap());
        (start, parameters(&gpu, &network, &w).concat())
    };
    let apart = |a: &[f64], b: &[f64]| norm(a.iter().zip(b).map(|(a, b)| a - b));
    let (start, dense) = run(Stored::Dense, SEED);
    let (_, sparse) = run(Stored::Sparse, SEED);
    let (_, other_masks) = run(Stored::Sparse, SEED + 1);
    let largest = [&start, &dense, &sparse].into_iter().flatten().fold(0.0, |m: f64, w| m.max(w.abs()));
    // Between two steps no weight is larger than twice what it is before or after all.
    let allowed = Convex::new(&literal, 0.5).apart(2.0 * largest, RATE, STEPS);
    let off = apart(&dense, &sparse);
    assert!(off <= allowed, "{off:e} apart, {allowed:e} allowed");
    let moved = apart(&start, &dense);
    assert!(
        allowed < 1e-2 * moved.min(apart(&dense, &other_masks)),
        "{allowed:e} would test nothing: {moved:e}"
    );
}

/// Features that no binding would hold with their zeros, and the same gradients as with room for them.
#[test]
fn small_bindings_hold_sparse_features() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let options = GpuOptions { binding_limit: Some(32 << 10), ..GpuOptions::default() };
    let Some(small) = gpu::open(options) else { return };
    let literal = random(60, 90, 300, 3, 13);
    assert!(matches!(Stored::Dense.upload(&small, &literal), Err(Error::Limit { .. })));
    let layers = [Layer::Dense(8), Layer::Convolution(8), Layer::Dense(3)];
    let network = Gcn::new(300, &GcnConfig { dropout: 0.3, ..GcnConfig::new(&layers) }).unwrap();
    let rows = |gpu: &Gpu| {
        let w = network.parameters(gpu, Initial::Torch, 4).unwrap();
        let device = OnDevice::stored(gpu, &literal, &literal.list, 3, Stored::Sparse);
        device.gradients(gpu, &network, &w, 2, 2)
    };
    assert_eq!(rows(&small), rows(&gpu));
}

/// Three groups, more edges within than between, and features that say little: neighbours tell.
fn planted() -> Literal {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let labels: Vec<u32> = (0..150).map(|node| node % 3).collect();
    let mut x = Vec::new();
    for label in &labels {
        x.extend((0..6).map(|k| rng.random_range(-1.0f32..1.0) + if k == *label { 0.4 } else { 0.0 }));
    }
    let mut edges = Vec::new();
    for a in 0..150 {
        for b in 0..a {
            let chance = if labels[a] == labels[b] { 0.16 } else { 0.01 };
            if rng.random_bool(chance) {
                edges.push([a, b]);
            }
        }
    }
    Literal { features: 6, x, labels, edges, list: (0..150).filter(|node| node % 2 == 0).collect() }
}

/// (Cost, accuracy) of a plan's scores.
fn means(gpu: &Gpu, plan: &mut PlanBuilder, scores: &Scores) -> Tensor {
    let totals = gpu.zeros(Shape::new(1, 4), StorageType::F32).unwrap();
    let status = gpu.zeros(Shape::vector(4), StorageType::U32).unwrap();
    let (partials, count) = (&scores.partials, scores.count);
    let args = reduce::Totals { partials, count, totals: &totals, slot: 0, status: &status, origin: 1 };
    reduce::totals(plan, args).unwrap();
    totals
}

#[test]
fn planted_groups_are_learnt_by_adam_and_badm() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let literal = planted();
    let others: Vec<u32> = (0..150).filter(|node| node % 2 == 1).collect();
    let OnDevice { graph, list: train } = OnDevice::new(&gpu, &literal, &literal.list, 3);
    let test = NodeList::new(&gpu, &others, &literal.labels, 3).unwrap();
    let layers = [Layer::Dense(16), Layer::Convolution(16), Layer::Convolution(16), Layer::Dense(3)];
    for (sub_batches, dropout) in [(1, 0.0), (4, 0.2)] {
        let network = Gcn::new(6, &GcnConfig { skips: true, dropout, ..GcnConfig::new(&layers) }).unwrap();
        let w = network.parameters(&gpu, Initial::Torch, 0).unwrap();
        let cursor = network.cursor(&gpu, 1).unwrap();
        let gradients = gpu.zeros(network.slab().shape(sub_batches), StorageType::F32).unwrap();
        let mut plan = PlanBuilder::new(&gpu, "step");
        network.gradients(&mut plan, &w, &graph, &train, &cursor, &gradients).unwrap();
        if sub_batches == 1 {
            let config = FirstOrderConfig { learning_rate: 1e-2, ..FirstOrderConfig::pytorch(Method::Adam) };
            FirstOrder::new(&gpu, &config, &w).unwrap().record(&mut plan, &gradients).unwrap();
        } else {
            let badm = Badm::new(&gpu, &BadmConfig::robust(sub_batches, 1e-2), &w).unwrap();
            badm.record(&mut plan, &SubBatches::even(&gradients)).unwrap();
        }
        let plan = plan.finish().unwrap();
        let mut judged = PlanBuilder::new(&gpu, "scores");
        let [learnt, seen] = [&train, &test].map(|nodes| {
            let scores = network.scores(&mut judged, &w, &graph, nodes).unwrap();
            means(&gpu, &mut judged, &scores)
        });
        let judged = judged.finish().unwrap();
        let read = |totals: &Tensor| {
            judged.run().unwrap();
            let totals = gpu.read(totals).unwrap();
            (totals[0] / 75.0, totals[1] / 75.0)
        };
        let (before, _) = read(&learnt);
        assert!((before - 3f32.ln()).abs() < 0.3, "an untrained network knows nothing: {before}");
        let waits = gpu.counters().host_waits;
        (0..80).for_each(|_| plan.run().unwrap());
        assert_eq!(gpu.counters().host_waits, waits, "steps never wait");
        let (learnt, seen) = (read(&learnt), read(&seen));
        assert!(learnt.0 < 0.2 && seen.1 > 0.9, "{sub_batches} sub-batches: {learnt:?}, {seen:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let refused = |layers: &[Layer], dropout| {
        let config = GcnConfig { dropout, ..GcnConfig::new(layers) };
        Gcn::new(5, &config).err().map(|error| error.to_string())
    };
    let convolution = [Layer::Convolution(3)];
    assert!(refused(&convolution, 0.0).is_none());
    assert!(refused(&[Layer::Dense(3)], 0.0).unwrap().contains("at least one must be a convolution"));
    assert!(refused(&[Layer::Convolution(0)], 0.0).unwrap().contains("widths"));
    for dropout in [1.0, -0.1, f32::NAN] {
        assert!(refused(&convolution, dropout).unwrap().contains("dropout"), "{dropout}");
    }
    let list = |nodes: &[u32]| match NodeList::new(&gpu, nodes, &[0, 1, 255, 2], 3) {
        Ok(list) => list.count().to_string(),
        Err(error) => error.to_string(),
    };
    for (nodes, part) in [
        (&[3, 0][..], "2"),
        (&[], "no nodes"),
        (&[4], "node 4, but there are 4"),
        (&[0, 2], "node 2 has label 255"),
        (&[1, 0, 1], "node 1 twice"),
    ] {
        assert!(list(nodes).contains(part), "{nodes:?}: {}", list(nodes));
    }
    let upload =
        |starts: &[u32], indices: &[u32]| Sparse::upload(&gpu, 2, starts, indices, &[1.0; 2]).is_ok();
    assert!(upload(&[0, 0, 2], &[1, 0]));
    for (starts, indices) in [
        (&[0, 1][..], &[1, 0][..]),
        (&[1, 2], &[1, 0]),
        (&[0, 2, 1, 2], &[1, 0]),
        (&[], &[1, 0]),
        (&[0, 2], &[1, 2]),
        (&[0, 1], &[1]),
    ] {
        assert!(!upload(starts, indices), "{starts:?}, {indices:?}");
    }
    // A stack has whole matrices, and a list is of the graph's own nodes.
    let literal = random(10, 5, 5, 4, 1);
    let OnDevice { graph, list } = OnDevice::new(&gpu, &literal, &literal.list, 3);
    let network = Gcn::new(5, &GcnConfig::new(&convolution)).unwrap();
    let w = network.parameters(&gpu, Initial::Torch, 0).unwrap();
    let cursor = network.cursor(&gpu, 0).unwrap();
    let record = |list: &NodeList, rows| {
        let gradients = gpu.zeros(network.slab().shape(rows), StorageType::F32).unwrap();
        let mut plan = PlanBuilder::new(&gpu, "refused");
        network.gradients(&mut plan, &w, &graph, list, &cursor, &gradients).map(|_| ())
    };
    assert!(record(&list, list.count()).is_ok());
    let more = record(&list, list.count() + 1).unwrap_err().to_string();
    assert!(more.contains("cannot be cut into"), "{more}");
    let other = NodeList::new(&gpu, &[0], &[0, 1], 3).unwrap();
    assert!(matches!(record(&other, 1), Err(Error::Samples { .. })));
    let narrow = gpu.zeros(Shape::new(9, 5), StorageType::F32).unwrap();
    let two = Sparse::upload(&gpu, 2, &[0, 1, 2], &[0, 1], &[1.0; 2]).unwrap();
    assert!(matches!(GraphTensors::new(narrow, two), Err(Error::Samples { .. })));
    // What a skip adds has all its elements.
    let network =
        Gcn::new(5, &GcnConfig { skips: true, ..GcnConfig::new(&[Layer::Convolution(5); 2]) }).unwrap();
    assert!(network.adds_features());
    let w = network.parameters(&gpu, Initial::Torch, 0).unwrap();
    for stored in Stored::BOTH {
        let OnDevice { graph, list } = OnDevice::stored(&gpu, &literal, &literal.list, 5, stored);
        let mut plan = PlanBuilder::new(&gpu, "skip");
        let recorded = network.scores(&mut plan, &w, &graph, &list).map(|_| ());
        match stored {
            Stored::Dense => recorded.unwrap(),
            Stored::Sparse => assert!(recorded.unwrap_err().to_string().contains("upload them dense")),
        }
    }
}

/// A graph's own upload gives what its lists say.
#[test]
fn a_graph_that_was_read_is_uploaded_whole() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("three.safetensors");
    use safetensors::tensor::{Dtype, TensorView, serialize};
    let metadata = [("nodes", "3"), ("features", "2"), ("classes", "2")];
    let metadata = metadata.map(|(key, value)| (key.to_string(), value.to_string())).into();
    let tensor =
        |shape: &[usize], bytes: &'static [u8]| TensorView::new(Dtype::U8, shape.to_vec(), bytes).unwrap();
    let tensors = [
        ("feature_indptr", tensor(&[4], &[0, 1, 2, 3])),
        ("feature_indices", tensor(&[3], &[0, 1, 0])),
        ("edges", tensor(&[1, 2], &[0, 2])),
        ("labels", tensor(&[3], &[0, 1, 1])),
    ];
    std::fs::write(&path, serialize(tensors, Some(metadata)).unwrap()).unwrap();
    let graph = Graph::read(&path).unwrap();
    let tensors = GraphTensors::upload(&gpu, &graph).unwrap();
    let nodes = NodeList::new(&gpu, &[0, 1, 2], graph.labels(), 2).unwrap();
    let network = Gcn::new(2, &GcnConfig::new(&[Layer::Convolution(2)])).unwrap();
    let w = gpu.zeros(network.slab().shape(1), StorageType::F32).unwrap();
    gpu.write(&network.slab().part(&w, 0, 0).unwrap(), &[1.0f32, 0.0, 0.0, 1.0]).unwrap();
    let mut plan = PlanBuilder::new(&gpu, "scores");
    let scores = network.scores(&mut plan, &w, &tensors, &nodes).unwrap();
    let totals = means(&gpu, &mut plan, &scores);
    plan.finish().unwrap().run().unwrap();
    // Nodes 0 and 2 are neighbours with features (1, 0): logits (1, 0) each; node 1 is alone with (0, 1).
    let right = (1.0 + (-1f64).exp()).ln();
    let expected = 2.0 * right + (1.0 + 1f64.exp()).ln();
    let found = gpu.read(&totals).unwrap();
    assert!((f64::from(found[0]) - expected).abs() < 1e-5 && found[1] == 2.0, "{found:?}, {expected}");
}
