//! Backward propagation through a network of dense layers, for all sub-batches of a batch at once.
//!
//! δ of a layer is the derivative of each sub-batch's mean loss by the layer's z, one row for each sample, so that one
//! product takes it back through a layer for the whole batch. Only the gradients of weights and biases tell sub-batches
//! apart: row n of a gradient tensor holds those of sub-batch n, each layer's from an element of its own on.

use super::batch::{expect_sub_batches, sub_batch_sizes};
use super::linalg::{MatmulShape, Transposed};
use super::tiles::{inner_parts, tile_for, tile_variants};
use super::{Activation, expect_shape, plain};
use crate::Error;
use crate::engine::{Binding, Dispatch, Groups, Kernel, PlanBuilder, Shape, Tensor, Variant, params};

/// `mlp/delta`
pub static DELTA: Kernel = Kernel {
    name: "mlp/delta",
    bindings: &[
        Binding::read("left"),
        Binding::read("right"),
        Binding::read("activation"),
        Binding::write("delta"),
    ],
    params: DeltaParams::LAYOUT,
    variants: || {
        let tiles = tile_variants(&[(Transposed::No, Transposed::No)]);
        tiles.into_iter().flat_map(|tile| Activation::KINDS.map(|f| f.choose(tile.clone()))).collect()
    },
};

params! {
    struct DeltaParams { rows: u32, columns: u32, inner: u32, left_stride: u32, right_stride: u32 }
}

/// δ_l = (δ_{l+1} W_{l+1}) ∘ f′(z_l), f′ from the value a_l = f(z_l); 0 at ReLU's kink.
///
/// Shapes: `above`, δ_{l+1}, is samples × next width, `weights`, W_{l+1}, next width × width, `activation` and `delta`
/// samples × width.
///
/// # Errors
/// [`Error::Shape`] when they disagree, and those of [`PlanBuilder::dispatch`].
pub fn delta(
    plan: &mut PlanBuilder,
    above: &Tensor,
    weights: &Tensor,
    activation: &Tensor,
    f: Activation,
    delta: &Tensor,
) -> Result<(), Error> {
    let product = MatmulShape::of(&DELTA, (above, Transposed::No), (weights, Transposed::No))?;
    expect_shape(&DELTA, "activation", activation, product.output())?;
    expect_shape(&DELTA, "delta", delta, product.output())?;
    let tile = tile_for(plan.gpu(), product.output());
    let tiles = tile.count(product.output());
    let params = DeltaParams {
        rows: product.rows,
        columns: product.columns,
        inner: product.inner,
        left_stride: above.shape().quads(),
        right_stride: weights.shape().quads(),
    };
    plan.dispatch(Dispatch {
        kernel: &DELTA,
        variant: f.choose(tile.variant()),
        operands: &[above, weights, activation, delta],
        params: bytemuck::bytes_of(&params),
        groups: Groups(tiles),
        flops: product.flops() + product.output().elements(),
    })
}

/// Where gradients go: one row for each sub-batch, and the element of it where a layer's part begins.
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a> {
    /// Sub-batches × all parameters.
    pub rows: &'a Tensor,
    /// A multiple of four.
    pub first: u32,
}

impl Gradients<'_> {
    fn sub_batches(&self) -> u32 {
        self.rows.shape().rows
    }

    /// Checks that a part of this shape fits and that the samples suffice.
    pub(super) fn check(&self, kernel: &'static Kernel, part: Shape, samples: u32) -> Result<(), Error> {
        expect_sub_batches(kernel, samples, self.sub_batches())?;
        let end = u64::from(self.first) + part.stored();
        if self.first.is_multiple_of(4) && end <= u64::from(self.rows.shape().stride()) {
            return Ok(());
        }
        let detail = format!("{part} from element {} of rows of {}", self.first, self.rows.shape().columns);
        Err(Error::Shape { kernel: kernel.name, detail })
    }
}

/// `mlp/weight_gradient`
pub static WEIGHT_GRADIENT: Kernel = Kernel {
    name: "mlp/weight_gradient",
    bindings: &[Binding::read("left"), Binding::read("right"), Binding::update("gradient")],
    params: WeightGradientParams::LAYOUT,
    variants: || tile_variants(&[(Transposed::No, Transposed::No)]),
};

