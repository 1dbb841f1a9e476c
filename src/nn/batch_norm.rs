//! Batch normalization.

use super::Layer;
use super::norm::{Affine, Base};
use crate::graph::{Init, Param, Params, Var};

/// Normalizes channels over the batch while training, and by running averages of their statistics for
/// inference (Ioffe and Szegedy, ICML 2015).
#[derive(Debug, Clone)]
struct BatchNorm {
    base: Base,
    mean: Param,
    variance: Param,
    momentum: f32,
}

impl BatchNorm {
    fn new(params: &Params, channels: usize, affine: Affine) -> Self {
        BatchNorm {
            base: Base::new(params, channels, affine, 1e-5),
            mean: params.state("running_mean", [channels], Init::Constant(0.0)),
            variance: params.state("running_var", [channels], Init::Constant(1.0)),
            momentum: 0.1,
        }
    }

    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>, name: &str, ranks: &[usize]) -> Var<'g> {
        let g = x.graph();
        let _scope = g.scope_at(&self.base.path);
        let rank = x.shape().rank();
        if !ranks.contains(&rank) {
            let shapes: Vec<&str> =
                ranks.iter().map(|r| ["[n, c]", "[n, c, l]", "[n, c, h, w]"][r - 2]).collect();
            return g.refuse(name, format!("takes {}, got {}", shapes.join(" or "), x.shape()), x);
        }
        if !(0.0..=1.0).contains(&self.momentum) {
            return g.refuse(name, format!("the momentum must be in [0, 1], got {}", self.momentum), x);
        }
        let [weight, bias] = self.base.both(x, self.mean.shape().elements());
        let (mean, variance) = (g.param(&self.mean), g.param(&self.variance));
        if !g.is_training() {
            return x.batch_norm_inference(weight, bias, mean, variance, self.base.eps);
        }
        let [y, batch_mean, batch_variance] = x.batch_norm(weight, bias, self.base.eps);
        let count = (x.shape().elements() / x.dim(1).max(1)) as f32;
        let keep = 1.0 - self.momentum;
        batch_mean.average_into(mean, keep, self.momentum);
        // The biased variance normalizes, the unbiased one is remembered, as in PyTorch.
        batch_variance.average_into(variance, keep, self.momentum * (count / (count - 1.0)));
        y
    }
}

