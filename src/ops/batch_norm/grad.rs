//! The backward pass.

use super::{ChannelPass, Layout, layout, per_channel};
use crate::error::Result;
use crate::ops::split_k::{SplitK, split_k};
use crate::ops::{
    Arg, Backward, Gradients, In, KernelContext, Op, Out, Outputs, Program, Real, Reference, TINY, Traits,
    UNIT, expect,
};
use crate::shape::{DType, TensorType};

/// Gradients of x, weight and bias from x `[n, c, ..]`, weight, mean, variance `[c]` and dy, with
/// r = 1/√(variance + eps) and n = (x - mean) r:
///
/// dbias = Σ dy, dweight = Σ dy n, dx = weight r (dy - dbias/m - n dweight/m).
///
/// Ioffe and Szegedy, ICML 2015, section 3, with the derivatives of mean and variance put in: the sum over
/// x - mean is zero, so that nothing is left of d variance / d mean.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchNormGrad {
    pub(super) eps: f32,
}

/// What a channel's gradients are made of: r, Σ dy and Σ dy n.
fn sums<T: Real>(inputs: &[In<'_, T>], layout: Layout, c: usize, eps: f32) -> (T, T, T) {
    let (x, mean, variance, dy) = (inputs[0].f(), inputs[2].f(), inputs[3].f(), inputs[4].f());
    let r = (variance[c] + T::of(f64::from(eps))).sqrt().recip();
    let sum = layout.elements(c).fold(T::zero(), |s, i| s + dy[i]);
    let dot = layout.elements(c).fold(T::zero(), |s, i| s + dy[i] * ((x[i] - mean[c]) * r));
    (r, sum, dot)
}

impl<T: Real> Reference<T> for BatchNormGrad {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let layout = Layout::of(&inputs[0].shape);
        let [x, weight, mean, _, dy] = [0, 1, 2, 3, 4].map(|k| inputs[k].f());
        let [dx, dweight, dbias] = outputs else { return Err("gives dx, dweight and dbias".into()) };
        let (dx, dweight, dbias) = (dx.f(), dweight.f(), dbias.f());
        let m = T::of(layout.count() as f64);
        for c in 0..layout.channels {
            let (r, sum, dot) = sums(inputs, layout, c, self.eps);
            for i in layout.elements(c) {
                let n = (x[i] - mean[c]) * r;
                dx[i] = weight[c] * r * (dy[i] - sum / m - n * (dot / m));
            }
            (dweight[c], dbias[c]) = (dot, sum);
        }
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let layout = Layout::of(&inputs[0].shape);
        let [x, weight, mean, variance, dy] = [0, 1, 2, 3, 4].map(|k| inputs[k].f());
        let [dx, dweight, dbias] = outputs else { return Err("gives dx, dweight and dbias".into()) };
        let (dx, dweight, dbias) = (dx.f(), dweight.f(), dbias.f());
        let (m, eps) = (T::of(layout.count() as f64), T::of(f64::from(self.eps)));
        let r: Vec<T> = variance.iter().map(|&v| (v + eps).sqrt().recip()).collect();
        layout.sums(dy, dy, dbias, |_, dy, _| dy);
        layout.sums(x, dy, dweight, |c, x, dy| dy * ((x - mean[c]) * r[c]));
        let shares: Vec<[T; 3]> =
            (0..layout.channels).map(|c| [weight[c] * r[c], dbias[c] / m, dweight[c] / m]).collect();
        layout.map(x, dy, dx, |c, x, dy| {
            let [scale, sum, dot] = shares[c];
            scale * (dy - sum - (x - mean[c]) * r[c] * dot)
        });
        Ok(())
    }
}

impl Op for BatchNormGrad {
    fn name(&self) -> &'static str {
        "batch_norm_grad"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32; 5])?;
        layout(self.eps, inputs[0], &inputs[1..4])?;
        if inputs[4] != inputs[0] {
            return Err(format!("the cotangent {} does not have the shape of {}", inputs[4], inputs[0]));
        }
        Ok(vec![inputs[0], inputs[1], inputs[1]])
    }

    fn grad<'g>(&self, of: Backward<'_, 'g>) -> Gradients<'g> {
        of.of_formula(|inputs| {
            let [x, weight, mean, variance, dy] = [0, 1, 2, 3, 4].map(|k| inputs[k]);
            let others: Vec<usize> = (0..x.shape().rank()).filter(|&a| a != 1).collect();
            let r = (variance + self.eps).powf(-0.5);
            let n = (x - per_channel(mean, x)) * per_channel(r, x);
            let (dot, sum) = ((dy * n).sum(&others), dy.sum(&others));
            let share = 1.0 / Layout::of(&x.shape()).count() as f32;
            let rest = dy - per_channel(sum * share, x) - n * per_channel(dot * share, x);
            [rest * per_channel(weight * r, x), dot, sum]
        })
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let layout = Layout::of(&ctx.inputs[0].shape);
        let channels = [layout.channels; 2];
        let of = SplitK { first: 1, ..SplitK::of(layout.chunks(ctx.caps).pieces, &channels) };
        let sums = split_k(&of, ctx, |to, _| {
            let args = [&[0, 2, 3, 4].map(Arg::Input), to].concat();
            layout.launch("batch_norm_sums", args, self.eps, ChannelPass::Channels, ctx)
        })?;
        let mut backward: Vec<Arg> = (0..5).map(Arg::Input).collect();
        backward.extend([Arg::OutputRead(1), Arg::OutputRead(2), Arg::Output(0)]);
        let dx = layout.launch("batch_norm_backward", backward, self.eps, ChannelPass::Elements, ctx)?;
        Ok(sums.then(dx.into()))
    }

    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let layout = Layout::of(&inputs[0].shape);
        let [x, weight, mean, variance, dy] = [0, 1, 2, 3, 4].map(|k| inputs[k].f());
        let m = layout.count() as f64;
        let mut bounds = vec![vec![0.0; x.len()], Vec::new(), Vec::new()];
        for c in 0..layout.channels {
            let r = 1.0 / (variance[c] + f64::from(self.eps)).sqrt();
            let n = |i: usize| ((x[i] - mean[c]) * r).abs();
            let (sum_size, dot_size) =
                layout.elements(c).fold((0.0, 0.0), |(s, d), i| (s + dy[i].abs(), d + dy[i].abs() * n(i)));
            // m - 1 additions in any order; for the second also a difference, products and r, which is good to
            // 5 roundoffs.
            let sum_error = (m + 1.0) * UNIT * sum_size + TINY;
            let dot_error = (m + 12.0) * UNIT * dot_size + m * TINY;
            let (dot, sum) = (outputs[1].f()[c].abs(), outputs[2].f()[c].abs());
            for i in layout.elements(c) {
                let terms = dy[i].abs() + sum / m + n(i) * dot / m;
                let error = 20.0 * UNIT * terms + (sum_error + n(i) * dot_error) / m;
                bounds[0][i] = (weight[c] * r).abs() * error * 1.01 + TINY;
            }
            bounds[1].push(dot_error);
            bounds[2].push(sum_error);
        }
        bounds
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        11 * inputs[0].shape.elements() as u64
    }

    fn traits(&self) -> Traits {
        Traits::default().keeping_f32(Outputs::OTHERS).taking_epilogues()
    }
}
