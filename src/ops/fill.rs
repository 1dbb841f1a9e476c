//! A constant of any shape. It is computed once, when a graph is compiled.

use super::{Case, KernelContext, Op, Program, Real, Reference, Traits, uniform};
use super::{In, Out};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::ops::Arg;
use crate::shape::{Shape, TensorType};

/// Every element the same.
#[derive(Debug, Clone)]
pub(crate) struct Fill {
    pub(crate) value: f32,
    pub(crate) shape: Shape,
}

impl<T: Real> Reference<T> for Fill {
    fn eval(&self, _: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        outputs[0].f().fill(T::of(f64::from(self.value)));
        Ok(())
    }
}

impl Op for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn infer(&self, _: &[TensorType]) -> Result<Vec<TensorType>, String> {
        Ok(vec![TensorType::f32(self.shape)])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let params = uniform! { elements: self.shape.elements(), value: self.value };
        Ok(ctx.launch_over("fill", [Arg::Output(0)], &params, self.shape.elements())?.into())
    }

    fn traits(&self) -> Traits {
        Traits::default().constant(self.value)
    }
}

impl Graph {
    /// A constant without axes.
    #[track_caller]
    pub fn scalar(&self, value: f32) -> Var<'_> {
        self.record_one(Fill { value, shape: Shape::scalar() }, &[])
    }

    /// A constant of a shape as one op.
    #[track_caller]
    pub(crate) fn filled(&self, shape: Shape, value: f32) -> Var<'_> {
        self.record_one(Fill { value, shape }, &[])
    }

    /// A constant of a shape, every element the same.
    #[track_caller]
    pub fn full(&self, shape: impl crate::shape::IntoShape, value: f32) -> Var<'_> {
        self.scalar(value).broadcast_to(shape)
    }
}

pub(super) fn cases() -> Vec<Case> {
    [&[][..], &[1], &[65], &[7, 130]]
        .map(|dims| Case::new(Fill { value: -2.5, shape: super::float(dims).shape }, &[]).no_gradient())
        .to_vec()
}
