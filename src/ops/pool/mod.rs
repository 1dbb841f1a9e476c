//! Pooling of planes: maxima and averages over windows, fixed, global or adaptive. Kernels:
//! `shaders/pool.wgsl`, and [`rows`] for software adapters.

mod average;
mod fast;
mod max;
mod rows;
mod window;

use super::elementwise::library_then;
use super::split_k::{SplitK, split_k};
use super::{Arg, Case, Chain, Cut, KernelContext, Program, uniform};
use crate::error::{Error, Result};
use crate::graph::{Var, shape_rule};
use crate::shape::Shape;
use average::AvgPool;
pub(crate) use average::AvgPoolBackward;
use max::MaxPool;
pub(crate) use max::{MaxPoolBackward, MaxPoolGather};
use rows::Pooling;
use window::Axis;
pub(crate) use window::Windows;

const WORKGROUP: usize = 64;

/// The kernel for rows, or one with an invocation for each result. The results follow the inputs: a maximum and its index,
/// or one number.
fn launch(what: Pooling, windows: &Windows, count_padding: bool, ctx: &KernelContext<'_>) -> Result<Program> {
    let plane = if what.is_backward() { ctx.outputs[0].shape } else { ctx.inputs[0].shape };
    let axes = windows.axes(&plane).map_err(Error::Invalid)?;
    let inputs: Vec<Arg> = (0..ctx.inputs.len()).map(Arg::Input).collect();
    let outputs: Vec<Arg> = (0..ctx.outputs.len()).map(Arg::Output).collect();
    let args = [&inputs[..], &outputs, &ctx.epilogue_args()].concat();
    if let Some(program) = rows::program(what, windows, &axes, args, count_padding, ctx)? {
        return Ok(program);
    }
    let along = |axis: &Axis| if what.is_backward() { axis.most_windows() } else { axis.most_elements() };
    let all = axes.iter().map(along).product::<usize>();
    let Cut { pieces: splits, length } = ctx.caps.cut(all, ctx.caps.max_loop_iterations as usize);
    let (elements, [y, x]) = (ctx.outputs[0].shape.elements(), axes);
    let params = uniform! { elements, count_padding, splits, length, y, x };
    let one = |to: &[Arg], chain: Option<&Chain>| {
        let (kernel, args) = (library_then(what.name(), chain, None)?, [&inputs, to].concat());
        let launch = ctx.launch(kernel, args, &params, (elements * splits).div_ceil(WORKGROUP))?;
        Ok(launch.loop_iterations(length))
    };
    if what != Pooling::Max {
        return split_k(&SplitK::of(splits, &[elements]), ctx, one);
    }
    if splits == 1 {
        return Ok(one(&outputs, None)?.into());
    }
    let args = [Arg::ScratchRead(0), Arg::ScratchRead(1), Arg::Output(0), Arg::Output(1)];
    let join = ctx.launch_over("max_pool2d_join", args, &params, elements)?.loop_iterations(splits);
    let first = one(&[Arg::Scratch(0), Arg::Scratch(1)], None)?;
    Ok(Program::new(vec![first, join], vec![4 * elements * splits; 2]))
}

/// `input` with its planes replaced by those of the windows.
fn pooled(input: &Shape, axes: &[Axis; 2]) -> Result<Shape, String> {
    let rank = input.rank();
    let outputs = |a: usize| axes[a].outputs as usize;
    Shape::new(input.with(rank - 2, outputs(0)).with(rank - 1, outputs(1)).dims()).ok_or_else(shape_rule)
}

/// Extents and options of a pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolOptions {
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Distance of neighbouring windows.
    pub stride: [usize; 2],
    /// Rows and columns around the plane: top, bottom, left, right. At most half the window. Maxima never
    /// see them.
    pub padding: [usize; 4],
    /// Distance of neighbouring elements of a window.
    pub dilation: [usize; 2],
}

