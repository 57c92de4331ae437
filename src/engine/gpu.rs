//! The device: owned or borrowed from a host app, its capabilities decided once, its faults remembered.
//!
//! Everything else in the room takes a [`Gpu`]. Cloning is cheap and shares the device. The first error outside a
//! call and a device loss are kept and returned by the next fallible call.

use super::kernel::Pipelines;
use super::pool::{MemoryCounts, Pool};
use super::requirements::{self, Requirements};
use super::tensor::{Place, Shape, StorageType, Tensor};
use super::tuning::Tuning;
use crate::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Whether shaders carry bounds checks of their own on top of the driver's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checks {
    /// Indices clamped, loops bounded, division guarded: for tests.
    Checked,
    /// None of it: our kernels guard themselves. Workgroup-memory kernels gain most.
    #[default]
    Unchecked,
}

/// The interfaces a device can be reached through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendName {
    /// Vulkan.
    Vulkan,
    /// Metal.
    Metal,
    /// Direct3D 12.
    Dx12,
    /// OpenGL and OpenGL ES.
    Gl,
}

impl BackendName {
    fn backends(self) -> wgpu::Backends {
        match self {
            Self::Vulkan => wgpu::Backends::VULKAN,
            Self::Metal => wgpu::Backends::METAL,
            Self::Dx12 => wgpu::Backends::DX12,
            Self::Gl => wgpu::Backends::GL,
        }
    }
}

/// Which adapter to open, and how.
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// Part of the adapter's name, or its number in `dualstep adapters`. `None` takes the fastest kind.
    pub adapter: Option<String>,
    /// Only adapters of this backend.
    pub backend: Option<BackendName>,
    /// Bounds checks in shaders.
    pub checks: Checks,
    /// Pretend the device binds no more than this many bytes at once: lets small problems run in sample blocks.
    pub binding_limit: Option<u64>,
    /// Pretend the device allows no more than this many workgroups per dimension: lets small grids be folded.
    pub group_limit: Option<u32>,
    /// Pretend the device is of this class: runs the kernel variants that other devices get.
    pub class: Option<AdapterClass>,
    /// Pretend the device is busy with so many workgroups: runs what it would get for larger results.
    pub busy_groups: Option<u64>,
    /// What was measured on adapters, of which this one's is taken, if it is among them: see [`Tuning::read_all`].
    pub tunings: Vec<Tuning>,
    /// Fill recycled memory with NaN, so that a kernel which relies on old contents is found out.
    pub poison: bool,
}

/// What decides which variant of a kernel is fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AdapterClass {
    /// A GPU, discrete or integrated: workgroup memory, wide subgroups.
    Gpu,
    /// A CPU behind a graphics API whose subgroups are exactly eight lanes (lavapipe on AVX).
    SoftwareEightLanes,
    /// The same with exactly sixteen lanes (lavapipe with `LP_NATIVE_VECTOR_WIDTH=512`).
    SoftwareSixteenLanes,
    /// Any other CPU behind a graphics API.
    Software,
}

impl AdapterClass {
    /// Whether lanes are a loop, so that barriers and workgroup memory cost what all else costs.
    pub fn is_software(self) -> bool {
        self != Self::Gpu
    }

    /// Whether kernels hand values from lane to lane.
    fn has_lanes(self) -> bool {
        matches!(self, Self::SoftwareEightLanes | Self::SoftwareSixteenLanes)
    }
}

/// What the device can do, decided once.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// Adapter name as the driver gives it.
    pub adapter: String,
    /// Driver name and version.
    pub driver: String,
    /// Vulkan, Metal, Dx12 or Gl.
    pub backend: wgpu::Backend,
    /// Discrete, integrated, CPU …
    pub kind: wgpu::DeviceType,
    /// What kernel variants are chosen by.
    pub class: AdapterClass,
    /// Most bytes one binding may cover.
    pub binding_limit: u64,
    /// Most bytes of one buffer.
    pub buffer_limit: u64,
    /// Most workgroups per dimension of a dispatch.
    pub group_limit: u32,
    /// Workgroups from which on the device is busy, as far as can be known: wgpu does not tell how many processors there
    /// are, and this is about two for each of the largest GPU's.
    pub busy_groups: u64,
    /// Bytes of workgroup memory.
    pub workgroup_memory: u32,
    /// Lanes of the smallest and the largest subgroup; zeros when subgroup operations are not available.
    pub subgroup: (u32, u32),
    /// 16-bit floats in shaders.
    pub f16: bool,
    /// Timestamps at pass boundaries.
    pub timestamps: bool,
}

