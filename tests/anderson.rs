//! Anderson acceleration on the device: what it gains, what it refuses, and what it never changes.
//!
//! Maps are made of the crate's own kernels: x ↦ max(x W + c, 0), or the same without the maximum. What a sweep should
//! have done is computed by a literal transcription in f64 of the algorithm's definition, which also carries the
//! largest distance that rounding can have put between the two.

#[path = "support/literal_anderson.rs"]
mod literal;

#[path = "support/gpu.rs"]
mod gpu;

use std::slice;

use dualstep::Error;
use dualstep::engine::{Batch, Gpu, GpuOptions, Plan, PlanBuilder, Shape, StorageType, Tensor};
use dualstep::kernels::anderson::GRAM_LENGTH;
use dualstep::kernels::linalg::{self, Transposed};
use dualstep::kernels::{Activation, elementwise, reduce};
use dualstep::solvers::anderson::{Anderson, AndersonConfig, Cost, FixedPoint, HistoryStorage, Mode, Tally};
use dualstep::verify::{self, Effort};
use literal::{Literal, Maths};

fn open() -> Option<Gpu> {
    gpu::open(GpuOptions::default())
}

#[test]
fn long_grids_are_folded() {
    let Some(gpu) = gpu::open(GpuOptions { group_limit: Some(20), ..Default::default() }) else { return };
    let is_ours = |name: &str| name.starts_with("anderson/");
    let rows = verify::run(&gpu, Effort::Full, is_ours, |_| {}).expect("the device is there");
    assert!(rows.iter().all(|row| row.passed()), "{rows:?}");
}

/// A map on the device, over the rows of one tensor.
struct Map {
    x: Tensor,
    weights: Tensor,
    shift: Tensor,
    /// A step of one.
    one: Tensor,
    is_rectified: bool,
}

impl Map {
    fn new(gpu: &Gpu, maths: &Maths) -> Self {
        let upload = |shape: Shape, values: &[f64]| {
            let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
            gpu.upload(shape, &values).expect("fits")
        };
        let width = maths.width as u32;
        let rows = (maths.start.len() / maths.width) as u32;
        let shift: Vec<f64> = (0..rows).flat_map(|_| maths.shift.iter().copied()).collect();
        Self {
            x: upload(Shape::new(rows, width), &maths.start),
            weights: upload(Shape::new(width, width), &maths.weights),
            shift: match maths.is_rectified {
                true => upload(Shape::vector(width), &maths.shift),
                false => upload(Shape::new(rows, width), &shift),
            },
            one: gpu.upload(Shape::vector(4), &[1.0, 0.0, 0.0, 0.0]).expect("fits"),
            is_rectified: maths.is_rectified,
        }
    }

    /// g(x) into another tensor.
    fn image(&self, plan: &mut PlanBuilder, into: &Tensor) -> Result<(), Error> {
        let (x, weights) = ((&self.x, Transposed::No), (&self.weights, Transposed::No));
        if self.is_rectified {
            let product = plan.temporary(self.x.shape());
            linalg::matmul(plan, x, weights, &product)?;
            return elementwise::activate(plan, &product, &self.shift, into, Activation::Relu);
        }
        elementwise::copy(plan, &self.shift, into)?;
        linalg::matmul_add(plan, x, weights, into)
    }

    /// x becomes g(x).
    fn sweep(&self, plan: &mut PlanBuilder) -> Result<(), Error> {
        let image = plan.temporary(self.x.shape());
        self.image(plan, &image)?;
        elementwise::copy(plan, &image, &self.x)
    }

    /// ‖g(x) − x‖².
    fn merit(&self, plan: &mut PlanBuilder, into: &Tensor) -> Result<(), Error> {
        let moved = plan.temporary(self.x.shape());
        self.image(plan, &moved)?;
        elementwise::descend(plan, &self.x, &self.one, 0, &moved)?;
        reduce::dot(plan, &moved, &moved, into, 0)
    }

    fn accelerated(&self, gpu: &Gpu, config: &AndersonConfig) -> FixedPoint {
        let state = slice::from_ref(&self.x);
        FixedPoint::new(gpu, config, state, |plan| self.sweep(plan), |plan, into| self.merit(plan, into))
            .expect("records")
    }

