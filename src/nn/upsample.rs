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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, Graph, Result};

    #[test]
    fn it_is_its_method() -> Result<()> {
        let size = UpsampleSize::Exactly([5, 7]);
        let g = Graph::new();
        let x = g.input("x", [1, 1, 3, 4]);
        g.output("nearest", Upsample::nearest(size).forward(x));
        g.output("of nearest", x.upsample_nearest(size));
        for corners in [false, true] {
            g.output(&format!("{corners}"), Upsample::linear(size, corners).forward(x));
            g.output(&format!("of {corners}"), x.upsample_bilinear(size, corners));
        }
        let mut step = Device::cpu().compile(&g)?;
        step.feed("x", &(0..12).map(|i| (i * i % 7) as f32).collect::<Vec<f32>>())?;
        step.run()?;
        for name in ["nearest", "false", "true"] {
            assert_eq!(step.values(name)?, step.values(&format!("of {name}"))?, "{name}");
        }
        assert!(
            step.values("true")? != step.values("false")?
                && step.values("true")? != step.values("nearest")?
        );
        Ok(())
    }
}
