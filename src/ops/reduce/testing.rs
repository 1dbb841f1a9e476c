//! Evaluation of ops and recordings in f64, for the tests of ops.

use crate::graph::{Graph, Source, Var};
use crate::ops::{Case, Fillings, In, Op, Out, Real, Slice, SliceMut, TINY};
use crate::rng::philox;
use crate::shape::{DType, Shape, TensorType};

/// Elements of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::ops) enum Value {
    F(Vec<f64>),
    U32(Vec<u32>),
}

impl Value {
    pub(in crate::ops) fn f(&self) -> &[f64] {
        if let Value::F(v) = self { v } else { &[] }
    }
}

/// Numbers in -2..2 that depend on nothing but `n` and `seed`, exact in f32.
pub(in crate::ops) fn noise(n: usize, seed: u32) -> Vec<f64> {
    let number = |i: usize| f64::from(philox([i as u32, 0, 0, 0], [seed, 0])[0] >> 8) / f64::from(1 << 22);
    (0..n).map(|i| number(i) - 2.0).collect()
}

fn fill(ty: &TensorType, filling: &Fillings, seed: u32) -> Value {
    let n = ty.shape.elements();
    let whole = |m: u32| noise(n, seed).into_iter().map(move |x| ((x + 2.0) * f64::from(m) / 4.0) as u32);
    let floats: Vec<f64> = match filling {
        Fillings::Given(values) => values.iter().copied().cycle().take(n).collect(),
        Fillings::Whole(m) => whole(*m).map(f64::from).collect(),
        _ => noise(n, seed),
    };
    match ty.dtype {
        DType::F32 => Value::F(floats.into_iter().map(|x| f64::from(x as f32)).collect()),
        _ => Value::U32(floats.into_iter().map(|x| x as u32).collect()),
    }
}

/// Runs an op's reference in one precision.
pub(in crate::ops) fn eval<T: Real>(
    op: &dyn Op,
    plain: bool,
    inputs: &[(&[usize], Value)],
) -> Result<Vec<Value>, String> {
    let shapes: Vec<Shape> = inputs.iter().map(|(dims, _)| Shape::new(dims).unwrap()).collect();
    let types: Vec<TensorType> = inputs
        .iter()
        .zip(&shapes)
        .map(|((_, v), &s)| match v {
            Value::F(_) => TensorType::f32(s),
            Value::U32(_) => TensorType::u32(s),
        })
        .collect();
    let rounded: Vec<Vec<T>> =
        inputs.iter().map(|(_, v)| v.f().iter().map(|&x| T::of(x)).collect()).collect();
    let views: Vec<In<'_, T>> = inputs
        .iter()
        .zip(&shapes)
        .zip(&rounded)
        .map(|(((_, v), &shape), floats)| match v {
            Value::F(_) => In { shape, data: Slice::F(floats) },
            Value::U32(v) => In { shape, data: Slice::U32(v) },
        })
        .collect();
    let out_types = op.infer(&types)?;
    let mut floats: Vec<Vec<T>> = out_types.iter().map(|t| vec![T::of(777.0); t.shape.elements()]).collect();
    let mut words: Vec<Vec<u32>> = out_types.iter().map(|t| vec![777; t.shape.elements()]).collect();
    let mut outs: Vec<Out<'_, T>> = out_types
        .iter()
        .zip(floats.iter_mut().zip(&mut words))
        .map(|(t, (f, u))| match t.dtype {
            DType::F32 => Out { shape: t.shape, data: SliceMut::F(f) },
            _ => Out { shape: t.shape, data: SliceMut::U32(u) },
        })
        .collect();
    T::eval(op, plain, &views, &mut outs)?;
    let value = |(t, (f, u)): (&TensorType, (Vec<T>, Vec<u32>))| match t.dtype {
        DType::F32 => Value::F(f.into_iter().map(Real::wide).collect()),
        _ => Value::U32(u),
    };
    Ok(out_types.iter().zip(floats.into_iter().zip(words)).map(value).collect())
}

/// Compares both precisions of both paths with the plain f64 formula, within the op's own bound.
pub(in crate::ops) fn fast_is_plain(cases: &[Case]) {
    for case in cases {
        let inputs: Vec<(&[usize], Value)> = case
            .inputs
            .iter()
            .zip(0..)
            .map(|((ty, filling), seed)| (ty.shape.dims(), fill(ty, filling, seed)))
            .collect();
        let truth = eval::<f64>(&*case.op, true, &inputs).unwrap();
        let bounds = bounds(case, &inputs, &truth);
        let others = [
            (eval::<f64>(&*case.op, false, &inputs).unwrap(), 1e-6),
            (eval::<f32>(&*case.op, true, &inputs).unwrap(), 1.0),
            (eval::<f32>(&*case.op, false, &inputs).unwrap(), 1.0),
        ];
        for (other, share) in others {
            for ((truth, other), bound) in truth.iter().zip(&other).zip(&bounds) {
                let (Value::F(truth), Value::F(other)) = (truth, other) else {
                    assert_eq!(truth, other, "{}", case.name);
                    continue;
                };
                for (i, ((t, o), b)) in truth.iter().zip(other).zip(bound).enumerate() {
                    // Infinities of one sign, and NaN, are the same.
                    let is_same = t == o || t.is_nan() && o.is_nan();
                    let off = (t - o).abs();
                    assert!(is_same || off <= share * b + TINY, "{} [{i}]: {t} {o}, allowed {b}", case.name);
                }
            }
        }
    }
}

fn view(shape: Shape, value: &Value) -> In<'_, f64> {
    match value {
        Value::F(v) => In { shape, data: Slice::F(v) },
        Value::U32(v) => In { shape, data: Slice::U32(v) },
    }
}

fn bounds(case: &Case, inputs: &[(&[usize], Value)], outputs: &[Value]) -> Vec<Vec<f64>> {
    let types: Vec<TensorType> = case.inputs.iter().map(|i| i.0).collect();
    let out_types = case.op.infer(&types).unwrap();
    let ins: Vec<In<'_, f64>> = types.iter().zip(inputs).map(|(t, (_, v))| view(t.shape, v)).collect();
    let outs: Vec<In<'_, f64>> = out_types.iter().zip(outputs).map(|(t, v)| view(t.shape, v)).collect();
    case.op.error_bound(&ins, &outs)
}

/// Evaluates a graph without states in f64, given its inputs in order of recording.
pub(in crate::ops) fn run(graph: &Graph, inputs: &[Value], of: &[Var<'_>]) -> Vec<Vec<f64>> {
    assert!(graph.error().is_none(), "{:?}", graph.error());
    let recording = graph.inner.borrow();
    let mut values: Vec<Option<Value>> = vec![None; recording.values.len()];
    for (id, info) in recording.values.iter().enumerate() {
        if let Source::Input(i) = info.source {
            values[id] = Some(inputs[i].clone());
        }
    }
    for node in &recording.nodes {
        let arguments: Vec<(&[usize], Value)> = node
            .inputs
            .iter()
            .map(|&i| (recording.values[i as usize].ty.shape.dims(), values[i as usize].clone().unwrap()))
            .collect();
        let results = eval::<f64>(&*node.op, true, &arguments).unwrap();
        for (&id, result) in node.outputs.iter().zip(results) {
            values[id as usize] = Some(result);
        }
    }
    of.iter().map(|v| values[v.id as usize].clone().unwrap().f().to_vec()).collect()
}

/// Compares the gradient of a scalar of float inputs, and the gradient of a function of that
/// gradient, with central differences.
pub(in crate::ops) fn gradients_agree(
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
