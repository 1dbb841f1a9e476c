//! Shows a run as it goes, and writes it down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wgrad::train::{EpochRecord, Observer};

use super::Outcome;
use super::progress::Progress;

/// Short epochs are written down together.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// Shows a run, and writes down its epochs: not before there is a model, as what lies there until then is that of an
/// earlier run, with the files beside it.
pub(super) struct Watch<'a> {
    pub(super) progress: Progress,
    /// Those before a resume, and those since.
    pub(super) epochs: Vec<EpochRecord>,
    pub(super) write: &'a dyn Fn(&[EpochRecord]) -> Outcome,
    /// When it was done last, as often as the checkpoint.
    pub(super) written: Option<Instant>,
    /// What came of it.
    pub(super) outcome: Outcome,
    /// Ends a run that could not write.
    pub(super) stop: Arc<AtomicBool>,
}

impl Observer for Watch<'_> {
    fn on_start(&mut self, step: usize, of: usize) {
        self.progress.on_start(step, of);
    }

    fn on_step(&mut self, step: usize, of: usize) {
        self.progress.on_step(step, of);
    }

    fn on_epoch(&mut self, record: &EpochRecord) {
        self.progress.on_epoch(record);
        self.epochs.push(record.clone());
        if self.outcome.is_ok() && self.written.is_none_or(|at| at.elapsed() >= WRITE_EVERY) {
            self.outcome = (self.write)(&self.epochs);
            self.written = Some(Instant::now());
            if self.outcome.is_err() {
                self.stop.store(true, Ordering::Relaxed);
            }
        }
    }
}
