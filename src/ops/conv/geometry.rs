//! The numbers of a convolution, checked once and shared by its three directions.

/// How a convolution reads its input: everything but the extents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// Steps from one output to the next, down and across.
    pub(crate) stride: [usize; 2],
    /// Zeros around the input: top, bottom, left, right.
    pub(crate) padding: [usize; 4],
    /// Steps from one element of the kernel to the next.
    pub(crate) dilation: [usize; 2],
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

/// How the uniform of most kernels begins.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct Extents {
    images: u32,
    groups: u32,
    /// Channels of each group that go in and that come out.
    c: u32,
    m: u32,
    h: u32,
    w: u32,
    oh: u32,
    ow: u32,
}

impl Extents {
    pub(super) fn of(g: &Geometry) -> Self {
        Extents::new(g.n, g.groups, [g.c, g.o], [g.h, g.w], [g.oh, g.ow])
    }

    /// From extents that a tensor has, which fit.
    pub(super) fn new(n: usize, groups: usize, c: [usize; 2], from: [usize; 2], to: [usize; 2]) -> Self {
        let [images, groups] = [n, groups].map(|n| n as u32);
        let [[c, m], [h, w], [oh, ow]] = [c, from, to].map(|pair| pair.map(|n| n as u32));
        Extents { images, groups, c, m, h, w, oh, ow }
    }
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

impl Window {
    /// The geometry of `x` `[n, c, h, w]` by `weight` `[o, c / groups, kh, kw]`.
    pub(super) fn geometry(&self, x: &[usize], weight: &[usize]) -> Result<Geometry, String> {
        let (&[n, channels, h, w], &[outputs, c, kh, kw]) = (x, weight) else {
            return Err(format!(
                "takes images [n, c, h, w] and a weight [o, c / groups, kh, kw], got {x:?} and {weight:?}"
            ));
        };
        if x.contains(&0) || weight.contains(&0) {
            return Err(format!("images {x:?} and weight {weight:?} must have elements"));
        }
        let groups = self.groups;
        for (what, value) in [
            ("groups", groups),
            ("the vertical stride", self.stride[0]),
            ("the horizontal stride", self.stride[1]),
            ("the vertical dilation", self.dilation[0]),
            ("the horizontal dilation", self.dilation[1]),
        ] {
            if value == 0 {
                return Err(format!("{what} must be at least 1, got 0"));
            }
        }
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
        let [top, bottom, left, right] = self.padding;
        let oh = output_extent("height", h, kh, self.stride[0], [top, bottom], self.dilation[0])?;
        let ow = output_extent("width", w, kw, self.stride[1], [left, right], self.dilation[1])?;
        let (stride, dilation) = (self.stride, self.dilation);
        Ok(Geometry { n, groups, c, o: outputs / groups, h, w, kh, kw, oh, ow, stride, dilation, top, left })
    }
}

impl Geometry {
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

    /// Whether it is such a product over every second pixel of every second row, whose rows are whole vectors.
    pub(super) fn is_product_of_half(&self) -> bool {
        let half = (self.h, self.w, self.top, self.left) == (2 * self.oh, 2 * self.ow, 0, 0);
        self.taps() == 1 && self.stride == [2, 2] && self.groups == 1 && half && self.w.is_multiple_of(4)
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

/// Zeros put around the two spatial axes of an image before a window slides over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Padding {
    /// None: the window stays inside.
    #[default]
    Valid,
    /// As many as make the output ⌈extent / stride⌉ long; where the number is odd, the larger half comes
    /// after. TensorFlow's `SAME` and ONNX's `SAME_UPPER`.
    SameUpper,
    /// As [`Padding::SameUpper`], with the larger half before: ONNX's `SAME_LOWER`.
    SameLower,
    /// These numbers of zeros.
    Explicit {
        /// Rows above.
        top: usize,
        /// Rows below.
        bottom: usize,
        /// Columns before.
        left: usize,
        /// Columns after.
        right: usize,
    },
}

impl Padding {
    /// The same number on all four sides.
    pub fn all(elements: usize) -> Self {
        Padding::Explicit { top: elements, bottom: elements, left: elements, right: elements }
    }

    /// Zeros above, below, before and after, for extents, kernel, stride and dilation, each `[vertical,
    /// horizontal]`. `None` where the numbers make no sense or overflow.
    pub(crate) fn resolve(
        self,
        extent: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
    ) -> Option<[usize; 4]> {
        let same = |axis: usize| {
            if stride[axis] == 0 || kernel[axis] == 0 || extent[axis] == 0 {
                return None;
            }
            let last = (extent[axis].div_ceil(stride[axis]) - 1).checked_mul(stride[axis])?;
            let span = (kernel[axis] - 1).checked_mul(dilation[axis])?.checked_add(1)?;
            let total = last.checked_add(span)?.saturating_sub(extent[axis]);
            let less = total / 2;
            Some(if self == Padding::SameUpper { [less, total - less] } else { [total - less, less] })
        };
        match self {
            Padding::Valid => Some([0; 4]),
            Padding::Explicit { top, bottom, left, right } => Some([top, bottom, left, right]),
            Padding::SameUpper | Padding::SameLower => {
                let ([top, bottom], [left, right]) = (same(0)?, same(1)?);
                Some([top, bottom, left, right])
            }
        }
    }
}
