//! The updates of Adam and AdamW.

use minijinja::context;

use super::{AdamTick, VECTORS, WORKGROUP, check_update, extents, leaf, scalars_of, states_of, wide};
use crate::error::Result;
use crate::host::threads;
use crate::ops::text::rendered;
use crate::ops::{
    AdapterClass, Arg, Backward, Dispatch, Gradients, In, KernelContext, Op, Out, Program, Real, Reference,
    TINY, UNIT, expect, uniform,
};
use crate::shape::{DType, TensorType};

/// A step of Adam or AdamW on some of the parameters that an [`AdamTick`] counts for.
///
/// Inputs: a gradient for each; the scalars of the tick; the states w, m and v of the first, then of the second,
/// and so on. A gradient is multiplied by the last of its scalars; where that is 0 the parameter stays as it is. One
/// launch updates as many as the adapter lets a kernel bind.
#[derive(Debug, Clone)]
pub(crate) struct AdamUpdate {
    pub(crate) beta1: f64,
    pub(crate) beta2: f64,
    pub(crate) eps: f32,
    pub(crate) weight_decay: f32,
    /// The decay shrinks w itself (AdamW) instead of being added to the gradient.
    pub(crate) decoupled: bool,
    /// Which of the tick's counters each of the parameters has.
    pub(crate) rows: Vec<usize>,
}

/// What an element costs on the CPU, in elements of cheap work.
const WEIGHT: usize = 4;

/// The constants of an [`AdamUpdate`], rounded once.
#[derive(Clone, Copy)]
pub(super) struct AdamConstants<T> {
    pub(super) beta1: T,
    pub(super) rest1: T,
    pub(super) beta2: T,
    pub(super) rest2: T,
    pub(super) eps: T,
    pub(super) coupled_decay: T,
    pub(super) decoupled_decay: T,
}

impl AdamUpdate {
    fn constants<T: Real>(&self) -> AdamConstants<T> {
        let decay = |used: bool| if used { T::of(f64::from(self.weight_decay)) } else { T::zero() };
        AdamConstants {
            beta1: T::of(self.beta1),
            rest1: T::of(1.0 - self.beta1),
            beta2: T::of(self.beta2),
            rest2: T::of(1.0 - self.beta2),
            eps: T::of(f64::from(self.eps)),
            coupled_decay: decay(!self.decoupled),
            decoupled_decay: decay(self.decoupled),
        }
    }

    fn count(&self) -> usize {
        self.rows.len()
    }

    /// A launch for these of the parameters.
    fn launch(&self, parameters: &[usize], ctx: &KernelContext<'_>) -> Result<Dispatch> {
        let mut args = vec![Arg::Input(self.count())];
        let mut counters = [0_u32; AdamTick::MOST];
        for (&k, counter) in parameters.iter().zip(&mut counters) {
            args.push(Arg::Input(k));
            args.extend((3 * k..3 * k + 3).map(Arg::Output));
            *counter = self.rows[k] as u32;
        }
        let vectors = parameters.iter().map(|&k| ctx.inputs[k].shape.elements().div_ceil(4));
        let (extents, workgroups) = extents::<{ AdamTick::MOST }>(vectors, VECTORS * WORKGROUP);
        let c = self.constants::<f32>();
        let params = uniform! {
            constants: [c.beta1, c.rest1, c.beta2, c.rest2],
            decay: [c.eps, c.coupled_decay, c.decoupled_decay],
            extents, rows: counters,
        };
        let key = format!("adam_update.{}", parameters.len());
        let variant = context! { count => parameters.len(), most => AdamTick::MOST, vectors => VECTORS };
        let kernel = rendered("adam_update", key, "adam_update", variant, None)?;
        Ok(ctx.launch(kernel, args, &params, workgroups)?.loop_iterations(VECTORS))
    }
}

/// Elements from which a parameter gets a launch of its own on a software adapter: there every workgroup goes
/// through the branches of all parameters, with its writes masked.
const LARGE: usize = 4096;

impl<T: Real> Reference<T> for AdamUpdate {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let c = self.constants::<T>();
        for (k, outputs) in outputs.chunks_mut(3).enumerate() {
            let [step, root, lr, factor] = scalars_of(&inputs[self.count()], self.rows[k])?;
            if factor == T::zero() {
                continue;
            }
            let [w, m, v] = states_of(outputs)?;
            for (i, &gradient) in inputs[k].f().iter().enumerate() {
                let mut g = gradient * factor;
                if self.decoupled {
                    w[i] = w[i] - lr * c.decoupled_decay * w[i];
                } else {
                    g = g + c.coupled_decay * w[i];
                }
                m[i] = c.beta1 * m[i] + c.rest1 * g;
                v[i] = c.beta2 * v[i] + c.rest2 * g * g;
                w[i] = w[i] - step * m[i] / (v[i].sqrt() * root + c.eps);
            }
        }
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let c = self.constants::<T>();
        for (k, outputs) in outputs.chunks_mut(3).enumerate() {
            let [step, root, lr, factor] = scalars_of(&inputs[self.count()], self.rows[k])?;
            if factor == T::zero() {
                continue;
            }
            let [w, m, v] = states_of(outputs)?;
            let keep = T::one() - lr * c.decoupled_decay;
            let each = (threads::part(w.len() * WEIGHT, WEIGHT) / WEIGHT).max(1);
            let states = w.chunks_mut(each).zip(m.chunks_mut(each)).zip(v.chunks_mut(each));
            let parts = states.zip(inputs[k].f().chunks(each));
            threads::share(parts.len(), parts, |parts| {
                parts.for_each(|(((w, m), v), g)| wide::update(c, [step, root, keep, factor], [w, m, v], g));
            });
        }
        Ok(())
    }
}

