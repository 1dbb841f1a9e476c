//! The files of a run: weights, and everything that training needs to go on.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use safetensors::SafeTensors;

use super::EpochRecord;
use super::saved::{EPOCHS, KEPT, epochs};
use super::task::LOSS;
use crate::device::Device;
use crate::device::checkpoint::{read, write};
use crate::error::{Error, Result};
use crate::graph::Param;
use crate::tensor::Tensor;

/// Before the names of the best weights in a checkpoint; the current ones have no prefix.
const BEST: &str = "best.";

/// Names the layout of a checkpoint's metadata.
const FORMAT: &str = "wgrad-checkpoint-1";

// Keys that are older than the names of what they hold.
const BEST_WATCHED: &str = "lowest_loss";
const SINCE_BEST: &str = "since_lowest";

const BEST_EPOCH: &str = "best_epoch";

/// The key of what the best weights were chosen by. None is like [`BEST_EPOCH`], whatever a metric is called.
fn best_score(name: &str) -> String {
    if name == "epoch" { "best_epoch.score".into() } else { format!("best_{name}") }
}

/// Refuses states whose names are those that a checkpoint gives the best weights.
pub(super) fn check_names(states: &[Param]) -> Result<()> {
    match states.iter().find(|state| state.name().starts_with(BEST)) {
        Some(state) => Err(Error::Invalid(format!(
            "a checkpoint keeps the best weights under names that begin with `{BEST}`, as `{}` does; give its layer \
             another path",
            state.name()
        ))),
        None => Ok(()),
    }
}

/// Values of states, read from the device.
pub(super) type Snapshot = Vec<(Param, Tensor)>;

pub(super) fn snapshot(device: &Device, params: &[Param]) -> Result<Snapshot> {
    params.iter().map(|p| Ok((p.clone(), device.read_param(p)?))).collect()
}

pub(super) fn restore(device: &Device, snapshot: &Snapshot) -> Result<()> {
    snapshot.iter().try_for_each(|(param, tensor)| device.write_param(param, tensor))
}

/// The weights that did best so far, and how well.
#[derive(Debug, Clone)]
pub(super) struct Best {
    /// From 1.
    pub(super) epoch: usize,
    /// What they were chosen by.
    pub(super) score: f64,
    pub(super) weights: Snapshot,
}

/// Where training stands, apart from the states.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Progress {
    /// Epochs that are finished.
    pub(super) epochs: usize,
    /// Steps done in the epoch after those.
    pub(super) step: usize,
    /// Sums over these steps: of the losses, and those of the metrics by name.
    pub(super) loss: f32,
    pub(super) sums: Vec<(String, Vec<f32>)>,
    /// The best number of the validation so far that patience looks at, negated where more is better, and the epochs
    /// done since.
    pub(super) best_watched: f64,
    pub(super) since_best: usize,
    /// What the order of the rows and the steps depend on.
    pub(super) seed: u64,
    pub(super) batch: usize,
    pub(super) rows: usize,
}

/// By what a run chooses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice<'a> {
    /// Its weights.
    pub(super) best: &'a str,
    /// Its end.
    pub(super) patience: &'a str,
}

/// What a checkpoint keeps of a run, apart from tensors.
#[derive(Debug)]
pub(super) struct RunState<'a> {
    pub(super) progress: &'a Progress,
    pub(super) optimizer: &'a str,
    pub(super) choice: Choice<'a>,
    /// Its epochs so far.
    pub(super) records: &'a [EpochRecord],
    pub(super) metadata: &'a Metadata,
}

/// What the sum of a metric is called in a file: as versions did that knew accuracy alone.
fn sum_key(name: &str) -> String {
    if name == "accuracy.0" { "correct".into() } else { format!("sum.{name}") }
}

/// A checkpoint, its states left out: the device loads them.
#[derive(Debug)]
pub(super) struct Checkpoint {
    pub(super) progress: Progress,
    pub(super) best: Option<Best>,
    /// The epochs that were done; nothing of files of earlier versions.
    pub(super) records: Vec<EpochRecord>,
    /// Name of the optimizer; not known of files of earlier versions.
    pub(super) optimizer: Option<String>,
    /// Of all tensors in the file.
    pub(super) names: Vec<String>,
}

