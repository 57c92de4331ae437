//! Plans: record once, check, resolve, replay many times.
//!
//! Kernel functions call [`PlanBuilder::dispatch`]; solvers finish the builder into a [`Plan`] and replay it in a
//! [`Batch`]. A finished plan holds pipelines, bind groups and one parameter buffer; replaying it allocates nothing,
//! uploads nothing and waits for nothing. Temporaries whose lifetimes do not meet share memory, and plans built with
//! one [`Arena`] share it too, because the queue runs them one after another. A host app replays a plan in commands of its
//! own by [`Plan::record`], and keeps the plan until they are submitted.

use super::gpu::Gpu;
use super::kernel::{Access, Kernel, Pipeline, Variant};
use super::tensor::{Place, Shape, StorageType, Tensor};
use crate::Error;
use std::sync::{Arc, Mutex, PoisonError};

/// Dispatches after which a batch is handed to the queue.
const DISPATCHES_PER_SUBMIT: u64 = 256;
/// Work after which a batch is handed to the queue: a slow GPU does this well inside Windows' two-second limit.
const FLOPS_PER_SUBMIT: u64 = 400_000_000_000;

/// A grid of workgroups, linear from the kernel's point of view (`linear_group` in `shaders/shared/index.wgsl`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups(pub u64);

impl Groups {
    /// Enough groups of `lanes` lanes for `items`, one item a lane.
    pub const fn over(items: u64, lanes: u32) -> Self {
        Self(items.div_ceil(lanes as u64))
    }

    /// x and y sizes with x ≤ `limit`; kernels ignore the surplus groups of the last row.
    fn folded(self, limit: u32) -> Option<[u32; 2]> {
        let rows = self.0.div_ceil(u64::from(limit));
        let columns = self.0.div_ceil(rows.max(1));
        (rows <= u64::from(limit)).then_some([columns as u32, rows as u32])
    }
}

/// One call of a kernel, as its Rust function hands it to the plan.
#[derive(Debug)]
pub struct Dispatch<'a> {
    /// Which kernel.
    pub kernel: &'static Kernel,
    /// Which of its variants.
    pub variant: Variant,
    /// A tensor per binding, in the kernel's order.
    pub operands: &'a [&'a Tensor],
    /// The parameter struct's bytes.
    pub params: &'a [u8],
    /// How many workgroups; zero means there is nothing to do.
    pub groups: Groups,
    /// Floating-point operations; a fused multiply-add is two.
    pub flops: u64,
}

/// A recorded dispatch, for reports and tests.
#[derive(Clone, Debug)]
pub struct Operation {
    /// `family/kernel`.
    pub kernel: &'static str,
    /// The variant's label and spec values.
    pub variant: String,
    /// Shapes of the operands, in binding order.
    pub shapes: Vec<Shape>,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes read and written, counting each operand once per direction, save what the kernel leaves alone.
    pub bytes: u64,
}

/// What one replay of a plan does, exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Compute dispatches.
    pub dispatches: u64,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes read and written.
    pub bytes: u64,
    /// Bytes of temporaries after sharing.
    pub temporary_bytes: u64,
    /// Bytes the temporaries would take without sharing.
    pub unshared_bytes: u64,
}

/// Memory for temporaries that several plans take turns in.
#[derive(Clone, Debug, Default)]
pub struct Arena {
    places: Arc<Mutex<Vec<(u64, Place)>>>,
}

impl Arena {
    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(bytes, _)| bytes).sum()
    }
}

/// Records dispatches and checks them on the host.
#[derive(Debug)]
pub struct PlanBuilder {
    gpu: Gpu,
    label: String,
    arena: Arena,
    steps: Vec<Step>,
    temporaries: Vec<Temporary>,
}

#[derive(Debug)]
struct Step {
    operation: Operation,
    pipeline: Arc<Pipeline>,
    operands: Vec<Tensor>,
    params: Vec<u8>,
    grid: [u32; 2],
}

/// A tensor of the plan's own and the steps that touch it.
#[derive(Debug)]
struct Temporary {
    tensor: Tensor,
    first: usize,
    last: usize,
    written: bool,
}

