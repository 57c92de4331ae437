//! One typed Rust function per WGSL kernel, grouped as in `shaders/`. No algorithm.
//!
//! Each function checks shapes, counts the work and adds one dispatch to a plan. [`ALL`] is the only registry: the
//! tests that reflect, validate and translate every kernel × variant walk it, and so does `dualstep verify`.

mod activation;
pub mod anderson;
pub mod badm;
pub mod batch;
pub mod cg;
pub mod cholesky;
pub mod dladmm;
pub mod elementwise;
pub mod exact;
pub mod first_order;
pub mod gcn;
pub mod linalg;
pub mod line_search;
pub mod loss;
pub mod mlp;
pub mod nm;
pub mod optimizer;
pub mod proximal;
pub mod reduce;
pub mod sparse;
pub(crate) mod tiles;

pub use activation::Activation;

use crate::Error;
use crate::engine::{AdapterClass, Groups, Kernel, Shape, StorageType, Tensor, Variant};

/// Every kernel of the crate.
pub static ALL: &[&Kernel] = &[
    &elementwise::FILL,
    &elementwise::COPY,
    &elementwise::MULTIPLY_ADD,
    &elementwise::DESCEND,
    &elementwise::ACTIVATE,
    &elementwise::DROPOUT,
    &reduce::DOT,
    &reduce::DOTS,
    &reduce::TOTALS,
    &linalg::MATMUL,
    &linalg::MATMUL_ADD,
    &linalg::MATMUL_SUBTRACT,
    &linalg::ADD_PARTS,
    &linalg::MATMUL_NORM,
    &linalg::GRAM,
    &linalg::TRANSPOSE,
    &sparse::PRODUCT,
    &sparse::WEIGHT_GRADIENT,
    &sparse::DROPOUT,
    &linalg::MATMUL_NM,
    &linalg::MATVEC_NM,
    &cholesky::CORNER,
    &cg::STEP,
    &loss::SOFTMAX_SCORES,
    &loss::SQUARED_SCORES,
    &loss::SOFTMAX_GRADIENT,
    &loss::SQUARED_GRADIENT,
    &batch::GATHER,
    &batch::GATHER_SPARSE,
    &batch::GATHER_LABELS,
    &batch::ADVANCE,
    &mlp::DELTA,
    &mlp::WEIGHT_GRADIENT,
    &mlp::BIAS_GRADIENT,
    &gcn::SKIP,
    &gcn::DELTA,
    &dladmm::DUAL_TARGET,
    &dladmm::RESIDUAL,
    &dladmm::RESIDUAL_SUMS,
    &dladmm::BIAS_STEP,
    &dladmm::HIDDEN_Z,
    &dladmm::ACTIVATION_GRADIENT,
    &dladmm::WEIGHT_PENALTY,
    &dladmm::STEP_SIZE,
    &dladmm::FISTA,
    &dladmm::FISTA_CHANGES,
    &dladmm::FISTA_STOP,
    &dladmm::NEWTON,
    &dladmm::SQUARED_Z,
    &dladmm::DUAL_STEP,
    &dladmm::DUAL_OF_Z,
    &dladmm::WEIGHT_TERMS,
    &dladmm::MERIT,
    &dladmm::HIDDEN_TERMS,
    &dladmm::KEEP,
    &dladmm::RECORD,
    &line_search::COLUMN_SQUARES,
    &line_search::WEIGHT_STEP,
    &line_search::GRAM_STEP,
    &line_search::PRODUCT_STEP,
    &line_search::ACTIVATION_STEP,
    &proximal::TRIAL,
    &proximal::DECIDE,
    &proximal::WEIGHT_STEP,
    &exact::DAMPING,
    &exact::DAMPED,
    &exact::RIGHT_SIDE,
    &anderson::OPEN,
    &anderson::COLUMNS,
    &anderson::SOLVE,
    &anderson::MIX,
    &anderson::EXTRAPOLATE,
    &anderson::COPY_WHERE,
    &anderson::JUDGE,
    &optimizer::FINITE,
    &first_order::CLOCK,
    &first_order::SGD,
    &first_order::STEP,
    &first_order::SPARSE_SGD,
    &first_order::SPARSE_STEP,
    &badm::CLOCK,
    &badm::STEP,
    &badm::STEP_APART,
    &nm::PROJECT,
    &nm::ADMM_UPDATE,
    &nm::MEASURE,
    &nm::DIVISORS,
    &nm::AUTO_RHO,
    &nm::PACK,
    &nm::UNPACK,
];

