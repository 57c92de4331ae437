//! Products with sparse matrices.

use super::{WG_SIZE, expect_shape, plain, quads};
use crate::Error;
use crate::engine::{Binding, Dispatch, Gpu, Groups, Kernel, PlanBuilder, Shape, Tensor, Variant, params};

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
