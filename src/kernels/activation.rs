//! The activation functions of hidden layers, as kernels take them: one WGSL file each, chosen by variant.

use crate::engine::Variant;

/// The activation f of every hidden layer, a = f(z).
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "function")]
pub enum Activation {
    /// max(z, 0).
    #[default]
    Relu,
    /// z above zero, `slope` · z below.
    LeakyRelu {
        /// The slope below zero, from 0 to less than 1.
        slope: f32,
    },
    /// 1 / (1 + exp(−z)).
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
}

/// The file that kernels import unless told otherwise.
const RELU: &str = "shared/activation_relu";
const LEAKY_RELU: &str = "shared/activation_leaky_relu";
const SIGMOID: &str = "shared/activation_sigmoid";
const TANH: &str = "shared/activation_tanh";

impl Activation {
    /// One of each kind.
    pub const KINDS: [Self; 4] = [Self::Relu, Self::leaky_relu(), Self::Sigmoid, Self::Tanh];

    /// Leaky ReLU with its usual slope.
    pub const fn leaky_relu() -> Self {
        Self::LeakyRelu { slope: 0.01 }
    }

    /// `variant` of a kernel that imports f, with this f.
    pub(super) fn choose(self, variant: Variant) -> Variant {
        match self {
            Self::Relu => variant,
            Self::LeakyRelu { slope } => with_slope(variant.import(RELU, LEAKY_RELU), slope),
            Self::Sigmoid => variant.import(RELU, SIGMOID),
            Self::Tanh => variant.import(RELU, TANH),
        }
    }

    /// `variant` of a kernel that imports the hidden z step's minimiser, with that for this f.
    pub(super) fn choose_minimiser(self, variant: Variant) -> Variant {
        const CLOSED_FORM: &str = "dladmm/minimiser_relu";
        const NEWTON: &str = "dladmm/minimiser_smooth";
        match self {
            Self::Relu => variant,
            Self::LeakyRelu { slope } => {
                with_slope(variant.import(CLOSED_FORM, "dladmm/minimiser_leaky_relu"), slope)
            }
            Self::Sigmoid => variant.import(CLOSED_FORM, NEWTON),
            Self::Tanh => variant.import(CLOSED_FORM, NEWTON).import(SIGMOID, TANH),
        }
    }

    /// Variants of a kernel that has one for each kind and no others.
    pub(super) fn variants() -> Vec<Variant> {
        Self::KINDS.map(|f| f.choose(Variant::new("plain"))).into()
    }
}

/// Rust prints the shortest digits that read back as the same float.
fn with_slope(mut variant: Variant, slope: f32) -> Variant {
    variant.specs.push(("SLOPE", format!("{slope:e}")));
    variant
}
