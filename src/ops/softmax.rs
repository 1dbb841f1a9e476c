//! Softmax, its logarithm, and their derivatives. Kernels: `shaders/softmax.wgsl`.

use super::elementwise::library_then;
use super::{
    AdapterClass, Arg, Backward, Case, Fillings, Gradients, KernelContext, Op, Outputs, Program, Traits,
    Uniform, uniform,
};
use super::{In, Out, Real, Reference, TINY, UNIT, expect, larger};
use crate::error::Result;
use crate::graph::Var;
use crate::shape::{DType, Shape, TensorType};

/// The last axis as columns, all others as rows.
pub(super) fn rows_of(shape: &Shape) -> (usize, usize) {
    let columns = shape.dims().last().copied().unwrap_or(1).max(1);
    (shape.elements() / columns, columns)
}

/// Which kernels go over rows, and what their loops are.
#[derive(Debug, Clone, Copy)]
pub(super) struct OverRows {
    /// How often a kernel goes over its row, and how often 64 invocations put together what they found.
    pub(super) passes: usize,
    pub(super) joins: usize,
    /// Invocations of a workgroup where each has a row.
    pub(super) side_by_side: usize,
}

impl OverRows {
    /// A launch of `<name>_workgroup`, 64 invocations per row, where a GPU has long rows, or where one invocation would take
    /// more iterations than it may; else of `<name>_rows`, one per row.
    pub(super) fn launch(
        self,
        name: &str,
        (rows, columns): (usize, usize),
        mut args: Vec<Arg>,
        params: &Uniform,
        ctx: &KernelContext<'_>,
    ) -> Result<Program> {
        let OverRows { passes, joins, side_by_side } = self;
        let is_long = ctx.caps.class == AdapterClass::Gpu && columns >= 64;
        let (kind, workgroups, iterations) = match is_long || !ctx.caps.allows(passes * columns) {
            true => ("workgroup", rows, passes * columns.div_ceil(64) + 6 * joins),
            false => ("rows", rows.div_ceil(side_by_side), passes * columns),
        };
        args.extend(ctx.epilogue_args());
        let kernel = library_then(&format!("{name}_{kind}"), ctx.fusion.epilogue, None)?;
        Ok(ctx.launch(kernel, args, params, workgroups)?.loop_iterations(iterations).into())
    }
}

/// `x` with `axis` after all others, and the order of axes that undoes it, if it was not there before.
/// A mistake is recorded and its poisoned value given as the error.
#[track_caller]
pub(super) fn to_last<'g>(
    x: Var<'g>,
    op: &str,
    axis: usize,
) -> Result<(Var<'g>, Option<Vec<usize>>), Var<'g>> {
    let shape = x.shape();
    if x.is_poisoned() {
        return Err(x);
    }
    if axis >= shape.rank() {
        return Err(x.graph.refuse(op, format!("there is no axis {axis} in {shape}"), x));
    }
    if axis + 1 == shape.rank() {
        return Ok((x, None));
    }
    let mut order: Vec<usize> = (0..shape.rank()).filter(|&a| a != axis).collect();
    order.push(axis);
    let mut inverse = vec![0; order.len()];
    order.iter().enumerate().for_each(|(i, &a)| inverse[a] = i);
    Ok((x.permute(&order), Some(inverse)))
}

/// Softmax along the last axis (Bridle, 1990), or its logarithm.
#[derive(Debug, Clone)]
pub(crate) struct Softmax {
    pub(crate) log: bool,
}

/// Cotangent of the argument of [`Softmax`] from its result and the result's cotangent.
#[derive(Debug, Clone)]
pub(crate) struct SoftmaxGrad {
    pub(crate) log: bool,
}

/// The largest element and the sum of e^(x - largest) of a row.
pub(super) fn stats<T: Real>(row: &[T]) -> (T, T) {
    let m = row.iter().fold(T::neg_infinity(), |m, &x| larger(m, x));
    (m, row.iter().fold(T::zero(), |s, &x| s + (x - m).exp()))
}

/// Relative error of e^t in roundoffs, where t is a rounded difference: WGSL's exp is good to 3 + 2|t| units
/// in the last place, which are two roundoffs each, and the roundoff of t is multiplied by |t|.
pub(super) fn exp_units(t: f64) -> f64 {
    6.0 + 5.0 * t.abs()
}

/// Relative error in roundoffs of the sum that [`stats`] makes: each term's own, by its share, and one for
/// each addition in any order.
pub(super) fn sum_units(row: &[f64], m: f64, s: f64) -> f64 {
    row.iter().map(|&x| (x - m).exp() / s * exp_units(x - m)).sum::<f64>() + row.len() as f64
}

/// Error in roundoffs of the logarithm of that sum: its relative error, and WGSL's own of 2^-21 between 0.5
/// and 2 or 3 units in the last place elsewhere.
pub(super) fn log_units(sum_units: f64, s: f64) -> f64 {
    sum_units + 8.0 + 6.0 * s.ln().abs()
}

impl<T: Real> Reference<T> for Softmax {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (_, columns) = rows_of(&inputs[0].shape);
        for (y, x) in outputs[0].f().chunks_exact_mut(columns).zip(inputs[0].f().chunks_exact(columns)) {
            let (m, s) = stats(x);
            for k in 0..columns {
                y[k] = if self.log { (x[k] - m) - s.ln() } else { (x[k] - m).exp() / s };
            }
        }
        Ok(())
    }
}

