//! Where full data sets lie on this machine, and what their files are called.
//!
//! Two programs must agree on this: the library, which looks for a set, and `cargo xtask data`, which puts it there.
//! xtask compiles this very file rather than wait for the whole crate to build, so it uses only std and etcetera.

use std::path::PathBuf;

use etcetera::BaseStrategy;

/// The environment variable that names the cache folder; when unset, the platform's own cache folder is used.
pub const VARIABLE: &str = "DUALSTEP_DATA";

/// Where Debian's package of Fashion-MNIST keeps its four files.
pub const FASHION_MNIST_PACKAGED: &str = "/usr/share/datasets/fashion-mnist";

/// The four files of a set: training images and labels, test images and labels.
pub const FILES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

/// The file of a set that is a graph.
pub const GRAPH_FILE: &str = "graph.safetensors";

/// The folder that holds a folder per set, and what is measured here: `DUALSTEP_DATA`, or the user's cache folder; `None` where no
/// home folder is known.
pub fn folder() -> Option<PathBuf> {
    match std::env::var_os(VARIABLE) {
        Some(folder) if !folder.is_empty() => Some(folder.into()),
        _ => Some(etcetera::choose_base_strategy().ok()?.cache_dir().join("dualstep")),
    }
}
