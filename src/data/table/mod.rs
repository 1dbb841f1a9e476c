//! Tables: rows of numbers and categories, one column of them the class or the quantity to predict.

mod encoding;
mod options;
mod preprocess;
mod schema;
#[cfg(test)]
mod target_tests;
#[cfg(test)]
mod tests;

pub use crate::error::{DecimalMark, TableError, TableErrorKind};
pub use options::{ColumnKind, Missing, Scaling, TableOptions, TargetKind};
pub use preprocess::{TablePreprocessor, TableRows};

use std::collections::HashSet;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use csv::{ByteRecord, ReaderBuilder, StringRecord};

use super::{Holdout, Split};
use crate::error::{Error, Result, table_error};
use schema::{Schema, separator_of_one};

/// A CSV file with a header, read as text: what its columns mean is for [`TableOptions`] to say.
///
/// Fields may be quoted (RFC 4180) and are trimmed; lines end in LF, CR LF or CR; a byte order mark is skipped, and
/// so are empty lines. The first line names the columns. A column without a name is called by its number, `column 1`
/// for the first.
#[derive(Clone, PartialEq)]
pub struct Table {
    path: PathBuf,
    columns: Vec<String>,
    rows: Vec<StringRecord>,
    /// The line each row starts on.
    lines: Vec<u64>,
    /// The line of the header.
    header: u64,
    /// Whether a column has a name in the file.
    named: Vec<bool>,
}

impl Table {
    /// Reads a file whose fields are separated by commas.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be read; [`Error::Table`] where it is not UTF-8, has no header or no rows, two
    /// columns of one name, or a row with more or fewer fields than the header.
    pub fn read_csv(path: impl AsRef<Path>) -> Result<Table> {
        Table::read_delimited(path, b',')
    }

    /// Reads a file whose fields are separated by `delimiter`, such as `b';'` or `b'\t'`.
    ///
    /// # Errors
    /// As [`Table::read_csv`]; and [`Error::Invalid`] for a delimiter that is a quote, a line end or not ASCII.
    pub fn read_delimited(path: impl AsRef<Path>, delimiter: u8) -> Result<Table> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        Table::from_bytes(&bytes, path, delimiter)
    }

    /// Reads the content of a file that is in memory; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`Table::read_delimited`], but for [`Error::Io`].
    pub fn from_bytes(bytes: &[u8], path: impl AsRef<Path>, delimiter: u8) -> Result<Table> {
        let path = path.as_ref();
        if !delimiter.is_ascii() || matches!(delimiter, b'"' | b'\r' | b'\n') {
            return Err(Error::Invalid(format!(
                "{:?} cannot separate fields; give one ASCII character, such as a comma, a semicolon or a tab",
                char::from(delimiter)
            )));
        }
        let mut records = Records::new(bytes, delimiter);
        let Some((header, names)) = records.next(path, None)? else {
            return table_error(path, 1, None, TableErrorKind::NoHeader);
        };
        let (columns, named) = columns(path, header, &names)?;
        let (mut rows, mut lines) = (Vec::new(), Vec::new());
        while let Some((line, row)) = records.next(path, Some(&columns))? {
            if row.len() != columns.len() {
                let kind = TableErrorKind::Ragged {
                    expected: columns.len(),
                    found: row.len(),
                    is_long: row.iter().any(|field| field.contains('\n')),
                    separator: separator_of_one(&columns),
                };
                return table_error(path, line, None, kind);
            }
            rows.push(row);
            lines.push(line);
        }
        if rows.is_empty() {
            return table_error(path, header, None, TableErrorKind::NoRows(" after the header"));
        }
        Ok(Table { path: path.into(), columns, rows, lines, header, named })
    }

    /// The file, or what stands for it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The number of rows, the header not counted.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows: never, as reading refuses such a file.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// A field, trimmed; `None` past the last row or column.
    pub fn get(&self, row: usize, column: usize) -> Option<&str> {
        self.rows.get(row)?.get(column).map(str::trim)
    }

    /// The line on which a row starts, from 1; `None` past the last row.
    pub fn line(&self, row: usize) -> Option<u64> {
        self.lines.get(row).copied()
    }

    /// A field that is known to be there.
    fn field(&self, row: usize, column: usize) -> &str {
        self.get(row, column).unwrap_or_default()
    }

    /// What data sets made of it are called: the file's name without its extension.
    fn name(&self) -> String {
        self.path.file_stem().map_or_else(|| "table".into(), |name| name.to_string_lossy().into_owned())
    }

    /// An error in a field.
    fn wrong<T>(&self, row: usize, column: usize, kind: TableErrorKind) -> Result<T> {
        let line = self.line(row).unwrap_or(self.header);
        table_error(&self.path, line, self.columns.get(column).map(String::as_str), kind)
    }

    /// An error about a column.
    fn wrong_column<T>(&self, column: &str, kind: TableErrorKind) -> Result<T> {
        table_error(&self.path, self.header, Some(column), kind)
    }

    /// Makes data sets of the table, and what does the same to later rows.
    ///
    /// Rows are drawn at random for validation and test, every part with the classes, if there are such, in the same
    /// proportions ([`Split::stratified`]). Means, extremes, categories and fillings are then those of the training rows alone.
    /// Kinds of columns that are not given, and the list of classes, are taken from all rows: they say how to read
    /// the file, and a row that does not fit is refused before training, whichever part it falls in.
    ///
    /// # Errors
    /// [`Error::Table`] where a column that is asked for does not exist, a value is missing and that is an error, a
    /// field of a numeric column is not a number, the target is no class or always the same one, or no row is left;
    /// [`Error::Invalid`] for shares that leave no rows ([`Split::stratified`]) or options that contradict each other.
    pub fn split(&self, options: &TableOptions, holdout: &Holdout) -> Result<(Split, TablePreprocessor)> {
        let schema = Schema::new(self, options)?;
        let name = self.name();
        let parts = holdout.draw(&name, &schema.groups())?;
        // The schema's rows are those that were not dropped.
        let rows = |part: &[u32]| -> Vec<usize> { part.iter().map(|&i| schema.rows[i as usize]).collect() };
        let preprocessor = TablePreprocessor::fit(self, &schema, &rows(&parts.train))?;
        let part = |which: &str, part: &[u32]| {
            preprocessor.dataset_of(self, &format!("{name}/{which}"), &rows(part))
        };
        let split = Split {
            train: part("train", &parts.train)?,
            validation: part("validation", &parts.validation)?,
            test: part("test", &parts.test)?,
        };
        Ok((split, preprocessor))
    }
}

