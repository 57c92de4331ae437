//! Fused WGSL compute kernels, dispatched by a small scheduler, for training and sparsifying neural networks by
//! splitting methods (ADMM) on any GPU that wgpu reaches.

pub mod data;
mod error;
pub mod files;
pub mod reference;

pub use error::Error;
