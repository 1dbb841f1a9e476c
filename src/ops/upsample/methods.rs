//! The methods that record them.

use super::axis::Interpolation;
use super::resize::Resize;
use crate::graph::Var;

/// The extents of what is resized, along its last `AXES` axes, the innermost one last.
///
/// ```
/// use wgrad::Graph;
/// use wgrad::ops::UpsampleSize;
/// let g = Graph::new();
/// let x = g.input("x", [8, 3, 5, 7]);
/// assert_eq!(x.upsample_nearest(UpsampleSize::Factor([2, 3])).shape().dims(), [8, 3, 10, 21]);
/// assert_eq!(x.upsample_bilinear(UpsampleSize::Exactly([9, 9]), false).shape().dims(), [8, 3, 9, 9]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpsampleSize<const AXES: usize> {
    /// As many times what they were.
    Factor([usize; AXES]),
    /// These.
    Exactly([usize; AXES]),
}

impl<'g> Var<'g> {
    /// `[n, c, ..]` with its last `AXES` axes, one to three, resized by the nearest elements: output o of m is element ⌊o n / m⌋ of n,
    /// as in PyTorch's `interpolate` with `nearest`. An element's gradient is the sum of its copies', in order.
    #[track_caller]
    pub fn upsample_nearest<const AXES: usize>(self, size: UpsampleSize<AXES>) -> Var<'g> {
        self.resize(size, Interpolation::Nearest, "upsample_nearest")
    }

    /// Images `[n, c, h, w]` resized by bilinear interpolation: [`Var::upsample_linear`] along both axes.
    #[track_caller]
    pub fn upsample_bilinear(self, size: UpsampleSize<2>, align_corners: bool) -> Var<'g> {
        self.resize(size, Interpolation::Linear { align_corners }, "upsample_bilinear")
    }

    /// `[n, c, ..]` with its last `AXES` axes, one to three, resized by straight lines between elements. Output o of m lies at
    /// (o + 1/2) n / m - 1/2 of n elements, at least 0, or with `align_corners` at o (n - 1) / (m - 1); after the last element
    /// it is the last. As PyTorch's `interpolate` has it with `linear`, `bilinear` and `trilinear`; where there are fewer outputs
    /// than elements, some are not read.
    #[track_caller]
    pub fn upsample_linear<const AXES: usize>(
        self,
        size: UpsampleSize<AXES>,
        align_corners: bool,
    ) -> Var<'g> {
        self.resize(size, Interpolation::Linear { align_corners }, "upsample_linear")
    }

    #[track_caller]
    fn resize<const AXES: usize>(self, size: UpsampleSize<AXES>, how: Interpolation, name: &str) -> Var<'g> {
        let shape = self.shape();
        if !(1..=3).contains(&AXES) || shape.rank() != AXES + 2 {
            let message = format!("takes [n, c, ..] with {AXES} more axes, of one to three, got {shape}");
            return self.graph.refuse(name, message, self);
        }
        let mut y = self;
        // The innermost axis first: the others then move whole vectors.
        for axis in (0..AXES).rev() {
            let extent = shape.dim(2 + axis);
            let outputs = match size {
                UpsampleSize::Exactly(all) => all[axis],
                UpsampleSize::Factor(all) => all[axis].saturating_mul(extent),
            };
            if outputs != extent {
                y = self.graph.record_one(Resize { axis: 2 + axis, outputs, how }, &[y]);
            }
        }
        y
    }
}
