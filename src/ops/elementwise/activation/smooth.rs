//! Activations with a derivative everywhere, or nearly so, each in a form that keeps its digits in its tails.

use super::super::{Case, Formula, Real, TINY, UNIT, Var, all_cases, formula, points};
use crate::ops::Fillings;

/// 1 / √(2π).
const DENSITY: f64 = 0.398_942_280_401_432_7;

/// Φ(x), the distribution of a standard normal variable, by the complementary error function, so that it keeps its digits
/// where it is small.
fn normal_distribution<T: Real>(x: T) -> T {
    T::of(0.5 * libm::erfc(-x.wide() * std::f64::consts::FRAC_1_SQRT_2))
}

/// φ(x), its density.
fn normal_density<T: Real>(x: T) -> T {
    T::of(DENSITY) * (T::of(-0.5) * x * x).exp()
}

/// What Φ and φ lose, in units of f32: their exponent -x² / 2 is rounded.
fn normal_units(x: f64) -> f64 {
    40.0 + 4.0 * x * x
}

/// Beyond, Φ and φ are 0 or 1 in either precision; infinities would give NaN.
fn cut<T: Real>(x: T) -> T {
    num_traits::clamp(x, T::of(-40.0), T::of(40.0))
}

formula!(
    /// ln(1 + e^(βx)) / β; x where βx is above the threshold. Dugas et al., NIPS 2000.
    Softplus(beta, threshold) = "softplus", 1,
    eval: |s, x| {
        let beta = T::of(f64::from(s.0));
        let z = x[0] * beta;
        if z > T::of(f64::from(s.1)) {
            x[0]
        } else {
            // Exponentiates no positive number, and takes from z only that of which x is a part.
            let above = if z > T::zero() { x[0] } else { T::zero() };
            if z.is_nan() { z } else { above + (-z.abs()).exp().ln_1p() / beta }
        }
    },
    grad: |s, k, x, y, dy| Some(x[0].with(dy, SoftplusGrad(s.0, s.1))),
    bound: |s, x, y| (24.0 + 4.0 * (x[0] * f64::from(s.0)).abs()) * UNIT * y.abs());

formula!(
    /// Derivative of softplus: dy / (1 + e^(-βx)); dy above the threshold.
    SoftplusGrad(beta, threshold) = "softplus_grad", 2,
    eval: |s, x| {
        let z = x[0] * T::of(f64::from(s.0));
        let t = (-z.abs()).exp();
        let sigmoid = if z >= T::zero() { T::one() } else { t } / (T::one() + t);
        if x[1] == T::zero() || z > T::of(f64::from(s.1)) { x[1] } else { x[1] * sigmoid }
    },
    grad: |s, k, x, y, dy| Some(match k {
        0 => {
            let z = x[0] * s.0;
            let inside = x[0].graph.scalar(s.1).greater_equal(z);
            let bend = (z.sigmoid() * (-z).sigmoid()) * s.0;
            dy.cotangent_mul(x[1]).cotangent_mul(bend * inside)
        }
        _ => x[0].with(dy, *s),
    }),
    bound: |s, x, y| (14.0 + 4.0 * (x[0] * f64::from(s.0)).abs()) * UNIT * y.abs());

formula!(
    /// ln σ(x) = min(x, 0) - ln(1 + e^-|x|).
    LogSigmoid = "log_sigmoid", 1,
    eval: |_s, x| {
        let below = if x[0] < T::zero() { x[0] } else { T::zero() };
        if x[0].is_nan() { x[0] } else { below - (-x[0].abs()).exp().ln_1p() }
    },
    grad: |_s, k, x, y, dy| Some(dy.cotangent_mul((-x[0]).sigmoid())),
    bound: |_s, x, y| (24.0 + 4.0 * x[0].abs()) * UNIT * y.abs());

/// What ELU's exponent is, cut where e^u and e^(u/2) are 0 or infinite.
fn elu_exponent<T: Real>(x: T, rate: f32) -> T {
    let below = if x > T::zero() { T::zero() } else { x };
    num_traits::clamp(below * T::of(f64::from(rate)), T::of(-2000.0), T::of(2000.0))
}

