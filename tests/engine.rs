//! The scheduler's promises: what is refused while recording, what is shared, what is counted, whose device it is.

#[path = "support/gpu.rs"]
mod gpu;

use dualstep::Error;
use dualstep::engine::{Batch, Gpu, GpuOptions, PlanBuilder, Ring, Shape, Slab, StorageType};
use dualstep::kernels::linalg::{self, Transposed};
use dualstep::kernels::{dladmm, elementwise, reduce};

fn open() -> Option<Gpu> {
    gpu::open(GpuOptions::default())
}

/// 0, 1, 2 … as f32.
fn counting(count: u32) -> Vec<f32> {
    (0..count).map(|k| k as f32).collect()
}

#[test]
fn values_come_back_as_they_went_whatever_the_padding() {
    let Some(gpu) = open() else { return };
    for shape in [Shape::new(1, 1), Shape::new(3, 5), Shape::new(7, 8), Shape::new(0, 4), Shape::vector(1023)]
    {
        let values = counting(shape.rows * shape.columns);
        let tensor = gpu.upload(shape, &values).expect("fits");
        assert_eq!(gpu.read(&tensor).expect("reads back"), values, "{shape}");
    }
    let labels = gpu.upload_u32(Shape::vector(5), &[4, 3, 2, 1, 0]).expect("fits");
    assert_eq!(gpu.read_u32(&labels).expect("reads back"), [4, 3, 2, 1, 0]);
    let message = gpu.read(&labels).expect_err("labels are not f32").to_string();
    assert!(message.contains("U32"), "{message}");
    let message = gpu.upload(Shape::new(2, 2), &[1.0]).expect_err("one value for four").to_string();
    assert!(message.contains("2 × 2"), "{message}");
}

#[test]
fn operands_that_do_not_fit_are_named() {
    let Some(gpu) = open() else { return };
    let zeros = |rows, columns| gpu.zeros(Shape::new(rows, columns), StorageType::F32).expect("fits");
    let (a, b, c) = (zeros(784, 200), zeros(64, 784), zeros(784, 784));
    let mut plan = PlanBuilder::new(&gpu, "refused");
    let error =
        linalg::matmul(&mut plan, (&a, Transposed::No), (&b, Transposed::No), &c).expect_err("200 and 64");
    assert_eq!(
        error.to_string(),
        "linalg/matmul: A is 784 × 200 but B is 64 × 784; inner sizes 200 and 64 differ"
    );
    let error = elementwise::copy(&mut plan, &a, &b).expect_err("other shape");
    assert_eq!(
        error.to_string(),
        "elementwise/copy: `y` is 64 × 784 but the other operands call for 784 × 200"
    );
    let error = elementwise::copy(&mut plan, &a, &a).expect_err("aliased");
    assert!(matches!(error, Error::Aliased { written: "y", other: "x", .. }), "{error}");
    let (view, other) = (a.row_range(16..48).expect("rows of a"), a.row_range(32..64).expect("rows of a"));
    let error = elementwise::copy(&mut plan, &view, &other).expect_err("aliased");
    assert_eq!(
        error.to_string(),
        "elementwise/copy: `y` is written but overlaps `x`: bytes 25600..51200 and 12800..38400 of one buffer; give it \
         memory of its own"
    );
    let early = plan.temporary(Shape::new(784, 200));
    let error = elementwise::copy(&mut plan, &early, &a).expect_err("read before written");
    assert!(error.to_string().contains("before any kernel wrote it"), "{error}");
    let message = a.row_range(8..16).expect_err("not at a multiple of 16").to_string();
    assert!(message.contains("8..16"), "{message}");
}

#[test]
fn temporaries_with_separate_lifetimes_share_memory() {
    let Some(gpu) = open() else { return };
    let shape = Shape::new(64, 64);
    let input = gpu.upload(shape, &counting(64 * 64)).expect("fits");
    let output = gpu.zeros(shape, StorageType::F32).expect("fits");
    let mut plan = PlanBuilder::new(&gpu, "chain");
    let mut previous = input.clone();
    for _ in 0..10 {
        let next = plan.temporary(shape);
        elementwise::copy(&mut plan, &previous, &next).expect("same shape");
        previous = next;
    }
    elementwise::copy(&mut plan, &previous, &output).expect("same shape");
    let plan = plan.finish().expect("resolves");
    let bytes = 64 * 64 * 4;
    assert_eq!(plan.counts().unshared_bytes, 10 * bytes);
    assert_eq!(plan.counts().temporary_bytes, 2 * bytes, "two are alive at once");
    assert_eq!(plan.counts().dispatches, 11);
    assert_eq!(plan.counts().bytes, 11 * 2 * bytes);
    plan.run().expect("submits");
    assert_eq!(gpu.read(&output).expect("reads back"), gpu.read(&input).expect("reads back"));
}

