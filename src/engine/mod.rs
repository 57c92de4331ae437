//! The scheduler: records kernels once, checks them on the host, replays them many times on the device.
//!
//! Kernels, models and solvers call down into this room; it knows nothing of ADMM. What always holds here:
//! matrices are stored row by row, each row padded with zeros to whole `vec4`s, and every kernel keeps the padding
//! zero; a [`Plan`] never waits for the host; shapes, aliasing and limits are checked while recording.

mod blocks;
mod gpu;
mod kernel;
mod plan;
mod pool;
mod profile;
mod readback;
mod requirements;
mod shader;
mod slab;
mod tensor;
mod tuning;

pub use blocks::{Cut, SampleTensor};
pub use gpu::{
    AdapterClass, BackendName, Capabilities, Checks, Counters, DeviceWords, Faults, Gpu, GpuOptions,
    describe_adapters,
};
pub(crate) use kernel::params;
pub use kernel::{Access, Binding, Kernel, ParamsLayout, Variant};
pub use plan::{Arena, Batch, Counts, Dispatch, Groups, Operation, Plan, PlanBuilder};
pub use profile::{Profile, ProfileRow};
pub use readback::Ring;
pub use requirements::Requirements;
pub use shader::flatten;
pub use slab::Slab;
pub use tensor::{Shape, StorageType, Tensor};
pub use tuning::{TileTimes, Tuning};
