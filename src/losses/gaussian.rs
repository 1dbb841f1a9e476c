//! How far a normal distribution is from the standard one: what a variational autoencoder pays for its code.

use super::probability::sum_of_rows;
use crate::graph::Var;

/// Kullback-Leibler divergence of diagonal normal distributions from the standard one, KL(N(μ, σ²) ‖ N(0, I)), from their
/// means and log variances l = ln σ², both `[n, ..]`: the sum over all axes but the first, and of that the mean over rows, `[]`.
/// In nats.
///
/// Of one number, E is the expectation under N(μ, σ²):
///
/// ```text
/// KL = E[ln q(z)] − E[ln p(z)]
///    = −½ (ln 2π + l + 1) + ½ (ln 2π + μ² + σ²)
///    = ½ (μ² + eˡ − 1 − l)
/// ```
///
/// with the derivatives μ and ½ (eˡ − 1), over n. Numbers of a row are independent, so that theirs add up. Kingma and Welling,
/// "Auto-Encoding Variational Bayes", ICLR 2014, appendix B, where it has the other sign. PyTorch's
/// `torch.distributions.kl_divergence` of two `Normal`s, which has a value for each number.
///
/// As the sum is over the code, what it is added to must be summed over a row as well: a squared error or cross-entropy that is a
/// mean over pixels, as [`mse`](super::mse) is, has to be multiplied by their number, or the divergence outweighs it and
/// the code says nothing.
///
/// No finite mean or log variance gives NaN. Beyond its range it is infinite: of a log variance above 88.7, whose variance `f32`
/// does not hold, and of a mean above 1.8e19, whose square it does not. An encoder that may go there has its log variance limited by
/// [`Var::clamp`].
///
/// ```
/// use wgrad::losses::gaussian_kl;
/// use wgrad::{Device, Graph};
/// let g = Graph::new();
/// let (mean, log_variance) = (g.input("mean", [2, 2]), g.input("log variance", [2, 2]));
/// g.output("kl", gaussian_kl(mean, log_variance));
/// let mut step = Device::cpu().compile(&g)?;
/// step.feed("mean", &[1.0f32, -2.0, 0.0, 0.0])?;
/// step.feed("log variance", &[0.0f32; 4])?;
/// step.run()?;
/// // Variances are 1: half the squares of the means, over two rows.
/// assert_eq!(step.scalar("kl")?, 0.5 * (1.0 + 4.0) / 2.0);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[track_caller]
pub fn gaussian_kl<'g>(mean: Var<'g>, log_variance: Var<'g>) -> Var<'g> {
    let (own, other) = (mean.shape(), log_variance.shape());
    if own != other || own.rank() == 0 {
        let message = format!("takes means and log variances [n, ..] of one shape, got {own} and {other}");
        return mean.graph().refuse("gaussian_kl", message, mean);
    }
    let each = mean.square() + log_variance.exp() - 1.0 - log_variance;
    sum_of_rows(each).mean_all() * 0.5
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden_tests::{Numbers, Worst, devices, golden, in_f64, on};
    use crate::{Device, Graph, Result, Rng};

    const GOLDEN: &str = include_str!("../../tests/golden/gaussian.csv");

    /// The divergence and its derivatives of the numbers of a file.
    fn compared(of: impl Fn(&Graph, &[(String, Numbers)], &[String]) -> Vec<Vec<f64>>) -> Worst {
        let mut worst = Worst::default();
        for (name, numbers) in golden(GOLDEN).iter().filter(|(name, _)| name.starts_with("kl")) {
            let (inputs, expected): (Vec<_>, Vec<_>) = numbers.iter().partition(|n| n.what == "input");
            let g = Graph::new();
            let fed: Vec<(String, Numbers)> =
                ["mean", "l"].map(String::from).into_iter().zip(inputs.into_iter().cloned()).collect();
            let [mean, l] = [0, 1].map(|i| g.input(&fed[i].0, fed[i].1.shape.as_slice()));
            let kl = gaussian_kl(mean, l);
            g.output("kl", kl);
            for (label, d) in ["dmean", "dl"].into_iter().zip(g.gradients(kl, &[mean, l])) {
                g.output(label, d);
            }
            let found = of(&g, &fed, &["kl", "dmean", "dl"].map(String::from));
            assert_eq!(expected.len(), 3, "{name}");
            for (found, expected) in found.iter().zip(expected) {
                worst.compare(name, found, expected, expected.size());
            }
        }
        worst
    }

    #[test]
    fn values_and_derivatives_are_those_of_pytorch() {
        let worst = compared(in_f64);
        assert!(worst.off < 1e-11 && worst.compared > 100, "{worst:?}");
        for device in devices() {
            let worst = compared(|g, fed, labels| on(&device, g, fed, labels));
            assert!(worst.off < 2e-6 && worst.compared > 100, "{device:?}: {worst:?}");
        }
    }

    fn single(device: &Device, mean: f32, l: f32) -> Result<[f32; 3]> {
        let g = Graph::new();
        let (m, v) = (g.input("mean", [1, 1]), g.input("l", [1, 1]));
        let kl = gaussian_kl(m, v);
        g.output("kl", kl);
        let d = g.gradients(kl, &[m, v]);
        g.output("dm", d[0]);
        g.output("dl", d[1]);
        let mut step = device.compile(&g)?;
        step.run_with(&[("mean", (&[mean]).into()), ("l", (&[l]).into())])?;
        Ok([step.scalar("kl")?, step.scalar("dm")?, step.scalar("dl")?])
    }

    #[test]
    fn large_numbers_give_no_nan() -> Result<()> {
        for device in devices() {
            // The variance is 0 in f32, and its logarithm all that counts.
            assert_eq!(single(&device, 0.0, -1e6)?, [0.5 * (1e6 - 1.0), 0.0, -0.5]);
            assert_eq!(single(&device, 0.0, -1e30)?[0], 0.5e30);
            let [kl, _, dl] = single(&device, 3.0, 80.0)?;
            let expected = 0.5 * 80f64.exp();
            assert!((f64::from(kl) / expected - 1.0).abs() < 2e-5, "{kl} {expected}");
            assert!((f64::from(dl) / expected - 1.0).abs() < 2e-5, "{dl} {expected}");
            for (mean, l) in [(0.0, 89.0), (0.0, 1e30), (1e25, 0.0), (-1e25, -1e30)] {
                let [kl, dm, dl] = single(&device, mean, l)?;
                assert!(kl == f32::INFINITY && !dm.is_nan() && !dl.is_nan(), "{mean} {l}: {kl} {dm} {dl}");
            }
        }
        Ok(())
    }

    /// The mean of ln q(z) − ln p(z) over a million numbers z drawn from q.
    #[test]
    fn it_is_the_expectation_that_defines_it() -> Result<()> {
        let mut rng = Rng::new(5, "monte carlo");
        for (mean, l) in [(0.0f64, 0.0f64), (1.5, -1.0), (-0.5, 0.75), (0.25, -3.0)] {
            let sigma = (0.5 * l).exp();
            let n = 1_000_000;
            let (mut sum, mut squares) = (0.0, 0.0);
            for _ in 0..n {
                let e = rng.normal();
                let z: f64 = mean + sigma * e;
                let log_ratio = -0.5 * (l + e * e) + 0.5 * z * z;
                sum += log_ratio;
                squares += log_ratio * log_ratio;
            }
            let estimate = sum / f64::from(n);
            let error = (squares / f64::from(n) - estimate * estimate).max(0.0).sqrt() / f64::from(n).sqrt();
            let kl = f64::from(single(&Device::cpu(), mean as f32, l as f32)?[0]);
            assert!((kl - estimate).abs() < 4.0 * error + 1e-6, "{mean} {l}: {kl} {estimate} ± {error}");
        }
        Ok(())
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        for (mean, l) in [(&[2, 3][..], &[3, 2][..]), (&[2, 3], &[2, 1]), (&[], &[])] {
            let g = Graph::new();
            gaussian_kl(g.input("mean", mean), g.input("l", l));
            let text = g.error().unwrap().to_string();
            assert!(text.contains("gaussian_kl: takes means and log variances [n, ..]"), "{text}");
        }
    }
}