params! {
    struct WeightGradientParams {
        rows: u32,
        columns: u32,
        inner: u32,
        left_stride: u32,
        right_stride: u32,
        gradient_stride: u32,
        start: u32,
        outputs: u32,
        height: u32,
        samples: u32,
        sub_batches: u32,
        first: u32,
        input_rows: u32,
    }
}

/// G_n = Σ over the samples of sub-batch n of δ aᵀ, for every n in one dispatch; on adapters where long sums over samples
/// are slow, in one dispatch per part of them.
///
/// Shapes: `delta` is samples × outputs, `inputs` samples × columns; each G_n is outputs × columns, its rows padded as a
/// tensor's are. What else is in the rows of `gradients` stays. Where every sub-batch has the same inputs, `inputs` holds
/// them once, samples / sub-batches × columns.
///
/// # Errors
/// [`Error::Shape`] when they disagree, a sub-batch would be empty, or the part does not fit its row, and those of
/// [`PlanBuilder::dispatch`].
pub fn weight_gradient(
    plan: &mut PlanBuilder,
    delta: &Tensor,
    inputs: &Tensor,
    gradients: Gradients<'_>,
) -> Result<(), Error> {
    let kernel = &WEIGHT_GRADIENT;
    let (samples, sub_batches) = (delta.shape().rows, gradients.sub_batches());
    let input_rows = inputs.shape().rows;
    if input_rows != samples && u64::from(input_rows) * u64::from(sub_batches) != u64::from(samples) {
        let detail = format!("{samples} rows of delta for {sub_batches} sub-batches, {input_rows} of inputs");
        return Err(Error::Shape { kernel: kernel.name, detail });
    }
    let part = Shape::new(delta.shape().columns, inputs.shape().columns);
    gradients.check(kernel, part, samples)?;
    let tile = tile_for(plan.gpu(), part);
    let height = part.rows.next_multiple_of(tile.rows);
    let tiles = tile.count(Shape::new(sub_batches * height, part.columns));
    let longest = sub_batch_sizes(samples, sub_batches).max().unwrap_or(0);
    for inner in inner_parts(plan.gpu(), longest) {
        let params = WeightGradientParams {
            rows: sub_batches * height,
            columns: part.columns,
            inner: inner.len() as u32,
            left_stride: delta.shape().quads(),
            right_stride: inputs.shape().quads(),
            gradient_stride: gradients.rows.shape().quads(),
            start: gradients.first / 4,
            outputs: part.rows,
            height,
            samples,
            sub_batches,
            first: inner.start,
            input_rows,
        };
        plan.dispatch(Dispatch {
            kernel,
            variant: tile.variant(),
            operands: &[delta, inputs, gradients.rows],
            params: bytemuck::bytes_of(&params),
            groups: Groups(tiles),
            flops: 2 * part.elements() * u64::from(samples) * u64::from(params.inner) / u64::from(longest),
        })?;
    }
    Ok(())
}

/// `mlp/bias_gradient`
pub static BIAS_GRADIENT: Kernel = Kernel {
    name: "mlp/bias_gradient",
    bindings: &[Binding::read("delta"), Binding::update("gradient")],
    params: BiasGradientParams::LAYOUT,
    variants: plain,
};

params! {
    struct BiasGradientParams { quads: u32, samples: u32, sub_batches: u32, gradient_stride: u32, start: u32 }
}

/// g_n = Σ over the samples of sub-batch n of δ, for every n in one dispatch.
///
/// `delta` is samples × outputs; each g_n is one row of outputs. What else is in the rows of `gradients` stays.
///
/// # Errors
/// As [`weight_gradient`].
pub fn bias_gradient(plan: &mut PlanBuilder, delta: &Tensor, gradients: Gradients<'_>) -> Result<(), Error> {
    let shape = delta.shape();
    gradients.check(&BIAS_GRADIENT, Shape::vector(shape.columns), shape.rows)?;
    let sub_batches = gradients.sub_batches();
    plan.dispatch(Dispatch {
        kernel: &BIAS_GRADIENT,
        variant: Variant::new("plain"),
        operands: &[delta, gradients.rows],
        params: bytemuck::bytes_of(&BiasGradientParams {
            quads: shape.quads(),
            samples: shape.rows,
            sub_batches,
            gradient_stride: gradients.rows.shape().quads(),
            start: gradients.first / 4,
        }),
        groups: Groups(u64::from(shape.quads()) * u64::from(sub_batches)),
        flops: shape.elements(),
    })
}
