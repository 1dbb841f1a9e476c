//! The layer that resizes images.

use super::Layer;
use crate::graph::Var;
use crate::ops::UpsampleSize;

/// `[n, c, ..]` with its last `AXES` axes resized, by the nearest elements or straight lines between them, as PyTorch's Upsample; see
/// [`Var::upsample_nearest`] and [`Var::upsample_linear`]. It has no parameters.
///
/// ```
/// use wgrad::Graph;
/// use wgrad::nn::{Layer, Upsample, UpsampleSize};
/// let g = Graph::new();
/// let twice = Upsample::nearest(UpsampleSize::Factor([2, 2]));
/// assert_eq!(twice.forward(g.input("x", [5, 16, 8, 8])).shape().dims(), [5, 16, 16, 16]);
/// let smooth = Upsample::linear(UpsampleSize::Exactly([20]), false);
/// assert_eq!(smooth.forward(g.input("s", [5, 16, 8])).shape().dims(), [5, 16, 20]);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Upsample<const AXES: usize> {
    size: UpsampleSize<AXES>,
    /// Without it, by the nearest elements.
    align_corners: Option<bool>,
}

impl<const AXES: usize> Upsample<AXES> {
    /// By the nearest elements.
    pub fn nearest(size: UpsampleSize<AXES>) -> Self {
        Upsample { size, align_corners: None }
    }

    /// By straight lines between elements: of images bilinear, of volumes trilinear.
    pub fn linear(size: UpsampleSize<AXES>, align_corners: bool) -> Self {
        Upsample { size, align_corners: Some(align_corners) }
    }
}

impl<const AXES: usize> Layer for Upsample<AXES> {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        match self.align_corners {
            None => x.upsample_nearest(self.size),
            Some(align_corners) => x.upsample_linear(self.size, align_corners),
        }
    }
}
