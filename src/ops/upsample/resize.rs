//! One axis resized, and the gradient.

use super::axis::{Axis, Interpolation};
use crate::error::{Error, Result};
use crate::graph::shape_rule;
use crate::host::threads;
use crate::ops::split_k::{SplitK, split_k};
use crate::ops::{
    Arg, Backward, Cut, Gradients, In, Kernel, KernelContext, Op, Out, Program, Real, Reference, TINY, UNIT,
    bound_of_sums, expect, magnitudes, uniform,
};
use crate::shape::{DType, Shape, TensorType};

/// An axis of any tensor resized to `outputs` elements.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resize {
    pub(super) axis: usize,
    pub(super) outputs: usize,
    pub(super) how: Interpolation,
}

/// The gradient of an axis of `extent` elements.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResizeBackward {
    pub(super) axis: usize,
    pub(super) extent: usize,
    pub(super) how: Interpolation,
}

/// What lies around the axis, and the axis: a tensor is `[outer, extent, inner]`.
struct Layout {
    axis: Axis,
    outer: usize,
    inner: usize,
}

impl Layout {
    fn new(
        shape: &Shape,
        at: usize,
        [extent, outputs]: [usize; 2],
        how: Interpolation,
    ) -> Result<Self, String> {
        let axis = Axis::new(extent, outputs, how).ok_or_else(|| {
            format!("{extent} elements to {outputs} of {shape}: both must be at least 1, and not beyond 2^29 together")
        })?;
        let dims = shape.dims();
        Ok(Layout { axis, outer: dims[..at].iter().product(), inner: dims[at + 1..].iter().product() })
    }
}

fn resized(shape: &Shape, axis: usize, extent: usize) -> Result<Vec<TensorType>, String> {
    let shape = Shape::new(shape.with(axis, extent).dims()).ok_or_else(shape_rule)?;
    Ok(vec![TensorType::f32(shape)])
}

fn has_axis(inputs: &[TensorType], axis: usize) -> Result<(), String> {
    expect(inputs, &[DType::F32])?;
    if axis < inputs[0].shape.rank() {
        Ok(())
    } else {
        Err(format!("there is no axis {axis} in {}", inputs[0]))
    }
}

impl Resize {
    fn layout(&self, x: &Shape) -> Result<Layout, String> {
        Layout::new(x, self.axis, [x.dim(self.axis), self.outputs], self.how)
    }
}

impl ResizeBackward {
    fn layout(&self, dy: &Shape) -> Result<Layout, String> {
        Layout::new(dy, self.axis, [self.extent, dy.dim(self.axis)], self.how)
    }
}

/// From one number to the next by the share of the second.
fn between<T: Real>(first: T, second: T, share: T) -> T {
    first * (T::one() - share) + second * share
}

impl<T: Real> Reference<T> for Resize {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let Layout { axis, inner, .. } = self.layout(&inputs[0].shape)?;
        let (x, y) = (inputs[0].f(), outputs[0].f());
        for (i, y) in y.iter_mut().enumerate() {
            let (outer, o, column) = (i / inner / axis.outputs, i / inner % axis.outputs, i % inner);
            let (index, share) = axis.position::<T>(o);
            let at = (outer * axis.extent + index) * inner + column;
            *y = if share > T::zero() { between(x[at], x[at + inner], share) } else { x[at] };
        }
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let Layout { axis, inner, .. } = self.layout(&inputs[0].shape)?;
        let x = inputs[0].f();
        let positions: Vec<(usize, T)> = (0..axis.outputs).map(|o| axis.position(o)).collect();
        let (from, to) = (axis.extent * inner, axis.outputs * inner);
        threads::runs(outputs[0].f(), to, 2, |first, y| {
            for (k, y) in y.chunks_exact_mut(to).enumerate() {
                let x = &x[(first / to + k) * from..][..from];
                if inner == 1 {
                    for (y, (index, share)) in y.iter_mut().zip(&positions) {
                        // What is no share is not read.
                        let next = x[(index + 1).min(axis.extent - 1)];
                        *y = if *share > T::zero() { between(x[*index], next, *share) } else { x[*index] };
                    }
                    continue;
                }
                for (y, (index, share)) in y.chunks_exact_mut(inner).zip(&positions) {
                    let row = &x[index * inner..];
                    if *share > T::zero() {
                        let both = row[..inner].iter().zip(&row[inner..]);
                        y.iter_mut().zip(both).for_each(|(y, (a, b))| *y = between(*a, *b, *share));
                    } else {
                        y.copy_from_slice(&row[..inner]);
                    }
                }
            }
        });
        Ok(())
    }
}

impl<T: Real> Reference<T> for ResizeBackward {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let Layout { axis, inner, .. } = self.layout(&inputs[0].shape)?;
        let (dy, dx) = (inputs[0].f(), outputs[0].f());
        dx.fill(T::zero());
        for (i, dy) in dy.iter().enumerate() {
            let (outer, o, column) = (i / inner / axis.outputs, i / inner % axis.outputs, i % inner);
            let (index, share) = axis.position::<T>(o);
            let at = (outer * axis.extent + index) * inner + column;
            dx[at] = dx[at] + *dy * (T::one() - share);
            if share > T::zero() {
                dx[at + inner] = dx[at + inner] + *dy * share;
            }
        }
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let Layout { axis, inner, .. } = self.layout(&inputs[0].shape)?;
        let dy = inputs[0].f();
        let positions: Vec<(usize, T)> = (0..axis.outputs).map(|o| axis.position(o)).collect();
        let (from, to) = (axis.outputs * inner, axis.extent * inner);
        threads::runs(outputs[0].f(), to, (from / to).max(1), |first, dx| {
            for (k, dx) in dx.chunks_exact_mut(to).enumerate() {
                dx.fill(T::zero());
                let dy = &dy[(first / to + k) * from..][..from];
                for (dy, (index, share)) in dy.chunks_exact(inner).zip(&positions) {
                    let own = T::one() - *share;
                    let rows = &mut dx[index * inner..];
                    rows.iter_mut().zip(dy).for_each(|(d, dy)| *d = *d + *dy * own);
                    if *share > T::zero() {
                        rows[inner..].iter_mut().zip(dy).for_each(|(d, dy)| *d = *d + *dy * *share);
                    }
                }
            }
        });
        Ok(())
    }
}

