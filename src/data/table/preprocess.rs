//! What was learnt about the columns of a table, for later rows.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::encoding::{Encoding, is_missing};
use super::options::{Missing, Scaling};
use super::schema::{self, Schema, find, usable_rows};
use super::{Table, TableErrorKind};
use crate::data::{Dataset, Input, Targets};
use crate::error::{DecimalMark, Error, Result, listed};
use crate::files::write_renamed;

/// Names the layout of the file.
const FORMAT: &str = "wgrad-table-1";

/// How the rows of a table become what a model takes: columns, scaling, categories, fillings and classes, as
/// [`Table::split`] found them in the training rows. It is saved beside the model, so that later rows, with a target
/// or without, are treated alike.
///
/// Columns are found by name: their order in a later table does not matter, and others are not looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct TablePreprocessor {
    parts: Parts,
}

/// What the file holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    format: String,
    target: String,
    /// None where the target is a number.
    classes: Vec<String>,
    /// How a target that is a number is scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    number: Option<Encoding>,
    missing: Missing,
    /// Versions without it knew the point alone.
    #[serde(default)]
    decimal: DecimalMark,
    columns: Vec<Column>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Column {
    name: String,
    encoding: Encoding,
}

/// Rows of a table as a model takes them.
#[derive(Debug, Clone, PartialEq)]
pub struct TableRows {
    /// The rows of the table that they are, from 0: all, unless those with missing values are dropped.
    pub rows: Vec<usize>,
    /// [`TablePreprocessor::width`] numbers a row.
    pub values: Vec<f32>,
}

impl TablePreprocessor {
    /// Learns from these rows of a table.
    pub(super) fn fit(table: &Table, schema: &Schema, rows: &[usize]) -> Result<Self> {
        let mut columns = Vec::new();
        for &(column, is_numeric) in &schema.features {
            let fields: Vec<&str> = rows.iter().map(|&row| table.field(row, column)).collect();
            let known: Vec<&str> = fields.into_iter().filter(|field| !is_missing(field)).collect();
            let encoding = if is_numeric {
                let numbers: Vec<f64> =
                    known.iter().filter_map(|field| schema.decimal.number(field)).collect();
                Encoding::of_numbers(&numbers, schema.scaling)
            } else {
                Encoding::of_categories(&known)
            };
            let name = table.columns[column].clone();
            match encoding {
                Some(encoding) => columns.push(Column { name, encoding }),
                None => return table.wrong_column(&name, TableErrorKind::NoValues),
            }
        }
        let target = table.columns[schema.target].clone();
        let &Schema { missing, decimal, .. } = schema;
        let (classes, number) = match &schema.targets {
            schema::Targets::Classes { names, .. } => (names.clone(), None),
            schema::Targets::Numbers => {
                let field = |&row: &usize| decimal.number(table.field(row, schema.target));
                let numbers: Vec<f64> = rows.iter().filter_map(field).collect();
                // Whatever becomes of the features: the loss and the steps go by the target's size.
                (Vec::new(), Encoding::of_numbers(&numbers, Scaling::Standard))
            }
        };
        let format = FORMAT.into();
        Ok(TablePreprocessor { parts: Parts { format, target, classes, number, missing, decimal, columns } })
    }

    /// How many numbers a row becomes.
    pub fn width(&self) -> usize {
        self.parts.columns.iter().map(|column| column.encoding.width()).sum()
    }

    /// Whether the target is a number, not a class.
    pub fn is_regression(&self) -> bool {
        self.parts.number.is_some()
    }

    /// A target, or a prediction of it, in the unit that the column has, from the scaled one of a data set; what is
    /// given where the target is a class.
    pub fn target_value(&self, scaled: f64) -> f64 {
        match self.parts.number {
            Some(Encoding::Numeric { offset, divisor, .. }) => scaled * divisor + offset,
            _ => scaled,
        }
    }

    /// How much a scaled target of 1 is in the column's unit: the standard deviation of the training rows. 1 where the
    /// target is a class.
    pub fn target_unit(&self) -> f64 {
        match self.parts.number {
            Some(Encoding::Numeric { divisor, .. }) => divisor,
            _ => 1.0,
        }
    }

    /// The number in a field of the target, in the unit of the column; `None` for what is none.
    pub fn number(&self, field: &str) -> Option<f64> {
        self.parts.decimal.number(field)
    }

    /// The names of the classes, by number; none where the target is a number.
    pub fn classes(&self) -> &[String] {
        &self.parts.classes
    }

    /// The column that holds the class, or the number to be predicted.
    pub fn target(&self) -> &str {
        &self.parts.target
    }

