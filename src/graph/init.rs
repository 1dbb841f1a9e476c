//! Initial values of parameters.

use std::str::FromStr;
use std::sync::Arc;

use ndarray::{Array2, ArrayView2, s};

use crate::error::Error;
use crate::names::{refuse_more, unknown, with_numbers};
use crate::rng::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// How a state gets its first value. Random ones depend on the seed and the name only, not on the
/// order in which layers are made.
///
/// A weight is `[out, in, ...]`: its fan in is `in` times the receptive field, the remaining extents, and its fan out is
/// `out` times it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Init {
    /// Every element the same.
    Constant(f32),
    /// Uniform in `[-bound, bound)`.
    Uniform(f32),
    /// Uniform in `[low, high)`.
    UniformIn(f32, f32),
    /// Normal with this standard deviation.
    Normal(f32),
    /// Normal with this standard deviation, drawn again where it is more than two of them from 0; Keras' `TruncatedNormal`.
    TruncatedNormal(f32),
    /// Uniform with bound √(6 / (fan_in + fan_out)): Glorot and Bengio, AISTATS 2010, equation 16.
    XavierUniform,
    /// Normal with variance 2 / (fan_in + fan_out): the normal form of the same.
    XavierNormal,
    /// Uniform with bound √(6 / fan_in): He et al., ICCV 2015, equation 10, for ReLU networks.
    HeUniform,
    /// Normal with variance 2 / fan_in: He et al., ICCV 2015, equation 10.
    HeNormal,
    /// Uniform with bound √(3 / fan_in): LeCun et al., "Efficient BackProp", 1998, section 4.6. For SELU networks, too.
    LeCunUniform,
    /// Normal with variance 1 / fan_in: the normal form of the same.
    LeCunNormal,
    /// Mean 0 and variance gain² / fan, of which Xavier's, He's and LeCun's are cases; Keras' `VarianceScaling` with a scale
    /// of gain². Gains of activations: [`Init::gain`].
    Scaled {
        /// What outputs are to be as large as, over what a linear layer makes of its inputs.
        gain: f32,
        /// What the variance is divided by.
        fan: Fan,
        /// How values are drawn.
        distribution: Distribution,
    },
    /// Uniform with bound 1 / √fan_in: what PyTorch's `Linear` uses for weight and bias.
    FanIn(usize),
    /// gain times a random matrix `[out, fan in]` with orthonormal rows, or columns where there are fewer of them: Saxe,
    /// McClelland and Ganguli, ICLR 2014, section 3. Takes some 4 · out · fan in · min(out, fan in) operations.
    Orthogonal(f32),
    /// gain where the output is the input of its number, 0 elsewhere: the identity, for convolutions in the middle of the
    /// kernel (PyTorch's `dirac_`).
    Identity(f32),
    /// These values.
    Values(Arc<Tensor>),
}

/// What the variance of [`Init::Scaled`] is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Fan {
    /// Inputs of an output: keeps the variance of activations forward.
    #[default]
    In,
    /// Outputs of an input: keeps the variance of gradients backward.
    Out,
    /// The mean of both.
    Average,
}

/// How [`Init::Scaled`] draws values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Distribution {
    /// Uniformly.
    #[default]
    Uniform,
    /// Normally.
    Normal,
    /// Normally, cut at two standard deviations; the variance is that after the cut, as in Keras.
    TruncatedNormal,
}

/// What follows a layer, for [`Init::gain`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Gain {
    /// Nothing, or a sigmoid: 1.
    Linear,
    /// tanh: 5/3.
    Tanh,
    /// ReLU: √2.
    Relu,
    /// Leaky ReLU of this slope: √(2 / (1 + slope²)).
    LeakyRelu(f32),
    /// SELU: 3/4.
    Selu,
}

/// Standard deviation of a standard normal variable that is cut at ±2: √(1 − 4 φ(2) / (2 Φ(2) − 1)).
const TRUNCATED: f64 = 0.879_625_661_034_239_8;

/// Columns that are made orthogonal together.
const PANEL: usize = 32;

