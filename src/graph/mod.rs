//! The recorder: a model is a list of ops over values of static type. Nothing runs here.
//!
//! A [`Graph`] records what [`Var`]s are combined into. The first mistake is kept, with the op, the
//! shapes, the scopes and the caller's line, and returned by `compile`; until then the graph goes on
//! with poisoned values, so that models read like formulas.

mod autodiff;
mod display;
mod param;
#[cfg(test)]
mod tests;
mod var;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::panic::Location;
use std::sync::Arc;

pub(crate) use param::WeakParam;
pub use param::{Init, Param, Params};
pub use var::Var;

use crate::error::{Error, RecordingError, Result};
use crate::op::Op;
use crate::shape::{DType, IntoShape, Shape, TensorType};
use crate::tensor::Tensor;

/// Index of a value in its graph. [`POISON`] stands for the result of a mistake.
pub(crate) type ValueId = u32;
pub(crate) const POISON: ValueId = u32::MAX;

/// The most outputs of an op. A mistake gives as many values, so that any output of the op can be asked for.
const MAX_OUTPUTS: usize = 256;

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The `n`th input of the graph.
    Input(usize),
    /// The `n`th constant of the graph.
    Constant(usize),
    /// A version of the `n`th state of the graph; version 0 is what the state holds when the step starts.
    State { state: usize, version: u32 },
    /// An output of a node.
    Node(usize),
}

#[derive(Debug, Clone)]
pub(crate) struct ValueInfo {
    pub(crate) ty: TensorType,
    pub(crate) source: Source,
    /// The node that computes it; for versions of a state, the one that updated it.
    pub(crate) producer: Option<usize>,
}

/// A caller's file and line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SourceLocation(pub(crate) &'static Location<'static>);

impl std::fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.0.file(), self.0.line())
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) op: Arc<dyn Op>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
    pub(crate) scope: Arc<str>,
    pub(crate) location: SourceLocation,
    /// Whether it was appended by differentiation.
    pub(crate) is_gradient: bool,
    /// The recorded nodes that it stands for, where the planner has fused several.
    pub(crate) members: Vec<Node>,
}

impl Node {
    /// The recorded nodes that it stands for: itself, unless several were fused.
    pub(crate) fn members(&self) -> &[Node] {
        if self.members.is_empty() { std::slice::from_ref(self) } else { &self.members }
    }

    /// A short name for messages: `%12 fc1.relu`.
    pub(crate) fn label(&self) -> String {
        if !self.members.is_empty() {
            return self.members.iter().map(Node::label).collect::<Vec<_>>().join(" + ");
        }
        let scope = if self.scope.is_empty() { String::new() } else { format!("{}.", self.scope) };
        let back = if self.is_gradient { "grad " } else { "" };
        let id = self.outputs.first().copied().unwrap_or(POISON);
        format!("%{id} {back}{scope}{}", self.op.name())
    }
}

#[derive(Debug, Clone)]
pub(crate) struct InputInfo {
    pub(crate) name: String,
    pub(crate) value: ValueId,
    /// Values must be below this (classes, row numbers).
    pub(crate) bound: Option<u32>,
}

#[derive(Debug, Clone)]
pub(crate) struct StateInfo {
    pub(crate) param: Param,
    pub(crate) latest: ValueId,
    pub(crate) versions: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct OutputInfo {
    pub(crate) name: String,
    pub(crate) value: ValueId,
}

/// What was recorded; executors take a copy.
#[derive(Debug, Default, Clone)]
pub(crate) struct Recording {
    pub(crate) values: Vec<ValueInfo>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) inputs: Vec<InputInfo>,
    pub(crate) constants: Vec<(Arc<Tensor>, ValueId)>,
    pub(crate) states: Vec<StateInfo>,
    pub(crate) outputs: Vec<OutputInfo>,
    state_of: HashMap<u64, usize>,
    scopes: Vec<Arc<str>>,
    error: Option<RecordingError>,
    gradient_location: Option<(SourceLocation, Arc<str>)>,
    inference: bool,
}

/// Records ops on values of static shape and type.
///
/// ```
/// use wgrad::Graph;
/// let g = Graph::new();
/// let x = g.input("x", [2, 3]);
/// g.output("y", (x * 2.0 + 1.0).sum_all());
/// println!("{g}");
/// ```
#[derive(Debug, Default)]
pub struct Graph {
    pub(crate) inner: RefCell<Recording>,
}

/// Names the nodes recorded while it lives; see [`Graph::scope`].
#[derive(Debug)]
pub struct Scope<'g> {
    graph: &'g Graph,
}

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        self.graph.inner.borrow_mut().scopes.pop();
    }
}

impl Graph {
    /// An empty graph for training: layers like dropout are active.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty graph for inference: dropout does nothing.
    pub fn inference() -> Self {
        let g = Self::default();
        g.inner.borrow_mut().inference = true;
        g
    }

