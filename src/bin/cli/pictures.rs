//! The pictures that a run leaves in its folder.

use std::path::{Path, PathBuf};

#[cfg(feature = "plots")]
use wgrad::data::Targets;
use wgrad::data::{Dataset, TablePreprocessor};
use wgrad::nn::Layer;
#[cfg(feature = "plots")]
use wgrad::plots::{self, Mistake};
use wgrad::train::EpochRecord;
#[cfg(feature = "plots")]
use wgrad::train::Predictor;
use wgrad::{Device, Params};

use super::Outcome;

/// Images of mistakes.
#[cfg(feature = "plots")]
const MISTAKES: usize = 24;

/// What pictures are of.
pub(super) struct Subject<'a> {
    pub(super) test: &'a Dataset,
    /// What numbers of a table go through, if such are predicted.
    pub(super) regression: Option<&'a TablePreprocessor>,
}

/// Draws `curves.svg`; `confusion.svg` and, of images, `mistakes.svg` and `filters.svg`, or, of a regression,
/// `predicted.svg` and `residuals.svg` into a run's folder, of the weights that are on the device: the files' paths. What
/// there is nothing to draw of is left out, and an earlier run's picture of it removed, but for the curves where `epochs`
/// does not tell of all.
#[cfg(feature = "plots")]
pub(super) fn write(
    out: &Path,
    device: &Device,
    model: &dyn Layer,
    params: &Params,
    subject: &Subject<'_>,
    epochs: Option<&[EpochRecord]>,
    kept: Option<usize>,
) -> Outcome<Vec<PathBuf>> {
    let &Subject { test, regression } = subject;
    let is_text = matches!(test.targets, Targets::Sequences { .. });
    let mut files = Vec::new();
    let mut put = |file: &str, svg: Option<String>| -> Outcome {
        let path = out.join(file);
        match svg {
            Some(svg) => {
                plots::save(&path, &svg)?;
                files.push(path);
            }
            None => {
                let _ = std::fs::remove_file(path);
            }
        }
        Ok(())
    };
    match epochs {
        Some([]) => put("curves.svg", None)?,
        Some(epochs) => {
            let (loss, metric) = match regression {
                Some(_) => ("squared", "r2"),
                None if is_text => ("cross-entropy", "bits"),
                None => ("cross-entropy", "accuracy"),
            };
            put("curves.svg", Some(plots::curves(epochs, kept, loss, metric)?))?;
        }
        None => {}
    }
    if is_text {
        for file in ["predicted.svg", "residuals.svg", "confusion.svg", "mistakes.svg", "filters.svg"] {
            put(file, None)?;
        }
        return Ok(files);
    }
    let mut predictor = Predictor::new(device, model, test.shape())?;
    if let Some(fitted) = regression {
        let made = predictor.outputs_of(test)?;
        let truth = |row: usize| test.target(row).and_then(|target| target.first().copied());
        let pairs = made.as_f32().iter().enumerate().filter_map(|(row, &predicted)| {
            Some((fitted.target_value(truth(row)?.into()), fitted.target_value(predicted.into())))
        });
        let pairs: Vec<(f64, f64)> = pairs.collect();
        put("predicted.svg", Some(plots::predicted(&pairs, fitted.target())?))?;
        put("residuals.svg", Some(plots::residuals(&pairs, fitted.target())?))?;
        for file in ["confusion.svg", "mistakes.svg", "filters.svg"] {
            put(file, None)?;
        }
        return Ok(files);
    }
    put("predicted.svg", None)?;
    put("residuals.svg", None)?;
    let names = test.class_names();

    let predictions = predictor.predict_dataset(test)?;
    let confusion = match test.classes() > plots::MOST_CLASSES {
        true => None,
        false => Some(plots::confusion(&predictions.confusion(test.labels())?, names)?),
    };
    put("confusion.svg", confusion)?;
    let is_image = matches!(test.shape()[..], [_, h, w] if h > 1 && w > 1);
    let mistakes = match is_image {
        false => None,
        true => {
            let wrong = predictions.mistakes(test.labels())?;
            let list: Vec<Mistake> = wrong
                .into_iter()
                .take(MISTAKES)
                .map(|(row, _)| {
                    let (class, taken_for) = (test.labels()[row] as usize, predictions.class(row));
                    Mistake {
                        row,
                        values: test.row(row).unwrap_or_default(),
                        class,
                        probability: predictions.probability(row, class),
                        taken_for,
                        taken_for_probability: predictions.probability(row, taken_for),
                    }
                })
                .collect();
            Some(plots::mistakes(test.shape(), &list, names)?)
        }
    };
    put("mistakes.svg", mistakes)?;
    put("filters.svg", filters(device, params, test.shape())?)?;
    Ok(files)
}

/// Without the feature `plots` there are no pictures.
#[cfg(not(feature = "plots"))]
pub(super) fn write(
    _: &Path,
    _: &Device,
    _: &dyn Layer,
    _: &Params,
    _: &Subject<'_>,
    _: Option<&[EpochRecord]>,
    _: Option<usize>,
) -> Outcome<Vec<PathBuf>> {
    Ok(Vec::new())
}

/// The first layer's weights, if they look at images: those of a convolution, or of a linear layer whose inputs are the
/// pixels.
#[cfg(feature = "plots")]
fn filters(device: &Device, params: &Params, shape: &[usize]) -> Outcome<Option<String>> {
    let &[channels, h, w] = shape else { return Ok(None) };
    for param in params.trainable() {
        let shape = match *param.shape().dims() {
            [o, i, kh, kw] if i == channels && kh * kw > 1 => [o, i, kh, kw],
            [o, i] if i == channels * h * w && h > 1 && w > 1 => [o, channels, h, w],
            // A bias, or the scale of a normalization of the input.
            [_] => continue,
            _ => return Ok(None),
        };
        return Ok(Some(plots::filters(device.read_param(&param)?.as_f32(), shape)?));
    }
    Ok(None)
}
