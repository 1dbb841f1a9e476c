//! Convolutions and transposed convolutions, along any axes.

use super::Layer;
use crate::graph::{Init, Param, Params, Var};
use crate::ops::{ConvOptions, ConvTransposeOptions, Kernels};

/// Convolution along `AXES` axes, with `weight` `[out, in / groups, kernel's extents]` and `bias` `[out]` as in PyTorch. Takes
/// `[n, in, ..]`, gives `[n, out, ..]`.
#[derive(Debug, Clone)]
pub struct Conv<const AXES: usize> {
    path: String,
    weight: Param,
    bias: Option<Param>,
    options: ConvOptions<AXES>,
}

/// Convolution of sequences `[n, in, l]`, with kernels `[length]`; see [`Var::conv1d`].
///
/// ```
/// use wgrad::nn::{Conv1d, Conv1dOptions, Layer, Padding};
/// use wgrad::{Graph, Params};
/// let params = Params::seeded(1);
/// let causal = Conv1dOptions { padding: Padding::Explicit([[4, 0]]), dilation: [2], ..Default::default() };
/// let conv = Conv1d::with(&params.at("conv"), 3, 16, [3], causal, true);
/// let g = Graph::new();
/// assert_eq!(conv.forward(g.input("x", [8, 3, 32])).shape().dims(), [8, 16, 32]);
/// ```
pub type Conv1d = Conv<1>;

/// Convolution of images `[n, in, h, w]`, with kernels `[height, width]`; see [`Var::conv2d`].
///
/// ```
/// use wgrad::nn::{Conv2d, Conv2dOptions, Layer, Padding};
/// use wgrad::{Graph, Params};
/// let params = Params::seeded(1);
/// let halve = Conv2dOptions { stride: [2, 2], padding: Padding::SameUpper, ..Default::default() };
/// let conv = Conv2d::with(&params.at("conv"), 3, 16, [3, 3], halve, true);
/// let g = Graph::new();
/// assert_eq!(conv.forward(g.input("x", [8, 3, 32, 32])).shape().dims(), [8, 16, 16, 16]);
/// ```
pub type Conv2d = Conv<2>;

/// Convolution of volumes `[n, in, d, h, w]`, with kernels `[depth, height, width]`; see [`Var::conv3d`], also for its memory.
///
/// ```
/// use wgrad::nn::{Conv3d, Layer};
/// use wgrad::{Graph, Params};
/// let params = Params::seeded(1);
/// let conv = Conv3d::new(&params.at("conv"), 1, 4, [3, 3, 3]);
/// let g = Graph::new();
/// assert_eq!(conv.forward(g.input("x", [2, 1, 8, 9, 10])).shape().dims(), [2, 4, 6, 7, 8]);
/// ```
pub type Conv3d = Conv<3>;

impl<const AXES: usize> Conv<AXES> {
    /// From `inputs` to `outputs` channels by kernels of these extents, the innermost one last, with bias, stride 1 and no
    /// padding.
    pub fn new(params: &Params, inputs: usize, outputs: usize, kernel: [usize; AXES]) -> Self {
        Self::with(params, inputs, outputs, kernel, ConvOptions::default(), true)
    }

    /// With options, and with or without bias. Both start as in PyTorch, uniform within
    /// 1 / √(inputs / groups · elements of a kernel): He's uniform initialization with a = √5.
    pub fn with(
        params: &Params,
        inputs: usize,
        outputs: usize,
        kernel: [usize; AXES],
        options: ConvOptions<AXES>,
        bias: bool,
    ) -> Self {
        let fan = inputs / options.groups.max(1) * elements(&kernel);
        Self::with_init(params, inputs, outputs, kernel, options, bias, Init::FanIn(fan))
    }