impl PoolOptions {
    /// Windows of `kernel` × `kernel` side by side, without padding.
    pub fn square(kernel: usize) -> Self {
        PoolOptions { kernel: [kernel; 2], stride: [kernel; 2], padding: [0; 4], dilation: [1; 2] }
    }

    /// Another stride.
    #[must_use]
    pub fn stride(mut self, stride: usize) -> Self {
        self.stride = [stride; 2];
        self
    }

    /// The same padding on all sides.
    #[must_use]
    pub fn padding(mut self, padding: usize) -> Self {
        self.padding = [padding; 4];
        self
    }

    fn windows(self) -> Windows {
        let PoolOptions { kernel, stride, padding, dilation } = self;
        Windows::Fixed { kernel, stride, padding, dilation }
    }
}

impl<'g> Var<'g> {
    /// Maxima over windows of the last two axes: `[n, c, h, w]` to `[n, c, oh, ow]`. Of equal maxima the
    /// first, row by row, gets the gradient.
    #[track_caller]
    pub fn max_pool2d(self, options: PoolOptions) -> Var<'g> {
        self.max_windows(options.windows())
    }

    /// Averages over windows of the last two axes. With `count_padding` the padding's zeros count as
    /// elements, as PyTorch's default has it; without, each window is divided by what it holds.
    #[track_caller]
    pub fn avg_pool2d(self, options: PoolOptions, count_padding: bool) -> Var<'g> {
        self.graph.record_one(AvgPool { windows: options.windows(), count_padding }, &[self])
    }

    /// Maxima over `outputs[0]` × `outputs[1]` windows laid evenly over the last two axes.
    #[track_caller]
    pub fn adaptive_max_pool2d(self, outputs: [usize; 2]) -> Var<'g> {
        self.max_windows(Windows::Adaptive { outputs })
    }

    /// Averages over `outputs[0]` × `outputs[1]` windows laid evenly over the last two axes.
    #[track_caller]
    pub fn adaptive_avg_pool2d(self, outputs: [usize; 2]) -> Var<'g> {
        let windows = Windows::Adaptive { outputs };
        self.graph.record_one(AvgPool { windows, count_padding: false }, &[self])
    }

    /// The average of each plane: `[n, c, h, w]` to `[n, c]`.
    #[track_caller]
    pub fn global_avg_pool2d(self) -> Var<'g> {
        let rank = self.shape().rank();
        match rank {
            0 | 1 => self.graph.refuse("avg_pool2d", "needs planes in the last two axes".into(), self),
            _ => self.mean(&[rank - 2, rank - 1]),
        }
    }

    /// The maximum of each plane: `[n, c, h, w]` to `[n, c]`. Equal maxima share the gradient.
    #[track_caller]
    pub fn global_max_pool2d(self) -> Var<'g> {
        let rank = self.shape().rank();
        match rank {
            0 | 1 => self.graph.refuse("max_pool2d", "needs planes in the last two axes".into(), self),
            _ => self.max(&[rank - 2, rank - 1]),
        }
    }

    #[track_caller]
    fn max_windows(self, windows: Windows) -> Var<'g> {
        self.graph.record(MaxPool { windows }, &[self])[0]
    }
}

/// Maxima over windows of every kind of kernel.
pub(crate) fn nonfinite_cases() -> Vec<Case> {
    let fixed = |kernel, stride, padding| Windows::Fixed { kernel, stride, padding, dilation: [1, 1] };
    [
        (fixed([2, 2], [2, 2], [0; 4]), [1, 16, 16]),
        (fixed([2, 2], [2, 2], [0; 4]), [1, 15, 9]),
        (fixed([1, 8], [1, 8], [0; 4]), [1, 8, 32]),
        (fixed([3, 3], [2, 2], [1; 4]), [1, 16, 11]),
        (fixed([7, 7], [1, 1], [3; 4]), [1, 16, 10]),
        (Windows::Adaptive { outputs: [8, 1] }, [1, 8, 40]),
    ]
    .map(|(windows, shape)| Case::new(MaxPool { windows }, &[&shape]))
    .to_vec()
}

