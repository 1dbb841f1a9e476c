//! Activation functions as layers.

use std::str::FromStr;

use super::{Layer, Linear};
use crate::error::Error;
use crate::graph::{Init, Param, Params, Var};

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
        Activation::ALL.into_iter().find(|a| a.name() == name).ok_or_else(|| {
            let all: Vec<&str> = Activation::ALL.iter().map(Activation::name).collect();
            Error::Invalid(format!("there is no activation `{name}`; there are {}", all.join(", ")))
        })
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
mod tests {
    use super::*;
    use crate::{Device, Graph};

    /// Values, and derivatives of their sum, each times its weight, on a device.
    fn at(
        device: &Device,
        shape: &[usize],
        x: &[f32],
        weigh: bool,
        f: &dyn for<'g> Fn(Var<'g>) -> Var<'g>,
    ) -> [Vec<f32>; 2] {
        let g = Graph::new();
        let input = g.input("x", shape);
        let y = f(input);
        let weight = |i: usize| if weigh { i as f32 + 1.0 } else { 1.0 };
        let weights: Vec<f32> = (0..y.shape().elements()).map(weight).collect();
        let weights = g.constant(crate::Tensor::new(y.shape(), weights).unwrap());
        g.output("y", y);
        g.output("d", g.gradients((y * weights).sum_all(), &[input])[0]);
        let mut step = device.compile(&g).unwrap();
        step.run_with(&[("x", x.into())]).unwrap();
        [step.values("y").unwrap(), step.values("d").unwrap()]
    }

    fn devices() -> Vec<Device> {
        let mut devices = vec![Device::reference(), Device::cpu()];
        #[cfg(feature = "gpu")]
        devices.extend(crate::gpu::adapters_named("").unwrap_or_default().into_iter().map(Device::from));
        devices
    }

    /// `tests/golden/activations.csv` is PyTorch's.
    #[test]
    fn values_and_derivatives_are_pytorchs() {
        let rows = include_str!("../../tests/golden/activations.csv").lines().filter(|l| !l.starts_with('#'));
        let mut seen = vec!["binary-step", "hardmax"];
        for row in rows {
            let (name, numbers) = row.split_once(';').unwrap();
            let activation: Activation = name.parse().unwrap();
            seen.push(activation.name());
            let numbers: Vec<Vec<f64>> =
                numbers.split(';').map(|n| n.split(' ').map(|x| x.parse().unwrap()).collect()).collect();
            let x: Vec<f32> = numbers[0].iter().map(|&x| x as f32).collect();
            let pairs = ["glu", "swiglu", "softmax", "log-softmax"].contains(&name);
            let least = if pairs { 0.05 * x.len() as f64 } else { 0.05 };
            let shape = if pairs { vec![x.len() / 2, 2] } else { vec![x.len()] };
            for device in devices() {
                let found = at(&device, &shape, &x, pairs, &|x| activation.forward(x));
                for (which, (found, expected)) in ["y", "dy/dx"].iter().zip(found.iter().zip(&numbers[1..])) {
                    assert_eq!(found.len(), expected.len(), "{name}");
                    for (i, (y, e)) in found.iter().zip(expected).enumerate() {
                        // Where a derivative is a difference that vanishes, what is left is rounding: of 1, or of the
                        // largest weight.
                        let error = (f64::from(*y) - e).abs();
                        assert!(
                            error <= 3e-6 * e.abs().max(least),
                            "{name}: {which} at {} is {y}, not {e}, on {device:?}",
                            x[i * x.len() / found.len()]
                        );
                    }
                }
            }
        }
        let mut all = Activation::ALL.map(|a| a.name()).to_vec();
        all.sort_unstable();
        seen.sort_unstable();
        assert_eq!(seen, all, "each has its golden values");
    }

    #[test]
    fn tails_keep_their_digits() {
        let cases: [(&dyn for<'g> Fn(Var<'g>) -> Var<'g>, f32, f64); 8] = [
            (&|x| x.softplus(1.0, 20.0), -20.0, 2.061_153_620_314_381e-9),
            (&|x| x.log_sigmoid(), 20.0, -2.061_153_620_314_381e-9),
            (&|x| x.gelu(), -5.0, -1.433_257_850_967_331_2e-6),
            (&|x| x.gelu(), -10.0, -7.619_853_024_160_527e-23),
            (&|x| x.mish(), -20.0, -4.122_307_244_877_113e-8),
            (&|x| x.tanh_shrink(), 0.001, 3.333_332_000_000_54e-10),
            (&|x| x.elu(1.0), -1e-6, -9.999_995_000_001_667e-7),
            (&|x| x.gelu_tanh(), -3.0, -0.003_637_392_081_773_022_6),
        ];
        for device in devices() {
            for (i, (f, x, expected)) in cases.iter().enumerate() {
                let y = f64::from(at(&device, &[1], &[*x], false, *f)[0][0]);
                assert!((y / expected - 1.0).abs() < 3e-5, "{i}: {y}, not {expected}, on {device:?}");
            }
        }
    }

    #[test]
    fn at_kinks_derivatives_are_pytorchs() {
        let cases: [(Activation, &[f32], &[f32]); 9] = [
            (Activation::Relu, &[0.0, -0.0], &[0.0, 0.0]),
            (Activation::Relu6, &[0.0, 6.0, 3.0], &[0.0, 0.0, 1.0]),
            (Activation::HardTanh(-1.0, 1.0), &[-1.0, 1.0], &[0.0, 0.0]),
            (Activation::HardSigmoid, &[-3.0, 3.0], &[0.0, 0.0]),
            (Activation::HardShrink(0.5), &[-0.5, 0.5], &[0.0, 0.0]),
            (Activation::SoftShrink(0.5), &[-0.5, 0.5], &[0.0, 0.0]),
            (Activation::LeakyRelu(0.25), &[0.0], &[0.25]),
            (Activation::Elu(2.0), &[0.0], &[2.0]),
            (Activation::BinaryStep, &[-1.0, 0.0, 2.0], &[0.0, 0.0, 0.0]),
        ];
        for (activation, x, expected) in cases {
            let found = at(&Device::cpu(), &[x.len()], x, false, &|x| activation.forward(x));
            assert_eq!(found[1], expected, "{activation:?}");
        }
    }

    #[test]
    fn decisions_name_the_largest() {
        let device = Device::cpu();
        let hard =
            |axis: usize| at(&device, &[2, 3], &[1.0, 5.0, 5.0, 2.0, 0.0, 7.0], false, &|x| x.hardmax(axis));
        assert_eq!(hard(1)[0], [0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(hard(0)[0], [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]);
        assert_eq!(hard(0)[1], [0.0; 6]);
        let cold = at(&device, &[2], &[1.0, 2.0], false, &|x| x.softmax_at(0, 0.25));
        assert!((cold[0][1] - 1.0 / (1.0 + (-4.0f32).exp())).abs() < 1e-6);
        let error = "rellu".parse::<Activation>().unwrap_err().to_string();
        assert!(error.contains("no activation `rellu`") && error.contains("hard-swish"), "{error}");
    }

    #[test]
    fn slopes_and_pieces_are_learned() {
        let params = Params::seeded(3);
        let (one, each) = (Prelu::new(&params.at("one"), 1), Prelu::new(&params.at("each"), 2));
        let maxout = Maxout::new(&params.at("maxout"), 3, 2, 4);
        let g = Graph::new();
        let x = g.input("x", [1, 2, 2]);
        let loss = (each.forward(one.forward(x))
            * g.constant(crate::Tensor::new([1, 2, 2], vec![1.0, 2.0, 3.0, 4.0]).unwrap()))
        .sum_all();
        let slopes = [g.param(&one.slope), g.param(&each.slope)];
        for (i, d) in g.gradients(loss, &slopes).into_iter().enumerate() {
            g.output(&format!("d{i}"), d);
        }
        let z = g.input("z", [5, 3]);
        let y = maxout.forward(z);
        assert_eq!(y.shape().dims(), [5, 2]);
        g.output("y", y);
        let parts = maxout.linear.forward(z);
        g.output("parts", parts);
        let mut step = Device::cpu().compile(&g).unwrap();
        let z: Vec<f32> = (0..15).map(|i| (i as f32 * 0.7).sin()).collect();
        step.run_with(&[("x", (&[-1.0, 2.0, -3.0, -4.0]).into()), ("z", (&z).into())]).unwrap();
        // Below 0 both slopes count: y = 0.25 · 0.25 x.
        assert_eq!(step.values("d0").unwrap(), [0.25 * (-1.0 - 9.0 - 16.0)]);
        assert_eq!(step.values("d1").unwrap(), [-0.25, -6.25]);
        let (y, parts) = (step.values("y").unwrap(), step.values("parts").unwrap());
        for (y, parts) in y.iter().zip(parts.chunks(4)) {
            assert_eq!(*y, parts.iter().copied().fold(f32::MIN, f32::max));
        }
    }
}
