//! A graph as text: one line per op, with types, scopes and source locations.

use std::fmt;

use super::{Graph, Recording, Source};

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for input in &self.inputs {
            let ty = self.values[input.value as usize].ty;
            writeln!(f, "%{} = input \"{}\" : {ty}", input.value, input.name)?;
        }
        for (_, value) in &self.constants {
            writeln!(f, "%{value} = constant : {}", self.values[*value as usize].ty)?;
        }
        for (id, value) in self.values.iter().enumerate() {
            if let Source::State { state, version: 0 } = value.source {
                let param = &self.states[state].param;
                let kind = if param.is_trainable() { "param" } else { "state" };
                writeln!(f, "%{id} = {kind} \"{}\" : {}", param.name(), value.ty)?;
            }
        }
        let mut scope = "";
        for node in &self.nodes {
            if *node.scope != *scope {
                scope = &node.scope;
                writeln!(f, "# {}", if scope.is_empty() { "(top)" } else { scope })?;
            }
            let list = |ids: &[u32]| ids.iter().map(|i| format!("%{i}")).collect::<Vec<_>>().join(", ");
            let types: Vec<String> =
                node.outputs.iter().map(|&o| self.values[o as usize].ty.to_string()).collect();
            let back = if node.is_gradient { "grad " } else { "" };
            write!(f, "{} = {back}{:?}", list(&node.outputs), node.op)?;
            write!(f, "({}) : {}", list(&node.inputs), types.join(", "))?;
            writeln!(f, "   # {}", node.location)?;
        }
        for output in &self.outputs {
            writeln!(f, "output \"{}\" = %{}", output.name, output.value)?;
        }
        Ok(())
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.inner.borrow())?;
        match self.error() {
            Some(error) => writeln!(f, "error: {error}"),
            None => Ok(()),
        }
    }
}
