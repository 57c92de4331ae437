//! Devices.

use std::ffi::{CString, c_char};
use std::ptr;

use dualstep::engine::{BackendName, Capabilities, Checks, Gpu, GpuOptions};

use crate::error::{dualstep_status, guarded, with_pointers};
use crate::handle::{self, Object};
use crate::pointer::{Code, Pointers, Versioned, codes, end};

/// The interface that a device is reached through.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dualstep_backend {
    /// Any.
    DUALSTEP_BACKEND_ANY = 0,
    /// Vulkan.
    DUALSTEP_BACKEND_VULKAN = 1,
    /// Metal.
    DUALSTEP_BACKEND_METAL = 2,
    /// Direct3D 12.
    DUALSTEP_BACKEND_DX12 = 3,
    /// OpenGL and OpenGL ES.
    DUALSTEP_BACKEND_GL = 4,
}

codes!(dualstep_backend:
    DUALSTEP_BACKEND_ANY, DUALSTEP_BACKEND_VULKAN, DUALSTEP_BACKEND_METAL, DUALSTEP_BACKEND_DX12,
    DUALSTEP_BACKEND_GL
);

/// What kind of device it is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dualstep_kind {
    /// None of the others.
    DUALSTEP_KIND_OTHER = 0,
    /// A GPU that shares the processor's memory.
    DUALSTEP_KIND_INTEGRATED = 1,
    /// A GPU with memory of its own.
    DUALSTEP_KIND_DISCRETE = 2,
    /// A GPU of a virtual machine's.
    DUALSTEP_KIND_VIRTUAL = 3,
    /// A driver that computes on the processor.
    DUALSTEP_KIND_CPU = 4,
}

codes!(dualstep_kind:
    DUALSTEP_KIND_OTHER, DUALSTEP_KIND_INTEGRATED, DUALSTEP_KIND_DISCRETE, DUALSTEP_KIND_VIRTUAL,
    DUALSTEP_KIND_CPU
);

/// Which adapter to open.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dualstep_gpu_options {
    /// sizeof(dualstep_gpu_options).
    pub size: usize,
    /// Part of its name, or its number in the list of `dualstep adapters`. NULL takes the fastest kind there is.
    pub adapter: *const c_char,
    /// Only adapters that are reached this way.
    pub backend: Code<dualstep_backend>,
    /// Not 0: the library's kernels check every index. They are tested to need none; this is for hunting drivers' faults.
    pub is_checked: u32,
}

// SAFETY: `repr(C)`, `size` is first, and any bytes are numbers and pointers.
unsafe impl Versioned for dualstep_gpu_options {
    const NAME: &'static str = "dualstep_gpu_options";
    const LEAST: usize = end!(is_checked: u32);
    const END: usize = end!(is_checked: u32);

    fn standard() -> Self {
        let backend = dualstep_backend::DUALSTEP_BACKEND_ANY.into();
        Self { size: size_of::<Self>(), adapter: ptr::null(), backend, is_checked: 0 }
    }
}

/// What a device can do. Texts last as long as the device's handle.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dualstep_capabilities {
    /// sizeof(dualstep_capabilities).
    pub size: usize,
    /// The adapter's name, as its driver gives it.
    pub adapter: *const c_char,
    /// The driver's name and version.
    pub driver: *const c_char,
    /// All of this in several lines, for people.
    pub text: *const c_char,
    /// How it is reached.
    pub backend: Code<dualstep_backend>,
    /// What kind of device it is.
    pub kind: Code<dualstep_kind>,
    /// The most bytes that one tensor may take.
    pub tensor_limit: u64,
    /// Bytes of a workgroup's memory.
    pub workgroup_memory: u32,
    /// The most workgroups in each dimension.
    pub group_limit: u32,
    /// Lanes of the smallest subgroup; 0 where there are no subgroup operations.
    pub least_subgroup: u32,
    /// Lanes of the largest subgroup; 0 where there are no subgroup operations.
    pub largest_subgroup: u32,
    /// 1 where shaders compute with 16-bit floats, else 0. Tensors store them anywhere.
    pub has_f16: u32,
    /// 1 where passes are timed by the device's clock, else 0.
    pub has_timestamps: u32,
}

