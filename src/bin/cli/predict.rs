//! `wgrad predict`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use wgrad::Params;
use wgrad::data::{Dataset, TablePreprocessor};
use wgrad::train::{Predictions, Predictor};

use super::data::Subject;
use super::data_name::DataName;
use super::eval::model_file;
use super::file_kind::{refuse_image, refuse_table};
use super::model::Architecture;
use super::picture::{Invert, Picture};
use super::run_file::Origin;
use super::write::WriteArgs;
use super::{Failure, Outcome, open, percent, rounded, say};

/// Says what a saved model takes images or rows for: the most probable classes of each, or the number it predicts. A model
/// of a text writes on.
///
/// Without inputs it shows some of the test rows, with what they are.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    wgrad predict                        the first test rows, by the model that was saved last below runs/\n  \
    wgrad predict --rows 40..60 --json\n  \
    wgrad predict seven.png eight.png --out runs/digits-cnn\n  \
    wgrad predict more.csv --out runs/iris-mlp\n  \
    wgrad predict --prompt \"Alice \" --length 200 --temperature 0.7 --out runs/alice-char-lstm")]
pub(super) struct Args {
    /// PNG images; for a model of a table, CSV files of rows with a header, which may lack the target
    #[arg(value_name = "FILE")]
    inputs: Vec<PathBuf>,
    /// Test rows of the data set: a number, or FROM..TO, counted from 0 [default: 0..5 without inputs]
    #[arg(long, value_name = "ROWS", value_parser = range)]
    rows: Option<(usize, usize)>,
    /// A model.safetensors, of this program or with the same names from elsewhere
    #[arg(long, value_name = "FILE", conflicts_with = "out")]
    model_file: Option<PathBuf>,
    /// The folder of a run [default: the one in runs/ whose model was saved last; with --data, of those on it]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// `digits`, `iris`, a CSV file, or a folder with MNIST's four files [default: what the model was trained on]
    #[arg(long, value_name = "digits|iris|FILE.csv|DIR")]
    data: Option<DataName>,
    /// Exchange dark and light in the images, as models of digits have light ink on dark ground
    #[arg(long, value_enum, default_value = "auto")]
    invert: Invert,
    /// How many classes to list
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,
    /// `auto` (a GPU if there is one, else the CPU), `gpu`, `cpu`, or part of an adapter's name
    #[arg(long, default_value = "auto")]
    device: String,
    /// Print one JSON object a row
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    write: WriteArgs,
}

/// `7` or `0..10`.
fn range(text: &str) -> Result<(usize, usize), String> {
    let number = |t: &str| t.trim().parse::<usize>().map_err(|_| format!("`{t}` is no row number"));
    let (from, to) = match text.split_once("..") {
        Some((from, to)) => (number(from)?, number(to)?),
        None => (number(text)?, number(text)?.saturating_add(1)),
    };
    if from < to { Ok((from, to)) } else { Err("the rows end before they begin".into()) }
}

/// One thing to classify.
struct Input {
    name: String,
    values: Vec<f32>,
    picture: Option<Picture>,
    truth: Option<usize>,
    /// The number to be predicted, if it is known, in its unit.
    number: Option<f64>,
}

