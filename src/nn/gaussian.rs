//! Normal random numbers as parts of a model: what a generator starts from, and the code that a variational autoencoder draws.

use crate::graph::{Graph, Params, Var};
use crate::ops::random_normal;
use crate::shape::IntoShape;

/// Standard normal numbers of any shape, such as what a generator makes images of, drawn anew in each run of a graph, of
/// training and of inference.
///
/// What is drawn depends on the seed of the store, the path this was made under, the number of the run and the place alone, so
/// that it is the same on every device, to rounding. Drawing twice in one graph gives the same numbers; another path has its own.
/// Runs are counted by a state of the store, together for all of its graphs.
///
/// ```
/// use wgrad::nn::StandardNormal;
/// use wgrad::{Device, Graph, Params};
/// let noise = StandardNormal::new(&Params::seeded(1).at("noise"));
/// let g = Graph::inference();
/// g.output("z", noise.draw(&g, [1000, 4]));
/// let mut step = Device::cpu().compile(&g)?;
/// step.run()?;
/// let z = step.values("z")?;
/// assert!((z.iter().map(|z| z * z).sum::<f32>() / 4000.0 - 1.0).abs() < 0.1);
/// step.run()?;
/// assert_ne!(z, step.values("z")?);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct StandardNormal(Params);

impl StandardNormal {
    /// On the random stream of the path of `params`.
    pub fn new(params: &Params) -> Self {
        StandardNormal(params.clone())
    }

    /// Records numbers of this shape, which has at least one element.
    #[track_caller]
    pub fn draw<'g>(&self, g: &'g Graph, shape: impl IntoShape) -> Var<'g> {
        let _scope = g.scope_at(self.0.path());
        random_normal(g, &shape.into_dims(), &self.0.root(), self.0.path())
    }
}

/// A sample of a diagonal normal distribution, through which gradients flow to its mean and log variance l = ln σ²
/// (Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014, section 2.4, the reparameterization trick):
///
/// z = μ + e^(l/2) ε, ε standard normal, with the derivatives 1 by μ and ½ e^(l/2) ε by l.
///
/// Training draws; inference gives the mean, the likeliest code, unless [`GaussianSample::always`] was asked for.
/// The loss that goes with it is [`gaussian_kl`](crate::losses::gaussian_kl). PyTorch's `Normal.rsample`, Keras' layer `Sampling` of its
/// examples.
///
/// ```
/// use wgrad::losses::gaussian_kl;
/// use wgrad::nn::{GaussianSample, Layer, Linear};
/// use wgrad::{Graph, Params};
/// let params = Params::seeded(1);
/// let encoder = Linear::new(&params.at("encoder"), 64, 2 * 8);
/// let sample = GaussianSample::new(&params.at("code"));
/// let g = Graph::new();
/// let encoded = encoder.forward(g.input("x", [32, 64]));
/// let (mean, log_variance) = (encoded.slice(1, 0, 8), encoded.slice(1, 8, 8));
/// let code = sample.of(mean, log_variance);
/// let price = gaussian_kl(mean, log_variance);
/// assert_eq!((code.shape().dims(), price.shape().rank()), (&[32, 8][..], 0));
/// ```
#[derive(Debug, Clone)]
pub struct GaussianSample {
    noise: StandardNormal,
    is_always: bool,
}

impl GaussianSample {
    /// On the random stream of the path of `params`.
    pub fn new(params: &Params) -> Self {
        GaussianSample { noise: StandardNormal::new(params), is_always: false }
    }

    /// Draws for inference as well.
    #[must_use]
    pub fn always(self) -> Self {
        GaussianSample { is_always: true, ..self }
    }

