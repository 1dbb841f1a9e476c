//! LAMB.

use super::Optimizer;
use super::adam::moments;
use super::base::{Base, Group};
use super::ruled::{Ruled, gate, optimizer, step_along};
use crate::graph::{Graph, Param, Params, Var};
use crate::ops::LambRule;

/// What [`Lamb`] is made of.
#[derive(Debug, Clone)]
pub(super) struct Layerwise {
    base: Base,
    rule: LambRule,
    weight_decay: f32,
}

impl Layerwise {
    #[track_caller]
    fn record<'g>(&self, g: &'g Graph, params: &[Param], gradients: &[Var<'g>], factor: Option<Var<'g>>) {
        let pairs = self.base.pairs(g, params, gradients);
        // The decay is in the direction: of each of its values one op.
        let mut decays: Vec<f32> = Vec::new();
        let decay_of = |param: &Param| self.base.settings(param, self.weight_decay).1;
        for (param, _) in &pairs {
            let decay = decay_of(param);
            if !decays.iter().any(|d| d.to_bits() == decay.to_bits()) {
                decays.push(decay);
            }
        }
        let mut directions = Vec::new();
        for decay in decays {
            let is_one = |param: &Param| decay_of(param).to_bits() == decay.to_bits();
            let some: Vec<_> = pairs.iter().filter(|(param, _)| is_one(param)).cloned().collect();
            let rule = LambRule { weight_decay: decay, ..self.rule };
            Ruled::new_in(self.base.without_groups(), rule).decoupled(0.0).update(g, &some, factor);
            for (param, _) in some {
                let _scope = self.base.scope(g, &[&param]);
                let direction = g.param(&self.base.state_of("direction", &param, 0.0));
                let norm = |x: Var<'g>| x.square().sum_all().sqrt();
                let (size, length) = (norm(g.param(&param)), norm(direction));
                // A parameter of zeros, or without a direction, moves by the rate alone.
                let one = g.scalar(1.0);
                let ratio = (size * length).select(size / length, one);
                directions.push((param, direction * ratio, 1.0));
            }
        }
        step_along(&self.base, g, &directions, None, gate(factor));
    }
}

optimizer!(
    /// LAMB, for large batches: You et al., ICLR 2020, algorithm 2, with φ(z) = z.
    ///
    /// r = m̂ / (√v̂ + eps) + decay · w with Adam's moments; w = w - lr ‖w‖ / ‖r‖ · r, where either norm is 0 w - lr r. States: `lamb.lr`,
    /// `lamb.{t,m,v,direction}.<parameter>`. Beside the launches that all share, each parameter has those of two norms.
    Lamb(Layerwise), "lamb",
    |params, lr| Layerwise {
        base: Base::new(params, "lamb", lr),
        rule: LambRule { betas: [0.9, 0.999], eps: 1e-6, weight_decay: 0.0 },
        weight_decay: 0.01,
    },
    /// Adds this multiple of a parameter to its direction; 0.01 by default.
);

moments!(Lamb: "1e-6");
