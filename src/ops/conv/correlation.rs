//! What the forward direction and the gradient of the input have in common: one sum, over different arrays.

use super::geometry::Geometry;
use crate::ops::{Uniform, uniform};

/// out\[n, g m + j, oy, ox\] = Σ over i < c, ky, kx of in\[n, g c + i, uy / input_dilation, ux / input_dilation\] weight(g, j, i, ky, kx)
/// with u = o stride + k dilation - before, where the input dilation divides u and the quotient is inside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Correlation {
    pub(super) images: usize,
    pub(super) groups: usize,
    /// Channels of each group that are summed, and that come out.
    pub(super) c: usize,
    pub(super) m: usize,
    pub(super) h: usize,
    pub(super) w: usize,
    pub(super) oh: usize,
    pub(super) ow: usize,
    pub(super) kh: usize,
    pub(super) kw: usize,
    pub(super) stride: [usize; 2],
    pub(super) input_dilation: [usize; 2],
    pub(super) dilation: [usize; 2],
    pub(super) before: [i64; 2],
    /// Elements from one group, one m and one c of the weight to the next, and whether its taps are reversed.
    pub(super) weight_steps: [usize; 3],
    pub(super) flip: bool,
}

impl Correlation {
    /// How the uniforms of its kernels begin.
    pub(super) fn uniform(&self) -> Uniform {
        let &Correlation { images, groups, c, m, h, w, oh, ow, .. } = self;
        uniform! { images, groups, c, m, h, w, oh, ow }
    }

    pub(super) fn forward(g: &Geometry) -> Self {
        Correlation {
            images: g.n,
            groups: g.groups,
            c: g.c,
            m: g.o,
            h: g.h,
            w: g.w,
            oh: g.oh,
            ow: g.ow,
            kh: g.kh,
            kw: g.kw,
            stride: g.stride,
            input_dilation: [1, 1],
            dilation: g.dilation,
            before: [g.top as i64, g.left as i64],
            weight_steps: [g.o * g.depth(), g.depth(), g.taps()],
            flip: false,
        }
    }

    /// The gradient of the input: dy with zeros between its elements, by the weight with its taps reversed and
    /// its channels exchanged.
    pub(super) fn backward(g: &Geometry) -> Self {
        let before = |kernel: usize, axis: usize, padding: usize| {
            ((kernel - 1) * g.dilation[axis]) as i64 - padding as i64
        };
        Correlation {
            c: g.o,
            m: g.c,
            h: g.oh,
            w: g.ow,
            oh: g.h,
            ow: g.w,
            stride: [1, 1],
            input_dilation: g.stride,
            before: [before(g.kh, 0, g.top), before(g.kw, 1, g.left)],
            weight_steps: [g.o * g.depth(), g.taps(), g.depth()],
            flip: true,
            ..Correlation::forward(g)
        }
    }
}
