//! The updates of Adam and AdamW.

use std::fmt::Write;

use super::{AdamTick, WORKGROUP, check_update, leaf, scalars_of, states_of, wide};
use crate::error::Result;
use crate::host::threads;
use crate::ops::{
    AdapterClass, Arg, Backward, Dispatch, Gradients, In, Kernel, KernelContext, Op, Out, Program, Real,
    Reference, TINY, UNIT, expect, uniform,
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

/// Vectors of four that an invocation updates, so that what all share is read once for them.
const VECTORS: usize = 4;

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
}

impl AdamUpdate {
    fn count(&self) -> usize {
        self.rows.len()
    }

    /// A launch for these of the parameters.
    fn launch(&self, parameters: &[usize], ctx: &KernelContext<'_>) -> Result<Dispatch> {
        let mut args = vec![Arg::Input(self.count())];
        let mut extents = [[0_u32; 2]; AdamTick::MOST];
        let mut counters = [0_u32; AdamTick::MOST];
        counters.iter_mut().zip(parameters).for_each(|(to, &k)| *to = self.rows[k] as u32);
        let mut workgroups = 0;
        for (&k, extent) in parameters.iter().zip(&mut extents) {
            args.push(Arg::Input(k));
            args.extend((3 * k..3 * k + 3).map(Arg::Output));
            let vectors = ctx.inputs[k].shape.elements().div_ceil(4);
            workgroups += vectors.div_ceil(VECTORS * WORKGROUP);
            *extent = [vectors as u32, workgroups as u32];
        }
        let c = self.constants::<f32>();
        // Of each parameter the elements in vectors of four and the workgroups up to its last, and which counter it has.
        let params = uniform! {
            constants: [c.beta1, c.rest1, c.beta2, c.rest2],
            decay: [c.eps, c.coupled_decay, c.decoupled_decay],
            extents, rows: counters,
        };
        let key = format!("adam_update.{}", parameters.len());
        let kernel = Kernel::generated(key, "adam_update", &text(parameters.len()));
        Ok(ctx.launch(kernel, args, &params, workgroups)?.loop_iterations(VECTORS))
    }
}

/// Elements from which a parameter gets a launch of its own on a software adapter: there every workgroup goes
/// through the branches of all parameters, with its writes masked.
const LARGE: usize = 4096;

/// The kernel for so many parameters: each has workgroups of its own, so that no workgroup takes two branches.
fn text(count: usize) -> String {
    // Two extents and four rows to a vector, which is what uniforms have arrays of.
    let (extents, rows) = (AdamTick::MOST / 2, AdamTick::MOST / 4);
    let mut t = format!(
        "struct AdamParams {{\n    constants: vec4<f32>, decay: vec3<f32>,\n    \
         extents: array<vec4<u32>, {extents}>, rows: array<vec4<u32>, {rows}>,\n}}\n\n\
         @group(0) @binding(0) var<storage, read> scalars: array<vec4<f32>>;\n",
    );
    for k in 0..count {
        let tensors = [("g", "read"), ("w", "read_write"), ("m", "read_write"), ("v", "read_write")];
        for (i, (name, access)) in tensors.into_iter().enumerate() {
            let binding = 1 + 4 * k + i;
            let _ = writeln!(
                t,
                "@group(0) @binding({binding}) var<storage, {access}> {name}{k}: array<vec4<f32>>;"
            );
        }
    }
    let _ = writeln!(t, "@group(0) @binding({}) var<uniform> p: AdamParams;\n", 4 * count + 1);
    t.push_str(
        "@compute @workgroup_size(64)\n\
         fn adam_update(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,\n    \
         @builtin(local_invocation_index) lane: u32) {\n    \
         let at = linear_workgroup(group, groups);\n",
    );
    t.push_str("    let c = p.constants;\n    let decay = p.decay;\n");
    let of = |k: usize| format!("p.extents[{}].{}", k / 2, if k.is_multiple_of(2) { "xy" } else { "zw" });
    let row = |k: usize| format!("p.rows[{}][{}]", k / 4, k % 4);
    let _ = write!(
        t,
        "    var extent = {};\n    var counter = {};\n    var start = 0u;\n    var parameter = 0u;\n",
        of(0),
        row(0)
    );
    for k in 1..count {
        let _ = writeln!(
            t,
            "    if (at >= {before}.y) {{ extent = {}; counter = {}; start = {before}.y; parameter = {k}u; }}",
            of(k),
            row(k),
            before = of(k - 1),
        );
    }
    // Which parameter it is matters where memory is read and written alone, so that the rest stands here once.
    let of_each = |t: &mut String, statements: &dyn Fn(usize) -> String| {
        if count == 1 {
            let _ = writeln!(t, "        {}", statements(0));
            return;
        }
        t.push_str("        switch (parameter) {\n");
        for k in 1..count {
            let _ = writeln!(t, "            case {k}u: {{ {} }}", statements(k));
        }
        let _ = writeln!(t, "            default: {{ {} }}\n        }}", statements(0));
    };
    let _ = write!(
        t,
        "    let row = scalars[counter];\n    \
         let first = (at - start) * {span}u + lane;\n    \
         let end = min(select(extent.x, 0u, is_zero(row.w)), first + {span}u);\n    \
         for (var i = first; i < end; i += {WORKGROUP}u) {{\n        \
         var g = vec4<f32>();\n        var w = g;\n        var m = g;\n        var v = g;\n",
        span = VECTORS * WORKGROUP
    );
    of_each(&mut t, &|k| format!("g = g{k}[i]; w = w{k}[i]; m = m{k}[i]; v = v{k}[i];"));
    t.push_str("        let next = adam_fn(g, w, m, v, row, c, decay);\n");
    of_each(&mut t, &|k| format!("w{k}[i] = next.w; m{k}[i] = next.m; v{k}[i] = next.v;"));
    t.push_str("    }\n");
    t.push_str("}\n");
    t
}

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
        Ok(Program { dispatches, scratch: Vec::new() })
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
