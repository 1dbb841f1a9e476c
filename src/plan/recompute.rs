//! Less memory for more work: values of the forward pass that the backward pass reads are computed again there instead
//! of being kept (gradient checkpointing: Chen, Xu, Zhang and Guestrin, "Training Deep Nets with Sublinear Memory
//! Cost", 2016).
//!
//! The result is a recording again, with copies of pure nodes right before their first reader in the backward pass.
//! A copy reads the same values and the same versions of states, so it computes the same. What is dropped is chosen
//! greedily, by how much a choice lowers what is live, the highest levels counting most, per operation that it adds.

use std::collections::HashMap;

use super::{Plan, memory};
use crate::error::{Error, Result};
use crate::graph::{Node, Recording, Source, ValueId};

/// Choices that are taken back at most where they turn out not to be needed.
const MOST_REVISED: usize = 64;

/// The recording, rewritten until `planned` gives no more bytes than `budget`.
///
/// # Errors
/// [`Error::MemoryBudget`] where that cannot be done, or what `planned` fails with.
pub(super) fn within(
    recording: Recording,
    budget: usize,
    planned: impl Fn(&Recording) -> Result<usize>,
) -> Result<Recording> {
    let mut least = planned(&recording)?;
    if least <= budget {
        return Ok(recording);
    }
    let search = Search::new(&recording);
    let mut dropped = vec![false; recording.nodes.len()];
    let mut load = search.load(&recording);
    while let Some((chosen, lower)) = search.best(&dropped, load) {
        chosen.iter().for_each(|&n| dropped[n] = true);
        load = lower;
        let Some(rewritten) = search.rewrite(&dropped) else { break };
        let bytes = planned(&rewritten)?;
        least = least.min(bytes);
        if bytes <= budget {
            return search.revise(dropped, rewritten, |r| Ok(planned(r)? <= budget));
        }
    }
    Err(Error::MemoryBudget { budget, least })
}

struct Search<'a> {
    r: &'a Recording,
    /// The first node of the backward pass; the number of nodes where there is none.
    backward: usize,
    /// The most bytes live at once before anything is dropped.
    peak: f64,
    /// By node: whether it can be computed again.
    is_pure: Vec<bool>,
}

impl<'a> Search<'a> {
    fn new(r: &'a Recording) -> Self {
        let backward = r.nodes.iter().position(|n| n.is_gradient).unwrap_or(r.nodes.len());
        let is_output = |n: &Node| r.outputs.iter().any(|o| n.outputs.contains(&o.value));
        let is_pure = |n: &Node| n.op.writes() == 0 && !n.inputs.is_empty() && !is_output(n);
        let is_pure = r.nodes.iter().map(is_pure).collect();
        let peak = profile(r).into_iter().max().unwrap_or(0).max(1) as f64;
        Search { r, backward, peak, is_pure }
    }

    /// The node before the backward pass that computes a value; of a reshape, the one that computes what is reshaped.
    fn maker(&self, v: ValueId) -> Option<usize> {
        match self.r.values[v as usize].source {
            Source::Node(n) if n >= self.backward => None,
            Source::Node(n) if self.r.nodes[n].op.traits().is_alias => self.maker(self.r.nodes[n].inputs[0]),
            Source::Node(n) => Some(n),
            _ => None,
        }
    }

    /// A norm of what is live while each task runs, in which the peaks count most.
    fn load(&self, r: &Recording) -> f64 {
        profile(r).into_iter().map(|bytes| (bytes as f64 / self.peak).powi(8)).sum()
    }

    /// What it costs to compute a node again: its operations, and a few for each element that it moves.
    fn cost(&self, n: usize) -> f64 {
        let node = &self.r.nodes[n];
        let types = |ids: &[ValueId]| ids.iter().map(|&v| self.r.values[v as usize].ty).collect::<Vec<_>>();
        let (inputs, outputs) = (types(&node.inputs), types(&node.outputs));
        let moved: usize = inputs.iter().chain(&outputs).map(|ty| ty.shape.elements()).sum();
        node.op.flops(&inputs, &outputs) as f64 + 4.0 * moved as f64
    }

    /// The nodes whose results are kept for the backward pass, or for what it computes again.
    fn kept(&self, dropped: &[bool]) -> Vec<bool> {
        let mut kept = vec![false; self.r.nodes.len()];
        let mut reach: Vec<usize> = self.r.nodes[self.backward..]
            .iter()
            .flat_map(|n| &n.inputs)
            .filter_map(|&v| self.maker(v))
            .collect();
        let mut seen = vec![false; self.r.nodes.len()];
        while let Some(n) = reach.pop() {
            if std::mem::replace(&mut seen[n], true) {
                continue;
            }
            match dropped[n] {
                true => reach.extend(self.r.nodes[n].inputs.iter().filter_map(|&v| self.maker(v))),
                false => kept[n] = true,
            }
        }
        kept
    }

