//! `run.json`: the settings of a run, its epochs and what came of it, beside its weights.

use std::path::Path;

use serde_json::{Value, json};
use wgrad::train::EpochRecord;

use super::{Failure, Outcome};

/// Name of the file in a run's folder.
pub(super) const NAME: &str = "run.json";

/// Writes the file, by way of a temporary one, so that a crash leaves the old.
pub(super) fn write(folder: &Path, value: &Value) -> Outcome {
    let path = folder.join(NAME);
    let text =
        serde_json::to_vec_pretty(value).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
    Ok(wgrad::write_renamed(&path, &text)?)
}

/// The settings of the run in a folder, if it has the file.
pub(super) fn settings(folder: &Path) -> Outcome<Option<Value>> {
    Ok(read(folder)?.and_then(|value| value.get("settings").cloned()))
}

/// What the file in a folder holds, if there is one.
pub(super) fn read(folder: &Path) -> Outcome<Option<Value>> {
    let path = folder.join(NAME);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Failure::new(format!("{}: {e}", path.display()))),
    };
    let value = serde_json::from_str(&text).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
    Ok(Some(value))
}

/// An epoch, as `run.json` keeps it and `--json` prints it.
pub(super) fn epoch(r: &EpochRecord) -> Value {
    json!({
        "epoch": r.epoch,
        "epochs": r.epochs,
        "train_loss": r.train_loss,
        "train_accuracy": r.train_accuracy,
        "validation_loss": r.validation_loss,
        "validation_accuracy": r.validation_accuracy,
        "is_best": r.is_best,
        "samples_per_second": r.samples_per_second,
        "seconds": r.seconds,
    })
}

/// The epochs that the content of a `run.json` tells of: none where an earlier version wrote it.
pub(super) fn epochs(file: &Value) -> Vec<EpochRecord> {
    let read = |r: &Value| {
        let count = |key: &str| r[key].as_u64().and_then(|n| usize::try_from(n).ok());
        Some(EpochRecord {
            epoch: count("epoch").filter(|&n| n > 0)?,
            epochs: count("epochs")?,
            train_loss: r["train_loss"].as_f64()?,
            train_accuracy: r["train_accuracy"].as_f64()?,
            validation_loss: r["validation_loss"].as_f64(),
            validation_accuracy: r["validation_accuracy"].as_f64(),
            is_best: r["is_best"].as_bool().unwrap_or(false),
            samples_per_second: r["samples_per_second"].as_f64().unwrap_or(0.0),
            seconds: r["seconds"].as_f64().unwrap_or(0.0),
        })
    };
    file["epochs"].as_array().map(|list| list.iter().filter_map(read).collect()).unwrap_or_default()
}
