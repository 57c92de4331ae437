//! Cases of `kernels::linalg`: the four ways to store the operands, sizes around every edge of a tile.
//!
//! Every machine gives each element one fused multiply-add per inner index, so that the bound has as many roundings.

use super::call::{Call, Session};
use super::elementwise::NOT_FINITE;
use super::expected::{Bound, Expected, Verdict};
use super::reduce::{OFFSET, list, sums};
use super::values::{Profile, operands};
use crate::Error;
use crate::engine::{AdapterClass, PlanBuilder, Shape, Tensor};
use crate::kernels::linalg::{self as kernel, Transposed};
use crate::reference::{Bounded, Matrix, linalg as oracle};
use std::ops::Range;

/// Rows, columns, inner size: zeros, odd sizes, one beyond the edges of every tile, and the shapes for which an adapter
/// has tiles of their own.
fn sizes(session: &Session<'_>) -> Vec<(u32, u32, u32)> {
    let mut sizes = vec![CROSSING, (1, 1, 1), (3, 5, 7), (5, 3, 0), (0, 5, 3), (5, 0, 3)];
    if session.is_full() {
        sizes.extend([(4, 4, 4), (63, 65, 64), (65, 63, 1), (1, 257, 3), (257, 1, 65)]);
        // Sums longer than 256 walk the tiles in another order, and those longer than 512 are taken in parts by some devices.
        sizes.extend([(130, 70, 257), (12, 130, 40), (40, 13, 1030)]);
    }
    // Sums over so many samples are split on a GPU.
    if session.gpu().capabilities().class == AdapterClass::Gpu {
        sizes.push(SPLIT);
    }
    sizes
}

/// A size that crosses the edges of most tiles.
const CROSSING: (u32, u32, u32) = (33, 70, 18);

/// A size whose sums over samples are split.
const SPLIT: (u32, u32, u32) = (10, 20, 2500);

/// How the operands may be stored.
const WAYS: [(Transposed, Transposed); 4] = [
    (Transposed::No, Transposed::No),
    (Transposed::No, Transposed::Yes),
    (Transposed::Yes, Transposed::No),
    (Transposed::Yes, Transposed::Yes),
];

/// Every size with the operands stored in one way, some sizes in every way, and other kinds of values.
///
/// Each way on each tile is a pipeline, and software Vulkan takes seconds for one. How operands are read is the same
/// files for every kernel, so that `matmul` alone, in a full run, goes through all ways in all sizes.
fn products(
    session: &mut Session<'_>,
    usual: usize,
    in_all_ways: impl Fn((u32, u32, u32)) -> bool,
) -> Vec<Product> {
    let mut products = Vec::new();
    for size in sizes(session) {
        let ways = if in_all_ways(size) { &WAYS[..] } else { &WAYS[usual..=usual] };
        for &ways in ways {
            products.push(Product::new(session, size, ways, Profile::Ordinary));
        }
    }
    for profile in [Profile::Spread, Profile::Zeros, Profile::Denormal] {
        products.push(Product::new(session, CROSSING, WAYS[usual], profile));
    }
    products
}

/// A product to be formed: operands as they are stored.
struct Product {
    case: String,
    left: (Matrix, Transposed),
    right: (Matrix, Transposed),
    output: Shape,
    inner: usize,
}

impl Product {
    fn new(
        session: &mut Session<'_>,
        (rows, columns, inner): (u32, u32, u32),
        ways: (Transposed, Transposed),
        profile: Profile,
    ) -> Self {
        let stored = |rows, columns, way| match way {
            Transposed::No => Shape::new(rows, columns),
            Transposed::Yes => Shape::new(columns, rows),
        };
        let mark = |way| if way == Transposed::Yes { "ᵀ" } else { "" };
        Self {
            case: format!(
                "{rows} × {inner} by {inner} × {columns}, A{} B{}, {profile}",
                mark(ways.0),
                mark(ways.1)
            ),
            left: (session.matrix(stored(rows, inner, ways.0), profile), ways.0),
            right: (session.matrix(stored(inner, columns, ways.1), profile), ways.1),
            output: Shape::new(rows, columns),
            inner: inner as usize,
        }
    }

    /// The bound of one element, whose magnitude the oracle gives.
    fn bound(&self) -> Bound {
        Bound::roundings(self.inner + 1)
    }