    fn read(&self, gpu: &Gpu) -> Vec<f64> {
        gpu.read(&self.x).expect("reads back").iter().map(|value| f64::from(*value)).collect()
    }
}

fn norm(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(|value| value * value).sum::<f64>().sqrt()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    norm(a.iter().zip(b).map(|(a, b)| a - b))
}

fn tally(gpu: &Gpu, map: &FixedPoint) -> Tally {
    map.anderson().tally(gpu).expect("reads back")
}

/// Bits of a tensor, padding included.
fn bits(gpu: &Gpu, tensor: &Tensor) -> Vec<u8> {
    gpu.read_bytes(tensor).expect("reads back")
}

#[test]
fn an_error_of_low_rank_is_gone_in_rank_and_two_sweeps() {
    let Some(gpu) = open() else { return };
    let rank = 3;
    let (maths, solution) = Maths::of_rank(1000, &[0.8, 0.1, -0.7]);
    let map = Map::new(&gpu, &maths);
    let config = AndersonConfig { start: rank, period: 1, ..AndersonConfig::default() };
    let accelerated = map.accelerated(&gpu, &config);
    let waits = gpu.counters().host_waits;
    accelerated.run(rank + 2).expect("submits");
    assert_eq!(gpu.counters().host_waits, waits, "nothing waits for the host");
    let error = distance(&map.read(&gpu), &solution) / norm(solution.iter().copied());
    let plain = distance(&maths.iterated(rank as usize + 2), &solution) / norm(solution.iter().copied());
    assert!(error < 1e-5, "{error:e}, {:?}", tally(&gpu, &accelerated));
    assert!(plain > 1e-2, "the map alone is at {plain:e}");
}

/// Sweep by sweep, as long as the literal transcription can tell what rounding may have done.
fn follows_the_definition(gpu: &Gpu, maths: &Maths, config: AndersonConfig, least: u32) {
    let map = Map::new(gpu, maths);
    let accelerated = map.accelerated(gpu, &config);
    let unit = match config.history {
        HistoryStorage::F32 => 0.0,
        HistoryStorage::Bf16 => 1.0 / 256.0,
    };
    let mut literal = Literal::new(maths, config.memory as usize, config.regularisation.into(), unit);
    let mut compared = 0;
    for sweep in 0..30 {
        let tries = literal.sweep(config.is_due(sweep));
        if !literal.is_certain() {
            break;
        }
        accelerated.run(1).expect("submits");
        let error = distance(&map.read(gpu), literal.x());
        let seen = tally(gpu, &accelerated);
        assert!(
            error <= literal.allowed(),
            "sweep {sweep}: {error:e} off, {:e} allowed\n{seen:?}",
            literal.allowed()
        );
        assert_eq!((seen.tries, seen.accepts), (literal.tries, literal.accepts), "sweep {sweep}");
        assert_eq!(seen.step, literal.step as f32, "sweep {sweep}");
        compared += u32::from(tries);
    }
    let size = norm(literal.x().iter().copied());
    assert!(
        compared >= least,
        "{compared} candidates compared, the last with {:e}",
        literal.allowed() / size
    );
}

#[test]
fn every_step_is_the_one_that_is_defined() {
    let Some(gpu) = open() else { return };
    for (seed, is_rectified) in [(1, true), (2, true), (3, false)] {
        let maths = Maths::random(6, 7, -0.8..0.8, is_rectified, seed);
        follows_the_definition(&gpu, &maths, AndersonConfig { memory: 2, start: 1, ..Default::default() }, 2);
        follows_the_definition(&gpu, &maths, AndersonConfig::default(), 1);
    }
}

#[test]
fn a_history_of_bf16_steps_within_its_digits() {
    let Some(gpu) = open() else { return };
    let config = AndersonConfig { memory: 2, start: 1, history: HistoryStorage::Bf16, ..Default::default() };
    follows_the_definition(&gpu, &Maths::random(6, 7, -0.8..0.8, true, 1), config, 1);
}

