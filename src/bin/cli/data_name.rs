//! What names a data set.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Failure, Outcome};

/// The text that comes with wgrad.
const ALICE: &str = "alice";

/// `digits`, `iris`, `alice`, or the path of a file or folder, which need not be UTF-8.
///
/// `run.json` keeps a path that is none as its bytes (on Windows, its 16-bit units), so that a run can be resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum DataName {
    Text(String),
    NotUtf8(OsString),
}

impl DataName {
    /// The path, or the name where the data set comes with wgrad.
    pub(super) fn path(&self) -> &Path {
        match self {
            DataName::Text(name) => Path::new(name),
            DataName::NotUtf8(name) => Path::new(name),
        }
    }

    pub(super) fn is_digits(&self) -> bool {
        matches!(self, DataName::Text(name) if name == "digits")
    }

    pub(super) fn is_iris(&self) -> bool {
        matches!(self, DataName::Text(name) if name == "iris")
    }

    pub(super) fn is_alice(&self) -> bool {
        matches!(self, DataName::Text(name) if name == ALICE)
    }

    /// The text that comes with wgrad.
    pub(super) fn alice() -> Self {
        DataName::Text(ALICE.into())
    }

    /// The file or folder, unless the data set comes with wgrad.
    pub(super) fn file(&self) -> Option<&Path> {
        (!self.is_digits() && !self.is_iris() && !self.is_alice()).then(|| self.path())
    }

    /// Whether it is a text, going by the name; a file may be a table all the same.
    pub(super) fn is_text(&self) -> bool {
        let is_txt =
            |path: &Path| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("txt"));
        self.file().map_or(self.is_alice(), |path| is_txt(path) && !path.is_dir())
    }

    /// Whether the examples are images, going by the name.
    pub(super) fn has_images(&self) -> bool {
        self.file().map_or(self.is_digits(), Path::is_dir)
    }

    /// Whether it is a table, going by the name.
    pub(super) fn is_table(&self) -> bool {
        self.file().map_or(self.is_iris(), Path::is_file)
    }

    /// What it is called in the name of a folder: the file's name without its extension.
    pub(super) fn short(&self) -> String {
        let name = if self.is_table() { self.path().file_stem() } else { self.path().file_name() };
        let name = name.map(|n| n.to_string_lossy().into_owned());
        name.filter(|n| !n.is_empty()).unwrap_or_else(|| "data".into())
    }

    /// Whether two names are one data set.
    pub(super) fn is_same(&self, other: &DataName) -> bool {
        let place = |name: &DataName| std::fs::canonicalize(name.path()).ok();
        self == other || place(self).is_some_and(|place_of| Some(place_of) == place(other))
    }

    /// Where there is no data set of the name.
    pub(super) fn refuse_missing(&self) -> Outcome {
        if self.file().is_none_or(Path::exists) {
            return Ok(());
        }
        if self.path().extension().is_some() || self.path().components().count() > 1 {
            return Err(Failure::new(format!(
                "{}: there is no such file or folder (`digits`, `iris` and `alice` come with wgrad)",
                self.path().display()
            )));
        }
        Err(Failure::new(format!(
            "no data set `{self}`; there are `digits`, `iris` and `alice`, which come with wgrad, or give a CSV file with a \
             header, a text with the extension .txt, or a folder with the four files of MNIST or of a set published like it"
        )))
    }
}

impl Default for DataName {
    fn default() -> Self {
        DataName::Text("digits".into())
    }
}

impl From<OsString> for DataName {
    fn from(name: OsString) -> Self {
        name.into_string().map_or_else(DataName::NotUtf8, DataName::Text)
    }
}

impl fmt::Display for DataName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path().display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_as_they_were() {
        for name in ["digits", "iris", "rows of März.csv"] {
            let name = DataName::from(OsString::from(name));
            let json = serde_json::to_value(&name).unwrap();
            assert_eq!(json, name.to_string());
            assert_eq!(serde_json::from_value::<DataName>(json).unwrap(), name);
        }
        let folder = DataName::Text("digits/".into());
        assert!(!folder.is_digits() && folder.file().is_some());
    }

    #[cfg(unix)]
    #[test]
    fn names_need_not_be_utf8() {
        use std::os::unix::ffi::OsStringExt;
        let name = DataName::from(OsString::from_vec(b"rows\xff.csv".to_vec()));
        let json = serde_json::to_string(&name).unwrap();
        assert_eq!(serde_json::from_str::<DataName>(&json).unwrap(), name);
        assert_eq!(name.to_string(), "rows\u{fffd}.csv");
    }
}
