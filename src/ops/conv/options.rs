//! What users say of a convolution besides its extents.

use super::Window;

/// Stride, padding, dilation and groups of a convolution over `AXES` axes; by default 1, none, 1 and 1. Lists go from the
/// outermost axis to the innermost: depth, height, width.
///
/// ```
/// use wgrad::ops::{Conv1dOptions, Conv2dOptions, Padding};
/// let halved = Conv2dOptions { stride: [2, 2], padding: Padding::SameUpper, ..Default::default() };
/// let causal = Conv1dOptions { padding: Padding::Explicit([[2, 0]]), ..Default::default() };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvOptions<const AXES: usize> {
    /// Steps from one output to the next.
    pub stride: [usize; AXES],
    /// Zeros around what is convolved.
    pub padding: Padding<AXES>,
    /// Steps from one element of the kernel to the next.
    pub dilation: [usize; AXES],
    /// Channels are split into this many groups that do not see each other; with as many groups as input
    /// channels, each channel is convolved alone (depthwise).
    pub groups: usize,
}

/// Options of [`Var::conv1d`](crate::Var::conv1d), along the length.
pub type Conv1dOptions = ConvOptions<1>;
/// Options of [`Var::conv2d`](crate::Var::conv2d): vertical, horizontal.
pub type Conv2dOptions = ConvOptions<2>;
/// Options of [`Var::conv3d`](crate::Var::conv3d): along depth, height, width.
pub type Conv3dOptions = ConvOptions<3>;

impl<const AXES: usize> Default for ConvOptions<AXES> {
    fn default() -> Self {
        ConvOptions { stride: [1; AXES], padding: Padding::Valid, dilation: [1; AXES], groups: 1 }
    }
}

/// Zeros put around each axis before a window slides along it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Padding<const AXES: usize = 2> {
    /// None: the window stays inside.
    #[default]
    Valid,
    /// As many as make the output ⌈extent / stride⌉ long; where the number is odd, the larger half comes
    /// after. TensorFlow's `SAME` and ONNX's `SAME_UPPER`.
    SameUpper,
    /// As [`Padding::SameUpper`], with the larger half before: ONNX's `SAME_LOWER`.
    SameLower,
    /// These numbers of zeros along each axis, before and after: of images `[[top, bottom], [left, right]]`.
    Explicit([[usize; 2]; AXES]),
}

impl<const AXES: usize> Padding<AXES> {
    /// The same number on all sides.
    pub fn all(elements: usize) -> Self {
        Padding::Explicit([[elements; 2]; AXES])
    }

    /// Zeros before and after along each axis. `None` where the numbers make no sense or overflow.
    pub(crate) fn resolve(
        self,
        extent: [usize; AXES],
        kernel: [usize; AXES],
        stride: [usize; AXES],
        dilation: [usize; AXES],
    ) -> Option<[[usize; 2]; AXES]> {
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
            Padding::Valid => Some([[0; 2]; AXES]),
            Padding::Explicit(zeros) => Some(zeros),
            Padding::SameUpper | Padding::SameLower => {
                let mut zeros = [[0; 2]; AXES];
                for (axis, zeros) in zeros.iter_mut().enumerate() {
                    *zeros = same(axis)?;
                }
                Some(zeros)
            }
        }
    }
}

/// The extents of what is convolved and of the kernel, after the first two axes of each; `layout` is that of the weight.
pub(super) fn extents<const AXES: usize>(
    x: &[usize],
    weight: &[usize],
    layout: &str,
) -> Result<[[usize; AXES]; 2], String> {
    let axes = names(AXES).join(", ");
    if [x, weight].iter().any(|dims| dims.len() != AXES + 2) || AXES != names(AXES).len() {
        return Err(format!("takes [n, channels, {axes}] and a weight {layout}, got {x:?} and {weight:?}"));
    }
    if x.contains(&0) || weight.contains(&0) {
        return Err(format!("{x:?} and the weight {weight:?} must have elements"));
    }
    Ok([x, weight].map(|dims| std::array::from_fn(|axis| dims[2 + axis])))
}

/// What so many axes are called.
pub(super) fn names(axes: usize) -> &'static [&'static str] {
    match axes {
        1 => &["length"],
        2 => &["height", "width"],
        _ => &["depth", "height", "width"],
    }
}

impl<const AXES: usize> ConvOptions<AXES> {
    /// The window over `x` with a weight of shape `weight`, both of which have elements.
    pub(super) fn window(&self, x: &[usize], weight: &[usize]) -> Result<Window<AXES>, String> {
        let [extent, kernel] = extents(x, weight, "[out, in / groups, ..]")?;
        let ConvOptions { stride, padding, dilation, groups } = *self;
        let padding = padding.resolve(extent, kernel, stride, dilation).ok_or_else(|| {
            format!(
                "{padding:?} padding makes no sense for extents {extent:?}, kernel {kernel:?}, stride {stride:?} and \
                 dilation {dilation:?}"
            )
        })?;
        Ok(Window { stride, padding, dilation, groups })
    }
}

