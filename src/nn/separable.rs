//! Convolutions of single channels, then of single pixels.

use super::activation::Between;
use super::norm::NormLayer;
use super::{Conv2d, Conv2dOptions, Layer, ModelOptions, Norm, Padding};
use crate::graph::{Init, Params, Var};

/// relu(bn2(pointwise(relu(bn1(depthwise(x)))))): a 3 × 3 convolution of each channel alone, and a 1 × 1 convolution
/// that mixes them, each with a normalization and an activation. Howard et al., "MobileNets", arXiv:1704.04861,
/// section 3.1 and figure 3, right. Of inputs · 9 · outputs multiplications a pixel inputs · (9 + outputs) are left.
///
/// Takes `[n, in, h, w]`, gives `[n, out, ⌈h / stride⌉, ⌈w / stride⌉]`. States: `depthwise.weight` [in, 1, 3, 3],
/// `bn1.*`, `pointwise.weight` [out, in, 1, 1], `bn2.*`.
///
/// ```
/// use wgrad::nn::{DepthwiseSeparable, Layer};
/// use wgrad::{Graph, Params};
/// let block = DepthwiseSeparable::new(&Params::seeded(1).at("block"), 16, 32, 2);
/// let g = Graph::new();
/// assert_eq!(block.forward(g.input("x", [4, 16, 9, 8])).shape().dims(), [4, 32, 5, 4]);
/// ```
#[derive(Debug, Clone)]
pub struct DepthwiseSeparable {
    path: String,
    layers: [(Conv2d, NormLayer, Between); 2],
}

impl DepthwiseSeparable {
    /// From `inputs` to `outputs` channels; the first convolution takes steps of `stride`. Convolutions start as He et al.
    /// have it, ICCV 2015, equation 10.
    pub fn new(params: &Params, inputs: usize, outputs: usize, stride: usize) -> Self {
        Self::with(params, inputs, outputs, stride, &ModelOptions::default())
    }

    /// The same with another activation than ReLU, its parameters at `act1` and `act2`, other initial weights, or another
    /// normalization under the same names; without one, convolutions have a bias.
    pub fn with(params: &Params, inputs: usize, outputs: usize, stride: usize, model: &ModelOptions) -> Self {
        let norm = model.norm.unwrap_or(Norm::Batch);
        let layer = |[name, bn, act]: [&str; 3], outputs, kernel: usize, stride, groups| {
            let padding = Padding::all(kernel / 2);
            let options = Conv2dOptions { stride: [stride; 2], padding, groups, ..Conv2dOptions::default() };
            let (init, bias) = (model.weights(Init::HeNormal), norm == Norm::None);
            let conv = Conv2d::with_init(&params.at(name), inputs, outputs, [kernel; 2], options, bias, init);
            let norm = NormLayer::of_images(norm, &params.at(bn), outputs);
            (conv, norm, model.activation.layer(&params.at(act), outputs))
        };
        DepthwiseSeparable {
            path: params.path().to_string(),
            layers: [
                layer(["depthwise", "bn1", "act1"], inputs, 3, stride, inputs),
                layer(["pointwise", "bn2", "act2"], outputs, 1, 1, 1),
            ],
        }
    }
}

impl Layer for DepthwiseSeparable {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let _scope = x.graph().scope_at(&self.path);
        self.layers.iter().fold(x, |x, (conv, norm, between)| between.forward(norm.forward(conv.forward(x))))
    }
}
