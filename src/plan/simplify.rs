//! Rewritings of a recording that save work and change no result.

use std::sync::Arc;

use super::needed_nodes;
use crate::graph::{Recording, Source, ValueId};
use crate::ops::Fill;

/// Makes formulas of numbers numbers: what gradients begin with is often so.
pub(super) fn fold(recording: &mut Recording) {
    for n in 0..recording.nodes.len() {
        let node = &recording.nodes[n];
        let number = |v: &ValueId| match recording.values[*v as usize].source {
            Source::Node(from) => recording.nodes[from].op.fill_value(),
            _ => None,
        };
        let Some(numbers) = node.inputs.iter().map(number).collect::<Option<Vec<f32>>>() else { continue };
        let value = match (node.op.pointwise(), &numbers[..]) {
            (Some(f), [_, ..]) => {
                let mut x = [0.0; 3];
                x.iter_mut().zip(&numbers).for_each(|(x, c)| *x = f64::from(*c));
                f.value(x) as f32
            }
            (None, [c]) if node.op.is_alias() => *c,
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

/// The node that computes a value.
fn producer(r: &Recording, v: ValueId) -> Option<usize> {
    match r.values[v as usize].source {
        Source::Node(n) => Some(n),
        _ => None,
    }
}

/// Of y = relu(x) and its maxima p, dx = [y > 0] · scatter(dp) is scatter([p > 0] · dp), since dp goes to where y is p. So
/// the mask has the size of the maxima, and y is not needed any more.
pub(super) fn relu_before_pooling(r: &mut Recording) {
    let mut readers = vec![0usize; r.values.len()];
    for (node, needed) in r.nodes.iter().zip(needed_nodes(r)) {
        node.inputs.iter().filter(|_| needed).for_each(|&v| readers[v as usize] += 1);
    }
    r.outputs.iter().for_each(|o| readers[o.value as usize] += 1);
    for n in 0..r.nodes.len() {
        let Some((back, pooled)) = masked_scatter(r, n, &readers) else { continue };
        let scattered = r.nodes[back].outputs[0];
        let [dp, at] = r.nodes[back].inputs[..] else { continue };
        // The two change places; the value between them is now of the size of the maxima.
        let (before, after) = r.nodes.split_at_mut(n);
        let (scatter, mask) = (&mut before[back], &mut after[0]);
        std::mem::swap(&mut scatter.op, &mut mask.op);
        std::mem::swap(&mut scatter.scope, &mut mask.scope);
        std::mem::swap(&mut scatter.place, &mut mask.place);
        scatter.inputs = vec![pooled, dp];
        mask.inputs = vec![scattered, at];
        r.values[scattered as usize].ty = r.values[pooled as usize].ty;
    }
}

/// For a `relu_grad` of what only a pooling's gradient gives, over the same y: that node, and the maxima.
fn masked_scatter(r: &Recording, n: usize, readers: &[usize]) -> Option<(usize, ValueId)> {
    let node = &r.nodes[n];
    let [y, scattered] = node.inputs[..] else { return None };
    let back = producer(r, scattered)?;
    let [_, at] = r.nodes[back].inputs[..] else { return None };
    let pool = producer(r, at)?;
    let is_pattern = node.op.name() == "relu_grad"
        && r.nodes[back].op.name() == "max_pool2d_backward"
        && r.nodes[pool].op.name() == "max_pool2d"
        && r.nodes[pool].inputs[0] == y
        && r.nodes[pool].outputs[1] == at
        && readers[scattered as usize] == 1;
    is_pattern.then(|| (back, r.nodes[pool].outputs[0]))
}
