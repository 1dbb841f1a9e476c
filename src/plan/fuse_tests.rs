//! What is fused, and what is not.

use super::super::fused as fuse_all;
use super::*;
use crate::graph::Graph;
use crate::ops::AdapterClass;
use crate::{Init, Params};

/// The ops of each node after fusion.
fn fused(g: &Graph) -> Vec<String> {
    let r = fuse_all(g.finish().unwrap(), &Caps::default_of(AdapterClass::Software));
    for (id, value) in r.values.iter().enumerate() {
        if let Source::Node(n) = value.source {
            let made = |node: &Node| node.outputs.contains(&(id as ValueId));
            if r.nodes[n].inputs.is_empty() {
                continue;
            }
            assert!(made(&r.nodes[n]) || r.nodes[n].members.iter().any(made));
            assert_eq!(value.producer, Some(n));
        }
    }
    let name = |n: &Node| match &n.members[..] {
        [] => n.op.name().to_string(),
        members => members.iter().map(|m| m.op.name()).collect::<Vec<_>>().join("+"),
    };
    // Without what nothing needs.
    let needed = needed_nodes(&r);
    r.nodes.iter().zip(needed).filter(|(_, needed)| *needed).map(|(n, _)| name(n)).collect()
}

#[test]
fn an_activation_joins_the_product_and_its_bias() {
    let g = Graph::new();
    let x = g.input("x", [4, 8]).matmul(g.input("w", [8, 3])) + g.input("b", [3]);
    g.output("y", x.relu());
    assert_eq!(fused(&g), ["matmul+add+relu"]);
}

#[test]
fn what_others_read_is_stored() {
    let g = Graph::new();
    let product = g.input("x", [4, 8]).matmul(g.input("w", [8, 3]));
    // The product is read twice, so nothing can replace it.
    g.output("y", product.relu());
    g.output("z", product.sum_all());
    assert_eq!(fused(&g), ["matmul", "relu", "sum"]);
    let g = Graph::new();
    let x = g.input("x", [4]);
    let e = x.exp();
    g.output("e", e);
    g.output("y", e + x);
    g.output("z", (e + x).sum_all());
    // `e` is a result of the group too. `e + x` was recorded twice; the second is computed where it is summed.
    assert_eq!(fused(&g), ["exp+add", "add+sum"]);
}

#[test]
fn a_reader_outside_ends_a_group() {
    let g = Graph::new();
    let e = g.input("x", [4, 4]).exp();
    let m = e.matmul(e);
    // `tanh` comes after the product that reads `e`, so it cannot run with `exp`.
    g.output("y", e.tanh() + m);
    assert_eq!(fused(&g), ["exp", "matmul+tanh+add"]);
}

#[test]
fn a_state_is_read_before_it_is_updated() {
    let params = Params::seeded(0);
    let w = params.param("w", [4], Init::Constant(1.0));
    let g = Graph::new();
    let before = g.param(&w).exp();
    crate::optim::Optimizer::minimize(
        &crate::optim::Sgd::new(&params, 0.1),
        g.param(&w).square().sum_all(),
        std::slice::from_ref(&w),
    );
    // The update stands between: `exp` must not move after it.
    g.output("y", before.relu());
    let names = fused(&g);
    let at = |part: &str| names.iter().position(|n| n.contains(part)).unwrap();
    assert!(at("exp") < at("sgd") && at("relu") > at("sgd"), "{names:?}");
}

#[test]
fn two_branches_meet_in_one_kernel_and_two_products_in_two() {
    let g = Graph::new();
    let (a, b) = (g.input("a", [4, 4]), g.input("b", [4, 4]));
    g.output("y", a.sigmoid() * b.tanh());
    assert_eq!(fused(&g), ["sigmoid+tanh+mul"]);
    let g = Graph::new();
    let (a, b) = (g.input("a", [4, 4]), g.input("b", [4, 4]));
    g.output("y", a.matmul(b).sigmoid() * b.matmul(a).tanh());
    assert_eq!(fused(&g), ["matmul+sigmoid", "matmul+tanh+mul"]);
}