pub(super) fn run(args: &Args) -> Outcome {
    let path = model_file(args.model_file.as_ref(), args.out.as_ref(), args.data.as_ref())?;
    let origin = Origin::of(&path)?;
    if origin.vocabulary.is_some() {
        let wrong = [
            (!args.inputs.is_empty(), "files"),
            (args.rows.is_some(), "--rows"),
            (args.data.is_some() && args.out.is_some(), "--data"),
        ];
        if let Some((_, what)) = wrong.iter().find(|(is, _)| *is) {
            return Err(Failure::usage(format!(
                "{} is a model of texts, which takes no {what}; give --prompt, which it goes on from",
                path.display()
            )));
        }
        return args.write.run(&path, &origin, &args.device, args.json);
    }
    if let Some(option) = args.write.given() {
        return Err(Failure::usage(format!(
            "{option} is for models of texts, and {} is none; train one with `wgrad train --data alice` or `--data \
             FILE.txt`, or name one with --out or --model-file",
            path.display()
        )));
    }
    let subject = Subject::of(&path, args.data.as_ref())?;
    let architecture = Architecture::read(&path, &subject.shape()?, subject.network.clone())?;
    let is_named = args.model_file.is_some() || args.out.is_some();
    let which = match is_named {
        true => String::new(),
        false => format!(
            "; the model is {}, the one saved last: name another with --out or --model-file",
            path.display()
        ),
    };
    let mut inputs = Vec::new();
    for file in &args.inputs {
        match &subject.preprocessor {
            Some(preprocessor) => {
                refuse_image(file).map_err(|failure| failure.and(&which))?;
                inputs.extend(rows_of_file(file, &subject, preprocessor)?);
            }
            None => {
                refuse_table(file).map_err(|failure| failure.and(&which))?;
                inputs.push(image(file, args.invert, &architecture.input)?);
            }
        }
    }
    if args.rows.is_some() || args.inputs.is_empty() {
        let test = subject.test()?.data;
        let rows = args.rows.unwrap_or((0, test.len().min(5)));
        if test.shape() != architecture.input {
            return Err(Failure::new(format!(
                "the model takes examples of shape {:?}, and those of `{}` have {:?}",
                architecture.input,
                subject.data,
                test.shape()
            )));
        }
        inputs.extend(rows_of(&test, &subject, rows)?);
    }
    let (device, _) = open(&args.device)?;
    let params = Params::seeded(0);
    let model = architecture.build(&params, 0.0)?;
    device.load(&params.all(), &path)?;
    let values: Vec<f32> = inputs.iter().flat_map(|i| i.values.iter().copied()).collect();
    let mut predictor = Predictor::new(&device, model, &architecture.input[..])?;
    let expect = |rows: usize| match rows == inputs.len() {
        true => Ok(()),
        false => Err(Failure::new(format!(
            "{} inputs hold values of {rows} examples of shape {:?}",
            inputs.len(),
            architecture.input
        ))),
    };
    if let Some(fitted) = subject.regression() {
        let made = predictor.outputs(&values)?;
        expect(made.shape().elements())?;
        for (input, &scaled) in inputs.iter().zip(made.as_f32()) {
            let predicted = fitted.target_value(scaled.into());
            match args.json {
                true => say(json!({
                    "input": input.name,
                    "target": fitted.target(),
                    "prediction": predicted,
                    "truth": input.number,
                })),
                false => say(number_text(input, fitted.target(), predicted)),
            }
        }
        return Ok(());
    }
    let predictions = predictor.predict(&values)?;
    expect(predictions.len())?;
    for (row, input) in inputs.iter().enumerate() {
        match args.json {
            true => say(object(input, &predictions, row, subject.classes())),
            false => say(text(input, &predictions, row, args.top as usize, subject.classes())),
        }
    }
    Ok(())
}

/// A file as the model takes it.
fn image(path: &Path, invert: Invert, input: &[usize]) -> Outcome<Input> {
    let &[channels @ (1 | 3), height, width] = input else {
        return Err(Failure::new(format!(
            "the model takes examples of shape {input:?}, and {} is an image of 1 or 3 channels",
            path.display()
        )));
    };
    let mut picture = Picture::read(path, channels)?.fitted(height, width);
    let inverts = match invert {
        Invert::Auto => channels == 1 && picture.is_on_paper(),
        other => other == Invert::Yes,
    };
    if inverts {
        picture = picture.inverted();
    }
    let name = match inverts {
        true => format!("{} (inverted)", path.display()),
        false => path.display().to_string(),
    };
    Ok(Input { name, values: picture.values.clone(), picture: Some(picture), truth: None, number: None })
}

