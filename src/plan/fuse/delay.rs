//! Updates of states wait for what goes on with an op's first output.
//!
//! A batch normalization records the averages of its statistics right after itself, and what goes on with its result
//! after that. A fused node runs where its last member was recorded, so the averages would have to read statistics that
//! are not there yet; moved after that member, they need not.

use super::Pass;
use crate::graph::{Recording, Source};
use crate::ops::Caps;
use crate::plan::needed_nodes;

/// The recording with such updates moved.
pub(super) fn delay(mut recording: Recording, caps: &Caps) -> Recording {
    let needed = needed_nodes(&recording);
    let mut order: Vec<usize> = (0..recording.nodes.len()).collect();
    let pass = Pass::new(&recording, caps, &needed);
    for n in (0..recording.nodes.len()).filter(|&n| needed[n] && recording.nodes[n].outputs.len() > 1) {
        let Some(last) = pass.continued(n) else { continue };
        let at = |order: &[usize], n: usize| order.iter().position(|&m| m == n);
        for m in (n + 1..last).rev().filter(|&m| pass.can_wait(m, n, last)) {
            if let (Some(from), Some(to)) = (at(&order, m), at(&order, last))
                && from < to
            {
                order[from..=to].rotate_left(1);
            }
        }
    }
    let mut place = vec![0; order.len()];
    order.iter().enumerate().for_each(|(to, &from)| place[from] = to);
    for value in &mut recording.values {
        if let Source::Node(n) = &mut value.source {
            *n = place[*n];
        }
        value.producer = value.producer.map(|n| place[n]);
    }
    let mut nodes: Vec<_> = std::mem::take(&mut recording.nodes).into_iter().map(Some).collect();
    recording.nodes = order.into_iter().filter_map(|n| nodes[n].take()).collect();
    recording
}

impl Pass<'_> {
    /// The last of the formulas in a row that go on with the first output of node `n`, each its only reader.
    fn continued(&self, n: usize) -> Option<usize> {
        let mut last = None;
        let mut tail = self.r.nodes[n].outputs[0];
        while let [next] = self.readers[tail as usize][..]
            && !self.is_output[tail as usize]
            && let node = &self.r.nodes[next]
            && node.op.pointwise().is_some()
            && self.ty(node.outputs[0]) == self.ty(tail)
        {
            last = Some(next);
            tail = node.outputs[0];
        }
        last
    }

    /// Whether node `m`, which updates a state by what node `n` gives, may do so after node `last` as well.
    fn can_wait(&self, m: usize, n: usize, last: usize) -> bool {
        let node = &self.r.nodes[m];
        let reads = node.inputs.len() - node.op.writes();
        let touched: Vec<usize> = self.states(&node.inputs).collect();
        // What reads nothing is of nobody.
        let is_of_n = reads > 0 && node.inputs[..reads].iter().all(|v| self.r.nodes[n].outputs.contains(v));
        // Nobody else sees the state, or what the update gives, before.
        let mut others = self.r.nodes[m + 1..=last].iter().flat_map(|o| self.states(&o.inputs));
        node.op.writes() > 0
            && is_of_n
            && node.outputs.len() == node.op.writes()
            && !others.any(|s| touched.contains(&s))
    }
}
