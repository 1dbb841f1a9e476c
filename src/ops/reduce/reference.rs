//! Sums and maxima on the CPU.

use super::{Kind, Reduce, View};
use crate::host::threads;
use crate::ops::{In, Out, Real, Reference, larger};

/// Elements of a long row that are folded by one thread.
const BLOCK: usize = 1 << 15;

impl Reduce {
    fn start<T: Real>(&self) -> T {
        match self.kind {
            Kind::Sum => T::zero(),
            Kind::Max => T::neg_infinity(),
        }
    }

    fn fold<T: Real>(&self, row: &[T]) -> T {
        // The kind is decided outside the loops.
        match self.kind {
            Kind::Sum => fold_row(row, self.start(), |a, b| a + b),
            Kind::Max => fold_row(row, self.start(), larger),
        }
    }

    /// A row in blocks that threads share; where they end depends on the row alone.
    fn fold_long<T: Real>(&self, row: &[T]) -> T {
        if row.len() <= BLOCK {
            return self.fold(row);
        }
        let mut blocks = vec![self.start(); row.len().div_ceil(BLOCK)];
        threads::runs(&mut blocks, 1, BLOCK, |first, blocks| {
            let parts = row[first * BLOCK..].chunks(BLOCK);
            blocks.iter_mut().zip(parts).for_each(|(to, part)| *to = self.fold(part));
        });
        self.fold(&blocks)
    }

    #[inline(always)]
    fn combine<T: Real>(&self, a: T, b: T) -> T {
        match self.kind {
            Kind::Sum => a + b,
            Kind::Max => larger(a, b),
        }
    }
}

/// Folds a row with eight accumulators, which compilers turn into vector instructions.
fn fold_row<T: Real>(row: &[T], start: T, combine: impl Fn(T, T) -> T) -> T {
    let mut lanes = [start; 8];
    let chunks = row.chunks_exact(8);
    let rest = chunks.remainder();
    for chunk in chunks {
        for k in 0..8 {
            lanes[k] = combine(lanes[k], chunk[k]);
        }
    }
    let total = rest.iter().fold(start, |a, &b| combine(a, b));
    lanes.into_iter().fold(total, combine)
}

/// Folds `count` rows, whose first elements are `stride` apart, into one, row by row.
fn fold_rows<T: Real>(rows: &[T], stride: usize, count: usize, to: &mut [T], combine: impl Fn(T, T) -> T) {
    for row in rows.chunks(stride).take(count) {
        to.iter_mut().zip(row).for_each(|(a, &b)| *a = combine(*a, b));
    }
}

impl<T: Real> Reference<T> for Reduce {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let View { outer, extent, inner } = self.view(&inputs[0].shape);
        let (x, y) = (inputs[0].f(), outputs[0].f());
        let scale = T::of(f64::from(self.scale));
        for o in 0..outer {
            for j in 0..inner {
                let mut total = self.start();
                for k in 0..extent {
                    total = self.combine(total, x[(o * extent + k) * inner + j]);
                }
                y[o * inner + j] = total * scale;
            }
        }
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let View { extent, inner, .. } = self.view(&inputs[0].shape);
        let (x, y) = (inputs[0].f(), outputs[0].f());
        if extent * inner == 0 {
            return self.eval(inputs, outputs);
        }
        let scale = T::of(f64::from(self.scale));
        if inner == 1 {
            if y.len() == 1 {
                y[0] = self.fold_long(x) * scale;
                return Ok(());
            }
            threads::runs(y, 1, extent, |first, y| {
                let rows = x[first * extent..].chunks_exact(extent);
                y.iter_mut().zip(rows).for_each(|(y, row)| *y = self.fold_long(row) * scale);
            });
            return Ok(());
        }
        // Runs of results may begin and end within a row.
        threads::runs(y, 1, extent, |mut first, mut y| {
            while !y.is_empty() {
                let (o, j) = (first / inner, first % inner);
                let (to, rest) = y.split_at_mut((inner - j).min(y.len()));
                let rows = &x[o * extent * inner + j..];
                to.fill(self.start());
                match self.kind {
                    Kind::Sum => fold_rows(rows, inner, extent, to, |a, b| a + b),
                    Kind::Max => fold_rows(rows, inner, extent, to, larger),
                }
                to.iter_mut().for_each(|y| *y = *y * scale);
                first += to.len();
                y = rest;
            }
        });
        Ok(())
    }
}
