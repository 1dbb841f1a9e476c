//! Adam and AdamW.

use super::{Base, Optimizer};
use crate::graph::{Graph, Param, Params, Var};
use crate::ops::{AdamTick, AdamUpdate};

/// Elements up to which a parameter's gradient costs little to keep.
const SMALL: usize = 1 << 14;
/// Parameters above that are updated together.
const LARGE_AT_ONCE: usize = 6;

/// What both forms have.
#[derive(Debug, Clone)]
struct Moments {
    base: Base,
    beta1: f64,
    beta2: f64,
    eps: f32,
    weight_decay: f32,
    decoupled: bool,
}

impl Moments {
    #[track_caller]
    fn apply<'g>(&self, g: &'g Graph, params: &[Param], gradients: &[Var<'g>], factor: Option<Var<'g>>) {
        let Moments { base, beta1, beta2, eps, weight_decay, decoupled } = self.clone();
        let pairs = base.pairs(g, params, gradients);
        if pairs.is_empty() {
            return;
        }
        let lr = g.param(&base.lr_state());
        for group in pairs.chunks(AdamTick::MOST) {
            // Each parameter has its own count, as one thawed later has seen fewer steps.
            let counts = group.iter().map(|(p, _)| g.param(&base.at().at("t").counter(p.name())));
            let inputs: Vec<Var<'g>> = [lr].into_iter().chain(factor).chain(counts).collect();
            let tick = AdamTick { beta1, beta2, counts: group.len(), has_factor: factor.is_some() };
            let scalars = g.record_one(tick, &inputs);
            // Small ones in one go. Large ones sooner, so that their gradients need not all be kept.
            let is_small = |k: &usize| group[*k].0.tensor_type().shape.elements() <= SMALL;
            let (small, large): (Vec<usize>, Vec<usize>) = (0..group.len()).partition(is_small);
            for rows in large.chunks(LARGE_AT_ONCE).chain(small.chunks(AdamTick::MOST)) {
                let some: Vec<_> = rows.iter().map(|&k| &group[k]).collect();
                let mut inputs: Vec<Var<'g>> = some.iter().map(|(_, gradient)| *gradient).collect();
                inputs.push(scalars);
                for (param, _) in &some {
                    let (m, v) = (base.state_of("m", param), base.state_of("v", param));
                    inputs.extend([g.param(param), g.param(&m), g.param(&v)]);
                }
                let update = AdamUpdate { beta1, beta2, eps, weight_decay, decoupled, rows: rows.to_vec() };
                let _scope = base.scope(g, &some.iter().map(|(p, _)| p).collect::<Vec<_>>());
                g.record(update, &inputs);
            }
        }
    }
}

macro_rules! optimizer {
    ($(#[$doc:meta])* $name:ident, $text:literal, decoupled: $decoupled:literal, decay: $decay:literal,
     $(#[$decay_doc:meta])*) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name(Moments);

        impl $name {
            /// With PyTorch's defaults. Its states go into the store of `params`, which must be that of the
            /// parameters it updates.
            pub fn new(params: &Params, lr: f32) -> Self {
                $name(Moments {
                    base: Base::new(params, $text, lr),
                    beta1: 0.9,
                    beta2: 0.999,
                    eps: 1e-8,
                    weight_decay: $decay,
                    decoupled: $decoupled,
                })
            }

            /// Names its states `<name>.*` instead of
            #[doc = concat!("`", $text, ".*`.")]
            #[must_use]
            pub fn named(mut self, name: &str) -> Self {
                self.0.base.name = name.to_string();
                self
            }

            /// How much of the mean of gradients and of their squares is kept each step; 0.9 and 0.999 by
            /// default. In double precision, so that 1 - β keeps its digits.
            #[must_use]
            pub fn betas(mut self, beta1: f64, beta2: f64) -> Self {
                (self.0.beta1, self.0.beta2) = (beta1, beta2);
                self
            }

            /// Added to the divisor; 1e-8 by default.
            #[must_use]
            pub fn eps(mut self, eps: f32) -> Self {
                self.0.eps = eps;
                self
            }

            $(#[$decay_doc])*
            #[must_use]
            pub fn weight_decay(mut self, weight_decay: f32) -> Self {
                self.0.weight_decay = weight_decay;
                self
            }
        }

        impl Optimizer for $name {
            #[track_caller]
            fn apply<'g>(&self, g: &'g Graph, params: &[Param], gradients: &[Var<'g>]) {
                self.0.apply(g, params, gradients, None);
            }

            #[track_caller]
            fn apply_scaled<'g>(
                &self,
                g: &'g Graph,
                params: &[Param],
                gradients: &[Var<'g>],
                factor: Var<'g>,
            ) {
                self.0.apply(g, params, gradients, Some(factor));
            }

            fn lr(&self) -> f32 {
                self.0.base.lr
            }

            fn lr_state(&self) -> Param {
                self.0.base.lr_state()
            }
        }
    };
}

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
    Adam, "adam", decoupled: false, decay: 0.0,
    /// Adds this multiple of a parameter to its gradient; 0 by default. [`AdamW`] decays otherwise.
);

optimizer!(
    /// Adam with decoupled weight decay: Loshchilov and Hutter, ICLR 2019, algorithm 2, in PyTorch's form.
    ///
    /// As [`Adam`], but each step first shrinks w by lr · decay · w; the decay does not enter the moments.
    /// States: `adamw.lr` and `adamw.{t,m,v}.<parameter>`.
    AdamW, "adamw", decoupled: true, decay: 0.01,
    /// Shrinks a parameter by this and the learning rate each step; 0.01 by default.
);
