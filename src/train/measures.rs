//! Metrics that are ready to use.

use super::task::{Better, Metric, Sum};
use crate::graph::Var;
use crate::losses;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Mean squared difference of predictions and targets: a metric `mse`.
#[derive(Debug, Clone, Copy)]
pub struct Mse {
    unit: f64,
}

/// The root of [`Mse`]: a metric `rmse`, in the unit of the targets.
#[derive(Debug, Clone, Copy)]
pub struct Rmse {
    unit: f64,
}

/// Mean absolute difference of predictions and targets: a metric `mae`.
#[derive(Debug, Clone, Copy)]
pub struct Mae {
    unit: f64,
}

macro_rules! in_a_unit {
    ($($name:ident)*) => {$(
        impl $name {
            /// Measured in the unit that the targets have.
            pub fn new() -> Self {
                $name { unit: 1.0 }
            }

            /// Measured in a unit of which the targets count `size` as 1: where they were divided by their standard
            /// deviation, that.
            #[must_use]
            pub fn unit(self, size: f64) -> Self {
                $name { unit: size }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                $name::new()
            }
        }
    )*};
}

in_a_unit!(Mse Rmse Mae);

impl Metric for Mse {
    fn name(&self) -> &str {
        "mse"
    }

    fn better(&self) -> Better {
        Better::Less
    }

    fn sums<'g>(&self, prediction: Var<'g>, target: Var<'g>) -> Vec<Sum<'g>> {
        let [prediction, target] = alike(prediction, target);
        vec![Sum::of_mean(losses::mse(prediction, target), target.dim(0))]
    }

    fn value(&self, sums: &[Tensor], rows: usize) -> f64 {
        number(sums, 0) / rows as f64 * self.unit * self.unit
    }
}

impl Metric for Rmse {
    fn name(&self) -> &str {
        "rmse"
    }

    fn better(&self) -> Better {
        Better::Less
    }

    fn sums<'g>(&self, prediction: Var<'g>, target: Var<'g>) -> Vec<Sum<'g>> {
        Mse::new().sums(prediction, target)
    }

    fn value(&self, sums: &[Tensor], rows: usize) -> f64 {
        Mse { unit: self.unit }.value(sums, rows).sqrt()
    }
}

impl Metric for Mae {
    fn name(&self) -> &str {
        "mae"
    }

    fn better(&self) -> Better {
        Better::Less
    }

    fn sums<'g>(&self, prediction: Var<'g>, target: Var<'g>) -> Vec<Sum<'g>> {
        let [prediction, target] = alike(prediction, target);
        vec![Sum::of_mean(losses::mae(prediction, target), target.dim(0))]
    }

    fn value(&self, sums: &[Tensor], rows: usize) -> f64 {
        number(sums, 0) / rows as f64 * self.unit
    }
}

/// R²: 1 − Σ (t − p)² / Σ (t − mean)², the share of the targets' variance that the predictions explain; 0 for the mean
/// of the rows that are measured, below 0 for worse. Where a target has several numbers each has its own mean, and those that
/// vary more count more, as scikit-learn's `variance_weighted`. NaN where all targets are one.
///
/// Sums are in 32 bits. Where the targets lie far from 0 beside their spread, [`R2::about`] keeps the digits; [`Task::of`]
/// does so. Without it R² is NaN rather than wrong once the spread is less than a thousandth of what is squared: from a mean
/// of about 30 standard deviations on.
///
/// [`Task::of`]: super::Task::of
#[derive(Debug, Clone, Default)]
pub struct R2 {
    /// None, one for all numbers of a target, or one for each.
    centers: Vec<f32>,
}

impl R2 {
    /// For targets that are scaled, or lie around 0.
    pub fn new() -> Self {
        R2::default()
    }

    /// For targets that lie around `center`, which decides how exact it is and nothing else.
    pub fn about(center: f32) -> Self {
        R2 { centers: vec![center] }
    }

    /// For targets whose numbers lie around these, one each.
    pub fn about_each(centers: impl Into<Vec<f32>>) -> Self {
        R2 { centers: centers.into() }
    }

    #[track_caller]
    fn centered<'g>(&self, target: Var<'g>) -> Var<'g> {
        let shape = target.shape();
        let of_one = Shape::new(&shape.dims()[1.min(shape.rank())..]).unwrap_or_else(Shape::scalar);
        match self.centers[..] {
            [] => target,
            [center] => target - center,
            _ => match Tensor::new(of_one, self.centers.clone()) {
                Ok(centers) => target - target.graph().constant(centers),
                Err(_) => target.graph().refuse(
                    "r2",
                    format!("{} centers, and targets of shape {of_one}", self.centers.len()),
                    target,
                ),
            },
        }
    }
}

impl Metric for R2 {
    fn name(&self) -> &str {
        "r2"
    }

    fn better(&self) -> Better {
        Better::More
    }

    fn sums<'g>(&self, prediction: Var<'g>, target: Var<'g>) -> Vec<Sum<'g>> {
        let [prediction, target] = alike(prediction, target);
        let rows = target.dim(0);
        let centered = self.centered(target);
        let means = match target.shape().elements() == rows {
            // Of one number it is what the loss is made of as well.
            true => [losses::mse(prediction, target), centered.mean_all(), centered.square().mean_all()],
            false => {
                [(target - prediction).square(), centered, centered.square()].map(|values| values.mean(&[0]))
            }
        };
        means.map(|mean| Sum::of_mean(mean, rows)).to_vec()
    }

