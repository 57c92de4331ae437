//! What an app with a wgpu device of its own is promised: what to ask of the device, steps in commands and memory of its
//! own that leave the bits of ours, and an error with a name for whatever it gets wrong.

#[path = "support/gpu.rs"]
mod gpu;

#[path = "support/values.rs"]
mod values;

#[path = "support/images.rs"]
mod images;

#[allow(dead_code)] // its main()
#[path = "../examples/embed_wgpu.rs"]
mod example;

use dualstep::Error;
use dualstep::engine::{AdapterClass, Gpu, GpuOptions, Plan, PlanBuilder, Shape, Slab, StorageType, Tensor};
use dualstep::kernels::elementwise;
use dualstep::solvers::badm::{Badm, BadmConfig, SubBatches};
use dualstep::solvers::dladmm::{Config, DlAdmm, Problem};
use dualstep::solvers::first_order::{FirstOrder, FirstOrderConfig, Method};
use dualstep::solvers::nm::{NmAdmm, NmConfig, Penalty, Rho};
use images::Images;
use values::values;

/// An app.
struct Host {
    adapter: wgpu::Adapter,
    device: wgpu::Device,
    queue: wgpu::Queue,
    gpu: Gpu,
}

/// The adapter that tests are to use, found as an app finds it.
fn adapter() -> Option<(Gpu, wgpu::Adapter)> {
    let own = gpu::open(GpuOptions::default())?;
    let instance = wgpu::Instance::default();
    let found = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let adapter = found.into_iter().find(|adapter| {
        let info = adapter.get_info();
        info.name == own.capabilities().adapter && info.backend == own.capabilities().backend
    });
    let Some(adapter) = adapter else { panic!("the adapter just used is gone") };
    Some((own, adapter))
}

impl Host {
    fn open() -> Option<Self> {
        let (_, adapter) = adapter()?;
        Some(Self::on(&adapter))
    }

    /// A device of this adapter with what kernels ask for.
    fn on(adapter: &wgpu::Adapter) -> Self {
        let mut wanted = wgpu::DeviceDescriptor {
            required_limits: wgpu::Limits::downlevel_defaults().using_resolution(adapter.limits()),
            ..Default::default()
        };
        Gpu::requirements(adapter).expect("it was used before").extend(&mut wanted);
        let (device, queue) = pollster::block_on(adapter.request_device(&wanted)).expect("it offers that");
        let gpu = Gpu::from_wgpu(adapter.get_info(), device.clone(), queue.clone(), &GpuOptions::default())
            .expect("enough of everything");
        Self { adapter: adapter.clone(), device, queue, gpu }
    }

    fn buffer(&self, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        let label = Some("app");
        self.device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false })
    }

    /// Records into a pass of the app's own and submits it.
    fn frame(&self, record: impl FnOnce(&mut wgpu::ComputePass<'_>)) {
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        record(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()));
        self.queue.submit([encoder.finish()]);
    }
}

/// Everything that an app may need.
fn all_usages() -> wgpu::BufferUsages {
    wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST
}

/// One buffer of the app's, cut into tensors.
struct Shelf<'a> {
    gpu: &'a Gpu,
    buffer: wgpu::Buffer,
    end: u64,
}

impl Shelf<'_> {
    fn zeros(&mut self, shape: Shape) -> Tensor {
        let tensor = self.gpu.wrap(&self.buffer, self.end, shape, StorageType::F32).expect("room for it");
        let alignment = u64::from(self.gpu.device().limits().min_storage_buffer_offset_alignment);
        self.end = (self.end + tensor.bytes()).next_multiple_of(alignment);
        tensor
    }
}

/// Makes a tensor of zeros.
type Make<'a> = &'a mut dyn FnMut(Shape) -> Tensor;

/// What is replayed in each frame, and what it changes.
struct Recorded {
    plans: Vec<Plan>,
    results: Vec<Tensor>,
}

