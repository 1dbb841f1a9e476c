//! Dynamic loss scaling: Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.2, with the rule of
//! PyTorch's `GradScaler`.

use minijinja::context;

use super::{VECTORS, WORKGROUP, extents, leaf};
use crate::error::Result;
use crate::graph::Var;
use crate::host::threads;
use crate::ops::text::rendered;
use crate::ops::{
    Arg, Backward, Gradients, In, KernelContext, Op, Out, Outputs, Program, Real, Reference, TINY, Traits,
    UNIT, expect, uniform,
};
use crate::shape::{DType, TensorType};

/// Notes whether a tensor is infinite or NaN anywhere.
///
/// Inputs: tensors of floats; the state `found` `[1]`, a `u32`, which is raised to `mark` if any element is not finite.
#[derive(Debug, Clone)]
pub(crate) struct FlagNonFinite {
    /// How many tensors there are.
    pub(crate) count: usize,
    pub(crate) mark: u32,
}

impl FlagNonFinite {
    /// The most tensors of one op: with the flag WebGPU's 8 bindings.
    pub(crate) const MOST: usize = 7;

    fn raise(&self, found: &mut u32) {
        *found = self.mark.max(*found);
    }
}

impl<'g> Var<'g> {
    /// Raises the state `found`, `[1]` of `u32`, to `mark` where one of `values` is NaN or infinite anywhere.
    pub(crate) fn flag_nonfinite(values: &[Var<'g>], found: Var<'g>, mark: u32) {
        let mut found = found;
        for values in values.chunks(FlagNonFinite::MOST) {
            let op = FlagNonFinite { count: values.len(), mark };
            found = found.graph().record_one(op, &[values, &[found]].concat());
        }
    }
}

impl<T: Real> Reference<T> for FlagNonFinite {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        if inputs.iter().any(|x| x.f().iter().any(|x| !x.is_finite())) {
            self.raise(&mut outputs[0].u32()[0]);
        }
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        for x in inputs {
            let each = threads::part(x.f().len(), 1);
            let parts = x.f().chunks(each.max(1));
            let is_bad = std::sync::atomic::AtomicBool::new(false);
            threads::share(parts.len(), parts, |parts| {
                // Of infinities and NaN, and of nothing else, the product with 0 is NaN.
                let zeros = parts.flatten().fold(T::zero(), |sum, &x| sum + x * T::zero());
                if zeros != T::zero() {
                    is_bad.store(true, std::sync::atomic::Ordering::Relaxed);
                }
            });
            if is_bad.into_inner() {
                self.raise(&mut outputs[0].u32()[0]);
            }
        }
        Ok(())
    }
}

impl Op for FlagNonFinite {
    fn name(&self) -> &'static str {
        "flag_nonfinite"
    }

    fn writes(&self) -> usize {
        1
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        if !(1..=Self::MOST).contains(&self.count) {
            return Err(format!("takes 1 to {} tensors, got {}", Self::MOST, self.count));
        }
        let mut types = vec![DType::F32; self.count];
        types.push(DType::U32);
        expect(inputs, &types)?;
        match inputs[self.count].shape.dims() {
            [1] => Ok(inputs[self.count..].to_vec()),
            _ => Err(format!("takes a flag [1], got {}", inputs[self.count])),
        }
    }

    fn traits(&self) -> Traits {
        Traits::default().only_looking()
    }

    fn grad<'g>(&self, Backward { inputs, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        Ok(leaf(inputs))
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        // Beside the flag.
        let most = (ctx.caps.storage_buffers as usize).saturating_sub(1).max(1);
        let mark = self.mark;
        let launch = |tensors: &[usize]| {
            let mut args = vec![Arg::Output(0)];
            args.extend(tensors.iter().map(|&k| Arg::Input(k)));
            let elements = tensors.iter().map(|&k| ctx.inputs[k].shape.elements());
            let (extents, workgroups) = extents::<8>(elements, 4 * VECTORS * WORKGROUP);
            let key = format!("flag_nonfinite.{}", tensors.len());
            let variant = context! { count => tensors.len(), vectors => VECTORS };
            let kernel = rendered("flag_nonfinite", key, "flag_nonfinite", variant, None)?;
            let launch = ctx.launch(kernel, args, &uniform! { extents, mark }, workgroups)?;
            // A loop for each tensor, of which a workgroup takes one.
            Ok(launch.loop_iterations(tensors.len() * VECTORS))
        };
        let all: Vec<usize> = (0..self.count).collect();
        let dispatches = all.chunks(most).map(launch).collect::<Result<_>>()?;
        Ok(Program::new(dispatches, Vec::new()))
    }

    fn error_bound(&self, _: &[In<'_, f64>], _: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        vec![Vec::new()]
    }
}

