//! How a table is read and split: arguments, and what `run.json` keeps of them.

use std::path::Path;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wgrad::data::{
    ColumnKind, DecimalMark, Holdout, Missing, Scaling, Split, Table, TableOptions, TablePreprocessor,
    TargetKind,
};

use super::advice::in_training;
use super::data_name::DataName;
use super::{Failure, Outcome};

/// Share of a table's rows to test on.
const TEST_FRACTION: f64 = 0.2;

/// Arguments for tables: `iris`, or a CSV file.
#[derive(Debug, Clone, Default, PartialEq, clap::Args)]
#[group(id = "table")]
#[command(next_help_heading = "Tables")]
pub(super) struct TableArgs {
    /// Column of a table that holds the class, or the number to predict [default: the last]
    #[arg(long, value_name = "COLUMN")]
    target: Option<String>,
    /// What the target is: a class, or a number to predict; or that a file is a text [default: auto; of a file .txt text]
    ///
    /// `auto`: a number if the values have fractions or there are more different ones than a tenth of the rows, and more
    /// than two.
    #[arg(long, value_enum, value_name = "auto|classification|regression|text")]
    task: Option<TableTask>,
    /// What becomes of rows with missing values: empty fields, NA, ? and nan [default: error]
    #[arg(long, value_enum)]
    missing: Option<OnMissing>,
    /// How numbers of a table are scaled, by its training rows [default: standard]
    #[arg(long, value_enum)]
    scaling: Option<Scale>,
    /// Share of a table's rows to test on, drawn by the seed [default: 0.2]
    #[arg(long, value_name = "F", value_parser = fraction, allow_negative_numbers = true)]
    test_fraction: Option<f64>,
    /// What separates fields: one character, or `tab` [default: a comma; for a file .tsv, tab]
    #[arg(long, value_name = "CHAR", value_parser = separator)]
    delimiter: Option<char>,
    /// What stands before the fraction of a number: `point` or `comma` [default: point]
    #[arg(long, value_name = "MARK", value_parser = decimal)]
    decimal: Option<DecimalMark>,
    /// A column of categories, whatever it looks like; may be given several times
    #[arg(long, value_name = "COLUMN")]
    categorical: Vec<String>,
    /// A column of numbers, whatever it looks like; may be given several times
    #[arg(long, value_name = "COLUMN")]
    numeric: Vec<String>,
    /// A column to leave out; may be given several times
    #[arg(long, value_name = "COLUMN")]
    ignore: Vec<String>,
}

/// What becomes of rows with missing values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnMissing {
    /// Training does not start, and the place is named
    Error,
    /// They are left out
    Drop,
    /// They get the mean of the training rows, or the most frequent category
    Mean,
}

/// What is done with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TableTask {
    Auto,
    Classification,
    Regression,
    /// No table, but a text
    Text,
}

/// How numbers are scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scale {
    /// To mean 0 and variance 1
    Standard,
    /// To 0 to 1
    Minmax,
    /// Not at all
    None,
}

fn fraction(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x > 0.0 && x < 1.0 => Ok(x),
        _ => Err("not a number between 0 and 1".into()),
    }
}

fn separator(text: &str) -> Result<char, String> {
    match text {
        "tab" | "\\t" => Ok('\t'),
        _ => match text.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n') => Ok(char::from(*byte)),
            _ => Err("not one character, such as , or ; or |, nor `tab`".into()),
        },
    }
}

fn decimal(text: &str) -> Result<DecimalMark, String> {
    match text {
        "." | "point" => Ok(DecimalMark::Point),
        "," | "comma" => Ok(DecimalMark::Comma),
        _ => Err("neither `point` nor `comma`".into()),
    }
}

/// What tells whether a table is the same another time, or in another file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Content {
    rows: usize,
    /// FNV-1a of its header and fields, in order, 64 bits in hexadecimal; another file may separate or quote them
    /// otherwise. Not known of runs of earlier versions.
    #[serde(default)]
    fields: Option<String>,
}

impl Content {
    pub(super) fn of(table: &Table) -> Self {
        let columns = table.columns();
        let fields =
            (0..table.len()).flat_map(|row| (0..columns.len()).filter_map(move |at| table.get(row, at)));
        let mut bytes = Vec::new();
        for field in columns.iter().map(String::as_str).chain(fields) {
            bytes.extend_from_slice(field.as_bytes());
            // No field of UTF-8 has this byte.
            bytes.push(0xff);
        }
        Content { rows: table.len(), fields: Some(format!("{:016x}", wgrad::fnv1a(&bytes))) }
    }

    fn is_same(&self, other: &Content) -> bool {
        let is_unknown = self.fields.is_none() || other.fields.is_none();
        self.rows == other.rows && (is_unknown || self.fields == other.fields)
    }
}

