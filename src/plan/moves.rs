//! Movements of elements in a row are one: heads of attention, that are cut out of a product, taken apart and permuted, are read
//! at once, and their gradients are put together at once.

use std::sync::Arc;

use super::simplify::readers;
use crate::graph::{Node, Recording, Source, ValueId};
use crate::op::{Movement, Op, Pattern, StridedCopy, View};
use crate::ops::{AsStrided, Assembled, Moved, Reshape};
use crate::shape::Shape;

/// All of them. Again on what they leave, they change nothing.
pub(super) fn compose(r: &mut Recording) {
    for n in 0..r.nodes.len() {
        if let Some((op, inputs, first)) = read_at_once(r, n) {
            let members = [r.nodes[first].members(), r.nodes[n].members()].concat();
            r.nodes[n] = Node { op, inputs, members, ..r.nodes[n].clone() };
        }
    }
    let readers = readers(r);
    // The last of several sums first, which has all that is added up.
    for n in (0..r.nodes.len()).rev() {
        if readers_of(r, n, &readers) > 0
            && let Some((op, inputs, nodes)) = put_together(r, n, &readers)
        {
            let members = nodes.iter().flat_map(|&m| r.nodes[m].members()).cloned().collect();
            r.nodes[n] = Node { op: Arc::new(op), inputs, members, ..r.nodes[n].clone() };
        }
    }
}

fn readers_of(r: &Recording, n: usize, readers: &[usize]) -> usize {
    r.nodes[n].outputs.iter().map(|&v| readers[v as usize]).sum()
}

fn movement(r: &Recording, n: usize) -> Option<Movement> {
    let types: Vec<_> = r.nodes[n].inputs.iter().map(|&v| r.values[v as usize].ty).collect();
    r.nodes[n].op.movement(&types)
}

fn shape(r: &Recording, v: ValueId) -> Shape {
    r.values[v as usize].ty.shape
}

/// What is another value under another shape is that value.
fn before_reshapes(r: &Recording, mut v: ValueId) -> ValueId {
    while let Some(n) = r.producer(v)
        && r.nodes[n].op.traits().is_alias
    {
        v = r.nodes[n].inputs[0];
    }
    v
}

/// Whether a value is the same at any time: no state that is updated.
fn is_fixed(r: &Recording, v: ValueId) -> bool {
    match r.values[before_reshapes(r, v) as usize].source {
        Source::State { state, .. } => r.states[state].versions <= 1,
        _ => true,
    }
}

/// The node that moves what `v` consists of, what it is moved from, and how it is read there.
fn moved(r: &Recording, v: ValueId) -> Option<(usize, ValueId, View)> {
    let n = r.producer(before_reshapes(r, v))?;
    let Some(Movement::Read(view)) = movement(r, n) else { return None };
    let from = r.nodes[n].inputs[0];
    (is_fixed(r, from) && view.elements() > 0).then_some((n, from, view))
}

/// For a node that reads what another has moved, and no more of it: the op that reads it where it was, its input, and the
/// other node.
fn read_at_once(r: &Recording, n: usize) -> Option<(Arc<dyn Op>, Vec<ValueId>, usize)> {
    let Some(Movement::Read(view)) = movement(r, n) else { return None };
    let (first, from, inner) = moved(r, r.nodes[n].inputs[0])?;
    // Else each element would be looked for several times.
    if view.elements() > inner.elements() {
        return None;
    }
    let (input, result) = (shape(r, from), shape(r, r.nodes[n].outputs[0]));
    let view = view.through(&inner)?;
    let op: Arc<dyn Op> = if view == View::in_order(input.elements()) {
        Arc::new(Reshape { shape: result })
    } else {
        Arc::new(Moved(AsStrided { input, shape: result, view }))
    };
    Some((op, vec![from], first))
}

/// Tensors, and where along each axis they begin in a larger one.
type Parts = Vec<(ValueId, Vec<usize>)>;

/// For a node that puts tensors together which are moved before, or that adds up some which are 0 wherever another is not: the op,
/// its inputs, and all nodes that it stands for.
fn put_together(r: &Recording, n: usize, readers: &[usize]) -> Option<(Assembled, Vec<ValueId>, Vec<usize>)> {
    let result = shape(r, *r.nodes[n].outputs.first()?);
    let (parts, mut nodes) = if is_add(r, n) {
        terms(r, n, readers).filter(|(parts, _)| cover(r, parts, &result))?
    } else {
        let Some(Movement::Write(places)) = movement(r, n) else { return None };
        let parts: Parts = r.nodes[n].inputs.iter().copied().zip(places).collect();
        if parts.len() < 2 || parts.iter().all(|(v, _)| moved(r, *v).is_none()) {
            return None;
        }
        (parts, Vec::new())
    };
    let strides = result.strides();
    let (mut inputs, mut copies) = (Vec::new(), Vec::new());
    for (v, begin) in parts {
        let own = shape(r, v);
        let write = View::strided(&own, &strides, begin.iter().zip(strides).map(|(b, s)| b * s).sum());
        let (from, read) = match moved(r, v) {
            Some((m, from, view)) => {
                nodes.push(m);
                (from, view)
            }
            None => (v, View::in_order(own.elements())),
        };
        inputs.push(from);
        copies.push((shape(r, from), StridedCopy::new(&read, &write)?));
    }
    nodes.push(n);
    nodes.sort_unstable();
    nodes.dedup();
    Some((Assembled { shape: result, parts: copies }, inputs, nodes))
}

fn is_add(r: &Recording, n: usize) -> bool {
    r.nodes[n].op.traits().pattern == Some(Pattern::Add)
}

/// The tensors that a sum of padded ones consists of, with where each begins, if nobody else reads those; and the nodes that are
/// not needed then.
fn terms(r: &Recording, n: usize, readers: &[usize]) -> Option<(Parts, Vec<usize>)> {
    let (mut parts, mut nodes) = (Parts::new(), Vec::new());
    let result = shape(r, r.nodes[n].outputs[0]);
    let mut rest = r.nodes[n].inputs.clone();
    while let Some(v) = rest.pop() {
        let m = r.producer(v).filter(|_| readers[v as usize] == 1 && shape(r, v) == result)?;
        nodes.push(m);
        if is_add(r, m) {
            rest.extend(&r.nodes[m].inputs);
            continue;
        }
        let Some(Movement::Write(mut places)) = movement(r, m) else { return None };
        let &[of] = &r.nodes[m].inputs[..] else { return None };
        if !is_fixed(r, of) {
            return None;
        }
        parts.push((of, places.pop()?));
    }
    Some((parts, nodes))
}

/// Whether boxes are all of a shape, none over another.
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
