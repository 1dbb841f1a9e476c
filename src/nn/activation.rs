//! Activation functions as layers.

mod learned;
mod nonlinearity;

use std::fmt;
use std::str::FromStr;

use super::Layer;
use crate::error::Error;
use crate::graph::Var;
use crate::names::{refuse_more, unknown, with_numbers};

use learned::largest_of;
pub use learned::{Maxout, Prelu, Rrelu, Swish};
pub(super) use nonlinearity::Between;
pub use nonlinearity::Nonlinearity;

/// An activation function as a layer. Formulas and sources are at the methods of [`Var`] of the same names; those with learned
/// parameters are layers of their own, [`Prelu`], [`Swish`] and [`Maxout`], and so is [`Rrelu`], which draws numbers. A model takes any
/// of them as a [`Nonlinearity`].
///
/// Each has a name in kebab-case, with PyTorch's defaults for its parameters, or others after an equals sign:
///
/// ```
/// use wgrad::nn::Activation;
/// assert_eq!("leaky-relu".parse::<Activation>()?, Activation::LeakyRelu(0.01));
/// assert_eq!("elu=0.5".parse::<Activation>()?.to_string(), "elu=0.5");
/// assert_eq!(Activation::GeluTanh.name(), "gelu-tanh");
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Activation {
    /// x.
    Identity,
    /// 1 from 0 on, else 0; no gradient passes.
    BinaryStep,
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
    /// x above 0, slope · x below.
    LeakyRelu(f32),
    /// x above 0, α (e^x - 1) below.
    Elu(f32),
    /// λ times ELU with the α that normalizes itself.
    Selu,
    /// x above 0, α (e^(x / α) - 1) below.
    Celu(f32),
    /// x Φ(x).
    Gelu,
    /// GELU by tanh.
    GeluTanh,
    /// x σ(x).
    Silu,
    /// x σ(βx).
    Swish(f32),
    /// x tanh(softplus(x)).
    Mish,
    /// 1 / (1 + e^-x).
    Sigmoid,
    /// ln σ(x).
    LogSigmoid,
    /// (x + 3) / 6 between 0 and 1.
    HardSigmoid,
    /// x times the hard sigmoid.
    HardSwish,
    /// Hyperbolic tangent.
    Tanh,
    /// x between two bounds.
    HardTanh(f32, f32),
    /// x - tanh x.
    TanhShrink,
    /// x where |x| is above λ, else 0.
    HardShrink(f32),
    /// What of |x| is above λ, with the sign of x.
    SoftShrink(f32),
    /// ln(1 + e^(βx)) / β.
    Softplus(f32),
    /// x / (1 + |x|).
    Softsign,
    /// The first half of the last axis times the sigmoid of the second.
    Glu,
    /// The first half of the last axis times SiLU of the second.
    Swiglu,
    /// Softmax over the last axis.
    Softmax,
    /// Log-softmax over the last axis.
    LogSoftmax,
    /// 1 for the largest along the last axis, 0 for the others; no gradient passes.
    Hardmax,
}

impl Activation {
    /// All of them, with the usual parameters.
    pub const ALL: [Activation; 29] = [
        Activation::Identity,
        Activation::BinaryStep,
        Activation::Relu,
        Activation::Relu6,
        Activation::LeakyRelu(0.01),
        Activation::Elu(1.0),
        Activation::Selu,
        Activation::Celu(1.0),
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Silu,
        Activation::Swish(1.0),
        Activation::Mish,
        Activation::Sigmoid,
        Activation::LogSigmoid,
        Activation::HardSigmoid,
        Activation::HardSwish,
        Activation::Tanh,
        Activation::HardTanh(-1.0, 1.0),
        Activation::TanhShrink,
        Activation::HardShrink(0.5),
        Activation::SoftShrink(0.5),
        Activation::Softplus(1.0),
        Activation::Softsign,
        Activation::Glu,
        Activation::Swiglu,
        Activation::Softmax,
        Activation::LogSoftmax,
        Activation::Hardmax,
    ];

