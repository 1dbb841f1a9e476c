//! Layers that draw random numbers while training, and do nothing for inference. What is drawn depends on the seed of the
//! store, the path a layer was made under, the step and the place alone, as in [`super::Dropout`].

use super::Layer;
use crate::graph::{Params, Var};
use crate::ops::{random_normal, random_uniform};

/// What these layers have in common.
#[derive(Debug, Clone)]
struct Drawing {
    params: Params,
    p: f32,
}

impl Drawing {
    fn new(params: &Params, p: f32) -> Self {
        Drawing { params: params.clone(), p }
    }

    /// Where something is to be kept: 1 with probability 1 - p, else 0, of the extents of x along its first axes, so that what
    /// is beyond them has one fate. `None` where x stays as it is, `Err` after a recording mistake.
    #[track_caller]
    fn kept<'g>(&self, x: Var<'g>, name: &str, axes: usize) -> Option<Result<Var<'g>, Var<'g>>> {
        let (g, p) = (x.graph(), self.p);
        if !g.is_training() || p == 0.0 {
            return None;
        }
        if !(0.0..1.0).contains(&p) {
            let message = format!("the probability of dropping must be in [0, 1), got {p}");
            return Some(Err(g.refuse(name, message, x)));
        }
        let shape = x.shape();
        let dims: Vec<usize> =
            shape.dims().iter().enumerate().map(|(a, &n)| if a < axes { n } else { 1 }).collect();
        let drawn = random_uniform(g, &dims, &self.params.root(), self.params.path());
        Some(Ok(drawn.greater_equal(g.scalar(p))))
    }

    /// x over 1 - p where it is kept, else 0.
    #[track_caller]
    fn drop<'g>(&self, x: Var<'g>, name: &str, axes: usize) -> Var<'g> {
        let g = x.graph();
        let _scope = g.scope_at(self.params.path());
        match self.kept(x, name, axes) {
            Some(Ok(kept)) => kept.select(x * (1.0 / (1.0 - self.p)), g.scalar(0.0)),
            Some(Err(refused)) => refused,
            None => x,
        }
    }
}

/// Dropout of whole channels of `[n, c, ..]`, as neighbouring positions of one are alike: each is 0 with probability p, and
/// the others are divided by 1 - p (Tompson et al., "Efficient Object Localization Using Convolutional Networks", CVPR 2015,
/// section 3.2). PyTorch's `Dropout1d`, `2d` and `3d`, Keras' `SpatialDropout`.
///
/// ```
/// use wgrad::nn::{Layer, SpatialDropout};
/// use wgrad::{Device, Graph, Params};
/// let params = Params::seeded(1);
/// let drop = SpatialDropout::new(&params.at("drop"), 0.5);
/// let g = Graph::new();
/// g.output("y", drop.forward(g.full([4, 8, 2, 2], 1.0)));
/// let mut step = Device::cpu().compile(&g)?;
/// step.run()?;
/// let y = step.values("y")?;
/// assert!(y.chunks(4).all(|plane| *plane == [0.0; 4] || *plane == [2.0; 4]));
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct SpatialDropout(Drawing);

impl SpatialDropout {
    /// Drops channels with probability `p`, in [0, 1).
    pub fn new(params: &Params, p: f32) -> Self {
        SpatialDropout(Drawing::new(params, p))
    }
}

impl Layer for SpatialDropout {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        if x.shape().rank() < 3 {
            let message = format!("takes [n, c, l], [n, c, h, w] or more axes, got {}", x.shape());
            return x.graph().refuse("spatial_dropout", message, x);
        }
        self.0.drop(x, "spatial_dropout", 2)
    }
}

/// Leaves out what a residual branch gives, for each row of `[n, ..]` by itself: 0 with probability p, and else divided by
/// 1 - p (Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016, section 3, where inference multiplies by 1 - p
/// instead). It stands at the end of the branch: `x + drop_path.forward(branch.forward(x))`. torchvision's `StochasticDepth` with
/// rows, timm's `DropPath`.
#[derive(Debug, Clone)]
pub struct DropPath(Drawing);

impl DropPath {
    /// Drops rows with probability `p`, in [0, 1).
    pub fn new(params: &Params, p: f32) -> Self {
        DropPath(Drawing::new(params, p))
    }
}

impl Layer for DropPath {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        if x.shape().rank() == 0 {
            return x.graph().refuse("drop_path", "a scalar has no rows".into(), x);
        }
        self.0.drop(x, "drop_path", 1)
    }
}

/// The limit of SELU far below 0: -1.0507010 · 1.6732632.
const SATURATED: f32 = -1.758_099_3;

