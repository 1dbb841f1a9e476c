//! How the layers of a model fare in a step: norms of their gradients and outputs, dead units, how far the update goes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::device::Step;
use crate::error::Result;
use crate::graph::{Graph, Param, Source, Var};
use crate::optim::Optimizer;
use crate::shape::DType;

/// What the output of a graph is called that holds the numbers.
const OUTPUT: &str = "wgrad.watched";

/// Numbers of a layer in it.
const NUMBERS: usize = 5;

/// A layer in one training step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WatchedLayer {
    /// The path of its parameters, such as `mlp.fc1`.
    pub name: String,
    /// Euclidean norm of its trainable parameters before the step.
    pub weight_norm: f64,
    /// Euclidean norm of the loss's gradient with respect to them.
    pub gradient_norm: f64,
    /// How far the step moved them: the norm of the difference over [`WatchedLayer::weight_norm`]; 0 where that is. About
    /// 1e-3 is usual, and 1e-1 much.
    pub update_ratio: f64,
    /// Root mean square of what the layer gives, with what follows it up to the next layer, such as its activation.
    pub activation_rms: f64,
    /// Where a ReLU follows, the share of its units (features, or channels of an image) that are 0 for all rows of the
    /// batch, and so learn nothing from it.
    pub dead_share: Option<f64>,
}

/// The layers of a model in one training step ([`Trainer::watch`](super::Trainer::watch)).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Watched {
    /// The epoch, from 1.
    pub epoch: usize,
    /// The step in it, from 1.
    pub step: usize,
    /// In the order in which the model uses them.
    pub layers: Vec<WatchedLayer>,
}

impl Watched {
    /// Euclidean norm of the whole gradient.
    pub fn gradient_norm(&self) -> f64 {
        self.layers.iter().map(|layer| layer.gradient_norm.powi(2)).sum::<f64>().sqrt()
    }

    /// Whether all of it can be written down.
    pub(super) fn is_finite(&self) -> bool {
        let is_finite = |layer: &WatchedLayer| {
            let WatchedLayer { weight_norm, gradient_norm, update_ratio, activation_rms, .. } = *layer;
            [weight_norm, gradient_norm, update_ratio, activation_rms].iter().all(|x| x.is_finite())
        };
        self.layers.iter().all(is_finite)
    }

    /// What the numbers mean where they mean trouble. `before` are the norms of the gradient that were measured before it in
    /// the run, or the last of them.
    ///
    /// ```
    /// use wgrad::train::Watched;
    /// # fn check(watched: &[Watched]) {
    /// let norms: Vec<f64> = watched.iter().map(Watched::gradient_norm).collect();
    /// for (k, now) in watched.iter().enumerate() {
    ///     for symptom in now.symptoms(&norms[..k]) {
    ///         eprintln!("epoch {}: {symptom}", now.epoch);
    ///     }
    /// }
    /// # }
    /// ```
    pub fn symptoms(&self, before: &[f64]) -> Vec<Symptom> {
        let mut all = Vec::new();
        // Dead units let no gradient pass, and that is said as what it is.
        let is_cut = self.layers.iter().any(|layer| layer.dead_share > Some(DEAD));
        if let [first, .., last] = &self.layers[..]
            && !is_cut
            && first.gradient_norm < VANISHED * last.gradient_norm
        {
            let share = first.gradient_norm / last.gradient_norm;
            all.push(Symptom::Vanishing { layer: first.name.clone(), last: last.name.clone(), share });
        }
        let mut norms = before.to_vec();
        norms.sort_by(f64::total_cmp);
        let norm = self.gradient_norm();
        // As a model learns the norm falls, and may come back to what it was.
        if let (Some(&usual), Some(&largest)) = (norms.get(norms.len() / 2), norms.last())
            && usual > 0.0
            && norm > EXPLODED * usual
            && norm > largest
        {
            all.push(Symptom::Exploding { norm, usual });
        }
        for layer in &self.layers {
            if let Some(share) = layer.dead_share.filter(|&share| share > DEAD) {
                all.push(Symptom::DeadUnits { layer: layer.name.clone(), share });
            }
            if layer.update_ratio > TOO_FAR {
                all.push(Symptom::LargeUpdate { layer: layer.name.clone(), ratio: layer.update_ratio });
            }
        }
        all
    }
}

