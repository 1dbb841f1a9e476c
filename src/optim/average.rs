//! Averages of parameters over steps.

use super::Optimizer;
use super::ruled::gate;
use super::wrapper::{passing_on, sees_scaled};
use crate::device::{Device, Step};
use crate::error::Result;
use crate::graph::{Graph, Init, Param, Params, Var};
use crate::ops::{AverageRule, Each, MOST_UPDATED, Tick, Update};

/// Under which its states are in the store.
const NAME: &str = "average";

/// An optimizer that keeps an average of the parameters beside them, which often does better on new data than they do: each step
/// moves it towards what the optimizer made of them.
///
/// States: for each parameter its count `average.t.<parameter>` and `average.of.<parameter>`, so that a checkpoint holds them.
/// [`crate::train::Trainer`] validates, saves and tests the averages; elsewhere [`Averaged::exchange`] makes them the
/// parameters. All averages take one launch, and their counts one. It goes within [`super::LossScale`] and
/// [`super::Accumulate`], so that it counts updates.
///
/// ```
/// use wgrad::optim::{Averaged, Optimizer, Sgd};
/// use wgrad::{Device, Graph, Init, Params};
/// let params = Params::seeded(1);
/// let w = params.param("w", [1], Init::Constant(4.0));
/// let sgd = Averaged::exponential(&params, Sgd::new(&params, 0.25), 0.5);
/// let g = Graph::new();
/// sgd.minimize(g.param(&w).square().sum_all(), &params.trainable());
/// let device = Device::cpu();
/// let mut step = device.compile(&g)?;
/// step.run()?;
/// step.run()?;
/// // From 4 to 2 and to 1; the average begins with 2.
/// let mut exchange = Averaged::exchange(&device, &sgd.averages(&params.trainable()))?;
/// exchange.run()?;
/// assert_eq!(device.read_param(&w)?.as_f32(), [1.5]);
/// exchange.run()?;
/// assert_eq!(device.read_param(&w)?.as_f32(), [1.0]);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Averaged<O> {
    inner: O,
    store: Params,
    rule: AverageRule,
}

/// A parameter that is averaged.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Average {
    /// The parameter.
    pub param: Param,
    /// The state that holds its average.
    pub average: Param,
    /// The state that counts the steps that are in it: at 0 the average means nothing yet.
    pub count: Param,
}

impl<O: Optimizer> Averaged<O> {
    /// The exponential moving average (EMA): a = decay · a + (1 - decay) · w, from the first step's w on, as Keras and PyTorch's
    /// `AveragedModel` with `get_ema_multi_avg_fn`; Polyak and Juditsky, 1992, in its moving form. `decay` is from 0 to below 1,
    /// often 0.999.
    pub fn exponential(params: &Params, inner: O, decay: f32) -> Self {
        let rule = AverageRule { decay: Some(decay), after: 0 };
        Averaged { inner, store: params.root().at(NAME), rule }
    }

    /// The mean of all steps after the first `after`, for stochastic weight averaging (SWA): Izmailov et al., UAI 2018. Until
    /// then it is the last step.
    pub fn mean(params: &Params, inner: O, after: u32) -> Self {
        let rule = AverageRule { decay: None, after };
        Averaged { inner, store: params.root().at(NAME), rule }
    }

    #[track_caller]
    fn record<'g>(&self, g: &'g Graph, params: &[Param], factor: Option<Var<'g>>) {
        if sees_scaled(g, &self.inner, "Averaged::exponential") {
            return;
        }
        let params: Vec<&Param> = params.iter().filter(|p| p.is_trainable()).collect();
        let factor = gate(factor).map(|gate| gate.reshape([1]));
        for some in params.chunks(MOST_UPDATED) {
            let names: Vec<&str> = some.iter().map(|p| p.name()).collect();
            let _scope = g.scope_at(&format!("{NAME}.{}", names.join("+")));
            let mut inputs = vec![g.full([1], 1.0)];
            inputs.extend(factor);
            inputs.extend(some.iter().map(|p| g.param(&self.store.at("t").counter(p.name()))));
            let tick = Tick { rule: self.rule, counts: some.len(), has_factor: factor.is_some() };
            let scalars = g.record_one(tick, &inputs);
            let mut inputs: Vec<Var<'g>> = some.iter().map(|p| g.param(p)).collect();
            inputs.push(scalars);
            let average = |p: &Param| self.store.at("of").state(p.name(), p.shape(), Init::Constant(0.0));
            inputs.extend(some.iter().map(|p| g.param(&average(p))));
            let each = (0..some.len()).map(Each::plain).collect();
            g.record(
                Update { rule: self.rule, decoupled: false, has_factor: factor.is_some(), each },
                &inputs,
            );
        }
    }
}

impl Averaged<()> {
    /// A graph that exchanges parameters and their averages ([`Optimizer::averages`]) on the device each time it runs; a
    /// parameter that was in no step yet stays.
    ///
    /// # Errors
    /// As [`Device::compile`].
    pub fn exchange(device: &Device, averages: &[Average]) -> Result<Step> {
        let g = Graph::new();
        for Average { param, average, count } in averages {
            let (value, other) = (g.param(param), g.param(average));
            let is_counted = g.param(count).to_f32().greater(g.scalar(0.0));
            let kept = is_counted.select(value, other);
            value.assign(is_counted.select(other, value));
            other.assign(kept);
        }
        device.compile(&g)
    }
}

impl<O: Optimizer> Optimizer for Averaged<O> {
    #[track_caller]
    fn apply<'g>(&self, g: &'g Graph, params: &[Param], gradients: &[Var<'g>]) {
        self.inner.apply(g, params, gradients);
        self.record(g, params, None);
    }

    #[track_caller]
    fn apply_scaled<'g>(&self, g: &'g Graph, params: &[Param], gradients: &[Var<'g>], factor: Var<'g>) {
        self.inner.apply_scaled(g, params, gradients, factor);
        self.record(g, params, Some(factor));
    }

    fn averages(&self, params: &[Param]) -> Vec<Average> {
        // Only what was recorded: not every parameter of a store is trained.
        let kept =
            |kind: &str, param: &Param| self.store.root().get(&format!("{NAME}.{kind}.{}", param.name()));
        let of = |param: &Param| {
            Some(Average { param: param.clone(), average: kept("of", param)?, count: kept("t", param)? })
        };
        params.iter().filter_map(of).collect()
    }

    passing_on!(objective, rate);
}
