//! What exact block steps of dlADMM need besides matrix products: Gram matrices made solvable.

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
    },
    /// Activations below a layer at least as wide: M = W'ᵀW'.
    Activations,
    /// Activations below a narrower layer, by Woodbury's identity: M = W'W'ᵀ.
    Narrow,
}

impl Damping {
    /// What s sᵀ is taken away with.
    fn centre(self) -> f32 {
        match self {
            Self::Weights { samples, .. } => 1.0 / samples as f32,
            Self::Activations | Self::Narrow => 0.0,
        }
    }
}

/// A Gram matrix M and the column sums s of what it is made of.
#[derive(Clone, Copy, Debug)]
pub struct Gram<'a> {
    /// M, square.
    pub matrix: &'a Tensor,
    /// s; read for weights only.
    pub sums: Option<&'a Tensor>,
}

impl<'a> Gram<'a> {
    /// The sums, or in their place something that nothing reads.
    fn sums(&self) -> &'a Tensor {
        self.sums.unwrap_or(self.matrix)
    }

    fn check(&self, kernel: &'static Kernel, damping: Damping) -> Result<Shape, Error> {
        let shape = self.matrix.shape();
        expect_shape(kernel, "matrix", self.matrix, Shape::new(shape.rows, shape.rows))?;
        match (damping, self.sums) {
            (Damping::Weights { .. }, Some(sums)) => {
                expect_shape(kernel, "sums", sums, Shape::vector(shape.rows))?;
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
        kind: u32,
        last_layer: u32,
        layer: u32,
        slot: u32,
        centre: f32,
        damping: f32,
        ridge: f32,
    }
}

/// `steps[slot]` = (1/ν or 0, scale, shift, floor of the pivots) for S = scale M − s sᵀ/N + shift I, and
/// `ridge[layer].x` where it is still zero (ALGORITHMS.md, exact block steps).
///
/// `last_layer` says whether the layer above is the last, whose penalty is ρ and not ν. `ridge` is layers × 4, `steps`
/// slots × 4.
///
/// # Errors
/// [`Error::Shape`] when shapes disagree, and those of [`PlanBuilder::dispatch`].
pub fn damping(
    plan: &mut PlanBuilder,
    gram: Gram<'_>,
    kind: Damping,
    last_layer: bool,
    control: &Tensor,
    ridge: &Tensor,
    (steps, slot): (&Tensor, u32),
) -> Result<(), Error> {
    let shape = gram.check(&DAMPING, kind)?;
    expect_length(&DAMPING, "control", control, CONTROL_LENGTH.into())?;
    expect_length(&DAMPING, "steps", steps, 4 * (u64::from(slot) + 1))?;
    let (number, layer, damping, ridge_share) = match kind {
        Damping::Weights { layer, damping, ridge, .. } => (0, layer, damping, ridge),
        Damping::Activations => (1, 0, 0.0, 0.0),
        Damping::Narrow => (2, 0, 0.0, 0.0),
    };
    expect_length(&DAMPING, "ridge", ridge, 4 * (u64::from(layer) + 1))?;
    let params = DampingParams {
        size: shape.rows,
        stride: shape.quads(),
        kind: number,
        last_layer: last_layer.into(),
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

/// S = scale M − s sᵀ/N + shift I, with scale and shift as [`damping`] left them in `steps[slot]`.
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
        flops: 3 * shape.elements(),
    })
}
