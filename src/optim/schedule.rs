//! How the learning rate changes from epoch to epoch.

use std::f64::consts::PI;

/// A factor of the learning rate for each epoch, for [`crate::train::Trainer::schedule`] or a loop of one's own, which may count
/// steps instead of epochs:
///
/// ```
/// use wgrad::optim::Schedule;
/// let steps = Schedule::Step { every: 10, factor: 0.5 };
/// assert_eq!([0, 9, 10, 19, 20].map(|epoch| steps.factor(epoch, 30)), [1.0, 1.0, 0.5, 0.5, 0.25]);
///
/// let schedule = Schedule::Cosine.after_warmup(4);
/// assert_eq!([0, 1, 2, 3, 4].map(|epoch| schedule.factor(epoch, 30)), [0.2, 0.4, 0.6, 0.8, 1.0]);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub enum Schedule {
    /// It stays.
    #[default]
    Constant,
    /// It is multiplied by `factor` after every `every` epochs; PyTorch's `StepLR`. With `every` = 0 it stays.
    Step {
        /// Epochs of one rate.
        every: usize,
        /// What the rate is multiplied by after them.
        factor: f32,
    },
    /// It is multiplied by `factor` at each of these epochs; PyTorch's `MultiStepLR`.
    MultiStep {
        /// The first epoch of each lower rate, counted from 0, in any order.
        at: Vec<usize>,
        /// What the rate is multiplied by there.
        factor: f32,
    },
    /// It is multiplied by `factor` after every epoch; PyTorch's `ExponentialLR`.
    Exponential {
        /// What the rate is multiplied by.
        factor: f32,
    },
    /// 1 / (1 + rate · epoch): Bottou, "Stochastic Gradient Descent Tricks", 2012, section 5.2.
    InverseTime {
        /// Half the rate is left after 1 / `rate` epochs.
        rate: f32,
    },
    /// (1 - end) (1 - epoch / epochs)^power + end; PyTorch's `PolynomialLR` has an end of 0.
    Polynomial {
        /// 1 is a line, 0.5 falls late, 2 early.
        power: f32,
        /// What is left at the end.
        end: f32,
    },
    /// Along a line from `start` to `end` in `over` epochs, then `end`; PyTorch's `LinearLR`.
    Linear {
        /// The first factor.
        start: f32,
        /// The last factor.
        end: f32,
        /// Epochs from one to the other.
        over: usize,
    },
    /// It falls along half a cosine to nearly nothing: Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5, with
    /// one period and a lowest rate of 0.
    Cosine,
    /// The same in periods, each of which begins with the full rate again: SGDR with warm restarts; PyTorch's
    /// `CosineAnnealingWarmRestarts`.
    CosineRestarts {
        /// Epochs of the first period, at least 1.
        first: usize,
        /// How many times as long as the one before it each period is, at least 1.
        times: usize,
        /// What a period falls to.
        lowest: f32,
    },
    /// It rises from `start` to 1 and falls to `end`, each along half a cosine: Smith and Topin, "Super-Convergence", 2018; PyTorch's
    /// `OneCycleLR`, where `start` is 1/25, `end` 4e-6 and `rise` 0.3.
    OneCycle {
        /// The first factor.
        start: f32,
        /// The last factor.
        end: f32,
        /// Part of all epochs in which it rises, from 0 to 1.
        rise: f32,
    },
    /// It goes up and down along lines: Smith, "Cyclical Learning Rates", WACV 2017; PyTorch's `CyclicLR`.
    Cyclic {
        /// Where each cycle begins and ends.
        lowest: f32,
        /// Epochs from there to the top.
        up: usize,
        /// Epochs back.
        down: usize,
        /// What the height above `lowest` is multiplied by after each cycle: 1 for `triangular`, 0.5 for `triangular2`.
        shrink: f32,
    },
    /// It grows along a line for some epochs, (epoch + 1) / (epochs + 1), before another schedule begins, whose first epoch is
    /// the one after them: Goyal et al., 2017, section 2.2.
    Warmup {
        /// Epochs with less than the full rate.
        epochs: usize,
        /// What comes after them, for the remaining epochs.
        then: Box<Schedule>,
    },
    /// The product of all; PyTorch's `ChainedScheduler`.
    Chained(Vec<Schedule>),
}

/// From 1 to 0 along half a cosine, as `part` goes from 0 to 1.
fn cosine(part: f64) -> f64 {
    0.5 * (1.0 + (PI * part).cos())
}

