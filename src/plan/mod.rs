//! From a recording to a list of tasks over planned memory. Pure: no device is involved.
//!
//! Nodes that nothing needs are left out, constants are found, reshapes share memory where that is safe,
//! and values get slots that are reused as soon as their last reader has run.

mod fuse;
mod join;
mod lower;
mod memory;
mod mixed;
mod moves;
mod options;
mod recompute;
mod simplify;
#[cfg(test)]
mod tests;
mod traffic;

pub(crate) use join::label;
use lower::Draft;
pub(crate) use lower::{Executes, Target, lower};
pub use options::{CompileOptions, Precision};

use crate::graph::{Recording, Source, ValueId};
use crate::op::{Caps, Program};
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
    /// A part of a slot, from this byte on.
    Slot { slot: usize, offset: usize },
}

/// A buffer that values share, one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) bytes: usize,
    /// What the CPU executor keeps in it; GPUs keep bytes.
    pub(crate) dtype: DType,
}

/// One step of the plan: a kernel program, and where its scratch is: slots and offsets.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    /// The nodes of the lowered recording that the program computes, in order: one, unless launches were joined. Their
    /// members are the recorded nodes.
    pub(crate) nodes: Vec<usize>,
    /// Empty on the CPU, which runs the op's formula. Its arguments count the inputs of all nodes one after another, and
    /// the outputs likewise: [`Plan::reads_of`], [`Plan::outputs_of`].
    pub(crate) program: Program,
    pub(crate) scratch: Vec<(usize, usize)>,
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
    /// By input of the recording, whether a task reads it: one that feeds nothing need not be fed.
    pub(crate) reads_input: Vec<bool>,
    pub(crate) slots: Vec<Slot>,
    /// The most bytes that are live at once, scratch included: no plan of these tasks in this order can need less.
    pub(crate) live_bytes: usize,
    /// By value, whether it is stored in 16 bits; empty where none is.
    pub(crate) in_f16: Vec<bool>,
}

impl Plan {
    /// The plan of a recording for the CPU, as it is.
    pub(crate) fn of_formulas(recording: Recording) -> Self {
        Plan::with(Draft { recording, programs: Vec::new(), in_f16: Vec::new() }, true, None)
    }

    /// The plan of nodes with their kernels; small launches are joined where `joins` has what an adapter allows.
    fn of_kernels(draft: Draft, joins: Option<&Caps>) -> Self {
        Plan::with(draft, false, joins)
    }

    /// Where slots are `typed`, each holds values of one type; else they are bytes.
    fn with(draft: Draft, typed: bool, joins: Option<&Caps>) -> Self {
        let Draft { recording, mut programs, in_f16 } = draft;
        let (mut plan, roots) = Plan::ordered(recording);
        plan.in_f16 = in_f16;
        for task in &mut plan.tasks {
            task.program = programs.get_mut(task.nodes[0]).map(std::mem::take).unwrap_or_default();
        }
        if let Some(caps) = joins {
            plan.tasks = join::join(&plan, &roots, caps);
        }
        memory::assign(&mut plan, &roots, typed);
        for value in 0..plan.locations.len() {
            if plan.locations[value].is_none() {
                plan.locations[value] = plan.locations[roots[value] as usize];
            }
        }
        plan
    }