/// Steps in the app's passes, on tensors in one buffer of its own, leave the bits that they leave in plans that we submit on
/// memory of ours; and nothing is submitted, awaited, uploaded or allocated by us.
fn expect_embedded(host: &Host, what: &str, set_up: impl Fn(&Gpu, Make<'_>) -> Recorded) {
    let gpu = &host.gpu;
    let apart = set_up(gpu, &mut |shape| gpu.zeros(shape, StorageType::F32).expect("fits"));
    let mut shelf = Shelf { gpu, buffer: host.buffer(1 << 16, all_usages()), end: 0 };
    let together = set_up(gpu, &mut |shape| shelf.zeros(shape));
    let shared = together.plans.iter().flat_map(Plan::operations);
    assert!(shared.into_iter().any(|it| it.variant.contains("sharing")), "{what}: read and written apart");

    let before = gpu.counters();
    for plan in &together.plans {
        host.frame(|pass| plan.record(pass));
    }
    assert_eq!(gpu.counters(), before, "{what}: no submit, wait, upload or memory of ours");
    apart.plans.iter().for_each(|plan| plan.run().expect("submits"));
    for (k, (apart, together)) in apart.results.iter().zip(&together.results).enumerate() {
        let [apart, together] = [apart, together].map(|tensor| gpu.read(tensor).expect("reads back"));
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert!(apart.iter().any(|value| *value != 0.0), "{what}: result {k} is nothing");
        assert_eq!(bits(&apart), bits(&together), "{what}: result {k}");
    }
}

fn finished(gpu: &Gpu, record: impl FnOnce(&mut PlanBuilder) -> Result<(), Error>) -> Plan {
    let mut plan = PlanBuilder::new(gpu, "step");
    record(&mut plan).expect("records");
    plan.finish().expect("resolves")
}

#[test]
fn badm_steps_in_the_apps_passes_and_memory() {
    let Some(host) = Host::open() else { return };
    const LENGTH: u32 = 516;
    expect_embedded(&host, "badm", |gpu, make| {
        let config = BadmConfig::robust(2, 1e-3);
        let (w, gradients) = (make(Shape::vector(LENGTH)), make(Shape::new(2, LENGTH)));
        gpu.write(&w, &values(1, LENGTH)).expect("same length");
        gpu.write(&gradients, &values(2, 2 * LENGTH)).expect("same length");
        let (tensors, shape) = config.state(LENGTH);
        let state: Vec<_> = (0..tensors).map(|_| make(shape)).collect();
        let badm = Badm::with_state(gpu, &config, &w, &state).expect("sound settings");
        let step = finished(gpu, |plan| badm.record(plan, &SubBatches::even(&gradients)));
        Recorded { plans: vec![step; 5], results: [vec![w], state].concat() }
    });
}

#[test]
fn first_order_methods_step_in_the_apps_passes_and_memory() {
    let Some(host) = Host::open() else { return };
    const LENGTH: u32 = 301;
    for method in [
        Method::Sgd,
        Method::Momentum,
        Method::Nesterov,
        Method::AdaGrad,
        Method::Adadelta,
        Method::RmsProp,
        Method::Adam,
        Method::AdamW,
        Method::NAdam,
        Method::Adamax,
    ] {
        expect_embedded(&host, &format!("{method:?}"), |gpu, make| {
            let config = FirstOrderConfig::pytorch(method);
            let (w, gradient) = (make(Shape::vector(LENGTH)), make(Shape::vector(LENGTH)));
            gpu.write(&w, &values(1, LENGTH)).expect("same length");
            gpu.write(&gradient, &values(2, LENGTH)).expect("same length");
            let shape = config.state(LENGTH);
            let state: Vec<_> = (shape.rows > 0).then(|| make(shape)).into_iter().collect();
            let solver = match state.as_slice() {
                [state] => FirstOrder::with_state(gpu, &config, &w, state),
                _ => FirstOrder::new(gpu, &config, &w),
            };
            let step = finished(gpu, |plan| solver.expect("sound settings").record(plan, &gradient));
            Recorded { plans: vec![step; 5], results: [vec![w], state].concat() }
        });
    }
}

#[test]
fn sparse_admm_steps_and_updates_in_the_apps_passes_and_memory() {
    let Some(host) = Host::open() else { return };
    let slab = Slab::new(&[Shape::new(12, 20), Shape::vector(12), Shape::new(5, 12)]).expect("small");
    let patterns = [(0, "2:4".parse().expect("a pattern")), (2, "1:4".parse().expect("a pattern"))];
    for penalty in [
        Penalty::Pull { kappa: 1.0 },
        Penalty::Coupled { rho: Rho::Given(0.5) },
        Penalty::Coupled { rho: Rho::Auto { kappa: 1.0 } },
        Penalty::Decoupled { rho: 100.0 },
    ] {
        expect_embedded(&host, &format!("{penalty:?}"), |gpu, make| {
            let (w, gradient) = (make(slab.shape(1)), make(slab.shape(1)));
            for part in 0..3 {
                for (row, seed) in [(&w, 1), (&gradient, 4)] {
                    let part_of_row = slab.part(row, 0, part).expect("there");
                    let values = values(seed + part as u32, part_of_row.shape().elements() as u32);
                    gpu.write(&part_of_row, &values).expect("same length");
                }
            }
            let config = FirstOrderConfig::pytorch(Method::Adam);
            let state = make(config.state(slab.length()));
            let adam = FirstOrder::with_state(gpu, &config, &w, &state).expect("sound settings");
            let config = NmConfig { penalty, interval: 2, updates: 10, leak: 0.5 };
            let nm = NmAdmm::new(gpu, &config, &slab, &w, &patterns).expect("sound settings");
            let start = finished(gpu, |plan| nm.start(plan));
            let step = finished(gpu, |plan| adam.record_sparse(plan, &gradient, &[Some(nm.penalty())]));
            let update = finished(gpu, |plan| nm.update(plan, &adam));
            let finish = finished(gpu, |plan| nm.finish(plan));
            let t = nm.t().cloned();
            let results = [w, state, nm.measures().clone()].into_iter().chain(t).collect();
            let round = [&step, &step, &update];
            let plans = [&start].into_iter().chain(round).chain(round).chain([&finish]).cloned().collect();
            Recorded { plans, results }
        });
    }
}

/// dlADMM keeps its network in memory of its own; iterations, scores and refreshed products among them, go into passes of
/// the app's, and copies of the records into its commands.
#[test]
fn dladmm_iterates_in_the_apps_passes() {
    let Some(host) = Host::open() else { return };
    let images = Images::first(200);
    let problem = Problem { outputs: 10, train: images.samples(), test: None };
    let config =
        Config { hidden: vec![12, 9], evaluate_every: 2, refresh_every: 3, seed: 3, ..Config::default() };
    let new = || DlAdmm::new(&host.gpu, &config, &problem).expect("a sound problem");
    let (mut ours, mut theirs) = (new(), new());
    let before = host.gpu.counters();
    for _ in 0..7 {
        let mut encoder = host.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        theirs.record(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()));
        theirs.copy_records(&mut encoder).expect("its own");
        host.queue.submit([encoder.finish()]);
    }
    assert_eq!(host.gpu.counters(), before, "no submit, wait, upload or memory of ours");
    host.device.poll(wgpu::PollType::wait_indefinitely()).expect("alive");
    let polled = theirs.poll().expect("finite");
    assert_eq!((polled.len(), theirs.in_flight()), (7, 0));
    ours.run(7).expect("submits");
    assert_eq!(ours.finish().expect("finite"), polled);
    assert_eq!(ours.state().expect("reads back"), theirs.state().expect("reads back"));
}

