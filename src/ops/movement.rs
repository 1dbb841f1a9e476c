//! Ops that move elements without computing: reshape, permute, slice, broadcast, copy, pad, concat.
//! Kernels: `shaders/movement.wgsl`.

use std::fmt::Debug;

use super::{Arg, Case, Dispatch, Fill, Kernel, KernelContext, Op, Program, Real, Reference};
use super::{In, Out, Slice as Elements, SliceMut, float};
use crate::error::Result;
use crate::graph::{Var, shape_rule};
use crate::shape::{DType, IntoShape, MAX_RANK, Shape, TensorType};

const WORKGROUP: usize = 64;

/// Uniform of the kernels that read or write with strides.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct MoveParams {
    elements: u32,
    rank: u32,
    base: u32,
    _pad: u32,
    dims: [u32; 8],
    strides: [u32; 8],
}

impl MoveParams {
    fn new(shape: &Shape, strides: &[usize], base: usize) -> Self {
        let mut p = MoveParams {
            elements: shape.elements() as u32,
            rank: shape.rank() as u32,
            base: base as u32,
            _pad: 0,
            dims: [1; 8],
            strides: [0; 8],
        };
        for axis in 0..shape.rank() {
            p.dims[axis] = shape.dim(axis) as u32;
            p.strides[axis] = strides[axis] as u32;
        }
        p
    }
}

/// Uniform of `pad`.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct PadParams {
    elements: u32,
    rank: u32,
    /// Bits of the value that fills.
    value: u32,
    _pad: u32,
    dims: [u32; 8],
    inner: [u32; 8],
    strides: [u32; 8],
    before: [u32; 8],
    step: [u32; 8],
}

/// Copies elements to positions and from positions, whatever their type.
fn transfer<T: Real>(from: &In<'_, T>, to: &mut Out<'_, T>, pairs: impl Fn(&mut dyn FnMut(usize, usize))) {
    match (&from.data, &mut to.data) {
        (Elements::F(x), SliceMut::F(y)) => pairs(&mut |to, from| y[to] = x[from]),
        (Elements::U32(x), SliceMut::U32(y)) => pairs(&mut |to, from| y[to] = x[from]),
        (Elements::U8(x), SliceMut::U8(y)) => pairs(&mut |to, from| y[to] = x[from]),
        _ => {}
    }
}

fn no_bytes(inputs: &[TensorType]) -> Result<(), String> {
    match inputs.iter().find(|i| i.dtype == DType::U8) {
        Some(_) => Err("bytes can only be reshaped, gathered by rows and converted with to_f32".into()),
        None => Ok(()),
    }
}

/// An output read from the input with strides.
pub(crate) trait Pattern: Debug + Clone + Send + Sync + 'static {
    const NAME: &'static str;
    /// Shape of the output, the stride of the input along each of its axes, and the first element.
    fn read(&self, input: &Shape) -> Result<(Shape, [usize; MAX_RANK], usize), String>;
    fn grad<'g>(&self, x: Var<'g>, dy: Var<'g>) -> Var<'g>;
}

#[derive(Clone)]
pub(crate) struct Moved<P>(P);

impl<P: Debug> Debug for Moved<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Real, P: Pattern> Reference<T> for Moved<P> {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (shape, strides, base) = self.0.read(&inputs[0].shape)?;
        transfer(&inputs[0], &mut outputs[0], |visit| super::value::strided(&shape, &strides, base, visit));
        Ok(())
    }
}

