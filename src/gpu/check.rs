//! `WGRAD_CHECK=1`: each task is run apart, its inputs compared with what their producers left, and its
//! outputs with the f64 reference on the GPU's own inputs.

use std::collections::HashMap;

use super::Gpu;
use super::readback::Read;
use super::step::GpuStep;

use crate::backend::PendingRead;
use crate::error::{CheckError, CheckKind, Error, Result};
use crate::expected::{Expected, show};
use crate::shape::DType;
use crate::tensor::{Data, Tensor};

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
        let (buffer, offset) = self.value_buffer(value).ok_or_else(missing)?;
        Read::start(&self.gpu, buffer, offset, ty)?.wait()
    }

    fn accuse(&self, kind: CheckKind, node: usize, detail: String) -> Error {
        let n = &self.plan.recording.nodes[node];
        Error::Check(Box::new(CheckError {
            kind,
            node: self.plan.recording.label(node),
            op: n.op.name().to_string(),
            scope: n.scope.to_string(),
            location: n.location.to_string(),
            detail,
        }))
    }

    pub(super) fn run_checked(&mut self) -> Result<()> {
        // What each value's producer left, by value.
        let mut left: HashMap<u32, Data> = HashMap::new();
        for t in 0..self.plan.tasks.len() {
            let nodes = self.plan.tasks[t].nodes.clone();
            let mut before = Vec::new();
            for &n in &nodes {
                self.check_inputs(n, &left)?;
                let fetch = |ids: &[u32]| ids.iter().map(|&v| self.fetch(v)).collect::<Result<Vec<_>>>();
                let node = &self.plan.recording.nodes[n];
                let results = node.outputs.len() - node.op.writes();
                before.push((fetch(self.plan.reads(n))?, fetch(&node.outputs[results..])?));
            }
            self.submit(t..t + 1, 1);
            // What the nodes before it in the task have made is there now.
            let mut made: Vec<u32> = Vec::new();
            for (&n, (mut reads, before)) in nodes.iter().zip(before) {
                for (tensor, &v) in reads.iter_mut().zip(self.plan.reads(n)) {
                    if made.contains(&self.plan.root(v)) {
                        *tensor = self.fetch(v)?;
                    }
                }
                let outputs = self.plan.recording.nodes[n].outputs.clone();
                let after: Vec<Tensor> = outputs.iter().map(|&v| self.fetch(v)).collect::<Result<_>>()?;
                self.compare(n, &reads, &before, &after)?;
                for (&v, tensor) in outputs.iter().zip(after) {
                    left.insert(v, tensor.data().clone());
                    made.push(v);
                }
            }
        }
        // What the user reads must still be what was written.
        for output in self.plan.recording.outputs.clone() {
            let Some(written) = left.get(&output.value) else { continue };
            let now = self.fetch(output.value)?;
            let producer = self.plan.recording.values[output.value as usize].producer;
            if let (Some(at), Some(n)) = (same_bits(written, now.data()), producer) {
                let (was, is) = (show(written, at), show(now.data(), at));
                let detail = format!(
                    "output `{}` changed since it was written: element {at} was {was}, is {is}",
                    output.name
                );
                return Err(self.accuse(CheckKind::Memory, n, detail));
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
                && self.plan.recording.nodes[producer].op.traits().is_alias
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
        let inputs: Vec<Tensor> = reads.iter().chain(before).cloned().collect();
        let expected = Expected::new(&*n.op, &inputs, false).map_err(|m| {
            self.accuse(CheckKind::Kernel, node, format!("the reference refuses its inputs: {m}"))
        })?;
        let is_half = |k: usize| self.plan.recording.values[n.outputs[k] as usize].ty.dtype == DType::F16;
        match expected.stored(is_half).compare(after).1 {
            Some(detail) if n.members.is_empty() => Err(self.accuse(CheckKind::Kernel, node, detail)),
            Some(detail) => Err(self.accuse_member(node, reads, detail)),
            None => Ok(()),
        }
    }

    /// A value that is the same number everywhere: in a fused kernel it has no memory.
    fn number(&self, value: u32) -> Option<Tensor> {
        let r = &self.plan.recording;
        let info = &r.values[value as usize];
        let number = r.nodes[info.producer?].op.traits().constant?;
        Tensor::new(info.ty.shape, vec![number; info.ty.shape.elements()]).ok()
    }

    /// Runs the members of a fused node apart, to name the one that is wrong; if each is right, it is the kernel
    /// of all.
    fn accuse_member(&self, node: usize, reads: &[Tensor], detail: String) -> Error {
        let n = &self.plan.recording.nodes[node];
        let gpu = Gpu(self.gpu.clone());
        let mut values: HashMap<u32, Tensor> = n.inputs.iter().copied().zip(reads.iter().cloned()).collect();
        for member in &n.members {
            let value =
                |v: &u32| values.get(v).cloned().or_else(|| self.number(*v)).or_else(|| self.fetch(*v).ok());
            let inputs: Vec<Tensor> = member.inputs.iter().filter_map(value).collect();
            if inputs.len() < member.inputs.len() {
                continue;
            }
            let Ok(results) = super::case::run(&gpu, &member.op, &inputs) else { continue };
            if let Ok(expected) = Expected::new(&*member.op, &inputs, false)
                && let Some(detail) = expected.compare(&results).1
            {
                return Error::Check(Box::new(CheckError {
                    kind: CheckKind::Kernel,
                    node: member.label(),
                    op: member.op.name().to_string(),
                    scope: member.scope.to_string(),
                    location: member.location.to_string(),
                    detail,
                }));
            }
            values.extend(member.outputs.iter().copied().zip(results));
        }
        self.accuse(CheckKind::Kernel, node, format!("{detail}; its members run apart are right"))
    }
}
