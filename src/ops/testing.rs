//! Evaluation of ops and recordings in f64, for the tests of ops.

use super::{In, Op, Out, Real, float};
use crate::graph::{Graph, Source, Var};
use crate::host::Buffer;
use crate::rng::philox;
use crate::shape::{DType, TensorType};

/// Elements of a tensor.
pub(super) type Value = Buffer<f64>;

impl Value {
    pub(super) fn f(&self) -> &[f64] {
        if let Value::F(v) = self { v } else { &[] }
    }

    fn dtype(&self) -> DType {
        match self {
            Value::F(_) => DType::F32,
            Value::U32(_) => DType::U32,
            Value::U8(_) => DType::U8,
        }
    }
}

/// Numbers in -2..2 that depend on nothing but `n` and `seed`, exact in f32.
pub(super) fn noise(n: usize, seed: u32) -> Vec<f64> {
    let number = |i: usize| f64::from(philox([i as u32, 0, 0, 0], [seed, 0])[0] >> 8) / f64::from(1 << 22);
    (0..n).map(|i| number(i) - 2.0).collect()
}

/// Runs an op's reference; `inputs` ends with the old values of the states that it updates.
pub(super) fn eval(op: &dyn Op, plain: bool, inputs: &[(&[usize], Value)]) -> Result<Vec<Value>, String> {
    let ty = |(dims, v): &(&[usize], Value)| TensorType { dtype: v.dtype(), shape: float(dims).shape };
    let types: Vec<TensorType> = inputs.iter().map(ty).collect();
    let out_types = op.infer(&types)?;
    let (reads, states) = inputs.split_at(inputs.len() - op.writes());
    let views: Vec<In<'_, f64>> = reads.iter().zip(&types).map(|((_, v), ty)| v.input(ty)).collect();
    let results = &out_types[..out_types.len() - op.writes()];
    let mut values: Vec<Value> =
        results.iter().map(|ty| Value::zeros(ty.dtype, ty.shape.elements())).collect();
    values.extend(states.iter().map(|(_, v)| v.clone()));
    let mut outs: Vec<Out<'_, f64>> = values.iter_mut().zip(&out_types).map(|(v, ty)| v.output(ty)).collect();
    f64::eval(op, plain, &views, &mut outs)?;
    Ok(values)
}

/// Evaluates a graph without states in f64, given its inputs in order of recording.
pub(super) fn run(graph: &Graph, inputs: &[Value], of: &[Var<'_>]) -> Vec<Vec<f64>> {
    assert!(graph.error().is_none(), "{:?}", graph.error());
    let recording = graph.inner.borrow();
    let mut values: Vec<Option<Value>> = vec![None; recording.values.len()];
    for (id, info) in recording.values.iter().enumerate() {
        match info.source {
            Source::Input(i) => values[id] = Some(inputs[i].clone()),
            Source::Constant(i) => {
                let all = recording.constants[i].0.as_f32();
                values[id] = Some(Value::F(all.iter().map(|&x| x.into()).collect()));
            }
            _ => {}
        }
    }
    for node in &recording.nodes {
        let arguments: Vec<(&[usize], Value)> = node
            .inputs
            .iter()
            .map(|&i| (recording.values[i as usize].ty.shape.dims(), values[i as usize].clone().unwrap()))
            .collect();
        let results = eval(&*node.op, true, &arguments).unwrap();
        for (&id, result) in node.outputs.iter().zip(results) {
            values[id as usize] = Some(result);
        }
    }
    of.iter().map(|v| values[v.id as usize].clone().unwrap().f().to_vec()).collect()
}

/// Compares the gradient of a scalar of float inputs, and the gradient of a function of that
/// gradient, with central differences.
pub(super) fn gradients_agree(
    inputs: &[(&[usize], Vec<f64>)],
    build: impl for<'g> Fn(&[Var<'g>]) -> Var<'g>,
) {
    let graph = Graph::new();
    let names: Vec<String> = (0..inputs.len()).map(|i| format!("x{i}")).collect();
    let vars: Vec<Var<'_>> = names.iter().zip(inputs).map(|(n, (dims, _))| graph.input(n, *dims)).collect();
    let first = build(&vars);
    let first_gradients = graph.gradients(first, &vars);
    // Not linear in the gradient: its plain sum is often a constant.
    let second =
        first_gradients.iter().fold(graph.scalar(0.0), |sum, v| sum + (v.square() * 0.5 + *v).sum_all());
    let second_gradients = graph.gradients(second, &vars);
    let at = |values: &[Vec<f64>], of: &[Var<'_>]| {
        let values: Vec<Value> = values.iter().cloned().map(Value::F).collect();
        run(&graph, &values, of)
    };
    let values: Vec<Vec<f64>> = inputs.iter().map(|i| i.1.clone()).collect();
    for (scalar, gradients) in [(first, first_gradients), (second, second_gradients)] {
        let gradients = at(&values, &gradients);
        for (k, gradient) in gradients.iter().enumerate() {
            for (i, analytic) in gradient.iter().enumerate() {
                let step = 1e-5;
                let moved = |by: f64| {
                    let mut values = values.clone();
                    values[k][i] += by;
                    at(&values, &[scalar])[0][0]
                };
                let numeric = (moved(step) - moved(-step)) / (2.0 * step);
                let off = (numeric - analytic).abs();
                assert!(off < 1e-6 * (1.0 + analytic.abs()), "input {k} [{i}]: {numeric} {analytic}");
            }
        }
    }
}
