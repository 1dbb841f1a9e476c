//! Data sets by name, and which rows a saved model is tested on.

use std::path::Path;

use wgrad::data::{Dataset, Split, Table, TablePreprocessor, Text, digits, iris, load_idx_folder};
use wgrad::losses::Loss;
use wgrad::train::{Mae, Mse, Task};
use wgrad::{Error, Params};

use super::advice::{in_asking, in_training};
use super::data_name::DataName;
use super::file_kind::{is_image, refuse_image};
use super::loss::LossSettings;
use super::network::Network;
use super::run_file::{Origin, PREPROCESSING_FILE};
use super::settings::Settings;
use super::table::{Content, TableSettings};
use super::text;
use super::{Failure, Outcome};

/// Rows to train, validate and test on.
pub(super) struct Loaded {
    pub(super) split: Split,
    /// What later rows of a table go through.
    pub(super) preprocessor: Option<TablePreprocessor>,
    /// What was taken for granted about a table, in one line.
    pub(super) note: Option<String>,
    /// The text, if it is one.
    pub(super) text: Option<Text>,
}

/// The data set of the settings of a run. Of images, a tenth of the training rows is kept for validation if nothing is said.
///
/// How a table or a text is read learns what the file holds. It is that of a run which is resumed if it knows already, and of
/// another content other rows would be drawn.
pub(super) fn load(settings: &mut Settings) -> Outcome<Loaded> {
    if let Some(how) = &mut settings.text {
        let text = how.read(&settings.data)?;
        let split = text::split(&text, settings)?;
        return Ok(Loaded { split, preprocessor: None, note: None, text: Some(text) });
    }
    let Settings { data: name, table, validation, .. } = settings;
    let (name, validation) = (&*name, *validation);
    if name.is_table() {
        refuse_image_as_data(
            name,
            "give a CSV file of rows, or a folder with the four files of MNIST or of a set published like it",
        )?;
        let (rows, content) = read_table(name, table, in_training)?;
        if let Some(change) = table.change(&content) {
            return Err(Failure::new(format!(
                "`{name}` does not hold the rows that the run began with: {change}; a run on a table is resumed with \
                 the rows it had, so start another run, or give the file as it was with --data"
            )));
        }
        let was_auto = table.is_auto();
        let (split, preprocessor) = table.split(&rows)?;
        let note = was_auto.then(|| note(&rows, &preprocessor));
        table.keep(content, &preprocessor);
        return Ok(Loaded { split, preprocessor: Some(preprocessor), note, text: None });
    }
    let (train, test) = load_images(name)?;
    let rows = validation.unwrap_or((train.len() + 5) / 10);
    Ok(Loaded { split: Split::new(train, test, rows)?, preprocessor: None, note: None, text: None })
}

/// What `--task auto` took a table for.
fn note(table: &Table, fitted: &TablePreprocessor) -> String {
    let target = fitted.target();
    if !fitted.is_regression() {
        return format!(
            "classification of `{target}`: {} different values (--task regression predicts a number)",
            fitted.classes().len()
        );
    }
    let at = table.columns().iter().position(|column| column == target).unwrap_or(0);
    let numbers = (0..table.len()).filter_map(|row| fitted.number(table.get(row, at)?));
    let different: std::collections::BTreeSet<u64> = numbers.map(|x| (x + 0.0).to_bits()).collect();
    format!(
        "regression of `{target}`: {} different numbers in {} rows (--task classification takes them for classes)",
        different.len(),
        table.len()
    )
}

/// Leaves what later rows go through beside the model, or removes that of an earlier run.
pub(super) fn save(preprocessor: Option<&TablePreprocessor>, out: &Path) -> Outcome {
    let path = out.join(PREPROCESSING_FILE);
    match preprocessor {
        Some(preprocessor) => preprocessor.save(&path)?,
        None => {
            let _ = std::fs::remove_file(path);
        }
    }
    Ok(())
}

