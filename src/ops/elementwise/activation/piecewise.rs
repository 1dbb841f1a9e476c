//! Activations made of straight pieces. At a kink the derivative is PyTorch's.

use super::super::{Case, Formula, Real, Var, all_cases, formula, points};
use crate::ops::Fillings;

formula!(
    /// x between two bounds, the bound beyond: ReLU6, hard tanh, hard sigmoid. Derivative 0 at the bounds.
    HardTanh(low, high) = "hard_tanh", 1,
    eval: |s, x| {
        let (low, high) = (T::of(f64::from(s.0)), T::of(f64::from(s.1)));
        if x[0] < low { low } else if x[0] > high { high } else { x[0] }
    },
    grad: |s, k, x, y, dy| Some(x[0].with(dy, HardTanhGrad(s.0, s.1))),
    filling: |k| Fillings::Given(KINKS.to_vec()));

formula!(
    /// dy strictly between two bounds or where x is NaN, else 0.
    HardTanhGrad(low, high) = "hard_tanh_grad", 2,
    eval: |s, x| {
        let outside = x[0] <= T::of(f64::from(s.0)) || x[0] >= T::of(f64::from(s.1));
        if outside { T::zero() } else { x[1] }
    },
    grad: |s, k, x, y, dy| (k == 1).then(|| x[0].with(dy, *s)),
    filling: |k| Fillings::Given(KINKS.to_vec()));

formula!(
    /// x where |x| is above λ, else 0.
    HardShrink(lambda) = "hard_shrink", 1,
    eval: |s, x| if x[0].abs() <= T::of(f64::from(s.0)) { T::zero() } else { x[0] },
    grad: |s, k, x, y, dy| Some(x[0].with(dy, ShrinkGrad(s.0))),
    filling: |k| Fillings::Given(KINKS.to_vec()));

formula!(
    /// What of x is above λ or below -λ: Donoho and Johnstone, Biometrika 1994, section 2.1.
    SoftShrink(lambda) = "soft_shrink", 1,
    eval: |s, x| {
        let lambda = T::of(f64::from(s.0));
        if x[0].abs() <= lambda { T::zero() } else if x[0] > T::zero() { x[0] - lambda } else { x[0] + lambda }
    },
    grad: |s, k, x, y, dy| Some(x[0].with(dy, ShrinkGrad(s.0))),
    filling: |k| Fillings::Given(KINKS.to_vec()));

formula!(
    /// dy where |x| is above λ or NaN, else 0.
    ShrinkGrad(lambda) = "shrink_grad", 2,
    eval: |s, x| if x[0].abs() <= T::of(f64::from(s.0)) { T::zero() } else { x[1] },
    grad: |s, k, x, y, dy| (k == 1).then(|| x[0].with(dy, *s)),
    filling: |k| Fillings::Given(KINKS.to_vec()));

formula!(
    /// x above 0, a x below, a learned: He et al., ICCV 2015, section 2.1. Derivative a at 0.
    Prelu = "prelu", 2,
    eval: |_s, x| if x[0] > T::zero() { x[0] } else { x[0] * x[1] },
    grad: |_s, k, x, y, dy| {
        let zero = x[0].graph.scalar(0.0);
        let is_above = x[0].greater(zero);
        Some(match k {
            0 => is_above.select(dy, dy.cotangent_mul(x[1])),
            _ => is_above.select(zero, dy.cotangent_mul(x[0])),
        })
    },
    filling: |k| if k == 0 { Fillings::AwayFromZero(0.05) } else { Fillings::Normal });

/// On either side of ±0.5 and ±1, none near it.
const KINKS: [f64; 11] = [0.3, -2.2, 0.8, 1.7, -0.1, -0.7, 0.0, 1.2, -1.4, -0.3, 2.6];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = all_cases! {
        HardTanh(-0.5, 1.0), HardTanhGrad(-0.5, 1.0), HardShrink(0.5), SoftShrink(0.5), ShrinkGrad(0.5), Prelu,
    };
    let edges =
        [-3e38, -0.5, -0.500_001, -0.499_999, -1e-38, 0.0, 0.499_999, 0.5, 0.500_001, 1.0, 1.000_001, 3e38];
    let ones = [2.0; 12];
    cases.extend([
        points(HardTanh(-0.5, 1.0), &[&edges]),
        points(HardTanhGrad(-0.5, 1.0), &[&edges, &ones]),
        points(HardShrink(0.5), &[&edges]),
        points(SoftShrink(0.5), &[&edges]),
        points(ShrinkGrad(0.5), &[&edges, &ones]),
    ]);
    cases
}
