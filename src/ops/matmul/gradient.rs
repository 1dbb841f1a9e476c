//! Both gradients of a dense layer in one op, which the planner makes: that of the weight and that of the bias.

use super::{Extents, Form, Kernels, MatMul, blocks, kernels};
use crate::error::Result;
use crate::ops::reduce::{Kind, Reduce};
use crate::ops::{
    Case, In, KernelContext, Op, Out, Outputs, Program, Real, Reference, Traits, Trial, bound_of_sums, float,
    magnitudes,
};
use crate::shape::TensorType;

/// C\[m,n\] = A\[k,m\]ᵀ B\[k,n\] and the sums of A's columns \[m\]: with A the gradient of a layer's outputs, what
/// its weight and its bias get.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MatMulSum;

const PRODUCT: MatMul = MatMul { form: Form::Tn, kernels: Kernels::Best };
const SUM: Reduce = Reduce { kind: Kind::Sum, first: 0, count: 1, scale: 1.0 };

fn extents(inputs: &[TensorType]) -> Extents {
    PRODUCT.extents(&inputs[0].shape, &inputs[1].shape)
}

impl<T: Real> Reference<T> for MatMulSum {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (c, sums) = outputs.split_at_mut(1);
        Reference::<T>::eval(&PRODUCT, inputs, c)?;
        Reference::<T>::eval(&SUM, &inputs[..1], sums)
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (c, sums) = outputs.split_at_mut(1);
        Reference::<T>::eval_fast(&PRODUCT, inputs, c)?;
        Reference::<T>::eval_fast(&SUM, &inputs[..1], sums)
    }
}

impl Op for MatMulSum {
    fn name(&self) -> &'static str {
        "matmul_tn_sum"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        let mut outputs = PRODUCT.infer(inputs)?;
        if inputs[0].shape.rank() != 2 {
            return Err(format!("takes two matrices, got {}", inputs[0]));
        }
        outputs.push(float(&[inputs[0].shape.dim(1)]));
        Ok(outputs)
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let (e, kernels) = (extents(ctx.inputs), Kernels::Best);
        kernels::launch(&kernels::Problem { form: Form::Tn, e, sums: true, kernels }, ctx)
    }

    fn trial(&self, inputs: &[TensorType]) -> Option<Trial> {
        Some(blocks::trial(Form::Tn, &extents(inputs), true))
    }

    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let mut bounds = PRODUCT.error_bound(inputs, &outputs[..1]);
        let sizes = magnitudes(&SUM, &inputs[..1], &outputs[1]);
        bounds.push(bound_of_sums(&sizes, inputs[0].shape.dim(0) as f64));
        bounds
    }

    fn flops(&self, inputs: &[TensorType], outputs: &[TensorType]) -> u64 {
        PRODUCT.flops(inputs, outputs) + inputs[0].shape.elements() as u64
    }

    fn traits(&self) -> Traits {
        Traits::default().keeping_f32(Outputs::OTHERS)
    }
}

pub(super) fn cases() -> Vec<Case> {
    let sizes = [(1, 1, 1), (7, 10, 5), (9, 33, 13), (10, 128, 64), (33, 36, 68), (65, 67, 71), (36, 8, 3)];
    let case = |&(m, n, k): &(usize, usize, usize)| Case::new(MatMulSum, &[&[k, m], &[k, n]]).no_gradient();
    let mut cases: Vec<Case> = sizes.iter().flat_map(|s| [case(s), case(s).exact()]).collect();
    cases.push(case(&(192, 200, 252)).exact());
    // k is cut in splits.
    cases.push(case(&(10, 20, 1100)).exact());
    cases
}
