//! Adam and AdamW: a tick per step, an update per parameter.

use super::{check_update, flush_denormal, launch, leaf, scalars_of, states_of};
use std::fmt::Write;

use crate::error::Result;
use crate::graph::Var;
use crate::ops::{
    Arg, Dispatch, In, Kernel, KernelContext, Op, Out, Program, Real, Reference, TINY, UNIT, expect,
};
use crate::shape::{DType, TensorType};

/// Counts a step of Adam for up to [`AdamTick::MOST`] parameters and prepares what their updates need.
///
/// Inputs: the learning rate `lr` [1], a state that is only read; the states `t` [1], a `u32` for each
/// parameter. Results: `scalars` [4 n], which are lr / (1 - β1^t), 1 / √(1 - β2^t), lr and 0 for each, and
/// the new counts.
#[derive(Debug, Clone)]
pub(crate) struct AdamTick {
    pub(crate) beta1: f64,
    pub(crate) beta2: f64,
    /// How many parameters it counts for.
    pub(crate) counts: usize,
}

impl AdamTick {
    /// The most counters one kernel binds, beside the rate and the scalars: WebGPU allows 8 bindings.
    pub(crate) const MOST: usize = 6;

    /// The kernel for this number of counters.
    fn text(&self) -> String {
        let mut t = String::from("struct Tick { log_beta1: f32, log_beta2: f32 }\n\n");
        t.push_str("@group(0) @binding(0) var<storage, read> rate: array<f32>;\n");
        t.push_str("@group(0) @binding(1) var<storage, read_write> scalars: array<vec4<f32>>;\n");
        for i in 0..self.counts {
            let _ = writeln!(t, "@group(0) @binding({}) var<storage, read_write> t{i}: array<u32>;", i + 2);
        }
        let _ = writeln!(t, "@group(0) @binding({}) var<uniform> p: Tick;\n", self.counts + 2);
        t.push_str("@compute @workgroup_size(1)\nfn adam_tick() {\n");
        for i in 0..self.counts {
            let _ = writeln!(
                t,
                "    t{i}[0] = adam_count_fn(t{i}[0]);\n    \
                 scalars[{i}] = adam_scalars_fn(t{i}[0], rate[0], p.log_beta1, p.log_beta2);"
            );
        }
        t.push_str("}\n");
        t
    }
}

#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct TickParams {
    log_beta1: f32,
    log_beta2: f32,
    _pad: [u32; 2],
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
        for (row, count) in scalars.f().chunks_exact_mut(4).zip(counts) {
            let count = &mut count.u32()[0];
            *count = count.saturating_add(1);
            let corrections = (correction(self.beta1, *count), correction(self.beta2, *count));
            let values = [lr / corrections.0, 1.0 / corrections.1.sqrt(), lr, 0.0];
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
        types.resize(1 + self.counts, DType::U32);
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
        let mut outputs = inputs.to_vec();
        outputs[0] = crate::ops::float(&[4 * self.counts]);
        Ok(outputs)
    }

    fn dispatch(&self, _: &KernelContext<'_>) -> Result<Program> {
        let params =
            TickParams { log_beta1: log_beta(self.beta1), log_beta2: log_beta(self.beta2), _pad: [0; 2] };
        let mut args = vec![Arg::Input(0)];
        args.extend((0..=self.counts).map(Arg::Output));
        let kernel = Kernel::generated(format!("adam_tick.{}", self.counts), "adam_tick", &self.text());
        Ok(Dispatch::new(kernel, args, &params, [1, 1, 1]).into())
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
}