/// Windows of many elements, elements in many windows, and long rows.
pub(crate) fn long_cases() -> Vec<Case> {
    let whole = Windows::Adaptive { outputs: [1, 1] };
    let plane = &[2, 301, 257][..];
    let mut peak = rising(301 * 257);
    peak[25_790] = 1.0;
    let mut cases = vec![
        // A maximum at the end of the window, among negative numbers.
        Case::new(MaxPool { windows: whole }, &[plane]).fill(0, super::Fillings::Given(rising(301 * 257))),
        // The planes have theirs at different positions.
        Case::new(MaxPool { windows: whole }, &[&[3, 301, 257]])
            .fill(0, super::Fillings::Given(rising(300 * 257))),
        // The largest is among the first of the second piece, where the window is cut in three.
        Case::new(MaxPool { windows: whole }, &[&[1, 301, 257]]).fill(0, super::Fillings::Given(peak)),
        // Sums of splits differ by more than they may be off.
        Case::new(AvgPool { windows: whole, count_padding: false }, &[plane])
            .fill(0, super::Fillings::Given(rising(2 * 301 * 257))),
    ];
    let row = Windows::Fixed { kernel: [1, 2], stride: [1, 2], padding: [0; 4], dilation: [1, 1] };
    let many = Windows::Adaptive { outputs: [1, 70_001] };
    // Along both axes.
    let both = Windows::Adaptive { outputs: [300, 290] };
    for (windows, input) in [(row, &[1, 1, 140_003][..]), (many, &[1, 1, 2]), (both, &[1, 2, 2])] {
        let input = super::float(input).shape;
        let Ok(output) = windows.axes(&input).and_then(|a| pooled(&input, &a)) else { continue };
        let (x, out) = (input.dims(), output.dims());
        let gradient = super::Fillings::Given(rising(output.elements()));
        let mut backward = Case::new(MaxPoolBackward { windows, input }, &[out, out]).index(1, 1);
        backward = backward.fill(0, gradient.clone());
        backward.inputs[1].1 = super::Fillings::Given(max::some_index(&windows, &input));
        cases.extend([
            Case::new(MaxPool { windows }, &[x]),
            backward,
            Case::new(AvgPool { windows, count_padding: false }, &[x]),
            Case::new(AvgPoolBackward { windows, count_padding: false, input }, &[out]).fill(0, gradient),
        ]);
    }
    cases
}

/// `n` negative numbers, each larger than the one before.
fn rising(n: usize) -> Vec<f64> {
    (0..n).map(|i| (i as f64 - n as f64) / n as f64).collect()
}

/// Windows on planes that they are checked on.
pub(crate) struct Layout {
    pub(crate) windows: Windows,
    pub(crate) input: Shape,
    pub(crate) output: Shape,
    /// What a maximum could have left as its indices.
    pub(crate) index: Vec<f64>,
}