#[test]
fn a_history_of_bf16_gains_too() {
    let Some(gpu) = open() else { return };
    let (maths, solution) = Maths::of_rank(100, &[0.95, -0.6, 0.4]);
    let map = Map::new(&gpu, &maths);
    let config = AndersonConfig { history: HistoryStorage::Bf16, ..AndersonConfig::default() };
    map.accelerated(&gpu, &config).run(20).expect("submits");
    let plain = distance(&maths.iterated(20), &solution);
    let error = distance(&map.read(&gpu), &solution);
    assert!(error < plain / 100.0, "{error:e} against {plain:e} of the map alone");
}

/// Merits after every iteration, read late.
fn merits(gpu: &Gpu, map: &Map, config: &AndersonConfig, iterations: usize) -> (Vec<f32>, Tally) {
    let accelerated = map.accelerated(gpu, config);
    let merit = gpu.zeros(Shape::vector(4), StorageType::F32).expect("fits");
    let mut plan = PlanBuilder::new(gpu, "merit");
    map.merit(&mut plan, &merit).expect("records");
    let plan = plan.finish().expect("resolves");
    let mut found = Vec::new();
    for _ in 0..iterations {
        accelerated.run(1).expect("submits");
        plan.run().expect("submits");
        found.push(gpu.read(&merit).expect("reads back")[0]);
    }
    let tally = tally(gpu, &accelerated);
    (found, tally)
}

#[test]
fn a_misleading_map_never_raises_the_merit() {
    let Some(gpu) = open() else { return };
    // Where the maximum takes hold changes on the way, so that differences from before mislead, and long steps
    // overshoot. Sweeps of their own never raise the merit, as the map contracts.
    for mode in [Mode::Anderson, Mode::Extrapolate] {
        let mut rejects = 0;
        for seed in 0..4 {
            let map = Map::new(&gpu, &Maths::random(5, 9, 0.1..0.98, true, 10 + seed));
            let config = AndersonConfig { mode, period: 1, ..AndersonConfig::default() };
            let (merits, tally) = merits(&gpu, &map, &config, 40);
            // A sweep contracts by 0.98, far more than the rounding of a merit, until the merit itself is rounding.
            let floor = 1e-9 * merits[0];
            let rise = merits.windows(2).find(|pair| pair[1] > pair[0] && pair[1] > floor);
            assert!(rise.is_none(), "{mode:?}, seed {seed}: {rise:?} in {merits:?}");
            assert_eq!(tally.tries, tally.accepts + tally.rejects_by_merit + tally.rejects_not_finite);
            assert!(tally.accepts > 0, "{mode:?}, seed {seed}: {tally:?}");
            rejects += tally.rejects_by_merit;
        }
        assert!(rejects > 0, "{mode:?}: nothing misled");
    }
}

#[test]
fn extrapolation_gains() {
    let Some(gpu) = open() else { return };
    let (maths, solution) = Maths::of_rank(300, &[0.97, 0.9]);
    let map = Map::new(&gpu, &maths);
    let config = AndersonConfig { mode: Mode::Extrapolate, ..AndersonConfig::default() };
    let accelerated = map.accelerated(&gpu, &config);
    accelerated.run(40).expect("submits");
    let (error, plain) = (distance(&map.read(&gpu), &solution), distance(&maths.iterated(40), &solution));
    let seen = tally(&gpu, &accelerated);
    assert!(error < plain / 10.0, "{error:e} against {plain:e} of the map alone: {seen:?}");
    assert_eq!(seen.tries, 39, "after every sweep but the first");
}

/// What dependants become for a candidate, whether there is one or not.
const FOR_A_CANDIDATE: f32 = 9.0;

/// An iteration whose candidate is judged by two given merits, with copies of what stood there before and after `mix`.
struct Trial {
    map: Map,
    anderson: Anderson,
    plan: Plan,
    merits: Tensor,
    image: Tensor,
    candidate: Tensor,
    dependant: Tensor,
    dependant_image: Tensor,
}

