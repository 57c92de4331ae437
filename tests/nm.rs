//! N:M sparsity: masks against a sort, ADMM in one tensor against ADMM in three, packing and back, and a network of real
//! images that ends in its pattern.

#[path = "support/gpu.rs"]
mod gpu;

#[path = "support/literal_nm.rs"]
mod literal;

#[path = "support/values.rs"]
mod values;

use dualstep::data::DataSource;
use dualstep::engine::{Gpu, GpuOptions, PlanBuilder, Shape, Slab, StorageType, Tensor};
use dualstep::kernels::linalg::{self, Transposed};
use dualstep::kernels::nm::{self as kernel, NmPattern, Packed, Place, Update};
use dualstep::kernels::optimizer::NOTHING_FOUND;
use dualstep::models::mlp::{Activation, Initial, Loss, Mlp, Targets};
use dualstep::solvers::first_order::{FirstOrder, FirstOrderConfig, Method};
use dualstep::solvers::nm::{NmAdmm, NmConfig, Penalty, Rho, Warning};
use dualstep::solvers::optimizer::Schedule;
use values::values;

fn open() -> Option<Gpu> {
    gpu::open(GpuOptions::default())
}

/// Which of a group's magnitudes are kept, by a sort.
fn kept(group: &[f32], keep: usize) -> Vec<bool> {
    let mut order: Vec<usize> = (0..group.len()).collect();
    order.sort_by(|&a, &b| group[b].abs().partial_cmp(&group[a].abs()).unwrap().then(a.cmp(&b)));
    (0..group.len()).map(|k| order[..keep].contains(&k)).collect()
}

fn projected(values: &[f32], pattern: NmPattern) -> Vec<f32> {
    let (keep, group) = (pattern.keep() as usize, pattern.group() as usize);
    let of_group = |group: &[f32]| {
        let kept = kept(group, keep);
        group.iter().zip(kept).map(|(value, kept)| if kept { *value } else { 0.0 }).collect::<Vec<_>>()
    };
    values.chunks_exact(group).flat_map(of_group).collect()
}

/// Every pattern there is, on values with and without ties: the mask, the projection, the packed form and back.
#[test]
fn every_pattern_keeps_what_a_sort_keeps_and_comes_back_from_its_packed_form() {
    let Some(gpu) = open() else { return };
    let found = gpu.upload_u32(Shape::vector(1), &[NOTHING_FOUND]).unwrap();
    for group in 2..=32 {
        for keep in 1..group {
            let pattern = NmPattern::new(keep, group).unwrap();
            let shape = Shape::new(3, 7 * group);
            let mut all = values(keep * 37 + group, 3 * 7 * group);
            // The second row has nothing but ties and zeros.
            let columns = shape.columns as usize;
            all[columns..2 * columns].iter_mut().for_each(|value| *value = (*value * 2.0).round());
            let w = gpu.upload(shape, &all).unwrap();
            let zeros = |shape, storage| gpu.zeros(shape, storage).unwrap();
            let (z, back) = (zeros(shape, StorageType::F32), zeros(shape, StorageType::F32));
            let mask = zeros(pattern.mask(shape).unwrap(), StorageType::U32);
            let values = zeros(pattern.values(shape).unwrap(), StorageType::F32);
            let places = zeros(pattern.places(shape).unwrap(), StorageType::U32);
            let packed = Packed { values: &values, places: &places };
            let mut plan = PlanBuilder::new(&gpu, "pattern");
            kernel::project(&mut plan, pattern, &w, &z, &mask, &found).unwrap();
            kernel::pack(&mut plan, pattern, &z, &mask, packed).unwrap();
            kernel::unpack(&mut plan, pattern, packed, &back).unwrap();
            plan.finish().unwrap().run().unwrap();
            let expected: Vec<bool> =
                all.chunks_exact(group as usize).flat_map(|group| kept(group, keep as usize)).collect();
            assert_eq!(pattern.kept(&gpu.read_u32(&mask).unwrap(), shape), expected, "{pattern}");
            assert_eq!(gpu.read(&z).unwrap(), projected(&all, pattern), "{pattern}");
            assert_eq!(gpu.read_bytes(&back).unwrap(), gpu.read_bytes(&z).unwrap(), "{pattern}");
        }
    }
    assert_eq!(gpu.read_u32(&found).unwrap(), [NOTHING_FOUND]);
}

