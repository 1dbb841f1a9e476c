//! The backward pass.

use super::{RowPass, check, per_row, per_row_shape};
use crate::error::Result;
use crate::graph::Var;
use crate::host::threads;
use crate::ops::batch_norm::dot;
use crate::ops::softmax::rows_of;
use crate::ops::split_k::{SplitK, split_k};
use crate::ops::{
    AdapterClass, Arg, Backward, Caps, Gradients, In, KernelContext, Op, Out, Outputs, Program, Real, Traits,
    uniform,
};
use crate::ops::{Reference, TINY, UNIT, expect};
use crate::shape::{DType, TensorType};

/// Gradients of x, weight and bias from x `[.., m]`, weight `[m]`, mean, r `[..]` and dy, with n = (x - mean) r and
/// g = dy · weight:
///
/// dx = r (g - Σ g/m - n Σ g n/m), dweight = Σ dy n, dbias = Σ dy,
///
/// the first sums along a row, the others over rows. Ba, Kiros and Hinton, arXiv:1607.06450, section 3, with the
/// derivatives of mean and r put in: d mean = Σ dx/m, and d r = -r² Σ n dx/m.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LayerNormGrad;

/// Columns of a workgroup that adds rows, and invocations of each.
const COLUMNS: usize = 8;

/// In how many chunks rows are cut where they are added, and how long these are.
fn cut(caps: &Caps, rows: usize, blocks: usize) -> (usize, usize) {
    let needed = caps.pieces(rows, COLUMNS * (caps.max_loop_iterations as usize).saturating_sub(1 + COLUMNS));
    // Loads that follow each other in one invocation.
    let steps = rows.div_ceil(COLUMNS);
    let (wanted, long, least) = match caps.class {
        AdapterClass::Gpu => (512, 64, 16),
        // A step takes 0.5 us there, a launch 25, and the rows are shared among threads beside it.
        AdapterClass::Software | AdapterClass::SoftwareLanes8 => (16, 512, 128),
    };
    let chunks = match steps < long || blocks >= wanted {
        true => needed,
        false => (wanted / blocks).min(steps / least).max(needed),
    };
    let length = rows.div_ceil(chunks).max(1);
    (rows.div_ceil(length).max(1), length)
}

impl<T: Real> Reference<T> for LayerNormGrad {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (rows, width) = rows_of(&inputs[0].shape);
        let [x, weight, mean, r, dy] = [0, 1, 2, 3, 4].map(|k| inputs[k].f());
        let [dx, dweight, dbias] = outputs else { return Err("gives dx, dweight and dbias".into()) };
        let (dx, dweight, dbias) = (dx.f(), dweight.f(), dbias.f());
        let m = T::of(width as f64);
        dweight.fill(T::zero());
        dbias.fill(T::zero());
        for row in 0..rows {
            let n = |k: usize| (x[row * width + k] - mean[row]) * r[row];
            let g = |k: usize| dy[row * width + k] * weight[k];
            let sum = (0..width).fold(T::zero(), |s, k| s + g(k));
            let products = (0..width).fold(T::zero(), |s, k| s + g(k) * n(k));
            for k in 0..width {
                let at = row * width + k;
                dx[at] = r[row] * (g(k) - sum / m - n(k) * (products / m));
                dweight[k] = dweight[k] + dy[at] * n(k);
                dbias[k] = dbias[k] + dy[at];
            }
        }
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (rows, width) = rows_of(&inputs[0].shape);
        let [x, weight, mean, r, dy] = [0, 1, 2, 3, 4].map(|k| inputs[k].f());
        let [dx, dweight, dbias] = outputs else { return Err("gives dx, dweight and dbias".into()) };
        let m = T::of(width as f64);
        threads::runs(dx.f(), width, 1, |first, dx| {
            for (row, dx) in (first / width..).zip(dx.chunks_exact_mut(width)) {
                let (mean, r) = (mean[row], r[row]);
                let [x, dy] = [x, dy].map(|v| &v[row * width..][..width]);
                dx.iter_mut().zip(dy.iter().zip(weight)).for_each(|(g, (&dy, &w))| *g = dy * w);
                let sum = dot(dx, x, |g, _| g) / m;
                let products = dot(dx, x, |g, x| g * ((x - mean) * r)) / m;
                dx.iter_mut().zip(x).for_each(|(g, &x)| *g = r * (*g - sum - (x - mean) * r * products));
            }
        });
        // Row by row, so that neighbours are added at once.
        threads::runs(dweight.f(), 1, rows, |first, to| {
            to.fill(T::zero());
            for row in 0..rows {
                let (mean, r, at) = (mean[row], r[row], row * width + first);
                let terms = x[at..].iter().zip(&dy[at..]);
                to.iter_mut().zip(terms).for_each(|(to, (&x, &dy))| *to = *to + dy * ((x - mean) * r));
            }
        });
        threads::runs(dbias.f(), 1, rows, |first, to| {
            to.fill(T::zero());
            for row in 0..rows {
                to.iter_mut().zip(&dy[row * width + first..]).for_each(|(to, &dy)| *to = *to + dy);
            }
        });
        Ok(())
    }
}

