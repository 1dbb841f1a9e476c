//! Comparisons, choices and limits. Kernels: `shaders/arithmetic.wgsl`.

use super::{Case, Elementwise, Fillings, Formula, Real, Var, all_cases, formula, methods, points};

formula!(
    /// The smaller of two, NaN if one is; where they are equal each gets half of the gradient.
    Minimum = "minimum", 2,
    eval: |_s, x| if x[1] < x[0] || x[1].is_nan() { x[1] } else { x[0] },
    grad: |_s, k, x, y, dy| Some(shared(x[k].greater(x[1 - k]), x[k].equal(x[1 - k]), dy)),
    filling: |k| Fillings::Normal);

formula!(
    /// The larger of two, NaN if one is; where they are equal each gets half of the gradient.
    Maximum = "maximum", 2,
    eval: |_s, x| if x[1] > x[0] || x[1].is_nan() { x[1] } else { x[0] },
    grad: |_s, k, x, y, dy| Some(shared(x[k].less(x[1 - k]), x[k].equal(x[1 - k]), dy)),
    filling: |k| Fillings::Normal);

/// The cotangent of one of two of which one was taken: none where that is the other, half where they are equal.
fn shared<'g>(is_other: Var<'g>, is_equal: Var<'g>, dy: Var<'g>) -> Var<'g> {
    is_other.select(dy.graph().scalar(0.0), is_equal.select(dy * 0.5, dy))
}

formula!(
    /// Limited to [low, high], NaN of NaN; the gradient passes inside, bounds included.
    Clamp(low, high) = "clamp", 1,
    eval: |s, x| match x[0] {
        x if x.is_nan() => x,
        x => x.max(T::of(f64::from(s.0))).min(T::of(f64::from(s.1))),
    },
    grad: |s, k, x, y, dy| {
        Some(x[0].elementwise(InRange(s.0, s.1)).select(dy, dy.graph().scalar(0.0)))
    },
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
    ($($(#[$doc:meta])* $name:ident = $text:literal, $op:tt, $equality:literal;)*) => {$(
        formula!($(#[$doc])* $name = $text, 2,
            eval: |_s, x| flag(x[0] $op x[1]),
            grad: |_s, k, x, y, dy| None,
            filling: |k| Fillings::Whole(3), smooth: false, equality: $equality);
    )*};
}

formula!(
    /// 1 where a is NaN, else 0.
    IsNan = "is_nan", 1,
    eval: |_s, x| flag(x[0].is_nan()),
    grad: |_s, k, x, y, dy| None);

formula!(
    /// 1 where a is neither infinite nor NaN, else 0.
    IsFinite = "is_finite", 1,
    eval: |_s, x| flag(x[0].is_finite()),
    grad: |_s, k, x, y, dy| None);

comparison! {
    /// 1 where a = b, else 0.
    Equal = "equal", ==, true;
    /// 1 where a ≠ b, else 0.
    NotEqual = "not_equal", !=, true;
    /// 1 where a < b, else 0.
    Less = "less", <, false;
    /// 1 where a ≤ b, else 0.
    LessEqual = "less_equal", <=, false;
    /// 1 where a > b, else 0.
    Greater = "greater", >, false;
    /// 1 where a ≥ b, else 0.
    GreaterEqual = "greater_equal", >=, false;
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

methods! {
    /// The smaller of two values; NaN where one is NaN.
    minimum(other) = Minimum;
    /// The larger of two values; NaN where one is NaN.
    maximum(other) = Maximum;
    /// 1 where this is NaN, else 0. Its gradient is 0.
    is_nan() = IsNan;
    /// 1 where this is neither infinite nor NaN, else 0. Its gradient is 0.
    is_finite() = IsFinite;
    /// 1 where equal, else 0.
    equal(other) = Equal;
    /// 1 where different, else 0.
    not_equal(other) = NotEqual;
    /// 1 where this is less, else 0.
    less(other) = Less;
    /// 1 where this is less or equal, else 0.
    less_equal(other) = LessEqual;
    /// 1 where this is greater, else 0.
    greater(other) = Greater;
    /// 1 where this is greater or equal, else 0.
    greater_equal(other) = GreaterEqual;
}

impl<'g> Var<'g> {
    /// Limits each element to [low, high], or to `high` if that is below `low`; NaN stays NaN. A bound that is NaN is
    /// a recording error.
    #[track_caller]
    pub fn clamp(self, low: f32, high: f32) -> Var<'g> {
        if low.is_nan() || high.is_nan() {
            let message =
                format!("the bounds must be numbers, got {low} and {high}; without one use an infinity");
            return self.graph.refuse("clamp", message, self);
        }
        self.elementwise(Clamp(low, high))
    }

    /// `yes` where this is not 0, else `no`. The gradient of the one that was not taken is 0, whatever elementwise
    /// functions it was computed by: with `x.greater(zero).select(x.sqrt(), zero)` it is 0 at 0.
    #[track_caller]
    pub fn select(self, yes: Var<'g>, no: Var<'g>) -> Var<'g> {
        self.graph.record_one(Elementwise(Select), &[self, yes, no])
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = all_cases! {
        Minimum, Maximum, Clamp(-1.5, 0.5), InRange(-1.5, 0.5), Equal, NotEqual, Less, LessEqual, Greater, GreaterEqual,
        Select, IsNan, IsFinite,
    };
    cases.push(points(Clamp(-1.5, 0.5), &[&[-1.5, 0.5, 1e30, -1e30]]));
    cases.push(points(Maximum, &[&[1.0, -2.0, 0.0], &[1.0, -2.0, 0.0]]));
    cases.push(points(Select, &[&[0.0, 1.0, -2.0, 0.0], &[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]]));
    cases
}