    /// The operands as the oracle takes them.
    fn oracle(&self) -> (&Matrix, bool, &Matrix, bool) {
        let (left, right) = (&self.left, &self.right);
        (&left.0, left.1 == Transposed::Yes, &right.0, right.1 == Transposed::Yes)
    }

    fn operands(&self, call: &mut Call<'_>) -> Result<(Tensor, Tensor), Error> {
        Ok((call.input("left", &self.left.0)?, call.input("right", &self.right.0)?))
    }
}

pub(super) fn matmul(session: &mut Session<'_>) -> Result<(), Error> {
    let is_full = session.is_full();
    for product in products(session, 0, |size| is_full || [CROSSING, SPLIT].contains(&size)) {
        let (left, flip_left, right, flip_right) = product.oracle();
        let expected = oracle::matmul(left, flip_left, right, flip_right);
        session.check(&product.case, |call| {
            let (left, right) = product.operands(call)?;
            let output =
                call.output("product", product.output, Expected::near(&expected, product.bound()))?;
            kernel::matmul(&mut call.plan, (&left, product.left.1), (&right, product.right.1), &output)
        })?;
    }
    for odd in NOT_FINITE {
        for in_left in [true, false] {
            odd_operand(session, odd, in_left)?;
        }
    }
    Ok(())
}

/// A value that is not finite stays in its row of A and its column of B.
fn odd_operand(session: &mut Session<'_>, odd: f64, in_left: bool) -> Result<(), Error> {
    let mut product = Product::new(session, CROSSING, WAYS[0], Profile::Ordinary);
    let stored = if in_left { &mut product.left.0 } else { &mut product.right.0 };
    stored[(17, 5)] = odd;
    let (left, flip_left, right, flip_right) = product.oracle();
    let expected = oracle::matmul(left, flip_left, right, flip_right);
    let place = if in_left { "left" } else { "right" };
    session.check(&format!("{odd} in {place}[17, 5]"), |call| {
        let (left, right) = product.operands(call)?;
        let is_hit = move |index: usize| if in_left { index / 70 == 17 } else { index % 70 == 5 };
        let output =
            call.output("product", product.output, Expected::not_finite(&expected, product.bound(), is_hit))?;
        kernel::matmul(&mut call.plan, (&left, Transposed::No), (&right, Transposed::No), &output)
    })
}

/// The oracle of a product that is taken into `start`, and its kernel.
type Accumulation = (
    fn(&Matrix, &Matrix, bool, &Matrix, bool) -> Bounded<Matrix>,
    fn(&mut PlanBuilder, (&Tensor, Transposed), (&Tensor, Transposed), &Tensor) -> Result<(), Error>,
);

/// Cases of such a kernel, its operands mostly stored as way `usual` has it.
fn accumulated(session: &mut Session<'_>, usual: usize, (oracle, kernel): Accumulation) -> Result<(), Error> {
    let is_full = session.is_full();
    for product in products(session, usual, |size| size == SPLIT || is_full && size == CROSSING) {
        let start = session.matrix(product.output, Profile::Ordinary);
        let (left, flip_left, right, flip_right) = product.oracle();
        let expected = oracle(&start, left, flip_left, right, flip_right);
        session.check(&product.case, |call| {
            let (left, right) = product.operands(call)?;
            let output = call.update("product", &start, Expected::near(&expected, product.bound()))?;
            kernel(&mut call.plan, (&left, product.left.1), (&right, product.right.1), &output)
        })?;
    }
    Ok(())
}

pub(super) fn matmul_add(session: &mut Session<'_>) -> Result<(), Error> {
    accumulated(session, 2, (oracle::matmul_add, kernel::matmul_add))?;
    let inner = if session.is_full() { 1_100 } else { 70 };
    for cuts in [&[0, 32, inner][..], &[0, 16, 20, 64, inner]] {
        in_parts(session, inner, cuts)?;
    }
    Ok(())
}

pub(super) fn matmul_subtract(session: &mut Session<'_>) -> Result<(), Error> {
    accumulated(session, 0, (oracle::matmul_subtract, kernel::matmul_subtract))?;
    windows(session)
}

