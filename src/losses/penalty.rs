//! Penalties on parameters, to be added to a loss.

use crate::graph::{Graph, Param, Var};

/// A multiple of the sum of the magnitudes of all elements of some parameters and a multiple of the sum of their squares,
/// `[]` (Zou and Hastie, "Regularization and variable selection via the elastic net", 2005, equation 3):
///
/// `l1` Σ |w| + `l2` Σ w², with the derivative `l1` sign(w) + 2 `l2` w, 0 at 0.
///
/// As Keras' `L1L2`. Half as much `l2` is what optimizers call weight decay, as long as these add it to the gradient. Biases and
/// scales are usually left out: `params.trainable()` has them, so that parameters are to be chosen, such as those of two axes and
/// more ([`weights`]). Without parameters it is 0; it is a recording error where a strength is below 0 or no number.
///
/// ```
/// use wgrad::losses::{elastic_net_penalty, weights};
/// use wgrad::nn::{Layer, Mlp};
/// use wgrad::{Graph, Params};
/// let params = Params::seeded(1);
/// let mlp = Mlp::new(&params, &[8, 4, 2]);
/// let g = Graph::new();
/// let loss = mlp.forward(g.input("x", [16, 8])).softmax_cross_entropy(g.classes("y", [16]));
/// let total = loss + elastic_net_penalty(&g, &weights(&params.trainable()), 1e-4, 1e-3);
/// assert!(g.error().is_none() && total.shape().rank() == 0);
/// ```
#[track_caller]
pub fn elastic_net_penalty<'g>(g: &'g Graph, params: &[Param], l1: f32, l2: f32) -> Var<'g> {
    for (name, strength) in [("l1", l1), ("l2", l2)] {
        if !(strength.is_finite() && strength >= 0.0) {
            let message = format!("the strength {name} must be a number of 0 or more, got {strength}");
            return g.refuse("penalty", message, g.scalar(0.0));
        }
    }
    let _scope = g.scope("penalty");
    let sum = |of: fn(Var<'g>) -> Var<'g>, strength: f32| {
        let sums = params.iter().filter(|_| strength > 0.0).map(|p| of(g.param(p)).sum_all());
        sums.reduce(|a, b| a + b).map(|sum| sum * strength)
    };
    let parts = [sum(Var::abs, l1), sum(Var::square, l2)];
    parts.into_iter().flatten().reduce(|a, b| a + b).unwrap_or_else(|| g.scalar(0.0))
}

/// `strength` Σ |w| over all elements of some parameters (Tibshirani, "Regression Shrinkage and Selection via the Lasso", 1996); see
/// [`elastic_net_penalty`].
#[track_caller]
pub fn l1_penalty<'g>(g: &'g Graph, params: &[Param], strength: f32) -> Var<'g> {
    elastic_net_penalty(g, params, strength, 0.0)
}

/// `strength` Σ w² over all elements of some parameters (Hoerl and Kennard, "Ridge Regression", 1970); see
/// [`elastic_net_penalty`].
#[track_caller]
pub fn l2_penalty<'g>(g: &'g Graph, params: &[Param], strength: f32) -> Var<'g> {
    elastic_net_penalty(g, params, 0.0, strength)
}

/// Those of two axes and more: weights of layers, without biases and the scales of normalizations.
pub fn weights(params: &[Param]) -> Vec<Param> {
    params.iter().filter(|param| param.shape().rank() >= 2).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden_tests::devices;
    use crate::{Init, Params, Result, Tensor};

    #[test]
    fn penalties_and_derivatives_are_those_of_the_formulas() -> Result<()> {
        for device in devices() {
            let params = Params::seeded(1);
            let values = |v: &[f32], shape: &[usize]| {
                Init::Values(std::sync::Arc::new(Tensor::new(shape, v.to_vec()).unwrap()))
            };
            let a = params.param("a", [2, 2], values(&[1.0, -2.0, 0.0, 0.5], &[2, 2]));
            let bias = params.param("bias", [2], values(&[3.0, -1.0], &[2]));
            let all = [a.clone(), bias.clone()];
            assert_eq!(weights(&all).iter().map(Param::name).collect::<Vec<_>>(), ["a"]);
            let g = Graph::new();
            let (l1, l2) = (l1_penalty(&g, &all, 0.5), l2_penalty(&g, &weights(&all), 0.25));
            let both = elastic_net_penalty(&g, &all, 0.5, 0.25);
            let of = [g.param(&a), g.param(&bias)];
            for (name, v) in [("l1", l1), ("l2", l2), ("both", both), ("none", l1_penalty(&g, &[], 1.0))] {
                g.output(name, v);
            }
            for (i, d) in g.gradients(both, &of).into_iter().enumerate() {
                g.output(&format!("d{i}"), d);
            }
            let mut step = device.compile(&g)?;
            step.run()?;
            assert_eq!(step.scalar("l1")?, 0.5 * 7.5);
            assert_eq!(step.scalar("l2")?, 0.25 * 5.25);
            assert_eq!(step.scalar("both")?, 0.5 * 7.5 + 0.25 * 15.25);
            assert_eq!(step.scalar("none")?, 0.0);
            assert_eq!(step.values("d0")?, [1.0, -1.5, 0.0, 0.75]);
            assert_eq!(step.values("d1")?, [2.0, -1.0]);
        }
        Ok(())
    }

    #[test]
    fn strengths_that_make_no_sense_are_refused() {
        for strength in [-1.0, f32::NAN, f32::INFINITY] {
            let g = Graph::new();
            l1_penalty(&g, &[], strength);
            assert!(g.error().unwrap().to_string().contains("the strength l1 must be"));
            let g = Graph::new();
            l2_penalty(&g, &[], strength);
            assert!(g.error().unwrap().to_string().contains("the strength l2 must be"));
        }
    }
}
