//! Several ops computed by one kernel. The planner makes them, users do not record them.

use std::sync::Arc;

use super::elementwise::{Operand, is_literal};
use super::{
    Chain, Fusion, In, KernelContext, Op, Out, Outputs, Program, Real, Reference, Slice, SliceMut, TINY,
    Traits, Trial, View, elementwise,
};
use crate::error::Result;
use crate::host::Buffer;
use crate::shape::TensorType;

/// Elementwise ops in a row, over one shape; perhaps after another op, whose first output they go on with.
///
/// Takes the inputs of that op, then those of the chain. Gives the results of some steps; after another op that of the
/// last, and then the other's further outputs.
#[derive(Clone)]
pub(crate) struct Fused {
    root: Option<Arc<dyn Op>>,
    /// Types of the inputs of the root, and of its outputs.
    root_inputs: Vec<TensorType>,
    root_outputs: Vec<TensorType>,
    chain: Chain,
    results: Vec<usize>,
}

/// What the root gives, and what the steps give.
struct Values<T> {
    root: Vec<Buffer<T>>,
    steps: Vec<Vec<T>>,
}

impl Fused {
    /// Elementwise ops alone.
    pub(crate) fn chain(chain: Chain, results: Vec<usize>) -> Self {
        let (root_inputs, root_outputs) = (Vec::new(), Vec::new());
        Fused { root: None, root_inputs, root_outputs, chain, results }
    }

    /// Elementwise ops after `root`.
    pub(crate) fn after(
        root: Arc<dyn Op>,
        inputs: Vec<TensorType>,
        outputs: Vec<TensorType>,
        chain: Chain,
    ) -> Self {
        let results = vec![chain.steps.len().saturating_sub(1)];
        let root = Some(root);
        Fused { root, root_inputs: inputs, root_outputs: outputs, chain, results }
    }

    /// What its kernels are asked for, where there is a root.
    fn of_root<'a>(&'a self, ctx: &KernelContext<'a>) -> KernelContext<'a> {
        KernelContext::new(ctx.caps, &ctx.inputs[..self.root_inputs.len()], &self.root_outputs)
            .fusing(Fusion { prologue: None, epilogue: Some(&self.chain) })
    }