/// A device in words, as files tell whose figures they hold.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceWords {
    /// As its driver calls it.
    pub adapter: String,
    /// Discrete, integrated, CPU …
    pub kind: String,
    /// Vulkan, Metal, Dx12 or Gl.
    pub backend: String,
    /// Name and version.
    pub driver: String,
    /// What kernel variants are chosen by.
    pub class: String,
}

impl DeviceWords {
    /// Of this device.
    pub fn of(capabilities: &Capabilities) -> Self {
        Self {
            adapter: capabilities.adapter.clone(),
            kind: format!("{:?}", capabilities.kind),
            backend: format!("{:?}", capabilities.backend),
            driver: capabilities.driver.clone(),
            class: format!("{:?}", capabilities.class),
        }
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = |bytes: u64| bytes >> 20;
        writeln!(f, "{} ({:?}, {:?})", self.adapter, self.kind, self.backend)?;
        writeln!(f, "  driver            {}", self.driver)?;
        writeln!(f, "  class             {:?}", self.class)?;
        writeln!(
            f,
            "  binding, buffer   {} MiB, {} MiB",
            mebibytes(self.binding_limit),
            mebibytes(self.buffer_limit)
        )?;
        writeln!(f, "  workgroups        {} per dimension", self.group_limit)?;
        writeln!(f, "  workgroup memory  {} KiB", self.workgroup_memory >> 10)?;
        match self.subgroup {
            (0, 0) => writeln!(f, "  subgroups         no")?,
            (least, most) => writeln!(f, "  subgroups         {least} to {most} lanes")?,
        }
        writeln!(f, "  f16               {}", if self.f16 { "yes" } else { "no" })?;
        write!(f, "  timestamps        {}", if self.timestamps { "yes" } else { "no" })
    }
}

/// What has been done through a [`Gpu`], counted exactly. What a host records into commands of its own is the host's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Compute dispatches submitted.
    pub dispatches: u64,
    /// Submissions to the queue.
    pub submits: u64,
    /// Times the host waited for the device.
    pub host_waits: u64,
    /// Uploads to device memory, those of parameters when a plan is finished among them.
    pub uploads: u64,
    /// Device memory.
    pub memory: MemoryCounts,
}

/// The first fault of a device, kept for the next fallible call of this crate to return. Holds no device, so that a
/// handler which the device keeps may hold it.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<OnceLock<String>>);

impl Faults {
    /// Keeps this, unless something was before it.
    pub fn note(&self, detail: impl Into<String>) {
        let _ = self.0.set(detail.into());
    }

    /// Makes the device tell of its faults here.
    fn listen(&self, device: &wgpu::Device) {
        let faults = self.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            tracing::error!("uncaptured device error: {error}");
            faults.note(error.to_string());
        }));
        let faults = self.clone();
        device.set_device_lost_callback(move |reason, message| match reason {
            wgpu::DeviceLostReason::Destroyed => faults.note("the host app destroyed the device"),
            _ => faults.note(format!("device lost: {message}")),
        });
    }
}

/// A device, its pipelines and its memory.
#[derive(Clone, Debug)]
pub struct Gpu {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    /// Tells one `Gpu` from another; wgpu's own identifiers do not, across instances.
    pub number: u64,
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub capabilities: Capabilities,
    pub tuning: Option<Tuning>,
    pub checks: Checks,
    pub pipelines: Pipelines,
    pub pool: Arc<Pool>,
    faults: Faults,
    dispatches: AtomicU64,
    submits: AtomicU64,
    host_waits: AtomicU64,
    uploads: AtomicU64,
}

/// How many were made.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

