//! Tensors put together.

use super::{MoveParams, no_bytes, transfer};
use crate::error::Result;
use crate::graph::{Var, shape_rule};
use crate::ops::{Backward, Gradients, In, KernelContext, Op, Out, Program, Real, Reference};
use crate::shape::{MAX_RANK, Shape, TensorType};

/// Tensors put after each other along an axis.
#[derive(Debug, Clone)]
pub(crate) struct Concat {
    pub(super) axis: usize,
}

impl<T: Real> Reference<T> for Concat {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let strides = outputs[0].shape.strides();
        let mut start = 0;
        for x in inputs {
            let base = start * strides[self.axis];
            transfer(x, &mut outputs[0], |visit| {
                crate::op::strided(&x.shape, &strides, base, |from, to| visit(to, from));
            });
            start += x.shape.dim(self.axis);
        }
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
        let strides = ctx.outputs[0].shape.strides();
        let mut program = Program::default();
        let mut start = 0;
        for (i, x) in ctx.inputs.iter().enumerate() {
            let params = MoveParams::new(&x.shape, &strides, start * strides[self.axis]);
            program.dispatches.push(params.write(ctx, i)?);
            start += x.shape.dim(self.axis);
        }
        Ok(program)
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }
}
