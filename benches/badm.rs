//! What BADM gains by being one dispatch.
//!
//! Measured, on 4,194,304 parameters with 4 sub-batches: [`Badm`]'s step, and the same step as a program composes it that has
//! a kernel for each of the paper's equations (5), (4b), (6) and (7), local parameters and all. Both take the same gradients
//! from the same start and must arrive at the same parameters. Rounds of all rows one after another, submit to completion;
//! a row tells the median round, what it must move, and its share of what the copy moves in the same time. Equation (6) alone
//! is the control: nothing is fused in it, so that its share is the copy's.

use std::borrow::Cow;
use std::time::Instant;

use dualstep::Error;
use dualstep::engine::{Batch, Gpu, GpuOptions, PlanBuilder, Shape, StorageType, Tensor};
use dualstep::kernels::elementwise;
use dualstep::solvers::badm::{Badm, BadmConfig, SubBatches};
use dualstep::solvers::optimizer::Guard;

const SUB_BATCHES: u32 = 4;
const RHO: f64 = 500.0;
const SIGMA: f64 = 500.0;
const ROUNDS: usize = 11;

/// The paper's equations with [`RHO`], [`SIGMA`], β = 0.99 and equal sub-batches: rows of vec4s, one for each sub-batch but
/// of w.
const EQUATIONS: &str = "
    @group(0) @binding(0) var<storage, read_write> g: array<vec4f>;
    @group(0) @binding(1) var<storage, read_write> pi: array<vec4f>;
    @group(0) @binding(2) var<storage, read_write> m: array<vec4f>;
    @group(0) @binding(3) var<storage, read_write> local: array<vec4f>;
    @group(0) @binding(4) var<storage, read_write> w: array<vec4f>;

    const RHO = 500.0;
    const SIGMA = 500.0;
    const BETA = 0.99;

    fn at(id: vec3u, groups: vec3u) -> u32 {
        return id.x + id.y * groups.x * 256u;
    }

    @compute @workgroup_size(256)
    fn equation_5(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
        let i = at(id, groups);
        if i < arrayLength(&g) {
            local[i] = w[i % arrayLength(&w)] - (g[i] + pi[i]) / (RHO + SIGMA);
        }
    }

    @compute @workgroup_size(256)
    fn equation_4b(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
        let i = at(id, groups);
        if i < arrayLength(&pi) {
            pi[i] += SIGMA * (local[i] - w[i % arrayLength(&w)]);
        }
    }

    @compute @workgroup_size(256)
    fn equation_6(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
        let i = at(id, groups);
        if i < arrayLength(&m) {
            m[i] = BETA * m[i] + (1.0 - BETA) * pi[i] * pi[i];
        }
    }

    @compute @workgroup_size(256)
    fn equation_7(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
        let i = at(id, groups);
        let quads = arrayLength(&w);
        if i < quads {
            var sum = vec4f();
            for (var k = i; k < arrayLength(&m); k += quads) {
                sum += local[k] + pi[k] / (SIGMA * (sqrt(m[k]) + 1e-12));
            }
            w[i] = sum * (f32(quads) / f32(arrayLength(&m)));
        }
    }
";

/// An equation, the operands that it touches, whether a lane owns one vec4 of all sub-batches, and the vec4s that it must
/// move for each of w.
struct Equation {
    name: &'static str,
    operands: &'static [u32],
    is_of_all: bool,
    moved: u64,
}

const S: u64 = SUB_BATCHES as u64;
const FIVE: Equation =
    Equation { name: "equation_5", operands: &[0, 1, 3, 4], is_of_all: true, moved: 3 * S + 1 };
const FOUR: Equation =
    Equation { name: "equation_4b", operands: &[1, 3, 4], is_of_all: true, moved: 3 * S + 1 };
const SIX: Equation = Equation { name: "equation_6", operands: &[1, 2], is_of_all: true, moved: 3 * S };
const SEVEN: Equation =
    Equation { name: "equation_7", operands: &[1, 2, 3, 4], is_of_all: false, moved: 3 * S + 1 };

