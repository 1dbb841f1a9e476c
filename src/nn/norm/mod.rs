//! Normalizations of groups, planes, rows and neighbouring channels: the same in training and inference, as none of them
//! looks at other examples.

mod choice;
#[cfg(test)]
mod golden_tests;
mod weight;

pub use choice::Norm;
pub(super) use choice::NormLayer;
pub use weight::{SpectralNorm, WeightNorm, Weighted};

use super::Layer;
use crate::graph::{Init, Param, Params, Var};

/// What a normalization learns for each channel or column, after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Affine {
    /// A scale, `weight`, which starts as 1, and an offset, `bias`, which starts as 0.
    Full,
    /// A scale alone.
    Scale,
    /// Nothing.
    None,
}

/// What normalizations have in common.
#[derive(Debug, Clone)]
pub(super) struct Base {
    pub(super) path: String,
    weight: Option<Param>,
    bias: Option<Param>,
    pub(super) eps: f32,
}

impl Base {
    pub(super) fn new(params: &Params, n: usize, affine: Affine, eps: f32) -> Self {
        Base {
            path: params.path().to_string(),
            weight: (affine != Affine::None).then(|| params.param("weight", [n], Init::ONES)),
            bias: (affine == Affine::Full).then(|| params.param("bias", [n], Init::ZEROS)),
            eps,
        }
    }

    pub(super) fn weight(&self) -> Option<&Param> {
        self.weight.as_ref()
    }

    pub(super) fn bias(&self) -> Option<&Param> {
        self.bias.as_ref()
    }

    /// Weight and bias in a graph.
    fn of<'g>(&self, x: Var<'g>) -> [Option<Var<'g>>; 2] {
        [&self.weight, &self.bias].map(|param| param.as_ref().map(|param| x.graph().param(param)))
    }

    /// The same for an op that takes both: 1 and 0 of `n` in the place of what is not there.
    #[track_caller]
    pub(super) fn both<'g>(&self, x: Var<'g>, n: usize) -> [Var<'g>; 2] {
        let [weight, bias] = self.of(x);
        let full = |value: f32| x.graph().full([n], value);
        [weight.unwrap_or_else(|| full(1.0)), bias.unwrap_or_else(|| full(0.0))]
    }
}

/// The methods that all of them have.
macro_rules! base_methods {
    ($each:literal) => {
        /// What is added under the root, above 0.
        #[must_use]
        pub fn eps(mut self, eps: f32) -> Self {
            self.base.eps = eps;
            self
        }

        #[doc = concat!("The scale, `[", $each, "]`, if there is one.")]
        pub fn weight(&self) -> Option<&Param> {
            self.base.weight()
        }

        #[doc = concat!("The offset, `[", $each, "]`, if there is one.")]
        pub fn bias(&self) -> Option<&Param> {
            self.base.bias()
        }
    };
}

pub(super) use base_methods;

/// Normalizes groups of neighbouring channels of `[n, c, ..]` in each row, then scales and shifts channels (Wu and He, ECCV
/// 2018); see [`Var::group_norm`]. Parameters are named as in PyTorch: `weight` and `bias`, both `[c]`.
///
/// ```
/// use wgrad::nn::{GroupNorm, Layer};
/// use wgrad::{Device, Graph, Params};
/// let params = Params::seeded(1);
/// let norm = GroupNorm::new(&params.at("norm"), 2, 4);
/// let g = Graph::new();
/// g.output("y", norm.forward(g.input("x", [1, 4])));
/// let mut step = Device::cpu().compile(&g)?;
/// step.run_with(&[("x", (&[1.0, 3.0, 100.0, 300.0]).into())])?;
/// let y = step.values("y")?;
/// assert!(y.iter().zip([-1.0, 1.0, -1.0, 1.0]).all(|(y, e)| (y - e).abs() < 1e-4));
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct GroupNorm {
    base: Base,
    groups: usize,
}

