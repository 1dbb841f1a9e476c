//! Activations and their derivatives. Kernels: `shaders/activations.wgsl`.

mod gated;
mod methods;
mod piecewise;
mod smooth;

use super::{Case, Fillings, Formula, Real, UNIT, Var, all_cases, formula, points};
use crate::op::{Pattern, sigmoid};

formula!(
    /// Logistic sigmoid 1 / (1 + e^-x).
    Sigmoid = "sigmoid", 1,
    eval: |_s, x| sigmoid(x[0]),
    grad: |_s, k, x, y, dy| Some(y.with(dy, SigmoidGrad)),
    // exp(-|x|) carries 3 + 2|x| units; sum and quotient add a few.
    bound: |_s, x, y| (14.0 + 4.0 * x[0].abs()) * UNIT * y.abs());

formula!(
    /// Derivative of the sigmoid from its value: y (1 - y) dy, 0 where dy is.
    SigmoidGrad = "sigmoid_grad", 2,
    eval: |_s, x| if x[1] == T::zero() { x[1] } else { x[1] * x[0] * (T::one() - x[0]) },
    grad: |_s, k, x, y, dy| Some(match k {
        0 => dy.cotangent_mul(x[1]).cotangent_mul(x[0] * -2.0 + 1.0),
        _ => x[0].with(dy, SigmoidGrad),
    }),
    bound: |_s, x, y| 4.0 * UNIT * (x[1] * x[0]).abs(),
    filling: |k| if k == 0 { Fillings::Uniform(0.0, 1.0) } else { Fillings::Normal });

formula!(
    /// Hyperbolic tangent.
    Tanh = "tanh", 1,
    eval: |_s, x| x[0].tanh(),
    grad: |_s, k, x, y, dy| Some(y.with(dy, TanhGrad)),
    // The polynomial near 0 is good to 2 units; beyond, 1 - 2 / (e^2x + 1) loses up to a factor of 2.
    bound: |_s, x, y| 24.0 * UNIT * y.abs());

formula!(
    /// Derivative of tanh from its value: (1 - y²) dy, 0 where dy is.
    TanhGrad = "tanh_grad", 2,
    eval: |_s, x| if x[1] == T::zero() { x[1] } else { x[1] * (T::one() - x[0] * x[0]) },
    grad: |_s, k, x, y, dy| Some(match k {
        0 => dy.cotangent_mul(x[1]).cotangent_mul(x[0]) * -2.0,
        _ => x[0].with(dy, TanhGrad),
    }),
    bound: |_s, x, y| 4.0 * UNIT * x[1].abs(),
    filling: |k| if k == 0 { Fillings::Uniform(-1.0, 1.0) } else { Fillings::Normal });

formula!(
    /// max(x, 0): Nair and Hinton, ICML 2010. Derivative 0 at 0.
    Relu = "relu", 1,
    // So that NaN stays NaN and is noticed.
    eval: |_s, x| if x[0] <= T::zero() { T::zero() } else { x[0] },
    grad: |_s, k, x, y, dy| Some(y.with(dy, ReluGrad)),
    filling: |k| Fillings::AwayFromZero(0.05));

formula!(
    /// dy where the result of ReLU is positive or NaN, else 0.
    ReluGrad = "relu_grad", 2,
    eval: |_s, x| if x[0] <= T::zero() { T::zero() } else { x[1] },
    grad: |_s, k, x, y, dy| (k == 1).then(|| x[0].with(dy, ReluGrad)),
    filling: |k| Fillings::AwayFromZero(0.05),
    pattern: Pattern::ReluGrad);

formula!(
    /// x above 0, slope · x below: Maas, Hannun and Ng, 2013. Derivative `slope` at 0.
    LeakyRelu(slope) = "leaky_relu", 1,
    eval: |s, x| if x[0] > T::zero() { x[0] } else { x[0] * T::of(f64::from(s.0)) },
    grad: |s, k, x, y, dy| Some(x[0].with(dy, LeakyReluGrad(s.0))),
    filling: |k| Fillings::AwayFromZero(0.05));

formula!(
    /// dy where the argument of leaky ReLU is positive, else slope · dy.
    LeakyReluGrad(slope) = "leaky_relu_grad", 2,
    eval: |s, x| if x[0] > T::zero() { x[1] } else { x[1] * T::of(f64::from(s.0)) },
    grad: |s, k, x, y, dy| (k == 1).then(|| x[0].with(dy, *s)),
    filling: |k| Fillings::AwayFromZero(0.05));

formula!(
    /// Binary cross-entropy of a logit z and a target y: log(1 + e^-|z|) + |z| (1 - y above 0, y below), where a target
    /// of 0 counts nothing however large z is. One formula, so that its gradient σ(z) - y is right at z = 0 too, where
    /// the parts have kinks.
    BceLogits = "bce_logits", 2,
    eval: |_s, x| {
        let tail = (T::one() + (-x[0].abs()).exp()).ln();
        let other = if x[0] > T::zero() { T::one() - x[1] } else { x[1] };
        if other == T::zero() { tail } else { other * x[0].abs() + tail }
    },
    grad: |_s, k, x, y, dy| Some(match k {
        0 => dy.cotangent_mul(x[0].sigmoid() - x[1]),
        _ => -dy.cotangent_mul(x[0]),
    }),
    // log is good to 2^-21 near 1, exp to 3 + 2|z| units of at most 1; then three roundings of the terms.
    bound: |_s, x, y| (16.0 + 4.0 * (x[0].abs() + (x[0] * x[1]).abs())) * UNIT + 4.0 * UNIT * y.abs(),
    filling: |k| if k == 0 { Fillings::Normal } else { Fillings::Uniform(0.0, 1.0) },
    keeps_f32: true);

pub(super) fn cases() -> Vec<Case> {
    let mut cases = all_cases! {
        Sigmoid, SigmoidGrad, Tanh, TanhGrad, Relu, ReluGrad, BceLogits, LeakyRelu(0.01), LeakyReluGrad(0.2),
    };
    cases.push(points(BceLogits, &[&[-1e4, -90.0, 0.0, 0.0, 90.0, 1e4], &[0.0, 1.0, 0.0, 1.0, 0.0, 1.0]]));
    // Where naive forms overflow: e^88 is the largest f32, tanh of WGSL is indeterminate above it.
    let extremes =
        [-1e4, -100.0, -89.0, -20.0, -0.625, -1e-3, -1e-8, 0.0, 1e-8, 0.624, 0.626, 9.0, 89.0, 1e4];
    cases.push(points(Sigmoid, &[&extremes]));
    cases.push(points(Tanh, &[&extremes]));
    cases.push(points(Relu, &[&extremes]));
    cases.push(points(ReluGrad, &[&[0.0, -1.0, 1.0], &[5.0, 6.0, 7.0]]));
    cases.push(points(LeakyReluGrad(0.5), &[&[0.0, -1.0, 1.0], &[5.0, 6.0, 7.0]]));
    cases.extend(smooth::cases());
    cases.extend(piecewise::cases());
    cases.extend(gated::cases());
    cases
}