macro_rules! layer {
    ($(#[$doc:meta])* $name:ident, $text:literal, $ranks:expr) => {
        $(#[$doc])*
        ///
        /// While training, each channel is normalized by its mean and variance over the batch, through which
        /// gradients flow, and `running = (1 - momentum) · running + momentum · batch` is kept of both, with
        /// the unbiased variance: PyTorch's convention, where a small momentum remembers long. An average stays as it
        /// is where the batch's mean or variance, each on its own, is not finite, as where 16 bits overflow. In a graph made
        /// with [`crate::Graph::inference`] the running averages take their place.
        ///
        /// The averages are of what passes through the layer in a graph for training, whichever parameters learn by it: also where
        /// its own are frozen, or where the loss is a generator's and this the discriminator that it goes through. So it is in PyTorch.
        /// A momentum of 0 keeps them.
        ///
        /// States are named as in PyTorch: `weight` and `bias`, which are trained, if they are there, `running_mean` and
        /// `running_var`, all `[c]`. Training takes at least two elements per channel.
        #[derive(Debug, Clone)]
        pub struct $name(BatchNorm);

        impl $name {
            /// For so many channels, with scale, offset, momentum 0.1 and eps 1e-5.
            pub fn new(params: &Params, channels: usize) -> Self {
                Self::with(params, channels, Affine::Full)
            }

            /// With what it learns; PyTorch's `affine=False` is [`Affine::None`].
            pub fn with(params: &Params, channels: usize, affine: Affine) -> Self {
                $name(BatchNorm::new(params, channels, affine))
            }

            /// Share of the newest batch in the running averages, 0.1 by default.
            #[must_use]
            pub fn momentum(mut self, momentum: f32) -> Self {
                self.0.momentum = momentum;
                self
            }

            /// What is added to the variance before its root is taken, 1e-5 by default.
            #[must_use]
            pub fn eps(mut self, eps: f32) -> Self {
                self.0.base.eps = eps;
                self
            }

            /// The scale, `[c]`, if there is one.
            pub fn weight(&self) -> Option<&Param> {
                self.0.base.weight()
            }

            /// The offset, `[c]`, if there is one.
            pub fn bias(&self) -> Option<&Param> {
                self.0.base.bias()
            }

            /// Running average of the means, `[c]`.
            pub fn running_mean(&self) -> &Param {
                &self.0.mean
            }

            /// Running average of the unbiased variances, `[c]`.
            pub fn running_var(&self) -> &Param {
                &self.0.variance
            }
        }

        impl Layer for $name {
            #[track_caller]
            fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
                self.0.forward(x, $text, $ranks)
            }
        }
    };
}

layer! {
    /// Batch normalization of `[n, c]` or `[n, c, l]` (Ioffe and Szegedy, ICML 2015).
    BatchNorm1d, "batch_norm1d", &[2, 3]
}

layer! {
    /// Batch normalization of images `[n, c, h, w]` (Ioffe and Szegedy, ICML 2015, section 3.2).
    BatchNorm2d, "batch_norm2d", &[4]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, Graph, Result};

    #[test]
    fn running_statistics_follow_pytorch() -> Result<()> {
        let params = Params::seeded(1);
        let norm = BatchNorm1d::new(&params.at("bn"), 2).momentum(0.25);
        let g = Graph::new();
        g.output("y", norm.forward(g.input("x", [4, 2])));
        let device = Device::cpu();
        // Channel 0: mean 2.5, variance 1.25 or, unbiased, 5/3. Channel 1: 10 and 0.
        let x = [1.0, 10.0, 2.0, 10.0, 3.0, 10.0, 4.0, 10.0];
        let mut step = device.compile(&g)?;
        for _ in 0..2 {
            step.run_with(&[("x", (&x).into())])?;
        }
        let close = |param: &Param, expected: [f32; 2]| -> Result<()> {
            let is = device.read_param(param)?;
            assert!(
                is.as_f32().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5),
                "{is:?} {expected:?}"
            );
            Ok(())
        };
        // From 0 and 1, twice: 1 - 0.75² of the batch's.
        close(norm.running_mean(), [2.5 * 0.4375, 10.0 * 0.4375])?;
        close(norm.running_var(), [0.5625 + 0.4375 * 5.0 / 3.0, 0.5625])?;

        let g = Graph::inference();
        g.output("y", norm.forward(g.input("x", [1, 2])));
        let mut step = device.compile(&g)?;
        step.run_with(&[("x", (&[2.5 * 0.4375 + 1.0, 10.0 * 0.4375]).into())])?;
        let y = step.read("y")?.wait()?;
        let expected = 1.0 / (0.5625f32 + 0.4375 * 5.0 / 3.0 + 1e-5).sqrt();
        assert!((y.as_f32()[0] - expected).abs() < 1e-5 && y.as_f32()[1].abs() < 1e-5, "{y:?}");
        // Inference leaves the statistics alone.
        close(norm.running_mean(), [2.5 * 0.4375, 10.0 * 0.4375])
    }

    #[test]
    fn names_are_those_of_pytorch_and_statistics_are_not_trained() {
        let params = Params::seeded(1);
        BatchNorm2d::new(&params.at("bn1"), 3);
        let names = |all: Vec<Param>| all.iter().map(|p| p.name().to_string()).collect::<Vec<_>>();
        let all = ["bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"];
        assert_eq!(names(params.all()), all);
        assert_eq!(names(params.trainable()), all[..2]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let message = |shape: &[usize], momentum: f32| {
            let norm = BatchNorm2d::new(&Params::seeded(1).at("bn"), 3).momentum(momentum);
            let g = Graph::new();
            norm.forward(g.input("x", shape));
            g.error().map_or_else(String::new, |e| e.to_string())
        };
        assert!(message(&[2, 3], 0.1).contains("takes [n, c, h, w], got [2, 3]"));
        assert!(message(&[2, 4, 1, 1], 0.1).contains("4 channels need a value each"));
        assert!(message(&[1, 3, 1, 1], 0.1).contains("2 rows or more"));
        assert!(message(&[2, 3, 1, 1], 1.5).contains("momentum"));
        assert!(message(&[2, 3, 1, 1], 0.1).is_empty());
    }
}
