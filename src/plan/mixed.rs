//! Which values of a recording are stored in 16 bits where a step is compiled in mixed precision: activations and their
//! gradients. Kernels compute in 32 bits all the same.
//!
//! Micikevicius et al., "Mixed Precision Training", ICLR 2018: weights, their gradients and all that updates them keep
//! 32 bits, and so does what adds up much. As under PyTorch's `autocast`, which has lists of ops that are computed in 32
//! bits (powers, exponentials, sums, losses) and lets what is made of their results element by element have 32 as well.

use super::{needed_nodes, roots};
use crate::graph::{Node, Recording, Source, ValueId};
use crate::shape::DType;

/// Smaller values stay as they are: they save nothing, and often are sums.
const LEAST_ELEMENTS: usize = 256;

/// By value, whether it is stored in 16 bits. `refuses` says which nodes have kernels that cannot do that.
pub(super) fn choose_f16(r: &Recording, refuses: impl Fn(usize) -> bool) -> Vec<bool> {
    let needed = needed_nodes(r);
    let beside = beside_the_data(r, &needed);
    let wide = made_of_wide(r, &needed);
    let mut keeps: Vec<bool> = (0..r.values.len())
        .map(|v| {
            let value = &r.values[v];
            let computed =
                matches!(value.source, Source::Node(n) if needed[n] && !r.nodes[n].inputs.is_empty());
            let is_large = value.ty.dtype == DType::F32 && value.ty.shape.elements() >= LEAST_ELEMENTS;
            beside[v] || wide[v] || !computed || !is_large
        })
        .collect();
    r.outputs.iter().for_each(|o| keeps[o.value as usize] = true);
    for (_, node) in r.nodes.iter().enumerate().filter(|(n, _)| needed[*n] && refuses(*n)) {
        node.inputs.iter().chain(&node.outputs).for_each(|&v| keeps[v as usize] = true);
    }
    // What shares memory is stored in one way.
    let roots = roots(r);
    for v in 0..keeps.len() {
        let root = roots[v] as usize;
        keeps[root] |= keeps[v];
    }
    (0..keeps.len()).map(|v| !keeps[v] && !keeps[roots[v] as usize]).collect()
}

/// Whether a node makes of each element one at the same place, or moves elements.
fn is_local(node: &Node) -> bool {
    let alone =
        |n: &Node| n.op.pointwise().is_some() || n.op.traits().is_alias || n.op.traits().moves.is_some();
    node.members().iter().all(alone)
}

/// By value, whether an op keeps it in 32 bits, or it is made of such values element by element: what left the range
/// of half precision once may not come back at once, as in `x.exp().log()` and its gradient. Fused or not, this is
/// told of single nodes, so that the same values are rounded.
fn made_of_wide(r: &Recording, needed: &[bool]) -> Vec<bool> {
    let mut wide = vec![false; r.values.len()];
    let nodes = r.nodes.iter().zip(needed).filter(|(_, needed)| **needed);
    for node in nodes.flat_map(|(node, _)| node.members()) {
        let from_wide = is_local(node) && node.inputs.iter().any(|&v| wide[v as usize]);
        for (i, &v) in node.outputs.iter().enumerate() {
            wide[v as usize] |= from_wide || node.op.traits().keeps_f32.has(i);
        }
    }
    wide
}

