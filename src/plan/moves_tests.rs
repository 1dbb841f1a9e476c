use crate::graph::{Graph, Init, Params, Var};
use crate::op::{AdapterClass, Caps};
use crate::plan::fused;

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
    g.output("y", (x * 2.0).permute(&[1, 0]).permute(&[1, 0]).reshape([24]).tanh());
    assert!(!ops(&g).contains(&"permute"));
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
