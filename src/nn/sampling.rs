//! Choosing a class by its logits, on the host.

use crate::error::{Error, Result};
use crate::rng::Rng;

/// Draws classes, such as the next word of a text, from the softmax of logits, by a seed: equal seeds draw the same from the same
/// logits. What is drawn from can be narrowed:
///
/// - [`temperature`](Sampler::temperature) t: softmax(logits / t); 0 takes the largest (of equal ones the first);
/// - [`top_k`](Sampler::top_k): of the k largest logits alone (Fan, Lewis and Dauphin, "Hierarchical Neural Story Generation", ACL 2018,
///   section 5.4);
/// - [`top_p`](Sampler::top_p): of the fewest classes whose probabilities add up to p or more, the likeliest first (nucleus sampling:
///   Holtzman, Buys, Du, Forbes and Choi, "The Curious Case of Neural Text Degeneration", ICLR 2020, section 3.1).
///
/// With both, those of the k largest are taken whose probabilities among all k reach p, as in Hugging Face's Transformers.
///
/// ```
/// use wgrad::nn::Sampler;
/// let logits = [0.0, 3.0, -1.0, 2.5];
/// assert_eq!(Sampler::greedy().sample(&logits)?, 1);
/// let mut sampler = Sampler::new(7).temperature(0.8)?.top_k(2)?.top_p(0.9)?;
/// assert!((0..100).all(|_| [1, 3].contains(&sampler.sample(&logits).unwrap())));
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Sampler {
    temperature: f64,
    top_k: Option<usize>,
    top_p: f64,
    rng: Rng,
}

fn invalid(message: String) -> Error {
    Error::Invalid(message)
}

impl Sampler {
    /// Draws from the softmax of all logits.
    pub fn new(seed: u64) -> Self {
        Sampler { temperature: 1.0, top_k: None, top_p: 1.0, rng: Rng::new(seed, "sampling") }
    }

    /// Takes the largest logit.
    pub fn greedy() -> Self {
        Sampler { temperature: 0.0, ..Sampler::new(0) }
    }

    /// Divides logits by a temperature: below 1 likely classes become likelier, above 1 less so.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one below 0, or that is no finite number.
    pub fn temperature(self, temperature: f64) -> Result<Self> {
        match temperature.is_finite() && temperature >= 0.0 {
            true => Ok(Sampler { temperature, ..self }),
            false => Err(invalid(format!("a temperature must be a number from 0 on, got {temperature}"))),
        }
    }

    /// Draws from the k largest logits alone; of equal ones the first.
    ///
    /// # Errors
    /// [`Error::Invalid`] for 0.
    pub fn top_k(self, k: usize) -> Result<Self> {
        match k {
            0 => Err(invalid("top-k needs a class to choose from, got k = 0".into())),
            _ => Ok(Sampler { top_k: Some(k), ..self }),
        }
    }

    /// Draws from the fewest classes whose probabilities add up to p.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a p outside (0, 1].
    pub fn top_p(self, p: f64) -> Result<Self> {
        match p > 0.0 && p <= 1.0 {
            true => Ok(Sampler { top_p: p, ..self }),
            false => Err(invalid(format!("top-p needs a probability above 0 and up to 1, got {p}"))),
        }
    }

