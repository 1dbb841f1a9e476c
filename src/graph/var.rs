//! The handle of a recorded value.

use std::fmt;

use super::{Graph, POISON, Scope, ValueId};
use crate::shape::{Shape, TensorType};

/// A value of a [`Graph`]: copy it freely; combining `Var`s records ops.
#[derive(Clone, Copy)]
pub struct Var<'g> {
    pub(crate) graph: &'g Graph,
    pub(crate) id: ValueId,
}

impl fmt::Debug for Var<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            POISON => f.write_str("%error"),
            id => write!(f, "%{id} {}", self.tensor_type()),
        }
    }
}

impl<'g> Var<'g> {
    /// The graph it belongs to.
    pub fn graph(self) -> &'g Graph {
        self.graph
    }

    /// Type and shape. After a recording mistake, a float scalar.
    pub fn tensor_type(self) -> TensorType {
        match self.id {
            POISON => TensorType::f32(Shape::scalar()),
            id => self.graph.inner.borrow().values[id as usize].ty,
        }
    }

    /// Extents.
    pub fn shape(self) -> Shape {
        self.tensor_type().shape
    }

    /// Extent of axis `i`; 1 where there is none.
    pub fn dim(self, i: usize) -> usize {
        self.shape().dim(i)
    }

    /// Names the nodes recorded while the guard lives; see [`Graph::scope`].
    pub fn scope(self, name: &str) -> Scope<'g> {
        self.graph.scope(name)
    }

    pub(crate) fn is_poisoned(self) -> bool {
        self.id == POISON
    }
}

impl<'g> Var<'g> {
    /// The number every element holds, if it is a constant made by `fill`.
    pub(crate) fn fill_value(self) -> Option<f32> {
        if self.is_poisoned() {
            return None;
        }
        let inner = self.graph.inner.borrow();
        let super::Source::Node(n) = inner.values[self.id as usize].source else { return None };
        inner.nodes[n].op.traits().constant
    }
}

impl Graph {
    /// Keeps a mistake found before an op could be made.
    #[track_caller]
    pub(crate) fn refuse<'g>(&'g self, op: &str, message: String, input: Var<'g>) -> Var<'g> {
        let location = super::SourceLocation(std::panic::Location::caller());
        if input.is_poisoned() {
            return input;
        }
        self.mistake(op, message, &[input], location)
    }
}
