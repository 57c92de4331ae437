//! Every kernel against its oracle, on the device at hand.
//!
//! `dualstep verify` and `tests/kernels.rs` call [`run`]. A case is one call of a kernel's Rust function on seeded
//! random operands. What always holds of each:
//!
//! - Every operand lies between canaries, in a buffer and a binding that reach past it, so that a stray store is seen
//!   and a stray load meets NaN. What is only read must not change; what is written in full starts as NaN.
//! - Every element is compared with the f64 oracle of the same name. The allowed error is a count of roundings times ε
//!   times the magnitude that the oracle computed, and where values may be flushed to zero, as WGSL permits, the
//!   smallest normal number beside ε.
//! - The padding of every row that is written in full is zero.
//! - Each case runs twice, and the two leave the same bits. So does a third run of some cases of every kernel, with all
//!   operands in one buffer, as a host app that sub-allocates has them.
//!
//! A value that is not finite reaches what depends on it, in every kernel but those whose formula has a maximum,
//! minimum or threshold: WGSL leaves `max(NaN, 0)` open, so `elementwise/activate` and `dladmm/hidden_z` may turn a NaN
//! into a number, as may Adamax's `first_order/step` in its maximum and `badm/step` in a second moment, and
//! `proximal/weight_step` takes it for a weight below its threshold. In the others, cases check that it shows where it
//! should and nowhere else; `reduce/totals`, `dladmm/step_size`, `dladmm/record`, `proximal/decide` and the steps of
//! `line_search` note it in the status word, and `optimizer/finite` finds it before a step is taken. Padding may become
//! NaN in a row that holds one.

mod anderson;
mod badm;
mod batch;
mod call;
mod cg;
mod cholesky;
mod dladmm;
mod elementwise;
mod exact;
mod expected;
mod first_order;
mod gcn;
mod linalg;
mod line_search;
mod loss;
mod mlp;
mod nm;
mod optimizer;
mod proximal;
mod reduce;
mod sparse;
mod values;

use std::fmt;

use call::Session;

use crate::Error;
use crate::engine::{Gpu, Kernel};
use crate::kernels;

/// How much to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Every kernel and every kind of value, small sizes: seconds.
    Quick,
    /// All sizes, up to a hundred thousand elements and more than one workgroup in every direction.
    Full,
}

/// How one kernel did.
#[derive(Clone, Debug)]
pub struct Row {
    /// `family/kernel`.
    pub kernel: &'static str,
    /// Cases that ran.
    pub cases: u32,
    /// The largest error, as a share of what was allowed for it.
    pub worst: f64,
    /// The first thing that was wrong: case, operand, index, actual and expected value, and their distance in ULPs.
    pub failure: Option<String>,
}

impl Row {
    /// Whether everything was right.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "ok" } else { "WRONG" };
        write!(f, "{:28} {:4} cases  {:5.3} of the bound  {verdict}", self.kernel, self.cases, self.worst)?;
        match &self.failure {
            Some(failure) => write!(f, "\n    {failure}"),
            None => Ok(()),
        }
    }
}

