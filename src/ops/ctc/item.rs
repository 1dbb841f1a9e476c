//! One item of a batch: its states, and the sums over the paths that lead to them and on from them.

use crate::ops::{In, Real, TINY, UNIT, larger};
use crate::shape::TensorType;

/// Extents of the inputs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extents {
    pub(super) items: usize,
    pub(super) times: usize,
    pub(super) classes: usize,
    /// Labels of a target at most.
    pub(super) most: usize,
}

impl Extents {
    /// Of inputs that begin with log-probabilities, targets and the lengths of both.
    ///
    /// # Errors
    /// Says what does not fit.
    pub(super) fn of(inputs: &[TensorType], blank: u32) -> Result<Self, String> {
        let [y, targets, lengths, counts] = [0, 1, 2, 3].map(|i| inputs[i].shape);
        let &[items, times, classes] = y.dims() else {
            return Err(format!("log-probabilities must be [batch, time, classes], got {y}"));
        };
        if y.elements() == 0 {
            return Err(format!("log-probabilities {y} have no elements"));
        }
        if blank as usize >= classes {
            return Err(format!("the blank is class {blank}, and there are {classes} classes"));
        }
        let most = match *targets.dims() {
            [rows, 0] if rows == items => {
                return Err(format!(
                    "targets {targets} have no column; where all are empty, give one column of padding"
                ));
            }
            [rows, most] if rows == items => most,
            _ => {
                return Err(format!(
                    "targets {targets} must be [{items}, labels], a row for each item of {y}, padded to one length"
                ));
            }
        };
        for (what, shape) in [("input", lengths), ("target", counts)] {
            if shape.dims() != [items] {
                return Err(format!("{what} lengths {shape} must be [{items}], one for each item of {y}"));
            }
        }
        Ok(Extents { items, times, classes, most })
    }

    /// States of a target at most.
    pub(super) fn width(self) -> usize {
        2 * self.most + 1
    }

    /// The items, in the order of the batch.
    ///
    /// # Errors
    /// Names a length or a label out of range.
    pub(super) fn items<'a, T: Real>(
        self,
        inputs: &[In<'a, T>],
        blank: u32,
    ) -> Result<Vec<Item<'a, T>>, String> {
        let Extents { items, times, classes, most } = self;
        let (y, targets) = (inputs[0].f(), inputs[1].u32());
        let item = |i: usize| {
            let length = up_to(times, inputs[2].u32()[i])
                .map_err(|n| format!("item {i} has the input length {n}, above {times}"))?;
            let count = up_to(most, inputs[3].u32()[i])
                .map_err(|n| format!("item {i} has the target length {n}, above {most}"))?;
            let labels = &targets[i * most..][..count];
            if let Some(at) = labels.iter().position(|&c| c as usize >= classes || c == blank) {
                let label = labels[at];
                let why =
                    if label == blank { "the blank".to_string() } else { format!("outside 0..{classes}") };
                return Err(format!("label {at} of item {i} is class {label}, {why}"));
            }
            let mut symbols = vec![blank as usize; 2 * count + 1];
            labels.iter().enumerate().for_each(|(k, &label)| symbols[2 * k + 1] = label as usize);
            let log_probs = &y[i * times * classes..][..length * classes];
            Ok(Item { log_probs, classes, length, symbols })
        };
        (0..items).map(item).collect()
    }
}

fn up_to(most: usize, n: u32) -> Result<usize, u32> {
    if n as usize <= most { Ok(n as usize) } else { Err(n) }
}

/// One item of a batch.
#[derive(Debug)]
pub(super) struct Item<'a, T> {
    /// `[length, classes]`.
    log_probs: &'a [T],
    classes: usize,
    /// Of the input.
    pub(super) length: usize,
    /// Of each state: the blank, a label, the blank and so on.
    pub(super) symbols: Vec<usize>,
}

