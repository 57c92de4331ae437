//! Gradient steps of W and a whose lengths are found by exact line search: one for each row of W, one for each sample
//! of a (ALGORITHMS.md, exact block steps, the last paragraph).
//!
//! Shapes as in [`super::dladmm`]: `weights` and its `gradient` are width × previous width, `activation`, `product`,
//! `moved` are samples × features; `control` and `status` as there.

use super::dladmm::{CONTROL_LENGTH, STATUS_LENGTH, sum_rows};
use super::{expect_length, expect_shape, groups_over_samples, plain};
use crate::Error;
use crate::engine::{Binding, Dispatch, Groups, Kernel, PlanBuilder, Shape, Tensor, Variant, params};

/// Lanes that own a `vec4` of features over a chunk of samples.
const CHUNK_LANES: u32 = 64;

/// `line_search/column_squares`
pub static COLUMN_SQUARES: Kernel = Kernel {
    name: "line_search/column_squares",
    bindings: &[Binding::read("moved"), Binding::write("partials")],
    params: ColumnSquaresParams::LAYOUT,
    variants: plain,
};

params! {
    struct ColumnSquaresParams { quads: u32, samples: u32, chunks: u32, offset: u32 }
}

/// Sums over samples of squares, feature by feature: one row of `partials` per 64 samples from row `offset` on, as many
/// as [`sum_rows`] says.
///
/// # Errors
/// [`Error::Shape`] when `partials` is too short, and those of [`PlanBuilder::dispatch`].
pub fn column_squares(
    plan: &mut PlanBuilder,
    moved: &Tensor,
    partials: &Tensor,
    offset: u32,
) -> Result<(), Error> {
    let shape = moved.shape();
    let (quads, chunks) = (shape.quads(), sum_rows(shape.rows));
    let needed = (u64::from(offset) + u64::from(chunks)) * u64::from(shape.stride());
    expect_length(&COLUMN_SQUARES, "partials", partials, needed)?;
    plan.dispatch(Dispatch {
        kernel: &COLUMN_SQUARES,
        variant: Variant::new("plain"),
        operands: &[moved, partials],
        params: bytemuck::bytes_of(&ColumnSquaresParams { quads, samples: shape.rows, chunks, offset }),
        groups: Groups::over(u64::from(quads) * u64::from(chunks), CHUNK_LANES),
        flops: 2 * shape.elements(),
    })
}

/// `line_search/weight_step`
pub static WEIGHT_STEP: Kernel = Kernel {
    name: "line_search/weight_step",
    bindings: &[
        Binding::read("gradient"),
        Binding::read("partials"),
        Binding::read("control"),
        Binding::update("weights"),
        Binding::write("lengths"),
        Binding::update("status"),
    ],
    params: WeightStepParams::LAYOUT,
    variants: plain,
};

params! {
    struct WeightStepParams {
        rows: u32,
        quads: u32,
        chunks: u32,
        stride: u32,
        last_layer: u32,
        origin: u32,
        lambda: f32,
    }
}

/// What [`weight_step`] works on.
#[derive(Debug)]
pub struct WeightStep<'a> {
    /// G, without its factor κ, the penalty's part included.
    pub gradient: &'a Tensor,
    /// Rows of partial sums whose sum is ‖(G a)_i‖² in place i, as [`column_squares`] leaves them: chunks × width.
    pub partials: &'a Tensor,
    /// Penalties.
    pub control: &'a Tensor,
    /// λ of the penalty (λ/2) ‖W‖².
    pub lambda: f32,
    /// Whether the layer is the last, whose penalty is ρ and not ν.
    pub last_layer: bool,
    /// W.
    pub weights: &'a Tensor,
    /// s: one for each row of W.
    pub lengths: &'a Tensor,
    /// The solver's status word.
    pub status: &'a Tensor,
    /// Number noted in the status when a norm is not finite.
    pub origin: u32,
}

