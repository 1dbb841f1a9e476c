//! What the CPU device runs: products of blocks of queries with all keys that they see, through ndarray.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder};

use super::super::{In, Out, Real};
use super::layout::{Problem, Seen, Strides};
use super::reference::{gradients, tensors};
use super::{Attention, AttentionGrad};
use crate::host::threads;
use crate::ops::batch_norm::dot;

/// Queries of a block.
const BLOCK: usize = 64;

/// Vectors of a head from place `first` on.
fn rows<'a, T>(
    data: &'a [T],
    strides: &Strides,
    [batch, head, first]: [usize; 3],
    [count, width]: [usize; 2],
) -> ArrayView2<'a, T> {
    let from = strides.at(batch, head, first);
    let length = (count.max(1) - 1) * strides.row + width;
    let shape = (count, width).strides((strides.row, 1));
    ArrayView2::from_shape(shape, &data[from..from + length]).expect("the slice was cut to fit")
}

fn matrix<T>(data: &mut [T], rows: usize, columns: usize) -> ArrayViewMut2<'_, T> {
    ArrayViewMut2::from_shape((rows, columns), &mut data[..rows * columns]).expect("the slice was cut to fit")
}

/// Queries from `first` on with the keys that any of them sees.
struct Part<'a, T> {
    p: &'a Problem,
    seen: &'a Seen<'a, T>,
    batch: usize,
    head: usize,
    first: usize,
    count: usize,
}

impl<T: Real> Part<'_, T> {
    fn place(&self) -> [usize; 3] {
        [self.batch, self.head, self.first]
    }

    /// Keys that the last query sees, and with it any.
    fn keys(&self) -> usize {
        self.seen.keys(self.batch, self.first + self.count - 1)
    }

    /// The scores of these queries with so many keys; -∞ where one is not seen.
    fn scores(&self, q: &[T], k: &[T], keys: usize, to: &mut [T]) {
        let Part { p, seen, batch, head, first, count } = *self;
        let q = rows(q, &p.q, self.place(), [count, p.d]);
        let k = rows(k, &p.k, [batch, head / p.group, 0], [keys, p.d]);
        general_mat_mul(T::of(f64::from(p.scale)), &q, &k.t(), T::zero(), &mut matrix(to, count, keys));
        for (i, to) in (first..).zip(to.chunks_exact_mut(keys)).take(count) {
            if let Some(mask) = seen.mask(batch, head, i) {
                to.iter_mut().zip(mask).for_each(|(to, &mask)| *to = *to + mask);
            }
            to[seen.keys(batch, i)..].fill(T::neg_infinity());
        }
    }
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
    // By head, then by query: each part has its own run of this.
    let mut by_heads = vec![T::zero(); p.batch * p.heads() * p.n * p.e];
    let of_head = by_heads.chunks_mut(p.n * p.e).zip(lse.f().chunks_mut(p.n)).enumerate();
    let parts: Vec<_> = of_head
        .flat_map(|(at, (o, lse))| {
            let blocks = o.chunks_mut(BLOCK * p.e).zip(lse.chunks_mut(BLOCK)).enumerate();
            blocks.map(move |(block, (o, lse))| (at, block * BLOCK, o, lse))
        })
        .collect();
    threads::share(parts.len(), parts.into_iter(), |parts| {
        let mut scores = vec![T::zero(); BLOCK.min(p.n) * p.m];
        for (at, first, o, lse) in parts {
            let (batch, head) = (at / p.heads(), at % p.heads());
            let part = Part { p: &p, seen: &seen, batch, head, first, count: lse.len() };
            let keys = part.keys();
            if keys == 0 {
                lse.fill(T::infinity());
                continue;
            }
            part.scores(q, k, keys, &mut scores);
            for (row, lse) in scores.chunks_exact_mut(keys).zip(lse.iter_mut()) {
                *lse = normalize(row);
            }
            let v = rows(v, &p.v, [batch, head / p.group, 0], [keys, p.e]);
            let weights = matrix(&mut scores, lse.len(), keys);
            general_mat_mul(T::one(), &weights, &v, T::zero(), &mut matrix(o, lse.len(), p.e));
        }
    });
    put(&by_heads, o.f(), &p.o, [p.heads(), p.n, p.e]);
    Ok(())
}

/// The largest score, or any where one is NaN: its weight is NaN then, and with it their sum.
fn largest<T: Real>(row: &[T]) -> T {
    let mut lanes = [T::neg_infinity(); 8];
    let larger = |a: T, b: T| if b > a { b } else { a };
    let (chunks, rest) = row.as_chunks::<8>();
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(a, &b)| *a = larger(*a, b));
    }
    lanes.into_iter().chain(rest.iter().copied()).fold(T::neg_infinity(), larger)
}

