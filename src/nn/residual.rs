//! Residual blocks.

use super::activation::Between;
use super::norm::NormLayer;
use super::{Conv2d, Conv2dOptions, Layer, ModelOptions, Norm, Padding, SqueezeExcite};
use crate::graph::{Init, Params, Var};

/// y = relu(x' + f(x)), where x' is x itself or, if the size or the channels change, x through a 1 × 1 convolution
/// and a normalization. He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, section 3
/// and figure 5.
///
/// By [`ResidualBlock::new`] f is the basic block, bn2(conv2(relu(bn1(conv1(x))))) with two 3 × 3 convolutions; by
/// [`ResidualBlock::bottleneck`] it goes through fewer channels: 1 × 1, 3 × 3, and 1 × 1 to four times as many.
/// Strides are those of the first 3 × 3 convolution, as in torchvision; in the paper's bottleneck the first 1 × 1 has
/// them.
///
/// Takes `[n, in, h, w]`, gives `[n, out, ⌈h / stride⌉, ⌈w / stride⌉]`. Convolutions have no bias,
/// which the normalization would take away again. States are named as in torchvision: `conv1.weight`, `bn1.*`,
/// `conv2.weight`, `bn2.*`, of a bottleneck `conv3.weight`, `bn3.*`, and `downsample.0.weight`, `downsample.1.*`
/// where x changes.
///
/// ```
/// use wgrad::nn::{Layer, ResidualBlock};
/// use wgrad::{Graph, Params};
/// let params = Params::seeded(1);
/// let block = ResidualBlock::new(&params.at("layer1.0"), 16, 32, 2);
/// let narrow = ResidualBlock::bottleneck(&params.at("layer2.0"), 32, 16, 1).squeeze_excite(4);
/// let g = Graph::new();
/// let x = block.forward(g.input("x", [4, 16, 8, 8]));
/// assert_eq!(x.shape().dims(), [4, 32, 4, 4]);
/// assert_eq!(narrow.forward(x).shape().dims(), [4, 64, 4, 4]);
/// ```
#[derive(Debug, Clone)]
pub struct ResidualBlock {
    params: Params,
    convs: Vec<(Conv2d, NormLayer)>,
    /// After each normalization but the last, and after the sum.
    between: Vec<Between>,
    squeeze: Option<SqueezeExcite>,
    shortcut: Option<(Conv2d, NormLayer)>,
}

/// What a bottleneck gives, in units of what its 3 × 3 convolution does.
pub(super) const EXPANSION: usize = 4;

/// A convolution: inputs, outputs, extent of its kernels, stride.
type Size = (usize, usize, usize, usize);

impl ResidualBlock {
    /// The basic block, from `inputs` to `outputs` channels; the first convolution takes steps of `stride`. Convolutions
    /// start as He et al. have it, ICCV 2015, equation 10.
    pub fn new(params: &Params, inputs: usize, outputs: usize, stride: usize) -> Self {
        Self::with(params, inputs, outputs, stride, &ModelOptions::default())
    }

    /// The same with another activation than ReLU, its parameters at `act1` and `act2`, other initial weights, or another
    /// normalization under the same names; without one, convolutions have a bias.
    pub fn with(params: &Params, inputs: usize, outputs: usize, stride: usize, model: &ModelOptions) -> Self {
        Self::of(params, &[(inputs, outputs, 3, stride), (outputs, outputs, 3, 1)], model)
    }

    /// The bottleneck, from `inputs` channels through `width` to 4 · `width`; the 3 × 3 convolution takes steps of `stride`.
    pub fn bottleneck(params: &Params, inputs: usize, width: usize, stride: usize) -> Self {
        Self::bottleneck_with(params, inputs, width, stride, &ModelOptions::default())
    }

    /// The same with options, as [`ResidualBlock::with`] has them.
    pub fn bottleneck_with(
        params: &Params,
        inputs: usize,
        width: usize,
        stride: usize,
        model: &ModelOptions,
    ) -> Self {
        let outputs = width.saturating_mul(EXPANSION);
        Self::of(params, &[(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)], model)
    }