    /// Its name, without its parameters.
    pub fn name(&self) -> &'static str {
        match self {
            Activation::Identity => "identity",
            Activation::BinaryStep => "binary-step",
            Activation::Relu => "relu",
            Activation::Relu6 => "relu6",
            Activation::LeakyRelu(_) => "leaky-relu",
            Activation::Elu(_) => "elu",
            Activation::Selu => "selu",
            Activation::Celu(_) => "celu",
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu-tanh",
            Activation::Silu => "silu",
            Activation::Swish(_) => "swish",
            Activation::Mish => "mish",
            Activation::Sigmoid => "sigmoid",
            Activation::LogSigmoid => "log-sigmoid",
            Activation::HardSigmoid => "hard-sigmoid",
            Activation::HardSwish => "hard-swish",
            Activation::Tanh => "tanh",
            Activation::HardTanh(..) => "hard-tanh",
            Activation::TanhShrink => "tanh-shrink",
            Activation::HardShrink(_) => "hard-shrink",
            Activation::SoftShrink(_) => "soft-shrink",
            Activation::Softplus(_) => "softplus",
            Activation::Softsign => "softsign",
            Activation::Glu => "glu",
            Activation::Swiglu => "swiglu",
            Activation::Softmax => "softmax",
            Activation::LogSoftmax => "log-softmax",
            Activation::Hardmax => "hardmax",
        }
    }

    /// Its parameters.
    fn numbers(&self) -> Vec<f32> {
        match *self {
            Activation::LeakyRelu(x)
            | Activation::Elu(x)
            | Activation::Celu(x)
            | Activation::Swish(x)
            | Activation::HardShrink(x)
            | Activation::SoftShrink(x)
            | Activation::Softplus(x) => vec![x],
            Activation::HardTanh(low, high) => vec![low, high],
            _ => Vec::new(),
        }
    }

    /// Whether it takes each number for itself, and not the last axis as a whole.
    pub(super) fn is_elementwise(&self) -> bool {
        use Activation::{Glu, Hardmax, LogSoftmax, Softmax, Swiglu};
        !matches!(self, Glu | Swiglu | Softmax | LogSoftmax | Hardmax)
    }
}

impl FromStr for Activation {
    type Err = Error;

    /// By its name, with the usual parameters or those after an equals sign: `elu=0.5`, `hard-tanh=-2,2`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (name, given) = with_numbers("activation", text)?;
        let usual = Activation::ALL
            .into_iter()
            .find(|a| a.name() == name)
            .ok_or_else(|| unknown("activation", name, &Activation::ALL.each_ref().map(Activation::name)))?;
        refuse_more("activation", name, usual.numbers().len(), &given)?;
        let value = |i: usize| given.get(i).copied().unwrap_or(usual.numbers()[i]);
        let activation = match usual {
            Activation::LeakyRelu(_) => Activation::LeakyRelu(value(0)),
            Activation::Elu(_) => Activation::Elu(value(0)),
            Activation::Celu(_) => Activation::Celu(value(0)),
            Activation::Swish(_) => Activation::Swish(value(0)),
            Activation::HardTanh(..) => Activation::HardTanh(value(0), value(1)),
            Activation::HardShrink(_) => Activation::HardShrink(value(0)),
            Activation::SoftShrink(_) => Activation::SoftShrink(value(0)),
            Activation::Softplus(_) => Activation::Softplus(value(0)),
            other => other,
        };
        let is_taken = match activation {
            Activation::Celu(alpha) | Activation::Softplus(alpha) => alpha != 0.0,
            Activation::HardTanh(low, high) => low <= high,
            Activation::HardShrink(lambda) | Activation::SoftShrink(lambda) => lambda >= 0.0,
            _ => true,
        };
        let what = match activation {
            Activation::HardTanh(..) => "the lower bound comes first",
            Activation::HardShrink(_) | Activation::SoftShrink(_) => "the threshold must be 0 or more",
            _ => "the parameter must not be 0",
        };
        if is_taken { Ok(activation) } else { Err(Error::Invalid(format!("activation `{text}`: {what}"))) }
    }
}

/// As it is parsed.
impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.numbers().iter().map(f32::to_string).collect();
        let equals = if numbers.is_empty() { "" } else { "=" };
        write!(f, "{}{equals}{}", self.name(), numbers.join(","))
    }
}

impl Layer for Activation {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let last = x.shape().rank().saturating_sub(1);
        match *self {
            Activation::Identity => x,
            Activation::BinaryStep => x.binary_step(),
            Activation::Relu => x.relu(),
            Activation::Relu6 => x.relu6(),
            Activation::LeakyRelu(slope) => x.leaky_relu(slope),
            Activation::Elu(alpha) => x.elu(alpha),
            Activation::Selu => x.selu(),
            Activation::Celu(alpha) => x.celu(alpha),
            Activation::Gelu => x.gelu(),
            Activation::GeluTanh => x.gelu_tanh(),
            Activation::Silu => x.silu(),
            Activation::Swish(beta) => x.swish(beta),
            Activation::Mish => x.mish(),
            Activation::Sigmoid => x.sigmoid(),
            Activation::LogSigmoid => x.log_sigmoid(),
            Activation::HardSigmoid => x.hard_sigmoid(),
            Activation::HardSwish => x.hard_swish(),
            Activation::Tanh => x.tanh(),
            Activation::HardTanh(low, high) => x.hard_tanh(low, high),
            Activation::TanhShrink => x.tanh_shrink(),
            Activation::HardShrink(lambda) => x.hard_shrink(lambda),
            Activation::SoftShrink(lambda) => x.soft_shrink(lambda),
            Activation::Softplus(beta) => x.softplus(beta, 20.0),
            Activation::Softsign => x.softsign(),
            Activation::Glu => x.glu(last),
            Activation::Swiglu => x.swiglu(last),
            Activation::Softmax => x.softmax(last),
            Activation::LogSoftmax => x.log_softmax(last),
            Activation::Hardmax => x.hardmax(last),
        }
    }
}

#[cfg(test)]
mod tests;