impl Op for Resize {
    fn name(&self) -> &'static str {
        "resize"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        has_axis(inputs, self.axis)?;
        self.layout(&inputs[0].shape)?;
        resized(&inputs[0].shape, self.axis, self.outputs)
    }

    fn grad<'g>(&self, Backward { inputs, upstream, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        let backward = ResizeBackward { axis: self.axis, extent: inputs[0].dim(self.axis), how: self.how };
        Ok(vec![upstream[0].map(|dy| dy.graph().record_one(backward, &[dy]))])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        // `infer` accepted the shape.
        let Layout { axis, outer, inner } = self.layout(&ctx.inputs[0].shape).map_err(Error::Invalid)?;
        let (entry, each) = match (inner, axis.outputs) {
            _ if inner.is_multiple_of(4) => ("resize4", 4),
            (1, outputs) if outputs.is_multiple_of(4) => ("resize_row4", 4),
            _ => ("resize", 1),
        };
        let invocations = outer * axis.outputs * inner / each;
        let inner = if each == 4 && inner > 1 { inner / 4 } else { inner };
        let params = axis.uniform().and(uniform! { invocations, inner, splits: 1u32, length: 0u32 });
        let args = [Arg::Input(0), Arg::Output(0)];
        Ok(ctx.launch_over(entry, args, &params, invocations)?.into())
    }

    /// A share is off by a quotient and both of its numbers, and so is what is left of 1, beside which the products and the sum
    /// are rounded.
    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let sizes = match self.layout(&inputs[0].shape) {
            // Both neighbours, whatever their shares.
            Ok(Layout { axis, inner, .. }) => {
                let x = inputs[0].f();
                let size = |i: usize| {
                    let (outer, o, column) = (i / inner / axis.outputs, i / inner % axis.outputs, i % inner);
                    let (index, share) = axis.position::<f64>(o);
                    let at = (outer * axis.extent + index) * inner + column;
                    if share > 0.0 { x[at].abs() + x[at + inner].abs() } else { 0.0 }
                };
                (0..outputs[0].shape.elements()).map(size).collect()
            }
            Err(_) => Vec::new(),
        };
        vec![bound_of_sums(&sizes, 12.0)]
    }

    fn flops(&self, _: &[TensorType], outputs: &[TensorType]) -> u64 {
        let each = if self.how == Interpolation::Nearest { 0 } else { 3 };
        each * outputs[0].shape.elements() as u64
    }
}

impl Op for ResizeBackward {
    fn name(&self) -> &'static str {
        "resize_backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        has_axis(inputs, self.axis)?;
        self.layout(&inputs[0].shape)?;
        resized(&inputs[0].shape, self.axis, self.extent)
    }

    fn grad<'g>(&self, Backward { inputs, upstream, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        let forward = Resize { axis: self.axis, outputs: inputs[0].dim(self.axis), how: self.how };
        Ok(vec![upstream[0].map(|u| u.graph().record_one(forward, &[u]))])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let Layout { axis, outer, inner } = self.layout(&ctx.inputs[0].shape).map_err(Error::Invalid)?;
        let (entry, each) =
            if inner.is_multiple_of(4) { ("resize_backward4", 4) } else { ("resize_backward", 1) };
        let elements = outer * axis.extent * inner;
        let Cut { pieces: splits, length } =
            ctx.caps.cut(axis.most_readers(), ctx.caps.max_loop_iterations as usize);
        let params = axis
            .uniform()
            .and(uniform! { invocations: elements / each, inner: inner / each, splits, length });
        split_k(&SplitK::of(splits, &[elements]), ctx, |to, _| {
            let (kernel, args) = (Kernel::library(entry)?, [&[Arg::Input(0)], to].concat());
            let launch = ctx.launch(kernel, args, &params, (elements / each * splits).div_ceil(64))?;
            Ok(launch.loop_iterations(length))
        })
    }

    /// Each term's share as in the other direction, off by so much of 1; and the additions.
    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let shape = outputs[0].shape;
        let Ok(Layout { axis, inner, .. }) = self.layout(&inputs[0].shape) else { return vec![Vec::new()] };
        let dy = inputs[0].f();
        let mut bound =
            bound_of_sums(&magnitudes(self, inputs, &outputs[0]), axis.most_readers() as f64 + 2.0);
        if self.how != Interpolation::Nearest {
            for (i, bound) in bound.iter_mut().enumerate() {
                let (outer, at, column) = (i / inner / axis.extent, i / inner % axis.extent, i % inner);
                let all = axis.readers(at).map(|o| dy[(outer * axis.outputs + o) * inner + column].abs());
                *bound += 8.0 * UNIT * all.sum::<f64>();
            }
        }
        debug_assert_eq!(bound.len(), shape.elements());
        bound.iter_mut().for_each(|bound| *bound += TINY);
        vec![bound]
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        let each = if self.how == Interpolation::Nearest { 1 } else { 4 };
        each * inputs[0].shape.elements() as u64
    }
}