/// What the user of a trainer keeps in its files.
pub(super) type Metadata = BTreeMap<String, String>;

fn kept(metadata: &Metadata) -> impl Iterator<Item = (String, String)> {
    metadata.iter().map(|(key, text)| (format!("{KEPT}{key}"), text.clone()))
}

/// Saves weights alone, under PyTorch's names.
pub(super) fn save_model<'t>(
    path: &Path,
    weights: impl IntoIterator<Item = (&'t Param, &'t Tensor)>,
    metadata: &Metadata,
) -> Result<()> {
    let tensors = weights.into_iter().map(|(param, tensor)| (param.name().to_string(), tensor));
    write(path, tensors, Some(kept(metadata).chain([("format".into(), "pt".into())]).collect()))
}

impl Checkpoint {
    /// Saves where training stands, the current states and the best weights. They may share a name, so the best get a
    /// prefix.
    pub(super) fn save(
        path: &Path,
        run: &RunState<'_>,
        states: &Snapshot,
        best: Option<&Best>,
    ) -> Result<()> {
        let &RunState { progress, optimizer, choice, records, metadata } = run;
        let Progress { epochs, step, loss, sums, best_watched, since_best, seed, batch, rows } = progress;
        let mut metadata: HashMap<String, String> = kept(metadata).collect();
        let records = serde_json::to_string(records).map_err(|e| Error::io(path, e))?;
        let mut put = |key: &str, value: &dyn Display| metadata.insert(key.to_string(), value.to_string());
        put("wgrad", &FORMAT);
        put(EPOCHS, &records);
        put("epochs", epochs);
        put("step", step);
        put("loss", loss);
        for (name, sum) in sums {
            let numbers: Vec<String> = sum.iter().map(ToString::to_string).collect();
            put(&sum_key(name), &numbers.join(" "));
        }
        put(BEST_WATCHED, best_watched);
        put(SINCE_BEST, since_best);
        put("seed", seed);
        put("batch", batch);
        put("rows", rows);
        put("optimizer", &optimizer);
        put("patience_by", &choice.patience);
        let mut tensors: Vec<(String, &Tensor)> =
            states.iter().map(|(p, t)| (p.name().to_string(), t)).collect();
        if let Some(best) = best {
            put(BEST_EPOCH, &best.epoch);
            put(&best_score(choice.best), &best.score);
            tensors.extend(best.weights.iter().map(|(p, t)| (format!("{BEST}{}", p.name()), t)));
        }
        write(path, tensors, Some(metadata))
    }

    /// Reads where a run stood. `weights` are the parameters that the best weights are of, if these are wanted; `sums` are
    /// those of the metrics, and how many numbers each has.
    pub(super) fn load(
        path: &Path,
        weights: Option<&[Param]>,
        choice: Choice<'_>,
        sums: &[(String, usize)],
    ) -> Result<Self> {
        let content = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let format = |message: String| Error::Format { path: path.into(), offset: 0, message };
        let (_, header) = SafeTensors::read_metadata(&content)
            .map_err(|e| format(format!("not a safetensors file: {e}")))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        if metadata.get("wgrad").is_none_or(|f| f != FORMAT) {
            return Err(Error::Invalid(format!(
                "{} holds no training to go on with; resume from the `checkpoint.safetensors` of a run",
                path.display()
            )));
        }
        let fields = Fields { path, metadata: &metadata };
        let step = fields.get("step")?;
        // Versions without it looked at the loss.
        let by = metadata.get("patience_by").map_or(LOSS, String::as_str);
        let is_same = by == choice.patience;
        let progress = Progress {
            epochs: fields.get("epochs")?,
            step,
            loss: fields.get("loss")?,
            sums: fields.sums(sums, step > 0)?,
            best_watched: if is_same { fields.get(BEST_WATCHED)? } else { f64::INFINITY },
            since_best: if is_same { fields.get(SINCE_BEST)? } else { 0 },
            seed: fields.get("seed")?,
            batch: fields.get("batch")?,
            rows: fields.get("rows")?,
        };
        if !(progress.loss.is_finite()
            && progress.sums.iter().flat_map(|(_, sum)| sum).all(|x| x.is_finite()))
        {
            return Err(Error::Invalid(format!(
                "{} was saved in the middle of an epoch whose losses add up to {}: its run diverged; resume from an \
                 earlier file, or start another run with a lower learning rate",
                path.display(),
                progress.loss
            )));
        }
        let mut best = None;
        if let Some(weights) = weights.filter(|_| metadata.contains_key(BEST_EPOCH)) {
            let file = SafeTensors::deserialize(&content)
                .map_err(|e| format(format!("not a safetensors file: {e}")))?;
            let weight = |param: &Param| {
                let ty = param.tensor_type();
                let values = read(&file, &format!("{BEST}{}", param.name()), param, path)?;
                Ok((param.clone(), Tensor::new(ty.shape, values)?))
            };
            let key = best_score(choice.best);
            if !metadata.contains_key(&key) {
                return Err(Error::Invalid(format!(
                    "{} keeps weights that were not chosen by `{}`; go on with what chose them, or start another run",
                    path.display(),
                    choice.best
                )));
            }
            best = Some(Best {
                epoch: fields.get(BEST_EPOCH)?,
                score: fields.get(&key)?,
                weights: weights.iter().map(weight).collect::<Result<_>>()?,
            });
        }
        let names = header.tensors().into_keys().collect();
        let records = epochs(&metadata, path)?;
        let fault = fault(&progress, best.as_ref(), &records);
        if let Some(fault) = fault {
            return Err(format(format!("its metadata contradicts itself: {fault}")));
        }
        Ok(Checkpoint { progress, best, records, optimizer: metadata.get("optimizer").cloned(), names })
    }
}