impl Trial {
    fn new(gpu: &Gpu, config: &AndersonConfig) -> Self {
        let map = Map::new(gpu, &Maths::random(6, 7, 0.1..0.9, true, 5));
        let zeros = || gpu.zeros(map.x.shape(), StorageType::F32).expect("fits");
        let (image, candidate, dependant, dependant_image) = (zeros(), zeros(), zeros(), zeros());
        let merits = gpu.upload(Shape::vector(4), &[0.0; 4]).expect("fits");
        let state = slice::from_ref(&map.x);
        let anderson = Anderson::new(gpu, config, state, slice::from_ref(&dependant)).expect("fits");
        let mut plan = PlanBuilder::new(gpu, "trial");
        let record = |plan: &mut PlanBuilder| -> Result<(), Error> {
            anderson.before(plan)?;
            map.sweep(plan)?;
            // What follows from the state: here its image.
            map.image(plan, &dependant)?;
            anderson.push(plan)?;
            anderson.solve(plan)?;
            elementwise::copy(plan, &map.x, &image)?;
            elementwise::copy(plan, &dependant, &dependant_image)?;
            anderson.mix(plan)?;
            elementwise::fill(plan, &dependant, FOR_A_CANDIDATE)?;
            elementwise::copy(plan, &map.x, &candidate)?;
            anderson.judge(plan, (&merits, 0), (&merits, 2))?;
            anderson.restore(plan)
        };
        record(&mut plan).expect("records");
        let plan = plan.finish().expect("resolves");
        Self { map, anderson, plan, merits, image, candidate, dependant, dependant_image }
    }

    fn run(&self, gpu: &Gpu, before: f32, after: f32, iterations: u32) -> Tally {
        gpu.write(&self.merits, &[before, 0.0, after, 0.0]).expect("fits");
        let mut batch = Batch::new(gpu);
        batch.replay(&self.plan, iterations).expect("records");
        batch.submit().expect("submits");
        self.anderson.tally(gpu).expect("reads back")
    }

    /// Whether state and dependant are what the sweep left, bit for bit; and the candidate something else.
    fn assert_restored(&self, gpu: &Gpu) {
        assert_ne!(bits(gpu, &self.candidate), bits(gpu, &self.image), "there was a candidate");
        assert_eq!(bits(gpu, &self.map.x), bits(gpu, &self.image), "state");
        assert_eq!(bits(gpu, &self.dependant), bits(gpu, &self.dependant_image), "dependant");
    }
}

#[test]
fn a_rejected_candidate_leaves_no_trace() {
    let Some(gpu) = open() else { return };
    for mode in [Mode::Anderson, Mode::Extrapolate] {
        let config = AndersonConfig { mode, period: 1, ..AndersonConfig::default() };
        let (first, least) = if mode == Mode::Anderson { (1.0, 0.25) } else { (0.5, 0.1) };
        let trial = Trial::new(&gpu, &config);
        let seen = trial.run(&gpu, 1.0, 2.0, 4);
        trial.assert_restored(&gpu);
        let tries = if mode == Mode::Anderson { 1 } else { 3 };
        assert_eq!((seen.tries, seen.rejects_by_merit, seen.accepts), (tries, tries, 0), "{mode:?}");
        assert!(seen.tried && seen.rejected && seen.step < first, "{seen:?}");
        let seen = trial.run(&gpu, 1.0, 2.0, 5);
        assert_eq!(seen.step, least, "{mode:?}");
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let before = trial.anderson.tally(&gpu).expect("reads back").rejects_not_finite;
            let seen = trial.run(&gpu, 1.0, odd, 1);
            trial.assert_restored(&gpu);
            assert_eq!(seen.rejects_not_finite, before + 1, "{odd}");
        }
        let seen = trial.run(&gpu, f32::NAN, 1.0, 1);
        trial.assert_restored(&gpu);
        assert_eq!(seen.rejects_not_finite, 4, "nothing is better than NaN");
    }
}

