//! Losses of three values: of distances between examples, and of a distribution's mean and variance.

use super::probability::{cosine, sum_of_rows};
use super::{Kind, Loss, alike};
use crate::graph::Var;

/// What PyTorch adds to each difference of which it takes a norm, so that it is not 0.
const DIFFERENCE: f32 = 1e-6;

/// A norm's square is at least this, so that its root has a gradient.
const LEAST_SQUARE: f32 = 1e-30;

/// A variance is at least this; PyTorch's default.
const LEAST_VARIANCE: f32 = 1e-6;

impl Loss<3> {
    /// Negative log-likelihood of targets under normal distributions, of `[mean, target, variance]` in one shape and one value
    /// per element: (log v + (m - t)² / v) / 2; `full` adds log(2π) / 2. A variance counts as at least 1e-6, and below has the
    /// gradient 0. Nix and Weigend, 1994. PyTorch's `GaussianNLLLoss`.
    pub fn gaussian_nll(full: bool) -> Self {
        Loss::new(Kind::GaussianNll { full })
    }

    /// Of `[a, b, y]`, rows `[n, ..]` that are alike (y = 1) or not (y = -1), y `[n]`: 1 - cos of the alike ones,
    /// max(0, cos - margin) of the others. One value per row. PyTorch's `CosineEmbeddingLoss`, where the margin is 0 unless
    /// given.
    pub fn cosine_embedding(margin: f32) -> Self {
        Loss::new(Kind::CosineEmbedding { margin })
    }

    /// Of `[a, b, y]` in one shape: max(0, -y (a - b) + margin), where y = 1 says that a is to be the larger score and
    /// y = -1 that b is. One value per element. PyTorch's `MarginRankingLoss`, where the margin is 0 unless given.
    pub fn margin_ranking(margin: f32) -> Self {
        Loss::new(Kind::MarginRanking { margin })
    }

    /// Of `[anchor, positive, negative]`, rows `[n, ..]`: max(0, |anchor - positive| - |anchor - negative| + margin) of
    /// Euclidean norms. One value per row. Balntas et al., BMVC 2016. PyTorch's `TripletMarginLoss`, which adds 1e-6 to
    /// each difference, as is done here; there the margin is 1 unless given.
    pub fn triplet_margin(margin: f32) -> Self {
        Loss::new(Kind::TripletMargin { margin })
    }

    /// Of `[a, b, y]`, rows `[n, ..]` that are alike (y = 1) or not (y = 0), y `[n]`: d² / 2 of the alike ones and
    /// max(0, margin - d)² / 2 of the others, d the Euclidean distance. One value per row. Hadsell, Chopra and LeCun, CVPR
    /// 2006, equation 4, where Y is 1 - y. PyTorch and Keras have none.
    pub fn contrastive(margin: f32) -> Self {
        Loss::new(Kind::Contrastive { margin })
    }
}

#[track_caller]
fn norm(difference: Var<'_>) -> Var<'_> {
    sum_of_rows((difference + DIFFERENCE).square()).clamp(LEAST_SQUARE, f32::INFINITY).sqrt()
}

#[track_caller]
pub(super) fn of_three<'g>(kind: Kind, [a, b, c]: [Var<'g>; 3]) -> Var<'g> {
    let name = kind.name();
    let [a, b] = alike(name, a, b);
    match kind {
        Kind::CosineEmbedding { margin } => {
            let cosine = cosine(a, b);
            let [y, cosine] = alike(name, c, cosine);
            y.greater(y.graph().scalar(0.0)).select(1.0 - cosine, (cosine - margin).relu())
        }
        Kind::TripletMargin { margin } => {
            let [negative, _] = alike(name, c, a);
            (norm(a - b) - norm(a - negative) + margin).relu()
        }
        Kind::Contrastive { margin } => {
            let difference = a - b;
            let square = sum_of_rows(difference.square());
            let [y, square] = alike(name, c, square);
            (y * square + (1.0 - y) * (margin - norm(difference)).relu().square()) * 0.5
        }
        Kind::MarginRanking { margin } => {
            let [y, _] = alike(name, c, b);
            (margin - y * (a - b)).relu()
        }
        // Of a mean and a variance.
        _ => {
            let [variance, _] = alike(name, c, b);
            let v = variance.clamp(LEAST_VARIANCE, f32::INFINITY);
            let loss = (v.log() + (a - b).square() / v) * 0.5;
            match kind {
                Kind::GaussianNll { full: true } => loss + (0.5 * std::f64::consts::TAU.ln()) as f32,
                _ => loss,
            }
        }
    }
}
