//! The one error type of the crate.

/// What went wrong, where, and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The step itself was refused.
    #[error(transparent)]
    Dualstep(#[from] dualstep::Error),
    /// Burn refused, or failed.
    #[error("burn: {detail}")]
    Burn {
        /// What it said.
        detail: String,
    },
    /// A parameter or its gradient is not one that can be stepped.
    #[error("parameter {parameter}: {detail}")]
    Parameter {
        /// Its path in the module.
        parameter: String,
        /// What is wrong with it, and the remedy.
        detail: String,
    },
    /// The module is not the one that the optimizer has state of.
    #[error("the module: {detail}; an optimizer steps the parameters that its first step met")]
    Module {
        /// What differs.
        detail: String,
    },
    /// An optimizer's record is not of this optimizer or module.
    #[error("the optimizer's record: {detail}")]
    Record {
        /// What is missing or differs.
        detail: String,
    },
}