impl<T: Real> Reference<T> for SoftmaxGrad {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (_, columns) = rows_of(&inputs[0].shape);
        let rows = inputs[0].f().chunks_exact(columns).zip(inputs[1].f().chunks_exact(columns));
        for (dx, (y, dy)) in outputs[0].f().chunks_exact_mut(columns).zip(rows) {
            if self.log {
                let total = dy.iter().fold(T::zero(), |s, &d| s + d);
                (0..columns).for_each(|k| dx[k] = dy[k] - y[k].exp() * total);
            } else {
                let dot = y.iter().zip(dy).fold(T::zero(), |s, (&y, &d)| s + d * y);
                (0..columns).for_each(|k| dx[k] = y[k] * (dy[k] - dot));
            }
        }
        Ok(())
    }
}

fn has_rows(shape: Shape) -> Result<(), String> {
    match shape.dims() {
        [] => Err("a scalar has no axis to normalize".into()),
        [.., 0] => Err(format!("{shape} has no elements to normalize")),
        _ => Ok(()),
    }
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        if self.log { "log_softmax" } else { "softmax" }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32])?;
        has_rows(inputs[0].shape)?;
        Ok(vec![inputs[0]])
    }

    fn grad<'g>(&self, Backward { outputs, upstream, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        let y = outputs[0];
        Ok(vec![upstream[0].map(|dy| y.graph.record_one(SoftmaxGrad { log: self.log }, &[y, dy]))])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let (rows, columns) = rows_of(&ctx.inputs[0].shape);
        let args = vec![Arg::Input(0), Arg::Output(0)];
        let over = OverRows { passes: 3, joins: 2, side_by_side: 64 };
        over.launch(self.name(), (rows, columns), args, &uniform! { rows, columns }, ctx)
    }

    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let (_, columns) = rows_of(&inputs[0].shape);
        let rows = inputs[0].f().chunks_exact(columns).zip(outputs[0].f().chunks_exact(columns));
        let bound = rows.flat_map(|(x, y)| {
            let (m, s) = stats(x);
            let sum = sum_units(x, m, s);
            let bound = move |(&x, &y): (&f64, &f64)| {
                let units = match self.log {
                    // The roundoffs of x - m, of the logarithm, and of their difference.
                    true => (x - m).abs() + log_units(sum, s) + y.abs(),
                    // The errors of both sides, and WGSL's 2.5 units in the last place of a quotient.
                    false => (exp_units(x - m) + sum + 5.0) * y,
                };
                // e^t below the normal numbers may be flushed.
                units * UNIT + TINY
            };
            x.iter().zip(y).map(bound).collect::<Vec<_>>()
        });
        vec![bound.collect()]
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        6 * inputs[0].shape.elements() as u64
    }

    fn traits(&self) -> Traits {
        let keeps = if self.log { Outputs::ALL } else { Outputs::default() };
        Traits::default().keeping_f32(keeps).taking_epilogues()
    }
}