impl<T: Real> Item<'_, T> {
    /// y_t(s).
    fn log_prob(&self, t: usize, s: usize) -> T {
        self.log_probs[t * self.classes + self.symbols[s]]
    }

    /// Whether a path may come to state `s` from the one before the last: between two labels that differ.
    fn skips_to(&self, s: usize) -> bool {
        s >= 2 && self.symbols[s] != self.symbols[s - 2]
    }

    /// Hands out alpha of all states, time after time.
    pub(super) fn forward<L: Log<T>>(&self, mut take: impl FnMut(usize, &[L])) {
        let none = L::of(T::neg_infinity());
        let states = self.symbols.len();
        let mut row = vec![none; states];
        for t in 0..self.length {
            let before = std::mem::replace(&mut row, vec![none; states]);
            for s in 0..states {
                row[s] = match t {
                    0 if s < 2 => L::of(self.log_prob(t, s)),
                    0 => none,
                    _ => {
                        let one = if s >= 1 { before[s - 1] } else { none };
                        let two = if self.skips_to(s) { before[s - 2] } else { none };
                        L::sum([before[s], one, two]).times(self.log_prob(t, s))
                    }
                };
            }
            take(t, &row);
        }
    }

    /// Hands out beta of all states, from the last time to the first.
    pub(super) fn backward<L: Log<T>>(&self, mut take: impl FnMut(usize, &[L])) {
        let none = L::of(T::neg_infinity());
        let states = self.symbols.len();
        let mut row: Vec<L> =
            (0..states).map(|s| if s + 2 >= states { L::of(T::zero()) } else { none }).collect();
        for t in (0..self.length).rev() {
            if t + 1 < self.length {
                let after: Vec<L> = (0..states).map(|s| row[s].times(self.log_prob(t + 1, s))).collect();
                for (s, value) in row.iter_mut().enumerate() {
                    let one = if s + 1 < states { after[s + 1] } else { none };
                    let two = if s + 2 < states && self.skips_to(s + 2) { after[s + 2] } else { none };
                    *value = L::sum([after[s], one, two]);
                }
            }
            take(t, &row);
        }
    }

    /// The log-probability of the target, from alpha at the last time; of an input without length, that of the empty target
    /// is 0.
    pub(super) fn log_likelihood<L: Log<T>>(&self, last: Option<&[L]>) -> L {
        let none = L::of(T::neg_infinity());
        match last {
            Some([.., label, blank]) => L::sum([*blank, *label, none]),
            Some([blank]) => *blank,
            _ => {
                if self.symbols.len() == 1 {
                    L::of(T::zero())
                } else {
                    none
                }
            }
        }
    }
}

/// The logarithm of a probability: a number, or one with its error.
pub(super) trait Log<T>: Copy {
    fn of(x: T) -> Self;
    /// The product with a probability whose logarithm is exact.
    fn times(self, log_prob: T) -> Self;
    /// The sum of probabilities.
    fn sum(terms: [Self; 3]) -> Self;
}

impl<T: Real> Log<T> for T {
    fn of(x: T) -> Self {
        x
    }

    fn times(self, log_prob: T) -> Self {
        self + log_prob
    }

    fn sum([a, b, c]: [Self; 3]) -> Self {
        let m = larger(larger(a, b), c);
        // Of -infinity alone the differences are NaN.
        if m == T::neg_infinity() { m } else { m + ((a - m).exp() + (b - m).exp() + (c - m).exp()).ln() }
    }
}

/// A logarithm, and how far off a kernel's may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tracked {
    pub(super) value: f64,
    pub(super) error: f64,
}

impl Tracked {
    /// Infinities are exact.
    fn with(value: f64, error: f64) -> Self {
        Tracked { value, error: if value.is_infinite() { 0.0 } else { error } }
    }
}

impl Log<f64> for Tracked {
    fn of(value: f64) -> Self {
        Tracked { value, error: 0.0 }
    }

    /// One rounding.
    fn times(self, log_prob: f64) -> Self {
        let value = self.value + log_prob;
        Tracked::with(value, self.error + value.abs() * UNIT + TINY)
    }

    /// The terms' errors d multiply each e^x by e^d at most, so that their logarithm grows by log of the mean of e^d, weighted
    /// by the terms' shares. Then the kernel's own: WGSL's e^t of a rounded t = x - m is off by 6 + 5 |t| roundoffs (see softmax),
    /// by the term's share; two additions; the logarithm of a sum between 1 and 3, by 8 + 6 log 3, and the sum with m.
    fn sum(terms: [Self; 3]) -> Self {
        let values = terms.map(|term| term.value);
        let value = <f64 as Log<f64>>::sum(values);
        let m = values.into_iter().fold(f64::NEG_INFINITY, larger);
        let there = || terms.iter().filter(|term| term.value > f64::NEG_INFINITY);
        let carried = there().map(|term| (term.value - value + term.error).exp()).sum::<f64>().ln();
        let units: f64 =
            there().map(|term| (term.value - value).exp() * (6.0 + 5.0 * (m - term.value))).sum();
        Tracked::with(value, carried.max(0.0) + (units + 17.0 + value.abs()) * UNIT + 4.0 * TINY)
    }
}
