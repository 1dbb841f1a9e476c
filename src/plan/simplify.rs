//! Rewritings of a recording that save work and change no result.

use std::sync::Arc;

use super::needed_nodes;
use crate::graph::{Node, Recording, Source, ValueId};
use crate::op::Pattern;
use crate::ops::{CrossEntropyBoth, Fill, MatMulSum};

/// All of them.
pub(super) fn simplify(recording: &mut Recording) {
    fold(recording);
    relu_before_pooling(recording);
    weight_with_bias(recording);
    loss_with_gradient(recording);
    super::moves::compose(recording);
}

/// Makes formulas of numbers numbers: what gradients begin with is often so.
fn fold(recording: &mut Recording) {
    for n in 0..recording.nodes.len() {
        let node = &recording.nodes[n];
        let number = |v: &ValueId| match recording.values[*v as usize].source {
            Source::Node(from) => recording.nodes[from].op.traits().constant,
            _ => None,
        };
        let Some(numbers) = node.inputs.iter().map(number).collect::<Option<Vec<f32>>>() else { continue };
        let value = match (node.op.pointwise(), &numbers[..]) {
            (Some(f), [_, ..]) => {
                let mut x = [0.0; 3];
                x.iter_mut().zip(&numbers).for_each(|(x, c)| *x = f64::from(*c));
                f.value(x) as f32
            }
            (None, [c]) if node.op.traits().is_alias => *c,
            _ => continue,
        };
        if crate::ops::is_literal(value) {
            let shape = recording.values[node.outputs[0] as usize].ty.shape;
            let node = &mut recording.nodes[n];
            node.op = Arc::new(Fill { value, shape });
            node.inputs.clear();
        }
    }
}

/// Of y = relu(x) and its maxima p, dx = [y > 0] · scatter(dp) is scatter([p > 0] · dp), since dp goes to where y is p. So
/// the mask has the size of the maxima, and y is not needed any more.
fn relu_before_pooling(r: &mut Recording) {
    let readers = readers(r);
    // Backwards: the mask moves to an earlier node, before which there may be another pooling.
    for n in (0..r.nodes.len()).rev() {
        let Some((back, pooled)) = masked_scatter(r, n, &readers) else { continue };
        let scattered = r.nodes[back].outputs[0];
        let [dp, at] = r.nodes[back].inputs[..] else { continue };
        // The two change places; the value between them is now of the size of the maxima.
        let (before, after) = r.nodes.split_at_mut(n);
        let (scatter, mask) = (&mut before[back], &mut after[0]);
        std::mem::swap(&mut scatter.op, &mut mask.op);
        std::mem::swap(&mut scatter.scope, &mut mask.scope);
        std::mem::swap(&mut scatter.location, &mut mask.location);
        scatter.inputs = vec![pooled, dp];
        mask.inputs = vec![scattered, at];
        r.values[scattered as usize].ty = r.values[pooled as usize].ty;
    }
}

/// For a `relu_grad` of what only a pooling's gradient gives, over the same y: that node, and the maxima.
fn masked_scatter(r: &Recording, n: usize, readers: &[usize]) -> Option<(usize, ValueId)> {
    let node = &r.nodes[n];
    let [y, scattered] = node.inputs[..] else { return None };
    let back = r.producer(scattered)?;
    let [_, at] = r.nodes[back].inputs[..] else { return None };
    let pool = r.producer(at)?;
    let is = |n: usize, pattern: Pattern| r.nodes[n].op.traits().pattern == Some(pattern);
    let is_pattern = is(n, Pattern::ReluGrad)
        && is(back, Pattern::MaxPoolBackward)
        && is(pool, Pattern::MaxPool)
        && r.nodes[pool].inputs[0] == y
        && r.nodes[pool].outputs[1] == at
        && readers[scattered as usize] == 1;
    is_pattern.then(|| (back, r.nodes[pool].outputs[0]))
}

