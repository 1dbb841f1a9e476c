//! The loss and its gradient in one op, which the planner makes where the cotangent of the losses is a number: a
//! mean's, as a rule.

use super::super::softmax::{OverRows, log_units, rows_of, stats, sum_units};
use super::super::{Arg, Below, Case, Fillings, KernelContext, Op, Outputs, Program, Traits, float};
use super::super::{In, Out, Real, Reference, Slice, SliceMut, TINY, UNIT};
use super::{CrossEntropy, CrossEntropyGrad};
use crate::error::Result;
use crate::ops::uniform;
use crate::shape::TensorType;

/// Cross-entropy of rows of logits with classes, and the cotangent of the logits where that of every loss is `share`.
#[derive(Debug, Clone)]
pub(crate) struct CrossEntropyBoth {
    pub(crate) share: f32,
}

const LOSS: CrossEntropy = CrossEntropy { soft: false };
const GRAD: CrossEntropyGrad = CrossEntropyGrad { soft: false };

/// Of each row m and L, and the cotangent of its loss: what the gradient takes besides logits and classes.
struct Rest<T> {
    kept: Vec<T>,
    cotangents: Vec<T>,
}

impl<T: Real> Rest<T> {
    /// Writes the losses, and keeps what they come with.
    fn of(op: &CrossEntropyBoth, inputs: &[In<'_, T>], losses: &mut [T]) -> Result<Self, String> {
        let rows = losses.len();
        let mut kept = vec![T::zero(); 2 * rows];
        let mut outs = [
            Out { shape: float(&[rows]).shape, data: SliceMut::F(losses) },
            Out { shape: float(&[rows, 2]).shape, data: SliceMut::F(&mut kept) },
        ];
        Reference::<T>::eval(&LOSS, inputs, &mut outs)?;
        Ok(Rest { kept, cotangents: vec![T::of(f64::from(op.share)); rows] })
    }

    /// The inputs of the gradient.
    fn gradient_inputs<'a>(&'a self, inputs: &[In<'a, T>]) -> [In<'a, T>; 4] {
        let rows = self.cotangents.len();
        let kept = In { shape: float(&[rows, 2]).shape, data: Slice::F(&self.kept) };
        [inputs[0], inputs[1], kept, In { shape: float(&[rows]).shape, data: Slice::F(&self.cotangents) }]
    }
}

impl<T: Real> Reference<T> for CrossEntropyBoth {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (losses, dz) = outputs.split_at_mut(1);
        let rest = Rest::of(self, inputs, losses[0].f())?;
        Reference::<T>::eval(&GRAD, &rest.gradient_inputs(inputs), dz)
    }
}

impl Op for CrossEntropyBoth {
    fn name(&self) -> &'static str {
        "cross_entropy_both"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        Ok(vec![LOSS.infer(inputs)?[0], inputs[0]])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let (rows, columns) = rows_of(&ctx.inputs[0].shape);
        let args = vec![Arg::Input(0), Arg::Input(1), Arg::Output(0), Arg::Output(1)];
        let params = uniform! { rows, columns, share: self.share };
        let over = OverRows { passes: 3, joins: 2, side_by_side: 8 };
        over.launch(self.name(), (rows, columns), args, &params, ctx)
    }

    /// The errors of both, and what that of L makes of the gradient.
    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let (rows, columns) = rows_of(&inputs[0].shape);
        let Ok(rest) = Rest::of(self, inputs, &mut vec![0.0; rows]) else { return vec![Vec::new(); 2] };
        let of_gradient = rest.gradient_inputs(inputs);
        let mut loss = LOSS.error_bound(inputs, &[outputs[0], of_gradient[2]]);
        let mut dz = GRAD.error_bound(&of_gradient, &outputs[1..]).remove(0);
        for (row, bounds) in dz.chunks_exact_mut(columns).enumerate() {
            let z = &inputs[0].f()[row * columns..(row + 1) * columns];
            let (m, s) = stats(z);
            let log = log_units(sum_units(z, m, s), s);
            let of_row = bounds.iter_mut().zip(z);
            of_row.for_each(|(b, z)| {
                *b += f64::from(self.share).abs() * ((z - m).exp() / s) * (log * UNIT + TINY);
            });
        }
        vec![loss.remove(0), dz]
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        10 * inputs[0].shape.elements() as u64
    }

    fn traits(&self) -> Traits {
        Traits::default().indices(1, Below::Extent { input: 0, axis: 1 }).keeping_f32(Outputs::FIRST)
    }
}

pub(super) fn cases(extremes: &[(usize, usize, Vec<f64>)]) -> Vec<Case> {
    let case = |rows: usize, columns: usize| {
        let op = CrossEntropyBoth { share: 0.125 };
        Case::new(op, &[&[rows, columns], &[rows]]).index(1, columns as u32).no_gradient()
    };
    let sizes = [(1, 1), (7, 3), (13, 10), (65, 5), (63, 65), (9, 64), (2, 2011), (1031, 10)];
    let mut cases: Vec<Case> = sizes.iter().map(|&(rows, columns)| case(rows, columns)).collect();
    for (rows, columns, logits) in extremes {
        cases.push(case(*rows, *columns).fill(0, Fillings::Given(logits.clone())));
    }
    cases
}
