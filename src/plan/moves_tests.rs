use crate::graph::{Graph, Init, Node, Params, Var};
use crate::op::{AdapterClass, Caps};
use crate::plan::{CompileOptions, Executes, Plan, Target, fused, lower};

/// Names of the ops that are left.
fn ops(g: &Graph) -> Vec<&'static str> {
    let caps = Caps::default_of(AdapterClass::Software);
    let r = fused(g.finish().unwrap(), &caps);
    let needed = super::super::needed_nodes(&r);
    r.nodes.iter().zip(needed).filter(|(_, needed)| *needed).map(|(n, _)| n.op.name()).collect()
}

fn heads(x: Var<'_>, first: usize) -> Var<'_> {
    x.slice(2, first, 8).reshape([2, 5, 2, 4]).permute(&[0, 2, 1, 3])
}

#[test]
fn heads_are_read_at_once_and_their_gradients_put_together() {
    let g = Graph::new();
    let x = g.input("x", [2, 5, 24]);
    let [q, k, v] = [0, 8, 16].map(|first| heads(x, first));
    g.output("y", q.matmul_nt(k).matmul(v));
    assert_eq!(ops(&g), ["as_strided", "as_strided", "as_strided", "matmul_nt", "matmul"]);
    let loss = q.matmul_nt(k).matmul(v).sum_all();
    let dx = g.gradients(loss, &[x])[0];
    g.output("dx", dx);
    let ops = ops(&g);
    assert_eq!(
        ["assemble", "pad", "permute", "slice"].map(|op| ops.iter().filter(|o| **o == op).count()),
        [1, 0, 0, 0]
    );
}

#[test]
fn what_is_moved_back_is_where_it_was() {
    let g = Graph::new();
    let x = g.input("x", [6, 4]);
    g.output("y", x.exp().permute(&[1, 0]).permute(&[1, 0]).sum(&[1]));
    // The sum reads what it is the exponential of.
    assert_eq!(ops(&g), ["fused"]);
    // An output has memory of its own.
    let g = Graph::new();
    g.output("y", g.input("x", [6, 4]).permute(&[1, 0]).permute(&[1, 0]));
    assert_eq!(ops(&g), ["as_strided"]);
}

#[test]
fn members_are_in_order_with_the_reshapes_between() {
    let g = Graph::new();
    g.output("y", heads(g.input("x", [2, 5, 24]), 8));
    let r = fused(g.finish().unwrap(), &Caps::default_of(AdapterClass::Software));
    let node = r.nodes.iter().find(|n| n.op.name() == "as_strided").unwrap();
    let members: Vec<&str> = node.members.iter().map(|m| m.op.name()).collect();
    assert_eq!(members, ["slice", "reshape", "permute"]);
    assert!(node.members.windows(2).all(|pair| pair[1].inputs == pair[0].outputs));
}

/// Chains and sums of thousands stay cheap to plan: no node stands for all of them.
#[test]
fn long_chains_are_composed_in_pieces() {
    let g = Graph::new();
    let x = g.input("x", [3000]);
    let parts: Vec<Var<'_>> = (0..1500).map(|i| x.slice(0, 2 * i, 2).reshape([1, 2])).collect();
    let loss = parts.iter().fold(g.scalar(0.0), |sum, part| sum + part.square().sum_all());
    g.output("dx", g.gradients(loss, &[x])[0]);
    let mut rest = g.input("z", [500]);
    for _ in 0..400 {
        rest = rest.slice(0, 1, rest.dim(0) - 1);
    }
    g.output("rest", rest);
    let r = fused(g.finish().unwrap(), &Caps::default_of(AdapterClass::Software));
    let assembled: Vec<_> = r.nodes.iter().filter(|n| n.op.name() == "assemble").collect();
    assert_eq!((assembled.len(), assembled[0].inputs.len()), (1, 1500));
    let longest = r.nodes.iter().filter(|n| n.op.name() == "as_strided").map(|n| n.members.len()).max();
    assert!(longest.is_some_and(|members| members < 30), "{longest:?}");
}

/// What is computed again for a small budget stands for its own values, not for those of the first time.
#[test]
fn copies_of_movements_have_members_of_their_own() {
    let g = Graph::new();
    let x = g.input("x", [64, 64]);
    let [w, wide, narrow] =
        [("w", [64, 64]), ("wide", [64, 512]), ("narrow", [512, 64])].map(|(n, d)| g.input(n, d));
    let moved = x.permute(&[1, 0]).reshape([8, 8, 64]).permute(&[1, 0, 2]).reshape([64, 64]);
    let y = moved.matmul(w).tanh().matmul(wide).tanh().matmul(narrow).sum_all();
    g.output("dw", g.gradients(y, &[w])[0]);
    let caps = Caps::default_of(AdapterClass::Software);
    let lowered = |budget| {
        let executor = Executes::Kernels { caps: &caps, fuses: true, joins: false, tuned: None };
        let options = CompileOptions { memory_budget: budget, ..CompileOptions::new() };
        lower(g.finish().unwrap(), &Target { executor, options })
    };
    let is_moved = |n: &&Node| n.op.name() == "as_strided";
    let of = |plan: &Plan| plan.recording.nodes.iter().filter(is_moved).count();
    let free = lowered(None).unwrap();
    let tight =
        (1..50).map(|part| lowered(Some(free.planned_bytes() / 50 * part))).find_map(Result::ok).unwrap();
    assert!(of(&tight) > of(&free), "{tight}");
    for node in tight.recording.nodes.iter().filter(is_moved) {
        let (first, last) = (&node.members[0], node.members.last().unwrap());
        assert_eq!((&first.inputs, &last.outputs), (&node.inputs, &node.outputs));
    }
}

/// Each of these stays as it is.
#[test]
fn what_cannot_be_one_stays_apart() {
    // Read before the state is updated, and moved again after that.
    let params = Params::seeded(0);
    let state = params.state("s", [3, 4], Init::Constant(1.0));
    let g = Graph::new();
    let old = g.param(&state).slice(1, 1, 2);
    g.param(&state).assign(g.input("x", [3, 4]));
    g.output("y", old.permute(&[1, 0]));
    assert!(ops(&g).contains(&"slice") && ops(&g).contains(&"permute"));
    // The same of a sum of parts, one of which is a state, by way of a reshape.
    let params = Params::seeded(0);
    let state = params.state("s", [2, 2], Init::Constant(1.0));
    let g = Graph::new();
    let old = g.param(&state).reshape([4]).pad(&[0], &[4], 0.0);
    g.param(&state).assign(g.input("x", [2, 2]));
    g.output("y", old + g.input("b", [4]).pad(&[4], &[0], 0.0));
    assert!(!ops(&g).contains(&"assemble"));
    // A small part of what is large is read much later.
    let g = Graph::new();
    let part = g.input("x", [64, 64]).tanh().slice(0, 3, 2);
    let (w, mut y) = (g.input("w", [1, 1]), part.sum_all());
    for _ in 0..6 {
        y = y.reshape([1, 1]).matmul(w).reshape([]);
    }
    g.output("y", part.permute(&[1, 0]) * y);
    assert!(ops(&g).contains(&"permute"));
    // More is read than there is.
    let g = Graph::new();
    g.output("y", g.input("x", [3, 4]).permute(&[1, 0]).broadcast_to([9, 4, 3]));
    assert_eq!(ops(&g), ["permute", "broadcast"]);
    // Parts that overlap, that leave a gap, that are surrounded by something else, that somebody else reads.
    let sum = |value: f32, first: usize, is_read: bool| {
        let g = Graph::new();
        let a = g.input("a", [4]).pad(&[0], &[4], value);
        let b = g.input("b", [4]).pad(&[first], &[4 - first], 0.0);
        g.output("y", a + b);
        if is_read {
            g.output("a", a);
        }
        ops(&g).contains(&"assemble")
    };
    assert!(sum(0.0, 4, false));
    assert!(!sum(0.0, 3, false) && !sum(1.0, 4, false) && !sum(-0.0, 4, false) && !sum(0.0, 4, true));
    let g = Graph::new();
    let part = |name, before, after| g.input(name, [2]).pad(&[before], &[after], 0.0);
    g.output("y", part("a", 0, 3) + part("b", 3, 0));
    assert!(!ops(&g).contains(&"assemble"));
}
