//! Losses, as functions of predictions and targets.
//!
//! A [`Loss`] is one of them with its options, ready for any graph and, as an objective, for a
//! [`Trainer`](crate::train::Trainer). Those most used are functions and methods as well, which give the mean: [`mse`],
//! [`mae`], [`half_squared_error`], [`binary_cross_entropy`] and [`Var::softmax_cross_entropy`]. [`gaussian_kl`] and the
//! penalties are added to one of them.
//!
//! ```
//! use wgrad::Graph;
//! use wgrad::losses::{Loss, Reduction};
//! let g = Graph::new();
//! let (prediction, target) = (g.input("p", [32, 3]), g.input("t", [32, 3]));
//! let mean = Loss::huber(0.5).of([prediction, target]);
//! let weights = g.input("weights", [32]);
//! let sum = Loss::huber(0.5).reduction(Reduction::Sum).of_weighted([prediction, target], weights);
//! assert_eq!((mean.shape().rank(), sum.shape().rank()), (0, 0));
//! ```
//!
//! [`Ctc`] is the loss of sequences whose targets are sequences of labels without an alignment; it takes the lengths of both as well,
//! so that it is none of the above.
//!
//! Every [`Loss`] is a composition of recorded ops, so that it is differentiated, checked and fused as they are; [`Ctc`], whose
//! targets are sequences with lengths, is made around an op of its own. What a target holds is known on the device alone, and
//! nothing is checked there but class numbers and lengths, which are refused with their row when they are fed; a target outside of what a loss expects, such as a probability above 1, gives what the
//! formula gives. A [`Trainer`](crate::train::Trainer) looks at the targets of its data sets before the first step.

mod adaptive;
mod classification;
mod ctc;
#[cfg(test)]
mod ctc_tests;
mod distance;
mod gaussian;
#[cfg(test)]
mod golden_tests;
mod kind;
mod names;
mod penalty;
mod probability;
mod reduction;
mod regression;
mod robust;
#[cfg(test)]
mod tests;

pub use adaptive::Adaptive;
pub use ctc::Ctc;
pub use gaussian::gaussian_kl;
pub(crate) use kind::{Kind, TargetKind};
pub use names::NAMES;
pub use penalty::{elastic_net_penalty, l1_penalty, l2_penalty, weights};
pub use reduction::Reduction;

use crate::graph::Var;

/// Mean of the squared differences.
#[track_caller]
pub fn mse<'g>(prediction: Var<'g>, target: Var<'g>) -> Var<'g> {
    (prediction - target).square().mean_all()
}

/// Half the sum of the squared differences: the error of textbook derivations of back-propagation.
#[track_caller]
pub fn half_squared_error<'g>(prediction: Var<'g>, target: Var<'g>) -> Var<'g> {
    (prediction - target).square().sum_all() * 0.5
}

/// Mean of the absolute differences.
#[track_caller]
pub fn mae<'g>(prediction: Var<'g>, target: Var<'g>) -> Var<'g> {
    (prediction - target).abs().mean_all()
}

/// Mean binary cross-entropy of logits and targets between 0 and 1:
/// -y log σ(z) - (1-y) log(1-σ(z)), computed as |z| (1 - y or y) + log(1 + e^-|z|), which cannot overflow: 1 - y
/// where z is positive, y where it is negative.
#[track_caller]
pub fn binary_cross_entropy<'g>(logits: Var<'g>, target: Var<'g>) -> Var<'g> {
    logits.binary_cross_entropy_per_element(target).mean_all()
}

