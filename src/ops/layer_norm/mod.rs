//! Layer normalization: every row by itself. Kernels: `shaders/layer_norm.wgsl`.

mod cases;
mod grad;

pub(super) use cases::cases;
use grad::LayerNormGrad;

use super::batch_norm::{Layout, moment_bounds, moments, normalized_bound, root_bound};
use super::elementwise::Around;
use super::softmax::rows_of;
use super::{
    AdapterClass, Arg, Backward, Dispatch, Gradients, In, KernelContext, Op, Out, Outputs, Program, Real,
    Reference, Traits, Uniform, uniform,
};
use super::{TINY, expect};
use crate::error::Result;
use crate::graph::Var;
use crate::host::threads;
use crate::shape::{DType, Shape, TensorType};

/// y = (x - mean) r · weight + bias, with r = 1/√(variance + eps) and the mean and the biased variance of each row,
/// that is along the last axis: Ba, Kiros and Hinton, arXiv:1607.06450, section 3. Takes x `[.., width]`, weight and
/// bias `[width]`; gives y as x, and mean and r `[..]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LayerNorm {
    pub(crate) eps: f32,
}

/// How kernels go over x.
#[derive(Debug, Clone, Copy)]
struct RowPass {
    rows: usize,
    width: usize,
    /// A workgroup for each row, else an invocation.
    in_workgroup: bool,
}

impl RowPass {
    fn new(ctx: &KernelContext<'_>) -> Self {
        let (rows, width) = rows_of(&ctx.inputs[0].shape);
        let in_workgroup = match ctx.caps.class {
            AdapterClass::Gpu => width >= 64,
            // Where invocations would be too few to be shared among threads.
            AdapterClass::Software | AdapterClass::SoftwareLanes8 => rows < 64 && width >= 2048,
        };
        let walk = RowPass { rows, width, in_workgroup };
        RowPass { in_workgroup: in_workgroup || !ctx.caps.allows(walk.loop_iterations()), ..walk }
    }

    /// Loop iterations along a row, for the forward or the backward direction: both go over it twice, and put together
    /// at most two things that 64 invocations found.
    fn loop_iterations(self) -> usize {
        let lanes = if self.in_workgroup { 64 } else { 1 };
        2 * self.units().div_ceil(lanes) + 3 + 2 * 6
    }

    fn is_vec4(self) -> bool {
        self.width.is_multiple_of(4)
    }

    /// The width in what kernels count.
    fn units(self) -> usize {
        if self.is_vec4() { self.width / 4 } else { self.width }
    }

    /// Workgroups that the rows take.
    fn workgroups(self) -> usize {
        if self.in_workgroup { self.rows } else { self.rows.div_ceil(64) }
    }

    /// The form of an entry point.
    fn entry(self, name: &str) -> String {
        let kind = if self.in_workgroup { "workgroup" } else { "rows" };
        format!("{name}_{kind}{}", if self.is_vec4() { "_vec4" } else { "" })
    }

    /// A launch that goes on with what follows.
    fn launch(
        self,
        name: &str,
        mut args: Vec<Arg>,
        params: &Uniform,
        workgroups: usize,
        iterations: usize,
        ctx: &KernelContext<'_>,
    ) -> Result<Dispatch> {
        args.extend(ctx.epilogue_args());
        let kernel = Around::after(ctx.fusion.epilogue, self.is_vec4()).kernel(&self.entry(name))?;
        Ok(ctx.launch(kernel, args, params, workgroups)?.loop_iterations(iterations))
    }
}

/// Rows and width of x, if it has rows and all of `others` are one number per column.
fn check(x: TensorType, others: &[TensorType]) -> Result<(), String> {
    let Some(&width) = x.shape.dims().last() else { return Err("a scalar has no axis to normalize".into()) };
    if width == 0 {
        return Err(format!("{} has no elements to normalize", x.shape));
    }
    match others.iter().find(|t| t.shape.dims() != [width]) {
        Some(other) => Err(format!("{width} columns need a value each, [{width}], got {}", other.shape)),
        None => Ok(()),
    }
}

/// Without the last axis.
fn per_row_shape(x: &Shape) -> Shape {
    let dims = x.dims();
    Shape::new(&dims[..dims.len().saturating_sub(1)]).unwrap_or_else(Shape::scalar)
}