impl Op for AdamUpdate {
    fn name(&self) -> &'static str {
        "adam_update"
    }

    fn writes(&self) -> usize {
        3 * self.count()
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        if !(1..=AdamTick::MOST).contains(&self.count()) {
            return Err(format!("updates 1 to {} parameters, got {}", AdamTick::MOST, self.count()));
        }
        expect(inputs, &vec![DType::F32; 4 * self.count() + 1])?;
        let (gradients, rest) = inputs.split_at(self.count());
        for (gradient, states) in gradients.iter().zip(rest[1..].chunks(3)) {
            check_update(*gradient, states, self.weight_decay)?;
        }
        let scalars = rest[0].shape;
        let counters = 1 + self.rows.iter().max().unwrap_or(&0);
        if scalars.rank() != 1 || scalars.dim(0) < 4 * counters {
            return Err(format!("takes four scalars for each of {counters} counters, got {scalars}"));
        }
        if !(self.eps.is_finite() && self.eps >= 0.0) {
            return Err(format!("eps must be 0 or more, got {}", self.eps));
        }
        Ok(rest[1..].to_vec())
    }

    fn grad<'g>(&self, Backward { inputs, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        Ok(leaf(inputs))
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        // The scalars, and four buffers for each parameter.
        let most = (ctx.caps.storage_buffers.saturating_sub(1) / 4).max(1) as usize;
        let is_large =
            |k: usize| ctx.caps.class != AdapterClass::Gpu && ctx.inputs[k].shape.elements() > LARGE;
        let (large, small): (Vec<usize>, Vec<usize>) = (0..self.count()).partition(|&k| is_large(k));
        let launches = large.chunks(1).chain(small.chunks(most));
        let dispatches = launches.map(|k| self.launch(k, ctx)).collect::<Result<_>>()?;
        Ok(Program::new(dispatches, Vec::new()))
    }

    /// First order in the unit, from the magnitudes of the terms; old values are recovered from new ones.
    ///
    /// g: one rounding of each product and sum. m = β1 m + (1 - β1) g: constant, product and sum, 3 units of
    /// each term, and the error of g; TINY for each term that an adapter may flush. v alike, with g² twice.
    /// The divisor D = √v · root + eps is monotonic in v, so its error is the distance to D at v ± the error
    /// of v, 9 units of the root (WGSL derives it from 1 / inverseSqrt) and 3 more for product and sum. The
    /// step is step · m / D: product and quotient 6 units, and the errors of m and D divided by the smallest
    /// D.
    /// w · keep: 3 units of w and of its decay. The difference: one unit of the result.
    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let c = self.constants::<f64>();
        let mut bounds = Vec::new();
        for (k, &row) in self.rows.iter().enumerate() {
            let Ok(scalars) = scalars_of(&inputs[self.count()], row) else { return Vec::new() };
            bounds.extend(bounds_of(inputs[k].f(), scalars, c, &outputs[3 * k..3 * k + 3]));
        }
        bounds
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        16 * inputs[..self.count()].iter().map(|g| g.shape.elements() as u64).sum::<u64>()
    }
}

/// [`Op::error_bound`] for one parameter.
fn bounds_of(
    gradients: &[f64],
    [step, root, lr, factor]: [f64; 4],
    c: AdamConstants<f64>,
    outputs: &[In<'_, f64>],
) -> [Vec<f64>; 3] {
    let (w, m, v) = (outputs[0].f(), outputs[1].f(), outputs[2].f());
    let mut bounds = [const { Vec::new() }; 3];
    // One rounding more, where the product is not exact.
    let rounding = if factor == 1.0 { 0.0 } else { UNIT };
    for (i, gradient) in gradients.iter().map(|g| g * factor).enumerate() {
        let divisor = v[i].sqrt() * root + c.eps;
        let update = if m[i] == 0.0 { 0.0 } else { step * m[i] / divisor };
        let decay = lr * c.decoupled_decay;
        let old = (w[i] + update).abs() / (1.0 - decay).abs().max(1e-3);
        let g = gradient + c.coupled_decay * (w[i] + update);
        let g_error = UNIT * (g.abs() + 2.0 * c.coupled_decay * old) + rounding * gradient.abs();
        let m_terms = (m[i] - c.rest1 * g).abs() + c.rest1 * g.abs();
        let m_error = 3.0 * UNIT * m_terms + c.rest1 * g_error + 3.0 * TINY;
        let v_error = 4.0 * UNIT * v[i] + 2.0 * c.rest2 * g.abs() * g_error + 3.0 * TINY;
        let smallest = (v[i] - v_error).max(0.0).sqrt() * root + c.eps;
        let largest = (v[i] + v_error).sqrt() * root + c.eps;
        let divisor_error = largest - smallest + 12.0 * UNIT * divisor;
        let smallest = smallest * (1.0 - 12.0 * UNIT);
        let update_error = 6.0 * UNIT * update.abs()
            + (step.abs() * m_error + TINY + update.abs() * divisor_error) / smallest;
        bounds[0].push(UNIT * (w[i].abs() + 3.0 * old * (1.0 + decay)) + update_error + 3.0 * TINY);
        bounds[1].push(m_error);
        bounds[2].push(v_error);
    }
    bounds
}
