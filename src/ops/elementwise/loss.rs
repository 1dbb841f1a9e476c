//! What losses are made of where plain arithmetic would lose digits, overflow, or have no gradient at a point. Kernels:
//! `shaders/losses.wgsl`.

use super::{Case, Elementwise, Fillings, Formula, Real, UNIT, Var, all_cases, formula, methods, points};

formula!(
    /// log(1 + x), exact near 0.
    Log1p = "log1p", 1,
    eval: |_s, x| x[0].ln_1p(),
    grad: |_s, k, x, y, dy| Some(dy.cotangent_div(x[0] + 1.0)),
    // The series is good to 1 unit, its terms add a few. Beyond it 1 + x is rounded before log, which is good to
    // 2^-21 near 1.
    bound: |_s, x, y| match x[0] {
        x if x > -0.2928 && x < 0.9999 => 8.0 * UNIT * y.abs(),
        _ => 10.0 * UNIT + 6.0 * UNIT * y.abs(),
    },
    filling: |k| Fillings::Uniform(-0.7, 4.0),
    keeps_f32: true);

formula!(
    /// log cosh x: x² / 2 near 0, |x| - log 2 far from it. Its derivative is tanh x.
    LogCosh = "log_cosh", 1,
    eval: |_s, x| {
        let a = x[0].abs();
        // Half of log(1 + sinh² a) where the difference of |x| and log 2 would lose the digits.
        if a < T::of(0.5) {
            let s = a.sinh();
            (s * s).ln_1p() * T::of(0.5)
        } else {
            a + ((T::of(-2.0) * a).exp().ln_1p() - T::of(std::f64::consts::LN_2))
        }
    },
    grad: |_s, k, x, y, dy| Some(dy.cotangent_mul(x[0].tanh())),
    // The series is cut where it is good to 3 units. Beyond, log is good to 2^-21 near 1, and exp of -2|x| to
    // 3 + 4|x| units of what is at most 0.37.
    bound: |_s, x, y| match x[0].abs() {
        a if a < 0.5 => 14.0 * UNIT * y.abs(),
        _ => 16.0 * UNIT + 4.0 * UNIT * x[0].abs(),
    },
    keeps_f32: true);

formula!(
    /// max(log p, -100), as PyTorch's binary cross-entropy limits its logarithms. Its derivative is 1 / max(p, 1e-12), so
    /// that a probability of 0 is driven away from there by a finite number.
    ClampedLog = "clamped_log", 1,
    eval: |_s, x| match x[0].ln() {
        y if y < T::of(-100.0) => T::of(-100.0),
        y => y,
    },
    grad: |_s, k, x, y, dy| Some(dy.cotangent_div(x[0].clamp(1e-12, f32::INFINITY))),
    bound: |_s, x, y| 8.0 * UNIT + 6.0 * UNIT * y.abs(),
    filling: |k| Fillings::Uniform(0.05, 1.0),
    keeps_f32: true);

/// Whether Barron's loss is defined: for finite numbers, and α below 2; else it is NaN.
fn is_robust<T: Real>(r: T, alpha: T) -> bool {
    r.is_finite() && alpha.is_finite() && alpha < T::of(2.0)
}

/// b = 2 - α, L = log(1 + r²/b), u = α L / 2 and s / (1 + s) with s = r²/b, where no square overflows.
struct Parts<T> {
    b: T,
    l: T,
    u: T,
    s: T,
    share: T,
    is_far: bool,
}

fn parts<T: Real>(r: T, alpha: T) -> Parts<T> {
    let half = T::of(0.5);
    let b = T::of(2.0) - alpha;
    let root = b.sqrt();
    let is_far = r.abs() > T::of(1e9) * root;
    let s = { r / root } * { r / root };
    let l = if is_far { T::of(2.0) * r.abs().ln() - b.ln() } else { s.ln_1p() };
    let share = if is_far { T::one() } else { s / (T::one() + s) };
    Parts { b, l, u: half * alpha * l, s, share, is_far }
}

/// (e^u - 1) / u.
fn exp_ratio<T: Real>(u: T) -> T {
    if u == T::zero() { T::one() } else { u.exp_m1() / u }
}

/// (e^u (u - 1) + 1) / u², the derivative of [`exp_ratio`].
fn exp_ratio_slope<T: Real>(u: T) -> T {
    if u.abs() >= T::of(0.5) {
        return (u.exp() * (u - T::one()) + T::one()) / (u * u);
    }
    // The sum of (n + 1) / (n + 2)! uⁿ.
    let (mut sum, mut term) = (T::zero(), T::of(0.5));
    for n in 0..18u32 {
        sum = sum + term * T::of(f64::from(n + 1));
        term = term * u / T::of(f64::from(n + 3));
    }
    sum
}

/// Units of the error that e^u carries, u found from a logarithm that is good to 50 of them.
fn units(u: f64) -> f64 {
    60.0 + 120.0 * u.abs()
}

