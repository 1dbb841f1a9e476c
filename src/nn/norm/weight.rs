//! Normalizations of a layer's weight.

use std::sync::Arc;

use crate::graph::{Init, Param, Params, Var};
use crate::nn::{Conv, Layer, Linear};
use crate::tensor::{Data, Tensor};

/// A layer that multiplies by a weight, whose first axis is outputs: [`Linear`] and [`Conv`] along any axes.
pub trait Weighted: Layer {
    /// The weight, `[out, ..]`.
    fn weight(&self) -> &Param;

    /// The bias, if there is one.
    fn bias(&self) -> Option<&Param>;

    /// As [`Layer::forward`], with another weight of the same shape.
    fn forward_with<'g>(&self, x: Var<'g>, weight: Var<'g>) -> Var<'g>;
}

macro_rules! weighted {
    ($layer:ty $(, $($parameter:tt)*)?) => {
        impl<$($($parameter)*)?> Weighted for $layer {
            fn weight(&self) -> &Param {
                Self::weight(self)
            }

            fn bias(&self) -> Option<&Param> {
                Self::bias(self)
            }

            #[track_caller]
            fn forward_with<'g>(&self, x: Var<'g>, weight: Var<'g>) -> Var<'g> {
                self.by(x, weight)
            }
        }
    };
}

weighted!(Linear);
weighted!(Conv<AXES>, const AXES: usize);

/// The first values of a weight as `rows` rows, in f64.
fn initial(weight: &Param) -> (usize, Vec<f64>) {
    let values = match weight.initial() {
        Data::F32(values) => values.iter().map(|&x| f64::from(x)).collect(),
        _ => Vec::new(),
    };
    (weight.shape().dim(0).max(1), values)
}

/// Values that a state starts with.
fn values(shape: &[usize], values: &[f64]) -> Init {
    let values: Vec<f32> = values.iter().map(|&x| x as f32).collect();
    // A weight that is refused has no values.
    Tensor::new(shape, values).map_or(Init::ONES, |tensor| Init::Values(Arc::new(tensor)))
}

/// The same divided by its length, which is at least `eps`.
fn unit(v: Vec<f64>, eps: f64) -> Vec<f64> {
    let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt().max(eps);
    v.into_iter().map(|x| x / norm).collect()
}

/// A layer whose weight is length times direction for each output, both learned (Salimans and Kingma, NIPS 2016); see
/// [`Var::weight_norm`].
///
/// Parameters are named as PyTorch's `weight_norm` has them: `weight_v`, the weight of the layer as it was made, and `weight_g`
/// `[out, 1, ..]`, the norms of its rows, so that the layer starts as it would without.
///
/// ```
/// use wgrad::nn::{Conv2d, Layer, WeightNorm};
/// use wgrad::{Graph, Params};
/// let params = Params::seeded(1);
/// let conv = WeightNorm::new(&params.at("conv"), |p| Conv2d::new(p, 3, 8, [3, 3]));
/// let g = Graph::new();
/// assert_eq!(conv.forward(g.input("x", [2, 3, 6, 6])).shape().dims(), [2, 8, 4, 4]);
/// let names: Vec<String> = params.trainable().iter().map(|p| p.name().to_string()).collect();
/// assert_eq!(names, ["conv.weight_v", "conv.bias", "conv.weight_g"]);
/// ```
#[derive(Debug, Clone)]
pub struct WeightNorm<L> {
    path: String,
    layer: L,
    magnitude: Param,
}

impl<L: Weighted> WeightNorm<L> {
    /// Around the layer that `make` makes of the parameters it is given, which call its weight `weight_v`.
    pub fn new(params: &Params, make: impl FnOnce(&Params) -> L) -> Self {
        let layer = make(&params.renaming("weight", "weight_v"));
        let weight = layer.weight();
        let (rows, elements) = initial(weight);
        let each = (elements.len() / rows).max(1);
        let norms: Vec<f64> =
            elements.chunks(each).map(|row| row.iter().map(|x| x * x).sum::<f64>().sqrt()).collect();
        let mut shape = vec![1; weight.shape().rank().max(1)];
        shape[0] = rows;
        let magnitude = params.param("weight_g", &shape[..], values(&shape, &norms));
        WeightNorm { path: params.path().to_string(), layer, magnitude }
    }

    /// The layer inside, whose weight is the direction.
    pub fn layer(&self) -> &L {
        &self.layer
    }

    /// The lengths, `[out, 1, ..]`.
    pub fn magnitude(&self) -> &Param {
        &self.magnitude
    }
}