/// The digits that come with wgrad, or a folder: (training rows, test rows).
fn load_images(name: &DataName) -> Outcome<(Dataset, Dataset)> {
    name.refuse_missing()?;
    match name.file() {
        Some(folder) => Ok(load_idx_folder(folder)?),
        None => Ok(digits()?),
    }
}

/// What a model of a table cannot be asked about: its rows would be cut out of other values.
fn refuse_no_table(name: &DataName) -> Outcome {
    name.refuse_missing()?;
    if name.is_table() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the model is for rows of a table, and `{name}` is none; give the table, or a CSV file of such rows, with \
         --data"
    )))
}

/// One image is no data set.
fn refuse_image_as_data(name: &DataName, advice: &str) -> Outcome {
    match name.file().is_some_and(is_image) {
        true => Err(Failure::new(format!("`{name}` is an image, and no data set; {advice}"))),
        false => Ok(()),
    }
}

/// A table, and what tells whether it is the same another time.
fn read_table(
    name: &DataName,
    table: &TableSettings,
    advised: impl Fn(Error) -> Failure,
) -> Outcome<(Table, Content)> {
    let Some(path) = name.file() else {
        let rows = iris()?;
        let content = Content::of(&rows);
        return Ok((rows, content));
    };
    let bytes = std::fs::read(path).map_err(|e| Failure::new(format!("{name}: {e}")))?;
    let rows = Table::from_bytes(&bytes, path, table.delimiter(path)).map_err(advised)?;
    let content = Content::of(&rows);
    Ok((rows, content))
}

/// The data set in the settings of a run.
pub(super) fn name_in(settings: &serde_json::Value) -> Option<DataName> {
    settings.get("data").and_then(|name| serde_json::from_value(name.clone()).ok())
}

/// The data that a saved model is tested on or asked about.
pub(super) struct Subject {
    /// What was given, what the model's run was trained on, or the digits.
    pub(super) data: DataName,
    /// What rows of a table go through, if the model is for one.
    pub(super) preprocessor: Option<TablePreprocessor>,
    table: TableSettings,
    /// What the model was trained to make small.
    loss: LossSettings,
    /// What its layers are made with.
    pub(super) network: Network,
    /// Whether the data has the name of that which the model was trained on.
    is_own: bool,
}

/// Rows to test on.
pub(super) struct TestRows {
    pub(super) data: Dataset,
    /// Whether the model's run kept them for the test; else they are all rows of a table.
    pub(super) are_kept: bool,
}

impl Subject {
    pub(super) fn of(model: &Path, given: Option<&DataName>) -> Outcome<Self> {
        let Origin { settings, preprocessor, .. } = Origin::of(model)?;
        let trained = name_in(&settings).unwrap_or_default();
        let data = given.unwrap_or(&trained).clone();
        if data.is_alice() {
            return Err(Failure::new(format!(
                "`{data}` is a text, and {} is no model of texts",
                model.display()
            )));
        }
        if data.is_table() && preprocessor.is_none() {
            refuse_image_as_data(&data, "`wgrad predict` says what an image shows")?;
            return Err(Failure::new(format!(
                "`{data}` is a table, and {} does not say how its rows become numbers, nor is there a \
                 {PREPROCESSING_FILE} beside it; a model that was trained on a table says it",
                model.display()
            )));
        }
        let is_own = data.is_same(&trained);
        if preprocessor.is_some() && given.is_some() {
            refuse_no_table(&data)?;
        }
        let loss = LossSettings::earlier(&settings)?;
        let (table, network) = (TableSettings::earlier(&settings)?, Network::earlier(&settings)?);
        Ok(Subject { data, preprocessor, table, loss, network, is_own })
    }