#[test]
fn a_device_made_as_required_is_as_good_as_our_own() {
    let Some((own, adapter)) = adapter() else { return };
    let host = Host::on(&adapter);
    assert_eq!(host.gpu.capabilities().to_string(), own.capabilities().to_string());
    // What the app asks for stays.
    let limits =
        wgpu::Limits { max_bind_groups: 8, min_storage_buffer_offset_alignment: 32, ..Default::default() };
    let mut wanted = wgpu::DeviceDescriptor {
        required_features: wgpu::Features::FLOAT32_FILTERABLE,
        required_limits: limits,
        ..Default::default()
    };
    let required = Gpu::requirements(&adapter).expect("it was used before");
    required.extend(&mut wanted);
    assert_eq!(wanted.required_features, wgpu::Features::FLOAT32_FILTERABLE | required.features);
    let [extended, ours] = [wanted.required_limits, required.limits];
    assert_eq!(extended.max_bind_groups, 8);
    assert_eq!(
        extended.max_compute_workgroup_storage_size,
        ours.max_compute_workgroup_storage_size.max(16 << 10)
    );
    let alignment = ours.min_storage_buffer_offset_alignment.min(32);
    assert_eq!(extended.min_storage_buffer_offset_alignment, alignment);
}

#[test]
fn a_device_that_lacks_something_is_refused_by_its_name() {
    let Some((_, adapter)) = adapter() else { return };
    let request = |required_limits| {
        let wanted = wgpu::DeviceDescriptor { required_limits, ..Default::default() };
        pollster::block_on(adapter.request_device(&wanted)).expect("less than it offers")
    };
    let least = wgpu::Limits::downlevel_defaults().using_resolution(adapter.limits());
    let (device, queue) = request(least.clone());
    let error = Gpu::from_wgpu(adapter.get_info(), device, queue, &GpuOptions::default()).expect_err("four");
    assert!(
        matches!(error, Error::Requirement { what: "max_storage_buffers_per_shader_stage", .. }),
        "{error}"
    );
    let message = error.to_string();
    let words = "max_storage_buffers_per_shader_stage is 4 but must be at least 7; Gpu::requirements says";
    assert!(message.contains(words), "{message}");

    let enough = wgpu::Limits {
        max_storage_buffers_per_shader_stage: 7,
        max_compute_workgroup_storage_size: 16 << 10,
        ..least
    };
    let (device, queue) = request(enough);
    let lanes = GpuOptions { class: Some(AdapterClass::SoftwareEightLanes), ..Default::default() };
    let error = Gpu::from_wgpu(adapter.get_info(), device, queue, &lanes).expect_err("no subgroups");
    assert!(error.to_string().contains("Features::SUBGROUP is off but must be enabled"), "{error}");
}

