//! What a kernel is to the host: its name, bindings, parameter layout and variants; and the cache of its pipelines.
//!
//! Kernels are declared as statics beside their Rust function (`src/kernels/`); tests reflect every declaration
//! against its WGSL, so host and shader cannot drift apart unseen.

use super::gpu::{Checks, Gpu};
use super::shader;
use crate::Error;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What a kernel does with a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Declared `read`.
    Read,
    /// Declared `read_write`, never read before it is written.
    Write,
    /// Declared `read_write`, and both.
    Update,
}

impl Access {
    /// Whether the kernel stores to it.
    pub const fn writes(self) -> bool {
        !matches!(self, Self::Read)
    }

    /// Whether the kernel needs its contents.
    pub const fn reads(self) -> bool {
        !matches!(self, Self::Write)
    }
}

/// One storage buffer of a kernel, by its role in the maths.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// Name in WGSL and in error messages.
    pub name: &'static str,
    /// What the kernel does with it.
    pub access: Access,
    /// Whether the kernel is told the distance of rows, so that a [`window`](super::Tensor::window) will do.
    pub windows: bool,
}

impl Binding {
    /// A binding that is read.
    pub const fn read(name: &'static str) -> Self {
        Self { name, access: Access::Read, windows: false }
    }

    /// A binding that is written in full.
    pub const fn write(name: &'static str) -> Self {
        Self { name, access: Access::Write, windows: false }
    }

    /// A binding that is read and written.
    pub const fn update(name: &'static str) -> Self {
        Self { name, access: Access::Update, windows: false }
    }

    /// The same, for a window too.
    #[must_use]
    pub const fn windowed(self) -> Self {
        Self { windows: true, ..self }
    }
}

/// Names, in order, of a parameter struct whose members are all 4-byte scalars.
#[derive(Clone, Copy, Debug)]
pub struct ParamsLayout {
    /// Member name and WGSL type (`u32` or `f32`).
    pub members: &'static [(&'static str, &'static str)],
}

/// A compute kernel: one WGSL file, one Rust function, one oracle, one name.
#[derive(Debug)]
pub struct Kernel {
    /// `family/kernel`: the WGSL file without its ending.
    pub name: &'static str,
    /// Storage buffers in binding order. The parameters, if any, are one uniform after them.
    pub bindings: &'static [Binding],
    /// The parameter struct.
    pub params: ParamsLayout,
    /// Every variant that may run, for the tests that validate them all.
    pub variants: fn() -> Vec<Variant>,
}

/// Choices made when a kernel's text is put together: other imports, other `// @spec` values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// Short name for labels and tables.
    pub label: &'static str,
    /// Import to replace, replacement; both without `.wgsl`.
    pub imports: Vec<(&'static str, &'static str)>,
    /// Name of a spec line, its right-hand side.
    pub specs: Vec<(&'static str, String)>,
    /// Whether it needs subgroup operations.
    pub subgroups: bool,
    /// Whether it is for software drivers, and never chosen on a GPU.
    pub software: bool,
    /// Inputs declared `read` that are bound `read_write`, because they share a buffer with an output: see
    /// [`sharing`](Self::sharing).
    pub shared: Vec<&'static str>,
}

impl Variant {
    /// No replacement yet.
    pub const fn new(label: &'static str) -> Self {
        Self {
            label,
            imports: Vec::new(),
            specs: Vec::new(),
            subgroups: false,
            software: false,
            shared: Vec::new(),
        }
    }

    /// Imports `to` where the file says `from`.
    #[must_use]
    pub fn import(mut self, from: &'static str, to: &'static str) -> Self {
        self.imports.push((from, to));
        self
    }

    /// Sets a spec line.
    #[must_use]
    pub fn spec(mut self, name: &'static str, value: impl SpecValue) -> Self {
        self.specs.push((name, value.wgsl()));
        self
    }

    /// Marks it as using subgroup operations.
    #[must_use]
    pub fn with_subgroups(mut self) -> Self {
        self.subgroups = true;
        self
    }

    /// Marks it as for software drivers alone.
    #[must_use]
    pub fn for_software(mut self) -> Self {
        self.software = true;
        self
    }

