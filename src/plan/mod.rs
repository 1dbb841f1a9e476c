//! From a recording to a list of tasks over planned memory. Pure: no device is involved.
//!
//! Nodes that nothing needs are left out, constants are found, reshapes share memory where that is safe,
//! and values get slots that are reused as soon as their last reader has run.

mod fuse;
mod memory;
mod simplify;
mod traffic;

pub(crate) use fuse::fuse;

use crate::graph::{Recording, Source, ValueId};
use crate::shape::DType;

pub use traffic::Traffic;

/// Where a value lives while a step runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Location {
    /// A buffer of its own, fed by the user.
    Input(usize),
    /// A buffer of its own, filled once.
    Constant(usize),
    /// The state's buffer, shared by all graphs on the device.
    State(usize),
    /// A slot, whole or from the start.
    Slot(usize),
}

/// A buffer that values take turns in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) bytes: usize,
    /// What the CPU executor keeps in it; GPUs keep bytes.
    pub(crate) dtype: DType,
}

/// One step of the plan: nodes whose kernels run together (one, as yet), and their scratch slots.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) members: Vec<usize>,
    pub(crate) scratch: Vec<usize>,
}

/// What a constant holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConstantSource {
    /// The recording's `n`th tensor.
    Tensor(usize),
    /// A node without inputs, evaluated when the graph is compiled.
    Node(usize),
}

/// How a recording is executed.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) recording: Recording,
    pub(crate) tasks: Vec<Task>,
    /// By value; `None` for values that nothing needs.
    pub(crate) locations: Vec<Option<Location>>,
    pub(crate) constants: Vec<(ConstantSource, ValueId)>,
    pub(crate) slots: Vec<Slot>,
    /// The most bytes that are live at once: no plan can need less.
    pub(crate) live_bytes: usize,
}

impl Plan {
    /// Plans a recording. `scratch` gives the sizes of a node's scratch buffers, in bytes.
    pub(crate) fn new(recording: Recording, scratch: impl Fn(usize) -> Vec<usize>) -> Self {
        let needed = needed_nodes(&recording);
        let roots = roots(&recording);
        let mut plan = Plan {
            locations: vec![None; recording.values.len()],
            tasks: Vec::new(),
            constants: Vec::new(),
            slots: Vec::new(),
            live_bytes: 0,
            recording,
        };
        plan.place_sources(&needed);
        let is_alias = |n: usize| {
            let node = &plan.recording.nodes[n];
            node.op.is_alias() && roots[node.outputs[0] as usize] != node.outputs[0]
        };
        let order: Vec<usize> = (0..plan.recording.nodes.len())
            .filter(|&n| needed[n] && !plan.is_constant(n) && !is_alias(n))
            .collect();
        plan.tasks = order.into_iter().map(|n| Task { members: vec![n], scratch: Vec::new() }).collect();
        memory::assign(&mut plan, &roots, scratch);
        for value in 0..plan.locations.len() {
            if plan.locations[value].is_none() {
                plan.locations[value] = plan.locations[roots[value] as usize];
            }
        }
        plan
    }

    /// Whether a node depends on nothing and can be computed ahead.
    fn is_constant(&self, node: usize) -> bool {
        let node = &self.recording.nodes[node];
        node.inputs.is_empty() && node.op.writes() == 0
    }

    fn place_sources(&mut self, needed: &[bool]) {
        for (i, input) in self.recording.inputs.iter().enumerate() {
            self.locations[input.value as usize] = Some(Location::Input(i));
        }
        for (i, (_, value)) in self.recording.constants.iter().enumerate() {
            self.locations[*value as usize] = Some(Location::Constant(i));
            self.constants.push((ConstantSource::Tensor(i), *value));
        }
        for (id, value) in self.recording.values.iter().enumerate() {
            if let Source::State { state, .. } = value.source {
                self.locations[id] = Some(Location::State(state));
            }
        }
        for n in 0..self.recording.nodes.len() {
            if needed[n] && self.is_constant(n) {
                let value = self.recording.nodes[n].outputs[0];
                self.locations[value as usize] = Some(Location::Constant(self.constants.len()));
                self.constants.push((ConstantSource::Node(n), value));
            }
        }
    }

    /// Bytes that the planned slots take.
    pub(crate) fn planned_bytes(&self) -> usize {
        self.slots.iter().map(|s| s.bytes).sum()
    }

    /// Inputs of a node that are not states it updates.
    pub(crate) fn reads(&self, node: usize) -> &[ValueId] {
        let n = &self.recording.nodes[node];
        &n.inputs[..n.inputs.len() - n.op.writes()]
    }

    /// Moves a value that lives long into a slot that another overwrites meanwhile: a planted fault for
    /// tests of the check. Returns the victim's label.
    pub(crate) fn plant_memory_fault(&mut self) -> Option<String> {
        let producer = |v: ValueId| {
            self.tasks.iter().position(|t| self.recording.nodes[t.members[0]].outputs.contains(&v))
        };
        for (reader, task) in self.tasks.iter().enumerate() {
            for &victim in self.reads(task.members[0]) {
                let Some(Location::Slot(from)) = self.locations[victim as usize] else { continue };
                let Some(made) = producer(victim) else { continue };
                // A value made between, by a task that touches neither slot in another way.
                for between in made + 1..reader {
                    let node = &self.recording.nodes[self.tasks[between].members[0]];
                    let [value] = node.outputs[..] else { continue };
                    let Some(Location::Slot(to)) = self.locations[value as usize] else { continue };
                    let fits = self.slots[to].bytes >= self.slots[from].bytes && to != from;
                    let is_in = |v: &ValueId| self.locations[*v as usize] == Some(Location::Slot(to));
                    // One buffer must not be read and written by one task: the check would not come to it.
                    let clash = (0..self.tasks.len()).filter(|&t| t != between).any(|t| {
                        let n = &self.recording.nodes[self.tasks[t].members[0]];
                        let written = n.outputs.iter().any(is_in);
                        n.outputs.contains(&victim) && (written || n.inputs.iter().any(is_in))
                            || n.inputs.contains(&victim) && written
                    });
                    let uses_victim = node.inputs.contains(&victim) || node.outputs.contains(&victim);
                    if fits && !clash && !uses_victim {
                        self.locations[victim as usize] = Some(Location::Slot(to));
                        return Some(self.recording.label(self.tasks[made].members[0]));
                    }
                }
            }
        }
        None
    }
}

