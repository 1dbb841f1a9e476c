//! Layers without trainable parameters.

use super::Layer;
use crate::graph::{Params, Var};

/// Inverted dropout: in training each element is zero with probability p and the rest are divided by
/// 1 - p (Srivastava et al., JMLR 15, 2014); for inference it does nothing. Its random stream is the
/// path it was made under.
#[derive(Debug, Clone)]
pub struct Dropout {
    params: Params,
    p: f32,
}

impl Dropout {
    /// Drops with probability `p`, in [0, 1).
    pub fn new(params: &Params, p: f32) -> Self {
        Dropout { params: params.clone(), p }
    }
}

impl Layer for Dropout {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        if !x.graph().is_training() {
            return x;
        }
        let _scope = x.graph().scope_at(self.params.path());
        crate::ops::dropout(x, self.p, &self.params.root(), self.params.path())
    }
}

/// All axes but the first merged: `[n, c, h, w]` to `[n, c·h·w]`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flatten;

impl Layer for Flatten {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        x.flatten(1)
    }
}
