//! Accumulation of gradients over several steps.

use super::Optimizer;
use super::wrapper::{passing_on, updated};
use crate::graph::{Graph, Init, Param, Params, Var};

/// An optimizer that steps once in `every` runs of the graph, with the mean of their gradients: that of a batch as many times
/// as large, of which the device need not hold the activations at once; where one run has fewer rows, as the last of an epoch can,
/// these count for more. What depends on other rows of a batch, as batch
/// normalization does, sees the small ones.
///
/// Sums and their count are states, `accumulate.count` and `accumulate.sum.<parameter>`: a checkpoint holds them, and what an
/// epoch leaves over counts in the next one. It goes around what clips and averages, and within [`super::LossScale`].
///
/// ```
/// use wgrad::optim::{Accumulate, Optimizer, Sgd};
/// use wgrad::{Device, Graph, Init, Params};
/// let params = Params::seeded(1);
/// let w = params.param("w", [1], Init::Constant(1.0));
/// let sgd = Accumulate::new(&params, Sgd::new(&params, 0.5), 2);
/// let g = Graph::new();
/// sgd.minimize((g.param(&w) * g.input("x", [1])).sum_all(), &params.trainable());
/// let device = Device::cpu();
/// let mut step = device.compile(&g)?;
/// step.run_with(&[("x", (&[1.0f32]).into())])?;
/// assert_eq!(device.read_param(&w)?.as_f32(), [1.0]);
/// step.run_with(&[("x", (&[3.0f32]).into())])?;
/// assert_eq!(device.read_param(&w)?.as_f32(), [0.0]);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Accumulate<O> {
    inner: O,
    store: Params,
    every: u32,
}

impl<O: Optimizer> Accumulate<O> {
    /// Steps of `inner` with the mean gradient of `every` runs, at least 1. States go into the store of `params`.
    pub fn new(params: &Params, inner: O, every: u32) -> Self {
        Accumulate { inner, store: params.root().at("accumulate"), every: every.max(1) }
    }

    #[track_caller]
    fn record<'g>(&self, g: &'g Graph, params: &[Param], gradients: &[Var<'g>], factor: Option<Var<'g>>) {
        let is_foreign = gradients.iter().any(|v| !std::ptr::eq(v.graph(), g));
        let found = updated(params, gradients).filter(|_| self.every > 1 && !is_foreign);
        let Some((params, gradients)) = found else {
            // Says what is wrong, if something is.
            return match factor {
                Some(factor) => self.inner.apply_scaled(g, params, gradients, factor),
                None => self.inner.apply(g, params, gradients),
            };
        };
        let (sums, factor) = {
            let _scope = g.scope("accumulate");
            let one = || g.full([1], 1.0);
            let (zero, every) = (g.full([1], 0.0), self.every as f32);
            // A run that is left out counts for nothing.
            let is_good = factor.map_or_else(one, |factor| factor.select(one(), zero));
            let count = g.param(&self.store.state("count", [1], Init::Constant(0.0)));
            let next = count + is_good;
            let is_last = next.greater_equal(g.full([1], every));
            let mut sums = Vec::new();
            let keep = is_last.select(zero, one());
            for (param, gradient) in params.iter().zip(gradients) {
                let state =
                    g.param(&self.store.at("sum").state(param.name(), param.shape(), Init::Constant(0.0)));
                // Not its product with 0, which is NaN where it is not finite.
                let now = factor.map_or(gradient, |factor| is_good.select(gradient * factor, zero));
                let sum = state + now;
                sums.push(sum);
                state.assign(keep.select(sum, zero));
            }
            let factor = is_last.select(g.full([1], 1.0 / every), zero);
            count.assign(next * keep);
            (sums, factor)
        };
        self.inner.apply_scaled(g, &params, &sums, factor);
    }
}

impl<O: Optimizer> Optimizer for Accumulate<O> {
    #[track_caller]
    fn apply<'g>(&self, g: &'g Graph, params: &[Param], gradients: &[Var<'g>]) {
        self.record(g, params, gradients, None);
    }

    #[track_caller]
    fn apply_scaled<'g>(&self, g: &'g Graph, params: &[Param], gradients: &[Var<'g>], factor: Var<'g>) {
        self.record(g, params, gradients, Some(factor));
    }

    passing_on!();
}
