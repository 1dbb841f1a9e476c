//! The files of a run: weights, and everything that training needs to go on.

use std::collections::HashMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::checkpoint::write_renamed;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::graph::Param;
use crate::shape::DType;
use crate::tensor::{Data, Tensor};

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
}

fn dtype(dtype: DType) -> Dtype {
    match dtype {
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::U32 => Dtype::U32,
        DType::U8 => Dtype::U8,
    }
}

fn bytes(data: &Data) -> &[u8] {
    match data {
        Data::F32(v) => bytemuck::cast_slice(v),
        Data::U32(v) => bytemuck::cast_slice(v),
        Data::U8(v) => v,
    }
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
    /// Saves the current states and the best weights. They may share a name, so the best get a prefix.
    pub(super) fn save(&self, path: &Path, states: &Snapshot) -> Result<()> {
        let Progress { epochs, step, loss, correct, lowest_loss, since_lowest, seed, batch, rows } =
            &self.progress;
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
        let mut tensors: Vec<(String, &Tensor)> =
            states.iter().map(|(p, t)| (p.name().to_string(), t)).collect();
        if let Some(best) = &self.best {
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
        let mut best = None;
        if metadata.contains_key("best_epoch") {
            let file = SafeTensors::deserialize(&content)
                .map_err(|e| format(format!("not a safetensors file: {e}")))?;
            let weight = |param: &Param| Ok((param.clone(), tensor(&file, param, path)?));
            best = Some(Best {
                epoch: fields.get("best_epoch")?,
                accuracy: fields.get("best_accuracy")?,
                loss: fields.get("best_loss")?,
                weights: weights.iter().map(weight).collect::<Result<_>>()?,
            });
        }
        Ok(Checkpoint { progress, best })
    }
}

/// The best value of a parameter.
fn tensor(file: &SafeTensors<'_>, param: &Param, path: &Path) -> Result<Tensor> {
    let name = format!("{BEST}{}", param.name());
    let ty = param.tensor_type();
    match file.tensor(&name) {
        Ok(view) if view.shape() == ty.shape.dims() && view.dtype() == dtype(ty.dtype) => {
            let words = || view.data().chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            let data = match ty.dtype {
                DType::F32 => Data::F32(words().map(f32::from_bits).collect()),
                DType::U32 => Data::U32(words().collect()),
                DType::U8 => Data::U8(view.data().to_vec()),
                DType::F16 => Data::F32(crate::half::decode(view.data(), ty.shape.elements())),
            };
            Tensor::new(ty.shape, data)
        }
        Ok(_) => Err(Error::Invalid(format!(
            "{}: `{name}` has another type or shape than the model's {ty}",
            path.display()
        ))),
        Err(_) => Err(Error::Invalid(format!("{} has no tensor `{name}` ({ty})", path.display()))),
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