/// A loss and its gradient over the same logits, where nobody else reads what the loss keeps for it, are one op. It
/// runs where the loss was recorded.
fn loss_with_gradient(r: &mut Recording) {
    let readers = readers(r);
    for n in 0..r.nodes.len() {
        let node = &r.nodes[n];
        let [logits, classes, kept, cotangent] = node.inputs[..] else { continue };
        let (Some(loss), Some(from)) = (r.producer(kept), r.producer(cotangent)) else { continue };
        let is_gradient = node.op.traits().pattern == Some(Pattern::CrossEntropyGrad);
        let share = r.nodes[from].op.traits().constant.filter(|_| is_gradient);
        let first = &r.nodes[loss];
        let is_pair = first.inputs == [logits, classes]
            && first.outputs.get(1) == Some(&kept)
            && readers[kept as usize] == 1
            && readers[node.outputs[0] as usize] > 0;
        let Some(share) = share.filter(|_| is_pair) else { continue };
        let op = Arc::new(CrossEntropyBoth { share });
        let outputs = vec![first.outputs[0], node.outputs[0]];
        let members = vec![first.clone(), node.clone()];
        let gradient = node.outputs[0] as usize;
        r.values[gradient].source = Source::Node(loss);
        r.values[gradient].producer = Some(loss);
        r.nodes[loss] = Node { op, outputs, members, ..r.nodes[loss].clone() };
        drop_node(r, n);
    }
}

/// Makes a node one that nothing reads: the planner leaves it out.
fn drop_node(r: &mut Recording, n: usize) {
    let node = &mut r.nodes[n];
    node.outputs.clear();
    node.inputs.clear();
    node.op = Arc::new(Fill { value: 0.0, shape: crate::Shape::scalar() });
}

/// How often each value is read by needed nodes and by the user.
pub(super) fn readers(r: &Recording) -> Vec<usize> {
    let mut readers = vec![0usize; r.values.len()];
    for (node, needed) in r.nodes.iter().zip(needed_nodes(r)) {
        node.inputs.iter().filter(|_| needed).for_each(|&v| readers[v as usize] += 1);
    }
    r.outputs.iter().for_each(|o| readers[o.value as usize] += 1);
    readers
}

/// The gradients of a dense layer's weight, dyᵀ x, and bias, the sum of dy, read all of dy: together it is read once.
/// They run where the first of them was recorded.
fn weight_with_bias(r: &mut Recording) {
    let needed = needed_nodes(r);
    for n in 0..r.nodes.len() {
        let Some(second) = partner(r, n, &needed) else { continue };
        let sums_first = r.nodes[n].op.traits().pattern == Some(Pattern::SumOfRows);
        let (product, sum) = if sums_first { (second, n) } else { (n, second) };
        let outputs = vec![r.nodes[product].outputs[0], r.nodes[sum].outputs[0]];
        let inputs = r.nodes[product].inputs.clone();
        for v in &outputs {
            r.values[*v as usize].source = Source::Node(n);
            r.values[*v as usize].producer = Some(n);
        }
        let members = vec![r.nodes[product].clone(), r.nodes[sum].clone()];
        let first = &mut r.nodes[n];
        *first = Node { op: Arc::new(MatMulSum), inputs, outputs, members, ..first.clone() };
        drop_node(r, second);
    }
}

/// For a product Aᵀ B, the later sum of A's columns; for such a sum, the later product whose B is there already.
fn partner(r: &Recording, n: usize, needed: &[bool]) -> Option<usize> {
    let is_product = |n: usize| r.nodes[n].op.traits().pattern == Some(Pattern::MatMulTn);
    let is_sum = |n: usize| r.nodes[n].op.traits().pattern == Some(Pattern::SumOfRows);
    if !needed[n] || !(is_product(n) || is_sum(n)) {
        return None;
    }
    let a = *r.nodes[n].inputs.first()?;
    let is_matrix = r.values[a as usize].ty.shape.rank() == 2;
    // Gradients of one layer are recorded next to each other.
    let near = n + 1..r.nodes.len().min(n + 9);
    near.filter(|&m| is_matrix && needed[m] && r.nodes[m].inputs.first() == Some(&a)).find(|&m| {
        // A state that was updated since is none of them.
        let there = |&v: &ValueId| r.values[v as usize].producer.is_none_or(|p| p < n);
        match is_sum(n) {
            true => is_product(m) && r.nodes[m].inputs.iter().all(there),
            false => is_sum(m),
        }
    })
}
