//! Fused WGSL compute kernels, dispatched by a small scheduler, for training and sparsifying neural networks by
//! splitting methods (ADMM) on any GPU that wgpu reaches.

pub mod data;
pub mod engine;
pub mod kernels;
pub mod solvers;
mod error;
pub mod golden;
pub mod reference;

pub use error::Error;
