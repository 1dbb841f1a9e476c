//! A run under way: steps, epochs, files.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::checkpoint::{Best, Checkpoint, Progress, Snapshot, save_model, snapshot};
use super::evaluate::{floats, input, logits, shape_of};
use super::numbers;
use super::pieces::Rows;
use super::{EpochRecord, Evaluator, Keep, Observer, Trainer};
use crate::data::{Dataset, LastBatch, epoch_order};
use crate::device::Step;
use crate::error::{Error, Result};
use crate::graph::{Graph, Init, Param, Params, Var};
use crate::nn::Layer;
use crate::profile::{self, Profile};

/// Name of the file that a run goes on from.
const CHECKPOINT: &str = "checkpoint.safetensors";

/// Short epochs share a checkpoint: writing one takes longer than a small model's epoch.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// Durations of a run.
#[derive(Debug, Default)]
pub(super) struct Clock {
    pub(super) steps: usize,
    pub(super) until_first_step: Duration,
    pub(super) first_step: Duration,
    /// Steps and reading their sums, all epochs together.
    pub(super) training: Duration,
}

/// States of the training graphs, in a store of their own: they are no part of the model.
#[derive(Debug)]
struct Sums {
    step: Param,
    loss: Param,
    correct: Param,
}

/// The step of full batches.
struct Full {
    step: Step,
    /// Their number in an epoch.
    batches: usize,
    rows: Rows,
}

/// A run under way.
pub(super) struct Run<'t> {
    trainer: &'t Trainer<'t>,
    /// Steps of an epoch.
    pub(super) steps: usize,
    /// For batches of `batch` rows.
    full: Option<Full>,
    /// The order of this epoch.
    order: Vec<u32>,
    /// Steps of `full` that are to be submitted together with those that follow.
    pending: usize,
    /// For the rows left over, with their number.
    short: Option<(Step, usize)>,
    validation: Option<Evaluator>,
    sums: Sums,
    /// What the model reads for inference: what is saved as the model.
    pub(super) weights: Vec<Param>,
    pub(super) progress: Progress,
    pub(super) best: Option<Best>,
    pub(super) records: Vec<EpochRecord>,
    /// The epoch of the last checkpoint, and when it was written.
    saved: Option<(usize, Instant)>,
    pub(super) clock: Clock,
}

impl<'t> Run<'t> {
    pub(super) fn new(trainer: &'t Trainer<'t>, mut steps: usize) -> Result<Self> {
        let Trainer { device, split, batch, last, .. } = trainer;
        let train = &split.train;
        let rows = train.len();
        let store = Params::seeded(0).at("training");
        let sums = Sums {
            step: store.counter("step"),
            loss: store.state("loss", &[][..], Init::Constant(0.0)),
            correct: store.state("correct", &[][..], Init::Constant(0.0)),
        };
        let weights = weights(&*trainer.model, train)?;
        let batches = rows / batch;
        let mut full = None;
        let source = Rows::of(device, train, rows, rows.min(*batch))?;
        if batches > 0 {
            let g = Graph::new();
            let (x, labels) = {
                let _scope = g.scope_at("data");
                let counter = g.param(&sums.step);
                let order = || Ok(g.classes("order", [rows]));
                let batch = source.batch(&g, train, rows, order, counter, *batch)?;
                counter.advance(0);
                batch
            };
            trainer.record(x, labels, &sums)?;
            full = Some(Full { step: device.compile_with(&g, trainer.options)?, batches, rows: source });
        }
        let mut short = None;
        let left = rows % batch;
        if left > 0 && *last == LastBatch::Keep {
            // Its rows are fed once an epoch: another copy of the data on the device would cost more.
            let recorded = |rows: usize| -> Result<Graph> {
                let g = Graph::new();
                let values = input(&g, "values", train, rows);
                trainer.record(floats(values, train), g.classes("labels", [rows]), &sums)?;
                Ok(g)
            };
            match recorded(left) {
                Ok(g) => short = Some((device.compile_with(&g, trainer.options)?, left)),
                // One row has no variance, so that a normalization by batch refuses it.
                Err(error) if left == 1 && batches > 0 && recorded(2).is_ok() => {
                    tracing::warn!(%error, "the row that is left over after {batches} batches is left out");
                    steps -= 1;
                }
                Err(error) => return Err(error),
            }
        }
        let validation = match split.validation.is_empty() {
            true => None,
            false => Some(Evaluator::new(device, &*trainer.model, &split.validation)?),
        };
        let progress = Progress {
            epochs: 0,
            step: 0,
            loss: 0.0,
            correct: 0.0,
            lowest_loss: f64::INFINITY,
            since_lowest: 0,
            seed: trainer.seed,
            batch: *batch,
            rows,
        };
        Ok(Run {
            trainer,
            steps,
            full,
            order: Vec::new(),
            pending: 0,
            short,
            validation,
            sums,
            weights,
            progress,
            best: None,
            records: Vec::new(),
            saved: None,
            clock: Clock::default(),
        })
    }