/// `W_i −= s_i G_i` with `s_i = ‖G_i‖² / (‖(G a)_i‖² + (λ/κ) ‖G_i‖²)`, the minimiser along each row's gradient.
///
/// A row rests where ‖G_i‖² is below 1e-30, or where there is no curvature.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn weight_step(plan: &mut PlanBuilder, args: &WeightStep<'_>) -> Result<(), Error> {
    let WeightStep { gradient, partials, control, lambda, last_layer, weights, lengths, status, origin } =
        *args;
    let (shape, lines) = (weights.shape(), Shape::vector(weights.shape().rows));
    expect_shape(&WEIGHT_STEP, "gradient", gradient, shape)?;
    expect_shape(&WEIGHT_STEP, "lengths", lengths, lines)?;
    let chunks = partials.shape().rows;
    expect_shape(&WEIGHT_STEP, "partials", partials, Shape::new(chunks, shape.rows))?;
    expect_length(&WEIGHT_STEP, "control", control, CONTROL_LENGTH.into())?;
    expect_length(&WEIGHT_STEP, "status", status, STATUS_LENGTH.into())?;
    let params = WeightStepParams {
        rows: shape.rows,
        quads: shape.quads(),
        chunks,
        stride: lines.stride(),
        last_layer: last_layer.into(),
        origin,
        lambda,
    };
    plan.dispatch(Dispatch {
        kernel: &WEIGHT_STEP,
        variant: Variant::new("plain"),
        operands: &[gradient, partials, control, weights, lengths, status],
        params: bytemuck::bytes_of(&params),
        groups: Groups(lines.stride().into()),
        flops: 4 * shape.elements() + partials.shape().elements(),
    })
}

/// `line_search/gram_step`
pub static GRAM_STEP: Kernel = Kernel {
    name: "line_search/gram_step",
    bindings: &[
        Binding::read("curvature"),
        Binding::update("gradient"),
        Binding::update("weights"),
        Binding::update("status"),
    ],
    params: GramStepParams::LAYOUT,
    variants: plain,
};

params! {
    struct GramStepParams { rows: u32, quads: u32, origin: u32 }
}

/// [`weight_step`] from `curvature` = C = G (x xᵀ) + (λ/κ) G: `W_i −= s_i G_i` with `s_i = ‖G_i‖² / ⟨C_i, G_i⟩`, and
/// `G_i −= s_i C_i`, the gradient there.
///
/// A row rests where ‖G_i‖² is below 1e-30, or where ⟨C_i, G_i⟩ is not above 1e-6 ‖C_i‖ ‖G_i‖: flatter, it is its own
/// rounding.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn gram_step(
    plan: &mut PlanBuilder,
    curvature: &Tensor,
    gradient: &Tensor,
    weights: &Tensor,
    (status, origin): (&Tensor, u32),
) -> Result<(), Error> {
    let shape = weights.shape();
    expect_shape(&GRAM_STEP, "curvature", curvature, shape)?;
    expect_shape(&GRAM_STEP, "gradient", gradient, shape)?;
    expect_length(&GRAM_STEP, "status", status, STATUS_LENGTH.into())?;
    plan.dispatch(Dispatch {
        kernel: &GRAM_STEP,
        variant: Variant::new("plain"),
        operands: &[curvature, gradient, weights, status],
        params: bytemuck::bytes_of(&GramStepParams { rows: shape.rows, quads: shape.quads(), origin }),
        groups: groups_over_rows(shape),
        flops: 10 * shape.elements(),
    })
}

/// `line_search/product_step`
pub static PRODUCT_STEP: Kernel = Kernel {
    name: "line_search/product_step",
    bindings: &[Binding::read("moved"), Binding::read("lengths"), Binding::update("product")],
    params: ProductStepParams::LAYOUT,
    variants: plain,
};

params! {
    struct ProductStepParams { quads: u32, samples: u32 }
}

