//! Numbers that know how far off rounding in f32 may have made them: running error analysis (Higham, "Accuracy and Stability of
//! Numerical Algorithms", 2nd edition, section 3.3), in f64. A formula that is written once for all
//! [`Number`]s has its error bound by that.

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::number::Number;
use super::{TINY, UNIT};
use crate::op::sigmoid;

/// A number, and the largest error of its f32 twin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tracked {
    pub(super) value: f64,
    pub(super) error: f64,
}

impl Tracked {
    /// A number that is read from memory. Adapters may take one below the normal ones for 0.
    pub(super) fn read(value: f64) -> Self {
        let is_denormal = value != 0.0 && value.abs() < f64::from(f32::MIN_POSITIVE);
        Tracked { value, error: if is_denormal { TINY } else { 0.0 } }
    }

    /// `value`, off by what its terms were off and by so many units of rounding.
    fn rounded(value: f64, propagated: f64, units: f64) -> Self {
        let error = match value.abs() {
            // Of zeros, or of two that are the same: exact, also in sign.
            0.0 if propagated == 0.0 => 0.0,
            // Of an intermediate value beyond f32 nothing can be said.
            size if size > f64::from(f32::MAX) => f64::INFINITY,
            size => propagated + units * UNIT * size + TINY,
        };
        Tracked { value, error }
    }
}

impl Add for Tracked {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Tracked::rounded(self.value + other.value, self.error + other.error, 1.0)
    }
}

impl Sub for Tracked {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Neg for Tracked {
    type Output = Self;
    fn neg(self) -> Self {
        Tracked { value: -self.value, error: self.error }
    }
}

impl Mul for Tracked {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let error =
            self.value.abs() * other.error + other.value.abs() * self.error + self.error * other.error;
        Tracked::rounded(self.value * other.value, error, 1.0)
    }
}

/// WGSL's quotient is good to 2.5 units in the last place, which are 5 of rounding.
impl Div for Tracked {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        let smallest = (other.value.abs() - other.error).max(0.0);
        let error = match self.value.abs() + self.error {
            0.0 => 0.0,
            most => most / smallest - self.value.abs() / other.value.abs(),
        };
        Tracked::rounded(value, error, 5.0)
    }
}

impl Number for Tracked {
    /// Constants reach a kernel rounded to f32.
    fn of(value: f64) -> Self {
        Tracked { value, error: (f64::from(value as f32) - value).abs() }
    }

    /// WGSL derives it from 1 / inverseSqrt: 4 and 5 units. The root is monotonic, so its argument's error moves it no further
    /// than the roots of both ends.
    fn sqrt(self) -> Self {
        let root = self.value.sqrt();
        let lowest = (self.value - self.error).max(0.0).sqrt();
        let highest = (self.value + self.error).sqrt();
        Tracked::rounded(root, highest - lowest, 9.0)
    }

    fn abs(self) -> Self {
        Tracked { value: self.value.abs(), ..self }
    }

    fn passes(self, other: Self) -> Self {
        self.by_sign([Tracked::of(0.0), Tracked::of(0.0), other])
    }

    /// Nowhere steeper than 1/4; the units are those of the op of that name.
    fn sigmoid(self) -> Self {
        let units = 14.0 + 4.0 * self.value.abs();
        Tracked::rounded(sigmoid(self.value), self.error / 4.0, units)
    }

    /// Nowhere steeper than 1; the units are those of the op of that name.
    fn tanh(self) -> Self {
        Tracked::rounded(self.value.tanh(), self.error, 24.0)
    }

    /// In any order: each term is rounded once, and takes part in as many additions as there are terms at most.
    fn dot(pairs: impl Iterator<Item = (Self, Self)>) -> Self {
        let (mut value, mut size, mut propagated, mut terms) = (0.0, 0.0, 0.0, 0.0);
        for (a, b) in pairs {
            value += a.value * b.value;
            size += (a.value * b.value).abs();
            propagated += a.value.abs() * b.error + b.value.abs() * a.error + a.error * b.error;
            terms += 1.0;
        }
        let error = propagated + (terms + 1.0) * UNIT * (size + propagated) + terms * TINY;
        Tracked { value, error }
    }

    fn larger(self, other: Self) -> Self {
        Tracked { value: self.value.larger(other.value), error: self.error.max(other.error) }
    }

    fn smaller(self, other: Self) -> Self {
        Tracked { value: self.value.smaller(other.value), error: self.error.max(other.error) }
    }

    fn sign(self) -> Self {
        self.by_sign([-1.0, 0.0, 1.0].map(Tracked::of))
    }

    /// Where the sign itself is in doubt, any of the values can be meant.
    fn by_sign(self, values: [Self; 3]) -> Self {
        let [below, at, above] = values;
        let chosen = match self.value {
            value if value < 0.0 => below,
            value if value > 0.0 => above,
            _ => at,
        };
        if self.value.abs() > self.error || self.error == 0.0 {
            return chosen;
        }
        let off = values.map(|v| (v.value - chosen.value).abs() + v.error);
        Tracked { error: off.into_iter().fold(0.0, f64::max), ..chosen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts<N: Number>(x: N, y: N) -> [N; 3] {
        let sum = x * x + N::of(0.1) * y;
        let difference = x * x - y * y;
        let root = (sum / ((x - y).abs() + N::of(1e-3))).sqrt().larger(y) - x / y * N::of(0.999);
        // Of a numerator, and of a divisor, that lost their digits.
        [root, difference / (x + y), y / (difference + N::of(1e-3))]
    }

    /// Formulas in f32 stay within what the same formulas say of themselves.
    #[test]
    fn errors_in_f32_are_within_what_is_tracked() {
        let mut rng = crate::Rng::new(3, "tracked");
        let (mut worst, mut least) = ([0.0f64; 3], [f64::INFINITY; 3]);
        for i in 0..10_000 {
            let y = (rng.normal() as f32).abs() + 0.01;
            // Every other time nearly the same.
            let x = if i % 2 == 0 { rng.normal() as f32 } else { y * (1.0 + 1e-4 * rng.normal() as f32) };
            let exact = parts(Tracked::read(f64::from(x)), Tracked::read(f64::from(y)));
            for (k, (found, exact)) in parts(x, y).into_iter().zip(exact).enumerate() {
                let error = (f64::from(found) - exact.value).abs();
                assert!(error <= exact.error, "{k}: {x} {y}: {error:e} of {:e}", exact.error);
                worst[k] = worst[k].max(error / exact.error);
                least[k] = least[k].min(exact.error);
            }
        }
        // And they are no idle bounds.
        assert!(worst.iter().all(|w| *w > 0.1) && least.iter().all(|l| *l < 1e-5), "{worst:?} {least:?}");
    }

    #[test]
    fn a_sign_in_doubt_may_be_any() {
        let nothing = Tracked::of(1.0) - Tracked::of(1.0);
        assert_eq!((nothing.sign().value, nothing.sign().error), (0.0, 0.0));
        let little = Tracked::of(1.0) / Tracked::of(3.0) - Tracked::read(1.0 / 3.0);
        assert_eq!((little.sign().value, little.sign().error), (0.0, 1.0));
        assert_eq!(Tracked::read(0.0).sign().error, 0.0);
        assert_eq!(Tracked::of(2.0).sign().error, 0.0);
        let infinite = Tracked::of(1.0) / (Tracked::of(1.0) - Tracked::of(1.0));
        assert_eq!((infinite.value, infinite.error), (f64::INFINITY, f64::INFINITY));
    }
}
