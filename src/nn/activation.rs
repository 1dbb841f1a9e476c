//! Activation functions as layers.

use std::str::FromStr;

use super::{Layer, Linear};
use crate::error::Error;
use crate::graph::{Init, Param, Params, Var};
use crate::names::unknown;

/// An activation function as a layer. Formulas and sources are at the methods of [`Var`] of the same names; those with learned
/// parameters are layers of their own, [`Prelu`] and [`Maxout`].
///
/// Each has a name in kebab-case, with PyTorch's defaults for its parameters:
///
/// ```
/// use wgrad::nn::Activation;
/// assert_eq!("leaky-relu".parse::<Activation>()?, Activation::LeakyRelu(0.01));
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
}

impl FromStr for Activation {
    type Err = Error;

    /// By its name, with the usual parameters.
    fn from_str(name: &str) -> Result<Self, Error> {
        Activation::ALL
            .into_iter()
            .find(|a| a.name() == name)
            .ok_or_else(|| unknown("activation", name, &Activation::ALL.each_ref().map(Activation::name)))
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

/// ReLU with a learned slope below 0, of all channels or one of each: He et al., ICCV 2015, section 2.1. The parameter is `weight`,
/// `[1]` or `[channels]`, and starts as 0.25, as in PyTorch's `PReLU`.
#[derive(Debug, Clone)]
pub struct Prelu {
    path: String,
    slope: Param,
}

impl Prelu {
    /// One slope with `channels` = 1, else one for each channel of `[n, channels, ..]`.
    pub fn new(params: &Params, channels: usize) -> Self {
        Prelu {
            path: params.path().to_string(),
            slope: params.param("weight", [channels], Init::Constant(0.25)),
        }
    }
}

impl Layer for Prelu {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let g = x.graph();
        let _scope = g.scope_at(&self.path);
        let slope = g.param(&self.slope);
        let channels = slope.shape().elements();
        // Channels are the second axis, whatever follows it.
        let mut dims = vec![channels];
        if channels > 1 {
            dims.resize(x.shape().rank().saturating_sub(1).max(1), 1);
        }
        x.prelu(slope.reshape(&dims))
    }
}

/// The largest of several linear functions for each output: Goodfellow et al., "Maxout Networks", ICML 2013. Its [`Linear`] layer has
/// `pieces` rows of `weight` after each other for an output.
#[derive(Debug, Clone)]
pub struct Maxout {
    linear: Linear,
    pieces: usize,
}

impl Maxout {
    /// Takes `[.., inputs]` and gives `[.., outputs]`; two pieces make any convex function of one input's sign, five are usual.
    pub fn new(params: &Params, inputs: usize, outputs: usize, pieces: usize) -> Self {
        Maxout { linear: Linear::new(params, inputs, outputs * pieces), pieces }
    }
}

impl Layer for Maxout {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let y = self.linear.forward(x);
        let mut dims = y.shape().dims().to_vec();
        let last = dims.len();
        let Some(width) = dims.last_mut() else { return y };
        *width = width.checked_div(self.pieces).unwrap_or(0);
        dims.push(self.pieces);
        y.reshape(&dims).max(&[last])
    }
}

#[cfg(test)]
mod tests;
