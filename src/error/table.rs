//! What can be wrong with a table.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Error, Result};

/// What stands before the fraction of a number. Digits are not grouped either way: with a comma `1.234,5` is not a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum DecimalMark {
    /// `3.14`
    #[default]
    #[serde(rename = ".")]
    Point,
    /// `3,14`
    #[serde(rename = ",")]
    Comma,
}

/// `point` or `comma`.
impl fmt::Display for DecimalMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DecimalMark::Point => "point",
            DecimalMark::Comma => "comma",
        })
    }
}

/// What is wrong with a table, and where. Its text says what can be done as well, where that is not plain
/// ([`TableErrorKind::advice`]).
#[derive(Debug, Clone, PartialEq)]
pub struct TableError {
    /// The file.
    pub path: PathBuf,
    /// The line on which the row starts, from 1; the header's for what is wrong with a column.
    pub line: u64,
    /// The column's name, if it is about one.
    pub column: Option<String>,
    /// What is wrong.
    pub kind: TableErrorKind,
}

impl TableError {
    /// Where it is and what is wrong, without advice.
    pub fn fault(&self) -> String {
        let column = self.column.as_ref().map(|column| format!(", column `{column}`")).unwrap_or_default();
        format!("{}: line {}{column}: {}", self.path.display(), self.line, self.kind)
    }
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fault())?;
        self.kind.advice().map_or(Ok(()), |advice| write!(f, "; {advice}"))
    }
}

/// The ways in which a table makes no sense.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TableErrorKind {
    /// There is nothing but blank lines.
    #[error("the file is empty; its first line must name the columns")]
    NoHeader,
    /// The first line holds a measurement where a name is due.
    #[error("`{0}` is a number; the first line must name the columns")]
    HeaderIsData(String),
    /// Two columns have this name.
    #[error("a column before has the same name; give every column a name of its own")]
    DuplicateColumn,
    /// There is a header and nothing else, or every row was dropped.
    #[error("there are no rows{0}")]
    NoRows(&'static str),
    /// A row with more or fewer fields than the header.
    #[error(
        "{found} fields, but the header names {expected} columns{}{}",
        if *is_long { "; one field goes on over several lines: is a quote not closed?" } else { "" },
        one_column(*separator)
    )]
    Ragged {
        /// Columns of the header.
        expected: usize,
        /// Fields of the row.
        found: usize,
        /// Whether a field goes on over several lines.
        is_long: bool,
        /// What may separate fields, where the header seems to have one column.
        separator: Option<char>,
    },
    /// A row with a quoted field that does not end.
    #[error("a quote is opened and not closed before the end of the file")]
    OpenQuote,
    /// Bytes that are no text.
    #[error("the text is not UTF-8{0}; save the file as UTF-8")]
    NotUtf8(&'static str),
    /// A column that was asked for, or is needed, is not there.
    #[error("there is no such column, only {known}{}", one_column(*separator))]
    NoColumn {
        /// The names there are.
        known: String,
        /// What may separate fields, where the file seems to have one column.
        separator: Option<char>,
    },
    /// There is no column beside the target.
    #[error("there is no column to learn from beside it{}", one_column(*.0))]
    NoFeatures(Option<char>),
    /// A field without a value, where that is an error.
    #[error("the value is missing")]
    Missing,
    /// A row without a target, which cannot be filled.
    #[error("the target is missing, and a target cannot be filled in")]
    MissingTarget,
    /// A field of a target of numbers that is none, or infinite.
    #[error("`{value}` is not a number, and the target holds numbers")]
    TargetNotANumber {
        /// The field.
        value: String,
    },
    /// All rows have one target.
    #[error("all rows have the target `{value}`; there is nothing to predict")]
    OneValue {
        /// That number.
        value: String,
    },
    /// No row that may be learnt from has a value in this column.
    #[error("no training row has a value")]
    NoValues,
    /// A field of a numeric column that is not a number.
    #[error("`{value}` is not a number")]
    NotANumber {
        /// The field.
        value: String,
    },
    /// A number with the other decimal mark.
    #[error("{}", other_mark(value, *mark))]
    OtherDecimalMark {
        /// The field.
        value: String,
        /// The mark it has.
        mark: DecimalMark,
    },
    /// A number that 32-bit floats do not reach, or that scaling brings there.
    #[error("{value} is too large for 32-bit floats, as it is or scaled")]
    TooLarge {
        /// The field.
        value: String,
    },
    /// A column of texts that are nearly all different.
    #[error("{count} different texts, more than {most}: a name or an identifier")]
    TooManyCategories {
        /// How many there are.
        count: usize,
        /// How many are taken for categories.
        most: usize,
    },
    /// A target of measurements.
    #[error("`{value}` is not a whole number, and a class is a text or a whole number")]
    FractionalClass {
        /// The field.
        value: String,
    },
    /// A target that is nearly always another one.
    #[error("{classes} classes in {rows} rows: a quantity or an identifier")]
    TooManyClasses {
        /// Different classes.
        classes: usize,
        /// Rows.
        rows: usize,
    },
    /// All rows have one class.
    #[error("all rows have the class `{class}`; there is nothing to tell apart")]
    OneClass {
        /// That class.
        class: String,
    },
    /// A class that no training row had.
    #[error("the class `{value}` is new; the training rows had {known}")]
    UnknownClass {
        /// The field.
        value: String,
        /// The classes known.
        known: String,
    },
}

