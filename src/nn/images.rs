//! Small classifiers of images.

use super::activation::Between;
use super::norm::NormLayer;
use super::residual::EXPANSION;
use super::{
    Conv2d, Conv2dOptions, Dropout, Layer, Linear, MaxPool2d, ModelOptions, Norm, Padding, ResidualBlock,
};
use crate::graph::{Init, Params, Var};

/// A 3 × 3 convolution that keeps the size of the images, started as He et al. have it (ICCV 2015, equation 10).
fn conv(params: &Params, inputs: usize, outputs: usize, bias: bool, model: &ModelOptions) -> Conv2d {
    let options = Conv2dOptions { padding: Padding::all(1), ..Conv2dOptions::default() };
    Conv2d::with_init(params, inputs, outputs, [3, 3], options, bias, model.weights(Init::HeNormal))
}

/// The linear layer that gives the logits.
fn logits(params: &Params, inputs: usize, classes: usize, model: &ModelOptions) -> Linear {
    Linear::with(&params.at("fc"), inputs, classes, true, model.weights(Init::FanIn(inputs)))
}

/// A convolutional network in the manner of LeCun et al., "Gradient-Based Learning Applied to Document
/// Recognition", Proc. IEEE 86, 1998: 3 × 3 convolutions `conv1`, `conv2`, … with ReLU, maxima over 2 × 2
/// windows, dropout, and a linear layer `fc`.
///
/// Takes `[n, c, h, w]`, gives logits `[n, classes]`. Images are halved after the last convolution, and after
/// each one before while both sides are at least 16 long: 8 × 8 once, 28 × 28 twice.
///
/// ```
/// use wgrad::nn::{Cnn, Layer};
/// use wgrad::{Graph, Params};
/// let params = Params::seeded(1);
/// let cnn = Cnn::new(&params, [1, 8, 8], &[16, 32], 10).dropout(0.5);
/// let g = Graph::new();
/// assert_eq!(cnn.forward(g.input("x", [5, 1, 8, 8])).shape().dims(), [5, 10]);
/// ```
#[derive(Debug, Clone)]
pub struct Cnn {
    params: Params,
    /// Each with what follows it, and whether its images are halved afterwards.
    convs: Vec<(Conv2d, Between, bool)>,
    /// After each convolution, before what follows, or none at all.
    norms: Vec<NormLayer>,
    fc: Linear,
    dropout: f32,
}

impl Cnn {
    /// For images `[channels, height, width]`; one convolution for each of `channels`, its number of outputs.
    pub fn new(params: &Params, image: [usize; 3], channels: &[usize], classes: usize) -> Self {
        Self::with(params, image, channels, classes, &ModelOptions::default())
    }

    /// The same with an activation, which takes each number for itself and has its parameters at `act1`, `act2`, …, and
    /// initial weights.
    pub fn with(
        params: &Params,
        image: [usize; 3],
        channels: &[usize],
        classes: usize,
        options: &ModelOptions,
    ) -> Self {
        let [mut inputs, mut height, mut width] = image;
        let mut convs = Vec::new();
        for (i, &outputs) in channels.iter().enumerate() {
            let layer = conv(&params.at(&format!("conv{}", i + 1)), inputs, outputs, true, options);
            let between = options.activation.layer(&params.at(&format!("act{}", i + 1)), outputs);
            // An image of one row or column cannot be halved.
            let halves = height.min(width) >= if i + 1 == channels.len() { 2 } else { 16 };
            if halves {
                (height, width) = (height / 2, width / 2);
            }
            convs.push((layer, between, halves));
            inputs = outputs;
        }
        let fc = logits(params, inputs.saturating_mul(height).saturating_mul(width), classes, options);
        let norm = options.norm.unwrap_or(Norm::None);
        let of = |(i, (conv, ..)): (usize, &(Conv2d, Between, bool))| {
            NormLayer::of_images(norm, &params.at(&format!("norm{}", i + 1)), conv.weight().shape().dim(0))
        };
        let norms = if norm == Norm::None { Vec::new() } else { convs.iter().enumerate().map(of).collect() };
        Cnn { params: params.clone(), convs, norms, fc, dropout: 0.0 }
    }

    /// Drops a share of what the linear layer takes while training; none by default.
    #[must_use]
    pub fn dropout(mut self, p: f32) -> Self {
        self.dropout = p;
        self
    }

    /// The convolutions.
    pub fn convs(&self) -> impl Iterator<Item = &Conv2d> {
        self.convs.iter().map(|(conv, ..)| conv)
    }
}

impl Layer for Cnn {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let mut x = x;
        for (i, (conv, between, halves)) in self.convs.iter().enumerate() {
            x = conv.forward(x);
            let normed = self.norms.get(i);
            let place = self.params.at(&format!("norm{}", i + 1));
            x = normed.map_or(x, |norm| norm.forward(x));
            let own = conv.weight().name().trim_end_matches(".weight");
            let _scope = x.graph().scope_at(if normed.is_some() { place.path() } else { own });
            x = between.forward(x);
            if *halves {
                x = MaxPool2d::new(2).forward(x);
            }
        }
        x = Dropout::new(&self.params.at("drop"), self.dropout).forward(x.flatten(1));
        self.fc.forward(x)
    }
}

