//! Which nodes are computed together: elementwise ones in a row, alone or after an op whose kernels can go on
//! with them. The result is a recording again, in which each group is one node.
//!
//! A group runs where its last member was recorded. That is right as long as nobody else has read a member's
//! value before, and no state that a member reads was updated before: either closes the group.

mod delay;
mod prologue;
mod rewrite;

use self::rewrite::rewrite;
use super::needed_nodes;
use crate::graph::{Node, Recording, Source, ValueId};
use crate::op::{Caps, Chain, Fusion, KernelContext, Operand, Step};
use crate::ops::Fused;
use crate::shape::{DType, Shape, TensorType};

/// Formulas in one kernel at most.
const MOST_STEPS: usize = 24;

/// Nodes that run together.
struct Group {
    members: Vec<usize>,
    /// Whether the first member is an op that the others stand after.
    has_root: bool,
    shape: Shape,
    is_open: bool,
}

struct Pass<'a> {
    r: &'a Recording,
    caps: &'a Caps,
    /// By value: the needed nodes that read it, and whether the user does.
    readers: Vec<Vec<usize>>,
    is_output: Vec<bool>,
    groups: Vec<Group>,
    group_of: Vec<Option<usize>>,
}

/// The recording, which is simplified, with groups of nodes fused, for kernels of an adapter.
pub(super) fn fuse(recording: Recording, caps: &Caps) -> Recording {
    let recording = delay::delay(prologue::take_in(recording, caps), caps);
    let needed = needed_nodes(&recording);
    let mut pass = Pass::new(&recording, caps, &needed);
    for n in (0..recording.nodes.len()).filter(|&n| needed[n]) {
        pass.place(n);
    }
    let made: Vec<Option<Node>> = (0..pass.groups.len()).map(|g| pass.node(g)).collect();
    let (mut groups, group_of) = (pass.groups, pass.group_of);
    groups.iter_mut().zip(&made).filter(|(_, made)| made.is_none()).for_each(|(g, _)| g.members.clear());
    rewrite(recording, &groups, &group_of, made)
}

impl<'a> Pass<'a> {
    /// Without any group yet.
    fn new(r: &'a Recording, caps: &'a Caps, needed: &[bool]) -> Self {
        let mut pass = Pass {
            r,
            caps,
            readers: vec![Vec::new(); r.values.len()],
            is_output: vec![false; r.values.len()],
            groups: Vec::new(),
            group_of: vec![None; r.nodes.len()],
        };
        r.outputs.iter().for_each(|o| pass.is_output[o.value as usize] = true);
        for (n, node) in r.nodes.iter().enumerate().filter(|(n, _)| needed[*n]) {
            for &v in &node.inputs {
                if pass.readers[v as usize].last() != Some(&n) {
                    pass.readers[v as usize].push(n);
                }
            }
        }
        pass
    }
}

