//! What one invocation holds of a row of the input.

use std::collections::BTreeSet;

use minijinja::{Value, context};

use crate::ops::text::widest;

/// The elements of a row that some columns of outputs meet.
#[derive(Debug, Clone)]
pub(super) struct Strip {
    /// Columns of outputs.
    pub(super) columns: usize,
    /// Elements that the input is bound as vectors of.
    pub(super) vector: usize,
    stride: usize,
    input_dilation: usize,
    dilation: usize,
    before: i64,
    /// First column, counted from where the first output of the tile is, and number of elements: a vector or 1.
    loads: Vec<(i64, usize)>,
}

impl Strip {
    /// Column o of outputs meets (o stride + kx dilation - before) / input_dilation, where the input dilation divides it.
    pub(super) fn new(
        columns: usize,
        kw: usize,
        [stride, input_dilation, dilation]: [usize; 3],
        before: i64,
        width: usize,
        tiles: usize,
    ) -> Self {
        // Tiles, of which there may be only one, begin at whole vectors.
        let begins = |v: usize| tiles == 1 || (columns * stride / input_dilation).is_multiple_of(v);
        let vector = widest(|v| width.is_multiple_of(v) && begins(v));
        let mut strip =
            Strip { columns, vector, stride, input_dilation, dilation, before, loads: Vec::new() };
        let met = |column: usize| (0..kw).filter_map(move |kx| (column, kx).into());
        let needed: BTreeSet<i64> =
            (0..columns).flat_map(met).filter_map(|(column, kx)| strip.meets(column, kx)).collect();
        let v = vector as i64;
        let vectors: BTreeSet<i64> = needed.iter().map(|at| at.div_euclid(v)).collect();
        for first in vectors.into_iter().map(|i| i * v) {
            let few: Vec<i64> = needed.range(first..first + v).copied().collect();
            // On llvmpipe two loads of one cost as much as one of four.
            if 2 * few.len() <= vector {
                strip.loads.extend(few.into_iter().map(|at| (at, 1)));
            } else {
                strip.loads.push((first, vector));
            }
        }
        strip
    }

    /// The column of the input, counted from the tile's first, that a column of outputs and one of the kernel meet.
    pub(super) fn meets(&self, column: usize, kx: usize) -> Option<i64> {
        let u = (column * self.stride + kx * self.dilation) as i64 - self.before;
        (u.rem_euclid(self.input_dilation as i64) == 0).then(|| u.div_euclid(self.input_dilation as i64))
    }

    /// What the templates are to know.
    pub(super) fn variant(&self) -> Value {
        let Strip { vector, stride, input_dilation, .. } = *self;
        let load =
            |&(column, n): &(i64, usize)| context! { column, n, element => column.rem_euclid(vector as i64) };
        context! { vector, stride, input_dilation, loads => self.loads.iter().map(load).collect::<Vec<_>>() }
    }

    /// For each column of outputs, which element of a row each of `kw` columns of the kernel meets.
    pub(super) fn met(&self, kw: usize) -> Vec<Vec<Value>> {
        let element = |column: usize, kx: usize| {
            let at = self.meets(column, kx)?;
            let holds = |(first, n): &(i64, usize)| (*first..first + *n as i64).contains(&at);
            // Every column that is met was found needed.
            let load = self.loads.iter().position(holds)?;
            let (first, n) = self.loads[load];
            Some(context! { kx, load, n, component => at - first })
        };
        (0..self.columns).map(|column| (0..kw).filter_map(|kx| element(column, kx)).collect()).collect()
    }
}