/// A product by a packed matrix has the bits of that by the matrix itself, whatever tile it is put together from.
#[test]
fn products_by_packed_weights_have_the_bits_of_dense_ones() {
    let Some(gpu) = open() else { return };
    for (pattern, samples, rows, columns) in [
        ("2:4", 70, 130, 132),
        ("1:8", 5, 70, 64),
        ("4:8", 70, 9, 72),
        ("3:7", 33, 40, 77),
        ("17:31", 40, 66, 62),
    ] {
        let pattern: NmPattern = pattern.parse().unwrap();
        let w = Shape::new(rows, columns);
        let filled = |shape: Shape, seed| gpu.upload(shape, &values(seed, shape.elements() as u32)).unwrap();
        let empty = |shape, storage| gpu.zeros(shape, storage).unwrap();
        let (left, dense) = (filled(Shape::new(samples, columns), 1), filled(w, 2));
        let [z, packed_product, dense_product] = [w, Shape::new(samples, rows), Shape::new(samples, rows)]
            .map(|shape| empty(shape, StorageType::F32));
        let mask = empty(pattern.mask(w).unwrap(), StorageType::U32);
        let found = gpu.upload_u32(Shape::vector(1), &[NOTHING_FOUND]).unwrap();
        let values = empty(pattern.values(w).unwrap(), StorageType::F32);
        let places = empty(pattern.places(w).unwrap(), StorageType::U32);
        let packed = Packed { values: &values, places: &places };
        let mut plan = PlanBuilder::new(&gpu, "products");
        kernel::project(&mut plan, pattern, &dense, &z, &mask, &found).unwrap();
        kernel::pack(&mut plan, pattern, &z, &mask, packed).unwrap();
        linalg::matmul_nm(&mut plan, &left, pattern, packed, &packed_product).unwrap();
        linalg::matmul(&mut plan, (&left, Transposed::No), (&z, Transposed::Yes), &dense_product).unwrap();
        plan.finish().unwrap().run().unwrap();
        let bits = |tensor| gpu.read(tensor).unwrap().into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert!(gpu.read(&dense_product).unwrap().iter().all(|value| *value != 0.0));
        assert_eq!(bits(&packed_product), bits(&dense_product), "{pattern}");
    }
}

/// A projection as the device makes it of bits: what it leaves, which weights it keeps, and what came back of the packed form.
fn project_bits<T: bytemuck::Pod + Default>(
    gpu: &Gpu,
    pattern: NmPattern,
    (shape, storage): (Shape, StorageType),
    bits: &[T],
) -> (Vec<T>, Vec<bool>, Vec<T>, Option<u32>) {
    let zeros = |shape, storage| gpu.zeros(shape, storage).unwrap();
    let (w, z, back) = (zeros(shape, storage), zeros(shape, storage), zeros(shape, storage));
    gpu.write(&w, bits).unwrap();
    let found = gpu.upload_u32(Shape::vector(1), &[NOTHING_FOUND]).unwrap();
    let mask = zeros(pattern.mask(shape).unwrap(), StorageType::U32);
    let values = zeros(pattern.values(shape).unwrap(), storage);
    let places = zeros(pattern.places(shape).unwrap(), StorageType::U32);
    let packed = Packed { values: &values, places: &places };
    let mut plan = PlanBuilder::new(gpu, "bits");
    kernel::project(&mut plan, pattern, &w, &z, &mask, &found).unwrap();
    kernel::pack(&mut plan, pattern, &z, &mask, packed).unwrap();
    kernel::unpack(&mut plan, pattern, packed, &back).unwrap();
    plan.finish().unwrap().run().unwrap();
    let found =
        Some(gpu.read_u32(&found).unwrap()[0]).filter(|word| *word != NOTHING_FOUND).map(|word| !word);
    let kept = pattern.kept(&gpu.read_u32(&mask).unwrap(), shape);
    (gpu.read_stored(&z).unwrap(), kept, gpu.read_stored(&back).unwrap(), found)
}

/// What must be kept, told by counting and not by sorting: a weight stays if fewer than `keep` others go before it.
fn stays(sizes: &[u32], at: usize, keep: usize) -> bool {
    let before = |(k, size): (usize, &u32)| *size > sizes[at] || (*size == sizes[at] && k < at);
    sizes.iter().enumerate().filter(|&(k, size)| before((k, size))).count() < keep
}

/// Every group of four that can be made of zeros of either sign, denormals, neighbours in magnitude, ones of either sign, the
/// largest number, infinity and NaN, at 2:4, 1:4 and 3:4: orderings and ties of every kind, and no bit of what stays changes.
#[test]
fn every_ordering_and_tie_of_four_is_projected_right_in_every_storage() {
    let Some(gpu) = open() else { return };
    let f32s: [u32; 11] = [
        0,
        0x8000_0000,
        1,
        0x8000_0001,
        0x007f_ffff,
        0x3f80_0000,
        0xbf80_0000,
        0x3f80_0001,
        0x7f7f_ffff,
        0xff80_0000,
        0x7fc0_1234,
    ];
    let f16s: [u16; 11] = [0, 0x8000, 1, 0x8001, 0x03ff, 0x3c00, 0xbc00, 0x3c01, 0x7bff, 0xfc00, 0x7e12];
    let bf16s: [u16; 11] = [0, 0x8000, 1, 0x8001, 0x007f, 0x3f80, 0xbf80, 0x3f81, 0x7f7f, 0xff80, 0x7fa1];
    for keep in 1..4 {
        let pattern = NmPattern::new(keep, 4).unwrap();
        every_four(&gpu, pattern, StorageType::F32, &f32s, |bits| bits);
        every_four(&gpu, pattern, StorageType::F16, &f16s, u32::from);
        every_four(&gpu, pattern, StorageType::Bf16, &bf16s, u32::from);
    }
}

