//! Optimizers: they append the updates of parameters to a graph.
//!
//! An optimizer outlives graphs. Its states (moments, the step count, the learning rate) live in the
//! parameter store beside the parameters, under names such as `adam.m.mlp.fc1.weight`, so that training can
//! go on in another graph and checkpoints hold them. Formulas and defaults are PyTorch's.
//!
//! Two optimizers over one store need different names: [`Adam::named`].

mod adam;
mod clip;
mod scale;
mod schedule;
mod sgd;

use std::panic::Location;

pub use adam::{Adam, AdamW};
pub use clip::{ClipNorm, clip_by_global_norm};
pub use scale::LossScale;
pub use schedule::Schedule;
pub use sgd::Sgd;

use crate::graph::{Graph, Init, Param, Params, Scope, Source, SourceLocation, Var};
use crate::tensor::Data;

/// Appends updates of parameters to a graph.
pub trait Optimizer {
    /// Updates the trainable ones of `params` so that the scalar `loss` falls.
    ///
    /// All gradients are taken before the first update. As in PyTorch, parameters that the loss does not
    /// depend on keep their value, and so do frozen ones. It is a recording error if no parameter is left,
    /// or if the loss was computed from values that an update recorded since has replaced.
    #[track_caller]
    fn minimize<'g>(&self, loss: Var<'g>, params: &[Param]) {
        let g = loss.graph();
        let location = SourceLocation(Location::caller());
        if loss.is_poisoned() {
            return;
        }
        match dependencies(loss, params) {
            Ok(params) => {
                let values: Vec<Var<'g>> = params.iter().map(|p| g.param(p)).collect();
                let gradients = g.gradients(self.objective(loss), &values);
                self.apply(g, &params, &gradients);
            }
            Err(message) => {
                g.mistake("minimize", message, &[loss], location);
            }
        }
    }

    /// Updates the trainable ones of `params` with gradients from elsewhere: accumulated, clipped, averaged.
    /// There must be one for each parameter, in its shape. Where [`Graph::error`] names a line, it is the caller's.
    #[track_caller]
    fn apply<'g>(&self, g: &'g Graph, params: &[Param], gradients: &[Var<'g>]);

    /// As [`Optimizer::apply`], for gradients that are first multiplied by `factor`, of shape `[1]`. Where that is 0 the
    /// step is left out: neither the parameters nor any state of the optimizer changes, whatever the gradients hold.
    /// [`LossScale`] needs it; an optimizer from outside that has no such form makes it a recording error.
    #[track_caller]
    fn apply_scaled<'g>(&self, g: &'g Graph, params: &[Param], gradients: &[Var<'g>], factor: Var<'g>) {
        let _ = (params, gradients, factor);
        let message = "this optimizer cannot leave a step out, which loss scaling asks of it".to_string();
        g.mistake("apply_scaled", message, &[], SourceLocation(Location::caller()));
    }

    /// What [`Optimizer::minimize`] takes the gradients of: the loss, or a multiple of it. What wraps an optimizer passes this on,
    /// as it does [`Optimizer::apply_scaled`] and [`Optimizer::scales_loss`].
    fn objective<'g>(&self, loss: Var<'g>) -> Var<'g> {
        loss
    }

    /// Whether its objective is a multiple of the loss, so that what wraps it would see scaled gradients.
    fn scales_loss(&self) -> bool {
        false
    }

    /// The learning rate it starts with.
    fn lr(&self) -> f32;

    /// The state `[1]` that holds the learning rate. Rewrite it between steps to follow a schedule: no graph
    /// needs to be compiled again.
    fn lr_state(&self) -> Param;
}

impl<O: Optimizer + ?Sized> Optimizer for Box<O> {
    #[track_caller]
    fn apply<'g>(&self, g: &'g Graph, params: &[Param], gradients: &[Var<'g>]) {
        (**self).apply(g, params, gradients);
    }

    #[track_caller]
    fn apply_scaled<'g>(&self, g: &'g Graph, params: &[Param], gradients: &[Var<'g>], factor: Var<'g>) {
        (**self).apply_scaled(g, params, gradients, factor);
    }

    fn objective<'g>(&self, loss: Var<'g>) -> Var<'g> {
        (**self).objective(loss)
    }

    fn scales_loss(&self) -> bool {
        (**self).scales_loss()
    }

    fn lr(&self) -> f32 {
        (**self).lr()
    }

    fn lr_state(&self) -> Param {
        (**self).lr_state()
    }
}

