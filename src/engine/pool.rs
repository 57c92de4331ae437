//! Buffers by size class, reused instead of freed.
//!
//! Owned by [`Gpu`](super::Gpu). An [`Allocation`] goes back to its pool when the last tensor over it is dropped;
//! work in flight that still uses it runs before anything submitted later, so reuse is safe. Sizes are 2^k and
//! 1.5·2^k bytes. In poison mode recycled memory is filled with NaN, so that a kernel which leaves part of its output
//! unwritten fails its test.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Usage of every buffer the crate makes: kernels, uploads and read-backs alike.
pub(super) const USAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

/// A quiet NaN in f32, and in both halves of a word read as f16 or bf16.
const POISON: u32 = 0x7fff_7fff;

/// Bytes of device memory, as the pool sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryCounts {
    /// Held by tensors now.
    pub in_use: u64,
    /// The most ever held at once.
    pub peak: u64,
    /// Kept for reuse.
    pub idle: u64,
}

#[derive(Debug)]
pub(super) struct Pool {
    device: wgpu::Device,
    queue: wgpu::Queue,
    largest: u64,
    poison: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    idle: BTreeMap<u64, Vec<wgpu::Buffer>>,
    counts: MemoryCounts,
}

/// A buffer on loan from the pool.
#[derive(Debug)]
pub(super) struct Allocation {
    pub buffer: wgpu::Buffer,
    pool: Weak<Pool>,
}

impl Pool {
    pub fn new(device: wgpu::Device, queue: wgpu::Queue, largest: u64, poison: bool) -> Arc<Self> {
        Arc::new(Self { device, queue, largest, poison, state: Mutex::default() })
    }

    /// A buffer of at least `bytes`. Its contents are zero when `zeroed`, else whatever was there.
    pub fn allocate(self: &Arc<Self>, bytes: u64, zeroed: bool) -> Allocation {
        let class = size_class(bytes).min(self.largest.max(bytes));
        let recycled = {
            let mut state = self.state();
            state.counts.in_use += class;
            state.counts.peak = state.counts.peak.max(state.counts.in_use);
            let recycled = state.idle.get_mut(&class).and_then(Vec::pop);
            if recycled.is_some() {
                state.counts.idle -= class;
            }
            recycled
        };
        let fresh = recycled.is_none();
        let buffer = recycled.unwrap_or_else(|| {
            let descriptor = wgpu::BufferDescriptor {
                label: Some("dualstep pool"),
                size: class,
                usage: USAGE,
                mapped_at_creation: false,
            };
            self.device.create_buffer(&descriptor)
        });
        // wgpu zeroes a new buffer by itself.
        if zeroed && !fresh {
            let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encoder.clear_buffer(&buffer, 0, None);
            self.queue.submit([encoder.finish()]);
        } else if !zeroed && self.poison {
            self.queue.write_buffer(&buffer, 0, &POISON.to_le_bytes().repeat(class as usize / 4));
        }
        Allocation { buffer, pool: Arc::downgrade(self) }
    }

    /// Frees what is kept for reuse.
    pub fn trim(&self) {
        let mut state = self.state();
        state.idle.clear();
        state.counts.idle = 0;
    }

    pub fn counts(&self) -> MemoryCounts {
        self.state().counts
    }

    pub fn reset_peak(&self) {
        let mut state = self.state();
        state.counts.peak = state.counts.in_use;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole between statements, so a panic elsewhere cannot have broken it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade() else { return };
        let class = self.buffer.size();
        let mut state = pool.state();
        state.counts.in_use -= class;
        state.counts.idle += class;
        state.idle.entry(class).or_default().push(self.buffer.clone());
    }
}

/// The smallest of 2^k and 1.5·2^k that holds `bytes`, at least 256.
fn size_class(bytes: u64) -> u64 {
    let power = bytes.max(256).next_power_of_two();
    let between = power / 4 * 3;
    if bytes <= between { between } else { power }
}

#[cfg(test)]
mod tests {
    use super::size_class;

    #[test]
    fn size_classes_waste_at_most_a_third() {
        for bytes in [0, 1, 192, 193, 256, 257, 384, 385, 1 << 20, (1 << 20) + 1, 100_003 * 4] {
            let class = size_class(bytes);
            assert!(class >= bytes && class.is_multiple_of(4), "{bytes} in {class}");
            assert!(bytes < 256 || class * 2 <= bytes * 3 + 6, "{bytes} wastes {class}");
        }
    }
}
