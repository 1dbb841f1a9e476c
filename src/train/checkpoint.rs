//! The files of a run: weights, and everything that training needs to go on.

use std::collections::HashMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use crate::device::Device;
use crate::device::checkpoint::{bytes, dtype, read};
use crate::error::{Error, Result};
use crate::files::write_renamed;
use crate::graph::Param;
use crate::tensor::Tensor;

/// Before the names of the best weights in a checkpoint; the current ones have no prefix.
const BEST: &str = "best.";

/// Names the layout of a checkpoint's metadata.
const FORMAT: &str = "wgrad-checkpoint-1";

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
    pub(super) accuracy: f64,
    pub(super) loss: f64,
    pub(super) weights: Snapshot,
}

/// Where training stands, apart from the states.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Progress {
    /// Epochs that are finished.
    pub(super) epochs: usize,
    /// Steps done in the epoch after those.
    pub(super) step: usize,
    /// Sums over these steps.
    pub(super) loss: f32,
    pub(super) correct: f32,
    /// The lowest validation loss so far, and the epochs done since.
    pub(super) lowest_loss: f64,
    pub(super) since_lowest: usize,
    /// What the order of the rows and the steps depend on.
    pub(super) seed: u64,
    pub(super) batch: usize,
    pub(super) rows: usize,
}

/// A checkpoint, its states left out: the device loads them.
#[derive(Debug)]
pub(super) struct Checkpoint {
    pub(super) progress: Progress,
    pub(super) best: Option<Best>,
    /// Name of the optimizer; not known of files of earlier versions.
    pub(super) optimizer: Option<String>,
    /// Of all tensors in the file.
    pub(super) names: Vec<String>,
}

fn write(path: &Path, tensors: &[(String, &Tensor)], metadata: HashMap<String, String>) -> Result<()> {
    let mut views = Vec::new();
    for (name, tensor) in tensors {
        let dims = tensor.shape().dims().to_vec();
        let view = TensorView::new(dtype(tensor.tensor_type().dtype), dims, bytes(tensor.data()));
        views.push((name.as_str(), view.map_err(|e| Error::io(path, e))?));
    }
    let content = safetensors::serialize(views, Some(metadata)).map_err(|e| Error::io(path, e))?;
    write_renamed(path, &content)?;
    tracing::debug!(path = %path.display(), bytes = content.len(), "saved");
    Ok(())
}

/// Saves weights alone, under PyTorch's names.
pub(super) fn save_model(path: &Path, weights: &Snapshot) -> Result<()> {
    let tensors: Vec<(String, &Tensor)> = weights.iter().map(|(p, t)| (p.name().to_string(), t)).collect();
    write(path, &tensors, HashMap::from([("format".into(), "pt".into())]))
}

impl Checkpoint {
    /// Saves where training stands, the current states and the best weights. They may share a name, so the best get a
    /// prefix.
    pub(super) fn save(
        path: &Path,
        progress: &Progress,
        optimizer: &str,
        states: &Snapshot,
        best: Option<&Best>,
    ) -> Result<()> {
        let Progress { epochs, step, loss, correct, lowest_loss, since_lowest, seed, batch, rows } = progress;
        let mut metadata: HashMap<String, String> = HashMap::new();
        let mut put = |key: &str, value: &dyn Display| metadata.insert(key.to_string(), value.to_string());
        put("wgrad", &FORMAT);
        put("epochs", epochs);
        put("step", step);
        put("loss", loss);
        put("correct", correct);
        put("lowest_loss", lowest_loss);
        put("since_lowest", since_lowest);
        put("seed", seed);
        put("batch", batch);
        put("rows", rows);
        put("optimizer", &optimizer);
        let mut tensors: Vec<(String, &Tensor)> =
            states.iter().map(|(p, t)| (p.name().to_string(), t)).collect();
        if let Some(best) = best {
            put("best_epoch", &best.epoch);
            put("best_accuracy", &best.accuracy);
            put("best_loss", &best.loss);
            tensors.extend(best.weights.iter().map(|(p, t)| (format!("{BEST}{}", p.name()), t)));
        }
        write(path, &tensors, metadata)
    }

    /// Reads where a run stood. `weights` are the parameters that the best weights are of.
    pub(super) fn load(path: &Path, weights: &[Param]) -> Result<Self> {
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
        let progress = Progress {
            epochs: fields.get("epochs")?,
            step: fields.get("step")?,
            loss: fields.get("loss")?,
            correct: fields.get("correct")?,
            lowest_loss: fields.get("lowest_loss")?,
            since_lowest: fields.get("since_lowest")?,
            seed: fields.get("seed")?,
            batch: fields.get("batch")?,
            rows: fields.get("rows")?,
        };
        if !(progress.loss.is_finite() && progress.correct.is_finite()) {
            return Err(Error::Invalid(format!(
                "{} was saved in the middle of an epoch whose losses add up to {}: its run diverged; resume from an \
                 earlier file, or start another run with a lower learning rate",
                path.display(),
                progress.loss
            )));
        }
        let mut best = None;
        if metadata.contains_key("best_epoch") {
            let file = SafeTensors::deserialize(&content)
                .map_err(|e| format(format!("not a safetensors file: {e}")))?;
            let weight = |param: &Param| {
                let ty = param.tensor_type();
                let values = read(&file, &format!("{BEST}{}", param.name()), param, path)?;
                Ok((param.clone(), Tensor::new(ty.shape, values)?))
            };
            best = Some(Best {
                epoch: fields.get("best_epoch")?,
                accuracy: fields.get("best_accuracy")?,
                loss: fields.get("best_loss")?,
                weights: weights.iter().map(weight).collect::<Result<_>>()?,
            });
        }
        let names = header.tensors().into_keys().collect();
        Ok(Checkpoint { progress, best, optimizer: metadata.get("optimizer").cloned(), names })
    }
}

/// Numbers among a file's metadata.
struct Fields<'a> {
    path: &'a Path,
    metadata: &'a HashMap<String, String>,
}

impl Fields<'_> {
    fn get<T: FromStr>(&self, key: &str) -> Result<T> {
        let value = self.metadata.get(key);
        value.and_then(|v| v.parse().ok()).ok_or_else(|| Error::Format {
            path: PathBuf::from(self.path),
            offset: 0,
            message: match value {
                Some(value) => format!("metadata `{key}` is `{value}`, which is no number for it"),
                None => format!("there is no metadata `{key}`"),
            },
        })
    }
}
