//! Algorithms: each one a plan built from kernels. Loss, data and reports live elsewhere.

pub mod anderson;
pub mod dladmm;
pub mod linear;