impl TableErrorKind {
    /// What can be done about it with a table that is to be learnt from, where its text does not say it.
    pub fn advice(&self) -> Option<&'static str> {
        Some(match self {
            TableErrorKind::Missing => "drop such rows, or fill them with the mean of the training rows",
            TableErrorKind::MissingTarget => "drop such rows",
            TableErrorKind::TargetNotANumber { .. } => {
                "correct it, leave the row out, or take the column for classes"
            }
            TableErrorKind::NoValues => "ignore the column",
            TableErrorKind::NotANumber { .. } => "correct it, or make the column categorical or ignore it",
            TableErrorKind::OtherDecimalMark { .. } => {
                "read the table with that mark, or correct it, or make the column categorical or ignore it"
            }
            TableErrorKind::TooManyCategories { .. } => "ignore the column, or make it categorical by name",
            TableErrorKind::FractionalClass { .. } => {
                "name the column that holds the class, or predict the number"
            }
            TableErrorKind::TooManyClasses { .. } => {
                "name the column that holds the class, or predict the quantity"
            }
            _ => return None,
        })
    }
}

fn other_mark(value: &str, mark: DecimalMark) -> String {
    match has_groups(value) {
        true => format!(
            "`{value}` is not a number: if its digits are in groups, write them without; or it has a decimal {mark}"
        ),
        false => format!("`{value}` is not a number, unless it has a decimal {mark}"),
    }
}

fn one_column(separator: Option<char>) -> String {
    let shown = |separator| if separator == '\t' { "tab".into() } else { format!("`{separator}`") };
    separator.map_or_else(String::new, |separator| {
        format!("; the header is one column: are the fields separated by {}?", shown(separator))
    })
}

/// Whether it looks like `1,234` or `1.234.567`.
fn has_groups(value: &str) -> bool {
    let mut groups = value.trim_start_matches('-').split([',', '.']);
    let is_first =
        |text: &str| !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit());
    groups.next().is_some_and(is_first) && groups.all(|group| group.len() == 3 && is_first(group))
}

/// The names, for a message: the first twenty of many.
pub(crate) fn listed(names: &[String]) -> String {
    let list: Vec<String> = names.iter().take(20).map(|name| format!("`{name}`")).collect();
    match names.len() {
        0..=20 => list.join(", "),
        n => format!("{} and {} more", list.join(", "), n - 20),
    }
}

/// [`Error::Table`] in fewer words.
pub(crate) fn table_error<T>(
    path: impl Into<PathBuf>,
    line: u64,
    column: Option<&str>,
    kind: TableErrorKind,
) -> Result<T> {
    let column = column.map(str::to_string);
    Err(Error::Table(Box::new(TableError { path: path.into(), line, column, kind })))
}