    /// The tasks, without slots, and in whose memory each value is.
    fn ordered(recording: Recording) -> (Self, Vec<ValueId>) {
        let needed = needed_nodes(&recording);
        let roots = roots(&recording);
        let mut plan = Plan {
            locations: vec![None; recording.values.len()],
            tasks: Vec::new(),
            constants: Vec::new(),
            reads_input: recording.inputs.iter().map(|i| is_read(&recording, &needed, i.value)).collect(),
            slots: Vec::new(),
            live_bytes: 0,
            in_f16: Vec::new(),
            recording,
        };
        plan.place_sources(&needed);
        let is_alias = |n: usize| {
            let node = &plan.recording.nodes[n];
            node.op.traits().is_alias && roots[node.outputs[0] as usize] != node.outputs[0]
        };
        let order: Vec<usize> = (0..plan.recording.nodes.len())
            .filter(|&n| needed[n] && !plan.is_constant(n) && !is_alias(n))
            .collect();
        plan.tasks = order
            .into_iter()
            .map(|n| Task { nodes: vec![n], program: Program::default(), scratch: Vec::new() })
            .collect();
        (plan, roots)
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

    /// The first input that a task reads and `is_fed` says was not fed.
    pub(crate) fn unfed(&self, is_fed: impl Fn(usize) -> bool) -> Option<&str> {
        let at = (0..self.reads_input.len()).find(|&i| self.reads_input[i] && !is_fed(i))?;
        Some(&self.recording.inputs[at].name)
    }

    /// Inputs of a node that are not states it updates.
    pub(crate) fn reads(&self, node: usize) -> &[ValueId] {
        let n = &self.recording.nodes[node];
        &n.inputs[..n.inputs.len() - n.op.writes()]
    }

    /// [`Plan::reads`] of a task's nodes, one after another.
    pub(crate) fn reads_of<'a>(&'a self, task: &'a Task) -> impl Iterator<Item = ValueId> + 'a {
        task.nodes.iter().flat_map(|&n| self.reads(n)).copied()
    }

    /// Inputs of a task's nodes, states that they update included.
    pub(crate) fn inputs_of<'a>(&'a self, task: &'a Task) -> impl Iterator<Item = ValueId> + 'a {
        task.nodes.iter().flat_map(|&n| &self.recording.nodes[n].inputs).copied()
    }

    /// Outputs of a task's nodes, one after another.
    pub(crate) fn outputs_of<'a>(&'a self, task: &'a Task) -> impl Iterator<Item = ValueId> + 'a {
        task.nodes.iter().flat_map(|&n| &self.recording.nodes[n].outputs).copied()
    }

    /// The nodes of a task as text.
    pub(crate) fn label(&self, task: &Task) -> String {
        task.nodes.iter().map(|&n| self.recording.label(n)).collect::<Vec<_>>().join("; ")
    }

    /// Moves a value that lives long into a slot that another overwrites meanwhile: a planted fault for
    /// tests of the check. Returns the victim's label.
    pub(crate) fn plant_memory_fault(&mut self) -> Option<String> {
        let producer = |v: ValueId| self.tasks.iter().position(|t| self.outputs_of(t).any(|o| o == v));
        for (reader, task) in self.tasks.iter().enumerate() {
            for victim in self.reads_of(task).collect::<Vec<_>>() {
                if !matches!(self.locations[victim as usize], Some(Location::Slot { .. })) {
                    continue;
                }
                let Some(made) = producer(victim) else { continue };
                // A value made between, by a task that touches neither slot in another way.
                for between in made + 1..reader {
                    let [n] = self.tasks[between].nodes[..] else { continue };
                    let node = &self.recording.nodes[n];
                    let [value] = node.outputs[..] else { continue };
                    let there = self.locations[value as usize];
                    let Some(Location::Slot { slot: to, offset }) = there else { continue };
                    let is_in = |v: &ValueId| matches!(self.locations[*v as usize], Some(Location::Slot { slot, .. }) if slot == to);
                    let bytes = self.recording.values[victim as usize].ty.bytes();
                    let fits = self.slots[to].bytes >= offset + bytes && !is_in(&victim);
                    // One buffer must not be read and written by one task: the check would not come to it.
                    let clash = (0..self.tasks.len()).filter(|&t| t != between).any(|t| {
                        let task = &self.tasks[t];
                        let written = self.outputs_of(task).any(|v| is_in(&v));
                        self.outputs_of(task).any(|v| v == victim)
                            && (written || self.inputs_of(task).any(|v| is_in(&v)))
                            || self.inputs_of(task).any(|v| v == victim) && written
                    });
                    let uses_victim = node.inputs.contains(&victim) || node.outputs.contains(&victim);
                    if fits && !clash && !uses_victim {
                        let label = self.label(&self.tasks[made]);
                        self.locations[victim as usize] = there;
                        return Some(label);
                    }
                }
            }
        }
        None
    }
}

/// The recording as kernels of an adapter run it: simplified and fused.
pub(crate) fn fused(mut recording: Recording, caps: &Caps) -> Recording {
    simplify::simplify(&mut recording);
    fuse::fuse(recording, caps)
}

/// Whether an output is the value, or a needed node reads it.
fn is_read(recording: &Recording, needed: &[bool], value: ValueId) -> bool {
    let mut readers = recording.nodes.iter().zip(needed).filter(|(_, needed)| **needed);
    recording.outputs.iter().any(|o| o.value == value)
        || readers.any(|(node, _)| node.inputs.contains(&value))
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
        if !node.op.traits().is_alias {
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
            let place = |v: ValueId| match self.locations[v as usize] {
                Some(Location::Slot { slot, offset: 0 }) => format!("s{slot}"),
                Some(Location::Slot { slot, offset }) => format!("s{slot}+{offset}"),
                Some(other) => format!("{other:?}"),
                None => "-".into(),
            };
            let inputs = self.inputs_of(task).map(place).collect::<Vec<_>>().join(", ");
            let outputs = self.outputs_of(task).map(place).collect::<Vec<_>>().join(", ");
            writeln!(f, "{i:4}  {}: {inputs} -> {outputs}", self.label(task))?;
        }
        Ok(())
    }
}