#[test]
fn a_kept_candidate_stays_and_lengthens_the_step() {
    let Some(gpu) = open() else { return };
    for (mode, longest) in [(Mode::Anderson, 16.0), (Mode::Extrapolate, 4.0)] {
        let config = AndersonConfig { mode, period: 1, ..AndersonConfig::default() };
        let trial = Trial::new(&gpu, &config);
        let seen = trial.run(&gpu, 1.0, 1.0, 5);
        assert_eq!(bits(&gpu, &trial.map.x), bits(&gpu, &trial.candidate), "{mode:?}");
        assert!(seen.accepts > 0 && seen.rejects_by_merit == 0 && !seen.rejected, "{seen:?}");
        assert_eq!(seen.step, seen.last_step * if mode == Mode::Anderson { 1.5 } else { 1.2 });
        assert_eq!(trial.run(&gpu, 1.0, 1.0, 12).step, longest);
    }
}

#[test]
fn sweeps_without_a_candidate_are_left_alone() {
    let Some(gpu) = open() else { return };
    // Due after sweeps 3, 5, 7 …, counted from 0.
    let trial = Trial::new(&gpu, &AndersonConfig::default());
    for sweep in 0..8 {
        let seen = trial.run(&gpu, 1.0, 1.0, 1);
        let is_due = sweep >= 3 && sweep % 2 == 1;
        assert_eq!(trial.anderson.config().is_due(sweep), is_due);
        assert_eq!((seen.tried, seen.sweeps), (is_due, sweep + 1), "sweep {sweep}");
        let is_image = bits(&gpu, &trial.map.x) == bits(&gpu, &trial.image);
        assert_eq!(is_image, !is_due, "sweep {sweep}");
        let is_kept = bits(&gpu, &trial.dependant) == bits(&gpu, &trial.dependant_image);
        assert_eq!(is_kept, !is_due, "dependant, sweep {sweep}");
        assert_eq!(seen.columns, sweep.min(4), "sweep {sweep}");
    }
}

#[test]
fn the_same_start_gives_the_same_bits() {
    let Some(gpu) = open() else { return };
    for mode in [Mode::Anderson, Mode::Extrapolate] {
        let run = || {
            let map = Map::new(&gpu, &Maths::random(40, 33, 0.1..0.95, true, 3));
            let config = AndersonConfig { mode, ..AndersonConfig::default() };
            let accelerated = map.accelerated(&gpu, &config);
            accelerated.run(15).expect("submits");
            (bits(&gpu, &map.x), bits(&gpu, accelerated.anderson().ledger()))
        };
        assert_eq!(run(), run(), "{mode:?}");
    }
}

#[test]
fn a_state_in_portions_and_in_parts_converges_alike() {
    // 4 × 2 planes of 16 rows of 8 values take 4 KiB: 80 rows are cut into five portions.
    let Some(whole) = open() else { return };
    let Some(small) = gpu::open(GpuOptions { binding_limit: Some(4096), ..Default::default() }) else {
        return;
    };
    let maths = Maths::random(80, 8, 0.1..0.9, true, 7);
    let run = |gpu: &Gpu| {
        let map = Map::new(gpu, &maths);
        let accelerated = map.accelerated(gpu, &AndersonConfig::default());
        accelerated.run(20).expect("submits");
        let pushes = accelerated.plan().operations().filter(|op| op.kernel == "anderson/columns").count();
        (map.read(gpu), pushes)
    };
    let ((a, one), (b, five)) = (run(&whole), run(&small));
    assert_eq!((one, five), (1, 5));
    let plain = distance(&maths.iterated(20), &maths.iterated(400));
    for (name, x) in [("whole", &a), ("in portions", &b)] {
        let error = distance(x, &maths.iterated(400));
        assert!(error < plain / 10.0, "{name}: {error:e} against {plain:e}");
    }
    let long = small.zeros(Shape::vector(256), StorageType::F32).expect("fits");
    let error =
        Anderson::new(&small, &AndersonConfig::default(), &[long], &[]).expect_err("one row of 8 KiB");
    assert!(matches!(error, Error::Limit { .. }), "{error}");
    assert!(error.to_string().contains("smaller memory"), "{error}");
}

