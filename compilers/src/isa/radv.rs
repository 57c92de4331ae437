//! A compute compiler without a device: a Vulkan driver that makes pipelines and says what it made of them.
//!
//! Mesa's RADV does so on "null hardware", for the GPU family that `RADV_FORCE_FAMILY` names. Nothing is ever submitted.

use std::ffi::{CStr, c_char};

use anyhow::{Context, Result, ensure};
use ash::khr::pipeline_executable_properties as executables;
use ash::vk;

/// A driver with its device open.
pub struct Compiler {
    /// Keeps the library loaded.
    _entry: ash::Entry,
    instance: ash::Instance,
    device: ash::Device,
    executables: executables::Device,
    name: String,
    driver: String,
}

/// What became of a shader.
pub struct Compiled {
    /// The driver's figures by their names.
    pub figures: Vec<(String, u64)>,
    /// The machine code, in words.
    pub assembly: String,
}

impl Compiled {
    /// A figure by its name.
    pub fn figure(&self, name: &str) -> Option<u64> {
        self.figures.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }
}

impl Compiler {
    /// Opens the first device of the driver that the environment chooses.
    pub fn open() -> Result<Self> {
        // SAFETY: loading the system's Vulkan library runs its initialisers, which is what they are there for.
        let entry = unsafe { ash::Entry::load() }.context("no Vulkan library; install libvulkan1")?;
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let create = vk::InstanceCreateInfo::default().application_info(&application);
        // SAFETY: `create` and what it points to live until the call returns.
        let instance = unsafe { entry.create_instance(&create, None) }.context("no Vulkan instance")?;
        // SAFETY: `instance` is alive.
        let devices = unsafe { instance.enumerate_physical_devices() }.context("no list of devices")?;
        let physical = *devices.first().context("the driver has no device; is RADV_FORCE_FAMILY set?")?;
        let mut driver = vk::PhysicalDeviceDriverProperties::default();
        let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
        // SAFETY: `physical` is of this instance, and the chain lives until the call returns.
        unsafe { instance.get_physical_device_properties2(physical, &mut properties) };
        let name = text(&properties.properties.device_name);
        let driver = format!("{} {}", text(&driver.driver_name), text(&driver.driver_info));
        let device = device(&instance, physical)?;
        let executables = executables::Device::new(&instance, &device);
        Ok(Self { _entry: entry, instance, device, executables, name, driver })
    }

    /// The GPU that is compiled for, and the driver that does.
    pub fn names(&self) -> (&str, &str) {
        (&self.name, &self.driver)
    }

    /// Compiles a shader whose group 0 binds so many storage buffers and then perhaps a uniform one.
    pub fn compile(&self, spirv: &[u32], storage_buffers: usize, has_uniform: bool) -> Result<Compiled> {
        let kinds = std::iter::repeat_n(vk::DescriptorType::STORAGE_BUFFER, storage_buffers)
            .chain(has_uniform.then_some(vk::DescriptorType::UNIFORM_BUFFER));
        let bindings: Vec<_> = kinds
            .zip(0..)
            .map(|(kind, at)| {
                vk::DescriptorSetLayoutBinding::default()
                    .binding(at)
                    .descriptor_type(kind)
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
            })
            .collect();
        let set = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        let device = &self.device;
        // SAFETY: the device is alive for all of these calls, what the structures point to lives until each returns, and
        // what is made is destroyed once, after its last use. The words are SPIR-V that naga validated.
        unsafe {
            let set = device.create_descriptor_set_layout(&set, None).context("no set layout")?;
            let sets = [set];
            let layout = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
            let layout = device.create_pipeline_layout(&layout, None).context("no pipeline layout")?;
            let module = vk::ShaderModuleCreateInfo::default().code(spirv);
            let module =
                device.create_shader_module(&module, None).context("the driver refuses the shader")?;
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(module)
                .name(c"main");
            let create = vk::ComputePipelineCreateInfo::default()
                .flags(
                    vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
                        | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR,
                )
                .stage(stage)
                .layout(layout);
            let pipeline = device
                .create_compute_pipelines(vk::PipelineCache::null(), &[create], None)
                .map_err(|(_, error)| error)
                .context("the driver does not compile the shader")?[0];
            let compiled = self.describe(pipeline);
            device.destroy_pipeline(pipeline, None);
            device.destroy_shader_module(module, None);
            device.destroy_pipeline_layout(layout, None);
            device.destroy_descriptor_set_layout(set, None);
            compiled
        }
    }

