//! Several tensors in one: the parameters of a model, or gradients of it, as one flat row.
//!
//! Solvers that treat all parameters alike take one tensor with everything in it, and do it in one dispatch; models want
//! each weight and bias by itself. A [`Slab`] says where each lies, so that both have it their way without a copy: who
//! computes gradients writes each of them straight into its [part](Slab::part) of the row.

use super::tensor::{Shape, Tensor};
use crate::Error;

/// Parts begin at multiples of so many elements, which in any storage is an offset that every device can bind.
const GRANULE: u32 = 128;

/// Where tensors of given shapes lie in one row.
///
/// Each is stored as it would be by itself, rows padded to whole `vec4`s, and starts at a multiple of 128 elements. What
/// is between them is zero, as padding is, and stays so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slab {
    parts: Vec<(u32, Shape)>,
    length: u32,
}

impl Slab {
    /// One part for each shape, in this order.
    ///
    /// # Errors
    /// [`Error::Limit`] when they have more than 2³² elements.
    pub fn new(shapes: &[Shape]) -> Result<Self, Error> {
        let mut end = 0u64;
        let mut parts = Vec::with_capacity(shapes.len());
        for shape in shapes {
            // The check below covers every start, for none is larger than the end.
            parts.push((end as u32, *shape));
            // A binding cannot be empty, so a part without elements has room for some.
            let next = end.checked_add(shape.stored().max(1));
            end = next.and_then(|next| next.checked_next_multiple_of(GRANULE.into())).unwrap_or(u64::MAX);
        }
        let length = u32::try_from(end).map_err(|_| Error::Limit {
            what: format!("a slab of {} tensors", shapes.len()),
            needed: format!("{end} elements"),
            allowed: format!("{}", u32::MAX),
            remedy: "split the model over several slabs",
        })?;
        Ok(Self { parts, length })
    }

    /// One part that is the whole row, for a tensor in memory of its own, which nothing pads.
    pub fn whole(columns: u32) -> Self {
        Self { parts: vec![(0, Shape::vector(columns))], length: columns }
    }

    /// Elements of the row.
    pub fn length(&self) -> u32 {
        self.length
    }

    /// The shape of `rows` such rows: one for parameters, or one for each sub-batch's gradients.
    pub fn shape(&self, rows: u32) -> Shape {
        Shape::new(rows, self.length)
    }

    /// Shapes of the parts.
    pub fn shapes(&self) -> impl Iterator<Item = Shape> {
        self.parts.iter().map(|(_, shape)| *shape)
    }

    /// The element of a row at which a part begins.
    ///
    /// # Panics
    /// If there is no such part.
    pub fn start(&self, index: usize) -> u32 {
        self.parts[index].0
    }

    /// One part of one row of `flat`, sharing its memory.
    ///
    /// # Errors
    /// [`Error::Plan`] when `flat` is not made of such rows, or there is no such row or part.
    pub fn part(&self, flat: &Tensor, row: u32, index: usize) -> Result<Tensor, Error> {
        let found = self
            .parts
            .get(index)
            .filter(|_| flat.shape().columns == self.length && row < flat.shape().rows && !flat.is_window());
        let Some(&(first, shape)) = found else {
            let (flat, parts) = (flat.shape(), self.parts.len());
            let detail = format!(
                "part {index} in row {row} of a tensor of {flat}; the slab has {parts} parts in rows of {}",
                self.length
            );
            return Err(Error::Plan { plan: "slab".into(), detail });
        };
        let first = u64::from(row) * u64::from(self.length) + u64::from(first);
        Ok(flat.part(first, shape))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_overlap_and_can_be_bound() {
        let shapes =
            [Shape::new(3, 5), Shape::vector(7), Shape::new(0, 4), Shape::new(40, 40), Shape::vector(1)];
        let slab = Slab::new(&shapes).unwrap();
        let mut end = 0;
        for ((first, shape), expected) in slab.parts.iter().zip(shapes) {
            assert_eq!(*shape, expected);
            assert!(first.is_multiple_of(128) && *first >= end, "{slab:?}");
            end = first + shape.stored() as u32;
        }
        assert_eq!(slab.shapes().collect::<Vec<_>>(), shapes);
        assert!(slab.length() >= end && slab.length().is_multiple_of(128));
        for huge in [Shape::new(1 << 16, 1 << 15), Shape::new(u32::MAX, u32::MAX)] {
            assert!(matches!(Slab::new(&[huge; 3]), Err(Error::Limit { .. })), "{huge}");
        }
    }
}