/// Memory of one of the two ways.
struct Memory {
    buffers: [wgpu::Buffer; 5],
    parameters: u32,
}

impl Memory {
    fn new(gpu: &Gpu, parameters: u32) -> Self {
        let buffer = |rows: u32| {
            gpu.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some("badm bench"),
                size: u64::from(rows) * u64::from(parameters) * 4,
                usage: wgpu::BufferUsages::STORAGE
                    | wgpu::BufferUsages::COPY_DST
                    | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            })
        };
        Self { buffers: [SUB_BATCHES, SUB_BATCHES, SUB_BATCHES, SUB_BATCHES, 1].map(buffer), parameters }
    }

    /// Gradients, duals, second moments, local parameters or parameters as a tensor.
    fn tensor(&self, gpu: &Gpu, which: usize) -> Result<Tensor, Error> {
        let rows = if which == 4 { 1 } else { SUB_BATCHES };
        gpu.wrap(&self.buffers[which], 0, Shape::new(rows, self.parameters), StorageType::F32)
    }

    /// Gradients of about 1, parameters of about 0.05, and the state in which the paper's BADM begins.
    fn start(&self, gpu: &Gpu) -> Result<(), Error> {
        let wave = |count: u32, scale: f32| -> Vec<f32> {
            (0..count)
                .map(|i| scale * (i.wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32 - 0.5))
                .collect()
        };
        let all = SUB_BATCHES * self.parameters;
        gpu.write(&self.tensor(gpu, 0)?, &wave(all, 2.0))?;
        gpu.write(&self.tensor(gpu, 1)?, &vec![0.0f32; all as usize])?;
        gpu.write(&self.tensor(gpu, 2)?, &vec![1e-8f32; all as usize])?;
        gpu.write(&self.tensor(gpu, 4)?, &wave(self.parameters, 0.1))
    }
}

/// An equation ready to be recorded.
struct Stage {
    pipeline: wgpu::ComputePipeline,
    operands: wgpu::BindGroup,
    groups: [u32; 2],
}

impl Stage {
    fn new(gpu: &Gpu, memory: &Memory, equation: &Equation) -> Self {
        let device = gpu.device();
        let source = wgpu::ShaderSource::Wgsl(Cow::Borrowed(EQUATIONS));
        let module =
            device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("badm"), source });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(equation.name),
            layout: None,
            module: &module,
            entry_point: Some(equation.name),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let entry = |&binding: &u32| wgpu::BindGroupEntry {
            binding,
            resource: memory.buffers[binding as usize].as_entire_binding(),
        };
        let entries: Vec<_> = equation.operands.iter().map(entry).collect();
        let operands = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(equation.name),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let rows = if equation.is_of_all { SUB_BATCHES } else { 1 };
        let groups = (rows * memory.parameters / 4).div_ceil(256);
        let width = groups.min(32_768);
        Self { pipeline, operands, groups: [width, groups.div_ceil(width)] }
    }

    fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.operands, &[]);
        pass.dispatch_workgroups(self.groups[0], self.groups[1], 1);
    }
}

/// Seconds from the recording of one submission to its completion.
fn timed(gpu: &Gpu, record: impl FnOnce(&mut Batch) -> Result<(), Error>) -> Result<f64, Error> {
    let start = Instant::now();
    let mut batch = Batch::new(gpu);
    record(&mut batch)?;
    batch.submit()?;
    gpu.wait()?;
    Ok(start.elapsed().as_secs_f64())
}

/// Records these stages one after another.
fn composed(batch: &mut Batch, stages: &[Stage]) -> Result<(), Error> {
    let mut pass = batch.encoder().begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    stages.iter().for_each(|stage| stage.record(&mut pass));
    Ok(())
}

/// A row of the table: bytes, and the seconds of each round.
struct Row {
    name: &'static str,
    bytes: u64,
    seconds: Vec<f64>,
}

impl Row {
    fn median(&self) -> f64 {
        let mut seconds = self.seconds.clone();
        seconds.sort_by(f64::total_cmp);
        seconds[seconds.len() / 2]
    }

