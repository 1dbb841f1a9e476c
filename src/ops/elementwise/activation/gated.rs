//! Activations that are x times a gate between 0 and 1. What a gate of nearly 0 leaves of a large x keeps its digits, and no
//! product on the way is infinite where the result is not.

use super::super::{Case, Elementwise, Formula, Real, UNIT, Var, all_cases, formula, points};

/// √(8 / π) and what it and 0.044715 make of x³, of GELU's form by tanh.
const GELU: [f64; 2] = [1.595_769_121_605_730_8, 0.071_354_816_272_600_25];

/// The nearest finite number.
fn to_finite<T: Real>(x: T) -> T {
    num_traits::clamp(x, T::min_value(), T::max_value())
}

/// Beyond, gates of x or βx are 0 or 1, also squared and times any number.
fn cut<T: Real>(x: T) -> T {
    num_traits::clamp(x, T::of(-2000.0), T::of(2000.0))
}

/// e^(-|u| / 2), and 1 / (1 + e^-|u|).
fn half<T: Real>(u: T) -> [T; 2] {
    let h = (u.abs() * T::of(-0.5)).exp();
    [h, (T::one() + h * h).recip()]
}

/// x σ(u), where c is x or, if that is infinite with a gate of 0, a finite number.
fn gated<T: Real>(x: T, c: T, u: T) -> T {
    let [h, rest] = half(u);
    if u >= T::zero() { x * rest } else { c * h * (h * rest) }
}

/// dy σ(u) (1 + v σ(-u)): what dy becomes by the derivative of x σ(u) with v = x u'.
fn gated_slope<T: Real>(dy: T, u: T, v: T) -> T {
    let [h, rest] = half(u);
    if u >= T::zero() {
        dy * (rest * (T::one() + v * (h * h * rest)))
    } else {
        dy * h * (h * (rest * (T::one() + v * rest)))
    }
}

/// The same with the magnitudes of its terms.
fn gated_parts(dy: f64, u: f64, v: f64) -> f64 {
    gated_slope(dy.abs(), u, v.abs())
}

/// What e^(-|u| / 2) squared loses in units of f32, and a u that was rounded `times`.
fn units(u: f64, times: f64) -> f64 {
    24.0 + (4.0 + 2.0 * times) * u.abs().min(400.0)
}

fn swish<T: Real>(x: T, beta: T) -> T {
    gated(x, to_finite(x), to_finite(beta) * to_finite(x))
}

fn swish_slope<T: Real>(x: T, beta: T, dy: T) -> T {
    let z = cut(to_finite(beta) * to_finite(x));
    if dy == T::zero() { dy } else { gated_slope(dy, z, z) }
}

/// z = βx, cut, and σ(z) σ(-z).
fn bell<'g>(x: Var<'g>, beta: Var<'g>) -> [Var<'g>; 2] {
    // Of 0 times infinity it is 0, also where half precision stores no number that is large and finite.
    let (zero, product) = (x.graph.scalar(0.0), x * beta);
    let is_neither = (product.is_nan() - x.is_nan() - beta.is_nan()).greater(zero);
    let z = is_neither.select(zero, product).clamp(-2000.0, 2000.0);
    [z, z.sigmoid() * (-z).sigmoid()]
}

/// 2 - z tanh(z / 2), of second derivatives.
fn turn<'g>(z: Var<'g>) -> Var<'g> {
    2.0 - z * (z * 0.5).tanh()
}

formula!(
    /// x σ(βx): Ramachandran, Zoph and Le, 2017. SiLU with β = 1: Elfwing, Uchibe and Doya, 2017.
    Swish(beta) = "swish", 1,
    eval: |s, x| swish(x[0], T::of(f64::from(s.0))),
    grad: |s, k, x, y, dy| Some(x[0].with(dy, SwishGrad(s.0))),
    bound: |s, x, y| units(x[0] * f64::from(s.0), 1.0) * UNIT * y.abs());