impl<L: Weighted> Layer for WeightNorm<L> {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let g = x.graph();
        let weight = {
            let _scope = g.scope_at(&self.path);
            g.param(self.layer.weight()).weight_norm(g.param(&self.magnitude))
        };
        self.layer.forward_with(x, weight)
    }
}

/// Steps of power iteration before the first one of training, as PyTorch's parametrization takes them.
const FIRST_STEPS: usize = 15;

/// A layer whose weight is divided by its largest singular value, so that it stretches nothing (Miyato et al., ICLR 2018); see
/// [`Var::spectral_norm`]. A convolution's weight is taken as a matrix `[out, in · kh · kw]`.
///
/// The singular vectors are found by power iteration, of which every forward pass of training takes a step
/// ([`Var::power_iteration`]), and are constants to gradients. In a graph made with [`crate::Graph::inference`] they stay as they
/// are. They start with 15 steps of random ones. Names are those of PyTorch's `spectral_norm`: the parameter `weight_orig` and
/// the states `weight_u` `[out]` and `weight_v` `[in]`.
#[derive(Debug, Clone)]
pub struct SpectralNorm<L> {
    path: String,
    layer: L,
    u: Param,
    v: Param,
    steps: usize,
    eps: f32,
}

impl<L: Weighted> SpectralNorm<L> {
    /// Around the layer that `make` makes of the parameters it is given, which call its weight `weight_orig`; with one step
    /// of power iteration in a forward pass, and eps 1e-12.
    pub fn new(params: &Params, make: impl FnOnce(&Params) -> L) -> Self {
        let layer = make(&params.renaming("weight", "weight_orig"));
        let (rows, weight) = initial(layer.weight());
        let columns = (weight.len() / rows).max(1);
        let eps = 1e-12f32;
        let at = params.at("weight_u");
        let mut rng = crate::Rng::new(params.seed(), at.path());
        let mut u = unit((0..rows).map(|_| rng.normal()).collect(), eps.into());
        let mut v = vec![0.0; columns];
        for _ in 0..FIRST_STEPS {
            let column = |k: usize| weight.chunks(columns).zip(&u).map(|(row, u)| row[k] * u).sum::<f64>();
            v = unit((0..columns).map(column).collect(), eps.into());
            let row = |row: &[f64]| row.iter().zip(&v).map(|(w, v)| w * v).sum::<f64>();
            u = unit(weight.chunks(columns).map(row).collect(), eps.into());
        }
        SpectralNorm {
            path: params.path().to_string(),
            u: params.state("weight_u", [rows], values(&[rows], &u)),
            v: params.state("weight_v", [columns], values(&[columns], &v)),
            layer,
            steps: 1,
            eps,
        }
    }

    /// Steps of power iteration that a forward pass of training takes, at least one.
    #[must_use]
    pub fn steps(mut self, steps: usize) -> Self {
        self.steps = steps;
        self
    }

    /// The least that vectors are divided by, above 0.
    #[must_use]
    pub fn eps(mut self, eps: f32) -> Self {
        self.eps = eps;
        self
    }

    /// The layer inside, with the weight that is divided.
    pub fn layer(&self) -> &L {
        &self.layer
    }

    /// The left and the right singular vector, `[out]` and `[in]`.
    pub fn vectors(&self) -> [&Param; 2] {
        [&self.u, &self.v]
    }
}