fn every_four<T: bytemuck::Pod + Default + PartialEq + std::fmt::Debug>(
    gpu: &Gpu,
    pattern: NmPattern,
    storage: StorageType,
    values: &[T; 11],
    bits: impl Fn(T) -> u32,
) {
    let sign = 1u32 << (8 * size_of::<T>() - 1);
    let all: Vec<T> = (0..11usize.pow(4))
        .flat_map(|k| [k % 11, k / 11 % 11, k / 121 % 11, k / 1331])
        .map(|k| values[k])
        .collect();
    let shape = Shape::new(11, 4 * 1331);
    let (z, kept, back, found) = project_bits(gpu, pattern, (shape, storage), &all);
    let case = format!("{pattern} in {storage:?}");
    for (group, w) in all.chunks_exact(4).enumerate() {
        let sizes: Vec<u32> = w.iter().map(|w| bits(*w) & !sign).collect();
        for at in 0..4 {
            let stays = stays(&sizes, at, pattern.keep() as usize);
            let expected = if stays { w[at] } else { T::default() };
            assert_eq!((z[4 * group + at], kept[4 * group + at]), (expected, stays), "{case}: {w:x?}");
        }
    }
    assert_eq!(back, z, "{case}");
    // The first of the last two values, of which both are not finite: group 9 has it at its first place.
    assert_eq!(found, Some(4 * 9), "{case}");
    let (again, ..) = project_bits(gpu, pattern, (shape, storage), &z);
    assert_eq!(again, z, "{case}: a projection changes nothing in what was projected");
}

/// No other choice of as many weights holds more of the sum of squares, in groups of every width up to eight.
#[test]
fn no_other_mask_keeps_more() {
    let Some(gpu) = open() else { return };
    for group in 2..=8u32 {
        for keep in 1..group {
            let pattern = NmPattern::new(keep, group).unwrap();
            let shape = Shape::new(5, 9 * group);
            let all: Vec<f32> = values(keep * 17 + group, shape.rows * shape.columns)
                .iter()
                .map(|value| (value * 6.0).round() / 6.0)
                .collect();
            let bits: Vec<u32> = all.iter().map(|value| value.to_bits()).collect();
            let (_, kept, ..) = project_bits(&gpu, pattern, (shape, StorageType::F32), &bits);
            for (w, kept) in all.chunks_exact(group as usize).zip(kept.chunks_exact(group as usize)) {
                let energy = |mask: u32| -> f64 {
                    (0..w.len()).filter(|k| mask >> k & 1 == 1).map(|k| f64::from(w[k]).powi(2)).sum()
                };
                let mask: u32 = kept.iter().enumerate().map(|(k, kept)| u32::from(*kept) << k).sum();
                assert_eq!(mask.count_ones(), keep);
                let best = (0..1u32 << group).filter(|other| other.count_ones() == keep).map(energy);
                let best = best.fold(0.0, f64::max);
                // Sums of the same squares in the same order, but ties may be added in another.
                assert!(energy(mask) >= best * (1.0 - 1e-14), "{pattern}: {w:?} keeps {kept:?}");
            }
        }
    }
}

/// Rows of 16-bit weights whose groups meet inside words, at their ends too.
#[test]
fn every_pattern_holds_in_sixteen_bits() {
    let Some(gpu) = open() else { return };
    for group in 2..=32 {
        let pattern = NmPattern::new(u32::div_ceil(group, 3), group).unwrap();
        for groups in [1, 2, 7, 129] {
            let shape = Shape::new(3, groups * group);
            let all: Vec<u16> = values(group + groups, shape.rows * shape.columns)
                .iter()
                .map(|value| half::bf16::from_f32(*value).to_bits())
                .collect();
            let (z, kept, back, found) = project_bits(&gpu, pattern, (shape, StorageType::Bf16), &all);
            for (at, w) in all.iter().enumerate() {
                let (first, place) = (at / group as usize * group as usize, at % group as usize);
                let sizes: Vec<u32> =
                    all[first..first + group as usize].iter().map(|w| u32::from(w & 0x7fff)).collect();
                let stays = stays(&sizes, place, pattern.keep() as usize);
                assert_eq!(
                    (z[at], kept[at]),
                    (if stays { *w } else { 0 }, stays),
                    "{pattern}, {shape}, {at}"
                );
            }
            assert_eq!((back, found), (z, None), "{pattern}, {shape}");
        }
    }
}

