//! Optimizers that are a [`Rule`].

use super::base::Base;
use crate::graph::{Graph, Param, Params, Var};
use crate::ops::{Each, MOST_UPDATED, Rule, SgdRule, Tick, Update};

/// Elements up to which a parameter's gradient costs little to keep.
const SMALL: usize = 1 << 14;
/// Parameters above that are updated together.
const LARGE_AT_ONCE: usize = 6;

/// A rule with what every optimizer has. The settings of the public type are those of the rule.
#[derive(Debug, Clone)]
pub(super) struct Ruled<R> {
    pub(super) base: Base,
    pub(super) rule: R,
    pub(super) weight_decay: f32,
    /// The decay shrinks parameters themselves instead of being added to gradients.
    pub(super) decoupled: bool,
}

impl<R: Rule> Ruled<R> {
    pub(super) fn new(params: &Params, name: &str, lr: f32, rule: R) -> Self {
        Self::new_in(Base::new(params, name, lr), rule)
    }

    pub(super) fn new_in(base: Base, rule: R) -> Self {
        Ruled { base, rule, weight_decay: 0.0, decoupled: false }
    }

    /// With a decay that shrinks parameters themselves.
    pub(super) fn decoupled(mut self, weight_decay: f32) -> Self {
        (self.weight_decay, self.decoupled) = (weight_decay, true);
        self
    }

    #[track_caller]
    pub(super) fn record<'g>(
        &self,
        g: &'g Graph,
        params: &[Param],
        gradients: &[Var<'g>],
        factor: Option<Var<'g>>,
    ) {
        let pairs = self.base.pairs(g, params, gradients);
        self.update(g, &pairs, factor);
    }

    /// Updates parameters that were found right, in as few launches as there can be.
    #[track_caller]
    pub(super) fn update<'g>(&self, g: &'g Graph, pairs: &[(Param, Var<'g>)], factor: Option<Var<'g>>) {
        let base = &self.base;
        let rate: Vec<Var<'g>> = [g.param(&base.lr_state())].into_iter().chain(factor).collect();
        for some in pairs.chunks(MOST_UPDATED) {
            let mut shared = rate.clone();
            if R::TICK.is_some() {
                // Each parameter has its own count, as one thawed later has seen fewer steps.
                let counts = some.iter().map(|(p, _)| g.param(&base.at().at("t").counter(p.name())));
                let inputs: Vec<Var<'g>> = rate.iter().copied().chain(counts).collect();
                let tick = Tick { rule: self.rule, counts: some.len(), has_factor: factor.is_some() };
                shared = vec![g.record_one(tick, &inputs)];
            }
            // Small ones in one go. Large ones sooner, so that their gradients need not all be kept.
            let is_small = |k: &usize| some[*k].0.tensor_type().shape.elements() <= SMALL;
            let (small, large): (Vec<usize>, Vec<usize>) = (0..some.len()).partition(is_small);
            for rows in large.chunks(LARGE_AT_ONCE).chain(small.chunks(MOST_UPDATED)) {
                let each = rows.iter().map(|&row| {
                    let (lr, decay) = base.settings(&some[row].0, self.weight_decay);
                    Each { row, lr, decay }
                });
                let each = each.collect();
                let mut inputs: Vec<Var<'g>> = rows.iter().map(|&k| some[k].1).collect();
                inputs.extend(&shared);
                for (param, _) in rows.iter().map(|&k| &some[k]) {
                    inputs.push(g.param(param));
                    let kept = R::STATES.iter().zip(self.rule.initial()).take(self.rule.kept());
                    inputs.extend(kept.map(|(kind, initial)| g.param(&base.state_of(kind, param, initial))));
                }
                let _scope = base.scope(g, &rows.iter().map(|&k| &some[k].0).collect::<Vec<_>>());
                let has_factor = factor.is_some();
                g.record(Update { rule: self.rule, decoupled: self.decoupled, has_factor, each }, &inputs);
            }
        }
    }
}

/// Moves each parameter against a direction that was made of its gradient: w = w (1 - lr decay) - lr scale · direction. Where `gate`
/// is 0 nothing moves. Without a `weight_decay` there is none, whatever a group says.
#[track_caller]
pub(super) fn step_along<'g>(
    base: &Base,
    g: &'g Graph,
    directions: &[(Param, Var<'g>, f32)],
    weight_decay: Option<f32>,
    gate: Option<Var<'g>>,
) {
    let shared: Vec<Var<'g>> = [g.param(&base.lr_state())].into_iter().chain(gate).collect();
    for some in directions.chunks(MOST_UPDATED) {
        let each = some.iter().map(|(param, _, scale)| {
            let (lr, decay) = base.settings(param, weight_decay.unwrap_or(0.0));
            // The decay is by the rate alone.
            let decay = if weight_decay.is_some() && *scale > 0.0 { decay / scale } else { 0.0 };
            Each { row: 0, lr: lr * scale, decay }
        });
        let each = each.collect();
        let mut inputs: Vec<Var<'g>> = some.iter().map(|(_, direction, _)| *direction).collect();
        inputs.extend(&shared);
        inputs.extend(some.iter().map(|(param, ..)| g.param(param)));
        let _scope = base.scope(g, &some.iter().map(|(param, ..)| param).collect::<Vec<_>>());
        let rule = SgdRule { momentum: 0.0, nesterov: false };
        g.record(Update { rule, decoupled: true, has_factor: gate.is_some(), each }, &inputs);
    }
}

/// 1 where the factor of gradients is not 0, so that a direction is taken as it is, or not at all.
#[track_caller]
pub(super) fn gate<'g>(factor: Option<Var<'g>>) -> Option<Var<'g>> {
    factor.map(|factor| factor.select(factor.graph().scalar(1.0), factor.graph().scalar(0.0)))
}

/// A public optimizer around what it is made of, which has a [`Base`] in `base`, a `weight_decay` and the method `record`.
macro_rules! optimizer {
    ($(#[$doc:meta])* $name:ident($inner:ty), $text:literal, |$params:ident, $lr:ident| $new:expr,
     $(#[$decay_doc:meta])+) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name($inner);

        impl $name {
            /// With the defaults that its settings name. Its states go into the store of `params`, which must be that of the
            /// parameters it updates.
            pub fn new($params: &Params, $lr: f32) -> Self {
                $name($new)
            }

            /// Names its states `<name>.*` instead of
            #[doc = concat!("`", $text, ".*`.")]
            #[must_use]
            pub fn named(mut self, name: &str) -> Self {
                self.0.base.name = name.to_string();
                self
            }

            /// Gives some parameters settings of their own; of two that a parameter gets the later ones count.
            #[must_use]
            pub fn group(mut self, params: &[Param], group: Group) -> Self {
                self.0.base.group(params, group);
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
                self.0.record(g, params, gradients, None);
            }

            #[track_caller]
            fn apply_scaled<'g>(
                &self,
                g: &'g Graph,
                params: &[Param],
                gradients: &[Var<'g>],
                factor: Var<'g>,
            ) {
                self.0.record(g, params, gradients, Some(factor));
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
pub(super) use optimizer;
