//! Adam and its relatives.

use super::Optimizer;
use super::base::Group;
use super::ruled::{Ruled, optimizer};
use crate::graph::{Graph, Param, Params, Var};
use crate::ops::{AdamRule, AdamaxRule, NAdamRule, RAdamRule};

const ADAM: AdamRule = AdamRule { betas: [0.9, 0.999], eps: 1e-8, amsgrad: false };

/// Settings that all of them have, with the usual eps.
macro_rules! moments {
    ($($name:ident: $eps:literal),*) => {$(
        impl $name {
            /// How much of the mean of gradients and of their squares is kept each step; 0.9 and 0.999 by
            /// default. In double precision, so that 1 - β keeps its digits.
            #[must_use]
            pub fn betas(mut self, beta1: f64, beta2: f64) -> Self {
                self.0.rule.betas = [beta1, beta2];
                self
            }

            #[doc = concat!("Added to the divisor; ", $eps, " by default.")]
            #[must_use]
            pub fn eps(mut self, eps: f32) -> Self {
                self.0.rule.eps = eps;
                self
            }
        }
    )*};
}
pub(super) use moments;

moments!(Adam: "1e-8", AdamW: "1e-8", Adamax: "1e-8", NAdam: "1e-8", RAdam: "1e-8");

optimizer!(
    /// Adam: Kingma and Ba, ICLR 2015, algorithm 1.
    ///
    /// m = β1 m + (1 - β1) g; v = β2 v + (1 - β2) g²; w = w - lr · m̂ / (√v̂ + eps), where m̂ and v̂ are m and
    /// v divided by 1 - β^t. States: `adam.lr`, and for each parameter its step count
    /// `adam.t.<parameter>`, `adam.m.<parameter>` and `adam.v.<parameter>`.
    ///
    /// ```
    /// use wgrad::optim::{Adam, Optimizer};
    /// use wgrad::{Graph, Init, Params};
    /// let params = Params::seeded(1);
    /// let w = params.param("w", [1], Init::Constant(3.0));
    /// let adam = Adam::new(&params, 1e-3);
    /// let g = Graph::new();
    /// adam.minimize(g.param(&w).square(), &params.trainable());
    /// assert!(g.error().is_none());
    /// assert!(params.get("adam.m.w").is_some());
    /// ```
    Adam(Ruled<AdamRule>), "adam", |params, lr| Ruled::new(params, "adam", lr, ADAM),
    /// Adds this multiple of a parameter to its gradient; 0 by default. [`AdamW`] decays otherwise.
);

optimizer!(
    /// Adam with decoupled weight decay: Loshchilov and Hutter, ICLR 2019, algorithm 2, in PyTorch's form.
    ///
    /// As [`Adam`], but each step first shrinks w by lr · decay · w; the decay does not enter the moments.
    /// States: `adamw.lr` and `adamw.{t,m,v}.<parameter>`.
    AdamW(Ruled<AdamRule>), "adamw", |params, lr| Ruled::new(params, "adamw", lr, ADAM).decoupled(0.01),
    /// Shrinks a parameter by this and the learning rate each step; 0.01 by default.
);

macro_rules! amsgrad {
    ($($name:ident),*) => {$(
        impl $name {
            /// Divides by the root of the largest v so far, so that no step grows because gradients became small: Reddi, Kale and
            /// Kumar, "On the Convergence of Adam and Beyond", ICLR 2018, as PyTorch's `amsgrad=True`. It is one more
            /// state, `largest`.
            #[must_use]
            pub fn amsgrad(mut self) -> Self {
                self.0.rule.amsgrad = true;
                self
            }
        }
    )*};
}

amsgrad!(Adam, AdamW);

optimizer!(
    /// Adam with the largest gradient in place of the mean square: Kingma and Ba, ICLR 2015, algorithm 2; PyTorch's `Adamax`.
    ///
    /// m as Adam's; u = max(β2 u, |g| + eps); w = w - lr · m̂ / u. States: `adamax.lr`, `adamax.{t,m,u}.<parameter>`.
    Adamax(Ruled<AdamaxRule>), "adamax",
    |params, lr| Ruled::new(params, "adamax", lr, AdamaxRule { betas: ADAM.betas, eps: ADAM.eps }),
    /// Adds this multiple of a parameter to its gradient; 0 by default.
);

optimizer!(
    /// Adam with Nesterov's momentum: Dozat, ICLR workshop 2016, algorithm 8; PyTorch's `NAdam`.
    ///
    /// Moments as Adam's; the step looks one ahead: (1 - μ_t) g / (1 - Π μ_i) + μ_{t+1} m / (1 - μ_{t+1} Π μ_i) for m̂, with
    /// μ_t = β1 (1 - 0.96^(ψ t) / 2). States: `nadam.lr`, `nadam.{t,m,v}.<parameter>`.
    NAdam(Ruled<NAdamRule>), "nadam",
    |params, lr| {
        Ruled::new(params, "nadam", lr, NAdamRule { betas: ADAM.betas, eps: ADAM.eps, momentum_decay: 4e-3 })
    },
    /// Adds this multiple of a parameter to its gradient; 0 by default.
);

impl NAdam {
    /// ψ, how fast the momentum grows to β1; 0.004 by default.
    #[must_use]
    pub fn momentum_decay(mut self, momentum_decay: f32) -> Self {
        self.0.rule.momentum_decay = momentum_decay;
        self
    }
}

optimizer!(
    /// Adam without a warm-up of one's own: Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", ICLR 2020,
    /// algorithm 2; PyTorch's `RAdam`.
    ///
    /// Moments as Adam's. While too few gradients were seen for v to mean something, at β2 = 0.999 in the first five steps, steps
    /// are those of momentum, lr · m̂; then Adam's times a factor that grows to 1. States: `radam.lr`,
    /// `radam.{t,m,v}.<parameter>`.
    RAdam(Ruled<RAdamRule>), "radam",
    |params, lr| Ruled::new(params, "radam", lr, RAdamRule { betas: ADAM.betas, eps: ADAM.eps }),
    /// Adds this multiple of a parameter to its gradient; 0 by default.
);
