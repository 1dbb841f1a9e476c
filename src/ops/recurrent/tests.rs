//! Against the formulas op by op, and what is refused.

use super::*;
use crate::Graph;
use crate::ops::testing::{Value, eval, noise, run};

fn walks() -> impl Iterator<Item = Walk> {
    let flags = |k: usize| [0, 1, 2, 3].map(|bit| k >> bit & 1 == 1);
    CellKind::ALL.into_iter().flat_map(move |cell| {
        (0..16).map(move |k| {
            let [is_reverse, batch_first, has_initial, has_lengths] = flags(k);
            Walk { cell, is_reverse, batch_first, has_initial, has_lengths }
        })
    })
}

const BATCH: usize = 3;
const TIMES: usize = 4;
const HIDDEN: usize = 5;

/// The states op by op: h of all times, and what is left at the end.
fn composed<'g>(of: &Arguments<'_, 'g>, x: Var<'g>, masks: &[Var<'g>]) -> (Var<'g>, Vec<Var<'g>>) {
    let walk = of.walk;
    let g = x.graph();
    let axis = usize::from(walk.batch_first);
    let zero = || g.full([BATCH, HIDDEN], 0.0);
    let mut states: Vec<Var<'g>> =
        (0..walk.states()).map(|k| of.initial.get(k).copied().unwrap_or_else(zero)).collect();
    let mut all = vec![None; TIMES];
    for step in 0..TIMES {
        let time = if walk.is_reverse { TIMES - 1 - step } else { step };
        let x = x.slice(axis, time, 1).reshape([BATCH, walk.cell.gates() * HIDDEN]);
        let mut u = states[0].matmul_nt(of.weight);
        if let Some(bias) = of.bias {
            u = u + bias;
        }
        let part = |v: Var<'g>, k: usize| v.slice(1, k * HIDDEN, HIDDEN);
        let next = match walk.cell {
            CellKind::Tanh => vec![(x + u).tanh()],
            CellKind::Relu => vec![(x + u).relu()],
            CellKind::Lstm => {
                let sum = x + u;
                let [i, f, o] = [0, 1, 3].map(|k| part(sum, k).sigmoid());
                let c = f * states[1] + i * part(sum, 2).tanh();
                vec![o * c.tanh(), c]
            }
            CellKind::Gru => {
                let [r, z] = [0, 1].map(|k| (part(x, k) + part(u, k)).sigmoid());
                let n = (part(x, 2) + r * part(u, 2)).tanh();
                vec![n - z * n + z * states[0]]
            }
        };
        states = match masks.get(time) {
            // 1 where the sequence goes on.
            Some(&mask) => next.iter().zip(&states).map(|(&a, &b)| a * mask + b - b * mask).collect(),
            None => next,
        };
        let dims = if walk.batch_first { [BATCH, 1, HIDDEN] } else { [1, BATCH, HIDDEN] };
        all[time] = Some(states[0].reshape(dims));
    }
    let all: Vec<Var<'g>> = all.into_iter().flatten().collect();
    (all[0].concat(&all[1..], axis), states)
}

