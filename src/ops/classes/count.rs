//! Counting rows that were classified rightly.

use crate::error::Result;
use crate::ops::{
    Arg, Cut, In, KernelContext, Op, Out, Program, Real, Reference, expect, relative_bound, uniform,
};
use crate::shape::{DType, TensorType};

/// sum = sum + the number of i with a[i] = b[i], for a float state `[]`, exact up to 2^24. Inputs: a and b of one
/// shape; the state.
#[derive(Debug, Clone)]
pub(crate) struct CountEqual;

impl<T: Real> Reference<T> for CountEqual {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let count = inputs[0].u32().iter().zip(inputs[1].u32()).filter(|(a, b)| a == b).count();
        outputs[0].f().iter_mut().for_each(|sum| *sum = *sum + T::of(count as f64));
        Ok(())
    }
}

impl Op for CountEqual {
    fn name(&self) -> &'static str {
        "count_equal"
    }

    fn writes(&self) -> usize {
        1
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::U32, DType::U32, DType::F32])?;
        if inputs[0].shape != inputs[1].shape {
            return Err(format!(
                "compares numbers of one shape, got {} and {}",
                inputs[0].shape, inputs[1].shape
            ));
        }
        if inputs[2].shape.rank() != 0 {
            return Err(format!("counts in a scalar, got {}", inputs[2].shape));
        }
        Ok(vec![inputs[2]])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let elements = ctx.inputs[0].shape.elements();
        // What 64 invocations found is added by one of them.
        let most = 64 * (ctx.caps.max_loop_iterations as usize).saturating_sub(64);
        let Cut { length, .. } = ctx.caps.cut(elements, most);
        let launch = |first: usize| {
            let end = elements.min(first + length);
            let params = uniform! { first, end };
            let args = [Arg::Input(0), Arg::Input(1), Arg::Output(0)];
            let iterations = (end - first).div_ceil(64) + 64;
            Ok(ctx.launch_over("count_equal", args, &params, 1)?.loop_iterations(iterations))
        };
        let dispatches = (0..elements.max(1)).step_by(length).map(launch).collect::<Result<_>>()?;
        Ok(Program::new(dispatches, Vec::new()))
    }

    /// Whole numbers, and their sum with what was there, in pieces of 2^20 at least.
    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        vec![relative_bound(&outputs[0], 1.0 + (inputs[0].shape.elements() >> 20) as f64)]
    }
}
