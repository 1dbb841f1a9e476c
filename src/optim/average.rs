//! Averages of parameters over steps.

use super::Optimizer;
use super::ruled::gate;
use crate::device::{Device, Step};
use crate::error::Result;
use crate::graph::{Graph, Init, Param, Params, Var};
use crate::ops::{AverageRule, Each, MOST_UPDATED, Update};

/// Which average.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Keeps this much of itself each step.
    Exponential { decay: f32 },
    /// The mean of all steps after so many.
    Mean { after: u32 },
}

/// An optimizer that keeps an average of the parameters beside them, which often does better on new data than they do: each step
/// moves it towards what the optimizer made of them.
///
/// States: `average.count` and `average.of.<parameter>`, so that a checkpoint holds them. [`crate::train::Trainer`] validates,
/// saves and tests the averages; elsewhere [`Averaged::exchange`] makes them the parameters. All averages take one launch.
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
    kind: Kind,
}

impl<O: Optimizer> Averaged<O> {
    /// The exponential moving average (EMA): a = decay · a + (1 - decay) · w, from the first step's w on, as Keras and PyTorch's
    /// `AveragedModel` with `get_ema_multi_avg_fn`; Polyak and Juditsky, 1992, in its moving form. `decay` is from 0 to below 1,
    /// often 0.999.
    pub fn exponential(params: &Params, inner: O, decay: f32) -> Self {
        Averaged { inner, store: params.root().at("average"), kind: Kind::Exponential { decay } }
    }

    /// The mean of all steps after the first `after`, for stochastic weight averaging (SWA): Izmailov et al., UAI 2018. Until
    /// then it is the last step.
    pub fn mean(params: &Params, inner: O, after: u32) -> Self {
        Averaged { inner, store: params.root().at("average"), kind: Kind::Mean { after } }
    }

    fn average_of(&self, param: &Param) -> Param {
        self.store.at("of").state(param.name(), param.shape(), Init::Constant(0.0))
    }

    #[track_caller]
    fn record<'g>(&self, g: &'g Graph, params: &[Param], factor: Option<Var<'g>>) {
        let params: Vec<&Param> = params.iter().filter(|p| p.is_trainable()).collect();
        let number = |x: f32| g.full([1], x);
        let (rate, is_counted) = {
            let _scope = g.scope("average");
            let count = g.param(&self.store.state("count", [1], Init::Constant(0.0)));
            let rate = match self.kind {
                Kind::Exponential { decay } => {
                    if !(0.0..1.0).contains(&decay) {
                        let message = format!("the decay of an average is from 0 to below 1, got {decay}");
                        let location = crate::graph::SourceLocation(std::panic::Location::caller());
                        g.mistake("average", message, &[], location);
                        return;
                    }
                    count.select(number(1.0 - decay), number(1.0))
                }
                Kind::Mean { after } => ((count - number(after as f32)).maximum(number(0.0)) + 1.0).recip(),
            };
            let is_counted = gate(factor).map(|gate| gate.reshape([1]));
            // A count beyond 2^24 stays, and with it the rate.
            count.assign(count + is_counted.unwrap_or_else(|| number(1.0)));
            (rate, is_counted)
        };
        for some in params.chunks(MOST_UPDATED) {
            let names: Vec<&str> = some.iter().map(|p| p.name()).collect();
            let _scope = g.scope_at(&format!("average.{}", names.join("+")));
            let each = (0..some.len()).map(Each::plain).collect();
            let mut inputs: Vec<Var<'g>> = some.iter().map(|p| g.param(p)).collect();
            inputs.push(rate);
            inputs.extend(is_counted);
            inputs.extend(some.iter().map(|p| g.param(&self.average_of(p))));
            g.record(
                Update { rule: AverageRule, decoupled: false, has_factor: is_counted.is_some(), each },
                &inputs,
            );
        }
    }
}

impl Averaged<()> {
    /// A graph that exchanges parameters and their averages ([`Optimizer::averages`]) on the device each time it runs.
    ///
    /// # Errors
    /// As [`Device::compile`].
    pub fn exchange(device: &Device, averages: &[(Param, Param)]) -> Result<Step> {
        let g = Graph::new();
        for (param, average) in averages {
            let (value, other) = (g.param(param), g.param(average));
            let kept = value.copy();
            value.assign(other);
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

    fn averages(&self, params: &[Param]) -> Vec<(Param, Param)> {
        params.iter().filter(|p| p.is_trainable()).map(|p| (p.clone(), self.average_of(p))).collect()
    }

    fn objective<'g>(&self, loss: Var<'g>) -> Var<'g> {
        self.inner.objective(loss)
    }

    fn scales_loss(&self) -> bool {
        self.inner.scales_loss()
    }

    fn lr(&self) -> f32 {
        self.inner.lr()
    }

    fn lr_state(&self) -> Param {
        self.inner.lr_state()
    }
}
