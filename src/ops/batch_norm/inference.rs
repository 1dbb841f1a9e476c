//! Normalization with statistics from elsewhere.

use super::{ChannelPass, Layout, layout, normalized_bound, per_channel, root_bound};
use crate::error::Result;
use crate::ops::{
    Arg, Backward, Gradients, In, KernelContext, Op, Out, Program, Real, Reference, Traits, expect,
};
use crate::shape::{DType, TensorType};

/// y = (x - mean) / √(variance + eps) · weight + bias. Inputs: x `[n, c, ..]`; weight, bias, mean and
/// variance `[c]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchNormInference {
    pub(super) eps: f32,
}

impl<T: Real> Reference<T> for BatchNormInference {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let layout = Layout::of(&inputs[0].shape);
        let [x, weight, bias, mean, variance] = [0, 1, 2, 3, 4].map(|k| inputs[k].f());
        let y = outputs[0].f();
        for c in 0..layout.channels {
            let scale = weight[c] / (variance[c] + T::of(f64::from(self.eps))).sqrt();
            layout.elements(c).for_each(|i| y[i] = (x[i] - mean[c]) * scale + bias[c]);
        }
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let [x, weight, bias, mean, variance] = [0, 1, 2, 3, 4].map(|k| inputs[k].f());
        let layout = Layout::of(&inputs[0].shape);
        layout.normalize(x, [weight, bias, mean, variance], self.eps, outputs[0].f());
        Ok(())
    }
}

impl Op for BatchNormInference {
    fn name(&self) -> &'static str {
        "batch_norm_inference"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32; 5])?;
        layout(self.eps, inputs[0], &inputs[1..])?;
        Ok(vec![inputs[0]])
    }

    /// By the formula, op by op: training does not come here.
    fn grad<'g>(&self, Backward { inputs, upstream, needed, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        let Some(dy) = upstream[0] else { return Ok(vec![None; 5]) };
        let (x, weight, mean, variance) = (inputs[0], inputs[1], inputs[3], inputs[4]);
        let others: Vec<usize> = (0..x.shape().rank()).filter(|&a| a != 1).collect();
        let root = (variance + self.eps).powf(-0.5);
        let scale = weight * root;
        let centred = || (dy * (x - per_channel(mean, x))).sum(&others);
        Ok(vec![
            needed[0].then(|| dy * per_channel(scale, x)),
            needed[1].then(|| centred() * root),
            needed[2].then(|| dy.sum(&others)),
            needed[3].then(|| -(dy.sum(&others) * scale)),
            needed[4].then(|| centred() * scale * root.square() * -0.5),
        ])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let mut args: Vec<Arg> = (0..5).map(Arg::Input).collect();
        args.push(Arg::Output(0));
        let layout = Layout::of(&ctx.inputs[0].shape);
        Ok(layout.launch("batch_norm_apply", args, self.eps, ChannelPass::Elements, ctx)?.into())
    }

    fn error_bound(&self, inputs: &[In<'_, f64>], _: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let layout = Layout::of(&inputs[0].shape);
        let [x, weight, bias, mean, variance] = [0, 1, 2, 3, 4].map(|k| inputs[k].f());
        let eps = f64::from(self.eps);
        let mut bounds = vec![0.0; x.len()];
        for c in 0..layout.channels {
            let root = root_bound(variance[c], 0.0, eps);
            let scale = weight[c] / (variance[c] + eps).sqrt();
            layout
                .elements(c)
                .for_each(|i| bounds[i] = normalized_bound(x[i] - mean[c], scale, bias[c], root, 0.0));
        }
        vec![bounds]
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        3 * inputs[0].shape.elements() as u64
    }

    fn traits(&self) -> Traits {
        Traits::default().taking_epilogues()
    }
}
