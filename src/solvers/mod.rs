//! Algorithms: each one a plan built from kernels. Loss, data and reports live elsewhere.

pub mod anderson;
pub mod badm;
pub mod dladmm;
pub mod first_order;
pub mod linear;
pub mod nm;
pub mod optimizer;
pub mod problem;
mod scoring;
pub mod sparsify;
pub mod training;