impl PlanBuilder {
    /// A plan named `label` in errors and profiles, with temporaries of its own.
    pub fn new(gpu: &Gpu, label: &str) -> Self {
        Self::with_arena(gpu, label, &Arena::default())
    }

    /// A plan whose temporaries live in `arena`.
    pub fn with_arena(gpu: &Gpu, label: &str, arena: &Arena) -> Self {
        Self {
            gpu: gpu.clone(),
            label: label.into(),
            arena: arena.clone(),
            steps: Vec::new(),
            temporaries: Vec::new(),
        }
    }

    /// The device the plan is for.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// An f32 tensor that lives from its first use to its last within one replay. Its contents are undefined until
    /// a kernel writes them.
    pub fn temporary(&mut self, shape: Shape) -> Tensor {
        let tensor = Tensor::unplaced(self.gpu.inner.number, shape, StorageType::F32);
        self.temporaries.push(Temporary {
            tensor: tensor.clone(),
            first: usize::MAX,
            last: 0,
            written: false,
        });
        tensor
    }

    /// Adds a dispatch.
    ///
    /// # Errors
    /// [`Error::Aliased`] when a written operand overlaps another; [`Error::Plan`] when an operand is another `Gpu`'s or a
    /// view that the device cannot bind, or a temporary is read before it is written or belongs to another plan;
    /// [`Error::Limit`] when the grid exceeds the device's; [`Error::Shader`] when the
    /// kernel does not compile.
    pub fn dispatch(&mut self, dispatch: Dispatch<'_>) -> Result<(), Error> {
        self.dispatch_in_part(dispatch, 0)
    }

    /// [`PlanBuilder::dispatch`] of a kernel that leaves `untouched` bytes of its operands alone, which then do not count.
    ///
    /// # Errors
    /// As [`PlanBuilder::dispatch`].
    pub fn dispatch_in_part(&mut self, dispatch: Dispatch<'_>, untouched: u64) -> Result<(), Error> {
        let Dispatch { kernel, variant, operands, params, groups, flops } = dispatch;
        debug_assert_eq!(operands.len(), kernel.bindings.len(), "{}: operands", kernel.name);
        debug_assert_eq!(params.len(), kernel.params.members.len() * 4, "{}: parameters", kernel.name);
        self.check_places(kernel, operands)?;
        let variant = sharing_buffers(kernel, variant, operands)?;
        check_windows(kernel, operands)?;
        self.mark_lifetimes(kernel, operands)?;
        if groups.0 == 0 {
            return Ok(());
        }
        let limit = self.gpu.capabilities().group_limit;
        let Some(grid) = groups.folded(limit) else {
            return Err(Error::Limit {
                what: format!("the grid of {}", kernel.name),
                needed: format!("{} workgroups", groups.0),
                allowed: format!("{limit} × {limit}"),
                remedy: "use smaller sample blocks",
            });
        };
        let directions = |access: Access| u64::from(access.reads()) + u64::from(access.writes());
        let bindings = kernel.bindings.iter().zip(operands);
        let bytes: u64 = bindings.map(|(binding, tensor)| tensor.bytes() * directions(binding.access)).sum();
        debug_assert!(untouched <= bytes, "{}: more is untouched than there is", kernel.name);
        let operation = Operation {
            kernel: kernel.name,
            variant: variant.to_string(),
            shapes: operands.iter().map(|tensor| tensor.shape()).collect(),
            flops,
            bytes: bytes - untouched,
        };
        let pipeline = self.gpu.inner.pipelines.get(&self.gpu, kernel, &variant)?;
        let operands = operands.iter().map(|tensor| (*tensor).clone()).collect();
        self.steps.push(Step { operation, pipeline, operands, params: params.into(), grid });
        Ok(())
    }

