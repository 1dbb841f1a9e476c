//! Losses by name, with their parameters: `huber`, `quantile=0.9`, `robust=0,0.5`.

use std::fmt;
use std::str::FromStr;

use super::kind::Divergence;
use super::{Kind, Loss};
use crate::error::{Error, Result};
use crate::names::{unknown, with_numbers};

/// The names that [`Loss`] is parsed from, each with what it takes after an equals sign.
pub const NAMES: [(&str, &str); 29] = [
    ("mse", ""),
    ("mae", ""),
    ("msle", ""),
    ("mape", ""),
    ("huber", "delta, 1 unless given"),
    ("smooth-l1", "beta, 1 unless given"),
    ("log-cosh", ""),
    ("quantile", "q, 0.5 unless given"),
    ("robust", "alpha,scale, 1,1 unless given"),
    ("variable-power", "scale, 1 unless given"),
    ("poisson-nll", ""),
    ("poisson-nll-full", ""),
    ("poisson-nll-rates", ""),
    ("poisson-nll-rates-full", ""),
    ("hinge", ""),
    ("squared-hinge", ""),
    ("multi-margin", "power, 1 unless given"),
    ("bce", ""),
    ("bce-probabilities", ""),
    ("binary-focal", "gamma,alpha, 2,0.25 unless given"),
    ("cross-entropy", ""),
    ("categorical-cross-entropy", ""),
    ("nll", ""),
    ("focal", "gamma, 2 unless given"),
    ("kl", ""),
    ("kl-log-target", ""),
    ("kl-reverse", ""),
    ("dice", "smoothing, 1 unless given"),
    ("cosine-similarity", ""),
];

/// What other libraries call some of them.
const OTHERS: [(&str, &str); 8] = [
    ("softmax-cross-entropy", "cross-entropy"),
    ("binary-cross-entropy", "bce"),
    ("l1", "mae"),
    ("l2", "mse"),
    ("pinball", "quantile"),
    ("logcosh", "log-cosh"),
    ("kl-divergence", "kl"),
    ("poisson", "poisson-nll"),
];

/// The name of [`Adaptive`](super::Adaptive), which is parsed by whoever has the parameters that it learns.
const ADAPTIVE: &str = "adaptive";

impl FromStr for Loss {
    type Err = Error;

    /// The loss of a name, as in [`NAMES`].
    fn from_str(text: &str) -> Result<Self> {
        let (name, given) = with_numbers("loss", text)?;
        let name = OTHERS.iter().find(|(other, _)| *other == name).map_or(name, |(_, name)| name);
        let value = |i: usize, usual: f32| given.get(i).copied().unwrap_or(usual);
        let (kind, most) = match name {
            "mse" => (Kind::Mse, 0),
            "mae" => (Kind::Mae, 0),
            "msle" => (Kind::Msle, 0),
            "mape" => (Kind::Mape, 0),
            "huber" => (Kind::Huber { delta: value(0, 1.0) }, 1),
            "smooth-l1" => (Kind::SmoothL1 { beta: value(0, 1.0) }, 1),
            "log-cosh" => (Kind::LogCosh, 0),
            "quantile" => (Kind::Quantile { q: value(0, 0.5) }, 1),
            "robust" => (Kind::Robust { alpha: value(0, 1.0), scale: value(1, 1.0) }, 2),
            "variable-power" => (Kind::VariablePower { scale: value(0, 1.0) }, 1),
            "poisson-nll" => (Kind::PoissonNll { takes_log: true, full: false }, 0),
            "poisson-nll-full" => (Kind::PoissonNll { takes_log: true, full: true }, 0),
            "poisson-nll-rates" => (Kind::PoissonNll { takes_log: false, full: false }, 0),
            "poisson-nll-rates-full" => (Kind::PoissonNll { takes_log: false, full: true }, 0),
            "hinge" => (Kind::Hinge { is_squared: false }, 0),
            "squared-hinge" => (Kind::Hinge { is_squared: true }, 0),
            "multi-margin" => match value(0, 1.0) {
                1.0 => (Kind::MultiMargin { power: 1 }, 1),
                2.0 => (Kind::MultiMargin { power: 2 }, 1),
                power => {
                    return Err(Error::Invalid(format!("loss `{name}`: the power is {power}; it is 1 or 2")));
                }
            },
            "bce" => (Kind::Bce, 0),
            "bce-probabilities" => (Kind::BceProbabilities, 0),
            "binary-focal" => (Kind::BinaryFocal { gamma: value(0, 2.0), alpha: value(1, 0.25) }, 2),
            "cross-entropy" => (Kind::CrossEntropy, 0),
            "categorical-cross-entropy" => (Kind::Categorical, 0),
            "nll" => (Kind::Nll, 0),
            "focal" => (Kind::Focal { gamma: value(0, 2.0) }, 1),
            "kl" => (Kind::Kl(Divergence::Forward), 0),
            "kl-log-target" => (Kind::Kl(Divergence::LogTarget), 0),
            "kl-reverse" => (Kind::Kl(Divergence::Reverse), 0),
            "dice" => (Kind::Dice { smooth: value(0, 1.0) }, 1),
            "cosine-similarity" => (Kind::CosineSimilarity, 0),
            ADAPTIVE => {
                return Err(Error::Invalid(format!(
                    "loss `{ADAPTIVE}` has parameters that are learned: make it by `losses::Adaptive`"
                )));
            }
            _ => {
                let known: Vec<&str> = NAMES.iter().map(|(name, _)| *name).chain([ADAPTIVE]).collect();
                return Err(unknown("loss", name, &known));
            }
        };
        if given.len() > most {
            return Err(Error::Invalid(format!(
                "loss `{name}` takes {most} numbers, and {} are given",
                given.len()
            )));
        }
        match kind.fault() {
            Some(fault) => Err(Error::Invalid(format!("loss `{name}`: {fault}"))),
            None => Ok(Loss::new(kind)),
        }
    }
}

/// As it is parsed, options left out.
impl<const ARGUMENTS: usize> fmt::Display for Loss<ARGUMENTS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.kind.name();
        match self.kind {
            Kind::Huber { delta: x }
            | Kind::SmoothL1 { beta: x }
            | Kind::Quantile { q: x }
            | Kind::VariablePower { scale: x }
            | Kind::Focal { gamma: x }
            | Kind::Dice { smooth: x }
            | Kind::CosineEmbedding { margin: x }
            | Kind::MarginRanking { margin: x }
            | Kind::TripletMargin { margin: x }
            | Kind::Contrastive { margin: x } => write!(f, "{name}={x}"),
            Kind::Robust { alpha: x, scale: y } | Kind::BinaryFocal { gamma: x, alpha: y } => {
                write!(f, "{name}={x},{y}")
            }
            Kind::MultiMargin { power } => write!(f, "{name}={power}"),
            _ => f.write_str(name),
        }
    }
}
