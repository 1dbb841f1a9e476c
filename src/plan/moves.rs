//! Movements of elements in a row are one: heads of attention, that are cut out of a product, taken apart and permuted, are read
//! at once, and their gradients are put together at once.

use std::sync::Arc;

use super::simplify::readers;
use crate::graph::{Node, Recording, Source, ValueId};
use crate::op::{Movement, Op, Pattern, StridedCopy, View};
use crate::ops::{AsStrided, Assembled, Reshape};
use crate::shape::Shape;

/// Members of a node at most: each copy of a recording copies them.
const MOST: usize = 24;

/// Nodes between two movements at most, where what the first reads has to live until the second and is more than that reads.
const FAR: usize = 4;

/// All of them.
pub(super) fn compose(r: &mut Recording) {
    let mut last_readers = vec![0; r.values.len()];
    for (n, node) in r.nodes.iter().enumerate() {
        node.inputs.iter().for_each(|&v| last_readers[v as usize] = n);
    }
    for n in 0..r.nodes.len() {
        while let Some((op, inputs, others)) = read_at_once(r, n, &last_readers) {
            rewrite(r, n, op, inputs, &[others, vec![n]].concat());
        }
    }
    let readers = readers(r);
    let (is_sum, is_last) = sums_of_parts(r, &readers);
    for n in 0..r.nodes.len() {
        let is_needed = r.nodes[n].outputs.iter().any(|&v| readers[v as usize] > 0);
        if is_needed
            && is_last[n]
            && let Some((op, inputs, others)) = put_together(r, n, &is_sum, &last_readers)
        {
            rewrite(r, n, Arc::new(op), inputs, &others);
        }
    }
}

/// Makes of node `n` one that stands for all of `others`, of which it is the last.
fn rewrite(r: &mut Recording, n: usize, op: Arc<dyn Op>, inputs: Vec<ValueId>, others: &[usize]) {
    let members = others.iter().flat_map(|&m| r.nodes[m].members()).cloned().collect();
    r.nodes[n] = Node { op, inputs, members, ..r.nodes[n].clone() };
}

/// How the only input of a node is read, if the node only moves its elements.
fn reads(r: &Recording, n: usize) -> Option<View> {
    let &[from] = &r.nodes[n].inputs[..] else { return None };
    match r.nodes[n].op.movement(&[r.values[from as usize].ty]) {
        Some(Movement::Read(view)) => Some(view),
        _ => None,
    }
}

/// By input, where it begins in the result, if a node puts its inputs into zeros.
fn writes(r: &Recording, n: usize) -> Option<Vec<Vec<usize>>> {
    let types: Vec<_> = r.nodes[n].inputs.iter().map(|&v| r.values[v as usize].ty).collect();
    match r.nodes[n].op.movement(&types) {
        Some(Movement::Write(places)) => Some(places),
        _ => None,
    }
}

fn shape(r: &Recording, v: ValueId) -> Shape {
    r.values[v as usize].ty.shape
}

/// What is another value under another shape is that value. The reshapes are added to `passed`, the last first.
fn before_reshapes(r: &Recording, mut v: ValueId, passed: &mut Vec<usize>) -> ValueId {
    while let Some(n) = r.producer(v)
        && r.nodes[n].op.traits().is_alias
    {
        passed.push(n);
        v = r.nodes[n].inputs[0];
    }
    v
}

/// Whether a value is the same at any time: no state that is updated.
fn is_fixed(r: &Recording, v: ValueId) -> bool {
    match r.values[before_reshapes(r, v, &mut Vec::new()) as usize].source {
        Source::State { state, .. } => r.states[state].versions <= 1,
        _ => true,
    }
}

/// What was moved before a node reads it.
struct Moved {
    from: ValueId,
    view: View,
    /// The node that moves it, and the reshapes after that.
    nodes: Vec<usize>,
}

/// How node `n` can read `v` where it was before it was moved.
fn moved(r: &Recording, v: ValueId, n: usize, last_readers: &[usize]) -> Option<Moved> {
    let mut nodes = Vec::new();
    let first = r.producer(before_reshapes(r, v, &mut nodes))?;
    let view = reads(r, first)?;
    let from = r.nodes[first].inputs[0];
    nodes.push(first);
    nodes.reverse();
    // Else a small part would keep the whole of it in memory.
    let is_cheap = shape(r, from).elements() <= view.elements()
        || r.producer(from).is_none()
        || last_readers[from as usize] >= n
        || n - first <= FAR;
    let is_short = nodes.iter().map(|&m| r.nodes[m].members().len()).sum::<usize>() < MOST;
    (is_cheap && is_short && is_fixed(r, from) && view.elements() > 0).then_some(Moved { from, view, nodes })
}

