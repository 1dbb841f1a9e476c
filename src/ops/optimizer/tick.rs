//! The counts of steps, and what their numbers give.

use minijinja::context;

use super::rule::Rule;
use super::{MOST, ROW};
use crate::error::Result;
use crate::ops::text::rendered;
use crate::ops::{
    Arg, In, KernelContext, Op, Out, Outputs, Program, Real, Reference, TINY, Traits, UNIT, expect, uniform,
};
use crate::shape::{DType, TensorType};

/// The most iterations of a kernel's loops: over scalars that become 0, and over the terms of a series.
const LOOPS: usize = ROW / 4 * MOST;

/// Counts a step for up to [`MOST`] parameters and prepares what their updates need.
///
/// Inputs: the learning rate `lr` [1], a state that is only read; with `has_factor` a factor [1]; the states `t` [1], a
/// `u32` for each parameter. Results: [`ROW`] scalars for each, which are lr, the factor, or 1, and those of the rule; and the
/// new counts. Where the factor is 0 the step does not count, and all scalars are 0.
#[derive(Debug, Clone)]
pub(crate) struct Tick<R> {
    pub(crate) rule: R,
    /// How many parameters it counts for.
    pub(crate) counts: usize,
    /// Whether gradients are multiplied by a factor.
    pub(crate) has_factor: bool,
}

impl<T: Real, R: Rule> Reference<T> for Tick<R> {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let lr = inputs[0].f()[0];
        let Some((scalars, counts)) = outputs.split_first_mut() else { return Ok(()) };
        let factor = if self.has_factor { inputs[1].f()[0] } else { T::one() };
        scalars.f().fill(T::zero());
        if factor == T::zero() {
            return Ok(());
        }
        for (row, count) in scalars.f().chunks_exact_mut(ROW).zip(counts) {
            let count = &mut count.u32()[0];
            *count = count.saturating_add(1);
            (row[0], row[1]) = (lr, factor);
            row[2..].iter_mut().zip(self.rule.scalars(*count)).for_each(|(y, x)| *y = T::of(x));
        }
        Ok(())
    }
}

impl<R: Rule> Op for Tick<R> {
    fn name(&self) -> &'static str {
        R::TICK.unwrap_or(R::NAME)
    }

    fn writes(&self) -> usize {
        self.counts
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        self.rule.check()?;
        let mut types = vec![DType::F32];
        types.extend(self.has_factor.then_some(DType::F32));
        types.resize(types.len() + self.counts, DType::U32);
        expect(inputs, &types)?;
        if !(1..=MOST).contains(&self.counts) {
            return Err(format!("counts for 1 to {MOST} parameters, got {}", self.counts));
        }
        if inputs.iter().any(|i| i.shape.dims() != [1]) {
            return Err(format!("takes a learning rate [1] and counters [1], got {} and others", inputs[0]));
        }
        let mut outputs = vec![crate::ops::float(&[ROW * self.counts])];
        outputs.extend(&inputs[inputs.len() - self.counts..]);
        Ok(outputs)
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let others = 2 + usize::from(self.has_factor);
        let most = (ctx.caps.storage_buffers as usize).saturating_sub(others).max(1);
        let launch = |first: usize| {
            let counts = most.min(self.counts - first);
            let params = uniform! { constants: self.rule.scalar_constants(), first };
            let mut args = vec![Arg::Input(0), Arg::Output(0)];
            args.extend((first..first + counts).map(|i| Arg::Output(1 + i)));
            args.extend(self.has_factor.then_some(Arg::Input(1)));
            let kind = if self.has_factor { ".factor" } else { "" };
            let key = format!("{}.{counts}{kind}", self.name());
            let variant = context! {
                name => R::SCALARS_OF, entry => self.name(), count => counts, has_factor => self.has_factor, row => ROW / 4,
            };
            let kernel = rendered("tick", key, self.name(), variant, None)?;
            Ok(ctx.launch(kernel, args, &params, 1)?.loop_iterations(LOOPS))
        };
        let dispatches = (0..self.counts).step_by(most).map(launch).collect::<Result<_>>()?;
        Ok(Program::new(dispatches, Vec::new()))
    }

    fn error_bound(&self, _: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let mut units = [0.0; ROW];
        units[2..].iter_mut().zip(self.rule.scalar_units()).for_each(|(to, from)| *to = from);
        let scalars = outputs[0].f().iter().zip(units.iter().cycle());
        let mut bounds = vec![scalars.map(|(y, u)| u * UNIT * y.abs() + TINY).collect()];
        bounds.resize(outputs.len(), Vec::new());
        bounds
    }

    fn traits(&self) -> Traits {
        Traits::default().keeping_f32(Outputs::ALL)
    }
}
