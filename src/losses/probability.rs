//! Losses of labels and of probabilities.

use super::kind::Divergence;
use super::{Kind, Loss};
use crate::graph::Var;
use crate::tensor::Tensor;

impl Loss {
    /// Hinge loss max(0, 1 - t p) of scores p and targets t of -1 or 1, one value per element, with the gradient -t where
    /// t p is below 1, else 0. Rosasco et al., "Are Loss Functions All the Same?", 2004. Keras's `Hinge`.
    pub fn hinge() -> Self {
        Loss::new(Kind::Hinge { is_squared: false })
    }

    /// max(0, 1 - t p)² of scores p and targets t of -1 or 1, one value per element. Keras's `SquaredHinge`.
    pub fn squared_hinge() -> Self {
        Loss::new(Kind::Hinge { is_squared: true })
    }

    /// Binary cross-entropy of logits z and targets y between 0 and 1, one value per element:
    /// -y log σ(z) - (1 - y) log(1 - σ(z)), with the gradient σ(z) - y; no logit overflows. PyTorch's `BCEWithLogitsLoss`,
    /// Keras's `BinaryCrossentropy` with `from_logits`.
    pub fn bce() -> Self {
        Loss::new(Kind::Bce)
    }

    /// Binary cross-entropy of probabilities p and targets y, both between 0 and 1, one value per element:
    /// -y log p - (1 - y) log(1 - p), with the gradient (p - y) / (p (1 - p)). Logarithms are at least -100, as in PyTorch's
    /// `BCELoss`, and 1 / p and 1 / (1 - p) in the gradient at most 1e12, so that a wrong 0 or 1 is driven away.
    /// Keras's `BinaryCrossentropy`, which limits p. [`Loss::bce`] is the better one where there are logits.
    pub fn bce_of_probabilities() -> Self {
        Loss::new(Kind::BceProbabilities)
    }

    /// Focal loss of logits z and targets y of 0 or 1, one value per element: the binary cross-entropy times
    /// (1 - q)^γ, with q the probability of what is right, and times α for the label 1, 1 - α for 0. Lin et al., "Focal
    /// Loss for Dense Object Detection", ICCV 2017, equation 5; there γ is 2 and α 0.25. torchvision's
    /// `sigmoid_focal_loss`, Keras's `BinaryFocalCrossentropy`.
    pub fn binary_focal(gamma: f32, alpha: f32) -> Self {
        Loss::new(Kind::BinaryFocal { gamma, alpha })
    }

    /// Cross-entropy of probabilities p and targets t, both `[n, k]`: -Σ t log p of each row, with the gradient -t / p.
    /// Logarithms are at least -100 and 1 / p in the gradient at most 1e12. Keras's `CategoricalCrossentropy`, which
    /// divides by Σ p first. [`Loss::cross_entropy`] is the better one where there are logits.
    pub fn categorical_cross_entropy() -> Self {
        Loss::new(Kind::Categorical)
    }

    /// Kullback-Leibler divergence Σ t (log t - q) of each row of log-probabilities q from probabilities t, both
    /// `[n, ..]`; a target of 0 counts nothing. The gradient is -t. Kullback and Leibler, 1951. The mean is over rows:
    /// PyTorch's `KLDivLoss` with `batchmean`; Keras's `KLDivergence` takes probabilities.
    pub fn kl() -> Self {
        Loss::new(Kind::Kl(Divergence::Forward))
    }

    /// [`Loss::kl`] of targets that are log-probabilities l: Σ eˡ (l - q). PyTorch's `KLDivLoss` with `log_target`.
    pub fn kl_of_log_targets() -> Self {
        Loss::new(Kind::Kl(Divergence::LogTarget))
    }

    /// The reversed divergence, Σ e^q (q - log t) of each row: it seeks one mode of the target. log t is at least -100,
    /// where the divergence from a target of 0 would be infinite.
    pub fn kl_reverse() -> Self {
        Loss::new(Kind::Kl(Divergence::Reverse))
    }

    /// Dice loss 1 - (2 Σ p t + s) / (Σ p + Σ t + s) of each row of probabilities p and targets t, both `[n, ..]` and
    /// between 0 and 1; s smooths, and makes two empty masks alike. Sudre et al., "Generalised Dice Overlap", 2017.
    /// Keras's `Dice` takes all rows together, with s of 1e-7.
    pub fn dice(smooth: f32) -> Self {
        Loss::new(Kind::Dice { smooth })
    }

