//! Texts: how they are read, which models there are for them, and what those are measured against.

use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wgrad::data::{NGram, Reading, Text, TextParts, Unit, Vocabulary, alice};
use wgrad::nn::{LanguageModel, RecurrentKind, RecurrentOptions, TransformerOptions};
use wgrad::{Error, Params};

use super::data_name::DataName;
use super::file_kind::is_image;
use super::model::Kind;
use super::network::Network;
use super::settings::Settings;
use super::{Failure, Outcome, rounded};

/// How a text is read; `run.json` keeps it as `text`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TextSettings {
    unit: Unit,
    /// How many symbols it had, and FNV-1a of them; not known before it is read.
    symbols: Option<usize>,
    hash: Option<String>,
}

fn hash(text: &Text) -> String {
    let bytes: Vec<u8> = text.symbols().iter().flat_map(|&symbol| text.vocabulary().bytes(symbol)).collect();
    format!("{:016x}", wgrad::fnv1a(&bytes))
}

impl TextSettings {
    /// What is asked for, or that of the run that is resumed, whose vocabulary is its model's.
    pub(super) fn new(unit: Option<Unit>, earlier: &Value) -> Outcome<Self> {
        if earlier.get("text").is_none() {
            return Ok(TextSettings { unit: unit.unwrap_or_default(), symbols: None, hash: None });
        }
        let before = Self::earlier(earlier)?;
        match unit {
            Some(unit) if unit != before.unit => Err(Failure::usage(
                "the run that is resumed began with another --unit; leave it out to go on, or start another run",
            )),
            _ => Ok(before),
        }
    }

    fn earlier(settings: &Value) -> Outcome<Self> {
        serde_json::from_value(settings["text"].clone()).map_err(|e| {
            Failure::new(format!("the settings of the run do not say how the text is read: {e}"))
        })
    }

    /// Whether a text is the one that the run was trained on.
    fn is_of(&self, text: &Text) -> bool {
        self.symbols == Some(text.symbols().len()) && self.hash.as_ref() == Some(&hash(text))
    }

    /// Reads a text to train on, and writes down what it is. That of a run which is resumed must be the one it began with.
    pub(super) fn read(&mut self, name: &DataName) -> Outcome<Text> {
        let text = read(name, self.unit)?;
        if self.hash.is_some() && !self.is_of(&text) {
            return Err(Failure::new(format!(
                "`{name}` is not the text that the run began with; start another run, or give the file as it was with \
                 --data"
            )));
        }
        (self.symbols, self.hash) = (Some(text.symbols().len()), Some(hash(&text)));
        Ok(text)
    }
}

/// The text of a name.
fn read(name: &DataName, unit: Unit) -> Outcome<Text> {
    name.refuse_missing()?;
    let Some(path) = name.file() else {
        return match name.is_alice() {
            true => Ok(alice(unit)?),
            false => Err(Failure::usage(format!("`{name}` is no text; give `alice`, or a file in UTF-8"))),
        };
    };
    if path.is_dir() || is_image(path) {
        let what = if path.is_dir() { "a folder" } else { "an image" };
        return Err(Failure::new(format!("`{name}` is {what}, and no text; give a file in UTF-8")));
    }
    Ok(Text::read(path, unit)?)
}

/// What an error in cutting a text into windows can be met with.
fn advised(error: Error) -> Failure {
    Failure::new(format!("{error} (--context, --batch)"))
}

/// How a run reads its text.
pub(super) fn reading(kind: Kind, context: usize, rows: usize) -> Reading {
    match kind {
        // Each place is seen with much before it, and with little.
        Kind::CharTransformer => Reading::Shuffled { length: context, stride: (context / 2).max(1) },
        _ => Reading::InOrder { length: context, rows },
    }
}

/// The windows to train, validate and test on.
pub(super) fn split(text: &Text, settings: &Settings) -> Outcome<wgrad::data::Split> {
    let reading = reading(settings.model, settings.context as usize, settings.batch as usize);
    text.split(&TextParts::default(), &reading).map_err(advised)
}

/// A model of a text: what its run says of it.
pub(super) struct TextModel {
    pub(super) kind: Kind,
    pub(super) hidden: usize,
    pub(super) depth: usize,
    pub(super) heads: usize,
    pub(super) context: usize,
    network: Network,
}

impl TextModel {
    pub(super) fn of(settings: &Settings) -> Self {
        TextModel {
            kind: settings.model,
            hidden: settings.widths.first().map_or(1, |&width| width as usize),
            depth: settings.depth as usize,
            heads: settings.heads as usize,
            context: settings.context as usize,
            network: settings.network.clone(),
        }
    }

