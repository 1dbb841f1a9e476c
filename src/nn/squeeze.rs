//! Channels that are weighed by what all of them hold.

use super::{Conv2d, Layer};
use crate::graph::{Params, Var};

/// y[n, c] = x[n, c] σ(fc2(relu(fc1(m))))[n, c], where m[n, c] is the mean of the plane x[n, c]. Hu, Shen and Sun,
/// "Squeeze-and-Excitation Networks", CVPR 2018, section 3.
///
/// Takes and gives `[n, c, h, w]`. Parameters are those of torchvision's SqueezeExcitation: `fc1.weight`
/// [squeezed, c, 1, 1], `fc1.bias`, `fc2.weight` [c, squeezed, 1, 1], `fc2.bias`, which start uniform within
/// 1 / √inputs.
///
/// ```
/// use wgrad::nn::{Layer, SqueezeExcite};
/// use wgrad::{Graph, Params};
/// let layer = SqueezeExcite::new(&Params::seeded(1).at("se"), 32, 8);
/// let g = Graph::new();
/// assert_eq!(layer.forward(g.input("x", [4, 32, 7, 5])).shape().dims(), [4, 32, 7, 5]);
/// ```
#[derive(Debug, Clone)]
pub struct SqueezeExcite {
    path: String,
    fc1: Conv2d,
    fc2: Conv2d,
}

impl SqueezeExcite {
    /// For so many channels, through `squeezed` numbers, of which the paper takes a sixteenth of the channels.
    pub fn new(params: &Params, channels: usize, squeezed: usize) -> Self {
        SqueezeExcite {
            path: params.path().to_string(),
            fc1: Conv2d::new(&params.at("fc1"), channels, squeezed, [1, 1]),
            fc2: Conv2d::new(&params.at("fc2"), squeezed, channels, [1, 1]),
        }
    }
}

impl Layer for SqueezeExcite {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let _scope = x.graph().scope_at(&self.path);
        let mean = x.mean_keep(&[2, 3]);
        x * self.fc2.forward(self.fc1.forward(mean).relu()).sigmoid()
    }
}
