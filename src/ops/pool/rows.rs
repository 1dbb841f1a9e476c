//! Which kernels for rows compute fixed windows on software adapters. Their text is `shaders/software/pool2d_rows.wgsl.jinja`.

use minijinja::{Value, context};

use super::Windows;
use super::window::Axis;
use crate::error::Result;
use crate::ops::text::{Epilogue, rendered, vector_type};
use crate::ops::{AdapterClass, Arg, Chain, Kernel, KernelContext, Program, uniform};

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pooling {
    Max,
    MaxBackward,
    Average,
    AverageBackward,
}

impl Pooling {
    /// The op, and its kernel that is not for rows.
    pub(super) fn name(self) -> &'static str {
        match self {
            Pooling::Max => "max_pool2d",
            Pooling::MaxBackward => "max_pool2d_backward",
            Pooling::Average => "avg_pool2d",
            Pooling::AverageBackward => "avg_pool2d_backward",
        }
    }

    pub(super) fn is_backward(self) -> bool {
        matches!(self, Pooling::MaxBackward | Pooling::AverageBackward)
    }

    fn is_max(self) -> bool {
        matches!(self, Pooling::Max | Pooling::MaxBackward)
    }

    /// Bindings in order: name, whether it is on the side of the planes (or of the windows), element type,
    /// and whether it is written.
    fn bindings(self) -> &'static [(&'static str, bool, &'static str, bool)] {
        match self {
            Pooling::Max => {
                &[("x", true, "f32", false), ("y", false, "f32", true), ("at", false, "u32", true)]
            }
            Pooling::MaxBackward => {
                &[("y", false, "f32", false), ("at", false, "u32", false), ("x", true, "f32", true)]
            }
            Pooling::Average => &[("x", true, "f32", false), ("y", false, "f32", true)],
            Pooling::AverageBackward => &[("y", false, "f32", false), ("x", true, "f32", true)],
        }
    }
}

/// Invocations of a workgroup.
const WORKGROUP: usize = 32;

/// Elements of a window at most, and windows that can hold one element: the text has a line or two for each.
const LARGEST: usize = 36;

/// A variant of a kernel: what its text depends on.
#[derive(Debug, Clone, Copy)]
struct Rows {
    what: Pooling,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padded: bool,
    /// Elements of a row of the plane that load or store at once, and windows computed together. More than
    /// one only where windows lie side by side without gaps.
    vector: usize,
    windows: usize,
}

/// The kernel for rows; `None` where windows are adaptive or large, where an element may be in many, or where the
/// adapter is no software.
pub(super) fn program(
    what: Pooling,
    windows: &Windows,
    [y, x]: &[Axis; 2],
    args: Vec<Arg>,
    count_padding: bool,
    ctx: &KernelContext<'_>,
) -> Result<Option<Program>> {
    let Windows::Fixed { kernel, stride, padding, dilation } = *windows else { return Ok(None) };
    if ctx.caps.class == AdapterClass::Gpu {
        return Ok(None);
    }
    let mut rows = Rows { what, kernel, stride, dilation, padded: padding != [0; 4], vector: 1, windows: 1 };
    if !rows.is_short() {
        return Ok(None);
    }
    if rows.side_by_side() {
        (rows.vector, rows.windows) = rows.vectors(x);
    }
    let each = if what.is_backward() && !rows.side_by_side() { y.extent } else { y.outputs } as usize;
    let shape = ctx.outputs[0].shape;
    let planes: usize = shape.dims()[..shape.rank() - 2].iter().product();
    let params = uniform! {
        rows: planes * each, h: y.extent, w: x.extent, oh: y.outputs, ow: x.outputs, top: y.before,
        left: x.before, count_padding,
    };
    let iterations = rows.loop_iterations(y, x);
    if !ctx.caps.allows(iterations) {
        return Ok(None);
    }
    let kernel = rows.kernel(ctx.fusion.epilogue)?;
    let launch = ctx.launch(kernel, args, &params, (planes * each).div_ceil(WORKGROUP))?;
    Ok(Some(launch.loop_iterations(iterations).into()))
}

impl Rows {
    /// Whether the text is of bounded length.
    fn is_short(&self) -> bool {
        let is_few = |[a, b]: [usize; 2]| a.saturating_mul(b) <= LARGEST;
        let gathers = self.what.is_backward() && !self.side_by_side();
        is_few(self.kernel) && (!gathers || is_few([self.holders(0), self.holders(1)]))
    }

