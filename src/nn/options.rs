//! What models have in common besides their widths.

use super::{Nonlinearity, Norm};
use crate::graph::Init;

/// How [`Mlp`](super::Mlp), [`Cnn`](super::Cnn) and [`ResNet`](super::ResNet) are made, besides their widths: as they are by
/// default, with ReLU, the model's usual normalization and each layer's usual initial weights, or otherwise.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct ModelOptions {
    /// What stands between layers.
    pub activation: Nonlinearity,
    /// The initial values of all weights of linear layers and convolutions; those usual for the layer, if nothing is said.
    pub init: Option<Init>,
    /// What normalizes hidden values; nothing, and in a [`ResNet`](super::ResNet) batches, if nothing is said. It stands before the
    /// activations of an `Mlp` and after the convolutions of the others; without one, convolutions of a `ResNet` have a bias.
    pub norm: Option<Norm>,
}

impl ModelOptions {
    /// With another activation between layers.
    #[must_use]
    pub fn activation(mut self, activation: impl Into<Nonlinearity>) -> Self {
        self.activation = activation.into();
        self
    }

    /// With other initial values of all weights of linear layers and convolutions.
    #[must_use]
    pub fn init(mut self, init: Init) -> Self {
        self.init = Some(init);
        self
    }

    /// With another normalization, or none.
    #[must_use]
    pub fn norm(mut self, norm: Norm) -> Self {
        self.norm = Some(norm);
        self
    }

    /// The initial values of a weight for which `usual` is usual.
    pub(super) fn weights(&self, usual: Init) -> Init {
        self.init.clone().unwrap_or(usual)
    }
}
