//! What `wgrad train` says of a run: how it trains, how it ended, and its result as JSON.

use serde_json::{Value, json};
use wgrad::data::{Dataset, Split, TablePreprocessor, Text, TextParts};
use wgrad::nn::Summary;
use wgrad::train::{EpochRecord, TrainingReport};
use wgrad::{DeviceInfo, Precision};

use super::settings::Settings;
use super::text::units;
use super::{run_file, say, tested, thousands};

/// How a run trains, in one line.
pub(super) fn describe(settings: &Settings) -> String {
    let mut text = format!(
        "{} epochs, batches of {}, {} with rate {} ({}), weight decay {}, dropout {}",
        settings.epochs,
        settings.batch,
        settings.optimizer,
        settings.lr,
        settings.schedule,
        settings.weight_decay,
        settings.dropout,
    );
    text.push_str(&settings.network.describe());
    if let Some(loss) = &settings.loss.name {
        text.push_str(&format!(", loss {loss}"));
    }
    if settings.loss.smoothing > 0.0 {
        text.push_str(&format!(", labels smoothed by {}", settings.loss.smoothing));
    }
    if settings.loss.weights.is_some() {
        text.push_str(", classes weighted");
    }
    let augment = settings.augment.to_string();
    if augment != "none" {
        text.push_str(&format!(", images moved by {augment}"));
    }
    if settings.precision() == Precision::Mixed {
        text.push_str(", mixed precision");
    }
    if let Some(bytes) = settings.memory_budget {
        text.push_str(&format!(
            ", at most {} bytes for the intermediate values of a training step",
            thousands(bytes as f64)
        ));
    }
    if settings.warmup > 0 {
        text.push_str(&format!(", warm-up of {} epochs", settings.warmup));
    }
    if settings.accumulate > 1 {
        text.push_str(&format!(", gradients of {} steps together", settings.accumulate));
    }
    if settings.ema > 0.0 {
        text.push_str(&format!(", weights averaged by {}", settings.ema));
    }
    if settings.model.norm(&Value::Null).ok() != Some(settings.norm) {
        text.push_str(&format!(", normalization {}", settings.norm));
    }
    for (name, strength) in [("L1", settings.l1), ("L2", settings.l2)] {
        if strength > 0.0 {
            text.push_str(&format!(", {name} penalty {strength}"));
        }
    }
    if settings.clip_value > 0.0 {
        text.push_str(&format!(", elements of gradients clipped to {}", settings.clip_value));
    }
    if settings.clip_norm > 0.0 {
        text.push_str(&format!(", gradients clipped to {}", settings.clip_norm));
    }
    text + &format!(", seed {}", settings.seed)
}

/// How much there is to learn from, and what.
pub(super) fn describe_data(
    split: &Split,
    text: Option<&Text>,
    regression: Option<&TablePreprocessor>,
) -> String {
    let Split { train, validation, test } = split;
    if let Some(text) = text
        && let Ok(lengths) = text.parts(&TextParts::default())
    {
        let [train, validation, test] = lengths.map(|part| thousands(part.len() as f64));
        let (units, different) = (units(text.vocabulary().unit()), split.train.classes());
        let places = split.train.example_len();
        return format!(
            "{train} {units} to train on, {validation} to validate, {test} to test; windows of {places}, {different} different"
        );
    }
    let targets = match regression {
        Some(fitted) => format!("numbers `{}`", fitted.target()),
        None => format!("{} classes", train.classes()),
    };
    let shape = train.shape();
    let [train, validation, test] =
        [train, validation, test].map(|data: &Dataset| thousands(data.len() as f64));
    format!("{train} rows to train on, {validation} to validate, {test} to test; {shape:?}, {targets}")
}