/// A step of Adam or AdamW on one parameter.
///
/// Inputs: the gradient, the scalars of [`AdamTick`]; the states w, m and v.
#[derive(Debug, Clone)]
pub(crate) struct AdamUpdate {
    pub(crate) beta1: f64,
    pub(crate) beta2: f64,
    pub(crate) eps: f32,
    pub(crate) weight_decay: f32,
    /// The decay shrinks w itself (AdamW) instead of being added to the gradient.
    pub(crate) decoupled: bool,
    /// Which of the tick's counters is the parameter's.
    pub(crate) row: usize,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct AdamParams {
    vectors: u32,
    eps: f32,
    coupled_decay: f32,
    decoupled_decay: f32,
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    row: u32,
    _pad: [u32; 3],
}

/// The constants of an [`AdamUpdate`], rounded once.
#[derive(Clone, Copy)]
struct AdamConstants<T> {
    beta1: T,
    rest1: T,
    beta2: T,
    rest2: T,
    eps: T,
    coupled_decay: T,
    decoupled_decay: T,
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
}

impl<T: Real> Reference<T> for AdamUpdate {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let c = self.constants::<T>();
        let [step, root, lr, _] = scalars_of(&inputs[1], self.row)?;
        let [w, m, v] = states_of(outputs)?;
        for (i, &gradient) in inputs[0].f().iter().enumerate() {
            let mut g = gradient;
            if self.decoupled {
                w[i] = w[i] - lr * c.decoupled_decay * w[i];
            } else {
                g = g + c.coupled_decay * w[i];
            }
            m[i] = c.beta1 * m[i] + c.rest1 * g;
            v[i] = c.beta2 * v[i] + c.rest2 * g * g;
            w[i] = w[i] - step * m[i] / (v[i].sqrt() * root + c.eps);
        }
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let c = self.constants::<T>();
        let [step, root, lr, _] = scalars_of(&inputs[1], self.row)?;
        let [w, m, v] = states_of(outputs)?;
        let keep = T::one() - lr * c.decoupled_decay;
        for (((w, m), v), &g) in w.iter_mut().zip(m).zip(v).zip(inputs[0].f()) {
            let g = g + c.coupled_decay * *w;
            *m = flush_denormal(c.beta1 * *m + c.rest1 * g);
            *v = flush_denormal(c.beta2 * *v + c.rest2 * g * g);
            *w = *w * keep - step * *m / (v.sqrt() * root + c.eps);
        }
        Ok(())
    }
}

impl Op for AdamUpdate {
    fn name(&self) -> &'static str {
        "adam_update"
    }

    fn writes(&self) -> usize {
        3
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32; 5])?;
        check_update(inputs, self.weight_decay)?;
        let scalars = inputs[1].shape;
        if scalars.rank() != 1 || scalars.dim(0) < 4 * (self.row + 1) {
            return Err(format!("takes the scalars of counter {}, got {scalars}", self.row));
        }
        if !(self.eps.is_finite() && self.eps >= 0.0) {
            return Err(format!("eps must be 0 or more, got {}", self.eps));
        }
        Ok(inputs[2..].to_vec())
    }

    fn grad<'g>(
        &self,
        inputs: &[Var<'g>],
        _: &[Var<'g>],
        _: &[Option<Var<'g>>],
        _: &[bool],
    ) -> Result<Vec<Option<Var<'g>>>, String> {
        Ok(leaf(inputs))
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let c = self.constants::<f32>();
        let args = [Arg::Input(0), Arg::Input(1), Arg::Output(0), Arg::Output(1), Arg::Output(2)];
        launch(ctx, "adam_update", &args, |vectors| {
            let params = AdamParams {
                vectors,
                eps: c.eps,
                coupled_decay: c.coupled_decay,
                decoupled_decay: c.decoupled_decay,
                beta1: c.beta1,
                rest1: c.rest1,
                beta2: c.beta2,
                rest2: c.rest2,
                row: self.row as u32,
                _pad: [0; 3],
            };
            bytemuck::bytes_of(&params).to_vec()
        })
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
        let Ok([step, root, lr, _]) = scalars_of(&inputs[1], self.row) else { return Vec::new() };
        let (w, m, v) = (outputs[0].f(), outputs[1].f(), outputs[2].f());
        let mut bounds = vec![Vec::new(); 3];
        for (i, gradient) in inputs[0].f().iter().enumerate() {
            let divisor = v[i].sqrt() * root + c.eps;
            let update = if m[i] == 0.0 { 0.0 } else { step * m[i] / divisor };
            let decay = lr * c.decoupled_decay;
            let old = (w[i] + update).abs() / (1.0 - decay).abs().max(1e-3);
            let g = gradient + c.coupled_decay * (w[i] + update);
            let g_error = UNIT * (g.abs() + 2.0 * c.coupled_decay * old);
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

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        16 * inputs[0].shape.elements() as u64
    }
}
