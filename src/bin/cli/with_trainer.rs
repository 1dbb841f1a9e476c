//! A trainer as `wgrad train` would make it, for commands that look at its steps.

use wgrad::data::TablePreprocessor;
use wgrad::nn::Layer;
use wgrad::train::Trainer;
use wgrad::{Device, Params};

use super::Outcome;
use super::data::{self, Loaded};
use super::settings::{self, Settings, name};
use super::text::TextModel;
use super::train::{architecture, optimizer, penalized};

/// What `work` makes of a trainer with these settings, and of a few words that say what it trains.
pub(super) fn with_trainer<T>(
    mut settings: Settings,
    given: &settings::Args,
    device: &Device,
    work: impl FnOnce(Trainer<'_>, &str) -> Outcome<T>,
) -> Outcome<T> {
    let Loaded { split, preprocessor, text, .. } = data::load(&mut settings)?;
    if preprocessor.as_ref().is_some_and(TablePreprocessor::is_regression) {
        settings.predict_numbers(given, false);
    }
    settings.loss.balance(&split.train)?;
    let params = Params::seeded(settings.seed);
    let model: Box<dyn Layer> = match text {
        Some(text) => {
            Box::new(TextModel::of(&settings).build(&params, text.vocabulary().len(), settings.dropout))
        }
        None => architecture(&settings, &split.train).build(&params, settings.dropout)?,
    };
    let task = data::task(&split.train, preprocessor.as_ref());
    let task = settings.loss.of(task, &split.train, preprocessor.as_ref(), &params);
    let rows = (settings.batch as usize).min(split.train.len());
    let what = format!("{} on {}, batches of {rows}", name(&settings.model), settings.data);
    let mut trainer = Trainer::new(device, &*model, &params, optimizer(&settings, &params), split)
        .batch(settings.batch as usize)
        .seed(settings.seed)
        .task(task)
        .precision(settings.precision());
    if let Some(bytes) = settings.memory_budget {
        trainer = trainer.memory_budget(bytes);
    }
    if let Some(layer) = settings.augment.layer(&params) {
        trainer = trainer.augment(layer);
    }
    if let Some(mixup) = settings.augment.mixup(&params) {
        trainer = trainer.mixup(mixup);
    }
    trainer = penalized(trainer, &settings, &params);
    work(trainer, &what)
}