impl Init {
    /// All 0.
    pub const ZEROS: Init = Init::Constant(0.0);
    /// All 1.
    pub const ONES: Init = Init::Constant(1.0);
    /// The names that initial values of weights are parsed from, each with what it takes after an equals sign.
    pub const NAMES: [(&'static str, &'static str); 12] = [
        ("xavier-uniform", ""),
        ("xavier-normal", ""),
        ("he-uniform", ""),
        ("he-normal", ""),
        ("lecun-uniform", ""),
        ("lecun-normal", ""),
        ("orthogonal", "gain, 1 unless given"),
        ("identity", "gain, 1 unless given"),
        ("uniform", "bound, 0.05 unless given"),
        ("normal", "standard deviation, 0.05 unless given"),
        ("truncated-normal", "standard deviation, 0.05 unless given"),
        ("constant", "value, 0 unless given"),
    ];

    /// What PyTorch's `calculate_gain` recommends before an activation: He et al., ICCV 2015, section 2.2, for ReLU and its
    /// leaky form.
    pub fn gain(of: Gain) -> f32 {
        match of {
            Gain::Linear => 1.0,
            Gain::Tanh => 5.0 / 3.0,
            Gain::Relu => std::f32::consts::SQRT_2,
            Gain::LeakyRelu(slope) => (2.0 / (1.0 + slope * slope)).sqrt(),
            Gain::Selu => 0.75,
        }
    }

    /// The first values of a float tensor.
    pub(super) fn values(&self, shape: &Shape, rng: &mut Rng) -> Vec<f32> {
        let n = shape.elements();
        let scaled = |scale: f64, fan: Fan, distribution: Distribution, rng: &mut Rng| {
            let fan = fan.of(shape);
            match distribution {
                Distribution::Uniform => uniform(n, (3.0 * scale / fan).sqrt(), rng),
                Distribution::Normal => normal(n, (scale / fan).sqrt(), rng),
                Distribution::TruncatedNormal => truncated(n, (scale / fan).sqrt() / TRUNCATED, rng),
            }
        };
        match self {
            Init::Constant(c) => vec![*c; n],
            Init::Uniform(bound) => uniform(n, f64::from(*bound), rng),
            Init::UniformIn(low, high) => {
                let (low, high) = (f64::from(*low), f64::from(*high));
                (0..n).map(|_| (low + (high - low) * rng.uniform()) as f32).collect()
            }
            Init::Normal(std) => normal(n, f64::from(*std), rng),
            Init::TruncatedNormal(std) => truncated(n, f64::from(*std), rng),
            Init::XavierUniform => scaled(1.0, Fan::Average, Distribution::Uniform, rng),
            Init::XavierNormal => scaled(1.0, Fan::Average, Distribution::Normal, rng),
            Init::HeUniform => scaled(2.0, Fan::In, Distribution::Uniform, rng),
            Init::HeNormal => scaled(2.0, Fan::In, Distribution::Normal, rng),
            Init::LeCunUniform => scaled(1.0, Fan::In, Distribution::Uniform, rng),
            Init::LeCunNormal => scaled(1.0, Fan::In, Distribution::Normal, rng),
            Init::Scaled { gain, fan, distribution } => {
                scaled(f64::from(*gain).powi(2), *fan, *distribution, rng)
            }
            Init::FanIn(fan) => uniform(n, 1.0 / (*fan.max(&1) as f64).sqrt(), rng),
            Init::Orthogonal(gain) => orthogonal(shape, f64::from(*gain), rng),
            Init::Identity(gain) => identity(shape, *gain),
            Init::Values(tensor) => tensor.as_f32().to_vec(),
        }
    }
}

impl FromStr for Init {
    type Err = Error;

    /// Those of weights by name, as in [`Init::NAMES`].
    fn from_str(text: &str) -> Result<Self, Error> {
        let (name, given) = with_numbers("initialization", text)?;
        let first = given.first().copied();
        let init = match name {
            "xavier-uniform" | "glorot-uniform" => Init::XavierUniform,
            "xavier-normal" | "glorot-normal" => Init::XavierNormal,
            "he-uniform" | "kaiming-uniform" => Init::HeUniform,
            "he-normal" | "kaiming-normal" => Init::HeNormal,
            "lecun-uniform" => Init::LeCunUniform,
            "lecun-normal" => Init::LeCunNormal,
            "orthogonal" => Init::Orthogonal(first.unwrap_or(1.0)),
            "identity" => Init::Identity(first.unwrap_or(1.0)),
            "uniform" => Init::Uniform(first.unwrap_or(0.05)),
            "normal" => Init::Normal(first.unwrap_or(0.05)),
            "truncated-normal" => Init::TruncatedNormal(first.unwrap_or(0.05)),
            "constant" => Init::Constant(first.unwrap_or(0.0)),
            _ => return Err(unknown("initialization", name, &Init::NAMES.map(|(name, _)| name))),
        };
        let takes = Init::NAMES.iter().any(|(known, takes)| *known == name && !takes.is_empty());
        refuse_more("initialization", name, usize::from(takes), &given)?;
        Ok(init)
    }
}

