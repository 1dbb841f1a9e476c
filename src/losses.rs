//! Losses, as functions of predictions and targets. Cross-entropy of logits is a method:
//! [`Var::softmax_cross_entropy`].

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
