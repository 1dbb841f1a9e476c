//! Arguments that a run is made of, as clap parses them.

use std::path::PathBuf;

use clap::ValueEnum;
use wgrad::Precision;
use wgrad::data::Unit;
use wgrad::nn::{Nonlinearity, Norm};
use wgrad::optim::OptimizerKind;

use super::super::augment::Augment;
use super::super::data_name::DataName;
use super::super::loss::{ClassWeights, LossName};
use super::super::model::Kind;
use super::super::network::InitName;
use super::super::schedule::ScheduleName;
use super::super::table::TableArgs;

/// Headings of the help, in its order.
pub(in super::super) mod heading {
    pub(in super::super::super) const DATA: &str = "Data";
    pub(in super::super::super) const MODEL: &str = "Model";
    pub(in super::super::super) const LOSS: &str = "Loss";
    pub(in super::super::super) const OPTIMIZER: &str = "Optimizer and schedule";
    pub(in super::super::super) const REGULARIZATION: &str = "Regularization";
    pub(in super::super::super) const DEVICE: &str = "Precision and device";
    pub(in super::super::super) const RUN: &str = "Run and records";
}

use heading::{DATA, DEVICE, LOSS, MODEL, OPTIMIZER, REGULARIZATION, RUN};

/// Arguments of `wgrad train` that a run is made of. The first paragraph of each is its line in `-h`.
#[derive(Debug, Default, PartialEq, clap::Args)]
#[group(id = "settings")]
pub(in super::super) struct Args {
    /// What to learn from [default: digits]
    ///
    /// `digits`, `iris` and `alice`, a text, come with wgrad; else a CSV file with a header, a text in UTF-8 with the
    /// extension .txt, or a folder with the four files of MNIST or of a set published like it.
    #[arg(long, value_name = "digits|iris|alice|FILE.csv|FILE.txt|DIR", help_heading = DATA)]
    pub(in super::super) data: Option<DataName>,
    /// What a text is taken apart into [default: characters]
    #[arg(long, value_name = "characters|bytes", value_parser = unit, help_heading = DATA)]
    pub(in super::super) unit: Option<Unit>,
    /// Training rows kept for validation [default: a tenth]
    ///
    /// Of images the last rows, of tables rows drawn class by class.
    #[arg(long, value_name = "ROWS", help_heading = DATA)]
    pub(in super::super) validation: Option<usize>,
    /// Move the training images at random, cut squares out of them and mix them in pairs
    ///
    /// `shift=PIXELS,rotate=DEGREES,scale=CHANGE,cutout=PIXELS,mixup=ALPHA`, each optional, or `none`
    /// [default: none; for a cnn or resnet on the digits shift=1; without a value shift=1,rotate=10,scale=0.1]
    #[arg(
        long, value_name = "WHAT", num_args = 0..=1, default_missing_value = "shift=1,rotate=10,scale=0.1",
        help_heading = DATA
    )]
    pub(in super::super) augment: Option<Augment>,
    #[command(flatten)]
    pub(in super::super) table: TableArgs,
    /// The kind of model [default: cnn for images, mlp for tables, char-lstm for texts]
    #[arg(long, value_enum, help_heading = MODEL)]
    pub(in super::super) model: Option<Kind>,
    /// Widths of the hidden layers of an mlp [default: 128], or the one width of a model of a text [default: 256, 160]
    #[arg(long, value_delimiter = ',', value_name = "N,..", value_parser = clap::value_parser!(u32).range(1..=16384))]
    #[arg(help_heading = MODEL)]
    pub(in super::super) hidden: Option<Vec<u32>>,
    /// Channels of a cnn's convolutions [default: 32,64], or of a resnet's stages [default: 16,32]
    #[arg(long, value_delimiter = ',', value_name = "N,..", value_parser = clap::value_parser!(u32).range(1..=4096))]
    #[arg(help_heading = MODEL)]
    pub(in super::super) channels: Option<Vec<u32>>,
    /// Residual blocks of each stage of a resnet [default: 1], or layers of a model of a text
    ///
    /// By default one of a char-lstm or char-gru, and three of a char-transformer.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100), help_heading = MODEL)]
    pub(in super::super) depth: Option<u32>,
    /// Heads of the attention of a char-transformer [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024), help_heading = MODEL)]
    pub(in super::super) heads: Option<u32>,
    /// Characters of a text that a step sees of each row [default: 64]
    ///
    /// A char-transformer sees no more at once; a char-lstm and a char-gru go on with their state, and gradients end there.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=16384), help_heading = MODEL)]
    pub(in super::super) context: Option<u32>,
    /// What is between the layers, by name, some with numbers [default: relu]
    ///
    /// Such as `mish`, `leaky-relu=0.1`, `prelu`, `swish-learned`, `rrelu`; for an mlp `glu` and `maxout=3` too.
    /// `wgrad explain activations` lists all, `wgrad explain NAME` says what one is and when to take it.
    #[arg(long, value_name = "NAME[=NUMBERS]", value_parser = clap::value_parser!(Nonlinearity), help_heading = MODEL)]
    pub(in super::super) activation: Option<Nonlinearity>,
    /// What normalizes hidden values [default: none; for a resnet batch]
    ///
    /// Before the activations of an mlp, after the convolutions of a cnn or resnet; of groups perhaps with their number. For
    /// images layer, group and rms are over positions too, and instance is for them alone. `wgrad explain NAME` says what
    /// each is.
    #[arg(long, value_name = "batch|layer|group[=N]|instance|rms|none", help_heading = MODEL)]
    pub(in super::super) norm: Option<Norm>,
    /// How the weights start, by name, some with a number
    /// [default: uniform within 1/√inputs; convolutions he-normal]
    ///
    /// Such as `xavier-uniform`, `he-normal`, `lecun-normal`, `orthogonal`, `normal=0.02`. `wgrad explain initializers` lists
    /// all.
    #[arg(long, value_name = "NAME[=NUMBER]", value_parser = clap::value_parser!(InitName), help_heading = MODEL)]
    pub(in super::super) init: Option<InitName>,
    /// What is minimized, by name, some with numbers [default: cross-entropy; for a regression mse]
    ///
    /// Such as `huber=0.5`, `quantile=0.9`, `robust=0,1`, `variable-power=1`, `focal=2`, `adaptive`; `wgrad explain losses`
    /// lists all. Of classes, losses of numbers compare softmax with one-hot targets.
    #[arg(long, value_name = "NAME[=NUMBERS]", value_parser = clap::value_parser!(LossName), help_heading = LOSS)]
    pub(in super::super) loss: Option<LossName>,
    /// Move the targets of a cross-entropy so far towards the uniform distribution [default: 0]
    #[arg(long, value_name = "SHARE", value_parser = share, allow_negative_numbers = true, help_heading = LOSS)]
    pub(in super::super) label_smoothing: Option<f32>,
    /// How much rows of each class count, one number for each, or `balanced`
    ///
    /// `balanced`: as much together as those of any other class.
    #[arg(long, value_name = "balanced|F,..", value_parser = clap::value_parser!(ClassWeights), help_heading = LOSS)]
    pub(in super::super) class_weights: Option<ClassWeights>,
    /// How gradients change the weights, by name [default: adam; for a char-transformer muon]
    ///
    /// sgd, momentum, nesterov, adagrad, adadelta, rmsprop, rprop, adam, amsgrad, adamw, adamax, nadam, radam, lion, lamb or
    /// muon; `wgrad explain NAME` says what each does.
    #[arg(long, value_name = "NAME", value_parser = clap::value_parser!(OptimizerKind), help_heading = OPTIMIZER)]
    pub(in super::super) optimizer: Option<OptimizerKind>,
    /// Learning rate at the start [default: 0.002; for an mlp 0.003, on the digits 0.01]
    ///
    /// Of texts it is 0.005, for a char-transformer 0.004. The default is times 30 for sgd, 10 with momentum, 3 for
    /// adagrad, 2 for adamax, 0.3 for rmsprop and lion, and 1 for adadelta whatever the model is. `wgrad lr-find` suggests one.
    #[arg(long, value_name = "F", value_parser = positive, allow_negative_numbers = true, help_heading = OPTIMIZER)]
    pub(in super::super) lr: Option<f32>,
    /// What becomes of the learning rate, epoch by epoch [default: cosine]
    ///
    /// constant, cosine, step, multi-step, exponential, inverse-time, polynomial, linear, cosine-restarts, one-cycle, cyclic
    /// or plateau, some with numbers, such as `exponential=0.9` or `plateau=PATIENCE,FACTOR`; `wgrad explain NAME` draws
    /// each.
    #[arg(long, value_name = "NAME[=NUMBERS]", value_parser = clap::value_parser!(ScheduleName))]
    #[arg(help_heading = OPTIMIZER)]
    pub(in super::super) schedule: Option<ScheduleName>,
    /// Epochs in which the learning rate grows along a line before the schedule begins [default: 0]
    #[arg(long, value_name = "EPOCHS", help_heading = OPTIMIZER)]
    pub(in super::super) warmup: Option<u32>,
    /// Epochs after which --schedule step lowers the rate [default: a third of all]
    ///
    /// Chooses that schedule, and with it --keep best.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = OPTIMIZER)]
    pub(in super::super) step_every: Option<u32>,
    /// What --schedule step multiplies the rate by [default: 0.1]
    ///
    /// Chooses that schedule, and with it --keep best.
    #[arg(long, value_name = "F", value_parser = positive, allow_negative_numbers = true, help_heading = OPTIMIZER)]
    pub(in super::super) step_factor: Option<f32>,
    /// Steps whose gradients are averaged for one update of the weights [default: 1]
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u32).range(1..=65536))]
    #[arg(help_heading = OPTIMIZER)]
    pub(in super::super) accumulate: Option<u32>,
    /// Validate, test and save an exponential moving average of the weights [default: 0, the weights themselves]
    ///
    /// It keeps this much of itself each update, often 0.99 or 0.999.
    #[arg(long, value_name = "DECAY", value_parser = share, allow_negative_numbers = true, help_heading = OPTIMIZER)]
    pub(in super::super) ema: Option<f32>,
    /// Scale gradients down whose global norm is above this [default: 0, never; for texts 1]
    #[arg(long, value_name = "NORM", value_parser = not_negative, allow_negative_numbers = true)]
    #[arg(help_heading = OPTIMIZER)]
    pub(in super::super) clip_norm: Option<f32>,
    /// Limit each element of the gradients to this magnitude, before --clip-norm [default: 0, never]
    #[arg(long, value_name = "F", value_parser = not_negative, allow_negative_numbers = true)]
    #[arg(help_heading = OPTIMIZER)]
    pub(in super::super) clip_value: Option<f32>,
    /// Weight decay [default: 0; mlp on digits 0.0003; adamw and lamb 0.01; muon 0.1]
    ///
    /// For a char-transformer with muon 0.5. It is added to the gradients or, with adamw, lion and muon, taken from the weights beside them.
    #[arg(long, value_name = "F", value_parser = not_negative, allow_negative_numbers = true)]
    #[arg(help_heading = REGULARIZATION)]
    pub(in super::super) weight_decay: Option<f32>,
    /// Add so many times the sum of the magnitudes of all weights to what is minimized [default: 0]
    ///
    /// Biases do not count.
    #[arg(long, value_name = "F", value_parser = not_negative, allow_negative_numbers = true)]
    #[arg(help_heading = REGULARIZATION)]
    pub(in super::super) l1: Option<f32>,
    /// Add so many times the sum of the squares of all weights to what is minimized [default: 0]
    ///
    /// Biases do not count.
    #[arg(long, value_name = "F", value_parser = not_negative, allow_negative_numbers = true)]
    #[arg(help_heading = REGULARIZATION)]
    pub(in super::super) l2: Option<f32>,
    /// Share of the hidden values that a step drops [default: 0.5; for an mlp 0.2, on the digits 0.4; for a regression 0]
    ///
    /// Of texts 0.4, for a char-transformer 0.2.
    #[arg(long, value_name = "P", value_parser = share, allow_negative_numbers = true, help_heading = REGULARIZATION)]
    pub(in super::super) dropout: Option<f32>,
    /// Stop after so many epochs in which the validation loss was not lower than before [default: 0, never]
    ///
    /// --keep is then best, if nothing else is said.
    #[arg(long, value_name = "EPOCHS", help_heading = REGULARIZATION)]
    pub(in super::super) patience: Option<u32>,
    /// How values between kernels are stored [default: f32]
    #[arg(long, value_enum, help_heading = DEVICE)]
    pub(in super::super) precision: Option<Stored>,
    /// Memory for the intermediate values of a training step, in bytes, KiB, MiB or GiB [default: no limit]
    ///
    /// Activations that do not fit are computed again in the backward pass, which changes no result; `none` for a resumed
    /// run without its limit.
    #[arg(long, value_name = "BYTES|MiB", value_parser = budget, help_heading = DEVICE)]
    pub(in super::super) memory_budget: Option<usize>,
    /// How often the training rows are gone through [default: 10; of the digits 60, or 100 for an mlp; of tables 100; of texts 20]
    ///
    /// For a char-transformer 18.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = RUN)]
    pub(in super::super) epochs: Option<u32>,
    /// Rows of a step [default: 64; for an mlp 32, on tables 16; for a text 16, a transformer 32]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = RUN)]
    pub(in super::super) batch: Option<u32>,
    /// Seed of the initial weights, the order of the rows, dropout and augmentation [default: 42]
    #[arg(long, value_name = "N", help_heading = RUN)]
    pub(in super::super) seed: Option<u64>,
    /// Which weights are tested and saved [default: last with --schedule cosine and without --patience, else best]
    #[arg(long, value_enum, help_heading = RUN)]
    pub(in super::super) keep: Option<Kept>,
    /// Folder for what the run leaves [default: runs/DATA-MODEL, as in runs/digits-cnn]
    #[arg(long, value_name = "DIR", help_heading = RUN)]
    pub(in super::super) out: Option<PathBuf>,
}

