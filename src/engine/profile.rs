//! Where a plan's time goes: one pass per dispatch, timed by the device where it can, else by the host; and the time of
//! whole replays, in the one pass that they have in use.
//!
//! Used by [`bench`](crate::bench) and `--profile`. A pass per dispatch keeps dispatches from overlapping, so the sum is
//! an upper bound of a replay's time.

use super::gpu::Gpu;
use super::plan::{Operation, Plan};
use crate::Error;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

/// Dispatches timed in one submission; two timestamps each, and a query set holds 4,096.
const DISPATCHES_PER_QUERY_SET: usize = 2_000;

/// Time per kernel of one replay.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// One row per kernel and shape class, the longest first.
    pub rows: Vec<ProfileRow>,
    /// Whether the device measured it; otherwise each dispatch was submitted and awaited by itself.
    pub device_time: bool,
}

/// One kernel's share.
#[derive(Clone, Debug, Default)]
pub struct ProfileRow {
    /// `family/kernel`, and its variant.
    pub kernel: String,
    /// Dispatches.
    pub dispatches: u64,
    /// Seconds over all of them.
    pub seconds: f64,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes read and written.
    pub bytes: u64,
}

impl Profile {
    /// Seconds over all kernels.
    pub fn seconds(&self) -> f64 {
        self.rows.iter().map(|row| row.seconds).sum()
    }

    fn new(timed: impl Iterator<Item = (Operation, f64)>, device_time: bool) -> Self {
        let mut rows = BTreeMap::<String, ProfileRow>::new();
        for (operation, seconds) in timed {
            let kernel = format!("{} {}", operation.kernel, operation.variant);
            let row =
                rows.entry(kernel.clone()).or_insert_with(|| ProfileRow { kernel, ..Default::default() });
            row.dispatches += 1;
            row.seconds += seconds;
            row.flops += operation.flops;
            row.bytes += operation.bytes;
        }
        let mut rows: Vec<_> = rows.into_values().collect();
        rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        Self { rows, device_time }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.seconds();
        writeln!(f, "{:>9} {:>6} {:>6} {:>9} {:>9}  kernel", "ms", "share", "calls", "GFLOP/s", "GB/s")?;
        for row in &self.rows {
            let rate = |amount: u64| amount as f64 / row.seconds.max(1e-12) / 1e9;
            writeln!(
                f,
                "{:9.2} {:5.1}% {:6} {:9.2} {:9.2}  {}",
                row.seconds * 1e3,
                100.0 * row.seconds / total.max(1e-12),
                row.dispatches,
                rate(row.flops),
                rate(row.bytes),
                row.kernel
            )?;
        }
        let clock =
            if self.device_time { "device timestamps" } else { "host clock, one submission per dispatch" };
        write!(f, "{:9.2} ms in all ({clock})", total * 1e3)
    }
}

impl Plan {
    /// Replays once with every dispatch timed. Waits for the device.
    ///
    /// # Errors
    /// [`Error::DeviceFault`] when the device failed.
    pub fn profile(&self) -> Result<Profile, Error> {
        let device_time = self.gpu.capabilities().timestamps;
        let mut seconds = Vec::new();
        for steps in self.inner.steps.chunks(DISPATCHES_PER_QUERY_SET) {
            let passes: Vec<_> = steps
                .iter()
                .map(|step| {
                    let record = |pass: &mut wgpu::ComputePass<'_>| step.record(pass);
                    Pass { label: step.operation.kernel, dispatches: 1, record }
                })
                .collect();
            match device_time {
                true => seconds.extend(time_on_device(&self.gpu, &passes)?),
                false => seconds.extend(time_on_host(&self.gpu, &passes)?),
            }
        }
        Ok(Profile::new(self.operations().cloned().zip(seconds), device_time))
    }
}

impl Plan {
    /// Seconds of a replay: the mean of `replays`, one after another in one pass, by the device's clock where it has one,
    /// else by the host's from their submission to their end. Waits for the device. The caller keeps what one submission
    /// does within what drivers put up with, a second or so.
    ///
    /// # Errors
    /// [`Error::DeviceFault`] when the device failed.
    pub fn time(&self, replays: u32) -> Result<f64, Error> {
        let dispatches = u64::from(replays) * self.counts().dispatches;
        let record = |pass: &mut wgpu::ComputePass<'_>| (0..replays).for_each(|_| self.record(pass));
        Ok(self.gpu.time(self.label(), dispatches, record)? / f64::from(replays.max(1)))
    }
}

impl Gpu {
    /// Seconds of a pass of the caller's own that holds so many dispatches, by the device's clock where it has one, else by
    /// the host's from submission to end. Waits for the device.
    ///
    /// # Errors
    /// [`Error::DeviceFault`] when the device failed.
    pub fn time(
        &self,
        label: &str,
        dispatches: u64,
        record: impl Fn(&mut wgpu::ComputePass<'_>),
    ) -> Result<f64, Error> {
        let pass = Pass { label, dispatches, record };
        let seconds = match self.capabilities().timestamps {
            true => time_on_device(self, &[pass])?,
            false => time_on_host(self, &[pass])?,
        };
        Ok(seconds[0])
    }
}

/// What is timed: a pass of its own.
struct Pass<'a, F> {
    label: &'a str,
    dispatches: u64,
    record: F,
}

fn time_on_device<F>(gpu: &Gpu, passes: &[Pass<'_, F>]) -> Result<Vec<f64>, Error>
where
    F: Fn(&mut wgpu::ComputePass<'_>),
{
    let device = &gpu.inner.device;
    let count = passes.len() as u32 * 2;
    let bytes = u64::from(count) * 8;
    let queries = device.create_query_set(&wgpu::QuerySetDescriptor {
        label: Some("dualstep profile"),
        ty: wgpu::QueryType::Timestamp,
        count,
    });
    let buffer = |usage| {
        let size = bytes;
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    };
    let resolved = buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
    let readable = buffer(wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ);
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    for (k, pass) in passes.iter().enumerate() {
        (pass.record)(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some(pass.label),
            timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                query_set: &queries,
                beginning_of_pass_write_index: Some(2 * k as u32),
                end_of_pass_write_index: Some(2 * k as u32 + 1),
            }),
        }));
    }
    encoder.resolve_query_set(&queries, 0..count, &resolved, 0);
    encoder.copy_buffer_to_buffer(&resolved, 0, &readable, 0, bytes);
    encoder.map_buffer_on_submit(&readable, wgpu::MapMode::Read, .., |_| ());
    gpu.submit(encoder.finish(), passes.iter().map(|pass| pass.dispatches).sum());
    gpu.wait()?;
    let view = readable.slice(..).get_mapped_range();
    let view = view.map_err(|error| Error::DeviceFault { detail: error.to_string() })?;
    let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&view);
    let period = f64::from(gpu.inner.queue.get_timestamp_period()) * 1e-9;
    Ok(ticks.chunks_exact(2).map(|pair| pair[1].saturating_sub(pair[0]) as f64 * period).collect())
}

fn time_on_host<F>(gpu: &Gpu, passes: &[Pass<'_, F>]) -> Result<Vec<f64>, Error>
where
    F: Fn(&mut wgpu::ComputePass<'_>),
{
    gpu.wait()?;
    passes
        .iter()
        .map(|pass| {
            let start = Instant::now();
            let device = &gpu.inner.device;
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            (pass.record)(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()));
            gpu.submit(encoder.finish(), pass.dispatches);
            gpu.wait()?;
            Ok(start.elapsed().as_secs_f64())
        })
        .collect()
}