    /// Records a sample for each of these means and log variances, which have one shape.
    #[track_caller]
    pub fn of<'g>(&self, mean: Var<'g>, log_variance: Var<'g>) -> Var<'g> {
        let (g, own, other) = (mean.graph(), mean.shape(), log_variance.shape());
        if own != other {
            let message = format!("takes means and log variances of one shape, got {own} and {other}");
            return g.refuse("gaussian_sample", message, mean);
        }
        if !(g.is_training() || self.is_always) {
            return mean;
        }
        let noise = self.noise.draw(g, own.dims());
        let _scope = g.scope_at(self.noise.0.path());
        mean + (log_variance * 0.5).exp() * noise
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden_tests::devices;
    use crate::{Device, Result};

    const SHAPE: [usize; 2] = [40, 500];

    /// z, dz/dμ and dz/dl of some steps, of one mean and log variance everywhere, and the noise of a draw on the same stream.
    fn steps(device: &Device, seed: u64, [mean, l]: [f32; 2], n: usize) -> Result<Vec<[Vec<f32>; 4]>> {
        let at = Params::seeded(seed).at("code");
        let g = Graph::new();
        let (m, v) = (g.input("mean", SHAPE), g.input("l", SHAPE));
        let z = GaussianSample::new(&at).of(m, v);
        let d = g.gradients(z.sum_all(), &[m, v]);
        let noise = StandardNormal::new(&at).draw(&g, SHAPE);
        let all = [("z", z), ("dm", d[0]), ("dl", d[1]), ("noise", noise)];
        all.iter().for_each(|(name, value)| g.output(name, *value));
        let mut step = device.compile(&g)?;
        step.feed("mean", &[mean; SHAPE[0] * SHAPE[1]])?;
        step.feed("l", &[l; SHAPE[0] * SHAPE[1]])?;
        let one = |_| {
            step.run()?;
            Ok([step.values("z")?, step.values("dm")?, step.values("dl")?, step.values("noise")?])
        };
        (0..n).map(one).collect()
    }

    #[test]
    fn samples_have_the_moments_and_derivatives_of_the_formula() -> Result<()> {
        for device in devices() {
            for [mean, l] in [[0.0f32, 0.0], [-1.5, 1.0], [3.0, -4.0]] {
                let sigma = (0.5 * f64::from(l)).exp();
                let [z, dm, dl, noise] = &steps(&device, 3, [mean, l], 1)?[0];
                let n = z.len() as f64;
                let average = z.iter().map(|&z| f64::from(z)).sum::<f64>() / n;
                let moment = |p: i32| z.iter().map(|&z| (f64::from(z) - average).powi(p)).sum::<f64>() / n;
                // Five standard errors each: σ, √2 σ² and √96 σ⁴ over the root of n.
                assert!((average - f64::from(mean)).abs() < 5.0 * sigma / n.sqrt(), "{average}");
                assert!((moment(2) / sigma.powi(2) - 1.0).abs() < 5.0 * 2f64.sqrt() / n.sqrt(), "{l}");
                assert!((moment(4) / sigma.powi(4) - 3.0).abs() < 5.0 * 96f64.sqrt() / n.sqrt(), "{l}");
                assert!(dm.iter().all(|&d| d == 1.0));
                for ((z, dl), noise) in z.iter().zip(dl).zip(noise) {
                    let e = f64::from(*noise);
                    let near = |a: f32, b: f64| (f64::from(a) - b).abs() < 1e-5 * (1.0 + b.abs());
                    assert!(
                        near(*z, f64::from(mean) + sigma * e) && near(*dl, 0.5 * sigma * e),
                        "{z} {dl} {e}"
                    );
                }
            }
        }
        Ok(())
    }

    /// Central differences in double precision, with the draws of a first run each time.
    #[test]
    fn derivatives_are_those_of_differences_with_fixed_draws() -> Result<()> {
        let value = |mean: f32, l: f32| -> Result<[f64; 3]> {
            let g = Graph::new();
            let (m, v) = (g.input("mean", [1]), g.input("l", [1]));
            let z = GaussianSample::new(&Params::seeded(9).at("z")).of(m, v);
            let y = (z * z.square()).sum_all();
            let d = g.gradients(y, &[m, v]);
            for (name, value) in [("y", y), ("dm", d[0]), ("dl", d[1])] {
                g.output(name, value);
            }
            let mut step = Device::reference().compile(&g)?;
            step.run_with(&[("mean", (&[mean]).into()), ("l", (&[l]).into())])?;
            Ok([step.scalar("y")?, step.scalar("dm")?, step.scalar("dl")?].map(f64::from))
        };
        for (mean, l) in [(0.5, -1.0), (-1.25, 0.75)] {
            let h = 1.0 / 64.0;
            let [_, dm, dl] = value(mean, l)?;
            let by_mean = (value(mean + h, l)?[0] - value(mean - h, l)?[0]) / (2.0 * f64::from(h));
            let by_l = (value(mean, l + h)?[0] - value(mean, l - h)?[0]) / (2.0 * f64::from(h));
            // The third derivatives, over 6, times h².
            assert!((dm - by_mean).abs() < 3e-4 * (1.0 + dm.abs()), "{dm} {by_mean}");
            assert!((dl - by_l).abs() < 3e-3 * (1.0 + dl.abs()), "{dl} {by_l}");
        }
        Ok(())
    }

    #[test]
    fn one_seed_draws_the_same_everywhere_and_steps_differ() -> Result<()> {
        let first = steps(&Device::cpu(), 7, [0.5, 0.5], 2)?;
        assert_ne!(first[0][0], first[1][0]);
        assert_ne!(first[0][0], steps(&Device::cpu(), 8, [0.5, 0.5], 1)?[0][0]);
        for device in devices() {
            for (a, b) in first.iter().zip(steps(&device, 7, [0.5, 0.5], 2)?) {
                assert!(a[0].iter().zip(&b[0]).all(|(a, b)| (a - b).abs() < 1e-4), "{device:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn inference_gives_the_mean_unless_asked() -> Result<()> {
        let params = Params::seeded(1);
        let g = Graph::inference();
        let (m, v) = (g.input("mean", [4, 3]), g.input("l", [4, 3]));
        assert_eq!(GaussianSample::new(&params.at("a")).of(m, v).id, m.id);
        assert!(g.is_empty() && params.all().is_empty());
        g.output("z", GaussianSample::new(&params.at("a")).always().of(m, v));
        let mut step = Device::cpu().compile(&g)?;
        step.run_with(&[("mean", (&[2.0f32; 12]).into()), ("l", (&[0.0f32; 12]).into())])?;
        let z = step.values("z")?;
        assert!(z.iter().all(|z| *z != 2.0), "{z:?}");
        step.run()?;
        assert_ne!(z, step.values("z")?);
        Ok(())
    }

    #[test]
    fn shapes_that_make_no_sense_are_refused() {
        let sample = GaussianSample::new(&Params::seeded(1));
        let g = Graph::new();
        sample.of(g.input("mean", [2, 3]), g.input("l", [2, 1]));
        assert!(g.error().unwrap().to_string().contains("gaussian_sample: takes means and log variances"));
        for shape in [&[2, 0][..], &[1 << 20, 1 << 20]] {
            let g = Graph::new();
            StandardNormal::new(&Params::seeded(1)).draw(&g, shape);
            let text = g.error().unwrap().to_string();
            assert!(text.contains("at most 6 axes") && text.contains("at least one element"), "{text}");
        }
    }
}