impl Op for LayerNormGrad {
    fn name(&self) -> &'static str {
        "layer_norm_grad"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32; 5])?;
        let (x, weight) = (inputs[0], inputs[1]);
        check(x, &inputs[1..2])?;
        let per_row = per_row_shape(&x.shape);
        if let Some(other) = inputs[2..4].iter().find(|t| t.shape != per_row) {
            return Err(format!("the rows of {x} need a value each, {per_row}, got {}", other.shape));
        }
        if inputs[4] != x {
            return Err(format!("the cotangent {} does not have the shape of {x}", inputs[4]));
        }
        Ok(vec![x, weight, weight])
    }

    fn grad<'g>(&self, of: Backward<'_, 'g>) -> Gradients<'g> {
        of.of_formula(|inputs| {
            let [x, weight, mean, r, dy] = [0, 1, 2, 3, 4].map(|k| inputs[k]);
            let last = x.shape().rank() - 1;
            let outer: Vec<usize> = (0..last).collect();
            let n = (x - per_row(mean)) * per_row(r);
            let g = dy * weight;
            let rest = g - g.mean_keep(&[last]) - n * (g * n).mean_keep(&[last]);
            let over_rows = |v: Var<'g>| if last == 0 { v } else { v.sum(&outer) };
            [rest * per_row(r), over_rows(dy * n), over_rows(dy)]
        })
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let walk = RowPass::new(ctx);
        let blocks = walk.units().div_ceil(COLUMNS);
        let (chunks, length) = cut(ctx.caps, walk.rows, blocks);
        let params = uniform! { rows: walk.rows, width: walk.units(), blocks, chunks, length };
        let workgroups = blocks * chunks + walk.workgroups();
        let sizes = [walk.width; 2];
        split_k(&SplitK { first: 1, ..SplitK::of(chunks, &sizes) }, ctx, |to, _| {
            let mut args: Vec<Arg> = (0..5).map(Arg::Input).collect();
            args.push(Arg::Output(0));
            args.extend(to);
            // Rows, or sums over them: a step, and what eight invocations of each column found.
            let iterations = walk.loop_iterations().max(length.div_ceil(COLUMNS) + COLUMNS);
            walk.launch("layer_norm_backward", args, &params, workgroups, iterations, ctx)
        })
    }

    fn error_bound(&self, inputs: &[In<'_, f64>], _: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let (rows, width) = rows_of(&inputs[0].shape);
        let [x, weight, mean, r, dy] = [0, 1, 2, 3, 4].map(|k| inputs[k].f());
        let m = width as f64;
        let mut dx = Vec::with_capacity(x.len());
        let (mut dweight, mut dbias) = (vec![0.0; width], vec![0.0; width]);
        for row in 0..rows {
            let n = |k: usize| ((x[row * width + k] - mean[row]) * r[row]).abs();
            let g = |k: usize| (dy[row * width + k] * weight[k]).abs();
            let sum: f64 = (0..width).map(g).sum();
            let products: f64 = (0..width).map(|k| g(k) * n(k)).sum();
            // m - 1 additions in any order and the products; n has two roundings.
            let sum_error = (m + 1.0) * UNIT * sum + m * TINY;
            let products_error = (m + 5.0) * UNIT * products + m * TINY;
            for k in 0..width {
                // A quotient by m is good to five roundoffs.
                let terms = g(k) + (sum + n(k) * products) / m;
                let error = 12.0 * UNIT * terms + (sum_error + n(k) * products_error) / m;
                dx.push(r[row].abs() * error * 1.01 + TINY);
                dweight[k] += dy[row * width + k].abs() * n(k);
                dbias[k] += dy[row * width + k].abs();
            }
        }
        let rows = rows as f64;
        dweight.iter_mut().for_each(|d| *d = (rows + 4.0) * UNIT * *d + rows * TINY);
        dbias.iter_mut().for_each(|d| *d = rows * UNIT * *d + TINY);
        vec![dx, dweight, dbias]
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        17 * inputs[0].shape.elements() as u64
    }

    fn traits(&self) -> Traits {
        Traits::default().keeping_f32(Outputs::OTHERS).taking_epilogues()
    }
}
