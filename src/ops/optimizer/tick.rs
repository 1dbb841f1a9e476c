//! The counts of Adam's steps.

use minijinja::context;

use super::factor;
use crate::error::Result;
use crate::ops::text::rendered;
use crate::ops::{
    Arg, In, KernelContext, Op, Out, Outputs, Program, Real, Reference, TINY, Traits, UNIT, expect, uniform,
};
use crate::shape::{DType, TensorType};

/// Counts a step of Adam for up to [`AdamTick::MOST`] parameters and prepares what their updates need.
///
/// Inputs: the learning rate `lr` [1], a state that is only read; with `has_factor` a factor [1]; the states `t` [1], a
/// `u32` for each parameter. Results: `scalars` [4 n], which are lr / (1 - β1^t), 1 / √(1 - β2^t), lr and the factor, or
/// 1, for each, and the new counts. Where the factor is 0 the step does not count, and all scalars are 0.
#[derive(Debug, Clone)]
pub(crate) struct AdamTick {
    pub(crate) beta1: f64,
    pub(crate) beta2: f64,
    /// How many parameters it counts for.
    pub(crate) counts: usize,
    /// Whether gradients are multiplied by a factor.
    pub(crate) has_factor: bool,
}

impl AdamTick {
    /// The most counters, in as many launches as the adapter's bindings make of them.
    pub(crate) const MOST: usize = 24;
}

/// The logarithm that the kernel multiplies by t. That of 0 is cut to what gives β^t = 0 in f32.
fn log_beta(beta: f64) -> f32 {
    beta.ln().max(-100.0) as f32
}

/// 1 - β^t without cancellation.
fn correction(beta: f64, t: u32) -> f64 {
    if beta == 0.0 { 1.0 } else { -(f64::from(t) * beta.ln()).exp_m1() }
}

impl<T: Real> Reference<T> for AdamTick {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let lr = inputs[0].f()[0].wide();
        let Some((scalars, counts)) = outputs.split_first_mut() else { return Ok(()) };
        let factor = if self.has_factor { inputs[1].f()[0] } else { T::one() };
        if factor == T::zero() {
            scalars.f().fill(T::zero());
            return Ok(());
        }
        for (row, count) in scalars.f().chunks_exact_mut(4).zip(counts) {
            let count = &mut count.u32()[0];
            *count = count.saturating_add(1);
            let corrections = (correction(self.beta1, *count), correction(self.beta2, *count));
            let values = [lr / corrections.0, 1.0 / corrections.1.sqrt(), lr, factor.wide()];
            row.iter_mut().zip(values).for_each(|(y, x)| *y = T::of(x));
        }
        Ok(())
    }
}

impl Op for AdamTick {
    fn name(&self) -> &'static str {
        "adam_tick"
    }

    fn writes(&self) -> usize {
        self.counts
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        let mut types = vec![DType::F32];
        types.extend(self.has_factor.then_some(DType::F32));
        types.resize(types.len() + self.counts, DType::U32);
        expect(inputs, &types)?;
        if !(1..=Self::MOST).contains(&self.counts) {
            return Err(format!("counts for 1 to {} parameters, got {}", Self::MOST, self.counts));
        }
        for beta in [self.beta1, self.beta2] {
            if !(0.0..1.0).contains(&beta) {
                return Err(format!("betas must be in [0, 1), got {} and {}", self.beta1, self.beta2));
            }
        }
        if inputs.iter().any(|i| i.shape.dims() != [1]) {
            return Err(format!("takes a learning rate [1] and counters [1], got {} and others", inputs[0]));
        }
        let mut outputs = vec![crate::ops::float(&[4 * self.counts])];
        outputs.extend(&inputs[inputs.len() - self.counts..]);
        Ok(outputs)
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let others = 2 + usize::from(self.has_factor);
        let most = (ctx.caps.storage_buffers as usize).saturating_sub(others).max(1);
        let launch = |first: usize| {
            let counts = most.min(self.counts - first);
            let params = uniform! {
                log_beta1: log_beta(self.beta1), log_beta2: log_beta(self.beta2), first,
            };
            let mut args = vec![Arg::Input(0), Arg::Output(0)];
            args.extend((first..first + counts).map(|i| Arg::Output(1 + i)));
            args.extend(self.has_factor.then_some(Arg::Input(1)));
            let kind = if self.has_factor { ".factor" } else { "" };
            let key = format!("adam_tick.{counts}{kind}");
            let factor = factor(counts + 3);
            let variant = context! { count => counts, has_factor => self.has_factor, factor };
            let kernel = rendered("adam_tick", key, "adam_tick", variant, None)?;
            ctx.launch(kernel, args, &params, 1)
        };
        let dispatches = (0..self.counts).step_by(most).map(launch).collect::<Result<_>>()?;
        Ok(Program::new(dispatches, Vec::new()))
    }

    /// With y = -t ln β: ln β, t above 2^24 and their product are rounded, so y is off by 3 units, which
    /// moves 1 - e^-y by no more than 3 (its condition number is below 1). Below 0.5 the series adds 3.4
    /// for its roundings and 0.23 for the terms left out. Above, WGSL's exp is good to 2 (3 + 2y) units of
    /// e^-y, and (6 + 4y + 3y) e^-y / (1 - e^-y) is largest at y = 0.5: 14.7 units, and one for the
    /// difference. So 16; the division adds 5, the inverse square root halves and adds 4.
    fn error_bound(&self, _: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let units = [21.0, 12.0, 0.0, 0.0];
        let scalars = outputs[0].f().iter().zip(units.iter().cycle());
        let mut bounds = vec![scalars.map(|(y, u)| u * UNIT * y.abs() + TINY).collect()];
        bounds.resize(outputs.len(), Vec::new());
        bounds
    }

    fn traits(&self) -> Traits {
        Traits::default().keeping_f32(Outputs::ALL)
    }
}