impl Op for SoftmaxGrad {
    fn name(&self) -> &'static str {
        if self.log { "log_softmax_grad" } else { "softmax_grad" }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32; 2])?;
        has_rows(inputs[0].shape)?;
        if inputs[0] != inputs[1] {
            return Err(format!("the result {} and its cotangent {} differ in shape", inputs[0], inputs[1]));
        }
        Ok(vec![inputs[0]])
    }

    fn grad<'g>(&self, Backward { inputs, upstream, needed, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        let Some(u) = upstream[0] else { return Ok(vec![None; 2]) };
        let (y, dy) = (inputs[0], inputs[1]);
        let last = [y.shape().rank() - 1];
        if self.log {
            // L = u·dy - (u·e^y)(1·dy)
            let weighted = u * y.exp();
            let by_y = needed[0].then(|| -(weighted * dy.sum_keep(&last)));
            let by_dy = needed[1].then(|| u - weighted.sum_keep(&last));
            return Ok(vec![by_y, by_dy]);
        }
        // L = sum u y dy - (u·y)(dy·y)
        let by_y = needed[0].then(|| u * (dy - (dy * y).sum_keep(&last)) - dy * (u * y).sum_keep(&last));
        let by_dy = needed[1].then(|| y.graph.record_one(SoftmaxGrad { log: false }, &[y, u]));
        Ok(vec![by_y, by_dy])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let args = vec![Arg::Input(0), Arg::Input(1), Arg::Output(0)];
        let (rows, columns) = rows_of(&ctx.inputs[0].shape);
        let over = OverRows { passes: 2, joins: 1, side_by_side: 64 };
        over.launch(self.name(), (rows, columns), args, &uniform! { rows, columns }, ctx)
    }

    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let (_, columns) = rows_of(&inputs[0].shape);
        let n = columns as f64;
        let rows = inputs[0].f().chunks_exact(columns).zip(inputs[1].f().chunks_exact(columns));
        let bound = rows.zip(outputs[0].f().chunks_exact(columns)).flat_map(|((y, dy), dx)| {
            let sum: f64 = match self.log {
                true => dy.iter().map(|d| d.abs()).sum(),
                false => dy.iter().zip(y).map(|(d, y)| (d * y).abs()).sum(),
            };
            let bound = |k: usize| match self.log {
                // n - 1 additions, e^y of an exact argument, the product, the difference.
                true => {
                    let e = y[k].exp();
                    ((n + 7.0 + 4.0 * y[k].abs()) * e * sum + dx[k].abs()) * UNIT + (1.0 + sum + n * e) * TINY
                }
                // n products and n - 1 additions, then the difference and the product.
                false => {
                    let units = (n + 2.0) * sum + 2.0 * dy[k].abs();
                    y[k].abs() * (units * UNIT + n * TINY) + TINY
                }
            };
            (0..columns).map(bound).collect::<Vec<_>>()
        });
        vec![bound.collect()]
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        4 * inputs[0].shape.elements() as u64
    }

    fn traits(&self) -> Traits {
        Traits::default().taking_epilogues()
    }
}

