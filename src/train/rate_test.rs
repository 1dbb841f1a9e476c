//! A range test of learning rates.

use std::time::Instant;

use super::Trainer;
use super::checks::{check_data, check_weights};
use super::run::Run;
use crate::data::batches;
use crate::error::{Error, Result};

/// How much of the running mean of losses is kept each step.
const SMOOTHED: f64 = 0.9;
/// The test ends where the mean is above the lowest by so many times what that is, or, if that is more, what the loss had fallen.
const DIVERGED: f64 = 3.0;

/// Whether the mean grew too much. What it had fallen counts too: losses near 0, or below, grow to many times that easily.
fn has_diverged(first: f64, lowest: f64, now: f64) -> bool {
    now - lowest > DIVERGED * lowest.abs().max(first - lowest)
}

/// What [`Trainer::find_rate`] found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RateTest {
    /// The learning rate of each step.
    pub rates: Vec<f32>,
    /// The loss of its batch, before the update.
    pub losses: Vec<f64>,
    /// Running means of the losses, corrected for their beginning as Adam's moments are.
    pub smoothed: Vec<f64>,
    /// The rate at which the running mean falls fastest over the logarithm of the rate, before it is lowest; `None` where it never
    /// falls.
    pub suggested: Option<f32>,
    /// Whether the loss grew to four times its lowest, by three times what it had fallen, or beyond all numbers, which ended the
    /// test.
    pub diverged: bool,
}

impl RateTest {
    fn of(rates: Vec<f32>, losses: Vec<f64>, smoothed: Vec<f64>, diverged: bool) -> Self {
        let lowest = (0..smoothed.len()).min_by(|&a, &b| smoothed[a].total_cmp(&smoothed[b])).unwrap_or(0);
        // By differences over a few steps, as one batch is easier than the next.
        let reach = (smoothed.len() / 20).max(1);
        let slope = |i: usize| {
            let (from, to) = (i.saturating_sub(reach), (i + reach).min(lowest));
            let apart = f64::from(rates[to]).ln() - f64::from(rates[from]).ln();
            if apart > 0.0 { (smoothed[to] - smoothed[from]) / apart } else { 0.0 }
        };
        // The first means are of few losses.
        let steepest = (reach..lowest).min_by(|&a, &b| slope(a).total_cmp(&slope(b)));
        let suggested = steepest.filter(|&i| slope(i) < 0.0).map(|i| rates[i]);
        RateTest { rates, losses, smoothed, suggested, diverged }
    }
}

impl Trainer<'_> {
    /// Trains with a rate that grows from `from` to `to`, by the same factor each step, over `steps` steps, or until the loss grows to
    /// four times its lowest: the range test of Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017,
    /// section 3.3, with the exponential growth that is usual since. The schedule has no say. Weights are left as the test
    /// made them: train others.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a range or a number of steps that makes no sense; otherwise as [`Trainer::run`].
    pub fn find_rate(self, from: f32, to: f32, steps: usize) -> Result<RateTest> {
        if !(from > 0.0 && from < to && to.is_finite()) {
            return Err(Error::Invalid(format!(
                "a range of learning rates goes from above 0 to a larger number, got {from} to {to}"
            )));
        }
        if steps < 2 {
            return Err(Error::Invalid(format!("a range test takes 2 steps or more, got {steps}")));
        }
        self.task.check()?;
        check_data(&self)?;
        let order = self.order(0);
        let of_epoch = batches(&order, self.batch, self.last)?.len();
        let mut run = Run::new(&self, of_epoch)?;
        check_weights(&self, &run.weights)?;
        let rate = |step: usize| {
            let share = step as f64 / (steps - 1) as f64;
            (f64::from(from).ln() * (1.0 - share) + f64::from(to).ln() * share).exp() as f32
        };
        let (mut rates, mut losses, mut smoothed) = (Vec::new(), Vec::new(), Vec::new());
        let (mut mean, mut kept, mut lowest) = (0.0, 1.0, f64::INFINITY);
        let began = Instant::now();
        for step in 0..steps {
            let loss = run.step_at(rate(step), began)?;
            mean = SMOOTHED * mean + (1.0 - SMOOTHED) * loss;
            kept *= SMOOTHED;
            let now = mean / (1.0 - kept);
            if !now.is_finite() {
                return Ok(RateTest::of(rates, losses, smoothed, true));
            }
            rates.push(rate(step));
            losses.push(loss);
            smoothed.push(now);
            lowest = now.min(lowest);
            if has_diverged(smoothed[0], lowest, now) {
                return Ok(RateTest::of(rates, losses, smoothed, true));
            }
        }
        Ok(RateTest::of(rates, losses, smoothed, false))
    }
}

#[cfg(test)]
mod tests {
    use super::{RateTest, has_diverged};

    #[test]
    fn a_loss_diverges_by_its_size_and_by_what_it_had_fallen() {
        for (first, lowest, now, expected) in [
            (2.0, 1.0, 3.9, false),
            (2.0, 1.0, 4.1, true),
            (2.0, 0.0, 5.9, false),
            (2.0, 0.0, 6.1, true),
            (1.0, -0.1, 3.1, false),
            (1.0, -0.1, 3.3, true),
            (1.0, 1.0, 1.0, false),
        ] {
            assert_eq!(has_diverged(first, lowest, now), expected, "{first} {lowest} {now}");
        }
    }

    #[test]
    fn the_steepest_fall_before_the_lowest_loss_is_suggested() {
        let rates: Vec<f32> = (0..60).map(|i| 10f32.powf(-6.0 + i as f32 / 10.0)).collect();
        // Flat, a fall that is steepest at 1e-3, a bottom at 1e-2, and a rise that is steeper than all.
        let loss = |rate: &f32| {
            let x = f64::from(rate.log10());
            2.0 - (1.0 / (1.0 + (-(x + 3.0) * 4.0).exp())) + if x > -1.5 { (x + 1.5) * 10.0 } else { 0.0 }
        };
        let losses: Vec<f64> = rates.iter().map(loss).collect();
        let test = RateTest::of(rates.clone(), losses.clone(), losses, true);
        let suggested = test.suggested.unwrap();
        assert!((suggested / 1e-3).log10().abs() < 0.15, "{suggested}");
        // What only rises has no suggestion.
        let rising: Vec<f64> = (0..60).map(f64::from).collect();
        assert_eq!(RateTest::of(rates, rising.clone(), rising, false).suggested, None);
    }
}