formula!(
    /// `above` x above 0, `below` (e^(`rate` x) - 1) below, of which ELU, SELU and CELU are cases: Clevert, Unterthiner and
    /// Hochreiter, ICLR 2016. Derivative `below` · `rate` at 0.
    Elu(below, above, rate) = "elu", 1,
    eval: |s, x| {
        let (below, u) = (T::of(f64::from(s.0)), elu_exponent(x[0], s.2));
        if x[0] > T::zero() {
            x[0] * T::of(f64::from(s.1))
        } else if u > T::one() {
            // In halves, as e^u may be infinite where `below` times it is not.
            let h = (u * T::of(0.5)).exp();
            below * h * h - below
        } else {
            u.exp_m1() * below
        }
    },
    grad: |s, k, x, y, dy| Some(x[0].with(dy, EluGrad(s.0, s.1, s.2))),
    bound: |s, x, y| {
        let u = elu_exponent(x[0], s.2);
        let rounded = (24.0 + 6.0 * u.abs().min(if u < 0.0 { 20.0 } else { 200.0 })) * UNIT * y.abs();
        // e^u - 1 may be flushed.
        rounded + f64::from(s.0).abs() * TINY
    },
    filling: |k| Fillings::AwayFromZero(0.05));

formula!(
    /// Derivative of [`Elu`]: `above` dy above 0, `below` · `rate` e^(`rate` x) dy below.
    EluGrad(below, above, rate) = "elu_grad", 2,
    eval: |s, x| {
        let slope = T::of(f64::from(s.0 * s.2));
        if x[1] == T::zero() {
            x[1]
        } else if x[0] > T::zero() {
            x[1] * T::of(f64::from(s.1))
        } else {
            let h = (elu_exponent(x[0], s.2) * T::of(0.5)).exp();
            x[1] * h * (h * slope)
        }
    },
    grad: |s, k, x, y, dy| Some(match k {
        // Below 0 its derivative is `rate` times it.
        0 => {
            let bend = dy.cotangent_mul(y) * s.2;
            x[0].greater(x[0].graph.scalar(0.0)).select(x[0].graph.scalar(0.0), bend)
        }
        _ => x[0].with(dy, *s),
    }),
    bound: |s, x, y| (14.0 + 6.0 * elu_exponent(x[0], s.2).abs()) * UNIT * y.abs(),
    filling: |k| Fillings::AwayFromZero(0.05));

formula!(
    /// x Φ(x): Hendrycks and Gimpel, 2016, with the error function.
    Gelu = "gelu", 1,
    eval: |_s, x| if x[0] < T::of(-40.0) { T::zero() } else { x[0] * normal_distribution(x[0]) },
    grad: |_s, k, x, y, dy| Some(x[0].with(dy, GeluGrad)),
    // Φ may be flushed before x multiplies it.
    bound: |_s, x, y| normal_units(x[0]) * UNIT * y.abs() + x[0].abs().min(40.0) * TINY);

formula!(
/// Derivative of GELU: dy (Φ(x) + x φ(x)).
GeluGrad = "gelu_grad", 2,
eval: |_s, x| {
    let z = cut(x[0]);
    if x[1] == T::zero() { x[1] } else { x[1] * (normal_distribution(z) + z * normal_density(z)) }
},
grad: |_s, k, x, y, dy| Some(match k {
    0 => {
        let square = x[0].clamp(-40.0, 40.0).square();
        let bend = (square * -0.5).exp() * (DENSITY as f32) * (square * -1.0 + 2.0);
        dy.cotangent_mul(x[1]).cotangent_mul(bend)
    }
    _ => x[0].with(dy, GeluGrad),
}),
bound: |_s, x, y| {
    let z = cut(x[0]);
    let parts = normal_distribution(z) + (z * normal_density(z)).abs();
    normal_units(z) * UNIT * (x[1] * parts).abs()
});

formula!(
    /// x / (1 + |x|): Bergstra et al., 2009; Glorot and Bengio, AISTATS 2010.
    Softsign = "softsign", 1,
    eval: |_s, x| {
        // The limit at infinity.
        let size = x[0].abs().min(T::of(1e30));
        let part = size / (T::one() + size);
        if x[0].is_nan() { x[0] } else if x[0] < T::zero() { -part } else { part }
    },
    grad: |_s, k, x, y, dy| {
        // Twice, as the square of what is left of a large x is 0.
        let root = (x[0].abs() + 1.0).recip();
        Some(dy.cotangent_mul(root).cotangent_mul(root))
    },
    bound: |_s, x, y| 6.0 * UNIT * y.abs());