    /// The same with the weight initialized by `init`.
    pub fn with_init(
        params: &Params,
        inputs: usize,
        outputs: usize,
        kernel: [usize; AXES],
        options: ConvOptions<AXES>,
        bias: bool,
        init: Init,
    ) -> Self {
        // A number of groups that does not fit is refused when the layer is recorded.
        let each = inputs / options.groups.max(1);
        let start = Init::FanIn(each * elements(&kernel));
        Conv {
            path: params.path().to_string(),
            weight: params.param("weight", &[&[outputs, each][..], &kernel].concat(), init),
            bias: bias.then(|| params.param("bias", [outputs], start)),
            options,
        }
    }

    /// The weight, `[out, in / groups, kernel's extents]`.
    pub fn weight(&self) -> &Param {
        &self.weight
    }

    /// The bias, `[out]`.
    pub fn bias(&self) -> Option<&Param> {
        self.bias.as_ref()
    }

    /// Stride, padding, dilation and groups.
    pub fn options(&self) -> &ConvOptions<AXES> {
        &self.options
    }
}

/// Elements of a kernel. One that no tensor can have is refused when its weight is used.
fn elements(kernel: &[usize]) -> usize {
    kernel.iter().fold(1, |product, &extent| product.saturating_mul(extent))
}

impl<const AXES: usize> Conv<AXES> {
    /// With this weight instead of its own.
    #[track_caller]
    pub(super) fn by<'g>(&self, x: Var<'g>, weight: Var<'g>) -> Var<'g> {
        let g = x.graph();
        let _scope = g.scope_at(&self.path);
        x.convolve(weight, self.bias.as_ref().map(|b| g.param(b)), &self.options, Kernels::Best)
    }
}

impl<const AXES: usize> Layer for Conv<AXES> {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        self.by(x, x.graph().param(&self.weight))
    }
}

/// Transposed convolution along `AXES` axes, with `weight` `[in, out / groups, kernel's extents]` and `bias` `[out]` as in PyTorch.
/// Takes `[n, in, ..]`, gives `[n, out, ..]`.
#[derive(Debug, Clone)]
pub struct ConvTranspose<const AXES: usize> {
    path: String,
    weight: Param,
    bias: Option<Param>,
    options: ConvTransposeOptions<AXES>,
}

/// Transposed convolution of sequences `[n, in, l]`, with kernels `[length]`; see [`Var::conv_transpose1d`].
pub type ConvTranspose1d = ConvTranspose<1>;

/// Transposed convolution of images `[n, in, h, w]`, with kernels `[height, width]`; see [`Var::conv_transpose2d`].
///
/// ```
/// use wgrad::nn::{ConvTranspose2d, ConvTranspose2dOptions, Layer, Padding};
/// use wgrad::{Graph, Params};
/// let params = Params::seeded(1);
/// let twice = ConvTranspose2dOptions { stride: [2, 2], padding: Padding::all(1), ..Default::default() };
/// let conv = ConvTranspose2d::with(&params.at("conv"), 16, 3, [4, 4], twice, true);
/// let g = Graph::new();
/// assert_eq!(conv.forward(g.input("x", [8, 16, 14, 14])).shape().dims(), [8, 3, 28, 28]);
/// ```
pub type ConvTranspose2d = ConvTranspose<2>;

/// Transposed convolution of volumes `[n, in, d, h, w]`, with kernels `[depth, height, width]`; see [`Var::conv_transpose3d`].
pub type ConvTranspose3d = ConvTranspose<3>;

impl<const AXES: usize> ConvTranspose<AXES> {
    /// From `inputs` to `outputs` channels by kernels of these extents, the innermost one last, with bias, stride 1 and no
    /// padding.
    pub fn new(params: &Params, inputs: usize, outputs: usize, kernel: [usize; AXES]) -> Self {
        Self::with(params, inputs, outputs, kernel, ConvTransposeOptions::default(), true)
    }

