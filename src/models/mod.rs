//! Networks as functions: their loss, and its gradients for the solvers that need some.
//!
//! A model knows sizes and records passes into a caller's plan; parameters and gradients are the caller's tensors, one
//! flat row each by a [`Slab`](crate::engine::Slab), as solvers take them.

pub mod gcn;
pub mod inputs;
pub mod mlp;
