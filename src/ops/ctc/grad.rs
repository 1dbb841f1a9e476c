//! The derivative by the log-probabilities.

use super::item::{Extents, Tracked};
use super::{WEIGHT, lengths, types};
use crate::error::Result;
use crate::host::threads;
use crate::ops::{Arg, Backward, Cut, Gradients, KernelContext, Op, Outputs, Program, Traits, expect};
use crate::ops::{In, Out, Real, Reference, TINY, UNIT};
use crate::shape::{DType, TensorType};

/// Cotangent of the log-probabilities, from the inputs of the loss, its alpha, the losses and their cotangents:
/// -dloss Σ e^(alpha + beta + loss) over the states with a symbol (equation 15 of the paper, by the log-probabilities).
#[derive(Debug, Clone)]
pub(crate) struct CtcGrad {
    pub(crate) blank: u32,
}

impl<T: Real> Reference<T> for CtcGrad {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let extents = Extents::of(&types(inputs), self.blank)?;
        let items = extents.items(inputs, self.blank)?;
        let [alpha, loss, dloss] = [4, 5, 6].map(|i| inputs[i].f());
        let (classes, width) = (extents.classes, extents.width());
        let of_item = extents.times * classes;
        let weight = WEIGHT * width.div_ceil(classes);
        threads::runs(outputs[0].f(), of_item, weight, |first, dy| {
            for (dy, i) in dy.chunks_exact_mut(of_item).zip(first / of_item..) {
                let (item, loss, d) = (&items[i], loss[i], dloss[i]);
                dy.fill(if d.is_zero() || loss.is_finite() { T::zero() } else { T::nan() });
                if d.is_zero() || !loss.is_finite() {
                    continue;
                }
                let alpha = &alpha[i * extents.times * width..];
                item.backward(|t, beta: &[T]| {
                    let row = &mut dy[t * classes..][..classes];
                    let states = alpha[t * width..].iter().zip(beta).zip(&item.symbols);
                    states.for_each(|((&a, &b), &k)| row[k] = row[k] + ((a + b) + loss).exp());
                    row.iter_mut().for_each(|x| *x = -(*x * d));
                });
            }
        });
        Ok(())
    }
}

impl Op for CtcGrad {
    fn name(&self) -> &'static str {
        "ctc_grad"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        use DType::{F32, U32};
        expect(inputs, &[F32, U32, U32, U32, F32, F32, F32])?;
        let extents = Extents::of(inputs, self.blank)?;
        let table = extents.table()?;
        if inputs[4] != table {
            return Err(format!("alpha {} must be {}", inputs[4].shape, table.shape));
        }
        match inputs[5..].iter().find(|x| x.shape.dims() != [extents.items]) {
            Some(x) => {
                Err(format!("losses and their cotangents must be [{}], got {}", extents.items, x.shape))
            }
            None => Ok(vec![inputs[0]]),
        }
    }

    fn grad<'g>(&self, _: Backward<'_, 'g>) -> Gradients<'g> {
        Err("the loss of connectionist temporal classification has no second derivative here".into())
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let extents = Extents::of(ctx.inputs, self.blank).map_err(crate::Error::Invalid)?;
        let args = [Arg::Input(0), Arg::Input(1), Arg::Input(2), Arg::Input(3), Arg::Scratch(0)];
        let mut program = extents.over_times("ctc_beta", &args, (self.blank, 0), ctx)?;
        program.scratch.push(4 * extents.items * extents.times * extents.width());
        let args = [4, 1].map(Arg::Input).into_iter().chain([Arg::ScratchRead(0)]);
        let args: Vec<Arg> = args.chain([3, 5, 6].map(Arg::Input)).chain([Arg::Output(0)]).collect();
        // A blank and a label at once; the last blank is alone.
        let pairs = extents.most + 1;
        let Cut { length, .. } = ctx.caps.cut(pairs, ctx.caps.max_loop_iterations as usize);
        for first in (0..pairs).step_by(length) {
            let end = pairs.min(first + length);
            let params = extents.uniform(self.blank, first, end);
            let elements = ctx.outputs[0].shape.elements();
            let launch = ctx.launch_over("ctc_gradient", &args[..], &params, elements)?;
            program.dispatches.push(launch.loop_iterations(end - first));
        }
        Ok(program)
    }

    /// Beta's own errors, as in [`Tracked`], and two roundings in the exponent, become relative errors of each term; so does
    /// that of WGSL's exp, 3 + 2|x| units in the last place. Then n additions and a product.
    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let extents = Extents::of(&types(inputs), self.blank);
        let Ok((extents, items)) = extents.and_then(|e| Ok((e, e.items(inputs, self.blank)?))) else {
            return vec![Vec::new()];
        };
        let [alpha, loss, dloss] = [4, 5, 6].map(|i| inputs[i].f());
        let (classes, width) = (extents.classes, extents.width());
        let mut bounds = vec![TINY; outputs[0].f().len()];
        for (i, item) in items.iter().enumerate() {
            let alpha = &alpha[i * extents.times * width..];
            let bounds = &mut bounds[i * extents.times * classes..];
            item.backward(|t, beta: &[Tracked]| {
                let row = &mut bounds[t * classes..][..classes];
                let mut sums = vec![(0.0, 0.0); classes];
                for ((&a, b), &k) in alpha[t * width..].iter().zip(beta).zip(&item.symbols) {
                    let exponent = (a + b.value) + loss[i];
                    if exponent == f64::NEG_INFINITY {
                        continue;
                    }
                    let error = b.error + ((a + b.value).abs() + exponent.abs()) * UNIT + 2.0 * TINY;
                    let most = (exponent + error).exp();
                    let (sum, errors) = &mut sums[k];
                    *sum += most;
                    *errors += (most - exponent.exp()) + most * (6.0 + 4.0 * exponent.abs()) * UNIT + TINY;
                }
                let n = item.symbols.len() as f64;
                for (bound, (sum, errors)) in row.iter_mut().zip(sums) {
                    *bound += dloss[i].abs() * (errors + (n + 1.0) * UNIT * sum);
                }
            });
        }
        vec![bounds]
    }

    /// Beta as alpha in the loss, and a comparison of each element with each label.
    fn flops(&self, inputs: &[TensorType], outputs: &[TensorType]) -> u64 {
        let labels = inputs[1].shape.dim(1) as u64;
        12 * inputs[4].shape.elements() as u64 + outputs[0].shape.elements() as u64 * labels
    }

    /// Pieces of a long sum are read again.
    fn traits(&self) -> Traits {
        lengths().keeping_f32(Outputs::ALL)
    }
}
