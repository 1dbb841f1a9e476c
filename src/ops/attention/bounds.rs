//! How far off a device may be.

use super::super::softmax::{exp_units, log_units};
use super::super::{In, TINY, UNIT};
use super::layout::{Problem, Seen};
use super::reference::{self, queries, tensors, vector};
use super::{Attention, AttentionGrad};

/// Σ |a b|.
fn size(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a * b).abs()).sum()
}

/// Scores of a query with their absolute errors: d products and as many sums, the scale and the mask.
fn scores(p: &Problem, seen: &Seen<'_, f64>, [q, k]: [&[f64]; 2], place: [usize; 3]) -> Vec<(f64, f64)> {
    let [batch, head, _] = place;
    let q_row = vector(q, &p.q, place, p.d);
    let scores = reference::scores(p, seen, [q, k], place);
    let with = |(j, s): (usize, f64)| {
        let size = size(q_row, vector(k, &p.k, [batch, head / p.group, j], p.d)) * f64::from(p.scale).abs();
        // The scale itself is rounded, and so are the sum with the mask and the difference from the largest.
        let error = (p.d as f64 + 4.0) * UNIT * size + if s.is_finite() { 2.0 * UNIT * s.abs() } else { 0.0 };
        (s, error + p.d as f64 * TINY)
    };
    scores.into_iter().enumerate().map(with).collect()
}

/// A weight before it is divided: e^(score - largest) off by the score's error, one exponential, and one for each of at most m/2
/// steps in which what was found before is multiplied by e^(largest before - largest now): all in roundoffs of the weight. The
/// exponents add up to the score's distance from the last largest. The output is off by that of each weight, that of their sum,
/// and m roundoffs of both sums.
pub(super) fn attention(op: &Attention, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
    let mut bounds: Vec<Vec<f64>> = outputs.iter().map(|o| vec![TINY; o.f().len()]).collect();
    let Ok(p) = op.problem(inputs) else { return bounds };
    let Ok(seen) = Seen::of(&p, &inputs[op.layout.tensors()..]) else { return bounds };
    let [q, k, v] = tensors(inputs, op.layout.is_packed());
    queries(&p, |batch, head, i| {
        let scores = scores(&p, &seen, [q, k], [batch, head, i]);
        let at = (batch * p.heads() + head) * p.n + i;
        let lse = outputs[1].f()[at];
        if !lse.is_finite() {
            return;
        }
        let steps = scores.len().div_ceil(2) as f64;
        let largest = scores.iter().fold(f64::NEG_INFINITY, |a, (s, _)| a.max(*s));
        let relative = |s: f64, error: f64| 1.01 * error + UNIT * (exp_units(s - largest) + 8.0 * steps);
        let weights: Vec<(f64, f64)> = scores
            .iter()
            .filter(|(s, _)| *s != f64::NEG_INFINITY)
            .map(|&(s, error)| ((s - lse).exp(), relative(s, error)))
            .collect();
        // Where launches go on with each other's results, these have the logarithm of the sum, rounded.
        let goes_on = 3.0 * UNIT * lse.abs();
        let of_sum: f64 = weights.iter().map(|(w, relative)| w * relative).sum::<f64>()
            + weights.len() as f64 * UNIT
            + goes_on;
        let own = &mut bounds[0][p.o.at(batch, head, i)..][..p.e];
        let visible = scores.iter().enumerate().filter(|(_, (s, _))| *s != f64::NEG_INFINITY);
        for ((j, _), (weight, relative)) in visible.zip(&weights) {
            let v = vector(v, &p.v, [batch, head / p.group, j], p.e);
            let error = relative + of_sum + (scores.len() as f64 + 6.0) * UNIT + goes_on;
            // Where weights are below the smallest normal number they may be 0.
            own.iter_mut().zip(v).for_each(|(b, v)| *b += (weight * error + TINY) * v.abs() * 1.01);
        }
        let sum = (lse - largest).exp();
        bounds[1][at] += of_sum * 1.01 + UNIT * (log_units(0.0, sum) + lse.abs() + largest.abs());
    });
    bounds
}

/// Weights have the errors of their scores and of an exponential, dp of its sum, and so has D; sums over keys or queries of the
/// products with them are off by what these are, and a roundoff for each term.
pub(super) fn gradient(op: &AttentionGrad, inputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
    let (op, packed) = (&op.0, op.0.layout.is_packed());
    let count = op.layout.tensors();
    let mut bounds: Vec<Vec<f64>> = inputs[..count].iter().map(|x| vec![TINY; x.f().len()]).collect();
    let Ok(p) = op.problem(inputs) else { return bounds };
    let Ok(seen) = Seen::of(&p, &inputs[count..]) else { return bounds };
    let [q, k, v] = tensors(inputs, packed);
    let [o, lse, dy] = [0, 1, 2].map(|i| inputs[op.inputs() + i].f());
    let (width, scale) = (p.e as f64, f64::from(p.scale).abs());
    let (keys, rows) = (p.m as f64, p.rows() as f64);
    let of = |i: usize| if packed { 0 } else { i };
    queries(&p, |batch, head, i| {
        let place = [batch, head, i];
        let lse = lse[(batch * p.heads() + head) * p.n + i];
        if !lse.is_finite() {
            return;
        }
        let (o, dy) = (vector(o, &p.o, place, p.e), vector(dy, &p.o, place, p.e));
        let sum: f64 = o.iter().zip(dy).map(|(a, b)| a * b).sum();
        let sum_error = (width + 1.0) * UNIT * size(o, dy) + width * TINY;
        for (j, (s, error)) in scores(&p, &seen, [q, k], place).into_iter().enumerate() {
            if s == f64::NEG_INFINITY {
                continue;
            }
            let key = [batch, head / p.group, j];
            let (k, v) = (vector(k, &p.k, key, p.d), vector(v, &p.v, key, p.e));
            let weight = (s - lse).exp();
            let relative = 1.01 * error + UNIT * (exp_units(s - lse) + 2.0 * lse.abs());
            let of_weight = weight * relative + TINY;
            let dp: f64 = dy.iter().zip(v).map(|(a, b)| a * b).sum();
            let dp_error = (width + 1.0) * UNIT * size(dy, v) + width * TINY;
            let ds = weight * (dp - sum).abs();
            let ds_error = of_weight * (dp - sum).abs()
                + (weight + of_weight) * (dp_error + sum_error)
                + 3.0 * UNIT * ds;
            let mut add = |to: usize, at: usize, x: &[f64], by: f64| {
                bounds[to][at..].iter_mut().zip(x).for_each(|(b, x)| *b += 1.01 * by * x.abs() + TINY);
            };
            add(of(2), p.v.at(batch, key[1], j), dy, of_weight + (rows + 2.0) * UNIT * weight);
            let by = |terms: f64| scale * (ds_error + (terms + 4.0) * UNIT * ds);
            add(of(0), p.q.at(batch, head, i), k, by(keys));
            add(of(1), p.k.at(batch, key[1], j), vector(q, &p.q, place, p.d), by(rows));
        }
    });
    bounds
}