    /// 1 - cos of the angle between each row of the prediction and of the target, `[n, ..]`: 0 where they point the same
    /// way, 2 where opposite. A row of zeros has the cosine 0. Squares must not overflow: elements up to about 1e18. As
    /// PyTorch's `CosineEmbeddingLoss` for a target of 1; Keras's `CosineSimilarity` is less by 1.
    pub fn cosine_similarity() -> Self {
        Loss::new(Kind::CosineSimilarity)
    }
}

/// The sum over all axes but the first.
#[track_caller]
pub(super) fn sum_of_rows(x: Var<'_>) -> Var<'_> {
    let axes: Vec<usize> = (1..x.shape().rank()).collect();
    if axes.is_empty() { x } else { x.sum(&axes) }
}

/// cos of the angle between rows. PyTorch adds 1e-12 to the squares of both norms.
#[track_caller]
pub(super) fn cosine<'g>(a: Var<'g>, b: Var<'g>) -> Var<'g> {
    let square = |x: Var<'g>| sum_of_rows(x.square()) + 1e-12;
    // Each root for itself: the product of the squares overflows sooner.
    sum_of_rows(a * b) / (square(a).sqrt() * square(b).sqrt())
}

#[track_caller]
pub(super) fn per_row<'g>(kind: Kind, prediction: Var<'g>, target: Var<'g>) -> Var<'g> {
    let [p, t] = [prediction, target];
    match kind {
        Kind::Kl(Divergence::Forward) => sum_of_rows(t * t.clamped_log() - t * p),
        Kind::Kl(Divergence::LogTarget) => sum_of_rows(t.exp() * (t - p)),
        Kind::Kl(Divergence::Reverse) => sum_of_rows(p.exp() * (p - t.clamped_log())),
        Kind::Dice { smooth } => {
            1.0 - (sum_of_rows(p * t) * 2.0 + smooth) / (sum_of_rows(p) + sum_of_rows(t) + smooth)
        }
        Kind::CosineSimilarity => 1.0 - cosine(p, t),
        // Of categories.
        _ => -sum_of_rows(t * p.clamped_log()),
    }
}

#[track_caller]
pub(super) fn per_label<'g>(kind: Kind, prediction: Var<'g>, target: Var<'g>) -> Var<'g> {
    let [p, t] = [prediction, target];
    match kind {
        Kind::Hinge { is_squared } => {
            let short = (1.0 - t * p).relu();
            if is_squared { short.square() } else { short }
        }
        Kind::BceProbabilities => -(t * p.clamped_log() + (1.0 - t) * (1.0 - p).clamped_log()),
        Kind::BinaryFocal { gamma, alpha } => {
            let entropy = p.binary_cross_entropy_per_element(t);
            // 1 - q, each side from its own sigmoid, which loses no digits.
            let wrong = t * (-p).sigmoid() + (1.0 - t) * p.sigmoid();
            let focused = if gamma == 0.0 { entropy } else { wrong.powf(gamma) * entropy };
            focused * (t * (2.0 * alpha - 1.0) + (1.0 - alpha))
        }
        // Of logits.
        _ => p.binary_cross_entropy_per_element(t),
    }
}

/// Binary cross-entropy of logits whose positive labels have weights: -w y log σ(z) - (1 - y) log(1 - σ(z)).
#[track_caller]
pub(super) fn weighted_bce<'g>(logits: Var<'g>, target: Var<'g>, weights: &[f32]) -> Var<'g> {
    let g = logits.graph();
    let entropy_of = |label: f32| logits.binary_cross_entropy_per_element(g.scalar(label));
    let weight = match *weights {
        [weight] => g.scalar(weight),
        _ => {
            let last = logits.shape().dims().last().copied().unwrap_or(1);
            match Tensor::new([weights.len()], weights.to_vec()) {
                Ok(tensor) if last == weights.len() => g.constant(tensor),
                _ => {
                    let message = format!("{} weights of positive labels, and {last} labels", weights.len());
                    g.refuse(Kind::Bce.name(), message, logits)
                }
            }
        }
    };
    weight * target * entropy_of(1.0) + (1.0 - target) * entropy_of(0.0)
}