#[test]
fn buffers_that_do_not_serve_are_refused_and_copies_only_where_they_can_be_made() {
    let Some(host) = Host::open() else { return };
    let (shape, f32s) = (Shape::new(3, 5), StorageType::F32);
    let storage = wgpu::BufferUsages::STORAGE;
    let foreign = Host::on(&host.adapter).buffer(1024, all_usages());
    let destroyed = host.buffer(1024, all_usages());
    destroyed.destroy();
    let app = host.buffer(1024, storage);
    for (refused, words) in [
        (host.gpu.wrap(&host.buffer(1024, wgpu::BufferUsages::COPY_DST), 0, shape, f32s), "it needs STORAGE"),
        (host.gpu.wrap(&app, 960, shape, f32s), "ends past the buffer's 1024 bytes"),
        (host.gpu.wrap(&app, 4, shape, f32s), "offset 4 is not a multiple of"),
        (host.gpu.wrap(&foreign, 0, shape, f32s), "evice"),
        (host.gpu.wrap(&destroyed, 0, shape, f32s), "destroyed"),
    ] {
        let message = refused.expect_err(words).to_string();
        assert!(message.starts_with("plan wrap: ") && message.contains(words), "{words}: {message}");
    }

    // STORAGE alone is enough for a plan.
    let wrapped = host.gpu.wrap(&app, 256, shape, f32s).expect("fits");
    let (x, y) =
        (host.gpu.upload(shape, &values(1, 15)).expect("fits"), host.gpu.zeros(shape, f32s).expect("fits"));
    finished(&host.gpu, |plan| {
        elementwise::copy(plan, &x, &wrapped)?;
        elementwise::copy(plan, &wrapped, &y)
    })
    .run()
    .expect("submits");
    assert_eq!(host.gpu.read(&y).expect("reads back"), values(1, 15));
    let message = host.gpu.read(&wrapped).expect_err("cannot be copied from").to_string();
    assert!(message.starts_with("plan read-back: ") && message.contains("COPY_SRC"), "{message}");
    let message = host.gpu.write(&wrapped, &values(1, 15)).expect_err("cannot be copied to").to_string();
    assert!(message.starts_with("plan upload: ") && message.contains("COPY_DST"), "{message}");
}

