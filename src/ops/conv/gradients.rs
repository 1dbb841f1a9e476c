//! The gradients of a convolution as ops.

use super::correlation::Correlation;
use super::{Conv2d, Conv2dBackwardInput, Conv2dBackwardWeight, fits_bias, kernels, result};
use crate::error::Result;
use crate::ops::{
    Backward, Gradients, In, KernelContext, Op, Program, Traits, Trial, bound_of_products, bound_of_sums,
    expect,
};
use crate::shape::{DType, TensorType};

impl Op for Conv2dBackwardInput {
    fn name(&self) -> &'static str {
        "conv2d_backward_input"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32; 3][..inputs.len().clamp(2, 3)])?;
        let g = self.geometry(inputs[0].shape.dims(), inputs[1].shape.dims())?;
        fits_bias(inputs.get(2), g.groups * g.c)?;
        result(&[g.n, g.groups * g.c, g.h, g.w])
    }

    fn grad<'g>(&self, Backward { inputs, upstream, needed, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        let Some(cotangent) = upstream[0] else { return Ok(vec![None; inputs.len()]) };
        let (dy, weight) = (inputs[0], inputs[1]);
        let of = Conv2d { window: self.window, kernels: self.kernels };
        let mut gradients = vec![
            needed[0].then(|| of.forward(cotangent, weight, None)),
            needed[1].then(|| of.backward_weight(cotangent, dy, weight, false)[0]),
        ];
        gradients.extend(needed.get(2).map(|needed| needed.then(|| cotangent.sum(&[0, 2, 3]))));
        Ok(gradients)
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        kernels::backward_input(self, ctx)
    }

    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let weight = inputs[1].shape;
        let products = weight.elements() / (weight.dim(1) * self.window.groups);
        bound_of_products(self, products + usize::from(inputs.len() == 3), inputs, outputs)
    }

    fn trial(&self, inputs: &[TensorType]) -> Option<Trial> {
        let g = self.geometry(inputs[0].shape.dims(), inputs[1].shape.dims()).ok()?;
        kernels::trial(self.kernels, &Correlation::backward(&g))
    }

    fn flops(&self, inputs: &[TensorType], outputs: &[TensorType]) -> u64 {
        let weight = inputs[1].shape;
        let added = if inputs.len() == 3 { outputs[0].shape.elements() } else { 0 };
        inputs[0].shape.elements() as u64 * (2 * weight.elements() / weight.dim(0)) as u64 + added as u64
    }

    fn traits(&self) -> Traits {
        Traits::default().taking_epilogues()
    }
}

impl Op for Conv2dBackwardWeight {
    fn name(&self) -> &'static str {
        "conv2d_backward_weight"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32; 2])?;
        let g = self.geometry(inputs[0].shape.dims(), inputs[1].shape.dims())?;
        let mut outputs = result(&[g.groups * g.o, g.c, g.kh, g.kw])?;
        if self.bias {
            outputs.extend(result(&[g.groups * g.o])?);
        }
        Ok(outputs)
    }

    fn grad<'g>(&self, Backward { inputs, upstream, needed, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        let (x, dy) = (inputs[0], inputs[1]);
        let of = Conv2d { window: self.window, kernels: self.kernels };
        let of_weight = upstream[0];
        let dx = of_weight.filter(|_| needed[0]);
        let dx = dx.map(|u| of.backward_input(dy, u, None, [x.dim(2), x.dim(3)]));
        let mut ddy = of_weight.filter(|_| needed[1]).map(|u| of.forward(x, u, None));
        // Every pixel of a channel is in the bias's sum once.
        if let Some(u) = upstream.get(1).copied().flatten().filter(|_| needed[1]) {
            let each = u.reshape([u.dim(0), 1, 1]).broadcast_to(dy.shape());
            ddy = Some(ddy.map_or(each, |d| d + each));
        }
        Ok(vec![dx, ddy])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        kernels::backward_weight(self, ctx)
    }

    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let dy = inputs[1].shape;
        let terms = dy.elements() / dy.dim(1);
        let weight = Conv2dBackwardWeight { bias: false, ..*self };
        let mut bounds = bound_of_products(&weight, terms, inputs, &outputs[..1]);
        if self.bias {
            let mut sizes = vec![0.0; dy.dim(1)];
            let size = dy.dim(2) * dy.dim(3);
            for (plane, values) in inputs[1].f().chunks_exact(size).enumerate() {
                sizes[plane % dy.dim(1)] += values.iter().map(|v| v.abs()).sum::<f64>();
            }
            bounds.push(bound_of_sums(&sizes, terms as f64));
        }
        bounds
    }

    fn trial(&self, inputs: &[TensorType]) -> Option<Trial> {
        let g = self.geometry(inputs[0].shape.dims(), inputs[1].shape.dims()).ok()?;
        kernels::weight_trial(self.kernels, &g)
    }

    fn flops(&self, inputs: &[TensorType], outputs: &[TensorType]) -> u64 {
        let (dy, weight) = (inputs[1].shape, outputs[0].shape);
        dy.elements() as u64 * (2 * weight.elements() / weight.dim(0)) as u64
    }
}
