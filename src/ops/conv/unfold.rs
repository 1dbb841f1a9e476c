//! Windows along one axis as channels, by which a convolution of volumes is one of images, and the sum of windows that overlap:
//! each is the gradient of the other. Kernels: `shaders/unfold.wgsl`.

use super::geometry::Window;
use crate::error::{Error, Result};
use crate::graph::{Var, shape_rule};
use crate::host::threads;
use crate::ops::{
    Arg, Backward, Case, Dispatch, Gradients, In, KernelContext, Op, Out, Program, Real, Reference,
    bound_of_sums, expect, magnitudes, uniform,
};
use crate::shape::{DType, Shape, TensorType};

/// Windows along an axis of so many elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Depth {
    pub(super) window: Window<1>,
    pub(super) kernel: usize,
    pub(super) extent: usize,
}

impl Depth {
    /// How many there are, or what is wrong.
    fn windows(&self) -> Result<usize, String> {
        let [windows] = self.window.outputs(&[1, 1, self.extent], &[1, 1, self.kernel])?;
        Ok(windows)
    }

    /// Whether all elements are one window.
    fn is_one(&self) -> bool {
        self.window.padding[0] == [0, 0] && self.kernel == self.extent && self.window.dilation == [1]
    }

    /// `[n, c, extent, i]` as `[n · windows, c · kernel, i]`, copied where elements change their order.
    #[track_caller]
    pub(super) fn unfold<'g>(self, x: Var<'g>) -> Var<'g> {
        let [n, c, i] = [0, 1, 3].map(|axis| x.dim(axis));
        if self.is_one() {
            return x.reshape([n, c * self.kernel, i]);
        }
        if self.window.is_flat(0, self.kernel) {
            return x.permute(&[0, 2, 1, 3]).reshape([n * self.extent, c, i]);
        }
        x.graph.record_one(Unfold(self), &[x])
    }

    /// The gradient of [`Depth::unfold`], of `n` rows: `[n, c, extent, i]`.
    #[track_caller]
    pub(super) fn fold<'g>(self, y: Var<'g>, n: usize) -> Var<'g> {
        let [c, i] = [1, 2].map(|axis| y.dim(axis));
        if self.is_one() {
            return y.reshape([n, c / self.kernel, self.extent, i]);
        }
        if self.window.is_flat(0, self.kernel) {
            return y.reshape([n, self.extent, c, i]).permute(&[0, 2, 1, 3]);
        }
        y.graph.record_one(Fold(self), &[y])
    }

    /// Extents of both sides, from those that the axis is part of: `[n, c, extent, i]`, or `[n · windows, c · kernel, i]`.
    fn sizes(&self, dims: &[usize]) -> Result<Sizes, String> {
        let windows = self.windows()?;
        let (n, c, inner) = match *dims {
            [n, c, extent, i] if extent == self.extent => (n, c, i),
            [n, c, i] if n.is_multiple_of(windows) && c.is_multiple_of(self.kernel) => {
                (n / windows, c / self.kernel, i)
            }
            _ => return Err(format!("is made for {self:?}, not for {dims:?}")),
        };
        Ok(Sizes { n, c, windows, inner })
    }

    /// Calls `visit(index into x, index into y)` for each run of `inner` elements that is in a window.
    fn each(&self, s: &Sizes, mut visit: impl FnMut(usize, usize)) {
        for row in 0..s.n * s.windows * s.c * self.kernel {
            if let Some(x) = self.origin(s, row) {
                visit(x, row * s.inner);
            }
        }
    }

    /// Where a row of y comes from, if not from the padding.
    fn origin(&self, s: &Sizes, row: usize) -> Option<usize> {
        let (k, plane) = (row % self.kernel, row / self.kernel);
        let (c, window) = (plane % s.c, plane / s.c);
        let at = window % s.windows * self.window.stride[0] + k * self.window.dilation[0];
        let at = at.checked_sub(self.window.padding[0][0]).filter(|at| *at < self.extent)?;
        Some(((window / s.windows * s.c + c) * self.extent + at) * s.inner)
    }

    /// A launch of `entry`, or of its form for vectors.
    fn launch(&self, entry: &str, s: &Sizes, ctx: &KernelContext<'_>) -> Result<Dispatch> {
        let each = if s.inner.is_multiple_of(4) { 4 } else { 1 };
        let entry = if each == 4 { format!("{entry}4") } else { entry.to_string() };
        let elements = ctx.outputs[0].shape.elements() / each;
        let params = uniform! {
            elements, inner: s.inner / each, channels: s.c, kernel: self.kernel, windows: s.windows, extent: self.extent,
            stride: self.window.stride[0], dilation: self.window.dilation[0], before: self.window.padding[0][0],
        };
        ctx.launch_over(&entry, [Arg::Input(0), Arg::Output(0)], &params, elements)
    }
}