/// Windows into larger tensors: what lies around the window of the result stays as it was.
fn windows(session: &mut Session<'_>) -> Result<(), Error> {
    let (left, right) = (Shape::new(50, 200), Shape::new(80, 152));
    let (left, right) = (session.matrix(left, Profile::Ordinary), session.matrix(right, Profile::Ordinary));
    let start = session.matrix(Shape::new(48, 203), Profile::Ordinary);
    // Rows 16.. and columns 64..132 of the left by columns 128.. of the right, where there are 24.
    let part = |from: &Matrix, rows: Range<usize>, columns: Range<usize>| {
        Matrix::from_fn(rows.len(), columns.len(), |i, j| from[(rows.start + i, columns.start + j)])
    };
    let (a, b) = (part(&left, 16..47, 64..132), part(&right, 0..68, 128..152));
    let inner = oracle::matmul_subtract(&part(&start, 16..47, 64..88), &a, false, &b, false);
    let inside = |row: usize, column: usize| (16..47).contains(&row) && (64..88).contains(&column);
    let expected = Bounded::from_fn(48, 203, |row, column| match inside(row, column) {
        true => Bounded {
            value: inner.value[(row - 16, column - 64)],
            magnitude: inner.magnitude[(row - 16, column - 64)],
        },
        false => Bounded { value: start[(row, column)], magnitude: 0.0 },
    });
    session.check("windows", |call| {
        let (left, right) = (call.input("left", &left)?, call.input("right", &right)?);
        let product = call.update("product", &start, Expected::near(&expected, Bound::roundings(69)))?;
        let (left, right) = (left.window(16..47, 64..132)?, right.window(0..68, 128..152)?);
        let window = product.window(16..47, 64..88)?;
        kernel::matmul_subtract(&mut call.plan, (&left, Transposed::No), (&right, Transposed::No), &window)
    })
}

/// A sum over samples has the same bits however the samples are cut, at multiples of four.
fn in_parts(session: &mut Session<'_>, inner: u32, cuts: &[u32]) -> Result<(), Error> {
    let ways = (Transposed::Yes, Transposed::No);
    let product = Product::new(session, (37, 21, inner), ways, Profile::Ordinary);
    let start = session.matrix(product.output, Profile::Ordinary);
    let expected = oracle::matmul_add(&start, &product.left.0, true, &product.right.0, false);
    let part = |samples: &Matrix, from: u32, to: u32| {
        Matrix::from_fn((to - from) as usize, samples.cols(), |row, column| {
            samples[(from as usize + row, column)]
        })
    };
    session.check(&format!("{inner} samples cut at {cuts:?}"), |call| {
        let (left, right) = product.operands(call)?;
        let whole = call.update("product", &start, Expected::near(&expected, product.bound()))?;
        kernel::matmul_add(&mut call.plan, (&left, ways.0), (&right, ways.1), &whole)?;
        let cut = call.update("product in parts", &start, Expected::SameAs("product"))?;
        for ends in cuts.windows(2) {
            let left = call.input("left part", &part(&product.left.0, ends[0], ends[1]))?;
            let right = call.input("right part", &part(&product.right.0, ends[0], ends[1]))?;
            kernel::matmul_add(&mut call.plan, (&left, ways.0), (&right, ways.1), &cut)?;
        }
        Ok(())
    })
}

/// Roundings when the squares of a tile are added up, whichever machine does it: 32 per lane, then its lanes.
pub(super) const TILE_ROUNDINGS: usize = 64;

pub(super) fn matmul_norm(session: &mut Session<'_>) -> Result<(), Error> {
    for product in products(session, 1, |_| false) {
        let count = kernel::tile_count(session.gpu(), product.output);
        let (left, flip_left, right, flip_right) = product.oracle();
        let (expected, norm) = oracle::matmul_norm(left, flip_left, right, flip_right);
        session.check(&product.case, |call| {
            let (left, right) = product.operands(call)?;
            let output =
                call.output("product", product.output, Expected::near(&expected, product.bound()))?;
            // The square of a product is off by twice what the product is.
            let roundings = 2 * (product.inner + 1) + TILE_ROUNDINGS;
            let partials = call.output("partials", list(count, 1), sums(vec![norm], roundings, count))?;
            let (left, right) = ((&left, product.left.1), (&right, product.right.1));
            kernel::matmul_norm(&mut call.plan, left, right, &output, &partials, OFFSET)
        })?;
    }
    Ok(())
}

