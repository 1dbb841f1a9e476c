//! What a text is told by without a network: how often symbols follow others.

use std::collections::HashMap;

use crate::error::{Error, Result};

/// An interpolated n-gram model with modified Kneser-Ney smoothing: Chen and Goodman, "An Empirical Study of Smoothing Techniques
/// for Language Modeling", Computer Speech and Language 13, 1999, section 3.
///
/// The probability of symbol w after the n − 1 symbols h is (c(h w) − D(c(h w))) / Σ c(h ·) + γ(h) p(w | h without its first
/// symbol), with discounts D of 1, 2, and 3 or more occurrences that are estimated from how many n-grams occur once to four times, and
/// γ the sum of what they took. Below the highest order c counts the different symbols that come before h w, not its
/// occurrences (Kneser and Ney, ICASSP 1995); below the lowest, all symbols are equally probable.
///
/// ```
/// use wgrad::data::NGram;
/// let symbols: Vec<u32> = (0..300).map(|i| [0, 1, 2, 1][i % 4]).collect();
/// let model = NGram::fit(&symbols, 3, 3)?;
/// // After 0 and 1 comes 2.
/// assert!(model.probability(3, &[0, 1], 2) > 0.9);
/// assert!(model.bits(3, &symbols, 0..300) < 0.1);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct NGram {
    classes: usize,
    /// By the length of the context.
    levels: Vec<Level>,
    /// A context one symbol longer to the left of another.
    longer: HashMap<(u32, u32), u32>,
}

/// Contexts of one length.
#[derive(Debug, Clone, Default)]
struct Level {
    /// Occurrences of a symbol after a context, as the highest order counts them, and different symbols before both, as lower
    /// orders do.
    counts: HashMap<(u32, u32), [u32; 2]>,
    /// Of each context, counted both ways.
    after: HashMap<u32, [After; 2]>,
    discounts: [Discounts; 2],
}

/// What follows a context.
#[derive(Debug, Clone, Copy, Default)]
struct After {
    /// The sum of the counts.
    all: u32,
    /// How many symbols have a count of 1, of 2, and of more.
    of: [u32; 3],
}

/// What is taken off counts of 1, of 2, and of more.
#[derive(Debug, Clone, Copy, Default)]
struct Discounts([f64; 3]);

/// Nothing may have a probability of 0, however the counts lie.
const LEAST_DISCOUNT: f64 = 0.01;

impl Discounts {
    /// From how many counts are 1, 2, 3 and 4.
    fn of(counts: impl Iterator<Item = u32>) -> Self {
        let mut n = [0.0; 4];
        counts.filter(|count| (1..=4).contains(count)).for_each(|count| n[count as usize - 1] += 1.0);
        let y = if n[0] > 0.0 { n[0] / (n[0] + 2.0 * n[1]) } else { 0.0 };
        let discount = |i: usize| {
            let most = (i + 1) as f64;
            let one = if n[i] > 0.0 { most - (most + 1.0) * y * n[i + 1] / n[i] } else { 0.0 };
            one.clamp(LEAST_DISCOUNT, most)
        };
        Discounts([0, 1, 2].map(discount))
    }

    fn taken(&self, count: u32) -> f64 {
        match count {
            0 => 0.0,
            count => self.0[(count as usize).min(3) - 1],
        }
    }
}

/// The context of no symbols.
const ROOT: u32 = 0;
/// The longest n-gram that [`NGram::choose`] tries.
const LONGEST: usize = 10;

