//! What a run does: arguments, the settings of the run that is resumed, and defaults, in this order.

mod args;
mod defaults;
mod refusals;

use clap::ValueEnum;
use serde_json::{Value, json};
use wgrad::nn::Norm;
use wgrad::optim::{OptimizerKind, Plateau, Schedule};
use wgrad::{CompileOptions, Precision};

use args::NO_LIMIT;
pub(super) use args::{Args, Kept, Stored, heading, name};
use defaults::Defaults;

use super::augment::Augment;
use super::data_name::DataName;
use super::loss::LossSettings;
use super::model::Kind;
use super::network::Network;
use super::schedule::ScheduleName;
use super::table::TableSettings;
use super::text::TextSettings;
use super::{Failure, Outcome, data};

/// What a run does.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) data: DataName,
    /// How it is read and split, if it is a table.
    pub(super) table: TableSettings,
    pub(super) model: Kind,
    /// Of hidden layers, or channels.
    pub(super) widths: Vec<u32>,
    pub(super) depth: u32,
    /// How it is read, if it is a text.
    pub(super) text: Option<TextSettings>,
    /// Of a transformer.
    pub(super) heads: u32,
    /// Characters of a window of a text.
    pub(super) context: u32,
    pub(super) network: Network,
    pub(super) norm: Norm,
    pub(super) augment: Augment,
    pub(super) epochs: u32,
    pub(super) batch: u32,
    pub(super) lr: f32,
    pub(super) schedule: ScheduleName,
    pub(super) warmup: u32,
    pub(super) step_every: u32,
    pub(super) step_factor: f32,
    pub(super) loss: LossSettings,
    pub(super) optimizer: OptimizerKind,
    pub(super) accumulate: u32,
    pub(super) ema: f32,
    pub(super) weight_decay: f32,
    pub(super) clip_value: f32,
    pub(super) clip_norm: f32,
    /// Strengths of penalties on weights.
    pub(super) l1: f32,
    pub(super) l2: f32,
    pub(super) precision: Stored,
    pub(super) memory_budget: Option<usize>,
    pub(super) patience: u32,
    pub(super) seed: u64,
    pub(super) validation: Option<usize>,
    pub(super) keep: Kept,
    pub(super) dropout: f32,
}

/// The settings of the run that is resumed, or nothing.
struct Earlier<'a>(&'a Value);

impl<'a> Earlier<'a> {
    fn number(&self, key: &str) -> Option<u64> {
        self.0.get(key)?.as_u64()
    }

    fn small(&self, key: &str) -> Option<u32> {
        u32::try_from(self.number(key)?).ok()
    }

    /// A number above 0.
    fn count(&self, key: &str) -> Option<u32> {
        self.small(key).filter(|&n| n > 0)
    }

    fn float(&self, key: &str) -> Option<f32> {
        Some(self.0.get(key)?.as_f64()? as f32)
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.0.get(key)?.as_str()
    }

    fn parsed<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.text(key)?.parse().ok()
    }

    fn choice<T: ValueEnum>(&self, key: &str) -> Option<T> {
        T::from_str(self.text(key)?, false).ok()
    }

    fn widths(&self, key: &str) -> Option<Vec<u32>> {
        let width = |w: &Value| w.as_u64().and_then(|w| u32::try_from(w).ok()).filter(|&w| w > 0);
        self.0.get(key)?.as_array()?.iter().map(width).collect()
    }
}

/// The kind of model that is taken for a data set.
fn usual_kind(data: &DataName, is_text: bool) -> Kind {
    match () {
        () if is_text => Kind::CharLstm,
        () if data.has_images() => Kind::Cnn,
        () => Kind::Mlp,
    }
}

impl Args {
    /// The data set, if nothing earlier says another.
    pub(super) fn data(&self) -> DataName {
        let usual = || match self.model {
            Some(model) if model.is_of_text() => DataName::alice(),
            _ => DataName::default(),
        };
        self.data.clone().unwrap_or_else(usual)
    }

    /// Whether a data set is a text: by its name, unless something else was said.
    fn is_text(&self, data: &DataName) -> bool {
        data.is_alice() || self.table.says_text().unwrap_or_else(|| data.is_text())
    }

