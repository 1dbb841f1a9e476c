//! What a user of the program can do about errors of the library: options, which the library knows nothing of.

use wgrad::Error;
use wgrad::data::{DecimalMark, TableErrorKind};

use super::Failure;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let option = match &error {
            Error::Locked { .. } => " (--out)",
            Error::MemoryBudget { .. } => " (--memory-budget)",
            _ => "",
        };
        Failure::new(format!("{error}{option}"))
    }
}

/// An error of a run.
pub(super) fn of_run(error: Error, checks_numerics: bool) -> Failure {
    match error {
        Error::Diverged(_) if !checks_numerics => {
            Failure::new(format!("{error} (--check-numerics names the op)"))
        }
        other => other.into(),
    }
}

/// An error in a table that is learnt from.
pub(super) fn in_training(error: Error) -> Failure {
    let Error::Table(table) = &error else { return error.into() };
    let one_column = |separator: &Option<char>| match separator {
        Some('\t') => " (--delimiter tab)".into(),
        Some(separator) => format!(" (--delimiter '{separator}')"),
        None => String::new(),
    };
    let options = match &table.kind {
        TableErrorKind::NoColumn { separator, .. }
        | TableErrorKind::NoFeatures(separator)
        | TableErrorKind::Ragged { separator, .. } => one_column(separator),
        TableErrorKind::Missing => " (--missing drop, --missing mean)".into(),
        TableErrorKind::MissingTarget => " (--missing drop)".into(),
        TableErrorKind::TargetNotANumber { .. } => " (--task classification)".into(),
        TableErrorKind::NoValues => " (--ignore)".into(),
        TableErrorKind::NotANumber { .. } | TableErrorKind::TooManyCategories { .. } => {
            " (--categorical, --ignore)".into()
        }
        TableErrorKind::OtherDecimalMark { mark, .. } => {
            format!(" (--decimal {mark}, --categorical, --ignore)")
        }
        TableErrorKind::FractionalClass { .. } | TableErrorKind::TooManyClasses { .. } => {
            " (--target, --task regression)".into()
        }
        _ => String::new(),
    };
    Failure::new(format!("{error}{options}"))
}

/// An error in a table that a model is asked about: how it is read, and what its columns are, the run has decided.
pub(super) fn in_asking(error: Error, separator: char, decimal: DecimalMark) -> Failure {
    let Error::Table(table) = &error else { return error.into() };
    let advice = match &table.kind {
        TableErrorKind::NoColumn { separator: Some(_), .. }
        | TableErrorKind::Ragged { separator: Some(_), .. } => {
            let separator = if separator == '\t' { "tab".into() } else { format!("`{separator}`") };
            format!(
                "fields of the table that the model was trained on are separated by {separator}, and so they must be here"
            )
        }
        TableErrorKind::Missing => {
            "the model was trained to take none for an error; fill the value in, or leave the row out".into()
        }
        TableErrorKind::MissingTarget => "fill it in, or leave the row or the whole column out".into(),
        TableErrorKind::OtherDecimalMark { .. } => {
            format!("the table that the model was trained on has a decimal {decimal}, and so must this one")
        }
        TableErrorKind::TargetNotANumber { .. } | TableErrorKind::NotANumber { .. } => {
            "correct it, or leave the row out".into()
        }
        _ => return Failure::new(error.to_string()),
    };
    // The library's own advice is for tables that are learnt from.
    Failure::new(format!("{}; {advice}", table.fault()))
}
