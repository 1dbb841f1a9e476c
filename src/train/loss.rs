//! Losses of the library as objectives: what of a model's output and of the targets of a data set each takes.

use std::sync::Arc;

use super::task::{Metric, Objective, Task};
use super::{Accuracy, BinaryAccuracy, Mae, Mse, R2};
use crate::data::{Dataset, Targets};
use crate::error::{Error, Result};
use crate::graph::{Param, Var};
use crate::losses::{Adaptive, Kind, Loss, TargetKind};
use crate::shape::DType;

/// The mean of the loss, with what it takes made of the model's output z and the targets.
///
/// | loss | of z | of class numbers | of other targets |
/// |---|---|---|---|
/// | `cross-entropy` | z | themselves | themselves, distributions |
/// | `nll` | log-softmax | themselves | – |
/// | `focal`, `multi-margin` | z | themselves | – |
/// | `hinge`, `squared-hinge` | z | 1 for the class, -1 for the others | themselves |
/// | `bce`, `binary-focal`, `poisson-nll`, `cosine-similarity` | z | one-hot | themselves |
/// | `kl`, `kl-reverse` | log-softmax | one-hot | themselves, distributions |
/// | `categorical-cross-entropy` | softmax | one-hot | themselves, distributions |
/// | `dice`, `bce-probabilities` | softmax; sigmoid where the targets are no classes | one-hot | themselves |
/// | `mape` | z | – | themselves |
/// | `poisson-nll-rates` | softmax; z, at least 1e-6, where the targets are no classes | one-hot | themselves |
/// | all others | softmax; z where the targets are no classes | one-hot | themselves |
///
/// Softmax is over the last axis. A [`Predictor`](super::Predictor) gives softmax of z as probabilities whatever the loss
/// was: after training with margins or cosines they rank the classes and say no more. Targets of a data set that a loss does not take, such as a label of 0 with `hinge`, are an
/// error with their row before the first step.
impl Objective for Loss {
    fn name(&self) -> &str {
        self.kind().name()
    }

    #[track_caller]
    fn loss<'g>(&self, prediction: Var<'g>, target: Var<'g>) -> Var<'g> {
        self.mean_of(taken(self.kind(), prediction, target))
    }

    fn metrics(&self) -> Vec<Arc<dyn Metric>> {
        match self.kind() {
            Kind::CrossEntropy | Kind::Nll | Kind::Focal { .. } | Kind::MultiMargin { .. } => {
                vec![Arc::new(Accuracy)]
            }
            Kind::Bce | Kind::BinaryFocal { .. } => vec![Arc::new(BinaryAccuracy)],
            kind if kind.is_of_numbers() => of_numbers(),
            _ => Vec::new(),
        }
    }

    fn check(&self, data: &Dataset) -> Result<()> {
        check(self.kind(), data, |x| x, 0.0)
    }
}

fn of_numbers() -> Vec<Arc<dyn Metric>> {
    vec![Arc::new(Mse::new()), Arc::new(Mae::new()), Arc::new(R2::new())]
}

/// A loss of targets that were scaled, such as a table's: one that asks for the size of the numbers themselves
/// (`msle`, `mape`, `poisson-nll`) gets them in their unit, x · size + mean, and any other the scaled ones. Poisson's is that
/// of rates then, which are at least a thousandth of the mean.
#[derive(Debug, Clone)]
pub struct InUnit {
    loss: Loss,
    mean: f32,
    size: f32,
}

impl InUnit {
    /// Scaled targets x are x · `size` + `mean` in their unit.
    pub fn new(loss: Loss, mean: f64, size: f64) -> Self {
        let loss = if loss.kind().needs_unit() { loss.of_rates() } else { loss };
        InUnit { loss, mean: mean as f32, size: size as f32 }
    }

    fn needs_unit(&self) -> bool {
        self.loss.kind().needs_unit()
    }
}

impl Objective for InUnit {
    fn name(&self) -> &str {
        Objective::name(&self.loss)
    }

    #[track_caller]
    fn loss<'g>(&self, prediction: Var<'g>, target: Var<'g>) -> Var<'g> {
        if !self.needs_unit() {
            return self.loss.loss(prediction, target);
        }
        let [prediction, target] = [prediction, target].map(|x| x * self.size + self.mean);
        let prediction = match self.loss.kind() {
            Kind::PoissonNll { .. } => prediction.clamp((self.mean * 1e-3).abs(), f32::INFINITY),
            _ => prediction,
        };
        self.loss.loss(prediction, target)
    }

