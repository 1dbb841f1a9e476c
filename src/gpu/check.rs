//! `WGRAD_CHECK=1`: each task is run apart, its inputs compared with what their producers left, and its
//! outputs with the f64 reference on the GPU's own inputs.

use std::collections::HashMap;

use super::readback::Read;
use super::step::GpuStep;
use crate::device::PendingRead;
use crate::error::{CheckError, CheckKind, Error, Result};
use crate::ops::{In, Out, Reference, Slice, SliceMut};
use crate::shape::TensorType;
use crate::tensor::{Data, Tensor};

/// Floats widened, others as they are.
pub(crate) enum Wide {
    F(Vec<f64>),
    U32(Vec<u32>),
    U8(Vec<u8>),
}

impl Wide {
    pub(crate) fn of(data: &Data) -> Self {
        match data {
            Data::F32(v) => Wide::F(v.iter().map(|&x| f64::from(x)).collect()),
            Data::U32(v) => Wide::U32(v.clone()),
            Data::U8(v) => Wide::U8(v.clone()),
        }
    }

    pub(crate) fn input(&self, ty: &TensorType) -> In<'_, f64> {
        let data = match self {
            Wide::F(v) => Slice::F(v),
            Wide::U32(v) => Slice::U32(v),
            Wide::U8(v) => Slice::U8(v),
        };
        In { shape: ty.shape, data }
    }

    pub(crate) fn output(&mut self, ty: &TensorType) -> Out<'_, f64> {
        let data = match self {
            Wide::F(v) => SliceMut::F(v),
            Wide::U32(v) => SliceMut::U32(v),
            Wide::U8(v) => SliceMut::U8(v),
        };
        Out { shape: ty.shape, data }
    }
}

/// The worst error of one output in units of its tolerance, with its index; NaN counts as infinite.
pub(crate) fn worst(actual: &Data, expected: &Wide, bound: &[f64]) -> (f64, usize) {
    let units: Box<dyn Iterator<Item = f64> + '_> = match (actual, expected) {
        (Data::F32(a), Wide::F(e)) => Box::new(a.iter().zip(e).zip(bound).map(|((a, e), b)| {
            let (a, difference) = (f64::from(*a), (f64::from(*a) - e).abs());
            match () {
                // Equal infinities and NaNs agree; a reference beyond f32 must have overflowed.
                () if a.is_nan() && e.is_nan() => 0.0,
                () if a == *e || (e.abs() > f64::from(f32::MAX) && a == f64::INFINITY.copysign(*e)) => 0.0,
                () if difference.is_nan() => f64::INFINITY,
                () => difference / b,
            }
        })),
        (Data::U32(a), Wide::U32(e)) => {
            Box::new(a.iter().zip(e).map(|(a, e)| if a == e { 0.0 } else { f64::INFINITY }))
        }
        (Data::U8(a), Wide::U8(e)) => {
            Box::new(a.iter().zip(e).map(|(a, e)| if a == e { 0.0 } else { f64::INFINITY }))
        }
        _ => return (f64::INFINITY, 0),
    };
    units.enumerate().fold((0.0, 0), |(w, at), (i, u)| if u > w { (u, i) } else { (w, at) })
}

/// Element `i`, for messages.
fn show(data: &Data, i: usize) -> String {
    match data {
        Data::F32(v) => v.get(i).map(|x| format!("{x:e} (bits {:#010x})", x.to_bits())),
        Data::U32(v) => v.get(i).map(ToString::to_string),
        Data::U8(v) => v.get(i).map(ToString::to_string),
    }
    .unwrap_or_default()
}

fn same_bits(a: &Data, b: &Data) -> Option<usize> {
    match (a, b) {
        (Data::F32(a), Data::F32(b)) => a.iter().zip(b).position(|(a, b)| a.to_bits() != b.to_bits()),
        (Data::U32(a), Data::U32(b)) => a.iter().zip(b).position(|(a, b)| a != b),
        (Data::U8(a), Data::U8(b)) => a.iter().zip(b).position(|(a, b)| a != b),
        _ => Some(0),
    }
}

impl GpuStep {
    fn fetch(&self, value: u32) -> Result<Tensor> {
        let ty = self.plan.recording.values[value as usize].ty;
        let missing = || Error::Invalid(format!("value %{value} was not planned"));
        let buffer = self.value_buffer(value).ok_or_else(missing)?;
        Read::start(&self.gpu, buffer, ty)?.wait()
    }