    /// Whether the operands are of this device, and where it can bind them.
    fn check_places(&self, kernel: &Kernel, operands: &[&Tensor]) -> Result<(), Error> {
        let alignment = u64::from(self.gpu.inner.device.limits().min_storage_buffer_offset_alignment);
        for (binding, operand) in kernel.bindings.iter().zip(operands) {
            let first = operand.range().start;
            let complaint = if operand.owner() != self.gpu.inner.number {
                "is a tensor of another Gpu".into()
            } else if !first.is_multiple_of(alignment) {
                format!("begins at byte {first} of its buffer, not a multiple of {alignment}")
            } else {
                continue;
            };
            let detail = format!("{}: `{}` {complaint}", kernel.name, binding.name);
            return Err(Error::Plan { plan: self.label.clone(), detail });
        }
        Ok(())
    }

    /// Extends the lifetimes of the temporaries among `operands` to the step about to be added.
    fn mark_lifetimes(&mut self, kernel: &'static Kernel, operands: &[&Tensor]) -> Result<(), Error> {
        let step = self.steps.len();
        for (binding, operand) in kernel.bindings.iter().zip(operands) {
            if operand.is_placed() {
                continue;
            }
            let complaint = |what: &str| Error::Plan {
                plan: self.label.clone(),
                detail: format!("{}: temporary `{}` {what}", kernel.name, binding.name),
            };
            let found = self.temporaries.iter().position(|temporary| temporary.tensor.is(operand));
            let found = found.ok_or_else(|| complaint("belongs to another plan that is not finished"))?;
            if binding.access.reads() && !self.temporaries[found].written {
                return Err(complaint("is read before any kernel wrote it"));
            }
            let temporary = &mut self.temporaries[found];
            temporary.written |= binding.access.writes();
            temporary.first = temporary.first.min(step);
            temporary.last = temporary.last.max(step);
        }
        Ok(())
    }

    /// Assigns memory to the temporaries, uploads the parameters and makes the bind groups.
    ///
    /// # Errors
    /// [`Error::Limit`] when a temporary does not fit the device; [`Error::Plan`] with the driver's words when a bind
    /// group is refused.
    pub fn finish(self) -> Result<Plan, Error> {
        let unshared_bytes = self.temporaries.iter().map(|temporary| temporary.tensor.bytes()).sum();
        self.assign_temporaries()?;
        let device = &self.gpu.inner.device;
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let (params, offsets) = self.upload_params();
        let steps: Vec<ReadyStep> = self
            .steps
            .iter()
            .zip(offsets)
            .map(|(step, offset)| ReadyStep {
                operation: step.operation.clone(),
                pipeline: Arc::clone(&step.pipeline),
                bind_group: bind_group(device, step, &params, offset),
                grid: step.grid,
            })
            .collect();
        if let Some(error) = pollster::block_on(scope.pop()) {
            return Err(Error::Plan { plan: self.label, detail: error.to_string() });
        }
        let counts = Counts {
            dispatches: steps.len() as u64,
            flops: steps.iter().map(|step| step.operation.flops).sum(),
            bytes: steps.iter().map(|step| step.operation.bytes).sum(),
            temporary_bytes: self.arena.bytes(),
            unshared_bytes,
        };
        let operands = self.steps.into_iter().flat_map(|step| step.operands).collect();
        let inner = PlanInner { label: self.label, steps, counts, _operands: operands, _arena: self.arena };
        Ok(Plan { gpu: self.gpu, inner: Arc::new(inner) })
    }

    /// Gives each temporary the smallest place that is free for its whole lifetime, making new ones as needed.
    fn assign_temporaries(&self) -> Result<(), Error> {
        let mut places = self.arena.places.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free_from = vec![0; places.len()];
        let mut order: Vec<&Temporary> = self.temporaries.iter().filter(|t| t.first != usize::MAX).collect();
        order.sort_by_key(|temporary| (temporary.first, std::cmp::Reverse(temporary.tensor.bytes())));
        for temporary in order {
            let bytes = temporary.tensor.bytes();
            let best = (0..places.len())
                .filter(|&k| free_from[k] <= temporary.first && places[k].0 >= bytes)
                .min_by_key(|&k| places[k].0);
            let chosen = match best {
                Some(k) => k,
                None => {
                    let place =
                        self.gpu.place(temporary.tensor.shape(), temporary.tensor.storage(), false)?;
                    places.push((bytes, place));
                    free_from.push(0);
                    places.len() - 1
                }
            };
            free_from[chosen] = temporary.last + 1;
            temporary.tensor.assign(places[chosen].1.clone());
        }
        Ok(())
    }

