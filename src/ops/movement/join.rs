//! Tensors put together.

use super::{copies, no_bytes, transfer};
use crate::error::Result;
use crate::graph::{Var, shape_rule};
use crate::ops::{
    Backward, Gradients, In, KernelContext, Movement, Op, Out, Program, Real, Reference, StridedCopy, View,
};
use crate::shape::{MAX_RANK, Shape, TensorType};

/// Tensors put after each other along an axis.
#[derive(Debug, Clone)]
pub(crate) struct Concat {
    pub(super) axis: usize,
}

impl Concat {
    /// By input, how it is copied to its place.
    fn copies(&self, inputs: &[Shape], output: &Shape) -> Vec<StridedCopy> {
        let strides = output.strides();
        let write = |(x, begin): (&Shape, usize)| View::strided(x, &strides, begin * strides[self.axis]);
        inputs.iter().zip(self.begins(inputs)).map(write).map(|write| write.scattered()).collect()
    }

    /// Where each input begins along the axis.
    fn begins(&self, inputs: &[Shape]) -> Vec<usize> {
        let ends = inputs.iter().scan(0, |end, x| {
            *end += x.dim(self.axis);
            Some(*end)
        });
        std::iter::once(0).chain(ends).take(inputs.len()).collect()
    }
}

impl<T: Real> Reference<T> for Concat {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let shapes: Vec<Shape> = inputs.iter().map(|x| x.shape).collect();
        let copies = self.copies(&shapes, &outputs[0].shape);
        inputs.iter().zip(&copies).for_each(|(x, copy)| transfer(x, &mut outputs[0], copy));
        Ok(())
    }
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        no_bytes(inputs)?;
        let first = inputs.first().ok_or("needs at least one tensor")?;
        if self.axis >= first.shape.rank() {
            return Err(format!("there is no axis {} in {}", self.axis, first.shape));
        }
        let same = |i: &&TensorType| {
            i.dtype == first.dtype
                && i.shape.with(self.axis.min(MAX_RANK - 1), 1) == first.shape.with(self.axis, 1)
        };
        if let Some(other) = inputs.iter().find(|i| !same(i)) {
            return Err(format!("{other} does not fit {first} along axis {}", self.axis));
        }
        let total = inputs.iter().map(|i| i.shape.dim(self.axis)).sum();
        let shape = Shape::new(first.shape.with(self.axis, total).dims()).ok_or_else(shape_rule)?;
        Ok(vec![TensorType { dtype: first.dtype, shape }])
    }

    fn grad<'g>(&self, Backward { inputs, upstream, needed, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        let Some(dy) = upstream[0] else { return Ok(vec![None; inputs.len()]) };
        let mut start = 0;
        let part = |(x, needed): (&Var<'g>, &bool)| {
            let from = start;
            start += x.dim(self.axis);
            needed.then(|| dy.slice(self.axis, from, x.dim(self.axis)))
        };
        Ok(inputs.iter().zip(needed).map(part).collect())
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let shapes: Vec<Shape> = ctx.inputs.iter().map(|x| x.shape).collect();
        copies(&self.copies(&shapes, &ctx.outputs[0].shape), ctx)
    }

    fn movement(&self, inputs: &[TensorType]) -> Option<Movement> {
        let shapes: Vec<Shape> = inputs.iter().map(|x| x.shape).collect();
        let place = |begin| (0..shapes[0].rank()).map(|k| if k == self.axis { begin } else { 0 }).collect();
        Some(Movement::Write(self.begins(&shapes).into_iter().map(place).collect()))
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }
}
