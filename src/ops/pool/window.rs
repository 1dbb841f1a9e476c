//! Where the windows of a pooling lie.

use crate::ops::{Uniform, Words};
use crate::shape::Shape;

/// Windows along one axis; also the shader's struct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Axis {
    pub(super) extent: u32,
    pub(super) outputs: u32,
    pub(super) kernel: u32,
    pub(super) stride: u32,
    pub(super) before: u32,
    pub(super) after: u32,
    pub(super) dilation: u32,
    pub(super) adaptive: u32,
}

impl Words for Axis {
    fn append(self, name: &'static str, uniform: &mut Uniform) {
        let Axis { extent, outputs, kernel, stride, before, after, dilation, adaptive } = self;
        [extent, outputs, kernel, stride, before, after, dilation, adaptive].append(name, uniform);
    }
}

impl Axis {
    /// Positions inside the plane that window `o` covers, in order.
    pub(super) fn window(&self, o: usize) -> impl Iterator<Item = usize> + use<> {
        let (start, count, step) = self.bounds(o);
        let extent = i64::from(self.extent);
        (0..count)
            .map(move |i| start + i * step)
            .filter(move |&at| at >= 0 && at < extent)
            .map(|at| at as usize)
    }

    fn bounds(&self, o: usize) -> (i64, i64, i64) {
        let (extent, outputs, o) = (u64::from(self.extent), u64::from(self.outputs), o as u64);
        if self.adaptive == 1 {
            let (start, end) = (o * extent / outputs, ((o + 1) * extent).div_ceil(outputs));
            return (start as i64, (end - start) as i64, 1);
        }
        let start = o as i64 * i64::from(self.stride) - i64::from(self.before);
        (start, i64::from(self.kernel), i64::from(self.dilation))
    }

    /// Elements of the largest window, those beyond the plane counted too.
    pub(super) fn most_elements(&self) -> usize {
        let [extent, outputs, kernel] = [self.extent, self.outputs, self.kernel].map(|n| n as usize);
        // From floor(o extent / outputs) to ceil((o + 1) extent / outputs).
        if self.adaptive == 1 { extent.min(extent / outputs + 2) } else { kernel }
    }

    /// Windows that are looked at for one position, at most.
    pub(super) fn most_windows(&self) -> usize {
        let [extent, outputs, kernel, stride, dilation] =
            [self.extent, self.outputs, self.kernel, self.stride, self.dilation].map(|n| n as usize);
        match self.adaptive {
            1 => outputs.min(outputs / extent + 2),
            _ => outputs.min((kernel - 1) * dilation / stride + 1),
        }
    }

    /// Elements of window `o` for averages: inside the plane, or inside the padded plane.
    pub(super) fn size(&self, o: usize, count_padding: bool) -> usize {
        let (start, count, step) = self.bounds(o);
        let (low, high) = match count_padding {
            true => (-i64::from(self.before), i64::from(self.extent + self.after)),
            false => (0, i64::from(self.extent)),
        };
        (0..count).filter(|i| (low..high).contains(&(start + i * step))).count()
    }
}

/// How windows are laid: by kernel, stride, padding and dilation, or as many as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Windows {
    /// Kernel, stride, padding \[top, bottom, left, right\] and dilation.
    Fixed { kernel: [usize; 2], stride: [usize; 2], padding: [usize; 4], dilation: [usize; 2] },
    /// This many windows along each axis, evenly laid over the plane: PyTorch's adaptive pooling.
    Adaptive { outputs: [usize; 2] },
}

impl Windows {
    /// The windows on planes of the last two axes of `input`.
    pub(super) fn axes(&self, input: &Shape) -> Result<[Axis; 2], String> {
        let rank = input.rank();
        if rank < 2 || input.elements() == 0 {
            return Err(format!("needs planes in the last two axes, got {input}"));
        }
        let axis = |a: usize| {
            let extent = input.dim(rank - 2 + a);
            match *self {
                Windows::Adaptive { outputs } => adaptive(extent, outputs[a]),
                Windows::Fixed { kernel, stride, padding, dilation } => {
                    fixed(extent, kernel[a], stride[a], padding[2 * a], padding[2 * a + 1], dilation[a])
                }
            }
        };
        Ok([axis(0)?, axis(1)?])
    }
}

fn adaptive(extent: usize, outputs: usize) -> Result<Axis, String> {
    if outputs == 0 || (extent as u64 + 1) * (outputs as u64 + 1) > u64::from(u32::MAX) {
        return Err(format!("{outputs} adaptive windows over {extent} elements: not a number of windows"));
    }
    let (extent, outputs) = (extent as u32, outputs as u32);
    Ok(Axis { extent, outputs, kernel: 1, stride: 1, before: 0, after: 0, dilation: 1, adaptive: 1 })
}

fn fixed(
    extent: usize,
    kernel: usize,
    stride: usize,
    before: usize,
    after: usize,
    dilation: usize,
) -> Result<Axis, String> {
    if kernel == 0 || stride == 0 || dilation == 0 {
        return Err("kernel, stride and dilation must be at least 1".into());
    }
    let limit = 1 << 30;
    if [extent, kernel, stride, before, after, dilation].iter().any(|&v| v > limit)
        || (kernel - 1) as u64 * dilation as u64 > limit as u64
    {
        return Err("a window or plane of more than 2^30 elements along an axis".into());
    }
    // Half a window, as in PyTorch: more would make windows of padding alone.
    let reach = (kernel - 1) * dilation + 1;
    if before * 2 > reach || after * 2 > reach {
        return Err(format!("padding {before} and {after} is more than half of the window of {reach}"));
    }
    let padded = extent + before + after;
    if padded < reach {
        return Err(format!("a window of {reach} does not fit in {extent} elements padded to {padded}"));
    }
    let outputs = (padded - reach) / stride + 1;
    let axis = Axis {
        extent: extent as u32,
        outputs: outputs as u32,
        kernel: kernel as u32,
        stride: stride as u32,
        before: before as u32,
        after: after as u32,
        dilation: dilation as u32,
        adaptive: 0,
    };
    // With dilation a window may lie on both sides of a small plane and touch nothing of it.
    if (0..outputs).any(|o| axis.window(o).next().is_none()) {
        return Err(format!("a window of {kernel} elements {dilation} apart misses all {extent} elements"));
    }
    Ok(axis)
}