formula!(
    /// Barron's general robust loss of r = x / c: "A General and Adaptive Robust Loss Function", CVPR 2019, equation 1,
    /// for α < 2: b/α ((1 + r²/b)^(α/2) - 1) with b = 2 - α, and at α = 0 its limit log(1 + r²/2). As
    /// b L/2 (e^u - 1)/u with L = log(1 + r²/b), u = α L/2 it has no singular point there.
    Robust = "robust", 2,
    eval: |_s, x| {
        let p = parts(x[0], x[1]);
        if !is_robust(x[0], x[1]) {
            T::nan()
        } else if p.u > T::of(40.0) {
            (p.u + (p.b / x[1]).ln()).exp()
        } else {
            // s might underflow, and r² does not.
            let square = x[0] * x[0] * (T::one() - T::of(0.5) * p.s);
            let twice = if p.s < T::of(1e-7) { square } else { p.b * p.l };
            T::of(0.5) * twice * exp_ratio(p.u)
        }
    },
    grad: |_s, k, x, y, dy| Some(dy.cotangent_mul(match k {
        0 => x[0].with(x[1], RobustSlope),
        _ => x[0].with(x[1], RobustShape),
    })),
    bound: |_s, x, y| {
        let p = parts(x[0], x[1]);
        let more = if p.u > 40.0 { p.b.ln().abs() } else { 0.0 };
        units(p.u.abs() + more) * UNIT * y.abs()
    },
    filling: |k| if k == 0 { Fillings::Normal } else { Fillings::Uniform(0.1, 1.9) },
    keeps_f32: true);

formula!(
    /// The derivative of [`Robust`] by r: r (1 + r²/b)^(α/2 - 1).
    RobustSlope = "robust_slope", 2,
    eval: |_s, x| {
        let p = parts(x[0], x[1]);
        if !is_robust(x[0], x[1]) {
            T::nan()
        } else if p.is_far {
            let exponent = (x[1] - T::one()) * x[0].abs().ln() + T::of(0.5) * p.b * p.b.ln();
            exponent.exp() * x[0].signum()
        } else {
            x[0] * (T::of(-0.5) * p.b * p.l).exp()
        }
    },
    grad: |_s, k, x, y, dy| Some(match k {
        // (1 + s)^(α/2 - 1) (1 - b s / (1 + s))
        0 => {
            let Recorded { b, l, share } = recorded(x[0], x[1]);
            dy.cotangent_mul((b * l * -0.5).exp() * (1.0 - b * share))
        }
        _ => {
            let Recorded { l, share, .. } = recorded(x[0], x[1]);
            dy.cotangent_mul(y * (l - share) * 0.5)
        }
    }),
    bound: |_s, x, y| {
        let p = parts(x[0], x[1]);
        let exponent = match p.is_far {
            true => ((x[1] - 1.0) * x[0].abs().ln()).abs() + (0.5 * p.b * p.b.ln()).abs(),
            false => 0.5 * p.b * p.l,
        };
        units(exponent) * UNIT * y.abs()
    },
    filling: |k| if k == 0 { Fillings::Normal } else { Fillings::Uniform(0.1, 1.9) },
    keeps_f32: true);

formula!(
    /// The derivative of [`Robust`] by α: e^u s / (1 + s) / 2 - L/2 (e^u - 1)/u + b L²/4 (e^u (u - 1) + 1)/u², s = r²/b.
    RobustShape = "robust_shape", 2,
    eval: |_s, x| {
        let Parts { b, l, u, share, .. } = parts(x[0], x[1]);
        let half = T::of(0.5);
        if is_robust(x[0], x[1]) {
            half * u.exp() * share - half * l * exp_ratio(u) + T::of(0.25) * b * l * l * exp_ratio_slope(u)
        } else {
            T::nan()
        }
    },
    grad: |_s, k, x, y, dy| {
        Some(match k {
            0 => {
                let Recorded { l, share, .. } = recorded(x[0], x[1]);
                dy.cotangent_mul(x[0].with(x[1], RobustSlope) * (l - share) * 0.5)
            }
            _ => dy.cotangent_mul(curvature(x[1], recorded(x[0], x[1]))),
        })
    },
    bound: |_s, x, y| {
        let Parts { b, l, u, share, .. } = parts(x[0], x[1]);
        let terms = [u.exp() * share / 2.0, l * exp_ratio(u) / 2.0, b * l * l * exp_ratio_slope(u) / 4.0];
        units(u) * UNIT * terms.iter().map(|x| x.abs()).sum::<f64>()
    },
    filling: |k| if k == 0 { Fillings::Normal } else { Fillings::Uniform(0.3, 1.7) },
    keeps_f32: true);

/// b, L and s / (1 + s) as recorded values, for second derivatives.
struct Recorded<'g> {
    b: Var<'g>,
    l: Var<'g>,
    share: Var<'g>,
}

fn recorded<'g>(r: Var<'g>, alpha: Var<'g>) -> Recorded<'g> {
    let b = 2.0 - alpha;
    let s = r.square() / b;
    Recorded { b, l: s.log1p(), share: 1.0 - 1.0 / (s + 1.0) }
}

