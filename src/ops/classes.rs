//! Ops that use classes and row numbers: one-hot rows, picking by class, gathering and scattering rows,
//! batches of a shuffled order, and the counters that choose them. Kernels: `shaders/classes.wgsl`.

use super::{Arg, Case, Dispatch, Fillings, Kernel, KernelContext, Op, Program, Real, Reference};
use super::{In, Out, Slice, SliceMut, TINY, UNIT, expect};
use crate::error::Result;
use crate::graph::{Var, shape_rule};
use crate::shape::{DType, Shape, TensorType};

const WORKGROUP: usize = 64;

/// Bits of a float that is not a number.
const NAN_BITS: u32 = 0x7fc0_0000;

/// Uniform of `one_hot` and `pick`.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct ClassParams {
    elements: u32,
    classes: u32,
    _pad: [u32; 2],
}

/// Uniform of the `take_rows` kernels.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct RowParams {
    elements: u32,
    row: u32,
    rows: u32,
    missing: u32,
}

/// Uniform of the `scatter_rows` kernels.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct ScatterParams {
    elements: u32,
    row: u32,
    count: u32,
    _pad: u32,
}

/// Uniform of `batch_rows`.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct WindowParams {
    batch: u32,
    rows: u32,
    _pad: [u32; 2],
}

/// Uniform of `advance`.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct CycleParams {
    modulus: u32,
    _pad: [u32; 3],
}

/// Says which row holds a number that is not below `bound`.
fn check(index: &[u32], bound: usize, what: &str) -> Result<(), String> {
    match index.iter().position(|&c| c as usize >= bound) {
        Some(row) => Err(format!("row {row} holds {what} {}, outside 0..{bound}", index[row])),
        None => Ok(()),
    }
}

/// A kernel over `elements` units of the result, an invocation each.
fn launch(
    ctx: &KernelContext<'_>,
    entry: &str,
    args: &[Arg],
    elements: usize,
    params: &impl bytemuck::NoUninit,
) -> Result<Program> {
    let grid = ctx.caps.grid(elements.div_ceil(WORKGROUP))?;
    Ok(Dispatch::new(Kernel::library(entry)?, args.to_vec(), params, grid).into())
}

/// The shape of `lead` axes before those of `rest`.
fn joined(lead: &[usize], rest: &[usize]) -> Result<Shape, String> {
    Shape::new(&[lead, rest].concat()).ok_or_else(shape_rule)
}

fn not_empty(inputs: &[TensorType]) -> Result<(), String> {
    match inputs.iter().find(|i| i.shape.elements() == 0) {
        Some(i) => Err(format!("{i} has no elements")),
        None => Ok(()),
    }
}

/// For each class number a row with 1 at the class and 0 elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct OneHot {
    classes: usize,
}

impl<T: Real> Reference<T> for OneHot {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let index = inputs[0].u32();
        check(index, self.classes, "class")?;
        let y = outputs[0].f();
        y.fill(T::zero());
        for (row, &class) in y.chunks_exact_mut(self.classes).zip(index) {
            row[class as usize] = T::one();
        }
        Ok(())
    }
}

impl Op for OneHot {
    fn name(&self) -> &'static str {
        "one_hot"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::U32])?;
        if self.classes == 0 {
            return Err("needs at least one class".into());
        }
        Ok(vec![TensorType::f32(joined(inputs[0].shape.dims(), &[self.classes])?)])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let elements = ctx.outputs[0].shape.elements();
        let params = ClassParams { elements: elements as u32, classes: self.classes as u32, _pad: [0; 2] };
        launch(ctx, "one_hot", &[Arg::Input(0), Arg::Output(0)], elements, &params)
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }

    fn index_bounds(&self, _: &[TensorType]) -> Vec<(usize, u32)> {
        vec![(0, self.classes as u32)]
    }
}

/// From each row the element of its class.
#[derive(Debug, Clone)]
pub(crate) struct Pick;

impl<T: Real> Reference<T> for Pick {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (classes, index) = (inputs[0].shape.dim(1), inputs[1].u32());
        check(index, classes, "class")?;
        let rows = inputs[0].f().chunks_exact(classes).zip(index);
        for (y, (row, &class)) in outputs[0].f().iter_mut().zip(rows) {
            *y = row[class as usize];
        }
        Ok(())
    }
}

