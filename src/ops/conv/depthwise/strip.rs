//! What one invocation holds of a row of the input.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::ops::text::{component, vector_type, widest};

/// The elements of a row that some columns of outputs meet.
#[derive(Debug, Clone)]
pub(super) struct Strip {
    /// Columns of outputs.
    pub(super) columns: usize,
    /// Elements that the input is bound as vectors of.
    pub(super) vector: usize,
    stride: usize,
    gap: usize,
    dilation: usize,
    before: i64,
    /// First column, counted from where the first output of the tile is, and number of elements: a vector or 1.
    loads: Vec<(i64, usize)>,
}

impl Strip {
    /// Column o of outputs meets (o stride + kx dilation - before) / gap, where gap divides it.
    pub(super) fn new(
        columns: usize,
        kw: usize,
        [stride, gap, dilation]: [usize; 3],
        before: i64,
        width: usize,
        tiles: usize,
    ) -> Self {
        // Tiles, of which there may be only one, begin at whole vectors.
        let begins = |v: usize| tiles == 1 || (columns * stride / gap).is_multiple_of(v);
        let vector = widest(|v| width.is_multiple_of(v) && begins(v));
        let mut strip = Strip { columns, vector, stride, gap, dilation, before, loads: Vec::new() };
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
        (u.rem_euclid(self.gap as i64) == 0).then(|| u.div_euclid(self.gap as i64))
    }

    /// Element `at` of row `slot`.
    pub(super) fn element(&self, slot: usize, at: i64) -> String {
        let holds = |&&(first, n): &&(i64, usize)| (first..first + n as i64).contains(&at);
        let found = self.loads.iter().enumerate().find(|(_, load)| holds(load));
        // Every column that is met was found needed.
        let (i, (first, n)) = found.map_or((0, (at, 1)), |(i, load)| (i, *load));
        component(&format!("r{slot}_{i}"), n, (at - first) as usize)
    }

    /// Where the loads are, of a tile that begins at output `ox`.
    pub(super) fn place(&self, t: &mut String, indent: &str) {
        let _ = writeln!(t, "{indent}let ix = i32(ox * {}u / {}u);", self.stride, self.gap);
        for (i, (first, _)) in self.loads.iter().enumerate() {
            let _ = write!(
                t,
                "{indent}let ix{i} = ix + {first};\n{indent}let in{i} = u32(ix{i}) < p.w;\n\
                 {indent}let at{i} = select(0u, u32(ix{i}), in{i});\n"
            );
        }
    }

    /// Declares the rows of a window.
    pub(super) fn declare(&self, t: &mut String, slots: usize, indent: &str) {
        for slot in 0..slots {
            for (i, (_, n)) in self.loads.iter().enumerate() {
                let _ = writeln!(t, "{indent}var r{slot}_{i} = {}();", vector_type("f32", *n));
            }
        }
    }

    /// Loads row `iy`, an expression, of the plane at `start`.
    pub(super) fn load(&self, t: &mut String, slot: usize, iy: &str, indent: &str) {
        let _ = write!(
            t,
            "{indent}let iy{slot} = {iy};\n{indent}let in_y{slot} = u32(iy{slot}) < p.h;\n\
             {indent}let row{slot} = start + select(0u, u32(iy{slot}), in_y{slot}) * p.w;\n"
        );
        for (i, &(first, n)) in self.loads.iter().enumerate() {
            let ty = vector_type("f32", n);
            let at = format!("row{slot} + at{i}");
            let value = match (self.vector, n) {
                (1, _) => format!("x[{at}]"),
                (v, 1) => component(&format!("x[({at}) / {v}u]"), v, first.rem_euclid(v as i64) as usize),
                (v, _) => format!("x[({at}) / {v}u]"),
            };
            let _ = writeln!(t, "{indent}r{slot}_{i} = select({ty}(), {value}, in_y{slot} & in{i});");
        }
    }

    /// Moves row `from` to row `to`.
    pub(super) fn shift(&self, t: &mut String, to: usize, from: usize, indent: &str) {
        for i in 0..self.loads.len() {
            let _ = writeln!(t, "{indent}r{to}_{i} = r{from}_{i};");
        }
    }
}