/// Extents besides those of the windows.
struct Sizes {
    n: usize,
    c: usize,
    windows: usize,
    inner: usize,
}

impl Sizes {
    fn folded(&self, depth: &Depth) -> Result<Vec<TensorType>, String> {
        typed(&[self.n, self.c, depth.extent, self.inner])
    }

    fn unfolded(&self, depth: &Depth) -> Result<Vec<TensorType>, String> {
        let product = |a: usize, b: usize| a.checked_mul(b).ok_or_else(shape_rule);
        typed(&[product(self.n, self.windows)?, product(self.c, depth.kernel)?, self.inner])
    }
}

fn typed(dims: &[usize]) -> Result<Vec<TensorType>, String> {
    Ok(vec![TensorType::f32(Shape::new(dims).ok_or_else(shape_rule)?)])
}

/// y\[n, o, c, k, i\] = x\[n, c, o stride + k dilation - before, i\], 0 where that is outside: `[n, c, extent, i]` to
/// `[n · windows, c · kernel, i]`.
#[derive(Debug, Clone, Copy)]
struct Unfold(Depth);

/// x\[n, c, p, i\] = Σ over k of y\[n, o, c, k, i\] with o stride + k dilation - before = p.
#[derive(Debug, Clone, Copy)]
struct Fold(Depth);

impl<T: Real> Reference<T> for Unfold {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let s = self.0.sizes(inputs[0].shape.dims())?;
        let (x, y) = (inputs[0].f(), outputs[0].f());
        y.fill(T::zero());
        self.0.each(&s, |from, to| y[to..to + s.inner].copy_from_slice(&x[from..from + s.inner]));
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let s = self.0.sizes(inputs[0].shape.dims())?;
        let x = inputs[0].f();
        threads::runs(outputs[0].f(), s.inner.max(1), 1, |first, y| {
            for (row, y) in y.chunks_exact_mut(s.inner.max(1)).enumerate() {
                match self.0.origin(&s, first / s.inner + row) {
                    Some(from) => y.copy_from_slice(&x[from..from + s.inner]),
                    None => y.fill(T::zero()),
                }
            }
        });
        Ok(())
    }
}

impl<T: Real> Reference<T> for Fold {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let s = self.0.sizes(inputs[0].shape.dims())?;
        let (y, x) = (inputs[0].f(), outputs[0].f());
        x.fill(T::zero());
        self.0.each(&s, |to, from| {
            x[to..to + s.inner].iter_mut().zip(&y[from..from + s.inner]).for_each(|(x, y)| *x = *x + *y);
        });
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let s = self.0.sizes(inputs[0].shape.dims())?;
        let (y, plane) = (inputs[0].f(), self.0.extent * s.inner);
        threads::runs(outputs[0].f(), plane.max(1), self.0.kernel, |first, x| {
            for (at, x) in x.chunks_exact_mut(plane.max(1)).enumerate() {
                x.fill(T::zero());
                // The windows of one channel of one row.
                let (n, c) = ((first / plane + at) / s.c, (first / plane + at) % s.c);
                let begin = (n * s.c + c) * plane;
                for window in 0..s.windows {
                    for k in 0..self.0.kernel {
                        let row = ((n * s.windows + window) * s.c + c) * self.0.kernel + k;
                        let Some(to) = self.0.origin(&s, row) else { continue };
                        let from = &y[row * s.inner..(row + 1) * s.inner];
                        x[to - begin..].iter_mut().zip(from).for_each(|(x, y)| *x = *x + *y);
                    }
                }
            }
        });
        Ok(())
    }
}