impl<P: Pattern> Op for Moved<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        no_bytes(inputs)?;
        let (shape, ..) = self.0.read(&inputs[0].shape)?;
        Ok(vec![TensorType { dtype: inputs[0].dtype, shape }])
    }

    fn grad<'g>(
        &self,
        inputs: &[Var<'g>],
        _: &[Var<'g>],
        upstream: &[Option<Var<'g>>],
        _: &[bool],
    ) -> Result<Vec<Option<Var<'g>>>, String> {
        Ok(vec![upstream[0].map(|dy| self.0.grad(inputs[0], dy))])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        // `infer` accepted the shape, so reading it cannot fail.
        let (shape, strides, base) =
            self.0.read(&ctx.inputs[0].shape).map_err(crate::error::Error::Invalid)?;
        let params = MoveParams::new(&shape, &strides, base);
        let grid = ctx.caps.grid(shape.elements().div_ceil(WORKGROUP))?;
        let args = vec![Arg::Input(0), Arg::Output(0)];
        Ok(Dispatch::new(Kernel::library("strided_read")?, args, &params, grid).into())
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }

    fn moves_input(&self) -> Option<usize> {
        Some(0)
    }
}

/// The same elements in fresh memory.
#[derive(Debug, Clone)]
pub(crate) struct Copied;

impl Pattern for Copied {
    const NAME: &'static str = "copy";
    fn read(&self, input: &Shape) -> Result<(Shape, [usize; MAX_RANK], usize), String> {
        Ok((*input, input.strides(), 0))
    }
    fn grad<'g>(&self, _: Var<'g>, dy: Var<'g>) -> Var<'g> {
        dy
    }
}

/// Axes in another order: output axis `i` is input axis `axes[i]`.
#[derive(Debug, Clone)]
pub(crate) struct Permute {
    axes: Vec<usize>,
}

impl Pattern for Permute {
    const NAME: &'static str = "permute";
    fn read(&self, input: &Shape) -> Result<(Shape, [usize; MAX_RANK], usize), String> {
        let mut seen = self.axes.clone();
        seen.sort_unstable();
        if seen != (0..input.rank()).collect::<Vec<_>>() {
            return Err(format!("{:?} is no order of {} axes", self.axes, input.rank()));
        }
        let own = input.strides();
        let (mut dims, mut strides) = ([1; MAX_RANK], [0; MAX_RANK]);
        for (i, &axis) in self.axes.iter().enumerate() {
            dims[i] = input.dim(axis);
            strides[i] = own[axis];
        }
        let shape = Shape::new(&dims[..input.rank()]).ok_or_else(shape_rule)?;
        Ok((shape, strides, 0))
    }
    fn grad<'g>(&self, _: Var<'g>, dy: Var<'g>) -> Var<'g> {
        let mut inverse = vec![0; self.axes.len()];
        self.axes.iter().enumerate().for_each(|(i, &axis)| inverse[axis] = i);
        dy.permute(&inverse)
    }
}

/// Every `step`th element of one axis, from `start`, `count` of them.
#[derive(Debug, Clone)]
pub(crate) struct SliceAxis {
    axis: usize,
    start: usize,
    count: usize,
    step: usize,
}

impl Pattern for SliceAxis {
    const NAME: &'static str = "slice";
    fn read(&self, input: &Shape) -> Result<(Shape, [usize; MAX_RANK], usize), String> {
        let SliceAxis { axis, start, count, step } = *self;
        if axis >= input.rank() {
            return Err(format!("there is no axis {axis} in {input}"));
        }
        if count == 0 || step == 0 || start + (count - 1) * step >= input.dim(axis) {
            return Err(format!(
                "{count} elements from {start} by {step} are not in axis {axis} of {input}, which has {}",
                input.dim(axis)
            ));
        }
        let mut strides = input.strides();
        let base = start * strides[axis];
        strides[axis] *= step;
        Ok((input.with(axis, count), strides, base))
    }
    fn grad<'g>(&self, x: Var<'g>, dy: Var<'g>) -> Var<'g> {
        let rank = x.shape().rank();
        let mut pad = Pad { before: vec![0; rank], after: vec![0; rank], interior: vec![0; rank], value: 0.0 };
        let used = (self.count - 1) * self.step + 1;
        pad.before[self.axis] = self.start;
        pad.after[self.axis] = x.dim(self.axis) - self.start - used;
        pad.interior[self.axis] = self.step - 1;
        x.graph.record_one(pad, &[dy])
    }
}

