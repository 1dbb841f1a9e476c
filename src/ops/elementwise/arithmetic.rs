//! Arithmetic and powers. Kernels: `shaders/arithmetic.wgsl`.

use std::ops;

use super::{
    Case, Elementwise, Fillings, Formula, Pattern, Real, UNIT, Var, all_cases, formula, methods, points,
};

formula!(
    /// a + b.
    Add = "add", 2,
    eval: |_s, x| x[0] + x[1],
    grad: |_s, k, x, y, dy| Some(dy),
    pattern: Pattern::Add);

formula!(
    /// a - b.
    Sub = "sub", 2,
    eval: |_s, x| x[0] - x[1],
    grad: |_s, k, x, y, dy| Some(if k == 0 { dy } else { -dy }),
    keeps_f32: true);

formula!(
    /// a · b.
    Mul = "mul", 2,
    eval: |_s, x| x[0] * x[1],
    grad: |_s, k, x, y, dy| Some(dy.cotangent_mul(x[1 - k])));

formula!(
    /// a / b.
    Div = "div", 2,
    eval: |_s, x| x[0] / x[1],
    grad: |_s, k, x, y, dy| Some(match k {
        0 => dy.cotangent_div(x[1]),
        _ => -dy.cotangent_mul(y).cotangent_div(x[1]),
    }),
    // WGSL promises 2.5 units in the last place, and a unit is two roundoffs.
    bound: |_s, x, y| 6.0 * UNIT * y.abs(),
    filling: |k| Fillings::AwayFromZero(if k == 1 { 0.3 } else { 0.0 }));

formula!(
    /// a + constant.
    AddScalar(c) = "add_scalar", 1,
    eval: |s, x| x[0] + T::of(f64::from(s.0)),
    grad: |_s, k, x, y, dy| Some(dy));

formula!(
    /// a · constant.
    MulScalar(c) = "mul_scalar", 1,
    eval: |s, x| x[0] * T::of(f64::from(s.0)),
    grad: |s, k, x, y, dy| Some(dy * s.0));

formula!(
    /// a².
    Square = "square", 1,
    eval: |_s, x| x[0] * x[0],
    grad: |_s, k, x, y, dy| Some(dy.cotangent_mul(x[0]) * 2.0),
    keeps_f32: true);

formula!(
    /// -a.
    Neg = "neg", 1,
    eval: |_s, x| -x[0],
    grad: |_s, k, x, y, dy| Some(-dy));

formula!(
    /// 1 / a.
    Recip = "recip", 1,
    eval: |_s, x| x[0].recip(),
    grad: |_s, k, x, y, dy| Some(-dy.cotangent_mul(y).cotangent_mul(y)),
    bound: |_s, x, y| 6.0 * UNIT * y.abs(),
    filling: |k| Fillings::AwayFromZero(0.3),
    keeps_f32: true);

formula!(
    /// e^a.
    Exp = "exp", 1,
    eval: |_s, x| x[0].exp(),
    grad: |_s, k, x, y, dy| Some(dy.cotangent_mul(y)),
    // WGSL promises 3 + 2|x| units in the last place.
    bound: |_s, x, y| 2.0 * (3.0 + 2.0 * x[0].abs()) * UNIT * y.abs(),
    keeps_f32: true);

formula!(
    /// Natural logarithm.
    Log = "log", 1,
    eval: |_s, x| x[0].ln(),
    grad: |_s, k, x, y, dy| Some(dy.cotangent_div(x[0])),
    // WGSL: 2^-21 absolute between 0.5 and 2, 3 units in the last place elsewhere.
    bound: |_s, x, y| 8.0 * UNIT + 6.0 * UNIT * y.abs(),
    filling: |k| Fillings::Uniform(0.1, 5.0),
    keeps_f32: true);

