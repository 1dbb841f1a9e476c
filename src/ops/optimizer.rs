//! Updates of parameters in place, by PyTorch's formulas. Kernels: `shaders/optimizer.wgsl`.
//!
//! Adam: Kingma and Ba, ICLR 2015, algorithm 1; decoupled weight decay: Loshchilov and Hutter, ICLR 2019,
//! algorithm 2. Momentum: PyTorch's `SGD` without dampening.

use super::{Arg, Case, Dispatch, Fillings, Kernel, KernelContext, Op, Program, Real, Reference};
use super::{In, Out, TINY, UNIT, expect};
use crate::error::Result;
use crate::graph::Var;
use crate::shape::{DType, TensorType};

const WORKGROUP: usize = 64;

/// Counts a step of Adam and prepares what all its updates share.
///
/// Inputs: the learning rate `lr` [1], a state that is only read; the state `t` [1], a `u32`. Results:
/// `scalars` [4], which are lr / (1 - β1^t), 1 / √(1 - β2^t), lr and 0, and the new t.
#[derive(Debug, Clone)]
pub(crate) struct AdamTick {
    pub(crate) beta1: f64,
    pub(crate) beta2: f64,
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
        let count = &mut outputs[1].u32()[0];
        *count = count.saturating_add(1);
        let t = *count;
        let corrections = (correction(self.beta1, t), correction(self.beta2, t));
        let scalars = [lr / corrections.0, 1.0 / corrections.1.sqrt(), lr, 0.0];
        outputs[0].f().iter_mut().zip(scalars).for_each(|(y, x)| *y = T::of(x));
        Ok(())
    }
}

impl Op for AdamTick {
    fn name(&self) -> &'static str {
        "adam_tick"
    }

    fn writes(&self) -> usize {
        1
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32, DType::U32])?;
        for beta in [self.beta1, self.beta2] {
            if !(0.0..1.0).contains(&beta) {
                return Err(format!("betas must be in [0, 1), got {} and {}", self.beta1, self.beta2));
            }
        }
        if inputs.iter().any(|i| i.shape.dims() != [1]) {
            return Err(format!(
                "takes a learning rate [1] and a counter [1], got {} and {}",
                inputs[0], inputs[1]
            ));
        }
        Ok(vec![super::float(&[4]), inputs[1]])
    }

    fn dispatch(&self, _: &KernelContext<'_>) -> Result<Program> {
        let params =
            TickParams { log_beta1: log_beta(self.beta1), log_beta2: log_beta(self.beta2), _pad: [0; 2] };
        let args = vec![Arg::Input(0), Arg::Output(0), Arg::Output(1)];
        Ok(Dispatch::new(Kernel::library("adam_tick")?, args, &params, [1, 1, 1]).into())
    }

    /// With y = -t ln β: ln β, t above 2^24 and their product are rounded, so y is off by 3 units, which
    /// moves 1 - e^-y by no more than 3 (its condition number is below 1). Below 0.5 the series adds 3.4
    /// for its roundings and 0.23 for the terms left out. Above, WGSL's exp is good to 2 (3 + 2y) units of
    /// e^-y, and (6 + 4y + 3y) e^-y / (1 - e^-y) is largest at y = 0.5: 14.7 units, and one for the
    /// difference. So 16; the division adds 5, the inverse square root halves and adds 4.
    fn error_bound(&self, _: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let units = [21.0, 12.0, 0.0, 0.0];
        let scalars = outputs[0].f().iter().zip(units).map(|(y, u)| u * UNIT * y.abs() + TINY);
        vec![scalars.collect(), Vec::new()]
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

/// 0 for a denormal, which means nothing in a moment and costs some processors a hundred cycles.
#[inline(always)]
fn flush_denormal<T: Real>(x: T) -> T {
    if x.abs() < T::min_positive_value() { T::zero() } else { x }
}

impl<T: Real> Reference<T> for AdamUpdate {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let c = self.constants::<T>();
        let [step, root, lr, _] = scalars_of(&inputs[1])?;
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
        let [step, root, lr, _] = scalars_of(&inputs[1])?;
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

fn scalars_of<T: Real>(input: &In<'_, T>) -> Result<[T; 4], String> {
    input.f().try_into().map_err(|_| "takes four scalars".to_string())
}

/// The elements of `N` float states.
fn states_of<'a, T, const N: usize>(outputs: &'a mut [Out<'_, T>]) -> Result<[&'a mut [T]; N], String> {
    let states: Vec<&mut [T]> = outputs.iter_mut().map(Out::f).collect();
    states.try_into().map_err(|_| format!("updates {N} states"))
}

/// Fails unless the gradient and the states, from input 2 on, have one shape; and for a bad `decay`.
fn check_update(inputs: &[TensorType], scalars: &[usize], decay: f32) -> Result<(), String> {
    if !(decay.is_finite() && decay >= 0.0) {
        return Err(format!("the weight decay must be 0 or more, got {decay}"));
    }
    if inputs[1].shape.dims() != scalars {
        return Err(format!("takes scalars {scalars:?}, got {}", inputs[1].shape));
    }
    match inputs[2..].iter().find(|i| i.shape != inputs[0].shape) {
        Some(i) => Err(format!("the gradient {} and a state {i} differ in shape", inputs[0])),
        None => Ok(()),
    }
}

/// Nothing flows back through an update: as in PyTorch, a loss computed from the new value of a parameter has
/// that value as a leaf, whatever its update was computed from.
fn leaf<'g>(inputs: &[Var<'g>]) -> Vec<Option<Var<'g>>> {
    vec![None; inputs.len()]
}