/// What numbers of layers say of a training that does not go well.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Symptom {
    /// The gradient of the first layer is less than a thousandth of the last one's.
    Vanishing {
        /// The first layer.
        layer: String,
        /// The last one.
        last: String,
        /// The norm of the first one's gradient over that of the last one's.
        share: f64,
    },
    /// The norm of the gradient is larger than ever, and more than a hundred times what it was.
    Exploding {
        /// What it is.
        norm: f64,
        /// The median of what was measured before.
        usual: f64,
    },
    /// More than half of the ReLUs after a layer are 0 for all rows of the batch.
    DeadUnits {
        /// The layer.
        layer: String,
        /// Their share.
        share: f64,
    },
    /// A step moved a layer by more than three tenths of its norm.
    LargeUpdate {
        /// The layer.
        layer: String,
        /// [`WatchedLayer::update_ratio`].
        ratio: f64,
    },
}

impl Symptom {
    /// Whether it is of one kind with `other`, in the same layer.
    pub(super) fn is_as(&self, other: &Symptom) -> bool {
        match (self, other) {
            (Symptom::Vanishing { layer: a, .. }, Symptom::Vanishing { layer: b, .. })
            | (Symptom::DeadUnits { layer: a, .. }, Symptom::DeadUnits { layer: b, .. })
            | (Symptom::LargeUpdate { layer: a, .. }, Symptom::LargeUpdate { layer: b, .. }) => a == b,
            (Symptom::Exploding { .. }, Symptom::Exploding { .. }) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Symptom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Symptom::Vanishing { layer, last, share } => write!(
                f,
                "vanishing gradients: that of `{layer}` is {share:.1e} of that of `{last}`; another activation (relu) or \
                 initialization, a normalization or residual connections keep it"
            ),
            Symptom::Exploding { norm, usual } => write!(
                f,
                "exploding gradients: their norm is {norm:.1e}, and was {usual:.1e}; lower the learning rate, or clip by norm"
            ),
            Symptom::DeadUnits { layer, share } => write!(
                f,
                "dying ReLUs: {:.0} % of the units after `{layer}` are 0 for every row of the batch; lower the learning \
                 rate, or take leaky-relu",
                100.0 * share
            ),
            Symptom::LargeUpdate { layer, ratio } => write!(
                f,
                "large updates: a step moved `{layer}` by {:.0} % of its norm; lower the learning rate, or warm it up",
                100.0 * ratio
            ),
        }
    }
}

/// Share of the last layer's gradient that counts as none: sigmoids lose 3 of 4 parts a layer and more.
const VANISHED: f64 = 1e-3;
/// Times the usual norm that counts as an explosion.
const EXPLODED: f64 = 100.0;
/// Share of dead units that is said.
const DEAD: f64 = 0.5;
/// Update over weight that is said.
const TOO_FAR: f64 = 0.3;

/// A layer in a graph that is being recorded.
struct Layer<'g> {
    name: String,
    /// Its trainable parameters, as they are before the update.
    params: Vec<(Param, Var<'g>)>,
    /// What follows up to the next layer, of rows.
    output: Option<Var<'g>>,
    relu: Option<Var<'g>>,
}

/// The layers of a graph that is being recorded.
pub(super) struct Layers<'g> {
    graph: &'g Graph,
    layers: Vec<Layer<'g>>,
    /// What gradients are of: the loss times this.
    scale: Var<'g>,
}

/// How the output of a graph is to be read: names of layers, and whether a ReLU follows.
#[derive(Debug)]
pub(super) struct Reading(Vec<(String, bool)>);

impl<'g> Layers<'g> {
    /// Those of the nodes recorded since there were `first`, on batches of `rows`: a layer begins where parameters of one path
    /// are read for the first time.
    pub(super) fn of(graph: &'g Graph, first: usize, rows: usize) -> Self {
        let inner = graph.inner.borrow();
        let var = |id: u32| Var { graph, id };
        let mut layers: Vec<Layer<'g>> = Vec::new();
        for node in &inner.nodes[first.min(inner.nodes.len())..] {
            for &id in &node.inputs {
                let Source::State { state, .. } = inner.values[id as usize].source else { continue };
                let param = &inner.states[state].param;
                // A counter of random numbers belongs to none.
                if param.tensor_type().dtype != DType::F32 {
                    continue;
                }
                let name = param.name().rsplit_once('.').map_or(param.name(), |(path, _)| path);
                let at = layers.iter().position(|layer| layer.name == name).unwrap_or_else(|| {
                    layers.push(Layer { name: name.into(), params: Vec::new(), output: None, relu: None });
                    layers.len() - 1
                });
                let is_known = layers[at].params.iter().any(|(known, _)| known.id() == param.id());
                if param.is_trainable() && !is_known {
                    layers[at].params.push((param.clone(), var(id)));
                }
            }
            let Some(layer) = layers.last_mut() else { continue };
            for &id in &node.outputs {
                let value = &inner.values[id as usize];
                let is_of_rows = value.ty.shape.rank() > 1 && value.ty.shape.dim(0) == rows;
                if value.ty.dtype == DType::F32 && is_of_rows && matches!(value.source, Source::Node(_)) {
                    layer.output = Some(var(id));
                    if node.op.name() == "relu" {
                        layer.relu = Some(var(id));
                    }
                }
            }
        }
        drop(inner);
        // A frozen layer ends the one before it, and has nothing to be looked at.
        layers.retain(|layer| !layer.params.is_empty());
        Layers { graph, layers, scale: graph.scalar(1.0) }
    }

