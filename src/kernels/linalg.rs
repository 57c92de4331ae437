//! Matrix products, tiled for the adapter.
//!
//! A kernel that contains a product is three choices put together by import: how each operand is stored
//! (`linalg/left_*`, `linalg/right_*`), the tile machine (`linalg/tile_*`, by device, see `kernels/tiles.rs`), and the
//! kernel's own epilogue (`start`, `finish`, `finish_group` in its file).

use std::ops::Range;

use super::mlp::{self, Gradients};
use super::nm::{self, NmPattern, Packed};
use super::tiles::{
    TILES, Tile, WAYS, inner_limit, inner_parts, parts, tile_by_rule, tile_for, tile_for_packed,
    tile_variants,
};
use super::{WG_SIZE, elementwise, expect_length, expect_shape, plain};
use crate::Error;
use crate::engine::{
    AdapterClass, Binding, Dispatch, Gpu, Groups, Kernel, PlanBuilder, Shape, Slab, StorageType, Tensor,
    Variant, params,
};

/// Whether an operand enters a product transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transposed {
    /// As it is stored.
    No,
    /// Rows for columns.
    Yes,
}

/// The sizes of a product op(A) op(B).
#[derive(Clone, Copy, Debug)]
pub struct MatmulShape {
    /// Rows of the result.
    pub rows: u32,
    /// Columns of the result.
    pub columns: u32,
    /// Length of the sums.
    pub inner: u32,
    pub(super) transposed: (Transposed, Transposed),
}

impl MatmulShape {
    /// The product of two operands.
    ///
    /// # Errors
    /// [`Error::Shape`] when their inner sizes differ.
    pub fn of(
        kernel: &'static Kernel,
        left: (&Tensor, Transposed),
        right: (&Tensor, Transposed),
    ) -> Result<Self, Error> {
        let oriented = |(tensor, transposed): (&Tensor, Transposed)| match (tensor.shape(), transposed) {
            (shape, Transposed::No) => shape,
            (Shape { rows, columns }, Transposed::Yes) => Shape { rows: columns, columns: rows },
        };
        let (a, b) = (oriented(left), oriented(right));
        if a.columns != b.rows {
            let detail = format!("A is {a} but B is {b}; inner sizes {} and {} differ", a.columns, b.rows);
            return Err(Error::Shape { kernel: kernel.name, detail });
        }
        Ok(Self { rows: a.rows, columns: b.columns, inner: a.columns, transposed: (left.1, right.1) })
    }

    /// Shape of the result.
    pub fn output(&self) -> Shape {
        Shape::new(self.rows, self.columns)
    }

    /// Two per multiply-add.
    pub fn flops(&self) -> u64 {
        2 * u64::from(self.rows) * u64::from(self.columns) * u64::from(self.inner)
    }
}

params! {
    struct MatmulParams {
        rows: u32,
        columns: u32,
        inner: u32,
        left_stride: u32,
        right_stride: u32,
        product_stride: u32,
    }
}

impl MatmulParams {
    fn new(shape: &MatmulShape, left: &Tensor, right: &Tensor, product: &Tensor) -> Self {
        Self {
            rows: shape.rows,
            columns: shape.columns,
            inner: shape.inner,
            left_stride: left.pitch(),
            right_stride: right.pitch(),
            product_stride: product.pitch(),
        }
    }
}

/// `linalg/matmul`
pub static MATMUL: Kernel = Kernel {
    name: "linalg/matmul",
    bindings: &[
        Binding::read("left").windowed(),
        Binding::read("right").windowed(),
        Binding::write("product").windowed(),
    ],
    params: MatmulParams::LAYOUT,
    variants: || tile_variants(&WAYS),
};

/// C = op(A) op(B).
///
/// Each element is one chain of fused multiply-adds in the order of the inner index. The exception is AᵀB, a sum over samples,
/// of few columns and rows on a GPU: where the tiles of C alone would leave processors idle, sums of 2,048 samples and more are
/// split into up to 32 parts, which then are added in order.
///
/// # Errors
/// [`Error::Shape`] when sizes disagree, and those of [`PlanBuilder::dispatch`].
pub fn matmul(
    plan: &mut PlanBuilder,
    left: (&Tensor, Transposed),
    right: (&Tensor, Transposed),
    product: &Tensor,
) -> Result<(), Error> {
    in_parts(plan, [&MATMUL, &MATMUL_ADD], left, right, product)
}

