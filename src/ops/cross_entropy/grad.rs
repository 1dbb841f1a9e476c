//! The derivative of the cross-entropy with respect to the logits, as an op that has one itself.

use super::super::softmax::{SoftmaxGrad, rows_of};
use super::super::{
    Arg, Backward, Below, Fill, Gradients, KernelContext, Op, Pattern, Program, Traits, expect, float,
};
use super::super::{In, Out, Real, Reference, TINY, UNIT};
use super::{check, class_of, labels_type, stats_per_row};
use crate::error::Result;
use crate::ops::uniform;
use crate::shape::{DType, TensorType};

/// Cotangent of the logits, (softmax · sum t - t) · dloss, from the logits, the labels, what
/// [`super::CrossEntropy`] kept of each row, and the cotangent of the losses `[n]`.
#[derive(Debug, Clone)]
pub(crate) struct CrossEntropyGrad {
    pub(crate) soft: bool,
}

impl<T: Real> Reference<T> for CrossEntropyGrad {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (rows, columns) = rows_of(&inputs[0].shape);
        let kept = stats_per_row(self.soft);
        let (z, dz) = (inputs[0].f(), outputs[0].f());
        for row in 0..rows {
            let stats = &inputs[2].f()[row * kept..(row + 1) * kept];
            let class = if self.soft { 0 } else { class_of(row, inputs[1].u32()[row], columns)? };
            for k in 0..columns {
                let i = row * columns + k;
                let share = ((z[i] - stats[0]) - stats[1]).exp();
                let difference = match self.soft {
                    true => share * stats[2] - inputs[1].f()[i],
                    false if k == class => share - T::one(),
                    false => share,
                };
                dz[i] = difference * inputs[3].f()[row];
            }
        }
        Ok(())
    }
}

impl Op for CrossEntropyGrad {
    fn name(&self) -> &'static str {
        if self.soft { "soft_cross_entropy_grad" } else { "cross_entropy_grad" }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32, labels_type(self.soft), DType::F32, DType::F32])?;
        let (rows, _) = check(self.soft, &inputs[0], &inputs[1])?;
        let expected = [float(&[rows, stats_per_row(self.soft)]), float(&[rows])];
        if inputs[2..] != expected {
            return Err(format!(
                "{} and {} should be {} and {}",
                inputs[2], inputs[3], expected[0], expected[1]
            ));
        }
        Ok(vec![inputs[0]])
    }

    /// What was kept of each row is a function of the logits and the targets, so their derivatives are
    /// total and its own is none. With p = softmax and L = sum_ik u_ik (p_ik T_i - t_ik) d_i.
    fn grad<'g>(&self, Backward { inputs, upstream, needed, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        let Some(u) = upstream[0] else { return Ok(vec![None; 4]) };
        let &[z, labels, kept, d] = inputs else { return Err("takes 4 inputs".into()) };
        let column = d.reshape([d.dim(0), 1]);
        let by_logits = needed[0].then(|| {
            let by_share = z.graph.record_one(SoftmaxGrad { log: false }, &[z.softmax(1), u]);
            by_share * if self.soft { column * labels.sum_keep(&[1]) } else { column }
        });
        let by_targets = (self.soft && needed[1]).then(|| ((u * z.softmax(1)).sum_keep(&[1]) - u) * column);
        let by_dloss = needed[3].then(|| {
            let one = z.graph.record_one(Fill { value: 1.0, shape: d.shape() }, &[]);
            let unscaled = z.graph.record_one(self.clone(), &[z, labels, kept, one]);
            (u * unscaled).sum(&[1])
        });
        Ok(vec![by_logits, by_targets, None, by_dloss])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let (rows, columns) = rows_of(&ctx.inputs[0].shape);
        let entry = format!("{}_elements", self.name());
        let args = [Arg::Input(0), Arg::Input(1), Arg::Input(2), Arg::Input(3), Arg::Output(0)];
        let params = uniform! { rows, columns, share: 0.0 };
        Ok(ctx.launch_over(&entry, args, &params, rows * columns)?.into())
    }

    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let (_, columns) = rows_of(&inputs[0].shape);
        let kept = stats_per_row(self.soft);
        let bound = |(i, (&z, &dz)): (usize, (&f64, &f64))| {
            let row = i / columns;
            let stats = &inputs[2].f()[row * kept..];
            let (total, d) = (if self.soft { stats[2] } else { 1.0 }, inputs[3].f()[row].abs());
            let exponent = (z - stats[0]) - stats[1];
            let share = exponent.exp() * total.abs();
            // WGSL's exp is good to 3 + 2|x| units in the last place, two roundoffs each. The roundoffs of
            // both differences in the exponent become relative errors; then product, difference, product.
            let exp = 6.0 + 5.0 * exponent.abs() + (z - stats[0]).abs();
            let units = d * share * (exp + 1.0) + 2.0 * dz.abs();
            units * UNIT + (1.0 + d * (1.0 + total.abs())) * TINY
        };
        vec![inputs[0].f().iter().zip(outputs[0].f()).enumerate().map(bound).collect()]
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        5 * inputs[0].shape.elements() as u64
    }

    fn traits(&self) -> Traits {
        let traits = Traits::default().pattern((!self.soft).then_some(Pattern::CrossEntropyGrad));
        if self.soft { traits } else { traits.indices(1, Below::Extent { input: 0, axis: 1 }) }
    }
}
