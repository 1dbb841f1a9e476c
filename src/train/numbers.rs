//! What must be a number before training, and what to say where a loss is none.

use super::Trainer;
use super::checkpoint::Snapshot;
use crate::data::{Dataset, Targets, Values};
use crate::device::Precision;
use crate::error::{Error, Result};
use crate::graph::Param;
use crate::tensor::Data;

/// Refuses data that is no data set, floats that are not finite among them, and training rows that are all alike in
/// their class: every model would be right about them. Targets of other kinds may be alike.
pub(super) fn check_data(trainer: &Trainer<'_>) -> Result<()> {
    let split = &trainer.split;
    for data in [&split.train, &split.validation, &split.test] {
        if !data.is_empty() {
            data.check()?;
        }
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

/// The first state that what is computed from would be no number: one with NaN, or an infinite weight. Others may be
/// infinite, as Adam's second moment.
pub(super) fn first_that_is_none(states: &Snapshot) -> Option<(&Param, f32)> {
    states.iter().find_map(|(param, tensor)| {
        let Data::F32(values) = tensor.data() else { return None };
        let is_none = |x: &&f32| x.is_nan() || (param.is_trainable() && x.is_infinite());
        values.iter().find(is_none).map(|&value| (param, value))
    })
}

/// What is wrong where a weight is no number after an epoch.
pub(super) fn of_weight(trainer: &Trainer<'_>, name: &str, value: f32, epoch: usize, kept: &str) -> Error {
    let rate = trainer.rate(epoch.saturating_sub(1)).unwrap_or(trainer.optimizer.lr());
    Error::Invalid(format!(
        "`{name}` holds {value} in epoch {epoch}: the steps are too large; lower the learning rate, which is {rate}{kept}"
    ))
}

/// The largest magnitude that the model sees, targets included.
fn reach(data: &Dataset) -> f32 {
    let targets = match &data.targets {
        Targets::Values { values, .. } => Some(values),
        _ => None,
    };
    // Indices are no quantities.
    let all = data.inputs.iter().map(|input| &input.values).chain(targets);
    let floats = all.filter(|values| !matches!(values, Values::Indices(_))).map(Values::to_floats);
    floats.fold(0.0, |most, values| values.iter().fold(most, |most: f32, x| x.abs().max(most)))
}

/// What is wrong where the loss is no number though no weight has changed: not the steps.
pub(super) fn of_first_step(trainer: &Trainer<'_>, loss: f32) -> Error {
    let train = &trainer.split.train;
    let halves = match trainer.options.precision {
        Precision::Mixed => ", or train in f32, as 16 bits hold no number above 65,504",
        Precision::F32 => "",
    };
    Error::Invalid(format!(
        "the training loss is {loss} in the first step, before any weight has changed: the values of data set `{}` \
         reach {}, and the model makes no finite number of them; scale them to about 1{halves}",
        train.name,
        reach(train)
    ))
}

/// What is wrong where the loss of an epoch (from 1) is no number, after steps with finite data, weights and rates.
/// `kept` says which files stand.
pub(super) fn of_epoch(trainer: &Trainer<'_>, what: &str, epoch: usize, loss: f64, kept: &str) -> Error {
    let (train, other) = (reach(&trainer.split.train), reach(&trainer.split.validation));
    let scale = match what {
        "validation" if other > 1e3 * train => {
            format!(
                "the values of the validation rows reach {other}, those of the training rows {train}, or "
            )
        }
        _ => String::new(),
    };
    let rate = trainer.rate(epoch.saturating_sub(1)).unwrap_or(trainer.optimizer.lr());
    Error::Invalid(format!(
        "the {what} loss is {loss} in epoch {epoch}: {scale}the steps are too large; lower the learning rate, which is \
         {rate}{kept}"
    ))
}