impl Op for Pick {
    fn name(&self) -> &'static str {
        "pick"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32, DType::U32])?;
        not_empty(inputs)?;
        let (x, index) = (inputs[0].shape, inputs[1].shape);
        if x.rank() != 2 || index.dims() != &x.dims()[..1] {
            return Err(format!("takes rows [n, classes] and one class per row [n], got {x} and {index}"));
        }
        Ok(vec![TensorType::f32(index)])
    }

    fn grad<'g>(
        &self,
        inputs: &[Var<'g>],
        _: &[Var<'g>],
        upstream: &[Option<Var<'g>>],
        _: &[bool],
    ) -> Result<Vec<Option<Var<'g>>>, String> {
        let (x, index) = (inputs[0], inputs[1]);
        let dx = upstream[0].map(|dy| index.one_hot(x.dim(1)) * dy.reshape([x.dim(0), 1]));
        Ok(vec![dx, None])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let x = ctx.inputs[0].shape;
        let params = ClassParams { elements: x.dim(0) as u32, classes: x.dim(1) as u32, _pad: [0; 2] };
        launch(ctx, "pick", &[Arg::Input(0), Arg::Input(1), Arg::Output(0)], x.dim(0), &params)
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }

    fn index_bounds(&self, inputs: &[TensorType]) -> Vec<(usize, u32)> {
        vec![(1, inputs[0].shape.dim(1) as u32)]
    }
}

/// Rows of a table, by number.
#[derive(Debug, Clone)]
pub(crate) struct TakeRows;