/// How a table is read and split; `run.json` keeps it as `table`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TableSettings {
    target: Option<String>,
    /// Versions without it knew classes alone. What `auto` stands for is written down.
    #[serde(default)]
    target_kind: TargetKind,
    missing: Missing,
    scaling: Scaling,
    test_fraction: f64,
    /// What draws the test rows: the seed of the run, and that of the first where it is resumed with another.
    split_seed: u64,
    delimiter: Option<char>,
    #[serde(default)]
    decimal: DecimalMark,
    categorical: Vec<String>,
    numeric: Vec<String>,
    ignore: Vec<String>,
    /// As `--validation` had it, not the number that came of it.
    validation: Option<usize>,
    /// What the file held; not known before it is read, nor of runs that did not write it down.
    #[serde(default)]
    content: Option<Content>,
}

impl TableSettings {
    /// What is asked for, or nothing earlier contradicts.
    pub(super) fn new(args: &TableArgs, seed: u64, validation: Option<usize>) -> Self {
        TableSettings {
            target: args.target.clone(),
            target_kind: match args.task {
                None | Some(TableTask::Auto | TableTask::Text) => TargetKind::Auto,
                Some(TableTask::Classification) => TargetKind::Class,
                Some(TableTask::Regression) => TargetKind::Number,
            },
            missing: match args.missing {
                None | Some(OnMissing::Error) => Missing::Error,
                Some(OnMissing::Drop) => Missing::Drop,
                Some(OnMissing::Mean) => Missing::Mean,
            },
            scaling: match args.scaling {
                None | Some(Scale::Standard) => Scaling::Standard,
                Some(Scale::Minmax) => Scaling::Minmax,
                Some(Scale::None) => Scaling::None,
            },
            test_fraction: args.test_fraction.unwrap_or(TEST_FRACTION),
            split_seed: seed,
            delimiter: args.delimiter,
            decimal: args.decimal.unwrap_or_default(),
            categorical: args.categorical.clone(),
            numeric: args.numeric.clone(),
            ignore: args.ignore.clone(),
            validation,
            content: None,
        }
    }

    /// The first argument that asks for something else than these.
    pub(super) fn changed(
        &self,
        data: &DataName,
        args: &TableArgs,
        validation: Option<usize>,
    ) -> Option<&'static str> {
        let asked = TableSettings::new(args, self.split_seed, validation);
        let is_given = |list: &[String]| !list.is_empty();
        let all = [
            (args.target.is_some() && asked.target != self.target, "--target"),
            // What `auto` stood for is that of the run.
            (
                args.task.is_some_and(|task| task != TableTask::Auto)
                    && asked.target_kind != self.target_kind,
                "--task",
            ),
            (args.missing.is_some() && asked.missing != self.missing, "--missing"),
            (args.scaling.is_some() && asked.scaling != self.scaling, "--scaling"),
            (args.test_fraction.is_some_and(|share| share != self.test_fraction), "--test-fraction"),
            (
                args.delimiter.is_some() && asked.delimiter(data.path()) != self.delimiter(data.path()),
                "--delimiter",
            ),
            (args.decimal.is_some_and(|mark| mark != self.decimal), "--decimal"),
            (is_given(&args.categorical) && asked.categorical != self.categorical, "--categorical"),
            (is_given(&args.numeric) && asked.numeric != self.numeric, "--numeric"),
            (is_given(&args.ignore) && asked.ignore != self.ignore, "--ignore"),
            (validation.is_some() && validation != self.validation, "--validation"),
        ];
        all.iter().find(|(is, _)| *is).map(|&(_, name)| name)
    }

    /// How the file differs from what it held, in words, if it does; not of runs that did not write that down.
    pub(super) fn change(&self, now: &Content) -> Option<String> {
        let before = self.content.as_ref().filter(|before| !before.is_same(now))?;
        Some(if before.rows == now.rows {
            format!("it has {} rows as before, but not the same ones", now.rows)
        } else {
            format!("it had {} rows, and has {}", before.rows, now.rows)
        })
    }

    /// Whether a file holds the rows that were trained on and tested, as far as that is known.
    pub(super) fn is_of(&self, now: &Content) -> bool {
        self.content.as_ref().is_some_and(|before| before.fields.is_some() && before == now)
    }

    /// What stands before the fraction of a number.
    pub(super) fn decimal(&self) -> DecimalMark {
        self.decimal
    }

    /// Whether it is known which rows there were.
    pub(super) fn knows_rows(&self) -> bool {
        self.content.as_ref().is_some_and(|content| content.fields.is_some())
    }

    /// Writes down what the file holds, and the column to predict and what that is.
    pub(super) fn keep(&mut self, content: Content, fitted: &TablePreprocessor) {
        self.content = Some(content);
        self.target = Some(fitted.target().into());
        self.target_kind = if fitted.is_regression() { TargetKind::Number } else { TargetKind::Class };
    }

    /// Whether what the target is goes by its values.
    pub(super) fn is_auto(&self) -> bool {
        self.target_kind == TargetKind::Auto
    }

    /// Those of a run's settings, or the defaults.
    pub(super) fn earlier(settings: &Value) -> Outcome<Self> {
        match settings.get("table") {
            Some(table) => serde_json::from_value(table.clone()).map_err(|e| {
                Failure::new(format!("the settings of the run do not say how the table is read: {e}"))
            }),
            None => Ok(TableSettings::new(&TableArgs::default(), 0, None)),
        }
    }

    /// What separates the fields of a file.
    pub(super) fn delimiter(&self, path: &Path) -> u8 {
        let is_tsv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tsv"));
        let usual = if is_tsv { '\t' } else { ',' };
        u8::try_from(self.delimiter.unwrap_or(usual)).unwrap_or(b',')
    }

    /// The rows to train, validate and test on, and what later ones go through.
    pub(super) fn split(&self, table: &Table) -> Outcome<(Split, TablePreprocessor)> {
        let mut options =
            TableOptions::default().missing(self.missing).scaling(self.scaling).decimal(self.decimal);
        options = options.target_kind(self.target_kind);
        if let Some(target) = &self.target {
            options = options.target(target);
        }
        for (names, kind) in [
            (&self.categorical, ColumnKind::Categorical),
            (&self.numeric, ColumnKind::Numeric),
            (&self.ignore, ColumnKind::Ignored),
        ] {
            options = names.iter().fold(options, |options, name| options.column(name, kind));
        }
        let (test, seed) = (self.test_fraction, self.split_seed);
        let share = match self.validation {
            None => 0.1 * (1.0 - test),
            Some(rows) => {
                // A share is of the rows that are not dropped.
                let split =
                    table.split(&options, &Holdout { validation: 0.0, test, seed }).map_err(in_training)?.0;
                let all = split.train.len() + split.test.len();
                if rows >= split.train.len() {
                    return Err(Failure::new(format!(
                        "keeping {rows} of {} rows for validation leaves none to train on; give a smaller --validation",
                        split.train.len()
                    )));
                }
                rows as f64 / all as f64
            }
        };
        table.split(&options, &Holdout { validation: share, test, seed }).map_err(in_training)
    }
}

