//! A constraint on weights.

use super::Optimizer;
use super::wrapper::{passing_on, sees_scaled};
use crate::graph::{Graph, Param, Var};

/// An optimizer that keeps the incoming weights of every unit within a ball: after each update a row w of a weight
/// `[out, ..]`, over all axes but the first, becomes
///
/// w · `max_norm` / max(‖w‖, `max_norm`),
///
/// so that shorter rows stay as they are, to the bit (Srivastava et al., "Dropout", JMLR 15, 2014, section 5.1; Srebro and
/// Shraibman, COLT 2005). Keras' `MaxNorm` with the axes of this layout; values of 3 to 4 are common beside dropout. Parameters
/// of fewer than two axes, such as biases, are not constrained, and neither are those that are not updated.
///
/// ```
/// use wgrad::optim::{MaxNorm, Optimizer, Sgd};
/// use wgrad::{Device, Graph, Init, Params};
/// let params = Params::seeded(1);
/// let w = params.param("w", [1, 2], Init::Constant(0.0));
/// let sgd = MaxNorm::new(Sgd::new(&params, 1.0), 1.0);
/// let g = Graph::new();
/// sgd.minimize((g.param(&w) * g.input("x", [1, 2])).sum_all(), &params.trainable());
/// let device = Device::cpu();
/// device.compile(&g)?.run_with(&[("x", (&[-3.0, -4.0]).into())])?;
/// let w = device.read_param(&w)?.as_f32().to_vec();
/// assert!((w[0] - 0.6).abs() < 1e-6 && (w[1] - 0.8).abs() < 1e-6);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct MaxNorm<O> {
    inner: O,
    max_norm: f32,
}

impl<O: Optimizer> MaxNorm<O> {
    /// Around `inner`, with a largest norm above 0.
    pub fn new(inner: O, max_norm: f32) -> Self {
        MaxNorm { inner, max_norm }
    }

    /// Records the projection of what has just been updated. Where `factor` is 0, the step was left out, and so is this.
    #[track_caller]
    fn project<'g>(&self, g: &'g Graph, params: &[Param], factor: Option<Var<'g>>) {
        if g.error().is_some() {
            return;
        }
        let _scope = g.scope("max_norm");
        let constrained = params.iter().filter(|p| p.is_trainable() && p.shape().rank() >= 2);
        for param in constrained {
            let weight = g.param(param);
            if !(self.max_norm.is_finite() && self.max_norm > 0.0) {
                let message = format!("the largest norm must be a number above 0, got {}", self.max_norm);
                g.refuse("max_norm", message, weight);
                return;
            }
            let axes: Vec<usize> = (1..weight.shape().rank()).collect();
            let norm = weight.square().sum_keep(&axes).sqrt();
            let share = norm.maximum(g.scalar(self.max_norm)).recip() * self.max_norm;
            // Of a short row the quotient might be off by a rounding.
            let share = norm.greater(g.scalar(self.max_norm)).select(share, g.scalar(1.0));
            let share = match factor {
                Some(factor) => factor.reshape([]).equal(g.scalar(0.0)).select(g.scalar(1.0), share),
                None => share,
            };
            weight.assign(weight * share);
        }
    }
}

impl<O: Optimizer> Optimizer for MaxNorm<O> {
    #[track_caller]
    fn apply<'g>(&self, g: &'g Graph, params: &[Param], gradients: &[Var<'g>]) {
        if sees_scaled(g, &self.inner, "MaxNorm::new") {
            return;
        }
        self.inner.apply(g, params, gradients);
        self.project(g, params, None);
    }

    #[track_caller]
    fn apply_scaled<'g>(&self, g: &'g Graph, params: &[Param], gradients: &[Var<'g>], factor: Var<'g>) {
        self.inner.apply_scaled(g, params, gradients, factor);
        self.project(g, params, Some(factor));
    }

    passing_on!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden_tests::devices;
    use crate::optim::{Adam, LossScale, Sgd};
    use crate::{Device, Init, Params, Result};

    fn read(device: &Device, param: &Param) -> Vec<f32> {
        device.read_param(param).unwrap().as_f32().to_vec()
    }

