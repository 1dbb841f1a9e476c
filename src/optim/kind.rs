//! Optimizers by name.

use std::fmt;
use std::str::FromStr;

use super::{
    Adadelta, Adagrad, Adam, AdamW, Adamax, Lamb, Lion, Muon, NAdam, Optimizer, RAdam, RmsProp, Rprop, Sgd,
};
use crate::error::{Error, Result};
use crate::graph::Params;
use crate::names::unknown;

/// The optimizers that step by themselves, by name: all but [`super::Lbfgs`], which searches.
///
/// ```
/// use wgrad::Params;
/// use wgrad::optim::{Optimizer, OptimizerKind};
/// let params = Params::seeded(1);
/// let kind: OptimizerKind = "rmsprop".parse()?;
/// let optimizer = kind.build(&params, 1e-3, None);
/// assert_eq!(optimizer.lr_state().name(), "rmsprop.lr");
/// assert!("adm".parse::<OptimizerKind>().unwrap_err().to_string().contains("did you mean `adam`?"));
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OptimizerKind {
    /// Stochastic gradient descent.
    Sgd,
    /// The same with momentum 0.9.
    Momentum,
    /// The same in Nesterov's form.
    Nesterov,
    /// [`Adagrad`].
    Adagrad,
    /// [`Adadelta`].
    Adadelta,
    /// [`RmsProp`].
    RmsProp,
    /// [`Rprop`].
    Rprop,
    /// [`Adam`].
    Adam,
    /// Adam with [`Adam::amsgrad`].
    AmsGrad,
    /// [`AdamW`].
    AdamW,
    /// [`Adamax`].
    Adamax,
    /// [`NAdam`].
    NAdam,
    /// [`RAdam`].
    RAdam,
    /// [`Lion`].
    Lion,
    /// [`Lamb`].
    Lamb,
    /// [`Muon`].
    Muon,
}

/// Kind, name, and what its learning rate is usually multiplied by where Adam's is known.
const ALL: [(OptimizerKind, &str, f32); 16] = [
    (OptimizerKind::Sgd, "sgd", 30.0),
    (OptimizerKind::Momentum, "momentum", 10.0),
    (OptimizerKind::Nesterov, "nesterov", 10.0),
    (OptimizerKind::Adagrad, "adagrad", 3.0),
    (OptimizerKind::Adadelta, "adadelta", 0.0),
    (OptimizerKind::RmsProp, "rmsprop", 0.3),
    (OptimizerKind::Rprop, "rprop", 1.0),
    (OptimizerKind::Adam, "adam", 1.0),
    (OptimizerKind::AmsGrad, "amsgrad", 1.0),
    (OptimizerKind::AdamW, "adamw", 1.0),
    (OptimizerKind::Adamax, "adamax", 2.0),
    (OptimizerKind::NAdam, "nadam", 1.0),
    (OptimizerKind::RAdam, "radam", 1.0),
    (OptimizerKind::Lion, "lion", 0.3),
    (OptimizerKind::Lamb, "lamb", 1.0),
    (OptimizerKind::Muon, "muon", 1.0),
];

impl OptimizerKind {
    /// All there are, in the order of their age.
    pub fn all() -> impl Iterator<Item = OptimizerKind> {
        ALL.into_iter().map(|(kind, ..)| kind)
    }

    /// Its name, in lower case.
    pub fn name(self) -> &'static str {
        ALL.into_iter().find(|(kind, ..)| *kind == self).map_or("", |(_, name, _)| name)
    }

    /// A learning rate for a first try where `adam` suits Adam: a multiple of that, but for Adadelta, whose rate is 1.
    pub fn rate(self, adam: f32) -> f32 {
        match self {
            OptimizerKind::Adadelta => 1.0,
            kind => ALL.into_iter().find(|(one, ..)| *one == kind).map_or(adam, |(.., factor)| factor * adam),
        }
    }

    /// The optimizer with its usual settings but for the weight decay, if there is one.
    pub fn build(self, params: &Params, lr: f32, weight_decay: Option<f32>) -> Box<dyn Optimizer> {
        macro_rules! boxed {
            ($made:expr) => {{
                let made = $made;
                match weight_decay {
                    Some(decay) => Box::new(made.weight_decay(decay)),
                    None => Box::new(made),
                }
            }};
        }
        match self {
            OptimizerKind::Sgd => boxed!(Sgd::new(params, lr)),
            OptimizerKind::Momentum => boxed!(Sgd::new(params, lr).momentum(0.9)),
            OptimizerKind::Nesterov => boxed!(Sgd::new(params, lr).momentum(0.9).nesterov()),
            OptimizerKind::Adagrad => boxed!(Adagrad::new(params, lr)),
            OptimizerKind::Adadelta => boxed!(Adadelta::new(params, lr)),
            OptimizerKind::RmsProp => boxed!(RmsProp::new(params, lr)),
            OptimizerKind::Rprop => boxed!(Rprop::new(params, lr)),
            OptimizerKind::Adam => boxed!(Adam::new(params, lr)),
            OptimizerKind::AmsGrad => boxed!(Adam::new(params, lr).amsgrad()),
            OptimizerKind::AdamW => boxed!(AdamW::new(params, lr)),
            OptimizerKind::Adamax => boxed!(Adamax::new(params, lr)),
            OptimizerKind::NAdam => boxed!(NAdam::new(params, lr)),
            OptimizerKind::RAdam => boxed!(RAdam::new(params, lr)),
            OptimizerKind::Lion => boxed!(Lion::new(params, lr)),
            OptimizerKind::Lamb => boxed!(Lamb::new(params, lr)),
            OptimizerKind::Muon => boxed!(Muon::new(params, lr)),
        }
    }
}

impl fmt::Display for OptimizerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for OptimizerKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let found = ALL.into_iter().find(|(_, name, _)| *name == text);
        found.map(|(kind, ..)| kind).ok_or_else(|| unknown("optimizer", text, &ALL.map(|(_, name, _)| name)))
    }
}
