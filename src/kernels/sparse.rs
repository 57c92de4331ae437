//! Products with sparse matrices.

use super::batch::CURSOR_LENGTH;
use super::elementwise::Dropout;
use super::mlp::Gradients;
use super::{LANES_OR_LOOPS, WG_SIZE, expect_length, expect_shape, plain, quads};
use crate::Error;
use crate::engine::{
    AdapterClass, Binding, Dispatch, Gpu, Groups, Kernel, PlanBuilder, Shape, Tensor, Variant, params,
};

/// A sparse matrix on the device, by its entries, row after row.
#[derive(Clone, Debug)]
pub struct Sparse {
    shape: Shape,
    entries: u32,
    starts: Tensor,
    indices: Tensor,
    values: Tensor,
}

impl Sparse {
    /// Uploads a matrix of `columns` columns whose row r has the entries from `starts[r]` up to `starts[r + 1]`, each a
    /// column and a value. Sums are taken in the order of entries.
    ///
    /// # Errors
    /// [`Error::Shape`] when the starts do not ascend from 0 to the number of entries, or a column is out of range;
    /// [`Error::Limit`] when a list exceeds one binding.
    pub fn upload(
        gpu: &Gpu,
        columns: u32,
        starts: &[u32],
        indices: &[u32],
        values: &[f32],
    ) -> Result<Self, Error> {
        let refuse = |detail: String| Err(Error::Shape { kernel: PRODUCT.name, detail });
        let entries = indices.len();
        if values.len() != entries {
            return refuse(format!("{} values for {entries} entries", values.len()));
        }
        if starts.first() != Some(&0)
            || !starts.is_sorted()
            || starts.last().map(|end| *end as usize) != Some(entries)
        {
            return refuse(format!("`starts` must ascend from 0 to the number of entries, {entries}"));
        }
        if let Some(at) = indices.iter().position(|index| *index >= columns) {
            return refuse(format!("entry {at} is in column {}, but there are {columns}", indices[at]));
        }
        let words = |words: &[u32]| gpu.upload_u32(Shape::vector(words.len() as u32), words);
        let values = gpu.upload(Shape::vector(entries as u32), values)?;
        Ok(Self::over(columns, starts.len() as u32 - 1, words(starts)?, words(indices)?, values))
    }

    /// Lists that are on the device already, and hold what [`upload`](Self::upload) would accept.
    pub(crate) fn over(columns: u32, rows: u32, starts: Tensor, indices: Tensor, values: Tensor) -> Self {
        let entries = indices.shape().columns;
        Self { shape: Shape::new(rows, columns), entries, starts, indices, values }
    }

    /// Rows and columns.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// How many entries there are.
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// The same entries with these values.
    pub(crate) fn with_values(&self, values: Tensor) -> Self {
        Self { values, ..self.clone() }
    }

    /// Where the entries of rows begin, the column of each, and its value.
    pub(super) fn lists(&self) -> [&Tensor; 3] {
        [&self.starts, &self.indices, &self.values]
    }
}

/// `sparse/product`
pub static PRODUCT: Kernel = Kernel {
    name: "sparse/product",
    bindings: &[
        Binding::read("starts"),
        Binding::read("indices"),
        Binding::read("values"),
        Binding::read("x"),
        Binding::write("y"),
    ],
    params: ProductParams::LAYOUT,
    variants: plain,
};

params! {
    struct ProductParams { quads: u32, rows: u32, columns: u32, copies: u32 }
}

/// Y = A X for each of a stack of matrices X.
///
/// Shapes: `matrix`, A, is rows × columns, `x` copies · columns × features, `y` copies · rows × features.
///
/// # Errors
/// [`Error::Shape`] when they disagree, and those of [`PlanBuilder::dispatch`].
pub fn product(plan: &mut PlanBuilder, matrix: &Sparse, x: &Tensor, y: &Tensor) -> Result<(), Error> {
    let Shape { rows, columns } = matrix.shape;
    let copies = x.shape().rows.checked_div(columns).unwrap_or(1);
    let features = x.shape().columns;
    expect_shape(&PRODUCT, "x", x, Shape::new(copies * columns, features))?;
    expect_shape(&PRODUCT, "y", y, Shape::new(copies * rows, features))?;
    plan.dispatch(Dispatch {
        kernel: &PRODUCT,
        variant: Variant::new("plain"),
        operands: &[&matrix.starts, &matrix.indices, &matrix.values, x, y],
        params: bytemuck::bytes_of(&ProductParams { quads: x.shape().quads(), rows, columns, copies }),
        groups: Groups::over(u64::from(quads(y)), WG_SIZE),
        flops: 2 * u64::from(copies) * u64::from(matrix.entries) * u64::from(features),
    })
}

/// `sparse/weight_gradient`
pub static WEIGHT_GRADIENT: Kernel = Kernel {
    name: "sparse/weight_gradient",
    bindings: &[
        Binding::read("starts"),
        Binding::read("indices"),
        Binding::read("values"),
        Binding::read("delta"),
        Binding::update("gradient"),
    ],
    params: WeightGradientParams::LAYOUT,
    variants: || LANES_OR_LOOPS.map(strands).into(),
};

/// Lanes that share the sum over a feature's entries: on a CPU one, which has no lanes to wait for and saves the barriers.
fn strands(class: AdapterClass) -> Variant {
    match class.is_software() {
        false => Variant::new("strands"),
        true => Variant::new("one strand").spec("STRANDS", 1_u32).for_software(),
    }
}

params! {
    struct WeightGradientParams {
        features: u32,
        quads: u32,
        outputs: u32,
        delta_quads: u32,
        gradient_stride: u32,
        start: u32,
        samples: u32,
        input_samples: u32,
        sub_batches: u32,
        feature_blocks: u32,
        output_blocks: u32,
        kept: f32,
        sign: f32,
    }
}