formula!(
/// Derivative of swish: dy σ(z) (1 + z σ(-z)) with z = βx.
SwishGrad(beta) = "swish_grad", 2,
eval: |s, x| swish_slope(x[0], T::of(f64::from(s.0)), x[1]),
grad: |s, k, x, y, dy| Some(match k {
    0 => {
        let [z, bell] = bell(x[0], x[0].graph.scalar(s.0));
        dy.cotangent_mul(x[1]).cotangent_mul(bell * turn(z) * s.0)
    }
    _ => x[0].with(dy, *s),
}),
bound: |s, x, y| {
    let z = cut(to_finite(x[0]) * f64::from(s.0));
    units(z, 1.0) * UNIT * gated_parts(x[1], z, z)
});

formula!(
    /// Swish with a learned β.
    SwishLearned = "swish_learned", 2,
    eval: |_s, x| if x[1].is_nan() { x[1] } else { swish(x[0], x[1]) },
    grad: |_s, k, x, y, dy| Some(match k {
        0 => dy.graph().record_one(Elementwise(SwishLearnedGrad), &[x[0], x[1], dy]),
        _ => dy.graph().record_one(Elementwise(SwishBetaGrad), &[x[0], x[1], dy]),
    }),
    bound: |_s, x, y| units(to_finite(x[0]) * to_finite(x[1]), 1.0) * UNIT * y.abs());

formula!(
/// Its derivative by x: dy σ(z) (1 + z σ(-z)) with z = βx.
SwishLearnedGrad = "swish_learned_grad", 3,
eval: |_s, x| if x[1].is_nan() && x[2] != T::zero() { x[1] } else { swish_slope(x[0], x[1], x[2]) },
grad: |_s, k, x, y, dy| Some(match k {
    0 => {
        let [z, bell] = bell(x[0], x[1]);
        dy.cotangent_mul(x[2]).cotangent_mul(bell * turn(z) * x[1])
    }
    1 => {
        let [z, bell] = bell(x[0], x[1]);
        dy.cotangent_mul(x[2]).cotangent_mul(bell * turn(z) * x[0])
    }
    _ => dy.graph().record_one(Elementwise(SwishLearnedGrad), &[x[0], x[1], dy]),
}),
bound: |_s, x, y| {
    let z = cut(to_finite(x[0]) * to_finite(x[1]));
    units(z, 1.0) * UNIT * gated_parts(x[2], z, z)
});

formula!(
    /// Its derivative by β: dy x² σ(z) σ(-z) with z = βx, as the square of what is finite.
    SwishBetaGrad = "swish_beta_grad", 3,
    eval: |_s, x| {
        let c = to_finite(x[0]);
        let [h, rest] = half(to_finite(x[1]) * c);
        let root = c * (h * rest);
        if x[2] == T::zero() { x[2] } else { x[2] * root * root }
    },
    grad: |_s, k, x, y, dy| Some(match k {
        0 => {
            let [z, bell] = bell(x[0], x[1]);
            dy.cotangent_mul(x[2]).cotangent_mul(bell * turn(z) * x[0])
        }
        1 => {
            let [z, bell] = bell(x[0], x[1]);
            let turned = bell * (z * -0.5).tanh();
            dy.cotangent_mul(x[2]).cotangent_mul(turned * x[0].square() * x[0])
        }
        _ => dy.graph().record_one(Elementwise(SwishBetaGrad), &[x[0], x[1], dy]),
    }),
    bound: |_s, x, y| units(to_finite(x[0]) * to_finite(x[1]), 1.0) * UNIT * y.abs());

/// e^-|x| and its root, as mish has them.
fn powers<T: Real>(x: T) -> [T; 2] {
    let h = (x.abs() * T::of(-0.5)).exp();
    [h, h * h]
}

/// The two terms of mish' without e^x, where that is small.
fn mish_terms<T: Real>(z: T) -> [T; 2] {
    let [_, t] = powers(z);
    let (one, two, four) = (T::one(), T::of(2.0), T::of(4.0));
    if z > T::zero() {
        let e = (one + two * t * (one + t)).recip();
        [e * (one + two * t), four * z * (t * t) * (one + t) * (e * e)]
    } else {
        let d = (t * (t + two) + two).recip();
        [d * (t + two), four * z * (one + t) * (d * d)]
    }
}

/// dy times `slope`, and times e^z below 0.
fn mish_scaled<T: Real>(dy: T, z: T, slope: T) -> T {
    let [h, _] = powers(z);
    if z > T::zero() { dy * slope } else { dy * h * (h * slope) }
}