/// A residual network for small images: a 3 × 3 convolution `conv1` with `bn1`, stages `layer1`, `layer2`, … of
/// [`ResidualBlock`]s, of which every stage but the first begins by halving the images, the average of each
/// plane, and a linear layer `fc`. He, Zhang, Ren and Sun, CVPR 2016, section 4.2.
///
/// Takes `[n, c, h, w]` of any size, gives logits `[n, classes]`. [`ResNet::resnet18`] and its like have torchvision's stages and
/// names, but not its beginning, a 7 × 7 convolution with stride 2 and maxima with stride 2: of images of 32 × 32 little
/// would be left.
///
/// ```
/// use wgrad::Params;
/// use wgrad::nn::{ResNet, Summary};
/// let params = Params::seeded(1);
/// let net = ResNet::resnet18(&params, 3, 10);
/// let summary = Summary::of(&net, [1, 3, 32, 32])?;
/// assert_eq!(summary.trainable, 11_173_962);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ResNet {
    params: Params,
    conv1: Conv2d,
    bn1: NormLayer,
    between: Between,
    blocks: Vec<ResidualBlock>,
    fc: Linear,
    dropout: f32,
}

impl ResNet {
    /// The widths of the stages of [`ResNet::resnet18`], which have two blocks each, and of its like.
    pub const WIDTHS: [usize; 4] = [64, 128, 256, 512];

    /// For images of so many `channels`; each of `widths` is the width of a stage of `depth` blocks.
    pub fn new(params: &Params, channels: usize, widths: &[usize], depth: usize, classes: usize) -> Self {
        Self::with(params, channels, widths, depth, classes, &ModelOptions::default())
    }

    /// The same with an activation, which takes each number for itself and has its parameters at `act`, initial weights, and
    /// another normalization under the same names.
    pub fn with(
        params: &Params,
        channels: usize,
        widths: &[usize],
        depth: usize,
        classes: usize,
        options: &ModelOptions,
    ) -> Self {
        let stages: Vec<_> = widths.iter().map(|&width| (width, depth)).collect();
        Self::of(params, channels, &stages, false, classes, options)
    }

    /// ResNet-18: four stages of two basic blocks, 64 to 512 channels wide.
    pub fn resnet18(params: &Params, channels: usize, classes: usize) -> Self {
        Self::new(params, channels, &Self::WIDTHS, 2, classes)
    }

    /// ResNet-34: four stages of 3, 4, 6 and 3 basic blocks, 64 to 512 channels wide.
    pub fn resnet34(params: &Params, channels: usize, classes: usize) -> Self {
        Self::deep(params, channels, false, classes)
    }

    /// ResNet-50: the same with bottlenecks, whose stages give 256 to 2048 channels.
    pub fn resnet50(params: &Params, channels: usize, classes: usize) -> Self {
        Self::deep(params, channels, true, classes)
    }

    fn deep(params: &Params, channels: usize, bottleneck: bool, classes: usize) -> Self {
        let stages: Vec<_> = Self::WIDTHS.into_iter().zip([3, 4, 6, 3]).collect();
        Self::of(params, channels, &stages, bottleneck, classes, &ModelOptions::default())
    }

    /// Stages of (width, blocks).
    fn of(
        params: &Params,
        channels: usize,
        stages: &[(usize, usize)],
        bottleneck: bool,
        classes: usize,
        options: &ModelOptions,
    ) -> Self {
        let norm = options.norm.unwrap_or(Norm::Batch);
        let first = stages.first().map_or(channels, |stage| stage.0);
        let conv1 = conv(&params.at("conv1"), channels, first, norm == Norm::None, options);
        let bn1 = NormLayer::of_images(norm, &params.at("bn1"), first);
        let mut blocks = Vec::new();
        let mut inputs = first;
        for (stage, &(width, depth)) in stages.iter().enumerate() {
            for block in 0..depth {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let at = params.at(&format!("layer{}.{block}", stage + 1));
                let (block, outputs) = match bottleneck {
                    false => (ResidualBlock::with(&at, inputs, width, stride, options), width),
                    true => (
                        ResidualBlock::bottleneck_with(&at, inputs, width, stride, options),
                        width.saturating_mul(EXPANSION),
                    ),
                };
                blocks.push(block);
                inputs = outputs;
            }
        }
        ResNet {
            params: params.clone(),
            conv1,
            bn1,
            between: options.activation.layer(&params.at("act"), first),
            blocks,
            fc: logits(params, inputs, classes, options),
            dropout: 0.0,
        }
    }

    /// With [`ResidualBlock::squeeze_excite`] in each block.
    #[must_use]
    pub fn squeeze_excite(mut self, reduction: usize) -> Self {
        self.blocks = self.blocks.into_iter().map(|block| block.squeeze_excite(reduction)).collect();
        self
    }

    /// Drops a share of what the linear layer takes while training; none by default.
    #[must_use]
    pub fn dropout(mut self, p: f32) -> Self {
        self.dropout = p;
        self
    }
}

impl Layer for ResNet {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let mut x = self.between.forward(self.bn1.forward(self.conv1.forward(x)));
        for block in &self.blocks {
            x = block.forward(x);
        }
        x = Dropout::new(&self.params.at("drop"), self.dropout).forward(x.global_avg_pool2d());
        self.fc.forward(x)
    }
}
