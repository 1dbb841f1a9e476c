//! Arithmetic, powers, comparisons and choices. Kernels: `shaders/arithmetic.wgsl`.

use std::ops;

use super::{Case, Elementwise, Fillings, Formula, Real, UNIT, Var, cases_of, formula, points};

formula!(
    /// a + b.
    Add = "add", 2,
    eval: |_s, x| x[0] + x[1],
    grad: |_s, k, x, y, dy| Some(dy));

formula!(
    /// a - b.
    Sub = "sub", 2,
    eval: |_s, x| x[0] - x[1],
    grad: |_s, k, x, y, dy| Some(if k == 0 { dy } else { -dy }));

formula!(
    /// a · b.
    Mul = "mul", 2,
    eval: |_s, x| x[0] * x[1],
    grad: |_s, k, x, y, dy| Some(dy * x[1 - k]));

formula!(
    /// a / b.
    Div = "div", 2,
    eval: |_s, x| x[0] / x[1],
    grad: |_s, k, x, y, dy| Some(if k == 0 { dy / x[1] } else { -(dy * y / x[1]) }),
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
    /// -a.
    Neg = "neg", 1,
    eval: |_s, x| -x[0],
    grad: |_s, k, x, y, dy| Some(-dy));

formula!(
    /// 1 / a.
    Recip = "recip", 1,
    eval: |_s, x| x[0].recip(),
    grad: |_s, k, x, y, dy| Some(-(dy * y * y)),
    bound: |_s, x, y| 6.0 * UNIT * y.abs(),
    filling: |k| Fillings::AwayFromZero(0.3));

formula!(
    /// e^a.
    Exp = "exp", 1,
    eval: |_s, x| x[0].exp(),
    grad: |_s, k, x, y, dy| Some(dy * y),
    // WGSL promises 3 + 2|x| units in the last place.
    bound: |_s, x, y| 2.0 * (3.0 + 2.0 * x[0].abs()) * UNIT * y.abs());

formula!(
    /// Natural logarithm.
    Log = "log", 1,
    eval: |_s, x| x[0].ln(),
    grad: |_s, k, x, y, dy| Some(dy / x[0]),
    // WGSL: 2^-21 absolute between 0.5 and 2, 3 units in the last place elsewhere.
    bound: |_s, x, y| 8.0 * UNIT + 6.0 * UNIT * y.abs(),
    filling: |k| Fillings::Uniform(0.1, 5.0));

formula!(
    /// Square root.
    Sqrt = "sqrt", 1,
    eval: |_s, x| x[0].sqrt(),
    grad: |_s, k, x, y, dy| Some(dy / y * 0.5),
    // WGSL derives it from 1 / inverseSqrt: 2 and 2.5 units in the last place.
    bound: |_s, x, y| 9.0 * UNIT * y.abs(),
    filling: |k| Fillings::Uniform(0.1, 5.0));

formula!(
    /// a^b. A negative base needs a whole exponent, as in IEEE's `pow`; its gradient with respect to b is
    /// zero there.
    Pow = "pow", 2,
    eval: |_s, x| x[0].powf(x[1]),
    grad: |_s, k, x, y, dy| Some(match k {
        // 0 where the exponent is 0, also at base 0, where the formula is 0 · ∞.
        0 => x[1].select(dy * x[1] * x[0].pow(x[1] + -1.0), x[0].graph().scalar(0.0)),
        _ => {
            let positive = x[0].greater(x[0].graph().scalar(0.0));
            dy * y * positive.select(x[0], x[0].graph().scalar(1.0)).log()
        }
    }),
    bound: |_s, x, y| pow_bound(x[0], x[1], y),
    filling: |k| if k == 0 { Fillings::Uniform(0.2, 3.0) } else { Fillings::Uniform(-2.0, 2.0) });

formula!(
    /// a^constant; a negative base needs a whole constant.
    PowScalar(c) = "pow_scalar", 1,
    eval: |s, x| x[0].powf(T::of(f64::from(s.0))),
    grad: |s, k, x, y, dy| Some(match s.0 {
        0.0 => return None,
        c => dy * x[0].powf(c - 1.0) * c,
    }),
    bound: |s, x, y| pow_bound(x[0], f64::from(s.0), y),
    filling: |k| Fillings::Uniform(0.2, 3.0));

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
    grad: |_s, k, x, y, dy| Some(dy * x[0].sign()),
    filling: |k| Fillings::AwayFromZero(0.1));

formula!(
    /// -1, 0 or 1.
    Sign = "sign", 1,
    eval: |_s, x| if x[0] > T::zero() { T::one() } else if x[0] < T::zero() { -T::one() } else { T::zero() },
    grad: |_s, k, x, y, dy| None,
    filling: |k| Fillings::AwayFromZero(0.1));

formula!(
    /// The smaller of two; where they are equal each gets half of the gradient.
    Minimum = "minimum", 2,
    eval: |_s, x| if x[1] < x[0] { x[1] } else { x[0] },
    grad: |_s, k, x, y, dy| Some(dy * x[k].less(x[1 - k]) + dy * x[k].equal(x[1 - k]) * 0.5),
    filling: |k| Fillings::Normal);