// SAFETY: `repr(C)`, `size` is first, and any bytes are numbers and pointers.
unsafe impl Versioned for dualstep_capabilities {
    const NAME: &'static str = "dualstep_capabilities";
    const LEAST: usize = end!(has_timestamps: u32);
    const END: usize = end!(has_timestamps: u32);

    fn standard() -> Self {
        Self {
            size: size_of::<Self>(),
            adapter: ptr::null(),
            driver: ptr::null(),
            text: ptr::null(),
            backend: dualstep_backend::DUALSTEP_BACKEND_ANY.into(),
            kind: dualstep_kind::DUALSTEP_KIND_OTHER.into(),
            tensor_limit: 0,
            workgroup_memory: 0,
            group_limit: 0,
            least_subgroup: 0,
            largest_subgroup: 0,
            has_f16: 0,
            has_timestamps: 0,
        }
    }
}

/// What was done through a device since it was opened, counted exactly.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct dualstep_counters {
    /// sizeof(dualstep_counters).
    pub size: usize,
    /// Kernels dispatched.
    pub dispatches: u64,
    /// Submissions to the queue.
    pub submits: u64,
    /// Times that the program waited for the device.
    pub host_waits: u64,
    /// Bytes of device memory that tensors hold now.
    pub memory_in_use: u64,
    /// The most that they ever held at once.
    pub memory_peak: u64,
    /// Bytes kept for reuse.
    pub memory_idle: u64,
}

// SAFETY: `repr(C)`, `size` is first, and any bytes are numbers.
unsafe impl Versioned for dualstep_counters {
    const NAME: &'static str = "dualstep_counters";
    const LEAST: usize = end!(memory_idle: u64);
    const END: usize = end!(memory_idle: u64);

    fn standard() -> Self {
        Self { size: size_of::<Self>(), ..Self::default() }
    }
}

/// A device. Any number of threads may use it at once. What was made with it keeps what it needs of it when it is freed.
#[derive(Debug)]
pub struct dualstep_gpu {
    pub(crate) gpu: Gpu,
    texts: Texts,
}

/// What capabilities point to.
#[derive(Debug)]
struct Texts {
    adapter: CString,
    driver: CString,
    all: CString,
}

impl Object for dualstep_gpu {
    const KIND: &'static str = "dualstep_gpu";
}

impl From<Gpu> for dualstep_gpu {
    fn from(gpu: Gpu) -> Self {
        let text = |text: &str| CString::new(text.replace('\0', " ")).unwrap_or_default();
        let capabilities = gpu.capabilities();
        let texts = Texts {
            adapter: text(&capabilities.adapter),
            driver: text(&capabilities.driver),
            all: text(&capabilities.to_string()),
        };
        Self { gpu, texts }
    }
}

impl dualstep_gpu {
    fn capabilities(&self) -> dualstep_capabilities {
        let Capabilities { binding_limit, group_limit, workgroup_memory, subgroup, f16, timestamps, .. } =
            *self.gpu.capabilities();
        dualstep_capabilities {
            adapter: self.texts.adapter.as_ptr(),
            driver: self.texts.driver.as_ptr(),
            text: self.texts.all.as_ptr(),
            backend: self.backend().into(),
            kind: self.kind().into(),
            tensor_limit: binding_limit,
            workgroup_memory,
            group_limit,
            least_subgroup: subgroup.0,
            largest_subgroup: subgroup.1,
            has_f16: f16.into(),
            has_timestamps: timestamps.into(),
            ..dualstep_capabilities::standard()
        }
    }

    fn backend(&self) -> dualstep_backend {
        match self.gpu.capabilities().backend {
            wgpu::Backend::Vulkan => dualstep_backend::DUALSTEP_BACKEND_VULKAN,
            wgpu::Backend::Metal => dualstep_backend::DUALSTEP_BACKEND_METAL,
            wgpu::Backend::Dx12 => dualstep_backend::DUALSTEP_BACKEND_DX12,
            wgpu::Backend::Gl => dualstep_backend::DUALSTEP_BACKEND_GL,
            wgpu::Backend::Noop | wgpu::Backend::BrowserWebGpu => dualstep_backend::DUALSTEP_BACKEND_ANY,
        }
    }