    #[test]
    fn long_rows_are_cut_and_short_ones_keep_their_bits() -> Result<()> {
        for device in devices() {
            let make = |constrained: bool| -> Result<[Vec<f32>; 2]> {
                let params = Params::seeded(1);
                let w = params.param("w", [3, 2, 2], Init::Uniform(0.5));
                let bias = params.param("bias", [3], Init::ZEROS);
                let sgd = Sgd::new(&params, 1.0);
                let g = Graph::new();
                let loss = (g.param(&w) * g.input("x", [3, 2, 2])).sum_all() + g.param(&bias).sum_all() * 9.0;
                if constrained {
                    MaxNorm::new(sgd, 2.0).minimize(loss, &params.trainable());
                } else {
                    sgd.minimize(loss, &params.trainable());
                }
                let x = [0.3, -0.1, 0.2, 0.4, 3.0, 4.0, 1.0, -2.0, 0.5, 0.0, 0.5, -0.25];
                device.compile(&g)?.run_with(&[("x", (&x).into())])?;
                Ok([read(&device, &w), read(&device, &bias)])
            };
            let ([free, free_bias], [cut, bias]) = (make(false)?, make(true)?);
            assert_eq!((&bias, free_bias), (&vec![-9.0; 3], bias.clone()));
            assert_eq!((&cut[..4], &cut[8..]), (&free[..4], &free[8..]), "{device:?}");
            let norm = |row: &[f32]| row.iter().map(|x| x * x).sum::<f32>().sqrt();
            assert!(norm(&free[4..8]) > 4.0 && (norm(&cut[4..8]) - 2.0).abs() < 1e-5, "{device:?}");
            let share = 2.0 / norm(&free[4..8]);
            assert!(cut[4..8].iter().zip(&free[4..8]).all(|(c, f)| (c - f * share).abs() < 1e-5));
        }
        Ok(())
    }

    /// Within loss scaling: the bits of training without, and nothing changes where the step is left out.
    #[test]
    fn a_step_that_is_left_out_projects_nothing() -> Result<()> {
        let run = |scaled: bool, factors: &[f32]| -> Result<Vec<Vec<f32>>> {
            let params = Params::seeded(1);
            let w = params.param("w", [2, 3], Init::Constant(5.0));
            let inner = MaxNorm::new(Adam::new(&params, 0.5), 4.0);
            let g = Graph::new();
            let loss = (g.param(&w).square() * g.input("x", [1])).sum_all();
            if scaled {
                LossScale::new(&params, inner).minimize(loss, &params.trainable());
            } else {
                inner.minimize(loss, &params.trainable());
            }
            let device = Device::cpu();
            let mut step = device.compile(&g)?;
            factors
                .iter()
                .map(|x| {
                    step.run_with(&[("x", (&[*x]).into())])?;
                    Ok(read(&device, &w))
                })
                .collect()
        };
        let plain = run(false, &[1.0, -2.0])?;
        let scaled = run(true, &[f32::NAN, 1.0, f32::INFINITY, -2.0])?;
        assert_eq!(scaled[0], [5.0; 6]);
        assert_eq!((&scaled[1], &scaled[2], &scaled[3]), (&plain[0], &plain[0], &plain[1]));
        assert!(plain[0].iter().all(|w| (w - 4.0 / 3f32.sqrt()).abs() < 1e-5), "{plain:?}");
        Ok(())
    }

    #[test]
    fn mistakes_are_said() {
        let params = Params::seeded(1);
        let w = params.param("w", [2, 2], Init::ONES);
        let text = |max_norm: f32, params: &Params| {
            let g = Graph::new();
            let loss = g.param(&w).sum_all();
            MaxNorm::new(Sgd::new(params, 1.0), max_norm).minimize(loss, std::slice::from_ref(&w));
            g.error().map_or_else(String::new, |e| e.to_string())
        };
        for norm in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(text(norm, &params).contains("the largest norm must be a number above 0"), "{norm}");
        }
        // The optimizer's own mistake stays the first.
        assert!(text(-1.0, &Params::seeded(2)).contains("is not among the parameters"));
        assert!(text(1.0, &params).is_empty());
    }
}