impl NGram {
    /// Counts n-grams of up to `longest` symbols, which are below `classes`: models of all orders from 1 to that.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no symbols, an order of 0, or a symbol that is none of the classes.
    pub fn fit(symbols: &[u32], classes: usize, longest: usize) -> Result<Self> {
        if longest == 0 || symbols.is_empty() {
            return Err(Error::Invalid("an n-gram model takes a text, and an order of 1 or more".into()));
        }
        if let Some(symbol) = symbols.iter().find(|&&symbol| symbol as usize >= classes) {
            return Err(Error::Invalid(format!(
                "there is a symbol {symbol}, but there are {classes} classes"
            )));
        }
        let mut levels = vec![Level::default(); longest];
        let mut longer: HashMap<(u32, u32), u32> = HashMap::new();
        let (mut parents, mut last) = (HashMap::new(), ROOT);
        for (at, &symbol) in symbols.iter().enumerate() {
            let mut context = ROOT;
            for (length, level) in levels.iter_mut().enumerate().take(at + 1) {
                if length > 0 {
                    let parent = context;
                    context = *longer.entry((parent, symbols[at - length])).or_insert_with(|| {
                        last += 1;
                        parents.insert(last, parent);
                        last
                    });
                }
                level.counts.entry((context, symbol)).or_default()[0] += 1;
            }
        }
        for length in 1..longest {
            let [shorter, level] = &mut levels[length - 1..=length] else { continue };
            for &(context, symbol) in level.counts.keys() {
                if let Some(count) = shorter.counts.get_mut(&(parents[&context], symbol)) {
                    count[1] += 1;
                }
            }
        }
        for level in &mut levels {
            for (&(context, _), counts) in &level.counts {
                let after = level.after.entry(context).or_default();
                for (after, &count) in after.iter_mut().zip(counts).filter(|(_, count)| **count > 0) {
                    after.all += count;
                    after.of[(count as usize).min(3) - 1] += 1;
                }
            }
            level.discounts =
                [0, 1].map(|way| Discounts::of(level.counts.values().map(|counts| counts[way])));
        }
        Ok(NGram { classes, levels, longer })
    }

    /// The order, up to 10, that tells `validation` best after `training`, and the models of all orders, counted on `training`
    /// alone.
    ///
    /// # Errors
    /// As [`NGram::fit`].
    pub fn choose(training: &[u32], validation: &[u32], classes: usize) -> Result<(usize, Self)> {
        let model = NGram::fit(training, classes, LONGEST)?;
        let bits: Vec<f64> =
            (1..=LONGEST).map(|order| model.bits(order, validation, 0..validation.len())).collect();
        let best = (0..LONGEST).min_by(|&a, &b| bits[a].total_cmp(&bits[b])).unwrap_or(0);
        Ok((best + 1, model))
    }

    /// How probable `symbol` is after `context` by n-grams of up to `order` symbols, of at most as many as were counted: of the
    /// context the last `order` − 1 count.
    pub fn probability(&self, order: usize, context: &[u32], symbol: u32) -> f64 {
        let order = order.clamp(1, self.levels.len());
        let mut p = 1.0 / self.classes as f64;
        let mut node = ROOT;
        for (length, level) in self.levels[..order].iter().enumerate() {
            if length > 0 {
                let before = context.len().checked_sub(length).map(|at| context[at]);
                match before.and_then(|before| self.longer.get(&(node, before))) {
                    Some(&longer) => node = longer,
                    None => break,
                }
            }
            // The highest order counts occurrences.
            let way = usize::from(length + 1 < order);
            let Some(after) = level.after.get(&node).map(|after| after[way]).filter(|after| after.all > 0)
            else {
                break;
            };
            let discounts = &level.discounts[way];
            let count = level.counts.get(&(node, symbol)).map_or(0, |counts| counts[way]);
            let taken: f64 = discounts.0.iter().zip(after.of).map(|(d, n)| d * f64::from(n)).sum();
            p = (f64::from(count) - discounts.taken(count) + taken * p) / f64::from(after.all);
        }
        p
    }

    /// The mean of −log₂ of the probabilities of these symbols of a text, each after those before it.
    pub fn bits(&self, order: usize, text: &[u32], of: std::ops::Range<usize>) -> f64 {
        let (start, end) = (of.start, of.end.min(text.len()));
        let bits = |at: usize| {
            let context = &text[at.saturating_sub(order)..at];
            -self.probability(order, context, text[at]).log2()
        };
        (start..end).map(bits).sum::<f64>() / end.saturating_sub(start).max(1) as f64
    }
}