    /// Binds an input `read_write`, although the kernel only reads it.
    ///
    /// wgpu tracks a buffer as a whole and refuses one that is bound `read` and `read_write` in one dispatch, be the ranges
    /// disjoint. A [plan](super::PlanBuilder) therefore adds this for every input that lies in one buffer with an output of
    /// the same dispatch, after it has seen to it that they do not overlap. Kernels do not know, and declare no such
    /// variant: the text differs in the access mode alone, so results have the same bits.
    ///
    /// Some compilers (Tint, and FXC for Direct3D 12) take what is loaded from such a binding to differ between lanes, and
    /// then refuse a barrier under its control. That is why other inputs stay `read`: the two that decide about barriers
    /// are small tensors of the solvers' own (`tests/shaders.rs` names them), which share no buffer.
    #[must_use]
    pub fn sharing(mut self, input: &'static str) -> Self {
        self.shared.push(input);
        self
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label)?;
        for (name, value) in &self.specs {
            write!(f, " {name}={value}")?;
        }
        for name in &self.shared {
            write!(f, " sharing {name}")?;
        }
        Ok(())
    }
}

/// A value a spec line can take.
pub trait SpecValue {
    /// As WGSL writes it.
    fn wgsl(self) -> String;
}

impl SpecValue for u32 {
    fn wgsl(self) -> String {
        format!("{self}u")
    }
}

/// Declares a parameter struct once: the Rust struct that is uploaded and the layout that reflection checks.
macro_rules! params {
    ($(#[$doc:meta])* $visibility:vis struct $name:ident { $($(#[$member_doc:meta])* $member:ident: $kind:ident),* $(,)? }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
        $visibility struct $name { $($(#[$member_doc])* pub $member: $kind),* }

        impl $name {
            /// Names and types in order, for reflection.
            pub const LAYOUT: $crate::engine::ParamsLayout =
                $crate::engine::ParamsLayout { members: &[$((stringify!($member), stringify!($kind))),*] };
        }
    };
}
pub(crate) use params;

/// A compiled variant.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

/// Pipelines compiled so far, by kernel and variant.
#[derive(Debug, Default)]
pub(super) struct Pipelines {
    compiled: Mutex<HashMap<(&'static str, Variant), Arc<Pipeline>>>,
}

impl Pipelines {
    pub fn get(&self, gpu: &Gpu, kernel: &'static Kernel, variant: &Variant) -> Result<Arc<Pipeline>, Error> {
        let key = (kernel.name, variant.clone());
        // Insertions are whole, so a poisoned lock still guards a sound map.
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = compiled.get(&key) {
            return Ok(Arc::clone(pipeline));
        }
        let pipeline = Arc::new(compile(gpu, kernel, variant)?);
        compiled.insert(key, Arc::clone(&pipeline));
        Ok(pipeline)
    }
}

fn compile(gpu: &Gpu, kernel: &'static Kernel, variant: &Variant) -> Result<Pipeline, Error> {
    let device = &gpu.inner.device;
    let label = format!("{} {variant}", kernel.name);
    let source = shader::flatten(kernel.name, variant)?;
    let descriptor =
        wgpu::ShaderModuleDescriptor { label: Some(&label), source: wgpu::ShaderSource::Wgsl(source.into()) };
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let module = match gpu.inner.checks {
        Checks::Checked => device.create_shader_module(descriptor),
        // SAFETY: every kernel guards its own indices; the suite runs each one in both modes, with canaries around
        // its outputs and NaN beyond its inputs.
        Checks::Unchecked => unsafe {
            device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        },
    };
    let layout = bind_group_layout(device, kernel, variant, &label);
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(&label),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(&label),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some("main"),
        // Every kernel writes its workgroup memory before reading it.
        compilation_options: wgpu::PipelineCompilationOptions {
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        },
        cache: None,
    });
    match pollster::block_on(scope.pop()) {
        Some(error) => Err(Error::Shader { shader: label, detail: error.to_string() }),
        None => Ok(Pipeline { pipeline, layout }),
    }
}

fn bind_group_layout(
    device: &wgpu::Device,
    kernel: &Kernel,
    variant: &Variant,
    label: &str,
) -> wgpu::BindGroupLayout {
    let entry = |binding: usize, ty: wgpu::BufferBindingType| wgpu::BindGroupLayoutEntry {
        binding: binding as u32,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    };
    let mut entries: Vec<_> = kernel
        .bindings
        .iter()
        .enumerate()
        .map(|(index, binding)| {
            let read_only = !binding.access.writes() && !variant.shared.contains(&binding.name);
            entry(index, wgpu::BufferBindingType::Storage { read_only })
        })
        .collect();
    if !kernel.params.members.is_empty() {
        entries.push(entry(kernel.bindings.len(), wgpu::BufferBindingType::Uniform));
    }
    device
        .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(label), entries: &entries })
}
