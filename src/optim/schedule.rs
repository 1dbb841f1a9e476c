//! How the learning rate changes from epoch to epoch.

/// A factor of the learning rate for each epoch, for [`crate::train::Trainer::schedule`] or a loop of one's own:
///
/// ```
/// use wgrad::optim::Schedule;
/// let steps = Schedule::Step { every: 10, factor: 0.5 };
/// assert_eq!([0, 9, 10, 19, 20].map(|epoch| steps.factor(epoch, 30)), [1.0, 1.0, 0.5, 0.5, 0.25]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Schedule {
    /// It stays.
    #[default]
    Constant,
    /// It falls along half a cosine to nearly nothing: Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5, with
    /// one period and a lowest rate of 0.
    Cosine,
    /// It is multiplied by `factor` after every `every` epochs; PyTorch's `StepLR`. With `every` = 0 it stays.
    Step {
        /// Epochs of one rate.
        every: usize,
        /// What the rate is multiplied by after them.
        factor: f32,
    },
}

impl Schedule {
    /// What the rate that training starts with is multiplied by in epoch `epoch`, counted from 0, of `epochs`.
    pub fn factor(self, epoch: usize, epochs: usize) -> f32 {
        match self {
            Schedule::Cosine => {
                let part = epoch as f64 / epochs.max(1) as f64;
                (0.5 * (1.0 + (std::f64::consts::PI * part).cos())) as f32
            }
            Schedule::Step { every, factor } if every > 0 => {
                f64::from(factor).powf((epoch / every) as f64) as f32
            }
            Schedule::Constant | Schedule::Step { .. } => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    #[test]
    fn a_cosine_falls_from_one_to_nearly_nothing() {
        let rates: Vec<f32> = (0..4).map(|epoch| Schedule::Cosine.factor(epoch, 4)).collect();
        let root = 0.5f32.sqrt();
        let expected = [1.0, 0.5 * (1.0 + root), 0.5, 0.5 * (1.0 - root)];
        assert!(rates.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{rates:?}");
        assert_eq!(Schedule::Cosine.factor(0, 0), 1.0);
    }

    #[test]
    fn a_schedule_without_steps_stays() {
        for schedule in [Schedule::Constant, Schedule::Step { every: 0, factor: 0.5 }] {
            assert_eq!(schedule.factor(7, 9), 1.0);
        }
        assert_eq!(Schedule::Step { every: 2, factor: 0.5 }.factor(5, 9), 0.25);
    }
}
