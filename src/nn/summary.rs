//! What a model consists of, as a table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::Layer;
use crate::error::Result;
use crate::graph::{Graph, Param};
use crate::plan::Plan;
use crate::shape::{IntoShape, Shape, TensorType};

/// One row of a [`Summary`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerSummary {
    /// The scope its ops were recorded in; for layers, the path of their parameters.
    pub name: String,
    /// Shape of what it gives.
    pub output: Shape,
    /// Elements of its parameters.
    pub parameters: usize,
    /// Floating-point operations of one forward pass.
    pub flops: u64,
}

/// Layers, shapes, parameters, operations and memory of a forward pass. `Display` prints a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// In order of execution.
    pub layers: Vec<LayerSummary>,
    /// Elements of all parameters.
    pub parameters: usize,
    /// Of these, updated by optimizers.
    pub trainable: usize,
    /// Floating-point operations of one forward pass.
    pub flops: u64,
    /// Bytes planned for intermediate values of one forward pass, where each op has a kernel of its own.
    pub planned_bytes: usize,
}

impl Summary {
    /// Records `model` on an input of this shape and describes what was recorded.
    ///
    /// # Errors
    /// The first recording mistake, for example an input that does not fit.
    pub fn of(model: &dyn Layer, input: impl IntoShape) -> Result<Self> {
        let g = Graph::inference();
        g.output("y", model.forward(g.input("x", input)));
        Self::of_recording(g)
    }

    /// The same of a model that takes class numbers, `u32`, such as one that begins with an [`Embedding`](super::Embedding).
    ///
    /// # Errors
    /// As [`Summary::of`].
    pub fn of_indices(model: &dyn Layer, input: impl IntoShape) -> Result<Self> {
        let g = Graph::inference();
        g.output("y", model.forward(g.classes("x", input)));
        Self::of_recording(g)
    }

    /// Of a model that has taken its input and given its output. States that go on from batch to batch are no parameters.
    fn of_recording(g: Graph) -> Result<Self> {
        let plan = Plan::of_formulas(g.finish()?);
        let r = &plan.recording;
        let types =
            |ids: &[u32]| -> Vec<TensorType> { ids.iter().map(|&v| r.values[v as usize].ty).collect() };
        let mut owned: BTreeMap<&str, usize> = BTreeMap::new();
        let is_parameter = |param: &Param| !r.updated().any(|state| state.id() == param.id());
        for state in r.states.iter().filter(|state| is_parameter(&state.param)) {
            let scope = state.param.name().rsplit_once('.').map_or("", |(scope, _)| scope);
            *owned.entry(scope).or_default() += state.param.shape().elements();
        }
        let mut layers: Vec<LayerSummary> = Vec::new();
        // The last task copies nothing of the model's: outputs of alias ops only.
        let run: BTreeSet<usize> = plan.tasks.iter().flat_map(|task| &task.nodes).copied().collect();
        for (n, node) in r.nodes.iter().enumerate() {
            if !run.contains(&n) {
                // What a layer gives may be another shape of what it computed.
                let own = layers.last_mut().filter(|l| node.op.traits().is_alias && l.name == *node.scope);
                if let Some(layer) = own {
                    layer.output = r.values[node.outputs[0] as usize].ty.shape;
                }
                continue;
            }
            let flops = node.op.flops(&types(&node.inputs), &types(&node.outputs));
            let output = r.values[node.outputs[0] as usize].ty.shape;
            if layers.last().is_none_or(|l| l.name != *node.scope) {
                let parameters = owned.remove(&*node.scope).unwrap_or(0);
                layers.push(LayerSummary { name: node.scope.to_string(), output, parameters, flops: 0 });
            }
            if let Some(layer) = layers.last_mut() {
                layer.flops += flops;
                layer.output = output;
            }
        }
        let count = |keep: &dyn Fn(&crate::Param) -> bool| {
            r.states
                .iter()
                .filter(|s| keep(&s.param) && is_parameter(&s.param))
                .map(|s| s.param.shape().elements())
                .sum()
        };
        Ok(Summary {
            flops: layers.iter().map(|l| l.flops).sum(),
            parameters: count(&|_| true),
            trainable: count(&|p| p.is_trainable()),
            planned_bytes: plan.planned_bytes(),
            layers,
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<20} {:<18} {:>12} {:>14}", "layer", "output", "parameters", "FLOPs")?;
        for l in &self.layers {
            let name = if l.name.is_empty() { "(top)" } else { &l.name };
            writeln!(f, "{name:<20} {:<18} {:>12} {:>14}", l.output.to_string(), l.parameters, l.flops)?;
        }
        writeln!(
            f,
            "{:<20} {:<18} {:>12} {:>14}",
            "total",
            format!("{} trainable", self.trainable),
            self.parameters,
            self.flops
        )?;
        let bytes = self.planned_bytes as f64 / f64::from(1 << 20);
        write!(f, "intermediate values of a forward pass, before fusion: {bytes:.2} MiB")
    }
}

#[cfg(test)]
mod tests {
    use crate::Params;
    use crate::nn::{Mlp, Summary};

    #[test]
    fn an_mlp_is_described() {
        let params = Params::seeded(1);
        let mlp = Mlp::new(&params.at("mlp"), &[64, 32, 10]);
        params.at("mlp.fc1").freeze();
        let s = Summary::of(&mlp, [5, 1, 8, 8]).unwrap();
        let rows: Vec<_> =
            s.layers.iter().map(|l| (l.name.as_str(), l.output.dims().to_vec(), l.parameters)).collect();
        assert_eq!(rows, [("mlp.fc1", vec![5, 32], 64 * 32 + 32), ("mlp.fc2", vec![5, 10], 330)]);
        assert_eq!((s.parameters, s.trainable), (64 * 32 + 32 + 330, 330));
        assert_eq!(s.layers[0].flops, 2 * 5 * 64 * 32 + 5 * 32);
        assert!(s.to_string().contains("mlp.fc2"));
        assert!(Summary::of(&mlp, [5, 63]).is_err());
    }
}
