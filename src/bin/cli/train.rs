//! `wgrad train`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::{Value, json};
use wgrad::data::{Dataset, TablePreprocessor};
use wgrad::losses::{elastic_net_penalty, weights};
use wgrad::nn::{Layer, Summary};
use wgrad::optim::{Accumulate, Averaged, ClipNorm, ClipValue, LossScale, Optimizer as Optimizes};
use wgrad::train::{EpochRecord, FolderLock, Keep, Trainer};
use wgrad::{Params, Precision};

use super::data::Loaded;
use super::data_name::DataName;
use super::model::{Architecture, Kind};
use super::progress::Progress;
use super::run_file::Origin;
use super::settings::{self, Kept, Settings, heading, name};
use super::text::{Baseline, TextModel};
use super::train_report::{describe, describe_data, kept_result, result, say_end};
use super::train_watch::Watch;
use super::{Failure, Outcome, advice, data, open, pictures, run_file, say, say_device, write};

/// Trains a classifier, a regression of a table's numbers, or a model that writes texts, and tests it.
///
/// In the folder of --out it leaves model.safetensors, the weights under PyTorch's names;
/// checkpoint.safetensors, with which --resume goes on; run.json, the settings, epochs and result; pictures of the
/// run, as SVG; and, of a table, preprocessing.json, what its rows go through. Model and checkpoint hold the settings
/// and what rows go through as well. Files of an earlier run there are replaced once the first epoch has ended; a run
/// that is stopped before replaces the checkpoint alone, and nothing before its first step. Ctrl-C stops after the current step, saves and tests; a second
/// one quits.
///
/// One seed gives the same result on one device, bit for bit, stopped and resumed or not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    wgrad train                             the digits that come with wgrad, on a GPU if there is one\n  \
    wgrad train --data ~/mnist --epochs 10  a folder with MNIST's four files\n  \
    wgrad train --data patients.csv --target outcome --missing mean\n  \
    wgrad train --data houses.csv --target price --task regression\n  \
    wgrad train --model resnet --channels 16,32,64 --depth 2\n  \
    wgrad train --data alice                a text that comes with wgrad; --data FILE.txt takes any other\n  \
    wgrad train --hidden 256,128 --out runs/wide\n  \
    wgrad train --resume --epochs 100       goes on with the last run of the same --out")]
pub(super) struct Args {
    #[command(flatten)]
    settings: settings::Args,
    /// `auto` (a GPU if there is one, else the CPU), `gpu`, `cpu`, or part of an adapter's name
    #[arg(long, default_value = "auto", help_heading = heading::DEVICE)]
    device: String,
    /// Go on from the checkpoint in --out
    ///
    /// With the settings of its run where no others are given; the device is none of them.
    #[arg(long, help_heading = heading::RUN)]
    resume: bool,
    /// Show how the layers fare, at every so many steps (100)
    ///
    /// That is: norms of weights, gradients and outputs, how far an update goes, dead ReLUs. They are kept in run.json. Gradients that
    /// vanish or explode, ReLUs that die and steps that are too large are said in a warning.
    #[arg(
        long,
        value_name = "STEPS",
        num_args = 0..=1,
        default_missing_value = "100",
        value_parser = clap::value_parser!(u32).range(1..),
        help_heading = heading::RUN
    )]
    watch: Option<u32>,
    /// Name the op, layer and step that give NaN or an infinity
    ///
    /// All that a step computes is looked at, so that it takes up to two and a half times as long.
    #[arg(long, help_heading = heading::RUN)]
    check_numerics: bool,
    /// Leave out the pictures
    ///
    /// These are curves.svg, confusion.svg, mistakes.svg, filters.svg; of a regression predicted.svg and residuals.svg.
    #[arg(long, help_heading = heading::RUN)]
    no_pictures: bool,
    /// Print one JSON object an epoch and one at the end, and nothing else
    #[arg(long, help_heading = heading::RUN)]
    json: bool,
}

/// The folder of a run.
pub(super) fn folder(data: &DataName, model: Kind) -> PathBuf {
    PathBuf::from("runs").join(format!("{}-{}", data.short(), name(&model)))
}

