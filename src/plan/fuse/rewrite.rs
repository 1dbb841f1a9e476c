//! The recording in which each group is one node.

use std::sync::Arc;

use super::{Group, Pass};
use crate::graph::{Node, Recording, Source};
use crate::ops::Fused;

impl Pass<'_> {
    /// The node that a group becomes; `None` for single nodes.
    pub(super) fn node(&self, g: usize) -> Option<Node> {
        let Group { members, has_root, .. } = &self.groups[g];
        if self.steps(members, *has_root).is_empty() {
            return None;
        }
        let last = &self.r.nodes[*members.get(1).and(members.last())?];
        let (chain, extra) = self.chain(members, *has_root);
        let (op, inputs, outputs) = if *has_root {
            let root = &self.r.nodes[members[0]];
            let types = (self.types(&root.inputs), self.types(&root.outputs));
            let fused = Fused::after(root.op.clone(), types.0, types.1, chain);
            let inputs = [&root.inputs[..], &extra].concat();
            (fused, inputs, [&last.outputs[..1], &root.outputs[1..]].concat())
        } else {
            let results = self.results(members, false);
            let outputs = results.iter().map(|&i| self.r.nodes[members[i]].outputs[0]).collect();
            (Fused::chain(chain, results), extra, outputs)
        };
        Some(Node {
            op: Arc::new(op),
            inputs,
            outputs,
            scope: last.scope.clone(),
            location: last.location,
            is_gradient: last.is_gradient,
            members: members.iter().flat_map(|&n| alone(&self.r.nodes[n])).collect(),
        })
    }
}

/// The nodes that a node consists of.
fn alone(node: &Node) -> Vec<Node> {
    if node.members.is_empty() { vec![node.clone()] } else { node.members.clone() }
}

/// Puts the fused nodes where their last members were.
pub(super) fn rewrite(
    mut recording: Recording,
    groups: &[Group],
    group_of: &[Option<usize>],
    mut made: Vec<Option<Node>>,
) -> Recording {
    let old = std::mem::take(&mut recording.nodes);
    let mut new = recording;
    let mut moved = Vec::with_capacity(old.len());
    for (n, node) in old.into_iter().enumerate() {
        let group = group_of[n].filter(|&g| groups[g].members.len() > 1);
        match group {
            None => new.nodes.push(node),
            Some(g) if groups[g].members.last() == Some(&n) => new.nodes.extend(made[g].take()),
            Some(_) => {}
        }
        moved.push((group, new.nodes.len().saturating_sub(1)));
    }
    // Where a member's group is.
    let place = |n: usize| match moved[n].0.and_then(|g| groups[g].members.last()) {
        Some(&last) => moved[last].1,
        None => moved[n].1,
    };
    for value in &mut new.values {
        if let Source::Node(n) = &mut value.source {
            *n = place(*n);
        }
        value.producer = value.producer.map(place);
    }
    new
}