impl Gpu {
    /// Opens the adapter that `options` names, or the fastest kind there is.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] when none matches; [`Error::Device`] when the driver refuses.
    pub fn open(options: &GpuOptions) -> Result<Self, Error> {
        let adapter = choose_adapter(options)?;
        let (info, requirements) = (adapter.get_info(), Requirements::of(&adapter)?);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("dualstep"),
            required_features: requirements.features,
            required_limits: requirements.limits,
            memory_hints: wgpu::MemoryHints::Performance,
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|error| Error::Device { adapter: info.name.clone(), detail: error.to_string() })?;
        Self::new(info, device, queue, options)
    }

    /// Works on a device that the host app made and keeps; [`Gpu::requirements`] says what to ask for when making it.
    ///
    /// The device's uncaptured-error handler and lost callback are replaced, so that errors reach the next fallible
    /// call of this crate instead of ending the program. A host that wants its own sets them afterwards, and passes on to
    /// [`Gpu::faults`] what they are told.
    ///
    /// # Errors
    /// [`Error::Requirement`] when a limit of the device is below what the kernels need, or `options` ask for a class of
    /// device that this one is not.
    pub fn from_wgpu(
        info: wgpu::AdapterInfo,
        device: wgpu::Device,
        queue: wgpu::Queue,
        options: &GpuOptions,
    ) -> Result<Self, Error> {
        Self::new(info, device, queue, options)
    }

    fn new(
        info: wgpu::AdapterInfo,
        device: wgpu::Device,
        queue: wgpu::Queue,
        options: &GpuOptions,
    ) -> Result<Self, Error> {
        let (features, limits) = (device.features(), device.limits());
        requirements::check(&info.name, &limits)?;
        if let Some(class) = options.class.filter(|class| class.has_lanes())
            && !features.contains(wgpu::Features::SUBGROUP)
        {
            return Err(Error::Requirement {
                adapter: info.name,
                what: "Features::SUBGROUP",
                needed: format!("enabled for the class {class:?}"),
                actual: "off".into(),
            });
        }
        let capabilities = capabilities(&info, features, &limits, options);
        let tuning = options.tunings.iter().find(|tuning| tuning.is_of(&capabilities)).cloned();
        let faults = Faults::default();
        faults.listen(&device);
        let pool = Pool::new(device.clone(), queue.clone(), limits.max_buffer_size, options.poison);
        let inner = Inner {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            device,
            queue,
            capabilities,
            tuning,
            checks: options.checks,
            pipelines: Pipelines::default(),
            pool,
            faults,
            dispatches: AtomicU64::new(0),
            submits: AtomicU64::new(0),
            host_waits: AtomicU64::new(0),
            uploads: AtomicU64::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What the device can do.
    pub fn capabilities(&self) -> &Capabilities {
        &self.inner.capabilities
    }

    /// What was measured on this adapter, if it was tuned.
    pub fn tuning(&self) -> Option<&Tuning> {
        self.inner.tuning.as_ref()
    }

    /// Where a host that keeps the device's handlers tells of what they were told.
    pub fn faults(&self) -> Faults {
        self.inner.faults.clone()
    }

    /// Exact counts since the device was opened.
    pub fn counters(&self) -> Counters {
        Counters {
            dispatches: self.inner.dispatches.load(Ordering::Relaxed),
            submits: self.inner.submits.load(Ordering::Relaxed),
            host_waits: self.inner.host_waits.load(Ordering::Relaxed),
            uploads: self.inner.uploads.load(Ordering::Relaxed),
            memory: self.inner.pool.counts(),
        }
    }

    /// Starts the peak of [`Counters::memory`] anew from what is in use now.
    pub fn reset_peak_memory(&self) {
        self.inner.pool.reset_peak();
    }

    /// Frees the memory kept for reuse.
    pub fn trim(&self) {
        self.inner.pool.trim();
    }

    /// The wgpu device, for buffers that are to be wrapped.
    pub fn device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    /// The wgpu queue, for commands of the caller's own that a [`Plan`](super::Plan) was recorded into.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    /// A tensor over the caller's memory, `offset` bytes into `buffer`: rows one after another, each padded with zeros
    /// to whole `vec4`s, which is for the caller to see to.
    ///
    /// A buffer may hold any number of tensors. Those that one kernel reads and writes must not overlap, which is checked
    /// when it is recorded; where they lie in one buffer, inputs are bound as outputs are
    /// ([`Variant::sharing`](super::Variant::sharing)), which costs the driver some freedom, and nothing else.
    ///
    /// Plans need no more of the buffer than `STORAGE`; [`Gpu::read`] and [`Ring::push`](super::Ring::push) need
    /// `COPY_SRC`, [`Gpu::write`] `COPY_DST`.
    ///
    /// # Errors
    /// [`Error::Plan`] when the tensor does not lie in the buffer, the offset is not one the device can bind, or the
    /// buffer is destroyed, another device's, or was made without `STORAGE`; [`Error::Limit`] when the tensor exceeds one
    /// binding. (A buffer of another *instance* of wgpu cannot be told from one of this device.)
    pub fn wrap(
        &self,
        buffer: &wgpu::Buffer,
        offset: u64,
        shape: Shape,
        storage: StorageType,
    ) -> Result<Tensor, Error> {
        self.wrap_with_tail(buffer, offset, shape, storage, 0)
    }

    /// [`Gpu::wrap`], with bindings that reach `tail` bytes further, so that strays past the tensor are not stopped.
    pub(crate) fn wrap_with_tail(
        &self,
        buffer: &wgpu::Buffer,
        offset: u64,
        shape: Shape,
        storage: StorageType,
        tail: u64,
    ) -> Result<Tensor, Error> {
        self.check()?;
        let refuse = |detail: String| Err(Error::Plan { plan: "wrap".into(), detail });
        let bytes = bytes_of(shape, storage).max(16).saturating_add(tail);
        self.check_binding(shape, bytes)?;
        let alignment = u64::from(self.inner.device.limits().min_storage_buffer_offset_alignment);
        if !offset.is_multiple_of(alignment) {
            return refuse(format!("offset {offset} is not a multiple of {alignment}"));
        }
        if offset.checked_add(bytes).is_none_or(|end| end > buffer.size()) {
            let size = buffer.size();
            return refuse(format!(
                "a tensor of {shape} at offset {offset} ends past the buffer's {size} bytes"
            ));
        }
        if !buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
            return refuse(format!("the buffer's usage is {:?}; it needs STORAGE", buffer.usage()));
        }
        if let Some(complaint) = self.complaint_about(buffer) {
            return refuse(complaint);
        }
        let place = Place { buffer: buffer.clone(), offset, tail, _allocation: None };
        Ok(Tensor::placed(self.inner.number, shape, storage, place))
    }

    /// What the driver has against binding a buffer, if anything.
    fn complaint_about(&self, buffer: &wgpu::Buffer) -> Option<String> {
        let device = &self.inner.device;
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let ty = wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Storage { read_only: true },
            has_dynamic_offset: false,
            min_binding_size: None,
        };
        let entry = wgpu::BindGroupLayoutEntry {
            binding: 0,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty,
            count: None,
        };
        let layout = device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &[entry] });
        let binding = wgpu::BufferBinding { buffer, offset: 0, size: wgpu::BufferSize::new(16) };
        let _ = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &layout,
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(binding) }],
        });
        pollster::block_on(scope.pop()).map(|error| error.to_string())
    }

    /// A tensor of zeros.
    ///
    /// # Errors
    /// [`Error::Limit`] when it exceeds one binding of the device; [`Error::DeviceFault`] when the device failed.
    pub fn zeros(&self, shape: Shape, storage: StorageType) -> Result<Tensor, Error> {
        self.check()?;
        let place = self.place(shape, storage, true)?;
        Ok(Tensor::placed(self.inner.number, shape, storage, place))
    }

    /// An f32 tensor of `values`, `shape.rows` × `shape.columns`, unpadded.
    ///
    /// # Errors
    /// As [`Gpu::zeros`], and [`Error::Plan`] when the number of values is not that of the shape.
    pub fn upload(&self, shape: Shape, values: &[f32]) -> Result<Tensor, Error> {
        let tensor = self.zeros(shape, StorageType::F32)?;
        self.write(&tensor, values)?;
        Ok(tensor)
    }

    /// A u32 tensor of `values`, unpadded.
    ///
    /// # Errors
    /// As [`Gpu::upload`].
    pub fn upload_u32(&self, shape: Shape, values: &[u32]) -> Result<Tensor, Error> {
        let tensor = self.zeros(shape, StorageType::U32)?;
        self.write(&tensor, values)?;
        Ok(tensor)
    }

    /// Replaces a tensor's values; takes effect before anything submitted later.
    ///
    /// # Errors
    /// [`Error::Plan`] when the number of values is not that of the shape, the element size differs, or the tensor is another
    /// `Gpu`'s, a window, a temporary without memory, or in a buffer without `COPY_DST`; [`Error::DeviceFault`] when the
    /// device failed.
    pub fn write<T: bytemuck::Pod + Default>(&self, tensor: &Tensor, values: &[T]) -> Result<(), Error> {
        let shape = tensor.shape();
        let (count, size) = (values.len() as u64, size_of::<T>() as u64);
        if count != shape.elements() || size != tensor.storage().bytes() {
            let detail = format!("{count} values of {size} bytes written to {shape}");
            return Err(Error::Plan { plan: "upload".into(), detail });
        }
        let (buffer, offset) = self.copied(tensor, wgpu::BufferUsages::COPY_DST)?;
        if shape.columns == shape.stride() {
            self.enqueue(buffer, offset, bytemuck::cast_slice(values));
        } else if !values.is_empty() {
            let mut padded = vec![T::default(); shape.stored() as usize];
            for (from, to) in values
                .chunks_exact(shape.columns as usize)
                .zip(padded.chunks_exact_mut(shape.stride() as usize))
            {
                to[..from.len()].copy_from_slice(from);
            }
            self.enqueue(buffer, offset, bytemuck::cast_slice(&padded));
        }
        Ok(())
    }

    /// Replaces some 4-byte elements of a one-row tensor, from element `first` on.
    ///
    /// # Errors
    /// [`Error::Plan`] when they do not lie inside the tensor, and as [`Gpu::write`].
    pub fn write_words<T: bytemuck::Pod>(
        &self,
        tensor: &Tensor,
        first: u32,
        values: &[T],
    ) -> Result<(), Error> {
        let end = u64::from(first) * 4 + size_of_val(values) as u64;
        if end > tensor.bytes() {
            let detail = format!("bytes up to {end} written to {}", tensor.shape());
            return Err(Error::Plan { plan: "upload".into(), detail });
        }
        let (buffer, offset) = self.copied(tensor, wgpu::BufferUsages::COPY_DST)?;
        self.enqueue(buffer, offset + u64::from(first) * 4, bytemuck::cast_slice(values));
        Ok(())
    }

    /// Hands bytes to the queue. They arrive before anything submitted later.
    pub(super) fn enqueue(&self, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) {
        self.inner.queue.write_buffer(buffer, offset, bytes);
        self.inner.uploads.fetch_add(1, Ordering::Relaxed);
    }

    /// Where a tensor lies that is to be copied from or to, as `usage` says.
    ///
    /// # Errors
    /// [`Error::Plan`] when it is another `Gpu`'s, has no memory yet, is a window or lies in a buffer without that usage;
    /// [`Error::DeviceFault`] when the device failed.
    pub(super) fn copied<'a>(
        &self,
        tensor: &'a Tensor,
        usage: wgpu::BufferUsages,
    ) -> Result<(&'a wgpu::Buffer, u64), Error> {
        self.check()?;
        let shape = tensor.shape();
        let detail = match tensor.place() {
            _ if tensor.owner() != self.inner.number => format!("a tensor of {shape} of another Gpu"),
            None => format!("a temporary of {shape} before its plan is finished"),
            Some(_) if tensor.is_window() => format!("a window of {shape}; copy the whole tensor"),
            Some((buffer, _)) if !buffer.usage().contains(usage) => {
                format!("a tensor of {shape} in a buffer of the app's without {usage:?}")
            }
            Some(place) => return Ok(place),
        };
        let plan = if usage == wgpu::BufferUsages::COPY_SRC { "read-back" } else { "upload" };
        Err(Error::Plan { plan: plan.into(), detail })
    }

    /// The error that ended the device, if one did.
    ///
    /// # Errors
    /// [`Error::DeviceFault`] with the first uncaptured error or the reason of the loss.
    pub fn check(&self) -> Result<(), Error> {
        match self.inner.faults.0.get() {
            Some(detail) => Err(Error::DeviceFault { detail: detail.clone() }),
            None => Ok(()),
        }
    }

    /// Memory for one tensor, checked against the device's limits.
    pub(super) fn place(&self, shape: Shape, storage: StorageType, zeroed: bool) -> Result<Place, Error> {
        let bytes = bytes_of(shape, storage).max(16);
        self.check_binding(shape, bytes)?;
        let scope = self.inner.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let allocation = Arc::new(self.inner.pool.allocate(bytes, zeroed));
        if pollster::block_on(scope.pop()).is_some() {
            return Err(Error::Limit {
                what: format!("a tensor of {shape}"),
                needed: format!("{} MiB", bytes.div_ceil(1 << 20)),
                allowed: format!("no more after {} MiB", self.inner.pool.counts().in_use >> 20),
                remedy: "use fewer samples, narrower layers or a device with more memory",
            });
        }
        Ok(Place { buffer: allocation.buffer.clone(), offset: 0, tail: 0, _allocation: Some(allocation) })
    }

    /// Whether a tensor of this shape could be made, before anything is put into it.
    ///
    /// # Errors
    /// [`Error::Limit`] when it exceeds one binding of the device.
    pub fn check_shape(&self, shape: Shape, storage: StorageType) -> Result<(), Error> {
        self.check_binding(shape, bytes_of(shape, storage))
    }

    fn check_binding(&self, shape: Shape, bytes: u64) -> Result<(), Error> {
        let allowed = self.inner.capabilities.binding_limit;
        if bytes <= allowed {
            return Ok(());
        }
        Err(Error::Limit {
            what: format!("a tensor of {shape}"),
            needed: format!("{} MiB", bytes.div_ceil(1 << 20)),
            allowed: format!("{:.1} MiB in one binding", allowed as f64 / f64::from(1 << 20)),
            remedy: "narrow the layer, or use a device with larger bindings",
        })
    }

    pub(super) fn submit(&self, commands: wgpu::CommandBuffer, dispatches: u64) {
        self.inner.queue.submit([commands]);
        self.inner.submits.fetch_add(1, Ordering::Relaxed);
        self.inner.dispatches.fetch_add(dispatches, Ordering::Relaxed);
    }

    /// Lets finished work call back, without waiting.
    pub(super) fn poll(&self) {
        // A poll that does not wait has nothing to report; device loss reaches the callback.
        let _ = self.inner.device.poll(wgpu::PollType::Poll);
    }

    /// Waits until everything submitted is done. Counted in [`Counters::host_waits`].
    ///
    /// # Errors
    /// [`Error::DeviceFault`] when the device failed meanwhile.
    pub fn wait(&self) -> Result<(), Error> {
        self.inner.host_waits.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.inner.device.poll(wgpu::PollType::wait_indefinitely()) {
            self.inner.faults.note(error.to_string());
        }
        self.check()
    }
}