/// P moves along with a W step: its column i by s_i times that of `moved` = a Gᵀ.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn product_step(
    plan: &mut PlanBuilder,
    moved: &Tensor,
    lengths: &Tensor,
    product: &Tensor,
) -> Result<(), Error> {
    let shape = product.shape();
    expect_shape(&PRODUCT_STEP, "moved", moved, shape)?;
    expect_shape(&PRODUCT_STEP, "lengths", lengths, Shape::vector(shape.columns))?;
    plan.dispatch(Dispatch {
        kernel: &PRODUCT_STEP,
        variant: Variant::new("plain"),
        operands: &[moved, lengths, product],
        params: bytemuck::bytes_of(&ProductStepParams { quads: shape.quads(), samples: shape.rows }),
        groups: groups_over_samples(shape),
        flops: 2 * shape.elements(),
    })
}

/// `line_search/activation_step`
pub static ACTIVATION_STEP: Kernel = Kernel {
    name: "line_search/activation_step",
    bindings: &[
        Binding::read("gradient"),
        Binding::read("moved"),
        Binding::read("control"),
        Binding::update("activation"),
        Binding::update("product"),
        Binding::update("status"),
    ],
    params: ActivationStepParams::LAYOUT,
    variants: plain,
};

params! {
    struct ActivationStepParams { samples: u32, quads: u32, next_quads: u32, last_layer: u32, origin: u32 }
}

/// What [`activation_step`] works on; l is the activation's layer.
#[derive(Debug)]
pub struct ActivationStep<'a> {
    /// g, the gradient in a of layer l.
    pub gradient: &'a Tensor,
    /// g Wᵀ, with W of layer l + 1.
    pub moved: &'a Tensor,
    /// Penalties.
    pub control: &'a Tensor,
    /// Whether layer l + 1 is the last, whose penalty is ρ and not ν.
    pub last_layer: bool,
    /// a of layer l.
    pub activation: &'a Tensor,
    /// P of layer l + 1.
    pub product: &'a Tensor,
    /// The solver's status word.
    pub status: &'a Tensor,
    /// Number noted in the status when a norm is not finite.
    pub origin: u32,
}

/// `a −= s g`, `P −= s W g` with `s = ‖g‖² / (κ ‖W g‖² + ν ‖g‖²)`, sample by sample: the minimiser along each sample's
/// gradient.
///
/// A sample rests where ‖g‖² is below 1e-30.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn activation_step(plan: &mut PlanBuilder, args: &ActivationStep<'_>) -> Result<(), Error> {
    let ActivationStep { gradient, moved, control, last_layer, activation, product, status, origin } = *args;
    let (shape, next) = (activation.shape(), product.shape());
    expect_shape(&ACTIVATION_STEP, "gradient", gradient, shape)?;
    expect_shape(&ACTIVATION_STEP, "product", product, Shape::new(shape.rows, next.columns))?;
    expect_shape(&ACTIVATION_STEP, "moved", moved, next)?;
    expect_length(&ACTIVATION_STEP, "control", control, CONTROL_LENGTH.into())?;
    expect_length(&ACTIVATION_STEP, "status", status, STATUS_LENGTH.into())?;
    let params = ActivationStepParams {
        samples: shape.rows,
        quads: shape.quads(),
        next_quads: next.quads(),
        last_layer: last_layer.into(),
        origin,
    };
    plan.dispatch(Dispatch {
        kernel: &ACTIVATION_STEP,
        variant: Variant::new("plain"),
        operands: &[gradient, moved, control, activation, product, status],
        params: bytemuck::bytes_of(&params),
        groups: groups_over_rows(shape),
        flops: 4 * (shape.elements() + next.elements()),
    })
}

/// A workgroup for each row, unless rows are empty.
fn groups_over_rows(shape: Shape) -> Groups {
    Groups(if shape.elements() == 0 { 0 } else { shape.rows.into() })
}
