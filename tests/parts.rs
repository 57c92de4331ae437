//! Parameters in parts: weights and gradients that each lie in memory of a host's own, whose padding holds anything, step
//! together as one row does.

#[path = "support/gpu.rs"]
mod gpu;

#[path = "support/values.rs"]
mod values;

use dualstep::engine::{Gpu, GpuOptions, PlanBuilder, Shape, Slab, StorageType, Tensor};
use dualstep::solvers::badm::{Badm, BadmConfig, StateStorage, SubBatches};
use dualstep::solvers::first_order::{FirstOrder, FirstOrderConfig, Method};
use dualstep::solvers::nm::{NmAdmm, NmConfig, NmPattern};
use dualstep::solvers::optimizer::Refusal;
use values::values;

const LENGTHS: [u32; 3] = [300, 10, 7];
const SUB_BATCHES: u32 = 3;
const STEPS: usize = 4;

/// A tensor over memory that holds NaN where rows are padded.
fn dirty(gpu: &Gpu, shape: Shape, values: &[f32]) -> Tensor {
    let mut stored = vec![f32::NAN; shape.stored() as usize];
    for (row, values) in
        stored.chunks_exact_mut(shape.stride() as usize).zip(values.chunks_exact(shape.columns as usize))
    {
        row[..values.len()].copy_from_slice(values);
    }
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let size = 4 * shape.stored();
    let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
    let buffer = gpu.device().create_buffer(&descriptor);
    gpu.queue().write_buffer(&buffer, 0, bytemuck::cast_slice(&stored));
    gpu.wrap(&buffer, 0, shape, StorageType::F32).expect("a storage buffer of that size")
}

fn parts(gpu: &Gpu, rows: u32, seed: u32) -> Vec<Tensor> {
    let part = |(k, columns): (usize, &u32)| {
        dirty(gpu, Shape::new(rows, *columns), &values(seed + k as u32, rows * columns))
    };
    LENGTHS.iter().enumerate().map(part).collect()
}

fn bits(gpu: &Gpu, tensors: &[Tensor]) -> Vec<Vec<u32>> {
    let bits =
        |tensor: &Tensor| gpu.read(tensor).expect("reads back").into_iter().map(f32::to_bits).collect();
    tensors.iter().map(bits).collect()
}

fn run(gpu: &Gpu, times: usize, record: impl FnOnce(&mut PlanBuilder) -> Result<(), dualstep::Error>) {
    let mut plan = PlanBuilder::new(gpu, "step");
    record(&mut plan).expect("records");
    let plan = plan.finish().expect("resolves");
    (0..times).for_each(|_| plan.run().expect("submits"));
}

/// What a part is by itself it is among others.
#[test]
fn first_order_methods_step_in_parts() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    for method in [Method::Sgd, Method::Momentum, Method::Adam, Method::NAdam] {
        let config = FirstOrderConfig::pytorch(method);
        let (together, apart, gradients) = (parts(&gpu, 1, 1), parts(&gpu, 1, 1), parts(&gpu, 1, 7));
        let solver = FirstOrder::new(&gpu, &config, &together).expect("sound settings");
        run(&gpu, STEPS, |plan| solver.record(plan, &gradients));
        for (w, gradient) in apart.iter().zip(&gradients) {
            let solver = FirstOrder::new(&gpu, &config, w).expect("sound settings");
            run(&gpu, STEPS, |plan| solver.record(plan, gradient));
        }
        assert_eq!(
            solver.tally().expect("reads back").steps,
            STEPS as u32,
            "{method:?}: NaN in padding is no NaN"
        );
        assert_ne!(bits(&gpu, &together), bits(&gpu, &parts(&gpu, 1, 1)), "{method:?} moves");
        assert_eq!(bits(&gpu, &together), bits(&gpu, &apart), "{method:?}");
    }
}

