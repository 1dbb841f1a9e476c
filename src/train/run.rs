//! A run under way: steps, epochs, files.

mod epoch;
mod steps;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::batch::inputs;
use super::checkpoint::{Best, Progress, Snapshot};
use super::checks;
use super::pieces::Rows;
use super::record::weights_and_carried;
use super::task::Sums;
use super::watch::{Reading, Symptom, Watched};
use super::{EpochRecord, Evaluator, Observer, Trainer};
use crate::data::LastBatch;
use crate::device::{CompileOptions, Step};
use crate::error::{Error, Result};
use crate::graph::{Graph, Param, Params};
use crate::optim::{Average, Averaged};
use crate::profile::{self, Profile};
use crate::tensor::Tensor;

/// Name of the file that a run goes on from.
pub(super) const CHECKPOINT: &str = "checkpoint.safetensors";

/// Durations of a run.
#[derive(Debug, Default)]
pub(super) struct Clock {
    pub(super) steps: usize,
    pub(super) until_first_step: Duration,
    pub(super) first_step: Duration,
    /// Steps and reading their sums, all epochs together.
    pub(super) training: Duration,
}

/// The step of full batches.
struct Full {
    step: Step,
    /// Their number in an epoch.
    batches: usize,
    rows: Rows,
}

/// The step of full batches whose layers are looked at.
struct WatchedStep {
    step: Step,
    reading: Reading,
    /// What was read last.
    last: Option<Watched>,
    /// Norms of the gradient, the latest ones.
    norms: Vec<f64>,
    /// What was said.
    warned: Vec<Symptom>,
}

/// A run under way.
pub(super) struct Run<'t> {
    pub(super) trainer: &'t Trainer<'t>,
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
    watched: Option<WatchedStep>,
    pub(super) validation: Option<Evaluator>,
    /// The number of the next step, and sums: states of the training graphs, in a store of their own.
    counter: Param,
    sums: Sums,
    /// What the metrics have added up, when it was read last.
    read: Vec<Vec<Tensor>>,
    /// What the model reads for inference: what is saved as the model.
    pub(super) weights: Vec<Param>,
    /// States that the model carries from batch to batch of the training rows: an epoch begins with the first ones.
    pub(super) carried: Vec<Param>,
    /// Parameters of which the optimizer keeps averages.
    pub(super) averages: Vec<Average>,
    /// What exchanges them.
    exchange: Option<Step>,
    pub(super) progress: Progress,
    pub(super) best: Option<Best>,
    /// The epochs before a resume, and those since.
    pub(super) earlier: Vec<EpochRecord>,
    pub(super) records: Vec<EpochRecord>,
    /// The epoch of the last checkpoint, and when it was written.
    pub(super) saved: Option<(usize, Instant)>,
    pub(super) clock: Clock,
}