    /// All parameter structs in one uniform buffer, and where each starts.
    fn upload_params(&self) -> (wgpu::Buffer, Vec<u64>) {
        let device = &self.gpu.inner.device;
        let alignment = u64::from(device.limits().min_uniform_buffer_offset_alignment);
        let mut bytes = Vec::new();
        let offsets = self
            .steps
            .iter()
            .map(|step| {
                let offset = (bytes.len() as u64).next_multiple_of(alignment);
                bytes.resize(offset as usize, 0);
                bytes.extend_from_slice(&step.params);
                offset
            })
            .collect();
        // Uniform structs are rounded up to 16 bytes by every shading language.
        bytes.resize(bytes.len().next_multiple_of(16).max(16), 0);
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(&self.label),
            size: bytes.len() as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.gpu.enqueue(&buffer, 0, &bytes);
        (buffer, offsets)
    }
}

/// The variant in which inputs may lie in one buffer with an output, though they must not overlap it.
fn sharing_buffers(kernel: &Kernel, mut variant: Variant, operands: &[&Tensor]) -> Result<Variant, Error> {
    let bound: Vec<_> = kernel.bindings.iter().zip(operands).collect();
    for (i, (binding, operand)) in bound.iter().enumerate() {
        for (j, (written, output)) in bound.iter().enumerate() {
            if i == j || !written.access.writes() || !operand.shares_buffer(output) {
                continue;
            }
            let (other_bytes, written_bytes) = (operand.range(), output.range());
            if other_bytes.start < written_bytes.end && written_bytes.start < other_bytes.end {
                let (kernel, written, other) = (kernel.name, written.name, binding.name);
                return Err(Error::Aliased { kernel, written, written_bytes, other, other_bytes });
            }
            if !binding.access.writes() && !variant.shared.contains(&binding.name) {
                variant = variant.sharing(binding.name);
            }
        }
    }
    Ok(variant)
}

/// A window's rows lie apart, which only kernels of matrix products are told.
fn check_windows(kernel: &'static Kernel, operands: &[&Tensor]) -> Result<(), Error> {
    for (binding, operand) in kernel.bindings.iter().zip(operands) {
        if operand.is_window() && !binding.windows {
            let detail =
                format!("`{}` is a window of {}, whose rows lie apart", binding.name, operand.shape());
            return Err(Error::Shape { kernel: kernel.name, detail });
        }
    }
    Ok(())
}

fn bind_group(device: &wgpu::Device, step: &Step, params: &wgpu::Buffer, offset: u64) -> wgpu::BindGroup {
    let mut entries: Vec<wgpu::BindGroupEntry<'_>> = step
        .operands
        .iter()
        .enumerate()
        .map(|(binding, tensor)| {
            let (buffer, offset) = tensor.place().expect("temporaries were assigned just before");
            buffer_entry(binding, buffer, offset, tensor.bound_bytes())
        })
        .collect();
    if !step.params.is_empty() {
        let size = (step.params.len() as u64).next_multiple_of(16).min(params.size() - offset);
        entries.push(buffer_entry(entries.len(), params, offset, size));
    }
    device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(step.operation.kernel),
        layout: &step.pipeline.layout,
        entries: &entries,
    })
}

fn buffer_entry(binding: usize, buffer: &wgpu::Buffer, offset: u64, bytes: u64) -> wgpu::BindGroupEntry<'_> {
    let resource = wgpu::BufferBinding { buffer, offset, size: wgpu::BufferSize::new(bytes) };
    wgpu::BindGroupEntry { binding: binding as u32, resource: wgpu::BindingResource::Buffer(resource) }
}

/// A recorded, checked and resolved list of dispatches. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) gpu: Gpu,
    pub(super) inner: Arc<PlanInner>,
}

