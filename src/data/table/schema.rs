//! What the columns of a table are, and which rows count.

use std::collections::{BTreeMap, BTreeSet};

use super::encoding::is_missing;
use super::{ColumnKind, DecimalMark, Missing, Scaling, Table, TableErrorKind, TableOptions, TargetKind};
use crate::error::{Error, Result, listed, table_error};

/// How many different texts are taken for categories, unless the column is said to hold some.
const MOST_CATEGORIES: usize = 64;

/// A target may always have this many classes; beyond, there must be two rows for each.
const FEW_CLASSES: usize = 20;

/// A table understood: target, features, classes, and the rows that are used.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) target: usize,
    /// Columns to learn from and whether they are numeric, in the order of the file.
    pub(super) features: Vec<(usize, bool)>,
    pub(super) missing: Missing,
    pub(super) scaling: Scaling,
    pub(super) decimal: DecimalMark,
    /// The rows that are not dropped.
    pub(super) rows: Vec<usize>,
    pub(super) targets: Targets,
}

/// What the target column holds.
#[derive(Debug)]
pub(super) enum Targets {
    /// The names of the classes, and the class of each row.
    Classes { names: Vec<String>, labels: Vec<u32> },
    /// Numbers.
    Numbers,
}

impl Schema {
    /// What rows are drawn by, so that all parts have as much of each.
    pub(super) fn groups(&self) -> Vec<u32> {
        match &self.targets {
            Targets::Classes { labels, .. } => labels.clone(),
            Targets::Numbers => vec![0; self.rows.len()],
        }
    }
}

impl Schema {
    pub(super) fn new(table: &Table, options: &TableOptions) -> Result<Self> {
        let target = target(table, options)?;
        let mut features = Vec::new();
        for column in (0..table.columns.len()).filter(|&column| column != target) {
            match kind(table, options, column)? {
                ColumnKind::Numeric => features.push((column, true)),
                ColumnKind::Categorical => features.push((column, false)),
                ColumnKind::Ignored => {}
            }
        }
        if features.is_empty() {
            return table.wrong_column(
                &table.columns[target],
                TableErrorKind::NoFeatures(separator_of_one(&table.columns)),
            );
        }
        let is_number = holds_numbers(table, target, options);
        let wanted = Some((target, is_number));
        let rows = usable_rows(table, &features, wanted, options.missing, options.decimal)?;
        let targets = if is_number {
            expect_several(table, target, &rows)?;
            Targets::Numbers
        } else {
            let (names, labels) = classes(table, target, &rows, options.decimal)?;
            Targets::Classes { names, labels }
        };
        let &TableOptions { missing, scaling, decimal, .. } = options;
        Ok(Schema { target, features, missing, scaling, decimal, rows, targets })
    }
}

/// What may separate the fields of a file that was read as one column: what else stands in its header.
pub(super) fn separator_of_one(columns: &[String]) -> Option<char> {
    let [column] = columns else { return None };
    [';', '\t', '|', ','].into_iter().find(|&separator| column.contains(separator))
}

/// The place of a column.
pub(super) fn find(table: &Table, name: &str) -> Result<usize> {
    match table.columns.iter().position(|column| column == name) {
        Some(column) => Ok(column),
        None => {
            let kind = TableErrorKind::NoColumn {
                known: listed(&table.columns),
                separator: separator_of_one(&table.columns),
            };
            table.wrong_column(name, kind)
        }
    }
}

fn given(table: &Table, options: &TableOptions, column: usize) -> Option<ColumnKind> {
    options.kinds.iter().find(|(name, _)| *name == table.columns[column]).map(|&(_, kind)| kind)
}

fn target(table: &Table, options: &TableOptions) -> Result<usize> {
    for (name, _) in &options.kinds {
        find(table, name)?;
    }
    let is_ignored = |&column: &usize| given(table, options, column) == Some(ColumnKind::Ignored);
    let target = match &options.target {
        Some(name) => find(table, name)?,
        None => match (0..table.columns.len()).rev().find(|column| !is_ignored(column)) {
            Some(column) => column,
            None => return Err(Error::Invalid("every column is ignored; there is no target".into())),
        },
    };
    if given(table, options, target).is_some() {
        return Err(Error::Invalid(format!(
            "column `{}` is the target; give a kind to others only, or name another target",
            table.columns[target]
        )));
    }
    Ok(target)
}

/// The kind that is given, or the one that fits.
fn kind(table: &Table, options: &TableOptions, column: usize) -> Result<ColumnKind> {
    if let Some(kind) = given(table, options, column) {
        return Ok(kind);
    }
    if !table.named[column] {
        return Ok(ColumnKind::Ignored);
    }
    let fields = || (0..table.len()).map(|row| table.field(row, column)).filter(|field| !is_missing(field));
    let mark = options.decimal;
    let (all, numbers) = (fields().count(), fields().filter(|field| mark.number(field).is_some()).count());
    if all == 0 {
        return table.wrong_column(&table.columns[column], TableErrorKind::NoValues);
    }
    if numbers * 2 > all {
        return Ok(ColumnKind::Numeric);
    }
    // With the other mark, the column would be numeric.
    let others = fields().filter(|field| mark.is_other(field)).count();
    let is_other = |row: &usize| mark.is_other(table.field(*row, column));
    if (numbers + others) * 2 > all
        && let Some(row) = (0..table.len()).find(is_other)
    {
        return table.wrong(row, column, other_mark(table.field(row, column), mark));
    }
    let count = fields().collect::<BTreeSet<_>>().len();
    if count > MOST_CATEGORIES {
        let kind = TableErrorKind::TooManyCategories { count, most: MOST_CATEGORIES };
        return table.wrong_column(&table.columns[column], kind);
    }
    Ok(ColumnKind::Categorical)
}