/// The cases of one kernel.
type Cases = fn(&mut Session<'_>) -> Result<(), Error>;

/// Every kernel's cases.
static CASES: &[(&Kernel, Cases)] = &[
    (&kernels::elementwise::FILL, elementwise::fill),
    (&kernels::elementwise::COPY, elementwise::copy),
    (&kernels::elementwise::MULTIPLY_ADD, elementwise::multiply_add),
    (&kernels::elementwise::DESCEND, elementwise::descend),
    (&kernels::elementwise::ACTIVATE, elementwise::activate),
    (&kernels::elementwise::DROPOUT, elementwise::dropout),
    (&kernels::reduce::DOT, reduce::dot),
    (&kernels::reduce::DOTS, reduce::dots),
    (&kernels::reduce::TOTALS, reduce::totals),
    (&kernels::linalg::MATMUL, linalg::matmul),
    (&kernels::linalg::MATMUL_ADD, linalg::matmul_add),
    (&kernels::linalg::MATMUL_SUBTRACT, linalg::matmul_subtract),
    (&kernels::linalg::MATMUL_NORM, linalg::matmul_norm),
    (&kernels::linalg::GRAM, linalg::gram),
    (&kernels::linalg::ADD_PARTS, linalg::add_parts),
    (&kernels::linalg::TRANSPOSE, linalg::transpose),
    (&kernels::sparse::PRODUCT, sparse::product),
    (&kernels::sparse::WEIGHT_GRADIENT, sparse::weight_gradient),
    (&kernels::sparse::DROPOUT, sparse::dropout),
    (&kernels::linalg::MATMUL_NM, nm::matmul_nm),
    (&kernels::linalg::MATVEC_NM, nm::matvec_nm),
    (&kernels::cholesky::CORNER, cholesky::corner),
    (&kernels::cg::STEP, cg::step),
    (&kernels::loss::SOFTMAX_SCORES, loss::softmax_scores),
    (&kernels::loss::SQUARED_SCORES, loss::squared_scores),
    (&kernels::loss::SOFTMAX_GRADIENT, loss::softmax_gradient),
    (&kernels::loss::SQUARED_GRADIENT, loss::squared_gradient),
    (&kernels::batch::GATHER, batch::gather),
    (&kernels::batch::GATHER_SPARSE, batch::gather_sparse),
    (&kernels::batch::GATHER_LABELS, batch::gather_labels),
    (&kernels::batch::ADVANCE, batch::advance),
    (&kernels::mlp::DELTA, mlp::delta),
    (&kernels::mlp::WEIGHT_GRADIENT, mlp::weight_gradient),
    (&kernels::mlp::BIAS_GRADIENT, mlp::bias_gradient),
    (&kernels::gcn::SKIP, gcn::skip),
    (&kernels::gcn::DELTA, gcn::delta),
    (&kernels::dladmm::DUAL_TARGET, dladmm::dual_target),
    (&kernels::dladmm::RESIDUAL, dladmm::residual),
    (&kernels::dladmm::RESIDUAL_SUMS, dladmm::residual_sums),
    (&kernels::dladmm::BIAS_STEP, dladmm::bias_step),
    (&kernels::dladmm::HIDDEN_Z, dladmm::hidden_z),
    (&kernels::dladmm::ACTIVATION_GRADIENT, dladmm::activation_gradient),
    (&kernels::dladmm::WEIGHT_PENALTY, dladmm::weight_penalty),
    (&kernels::dladmm::STEP_SIZE, dladmm::step_size),
    (&kernels::dladmm::FISTA, dladmm::fista),
    (&kernels::dladmm::FISTA_CHANGES, dladmm::fista_changes),
    (&kernels::dladmm::FISTA_STOP, dladmm::fista_stop),
    (&kernels::dladmm::NEWTON, dladmm::newton),
    (&kernels::dladmm::SQUARED_Z, dladmm::squared_z),
    (&kernels::dladmm::DUAL_STEP, dladmm::dual_step),
    (&kernels::dladmm::DUAL_OF_Z, dladmm::dual_of_z),
    (&kernels::dladmm::WEIGHT_TERMS, dladmm::weight_terms),
    (&kernels::dladmm::MERIT, dladmm::merit),
    (&kernels::dladmm::HIDDEN_TERMS, dladmm::hidden_terms),
    (&kernels::dladmm::KEEP, dladmm::keep),
    (&kernels::dladmm::RECORD, dladmm::record),
    (&kernels::line_search::COLUMN_SQUARES, line_search::column_squares),
    (&kernels::line_search::WEIGHT_STEP, line_search::weight_step),
    (&kernels::line_search::GRAM_STEP, line_search::gram_step),
    (&kernels::line_search::PRODUCT_STEP, line_search::product_step),
    (&kernels::line_search::ACTIVATION_STEP, line_search::activation_step),
    (&kernels::proximal::TRIAL, proximal::trial),
    (&kernels::proximal::DECIDE, proximal::decide),
    (&kernels::proximal::WEIGHT_STEP, proximal::weight_step),
    (&kernels::exact::DAMPING, exact::damping),
    (&kernels::exact::DAMPED, exact::damped),
    (&kernels::exact::RIGHT_SIDE, exact::right_side),
    (&kernels::anderson::OPEN, anderson::open),
    (&kernels::anderson::COLUMNS, anderson::columns),
    (&kernels::anderson::SOLVE, anderson::solve),
    (&kernels::anderson::MIX, anderson::mix),
    (&kernels::anderson::EXTRAPOLATE, anderson::extrapolate),
    (&kernels::anderson::COPY_WHERE, anderson::copy_where),
    (&kernels::anderson::JUDGE, anderson::judge),
    (&kernels::optimizer::FINITE, optimizer::finite),
    (&kernels::first_order::CLOCK, first_order::clock),
    (&kernels::first_order::SGD, first_order::sgd),
    (&kernels::first_order::STEP, first_order::step),
    (&kernels::first_order::SPARSE_SGD, first_order::sparse_sgd),
    (&kernels::first_order::SPARSE_STEP, first_order::sparse_step),
    (&kernels::badm::CLOCK, badm::clock),
    (&kernels::badm::STEP, badm::step),
    (&kernels::badm::STEP_APART, badm::step_apart),
    (&kernels::nm::PROJECT, nm::project),
    (&kernels::nm::ADMM_UPDATE, nm::admm_update),
    (&kernels::nm::MEASURE, nm::measure),
    (&kernels::nm::DIVISORS, nm::divisors),
    (&kernels::nm::AUTO_RHO, nm::auto_rho),
    (&kernels::nm::PACK, nm::pack),
    (&kernels::nm::UNPACK, nm::unpack),
];

/// Runs the cases of the kernels that `wanted` picks by name, handing each row over as soon as it is there. Waits for the
/// device throughout.
///
/// A kernel that is wrong, or does not compile, or has no cases, is a row with a failure and not an error.
///
/// # Errors
/// [`Error::DeviceFault`] when the device fails, after which nothing more can be learnt from it.
pub fn run(
    gpu: &Gpu,
    effort: Effort,
    wanted: impl Fn(&str) -> bool,
    mut report: impl FnMut(&Row),
) -> Result<Vec<Row>, Error> {
    let registered = kernels::ALL.iter().copied();
    let strays = CASES.iter().map(|(kernel, _)| *kernel).filter(|kernel| !is_among(kernel, kernels::ALL));
    let mut rows = Vec::new();
    for kernel in registered.chain(strays).filter(|kernel| wanted(kernel.name)) {
        let row = verify(gpu, effort, kernel)?;
        report(&row);
        rows.push(row);
    }
    Ok(rows)
}

fn is_among(kernel: &Kernel, all: &[&Kernel]) -> bool {
    all.iter().any(|other| other.name == kernel.name)
}

fn verify(gpu: &Gpu, effort: Effort, kernel: &Kernel) -> Result<Row, Error> {
    let mut session = Session::new(gpu, effort, kernel.name);
    if !is_among(kernel, kernels::ALL) {
        session.fail("it has cases but is not in kernels::ALL".into());
    }
    match CASES.iter().find(|(known, _)| known.name == kernel.name) {
        None => session.fail("it has no cases in verify::CASES".into()),
        Some((_, cases)) => match cases(&mut session) {
            Ok(()) => {}
            Err(fault @ Error::DeviceFault { .. }) => return Err(fault),
            Err(error) => session.fail(error.to_string()),
        },
    }
    Ok(session.into_row())
}
