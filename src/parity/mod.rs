//! Replays golden traces on a device and compares: is what the kernels compute what the authors' code computes?
//!
//! `dualstep parity` and the tests call [`replay`]. Traces were recorded in float64, the replay runs in float32; the
//! tolerances say how far apart the two may be, tensor by tensor. A kind of trace is a module of this folder and a variant
//! of [`Parity`].

pub mod dladmm;
pub mod nm;
pub mod optimizers;

use crate::Error;
use crate::engine::Gpu;
use crate::golden::Trace;

/// How a replay differs from its trace.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub enum Parity {
    /// Of a trace of dlADMM.
    DlAdmm(dladmm::Parity),
    /// Of a trace of BADM.
    Badm(optimizers::Parity),
    /// Of a trace of first-order methods.
    FirstOrder(optimizers::Parity),
    /// Of a trace of N:M ADMM.
    Nm(nm::Parity),
}

/// How one tensor differs.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct TensorDifference {
    /// Such as `W1`.
    pub tensor: String,
    /// After which iteration or step.
    pub iteration: usize,
    /// ‖replayed − recorded‖ / ‖recorded‖, or where the kind says so the largest over all elements.
    pub error: f64,
    /// The most that passes.
    pub tolerance: f64,
}

impl TensorDifference {
    /// Whether the tensor is close enough. An error that is not a number is not.
    pub fn passes(&self) -> bool {
        self.error <= self.tolerance
    }
}

impl Parity {
    /// The kind of the trace, as files call it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::DlAdmm(_) => "dladmm",
            Self::Badm(_) => "badm",
            Self::FirstOrder(_) => "first_order",
            Self::Nm(_) => "nm_admm",
        }
    }

    /// Every recorded tensor, in the order of the trace.
    pub fn tensors(&self) -> &[TensorDifference] {
        match self {
            Self::DlAdmm(parity) => &parity.tensors,
            Self::Badm(parity) | Self::FirstOrder(parity) => &parity.tensors,
            Self::Nm(parity) => &parity.tensors,
        }
    }

    /// Whether everything that is judged is close enough.
    pub fn passes(&self) -> bool {
        match self {
            Self::DlAdmm(parity) => parity.passes(),
            Self::Nm(parity) => parity.passes(),
            Self::Badm(_) | Self::FirstOrder(_) => self.tensors().iter().all(TensorDifference::passes),
        }
    }
}

/// Replays a trace and compares all that it recorded.
///
/// # Errors
/// Those of the solver; [`Error::Setting`] when the trace's settings are not ones that the solver takes.
pub fn replay(gpu: &Gpu, trace: &Trace) -> Result<Parity, Error> {
    match trace {
        Trace::DlAdmm(trace) => dladmm::replay(gpu, trace).map(Parity::DlAdmm),
        Trace::Badm(trace) => optimizers::replay_badm(gpu, trace).map(Parity::Badm),
        Trace::FirstOrder(trace) => optimizers::replay_first_order(gpu, trace).map(Parity::FirstOrder),
        Trace::Nm(trace) => nm::replay(gpu, trace).map(Parity::Nm),
    }
}