/// Bytes of a tensor that may be too large for any device; more than a u64 holds are as many as it does.
fn bytes_of(shape: Shape, storage: StorageType) -> u64 {
    shape.stored().saturating_mul(storage.bytes())
}

/// One block of text for each adapter of `backend`, or of all backends.
pub fn describe_adapters(backend: Option<BackendName>) -> Vec<Capabilities> {
    let options = GpuOptions { backend, ..Default::default() };
    adapters(backend)
        .iter()
        .map(|adapter| {
            capabilities(
                &adapter.get_info(),
                adapter.features() & requirements::wanted_features(),
                &adapter.limits(),
                &options,
            )
        })
        .collect()
}

/// Held while drivers are loaded: NVIDIA's on Linux may crash or stand still when several threads load it at once
/// (gfx-rs/wgpu#5930).
static LOADING: Mutex<()> = Mutex::new(());

/// All adapters, the fastest kind first; within a kind, GL last because it reaches fewer features.
fn adapters(backend: Option<BackendName>) -> Vec<wgpu::Adapter> {
    let backends = backend.map_or(wgpu::Backends::all(), BackendName::backends);
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = backends;
    descriptor.flags =
        wgpu::InstanceFlags::from_build_config().with_env() - wgpu::InstanceFlags::VALIDATION_INDIRECT_CALL;
    let mut found = {
        let _alone = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
        let instance = wgpu::Instance::new(descriptor);
        pollster::block_on(instance.enumerate_adapters(backends))
    };
    found.retain(|adapter| Requirements::of(adapter).is_ok());
    found.sort_by_key(|adapter| {
        let info = adapter.get_info();
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => 0,
            wgpu::DeviceType::IntegratedGpu => 1,
            wgpu::DeviceType::VirtualGpu => 2,
            wgpu::DeviceType::Other => 3,
            wgpu::DeviceType::Cpu => 4,
        };
        (kind, info.backend == wgpu::Backend::Gl)
    });
    found
}

