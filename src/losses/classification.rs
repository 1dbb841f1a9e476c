//! Losses of class numbers: one value per row.

use super::{Kind, Loss, Values};
use crate::graph::Var;
use crate::shape::DType;
use crate::tensor::Tensor;

impl Loss {
    /// Cross-entropy of softmax of logits z `[n, k]` with class numbers `[n]`, log Σ eᶻ - z_class, or with a distribution for
    /// each row `[n, k]`, Σ t (log Σ eᶻ - z): one-hot or any other. One value per row; the gradient is softmax(z) - t.
    /// Exact at any magnitude of the logits. Goodfellow, Bengio and Courville, "Deep Learning", section 6.2.2. PyTorch's
    /// `CrossEntropyLoss`, Keras's `CategoricalCrossentropy` and `SparseCategoricalCrossentropy` with `from_logits`.
    pub fn cross_entropy() -> Self {
        Loss::new(Kind::CrossEntropy)
    }

    /// -log q of the class of each row, of log-probabilities `[n, k]` and class numbers `[n]`: with those of
    /// [`Var::log_softmax`] the cross-entropy. One value per row. PyTorch's `NLLLoss`.
    pub fn nll() -> Self {
        Loss::new(Kind::Nll)
    }

    /// Focal loss (1 - q)^γ (-log q) with q the softmax of logits `[n, k]` at the class number of each row: rows that are
    /// right already count less; γ = 0 is the cross-entropy. One value per row. Lin et al., "Focal Loss for Dense Object
    /// Detection", ICCV 2017, section 3, where γ is 2 and classes have weights. Keras's `CategoricalFocalCrossentropy`.
    pub fn focal(gamma: f32) -> Self {
        Loss::new(Kind::Focal { gamma })
    }

    /// Multi-class hinge loss of scores `[n, k]` and class numbers `[n]`, with margin 1 and a power of 1 or 2:
    /// Σ max(0, 1 - z_class + z_j)^power / k over the other classes j. One value per row. Weston and Watkins, ESANN 1999.
    /// PyTorch's `MultiMarginLoss`, where the power is 1 unless given.
    pub fn multi_margin(power: u32) -> Self {
        Loss::new(Kind::MultiMargin { power })
    }
}

/// Loss values of logits, log-probabilities or scores, and class numbers; of a cross-entropy also of distributions.
#[track_caller]
pub(super) fn values<'g, const N: usize>(loss: &Loss<N>, prediction: Var<'g>, target: Var<'g>) -> Values<'g> {
    let are_classes = target.tensor_type().dtype == DType::U32;
    if prediction.is_poisoned() || target.is_poisoned() {
        return (prediction + target).into();
    }
    if let Some(fault) = fault(loss, prediction, target) {
        return prediction.graph().refuse(loss.kind.name(), fault, prediction).into();
    }
    if !are_classes {
        return prediction.soft_cross_entropy_per_row(moved(loss, target)).into();
    }
    let factor = Factor::of(loss, prediction, target);
    match loss.kind {
        Kind::Nll => factor.shared(-prediction.pick(target)),
        Kind::Focal { gamma } => {
            let entropy = prediction.cross_entropy_per_row(target);
            let focused = match gamma {
                0.0 => entropy,
                gamma => (1.0 - (-entropy).exp()).relu().powf(gamma) * entropy,
            };
            factor.weighted(focused).into()
        }
        Kind::MultiMargin { power } => {
            let (rows, classes) = (prediction.dim(0), prediction.dim(1));
            let own = prediction.pick(target).reshape([rows, 1]);
            let over = (prediction - own + 1.0).relu();
            let over = if power == 2 { over.square() } else { over };
            let others = 1.0 - target.one_hot(classes);
            factor.weighted((over * others).mean(&[1])).into()
        }
        _ if loss.label_smoothing == 0.0 => factor.shared(prediction.cross_entropy_per_row(target)),
        // The weights are those of the terms, by which the targets are multiplied.
        _ => {
            let targets = moved(loss, target.one_hot(prediction.dim(1)));
            let each = prediction.soft_cross_entropy_per_row(targets);
            Values { each: factor.kept(each), share: factor.row }
        }
    }
}