/// For a node that reads what another has moved, and no more of it: the op that reads it where it was, its input, and the
/// other nodes.
fn read_at_once(
    r: &Recording,
    n: usize,
    last_readers: &[usize],
) -> Option<(Arc<dyn Op>, Vec<ValueId>, Vec<usize>)> {
    let view = reads(r, n)?;
    let inner = moved(r, r.nodes[n].inputs[0], n, last_readers)?;
    // Else each element would be looked for several times.
    if view.elements() > inner.view.elements() {
        return None;
    }
    let (input, y) = (shape(r, inner.from), r.nodes[n].outputs[0]);
    let view = view.through(&inner.view)?;
    // An output of the graph has memory of its own: what is fed next does not change it.
    let is_whole =
        view == View::in_order(input.elements()) && r.outputs.iter().all(|output| output.value != y);
    let op: Arc<dyn Op> = match is_whole {
        true => Arc::new(Reshape { shape: shape(r, y) }),
        false => Arc::new(crate::ops::Moved(AsStrided { input, shape: shape(r, y), view })),
    };
    Some((op, vec![inner.from], inner.nodes))
}

/// Tensors, and where along each axis they begin in a larger one.
type Parts = Vec<(ValueId, Vec<usize>)>;

/// By node, whether it adds up padded tensors and nothing else, none of which anybody else reads; and whether it is no term of
/// another such sum.
fn sums_of_parts(r: &Recording, readers: &[usize]) -> (Vec<bool>, Vec<bool>) {
    let (mut is_sum, mut is_last) = (vec![false; r.nodes.len()], vec![true; r.nodes.len()]);
    for n in 0..r.nodes.len() {
        let node = &r.nodes[n];
        if node.op.traits().pattern != Some(Pattern::Add) {
            continue;
        }
        let result = shape(r, node.outputs[0]);
        let term = |&v: &ValueId| {
            let m = r.producer(v).filter(|_| readers[v as usize] == 1 && shape(r, v) == result)?;
            let is_part = || {
                r.nodes[m].inputs.len() == 1 && writes(r, m).is_some() && is_fixed(r, r.nodes[m].inputs[0])
            };
            (is_sum[m] || is_part()).then_some(m)
        };
        if let Some(terms) = node.inputs.iter().map(term).collect::<Option<Vec<_>>>() {
            is_sum[n] = true;
            terms.into_iter().for_each(|m| is_last[m] = false);
        }
    }
    (is_sum, is_last)
}

/// For a node that puts tensors together which are moved before, or that adds up some which are 0 wherever another is not: the op,
/// its inputs, and all nodes that it stands for, in order.
fn put_together(
    r: &Recording,
    n: usize,
    is_sum: &[bool],
    last_readers: &[usize],
) -> Option<(Assembled, Vec<ValueId>, Vec<usize>)> {
    let result = shape(r, *r.nodes[n].outputs.first()?);
    let (parts, mut nodes) = if is_sum[n] {
        Some(terms(r, n, is_sum)).filter(|(parts, _)| cover(r, parts, &result))?
    } else {
        let is_several = r.nodes[n].inputs.len() > 1;
        let places = if is_several { writes(r, n)? } else { return None };
        (r.nodes[n].inputs.iter().copied().zip(places).collect(), vec![n])
    };
    let strides = result.strides();
    let (mut inputs, mut copies, mut moves) = (Vec::new(), Vec::new(), 0);
    for (v, begin) in parts {
        let own = shape(r, v);
        let write = View::strided(&own, &strides, begin.iter().zip(strides).map(|(b, s)| b * s).sum());
        let (from, read) = match moved(r, v, n, last_readers) {
            Some(Moved { from, view, nodes: others }) => {
                nodes.extend(others);
                moves += 1;
                (from, view)
            }
            None => (v, View::in_order(own.elements())),
        };
        inputs.push(from);
        copies.push((shape(r, from), StridedCopy::new(&read, &write)?));
    }
    if moves == 0 && !is_sum[n] {
        return None;
    }
    nodes.sort_unstable();
    nodes.dedup();
    Some((Assembled { shape: result, parts: copies }, inputs, nodes))
}

/// The tensors that a sum of padded ones consists of, with where each begins, and its nodes.
fn terms(r: &Recording, n: usize, is_sum: &[bool]) -> (Parts, Vec<usize>) {
    let (mut parts, mut nodes) = (Parts::new(), Vec::new());
    let mut rest = vec![n];
    while let Some(m) = rest.pop() {
        nodes.push(m);
        let inputs = &r.nodes[m].inputs;
        if is_sum[m] {
            rest.extend(inputs.iter().filter_map(|&v| r.producer(v)));
        } else {
            parts.extend(inputs.iter().copied().zip(writes(r, m).unwrap_or_default()));
        }
    }
    (parts, nodes)
}

/// Whether the parts tile the result without overlap.
fn cover(r: &Recording, parts: &Parts, result: &Shape) -> bool {
    let apart = |(i, (v, begin)): (usize, &(ValueId, Vec<usize>))| {
        let own = shape(r, *v);
        parts[..i].iter().all(|(w, other)| {
            let theirs = shape(r, *w);
            (0..result.rank())
                .any(|k| begin[k] + own.dim(k) <= other[k] || other[k] + theirs.dim(k) <= begin[k])
        })
    };
    let elements: usize = parts.iter().map(|(v, _)| shape(r, *v).elements()).sum();
    elements == result.elements() && parts.iter().enumerate().all(apart)
}

#[cfg(test)]
#[path = "moves_tests.rs"]
mod tests;