#[test]
fn other_penalties_forget_the_history() {
    let Some(gpu) = open() else { return };
    let map = Map::new(&gpu, &Maths::random(4, 5, 0.1..0.9, true, 9));
    let control = gpu.upload(Shape::vector(8), &[0.0, 1e-2, 0.0, 1e-3, 0.0, 0.0, 0.0, 0.0]).expect("fits");
    let merits = gpu.upload(Shape::vector(4), &[1.0; 4]).expect("fits");
    let anderson =
        Anderson::new(&gpu, &AndersonConfig::default(), slice::from_ref(&map.x), &[]).expect("fits");
    let anderson = anderson.watching(&control, [1, 3]).expect("has them");
    let mut plan = PlanBuilder::new(&gpu, "watching");
    let record = |plan: &mut PlanBuilder| -> Result<(), Error> {
        anderson.before(plan)?;
        map.sweep(plan)?;
        anderson.push(plan)?;
        anderson.solve(plan)?;
        anderson.mix(plan)?;
        anderson.judge(plan, (&merits, 0), (&merits, 1))?;
        anderson.restore(plan)
    };
    record(&mut plan).expect("records");
    let plan = plan.finish().expect("resolves");
    let run = |times| {
        (0..times).for_each(|_| plan.run().expect("submits"));
        anderson.tally(&gpu).expect("reads back")
    };
    let seen = run(8);
    assert_eq!((seen.clears, seen.columns, seen.accepts), (0, 4, 3));
    assert_eq!(seen.step, 1.5f32.powi(3));
    // An element that is not watched, then one that is.
    gpu.write_words(&control, 2, &[5.0f32]).expect("fits");
    assert_eq!(run(1).clears, 0);
    gpu.write_words(&control, 3, &[1e-2f32]).expect("fits");
    let seen = run(1);
    assert_eq!((seen.clears, seen.columns, seen.step, seen.tried), (1, 0, 1.0, false));
    let seen = run(2);
    assert_eq!((seen.clears, seen.columns), (1, 2), "the history fills again");
    let message = Anderson::new(&gpu, &AndersonConfig::default(), slice::from_ref(&map.x), &[])
        .expect("fits")
        .watching(&control, [0, 8])
        .expect_err("eight elements")
        .to_string();
    assert!(message.contains("watched element = 8"), "{message}");
}

#[test]
fn nothing_of_a_nan_is_kept() {
    let Some(gpu) = open() else { return };
    let maths = Maths::random(4, 5, 0.1..0.95, false, 4);
    let map = Map::new(&gpu, &maths);
    let accelerated = map.accelerated(&gpu, &AndersonConfig::default());
    accelerated.run(4).expect("submits");
    let before = tally(&gpu, &accelerated);
    let mut odd: Vec<f32> = maths.start.iter().map(|value| *value as f32).collect();
    odd[7] = f32::NAN;
    gpu.write(&map.x, &odd).expect("fits");
    accelerated.run(1).expect("submits");
    let seen = tally(&gpu, &accelerated);
    assert_eq!((seen.columns, seen.clears), (0, before.clears + 1), "{seen:?}");
    let start: Vec<f32> = maths.start.iter().map(|value| *value as f32).collect();
    gpu.write(&map.x, &start).expect("fits");
    accelerated.anderson().forget(&gpu).expect("is there");
    accelerated.run(30).expect("submits");
    let seen = tally(&gpu, &accelerated);
    let error = distance(&map.read(&gpu), &maths.iterated(400));
    let plain = distance(&maths.iterated(30), &maths.iterated(400));
    assert!(error < plain / 10.0, "{error:e} against {plain:e}: {seen:?}");
    assert!(seen.weights.iter().all(|weight| weight.is_finite()), "{seen:?}");
}

