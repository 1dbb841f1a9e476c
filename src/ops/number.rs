//! Numbers that a formula is written for once: floats, and floats that carry the error of rounding.

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::Real;

/// What a formula computes with: floats, or floats with their errors ([`Tracked`](super::tracked::Tracked)).
pub(crate) trait Number:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self> + Neg<Output = Self>
{
    /// Rounds from double precision.
    fn of(x: f64) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// The magnitude.
    fn abs(self) -> Self;
    /// The larger of both.
    fn larger(self, other: Self) -> Self;
    /// The smaller of both.
    fn smaller(self, other: Self) -> Self;
    /// -1, 0 or 1; NaN of NaN.
    fn sign(self) -> Self;
    /// The first below 0, the second at 0, the third above.
    fn by_sign(self, values: [Self; 3]) -> Self;

    /// `other` where this is above 0 or NaN, else 0.
    fn passes(self, other: Self) -> Self;
    /// 1 / (1 + e^-x).
    fn sigmoid(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// The sum of products.
    fn dot(pairs: impl Iterator<Item = (Self, Self)>) -> Self;

    fn one() -> Self {
        Self::of(1.0)
    }

    fn zero() -> Self {
        Self::of(0.0)
    }
}

impl<T: Real> Number for T {
    #[inline(always)]
    fn of(x: f64) -> Self {
        <T as Real>::of(x)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        num_traits::Float::sqrt(self)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        num_traits::Float::abs(self)
    }
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        // NaN stays.
        if other > self || other.is_nan() { other } else { self }
    }
    #[inline(always)]
    fn smaller(self, other: Self) -> Self {
        if other < self || other.is_nan() { other } else { self }
    }
    #[inline(always)]
    fn sign(self) -> Self {
        self.by_sign([-T::one(), if self.is_nan() { self } else { T::zero() }, T::one()])
    }
    #[inline(always)]
    fn by_sign(self, [below, at, above]: [Self; 3]) -> Self {
        if self < T::zero() {
            below
        } else if self > T::zero() {
            above
        } else {
            at
        }
    }
    #[inline(always)]
    fn passes(self, other: Self) -> Self {
        if self <= T::zero() { T::zero() } else { other }
    }
    #[inline(always)]
    fn sigmoid(self) -> Self {
        crate::op::sigmoid(self)
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        num_traits::Float::tanh(self)
    }
    #[inline(always)]
    fn dot(pairs: impl Iterator<Item = (Self, Self)>) -> Self {
        pairs.fold(T::zero(), |sum, (a, b)| sum + a * b)
    }
}