    /// That of a file, from the settings of the run that wrote it.
    pub(super) fn saved(settings: &Value) -> Outcome<Self> {
        // As arguments are limited: layers are made before their weights are read.
        let find = |key: &str, value: &Value, most: u64| {
            let number = value.as_u64().filter(|n| (1..=most).contains(n));
            number.map(|n| n as usize).ok_or_else(|| {
                Failure::new(format!("the settings of the model's run have `{key}` {value}, which is none"))
            })
        };
        let kind = settings["model"].as_str().and_then(|name| clap::ValueEnum::from_str(name, false).ok());
        let Some(kind) = kind.filter(|kind: &Kind| kind.is_of_text()) else {
            return Err(Failure::new(format!(
                "the model has a vocabulary, but the settings of its run say that it is a {}",
                settings["model"]
            )));
        };
        Ok(TextModel {
            kind,
            hidden: find("hidden", &settings["hidden"][0], 16_384)?,
            depth: find("depth", &settings["depth"], 100)?,
            heads: if kind == Kind::CharTransformer { find("heads", &settings["heads"], 1024)? } else { 1 },
            context: find("context", &settings["context"], 16_384)?,
            network: Network::earlier(settings)?,
        })
    }

    /// The layers, with parameters in `params`. States are carried from batch to batch.
    pub(super) fn build(&self, params: &Params, classes: usize, dropout: f32) -> LanguageModel {
        let recurrent = |kind| {
            let options = RecurrentOptions::default().layers(self.depth).dropout(dropout);
            LanguageModel::recurrent(params, classes, kind, self.hidden, options).carrying(params)
        };
        match self.kind {
            Kind::CharGru => recurrent(RecurrentKind::Gru),
            Kind::CharTransformer => {
                let options = TransformerOptions::new(self.hidden, self.heads).dropout(dropout);
                let options = options.activation(self.network.activation);
                LanguageModel::transformer(params, classes, self.depth, &options)
            }
            _ => recurrent(RecurrentKind::Lstm),
        }
    }

    /// In one line.
    pub(super) fn describe(&self, classes: usize) -> String {
        let Self { hidden, depth, heads, context, .. } = self;
        let layers = if *depth == 1 { "one layer".to_string() } else { format!("{depth} layers") };
        match self.kind {
            Kind::CharTransformer => format!(
                "a transformer, {layers} of width {hidden} with {heads} heads, {classes} symbols, a context of {context}"
            ),
            Kind::CharGru => format!("a GRU, {layers} of {hidden} units, {classes} symbols"),
            _ => format!("an LSTM, {layers} of {hidden} units, {classes} symbols"),
        }
    }
}

/// What a text consists of, for messages.
pub(super) fn units(unit: Unit) -> &'static str {
    match unit {
        Unit::Characters => "characters",
        Unit::Bytes => "bytes",
    }
}

/// Symbols of a training part that n-grams are counted in: more would take gigabytes.
const COUNTED: usize = 4_000_000;

/// The n-gram model that a model of a text is measured against.
pub(super) struct Baseline {
    pub(super) order: usize,
    pub(super) bits: f64,
}

impl Baseline {
    /// Counted on the training part, its order chosen by the validation part, measured on the test part; none of a text that is
    /// too long for it.
    pub(super) fn of(text: &Text) -> Outcome<Option<Self>> {
        let [train, validation, test] = text.parts(&TextParts::default())?;
        if train.len() > COUNTED {
            return Ok(None);
        }
        let part = |range: Range<usize>| &text.symbols()[range];
        let (order, model) = NGram::choose(part(train), part(validation), text.vocabulary().len())?;
        let test = part(test);
        // The first symbol is told to none of the models.
        Ok(Some(Baseline { order, bits: model.bits(order, test, 1..test.len()) }))
    }

    /// Beside what the model came to.
    pub(super) fn describe(&self, bits: f64) -> String {
        let difference = self.bits - bits;
        format!(
            "n-grams of up to {} symbols (modified Kneser-Ney) {} bits: the model is {:.3} bits {}",
            self.order,
            rounded(self.bits),
            difference.abs(),
            if difference > 0.0 { "below" } else { "above" }
        )
    }
}

/// What a saved model of a text is tested on.
pub(super) struct TextRows {
    pub(super) data: wgrad::data::Dataset,
    /// The whole text, if it is the one the model was trained on.
    pub(super) own: Option<Text>,
}

/// The test part of the text that a model was trained on, or all of another one.
pub(super) fn test(
    name: &DataName,
    model: &TextModel,
    vocabulary: &Vocabulary,
    settings: &Value,
) -> Outcome<TextRows> {
    let text = read(name, vocabulary.unit())?;
    // As many rows as the run read at once, at most.
    let rows = settings["batch"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(1).max(1);
    let reading = reading(model.kind, model.context, rows);
    if TextSettings::earlier(settings)?.is_of(&text) {
        let split = text.split(&TextParts::default(), &reading).map_err(advised)?;
        return Ok(TextRows { data: split.test, own: Some(text) });
    }
    let text = text.with_vocabulary(vocabulary.clone()).map_err(|error| {
        Failure::new(format!("{error}; a model that was trained with --unit bytes knows all"))
    })?;
    let data = text.to_test(0..text.symbols().len(), &reading).map_err(advised)?;
    Ok(TextRows { data, own: None })
}

/// The name of the text of a run, or where that is not there, what to do.
pub(super) fn own_name(settings: &Value, given: Option<&DataName>, model: &Path) -> Outcome<DataName> {
    match given.cloned().or_else(|| super::data::name_in(settings)) {
        Some(name) => Ok(name),
        None => Err(Failure::new(format!(
            "{} does not say which text it is for; give one with --data",
            model.display()
        ))),
    }
}