impl<'t> Run<'t> {
    pub(super) fn new(trainer: &'t Trainer<'t>, mut steps: usize) -> Result<Self> {
        let Trainer { device, split, batch, last, .. } = trainer;
        let train = &split.train;
        let rows = train.len();
        let store = Params::seeded(0).at("training");
        let counter = store.counter("step");
        let mut sums = None;
        let [mut weights, carried] = weights_and_carried(&*trainer.model, train)?;
        weights.extend(trainer.task.objective.params());
        let batches = rows / batch;
        let mut full = None;
        let source = Rows::of(device, train, rows, rows.min(*batch))?;
        if batches > 0 {
            let g = Graph::new();
            let seen = {
                let _scope = g.scope_at("data");
                let counter = g.param(&counter);
                let order = || Ok(g.classes("order", [rows]));
                let seen = source.batch(&g, train, rows, order, counter, *batch)?;
                counter.advance(0);
                seen
            };
            sums = Some(trainer.record(&g, seen, *batch, &store, false)?.0);
            full = Some(Full { step: device.compile_with(&g, trainer.options)?, batches, rows: source });
        }
        let mut short = None;
        let left = rows % batch;
        // Its rows are fed once an epoch: another copy of the data on the device would cost more.
        let fed = |rows: usize, is_watched: bool| -> Result<(Graph, Sums, Option<Reading>)> {
            let g = Graph::new();
            let (sums, reading) = {
                let seen = inputs(&g, train, rows).seen(&g, train);
                trainer.record(&g, seen, rows, &store, is_watched)?
            };
            Ok((g, sums, reading))
        };
        let mut watched = None;
        if trainer.watch > 0
            && batches > 0
            && let (g, _, Some(reading)) = fed(*batch, true)?
        {
            // Gradients live longer in it, so that the budget of a step is not its.
            let options = CompileOptions::new().precision(trainer.options.precision);
            let step = device.compile_unwarned(&g, options)?;
            watched = Some(WatchedStep { step, reading, last: None, norms: Vec::new(), warned: Vec::new() });
        }
        if left > 0 && *last == LastBatch::Keep {
            let recorded = |rows: usize| fed(rows, false);
            match recorded(left) {
                Ok((g, made, _)) => {
                    // What is to be warned of was said of full batches.
                    let step = match batches {
                        0 => device.compile_with(&g, trainer.options)?,
                        _ => device.compile_unwarned(&g, trainer.options)?,
                    };
                    short = Some((step, left));
                    sums = Some(made);
                }
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
            false => Some(Evaluator::of(device, &*trainer.model, &split.validation, &trainer.task)?),
        };
        let Some(sums) = sums else {
            return Err(Error::Invalid("there is no batch to train on".into()));
        };
        let averages = trainer.optimizer.averages(&trainer.params.trainable());
        let exchange = match averages.is_empty() {
            true => None,
            false => Some(Averaged::exchange(device, &averages)?),
        };
        let mut progress = Progress {
            epochs: 0,
            step: 0,
            loss: 0.0,
            sums: Vec::new(),
            best_watched: f64::INFINITY,
            since_best: 0,
            seed: trainer.seed,
            batch: *batch,
            rows,
        };
        progress.clear_sums(&sums);
        Ok(Run {
            trainer,
            steps,
            full,
            order: Vec::new(),
            pending: 0,
            short,
            watched,
            validation,
            counter,
            sums,
            read: Vec::new(),
            weights,
            carried,
            averages,
            exchange,
            progress,
            best: None,
            earlier: Vec::new(),
            records: Vec::new(),
            saved: None,
            clock: Clock::default(),
        })
    }

    /// Goes through the epochs. Returns whether the flag stopped it.
    pub(super) fn train(&mut self, observer: &mut dyn Observer, began: Instant) -> Result<bool> {
        let t = self.trainer;
        let stop = || t.stop.load(Ordering::Relaxed);
        while self.progress.epochs < t.epochs {
            if self.ran_out_of_patience() {
                break;
            }
            if stop() {
                return self.stopped();
            }
            let start = Instant::now();
            self.begin_epoch()?;
            while self.progress.step < self.steps {
                if let Some(watched) = self.step(began)? {
                    observer.on_watch(&watched);
                }
                self.progress.step += 1;
                observer.on_step(self.steps_done(), t.epochs.saturating_mul(self.steps));
                if stop() && self.progress.step < self.steps {
                    return self.stopped();
                }
            }
            let record = self.end_epoch(start)?;
            observer.on_epoch(&record);
        }
        // Stopped in its last epoch, a run is simply finished.
        Ok(false)
    }

    /// Makes averages the weights, or the weights what they were.
    pub(super) fn exchange_averages(&mut self) -> Result<()> {
        self.exchange.as_mut().map_or(Ok(()), Step::run)
    }

    /// Steps of all epochs, those before a resume counted.
    pub(super) fn steps_done(&self) -> usize {
        self.progress.epochs.saturating_mul(self.steps).saturating_add(self.progress.step)
    }

    fn ran_out_of_patience(&self) -> bool {
        self.trainer.patience.is_some_and(|patience| self.progress.since_best >= patience)
    }

    /// Bytes planned for intermediate values of all graphs that lie on the device.
    pub(super) fn planned_bytes(&self) -> usize {
        let full = self.full.as_ref().map(|full| &full.step);
        let steps = full.into_iter().chain(self.short.as_ref().map(|(step, _)| step));
        let steps = steps.chain(self.watched.as_ref().map(|watched| &watched.step));
        steps.map(Step::planned_bytes).sum::<usize>()
            + self.validation.as_ref().map_or(0, Evaluator::planned_bytes)
    }

    /// Those of a training step, of a full batch if there is one.
    pub(super) fn step_bytes(&self) -> usize {
        let full = self.full.as_ref().map(|full| &full.step);
        full.or(self.short.as_ref().map(|(step, _)| step)).map_or(0, Step::planned_bytes)
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
        self.progress.loss = self.read_state(&self.sums.loss)?;
        self.read = self.sums.read_metrics(&self.trainer.device)?;
        for ((_, sum), tensor) in self.progress.sums.iter_mut().zip(self.read.iter().flatten()) {
            *sum = tensor.as_f32().to_vec();
        }
        self.clock.training += start.elapsed();
        Ok(())
    }

    pub(super) fn expect_number(&self, what: &str, epoch: usize, loss: f64) -> Result<()> {
        if loss.is_finite() {
            return Ok(());
        }
        Err(checks::of_epoch(self.trainer, what, epoch, loss, &self.kept()))
    }

    /// The loss of a step is that of the weights before its update: what the last one made of them shows in no loss yet.
    pub(super) fn expect_numbers(&self, states: &Snapshot) -> Result<()> {
        match checks::first_not_finite(states) {
            Some((param, value)) => {
                let epoch = self.progress.epochs + usize::from(self.progress.step > 0);
                Err(checks::of_weight(self.trainer, param.name(), value, epoch, &self.kept()))
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

    /// Saves where the flag stopped it; nothing where no step was done, so that what lies there stays.
    fn stopped(&mut self) -> Result<bool> {
        if self.clock.steps == 0 {
            return Ok(true);
        }
        self.submit_pending()?;
        if self.progress.step > 0 {
            self.read_sums()?;
            self.expect_number("training", self.progress.epochs + 1, f64::from(self.progress.loss))?;
        }
        if let Some(out) = &self.trainer.out {
            self.save_checkpoint(out, false)?;
        }
        Ok(true)
    }
}
