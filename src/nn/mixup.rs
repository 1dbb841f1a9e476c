//! Examples mixed with each other.

use crate::graph::{Graph, Params, Var};
use crate::ops::random_uniform;
use crate::tensor::{Data, Tensor};

/// Intervals of equal probability between which the quantile function of the shares is linear.
const INTERVALS: usize = 512;

/// The largest parameter of the distribution; beyond it shares are a half, give or take 1 %.
const MOST_ALPHA: f32 = 1000.0;

/// Mixes the examples of a batch in pairs: x = λ a + (1 - λ) b, with a share λ for the whole batch that is drawn anew in every step
/// from Beta(α, α), and the loss mixed in the same way (Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: Beyond Empirical Risk
/// Minimization", ICLR 2018, equation 1 and section 3). The partner of a row is the row as far from the end of the batch, which
/// in shuffled batches is any.
///
/// [`Trainer::mixup`](crate::train::Trainer::mixup) does it for a training; by hand:
///
/// ```
/// use wgrad::nn::{Layer, Linear, Mixup};
/// use wgrad::{Graph, Params};
/// let params = Params::seeded(1);
/// let (mixup, layer) = (Mixup::new(&params.at("mixup"), 0.2), Linear::new(&params.at("fc"), 8, 3));
/// let g = Graph::new();
/// let (x, classes) = (g.input("x", [16, 8]), g.classes("y", [16]));
/// let share = mixup.share(&g);
/// let logits = layer.forward(Mixup::mix(x, share));
/// let own = logits.softmax_cross_entropy(classes);
/// let other = logits.softmax_cross_entropy(Mixup::partners(classes));
/// let loss = share * own + (1.0 - share) * other;
/// assert!(g.error().is_none() && loss.shape().rank() == 0);
/// ```
#[derive(Debug, Clone)]
pub struct Mixup {
    params: Params,
    alpha: f32,
}

impl Mixup {
    /// With shares from Beta(`alpha`, `alpha`), above 0 and at most 1000; the paper has 0.1 to 0.4 for images.
    pub fn new(params: &Params, alpha: f32) -> Self {
        Mixup { params: params.clone(), alpha }
    }

    /// The share λ of this step, `[]`: a uniform number through the quantile function of Beta(α, α), which is linear between 513
    /// of its values. In a graph for inference 1.
    #[track_caller]
    pub fn share<'g>(&self, g: &'g Graph) -> Var<'g> {
        if !g.is_training() {
            return g.scalar(1.0);
        }
        let _scope = g.scope_at(self.params.path());
        if !(self.alpha > 0.0 && self.alpha <= MOST_ALPHA) {
            let message = format!("alpha must be above 0 and at most {MOST_ALPHA}, got {}", self.alpha);
            return g.refuse("mixup", message, g.scalar(1.0));
        }
        let quantiles = quantiles(self.alpha.into());
        let steps = quantiles.windows(2).map(|q| (q[1] - q[0]) as f32).collect();
        let starts = (0..INTERVALS).map(|k| k as f32).collect();
        let [steps, starts] =
            [steps, starts].map(|values: Vec<f32>| match Tensor::new([INTERVALS], values) {
                Ok(tensor) => g.constant(tensor),
                Err(_) => g.scalar(0.0),
            });
        let drawn = random_uniform(g, &[1], &self.params.root(), self.params.path()) * INTERVALS as f32;
        // All intervals below the number, and its part of the one that it is in.
        ((drawn - starts).clamp(0.0, 1.0) * steps).sum_all().clamp(0.0, 1.0)
    }

    /// Rows with the shares of themselves and of their partners.
    #[track_caller]
    pub fn mix<'g>(x: Var<'g>, share: Var<'g>) -> Var<'g> {
        x * share + Self::partners(x) * (1.0 - share)
    }

    /// The partners of rows: the same in reverse. Takes floats, classes or bytes `[n, ..]`.
    #[track_caller]
    pub fn partners<'g>(x: Var<'g>) -> Var<'g> {
        let g = x.graph();
        if x.shape().rank() == 0 {
            return g.refuse("mixup", "a scalar has no rows".into(), x);
        }
        let rows = x.dim(0);
        let reversed = Data::U32((0..rows as u32).rev().collect());
        match Tensor::new([rows], reversed) {
            Ok(order) => x.take_rows(g.constant(order)),
            Err(error) => g.refuse("mixup", error.to_string(), x),
        }
    }
}

/// The quantiles of Beta(a, a) at 0, 1/512, …, 1.
fn quantiles(a: f64) -> Vec<f64> {
    let lower = (0..=INTERVALS / 2).map(|k| quantile(k as f64 / INTERVALS as f64, a));
    let mut all: Vec<f64> = lower.collect();
    // It is symmetric.
    all.extend((0..INTERVALS / 2).rev().map(|k| 1.0 - all[k]).collect::<Vec<_>>());
    all
}

/// Where the distribution function of Beta(a, a) is p, at most ½: by bisection.
fn quantile(p: f64, a: f64) -> f64 {
    let (mut low, mut high) = (0.0, 0.5);
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        if distribution(middle, a) < p { low = middle } else { high = middle }
    }
    if p == 0.0 { 0.0 } else { 0.5 * (low + high) }
}

