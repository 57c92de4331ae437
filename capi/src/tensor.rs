//! Tensors: matrices on a device, and the rows of parameters that optimizers work on.

use std::ptr;

use dualstep::engine::{Gpu, Shape, Slab, StorageType, Tensor};

use crate::error::{Fault, dualstep_status, guarded, with_pointers};
use crate::gpu::dualstep_gpu;
use crate::handle::{self, Object};
use crate::pointer::{Code, Pointers, codes};

/// What one element is stored as. Arithmetic is in 32-bit floats whatever the storage.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dualstep_storage {
    /// 32-bit floats.
    DUALSTEP_F32 = 0,
    /// 16-bit floats of IEEE 754.
    DUALSTEP_F16 = 1,
    /// The upper halves of 32-bit floats.
    DUALSTEP_BF16 = 2,
    /// 32-bit words, of masks.
    DUALSTEP_U32 = 3,
}

codes!(dualstep_storage: DUALSTEP_F32, DUALSTEP_F16, DUALSTEP_BF16, DUALSTEP_U32);

impl From<dualstep_storage> for StorageType {
    fn from(storage: dualstep_storage) -> Self {
        match storage {
            dualstep_storage::DUALSTEP_F32 => Self::F32,
            dualstep_storage::DUALSTEP_F16 => Self::F16,
            dualstep_storage::DUALSTEP_BF16 => Self::Bf16,
            dualstep_storage::DUALSTEP_U32 => Self::U32,
        }
    }
}

impl From<StorageType> for dualstep_storage {
    fn from(storage: StorageType) -> Self {
        match storage {
            StorageType::F32 => Self::DUALSTEP_F32,
            StorageType::F16 => Self::DUALSTEP_F16,
            StorageType::Bf16 => Self::DUALSTEP_BF16,
            StorageType::U32 => Self::DUALSTEP_U32,
        }
    }
}

/// Rows and columns of a matrix. This structure will never grow.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dualstep_shape {
    /// Rows.
    pub rows: u32,
    /// Columns.
    pub columns: u32,
}

/// A matrix on a device, or a part of one. Any number of threads may use it at once.
#[derive(Debug)]
pub struct dualstep_tensor {
    pub(crate) gpu: Gpu,
    pub(crate) tensor: Tensor,
}

impl Object for dualstep_tensor {
    const KIND: &'static str = "dualstep_tensor";
}

impl dualstep_tensor {
    /// Its elements take so many bytes outside of the device.
    fn bytes(&self) -> u64 {
        self.tensor.shape().elements() * self.tensor.storage().bytes()
    }