    /// Records what the update is about to write over: the parameters, and what an optimizer multiplies the loss by.
    pub(super) fn before_update(&mut self, optimizer: &dyn Optimizer) {
        let _scope = self.graph.scope_at("watch");
        for (_, value) in self.layers.iter_mut().flat_map(|layer| &mut layer.params) {
            *value = value.copy();
        }
        self.scale = optimizer.objective(self.scale);
    }

    /// Records the numbers of the layers, once the parameters were updated.
    pub(super) fn finish(self) -> Reading {
        let g = self.graph;
        let _scope = g.scope_at("watch");
        let taken = g.inner.borrow().minimized.clone();
        let sum =
            |squares: Vec<Var<'g>>| squares.into_iter().reduce(|a, b| a + b).unwrap_or_else(|| g.scalar(0.0));
        let mut numbers = Vec::new();
        let mut reading = Vec::new();
        for Layer { name, params, output, relu } in self.layers {
            let gradients = params.iter().filter_map(|(param, _)| {
                let (_, id) = taken.iter().find(|(taken, _)| taken.id() == param.id())?;
                Some((Var { graph: g, id: *id } / self.scale).square().sum_all())
            });
            let gradient = sum(gradients.collect());
            let weight = sum(params.iter().map(|(_, old)| old.square().sum_all()).collect());
            let moved = |(param, old): &(Param, Var<'g>)| (g.param(param) - *old).square().sum_all();
            let update = sum(params.iter().map(moved).collect());
            // A power stays in 32 bits, as a square may not: 16 bits hold no number above 65,504.
            let mean_square = output.map_or_else(|| g.scalar(0.0), |y| y.powf(2.0).mean_all());
            let dead = relu.map(|y| y.max(&all_but_units(y.shape().rank())));
            let dead_share =
                dead.map_or_else(|| g.scalar(0.0), |most| 1.0 - most.greater(g.scalar(0.0)).mean_all());
            numbers.extend([gradient, weight, update, mean_square, dead_share].map(|x| x.reshape([1])));
            reading.push((name, relu.is_some()));
        }
        if let [first, others @ ..] = &numbers[..] {
            g.output(OUTPUT, first.concat(others, 0));
        }
        Reading(reading)
    }
}

/// The axes of what is not the units of a layer: those are channels, the second axis, of images, and else the last.
fn all_but_units(rank: usize) -> Vec<usize> {
    let units = if rank == 4 { 1 } else { rank - 1 };
    (0..rank).filter(|&axis| axis != units).collect()
}

impl Reading {
    /// What the last run of `step` gave, the `at`th of `epoch`, both from 1.
    pub(super) fn read(&self, step: &mut Step, epoch: usize, at: usize) -> Result<Watched> {
        let values = if self.0.is_empty() { Vec::new() } else { step.values(OUTPUT)? };
        let layer = |((name, has_relu), numbers): (&(String, bool), &[f32])| {
            let number = |k: usize| numbers.get(k).map_or(f64::NAN, |&x| f64::from(x));
            let [gradient, weight, update, output] = [0, 1, 2, 3].map(|k| number(k).sqrt());
            WatchedLayer {
                name: name.clone(),
                weight_norm: weight,
                gradient_norm: gradient,
                update_ratio: if weight == 0.0 { 0.0 } else { update / weight },
                activation_rms: output,
                dead_share: has_relu.then(|| number(4)),
            }
        };
        Ok(Watched {
            epoch,
            step: at,
            layers: self.0.iter().zip(values.chunks(NUMBERS)).map(layer).collect(),
        })
    }
}
