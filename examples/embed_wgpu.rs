//! An app with a device, an encoder and shaders of its own, which trains by our BADM step.
//!
//! `cargo run --release --example embed_wgpu`
//!
//! A network of one hidden layer (place → 64 tanh units → colour) learns a picture of 32 × 32 pixels. The app computes the
//! gradients of four sub-batches, each every fourth pixel, by two kernels of its own in `embed_wgpu.wgsl`. Weights,
//! gradients, the state of BADM, the picture and the errors all lie in one buffer. Each frame is one compute pass and one
//! submission, both of the app's; our part of it, the step, was recorded before the first.

use std::error::Error;
use std::process::ExitCode;

use dualstep::engine::{Gpu, GpuOptions, Plan, PlanBuilder, Shape, StorageType, Tensor};
use dualstep::solvers::badm::{Badm, BadmConfig, SubBatches};

const SIDE: u32 = 32;
const PIXELS: u32 = SIDE * SIDE;
const UNITS: u32 = 64;
const SUB_BATCHES: u32 = 4;
/// A row of parameters, in `vec4`s: (x, y, bias, 0) of each unit, (red, green, blue, 0) of each unit, the same of the bias.
const QUADS: u32 = 2 * UNITS + 1;
const FRAMES: u32 = 600;
const FRAMES_PER_REPORT: u32 = 100;
/// What the loss is to be divided by at least.
pub const FACTOR: f32 = 20.0;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let instance = wgpu::Instance::default();
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))?;
    println!("{}", adapter.get_info().name);
    let losses = learn(&adapter)?;
    let fallen = losses[0] / losses[losses.len() - 1];
    println!("the loss fell by a factor of {fallen:.1}; {FACTOR} are asked for");
    Ok(if fallen >= FACTOR { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Learns the picture, and returns the loss before the first frame and after every so many.
pub fn learn(adapter: &wgpu::Adapter) -> Result<Vec<f32>, Box<dyn Error>> {
    // What the app wants of a device, and what the kernels do.
    let mut wanted = wgpu::DeviceDescriptor { label: Some("app"), ..Default::default() };
    Gpu::requirements(adapter)?.extend(&mut wanted);
    let (device, queue) = pollster::block_on(adapter.request_device(&wanted))?;
    let gpu = Gpu::from_wgpu(adapter.get_info(), device.clone(), queue.clone(), &GpuOptions::default())?;

    let app = App::new(&device);
    queue.write_buffer(&app.buffer, app.weights, bytemuck::cast_slice(&first_weights()));
    queue.write_buffer(&app.buffer, app.picture, bytemuck::cast_slice(&picture()));
    let (badm, step) = record_step(&gpu, &app)?;

    let mut losses = vec![app.loss(&device, &queue)?];
    for frame in 1..=FRAMES {
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            app.forward.record(&mut pass);
            app.backward.record(&mut pass);
            step.record(&mut pass);
        }
        queue.submit([encoder.finish()]);
        if frame.is_multiple_of(FRAMES_PER_REPORT) {
            let loss = app.loss(&device, &queue)?;
            println!("frame {frame:4}: loss {loss:.5}");
            losses.push(loss);
        }
    }
    badm.check()?; // an error if a gradient was not finite
    Ok(losses)
}

/// BADM over the app's memory, and its step, ready to be replayed in any pass.
fn record_step(gpu: &Gpu, app: &App) -> Result<(Badm, Plan), dualstep::Error> {
    let tensor = |offset: u64, rows: u32| -> Result<Tensor, dualstep::Error> {
        gpu.wrap(&app.buffer, offset, Shape::new(rows, 4 * QUADS), StorageType::F32)
    };
    let weights = tensor(app.weights, 1)?;
    let gradients = tensor(app.gradients, SUB_BATCHES)?;
    let state = [tensor(app.duals, SUB_BATCHES)?, tensor(app.moments, SUB_BATCHES)?];
    let badm = Badm::with_state(gpu, &BadmConfig::robust(SUB_BATCHES, 1e-3), &weights, &state)?;
    let mut plan = PlanBuilder::new(gpu, "step");
    badm.record(&mut plan, &SubBatches::even(&gradients))?;
    Ok((badm, plan.finish()?))
}

/// The app's memory, all of it in one buffer, and its pipelines.
struct App {
    buffer: wgpu::Buffer,
    weights: u64,
    gradients: u64,
    duals: u64,
    moments: u64,
    picture: u64,
    errors: u64,
    forward: Kernel,
    backward: Kernel,
}

impl App {
    fn new(device: &wgpu::Device) -> Self {
        // Sub-allocation: the next tensor begins where the device can bind one.
        let alignment = u64::from(device.limits().min_storage_buffer_offset_alignment);
        let mut end = 0;
        let mut take = |quads: u32| {
            let start = end;
            end = (start + u64::from(quads) * 16).next_multiple_of(alignment);
            start
        };
        let (weights, gradients) = (take(QUADS), take(SUB_BATCHES * QUADS));
        let (duals, moments) = (take(SUB_BATCHES * QUADS), take(SUB_BATCHES * QUADS));
        let (picture, errors) = (take(PIXELS), take(PIXELS));
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("app"),
            size: end,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });

        let module = device.create_shader_module(wgpu::include_wgsl!("embed_wgpu.wgsl"));
        let places =
            [("WEIGHTS", weights), ("GRADIENTS", gradients), ("PICTURE", picture), ("ERRORS", errors)];
        let constants = places.map(|(name, offset)| (name, (offset / 16) as f64));
        let kernel = |entry_point| Kernel::new(device, &module, entry_point, &constants, &buffer);
        let (forward, backward) = (kernel(("forward", PIXELS / 64)), kernel(("backward", SUB_BATCHES)));
        Self { buffer, weights, gradients, duals, moments, picture, errors, forward, backward }
    }

    /// The mean squared error of the weights as they are. Waits for the device.
    fn loss(&self, device: &wgpu::Device, queue: &wgpu::Queue) -> Result<f32, Box<dyn Error>> {
        let bytes = u64::from(PIXELS) * 16;
        let copy = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("errors"),
            size: bytes,
            usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
            mapped_at_creation: false,
        });
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.forward.record(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()));
        encoder.copy_buffer_to_buffer(&self.buffer, self.errors, &copy, 0, bytes);
        encoder.map_buffer_on_submit(&copy, wgpu::MapMode::Read, .., |_| ());
        queue.submit([encoder.finish()]);
        device.poll(wgpu::PollType::wait_indefinitely())?;
        let errors: Vec<f32> = bytemuck::pod_collect_to_vec(&copy.slice(..).get_mapped_range()?);
        Ok(errors.iter().map(|error| error * error).sum::<f32>() / PIXELS as f32)
    }
}