formula!(
    /// The larger of two; where they are equal each gets half of the gradient.
    Maximum = "maximum", 2,
    eval: |_s, x| if x[1] > x[0] { x[1] } else { x[0] },
    grad: |_s, k, x, y, dy| Some(dy * x[k].greater(x[1 - k]) + dy * x[k].equal(x[1 - k]) * 0.5),
    filling: |k| Fillings::Normal);

formula!(
    /// Limited to [low, high]; the gradient passes inside, bounds included.
    Clamp(low, high) = "clamp", 1,
    eval: |s, x| x[0].max(T::of(f64::from(s.0))).min(T::of(f64::from(s.1))),
    grad: |s, k, x, y, dy| Some(dy * x[0].elementwise(InRange(s.0, s.1))),
    filling: |k| Fillings::Given(vec![-3.0, -1.6, -0.4, 0.1, 0.3, 0.7, 1.4, 2.5]));

formula!(
    /// 1 inside [low, high], else 0.
    InRange(low, high) = "in_range", 1,
    eval: |s, x| flag(x[0] >= T::of(f64::from(s.0)) && x[0] <= T::of(f64::from(s.1))),
    grad: |_s, k, x, y, dy| None,
    filling: |k| Fillings::Given(vec![-3.0, -1.5, -0.4, 0.1, 0.5, 0.7, 2.5]), smooth: false);

fn flag<T: Real>(condition: bool) -> T {
    if condition { T::one() } else { T::zero() }
}

macro_rules! comparison {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $op:tt;)*) => {$(
        formula!($(#[$doc])* $name = $text, 2,
            eval: |_s, x| flag(x[0] $op x[1]),
            grad: |_s, k, x, y, dy| None,
            filling: |k| Fillings::Whole(3), smooth: false);
    )*};
}
comparison! {
    /// 1 where a = b, else 0.
    Equal = "equal", ==;
    /// 1 where a ≠ b, else 0.
    NotEqual = "not_equal", !=;
    /// 1 where a < b, else 0.
    Less = "less", <;
    /// 1 where a ≤ b, else 0.
    LessEqual = "less_equal", <=;
    /// 1 where a > b, else 0.
    Greater = "greater", >;
    /// 1 where a ≥ b, else 0.
    GreaterEqual = "greater_equal", >=;
}

formula!(
    /// b where a ≠ 0, else c.
    Select = "select", 3,
    eval: |_s, x| if x[0] != T::zero() { x[1] } else { x[2] },
    grad: |_s, k, x, y, dy| {
        let zero = dy.graph().scalar(0.0);
        match k {
            0 => None,
            1 => Some(x[0].select(dy, zero)),
            _ => Some(x[0].select(zero, dy)),
        }
    },
    // A condition that is kept away from zero, so that differences do not cross it.
    filling: |k| if k == 0 { Fillings::AwayFromZero(0.1) } else { Fillings::Normal });

