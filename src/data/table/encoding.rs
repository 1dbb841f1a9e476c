//! From a field to numbers.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::options::Scaling;
use crate::error::{DecimalMark, listed};

/// Whether a field holds no value.
pub(super) fn is_missing(field: &str) -> bool {
    matches!(field, "" | "NA" | "?") || field.eq_ignore_ascii_case("nan")
}

impl DecimalMark {
    /// The number in a field. What Rust also takes for numbers, infinities, is none here.
    pub(super) fn number(self, field: &str) -> Option<f64> {
        let number = match self {
            DecimalMark::Point => field.parse::<f64>(),
            DecimalMark::Comma if field.contains('.') => return None,
            DecimalMark::Comma => field.replace(',', ".").parse(),
        };
        number.ok().filter(|x| x.is_finite())
    }

    /// The whole number in a field as it is usually written, so that `1`, `01` and `1.0` are one class.
    pub(super) fn whole(self, field: &str) -> Option<String> {
        // Adding 0 takes the sign of -0 away.
        self.number(field).filter(|x| x.fract() == 0.0).map(|x| format!("{:.0}", x + 0.0))
    }

    /// Whether a field is a number with the other mark alone.
    pub(super) fn is_other(self, field: &str) -> bool {
        self.number(field).is_none() && self.other().number(field).is_some()
    }

    pub(super) fn other(self) -> Self {
        match self {
            DecimalMark::Point => DecimalMark::Comma,
            DecimalMark::Comma => DecimalMark::Point,
        }
    }
}

/// How a column becomes numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Encoding {
    /// One number: (x − offset) / divisor.
    Numeric {
        offset: f64,
        divisor: f64,
        /// In place of a missing value, not scaled yet.
        fill: f64,
    },
    /// As many numbers as categories: 1 for the one it is, 0 for others. A category that is not listed has no 1.
    Categorical {
        categories: Vec<String>,
        /// In place of a missing value, its place in the list.
        fill: usize,
    },
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Encoding::Numeric { offset, divisor, .. } => write!(f, "(x - {offset}) / {divisor}"),
            Encoding::Categorical { categories, .. } => write!(f, "one of {}", listed(categories)),
        }
    }
}

impl Encoding {
    /// For numbers that are finite and, as `f64`, far from overflow. `None` if there are none.
    pub(super) fn of_numbers(values: &[f64], scaling: Scaling) -> Option<Self> {
        let n = values.len() as f64;
        let low = values.iter().copied().reduce(f64::min)?;
        let high = values.iter().copied().reduce(f64::max)?;
        // Of a constant column the sum may round, so that the mean lies beside it.
        let mean = if low == high { low } else { values.iter().sum::<f64>() / n };
        let (offset, divisor) = match scaling {
            Scaling::None => (0.0, 1.0),
            Scaling::Standard => {
                let variance = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
                (mean, variance.sqrt())
            }
            Scaling::Minmax => (low, high - low),
        };
        // Zero where all values are one; below the normal numbers, where their squares vanish.
        let divisor = if divisor.is_normal() { divisor } else { 1.0 };
        Some(Encoding::Numeric { offset, divisor, fill: mean })
    }

    /// The categories among these fields, in order. `None` if there are none.
    pub(super) fn of_categories(fields: &[&str]) -> Option<Self> {
        let mut sorted = fields.to_vec();
        sorted.sort_unstable();
        let groups: Vec<(&str, usize)> =
            sorted.chunk_by(|a, b| a == b).map(|group| (group[0], group.len())).collect();
        let most = groups.iter().map(|&(_, count)| count).max()?;
        let fill = groups.iter().position(|&(_, count)| count == most)?;
        let categories = groups.iter().map(|&(name, _)| name.to_string()).collect();
        Some(Encoding::Categorical { categories, fill })
    }

    /// How many numbers it gives.
    pub(super) fn width(&self) -> usize {
        match self {
            Encoding::Numeric { .. } => 1,
            Encoding::Categorical { categories, .. } => categories.len(),
        }
    }

    /// What keeps a file from being used, if anything does.
    pub(super) fn fault(&self) -> Option<&'static str> {
        match self {
            Encoding::Numeric { offset, divisor, fill } => {
                let is_fine = offset.is_finite() && fill.is_finite() && divisor.is_normal() && *divisor > 0.0;
                (!is_fine).then_some("a column is scaled by numbers that are no scaling")
            }
            Encoding::Categorical { categories, fill } => {
                let is_fine = categories.is_sorted_by(|a, b| a < b) && *fill < categories.len();
                (!is_fine).then_some("a column has no categories, or not in order")
            }
        }
    }
}