#[test]
fn badm_steps_in_parts() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    for storage in [StateStorage::F32, StateStorage::Bf16, StateStorage::F16] {
        let config = BadmConfig { storage, ..BadmConfig::robust(SUB_BATCHES, 1e-2) };
        let (together, apart) = (parts(&gpu, 1, 1), parts(&gpu, 1, 1));
        let gradients = parts(&gpu, SUB_BATCHES, 7);
        let badm = Badm::new(&gpu, &config, &together).expect("sound settings");
        let of_parts = || gradients.iter().map(AsRef::as_ref).collect();
        let batch = SubBatches { gradients: of_parts(), weights: None, batch: 0 };
        run(&gpu, STEPS, |plan| badm.record(plan, &batch));
        for (w, gradients) in apart.iter().zip(&gradients) {
            let badm = Badm::new(&gpu, &config, w).expect("sound settings");
            run(&gpu, STEPS, |plan| badm.record(plan, &SubBatches::even(gradients)));
        }
        assert_eq!(
            badm.tally().expect("reads back").steps,
            STEPS as u32,
            "{storage:?}: NaN in padding is no NaN"
        );
        assert_ne!(bits(&gpu, &together), bits(&gpu, &parts(&gpu, 1, 1)), "{storage:?} moves");
        assert_eq!(bits(&gpu, &together), bits(&gpu, &apart), "{storage:?}");
    }
}

/// Gradients of each sub-batch in a tensor of its own leave the same duals and second moments, and the same parameters: to the
/// bit where one dispatch takes them all, else but for the roundings of sums that are begun anew.
#[test]
fn gradients_of_sub_batches_may_lie_apart() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    for sub_batches in [2, 3, 4, 7] {
        let config = BadmConfig::robust(sub_batches, 1e-2);
        let all = (sub_batches * (sub_batches + 1) / 2) as f32;
        let weights: Vec<_> = (1..=sub_batches).map(|share| share as f32 / all).collect();
        let rows = parts(&gpu, sub_batches, 7);
        let row = |tensor: &Tensor, row: u32| {
            let (columns, values) = (tensor.shape().columns, gpu.read(tensor).expect("reads back"));
            let start = (row * columns) as usize;
            dirty(&gpu, Shape::vector(columns), &values[start..start + columns as usize])
        };
        let apart = rows.iter().map(|part| (0..sub_batches).map(|n| row(part, n)).collect::<Vec<_>>());
        let apart: Vec<Vec<Tensor>> = apart.collect();
        let step = |gradients: Vec<&[Tensor]>| {
            let w = parts(&gpu, 1, 1);
            let badm = Badm::new(&gpu, &config, &w).expect("sound settings");
            let batch = SubBatches { gradients, weights: Some(&weights), batch: 0 };
            run(&gpu, STEPS, |plan| badm.record(plan, &batch));
            let state: Vec<_> = badm.tensors().into_iter().cloned().collect();
            (w, bits(&gpu, &state))
        };
        let (in_rows, state_in_rows) = step(rows.iter().map(AsRef::as_ref).collect());
        let (in_tensors, state_in_tensors) = step(apart.iter().map(Vec::as_slice).collect());
        assert_eq!(state_in_rows, state_in_tensors, "{sub_batches}");
        if sub_batches <= 3 {
            assert_eq!(bits(&gpu, &in_rows), bits(&gpu, &in_tensors), "{sub_batches}");
        }
        for (a, b) in in_rows.iter().zip(&in_tensors) {
            let [a, b] = [a, b].map(|w| gpu.read(w).expect("reads back"));
            for (a, b) in a.iter().zip(&b) {
                // Each of a step's sums is rounded as often as there are sub-batches, in values no larger than 1.
                let bound = STEPS as f32 * 2.0 * sub_batches as f32 * f32::EPSILON;
                assert!((a - b).abs() <= bound, "{a} and {b}");
            }
        }
    }
}

