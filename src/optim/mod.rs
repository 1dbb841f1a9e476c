//! Optimizers: they append the updates of parameters to a graph.
//!
//! An optimizer outlives graphs. Its states (moments, the step count, the learning rate) live in the
//! parameter store beside the parameters, under names such as `adam.m.mlp.fc1.weight`, so that training can
//! go on in another graph and checkpoints hold them. Formulas and defaults are PyTorch's.
//!
//! Two optimizers over one store need different names: [`Adam::named`].

mod accumulate;
mod adam;
mod adaptive;
mod average;
mod base;
mod clip;
mod clip_value;
mod kind;
mod lamb;
mod lbfgs;
mod line_search;
mod max_norm;
mod momentum;
mod muon;
mod plateau;
mod ruled;
mod scale;
mod schedule;
mod schedule_names;
#[cfg(test)]
mod tests;
mod wrapper;

use std::panic::Location;

pub use accumulate::Accumulate;
pub use adam::{Adam, AdamW, Adamax, NAdam, RAdam};
pub use adaptive::{Adadelta, Adagrad, RmsProp, Rprop};
pub use average::{Average, Averaged};
pub use base::Group;
pub use clip::{ClipNorm, clip_by_global_norm};
pub use clip_value::{ClipValue, clip_by_value};
pub use kind::OptimizerKind;
pub use lamb::Lamb;
pub use lbfgs::{Lbfgs, Minimized};
pub use max_norm::MaxNorm;
pub use momentum::{Lion, Sgd};
pub use muon::Muon;
pub use plateau::Plateau;
pub use scale::LossScale;
pub use schedule::Schedule;

use crate::graph::{Graph, Param, Recording, Source, SourceLocation, Var};

/// Appends updates of parameters to a graph.
pub trait Optimizer {
    /// Updates the trainable ones of `params` so that the scalar `loss` falls.
    ///
    /// All gradients are taken before the first update. As in PyTorch, parameters that the loss does not
    /// depend on keep their value, and so do frozen ones; `compile` names the former in a warning
    /// ([`Step::without_gradient`](crate::Step::without_gradient)). It is a recording error if no parameter is left,
    /// or if the loss was computed from values that an update recorded since has replaced.
    #[track_caller]
    fn minimize<'g>(&self, loss: Var<'g>, params: &[Param]) {
        let g = loss.graph();
        let location = SourceLocation(Location::caller());
        if loss.is_poisoned() {
            return;
        }
        match dependencies(loss, params) {
            Ok(reached) => {
                let values: Vec<Var<'g>> = reached.iter().map(|p| g.param(p)).collect();
                let gradients = g.gradients(self.objective(loss), &values);
                note_gradients(g, params, &reached, &gradients);
                self.apply(g, &reached, &gradients);
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

    /// Those of the parameters of which the optimizer keeps averages ([`Averaged`]), once its updates are recorded: what is to be
    /// validated and saved in the parameter's place. What wraps an optimizer passes this on.
    fn averages(&self, params: &[Param]) -> Vec<Average> {
        let _ = params;
        Vec::new()
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

    fn averages(&self, params: &[Param]) -> Vec<Average> {
        (**self).averages(params)
    }

    fn lr(&self) -> f32 {
        (**self).lr()
    }

    fn lr_state(&self) -> Param {
        (**self).lr_state()
    }
}

/// Keeps which gradients were taken, and the names of trainable parameters that get none: `compile` names them.
fn note_gradients(g: &Graph, params: &[Param], reached: &[Param], gradients: &[Var<'_>]) {
    // What passes only through a step function or an argmax is a zero that was never computed.
    let is_one = |gradient: &Var<'_>| !gradient.is_poisoned() && gradient.fill_value() != Some(0.0);
    let taken = reached.iter().zip(gradients).filter(|(_, gradient)| is_one(gradient));
    let taken: Vec<_> = taken.map(|(param, gradient)| (param.clone(), gradient.id)).collect();
    let Recording { minimized, without_gradient, .. } = &mut *g.inner.borrow_mut();
    minimized.extend(taken);
    // Several losses may share parameters, as those of a generator and of what tells its pictures from others.
    let has_one = |name: &str| minimized.iter().any(|(param, _)| param.name() == name);
    without_gradient.extend(params.iter().filter(|p| p.is_trainable()).map(|p| p.name().to_string()));
    without_gradient.sort();
    without_gradient.dedup();
    without_gradient.retain(|name| !has_one(name));
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
