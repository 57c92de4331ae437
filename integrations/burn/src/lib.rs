//! [dualstep]'s optimizers as [Burn](burn)'s: BADM, N:M ADMM and first-order methods, each a few fused dispatches on the
//! buffers that Burn's own wgpu backend keeps parameters and gradients in.
//!
//! [`Shared`] is the device that both work on. A configuration of dualstep's, [`BadmConfig`], [`FirstOrderConfig`] or
//! [`NmAdmmConfig`], becomes an [`Optimizer`] by [`init`](OptimizerConfig::init), whose [`step`](Optimizer::step) takes and
//! returns a module as Burn's own does:
//!
//! ```no_run
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::{Device, Distribution, Tensor};
//! use dualstep_burn::{BadmConfig, OptimizerConfig, Shared, SubBatches};
//!
//! fn main() -> Result<(), dualstep_burn::Error> {
//!     let shared = Shared::open(Device::wgpu_options())?;
//!     let device = shared.device().clone().autodiff();
//!     let mut model: Linear = LinearConfig::new(8, 1).init(&device);
//!     let mut optimizer = BadmConfig::robust(4, 1e-3).init(&shared)?;
//!     for _ in 0..100 {
//!         let batches = (0..4).map(|_| Tensor::<2>::random([16, 8], Distribution::Default, &device));
//!         let gradients = SubBatches::backward(&model, batches, |model, x| model.forward(x).square().mean());
//!         model = optimizer.step(1e-3, model, gradients)?;
//!     }
//!     optimizer.check() // waits for the device; an error if a gradient was not finite
//! }
//! ```
//!
//! # What a step does
//!
//! It has Burn finish what it has queued, looks up where parameters and gradients lie, and submits one pass to the same
//! queue, so that what Burn does next comes after it. Nothing is copied to or from the host, and nothing waits for the device. Parameters are
//! changed where they are; one that is shared, because its module was cloned, say, is copied first, on the device, so that
//! the clone keeps its values. A gradient that lies in another order of axes than its parameter is turned, on the device, too,
//! as those of [`Linear`](burn::nn::Linear) layers of layout `Col` are. Plans are recorded once for each set of places and kept; Burn's allocator comes back to the
//! same ones. A gradient that is not finite refuses the step on the device, for all parameters
//! ([`Guard`](dualstep::solvers::optimizer::Guard)).
//!
//! # Two ways in
//!
//! [`init`](OptimizerConfig::init) makes an [`Optimizer`] of a whole module: one submission a step. [`build`](OptimizerConfig::build)
//! makes a [`PerParameter`], which implements Burn's own [`Optimizer`](burn::optim::Optimizer) trait for those places that
//! take one, as parameter groups and learners do; it submits for each parameter.

mod collect;
mod device;
mod error;
mod gradients;
mod optimizer;
mod per_parameter;
mod places;
mod record;
mod rule;
mod tensor;

pub use device::Shared;
pub use error::Error;
pub use gradients::SubBatches;
pub use optimizer::Optimizer;
pub use per_parameter::{ParameterState, PerParameter};
pub use rule::{NmAdmmConfig, OptimizerConfig};

pub use dualstep;
pub use dualstep::solvers::badm::BadmConfig;
pub use dualstep::solvers::first_order::{FirstOrderConfig, Method};
pub use dualstep::solvers::nm::{NmConfig, NmPattern, Penalty};
