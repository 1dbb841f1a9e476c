//! Rows gathered from a table.

use super::{NAN_BITS, ScatterRows, check, joined, not_empty};
use crate::error::Result;
use crate::ops::{
    Arg, Backward, Below, Gradients, In, KernelContext, Kernels, Op, Out, Program, Real, Reference, Slice,
    SliceMut, Traits, expect, uniform,
};
use crate::shape::{DType, TensorType};

/// Rows of a table, by number.
#[derive(Debug, Clone)]
pub(crate) struct TakeRows {
    /// A row that is taken like others and gets no gradient.
    pub(super) padding: Option<u32>,
}

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
        let scatter = ScatterRows { rows: table.dim(0), without: self.padding, kernels: Kernels::Best };
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
