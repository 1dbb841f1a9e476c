//! The numbers of a convolution, checked once and shared by its three directions.

use super::options::{extents, names};
use crate::graph::shape_rule;
use crate::ops::{Uniform, uniform};

/// How a convolution reads its input along each axis, the innermost one last: everything but the extents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window<const AXES: usize = 2> {
    /// Steps from one output to the next.
    pub(crate) stride: [usize; AXES],
    /// Zeros before and after the input.
    pub(crate) padding: [[usize; 2]; AXES],
    /// Steps from one element of the kernel to the next.
    pub(crate) dilation: [usize; AXES],
    /// Channels are split into this many groups that do not see each other.
    pub(crate) groups: usize,
}

/// Extents and steps of one convolution y = x * weight.
///
/// y\[n, g o + j, oy, ox\] = Σ over i < c, ky, kx of
///     x\[n, g c + i, oy stride + ky dilation - top, ox stride + kx dilation - left\]
///     weight\[g o + j, i, ky, kx\]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Images of the batch.
    pub(super) n: usize,
    pub(super) groups: usize,
    /// Channels of x and of y in each group.
    pub(super) c: usize,
    pub(super) o: usize,
    /// Extents of x, of the kernel and of y.
    pub(super) h: usize,
    pub(super) w: usize,
    pub(super) kh: usize,
    pub(super) kw: usize,
    pub(super) oh: usize,
    pub(super) ow: usize,
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    pub(super) top: usize,
    pub(super) left: usize,
}

/// The extent of the output along one axis, or what is wrong.
fn output_extent(
    axis: &str,
    extent: usize,
    kernel: usize,
    stride: usize,
    padding: [usize; 2],
    dilation: usize,
) -> Result<usize, String> {
    let padded = extent.checked_add(padding[0]).and_then(|e| e.checked_add(padding[1]));
    let span = (kernel - 1).checked_mul(dilation).and_then(|e| e.checked_add(1));
    // Kernels compute positions as i32.
    let limit = i32::MAX as usize / 2;
    match (padded, span) {
        (Some(padded), Some(span)) if padded <= limit && span <= limit && stride <= limit => {
            if span > padded {
                return Err(format!(
                    "the kernel spans {span} elements along the {axis} ({kernel} with dilation {dilation}), \
                     the padded input has {padded} ({extent} + {} + {})",
                    padding[0], padding[1]
                ));
            }
            Ok((padded - span) / stride + 1)
        }
        _ => Err(format!(
            "{axis} {extent} with padding {} + {}, kernel {kernel}, stride {stride} and dilation {dilation} \
             is beyond {limit} elements",
            padding[0], padding[1]
        )),
    }
}

impl<const AXES: usize> Window<AXES> {
    /// The extents of what comes of `x` `[n, c, ..]` by `weight` `[o, c / groups, ..]`, or what is wrong.
    pub(super) fn outputs(&self, x: &[usize], weight: &[usize]) -> Result<[usize; AXES], String> {
        let [extent, kernel] = extents::<AXES>(x, weight, "[out, in / groups, ..]")?;
        let (names, groups) = (names(AXES), self.groups);
        if groups == 0 {
            return Err("groups must be at least 1, got 0".into());
        }
        for (axis, name) in names.iter().enumerate() {
            for (what, value) in [("stride", self.stride[axis]), ("dilation", self.dilation[axis])] {
                if value == 0 {
                    return Err(format!("the {what} along the {name} must be at least 1, got 0"));
                }
            }
        }
        let (channels, outputs, c) = (x[1], weight[0], weight[1]);
        if !channels.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
            return Err(format!(
                "{groups} groups do not divide {channels} input and {outputs} output channels"
            ));
        }
        if c != channels / groups {
            return Err(format!(
                "{channels} input channels in {groups} groups are {} each, the weight {weight:?} takes {c}",
                channels / groups
            ));
        }
        let mut found = [0; AXES];
        for (axis, found) in found.iter_mut().enumerate() {
            let (stride, padding, dilation) = (self.stride[axis], self.padding[axis], self.dilation[axis]);
            *found = output_extent(names[axis], extent[axis], kernel[axis], stride, padding, dilation)?;
        }
        Ok(found)
    }

    /// Whether along this axis outputs are inputs: a kernel of one element takes every one.
    pub(super) fn is_flat(&self, axis: usize, kernel: usize) -> bool {
        kernel == 1 && self.stride[axis] == 1 && self.padding[axis] == [0, 0]
    }

    /// The window along the axes of these places, where what is left out is [`Window::is_flat`].
    pub(super) fn along<const OTHER: usize>(&self, axes: [Option<usize>; OTHER]) -> Window<OTHER> {
        let of = |values: &[usize; AXES]| axes.map(|axis| axis.map_or(1, |axis| values[axis]));
        Window {
            stride: of(&self.stride),
            padding: axes.map(|axis| axis.map_or([0, 0], |axis| self.padding[axis])),
            dilation: of(&self.dilation),
            groups: self.groups,
        }
    }
}

impl Window {
    /// The geometry of `x` `[n, c, h, w]` by `weight` `[o, c / groups, kh, kw]`.
    pub(super) fn geometry(&self, x: &[usize], weight: &[usize]) -> Result<Geometry, String> {
        let [oh, ow] = self.outputs(x, weight)?;
        let (&[n, _, h, w], &[outputs, c, kh, kw]) = (x, weight) else { return Err(shape_rule()) };
        let &Window { stride, padding: [[top, _], [left, _]], dilation, groups } = self;
        Ok(Geometry { n, groups, c, o: outputs / groups, h, w, kh, kw, oh, ow, stride, dilation, top, left })
    }
}

impl Geometry {
    /// How the uniforms of the weight's gradient begin.
    pub(super) fn uniform(&self) -> Uniform {
        let &Geometry { n, groups, c, o, h, w, oh, ow, .. } = self;
        uniform! { images: n, groups, c, o, h, w, oh, ow }
    }

    /// Shape of y.
    pub(super) fn output(&self) -> [usize; 4] {
        [self.n, self.groups * self.o, self.oh, self.ow]
    }

    /// Elements of the kernel of one pair of channels.
    pub(super) fn taps(&self) -> usize {
        self.kh * self.kw
    }

    /// Whether it is a product of matrices: the weight's, and that of each image, channels by pixels.
    pub(super) fn is_product(&self) -> bool {
        let same = (self.h, self.w, self.top, self.left) == (self.oh, self.ow, 0, 0);
        self.taps() == 1 && self.stride == [1, 1] && self.groups == 1 && same
    }

    /// Elements of the gradient of the weight and, with `bias`, of that of the bias.
    pub(super) fn gradients(&self, bias: bool) -> Vec<usize> {
        let channels = self.groups * self.o;
        let all = [channels * self.depth(), channels];
        all[..1 + usize::from(bias)].to_vec()
    }

    /// Products that each output sums, in the group: c kh kw.
    pub(super) fn depth(&self) -> usize {
        self.c * self.taps()
    }

    /// Multiply-adds of any direction, products with padding included.
    pub(super) fn multiplications(&self) -> usize {
        self.n * self.groups * self.o * self.oh * self.ow * self.depth()
    }
}
