//! What is looked at before the first step, and what to say where a loss is not finite.

use super::Trainer;
use super::batch::{inputs, prediction};
use super::checkpoint::Snapshot;
use crate::data::{Dataset, Targets, Values};
use crate::device::Precision;
use crate::error::{Error, Result};
use crate::graph::{Graph, Param, Params};
use crate::tensor::Data;

/// Refuses data that is no data set, floats that are not finite among them, and training rows that are all alike in
/// their class: every model would be right about them. Targets of other kinds may be alike.
pub(super) fn check_data(trainer: &Trainer<'_>) -> Result<()> {
    let split = &trainer.split;
    split.train.check()?;
    for data in [&split.validation, &split.test].into_iter().filter(|data| !data.is_empty()) {
        data.check()?;
        split.train.expect_like(data)?;
    }
    if let Some(streams) = split.train.streams.filter(|&streams| streams != trainer.batch) {
        return Err(Error::Invalid(format!(
            "data set `{}` goes on in {streams} rows side by side, so that batches are of so many rows, not of {}",
            split.train.name, trainer.batch
        )));
    }
    for data in [&split.train, &split.validation, &split.test].into_iter().filter(|data| !data.is_empty()) {
        trainer.task.objective.check(data)?;
    }
    match split.train.labels() {
        [first, others @ ..] if others.iter().all(|label| label == first) => Err(Error::Invalid(format!(
            "data set `{}`: all {} rows have the class {}; there is nothing to tell apart",
            split.train.name,
            split.train.len(),
            split.train.class_name(*first as usize)
        ))),
        _ => Ok(()),
    }
}

impl Trainer<'_> {
    /// Refuses test rows that the model or the task could not take, which would show after all training: the rows are
    /// recorded, and nothing is compiled.
    pub(super) fn check_test(&self) -> Result<()> {
        let test = &self.split.test;
        if test.is_empty() {
            return Err(Error::Invalid(format!("data set `{}` has no rows to test on", test.name)));
        }
        let (g, rows) = (Graph::inference(), test.streams.unwrap_or(test.len().min(2)));
        let seen = inputs(&g, test, rows).seen(&g, test);
        let made = prediction(&*self.model, &seen.inputs, rows, test)?;
        let store = Params::seeded(0).at("evaluation");
        self.task.record(made, seen.target)?.accumulate(&self.task, &store, rows).map(drop)
    }
}

/// Refuses states that would go on in rows that do not: those carried by a model, known once it is recorded.
pub(super) fn expect_order(data: &Dataset, carried: &[Param]) -> Result<()> {
    match (data.streams, carried.first()) {
        (None, Some(state)) => Err(Error::Invalid(format!(
            "the model carries `{}` from batch to batch, and the rows of data set `{}` do not go on from batch to batch; \
             give windows in their order (`Dataset::with_streams`), or a model that begins anew with each row",
            state.name(),
            data.name
        ))),
        _ => Ok(()),
    }
}

/// Refuses weights that are not finite before the first step.
pub(super) fn check_weights(trainer: &Trainer<'_>, weights: &[Param]) -> Result<()> {
    for weight in weights {
        let tensor = trainer.device.read_param(weight)?;
        if let Data::F32(values) = tensor.data()
            && let Some(at) = values.iter().position(|x| !x.is_finite())
        {
            return Err(Error::Invalid(format!(
                "`{}` holds {} (element {at}) before the first step; give it finite values",
                weight.name(),
                values[at]
            )));
        }
    }
    Ok(())
}

/// The first state that what is computed from would be NaN: one with NaN, or an infinite weight. Others may be
/// infinite, as Adam's second moment.
pub(super) fn first_not_finite(states: &Snapshot) -> Option<(&Param, f32)> {
    states.iter().find_map(|(param, tensor)| {
        let Data::F32(values) = tensor.data() else { return None };
        let is_bad = |x: &&f32| x.is_nan() || (param.is_trainable() && x.is_infinite());
        values.iter().find(is_bad).map(|&value| (param, value))
    })
}

/// What is wrong where a weight is NaN or infinite after an epoch.
pub(super) fn of_weight(trainer: &Trainer<'_>, name: &str, value: f32, epoch: usize, kept: &str) -> Error {
    let rate = trainer.rate(epoch.saturating_sub(1)).unwrap_or(trainer.optimizer.lr());
    Error::Diverged(format!(
        "`{name}` holds {value} in epoch {epoch}: the steps are too large; lower the learning rate, which is {rate}{kept}"
    ))
}

/// The largest magnitude that the model sees, targets included.
fn largest(data: &Dataset) -> f32 {
    let targets = match &data.targets {
        Targets::Values { values, .. } => Some(values),
        _ => None,
    };
    // Indices are no quantities.
    let all = data.inputs.iter().map(|input| &input.values).chain(targets);
    let floats = all.filter(|values| !matches!(values, Values::Indices(_))).map(Values::to_floats);
    floats.fold(0.0, |most, values| values.iter().fold(most, |most: f32, x| x.abs().max(most)))
}

/// What is wrong where the loss is not finite though no weight has changed: not the steps.
pub(super) fn of_first_step(trainer: &Trainer<'_>, loss: f32) -> Error {
    let train = &trainer.split.train;
    let hint = match trainer.options.precision {
        Precision::Mixed => ", or train in f32, as 16 bits hold no number above 65,504",
        Precision::F32 => "",
    };
    Error::Diverged(format!(
        "the training loss is {loss} in the first step, before any weight has changed: the values of data set `{}` \
         reach {}, and the model makes no finite number of them; scale them to about 1{hint}",
        train.name,
        largest(train)
    ))
}

/// What is wrong where the loss of an epoch (from 1) is not finite, after steps with finite data, weights and rates.
/// `kept` says which files stand.
pub(super) fn of_epoch(trainer: &Trainer<'_>, what: &str, epoch: usize, loss: f64, kept: &str) -> Error {
    let (train, other) = (largest(&trainer.split.train), largest(&trainer.split.validation));
    let scale = match what {
        "validation" if other > 1e3 * train => {
            format!(
                "the values of the validation rows reach {other}, those of the training rows {train}, or "
            )
        }
        _ => String::new(),
    };
    let rate = trainer.rate(epoch.saturating_sub(1)).unwrap_or(trainer.optimizer.lr());
    Error::Diverged(format!(
        "the {what} loss is {loss} in epoch {epoch}: {scale}the steps are too large; lower the learning rate, which is \
         {rate}{kept}"
    ))
}
