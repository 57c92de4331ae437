//! What the kernels ask of a device: known before one is made, checked when one is handed over.
//!
//! [`Gpu::open`] asks for it itself. A host app that makes its own device asks [`Gpu::requirements`] and adds its own wishes
//! by [`Requirements::extend`]; [`Gpu::from_wgpu`] refuses a device that has less than the [least](LEAST), naming what.

use super::gpu::Gpu;
use crate::Error;

/// A limit of a device by its name in [`wgpu::Limits`], the least of it that all kernels run with, and where to find it.
type Least = (&'static str, u32, fn(&wgpu::Limits) -> u32);

/// `tests/shaders.rs` holds every kernel against these.
const LEAST: [Least; 8] = [
    ("max_bind_groups", 1, |limits| limits.max_bind_groups),
    ("max_bindings_per_bind_group", 8, |limits| limits.max_bindings_per_bind_group),
    // Metal needs one of the usual 8 for the lengths of the others.
    ("max_storage_buffers_per_shader_stage", 7, |limits| limits.max_storage_buffers_per_shader_stage),
    ("max_uniform_buffers_per_shader_stage", 1, |limits| limits.max_uniform_buffers_per_shader_stage),
    ("max_compute_workgroup_storage_size", 16 << 10, |limits| limits.max_compute_workgroup_storage_size),
    ("max_compute_invocations_per_workgroup", 256, |limits| limits.max_compute_invocations_per_workgroup),
    ("max_compute_workgroup_size_x", 256, |limits| limits.max_compute_workgroup_size_x),
    ("max_compute_workgroups_per_dimension", 1, |limits| limits.max_compute_workgroups_per_dimension),
];

/// What to ask for when a device is made, as far as the adapter offers it.
///
/// # Examples
///
/// ```no_run
/// # fn host(adapter: &wgpu::Adapter) -> Result<(), Box<dyn std::error::Error>> {
/// use dualstep::engine::{Gpu, GpuOptions};
///
/// // What the app itself needs:
/// let mut wanted = wgpu::DeviceDescriptor {
///     required_features: wgpu::Features::FLOAT32_FILTERABLE,
///     ..Default::default()
/// };
/// Gpu::requirements(adapter)?.extend(&mut wanted);
/// let (device, queue) = pollster::block_on(adapter.request_device(&wanted))?;
/// let gpu = Gpu::from_wgpu(adapter.get_info(), device, queue, &GpuOptions::default())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Requirements {
    /// Features that some variant of a kernel or a measurement uses. No kernel is lost without them: subgroup operations
    /// make products of matrices faster on some software drivers, and timestamps let profiles take the device's own clock.
    pub features: wgpu::Features,
    /// Limits: what kernels need, and bindings, buffers and workgroup memory as large as the adapter has them.
    pub limits: wgpu::Limits,
}

impl Requirements {
    pub(super) fn of(adapter: &wgpu::Adapter) -> Result<Self, Error> {
        let (name, offered) = (adapter.get_info().name, adapter.limits());
        if !adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS) {
            return Err(Error::Device { adapter: name, detail: "has no compute shaders".into() });
        }
        check(&name, &offered)?;
        Ok(Self { features: adapter.features() & wanted_features(), limits: wanted_limits(&offered) })
    }

    /// The least of each limit that all kernels run with, by its name in [`wgpu::Limits`].
    pub fn least() -> impl Iterator<Item = (&'static str, u32)> {
        LEAST.iter().map(|(name, least, _)| (*name, *least))
    }

    /// Adds these to what a host asks for: its features and these, of each limit the better one.
    pub fn extend(&self, wanted: &mut wgpu::DeviceDescriptor<'_>) {
        wanted.required_features |= self.features;
        wanted.required_limits = wanted.required_limits.clone().or_better_values_from(&self.limits);
    }
}

impl Gpu {
    /// What a host that makes its own device should ask of this adapter, so that [`Gpu::from_wgpu`] takes it and kernels
    /// run as fast as they can.
    ///
    /// # Errors
    /// [`Error::Device`] when it has no compute shaders; [`Error::Requirement`] when one of its limits is too low.
    pub fn requirements(adapter: &wgpu::Adapter) -> Result<Requirements, Error> {
        Requirements::of(adapter)
    }
}

/// Refuses limits under which some kernel would not run.
pub(super) fn check(adapter: &str, limits: &wgpu::Limits) -> Result<(), Error> {
    match LEAST.iter().find(|(_, needed, value)| value(limits) < *needed) {
        None => Ok(()),
        Some((what, needed, value)) => Err(Error::Requirement {
            adapter: adapter.into(),
            what,
            needed: format!("at least {needed}"),
            actual: value(limits).to_string(),
        }),
    }
}

/// Features that some kernel variant or measurement uses; each is optional.
pub(super) fn wanted_features() -> wgpu::Features {
    wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY
}

/// The default limits, raised where large problems gain from what the adapter offers.
fn wanted_limits(offered: &wgpu::Limits) -> wgpu::Limits {
    let base = wgpu::Limits::downlevel_defaults();
    wgpu::Limits {
        max_storage_buffer_binding_size: offered.max_storage_buffer_binding_size,
        max_buffer_size: offered.max_buffer_size,
        max_storage_buffers_per_shader_stage: offered.max_storage_buffers_per_shader_stage.min(8),
        max_compute_workgroup_storage_size: offered.max_compute_workgroup_storage_size,
        max_compute_invocations_per_workgroup: offered.max_compute_invocations_per_workgroup.min(1024),
        max_compute_workgroup_size_x: offered.max_compute_workgroup_size_x.min(1024),
        max_compute_workgroups_per_dimension: offered.max_compute_workgroups_per_dimension.min(65_535),
        min_uniform_buffer_offset_alignment: offered.min_uniform_buffer_offset_alignment,
        min_storage_buffer_offset_alignment: offered.min_storage_buffer_offset_alignment,
        ..base.using_resolution(offered.clone())
    }
}