formula!(
    /// Square root.
    Sqrt = "sqrt", 1,
    eval: |_s, x| x[0].sqrt(),
    grad: |_s, k, x, y, dy| Some(dy.cotangent_div(y) * 0.5),
    // WGSL derives it from 1 / inverseSqrt: 2 and 2.5 units in the last place.
    bound: |_s, x, y| 9.0 * UNIT * y.abs(),
    filling: |k| Fillings::Uniform(0.1, 5.0));

formula!(
    /// a^b. A negative base needs a whole exponent, as in IEEE's `pow`; its gradient with respect to b is
    /// zero there.
    Pow = "pow", 2,
    eval: |_s, x| x[0].powf(x[1]),
    grad: |_s, k, x, y, dy| Some(match k {
        // 0 where the exponent is 0, also at base 0, where the power is infinite.
        0 => dy.cotangent_mul(x[1]).cotangent_mul(x[0].pow(x[1] + -1.0)),
        // 0 where the base is, also at a negative exponent, where the power is infinite.
        _ => {
            let other = x[0].less_equal(x[0].graph().scalar(0.0));
            dy.cotangent_mul(other.select(x[0].graph().scalar(1.0), x[0]).log()).cotangent_mul(y)
        }
    }),
    bound: |_s, x, y| pow_bound(x[0], x[1], y),
    filling: |k| if k == 0 { Fillings::Uniform(0.2, 3.0) } else { Fillings::Uniform(-2.0, 2.0) },
    keeps_f32: true);

formula!(
    /// a^constant; a negative base needs a whole constant.
    PowScalar(c) = "pow_scalar", 1,
    eval: |s, x| x[0].powf(T::of(f64::from(s.0))),
    grad: |s, k, x, y, dy| Some(match s.0 {
        0.0 => return None,
        c => dy.cotangent_mul(x[0].powf(c - 1.0)) * c,
    }),
    bound: |s, x, y| pow_bound(x[0], f64::from(s.0), y),
    filling: |k| Fillings::Uniform(0.2, 3.0),
    keeps_f32: true);

/// a^b is exp2(b · log2 a): the error of log2 (2^-21 absolute near 1, 3 units elsewhere) is multiplied by
/// |b| ln 2, that of exp2 is 3 + 2|exponent| units.
fn pow_bound(a: f64, b: f64, y: f64) -> f64 {
    let log = if a == 0.0 { 0.0 } else { a.abs().log2().abs() };
    let exponent = (b * log).abs();
    (b.abs() * (8.0 + 6.0 * log) + 2.0 * exponent + 2.0 * (3.0 + 2.0 * exponent)) * UNIT * y.abs()
}

formula!(
    /// |a|; derivative 0 at 0.
    Abs = "abs", 1,
    eval: |_s, x| x[0].abs(),
    grad: |_s, k, x, y, dy| Some(dy.cotangent_mul(x[0].sign())),
    filling: |k| Fillings::AwayFromZero(0.1));

formula!(
    /// -1, 0 or 1; NaN of NaN.
    Sign = "sign", 1,
    eval: |_s, x| match x[0] {
        x if x > T::zero() => T::one(),
        x if x < T::zero() => -T::one(),
        x if x.is_nan() => x,
        _ => T::zero(),
    },
    grad: |_s, k, x, y, dy| None,
    filling: |k| Fillings::AwayFromZero(0.1));

methods! {
    /// e to the power of each element.
    exp() = Exp;
    /// Natural logarithm.
    log() = Log;
    /// Square root.
    sqrt() = Sqrt;
    /// 1 / x.
    recip() = Recip;
    /// This to the power of `exponent`, element by element.
    pow(exponent) = Pow;
    /// x².
    square() = Square;
    /// Absolute value.
    abs() = Abs;
    /// -1, 0 or 1; NaN where this is NaN.
    sign() = Sign;
}