/// Dropout that keeps mean 0 and variance 1, for networks of SELU: an element becomes α' = -1.758, the limit of SELU, with
/// probability p, and everything is scaled and moved by a and b (Klambauer et al., "Self-Normalizing Neural Networks", NIPS 2017,
/// section "New Dropout Technique"):
///
/// y = a (x or α') + b, a = ((1 - p) (1 + p α'²))^-½, b = -a p α'.
///
/// PyTorch's and Keras' `AlphaDropout`.
#[derive(Debug, Clone)]
pub struct AlphaDropout(Drawing);

impl AlphaDropout {
    /// Drops with probability `p`, in [0, 1).
    pub fn new(params: &Params, p: f32) -> Self {
        AlphaDropout(Drawing::new(params, p))
    }
}

impl Layer for AlphaDropout {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let g = x.graph();
        let _scope = g.scope_at(self.0.params.path());
        let kept = match self.0.kept(x, "alpha_dropout", x.shape().rank()) {
            Some(Ok(kept)) => kept,
            Some(Err(refused)) => return refused,
            None => return x,
        };
        let p = self.0.p;
        let a = ((1.0 - p) * (1.0 + p * SATURATED * SATURATED)).sqrt().recip();
        let b = -a * p * SATURATED;
        kept.select(x * a + b, g.scalar(a * SATURATED + b))
    }
}

/// Adds normal noise of mean 0 to each element while training (Bishop, "Training with Noise is Equivalent to Tikhonov
/// Regularization", 1995). Keras' `GaussianNoise`.
#[derive(Debug, Clone)]
pub struct GaussianNoise {
    params: Params,
    deviation: f32,
}

impl GaussianNoise {
    /// Of this standard deviation, 0 or more.
    pub fn new(params: &Params, deviation: f32) -> Self {
        GaussianNoise { params: params.clone(), deviation }
    }
}

impl Layer for GaussianNoise {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let g = x.graph();
        if !g.is_training() || self.deviation == 0.0 {
            return x;
        }
        let _scope = g.scope_at(self.params.path());
        if !(self.deviation.is_finite() && self.deviation > 0.0) {
            let message =
                format!("the standard deviation must be a number of 0 or more, got {}", self.deviation);
            return g.refuse("gaussian_noise", message, x);
        }
        x + random_normal(g, x.shape().dims(), &self.params.root(), self.params.path()) * self.deviation
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden_tests::devices;
    use crate::{Device, Graph, Result};

    type Make = fn(&Params, f32) -> Box<dyn Layer>;

    const ALL: [(&str, Make); 4] = [
        ("spatial", |params, p| Box::new(SpatialDropout::new(params, p))),
        ("path", |params, p| Box::new(DropPath::new(params, p))),
        ("alpha", |params, p| Box::new(AlphaDropout::new(params, p))),
        ("noise", |params, p| Box::new(GaussianNoise::new(params, p))),
    ];

    /// y and dy/dx of some steps.
    fn steps(
        device: &Device,
        layer: &dyn Layer,
        shape: &[usize],
        x: &[f32],
        n: usize,
    ) -> Result<Vec<[Vec<f32>; 2]>> {
        let g = Graph::new();
        let input = g.input("x", shape);
        let y = layer.forward(input);
        g.output("y", y);
        g.output("d", g.gradients(y.sum_all(), &[input])[0]);
        let mut step = device.compile(&g)?;
        (0..n)
            .map(|_| {
                step.run_with(&[("x", x.into())])?;
                Ok([step.values("y")?, step.values("d")?])
            })
            .collect()
    }

    fn moments(y: &[f32]) -> (f64, f64) {
        let n = y.len() as f64;
        let mean = y.iter().map(|&y| f64::from(y)).sum::<f64>() / n;
        (mean, y.iter().map(|&y| (f64::from(y) - mean).powi(2)).sum::<f64>() / n)
    }

    #[test]
    fn inference_and_nothing_to_draw_leave_everything() {
        for (name, make) in ALL {
            let params = Params::seeded(1);
            let (training, inference) = (Graph::new(), Graph::inference());
            let x = training.input("x", [2, 3, 4]);
            assert_eq!(make(&params.at("a"), 0.0).forward(x).id, x.id, "{name}");
            let x = inference.input("x", [2, 3, 4]);
            assert_eq!(make(&params.at("b"), 0.5).forward(x).id, x.id, "{name}");
            assert_eq!(training.len() + inference.len(), 0, "{name}");
            assert!(params.all().is_empty(), "{name}");
        }
    }