    /// Whether it was made for training.
    pub fn is_training(&self) -> bool {
        !self.inner.borrow().inference
    }

    /// A float input of the given shape, fed by name before a step runs.
    #[track_caller]
    pub fn input(&self, name: &str, shape: impl IntoShape) -> Var<'_> {
        self.add_input(name, DType::F32, &shape.into_dims())
    }

    /// An input of class or row numbers. Ops that use it state its range, and feeding checks it.
    #[track_caller]
    pub fn classes(&self, name: &str, shape: impl IntoShape) -> Var<'_> {
        self.add_input(name, DType::U32, &shape.into_dims())
    }

    /// An input of bytes, such as images; turn it into floats with [`Var::to_f32`].
    #[track_caller]
    pub fn bytes(&self, name: &str, shape: impl IntoShape) -> Var<'_> {
        self.add_input(name, DType::U8, &shape.into_dims())
    }

    #[track_caller]
    fn add_input(&self, name: &str, dtype: DType, dims: &[usize]) -> Var<'_> {
        let location = SourceLocation(Location::caller());
        let Some(shape) = Shape::new(dims) else {
            return self.mistake("input", format!("{dims:?} is no shape: {}", shape_rule()), &[], location);
        };
        if shape.elements() == 0 {
            return self.mistake(
                "input",
                format!("`{name}` of shape {shape} has no elements"),
                &[],
                location,
            );
        }
        if self.inner.borrow().inputs.iter().any(|i| i.name == name) {
            return self.mistake("input", format!("there is an input `{name}` already"), &[], location);
        }
        let mut inner = self.inner.borrow_mut();
        let source = Source::Input(inner.inputs.len());
        let value = inner.add_value(TensorType { dtype, shape }, source, None);
        inner.inputs.push(InputInfo { name: name.to_string(), value, bound: None });
        Var { graph: self, id: value }
    }

    /// A tensor that never changes, uploaded once when the graph is compiled.
    #[track_caller]
    pub fn constant(&self, tensor: Tensor) -> Var<'_> {
        if tensor.data().is_empty() {
            let message = format!("a constant of shape {} has no elements", tensor.shape());
            return self.mistake("constant", message, &[], SourceLocation(Location::caller()));
        }
        let mut inner = self.inner.borrow_mut();
        let source = Source::Constant(inner.constants.len());
        let value = inner.add_value(tensor.tensor_type(), source, None);
        inner.constants.push((Arc::new(tensor), value));
        Var { graph: self, id: value }
    }

    /// The current version of a parameter or other state. Its value lives on the device, shared by all
    /// graphs compiled there.
    #[track_caller]
    pub fn param(&self, param: &Param) -> Var<'_> {
        if let Some(problem) = param.problem() {
            let message = format!("`{}` {problem}", param.name());
            return self.mistake("param", message, &[], SourceLocation(Location::caller()));
        }
        let mut inner = self.inner.borrow_mut();
        if let Some(&state) = inner.state_of.get(&param.id()) {
            return Var { graph: self, id: inner.states[state].latest };
        }
        let state = inner.states.len();
        let value = inner.add_value(param.tensor_type(), Source::State { state, version: 0 }, None);
        inner.states.push(StateInfo { param: param.clone(), latest: value, versions: 1 });
        inner.state_of.insert(param.id(), state);
        Var { graph: self, id: value }
    }

    /// Names a value that can be read after each run. It is the value at this point of the recording,
    /// even of a state that is updated later.
    #[track_caller]
    pub fn output(&self, name: &str, var: Var<'_>) {
        let location = SourceLocation(Location::caller());
        if !std::ptr::eq(self, var.graph) {
            self.mistake("output", "the value belongs to another graph".into(), &[], location);
            return;
        }
        if self.inner.borrow().outputs.iter().any(|o| o.name == name) {
            self.mistake("output", format!("there is an output `{name}` already"), &[], location);
            return;
        }
        // Rebuilt on this graph: the checked pointer proves that the lifetimes are the same.
        let var = Var { graph: self, id: var.id };
        let computed = var.id == POISON
            || matches!(self.inner.borrow().values[var.id as usize].source, Source::Node(n)
                if !self.inner.borrow().nodes[n].op.traits().is_alias);
        let var = if computed { var } else { var.copy() };
        self.inner.borrow_mut().outputs.push(OutputInfo { name: name.to_string(), value: var.id });
    }

    /// Names what is recorded until the returned guard is dropped; nested scopes are joined by dots.
    /// Errors, printed graphs and GPU labels carry the name.
    pub fn scope(&self, name: &str) -> Scope<'_> {
        let mut inner = self.inner.borrow_mut();
        let full = match inner.scopes.last() {
            Some(outer) if !outer.is_empty() => format!("{outer}.{name}"),
            _ => name.to_string(),
        };
        inner.scopes.push(full.into());
        Scope { graph: self }
    }

    /// A scope whose name is complete: layers use the path of their parameters.
    pub(crate) fn scope_at(&self, path: &str) -> Scope<'_> {
        self.inner.borrow_mut().scopes.push(path.into());
        Scope { graph: self }
    }

    /// The first mistake of the recording, if there was one.
    pub fn error(&self) -> Option<Error> {
        self.inner.borrow().error.clone().map(|e| Error::Recording(Box::new(e)))
    }

    /// Number of recorded ops.
    pub fn len(&self) -> usize {
        self.inner.borrow().nodes.len()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of the recording, with the counters of random streams advanced at its end; or the first
    /// mistake.
    pub(crate) fn finish(&self) -> Result<Recording> {
        if let Some(error) = self.error() {
            return Err(error);
        }
        // On a copy: the graph itself can be recorded further.
        let copy = Graph { inner: RefCell::new(self.inner.borrow().clone()) };
        copy.advance_random_counters();
        Ok(copy.inner.into_inner())
    }

    /// Appends a step of each counter that an op draws random numbers by, so that the next run draws anew; a counter that
    /// has been moved on already stays.
    fn advance_random_counters(&self) {
        let counters: Vec<Var<'_>> = {
            let inner = self.inner.borrow();
            let drawn_by = |n: &Node| n.op.traits().counter.and_then(|i| n.inputs.get(i).copied());
            let read: HashSet<ValueId> = inner.nodes.iter().filter_map(drawn_by).collect();
            let is_due = |s: &&StateInfo| s.versions == 1 && read.contains(&s.latest);
            inner.states.iter().filter(is_due).map(|s| Var { graph: self, id: s.latest }).collect()
        };
        for counter in counters {
            counter.advance(0);
        }
    }

    /// Records an op from outside the crate, of at most 256 outputs, and returns these; one that fails its type check
    /// gives poisoned values.
    #[track_caller]
    pub fn custom<'g>(&'g self, op: impl Op + 'static, inputs: &[Var<'g>]) -> Vec<Var<'g>> {
        self.record(op, inputs)
    }

    /// Appends an op and returns its outputs.
    #[track_caller]
    pub(crate) fn record<'g>(&'g self, op: impl Op + 'static, inputs: &[Var<'g>]) -> Vec<Var<'g>> {
        let location = SourceLocation(Location::caller());
        self.record_at(Arc::new(op), inputs, location)
    }

    /// Appends an op with one output.
    #[track_caller]
    pub(crate) fn record_one<'g>(&'g self, op: impl Op + 'static, inputs: &[Var<'g>]) -> Var<'g> {
        let location = SourceLocation(Location::caller());
        self.record_at(Arc::new(op), inputs, location)
            .first()
            .copied()
            .unwrap_or(Var { graph: self, id: POISON })
    }

    /// Appends an op that is shared already.
    #[track_caller]
    pub(crate) fn record_shared<'g>(&'g self, op: Arc<dyn Op>, inputs: &[Var<'g>]) -> Vec<Var<'g>> {
        let location = SourceLocation(Location::caller());
        self.record_at(op, inputs, location)
    }

    fn record_at<'g>(
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

    pub(crate) fn set_gradient_location(&self, location: Option<(SourceLocation, Arc<str>)>) {
        self.inner.borrow_mut().gradient_location = location;
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

pub(crate) fn shape_rule() -> String {
    format!("at most {} axes and 2^32 - 1 elements", crate::shape::MAX_RANK)
}

impl Recording {
    fn add_value(&mut self, ty: TensorType, source: Source, producer: Option<usize>) -> ValueId {
        self.values.push(ValueInfo { ty, source, producer });
        (self.values.len() - 1) as ValueId
    }

    /// Follows `value` back through ops that move all of an input's elements, to the input that must stay
    /// below `bound`. Says which row of a constant does not.
    fn bound_source(&mut self, value: ValueId, bound: u32) -> Result<(), String> {
        match self.values[value as usize].source {
            Source::Constant(c) => {
                if let crate::tensor::Data::U32(values) = self.constants[c].0.data()
                    && let Some(row) = values.iter().position(|&v| v >= bound)
                {
                    return Err(format!("row {row} holds class {}, outside 0..{bound}", values[row]));
                }
            }
            Source::Input(i) => {
                let old = self.inputs[i].bound.unwrap_or(u32::MAX);
                self.inputs[i].bound = Some(old.min(bound));
            }
            Source::Node(n) => {
                if let Some(k) = self.nodes[n].op.traits().moves {
                    let from = self.nodes[n].inputs[k];
                    return self.bound_source(from, bound);
                }
            }
            Source::State { .. } => {}
        }
        Ok(())
    }

    /// A short name for messages.
    pub(crate) fn label(&self, node: usize) -> String {
        self.nodes[node].label()
    }
}