    /// The kind of model, if nothing earlier says another.
    pub(super) fn kind(&self) -> Kind {
        let data = self.data();
        self.implied_kind(self.is_text(&data)).unwrap_or(usual_kind(&data, self.is_text(&data)))
    }

    /// How a step is compiled, if nothing else is said.
    pub(super) fn compiling_alone(&self) -> Option<CompileOptions> {
        let &Args { precision, memory_budget, .. } = self;
        let mut options = CompileOptions::new().precision(precision.unwrap_or(Stored::F32).into());
        if let Some(bytes) = memory_budget.filter(|bytes| *bytes != NO_LIMIT) {
            options = options.memory_budget(bytes);
        }
        (*self == Args { precision, memory_budget, ..Args::default() }).then_some(options)
    }

    /// The kind that was asked for, if only by an option that one kind has.
    fn implied_kind(&self, is_text: bool) -> Option<Kind> {
        if is_text {
            return self.model;
        }
        self.model
            .or(self.hidden.is_some().then_some(Kind::Mlp))
            .or(self.depth.is_some().then_some(Kind::Resnet))
            .or(self.channels.is_some().then_some(Kind::Cnn))
    }

    /// What is minimized, as was said now or by the run that is resumed.
    fn loss(&self, earlier: &Value) -> Outcome<LossSettings> {
        let before = LossSettings::earlier(earlier)?;
        Ok(LossSettings {
            name: self.loss.clone().or(before.name),
            smoothing: self.label_smoothing.unwrap_or(before.smoothing),
            weights: self.class_weights.clone().or(before.weights),
        })
    }

    /// The rows of a run stay what they were when it is resumed: others could be test rows of before.
    fn table(&self, data: &DataName, is_text: bool, seed: u64, earlier: &Value) -> Outcome<TableSettings> {
        if self.data.is_none() && data::name_in(earlier).is_some() && data.refuse_missing().is_err() {
            return Err(Failure::new(format!(
                "the run that is resumed was trained on `{data}`, which is not there (seen from here); say where it is \
                 with --data"
            )));
        }
        data.refuse_missing()?;
        let is_table = data.is_table() && !is_text;
        if let (false, Some(name)) = (is_table, self.table.given()) {
            let advice = if is_text && !data.is_alice() { "; --task auto reads it as a table" } else { "" };
            return Err(Failure::usage(format!("{name} is for tables, and `{data}` is none{advice}")));
        }
        if earlier.get("table").is_none() {
            return match is_table {
                true => Ok(TableSettings::new(&self.table, seed, self.validation)),
                false => TableSettings::earlier(earlier),
            };
        }
        let before = TableSettings::earlier(earlier)?;
        // Another place is fine as long as the rows are the same, which is seen when they are read.
        let is_elsewhere = data::name_in(earlier).is_none_or(|earlier| !data.is_same(&earlier));
        let is_other = is_elsewhere && !(is_table && before.knows_rows());
        // A number of rows may be that which came of none given.
        let number = self.validation.filter(|&rows| earlier["validation"].as_u64() != Some(rows as u64));
        let changed = is_other.then_some("--data").or(before.changed(data, &self.table, number));
        match changed {
            Some(name) => Err(Failure::usage(format!(
                "a run on a table is resumed with the rows it had; leave out {name}, or start another run"
            ))),
            None => Ok(before),
        }
    }
}