/// By value, whether it belongs to the weights and not to the data: what updates of states read, and what is made of
/// such values, or of states alone, one by one.
fn beside_the_data(r: &Recording, needed: &[bool]) -> Vec<bool> {
    let mut beside = vec![false; r.values.len()];
    for (node, _) in r.nodes.iter().zip(needed).rev().filter(|(_, needed)| **needed) {
        let reads = &node.inputs[..node.inputs.len() - node.op.writes()];
        let leads_to_update = is_local(node) && node.outputs.iter().any(|&v| beside[v as usize]);
        let updates = node.op.writes() > 0 && !node.op.traits().only_looks;
        if updates || leads_to_update {
            reads.iter().for_each(|&v: &ValueId| beside[v as usize] = true);
        }
    }
    let is_own = |v: ValueId, known: &[bool]| {
        let is_number = |n: usize| r.nodes[n].inputs.is_empty();
        known[v as usize]
            || match r.values[v as usize].source {
                Source::State { .. } | Source::Constant(_) => true,
                Source::Node(n) => is_number(n),
                Source::Input(_) => false,
            }
    };
    let mut of_gradients = beside.clone();
    for (node, _) in r.nodes.iter().zip(needed).filter(|(node, needed)| **needed && is_local(node)) {
        let from_gradient = node.inputs.iter().any(|&v| of_gradients[v as usize]);
        if from_gradient || node.inputs.iter().all(|&v| is_own(v, &beside)) {
            node.outputs.iter().for_each(|&v| beside[v as usize] = true);
        }
        if from_gradient {
            node.outputs.iter().for_each(|&v| of_gradients[v as usize] = true);
        }
    }
    beside
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, Init, Params};
    use crate::ops::AdapterClass;
    use crate::optim::{AdamW, ClipNorm, Optimizer};

    /// Names of the ops whose first outputs are stored in 16 bits, and of those whose are not.
    fn sorted(g: &Graph) -> (Vec<&'static str>, Vec<&'static str>) {
        let r = g.finish().unwrap();
        let in_f16 = choose_f16(&r, |_| false);
        let of = |wanted: bool| {
            let nodes = r.nodes.iter().zip(needed_nodes(&r)).filter(|(_, needed)| *needed);
            let first = nodes.filter(|(n, _)| in_f16[n.outputs[0] as usize] == wanted);
            first.map(|(n, _)| n.op.name()).collect()
        };
        (of(true), of(false))
    }

    #[test]
    fn activations_are_f16_and_what_belongs_to_weights_is_not() {
        let params = Params::seeded(1);
        let w = params.param("w", [64, 64], Init::Constant(0.1));
        let b = params.param("b", [64], Init::Constant(0.1));
        let g = Graph::new();
        let x = g.input("x", [32, 64]);
        let (w, b) = (g.param(&w), g.param(&b));
        let y = (x.matmul(w) + b).relu();
        // A penalty, made of the weights alone.
        let loss = y.matmul(w).tanh().square().mean_all() + (w * w).sum_all() * 1e-4;
        ClipNorm::new(AdamW::new(&params, 1e-3), 1.0).minimize(loss, &params.trainable());
        g.output("loss", loss);
        let (half, full) = sorted(&g);
        let count = |list: &[&str], op: &str| list.iter().filter(|o| **o == op).count();
        // Two products forward, one gradient of an activation; both gradients of the weight stay.
        assert_eq!((count(&half, "matmul"), count(&half, "matmul_nt")), (2, 1), "{half:?} {full:?}");
        assert_eq!(count(&full, "matmul_tn"), 2, "{full:?}");
        assert_eq!((count(&half, "relu"), count(&half, "relu_grad"), count(&half, "tanh")), (1, 1, 1));
        assert!(!half.contains(&"sum") && !half.contains(&"matmul_tn"), "{half:?}");
        // w² and its gradient, and of clipping scaled gradients and their squares, and two factors.
        assert!(count(&full, "square") == 4 && !half.contains(&"add_scalar"), "{half:?} {full:?}");
        assert!(count(&full, "mul") >= 4 && !half.contains(&"mul"), "{half:?} {full:?}");
    }

    #[test]
    fn outputs_small_values_and_what_shares_their_memory_stay() {
        let g = Graph::new();
        let x = g.input("x", [16, 32]);
        let a = x.tanh();
        let b = a.relu();
        g.output("shape", a.reshape([512]) + 0.0);
        g.output("b", b);
        g.output("small", (x.slice(0, 0, 7).tanh() * 2.0).relu());
        let (half, full) = sorted(&g);
        assert_eq!(half, ["tanh", "reshape"], "{full:?}");
    }

    /// What a kernel reads after several movements is as wide as what was moved, whatever reshapes lie between.
    #[test]
    fn what_is_moved_stays_as_wide_as_it_was() {
        let g = Graph::new();
        let (x, w) = (g.input("x", [32, 64]), g.input("w", [8, 32]));
        let moved = |y: crate::Var<'_>| y.permute(&[1, 0]).reshape([8, 8, 32]).permute(&[1, 0, 2]).id;
        for (name, y) in [("wide", moved(x.exp())), ("narrow", moved(x.tanh()))] {
            g.output(name, crate::Var { graph: &g, id: y }.reshape([64, 32]).matmul_nt(w).tanh());
        }
        let caps = crate::ops::Caps::default_of(AdapterClass::Software);
        let r = crate::plan::fused(g.finish().unwrap(), &caps);
        let in_f16 = choose_f16(&r, |_| false);
        let of_moved = r.nodes.iter().filter(|n| n.op.name() == "as_strided");
        assert_eq!(of_moved.map(|n| in_f16[n.outputs[0] as usize]).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn a_kernel_that_cannot_refuses_for_all_it_touches() {
        let g = Graph::new();
        let x = g.input("x", [512]);
        g.output("y", x.tanh().relu().abs().sum_all());
        let r = g.finish().unwrap();
        let at = |op: &str| r.nodes.iter().position(|n| n.op.name() == op).unwrap();
        let of = |op: &str, in_f16: &[bool]| in_f16[r.nodes[at(op)].outputs[0] as usize];
        let relu = at("relu");
        let kept = choose_f16(&r, |n| n == relu);
        assert_eq!(["tanh", "relu", "abs", "sum"].map(|op| of(op, &kept)), [false, false, true, false]);
        // The same names for the fused form.
        let caps = crate::ops::Caps::default_of(AdapterClass::Gpu);
        let fused = crate::plan::fused(r.clone(), &caps);
        assert!(choose_f16(&fused, |_| false).contains(&true));
    }
}
