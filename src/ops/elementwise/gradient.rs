//! What gradients of formulas are made of. Kernels: `shaders/arithmetic.wgsl`.

use super::{Case, Elementwise, Fillings, Formula, Real, UNIT, Var, all_cases, formula};

formula!(
    /// dy · d, but 0 where the cotangent dy is 0.
    CotangentMul = "cotangent_mul", 2,
    eval: |_s, x| if x[0] == T::zero() { T::zero() } else { x[0] * x[1] },
    grad: |_s, k, x, y, dy| Some(dy.cotangent_mul(x[1 - k])));

formula!(
    /// dy / d, but 0 where the cotangent dy is 0.
    CotangentDiv = "cotangent_div", 2,
    eval: |_s, x| if x[0] == T::zero() { T::zero() } else { x[0] / x[1] },
    grad: |_s, k, x, y, dy| Some(match k {
        0 => dy.cotangent_div(x[1]),
        _ => -dy.cotangent_mul(y).cotangent_div(x[1]),
    }),
    bound: |_s, x, y| 6.0 * UNIT * y.abs(),
    filling: |k| Fillings::AwayFromZero(if k == 1 { 0.3 } else { 0.0 }),
    keeps_f32: true);

impl<'g> Var<'g> {
    /// This cotangent times `d`, a part of a derivative; 0 where it is 0, also where `d` is infinite or NaN. A cotangent
    /// of exactly 0 is what a mask leaves of a branch that was not taken, and 0 · ∞ there would undo the mask. Where a
    /// value that counts is infinite or NaN, the forward pass shows it.
    #[track_caller]
    pub(crate) fn cotangent_mul(self, d: Var<'g>) -> Var<'g> {
        self.graph.record_one(Elementwise(CotangentMul), &[self, d])
    }

    /// The same of a quotient: this cotangent over `d`, 0 where it is 0.
    #[track_caller]
    pub(crate) fn cotangent_div(self, d: Var<'g>) -> Var<'g> {
        self.graph.record_one(Elementwise(CotangentDiv), &[self, d])
    }
}

pub(super) fn cases() -> Vec<Case> {
    all_cases! { CotangentMul, CotangentDiv }
}
