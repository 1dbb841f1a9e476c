//! Windows of a shuffled order and the counters that choose them.

use super::not_empty;
use crate::error::Result;
use crate::ops::{Arg, In, KernelContext, Op, Out, Program, Real, Reference, Traits, expect, uniform};
use crate::shape::{DType, Shape, TensorType};

/// A window of an order, chosen by a counter. Arithmetic is that of `u32`, on every executor.
#[derive(Debug, Clone)]
pub(crate) struct BatchRows {
    pub(super) batch: usize,
}

impl<T: Real> Reference<T> for BatchRows {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (order, counter) = (inputs[0].u32(), inputs[1].u32()[0]);
        let start = counter.wrapping_mul(self.batch as u32);
        for (i, y) in outputs[0].u32().iter_mut().enumerate() {
            *y = order[start.wrapping_add(i as u32) as usize % order.len()];
        }
        Ok(())
    }
}

impl Op for BatchRows {
    fn name(&self) -> &'static str {
        "batch_rows"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::U32, DType::U32])?;
        not_empty(inputs)?;
        let (order, counter) = (inputs[0].shape, inputs[1].shape);
        if order.rank() != 1 || counter.dims() != [1] {
            return Err(format!("takes an order [n] and a counter [1], got {order} and {counter}"));
        }
        match Shape::new(&[self.batch]) {
            Some(shape) if self.batch > 0 => Ok(vec![TensorType::u32(shape)]),
            _ => Err(format!("a batch of {} rows cannot be; take 1 or more", self.batch)),
        }
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let rows = ctx.inputs[0].shape.elements() as u32;
        let params = uniform! { batch: self.batch, rows };
        let args = [Arg::Input(0), Arg::Input(1), Arg::Output(0)];
        Ok(ctx.launch_over("batch_rows", args, &params, self.batch)?.into())
    }

    fn traits(&self) -> Traits {
        Traits::default().moving(0)
    }
}

/// Moves a counter on by one, and back to 0 at the modulus; modulus 0 stands for 2^32.
#[derive(Debug, Clone)]
pub(crate) struct Advance {
    pub(super) modulus: u32,
}

impl<T: Real> Reference<T> for Advance {
    fn eval(&self, _: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let counter = &mut outputs[0].u32()[0];
        let next = counter.wrapping_add(1);
        *counter = next.checked_rem(self.modulus).unwrap_or(next);
        Ok(())
    }
}

impl Op for Advance {
    fn name(&self) -> &'static str {
        "advance"
    }

    fn writes(&self) -> usize {
        1
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::U32])?;
        if inputs[0].shape.dims() != [1] {
            return Err(format!("takes a counter [1], got {}", inputs[0].shape));
        }
        Ok(vec![inputs[0]])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        Ok(ctx.launch_over("advance", [Arg::Output(0)], &uniform! { modulus: self.modulus }, 1)?.into())
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }
}