formula!(
    /// x tanh(ln(1 + e^x)): Misra, BMVC 2020. With w = e^x that tanh is w (w + 2) / (w (w + 2) + 2).
    Mish = "mish", 1,
    eval: |_s, x| {
        let c = to_finite(x[0]);
        let [h, t] = powers(c);
        let (one, two) = (T::one(), T::of(2.0));
        if x[0] > T::zero() {
            x[0] * ((one + two * t) / (one + two * t * (one + t)))
        } else {
            c * h * (h * ((t + two) / (t * (t + two) + two)))
        }
    },
    grad: |_s, k, x, y, dy| Some(x[0].with(dy, MishGrad)),
    bound: |_s, x, y| units(x[0], 0.0) * UNIT * y.abs());

formula!(
/// Derivative of mish: dy times that tanh and 4 x w (1 + w) / (w (w + 2) + 2)².
MishGrad = "mish_grad", 2,
eval: |_s, x| {
    let z = cut(x[0]);
    let [a, b] = mish_terms(z);
    if x[1] == T::zero() { x[1] } else { mish_scaled(x[1], z, a + b) }
},
grad: |_s, k, x, y, dy| Some(match k {
    0 => {
        // With T the tanh and s = σ(x): (1 - T²) s (2 + x (1 - s - 2 T s)), where T is (1 - q²) / (1 + q²) with q = 1 - s.
        let z = x[0].clamp(-1000.0, 1000.0);
        let (s, q) = (z.sigmoid(), (-z).sigmoid());
        let square = q.square();
        let e = (square + 1.0).recip();
        let bend = square * e.square() * 4.0 * s * (2.0 + z * (q - (1.0 - square) * e * s * 2.0));
        dy.cotangent_mul(x[1]).cotangent_mul(bend)
    }
    _ => x[0].with(dy, MishGrad),
}),
bound: |_s, x, y| {
    let z = cut(x[0]);
    let [a, b] = mish_terms(z).map(f64::abs);
    2.0 * units(z, 0.0) * UNIT * mish_scaled(x[1].abs(), z, a + b)
});

/// x cut where the gate is 0 or 1, u = √(8/π) (x + 0.044715 x³) and x u'.
fn gelu_gate<T: Real>(x: T) -> [T; 3] {
    let c = num_traits::clamp(x, T::of(-40.0), T::of(40.0));
    let (a, b, s) = (T::of(GELU[0]), T::of(GELU[1]), c * c);
    [c, c * (a + b * s), c * (a + T::of(3.0) * b * s)]
}

formula!(
    /// x σ(u) with u = √(8/π) (x + 0.044715 x³), GELU by tanh: Hendrycks and Gimpel, 2016, section 2.
    GeluTanh = "gelu_tanh", 1,
    eval: |_s, x| {
        let [c, u, _] = gelu_gate(x[0]);
        gated(x[0], c, u)
    },
    grad: |_s, k, x, y, dy| Some(x[0].with(dy, GeluTanhGrad)),
    bound: |_s, x, y| units(gelu_gate(x[0])[1], 6.0) * UNIT * y.abs());

formula!(
/// Derivative of GELU by tanh: dy σ(u) (1 + x u' σ(-u)).
GeluTanhGrad = "gelu_tanh_grad", 2,
eval: |_s, x| {
    let [_, u, v] = gelu_gate(x[0]);
    if x[1] == T::zero() { x[1] } else { gated_slope(x[1], u, v) }
},
grad: |_s, k, x, y, dy| Some(match k {
    0 => {
        // σ(u) σ(-u) (2 u' + x u'' - x u'² tanh(u / 2))
        let [a, b] = GELU.map(|c| c as f32);
        let c = x[0].clamp(-40.0, 40.0);
        let s = c.square();
        let (u, du) = (c * (s * b + a), s * (3.0 * b) + a);
        let bend = du * 2.0 + s * (6.0 * b) - c * du.square() * (u * 0.5).tanh();
        dy.cotangent_mul(x[1]).cotangent_mul(u.sigmoid() * (-u).sigmoid() * bend)
    }
    _ => x[0].with(dy, GeluTanhGrad),
}),
bound: |_s, x, y| {
    let [_, u, v] = gelu_gate(x[0]);
    units(u, 6.0) * UNIT * gated_parts(x[1], u, v)
});

