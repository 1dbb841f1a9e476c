//! The formulas, plainly.

use super::super::{In, Out, Real};
use super::layout::{Problem, Seen, Strides};
use super::{Attention, AttentionGrad};

/// The inner product of two vectors.
fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).fold(T::zero(), |sum, (&a, &b)| sum + a * b)
}

/// The vector of a head and a place.
pub(super) fn vector<'a, T>(
    data: &'a [T],
    strides: &Strides,
    [batch, head, row]: [usize; 3],
    width: usize,
) -> &'a [T] {
    &data[strides.at(batch, head, row)..][..width]
}

/// Calls `each` with batch, head and place of every query.
pub(super) fn queries(p: &Problem, mut each: impl FnMut(usize, usize, usize)) {
    for batch in 0..p.batch {
        for head in 0..p.heads() {
            (0..p.n).for_each(|i| each(batch, head, i));
        }
    }
}

/// q, k and v.
pub(super) fn tensors<'a, T>(inputs: &[In<'a, T>], packed: bool) -> [&'a [T]; 3] {
    if packed { [inputs[0].f(); 3] } else { [0, 1, 2].map(|i| inputs[i].f()) }
}

/// The scores of a query with the keys that it sees.
pub(super) fn scores<T: Real>(
    p: &Problem,
    seen: &Seen<'_, T>,
    [q, k]: [&[T]; 2],
    [batch, head, i]: [usize; 3],
) -> Vec<T> {
    let q = vector(q, &p.q, [batch, head, i], p.d);
    let mask = seen.mask(batch, head, i);
    let score = |j: usize| {
        let score = dot(q, vector(k, &p.k, [batch, head / p.group, j], p.d)) * T::of(f64::from(p.scale));
        mask.map_or(score, |mask| score + mask[j])
    };
    (0..seen.keys(batch, i)).map(score).collect()
}

pub(super) fn attention<T: Real>(
    op: &Attention,
    inputs: &[In<'_, T>],
    outputs: &mut [Out<'_, T>],
) -> Result<(), String> {
    let p = op.problem(inputs)?;
    let seen = Seen::of(&p, &inputs[op.layout.tensors()..])?;
    let [q, k, v] = tensors(inputs, op.layout.is_packed());
    let [o, lse] = outputs else { return Err("gives an output and a number for each query".into()) };
    let (o, lse) = (o.f(), lse.f());
    queries(&p, |batch, head, i| {
        let scores = scores(&p, &seen, [q, k], [batch, head, i]);
        let o = &mut o[p.o.at(batch, head, i)..][..p.e];
        o.fill(T::zero());
        let largest = scores.iter().fold(T::neg_infinity(), |a, &b| super::super::larger(a, b));
        let at = (batch * p.heads() + head) * p.n + i;
        if largest == T::neg_infinity() {
            lse[at] = T::infinity();
            return;
        }
        let sum = scores.iter().fold(T::zero(), |sum, &s| sum + weight(s, largest));
        for (j, &s) in scores.iter().enumerate() {
            let weight = weight(s, largest) / sum;
            let v = vector(v, &p.v, [batch, head / p.group, j], p.e);
            if s != T::neg_infinity() {
                o.iter_mut().zip(v).for_each(|(o, &v)| *o = *o + weight * v);
            }
        }
        lse[at] = largest + sum.ln();
    });
    Ok(())
}

/// e^(score - base), 0 for a key that the mask hides.
pub(super) fn weight<T: Real>(score: T, base: T) -> T {
    if score == T::neg_infinity() { T::zero() } else { (score - base).exp() }
}

/// The places of dq, dk and dv: three outputs, or one.
pub(super) fn gradients<'a, T>(
    outputs: &'a mut [Out<'_, T>],
    packed: bool,
) -> Result<Vec<&'a mut [T]>, String> {
    let all: Vec<&mut [T]> = outputs.iter_mut().map(Out::f).collect();
    if all.len() == if packed { 1 } else { 3 } { Ok(all) } else { Err("gives dq, dk and dv".into()) }
}

pub(super) fn gradient<T: Real>(
    op: &AttentionGrad,
    inputs: &[In<'_, T>],
    outputs: &mut [Out<'_, T>],
) -> Result<(), String> {
    let (op, packed) = (&op.0, op.0.layout.is_packed());
    let p = op.problem(inputs)?;
    let seen = Seen::of(&p, &inputs[op.layout.tensors()..])?;
    let [q, k, v] = tensors(inputs, packed);
    let [o, lse, dy] = [0, 1, 2].map(|i| inputs[op.inputs() + i].f());
    let mut to = gradients(outputs, packed)?;
    to.iter_mut().for_each(|to| to.fill(T::zero()));
    let scale = T::of(f64::from(p.scale));
    let add = |to: &mut [T], at: usize, by: T, x: &[T]| {
        to[at..].iter_mut().zip(x).for_each(|(to, &x)| *to = *to + by * x);
    };
    let of = |i: usize| if packed { 0 } else { i };
    queries(&p, |batch, head, i| {
        let (place, kv) = ([batch, head, i], head / p.group);
        let lse = lse[(batch * p.heads() + head) * p.n + i];
        let (o, dy) = (vector(o, &p.o, place, p.e), vector(dy, &p.o, place, p.e));
        let sum = dot(o, dy);
        for (j, s) in scores(&p, &seen, [q, k], place).into_iter().enumerate() {
            if s == T::neg_infinity() || lse == T::infinity() {
                continue;
            }
            let weight = weight(s, lse);
            let key = [batch, kv, j];
            add(to[of(2)], p.v.at(batch, kv, j), weight, dy);
            let ds = weight * (dot(dy, vector(v, &p.v, key, p.e)) - sum) * scale;
            add(to[of(0)], p.q.at(batch, head, i), ds, vector(k, &p.k, key, p.d));
            add(to[of(1)], p.k.at(batch, kv, j), ds, vector(q, &p.q, place, p.d));
        }
    });
    Ok(())
}