/// Repeated by numpy's rule to a larger shape.
#[derive(Debug, Clone)]
pub(crate) struct Broadcast {
    shape: Shape,
}

impl Pattern for Broadcast {
    const NAME: &'static str = "broadcast";
    fn read(&self, input: &Shape) -> Result<(Shape, [usize; MAX_RANK], usize), String> {
        if !input.broadcasts_to(&self.shape) {
            return Err(format!("{input} does not broadcast to {}", self.shape));
        }
        Ok((self.shape, input.broadcast_strides(&self.shape), 0))
    }
    fn grad<'g>(&self, x: Var<'g>, dy: Var<'g>) -> Var<'g> {
        dy.sum_to(x.shape())
    }
}

/// The same elements under another shape; shares memory where that is safe.
#[derive(Debug, Clone)]
pub(crate) struct Reshape {
    shape: Shape,
}

impl<T: Real> Reference<T> for Reshape {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let n = self.shape.elements();
        transfer(&inputs[0], &mut outputs[0], |visit| (0..n).for_each(|i| visit(i, i)));
        Ok(())
    }
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        let (from, to) = (inputs[0].shape, self.shape);
        if from.elements() != to.elements() {
            return Err(format!(
                "{from} has {} elements and {to} has {}; they must be equal",
                from.elements(),
                to.elements()
            ));
        }
        Ok(vec![TensorType { dtype: inputs[0].dtype, shape: to }])
    }

    fn grad<'g>(
        &self,
        inputs: &[Var<'g>],
        _: &[Var<'g>],
        upstream: &[Option<Var<'g>>],
        _: &[bool],
    ) -> Result<Vec<Option<Var<'g>>>, String> {
        Ok(vec![upstream[0].map(|dy| dy.reshape(inputs[0].shape()))])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        // As words: the bytes of a u8 tensor move four at a time.
        let words = ctx.inputs[0].bytes() / 4;
        let words = if ctx.inputs[0].dtype == DType::U8 { words } else { self.shape.elements() };
        let flat = Shape::new(&[words]).unwrap_or_else(Shape::scalar);
        let params = MoveParams::new(&flat, &[1], 0);
        let grid = ctx.caps.grid(words.div_ceil(WORKGROUP))?;
        let args = vec![Arg::Input(0), Arg::Output(0)];
        Ok(Dispatch::new(Kernel::library("strided_read")?, args, &params, grid).into())
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }

    fn moves_input(&self) -> Option<usize> {
        Some(0)
    }

    fn is_alias(&self) -> bool {
        true
    }
}

/// Elements put around each axis and between its elements, as in XLA's `Pad`.
#[derive(Debug, Clone)]
pub(crate) struct Pad {
    before: Vec<usize>,
    after: Vec<usize>,
    interior: Vec<usize>,
    value: f32,
}

impl Pad {
    fn output(&self, input: &Shape) -> Result<Shape, String> {
        let rank = input.rank();
        if [&self.before, &self.after, &self.interior].iter().any(|v| v.len() != rank) {
            return Err(format!("padding is given for {} axes, {input} has {rank}", self.before.len()));
        }
        let extent = |i: usize| {
            let gaps = (input.dim(i).max(1) - 1).checked_mul(self.interior[i])?;
            input.dim(i).checked_add(gaps)?.checked_add(self.before[i])?.checked_add(self.after[i])
        };
        let dims: Option<Vec<usize>> = (0..rank).map(extent).collect();
        dims.and_then(|d| Shape::new(&d)).ok_or_else(shape_rule)
    }
}