#[test]
fn formulas_of_numbers_are_numbers() {
    let g = Graph::new();
    let half = (g.full([4], 2.0).recip() * g.full([4], 3.0)).reshape([2, 2]) + -1.0;
    g.output("y", g.input("x", [2, 2]) * half);
    let r = fuse_all(g.finish().unwrap(), &Caps::default_of(AdapterClass::Gpu));
    let value = r.nodes.iter().rev().find_map(|n| n.op.traits().constant);
    assert_eq!(value, Some(0.5));
    assert_eq!(r.nodes.last().unwrap().op.name(), "mul");
}

#[test]
fn a_bias_joins_through_a_reshape() {
    let g = Graph::new();
    let y = g.input("x", [2, 3, 8]).matmul(g.input("w", [8, 5])) + g.input("b", [5]);
    g.output("y", y.relu());
    assert_eq!(fused(&g), ["reshape", "matmul+reshape+add+relu"]);
    // Formulas that were recorded before the reshape stand after it.
    let g = Graph::new();
    let product = g.input("x", [6, 8]).matmul(g.input("w", [8, 5]));
    let t = g.input("t", [3, 10]).tanh();
    g.output("y", product.reshape([3, 10]) * t);
    assert_eq!(fused(&g), ["matmul+reshape+tanh+mul"]);
    // Rows of another length have other columns.
    let g = Graph::new();
    let y = g.input("x", [6, 8]).matmul(g.input("w", [8, 5])).reshape([3, 10]) + g.input("b", [10]);
    g.output("y", y);
    assert_eq!(fused(&g), ["matmul", "reshape", "add"]);
}

#[test]
fn the_mask_of_relu_is_taken_of_the_maxima() {
    let g = Graph::new();
    let x = g.input("x", [2, 3, 8, 8]);
    let y = x.relu().max_pool2d(crate::ops::PoolOptions::square(2));
    let loss = (y * g.input("c", [2, 3, 4, 4])).sum_all();
    g.output("dx", g.gradients(loss, &[x])[0]);
    let names = fused(&g);
    assert_eq!(names.last().map(String::as_str), Some("max_pool2d_backward"), "{names:?}");
    assert!(names.iter().any(|n| n.contains("mul+relu_grad")), "{names:?}");
}

#[test]
fn a_layers_gradients_are_one_op() {
    let g = Graph::new();
    let (x, w, b) = (g.input("x", [6, 8]), g.input("w", [5, 8]), g.input("b", [5]));
    let loss = (x.matmul_nt(w) + b).tanh().sum_all();
    for (name, d) in ["dw", "db"].iter().zip(g.gradients(loss, &[w, b])) {
        g.output(name, d);
    }
    let names = fused(&g);
    let pair = names.iter().filter(|n| n.contains("matmul_tn") || n.contains("sum")).collect::<Vec<_>>();
    assert_eq!(pair, ["matmul_tn+sum"], "{names:?}");
}

#[test]
fn a_loss_comes_with_its_gradient() {
    let g = Graph::new();
    let (z, c) = (g.input("z", [6, 8]), g.classes("c", [6]));
    let loss = z.softmax_cross_entropy(c);
    g.output("loss", loss);
    g.output("dz", g.gradients(loss, &[z])[0]);
    assert_eq!(fused(&g), ["cross_entropy+cross_entropy_grad", "sum"]);
    // Not where the losses' cotangents differ.
    let g = Graph::new();
    let (z, c) = (g.input("z", [6, 8]), g.classes("c", [6]));
    let loss = (z.cross_entropy_per_row(c) * g.input("w", [6])).sum_all();
    g.output("dz", g.gradients(loss, &[z])[0]);
    assert!(fused(&g).iter().any(|n| n == "cross_entropy_grad"), "{:?}", fused(&g));
}

#[test]
fn groups_stay_within_bindings() {
    let g = Graph::new();
    let sum = (0..20).fold(g.input("x", [4]), |sum, i| sum + g.input(&format!("x{i}"), [4]));
    g.output("y", sum);
    let r = fuse_all(g.finish().unwrap(), &Caps::default_of(AdapterClass::Gpu));
    assert!(r.nodes.len() > 2 && r.nodes.len() < 6, "{}", r.nodes.len());
    assert!(r.nodes.iter().all(|n| n.inputs.len() + n.outputs.len() <= 8));
    // Where many may be bound, a chain still has names for so many inputs only: its text is written.
    let caps = Caps { storage_buffers: 64, ..Caps::default_of(AdapterClass::Gpu) };
    let r = fuse_all(g.finish().unwrap(), &caps);
    for node in &r.nodes {
        let types = |ids: &[ValueId]| ids.iter().map(|&v| r.values[v as usize].ty).collect::<Vec<_>>();
        let (inputs, outputs) = (types(&node.inputs), types(&node.outputs));
        assert!(inputs.len() <= Chain::MOST_INPUTS);
        node.op.dispatch(&crate::ops::KernelContext::new(&caps, &inputs, &outputs)).unwrap();
    }
}

