//! `wgrad eval`.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::{Value, json};
use wgrad::Params;
use wgrad::data::Vocabulary;
use wgrad::train::Evaluator;

use super::data::Subject;
use super::data_name::DataName;
use super::model::{Architecture, Kind};
use super::settings::{self, name};
use super::text::{self, Baseline, TextModel, TextRows};
use super::{Failure, Outcome, open, percent, run_file, say, say_device, tested, thousands};

/// Tests a saved model on the test rows: accuracy, loss and confusion matrix, the errors of a regression, or
/// bits per symbol and perplexity of a text.
///
/// The model's layers are read from the shapes in its file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    wgrad eval                        the model that `wgrad train` saved last below runs/\n  \
    wgrad eval --out runs/wide\n  \
    wgrad eval --model-file model.safetensors --data ~/mnist")]
pub(super) struct Args {
    /// A model.safetensors, of this program or with the same names from elsewhere
    #[arg(long, value_name = "FILE", conflicts_with = "out")]
    model_file: Option<PathBuf>,
    /// The folder of a run [default: the one in runs/ whose model was saved last; with --data, of those on it]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// `digits`, `iris`, `alice`, a CSV file, a text, or a folder with MNIST's four files [default: what the model was trained
    /// on]. Of a file that the model was not trained on, all is tested
    #[arg(long, value_name = "digits|iris|alice|FILE|DIR")]
    data: Option<DataName>,
    /// `auto` (a GPU if there is one, else the CPU), `gpu`, `cpu`, or part of an adapter's name
    #[arg(long, default_value = "auto")]
    device: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    let path = model_file(args.model_file.as_ref(), args.out.as_ref(), args.data.as_ref())?;
    let origin = run_file::Origin::of(&path)?;
    if let Some(vocabulary) = &origin.vocabulary {
        return of_text(args, &path, &origin.settings, vocabulary);
    }
    let subject = Subject::of(&path, args.data.as_ref())?;
    let (rows, data_name) = (subject.test()?, &subject.data);
    let test = &rows.data;
    let architecture = Architecture::read(&path, test.shape(), subject.network.clone())?;
    let (device, no_gpu) = open(&args.device)?;
    let info = device.info();
    let params = Params::seeded(0);
    let model = architecture.build(&params, 0.0)?;
    let task = subject.task(&rows, &params);
    device.load(&params.all(), &path)?;
    let result = Evaluator::with(&device, &model, test, &task)?.run()?;
    if args.json {
        let mut all = json!({
            "rows": test.len(),
            "data": data_name.to_string(),
            "model_file": path.display().to_string(),
            "model": name(&architecture.kind),
            "widths": architecture.widths,
            "adapter": info.name,
            "backend": info.backend,
        });
        match subject.regression() {
            Some(fitted) => all["target"] = json!(fitted.target()),
            None => {
                all["confusion"] = json!(result.confusion);
                all["class_names"] = json!(test.class_names());
            }
        }
        if let Some(all) = all.as_object_mut() {
            run_file::put_scores(all, "test", &result.scores);
        }
        say(all);
        return Ok(());
    }
    say_device(&info, no_gpu.as_deref());
    say(format!("model       {}: {}", path.display(), architecture.describe()));
    let called = if rows.are_kept { "test rows" } else { "rows, all of the table" };
    say(format!("data        {data_name}: {} {called}\n", thousands(test.len() as f64)));
    say(format!("test {}\n", tested(&result.scores)));
    if subject.regression().is_none() {
        say(matrix(&result.confusion, test.class_names()));
    }
    Ok(())
}