/// Z = Π(W + U) and U = c (W + U − Z) in three tensors, as the paper has it; every value rounded as the device rounds it.
#[test]
fn one_tensor_does_what_three_do() {
    let Some(gpu) = open() else { return };
    for (pattern, leak) in [("2:4", 1.0), ("2:4", 0.5), ("1:8", 0.5), ("3:7", 1.0), ("5:6", 0.5)] {
        let pattern: NmPattern = pattern.parse().unwrap();
        let shape = Shape::new(11, 5 * pattern.group());
        let length = shape.rows * shape.columns;
        let mut w = values(1, length);
        let mut z = projected(&w, pattern);
        let mut u = vec![0.0f64; length as usize];
        let t = gpu.upload(shape, &z).unwrap();
        let device_w = gpu.zeros(shape, StorageType::F32).unwrap();
        let settings = kernel::Settings { leak: leak as f32, ..kernel::Settings::default() };
        let words = bytemuck::cast_slice(std::slice::from_ref(&settings));
        let settings = gpu.upload_u32(Shape::vector(kernel::SETTINGS_LENGTH), words).unwrap();
        let partials = gpu.zeros(Shape::vector(8), StorageType::F32).unwrap();
        let chunks = Place::alone(pattern, shape).update_chunks().unwrap();
        let chunks = kernel::upload_chunks(&gpu, &chunks).unwrap();
        let mut plan = PlanBuilder::new(&gpu, "update");
        let args = Update {
            group: pattern.group(),
            w: &device_w,
            chunks: &chunks,
            settings: &settings,
            t: &t,
            partials: &partials,
            slot: 0,
        };
        kernel::admm_update(&mut plan, args).unwrap();
        let plan = plan.finish().unwrap();
        for round in 0..20 {
            w = w.iter().zip(values(2 + round, length)).map(|(w, change)| w + 0.2 * change).collect();
            let v: Vec<f32> = w.iter().zip(&u).map(|(w, u)| (f64::from(*w) + u) as f32).collect();
            let before = std::mem::replace(&mut z, projected(&v, pattern));
            u = v.iter().zip(&z).map(|(v, z)| f64::from((leak * f64::from(v - z)) as f32)).collect();
            gpu.write(&device_w, &w).unwrap();
            plan.run().unwrap();
            let expected: Vec<f32> = z.iter().zip(&u).map(|(z, u)| (f64::from(*z) - u) as f32).collect();
            assert_eq!(gpu.read(&t).unwrap(), expected, "{pattern}, leak {leak}, round {round}");
            // V that are kept are not zero here, so that Z tells its own mask.
            let flips = before.iter().zip(&z).filter(|(a, b)| (**a == 0.0) != (**b == 0.0)).count();
            assert_eq!(
                gpu.read(&partials).unwrap()[5],
                flips as f32,
                "{pattern}, leak {leak}, round {round}"
            );
        }
    }
}

/// What trains a network on real images.
struct Images {
    network: Mlp,
    inputs: Tensor,
    labels: Tensor,
    expected: Vec<u32>,
}

impl Images {
    fn new(gpu: &Gpu) -> Self {
        let train = DataSource::Embedded.load().unwrap().train.first(400).unwrap();
        let rows = train.scaled_rows(0..400, 784).unwrap();
        Self {
            network: Mlp::new(&[784, 32, 10], Activation::Relu, Loss::CrossEntropy).unwrap(),
            inputs: gpu.upload(Shape::new(400, 784), &rows).unwrap(),
            labels: gpu.upload_u32(Shape::vector(400), train.labels()).unwrap(),
            expected: train.labels().to_vec(),
        }
    }

    fn gradient(&self, plan: &mut PlanBuilder, w: &Tensor, gradient: &Tensor) {
        let targets = Targets::Classes(&self.labels);
        self.network.gradients(plan, w, &self.inputs, targets, gradient).unwrap();
    }

    /// The share of images that a network with these parameters knows.
    fn accuracy(&self, gpu: &Gpu, w: &Tensor) -> f64 {
        let parts: Vec<_> =
            (0..4).map(|k| gpu.read(&self.network.slab().part(w, 0, k).unwrap()).unwrap()).collect();
        let inputs = gpu.read(&self.inputs).unwrap();
        let layer = |x: &[f32], k: usize| -> Vec<f32> {
            let rows = parts[k].chunks_exact(x.len()).zip(&parts[k + 1]);
            rows.map(|(row, b)| row.iter().zip(x).map(|(w, x)| w * x).sum::<f32>() + b).collect()
        };
        let right = inputs.chunks_exact(784).zip(&self.expected).filter(|(x, label)| {
            let hidden: Vec<f32> = layer(x, 0).into_iter().map(|z| z.max(0.0)).collect();
            let logits = layer(&hidden, 2);
            (0..10).max_by(|&a, &b| logits[a].total_cmp(&logits[b])) == Some(**label as usize)
        });
        right.count() as f64 / 400.0
    }
}