    fn describe(&self, pipeline: vk::Pipeline) -> Result<Compiled> {
        let info = vk::PipelineInfoKHR::default().pipeline(pipeline);
        let executable = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline).executable_index(0);
        // SAFETY: the pipeline is alive, of this device, and was made to keep what is asked for.
        let (all, figures) = unsafe {
            let all = self.executables.get_pipeline_executable_properties(&info).context("no executables")?;
            (all, self.executables.get_pipeline_executable_statistics(&executable).context("no statistics")?)
        };
        ensure!(all.len() == 1, "{} programs of one shader", all.len());
        let figures = figures.iter().map(|figure| {
            let value = match figure.format {
                // SAFETY: the format says which of the union's fields is set.
                vk::PipelineExecutableStatisticFormatKHR::UINT64 => unsafe { figure.value.u64 },
                _ => 0,
            };
            (text(&figure.name), value)
        });
        Ok(Compiled { figures: figures.collect(), assembly: self.assembly(&executable)? })
    }

    fn assembly(&self, executable: &vk::PipelineExecutableInfoKHR<'_>) -> Result<String> {
        let get = self.executables.fp().get_pipeline_executable_internal_representations_khr;
        let handle = self.executables.device();
        let mut count = 0;
        // SAFETY: a null list asks for how many there are; the lists are as long as said, and each text as long as its
        // entry said in the call before.
        unsafe {
            get(handle, executable, &mut count, std::ptr::null_mut())
                .result()
                .context("no representations")?;
            let mut forms = vec![vk::PipelineExecutableInternalRepresentationKHR::default(); count as usize];
            get(handle, executable, &mut count, forms.as_mut_ptr()).result().context("no representations")?;
            let mut texts: Vec<Vec<u8>> = forms.iter().map(|form| vec![0; form.data_size]).collect();
            for (form, text) in forms.iter_mut().zip(&mut texts) {
                form.p_data = text.as_mut_ptr().cast();
            }
            get(handle, executable, &mut count, forms.as_mut_ptr()).result().context("no representations")?;
            let found = forms.iter().zip(&texts).find(|(form, _)| text(&form.name) == "Assembly");
            let (_, bytes) = found.context("the driver shows no assembly")?;
            Ok(String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned())
        }
    }
}

impl Drop for Compiler {
    fn drop(&mut self) {
        // SAFETY: nothing made of them is left, and neither is used again.
        unsafe {
            self.device.destroy_device(None);
            self.instance.destroy_instance(None);
        }
    }
}

/// A device without queues: null hardware has none.
fn device(instance: &ash::Instance, physical: vk::PhysicalDevice) -> Result<ash::Device> {
    let mut captures =
        vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default().pipeline_executable_info(true);
    let extensions = [executables::NAME.as_ptr()];
    let create =
        vk::DeviceCreateInfo::default().enabled_extension_names(&extensions).push_next(&mut captures);
    // SAFETY: `physical` is of this instance; `create` and what it points to live until the call returns.
    unsafe { instance.create_device(physical, &create, None) }
        .context("the driver has no VK_KHR_pipeline_executable_properties; it must be Mesa's RADV")
}

/// A text that a driver left in a fixed field.
fn text(field: &[c_char]) -> String {
    let bytes: Vec<u8> = field.iter().map(|c| *c as u8).collect();
    CStr::from_bytes_until_nul(&bytes).map_or(String::new(), |text| text.to_string_lossy().into_owned())
}
