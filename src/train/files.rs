//! A run's files: what it goes on from, and what it leaves.

use std::path::Path;
use std::time::Instant;

use super::Keep;
use super::checkpoint::{Checkpoint, Choice, Progress, RunState, Snapshot, save_model, snapshot};
use super::record::weights_and_carried;
use super::run::{CHECKPOINT, Run};
use crate::error::{Error, Result};
use crate::graph::Param;
use crate::tensor::Data;

impl<'t> Run<'t> {
    /// Loads the checkpoint that is gone on from, if there is one.
    pub(super) fn resume(&mut self) -> Result<()> {
        let Some(path) = &self.trainer.resume else { return Ok(()) };
        let sums: Vec<(String, usize)> =
            self.progress.sums.iter().map(|(name, sum)| (name.clone(), sum.len())).collect();
        // Where nothing is compared, nothing could beat them.
        let compares = self.trainer.keep == Keep::Best && self.validation.is_some();
        let weights = Some(&self.weights[..]).filter(|_| compares);
        let checkpoint = Checkpoint::load(path, weights, self.choice()?, &sums)?;
        // What is carried from batch to batch counts in the middle of an epoch alone: it begins without, as an evaluation does.
        let (model, split) = (&*self.trainer.model, &self.trainer.split);
        let mut anew = if checkpoint.progress.step > 0 { Vec::new() } else { self.carried.clone() };
        for data in [&split.validation, &split.test].into_iter().filter(|data| !data.is_empty()) {
            let [_, carried] = weights_and_carried(model, data)?;
            anew.extend(carried.into_iter().filter(|state| !self.carries(state)));
        }
        let mut states = self.states();
        states.retain(|state| !anew.iter().any(|other| other.id() == state.id()));
        let optimizer = self.trainer.optimizer_name();
        if let Some(other) = checkpoint.optimizer.as_ref().filter(|other| **other != optimizer) {
            return Err(Error::Invalid(format!(
                "{} was saved by a run with the optimizer `{other}`, and this one has `{optimizer}`, for which the \
                 averages in it mean nothing; go on with `{other}`, or start another run",
                path.display()
            )));
        }
        let is_missing = |state: &&Param| !checkpoint.names.iter().any(|name| name == state.name());
        let is_weight = |state: &Param| self.weights.iter().any(|weight| weight.id() == state.id());
        if let Some(state) = states.iter().find(|state| is_missing(state) && !is_weight(state)) {
            return Err(Error::Invalid(format!(
                "{} has no `{}`, which this run keeps beside the weights: it was saved with another optimizer, \
                 momentum or precision, or without accumulation or averages; go on with the same, or start another run",
                path.display(),
                state.name()
            )));
        }
        // What an optimizer of this name kept, and this one does not: momentum, the largest moments.
        let kind = |name: &str| -> Option<String> {
            let mut parts = name.strip_prefix(&optimizer)?.strip_prefix('.')?.split('.');
            parts.next().filter(|_| parts.next().is_some()).map(str::to_string)
        };
        let kept: Vec<String> = states.iter().filter_map(|state| kind(state.name())).collect();
        let lost = checkpoint.names.iter().find(|name| kind(name).is_some_and(|kind| !kept.contains(&kind)));
        if let Some(name) = lost {
            return Err(Error::Invalid(format!(
                "{} has `{name}`, which this run would lose: it was saved by `{optimizer}` with other settings, such as \
                 momentum; go on with the same, or start another run",
                path.display()
            )));
        }
        let (old, new) = (&checkpoint.progress, &self.progress);
        if old.step > 0 && (old.seed, old.batch, old.rows) != (new.seed, new.batch, new.rows) {
            return Err(Error::Invalid(format!(
                "{} was saved in the middle of an epoch, with seed {}, batches of {} and {} training rows; to go \
                 on there, give the same instead of seed {}, batches of {} and {} rows",
                path.display(),
                old.seed,
                old.batch,
                old.rows,
                new.seed,
                new.batch,
                new.rows
            )));
        }
        if old.step > self.steps {
            return Err(Error::Invalid(format!(
                "{} stands at step {} of an epoch, which has {}",
                path.display(),
                old.step,
                self.steps
            )));
        }
        self.trainer.device.load(&states, path)?;
        self.progress = Progress { seed: new.seed, batch: new.batch, rows: new.rows, ..checkpoint.progress };
        self.earlier = checkpoint.records;
        self.best = checkpoint.best;
        Ok(())
    }

