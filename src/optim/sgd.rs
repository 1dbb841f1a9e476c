//! Stochastic gradient descent.

use super::{Base, Optimizer};
use crate::graph::{Graph, Param, Params, Var};
use crate::ops::SgdUpdate;

/// Stochastic gradient descent, with momentum or without: PyTorch's `SGD` without dampening.
///
/// g = gradient + decay · w; b = momentum · b + g; w = w - lr · b, or w - lr · (g + momentum · b) in
/// Nesterov's form. States: `sgd.lr` and, with momentum, `sgd.momentum.<parameter>`.
///
/// ```
/// use wgrad::optim::{Optimizer, Sgd};
/// use wgrad::{Graph, Init, Params};
/// let params = Params::seeded(1);
/// let w = params.param("w", [1], Init::Constant(3.0));
/// let sgd = Sgd::new(&params, 0.1).momentum(0.9);
/// let g = Graph::new();
/// sgd.minimize(g.param(&w).square(), &params.trainable());
/// assert!(g.error().is_none());
/// ```
#[derive(Debug, Clone)]
pub struct Sgd {
    base: Base,
    momentum: f32,
    nesterov: bool,
    weight_decay: f32,
}

impl Sgd {
    /// Without momentum and weight decay. Its states go into the store of `params`, which must be that of the
    /// parameters it updates.
    pub fn new(params: &Params, lr: f32) -> Self {
        Sgd { base: Base::new(params, "sgd", lr), momentum: 0.0, nesterov: false, weight_decay: 0.0 }
    }

    /// Names its states `<name>.*` instead of `sgd.*`.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.base.name = name.to_string();
        self
    }

    /// How much of the last step's direction is kept; 0 by default, often 0.9.
    #[must_use]
    pub fn momentum(mut self, momentum: f32) -> Self {
        self.momentum = momentum;
        self
    }

    /// Nesterov's form of momentum.
    #[must_use]
    pub fn nesterov(mut self) -> Self {
        self.nesterov = true;
        self
    }

    /// Adds this multiple of a parameter to its gradient; 0 by default.
    #[must_use]
    pub fn weight_decay(mut self, weight_decay: f32) -> Self {
        self.weight_decay = weight_decay;
        self
    }
}

impl Sgd {
    #[track_caller]
    fn record<'g>(&self, g: &'g Graph, params: &[Param], gradients: &[Var<'g>], factor: Option<Var<'g>>) {
        let Sgd { momentum, nesterov, weight_decay, .. } = *self;
        for (param, gradient) in self.base.pairs(g, params, gradients) {
            let _scope = self.base.scope(g, &[&param]);
            let mut inputs = vec![gradient, g.param(&self.base.lr_state())];
            inputs.extend(factor);
            inputs.push(g.param(&param));
            if momentum != 0.0 {
                inputs.push(g.param(&self.base.state_of("momentum", &param)));
            }
            g.record(SgdUpdate { momentum, nesterov, weight_decay, has_factor: factor.is_some() }, &inputs);
        }
    }
}

impl Optimizer for Sgd {
    #[track_caller]
    fn apply<'g>(&self, g: &'g Graph, params: &[Param], gradients: &[Var<'g>]) {
        self.record(g, params, gradients, None);
    }

    #[track_caller]
    fn apply_scaled<'g>(&self, g: &'g Graph, params: &[Param], gradients: &[Var<'g>], factor: Var<'g>) {
        self.record(g, params, gradients, Some(factor));
    }

    fn lr(&self) -> f32 {
        self.base.lr
    }

    fn lr_state(&self) -> Param {
        self.base.lr_state()
    }
}