/// One entry point of the app's shader, bound to its buffer.
struct Kernel {
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    workgroups: u32,
}

impl Kernel {
    fn new(
        device: &wgpu::Device,
        module: &wgpu::ShaderModule,
        (entry_point, workgroups): (&str, u32),
        constants: &[(&str, f64)],
        buffer: &wgpu::Buffer,
    ) -> Self {
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(entry_point),
            layout: None,
            module,
            entry_point: Some(entry_point),
            compilation_options: wgpu::PipelineCompilationOptions { constants, ..Default::default() },
            cache: None,
        });
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(entry_point),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: buffer.as_entire_binding() }],
        });
        Self { pipeline, bind_group, workgroups }
    }

    fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(self.workgroups, 1, 1);
    }
}

/// Weights as they start: of units from a fixed sequence, of colours 0.
fn first_weights() -> Vec<f32> {
    let random = |k: u32| (k.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0;
    let unit = |u: u32| [4.0 * random(3 * u + 1), 4.0 * random(3 * u + 2), 2.0 * random(3 * u + 3), 0.0];
    let mut weights: Vec<f32> = (0..UNITS).flat_map(unit).collect();
    weights.resize(4 * QUADS as usize, 0.0);
    weights
}

/// Waves, and a disc with a soft edge, in (red, green, blue, 0).
fn picture() -> Vec<f32> {
    let colour = |pixel: u32| {
        let [x, y] =
            [pixel % SIDE, pixel / SIDE].map(|corner| (2.0 * corner as f32 + 1.0) / SIDE as f32 - 1.0);
        let disc = 1.0 / (1.0 + (20.0 * (x.hypot(y) - 0.6)).exp());
        [0.5 + 0.5 * (4.0 * x + 2.0 * y).sin(), 0.5 + 0.5 * (5.0 * x * y).cos(), disc, 0.0]
    };
    (0..PIXELS).flat_map(colour).collect()
}
