//! The counts of Adam's steps.

use std::fmt::Write;

use crate::error::Result;
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