/// The trainable ones of `params` that `loss` depends on; or why there is nothing to minimize.
fn dependencies(loss: Var<'_>, params: &[Param]) -> Result<Vec<Param>, String> {
    let trainable: Vec<Param> = params.iter().filter(|p| p.is_trainable()).cloned().collect();
    if trainable.is_empty() {
        return Err(nothing_to_update(params));
    }
    let used = used_states(loss);
    let mut found = Vec::new();
    for param in trainable {
        let versions = || used.iter().filter(|(id, _)| *id == param.id());
        if versions().any(|(_, is_latest)| *is_latest) {
            found.push(param);
        } else if versions().next().is_some() {
            return Err(format!(
                "the loss was computed from `{}` as it was before an update recorded earlier; compute it after \
                 the update, or minimize both losses before either is applied",
                param.name()
            ));
        }
    }
    if found.is_empty() {
        return Err(format!("the loss does not depend on any of the {} parameters given", params.len()));
    }
    Ok(found)
}

fn nothing_to_update(params: &[Param]) -> String {
    match params.len() {
        0 => {
            "there are no parameters to update; give those of the model, such as `params.trainable()`".into()
        }
        n => format!("all of the {n} parameters given are frozen"),
    }
}

/// The states that `value` is computed from: the id of each and whether it is read at its latest version.
fn used_states(value: Var<'_>) -> Vec<(u64, bool)> {
    let inner = value.graph().inner.borrow();
    let mut is_used = vec![false; inner.values.len()];
    is_used[value.id as usize] = true;
    for (n, node) in inner.nodes.iter().enumerate().rev() {
        // Versions of states are leaves: what an update read is another step's business.
        let is_result = |id: u32| inner.values[id as usize].source == Source::Node(n);
        if node.outputs.iter().any(|&id| is_used[id as usize] && is_result(id)) {
            node.inputs.iter().for_each(|&id| is_used[id as usize] = true);
        }
    }
    let used = (0..inner.values.len()).filter(|&id| is_used[id]);
    used.filter_map(|id| match inner.values[id].source {
        Source::State { state, .. } => {
            let info = &inner.states[state];
            Some((info.param.id(), info.latest as usize == id))
        }
        _ => None,
    })
    .collect()
}

/// What every optimizer has: its name in the store, and the learning rate.
#[derive(Debug, Clone)]
struct Base {
    store: Params,
    name: String,
    lr: f32,
}

impl Base {
    fn new(params: &Params, name: &str, lr: f32) -> Self {
        Base { store: params.root(), name: name.to_string(), lr }
    }

    fn at(&self) -> Params {
        self.store.at(&self.name)
    }

    fn lr_state(&self) -> Param {
        self.at().state("lr", [1], Init::Constant(self.lr))
    }