#[test]
fn a_slab_is_one_tensor_and_its_parts() {
    let Some(gpu) = open() else { return };
    let slab = Slab::new(&[Shape::new(7, 5), Shape::vector(5), Shape::new(0, 3)]).expect("small");
    let rows = gpu.zeros(slab.shape(2), StorageType::F32).expect("fits");
    let part = |row, index| slab.part(&rows, row, index);
    let (weight, bias) = (part(1, 0).expect("there"), part(1, 1).expect("there"));
    let source = gpu.upload(Shape::new(7, 5), &counting(35)).expect("fits");
    let mut plan = PlanBuilder::new(&gpu, "parts");
    elementwise::copy(&mut plan, &source, &weight).expect("same shape");
    elementwise::fill(&mut plan, &bias, 7.0).expect("fits");
    elementwise::fill(&mut plan, &part(1, 2).expect("there"), 9.0).expect("nothing to fill");
    let error = elementwise::copy(&mut plan, &weight, &weight).expect_err("one part");
    assert!(matches!(error, Error::Aliased { .. }), "{error}");
    plan.finish().expect("resolves").run().expect("submits");
    assert_eq!(gpu.read(&weight).expect("reads back"), counting(35));
    let all = gpu.read(&rows).expect("reads back");
    let (first, second) = all.split_at(slab.length() as usize);
    assert!(first.iter().all(|value| *value == 0.0), "the other row");
    // Seven rows of five, each padded to eight; then, at the next multiple of 128, the bias.
    let stored: Vec<_> = second[..56].chunks(8).flat_map(|row| row[..5].to_vec()).collect();
    assert_eq!((stored, &second[128..133]), (counting(35), &[7.0; 5][..]));
    assert_eq!(second.iter().filter(|value| **value != 0.0).count(), 34 + 5);
    for (row, index) in [(2, 0), (0, 3)] {
        let message = part(row, index).expect_err("not there").to_string();
        assert!(message.contains(&format!("part {index} in row {row}")), "{message}");
    }
    slab.part(&source, 0, 0).expect_err("another tensor");
    let mut plan = PlanBuilder::new(&gpu, "from part to part");
    let copied = part(0, 0).expect("there");
    elementwise::copy(&mut plan, &weight, &copied).expect("one buffer, and no overlap");
    plan.finish().expect("resolves").run().expect("submits");
    assert_eq!(gpu.read(&copied).expect("reads back"), counting(35));
}

#[test]
fn a_replay_takes_no_memory_and_counts_its_dispatches() {
    let Some(gpu) = open() else { return };
    let x = gpu.upload(Shape::vector(100), &counting(100)).expect("fits");
    let steps = gpu.upload(Shape::new(1, 4), &[-1.0, 0.0, 0.0, 0.0]).expect("fits");
    let y = gpu.zeros(Shape::vector(100), StorageType::F32).expect("fits");
    let mut plan = PlanBuilder::new(&gpu, "add");
    elementwise::descend(&mut plan, &x, &steps, 0, &y).expect("same shape");
    let plan = plan.finish().expect("resolves");
    let before = gpu.counters();
    let mut batch = Batch::new(&gpu);
    batch.replay(&plan, 1000).expect("records");
    batch.submit().expect("submits");
    let after = gpu.counters();
    assert_eq!(after.dispatches - before.dispatches, 1000);
    assert_eq!(after.submits - before.submits, 4, "256 dispatches each");
    assert_eq!((after.memory, after.host_waits), (before.memory, before.host_waits));
    let expected: Vec<f32> = counting(100).iter().map(|x| 1000.0 * x).collect();
    assert_eq!(gpu.read(&y).expect("reads back"), expected);
}