fn adam(steps: u32) -> FirstOrderConfig {
    let schedule = Schedule::Linear { steps };
    FirstOrderConfig { learning_rate: 2e-3, schedule, ..FirstOrderConfig::pytorch(Method::Adam) }
}

/// A trained network loses little in its pattern, keeps it exactly, and keeps it through masked steps.
#[test]
fn a_network_ends_in_its_pattern() {
    let Some(gpu) = open() else { return };
    const STEPS: u32 = 80;
    let images = Images::new(&gpu);
    let w = images.network.parameters(&gpu, Initial::Torch, 0).unwrap();
    let gradient = gpu.zeros(w.shape(), StorageType::F32).unwrap();
    let mut plan = PlanBuilder::new(&gpu, "dense");
    images.gradient(&mut plan, &w, &gradient);
    FirstOrder::new(&gpu, &adam(STEPS), &w).unwrap().record(&mut plan, &gradient).unwrap();
    let dense = plan.finish().unwrap();
    (0..STEPS).for_each(|_| dense.run().unwrap());
    let before = images.accuracy(&gpu, &w);

    let config = NmConfig::for_steps(STEPS).unwrap();
    let pattern: NmPattern = "2:4".parse().unwrap();
    let nm = NmAdmm::new(&gpu, &config, images.network.slab(), &w, &[(0, pattern)]).unwrap();
    let solver = FirstOrder::new(&gpu, &adam(STEPS + 5), &w).unwrap();
    let record = |add: &dyn Fn(&mut PlanBuilder)| {
        let mut plan = PlanBuilder::new(&gpu, "nm");
        add(&mut plan);
        plan.finish().unwrap()
    };
    let step = record(&|plan| {
        images.gradient(plan, &w, &gradient);
        solver.record_sparse(plan, &gradient, &[Some(nm.penalty())]).unwrap();
    });
    let update = record(&|plan| nm.update(plan, &solver).unwrap());
    record(&|plan| nm.start(plan).unwrap()).run().unwrap();
    for _ in 0..config.updates {
        (0..config.interval).for_each(|_| step.run().unwrap());
        update.run().unwrap();
    }
    let measures = nm.read_measures().unwrap();
    assert!(measures.0[0].off < 0.1 && measures.0[0].flips < 0.05, "{measures:?}");
    record(&|plan| nm.finish(plan).unwrap()).run().unwrap();
    nm.check().unwrap();
    let sparse = |w: &Tensor| gpu.read(&images.network.slab().part(w, 0, 0).unwrap()).unwrap();
    let masks = |w: &[f32]| w.iter().map(|w| *w != 0.0).collect::<Vec<_>>();
    let ended = sparse(&w);
    assert_eq!(ended, projected(&ended, pattern));
    assert!(ended.iter().filter(|w| **w != 0.0).count() > 32 * 784 / 3, "little was kept");
    let after = images.accuracy(&gpu, &w);
    assert!(before > 0.85 && after > before - 0.1, "{before} dense, {after} at {pattern}");

    let masked = record(&|plan| {
        images.gradient(plan, &w, &gradient);
        solver.record_sparse(plan, &gradient, &[Some(nm.masked())]).unwrap();
    });
    (0..5).for_each(|_| masked.run().unwrap());
    let tuned = sparse(&w);
    assert!(tuned != ended, "masked steps move weights");
    let escaped =
        masks(&tuned).iter().zip(masks(&ended)).filter(|(after, before)| **after && !before).count();
    assert_eq!(escaped, 0);
}

