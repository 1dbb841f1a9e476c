//! What a step minimizes beside the loss of its rows.

use super::Trainer;
use crate::graph::{Graph, Var};
use crate::nn::Mixup;

/// Records a penalty.
type Penalty<'a> = Box<dyn for<'g> Fn(&'g Graph) -> Var<'g> + 'a>;

/// Penalties and mixtures.
#[derive(Default)]
pub(super) struct Beside<'a> {
    pub(super) penalty: Option<Penalty<'a>>,
    pub(super) mixup: Option<Mixup>,
}

impl<'a> Trainer<'a> {
    /// Adds what `penalty` records, a scalar, to the loss that is minimized, such as
    /// [`elastic_net_penalty`](crate::losses::elastic_net_penalty) of some parameters:
    /// `|g| l1_penalty(g, &weights, 1e-4)`. The loss that is shown, and by which weights may be kept, is that of the rows alone.
    #[must_use]
    pub fn penalty(mut self, penalty: impl for<'g> Fn(&'g Graph) -> Var<'g> + 'a) -> Self {
        self.beside.penalty = Some(Box::new(penalty));
        self
    }

    /// Mixes the training rows in pairs, their first input and their losses, after [`Trainer::augment`]; see [`Mixup`], which
    /// should be made with the model's store of parameters, so that a run that resumes draws on. The loss that is shown is the
    /// mixed one; metrics compare predictions of mixed rows with the targets of the rows themselves.
    #[must_use]
    pub fn mixup(mut self, mixup: Mixup) -> Self {
        self.beside.mixup = Some(mixup);
        self
    }
}