/// `[..]` as `[.., 1]`, to be broadcast over x.
fn per_row(v: Var<'_>) -> Var<'_> {
    let dims = [v.shape().dims(), &[1]].concat();
    v.reshape(dims.as_slice())
}

impl<T: Real> Reference<T> for LayerNorm {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (rows, width) = rows_of(&inputs[0].shape);
        let layout = Layout::rows(rows, width);
        let (x, weight, bias) = (inputs[0].f(), inputs[1].f(), inputs[2].f());
        let [y, means, deviations] = outputs else { return Err("gives y, mean and deviation".into()) };
        let (y, means, deviations) = (y.f(), means.f(), deviations.f());
        for row in 0..rows {
            let (mean, variance) = moments(x, layout, row);
            let r = (variance + T::of(f64::from(self.eps))).sqrt().recip();
            for (k, i) in layout.elements(row).enumerate() {
                y[i] = (x[i] - mean) * r * weight[k] + bias[k];
            }
            (means[row], deviations[row]) = (mean, r);
        }
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (rows, width) = rows_of(&inputs[0].shape);
        let (x, weight, bias) = (inputs[0].f(), inputs[1].f(), inputs[2].f());
        let [y, means, deviations] = outputs else { return Err("gives y, mean and deviation".into()) };
        let (y, means, deviations) = (y.f(), means.f(), deviations.f());
        Layout::rows(rows, width).moments(x, means, deviations);
        let eps = T::of(f64::from(self.eps));
        deviations.iter_mut().for_each(|d| *d = (*d + eps).sqrt().recip());
        let (means, deviations) = (&*means, &*deviations);
        threads::runs(y, width, 1, |first, y| {
            let row = first / width;
            let rows = y.chunks_exact_mut(width).zip(x[first..].chunks_exact(width));
            for ((y, x), (&mean, &r)) in rows.zip(means[row..].iter().zip(&deviations[row..])) {
                let of = x.iter().zip(weight).zip(bias);
                y.iter_mut().zip(of).for_each(|(y, ((&x, &w), &b))| *y = (x - mean) * r * w + b);
            }
        });
        Ok(())
    }
}

impl Op for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32; 3])?;
        if !(self.eps.is_finite() && self.eps > 0.0) {
            return Err(format!("eps must be a number above 0, got {}", self.eps));
        }
        check(inputs[0], &inputs[1..])?;
        let per_row = TensorType::f32(per_row_shape(&inputs[0].shape));
        Ok(vec![inputs[0], per_row, per_row])
    }

    fn grad<'g>(&self, Backward { inputs, outputs, upstream, needed }: Backward<'_, 'g>) -> Gradients<'g> {
        let (x, weight, mean, r) = (inputs[0], inputs[1], outputs[1], outputs[2]);
        let mut gradients = match upstream[0] {
            Some(dy) => {
                dy.graph().record(LayerNormGrad, &[x, weight, mean, r, dy]).into_iter().map(Some).collect()
            }
            None => vec![None; 3],
        };
        if !needed[0] {
            return Ok(gradients);
        }
        // What is made of mean and r themselves: d mean / dx = 1/m, d r / dx = -r³ (x - mean) / m.
        let (_, width) = rows_of(&x.shape());
        let share = 1.0 / width as f32;
        let mut add = |part: Var<'g>| gradients[0] = Some(gradients[0].map_or(part, |sum| sum + part));
        if let Some(dmean) = upstream[1] {
            add(per_row(dmean * share).broadcast_to(x.shape().dims()));
        }
        if let Some(dr) = upstream[2] {
            add((x - per_row(mean)) * per_row(dr * (r * r.square()) * -share));
        }
        Ok(gradients)
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let walk = RowPass::new(ctx);
        let params = uniform! { rows: walk.rows, width: walk.units(), eps: self.eps };
        let mut args: Vec<Arg> = (0..3).map(Arg::Input).collect();
        args.extend((0..3).map(Arg::Output));
        Ok(walk.launch("layer_norm", args, &params, walk.workgroups(), walk.loop_iterations(), ctx)?.into())
    }

    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let (rows, width) = rows_of(&inputs[0].shape);
        let layout = Layout::rows(rows, width);
        let (x, weight, bias) = (inputs[0].f(), inputs[1].f(), inputs[2].f());
        let mut bounds = vec![vec![0.0; x.len()], Vec::new(), Vec::new()];
        for row in 0..rows {
            let (mean, variance) = moments(x, layout, row);
            let (mean_error, variance_error) = moment_bounds(x, layout, row, mean, variance);
            let root = root_bound(variance, variance_error, f64::from(self.eps));
            let r = outputs[2].f()[row];
            for (k, i) in layout.elements(row).enumerate() {
                bounds[0][i] = normalized_bound(x[i] - mean, weight[k] * r, bias[k], root, mean_error);
            }
            bounds[1].push(mean_error);
            bounds[2].push(r * root + TINY);
        }
        bounds
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        8 * inputs[0].shape.elements() as u64
    }

    fn traits(&self) -> Traits {
        Traits::default().keeping_f32(Outputs::OTHERS).taking_epilogues()
    }
}

