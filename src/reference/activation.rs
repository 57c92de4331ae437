//! The activation functions of hidden layers in f64, for every twin that holds one.

use super::Bounded;

/// The activation f, a = f(z).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// max(z, 0).
    Relu,
    /// z above zero, and below it this slope times z.
    LeakyRelu(f64),
    /// 1 / (1 + exp(−z)).
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// f(z).
    pub fn value(self, z: f64) -> f64 {
        match self {
            Self::Relu => z.max(0.0),
            Self::LeakyRelu(slope) => z.max(0.0) + slope * z.min(0.0),
            Self::Sigmoid => 1.0 / (1.0 + (-z).exp()),
            Self::Tanh => z.tanh(),
        }
    }

    /// f(z), and one unit of ε of which a kernel's f(z) may be off beside the rounding of z itself: nothing where f
    /// only selects, and where it takes an exponential what the rounding of that and of its argument amounts to.
    pub(super) fn bounded(self, z: f64) -> Bounded<f64> {
        let value = self.value(z);
        let magnitude = match self {
            Self::Relu => 0.0,
            Self::LeakyRelu(_) => value.abs(),
            Self::Sigmoid => value + (value * (1.0 - value) * z.abs()).max(0.0),
            Self::Tanh => value.abs() + ((1.0 - value * value) * z.abs()).max(0.0),
        };
        Bounded { value, magnitude }
    }

    /// f′ where f has this value, and one unit of ε of which a kernel's may be off. At the kink of ReLU it is 0, at that
    /// of leaky ReLU the slope below.
    pub(super) fn slope_at_value(self, f: f64) -> Bounded<f64> {
        let (value, magnitude) = match self {
            Self::Relu => (if f > 0.0 { 1.0 } else { 0.0 }, 0.0),
            Self::LeakyRelu(slope) => (if f > 0.0 { 1.0 } else { slope }, 0.0),
            Self::Sigmoid => (f * (1.0 - f), f.abs() * (1.0 + f.abs())),
            Self::Tanh => (1.0 - f * f, 1.0 + f * f),
        };
        Bounded { value, magnitude }
    }

    /// f′(z) and f″(z), for the two that are smooth.
    pub(super) fn derivatives(self, z: f64) -> (f64, f64) {
        let f = self.value(z);
        match self {
            Self::Relu | Self::LeakyRelu(_) => unreachable!("closed forms need no derivatives"),
            Self::Sigmoid => (f * (1.0 - f), f * (1.0 - f) * (1.0 - 2.0 * f)),
            Self::Tanh => (1.0 - f * f, -2.0 * f * (1.0 - f * f)),
        }
    }
}
