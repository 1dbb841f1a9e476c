//! The backward pass.

use super::super::{In, KernelContext, Op, Out, Program, Real, Reference, Traits};
use super::layout::Problem;
use super::{Attention, bounds, fast, kernels, reference};
use crate::error::Result;
use crate::shape::{DType, TensorType};

/// Cotangents of q, k and v. Inputs: those of attention, its outputs o and l, and the cotangent dy of o. With s the scores,
/// p = e^(s - l) and D = Σ dy o of each query,
///
/// dv = pᵀ dy, dp = dy vᵀ, ds = p (dp - D), dq = scale ds k, dk = scale dsᵀ q,
///
/// where D stands for Σ p dp along the keys, since o = Σ p v: Dao et al., "FlashAttention", NeurIPS 2022, appendix B.2.
#[derive(Debug, Clone)]
pub(crate) struct AttentionGrad(pub(crate) Attention);

impl<T: Real> Reference<T> for AttentionGrad {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        reference::gradient(self, inputs, outputs)
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        fast::gradient(self, inputs, outputs)
    }
}

impl Op for AttentionGrad {
    fn name(&self) -> &'static str {
        "attention_grad"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        let own = self.0.inputs();
        if inputs.len() != own + 3 {
            return Err(format!("takes {} inputs, got {}", own + 3, inputs.len()));
        }
        let outputs = self.0.infer(&inputs[..own])?;
        for (found, expected) in inputs[own..].iter().zip([outputs[0], outputs[1], outputs[0]]) {
            if found.dtype != DType::F32 || found.shape != expected.shape {
                return Err(format!("outputs and their cotangent are {expected}, got {found}"));
            }
        }
        Ok(inputs[..self.0.layout.tensors()].to_vec())
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        kernels::gradient(&self.0, ctx)
    }

    fn traits(&self) -> Traits {
        self.0.traits_of_inputs()
    }

    fn error_bound(&self, inputs: &[In<'_, f64>], _: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        bounds::gradient(self, inputs)
    }

    /// Five products, as many numbers each, and eight operations for weights and their cotangents.
    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        Problem::of(&self.0, inputs).map_or(0, |p| (p.pairs() * (2 * (3 * p.d + 2 * p.e) + 8)) as u64)
    }
}
