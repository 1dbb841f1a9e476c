//! What a training step is: forward, update, sums.

use super::batch::{Seen, inputs, prediction};
use super::checkpoint::Progress;
use super::checks::expect_order;
use super::task::Sums;
use super::watch::{Layers, Reading};
use super::{Model, Trainer};
use crate::data::Dataset;
use crate::device::Device;
use crate::error::Result;
use crate::graph::{Graph, Param, Params};
use crate::nn::Mixup;

impl Progress {
    /// Sums of no step yet.
    pub(super) fn clear_sums(&mut self, sums: &Sums) {
        let all = sums.metrics.iter().flatten();
        // Names are `training.<metric>.<k>`.
        let name = |sum: &Param| sum.name().split_once('.').map_or(sum.name(), |(_, name)| name).to_string();
        self.sums = all.map(|sum| (name(sum), vec![0.0; sum.shape().elements()])).collect();
    }
}

impl Trainer<'_> {
    /// Records a step on a batch of `rows`: forward, update, sums.
    pub(super) fn record<'g>(
        &self,
        g: &'g Graph,
        seen: Seen<'g>,
        rows: usize,
        store: &Params,
        is_watched: bool,
    ) -> Result<(Sums, Option<Reading>)> {
        if self.checks_numerics {
            g.check_numerics();
        }
        let inputs = match &self.augment {
            Some(layer) => seen.inputs.with_first(|x| layer.forward(x)),
            None => seen.inputs,
        };
        let share = self.beside.mixup.as_ref().map(|mixup| mixup.share(g));
        let inputs = match share {
            Some(share) => inputs.with_first(|x| Mixup::mix(x, share)),
            None => inputs,
        };
        let first = g.len();
        let prediction = prediction(&*self.model, &inputs, rows, &self.split.train)?;
        let mut layers = is_watched.then(|| Layers::of(g, first, rows));
        let recorded = {
            let _scope = g.scope_at("loss");
            let mut recorded = self.task.record(prediction, seen.target)?;
            if let Some(share) = share {
                let others = self.task.objective.loss(prediction, Mixup::partners(seen.target));
                recorded.loss = recorded.loss * share + others * (1.0 - share);
            }
            recorded
        };
        let loss = match &self.beside.penalty {
            Some(penalty) => recorded.loss + penalty(g),
            None => recorded.loss,
        };
        if let Some(layers) = &mut layers {
            layers.before_update(&*self.optimizer);
        }
        self.optimizer.minimize(loss, &self.params.trainable());
        let reading = layers.map(Layers::finish);
        let _scope = g.scope_at("sums");
        let targets = rows * self.split.train.targets.places();
        Ok((recorded.accumulate(&self.task, store, targets)?, reading))
    }
}

/// The states that the model reads for inference, in the order it reads them: weights, and those that it updates, which it
/// carries from batch to batch of these data.
///
/// # Errors
/// The first recording mistake; [`Error::Invalid`](crate::Error::Invalid) where rows do not go on in which states would.
pub(super) fn weights_and_carried(model: &dyn Model, data: &Dataset) -> Result<[Vec<Param>; 2]> {
    let (g, rows) = (Graph::inference(), data.streams.unwrap_or(1));
    prediction(model, &inputs(&g, data, rows).seen(&g, data).inputs, rows, data)?;
    let recording = g.finish()?;
    let carried: Vec<Param> = recording.updated().cloned().collect();
    let is_weight = |state: &&Param| !carried.iter().any(|other| other.id() == state.id());
    let weights = recording.states.iter().map(|s| &s.param).filter(is_weight).cloned().collect();
    expect_order(data, &carried)?;
    Ok([weights, carried])
}

/// Sets states that are carried from batch to batch to what they begin with.
pub(super) fn begin_anew(device: &Device, carried: &[Param]) -> Result<()> {
    carried.iter().try_for_each(|state| device.write_param(state, &state.initial()))
}
