//! A learning rate that falls where nothing gets better.

/// The learning rate is multiplied by `factor` once a number has not got better for more than `patience` epochs: PyTorch's
/// `ReduceLROnPlateau`, whose `threshold_mode` is relative. For [`crate::train::Trainer::plateau`], or a loop of one's own:
///
/// ```
/// use wgrad::optim::Plateau;
/// let plateau = Plateau { patience: 1, ..Plateau::default() };
/// let losses = [1.0, 0.5, 0.5, 0.6, 0.4, 0.5];
/// let factors: Vec<f32> = (0..=6).map(|n| plateau.factor(&losses[..n])).collect();
/// assert_eq!(factors, [1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plateau {
    /// What the rate is multiplied by; 0.1 by default.
    pub factor: f32,
    /// Epochs without progress that are put up with; 10 by default.
    pub patience: usize,
    /// How much smaller, in shares of itself, the best number must become to count as progress; 1e-4 by default.
    pub threshold: f32,
    /// Epochs after a fall that do not count; 0 by default.
    pub cooldown: usize,
    /// The smallest factor of all together; 0 by default.
    pub least: f32,
}

impl Default for Plateau {
    fn default() -> Self {
        Plateau { factor: 0.1, patience: 10, threshold: 1e-4, cooldown: 0, least: 0.0 }
    }
}

impl Plateau {
    /// What the rate is multiplied by in the epoch after those with these numbers, of which a smaller one is better. It goes
    /// through all of them, so that a run that resumes needs nothing else.
    pub fn factor(&self, numbers: &[f64]) -> f32 {
        let (mut factor, mut best, mut bad, mut cooling) = (1.0f64, f64::INFINITY, 0, 0);
        for &number in numbers {
            // Of a negative number a larger magnitude is better.
            let wanted = best - best.abs() * f64::from(self.threshold);
            if number < wanted || (best.is_infinite() && number < best) {
                (best, bad) = (number, 0);
            } else {
                bad += 1;
            }
            if cooling > 0 {
                cooling -= 1;
                bad = 0;
            }
            if bad > self.patience {
                factor = (factor * f64::from(self.factor)).max(f64::from(self.least));
                (cooling, bad) = (self.cooldown, 0);
            }
        }
        factor as f32
    }
}

#[cfg(test)]
mod tests {
    use super::Plateau;

    /// PyTorch's `ReduceLROnPlateau` stepped with these losses.
    #[test]
    fn factors_are_pytorchs() {
        let losses = [2.0, 1.0, 1.1, 0.99995, 1.2, 0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.5];
        let of =
            |plateau: Plateau| (1..=losses.len()).map(|n| plateau.factor(&losses[..n])).collect::<Vec<_>>();
        let plateau = Plateau { factor: 0.5, patience: 2, ..Plateau::default() };
        assert_eq!(of(plateau), [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]);
        let plateau = Plateau { cooldown: 2, patience: 0, least: 0.3, ..plateau };
        assert_eq!(of(plateau), [1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3]);
    }

    #[test]
    fn negative_numbers_and_nan_are_numbers_too() {
        let plateau = Plateau { patience: 0, factor: 0.5, ..Plateau::default() };
        assert_eq!(plateau.factor(&[-1.0, -2.0, -3.0]), 1.0);
        assert_eq!(plateau.factor(&[-1.0, -1.0]), 0.5);
        assert_eq!(plateau.factor(&[f64::NAN, 1.0]), 0.5);
        assert_eq!(plateau.factor(&[]), 1.0);
    }
}