impl Fan {
    fn of(self, shape: &Shape) -> f64 {
        let field: usize = shape.dims().iter().skip(2).product();
        let [fan_out, fan_in] = [0, 1].map(|axis| (shape.dim(axis) * field).max(1) as f64);
        match self {
            Fan::In => fan_in,
            Fan::Out => fan_out,
            Fan::Average => (fan_in + fan_out) / 2.0,
        }
    }
}

fn uniform(n: usize, bound: f64, rng: &mut Rng) -> Vec<f32> {
    (0..n).map(|_| ((2.0 * rng.uniform() - 1.0) * bound) as f32).collect()
}

fn normal(n: usize, std: f64, rng: &mut Rng) -> Vec<f32> {
    (0..n).map(|_| (rng.normal() * std) as f32).collect()
}

fn truncated(n: usize, std: f64, rng: &mut Rng) -> Vec<f32> {
    let mut one = || std::iter::repeat_with(|| rng.normal()).find(|x| x.abs() <= 2.0);
    (0..n).map(|_| (one().unwrap_or_default() * std) as f32).collect()
}

/// Orthonormal columns that span those of a normal matrix, distributed uniformly (Haar): classical Gram-Schmidt done twice, panel
/// after panel, which is orthogonal to rounding (Giraud, Langou and Rozložník, 2005) and mostly products of matrices.
fn orthogonal(shape: &Shape, gain: f64, rng: &mut Rng) -> Vec<f32> {
    let rows = shape.dim(0);
    let columns = shape.elements().checked_div(rows).unwrap_or(0);
    let (long, short) = (rows.max(columns), rows.min(columns));
    let mut q = Array2::from_shape_simple_fn((long, short), || rng.normal());
    for first in (0..short).step_by(PANEL) {
        let last = (first + PANEL).min(short);
        let (before, mut rest) = q.view_mut().split_at(ndarray::Axis(1), first);
        let mut panel = rest.slice_mut(s![.., ..last - first]);
        for _ in 0..2 {
            let along = before.t().dot(&panel);
            panel -= &before.dot(&along);
        }
        for k in 0..last - first {
            let (done, mut rest) = panel.view_mut().split_at(ndarray::Axis(1), k);
            let mut column = rest.column_mut(0);
            for _ in 0..2 {
                let along = done.t().dot(&column);
                column -= &done.dot(&along);
            }
            let norm = column.dot(&column).sqrt();
            column /= norm;
        }
    }
    let all: ArrayView2<'_, f64> = if rows >= columns { q.view() } else { q.t() };
    all.iter().map(|x| (gain * x) as f32).collect()
}

