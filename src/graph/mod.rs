//! The recorder: a model is a list of ops over values of static type. Nothing runs here.
//!
//! A [`Graph`] records what [`Var`]s are combined into. The first mistake is kept, with the op, the
//! shapes, the scopes and the caller's line, and returned by `compile`; until then the graph goes on
//! with poisoned values, so that models read like formulas.

mod autodiff;
mod display;
mod init;
mod numerics;
mod param;
mod record;
mod recording;
#[cfg(test)]
mod tests;
mod var;

use std::cell::RefCell;
use std::collections::HashSet;
use std::panic::Location;
use std::sync::Arc;

pub use init::{Distribution, Fan, Gain, Init};
pub(crate) use numerics::OUTPUT as NUMERICS;
pub(crate) use param::WeakParam;
pub use param::{Param, Params};
pub(crate) use recording::{InputInfo, Node, OutputInfo, Recording, Source, SourceLocation, StateInfo};
pub use var::Var;

use crate::error::{Error, Result};
use crate::op::Op;
use crate::shape::{DType, IntoShape, Shape, TensorType};
use crate::tensor::Tensor;

/// Index of a value in its graph. [`POISON`] stands for the result of a mistake.
pub(crate) type ValueId = u32;
pub(crate) const POISON: ValueId = u32::MAX;

/// The most outputs of an op. A mistake gives as many values, so that any output of the op can be asked for.
const MAX_OUTPUTS: usize = 256;

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
        drop(inner);
        self.check_input(name, value, location);
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

    /// Names of the recorded ops, in order.
    pub fn ops(&self) -> Vec<&'static str> {
        self.inner.borrow().nodes.iter().map(|node| node.op.name()).collect()
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
        copy.output_numerics();
        copy.error().map_or_else(|| Ok(copy.inner.into_inner()), Err)
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

    pub(crate) fn set_gradient_location(&self, location: Option<(SourceLocation, Arc<str>)>) {
        self.inner.borrow_mut().gradient_location = location;
    }
}

pub(crate) fn shape_rule() -> String {
    format!("at most {} axes and 2^32 - 1 elements", crate::shape::MAX_RANK)
}
