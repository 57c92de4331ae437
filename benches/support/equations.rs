//! What a program does that has a kernel for each equation or operation: a bench's own WGSL, one entry point each, over
//! buffers that they share. Nothing of it is the library's, nothing is fused.

use std::borrow::Cow;

use dualstep::Error;
use dualstep::engine::{Counts, Gpu};

/// Before every source: the place of a lane, of which 256 make a workgroup.
const PLACE: &str = "
    fn at(id: vec3u, groups: vec3u) -> u32 {
        return id.x + id.y * groups.x * 256u;
    }
";

/// Memory for so many numbers.
pub fn buffer(gpu: &Gpu, elements: u64) -> wgpu::Buffer {
    gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: Some("equations"),
        size: 4 * elements,
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    })
}

/// Numbers in no order, in −scale/2…scale/2.
pub fn values(count: u64, scale: f32) -> Vec<f32> {
    let value = |k: u32| (k.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32 - 0.5;
    (0..count as u32).map(|k| scale * value(k)).collect()
}

/// One kernel.
pub struct Equation {
    /// Its entry point, of 256 lanes a workgroup.
    pub name: &'static str,
    /// The buffers that it touches, by binding.
    pub operands: &'static [u32],
    /// `vec4`s that it computes, one a lane.
    pub quads: u64,
    /// `vec4`s that it must read or write.
    pub moved: u64,
}

/// Kernels in the order in which they run.
pub struct Equations {
    gpu: Gpu,
    stages: Vec<Stage>,
    bytes: u64,
}

struct Stage {
    pipeline: wgpu::ComputePipeline,
    operands: wgpu::BindGroup,
    groups: [u32; 2],
}

impl Equations {
    /// Compiles them. The source may call `at` with an invocation's id and the number of workgroups for its lane's place.
    pub fn new(gpu: &Gpu, source: &str, buffers: &[&wgpu::Buffer], equations: &[Equation]) -> Self {
        let source = wgpu::ShaderSource::Wgsl(Cow::Owned(format!("{PLACE}{source}")));
        let descriptor = wgpu::ShaderModuleDescriptor { label: Some("equations"), source };
        let module = gpu.device().create_shader_module(descriptor);
        let stages = equations.iter().map(|equation| Stage::new(gpu, &module, buffers, equation));
        let bytes = equations.iter().map(|equation| 16 * equation.moved).sum();
        Self { gpu: gpu.clone(), stages: stages.collect(), bytes }
    }

    /// What they must move.
    pub fn counts(&self) -> Counts {
        Counts { dispatches: self.stages.len() as u64, bytes: self.bytes, ..Counts::default() }
    }

    /// Seconds of all of them, the mean of so many replays.
    pub fn time(&self, replays: u32) -> Result<f64, Error> {
        let dispatches = self.counts().dispatches * u64::from(replays);
        let seconds = self.gpu.time("equations", dispatches, |pass| {
            (0..replays).for_each(|_| self.stages.iter().for_each(|stage| stage.record(pass)));
        })?;
        Ok(seconds / f64::from(replays))
    }
}

impl Stage {
    fn new(gpu: &Gpu, module: &wgpu::ShaderModule, buffers: &[&wgpu::Buffer], equation: &Equation) -> Self {
        let label = Some(equation.name);
        let pipeline = gpu.device().create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: None,
            module,
            entry_point: label,
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let entry = |&binding: &u32| wgpu::BindGroupEntry {
            binding,
            resource: buffers[binding as usize].as_entire_binding(),
        };
        let entries: Vec<_> = equation.operands.iter().map(entry).collect();
        let layout = &pipeline.get_bind_group_layout(0);
        let descriptor = wgpu::BindGroupDescriptor { label, layout, entries: &entries };
        let operands = gpu.device().create_bind_group(&descriptor);
        let groups = equation.quads.div_ceil(256) as u32;
        let width = groups.min(32_768);
        Self { pipeline, operands, groups: [width, groups.div_ceil(width)] }
    }

    fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.operands, &[]);
        pass.dispatch_workgroups(self.groups[0], self.groups[1], 1);
    }
}