impl<'g> Var<'g> {
    /// Records an elementwise formula of this value alone.
    #[track_caller]
    pub(crate) fn elementwise(self, formula: impl Formula) -> Var<'g> {
        self.graph.record_one(Elementwise(formula), &[self])
    }

    /// Records one of this and another.
    #[track_caller]
    pub(super) fn with(self, other: Var<'g>, formula: impl Formula) -> Var<'g> {
        self.graph.record_one(Elementwise(formula), &[self, other])
    }

    /// Each element to the power of a constant.
    #[track_caller]
    pub fn powf(self, exponent: f32) -> Var<'g> {
        self.elementwise(PowScalar(exponent))
    }
}

macro_rules! operator {
    ($($trait:ident $method:ident: |$a:ident, $b:ident| $both:expr, |$c:ident| $left:expr, $right:expr;)*) => {$(
        impl<'g> ops::$trait for Var<'g> {
            type Output = Var<'g>;
            #[track_caller]
            fn $method(self, other: Var<'g>) -> Var<'g> {
                let ($a, $b) = (self, other);
                $both
            }
        }
        impl<'g> ops::$trait<f32> for Var<'g> {
            type Output = Var<'g>;
            #[track_caller]
            fn $method(self, $c: f32) -> Var<'g> { let $a = self; $left }
        }
        impl<'g> ops::$trait<Var<'g>> for f32 {
            type Output = Var<'g>;
            #[track_caller]
            fn $method(self, $a: Var<'g>) -> Var<'g> { let $c = self; $right }
        }
    )*};
}
operator! {
    Add add: |a, b| a.with(b, Add), |c| a.elementwise(AddScalar(c)), a.elementwise(AddScalar(c));
    Sub sub: |a, b| a.with(b, Sub),
        |c| a.elementwise(AddScalar(-c)), a.elementwise(Neg).elementwise(AddScalar(c));
    Mul mul: |a, b| if std::ptr::eq(a.graph, b.graph) && a.id == b.id { a.square() } else { a.with(b, Mul) },
        |c| a.elementwise(MulScalar(c)), a.elementwise(MulScalar(c));
    Div div: |a, b| a.with(b, Div), |c| if (1.0 / c).is_normal() {
        a.elementwise(MulScalar(1.0 / c))
    } else {
        a.with(a.graph.scalar(c), Div)
    }, a.elementwise(Recip).elementwise(MulScalar(c));
}

impl<'g> ops::Neg for Var<'g> {
    type Output = Var<'g>;
    #[track_caller]
    fn neg(self) -> Var<'g> {
        self.elementwise(Neg)
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = all_cases! {
        Add, Sub, Mul, Div, AddScalar(1.5), MulScalar(-0.7), Square, Neg, Recip, Exp, Log, Sqrt, Pow, PowScalar(2.5),
        Abs, Sign,
    };
    cases.push(points(Exp, &[&[-100.0, -80.0, 0.0, 80.0, 88.0]]));
    cases.push(points(Pow, &[&[-2.0, -2.0, -1.5, 0.0, 0.0, 2.0], &[3.0, 2.0, -3.0, 2.0, 0.0, 0.0]]));
    cases.push(points(Pow, &[&[-2.0, -0.5, 4.0], &[0.5, 1.5, 0.5]]));
    // Whole numbers from 2^24 on are even.
    cases.push(points(Pow, &[&[-0.5, -2.0, -1.0, -0.0, -1.0], &[3e7, 3e38, 16_777_217.0, -2.5, 3e38]]));
    cases.push(points(Pow, &[&[-1.0, -1.0, -1.0], &[16_777_215.0, 14_000_001.0, 14_000_002.0]]));
    for exponent in [-2.5, -1.0, 2.0, 3.0] {
        cases.push(points(PowScalar(exponent), &[&super::SPECIAL]));
    }
    cases.push(points(PowScalar(3.0), &[&[-2.0, -0.5, 0.0, 1.0, 7.0]]));
    cases.push(points(PowScalar(0.0), &[&[-2.0, 0.0, 3.0]]));
    // A large one, beyond one dimension of 65,535 workgroups on no adapter but past every tail.
    cases.push(Case::new(Elementwise(Add), &[&[1031, 257], &[1031, 257]]).no_gradient());
    cases
}