    fn rate(&self) -> f64 {
        self.bytes as f64 / self.median()
    }
}

fn run(only_once: bool) -> Result<(), Error> {
    let gpu = Gpu::open(&GpuOptions::default())?;
    println!("{}", gpu.capabilities());
    let parameters = if only_once { 4096 } else { 1 << 22 };
    let (ours, theirs) = (Memory::new(&gpu, parameters), Memory::new(&gpu, parameters));
    ours.start(&gpu)?;
    theirs.start(&gpu)?;

    let config = BadmConfig { guard: Guard::Trust, ..BadmConfig::paper(SUB_BATCHES, 1, RHO, SIGMA) };
    let w = ours.tensor(&gpu, 4)?;
    let badm = Badm::new(&gpu, &config, &w)?;
    let mut fused = PlanBuilder::new(&gpu, "fused");
    badm.record(&mut fused, &SubBatches::even(&ours.tensor(&gpu, 0)?))?;
    let fused = fused.finish()?;
    let mut copy = PlanBuilder::new(&gpu, "copy");
    elementwise::copy(&mut copy, &ours.tensor(&gpu, 1)?, &ours.tensor(&gpu, 2)?)?;
    let copy = copy.finish()?;
    let equations = [FIVE, FOUR, SIX, SEVEN];
    let stages = equations.each_ref().map(|equation| Stage::new(&gpu, &theirs, equation));

    // The first step of each, from the same start.
    fused.run()?;
    timed(&gpu, |batch| composed(batch, &stages))?;
    expect_same(&gpu.read(&w)?, &gpu.read(&theirs.tensor(&gpu, 4)?)?);

    let quads = u64::from(parameters) * 4;
    let row = |name, bytes| Row { name, bytes, seconds: Vec::new() };
    let mut rows = [
        row("copy", copy.counts().bytes),
        row("one dispatch", fused.counts().bytes),
        row("four equations", equations.iter().map(|equation| equation.moved * quads).sum()),
        row("equation (6) alone", SIX.moved * quads),
    ];
    for _ in 0..if only_once { 1 } else { ROUNDS } {
        let seconds = [
            timed(&gpu, |batch| batch.replay(&copy, 1))?,
            timed(&gpu, |batch| batch.replay(&fused, 1))?,
            timed(&gpu, |batch| composed(batch, &stages))?,
            timed(&gpu, |batch| composed(batch, &stages[2..3]))?,
        ];
        rows.iter_mut().zip(seconds).for_each(|(row, seconds)| row.seconds.push(seconds));
    }
    println!("\n{:20} {:>9} {:>8} {:>8} {:>8}", "", "ms", "MB", "GB/s", "share %");
    for row in &rows {
        let (milliseconds, megabytes) = (1e3 * row.median(), row.bytes as f64 / 1e6);
        let share = 100.0 * row.rate() / rows[0].rate();
        println!("{:20} {milliseconds:9.3} {megabytes:8.1} {:8.2} {share:8.1}", row.name, row.rate() / 1e9);
    }
    println!("\nequation by equation takes {:.2} times as long", rows[2].median() / rows[1].median());
    Ok(())
}

/// The literal duals are differences of nearly equal parameters, of which f32 keeps four digits here.
fn expect_same(ours: &[f32], theirs: &[f32]) {
    let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>();
    let off = square(&mut ours.iter().zip(theirs).map(|(a, b)| a - b)).sqrt();
    let size = square(&mut ours.iter().copied()).sqrt();
    assert!(off <= 1e-4 * size && size > 0.0, "the two steps differ by {:e}", off / size);
}

fn main() {
    // `cargo test` runs every bench once, to see that it still works; `cargo bench` says that it is itself.
    match run(std::env::args().all(|argument| argument != "--bench")) {
        Ok(()) => {}
        Err(Error::NoAdapter { .. }) if std::env::var_os("DUALSTEP_REQUIRE_GPU").is_none() => {
            println!("SKIPPED: no adapter");
        }
        Err(error) => panic!("{error}"),
    }
}