    /// The columns a table must have, apart from the target.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.parts.columns.iter().map(|column| column.name.as_str())
    }

    /// What each number of a row stands for: a column's name, or `column=category`.
    pub fn features(&self) -> Vec<String> {
        let names = |column: &Column| match &column.encoding {
            Encoding::Numeric { .. } => vec![column.name.clone()],
            Encoding::Categorical { categories, .. } => {
                categories.iter().map(|category| format!("{}={category}", column.name)).collect()
            }
        };
        self.parts.columns.iter().flat_map(names).collect()
    }

    /// The rows of a table, which needs no target. A category that no training row had gives zeros for its column.
    ///
    /// # Errors
    /// [`Error::Table`] where a column does not exist, a numeric field is not a number, or a value is missing and that
    /// was an error in training.
    pub fn rows(&self, table: &Table) -> Result<TableRows> {
        let columns = self.find(table)?;
        let rows = usable_rows(table, &columns, None, self.parts.missing, self.parts.decimal)?;
        let values = self.encode(table, &columns, &rows)?;
        Ok(TableRows { rows, values })
    }

    /// The rows of a table with their targets, as a data set: classes, or numbers of shape `[1]`, scaled.
    ///
    /// # Errors
    /// As [`TablePreprocessor::rows`]; and where the target does not exist, is not a number, or is a class that training did
    /// not know.
    pub fn dataset(&self, table: &Table) -> Result<Dataset> {
        let target = find(table, &self.parts.target)?;
        let columns = self.find(table)?;
        let wanted = Some((target, self.is_regression()));
        let rows = usable_rows(table, &columns, wanted, self.parts.missing, self.parts.decimal)?;
        self.dataset_of(table, &table.name(), &rows)
    }

    /// These rows, which were looked at, as a data set. It may be empty.
    pub(super) fn dataset_of(&self, table: &Table, name: &str, rows: &[usize]) -> Result<Dataset> {
        let x = Input::new("x", [self.width()], self.encode(table, &self.find(table)?, rows)?);
        let (name, inputs) = (name.to_string(), vec![x]);
        let target = find(table, &self.parts.target)?;
        if let Some(Encoding::Numeric { offset, divisor, .. }) = self.parts.number {
            let mut values = Vec::new();
            for &row in rows {
                let field = table.field(row, target);
                let scaled = self.number(field).map(|x| ((x - offset) / divisor) as f32);
                match scaled.filter(|x| x.is_finite()) {
                    Some(scaled) => values.push(scaled),
                    None => {
                        return table.wrong(row, target, TableErrorKind::TooLarge { value: field.into() });
                    }
                }
            }
            let targets = Targets::Values { shape: vec![1], values: values.into() };
            return Ok(Dataset { name, inputs, targets, streams: None });
        }
        let mut labels = Vec::new();
        for &row in rows {
            let class = table.field(row, target);
            match self.class(class) {
                Some(label) => labels.push(label as u32),
                None => {
                    let (value, known) = (class.to_string(), listed(&self.parts.classes));
                    return table.wrong(row, target, TableErrorKind::UnknownClass { value, known });
                }
            }
        }
        let (classes, names) = (self.parts.classes.len(), self.parts.classes.clone());
        let targets = Targets::Classes { labels, classes, names };
        Ok(Dataset { name, inputs, targets, streams: None })
    }

    /// The number of the class in a field of the target; `None` for one that training did not know.
    pub fn class(&self, field: &str) -> Option<usize> {
        let find = |name: &str| self.parts.classes.iter().position(|class| class == name);
        find(field).or_else(|| find(&self.parts.decimal.whole(field)?))
    }

    /// The first thing in which another differs, in words; `None` where nothing does.
    pub fn difference(&self, other: &TablePreprocessor) -> Option<String> {
        let (own, its) = (&self.parts, &other.parts);
        if own.target != its.target {
            return Some(format!("the target is `{}` in one and `{}` in the other", own.target, its.target));
        }
        if let (Some(own), Some(its)) = (&own.number, &its.number)
            && own != its
        {
            return Some(format!("the target is {own} in one and {its} in the other"));
        }
        if own.number.is_some() != its.number.is_some() {
            return Some("the target is a number in one and a class in the other".into());
        }
        if own.classes != its.classes {
            let (own, its) = (listed(&own.classes), listed(&its.classes));
            return Some(format!("the classes are {own} in one and {its} in the other"));
        }
        let names =
            |parts: &Parts| parts.columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
        if names(own) != names(its) {
            let (own, its) = (listed(&names(own)), listed(&names(its)));
            return Some(format!("the columns are {own} in one and {its} in the other"));
        }
        let mut both = own.columns.iter().zip(&its.columns);
        if let Some((own, its)) = both.find(|(own, its)| own != its) {
            return Some(format!(
                "column `{}` is {} in one and {} in the other",
                own.name, own.encoding, its.encoding
            ));
        }
        (own != its).then(|| "missing values or decimal marks are treated otherwise".into())
    }

    /// The columns in a table, and whether they are numeric.
    fn find(&self, table: &Table) -> Result<Vec<(usize, bool)>> {
        let place = |column: &Column| {
            let is_numeric = matches!(column.encoding, Encoding::Numeric { .. });
            Ok((find(table, &column.name)?, is_numeric))
        };
        self.parts.columns.iter().map(place).collect()
    }

    fn encode(&self, table: &Table, columns: &[(usize, bool)], rows: &[usize]) -> Result<Vec<f32>> {
        let len = self.width().checked_mul(rows.len()).filter(|&len| u32::try_from(len).is_ok());
        let mut values = Vec::new();
        if len.is_none_or(|len| values.try_reserve_exact(len).is_err()) {
            return Err(Error::Invalid(format!(
                "{}: {} rows of {} numbers do not fit in memory; ignore columns with many categories",
                table.path.display(),
                rows.len(),
                self.width()
            )));
        }
        // Rows, and the first of them.
        let mut unseen = vec![(0usize, 0); columns.len()];
        for &row in rows {
            for (i, (column, &(at, _))) in self.parts.columns.iter().zip(columns).enumerate() {
                let field = table.field(row, at);
                match &column.encoding {
                    Encoding::Numeric { offset, divisor, fill } => {
                        let number = self.parts.decimal.number(field).filter(|_| !is_missing(field));
                        let x = number.unwrap_or(*fill);
                        let scaled = ((x - offset) / divisor) as f32;
                        if !scaled.is_finite() {
                            return table.wrong(row, at, TableErrorKind::TooLarge { value: field.into() });
                        }
                        values.push(scaled);
                    }
                    Encoding::Categorical { categories, fill } => {
                        let place = match is_missing(field) {
                            true => Some(*fill),
                            false => categories.binary_search_by(|known| known.as_str().cmp(field)).ok(),
                        };
                        if place.is_none() {
                            let (count, first) = unseen[i];
                            unseen[i] = (count + 1, if count == 0 { row } else { first });
                        }
                        let start = values.len();
                        values.resize(start + categories.len(), 0.0);
                        if let Some(place) = place {
                            values[start + place] = 1.0;
                        }
                    }
                }
            }
        }
        for ((column, &(at, _)), (count, first)) in self.parts.columns.iter().zip(columns).zip(unseen) {
            if count == 0 {
                continue;
            }
            let path = table.path.display();
            let line = table.line(first).unwrap_or_default();
            let category: String = table.field(first, at).chars().take(40).collect();
            tracing::warn!(
                %path, column = column.name, line, rows = count,
                "{category:?} is a category that no training row had, and counts as none of theirs"
            );
        }
        Ok(values)
    }

    /// As JSON, for a file of its own or the metadata of a model ([`Trainer::metadata`](crate::train::Trainer::metadata)).
    pub fn to_json(&self) -> String {
        // Strings, finite numbers and lists of them: there is nothing that JSON could refuse.
        serde_json::to_string_pretty(&self.parts).unwrap_or_default()
    }

    /// Saves it as JSON.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write_renamed(path.as_ref(), self.to_json().as_bytes())
    }

    /// Reads what [`TablePreprocessor::save`] wrote.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read, [`Error::Invalid`] where it holds something else.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        TablePreprocessor::from_json(&text, path)
    }

    /// Reads JSON that [`TablePreprocessor::to_json`] made; `path` is the file it was in, for errors.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it holds something else.
    pub fn from_json(text: &[u8], path: impl AsRef<Path>) -> Result<Self> {
        let invalid = |message: &str| {
            let path = path.as_ref().display();
            Error::Invalid(format!("{path} does not say how to prepare a table's rows: {message}"))
        };
        let parts: Parts = serde_json::from_slice(text).map_err(|e| invalid(&e.to_string()))?;
        if parts.format != FORMAT {
            return Err(invalid(&format!("its format is `{}`, not `{FORMAT}`", parts.format)));
        }
        let has_target = match parts.number {
            None => parts.classes.len() >= 2,
            Some(Encoding::Numeric { .. }) => parts.classes.is_empty(),
            Some(Encoding::Categorical { .. }) => false,
        };
        if parts.columns.is_empty() || !has_target {
            return Err(invalid("it has no columns, or fewer than two classes and no number to predict"));
        }
        let mut all = parts.columns.iter().map(|column| &column.encoding).chain(&parts.number);
        if let Some(fault) = all.find_map(|encoding| encoding.fault()) {
            return Err(invalid(fault));
        }
        Ok(TablePreprocessor { parts })
    }
}
