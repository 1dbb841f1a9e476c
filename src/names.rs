//! Names that users spell, and what they may have meant.

use crate::error::Error;

/// The name that a misspelt one is within two letters of.
pub fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let away = |known: &str| strsim::damerau_levenshtein(known, name);
    known.into_iter().filter(|known| away(known) <= 2).min_by_key(|known| away(known))
}

/// A name and the numbers after an equals sign, apart by commas: `huber=0.5`.
pub(crate) fn with_numbers<'t>(what: &str, text: &'t str) -> Result<(&'t str, Vec<f32>), Error> {
    let (name, given) = match text.split_once('=') {
        Some((name, given)) => (name.trim(), Some(given)),
        None => (text.trim(), None),
    };
    let number = |text: &str| match text.trim().parse::<f32>() {
        Ok(number) => Ok(number),
        Err(_) => Err(Error::Invalid(format!("{what} `{name}`: `{}` is no number", text.trim()))),
    };
    let given = given.into_iter().flat_map(|all| all.split(',')).map(number).collect::<Result<_, _>>()?;
    Ok((name, given))
}

/// Refuses more numbers than a name takes, and those that are not finite.
pub(crate) fn refuse_more(what: &str, name: &str, most: usize, given: &[f32]) -> Result<(), Error> {
    if given.len() > most {
        let count = given.len();
        return Err(Error::Invalid(format!("{what} `{name}` takes {most} numbers, and {count} are given")));
    }
    match given.iter().find(|number| !number.is_finite()) {
        Some(number) => Err(Error::Invalid(format!("{what} `{name}`: {number} is not finite"))),
        None => Ok(()),
    }
}

/// The error for a name that is none of the known ones.
pub(crate) fn unknown(what: &str, name: &str, known: &[&str]) -> Error {
    let meant = match nearest(name, known.iter().copied()) {
        Some(meant) => format!(", did you mean `{meant}`?"),
        None => ".".into(),
    };
    Error::Invalid(format!("there is no {what} `{name}`{meant} There are {}", known.join(", ")))
}