/// The distribution function of Beta(a, a) at x, at most ½: the regularized incomplete beta function by its continued
/// fraction (Abramowitz and Stegun, 26.5.8), evaluated as Lentz has it (Numerical Recipes, 3rd ed., section 6.4).
fn distribution(x: f64, a: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    let (mut c, mut d) = (1.0, 1.0 / (1.0 - x * 2.0 * a / (a + 1.0)));
    let mut fraction = d;
    for m in 1..500 {
        let m = f64::from(m);
        let even = m * (a - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (2.0 * a + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut factor = 1.0;
        for term in [even, odd] {
            d = 1.0 / (1.0 + term * d);
            c = 1.0 + term / c;
            factor = c * d;
            fraction *= factor;
        }
        if (factor - 1.0).abs() < 1e-13 {
            break;
        }
    }
    let log = a * (x.ln() + (1.0 - x).ln()) + ln_gamma(2.0 * a) - 2.0 * ln_gamma(a) - a.ln();
    log.exp() * fraction
}

/// ln Γ(x) for x above 0: Stirling's series (Abramowitz and Stegun, 6.1.41), from where its terms are below 1e-15.
fn ln_gamma(x: f64) -> f64 {
    // Γ(x) = Γ(x + 12) / (x (x + 1) … (x + 11)).
    let shift: f64 = (0..12).map(|k| (x + f64::from(k)).ln()).sum();
    let z = x + 12.0;
    let w = 1.0 / (z * z);
    let series = (1.0 / 12.0 - w * (1.0 / 360.0 - w * (1.0 / 1260.0 - w * (1.0 / 1680.0 - w / 1188.0)))) / z;
    (z - 0.5) * z.ln() - z + 0.5 * std::f64::consts::TAU.ln() + series - shift
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden_tests::devices;
    use crate::{Device, Result};

    #[test]
    fn the_distribution_is_that_of_beta() {
        assert!((ln_gamma(0.5) - std::f64::consts::PI.ln() / 2.0).abs() < 1e-13);
        assert!((ln_gamma(10.0) - 362_880f64.ln()).abs() < 1e-12 && ln_gamma(1.0).abs() < 1e-13);
        for x in [1e-9, 0.01, 0.1, 0.3, 0.5] {
            // Of Beta(1, 1), Beta(2, 2) and the arc sine's Beta(½, ½).
            assert!((distribution(x, 1.0) - x).abs() < 1e-12);
            assert!((distribution(x, 2.0) - x * x * (3.0 - 2.0 * x)).abs() < 1e-12);
            let arc = 2.0 / std::f64::consts::PI * x.sqrt().asin();
            assert!((distribution(x, 0.5) - arc).abs() < 1e-11, "{x}");
        }
        for a in [0.05, 0.2, 3.0, 1000.0] {
            assert!((distribution(0.5, a) - 0.5).abs() < 1e-9, "{a}");
            let all = quantiles(a);
            assert!(all.len() == INTERVALS + 1 && all.is_sorted() && all[0] == 0.0 && all[INTERVALS] == 1.0);
            for k in (1..INTERVALS / 2).filter(|k| all[*k] > 1e-9) {
                assert!((distribution(all[k], a) - k as f64 / INTERVALS as f64).abs() < 1e-6, "{a} {k}");
            }
        }
    }

    /// Shares of many steps on a device.
    fn shares(device: &Device, seed: u64, alpha: f32, steps: usize) -> Result<Vec<f64>> {
        let params = Params::seeded(seed);
        let g = Graph::new();
        g.output("share", Mixup::new(&params.at("mixup"), alpha).share(&g));
        let mut step = device.compile(&g)?;
        (0..steps)
            .map(|_| {
                step.run()?;
                Ok(f64::from(step.scalar("share")?))
            })
            .collect()
    }

    #[test]
    fn shares_have_the_moments_of_beta_and_are_the_same_everywhere() -> Result<()> {
        for alpha in [0.2f32, 1.0, 5.0] {
            let found = shares(&Device::cpu(), 1, alpha, 4000)?;
            let n = found.len() as f64;
            let mean = found.iter().sum::<f64>() / n;
            let variance = found.iter().map(|x| (x - 0.5) * (x - 0.5)).sum::<f64>() / n;
            let expected = 1.0 / (4.0 * (2.0 * f64::from(alpha) + 1.0));
            assert!((mean - 0.5).abs() < 4.0 * (expected / n).sqrt(), "{alpha}: {mean}");
            assert!((variance - expected).abs() < 0.08 * expected, "{alpha}: {variance}, not {expected}");
            assert!(found.iter().all(|x| (0.0..=1.0).contains(x)));
            for device in devices() {
                let again = shares(&device, 1, alpha, 3)?;
                assert!(again.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-5), "{device:?}");
            }
            assert_ne!(shares(&Device::cpu(), 2, alpha, 3)?, found[..3]);
        }
        Ok(())
    }

    #[test]
    fn rows_are_mixed_with_those_from_the_end() -> Result<()> {
        let g = Graph::new();
        let (x, classes) = (g.input("x", [3, 2]), g.classes("c", [3]));
        g.output("y", Mixup::mix(x, g.scalar(0.75)));
        g.output("c", Mixup::partners(classes));
        let mut step = Device::cpu().compile(&g)?;
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 10.0];
        step.run_with(&[("x", (&x).into()), ("c", (&[7u32, 8, 9]).into())])?;
        assert_eq!(step.values("y")?, [2.0, 4.0, 3.0, 4.0, 4.0, 8.0]);
        assert_eq!(step.read("c")?.wait()?.data(), &Data::U32(vec![9, 8, 7]));
        Ok(())
    }

    #[test]
    fn inference_mixes_nothing_and_wrong_parameters_are_refused() {
        let params = Params::seeded(1);
        let g = Graph::inference();
        assert_eq!(Mixup::new(&params, 0.2).share(&g).fill_value(), Some(1.0));
        for alpha in [0.0, -1.0, f32::NAN, f32::INFINITY, 2000.0] {
            let g = Graph::new();
            Mixup::new(&params, alpha).share(&g);
            assert!(g.error().unwrap().to_string().contains("alpha must be above 0"), "{alpha}");
        }
    }
}