/// Operands of a product that is taken into what is there.
const ACCUMULATED: &[Binding] = &[
    Binding::read("left").windowed(),
    Binding::read("right").windowed(),
    Binding::update("product").windowed(),
];

/// `linalg/matmul_add`
pub static MATMUL_ADD: Kernel = Kernel {
    name: "linalg/matmul_add",
    bindings: ACCUMULATED,
    params: MatmulParams::LAYOUT,
    variants: || tile_variants(&WAYS),
};

/// C = C + op(A) op(B), with the same bits however the inner size is cut into calls at multiples of four; but a GPU
/// [splits](matmul) long sums of a call.
///
/// # Errors
/// [`Error::Shape`] when sizes disagree, and those of [`PlanBuilder::dispatch`].
pub fn matmul_add(
    plan: &mut PlanBuilder,
    left: (&Tensor, Transposed),
    right: (&Tensor, Transposed),
    product: &Tensor,
) -> Result<(), Error> {
    in_parts(plan, [&MATMUL_ADD; 2], left, right, product)
}

/// `linalg/matmul_subtract`
pub static MATMUL_SUBTRACT: Kernel = Kernel {
    name: "linalg/matmul_subtract",
    bindings: ACCUMULATED,
    params: MatmulParams::LAYOUT,
    variants: || tile_variants(&WAYS),
};

/// C = C − op(A) op(B), with the same bits however the inner size is cut into calls at multiples of four; but a GPU
/// [splits](matmul) long sums of a call.
///
/// # Errors
/// [`Error::Shape`] when sizes disagree, and those of [`PlanBuilder::dispatch`].
pub fn matmul_subtract(
    plan: &mut PlanBuilder,
    left: (&Tensor, Transposed),
    right: (&Tensor, Transposed),
    product: &Tensor,
) -> Result<(), Error> {
    in_parts(plan, [&MATMUL_SUBTRACT; 2], left, right, product)
}

/// [`matmul`] by this tile machine, for those who compare them.
pub(crate) fn matmul_by(
    plan: &mut PlanBuilder,
    tile: Tile,
    left: (&Tensor, Transposed),
    right: (&Tensor, Transposed),
    product: &Tensor,
) -> Result<(), Error> {
    in_parts_by(plan, tile, [&MATMUL, &MATMUL_ADD], left, right, product)
}