/// The sizes, not the fields.
impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("path", &self.path)
            .field("columns", &self.columns)
            .field("rows", &self.rows.len())
            .finish_non_exhaustive()
    }
}

/// Put after the content, to see whether it ends within a quote: the reader would take that for the end of the
/// field, and all rows from there on for one. No text holds these bytes, and no delimiter is one of them.
const END: &[u8] = b"\n\xff\xff";

/// The records of a file, with the lines they start on. The reader's own count is off by one after blank lines and
/// CR LF, which it skips only when it goes on.
struct Records<'a> {
    reader: csv::Reader<io::Chain<&'a [u8], &'a [u8]>>,
    bytes: &'a [u8],
    /// Up to where line ends were counted.
    counted: usize,
    line: u64,
}

impl<'a> Records<'a> {
    fn new(bytes: &'a [u8], delimiter: u8) -> Self {
        // The reader skips the mark too, but its offsets would then not be those in `bytes`.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut builder = ReaderBuilder::new();
        let reader =
            builder.has_headers(false).flexible(true).delimiter(delimiter).from_reader(bytes.chain(END));
        Records { reader, bytes, counted: 0, line: 1 }
    }

    /// The next record and its line. `columns` are for the message about a field that is not UTF-8.
    fn next(&mut self, path: &Path, columns: Option<&[String]>) -> Result<Option<(u64, StringRecord)>> {
        let mut record = ByteRecord::new();
        if !self.reader.read_byte_record(&mut record).map_err(|e| Error::io(path, e))? {
            return Ok(None);
        }
        let start = record.position().map_or(0, |at| at.byte() as usize).min(self.bytes.len());
        let blank = self.bytes[start..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        self.count_lines(start + blank);
        if start + blank == self.bytes.len() {
            return Ok(None);
        }
        if record.iter().next_back().is_some_and(|field| field.ends_with(END)) {
            return table_error(path, self.line, None, TableErrorKind::OpenQuote);
        }
        match StringRecord::from_byte_record(record) {
            Ok(record) => Ok(Some((self.line, record))),
            Err(error) => {
                let field = error.utf8_error().field();
                let name = match columns {
                    Some(columns) => columns.get(field).cloned(),
                    None => Some(unnamed(field)),
                };
                let hint = match self.bytes {
                    [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => " but UTF-16",
                    _ => "",
                };
                table_error(path, self.line, name.as_deref(), TableErrorKind::NotUtf8(hint))
            }
        }
    }

    /// Counts the lines up to a place, which is not between CR and LF.
    fn count_lines(&mut self, to: usize) {
        let mut bytes = self.bytes[self.counted.min(to)..to].iter().peekable();
        while let Some(byte) = bytes.next() {
            match byte {
                b'\r' if bytes.peek() == Some(&&b'\n') => {}
                b'\r' | b'\n' => self.line += 1,
                _ => {}
            }
        }
        self.counted = to;
    }
}

/// What a column without a name is called.
fn unnamed(column: usize) -> String {
    format!("column {}", column + 1)
}

/// The names of a header, and which of them are in the file.
fn columns(path: &Path, line: u64, header: &StringRecord) -> Result<(Vec<String>, Vec<bool>)> {
    let names = || header.iter().map(str::trim);
    // A year may name a column; 5.1 does not.
    if let Some(number) = names().find(|name| {
        let is_number = |mark: DecimalMark| mark.number(name).is_some();
        name.contains(['.', ',']) && [DecimalMark::Point, DecimalMark::Comma].into_iter().any(is_number)
    }) {
        return table_error(path, line, None, TableErrorKind::HeaderIsData(number.to_string()));
    }
    let columns: Vec<String> =
        names().enumerate().map(|(i, name)| if name.is_empty() { unnamed(i) } else { name.into() }).collect();
    let mut seen = HashSet::new();
    if let Some(twice) = columns.iter().find(|name| !seen.insert(name.as_str())) {
        return table_error(path, line, Some(twice), TableErrorKind::DuplicateColumn);
    }
    Ok((columns, names().map(|name| !name.is_empty()).collect()))
}