/// Values and all gradients of every kind of walk are those of the formulas op by op.
#[test]
fn walks_and_their_gradients_are_what_the_formulas_give_op_by_op() {
    let lengths = [4u32, 1, 3];
    for walk in walks() {
        let g = Graph::new();
        let columns = walk.cell.gates() * HIDDEN;
        let dims = if walk.batch_first { [BATCH, TIMES, columns] } else { [TIMES, BATCH, columns] };
        let mut feed = Vec::new();
        let mut input = |name: &str, dims: &[usize]| {
            feed.push(Value::F(
                noise(dims.iter().product(), feed.len() as u32 + 1).iter().map(|v| v * 0.7).collect(),
            ));
            g.input(name, dims)
        };
        let x = input("x", &dims);
        let weight = input("weight", &[columns, HIDDEN]);
        let bias = walk.cell.has_bias().then(|| input("bias", &[columns]));
        let count = if walk.has_initial { walk.states() } else { 0 };
        let initial: Vec<Var<'_>> = (0..count).map(|k| input(["h", "c"][k], &[BATCH, HIDDEN])).collect();
        let seed = input("seed", &[dims[0], dims[1], HIDDEN]);
        let seed_of_last = input("last", &[BATCH, HIDDEN]);
        let lengths_of = walk.has_lengths.then(|| {
            feed.push(Value::U32(lengths.to_vec()));
            g.classes("lengths", [BATCH])
        });
        let masks: Vec<Var<'_>> = (0..if walk.has_lengths { TIMES } else { 0 })
            .map(|t| {
                feed.push(Value::F(lengths.iter().map(|&n| f64::from(u8::from((t as u32) < n))).collect()));
                g.input(&format!("mask{t}"), [BATCH, 1])
            })
            .collect();
        let of = Arguments { walk, weight, bias, initial: &initial, lengths: lengths_of };
        let (expected, states) = composed(&of, x, &masks);
        let found = x.recurrent(&of);
        // Something depends on the last cells, too.
        let cells = walk.cell.has_cell().then(|| found[1].slice(0, TIMES, 1).reshape([BATCH, HIDDEN]));
        let mut inputs = vec![x, weight];
        inputs.extend(bias);
        inputs.extend(&initial);
        let mut all = Vec::new();
        for (h, cells) in [(found[0], cells), (expected, states.get(1).copied())] {
            let mut loss = (h * seed).sum_all();
            if let Some(cells) = cells {
                loss = loss + (cells * seed_of_last).sum_all();
            }
            all.extend([vec![h, cells.unwrap_or(h)], g.gradients(loss, &inputs)].concat());
        }
        let values = run(&g, &feed, &all);
        let (found, expected) = values.split_at(values.len() / 2);
        for (k, (a, b)) in found.iter().zip(expected).enumerate() {
            assert_eq!(a.len(), b.len());
            for (a, b) in a.iter().zip(b) {
                assert!((a - b).abs() < 1e-12, "{walk:?} value {k}: {a} {b}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let walk = Walk {
        cell: CellKind::Lstm,
        is_reverse: false,
        batch_first: true,
        has_initial: true,
        has_lengths: true,
    };
    let message = |x: &[usize], weight: &[usize], state: &[usize], lengths: &[usize]| {
        let g = Graph::new();
        let initial = [g.input("h", state), g.input("c", [2, 3])];
        let (weight, lengths) = (g.input("w", weight), g.classes("n", lengths));
        g.input("x", x).recurrent(&Arguments {
            walk,
            weight,
            bias: None,
            initial: &initial,
            lengths: Some(lengths),
        });
        g.error().map_or_else(String::new, |e| e.to_string())
    };
    assert!(message(&[2, 5, 12], &[12, 3], &[2, 3], &[2]).is_empty());
    assert!(
        message(&[2, 12], &[12, 3], &[2, 3], &[2])
            .contains("sequences must be [batch, time, gates], got [2, 12]")
    );
    assert!(message(&[2, 5, 13], &[12, 3], &[2, 3], &[2]).contains("4 · hidden units"));
    assert!(
        message(&[2, 5, 12], &[3, 12], &[2, 3], &[2])
            .contains("the weight of the state must be [12, 3], got [3, 12]")
    );
    assert!(
        message(&[2, 5, 12], &[12, 3], &[3, 2], &[2]).contains("the first state must be [2, 3], got [3, 2]")
    );
    assert!(message(&[2, 5, 12], &[12, 3], &[2, 3], &[5]).contains("lengths must be [2], got [5]"));
    assert!(message(&[2, 40_000, 12], &[12, 3], &[2, 3], &[2]).contains("16384 are the most"));
    let e = [(&[2, 1, 4][..], 8), (&[4, 1], 4), (&[2, 1], 2), (&[2, 1], 2)];
    let mut inputs: Vec<(&[usize], Value)> =
        e.iter().map(|(dims, n)| (*dims, Value::F(noise(*n, 1)))).collect();
    inputs.push((&[2], Value::U32(vec![1, 2])));
    let error = eval(&Recurrent { walk }, true, &inputs).unwrap_err();
    assert!(error.contains("item 1 has the length 2, above 1"), "{error}");
}
