//! Dynamic loss scaling.

use std::panic::Location;

use super::Optimizer;
use super::wrapper::{passing_on, updated};
use crate::graph::{Graph, Init, Param, Params, SourceLocation, Var};
use crate::ops::{MOST_SCALE, NextScale};

/// An optimizer for gradients that pass through half precision, which has no numbers below 6e-8: Micikevicius et al.,
/// "Mixed Precision Training", ICLR 2018, section 3.2, with the rule and the defaults of PyTorch's `GradScaler`.
///
/// The loss is multiplied by a scale before its gradients are taken, and these are divided by it again. Where one is
/// infinite or NaN, the step is left out and the scale is multiplied by 0.5; after 2000 steps without that it is
/// multiplied by 2. All of it happens on the device. States: `loss_scale.scale`, `loss_scale.steps` and
/// `loss_scale.found`, so that a checkpoint holds them.
///
/// It goes around whatever clips: `LossScale::new(&params, ClipNorm::new(Adam::new(..), 1.0))`.
///
/// ```
/// use wgrad::optim::{LossScale, Optimizer, Sgd};
/// use wgrad::{CompileOptions, Device, Graph, Init, Params, Precision};
/// let params = Params::seeded(1);
/// let w = params.param("w", [1], Init::Constant(3.0));
/// let sgd = LossScale::new(&params, Sgd::new(&params, 0.1));
/// let g = Graph::new();
/// let x = g.input("x", [1]);
/// sgd.minimize((g.param(&w) * x).square().sum_all(), &params.trainable());
/// let device = Device::cpu();
/// let mut step = device.compile_with(&g, CompileOptions::new().precision(Precision::Mixed))?;
/// step.run_with(&[("x", (&[f32::INFINITY]).into())])?;
/// assert_eq!(device.read_param(&w)?.as_f32(), [3.0]);
/// assert_eq!(device.read_param(&sgd.scale_state())?.as_f32(), [32_768.0]);
/// step.run_with(&[("x", (&[1.0f32]).into())])?;
/// assert!((device.read_param(&w)?.as_f32()[0] - 2.4).abs() < 1e-6);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct LossScale<O> {
    inner: O,
    store: Params,
    name: String,
    initial: f32,
    growth: f32,
    backoff: f32,
    interval: u32,
}

impl<O: Optimizer> LossScale<O> {
    /// Scales for `inner`, with a scale of 65,536 to begin with. Its states go into the store of `params`.
    pub fn new(params: &Params, inner: O) -> Self {
        LossScale {
            inner,
            store: params.root(),
            name: "loss_scale".into(),
            initial: 65_536.0,
            growth: 2.0,
            backoff: 0.5,
            interval: 2000,
        }
    }

    /// Names its states `<name>.*` instead of `loss_scale.*`: two in one store need different names.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.to_string();
        self
    }

    /// The first scale, above 0 and at most 2^40, beyond which it does not grow; 65,536 by default.
    #[must_use]
    pub fn initial(mut self, scale: f32) -> Self {
        self.initial = scale;
        self
    }

    /// What the scale is multiplied by after enough steps, 1 or more; 2 by default.
    #[must_use]
    pub fn growth(mut self, factor: f32) -> Self {
        self.growth = factor;
        self
    }

    /// What the scale is multiplied by where a gradient is not finite, above 0 and at most 1; 0.5 by default.
    #[must_use]
    pub fn backoff(mut self, factor: f32) -> Self {
        self.backoff = factor;
        self
    }

    /// Steps without a gradient that is not finite after which the scale grows, at least 1; 2000 by default.
    #[must_use]
    pub fn growth_interval(mut self, steps: u32) -> Self {
        self.interval = steps;
        self
    }

    /// The state `[]` that holds the scale.
    pub fn scale_state(&self) -> Param {
        self.at().state("scale", &[][..], Init::Constant(self.initial))
    }

    /// The loss times the scale, for gradients that are taken elsewhere and given to [`Optimizer::apply`].
    #[track_caller]
    pub fn scale<'g>(&self, loss: Var<'g>) -> Var<'g> {
        loss * loss.graph().param(&self.scale_state())
    }

    fn at(&self) -> Params {
        self.store.at(&self.name)
    }

    fn refusal(&self) -> Option<String> {
        let is_possible = self.initial > 0.0 && self.initial <= MOST_SCALE;
        (!is_possible).then(|| {
            format!("the first scale must be above 0 and at most 2^40 = {MOST_SCALE}, got {}", self.initial)
        })
    }
}

