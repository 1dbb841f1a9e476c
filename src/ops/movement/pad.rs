//! Elements put around and between others.

use super::strided::{Moved, SliceAxis};
use super::{no_bytes, transfer};
use crate::error::Result;
use crate::graph::shape_rule;
use crate::ops::{
    Arg, Backward, Gradients, In, KernelContext, Movement, Op, Out, Program, Real, Reference, SliceMut, View,
    uniform,
};
use crate::shape::{DType, Shape, TensorType};

/// Elements put around each axis and between its elements, as in XLA's `Pad`.
#[derive(Debug, Clone)]
pub(crate) struct Pad {
    pub(super) before: Vec<usize>,
    pub(super) after: Vec<usize>,
    pub(super) interior: Vec<usize>,
    pub(super) value: f32,
}

impl Pad {
    fn output(&self, input: &Shape) -> Result<Shape, String> {
        let rank = input.rank();
        if [&self.before, &self.after, &self.interior].iter().any(|v| v.len() != rank) {
            return Err(format!("padding is given for {} axes, {input} has {rank}", self.before.len()));
        }
        let extent = |i: usize| {
            let gaps = (input.dim(i).max(1) - 1).checked_mul(self.interior[i])?;
            input.dim(i).checked_add(gaps)?.checked_add(self.before[i])?.checked_add(self.after[i])
        };
        let dims: Option<Vec<usize>> = (0..rank).map(extent).collect();
        dims.and_then(|d| Shape::new(&d)).ok_or_else(shape_rule)
    }
}

/// An axis, or several as one.
#[derive(Debug, Clone, Copy)]
struct Axis {
    outer: usize,
    inner: usize,
    before: usize,
    step: usize,
}

impl Pad {
    /// The axes, of which those that nothing is put around are one with the axis before them: each costs a division.
    fn joined(&self, inner: &Shape, outer: &Shape) -> Vec<Axis> {
        let mut axes: Vec<Axis> = Vec::new();
        for k in 0..outer.rank() {
            let (all, own) = (outer.dim(k), inner.dim(k));
            match axes.last_mut() {
                Some(axis) if all == own && axis.step == 1 => {
                    axis.outer *= all;
                    axis.inner *= all;
                    axis.before *= all;
                }
                _ => axes.push(Axis {
                    outer: all,
                    inner: own,
                    before: self.before[k],
                    step: self.interior[k] + 1,
                }),
            }
        }
        axes
    }
}

impl<T: Real> Reference<T> for Pad {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (inner, outer) = (inputs[0].shape, outputs[0].shape);
        match &mut outputs[0].data {
            SliceMut::F(y) => y.fill(T::of(f64::from(self.value))),
            SliceMut::U32(y) => y.fill(self.value as u32),
            SliceMut::U8(y) => y.fill(self.value as u8),
        }
        let step = outer.strides();
        let strides: Vec<usize> = (0..inner.rank()).map(|i| step[i] * (self.interior[i] + 1)).collect();
        let base = (0..inner.rank()).map(|i| step[i] * self.before[i]).sum();
        transfer(&inputs[0], &mut outputs[0], &View::strided(&inner, &strides, base).scattered());
        Ok(())
    }
}

impl Op for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        no_bytes(inputs)?;
        Ok(vec![TensorType { dtype: inputs[0].dtype, shape: self.output(&inputs[0].shape)? }])
    }

    fn grad<'g>(&self, Backward { inputs, upstream, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        let Some(mut dx) = upstream[0] else { return Ok(vec![None]) };
        let x = inputs[0];
        for axis in 0..x.shape().rank() {
            let (count, step) = (x.dim(axis), self.interior[axis] + 1);
            if self.before[axis] + self.after[axis] + self.interior[axis] > 0 {
                dx = x
                    .graph
                    .record_one(Moved(SliceAxis { axis, start: self.before[axis], count, step }), &[dx]);
            }
        }
        Ok(vec![Some(dx)])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let (inner, outer) = (ctx.inputs[0].shape, ctx.outputs[0].shape);
        let value = if ctx.inputs[0].dtype == DType::F32 { self.value.to_bits() } else { self.value as u32 };
        let axes = self.joined(&inner, &outer);
        let along = |missing: u32, of: &dyn Fn(usize) -> usize| -> [u32; 8] {
            std::array::from_fn(|k| if k < axes.len() { of(k) as u32 } else { missing })
        };
        let params = uniform! {
            elements: outer.elements(), rank: axes.len(), value,
            dims: along(1, &|k| axes[k].outer), inner: along(1, &|k| axes[k].inner),
            strides: along(0, &|k| axes[k + 1..].iter().map(|axis| axis.inner).product()),
            before: along(0, &|k| axes[k].before), step: along(1, &|k| axes[k].step),
        };
        let by_four = |axis: &Axis| {
            axis.step == 1 && [axis.outer, axis.inner, axis.before].iter().all(|n| n.is_multiple_of(4))
        };
        let (entry, each) = if axes.last().is_some_and(by_four) { ("pad4", 4) } else { ("pad", 1) };
        let launch =
            ctx.launch_over(entry, [Arg::Input(0), Arg::Output(0)], &params, outer.elements() / each)?;
        Ok(launch.loop_iterations(axes.len()).into())
    }

    fn movement(&self, _: &[TensorType]) -> Option<Movement> {
        let is_part = self.value.to_bits() == 0 && self.interior.iter().all(|&n| n == 0);
        is_part.then(|| Movement::Write(vec![self.before.clone()]))
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }
}
