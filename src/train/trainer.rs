//! A run of training, from its first check to its report.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::beside::Beside;
use super::checkpoint::{check_names, restore};
use super::checks::{check_data, check_weights};
use super::run::Run;
use super::task::{Better, LOSS, Task};
use super::{Evaluator, FolderLock, Keep, Model, Observer, TrainingReport};
use crate::data::{LastBatch, Split, batches, epoch_order};
use crate::device::{CompileOptions, Device};
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
    /// Steps from one look at the layers to the next; 0 for none.
    pub(super) watch: usize,
    pub(super) checks_numerics: bool,
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
    /// batches of 32 rows, in the order of seed 42, unless said otherwise; of as many rows as go on side by side, in their
    /// own order, where there are such ([`Dataset::streams`](crate::data::Dataset::streams)).
    ///
    /// The model takes floats `[rows, ...shape]`, those of the data set or its bytes times their scale; of several
    /// inputs, or integers, it is a [`Model`]. Where the targets are classes it gives logits `[rows, classes]`, and the
    /// loss is their softmax cross-entropy, of sequences `[rows, places, classes]`, with the mean over all places; else it gives as many numbers as a target has, and the loss is their mean
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
            epochs: 10,
            batch: split.train.streams.unwrap_or(32),
            split,
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
            watch: 0,
            checks_numerics: false,
        }
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
        let order = self.order(0);
        let steps = batches(&order, self.batch, self.last)?.len();
        Run::new(&self, steps)?.profile(runs, clock)
    }

    /// The order of the rows in an epoch, counted from 0.
    pub(super) fn order(&self, epoch: usize) -> Vec<u32> {
        let train = &self.split.train;
        match train.streams {
            Some(_) => (0..u32::try_from(train.len()).unwrap_or(u32::MAX)).collect(),
            None => epoch_order(train.len(), self.seed, epoch as u64),
        }
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
        let order = self.order(0);
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
