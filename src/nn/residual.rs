//! The residual block.

use super::activation::Between;
use super::norm::NormLayer;
use super::{Conv2d, Conv2dOptions, Layer, ModelOptions, Norm, Padding};
use crate::graph::{Init, Params, Var};

/// y = relu(x' + bn2(conv2(relu(bn1(conv1(x)))))), where x' is x itself or, if the size or the channels change,
/// x through a 1 × 1 convolution and a normalization: the basic block of He, Zhang, Ren and Sun, "Deep Residual
/// Learning for Image Recognition", CVPR 2016, section 3 and figure 5, left.
///
/// Takes `[n, in, h, w]`, gives `[n, out, ⌈h / stride⌉, ⌈w / stride⌉]`. Convolutions are 3 × 3 and have no bias,
/// which the normalization would take away again. States are named as in torchvision: `conv1.weight`, `bn1.*`,
/// `conv2.weight`, `bn2.*`, and `downsample.0.weight`, `downsample.1.*` where x changes.
///
/// ```
/// use wgrad::nn::{Layer, ResidualBlock};
/// use wgrad::{Graph, Params};
/// let params = Params::seeded(1);
/// let block = ResidualBlock::new(&params.at("layer1.0"), 16, 32, 2);
/// let g = Graph::new();
/// assert_eq!(block.forward(g.input("x", [4, 16, 8, 8])).shape().dims(), [4, 32, 4, 4]);
/// ```
#[derive(Debug, Clone)]
pub struct ResidualBlock {
    path: String,
    conv1: Conv2d,
    bn1: NormLayer,
    conv2: Conv2d,
    bn2: NormLayer,
    /// After the first normalization, and after the sum.
    between: [Between; 2],
    shortcut: Option<(Conv2d, NormLayer)>,
}

impl ResidualBlock {
    /// From `inputs` to `outputs` channels; the first convolution takes steps of `stride`. Convolutions start as
    /// He et al. have it, ICCV 2015, equation 10.
    pub fn new(params: &Params, inputs: usize, outputs: usize, stride: usize) -> Self {
        Self::with(params, inputs, outputs, stride, &ModelOptions::default())
    }

    /// The same with another activation than ReLU, its parameters at `act1` and `act2`, other initial weights, or another
    /// normalization under the same names; without one, convolutions have a bias.
    pub fn with(params: &Params, inputs: usize, outputs: usize, stride: usize, model: &ModelOptions) -> Self {
        let norm = model.norm.unwrap_or(Norm::Batch);
        let bias = norm == Norm::None;
        let conv = |name: &str, inputs, kernel: usize, stride: usize| {
            // Half the kernel on each side at every stride, as torchvision has it.
            let padding = Padding::all(kernel / 2);
            let options = Conv2dOptions { stride: [stride; 2], padding, ..Conv2dOptions::default() };
            let at = params.at(name);
            let init = model.weights(Init::HeNormal);
            Conv2d::with_init(&at, inputs, outputs, [kernel; 2], options, bias, init)
        };
        let norm = |name: &str| NormLayer::of_images(norm, &params.at(name), outputs);
        let changes = stride != 1 || inputs != outputs;
        ResidualBlock {
            path: params.path().to_string(),
            conv1: conv("conv1", inputs, 3, stride),
            bn1: norm("bn1"),
            conv2: conv("conv2", outputs, 3, 1),
            bn2: norm("bn2"),
            between: ["act1", "act2"].map(|name| model.activation.layer(&params.at(name), outputs)),
            shortcut: changes.then(|| (conv("downsample.0", inputs, 1, stride), norm("downsample.1"))),
        }
    }
}

impl Layer for ResidualBlock {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let _scope = x.graph().scope_at(&self.path);
        let inner = self.between[0].forward(self.bn1.forward(self.conv1.forward(x)));
        let inner = self.bn2.forward(self.conv2.forward(inner));
        let shortcut = match &self.shortcut {
            Some((conv, norm)) => norm.forward(conv.forward(x)),
            None => x,
        };
        self.between[1].forward(inner + shortcut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Graph;

    #[test]
    fn a_block_that_keeps_shapes_has_no_shortcut_of_its_own() {
        let params = Params::seeded(1);
        let shape = |block: &ResidualBlock, dims: [usize; 4]| {
            let g = Graph::new();
            let y = block.forward(g.input("x", dims));
            assert!(g.error().is_none(), "{:?}", g.error());
            y.shape().dims().to_vec()
        };
        let same = ResidualBlock::new(&params.at("a"), 8, 8, 1);
        assert_eq!(shape(&same, [2, 8, 5, 7]), [2, 8, 5, 7]);
        let names: Vec<String> = params.all().iter().map(|p| p.name().to_string()).collect();
        assert_eq!(names.len(), 10);
        assert!(names.iter().all(|n| !n.contains("downsample")) && names[0] == "a.conv1.weight", "{names:?}");
        let half = ResidualBlock::new(&params.at("b"), 8, 12, 2);
        assert_eq!(shape(&half, [2, 8, 5, 8]), [2, 12, 3, 4]);
        assert!(params.get("b.downsample.0.weight").is_some_and(|p| p.shape().dims() == [12, 8, 1, 1]));
        assert!(params.get("b.downsample.1.running_var").is_some());
    }
}