/// A loss of `ARGUMENTS` values with its options: of two, mostly prediction and target, or of three.
///
/// Constructors say what each computes. Options are the [`Reduction`], [`Loss::class_weights`],
/// [`Loss::label_smoothing`] and [`Loss::ignore_class`] where a loss has them; one that has not is a recording error, as
/// is a parameter outside of its range. Loss values are one number per element of the target for the losses of numbers, and one
/// per row for those that say so; a row is what the first axis counts.
///
/// By name and back, in the way the program takes it:
///
/// ```
/// use wgrad::losses::Loss;
/// let loss: Loss = "quantile=0.9".parse()?;
/// assert_eq!((loss.clone(), loss.to_string()), (Loss::quantile(0.9), "quantile=0.9".into()));
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Loss<const ARGUMENTS: usize = 2> {
    kind: Kind,
    reduction: Reduction,
    class_weights: Vec<f32>,
    label_smoothing: f32,
    ignored_class: Option<u32>,
}

/// What a loss gives before it is reduced.
struct Values<'g> {
    /// `[rows, ..]`.
    each: Var<'g>,
    /// Weights `[rows]` that are a part of `each` and whose sum the mean is divided by.
    share: Option<Var<'g>>,
}

impl<'g> From<Var<'g>> for Values<'g> {
    fn from(each: Var<'g>) -> Self {
        Values { each, share: None }
    }
}

impl<const ARGUMENTS: usize> Loss<ARGUMENTS> {
    fn new(kind: Kind) -> Self {
        Loss {
            kind,
            reduction: Reduction::Mean,
            class_weights: Vec::new(),
            label_smoothing: 0.0,
            ignored_class: None,
        }
    }

    /// Which of the losses it is.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// What becomes of the loss values: their mean, unless this says otherwise.
    #[must_use]
    pub fn reduction(self, reduction: Reduction) -> Self {
        Loss { reduction, ..self }
    }

    /// A weight for each class, by which rare ones count more: of a cross-entropy, NLL, focal or multi-class hinge loss
    /// that of a row's own class; of soft targets one for each term; of a binary cross-entropy of logits the weights of
    /// the positive labels, one for all or one for each (PyTorch's `pos_weight`).
    ///
    /// As in PyTorch, the mean of cross-entropy and NLL with class numbers is divided by the sum of the rows' weights,
    /// that of all others by the number of values.
    #[must_use]
    pub fn class_weights(self, weights: impl Into<Vec<f32>>) -> Self {
        Loss { class_weights: weights.into(), ..self }
    }

    /// Targets of a cross-entropy that are moved towards the uniform distribution of k classes by ε in 0..=1:
    /// (1 - ε) t + ε / k (Szegedy et al., CVPR 2016, section 7), as in PyTorch and Keras. Class weights are then those of
    /// each term, as in PyTorch.
    #[must_use]
    pub fn label_smoothing(self, epsilon: f32) -> Self {
        Loss { label_smoothing: epsilon, ..self }
    }

    /// A class whose rows count nothing in a cross-entropy or NLL with class numbers, such as that of padding. The mean is
    /// over the others; it is NaN where there are none, as PyTorch's with `ignore_index`. The class is one of those that
    /// the logits have: PyTorch's default of -100 is no class number here.
    #[must_use]
    pub fn ignore_class(self, class: u32) -> Self {
        Loss { ignored_class: Some(class), ..self }
    }

