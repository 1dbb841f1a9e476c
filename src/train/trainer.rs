//! The training loop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::checkpoint::{Best, Checkpoint, Progress, restore, save_model, snapshot};
use super::evaluate::{floats, input, logits, shape_of, tables};
use super::{EpochRecord, Evaluator, Keep, Observer, TrainingReport};
use crate::data::{Dataset, LastBatch, Split, batches, epoch_order};
use crate::device::{Device, Step};
use crate::error::{Error, Result};
use crate::graph::{Graph, Init, Param, Params, Var};
use crate::nn::Layer;
use crate::optim::Optimizer;

/// Name of the file that a run goes on from.
const CHECKPOINT: &str = "checkpoint.safetensors";

/// Short epochs share a checkpoint: writing one takes longer than a small model's epoch.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// Trains a classifier.
///
/// The training rows are uploaded once. Each step takes its rows from them by an order that is fed once an
/// epoch and a counter on the device, and adds its loss and hits to sums there, so that a step neither
/// uploads nor reads anything. After each epoch the validation rows are evaluated; [`Keep`] says whether they
/// choose the weights that are tested at the end and saved. The test rows choose nothing.
///
/// With one seed and one adapter, two runs give the same bits, stopped and resumed or not.
pub struct Trainer<'a> {
    device: Device,
    model: Box<dyn Layer + 'a>,
    params: Params,
    optimizer: Box<dyn Optimizer + 'a>,
    split: Split,
    epochs: usize,
    batch: usize,
    seed: u64,
    last: LastBatch,
    keep: Keep,
    out: Option<PathBuf>,
    resume: Option<PathBuf>,
    stop: Arc<AtomicBool>,
    started: Option<Instant>,
    schedule: Option<Box<dyn Fn(usize, usize) -> f32 + 'a>>,
    augment: Option<Box<dyn Layer + 'a>>,
    patience: Option<usize>,
}

impl std::fmt::Debug for Trainer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer")
            .field("device", &self.device)
            .field("train", &self.split.train)
            .field("epochs", &self.epochs)
            .field("batch", &self.batch)
            .field("seed", &self.seed)
            .field("out", &self.out)
            .finish_non_exhaustive()
    }
}

impl<'a> Trainer<'a> {
    /// Trains `model`, whose parameters are in `params`, with `optimizer` on `split.train`: 10 epochs of
    /// batches of 32 rows, in the order of seed 42, unless said otherwise.
    ///
    /// The model takes floats `[rows, ...shape]`, those of the data set or its bytes times their scale, and gives
    /// logits `[rows, classes]`; the loss is their softmax cross-entropy. What `params` holds that is frozen
    /// stays as it is.
    pub fn new(
        device: &Device,
        model: impl Layer + 'a,
        params: &Params,
        optimizer: impl Optimizer + 'a,
        split: Split,
    ) -> Self {
        Trainer {
            device: device.clone(),
            model: Box::new(model),
            params: params.clone(),
            optimizer: Box::new(optimizer),
            split,
            epochs: 10,
            batch: 32,
            seed: 42,
            last: LastBatch::Keep,
            keep: Keep::Best,
            out: None,
            resume: None,
            stop: Arc::default(),
            started: None,
            schedule: None,
            augment: None,
            patience: None,
        }
    }

