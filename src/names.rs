//! Names that users spell, and what they may have meant.

use crate::error::Error;

/// The name that a misspelt one is within two letters of.
pub(crate) fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let away = |known: &str| strsim::damerau_levenshtein(known, name);
    known.into_iter().filter(|known| away(known) <= 2).min_by_key(|known| away(known))
}

/// The error for a name that is none of the known ones.
pub(crate) fn unknown(what: &str, name: &str, known: &[&str]) -> Error {
    let meant = match nearest(name, known.iter().copied()) {
        Some(meant) => format!(", did you mean `{meant}`?"),
        None => ".".into(),
    };
    Error::Invalid(format!("there is no {what} `{name}`{meant} There are {}", known.join(", ")))
}