    fn kind(&self) -> dualstep_kind {
        match self.gpu.capabilities().kind {
            wgpu::DeviceType::IntegratedGpu => dualstep_kind::DUALSTEP_KIND_INTEGRATED,
            wgpu::DeviceType::DiscreteGpu => dualstep_kind::DUALSTEP_KIND_DISCRETE,
            wgpu::DeviceType::VirtualGpu => dualstep_kind::DUALSTEP_KIND_VIRTUAL,
            wgpu::DeviceType::Cpu => dualstep_kind::DUALSTEP_KIND_CPU,
            wgpu::DeviceType::Other => dualstep_kind::DUALSTEP_KIND_OTHER,
        }
    }
}

/// Sets options to what they are where nothing is said. Set `size` first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_gpu_options_default(options: *mut dualstep_gpu_options) -> dualstep_status {
    // SAFETY: C's promises.
    unsafe { with_pointers(|pointers| pointers.fill(options, &Versioned::standard())) }
}

/// Opens an adapter, that of `options` or, with NULL in its place, the fastest kind there is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_gpu_open(
    options: *const dualstep_gpu_options,
    gpu: *mut *mut dualstep_gpu,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let gpu = pointers.result("gpu", gpu, ptr::null_mut())?;
        let options = pointers.settings(options)?;
        let backend = match options.backend.get("backend")? {
            dualstep_backend::DUALSTEP_BACKEND_ANY => None,
            dualstep_backend::DUALSTEP_BACKEND_VULKAN => Some(BackendName::Vulkan),
            dualstep_backend::DUALSTEP_BACKEND_METAL => Some(BackendName::Metal),
            dualstep_backend::DUALSTEP_BACKEND_DX12 => Some(BackendName::Dx12),
            dualstep_backend::DUALSTEP_BACKEND_GL => Some(BackendName::Gl),
        };
        let adapter = pointers.optional_text("adapter", options.adapter)?.map(str::to_owned);
        let checks = match options.is_checked {
            0 => Checks::Unchecked,
            _ => Checks::Checked,
        };
        let options = GpuOptions { adapter, backend, checks, ..GpuOptions::default() };
        gpu.put(handle::give(dualstep_gpu::from(Gpu::open(&options)?)));
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Tells what a device can do. Set `size` first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_gpu_describe(
    gpu: *const dualstep_gpu,
    capabilities: *mut dualstep_capabilities,
) -> dualstep_status {
    // SAFETY: C's promises.
    unsafe { with_pointers(|pointers| pointers.fill(capabilities, &handle::get(gpu)?.capabilities())) }
}

/// Tells what was done through a device. Set `size` first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_gpu_counters(
    gpu: *const dualstep_gpu,
    counters: *mut dualstep_counters,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let counts = handle::get(gpu)?.gpu.counters();
        let known = dualstep_counters {
            dispatches: counts.dispatches,
            submits: counts.submits,
            host_waits: counts.host_waits,
            memory_in_use: counts.memory.in_use,
            memory_peak: counts.memory.peak,
            memory_idle: counts.memory.idle,
            ..dualstep_counters::standard()
        };
        pointers.fill(counters, &known)
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Waits until everything that was submitted is done.
#[unsafe(no_mangle)]
pub extern "C" fn dualstep_gpu_wait(gpu: *const dualstep_gpu) -> dualstep_status {
    guarded(|| Ok(handle::get(gpu)?.gpu.wait()?))
}

/// Gives device memory back that is kept for reuse.
#[unsafe(no_mangle)]
pub extern "C" fn dualstep_gpu_trim(gpu: *const dualstep_gpu) -> dualstep_status {
    guarded(|| {
        handle::get(gpu)?.gpu.trim();
        Ok(())
    })
}

/// Frees a device; NULL is allowed. What was made with it goes on working.
#[unsafe(no_mangle)]
pub extern "C" fn dualstep_gpu_free(gpu: *mut dualstep_gpu) -> dualstep_status {
    guarded(|| handle::free(gpu))
}
