//! Activations with learned parameters, and one with random ones.

use super::super::{Layer, Linear};
use crate::graph::{Init, Param, Params, Var};

/// One number with 1 channel, else one for each channel of `x` `[n, channels, ..]`, in a shape that broadcasts.
#[track_caller]
fn along_channels<'g>(x: Var<'g>, param: &Param) -> Var<'g> {
    let value = x.graph().param(param);
    let channels = value.shape().elements();
    // Channels are the second axis, whatever follows it.
    let mut dims = vec![channels];
    if channels > 1 {
        dims.resize(x.shape().rank().saturating_sub(1).max(1), 1);
    }
    value.reshape(&dims)
}

/// ReLU with a learned slope below 0, of all channels or one of each: He et al., ICCV 2015, section 2.1. The parameter is `weight`,
/// `[1]` or `[channels]`, and starts as 0.25, as in PyTorch's `PReLU`.
#[derive(Debug, Clone)]
pub struct Prelu {
    path: String,
    pub(super) slope: Param,
}

impl Prelu {
    /// One slope with `channels` = 1, else one for each channel of `[n, channels, ..]`.
    pub fn new(params: &Params, channels: usize) -> Self {
        Prelu {
            path: params.path().to_string(),
            slope: params.param("weight", [channels], Init::Constant(0.25)),
        }
    }
}

impl Layer for Prelu {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let _scope = x.graph().scope_at(&self.path);
        x.prelu(along_channels(x, &self.slope))
    }
}

/// Swish x σ(βx) with a learned β, of all channels or one of each: Ramachandran, Zoph and Le, "Searching for Activation
/// Functions", 2017, section 5. The parameter is `beta`, `[1]` or `[channels]`, and starts as 1.
#[derive(Debug, Clone)]
pub struct Swish {
    path: String,
    pub(super) beta: Param,
}

impl Swish {
    /// One β with `channels` = 1, else one for each channel of `[n, channels, ..]`.
    pub fn new(params: &Params, channels: usize) -> Self {
        Swish { path: params.path().to_string(), beta: params.param("beta", [channels], Init::ONES) }
    }
}

impl Layer for Swish {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let _scope = x.graph().scope_at(&self.path);
        x.swish_learned(along_channels(x, &self.beta))
    }
}

/// Randomized leaky ReLU: x above 0, a x below, where a is drawn for each element in each step of training, uniform in
/// [lower, upper], and the mean of the two otherwise: Xu, Wang, Chen and Li, "Empirical Evaluation of Rectified Activations in
/// Convolution Network", 2015, section 2.4. Its random stream is the path it was made under. As a bound b of that paper divides x,
/// its 3 and 8 are 1/3 and 1/8 here, as in PyTorch's `RReLU`.
#[derive(Debug, Clone)]
pub struct Rrelu {
    params: Params,
    bounds: [f32; 2],
}

impl Rrelu {
    /// The bounds of PyTorch.
    pub const USUAL: [f32; 2] = [1.0 / 8.0, 1.0 / 3.0];

    /// Draws slopes from `lower` to `upper`. Bounds that are no numbers, or the wrong way round, are a recording error.
    pub fn new(params: &Params, lower: f32, upper: f32) -> Self {
        Rrelu { params: params.clone(), bounds: [lower, upper] }
    }
}

impl Layer for Rrelu {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let g = x.graph();
        let _scope = g.scope_at(self.params.path());
        let [lower, upper] = self.bounds;
        if !(lower <= upper && lower.is_finite() && upper.is_finite()) {
            let message = format!("the bounds must be numbers, the lower one first, got {lower} and {upper}");
            return g.refuse("rrelu", message, x);
        }
        if !g.is_training() {
            return x.leaky_relu(lower + (upper - lower) / 2.0);
        }
        let drawn = crate::ops::random_uniform(g, x.shape().dims(), &self.params.root(), self.params.path());
        x.prelu(drawn * (upper - lower) + lower)
    }
}

/// The largest of several linear functions for each output: Goodfellow et al., "Maxout Networks", ICML 2013. Its [`Linear`] layer has
/// `pieces` rows of `weight` after each other for an output.
#[derive(Debug, Clone)]
pub struct Maxout {
    pub(super) linear: Linear,
    pieces: usize,
}

impl Maxout {
    /// Takes `[.., inputs]` and gives `[.., outputs]`; two pieces make any convex function of one input's sign, five are usual.
    pub fn new(params: &Params, inputs: usize, outputs: usize, pieces: usize) -> Self {
        Maxout { linear: Linear::new(params, inputs, outputs.saturating_mul(pieces)), pieces }
    }
}

impl Layer for Maxout {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        largest_of(self.linear.forward(x), self.pieces)
    }
}

/// The largest of so many numbers after each other along the last axis.
#[track_caller]
pub(super) fn largest_of(y: Var<'_>, pieces: usize) -> Var<'_> {
    let mut dims = y.shape().dims().to_vec();
    let last = dims.len();
    let Some(width) = dims.last_mut() else { return y };
    *width = width.checked_div(pieces).unwrap_or(0);
    dims.push(pieces);
    y.reshape(&dims).max(&[last])
}