/// What is wrong with shapes and options, in words.
fn fault<const N: usize>(loss: &Loss<N>, prediction: Var<'_>, target: Var<'_>) -> Option<String> {
    let (made, wanted) = (prediction.shape(), target.shape());
    let &[rows, classes] = made.dims() else {
        return Some(format!(
            "it takes one number for each class, [rows, classes], and the model makes {made}"
        ));
    };
    let are_classes = target.tensor_type().dtype == DType::U32;
    let takes_distributions = loss.kind == Kind::CrossEntropy;
    if are_classes && wanted.dims() != [rows] {
        return Some(format!("class numbers {wanted} must be [{rows}], one for each row"));
    }
    if !are_classes && (!takes_distributions || wanted != made) {
        let more = match takes_distributions {
            true => format!(", or probabilities {made}"),
            false => String::new(),
        };
        return Some(format!("the targets are class numbers [{rows}]{more}; got {}", target.tensor_type()));
    }
    let weights = loss.class_weights.len();
    if weights != 0 && weights != classes {
        return Some(format!("{weights} class weights for {classes} classes"));
    }
    match loss.ignored_class {
        Some(class) if class as usize >= classes => {
            Some(format!("class {class} is to be ignored, and there are the classes 0..{classes}"))
        }
        Some(_) if !are_classes => Some("distributions have no class that could be ignored".into()),
        _ => None,
    }
}

/// A constant of one number for each class.
fn per_class<'g>(like: Var<'g>, values: Vec<f32>) -> Var<'g> {
    match Tensor::new([values.len()], values) {
        Ok(tensor) => like.graph().constant(tensor),
        Err(error) => like.graph().refuse("class weights", error.to_string(), like),
    }
}

/// Distributions `[n, k]` after smoothing, times the class weights.
fn moved<'g, const N: usize>(loss: &Loss<N>, targets: Var<'g>) -> Var<'g> {
    let moved = match loss.label_smoothing {
        0.0 => targets,
        e => targets * (1.0 - e) + e / targets.dim(1) as f32,
    };
    match loss.class_weights.is_empty() {
        true => moved,
        false => moved * per_class(targets, loss.class_weights.clone()),
    }
}

/// What the class of each row decides, `[rows]`; none where there is nothing to decide.
struct Factor<'g> {
    /// The weight, 0 of an ignored class.
    row: Option<Var<'g>>,
    /// 1, or 0 of an ignored class.
    is_kept: Option<Var<'g>>,
}

impl<'g> Factor<'g> {
    fn of<const N: usize>(loss: &Loss<N>, prediction: Var<'g>, classes: Var<'g>) -> Self {
        let (rows, count) = (prediction.dim(0), prediction.dim(1));
        let look_up = |values: Vec<f32>| {
            per_class(prediction, values).reshape([count, 1]).take_rows(classes).reshape([rows])
        };
        let Some(ignored) = loss.ignored_class else {
            let row = (!loss.class_weights.is_empty()).then(|| look_up(loss.class_weights.clone()));
            return Factor { row, is_kept: None };
        };
        let without = |mut values: Vec<f32>| {
            values[ignored as usize] = 0.0;
            look_up(values)
        };
        let is_kept = without(vec![1.0; count]);
        let row = match loss.class_weights.is_empty() {
            true => is_kept,
            false => without(loss.class_weights.clone()),
        };
        Factor { row: Some(row), is_kept: Some(is_kept) }
    }

    /// 0 for rows that are ignored, whatever their value is.
    fn kept(&self, each: Var<'g>) -> Var<'g> {
        self.is_kept.map_or(each, |is_kept| is_kept.select(each, each.graph().scalar(0.0)))
    }

    fn weighted(&self, each: Var<'g>) -> Var<'g> {
        let each = self.kept(each);
        self.row.map_or(each, |row| each * row)
    }

    /// Values that the sum of the weights divides.
    fn shared(&self, each: Var<'g>) -> Values<'g> {
        Values { each: self.weighted(each), share: self.row }
    }
}