impl Op for Unfold {
    fn name(&self) -> &'static str {
        "unfold"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32])?;
        match inputs[0].shape.rank() {
            4 => self.0.sizes(inputs[0].shape.dims())?.unfolded(&self.0),
            _ => Err(format!("takes [n, c, extent, i], got {}", inputs[0])),
        }
    }

    fn grad<'g>(&self, Backward { upstream, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        Ok(vec![upstream[0].map(|dy| dy.graph().record_one(Fold(self.0), &[dy]))])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        // `infer` accepted the shape.
        let s = self.0.sizes(ctx.inputs[0].shape.dims()).map_err(Error::Invalid)?;
        Ok(self.0.launch("unfold", &s, ctx)?.into())
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }
}

impl Op for Fold {
    fn name(&self) -> &'static str {
        "fold"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32])?;
        match inputs[0].shape.rank() {
            3 => self.0.sizes(inputs[0].shape.dims())?.folded(&self.0),
            _ => Err(format!("takes [n · windows, c · kernel, i], got {}", inputs[0])),
        }
    }

    fn grad<'g>(&self, Backward { upstream, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        Ok(vec![upstream[0].map(|dx| dx.graph().record_one(Unfold(self.0), &[dx]))])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let s = self.0.sizes(ctx.inputs[0].shape.dims()).map_err(Error::Invalid)?;
        Ok(self.0.launch("fold", &s, ctx)?.loop_iterations(self.0.kernel).into())
    }

    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        vec![bound_of_sums(&magnitudes(self, inputs, &outputs[0]), self.0.kernel as f64)]
    }

    /// An addition for each element that is in a window.
    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        inputs[0].shape.elements() as u64
    }
}

pub(super) fn cases() -> Vec<Case> {
    let of = |extent, kernel, stride, padding, dilation| {
        let window = Window { stride: [stride], padding: [padding], dilation: [dilation], groups: 1 };
        Depth { window, kernel, extent }
    };
    let mut cases = Vec::new();
    for (depth, n, c, inner) in [
        (of(1, 1, 1, [0, 0], 1), 1, 1, 1),
        (of(5, 3, 1, [1, 1], 1), 2, 3, 6),
        (of(6, 3, 1, [1, 1], 1), 2, 3, 8),
        (of(7, 2, 2, [0, 0], 1), 3, 2, 5),
        (of(8, 4, 3, [2, 1], 2), 2, 3, 12),
        (of(9, 3, 2, [0, 3], 3), 1, 4, 7),
        // Elements between windows, and windows in padding alone.
        (of(7, 1, 3, [1, 2], 1), 2, 2, 4),
        (of(2, 2, 1, [4, 3], 2), 2, 5, 3),
        // More windows than elements, which not all of the kernel meets.
        (of(2, 3, 2, [6, 5], 1), 2, 2, 3),
        // Several workgroups.
        (of(9, 5, 2, [2, 2], 1), 3, 4, 20),
        (of(11, 5, 1, [2, 2], 1), 2, 3, 9),
    ] {
        // All of them fit.
        let windows = depth.windows().unwrap_or(1);
        cases.push(Case::new(Unfold(depth), &[&[n, c, depth.extent, inner]]));
        cases.push(Case::new(Fold(depth), &[&[n * windows, c * depth.kernel, inner]]));
    }
    // More workgroups than a folded grid has in a row.
    let depth = of(8, 3, 1, [1, 1], 1);
    for inner in [96, 97] {
        cases.push(Case::new(Unfold(depth), &[&[3, 4, 8, inner]]).no_gradient());
        cases.push(Case::new(Fold(depth), &[&[3 * 8, 4 * 3, inner]]).no_gradient());
    }
    cases
}
