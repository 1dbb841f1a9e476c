//! Bytes that a step moves between memory and kernels.

use std::collections::{HashMap, HashSet};

use super::{Location, Plan};
use crate::graph::{Source, ValueId};

/// Bytes that one run of a step reads and writes, at three degrees of care. Scratch buffers are left out: they are
/// a kernel's own affair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Every task reads each of its inputs once, of a table that rows are taken from the rows, and writes each of its
    /// outputs once: what the plan asks of a device without caches.
    pub planned: u64,
    /// Every value of the step is written once and read once, by however many tasks.
    pub once: u64,
    /// Inputs, constants and states are read once, outputs and updated states are written once, and nothing
    /// between them touches memory: what no fusion of tasks can avoid.
    pub least: u64,
}

impl Plan {
    /// What one run moves. An element of a value counts once for each reader, whatever its kernel does.
    pub(crate) fn traffic(&self) -> Traffic {
        let bytes = |v: &ValueId| self.bytes(*v);
        let is_planned = |v: &&ValueId| self.locations[**v as usize].is_some();
        let is_outer =
            |v: &ValueId| !matches!(self.locations[*v as usize], Some(Location::Slot { .. }) | None);
        let outputs: HashSet<ValueId> = self.recording.outputs.iter().map(|o| self.root(o.value)).collect();
        let mut traffic = Traffic::default();
        let (mut read, mut written) = (HashMap::<ValueId, u64>::new(), HashSet::new());
        for task in &self.tasks {
            let mut of_task = HashSet::new();
            let inputs = task.nodes.iter().flat_map(|&n| {
                self.recording.nodes[n].inputs.iter().enumerate().map(move |(i, v)| (n, i, v))
            });
            for (n, i, v) in inputs.filter(|(_, _, v)| is_planned(v)) {
                let v = self.root(*v);
                if !of_task.insert(v) {
                    continue;
                }
                let bytes = self.bytes_read(n, i);
                traffic.planned += bytes;
                let most = read.entry(v).or_default();
                let more = bytes.saturating_sub(*most);
                *most += more;
                traffic.once += more;
                traffic.least += if is_outer(&v) { more } else { 0 };
            }
            for v in self.outputs_of(task).filter(|v| is_planned(&v)) {
                traffic.planned += bytes(&v);
                if written.insert(v) {
                    traffic.once += bytes(&v);
                    traffic.least += if is_outer(&v) || outputs.contains(&v) { bytes(&v) } else { 0 };
                }
            }
        }
        traffic
    }

    /// Bytes of a value's elements.
    pub(crate) fn bytes(&self, value: ValueId) -> u64 {
        let ty = self.recording.values[value as usize].ty;
        (ty.shape.elements() * ty.dtype.bytes()) as u64
    }

    /// Bytes of its input `i` that a node reads: of one that it only moves elements of, no more than arrive.
    pub(crate) fn bytes_read(&self, node: usize, i: usize) -> u64 {
        let n = &self.recording.nodes[node];
        let all = self.bytes(n.inputs[i]);
        if n.op.traits().moves != Some(i) {
            return all;
        }
        let arrive: usize =
            n.outputs.iter().map(|&o| self.recording.values[o as usize].ty.shape.elements()).sum();
        all.min((arrive * self.recording.values[n.inputs[i] as usize].ty.dtype.bytes()) as u64)
    }

    /// The value in whose memory a value lies: itself, or what it is a reshape of.
    pub(crate) fn root(&self, mut value: ValueId) -> ValueId {
        while let Source::Node(n) = self.recording.values[value as usize].source {
            let node = &self.recording.nodes[n];
            // A reshape that is a task of its own has memory of its own.
            let shares = node.op.traits().is_alias
                && self.locations[value as usize] == self.locations[node.inputs[0] as usize]
                && !self.is_constant(n);
            if !shares {
                break;
            }
            value = node.inputs[0];
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;

    fn traffic(g: &Graph) -> [u64; 3] {
        let traffic = Plan::of_formulas(g.finish().unwrap()).traffic();
        [traffic.planned, traffic.once, traffic.least].map(|bytes| bytes / 4)
    }

    #[test]
    fn values_count_for_each_task_for_themselves_or_not_at_all() {
        let g = Graph::new();
        let x = g.input("x", [100]);
        let a = x.exp();
        g.output("y", (a + x).reshape([10, 10]) * a.reshape([10, 10]));
        // exp: x, a; add: a, x, b; multiplication: b, a, y. A reshape is free.
        assert_eq!(traffic(&g), [800, 600, 200]);
    }

    #[test]
    fn one_value_twice_is_read_once_by_a_task() {
        let g = Graph::new();
        let x = g.input("x", [100]);
        g.output("y", x * x);
        assert_eq!(traffic(&g), [200, 200, 200]);
    }

    #[test]
    fn of_a_table_the_rows_count_that_are_taken() {
        let g = Graph::inference();
        let x = g.input("x", [100, 5]);
        g.output("y", x.take_rows(g.classes("rows", [4])));
        assert_eq!(traffic(&g), [44, 44, 44]);
    }

    #[test]
    fn states_are_read_and_written() {
        let params = crate::Params::seeded(0);
        let count = params.counter("c");
        let g = Graph::new();
        g.param(&count).advance(0);
        assert_eq!(traffic(&g), [2, 2, 2]);
    }

    #[test]
    fn what_nothing_needs_moves_nothing() {
        let g = Graph::new();
        let x = g.input("x", [100]);
        x.tanh();
        g.output("y", x.exp().sum_all());
        assert_eq!(traffic(&g), [301, 301, 101]);
    }
}