    /// Records the loss of these values.
    #[track_caller]
    pub fn of<'g>(&self, values: [Var<'g>; ARGUMENTS]) -> Var<'g> {
        self.record(&values, None)
    }

    /// Records the loss with a weight `[rows]` for each row of the values. The mean is divided by the number of loss
    /// values and not by the sum of the weights, as in Keras: two batches of which one has lighter rows then count as
    /// their rows do.
    #[track_caller]
    pub fn of_weighted<'g>(&self, values: [Var<'g>; ARGUMENTS], weights: Var<'g>) -> Var<'g> {
        self.record(&values, Some(weights))
    }

    /// Records the mean, whatever the reduction is.
    #[track_caller]
    pub(crate) fn mean_of<'g>(&self, values: [Var<'g>; ARGUMENTS]) -> Var<'g> {
        Loss { reduction: Reduction::Mean, ..self.clone() }.of(values)
    }

    /// The same loss; of log-rates, that of rates.
    pub(crate) fn of_rates(self) -> Self {
        match self.kind {
            Kind::PoissonNll { full, .. } => {
                Loss { kind: Kind::PoissonNll { takes_log: false, full }, ..self }
            }
            _ => self,
        }
    }

    #[track_caller]
    fn record<'g>(&self, values: &[Var<'g>], weights: Option<Var<'g>>) -> Var<'g> {
        let first = values[0];
        if let Some(fault) = self.fault() {
            return first.graph().refuse(self.kind.name(), fault, first);
        }
        self.reduction.of(self.kind.name(), self.values(values), weights)
    }

    /// What is wrong with its parameters and options.
    fn fault(&self) -> Option<String> {
        if let Some(fault) = self.kind.fault() {
            return Some(fault);
        }
        let is_weight = |w: &f32| w.is_finite() && *w >= 0.0;
        if let Some(at) = self.class_weights.iter().position(|w| !is_weight(w)) {
            return Some(format!(
                "the weight of class {at} is {}; weights are finite and not negative",
                self.class_weights[at]
            ));
        }
        if !(0.0..=1.0).contains(&self.label_smoothing) {
            return Some(format!("label smoothing by {}; it lies between 0 and 1", self.label_smoothing));
        }
        let has = self.kind.options();
        let wrong = [
            (!self.class_weights.is_empty() && !has.class_weights, "class weights"),
            (self.label_smoothing != 0.0 && !has.label_smoothing, "label smoothing"),
            (self.ignored_class.is_some() && !has.ignored_class, "an ignored class"),
        ];
        let (_, option) = wrong.iter().find(|(is, _)| *is)?;
        Some(format!("there is no {option} in this loss"))
    }

    #[track_caller]
    fn values<'g>(&self, values: &[Var<'g>]) -> Values<'g> {
        match *values {
            [prediction, target] => self.of_two(prediction, target),
            [a, b, c] => distance::of_three(self.kind, [a, b, c]).into(),
            // There are no others.
            _ => values[0].into(),
        }
    }

    #[track_caller]
    fn of_two<'g>(&self, prediction: Var<'g>, target: Var<'g>) -> Values<'g> {
        let name = self.kind.name();
        if let Kind::CrossEntropy | Kind::Nll | Kind::Focal { .. } | Kind::MultiMargin { .. } = self.kind {
            return classification::values(self, prediction, target);
        }
        let [prediction, target] = alike(name, prediction, target);
        match self.kind {
            Kind::Bce if !self.class_weights.is_empty() => {
                probability::weighted_bce(prediction, target, &self.class_weights).into()
            }
            kind if kind.is_of_rows() => probability::per_row(kind, prediction, target).into(),
            Kind::Hinge { .. } | Kind::Bce | Kind::BceProbabilities | Kind::BinaryFocal { .. } => {
                probability::per_label(self.kind, prediction, target).into()
            }
            Kind::Robust { .. } | Kind::VariablePower { .. } => {
                robust::per_element(self.kind, prediction - target).into()
            }
            kind => regression::per_element(kind, prediction, target).into(),
        }
    }
}

/// A prediction and a target in one shape, that of the target: broadcasting `[n, 1]` with `[n]` would compare each row
/// with all others.
#[track_caller]
pub(crate) fn alike<'g>(op: &str, prediction: Var<'g>, target: Var<'g>) -> [Var<'g>; 2] {
    let (own, wanted) = (prediction.shape(), target.shape());
    if own == wanted {
        return [prediction, target];
    }
    let is_possible = own.rank() > 0 && own.dim(0) == wanted.dim(0) && own.elements() == wanted.elements();
    let prediction = match is_possible {
        true => prediction.reshape(wanted),
        false => prediction.graph().refuse(
            op,
            format!("the model makes {own}, and the targets are {wanted}"),
            prediction,
        ),
    };
    [prediction, target]
}