fn identity(shape: &Shape, gain: f32) -> Vec<f32> {
    let mut values = vec![0.0; shape.elements()];
    let [rows, columns] = [0, 1].map(|axis| shape.dim(axis));
    let kernel = shape.dims().get(2..).unwrap_or(&[]);
    let field: usize = kernel.iter().product();
    let middle = kernel.iter().fold(0, |at, n| at * n + n / 2);
    for i in 0..rows.min(columns).min(values.len()) {
        values[(i * columns + i) * field + middle] = gain;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(init: &Init, dims: &[usize]) -> Vec<f32> {
        init.values(&Shape::new(dims).unwrap(), &mut Rng::new(7, "w"))
    }

    fn moments(values: &[f32]) -> [f64; 2] {
        let n = values.len() as f64;
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        [mean, values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n]
    }

    #[test]
    fn variances_are_those_of_the_formulas() {
        let scaled = |gain, fan, distribution| Init::Scaled { gain, fan, distribution };
        let cases = [
            (Init::Uniform(0.3), 0.03),
            (Init::UniformIn(1.0, 1.6), 0.03),
            (Init::Normal(0.2), 0.04),
            (Init::TruncatedNormal(0.2), 0.04 * TRUNCATED.powi(2)),
            (Init::XavierUniform, 2.0 / 1250.0),
            (Init::XavierNormal, 2.0 / 1250.0),
            (Init::HeUniform, 2.0 / 450.0),
            (Init::HeNormal, 2.0 / 450.0),
            (Init::LeCunUniform, 1.0 / 450.0),
            (Init::LeCunNormal, 1.0 / 450.0),
            (Init::FanIn(450), 1.0 / 1350.0),
            (scaled(3.0, Fan::In, Distribution::Uniform), 9.0 / 450.0),
            (scaled(3.0, Fan::Out, Distribution::Normal), 9.0 / 800.0),
            (scaled(0.5, Fan::Average, Distribution::TruncatedNormal), 0.25 / 625.0),
        ];
        for (init, expected) in cases {
            let [mean, variance] = moments(&of(&init, &[800, 450]));
            let centre = if init == Init::UniformIn(1.0, 1.6) { 1.3 } else { 0.0 };
            // 360,000 values: five standard errors.
            assert!((mean - centre).abs() < 0.0084 * expected.sqrt(), "{init:?}: mean {mean}");
            assert!(
                (variance / expected - 1.0).abs() < 0.012,
                "{init:?}: variance {variance}, not {expected}"
            );
        }
        // With a receptive field of 9, fans are nine times as large.
        assert_eq!(Fan::Average.of(&Shape::new(&[8, 4, 3, 3]).unwrap()), 54.0);
        assert_eq!(Fan::In.of(&Shape::new(&[5]).unwrap()), 1.0);
    }

    #[test]
    fn bounds_are_kept() {
        assert!(of(&Init::TruncatedNormal(0.5), &[9999]).iter().all(|x| x.abs() <= 1.0));
        assert!(of(&Init::UniformIn(-2.0, -1.0), &[9999]).iter().all(|x| (-2.0..=-1.0).contains(x)));
        // √(6 / (fan_in + fan_out)) to the bit.
        let bound = (6.0f64 / 30.0).sqrt();
        let mut rng = Rng::new(7, "w");
        let expected: Vec<f32> = (0..200).map(|_| ((2.0 * rng.uniform() - 1.0) * bound) as f32).collect();
        assert_eq!(of(&Init::XavierUniform, &[20, 10]), expected);
    }

    #[test]
    fn rows_or_columns_are_orthonormal() {
        for dims in [&[70, 40][..], &[40, 70], &[1, 5], &[33, 33], &[8, 4, 3, 3], &[0, 3]] {
            let values = of(&Init::Orthogonal(2.0), dims);
            let columns = values.len().checked_div(dims[0]).unwrap_or(0);
            let w = Array2::from_shape_vec((dims[0], columns), values).unwrap().mapv(f64::from);
            let product = if dims[0] <= columns { w.dot(&w.t()) } else { w.t().dot(&w) };
            for ((i, j), x) in product.indexed_iter() {
                let expected = if i == j { 4.0 } else { 0.0 };
                assert!((x - expected).abs() < 1e-5, "{dims:?}: {i}, {j}: {x}");
            }
        }
        // All of ±: a Q of a QR with a positive R has its signs at random.
        let diagonal: Vec<f32> = of(&Init::Orthogonal(1.0), &[64, 64]).into_iter().step_by(65).collect();
        let positive = diagonal.iter().filter(|x| **x > 0.0).count();
        assert!((15..50).contains(&positive), "{positive}");
    }

    #[test]
    fn an_identity_passes_its_inputs_on() {
        assert_eq!(of(&Init::Identity(2.0), &[2, 3]), [2.0, 0.0, 0.0, 0.0, 2.0, 0.0]);
        assert_eq!(of(&Init::Identity(1.0), &[2, 1, 3]), [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
        let kernel = of(&Init::Identity(1.0), &[2, 2, 3, 3]);
        let ones: Vec<usize> = (0..36).filter(|&i| kernel[i] == 1.0).collect();
        assert_eq!(ones, [4, 31]);
        assert!(of(&Init::Identity(1.0), &[0, 4]).is_empty());
        assert_eq!(of(&Init::Identity(3.0), &[1]), [3.0]);
    }

    #[test]
    fn gains_are_pytorchs() {
        let gains = [Gain::Linear, Gain::Tanh, Gain::Relu, Gain::LeakyRelu(0.2), Gain::Selu].map(Init::gain);
        let expected = [1.0, 1.666_666_6, 2.0f32.sqrt(), 1.386_750_5, 0.75];
        assert!(gains.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{gains:?}");
    }
}