/// From `start` to `end` as `part` goes from 0 to 1.
fn between(start: f32, end: f32, part: f64) -> f64 {
    f64::from(start) + f64::from(end - start) * part
}

impl Schedule {
    /// This schedule after a warm-up of some epochs.
    pub fn after_warmup(self, epochs: usize) -> Schedule {
        if epochs == 0 { self } else { Schedule::Warmup { epochs, then: Box::new(self) } }
    }

    /// What the rate that training starts with is multiplied by in epoch `epoch`, counted from 0, of `epochs`.
    pub fn factor(&self, epoch: usize, epochs: usize) -> f32 {
        self.exact(epoch, epochs) as f32
    }

    fn exact(&self, epoch: usize, epochs: usize) -> f64 {
        let t = epoch as f64;
        let part = |of: usize| (t / of.max(1) as f64).min(1.0);
        match self {
            Schedule::Constant | Schedule::Step { every: 0, .. } => 1.0,
            Schedule::Step { every, factor } => f64::from(*factor).powf((epoch / every) as f64),
            Schedule::MultiStep { at, factor } => {
                f64::from(*factor).powf(at.iter().filter(|&&at| at <= epoch).count() as f64)
            }
            Schedule::Exponential { factor } => f64::from(*factor).powf(t),
            Schedule::InverseTime { rate } => 1.0 / (1.0 + f64::from(*rate) * t),
            Schedule::Polynomial { power, end } => {
                between(*end, 1.0, (1.0 - part(epochs)).powf(f64::from(*power)))
            }
            Schedule::Linear { start, end, over } => {
                if epoch >= *over {
                    f64::from(*end)
                } else {
                    between(*start, *end, part(*over))
                }
            }
            Schedule::Cosine => cosine(t / epochs.max(1) as f64),
            Schedule::CosineRestarts { first, times, lowest } => {
                let (mut at, mut period) = (epoch, *first.max(&1));
                if *times <= 1 {
                    at %= period;
                }
                while at >= period {
                    at -= period;
                    period = period.saturating_mul(*times);
                }
                between(*lowest, 1.0, cosine(at as f64 / period as f64))
            }
            Schedule::OneCycle { start, end, rise } => {
                // The last epoch is the end.
                let last = epochs.saturating_sub(1).max(1) as f64;
                let top = f64::from(rise.clamp(0.0, 1.0)) * last;
                if t < top {
                    between(1.0, *start, cosine(t / top))
                } else {
                    between(*end, 1.0, cosine(((t - top) / (last - top).max(f64::MIN_POSITIVE)).min(1.0)))
                }
            }
            Schedule::Cyclic { lowest, up, down, shrink } => {
                let (up, down) = (*up.max(&1), *down.max(&1));
                let period = up.saturating_add(down);
                let (cycle, at) = (epoch / period, epoch % period);
                let height =
                    if at < up { at as f64 / up as f64 } else { 1.0 - (at - up) as f64 / down as f64 };
                between(*lowest, 1.0, height * f64::from(*shrink).powf(cycle as f64))
            }
            Schedule::Warmup { epochs: warm, then } => match epoch.checked_sub(*warm) {
                Some(epoch) => then.exact(epoch, epochs.saturating_sub(*warm)),
                None => (t + 1.0) / (*warm as f64 + 1.0),
            },
            Schedule::Chained(all) => all.iter().map(|s| s.exact(epoch, epochs)).product(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    /// The first factors of as many epochs as there are.
    fn are(schedule: &Schedule, expected: &[f32]) {
        let epochs = expected.len();
        let factors: Vec<f32> = (0..epochs).map(|epoch| schedule.factor(epoch, epochs)).collect();
        let agree = factors.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(agree, "{schedule:?}: {factors:?}, not {expected:?}");
    }

    #[test]
    fn a_cosine_falls_from_one_to_nearly_nothing() {
        let root = 0.5f32.sqrt();
        are(&Schedule::Cosine, &[1.0, 0.5 * (1.0 + root), 0.5, 0.5 * (1.0 - root)]);
        assert_eq!(Schedule::Cosine.factor(0, 0), 1.0);
    }

    #[test]
    fn a_schedule_without_steps_stays() {
        for schedule in [Schedule::Constant, Schedule::Step { every: 0, factor: 0.5 }] {
            assert_eq!(schedule.factor(7, 9), 1.0);
        }
        are(&Schedule::Step { every: 2, factor: 0.5 }, &[1.0, 1.0, 0.5, 0.5, 0.25]);
    }

    /// PyTorch 2's factors, by its closed forms.
    #[test]
    fn factors_are_pytorchs() {
        are(&Schedule::MultiStep { at: vec![3, 1], factor: 0.1 }, &[1.0, 0.1, 0.1, 0.01, 0.01]);
        are(&Schedule::Exponential { factor: 0.9 }, &[1.0, 0.9, 0.81, 0.729]);
        are(&Schedule::InverseTime { rate: 0.5 }, &[1.0, 2.0 / 3.0, 0.5, 0.4]);
        are(&Schedule::Polynomial { power: 2.0, end: 0.0 }, &[1.0, 0.5625, 0.25, 0.0625]);
        are(&Schedule::Polynomial { power: 1.0, end: 0.2 }, &[1.0, 0.8, 0.6, 0.4]);
        are(&Schedule::Linear { start: 0.5, end: 1.0, over: 4 }, &[0.5, 0.625, 0.75, 0.875, 1.0, 1.0]);
        are(&Schedule::Linear { start: 0.5, end: 0.1, over: 0 }, &[0.1, 0.1]);
        let restarts = Schedule::CosineRestarts { first: 2, times: 2, lowest: 0.0 };
        let root = 0.5f32.sqrt();
        let long = [1.0, 0.5 * (1.0 + root), 0.5, 0.5 * (1.0 - root)];
        are(&restarts, &[1.0, 0.5, long[0], long[1], long[2], long[3], 1.0]);
        are(&Schedule::CosineRestarts { first: 2, times: 1, lowest: 0.2 }, &[1.0, 0.6, 1.0, 0.6, 1.0]);
        let cyclic = |shrink| Schedule::Cyclic { lowest: 0.2, up: 2, down: 1, shrink };
        are(&cyclic(1.0), &[0.2, 0.6, 1.0, 0.2, 0.6, 1.0, 0.2]);
        are(&cyclic(0.5), &[0.2, 0.6, 1.0, 0.2, 0.4, 0.6, 0.2]);
        // OneCycleLR(max_lr=1, total_steps=11, pct_start=0.3) but for its peak, which is between two steps there.
        let cycle = Schedule::OneCycle { start: 0.04, end: 4e-6, rise: 0.2 };
        let factors: Vec<f32> = (0..11).map(|epoch| cycle.factor(epoch, 11)).collect();
        assert!((factors[0] - 0.04).abs() < 1e-6 && (factors[1] - 0.52).abs() < 1e-6, "{factors:?}");
        assert!((factors[2] - 1.0).abs() < 1e-6 && (factors[6] - 0.500_002).abs() < 1e-6, "{factors:?}");
        assert!((factors[10] - 4e-6).abs() < 1e-9, "{factors:?}");
    }

    #[test]
    fn schedules_are_put_together() {
        let warm = Schedule::Step { every: 1, factor: 0.5 }.after_warmup(3);
        are(&warm, &[0.25, 0.5, 0.75, 1.0, 0.5, 0.25]);
        assert_eq!(Schedule::Cosine.after_warmup(0), Schedule::Cosine);
        // The rest is all that the other one has.
        assert_eq!(Schedule::Polynomial { power: 1.0, end: 0.0 }.after_warmup(2).factor(4, 6), 0.5);
        let both = Schedule::Chained(vec![
            Schedule::Exponential { factor: 0.5 },
            Schedule::InverseTime { rate: 1.0 },
        ]);
        are(&both, &[1.0, 0.25, 1.0 / 12.0]);
    }

    #[test]
    fn whatever_is_asked_for_there_is_a_number() {
        let all = [
            Schedule::CosineRestarts { first: 0, times: 0, lowest: 0.1 },
            Schedule::CosineRestarts { first: 1, times: usize::MAX, lowest: 0.1 },
            Schedule::OneCycle { start: 0.1, end: 0.0, rise: 1.0 },
            Schedule::OneCycle { start: 0.1, end: 0.0, rise: -3.0 },
            Schedule::Cyclic { lowest: 0.0, up: 0, down: 0, shrink: 0.5 },
            Schedule::Cyclic { lowest: 0.0, up: usize::MAX, down: 1, shrink: 0.5 },
            Schedule::Polynomial { power: 0.5, end: 0.0 },
            Schedule::Chained(Vec::new()),
        ];
        for schedule in &all {
            for (epoch, epochs) in [(0, 0), (0, 1), (1, 1), (5, 3), (1000, 1000)] {
                let factor = schedule.factor(epoch, epochs);
                assert!((0.0..=1.0).contains(&factor), "{schedule:?} in {epoch} of {epochs}: {factor}");
            }
        }
    }
}