impl<'g> Var<'g> {
    /// Normalizes every row, that is along the last axis of `[.., width]`, to mean 0 and variance 1, then scales by
    /// `weight` and adds `bias`, both `[width]` (Ba, Kiros and Hinton, arXiv:1607.06450, section 3). The variance is
    /// the biased one, and `eps` is added to it.
    #[track_caller]
    pub fn layer_norm(self, weight: Var<'g>, bias: Var<'g>, eps: f32) -> Var<'g> {
        self.graph.record(LayerNorm { eps }, &[self, weight, bias])[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Caps;
    use crate::ops::testing::{Value, gradients_agree, noise, run};
    use crate::{Device, Graph};

    #[test]
    fn the_example_of_the_definition() {
        let g = Graph::new();
        let y = g.input("x", [2, 4]).layer_norm(g.input("w", [4]), g.input("b", [4]), 1e-12);
        g.output("y", y);
        let mut step = Device::reference().compile(&g).unwrap();
        // Mean 4 and variance 5; a constant row.
        let x = [1.0, 3.0, 5.0, 7.0, 2.0, 2.0, 2.0, 2.0];
        let (w, b) = ([1.0, 1.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.5]);
        step.run_with(&[("x", (&x).into()), ("w", (&w).into()), ("b", (&b).into())]).unwrap();
        let s = 5f32.sqrt();
        let expected = [-3.0 / s, -1.0 / s, 2.0 / s, 3.0 / s + 0.5, 0.0, 0.0, 0.0, 0.5];
        let y = step.values("y").unwrap();
        assert!(y.iter().zip(expected).all(|(y, e)| (y - e).abs() < 1e-6), "{y:?}");
    }

    #[test]
    fn it_and_its_gradients_are_what_the_formula_gives_op_by_op() {
        let g = Graph::new();
        let (x, w, b) = (g.input("x", [2, 3, 4]), g.input("w", [4]), g.input("b", [4]));
        let dy = g.input("dy", [2, 3, 4]);
        let centred = x - x.mean_keep(&[2]);
        let composed = centred / (centred.square().mean_keep(&[2]) + 1e-3).sqrt() * w + b;
        let mut found = Vec::new();
        for y in [x.layer_norm(w, b, 1e-3), composed] {
            found.extend([vec![y], g.gradients((y * dy).sum_all(), &[x, w, b])].concat());
        }
        let feed = [noise(24, 1), noise(4, 2), noise(4, 3), noise(24, 4)].map(Value::F);
        let values = run(&g, &feed, &found);
        for (a, b) in values[..4].iter().flatten().zip(values[4..].iter().flatten()) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
        assert_eq!(values.iter().map(Vec::len).collect::<Vec<_>>(), [24, 24, 4, 4, 24, 24, 4, 4]);
    }

    #[test]
    fn second_derivatives_flow_through_the_statistics() {
        let inputs = [(&[3, 4][..], noise(12, 1)), (&[4][..], noise(4, 2)), (&[4][..], noise(4, 3))];
        gradients_agree(&inputs, |v| v[0].layer_norm(v[1], v[2], 1e-3).tanh().sum_all());
        gradients_agree(&inputs, |v| {
            let loss = v[0].layer_norm(v[1], v[2], 1e-2).tanh().sum_all();
            let gradients = v[0].graph.gradients(loss, &v[..2]);
            gradients[0].square().sum_all() + gradients[1].square().sum_all()
        });
    }

    #[test]
    fn kernels_suit_the_adapter_and_sums_are_cut_only_where_it_helps() {
        let programs = |class, rows: usize, width: usize| {
            let caps = Caps::default_of(class);
            let (x, w, r) = (super::super::float(&[rows, width]), [width], [rows]);
            let (w, r) = (super::super::float(&w), super::super::float(&r));
            let (forward, backward) = ([x, w, w], [x, w, r, r, x]);
            let run = |op: &dyn Op, inputs: &[TensorType]| {
                let outputs = op.infer(inputs).unwrap();
                let ctx = KernelContext::new(&caps, inputs, &outputs);
                op.dispatch(&ctx).unwrap().dispatches
            };
            let forward = run(&LayerNorm { eps: 1e-5 }, &forward);
            let backward = run(&LayerNormGrad, &backward);
            assert!(forward.len() == 1 && forward.iter().chain(&backward).all(|d| d.args.len() <= 8));
            (forward[0].kernel.entry.clone(), backward.len())
        };
        let (gpu, software) = (AdapterClass::Gpu, AdapterClass::SoftwareLanes8);
        assert_eq!(programs(software, 512, 128), ("layer_norm_rows_vec4".into(), 1));
        assert_eq!(programs(software, 3, 4097), ("layer_norm_workgroup".into(), 1));
        assert_eq!(programs(software, 1 << 16, 16), ("layer_norm_rows_vec4".into(), 2));
        assert_eq!(programs(gpu, 512, 128), ("layer_norm_workgroup_vec4".into(), 2));
        assert_eq!(programs(gpu, 64, 30), ("layer_norm_rows".into(), 1));
        assert_eq!(programs(gpu, 64, 1 << 20), ("layer_norm_workgroup_vec4".into(), 1));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let message = |x: &[usize], w: &[usize], eps| {
            let g = Graph::new();
            g.input("x", x).layer_norm(g.input("w", w), g.input("b", w), eps);
            g.error().map_or_else(String::new, |e| e.to_string())
        };
        assert!(message(&[], &[1], 1e-5).contains("a scalar has no axis"));
        assert!(message(&[4, 3], &[4], 1e-5).contains("3 columns need a value each, [3], got [4]"));
        assert!(message(&[4, 3], &[3], f32::NAN).contains("eps must be a number above 0"));
        assert!(message(&[3], &[3], 1e-5).is_empty());
    }
}