fn gather<E: Copy>(table: &[E], index: &[u32], out: &mut [E]) {
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

    fn grad<'g>(
        &self,
        inputs: &[Var<'g>],
        _: &[Var<'g>],
        upstream: &[Option<Var<'g>>],
        _: &[bool],
    ) -> Result<Vec<Option<Var<'g>>>, String> {
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
        let params = RowParams {
            elements: elements as u32,
            row: row as u32,
            rows: table.shape.dim(0) as u32,
            missing: if table.dtype == DType::F32 { NAN_BITS } else { 0 },
        };
        launch(ctx, entry, &[Arg::Input(0), Arg::Input(1), Arg::Output(0)], invocations, &params)
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }

    fn index_bounds(&self, inputs: &[TensorType]) -> Vec<(usize, u32)> {
        vec![(1, inputs[0].shape.dim(0) as u32)]
    }

    fn moves_input(&self) -> Option<usize> {
        Some(0)
    }
}

/// A table whose every row is the sum of those given for it: the adjoint of [`TakeRows`].
#[derive(Debug, Clone)]
pub(crate) struct ScatterRows {
    rows: usize,
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

    fn grad<'g>(
        &self,
        inputs: &[Var<'g>],
        _: &[Var<'g>],
        upstream: &[Option<Var<'g>>],
        _: &[bool],
    ) -> Result<Vec<Option<Var<'g>>>, String> {
        Ok(vec![None, upstream[0].map(|dy| dy.take_rows(inputs[0]))])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let elements = ctx.outputs[0].shape.elements();
        let row = elements / self.rows;
        let (entry, unit) =
            if row.is_multiple_of(4) { ("scatter_rows_vec4", 4) } else { ("scatter_rows", 1) };
        let params = ScatterParams {
            elements: (elements / unit) as u32,
            row: (row / unit) as u32,
            count: ctx.inputs[0].shape.elements() as u32,
            _pad: 0,
        };
        launch(ctx, entry, &[Arg::Input(0), Arg::Input(1), Arg::Output(0)], elements / unit, &params)
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

    fn index_bounds(&self, _: &[TensorType]) -> Vec<(usize, u32)> {
        vec![(0, self.rows as u32)]
    }
}

/// A window of an order, chosen by a counter. Arithmetic is that of `u32`, on every executor.
#[derive(Debug, Clone)]
pub(crate) struct BatchRows {
    batch: usize,
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
        let params = WindowParams { batch: self.batch as u32, rows, _pad: [0; 2] };
        launch(ctx, "batch_rows", &[Arg::Input(0), Arg::Input(1), Arg::Output(0)], self.batch, &params)
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }

    fn moves_input(&self) -> Option<usize> {
        Some(0)
    }
}

/// Moves a counter on by one, and back to 0 at the modulus; modulus 0 stands for 2^32.
#[derive(Debug, Clone)]
pub(crate) struct Advance {
    modulus: u32,
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

    fn dispatch(&self, _: &KernelContext<'_>) -> Result<Program> {
        let params = CycleParams { modulus: self.modulus, _pad: [0; 3] };
        Ok(Dispatch::new(Kernel::library("advance")?, vec![Arg::Output(0)], &params, [1, 1, 1]).into())
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }
}

impl<'g> Var<'g> {
    /// For each of these class numbers a row of `classes` floats, 1 at the class and 0 elsewhere: the shape
    /// `[.., classes]`.
    #[track_caller]
    pub fn one_hot(self, classes: usize) -> Var<'g> {
        self.graph.record_one(OneHot { classes }, &[self])
    }

    /// From each row of these floats `[n, classes]` the element of its class, one of `index` `[n]`: `[n]`.
    #[track_caller]
    pub fn pick(self, index: Var<'g>) -> Var<'g> {
        self.graph.record_one(Pick, &[self, index])
    }

    /// Rows of this table `[rows, ...]` by number: `[index..., ...]` for numbers of any shape. The table may
    /// hold floats, integers or bytes: embeddings, labels, images.
    #[track_caller]
    pub fn take_rows(self, index: Var<'g>) -> Var<'g> {
        self.graph.record_one(TakeRows, &[self, index])
    }

    /// The `counter`th window of `batch` rows of this order `[n]`, which starts again at its end: element `i`
    /// is `order[(counter · batch + i) mod n]`. The counter is one `u32`, and the product must stay below
    /// 2^32.
    #[track_caller]
    pub fn batch_rows(self, counter: Var<'g>, batch: usize) -> Var<'g> {
        self.graph.record_one(BatchRows { batch }, &[self, counter])
    }

    /// Moves this counter, a state, on by one, and back to 0 at `modulus` (0 stands for 2^32). Returns its
    /// new version.
    #[track_caller]
    pub(crate) fn advance(self, modulus: u32) -> Var<'g> {
        self.graph.record_one(Advance { modulus }, &[self])
    }
}

pub(super) fn cases() -> Vec<Case> {
    let take =
        |table: &[usize], index: &[usize]| Case::new(TakeRows, &[table, index]).index(1, table[0] as u32);
    let take_of = |dtype, below, table: &[usize], index: &[usize]| {
        let mut case = take(table, index).no_gradient();
        case.inputs[0].0.dtype = dtype;
        case.fill(0, Fillings::Whole(below))
    };
    let scatter = |rows: usize, index: &[usize], x: &[usize]| {
        Case::new(ScatterRows { rows }, &[index, x]).index(0, rows as u32)
    };
    let window = |n: usize, counter: f64, batch: usize| {
        let case = Case::new(BatchRows { batch }, &[&[n], &[1]]).no_gradient();
        case.index(0, 1000).index(1, 1).fill(1, Fillings::Given(vec![counter]))
    };
    let advance = |modulus, counter: f64| {
        let case = Case::new(Advance { modulus }, &[&[1]]).no_gradient();
        case.index(0, 1).fill(0, Fillings::Given(vec![counter]))
    };
    let mut cases = Vec::new();
    for (classes, shape) in [(1, &[][..]), (1, &[1]), (10, &[7]), (3, &[5, 13]), (257, &[33])] {
        cases.push(Case::new(OneHot { classes }, &[shape]).index(0, classes as u32).no_gradient());
    }
    for shape in [[1, 1], [7, 10], [65, 3], [130, 33]] {
        cases.push(Case::new(Pick, &[&shape, &shape[..1]]).index(1, shape[1] as u32));
    }
    cases.extend([
        take(&[1], &[1]),
        take(&[5], &[]),
        take(&[7, 3], &[11]),
        take(&[7, 4], &[2, 3]),
        take(&[13, 2, 8], &[65]),
        take_of(DType::U32, 1000, &[9], &[40]),
        take_of(DType::U32, 1000, &[9, 4, 5], &[7]),
        // A large one, past every tail of a workgroup.
        take(&[64, 33], &[257]).no_gradient(),
    ]);
    // Rows that are vectors, words, and neither: the last start at any byte of a word.
    for row in [16, 784, 4, 20, 1, 2, 3, 7, 65] {
        cases.push(take_of(DType::U8, 256, &[11, row], &[13]));
    }
    cases.push(take_of(DType::U8, 256, &[300, 1, 5, 5], &[2, 129]));
    cases.extend([
        scatter(1, &[1], &[1]),
        scatter(5, &[], &[]),
        scatter(5, &[9], &[9]),
        scatter(4, &[3, 5], &[3, 5, 7]),
        scatter(6, &[17], &[17, 2, 4]),
        scatter(3, &[200], &[200, 65]).no_gradient(),
        window(1, 0.0, 1),
        window(10, 3.0, 4),
        window(300, 2.0, 65),
        // Beyond the end, and beyond 2^32.
        window(7, 4_000_000_000.0, 20),
        advance(5, 0.0),
        advance(5, 4.0),
        advance(0, 7.0),
        advance(0, 4_294_967_295.0),
    ]);
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::ops::{AdapterClass, Caps, float};
    use crate::rng::Rng;

    fn ints(shape: &[usize], data: &[u32]) -> (TensorType, Vec<u32>) {
        (TensorType::u32(float(shape).shape), data.to_vec())
    }

    fn eval(
        op: &impl Reference<f64>,
        x: Option<&[f64]>,
        index: (TensorType, Vec<u32>),
    ) -> Result<Vec<f64>, String> {
        let index = In { shape: index.0.shape, data: Slice::U32(&index.1) };
        let x = x.map(|x| In { shape: float(&[x.len() / 3, 3]).shape, data: Slice::F(x) });
        let mut y = vec![f64::NAN; 6];
        let mut outputs = [Out { shape: float(&[2, 3]).shape, data: SliceMut::F(&mut y) }];
        let inputs: Vec<In<'_, f64>> = x.into_iter().chain([index]).collect();
        op.eval(&inputs, &mut outputs)?;
        Ok(y)
    }

    #[test]
    fn rows_are_made_and_found() {
        let one_hot = OneHot { classes: 3 };
        assert_eq!(eval(&one_hot, None, ints(&[2], &[2, 0])).unwrap(), [0., 0., 1., 1., 0., 0.]);
        let table = [1., 2., 3., 4., 5., 6., 7., 8., 9.];
        assert_eq!(eval(&TakeRows, Some(&table), ints(&[2], &[2, 1])).unwrap(), [7., 8., 9., 4., 5., 6.]);
        assert_eq!(eval(&Pick, Some(&table[..6]), ints(&[2], &[2, 1])).unwrap()[..2], [3., 5.]);
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        let table = [0.0; 9];
        let error = eval(&OneHot { classes: 3 }, None, ints(&[2], &[2, 3])).unwrap_err();
        assert_eq!(error, "row 1 holds class 3, outside 0..3");
        let error = eval(&Pick, Some(&table[..6]), ints(&[2], &[3, 0])).unwrap_err();
        assert_eq!(error, "row 0 holds class 3, outside 0..3");
        let error = eval(&TakeRows, Some(&table), ints(&[2], &[1, 9])).unwrap_err();
        assert_eq!(error, "row 1 holds row number 9, outside 0..3");
    }

    /// The kernels' index arithmetic, read off the uniform, on words packed as a GPU has them.
    #[test]
    fn rows_of_bytes_are_packed_as_the_kernels_read_them() {
        let caps = Caps::default_of(AdapterClass::Gpu);
        let mut rng = Rng::new(3, "bytes");
        let words = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            bytes.resize(bytes.len().next_multiple_of(16), 0xee);
            bytes.chunks(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect::<Vec<u32>>()
        };
        for (row, expected) in
            [(16, "take_rows_vec4"), (12, "take_rows"), (1, "take_rows_bytes"), (7, "take_rows_bytes")]
        {
            let (rows, index) = (5usize, [3u32, 0, 4, 4, 1]);
            let table: Vec<u8> = (0..rows * row).map(|_| rng.next_u32() as u8).collect();
            let dims = |n| Shape::new(&[n, row]).unwrap();
            let inputs = [
                TensorType { dtype: DType::U8, shape: dims(rows) },
                TensorType::u32(Shape::new(&[index.len()]).unwrap()),
            ];
            let outputs = TakeRows.infer(&inputs).unwrap();
            let ctx = KernelContext { caps: &caps, inputs: &inputs, outputs: &outputs };
            let launch = TakeRows.dispatch(&ctx).unwrap().dispatches.remove(0);
            assert_eq!(launch.kernel.entry, expected);
            let p: RowParams = bytemuck::pod_read_unaligned(&launch.uniform);
            let (from, wide) = (words(&table), if expected == "take_rows_vec4" { 4 } else { 1 });
            let find = |i: u32| (index[(i / p.row) as usize] * p.row + i % p.row) as usize;
            let byte = |i: u32| match i < p.elements {
                true => (from[find(i) / 4] >> (8 * (find(i) % 4))) & 0xff,
                false => 0,
            };
            let taken: Vec<u32> = match expected {
                "take_rows_bytes" => (0..p.elements.div_ceil(4))
                    .map(|i| (0..4).fold(0, |word, b| word | (byte(4 * i + b) << (8 * b))))
                    .collect(),
                _ => (0..p.elements).flat_map(|i| from[wide * find(i)..][..wide].to_vec()).collect(),
            };
            let mut y = vec![0u8; index.len() * row];
            gather(&table, &index, &mut y);
            let bytes: Vec<u8> = taken.iter().flat_map(|w| w.to_le_bytes()).collect();
            assert_eq!(bytes[..y.len()], y, "rows of {row} bytes");
        }
    }

    #[test]
    fn the_range_of_row_numbers_reaches_the_input_they_come_from() {
        let g = Graph::new();
        let (order, labels) = (g.classes("order", [20]), g.classes("labels", [20]));
        let counter = g.classes("counter", [1]);
        let rows = order.batch_rows(counter, 8);
        let y = labels.take_rows(rows).one_hot(10);
        g.bytes("images", [20, 49]).take_rows(rows);
        assert_eq!(y.shape().dims(), [8, 10]);
        let bound = |name| g.inner.borrow().inputs.iter().find(|i| i.name == name).unwrap().bound;
        assert_eq!((bound("order"), bound("labels"), bound("counter")), (Some(20), Some(10), None));
        assert!(g.error().is_none());
    }

    #[test]
    fn gradients_are_one_hot_rows_and_sums_of_rows() {
        let g = Graph::new();
        let (x, index) = (g.input("x", [1, 3]), g.classes("index", [1]));
        let dx = g.gradients(x.pick(index), &[x])[0];
        assert_eq!(dx.shape().dims(), [1, 3]);
        let table = g.input("table", [4, 1]);
        let d = g.gradients(table.take_rows(index), &[table])[0];
        assert_eq!(d.shape().dims(), [4, 1]);
        assert!(g.error().is_none(), "{g}");
        let text = g.to_string();
        assert!(text.contains("grad OneHot") && text.contains("grad ScatterRows { rows: 4 }"), "{text}");
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        type Record = for<'g> fn(&'g Graph) -> Var<'g>;
        let cases: [(Record, &str); 8] = [
            (|g| g.input("x", [3]).one_hot(4), "must be u32"),
            (|g| g.classes("x", [3]).one_hot(0), "at least one class"),
            (|g| g.classes("x", [1; 6]).one_hot(2), "at most 6 axes"),
            (|g| g.input("x", [3, 4]).pick(g.classes("i", [4])), "one class per row"),
            (|g| g.input("x", []).take_rows(g.classes("i", [4])), "has no rows"),
            (|g| g.input("x", [4]).take_rows(g.input("i", [4])), "must be u32"),
            (|g| g.classes("x", [4]).batch_rows(g.classes("i", [2]), 3), "a counter [1]"),
            (|g| g.classes("x", [4]).batch_rows(g.classes("i", [1]), 0), "a batch of 0"),
        ];
        for (record, message) in cases {
            let g = Graph::new();
            record(&g);
            let error = g.error().unwrap().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn counters_go_round() {
        let run = |modulus, mut counter: u32, steps| {
            for _ in 0..steps {
                let shape = float(&[1]).shape;
                let data = SliceMut::U32(std::slice::from_mut(&mut counter));
                Reference::<f64>::eval(&Advance { modulus }, &[], &mut [Out { shape, data }]).unwrap();
            }
            counter
        };
        assert_eq!([run(3, 0, 1), run(3, 0, 2), run(3, 0, 3), run(1, 0, 5)], [1, 2, 0, 0]);
        assert_eq!([run(0, 7, 1), run(0, u32::MAX, 1)], [8, 0]);
    }
}