    fn accuse(&self, kind: CheckKind, node: usize, detail: String) -> Error {
        let n = &self.plan.recording.nodes[node];
        Error::Check(Box::new(CheckError {
            kind,
            node: self.plan.recording.label(node),
            op: n.op.name().to_string(),
            scope: n.scope.to_string(),
            place: n.place.to_string(),
            detail,
        }))
    }

    pub(super) fn run_checked(&mut self) -> Result<()> {
        // What each value's producer left, by value.
        let mut left: HashMap<u32, Data> = HashMap::new();
        for t in 0..self.plan.tasks.len() {
            for &n in &self.plan.tasks[t].members.clone() {
                self.check_inputs(n, &left)?;
                let reads: Vec<Tensor> =
                    self.plan.reads(n).iter().map(|&v| self.fetch(v)).collect::<Result<_>>()?;
                let node = self.plan.recording.nodes[n].clone();
                let results = node.outputs.len() - node.op.writes();
                let before: Vec<Tensor> =
                    node.outputs[results..].iter().map(|&v| self.fetch(v)).collect::<Result<_>>()?;
                self.submit(t..t + 1);
                let after: Vec<Tensor> =
                    node.outputs.iter().map(|&v| self.fetch(v)).collect::<Result<_>>()?;
                self.compare(n, &reads, &before, &after)?;
                for (&v, tensor) in node.outputs.iter().zip(after) {
                    left.insert(v, tensor.data().clone());
                }
            }
        }
        Ok(())
    }

    /// Compares what a node is about to read with what the producers wrote.
    fn check_inputs(&self, node: usize, left: &HashMap<u32, Data>) -> Result<()> {
        let n = &self.plan.recording.nodes[node];
        for &v in &n.inputs {
            // A reshape has no task: its memory is its input's.
            let mut root = v;
            while let Some(producer) = self.plan.recording.values[root as usize].producer
                && !left.contains_key(&root)
                && self.plan.recording.nodes[producer].op.is_alias()
            {
                root = self.plan.recording.nodes[producer].inputs[0];
            }
            let Some(written) = left.get(&root) else { continue };
            let now = self.fetch(v)?;
            if let Some(at) = same_bits(written, now.data()) {
                let producer = self.plan.recording.values[root as usize].producer;
                let from = producer.map(|p| self.plan.recording.label(p)).unwrap_or_default();
                let detail = format!(
                    "its input {from} changed since it was written: element {at} was {}, is {}",
                    show(written, at),
                    show(now.data(), at)
                );
                return Err(self.accuse(CheckKind::Memory, node, detail));
            }
        }
        Ok(())
    }

    /// Compares a node's results with the reference.
    fn compare(&self, node: usize, reads: &[Tensor], before: &[Tensor], after: &[Tensor]) -> Result<()> {
        let n = &self.plan.recording.nodes[node];
        let wide: Vec<Wide> = reads.iter().map(|t| Wide::of(t.data())).collect();
        let inputs: Vec<In<'_, f64>> =
            wide.iter().zip(reads).map(|(w, t)| w.input(&t.tensor_type())).collect();
        let types: Vec<TensorType> = after.iter().map(Tensor::tensor_type).collect();
        let results = after.len() - before.len();
        let mut expected: Vec<Wide> =
            after[..results].iter().chain(before).map(|t| Wide::of(t.data())).collect();
        let mut outputs: Vec<Out<'_, f64>> =
            expected.iter_mut().zip(&types).map(|(w, ty)| w.output(ty)).collect();
        Reference::<f64>::eval_fast(&*n.op, &inputs, &mut outputs)
            .map_err(|m| self.accuse(CheckKind::Kernel, node, format!("the reference refuses its inputs: {m}")))?;
        drop(outputs);
        let computed: Vec<In<'_, f64>> = expected.iter().zip(&types).map(|(w, ty)| w.input(ty)).collect();
        let bounds = n.op.error_bound(&inputs, &computed);
        for (k, (tensor, (expected, bound))) in after.iter().zip(expected.iter().zip(&bounds)).enumerate() {
            let (units, at) = worst(tensor.data(), expected, bound);
            if units > 1.0 {
                let truth = match expected {
                    Wide::F(v) => format!("{:e}", v[at]),
                    Wide::U32(v) => v[at].to_string(),
                    Wide::U8(v) => v[at].to_string(),
                };
                let detail = format!(
                    "output {k}, element {at}: {}, the reference gives {truth}: {units:.3e} times the tolerance",
                    show(tensor.data(), at)
                );
                return Err(self.accuse(CheckKind::Kernel, node, detail));
            }
        }
        Ok(())
    }
}