    /// How far off each output of the root may be.
    fn root_bounds(&self, inputs: &[In<'_, f64>], values: &Values<f64>) -> Vec<Vec<f64>> {
        let Some(op) = &self.root else { return vec![Vec::new()] };
        let outs: Vec<In<'_, f64>> =
            values.root.iter().zip(&self.root_outputs).map(|(v, ty)| v.input(ty)).collect();
        op.error_bound(&inputs[..self.root_inputs.len()], &outs)
    }

    /// Whether the kernels can compute it.
    pub(crate) fn is_possible(chain: &Chain) -> bool {
        let constants = chain.steps.iter().flat_map(|s| &s.args).filter_map(|a| match a {
            Operand::Constant(c) => Some(*c),
            _ => None,
        });
        let attributes = chain.steps.iter().filter_map(|s| s.op.pointwise()).flat_map(|f| f.attributes());
        chain.inputs.len() <= Chain::MOST_INPUTS && constants.chain(attributes).all(is_literal)
    }

    /// All values in between.
    fn values<T: Real>(&self, plain: bool, inputs: &[In<'_, T>]) -> Result<Values<T>, String> {
        let (own, extra) = inputs.split_at(self.root_inputs.len());
        let zeros = |ty: &TensorType| Buffer::zeros(ty.dtype, ty.shape.elements());
        let mut root: Vec<Buffer<T>> = self.root_outputs.iter().map(zeros).collect();
        if let Some(op) = &self.root {
            let mut outs: Vec<Out<'_, T>> =
                root.iter_mut().zip(&self.root_outputs).map(|(v, ty)| v.output(ty)).collect();
            T::eval(&**op, plain, own, &mut outs)?;
        }
        let mut steps: Vec<Vec<T>> = Vec::new();
        let shape = self.chain.shape;
        for step in &self.chain.steps {
            let constants: Vec<[T; 1]> = step
                .args
                .iter()
                .map(|a| [if let Operand::Constant(c) = a { T::of(f64::from(*c)) } else { T::zero() }])
                .collect();
            let arguments: Vec<In<'_, T>> = step
                .args
                .iter()
                .zip(&constants)
                .map(|(a, constant)| match a {
                    // Perhaps under another shape.
                    Operand::Root => In { shape, data: root[0].input(&self.root_outputs[0]).data },
                    Operand::Input(i) => extra[*i],
                    Operand::Step(i) => In { shape, data: Slice::F(&steps[*i]) },
                    Operand::Constant(_) => In { shape: crate::Shape::scalar(), data: Slice::F(constant) },
                })
                .collect();
            let mut y = vec![T::zero(); shape.elements()];
            T::eval(&*step.op, plain, &arguments, &mut [Out { shape, data: SliceMut::F(&mut y) }])?;
            steps.push(y);
        }
        Ok(Values { root, steps })
    }

    fn write<T: Real>(&self, values: &Values<T>, outputs: &mut [Out<'_, T>]) {
        let (of_steps, of_root) = outputs.split_at_mut(self.results.len());
        for (out, &step) in of_steps.iter_mut().zip(&self.results) {
            out.f().copy_from_slice(&values.steps[step]);
        }
        for (out, from) in of_root.iter_mut().zip(values.root.iter().skip(1)) {
            match (&mut out.data, from) {
                (SliceMut::F(to), Buffer::F(from)) => to.copy_from_slice(from),
                (SliceMut::U32(to), Buffer::U32(from)) => to.copy_from_slice(from),
                (SliceMut::U8(to), Buffer::U8(from)) => to.copy_from_slice(from),
                // Both were made for one type.
                _ => {}
            }
        }
    }

    /// For every step, how far off rounding may be: its own, and what its arguments' errors make of its result.
    fn step_bounds(&self, inputs: &[In<'_, f64>], values: &Values<f64>, root: &[f64]) -> Vec<Vec<f64>> {
        let extra = &inputs[self.root_inputs.len()..];
        let shape = self.chain.shape;
        let mut bounds: Vec<Vec<f64>> = Vec::new();
        for (s, step) in self.chain.steps.iter().enumerate() {
            let Some(f) = step.op.pointwise() else { continue };
            let n = shape.elements();
            let (mut x, mut e) = (vec![[0.0; 3]; n], vec![[0.0; 3]; n]);
            for (k, a) in step.args.iter().enumerate() {
                match a {
                    Operand::Root => {
                        let Buffer::F(v) = &values.root[0] else { continue };
                        (0..n).for_each(|i| (x[i][k], e[i][k]) = (v[i], root[i]));
                    }
                    Operand::Step(j) => {
                        (0..n).for_each(|i| (x[i][k], e[i][k]) = (values.steps[*j][i], bounds[*j][i]));
                    }
                    Operand::Input(j) => {
                        let strides = extra[*j].shape.broadcast_strides(&shape);
                        let v = extra[*j].f();
                        View::strided(&shape, &strides, 0).each(|at, from| {
                            x[at][k] = v[from];
                        });
                    }
                    Operand::Constant(c) => x.iter_mut().for_each(|x| x[k] = f64::from(*c)),
                }
            }
            let of = |i: usize| spread(f, x[i], e[i], values.steps[s][i]);
            bounds.push((0..n).map(of).collect());
        }
        bounds
    }
}

/// The error of f(x) where x is off by up to `e`: the formula's own, and the most that f changes at the corners of
/// x ± e, which is the most it changes at all where f is monotonic in each argument.
fn spread(f: &dyn elementwise::Pointwise, x: [f64; 3], e: [f64; 3], y: f64) -> f64 {
    let mut worst = f.bound(x, y);
    if e == [0.0; 3] {
        // An exact zero stays one: a condition that were off by the least would choose the other branch.
        return if worst == 0.0 && y == 0.0 { 0.0 } else { worst + TINY };
    }
    let mut change = 0.0f64;
    for corner in 0..27 {
        let sign = |k: usize| [0.0, 1.0, -1.0][corner / [1, 3, 9][k] % 3];
        let at = [0, 1, 2].map(|k| x[k] + sign(k) * e[k]);
        let there = f.value(at);
        change = change.max((there - y).abs());
        worst = worst.max(f.bound(at, there));
    }
    // Equality is found at no corner.
    let close = (x[0] - x[1]).abs() <= e[0] + e[1];
    if f.tells_equality() && close {
        change = 1.0;
    }
    // An exact zero stays one here too, as a condition that no error turns.
    if worst + change == 0.0 && y == 0.0 { 0.0 } else { worst + change + TINY }
}

impl std::fmt::Debug for Fused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let steps = self.chain.steps.iter().map(|s| &s.op);
        for (i, op) in self.root.iter().chain(steps).enumerate() {
            let plus = if i > 0 { " + " } else { "" };
            write!(f, "{plus}{op:?}")?;
        }
        Ok(())
    }
}

impl<T: Real> Reference<T> for Fused {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        self.write(&self.values(true, inputs)?, outputs);
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        self.write(&self.values(false, inputs)?, outputs);
        Ok(())
    }
}

impl Op for Fused {
    fn name(&self) -> &'static str {
        "fused"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        let expected = self.root_inputs.len() + self.chain.inputs.len();
        let extra = inputs.get(self.root_inputs.len()..).unwrap_or_default();
        let shapes = extra.iter().map(|i| i.shape).collect::<Vec<_>>();
        if inputs.len() != expected || !inputs.starts_with(&self.root_inputs) || shapes != self.chain.inputs {
            return Err(format!("takes the {expected} inputs it was made for"));
        }
        let mut outputs = vec![TensorType::f32(self.chain.shape); self.results.len()];
        outputs.extend(self.root_outputs.iter().skip(1));
        Ok(outputs)
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let Some(root) = &self.root else {
            return elementwise::program("fused", &self.chain, &self.results, ctx.caps);
        };
        root.dispatch(&self.of_root(ctx))
    }

    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let Ok(values) = self.values(false, inputs) else {
            return outputs.iter().map(|o| vec![0.0; o.shape.elements()]).collect();
        };
        let mut root = self.root_bounds(inputs, &values);
        let steps = self.step_bounds(inputs, &values, &root[0]);
        let mut bounds: Vec<Vec<f64>> = self.results.iter().map(|&s| steps[s].clone()).collect();
        bounds.extend(root.drain(1..));
        bounds
    }

    fn trial(&self, inputs: &[TensorType]) -> Option<Trial> {
        self.root.as_ref()?.trial(&inputs[..self.root_inputs.len()])
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        let own = &inputs[..self.root_inputs.len()];
        let root = self.root.as_ref().map_or(0, |op| op.flops(own, &self.root_outputs));
        root + (self.chain.steps.len() * self.chain.shape.elements()) as u64
    }

    fn traits(&self) -> Traits {
        let of_root = self.root.as_ref().map(|op| op.traits().keeps_f32).unwrap_or_default();
        let of_step = |step: usize| self.chain.steps[step].op.traits().keeps_f32.has(0);
        let keeps = Outputs::of(|i| self.results.get(i).map_or(of_root.has(i), |&step| of_step(step)));
        Traits::default().keeping_f32(keeps)
    }
}
