//! How the columns of a table are read.

use serde::{Deserialize, Serialize};

use super::DecimalMark;

/// What a column is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Numbers, scaled as [`Scaling`] says.
    Numeric,
    /// Texts, each of which becomes a column of zeros and ones.
    Categorical,
    /// Not looked at.
    Ignored,
}

/// What becomes of a row where a value is missing: where a field is empty, `NA`, `?` or, in any case, `nan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// It is an error that names line and column.
    #[default]
    Error,
    /// It is left out.
    Drop,
    /// The value becomes the mean of the training rows, or their most frequent category; of several alike the
    /// first by name. A target cannot be filled in, so that a row without one is still an error.
    Mean,
}

/// How numbers are scaled, by what the training rows hold. A column with one value becomes zeros; categories stay
/// zeros and ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scaling {
    /// Standard score: less the mean, over the standard deviation (that of the rows themselves, with n and not
    /// n − 1 below the fraction). The training rows then have mean 0 and variance 1.
    #[default]
    Standard,
    /// Less the minimum, over the range: the training rows then lie between 0 and 1, others may not.
    Minmax,
    /// Not at all.
    None,
}

/// What the target column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// A class: a text or a whole number.
    #[default]
    Class,
    /// A quantity to be predicted. It is scaled to mean 0 and variance 1 by the training rows, and
    /// [`TablePreprocessor::target_value`](super::TablePreprocessor::target_value) gives predictions back in its unit.
    Number,
    /// A quantity, if the values are numbers and some have a fraction, or there are more different ones than a tenth of
    /// the rows, and more than two; else a class.
    Auto,
}

/// How a [`Table`](super::Table) becomes a data set: by default the class is in the last column, a missing value is
/// an error, and numbers become standard scores.
///
/// The kind of a column that is not given is inferred: it is numeric if more than half of its values are numbers
/// (others are then errors: a typing mistake must not turn measurements into categories), else categorical if there
/// are at most 64 different texts, and they are not numbers with another [`DecimalMark`]. A column without a name is ignored, as that is how row numbers are written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableOptions {
    pub(super) target: Option<String>,
    pub(super) target_kind: TargetKind,
    pub(super) missing: Missing,
    pub(super) scaling: Scaling,
    pub(super) decimal: DecimalMark,
    pub(super) kinds: Vec<(String, ColumnKind)>,
}

impl TableOptions {
    /// The column with the class, a text or a whole number, or with the quantity to be predicted.
    #[must_use]
    pub fn target(mut self, column: impl Into<String>) -> Self {
        self.target = Some(column.into());
        self
    }

    /// What the target holds.
    #[must_use]
    pub fn target_kind(mut self, kind: TargetKind) -> Self {
        self.target_kind = kind;
        self
    }

    /// What becomes of rows with missing values.
    #[must_use]
    pub fn missing(mut self, missing: Missing) -> Self {
        self.missing = missing;
        self
    }

    /// How numbers are scaled.
    #[must_use]
    pub fn scaling(mut self, scaling: Scaling) -> Self {
        self.scaling = scaling;
        self
    }

    /// What stands before the fraction of a number. Files with a decimal comma separate fields by something else, or
    /// quote them.
    #[must_use]
    pub fn decimal(mut self, mark: DecimalMark) -> Self {
        self.decimal = mark;
        self
    }

    /// The kind of a column; where it is given twice, the last one counts.
    #[must_use]
    pub fn column(mut self, name: impl Into<String>, kind: ColumnKind) -> Self {
        let name = name.into();
        self.kinds.retain(|(known, _)| *known != name);
        self.kinds.push((name, kind));
        self
    }
}
