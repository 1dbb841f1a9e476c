//! Elementwise nodes that are computed where an op reads what they make, and nothing else does.

use std::sync::Arc;

use super::{Group, Pass, rewrite};
use crate::graph::{Node, Recording, ValueId};
use crate::ops::{Caps, Chain, Fused, Fusion, KernelContext, Prologue};
use crate::plan::needed_nodes;
use crate::shape::Shape;

/// Nodes that become one: the last is the op, and input `at` of it is made by those before.
struct Found {
    members: Vec<usize>,
    at: usize,
}

/// The recording with what ops can compute as they read taken into them.
pub(super) fn take_in(recording: Recording, caps: &Caps) -> Recording {
    let needed = needed_nodes(&recording);
    let pass = Pass::new(&recording, caps, &needed);
    let mut group_of = vec![None; recording.nodes.len()];
    let (mut groups, mut made) = (Vec::new(), Vec::new());
    for n in (0..recording.nodes.len()).filter(|&n| needed[n]) {
        let Some(found) = pass.before(n) else { continue };
        found.members.iter().for_each(|&m| group_of[m] = Some(groups.len()));
        made.push(Some(pass.with_prologue(n, &found)));
        let shape = Shape::scalar();
        groups.push(Group { members: found.members, has_root: true, shape, is_open: false });
    }
    rewrite(recording, &groups, &group_of, made)
}

impl Pass<'_> {
    /// The elementwise nodes that node `n` alone waits for, if it can compute some of them itself.
    fn before(&self, n: usize) -> Option<Found> {
        let node = &self.r.nodes[n];
        (0..node.inputs.len() - node.op.writes()).find_map(|at| {
            let members = self.makers(n, at);
            (!members.is_empty()).then(|| Found { members: [&members[..], &[n]].concat(), at })
        })
    }

    /// Nodes that make input `at` of node `n`, as many as it can take in.
    fn makers(&self, n: usize, at: usize) -> Vec<usize> {
        let value = self.r.nodes[n].inputs[at];
        let mut taken: Vec<usize> = Vec::new();
        // A reshape between has no effect.
        let reshape = self
            .r
            .producer(value)
            .filter(|&p| self.r.nodes[p].op.traits().is_alias && self.is_read_by(value, &[n]));
        let from = reshape.map_or(value, |p| self.r.nodes[p].inputs[0]);
        let shape = self.ty(from).shape;
        let readers: Vec<usize> = reshape.into_iter().chain([n]).collect();
        if self.r.nodes[n].inputs.iter().filter(|&&v| v == value).count() > 1 || self.is_found_again(n) {
            return taken;
        }
        let mut open: Vec<usize> = self.r.producer(from).into_iter().collect();
        // Readers come before what they read.
        while let Some(m) = open.iter().copied().max() {
            open.retain(|&o| o != m);
            let node = &self.r.nodes[m];
            let made = node.outputs[0];
            let is_formula = node.op.pointwise().is_some() && self.ty(made).shape == shape;
            let all = [&readers[..], &taken].concat();
            if !is_formula || !self.is_read_by(made, &all) || self.is_overtaken(m, n) {
                continue;
            }
            let mut with = taken.clone();
            with.insert(0, m);
            if self.can_take_in(n, at, &with) {
                taken = with;
                open.extend(node.inputs.iter().filter_map(|&v| self.r.producer(v)));
            }
        }
        taken.extend(reshape.filter(|_| !taken.is_empty()));
        taken
    }

    /// Whether somebody looks for the node's result among other values, as the gradient of a maximum does. Where these
    /// are computed once more to save memory, another kernel may have rounded them otherwise, to 16 bits or by a product
    /// and a sum at once; the result must be a copy of one that was stored alike.
    fn is_found_again(&self, n: usize) -> bool {
        let mut open = self.r.nodes[n].outputs.clone();
        while let Some(v) = open.pop() {
            for &reader in &self.readers[v as usize] {
                let node = &self.r.nodes[reader];
                if node.op.name() == "equal" {
                    return true;
                }
                if node.op.traits().is_alias {
                    open.extend(&node.outputs);
                }
            }
        }
        false
    }

    /// Whether nobody but these nodes reads a value.
    fn is_read_by(&self, v: ValueId, nodes: &[usize]) -> bool {
        !self.is_output[v as usize] && self.readers[v as usize].iter().all(|r| nodes.contains(r))
    }

    /// Whether a state that node `m` reads is updated before node `n` runs.
    fn is_overtaken(&self, m: usize, n: usize) -> bool {
        let reads: Vec<usize> = self.states(&self.r.nodes[m].inputs).collect();
        !reads.is_empty() && (m + 1..n).any(|u| self.updates(u).any(|s| reads.contains(&s)))
    }

    /// The formulas of these nodes, which make an input of node `n`, and the values that they read.
    fn chain_before(&self, n: usize, members: &[usize]) -> (Chain, Vec<ValueId>) {
        let (mut chain, inputs) = self.chain(members, false);
        let node = &self.r.nodes[n];
        let updated = &node.inputs[node.inputs.len() - node.op.writes()..];
        chain.state = inputs.iter().position(|v| updated.contains(v));
        (chain, inputs)
    }

    fn can_take_in(&self, n: usize, at: usize, members: &[usize]) -> bool {
        let (chain, inputs) = self.chain_before(n, members);
        let node = &self.r.nodes[n];
        let (own, outputs) = (self.types(&node.inputs), self.types(&node.outputs));
        // Scratch that a later launch reads takes the place of an input.
        let bound = (node.inputs.len() - 1 + inputs.len()).max(3) + outputs.len();
        let fusion = Fusion { prologue: Some((at, &chain)), ..Fusion::default() };
        let ctx = KernelContext::new(self.caps, &own, &outputs).fusing(fusion);
        members.len() < super::MOST_STEPS
            && bound <= self.caps.storage_buffers as usize
            && Fused::is_possible(&chain)
            && node.op.can_fuse(&ctx)
    }

    /// Node `n` with what it takes in.
    fn with_prologue(&self, n: usize, found: &Found) -> Node {
        let node = &self.r.nodes[n];
        let is_formula = |m: &usize| self.r.nodes[*m].op.pointwise().is_some();
        let formulas: Vec<usize> = found.members.iter().copied().filter(is_formula).collect();
        let (chain, extra) = self.chain_before(n, &formulas);
        let op = Prologue::new(chain, node.op.clone(), self.types(&node.inputs), found.at);
        let mut inputs = node.inputs.clone();
        inputs.remove(found.at);
        // States that are updated stay last.
        let reads = inputs.len() - node.op.writes();
        inputs.splice(reads..reads, extra);
        Node {
            op: Arc::new(op),
            inputs,
            members: found.members.iter().map(|&m| self.r.nodes[m].clone()).collect(),
            ..node.clone()
        }
    }
}