/// A kernel over the vec4s of the updated states.
fn launch(
    ctx: &KernelContext<'_>,
    entry: &str,
    args: &[Arg],
    params: impl FnOnce(u32) -> Vec<u8>,
) -> Result<Program> {
    let vectors = ctx.inputs[0].shape.elements().div_ceil(4);
    Ok(Program::from(Dispatch {
        kernel: Kernel::library(entry)?,
        args: args.to_vec(),
        uniform: params(vectors as u32),
        grid: ctx.caps.grid(vectors.div_ceil(WORKGROUP))?,
    }))
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
        check_update(inputs, &[4], self.weight_decay)?;
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
        let Ok([step, root, lr, _]) = scalars_of(&inputs[1]) else { return Vec::new() };
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

/// A step of stochastic gradient descent on one parameter, with momentum or without.
///
/// Inputs: the gradient, the learning rate [1]; the state w and, if there is momentum, its buffer. PyTorch
/// starts the buffer with the first gradient: without dampening that is what a buffer of zeros gives.
#[derive(Debug, Clone)]
pub(crate) struct SgdUpdate {
    pub(crate) momentum: f32,
    pub(crate) nesterov: bool,
    pub(crate) weight_decay: f32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct SgdParams {
    vectors: u32,
    nesterov: u32,
    momentum: f32,
    decay: f32,
}

impl SgdUpdate {
    fn has_buffer(&self) -> bool {
        self.momentum != 0.0
    }

    fn constants<T: Real>(&self) -> (T, T) {
        (T::of(f64::from(self.momentum)), T::of(f64::from(self.weight_decay)))
    }
}

impl<T: Real> Reference<T> for SgdUpdate {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (momentum, decay) = self.constants::<T>();
        let (gradient, lr) = (inputs[0].f(), inputs[1].f()[0]);
        if !self.has_buffer() {
            let [w] = states_of(outputs)?;
            for (i, &g) in gradient.iter().enumerate() {
                w[i] = w[i] - lr * (g + decay * w[i]);
            }
            return Ok(());
        }
        let [w, b] = states_of(outputs)?;
        for (i, &g) in gradient.iter().enumerate() {
            let g = g + decay * w[i];
            b[i] = momentum * b[i] + g;
            w[i] = w[i] - lr * if self.nesterov { g + momentum * b[i] } else { b[i] };
        }
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (momentum, decay) = self.constants::<T>();
        let (gradient, lr) = (inputs[0].f(), inputs[1].f()[0]);
        if !self.has_buffer() {
            let [w] = states_of(outputs)?;
            w.iter_mut().zip(gradient).for_each(|(w, &g)| *w = *w - lr * (g + decay * *w));
            return Ok(());
        }
        let [w, b] = states_of(outputs)?;
        let elements = w.iter_mut().zip(b).zip(gradient);
        let next = |b: T, g: T| flush_denormal(momentum * b + g);
        if self.nesterov {
            elements.for_each(|((w, b), &g)| {
                let g = g + decay * *w;
                *b = next(*b, g);
                *w = *w - lr * (g + momentum * *b);
            });
        } else {
            elements.for_each(|((w, b), &g)| {
                *b = next(*b, g + decay * *w);
                *w = *w - lr * *b;
            });
        }
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
        expect(inputs, &vec![DType::F32; 2 + self.writes()])?;
        check_update(inputs, &[1], self.weight_decay)?;
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
        let mut args = vec![Arg::Input(0), Arg::Input(1), Arg::Output(0)];
        let entry = if self.has_buffer() { "sgd_momentum_update" } else { "sgd_update" };
        args.extend(self.has_buffer().then_some(Arg::Output(1)));
        launch(ctx, entry, &args, |vectors| {
            let nesterov = u32::from(self.nesterov);
            let params = SgdParams { vectors, nesterov, momentum: self.momentum, decay: self.weight_decay };
            bytemuck::bytes_of(&params).to_vec()
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
        for (i, &gradient) in inputs[0].f().iter().enumerate() {
            let old = match buffer.get(i) {
                Some(&b) if !self.nesterov => (w[i] + lr * b).abs(),
                Some(&b) => most(w[i], gradient + momentum * b),
                None => most(w[i], gradient),
            };
            let g = gradient.abs() + decay * old;
            let g_error = UNIT * (g + decay * old) + TINY;
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

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let tick = |beta1, beta2, t: f64| {
        let case = Case::new(AdamTick { beta1, beta2 }, &[&[1], &[1]]).no_gradient();
        case.fill(0, Fillings::Uniform(1e-4, 1e-1)).index(1, 1).fill(1, Fillings::Given(vec![t]))
    };
    // Around the ends of the series (y = 0.5) for both betas, past 2^24, and at the last number.
    for t in [0.0, 1.0, 3.0, 4.0, 5.0, 99.0, 498.0, 499.0, 500.0, 1e4, 16_777_217.0, 4_294_967_295.0] {
        cases.push(tick(0.9, 0.999, t));
    }
    cases.extend([tick(0.0, 0.0, 0.0), tick(0.5, 0.999_999_9, 7.0), tick(0.999_999_9, 0.0, 1e6)]);

    let shapes = [&[][..], &[1], &[5], &[64], &[257], &[130, 33]];
    let scalars = |t: f64, lr: f64| {
        let (c1, c2) = (1.0 - 0.9f64.powf(t), 1.0 - 0.999f64.powf(t));
        Fillings::Given(vec![lr / c1, 1.0 / c2.sqrt(), lr, 0.0])
    };
    let adam = |weight_decay, decoupled, shape: &[usize]| {
        let op = AdamUpdate { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay, decoupled };
        let case = Case::new(op, &[shape, &[4], shape, shape, shape]).no_gradient();
        case.fill(1, scalars(10.0, 1e-3)).fill(4, Fillings::Uniform(0.0, 2.0))
    };
    for shape in shapes {
        cases.push(adam(0.0, false, shape));
        cases.push(adam(0.1, false, shape));
        cases.push(adam(0.01, true, shape));
    }
    let zero = Fillings::Given(vec![0.0]);
    // The first step; no gradient ever; a vanishing one, whose square is no float; a huge one.
    cases
        .push(adam(0.0, false, &[65]).fill(1, scalars(1.0, 0.1)).fill(3, zero.clone()).fill(4, zero.clone()));
    cases.push(adam(0.01, true, &[65]).fill(0, zero.clone()).fill(3, zero.clone()).fill(4, zero.clone()));
    let tiny = Fillings::Given(vec![0.0, 1e-38, 1e-30, 1e-20, 1e-12]);
    cases.push(adam(0.0, false, &[65]).fill(0, tiny.clone()).fill(3, tiny.clone()).fill(4, tiny));
    let huge = Fillings::Given(vec![1e15, -1e10, 1.0]);
    cases.push(adam(0.0, false, &[65]).fill(0, huge).fill(3, zero.clone()).fill(4, zero));

    let sgd = |momentum, nesterov, weight_decay, shape: &[usize]| {
        let op = SgdUpdate { momentum, nesterov, weight_decay };
        let mut all = vec![shape, &[1]];
        all.resize(2 + op.writes(), shape);
        Case::new(op, &all).no_gradient().fill(1, Fillings::Uniform(0.01, 0.5))
    };
    for shape in shapes {
        cases.push(sgd(0.0, false, 0.0, shape));
        cases.push(sgd(0.0, false, 0.1, shape));
        cases.push(sgd(0.9, false, 0.0, shape));
        cases.push(sgd(0.9, false, 0.1, shape));
        cases.push(sgd(0.9, true, 0.1, shape));
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Slice, SliceMut, float};
    use crate::rng::Rng;

    const N: usize = 37;

    /// Runs an update of `states` in place.
    fn update<T: Real>(op: &impl Reference<T>, fast: bool, inputs: &[&[T]], states: &mut [Vec<T>]) {
        let inputs: Vec<In<'_, T>> =
            inputs.iter().map(|x| In { shape: float(&[x.len()]).shape, data: Slice::F(x) }).collect();
        let out = |x: &mut Vec<T>| -> TensorType { float(&[x.len()]) };
        let shapes: Vec<TensorType> = states.iter_mut().map(out).collect();
        let mut outputs: Vec<Out<'_, T>> = states
            .iter_mut()
            .zip(shapes)
            .map(|(x, ty)| Out { shape: ty.shape, data: SliceMut::F(x) })
            .collect();
        match fast {
            true => op.eval_fast(&inputs, &mut outputs).unwrap(),
            false => op.eval(&inputs, &mut outputs).unwrap(),
        }
    }

    fn tick<T: Real>(op: &AdamTick, lr: T, t: &mut u32) -> Vec<T> {
        let mut scalars = vec![T::nan(); 4];
        let lr = [lr];
        let inputs = [In { shape: float(&[1]).shape, data: Slice::F(&lr) }];
        let mut outputs = [
            Out { shape: float(&[4]).shape, data: SliceMut::F(&mut scalars) },
            Out { shape: float(&[1]).shape, data: SliceMut::U32(std::slice::from_mut(t)) },
        ];
        op.eval(&inputs, &mut outputs).unwrap();
        scalars
    }

    /// A gradient that depends on the weights, as in training.
    fn gradient(w: &[f64], step: u32) -> Vec<f64> {
        let wave = |i: usize| (f64::from(step) * 0.3 + i as f64).sin();
        w.iter().enumerate().map(|(i, w)| 0.5 * w + wave(i)).collect()
    }

    fn start() -> Vec<f64> {
        let mut rng = Rng::new(1, "weights");
        (0..N).map(|_| rng.normal()).collect()
    }

    fn assert_close(a: &[f64], b: &[f64]) {
        let far = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(far < 1e-11, "{far:e}");
    }

    /// The papers' forms: bias-corrected moments, powers by multiplication.
    #[test]
    fn adam_and_adamw_follow_the_papers_over_100_steps() {
        let (lr, beta1, beta2, eps) = (0.01, 0.9, 0.999, f64::from(1e-8f32));
        for (weight_decay, decoupled) in [(0.0f32, false), (0.1, false), (0.01, true)] {
            for fast in [false, true] {
                let op = AdamUpdate { beta1, beta2, eps: 1e-8, weight_decay, decoupled };
                let decay = f64::from(weight_decay);
                let mut states = vec![start(), vec![0.0; N], vec![0.0; N]];
                let (mut w, mut m, mut v) = (start(), vec![0.0; N], vec![0.0; N]);
                let (mut t, mut power1, mut power2) = (0, 1.0, 1.0);
                for step in 0..100 {
                    let scalars = tick(&AdamTick { beta1, beta2 }, lr, &mut t);
                    update(&op, fast, &[&gradient(&states[0], step), &scalars], &mut states);
                    power1 *= beta1;
                    power2 *= beta2;
                    for (i, mut g) in gradient(&w, step).into_iter().enumerate() {
                        let old = w[i];
                        g += if decoupled { 0.0 } else { decay * old };
                        m[i] = beta1 * m[i] + (1.0 - beta1) * g;
                        v[i] = beta2 * v[i] + (1.0 - beta2) * g.powi(2);
                        let (mean, square) = (m[i] / (1.0 - power1), v[i] / (1.0 - power2));
                        w[i] -= lr * mean / (square.sqrt() + eps);
                        w[i] -= if decoupled { lr * decay * old } else { 0.0 };
                    }
                }
                assert_close(&states[0], &w);
                assert_eq!(t, 100);
            }
        }
    }

    /// PyTorch's documentation of `SGD`, with the buffer that does not exist before the first step.
    #[test]
    fn sgd_follows_pytorch_over_100_steps() {
        let lr = [0.05];
        for (momentum, nesterov, weight_decay) in
            [(0.0, false, 0.0), (0.0, false, 0.1), (0.9, false, 0.0), (0.9, false, 0.1), (0.9, true, 0.1)]
        {
            for fast in [false, true] {
                let op = SgdUpdate { momentum, nesterov, weight_decay };
                let (mu, decay) = (f64::from(momentum), f64::from(weight_decay));
                let mut states = vec![start(), vec![0.0; N]];
                states.truncate(op.writes());
                let (mut w, mut buffer) = (start(), None::<Vec<f64>>);
                for step in 0..100 {
                    update(&op, fast, &[&gradient(&states[0], step), &lr], &mut states);
                    let g: Vec<f64> = gradient(&w, step).iter().zip(&w).map(|(g, w)| g + decay * w).collect();
                    let direction = if momentum == 0.0 {
                        g
                    } else {
                        let b: Vec<f64> = match &buffer {
                            None => g.clone(),
                            Some(old) => old.iter().zip(&g).map(|(b, g)| mu * b + g).collect(),
                        };
                        buffer = Some(b.clone());
                        if nesterov { g.iter().zip(&b).map(|(g, b)| g + mu * b).collect() } else { b }
                    };
                    w.iter_mut().zip(direction).for_each(|(w, d)| *w -= lr[0] * d);
                }
                assert_close(&states[0], &w);
            }
        }
    }

    #[test]
    fn in_f32_an_update_stays_within_its_bound_and_makes_no_denormals() {
        let narrow = |x: &[f64]| x.iter().map(|&x| x as f32).collect::<Vec<f32>>();
        let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
        let op = AdamUpdate { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, decoupled: false };
        let mut g = gradient(&start(), 0);
        g[..3].copy_from_slice(&[0.0, 1e-38, 1e-25]);
        let (g, scalars) = (narrow(&g), tick(&AdamTick { beta1: 0.9, beta2: 0.999 }, 0.01f32, &mut 0));
        let mut states = vec![narrow(&start()), vec![0.0; N], vec![0.0; N]];
        let mut exact: Vec<Vec<f64>> = states.iter().map(|s| wide(s)).collect();
        update(&op, true, &[&g, &scalars], &mut states);
        let inputs = [wide(&g), wide(&scalars)];
        update(&op, false, &[&inputs[0], &inputs[1]], &mut exact);
        let view = |x: &'static [f64]| In { shape: float(&[x.len()]).shape, data: Slice::F(x) };
        let leak = |x: Vec<f64>| view(x.leak());
        let outputs: Vec<In<'_, f64>> = exact.iter().map(|x| leak(x.clone())).collect();
        let bounds = op.error_bound(&inputs.map(leak), &outputs);
        for ((state, exact), bounds) in states.iter().zip(&exact).zip(bounds) {
            for ((x, y), bound) in state.iter().zip(exact).zip(bounds) {
                assert!((f64::from(*x) - y).abs() <= bound, "{x} {y} {bound:e}");
                assert!(*x == 0.0 || x.is_normal());
            }
        }
        assert_eq!(states[2][1], 0.0);
    }

    #[test]
    fn corrections_are_accurate_where_subtracting_would_cancel() {
        let mut t = 0;
        let scalars = tick(&AdamTick { beta1: 0.9, beta2: 0.999 }, 1e-3f32, &mut t);
        assert_eq!((scalars[2], scalars[3], t), (1e-3, 0.0, 1));
        for (scalar, expected) in scalars.into_iter().zip([1e-2, 1e3f64.sqrt()]) {
            assert!((f64::from(scalar) / expected - 1.0).abs() < 1.2e-7, "{scalar} {expected}");
        }
        let scalars = tick(&AdamTick { beta1: 0.0, beta2: 0.0 }, 0.5f64, &mut u32::MAX.clone());
        assert_eq!(scalars, [0.5, 1.0, 0.5, 0.0]);
    }

    #[test]
    fn wrong_settings_and_shapes_are_refused() {
        let adam = AdamUpdate { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, decoupled: false };
        let sgd = SgdUpdate { momentum: 0.9, nesterov: true, weight_decay: 0.0 };
        let (w, one) = (float(&[3, 2]), float(&[1]));
        let (four, other) = (float(&[4]), float(&[2, 3]));
        let count = TensorType::u32(one.shape);
        let refusal = |op: &dyn Op, inputs: &[TensorType]| op.infer(inputs).unwrap_err();
        let all = [w, four, w, w, w];
        assert!(adam.infer(&all).is_ok() && sgd.infer(&[w, one, w, w]).is_ok());
        assert!(refusal(&adam, &[w, four, w, w, other]).contains("differ in shape"));
        assert!(refusal(&adam, &[w, one, w, w, w]).contains("takes scalars [4]"));
        assert!(refusal(&AdamUpdate { eps: -1.0, ..adam.clone() }, &all).contains("eps"));
        assert!(refusal(&AdamUpdate { weight_decay: f32::NAN, ..adam }, &all).contains("weight decay"));
        assert!(refusal(&SgdUpdate { momentum: -0.1, ..sgd.clone() }, &[w, one, w]).contains("momentum"));
        assert!(refusal(&SgdUpdate { momentum: 0.0, ..sgd }, &[w, one, w]).contains("Nesterov"));
        for beta1 in [-0.1, 1.0, f64::NAN] {
            assert!(refusal(&AdamTick { beta1, beta2: 0.9 }, &[one, count]).contains("betas"));
        }
        assert!(refusal(&AdamTick { beta1: 0.9, beta2: 0.9 }, &[one, one]).contains("must be u32"));
    }
}
