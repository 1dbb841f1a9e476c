//! What optimizers around others have in common.

use std::panic::Location;

use super::Optimizer;
use crate::graph::{Graph, Param, SourceLocation, Var};

/// The parameters that will be updated, and their gradients: others do not count. `None` where the optimizer will say what
/// is wrong.
pub(super) fn updated<'g>(params: &[Param], gradients: &[Var<'g>]) -> Option<(Vec<Param>, Vec<Var<'g>>)> {
    if params.len() != gradients.len() || !params.iter().any(Param::is_trainable) {
        return None;
    }
    let pairs = params.iter().cloned().zip(gradients.iter().copied());
    Some(pairs.filter(|(p, _)| p.is_trainable()).unzip())
}

/// Whether a wrapper stands around what scales the loss, which is a mistake that is kept: it would see scaled gradients, and not
/// which steps are left out.
#[track_caller]
pub(super) fn sees_scaled(g: &Graph, inner: &impl Optimizer, constructor: &str) -> bool {
    if inner.scales_loss() {
        let message = format!(
            "it would see gradients of the scaled loss, and steps that are left out; put it inside: \
             LossScale::new(params, {constructor}(optimizer, ..))"
        );
        g.mistake("optimizer", message, &[], SourceLocation(Location::caller()));
    }
    inner.scales_loss()
}

/// What a wrapper passes on to its `inner` optimizer: all of it, or what is named.
macro_rules! passing_on {
    () => {
        passing_on!(objective, averages, rate);
    };
    (objective) => {
        fn objective<'g>(&self, loss: Var<'g>) -> Var<'g> {
            self.inner.objective(loss)
        }

        fn scales_loss(&self) -> bool {
            self.inner.scales_loss()
        }
    };
    (averages) => {
        fn averages(&self, params: &[Param]) -> Vec<$crate::optim::Average> {
            self.inner.averages(params)
        }
    };
    (rate) => {
        fn lr(&self) -> f32 {
            self.inner.lr()
        }

        fn lr_state(&self) -> Param {
            self.inner.lr_state()
        }
    };
    ($first:ident, $($rest:ident),+) => {
        passing_on!($first);
        passing_on!($($rest),+);
    };
}
pub(super) use passing_on;