fn in_parts(
    plan: &mut PlanBuilder,
    kernels: [&'static Kernel; 2],
    left: (&Tensor, Transposed),
    right: (&Tensor, Transposed),
    product: &Tensor,
) -> Result<(), Error> {
    let tile = tile_for(plan.gpu(), MatmulShape::of(kernels[0], left, right)?.output());
    in_parts_by(plan, tile, kernels, left, right, product)
}

/// One dispatch; or one per part of the inner index where it is long for how operands are stored, the first by the first
/// kernel, all others by the second; or all parts at once, where the result has too few tiles to keep the device busy.
fn in_parts_by(
    plan: &mut PlanBuilder,
    tile: Tile,
    [first, next]: [&'static Kernel; 2],
    left: (&Tensor, Transposed),
    right: (&Tensor, Transposed),
    product: &Tensor,
) -> Result<(), Error> {
    let shape = MatmulShape::of(first, left, right)?;
    if let Some(count) = split(plan.gpu(), &shape, [left.0, right.0, product]) {
        return side_by_side(plan, first, count, (left.0, right.0), product);
    }
    let limit = inner_limit(plan.gpu().capabilities().class, shape.transposed);
    if shape.inner <= limit {
        return product_into(plan, tile, first, left, right, product);
    }
    let part_of = |(tensor, transposed): (&Tensor, Transposed), is_outermost: bool, part: Range<u32>| {
        let part =
            if is_outermost { tensor.row_range(part) } else { tensor.window(0..tensor.shape().rows, part) };
        part.map(|part| (part, transposed))
    };
    for part in parts(shape.inner, limit) {
        let kernel = if part.start == 0 { first } else { next };
        let (a, left) = part_of(left, left.1 == Transposed::Yes, part.clone())?;
        let (b, right) = part_of(right, right.1 == Transposed::No, part)?;
        product_into(plan, tile, kernel, (&a, left), (&b, right), product)?;
    }
    Ok(())
}

/// Parts of a sum over samples, Aᵀ B, that a GPU takes side by side, for a result with fewer tiles than keep it busy. That
/// each element is then a sum of such sums is why its last bits depend on the device.
fn split(gpu: &Gpu, shape: &MatmulShape, operands: [&Tensor; 3]) -> Option<u32> {
    /// Samples of a part: of fewer, writing and reading the parts takes as long as they save.
    const LEAST: u32 = 1024;
    const MOST: u64 = 32;
    let device = gpu.capabilities();
    let is_long = shape.transposed == (Transposed::Yes, Transposed::No) && shape.inner >= 2 * LEAST;
    if device.class != AdapterClass::Gpu || !is_long || operands.iter().any(|it| it.is_window()) {
        return None;
    }
    // By rule, for a tuning is to change no bits.
    let tiles = tile_by_rule(device, shape.output()).count(shape.output()).max(1);
    let count = (device.busy_groups / tiles).min(u64::from(shape.inner / LEAST)).min(MOST);
    (count > 1).then_some(count as u32)
}

/// The parts in one dispatch, and their sum in another.
fn side_by_side(
    plan: &mut PlanBuilder,
    kernel: &'static Kernel,
    count: u32,
    (left, right): (&Tensor, &Tensor),
    product: &Tensor,
) -> Result<(), Error> {
    let shape = MatmulShape::of(kernel, (left, Transposed::Yes), (right, Transposed::No))?;
    expect_shape(kernel, "product", product, shape.output())?;
    let parts = plan.temporary(Slab::new(&[product.shape()])?.shape(count));
    // A plan wants what is updated to be there, although each part starts from zeros.
    elementwise::fill(plan, &parts, 0.0)?;
    mlp::weight_gradient(plan, left, right, Gradients { rows: &parts, first: 0 })?;
    if kernel.name == MATMUL.name {
        elementwise::fill(plan, product, 0.0)?;
    }
    let sign = if kernel.name == MATMUL_SUBTRACT.name { -1.0 } else { 1.0 };
    add_parts(plan, &parts, sign, product)
}

fn product_into(
    plan: &mut PlanBuilder,
    tile: Tile,
    kernel: &'static Kernel,
    left: (&Tensor, Transposed),
    right: (&Tensor, Transposed),
    product: &Tensor,
) -> Result<(), Error> {
    let shape = MatmulShape::of(kernel, left, right)?;
    expect_shape(kernel, "product", product, shape.output())?;
    plan.dispatch(Dispatch {
        kernel,
        variant: tile.variant_for(shape.transposed),
        operands: &[left.0, right.0, product],
        params: bytemuck::bytes_of(&MatmulParams::new(&shape, left.0, right.0, product)),
        groups: Groups(tile.count(shape.output())),
        flops: shape.flops(),
    })
}

/// `linalg/add_parts`
pub static ADD_PARTS: Kernel = Kernel {
    name: "linalg/add_parts",
    bindings: &[Binding::read("parts"), Binding::update("product")],
    params: AddPartsParams::LAYOUT,
    variants: plain,
};

params! {
    struct AddPartsParams { quads: u32, count: u32, stride: u32, sign: f32 }
}

/// C = C + `sign` Σ G over the rows of `parts`, in their order, each of which begins with a G as C is stored.
///
/// # Errors
/// [`Error::Shape`] when the rows are too short, and those of [`PlanBuilder::dispatch`].
pub fn add_parts(plan: &mut PlanBuilder, parts: &Tensor, sign: f32, product: &Tensor) -> Result<(), Error> {
    let Shape { rows: count, .. } = parts.shape();
    let (elements, stride) = (product.shape().stored(), parts.shape().quads());
    if elements > 4 * u64::from(stride) {
        let detail =
            format!("rows of `parts` hold {} elements but {elements} are needed", parts.shape().columns);
        return Err(Error::Shape { kernel: ADD_PARTS.name, detail });
    }
    let quads = (elements / 4) as u32;
    plan.dispatch(Dispatch {
        kernel: &ADD_PARTS,
        variant: Variant::new("plain"),
        operands: &[parts, product],
        params: bytemuck::bytes_of(&AddPartsParams { quads, count, stride, sign }),
        groups: Groups::over(quads.into(), WG_SIZE),
        flops: product.shape().elements() * (u64::from(count) + 1),
    })
}

/// `linalg/matmul_norm`
pub static MATMUL_NORM: Kernel = Kernel {
    name: "linalg/matmul_norm",
    bindings: &[
        Binding::read("left"),
        Binding::read("right"),
        Binding::write("product"),
        Binding::write("partials"),
    ],
    params: MatmulNormParams::LAYOUT,
    variants: || tile_variants(&WAYS),
};

params! {
    struct MatmulNormParams {
        rows: u32,
        columns: u32,
        inner: u32,
        left_stride: u32,
        right_stride: u32,
        offset: u32,
    }
}

/// Partial sums that a kernel which leaves one per tile leaves for a result of this shape.
pub fn tile_count(gpu: &Gpu, output: Shape) -> u32 {
    tile_for(gpu, output).count(output) as u32
}

/// C = op(A) op(B), and scalars whose sum is ‖C‖²: [`tile_count`] of them from element `offset` of `partials` on.
///
/// # Errors
/// [`Error::Shape`] when sizes disagree, and those of [`PlanBuilder::dispatch`].
pub fn matmul_norm(
    plan: &mut PlanBuilder,
    left: (&Tensor, Transposed),
    right: (&Tensor, Transposed),
    product: &Tensor,
    partials: &Tensor,
    offset: u32,
) -> Result<(), Error> {
    let shape = MatmulShape::of(&MATMUL_NORM, left, right)?;
    expect_shape(&MATMUL_NORM, "product", product, shape.output())?;
    let tile = tile_for(plan.gpu(), shape.output());
    let tiles = tile.count(shape.output());
    expect_length(&MATMUL_NORM, "partials", partials, u64::from(offset) + tiles)?;
    let MatmulParams { rows, columns, inner, left_stride, right_stride, .. } =
        MatmulParams::new(&shape, left.0, right.0, product);
    plan.dispatch(Dispatch {
        kernel: &MATMUL_NORM,
        variant: tile.variant_for(shape.transposed),
        operands: &[left.0, right.0, product, partials],
        params: bytemuck::bytes_of(&MatmulNormParams {
            rows,
            columns,
            inner,
            left_stride,
            right_stride,
            offset,
        }),
        groups: Groups(tiles),
        flops: shape.flops() + 2 * product.shape().elements(),
    })
}

/// `linalg/gram`
pub static GRAM: Kernel = Kernel {
    name: "linalg/gram",
    bindings: &[Binding::read("left"), Binding::read("right"), Binding::update("gram")],
    params: MatmulParams::LAYOUT,
    variants: || tile_variants(&WAYS[..1]),
};

/// G = G + AᵀA for `samples` A of samples × features: exactly symmetric, half the multiplications of a product.
///
/// # Errors
/// [`Error::Shape`] when sizes disagree, and those of [`PlanBuilder::dispatch`].
pub fn gram(plan: &mut PlanBuilder, samples: &Tensor, gram: &Tensor) -> Result<(), Error> {
    let Shape { rows: samples_in_all, columns: features } = samples.shape();
    let output = Shape::new(features, features);
    expect_shape(&GRAM, "gram", gram, output)?;
    let tile = tile_for(plan.gpu(), output);
    let groups = tile.count_lower(features);
    for part in inner_parts(plan.gpu(), samples_in_all) {
        let (inner, stride) = (part.len() as u32, samples.pitch());
        let samples = samples.row_range(part)?;
        let params = MatmulParams {
            rows: features,
            columns: features,
            inner,
            left_stride: stride,
            right_stride: stride,
            product_stride: gram.pitch(),
        };
        plan.dispatch(Dispatch {
            kernel: &GRAM,
            variant: tile.variant(),
            operands: &[&samples, &samples, gram],
            params: bytemuck::bytes_of(&params),
            groups: Groups(groups),
            flops: u64::from(inner) * u64::from(features) * (u64::from(features) + 1),
        })?;
    }
    Ok(())
}

/// `linalg/transpose`
pub static TRANSPOSE: Kernel = Kernel {
    name: "linalg/transpose",
    bindings: &[Binding::read("x"), Binding::write("y")],
    params: TransposeParams::LAYOUT,
    variants: plain,
};

params! {
    struct TransposeParams { rows: u32, columns: u32, x_quads: u32, y_quads: u32, blocks: u32 }
}

/// y = xᵀ, for kernels that read rows of the one where the other has columns; products take either as it is.
///
/// # Errors
/// [`Error::Shape`] when `y` is not columns × rows, and those of [`PlanBuilder::dispatch`].
pub fn transpose(plan: &mut PlanBuilder, x: &Tensor, y: &Tensor) -> Result<(), Error> {
    /// Rows and columns of what a workgroup owns.
    const SIDE: u32 = 32;
    let Shape { rows, columns } = x.shape();
    expect_shape(&TRANSPOSE, "y", y, Shape::new(columns, rows))?;
    let [high, wide] = [rows, columns].map(|size| size.div_ceil(SIDE));
    let (x_quads, y_quads) = (x.shape().quads(), y.shape().quads());
    plan.dispatch(Dispatch {
        kernel: &TRANSPOSE,
        variant: Variant::new("plain"),
        operands: &[x, y],
        params: bytemuck::bytes_of(&TransposeParams { rows, columns, x_quads, y_quads, blocks: wide }),
        groups: Groups(u64::from(high) * u64::from(wide)),
        flops: 0,
    })
}

/// `linalg/matmul_nm`
pub static MATMUL_NM: Kernel = Kernel {
    name: "linalg/matmul_nm",
    bindings: &[
        Binding::read("left").windowed(),
        Binding::read("values"),
        Binding::read("places"),
        Binding::update("product"),
    ],
    params: MatmulNmParams::LAYOUT,
    variants: || {
        let of_tile = |tile: &Tile| nm::STORAGES.map(|storage| nm::with_values(tile.variant(), storage));
        TILES.iter().flat_map(of_tile).collect()
    },
};

params! {
    struct MatmulNmParams {
        rows: u32,
        columns: u32,
        inner: u32,
        first: u32,
        left_stride: u32,
        product_stride: u32,
        keep: u32,
        width: u32,
        bits: u32,
        value_words: u32,
        place_words: u32,
    }
}

/// product = left Wᵀ with W in its packed form, read as it is, and the bits of [`matmul`] by the unpacked W: `left` is
/// samples × columns, W rows × columns, `product` samples × rows and no temporary of the plan; values in any storage, the rest
/// f32. For a single sample there is [`matvec_nm`].
///
/// # Errors
/// [`Error::Shape`] when shapes or storages disagree or the group does not divide the columns, and those of
/// [`PlanBuilder::dispatch`].
pub fn matmul_nm(
    plan: &mut PlanBuilder,
    left: &Tensor,
    pattern: NmPattern,
    packed: Packed<'_>,
    product: &Tensor,
) -> Result<(), Error> {
    expect_packed_product(&MATMUL_NM, ("left", left), pattern, packed, product)?;
    let Packed { values, places } = packed;
    let output = product.shape();
    let tile = tile_for_packed(plan.gpu(), output);
    let inner = left.shape().columns;
    // Without columns, the zeros are still to be written.
    let none = (inner == 0).then_some(0..0);
    for part in parts(inner, packed_limit(plan.gpu(), pattern)).chain(none) {
        let (first, inner) = (part.start / 4, part.len() as u32);
        let left = left.window(0..output.rows, part)?;
        let params = MatmulNmParams {
            rows: output.rows,
            columns: output.columns,
            inner,
            first,
            left_stride: left.pitch(),
            product_stride: output.quads(),
            keep: pattern.keep(),
            width: pattern.group(),
            bits: pattern.place_bits(),
            value_words: nm::row_words(values),
            place_words: places.shape().stride(),
        };
        // The first part only writes it.
        let unread = if first == 0 { product.bytes() } else { 0 };
        let dispatch = Dispatch {
            kernel: &MATMUL_NM,
            variant: nm::with_values(tile.variant(), values.storage()),
            operands: &[&left, values, places, product],
            params: bytemuck::bytes_of(&params),
            groups: Groups(tile.count(output)),
            flops: 2 * output.elements() * u64::from(inner),
        };
        plan.dispatch_in_part(dispatch, unread)?;
    }
    Ok(())
}

/// The longest sum in one dispatch of [`matmul_nm`]. llvmpipe ends loops after 65,535 iterations, those of nested loops and of
/// loops one after another counted together, and says nothing.
fn packed_limit(gpu: &Gpu, pattern: NmPattern) -> u32 {
    const ITERATIONS: u32 = 65_535;
    /// A lane's blocks are four at most, of four columns, and a quad of each meets two groups at most.
    const GROUPS: u32 = 4 * 4 * 2;
    match gpu.capabilities().class {
        AdapterClass::Gpu => u32::MAX,
        // A multiple of 64, where windows may begin.
        _ => 4 * (ITERATIONS / (1 + GROUPS * (1 + pattern.keep()))) / 64 * 64,
    }
}

/// Refuses operands that are not a product left Wᵀ with a packed W.
fn expect_packed_product(
    kernel: &'static Kernel,
    (name, left): (&str, &Tensor),
    pattern: NmPattern,
    packed: Packed<'_>,
    product: &Tensor,
) -> Result<(), Error> {
    let (Shape { rows: samples, columns }, rows) = (left.shape(), packed.values.shape().rows);
    packed.expect(kernel, pattern, Shape::new(rows, columns))?;
    nm::expect_storage(kernel, name, left, StorageType::F32)?;
    expect_shape(kernel, "product", product, Shape::new(samples, rows))?;
    nm::expect_storage(kernel, "product", product, StorageType::F32)
}

/// `linalg/matvec_nm`
pub static MATVEC_NM: Kernel = Kernel {
    name: "linalg/matvec_nm",
    bindings: &[
        Binding::read("x"),
        Binding::read("values"),
        Binding::read("places"),
        Binding::write("product"),
    ],
    params: MatvecNmParams::LAYOUT,
    variants: nm::value_variants,
};

params! {
    struct MatvecNmParams {
        rows: u32,
        columns: u32,
        stride: u32,
        entries: u32,
        keep: u32,
        width: u32,
        bits: u32,
        value_words: u32,
        place_words: u32,
    }
}

/// Rows that a workgroup of [`matvec_nm`] owns.
const NM_ROWS: u32 = 8;

/// product = W x with W in its packed form, read as it is: W is rows × columns, `x` a vector of columns, `product` one of rows;
/// values in any storage, the rest f32.
///
/// # Errors
/// As [`matmul_nm`].
pub fn matvec_nm(
    plan: &mut PlanBuilder,
    x: &Tensor,
    pattern: NmPattern,
    packed: Packed<'_>,
    product: &Tensor,
) -> Result<(), Error> {
    let Packed { values, places } = packed;
    let (rows, columns) = (values.shape().rows, x.shape().columns);
    expect_shape(&MATVEC_NM, "x", x, Shape::vector(columns))?;
    expect_packed_product(&MATVEC_NM, ("x", x), pattern, packed, product)?;
    let params = MatvecNmParams {
        rows,
        columns,
        stride: product.shape().stride(),
        entries: values.shape().columns,
        keep: pattern.keep(),
        width: pattern.group(),
        bits: pattern.place_bits(),
        value_words: nm::row_words(values),
        place_words: places.shape().stride(),
    };
    plan.dispatch(Dispatch {
        kernel: &MATVEC_NM,
        variant: nm::value_variant(values.storage()),
        operands: &[x, values, places, product],
        params: bytemuck::bytes_of(&params),
        groups: Groups::over(product.shape().stride().into(), NM_ROWS),
        flops: 2 * values.shape().elements(),
    })
}
