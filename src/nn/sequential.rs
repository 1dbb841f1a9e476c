//! Layers in a row.

use std::fmt;

use super::{Activation, Dropout, Flatten, Layer, Linear};
use crate::graph::{Params, Var};

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
    layers: Vec<Linear>,
    activation: Activation,
}

impl Mlp {
    /// Layers between the given widths: `&[784, 128, 10]` has one hidden layer.
    pub fn new(params: &Params, widths: &[usize]) -> Self {
        let layer = |(i, w): (usize, &[usize])| Linear::new(&params.at(&format!("fc{}", i + 1)), w[0], w[1]);
        let layers = widths.windows(2).enumerate().map(layer).collect();
        Mlp { layers, activation: Activation::Relu }
    }

    /// Another activation between the layers.
    #[must_use]
    pub fn activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
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
                let _scope = x.graph().scope_at(layer.weight().name().trim_end_matches(".weight"));
                x = self.activation.forward(x);
            }
            x = layer.forward(x);
        }
        x
    }
}
