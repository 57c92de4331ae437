//! Operands: seeded random values of several kinds, and the sizes they come in.

use std::fmt;

use rand::{Rng, RngExt};

use super::Effort;
use crate::engine::Shape;
use crate::kernels::Activation;
use crate::reference::{self, Matrix};

/// What kind of values an operand holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    /// Evenly between −1 and 1.
    Ordinary,
    /// Magnitudes from 2⁻²⁰ to 2²⁰.
    Spread,
    /// Zeros of both signs, and ones.
    Zeros,
    /// Half of them smaller than the smallest normal number, which a device may take for zero.
    Denormal,
}

/// Every kind.
const PROFILES: [Profile; 4] = [Profile::Ordinary, Profile::Spread, Profile::Zeros, Profile::Denormal];

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ordinary => "ordinary values",
            Self::Spread => "spread magnitudes",
            Self::Zeros => "zeros",
            Self::Denormal => "denormals",
        })
    }
}

impl Profile {
    /// One value.
    fn draw(self, rng: &mut impl Rng) -> f32 {
        let even: f32 = rng.random_range(-1.0..1.0);
        match self {
            Self::Ordinary => even,
            Self::Spread => even * rng.random_range(-20.0f32..20.0).exp2(),
            Self::Zeros => [0.0, -0.0, 1.0, -1.0][rng.random_range(0..4)],
            Self::Denormal if rng.random() => even * f32::MIN_POSITIVE,
            Self::Denormal => even,
        }
    }

    /// A matrix of such values, each exactly an f32.
    pub fn matrix(self, rng: &mut impl Rng, shape: Shape) -> Matrix {
        Matrix::from_fn(shape.rows as usize, shape.columns as usize, |_, _| f64::from(self.draw(rng)))
    }
}

/// One of each kind of activation as kernels take it, as the oracles do, and the roundings that it takes beside those
/// which its magnitude counts.
pub(super) fn activations() -> [(Activation, reference::Activation, usize); 4] {
    Activation::KINDS.map(|f| match f {
        Activation::Relu => (f, reference::Activation::Relu, 0),
        Activation::LeakyRelu { slope } => (f, reference::Activation::LeakyRelu(slope.into()), 1),
        // WGSL allows an exponential 3 ULPs beside those of its argument, and a quotient 2.5.
        Activation::Sigmoid => (f, reference::Activation::Sigmoid, 8),
        Activation::Tanh => (f, reference::Activation::Tanh, 8),
    })
}

/// Rows and columns for kernels that work on matrices of any shape.
pub(super) fn shapes(effort: Effort) -> Vec<Shape> {
    const LENGTHS: [u32; 10] = [0, 1, 3, 4, 63, 64, 65, 257, 4096, 100_003];
    const MATRICES: [(u32, u32); 8] =
        [(3, 5), (65, 9), (0, 5), (5, 0), (7, 10), (64, 64), (257, 3), (129, 33)];
    let (lengths, matrices) = match effort {
        Effort::Quick => (&LENGTHS[..3], &MATRICES[..2]),
        Effort::Full => (&LENGTHS[..], &MATRICES[..]),
    };
    let lengths = lengths.iter().map(|length| Shape::vector(*length));
    lengths.chain(matrices.iter().map(|(rows, columns)| Shape::new(*rows, *columns))).collect()
}

/// Shapes with kinds of values: ordinary ones in every shape, the others in the shapes that are not too long.
pub(super) fn operands(effort: Effort) -> Vec<(Shape, Profile)> {
    let all = shapes(effort).into_iter().flat_map(|shape| PROFILES.map(|profile| (shape, profile)));
    let longest = if effort == Effort::Full { 5_000 } else { 700 };
    all.filter(|(shape, profile)| {
        let elements = shape.elements();
        *profile == Profile::Ordinary || (elements > 4 && elements < longest)
    })
    .collect()
}