impl Pass<'_> {
    fn ty(&self, v: ValueId) -> TensorType {
        self.r.values[v as usize].ty
    }

    fn group_making(&self, v: ValueId) -> Option<usize> {
        self.group_of[self.r.producer(v)?]
    }

    /// Decides in which group node `n` is.
    fn place(&mut self, n: usize) {
        let node = &self.r.nodes[n];
        let mut sources: Vec<usize> = node
            .inputs
            .iter()
            .filter_map(|&v| self.group_making(v))
            .filter(|&g| self.groups[g].is_open)
            .collect();
        sources.sort_unstable();
        sources.dedup();
        let joined = self.join(n, &sources);
        for g in sources {
            if Some(g) != joined {
                self.groups[g].is_open = false;
            }
        }
        if node.op.writes() > 0 {
            self.close_readers_of_states(n);
        }
        if joined.is_none() {
            self.start(n);
        }
    }

    /// Adds the node to an open group that it continues.
    fn join(&mut self, n: usize, sources: &[usize]) -> Option<usize> {
        if let [g] = *sources
            && self.reshapes(n, g)
        {
            self.groups[g].shape = self.ty(self.r.nodes[n].outputs[0]).shape;
            self.groups[g].members.push(n);
            self.group_of[n] = Some(g);
            return Some(g);
        }
        self.r.nodes[n].op.pointwise()?;
        let shape = self.ty(self.r.nodes[n].outputs[0]).shape;
        // After another op first: that saves the most memory traffic. The latest is closest.
        let rooted = sources.iter().rev().copied().find(|&g| self.groups[g].has_root && self.continues(n, g));
        if let Some(g) = rooted {
            // With the formulas that only the node waits for, or without.
            let beside: Vec<usize> =
                sources.iter().copied().filter(|&o| self.serves_only(o, n, &shape)).collect();
            for others in [&beside[..], &[]] {
                let absorbed = others.iter().flat_map(|&o| self.groups[o].members.iter().copied());
                let own = self.steps(&self.groups[g].members, true);
                let mut steps: Vec<usize> = own.iter().copied().chain(absorbed).collect();
                steps.sort_unstable();
                // A reshape stays right after the root, also where formulas were recorded before it.
                let after = self.groups[g].members.get(1);
                let head = 1 + usize::from(after.is_some_and(|&m| self.r.nodes[m].op.traits().is_alias));
                let members = [&self.groups[g].members[..head], &steps, &[n]].concat();
                if self.is_possible(&members, true) {
                    self.merge(g, others, members);
                    return Some(g);
                }
            }
        }
        let alike: Vec<usize> = sources
            .iter()
            .copied()
            .filter(|&g| !self.groups[g].has_root && self.groups[g].shape == shape)
            .collect();
        // All of them, if they fit into one kernel, or one.
        let all = (alike.len() > 1).then_some(&alike[..]);
        for chosen in all.into_iter().chain(alike.chunks(1).rev()) {
            let mut members: Vec<usize> =
                chosen.iter().flat_map(|&g| self.groups[g].members.iter().copied()).collect();
            members.sort_unstable();
            members.push(n);
            if !self.is_possible(&members, false) {
                continue;
            }
            self.merge(chosen[0], &chosen[1..], members);
            return Some(chosen[0]);
        }
        None
    }

    /// Makes `members` one group.
    fn merge(&mut self, g: usize, others: &[usize], members: Vec<usize>) {
        for &other in others {
            self.groups[other].is_open = false;
            self.groups[other].members.clear();
        }
        members.iter().for_each(|&m| self.group_of[m] = Some(g));
        self.groups[g].members = members;
    }

    /// Whether a group of formulas has the node's shape and nobody else reads what it gives.
    fn serves_only(&self, g: usize, n: usize, shape: &Shape) -> bool {
        let Group { members, has_root, shape: own, .. } = &self.groups[g];
        let is_inner = |m: &usize| {
            let value = self.r.nodes[*m].outputs[0] as usize;
            !self.is_output[value] && self.readers[value].iter().all(|r| *r == n || members.contains(r))
        };
        !has_root && own == shape && members.iter().all(is_inner)
    }

    /// Whether the node gives the result of a lone op another shape, and nobody wants the old one.
    fn reshapes(&self, n: usize, g: usize) -> bool {
        let Group { members, has_root, .. } = &self.groups[g];
        let tail = self.r.nodes[members[0]].outputs[0];
        self.r.nodes[n].op.traits().is_alias
            && *has_root
            && members.len() == 1
            && self.r.nodes[n].inputs[0] == tail
            && self.readers[tail as usize] == [n]
            && !self.is_output[tail as usize]
    }

    /// Whether the node alone reads what the last member of a group with a root gives, in the same shape.
    fn continues(&self, n: usize, g: usize) -> bool {
        let Some(&last) = self.groups[g].members.last() else { return false };
        let tail = self.r.nodes[last].outputs[0];
        let shape = self.ty(self.r.nodes[n].outputs[0]).shape;
        // A root's other outputs are stored as they are, for later; nobody in the group can read them.
        let reads_others =
            self.r.nodes[n].inputs.iter().any(|&v| v != tail && self.group_making(v) == Some(g));
        shape == self.groups[g].shape
            && self.readers[tail as usize] == [n]
            && !self.is_output[tail as usize]
            && !reads_others
    }

    fn is_possible(&self, members: &[usize], has_root: bool) -> bool {
        let (chain, inputs) = self.chain(members, has_root);
        let outputs = self.results(members, has_root).len();
        let own = if has_root { &members[..1] } else { &[] };
        let root = own.iter().map(|&n| &self.r.nodes[n]).next();
        members.len() <= MOST_STEPS
            && Fused::is_possible(&chain)
            && inputs.len() + root.map_or(0, bindings).max(outputs) <= self.caps.storage_buffers as usize
            && root.is_none_or(|r| self.can_fuse(r, &chain))
    }

    fn can_fuse(&self, root: &Node, chain: &Chain) -> bool {
        let (inputs, outputs) = (self.types(&root.inputs), self.types(&root.outputs));
        let fusion = Fusion { prologue: None, epilogue: Some(chain) };
        root.op.can_fuse(&KernelContext::new(self.caps, &inputs, &outputs).fusing(fusion))
    }

    fn types(&self, values: &[ValueId]) -> Vec<TensorType> {
        values.iter().map(|&v| self.ty(v)).collect()
    }

    /// The members that are formulas.
    fn steps<'m>(&self, members: &'m [usize], has_root: bool) -> &'m [usize] {
        let first = usize::from(has_root);
        let reshaped = has_root && members.get(1).is_some_and(|&n| self.r.nodes[n].op.traits().is_alias);
        &members[first + usize::from(reshaped)..]
    }

    /// The formulas of a group, and the values that they read besides the root's.
    fn chain(&self, members: &[usize], has_root: bool) -> (Chain, Vec<ValueId>) {
        let steps = self.steps(members, has_root);
        let reshaped = members.get(1).filter(|&&n| has_root && self.r.nodes[n].op.traits().is_alias);
        let mut inputs: Vec<ValueId> = Vec::new();
        let operand = |v: ValueId, inputs: &mut Vec<ValueId>| {
            let from = self.r.producer(v);
            if from.is_some() && from == reshaped.copied() {
                return Operand::Root;
            }
            if let Some(at) = steps.iter().position(|&s| Some(s) == from) {
                return Operand::Step(at);
            }
            if has_root && from == Some(members[0]) {
                return Operand::Root;
            }
            let number = from.and_then(|n| self.r.nodes[n].op.traits().constant);
            if let Some(c) = number.filter(|c| crate::ops::is_literal(*c)) {
                return Operand::Constant(c);
            }
            let known = inputs.iter().position(|&i| i == v);
            Operand::Input(known.unwrap_or_else(|| {
                inputs.push(v);
                inputs.len() - 1
            }))
        };
        let steps: Vec<Step> = steps
            .iter()
            .map(|&s| {
                let node = &self.r.nodes[s];
                Step {
                    op: node.op.clone(),
                    args: node.inputs.iter().map(|&v| operand(v, &mut inputs)).collect(),
                }
            })
            .collect();
        let shape = members.last().map_or(Shape::scalar(), |&n| self.ty(self.r.nodes[n].outputs[0]).shape);
        let shapes = inputs.iter().map(|&v| self.ty(v).shape).collect();
        let root = self.ty(self.r.nodes[members[0]].outputs[0]).shape;
        let columns = root.dims().last().filter(|n| has_root && shape.dims().last() == Some(n)).copied();
        (Chain { shape, inputs: shapes, steps, columns, state: None }, inputs)
    }

    /// The steps whose results others read, by their place in the chain.
    fn results(&self, members: &[usize], has_root: bool) -> Vec<usize> {
        let steps = self.steps(members, has_root);
        let is_read = |v: ValueId| {
            self.is_output[v as usize] || self.readers[v as usize].iter().any(|n| !members.contains(n))
        };
        (0..steps.len()).filter(|&i| is_read(self.r.nodes[steps[i]].outputs[0])).collect()
    }

    /// The states among some values, whatever their version.
    fn states(&self, values: &[ValueId]) -> impl Iterator<Item = usize> {
        values.iter().filter_map(|&v| match self.r.values[v as usize].source {
            Source::State { state, .. } => Some(state),
            _ => None,
        })
    }

    /// The states that node `n` updates.
    fn updates(&self, n: usize) -> impl Iterator<Item = usize> {
        let Node { inputs, op, .. } = &self.r.nodes[n];
        self.states(&inputs[inputs.len() - op.writes()..])
    }

    /// What reads a state that node `n` updates must run before it.
    fn close_readers_of_states(&mut self, n: usize) {
        let updated: Vec<usize> = self.updates(n).collect();
        for g in 0..self.groups.len() {
            let reads = |&m: &usize| self.states(&self.r.nodes[m].inputs).any(|s| updated.contains(&s));
            if self.groups[g].is_open && self.groups[g].members.iter().any(reads) {
                self.groups[g].is_open = false;
            }
        }
    }

    /// Begins a group that later nodes may join.
    fn start(&mut self, n: usize) {
        let node = &self.r.nodes[n];
        let is_pointwise = node.op.pointwise().is_some();
        let first = node.outputs.first().map(|&v| self.ty(v));
        let Some(ty) = first.filter(|ty| ty.dtype == DType::F32) else { return };
        if node.op.writes() > 0 || node.op.traits().is_alias || node.inputs.is_empty() {
            return;
        }
        self.group_of[n] = Some(self.groups.len());
        let members = vec![n];
        self.groups.push(Group { members, has_root: !is_pointwise, shape: ty.shape, is_open: true });
    }
}

/// Storage bindings of an op on its own, at most.
fn bindings(node: &Node) -> usize {
    // Scratch that a later launch reads takes the place of an input.
    node.inputs.len().max(3) + node.outputs.len()
}

#[cfg(test)]
#[path = "fuse_tests.rs"]
mod tests;