impl<T: Real> Reference<T> for Pad {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (inner, outer) = (inputs[0].shape, outputs[0].shape);
        match &mut outputs[0].data {
            SliceMut::F(y) => y.fill(T::of(f64::from(self.value))),
            SliceMut::U32(y) => y.fill(self.value as u32),
            SliceMut::U8(y) => y.fill(self.value as u8),
        }
        let step = outer.strides();
        let strides: Vec<usize> = (0..inner.rank()).map(|i| step[i] * (self.interior[i] + 1)).collect();
        let base = (0..inner.rank()).map(|i| step[i] * self.before[i]).sum();
        transfer(&inputs[0], &mut outputs[0], |visit| {
            super::value::strided(&inner, &strides, base, |from, to| visit(to, from));
        });
        Ok(())
    }
}

impl Op for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        no_bytes(inputs)?;
        Ok(vec![TensorType { dtype: inputs[0].dtype, shape: self.output(&inputs[0].shape)? }])
    }

    fn grad<'g>(
        &self,
        inputs: &[Var<'g>],
        _: &[Var<'g>],
        upstream: &[Option<Var<'g>>],
        _: &[bool],
    ) -> Result<Vec<Option<Var<'g>>>, String> {
        let Some(mut dx) = upstream[0] else { return Ok(vec![None]) };
        let x = inputs[0];
        for axis in 0..x.shape().rank() {
            let (count, step) = (x.dim(axis), self.interior[axis] + 1);
            if self.before[axis] + self.after[axis] + self.interior[axis] > 0 {
                dx = x.graph.record_one(
                    Moved(SliceAxis { axis, start: self.before[axis], count, step }),
                    &[dx],
                );
            }
        }
        Ok(vec![Some(dx)])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let (inner, outer) = (ctx.inputs[0].shape, ctx.outputs[0].shape);
        let value =
            if ctx.inputs[0].dtype == DType::F32 { self.value.to_bits() } else { self.value as u32 };
        let mut p = PadParams {
            elements: outer.elements() as u32,
            rank: outer.rank() as u32,
            value,
            _pad: 0,
            dims: [1; 8],
            inner: [1; 8],
            strides: [0; 8],
            before: [0; 8],
            step: [1; 8],
        };
        for axis in 0..outer.rank() {
            p.dims[axis] = outer.dim(axis) as u32;
            p.inner[axis] = inner.dim(axis) as u32;
            p.strides[axis] = inner.strides()[axis] as u32;
            p.before[axis] = self.before[axis] as u32;
            p.step[axis] = self.interior[axis] as u32 + 1;
        }
        let grid = ctx.caps.grid(outer.elements().div_ceil(WORKGROUP))?;
        Ok(Dispatch::new(Kernel::library("pad")?, vec![Arg::Input(0), Arg::Output(0)], &p, grid).into())
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }
}

/// Tensors put after each other along an axis.
#[derive(Debug, Clone)]
pub(crate) struct Concat {
    axis: usize,
}

impl<T: Real> Reference<T> for Concat {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let strides = outputs[0].shape.strides();
        let mut start = 0;
        for x in inputs {
            let base = start * strides[self.axis];
            transfer(x, &mut outputs[0], |visit| {
                super::value::strided(&x.shape, &strides, base, |from, to| visit(to, from));
            });
            start += x.shape.dim(self.axis);
        }
        Ok(())
    }
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        no_bytes(inputs)?;
        let first = inputs.first().ok_or("needs at least one tensor")?;
        if self.axis >= first.shape.rank() {
            return Err(format!("there is no axis {} in {}", self.axis, first.shape));
        }
        let same = |i: &&TensorType| {
            i.dtype == first.dtype && i.shape.with(self.axis.min(MAX_RANK - 1), 1) == first.shape.with(self.axis, 1)
        };
        if let Some(other) = inputs.iter().find(|i| !same(i)) {
            return Err(format!("{other} does not fit {first} along axis {}", self.axis));
        }
        let total = inputs.iter().map(|i| i.shape.dim(self.axis)).sum();
        let shape = Shape::new(first.shape.with(self.axis, total).dims()).ok_or_else(shape_rule)?;
        Ok(vec![TensorType { dtype: first.dtype, shape }])
    }

    fn grad<'g>(
        &self,
        inputs: &[Var<'g>],
        _: &[Var<'g>],
        upstream: &[Option<Var<'g>>],
        needed: &[bool],
    ) -> Result<Vec<Option<Var<'g>>>, String> {
        let Some(dy) = upstream[0] else { return Ok(vec![None; inputs.len()]) };
        let mut start = 0;
        let part = |(x, needed): (&Var<'g>, &bool)| {
            let from = start;
            start += x.dim(self.axis);
            needed.then(|| dy.slice(self.axis, from, x.dim(self.axis)))
        };
        Ok(inputs.iter().zip(needed).map(part).collect())
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let strides = ctx.outputs[0].shape.strides();
        let mut program = Program::default();
        let mut start = 0;
        for (i, x) in ctx.inputs.iter().enumerate() {
            let params = MoveParams::new(&x.shape, &strides, start * strides[self.axis]);
            let grid = ctx.caps.grid(x.shape.elements().div_ceil(WORKGROUP))?;
            let args = vec![Arg::Input(i), Arg::Output(0)];
            program.dispatches.push(Dispatch::new(Kernel::library("strided_write")?, args, &params, grid));
            start += x.shape.dim(self.axis);
        }
        Ok(program)
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }
}

