//! Stochastic gradient descent with momentum.

use super::{check_update, flush_denormal, launch, leaf, states_of};
use crate::error::Result;
use crate::host::threads;
use crate::ops::{
    Arg, Backward, Gradients, In, KernelContext, Op, Out, Program, Real, Reference, TINY, UNIT, expect,
    uniform,
};
use crate::shape::{DType, TensorType};

/// A step of stochastic gradient descent on one parameter, with momentum or without.
///
/// Inputs: the gradient, the learning rate [1]; with `has_factor` a factor [1], which the gradient is multiplied by, and
/// which leaves the step out where it is 0; the state w and, if there is momentum, its buffer. PyTorch
/// starts the buffer with the first gradient: without dampening that is what a buffer of zeros gives.
#[derive(Debug, Clone)]
pub(crate) struct SgdUpdate {
    pub(crate) momentum: f32,
    pub(crate) nesterov: bool,
    pub(crate) weight_decay: f32,
    /// Whether the gradient is multiplied by a factor.
    pub(crate) has_factor: bool,
}

impl SgdUpdate {
    fn has_buffer(&self) -> bool {
        self.momentum != 0.0
    }

    fn factor<T: Real>(&self, inputs: &[In<'_, T>]) -> T {
        if self.has_factor { inputs[2].f()[0] } else { T::one() }
    }

    fn constants<T: Real>(&self) -> (T, T) {
        (T::of(f64::from(self.momentum)), T::of(f64::from(self.weight_decay)))
    }
}

impl<T: Real> Reference<T> for SgdUpdate {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (momentum, decay) = self.constants::<T>();
        let (gradient, lr, factor) = (inputs[0].f(), inputs[1].f()[0], self.factor(inputs));
        if factor == T::zero() {
            return Ok(());
        }
        if !self.has_buffer() {
            let [w] = states_of(outputs)?;
            for (i, &g) in gradient.iter().enumerate() {
                w[i] = w[i] - lr * (g * factor + decay * w[i]);
            }
            return Ok(());
        }
        let [w, b] = states_of(outputs)?;
        for (i, &g) in gradient.iter().enumerate() {
            let g = g * factor + decay * w[i];
            b[i] = momentum * b[i] + g;
            w[i] = w[i] - lr * if self.nesterov { g + momentum * b[i] } else { b[i] };
        }
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (momentum, decay) = self.constants::<T>();
        let (gradient, lr, factor) = (inputs[0].f(), inputs[1].f()[0], self.factor(inputs));
        if factor == T::zero() {
            return Ok(());
        }
        if !self.has_buffer() {
            let [w] = states_of(outputs)?;
            threads::runs(w, 1, 1, |first, w| {
                w.iter_mut()
                    .zip(&gradient[first..])
                    .for_each(|(w, &g)| *w = *w - lr * (g * factor + decay * *w));
            });
            return Ok(());
        }
        let [w, b] = states_of(outputs)?;
        let each = threads::part(w.len(), 1);
        let parts = w.chunks_mut(each).zip(b.chunks_mut(each)).zip(gradient.chunks(each));
        let next = |b: T, g: T| flush_denormal(momentum * b + g);
        threads::share(parts.len(), parts, |parts| {
            for ((w, b), g) in parts {
                let elements = w.iter_mut().zip(b).zip(g);
                if self.nesterov {
                    elements.for_each(|((w, b), &g)| {
                        let g = g * factor + decay * *w;
                        *b = next(*b, g);
                        *w = *w - lr * (g + momentum * *b);
                    });
                } else {
                    elements.for_each(|((w, b), &g)| {
                        *b = next(*b, g * factor + decay * *w);
                        *w = *w - lr * *b;
                    });
                }
            }
        });
        Ok(())
    }
}

impl Op for SgdUpdate {
    fn name(&self) -> &'static str {
        "sgd_update"
    }

    fn writes(&self) -> usize {
        if self.has_buffer() { 2 } else { 1 }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        if !(self.momentum.is_finite() && self.momentum >= 0.0) {
            return Err(format!("the momentum must be 0 or more, got {}", self.momentum));
        }
        if self.nesterov && !self.has_buffer() {
            return Err("Nesterov's form needs momentum, and it is 0".into());
        }
        let reads = 2 + usize::from(self.has_factor);
        expect(inputs, &vec![DType::F32; reads + self.writes()])?;
        check_update(inputs[0], &inputs[reads..], self.weight_decay)?;
        if inputs[1..reads].iter().any(|i| i.shape.dims() != [1]) {
            return Err(format!("takes a learning rate and a factor [1], got {}", inputs[1].shape));
        }
        Ok(inputs[reads..].to_vec())
    }

    fn grad<'g>(&self, Backward { inputs, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        Ok(leaf(inputs))
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let mut args = vec![Arg::Input(0), Arg::Input(1), Arg::Output(0)];
        let entry = if self.has_buffer() { "sgd_momentum_update" } else { "sgd_update" };
        args.extend(self.has_buffer().then_some(Arg::Output(1)));
        args.extend(self.has_factor.then_some(Arg::Input(2)));
        launch(ctx, entry, self.has_factor, &args, |vectors| {
            uniform! { vectors, nesterov: self.nesterov, momentum: self.momentum, decay: self.weight_decay }
        })
    }

    /// One rounding of each product and sum, first order; old values are recovered from new ones. g and the
    /// buffer: a unit of the result and of each product, and TINY for each that may be flushed. The direction:
    /// the same of its terms. w: one unit of the step and of the result, and lr times the error of the
    /// direction. Where lr · decay is near 1, w is hardly known from its new value: 1000 times is the most
    /// that is allowed for.
    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let (momentum, decay) = self.constants::<f64>();
        let (lr, w) = (inputs[1].f()[0], outputs[0].f());
        let buffer = outputs.get(1).map_or(&[][..], |b| b.f());
        let mut bounds = vec![Vec::new(); outputs.len()];
        let most = |w: f64, direction: f64| (w + lr * direction).abs() / (1.0 - lr * decay).abs().max(1e-3);
        let factor = self.factor(inputs);
        // One rounding more, where the product is not exact.
        let rounding = if factor == 1.0 { 0.0 } else { UNIT };
        for (i, gradient) in inputs[0].f().iter().map(|g| g * factor).enumerate() {
            let old = match buffer.get(i) {
                Some(&b) if !self.nesterov => (w[i] + lr * b).abs(),
                Some(&b) => most(w[i], gradient + momentum * b),
                None => most(w[i], gradient),
            };
            let g = gradient.abs() + decay * old;
            let g_error = UNIT * (g + decay * old) + rounding * gradient.abs() + TINY;
            let (direction, error) = match buffer.get(i) {
                None => (g, g_error),
                Some(b) => {
                    let b = b.abs();
                    let b_error = UNIT * (b + (b + g)) + g_error + 3.0 * TINY;
                    bounds[1].push(b_error);
                    let ahead = g_error + momentum * (b_error + UNIT * b) + UNIT * (g + momentum * b);
                    if self.nesterov { (g + momentum * b, ahead) } else { (b, b_error) }
                }
            };
            let lr = lr.abs();
            bounds[0].push(UNIT * (w[i].abs() + lr * direction) + lr * error + 3.0 * TINY);
        }
        bounds
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        (2 + 3 * self.writes() as u64) * inputs[0].shape.elements() as u64
    }
}
