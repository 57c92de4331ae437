//! What exact block steps of dlADMM need besides matrix products: Gram matrices made solvable, and right-hand sides.

use super::dladmm::CONTROL_LENGTH;
use super::{WG_SIZE, expect_length, expect_shape, plain, quads};
use crate::Error;
use crate::engine::{Binding, Dispatch, Groups, Kernel, PlanBuilder, Shape, Tensor, Variant, params};

/// Which block's Gram matrix is damped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Damping {
    /// Weights: M = Σ a aᵀ over `samples`, centred.
    Weights {
        /// How many samples M sums over.
        samples: u32,
        /// Layer of the weights, counted from 0.
        layer: u32,
        /// Damping d, relative to the mean of M's diagonal.
        damping: f32,
        /// Ridge m, relative to the same at the first step.
        ridge: f32,
        /// Whether the layer is the last, whose penalty is ρ and not ν.
        last_layer: bool,
    },
    /// Activations below weights W': M = W'ᵀW' or W'W'ᵀ, whichever is smaller.
    Activations {
        /// Whether W' is the last layer's, whose penalty is ρ and not ν.
        last_layer: bool,
    },
}

impl Damping {
    /// Whether κ is ρ and not ν.
    fn is_last_layer(self) -> bool {
        match self {
            Self::Weights { last_layer, .. } | Self::Activations { last_layer } => last_layer,
        }
    }

    /// What s sᵀ is taken away with.
    fn centre(self) -> f32 {
        match self {
            Self::Weights { samples, .. } => 1.0 / samples as f32,
            Self::Activations { .. } => 0.0,
        }
    }
}

/// A Gram matrix M and the column sums s of what it is made of.
#[derive(Clone, Copy, Debug)]
pub struct Gram<'a> {
    /// M, square; for [`damping`] its diagonal does, as one row.
    pub matrix: &'a Tensor,
    /// s; read for weights only.
    pub sums: Option<&'a Tensor>,
}

impl<'a> Gram<'a> {
    /// The sums, or in their place something that nothing reads.
    fn sums(&self) -> &'a Tensor {
        self.sums.unwrap_or(self.matrix)
    }

    /// Whether only the diagonal is there.
    fn is_diagonal(&self) -> bool {
        self.matrix.shape().rows == 1
    }

    fn check(&self, kernel: &'static Kernel, damping: Damping) -> Result<Shape, Error> {
        let Shape { rows, columns: size } = self.matrix.shape();
        let shape = Shape::new(size, size);
        if !(kernel.name == DAMPING.name && rows == 1) {
            expect_shape(kernel, "matrix", self.matrix, shape)?;
        }
        match (damping, self.sums) {
            (Damping::Weights { .. }, Some(sums)) => {
                expect_shape(kernel, "sums", sums, Shape::vector(size))?;
            }
            (Damping::Weights { .. }, None) => {
                let detail = "`sums` are missing: a Gram matrix of weights is centred".into();
                return Err(Error::Shape { kernel: kernel.name, detail });
            }
            _ => {}
        }
        Ok(shape)
    }
}

/// `exact/damping`
pub static DAMPING: Kernel = Kernel {
    name: "exact/damping",
    bindings: &[
        Binding::read("matrix"),
        Binding::read("sums"),
        Binding::read("control"),
        Binding::update("ridge"),
        Binding::update("steps"),
    ],
    params: DampingParams::LAYOUT,
    variants: plain,
};

params! {
    struct DampingParams {
        size: u32,
        stride: u32,
        is_weights: u32,
        last_layer: u32,
        layer: u32,
        slot: u32,
        centre: f32,
        damping: f32,
        ridge: f32,
    }
}

/// `steps[slot]` = (shift, floor of the pivots, 0, 0) for S = M − s sᵀ/N + shift I, and `ridge[layer].x` where it is
/// still zero (ALGORITHMS.md, exact block steps). For weights also `ridge[layer].w` = D, the part of the shift that draws
/// them to where they are: d times the mean of the centred M's diagonal. Of inputs that are alike but for roundings that
/// mean counts as zero, and D is d times the mean of M's own diagonal, or d where that is zero, too.
///
/// `ridge` is layers × 4, the ridge μ and the penalty λ of each layer's weights first in its row; `steps` slots × 4.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn damping(
    plan: &mut PlanBuilder,
    gram: Gram<'_>,
    kind: Damping,
    control: &Tensor,
    ridge: &Tensor,
    (steps, slot): (&Tensor, u32),
) -> Result<(), Error> {
    let shape = gram.check(&DAMPING, kind)?;
    expect_length(&DAMPING, "control", control, CONTROL_LENGTH.into())?;
    expect_length(&DAMPING, "steps", steps, 4 * (u64::from(slot) + 1))?;
    let (layer, damping, ridge_share) = match kind {
        Damping::Weights { layer, damping, ridge, .. } => (layer, damping, ridge),
        Damping::Activations { .. } => (0, 0.0, 0.0),
    };
    expect_length(&DAMPING, "ridge", ridge, 4 * (u64::from(layer) + 1))?;
    let params = DampingParams {
        size: shape.rows,
        stride: if gram.is_diagonal() { 0 } else { shape.quads() },
        is_weights: matches!(kind, Damping::Weights { .. }).into(),
        last_layer: kind.is_last_layer().into(),
        layer,
        slot,
        centre: kind.centre(),
        damping,
        ridge: ridge_share,
    };
    plan.dispatch(Dispatch {
        kernel: &DAMPING,
        variant: Variant::new("plain"),
        operands: &[gram.matrix, gram.sums(), control, ridge, steps],
        params: bytemuck::bytes_of(&params),
        groups: Groups(1),
        flops: 4 * u64::from(shape.rows),
    })
}