formula!(
    /// a σ(b): Dauphin et al., ICML 2017.
    Glu = "glu", 2,
    eval: |_s, x| if x[0].is_nan() { x[0] } else { gated(x[0], x[0], x[1]) },
    // The cotangent is the last factor, so that a large a times it does not meet a gate of 0 as infinity.
    grad: |_s, k, x, y, dy| Some(dy.cotangent_mul(match k {
        0 => x[1].sigmoid(),
        // y σ(-b)
        _ => y.with(-x[1], Glu),
    })),
    bound: |_s, x, y| units(x[1], 0.0) * UNIT * y.abs());

formula!(
    /// a b σ(b): Shazeer, "GLU Variants Improve Transformer", 2020, equation 5.
    Swiglu = "swiglu", 2,
    eval: |_s, x| {
        let [h, rest] = half(x[1]);
        if x[1] >= T::zero() { x[0] * (x[1] * rest) } else { (x[0] * h) * (to_finite(x[1]) * h * rest) }
    },
    grad: |_s, k, x, y, dy| Some(match k {
        0 => dy.cotangent_mul(x[1].silu()),
        // Of half of a, since the derivative of swish is up to 1.1.
        _ => dy.cotangent_mul(x[1].with(x[0] * 0.5, SwishGrad(1.0))) * 2.0,
    }),
    bound: |_s, x, y| units(x[1], 0.0) * UNIT * y.abs());

formula!(
    /// (x - top) times a rate, of which a softmax does not depend on `top`, the largest of x: so no cotangent goes there.
    Cooled(rate) = "cooled", 2,
    eval: |s, x| (x[0] - x[1]) * T::of(f64::from(s.0)),
    grad: |s, k, x, y, dy| (k == 0).then(|| dy * s.0),
    smooth: false);

pub(super) fn cases() -> Vec<Case> {
    let mut cases = all_cases! {
        Swish(1.0), SwishGrad(1.5), SwishLearned, SwishLearnedGrad, SwishBetaGrad, Mish, MishGrad, GeluTanh, GeluTanhGrad,
        Glu, Swiglu, Cooled(2.0),
    };
    let x = [
        -3e38, -1e30, -1e4, -120.0, -88.0, -20.0, -5.0, -1.25, -1e-3, -1.2e-38, 0.0, 1.2e-38, 1e-3, 1.2, 5.0,
        20.0, 88.0, 1e4, 3e38,
    ];
    let ones = [1.0; 19];
    let large = [3e38; 19];
    let betas = [
        1e-37, 1e-28, 1.0, 1.5, -1.0, 0.0, 3e38, -2.0, 1.0, 1.0, 3e38, 2.0, -1e3, 1.0, 0.5, -3.0, 1.0, -1e-2,
        1.2e-38,
    ];
    let gates = [
        -100.0, -70.0, 3e38, 90.0, -3e38, -1.0, 0.0, 5.0, -88.0, 1e4, -3e38, 3e38, 1.0, -2.0, -20.0, 7.0,
        0.5, -90.0, -170.0,
    ];
    cases.extend([
        points(Swish(1.0), &[&x]),
        points(Swish(-1e-28), &[&x]),
        points(SwishGrad(1.0), &[&x, &ones]),
        points(SwishGrad(0.5), &[&x, &large]),
        points(SwishLearned, &[&x, &betas]),
        points(SwishLearnedGrad, &[&x, &betas, &ones]),
        points(SwishBetaGrad, &[&x, &gates, &[1e-30; 19]]),
        points(Mish, &[&x]),
        points(MishGrad, &[&x, &ones]),
        points(MishGrad, &[&x, &[2.5e38; 19]]),
        points(GeluTanh, &[&x]),
        points(GeluTanhGrad, &[&x, &ones]),
        points(GeluTanhGrad, &[&x, &[2.5e38; 19]]),
        points(Glu, &[&x, &gates]),
        points(Swiglu, &[&x, &gates]),
        points(Cooled(10.0), &[&[3e38, -3e38, 1.0, -1.0], &[3e38, 3e38, 1.0, 5.0]]),
    ]);
    cases
}