/// Makes weights of scores, and gives the logarithm of their sum: infinite, and no weights, where there is no score.
fn normalize<T: Real>(row: &mut [T]) -> T {
    let largest = largest(row);
    if largest == T::neg_infinity() && !row.iter().any(|s| s.is_nan()) {
        row.fill(T::zero());
        return T::infinity();
    }
    exponentials(row, largest);
    let sum = dot(row, row, |w, _| w);
    let by = T::one() / sum;
    row.iter_mut().for_each(|w| *w = *w * by);
    largest + sum.ln()
}

/// e^(score - base) of each.
fn exponentials<T: Real>(row: &mut [T], base: T) {
    row.iter_mut().for_each(|s| *s = *s - base);
    T::exponentials(row);
}

/// Moves what lies by head and place to where `strides` say.
fn put<T: Real>(from: &[T], to: &mut [T], strides: &Strides, [heads, places, width]: [usize; 3]) {
    let unit = strides.batch;
    let each = |batch: usize, to: &mut [T]| {
        for head in 0..heads {
            for i in 0..places {
                let at = ((batch * heads + head) * places + i) * width;
                to[strides.at(0, head, i)..][..width].copy_from_slice(&from[at..at + width]);
            }
        }
    };
    threads::share(to.len() / unit.max(1), to.chunks_mut(unit).enumerate(), |parts| {
        parts.for_each(|(batch, to)| each(batch, to));
    });
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
    let [mut dq, mut dk, mut dv] =
        [p.rows() * p.d, p.m * p.d, p.m * p.e].map(|each| vec![T::zero(); p.matrices() * each]);
    let parts =
        dq.chunks_mut(p.rows() * p.d).zip(dk.chunks_mut(p.m * p.d).zip(dv.chunks_mut(p.m * p.e))).enumerate();
    let scale = T::of(f64::from(p.scale));
    threads::share(p.matrices(), parts, |parts| {
        let mut weights = vec![T::zero(); BLOCK.min(p.n) * p.m];
        let mut ds = weights.clone();
        for (at, (dq, (dk, dv))) in parts {
            let (batch, kv) = (at / p.kv_heads, at % p.kv_heads);
            for (of, dq) in dq.chunks_mut(p.n * p.d).enumerate() {
                let head = kv * p.group + of;
                for (block, dq) in dq.chunks_mut(BLOCK * p.d).enumerate() {
                    let first = block * BLOCK;
                    let part = Part { p: &p, seen: &seen, batch, head, first, count: dq.len() / p.d };
                    let (count, keys) = (part.count, part.keys());
                    if keys == 0 {
                        continue;
                    }
                    part.scores(q, k, keys, &mut weights);
                    let dy = rows(dy, &p.o, part.place(), [count, p.e]);
                    let o = rows(o, &p.o, part.place(), [count, p.e]);
                    let v = rows(v, &p.v, [batch, kv, 0], [keys, p.e]);
                    general_mat_mul(T::one(), &dy, &v.t(), T::zero(), &mut matrix(&mut ds, count, keys));
                    let lse = &lse[(batch * p.heads() + head) * p.n + first..];
                    let lines = weights.chunks_exact_mut(keys).zip(ds.chunks_exact_mut(keys));
                    for (i, (weights, ds)) in lines.enumerate().take(count) {
                        exponentials(weights, lse[i]);
                        let sum = o.row(i).dot(&dy.row(i));
                        let both = ds.iter_mut().zip(weights.iter());
                        both.for_each(|(ds, &weight)| *ds = weight * (*ds - sum) * scale);
                    }
                    let weights = matrix(&mut weights, count, keys);
                    let ds = matrix(&mut ds, count, keys);
                    let k = rows(k, &p.k, [batch, kv, 0], [keys, p.d]);
                    let q = rows(q, &p.q, part.place(), [count, p.d]);
                    general_mat_mul(T::one(), &ds, &k, T::zero(), &mut matrix(dq, count, p.d));
                    general_mat_mul(T::one(), &ds.t(), &q, T::one(), &mut matrix(dk, keys, p.d));
                    general_mat_mul(T::one(), &weights.t(), &dy, T::one(), &mut matrix(dv, keys, p.e));
                }
            }
        }
    });
    let mut to = gradients(outputs, packed)?;
    let of = |i: usize| if packed { 0 } else { i };
    put(&dq, to[of(0)], &p.q, [p.heads(), p.n, p.d]);
    put(&dk, to[of(1)], &p.k, [p.kv_heads, p.m, p.d]);
    put(&dv, to[of(2)], &p.v, [p.kv_heads, p.m, p.e]);
    Ok(())
}