/// Windows of every kind.
pub(crate) fn layouts() -> Vec<Layout> {
    let fixed = |kernel, stride, padding, dilation| Windows::Fixed { kernel, stride, padding, dilation };
    let square = |k: usize, s: usize, p: usize| fixed([k; 2], [s; 2], [p; 4], [1; 2]);
    let adaptive = |h, w| Windows::Adaptive { outputs: [h, w] };
    let all = [
        (square(1, 1, 0), vec![1, 1]),
        (square(1, 1, 0), vec![2, 3, 5]),
        (square(2, 2, 0), vec![2, 3, 8, 8]),
        (square(2, 2, 0), vec![1, 2, 7, 9]),
        (square(3, 2, 1), vec![2, 2, 7, 6]),
        (square(3, 1, 1), vec![3, 5, 4]),
        (square(3, 3, 0), vec![2, 6, 12]),
        (square(2, 2, 0), vec![3, 6, 10]),
        (square(2, 2, 0), vec![2, 5, 16]),
        (fixed([2, 1], [2, 1], [0; 4], [1, 1]), vec![2, 5, 4]),
        (fixed([1, 4], [2, 5], [0; 4], [1, 1]), vec![2, 5, 15]),
        (fixed([3, 2], [1, 3], [0; 4], [2, 2]), vec![2, 7, 12]),
        (square(7, 3, 3), vec![1, 9, 8]),
        (fixed([2, 3], [1, 2], [1, 0, 1, 1], [1, 1]), vec![2, 5, 6]),
        (fixed([3, 2], [2, 1], [1, 1, 0, 1], [2, 3]), vec![2, 9, 11]),
        // An element may be in more windows than are written out one by one.
        (fixed([2, 2], [1, 1], [1, 0, 0, 1], [9, 11]), vec![2, 11, 14]),
        // The same in planes of the other form, with the padding of the other side.
        (square(3, 2, 1), vec![2, 6, 9]),
        (square(3, 1, 1), vec![2, 4, 7]),
        (square(7, 3, 3), vec![1, 8, 11]),
        (fixed([2, 3], [1, 2], [0, 1, 1, 0], [1, 1]), vec![2, 6, 5]),
        (fixed([3, 2], [2, 1], [1, 1, 1, 0], [2, 3]), vec![2, 11, 8]),
        (fixed([3, 2], [2, 1], [1, 1, 0, 1], [2, 3]), vec![2, 15, 6]),
        // Rows below the last window, of several vectors; and planes without any.
        (square(2, 2, 0), vec![2, 5, 24]),
        (fixed([1, 2], [1, 2], [0; 4], [1, 1]), vec![3, 2, 5]),
        (fixed([2, 2], [3, 3], [0; 4], [3, 2]), vec![2, 11, 9]),
        // Windows of odd extents, whose rows are read one by one; and rows with a column beside the last one.
        (square(3, 3, 0), vec![2, 7, 9]),
        (square(2, 2, 0), vec![2, 4, 7]),
        (square(3, 3, 0), vec![2, 7, 8]),
        // Two windows in a vector of two.
        (fixed([2, 1], [2, 1], [0; 4], [1, 1]), vec![2, 5, 6]),
        (adaptive(1, 1), vec![2, 3, 5, 7]),
        (adaptive(3, 4), vec![2, 7, 9]),
        (adaptive(5, 6), vec![1, 4, 3]),
        (square(2, 2, 0), vec![4, 8, 14, 14]),
    ];
    let layout = |(windows, shape): (Windows, Vec<usize>)| {
        let input = super::float(&shape).shape;
        // All of them fit their shapes.
        let output = windows.axes(&input).and_then(|axes| pooled(&input, &axes)).ok()?;
        Some(Layout { windows, input, output, index: max::some_index(&windows, &input) })
    };
    all.into_iter().filter_map(layout).collect()
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for Layout { windows, input, output, index } in layouts() {
        let (shape, out) = (input.dims(), output.dims());
        cases.push(Case::new(MaxPool { windows }, &[shape]));
        let indexed = |case: Case| {
            let mut case = case.index(1, 1);
            case.inputs[1].1 = super::Fillings::Given(index.clone());
            case
        };
        cases.push(indexed(Case::new(MaxPoolBackward { windows, input }, &[out, out])));
        cases.push(indexed(Case::new(MaxPoolGather { windows }, &[shape, out])));
        for count_padding in [false, true] {
            cases.push(Case::new(AvgPool { windows, count_padding }, &[shape]));
            cases.push(Case::new(AvgPoolBackward { windows, count_padding, input }, &[out]));
        }
    }
    // Ties: the first wins on every executor.
    let square = |k: usize, s: usize| Windows::Fixed {
        kernel: [k; 2],
        stride: [s; 2],
        padding: [0; 4],
        dilation: [1; 2],
    };
    let ties = Case::new(MaxPool { windows: square(2, 1) }, &[&[1, 6, 6]]);
    cases.push(ties.fill(0, super::Fillings::Whole(2)).no_gradient());
    cases.push(Case::new(MaxPool { windows: square(2, 2) }, &[&[16, 16, 28, 28]]).no_gradient());
    cases
}