impl<L: Weighted> Layer for SpectralNorm<L> {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let g = x.graph();
        let weight = {
            let _scope = g.scope_at(&self.path);
            let weight = g.param(self.layer.weight());
            let [mut u, mut v] = [&self.u, &self.v].map(|state| g.param(state));
            if g.is_training() {
                if self.steps == 0 {
                    return g.refuse("spectral_norm", "takes a step of power iteration or more".into(), x);
                }
                let (left, mut pair) = (u, [u, v]);
                for _ in 0..self.steps {
                    pair = weight.power_iteration(pair[0], self.eps);
                }
                // Of the states no gradient flows back into what they were computed from.
                (u, v) = (left.assign(pair[0]), v.assign(pair[1]));
            }
            weight.spectral_norm(u, v)
        };
        self.layer.forward_with(x, weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::{Optimizer, Sgd};
    use crate::{Device, Graph, Result};

    fn read(device: &Device, param: &Param) -> Vec<f32> {
        device.read_param(param).unwrap().as_f32().to_vec()
    }

    #[test]
    fn a_layer_with_normalized_weights_starts_as_it_would_without() -> Result<()> {
        let (plain, normed) = (Params::seeded(5), Params::seeded(5));
        let one = Linear::with(&plain.at("fc"), 3, 2, false, Init::UniformIn(0.5, 1.0));
        let other = WeightNorm::new(&normed.at("fc"), |p| {
            Linear::with(p, 3, 2, false, Init::Values(Arc::new(one.weight_tensor())))
        });
        let g = Graph::new();
        let x = g.input("x", [1, 3]);
        g.output("plain", one.forward(x));
        g.output("normed", other.forward(x));
        let device = Device::cpu();
        let mut step = device.compile(&g)?;
        step.run_with(&[("x", (&[1.0, -0.5, 2.0]).into())])?;
        let (plain, normed) = (step.values("plain")?, step.values("normed")?);
        assert!(plain.iter().zip(&normed).all(|(a, b)| (a - b).abs() < 1e-6), "{plain:?} {normed:?}");
        assert_eq!(other.magnitude().shape().dims(), [2, 1]);
        Ok(())
    }

    impl Linear {
        fn weight_tensor(&self) -> Tensor {
            let Data::F32(values) = self.weight().initial() else { panic!() };
            Tensor::new(self.weight().shape(), values).unwrap()
        }
    }

    #[test]
    fn a_step_of_power_iteration_is_taken_in_training_alone() -> Result<()> {
        let params = Params::seeded(2);
        let layer = SpectralNorm::new(&params.at("conv"), |p| Conv::new(p, 2, 3, [2, 2]));
        let names: Vec<String> = params.all().iter().map(|p| p.name().to_string()).collect();
        assert_eq!(names, ["conv.weight_orig", "conv.bias", "conv.weight_u", "conv.weight_v"]);
        assert_eq!(params.trainable().len(), 2);
        let device = Device::cpu();
        let [u, v] = layer.vectors();
        let x: Vec<f32> = (0..18).map(|i| (i as f32).cos()).collect();
        // Far from a singular vector.
        device.write_param(u, &[1.0, 0.0, 0.0])?;
        let stretch = |training: bool| -> Result<f32> {
            let g = if training { Graph::new() } else { Graph::inference() };
            g.output("y", layer.forward(g.input("x", [1, 2, 3, 3])));
            let mut step = device.compile(&g)?;
            step.run_with(&[("x", (&x).into())])?;
            let (u, v, w) = (read(&device, u), read(&device, v), read(&device, layer.layer().weight()));
            Ok(w.chunks(8).zip(&u).map(|(r, u)| r.iter().zip(&v).map(|(w, v)| w * v).sum::<f32>() * u).sum())
        };
        let (_, before) = (stretch(false)?, read(&device, u));
        assert_eq!(before, [1.0, 0.0, 0.0]);
        let first = stretch(true)?;
        assert_ne!(read(&device, u), before);
        let mut last = first;
        for _ in 0..60 {
            let next = stretch(true)?;
            assert!(next >= last - 1e-6, "{next} after {last}");
            last = next;
        }
        assert!(last > first, "{first} {last}");
        // What the layer starts with is nearly there.
        let fresh = Device::cpu();
        let [u, v] = [u, v].map(|p| read(&fresh, p));
        let w = read(&fresh, layer.layer().weight());
        let start: f32 =
            w.chunks(8).zip(&u).map(|(r, u)| r.iter().zip(&v).map(|(w, v)| w * v).sum::<f32>() * u).sum();
        assert!((start - last).abs() < 0.02 * last, "{start} {last}");
        Ok(())
    }

    #[test]
    fn both_are_trained_and_the_vectors_are_constants() -> Result<()> {
        let params = Params::seeded(3);
        let first = SpectralNorm::new(&params.at("a"), |p| Linear::new(p, 4, 3)).steps(2);
        let second = WeightNorm::new(&params.at("b"), |p| Linear::new(p, 3, 2));
        let sgd = Sgd::new(&params, 0.1);
        let g = Graph::new();
        let loss = second.forward(first.forward(g.input("x", [3, 4])).tanh()).square().mean_all();
        sgd.minimize(loss, &params.trainable());
        g.output("loss", loss);
        let device = Device::cpu();
        let mut step = device.compile(&g)?;
        let x: Vec<f32> = (0..12).map(|i| (i as f32 * 1.3).sin()).collect();
        let mut losses = Vec::new();
        for _ in 0..40 {
            step.run_with(&[("x", (&x).into())])?;
            losses.push(step.scalar("loss")?);
        }
        assert!(losses[39] < 0.3 * losses[0], "{losses:?}");
        // u and v stay of length 1: nothing updates them but the iteration.
        for vector in first.vectors() {
            let norm: f32 = read(&device, vector).iter().map(|x| x * x).sum();
            assert!((norm - 1.0).abs() < 1e-5, "{norm}");
        }
        let g = Graph::new();
        first.clone().steps(0).forward(g.input("x", [3, 4]));
        assert!(g.error().unwrap().to_string().contains("a step of power iteration or more"));
        Ok(())
    }
}
