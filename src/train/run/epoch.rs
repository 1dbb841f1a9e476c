//! The end of an epoch.

use std::time::{Duration, Instant};

use super::Run;
use crate::error::Result;
use crate::train::checkpoint::Best;
use crate::train::task::Better;
use crate::train::watch::Watched;
use crate::train::{EpochRecord, Evaluator, Keep, Scores};

/// Short epochs share a checkpoint: writing one takes longer than a small model's epoch.
const SAVE_EVERY: Duration = Duration::from_secs(1);

impl Run<'_> {
    /// The scores of the validation rows, if there are any, with averages in the place of weights.
    fn validate(&mut self) -> Result<Option<Scores>> {
        if self.validation.is_none() {
            return Ok(None);
        }
        self.exchange_averages()?;
        let result = self.validation.as_mut().map(Evaluator::run).transpose()?;
        self.exchange_averages()?;
        Ok(result.map(|result| result.scores))
    }

    /// The layers as they were looked at last in an epoch.
    fn watched_in(&self, epoch: usize) -> Option<Watched> {
        let last = self.watched.as_ref()?.last.as_ref()?;
        (last.epoch == epoch && last.is_finite()).then(|| last.clone())
    }

    /// Reads the sums, validates, keeps the best weights, and saves.
    pub(super) fn end_epoch(&mut self, start: Instant) -> Result<EpochRecord> {
        let t = self.trainer;
        self.read_sums()?;
        let training = start.elapsed();
        let in_full = self.full.as_ref().map_or(0, |full| full.batches * t.batch);
        let seen = in_full + self.short.as_ref().map_or(0, |(_, rows)| *rows);
        let epoch = self.progress.epochs + 1;
        let train =
            t.task.scores(f64::from(self.progress.loss), &self.read, seen * t.split.train.targets.places());
        let train_loss = train.loss;
        self.expect_number("training", epoch, train_loss)?;
        let resumed_at = if self.records.is_empty() { self.clock.steps } else { self.steps };
        let rows_done = (resumed_at * t.batch).min(seen);
        (self.progress.epochs, self.progress.step) = (epoch, 0);
        self.progress.loss = 0.0;
        self.progress.clear_sums(&self.sums);
        let mut record = EpochRecord {
            epoch,
            epochs: t.epochs,
            train,
            validation: None,
            is_best: true,
            samples_per_second: rows_done as f64 / training.as_secs_f64().max(1e-9),
            seconds: 0.0,
            watched: self.watched_in(epoch),
        };
        if let Some(result) = self.validate()? {
            self.expect_number("validation", epoch, result.loss)?;
            let number = |name: &str| result.get(name).unwrap_or(f64::NAN);
            let (name, better) = t.patience_by()?;
            // NaN, as R² of targets that are all one, is lower than nothing.
            let watched = if better == Better::More { -number(name) } else { number(name) };
            if watched < self.progress.best_watched {
                (self.progress.best_watched, self.progress.since_best) = (watched, 0);
            } else {
                self.progress.since_best += 1;
            }
            if t.keep == Keep::Best {
                let (name, better) = t.best_by()?;
                let score = number(name);
                record.is_best = self.best.as_ref().is_none_or(|best| better.holds(score, best.score));
                if record.is_best {
                    let weights = self.snapshot_of_model()?;
                    self.best = Some(Best { epoch, score, weights });
                }
            }
            record.validation = Some(result);
        }
        let validation_loss = record.validation.as_ref().map(|scores| scores.loss);
        record.seconds = start.elapsed().as_secs_f64();
        self.records.push(record.clone());
        if let Some(out) = &t.out {
            let is_due = self.saved.is_none_or(|(_, at)| at.elapsed() >= SAVE_EVERY);
            let is_last = epoch == t.epochs || self.ran_out_of_patience();
            if self.best.as_ref().is_some_and(|best| best.epoch == epoch) {
                self.save_model(out)?;
            }
            if is_due || is_last {
                self.save_checkpoint(out, self.best.is_none())?;
            }
        }
        record.seconds = start.elapsed().as_secs_f64();
        if let Some(last) = self.records.last_mut() {
            last.seconds = record.seconds;
        }
        tracing::info!(epoch, train_loss, validation_loss, "epoch done");
        Ok(record)
    }
}
