//! Pooling layers: they hold no parameters.

use super::{Layer, PoolOptions};
use crate::graph::Var;

/// Maxima over windows of `[n, c, h, w]`; see [`Var::max_pool2d`].
///
/// ```
/// use wgrad::Graph;
/// use wgrad::nn::{Layer, MaxPool2d};
/// let g = Graph::new();
/// let x = g.input("x", [5, 16, 8, 8]);
/// assert_eq!(MaxPool2d::new(2).forward(x).shape().dims(), [5, 16, 4, 4]);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct MaxPool2d {
    options: PoolOptions,
}

impl MaxPool2d {
    /// Windows of `kernel` × `kernel` side by side.
    pub fn new(kernel: usize) -> Self {
        Self::with(PoolOptions::square(kernel))
    }

    /// With extents, stride, padding and dilation.
    pub fn with(options: PoolOptions) -> Self {
        MaxPool2d { options }
    }
}

impl Layer for MaxPool2d {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        x.max_pool2d(self.options)
    }
}

/// Averages over windows of `[n, c, h, w]`, where zeros of a padding count as elements unless said otherwise,
/// as in PyTorch; see [`Var::avg_pool2d`].
#[derive(Debug, Clone, Copy)]
pub struct AvgPool2d {
    options: PoolOptions,
    count_padding: bool,
}

impl AvgPool2d {
    /// Windows of `kernel` × `kernel` side by side.
    pub fn new(kernel: usize) -> Self {
        Self::with(PoolOptions::square(kernel), true)
    }

    /// With extents, stride, padding and dilation; with `count_padding`, a window's share of the padding counts.
    pub fn with(options: PoolOptions, count_padding: bool) -> Self {
        AvgPool2d { options, count_padding }
    }
}

impl Layer for AvgPool2d {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        x.avg_pool2d(self.options, self.count_padding)
    }
}

/// The average of each plane: `[n, c, h, w]` to `[n, c]`, whatever the size of the images (Lin, Chen and Yan,
/// "Network in Network", ICLR 2014, section 3.2).
#[derive(Debug, Clone, Copy, Default)]
pub struct GlobalAvgPool2d;

impl Layer for GlobalAvgPool2d {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        x.global_avg_pool2d()
    }
}
