//! Ops whose output is the input read with strides, and reshape.

use std::fmt::Debug;

use super::{no_bytes, read, transfer};
use crate::error::Result;
use crate::graph::{Var, shape_rule};
use crate::ops::movement::pad::Pad;
use crate::ops::{
    Backward, Gradients, In, KernelContext, Movement, Op, Out, Program, Real, Reference, Traits, View,
};
use crate::shape::{DType, MAX_RANK, Shape, TensorType};

/// An output read from the input with strides.
pub(crate) trait Strides: Debug + Clone + Send + Sync + 'static {
    const NAME: &'static str;
    /// Whether every element of the input is read.
    const WHOLE: bool = true;
    /// Shape of the output, and where in the input its elements are.
    fn read(&self, input: &Shape) -> Result<(Shape, View), String>;
    fn grad<'g>(&self, x: Var<'g>, dy: Var<'g>) -> Var<'g>;
}

#[derive(Clone)]
pub(crate) struct Moved<P>(pub(crate) P);

impl<P: Debug> Debug for Moved<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Real, P: Strides> Reference<T> for Moved<P> {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (_, view) = self.0.read(&inputs[0].shape)?;
        transfer(&inputs[0], &mut outputs[0], &view.gathered());
        Ok(())
    }
}

impl<P: Strides> Op for Moved<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        no_bytes(inputs)?;
        let (shape, ..) = self.0.read(&inputs[0].shape)?;
        Ok(vec![TensorType { dtype: inputs[0].dtype, shape }])
    }

    fn grad<'g>(&self, Backward { inputs, upstream, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        Ok(vec![upstream[0].map(|dy| self.0.grad(inputs[0], dy))])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        // `infer` accepted the shape, so reading it cannot fail.
        let (_, view) = self.0.read(&ctx.inputs[0].shape).map_err(crate::error::Error::Invalid)?;
        Ok(read(&view, ctx)?.into())
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }

    fn movement(&self, inputs: &[TensorType]) -> Option<Movement> {
        Some(Movement::Read(self.0.read(&inputs[0].shape).ok()?.1))
    }

    fn traits(&self) -> Traits {
        let traits = Traits::default();
        if P::WHOLE { traits.moving(0) } else { traits }
    }
}

/// The same elements in fresh memory.
#[derive(Debug, Clone)]
pub(crate) struct Copied;

impl Strides for Copied {
    const NAME: &'static str = "copy";
    fn read(&self, input: &Shape) -> Result<(Shape, View), String> {
        Ok((*input, View::in_order(input.elements())))
    }
    fn grad<'g>(&self, _: Var<'g>, dy: Var<'g>) -> Var<'g> {
        dy
    }
}

/// Axes in another order: output axis `i` is input axis `axes[i]`.
#[derive(Debug, Clone)]
pub(crate) struct Permute {
    pub(super) axes: Vec<usize>,
}

impl Strides for Permute {
    const NAME: &'static str = "permute";
    fn read(&self, input: &Shape) -> Result<(Shape, View), String> {
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
        Ok((shape, View::strided(&shape, &strides, 0)))
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
    pub(super) axis: usize,
    pub(super) start: usize,
    pub(super) count: usize,
    pub(super) step: usize,
}

impl Strides for SliceAxis {
    const NAME: &'static str = "slice";
    const WHOLE: bool = false;
    fn read(&self, input: &Shape) -> Result<(Shape, View), String> {
        let SliceAxis { axis, start, count, step } = *self;
        if axis >= input.rank() {
            return Err(format!("there is no axis {axis} in {input}"));
        }
        let last = count.checked_sub(1).and_then(|n| n.checked_mul(step)).and_then(|n| n.checked_add(start));
        if step == 0 || last.is_none_or(|last| last >= input.dim(axis)) {
            return Err(format!(
                "{count} elements from {start} by {step} are not in axis {axis} of {input}, which has {}",
                input.dim(axis)
            ));
        }
        let mut strides = input.strides();
        let base = start * strides[axis];
        strides[axis] *= step;
        let shape = input.with(axis, count);
        Ok((shape, View::strided(&shape, &strides, base)))
    }
    fn grad<'g>(&self, x: Var<'g>, dy: Var<'g>) -> Var<'g> {
        let rank = x.shape().rank();
        let mut pad =
            Pad { before: vec![0; rank], after: vec![0; rank], interior: vec![0; rank], value: 0.0 };
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
    pub(super) shape: Shape,
}

impl Strides for Broadcast {
    const NAME: &'static str = "broadcast";
    fn read(&self, input: &Shape) -> Result<(Shape, View), String> {
        if !input.broadcasts_to(&self.shape) {
            return Err(format!("{input} does not broadcast to {}", self.shape));
        }
        Ok((self.shape, View::strided(&self.shape, &input.broadcast_strides(&self.shape), 0)))
    }
    fn grad<'g>(&self, x: Var<'g>, dy: Var<'g>) -> Var<'g> {
        dy.sum_to(x.shape())
    }
}

/// Elements that are moved several times, at once: what the planner makes of movements in a row.
#[derive(Debug, Clone)]
pub(crate) struct AsStrided {
    pub(crate) input: Shape,
    pub(crate) shape: Shape,
    pub(crate) view: View,
}

impl Strides for AsStrided {
    const NAME: &'static str = "as_strided";
    const WHOLE: bool = false;
    fn read(&self, input: &Shape) -> Result<(Shape, View), String> {
        if *input != self.input {
            return Err(format!("is made for {}, not for {input}", self.input));
        }
        Ok((self.shape, self.view.clone()))
    }
    fn grad<'g>(&self, x: Var<'g>, _: Var<'g>) -> Var<'g> {
        // Differentiation comes before the planner.
        x.graph.refuse(Self::NAME, "has no derivative".into(), x)
    }
}

/// The same elements under another shape; shares memory where that is safe.
#[derive(Debug, Clone)]
pub(crate) struct Reshape {
    pub(crate) shape: Shape,
}

impl<T: Real> Reference<T> for Reshape {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        transfer(&inputs[0], &mut outputs[0], &View::in_order(self.shape.elements()).gathered());
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

    fn grad<'g>(&self, Backward { inputs, upstream, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        Ok(vec![upstream[0].map(|dy| dy.reshape(inputs[0].shape()))])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        // As words: the bytes of a u8 tensor move four at a time.
        let words = ctx.inputs[0].bytes() / 4;
        let words = if ctx.inputs[0].dtype == DType::U8 { words } else { self.shape.elements() };
        Ok(read(&View::in_order(words), ctx)?.into())
    }

    fn traits(&self) -> Traits {
        Traits::default().alias()
    }
}
