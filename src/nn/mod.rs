//! Layers: they hold parameters, never values, and record ops when called.

mod linear;
mod sequential;
mod simple;
mod summary;

use crate::graph::Var;

pub use linear::Linear;
pub use sequential::{Mlp, Sequential};
pub use simple::{Activation, Dropout, Flatten};
pub use summary::{LayerSummary, Summary};

/// A part of a model.
///
/// Layers like dropout behave differently in a graph made with [`crate::Graph::inference`].
pub trait Layer {
    /// Records the layer's ops on `x`.
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g>;
}

impl<L: Layer + ?Sized> Layer for Box<L> {
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        (**self).forward(x)
    }
}