/// Tests a model of a text.
fn of_text(args: &Args, path: &Path, settings: &Value, vocabulary: &Vocabulary) -> Outcome {
    let model = TextModel::saved(settings)?;
    let name = text::own_name(settings, args.data.as_ref(), path)?;
    let TextRows { data: test, own } = text::test(&name, &model, vocabulary, settings)?;
    let (device, no_gpu) = open(&args.device)?;
    let info = device.info();
    let params = Params::seeded(0);
    let network = model.build(&params, vocabulary.len(), 0.0);
    device.load(&params.all(), path)?;
    let scores = Evaluator::new(&device, &network, &test)?.run()?.scores;
    let baseline = own.as_ref().map(Baseline::of).transpose()?.flatten();
    let symbols = test.labels().len();
    if args.json {
        let mut all = json!({
            "symbols": symbols,
            "data": name.to_string(),
            "model_file": path.display().to_string(),
            "model": settings::name(&model.kind),
            "widths": [model.hidden],
            "adapter": info.name,
            "backend": info.backend,
        });
        if let Some(baseline) = baseline {
            all["ngram_order"] = json!(baseline.order);
            all["ngram_bits"] = json!(baseline.bits);
        }
        if let Some(all) = all.as_object_mut() {
            run_file::put_scores(all, "test", &scores);
        }
        say(all);
        return Ok(());
    }
    say_device(&info, no_gpu.as_deref());
    say(format!("model       {}: {}", path.display(), model.describe(vocabulary.len())));
    let part = if own.is_some() { "the test part" } else { "all of the text" };
    say(format!(
        "data        {name}: {} {}, {part}\n",
        thousands(symbols as f64),
        text::units(vocabulary.unit())
    ));
    say(format!("test {}", tested(&scores)));
    if let Some((baseline, bits)) = baseline.zip(scores.get("bits")) {
        say(baseline.describe(bits));
    }
    Ok(())
}

/// The model that is meant: a file, one in the folder of a run, or that of the last run below runs/, on the data if some
/// is given.
pub(super) fn model_file(
    file: Option<&PathBuf>,
    folder: Option<&PathBuf>,
    data: Option<&DataName>,
) -> Outcome<PathBuf> {
    const NAME: &str = "model.safetensors";
    if let Some(file) = file {
        return Ok(file.clone());
    }
    let folders: Vec<PathBuf> = match (folder, data) {
        (Some(folder), _) => vec![folder.clone()],
        (None, Some(data)) => {
            Kind::value_variants().iter().map(|&kind| super::train::folder(data, kind)).collect()
        }
        (None, None) => {
            let entries = std::fs::read_dir("runs").into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect()
        }
    };
    let written = |path: &PathBuf| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    let models = folders.iter().map(|folder| folder.join(NAME));
    let newest = models.filter_map(|path| Some((written(&path)?, path))).max();
    if let Some((_, path)) = newest {
        return Ok(path);
    }
    if let Some(begun) = folders.iter().find(|folder| folder.join("checkpoint.safetensors").exists()) {
        let begun = begun.display();
        return Err(Failure::new(format!(
            "there is no model in {begun} yet: its run was stopped in the first epoch; go on with \
             `wgrad train --resume --out {begun}`"
        )));
    }
    let places: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    let places = if places.is_empty() { "runs/".into() } else { places.join(", ") };
    Err(Failure::new(format!(
        "there is no {NAME} in {places}; run `wgrad train`, or name a model with --out or --model-file"
    )))
}

/// Rows: the class it is. Columns: the class it was taken for.
fn matrix(confusion: &[Vec<u32>], names: &[String]) -> String {
    let most = confusion.iter().flatten().max().copied().unwrap_or(0);
    let width = most.to_string().len().max(confusion.len().to_string().len()).max(2) + 1;
    let longest = names.iter().map(|name| name.chars().count()).max().map_or(0, |longest| longest + 1);
    let name = |class: usize| names.get(class).map_or("", String::as_str);
    let mut text = format!("class, and what it was taken for\n     {:longest$}", "");
    (0..confusion.len()).for_each(|c| text.push_str(&format!("{c:>width$}")));
    for (class, row) in confusion.iter().enumerate() {
        text.push_str(&format!("\n{class:>4} {:<longest$}", name(class)));
        for &count in row {
            // Zeros would hide the mistakes.
            let cell = if count == 0 { ".".to_string() } else { count.to_string() };
            text.push_str(&format!("{cell:>width$}"));
        }
        let all: u32 = row.iter().sum();
        let right = f64::from(row[class]) / f64::from(all.max(1));
        text.push_str(&format!("  {:>9}", percent(right)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::matrix;

    #[test]
    fn a_matrix_is_aligned_and_shows_mistakes_only() {
        let text = matrix(&[vec![9, 1], vec![0, 100]], &[]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "        0   1");
        assert_eq!(lines[2], "   0    9   1    90.00 %");
        assert_eq!(lines[3], "   1    . 100   100.00 %");
        let text = matrix(&[vec![9, 1], vec![0, 100]], &["no".into(), "yes".into()]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "            0   1");
        assert_eq!(lines[2], "   0 no     9   1    90.00 %");
        assert_eq!(lines[3], "   1 yes    . 100   100.00 %");
    }
}