pub(super) fn run(args: &Args, started: Instant) -> Outcome {
    let stop = stop_on_ctrl_c()?;
    let Args { settings: given, .. } = args;
    let out = given.out.clone().unwrap_or_else(|| folder(&given.data(), given.kind()));
    let checkpoint = out.join("checkpoint.safetensors");
    let mut before = None;
    // What is resumed is locked before it is read; a new run locks when it is about to write.
    let mut lock = None;
    if args.resume {
        if !checkpoint.exists() {
            return Err(Failure::new(format!("nothing to resume: there is no {}", checkpoint.display())));
        }
        lock = Some(FolderLock::acquire(&out)?);
        before = Some(Origin::of(&checkpoint)?);
    }
    let mut settings = Settings::new(given, before.as_ref().map_or(&Value::Null, |before| &before.settings))?;
    let Loaded { split, preprocessor, note, text } = data::load(&mut settings)?;
    let regression = preprocessor.clone().filter(TablePreprocessor::is_regression);
    if regression.is_some() {
        settings.predict_numbers(given, args.resume);
    }
    settings.loss.balance(&split.train)?;
    let (device, no_gpu) = open(&args.device)?;
    let info = device.info();

    let params = Params::seeded(settings.seed);
    let language = text.as_ref().map(|text| {
        let model = TextModel::of(&settings);
        model.build(&params, text.vocabulary().len(), settings.dropout)
    });
    let model: Box<dyn Layer + Send + Sync> = match &language {
        Some(language) => Box::new(language.clone()),
        None => architecture(&settings, &split.train).build(&params, settings.dropout)?,
    };
    let task = data::task(&split.train, preprocessor.as_ref());
    let task = settings.loss.of(task, &split.train, preprocessor.as_ref(), &params);
    let test = split.test.clone();
    let batch = split.train.len().min(settings.batch as usize);
    let shape = [&[batch], split.train.shape()].concat();
    let summary =
        if text.is_some() { Summary::of_indices(&model, &shape)? } else { Summary::of(&model, &shape)? };
    let described = settings.json(split.validation.len());
    let lock = match lock {
        Some(lock) => lock,
        None => FolderLock::acquire(&out)?,
    };
    if !args.json {
        say_device(&info, no_gpu.as_deref());
        say(format!(
            "data        {}: {}",
            settings.data,
            describe_data(&split, text.as_ref(), regression.as_ref())
        ));
        if let Some(note) = note {
            say(format!("task        {note}"));
        }
        say(format!("training    {}\n", describe(&settings)));
        say(format!("{summary}\n"));
    }

    let file = |result: &Value, epochs: &[EpochRecord]| {
        let epochs: Vec<Value> = epochs.iter().map(run_file::epoch).collect();
        json!({
            "wgrad": env!("CARGO_PKG_VERSION"), "settings": described, "result": result, "epochs": epochs,
        })
    };
    let earlier = before.map(|before| before.epochs).unwrap_or_default();
    let schedule = settings.schedule();
    let trainer = Trainer::new(&device, &model, &params, optimizer(&settings, &params), split);
    let mut trainer = trainer
        .epochs(settings.epochs as usize)
        .batch(settings.batch as usize)
        .seed(settings.seed)
        .precision(settings.precision())
        .task(task)
        .schedule(move |epoch, epochs| schedule.factor(epoch, epochs))
        .keep(match settings.keep {
            Kept::Best => Keep::Best,
            Kept::Last => Keep::Last,
        })
        .out_locked(&lock)
        .metadata(run_file::SETTINGS, described.to_string())
        .stop(stop.clone())
        .started(started)
        .watch(args.watch.unwrap_or(0) as usize)
        .check_numerics(args.check_numerics);
    if let Some(layer) = settings.augment.layer(&params) {
        trainer = trainer.augment(layer);
    }
    if let Some(plateau) = settings.plateau() {
        trainer = trainer.plateau(plateau);
    }
    if let Some(mixup) = settings.augment.mixup(&params) {
        trainer = trainer.mixup(mixup);
    }
    trainer = penalized(trainer, &settings, &params);
    if settings.patience > 0 {
        trainer = trainer.early_stopping(settings.patience as usize);
    }
    if let Some(bytes) = settings.memory_budget {
        trainer = trainer.memory_budget(bytes);
    }
    if let Some(preprocessor) = &preprocessor {
        trainer = trainer.metadata(run_file::PREPROCESSING, preprocessor.to_json());
    }
    if let Some(text) = &text {
        let vocabulary = serde_json::to_string(text.vocabulary());
        let vocabulary = vocabulary.map_err(|e| Failure::new(format!("the vocabulary is no JSON: {e}")))?;
        trainer = trainer.metadata(run_file::VOCABULARY, vocabulary);
    }
    if args.resume {
        trainer = trainer.resume(&checkpoint);
    }
    let write_down = |epochs: &[EpochRecord], result: &Value| {
        run_file::write(&out, &file(result, epochs))?;
        data::save(preprocessor.as_ref(), &out)
    };
    let mut watch = Watch {
        progress: Progress::new(args.json),
        epochs: earlier,
        write: &|epochs| write_down(epochs, &Value::Null),
        written: None,
        outcome: Ok(()),
        stop,
    };
    let report = trainer.run(&mut watch);
    watch.progress.finish();
    watch.outcome?;
    let report = report.map_err(|error| advice::of_run(error, args.check_numerics))?;

    let (model_file, epochs) = (out.join("model.safetensors"), watch.epochs);
    let mut result = result(&report, &info, &summary);
    let baseline = text.as_ref().map(Baseline::of).transpose()?.flatten();
    if let Some(baseline) = &baseline {
        result["ngram_order"] = json!(baseline.order);
        result["ngram_bits"] = json!(baseline.bits);
    }
    // Without an epoch there is no model, and what lies there is that of another run.
    let has_model = report.best_epoch.is_some();
    if has_model {
        let before = run_file::read(&out)?.unwrap_or_default();
        write_down(&epochs, &kept_result(&report, &result, &before["result"]))?;
    }
    let tells_all = epochs.first().map_or(!args.resume, |first| first.epoch == 1);
    let pictures = match args.no_pictures || !has_model {
        true => Vec::new(),
        false => {
            let curves = Some(&epochs[..]).filter(|_| tells_all || !report.epochs.is_empty());
            let subject = pictures::Subject { test: &test, regression: regression.as_ref() };
            pictures::write(&out, &device, &model, &params, &subject, curves, report.best_epoch)?
        }
    };
    if args.json {
        let mut all = described;
        // Serializing a path that is not UTF-8 fails.
        let shown = |path: &PathBuf| path.display().to_string();
        let pictures: Vec<String> = pictures.iter().map(shown).collect();
        let model_file = has_model.then(|| shown(&model_file));
        let written = json!({ "out": shown(&out), "model_file": model_file, "pictures": pictures });
        for part in [result, written] {
            if let (Some(all), Value::Object(part)) = (all.as_object_mut(), part) {
                all.extend(part);
            }
        }
        say(all);
        return Ok(());
    }
    say_end(&report, &settings, epochs.last());
    if let (Some(text), Some(language)) = (&text, &language) {
        if let Some((baseline, bits)) = baseline.zip(report.test.get("bits")) {
            say(baseline.describe(bits));
        }
        let sample = write::sample(&device, language, text.vocabulary(), settings.context as usize)?;
        say(format!("\nit writes (wgrad predict):\n{}\n", sample.trim_end()));
    }
    match (has_model, model_file.exists()) {
        (true, _) => say(format!("saved {}", model_file.display())),
        (false, is_there) => say(format!(
            "{}a model is saved once an epoch has ended{}",
            if report.steps > 0 { format!("saved {}; ", checkpoint.display()) } else { String::new() },
            if is_there { ", and what lies there is that of an earlier run" } else { "" }
        )),
    }
    let names: Vec<_> = pictures.iter().filter_map(|p| p.file_name()).map(|n| n.to_string_lossy()).collect();
    if !names.is_empty() {
        say(format!("drew  {}", names.join(", ")));
    }
    Ok(())
}