    fn check_bytes(&self, bytes: usize) -> Result<(), Fault> {
        let expected = self.bytes();
        if bytes as u64 == expected {
            return Ok(());
        }
        let (shape, storage) = (self.tensor.shape(), self.tensor.storage());
        Err(Fault::argument(format!(
            "{bytes} bytes for a tensor of {shape} {storage:?}, which takes {expected}"
        )))
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Fault> {
        self.gpu.check()?;
        match self.tensor.storage().bytes() {
            2 => self.gpu.write::<u16>(&self.tensor, &bytemuck::pod_collect_to_vec(bytes))?,
            _ => self.gpu.write::<u32>(&self.tensor, &bytemuck::pod_collect_to_vec(bytes))?,
        }
        Ok(())
    }

    fn read(&self) -> Result<Vec<u8>, Fault> {
        Ok(match self.tensor.storage().bytes() {
            2 => bytemuck::pod_collect_to_vec(&self.gpu.read_stored::<u16>(&self.tensor)?),
            _ => bytemuck::pod_collect_to_vec(&self.gpu.read_stored::<u32>(&self.tensor)?),
        })
    }
}

/// Where the tensors of a model lie in one row of parameters.
#[derive(Debug)]
pub struct dualstep_slab {
    pub(crate) slab: Slab,
}

impl Object for dualstep_slab {
    const KIND: &'static str = "dualstep_slab";
}

/// Makes a tensor of zeros.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_tensor_zeros(
    gpu: *const dualstep_gpu,
    shape: dualstep_shape,
    storage: Code<dualstep_storage>,
    tensor: *mut *mut dualstep_tensor,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let place = pointers.result("tensor", tensor, ptr::null_mut())?;
        let gpu = handle::get(gpu)?.gpu.clone();
        let storage = storage.get("storage")?.into();
        let tensor = gpu.zeros(Shape::new(shape.rows, shape.columns), storage)?;
        place.put(handle::give(dualstep_tensor { gpu, tensor }));
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Replaces a tensor's elements, before anything that is submitted later. `values` are its elements row after row, as they
/// are stored, without gaps; `bytes` is what they take, rows * columns * (4 or 2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_tensor_write(
    tensor: *const dualstep_tensor,
    values: *const std::ffi::c_void,
    bytes: usize,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let tensor = handle::get(tensor)?;
        tensor.check_bytes(bytes)?;
        tensor.write(pointers.slice("values", values.cast::<u8>(), bytes)?)
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Reads a tensor's elements, in the form that dualstep_tensor_write takes, after everything submitted so far. Waits for the
/// device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_tensor_read(
    tensor: *const dualstep_tensor,
    values: *mut std::ffi::c_void,
    bytes: usize,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let tensor = handle::get(tensor)?;
        tensor.check_bytes(bytes)?;
        let room = pointers.room("values", values.cast::<u8>(), bytes)?;
        room.put(&tensor.read()?);
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Tells a tensor's shape.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_tensor_shape(
    tensor: *const dualstep_tensor,
    shape: *mut dualstep_shape,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let place = pointers.result("shape", shape, dualstep_shape { rows: 0, columns: 0 })?;
        let Shape { rows, columns } = handle::get(tensor)?.tensor.shape();
        place.put(dualstep_shape { rows, columns });
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Tells what a tensor's elements are stored as.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_tensor_storage(
    tensor: *const dualstep_tensor,
    storage: *mut Code<dualstep_storage>,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let place = pointers.result("storage", storage, dualstep_storage::DUALSTEP_F32.into())?;
        place.put(dualstep_storage::from(handle::get(tensor)?.tensor.storage()).into());
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Frees a tensor; NULL is allowed. Its memory goes once no part of it and no step needs it.
#[unsafe(no_mangle)]
pub extern "C" fn dualstep_tensor_free(tensor: *mut dualstep_tensor) -> dualstep_status {
    guarded(|| handle::free(tensor))
}

/// Lays the tensors of a model out in one row, in the order given, each where a device can bind it. Between and after them
/// the row has some elements that belong to none and stay 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_slab_new(
    shapes: *const dualstep_shape,
    count: usize,
    slab: *mut *mut dualstep_slab,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let place = pointers.result("slab", slab, ptr::null_mut())?;
        let shapes = pointers.slice("shapes", shapes, count)?;
        if shapes.is_empty() {
            return Err(Fault::argument("count = 0; a slab has at least one tensor"));
        }
        let shapes: Vec<_> = shapes.iter().map(|it| Shape::new(it.rows, it.columns)).collect();
        place.put(handle::give(dualstep_slab { slab: Slab::new(&shapes)? }));
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Tells how many elements a row has: a tensor of parameters is 1 by as many, and gradients are S by as many.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_slab_length(
    slab: *const dualstep_slab,
    length: *mut u32,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let place = pointers.result("length", length, 0)?;
        place.put(handle::get(slab)?.slab.length());
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Makes a tensor of the model's, number `index`, out of one row of `rows`: it shares that row's memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_slab_part(
    slab: *const dualstep_slab,
    rows: *const dualstep_tensor,
    row: u32,
    index: usize,
    part: *mut *mut dualstep_tensor,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let place = pointers.result("part", part, ptr::null_mut())?;
        let (slab, rows) = (handle::get(slab)?, handle::get(rows)?);
        let tensor = slab.slab.part(&rows.tensor, row, index)?;
        place.put(handle::give(dualstep_tensor { gpu: rows.gpu.clone(), tensor }));
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Frees a slab; NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn dualstep_slab_free(slab: *mut dualstep_slab) -> dualstep_status {
    guarded(|| handle::free(slab))
}
