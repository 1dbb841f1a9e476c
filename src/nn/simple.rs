//! Layers without trainable parameters.

use super::Layer;
use crate::graph::{Params, Var};

/// An activation function as a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// x above 0, slope · x below.
    LeakyRelu(f32),
    /// 1 / (1 + e^-x).
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// Softmax over the last axis.
    Softmax,
    /// Log-softmax over the last axis.
    LogSoftmax,
}

impl Layer for Activation {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let last = x.shape().rank().saturating_sub(1);
        match *self {
            Activation::Relu => x.relu(),
            Activation::LeakyRelu(slope) => x.leaky_relu(slope),
            Activation::Sigmoid => x.sigmoid(),
            Activation::Tanh => x.tanh(),
            Activation::Softmax => x.softmax(last),
            Activation::LogSoftmax => x.log_softmax(last),
        }
    }
}

/// Inverted dropout: in training each element is zero with probability p and the rest are divided by
/// 1 - p (Srivastava et al., JMLR 15, 2014); for inference it does nothing. Its random stream is the
/// path it was made under.
#[derive(Debug, Clone)]
pub struct Dropout {
    params: Params,
    p: f32,
}

impl Dropout {
    /// Drops with probability `p`, in [0, 1).
    pub fn new(params: &Params, p: f32) -> Self {
        Dropout { params: params.clone(), p }
    }
}

impl Layer for Dropout {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        if !x.graph().is_training() {
            return x;
        }
        let _scope = x.graph().scope_at(self.params.path());
        crate::ops::dropout(x, self.p, &self.params.root(), self.params.path())
    }
}

/// All axes but the first merged: `[n, c, h, w]` to `[n, c·h·w]`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flatten;

impl Layer for Flatten {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        x.flatten(1)
    }
}