impl GroupNorm {
    /// For so many channels in `groups` of equal size, with scale, offset and eps 1e-5.
    pub fn new(params: &Params, groups: usize, channels: usize) -> Self {
        Self::with(params, groups, channels, Affine::Full)
    }

    /// The same, and what is learned after it.
    pub fn with(params: &Params, groups: usize, channels: usize, affine: Affine) -> Self {
        GroupNorm { base: Base::new(params, channels, affine, 1e-5), groups }
    }

    base_methods!("c");
}

impl Layer for GroupNorm {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let _scope = x.graph().scope_at(&self.base.path);
        let [weight, bias] = self.base.of(x);
        x.group_norm(self.groups, weight, bias, self.base.eps)
    }
}

/// Normalizes each plane of `[n, c, ..]` (Ulyanov, Vedaldi and Lempitsky, arXiv:1607.08022); see [`Var::instance_norm`]. As
/// PyTorch's `InstanceNorm1d`, `2d` and `3d` without running statistics: inference goes by each plane's own, too.
#[derive(Debug, Clone)]
pub struct InstanceNorm {
    base: Base,
}

impl InstanceNorm {
    /// For so many channels, with eps 1e-5 and, as in PyTorch, nothing that is learned.
    pub fn new(params: &Params, channels: usize) -> Self {
        Self::with(params, channels, Affine::None)
    }

    /// The same, and what is learned after it: `weight` and `bias`, both `[c]`.
    pub fn with(params: &Params, channels: usize, affine: Affine) -> Self {
        InstanceNorm { base: Base::new(params, channels, affine, 1e-5) }
    }

    base_methods!("c");
}

impl Layer for InstanceNorm {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let _scope = x.graph().scope_at(&self.base.path);
        let [weight, bias] = self.base.of(x);
        x.instance_norm(weight, bias, self.base.eps)
    }
}

/// Divides rows by their root mean square, then scales columns (Zhang and Sennrich, NeurIPS 2019); see [`Var::rms_norm`].
/// `weight` is `[width]`, as in PyTorch's `RMSNorm`; a `bias`, which the paper leaves open, is there on demand.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    base: Base,
    /// Whether what is scaled are the channels of `[n, c, ..]`, and not columns.
    of_channels: bool,
}

impl RmsNorm {
    /// For rows of so many elements, `[.., width]`, with a scale; eps is 2^-23, the roundoff of `f32` that PyTorch takes.
    pub fn new(params: &Params, width: usize) -> Self {
        Self::with(params, width, Affine::Scale)
    }

    /// The same, and what is learned after it.
    pub fn with(params: &Params, width: usize, affine: Affine) -> Self {
        RmsNorm { base: Base::new(params, width, affine, f32::EPSILON), of_channels: false }
    }

    /// For `[n, c, ..]`: each row is divided by the root mean square of all its channels and positions, and channels are
    /// scaled, as group normalization does it with one group.
    pub fn of_channels(params: &Params, channels: usize, affine: Affine) -> Self {
        RmsNorm { base: Base::new(params, channels, affine, f32::EPSILON), of_channels: true }
    }

    base_methods!("width");
}

impl Layer for RmsNorm {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let _scope = x.graph().scope_at(&self.base.path);
        let [weight, bias] = self.base.of(x);
        if self.of_channels {
            return x.rms_norm_of_channels(weight, bias, self.base.eps);
        }
        let y = x.rms_norm(weight, self.base.eps);
        bias.map_or(y, |bias| y + bias)
    }
}

/// Divides each element by what its neighbours in other channels are like (Krizhevsky et al., NIPS 2012, section 3.3); see
/// [`Var::local_response_norm`]. Takes `[n, c, ..]` and learns nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LocalResponseNorm {
    size: usize,
    alpha: f32,
    beta: f32,
    k: f32,
}

impl LocalResponseNorm {
    /// Over `size` channels, with PyTorch's alpha 1e-4, beta 0.75 and k 1. The paper has 5 channels, alpha 5e-4 in these
    /// terms, beta 0.75 and k 2.
    pub fn new(size: usize) -> Self {
        LocalResponseNorm { size, alpha: 1e-4, beta: 0.75, k: 1.0 }
    }