/// Parameters without a pattern take the same step, bit for bit, whatever the penalty on the others.
#[test]
fn dense_parameters_are_untouched() {
    let Some(gpu) = open() else { return };
    let network = Mlp::new(&[20, 12, 8, 5], Activation::Relu, Loss::Squared).unwrap();
    let slab = network.slab();
    let patterns = [(4, "1:4".parse().unwrap()), (0, "2:5".parse().unwrap())];
    for method in [Method::Sgd, Method::Adam] {
        for penalty in [
            Penalty::Pull { kappa: 1.0 },
            Penalty::Coupled { rho: Rho::Given(0.5) },
            Penalty::Decoupled { rho: 100.0 },
        ] {
            let stepped = |is_sparse: bool| {
                let w = network.parameters(&gpu, Initial::Torch, 7).unwrap();
                let gradient = network.parameters(&gpu, Initial::Torch, 8).unwrap();
                let solver = FirstOrder::new(&gpu, &FirstOrderConfig::pytorch(method), &w).unwrap();
                let config = NmConfig { penalty, interval: 3, updates: 10, leak: 0.5 };
                let nm = NmAdmm::new(&gpu, &config, slab, &w, &patterns).unwrap();
                let mut plan = PlanBuilder::new(&gpu, "step");
                nm.start(&mut plan).unwrap();
                match is_sparse {
                    true => solver.record_sparse(&mut plan, &gradient, &[Some(nm.penalty())]).unwrap(),
                    false => solver.record(&mut plan, &gradient).unwrap(),
                }
                plan.finish().unwrap().run().unwrap();
                let read = |k| gpu.read(&slab.part(&w, 0, k).unwrap()).unwrap();
                (0..6).map(read).collect::<Vec<_>>()
            };
            let (plain, sparse) = (stepped(false), stepped(true));
            for k in 0..6 {
                assert_eq!(plain[k] != sparse[k], [0, 4].contains(&k), "{method:?}, {penalty:?}, part {k}");
            }
        }
    }
}

/// Weights that become infinite between the second update and the third are found by the third, after its step.
#[test]
fn an_update_that_meets_an_infinity_is_named() {
    let Some(gpu) = open() else { return };
    let network = Mlp::new(&[20, 12, 8], Activation::Relu, Loss::Squared).unwrap();
    let w = network.parameters(&gpu, Initial::Torch, 7).unwrap();
    let config = NmConfig { interval: 25, ..NmConfig::for_steps(1000).unwrap() };
    let patterns = [(0, "2:4".parse().unwrap()), (2, "1:4".parse().unwrap())];
    let nm = NmAdmm::new(&gpu, &config, network.slab(), &w, &patterns).unwrap();
    let solver = FirstOrder::new(&gpu, &adam(100), &w).unwrap();
    let mut plan = PlanBuilder::new(&gpu, "update");
    nm.update(&mut plan, &solver).unwrap();
    let update = plan.finish().unwrap();
    (0..2).for_each(|_| update.run().unwrap());
    nm.check().unwrap();
    gpu.write(&network.slab().part(&w, 0, 2).unwrap(), &[f32::INFINITY; 8 * 12]).unwrap();
    (0..4).for_each(|_| update.run().unwrap());
    let said = nm.check().unwrap_err().to_string();
    assert!(said.contains("iteration 75") && said.contains("nm/admm_update in sparse tensor 1"), "{said}");
}

/// Two sparse tensors with a dense one between, whose gradients come from a list.
struct Listed {
    slab: Slab,
    start: Vec<f32>,
    gradients: Vec<Vec<f32>>,
    parts: [(usize, NmPattern); 2],
}

impl Listed {
    /// Gradients of magnitudes from 0.5 to 1.5; those of the second tensor four times that.
    fn new(steps: u32) -> Self {
        let slab = Slab::new(&[Shape::new(6, 20), Shape::vector(7), Shape::new(9, 16)]).unwrap();
        let row = |seed: u32, scale: &dyn Fn(usize, f32) -> f32| {
            let mut row = vec![0.0; slab.length() as usize];
            for (part, shape) in slab.shapes().enumerate() {
                for (k, value) in
                    values(seed + 1000 * part as u32, shape.elements() as u32).into_iter().enumerate()
                {
                    let (r, c) = (k as u32 / shape.columns, k as u32 % shape.columns);
                    row[(slab.start(part) + r * shape.stride() + c) as usize] = scale(part, value);
                }
            }
            row
        };
        let push =
            |part: usize, value: f32| (value + 0.5f32.copysign(value)) * if part == 2 { 4.0 } else { 1.0 };
        Self {
            start: row(1, &|_, value| value),
            gradients: (0..steps).map(|step| row(2 + step, &push)).collect(),
            parts: [(0, "2:4".parse().unwrap()), (2, "1:4".parse().unwrap())],
            slab,
        }
    }

    /// The elements of one part, which has no padding.
    fn part(&self, row: &[f32], part: usize) -> Vec<f64> {
        let (first, shape) = (self.slab.start(part) as usize, self.slab.shapes().nth(part).unwrap());
        row[first..first + shape.elements() as usize].iter().map(|value| f64::from(*value)).collect()
    }