impl<O: Optimizer> Optimizer for LossScale<O> {
    /// As for all optimizers, with gradients of [`LossScale::scale`]'s loss.
    #[track_caller]
    fn apply<'g>(&self, g: &'g Graph, params: &[Param], gradients: &[Var<'g>]) {
        if let Some(message) = self.refusal() {
            g.mistake(&self.name, message, &[], SourceLocation(Location::caller()));
            return;
        }
        let is_foreign = gradients.iter().any(|v| !std::ptr::eq(v.graph, g));
        let Some((params, scaled)) = updated(params, gradients).filter(|_| !is_foreign) else {
            // The optimizer says what is wrong.
            return self.inner.apply(g, params, gradients);
        };
        let _scope = g.scope_at(&self.name);
        let (scale, steps, found) =
            (self.scale_state(), self.at().counter("steps"), self.at().counter("found"));
        Var::flag_nonfinite(&scaled, g.param(&found), 1);
        let next = NextScale { growth: self.growth, backoff: self.backoff, interval: self.interval };
        let factor = g.record_one(next, &[g.param(&scale), g.param(&steps), g.param(&found)]);
        self.inner.apply_scaled(g, &params, &scaled, factor);
    }

    fn scales_loss(&self) -> bool {
        true
    }

    fn objective<'g>(&self, loss: Var<'g>) -> Var<'g> {
        // From here on what overflows is what the scale is found by.
        loss.graph().leave_numerics();
        self.scale(self.inner.objective(loss))
    }

    passing_on!(averages, rate);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::{Adam, AdamW, ClipNorm, Sgd};
    use crate::{Data, Device, Result};

    type Make = fn(&Params) -> Box<dyn Optimizer>;

    const OPTIMIZERS: [Make; 6] = [
        |p| Box::new(Sgd::new(p, 0.1).weight_decay(0.1)),
        |p| Box::new(Sgd::new(p, 0.1).momentum(0.9)),
        |p| Box::new(Sgd::new(p, 0.1).momentum(0.9).nesterov()),
        |p| Box::new(Adam::new(p, 0.1)),
        |p| Box::new(AdamW::new(p, 0.1)),
        |p| Box::new(ClipNorm::new(Adam::new(p, 0.1), 0.5)),
    ];

    fn devices() -> Vec<Device> {
        [Device::cpu(), Device::reference()].into_iter().chain(Device::gpu()).collect()
    }

    /// All states after each run with one of `factors`, which the gradients are proportional to.
    fn states(device: &Device, make: Make, scaled: bool, factors: &[f32]) -> Result<Vec<Vec<Data>>> {
        let params = Params::seeded(3);
        // More than one launch takes.
        let all: Vec<Param> =
            (0..9).map(|i| params.param(&format!("w{i}"), [i + 1], Init::Uniform(1.0))).collect();
        let g = Graph::new();
        let x = g.input("x", [1]);
        let loss = all.iter().map(|w| (g.param(w).square() * x).sum_all()).reduce(|a, b| a + b).unwrap();
        let inner = make(&params);
        if scaled {
            LossScale::new(&params, inner).growth_interval(2).minimize(loss, &params.trainable());
        } else {
            inner.minimize(loss, &params.trainable());
        }
        let mut step = device.compile(&g)?;
        let mut found = Vec::new();
        for x in factors {
            step.run_with(&[("x", (&[*x]).into())])?;
            let kept: Vec<Param> =
                params.all().into_iter().filter(|p| !p.name().starts_with("loss_scale")).collect();
            let values = kept.iter().map(|p| Ok(device.read_param(p)?.data().clone()));
            found.push(values.collect::<Result<Vec<Data>>>()?);
        }
        Ok(found)
    }

    #[test]
    fn a_step_that_overflows_changes_nothing_and_others_are_as_without_scaling() -> Result<()> {
        // In f64 nothing overflows here.
        for device in devices().into_iter().filter(|d| d.info().name != "reference") {
            for make in OPTIMIZERS {
                // A scale that is a power of two costs no digit.
                let plain = states(&device, make, false, &[1.0, 0.5, 2.0])?;
                let scaled = states(&device, make, true, &[f32::NAN, 1.0, 1e35, 0.5, f32::INFINITY, 2.0])?;
                assert_eq!(scaled[1], plain[0], "{device:?}");
                assert_eq!(scaled[2], scaled[1], "{device:?}");
                assert_eq!(scaled[3], plain[1], "{device:?}");
                assert_eq!(scaled[4], scaled[3], "{device:?}");
                assert_eq!(scaled[5], plain[2], "{device:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn the_scale_falls_and_grows_by_the_rule() -> Result<()> {
        for device in devices() {
            let params = Params::seeded(1);
            let w = params.param("w", [5], Init::Constant(1.0));
            let sgd =
                LossScale::new(&params, Sgd::new(&params, 0.0)).initial(8.0).growth_interval(3).growth(4.0);
            let g = Graph::new();
            sgd.minimize((g.param(&w) * g.input("x", [1])).sum_all(), &params.trainable());
            let mut step = device.compile(&g)?;
            let (bad, good) = (f32::INFINITY, 1.0);
            for (x, expected) in [
                (good, 8.0),
                (good, 8.0),
                (good, 32.0),
                (good, 32.0),
                (bad, 16.0),
                (good, 16.0),
                (good, 16.0),
                (good, 64.0),
                (bad, 32.0),
                (bad, 16.0),
            ] {
                step.run_with(&[("x", (&[x]).into())])?;
                assert_eq!(device.read_param(&sgd.scale_state())?.as_f32(), [expected], "{device:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn the_scale_has_a_limit() -> Result<()> {
        for device in devices() {
            let params = Params::seeded(1);
            let w = params.param("w", [1], Init::Constant(1.0));
            let most =
                LossScale::new(&params, Sgd::new(&params, 0.5)).initial(MOST_SCALE / 2.0).growth_interval(1);
            let g = Graph::new();
            most.minimize((g.param(&w) * 1.0).sum_all(), &params.trainable());
            let mut step = device.compile(&g)?;
            for moved in [0.5, 0.0, -0.5] {
                step.run_with(&[])?;
                assert_eq!(device.read_param(&most.scale_state())?.as_f32(), [MOST_SCALE], "{device:?}");
                assert_eq!(device.read_param(&w)?.as_f32(), [moved], "{device:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn mistakes_are_said() {
        #[derive(Debug)]
        struct Foreign(Params);
        impl Optimizer for Foreign {
            fn apply<'g>(&self, _: &'g Graph, _: &[Param], _: &[Var<'g>]) {}
            fn lr(&self) -> f32 {
                0.0
            }
            fn lr_state(&self) -> Param {
                self.0.state("lr", [1], Init::Constant(0.0))
            }
        }
        let params = Params::seeded(1);
        let w = params.param("w", [1], Init::Constant(1.0));
        let error = |optimizer: &dyn Optimizer| {
            let g = Graph::new();
            let line = line!() + 1;
            optimizer.minimize(g.param(&w).square().sum_all(), std::slice::from_ref(&w));
            let text = g.error().map_or_else(String::new, |e| e.to_string());
            assert!(text.ends_with(&format!("{}:{line}", file!())), "{text}");
            text
        };
        let sgd = || Sgd::new(&params, 0.1);
        assert!(error(&LossScale::new(&params, Foreign(params.clone()))).contains("cannot leave a step out"));
        assert!(error(&LossScale::new(&params, sgd()).named("a").initial(0.0)).contains("at most 2^40"));
        assert!(
            error(&LossScale::new(&params, sgd()).named("b").initial(2e12)).contains("got 2000000000000")
        );
        let outside = ClipNorm::new(LossScale::new(&params, sgd()), 1.0);
        assert!(error(&outside).contains("put it inside"));
        for bad in [
            LossScale::new(&params, sgd()).growth(0.5),
            LossScale::new(&params, sgd()).backoff(0.0),
            LossScale::new(&params, sgd()).growth_interval(0),
        ] {
            assert!(error(&bad).contains("grows by 1 or more"));
        }
        assert!(
            error(&LossScale::new(&params, LossScale::new(&params, sgd())))
                .contains("cannot leave a step out")
        );
    }
}