/// Whether the target is a quantity.
fn holds_numbers(table: &Table, target: usize, options: &TableOptions) -> bool {
    match options.target_kind {
        TargetKind::Class => return false,
        TargetKind::Number => return true,
        TargetKind::Auto => {}
    }
    let fields: Vec<&str> =
        (0..table.len()).map(|row| table.field(row, target)).filter(|field| !is_missing(field)).collect();
    let mark = options.decimal;
    let numbers: Vec<f64> = fields.iter().filter_map(|field| mark.number(field)).collect();
    // As for other columns: a typing mistake must not turn quantities into classes.
    if numbers.len() * 2 <= fields.len() {
        return false;
    }
    let different: BTreeSet<u64> = numbers.iter().map(|x| (x + 0.0).to_bits()).collect();
    numbers.iter().any(|x| x.fract() != 0.0) || different.len() > (numbers.len() / 10).max(2)
}

/// Refuses a target that is always the same number.
fn expect_several(table: &Table, target: usize, rows: &[usize]) -> Result<()> {
    let mut fields = rows.iter().map(|&row| table.field(row, target));
    let first = fields.next().unwrap_or_default();
    match fields.all(|field| field == first) {
        true => table.wrong_column(&table.columns[target], TableErrorKind::OneValue { value: first.into() }),
        false => Ok(()),
    }
}

/// A field that would be a number with the other mark.
fn other_mark(value: &str, mark: DecimalMark) -> TableErrorKind {
    TableErrorKind::OtherDecimalMark { value: value.to_string(), mark: mark.other() }
}

/// The rows that are not dropped, once every field that is read makes sense; the first that does not, in the order
/// of the file, is the error.
pub(super) fn usable_rows(
    table: &Table,
    features: &[(usize, bool)],
    wanted: Option<(usize, bool)>,
    missing: Missing,
    mark: DecimalMark,
) -> Result<Vec<usize>> {
    let mut columns: Vec<(usize, bool)> = features.to_vec();
    columns.extend(wanted);
    columns.sort_unstable();
    let target = wanted.map(|(target, _)| target);
    let mut rows = Vec::new();
    'rows: for row in 0..table.len() {
        let missing_in = columns.iter().find(|&&(column, _)| is_missing(table.field(row, column)));
        if missing_in.is_some() && missing == Missing::Drop {
            continue 'rows;
        }
        for &(column, is_numeric) in &columns {
            let field = table.field(row, column);
            if is_missing(field) {
                match missing {
                    Missing::Mean | Missing::Error if Some(column) == target => {
                        return table.wrong(row, column, TableErrorKind::MissingTarget);
                    }
                    Missing::Error => return table.wrong(row, column, TableErrorKind::Missing),
                    Missing::Mean | Missing::Drop => {}
                }
            } else if is_numeric {
                let value = || field.to_string();
                match mark.number(field) {
                    None if mark.is_other(field) => return table.wrong(row, column, other_mark(field, mark)),
                    None if Some(column) == target => {
                        return table.wrong(row, column, TableErrorKind::TargetNotANumber { value: value() });
                    }
                    None => {
                        return table.wrong(row, column, TableErrorKind::NotANumber { value: value() });
                    }
                    Some(x) if x.abs() > f64::from(f32::MAX) => {
                        return table.wrong(row, column, TableErrorKind::TooLarge { value: value() });
                    }
                    Some(_) => {}
                }
            }
        }
        rows.push(row);
    }
    if rows.is_empty() {
        let kind = TableErrorKind::NoRows(": every one has a missing value and was dropped");
        return table_error(&table.path, table.header, None, kind);
    }
    Ok(rows)
}

/// The classes in order, by value if all are whole numbers, else by name; and the class of each row.
fn classes(
    table: &Table,
    target: usize,
    rows: &[usize],
    mark: DecimalMark,
) -> Result<(Vec<String>, Vec<u32>)> {
    let field = |row: usize| table.field(row, target);
    let are_numbers = rows.iter().all(|&row| mark.number(field(row)).is_some());
    if let Some(&row) = rows.iter().find(|&&row| are_numbers && mark.whole(field(row)).is_none()) {
        return table.wrong(row, target, TableErrorKind::FractionalClass { value: field(row).to_string() });
    }
    let name = |&row: &usize| match mark.whole(field(row)) {
        Some(name) if are_numbers => name,
        _ => field(row).to_string(),
    };
    let of_rows: Vec<String> = rows.iter().map(name).collect();
    let mut names: Vec<String> = of_rows.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect();
    if are_numbers {
        // They are whole, without a mark.
        let value = |name: &str| mark.number(name).unwrap_or_default();
        names.sort_by(|a, b| value(a).total_cmp(&value(b)));
    }
    let column = &table.columns[target];
    if let [class] = &names[..] {
        return table.wrong_column(column, TableErrorKind::OneClass { class: class.clone() });
    }
    if names.len() > FEW_CLASSES && names.len() * 2 > rows.len() {
        if names.iter().all(|name| mark.number(name).is_some() || mark.is_other(name))
            && let Some(&row) = rows.iter().find(|&&row| mark.is_other(field(row)))
        {
            return table.wrong(row, target, other_mark(field(row), mark));
        }
        let kind = TableErrorKind::TooManyClasses { classes: names.len(), rows: rows.len() };
        return table.wrong_column(column, kind);
    }
    let numbers: BTreeMap<&str, u32> = names.iter().map(String::as_str).zip(0..).collect();
    let labels = of_rows.iter().filter_map(|name| numbers.get(name.as_str()).copied()).collect();
    Ok((names, labels))
}