impl<'g> Var<'g> {
    /// e^x / sum e^x along `axis`, at any magnitude of x.
    #[track_caller]
    pub fn softmax(self, axis: usize) -> Var<'g> {
        self.normalized(Softmax { log: false }, axis)
    }

    /// Logarithm of the softmax along `axis`, exact where the softmax itself would be 0.
    #[track_caller]
    pub fn log_softmax(self, axis: usize) -> Var<'g> {
        self.normalized(Softmax { log: true }, axis)
    }

    #[track_caller]
    fn normalized(self, op: Softmax, axis: usize) -> Var<'g> {
        match to_last(self, op.name(), axis) {
            Ok((x, None)) => x.graph.record_one(op, &[x]),
            Ok((x, Some(back))) => x.graph.record_one(op, &[x]).permute(&back),
            Err(poison) => poison,
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for log in [false, true] {
        for shape in [&[1][..], &[5, 1], &[1, 7], &[13, 10], &[2, 3, 5], &[3, 64]] {
            cases.push(Case::new(Softmax { log }, &[shape]));
            cases.push(Case::new(SoftmaxGrad { log }, &[shape, shape]));
        }
        for shape in [&[63, 65][..], &[65, 63], &[64, 128], &[3, 2011], &[4099, 10]] {
            cases.push(Case::new(Softmax { log }, &[shape]).no_gradient());
            cases.push(Case::new(SoftmaxGrad { log }, &[shape, shape]).no_gradient());
        }
        for (shape, values) in [
            (&[4, 7][..], vec![3.0]),
            (&[3, 6], vec![1e4, -1e4, 0.0, 1e4, -1e4, 9999.0]),
            (&[2, 130], vec![-1e4, 1e4, 9998.5]),
            (&[2, 5], vec![-100.0, -1e4, -90.0, 0.0, -87.5]),
            (&[2, 70], vec![-1e30, 1e30, 5.0]),
        ] {
            cases.push(Case::new(Softmax { log }, &[shape]).fill(0, Fillings::Given(values)).no_gradient());
        }
        // Results as softmax makes them: shares, or logarithms of shares.
        let results = if log { Fillings::Uniform(-20.0, 0.0) } else { Fillings::Uniform(0.0, 1.0) };
        cases.push(Case::new(SoftmaxGrad { log }, &[&[9, 11], &[9, 11]]).fill(0, results));
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Graph;
    use crate::ops::float;
    use crate::ops::testing::{Value, eval, gradients_agree, noise, run};

    fn close(a: &[f64], b: &[f64]) {
        assert!(a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12), "{a:?} {b:?}");
    }

    #[test]
    fn values_are_those_done_by_hand() {
        // e^x of log 1, log 2, log 5 are 1, 2, 5.
        let x = Value::F(vec![0.0, 2f64.ln(), 5f64.ln(), 1e4, 1e4, -1e4]);
        let y = eval(&Softmax { log: false }, true, &[(&[2, 3], x.clone())]).unwrap();
        close(y[0].f(), &[0.125, 0.25, 0.625, 0.5, 0.5, 0.0]);
        let y = eval(&Softmax { log: true }, true, &[(&[2, 3], x)]).unwrap();
        let two = -(2f64.ln());
        close(y[0].f(), &[3.0 * two, 2.0 * two, 0.625f64.ln(), two, two, -2e4 + two]);
        let (y, dy) = (Value::F(vec![0.25, 0.75]), Value::F(vec![1.0, 3.0]));
        let dx = eval(&SoftmaxGrad { log: false }, true, &[(&[2], y), (&[2], dy.clone())]).unwrap();
        close(dx[0].f(), &[0.25 * (1.0 - 2.5), 0.75 * (3.0 - 2.5)]);
        let y = Value::F(vec![0.25f64.ln(), 0.75f64.ln()]);
        let dx = eval(&SoftmaxGrad { log: true }, true, &[(&[2], y), (&[2], dy)]).unwrap();
        close(dx[0].f(), &[0.0, 0.0]);
    }

    #[test]
    fn gradients_of_gradients_are_the_differences() {
        let inputs: [(&[usize], Vec<f64>); 2] = [(&[2, 4], noise(8, 3)), (&[2, 4], noise(8, 4))];
        gradients_agree(&inputs, |x| (x[0].softmax(1) * x[1]).sum_all());
        gradients_agree(&inputs, |x| (x[0].log_softmax(1) * x[1]).sum_all());
        gradients_agree(&inputs, |x| (x[0].softmax(0) * x[1]).square().sum_all());
        for log in [false, true] {
            gradients_agree(&inputs, |x| {
                x[0].graph.record_one(SoftmaxGrad { log }, &[x[0], x[1]]).square().sum_all()
            });
        }
    }

    #[test]
    fn any_axis_can_be_normalized() {
        let g = Graph::new();
        let x = g.input("x", [2, 3, 2]);
        let (y, z) = (x.softmax(0), x.log_softmax(1));
        assert_eq!((y.shape(), z.shape()), (x.shape(), x.shape()));
        let sums = [y.sum(&[0]), z.exp().sum(&[1])];
        for sum in run(&g, &[Value::F(noise(12, 5))], &sums) {
            close(&sum, &vec![1.0; sum.len()]);
        }
        x.log_softmax(3);
        assert!(g.error().unwrap().to_string().contains("log_softmax: there is no axis 3 in [2, 3, 2]"));
    }

    #[test]
    fn what_cannot_be_normalized_is_refused() {
        let op = Softmax { log: false };
        assert!(op.infer(&[float(&[])]).unwrap_err().contains("scalar"));
        assert!(op.infer(&[float(&[3, 0])]).unwrap_err().contains("no elements"));
        assert!(op.infer(&[TensorType::u32(float(&[3]).shape)]).unwrap_err().contains("must be f32"));
        let grad = SoftmaxGrad { log: true };
        assert!(grad.infer(&[float(&[3]), float(&[4])]).unwrap_err().contains("differ in shape"));
    }
}