    /// Loads the checkpoint that is gone on from, if there is one.
    pub(super) fn resume(&mut self) -> Result<()> {
        let Some(path) = &self.trainer.resume else { return Ok(()) };
        let checkpoint = Checkpoint::load(path, &self.weights)?;
        let states = self.states();
        let optimizer = self.trainer.optimizer_name();
        if let Some(other) = checkpoint.optimizer.as_ref().filter(|other| **other != optimizer) {
            return Err(Error::Invalid(format!(
                "{} was saved by a run with the optimizer `{other}`, and this one has `{optimizer}`, for which the \
                 averages in it mean nothing; go on with `{other}` (--optimizer), or start another run",
                path.display()
            )));
        }
        let is_missing = |state: &&Param| !checkpoint.names.iter().any(|name| name == state.name());
        let is_weight = |state: &Param| self.weights.iter().any(|weight| weight.id() == state.id());
        if let Some(state) = states.iter().find(|state| is_missing(state) && !is_weight(state)) {
            return Err(Error::Invalid(format!(
                "{} has no `{}`, which this run keeps beside the weights: it was saved with another optimizer, \
                 momentum or precision; go on with the same (--optimizer, --precision), or start another run",
                path.display(),
                state.name()
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
        // Where nothing is compared, nothing could beat them.
        let compares = self.trainer.keep == Keep::Best && self.validation.is_some();
        self.best = checkpoint.best.filter(|_| compares);
        Ok(())
    }

    /// All states that training changes. The learning rate is a setting, not one of them.
    fn states(&self) -> Vec<Param> {
        let rate = self.trainer.optimizer.lr_state();
        let mut states = self.trainer.params.root().all();
        states.retain(|p| p.id() != rate.id());
        // A model may hold parameters of another store.
        let others = self.weights.iter().filter(|w| !states.iter().any(|s| s.id() == w.id()));
        let others: Vec<Param> = others.cloned().collect();
        states.extend(others);
        states
    }

    /// Goes through the epochs. Returns whether the flag stopped it.
    pub(super) fn train(&mut self, observer: &mut dyn Observer, began: Instant) -> Result<bool> {
        let t = self.trainer;
        let stop = || t.stop.load(Ordering::Relaxed);
        while self.progress.epochs < t.epochs {
            if t.patience.is_some_and(|patience| self.progress.since_lowest >= patience) {
                break;
            }
            if stop() {
                return self.stopped();
            }
            let start = Instant::now();
            self.begin_epoch()?;
            while self.progress.step < self.steps {
                self.step(began)?;
                self.progress.step += 1;
                observer
                    .on_step(self.progress.epochs * self.steps + self.progress.step, t.epochs * self.steps);
                if stop() && self.progress.step < self.steps {
                    return self.stopped();
                }
            }
            let record = self.end_epoch(start)?;
            observer.on_epoch(&record);
            self.records.push(record);
        }
        // Stopped in its last epoch, a run is simply finished.
        Ok(false)
    }

    /// Shuffles, and sets the sums to where they stood.
    fn begin_epoch(&mut self) -> Result<()> {
        let (device, train) = (&self.trainer.device, &self.trainer.split.train);
        let Progress { epochs, step, loss, correct, .. } = self.progress;
        let order = epoch_order(train.len(), self.trainer.seed, epochs as u64);
        match &mut self.full {
            Some(Full { step, rows: Rows::Resident, .. }) => step.feed("order", &order)?,
            Some(Full { rows, .. }) => rows.forget(),
            None => {}
        }
        if let Some((short, left)) = &mut self.short {
            let (values, labels) = train.gather(&order[order.len() - *left..])?;
            short.feed("values", &values)?;
            short.feed("labels", &labels)?;
        }
        self.order = order;
        if self.trainer.schedule.is_some() {
            device.write_param(&self.trainer.optimizer.lr_state(), &[self.trainer.rate(epochs)?])?;
        }
        device.write_param(&self.sums.step, &[step as u32])?;
        device.write_param(&self.sums.loss, &[loss])?;
        device.write_param(&self.sums.correct, &[correct])
    }

    fn step(&mut self, began: Instant) -> Result<()> {
        let start = Instant::now();
        let at = self.progress.step;
        match (&mut self.full, &mut self.short) {
            (Some(Full { step, batches, rows }), _) if at < *batches => {
                let t = self.trainer;
                if rows.ready(at) == 0 {
                    rows.load(step, &t.split.train, &self.order, at, t.batch)?;
                }
                self.pending += 1;
                let is_last = at + 1 == *batches || rows.ready(at) == 1;
                if is_last || self.pending >= step.runs_per_submission() {
                    self.submit_pending()?;
                }
            }
            (_, Some((short, _))) => short.run()?,
            // There are as many steps as batches, so that one of them is left.
            _ => return Err(Error::Invalid(format!("the epoch has no step {at}"))),
        }
        if self.clock.steps == 0 {
            self.trainer.device.wait()?;
            self.clock.first_step = start.elapsed();
            self.clock.until_first_step = self.trainer.started.unwrap_or(began).elapsed();
            let loss = self.read_state(&self.sums.loss)?;
            if !loss.is_finite() && (self.progress.epochs, self.progress.step) == (0, 0) {
                return Err(numbers::of_first_step(self.trainer, loss));
            }
            self.expect_number("training", self.progress.epochs + 1, f64::from(loss))?;
        }
        self.clock.steps += 1;
        self.clock.training += start.elapsed();
        Ok(())
    }

    /// Submits the steps that were put off.
    fn submit_pending(&mut self) -> Result<()> {
        let steps = std::mem::take(&mut self.pending);
        match &mut self.full {
            Some(full) if steps > 0 => full.step.run_many(steps),
            _ => Ok(()),
        }
    }

    /// Bytes planned for intermediate values of all graphs that lie on the device.
    pub(super) fn planned_bytes(&self) -> usize {
        let full = self.full.as_ref().map(|full| &full.step);
        let steps = full.into_iter().chain(self.short.as_ref().map(|(step, _)| step));
        steps.map(Step::planned_bytes).sum::<usize>()
            + self.validation.as_ref().map_or(0, Evaluator::planned_bytes)
    }

    /// Where the time of a step goes, of a full batch if there is one.
    pub(super) fn profile(&mut self, runs: usize, clock: Option<profile::Clock>) -> Result<Profile> {
        self.begin_epoch()?;
        let Trainer { split, batch, .. } = self.trainer;
        match (&mut self.full, &mut self.short) {
            (Some(Full { step, rows, .. }), _) => {
                rows.load(step, &split.train, &self.order, 0, *batch)?;
                step.profiled(runs, clock)
            }
            (None, Some((step, _))) => step.profiled(runs, clock),
            (None, None) => Err(Error::Invalid("there is no step to profile".into())),
        }
    }

    /// A sum so far, waited for.
    fn read_state(&self, sum: &Param) -> Result<f32> {
        Ok(self.trainer.device.read_param(sum)?.as_f32().first().copied().unwrap_or(0.0))
    }

    /// The sums so far, waited for.
    fn read_sums(&mut self) -> Result<()> {
        let start = Instant::now();
        let Sums { loss, correct, .. } = &self.sums;
        (self.progress.loss, self.progress.correct) = (self.read_state(loss)?, self.read_state(correct)?);
        self.clock.training += start.elapsed();
        Ok(())
    }

    /// Reads the sums, validates, keeps the best weights, and saves.
    fn end_epoch(&mut self, start: Instant) -> Result<EpochRecord> {
        let t = self.trainer;
        self.read_sums()?;
        let training = start.elapsed();
        let in_full = self.full.as_ref().map_or(0, |full| full.batches * t.batch);
        let seen = in_full + self.short.as_ref().map_or(0, |(_, rows)| *rows);
        let epoch = self.progress.epochs + 1;
        let train_loss = f64::from(self.progress.loss) / seen as f64;
        let train_accuracy = f64::from(self.progress.correct) / seen as f64;
        self.expect_number("training", epoch, train_loss)?;
        let resumed_at = if self.records.is_empty() { self.clock.steps } else { self.steps };
        let rows_done = (resumed_at * t.batch).min(seen);
        (self.progress.epochs, self.progress.step) = (epoch, 0);
        (self.progress.loss, self.progress.correct) = (0.0, 0.0);
        let mut record = EpochRecord {
            epoch,
            epochs: t.epochs,
            train_loss,
            train_accuracy,
            validation_loss: None,
            validation_accuracy: None,
            is_best: true,
            samples_per_second: rows_done as f64 / training.as_secs_f64().max(1e-9),
            seconds: 0.0,
        };
        if let Some(validation) = &mut self.validation {
            let result = validation.run()?;
            self.expect_number("validation", epoch, result.loss)?;
            if result.loss < self.progress.lowest_loss {
                (self.progress.lowest_loss, self.progress.since_lowest) = (result.loss, 0);
            } else {
                self.progress.since_lowest += 1;
            }
            if t.keep == Keep::Best {
                record.is_best = self.best.as_ref().is_none_or(|best| result.accuracy >= best.accuracy);
                if record.is_best {
                    let weights = snapshot(&t.device, &self.weights)?;
                    self.best = Some(Best { epoch, accuracy: result.accuracy, loss: result.loss, weights });
                }
            }
            record.validation_loss = Some(result.loss);
            record.validation_accuracy = Some(result.accuracy);
        }
        if let Some(out) = &t.out {
            if self.best.as_ref().is_some_and(|best| best.epoch == epoch) {
                self.save_model(out)?;
            }
            let is_due = self.saved.is_none_or(|(_, at)| at.elapsed() >= SAVE_EVERY);
            let is_last = epoch == t.epochs
                || t.patience.is_some_and(|patience| self.progress.since_lowest >= patience);
            if is_due || is_last {
                self.save_checkpoint(out)?;
            }
        }
        record.seconds = start.elapsed().as_secs_f64();
        tracing::info!(epoch, train_loss, validation_loss = record.validation_loss, "epoch done");
        Ok(record)
    }

    pub(super) fn expect_number(&self, what: &str, epoch: usize, loss: f64) -> Result<()> {
        if loss.is_finite() {
            return Ok(());
        }
        Err(numbers::of_epoch(self.trainer, what, epoch, loss, &self.kept()))
    }

    /// The loss of a step is that of the weights before its update: what the last one made of them shows in no loss yet.
    fn expect_numbers(&self, states: &Snapshot) -> Result<()> {
        match numbers::first_that_is_none(states) {
            Some((param, value)) => {
                let epoch = self.progress.epochs + usize::from(self.progress.step > 0);
                Err(numbers::of_weight(self.trainer, param.name(), value, epoch, &self.kept()))
            }
            None => Ok(()),
        }
    }

    /// Which files stand.
    fn kept(&self) -> String {
        match (&self.trainer.out, self.saved) {
            (Some(out), Some((saved, _))) => {
                format!("; {} stands after epoch {saved}", out.join(CHECKPOINT).display())
            }
            _ => String::new(),
        }
    }

    /// Saves where the flag stopped it.
    fn stopped(&mut self) -> Result<bool> {
        self.submit_pending()?;
        if self.progress.step > 0 {
            self.read_sums()?;
            self.expect_number("training", self.progress.epochs + 1, f64::from(self.progress.loss))?;
        }
        if let Some(out) = &self.trainer.out {
            self.save_checkpoint(out)?;
        }
        Ok(true)
    }

    /// The best weights, or the current ones where none were compared.
    pub(super) fn save_model(&self, out: &Path) -> Result<()> {
        let path = out.join("model.safetensors");
        match &self.best {
            Some(best) => save_model(&path, &best.weights),
            None => {
                let weights = snapshot(&self.trainer.device, &self.weights)?;
                self.expect_numbers(&weights)?;
                save_model(&path, &weights)
            }
        }
    }

    fn save_checkpoint(&mut self, out: &Path) -> Result<()> {
        let states = snapshot(&self.trainer.device, &self.states())?;
        self.expect_numbers(&states)?;
        let optimizer = self.trainer.optimizer_name();
        let path = out.join(CHECKPOINT);
        Checkpoint::save(&path, &self.progress, &optimizer, &states, self.best.as_ref())?;
        self.saved = Some((self.progress.epochs, Instant::now()));
        Ok(())
    }
}

impl Trainer<'_> {
    /// Records a step on the rows `x`: forward, update, sums.
    fn record<'g>(&self, x: Var<'g>, labels: Var<'g>, sums: &Sums) -> Result<()> {
        let g = x.graph();
        let x = self.augment.as_ref().map_or(x, |layer| layer.forward(x));
        let logits = logits(&*self.model, x, &self.split.train)?;
        let (loss, class) = {
            let _scope = g.scope_at("loss");
            (logits.softmax_cross_entropy(labels), logits.argmax(1))
        };
        self.optimizer.minimize(loss, &self.params.trainable());
        let _scope = g.scope_at("sums");
        loss.accumulate_into(g.param(&sums.loss), x.dim(0) as f32);
        class.count_equal_into(labels, g.param(&sums.correct));
        g.error().map_or(Ok(()), Err)
    }
}

/// The states that the model reads for inference, in the order it reads them.
fn weights(model: &dyn Layer, data: &Dataset) -> Result<Vec<Param>> {
    let g = Graph::inference();
    logits(model, g.input("x", &shape_of(data, 1)), data)?;
    let recording = g.finish()?;
    Ok(recording.states.iter().map(|s| s.param.clone()).collect())
}
