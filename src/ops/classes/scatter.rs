//! Rows added to those of a table.

use super::{check, joined, not_empty, segments};
use crate::error::Result;
use crate::ops::{
    Backward, Below, Gradients, In, KernelContext, Kernels, Op, Out, Outputs, Program, Real, Reference, TINY,
    Traits, UNIT, expect,
};
use crate::shape::{DType, TensorType};

/// A table whose every row is the sum of those given for it: the adjoint of [`TakeRows`](super::TakeRows).
#[derive(Debug, Clone)]
pub(crate) struct ScatterRows {
    pub(super) rows: usize,
    /// A row that stays 0, whatever is given for it.
    pub(super) without: Option<u32>,
    /// `Plain` looks at all numbers for each row, `Tiles` sorts them.
    pub(super) kernels: Kernels,
}

/// Adds each row of `x` to that of its number.
fn add<T: Real>(index: &[u32], x: &[T], table: &mut [T], without: Option<u32>) {
    let row = x.len() / index.len();
    for (x, &r) in x.chunks_exact(row).zip(index).filter(|(_, r)| Some(**r) != without) {
        let to = &mut table[r as usize * row..][..row];
        to.iter_mut().zip(x).for_each(|(sum, &x)| *sum = *sum + x);
    }
}

/// On several threads, with rows of the table for each, it takes no less time: memory is what it waits for.
impl<T: Real> Reference<T> for ScatterRows {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (index, x, table) = (inputs[0].u32(), inputs[1].f(), outputs[0].f());
        check(index, self.rows, "row number")?;
        table.fill(T::zero());
        add(index, x, table, self.without);
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
        let Some(mut dy) = upstream[0] else { return Ok(vec![None, None]) };
        if let Some(without) = self.without.map(|r| r as usize).filter(|r| *r < self.rows) {
            let [mut before, mut after] = [(); 2].map(|()| vec![0; dy.shape().rank()]);
            (before[0], after[0]) = (without, self.rows - 1 - without);
            let (g, ones) = (dy.graph(), vec![1; before.len()]);
            dy = g.full(&ones[..], 1.0).pad(&before, &after, 0.0).select(g.scalar(0.0), dy);
        }
        Ok(vec![None, Some(dy.take_rows(inputs[0]))])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        segments::launch(self, ctx)
    }

    /// Adding n numbers one after the other: n roundings of partial sums that Σ|x| limits.
    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let (index, x) = (inputs[0].u32(), inputs[1].f());
        let row = x.len() / index.len();
        let mut counts = vec![0.0; self.rows];
        index.iter().for_each(|&r| counts[r as usize] += 1.0);
        let sizes: Vec<f64> = x.iter().map(|x| x.abs()).collect();
        let mut sums = vec![0.0; outputs[0].f().len()];
        add(index, &sizes, &mut sums, self.without);
        vec![sums.iter().enumerate().map(|(i, sum)| counts[i / row] * UNIT * sum + TINY).collect()]
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        inputs[1].shape.elements() as u64
    }

    fn traits(&self) -> Traits {
        Traits::default().indices(0, Below::Count(self.rows as u32)).keeping_f32(Outputs::ALL)
    }
}
