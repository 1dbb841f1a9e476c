//! Layers in a row.

use std::fmt;

use super::activation::Between;
use super::norm::NormLayer;
use super::{Activation, AvgPool2d, BatchNorm1d, BatchNorm2d, Conv2d, Conv2dOptions, Dropout, Flatten};
use super::{
    GlobalAvgPool2d, Layer, LayerNorm, Linear, MaxPool2d, ModelOptions, Norm, Padding, ResidualBlock,
};
use crate::graph::{Init, Params, Var};

/// Layers applied one after another. Parameters are named by position, as in PyTorch: `0.weight`.
///
/// ```
/// use wgrad::nn::{Activation, Layer, Sequential};
/// use wgrad::{Graph, Params};
/// let params = Params::seeded(1);
/// let net = Sequential::new(&params).flatten().linear(64, 32).activation(Activation::Relu).linear(32, 10);
/// let g = Graph::new();
/// assert_eq!(net.forward(g.input("x", [5, 8, 8])).shape().dims(), [5, 10]);
/// ```
pub struct Sequential {
    params: Params,
    layers: Vec<Box<dyn Layer + Send + Sync>>,
}

impl fmt::Debug for Sequential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sequential({} layers at `{}`)", self.layers.len(), self.params.path())
    }
}

impl Sequential {
    /// No layers yet; parameters go under the path of `params`.
    pub fn new(params: &Params) -> Self {
        Sequential { params: params.clone(), layers: Vec::new() }
    }

    /// Appends any layer, made with the parameters of its position.
    #[must_use]
    pub fn with<L: Layer + Send + Sync + 'static>(mut self, make: impl FnOnce(&Params) -> L) -> Self {
        let params = self.params.at(&self.layers.len().to_string());
        self.layers.push(Box::new(make(&params)));
        self
    }

    /// Appends a fully connected layer with bias.
    #[must_use]
    pub fn linear(self, inputs: usize, outputs: usize) -> Self {
        self.with(|p| Linear::new(p, inputs, outputs))
    }

    /// Appends a convolution with square kernels and bias that keeps the size of the images: zeros are put
    /// around them, for even kernels one more after than before.
    #[must_use]
    pub fn conv2d(self, inputs: usize, outputs: usize, kernel: usize) -> Self {
        let options = Conv2dOptions { padding: Padding::SameUpper, ..Conv2dOptions::default() };
        self.with(|p| Conv2d::with(p, inputs, outputs, [kernel, kernel], options, true))
    }

    /// Appends maxima over windows of `kernel` × `kernel` side by side.
    #[must_use]
    pub fn max_pool2d(self, kernel: usize) -> Self {
        self.with(|_| MaxPool2d::new(kernel))
    }

    /// Appends averages over windows of `kernel` × `kernel` side by side.
    #[must_use]
    pub fn avg_pool2d(self, kernel: usize) -> Self {
        self.with(|_| AvgPool2d::new(kernel))
    }

    /// Appends the average of each plane, which leaves `[n, c]`.
    #[must_use]
    pub fn global_avg_pool2d(self) -> Self {
        self.with(|_| GlobalAvgPool2d)
    }

    /// Appends batch normalization of `[n, c]` or `[n, c, l]`.
    #[must_use]
    pub fn batch_norm1d(self, channels: usize) -> Self {
        self.with(|p| BatchNorm1d::new(p, channels))
    }

    /// Appends batch normalization of images.
    #[must_use]
    pub fn batch_norm2d(self, channels: usize) -> Self {
        self.with(|p| BatchNorm2d::new(p, channels))
    }

    /// Appends layer normalization of rows of `width`.
    #[must_use]
    pub fn layer_norm(self, width: usize) -> Self {
        self.with(|p| LayerNorm::new(p, width))
    }

    /// Appends a residual block, whose first convolution takes steps of `stride`.
    #[must_use]
    pub fn residual(self, inputs: usize, outputs: usize, stride: usize) -> Self {
        self.with(|p| ResidualBlock::new(p, inputs, outputs, stride))
    }

    /// Appends an activation.
    #[must_use]
    pub fn activation(self, activation: Activation) -> Self {
        self.with(|_| activation)
    }

    /// Appends dropout with probability `p`.
    #[must_use]
    pub fn dropout(self, p: f32) -> Self {
        self.with(|params| Dropout::new(params, p))
    }

    /// Appends a layer that merges all axes but the first.
    #[must_use]
    pub fn flatten(self) -> Self {
        self.with(|_| Flatten)
    }
}