    /// Trains by `listed` gradients, and compares with the transcription after each update.
    ///
    /// A step rounds a weight of at most 2 and a move of at most the rate some 40 times: less than 2 ε together. What is
    /// wrong in W and T adds up in T at an update, and is passed on to W by steps that go part of the way, of which
    /// momentum makes at most twice as much: a factor of 4 an update that has a dual.
    fn compare(&self, gpu: &Gpu, config: &NmConfig, rho: impl Fn() -> literal::Rho, list: &[f64]) {
        let adam = FirstOrderConfig { learning_rate: RATE, ..FirstOrderConfig::pytorch(Method::Adam) };
        let w = gpu.upload(self.slab.shape(1), &self.start).unwrap();
        let gradient = gpu.zeros(w.shape(), StorageType::F32).unwrap();
        let solver = FirstOrder::new(gpu, &adam, &w).unwrap();
        let mut nm = NmAdmm::new(gpu, config, &self.slab, &w, &self.parts).unwrap();
        let record = |add: &dyn Fn(&mut PlanBuilder)| {
            let mut plan = PlanBuilder::new(gpu, "nm");
            add(&mut plan);
            plan.finish().unwrap()
        };
        record(&|plan| nm.start(plan).unwrap()).run().unwrap();
        let step = record(&|plan| solver.record_sparse(plan, &gradient, &[Some(nm.penalty())]).unwrap());
        let update = record(&|plan| nm.update(plan, &solver).unwrap());
        let expected = self.parts.map(|(part, pattern)| {
            let gradients: Vec<_> = self.gradients.iter().map(|row| self.part(row, part)).collect();
            let settings = literal::Settings {
                rho: rho(),
                interval: config.interval as usize,
                leak: config.leak,
                keep: pattern.keep() as usize,
                group: pattern.group() as usize,
                rate: |_| RATE,
                beta_1: adam.beta_1,
                beta_2: adam.beta_2,
                epsilon: adam.epsilon,
            };
            literal::train(&self.part(&self.start, part), &gradients, &settings)
        });
        let mut bound = 0.0;
        for (k, gradients) in self.gradients.chunks_exact(config.interval as usize).enumerate() {
            for values in gradients {
                gpu.write(&gradient, values).unwrap();
                step.run().unwrap();
            }
            if let Some(rho) = list.get(k + 1) {
                nm.set_rho(*rho).unwrap();
            }
            update.run().unwrap();
            let measures = nm.read_measures().unwrap();
            let precise = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<_>>();
            let t: Vec<_> = nm.t().map(|t| precise(gpu.read(t).unwrap())).collect();
            let w = gpu.read(&w).unwrap();
            bound += 2.0 * f64::from(config.interval) * f64::from(f32::EPSILON);
            for (place, (part, _)) in self.parts.iter().enumerate() {
                let state = &expected[place][k];
                // Second moments are of gradients that have ρ (W − T) in them.
                let relative =
                    64.0 * f64::from(f32::EPSILON) + 2.0 * bound / RATE / f64::from(config.interval);
                let off = (measures.0[place].rho - state.rho).abs();
                assert!(
                    off <= relative * state.rho,
                    "update {k}: ρ is {}, not {}",
                    measures.0[place].rho,
                    state.rho
                );
                let goal = state.z.iter().zip(&state.u).map(|(z, u)| z - u);
                for (a, e) in
                    t[place].iter().zip(goal).chain(self.part(&w, *part).iter().zip(state.w.iter().copied()))
                {
                    assert!((a - e).abs() <= bound, "update {k}, part {part}: {a}, not {e} by {bound:e}");
                }
            }
            bound *= if expected.iter().any(|states| states[k].rho > 0.0) { 4.0 } else { 1.0 };
        }
        nm.check().unwrap();
    }
}

const RATE: f64 = 0.01;

/// An automatic ρ is 0 for two updates and then κ mean(√v̂)/(rate · interval), four times as large where gradients are.
#[test]
fn an_automatic_rho_is_its_literal_transcription() {
    let Some(gpu) = open() else { return };
    let penalty = Penalty::Coupled { rho: Rho::Auto { kappa: 1.0 } };
    let config = NmConfig { penalty, interval: 8, updates: 6, leak: 0.5 };
    Listed::new(48).compare(&gpu, &config, || literal::Rho::Auto(1.0), &[]);
}

/// A ρ that the caller raises by a factor of 4, keeps, lets fall by less than the leak makes up for, and then by more.
#[test]
fn a_rho_that_changes_is_its_literal_transcription() {
    let Some(gpu) = open() else { return };
    let list = [2.0, 8.0, 8.0, 5.0, 1.0, 1.0];
    for leak in [1.0, 0.5] {
        let config = NmConfig {
            penalty: Penalty::Coupled { rho: Rho::Given(list[0]) },
            interval: 8,
            updates: 6,
            leak,
        };
        Listed::new(48).compare(&gpu, &config, || literal::Rho::Listed(list.into()), &list);
    }
}