/// The rows of a table.
fn rows_of_file(path: &Path, subject: &Subject, preprocessor: &TablePreprocessor) -> Outcome<Vec<Input>> {
    let table = subject.read_rows(path)?;
    let rows = preprocessor.rows(&table).map_err(|error| subject.advised(error, path))?;
    let target = table.columns().iter().position(|column| column == preprocessor.target());
    let input = |(values, &row): (&[f32], &usize)| Input {
        name: format!("{}, line {}", path.display(), table.line(row).unwrap_or_default()),
        values: values.to_vec(),
        picture: None,
        truth: target.and_then(|target| preprocessor.class(table.get(row, target)?)),
        number: target.and_then(|target| preprocessor.number(table.get(row, target)?)),
    };
    Ok(rows.values.chunks(preprocessor.width()).zip(&rows.rows).map(input).collect())
}

/// Rows of the data set.
fn rows_of(test: &Dataset, subject: &Subject, (from, to): (usize, usize)) -> Outcome<Vec<Input>> {
    let name = &subject.data;
    if to > test.len() {
        return Err(Failure::new(format!(
            "`{name}` has {} test rows, counted from 0; there is no row {}",
            test.len(),
            to - 1
        )));
    }
    let input = |row: usize| {
        let values = test.row(row).unwrap_or_default();
        let picture = match test.shape()[..] {
            [channels, height, width] => Some(Picture { channels, height, width, values: values.clone() }),
            _ => None,
        };
        let truth = test.labels().get(row).map(|&label| label as usize);
        let scaled = subject.regression().zip(test.target(row).and_then(|target| target.first().copied()));
        let number = scaled.map(|(fitted, scaled)| fitted.target_value(scaled.into()));
        Input { name: format!("{name}, test row {row}"), values, picture, truth, number }
    };
    Ok((from..to).map(input).collect())
}

fn object(input: &Input, predictions: &Predictions, row: usize, names: &[String]) -> Value {
    let class = predictions.class(row);
    json!({
        "input": input.name,
        "class": class,
        "class_name": names.get(class),
        "probability": predictions.probability(row, class),
        "probabilities": predictions.probabilities(row),
        "truth": input.truth,
    })
}

/// A predicted number, and how far off it is.
fn number_text(input: &Input, target: &str, predicted: f64) -> String {
    let truth = input
        .number
        .map(|truth| format!(", and it is {} ({} off)", rounded(truth), rounded((predicted - truth).abs())));
    format!("{}: {target} {}{}", input.name, rounded(predicted), truth.unwrap_or_default())
}

/// The picture with what it is taken for beside it.
fn text(input: &Input, predictions: &Predictions, row: usize, top: usize, names: &[String]) -> String {
    let name = |class: usize| names.get(class).cloned().unwrap_or_else(|| class.to_string());
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(4);
    let mut said = vec![input.name.clone()];
    if let Some(truth) = input.truth {
        let right = if truth == predictions.class(row) { "" } else { ", MISTAKEN" };
        said[0].push_str(&format!(": a {}{right}", name(truth)));
    }
    for (class, probability) in predictions.top(row, top) {
        let bar = "█".repeat((probability * 20.0).round() as usize);
        said.push(format!("{:>longest$} {:>9}  {bar}", name(class), percent(probability)));
    }
    let Some(picture) = &input.picture else { return said.join("\n") + "\n" };
    let lines = picture.lines();
    let width = lines.first().map_or(0, |l| l.chars().count());
    let height = lines.len().max(said.len());
    let line = |i: usize| {
        let left = lines.get(i).map_or("", |l| l.as_str());
        let right = said.get(i).map_or("", |l| l.as_str());
        format!("│{left:<width$}│  {right}").trim_end().to_string()
    };
    (0..height).map(line).collect::<Vec<_>>().join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn rows_are_a_number_or_a_range() {
        assert_eq!(range("7"), Ok((7, 8)));
        assert_eq!(range("0..10"), Ok((0, 10)));
        assert!(range("5..5").is_err() && range("a").is_err() && range("3..").is_err());
    }
}