/// `exact/damped`
pub static DAMPED: Kernel = Kernel {
    name: "exact/damped",
    bindings: &[
        Binding::read("matrix"),
        Binding::read("sums"),
        Binding::read("steps"),
        Binding::write("damped"),
    ],
    params: DampedParams::LAYOUT,
    variants: plain,
};

params! {
    struct DampedParams { size: u32, quads: u32, slot: u32, centre: f32 }
}

/// S = M − s sᵀ/N + shift I, with the shift that [`damping`] left in `steps[slot]`.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn damped(
    plan: &mut PlanBuilder,
    gram: Gram<'_>,
    kind: Damping,
    (steps, slot): (&Tensor, u32),
    damped: &Tensor,
) -> Result<(), Error> {
    let shape = gram.check(&DAMPED, kind)?;
    expect_shape(&DAMPED, "damped", damped, shape)?;
    expect_length(&DAMPED, "steps", steps, 4 * (u64::from(slot) + 1))?;
    let params = DampedParams { size: shape.rows, quads: shape.quads(), slot, centre: kind.centre() };
    plan.dispatch(Dispatch {
        kernel: &DAMPED,
        variant: Variant::new("plain"),
        operands: &[gram.matrix, gram.sums(), steps, damped],
        params: bytemuck::bytes_of(&params),
        groups: Groups::over(quads(damped).into(), WG_SIZE),
        flops: 2 * shape.elements(),
    })
}

/// `exact/right_side`
pub static RIGHT_SIDE: Kernel = Kernel {
    name: "exact/right_side",
    bindings: &[
        Binding::read("weights"),
        Binding::read("mean"),
        Binding::read("sums"),
        Binding::read("ridge"),
        Binding::update("right"),
    ],
    params: RightSideParams::LAYOUT,
    variants: plain,
};

params! {
    struct RightSideParams { rows: u32, quads: u32, layer: u32 }
}

/// Weights W and what their right-hand side is made of.
#[derive(Clone, Copy, Debug)]
pub struct RightSide<'a> {
    /// W, n × m.
    pub weights: &'a Tensor,
    /// Mean over samples of what W a shall be, n.
    pub mean: &'a Tensor,
    /// Sums over samples of the inputs a, m.
    pub sums: &'a Tensor,
    /// What [`damping`] left of the layer.
    pub ridge: &'a Tensor,
    /// Layer of the weights, counted from 0.
    pub layer: u32,
}

/// B ← B − mean sᵀ + D W: with Σ z aᵀ in `right`, W S = B then says where the damped least squares of W a + b = z are, b
/// free (ALGORITHMS.md, exact block steps).
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn right_side(plan: &mut PlanBuilder, args: RightSide<'_>, right: &Tensor) -> Result<(), Error> {
    let RightSide { weights, mean, sums, ridge, layer } = args;
    let shape = weights.shape();
    expect_shape(&RIGHT_SIDE, "mean", mean, Shape::vector(shape.rows))?;
    expect_shape(&RIGHT_SIDE, "sums", sums, Shape::vector(shape.columns))?;
    expect_length(&RIGHT_SIDE, "ridge", ridge, 4 * (u64::from(layer) + 1))?;
    expect_shape(&RIGHT_SIDE, "right", right, shape)?;
    let params = RightSideParams { rows: shape.rows, quads: shape.quads(), layer };
    plan.dispatch(Dispatch {
        kernel: &RIGHT_SIDE,
        variant: Variant::new("plain"),
        operands: &[weights, mean, sums, ridge, right],
        params: bytemuck::bytes_of(&params),
        groups: Groups::over(quads(weights).into(), WG_SIZE),
        flops: 4 * shape.elements(),
    })
}