    #[test]
    fn one_seed_draws_the_same_everywhere_and_steps_differ() -> Result<()> {
        let x: Vec<f32> = (0..120).map(|i| (i as f32 * 0.37).sin()).collect();
        for (name, make) in ALL {
            let run = |device: &Device, seed, path: &str| {
                steps(device, &*make(&Params::seeded(seed).at(path), 0.5), &[6, 5, 4], &x, 2)
            };
            let first = run(&Device::cpu(), 7, "a")?;
            assert_ne!(first[0], first[1], "{name}");
            assert_ne!(first, run(&Device::cpu(), 8, "a")?, "{name}");
            assert_ne!(first, run(&Device::cpu(), 7, "b")?, "{name}");
            for device in devices() {
                for (a, b) in
                    first.iter().flatten().flatten().zip(run(&device, 7, "a")?.iter().flatten().flatten())
                {
                    assert!((a - b).abs() < 1e-4, "{name} on {device:?}: {a} {b}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn whole_channels_and_whole_rows_are_dropped() -> Result<()> {
        let x: Vec<f32> = (0..40_000).map(|i| 1.0 + (i % 7) as f32).collect();
        let shape = [100, 20, 4, 5];
        for (name, make, each) in [("spatial", ALL[0].1, 20), ("path", ALL[1].1, 400)] {
            let [y, d] = &steps(&Device::cpu(), &*make(&Params::seeded(3).at("a"), 0.25), &shape, &x, 1)?[0];
            let mut kept = 0;
            for (part, (y, d)) in x.chunks(each).zip(y.chunks(each).zip(d.chunks(each))) {
                let is_kept = y[0] != 0.0;
                let scale = if is_kept { 1.0 / 0.75f32 } else { 0.0 };
                kept += usize::from(is_kept);
                assert!(y.iter().zip(part).all(|(y, x)| (y - x * scale).abs() < 1e-5), "{name}");
                assert!(d.iter().all(|d| (d - scale).abs() < 1e-6), "{name}");
            }
            let n = (x.len() / each) as f64;
            let off = (kept as f64 - 0.75 * n).abs();
            assert!(off < 4.0 * (n * 0.1875).sqrt(), "{name}: {kept} of {n}");
        }
        Ok(())
    }

    #[test]
    fn alpha_dropout_keeps_mean_and_variance() -> Result<()> {
        // Standard normal, by the layer for noise.
        let zeros = vec![0.0; 40_000];
        let noise = GaussianNoise::new(&Params::seeded(1).at("n"), 1.0);
        let x = steps(&Device::cpu(), &noise, &[200, 200], &zeros, 1)?.remove(0)[0].clone();
        for p in [0.05, 0.3, 0.8] {
            let layer = AlphaDropout::new(&Params::seeded(2).at("a"), p);
            let [y, d] = &steps(&Device::cpu(), &layer, &[200, 200], &x, 1)?[0];
            let (mean, variance) = moments(y);
            assert!(mean.abs() < 0.025 && (variance - 1.0).abs() < 0.05, "{p}: {mean} {variance}");
            let a = 1.0 / ((1.0 - p) * (1.0 + p * 1.758_099_3f32.powi(2))).sqrt();
            // PyTorch's formula: a is its own, and what is dropped becomes a α (p - 1).
            for ((y, d), x) in y.iter().zip(d).zip(&x) {
                let kept = a * x + a * p * 1.758_099_3;
                let dropped = a * 1.758_099_3 * (p - 1.0);
                let expected = if *d == 0.0 { dropped } else { kept };
                assert!((y - expected).abs() < 1e-5 && (*d == 0.0 || (d - a).abs() < 1e-6), "{y} {d} {x}");
            }
            let kept = d.iter().filter(|d| **d != 0.0).count() as f32 / 40_000.0;
            assert!((kept - (1.0 - p)).abs() < 0.01, "{p}: {kept}");
        }
        Ok(())
    }

    #[test]
    fn noise_has_its_deviation_and_passes_gradients() -> Result<()> {
        let x: Vec<f32> = (0..40_000).map(|i| (i % 5) as f32).collect();
        let layer = GaussianNoise::new(&Params::seeded(1).at("n"), 0.5);
        for device in devices() {
            let [y, d] = &steps(&device, &layer, &[400, 100], &x, 1)?[0];
            assert!(d.iter().all(|d| *d == 1.0));
            let (mean, variance) = moments(&y.iter().zip(&x).map(|(y, x)| y - x).collect::<Vec<_>>());
            assert!(mean.abs() < 4.0 * 0.5 / 200.0 && (variance - 0.25).abs() < 0.01, "{mean} {variance}");
        }
        Ok(())
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let message = |make: Make, p, shape: &[usize]| {
            let g = Graph::new();
            make(&Params::seeded(1).at("layer"), p).forward(g.input("x", shape));
            g.error().map_or_else(String::new, |e| e.to_string())
        };
        for (name, make) in &ALL[..3] {
            for p in [-0.1, 1.0, f32::NAN] {
                let text = message(*make, p, &[2, 3, 4]);
                assert!(text.contains("must be in [0, 1)") && text.contains("`layer`"), "{name}: {text}");
            }
        }
        for deviation in [-1.0, f32::NAN, f32::INFINITY] {
            assert!(message(ALL[3].1, deviation, &[2]).contains("standard deviation"));
        }
        assert!(message(ALL[0].1, 0.5, &[2, 3]).contains("takes [n, c, l]"));
        assert!(message(ALL[1].1, 0.5, &[]).contains("no rows"));
    }
}