impl Settings {
    /// `earlier` holds the settings of the run that is resumed, or nothing.
    pub(super) fn new(args: &Args, earlier: &Value) -> Outcome<Self> {
        let all = earlier;
        let earlier = Earlier(earlier);
        let data = args.data.clone().or_else(|| data::name_in(all)).unwrap_or_else(|| args.data());
        args.refuse_another_model(all)?;
        let is_text = if all.is_null() { args.is_text(&data) } else { all.get("text").is_some() };
        if args.augment.is_some_and(|augment| augment != Augment::default()) && !data.has_images() {
            return Err(Failure::usage(format!("--augment is for images, and `{data}` has none")));
        }
        if let (true, Some(name)) = (data.is_iris(), args.table.for_files()) {
            return Err(Failure::usage(format!("{name} is for files, and `iris` comes with the program")));
        }
        let usual = usual_kind(&data, is_text);
        let model = args.implied_kind(is_text).or_else(|| earlier.choice("model")).unwrap_or(usual);
        args.refuse_what_the_model_has_not(model)?;
        args.refuse_what_the_data_is_not(model, &data, is_text)?;
        let network = Network::new(args.activation, args.init.as_ref(), all)?;
        network.refuse_rows(model)?;
        let defaults = Defaults::of(model, &data);
        let optimizer = args.optimizer.or_else(|| earlier.parsed("optimizer")).unwrap_or(defaults.optimizer);
        let rate = optimizer.rate(defaults.rate);
        let decay = match optimizer {
            OptimizerKind::AdamW | OptimizerKind::Lamb => 0.01,
            OptimizerKind::Muon if model == Kind::CharTransformer => 0.5,
            OptimizerKind::Muon => 0.1,
            _ => defaults.decay,
        };
        let steps = args.step_every.is_some() || args.step_factor.is_some();
        let schedule = args.schedule.clone().or(steps.then(ScheduleName::step));
        let schedule = schedule.or_else(|| earlier.parsed("schedule")).unwrap_or_else(ScheduleName::cosine);
        let patience = args.patience.or_else(|| earlier.small("patience")).unwrap_or(0);
        // Where a run ends early, the last weights are some that did not get better.
        // A model of a text learns it by heart in the end.
        let keep = if schedule.is_cosine() && patience == 0 && !is_text { Kept::Last } else { Kept::Best };
        let given = if model.widths() == "channels" { &args.channels } else { &args.hidden };
        let widths = given.clone().or_else(|| earlier.widths(model.widths()));
        let widths = widths.unwrap_or_else(|| defaults.widths.to_vec());
        let heads = args.heads.or_else(|| earlier.count("heads")).unwrap_or(defaults.heads);
        if let Some(width) = widths.first().filter(|_| model == Kind::CharTransformer)
            && !u64::from(*width).is_multiple_of(2 * u64::from(heads))
        {
            return Err(Failure::usage(format!(
                "--hidden {width} is no multiple of twice --heads {heads}, as each head has a part of it, of pairs"
            )));
        }
        let epochs = args.epochs.or_else(|| earlier.count("epochs")).unwrap_or(defaults.epochs);
        let seed = args.seed.or_else(|| earlier.number("seed")).unwrap_or(42);
        let augment = args.augment.or_else(|| earlier.text("augment").and_then(|t| t.parse().ok()));
        Ok(Settings {
            widths,
            depth: args.depth.or_else(|| earlier.count("depth")).unwrap_or(defaults.depth),
            heads,
            context: args.context.or_else(|| earlier.count("context")).unwrap_or(defaults.context),
            text: is_text.then(|| TextSettings::new(args.unit, all)).transpose()?,
            augment: augment.unwrap_or(defaults.augment),
            batch: args.batch.or_else(|| earlier.count("batch")).unwrap_or(defaults.batch),
            lr: args.lr.or_else(|| earlier.float("lr")).unwrap_or(rate),
            step_every: args
                .step_every
                .or_else(|| earlier.count("step_every"))
                .unwrap_or_else(|| epochs.div_ceil(3)),
            step_factor: args.step_factor.or_else(|| earlier.float("step_factor")).unwrap_or(0.1),
            weight_decay: args.weight_decay.or_else(|| earlier.float("weight_decay")).unwrap_or(decay),
            norm: args.norm.map_or_else(|| model.norm(all), Ok)?,
            clip_value: args.clip_value.or_else(|| earlier.float("clip_value")).unwrap_or(0.0),
            l1: args.l1.or_else(|| earlier.float("l1")).unwrap_or(0.0),
            l2: args.l2.or_else(|| earlier.float("l2")).unwrap_or(0.0),
            clip_norm: args.clip_norm.or_else(|| earlier.float("clip_norm")).unwrap_or(defaults.clip),
            warmup: args.warmup.or_else(|| earlier.small("warmup")).unwrap_or(0),
            accumulate: args.accumulate.or_else(|| earlier.count("accumulate")).unwrap_or(1),
            ema: args.ema.or_else(|| earlier.float("ema")).unwrap_or(0.0),
            precision: args.precision.or_else(|| earlier.choice("precision")).unwrap_or(Stored::F32),
            memory_budget: args
                .memory_budget
                .or_else(|| earlier.number("memory_budget").and_then(|n| usize::try_from(n).ok()))
                .filter(|bytes| *bytes != NO_LIMIT),
            patience,
            table: args.table(&data, is_text, seed, all)?,
            loss: args.loss(all)?,
            seed,
            validation: args.validation.or_else(|| earlier.number("validation").map(|n| n as usize)),
            dropout: args.dropout.or_else(|| earlier.float("dropout")).unwrap_or(defaults.dropout),
            keep: args.keep.or_else(|| earlier.choice("keep")).unwrap_or(keep),
            data,
            model,
            network,
            epochs,
            schedule,
            optimizer,
        })
    }