formula!(
    /// The error function 2/√π ∫₀ˣ e^(-t²) dt.
    Erf = "erf", 1,
    eval: |_s, x| T::of(libm::erf(x[0].wide())),
    grad: |_s, k, x, y, dy| {
        // Cut where it is 0, so that no square is infinite.
        let square = x[0].clamp(-20.0, 20.0).square();
        Some(dy.cotangent_mul((square * -1.0).exp() * std::f32::consts::FRAC_2_SQRT_PI))
    },
    // The series is good to 3 units; beyond 0.5, erfc is good to 1.2e-7 of at most 0.48, and 1 minus it is 0.52 or more.
    bound: |_s, x, y| 12.0 * UNIT * y.abs());

/// Of x - tanh x = x³ (1/3 - z (…)), with z = x², what is in the brackets.
fn tanh_series(z: f64) -> f64 {
    let terms = [
        2.0 / 15.0,
        17.0 / 315.0,
        62.0 / 2835.0,
        1382.0 / 155_925.0,
        21844.0 / 6_081_075.0,
        929_569.0 / 638_512_875.0,
        6_404_582.0 / 10_854_718_875.0,
        443_861_162.0 / 1_856_156_927_625.0,
    ];
    terms.iter().rev().fold(0.0, |rest, term| term - z * rest)
}

formula!(
    /// x - tanh x, by its series near 0.
    TanhShrink = "tanh_shrink", 1,
    eval: |_s, x| {
        // In f64 whatever T is, as the difference loses what the series is for.
        let x = x[0].wide();
        let z = x * x;
        T::of(if z > 0.09 { x - x.tanh() } else { x * z * (1.0 / 3.0 - z * tanh_series(z)) })
    },
    grad: |_s, k, x, y, dy| Some(dy.cotangent_mul(x[0].tanh().square())),
    // From 0.625 on, what tanh loses.
    bound: |_s, x, y| (8.0 * y.abs() + if x[0].abs() < 0.624 { 0.0 } else { 24.0 }) * UNIT);

pub(super) fn cases() -> Vec<Case> {
    let mut cases = all_cases! {
        Softplus(1.0, 20.0), SoftplusGrad(2.0, 20.0), LogSigmoid, Elu(1.0, 1.0, 1.0), EluGrad(0.5, 1.0, 2.0),
        Gelu, GeluGrad, Softsign, Erf, TanhShrink,
    };
    let extremes = [
        -3e38, -1e4, -100.0, -88.0, -20.0, -13.0, -5.0, -0.75, -0.51, -0.49, -1e-3, -1e-8, -1.2e-38, 0.0,
        1.2e-38, 1e-8, 0.624, 0.626, 5.0, 9.0, 19.0, 21.0, 89.0, 1e4, 3e38,
    ];
    let ones = [1.0; 25];
    cases.extend([
        points(Softplus(1.0, 20.0), &[&extremes]),
        points(Softplus(0.5, 1.0), &[&extremes]),
        points(SoftplusGrad(1.0, 20.0), &[&extremes, &ones]),
        points(LogSigmoid, &[&extremes]),
        points(Elu(1.5, 1.0, 1.0), &[&extremes]),
        points(Elu(0.5, 2.0, 2.0), &[&extremes]),
        points(Elu(-1e-3, 1.0, -1e3), &[&[-0.09, -1e-5, 0.0, 3e38]]),
        points(EluGrad(1.5, 2.0, 0.5), &[&extremes, &ones]),
        points(EluGrad(1.0, 1.0, 1.0), &[&[-140.0, -1.0, 3e38], &[3e38, 3e38, -3e38]]),
        points(Gelu, &[&extremes]),
        points(GeluGrad, &[&extremes, &ones]),
        points(Softsign, &[&extremes]),
        points(Erf, &[&extremes]),
        points(TanhShrink, &[&extremes]),
    ]);
    cases
}
