//! The device that Burn and dualstep share.

use burn::tensor::Device;
use burn::tensor::wgpu::{WgpuOptions, WgpuSetup};
use dualstep::engine::{Gpu, GpuOptions};

use crate::Error;

/// One wgpu device and queue, as Burn knows it and as dualstep does. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Shared {
    gpu: Gpu,
    device: Device,
}

impl Shared {
    /// Has Burn open the device that `options` ask for ([`Device::wgpu_options`]), and joins it.
    ///
    /// # Errors
    /// [`Error::Burn`] when Burn cannot, or has opened that device already; and those of [`Shared::new`].
    pub fn open(options: WgpuOptions) -> Result<Self, Error> {
        let opened = options.init_with_setup().map_err(|error| Error::Burn { detail: error.to_string() });
        let (device, setup) = opened?;
        Self::new(device, &setup)
    }

    /// Joins a device that Burn has: `setup` are the wgpu handles that Burn made it of, or was given by the host app.
    ///
    /// The wgpu device's handlers of errors and loss become dualstep's ([`Gpu::from_wgpu`]): what they are told is
    /// returned by the next step, and no longer ends the program.
    ///
    /// # Errors
    /// [`Error::Dualstep`] when a limit of the device is below what the kernels need.
    pub fn new(device: Device, setup: &WgpuSetup) -> Result<Self, Error> {
        let WgpuSetup { adapter, device: handle, queue, .. } = setup;
        let options = GpuOptions::default();
        let gpu = Gpu::from_wgpu(adapter.get_info(), handle.clone(), queue.clone(), &options)?;
        Ok(Self { gpu, device })
    }

    /// The device as dualstep knows it.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The device as Burn knows it, without autodiff.
    pub fn device(&self) -> &Device {
        &self.device
    }
}