    /// What the mean of the squares is multiplied by, 0 or more.
    #[must_use]
    pub fn alpha(mut self, alpha: f32) -> Self {
        self.alpha = alpha;
        self
    }

    /// The power.
    #[must_use]
    pub fn beta(mut self, beta: f32) -> Self {
        self.beta = beta;
        self
    }

    /// What is added, above 0.
    #[must_use]
    pub fn k(mut self, k: f32) -> Self {
        self.k = k;
        self
    }
}

impl Layer for LocalResponseNorm {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        x.local_response_norm(self.size, self.alpha, self.beta, self.k)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{BatchNorm1d, BatchNorm2d, LayerNorm, Linear, Sequential, Summary};
    use crate::{Device, Graph, Result};

    fn names(params: &Params) -> Vec<String> {
        params.trainable().iter().map(|p| p.name().to_string()).collect()
    }

    #[test]
    fn parameters_are_named_as_in_pytorch_and_there_on_demand() {
        for (affine, expected) in
            [(Affine::Full, &["a.weight", "a.bias"][..]), (Affine::Scale, &["a.weight"]), (Affine::None, &[])]
        {
            let stores = [(); 7].map(|()| Params::seeded(1));
            let at = stores.each_ref().map(|params| params.at("a"));
            GroupNorm::with(&at[0], 2, 6, affine);
            InstanceNorm::with(&at[1], 6, affine);
            RmsNorm::with(&at[2], 6, affine);
            RmsNorm::of_channels(&at[3], 6, affine);
            LayerNorm::with(&at[4], 6, affine);
            BatchNorm1d::with(&at[5], 6, affine);
            BatchNorm2d::with(&at[6], 6, affine);
            for params in stores {
                assert_eq!(names(&params), expected);
                assert!(params.all().iter().all(|p| p.shape().dims() == [6]));
            }
        }
        let params = Params::seeded(1);
        let group = GroupNorm::new(&params.at("g"), 2, 6);
        InstanceNorm::new(&params.at("i"), 6);
        RmsNorm::new(&params.at("r"), 6);
        assert_eq!(names(&params), ["g.weight", "g.bias", "r.weight"]);
        assert_eq!(group.weight().unwrap().name(), "g.weight");
    }

    /// Without a scale and an offset they are what they are with 1 and 0, and so are gradients.
    #[test]
    fn nothing_learned_is_one_and_zero() -> Result<()> {
        let run = |affine: Affine| -> Result<Vec<Vec<f32>>> {
            let params = Params::seeded(1);
            let (rows, batch) =
                (LayerNorm::with(&params.at("l"), 3, affine), BatchNorm1d::with(&params.at("b"), 4, affine));
            let g = Graph::new();
            let x = g.input("x", [2, 4, 3]);
            let y = batch.forward(rows.forward(x) + x);
            g.output("y", y);
            g.output("dx", g.gradients((y * x.square()).sum_all(), &[x])[0]);
            let mut step = Device::cpu().compile(&g)?;
            let values: Vec<f32> = (0..24).map(|i| (i as f32 * 0.7).sin()).collect();
            step.run_with(&[("x", (&values).into())])?;
            Ok(vec![step.values("y")?, step.values("dx")?])
        };
        let full = run(Affine::Full)?;
        assert_eq!((run(Affine::None)?, run(Affine::Scale)?), (full.clone(), full));
        Ok(())
    }