pub(super) fn gram(session: &mut Session<'_>) -> Result<(), Error> {
    // The widest have more rows of tiles than are walked at a time.
    let mut sizes = vec![(1, 1), (5, 3), (0, 5), (3, 0), (18, 70), (5, 300)];
    if session.is_full() {
        sizes.extend([(65, 9), (257, 33), (40, 130), (1_100, 20), (3, 700)]);
    }
    for (count, features) in sizes {
        let samples = session.matrix(Shape::new(count, features), Profile::Ordinary);
        let upper = session.matrix(Shape::new(features, features), Profile::Ordinary);
        let n = features as usize;
        let start = Matrix::from_fn(n, n, |row, column| upper[(row.min(column), row.max(column))]);
        let expected = oracle::gram(&start, &samples);
        let bound = Bound::roundings(count as usize + 1);
        session.check(&format!("{count} × {features}"), |call| {
            let near_and_symmetric = Expected::Each(Box::new(|values, index| {
                let mirror = index % n * n + index / n;
                if values[index].to_bits() != values[mirror].to_bits() {
                    return Verdict::Not(format!("what its mirror image is, {:e}", values[mirror]));
                }
                Verdict::of(
                    values[index],
                    expected.value.data()[index],
                    expected.magnitude.data()[index],
                    bound,
                )
            }));
            let samples = call.input("samples", &samples)?;
            let gram = call.update("gram", &start, near_and_symmetric)?;
            kernel::gram(&mut call.plan, &samples, &gram)
        })?;
    }
    Ok(())
}

pub(super) fn add_parts(session: &mut Session<'_>) -> Result<(), Error> {
    for (shape, profile) in operands(session.effort()) {
        for (count, sign) in [(1u32, 1.0), (3, -1.0), (32, 1.0)] {
            let before = session.matrix(shape, profile);
            // Rows of C as they are stored, with padding, and some elements more.
            let wide = Shape::new(count, shape.stored() as u32 + 8);
            let (parts, stride) = (session.matrix(wide, profile), shape.stride() as usize);
            let padded = Matrix::from_fn(count as usize, parts.cols(), |part, index| {
                let is_padding = index < shape.stored() as usize && index % stride >= before.cols();
                if is_padding { 0.0 } else { parts[(part, index)] }
            });
            let expected = oracle::add_parts(&before, &padded, stride, sign);
            session.check(&format!("{shape} of {count}, {profile}"), |call| {
                let parts = call.input("parts", &padded)?;
                let bound = Bound::roundings(count as usize + 1);
                let product = call.update("product", &before, Expected::near(&expected, bound))?;
                kernel::add_parts(&mut call.plan, &parts, sign as f32, &product)
            })?;
        }
    }
    for odd in NOT_FINITE {
        let (before, mut parts) = (
            session.matrix(Shape::new(3, 8), Profile::Ordinary),
            session.matrix(Shape::new(2, 24), Profile::Ordinary),
        );
        parts[(1, 13)] = odd;
        let expected = oracle::add_parts(&before, &parts, 8, 1.0);
        session.check(&format!("{odd} in parts[1, 13]"), |call| {
            let parts = call.input("parts", &parts)?;
            let expected = Expected::not_finite(&expected, Bound::roundings(3), |index| index == 13);
            let product = call.update("product", &before, expected)?;
            kernel::add_parts(&mut call.plan, &parts, 1.0, &product)
        })?;
    }
    Ok(())
}

pub(super) fn transpose(session: &mut Session<'_>) -> Result<(), Error> {
    for (shape, profile) in operands(session.effort()) {
        let x = session.matrix(shape, profile);
        let expected = oracle::transpose(&x);
        let turned = Shape::new(shape.columns, shape.rows);
        session.check(&format!("{shape}, {profile}"), |call| {
            let x = call.input("x", &x)?;
            let y = call.output("y", turned, Expected::exactly(&expected))?;
            kernel::transpose(&mut call.plan, &x, &y)
        })?;
    }
    for odd in NOT_FINITE {
        let mut x = session.matrix(Shape::new(34, 70), Profile::Ordinary);
        x[(33, 5)] = odd;
        let expected = oracle::transpose(&x);
        session.check(&format!("{odd} in x[33, 5]"), |call| {
            let x = call.input("x", &x)?;
            let y = call.output("y", Shape::new(70, 34), Expected::exactly(&expected))?;
            kernel::transpose(&mut call.plan, &x, &y)
        })?;
    }
    Ok(())
}