#[test]
fn long_grids_are_folded() {
    let limited = GpuOptions { group_limit: Some(5), ..GpuOptions::default() };
    let Some(gpu) = gpu::open(limited) else { return };
    // 23 workgroups of 256 vec4s: five rows of five, two of them surplus.
    let shape = Shape::vector(23 * 1024 - 3);
    let y = gpu.zeros(shape, StorageType::F32).expect("fits");
    let mut plan = PlanBuilder::new(&gpu, "folded");
    elementwise::fill(&mut plan, &y, 2.5).expect("fits");
    plan.finish().expect("resolves").run().expect("submits");
    assert!(gpu.read(&y).expect("reads back").iter().all(|value| *value == 2.5));
    let mut plan = PlanBuilder::new(&gpu, "too long");
    let long = gpu.zeros(Shape::vector(26 * 1024), StorageType::F32).expect("fits");
    let error = elementwise::fill(&mut plan, &long, 0.0).expect_err("26 of 25 workgroups");
    assert!(matches!(error, Error::Limit { .. }), "{error}");
}

#[test]
fn memory_is_reused_and_counted() {
    let Some(gpu) = open() else { return };
    gpu.reset_peak_memory();
    let before = gpu.counters().memory;
    let first = gpu.upload(Shape::vector(1000), &counting(1000)).expect("fits");
    let during = gpu.counters().memory;
    // 4,000 bytes live in a class of 4,096.
    assert_eq!(during.in_use - before.in_use, 4096);
    drop(first);
    assert_eq!(gpu.counters().memory.in_use, before.in_use);
    let again = gpu.zeros(Shape::vector(1000), StorageType::F32).expect("fits");
    assert_eq!(gpu.counters().memory.peak, during.peak, "the same memory again");
    assert!(gpu.read(&again).expect("reads back").iter().all(|value| *value == 0.0), "zeroed again");
    drop(again);
    gpu.trim();
    assert_eq!(gpu.counters().memory.idle, 0);
}

#[test]
fn a_ring_brings_values_back_in_order_without_waiting() {
    let Some(gpu) = open() else { return };
    let tensor = gpu.zeros(Shape::vector(4), StorageType::F32).expect("fits");
    let mut ring = Ring::new(3);
    for value in [1.0, 2.0, 3.0] {
        let mut plan = PlanBuilder::new(&gpu, "set");
        elementwise::fill(&mut plan, &tensor, value).expect("fits");
        let mut batch = Batch::new(&gpu);
        batch.replay(&plan.finish().expect("resolves"), 1).expect("records");
        assert!(ring.push(&gpu, batch.encoder(), &tensor).expect("ours"));
        batch.submit().expect("submits");
    }
    let mut batch = Batch::new(&gpu);
    assert!(!ring.push(&gpu, batch.encoder(), &tensor).expect("ours"), "three are on their way");
    gpu.wait().expect("alive");
    for value in [1.0f32, 2.0, 3.0] {
        let bytes = ring.pop(&gpu).expect("alive").expect("arrived");
        assert_eq!(bytemuck::pod_collect_to_vec::<u8, f32>(&bytes), [value; 4]);
    }
    assert_eq!(ring.pop(&gpu).expect("alive"), None);
}

#[test]
fn a_profile_accounts_for_every_dispatch() {
    let Some(gpu) = open() else { return };
    let x = gpu.upload(Shape::new(100, 100), &counting(10_000)).expect("fits");
    let y = gpu.zeros(Shape::new(100, 100), StorageType::F32).expect("fits");
    let mut plan = PlanBuilder::new(&gpu, "profiled");
    elementwise::copy(&mut plan, &x, &y).expect("same shape");
    let partials = plan.temporary(Shape::vector(reduce::partial_count(&x)));
    reduce::dot(&mut plan, &x, &y, &partials, 0).expect("same shape");
    let plan = plan.finish().expect("resolves");
    let profile = plan.profile().expect("alive");
    assert_eq!(profile.rows.iter().map(|row| row.dispatches).sum::<u64>(), 2);
    assert_eq!(profile.rows.iter().map(|row| row.flops).sum::<u64>(), plan.counts().flops);
    assert_eq!(profile.rows.iter().map(|row| row.bytes).sum::<u64>(), plan.counts().bytes);
    assert!(profile.seconds() > 0.0);
}