/// The second derivative of Barron's loss by α: that of e share/2 - L/2 f + b L²/4 f', with f = (e^u - 1)/u, e = e^u and
/// dL/dα = share/b, dshare/dα = share (1 - share)/b. f and its derivatives are sums of powers where u is small, since their
/// quotients would lose the digits.
fn curvature<'g>(alpha: Var<'g>, Recorded { b, l, share }: Recorded<'g>) -> Var<'g> {
    let g = alpha.graph();
    let u = alpha * l * 0.5;
    let e = u.exp();
    let is_near = u.abs().less(g.scalar(1.0));
    let (v, w) = (is_near.select(u, g.scalar(0.0)), is_near.select(g.scalar(1.0), u));
    // The power n of f's derivative k has the coefficient (n + k)! / (n! (n + k + 1)!).
    let powers = |k: u32| {
        let factorial = |n: u32| (1..=n).map(f64::from).product::<f64>();
        let c = |n: u32| (factorial(n + k) / factorial(n) / factorial(n + k + 1)) as f32;
        (0..10).rev().fold(v * c(10), |sum, n| if n == 0 { sum + c(0) } else { (sum + c(n)) * v })
    };
    let f = is_near.select(powers(0), (e - 1.0) / w);
    let first = is_near.select(powers(1), (e * (w - 1.0) + 1.0) / w.square());
    let second = is_near.select(powers(2), (e * (w.square() - w * 2.0 + 2.0) - 2.0) / (w.square() * w));
    let (dl, du) = (share / b, (l + alpha * share / b) * 0.5);
    let of_share = e * share * (du + (1.0 - share) / b) - dl * f - l * first * du;
    of_share * 0.5 + (b * dl * 0.5 - l * 0.25) * l * first + b * l.square() * 0.25 * second * du
}

methods! {
    /// log(1 + x), which keeps the digits of a small x.
    log1p() = Log1p;
    /// log cosh x, x² / 2 near 0 and |x| - log 2 far from it, finite wherever x is.
    log_cosh() = LogCosh;
}

impl<'g> Var<'g> {
    /// max(log x, -100), with a gradient that is finite at 0.
    #[track_caller]
    pub(crate) fn clamped_log(self) -> Var<'g> {
        self.elementwise(ClampedLog)
    }

    /// Barron's robust loss of this, scaled, with the shape `alpha` below 2.
    #[track_caller]
    pub(crate) fn robust(self, alpha: Var<'g>) -> Var<'g> {
        self.with(alpha, Robust)
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = all_cases! { Log1p, LogCosh, ClampedLog };
    let extremes = [-0.999_999, -0.5, -0.292_8, -1e-3, -1e-8, -0.0, 1e-30, 1e-8, 0.414, 0.415, 1e4, 3e38];
    cases.push(points(Log1p, &[&extremes]));
    cases.push(points(
        LogCosh,
        &[&[-3e38, -1e4, -89.0, -0.5, -1e-3, 0.0, 1e-15, 0.499_999, 0.500_001, 50.0, 3e38]],
    ));
    cases.push(points(ClampedLog, &[&[0.0, 1e-37, 1e-13, 0.5, 1.0, 3e38]]));
    // No usual cases: α ends at 2.
    let (shapes, small): (&[&[usize]], &[&[usize]]) = (&[&[130, 33], &[130, 33]], &[&[6, 8], &[8]]);
    let one: &[&[usize]] = &[&[5, 7], &[]];
    for shapes in [shapes, small, one] {
        cases.push(filled(Robust, shapes));
        cases.push(filled(RobustSlope, shapes));
        cases.push(filled(RobustShape, shapes));
    }
    let r = [0.0, 1e-15, -1e-3, 0.7, -1.0, 3.0, -300.0, 1e4, 2e9, -1e15, 1e18, 3e38];
    let all = |alphas: &[f64]| -> (Vec<f64>, Vec<f64>) {
        alphas.iter().flat_map(|&alpha| r.map(|r| (r, alpha))).unzip()
    };
    let below_2 = 2.0 - f64::from(f32::EPSILON);
    let (at, alpha) = all(&[-1e12, -1e4, -2.0, -1e-6, 0.0, 1e-30, 1e-4, 1.0, 1.5]);
    for case in [points(Robust, &[&at, &alpha]), points(RobustSlope, &[&at, &alpha])] {
        cases.push(case);
    }
    let (at, alpha) = all(&[1e-3, 0.1, 1.0]);
    cases.push(points(RobustShape, &[&at, &alpha]));
    // Beyond 1e19 these are no finite numbers.
    let (at, alpha): (Vec<f64>, Vec<f64>) =
        r.iter().filter(|r| r.abs() < 2e18).flat_map(|&r| [1.999, below_2].map(|alpha| (r, alpha))).unzip();
    cases.push(points(Robust, &[&at, &alpha]));
    cases.push(points(RobustSlope, &[&at, &alpha]));
    cases.push(points(Robust, &[&[f64::NAN, 1.0, f64::NAN], &[1.0, f64::NAN, f64::NAN]]));
    cases
}

fn filled<F: Formula>(formula: F, shapes: &[&[usize]]) -> Case {
    (0..F::ARITY).fold(Case::new(Elementwise(formula), shapes), |case, k| case.fill(k, F::filling(k)))
}