/// One dispatch for each width of group and one for what they measured, however many tensors there are; two for a ρ.
#[test]
fn an_update_takes_few_dispatches() {
    let Some(gpu) = open() else { return };
    let network = Mlp::new(&[32, 24, 16, 16, 8], Activation::Relu, Loss::Squared).unwrap();
    let w = network.parameters(&gpu, Initial::Torch, 7).unwrap();
    let solver = FirstOrder::new(&gpu, &adam(100), &w).unwrap();
    let dispatches = |penalty, patterns: [&str; 4]| {
        let config = NmConfig { penalty, ..NmConfig::for_steps(100).unwrap() };
        let sparse: Vec<_> = (0..4).map(|k| (2 * k, patterns[k].parse().unwrap())).collect();
        let nm = NmAdmm::new(&gpu, &config, network.slab(), &w, &sparse).unwrap();
        let mut plan = PlanBuilder::new(&gpu, "update");
        nm.update(&mut plan, &solver).unwrap();
        plan.finish().unwrap().counts().dispatches
    };
    let (pull, auto) = (Penalty::Pull { kappa: 1.0 }, Penalty::Coupled { rho: Rho::Auto { kappa: 1.0 } });
    assert_eq!(dispatches(pull, ["2:4", "1:4", "3:4", "2:4"]), 2);
    assert_eq!(dispatches(pull, ["2:4", "1:8", "1:2", "4:8"]), 4);
    assert_eq!(dispatches(auto, ["2:4", "1:4", "3:4", "2:4"]), 4);
    assert_eq!(dispatches(auto, ["2:4", "1:8", "1:2", "4:8"]), 6);
}

#[test]
fn settings_are_checked_and_warned_of() {
    let Some(gpu) = open() else { return };
    assert!(NmConfig::for_steps(39).is_err() && NmConfig::paper(79, 1e-3).is_err());
    let short = NmConfig::paper(400, 1e-3).unwrap();
    assert_eq!((short.interval, short.warnings(1e-4)), (80, vec![Warning::FewUpdates(5)]));
    assert!(NmConfig::paper(1000, 1e-3).unwrap().warnings(1e-4).is_empty());
    let decoupled =
        NmConfig { penalty: Penalty::Decoupled { rho: 1.0 }, ..NmConfig::for_steps(1000).unwrap() };
    assert!(matches!(decoupled.warnings(1e-3)[..], [Warning::WeakPull(_)]));
    let network = Mlp::new(&[20, 12, 8], Activation::Relu, Loss::Squared).unwrap();
    let w = network.parameters(&gpu, Initial::Torch, 7).unwrap();
    let config = NmConfig::for_steps(100).unwrap();
    let refusal = |sparse: &[(usize, NmPattern)]| {
        NmAdmm::new(&gpu, &config, network.slab(), &w, sparse).unwrap_err().to_string()
    };
    let pattern = |text: &str| text.parse::<NmPattern>().unwrap();
    assert!(refusal(&[(0, pattern("2:8"))]).contains("12 × 20 cannot be 2:8"));
    assert!(refusal(&[(4, pattern("2:4"))]).contains("the slab has 4"));
    assert!(refusal(&[(0, pattern("2:4")), (0, pattern("1:4"))]).contains("two patterns"));
    assert!(refusal(&[]).contains("no part"));
    let mut nm = NmAdmm::new(&gpu, &config, network.slab(), &w, &[(0, pattern("2:4"))]).unwrap();
    assert!(nm.set_rho(1.0).unwrap_err().to_string().contains("rho = 1"));
    let penalty = Penalty::Coupled { rho: Rho::Auto { kappa: 1.0 } };
    let auto = NmConfig { penalty, ..config };
    let mut nm = NmAdmm::new(&gpu, &auto, network.slab(), &w, &[(0, pattern("2:4"))]).unwrap();
    assert!(nm.set_rho(1.0).is_err());
    for method in Method::ALL {
        let solver = FirstOrder::new(&gpu, &FirstOrderConfig::pytorch(method), &w).unwrap();
        let mut plan = PlanBuilder::new(&gpu, "update");
        let divides = !matches!(method, Method::Sgd | Method::Momentum | Method::Nesterov);
        match nm.update(&mut plan, &solver) {
            Ok(()) => assert!(divides, "{method:?}"),
            Err(error) => {
                let said = error.to_string();
                assert!(
                    !divides && said.starts_with(&format!("method = {}: divides", method.name())),
                    "{said}"
                );
            }
        }
    }
    let coupled = NmConfig { penalty: Penalty::Coupled { rho: Rho::Given(1.0) }, ..config };
    let mut nm = NmAdmm::new(&gpu, &coupled, network.slab(), &w, &[(0, pattern("2:4"))]).unwrap();
    assert!(nm.set_rho(0.0).is_err() && nm.set_rho(f64::NAN).is_err() && nm.set_rho(2.0).is_ok());
}