impl<'g> Var<'g> {
    /// Records an elementwise formula of this value alone.
    #[track_caller]
    pub(crate) fn elementwise(self, formula: impl Formula) -> Var<'g> {
        self.graph.record_one(Elementwise(formula), &[self])
    }

    #[track_caller]
    fn with(self, other: Var<'g>, formula: impl Formula) -> Var<'g> {
        self.graph.record_one(Elementwise(formula), &[self, other])
    }

    /// e to the power of each element.
    #[track_caller]
    pub fn exp(self) -> Var<'g> {
        self.elementwise(Exp)
    }

    /// Natural logarithm.
    #[track_caller]
    pub fn log(self) -> Var<'g> {
        self.elementwise(Log)
    }

    /// Square root.
    #[track_caller]
    pub fn sqrt(self) -> Var<'g> {
        self.elementwise(Sqrt)
    }

    /// 1 / x.
    #[track_caller]
    pub fn recip(self) -> Var<'g> {
        self.elementwise(Recip)
    }

    /// This to the power of `exponent`, element by element.
    #[track_caller]
    pub fn pow(self, exponent: Var<'g>) -> Var<'g> {
        self.with(exponent, Pow)
    }

    /// Each element to the power of a constant.
    #[track_caller]
    pub fn powf(self, exponent: f32) -> Var<'g> {
        self.elementwise(PowScalar(exponent))
    }

    /// x².
    #[track_caller]
    pub fn square(self) -> Var<'g> {
        self.with(self, Mul)
    }

    /// Absolute value.
    #[track_caller]
    pub fn abs(self) -> Var<'g> {
        self.elementwise(Abs)
    }

    /// -1, 0 or 1.
    #[track_caller]
    pub fn sign(self) -> Var<'g> {
        self.elementwise(Sign)
    }

    /// The smaller of two values.
    #[track_caller]
    pub fn minimum(self, other: Var<'g>) -> Var<'g> {
        self.with(other, Minimum)
    }

    /// The larger of two values.
    #[track_caller]
    pub fn maximum(self, other: Var<'g>) -> Var<'g> {
        self.with(other, Maximum)
    }

    /// Limits each element to [low, high].
    #[track_caller]
    pub fn clamp(self, low: f32, high: f32) -> Var<'g> {
        self.elementwise(Clamp(low, high))
    }

    /// 1 where equal, else 0.
    #[track_caller]
    pub fn equal(self, other: Var<'g>) -> Var<'g> {
        self.with(other, Equal)
    }

    /// 1 where different, else 0.
    #[track_caller]
    pub fn not_equal(self, other: Var<'g>) -> Var<'g> {
        self.with(other, NotEqual)
    }

    /// 1 where this is less, else 0.
    #[track_caller]
    pub fn less(self, other: Var<'g>) -> Var<'g> {
        self.with(other, Less)
    }

    /// 1 where this is less or equal, else 0.
    #[track_caller]
    pub fn less_equal(self, other: Var<'g>) -> Var<'g> {
        self.with(other, LessEqual)
    }

    /// 1 where this is greater, else 0.
    #[track_caller]
    pub fn greater(self, other: Var<'g>) -> Var<'g> {
        self.with(other, Greater)
    }

    /// 1 where this is greater or equal, else 0.
    #[track_caller]
    pub fn greater_equal(self, other: Var<'g>) -> Var<'g> {
        self.with(other, GreaterEqual)
    }

    /// `yes` where this is not 0, else `no`.
    #[track_caller]
    pub fn select(self, yes: Var<'g>, no: Var<'g>) -> Var<'g> {
        self.graph.record_one(Elementwise(Select), &[self, yes, no])
    }
}

macro_rules! operator {
    ($($trait:ident $method:ident: $formula:expr, |$a:ident, $c:ident| $left:expr, $right:expr;)*) => {$(
        impl<'g> ops::$trait for Var<'g> {
            type Output = Var<'g>;
            #[track_caller]
            fn $method(self, other: Var<'g>) -> Var<'g> { self.with(other, $formula) }
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
    Add add: Add, |a, c| a.elementwise(AddScalar(c)), a.elementwise(AddScalar(c));
    Sub sub: Sub, |a, c| a.elementwise(AddScalar(-c)), a.elementwise(Neg).elementwise(AddScalar(c));
    Mul mul: Mul, |a, c| a.elementwise(MulScalar(c)), a.elementwise(MulScalar(c));
    Div div: Div, |a, c| if (1.0 / c).is_normal() {
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
    let mut cases = Vec::new();
    cases.extend(cases_of(Add));
    cases.extend(cases_of(Sub));
    cases.extend(cases_of(Mul));
    cases.extend(cases_of(Div));
    cases.extend(cases_of(AddScalar(1.5)));
    cases.extend(cases_of(MulScalar(-0.7)));
    cases.extend(cases_of(Neg));
    cases.extend(cases_of(Recip));
    cases.extend(cases_of(Exp));
    cases.extend(cases_of(Log));
    cases.extend(cases_of(Sqrt));
    cases.extend(cases_of(Pow));
    cases.extend(cases_of(PowScalar(2.5)));
    cases.extend(cases_of(Abs));
    cases.extend(cases_of(Sign));
    cases.extend(cases_of(Minimum));
    cases.extend(cases_of(Maximum));
    cases.extend(cases_of(Clamp(-1.5, 0.5)));
    cases.extend(cases_of(InRange(-1.5, 0.5)));
    cases.extend(cases_of(Equal));
    cases.extend(cases_of(NotEqual));
    cases.extend(cases_of(Less));
    cases.extend(cases_of(LessEqual));
    cases.extend(cases_of(Greater));
    cases.extend(cases_of(GreaterEqual));
    cases.extend(cases_of(Select));
    cases.push(points(Exp, &[&[-100.0, -80.0, 0.0, 80.0, 88.0]]));
    cases.push(points(Pow, &[&[-2.0, -2.0, -1.5, 0.0, 0.0, 2.0], &[3.0, 2.0, -3.0, 2.0, 0.0, 0.0]]));
    cases.push(points(Pow, &[&[-2.0, -0.5, 4.0], &[0.5, 1.5, 0.5]]));
    cases.push(points(PowScalar(3.0), &[&[-2.0, -0.5, 0.0, 1.0, 7.0]]));
    cases.push(points(PowScalar(0.0), &[&[-2.0, 0.0, 3.0]]));
    cases.push(points(Clamp(-1.5, 0.5), &[&[-1.5, 0.5, 1e30, -1e30]]));
    cases.push(points(Maximum, &[&[1.0, -2.0, 0.0], &[1.0, -2.0, 0.0]]));
    cases.push(points(Select, &[&[0.0, 1.0, -2.0, 0.0], &[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]]));
    // A large one, beyond one dimension of 65,535 workgroups on no adapter but past every tail.
    cases.push(Case::new(Elementwise(Add), &[&[1031, 257], &[1031, 257]]).no_gradient());
    cases
}
