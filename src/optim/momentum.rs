//! Stochastic gradient descent, and Lion.

use super::Optimizer;
use super::base::Group;
use super::ruled::{Ruled, optimizer};
use crate::graph::{Graph, Param, Params, Var};
use crate::ops::{LionRule, SgdRule};

optimizer!(
    /// Stochastic gradient descent, with momentum or without: PyTorch's `SGD` without dampening.
    ///
    /// g = gradient + decay · w; b = momentum · b + g; w = w - lr · b, or w - lr · (g + momentum · b) in
    /// Nesterov's form (Sutskever et al., ICML 2013). States: `sgd.lr` and, with momentum, `sgd.momentum.<parameter>`.
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
    Sgd(Ruled<SgdRule>), "sgd",
    |params, lr| Ruled::new(params, "sgd", lr, SgdRule { momentum: 0.0, nesterov: false }),
    /// Adds this multiple of a parameter to its gradient; 0 by default.
);

impl Sgd {
    /// How much of the last step's direction is kept; 0 by default, often 0.9.
    #[must_use]
    pub fn momentum(mut self, momentum: f32) -> Self {
        self.0.rule.momentum = momentum;
        self
    }

    /// Nesterov's form of momentum.
    #[must_use]
    pub fn nesterov(mut self) -> Self {
        self.0.rule.nesterov = true;
        self
    }
}

optimizer!(
    /// Lion: Chen et al., "Symbolic Discovery of Optimization Algorithms", NeurIPS 2023, program 1.
    ///
    /// w = w (1 - lr · decay) - lr · sign(β1 m + (1 - β1) g); m = β2 m + (1 - β2) g. Every element moves by the learning rate,
    /// which should be 3 to 10 times smaller than Adam's, and the decay as many times larger. States: `lion.lr`,
    /// `lion.m.<parameter>`.
    Lion(Ruled<LionRule>), "lion",
    |params, lr| Ruled::new(params, "lion", lr, LionRule { betas: [0.9, 0.99] }).decoupled(0.0),
    /// Shrinks a parameter by this and the learning rate each step; 0 by default.
);

impl Lion {
    /// How much of the mean counts in the direction, and how much of it is kept; 0.9 and 0.99 by default.
    #[must_use]
    pub fn betas(mut self, beta1: f64, beta2: f64) -> Self {
        self.0.rule.betas = [beta1, beta2];
        self
    }
}