/// Stride, padding, output padding, dilation and groups of a transposed convolution over `AXES` axes; by default 1, none, none,
/// 1 and 1. They are those of the convolution whose gradient it is: its padding is cut off the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvTransposeOptions<const AXES: usize> {
    /// Steps from what one input adds to, to what the next one does.
    pub stride: [usize; AXES],
    /// Elements cut off the output, before and after; [`Padding::SameUpper`] and [`Padding::SameLower`] cut, or add zeros after,
    /// so that the output is extent · stride long, as TensorFlow and ONNX have it.
    pub padding: Padding<AXES>,
    /// Elements more at the end of each axis, fewer than its stride or its dilation: of extents that a strided convolution takes
    /// to the same, which one is meant. What no input reaches is 0, or the bias.
    pub output_padding: [usize; AXES],
    /// Steps from one element of the kernel to the next.
    pub dilation: [usize; AXES],
    /// Channels are split into this many groups that do not see each other.
    pub groups: usize,
}

/// Options of [`Var::conv_transpose1d`](crate::Var::conv_transpose1d), along the length.
pub type ConvTranspose1dOptions = ConvTransposeOptions<1>;
/// Options of [`Var::conv_transpose2d`](crate::Var::conv_transpose2d): vertical, horizontal.
pub type ConvTranspose2dOptions = ConvTransposeOptions<2>;
/// Options of [`Var::conv_transpose3d`](crate::Var::conv_transpose3d): along depth, height, width.
pub type ConvTranspose3dOptions = ConvTransposeOptions<3>;

impl<const AXES: usize> Default for ConvTransposeOptions<AXES> {
    fn default() -> Self {
        ConvTransposeOptions {
            stride: [1; AXES],
            padding: Padding::Valid,
            output_padding: [0; AXES],
            dilation: [1; AXES],
            groups: 1,
        }
    }
}

impl<const AXES: usize> ConvTransposeOptions<AXES> {
    /// The window of the convolution whose gradient it is, and the extents of what comes out.
    pub(super) fn window(
        &self,
        x: &[usize],
        weight: &[usize],
    ) -> Result<(Window<AXES>, [usize; AXES]), String> {
        let [extent, kernel] = extents::<AXES>(x, weight, "[in, out / groups, ..]")?;
        let ConvTransposeOptions { stride, padding, output_padding, dilation, groups } = *self;
        if groups == 0 || weight[0] != x[1] || !x[1].is_multiple_of(groups) {
            return Err(format!("{} input channels in {groups} groups and a weight {weight:?}", x[1]));
        }
        let is_same = matches!(padding, Padding::SameUpper | Padding::SameLower);
        let of_axis = |axis: usize| -> Option<([usize; 2], usize)> {
            let (stride, more) = (stride[axis], output_padding[axis]);
            let span = (kernel[axis] - 1).checked_mul(dilation[axis])?.checked_add(1)?;
            let whole = (extent[axis] - 1).checked_mul(stride)?.checked_add(span)?;
            if is_same {
                let size = extent[axis].checked_mul(stride)?;
                // The convolution of that size with the same padding.
                let of = |n: usize| [n; AXES];
                let zeros = padding.resolve(of(size), of(kernel[axis]), of(stride), of(dilation[axis]))?;
                return (more == 0).then_some((zeros[axis], size));
            }
            let [before, after] = padding.resolve(extent, kernel, self.stride, dilation)?[axis];
            let size = whole.checked_add(more)?.checked_sub(before.checked_add(after)?)?;
            // A convolution of that size has less padding at the end by so much, and beyond that fewer elements at the end than a
            // stride are left over.
            let is_possible = (more < stride || more < dilation[axis]) && more.saturating_sub(after) < stride;
            (is_possible && size > 0).then_some(([before, after.saturating_sub(more)], size))
        };
        let (mut zeros, mut size) = ([[0; 2]; AXES], [0; AXES]);
        for axis in 0..AXES {
            (zeros[axis], size[axis]) = of_axis(axis).ok_or_else(|| {
                format!(
                    "{padding:?} padding and {output_padding:?} more make no sense for extents {extent:?}, kernel {kernel:?}, \
                     stride {stride:?} and dilation {dilation:?}"
                )
            })?;
        }
        Ok((Window { stride, padding: zeros, dilation, groups }, size))
    }
}