    fn metrics(&self) -> Vec<Arc<dyn Metric>> {
        self.loss.metrics()
    }

    fn check(&self, data: &Dataset) -> Result<()> {
        match self.needs_unit() {
            // Scaling rounds.
            true => check(self.loss.kind(), data, |x| x * self.size + self.mean, self.size * 1e-5),
            false => self.loss.check(data),
        }
    }
}

impl Objective for Adaptive {
    fn name(&self) -> &str {
        "adaptive"
    }

    #[track_caller]
    fn loss<'g>(&self, prediction: Var<'g>, target: Var<'g>) -> Var<'g> {
        self.mean_of(taken(Kind::Mse, prediction, target))
    }

    fn params(&self) -> Vec<Param> {
        self.learned()
    }

    fn metrics(&self) -> Vec<Arc<dyn Metric>> {
        of_numbers()
    }
}

impl Task {
    /// The same metrics beside another objective: `Task::of(&data).minimizing(Loss::huber(1.0))`.
    #[must_use]
    pub fn minimizing(self, objective: impl Objective + 'static) -> Self {
        Task { objective: Arc::new(objective), ..self }
    }
}

/// A model's output below this counts as this rate.
const LEAST_RATE: f32 = 1e-6;

/// What a loss takes of a model's output and the targets.
#[track_caller]
fn taken<'g>(kind: Kind, z: Var<'g>, target: Var<'g>) -> [Var<'g>; 2] {
    let last = z.shape().rank().saturating_sub(1);
    let are_classes = target.tensor_type().dtype == DType::U32;
    let prediction = match kind {
        Kind::CrossEntropy | Kind::Focal { .. } | Kind::MultiMargin { .. } => z,
        Kind::Hinge { .. } | Kind::Bce | Kind::BinaryFocal { .. } => z,
        Kind::PoissonNll { takes_log: true, .. } | Kind::CosineSimilarity | Kind::Mape => z,
        Kind::Nll | Kind::Kl(_) => z.log_softmax(last),
        Kind::Categorical => z.softmax(last),
        _ if are_classes => z.softmax(last),
        Kind::Dice { .. } | Kind::BceProbabilities => z.sigmoid(),
        Kind::PoissonNll { .. } => z.clamp(LEAST_RATE, f32::INFINITY),
        _ => z,
    };
    let target = match kind {
        _ if !are_classes => target,
        Kind::CrossEntropy | Kind::Focal { .. } | Kind::MultiMargin { .. } | Kind::Nll => target,
        Kind::Hinge { .. } => target.one_hot(z.dim(last)) * 2.0 - 1.0,
        _ => target.one_hot(z.dim(last)),
    };
    [prediction, target]
}

/// Refuses targets that a loss does not take, with the row. `unit` gives a target's number as the loss sees it, off by
/// `rounding` at most.
fn check(kind: Kind, data: &Dataset, unit: impl Fn(f32) -> f32, rounding: f32) -> Result<()> {
    let (name, takes) = (kind.name(), kind.targets());
    let refuse = |what: String| Err(Error::Invalid(format!("data set `{}`: {what}", data.name)));
    if let Targets::Classes { .. } | Targets::Sequences { .. } = data.targets {
        return match takes {
            TargetKind::NotZero | TargetKind::Logarithms => refuse(format!(
                "its targets are classes, and the loss `{name}` takes {}; take `cross-entropy` or another",
                takes.describe()
            )),
            _ => Ok(()),
        };
    }
    if takes == TargetKind::Classes {
        return refuse(format!("the loss `{name}` takes class numbers, and the targets are others"));
    }
    if kind == Kind::CosineSimilarity && data.target(0).is_some_and(|target| target.len() == 1) {
        return refuse(format!(
            "the loss `{name}` compares directions, and one number has none but its sign"
        ));
    }
    if takes == TargetKind::Numbers {
        return Ok(());
    }
    for row in 0..data.len() {
        let wrong = |x: &f32| !takes.contains(unit(*x), rounding);
        if let Some(x) = data.target(row).unwrap_or_default().into_iter().find(wrong) {
            return refuse(format!(
                "row {row} has the target {}, and the loss `{name}` takes {}",
                unit(x),
                takes.describe()
            ));
        }
    }
    Ok(())
}