fn choose_adapter(options: &GpuOptions) -> Result<wgpu::Adapter, Error> {
    let mut found = adapters(options.backend);
    let position = match &options.adapter {
        None => (!found.is_empty()).then_some(0),
        Some(wanted) => match wanted.parse::<usize>() {
            Ok(number) => (number < found.len()).then_some(number),
            Err(_) => {
                let wanted = wanted.to_lowercase();
                found.iter().position(|adapter| adapter.get_info().name.to_lowercase().contains(&wanted))
            }
        },
    };
    match position {
        Some(position) => Ok(found.swap_remove(position)),
        None => {
            let names: Vec<String> = found.iter().map(|adapter| adapter.get_info().name).collect();
            Err(Error::NoAdapter {
                requested: match (&options.adapter, options.backend) {
                    (Some(name), Some(backend)) => format!("`{name}` on {backend:?}"),
                    (Some(name), None) => format!("`{name}`"),
                    (None, Some(backend)) => format!("backend {backend:?}"),
                    (None, None) => "any backend".into(),
                },
                found: if names.is_empty() { "none".into() } else { names.join(", ") },
            })
        }
    }
}

fn capabilities(
    info: &wgpu::AdapterInfo,
    features: wgpu::Features,
    limits: &wgpu::Limits,
    options: &GpuOptions,
) -> Capabilities {
    let subgroup = match features.contains(wgpu::Features::SUBGROUP) {
        true => (info.subgroup_min_size, info.subgroup_max_size),
        false => (0, 0),
    };
    let class = match (info.device_type, subgroup) {
        (wgpu::DeviceType::Cpu, (8, 8)) => AdapterClass::SoftwareEightLanes,
        (wgpu::DeviceType::Cpu, (16, 16)) => AdapterClass::SoftwareSixteenLanes,
        (wgpu::DeviceType::Cpu, _) => AdapterClass::Software,
        _ => AdapterClass::Gpu,
    };
    // Offsets in shaders are u32 counts of vec4, so no binding may pass 2^32 quads; 2^31 bytes is far below.
    let binding_limit = limits.max_storage_buffer_binding_size.min(1 << 31).min(limits.max_buffer_size);
    Capabilities {
        adapter: info.name.clone(),
        driver: format!("{} {}", info.driver, info.driver_info).trim().into(),
        backend: info.backend,
        kind: info.device_type,
        class: options.class.unwrap_or(class),
        binding_limit: options.binding_limit.unwrap_or(binding_limit).min(binding_limit),
        buffer_limit: limits.max_buffer_size,
        group_limit: options.group_limit.unwrap_or(u32::MAX).min(limits.max_compute_workgroups_per_dimension),
        busy_groups: options.busy_groups.unwrap_or(256),
        workgroup_memory: limits.max_compute_workgroup_storage_size,
        subgroup,
        f16: features.contains(wgpu::Features::SHADER_F16),
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
    }
}
