//! The steps of an epoch.

use std::time::Instant;

use super::{Full, Run, WatchedStep};
use crate::device::Step;
use crate::error::{Error, Result};
use crate::train::batch::feed;
use crate::train::checkpoint::Progress;
use crate::train::checks;
use crate::train::pieces::Rows;
use crate::train::record::begin_anew;
use crate::train::task::Better;
use crate::train::watch::{Symptom, Watched};
use crate::train::{EpochRecord, Trainer};

/// Norms of gradients that an explosion is told by.
const NORMS: usize = 100;

impl Run<'_> {
    /// What the epochs so far make of the learning rate.
    fn plateau_factor(&self) -> Result<f32> {
        let Some(plateau) = self.trainer.plateau else { return Ok(1.0) };
        let (name, better) = self.trainer.patience_by()?;
        let number = |record: &EpochRecord| {
            let number = record.validation.as_ref().and_then(|scores| scores.get(name)).unwrap_or(f64::NAN);
            if better == Better::More { -number } else { number }
        };
        let all: Vec<f64> = self.earlier.iter().chain(&self.records).map(number).collect();
        Ok(plateau.factor(&all))
    }

    /// Shuffles, and sets the sums to where they stood.
    pub(super) fn begin_epoch(&mut self) -> Result<()> {
        let (device, train) = (&self.trainer.device, &self.trainer.split.train);
        let Progress { epochs, step, loss, .. } = self.progress;
        let order = self.trainer.order(epochs);
        if step == 0 {
            begin_anew(device, &self.carried)?;
        }
        match &mut self.full {
            Some(Full { step, rows: Rows::Resident, .. }) => step.feed("order", &order)?,
            Some(Full { rows, .. }) => rows.forget(),
            None => {}
        }
        if let Some((short, left)) = &mut self.short {
            feed(short, train, &train.batch(&order[order.len() - *left..])?)?;
        }
        self.order = order;
        // Without a schedule too: another optimizer of its name may have left a rate there.
        let follows = self.trainer.schedule.is_some() || self.trainer.plateau.is_some();
        if follows || self.clock.steps == 0 {
            let rate = self.trainer.rate(epochs)? * self.plateau_factor()?;
            device.write_param(&self.trainer.optimizer.lr_state(), &[rate])?;
        }
        device.write_param(&self.counter, &[step as u32])?;
        device.write_param(&self.sums.loss, &[loss])?;
        let states = self.sums.metrics.iter().flatten();
        states.zip(&self.progress.sums).try_for_each(|(state, (_, sum))| device.write_param(state, sum))
    }

    /// One step, and what its layers did if they were looked at.
    pub(super) fn step(&mut self, began: Instant) -> Result<Option<Watched>> {
        let start = Instant::now();
        let at = self.progress.step;
        let t = self.trainer;
        let watched = if self.is_watched(at) { self.watched_step(at)? } else { None };
        match (&mut self.full, &mut self.short) {
            _ if watched.is_some() => {}
            (Some(Full { step, batches, rows }), _) if at < *batches => {
                if rows.ready(at) == 0 {
                    rows.load(step, &t.split.train, &self.order, at, t.batch)?;
                }
                self.pending += 1;
                let is_last = at + 1 == *batches || rows.ready(at) == 1;
                if is_last || t.checks_numerics || self.pending >= step.runs_per_submission() {
                    self.submit_pending()?;
                }
            }
            (_, Some((short, _))) => short.run()?,
            // There are as many steps as batches, so that one of them is left.
            _ => return Err(Error::Invalid(format!("the epoch has no step {at}"))),
        }
        self.check_numerics(watched.is_some())?;
        if self.clock.steps == 0 {
            self.trainer.device.wait()?;
            self.clock.first_step = start.elapsed();
            self.clock.until_first_step = self.trainer.started.unwrap_or(began).elapsed();
            let loss = self.read_state(&self.sums.loss)?;
            if !loss.is_finite() && (self.progress.epochs, self.progress.step) == (0, 0) {
                return Err(checks::of_first_step(self.trainer, loss));
            }
            self.expect_number("training", self.progress.epochs + 1, f64::from(loss))?;
            tracing::info!(seconds = self.clock.until_first_step.as_secs_f64(), "first step done");
        }
        self.clock.steps += 1;
        self.clock.training += start.elapsed();
        Ok(watched)
    }

    /// Whether the layers are looked at in step `at` of this epoch.
    fn is_watched(&self, at: usize) -> bool {
        let batches = self.full.as_ref().map_or(0, |full| full.batches);
        let full_steps = self.progress.epochs.saturating_mul(batches).saturating_add(at + 1);
        self.watched.is_some() && at < batches && full_steps.is_multiple_of(self.trainer.watch)
    }

    /// Does step `at` by the graph that looks at the layers.
    fn watched_step(&mut self, at: usize) -> Result<Option<Watched>> {
        self.submit_pending()?;
        let Trainer { device, split, batch, .. } = self.trainer;
        let Some(WatchedStep { step, reading, last, norms, warned }) = &mut self.watched else {
            return Ok(None);
        };
        feed(step, &split.train, &split.train.batch(&self.order[at * batch..(at + 1) * batch])?)?;
        step.run()?;
        // The next one goes on behind it.
        device.write_param(&self.counter, &[at as u32 + 1])?;
        let watched = reading.read(step, self.progress.epochs + 1, at + 1)?;
        for symptom in watched.symptoms(norms) {
            // Once each.
            if !warned.iter().any(|said: &Symptom| said.is_as(&symptom)) {
                tracing::warn!(epoch = watched.epoch, step = watched.step, "{symptom}");
                warned.push(symptom);
            }
        }
        if norms.len() == NORMS {
            norms.remove(0);
        }
        norms.push(watched.gradient_norm());
        *last = Some(watched.clone());
        Ok(Some(watched))
    }

    /// Where NaN and infinities are looked for, says which op of the step that was run gave one.
    fn check_numerics(&mut self, was_watched: bool) -> Result<()> {
        if !self.trainer.checks_numerics {
            return Ok(());
        }
        let at = (self.progress.epochs + 1, self.progress.step + 1);
        let is_full = self.full.as_ref().is_some_and(|full| self.progress.step < full.batches);
        let ran = match (&mut self.watched, &mut self.full, &mut self.short) {
            (Some(watched), ..) if was_watched => Some(&mut watched.step),
            (_, Some(full), _) if is_full => Some(&mut full.step),
            (_, _, short) => short.as_mut().map(|(step, _)| step),
        };
        match ran.map_or(Ok(()), Step::check_numerics) {
            Err(Error::Numerics(mut error)) => {
                error.step = Some(at);
                Err(Error::Numerics(error))
            }
            result => result,
        }
    }

    /// One step with this learning rate, and the mean loss of its batch, waited for. Begins an epoch where one is due.
    pub(in crate::train) fn step_at(&mut self, rate: f32, began: Instant) -> Result<f64> {
        if self.progress.step == self.steps {
            (self.progress.epochs, self.progress.step) = (self.progress.epochs + 1, 0);
        }
        if self.progress.step == 0 {
            self.begin_epoch()?;
        }
        let device = &self.trainer.device;
        device.write_param(&self.trainer.optimizer.lr_state(), &[rate])?;
        device.write_param(&self.sums.loss, &[0.0])?;
        let is_full = self.full.as_ref().is_some_and(|full| self.progress.step < full.batches);
        let rows = match &self.short {
            Some((_, rows)) if !is_full => *rows,
            _ => self.trainer.batch,
        };
        self.step(began)?;
        self.submit_pending()?;
        self.progress.step += 1;
        let targets = rows * self.trainer.split.train.targets.places();
        Ok(f64::from(self.read_state(&self.sums.loss)?) / targets as f64)
    }

    /// Submits the steps that were put off.
    pub(super) fn submit_pending(&mut self) -> Result<()> {
        let steps = std::mem::take(&mut self.pending);
        match &mut self.full {
            Some(full) if steps > 0 => full.step.run_many(steps),
            _ => Ok(()),
        }
    }
}
