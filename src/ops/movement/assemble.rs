//! Tensors put together that are moved before.

use super::{copies, no_bytes, transfer};
use crate::error::Result;
use crate::ops::{In, KernelContext, Op, Out, Program, Real, Reference, StridedCopy};
use crate::shape::{Shape, TensorType};

/// Parts of a tensor, each of which is elements of an input: what the planner makes of concatenations of what is moved, and of
/// sums of tensors that are 0 wherever another is not.
#[derive(Debug, Clone)]
pub(crate) struct Assembled {
    pub(crate) shape: Shape,
    /// By input, its shape and how it is copied to its place. All together are the whole output.
    pub(crate) parts: Vec<(Shape, StridedCopy)>,
}

impl<T: Real> Reference<T> for Assembled {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        inputs.iter().zip(&self.parts).for_each(|(x, (_, copy))| transfer(x, &mut outputs[0], copy));
        Ok(())
    }
}

impl Op for Assembled {
    fn name(&self) -> &'static str {
        "assemble"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        no_bytes(inputs)?;
        let shapes: Vec<Shape> = inputs.iter().map(|x| x.shape).collect();
        let expected: Vec<Shape> = self.parts.iter().map(|(shape, _)| *shape).collect();
        match inputs.first() {
            Some(first) if shapes == expected && inputs.iter().all(|x| x.dtype == first.dtype) => {
                Ok(vec![TensorType { dtype: first.dtype, shape: self.shape }])
            }
            _ => Err(format!("is made for {expected:?} of one type, not for {inputs:?}")),
        }
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        copies(self.parts.iter().map(|(_, copy)| copy), ctx)
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }
}