    /// The choice that lowers the load the most for its cost, and the load after it.
    fn best(&self, dropped: &[bool], load: f64) -> Option<(Vec<usize>, f64)> {
        let kept = self.kept(dropped);
        let mut best: Option<(f64, Vec<usize>, f64)> = None;
        for n in (0..self.backward).filter(|&n| kept[n] && self.is_pure[n]) {
            // Alone, or with all that leads to it from values that are kept anyway.
            let alone = vec![n];
            let mut all = vec![n];
            let mut at = 0;
            while at < all.len() {
                let makers = self.r.nodes[all[at]].inputs.iter().filter_map(|&v| self.maker(v));
                let more: Vec<usize> = makers
                    .filter(|&m| !kept[m] && !dropped[m] && self.is_pure[m] && !all.contains(&m))
                    .collect();
                all.extend(more);
                at += 1;
            }
            let is_more = all.len() > 1;
            for chosen in [Some(alone), Some(all).filter(|_| is_more)].into_iter().flatten() {
                let mut then = dropped.to_vec();
                chosen.iter().for_each(|&n| then[n] = true);
                let Some(rewritten) = self.rewrite(&then) else { continue };
                let lower = self.load(&rewritten);
                let cost: f64 = chosen.iter().map(|&n| self.cost(n)).sum();
                let worth = (load - lower) / cost;
                if load - lower > 1e-9 * load && best.as_ref().is_none_or(|b| worth > b.0) {
                    best = Some((worth, chosen, lower));
                }
            }
        }
        best.map(|(_, chosen, lower)| (chosen, lower))
    }

    /// Takes back what was not needed, the dearest first.
    fn revise(
        &self,
        mut dropped: Vec<bool>,
        mut result: Recording,
        fits: impl Fn(&Recording) -> Result<bool>,
    ) -> Result<Recording> {
        let mut chosen: Vec<usize> = (0..dropped.len()).filter(|&n| dropped[n]).collect();
        chosen.sort_by(|&a, &b| self.cost(b).total_cmp(&self.cost(a)));
        for n in chosen.into_iter().take(MOST_REVISED) {
            dropped[n] = false;
            match self.rewrite(&dropped) {
                Some(r) if fits(&r)? => result = r,
                _ => dropped[n] = true,
            }
        }
        Ok(result)
    }

    /// The recording in which the backward pass reads copies of what is dropped; `None` where a copy would read a state
    /// that has been updated meanwhile.
    fn rewrite(&self, dropped: &[bool]) -> Option<Recording> {
        let mut made = self.r.clone();
        made.nodes.clear();
        let mut new = Rewriting {
            search: self,
            dropped,
            made,
            copies: HashMap::new(),
            versions: vec![0; self.r.states.len()],
        };
        let mut places = Vec::with_capacity(self.r.nodes.len());
        for (n, node) in self.r.nodes.iter().enumerate() {
            let mut node = node.clone();
            if n >= self.backward {
                for v in &mut node.inputs {
                    *v = new.again(*v)?;
                }
            }
            for &v in &node.outputs {
                if let Source::State { state, version } = self.r.values[v as usize].source {
                    new.versions[state] = version;
                }
            }
            places.push(new.made.nodes.len());
            new.made.nodes.push(node);
        }
        for value in &mut new.made.values[..self.r.values.len()] {
            if let Source::Node(n) = &mut value.source {
                *n = places[*n];
            }
            value.producer = value.producer.map(|n| places[n]);
        }
        Some(new.made)
    }
}

struct Rewriting<'a> {
    search: &'a Search<'a>,
    dropped: &'a [bool],
    made: Recording,
    copies: HashMap<ValueId, ValueId>,
    /// What the states hold so far.
    versions: Vec<u32>,
}

impl Rewriting<'_> {
    /// The value that the backward pass reads in the place of `v`.
    fn again(&mut self, v: ValueId) -> Option<ValueId> {
        if let Some(&copy) = self.copies.get(&v) {
            return Some(copy);
        }
        let r = self.search.r;
        let Source::Node(n) = r.values[v as usize].source else { return Some(v) };
        if !self.search.maker(v).is_some_and(|maker| self.dropped[maker]) {
            return Some(v);
        }
        let mut node = r.nodes[n].clone();
        for input in &mut node.inputs {
            *input = self.again(*input)?;
            if let Source::State { state, version } =
                r.values.get(*input as usize).map_or(Source::Input(0), |v| v.source)
                && self.versions[state] != version
            {
                return None;
            }
        }
        node.is_gradient = true;
        let place = self.made.nodes.len();
        for output in &mut node.outputs {
            let mut value = r.values[*output as usize].clone();
            value.source = Source::Node(place);
            value.producer = Some(place);
            let copy = self.made.values.len() as ValueId;
            self.made.values.push(value);
            self.copies.insert(*output, copy);
            *output = copy;
        }
        // What it stands for, by the values of the copy.
        for member in &mut node.members {
            for v in member.inputs.iter_mut().chain(&mut member.outputs) {
                *v = self.copies.get(v).copied().unwrap_or(*v);
            }
        }
        self.made.nodes.push(node);
        self.copies.get(&v).copied()
    }
}

/// Bytes live while each task runs.
fn profile(r: &Recording) -> Vec<usize> {
    let (plan, roots) = Plan::ordered(r.clone());
    memory::profile(&plan, &roots)
}