/// Nodes that an output or an update of a state depends on.
fn needed_nodes(recording: &Recording) -> Vec<bool> {
    let mut needed_value = vec![false; recording.values.len()];
    recording.outputs.iter().for_each(|o| needed_value[o.value as usize] = true);
    let mut needed = vec![false; recording.nodes.len()];
    for (n, node) in recording.nodes.iter().enumerate().rev() {
        needed[n] = node.op.writes() > 0 || node.outputs.iter().any(|&o| needed_value[o as usize]);
        if needed[n] {
            node.inputs.iter().for_each(|&i| needed_value[i as usize] = true);
        }
    }
    needed
}

/// The value whose memory each value is. A reshape is its input, unless that is a state which the graph
/// updates: then it must be a copy, or it would change under its readers.
fn roots(recording: &Recording) -> Vec<ValueId> {
    let mut roots: Vec<ValueId> = (0..recording.values.len() as ValueId).collect();
    for node in &recording.nodes {
        if !node.op.is_alias() {
            continue;
        }
        let root = roots[node.inputs[0] as usize];
        let is_updated = match recording.values[root as usize].source {
            Source::State { state, .. } => recording.states[state].versions > 1,
            _ => false,
        };
        if !is_updated {
            roots[node.outputs[0] as usize] = root;
        }
    }
    roots
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "plan: {} tasks, {} slots of {} bytes in all (at least {} live at once)",
            self.tasks.len(),
            self.slots.len(),
            self.planned_bytes(),
            self.live_bytes
        )?;
        for (i, task) in self.tasks.iter().enumerate() {
            for &n in &task.members {
                let node = &self.recording.nodes[n];
                let place = |v: &ValueId| match self.locations[*v as usize] {
                    Some(Location::Slot(s)) => format!("s{s}"),
                    Some(other) => format!("{other:?}"),
                    None => "-".into(),
                };
                let list = |ids: &[ValueId]| ids.iter().map(place).collect::<Vec<_>>().join(", ");
                writeln!(
                    f,
                    "{i:4}  {}: {} -> {}",
                    self.recording.label(n),
                    list(&node.inputs),
                    list(&node.outputs)
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;

    fn plan(g: &Graph) -> Plan {
        Plan::new(g.finish().unwrap(), |_| Vec::new())
    }

    #[test]
    fn a_chain_needs_two_slots_and_dead_nodes_are_left_out() {
        let g = Graph::new();
        let x = g.input("x", [64]);
        let mut y = x;
        for _ in 0..10 {
            y = y.exp();
        }
        x.tanh();
        g.output("y", y);
        let plan = plan(&g);
        assert_eq!(plan.tasks.len(), 10);
        // Two for the chain; the output keeps one of its own.
        assert_eq!(plan.slots.len(), 3);
        assert_eq!(plan.live_bytes, 2 * 64 * 4);
    }

    #[test]
    fn a_reshape_is_free_unless_its_state_changes() {
        let params = crate::Params::seeded(0);
        let w = params.param("w", [4], crate::Init::Constant(1.0));
        let g = Graph::new();
        g.output("y", g.param(&w).reshape([2, 2]).exp());
        assert_eq!(plan(&g).tasks.len(), 1);
        let c = params.counter("c");
        let g = Graph::new();
        let before = g.param(&c).reshape([1, 1]);
        g.param(&c).advance(0);
        g.output("y", before);
        // advance, the reshape as a copy, and the output's own copy of it.
        assert_eq!(plan(&g).tasks.len(), 3);
    }

    #[test]
    fn no_value_is_overwritten_before_its_last_reader() {
        let g = Graph::new();
        let x = g.input("x", [8, 8]);
        let mut layers = vec![x.exp()];
        for i in 0..12 {
            let a = layers[i] + layers[i / 2];
            layers.push(if i % 3 == 0 { a.matmul(layers[i]) } else { a.tanh() });
        }
        let loss = layers.iter().fold(x, |s, l| s + *l).sum_all();
        let dx = g.gradients(loss, &[x])[0];
        g.output("dx", dx);
        let plan = plan(&g);
        let mut holds = vec![None; plan.slots.len()];
        for task in &plan.tasks {
            let node = &plan.recording.nodes[task.members[0]];
            let root = |v: ValueId| roots(&plan.recording)[v as usize];
            for &v in &node.inputs {
                if let Some(Location::Slot(s)) = plan.locations[v as usize] {
                    assert_eq!(holds[s], Some(root(v)), "{}", plan.recording.label(task.members[0]));
                }
            }
            for &v in &node.outputs {
                if let Some(Location::Slot(s)) = plan.locations[v as usize] {
                    assert!(
                        !node.inputs.iter().any(|i| plan.locations[*i as usize] == Some(Location::Slot(s)))
                    );
                    holds[s] = Some(v);
                }
            }
        }
    }
}
