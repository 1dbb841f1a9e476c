//! The convolution layer.

use super::Layer;
use crate::graph::{Init, Param, Params, Var};
use crate::ops::Conv2dOptions;

/// Convolution of images, with `weight` `[out, in / groups, kh, kw]` and `bias` `[out]` as in PyTorch. Takes
/// `[n, in, h, w]`, gives `[n, out, oh, ow]`; see [`Var::conv2d`].
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
#[derive(Debug, Clone)]
pub struct Conv2d {
    path: String,
    weight: Param,
    bias: Option<Param>,
    options: Conv2dOptions,
}

impl Conv2d {
    /// From `inputs` to `outputs` channels by kernels of `[height, width]`, with bias, stride 1 and no
    /// padding.
    pub fn new(params: &Params, inputs: usize, outputs: usize, kernel: [usize; 2]) -> Self {
        Self::with(params, inputs, outputs, kernel, Conv2dOptions::default(), true)
    }

    /// With options, and with or without bias. Both start as in PyTorch, uniform within
    /// 1 / √(inputs / groups · height · width): He's uniform initialization with a = √5.
    pub fn with(
        params: &Params,
        inputs: usize,
        outputs: usize,
        kernel: [usize; 2],
        options: Conv2dOptions,
        bias: bool,
    ) -> Self {
        let fan = inputs / options.groups.max(1) * kernel[0] * kernel[1];
        Self::with_init(params, inputs, outputs, kernel, options, bias, Init::FanIn(fan))
    }

    /// The same with the weight initialized by `init`.
    pub fn with_init(
        params: &Params,
        inputs: usize,
        outputs: usize,
        kernel: [usize; 2],
        options: Conv2dOptions,
        bias: bool,
        init: Init,
    ) -> Self {
        // A number of groups that does not fit is refused when the layer is recorded.
        let each = inputs / options.groups.max(1);
        let [height, width] = kernel;
        let start = Init::FanIn(each * height * width);
        Conv2d {
            path: params.path().to_string(),
            weight: params.param("weight", [outputs, each, height, width], init),
            bias: bias.then(|| params.param("bias", [outputs], start)),
            options,
        }
    }

    /// The weight, `[out, in / groups, kh, kw]`.
    pub fn weight(&self) -> &Param {
        &self.weight
    }

    /// The bias, `[out]`.
    pub fn bias(&self) -> Option<&Param> {
        self.bias.as_ref()
    }

    /// Stride, padding, dilation and groups.
    pub fn options(&self) -> &Conv2dOptions {
        &self.options
    }
}

impl Conv2d {
    /// With this weight instead of its own.
    #[track_caller]
    pub(super) fn by<'g>(&self, x: Var<'g>, weight: Var<'g>) -> Var<'g> {
        let g = x.graph();
        let _scope = g.scope_at(&self.path);
        x.conv2d(weight, self.bias.as_ref().map(|b| g.param(b)), &self.options)
    }
}

impl Layer for Conv2d {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        self.by(x, x.graph().param(&self.weight))
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
