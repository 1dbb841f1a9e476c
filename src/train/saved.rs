//! What the files of a run say of it, besides its states.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::EpochRecord;
use crate::device::checkpoint::metadata;
use crate::error::{Error, Result};

/// Before the keys of what [`Trainer::metadata`](super::Trainer::metadata) keeps.
pub(super) const KEPT: &str = "user.";

/// The key of the epochs in a checkpoint.
pub(super) const EPOCHS: &str = "records";

/// What a `model.safetensors` or `checkpoint.safetensors` says of the run that wrote it.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct SavedRun {
    /// What [`Trainer::metadata`](super::Trainer::metadata) was given, by key; nothing of files from elsewhere.
    pub metadata: BTreeMap<String, String>,
    /// Of a checkpoint, the epochs that the run had finished; nothing where an earlier version wrote it.
    pub epochs: Vec<EpochRecord>,
}

impl SavedRun {
    /// Reads the header of a file, and no tensor.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Format`] for a file that does not begin as a safetensors file.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let all = metadata(path)?;
        let epochs = epochs(&all, path)?;
        let kept = |(key, text): (String, String)| Some((key.strip_prefix(KEPT)?.to_string(), text));
        Ok(SavedRun { metadata: all.into_iter().filter_map(kept).collect(), epochs })
    }
}

/// The epochs in the metadata of a checkpoint.
pub(super) fn epochs(metadata: &HashMap<String, String>, path: &Path) -> Result<Vec<EpochRecord>> {
    let Some(text) = metadata.get(EPOCHS) else { return Ok(Vec::new()) };
    serde_json::from_str(text).map_err(|e| Error::Format {
        path: path.into(),
        offset: 0,
        message: format!("metadata `{EPOCHS}` holds no epochs: {e}"),
    })
}

/// JSON has no NaN, as R² of targets that are all one, and no infinity: they are `null`, `"inf"` and `"-inf"`.
pub(super) mod numbers {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Number {
        Finite(f64),
        Infinite(Infinity),
        Nan(()),
    }

    #[derive(Serialize, Deserialize)]
    enum Infinity {
        #[serde(rename = "inf")]
        Plus,
        #[serde(rename = "-inf")]
        Minus,
    }

    pub(crate) fn serialize<S: Serializer>(all: &[(String, f64)], to: S) -> Result<S::Ok, S::Error> {
        let number = |value: f64| match value {
            f64::INFINITY => Number::Infinite(Infinity::Plus),
            f64::NEG_INFINITY => Number::Infinite(Infinity::Minus),
            value if value.is_nan() => Number::Nan(()),
            value => Number::Finite(value),
        };
        all.iter().map(|(name, value)| (name, number(*value))).collect::<Vec<_>>().serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(String, f64)>, D::Error> {
        let value = |number: Number| match number {
            Number::Finite(value) => value,
            Number::Infinite(Infinity::Plus) => f64::INFINITY,
            Number::Infinite(Infinity::Minus) => f64::NEG_INFINITY,
            Number::Nan(()) => f64::NAN,
        };
        let all = Vec::<(String, Number)>::deserialize(from)?;
        Ok(all.into_iter().map(|(name, number)| (name, value(number))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{Scores, Watched, WatchedLayer};

    #[test]
    fn epochs_are_kept_to_the_bit_and_nan_stays_nan() {
        let scores =
            |r2: f64| Scores { loss: 0.1 + 0.2, metrics: vec![("r2".into(), r2), ("mae".into(), 1e-300)] };
        let infinite = Scores {
            loss: 1.0,
            metrics: [f64::INFINITY, f64::NEG_INFINITY].map(|x| ("m".into(), x)).to_vec(),
        };
        let text = serde_json::to_string(&infinite).unwrap();
        assert_eq!(serde_json::from_str::<Scores>(&text).unwrap(), infinite, "{text}");
        let record = EpochRecord {
            epoch: 3,
            epochs: 7,
            train: scores(f64::NAN),
            validation: Some(scores(0.5)),
            is_best: true,
            samples_per_second: 1234.5,
            seconds: 0.25,
            watched: Some(Watched {
                epoch: 3,
                step: 100,
                layers: vec![WatchedLayer {
                    name: "mlp.fc1".into(),
                    weight_norm: 1e-300,
                    gradient_norm: 0.1 + 0.2,
                    update_ratio: 0.0,
                    activation_rms: 1.0,
                    dead_share: Some(0.25),
                }],
            }),
        };
        let text = serde_json::to_string(&[&record]).unwrap();
        let read: Vec<EpochRecord> = serde_json::from_str(&text).unwrap();
        assert!(read[0].train.metrics[0].1.is_nan());
        let without = |r: &EpochRecord| EpochRecord { train: Scores::default(), ..r.clone() };
        assert_eq!((read.len(), without(&read[0])), (1, without(&record)));
        assert_eq!(read[0].train.metrics[1], record.train.metrics[1]);
        assert_eq!(read[0].train.loss.to_bits(), record.train.loss.to_bits());
    }
}