    /// Whether every element of the plane is in one window at most, and windows leave no gaps.
    fn side_by_side(&self) -> bool {
        self.kernel == self.stride && self.dilation == [1, 1] && !self.padded
    }

    /// The widest vectors, and the most windows, that divide rows.
    fn vectors(&self, x: &Axis) -> (usize, usize) {
        let (w, ow) = (x.extent as usize, x.outputs as usize);
        // What is left of a row beyond its last window gets zeros one by one.
        let has_rest = self.what.is_backward() && ow * self.kernel[1] != w;
        let mut best = (1, 1);
        for vector in [1, 2, 4] {
            for windows in [1, 2, 4] {
                let fits = ow.is_multiple_of(windows)
                    && w.is_multiple_of(vector)
                    && (windows * self.kernel[1]).is_multiple_of(vector)
                    && windows * self.kernel[0] * self.kernel[1] <= 2 * LARGEST;
                if fits && (vector == 1 || !has_rest) {
                    best = best.max((vector, windows));
                }
            }
        }
        best
    }

    /// Loop iterations of an invocation.
    fn loop_iterations(&self, y: &Axis, x: &Axis) -> usize {
        let [h, w, oh, ow] = [y.extent, x.extent, y.outputs, x.outputs].map(|n| n as usize);
        match (self.what.is_backward(), self.side_by_side()) {
            (true, false) => w,
            (false, _) => ow.div_ceil(self.windows),
            (true, true) => {
                let [kh, kw] = self.kernel;
                let (beside, below) = ((w - ow * kw).div_ceil(self.vector), (h - oh * kh) * w);
                ow.div_ceil(self.windows) + beside * (1 + kh) + below.div_ceil(self.vector)
            }
        }
    }

    /// Windows that can hold one position along an axis.
    fn holders(&self, axis: usize) -> usize {
        ((self.kernel[axis] - 1) * self.dilation[axis] + 1).div_ceil(self.stride[axis])
    }

    fn kernel(&self, chain: Option<&Chain>) -> Result<Kernel> {
        let Rows { what, kernel: [kh, kw], stride: [sy, sx], dilation: [dy, dx], padded, vector, windows } =
            *self;
        let entry = format!("{}_rows", what.name());
        let p = if padded { "p" } else { "" };
        let key = format!("{entry}.k{kh}x{kw}s{sy}x{sx}d{dy}x{dx}{p}.{vector}.{windows}");
        let binding = |&(name, is_plane, element, is_written): &(&str, bool, &str, bool)| {
            let element = vector_type(element, if is_plane { vector } else { windows });
            context! { name, element, is_written }
        };
        let variant: Value = context! {
            kh, kw, sy, sx, dy, dx, padded, windows, n => vector, entry => &entry,
            bindings => what.bindings().iter().map(binding).collect::<Vec<_>>(),
            is_backward => what.is_backward(), is_max => what.is_max(), side_by_side => self.side_by_side(),
            holders => vec![self.holders(0), self.holders(1)], has_epilogue => chain.is_some(),
        };
        let epilogue = chain.map(|chain| Epilogue { chain, vector, columns: None });
        rendered("software/pool2d_rows", key, &entry, variant, epilogue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_of_bounded_length_however_far_apart_elements_lie() {
        use Pooling::{Average, AverageBackward, Max, MaxBackward};
        let mut short = 0;
        for what in [Max, MaxBackward, Average, AverageBackward] {
            for (kernel, stride) in
                [([1, 1], 1), ([2, 2], 1), ([3, 3], 2), ([36, 1], 1), ([6, 6], 3), ([7, 7], 7)]
            {
                for dilation in [1, 2, 10, 100, 10_000] {
                    let (stride, dilation) = ([stride; 2], [dilation; 2]);
                    let rows = Rows { what, kernel, stride, dilation, padded: true, vector: 1, windows: 1 };
                    if rows.is_short() {
                        let n = rows.kernel(None).unwrap().text.len();
                        assert!(n < 100_000, "{n} characters: {rows:?}");
                        short += 1;
                    }
                }
            }
        }
        assert!(short > 40, "{short}");
        let far = Rows {
            what: MaxBackward,
            kernel: [2, 2],
            stride: [1, 1],
            dilation: [100, 100],
            padded: false,
            vector: 1,
            windows: 1,
        };
        assert!(!far.is_short() && Rows { what: Max, ..far }.is_short());
    }
}
