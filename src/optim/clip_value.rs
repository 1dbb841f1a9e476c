//! Gradient clipping element by element.

use super::Optimizer;
use super::wrapper::{passing_on, sees_scaled, updated};
use crate::graph::{Graph, Param, Var};

/// Whether gradients can be limited to this; if not, the mistake is kept.
#[track_caller]
fn is_limit(g: &Graph, gradient: Option<&Var<'_>>, limit: f32) -> bool {
    let is_limit = limit.is_finite() && limit > 0.0;
    if let (false, Some(gradient)) = (is_limit, gradient) {
        let message = format!("the largest magnitude must be a number above 0, got {limit}");
        g.refuse("clip_by_value", message, *gradient);
    }
    is_limit
}

/// Limits every element of gradients to the range from -`limit` to `limit`: PyTorch's `clip_grad_value_`. The direction of the
/// whole changes, unlike with [`clip_by_global_norm`](super::clip_by_global_norm). An infinite element becomes the limit, and NaN
/// stays NaN.
///
/// `limit` must be above 0.
#[track_caller]
pub fn clip_by_value<'g>(gradients: &[Var<'g>], limit: f32) -> Vec<Var<'g>> {
    let is_limit = gradients.first().is_none_or(|first| is_limit(first.graph(), Some(first), limit));
    gradients.iter().map(|v| if is_limit { v.clamp(-limit, limit) } else { *v }).collect()
}

/// An optimizer whose gradients are limited element by element first; see [`clip_by_value`].
///
/// ```
/// use wgrad::optim::{ClipValue, Optimizer, Sgd};
/// use wgrad::{Device, Graph, Init, Params};
/// let params = Params::seeded(1);
/// let w = params.param("w", [2], Init::Constant(1.0));
/// let sgd = ClipValue::new(Sgd::new(&params, 0.5), 2.0);
/// let g = Graph::new();
/// let x = g.input("x", [2]);
/// sgd.minimize((g.param(&w) * x).sum_all(), &params.trainable());
/// let device = Device::cpu();
/// device.compile(&g)?.run_with(&[("x", (&[1.0, -30.0]).into())])?;
/// assert_eq!(device.read_param(&w)?.as_f32(), [0.5, 2.0]);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ClipValue<O> {
    inner: O,
    limit: f32,
}

impl<O: Optimizer> ClipValue<O> {
    /// Limits magnitudes to `limit`, a number above 0.
    pub fn new(inner: O, limit: f32) -> Self {
        ClipValue { inner, limit }
    }
}

impl<O: Optimizer> Optimizer for ClipValue<O> {
    #[track_caller]
    fn apply<'g>(&self, g: &'g Graph, params: &[Param], gradients: &[Var<'g>]) {
        if sees_scaled(g, &self.inner, "ClipValue::new") {
            return;
        }
        let Some((params, kept)) = updated(params, gradients) else {
            return self.inner.apply(g, params, gradients);
        };
        let clipped = {
            let _scope = g.scope("clip");
            clip_by_value(&kept, self.limit)
        };
        self.inner.apply(g, &params, &clipped);
    }

    /// The limit is that of the gradients times the factor. Where that is 0, and the step is left out, nothing is limited.
    #[track_caller]
    fn apply_scaled<'g>(&self, g: &'g Graph, params: &[Param], gradients: &[Var<'g>], factor: Var<'g>) {
        let Some((params, mut kept)) = updated(params, gradients) else {
            return self.inner.apply_scaled(g, params, gradients, factor);
        };
        {
            let _scope = g.scope("clip");
            if is_limit(g, kept.first(), self.limit) {
                let limit = (factor.recip() * self.limit).reshape([]);
                kept.iter_mut().for_each(|v| *v = v.minimum(limit).maximum(-limit));
            }
        }
        self.inner.apply_scaled(g, &params, &kept, factor);
    }

    passing_on!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::{LossScale, Sgd};
    use crate::{Device, Init, Params, Result};

    #[test]
    fn elements_are_limited_and_frozen_parameters_stay() -> Result<()> {
        let params = Params::seeded(1);
        let a = params.param("a", [4], Init::ZEROS);
        let b = params.param("b", [], Init::ZEROS);
        let frozen = params.param("c", [1], Init::ONES);
        frozen.set_trainable(false);
        let g = Graph::new();
        let gradients = [g.input("a", [4]), g.input("b", []), g.input("c", [1])];
        let all = [a.clone(), b.clone(), frozen.clone()];
        ClipValue::new(Sgd::new(&params, 1.0), 0.5).apply(&g, &all, &gradients);
        let device = Device::cpu();
        let mut step = device.compile(&g)?;
        let fed = [0.25, -0.75, f32::INFINITY, -0.5];
        step.run_with(&[("a", (&fed).into()), ("b", (&[3.0]).into()), ("c", (&[9.0]).into())])?;
        assert_eq!(device.read_param(&a)?.as_f32(), [-0.25, 0.5, -0.5, 0.5]);
        assert_eq!(device.read_param(&b)?.as_f32(), [-0.5]);
        assert_eq!(device.read_param(&frozen)?.as_f32(), [1.0]);
        Ok(())
    }

    /// With loss scaling the limit is that of the gradients themselves, and a step that overflows changes nothing.
    #[test]
    fn scaled_gradients_have_the_same_limit() -> Result<()> {
        let devices = crate::golden_tests::devices();
        for device in devices {
            let moved = |scaled: bool| -> Result<Vec<f32>> {
                let params = Params::seeded(1);
                let w = params.param("w", [3], Init::ONES);
                let clipped = ClipValue::new(Sgd::new(&params, 1.0), 0.5);
                let g = Graph::new();
                let loss = (g.param(&w) * g.input("x", [3])).sum_all();
                if scaled {
                    LossScale::new(&params, clipped).minimize(loss, &params.trainable());
                } else {
                    clipped.minimize(loss, &params.trainable());
                }
                let mut step = device.compile(&g)?;
                let feed = if scaled {
                    vec![[0.25, f32::NAN, 1.0], [0.25, -9.0, 0.75]]
                } else {
                    vec![[0.25, -9.0, 0.75]]
                };
                for x in feed {
                    step.run_with(&[("x", (&x).into())])?;
                }
                Ok(device.read_param(&w)?.as_f32().to_vec())
            };
            assert_eq!(moved(false)?, [0.75, 1.5, 0.5]);
            assert_eq!(moved(true)?, [0.75, 1.5, 0.5]);
        }
        Ok(())
    }

    #[test]
    fn limits_that_make_no_sense_are_refused() {
        for limit in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let g = Graph::new();
            clip_by_value(&[g.input("x", [2])], limit);
            assert!(g.error().unwrap().to_string().contains("must be a number above 0"), "{limit}");
            let params = Params::seeded(1);
            let w = params.param("w", [2], Init::ONES);
            let g = Graph::new();
            LossScale::new(&params, ClipValue::new(Sgd::new(&params, 1.0), limit))
                .minimize(g.param(&w).sum_all(), &params.trainable());
            assert!(g.error().unwrap().to_string().contains("must be a number above 0"), "{limit}");
        }
        let params = Params::seeded(1);
        let w = params.param("w", [2], Init::ONES);
        let g = Graph::new();
        ClipValue::new(LossScale::new(&params, Sgd::new(&params, 1.0)), 1.0)
            .minimize(g.param(&w).sum_all(), &params.trainable());
        assert!(g.error().unwrap().to_string().contains("LossScale::new(params, ClipValue::new("));
        assert!(clip_by_value(&[], 1.0).is_empty());
    }
}
