//! Attention against the composition of products and softmax, what it refuses, and how much memory it takes.

use super::super::testing::{Value, noise, run};
use super::*;
use crate::graph::Graph;

/// Attention by ops that store all scores: q `[b, h, n, d]`, k and v with one head for each group, and what is added to scores.
fn composed<'g>(q: Var<'g>, k: Var<'g>, v: Var<'g>, mask: Option<Var<'g>>) -> Var<'g> {
    let [b, h, n, d] = [0, 1, 2, 3].map(|axis| q.dim(axis));
    let (kv, m) = (k.dim(1), k.dim(2));
    let shared = |x: Var<'g>| {
        let width = x.dim(3);
        x.reshape([b, kv, 1, m, width]).broadcast_to([b, kv, h / kv, m, width]).reshape([b, h, m, width])
    };
    let scores = q.matmul_nt(shared(k)) * (1.0 / (d as f32).sqrt());
    let scores = mask.map_or(scores, |mask| scores + mask.broadcast_to([b, h, n, m]));
    scores.softmax(3).matmul(shared(v))
}

/// Heads side by side.
fn columns(x: Var<'_>) -> Var<'_> {
    let [b, heads, places, width] = [0, 1, 2, 3].map(|axis| x.dim(axis));
    x.permute(&[0, 2, 1, 3]).reshape([b, places, heads * width])
}

/// What makes a key unseen: far below all scores, and yet a number.
const HIDDEN: f64 = -1e9;

#[test]
fn it_agrees_with_the_composition_forward_and_backward() {
    let lengths = [5u32, 9];
    for (causal, with_lengths, with_mask) in
        [(false, false, false), (true, false, false), (true, true, false), (false, true, true)]
    {
        let [b, h, kv, n, m, d, e] = [2, 4, 2, 7, 9, 3, 5];
        let g = Graph::new();
        let q = g.input("q", [b, h, n, d]);
        let k = g.input("k", [b, kv, m, d]);
        let v = g.input("v", [b, kv, m, e]);
        let dy = g.input("dy", [b, h, n, e]);
        let hides = g.input("hides", [b, 1, n, m]);
        let mask = g.input("mask", [n, m]);
        let of_items = g.classes("lengths", [b]);
        let options = AttentionOptions {
            causal,
            lengths: with_lengths.then_some(of_items),
            mask: with_mask.then_some(mask),
            ..Default::default()
        };
        let y = q.attention(k, v, &options);
        let all = if with_mask { hides + mask.broadcast_to([b, 1, n, m]) } else { hides };
        let expected = composed(q, k, v, Some(all));
        // The same with heads side by side.
        let side_by_side = columns(q).attention_of_columns(columns(k), columns(v), [h, kv], &options);
        let mut outputs = vec![y, side_by_side.reshape([b, n, h, e]).permute(&[0, 2, 1, 3]), expected];
        for y in outputs.clone() {
            outputs.extend(g.gradients((y * dy).sum_all(), &[q, k, v]));
        }
        let is_hidden = |i: usize| {
            let (item, row, key) = (i / (n * m), i / m % n, i % m);
            (with_lengths && key >= lengths[item] as usize) || (causal && key + n > row + m)
        };
        let hides = (0..b * n * m).map(|i| if is_hidden(i) { HIDDEN } else { 0.0 }).collect();
        let inputs = [
            Value::F(noise(b * h * n * d, 1)),
            Value::F(noise(b * kv * m * d, 2)),
            Value::F(noise(b * kv * m * e, 3)),
            Value::F(noise(b * h * n * e, 4)),
            Value::F(hides),
            Value::F(noise(n * m, 5)),
            Value::U32(lengths.to_vec()),
        ];
        let found = run(&g, &inputs, &outputs);
        for (which, [own, other, expected]) in
            [[0, 1, 2], [3, 6, 9], [4, 7, 10], [5, 8, 11]].into_iter().enumerate()
        {
            for at in 0..found[expected].len() {
                for own in [own, other] {
                    let off = (found[own][at] - found[expected][at]).abs();
                    assert!(off < 1e-10, "{causal} {with_lengths} {with_mask}: {which} [{at}] {off:e}");
                }
            }
        }
    }
}

#[test]
fn a_tensor_of_all_three_gives_what_they_give() {
    let (b, h, kv, n, d) = (2, 4, 2, 5, 3);
    let g = Graph::new();
    let x = g.input("x", [b, n, (h + 2 * kv) * d]);
    let options = AttentionOptions { causal: true, scale: Some(0.3), ..Default::default() };
    let part = |first: usize, heads: usize| x.slice(2, first * d, heads * d);
    let parts = part(0, h).attention_of_columns(part(h, kv), part(h + kv, kv), [h, kv], &options);
    let mut outputs = vec![x.self_attention([h, kv], &options), parts];
    for y in outputs.clone() {
        outputs.extend(g.gradients((y * y).sum_all(), &[x]));
    }
    let found = run(&g, &[Value::F(noise(b * n * (h + 2 * kv) * d, 1))], &outputs);
    for (own, other) in [(0, 1), (2, 3)] {
        let off = found[own].iter().zip(&found[other]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(off < 1e-12 && !found[own].is_empty(), "{own}: {off:e}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let message = |record: &dyn for<'g> Fn(&'g Graph) -> Var<'g>| {
        let g = Graph::new();
        let y = record(&g);
        g.gradients(y.sum_all(), &[y]);
        g.error().map_or_else(String::new, |e| e.to_string())
    };
    let of = |q: [usize; 4], k: [usize; 4], v: [usize; 4]| {
        message(&move |g| {
            g.input("q", q).attention(g.input("k", k), g.input("v", v), &AttentionOptions::default())
        })
    };
    assert!(of([1, 3, 2, 4], [1, 2, 5, 4], [1, 2, 5, 4]).contains("no multiple of 2 heads"));
    assert!(of([1, 2, 2, 4], [1, 2, 5, 3], [1, 2, 5, 4]).contains("keys of queries"));
    assert!(of([1, 2, 2, 4], [1, 2, 5, 4], [1, 2, 6, 4]).contains("values of queries"));
    assert!(of([1, 1, 2, 257], [1, 1, 5, 257], [1, 1, 5, 4]).contains("at most 256 columns"));
    assert!(of([2, 1, 2, 4], [1, 1, 5, 4], [1, 1, 5, 4]).contains("keys of queries"));
    let packed = |heads: [usize; 2], scale: Option<f32>| {
        message(&move |g| {
            g.input("x", [1, 2, 12]).self_attention(heads, &AttentionOptions { scale, ..Default::default() })
        })
    };
    assert!(packed([3, 1], None).contains("cannot be shared by 5 heads"));
    assert!(packed([0, 0], None).contains("cannot be shared by 0 heads"));
    assert!(packed([2, 2], Some(f32::NAN)).contains("the scale must be a number"));
    assert!(packed([2, 2], None).is_empty());
    let with = |mask: &'static [usize], lengths: usize, learned: bool| {
        let g = Graph::new();
        let mask = g.input("mask", mask);
        let options = AttentionOptions {
            lengths: Some(g.classes("lengths", [lengths])),
            mask: Some(mask),
            ..Default::default()
        };
        let y = g.input("x", [2, 4, 12]).self_attention([2, 1], &options);
        if learned {
            g.gradients(y.sum_all(), &[mask]);
        }
        g.error().map_or_else(String::new, |e| e.to_string())
    };
    assert!(with(&[4, 4], 2, false).is_empty());
    assert!(with(&[4, 4], 2, true).contains("no derivative by the mask"));
    assert!(with(&[4, 4], 3, false).contains("u32 [2], one for each item"));
    assert!(with(&[4, 5], 2, false).contains("does not broadcast"));
    assert!(with(&[3, 1, 4, 4], 2, false).contains("does not broadcast"));
}

/// Bytes that are planned for a training step of attention alone grow with the length, as its inputs do.
#[test]
fn planned_bytes_grow_linearly_with_the_length() {
    let planned = |n: usize| {
        let g = Graph::new();
        let x = g.input("x", [1, n, 3 * 64]);
        let y = x.self_attention([2, 2], &AttentionOptions { causal: true, ..Default::default() });
        let dx = g.gradients(y.square().sum_all(), &[x]);
        g.output("dx", dx[0]);
        crate::plan::Plan::of_formulas(g.finish().unwrap()).planned_bytes()
    };
    let [short, long] = [256, 2048].map(planned);
    assert!(long <= 8 * short + 4096, "{short} {long}");
}