    /// With options, and with or without bias. Both start as in PyTorch, uniform within
    /// 1 / √(outputs / groups · elements of a kernel), which it takes for the fan in.
    pub fn with(
        params: &Params,
        inputs: usize,
        outputs: usize,
        kernel: [usize; AXES],
        options: ConvTransposeOptions<AXES>,
        bias: bool,
    ) -> Self {
        let fan = outputs / options.groups.max(1) * elements(&kernel);
        Self::with_init(params, inputs, outputs, kernel, options, bias, Init::FanIn(fan))
    }

    /// The same with the weight initialized by `init`.
    pub fn with_init(
        params: &Params,
        inputs: usize,
        outputs: usize,
        kernel: [usize; AXES],
        options: ConvTransposeOptions<AXES>,
        bias: bool,
        init: Init,
    ) -> Self {
        // A number of groups that does not fit is refused when the layer is recorded.
        let each = outputs / options.groups.max(1);
        let start = Init::FanIn(each * elements(&kernel));
        ConvTranspose {
            path: params.path().to_string(),
            weight: params.param("weight", &[&[inputs, each][..], &kernel].concat(), init),
            bias: bias.then(|| params.param("bias", [outputs], start)),
            options,
        }
    }

    /// The weight, `[in, out / groups, kernel's extents]`.
    pub fn weight(&self) -> &Param {
        &self.weight
    }

    /// The bias, `[out]`.
    pub fn bias(&self) -> Option<&Param> {
        self.bias.as_ref()
    }

    /// Stride, padding, output padding, dilation and groups.
    pub fn options(&self) -> &ConvTransposeOptions<AXES> {
        &self.options
    }
}

impl<const AXES: usize> Layer for ConvTranspose<AXES> {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let g = x.graph();
        let _scope = g.scope_at(&self.path);
        let bias = self.bias.as_ref().map(|b| g.param(b));
        x.convolve_transposed(g.param(&self.weight), bias, &self.options)
    }
}

#[cfg(test)]
mod tests {
    use crate::nn::{Activation, Conv2d, Conv2dOptions, Layer, Sequential};
    use crate::{Data, Graph, Param, Params};

    #[test]
    fn names_and_first_values_are_those_of_pytorch() {
        let params = Params::seeded(3);
        let options = Conv2dOptions { groups: 2, ..Conv2dOptions::default() };
        let conv = Conv2d::with(&params.at("features.0"), 6, 8, [5, 3], options, true);
        assert_eq!(conv.weight().name(), "features.0.weight");
        assert_eq!(conv.weight().shape().dims(), [8, 3, 5, 3]);
        assert_eq!(conv.bias().unwrap().name(), "features.0.bias");
        let bound = 1.0 / (3.0f32 * 15.0).sqrt();
        let values = |param: &Param| match param.initial() {
            Data::F32(values) => values,
            other => panic!("{other:?}"),
        };
        let largest = values(conv.weight()).iter().fold(0f32, |m, x| m.max(x.abs()));
        assert!(largest <= bound && largest > 0.95 * bound, "{largest} of {bound}");
        assert!(values(conv.bias().unwrap()).iter().all(|b| b.abs() <= bound));
        assert!(
            Conv2d::with(&params.at("b"), 1, 1, [1, 1], Conv2dOptions::default(), false).bias().is_none()
        );
    }

    #[test]
    fn a_row_of_layers_keeps_the_size() {
        let params = Params::seeded(1);
        let net = Sequential::new(&params)
            .conv2d(1, 4, 3)
            .activation(Activation::Relu)
            .conv2d(4, 6, 4)
            .flatten()
            .linear(6 * 7 * 9, 10);
        let g = Graph::new();
        assert_eq!(net.forward(g.input("x", [2, 1, 7, 9])).shape().dims(), [2, 10]);
        // A layer that does not fit is named.
        let g = Graph::new();
        net.forward(g.input("x", [2, 3, 7, 9]));
        let text = g.error().unwrap().to_string();
        assert!(text.contains("in `0`") && text.contains("3 input channels"), "{text}");
    }
}
