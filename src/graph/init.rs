//! Initial values of parameters.

use std::sync::Arc;

use crate::rng::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// How a state gets its first value. Random ones depend on the seed and the name only, not on the
/// order in which layers are made.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Init {
    /// Every element the same.
    Constant(f32),
    /// Uniform in `[-bound, bound)`.
    Uniform(f32),
    /// Normal with this standard deviation.
    Normal(f32),
    /// Uniform with bound √(6 / (fan_in + fan_out)): Glorot and Bengio, AISTATS 2010, equation 16.
    XavierUniform,
    /// Normal with variance 2 / (fan_in + fan_out): the normal form of the same.
    XavierNormal,
    /// Uniform with bound √(6 / fan_in): He et al., ICCV 2015, equation 10, for ReLU networks.
    HeUniform,
    /// Normal with variance 2 / fan_in: He et al., ICCV 2015, equation 10.
    HeNormal,
    /// Uniform with bound 1 / √fan_in: what PyTorch's `Linear` uses for weight and bias.
    FanIn(usize),
    /// These values.
    Values(Arc<Tensor>),
}

impl Init {
    /// The first values of a float tensor. `[out, in, ...]`: fan_in is `in` times the receptive field,
    /// fan_out is `out` times it.
    pub(super) fn values(&self, shape: &Shape, rng: &mut Rng) -> Vec<f32> {
        let field: usize = shape.dims().iter().skip(2).product();
        let fan_in = (shape.dim(1) * field).max(1) as f64;
        let fan_out = (shape.dim(0) * field).max(1) as f64;
        let n = shape.elements();
        let mut uniform =
            |bound: f64| (0..n).map(|_| ((2.0 * rng.uniform() - 1.0) * bound) as f32).collect::<Vec<f32>>();
        match self {
            Init::Constant(c) => vec![*c; n],
            Init::Uniform(bound) => uniform(f64::from(*bound)),
            Init::XavierUniform => uniform((6.0 / (fan_in + fan_out)).sqrt()),
            Init::HeUniform => uniform((6.0 / fan_in).sqrt()),
            Init::FanIn(fan) => uniform(1.0 / (*fan.max(&1) as f64).sqrt()),
            Init::Normal(std) => normal(n, f64::from(*std), rng),
            Init::XavierNormal => normal(n, (2.0 / (fan_in + fan_out)).sqrt(), rng),
            Init::HeNormal => normal(n, (2.0 / fan_in).sqrt(), rng),
            Init::Values(tensor) => tensor.as_f32().to_vec(),
        }
    }
}

fn normal(n: usize, std: f64, rng: &mut Rng) -> Vec<f32> {
    (0..n).map(|_| (rng.normal() * std) as f32).collect()
}
