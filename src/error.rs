//! The one error type of the crate.
//!
//! Every fallible function returns it. Each message is one line that says what was wrong, where, and what to do.

use std::ops::Range;
use std::path::PathBuf;

/// What went wrong, where, and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No adapter matched the request.
    #[error(
        "no adapter matches {requested}; found: {found}. On Debian or Ubuntu without a GPU install mesa-vulkan-drivers"
    )]
    NoAdapter {
        /// What was asked for, as the user wrote it.
        requested: String,
        /// The adapters that were there, comma separated, or `none`.
        found: String,
    },
    /// A device or adapter lacks something the kernels need.
    #[error(
        "adapter {adapter}: {what} is {actual} but must be {needed}; Gpu::requirements says what to ask for"
    )]
    Requirement {
        /// Adapter name.
        adapter: String,
        /// The limit or feature, as wgpu calls it.
        what: &'static str,
        /// What it must be.
        needed: String,
        /// What it is.
        actual: String,
    },
    /// The adapter refused to make a device, or cannot compute.
    #[error("adapter {adapter}: {detail}")]
    Device {
        /// Adapter name.
        adapter: String,
        /// What the driver said, or what is missing.
        detail: String,
    },
    /// The device was lost, or reported an error outside any call; every later call returns this.
    #[error("the device failed: {detail}; make a new Gpu and resume from the last checkpoint")]
    DeviceFault {
        /// What the driver said.
        detail: String,
    },
    /// Shapes of a kernel's operands disagree.
    #[error("{kernel}: {detail}")]
    Shape {
        /// Kernel name.
        kernel: &'static str,
        /// Which operands, expected and actual.
        detail: String,
    },
    /// Two operands of a kernel share memory although one of them is written.
    #[error(
        "{kernel}: `{written}` is written but overlaps `{other}`: bytes {written_bytes:?} and {other_bytes:?} of one \
         buffer; give it memory of its own"
    )]
    Aliased {
        /// Kernel name.
        kernel: &'static str,
        /// The binding that is written.
        written: &'static str,
        /// Where it lies in the buffer.
        written_bytes: Range<u64>,
        /// The other binding.
        other: &'static str,
        /// Where that lies.
        other_bytes: Range<u64>,
    },
    /// A tensor, binding or dispatch exceeds what the device allows and cannot be cut into blocks.
    #[error("{what} needs {needed} but this device allows {allowed}; {remedy}")]
    Limit {
        /// What exceeds the limit.
        what: String,
        /// The amount needed, with unit.
        needed: String,
        /// The amount allowed, with unit.
        allowed: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A WGSL file, one of its imports or one of its `// @spec` lines is not as the registry says.
    #[error("shader {shader}: {detail}")]
    Shader {
        /// Kernel or file name.
        shader: String,
        /// What is wrong.
        detail: String,
    },
    /// A plan was recorded or replayed wrongly.
    #[error("plan {plan}: {detail}")]
    Plan {
        /// The plan's label.
        plan: String,
        /// What is wrong.
        detail: String,
    },
    /// An iteration met a value that is not finite; the state before it was kept.
    #[error("{solver}: not finite at iteration {iteration}, first seen by {kernel}; {remedy}")]
    NotFinite {
        /// Which solver.
        solver: &'static str,
        /// The iteration that failed, counted from 1.
        iteration: u32,
        /// The kernel that met the value first, and on what.
        kernel: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Samples handed to a solver are not usable.
    #[error("{what}: {detail}")]
    Samples {
        /// Which samples.
        what: &'static str,
        /// Which of them, and what is wrong.
        detail: String,
    },
    /// A setting is outside its range.
    #[error("{setting} = {value}: {expected}")]
    Setting {
        /// Name of the setting, as on the command line.
        setting: &'static str,
        /// The value given.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// A data file or data set is not what it should be.
    #[error("{}: {detail}", path.display())]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong and the remedy.
        detail: String,
    },
    /// A checkpoint or golden trace cannot be used.
    #[error("{}: {detail}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong and the remedy.
        detail: String,
    },
    /// Reading or writing a file failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `read`, `write`, `create` …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