impl Layer for Sequential {
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        self.layers.iter().fold(x, |x, layer| layer.forward(x))
    }
}

/// A multi-layer perceptron: linear layers `fc1`, `fc2`, … with ReLU (or another activation) between
/// them. Takes `[n, ..]` and flattens it.
#[derive(Debug, Clone)]
pub struct Mlp {
    params: Params,
    layers: Vec<Linear>,
    /// After each layer but the last, or none at all.
    norms: Vec<NormLayer>,
    /// What follows then.
    between: Vec<Between>,
    dropout: f32,
}

impl Mlp {
    /// Layers between the given widths: `&[784, 128, 10]` has one hidden layer.
    pub fn new(params: &Params, widths: &[usize]) -> Self {
        Self::with(params, widths, &ModelOptions::default())
    }

    /// The same with an activation and initial weights. Before one that makes one number of several, layers give as many
    /// for each of the width; one with parameters has them at `act1`, `act2`, …. Normalizations, before it, are `norm1`, `norm2`, ….
    pub fn with(params: &Params, widths: &[usize], options: &ModelOptions) -> Self {
        let hidden = widths.len().saturating_sub(2);
        let layer = |(i, w): (usize, &[usize])| {
            let outputs = if i < hidden { w[1].saturating_mul(options.activation.inputs()) } else { w[1] };
            let init = options.weights(Init::FanIn(w[0]));
            Linear::with(&params.at(&format!("fc{}", i + 1)), w[0], outputs, true, init)
        };
        let layers: Vec<Linear> = widths.windows(2).enumerate().map(layer).collect();
        let between = |i: usize| options.activation.layer(&params.at(&format!("act{i}")), widths[i]);
        let norm = options.norm.unwrap_or(Norm::None);
        let of = |(i, layer): (usize, &Linear)| {
            NormLayer::of_rows(norm, &params.at(&format!("norm{}", i + 1)), layer.weight().shape().dim(0))
        };
        let norms = match norm {
            Norm::None => Vec::new(),
            _ => layers[..hidden].iter().enumerate().map(of).collect(),
        };
        let between = (1..=hidden).map(between).collect();
        Mlp { params: params.clone(), layers, norms, between, dropout: 0.0 }
    }

    /// Drops a share of the hidden values while training; none by default.
    #[must_use]
    pub fn dropout(mut self, p: f32) -> Self {
        self.dropout = p;
        self
    }

    /// Another activation between the layers.
    #[must_use]
    pub fn activation(mut self, activation: Activation) -> Self {
        self.between.fill(Between::Of(activation));
        self
    }

    /// The linear layers.
    pub fn layers(&self) -> &[Linear] {
        &self.layers
    }
}

impl Layer for Mlp {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let mut x = if x.shape().rank() > 2 { x.flatten(1) } else { x };
        for (i, layer) in self.layers.iter().enumerate() {
            if i > 0 {
                let normed = self.norms.get(i - 1);
                let place = self.params.at(&format!("norm{i}"));
                x = normed.map_or(x, |norm| norm.forward(x));
                let own = layer.weight().name().trim_end_matches(".weight");
                let _scope = x.graph().scope_at(if normed.is_some() { place.path() } else { own });
                x = self.between[i - 1].forward(x);
                x = Dropout::new(&self.params.at(&format!("drop{i}")), self.dropout).forward(x);
            }
            x = layer.forward(x);
        }
        x
    }
}