/// What no run could have written, in words.
fn fault(progress: &Progress, best: Option<&Best>, records: &[EpochRecord]) -> Option<String> {
    let Progress { epochs, since_best, best_watched, .. } = *progress;
    if u32::try_from(epochs).is_err() {
        return Some(format!("{epochs} epochs"));
    }
    if since_best > epochs || best_watched.is_nan() {
        return Some(format!("{since_best} epochs of {epochs} since the best number, {best_watched}"));
    }
    if let Some(best) = best.filter(|best| !(1..=epochs).contains(&best.epoch)) {
        return Some(format!("the best of {epochs} epochs is number {}", best.epoch));
    }
    // A run that went on from a file of an earlier version knows its own epochs alone.
    let first = epochs.checked_sub(records.len());
    let is_row = first.is_some_and(|first| records.iter().zip(first + 1..).all(|(r, n)| r.epoch == n));
    (!is_row).then(|| format!("records of {} epochs, and {epochs} are done", records.len()))
}

/// Numbers among a file's metadata.
struct Fields<'a> {
    path: &'a Path,
    metadata: &'a HashMap<String, String>,
}

impl Fields<'_> {
    /// The sums of metrics, each of so many numbers: zeros at the start of an epoch, whatever the file has.
    fn sums(&self, wanted: &[(String, usize)], is_needed: bool) -> Result<Vec<(String, Vec<f32>)>> {
        let read = |(name, len): &(String, usize)| {
            if !is_needed {
                return Ok((name.clone(), vec![0.0; *len]));
            }
            let text: String = self.get(&sum_key(name)).map_err(|_| {
                Error::Invalid(format!(
                    "{} was saved in the middle of an epoch by a run that did not measure `{}`; go on with what it \
                     measured",
                    self.path.display(),
                    name.rsplit_once('.').map_or(name.as_str(), |(metric, _)| metric)
                ))
            })?;
            let numbers = text.split(' ').map(str::parse).collect::<Result<Vec<f32>, _>>();
            match numbers {
                Ok(numbers) if numbers.len() == *len => Ok((name.clone(), numbers)),
                _ => Err(Error::Format {
                    path: PathBuf::from(self.path),
                    offset: 0,
                    message: format!("metadata `{}` is not {len} numbers", sum_key(name)),
                }),
            }
        };
        wanted.iter().map(read).collect()
    }

    fn get<T: FromStr>(&self, key: &str) -> Result<T> {
        let value = self.metadata.get(key);
        value.and_then(|v| v.parse().ok()).ok_or_else(|| Error::Format {
            path: PathBuf::from(self.path),
            offset: 0,
            message: match value {
                Some(value) => format!("metadata `{key}` is `{value}`, which is out of range"),
                None => format!("there is no metadata `{key}`"),
            },
        })
    }
}