    /// Once it is known that numbers are predicted: dropout, which the sizes of the hidden values do not survive, is off
    /// unless it was asked for, now or by the run that is resumed.
    pub(super) fn predict_numbers(&mut self, args: &Args, is_resumed: bool) {
        if args.dropout.is_none() && !is_resumed {
            self.dropout = 0.0;
        }
    }

    /// How the values between kernels are stored.
    pub(super) fn precision(&self) -> Precision {
        self.precision.into()
    }

    /// How the learning rate changes.
    pub(super) fn schedule(&self) -> Schedule {
        let step = Schedule::Step { every: self.step_every as usize, factor: self.step_factor };
        self.schedule.schedule(step).after_warmup(self.warmup as usize)
    }

    /// Where it falls by what the validation rows say.
    pub(super) fn plateau(&self) -> Option<Plateau> {
        self.schedule.plateau()
    }

    /// What `run.json` keeps, and a run that resumes reads.
    pub(super) fn json(&self, validation: usize) -> Value {
        let mut all = json!({
            "data": self.data,
            "model": name(&self.model),
            "augment": self.augment.to_string(),
            "epochs": self.epochs,
            "batch": self.batch,
            "lr": decimal(self.lr),
            "schedule": self.schedule.to_string(),
            "warmup": self.warmup,
            "optimizer": self.optimizer.name(),
            "accumulate": self.accumulate,
            "ema": decimal(self.ema),
            "weight_decay": decimal(self.weight_decay),
            "clip_value": decimal(self.clip_value),
            "clip_norm": decimal(self.clip_norm),
            "l1": decimal(self.l1),
            "l2": decimal(self.l2),
            "norm": self.norm.to_string(),
            "precision": name(&self.precision),
            "patience": self.patience,
            "seed": self.seed,
            "validation": validation,
            "keep": name(&self.keep),
            "dropout": decimal(self.dropout),
        });
        all[self.model.widths()] = json!(self.widths);
        if matches!(self.model, Kind::Resnet | Kind::Resnet18) || self.model.is_of_text() {
            all["depth"] = json!(self.depth);
        }
        if self.model.is_of_text() {
            all["context"] = json!(self.context);
        }
        if self.model == Kind::CharTransformer {
            all["heads"] = json!(self.heads);
        }
        if let Some(text) = &self.text {
            all["text"] = json!(text);
        }
        if let Some(bytes) = self.memory_budget {
            all["memory_budget"] = json!(bytes);
        }
        if self.data.is_table() && self.text.is_none() {
            all["table"] = json!(self.table);
        }
        self.network.put(&mut all);
        self.loss.put(&mut all);
        if self.schedule.is_step() {
            all["step_every"] = json!(self.step_every);
            all["step_factor"] = json!(decimal(self.step_factor));
        }
        all
    }
}

/// The number that was typed: 0.003, not 0.003000000026077032.
pub(super) fn decimal(x: f32) -> f64 {
    x.to_string().parse().unwrap_or_else(|_| f64::from(x))
}