/// Gradients apart are read once as well, and the parameters read and written once for every three of them.
#[test]
fn gradients_apart_take_a_dispatch_for_three() {
    const COLUMNS: u32 = 1000;
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    for (sub_batches, bytes) in [(2, vec![48]), (3, vec![68]), (4, vec![68, 28]), (6, vec![68, 68])] {
        let w = gpu.zeros(Shape::vector(COLUMNS), StorageType::F32).expect("fits");
        let gradients: Vec<_> =
            (0..sub_batches).map(|_| gpu.zeros(w.shape(), StorageType::F32).expect("fits")).collect();
        let badm = Badm::new(&gpu, &BadmConfig::robust(sub_batches, 1e-2), &w).expect("sound settings");
        let mut plan = PlanBuilder::new(&gpu, "step");
        let batch = SubBatches { gradients: vec![&gradients], weights: None, batch: 0 };
        badm.record(&mut plan, &batch).expect("records");
        let plan = plan.finish().expect("resolves");
        let of = |name: &str| {
            let found = plan.operations().filter(|operation| operation.kernel.starts_with(name));
            found.map(|operation| operation.bytes).collect::<Vec<_>>()
        };
        let words = |list: &[u64], each: u64| {
            list.iter().map(|bytes| bytes * u64::from(COLUMNS) + each).collect::<Vec<_>>()
        };
        let clock = badm.clock().bytes();
        assert_eq!(of("badm/step"), words(&bytes, clock), "{sub_batches}");
        // Four bytes an element, and a word that is read and written.
        let tested: Vec<_> = gradients.chunks(4).map(|some| 4 * some.len() as u64).collect();
        assert_eq!(of("optimizer/finite"), words(&tested, 32), "{sub_batches}");
    }
}

/// One gradient that is not finite keeps every part where it is, and is found again.
#[test]
fn all_parts_step_or_none() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let w = parts(&gpu, 1, 1);
    let gradients = parts(&gpu, SUB_BATCHES, 7);
    let mut bad = gpu.read(&gradients[1]).expect("reads back");
    bad[2 * LENGTHS[1] as usize + 9] = f32::INFINITY;
    gpu.write(&gradients[1], &bad).expect("same length");
    let before = bits(&gpu, &w);
    let badm = Badm::new(&gpu, &BadmConfig::robust(SUB_BATCHES, 1e-2), &w).expect("sound settings");
    let batch =
        SubBatches { gradients: gradients.iter().map(AsRef::as_ref).collect(), weights: None, batch: 0 };
    run(&gpu, 1, |plan| badm.record(plan, &batch));
    assert_eq!(bits(&gpu, &w), before);
    let refusal = Refusal { step: 1, row: 2, parameter: LENGTHS[0] + 9 };
    assert_eq!(badm.tally().expect("reads back").first_refusal, Some(refusal));
}

/// N:M ADMM of a part in memory of its own is what it is over a slab, and follows the part when it moves.
#[test]
fn sparse_parts_may_move() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let columns = LENGTHS[0];
    let (pattern, config) = (NmPattern::new(2, 4).expect("2 of 4"), NmConfig::for_steps(40).expect("enough"));
    let steps = |slab: &Slab, moves: bool| {
        let shape = Shape::vector(slab.length());
        let mut start = values(1, columns);
        start.resize(shape.elements() as usize, 0.0);
        let [here, there, gradient] = [(); 3].map(|()| gpu.upload(shape, &start).expect("small"));
        let mut method = FirstOrder::new(&gpu, &FirstOrderConfig::default(), &here).expect("sound settings");
        let mut nm = NmAdmm::new(&gpu, &config, slab, &here, &[(0, pattern)]).expect("fits");
        run(&gpu, 1, |plan| nm.start(plan));
        let round = |nm: &NmAdmm, method: &FirstOrder| {
            run(&gpu, 1, |plan| method.record_sparse(plan, &gradient, &[Some(nm.penalty())]));
            run(&gpu, 1, |plan| nm.update(plan, method));
        };
        round(&nm, &method);
        let last = if moves {
            gpu.write(&there, &gpu.read(&here).expect("reads back")).expect("same length");
            method.move_to(&there).expect("same shape");
            nm.move_to(&there).expect("same slab");
            there
        } else {
            here
        };
        round(&nm, &method);
        run(&gpu, 1, |plan| nm.finish(plan));
        nm.check().expect("all finite");
        bits(&gpu, &[last])[0][..columns as usize].to_vec()
    };
    let whole = steps(&Slab::whole(columns), true);
    assert_eq!(whole, steps(&Slab::whole(columns), false));
    assert_eq!(whole, steps(&Slab::new(&[Shape::vector(columns)]).expect("small"), false));
    let kept = |group: &[u32]| group.iter().filter(|bits| f32::from_bits(**bits) != 0.0).count();
    assert!(whole.chunks_exact(4).all(|group| kept(group) == 2));

    let w = gpu.zeros(Shape::vector(columns), StorageType::F32).expect("small");
    let mut nm = NmAdmm::new(&gpu, &config, &Slab::whole(columns), &w, &[(0, pattern)]).expect("fits");
    let shorter = gpu.zeros(Shape::vector(columns - 4), StorageType::F32).expect("small");
    let message = nm.move_to(&shorter).expect_err("another length").to_string();
    assert!(message.contains("part 0 in row 0"), "{message}");
}