/// The variant of a kernel that has only one.
fn plain() -> Vec<Variant> {
    vec![Variant::new("plain")]
}

/// A class of each kind for kernels that ask [`AdapterClass::is_software`] and nothing more.
const LANES_OR_LOOPS: [AdapterClass; 2] = [AdapterClass::Gpu, AdapterClass::Software];

/// Lanes of a workgroup in elementwise kernels.
pub(crate) const WG_SIZE: u32 = 256;

/// Lanes of a workgroup that adds up by a tree what its lanes have found: where lanes are a loop, eight, since each halving of the
/// tree makes all of them wait. (Of vectors of sixteen, eight leave a half idle and still read twice as fast.)
pub(crate) fn summing_lanes(class: AdapterClass) -> u32 {
    if class.is_software() { 8 } else { WG_SIZE }
}

/// The variant with so many lanes.
fn summing(variant: Variant, class: AdapterClass) -> Variant {
    match class.is_software() {
        false => variant,
        true => variant.spec("WG_SIZE", summing_lanes(class)).for_software(),
    }
}

/// These, for every number of lanes.
fn summing_variants(variants: Vec<Variant>) -> Vec<Variant> {
    variants
        .into_iter()
        .flat_map(|variant| LANES_OR_LOOPS.map(|class| summing(variant.clone(), class)))
        .collect()
}

/// Samples that a lane of a kernel with a bias takes, one after another: with three operands twelve rows at a time, which is
/// as many as a processor fetches ahead.
const SAMPLES_PER_LANE: u32 = 4;

/// Workgroups for kernels whose lanes own one `vec4` of features in [`SAMPLES_PER_LANE`] samples.
fn groups_over_samples(shape: Shape) -> Groups {
    Groups::over(u64::from(shape.quads()) * u64::from(shape.rows.div_ceil(SAMPLES_PER_LANE)), WG_SIZE)
}

/// `vec4`s of a tensor, all rows.
fn quads(tensor: &Tensor) -> u32 {
    // Bindings are at most 2 GiB, so the count fits.
    (tensor.shape().stored() / 4) as u32
}

/// Refuses a tensor of another shape than the kernel's other operands call for.
fn expect_shape(kernel: &'static Kernel, name: &str, tensor: &Tensor, expected: Shape) -> Result<(), Error> {
    let actual = tensor.shape();
    if actual == expected {
        return Ok(());
    }
    let detail = format!("`{name}` is {actual} but the other operands call for {expected}");
    Err(Error::Shape { kernel: kernel.name, detail })
}

/// Refuses a list that is too short.
fn expect_length(kernel: &'static Kernel, name: &str, tensor: &Tensor, least: u64) -> Result<(), Error> {
    let length = tensor.shape().stored();
    if length >= least {
        return Ok(());
    }
    let detail = format!("`{name}` holds {length} elements but {least} are needed");
    Err(Error::Shape { kernel: kernel.name, detail })
}

/// Refuses labels that are not one u32 per sample.
fn expect_labels(kernel: &'static Kernel, labels: &Tensor, samples: u32) -> Result<(), Error> {
    expect_length(kernel, "labels", labels, u64::from(samples))?;
    if labels.storage() == StorageType::U32 {
        return Ok(());
    }
    let detail = format!("`labels` is stored as {:?} but must be U32", labels.storage());
    Err(Error::Shape { kernel: kernel.name, detail })
}