/// The model of the settings for examples like those of `data`.
pub(super) fn architecture(settings: &Settings, data: &Dataset) -> Architecture {
    Architecture {
        kind: settings.model,
        widths: settings.widths.iter().map(|&w| w as usize).collect(),
        depth: settings.depth as usize,
        norm: settings.norm,
        network: settings.network.clone(),
        input: data.shape().to_vec(),
        // One number to be predicted.
        classes: data.classes().max(1),
    }
}

/// With the penalties of the settings on all weights.
pub(super) fn penalized<'a>(trainer: Trainer<'a>, settings: &Settings, params: &Params) -> Trainer<'a> {
    let (l1, l2) = (settings.l1, settings.l2);
    if l1 == 0.0 && l2 == 0.0 {
        return trainer;
    }
    let weights = weights(&params.trainable());
    trainer.penalty(move |g| elastic_net_penalty(g, &weights, l1, l2))
}

pub(super) fn optimizer(settings: &Settings, params: &Params) -> Box<dyn Optimizes> {
    let optimizer = settings.optimizer.build(params, settings.lr, Some(settings.weight_decay));
    let optimizer: Box<dyn Optimizes> = match settings.clip_norm {
        norm if norm > 0.0 => Box::new(ClipNorm::new(optimizer, norm)),
        _ => optimizer,
    };
    let optimizer: Box<dyn Optimizes> = match settings.clip_value {
        limit if limit > 0.0 => Box::new(ClipValue::new(optimizer, limit)),
        _ => optimizer,
    };
    // Within what accumulates, so that updates count, not steps.
    let optimizer: Box<dyn Optimizes> = match settings.ema {
        decay if decay > 0.0 => Box::new(Averaged::exponential(params, optimizer, decay)),
        _ => optimizer,
    };
    let optimizer: Box<dyn Optimizes> = match settings.accumulate {
        every if every > 1 => Box::new(Accumulate::new(params, optimizer, every)),
        _ => optimizer,
    };
    match settings.precision() {
        Precision::Mixed => Box::new(LossScale::new(params, optimizer)),
        _ => optimizer,
    }
}

/// A flag that the first Ctrl-C raises; the second ends the process.
fn stop_on_ctrl_c() -> Outcome<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let handler = move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step and saving; once more quits at once");
    };
    ctrlc::set_handler(handler).map_err(|e| Failure::new(format!("Ctrl-C cannot be handled: {e}")))?;
    Ok(stop)
}
