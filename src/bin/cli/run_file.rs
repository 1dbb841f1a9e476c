//! `run.json`: the settings of a run and what came of it, beside its weights.

use std::path::Path;

use serde_json::Value;

use super::{Failure, Outcome};

/// Name of the file in a run's folder.
pub(super) const NAME: &str = "run.json";

/// Writes the file, by way of a temporary one, so that a crash leaves the old.
pub(super) fn write(folder: &Path, value: &Value) -> Outcome {
    let path = folder.join(NAME);
    let fail = |e: &dyn std::fmt::Display| Failure::new(format!("{}: {e}", path.display()));
    std::fs::create_dir_all(folder).map_err(|e| fail(&e))?;
    let file = tempfile::NamedTempFile::new_in(folder).map_err(|e| fail(&e))?;
    serde_json::to_writer_pretty(&file, value).map_err(|e| fail(&e))?;
    file.persist(&path).map_err(|e| fail(&e.error))?;
    Ok(())
}

/// The settings of the run in a folder, if it has the file.
pub(super) fn settings(folder: &Path) -> Outcome<Option<Value>> {
    let path = folder.join(NAME);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Failure::new(format!("{}: {e}", path.display()))),
    };
    let value: Value =
        serde_json::from_str(&text).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
    Ok(value.get("settings").cloned())
}
