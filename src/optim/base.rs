//! What every optimizer has: its name in the store, its learning rate, and groups of parameters with settings of their own.

use std::panic::Location;

use super::nothing_to_update;
use crate::graph::{Graph, Init, Param, Params, Scope, Source, SourceLocation, Var};
use crate::tensor::Data;

/// Settings of some parameters in place of the optimizer's: a rate of their own, as in layer-wise rates, or another decay, as
/// for biases and normalizations, which are often left without.
///
/// ```
/// use wgrad::optim::{AdamW, Group, Optimizer};
/// use wgrad::{Graph, Init, Params};
/// let params = Params::seeded(1);
/// let w = params.param("weight", [1], Init::Constant(3.0));
/// let b = params.param("bias", [1], Init::Constant(3.0));
/// // Both are updated by one launch all the same.
/// let adamw = AdamW::new(&params, 1e-3).group(&[b.clone()], Group::new().lr(0.1).weight_decay(0.0));
/// let g = Graph::new();
/// adamw.minimize(g.param(&w) * g.param(&b), &params.trainable());
/// assert!(g.error().is_none());
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group {
    lr: f32,
    weight_decay: Option<f32>,
}

impl Default for Group {
    fn default() -> Self {
        Group::new()
    }
}

impl Group {
    /// The optimizer's settings.
    pub fn new() -> Self {
        Group { lr: 1.0, weight_decay: None }
    }

    /// Multiplies the optimizer's learning rate, whatever a schedule makes of that.
    #[must_use]
    pub fn lr(mut self, factor: f32) -> Self {
        self.lr = factor;
        self
    }

    /// The weight decay in place of the optimizer's.
    #[must_use]
    pub fn weight_decay(mut self, weight_decay: f32) -> Self {
        self.weight_decay = Some(weight_decay);
        self
    }
}

#[derive(Debug, Clone)]
pub(super) struct Base {
    store: Params,
    pub(super) name: String,
    pub(super) lr: f32,
    /// Numbers of parameters, and their settings.
    groups: Vec<(Vec<u64>, Group)>,
}

impl Base {
    pub(super) fn new(params: &Params, name: &str, lr: f32) -> Self {
        Base { store: params.root(), name: name.to_string(), lr, groups: Vec::new() }
    }

    pub(super) fn at(&self) -> Params {
        self.store.at(&self.name)
    }

    pub(super) fn lr_state(&self) -> Param {
        self.at().state("lr", [1], Init::Constant(self.lr))
    }

    /// A state in the shape of a parameter, which starts as `initial`.
    pub(super) fn state_of(&self, kind: &str, param: &Param, initial: f32) -> Param {
        self.at().at(kind).state(param.name(), param.shape(), Init::Constant(initial))
    }

    /// The same without groups, for what is no step of its own.
    pub(super) fn without_groups(&self) -> Self {
        Base { groups: Vec::new(), ..self.clone() }
    }

    /// Gives some parameters settings of their own; of two that a parameter gets the later ones count.
    pub(super) fn group(&mut self, params: &[Param], group: Group) {
        self.groups.push((params.iter().map(Param::id).collect(), group));
    }

    /// What the learning rate of a parameter is multiplied by, and its decay, which is `decay` if no group says otherwise.
    pub(super) fn settings(&self, param: &Param, decay: f32) -> (f32, f32) {
        let mut groups = self.groups.iter().rev();
        let found = groups.find(|(ids, _)| ids.contains(&param.id()));
        found.map_or((1.0, decay), |(_, group)| (group.lr, group.weight_decay.unwrap_or(decay)))
    }

    /// Why these parameters cannot be updated, if they cannot.
    fn refusal(&self, g: &Graph, params: &[Param], gradients: &[Var<'_>]) -> Option<String> {
        if !(self.lr.is_finite() && self.lr >= 0.0) {
            return Some(format!("the learning rate must be 0 or more, got {}", self.lr));
        }
        if gradients.iter().any(|v| !std::ptr::eq(v.graph, g)) {
            return Some("a gradient belongs to another graph".into());
        }
        if params.len() != gradients.len() {
            return Some(format!("got {} gradients for {} parameters", gradients.len(), params.len()));
        }
        if !params.iter().any(Param::is_trainable) {
            return Some(nothing_to_update(params));
        }
        for (i, param) in params.iter().enumerate() {
            if params[..i].iter().any(|p| p.id() == param.id()) {
                return Some(format!("`{}` is given twice", param.name()));
            }
            // Its states are found by its name, which another store may have too.
            if self.store.get(param.name()).is_none_or(|p| p.id() != param.id()) {
                return Some(format!(
                    "`{}` is not among the parameters that `{}` was made for",
                    param.name(),
                    self.name
                ));
            }
        }
        match self.lr_state().initial() {
            Data::F32(lr) if lr != [self.lr] => Some(format!(
                "there is an optimizer `{}` with learning rate {} already; name this one otherwise with \
                 `named`, or write another rate to `lr_state` of the first",
                self.name, lr[0]
            )),
            _ => None,
        }
    }

    /// The trainable parameters with their gradients; none, after a recording error, if they cannot be
    /// updated.
    #[track_caller]
    pub(super) fn pairs<'g>(
        &self,
        g: &'g Graph,
        params: &[Param],
        gradients: &[Var<'g>],
    ) -> Vec<(Param, Var<'g>)> {
        if let Some(message) = self.refusal(g, params, gradients) {
            g.mistake(&self.name, message, &[], SourceLocation(Location::caller()));
            return Vec::new();
        }
        let mut pairs = Vec::new();
        for (param, &gradient) in params.iter().zip(gradients).filter(|(p, _)| p.is_trainable()) {
            // A gradient that is itself a state is read before an update replaces it.
            let is_state = !gradient.is_poisoned()
                && matches!(g.inner.borrow().values[gradient.id as usize].source, Source::State { .. });
            pairs.push((param.clone(), if is_state { gradient.copy() } else { gradient }));
        }
        pairs
    }

    /// Names what is recorded for some parameters.
    pub(super) fn scope<'g>(&self, g: &'g Graph, params: &[&Param]) -> Scope<'g> {
        let names: Vec<&str> = params.iter().map(|p| p.name()).collect();
        g.scope_at(&format!("{}.{}", self.name, names.join("+")))
    }
}
