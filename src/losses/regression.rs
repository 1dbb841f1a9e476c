//! Losses of numbers: one value per element of the target.

use super::{Kind, Loss};
use crate::graph::Var;

/// From this magnitude on a target divides its error in [`Loss::mape`]; Keras's epsilon.
const LEAST_TARGET: f32 = 1e-7;

/// What PyTorch adds to a rate before its logarithm.
const RATE: f32 = 1e-8;

impl Loss {
    /// Squared error d², d = p - t, with the gradient 2 d. PyTorch's `MSELoss`, Keras's `MeanSquaredError`.
    pub fn mse() -> Self {
        Loss::new(Kind::Mse)
    }

    /// Absolute error |d|, with the gradient sign d, 0 at 0. PyTorch's `L1Loss`, Keras's `MeanAbsoluteError`.
    pub fn mae() -> Self {
        Loss::new(Kind::Mae)
    }

    /// Squared error of logarithms, (log(1 + p) - log(1 + t))², of numbers from 0 up. A number below 0 counts as 0, so
    /// that a prediction there has the gradient 0. Keras's `MeanSquaredLogarithmicError`, where the limit is 1e-7.
    pub fn msle() -> Self {
        Loss::new(Kind::Msle)
    }

    /// Absolute percentage error 100 |d| / max(|t|, 1e-7): a target of 0 counts as 1e-7 and outweighs all others. Keras'
    /// `MeanAbsolutePercentageError`.
    pub fn mape() -> Self {
        Loss::new(Kind::Mape)
    }

    /// Huber's loss: d² / 2 up to |d| = δ, beyond δ (|d| - δ/2), with the gradient d limited to ±δ. Huber, "Robust
    /// Estimation of a Location Parameter", 1964. PyTorch's `HuberLoss` and Keras's `Huber`, where δ is 1 unless given.
    pub fn huber(delta: f32) -> Self {
        Loss::new(Kind::Huber { delta })
    }

    /// Huber's loss over β: d² / (2β) up to |d| = β, beyond |d| - β/2; the absolute error for β = 0. Girshick, "Fast
    /// R-CNN", ICCV 2015, equation 3. PyTorch's `SmoothL1Loss`, where β is 1 unless given.
    pub fn smooth_l1(beta: f32) -> Self {
        Loss::new(Kind::SmoothL1 { beta })
    }

    /// log cosh d: d² / 2 near 0, |d| - log 2 far from it, with the gradient tanh d. Keras's `LogCosh`.
    pub fn log_cosh() -> Self {
        Loss::new(Kind::LogCosh)
    }

    /// The pinball loss of the quantile q in 0..=1: q (t - p) where the target is above the prediction, (1 - q) (p - t) where
    /// it is below. Its gradient is -q above, 1 - q below, and halfway between at 0. Koenker and Bassett, "Regression
    /// Quantiles", Econometrica 1978. scikit-learn's `mean_pinball_loss`; PyTorch and Keras have none.
    pub fn quantile(q: f32) -> Self {
        Loss::new(Kind::Quantile { q })
    }

    /// Negative log-likelihood of counts t under Poisson's distribution, whose rate is e^z of a prediction z:
    /// e^z - t z, with the gradient e^z - t. `full` adds Stirling's approximation of log t!, which no prediction changes:
    /// t log t - t + log(2πt) / 2 where t is above 1. PyTorch's `PoissonNLLLoss`.
    pub fn poisson_nll(full: bool) -> Self {
        Loss::new(Kind::PoissonNll { takes_log: true, full })
    }

    /// The same of predictions that are rates p themselves, from 0 up: p - t log(p + 1e-8). PyTorch's `PoissonNLLLoss` with
    /// `log_input=False`; Keras's `Poisson`.
    pub fn poisson_nll_of_rates(full: bool) -> Self {
        Loss::new(Kind::PoissonNll { takes_log: false, full })
    }
}

#[track_caller]
pub(super) fn per_element<'g>(kind: Kind, prediction: Var<'g>, target: Var<'g>) -> Var<'g> {
    let d = || prediction - target;
    match kind {
        Kind::Mae | Kind::SmoothL1 { beta: 0.0 } => d().abs(),
        Kind::Msle => {
            let log = |x: Var<'g>| x.clamp(0.0, f32::INFINITY).log1p();
            (log(prediction) - log(target)).square()
        }
        Kind::Mape => d().abs() / target.abs().clamp(LEAST_TARGET, f32::INFINITY) * 100.0,
        Kind::Huber { delta } => huber(d(), delta),
        Kind::SmoothL1 { beta } => huber(d(), beta) / beta,
        Kind::LogCosh => d().log_cosh(),
        Kind::Quantile { q } => {
            let d = target - prediction;
            (d * q).maximum(d * (q - 1.0))
        }
        Kind::PoissonNll { takes_log, full } => {
            let loss = match takes_log {
                true => prediction.exp() - target * prediction,
                false => prediction - target * (prediction + RATE).log(),
            };
            if full { loss + stirling(target) } else { loss }
        }
        // The others are not of this file.
        _ => d().square(),
    }
}

/// c (d - c/2) with d limited to ±δ as c. The derivative is c: where c changes with d, it is d.
#[track_caller]
fn huber(d: Var<'_>, delta: f32) -> Var<'_> {
    let c = d.clamp(-delta, delta);
    c * (d - c * 0.5)
}

/// An approximation of log t! for t above 1, and 0 else.
#[track_caller]
fn stirling(t: Var<'_>) -> Var<'_> {
    let g = t.graph();
    let large = t.greater(g.scalar(1.0));
    let t = large.select(t, g.scalar(1.0));
    let log = t.log();
    let value = t * log - t + log * 0.5 + (0.5 * std::f64::consts::TAU.ln()) as f32;
    large.select(value, g.scalar(0.0))
}