/// What gradients of the scaled loss are multiplied by, and the scale for the next step.
///
/// Inputs, all states: the scale `[]`; the steps since it changed `[1]`, a `u32`; `found` `[1]`, a `u32`. Results: the
/// factor `[1]`, which is 1 / scale, or 0 where something was found; and the new states. Where something was found the
/// scale is multiplied by `backoff`; after `interval` steps without it is by `growth`, if the product is at most 2^40.
/// `found` becomes 0.
#[derive(Debug, Clone)]
pub(crate) struct NextScale {
    pub(crate) growth: f32,
    pub(crate) backoff: f32,
    pub(crate) interval: u32,
}

/// The scale does not fall below.
const LEAST_SCALE: f32 = 1.0 / 16_777_216.0;
/// The scale does not grow beyond 2^40, with which the smallest number of half precision overflows. Further up the sum of
/// squares of scaled gradients would overflow where no gradient does, and 1 / scale would be flushed to 0.
pub(crate) const MOST_SCALE: f32 = 1_099_511_627_776.0;

impl<T: Real> Reference<T> for NextScale {
    fn eval(&self, _: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let [factor, scale, steps, found] = outputs else { return Err("updates three states".into()) };
        let (scale, steps, found) = (&mut scale.f()[0], &mut steps.u32()[0], &mut found.u32()[0]);
        let of = |x: f32| T::of(f64::from(x));
        factor.f()[0] = if *found == 0 { T::one() / *scale } else { T::zero() };
        if *found != 0 {
            *scale = (*scale * of(self.backoff)).max(of(LEAST_SCALE));
            *steps = 0;
        } else {
            *steps = steps.saturating_add(1);
        }
        if *steps >= self.interval {
            let grown = *scale * of(self.growth);
            *scale = if grown.wide() <= f64::from(MOST_SCALE) { grown } else { *scale };
            *steps = 0;
        }
        *found = 0;
        Ok(())
    }
}

impl Op for NextScale {
    fn name(&self) -> &'static str {
        "next_scale"
    }

    fn writes(&self) -> usize {
        3
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32, DType::U32, DType::U32])?;
        let NextScale { growth, backoff, interval } = *self;
        if !(growth.is_finite() && growth >= 1.0 && backoff > 0.0 && backoff <= 1.0 && interval > 0) {
            return Err(format!(
                "grows by 1 or more, falls to a share above 0, after 1 step or more; got {growth}, {backoff} and {interval}"
            ));
        }
        if inputs.iter().any(|i| i.shape.elements() != 1) {
            return Err("takes a scale, a count and a flag".into());
        }
        Ok([&[crate::ops::float(&[1])], inputs].concat())
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let NextScale { growth, backoff, interval } = *self;
        let params = uniform! { growth, backoff, interval, least: LEAST_SCALE };
        Ok(ctx.launch_over("next_scale", [0, 1, 2, 3].map(Arg::Output), &params, 1)?.into())
    }

    /// WGSL's quotient is good to 2.5 units of its result, products to half a unit.
    fn error_bound(&self, _: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let of = |o: &In<'_, f64>, units: f64| vec![units * UNIT * o.f()[0].abs() + TINY];
        vec![of(&outputs[0], 5.0), of(&outputs[1], 1.0), Vec::new(), Vec::new()]
    }

    fn traits(&self) -> Traits {
        Traits::default().keeping_f32(Outputs::ALL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{AdapterClass, Caps, float};

    #[test]
    fn every_gradient_is_looked_at_where_few_buffers_can_be_bound() {
        let count = 5;
        let mut inputs: Vec<TensorType> = (1..=count).map(|n| float(&[1000 * n])).collect();
        inputs.push(TensorType { dtype: DType::U32, ..float(&[1]) });
        let outputs = inputs[count..].to_vec();
        for (storage_buffers, launches) in [(8, 1), (4, 2), (2, 5)] {
            let caps = Caps { storage_buffers, ..Caps::default_of(AdapterClass::Gpu) };
            let ctx = KernelContext::new(&caps, &inputs, &outputs);
            let dispatches = FlagNonFinite { count, mark: 1 }.dispatch(&ctx).unwrap().dispatches;
            assert_eq!(dispatches.len(), launches, "{storage_buffers}");
            assert!(dispatches.iter().all(|d| d.args.len() <= storage_buffers as usize), "{dispatches:?}");
            let seen: Vec<Arg> = dispatches
                .iter()
                .flat_map(|d| &d.args)
                .filter(|a| matches!(a, Arg::Input(_)))
                .copied()
                .collect();
            assert_eq!(seen, (0..count).map(Arg::Input).collect::<Vec<_>>());
        }
    }
}