    pub(super) fn choice(&self) -> Result<Choice<'t>> {
        Ok(Choice { best: self.trainer.best_by()?.0, patience: self.trainer.patience_by()?.0 })
    }

    /// All states that training changes. The learning rate is a setting, not one of them.
    pub(super) fn states(&self) -> Vec<Param> {
        let rate = self.trainer.optimizer.lr_state();
        let mut states = self.trainer.params.root().all();
        states.retain(|p| p.id() != rate.id());
        // A model may hold parameters of another store.
        let others = self.weights.iter().filter(|w| !states.iter().any(|s| s.id() == w.id()));
        let others: Vec<Param> = others.cloned().collect();
        states.extend(others);
        states
    }

    /// Whether a state goes on from batch to batch of the training rows.
    fn carries(&self, state: &Param) -> bool {
        self.carried.iter().any(|carried| carried.id() == state.id())
    }

    /// The best weights, or the current ones where none were compared.
    pub(super) fn save_model(&self, out: &Path) -> Result<()> {
        match &self.best {
            Some(best) => self.save_weights(out, &best.weights),
            None => {
                let weights = self.snapshot_of_model()?;
                self.expect_numbers(&weights)?;
                self.save_weights(out, &weights)
            }
        }
    }

    /// The weights of the model, averages in their place.
    pub(super) fn snapshot_of_model(&self) -> Result<Snapshot> {
        let averages = self.averages.iter().flat_map(|a| [&a.average, &a.count]);
        let all: Vec<Param> = self.weights.iter().chain(averages).cloned().collect();
        Ok(self.model_of(&snapshot(&self.trainer.device, &all)?))
    }

    /// Those of the states that are the model's. For a weight of which the optimizer keeps an average that stands, once a
    /// step is in it.
    fn model_of(&self, states: &Snapshot) -> Snapshot {
        let find =
            |param: &Param| states.iter().find(|(state, _)| state.id() == param.id()).map(|(_, value)| value);
        let average = |weight: &Param| {
            let kept = self.averages.iter().find(|average| average.param.id() == weight.id())?;
            let is_counted = matches!(find(&kept.count)?.data(), Data::U32(count) if count[..] != [0]);
            find(&kept.average).filter(|_| is_counted)
        };
        let value =
            |weight: &Param| Some((weight.clone(), average(weight).or_else(|| find(weight))?.clone()));
        self.weights.iter().filter_map(value).collect()
    }

    fn save_weights(&self, out: &Path, model: &Snapshot) -> Result<()> {
        let weights = model.iter().map(|(param, tensor)| (param, tensor));
        save_model(&out.join("model.safetensors"), weights, &self.trainer.metadata)
    }

    /// All states and, `with_model`, those of the model in its file: what is read from the device once.
    pub(super) fn save_checkpoint(&mut self, out: &Path, with_model: bool) -> Result<()> {
        let states = snapshot(&self.trainer.device, &self.states())?;
        self.expect_numbers(&states)?;
        if with_model {
            self.save_weights(out, &self.model_of(&states))?;
        }
        let optimizer = self.trainer.optimizer_name();
        let state = RunState {
            progress: &self.progress,
            optimizer: &optimizer,
            choice: self.choice()?,
            records: &[&self.earlier[..], &self.records[..]].concat(),
            metadata: &self.trainer.metadata,
        };
        Checkpoint::save(&out.join(CHECKPOINT), &state, &states, self.best.as_ref())?;
        self.saved = Some((self.progress.epochs, Instant::now()));
        Ok(())
    }
}