#[test]
fn what_it_costs_is_what_it_says() {
    let Some(gpu) = open() else { return };
    let config = AndersonConfig::default();
    let half = AndersonConfig { history: HistoryStorage::Bf16, ..config };
    let none = AndersonConfig { mode: Mode::Extrapolate, ..config };
    let cost = |kept, before, push, mix, restore| Cost { kept, before, push, mix, restore };
    assert_eq!(config.cost(), cost(44, 8, 44, 24, 8));
    assert_eq!(half.cost(), cost(28, 8, 34, 16, 8));
    assert_eq!(none.cost(), cost(4, 0, 0, 16, 8));
    let zeros = |rows, columns| gpu.zeros(Shape::new(rows, columns), StorageType::F32).expect("fits");
    let (weights, bias, other) = (zeros(50, 30), zeros(1, 50), zeros(20, 50));
    // 50 rows of 32 and one of 52; 20 rows of 52.
    let (state, dependants) = (50 * 32 + 52, 20 * 52);
    for config in [config, half, none] {
        let before = gpu.counters().memory.in_use;
        let anderson =
            Anderson::new(&gpu, &config, &[weights.clone(), bias.clone()], slice::from_ref(&other))
                .expect("fits");
        assert_eq!(anderson.bytes(), state * config.cost().kept + 4 * dependants + anderson.overhead());
        assert!(gpu.counters().memory.in_use - before >= anderson.bytes(), "counted by the pool");
        assert!(anderson.overhead() < 2048);
    }
    // The counts of a plan, where an operand is read or written in full and not otherwise.
    let anderson = Anderson::new(&gpu, &config, &[weights], &[]).expect("fits");
    let mut plan = PlanBuilder::new(&gpu, "costs");
    anderson.before(&mut plan).expect("records");
    anderson.push(&mut plan).expect("records");
    anderson.mix(&mut plan).expect("records");
    anderson.restore(&mut plan).expect("records");
    let plan = plan.finish().expect("resolves");
    let bytes = |name: &str| plan.operations().find(|op| op.kernel == name).expect(name).bytes;
    assert_eq!(bytes("elementwise/copy"), 50 * 32 * config.cost().before);
    let (ledger, gram) = (anderson.ledger().bytes(), 4 * u64::from(GRAM_LENGTH));
    let partials = anderson.overhead() - ledger - gram;
    assert_eq!(bytes("anderson/columns"), 50 * 32 * config.cost().push + ledger + partials);
    assert_eq!(bytes("anderson/mix"), 50 * 32 * config.cost().mix + ledger);
    // Writing depends on the ledger, so that the plan counts y as read, too.
    assert_eq!(bytes("anderson/copy_where"), 50 * 32 * (config.cost().restore + 4) + ledger);
}

#[test]
fn settings_out_of_range_are_refused() {
    let Some(gpu) = open() else { return };
    let x = gpu.zeros(Shape::vector(8), StorageType::F32).expect("fits");
    let refused = |config: AndersonConfig| {
        let error = Anderson::new(&gpu, &config, slice::from_ref(&x), &[]).expect_err("out of range");
        assert!(matches!(error, Error::Setting { .. }), "{error}");
        error.to_string()
    };
    let config = AndersonConfig::default();
    assert_eq!(refused(AndersonConfig { memory: 0, ..config }), "memory = 0: must be 1 to 16 columns");
    assert_eq!(refused(AndersonConfig { memory: 17, ..config }), "memory = 17: must be 1 to 16 columns");
    assert_eq!(refused(AndersonConfig { period: 0, ..config }), "period = 0: must be at least 1");
    assert!(refused(AndersonConfig { regularisation: f32::NAN, ..config }).contains("regularisation = NaN"));
    assert!(refused(AndersonConfig { regularisation: -1.0, ..config }).contains("not negative"));
    let labels = gpu.zeros(Shape::vector(8), StorageType::U32).expect("fits");
    let error = Anderson::new(&gpu, &config, &[x.clone(), labels.clone()], &[]).expect_err("no floats");
    assert!(error.to_string().contains("state tensor 1 is stored as U32"), "{error}");
    Anderson::new(&gpu, &config, slice::from_ref(&x), &[labels]).expect("dependants may be words");
    let nothing = gpu.zeros(Shape::new(0, 5), StorageType::F32).expect("fits");
    let idle = Anderson::new(&gpu, &config, &[nothing], &[]).expect("an empty tensor is no error");
    assert_eq!(idle.bytes(), idle.overhead());
}