    /// How often the training rows are gone through, those before a resume counted.
    #[must_use]
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.epochs = epochs;
        self
    }

    /// Rows of a step.
    #[must_use]
    pub fn batch(mut self, rows: usize) -> Self {
        self.batch = rows;
        self
    }

    /// Seed of the order of the rows. That of the initial weights and of dropout is the seed of `params`.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// What becomes of the rows that do not fill a batch.
    #[must_use]
    pub fn last_batch(mut self, last: LastBatch) -> Self {
        self.last = last;
        self
    }

    /// Which weights are tested and saved; the best, unless said otherwise.
    #[must_use]
    pub fn keep(mut self, keep: Keep) -> Self {
        self.keep = keep;
        self
    }

    /// A folder for `model.safetensors`, the kept weights under PyTorch's names, and
    /// `checkpoint.safetensors`, all states. That one is written after the first epoch and the last, at a stop,
    /// and after others once a second. The folder is made if it is not there.
    #[must_use]
    pub fn out(mut self, folder: impl Into<PathBuf>) -> Self {
        self.out = Some(folder.into());
        self
    }

    /// Goes on from a `checkpoint.safetensors`, in the middle of an epoch if it was stopped there. Model and
    /// optimizer must be of the same kinds; the learning rate is that of the optimizer given now.
    #[must_use]
    pub fn resume(mut self, checkpoint: impl Into<PathBuf>) -> Self {
        self.resume = Some(checkpoint.into());
        self
    }

    /// A flag that ends the run after the current step once it is true. The run then saves, tests and reports
    /// as always.
    #[must_use]
    pub fn stop(mut self, flag: Arc<AtomicBool>) -> Self {
        self.stop = flag;
        self
    }

    /// Counts the time to the first step from `instant`, such as the start of the process.
    #[must_use]
    pub fn started(mut self, instant: Instant) -> Self {
        self.started = Some(instant);
        self
    }

    /// Multiplies the optimizer's learning rate by `factor(epoch, epochs)` before each epoch, counted from 0:
    /// `|epoch, epochs| 1.0 - epoch as f32 / epochs as f32` lowers it evenly to nothing. A run that resumes
    /// goes on where it stood, as long as the number of epochs is the same.
    #[must_use]
    pub fn schedule(mut self, factor: impl Fn(usize, usize) -> f32 + 'a) -> Self {
        self.schedule = Some(Box::new(factor));
        self
    }

    /// Passes the training images through `layer` before the model, such as [`crate::nn::RandomAffine`]; those
    /// that are validated and tested stay as they are. It runs on the device, as a part of each step. A layer
    /// that draws random numbers should be made with the model's store of parameters, so that a run that resumes
    /// draws on.
    #[must_use]
    pub fn augment(mut self, layer: impl Layer + 'a) -> Self {
        self.augment = Some(Box::new(layer));
        self
    }

    /// Ends the run once the validation loss has not been lower than ever before for `patience` epochs. It takes
    /// validation rows. [`Keep`] says which weights stay.
    #[must_use]
    pub fn early_stopping(mut self, patience: usize) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Trains. Afterwards the device holds the kept weights, and the optimizer's states as they were last.
    ///
    /// # Errors
    /// [`Error::Invalid`] for settings or data that do not fit together, and where the loss is no number any
    /// more: the files of the epochs before stay. The first recording mistake, [`Error::Io`], or a failure of
    /// the device.
    pub fn run(self, observer: &mut dyn Observer) -> Result<TrainingReport> {
        let began = Instant::now();
        if self.epochs == 0 {
            return Err(Error::Invalid("0 epochs train nothing; give 1 or more".into()));
        }
        if self.patience.is_some() && self.split.validation.is_empty() {
            return Err(Error::Invalid(
                "early stopping looks at the validation loss, and there are no validation rows; keep some of the \
                 training rows for it"
                    .into(),
            ));
        }
        // Says what is wrong with the batch size.
        let order = epoch_order(self.split.train.len(), self.seed, 0);
        let steps = batches(&order, self.batch, self.last)?.len();
        let mut run = Run::new(&self, steps)?;
        run.resume()?;
        observer.on_start(run.progress.epochs * steps + run.progress.step, self.epochs * steps);
        let stopped = run.train(observer, began)?;
        if let Some(out) = &self.out {
            run.save_model(out)?;
        }
        let train_seconds = began.elapsed().as_secs_f64();
        if let Some(best) = &run.best {
            restore(&self.device, &best.weights)?;
        }
        let test = Evaluator::new(&self.device, &*self.model, &self.split.test)?.run()?;
        let later = run.clock.training.saturating_sub(run.clock.first_step).as_secs_f64();
        let later_steps = run.clock.steps.saturating_sub(1) as f64;
        Ok(TrainingReport {
            best_epoch: run.best.as_ref().map(|b| b.epoch).or(Some(run.progress.epochs)).filter(|&e| e > 0),
            epochs: run.records,
            test_loss: test.loss,
            test_accuracy: test.accuracy,
            train_seconds,
            first_step_seconds: run.clock.until_first_step.as_secs_f64(),
            steps: run.clock.steps,
            steps_per_second: if later_steps > 0.0 { later_steps / later.max(1e-9) } else { 0.0 },
            stopped,
            stopped_early: !stopped && run.progress.epochs < self.epochs,
        })
    }
}