#[test]
fn operands_that_do_not_fit_the_step_are_refused() {
    let Some(host) = Host::open() else { return };
    let gpu = &host.gpu;
    let buffer = host.buffer(1 << 14, all_usages());
    let wrap = |offset, rows, columns, storage| {
        gpu.wrap(&buffer, offset, Shape::new(rows, columns), storage).expect("fits")
    };
    let w = wrap(0, 1, 128, StorageType::F32);
    let adam = FirstOrder::new(gpu, &FirstOrderConfig::pytorch(Method::Adam), &w).expect("sound settings");
    let badm = Badm::new(gpu, &BadmConfig::robust(2, 1e-3), &w).expect("sound settings");
    let foreign = Host::on(&host.adapter).gpu.zeros(w.shape(), StorageType::F32).expect("fits");
    for (gradient, words) in [
        (wrap(1024, 1, 64, StorageType::F32), "1 × 64"),
        (wrap(1024, 1, 128, StorageType::Bf16), "Bf16"),
        (
            wrap(256, 1, 128, StorageType::F32),
            "`w` is written but overlaps `gradient`: bytes 0..512 and 256..768",
        ),
        (w.clone(), "`w` is written but overlaps `gradient`: bytes 0..512 and 0..512"),
        (foreign, "is a tensor of another Gpu"),
    ] {
        let message =
            adam.record(&mut PlanBuilder::new(gpu, "refused"), &gradient).expect_err(words).to_string();
        assert!(message.contains(words), "{words}: {message}");
    }
    let (long, over) = (wrap(1024, 2, 256, StorageType::F32), wrap(0, 2, 128, StorageType::F32));
    for (gradients, words) in
        [(long, "rows of 256 elements but there are 128"), (over, "overlaps `gradients`")]
    {
        let mut plan = PlanBuilder::new(gpu, "refused");
        let message = badm.record(&mut plan, &SubBatches::even(&gradients)).expect_err(words).to_string();
        assert!(message.contains(words), "{words}: {message}");
    }
    // Two outputs of one kernel.
    let config = BadmConfig::robust(2, 1e-3);
    let state = [wrap(1024, 2, 128, StorageType::F32), wrap(1536, 2, 128, StorageType::F32)];
    let badm = Badm::with_state(gpu, &config, &w, &state).expect("overlaps only when it is recorded");
    let gradients = wrap(4096, 2, 128, StorageType::F32);
    let mut plan = PlanBuilder::new(gpu, "refused");
    let error = badm.record(&mut plan, &SubBatches::even(&gradients)).expect_err("duals over moments");
    assert!(matches!(error, Error::Aliased { .. }), "{error}");
    let message = Badm::with_state(gpu, &config, &w, &state[..1]).expect_err("one of two").to_string();
    assert!(message.contains("1 tensors for state that takes 2"), "{message}");
}

#[test]
fn a_device_that_the_app_destroys_ends_every_later_call_with_an_error() {
    let Some(host) = Host::open() else { return };
    let gpu = &host.gpu;
    let w = gpu.upload(Shape::vector(64), &values(1, 64)).expect("fits");
    let gradient = gpu.upload(Shape::vector(64), &values(2, 64)).expect("fits");
    let adam = FirstOrder::new(gpu, &FirstOrderConfig::pytorch(Method::Adam), &w).expect("sound settings");
    let step = finished(gpu, |plan| adam.record(plan, &gradient));
    step.run().expect("alive");
    let mut encoder = host.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    step.record(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()));
    host.device.destroy();
    // What the app had begun to record leads nowhere, and does no harm.
    host.queue.submit([encoder.finish()]);
    let destroyed = |error: Error| {
        let is_fault = matches!(&error, Error::DeviceFault { detail } if detail.contains("destroyed"));
        assert!(is_fault, "{error}");
    };
    // wgpu tells of it when what was submitted before is done: at this wait if not before.
    destroyed(step.run().and_then(|()| gpu.wait()).expect_err("destroyed"));
    destroyed(step.run().expect_err("destroyed"));
    destroyed(adam.check().expect_err("destroyed"));
    destroyed(gpu.read(&w).expect_err("destroyed"));
    destroyed(gpu.write(&w, &values(1, 64)).expect_err("destroyed"));
    destroyed(gpu.zeros(w.shape(), StorageType::F32).expect_err("destroyed"));
    destroyed(gpu.wait().expect_err("destroyed"));
}

#[test]
fn an_app_that_keeps_the_devices_handlers_passes_faults_on() {
    let Some(host) = Host::open() else { return };
    let faults = host.gpu.faults();
    host.device.on_uncaptured_error(std::sync::Arc::new(move |error: wgpu::Error| {
        faults.note(format!("seen by the app: {error}"));
    }));
    host.gpu.check().expect("nothing yet");
    // A buffer that is mapped for reading cannot be a storage buffer, too, without a feature.
    host.buffer(64, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::STORAGE);
    let message = host.gpu.check().expect_err("told").to_string();
    assert!(message.contains("seen by the app"), "{message}");
}

#[test]
fn the_example_learns_its_picture() {
    let Some((_, adapter)) = adapter() else { return };
    let losses = example::learn(&adapter).expect("runs");
    let fallen = losses[0] / losses[losses.len() - 1];
    assert!(fallen >= example::FACTOR, "{losses:?}");
}
