//! What the files of a run say of it: `run.json`, its settings, epochs and what came of it, and the metadata of its model
//! and checkpoint.

use std::path::Path;

use serde_json::{Map, Value, json};
use wgrad::data::{TablePreprocessor, Vocabulary};
use wgrad::train::{EpochRecord, SavedRun, Scores};

use super::{Failure, Outcome};

/// Name of the file in a run's folder.
pub(super) const NAME: &str = "run.json";

/// Name of the file in a run's folder that says how rows of a table become numbers.
pub(super) const PREPROCESSING_FILE: &str = "preprocessing.json";

/// Writes the file, by way of a temporary one, so that a crash leaves the old.
pub(super) fn write(folder: &Path, value: &Value) -> Outcome {
    let path = folder.join(NAME);
    let text =
        serde_json::to_vec_pretty(value).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
    Ok(wgrad::write_renamed(&path, &text)?)
}

/// Keys of what a model and a checkpoint keep of their run in their metadata: the files in a folder are written one after
/// another, so that those beside them may be of another run.
pub(super) const SETTINGS: &str = "settings";
pub(super) const PREPROCESSING: &str = "preprocessing";
pub(super) const VOCABULARY: &str = "vocabulary";

/// What a model or checkpoint says of its run.
pub(super) struct Origin {
    /// Null where nothing is known.
    pub(super) settings: Value,
    /// What rows of a table go through before the model.
    pub(super) preprocessor: Option<TablePreprocessor>,
    /// What the numbers of a text stand for, if the model is for one.
    pub(super) vocabulary: Option<Vocabulary>,
    /// The epochs that were done.
    pub(super) epochs: Vec<EpochRecord>,
}

impl Origin {
    /// Of files from elsewhere, and of earlier versions, the files beside them are believed.
    pub(super) fn of(path: &Path) -> Outcome<Self> {
        let saved = SavedRun::read(path)?;
        let Some(settings) = saved.metadata.get(SETTINGS) else {
            let folder = match path.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder,
                _ => Path::new("."),
            };
            let file = read(folder)?.unwrap_or_default();
            let beside = folder.join(PREPROCESSING_FILE);
            let preprocessor = if beside.exists() { Some(TablePreprocessor::load(beside)?) } else { None };
            return Ok(Origin {
                settings: file["settings"].clone(),
                preprocessor,
                vocabulary: None,
                epochs: epochs(&file),
            });
        };
        let settings = serde_json::from_str(settings)
            .map_err(|e| Failure::new(format!("{}: its settings are no JSON: {e}", path.display())))?;
        let preprocessing = saved.metadata.get(PREPROCESSING);
        let preprocessor =
            preprocessing.map(|text| TablePreprocessor::from_json(text.as_bytes(), path)).transpose()?;
        let vocabulary = match saved.metadata.get(VOCABULARY) {
            Some(text) => Some(
                serde_json::from_str(text)
                    .map_err(|e| Failure::new(format!("{}: its vocabulary is none: {e}", path.display())))?,
            ),
            None => None,
        };
        Ok(Origin { settings, preprocessor, vocabulary, epochs: saved.epochs })
    }
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

/// Numbers by name: `test_loss`, `test_accuracy`.
pub(super) fn put_scores(to: &mut Map<String, Value>, of: &str, scores: &Scores) {
    to.insert(format!("{of}_loss"), json!(scores.loss));
    for (name, value) in &scores.metrics {
        to.insert(format!("{of}_{name}"), json!(value));
    }
}

/// An epoch, as `run.json` keeps it and `--json` prints it.
pub(super) fn epoch(r: &EpochRecord) -> Value {
    let mut all = Map::new();
    put_scores(&mut all, "train", &r.train);
    match &r.validation {
        Some(scores) => put_scores(&mut all, "validation", scores),
        // What would be there is none.
        None => r.train.metrics.iter().map(|(name, _)| name.as_str()).chain(["loss"]).for_each(|name| {
            all.insert(format!("validation_{name}"), Value::Null);
        }),
    }
    let others = json!({
        "epoch": r.epoch,
        "epochs": r.epochs,
        "is_best": r.is_best,
        "samples_per_second": r.samples_per_second,
        "seconds": r.seconds,
    });
    all.extend(others.as_object().cloned().unwrap_or_default());
    if let Some(layers) = &r.watched {
        all.insert("watched".into(), json!(layers));
    }
    all.into()
}

/// The numbers that an epoch has under names like `train_accuracy`; `None` without a loss.
fn scores(epoch: &Value, of: &str) -> Option<Scores> {
    let named = epoch.as_object()?.iter().filter_map(|(key, value)| {
        let name = key.strip_prefix(of)?.strip_prefix('_').filter(|name| *name != "loss")?;
        Some((name.to_string(), value.as_f64()?))
    });
    Some(Scores { loss: epoch[format!("{of}_loss")].as_f64()?, metrics: named.collect() })
}

/// The epochs that the content of a `run.json` tells of: none where an earlier version wrote it.
fn epochs(file: &Value) -> Vec<EpochRecord> {
    let read = |r: &Value| {
        let count = |key: &str| r[key].as_u64().and_then(|n| usize::try_from(n).ok());
        Some(EpochRecord {
            epoch: count("epoch").filter(|&n| n > 0)?,
            epochs: count("epochs")?,
            train: scores(r, "train")?,
            validation: scores(r, "validation"),
            is_best: r["is_best"].as_bool().unwrap_or(false),
            samples_per_second: r["samples_per_second"].as_f64().unwrap_or(0.0),
            seconds: r["seconds"].as_f64().unwrap_or(0.0),
            watched: serde_json::from_value(r["watched"].clone()).ok(),
        })
    };
    file["epochs"].as_array().map(|list| list.iter().filter_map(read).collect()).unwrap_or_default()
}