/// Features, and outputs, of what a workgroup owns.
const BLOCK: u32 = 32;

/// What becomes of the gradient that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onto {
    /// The sum replaces it.
    Nothing,
    /// The sum is added to it.
    Sum,
    /// The sum is taken from it.
    Difference,
    /// It is taken from the sum.
    Rest,
}

impl Onto {
    /// By what the gradient that is there and the sum are multiplied.
    fn factors(self) -> [f32; 2] {
        match self {
            Self::Nothing => [0.0, 1.0],
            Self::Sum => [1.0, 1.0],
            Self::Difference => [1.0, -1.0],
            Self::Rest => [-1.0, 1.0],
        }
    }
}

/// G_n = Σ over the samples of sub-batch n of δ xᵀ, for every n in one dispatch, as
/// [`mlp::weight_gradient`](super::mlp::weight_gradient) has it of dense inputs.
///
/// Shapes: `delta` is samples × outputs, `columns` the transpose of the inputs, features × samples, in each of whose rows
/// samples ascend; each G_n is outputs × features. What else is in the rows of `gradients` stays. Where every sub-batch has
/// the same inputs, `columns` holds them once, features × samples / sub-batches.
///
/// # Errors
/// As [`mlp::weight_gradient`](super::mlp::weight_gradient).
pub fn weight_gradient(
    plan: &mut PlanBuilder,
    delta: &Tensor,
    columns: &Sparse,
    gradients: Gradients<'_>,
    onto: Onto,
) -> Result<(), Error> {
    let (features, Shape { rows: samples, columns: outputs }) = (columns.shape.rows, delta.shape());
    let (input_samples, sub_batches) = (columns.shape.columns, gradients.rows.shape().rows);
    let is_shared = u64::from(input_samples) * u64::from(sub_batches) == u64::from(samples);
    if input_samples != samples && !is_shared {
        let detail =
            format!("{samples} rows of delta for {sub_batches} sub-batches, {input_samples} of inputs");
        return Err(Error::Shape { kernel: WEIGHT_GRADIENT.name, detail });
    }
    let part = Shape::new(outputs, features);
    gradients.check(&WEIGHT_GRADIENT, part, samples)?;
    let [feature_blocks, output_blocks] = [features, outputs].map(|size| size.div_ceil(BLOCK));
    let [starts, indices, values] = columns.lists();
    let [kept, sign] = onto.factors();
    plan.dispatch(Dispatch {
        kernel: &WEIGHT_GRADIENT,
        variant: strands(plan.gpu().capabilities().class),
        operands: &[starts, indices, values, delta, gradients.rows],
        params: bytemuck::bytes_of(&WeightGradientParams {
            features,
            quads: part.quads(),
            outputs,
            delta_quads: delta.shape().quads(),
            gradient_stride: gradients.rows.shape().quads(),
            start: gradients.first / 4,
            samples,
            input_samples,
            sub_batches,
            feature_blocks,
            output_blocks,
            kept,
            sign,
        }),
        groups: Groups(u64::from(feature_blocks) * u64::from(output_blocks) * u64::from(sub_batches)),
        flops: 2 * u64::from(columns.entries) * u64::from(outputs) * u64::from(samples)
            / u64::from(input_samples.max(1)),
    })
}

/// `sparse/dropout`
pub static DROPOUT: Kernel = Kernel {
    name: "sparse/dropout",
    bindings: &[
        Binding::read("starts"),
        Binding::read("indices"),
        Binding::read("x"),
        Binding::read("cursor"),
        Binding::write("y"),
    ],
    params: DropoutParams::LAYOUT,
    variants: plain,
};

params! {
    struct DropoutParams {
        quads: u32,
        entries: u32,
        rows: u32,
        feature_quads: u32,
        rows_are_features: u32,
        layer: u32,
        threshold: u32,
        scale: f32,
    }
}

/// What the rows of a matrix of samples and their features are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsAre {
    /// Each a sample: columns are features.
    Samples,
    /// Each a feature: columns are samples.
    Features,
}

/// y = m ∘ x by the entries of x, where m is the mask that [`elementwise::dropout`](super::elementwise::dropout) draws for
/// all elements of samples × features: a matrix and its transpose lose the same entries.
///
/// Shapes: `y` is one row of as many values as `x` has entries; they are those of a matrix with the same entries.
///
/// # Errors
/// [`Error::Shape`] when `y` is of another length or the cursor too short, and those of [`PlanBuilder::dispatch`].
pub fn dropout(
    plan: &mut PlanBuilder,
    x: &Sparse,
    rows_are: RowsAre,
    dropout: &Dropout<'_>,
    y: &Tensor,
) -> Result<(), Error> {
    expect_shape(&DROPOUT, "y", y, x.values.shape())?;
    expect_length(&DROPOUT, "cursor", dropout.cursor, CURSOR_LENGTH.into())?;
    let features = match rows_are {
        RowsAre::Samples => x.shape.columns,
        RowsAre::Features => x.shape.rows,
    };
    plan.dispatch(Dispatch {
        kernel: &DROPOUT,
        variant: Variant::new("plain"),
        operands: &[&x.starts, &x.indices, &x.values, dropout.cursor, y],
        params: bytemuck::bytes_of(&DropoutParams {
            quads: quads(y),
            entries: x.entries,
            rows: x.shape.rows,
            feature_quads: Shape::vector(features).quads(),
            rows_are_features: (rows_are == RowsAre::Features).into(),
            layer: dropout.layer,
            threshold: dropout.threshold(),
            scale: dropout.scale(),
        }),
        groups: Groups::over(u64::from(quads(y)), WG_SIZE),
        flops: x.entries.into(),
    })
}
