//! What it costs to record and to plan a large graph.

use std::time::Instant;

use crate::device::Device;
use crate::error::Result;
use crate::graph::{Graph, Params};
use crate::nn::{Layer, Linear};
use crate::optim::{Adam, Optimizer};
use crate::plan::Plan;

/// A training step of many small layers, and what it cost before its first run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recorded {
    /// Nodes of the graph.
    pub nodes: usize,
    /// Seconds of recording it, differentiation and updates included.
    pub record: f64,
    /// Seconds of planning it: the same for every device.
    pub plan: f64,
    /// Seconds of compiling it for a device, which includes planning.
    pub compile: f64,
}

/// Nodes of a layer: forward, backward and updates.
const PER_LAYER: usize = 9;

impl Recorded {
    /// Records, plans and compiles a step of about `nodes` nodes: layers of width 4 with shortcuts, so that every
    /// layer's output lives until its gradient.
    ///
    /// # Errors
    /// A limit of the device, or its failure.
    pub fn measure(device: &Device, nodes: usize) -> Result<Recorded> {
        let start = Instant::now();
        let params = Params::seeded(1);
        let g = Graph::new();
        deep(&g, &params, nodes);
        let record = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let plan = Plan::of_formulas(g.finish()?);
        let planned = start.elapsed().as_secs_f64();
        drop(plan);
        let start = Instant::now();
        device.compile(&g)?;
        Ok(Recorded { nodes: g.len(), record, plan: planned, compile: start.elapsed().as_secs_f64() })
    }
}

/// Records a training step of about `nodes` nodes.
pub(crate) fn deep(g: &Graph, params: &Params, nodes: usize) {
    let (mut x, y) = (g.input("x", [2, 4]), g.classes("y", [2]));
    for layer in 0..nodes.div_ceil(PER_LAYER) {
        x = x + Linear::new(&params.at(&format!("layer{layer}")), 4, 4).forward(x).relu();
    }
    let loss = x.softmax_cross_entropy(y);
    Adam::new(params, 1e-3).minimize(loss, &params.trainable());
    g.output("loss", loss);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_has_about_the_nodes_asked_for() {
        for nodes in [100, 1000] {
            let one = Recorded::measure(&Device::cpu(), nodes).unwrap();
            assert!((nodes..nodes * 5 / 4).contains(&one.nodes), "{one:?}");
            assert!(one.record > 0.0 && one.plan > 0.0 && one.compile > 0.0);
        }
    }

    /// Four times the layers are four times the tasks and the memory, and no more.
    #[test]
    fn plans_grow_with_their_graphs() {
        let plan = |nodes| {
            let (g, params) = (Graph::new(), Params::seeded(1));
            deep(&g, &params, nodes);
            Plan::of_formulas(g.finish().unwrap())
        };
        let (small, large) = (plan(2_500), plan(10_000));
        assert!(large.recording.nodes.len() >= 10_000);
        let factor = |a: usize, b: usize| b as f64 / a as f64;
        assert!(factor(small.tasks.len(), large.tasks.len()) < 4.1);
        assert!(factor(small.slots.len(), large.slots.len()) < 4.1);
        assert!(factor(small.planned_bytes(), large.planned_bytes()) < 4.1);
        assert!(large.planned_bytes() as f64 <= 1.3 * large.live_bytes as f64, "{}", large.live_bytes);
    }
}
