//! What was recorded: values, nodes, and what is fed, kept and read.

use std::collections::HashMap;
use std::panic::Location;
use std::sync::Arc;

use super::{POISON, Param, ValueId};
use crate::error::RecordingError;
use crate::op::Op;
use crate::shape::{DType, TensorType};
use crate::tensor::Tensor;

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
    pub(super) state_of: HashMap<u64, usize>,
    pub(super) scopes: Vec<Arc<str>>,
    pub(super) error: Option<RecordingError>,
    pub(super) gradient_location: Option<(SourceLocation, Arc<str>)>,
    pub(super) inference: bool,
    /// What optimizers took gradients of, with the gradients.
    pub(crate) minimized: Vec<(Param, ValueId)>,
    /// Parameters that they were given and that no gradient reaches.
    pub(crate) without_gradient: Vec<String>,
    /// What is checked for NaN and infinities.
    pub(crate) numerics: Option<super::numerics::Numerics>,
}

impl Recording {
    /// The states of floats that a run updates: what a graph for inference updates goes on from one batch to the next. Random
    /// numbers are counted by whole numbers.
    pub(crate) fn updated(&self) -> impl Iterator<Item = &Param> {
        let updated =
            |state: &&StateInfo| state.versions > 1 && state.param.tensor_type().dtype != DType::U32;
        self.states.iter().filter(updated).map(|state| &state.param)
    }

    /// The node that computes a value which is no state.
    pub(crate) fn producer(&self, value: ValueId) -> Option<usize> {
        match self.values[value as usize].source {
            Source::Node(n) => Some(n),
            _ => None,
        }
    }

    pub(super) fn add_value(&mut self, ty: TensorType, source: Source, producer: Option<usize>) -> ValueId {
        self.values.push(ValueInfo { ty, source, producer });
        (self.values.len() - 1) as ValueId
    }

    /// Follows `value` back through ops that move all of an input's elements, to the input that must stay
    /// below `bound`. Says which row of a constant does not.
    pub(super) fn bound_source(&mut self, value: ValueId, bound: u32) -> Result<(), String> {
        match self.values[value as usize].source {
            Source::Constant(c) => {
                if let crate::tensor::Data::U32(values) = self.constants[c].0.data()
                    && let Some(row) = values.iter().position(|&v| v >= bound)
                {
                    return Err(format!("row {row} holds {}, outside 0..{bound}", values[row]));
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