pub(super) fn result(report: &TrainingReport, info: &DeviceInfo, summary: &Summary) -> Value {
    let mut all = json!({
        "best_epoch": report.best_epoch,
        "steps_after_epoch": report.steps_after_epoch,
        "train_seconds": report.train_seconds,
        "first_step_seconds": report.first_step_seconds,
        "steps": report.steps,
        "steps_per_second": report.steps_per_second,
        "planned_bytes": report.planned_bytes,
        "step_bytes": report.step_bytes,
        "stopped": report.stopped,
        "stopped_early": report.stopped_early,
        "parameters": summary.parameters,
        "adapter": info.name,
        "backend": info.backend,
        "driver": info.driver,
        "type": info.kind,
    });
    if let Some(all) = all.as_object_mut() {
        run_file::put_scores(all, "test", &report.test);
    }
    all
}

/// What `run.json` keeps: where no epoch was added, how fast the earlier ones went, and on what.
pub(super) fn kept_result(report: &TrainingReport, result: &Value, before: &Value) -> Value {
    let mut kept = result.clone();
    if report.epochs.is_empty() {
        for key in [
            "train_seconds",
            "first_step_seconds",
            "steps",
            "steps_per_second",
            "adapter",
            "backend",
            "driver",
            "type",
        ] {
            if let Some(value) = before.get(key) {
                kept[key] = value.clone();
            }
        }
    }
    kept
}

/// How many times the loss of the training rows that of the validation rows is, where that is much.
const GAP: f64 = 2.0;

/// What is between training and validation, by the epoch whose weights were kept, if it is much.
fn gap(report: &TrainingReport) -> Option<String> {
    let kept = report.epochs.iter().find(|r| Some(r.epoch) == report.best_epoch)?;
    let (train, validation) = (kept.train.loss, kept.validation.as_ref()?.loss);
    // Of losses that may be below 0 a ratio says nothing.
    (train > 0.0 && validation > GAP * train).then(|| {
        format!(
            "overfitting: the loss of the validation rows, {validation:.4}, is {:.1} times that of the training rows, {train:.4}; \
             more rows, --augment, --dropout, --weight-decay or a smaller model narrow the gap",
            validation / train
        )
    })
}

/// How a run ended, what it came to and what it took. `last` is its last epoch.
pub(super) fn say_end(report: &TrainingReport, settings: &Settings, last: Option<&EpochRecord>) {
    let no_better = format!("the validation loss was not lower than before for {} epochs", settings.patience);
    if report.stopped {
        say(match report.steps {
            0 => "stopped before the first step".into(),
            steps => format!(
                "stopped after {} steps; `--resume` with the same --out goes on",
                thousands(steps as f64)
            ),
        });
    } else if report.stopped_early && report.steps == 0 {
        say(format!(
            "nothing is left to train: {no_better}; give more with --patience, or start another run"
        ));
    } else if report.stopped_early {
        say(format!("ended early: {no_better}"));
    } else if report.steps == 0 {
        say(format!(
            "nothing is left to train: the run has done {} epochs; give more with --epochs, or start another run",
            last.map_or(settings.epochs as usize, |last| last.epoch)
        ));
    }
    let weights = match (report.best_epoch, report.steps_after_epoch) {
        (Some(epoch), 0) => format!(", with the weights of epoch {epoch}"),
        (Some(epoch), steps) => {
            format!(", with the weights of epoch {epoch} and {} steps of the next", thousands(steps as f64))
        }
        (None, _) => String::new(),
    };
    say(format!("\ntest {}{weights}", tested(&report.test)));
    if let Some(gap) = gap(report) {
        say(gap);
    }
    let mut figures = vec![format!("{:.2} s in all", report.train_seconds)];
    if report.steps > 0 {
        figures.push(format!("{:.2} s to the first step", report.first_step_seconds));
    }
    // Of a single step there is no rate.
    if report.steps_per_second > 0.0 {
        figures.push(format!("{} steps/s", thousands(report.steps_per_second)));
    }
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    figures.push(format!(
        "{:.1} MiB of intermediate values, {:.1} MiB of it in the training step",
        mib(report.planned_bytes),
        mib(report.step_bytes)
    ));
    say(figures.join(", "));
}