#[test]
fn a_borrowed_device_serves_as_well() {
    let Some(own) = open() else { return };
    let instance = wgpu::Instance::default();
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let adapter = adapters.into_iter().find(|adapter| {
        let info = adapter.get_info();
        info.name == own.capabilities().adapter && info.backend == own.capabilities().backend
    });
    let Some(adapter) = adapter else { panic!("the adapter just used is gone") };
    let descriptor = wgpu::DeviceDescriptor { required_limits: adapter.limits(), ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("a host's device");
    let gpu =
        Gpu::from_wgpu(adapter.get_info(), device, queue, &GpuOptions::default()).expect("enough limits");
    assert_eq!(gpu.capabilities().subgroup, (0, 0), "the host asked for no subgroups");
    let input = counting(30 * 24);
    for gpu in [&own, &gpu] {
        let a = gpu.upload(Shape::new(30, 24), &input).expect("fits");
        let product = gpu.zeros(Shape::new(30, 30), StorageType::F32).expect("fits");
        let mut plan = PlanBuilder::new(gpu, "product");
        linalg::matmul(&mut plan, (&a, Transposed::No), (&a, Transposed::Yes), &product)
            .expect("same inner size");
        plan.finish().expect("resolves").run().expect("submits");
        let product = gpu.read(&product).expect("reads back");
        // Whole numbers below 2^24 are exact, so the two tile machines must agree with the closed form.
        let expected = |i: u64, j: u64| (0..24).map(|k| (24 * i + k) * (24 * j + k)).sum::<u64>();
        for (at, value) in product.iter().enumerate() {
            assert_eq!(*value as u64, expected(at as u64 / 30, at as u64 % 30), "element {at}");
        }
    }
}

#[test]
fn a_value_that_is_not_finite_is_noted_once_with_its_origin() {
    let Some(gpu) = open() else { return };
    let partials =
        gpu.upload(Shape::new(2, 4), &[1.0, 2.0, 3.0, 4.0, 5.0, f32::INFINITY, 7.0, 8.0]).expect("fits");
    let totals = gpu.zeros(Shape::new(1, 4), StorageType::F32).expect("fits");
    let status = gpu.upload_u32(Shape::vector(dladmm::STATUS_LENGTH), &[0, 0, 6, 0]).expect("fits");
    let mut plan = PlanBuilder::new(&gpu, "noted");
    for origin in [3, 9] {
        let args = reduce::Totals {
            partials: &partials,
            count: 2,
            totals: &totals,
            slot: 0,
            status: &status,
            origin,
        };
        reduce::totals(&mut plan, args).expect("fits");
    }
    plan.finish().expect("resolves").run().expect("submits");
    assert_eq!(gpu.read_u32(&status).expect("reads back"), [3, 7, 6, 0]);
}

#[test]
fn a_buffer_of_the_app_is_a_tensor_where_it_can_be_bound() {
    let Some(gpu) = open() else { return };
    let buffer = |usage| {
        let descriptor =
            wgpu::BufferDescriptor { label: Some("app"), size: 1024, usage, mapped_at_creation: false };
        gpu.device().create_buffer(&descriptor)
    };
    let storage = wgpu::BufferUsages::STORAGE;
    let app = buffer(storage | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST);
    let (shape, f32s) = (Shape::new(3, 5), StorageType::F32);
    let wrapped = gpu.wrap(&app, 256, shape, f32s).expect("fits");
    let x = gpu.upload(shape, &counting(15)).expect("fits");
    let mut plan = PlanBuilder::new(&gpu, "app");
    elementwise::copy(&mut plan, &x, &wrapped).expect("same shape");
    plan.finish().expect("resolves").run().expect("runs");
    assert_eq!(gpu.read(&wrapped).expect("reads back"), counting(15));
    let whole = gpu.read(&gpu.wrap(&app, 0, Shape::vector(256), f32s).expect("fits")).expect("reads back");
    let rows: Vec<_> = whole[64..88].chunks(8).flat_map(|row| row[..5].to_vec()).collect();
    assert_eq!(rows, counting(15));
    assert!(whole[..64].iter().chain(&whole[88..]).all(|value| *value == 0.0), "only the tensor was written");
    for (refused, words) in [
        (gpu.wrap(&app, 2, shape, f32s), "offset 2"),
        (gpu.wrap(&app, 1024, shape, f32s), "1024 bytes"),
        (gpu.wrap(&app, u64::MAX - 255, shape, f32s), "1024 bytes"),
        (gpu.wrap(&buffer(wgpu::BufferUsages::COPY_DST), 0, shape, f32s), "usage"),
    ] {
        let message = refused.expect_err(words).to_string();
        assert!(message.contains(words), "{message}");
    }
}