    /// The rows to test on. Of a table that the model was not trained on, all.
    pub(super) fn test(&self) -> Outcome<TestRows> {
        let Some(preprocessor) = &self.preprocessor else {
            return Ok(TestRows { data: load_images(&self.data)?.1, are_kept: true });
        };
        if self.is_own && self.data.file().is_some_and(|file| !file.exists()) {
            return Err(Failure::new(format!(
                "the model was trained on `{}`, which is not there (seen from here); say where it is with --data, for \
                 its test rows, or give other rows",
                self.data
            )));
        }
        refuse_no_table(&self.data)?;
        refuse_image(self.data.path())?;
        let advised = |error| self.advised(error, self.data.path());
        let (table, content) = read_table(&self.data, &self.table, advised)?;
        // A copy under another name has the rows that were trained on, too.
        if !self.is_own && !self.table.is_of(&content) {
            let data = preprocessor.dataset(&table).map_err(advised)?;
            return Ok(TestRows { data, are_kept: false });
        }
        // Of another file other rows would be drawn, among them some of those trained on.
        let unknown = |why: String| {
            Failure::new(format!(
                "{why}, so that the test rows cannot be told; give rows the model was not trained on with --data FILE.csv"
            ))
        };
        if let Some(change) = self.table.change(&content) {
            return Err(unknown(format!(
                "`{}` has changed since the model was trained on a part of it: {change}",
                self.data
            )));
        }
        let (split, fitted) = self.table.split(&table)?;
        match fitted.difference(preprocessor) {
            None => Ok(TestRows { data: split.test, are_kept: true }),
            Some(difference) => Err(unknown(format!(
                "what the model's rows went through is not what the settings of its run make of `{}` ({difference}): one \
                 of the three was changed after the run",
                self.data
            ))),
        }
    }

    /// A file of rows like those it was trained on.
    pub(super) fn read_rows(&self, path: &Path) -> Outcome<Table> {
        Table::read_delimited(path, self.table.delimiter(path)).map_err(|error| self.advised(error, path))
    }

    /// What is wrong with a table that the model is asked about.
    pub(super) fn advised(&self, error: Error, path: &Path) -> Failure {
        in_asking(error, self.table.delimiter(path).into(), self.table.decimal())
    }

    /// Shape of an example.
    pub(super) fn shape(&self) -> Outcome<Vec<usize>> {
        match &self.preprocessor {
            Some(preprocessor) => Ok(vec![preprocessor.width()]),
            None => Ok(self.test()?.data.shape().to_vec()),
        }
    }

    /// What the model predicts a number of a table's rows with, if it does.
    pub(super) fn regression(&self) -> Option<&TablePreprocessor> {
        self.preprocessor.as_ref().filter(|preprocessor| preprocessor.is_regression())
    }

    /// What is measured of the model, numbers of a table in the unit of its target: of the rows that its run tested it on,
    /// what was measured there. What its loss has learnt is found in `params`.
    pub(super) fn task(&self, test: &TestRows, params: &Params) -> Task {
        let usual = match self.regression() {
            // Scaled by the training rows, others may lie far from 0.
            Some(fitted) if !test.are_kept => in_unit(Task::of(&test.data), fitted),
            _ => task(&test.data, self.preprocessor.as_ref()),
        };
        self.loss.of(usual, &test.data, self.preprocessor.as_ref(), params)
    }

    /// The names of the classes; none where they have only numbers.
    pub(super) fn classes(&self) -> &[String] {
        self.preprocessor.as_ref().map_or(&[], |preprocessor| preprocessor.classes())
    }
}

/// What is minimized and measured: of a table's numbers the metrics are in the unit of the target, the loss is that of
/// scaled ones.
pub(super) fn task(data: &Dataset, preprocessor: Option<&TablePreprocessor>) -> Task {
    match preprocessor.filter(|preprocessor| preprocessor.is_regression()) {
        // Scaled by the training rows, the targets lie around 0.
        Some(preprocessor) => in_unit(Task::new(Loss::mse()), preprocessor),
        None => Task::of(data),
    }
}

fn in_unit(task: Task, preprocessor: &TablePreprocessor) -> Task {
    let size = preprocessor.target_unit();
    task.metric(Mse::new().unit(size)).metric(Mae::new().unit(size))
}
