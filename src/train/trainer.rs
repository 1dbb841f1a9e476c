//! How a run is set up and observed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::beside::Beside;
use super::checkpoint::{check_names, restore};
use super::checks::{check_data, check_weights};
use super::run::Run;
use super::task::{Better, LOSS, Objective, Task};
use super::{Evaluator, FolderLock, Keep, Model, Observer, TrainingReport};
use crate::data::{LastBatch, Split, batches, epoch_order};
use crate::device::{CompileOptions, Device, Precision};
use crate::error::{Error, Result};
use crate::graph::Params;
use crate::nn::Layer;
use crate::optim::{Optimizer, Plateau};
use crate::profile::{Clock, Profile};

/// Epochs whose rates are looked at before the first step.
const EPOCHS_AHEAD: usize = 10_000;

/// Trains a model: a classifier, where the targets are classes, else one whose predictions come near its targets
/// ([`Task::of`]); or by any objective ([`Trainer::task`]).
///
/// The training rows are uploaded once; where they are larger than one buffer of the device may be, pieces of each
/// epoch's order are uploaded one after the other, with the same result to the bit. Each step takes its rows from them by an order that is fed once an
/// epoch and a counter on the device, and adds its loss and metrics to sums there, so that a step neither
/// uploads nor reads anything. After each epoch the validation rows are evaluated; [`Keep`] says whether they
/// choose the weights that are tested at the end and saved. The test rows choose nothing.
///
/// With one seed and one adapter, two runs give the same bits, stopped and resumed or not.
pub struct Trainer<'a> {
    pub(super) device: Device,
    pub(super) model: Box<dyn Model + 'a>,
    pub(super) params: Params,
    pub(super) optimizer: Box<dyn Optimizer + 'a>,
    pub(super) split: Split,
    pub(super) task: Task,
    /// The number that best weights and patience are found by, if one was named.
    pub(super) choose_by: Option<String>,
    pub(super) epochs: usize,
    pub(super) batch: usize,
    pub(super) seed: u64,
    pub(super) last: LastBatch,
    pub(super) keep: Keep,
    pub(super) out: Option<PathBuf>,
    pub(super) metadata: BTreeMap<String, String>,
    /// Whether the caller holds the lock on `out`.
    pub(super) is_locked: bool,
    pub(super) resume: Option<PathBuf>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) started: Option<Instant>,
    pub(super) schedule: Option<Box<dyn Fn(usize, usize) -> f32 + 'a>>,
    pub(super) plateau: Option<Plateau>,
    pub(super) augment: Option<Box<dyn Layer + 'a>>,
    pub(super) beside: Beside<'a>,
    pub(super) patience: Option<usize>,
    pub(super) options: CompileOptions,
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
    /// The model takes floats `[rows, ...shape]`, those of the data set or its bytes times their scale; of several
    /// inputs, or integers, it is a [`Model`]. Where the targets are classes it gives logits `[rows, classes]`, and the
    /// loss is their softmax cross-entropy; else it gives as many numbers as a target has, and the loss is their mean
    /// squared difference, unless [`Trainer::task`] says otherwise. What `params` holds that is frozen stays as it is.
    pub fn new(
        device: &Device,
        model: impl Model + 'a,
        params: &Params,
        optimizer: impl Optimizer + 'a,
        split: Split,
    ) -> Self {
        Trainer {
            device: device.clone(),
            model: Box::new(model),
            params: params.clone(),
            optimizer: Box::new(optimizer),
            task: Task::of(&split.train),
            choose_by: None,
            split,
            epochs: 10,
            batch: 32,
            seed: 42,
            last: LastBatch::Keep,
            keep: Keep::Best,
            out: None,
            metadata: BTreeMap::new(),
            is_locked: false,
            resume: None,
            stop: Arc::default(),
            started: None,
            schedule: None,
            plateau: None,
            augment: None,
            beside: Beside::default(),
            patience: None,
            options: CompileOptions::new(),
        }
    }

    /// What is minimized, and measured beside: of the training rows at each step, of the others in evaluations.
    #[must_use]
    pub fn task(mut self, task: Task) -> Self {
        self.task = task;
        self
    }

    /// Minimizes `objective`, and measures what goes with it: `task(Task::new(objective))`.
    #[must_use]
    pub fn objective(self, objective: impl Objective + 'static) -> Self {
        self.task(Task::new(objective))
    }

    /// The number of the validation rows that [`Keep::Best`] and [`Trainer::early_stopping`] look at: `loss`, or the name
    /// of a metric. Unless one is named, the weights are chosen by the first metric, for classifiers the accuracy, and
    /// the end by the loss.
    #[must_use]
    pub fn choose_by(mut self, name: impl Into<String>) -> Self {
        self.choose_by = Some(name.into());
        self
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

    /// What becomes of the rows that do not fill a batch. Where a single row is left that the model cannot be trained
    /// on alone, such as with [`crate::nn::BatchNorm1d`], it is left out of that epoch, with a warning.
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
    /// and after others once a second. The model is written when better weights are found; where none are compared, with
    /// the checkpoint, but never before the first epoch has ended: until then that of an earlier run stays. The folder is made if it is not there, and locked until the run ends
    /// ([`FolderLock`]).
    #[must_use]
    pub fn out(mut self, folder: impl Into<PathBuf>) -> Self {
        self.out = Some(folder.into());
        self.is_locked = false;
        self
    }

    /// As [`Trainer::out`], for a folder that the caller has locked, such as to write there before and afterwards.
    #[must_use]
    pub fn out_locked(mut self, lock: &'a FolderLock) -> Self {
        self.out = Some(lock.folder().into());
        self.is_locked = true;
        self
    }

    /// Keeps `text` under `key` in the metadata of `model.safetensors` and `checkpoint.safetensors`, such as what inputs
    /// go through before the model sees them: there it is always that of the run which wrote the weights.
    /// [`SavedRun`](super::SavedRun) reads it again.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, text: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), text.into());
        self
    }

    /// Goes on from a `checkpoint.safetensors`, in the middle of an epoch if it was stopped there. Model and
    /// optimizer must be of the same kinds; the learning rate is that of the optimizer given now.
    #[must_use]
    pub fn resume(mut self, checkpoint: impl Into<PathBuf>) -> Self {
        self.resume = Some(checkpoint.into());
        self
    }

    /// A flag that ends the run after the current step once it is true: no step after it is submitted. The run then
    /// saves, tests and reports as always; before the end of the first epoch it saves the checkpoint alone, and where it
    /// did no step, none.
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
    /// goes on where it stood, as long as the number of epochs is the same. A factor below 0, or NaN, ends
    /// the run before its first step.
    #[must_use]
    pub fn schedule(mut self, factor: impl Fn(usize, usize) -> f32 + 'a) -> Self {
        self.schedule = Some(Box::new(factor));
        self
    }

    /// Multiplies the learning rate of an epoch by what `plateau` makes of the epochs before: of their validation loss, or what
    /// [`Trainer::choose_by`] names. It takes validation rows. A schedule multiplies it as well.
    #[must_use]
    pub fn plateau(mut self, plateau: Plateau) -> Self {
        self.plateau = Some(plateau);
        self
    }

    /// Passes the first input of the training rows through `layer` before the model, such as
    /// [`crate::nn::RandomAffine`]; rows that are validated and tested stay as they are, and so does a target that is the
    /// input ([`Targets::Input`](crate::data::Targets::Input)): an autoencoder then learns to undo what the layer does,
    /// such as noise. It runs on the device, as a part of each step. A layer that draws random numbers should be made
    /// with the model's store of parameters, so that a run that resumes draws on.
    #[must_use]
    pub fn augment(mut self, layer: impl Layer + 'a) -> Self {
        self.augment = Some(Box::new(layer));
        self
    }

    /// Ends the run once the validation loss, or what [`Trainer::choose_by`] names, has not been better than ever before
    /// for `patience` epochs, at least one. It takes validation rows. [`Keep`] says which weights stay.
    #[must_use]
    pub fn early_stopping(mut self, patience: usize) -> Self {
        self.patience = Some(patience.max(1));
        self
    }

    /// Bytes that may be planned for intermediate values of a training step: activations that do not fit are computed
    /// again ([`Device::compile_within`]), which changes no result.
    #[must_use]
    pub fn memory_budget(mut self, bytes: usize) -> Self {
        self.options = self.options.memory_budget(bytes);
        self
    }

    /// How a training step stores the values between its kernels; validation and tests stay in `f32`. With
    /// [`Precision::Mixed`] the optimizer should be a [`crate::optim::LossScale`].
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.options = self.options.precision(precision);
        self
    }

    /// Where the time of a training step goes: that of a full batch, as [`Trainer::run`] would submit it, with medians
    /// of `runs`; by the best clock of the device, unless one is asked for. Weights and optimizer change as by some
    /// steps.
    ///
    /// # Errors
    /// As [`Trainer::run`] and [`Step::profile_by`](crate::Step::profile_by).
    pub fn profile(self, runs: usize, clock: Option<Clock>) -> Result<Profile> {
        self.task.check()?;
        check_data(&self)?;
        let order = epoch_order(self.split.train.len(), self.seed, 0);
        let steps = batches(&order, self.batch, self.last)?.len();
        Run::new(&self, steps)?.profile(runs, clock)
    }

    /// The learning rate of an epoch, counted from 0.
    pub(super) fn rate(&self, epoch: usize) -> Result<f32> {
        let lr = self.optimizer.lr();
        let factor = self.schedule.as_ref().map_or(1.0, |schedule| schedule(epoch, self.epochs));
        let rate = lr * factor;
        if factor >= 0.0 && rate.is_finite() {
            return Ok(rate);
        }
        Err(Error::Invalid(format!(
            "the schedule multiplies the learning rate, {lr}, by {factor} in epoch {} of {}, counted from 1; a factor is \
             0 or more, and the product finite",
            epoch + 1,
            self.epochs
        )))
    }

    /// The number that best weights are chosen by, and which of its values is better.
    pub(super) fn best_by(&self) -> Result<(&str, Better)> {
        let first = self.task.metrics.first().map_or(LOSS, |metric| metric.name());
        let name = self.choose_by.as_deref().unwrap_or(first);
        Ok((name, self.task.find(name)?))
    }

    /// The number that patience looks at, and which of its values is better.
    pub(super) fn patience_by(&self) -> Result<(&str, Better)> {
        let name = self.choose_by.as_deref().unwrap_or(LOSS);
        Ok((name, self.task.find(name)?))
    }

    /// Under which its states are in the store.
    pub(super) fn optimizer_name(&self) -> String {
        let rate = self.optimizer.lr_state();
        rate.name().strip_suffix(".lr").unwrap_or(rate.name()).to_string()
    }

    /// Trains. Afterwards the device holds the kept weights, and the optimizer's states as they were last.
    ///
    /// # Errors
    /// [`Error::Invalid`] for settings or data that do not fit together, training rows of one class, and where the
    /// loss is not finite any more: the files of the epochs before stay. [`Error::Locked`] where another run writes to
    /// the folder, [`Error::NotFinite`] for a checkpoint to go on from that holds NaN, [`Error::Limit`] where the device
    /// cannot hold a batch. The first recording mistake, [`Error::Io`], or a failure of the device.
    pub fn run(self, observer: &mut dyn Observer) -> Result<TrainingReport> {
        let began = Instant::now();
        if self.epochs == 0 {
            return Err(Error::Invalid("0 epochs train nothing; give 1 or more".into()));
        }
        let looks = [(self.patience.is_some(), "early stopping"), (self.plateau.is_some(), "a plateau")];
        if let (true, Some((_, what))) = (self.split.validation.is_empty(), looks.iter().find(|(is, _)| *is))
        {
            return Err(Error::Invalid(format!(
                "{what} looks at validation rows, and there are none; keep some of the training rows for it"
            )));
        }
        if let Some(plateau) = self.plateau.filter(|p| !(p.factor.is_finite() && p.factor >= 0.0)) {
            return Err(Error::Invalid(format!("a plateau's factor is 0 or more, got {}", plateau.factor)));
        }
        self.task.check()?;
        self.best_by()?;
        check_data(&self)?;
        // Says what is wrong with the batch size.
        let order = epoch_order(self.split.train.len(), self.seed, 0);
        let steps = batches(&order, self.batch, self.last)?.len();
        let mut run = Run::new(&self, steps)?;
        self.check_test()?;
        if self.out.is_some() {
            check_names(&run.states())?;
        }
        let _lock = match &self.out {
            Some(out) if !self.is_locked => Some(FolderLock::acquire(out)?),
            _ => None,
        };
        match self.resume {
            // Loading looks at every value.
            Some(_) => run.resume()?,
            None => check_weights(&self, &run.weights)?,
        }
        // A schedule that goes wrong should not do so after hours.
        if self.schedule.is_some() {
            let ahead = self.epochs.min(run.progress.epochs.saturating_add(EPOCHS_AHEAD));
            (run.progress.epochs..ahead).try_for_each(|epoch| self.rate(epoch).map(drop))?;
        }
        observer.on_start(run.steps_done(), self.epochs.saturating_mul(run.steps));
        let stopped = run.train(observer, began)?;
        let train_seconds = began.elapsed().as_secs_f64();
        match &run.best {
            Some(best) => restore(&self.device, &best.weights)?,
            None => {
                restore(&self.device, &run.snapshot_of_model()?)?;
                // Weights stand for themselves now.
                run.averages.clear();
            }
        }
        // Compiled now: beside the training step it would take memory that nothing uses.
        let test = Evaluator::of(&self.device, &*self.model, &self.split.test, &self.task)?.run()?.scores;
        run.expect_number("test", run.progress.epochs.max(1), test.loss)?;
        if let Some(out) = self.out.as_ref().filter(|_| run.progress.epochs > 0) {
            run.save_model(out)?;
        }
        let (planned_bytes, step_bytes) = (run.planned_bytes(), run.step_bytes());
        let later = run.clock.training.saturating_sub(run.clock.first_step).as_secs_f64();
        let later_steps = run.clock.steps.saturating_sub(1) as f64;
        Ok(TrainingReport {
            best_epoch: run.best.as_ref().map(|b| b.epoch).or(Some(run.progress.epochs)).filter(|&e| e > 0),
            steps_after_epoch: if run.best.is_none() { run.progress.step } else { 0 },
            epochs: run.records,
            test,
            train_seconds,
            first_step_seconds: run.clock.until_first_step.as_secs_f64(),
            steps: run.clock.steps,
            steps_per_second: if later_steps > 0.0 { later_steps / later.max(1e-9) } else { 0.0 },
            planned_bytes,
            step_bytes,
            stopped,
            stopped_early: !stopped && run.progress.epochs < self.epochs,
        })
    }
}