    #[test]
    fn what_is_learned_counts_and_inference_is_the_same() -> Result<()> {
        let params = Params::seeded(1);
        let layers: Vec<Box<dyn Layer>> = vec![
            Box::new(GroupNorm::new(&params.at("g"), 2, 4)),
            Box::new(InstanceNorm::with(&params.at("i"), 4, Affine::Full)),
            Box::new(RmsNorm::of_channels(&params.at("c"), 4, Affine::Full)),
            Box::new(RmsNorm::with(&params.at("r"), 3, Affine::Full)),
        ];
        let device = Device::cpu();
        let x: Vec<f32> = (0..24).map(|i| (i as f32 * 0.7).sin()).collect();
        let run = |training: bool| -> Result<Vec<Vec<f32>>> {
            let g = if training { Graph::new() } else { Graph::inference() };
            let x_in = g.input("x", [2, 4, 3]);
            for (i, layer) in layers.iter().enumerate() {
                g.output(&format!("y{i}"), layer.forward(x_in));
            }
            let mut step = device.compile(&g)?;
            step.run_with(&[("x", (&x).into())])?;
            (0..layers.len()).map(|i| step.values(&format!("y{i}"))).collect()
        };
        let before = run(true)?;
        assert_eq!(before, run(false)?);
        for param in params.all() {
            let n = param.shape().elements();
            let start = if param.name().ends_with("weight") { 2.0f32 } else { 5.0 };
            let values: Vec<f32> = (0..n).map(|i| start + i as f32).collect();
            device.write_param(&param, &values)?;
        }
        let after = run(true)?;
        for (layer, (before, after)) in before.iter().zip(&after).enumerate() {
            for (i, (b, a)) in before.iter().zip(after).enumerate() {
                let k = if layer == 3 { i % 3 } else { i / 3 % 4 } as f32;
                let expected = b * (2.0 + k) + 5.0 + k;
                assert!((a - expected).abs() < 1e-5, "{layer} [{i}]: {a}, not {expected}");
            }
        }
        // The mean square of a row is 1.
        assert!((before[2][..12].iter().map(|y| y * y).sum::<f32>() / 12.0 - 1.0).abs() < 1e-5);
        Ok(())
    }

    #[test]
    fn they_stand_in_rows_of_layers_and_name_themselves_in_errors() {
        let params = Params::seeded(1);
        let net = Sequential::new(&params.at("net")).linear(6, 8).with(|p| GroupNorm::new(p, 2, 8));
        let summary = Summary::of(&net, [5, 6]).unwrap();
        let row = &summary.layers[1];
        assert_eq!((row.name.as_str(), row.output.dims(), row.parameters), ("net.1", &[5, 8][..], 16));
        let g = Graph::new();
        RmsNorm::new(&params.at("norm"), 4).forward(g.input("x", [2, 5]));
        let text = g.error().unwrap().to_string();
        assert!(text.contains("5 columns need a value each") && text.contains("`norm`"), "{text}");
        let linear = WeightNorm::new(&params.at("w"), |p| Linear::new(p, 3, 2));
        assert_eq!(Summary::of(&linear, [5, 3]).unwrap().parameters, 3 * 2 + 2 + 2);
    }

    /// A store is saved, and another model goes on with it.
    #[test]
    fn they_are_saved_and_loaded() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.safetensors");
        let make = |seed| {
            let params = Params::seeded(seed);
            let net = Sequential::new(&params)
                .with(|p| SpectralNorm::new(p, |p| Linear::new(p, 3, 4)))
                .with(|p| GroupNorm::new(p, 2, 4))
                .with(|p| WeightNorm::new(p, |p| Linear::new(p, 4, 2)));
            (params, net)
        };
        let device = Device::cpu();
        let of = |net: &Sequential| -> Result<Vec<f32>> {
            let g = Graph::inference();
            g.output("y", net.forward(g.input("x", [2, 3])));
            let mut step = device.compile(&g)?;
            step.run_with(&[("x", (&[1.0, -2.0, 0.5, 0.25, 3.0, -1.0]).into())])?;
            step.values("y")
        };
        let ((params, net), (other_params, other)) = (make(1), make(2));
        device.save(&params.all(), &file)?;
        assert_ne!(of(&net)?, of(&other)?);
        device.load(&other_params.all(), &file)?;
        assert_eq!(of(&net)?, of(&other)?);
        Ok(())
    }
}
