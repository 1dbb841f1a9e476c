//! A run under way: steps, epochs, files.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::checkpoint::{Best, Checkpoint, Progress, save_model, snapshot};
use super::evaluate::{floats, input, logits, shape_of, tables};
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

/// A run under way.
pub(super) struct Run<'t> {
    trainer: &'t Trainer<'t>,
    /// Steps of an epoch.
    pub(super) steps: usize,
    /// For batches of `batch` rows, with their number in an epoch.
    full: Option<(Step, usize)>,
    /// Steps of `full` that are to be submitted together with those that follow.
    pending: usize,
    /// For the rows left over, with their number.
    short: Option<(Step, usize)>,
    validation: Option<Evaluator>,
    sums: Sums,
    /// What the model reads for inference: what is saved as the model.
    weights: Vec<Param>,
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
        if batches > 0 {
            let g = Graph::new();
            let (x, labels) = {
                let _scope = g.scope_at("data");
                let order = g.classes("order", [rows]);
                let (values, labels) = tables(&g, train, 0, rows)?;
                let at = order.batch_rows(g.param(&sums.step), *batch);
                g.param(&sums.step).advance(0);
                (floats(values.take_rows(at), train), labels.take_rows(at))
            };
            trainer.record(x, labels, &sums)?;
            full = Some((device.compile_with(&g, trainer.options)?, batches));
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
        self.trainer.device.load(&self.states(), path)?;
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
        if let Some((full, _)) = &mut self.full {
            full.feed("order", &order)?;
        }
        if let Some((short, left)) = &mut self.short {
            let (values, labels) = train.gather(&order[order.len() - *left..])?;
            short.feed("values", &values)?;
            short.feed("labels", &labels)?;
        }
        if let Some(factor) = &self.trainer.schedule {
            let optimizer = &self.trainer.optimizer;
            let rate = optimizer.lr() * factor(epochs, self.trainer.epochs);
            device.write_param(&optimizer.lr_state(), &[rate])?;
        }
        device.write_param(&self.sums.step, &[step as u32])?;
        device.write_param(&self.sums.loss, &[loss])?;
        device.write_param(&self.sums.correct, &[correct])
    }

    fn step(&mut self, began: Instant) -> Result<()> {
        let start = Instant::now();
        let at = self.progress.step;
        match (&mut self.full, &mut self.short) {
            (Some((full, batches)), _) if at < *batches => {
                self.pending += 1;
                if self.pending >= full.runs_per_submission() || at + 1 == *batches {
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
        }
        self.clock.steps += 1;
        self.clock.training += start.elapsed();
        Ok(())
    }

    /// Submits the steps that were put off.
    fn submit_pending(&mut self) -> Result<()> {
        let steps = std::mem::take(&mut self.pending);
        match &mut self.full {
            Some((full, _)) if steps > 0 => full.run_many(steps),
            _ => Ok(()),
        }
    }

    /// Bytes planned for intermediate values of all graphs that lie on the device.
    pub(super) fn planned_bytes(&self) -> usize {
        let steps = [&self.full, &self.short].into_iter().flatten().map(|(step, _)| step.planned_bytes());
        steps.sum::<usize>() + self.validation.as_ref().map_or(0, Evaluator::planned_bytes)
    }

    /// Where the time of a step goes, of a full batch if there is one.
    pub(super) fn profile(&mut self, runs: usize, clock: Option<profile::Clock>) -> Result<Profile> {
        self.begin_epoch()?;
        match self.full.as_mut().or(self.short.as_mut()) {
            Some((step, _)) => step.profiled(runs, clock),
            None => Err(Error::Invalid("there is no step to profile".into())),
        }
    }

    /// The sums so far, waited for.
    fn read_sums(&mut self) -> Result<()> {
        let start = Instant::now();
        let read = |param: &Param| -> Result<f32> {
            Ok(self.trainer.device.read_param(param)?.as_f32().first().copied().unwrap_or(0.0))
        };
        (self.progress.loss, self.progress.correct) = (read(&self.sums.loss)?, read(&self.sums.correct)?);
        self.clock.training += start.elapsed();
        Ok(())
    }

    /// Reads the sums, validates, keeps the best weights, and saves.
    fn end_epoch(&mut self, start: Instant) -> Result<EpochRecord> {
        let t = self.trainer;
        self.read_sums()?;
        let training = start.elapsed();
        let rows_of = |batches: Option<&(Step, usize)>, each: usize| batches.map_or(0, |(_, n)| n * each);
        let seen = rows_of(self.full.as_ref(), t.batch) + rows_of(self.short.as_ref(), 1);
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

    fn expect_number(&self, what: &str, epoch: usize, loss: f64) -> Result<()> {
        if loss.is_finite() {
            return Ok(());
        }
        let kept = match (&self.trainer.out, self.saved) {
            (Some(out), Some((saved, _))) => {
                format!("; {} stands after epoch {saved}", out.join(CHECKPOINT).display())
            }
            _ => String::new(),
        };
        Err(Error::Invalid(format!(
            "the {what} loss is {loss} in epoch {epoch}: the steps are too large; lower the learning rate, which \
             is {}{kept}",
            self.trainer.optimizer.lr()
        )))
    }

    /// Saves where the flag stopped it.
    fn stopped(&mut self) -> Result<bool> {
        self.submit_pending()?;
        if self.progress.step > 0 {
            self.read_sums()?;
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
            None => save_model(&path, &snapshot(&self.trainer.device, &self.weights)?),
        }
    }

    fn save_checkpoint(&mut self, out: &Path) -> Result<()> {
        let checkpoint = Checkpoint { progress: self.progress.clone(), best: self.best.clone() };
        let states = snapshot(&self.trainer.device, &self.states())?;
        checkpoint.save(&out.join(CHECKPOINT), &states)?;
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
