//! Rows with a 1 at a class, and elements at a class.

use super::{check, joined, not_empty};
use crate::error::Result;
use crate::ops::{
    Arg, Backward, Below, Gradients, In, KernelContext, Op, Out, Program, Real, Reference, Traits, expect,
    uniform,
};
use crate::shape::{DType, TensorType};

/// For each class number a row with 1 at the class and 0 elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct OneHot {
    pub(super) classes: usize,
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
        let params = uniform! { elements, classes: self.classes };
        Ok(ctx.launch_over("one_hot", [Arg::Input(0), Arg::Output(0)], &params, elements)?.into())
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }

    fn traits(&self) -> Traits {
        Traits::default().indices(0, Below::Count(self.classes as u32))
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

    fn grad<'g>(&self, Backward { inputs, upstream, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        let (x, index) = (inputs[0], inputs[1]);
        // Chosen, not multiplied: 0 times an infinite cotangent would be NaN.
        let dx = upstream[0].map(|dy| {
            let is_taken = index.one_hot(x.dim(1));
            is_taken.select(dy.reshape([x.dim(0), 1]), x.graph().scalar(0.0))
        });
        Ok(vec![dx, None])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let x = ctx.inputs[0].shape;
        let params = uniform! { elements: x.dim(0), classes: x.dim(1) };
        let args = [Arg::Input(0), Arg::Input(1), Arg::Output(0)];
        Ok(ctx.launch_over("pick", args, &params, x.dim(0))?.into())
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }

    fn traits(&self) -> Traits {
        Traits::default().indices(1, Below::Extent { input: 0, axis: 1 })
    }
}