    fn of(params: &Params, sizes: &[Size], model: &ModelOptions) -> Self {
        let norm = model.norm.unwrap_or(Norm::Batch);
        let layer = |conv: &str, bn: &str, (inputs, outputs, kernel, stride): Size| {
            // Half the kernel on each side at every stride, as torchvision has it.
            let padding = Padding::all(kernel / 2);
            let options = Conv2dOptions { stride: [stride; 2], padding, ..Conv2dOptions::default() };
            let init = model.weights(Init::HeNormal);
            let bias = norm == Norm::None;
            let conv = Conv2d::with_init(&params.at(conv), inputs, outputs, [kernel; 2], options, bias, init);
            (conv, NormLayer::of_images(norm, &params.at(bn), outputs))
        };
        let (inputs, outputs) = (sizes[0].0, sizes[sizes.len() - 1].1);
        let stride = sizes.iter().map(|size| size.3).product();
        let numbered =
            |(i, size): (usize, &Size)| layer(&format!("conv{}", i + 1), &format!("bn{}", i + 1), *size);
        let between =
            |(i, size): (usize, &Size)| model.activation.layer(&params.at(&format!("act{}", i + 1)), size.1);
        ResidualBlock {
            params: params.clone(),
            convs: sizes.iter().enumerate().map(numbered).collect(),
            between: sizes.iter().enumerate().map(between).collect(),
            squeeze: None,
            shortcut: (stride != 1 || inputs != outputs)
                .then(|| layer("downsample.0", "downsample.1", (inputs, outputs, 1, stride))),
        }
    }

    /// Weighs the channels of f(x) by [`SqueezeExcite`] through a `reduction`th of them, at least one, at `se`: Hu, Shen
    /// and Sun, CVPR 2018, figure 3, who take 16.
    #[must_use]
    pub fn squeeze_excite(mut self, reduction: usize) -> Self {
        let channels = self.convs.last().map_or(0, |(conv, _)| conv.weight().shape().dim(0));
        let squeezed = (channels / reduction.max(1)).max(1);
        self.squeeze = Some(SqueezeExcite::new(&self.params.at("se"), channels, squeezed));
        self
    }
}

impl Layer for ResidualBlock {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let _scope = x.graph().scope_at(self.params.path());
        let (mut inner, last) = (x, self.convs.len() - 1);
        for (i, (conv, norm)) in self.convs.iter().enumerate() {
            inner = norm.forward(conv.forward(inner));
            if i < last {
                inner = self.between[i].forward(inner);
            }
        }
        if let Some(squeeze) = &self.squeeze {
            inner = squeeze.forward(inner);
        }
        let shortcut = match &self.shortcut {
            Some((conv, norm)) => norm.forward(conv.forward(x)),
            None => x,
        };
        self.between[last].forward(inner + shortcut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Graph;

    fn shape(block: &ResidualBlock, dims: [usize; 4]) -> Vec<usize> {
        let g = Graph::new();
        let y = block.forward(g.input("x", dims));
        assert!(g.error().is_none(), "{:?}", g.error());
        y.shape().dims().to_vec()
    }

    #[test]
    fn a_block_that_keeps_shapes_has_no_shortcut_of_its_own() {
        let params = Params::seeded(1);
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

    #[test]
    fn a_bottleneck_gives_four_times_its_width() {
        let params = Params::seeded(1);
        let same = ResidualBlock::bottleneck(&params.at("a"), 8, 2, 1);
        assert_eq!(shape(&same, [2, 8, 5, 7]), [2, 8, 5, 7]);
        assert!(params.get("a.downsample.0.weight").is_none());
        let half = ResidualBlock::bottleneck(&params.at("b"), 8, 3, 2).squeeze_excite(5);
        assert_eq!(shape(&half, [2, 8, 5, 8]), [2, 12, 3, 4]);
        let dims = |name: &str| params.get(name).map(|p| p.shape().dims().to_vec());
        assert_eq!(dims("b.conv2.weight"), Some(vec![3, 3, 3, 3]));
        assert_eq!(dims("b.conv3.weight"), Some(vec![12, 3, 1, 1]));
        assert_eq!(dims("b.downsample.0.weight"), Some(vec![12, 8, 1, 1]));
        assert_eq!(dims("b.se.fc1.weight"), Some(vec![2, 12, 1, 1]));
        let least = ResidualBlock::bottleneck(&params.at("c"), 8, 3, 1).squeeze_excite(100);
        assert_eq!(shape(&least, [2, 8, 1, 1]), [2, 12, 1, 1]);
        assert_eq!(dims("c.se.fc1.weight"), Some(vec![1, 12, 1, 1]));
    }
}