impl<'g> Var<'g> {
    /// The same elements in fresh memory: a snapshot of a state before it is updated.
    #[track_caller]
    pub fn copy(self) -> Var<'g> {
        self.graph.record_one(Moved(Copied), &[self])
    }

    /// The same elements, row-major, under another shape.
    #[track_caller]
    pub fn reshape(self, shape: impl IntoShape) -> Var<'g> {
        let dims = shape.into_dims();
        if self.shape().dims() == dims && !self.is_poisoned() {
            return self;
        }
        match (Shape::new(&dims), self.fill_value()) {
            (Some(shape), Some(value)) if shape.elements() == self.shape().elements() => {
                self.graph.record_one(Fill { value, shape }, &[])
            }
            (Some(shape), _) => self.graph.record_one(Reshape { shape }, &[self]),
            // A shape that cannot be: recorded as one that does not fit, so that the error names both.
            (None, _) => self.graph.refuse("reshape", format!("{dims:?} is no shape: {}", shape_rule()), self),
        }
    }

    /// All axes from `from` on merged into one: `[n, c, h, w].flatten(1)` is `[n, c·h·w]`.
    #[track_caller]
    pub fn flatten(self, from: usize) -> Var<'g> {
        let shape = self.shape();
        let from = from.min(shape.rank());
        let mut dims = shape.dims()[..from].to_vec();
        dims.push(shape.dims()[from..].iter().product());
        self.reshape(&dims)
    }

    /// Axes in another order: axis `i` of the result is axis `axes[i]`.
    #[track_caller]
    pub fn permute(self, axes: &[usize]) -> Var<'g> {
        self.graph.record_one(Moved(Permute { axes: axes.to_vec() }), &[self])
    }

    /// The last two axes swapped.
    #[track_caller]
    pub fn t(self) -> Var<'g> {
        let rank = self.shape().rank();
        let mut axes: Vec<usize> = (0..rank).collect();
        if rank >= 2 {
            axes.swap(rank - 1, rank - 2);
        }
        self.permute(&axes)
    }

    /// `count` elements of `axis` from `start` on.
    #[track_caller]
    pub fn slice(self, axis: usize, start: usize, count: usize) -> Var<'g> {
        self.graph.record_one(Moved(SliceAxis { axis, start, count, step: 1 }), &[self])
    }

    /// `count` elements of `axis` from `start` on, every `step`th.
    #[track_caller]
    pub fn slice_step(self, axis: usize, start: usize, count: usize, step: usize) -> Var<'g> {
        self.graph.record_one(Moved(SliceAxis { axis, start, count, step }), &[self])
    }

    /// Repeated to `shape` by numpy's broadcasting rule.
    #[track_caller]
    pub fn broadcast_to(self, shape: impl IntoShape) -> Var<'g> {
        let dims = shape.into_dims();
        let Some(shape) = Shape::new(&dims) else {
            return self.graph.refuse("broadcast", format!("{dims:?} is no shape: {}", shape_rule()), self);
        };
        match self.fill_value() {
            _ if self.shape() == shape => self,
            Some(value) if self.shape().broadcasts_to(&shape) => {
                self.graph.record_one(Fill { value, shape }, &[])
            }
            _ => self.graph.record_one(Moved(Broadcast { shape }), &[self]),
        }
    }

    /// Surrounded by `value`: `before[i]` and `after[i]` elements along axis `i`.
    #[track_caller]
    pub fn pad(self, before: &[usize], after: &[usize], value: f32) -> Var<'g> {
        let interior = vec![0; before.len()];
        let pad = Pad { before: before.to_vec(), after: after.to_vec(), interior, value };
        self.graph.record_one(pad, &[self])
    }

    /// This and `others` after each other along `axis`.
    #[track_caller]
    pub fn concat(self, others: &[Var<'g>], axis: usize) -> Var<'g> {
        let all: Vec<Var<'g>> = [self].iter().chain(others).copied().collect();
        self.graph.record_one(Concat { axis }, &all)
    }
}

pub(super) fn cases() -> Vec<Case> {
    let slice = |axis, start, count, step| Moved(SliceAxis { axis, start, count, step });
    let broadcast = |dims: &[usize]| Moved(Broadcast { shape: float(dims).shape });
    let pad = |before: &[usize], after: &[usize], interior: &[usize]| Pad {
        before: before.to_vec(),
        after: after.to_vec(),
        interior: interior.to_vec(),
        value: -1.5,
    };
    vec![
        Case::new(Moved(Copied), &[&[1]]),
        Case::new(Moved(Copied), &[&[7, 19]]),
        Case::new(Reshape { shape: float(&[6, 4]).shape }, &[&[2, 3, 4]]),
        Case::new(Reshape { shape: float(&[]).shape }, &[&[1, 1]]),
        Case::new(Moved(Permute { axes: vec![1, 0] }), &[&[1, 1]]),
        Case::new(Moved(Permute { axes: vec![1, 0] }), &[&[37, 65]]),
        Case::new(Moved(Permute { axes: vec![1, 0] }), &[&[3, 5]]).index(0, 9).no_gradient(),
        Case::new(Moved(Permute { axes: vec![3, 1, 0, 2] }), &[&[2, 3, 4, 5]]),
        Case::new(Moved(Permute { axes: vec![5, 4, 3, 2, 1, 0] }), &[&[1, 2, 3, 1, 2, 3]]),
        Case::new(slice(0, 0, 1, 1), &[&[1]]),
        Case::new(slice(1, 2, 3, 1), &[&[4, 7, 2]]),
        Case::new(slice(1, 1, 3, 2), &[&[4, 7, 2]]),
        Case::new(slice(0, 60, 130, 1), &[&[200, 3]]),
        Case::new(broadcast(&[3, 4]), &[&[]]),
        Case::new(broadcast(&[3, 5, 4]), &[&[5, 1]]),
        Case::new(broadcast(&[67, 9]), &[&[9]]),
        Case::new(pad(&[0], &[0], &[0]), &[&[1]]),
        Case::new(pad(&[1, 2], &[3, 0], &[0, 0]), &[&[4, 5]]),
        Case::new(pad(&[1, 0, 2], &[0, 1, 1], &[2, 0, 1]), &[&[3, 4, 5]]),
        Case::new(Concat { axis: 0 }, &[&[3]]),
        Case::new(Concat { axis: 0 }, &[&[1, 4], &[2, 4], &[5, 4]]),
        Case::new(Concat { axis: 2 }, &[&[3, 2, 1], &[3, 2, 6]]),
        Case::new(Concat { axis: 1 }, &[&[17, 5], &[17, 64]]),
    ]
}