#[test]
fn parameters_may_move() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let config = FirstOrderConfig::pytorch(Method::Adam);
    let (here, there, gradients) = (parts(&gpu, 1, 1), parts(&gpu, 1, 1), parts(&gpu, 1, 7));
    let mut adam = FirstOrder::new(&gpu, &config, &here).expect("sound settings");
    run(&gpu, 1, |plan| adam.record(plan, &gradients));
    let after_one = bits(&gpu, &here);
    for (from, to) in here.iter().zip(&there) {
        gpu.write(to, &gpu.read(from).expect("reads back")).expect("same length");
    }
    adam.move_to(&there).expect("the same shapes");
    run(&gpu, 1, |plan| adam.record(plan, &gradients));
    assert_eq!(bits(&gpu, &here), after_one, "what they left is left alone");
    let stayed = parts(&gpu, 1, 1);
    let whole = FirstOrder::new(&gpu, &config, &stayed).expect("sound settings");
    run(&gpu, 2, |plan| whole.record(plan, &gradients));
    assert_eq!(bits(&gpu, &there), bits(&gpu, &stayed), "moments came along");

    let message = adam.move_to(&there[..2]).expect_err("two of three").to_string();
    assert!(message.contains("cannot move to"), "{message}");
}

#[test]
fn parts_must_fit() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let (w, gradients) = (parts(&gpu, 1, 1), parts(&gpu, 1, 7));
    let adam = FirstOrder::new(&gpu, &FirstOrderConfig::pytorch(Method::Adam), &w).expect("sound settings");
    let badm = Badm::new(&gpu, &BadmConfig::robust(2, 1e-3), &w).expect("sound settings");
    let mut plan = PlanBuilder::new(&gpu, "step");
    let none: [Tensor; 0] = [];
    for (message, words) in [
        (FirstOrder::new(&gpu, adam.config(), &none).expect_err("nothing").to_string(), "no parameters"),
        (adam.record(&mut plan, &gradients[1..]).expect_err("two of three").to_string(), "2 gradients"),
        (adam.record(&mut plan, &parts(&gpu, 2, 7)).expect_err("two rows").to_string(), "2 × 300"),
        (badm.record(&mut plan, &SubBatches::even(&gradients[0])).expect_err("one").to_string(), "1 parts"),
        (
            {
                let rows = [&gradients[..1], &[], &gradients[2..]].to_vec();
                let batch = SubBatches { gradients: rows, weights: None, batch: 0 };
                badm.record(&mut plan, &batch).expect_err("a part without gradients").to_string()
            },
            "0 sub-batches in one part, 1 in another",
        ),
    ] {
        assert!(message.contains(words), "{message}");
    }
}