/// Durations of a run.
#[derive(Debug, Default)]
struct Clock {
    steps: usize,
    until_first_step: Duration,
    first_step: Duration,
    /// Steps and reading their sums, all epochs together.
    training: Duration,
}

/// States of the training graphs, in a store of their own: they are no part of the model.
#[derive(Debug)]
struct Sums {
    step: Param,
    loss: Param,
    correct: Param,
}

/// A run under way.
struct Run<'t> {
    trainer: &'t Trainer<'t>,
    /// Steps of an epoch.
    steps: usize,
    /// For batches of `batch` rows, with their number in an epoch.
    full: Option<(Step, usize)>,
    /// For the rows left over, with their number.
    short: Option<(Step, usize)>,
    validation: Option<Evaluator>,
    sums: Sums,
    /// What the model reads for inference: what is saved as the model.
    weights: Vec<Param>,
    progress: Progress,
    best: Option<Best>,
    records: Vec<EpochRecord>,
    /// The epoch of the last checkpoint, and when it was written.
    saved: Option<(usize, Instant)>,
    clock: Clock,
}

impl<'t> Run<'t> {
    fn new(trainer: &'t Trainer<'t>, steps: usize) -> Result<Self> {
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
            full = Some((device.compile(&g)?, batches));
        }
        let mut short = None;
        let left = rows % batch;
        if left > 0 && *last == LastBatch::Keep {
            // Its rows are fed once an epoch: another copy of the data on the device would cost more.
            let g = Graph::new();
            let values = input(&g, "values", train, left);
            trainer.record(floats(values, train), g.classes("labels", [left]), &sums)?;
            short = Some((device.compile(&g)?, left));
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
    fn resume(&mut self) -> Result<()> {
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
    fn train(&mut self, observer: &mut dyn Observer, began: Instant) -> Result<bool> {
        let t = self.trainer;
        let stop = || t.stop.load(Ordering::Relaxed);
        while self.progress.epochs < t.epochs {
            if t.patience.is_some_and(|patience| self.progress.since_lowest >= patience.max(1)) {
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
        let step = match (&mut self.full, &mut self.short) {
            (Some((full, batches)), _) if at < *batches => full,
            (_, Some((short, _))) => short,
            // There are as many steps as batches, so that one of them is left.
            _ => return Err(Error::Invalid(format!("the epoch has no step {at}"))),
        };
        step.run()?;
        if self.clock.steps == 0 {
            self.trainer.device.wait()?;
            self.clock.first_step = start.elapsed();
            self.clock.until_first_step = self.trainer.started.unwrap_or(began).elapsed();
        }
        self.clock.steps += 1;
        self.clock.training += start.elapsed();
        Ok(())
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
        let seen = match t.last {
            LastBatch::Keep => self.progress.rows,
            LastBatch::Drop => self.steps * t.batch,
        };
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
            let is_last = epoch == t.epochs || t.patience == Some(self.progress.since_lowest);
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
        if self.progress.step > 0 {
            self.read_sums()?;
        }
        if let Some(out) = &self.trainer.out {
            self.save_checkpoint(out)?;
        }
        Ok(true)
    }

    /// The best weights, or the current ones where none were compared.
    fn save_model(&self, out: &Path) -> Result<()> {
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
