//! What a run does: arguments, the settings of the run that is resumed, and defaults, in this order.

mod args;
mod refusals;

use clap::ValueEnum;
use serde_json::{Value, json};
use wgrad::nn::{Norm, ResNet};
use wgrad::optim::{OptimizerKind, Plateau, Schedule};
use wgrad::{CompileOptions, Precision};

use args::NO_LIMIT;
pub(super) use args::{Args, Kept, Stored, heading, name};

use super::augment::Augment;
use super::data_name::DataName;
use super::loss::LossSettings;
use super::model::Kind;
use super::network::Network;
use super::schedule::ScheduleName;
use super::table::TableSettings;
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

/// What is used where nothing is said.
struct Defaults {
    epochs: u32,
    batch: u32,
    rate: f32,
    decay: f32,
    dropout: f32,
    augment: Augment,
}

impl Defaults {
    /// For the digits: chosen by cross-validation over blocks of training rows, which keeps writers together. For
    /// the cnn a dozen settings were compared, with means from 94.9 to 97.9 %: more channels and epochs helped,
    /// rotation and scaling did not, and the last weights of a cosine did better than those that 108 rows chose.
    /// The test rows had no say.
    fn of(model: Kind, data: &DataName) -> Self {
        let none = Augment::default();
        match model {
            Kind::Mlp if data.is_digits() => {
                Defaults { epochs: 100, batch: 32, rate: 0.01, decay: 3e-4, dropout: 0.4, augment: none }
            }
            Kind::Mlp if data.is_table() => {
                Defaults { epochs: 100, batch: 16, rate: 0.003, decay: 0.0, dropout: 0.2, augment: none }
            }
            Kind::Mlp => {
                Defaults { epochs: 10, batch: 32, rate: 0.003, decay: 0.0, dropout: 0.2, augment: none }
            }
            Kind::Resnet18 => {
                let augment = if data.is_digits() { Augment::PIXEL } else { none };
                Defaults { epochs: 10, batch: 64, rate: 0.002, decay: 0.0, dropout: 0.0, augment }
            }
            Kind::Cnn | Kind::Resnet if data.is_digits() => Defaults {
                epochs: 60,
                batch: 64,
                rate: 0.002,
                decay: 0.0,
                dropout: 0.5,
                augment: Augment::PIXEL,
            },
            Kind::Cnn | Kind::Resnet => {
                Defaults { epochs: 10, batch: 64, rate: 0.002, decay: 0.0, dropout: 0.5, augment: none }
            }
        }
    }
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

impl Args {
    /// The data set, if nothing earlier says another.
    pub(super) fn data(&self) -> DataName {
        self.data.clone().unwrap_or_default()
    }

    /// The kind of model, if nothing earlier says another.
    pub(super) fn kind(&self) -> Kind {
        self.implied_kind().unwrap_or(if self.data().has_images() { Kind::Cnn } else { Kind::Mlp })
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
    fn implied_kind(&self) -> Option<Kind> {
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
    fn table(&self, data: &DataName, seed: u64, earlier: &Value) -> Outcome<TableSettings> {
        if self.data.is_none() && data::name_in(earlier).is_some() && data.refuse_missing().is_err() {
            return Err(Failure::new(format!(
                "the run that is resumed was trained on `{data}`, which is not there (seen from here); say where it is \
                 with --data"
            )));
        }
        data.refuse_missing()?;
        let is_table = data.is_table();
        if let (false, Some(name)) = (is_table, self.table.given()) {
            return Err(Failure::usage(format!("{name} is for tables, and `{data}` is none")));
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
        let data = args.data.clone().or_else(|| data::name_in(all)).unwrap_or_default();
        args.refuse_another_model(all)?;
        if args.augment.is_some_and(|augment| augment != Augment::default()) && !data.has_images() {
            return Err(Failure::usage(format!("--augment is for images, and `{data}` has none")));
        }
        if let (true, Some(name)) = (data.is_iris(), args.table.for_files()) {
            return Err(Failure::usage(format!("{name} is for files, and `iris` comes with the program")));
        }
        let usual = if data.has_images() { Kind::Cnn } else { Kind::Mlp };
        let model = args.implied_kind().or_else(|| earlier.choice("model")).unwrap_or(usual);
        args.refuse_what_the_model_has_not(model)?;
        let network = Network::new(args.activation, args.init.as_ref(), all)?;
        network.refuse_rows(model)?;
        let defaults = Defaults::of(model, &data);
        let optimizer = args.optimizer.or_else(|| earlier.parsed("optimizer")).unwrap_or(OptimizerKind::Adam);
        let rate = optimizer.rate(defaults.rate);
        let decay = match optimizer {
            OptimizerKind::AdamW | OptimizerKind::Lamb => 0.01,
            OptimizerKind::Muon => 0.1,
            _ => defaults.decay,
        };
        let steps = args.step_every.is_some() || args.step_factor.is_some();
        let schedule = args.schedule.clone().or(steps.then(ScheduleName::step));
        let schedule = schedule.or_else(|| earlier.parsed("schedule")).unwrap_or_else(ScheduleName::cosine);
        let patience = args.patience.or_else(|| earlier.small("patience")).unwrap_or(0);
        // Where a run ends early, the last weights are some that did not get better.
        let keep = if schedule.is_cosine() && patience == 0 { Kept::Last } else { Kept::Best };
        let widths = match model {
            Kind::Mlp => args.hidden.clone().or_else(|| earlier.widths("hidden")),
            Kind::Cnn | Kind::Resnet => args.channels.clone().or_else(|| earlier.widths("channels")),
            Kind::Resnet18 => None,
        };
        let usual_widths = || match model {
            Kind::Mlp => vec![128],
            Kind::Cnn => vec![32, 64],
            Kind::Resnet => vec![16, 32],
            Kind::Resnet18 => ResNet::WIDTHS.map(|width| width as u32).to_vec(),
        };
        let epochs = args.epochs.or_else(|| earlier.count("epochs")).unwrap_or(defaults.epochs);
        let seed = args.seed.or_else(|| earlier.number("seed")).unwrap_or(42);
        let augment = args.augment.or_else(|| earlier.text("augment").and_then(|t| t.parse().ok()));
        Ok(Settings {
            widths: widths.unwrap_or_else(usual_widths),
            depth: args.depth.or_else(|| earlier.count("depth")).unwrap_or(if model == Kind::Resnet18 { 2 } else { 1 }),
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
            clip_norm: args.clip_norm.or_else(|| earlier.float("clip_norm")).unwrap_or(0.0),
            warmup: args.warmup.or_else(|| earlier.small("warmup")).unwrap_or(0),
            accumulate: args.accumulate.or_else(|| earlier.count("accumulate")).unwrap_or(1),
            ema: args.ema.or_else(|| earlier.float("ema")).unwrap_or(0.0),
            precision: args.precision.or_else(|| earlier.choice("precision")).unwrap_or(Stored::F32),
            memory_budget: args
                .memory_budget
                .or_else(|| earlier.number("memory_budget").and_then(|n| usize::try_from(n).ok()))
                .filter(|bytes| *bytes != NO_LIMIT),
            patience,
            table: args.table(&data, seed, all)?,
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
        match self.model {
            Kind::Mlp => all["hidden"] = json!(self.widths),
            Kind::Cnn => all["channels"] = json!(self.widths),
            Kind::Resnet | Kind::Resnet18 => {
                all["channels"] = json!(self.widths);
                all["depth"] = json!(self.depth);
            }
        }
        if let Some(bytes) = self.memory_budget {
            all["memory_budget"] = json!(bytes);
        }
        if self.data.is_table() {
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
