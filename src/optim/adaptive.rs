//! Optimizers with a rate for each element, from its gradients so far.

use super::Optimizer;
use super::base::Group;
use super::ruled::{Ruled, optimizer};
use crate::graph::{Graph, Param, Params, Var};
use crate::ops::{AdadeltaRule, AdagradRule, RmsPropRule, RpropRule};

optimizer!(
    /// Adagrad: Duchi, Hazan and Singer, JMLR 12, 2011, figure 1, with a diagonal matrix; PyTorch's `Adagrad`.
    ///
    /// sum = sum + g²; w = w - lr / (1 + (t - 1) · decay) · g / (√sum + eps). Rates only fall, which suits sparse gradients and
    /// ends long runs early. States: `adagrad.lr`, and for each parameter its step count `adagrad.t.<parameter>` and
    /// `adagrad.sum.<parameter>`.
    Adagrad(Ruled<AdagradRule>), "adagrad",
    |params, lr| Ruled::new(params, "adagrad", lr, AdagradRule { lr_decay: 0.0, eps: 1e-10, initial_sum: 0.0 }),
    /// Adds this multiple of a parameter to its gradient; 0 by default.
);

impl Adagrad {
    /// How fast the learning rate falls beside the sums; 0 by default.
    #[must_use]
    pub fn lr_decay(mut self, lr_decay: f32) -> Self {
        self.0.rule.lr_decay = lr_decay;
        self
    }

    /// Added to the divisor; 1e-10 by default.
    #[must_use]
    pub fn eps(mut self, eps: f32) -> Self {
        self.0.rule.eps = eps;
        self
    }

    /// What the sums start from; 0 by default (Keras starts from 0.1).
    #[must_use]
    pub fn initial_sum(mut self, sum: f32) -> Self {
        self.0.rule.initial_sum = sum;
        self
    }
}

optimizer!(
    /// Adadelta: Zeiler, 2012, algorithm 1; PyTorch's `Adadelta`.
    ///
    /// v = ρ v + (1 - ρ) g²; δ = √(u + eps) / √(v + eps) · g; u = ρ u + (1 - ρ) δ²; w = w - lr δ. The paper's learning rate is 1. It starts
    /// slowly: the first steps are about √eps. States: `adadelta.lr`, `adadelta.{v,u}.<parameter>`.
    Adadelta(Ruled<AdadeltaRule>), "adadelta",
    |params, lr| Ruled::new(params, "adadelta", lr, AdadeltaRule { rho: 0.9, eps: 1e-6 }),
    /// Adds this multiple of a parameter to its gradient; 0 by default.
);

impl Adadelta {
    /// How much of both means is kept; 0.9 by default.
    #[must_use]
    pub fn rho(mut self, rho: f64) -> Self {
        self.0.rule.rho = rho;
        self
    }

    /// Added to both means; 1e-6 by default.
    #[must_use]
    pub fn eps(mut self, eps: f32) -> Self {
        self.0.rule.eps = eps;
        self
    }
}

optimizer!(
    /// RMSprop: Tieleman and Hinton, 2012, lecture 6.5; PyTorch's `RMSprop`.
    ///
    /// v = α v + (1 - α) g²; b = momentum · b + g / (√v + eps); w = w - lr b. Centred, with v - m² for v, where m is the mean of g (Graves,
    /// 2013, equations 38 to 45). States: `rmsprop.lr`, `rmsprop.v.<parameter>`, with momentum or centred
    /// `rmsprop.momentum.<parameter>`, centred `rmsprop.mean.<parameter>`.
    RmsProp(Ruled<RmsPropRule>), "rmsprop",
    |params, lr| {
        Ruled::new(params, "rmsprop", lr, RmsPropRule { alpha: 0.99, eps: 1e-8, momentum: 0.0, centered: false })
    },
    /// Adds this multiple of a parameter to its gradient; 0 by default.
);

impl RmsProp {
    /// How much of the mean of squares is kept; 0.99 by default.
    #[must_use]
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.0.rule.alpha = alpha;
        self
    }

    /// Added to the divisor; 1e-8 by default.
    #[must_use]
    pub fn eps(mut self, eps: f32) -> Self {
        self.0.rule.eps = eps;
        self
    }

    /// How much of the last step's direction is kept; 0 by default.
    #[must_use]
    pub fn momentum(mut self, momentum: f32) -> Self {
        self.0.rule.momentum = momentum;
        self
    }

    /// Divides by the deviation from the mean gradient.
    #[must_use]
    pub fn centered(mut self) -> Self {
        self.0.rule.centered = true;
        self
    }
}

optimizer!(
    /// Rprop, for gradients of all rows at once: Riedmiller and Braun, ICNN 1993, without going back (iRprop⁻: Igel and Hüsken,
    /// 2000); PyTorch's `Rprop`.
    ///
    /// The step of an element grows by a factor where two gradients in a row have one sign, and shrinks where they do not; then
    /// its gradient counts as 0 once. Steps start as the learning rate, which means nothing afterwards: a schedule
    /// or a rate of a group changes nothing. States: `rprop.lr`, `rprop.{before,step}.<parameter>`.
    Rprop(Ruled<RpropRule>), "rprop",
    |params, lr| {
        let rule = RpropRule { etas: [0.5, 1.2], steps: [1e-6, 50.0], first: lr };
        Ruled::new(params, "rprop", lr, rule)
    },
    /// Adds this multiple of a parameter to its gradient; 0 by default.
);

impl Rprop {
    /// What a step is multiplied by where signs differ, and where they agree; 0.5 and 1.2 by default.
    #[must_use]
    pub fn etas(mut self, down: f32, up: f32) -> Self {
        self.0.rule.etas = [down, up];
        self
    }

    /// The shortest and the longest step; 1e-6 and 50 by default.
    #[must_use]
    pub fn steps(mut self, least: f32, most: f32) -> Self {
        self.0.rule.steps = [least, most];
        self
    }
}