    /// A state of zeros, in the shape of a parameter.
    fn state_of(&self, kind: &str, param: &Param) -> Param {
        self.at().at(kind).state(param.name(), param.shape(), Init::Constant(0.0))
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
    fn pairs<'g>(&self, g: &'g Graph, params: &[Param], gradients: &[Var<'g>]) -> Vec<(Param, Var<'g>)> {
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
    fn scope<'g>(&self, g: &'g Graph, params: &[&Param]) -> Scope<'g> {
        let names: Vec<&str> = params.iter().map(|p| p.name()).collect();
        g.scope_at(&format!("{}.{}", self.name, names.join("+")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Init;

    fn model() -> (Params, Param, Param) {
        let params = Params::seeded(1);
        let a = params.at("a").param("weight", [1], Init::Constant(2.0));
        let b = params.at("b").param("weight", [1], Init::Constant(3.0));
        (params, a, b)
    }

    fn names(params: &Params) -> Vec<String> {
        params.all().iter().map(|p| p.name().to_string()).collect()
    }

    fn ops(g: &Graph) -> Vec<&'static str> {
        g.inner.borrow().nodes.iter().map(|n| n.op.name()).collect()
    }

    fn error(record: impl Fn(&Graph, &Params, &Param, &Param)) -> String {
        let (params, a, b) = model();
        let g = Graph::new();
        record(&g, &params, &a, &b);
        g.error().map_or_else(String::new, |e| e.to_string())
    }

    #[test]
    fn states_are_named_after_optimizer_and_parameter() {
        let (params, a, b) = model();
        let g = Graph::new();
        let loss = g.param(&a) * g.param(&b);
        Adam::new(&params.at("a"), 1e-3).minimize(loss, &params.trainable());
        assert!(g.error().is_none(), "{g}");
        let adam = ["lr", "t.a.weight", "t.b.weight", "m.a.weight", "v.a.weight", "m.b.weight", "v.b.weight"];
        assert_eq!(names(&params)[2..], adam.map(|name| format!("adam.{name}")));
        assert_eq!(params.trainable().len(), 2);

        let g = Graph::new();
        let sgd = Sgd::new(&params, 0.1).momentum(0.9).nesterov().named("slow");
        sgd.minimize(g.param(&a).square(), std::slice::from_ref(&a));
        assert!(g.error().is_none(), "{g}");
        assert_eq!(names(&params)[9..], ["slow.lr", "slow.momentum.a.weight"]);
        assert_eq!((sgd.lr(), sgd.lr_state().name()), (0.1, "slow.lr"));
        assert_eq!(sgd.lr_state().initial(), Data::F32(vec![0.1]));
    }

    #[test]
    fn gradients_come_before_updates_and_updates_in_order() {
        let (params, a, b) = model();
        let g = Graph::new();
        let loss = (g.param(&a) * g.param(&b)).square();
        AdamW::new(&params, 1e-3).minimize(loss, &params.trainable());
        assert!(g.error().is_none(), "{g}");
        let ops = ops(&g);
        let tick = ops.iter().position(|&op| op == "adam_tick").unwrap();
        // Both in one launch.
        assert_eq!(ops[tick..], ["adam_tick", "adam_update"]);
        let text = g.to_string();
        assert!(text.contains("# adamw.a.weight+b.weight"), "{text}");
        assert!(text.contains("decoupled: true") && text.contains("weight_decay: 0.01"), "{text}");
    }

    #[test]
    fn a_gradient_that_is_a_state_is_read_before_the_update() {
        let (params, a, b) = model();
        let g = Graph::new();
        let gradients = [g.param(&b), g.param(&a)];
        Sgd::new(&params, 0.1).apply(&g, &[a, b], &gradients);
        assert!(g.error().is_none(), "{g}");
        assert_eq!(ops(&g), ["copy", "copy", "sgd_update", "sgd_update"]);
    }

    #[test]
    fn frozen_and_unused_parameters_keep_their_value() {
        let (params, a, b) = model();
        let c = params.param("c", [1], Init::Constant(1.0));
        a.set_trainable(false);
        let g = Graph::new();
        let loss = g.param(&a) * g.param(&b);
        g.param(&c);
        Sgd::new(&params, 0.1).minimize(loss, &[a.clone(), b.clone(), c]);
        assert!(g.error().is_none(), "{g}");
        let versions =
            |p: &Param| g.inner.borrow().states.iter().find(|s| s.param.id() == p.id()).unwrap().versions;
        assert_eq!((versions(&a), versions(&b)), (1, 2));
        assert_eq!(ops(&g).iter().filter(|&&op| op == "sgd_update").count(), 1);
        // Given to `apply` with gradients, frozen ones are left out too.
        let g = Graph::new();
        let one = g.full([1], 1.0);
        Sgd::new(&params, 0.1).apply(&g, &[a, b], &[one, one]);
        assert_eq!(ops(&g).iter().filter(|&&op| op == "sgd_update").count(), 1);
    }

    #[test]
    fn two_optimizers_share_a_graph_if_losses_come_after_updates() {
        let (params, a, b) = model();
        let g = Graph::new();
        let generator = Adam::new(&params, 1e-3).named("generator");
        let critic = Adam::new(&params, 1e-3).named("critic");
        generator.minimize(g.param(&a) * g.param(&b), std::slice::from_ref(&a));
        // The updated `a` is a leaf, although its update was computed from `b`.
        critic.minimize(g.param(&a) * g.param(&b), std::slice::from_ref(&b));
        assert!(g.error().is_none(), "{g}");
        assert_eq!(
            ops(&g),
            [
                "mul",
                "fill",
                "cotangent_mul",
                "adam_tick",
                "adam_update",
                "mul",
                "fill",
                "cotangent_mul",
                "cotangent_mul",
                "adam_tick",
                "adam_update"
            ]
        );
        let stale = error(|g, params, a, b| {
            let loss = (g.param(a) * g.param(b)).square();
            let sgd = Sgd::new(params, 0.1);
            sgd.minimize(loss, std::slice::from_ref(a));
            sgd.minimize(loss, std::slice::from_ref(a));
        });
        assert!(stale.contains("`a.weight` as it was before an update"), "{stale}");
    }

    #[test]
    fn nothing_to_minimize_is_an_error() {
        let empty = error(|g, params, a, _| Sgd::new(params, 0.1).minimize(g.param(a), &[]));
        assert!(empty.contains("no parameters to update"), "{empty}");
        let frozen = error(|g, params, a, _| {
            params.freeze();
            Sgd::new(params, 0.1).minimize(g.param(a), std::slice::from_ref(a));
        });
        assert!(frozen.contains("all of the 1 parameters given are frozen"), "{frozen}");
        let unused =
            error(|g, params, a, b| Sgd::new(params, 0.1).minimize(g.param(a), std::slice::from_ref(b)));
        assert!(unused.contains("does not depend on any"), "{unused}");
    }

    #[test]
    fn wrong_settings_are_errors_that_say_what_is_wrong_and_where() {
        type Make = fn(&Params) -> Box<dyn Optimizer>;
        let cases: [(Make, &str); 11] = [
            (|p| Box::new(Sgd::new(p, -0.1)), "learning rate must be 0 or more, got -0.1"),
            (|p| Box::new(Adam::new(p, f32::NAN)), "learning rate"),
            (|p| Box::new(Sgd::new(p, 0.1).momentum(-0.9)), "momentum must be 0 or more, got -0.9"),
            (|p| Box::new(Sgd::new(p, 0.1).momentum(f32::NAN)), "momentum"),
            (|p| Box::new(Sgd::new(p, 0.1).nesterov()), "needs momentum"),
            (|p| Box::new(Sgd::new(p, 0.1).weight_decay(-1.0)), "weight decay"),
            (|p| Box::new(Adam::new(p, 0.1).betas(1.0, 0.9)), "betas must be in [0, 1), got 1 and 0.9"),
            (|p| Box::new(Adam::new(p, 0.1).betas(0.9, f64::NAN)), "betas"),
            (|p| Box::new(Adam::new(p, 0.1).eps(-1.0)), "eps must be 0 or more"),
            (|p| Box::new(AdamW::new(p, 0.1).weight_decay(f32::INFINITY)), "weight decay"),
            (|p| Box::new(Adam::new(&Params::seeded(p.seed()), 0.1)), "is not among the parameters"),
        ];
        for (make, message) in cases {
            let text = error(|g, params, a, _| make(params).minimize(g.param(a), &params.trainable()));
            assert!(text.contains(message), "{text}");
        }
        let line = line!() + 1;
        let text = error(|g, p, a, _| Sgd::new(p, 0.1).momentum(-1.0).minimize(g.param(a), &p.trainable()));
        assert!(text.ends_with(&format!("{}:{line}", file!())), "{text}");
    }

    #[test]
    fn gradients_must_match_and_names_must_differ() {
        let text = error(|g, p, a, b| Adam::new(p, 0.1).apply(g, &[a.clone(), b.clone()], &[g.param(a)]));
        assert!(text.contains("1 gradients for 2 parameters"), "{text}");
        let text = error(|g, p, a, _| {
            let one = g.full([1], 1.0);
            Adam::new(p, 0.1).apply(g, &[a.clone(), a.clone()], &[one, one]);
        });
        assert!(text.contains("`a.weight` is given twice"), "{text}");
        let text =
            error(|g, p, a, _| Adam::new(p, 0.1).apply(g, std::slice::from_ref(a), &[g.full([2], 1.0)]));
        assert!(text.contains("differ in shape"), "{text}");
        let text = error(|g, p, a, b| {
            Adam::new(p, 0.1).minimize(g.param(a), std::slice::from_ref(a));
            Adam::new(p, 0.2).minimize(g.param(b), std::slice::from_ref(b));
        });
        assert!(text.contains("`adam` with learning rate 0.1 already"), "{text}");
    }
}
