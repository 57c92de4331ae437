//! Values on their way back to the host: late and without waiting ([`Ring`]), or at once ([`Gpu::read`]).

use super::gpu::Gpu;
use super::plan::Batch;
use super::tensor::{StorageType, Tensor};
use crate::Error;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const PENDING: u8 = 0;
const READY: u8 = 1;
const FAILED: u8 = 2;

/// A tensor's bytes as they were at one point of the queue.
#[derive(Debug)]
pub(super) struct InFlight {
    buffer: wgpu::Buffer,
    bytes: u64,
    state: Arc<AtomicU8>,
}

impl InFlight {
    /// Copies `tensor` at this point of the commands.
    fn take(
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        tensor: &Tensor,
        reuse: Option<wgpu::Buffer>,
    ) -> Result<Self, Error> {
        let (source, offset) = gpu.copied(tensor, wgpu::BufferUsages::COPY_SRC)?;
        let bytes = tensor.bytes();
        let buffer = reuse.unwrap_or_else(|| {
            gpu.inner.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("dualstep read-back"),
                size: bytes,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        });
        let state = Arc::new(AtomicU8::new(PENDING));
        let signal = Arc::clone(&state);
        encoder.copy_buffer_to_buffer(source, offset, &buffer, 0, bytes);
        encoder.map_buffer_on_submit(&buffer, wgpu::MapMode::Read, 0..bytes, move |result| {
            signal.store(if result.is_ok() { READY } else { FAILED }, Ordering::Release);
        });
        Ok(Self { buffer, bytes, state })
    }

    /// The bytes, and the buffer for reuse. Call only when the state is no longer pending.
    fn into_bytes(self) -> Result<(Vec<u8>, wgpu::Buffer), Error> {
        let lost = |detail: String| Error::DeviceFault { detail };
        if self.state.load(Ordering::Acquire) != READY {
            return Err(lost("a read-back was refused".into()));
        }
        let range = self.buffer.slice(..self.bytes).get_mapped_range();
        let bytes = range.map_err(|error| lost(error.to_string()))?.to_vec();
        self.buffer.unmap();
        Ok((bytes, self.buffer))
    }
}

/// Copies of one small tensor in the order they were taken, read when they happen to be ready.
#[derive(Debug)]
pub struct Ring {
    capacity: usize,
    pending: VecDeque<InFlight>,
    spare: Vec<wgpu::Buffer>,
}

impl Ring {
    /// At most `capacity` copies on their way at once.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, pending: VecDeque::new(), spare: Vec::new() }
    }

    /// Takes a copy of `tensor` at this point of a [batch](Batch::encoder)'s commands or of the caller's own, which must be
    /// submitted. Returns false, and takes none, when the ring is full. Copies of one ring are of tensors of one size.
    ///
    /// # Errors
    /// [`Error::Plan`] when the tensor is another `Gpu`'s, a window, a temporary without memory, or in a buffer without
    /// `COPY_SRC`.
    pub fn push(
        &mut self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        tensor: &Tensor,
    ) -> Result<bool, Error> {
        if self.pending.len() == self.capacity {
            return Ok(false);
        }
        self.pending.push_back(InFlight::take(gpu, encoder, tensor, self.spare.pop())?);
        Ok(true)
    }

    /// Copies on their way.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The oldest copy if it has arrived. Never waits.
    ///
    /// # Errors
    /// [`Error::DeviceFault`] when the device failed.
    pub fn pop(&mut self, gpu: &Gpu) -> Result<Option<Vec<u8>>, Error> {
        gpu.poll();
        gpu.check()?;
        let arrived =
            self.pending.front().is_some_and(|oldest| oldest.state.load(Ordering::Acquire) != PENDING);
        if !arrived {
            return Ok(None);
        }
        let Some(oldest) = self.pending.pop_front() else { return Ok(None) };
        let (bytes, buffer) = oldest.into_bytes()?;
        self.spare.push(buffer);
        Ok(Some(bytes))
    }
}

impl Gpu {
    /// The tensor's f32 values, unpadded, after everything submitted so far. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Plan`] when the tensor is not f32; [`Error::DeviceFault`] when the device failed.
    pub fn read(&self, tensor: &Tensor) -> Result<Vec<f32>, Error> {
        self.expect_storage(tensor, StorageType::F32)?;
        self.read_stored(tensor)
    }

    /// The tensor's u32 values, unpadded. Waits for the device.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub fn read_u32(&self, tensor: &Tensor) -> Result<Vec<u32>, Error> {
        self.expect_storage(tensor, StorageType::U32)?;
        self.read_stored(tensor)
    }

    /// The tensor's elements as they are stored, unpadded: what [`Gpu::write`] takes. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Plan`] when the element size differs; [`Error::DeviceFault`] when the device failed.
    pub fn read_stored<T: bytemuck::Pod>(&self, tensor: &Tensor) -> Result<Vec<T>, Error> {
        if size_of::<T>() as u64 == tensor.storage().bytes() {
            return Ok(unpadded(tensor, &bytemuck::pod_collect_to_vec(&self.read_bytes(tensor)?)));
        }
        let detail = format!("reading a tensor of {:?} as {} bytes each", tensor.storage(), size_of::<T>());
        Err(Error::Plan { plan: "read-back".into(), detail })
    }

    /// All bytes of the tensor, padding included. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Plan`] when the tensor is another `Gpu`'s, a window, a temporary without memory, or in a buffer without
    /// `COPY_SRC`; [`Error::DeviceFault`] when the device failed.
    pub fn read_bytes(&self, tensor: &Tensor) -> Result<Vec<u8>, Error> {
        let mut batch = Batch::new(self);
        let snapshot = InFlight::take(self, batch.encoder(), tensor, None)?;
        batch.submit()?;
        self.wait()?;
        Ok(snapshot.into_bytes()?.0)
    }

    fn expect_storage(&self, tensor: &Tensor, storage: StorageType) -> Result<(), Error> {
        if tensor.storage() == storage {
            return Ok(());
        }
        let detail = format!("reading a tensor of {:?} as {storage:?}", tensor.storage());
        Err(Error::Plan { plan: "read-back".into(), detail })
    }
}

fn unpadded<T: Copy>(tensor: &Tensor, stored: &[T]) -> Vec<T> {
    let shape = tensor.shape();
    if shape.is_empty() {
        return Vec::new();
    }
    let rows = stored.chunks_exact(shape.stride() as usize).take(shape.rows as usize);
    rows.flat_map(|row| row[..shape.columns as usize].iter().copied()).collect()
}