#[derive(Debug)]
pub(super) struct PlanInner {
    pub label: String,
    pub steps: Vec<ReadyStep>,
    counts: Counts,
    /// Bind groups keep buffers alive but not their loan from the pool; these do.
    _operands: Vec<Tensor>,
    _arena: Arena,
}

#[derive(Debug)]
pub(super) struct ReadyStep {
    pub operation: Operation,
    pipeline: Arc<Pipeline>,
    bind_group: wgpu::BindGroup,
    grid: [u32; 2],
}

impl ReadyStep {
    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(self.grid[0], self.grid[1], 1);
    }
}

impl Plan {
    /// The plan's name.
    pub fn label(&self) -> &str {
        &self.inner.label
    }

    /// What one replay does.
    pub fn counts(&self) -> Counts {
        self.inner.counts
    }

    /// The dispatches of one replay, in order.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.inner.steps.iter().map(|step| &step.operation)
    }

    /// Records one replay into a pass of the caller's: no submit, no upload, no allocation. Keep the plan until the pass
    /// is submitted, because its temporaries go back to the pool with it.
    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.push_debug_group(self.label());
        for step in &self.inner.steps {
            step.record(pass);
        }
        pass.pop_debug_group();
    }

    /// Replays once and hands it to the queue, without waiting.
    ///
    /// # Errors
    /// [`Error::DeviceFault`] when the device failed.
    pub fn run(&self) -> Result<(), Error> {
        let mut batch = Batch::new(&self.gpu);
        batch.replay(self, 1)?;
        batch.submit()
    }
}

/// Replays and copies on their way to the queue, handed over in portions that no driver's watchdog minds.
#[derive(Debug)]
pub struct Batch {
    gpu: Gpu,
    encoder: Option<wgpu::CommandEncoder>,
    dispatches: u64,
    flops: u64,
}

impl Batch {
    /// Nothing yet.
    pub fn new(gpu: &Gpu) -> Self {
        Self { gpu: gpu.clone(), encoder: None, dispatches: 0, flops: 0 }
    }

    /// The commands so far, for copies between replays.
    pub fn encoder(&mut self) -> &mut wgpu::CommandEncoder {
        let device = &self.gpu.inner.device;
        self.encoder
            .get_or_insert_with(|| device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default()))
    }

    /// Adds `times` replays of a plan, all in one pass as long as they fit one submission.
    ///
    /// # Errors
    /// [`Error::DeviceFault`] when the device failed.
    pub fn replay(&mut self, plan: &Plan, times: u32) -> Result<(), Error> {
        let Counts { dispatches, flops, .. } = plan.counts();
        let mut left = u64::from(times);
        while left > 0 {
            let room = DISPATCHES_PER_SUBMIT.saturating_sub(self.dispatches) / dispatches.max(1);
            let room = room.min(FLOPS_PER_SUBMIT.saturating_sub(self.flops) / flops.max(1));
            let now = room.clamp(1, left);
            {
                let descriptor =
                    wgpu::ComputePassDescriptor { label: Some(plan.label()), timestamp_writes: None };
                let mut pass = self.encoder().begin_compute_pass(&descriptor);
                for _ in 0..now {
                    plan.record(&mut pass);
                }
            }
            self.dispatches += now * dispatches;
            self.flops += now * flops;
            left -= now;
            if self.dispatches >= DISPATCHES_PER_SUBMIT || self.flops >= FLOPS_PER_SUBMIT || left > 0 {
                self.flush();
            }
        }
        self.gpu.check()
    }

    /// Hands everything to the queue.
    ///
    /// # Errors
    /// [`Error::DeviceFault`] when the device failed.
    pub fn submit(mut self) -> Result<(), Error> {
        self.flush();
        self.gpu.poll();
        self.gpu.check()
    }

    fn flush(&mut self) {
        if let Some(encoder) = self.encoder.take() {
            self.gpu.submit(encoder.finish(), self.dispatches);
        }
        self.dispatches = 0;
        self.flops = 0;
    }
}
