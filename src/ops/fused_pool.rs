//! Max pooling at the end of a fused op: the maxima of what the members before it give, which is not stored.

use std::sync::Arc;

use super::{Arg, In, KernelContext, Op, Program, TINY};
use crate::error::{Error, Result};
use crate::shape::{Shape, TensorType};

/// Errors up to this come from denormals alone, which an adapter may flush.
const NONE: f64 = 256.0 * TINY;

/// Max pooling whose windows lie side by side and cover each plane of a shape.
#[derive(Clone)]
pub(super) struct Pooling {
    pub(super) op: Arc<dyn Op>,
    pub(super) window: [usize; 2],
    pub(super) shape: Shape,
}

/// An element of a window: where it is among all elements, and where in its plane, as the pooling counts.
#[derive(Debug, Clone, Copy)]
struct Place {
    element: usize,
    index: u32,
}

impl Pooling {
    pub(super) fn types(&self) -> Result<Vec<TensorType>, String> {
        self.op.infer(&[TensorType::f32(self.shape)])
    }

    /// The launches of `first`, whose first output goes to scratch, then those of the pooling: for adapters that have no
    /// kernel for both.
    pub(super) fn after(&self, first: Program, ctx: &KernelContext<'_>) -> Result<Program> {
        let inputs = [TensorType::f32(self.shape)];
        let outputs = self.types().map_err(Error::Invalid)?;
        let mut own = self.op.dispatch(&KernelContext::new(ctx.caps, &inputs, &outputs))?;
        let mut all = first;
        let between = all.scratch.len();
        for arg in all.dispatches.iter_mut().flat_map(|d| &mut d.args) {
            *arg = match *arg {
                Arg::Output(_) => Arg::Scratch(between),
                Arg::OutputRead(_) => Arg::ScratchRead(between),
                other => other,
            };
        }
        for arg in own.dispatches.iter_mut().flat_map(|d| &mut d.args) {
            *arg = match *arg {
                Arg::Input(_) => Arg::ScratchRead(between),
                Arg::Scratch(i) => Arg::Scratch(between + 1 + i),
                Arg::ScratchRead(i) => Arg::ScratchRead(between + 1 + i),
                other => other,
            };
        }
        all.scratch.push(inputs[0].bytes());
        all.scratch.append(&mut own.scratch);
        all.dispatches.append(&mut own.dispatches);
        Ok(all)
    }

    /// The elements of each window, in the order in which they are compared.
    fn windows(&self) -> impl Iterator<Item = Vec<Place>> + '_ {
        let (rank, [kh, kw]) = (self.shape.rank(), self.window);
        let (h, w) = (self.shape.dim(rank - 2), self.shape.dim(rank - 1));
        let (oh, ow) = (h / kh, w / kw);
        (0..self.shape.elements() / (kh * kw)).map(move |o| {
            let (plane, oy, ox) = (o / (oh * ow), o / ow % oh, o % ow);
            let place = |i: usize| {
                let index = (oy * kh + i / kw) * w + ox * kw + i % kw;
                Place { element: plane * h * w + index, index: index as u32 }
            };
            (0..kh * kw).map(place).collect()
        })
    }

    /// How far off the maxima may be: as far as the maximum of all upper or of all lower ends of the elements.
    pub(super) fn bound(&self, values: &[f64], errors: &[f64], maxima: &[f64]) -> Vec<f64> {
        let most = |places: &[Place], sign: f64| {
            let ends = places.iter().map(|p| values[p.element] + sign * errors[p.element]);
            ends.fold(f64::NEG_INFINITY, f64::max)
        };
        let of = |(places, max): (Vec<Place>, &f64)| {
            (most(&places, 1.0) - max).max(max - most(&places, -1.0)) + TINY
        };
        self.windows().zip(maxima).map(of).collect()
    }

    /// Where else maxima may be found, because an element is as large as the largest within their errors.
    pub(super) fn other_places(
        &self,
        values: &[f64],
        errors: &[f64],
        found: &In<'_, f64>,
    ) -> Vec<(usize, u32)> {
        let mut others = Vec::new();
        for (o, (places, &found)) in self.windows().zip(found.u32()).enumerate() {
            let value = |i: usize| values[places[i].element];
            let error = |i: usize| errors[places[i].element];
            // The first NaN is the maximum, whatever the others are.
            if (0..places.len()).any(|i| value(i).is_nan()) {
                continue;
            }
            let beats = |i: usize, k: usize| {
                let is_tie = value(i) == value(k) && error(i).max(error(k)) <= NONE;
                match is_tie {
                    true => i < k,
                    false => value(i) + error(i) >= value(k) - error(k),
                }
            };
            let all = 0..places.len();
            let may_win = |i: &usize| all.clone().all(|k| k == *i || beats(*i, k));
            let other = all.clone().filter(|&i| places[i].index != found).filter(may_win);
            others.extend(other.map(|i| (o, places[i].index)));
        }
        others
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Slice;

    /// The places besides `found` of the maximum of one window of 2 × 2.
    fn others(values: [f64; 4], errors: [f64; 4], found: u32) -> Vec<u32> {
        let g = crate::Graph::new();
        g.input("x", [2, 2]).max_pool2d(crate::ops::PoolOptions::square(2));
        let op = g.finish().unwrap().nodes[0].op.clone();
        let pooling = Pooling { op, window: [2, 2], shape: Shape::new(&[2, 2]).unwrap() };
        let index = In { shape: Shape::new(&[1, 1]).unwrap(), data: Slice::U32(&[found]) };
        pooling.other_places(&values, &errors, &index).into_iter().map(|(_, at)| at).collect()
    }

    #[test]
    fn maxima_may_be_elsewhere_within_the_errors_alone() {
        let (e, none) = ([0.1; 4], [TINY; 4]);
        assert_eq!(others([1.0, 1.15, 1.3, 0.0], e, 2), [1]);
        assert_eq!(others([1.0, 1.15, 1.3, 0.0], none, 2), [0; 0]);
        // Of numbers that are equal for sure, such as zeros of ReLU, the first.
        assert_eq!(others([0.0; 4], none, 0), [0; 0]);
        assert_eq!(others([0.5; 4], e, 0), [1, 2, 3]);
        // An element that is sure to be larger than another excludes it, whatever the largest may be.
        assert_eq!(others([1.0, 1.2, 1.3, 0.0], [0.1, 0.0, 0.4, 0.1], 2), [1]);
        assert_eq!(others([f64::NAN, 1.0, 1.0, 0.0], e, 0), [0; 0]);
        assert_eq!(others([1.0, f64::NAN, 1.0, 0.0], e, 1), [0; 0]);
    }
}
