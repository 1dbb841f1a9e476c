//! Rows gathered from a table, and scattered back into it.

use super::{NAN_BITS, check, joined, not_empty};
use crate::error::Result;
use crate::ops::{
    Arg, Backward, Below, Cut, Gradients, In, KernelContext, Op, Out, Outputs, Program, Real, Reference,
    Slice, SliceMut, TINY, Traits, UNIT, expect, uniform,
};
use crate::shape::{DType, TensorType};

/// Rows of a table, by number.
#[derive(Debug, Clone)]
pub(crate) struct TakeRows;

pub(super) fn gather<E: Copy>(table: &[E], index: &[u32], out: &mut [E]) {
    let row = out.len() / index.len().max(1);
    for (out, &r) in out.chunks_exact_mut(row).zip(index) {
        out.copy_from_slice(&table[r as usize * row..][..row]);
    }
}

impl<T: Real> Reference<T> for TakeRows {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let index = inputs[1].u32();
        check(index, inputs[0].shape.dim(0), "row number")?;
        match (&inputs[0].data, &mut outputs[0].data) {
            (Slice::F(table), SliceMut::F(y)) => gather(table, index, y),
            (Slice::U32(table), SliceMut::U32(y)) => gather(table, index, y),
            (Slice::U8(table), SliceMut::U8(y)) => gather(table, index, y),
            _ => {}
        }
        Ok(())
    }
}

impl Op for TakeRows {
    fn name(&self) -> &'static str {
        "take_rows"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        let dtype = inputs.first().map_or(DType::F32, |table| table.dtype);
        expect(inputs, &[dtype, DType::U32])?;
        not_empty(inputs)?;
        let (table, index) = (inputs[0].shape, inputs[1].shape);
        match table.dims() {
            [_, row @ ..] => Ok(vec![TensorType { dtype, shape: joined(index.dims(), row)? }]),
            [] => Err(format!("{} has no rows", inputs[0])),
        }
    }

    fn grad<'g>(&self, Backward { inputs, upstream, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        let (table, index) = (inputs[0], inputs[1]);
        let scatter = ScatterRows { rows: table.dim(0) };
        Ok(vec![upstream[0].map(|dy| dy.graph().record_one(scatter, &[index, dy])), None])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let (table, out) = (ctx.inputs[0], ctx.outputs[0]);
        let row = table.shape.elements() / table.shape.dim(0);
        // Bytes of rows that are whole words move as words do.
        let in_words = match table.dtype {
            DType::U8 => row.is_multiple_of(4).then_some(row / 4),
            _ => Some(row),
        };
        let count = ctx.inputs[1].shape.elements();
        let (entry, invocations, elements, row) = match in_words {
            Some(row) if row.is_multiple_of(4) => {
                ("take_rows_vec4", count * (row / 4), count * (row / 4), row / 4)
            }
            Some(row) => ("take_rows", count * row, count * row, row),
            None => ("take_rows_bytes", out.shape.elements().div_ceil(4), out.shape.elements(), row),
        };
        let params = uniform! {
            elements, row, rows: table.shape.dim(0),
            missing: if table.dtype == DType::F32 { NAN_BITS } else { 0 },
        };
        let args = [Arg::Input(0), Arg::Input(1), Arg::Output(0)];
        Ok(ctx.launch_over(entry, args, &params, invocations)?.into())
    }

    fn traits(&self) -> Traits {
        Traits::default().indices(1, Below::Extent { input: 0, axis: 0 }).moving(0)
    }
}

/// A table whose every row is the sum of those given for it: the adjoint of [`TakeRows`].
#[derive(Debug, Clone)]
pub(crate) struct ScatterRows {
    pub(super) rows: usize,
}

impl<T: Real> Reference<T> for ScatterRows {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (index, x, table) = (inputs[0].u32(), inputs[1].f(), outputs[0].f());
        check(index, self.rows, "row number")?;
        let row = table.len() / self.rows;
        table.fill(T::zero());
        for (x, &r) in x.chunks_exact(row).zip(index) {
            let to = &mut table[r as usize * row..][..row];
            to.iter_mut().zip(x).for_each(|(sum, &x)| *sum = *sum + x);
        }
        Ok(())
    }
}

impl Op for ScatterRows {
    fn name(&self) -> &'static str {
        "scatter_rows"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::U32, DType::F32])?;
        not_empty(inputs)?;
        let (index, x) = (inputs[0].shape, inputs[1].shape);
        if self.rows == 0 {
            return Err("needs at least one row".into());
        }
        match x.dims().strip_prefix(index.dims()) {
            Some(row) => Ok(vec![TensorType::f32(joined(&[self.rows], row)?)]),
            None => Err(format!("{x} does not hold a row for each number of {index}")),
        }
    }

    fn grad<'g>(&self, Backward { inputs, upstream, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        Ok(vec![None, upstream[0].map(|dy| dy.take_rows(inputs[0]))])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let elements = ctx.outputs[0].shape.elements();
        let row = elements / self.rows;
        let (entry, unit) =
            if row.is_multiple_of(4) { ("scatter_rows_vec4", 4) } else { ("scatter_rows", 1) };
        let count = ctx.inputs[0].shape.elements();
        let Cut { length, .. } = ctx.caps.cut(count, ctx.caps.max_loop_iterations as usize);
        let launch = |first: usize| {
            let end = count.min(first + length);
            let params = uniform! { elements: elements / unit, row: row / unit, first, end };
            let args = [Arg::Input(0), Arg::Input(1), Arg::Output(0)];
            Ok(ctx.launch_over(entry, args, &params, elements / unit)?.loop_iterations(end - first))
        };
        let dispatches = (0..count.max(1)).step_by(length).map(launch).collect::<Result<_>>()?;
        Ok(Program::new(dispatches, Vec::new()))
    }

    /// Adding n numbers one after the other: n roundings of partial sums that Σ|x| limits.
    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let (index, x) = (inputs[0].u32(), inputs[1].f());
        let row = outputs[0].f().len() / self.rows;
        let (mut counts, mut sums) = (vec![0.0; self.rows], vec![0.0; outputs[0].f().len()]);
        for (x, &r) in x.chunks_exact(row).zip(index) {
            counts[r as usize] += 1.0;
            let sums = &mut sums[r as usize * row..][..row];
            sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x.abs());
        }
        vec![sums.iter().enumerate().map(|(i, sum)| counts[i / row] * UNIT * sum + TINY).collect()]
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        inputs[1].shape.elements() as u64
    }

    fn traits(&self) -> Traits {
        Traits::default().indices(0, Below::Count(self.rows as u32)).keeping_f32(Outputs::ALL)
    }
}
