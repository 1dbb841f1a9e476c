//! Data sets by name.

use std::path::Path;

use wgrad::data::{Dataset, Split, digits, load_idx_folder};

use super::{Failure, Outcome};

/// The digits that come with wgrad, or a folder: (training rows, test rows).
pub(super) fn load(name: &str) -> Outcome<(Dataset, Dataset)> {
    if name == "digits" {
        return Ok(digits()?);
    }
    if !Path::new(name).exists() {
        return Err(Failure::new(format!(
            "no data set `{name}`; there is `digits`, which comes with wgrad, or give a folder with the four files of \
             MNIST or of a set published like it"
        )));
    }
    Ok(load_idx_folder(name)?)
}

/// Whether the examples are images, going by the name.
pub(super) fn has_images(name: &str) -> bool {
    name == "digits" || Path::new(name).is_dir()
}

/// Keeps `validation` training rows, a tenth if nothing is said.
pub(super) fn split(name: &str, validation: Option<usize>) -> Outcome<Split> {
    let (train, test) = load(name)?;
    let rows = validation.unwrap_or((train.len() + 5) / 10);
    Ok(Split::new(train, test, rows)?)
}

/// What a data set is called in the name of a folder.
pub(super) fn short_name(data: &str) -> String {
    let name = Path::new(data).file_name().map(|n| n.to_string_lossy().into_owned());
    name.filter(|n| !n.is_empty()).unwrap_or_else(|| "data".into())
}