#[cfg(test)]
mod tests {
    use super::{MaxPoolGather, PoolOptions, Windows};
    use crate::ops::{In, Out, Reference, Slice, SliceMut};
    use crate::{Device, Graph};

    fn run(
        record: impl for<'g> Fn(crate::Var<'g>) -> crate::Var<'g>,
        x: &[f32],
        shape: [usize; 2],
    ) -> Vec<f32> {
        let g = Graph::new();
        g.output("y", record(g.input("x", shape)));
        let mut step = Device::cpu().compile(&g).unwrap();
        step.run_with(&[("x", x.into())]).unwrap();
        step.values("y").unwrap()
    }

    #[test]
    fn known_answers() {
        let x: Vec<f32> = (1..=16).map(|i| i as f32).collect();
        let max = run(|x| x.max_pool2d(PoolOptions::square(2)), &x, [4, 4]);
        assert_eq!(max, [6.0, 8.0, 14.0, 16.0]);
        let padded = PoolOptions::square(3).stride(2).padding(1);
        // Windows at the corner hold 1, 2, 5, 6 and five zeros of padding.
        assert_eq!(run(|x| x.avg_pool2d(padded, true), &x, [4, 4])[0], 14.0 / 9.0);
        assert_eq!(run(|x| x.avg_pool2d(padded, false), &x, [4, 4])[0], 3.5);
        // PyTorch's adaptive_avg_pool2d of 4 elements to 3: windows [0,2), [1,3), [2,4).
        let row = [1.0, 2.0, 4.0, 8.0];
        assert_eq!(run(|x| x.adaptive_avg_pool2d([1, 3]), &row, [1, 4]), [1.5, 3.0, 6.0]);
        assert_eq!(run(|x| x.global_avg_pool2d(), &x, [4, 4]), [8.5]);
    }

    #[test]
    fn the_first_of_equal_maxima_gets_the_gradient() {
        let g = Graph::new();
        let x = g.input("x", [2, 2]);
        let y = x.max_pool2d(PoolOptions::square(2)).sum_all();
        g.output("dx", g.gradients(y, &[x])[0]);
        let mut step = Device::cpu().compile(&g).unwrap();
        step.run_with(&[("x", (&[1.0f32, 3.0, 3.0, 2.0]).into())]).unwrap();
        assert_eq!(step.values("dx").unwrap(), [0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn a_maximum_lies_in_its_own_plane() {
        let windows = Windows::Fixed { kernel: [1, 2], stride: [1, 2], padding: [0; 4], dilation: [1; 2] };
        let shapes = [[2, 1, 4], [2, 1, 2]].map(|s| crate::ops::float(&s).shape);
        let u: Vec<f64> = (1..=8).map(f64::from).collect();
        let gathered = |index: &[u32]| {
            let mut y = [0.0; 4];
            let inputs = [
                In { shape: shapes[0], data: Slice::F(&u) },
                In { shape: shapes[1], data: Slice::U32(index) },
            ];
            let mut outputs = [Out { shape: shapes[1], data: SliceMut::F(&mut y) }];
            MaxPoolGather { windows }.eval(&inputs, &mut outputs).map(|()| y)
        };
        assert_eq!(gathered(&[3, 2, 0, 3]).unwrap(), [4.0, 3.0, 5.0, 8.0]);
        assert_eq!(gathered(&[3, 4, 0, 3]).unwrap_err(), "window 1 has its maximum at 4, outside its plane");
    }

    #[test]
    fn wrong_windows_are_explained() {
        let message = |options| {
            let g = Graph::new();
            g.input("x", [1, 3, 3]).max_pool2d(options);
            g.error().unwrap().to_string()
        };
        assert!(message(PoolOptions::square(4)).contains("does not fit"));
        assert!(message(PoolOptions::square(0)).contains("at least 1"));
        assert!(message(PoolOptions::square(3).padding(2)).contains("half of the window"));
        assert!(message(PoolOptions::square(1 << 40)).contains("2^30"));
    }
}