    /// A class by these logits, of which -∞ is never drawn.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is none, one is NaN or ∞, or all are -∞.
    pub fn sample(&mut self, logits: &[f32]) -> Result<usize> {
        if let Some(at) = logits.iter().position(|x| x.is_nan() || *x == f32::INFINITY) {
            return Err(invalid(format!(
                "the logit of class {at} is {}, from which nothing can be drawn",
                logits[at]
            )));
        }
        let mut order: Vec<usize> = (0..logits.len()).filter(|&i| logits[i] > f32::NEG_INFINITY).collect();
        // Stable: of equal ones the first comes first.
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        let Some(&first) = order.first() else {
            return Err(invalid(format!("there is no class to draw among {} logits", logits.len())));
        };
        if self.temperature == 0.0 {
            return Ok(first);
        }
        order.truncate(self.top_k.unwrap_or(usize::MAX));
        let largest = f64::from(logits[first]);
        let weight = |&i: &usize| ((f64::from(logits[i]) - largest) / self.temperature).exp();
        let mut weights: Vec<f64> = order.iter().map(weight).collect();
        let enough = self.top_p * weights.iter().sum::<f64>();
        let mut sum = 0.0;
        let reaches = |weight: &f64| {
            sum += weight;
            sum >= enough
        };
        if let Some(last) = weights.iter().position(reaches).filter(|_| self.top_p < 1.0) {
            weights.truncate(last + 1);
        }
        // Up to, and not, the sum: uniform numbers are below 1.
        let mut rest = self.rng.uniform() * weights.iter().sum::<f64>();
        let drawn = weights.iter().position(|weight| {
            rest -= weight;
            rest < 0.0
        });
        // Rounding may leave a rest behind the last.
        Ok(order[drawn.unwrap_or(weights.len() - 1)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 6] = [0.3, 2.0, -1.0, f32::NEG_INFINITY, 1.1, 0.3];
    const DRAWS: usize = 40_000;

    /// How often each class is drawn, over what is expected of these classes by softmax at a temperature.
    fn agrees(mut sampler: Sampler, temperature: f64, classes: &[usize]) {
        let mut counts = [0.0; LOGITS.len()];
        for _ in 0..DRAWS {
            counts[sampler.sample(&LOGITS).unwrap()] += 1.0;
        }
        let weight = |i: usize| (f64::from(LOGITS[i]) / temperature).exp();
        let sum: f64 = classes.iter().map(|&i| weight(i)).sum();
        for (i, &count) in counts.iter().enumerate() {
            let p = if classes.contains(&i) { weight(i) / sum } else { 0.0 };
            let n = DRAWS as f64;
            let sigma = (n * p * (1.0 - p)).sqrt();
            assert!((count - n * p).abs() <= 4.0 * sigma, "class {i}: {count} of {n} at {p}");
        }
    }

    #[test]
    fn classes_are_as_frequent_as_they_should_be() {
        let all = [0, 1, 2, 4, 5];
        agrees(Sampler::new(1), 1.0, &all);
        agrees(Sampler::new(2).temperature(0.5).unwrap(), 0.5, &all);
        agrees(Sampler::new(3).temperature(3.0).unwrap(), 3.0, &all);
        agrees(Sampler::new(4).top_k(2).unwrap(), 1.0, &[1, 4]);
        agrees(Sampler::new(5).top_k(3).unwrap(), 1.0, &[1, 4, 0]);
        agrees(Sampler::new(6).top_k(100).unwrap(), 1.0, &all);
        // Probabilities are 0.547, 0.222, 0.100, 0.100, 0.027.
        agrees(Sampler::new(7).top_p(0.5).unwrap(), 1.0, &[1]);
        agrees(Sampler::new(8).top_p(0.6).unwrap(), 1.0, &[1, 4]);
        agrees(Sampler::new(9).top_p(0.8).unwrap(), 1.0, &[1, 4, 0]);
        agrees(Sampler::new(10).top_p(1.0).unwrap(), 1.0, &all);
        // Among two, the first has 0.711.
        agrees(Sampler::new(11).top_k(2).unwrap().top_p(0.7).unwrap(), 1.0, &[1]);
        agrees(Sampler::greedy(), 1.0, &[1]);
        agrees(Sampler::new(12).temperature(0.0).unwrap(), 1.0, &[1]);
    }

    #[test]
    fn seeds_draw_again_what_they_drew() {
        let drawn = |seed| {
            let mut sampler = Sampler::new(seed);
            (0..50).map(|_| sampler.sample(&LOGITS).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let message = |result: Result<Sampler>| result.unwrap_err().to_string();
        let sampler = || Sampler::new(1);
        for t in [-0.1, f64::NAN, f64::INFINITY] {
            assert!(message(sampler().temperature(t)).contains("a number from 0 on"), "{t}");
        }
        for p in [0.0, -0.5, 1.5, f64::NAN] {
            assert!(message(sampler().top_p(p)).contains("above 0 and up to 1"), "{p}");
        }
        assert!(message(sampler().top_k(0)).contains("k = 0"));
        for logits in [&[][..], &[f32::NEG_INFINITY], &[1.0, f32::NAN], &[f32::INFINITY]] {
            assert!(sampler().sample(logits).is_err(), "{logits:?}");
        }
    }
}