    fn value(&self, sums: &[Tensor], rows: usize) -> f64 {
        let all = |i: usize| sums.get(i).map(Tensor::as_f32).unwrap_or_default();
        let total = |values: &[f32]| values.iter().map(|&x| f64::from(x)).sum::<f64>();
        let (wrong, squares) = (total(all(0)), total(all(2)));
        let spread = squares - all(1).iter().map(|&sum| f64::from(sum).powi(2)).sum::<f64>() / rows as f64;
        // Less is what rounding leaves, or has spoilt.
        if spread <= 1e-3 * squares { f64::NAN } else { 1.0 - wrong / spread }
    }
}

/// Share of the rows whose class has the largest logit, the first of several alike: a metric `accuracy`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Accuracy;

impl Metric for Accuracy {
    fn name(&self) -> &str {
        "accuracy"
    }

    fn better(&self) -> Better {
        Better::More
    }

    /// While training, how many are right; in an evaluation, how many of each class were taken for which.
    fn sums<'g>(&self, prediction: Var<'g>, target: Var<'g>) -> Vec<Sum<'g>> {
        let class = prediction.argmax(1);
        if prediction.graph().is_training() {
            return vec![Sum::of_equal(class, target)];
        }
        let classes = prediction.dim(1);
        let taken_for = class.one_hot(classes);
        vec![Sum::of(target.one_hot(classes).matmul_tn(taken_for))]
    }

    fn value(&self, sums: &[Tensor], rows: usize) -> f64 {
        match self.confusion(sums) {
            Some(confusion) => {
                let right: u32 = confusion.iter().enumerate().map(|(i, row)| row[i]).sum();
                f64::from(right) / rows as f64
            }
            None => number(sums, 0) / rows as f64,
        }
    }

    fn confusion(&self, sums: &[Tensor]) -> Option<Vec<Vec<u32>>> {
        let counts = sums.first().filter(|counts| counts.shape().rank() == 2)?;
        let count = |row: &[f32]| row.iter().map(|&count| count.round() as u32).collect();
        Some(counts.as_f32().chunks(counts.shape().dim(1).max(1)).map(count).collect())
    }
}

/// Share of the labels that are right, of all rows: those above 0.5 have a logit above 0. A metric `accuracy`, for one
/// label a row or several.
#[derive(Debug, Clone, Copy, Default)]
pub struct BinaryAccuracy;

impl Metric for BinaryAccuracy {
    fn name(&self) -> &str {
        "accuracy"
    }

    fn better(&self) -> Better {
        Better::More
    }

    fn sums<'g>(&self, prediction: Var<'g>, target: Var<'g>) -> Vec<Sum<'g>> {
        let [logits, target] = alike(prediction, target);
        let g = logits.graph();
        let (said, is) = (logits.greater(g.scalar(0.0)), target.greater(g.scalar(0.5)));
        vec![Sum::of_mean((said - is).abs().mean_all(), target.dim(0))]
    }

    fn value(&self, sums: &[Tensor], rows: usize) -> f64 {
        1.0 - number(sums, 0) / rows as f64
    }
}

/// e to the mean cross-entropy of the classes, in nats: as unsure as among so many classes that are equally probable (Jelinek,
/// Mercer, Bahl and Baker, Journal of the Acoustical Society of America 62, 1977). A metric `perplexity`, of logits, whatever
/// the loss is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Perplexity;

/// The mean cross-entropy of the classes in bits, of a text those of a character or byte: log₂ of [`Perplexity`]. A metric
/// `bits`.
#[derive(Debug, Clone, Copy, Default)]
pub struct BitsPerSymbol;

/// The sum of the cross-entropies of a batch.
#[track_caller]
fn cross_entropy<'g>(logits: Var<'g>, target: Var<'g>) -> Vec<Sum<'g>> {
    vec![Sum::of_mean(logits.softmax_cross_entropy(target), target.dim(0))]
}

impl Metric for Perplexity {
    fn name(&self) -> &str {
        "perplexity"
    }

    fn better(&self) -> Better {
        Better::Less
    }

    fn sums<'g>(&self, prediction: Var<'g>, target: Var<'g>) -> Vec<Sum<'g>> {
        cross_entropy(prediction, target)
    }

    fn value(&self, sums: &[Tensor], rows: usize) -> f64 {
        (number(sums, 0) / rows as f64).exp()
    }
}

impl Metric for BitsPerSymbol {
    fn name(&self) -> &str {
        "bits"
    }

    fn better(&self) -> Better {
        Better::Less
    }

    fn sums<'g>(&self, prediction: Var<'g>, target: Var<'g>) -> Vec<Sum<'g>> {
        cross_entropy(prediction, target)
    }

    fn value(&self, sums: &[Tensor], rows: usize) -> f64 {
        number(sums, 0) / rows as f64 / std::f64::consts::LN_2
    }
}

/// The one number of sum `i`.
fn number(sums: &[Tensor], i: usize) -> f64 {
    sums.get(i).and_then(|sum| sum.as_f32().first()).map_or(f64::NAN, |&x| f64::from(x))
}

/// A prediction and a target in one shape, that of the target.
#[track_caller]
fn alike<'g>(prediction: Var<'g>, target: Var<'g>) -> [Var<'g>; 2] {
    losses::alike("prediction", prediction, target)
}