/// A product with a state that is updated after the bias's gradient was recorded has to wait for the update.
#[test]
fn a_product_does_not_overtake_the_update_of_what_it_reads() {
    let params = Params::seeded(0);
    let w = params.param("w", [4, 3], Init::Constant(1.0));
    let g = Graph::new();
    let a = g.input("a", [4, 5]);
    g.output("sums", a.sum(&[0]));
    let sgd = crate::optim::Sgd::new(&params, 0.1);
    crate::optim::Optimizer::minimize(&sgd, g.param(&w).square().sum_all(), std::slice::from_ref(&w));
    g.output("y", a.matmul_tn(g.param(&w)));
    let names = fused(&g);
    let at = |part: &str| names.iter().position(|n| n.contains(part)).unwrap();
    assert!(at("sgd") < at("matmul_tn"), "{names:?}");
}

/// Recomputation simplifies first and fuses then, which simplifies again.
#[test]
fn what_is_simplified_once_stays() {
    let g = Graph::new();
    let (x, w, b) = (g.input("x", [2, 3, 8, 8]), g.input("w", [5, 12]), g.input("b", [5]));
    let two = crate::ops::PoolOptions::square(2);
    // One pooling right after another: the mask moves past both.
    let pooled = x.relu().max_pool2d(two).max_pool2d(two);
    let logits = pooled.reshape([2, 12]).matmul_nt(w) + b;
    let loss = logits.softmax_cross_entropy(g.classes("c", [2]));
    for (name, d) in ["dx", "dw", "db"].iter().zip(g.gradients(loss, &[x, w, b])) {
        g.output(name, d);
    }
    let mut r = g.finish().unwrap();
    let text = |r: &Recording| {
        let node = |n: &Node| format!("{} {:?} {:?}", n.op.name(), n.inputs, n.outputs);
        r.nodes.iter().map(node).collect::<Vec<_>>()
    };
    super::super::simplify::simplify(&mut r);
    let once = text(&r);
    super::super::simplify::simplify(&mut r);
    assert_eq!(text(&r), once);
    let at = |name: &str| once.iter().position(|n| n.starts_with(name)).unwrap();
    assert!(at("relu_grad") < at("max_pool2d_backward"), "{once:?}");
    assert!(at("matmul_tn_sum") > 0 && at("cross_entropy_both") > 0);
}

/// The running averages of a normalization are recorded between it and the formulas after it.
#[test]
fn updates_of_statistics_wait_for_what_comes_after_a_normalization() {
    use crate::nn::{BatchNorm2d, Layer};
    let params = Params::seeded(0);
    let (first, second) = (BatchNorm2d::new(&params.at("a"), 3), BatchNorm2d::new(&params.at("b"), 3));
    let g = Graph::new();
    let x = g.input("x", [2, 3, 4, 4]);
    let y = first.forward(x).relu();
    g.output("y", (second.forward(y) + x).relu());
    let both =
        ["batch_norm+relu", "accumulate", "accumulate", "batch_norm+add+relu", "accumulate", "accumulate"];
    assert_eq!(fused(&g), both);
    // One that is used twice reads what the first update left, so nothing moves.
    let g = Graph::new();
    let x = g.input("x", [2, 3, 4, 4]);
    g.output("y", (first.forward(x) + first.forward(x * 2.0)).relu());
    let names = fused(&g);
    let at = |from: usize, name: &str| names[from..].iter().position(|n| n.contains(name)).map(|i| from + i);
    let one = at(0, "batch_norm").unwrap();
    let two = at(one + 1, "batch_norm").unwrap();
    let updates = names[one..two].iter().filter(|n| *n == "accumulate").count();
    assert_eq!(updates, 2, "{names:?}");
}
