//! Activations made of straight pieces. At a kink the derivative is PyTorch's.

use super::super::{Case, Formula, Real, UNIT, Var, all_cases, formula, points};
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

formula!(
    /// 1 from 0 on, else 0: the step of McCulloch and Pitts, 1943. Its derivative is 0.
    BinaryStep = "binary_step", 1,
    eval: |_s, x| match x[0] {
        x if x.is_nan() => x,
        x if x >= T::zero() => T::one(),
        _ => T::zero(),
    },
    grad: |_s, k, x, y, dy| None,
    filling: |k| Fillings::Given(KINKS.to_vec()), smooth: false);

formula!(
    /// x (x + 3) / 6 between -3 and 3, 0 below, x above: Howard et al., ICCV 2019, section 5.2.
    HardSwish = "hard_swish", 1,
    eval: |_s, x| {
        let cut = num_traits::clamp(x[0], T::of(-3.0), T::of(3.0));
        if x[0] <= T::of(-3.0) { T::zero() } else { x[0] * ((cut + T::of(3.0)) * T::of(1.0 / 6.0)) }
    },
    grad: |_s, k, x, y, dy| Some(x[0].with(dy, HardSwishGrad)),
    bound: |_s, x, y| 6.0 * UNIT * y.abs(),
    filling: |k| Fillings::Given(TURNS.to_vec()));

formula!(
    /// Derivative of hard swish: dy (x / 3 + 1 / 2) between -3 and 3, 0 from -3 down, dy from 3 on.
    HardSwishGrad = "hard_swish_grad", 2,
    eval: |_s, x| match x[0] {
        _ if x[1] == T::zero() => x[1],
        x if x <= T::of(-3.0) => T::zero(),
        z if z >= T::of(3.0) => x[1],
        z => x[1] * (z * T::of(1.0 / 3.0) + T::of(0.5)),
    },
    grad: |_s, k, x, y, dy| Some(match k {
        0 => x[0].with(dy.cotangent_mul(x[1]) * (1.0 / 3.0), HardTanhGrad(-3.0, 3.0)),
        _ => x[0].with(dy, HardSwishGrad),
    }),
    bound: |_s, x, y| 4.0 * UNIT * x[1].abs() * (1.0 + x[0].abs().min(3.0)),
    filling: |k| if k == 0 { Fillings::Given(TURNS.to_vec()) } else { Fillings::Normal });

/// On either side of ±3, none near it.
const TURNS: [f64; 8] = [-3.3, -2.6, -1.5, -0.2, 0.0, 0.9, 2.7, 3.4];

/// On either side of ±0.5 and ±1, none near it.
const KINKS: [f64; 11] = [0.3, -2.2, 0.8, 1.7, -0.1, -0.7, 0.0, 1.2, -1.4, -0.3, 2.6];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = all_cases! {
        HardTanh(-0.5, 1.0), HardTanhGrad(-0.5, 1.0), HardShrink(0.5), SoftShrink(0.5), ShrinkGrad(0.5), Prelu,
        BinaryStep, HardSwish, HardSwishGrad,
    };
    let edges =
        [-3e38, -0.5, -0.500_001, -0.499_999, -1.2e-38, 0.0, 0.499_999, 0.5, 0.500_001, 1.0, 1.000_001, 3e38];
    let ones = [2.0; 12];
    let far = [-3e38, -3.0, -2.999_999, -1.5, 2.999_999, 3.0, 3.000_001, 3e38];
    cases.extend([
        points(HardTanh(-0.5, 1.0), &[&edges]),
        points(HardTanhGrad(-0.5, 1.0), &[&edges, &ones]),
        points(HardShrink(0.5), &[&edges]),
        points(SoftShrink(0.5), &[&edges]),
        points(ShrinkGrad(0.5), &[&edges, &ones]),
        points(BinaryStep, &[&edges]),
        points(HardSwish, &[&far]),
        points(HardSwishGrad, &[&far, &[3e38; 8]]),
    ]);
    cases
}
