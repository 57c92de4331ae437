//! Fused WGSL compute kernels, dispatched by a small scheduler, for training and sparsifying neural networks by
//! splitting methods (ADMM) on any GPU that wgpu reaches.

pub mod data;
pub mod engine;
mod error;
pub mod files;
pub mod golden;
pub mod kernels;
pub mod reference;
pub mod solvers;

pub use error::Error;