/// How values between kernels are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in super::super) enum Stored {
    /// In 32 bits
    F32,
    /// Activations and their gradients in 16 bits, all else in 32, with a loss that is scaled as gradients overflow or do not
    Mixed,
}

impl From<Stored> for Precision {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::F32 => Precision::F32,
            Stored::Mixed => Precision::Mixed,
        }
    }
}

/// Which weights count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in super::super) enum Kept {
    /// Those with the best validation accuracy, or the lowest mean squared error
    Best,
    /// Those of the last epoch
    Last,
}

fn unit(text: &str) -> Result<Unit, String> {
    match text {
        "characters" => Ok(Unit::Characters),
        "bytes" => Ok(Unit::Bytes),
        _ => Err("neither `characters` nor `bytes`".into()),
    }
}

fn positive(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(x) if x.is_finite() && x > 0.0 => Ok(x),
        _ => Err("not a number above 0".into()),
    }
}

fn not_negative(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(x) if x.is_finite() && x >= 0.0 => Ok(x),
        _ => Err("not a number of 0 or more".into()),
    }
}

fn share(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(x) if (0.0..1.0).contains(&x) => Ok(x),
        _ => Err("not a number from 0 to below 1".into()),
    }
}

/// The name of a choice, as it is typed.
pub(in super::super) fn name(choice: &impl ValueEnum) -> String {
    choice.to_possible_value().map(|v| v.get_name().to_string()).unwrap_or_default()
}

/// What `none` stands for.
pub(super) const NO_LIMIT: usize = usize::MAX;

/// Bytes that a step may plan, or `none`.
fn budget(text: &str) -> Result<usize, String> {
    if text == "none" { Ok(NO_LIMIT) } else { bytes(text) }
}

/// A number of bytes, with or without a unit.
fn bytes(text: &str) -> Result<usize, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "kib" => 10,
        "mib" => 20,
        "gib" => 30,
        _ => return Err("takes a whole number of bytes, or of KiB, MiB or GiB, such as 64MiB".into()),
    };
    let number: usize = number.parse().map_err(|_| "takes a whole number, such as 64MiB".to_string())?;
    number.checked_mul(1 << shift).filter(|&n| n > 0).ok_or("is zero, or more than there can be".into())
}