impl TableArgs {
    /// Whether a file was said to be a text, or a table.
    pub(super) fn says_text(&self) -> Option<bool> {
        self.task.map(|task| task == TableTask::Text)
    }

    /// The first of the arguments that was given of those which say how a file is read.
    pub(super) fn for_files(&self) -> Option<&'static str> {
        let all = [(self.delimiter.is_some(), "--delimiter"), (self.decimal.is_some(), "--decimal")];
        all.iter().find(|(is, _)| *is).map(|&(_, name)| name)
    }

    /// The first of the arguments that was given.
    pub(super) fn given(&self) -> Option<&'static str> {
        let all = [
            (self.target.is_some(), "--target"),
            (self.task.is_some_and(|task| task != TableTask::Text), "--task"),
            (self.missing.is_some(), "--missing"),
            (self.scaling.is_some(), "--scaling"),
            (self.test_fraction.is_some(), "--test-fraction"),
            (self.delimiter.is_some(), "--delimiter"),
            (self.decimal.is_some(), "--decimal"),
            (!self.categorical.is_empty(), "--categorical"),
            (!self.numeric.is_empty(), "--numeric"),
            (!self.ignore.is_empty(), "--ignore"),
        ];
        all.iter().find(|(is, _)| *is).map(|&(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_are_one_character() {
        assert_eq!((separator(";"), separator("tab"), separator("\\t")), (Ok(';'), Ok('\t'), Ok('\t')));
        assert!(["", ";;", "é", "\"", "\n"].iter().all(|text| separator(text).is_err()));
        let settings = TableSettings::earlier(&Value::Null).unwrap();
        assert_eq!(["a.TSV", "a.csv", "a"].map(|path| settings.delimiter(Path::new(path))), [9, 44, 44]);
    }

    #[test]
    fn contents_are_those_of_the_fields() {
        // Test vectors of draft-eastlake-fnv, appendix C.
        for (text, hash) in
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            assert_eq!(wgrad::fnv1a(text.as_bytes()), hash, "{text}");
        }
        let of = |text: &str, delimiter: u8| {
            Content::of(&Table::from_bytes(text.as_bytes(), "rows.csv", delimiter).unwrap())
        };
        let plain = of("x,y\n1,ab\n2,c\n", b',');
        assert_eq!(plain, of("x;y\r\n\"1\";ab\r\n2;\"c\"", b';'));
        let others = ["x,y\n2,c\n1,ab\n", "x,y\n1a,b\n2,c\n", "x,z\n1,ab\n2,c\n", "x,y\n1,ab\n"];
        assert!(others.iter().all(|text| !plain.is_same(&of(text, b','))));
        // As an earlier version wrote it.
        let earlier: Content = serde_json::from_str(r#"{ "rows": 2, "hash": "85944171f73967e8" }"#).unwrap();
        assert!(earlier.is_same(&plain) && !earlier.is_same(&of("x,y\n1,ab\n", b',')));
    }

    #[test]
    fn settings_are_kept_as_they_were() {
        let args = TableArgs { target: Some("y".into()), delimiter: Some('\t'), ..TableArgs::default() };
        let args = TableArgs { missing: Some(OnMissing::Drop), test_fraction: Some(0.3), ..args };
        let settings = TableSettings::new(&args, 7, Some(3));
        let value = serde_json::json!({ "table": settings });
        assert_eq!(value["table"]["missing"], "drop");
        assert_eq!(TableSettings::earlier(&value).unwrap(), settings);
    }
}
