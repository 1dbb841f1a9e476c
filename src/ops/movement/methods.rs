//! The methods that record these ops.

use super::{Broadcast, Concat, Copied, Moved, Pad, Permute, Reshape, SliceAxis};
use crate::graph::{Var, shape_rule};
use crate::ops::Fill;
use crate::shape::{IntoShape, Shape};

impl<'g> Var<'g> {
    /// The same elements in fresh memory: a snapshot of a state before it is updated.
    #[track_caller]
    pub fn copy(self) -> Var<'g> {
        self.graph.record_one(Moved(Copied), &[self])
    }

    /// The same elements, row-major, under another shape.
    #[track_caller]
    pub fn reshape(self, shape: impl IntoShape) -> Var<'g> {
        let dims = shape.into_dims();
        if self.shape().dims() == dims && !self.is_poisoned() {
            return self;
        }
        match (Shape::new(&dims), self.fill_value()) {
            (Some(shape), Some(value)) if shape.elements() == self.shape().elements() => {
                self.graph.record_one(Fill { value, shape }, &[])
            }
            (Some(shape), _) => self.graph.record_one(Reshape { shape }, &[self]),
            // A shape that cannot be: recorded as one that does not fit, so that the error names both.
            (None, _) => {
                self.graph.refuse("reshape", format!("{dims:?} is no shape: {}", shape_rule()), self)
            }
        }
    }

    /// All axes from `from` on merged into one: `[n, c, h, w].flatten(1)` is `[n, c·h·w]`.
    #[track_caller]
    pub fn flatten(self, from: usize) -> Var<'g> {
        let shape = self.shape();
        let from = from.min(shape.rank());
        let mut dims = shape.dims()[..from].to_vec();
        dims.push(shape.dims()[from..].iter().product());
        self.reshape(&dims)
    }

    /// Axes in another order: axis `i` of the result is axis `axes[i]`.
    #[track_caller]
    pub fn permute(self, axes: &[usize]) -> Var<'g> {
        self.graph.record_one(Moved(Permute { axes: axes.to_vec() }), &[self])
    }

    /// The last two axes swapped.
    #[track_caller]
    pub fn t(self) -> Var<'g> {
        let rank = self.shape().rank();
        let mut axes: Vec<usize> = (0..rank).collect();
        if rank >= 2 {
            axes.swap(rank - 1, rank - 2);
        }
        self.permute(&axes)
    }

    /// `count` elements of `axis` from `start` on.
    #[track_caller]
    pub fn slice(self, axis: usize, start: usize, count: usize) -> Var<'g> {
        self.graph.record_one(Moved(SliceAxis { axis, start, count, step: 1 }), &[self])
    }

    /// `count` elements of `axis` from `start` on, every `step`th.
    #[track_caller]
    pub fn slice_step(self, axis: usize, start: usize, count: usize, step: usize) -> Var<'g> {
        self.graph.record_one(Moved(SliceAxis { axis, start, count, step }), &[self])
    }

    /// Repeated to `shape` by numpy's broadcasting rule.
    #[track_caller]
    pub fn broadcast_to(self, shape: impl IntoShape) -> Var<'g> {
        let dims = shape.into_dims();
        let Some(shape) = Shape::new(&dims) else {
            return self.graph.refuse("broadcast", format!("{dims:?} is no shape: {}", shape_rule()), self);
        };
        match self.fill_value() {
            _ if self.shape() == shape => self,
            Some(value) if self.shape().broadcasts_to(&shape) => {
                self.graph.record_one(Fill { value, shape }, &[])
            }
            _ => self.graph.record_one(Moved(Broadcast { shape }), &[self]),
        }
    }

    /// Surrounded by `value`: `before[i]` and `after[i]` elements along axis `i`.
    #[track_caller]
    pub fn pad(self, before: &[usize], after: &[usize], value: f32) -> Var<'g> {
        let interior = vec![0; before.len()];
        let pad = Pad { before: before.to_vec(), after: after.to_vec(), interior, value };
        self.graph.record_one(pad, &[self])
    }

    /// This and `others` after each other along `axis`.
    #[track_caller]
    pub fn concat(self, others: &[Var<'g>], axis: usize) -> Var<'g> {
        let all: Vec<Var<'g>> = [self].iter().chain(others).copied().collect();
        self.graph.record_one(Concat { axis }, &all)
    }
}
