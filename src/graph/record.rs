//! Appending a node, and the first mistake.

use std::sync::Arc;

use super::{Graph, MAX_OUTPUTS, Node, POISON, Source, SourceLocation, Var};
use crate::error::RecordingError;
use crate::op::Op;
use crate::shape::TensorType;

impl Graph {
    pub(super) fn record_at<'g>(
        &'g self,
        op: Arc<dyn Op>,
        inputs: &[Var<'g>],
        location: SourceLocation,
    ) -> Vec<Var<'g>> {
        // An op that fails its type check does not say how many outputs it has.
        let poisoned = || vec![Var { graph: self, id: POISON }; MAX_OUTPUTS];
        if inputs.iter().any(|v| !std::ptr::eq(v.graph, self)) {
            self.mistake(op.name(), "its inputs belong to different graphs".into(), &[], location);
            return poisoned();
        }
        if inputs.iter().any(|v| v.id == POISON) {
            return poisoned();
        }
        if let Some(message) = self.stale(inputs) {
            self.mistake(op.name(), message, inputs, location);
            return poisoned();
        }
        let types: Vec<TensorType> = inputs.iter().map(|v| v.tensor_type()).collect();
        let outputs = match op.infer(&types) {
            Ok(outputs) => outputs,
            Err(message) => {
                self.mistake(op.name(), message, inputs, location);
                return poisoned();
            }
        };
        if let Some(message) = untrue(&*op, &types, outputs.len()) {
            self.mistake(op.name(), message, inputs, location);
            return poisoned();
        }
        for (input, bound) in op.traits().index_bounds(&types) {
            let checked = self.inner.borrow_mut().bound_source(inputs[input].id, bound);
            if let Err(message) = checked {
                self.mistake(op.name(), message, inputs, location);
                return poisoned();
            }
        }
        let mut inner = self.inner.borrow_mut();
        let node = inner.nodes.len();
        let updated = inputs.len() - op.writes();
        let mut ids = Vec::with_capacity(outputs.len());
        let results = outputs.len() - op.writes();
        for (k, ty) in outputs.into_iter().enumerate() {
            let source = if k < results {
                Source::Node(node)
            } else {
                let id = inputs[updated + k - results].id;
                let Source::State { state, .. } = inner.values[id as usize].source else {
                    drop(inner);
                    self.mistake(op.name(), "updates a value that is not a state".into(), inputs, location);
                    return poisoned();
                };
                let version = inner.states[state].versions;
                inner.states[state].versions += 1;
                Source::State { state, version }
            };
            let id = inner.add_value(ty, source, Some(node));
            if let Source::State { state, .. } = source {
                inner.states[state].latest = id;
            }
            ids.push(id);
        }
        let (location, scope, is_gradient) = match &inner.gradient_location {
            Some((location, scope)) => (*location, scope.clone(), true),
            None => (location, inner.scopes.last().cloned().unwrap_or_else(|| "".into()), false),
        };
        inner.nodes.push(Node {
            op,
            inputs: inputs.iter().map(|v| v.id).collect(),
            outputs: ids.clone(),
            scope,
            location,
            is_gradient,
            members: Vec::new(),
        });
        drop(inner);
        self.check_node(node);
        ids.into_iter().map(|id| Var { graph: self, id }).collect()
    }

    /// Explains which input is a version of a state that has been updated since, if one is.
    fn stale(&self, inputs: &[Var<'_>]) -> Option<String> {
        let inner = self.inner.borrow();
        inputs.iter().find_map(|v| match inner.values[v.id as usize].source {
            Source::State { state, .. } if inner.states[state].latest != v.id => Some(format!(
                "reads `{}` as it was before an update recorded earlier; read it before the update, or \
                 take the new value with `graph.param`",
                inner.states[state].param.name()
            )),
            _ => None,
        })
    }

    /// Keeps the first mistake and returns a poisoned value.
    pub(crate) fn mistake(
        &self,
        op: &str,
        message: String,
        inputs: &[Var<'_>],
        location: SourceLocation,
    ) -> Var<'_> {
        let inputs = inputs.iter().map(|v| v.tensor_type().to_string()).collect();
        let mut inner = self.inner.borrow_mut();
        if inner.error.is_none() {
            let (location, scope) = match &inner.gradient_location {
                Some((location, scope)) => (*location, scope.clone()),
                None => (location, inner.scopes.last().cloned().unwrap_or_else(|| "".into())),
            };
            inner.error = Some(RecordingError {
                op: op.to_string(),
                message,
                inputs,
                scope: scope.to_string(),
                location: location.to_string(),
            });
        }
        Var { graph: self, id: POISON }
    }
}

/// What an op says of itself that its inputs and outputs show to be wrong.
fn untrue(op: &dyn Op, inputs: &[TensorType], outputs: usize) -> Option<String> {
    let writes = op.writes();
    if outputs > MAX_OUTPUTS {
        return Some(format!("has {outputs} outputs; {MAX_OUTPUTS} are the most"));
    }
    if writes > inputs.len() || writes > outputs {
        return Some(format!(
            "updates {writes} states, but has {} inputs and {outputs} outputs",
            inputs.len()
        ));
    }
    let input = op.traits().wrong_input(inputs.len())?;
    Some(format!("its traits name input {input}; its inputs are 0..{}", inputs.len()))
}
