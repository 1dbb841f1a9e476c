//! How training is shown: a bar on a terminal, lines elsewhere, or JSON.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use wgrad::train::{EpochRecord, Observer, Scores};

use super::{measured, run_file, say, thousands, watched};

/// Lines that a run without a bar prints at most, or nearly so.
const LINES: usize = 20;

/// A bar of `len` steps on stderr; nothing if that is no terminal.
pub(super) fn bar(len: usize, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(len as u64), ProgressDrawTarget::stderr());
    super::log::watch(&bar);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Shows a run.
pub(super) enum Progress {
    Bar(Option<ProgressBar>),
    Lines,
    Json,
}

impl Progress {
    pub(super) fn new(json: bool) -> Self {
        match (json, std::io::stderr().is_terminal() && std::io::stdout().is_terminal()) {
            (true, _) => Progress::Json,
            (false, true) => Progress::Bar(None),
            (false, false) => Progress::Lines,
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let Progress::Bar(Some(bar)) = self {
            bar.finish_and_clear();
        }
    }
}

/// The line of an epoch, and its layers where they were looked at.
fn lines(r: &EpochRecord) -> String {
    let layers = r.watched.as_ref().map(|layers| format!("\n{}", watched::table(layers)));
    format!("{}{}", line(r), layers.unwrap_or_default())
}

fn line(r: &EpochRecord) -> String {
    let width = r.epochs.to_string().len();
    let scores = |scores: &Scores| {
        let metric =
            scores.metrics.iter().find(|(name, _)| ["r2", "accuracy", "bits"].contains(&name.as_str()));
        let metric = metric.map(|(name, value)| format!(" {:>8}", measured(name, *value)));
        format!("{:.4}{}", scores.loss, metric.unwrap_or_default())
    };
    let validation = r.validation.as_ref().map(|v| format!("  validation {}", scores(v))).unwrap_or_default();
    let (epoch, epochs, train) = (r.epoch, r.epochs, scores(&r.train));
    let speed = thousands(r.samples_per_second);
    format!("epoch {epoch:>width$}/{epochs}  loss {train}{validation}  {speed} samples/s")
}

impl Observer for Progress {
    fn on_start(&mut self, step: usize, of: usize) {
        if let Progress::Bar(slot) = self {
            let bar = bar(of, "{msg}\n{wide_bar} {percent:>3} %  {eta} left");
            bar.set_position(step as u64);
            bar.reset_eta();
            bar.set_message("first epoch");
            bar.enable_steady_tick(Duration::from_millis(200));
            *slot = Some(bar);
        }
    }

    fn on_step(&mut self, step: usize, _: usize) {
        if let Progress::Bar(Some(bar)) = self {
            bar.set_position(step as u64);
        }
    }

    fn on_epoch(&mut self, r: &EpochRecord) {
        match self {
            Progress::Bar(bar) => {
                if let Some(bar) = bar {
                    bar.set_message(lines(r));
                }
            }
            Progress::Lines => {
                let every = r.epochs.div_ceil(LINES).max(1);
                if r.epoch == 1 || r.epoch == r.epochs || r.epoch.is_multiple_of(every) {
                    say(lines(r));
                }
            }
            Progress::Json => say(run_file::epoch(r)),
        }
    }
}
